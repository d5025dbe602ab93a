//! `docs/configuration.md` is the schema, to be read by people: written by `UPDATE=1 cargo test --test tidy`, held here.

#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test that cannot go on says so by a panic")]

use std::fmt::Write as _;
use std::fs;

use serde_json::Value;

const PAGE: &str = "docs/configuration.md";

const HEAD: &str = "\
# Configuration reference

Everything that `gateway.yaml` can say, made from its schema (`scoregate schema`). `scoregate check FILE` says what is wrong with a
file, with line and column; the [gateway.yaml](../gateway.yaml) of this repository is one to begin with.

Durations are written as `500ms`, `30s`, `1m30s` or `12h`, sizes as `64KiB` or `6MiB`. Secrets never stand in the file: where one is
needed it is referred to by `file:<path>`, `env:<NAME>` or `credential:<name>`. `NAME` in a heading is a name of your choice, `[]` an
item of a list. A field in **bold** has to be there.
";

/// Where a group of fields stands, and what it is called in the schema.
struct Group {
    place: String,
    definition: Option<String>,
}

#[test]
fn the_reference_of_the_configuration_is_its_schema() {
    let schema: Value = serde_json::from_str(&fs::read_to_string("gateway.schema.json").unwrap()).unwrap();
    let written = page(&schema);
    if std::env::var_os("UPDATE").is_some() {
        fs::write(PAGE, &written).unwrap();
    }
    let shipped = fs::read_to_string(PAGE).unwrap_or_default();
    assert!(shipped == written, "{PAGE} is stale: run UPDATE=1 cargo test --test tidy");
    for field in ["`concurrency`", "`endpoints`", "`store.etcd`", "`services.NAME.auth.key`", "`listeners.traffic[]`"] {
        assert!(written.contains(field), "{field} is missing");
    }
}

fn page(schema: &Value) -> String {
    let mut page = HEAD.to_owned();
    let mut waiting = vec![Group { place: String::new(), definition: None }];
    let mut told: Vec<(String, String)> = Vec::new();
    while let Some(Group { place, definition }) = waiting.pop() {
        let group = definition.as_ref().map_or(schema, |name| &schema["$defs"][name]);
        let heading = if place.is_empty() { "The file".to_owned() } else { format!("`{place}`") };
        write!(page, "\n## {heading}\n\n").unwrap();
        if let Some((_, first)) = told.iter().find(|(name, _)| Some(name) == definition.as_ref()) {
            writeln!(page, "The same fields as `{first}`.").unwrap();
            continue;
        }
        told.extend(definition.map(|name| (name, place.clone())));
        if !place.is_empty() {
            write!(page, "{}\n\n", line(&group["description"])).unwrap();
        }
        page.push_str("| field | value | meaning |\n|---|---|---|\n");
        let mut below = Vec::new();
        for (name, field) in group["properties"].as_object().into_iter().flatten() {
            let required = group["required"].as_array().is_some_and(|all| all.contains(&Value::from(name.as_str())));
            let shown = if required { format!("**`{name}`**") } else { format!("`{name}`") };
            let value = value(schema, field);
            let meaning = [vec![line(&field["description"])], words(schema, field)].concat().join(" ");
            writeln!(page, "| {shown} | {value} | {meaning} |").unwrap();
            let at = if place.is_empty() { name.clone() } else { format!("{place}.{name}") };
            groups(schema, field, &at, &mut below);
        }
        below.reverse();
        waiting.append(&mut below);
    }
    page
}

/// The groups of fields that a field's value can be.
fn groups(schema: &Value, field: &Value, place: &str, found: &mut Vec<Group>) {
    if let Some(name) = reference(field) {
        let definition = &schema["$defs"][name];
        if definition["properties"].is_object() {
            found.push(Group { place: place.to_owned(), definition: Some(name.to_owned()) });
        } else {
            groups(schema, definition, place, found);
        }
    }
    for choice in ["anyOf", "oneOf"].into_iter().filter_map(|of| field[of].as_array()).flatten() {
        groups(schema, choice, place, found);
    }
    if field["items"].is_object() {
        groups(schema, &field["items"], &format!("{place}[]"), found);
    }
    if field["additionalProperties"].is_object() {
        groups(schema, &field["additionalProperties"], &format!("{place}.NAME"), found);
    }
}

/// What can stand there, in words.
fn value(schema: &Value, field: &Value) -> String {
    if let Some(name) = reference(field) {
        let definition = &schema["$defs"][name];
        return if definition["properties"].is_object() { "mapping".to_owned() } else { value(schema, definition) };
    }
    let choices: Vec<String> = ["anyOf", "oneOf"]
        .into_iter()
        .filter_map(|of| field[of].as_array())
        .flatten()
        .map(|choice| value(schema, choice))
        .filter(|choice| choice != "nothing")
        .collect();
    if !choices.is_empty() {
        return choices.join(" or ");
    }
    if let Some(word) = field["const"].as_str() {
        return format!("`{word}`");
    }
    if let Some(words) = field["enum"].as_array() {
        let words: Vec<_> = words.iter().filter_map(Value::as_str).map(|word| format!("`{word}`")).collect();
        return words.join(", ");
    }
    let range = match (field["minimum"].as_f64(), field["maximum"].as_f64()) {
        (Some(least), Some(most)) => format!(", {least} to {most}"),
        (Some(least), None) => format!(", from {least}"),
        (None, _) => String::new(),
    };
    match kind(field) {
        "array" => format!("list: {}", value(schema, &field["items"])),
        "object" => format!("mapping from names: {}", value(schema, &field["additionalProperties"])),
        "integer" => format!("whole number{range}"),
        "number" => format!("number{range}"),
        "boolean" => "`true` or `false`".to_owned(),
        "string" => "text".to_owned(),
        _ => "nothing".to_owned(),
    }
}

/// What each word means of a field that is one of several.
fn words(schema: &Value, field: &Value) -> Vec<String> {
    let definition = reference(field).map_or(field, |name| &schema["$defs"][name]);
    let items = definition["items"].is_object().then(|| words(schema, &definition["items"]));
    let nested = definition["anyOf"].as_array().into_iter().flatten().flat_map(|choice| words(schema, choice));
    let choices = definition["oneOf"].as_array().filter(|choices| choices.len() > 1).into_iter().flatten();
    let told =
        choices.filter_map(|choice| Some(format!("`{}`: {}", choice["const"].as_str()?, line(&choice["description"]))));
    items.into_iter().flatten().chain(nested).chain(told).collect()
}

/// The type, that of a field which may also be left empty included.
fn kind(field: &Value) -> &str {
    let listed = || field["type"].as_array()?.iter().filter_map(Value::as_str).find(|kind| *kind != "null");
    field["type"].as_str().or_else(listed).unwrap_or_default()
}

fn reference(field: &Value) -> Option<&str> {
    field["$ref"].as_str()?.strip_prefix("#/$defs/")
}

/// A description as one line of a table.
fn line(description: &Value) -> String {
    let text = description.as_str().unwrap_or_default();
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}
