//! What a proof found, for people and for the file that is kept.

use std::time::Duration;

use serde::Serialize;

use crate::cli::prove::load::Seen;
use crate::cli::prove::load::Shown;
use crate::cli::table::Table;
use crate::cli::table::written;
use crate::model::slot::Slot;

/// The report. No key is in it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    pub(super) is_proven: bool,
    /// Why not.
    pub(super) problems: Vec<String>,
    /// RFC 3339, as all moments here.
    pub(super) began: String,
    pub(super) ended: String,
    pub(super) target: String,
    pub(super) management: String,
    pub(super) gateway: Gateway,
    /// The generation when it had ended; `null` where the gateway did not tell.
    pub(super) generation_after: Option<u64>,
    pub(super) owner: String,
    pub(super) slot: Slot,
    pub(super) rotations: Rotations,
    pub(super) requests: Requests,
    pub(super) connections: Connections,
    pub(super) streams: Streams,
}

/// Which gateway answers on the management listener, when it began.
#[derive(Debug, Serialize, serde::Deserialize)]
pub(super) struct Gateway {
    pub(super) version: String,
    pub(super) commit: String,
    pub(super) generation: u64,
}

/// What became of the keys.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Rotations {
    pub(super) asked: u32,
    pub(super) done: u32,
    /// From the answer of the regeneration to the first refusal of the old key.
    pub(super) old_key_refused_after: Times,
    /// How often the old key was accepted after the answer, and the time to settle.
    pub(super) old_key_accepted: u64,
    /// From the answer of the regeneration to the first use of the new key.
    pub(super) new_key_accepted_after: Times,
    /// How often the new key was refused after the answer, and the time to settle.
    pub(super) new_key_refused: u64,
}

/// Times of many rotations.
#[derive(Debug, Default)]
pub(super) struct Times(Vec<Duration>);

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Requests {
    pub(super) sent: u64,
    pub(super) failed: u64,
    pub(super) first_failures: Vec<Failure>,
}

#[derive(Debug, Serialize)]
pub(super) struct Failure {
    pub(super) at: String,
    pub(super) key: Shown,
    /// The status and the gateway's code, or what happened instead of an answer.
    pub(super) why: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Connections {
    pub(super) opened: u64,
    pub(super) closed_by_gateway: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Streams {
    pub(super) opened: u64,
    pub(super) ended_early: u64,
}

impl Times {
    pub(super) fn add(&mut self, took: Duration) {
        self.0.push(took);
    }

    fn median_and_longest(&self) -> Option<(Duration, Duration)> {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        Some((*sorted.get(sorted.len() / 2)?, *sorted.last()?))
    }

    fn text(&self) -> String {
        let times = self.median_and_longest();
        times.map_or_else(|| "-".to_owned(), |(median, longest)| format!("{median:.1?} (longest {longest:.1?})"))
    }
}

impl Serialize for Times {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Milliseconds {
            median_ms: f64,
            longest_ms: f64,
        }
        let milliseconds = |took: Duration| took.as_secs_f64() * 1000.0;
        let times = self.median_and_longest().map(|(median, longest)| Milliseconds {
            median_ms: milliseconds(median),
            longest_ms: milliseconds(longest),
        });
        times.serialize(serializer)
    }
}

impl From<&Seen> for Requests {
    fn from(seen: &Seen) -> Self {
        let told = seen.first_failures.borrow();
        let failure = |failed: &crate::cli::prove::load::Failed| Failure {
            at: written(failed.at),
            key: failed.shown,
            why: failed.why.to_string(),
        };
        Self { sent: seen.sent.get(), failed: seen.failed.get(), first_failures: told.iter().map(failure).collect() }
    }
}

impl Report {
    /// Adds what the counts say against it, and judges.
    pub(super) fn judged(mut self) -> Self {
        let against = [
            (self.requests.failed, "requests failed"),
            (self.connections.closed_by_gateway, "connections were closed by the gateway"),
            (self.streams.ended_early, "streams ended early"),
            (
                self.rotations.old_key_accepted,
                "requests with an old key were accepted after its replacement was answered",
            ),
            (self.rotations.new_key_refused, "requests with a new key were refused after it was answered"),
        ];
        let against = against.into_iter().filter(|(count, _)| *count > 0);
        self.problems.extend(against.map(|(count, what)| format!("{count} {what}")));
        if self.requests.sent < u64::from(self.rotations.done) {
            self.problems
                .push("fewer requests than rotations were sent; want a higher rate, or a longer pause".to_owned());
        }
        self.is_proven = self.problems.is_empty();
        self
    }

    /// One JSON document.
    pub(super) fn json(&self) -> String {
        // Every member is text, a number or a list of such.
        serde_json::to_string_pretty(self).map(|text| text + "\n").unwrap_or_default()
    }

    /// A table, and the verdict below it.
    pub(super) fn text(&self) -> String {
        let Self { rotations, requests, connections, streams, gateway, .. } = self;
        let after = self.generation_after.map_or_else(|| "?".to_owned(), |generation| generation.to_string());
        let mut table = Table::new(&["ROTATION", "UNDER LOAD"]);
        for (what, found) in [
            ("began", self.began.clone()),
            ("ended", self.ended.clone()),
            ("target", self.target.clone()),
            ("managed at", self.management.clone()),
            ("gateway", format!("{} ({})", gateway.version, gateway.commit)),
            ("generation", format!("{} to {after}", gateway.generation)),
            ("slot", format!("{} {}", self.owner, self.slot)),
            ("rotations", format!("{} of {}", rotations.done, rotations.asked)),
            ("requests sent", requests.sent.to_string()),
            ("requests failed", requests.failed.to_string()),
            ("connections opened", connections.opened.to_string()),
            ("connections closed by the gateway", connections.closed_by_gateway.to_string()),
            ("streams held open", streams.opened.to_string()),
            ("streams ended early", streams.ended_early.to_string()),
            ("old key refused after", rotations.old_key_refused_after.text()),
            ("old key accepted too late", rotations.old_key_accepted.to_string()),
            ("new key accepted after", rotations.new_key_accepted_after.text()),
            ("new key refused too late", rotations.new_key_refused.to_string()),
        ] {
            table.row([what.to_owned(), found]);
        }
        let failures = requests.first_failures.iter().map(|Failure { at, key, why }| {
            let key = match key {
                Shown::Steady => "the key that stays",
                Shown::Rotating => "the key that rotates",
            };
            format!("  {at}  {why} (with {key})\n")
        });
        let verdict = if self.is_proven { "PROVEN\n".to_owned() } else { "NOT PROVEN\n".to_owned() };
        let problems = self.problems.iter().map(|problem| format!("  {problem}\n"));
        let failures: String = failures.collect();
        let first = if failures.is_empty() { failures } else { format!("\nThe first failures:\n{failures}") };
        let last = format!("\nThe slot holds a new key: scoregate keys list {}\n", self.owner);
        let last = if rotations.done == 0 { String::new() } else { last };
        [table.text(), first, "\n".to_owned(), verdict, problems.collect(), last].concat()
    }
}
