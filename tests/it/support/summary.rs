//! What a suite counted, as a line of the table that `tests/run` prints at its end. Nothing here judges.

use std::fs::OpenOptions;
use std::io::Write as _;

use serde::Serialize;

/// The file that the lines go to; `tests/run` names a fresh one.
const VARIABLE: &str = "SCOREGATE_TEST_SUMMARY";

/// How much a suite did. Leave out by `..Counts::default()` what it has none of.
#[derive(Debug, Default, Clone, Copy, Serialize)]
pub(crate) struct Counts {
    pub(crate) cases: u64,
    pub(crate) passed: u64,
    /// Of the cases, those that were to be refused, and were.
    pub(crate) refused: u64,
    /// Faults injected.
    pub(crate) faults: u64,
    /// Requests of the load that ran meanwhile.
    pub(crate) sent: u64,
    /// Of those, the ones that failed although they were to succeed.
    pub(crate) failed: u64,
}

#[derive(Serialize)]
struct Line<'a> {
    suite: &'a str,
    #[serde(flatten)]
    counts: Counts,
}

/// Adds the line of a suite to the summary, where somebody wants one. Several lines of a suite are added up.
pub(crate) fn report(suite: &str, counts: Counts) {
    let Some(path) = std::env::var_os(VARIABLE) else { return };
    let line = serde_json::to_string(&Line { suite, counts }).unwrap() + "\n";
    // Tests run side by side: one write a line, at the end of the file.
    let file = OpenOptions::new().create(true).append(true).open(path);
    file.and_then(|mut file| file.write_all(line.as_bytes())).expect("the summary can be written");
}
