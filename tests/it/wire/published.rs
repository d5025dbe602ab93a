//! Requests that others have judged: the test data of the crate `http_desync_guardian`, which tells requests that a proxy may
//! pass from those that servers read differently.

use std::collections::BTreeMap;
use std::fs;
use std::net::Shutdown;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use serde::Deserialize;
use serde_json::Value;

use crate::support::summary;
use crate::support::summary::Counts;
use crate::wire::readers::READERS;
use crate::wire::readers::Rest;
use crate::wire::stage::Stage;
use crate::wire::verdict::connect;
use crate::wire::verdict::plain_request;

const EVERYTHING: &str = "
workers: 1
upstreams: {a: {endpoints: ['http://@UPSTREAM']}}
services: {a: {match: [{prefix: /}], upstream: a, auth: {public: a test}}}
";

/// Most of a body that is sent.
const MOST_BYTES: usize = 100_000;

#[derive(Debug, Deserialize)]
struct Published {
    name: String,
    uri: String,
    method: String,
    version: String,
    #[serde(default)]
    headers: Vec<Header>,
    expected: Expected,
}

#[derive(Debug, Deserialize)]
struct Header {
    name: String,
    #[serde(default)]
    value: serde_yaml::Value,
}

#[derive(Debug, Deserialize)]
struct Expected {
    tier: Tier,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
enum Tier {
    Compliant,
    Acceptable,
    Ambiguous,
    Severe,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    Refused,
    /// One request arrived, and every reader sees the same one.
    Forwarded,
}

#[test]
fn what_others_call_ambiguous_is_refused_or_has_one_reading_behind_the_gateway() {
    let stage = Stage::with(EVERYTHING);
    let cases = published();
    let mut counted: BTreeMap<(Tier, Outcome), u64> = BTreeMap::new();
    let mut failed = Vec::new();
    for case in &cases {
        match outcome(case, &stage) {
            Ok(outcome) => *counted.entry((case.expected.tier, outcome)).or_default() += 1,
            Err(why) => failed.push(format!("{} ({:?}): {why}", case.name, case.expected.tier)),
        }
    }
    stage.has_not_panicked();
    let refused = counted.iter().filter(|((_, outcome), _)| *outcome == Outcome::Refused).map(|(_, count)| count).sum();
    let (all, wrong) = (cases.len() as u64, failed.len() as u64);
    summary::report("wire/published", Counts { cases: all, passed: all - wrong, refused, ..Counts::default() });
    assert!(failed.is_empty(), "{} of {} cases:\n{}\n{counted:?}", failed.len(), cases.len(), failed.join("\n"));
    assert!(all > 100, "the data is there: {all} cases");
    // A gateway that refuses everything passes everything above.
    let compliant = counted.get(&(Tier::Compliant, Outcome::Forwarded)).copied().unwrap_or_default();
    assert!(compliant >= 15, "{counted:?}");
}

/// The cases in the crate that `tests/wire/published` pins.
fn published() -> Vec<Published> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wire/published/Cargo.toml");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["metadata", "--locked", "--format-version", "1", "--manifest-path"]).arg(manifest);
    let told = cargo.output().expect("cargo runs");
    let told: Value = serde_json::from_slice(&told.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&told.stderr)));
    let package = told["packages"].as_array().into_iter().flatten().find(|it| it["name"] == "http_desync_guardian");
    let manifest = package.and_then(|package| package["manifest_path"].as_str()).expect("cargo has fetched the crate");
    let directory = Path::new(manifest).with_file_name("tests");
    let mut files: Vec<PathBuf> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    files
        .iter()
        .flat_map(|path| serde_yaml::from_str::<Vec<Published>>(&fs::read_to_string(path).unwrap()).unwrap())
        .collect()
}

impl Published {
    fn bytes(&self) -> Vec<u8> {
        let mut text = format!("{} {} {}\r\n", self.method, self.uri, self.version);
        // Without one everything would be refused for that.
        if !self.headers.iter().any(|header| header.name.eq_ignore_ascii_case("host")) {
            text.push_str("Host: gateway.test\r\n");
        }
        for header in &self.headers {
            text.push_str(&format!("{}: {}\r\n", header.name, header.text()));
        }
        text.push_str("\r\n");
        let mut bytes: Vec<u8> = text.chars().map(|char| u8::try_from(char).unwrap_or(b'?')).collect();
        bytes.extend(self.body());
        bytes
    }

    /// The data has none; one that fits the headers, where that is clear. Of a very long one only the beginning.
    fn body(&self) -> Vec<u8> {
        if self.value("transfer-encoding").is_some() {
            return b"0\r\n\r\n".to_vec();
        }
        vec![b'x'; self.length().min(MOST_BYTES)]
    }

    fn length(&self) -> usize {
        self.value("content-length").and_then(|length| length.trim().parse().ok()).unwrap_or(0)
    }

    fn value(&self, name: &str) -> Option<String> {
        self.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name)).map(Header::text)
    }
}

impl Header {
    fn text(&self) -> String {
        // A number is written as one.
        let number = || serde_yaml::to_string(&self.value).unwrap().trim().to_owned();
        let is_null = self.value.is_null();
        self.value.as_str().map_or_else(|| if is_null { String::new() } else { number() }, str::to_owned)
    }
}

fn outcome(case: &Published, stage: &Stage) -> Result<Outcome, String> {
    let mark = stage.mark();
    let (stream, mut wire) = connect(stage)?;
    // That the gateway has stopped to read is its right: the answer tells why.
    wire.try_send(case.bytes()).unwrap_or_default();
    if case.length() > MOST_BYTES {
        stream.shutdown(Shutdown::Write).map_err(|error| error.to_string())?;
    }
    let answer = wire.try_message(&case.method).map_err(|error| format!("no answer: {error}"))?;
    drop(wire);
    let (_stream, mut fresh) = connect(stage)?;
    plain_request(&mut fresh, "/fresh").map_err(|why| format!("afterwards: {why}"))?;
    stage.settle();
    let mut readings = READERS.iter().map(|reader| {
        let (requests, rests): (Vec<_>, Vec<_>) = stage.since(&mark).iter().map(|piece| reader.read(piece)).unzip();
        let requests = requests.into_iter().flatten().filter(|seen| seen.target != "/fresh");
        let told = requests.map(|seen| (seen.method, seen.target, seen.host, seen.body)).collect::<Vec<_>>();
        // Of a body that was broken off, the upstream may have seen the beginning.
        (told, rests.into_iter().all(|rest| rest == Rest::Nothing || rest == Rest::Begun && case.length() > MOST_BYTES))
    });
    let first = readings.next().ok_or("no reader")?;
    if let Some(other) = readings.find(|reading| *reading != first) {
        return Err(format!("the upstream could read {first:?} and {other:?}"));
    }
    match (answer.status(), first) {
        (200, (seen, true)) if seen.len() == 1 => Ok(Outcome::Forwarded),
        (400..=499 | 501 | 505, (seen, true)) if seen.is_empty() => Ok(Outcome::Refused),
        (status, seen) => Err(format!("answered with {status}, and the upstream saw {seen:?}")),
    }
}
