//! TLS on both sides: what is agreed on, who is trusted, and what is said when nobody is.

use super::authority::Authority;
use super::authority::connect;
use super::everything_to;
use super::get;
use super::wire::Script;
use super::wire::answer_with_path;
use crate::support::gateway::Gateway;
use crate::support::gateway::scratch;

/// A gateway with a certificate for `localhost` on its first listener, in front of `upstream`.
pub(crate) fn serving_tls(authority: &Authority, upstream: &Script, client_ca: Option<&Authority>) -> Gateway {
    let directory = scratch();
    authority.certify("localhost").write(directory.path(), "server");
    let mut tls = "certificate: $DIR/server.crt, private_key: $DIR/server.key".to_owned();
    if let Some(clients) = client_ca {
        std::fs::write(directory.path().join("clients.crt"), &clients.pem).unwrap();
        tls.push_str(", client_ca: $DIR/clients.crt");
    }
    let listeners = format!(
        "
listeners:
  traffic: [{{address: $TRAFFIC, tls: {{{tls}}}}}]
  health: {{address: $HEALTH}}
"
    );
    let yaml = everything_to(format_args!("'http://{}'", upstream.at()), "", "");
    Gateway::start_in(directory, &format!("{listeners}{yaml}"))
}

#[test]
fn the_protocol_is_agreed_on_in_the_handshake() {
    let (authority, upstream) = (Authority::new(), Script::play(answer_with_path));
    let gateway = serving_tls(&authority, &upstream, None);
    for (offered, agreed) in [
        (&["h2", "http/1.1"][..], Some("h2")),
        (&["http/1.1", "h2"], Some("h2")),
        (&["http/1.1"], Some("http/1.1")),
        (&[], None),
    ] {
        let (mut wire, got) = connect(gateway.traffic(), authority.client(offered, None)).unwrap();
        assert_eq!(got.as_deref(), agreed.map(str::as_bytes), "{offered:?}");
        if agreed != Some("h2") {
            assert_eq!(wire.get("/path", "").text(), "/path", "{offered:?}");
        }
    }
    assert!(upstream.requests().iter().all(|request| request.head.get("x-forwarded-proto") == Some("https")));
    assert_eq!(upstream.requests().len(), 2);
}

#[test]
fn a_listener_with_a_client_ca_serves_only_clients_that_it_has_certified() {
    let (authority, clients, stranger) = (Authority::new(), Authority::new(), Authority::new());
    let upstream = Script::play(answer_with_path);
    let gateway = serving_tls(&authority, &upstream, Some(&clients));
    for (who, identity) in [("nobody", None), ("a stranger", Some(stranger.certify("client")))] {
        // In TLS 1.3 the client has finished before it is refused: it learns so when it reads.
        let answer = connect(gateway.traffic(), authority.client(&[], identity.as_ref())).and_then(|(mut wire, _)| {
            wire.try_send("GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")?;
            wire.try_message("GET")
        });
        assert!(answer.is_err(), "{who} got {answer:?}");
    }
    let known = clients.certify("client");
    let (mut wire, _) = connect(gateway.traffic(), authority.client(&[], Some(&known))).unwrap();
    assert_eq!(wire.get("/known", "").text(), "/known");
    assert_eq!(upstream.requests().len(), 1);
}

#[test]
fn an_upstream_has_to_be_who_it_should_be() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    for (what, identity, server_name, trusted) in [
        ("its own name", authority.certify("127.0.0.1"), None, true),
        ("the name that is configured", authority.certify("model.test"), Some("model.test"), true),
        ("another name", authority.certify("other.test"), None, false),
        ("another than the configured name", authority.certify("127.0.0.1"), Some("model.test"), false),
        ("a certificate of somebody else's", stranger.certify("127.0.0.1"), None, false),
    ] {
        let upstream = Script::play_tls(identity.server(&[], None), answer_with_path);
        let directory = scratch();
        std::fs::write(directory.path().join("ca.crt"), &authority.pem).unwrap();
        let name = server_name.map(|name| format!(", server_name: {name}")).unwrap_or_default();
        let options = format!("tls: {{ca: $DIR/ca.crt{name}}}");
        let yaml = everything_to(format_args!("'https://{}'", upstream.at()), &options, "");
        let gateway = Gateway::start_in(directory, &yaml);
        let answer = get(&gateway, "/secret");
        if trusted {
            assert_eq!((answer.status(), answer.text().as_str()), (200, "/secret"), "{what}");
        } else {
            assert_eq!(answer.outcome(), (502, "upstream_tls".to_owned()), "{what}");
            assert_eq!(upstream.requests().len(), 0, "{what}");
        }
    }
}

#[test]
fn the_gateway_shows_its_certificate_to_an_upstream_that_asks() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let server = authority.certify("127.0.0.1").server(&[], Some(&clients));
    for shows in [true, false] {
        let upstream = Script::play_tls(server.clone(), answer_with_path);
        let directory = scratch();
        std::fs::write(directory.path().join("ca.crt"), &authority.pem).unwrap();
        clients.certify("gateway").write(directory.path(), "gateway");
        let shown = ", client_certificate: $DIR/gateway.crt, client_key: $DIR/gateway.key";
        let options = format!("tls: {{ca: $DIR/ca.crt{}}}", if shows { shown } else { "" });
        let yaml = everything_to(format_args!("'https://{}'", upstream.at()), &options, "");
        let gateway = Gateway::start_in(directory, &yaml);
        let answer = get(&gateway, "/");
        assert_eq!(answer.status(), if shows { 200 } else { 502 }, "{}", answer.text());
        assert_eq!(upstream.requests().len(), usize::from(shows));
    }
}
