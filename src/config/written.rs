//! Where the fields of a configuration stand in its file, for whoever tells people of a rule.

use crate::config::positions;
use crate::config::positions::Positions;
use crate::config::problem::Place;

/// A file, and where its fields stand.
#[derive(Debug)]
pub struct Written {
    file: String,
    positions: Positions,
}

impl Written {
    /// Finds the fields of a text. Of a text that is no configuration none is found.
    #[must_use]
    pub fn index(file: impl Into<String>, text: &str) -> Self {
        let positions = positions::index(text).map(|(positions, _repeated)| positions).unwrap_or_default();
        Self { file: file.into(), positions }
    }

    /// A rule by its place: `gateway.yaml:12 services.iris.auth`. Where the field is not given, where it would be.
    #[must_use]
    pub fn rule(&self, field: &str) -> String {
        let wanted = Place::named(field);
        let mut at = Some(wanted.clone());
        while let Some(place) = at {
            at = place.parent();
            let Some(line) = self.positions.line_of(&place) else { continue };
            let file = &self.file;
            if place == wanted {
                return format!("{file}:{line} {field}");
            }
            let given = place.into_text();
            let rest = field.strip_prefix(given.as_str()).unwrap_or(field).trim_start_matches('.');
            return format!("{file}:{line} {given} ({rest}: the default)");
        }
        format!("{} {field}", self.file)
    }
}

#[cfg(test)]
mod tests {
    use super::Written;

    #[test]
    fn a_rule_is_told_by_its_line_or_by_where_it_would_stand() {
        let written = Written::index("gateway.yaml", "a: 1\nservices:\n  iris:\n    match: [{path: /}]\n");
        for (field, want) in [
            ("services.iris", "gateway.yaml:3 services.iris"),
            ("services.iris.match[0].path", "gateway.yaml:4 services.iris.match[0].path"),
            ("services.iris.auth.key", "gateway.yaml:3 services.iris (auth.key: the default)"),
            ("accounts.clinic", "gateway.yaml accounts.clinic"),
        ] {
            assert_eq!(written.rule(field), want);
        }
        assert_eq!(Written::index("g", "{{{").rule("services.iris"), "g services.iris");
    }
}
