//! Upstreams that have a bad day while another service works: their own callers are told within the time that was
//! configured, and nobody else notices.

use std::io;
use std::io::Write as _;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use socket2::SockRef;

use super::caller::Outcome;
use crate::protocols::wire::Script;
use crate::protocols::wire::Wire;
use crate::protocols::wire::answer_with_path;
use crate::protocols::wire::ok;
use crate::protocols::wire::request;
use crate::support::gateway::Gateway;
use crate::support::gateway::free_address;
use crate::support::summary;
use crate::support::summary::Counts;

/// What an upstream does to each connection, and what its callers may see of that.
struct Fault {
    name: &'static str,
    does: fn(&TcpStream) -> io::Result<()>,
    reasons: &'static [&'static str],
    /// Whether an answer may have begun that then breaks off.
    cuts: bool,
}

const FAULTS: &[Fault] = &[
    // Nobody listens, or somebody does now and then: see `Upstream::start`.
    Fault { name: "refuses", does: drained, reasons: &["upstream_unreachable"], cuts: false },
    Fault { name: "flaps", does: served, reasons: &["upstream_unreachable", "upstream_closed"], cuts: true },
    Fault {
        name: "closes",
        does: |_stream| Ok(()),
        reasons: &["upstream_unreachable", "upstream_closed"],
        cuts: false,
    },
    Fault { name: "resets", does: reset, reasons: &["upstream_unreachable", "upstream_closed"], cuts: false },
    Fault { name: "stalls", does: drained, reasons: &["upstream_timeout"], cuts: false },
    Fault { name: "stops in the body", does: stopped, reasons: &[], cuts: true },
    Fault { name: "floods", does: |stream| flood(stream, FLOOD_HEAD, FLOOD), reasons: &[], cuts: true },
    Fault {
        name: "floods with heads",
        does: |stream| flood(stream, "", INTERIM),
        reasons: &["upstream_protocol"],
        cuts: false,
    },
    Fault { name: "talks nonsense", does: nonsense, reasons: &["upstream_protocol"], cuts: false },
];

const FLOOD_HEAD: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
const FLOOD: &str = "10000\r\n@\r\n";
const INTERIM: &str = "HTTP/1.1 103 Early Hints\r\nlink: </style.css>; rel=preload\r\n\r\n";

/// Longest exchange with a broken upstream: `total` of its service, and room for a machine that is busy.
const LONGEST: Duration = Duration::from_secs(5);

/// How long each fault lasts.
const LASTS: Duration = Duration::from_millis(1500);

/// Most memory that a fault may cost.
const MEMORY: usize = 64 * 1024 * 1024;

fn drained(mut stream: &TcpStream) -> io::Result<()> {
    io::copy(&mut stream, &mut io::sink()).map(drop)
}

fn served(stream: &TcpStream) -> io::Result<()> {
    let mut wire = Wire::tcp(stream.try_clone()?);
    loop {
        wire.try_message("")?;
        wire.try_send(ok("well"))?;
    }
}

fn reset(stream: &TcpStream) -> io::Result<()> {
    Wire::tcp(stream.try_clone()?).try_head()?;
    SockRef::from(stream).set_linger(Some(Duration::ZERO))
}

fn stopped(mut stream: &TcpStream) -> io::Result<()> {
    Wire::tcp(stream.try_clone()?).try_head()?;
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello")?;
    drained(stream)
}

fn flood(mut stream: &TcpStream, head: &str, piece: &str) -> io::Result<()> {
    Wire::tcp(stream.try_clone()?).try_head()?;
    stream.write_all(head.as_bytes())?;
    let pieces = piece.replace('@', &"x".repeat(0x1_0000));
    loop {
        stream.write_all(pieces.as_bytes())?;
    }
}

fn nonsense(mut stream: &TcpStream) -> io::Result<()> {
    Wire::tcp(stream.try_clone()?).try_head()?;
    stream.write_all(&b"\xff\x00\xfe\x80".repeat(4096))?;
    drained(stream)
}

/// An upstream with a fault, until the process ends.
fn start(fault: &'static Fault) -> SocketAddr {
    let address = free_address();
    match fault.name {
        "refuses" => {}
        "flaps" => drop(thread::spawn(move || {
            loop {
                flap(address, fault.does);
                thread::sleep(Duration::from_millis(70));
            }
        })),
        _ => {
            let listener = TcpListener::bind(address).unwrap();
            thread::spawn(move || {
                for stream in listener.incoming().map_while(Result::ok) {
                    // What breaks here is what the fault is for.
                    thread::spawn(move || (fault.does)(&stream).unwrap_or_default());
                }
            });
        }
    }
    address
}

/// Listens for a moment and then closes everything, as a process does that dies.
fn flap(address: SocketAddr, does: fn(&TcpStream) -> io::Result<()>) {
    let Ok(listener) = TcpListener::bind(address) else { return };
    listener.set_nonblocking(true).unwrap();
    let (until, mut open) = (Instant::now() + Duration::from_millis(70), Vec::new());
    while Instant::now() < until {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false).unwrap();
                open.push(stream.try_clone().unwrap());
                thread::spawn(move || does(&stream).unwrap_or_default());
            }
            Err(_nobody) => thread::sleep(Duration::from_millis(2)),
        }
    }
    for stream in open {
        stream.shutdown(std::net::Shutdown::Both).unwrap_or_default();
    }
}

fn configuration(steady: &Script) -> String {
    let mut yaml = format!("workers: 2\nupstreams:\n  steady: {{endpoints: ['http://{}']}}\n", steady.at());
    for (at, fault) in FAULTS.iter().enumerate() {
        yaml += &format!("  f{at}: {{endpoints: ['http://{}']}}\n", start(fault));
    }
    yaml += "services:\n  steady: {match: [{prefix: /steady}], upstream: steady, auth: {public: a test}}\n";
    for at in 0..FAULTS.len() {
        yaml += &format!(
            "  f{at}: {{match: [{{prefix: /f{at}}}], upstream: f{at}, auth: {{public: a test}}, \
             timeouts: {{connect: 500ms, response: 500ms, idle: 500ms, total: 1200ms}}}}\n"
        );
    }
    yaml
}

/// What was done and seen while a fault lasted.
#[derive(Default)]
struct Tally {
    sent: AtomicU64,
    faults: AtomicU64,
    over: AtomicBool,
    wrong: Mutex<Vec<String>>,
}

impl Tally {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    fn note(&self, what: String) {
        self.wrong.lock().unwrap().push(what);
    }
}

/// A caller of the service that works.
fn work(gateway: &Gateway, who: usize, tally: &Tally) {
    let mut client = Wire::connect(gateway.traffic());
    for number in 0.. {
        if tally.is_over() {
            return;
        }
        let (begun, path) = (Instant::now(), format!("/steady/{who}/{number}"));
        client.send(request("POST", &path, "", Some(b"body")));
        let answer = client.try_message("POST").map(|answer| (answer.status(), answer.text()));
        tally.sent.fetch_add(1, Ordering::Relaxed);
        if answer.as_ref().ok() != Some(&(200, path.clone())) || begun.elapsed() > LONGEST {
            tally.note(format!("{path} got {answer:?} after {:?}", begun.elapsed()));
            return;
        }
    }
}

/// A caller of a broken service, who reads what comes in no hurry.
fn suffer(gateway: &Gateway, at: usize, fault: &Fault, tally: &Tally) {
    while !tally.is_over() {
        let begun = Instant::now();
        let mut client = Wire::connect(gateway.traffic());
        client.send(request("GET", &format!("/f{at}"), "", None));
        let outcome = Outcome::read(&mut client, "GET", Duration::from_millis(1));
        tally.faults.fetch_add(1, Ordering::Relaxed);
        let is_honest = match &outcome {
            Outcome::Whole { reason: Some(reason), .. } => fault.reasons.contains(&reason.as_str()),
            Outcome::Whole { reason: None, body, .. } => fault.name == "flaps" && body == b"well",
            Outcome::Cut { .. } => fault.cuts,
            Outcome::Nothing => false,
        };
        if !is_honest || begun.elapsed() > LONGEST {
            return tally.note(format!("{} after {:?} got {outcome:.200?}", fault.name, begun.elapsed()));
        }
    }
}

/// Lets some upstreams be broken for a while, and counts.
fn endure(gateway: &Gateway, what: &str, broken: &[usize], counts: &mut Counts) {
    let (tally, before) = (Tally::default(), gateway.resident());
    thread::scope(|scope| {
        for who in 0..3 {
            let tally = &tally;
            scope.spawn(move || work(gateway, who, tally));
        }
        for &at in broken {
            for _ in 0..(8 / broken.len()).max(2) {
                let tally = &tally;
                scope.spawn(move || suffer(gateway, at, &FAULTS[at], tally));
            }
        }
        thread::sleep(LASTS);
        tally.over.store(true, Ordering::Relaxed);
    });
    let wrong = tally.wrong.into_inner().unwrap();
    let (sent, faults) = (tally.sent.into_inner(), tally.faults.into_inner());
    counts.cases += 1;
    counts.passed += u64::from(wrong.is_empty());
    counts.sent += sent;
    counts.faults += faults;
    counts.failed += wrong.iter().filter(|what| what.starts_with("/steady")).count() as u64;
    assert!(wrong.is_empty(), "{what}: {wrong:#?}");
    assert!(sent >= 50 && faults >= broken.len() as u64, "{what}: {sent} requests beside {faults} faults are no load");
    let grown = gateway.resident().saturating_sub(before);
    assert!(grown < MEMORY, "{what}: the gateway has grown by {grown} bytes");
}

#[test]
fn a_broken_upstream_costs_its_own_callers_an_honest_answer_in_time_and_nobody_else_anything() {
    let steady = Script::play(answer_with_path);
    let gateway = Gateway::start(&configuration(&steady));
    let mut counts = Counts::default();
    for (at, fault) in FAULTS.iter().enumerate() {
        endure(&gateway, fault.name, &[at], &mut counts);
    }
    let all: Vec<usize> = (0..FAULTS.len()).collect();
    endure(&gateway, "everything at once", &all, &mut counts);
    assert!(gateway.metric("gateway_panics_total") == 0.0, "a panic");
    summary::report("faults/neighbours", counts);
}
