//! The defaults that the schema states are those that hold, and those that `docs/limits.md` lists.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value;

use super::SMALL;
use super::small_with;
use crate::config::Config;
use crate::model::refusal::Denied;
use crate::model::refusal::Failed;

const DOCS: &str = include_str!("../../../docs/limits.md");
const METRICS: &str = include_str!("../../../docs/metrics.md");

/// `gateway.schema.json`, where each group of limits stands, and where its fields are in the documentation's tables.
const GROUPS: [(&str, &str, &str); 4] = [
    ("Limits", "On a listener", "limits."),
    ("ListenerTimeouts", "On a listener", "timeouts."),
    ("Timeouts", "On a service", "timeouts."),
    ("Service", "On a service", ""),
];

/// The defaults that a description states: for most, and for management.
fn stated(description: &str) -> Option<(String, String)> {
    let text = description.split_whitespace().collect::<Vec<_>>().join(" ");
    let (_, default) = text.rsplit_once("Default: ")?;
    let quoted = |text: &str| text.split('`').nth(1).map(str::to_owned);
    let usual = quoted(default)?;
    let management = default.split_once("for management").or_else(|| default.split_once("for the management listener"));
    let management = management.and_then(|(_, text)| quoted(text)).unwrap_or_else(|| usual.clone());
    Some((usual, management))
}

/// The fields of a group that have a default of their own.
fn fields(group: &str) -> BTreeMap<String, (String, String)> {
    let schema: Value = serde_json::from_str(include_str!("../../../gateway.schema.json")).unwrap();
    let fields = schema["$defs"][group]["properties"].as_object().unwrap();
    let of = |(name, field): (&String, &Value)| Some((name.clone(), stated(field["description"].as_str()?)?));
    let is_a_limit = |name: &str| group != "Service" || name == "max_body";
    fields.iter().filter_map(of).filter(|(name, _)| is_a_limit(name) && name != "shared_addresses").collect()
}

/// The cells of the rows below a heading, by their first one.
fn rows(heading: &str) -> BTreeMap<String, Vec<String>> {
    let (_, section) = DOCS.split_once(&format!("## {heading}\n")).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let cells = |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    let rows = section.lines().filter(|line| line.starts_with("| `")).map(cells);
    rows.map(|cells| (cells[0].trim_matches('`').to_owned(), cells)).collect()
}

#[test]
fn the_documentation_lists_every_limit_with_the_default_that_the_schema_states() {
    let mut seen = BTreeMap::<&str, usize>::new();
    for (group, heading, prefix) in GROUPS {
        let rows = rows(heading);
        for (name, (usual, management)) in fields(group) {
            let field = format!("{prefix}{name}");
            let row = rows.get(&field).unwrap_or_else(|| panic!("docs/limits.md has no row for {field}"));
            assert_eq!(row[1], format!("`{usual}`"), "{field}");
            if heading == "On a listener" {
                assert_eq!(row[2], format!("`{management}`"), "{field} of management");
            }
            *seen.entry(heading).or_default() += 1;
        }
    }
    // `shared_addresses` has a default that is no number.
    assert_eq!(seen["On a listener"] + 1, rows("On a listener").len());
    assert_eq!(seen["On a service"], rows("On a service").len());
}

#[test]
fn every_limit_is_counted_by_something_that_exists() {
    let codes = Denied::ALL.iter().map(|why| why.row().code).chain(Failed::ALL.iter().map(|why| why.row().code));
    let codes: Vec<&str> = codes.collect();
    for heading in ["On a listener", "On a service", "How much of a service at once"] {
        for (field, cells) in rows(heading) {
            for word in cells.last().unwrap().split('`').skip(1).step_by(2) {
                let is_label = METRICS.lines().any(|line| line.contains("reason") && line.contains(word));
                assert!(codes.contains(&word) || METRICS.contains(&format!("`{word}`")) || is_label, "{field}: {word}");
            }
        }
    }
}

#[test]
fn the_defaults_that_the_schema_states_are_those_that_hold() {
    let at = "{address: '127.0.0.1:8080'}";
    let mut written = String::new();
    for (group, field) in [("Limits", "limits"), ("ListenerTimeouts", "timeouts")] {
        let stated = fields(group).into_iter().map(|(name, (usual, _))| format!("{name}: {usual}"));
        write!(written, ", {field}: {{{}}}", stated.collect::<Vec<_>>().join(", ")).unwrap();
    }
    let all = small_with(at, &format!("{{address: '127.0.0.1:8080'{written}}}"));
    assert_eq!(Config::read(&all).unwrap().listeners, Config::read(SMALL).unwrap().listeners);

    let management = |text: &str| {
        let line = format!("  management: {{address: '127.0.0.1:8081'{text}}}\n  health:");
        Config::read(&small_with("  health:", &line)).unwrap().listeners.management.unwrap()
    };
    let mut written = String::new();
    for (group, field) in [("Limits", "limits"), ("ListenerTimeouts", "timeouts")] {
        let stated = fields(group).into_iter().map(|(name, (_, management))| format!("{name}: {management}"));
        write!(written, ", {field}: {{{}}}", stated.collect::<Vec<_>>().join(", ")).unwrap();
    }
    assert_eq!(management(&written), management(""));
}
