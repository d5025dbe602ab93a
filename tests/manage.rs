//! A gateway that runs, managed over HTTP: keys are regenerated under it and LimitedAccessTokens issued by it.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use bytes::Bytes;
use http::HeaderMap;
use http::Method;
use http::Request;
use http::Response;
use http::StatusCode;
use http_body_util::BodyExt as _;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use scoregate::config::Address;
use scoregate::server::process::Process;
use serde_json::Value;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::runtime::LocalOptions;
use tokio::sync::oneshot;

const WORKSPACE: &str = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/scoregate\
                         /providers/Microsoft.MachineLearningServices/workspaces/scoregate";

struct Got {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
}

impl Got {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {:?}", self.text))
    }
}

/// One request over a connection of its own.
async fn call(at: SocketAddr, method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> Got {
    let stream = TcpStream::connect(at).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    let connection = tokio::task::spawn_local(connection);
    let mut request = Request::builder().method(method).uri(path).header("host", at.to_string());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = sender.send_request(request.body(Full::new(Bytes::from(body.to_owned()))).unwrap()).await.unwrap();
    let (head, body) = response.into_parts();
    let text = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
    connection.abort();
    Got { status: head.status, headers: head.headers, text }
}

/// A server that answers `{}` to everything.
async fn upstream() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::task::spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let answer = service_fn(|request: Request<Incoming>| async move {
                drop(request.into_body().collect().await);
                Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"{}"))))
            });
            let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer);
            tokio::task::spawn_local(connection);
        }
    });
    address
}

fn configuration(directory: &Path, upstream: SocketAddr) -> String {
    let store = directory.join("state");
    format!(
        "\
listeners:
  traffic: [{{address: '127.0.0.1:0'}}]
  management: {{address: '127.0.0.1:0'}}
  health: {{address: '127.0.0.1:0'}}
store: {{directory: '{}'}}
access_log: off
shutdown: {{delay: 0s, deadline: 1s}}
workers: 2
upstreams: {{model: {{endpoints: ['http://{upstream}']}}}}
accounts:
  vendor: {{resource: /a/vendor, may_issue: [Face.Identification]}}
  client: {{resource: /a/client}}
services:
  iris: {{upstream: model, auth: {{key: {{}}}}}}
  token: {{upstream: model, auth: {{token: {{}}}}}}
  face:
    match: [{{prefix: /face}}]
    upstream: model
    auth: {{key: {{keys: {{primary: {{key: 'file:{}'}}}}, accounts: every}}}}
    features: {{preset: face}}
    issues_limited_access_tokens: true
",
        store.display(),
        directory.join("face.key").display(),
    )
}

const FACE_KEY: &str = "the-services-own-key-0";

struct Gateway {
    traffic: SocketAddr,
    management: SocketAddr,
    key: String,
    store: std::sync::Arc<scoregate::store::Store>,
}

/// Runs `claims` beside a gateway on the same runtime, as `scoregate demo` runs its own.
fn with_gateway<F: Future<Output = ()>>(claims: impl FnOnce(Gateway) -> F) {
    with_gateway_over(async |_store| {}, claims);
}

/// As [`with_gateway`], over a store that holds something already.
fn with_gateway_over<F: Future<Output = ()>>(
    fill: impl AsyncFnOnce(&scoregate::store::Store),
    claims: impl FnOnce(Gateway) -> F,
) {
    scoregate::tokens::install_crypto_provider();
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default()).unwrap();
    runtime.block_on(async {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("gateway.yaml");
        std::fs::write(directory.path().join("face.key"), FACE_KEY).unwrap();
        std::fs::write(&file, configuration(directory.path(), upstream().await)).unwrap();
        let config = scoregate::config::Config::read(&std::fs::read_to_string(&file).unwrap()).unwrap();
        let store = scoregate::store::Store::open(&config.store).await.unwrap();
        fill(&store).await;
        store.close().await;
        let process = Process::start(file).await.unwrap();
        let tcp = |address: &Address| match address {
            Address::Tcp(address) => *address,
            Address::Unix(path) => panic!("{}", path.display()),
        };
        let addresses = process.addresses();
        let key_file = directory.path().join("state/management.key");
        assert_eq!(std::fs::metadata(&key_file).unwrap().permissions().mode() & 0o777, 0o600);
        let gateway = Gateway {
            traffic: tcp(&addresses.traffic[0]),
            management: tcp(addresses.management.as_ref().unwrap()),
            key: std::fs::read_to_string(key_file).unwrap().trim_end().to_owned(),
            store: std::sync::Arc::clone(process.store()),
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let running = tokio::task::spawn_local(process.run(async { drop(stopped.await) }));
        claims(gateway).await;
        stop.send(()).unwrap();
        running.await.unwrap();
    });
}

impl Gateway {
    async fn manage(&self, method: Method, path: &str, body: &Value) -> Got {
        let key = format!("Bearer {}", self.key);
        call(self.management, method, path, &[("authorization", &key)], &body.to_string()).await
    }

    async fn score(&self, service: &str, key: &str) -> StatusCode {
        let path = format!("/api/v1/service/{service}/score");
        call(self.traffic, Method::POST, &path, &[("authorization", &format!("Bearer {key}"))], "{}").await.status
    }

    async fn account_key(&self, name: &str) -> String {
        let name = scoregate::model::name::Name::parse(name).unwrap();
        let owner = scoregate::store::record_key::Owner::Account(name);
        self.store.list(&owner).await.unwrap().primary.expose().clone()
    }

    async fn issue(&self, key: &str, query: &str, body: &str) -> Got {
        let path = format!("/sts/v1.0/issueLimitedAccessToken{query}");
        call(self.traffic, Method::POST, &path, &[("ocp-apim-subscription-key", key)], body).await
    }

    async fn identify(&self, key: &str, limited: &str) -> StatusCode {
        let limited = format!("Bearer {limited}");
        let headers = [("ocp-apim-subscription-key", key), ("limitedaccesstoken", limited.as_str())];
        call(self.traffic, Method::POST, "/face/v1.0/identify", &headers, "{}").await.status
    }
}

#[test]
fn a_regenerated_key_opens_and_the_old_one_does_not_from_the_moment_of_the_answer() {
    with_gateway(async |gateway| {
        let services = format!("/modelmanagement/v1.0{WORKSPACE}/services");
        let shown = gateway.manage(Method::GET, &format!("{services}/iris"), &json!({})).await.json();
        assert_eq!(shown["scoringUri"], format!("http://{}/api/v1/service/iris/score", gateway.traffic));
        let list = format!("{services}/iris/listkeys");
        let keys = async || {
            let keys = gateway.manage(Method::POST, &list, &json!({})).await.json();
            ["primaryKey", "secondaryKey"].map(|slot| keys[slot].as_str().unwrap().to_owned())
        };
        for round in 0..20 {
            let [primary, secondary] = keys().await;
            assert_eq!(gateway.score("iris", &primary).await, StatusCode::OK, "round {round}");
            let (kind, old, other) =
                if round % 2 == 0 { ("Primary", &primary, &secondary) } else { ("Secondary", &secondary, &primary) };
            let path = format!("{services}/iris/regenerateKeys");
            let got = gateway.manage(Method::POST, &path, &json!({ "keyType": kind, "keyValue": null })).await;
            assert_eq!(got.status, StatusCode::ACCEPTED, "{}", got.text);
            assert_eq!(gateway.score("iris", old).await, StatusCode::UNAUTHORIZED, "round {round}: the old key");
            assert_eq!(gateway.score("iris", other).await, StatusCode::OK, "round {round}: the other slot");
            let [primary, secondary] = keys().await;
            assert_eq!(gateway.score("iris", &primary).await, StatusCode::OK, "round {round}");
            assert_eq!(gateway.score("iris", &secondary).await, StatusCode::OK, "round {round}");
        }
        let got = gateway.manage(Method::POST, &format!("{services}/token/token"), &json!({})).await;
        assert_eq!(got.status, StatusCode::CREATED);
        let token = got.json()["accessToken"].as_str().unwrap().to_owned();
        assert_eq!(gateway.score("token", &token).await, StatusCode::OK);
        assert_eq!(gateway.score("iris", &token).await, StatusCode::UNAUTHORIZED);
        assert_eq!(gateway.score("iris", &gateway.key).await, StatusCode::UNAUTHORIZED, "a management key scores");
    });
}

#[test]
fn a_vendor_lends_what_it_may_and_the_customer_uses_it() {
    with_gateway(async |gateway| {
        let (vendor, client) = (gateway.account_key("vendor").await, gateway.account_key("client").await);
        let body =
            |target: &str, flag: &str| format!(r#"{{"targetAzureResourceId":"{target}","featureFlags":["{flag}"]}}"#);
        let asked = body("/a/client", "Face.Identification");
        assert_eq!(gateway.identify(&client, "none").await, StatusCode::UNAUTHORIZED);
        let issued = gateway.issue(&vendor, "?expiredTime=60", &asked).await;
        assert_eq!(
            (issued.status, issued.headers["content-type"].as_bytes()),
            (StatusCode::OK, &b"application/jwt"[..])
        );
        assert_eq!(gateway.identify(&client, &issued.text).await, StatusCode::OK);
        assert_eq!(gateway.identify(&vendor, &issued.text).await, StatusCode::FORBIDDEN, "another resource's token");

        let long = format!("{asked}{}", " ".repeat(16 * 1024));
        let denied = "401";
        for (key, query, body, status, code) in [
            (&*vendor, "?expiredTime=59", &*asked, 400, "BadArgument"),
            (&vendor, "", &body("/a/nobody", "Face.Identification"), 400, "BadArgument"),
            (&vendor, "", &body("/a/client", "Face.Unheard"), 400, "BadArgument"),
            (&vendor, "", "", 400, "BadArgument"),
            (&vendor, "", &long, 400, "BadArgument"),
            (&vendor, "", &body("/a/client", "Face.Verification"), 403, "issue_not_allowed"),
            (&client, "", &asked, 403, "issue_not_allowed"),
            (FACE_KEY, "", &asked, 403, "issue_not_allowed"),
            ("a-key-that-is-nobodys", "", &asked, 401, denied),
            (&gateway.key, "", &asked, 401, denied),
            (&issued.text, "", &asked, 401, denied),
        ] {
            let got = gateway.issue(key, query, body).await;
            let case = format!("{query} {body:.80}: {}", got.text);
            assert_eq!((got.status.as_u16(), got.json()["error"]["code"].as_str().unwrap()), (status, code), "{case}");
            assert!(got.json()["error"]["message"].is_string(), "{case}");
            assert!(!got.headers.contains_key("retry-after"), "{case}");
        }
        let none = call(gateway.traffic, Method::POST, "/sts/v1.0/issueLimitedAccessToken", &[], &asked).await;
        assert_eq!(none.status, StatusCode::UNAUTHORIZED);
        let key = [("ocp-apim-subscription-key", &*vendor)];
        let read = call(gateway.traffic, Method::GET, "/sts/v1.0/issueLimitedAccessToken", &key, "").await;
        assert_eq!(read.status, StatusCode::METHOD_NOT_ALLOWED);
        let elsewhere = call(gateway.management, Method::POST, "/sts/v1.0/issueLimitedAccessToken", &key, &asked).await;
        assert_eq!(elsewhere.status, StatusCode::NOT_FOUND, "the management plane issues none");
    });
}

/// What scores at service `token` for the callers that ask now.
async fn token_of(gateway: &Gateway) -> String {
    let path = format!("/modelmanagement/v1.0{WORKSPACE}/services/token/token");
    let got = gateway.manage(Method::POST, &path, &json!({})).await;
    assert_eq!(got.status, StatusCode::CREATED, "{}", got.text);
    got.json()["accessToken"].as_str().unwrap().to_owned()
}

#[test]
fn a_signing_key_whose_time_has_come_makes_room_and_what_has_expired_goes() {
    use scoregate::config::SigningAlgorithm;
    use scoregate::model::name::Name;
    use scoregate::model::time::UnixSeconds;
    use scoregate::store::records::RevocationRecord;
    use scoregate::store::records::Revoked;

    let now = UnixSeconds::now();
    let long_ago = UnixSeconds(now.0 - 91 * 86_400);
    let fill = async |store: &scoregate::store::Store| {
        store.ensure_signing_key(SigningAlgorithm::EdDsa, long_ago).await.unwrap();
        let revoked = Revoked::Isv(Name::parse("vendor").unwrap());
        let expired = RevocationRecord { revoked, issued_before: long_ago, expires: now, why: String::new() };
        store.revoke(&expired).await.unwrap();
    };
    with_gateway_over(fill, async |gateway| {
        let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
        let state = loop {
            let state = gateway.store.read().await.unwrap();
            let jwks = gateway.manage(Method::GET, "/.well-known/jwks.json", &json!({})).await.json();
            if jwks["keys"].as_array().unwrap().len() == 2 && state.revocations.is_empty() {
                break state;
            }
            assert!(tokio::time::Instant::now() < deadline, "{state:?}");
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        };
        let signer = state.signer().unwrap();
        assert_eq!(signer.algorithm, SigningAlgorithm::Es256, "a new key is as the file says");
        let old = state.signing_keys().find(|key| key.kid != signer.kid).unwrap();
        assert!(old.verify_until.unwrap() >= now.plus(86_400), "as long as its last token: {old:?}");
        let token = token_of(&gateway).await;
        assert_eq!(gateway.score("token", &token).await, StatusCode::OK);
        let rotated = gateway.manage(Method::POST, "/api/v1/signing-keys/rotate", &json!({})).await;
        assert_eq!(rotated.status, StatusCode::CREATED, "{}", rotated.text);
        assert_eq!(gateway.score("token", &token).await, StatusCode::OK, "its key verifies still");
        assert_eq!(gateway.score("token", &token_of(&gateway).await).await, StatusCode::OK);
    });
}
