//! Listeners come and go, and certificates are replaced, while older connections go on.

use std::fs;
use std::io::Read as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use rustls::ClientConfig;
use rustls::ClientConnection;
use rustls::RootCertStore;
use rustls::StreamOwned;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::ServerName;

use crate::support::PATIENCE;
use crate::support::client::Client;
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::gateway::free_address;
use crate::support::gateway::scratch;
use crate::support::upstream::Upstream;

fn rest(upstream: &Upstream) -> String {
    format!(
        "
upstreams: {{a: {{endpoints: [\"{}\"]}}}}
services: {{a: {{match: [{{prefix: /a}}], upstream: a, auth: {{public: a test}}}}}}
",
        upstream.url()
    )
}

#[test]
fn whoever_is_accepted_while_the_gateway_starts_is_served() {
    let (upstream, traffic) = (Upstream::ok(), free_address());
    let listeners = format!("listeners:\n  traffic: [{{address: \"{traffic}\"}}]\n  health: {{address: $HEALTH}}\n");
    let deadline = Instant::now() + PATIENCE;
    let mut gateway = None;
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while upstream.received().len() < 50 && Instant::now() < deadline {
                    let Some(mut client) = Client::try_connect(traffic) else { continue };
                    assert_eq!(client.request("GET", "/a", &[], b"").status, 200);
                }
            });
        }
        // It outlives the callers: the last of them may still wait for an answer when the other has counted enough.
        gateway = Some(Gateway::start(&(listeners + &rest(&upstream))));
    });
    assert!(upstream.received().len() >= 50, "both have called for a while");
}

#[test]
fn a_listener_comes_and_goes_and_its_connections_stay() {
    let upstream = Upstream::ok();
    let listeners = |more: &str| {
        format!(
            "listeners:\n  traffic: [{{address: $TRAFFIC}}{more}]\n  management: {{address: $MANAGEMENT}}\n  health: {{address: $HEALTH}}\n{}",
            rest(&upstream)
        )
    };
    let gateway = Gateway::start(&listeners(""));
    let mut first = Client::connect(gateway.traffic());
    assert_eq!(first.request("GET", "/a", &[], b"").status, 200);

    let second_address = free_address();
    gateway.configure(&listeners(&format!(", {{address: \"{second_address}\"}}")));
    eventually("the second listener accepts", || TcpStream::connect(second_address).ok());
    let mut second = Client::connect(second_address);
    assert_eq!(second.request("GET", "/a", &[], b"").status, 200);

    gateway.configure(&listeners(""));
    eventually("the second listener is closed", || TcpStream::connect(second_address).err());
    assert_eq!(second.request("GET", "/a", &[], b"").status, 200, "a connection of the listener that has gone");
    assert_eq!(first.request("GET", "/a", &[], b"").status, 200, "a connection of the listener that stayed");
}

#[test]
fn a_listener_that_cannot_be_opened_leaves_all_others_as_they_are() {
    let upstream = Upstream::ok();
    let gateway = Gateway::start(&rest(&upstream));
    let generation = gateway.generation();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = (taken.local_addr().unwrap(), taken);
    gateway.configure(&format!(
        "listeners:\n  traffic: [{{address: $TRAFFIC}}, {{address: \"{}\"}}]\n  health: {{address: $HEALTH}}\n{}",
        taken.0,
        rest(&upstream)
    ));
    eventually("the change is refused", || {
        (gateway.metric("gateway_config_last_reload_successful") < 0.5).then_some(())
    });
    assert!((gateway.generation() - generation).abs() < 0.5);
    assert_eq!(Client::connect(gateway.traffic()).request("GET", "/a", &[], b"").status, 200);
    assert!(TcpStream::connect(gateway.management()).is_ok(), "the listener that was to go is still there");
}

#[test]
fn a_port_of_the_kernels_choice_is_logged() {
    let upstream = Upstream::ok();
    let gateway = Gateway::start(&format!(
        "listeners:\n  traffic: [{{address: \"127.0.0.1:0\", name: any}}]\n  health: {{address: $HEALTH}}\n{}",
        rest(&upstream)
    ));
    let log = gateway.log();
    let line = log.iter().find(|line| line["listener"] == "any").expect("a line names the listener");
    let address: SocketAddr = line["address"].as_str().unwrap().parse().unwrap();
    assert_eq!(Client::connect(address).request("GET", "/a", &[], b"").status, 200);
}

#[test]
fn a_certificate_is_replaced_while_an_older_connection_goes_on() {
    let upstream = Upstream::ok();
    let directory = scratch();
    let write = |directory: &std::path::Path| {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        fs::write(directory.join("tls.key"), made.signing_key.serialize_pem()).unwrap();
        fs::write(directory.join("tls.crt"), made.cert.pem()).unwrap();
        made.cert.der().clone()
    };
    let old = write(directory.path());
    let gateway = Gateway::start_in(
        directory,
        &format!(
            "listeners:\n  traffic: [{{address: $TRAFFIC, tls: {{certificate: $DIR/tls.crt, private_key: $DIR/tls.key}}}}]\n  health: {{address: $HEALTH}}\n{}",
            rest(&upstream)
        ),
    );
    let mut kept = connect(gateway.traffic(), &old).expect("the first certificate is served");
    assert_eq!(exchange(&mut kept), "ok");

    let new = write(gateway.directory());
    eventually("the new certificate is served", || connect(gateway.traffic(), &new));
    assert!(connect(gateway.traffic(), &old).is_none(), "the old certificate is not served any longer");
    assert_eq!(exchange(&mut kept), "ok", "the older connection goes on");

    let generation = gateway.generation();
    gateway.write("tls.crt", "no certificate");
    gateway.hangup();
    eventually("the hangup was taken", || {
        (gateway.generation() > generation
            || gateway.log().iter().any(|line| line["level"] == "WARN" || line["level"] == "ERROR"))
        .then_some(())
    });
    assert!(connect(gateway.traffic(), &new).is_some(), "a certificate that is none leaves the last good one");
    assert_eq!(exchange(&mut kept), "ok");
}

/// TLS on a socket.
pub(crate) type Tls = StreamOwned<ClientConnection, TcpStream>;

/// A connection that trusts exactly this certificate; `None` when another one is served.
pub(crate) fn connect(address: SocketAddr, trusted: &CertificateDer<'static>) -> Option<Tls> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut tls = StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), stream);
    tls.conn.complete_io(&mut tls.sock).ok()?;
    Some(tls)
}

/// One request; the body of its answer, which is known to be `ok`'s length.
fn exchange(tls: &mut Tls) -> String {
    tls.write_all(b"GET /a HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    let mut read = Vec::new();
    while !read.ends_with(b"\r\n\r\nok") {
        let mut buffer = [0; 1024];
        let count = tls.read(&mut buffer).unwrap();
        assert_ne!(count, 0, "the connection ended after {}", String::from_utf8_lossy(&read));
        read.extend_from_slice(&buffer[..count]);
    }
    String::from_utf8_lossy(&read[read.len() - 2..]).into_owned()
}
