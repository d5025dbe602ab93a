//! Upstreams that fail and callers that ask for too much: who is sent elsewhere, who waits, who is told no.

mod callers;
mod deployments;
mod endpoints;
mod http2;
mod queue;

use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;

use crate::support::PATIENCE;
use crate::support::client;
use crate::support::client::Answer;
use crate::support::client::Client;
use crate::support::eventually;
use crate::support::gateway::Gateway;
use crate::support::upstream::Upstream;
use crate::support::upstream::respond;

/// An upstream that answers a request when it is told to.
#[derive(Debug)]
struct Patient {
    upstream: Upstream,
    may_answer: Arc<(Mutex<usize>, Condvar)>,
}

impl Patient {
    fn start() -> Self {
        let may_answer: Arc<(Mutex<usize>, Condvar)> = Arc::default();
        let told = Arc::clone(&may_answer);
        let upstream = Upstream::start(move |request, stream| {
            let (count, changed) = &*told;
            let count = count.lock().expect("no test panics while it holds it");
            let waited = changed.wait_timeout_while(count, PATIENCE, |count| *count == 0);
            let (mut count, _) = waited.expect("no test panics while it holds it");
            *count = count.saturating_sub(1);
            drop(count);
            respond(stream, 200, &[], request.target.as_bytes())
        });
        Self { upstream, may_answer }
    }

    /// So many requests are answered, of those that are here or of those that come.
    fn answer(&self, count: usize) {
        *self.may_answer.0.lock().expect("no test panics while it holds it") += count;
        self.may_answer.1.notify_all();
    }

    /// Waits until so many requests have come in all.
    fn wait_for(&self, count: usize) {
        eventually(&format!("{count} requests reach the upstream"), || {
            (self.upstream.received().len() >= count).then_some(())
        });
    }
}

/// Sends a request and does not wait for its answer.
fn ask(gateway: &Gateway, target: &str, headers: &[(&str, &str)]) -> Client {
    let mut client = Client::connect(gateway.traffic());
    client.send(client::head("GET", target, headers, b""));
    client
}

/// Waits until so many requests wait for their turn at the service `model`.
fn wait_for_queue(gateway: &Gateway, length: f64) {
    let series = "gateway_http_requests_queued{service=\"model\"}";
    eventually(&format!("{length} requests wait"), || (gateway.metric(series) == length).then_some(()));
}

/// The status, the code, the text, and `Retry-After`.
fn told(answer: &Answer) -> (u16, String, String, Option<&str>) {
    let body = answer.json();
    let text = |member: &str| body["error"][member].as_str().unwrap_or_default().to_owned();
    (answer.status, text("code"), text("message"), answer.header("retry-after"))
}
