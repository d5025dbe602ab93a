//! azureml-inference-server-http, the server that Azure ML puts in front of a `score.py`.

use serde_json::json;

use super::BEARER;
use super::by_key;
use crate::issuers::signer::Signer;
use crate::issuers::signer::jwks;
use crate::issuers::signer::now;
use crate::support::client;
use crate::support::client::Client;
use crate::support::gateway::Gateway;
use crate::support::gateway::scratch;
use crate::support::python::Launcher;
use crate::support::python::PythonServer;

const IRIS: &str = r#"{"data": [[5.1, 3.5, 1.4, 0.2], [6.6, 3.0, 5.6, 2.0]]}"#;
const JSON: (&str, &str) = ("content-type", "application/json");

#[test]
fn azureml_scores_by_key() {
    let server = PythonServer::start(Launcher::AzureMl, &[]).unwrap();
    let gateway = by_key("http", server.http(), "");
    let score = |headers: &[(&str, &str)], body: &str| client::post(gateway.traffic(), "/score", headers, body);

    let answer = score(&[BEARER, JSON, ("x-ms-client-request-id", "mine")], IRIS);
    assert_eq!((answer.status, &answer.json()["predictions"]), (200, &json!([0, 2])));
    let seen = answer.json()["request_headers"].to_string().to_lowercase();
    assert!(!seen.contains("authorization") && !seen.contains("the-key-that-opens"), "{seen}");
    assert!(seen.contains("service:model:primary"), "{seen}");
    // Ids as the server makes them of what it got (contract with Azure's clients).
    assert_eq!(answer.header("x-ms-client-request-id"), Some("mine"));
    assert_eq!(answer.header("x-ms-request-id"), Some("mine"));
    assert_eq!(answer.header("x-ms-run-function-failed"), Some("False"));
    assert!(answer.header("x-request-id").is_some());
    let given = score(&[BEARER, JSON, ("x-ms-request-id", "theirs")], IRIS);
    assert_eq!(given.header("x-ms-request-id"), Some("theirs"));

    for headers in [&[JSON][..], &[JSON, ("authorization", "Bearer another")]] {
        assert_eq!(score(headers, IRIS).status, 401, "{headers:?}");
    }
    // The script's own failure is the server's to report.
    let failed = score(&[BEARER, JSON], r#"{"data": "none"}"#);
    assert_eq!((failed.status, failed.header("x-ms-run-function-failed")), (500, Some("True")));
    assert_eq!(client::get(gateway.traffic(), "/swagger.json?version=9", &[BEARER]).status, 404);
}

#[test]
fn azureml_closes_every_connection_and_clients_do_not_notice() {
    let server = PythonServer::start(Launcher::AzureMl, &[]).unwrap();
    let gateway = by_key("http", server.http(), "");
    let mut client = Client::connect(gateway.traffic());
    for n in 0..30 {
        let answer = client.request("POST", "/score", &[BEARER, JSON], IRIS.as_bytes());
        assert_eq!((answer.status, answer.header("connection")), (200, None), "request {n}");
    }
}

#[test]
fn azureml_gets_the_content_type_and_the_framing_that_the_client_chose() {
    let server = PythonServer::start(Launcher::AzureMl, &[]).unwrap();
    let gateway = by_key("http", server.http(), "");
    // A form, curl's default, arrives empty in the script, with 200: the server's trap, not for a gateway to mend.
    for (kind, received) in [("application/json", IRIS.len()), ("application/x-www-form-urlencoded", 0)] {
        let answer = client::post(gateway.traffic(), "/score", &[BEARER, ("content-type", kind)], IRIS);
        assert_eq!((answer.status, &answer.json()["received_bytes"]), (200, &json!(received)), "{kind}");
    }
    let (first, rest) = IRIS.split_at(10);
    let chunked = format!("{:x}\r\n{first}\r\n{:x}\r\n{rest}\r\n0\r\n\r\n", first.len(), rest.len());
    let mut client = Client::connect(gateway.traffic());
    client.send(client::head("POST", "/score", &[BEARER, JSON, ("transfer-encoding", "chunked")], b""));
    client.send(chunked);
    assert_eq!(client.answer().json()["received_bytes"], json!(IRIS.len()));
}

#[test]
fn azureml_scores_by_token() {
    let server = PythonServer::start(Launcher::AzureMl, &[]).unwrap();
    let (signer, stranger) = (Signer::new("one"), Signer::new("one"));
    let directory = scratch();
    std::fs::write(directory.path().join("jwks.json"), jwks(&[&signer])).unwrap();
    let gateway = Gateway::start_in(
        directory,
        &format!(
            "
upstreams: {{model: {{endpoints: ['http://{}']}}}}
issuers: {{corp: {{issuer: 'https://issuer.test/', keys: {{file: $DIR/jwks.json}}, algorithms: [ES256]}}}}
services: {{model: {{upstream: model, auth: {{token: {{issuers: [corp]}}}}}}}}
",
            server.http()
        ),
    );
    let claims = json!({ "iss": "https://issuer.test/", "aud": "model", "sub": "robot", "exp": now() + 60 });
    for (signer, status) in [(&signer, 200), (&stranger, 401)] {
        let bearer = format!("Bearer {}", signer.sign(&claims));
        let headers = [("authorization", bearer.as_str()), JSON];
        let answer = client::post(gateway.traffic(), "/api/v1/service/model/score", &headers, IRIS);
        assert_eq!(answer.status, status, "{}", answer.text());
    }
}
