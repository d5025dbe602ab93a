//! Plays a case and judges what came of it: at the client, and at the upstream in every reading of its bytes.

use std::fmt::Debug;
use std::io::Write as _;
use std::net::Shutdown;
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use crate::protocols::wire::Wire;
use crate::wire::case::Case;
use crate::wire::case::Expected;
use crate::wire::case::Step;
use crate::wire::readers::READERS;
use crate::wire::readers::Reader;
use crate::wire::readers::Rest;
use crate::wire::readers::STRICT;
use crate::wire::readers::Seen;
use crate::wire::stage;
use crate::wire::stage::Stage;

/// Longest wait for an answer, or for the end of the connection.
const ANSWER_WITHIN: Duration = Duration::from_secs(6);

/// What a case came to.
#[derive(Debug)]
pub(super) enum Verdict {
    /// As it should, and no request of it reached the upstream.
    Refused,
    /// As it should, and the upstream got what it should.
    Forwarded,
    /// Otherwise.
    Wrong(String),
}

/// Plays the case.
pub(super) fn of(case: &Case, stage: &Stage) -> Verdict {
    match play(case, stage) {
        Ok(()) if case.upstream().is_empty() => Verdict::Refused,
        Ok(()) => Verdict::Forwarded,
        Err(why) => Verdict::Wrong(why),
    }
}

fn play(case: &Case, stage: &Stage) -> Result<(), String> {
    let mark = stage.mark();
    let client = played(case, stage);
    let fresh = connect(stage).and_then(|(_, mut wire)| plain_request(&mut wire, "/open/fresh"));
    stage.settle();
    let pieces = stage.since(&mark);
    let plain = [("/open/same", !case.closes() && client.is_ok()), ("/open/fresh", fresh.is_ok())];
    let seen = READERS.iter().try_for_each(|reader| upstream_saw(reader, case, &pieces, &plain));
    let received = || pieces.iter().map(|piece| format!("{:?}", String::from_utf8_lossy(piece))).collect::<Vec<_>>();
    client?;
    fresh.map_err(|why| format!("afterwards, on a fresh connection: {why}"))?;
    seen.map_err(|why| format!("{why}\n    the upstream received {:#?}", received()))
}

/// A connection, and the same one to be read as HTTP/1.
pub(super) fn connect(stage: &Stage) -> Result<(TcpStream, Wire), String> {
    let stream = TcpStream::connect(stage.address()).map_err(|error| error.to_string())?;
    let other = stream.try_clone().map_err(|error| error.to_string())?;
    let wire = Wire::tcp(stream);
    other.set_read_timeout(Some(ANSWER_WITHIN)).map_err(|error| error.to_string())?;
    Ok((other, wire))
}

/// What the client sees.
fn played(case: &Case, stage: &Stage) -> Result<(), String> {
    let (mut stream, mut wire) = connect(stage)?;
    let mut method = String::new();
    for step in case.steps() {
        match step {
            Step::Send(bytes) => {
                if method.is_empty() {
                    method = bytes.iter().map(|byte| char::from(*byte)).take_while(char::is_ascii_uppercase).collect();
                }
                // That the gateway has stopped to read is its right: the answer tells why.
                if stream.write_all(&bytes).is_err() {
                    break;
                }
            }
            Step::Wait(pause) => thread::sleep(pause),
            Step::End => stream.shutdown(Shutdown::Write).map_err(|error| error.to_string())?,
        }
    }
    for (number, wanted) in case.answers().iter().enumerate() {
        let method = if number == 0 { method.as_str() } else { "GET" };
        let answer = wire.try_message(method).map_err(|error| format!("answer {number}: {error}, want {wanted:?}"))?;
        if !wanted.takes(answer.status()) {
            return Err(format!("answer {number} is {} {}, want {wanted:?}", answer.status(), answer.text()));
        }
        if answer.text().contains("tainted") {
            return Err(format!("answer {number} repeats a credential: {}", answer.text()));
        }
    }
    if case.closes() {
        return if wire.ends() { Ok(()) } else { Err("the connection stays open, or something else came".to_owned()) };
    }
    plain_request(&mut wire, "/open/same").map_err(|why| format!("afterwards, on the same connection: {why}"))
}

/// A request that nothing is wrong with gets its own answer.
pub(super) fn plain_request(wire: &mut Wire, target: &str) -> Result<(), String> {
    wire.try_send(format!("GET {target} HTTP/1.1\r\nHost: gateway.test\r\n\r\n")).map_err(|error| error.to_string())?;
    let answer = wire.try_message("GET").map_err(|error| format!("a plain request: {error}"))?;
    let (status, text) = (answer.status(), answer.text());
    if (status, text.as_str()) == (200, format!("GET {target}").as_str()) {
        Ok(())
    } else {
        Err(format!("a plain request is answered with {status} {text}"))
    }
}

/// What the upstream sees as this reader reads it: what the case wants, the plain requests, and nothing else.
fn upstream_saw(reader: &Reader, case: &Case, pieces: &[Vec<u8>], plain: &[(&str, bool)]) -> Result<(), String> {
    let mut seen = Vec::new();
    for piece in pieces {
        let (requests, rest) = reader.read(piece);
        seen.extend(requests);
        match rest {
            Rest::Nothing => {}
            Rest::Begun if case.begun => {}
            other @ (Rest::Begun | Rest::Garbled(_)) => {
                return Err(format!("to the reader {:?} something is left: {other:?}", reader.name));
            }
        }
        if piece.windows(7).any(|seven| seven == b"tainted") {
            return Err("a credential reached the upstream".to_owned());
        }
    }
    for (target, sent) in plain {
        let count = seen.len();
        seen.retain(|request| request.target != *target);
        if count - seen.len() != usize::from(*sent) {
            return Err(format!("to the reader {:?} {target} came {} times", reader.name, count - seen.len()));
        }
    }
    let expected = case.upstream();
    if seen.len() != expected.len() {
        let targets: Vec<&str> = seen.iter().map(|request| request.target.as_str()).collect();
        return Err(format!("the reader {:?} sees {targets:?}, want {} requests", reader.name, expected.len()));
    }
    seen.iter().zip(expected).try_for_each(|(seen, expected)| {
        let fields = if reader.name == STRICT.name { as_written(seen, expected) } else { Ok(()) };
        as_expected(seen, expected).and(fields).map_err(|why| format!("the reader {:?} sees {why}", reader.name))
    })
}

fn differs(what: &str, got: &dyn Debug, want: &dyn Debug) -> Result<(), String> {
    Err(format!("{what} {got:?}, want {want:?}"))
}

/// What every reader has to see alike.
fn as_expected(seen: &Seen, expected: &Expected) -> Result<(), String> {
    let target = expected.target();
    if (&seen.method, &seen.target) != (&expected.method, &target) {
        return differs("a request for", &(&seen.method, &seen.target), &(&expected.method, &target));
    }
    if seen.host.as_ref() != Some(&expected.host) {
        return differs("the host", &seen.host, &expected.host);
    }
    let principal = stage::principal(&seen.target, seen.host.as_deref());
    if seen.principal != principal {
        return differs("the principal", &seen.principal, &principal);
    }
    if seen.body != expected.body() {
        return differs("the body", &String::from_utf8_lossy(&seen.body), &String::from_utf8_lossy(&expected.body()));
    }
    Ok(())
}

/// The fields as they were written, name by name.
fn as_written(seen: &Seen, expected: &Expected) -> Result<(), String> {
    let all = |name: &str| {
        let values = seen.headers.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str());
        values.collect::<Vec<_>>().join(", ")
    };
    for (name, value) in &expected.has {
        if all(name) != *value {
            return differs(name, &all(name), value);
        }
    }
    for name in &expected.lacks {
        if seen.headers.iter().any(|(known, _)| known == name) {
            return differs(name, &all(name), &"no such header");
        }
    }
    Ok(())
}
