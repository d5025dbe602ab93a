//! What becomes of HTTP/1 requests that two parsers could read differently: the cases of `tests/wire`, a file an area.
//!
//! Each case is sent over a socket of its own. What reaches the upstream is judged by one strict and many lenient readings
//! of its bytes, and after each case a plain request has to get its own answer.

mod case;
mod published;
mod readers;
mod stage;
mod verdict;

use std::thread;

use crate::support::seeds;
use crate::support::summary;
use crate::support::summary::Counts;
use crate::wire::case::Case;
use crate::wire::stage::Stage;
use crate::wire::verdict::Verdict;

/// Gateways that share the cases of an area: most of a case is waiting.
const LANES: usize = 2;

#[test]
fn framing_has_one_reading_or_is_refused() {
    hold("framing");
}

#[test]
fn a_broken_chunk_is_the_clients_fault_and_ends_its_connection() {
    hold("chunking");
}

#[test]
fn a_request_line_has_three_parts_and_one_reading() {
    hold("request-line");
}

#[test]
fn fields_are_one_line_each_and_within_the_limits() {
    hold("headers");
}

#[test]
fn a_request_is_for_one_host_and_no_open_one_leads_to_a_stricter() {
    hold("host");
}

#[test]
fn the_path_that_was_matched_is_the_path_that_is_sent() {
    hold("path");
}

#[test]
fn what_is_of_one_hop_stays_there_and_takes_nothing_from_the_gateway() {
    hold("hop-by-hop");
}

#[test]
fn only_a_websocket_upgrades_and_only_after_authentication() {
    hold("upgrade");
}

#[test]
fn a_credential_is_one_in_its_place_and_exact_or_none() {
    hold("credentials");
}

#[test]
fn who_called_is_told_by_the_gateway_alone() {
    hold("identity");
}

/// Runs every case of an area and names those that do not hold.
fn hold(area: &str) {
    let cases = case::of(area);
    cases.iter().for_each(|case| seeds::keep_request(&case.bytes()));
    let verdicts = judge(&cases);
    let failed: Vec<String> = verdicts
        .iter()
        .zip(&cases)
        .filter_map(|(verdict, case)| match verdict {
            Verdict::Refused | Verdict::Forwarded => None,
            Verdict::Wrong(why) => Some(format!("{}: {why}\n    {} ({})", case.name, case.why, case.source)),
        })
        .collect();
    let refused = verdicts.iter().filter(|verdict| matches!(verdict, Verdict::Refused)).count();
    summary::report(
        &format!("wire/{area}"),
        Counts {
            cases: cases.len() as u64,
            passed: (cases.len() - failed.len()) as u64,
            refused: refused as u64,
            ..Counts::default()
        },
    );
    assert!(failed.is_empty(), "{} of {} cases of {area}:\n{}", failed.len(), cases.len(), failed.join("\n"));
}

/// The verdicts, in the order of the cases.
fn judge(cases: &[Case]) -> Vec<Verdict> {
    let share = cases.len().div_ceil(LANES).max(1);
    thread::scope(|scope| {
        let lanes: Vec<_> = cases
            .chunks(share)
            .map(|cases| {
                scope.spawn(move || {
                    let stage = Stage::set();
                    let verdicts: Vec<Verdict> = cases.iter().map(|case| verdict::of(case, &stage)).collect();
                    stage.has_not_panicked();
                    verdicts
                })
            })
            .collect();
        lanes.into_iter().flat_map(|lane| lane.join().expect("a case does not panic")).collect()
    })
}
