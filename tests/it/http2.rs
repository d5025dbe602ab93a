//! HTTP/2 from clients that keep no rule: `R22` and `R23` of the threat model. The cases are in `tests/http2/`.

mod case;
mod floods;
pub(crate) mod grpc;
mod recorder;
pub(crate) mod wire;

use std::time::Duration;
use std::time::Instant;

use serde_json::Value;

use self::case::Case;
use self::case::Outcome;
use self::recorder::Reading;
use self::recorder::Recorder;
use self::wire::Frame;
use self::wire::Http2;
use crate::protocols::wire::Wire;
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::summary;
use crate::support::summary::Counts;

/// Longest wait for what comes of a case.
const SOON: Duration = Duration::from_secs(5);

/// A gateway in front of one upstream: everybody may call `/`, whoever has the key `/keyed`. One worker, so that
/// whatever holds that up holds up everything.
pub(crate) fn gateway(upstream: std::net::SocketAddr) -> Gateway {
    let directory = crate::support::gateway::scratch();
    std::fs::write(directory.path().join("primary"), "primary-key-of-the-test").unwrap();
    std::fs::write(directory.path().join("secondary"), "secondary-key-of-the-test").unwrap();
    let yaml = format!(
        "
workers: 1
upstreams: {{a: {{endpoints: ['http://{upstream}']}}}}
services:
  open: {{match: [{{prefix: /}}], upstream: a, auth: {{public: a test of what is behind authentication}}}}
  keyed:
    match: [{{prefix: /keyed}}]
    upstream: a
    auth: {{key: {{keys: {{primary: {{key: 'file:$DIR/primary'}}, secondary: {{key: 'file:$DIR/secondary'}}}}}}}}
"
    );
    Gateway::start_in(directory, &yaml)
}

/// What the one gateway and its upstream make of each case.
struct Stage {
    upstream: Recorder,
    gateway: Gateway,
    canary: Wire,
}

impl Stage {
    fn set() -> Self {
        let upstream = Recorder::start();
        let gateway = gateway(upstream.at);
        let canary = Wire::connect(gateway.traffic());
        Self { upstream, gateway, canary }
    }

    /// Plays a case; what came of it, or what is wrong with that.
    fn play(&mut self, case: &Case) -> Result<Outcome, String> {
        let mut client = Http2::connect(self.gateway.traffic(), &[]);
        // An error is the gateway's right: what it has said before that counts.
        drop(client.send(case.bytes()));
        drop(client.send(wire::frame(wire::PING, 0, 0, b"canaries")));
        let seen = outcomes(&mut client, |outcome| case.expect.iter().any(|expected| outcome.is(expected)));
        drop(client);
        let path = format!("/canary/{}", case.name.replace(|letter: char| !letter.is_ascii_alphanumeric(), "-"));
        let answer = self.canary.get(&path, "");
        if (answer.status(), answer.text()) != (200, path) {
            return Err(format!("the canary got {answer:?}"));
        }
        eventually("nothing of the case is left with the upstream", || self.upstream.is_at_rest().then_some(()));
        let outcome = seen.last().cloned().unwrap_or(Outcome::Silence);
        if !case.expect.iter().any(|expected| outcome.is(expected)) {
            return Err(format!("got {seen:?}, want one of {:?}", case.expect));
        }
        self.judge(case, &outcome).map(|()| outcome)
    }

    /// What the upstream was told.
    fn judge(&self, case: &Case, outcome: &Outcome) -> Result<(), String> {
        let recorded = self.upstream.take();
        let smuggled = recorded.iter().any(|recorded| recorded.text.contains("/smuggled"));
        let is_meant = case.upstream_has.iter().any(|text| text.contains("/smuggled"));
        let ambiguous = recorded.iter().any(|recorded| matches!(recorded.reading, Reading::Ambiguous(_)));
        let most = usize::from(case.may_be_cut_off || outcome.is("status 200"));
        if recorded.len() > most || smuggled && !is_meant || ambiguous {
            return Err(format!("the upstream was told {recorded:?}"));
        }
        if !outcome.is("status 200") {
            return Ok(());
        }
        let text = recorded.first().map(|recorded| recorded.text.as_str()).unwrap_or_default();
        let missing = case.upstream_has.iter().find(|has| !text.contains(has.as_str()));
        let leaked = case.upstream_lacks.iter().find(|lacks| text.contains(lacks.as_str()));
        match (missing, leaked) {
            (None, None) => Ok(()),
            (missing, leaked) => Err(format!("{missing:?} is missing, {leaked:?} is there: {text:?}")),
        }
    }
}

/// What comes of a connection, up to an outcome that is wanted, its end, or for too long.
fn outcomes(client: &mut Http2, is_wanted: impl Fn(&Outcome) -> bool) -> Vec<Outcome> {
    let until = Instant::now() + SOON;
    let mut seen = Vec::new();
    let mut status = None;
    let mut pinged = false;
    while !seen.last().is_some_and(&is_wanted) {
        let outcome = match client.next(until) {
            Err(_late) => break,
            Ok(None) => Outcome::Closed,
            Ok(Some(frame)) => match of(&frame, &mut status) {
                Some(outcome) => outcome,
                None if frame.kind == wire::PING && frame.payload == b"canaries" => {
                    pinged = true;
                    continue;
                }
                None => continue,
            },
        };
        let ended = matches!(outcome, Outcome::Goaway(_) | Outcome::Closed);
        seen.push(outcome);
        if ended {
            return seen;
        }
    }
    if seen.is_empty() && pinged {
        seen.push(Outcome::Ignored);
    }
    seen
}

/// What a frame is to its case; `status` is that of an answer whose body is awaited.
fn of(frame: &Frame, status: &mut Option<u16>) -> Option<Outcome> {
    let ends = frame.flags & wire::END_STREAM != 0;
    match frame.kind {
        wire::RST_STREAM => Some(Outcome::Reset(frame.error())),
        wire::GOAWAY => Some(Outcome::Goaway(frame.error())),
        wire::HEADERS if ends => Some(Outcome::Status(frame.status()?, String::new())),
        wire::HEADERS => {
            *status = frame.status();
            None
        }
        wire::DATA => {
            let document: Value = serde_json::from_slice(&frame.payload).unwrap_or_default();
            let code = document["error"]["code"].as_str().unwrap_or_default().to_owned();
            status.take().map(|status| Outcome::Status(status, code))
        }
        _ => None,
    }
}

fn run(suite: &str, text: &str) {
    let cases = case::read(text);
    let mut stage = Stage::set();
    let mut counts = Counts { cases: cases.len() as u64, ..Counts::default() };
    let mut failures = Vec::new();
    for case in &cases {
        match stage.play(case) {
            Ok(outcome) => {
                counts.passed += 1;
                counts.refused += u64::from(!outcome.is("status 200") && !outcome.is("ignored"));
            }
            Err(what) => failures.push(format!("{}: {what}\n  ({}; {})", case.name, case.why, case.source)),
        }
    }
    summary::report(suite, counts);
    assert!(failures.is_empty(), "{} of {} cases:\n{}", failures.len(), cases.len(), failures.join("\n"));
    assert!(stage.gateway.metric("gateway_panics_total") == 0.0, "a panic");
}

#[test]
fn what_http1_must_not_be_told_is_refused_or_taken_out() {
    run("http2/requests", include_str!("../http2/requests.yaml"));
}

#[test]
fn frames_that_break_the_rules_end_their_stream_or_their_connection() {
    run("http2/frames", include_str!("../http2/frames.yaml"));
}

#[test]
fn a_refusal_before_the_body_is_there_is_not_followed_by_a_reset() {
    let upstream = Recorder::start();
    let gateway = gateway(upstream.at);
    let mut client = Http2::connect(gateway.traffic(), &[]);
    let head = wire::request("POST", "/keyed");
    client.send(wire::frame(wire::HEADERS, wire::END_HEADERS, 1, &head)).unwrap();
    // The body comes a moment later, in a packet of its own.
    std::thread::sleep(Duration::from_millis(30));
    client.send(wire::frame(wire::DATA, wire::END_STREAM, 1, b"hello")).unwrap();
    client.send(wire::frame(wire::PING, 0, 0, b"canaries")).unwrap();
    let (mut status, mut reset, mut pinged, mut ended) = (None, false, false, false);
    client.until(SOON, |frame| {
        status = status.or(frame.status().filter(|_| frame.kind == wire::HEADERS));
        reset |= frame.kind == wire::RST_STREAM;
        pinged |= frame.kind == wire::PING;
        ended |= frame.stream == 1 && frame.flags & wire::END_STREAM != 0;
        pinged && ended
    });
    let late = client.until(Duration::from_millis(100), |frame| frame.kind == wire::RST_STREAM);
    assert_eq!((status, reset || late.is_some()), (Some(401), false));
    assert_eq!(upstream.take(), []);
}
