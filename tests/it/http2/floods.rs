//! Floods: cheap to send, dear to take. What they cost is bounded, whoever sends them is stopped where something can
//! be held against them, and a neighbour on the same worker notices nothing.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;
use std::time::Instant;

use super::gateway;
use super::wire;
use super::wire::END_HEADERS;
use super::wire::END_STREAM;
use super::wire::Frame;
use super::wire::Http2;
use super::wire::field;
use super::wire::frame;
use crate::protocols::wire::Script;
use crate::protocols::wire::Wire;
use crate::support::PATIENCE;
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::neighbour::Calls;
use crate::support::neighbour::Neighbour;
use crate::support::summary;
use crate::support::summary::Counts;

/// Longest time that a flood is kept up.
const FLOOD_FOR: Duration = Duration::from_millis(800);

/// Most memory that a flood may cost, in KiB. Allocators give back late, and the program under test is not optimised.
const MOST_KIB: u64 = 64 * 1024;

/// A flood: what one round of it sends, and how it may end.
struct Flood {
    name: &'static str,
    /// Before the first round.
    begin: fn() -> Vec<u8>,
    /// The round of this number, from 0.
    round: fn(u32) -> Vec<u8>,
    /// The codes of `GOAWAY` that may end it; where none does, the flood is to be taken without one.
    ends: &'static [&'static str],
    /// Whether the client reads what it is answered.
    reads: bool,
}

const CALM: &[&str] = &["ENHANCE_YOUR_CALM"];

const FLOODS: &[Flood] = &[
    Flood { name: "rapid reset", begin: Vec::new, round: rapid_reset, ends: CALM, reads: true },
    Flood { name: "made you reset, by windows", begin: Vec::new, round: made_you_reset, ends: CALM, reads: true },
    Flood { name: "made you reset, by headers", begin: Vec::new, round: malformed, ends: CALM, reads: true },
    Flood { name: "CONTINUATION", begin: open_block, round: continuation, ends: CALM, reads: true },
    Flood { name: "empty CONTINUATION", begin: open_block, round: empty_continuation, ends: CALM, reads: true },
    Flood { name: "empty DATA", begin: post, round: empty_data, ends: CALM, reads: true },
    Flood { name: "HPACK bomb", begin: bomb_table, round: bomb, ends: CALM, reads: true },
    Flood { name: "SETTINGS", begin: Vec::new, round: settings, ends: &[], reads: true },
    Flood { name: "SETTINGS, nothing read", begin: Vec::new, round: settings, ends: &[], reads: false },
    Flood { name: "PING", begin: Vec::new, round: ping, ends: &[], reads: true },
    Flood { name: "PING, nothing read", begin: Vec::new, round: ping, ends: &[], reads: false },
    Flood { name: "PING answers", begin: Vec::new, round: pong, ends: &[], reads: true },
    Flood { name: "PRIORITY", begin: Vec::new, round: priority, ends: &[], reads: true },
    Flood { name: "WINDOW_UPDATE", begin: Vec::new, round: window, ends: &["FLOW_CONTROL_ERROR"], reads: true },
    Flood { name: "unknown frames", begin: Vec::new, round: unknown, ends: &[], reads: true },
];

fn stream(round: u32) -> u32 {
    round * 2 + 1
}

fn get() -> Vec<u8> {
    wire::request("GET", "/flood")
}

fn rapid_reset(round: u32) -> Vec<u8> {
    let open = frame(wire::HEADERS, END_STREAM | END_HEADERS, stream(round), &get());
    [open, frame(wire::RST_STREAM, 0, stream(round), &8_u32.to_be_bytes())].concat()
}

fn made_you_reset(round: u32) -> Vec<u8> {
    let open = frame(wire::HEADERS, END_HEADERS, stream(round), &get());
    [open, frame(wire::WINDOW_UPDATE, 0, stream(round), &0x7fff_ffff_u32.to_be_bytes())].concat()
}

fn malformed(round: u32) -> Vec<u8> {
    let block = [get(), field(b"connection", b"close")].concat();
    frame(wire::HEADERS, END_STREAM | END_HEADERS, stream(round), &block)
}

fn open_block() -> Vec<u8> {
    frame(wire::HEADERS, END_STREAM, 1, &get())
}

fn continuation(round: u32) -> Vec<u8> {
    frame(9, 0, 1, &field(format!("x-{round}").as_bytes(), &[b'x'; 1024]))
}

fn empty_continuation(_round: u32) -> Vec<u8> {
    frame(9, 0, 1, &[])
}

fn post() -> Vec<u8> {
    frame(wire::HEADERS, END_HEADERS, 1, &wire::request("POST", "/flood"))
}

fn empty_data(_round: u32) -> Vec<u8> {
    frame(wire::DATA, 0, 1, &[])
}

/// Puts 4,000 bytes into the dynamic table, where one byte stands for them.
fn bomb_table() -> Vec<u8> {
    let mut block = get();
    block.extend([0x40, 1, b'x']);
    wire::integer(&mut block, 0, 7, 4_000);
    block.extend([b'x'; 4_000]);
    frame(wire::HEADERS, END_STREAM | END_HEADERS, 1, &block)
}

fn bomb(round: u32) -> Vec<u8> {
    let block = [get(), vec![0xbe; 12_000]].concat();
    frame(wire::HEADERS, END_STREAM | END_HEADERS, stream(round) + 2, &block)
}

fn settings(_round: u32) -> Vec<u8> {
    frame(wire::SETTINGS, 0, 0, &wire::setting(4, 65_535))
}

fn ping(round: u32) -> Vec<u8> {
    frame(wire::PING, 0, 0, &u64::from(round).to_be_bytes())
}

fn pong(round: u32) -> Vec<u8> {
    frame(wire::PING, wire::ACK, 0, &u64::from(round).to_be_bytes())
}

fn priority(round: u32) -> Vec<u8> {
    frame(2, 0, stream(round), &[0, 0, 0, 0, 7])
}

fn window(_round: u32) -> Vec<u8> {
    frame(wire::WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes())
}

fn unknown(_round: u32) -> Vec<u8> {
    frame(0x2a, 0, 0, &[])
}

/// The gateway's memory, in KiB.
fn resident(gateway: &Gateway) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", gateway.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// Keeps a flood up until it is stopped, or long enough; the code of the `GOAWAY` that came.
fn flood(gateway: SocketAddr, flood: &Flood) -> Option<&'static str> {
    let mut client = Http2::connect(gateway, &[]);
    let until = Instant::now() + FLOOD_FOR;
    let is_goaway = |frame: &Frame| frame.kind == wire::GOAWAY;
    let mut sent = client.send((flood.begin)());
    let mut round = 0;
    let mut goaway = None;
    while Instant::now() < until && sent.is_ok() && goaway.is_none() {
        let piece: Vec<u8> = (round..round + 50).flat_map(flood.round).collect();
        round += 50;
        sent = client.send(piece);
        if flood.reads {
            goaway = client.until(Duration::ZERO, is_goaway);
        }
    }
    if goaway.is_none() && (flood.reads || sent.is_err()) {
        // What was said before the end; a flood that was taken has nothing to be told.
        goaway = client.until(Duration::from_millis(300), is_goaway);
    }
    goaway.map(|frame| frame.error())
}

#[test]
fn a_flood_costs_little_and_nobody_else_anything() {
    let upstream = Script::play(crate::protocols::wire::answer_with_path);
    let gateway = gateway(upstream.at());
    let mut counts = Counts { cases: FLOODS.len() as u64, ..Counts::default() };
    let mut failures = Vec::new();
    for case in FLOODS {
        let before = resident(&gateway);
        let neighbour = Neighbour::start(gateway.traffic());
        let goaway = flood(gateway.traffic(), case);
        let grown = resident(&gateway).saturating_sub(before);
        let calls = neighbour.stop();
        let Calls { sent, failed, slowest: _ } = calls;
        counts.sent += sent;
        counts.failed += failed;
        let as_wanted = match goaway {
            Some(code) => case.ends.contains(&code),
            None => case.ends.is_empty() || case.ends == ["FLOW_CONTROL_ERROR"],
        };
        if as_wanted && grown < MOST_KIB && calls.are_fine() {
            counts.passed += 1;
            counts.refused += u64::from(goaway.is_some());
        } else {
            failures.push(format!(
                "{}: ended by {goaway:?}, want {:?}; {grown} KiB more; the neighbour: {calls:?}",
                case.name, case.ends
            ));
        }
    }
    summary::report("http2/floods", counts);
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    let last = Wire::connect(gateway.traffic()).get("/after", "");
    assert_eq!((last.status(), last.text().as_str()), (200, "/after"));
}

#[test]
fn answers_that_a_client_gives_no_room_for_take_bounded_memory() {
    const LENGTH: usize = 4 * 1024 * 1024;
    let upstream = Script::play(|mut scene| {
        while let Some(request) = scene.request() {
            let large = request.head.line.contains("/large");
            let body = if large { "x".repeat(LENGTH) } else { "small".to_owned() };
            if scene.wire.try_send(crate::protocols::wire::ok(&body)).is_err() {
                return;
            }
        }
    });
    let gateway = gateway(upstream.at());
    let before = resident(&gateway);
    // No window for any stream.
    let mut client = Http2::connect(gateway.traffic(), &[(4, 0)]);
    let streams: Vec<u32> = (0..250).map(stream).collect();
    let requests = streams
        .iter()
        .flat_map(|id| frame(wire::HEADERS, END_STREAM | END_HEADERS, *id, &wire::request("GET", "/large")));
    client.send(requests.collect::<Vec<u8>>()).unwrap();
    let (mut answered, mut refused) = (0, 0);
    client.until(PATIENCE, |frame| {
        answered += usize::from(frame.kind == wire::HEADERS);
        refused += usize::from(frame.kind == wire::RST_STREAM && frame.error() == "REFUSED_STREAM");
        assert_ne!(frame.kind, wire::DATA, "there is no room for it");
        answered + refused == streams.len()
    });
    assert!(answered > 0 && refused > 0, "{answered} answered, {refused} refused: streams have a limit");
    let grown = resident(&gateway).saturating_sub(before);
    assert!(grown < 2 * MOST_KIB, "{grown} KiB for {answered} answers that nobody reads");
    let small = Wire::connect(gateway.traffic()).get("/small", "");
    assert_eq!((small.status(), small.text().as_str()), (200, "small"));
    // When the client leaves, so does all that it held.
    drop(client);
    eventually("nothing is in flight", || {
        (gateway.metric("gateway_http_requests_in_flight{service=\"open\"}") == 0.0).then_some(())
    });
}

#[test]
fn a_head_that_is_too_large_is_refused() {
    let upstream = Script::play(crate::protocols::wire::answer_with_path);
    let gateway = gateway(upstream.at());
    let many: Vec<u8> = (0..200).flat_map(|at| field(format!("x-{at}").as_bytes(), b"1")).collect();
    let one = field(b"x-large", &[b'x'; 70_000]);
    let path = field(b":path", format!("/{}", "x".repeat(17 * 1024)).as_bytes());
    let usual = [(":method", "GET"), (":scheme", "http"), (":authority", "stage")];
    let usual: Vec<u8> = usual.iter().flat_map(|(name, value)| field(name.as_bytes(), value.as_bytes())).collect();
    for (what, block, status) in [
        ("200 headers", [get(), many].concat(), 431),
        ("one header of 70,000 bytes", [get(), one].concat(), 431),
        ("a path of 17 KiB", [usual, path].concat(), 414),
    ] {
        let mut client = Http2::connect(gateway.traffic(), &[]);
        let mut pieces = block.chunks(16 * 1024).peekable();
        let mut bytes = frame(wire::HEADERS, END_STREAM, 1, pieces.next().unwrap());
        while let Some(piece) = pieces.next() {
            bytes.extend(frame(9, if pieces.peek().is_none() { END_HEADERS } else { 0 }, 1, piece));
        }
        if block.len() <= 16 * 1024 {
            bytes = frame(wire::HEADERS, END_STREAM | END_HEADERS, 1, &block);
        }
        client.send(bytes).unwrap();
        let answer = client.until(PATIENCE, |frame| matches!(frame.kind, wire::HEADERS | wire::GOAWAY));
        assert_eq!(answer.and_then(|frame| frame.status()), Some(status), "{what}");
    }
    assert_eq!(upstream.requests().len(), 0);
}
