//! The gateway under systemd, which the tests play: sockets that are passed, and what is told in return.

use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;

use crate::support::PATIENCE;
use crate::support::client;
use crate::support::gateway::Gateway;
use crate::support::gateway::PROGRAM;
use crate::support::gateway::free_address;
use crate::support::gateway::run;
use crate::support::gateway::scratch;
use crate::support::upstream::Upstream;

/// Becomes the program that follows with its standard input as the first socket that is passed.
const PASS: &str = r#"exec 3<&0 </dev/null; export LISTEN_FDS LISTEN_FDNAMES; LISTEN_PID=$$ exec "$@""#;

fn yaml(upstream: &Upstream, traffic: &str) -> String {
    format!(
        "
listeners: {{traffic: [{{address: '{traffic}'}}], health: {{address: $HEALTH}}}}
access_log: off
upstreams: {{model: {{endpoints: ['{}']}}}}
services: {{docs: {{upstream: model, match: [{{prefix: /}}], auth: {{public: a test}}}}}}
",
        upstream.url()
    )
}

/// systemd's end of the notification socket.
struct Told(UnixDatagram);

impl Told {
    fn listen(at: &Path) -> Self {
        let socket = UnixDatagram::bind(at).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(socket)
    }

    /// The next message that is not the watchdog's.
    fn next(&self) -> String {
        loop {
            let message = self.any();
            if message != "WATCHDOG=1" {
                return message;
            }
        }
    }

    fn any(&self) -> String {
        let mut message = [0; 1024];
        let length = self.0.recv(&mut message).expect("the gateway tells something");
        String::from_utf8(message[..length].to_vec()).unwrap()
    }
}

#[test]
fn systemd_hears_of_the_start_each_reload_and_the_end() {
    let upstream = Upstream::ok();
    let directory = scratch();
    let told = Told::listen(&directory.path().join("notify"));
    let socket = format!("NOTIFY_SOCKET={}", directory.path().join("notify").display());
    let text = yaml(&upstream, "$TRAFFIC");
    let mut gateway = Gateway::start_under(&["env", &socket, "WATCHDOG_USEC=200000"], directory, &text);
    assert_eq!(told.next(), "READY=1\nSTATUS=serving 1 services, generation 1");
    for _ in 0..3 {
        while told.any() != "WATCHDOG=1" {}
    }

    let uptime = || {
        let text = std::fs::read_to_string("/proc/uptime").unwrap();
        text.split(' ').next().unwrap().parse::<f64>().unwrap()
    };
    let before = uptime();
    gateway.hangup();
    let reloading = told.next();
    let time = reloading.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC="));
    assert!(reloading.starts_with("RELOADING=1\n"), "{reloading}");
    let told_at = time.expect("it says when").parse::<f64>().unwrap() / 1e6;
    assert!((before - 0.1..=uptime() + 0.1).contains(&told_at), "{told_at} is not between {before} and now");
    assert!(told.next().starts_with("READY=1\nSTATUS=serving 1 services, generation"), "a reload ends");

    gateway.configure("listeners: nonsense\n");
    let refused = "READY=1\nSTATUS=serving 1 services, generation 1; the last change was refused, the log says why";
    while told.next() != refused {}
    gateway.terminate();
    while told.next() != "STOPPING=1\nSTATUS=draining" {}
    assert!(gateway.wait().success());
}

#[test]
fn a_watchdog_of_another_process_is_not_kept() {
    let upstream = Upstream::ok();
    let directory = scratch();
    let told = Told::listen(&directory.path().join("notify"));
    let socket = format!("NOTIFY_SOCKET={}", directory.path().join("notify").display());
    let program = ["env", &socket, "WATCHDOG_USEC=1000", "WATCHDOG_PID=1"];
    let _gateway = Gateway::start_under(&program, directory, &yaml(&upstream, "$TRAFFIC"));
    assert!(told.any().starts_with("READY=1"), "ready");
    told.0.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    told.0.recv(&mut [0; 1024]).expect_err("nothing else is told");
}

#[test]
fn a_listener_takes_the_socket_that_bears_its_name_and_keeps_it_over_reloads() {
    let upstream = Upstream::ok();
    let passed = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = passed.local_addr().unwrap();
    let program = ["env", "LISTEN_FDS=1", "LISTEN_FDNAMES=traffic-0", "sh", "-c", PASS, "sh"];
    let text = yaml(&upstream, &address.to_string());
    // The test keeps its own end: without the one that was passed the gateway could not listen there.
    let stdin = Stdio::from(std::os::fd::OwnedFd::from(passed.try_clone().unwrap()));
    let gateway = Gateway::start_from(stdin, &program, scratch(), &text);
    for _ in 0..8 {
        assert_eq!(client::get(address, "/", &[]).status, 200);
    }
    // Renamed and back: it is closed as one listener and opened as another.
    let elsewhere = free_address().to_string();
    for (traffic, at) in [(elsewhere.clone(), elsewhere.parse().unwrap()), (address.to_string(), address)] {
        let before = gateway.generation();
        gateway.configure(&yaml(&upstream, &traffic));
        crate::support::eventually("the listener moves", || (gateway.generation() > before).then_some(()));
        assert_eq!(client::get(at, "/", &[]).status, 200, "at {at}");
    }
}

#[test]
fn a_unix_socket_can_be_passed_as_well() {
    let upstream = Upstream::ok();
    let directory = scratch();
    let path = directory.path().join("traffic.sock");
    let passed = UnixListener::bind(&path).unwrap();
    let program = ["env", "LISTEN_FDS=1", "LISTEN_FDNAMES=traffic-0", "sh", "-c", PASS, "sh"];
    let text = yaml(&upstream, &format!("unix:{}", path.display()));
    let stdin = Stdio::from(std::os::fd::OwnedFd::from(passed));
    let _gateway = Gateway::start_from(stdin, &program, directory, &text);
    let mut stream = std::os::unix::net::UnixStream::connect(&path).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    std::io::Write::write_all(&mut stream, b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut stream, &mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[test]
fn sockets_that_fit_no_listener_end_the_start_and_say_why() {
    let upstream = Upstream::ok();
    let directory = scratch();
    let config = directory.path().join("gateway.yaml");
    let passed = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = passed.local_addr().unwrap();
    let other = free_address();
    let twice = PASS.replace("exec 3<&0", "exec 3<&0 4<&0");
    let no_socket = PASS.replace("exec 3<&0", "exec 3</dev/null");
    // Where the listener is to be, how many sockets, their names, how they are passed, what is said.
    let cases = [
        (
            address,
            "1",
            "scoregate.socket",
            PASS,
            "called \"scoregate.socket\"; want FileDescriptorName= to name a listener, one of traffic-0, health",
        ),
        (address, "1", "", PASS, "passed 1 sockets and named 0 of them; want FileDescriptorName="),
        (address, "2", "traffic-0:traffic-0", twice.as_str(), "two sockets called \"traffic-0\""),
        (other, "1", "traffic-0", PASS, "listener traffic-0: systemd passed a socket at 127.0.0.1:"),
        (address, "1", "traffic-0", no_socket.as_str(), "passed \"traffic-0\", which is no TCP or Unix stream socket"),
    ];
    for (traffic, count, names, pass, said) in cases {
        let text = yaml(&upstream, &traffic.to_string()).replace("$HEALTH", &free_address().to_string());
        std::fs::write(&config, text).unwrap();
        let ended = Command::new("sh")
            .args(["-c", pass, "sh", PROGRAM, "run", "--config"])
            .arg(&config)
            .env("LISTEN_FDS", count)
            .env("LISTEN_FDNAMES", names)
            .current_dir(directory.path())
            .stdin(Stdio::from(std::os::fd::OwnedFd::from(passed.try_clone().unwrap())))
            .output()
            .unwrap();
        let stderr = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains(said), "{said:?} is not in\n{stderr}");
    }
}

#[test]
fn health_asks_the_gateway_of_its_configuration() {
    let upstream = Upstream::ok();
    let mut gateway = Gateway::start(&yaml(&upstream, "$TRAFFIC"));
    let config = gateway.config().display().to_string();
    let ask = |probe: &str| {
        let ran = run(gateway.directory(), &["health", "--config", &config, "--probe", probe]);
        (ran.code, ran.stdout + &ran.stderr)
    };
    assert_eq!(ask("ready"), (Some(0), "ready\n".to_owned()));
    assert_eq!(ask("live"), (Some(0), "alive\n".to_owned()));
    gateway.kill();
    let (code, said) = run_health(&gateway, &config);
    assert_eq!(code, Some(1));
    assert!(said.contains("the health listener of `listeners.health` cannot be asked"), "{said}");
}

fn run_health(gateway: &Gateway, config: &str) -> (Option<i32>, String) {
    let ran = run(gateway.directory(), &["health", "--config", config]);
    (ran.code, ran.stdout + &ran.stderr)
}
