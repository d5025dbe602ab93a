//! The places that a secret is pushed into, those for credentials and those where it is by mistake.

use std::fs;
use std::io::Read as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::process::Command;
use std::process::Stdio;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::HeaderValue;
use http::Request;
use http_body_util::BodyExt as _;
use http_body_util::Full;
use hyper_util::rt::TokioExecutor;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use serde_json::json;

use super::secrets::Outputs;
use super::secrets::percent;
use crate::support::PATIENCE;
use crate::support::client;
use crate::support::gateway::Gateway;
use crate::support::gateway::PROGRAM;
use crate::support::gateway::Ran;
use crate::support::gateway::run;
use crate::support::gateway::scratch;

const SERVICES: [&str; 5] = ["/keyed", "/corp", "/own", "/face/v1.0/identify", "/nowhere"];

const V1: &str = "/modelmanagement/v1.0/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/local/services";
const V2: &str =
    "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/local/onlineEndpoints";

/// What the configuration says, and the same with a secret in the place of the reference to it.
pub(super) const INLINE: &[(&str, &str)] = &[
    ("primary: {key: 'file:$DIR/primary'}", "primary: {key: @}"),
    ("primary: {key: 'file:$DIR/primary'}", "primary: @"),
    ("primary: {key: 'file:$DIR/primary'}", "primary: [@]"),
    ("primary: {key: 'file:$DIR/primary'}", "primary: {key: {value: @}}"),
    ("primary: {key: 'file:$DIR/primary'}", "primary: {key: 'file:$DIR/primary', value: @}"),
    ("keys: {secret: 'file:$DIR/shared'}", "keys: {secret: @}"),
    ("keys: {secret: 'file:$DIR/shared'}", "keys: @"),
    ("ada: {key: 'file:$DIR/owner', role: owner}", "ada: {key: @, role: owner}"),
    ("ada: {key: 'file:$DIR/owner', role: owner}", "ada: @"),
    ("store: {directory:", "store: {master_key: @, directory:"),
    ("auth: {key: {}}", "auth: {key: @}"),
    ("auth: {key: {}}", "auth: @"),
];

/// A gateway to push secrets at.
pub(super) struct Places<'a> {
    pub(super) gateway: &'a Gateway,
}

impl Places<'_> {
    /// Every place of a request to a service.
    pub(super) fn traffic(&self, text: &str, outputs: &mut Outputs) -> u64 {
        let to = self.gateway.traffic();
        let escaped = [percent(text, true), percent(text, false)];
        let basic = STANDARD.encode(format!("user:{text}"));
        let mut count = 0;
        for path in SERVICES {
            for headers in [
                format!("authorization: Bearer {text}\r\n"),
                format!("authorization: bearer  {text}\r\n"),
                format!("authorization: Basic {basic}\r\n"),
                format!("authorization: {text}\r\n"),
                format!("authorization: Bearer Taint-other, Bearer {text}\r\n"),
                format!("authorization: Bearer {text}\r\nauthorization: Bearer {text}\r\n"),
                format!("authorization: Bearer {text}\r\nx-key: {text}\r\n"),
                format!("proxy-authorization: Bearer {text}\r\n"),
                format!("ocp-apim-subscription-key: {text}\r\n"),
                format!("ocp_apim_subscription_key: {text}\r\n"),
                format!("x-key: {text}\r\n"),
                format!("limitedaccesstoken: Bearer {text}\r\n"),
                format!("ocp-apim-subscription-key: {text}\r\nlimitedaccesstoken: Bearer {text}\r\n"),
                format!("cookie: session={text}; k={text}\r\n"),
                format!("connection: authorization, x-key\r\nauthorization: Bearer {text}\r\nx-key: {text}\r\n"),
                format!("authorization: Bearer {text}\r\nbroken {text}: {text}\r\n"),
                format!("authorization: Bearer {text}\r\ncontent-length: {text}\r\n"),
            ] {
                outputs.add(&format!("an answer at {path}"), exchange(to, &head("GET", path, &headers)));
                count += 1;
            }
            for query in [text, &escaped[0], &escaped[1]] {
                outputs
                    .add("an answer to a query", exchange(to, &head("GET", &format!("{path}?a=b&k={query}&c=d"), "")));
                count += 1;
            }
            let user = format!(
                "GET http://user:{text}@gateway.test{path} HTTP/1.1\r\nhost: gateway.test\r\nconnection: close\r\n\r\n"
            );
            let host = format!("GET {path} HTTP/1.1\r\nhost: user:{text}@gateway.test\r\nconnection: close\r\n\r\n");
            let trailer = format!("4\r\nbody\r\n0\r\nauthorization: Bearer {text}\r\nx-key: {text}\r\n\r\n");
            let trailer =
                head("POST", path, "transfer-encoding: chunked\r\ntrailer: authorization, x-key\r\n") + &trailer;
            let upgrade = format!("authorization: Bearer {text}\r\nupgrade: websocket\r\nconnection: upgrade\r\n");
            for request in
                [user, host, trailer, head("GET", path, &upgrade), head("TRACE", path, &format!("x-key: {text}\r\n"))]
            {
                outputs.add("an answer to an odd request", exchange(to, &request));
                count += 1;
            }
        }
        for body in [text.to_owned(), json!({ "targetAzureResourceId": text, "featureFlags": [text] }).to_string()] {
            let headers = format!("ocp-apim-subscription-key: {text}\r\ncontent-length: {}\r\n", body.len());
            let request = head("POST", "/sts/v1.0/issueLimitedAccessToken", &headers) + &body;
            let answer = exchange(to, &request);
            // The vendor's own key is answered with a token, or with what is wrong with its request.
            outputs.add("an answer to a request for a LimitedAccessToken", answer);
            count += 1;
        }
        count
    }

    /// Every place of a management call.
    pub(super) fn management(&self, text: &str, outputs: &mut Outputs) -> u64 {
        let to = self.gateway.management();
        let mut count = 0;
        for headers in [
            format!("authorization: Bearer {text}\r\n"),
            format!("authorization: {text}\r\n"),
            format!("authorization: Basic {}\r\n", STANDARD.encode(format!("user:{text}"))),
            format!("authorization: Bearer {text}\r\nauthorization: Bearer {text}\r\n"),
            format!("x-api-key: {text}\r\ncookie: key={text}\r\n"),
        ] {
            for path in ["/api/v1/keys".to_owned(), format!("/api/v1/keys?key={}", percent(text, true)), V1.to_owned()]
            {
                outputs.add("an answer of the management plane", exchange(to, &head("GET", &path, &headers)));
                count += 1;
            }
        }
        let owner = format!("authorization: Bearer {}\r\ncontent-type: application/json\r\n", super::text_of("owner"));
        let bodies = [
            json!(text),
            json!([text]),
            json!({ "key": text }),
            json!({ "graceSeconds": text }),
            json!({ "expires": text }),
            json!({ "keyType": "Primary", "keyValue": [text] }),
            json!({ "keyType": { "a": text } }),
            json!({ "token": text }),
            json!({ "token": { "issuer": "urn:scoregate", "jti": [text] }, "why": "a test" }),
            json!({ "name": "x", "resource": [text] }),
            json!({ "name": "x", "approvals": text }),
            json!([{ "op": "replace", "path": "/authEnabled", "value": text }]),
        ];
        let bodies = bodies.iter().map(Value::to_string).chain([text.to_owned(), format!("{{\"key\": \"{text}")]);
        let regenerate = "/api/v1/services/keyed/keys/primary/regenerate".to_owned();
        let calls = [
            ("POST", regenerate),
            ("POST", "/api/v1/accounts".to_owned()),
            ("PATCH", "/api/v1/accounts/client".to_owned()),
            ("POST", "/api/v1/revocations".to_owned()),
            ("POST", format!("{V1}/keyed/regenerateKeys")),
            ("PATCH", format!("{V1}/keyed")),
            ("POST", V1.to_owned()),
            ("POST", format!("{V2}/keyed/regenerateKeys")),
        ];
        for body in bodies {
            for (method, path) in &calls {
                let headers = format!("{owner}content-length: {}\r\n", body.len());
                outputs.add(
                    &format!("an answer to {method} {path}"),
                    exchange(to, &(head(method, path, &headers) + &body)),
                );
                count += 1;
            }
        }
        if text.starts_with("eyJ") {
            let body =
                json!({ "token": { "issuer": "urn:scoregate", "jti": text }, "why": "a token in place of its name" })
                    .to_string();
            let headers = format!("{owner}content-length: {}\r\n", body.len());
            let answer = exchange(to, &(head("POST", "/api/v1/revocations", &headers) + &body));
            outputs.add("an answer to a revocation", answer);
            count += 1;
        }
        count
    }

    /// Places for credentials over HTTP/2.
    pub(super) fn http2(&self, texts: &[&str], outputs: &mut Outputs) -> u64 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let stream = tokio::net::TcpStream::connect(self.gateway.traffic()).await.unwrap();
            let (mut sender, connection) =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
            let connection = tokio::spawn(connection);
            let mut count = 0;
            for text in texts {
                for (name, value) in [
                    ("authorization", format!("Bearer {text}")),
                    ("ocp-apim-subscription-key", (*text).to_owned()),
                    ("x-key", (*text).to_owned()),
                    ("limitedaccesstoken", format!("Bearer {text}")),
                    ("cookie", format!("k={text}")),
                ] {
                    let target = "http://gateway.test/keyed/x";
                    let value = HeaderValue::from_str(&value).unwrap();
                    let request = Request::get(target).header(name, value).body(Full::<Bytes>::default()).unwrap();
                    let answer = tokio::time::timeout(PATIENCE, sender.send_request(request)).await.unwrap().unwrap();
                    let (head, body) = answer.into_parts();
                    let body = body.collect().await.unwrap().to_bytes();
                    outputs.add("an answer over HTTP/2", format!("{head:?} {}", String::from_utf8_lossy(&body)));
                    count += 1;
                }
            }
            connection.abort();
            count
        })
    }

    /// What the API tells about itself, keys apart.
    pub(super) fn reading(&self, owner: &str, outputs: &mut Outputs) -> u64 {
        let bearer = format!("Bearer {owner}");
        let mut count = 0;
        for path in [
            "/api/v1/gateway",
            "/api/v1/keys",
            "/api/v1/services/keyed/keys",
            "/api/v1/services/stored/keys",
            "/api/v1/accounts",
            "/api/v1/accounts/client",
            "/api/v1/accounts/vendor/keys",
            "/api/v1/revocations",
            "/api/v1/signing-keys",
            "/api/v1/audit",
            "/api/v1/openapi.yaml",
            "/.well-known/jwks.json",
            "/discovery",
            V1,
            V2,
        ] {
            let answer = client::get(self.gateway.management(), path, &[("authorization", &bearer)]);
            outputs.add(path, format!("{:?} {}", answer.headers, answer.text()));
            count += 1;
        }
        for path in ["/livez", "/readyz", "/startupz"] {
            outputs.add(path, client::get(self.gateway.health(), path, &[]).text());
            count += 1;
        }
        count
    }

    /// Variables, files and arguments of commands, and what `check` and `run` say to a secret in the configuration.
    pub(super) fn command_line(&self, owner: &str, texts: &[&str], outputs: &mut Outputs) -> u64 {
        let management = format!("http://{}", self.gateway.management());
        let traffic = format!("http://{}", self.gateway.traffic());
        let directory = scratch();
        let file = directory.path().join("key");
        let name = file.to_str().unwrap();
        let issue = ["tokens", "issue-limited", "--resource", "/a/nobody", "--feature", "Face.Identification"];
        let mut count = 0;
        for text in texts {
            fs::write(&file, format!("{text}\n{text}\n")).unwrap();
            let key = ("SCOREGATE_MANAGEMENT_KEY", *text);
            let lines = format!("{text}\n{text}");
            for (variables, arguments) in [
                (vec![key], vec!["keys", "status"]),
                (vec![("SCOREGATE_MANAGEMENT_KEY", &*lines)], vec!["keys", "status"]),
                (vec![], vec!["keys", "status", "--key-file", name]),
                (vec![key], vec!["keys", "status", "--key", text]),
                (vec![], vec!["keys", "status", &*format!("--management-key={text}")]),
                (
                    vec![("SCOREGATE_MANAGEMENT_KEY", owner)],
                    vec!["keys", "regenerate", "keyed", "primary", "--value-file", name],
                ),
                (vec![("SCOREGATE_ACCOUNT_KEY", *text)], issue.to_vec()),
                (vec![("SCOREGATE_LOG", "trace"), key], vec!["accounts", "list"]),
            ] {
                let all = [("SCOREGATE_MANAGEMENT", &*management), ("SCOREGATE_TRAFFIC", &*traffic)];
                outputs.add(&format!("{arguments:?}"), ran(&[&all[..], &variables].concat(), &arguments));
                count += 1;
            }
        }
        let good = fs::read_to_string(self.gateway.config()).unwrap();
        for text in [texts[0], texts[texts.len() - 1]] {
            for (whole, place) in INLINE {
                let broken = broken(&good, self.gateway, whole, place, text);
                fs::write(&file, broken).unwrap();
                for command in [&["check", name][..], &["check", "--without-files", name], &["run", "--config", name]] {
                    let Ran { code, stdout, stderr } = run(directory.path(), command);
                    assert_eq!(code, Some(1), "{command:?} with {place} says {stdout} {stderr}");
                    outputs.add(&format!("{} with {place}", command[0]), stdout + &stderr);
                    count += 1;
                }
            }
        }
        count
    }
}

/// A configuration with a secret in it.
pub(super) fn broken(good: &str, gateway: &Gateway, whole: &str, place: &str, text: &str) -> String {
    let directory = gateway.directory().to_str().unwrap();
    let (whole, place) = (whole.replace("$DIR", directory), place.replace("$DIR", directory));
    assert!(good.contains(&whole), "{whole} in\n{good}");
    good.replacen(&whole, &place.replace('@', &format!("'{}'", text.replace('\'', "''"))), 1)
}

/// A request's head, after which the connection ends.
fn head(method: &str, target: &str, headers: &str) -> String {
    format!("{method} {target} HTTP/1.1\r\nhost: gateway.test\r\nconnection: close\r\n{headers}\r\n")
}

/// Everything that is answered.
fn exchange(to: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    // A reset is an end as well.
    stream.read_to_end(&mut answer).unwrap_or_default();
    String::from_utf8_lossy(&answer).into_owned()
}

/// What a command says.
fn ran(variables: &[(&str, &str)], arguments: &[&str]) -> String {
    let mut command = Command::new(PROGRAM);
    let command = command.args(arguments).envs(variables.iter().copied()).stdin(Stdio::null());
    let output = command.output().expect("the program can be started");
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
