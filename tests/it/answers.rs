//! What upstreams should never send, and what the gateway makes of it: its callers are told, nobody else is concerned.

mod caller;
mod case;
mod evil;
mod evil_http2;
mod neighbours;

use std::collections::HashSet;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use self::caller::Outcome;
use self::case::Case;
use self::case::Connection;
use self::case::Over;
use self::evil::Evil;
use crate::protocols::authority::Authority;
use crate::protocols::wire::Wire;
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::gateway::scratch;
use crate::support::seeds;
use crate::support::summary;
use crate::support::summary::Counts;

/// Longest exchange: `total` of the services, and room for a machine that is busy.
const LONGEST: Duration = Duration::from_secs(8);

/// Cases that are played at once.
const PLAYERS: usize = 12;

#[test]
fn a_hostile_answer_is_refused_or_visibly_broken_and_nobody_else_gets_any_of_it() {
    let cases = case::all();
    for case in cases.iter().filter(|case| case.over != Over::Http2) {
        seeds::keep("answer", &[b"\x01", &case.sent()[..]].concat());
    }
    let authority = Authority::new();
    let identity = authority.certify("127.0.0.1");
    let upstreams: Vec<Evil> = cases.iter().map(|case| Evil::play(case, &identity)).collect();
    let directory = scratch();
    std::fs::write(directory.path().join("ca.crt"), &authority.pem).unwrap();
    let gateway = Gateway::start_in(directory, &configuration(&cases, &upstreams));
    let (next, failures) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..PLAYERS {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let (Some(case), Some(upstream)) = (cases.get(at), upstreams.get(at)) else { return };
                    let played = catch_unwind(AssertUnwindSafe(|| play(&gateway, at, case, upstream)));
                    if let Err(what) = played.unwrap_or_else(|_panic| Err("it panicked, see above".to_owned())) {
                        failures.lock().unwrap().push(format!("{}: {what} ({}; {})", case.name, case.why, case.source));
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    let (count, refused) = (cases.len(), cases.iter().filter(|case| !case.refused.is_empty()).count());
    let passed = (count - failures.len()) as u64;
    summary::report(
        "wire/answers",
        Counts { cases: count as u64, passed, refused: refused as u64, ..Counts::default() },
    );
    assert!(failures.is_empty(), "{} of {count}:\n{}", failures.len(), failures.join("\n"));
    assert!(gateway.metric("gateway_panics_total") == 0.0, "a panic");
}

/// An upstream for each case, a service in front of it with little time, and another for those who come after.
fn configuration(cases: &[Case], upstreams: &[Evil]) -> String {
    let mut yaml = "workers: 1\nupstreams:\n".to_owned();
    for (at, (case, upstream)) in cases.iter().zip(upstreams).enumerate() {
        let (scheme, tls) = match case.over {
            Over::Http1 => ("http", ""),
            Over::Http2 => ("h2c", ""),
            Over::Tls => ("https", ", tls: {ca: $DIR/ca.crt}"),
        };
        yaml += &format!("  c{at}: {{endpoints: ['{scheme}://{}']{tls}}}\n", upstream.address());
    }
    yaml += "services:\n";
    for (at, case) in cases.iter().enumerate() {
        let upgrades = if case.asks.is_upgrade() { ", upgrades: websocket" } else { "" };
        yaml += &format!(
            "  c{at}: {{match: [{{prefix: /c{at}}}], upstream: c{at}, auth: {{public: a test}}{upgrades}, \
             timeouts: {{connect: 1500ms, response: 1500ms, idle: 1500ms, total: 4s}}}}\n\
             \x20 after{at}: {{match: [{{prefix: /after{at}}}], upstream: c{at}, auth: {{public: a test}}}}\n"
        );
    }
    yaml
}

/// One case, and what comes after it.
fn play(gateway: &Gateway, at: usize, case: &Case, upstream: &Evil) -> Result<(), String> {
    let begun = Instant::now();
    let mut client = Wire::connect(gateway.traffic());
    let outcome = Outcome::of(&mut client, case, &format!("/c{at}"));
    if begun.elapsed() > LONGEST {
        return Err(format!("it took {:?}", begun.elapsed()));
    }
    case.judge(&outcome)?;
    upstream.is_done();
    upstream.turn_good();
    // The client's own next request, on the connection that the case came over.
    if outcome.leaves_connection() {
        canary(&mut client, &format!("/after{at}"), "next")
            .map_err(|what| format!("on the same connection, {what}"))?;
    } else if !client.ends() {
        return Err("the client's connection was to end, and did not".to_owned());
    }
    for who in ["one", "two"] {
        canary(&mut Wire::connect(gateway.traffic()), &format!("/after{at}"), who)?;
    }
    let after: HashSet<usize> = upstream.canaries().into_iter().collect();
    let spoilt: HashSet<usize> = upstream.spoilt().into_iter().collect();
    match case.connection {
        Connection::Gone => {
            if !after.is_disjoint(&spoilt) {
                return Err(format!("a connection was used again: {after:?} of {spoilt:?}"));
            }
            eventually(&format!("{}: the gateway closes the connection", case.name), || upstream.all_ended());
        }
        Connection::Kept if after != spoilt => {
            return Err(format!("a good connection was not used again: {after:?} instead of {spoilt:?}"));
        }
        Connection::Kept => {}
    }
    Ok(())
}

/// A request of somebody else, who has to get his own answer.
fn canary(client: &mut Wire, path: &str, who: &str) -> Result<(), String> {
    let asked = format!("x-canary: {who}\r\n");
    client.send(crate::protocols::wire::request("GET", path, &asked, None));
    let answer = client.try_message("GET").map_err(|error| format!("canary {who} got no answer: {error}"))?;
    let got = (answer.status(), answer.text());
    if got == (200, who.to_owned()) { Ok(()) } else { Err(format!("canary {who} got {got:?}")) }
}
