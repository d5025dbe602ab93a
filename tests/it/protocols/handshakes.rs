//! TLS from the outside, `R24` of the threat model: what is agreed on and what never, with OpenSSL for a client that
//! nobody here wrote, and with bytes that are no TLS at all.

use std::io::BufRead as _;
use std::io::BufReader;
use std::io::Read as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use rustls::NamedGroup;

use super::authority::Authority;
use super::authority::connect;
use super::tls::serving_tls;
use super::wire::Script;
use super::wire::answer_with_path;
use crate::support::PATIENCE;
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::gateway::free_address;
use crate::support::gateway::scratch;
use crate::support::summary;
use crate::support::summary::Counts;

/// What `openssl s_client` says of a handshake, or that there is none; with a command, what it says until it is ended.
fn openssl(address: SocketAddr, arguments: &str, command: Option<&str>) -> String {
    let patience = if command.is_some() { "3" } else { "10" };
    let address = address.to_string();
    let child = Command::new("timeout")
        .args([patience, "openssl", "s_client", "-connect", &address])
        .args(arguments.split(' '))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = child.expect("openssl is installed: `tests/run packages`");
    // It ends with its input.
    let mut input = child.stdin.take().filter(|_| command.is_some());
    let mut said = String::new();
    let mut errors = child.stderr.take().unwrap();
    let errors = thread::spawn(move || {
        let mut said = String::new();
        errors.read_to_string(&mut said).map(|_| said)
    });
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        // A command is one only once the handshake is over.
        if let (Some(input), Some(command), true) = (&mut input, command, line.contains("Verify return code")) {
            input.write_all(command.as_bytes()).unwrap();
        }
        said.push_str(&line);
        said.push('\n');
    }
    child.wait().unwrap();
    said + &errors.join().unwrap().unwrap()
}

#[test]
fn only_what_is_forward_secret_and_current_is_agreed_on() {
    let (authority, upstream) = (Authority::new(), Script::play(answer_with_path));
    let gateway = serving_tls(&authority, &upstream, None);
    // What the client insists on, and what comes of it: the alert, or what was agreed on.
    const REFUSED: &str = "alert handshake failure";
    let cases = [
        ("-tls1_3", "TLSv1.3, Cipher is TLS_AES_256_GCM_SHA384"),
        ("-tls1_3 -ciphersuites TLS_CHACHA20_POLY1305_SHA256", "Cipher is TLS_CHACHA20_POLY1305_SHA256"),
        ("-tls1_2", "TLSv1.2, Cipher is ECDHE-ECDSA-"),
        ("-tls1_2", "Compression: NONE"),
        ("-tls1_1 -cipher ALL:@SECLEVEL=0", "alert"),
        ("-tls1 -cipher ALL:@SECLEVEL=0", "alert"),
        // Without forward secrecy.
        ("-tls1_2 -cipher AES256-GCM-SHA384", REFUSED),
        ("-tls1_2 -cipher AES128-GCM-SHA256", REFUSED),
        ("-tls1_2 -cipher AES128-SHA", REFUSED),
        ("-tls1_2 -cipher PSK:@SECLEVEL=0 -psk 00", REFUSED),
        // Without authentication, encryption, or an AEAD.
        ("-tls1_2 -cipher aNULL:eNULL:@SECLEVEL=0", REFUSED),
        ("-tls1_2 -cipher ECDHE-ECDSA-AES128-SHA", REFUSED),
        ("-tls1_2 -cipher ECDHE-ECDSA-AES256-SHA384", REFUSED),
        ("-tls1_2 -cipher DHE-RSA-AES256-GCM-SHA384", REFUSED),
        ("-groups X25519", "Server Temp Key: X25519"),
        ("-groups P-256", "Server Temp Key: ECDH, prime256v1"),
        ("-groups P-521", "alert"),
        ("-alpn h2", "ALPN protocol: h2"),
        ("-alpn http/1.0,http/1.1", "ALPN protocol: http/1.1"),
        ("-alpn unknown,h2", "ALPN protocol: h2"),
        ("-alpn unknown", "alert no application protocol"),
        ("-alpn http/1.0", "alert no application protocol"),
        ("-noservername", "New, TLSv1.3"),
        // One certificate a listener: whoever asks for another name gets it, and sees so.
        ("-servername other.test", "subject=CN = localhost"),
        ("-tls1_3 -sigalgs RSA-PSS+SHA256", "alert"),
    ];
    let is_refused = |want: &str| want.starts_with("alert");
    let mut failures = Vec::new();
    for (arguments, want) in cases {
        let said = openssl(gateway.traffic(), arguments, None);
        let is_refusal = said.contains("no peer certificate available");
        if !said.contains(want) || is_refusal != is_refused(want) {
            failures.push(format!("{arguments}: want {want:?}, got\n{said}"));
        }
    }
    let refused = cases.iter().filter(|(_, want)| is_refused(want)).count() as u64;
    let cases = cases.len() as u64;
    summary::report("tls", Counts { cases, passed: cases - failures.len() as u64, refused, ..Counts::default() });
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn a_key_exchange_that_outlives_quantum_computers_is_offered_and_chosen() {
    let (authority, upstream) = (Authority::new(), Script::play(answer_with_path));
    let gateway = serving_tls(&authority, &upstream, None);
    let all = rustls::crypto::aws_lc_rs::default_provider().kx_groups;
    let named = |name: NamedGroup| *all.iter().find(|group| group.name() == name).expect("aws-lc-rs has it");
    let (hybrid, classic) = (named(NamedGroup::X25519MLKEM768), named(NamedGroup::X25519));
    for (offers, chosen) in [
        (vec![hybrid, classic], NamedGroup::X25519MLKEM768),
        (vec![hybrid], NamedGroup::X25519MLKEM768),
        (vec![classic], NamedGroup::X25519),
    ] {
        let group = authority.agreed_group(gateway.traffic(), offers);
        assert_eq!(group, Some(chosen));
    }
}

#[test]
fn nothing_is_negotiated_twice() {
    let (authority, upstream) = (Authority::new(), Script::play(answer_with_path));
    let gateway = serving_tls(&authority, &upstream, None);
    // A server that does, so that it is known how that looks.
    let directory = scratch();
    authority.certify("localhost").write(directory.path(), "server");
    std::fs::write(directory.path().join("ca.crt"), &authority.pem).unwrap();
    let control = free_address();
    let server = Command::new("openssl")
        .args(["s_server", "-quiet", "-client_renegotiation", "-cert", "server.crt", "-key", "server.key", "-accept"])
        .arg(control.to_string())
        .current_dir(directory.path())
        // It ends with its input.
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let _server = Stopped(server.expect("openssl is installed: `tests/run packages`"));
    eventually("the other server listens", || TcpStream::connect(control).ok());
    let renegotiated = |address| {
        let ca = directory.path().join("ca.crt");
        let said = openssl(address, &format!("-tls1_2 -CAfile {}", ca.display()), Some("R\n"));
        assert!(said.contains("RENEGOTIATING"), "it was not asked for: {said}");
        // The server's certificate is looked at once a handshake.
        said.matches("depth=0").count() > 1
    };
    assert!(renegotiated(control), "the control renegotiates");
    assert!(!renegotiated(gateway.traffic()));
}

/// A child process that is stopped with the test.
struct Stopped(Child);

impl Drop for Stopped {
    fn drop(&mut self) {
        drop(self.0.kill().and_then(|()| self.0.wait()));
    }
}

/// What a server says to these bytes before it closes, and how long that took.
fn said_to(address: SocketAddr, bytes: &[u8], half_close: bool) -> (Vec<u8>, Duration) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let begun = Instant::now();
    stream.write_all(bytes).unwrap();
    if half_close {
        stream.shutdown(std::net::Shutdown::Write).unwrap();
    }
    let mut said = Vec::new();
    // A reset is an end as well.
    if let Err(error) = stream.read_to_end(&mut said) {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "it was not closed within {PATIENCE:?}");
    }
    (said, begun.elapsed())
}

fn failed_handshakes(gateway: &Gateway, reason: &str) -> f64 {
    gateway.metric(&format!("gateway_tls_handshake_failures_total{{listener=\"traffic-0\",reason=\"{reason}\"}}"))
}

#[test]
fn what_is_no_tls_is_sent_away_at_once() {
    let (authority, upstream) = (Authority::new(), Script::play(answer_with_path));
    let gateway = serving_tls(&authority, &upstream, None);
    let hello_of = |bytes: &[u8]| [&[0x16, 3, 1], bytes].concat();
    for (what, bytes) in [
        ("plain HTTP", b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n".to_vec()),
        ("plain HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec()),
        ("zeros", vec![0; 64]),
        ("an SSLv2 hello", vec![0x80, 0x2e, 1, 3, 1, 0, 0x15, 0, 0, 0, 0x10, 1, 0, 0x80]),
        ("a record that is too long", hello_of(&[0xff, 0xff, 1, 0, 0])),
        ("an empty record", hello_of(&[0, 0])),
        ("a hello that is none", hello_of(&[0, 4, 1, 0, 0, 0])),
        ("an alert for a hello", vec![0x15, 3, 1, 0, 2, 2, 40]),
        ("data for a hello", vec![0x17, 3, 3, 0, 3, b'G', b'E', b'T']),
    ] {
        let before = failed_handshakes(&gateway, "refused");
        let (said, took) = said_to(gateway.traffic(), &bytes, true);
        assert!(!said.starts_with(b"HTTP/"), "{what}: {}", String::from_utf8_lossy(&said));
        assert!(took < Duration::from_secs(5), "{what}: it took {took:?}");
        eventually(what, || (failed_handshakes(&gateway, "refused") > before).then_some(()));
    }
    let (mut wire, _) = connect(gateway.traffic(), authority.client(&[], None)).unwrap();
    assert_eq!(wire.get("/after", "").text(), "/after");
    assert_eq!(upstream.requests().len(), 1);
}

#[test]
fn a_handshake_that_does_not_go_on_ends() {
    let (authority, upstream) = (Authority::new(), Script::play(answer_with_path));
    let gateway = serving_tls(&authority, &upstream, None);
    let address = gateway.traffic();
    let mut session = rustls::ClientConnection::new(
        Arc::clone(&authority.client(&[], None)),
        rustls_pki_types::ServerName::try_from("localhost").unwrap(),
    )
    .unwrap();
    let mut hello = Vec::new();
    session.write_tls(&mut hello).unwrap();
    let pieces = [Vec::new(), hello[..1].to_vec(), hello[..hello.len() / 2].to_vec(), hello];
    let waiting = pieces.map(|piece| thread::spawn(move || said_to(address, &piece, false).1));
    for took in waiting.map(|waiting| waiting.join().unwrap()) {
        let seconds = took.as_secs_f64();
        assert!((9.0..16.0).contains(&seconds), "a handshake ended after {seconds} s, want 10 s");
    }
    assert!((failed_handshakes(&gateway, "timeout") - 4.0).abs() < 0.5, "each is counted");
    let (mut wire, _) = connect(address, authority.client(&[], None)).unwrap();
    assert_eq!(wire.get("/after", "").text(), "/after");
}
