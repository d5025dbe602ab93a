//! What the management plane answers, and what the access log says of a request.

use std::cell::RefCell;
use std::io;
use std::io::Write;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::LazyLock;
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderName;
use http::HeaderValue;
use http::Request;
use http::StatusCode;
use http::header;
use http_body_util::BodyExt as _;
use http_body_util::Full;
use scoregate::config;
use scoregate::manage::Management;
use scoregate::manage::Observed;
use scoregate::observe::access_log::AccessLogWriter;
use scoregate::observe::access_log::LastLines;
use scoregate::observe::audit::Audit;
use scoregate::observe::metrics::Metrics;
use scoregate::observe::record::Observer;
use scoregate::observe::record::Peer;
use scoregate::observe::record::Record;
use scoregate::pipeline::issuer_keys::KeyRequests;
use scoregate::pipeline::issuer_keys::Standing;
use scoregate::snapshot::inputs::Inputs;
use scoregate::snapshot::live;
use scoregate::snapshot::live::Live;
use scoregate::store::Store;
use scoregate::store::engine::Event;
use scoregate::store::record_key::Owner;
use tokio::runtime::Runtime;

use crate::gateway::Gateway;
use crate::gateway::NOW;
use crate::gateway::name;
use crate::gateway::runtime;
use crate::lines;

const CONFIG: &str = "\
listeners: {traffic: [{address: '127.0.0.1:0'}], health: {address: '127.0.0.1:0'}}
workspace: /subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/w
management_keys:
  looks: {key: 'env:LOOKS', role: reader}
  works: {key: 'env:WORKS', role: operator}
  owns: {key: 'env:OWNS', role: owner}
upstreams: {model: {endpoints: ['http://127.0.0.1:9']}}
accounts: {caller: {resource: /a/caller}}
services:
  iris: {upstream: model, auth: {key: {}}}
  managed: {upstream: model, managed: true, auth: {key: {}}}
  token: {upstream: model, auth: {token: {issuers: [own]}}}
";

/// The keys of the roles, by what a seed calls them.
const ROLES: [(&str, &str); 3] =
    [("looks", "key-of-a-reader-0"), ("works", "key-of-an-operator"), ("owns", "key-of-an-owner-00")];

/// After so many changes of the store everything begins anew.
const CHANGES: u64 = 400;

struct World {
    runtime: Runtime,
    manage: Arc<Management>,
    store: Arc<Store>,
    live: Live,
}

impl World {
    fn new() -> Self {
        let runtime = runtime();
        let (manage, store, live) = runtime.block_on(async {
            let keys = ROLES.map(|(role, key)| (role, key));
            let mut gateway = Gateway::new(CONFIG, Inputs::default(), &keys).await;
            let (live, mut publisher) = live::publish_first(Arc::new(gateway.snapshot(None)));
            let store = Arc::clone(&gateway.store);
            let requests = KeyRequests::new(tokio::sync::mpsc::channel(1).0, Standing::default());
            let manage =
                Management::new(live.clone(), Arc::clone(&store), requests, Audit::off(), Observed::default(), NOW);
            let mut watch = store.watch(gateway.state.revision).await.expect("a watch");
            tokio::spawn(async move {
                while let Some(Event::Changed(update)) = watch.next().await {
                    gateway.store.follow(&mut gateway.state, &update);
                    let previous = publisher.current();
                    publisher.publish(Arc::new(gateway.snapshot(Some(&previous))));
                }
            });
            (manage, store, live)
        });
        Self { runtime, manage, store, live }
    }

    fn answer(&self, request: Request<Full<Bytes>>) -> (http::response::Parts, Bytes) {
        self.runtime.block_on(async {
            let (head, body) = self.manage.answer(request).await.into_parts();
            (head, body.collect().await.expect("a body that is there").to_bytes())
        })
    }

    fn revision(&self) -> u64 {
        self.live.load().store_revision.0
    }

    fn keys(&self) -> Vec<String> {
        let owners = [Owner::Service(name("iris")), Owner::Service(name("managed")), Owner::Account(name("caller"))];
        let listed = owners.map(|owner| self.runtime.block_on(self.store.list(&owner)).expect("keys"));
        listed.into_iter().flat_map(|keys| [keys.primary, keys.secondary]).map(|key| key.expose().clone()).collect()
    }
}

/// A first line of role, method and target, then the body. Nothing that a caller sends is a 500, changes anything
/// without a role, or makes a refusal show a key.
pub(crate) fn manage(data: &[u8]) {
    thread_local! {
        static WORLD: RefCell<World> = RefCell::new(World::new());
    }
    let Some(first) = lines(data).next() else { return };
    let Ok(line) = std::str::from_utf8(first) else { return };
    let mut words = line.splitn(3, ' ');
    let (Some(role), Some(method), Some(target)) = (words.next(), words.next(), words.next()) else { return };
    let body = Bytes::copy_from_slice(data.get(first.len() + 1..).unwrap_or_default());
    let request = |key: Option<&str>| {
        let mut request = Request::builder().method(method).uri(target).header("host", "gateway.test:8081");
        request = key.into_iter().fold(request, |it, key| it.header("authorization", format!("Bearer {key}")));
        request.body(Full::new(body.clone())).ok()
    };
    let key = ROLES.iter().find(|(named, _)| *named == role).map(|(_, key)| *key);
    let (Some(without), Some(with)) = (request(None), request(key)) else { return };
    WORLD.with_borrow_mut(|world| {
        let before = (world.revision(), world.keys());
        let (head, text) = world.answer(without);
        check_answer(&head, &text, &before.1);
        let (head, text) = world.answer(with);
        let refused = head.status.as_u16() >= 400;
        check_answer(&head, &text, if refused { &before.1 } else { &[] });
        let after = world.revision();
        assert!(before.0 == after || role == "works" || role == "owns", "{role:?} changed the store");
        assert!(before.0 == after || !refused, "{line:?} was refused and made");
        if after > CHANGES {
            *world = World::new();
        }
    });
}

fn check_answer(head: &http::response::Parts, text: &Bytes, never: &[String]) {
    assert!(head.status.as_u16() < 500, "{} {text:?}", head.status);
    let shown = String::from_utf8_lossy(text);
    assert!(!never.iter().any(|key| shown.contains(key)), "{shown} shows a key");
    let media_type = head.headers.get(header::CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
    if media_type.windows(4).any(|window| window == b"json") {
        serde_json::from_slice::<serde_json::Value>(text).expect("JSON");
    }
}

#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("nobody panicked").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Stands in the query and in credentials.
const TAINT: &str = "7a1n7";

/// Method, target and header values, a line each. The access log has one line of it that is JSON, harmless to a
/// terminal, and without query or credential.
pub(crate) fn access_log(data: &[u8]) {
    static METRICS: LazyLock<Arc<Metrics>> = LazyLock::new(|| Arc::new(Metrics::new()));
    let mut sent = lines(data);
    let (Some(method), Some(target)) = (sent.next(), sent.next()) else { return };
    let Ok(target) = std::str::from_utf8(target) else { return };
    if data.windows(TAINT.len()).any(|window| window == TAINT.as_bytes()) {
        return;
    }
    let target = format!("{}?{TAINT}", target.split(['?', '#']).next().unwrap_or_default());
    let Ok(mut request) = Request::builder().method(method).uri(target).body(()) else { return };
    let named = ["host", "user-agent", "x-request-id", "traceparent", "tracestate", "x-ms-client-request-id"];
    for (named, value) in named.into_iter().zip(sent) {
        if let Ok(value) = HeaderValue::from_bytes(value) {
            request.headers_mut().insert(HeaderName::from_static(named), value);
        }
    }
    request.headers_mut().insert(header::AUTHORIZATION, HeaderValue::from_static(TAINT));
    let kept = Kept::default();
    let writer = AccessLogWriter::start(Box::new(kept.clone()), Arc::clone(&METRICS)).expect("a thread");
    let now = tokio::time::Instant::now();
    let all = config::AccessLog::On { sample: 1.0 };
    let observer =
        Observer::new(Arc::clone(&METRICS), writer.log(), Arc::default(), all, now, Duration::from_secs(NOW.0));
    let peer = Peer { address: None, scheme: http::uri::Scheme::HTTP };
    let mut record = Record::begin(&observer, &request.into_parts().0, &peer, now);
    record.answered(StatusCode::OK);
    record.complete();
    drop(Rc::into_inner(observer));
    assert_eq!(writer.finish(Duration::from_secs(10)), LastLines::Written);
    let line = kept.0.lock().expect("nobody panicked").clone();
    check_line(&line);
}

fn check_line(line: &[u8]) {
    let text = std::str::from_utf8(line).expect("UTF-8");
    let text = text.strip_suffix('\n').expect("a line has an end");
    let read: serde_json::Map<String, serde_json::Value> = serde_json::from_str(text).expect("a JSON object");
    assert_eq!(read["http.response.status_code"], 200);
    assert!(!text.contains(TAINT), "{text}");
    let harmful = |character: char| {
        character.is_control()
            || ('\u{200b}'..='\u{200f}').contains(&character)
            || ('\u{2028}'..='\u{202e}').contains(&character)
            || ('\u{2060}'..='\u{206f}').contains(&character)
            || character == '\u{feff}'
    };
    assert!(!text.chars().any(harmful), "{text:?}");
}
