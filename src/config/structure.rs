//! Holds values against the JSON Schema of the file: unknown, missing and mistyped fields, all of them at once.
//!
//! The schema is the very one that `scoregate schema` prints, so what an editor underlines and what the gateway
//! refuses cannot drift apart. Only the keywords that [`raw`](crate::config::raw) brings forth are understood; a
//! test holds the schema to that.

use serde_json::Map;
use serde_json::Value;

use crate::config::problem::Place;
use crate::config::problem::Problems;
use crate::config::suggest::did_you_mean;

/// What remains of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It fits the schema, at the latest after fields and items that did not fit were taken out of it.
    Fits,
    /// It does not.
    Broken,
}

/// Notes every place where the value does not fit the schema, and takes out of the value what does not fit, so that
/// the rest can be read and its problems be told together with these.
pub(super) fn judge(schema: &Value, value: &mut Value, problems: &mut Problems) -> Verdict {
    Judge { root: schema, problems }.value(schema, value, &Place::root())
}

struct Judge<'j> {
    root: &'j Value,
    problems: &'j mut Problems,
}

impl<'j> Judge<'j> {
    fn value(&mut self, schema: &'j Value, value: &mut Value, at: &Place) -> Verdict {
        let Some(schema) = self.branch_for(schema, value) else {
            let wanted = wanted(self.root, schema);
            let found = match value {
                Value::Null => ", found nothing".to_owned(),
                Value::Bool(_) | Value::Number(_) if wanted.contains("text") => ", put it in quotes".to_owned(),
                Value::String(word) => did_you_mean(word, words(self.root, schema)),
                Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => String::new(),
            };
            self.problems.note(at, format!("want {wanted}{found}"));
            return Verdict::Broken;
        };
        match value {
            Value::Object(fields) => self.mapping(schema, fields, at),
            Value::Array(items) => self.list(schema, items, at),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Verdict::Fits,
        }
    }

    /// The schema without references and alternatives that is meant for this kind of value, if there is one.
    fn branch_for(&self, schema: &'j Value, value: &Value) -> Option<&'j Value> {
        let schema = resolve(self.root, schema);
        if let Some(branches) = branches(schema) {
            return branches.iter().find_map(|branch| self.branch_for(branch, value));
        }
        let one_of = |keyword| schema.get(keyword).and_then(Value::as_array).is_none_or(|all| all.contains(value));
        let constant = schema.get("const").is_none_or(|constant| constant == value);
        (is_kind(schema, value) && within_range(schema, value) && one_of("enum") && constant).then_some(schema)
    }

    fn mapping(&mut self, schema: &'j Value, fields: &mut Map<String, Value>, at: &Place) -> Verdict {
        let known = schema.get("properties").and_then(Value::as_object);
        let others = schema.get("additionalProperties").filter(|others| others.is_object());
        let required: Vec<&str> = schema
            .get("required")
            .and_then(Value::as_array)
            .map(|names| names.iter().filter_map(Value::as_str).collect())
            .unwrap_or_default();
        let mut verdict = Verdict::Fits;
        for name in &required {
            if !fields.contains_key(*name) {
                let about = known.and_then(|known| known.get(*name)).map(|field| about(self.root, field));
                self.problems.note(&at.field(name), format!("this field is missing{}", about.unwrap_or_default()));
                verdict = Verdict::Broken;
            }
        }
        fields.retain(|name, value| {
            let place = at.field(name);
            let Some(field) = known.and_then(|known| known.get(name)).or(others) else {
                let names = known.into_iter().flat_map(Map::keys).map(String::as_str);
                self.problems.note(&place, format!("there is no such field here{}", offer(name, names)));
                return false;
            };
            let fits = self.value(field, value, &place) == Verdict::Fits;
            if !fits && required.contains(&name.as_str()) {
                verdict = Verdict::Broken;
            }
            fits
        });
        verdict
    }

    fn list(&mut self, schema: &'j Value, items: &mut Vec<Value>, at: &Place) -> Verdict {
        let fewest = schema.get("minItems").and_then(Value::as_u64).unwrap_or(0);
        if usize::try_from(fewest).is_ok_and(|fewest| items.len() < fewest) {
            self.problems.note(at, "want at least one item, or no such field");
            return Verdict::Broken;
        }
        if let Some(each) = schema.get("items") {
            let mut index = 0;
            items.retain_mut(|item| {
                let place = at.item(index);
                index += 1;
                self.value(each, item, &place) == Verdict::Fits
            });
        }
        Verdict::Fits
    }
}

/// The nearest known field, or all of them where none is near.
fn offer<'k>(written: &str, known: impl Iterator<Item = &'k str> + Clone) -> String {
    let near = did_you_mean(written, known.clone());
    if near.is_empty() { format!(", want one of {}", known.collect::<Vec<_>>().join(", ")) } else { near }
}

fn resolve<'j>(root: &'j Value, schema: &'j Value) -> &'j Value {
    schema
        .get("$ref")
        .and_then(Value::as_str)
        .and_then(|reference| reference.strip_prefix('#'))
        .and_then(|pointer| root.pointer(pointer))
        .map_or(schema, |referred| resolve(root, referred))
}

fn branches(schema: &Value) -> Option<&Vec<Value>> {
    schema.get("anyOf").or_else(|| schema.get("oneOf")).and_then(Value::as_array)
}

fn is_kind(schema: &Value, value: &Value) -> bool {
    schema.get("type").and_then(Value::as_str).is_none_or(|kind| match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        _ => false,
    })
}

fn within_range(schema: &Value, value: &Value) -> bool {
    let bound = |keyword| schema.get(keyword).and_then(Value::as_f64);
    value.as_f64().is_none_or(|number| {
        bound("minimum").is_none_or(|least| number >= least) && bound("maximum").is_none_or(|most| number <= most)
    })
}

/// The words that the schema knows by name.
fn words<'j>(root: &'j Value, schema: &'j Value) -> Vec<&'j str> {
    let schema = resolve(root, schema);
    let named = schema.get("enum").and_then(Value::as_array).into_iter().flatten().chain(schema.get("const"));
    let mut found: Vec<&str> = named.filter_map(Value::as_str).collect();
    for branch in branches(schema).into_iter().flatten() {
        found.extend(words(root, branch));
    }
    found
}

/// What the schema wants, in words.
fn wanted(root: &Value, schema: &Value) -> String {
    let schema = resolve(root, schema);
    let mut parts: Vec<String> = words(root, schema).into_iter().map(str::to_owned).collect();
    match branches(schema) {
        Some(branches) => {
            let others = branches.iter().filter(|branch| words(root, branch).is_empty());
            parts.extend(others.map(|branch| wanted(root, branch)));
        }
        None if parts.is_empty() => parts.push(kind_in_words(schema)),
        None => {}
    }
    match parts.as_slice() {
        [] => "something else".to_owned(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

fn kind_in_words(schema: &Value) -> String {
    let words = match schema.get("type").and_then(Value::as_str) {
        Some("object") => "a mapping",
        Some("array") => "a list",
        Some("string") => "text",
        Some("boolean") => "true or false",
        Some("integer") => "a whole number",
        Some("number") => "a number",
        _ => "something else",
    };
    match (schema.get("minimum"), schema.get("maximum")) {
        (Some(least), Some(most)) => format!("{words} from {least} to {most}"),
        (Some(_) | None, _) => words.to_owned(),
    }
}

/// `: ` and the first sentence of a field's documentation.
fn about(root: &Value, field: &Value) -> String {
    let text = field.get("description").or_else(|| resolve(root, field).get("description"));
    let text = text.and_then(Value::as_str).unwrap_or_default().replace('\n', " ");
    let sentence = text.split(". ").next().unwrap_or_default().trim_end_matches('.');
    let mut letters = sentence.chars();
    letters.next().map(|first| format!(": {}{}", first.to_lowercase(), letters.as_str())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use serde_json::json;

    use super::{Verdict, judge};
    use crate::config::problem::Problems;
    use crate::config::raw;

    /// Keywords that `judge` acts on, and those that say nothing about which values fit.
    const UNDERSTOOD: [&str; 19] = [
        "$defs",
        "$ref",
        "$schema",
        "additionalProperties",
        "anyOf",
        "const",
        "description",
        "enum",
        "format",
        "items",
        "maximum",
        "minItems",
        "minimum",
        "oneOf",
        "properties",
        "required",
        "title",
        "type",
        "default",
    ];

    fn keywords<'v>(schema: &'v Value, found: &mut Vec<&'v str>) {
        let Value::Object(fields) = schema else { return };
        for (keyword, value) in fields {
            found.push(keyword);
            match (keyword.as_str(), value) {
                ("$defs" | "properties", Value::Object(named)) => named.values().for_each(|each| keywords(each, found)),
                (_, Value::Array(each)) => each.iter().for_each(|each| keywords(each, found)),
                (_, value) => keywords(value, found),
            }
        }
    }

    #[test]
    fn the_schema_holds_no_keyword_that_would_go_unjudged() {
        let schema = raw::schema();
        let mut found = Vec::new();
        keywords(&schema, &mut found);
        let strange: Vec<_> = found.into_iter().filter(|keyword| !UNDERSTOOD.contains(keyword)).collect();
        assert_eq!(strange, Vec::<&str>::new());
    }

    #[test]
    fn nothing_may_be_null_or_of_any_kind() {
        let schema = raw::schema().to_string();
        assert!(!schema.contains("null"), "{schema}");
    }

    #[test]
    fn what_does_not_fit_is_taken_out_and_the_rest_stays() {
        let schema = json!({"type": "object", "additionalProperties": false, "required": ["a"], "properties": {
            "a": {"type": "string"},
            "b": {"type": "array", "items": {"type": "integer"}},
            "c": {"type": "object", "additionalProperties": {"$ref": "#/$defs/Named"}}},
            "$defs": {"Named": {"type": "object", "required": ["x"], "properties": {"x": {"type": "boolean"}}}}});
        let mut value = json!({"a": "t", "b": [1, "2", 3], "c": {"good": {"x": true}, "bad": {"x": 1}}, "d": 1});
        let mut problems = Problems::default();
        assert_eq!(judge(&schema, &mut value, &mut problems), Verdict::Fits);
        assert_eq!(value, json!({"a": "t", "b": [1, 3], "c": {"good": {"x": true}}}));
        let places: Vec<String> = problems.into_vec().into_iter().map(|(at, _)| at.into_text()).collect();
        assert_eq!(places, ["b[1]", "c.bad.x", "d"]);
        assert_eq!(judge(&schema, &mut json!({"a": 1}), &mut Problems::default()), Verdict::Broken);
    }
}
