//! docs/threat-model.md against what is there: each requirement names tests, each test exists, each version is the one
//! that is locked.

use std::collections::BTreeSet;
use std::fs;

use super::File;
use super::repository;

/// How many requirements there are, R1 and on.
const REQUIREMENTS: usize = 30;

#[test]
fn every_requirement_of_the_threat_model_names_tests_and_each_of_them_exists() {
    let text = fs::read_to_string("docs/threat-model.md").unwrap();
    let problems = unshown(&text, &tests(&repository()));
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

#[test]
fn every_version_in_the_threat_model_is_the_locked_one() {
    let text = fs::read_to_string("docs/threat-model.md").unwrap();
    let lock = fs::read_to_string("Cargo.lock").unwrap();
    let (_, section) = text.split_once("\n## In dependencies\n").unwrap();
    let rows: Vec<_> =
        section.lines().map_while(|line| if line.starts_with('#') { None } else { Some(cells(line)) }).collect();
    let named: Vec<_> = rows.iter().filter(|cells| lock.contains(&format!("\nname = \"{}\"\n", cells[0]))).collect();
    assert!(named.len() > 3, "the table names crates: {rows:?}");
    for cells in named {
        let locked = format!("\nname = \"{}\"\nversion = \"{}\"\n", cells[0], cells[1]);
        assert!(lock.contains(&locked), "{} is not at {}; does its row still hold?", cells[0], cells[1]);
    }
}

#[test]
fn a_requirement_without_a_test_is_found() {
    let source = "#[test]\nfn there() {}\n\nfn helper() {}\n\n#[tokio::test]\nasync fn there_too() {}\n";
    let tests = tests(&[File { path: "tests/it/a.rs".to_owned(), text: source.to_owned() }]);
    let all = |shown: &str| (1..=REQUIREMENTS).map(|at| format!("| R{at} | holds | {shown} |\n")).collect::<String>();
    assert!(unshown(&all("`there` `there_too`"), &tests).is_empty());
    for (text, what) in [
        (all(""), "no test"),
        (all("`helper`"), "no test is called helper"),
        (all("`there` `gone`"), "no test is called gone"),
        (all("`there`").replace("| R7 |", "| R8 |"), "R7"),
        (all("`there`").replace("| R30 |", "| R31 |"), "R30"),
    ] {
        let problems = unshown(&text, &tests).join("\n");
        assert!(problems.contains(what), "{what}: {problems}");
    }
}

/// What is wrong with the rows of requirements.
fn unshown(text: &str, tests: &BTreeSet<String>) -> Vec<String> {
    let rows: Vec<Vec<&str>> = text.lines().filter(|line| line.starts_with("| R")).map(cells).collect();
    let mut problems = Vec::new();
    for at in 1..=REQUIREMENTS.max(rows.len()) {
        let name = format!("R{at}");
        let row = rows.get(at - 1).filter(|cells| cells.first() == Some(&name.as_str()));
        let Some([_, _, shown]) = row.map(Vec::as_slice) else {
            problems.push(format!("{name} is not row {at} of {REQUIREMENTS}"));
            continue;
        };
        let named: Vec<&str> = shown.split('`').skip(1).step_by(2).collect();
        if named.is_empty() {
            problems.push(format!("{name}: no test"));
        }
        let missing = named.into_iter().filter(|test| !tests.contains(*test));
        problems.extend(missing.map(|test| format!("{name}: no test is called {test}")));
    }
    problems
}

fn cells(row: &str) -> Vec<&str> {
    row.trim_matches('|').split('|').map(str::trim).collect()
}

/// The names of all test functions.
fn tests(files: &[File]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for file in files.iter().filter(|file| file.is_rust()) {
        let mut is_test = false;
        for line in file.text.lines().map(str::trim) {
            if line == "#[test]" || line.starts_with("#[tokio::test") {
                is_test = true;
            } else if let Some((_, rest)) = line.split_once("fn ")
                && std::mem::take(&mut is_test)
            {
                names.extend(rest.split_once('(').map(|(name, _)| name.to_owned()));
            }
        }
    }
    names
}
