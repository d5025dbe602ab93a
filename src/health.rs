//! The health plane: `/livez`, `/readyz`, `/startupz` and `/metrics`, for the kubelet and Prometheus.
//!
//! It has a listener of its own and no authentication, so no path of the traffic plane is ever a way around it.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::HeaderValue;
use http::Method;
use http::Response;
use http::StatusCode;
use http::header;
use http_body_util::Full;

use crate::model::refusal::Denied;
use crate::model::refusal::Row;
use crate::observe::metrics::Metrics;

/// What the process tells about itself.
#[derive(Debug, Clone)]
pub struct Health {
    metrics: Arc<Metrics>,
    started: Arc<AtomicBool>,
    draining: Arc<AtomicBool>,
}

impl Health {
    /// A process that has not started yet. `draining` is set by whoever ends it.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>, draining: Arc<AtomicBool>) -> Self {
        Self { metrics, started: Arc::default(), draining }
    }

    /// The first snapshot is in force and every listener is bound.
    pub fn started(&self) {
        self.started.store(true, Ordering::Relaxed);
    }

    /// The answer to what is no request.
    #[must_use]
    pub fn refuse_unread(why: Denied) -> Response<Full<Bytes>> {
        let Row { status, message, .. } = why.row();
        text(status, message)
    }

    /// Answers a probe or a scrape.
    ///
    /// `/livez` says that the process runs and asks nobody else; `/startupz` that it has started; `/readyz` that it
    /// takes traffic, which it does not before the start and during the drain.
    #[must_use]
    pub fn answer(&self, method: &Method, path: &str) -> Response<Full<Bytes>> {
        if !matches!(*method, Method::GET | Method::HEAD) {
            let mut refused = text(StatusCode::METHOD_NOT_ALLOWED, "want GET or HEAD\n");
            refused.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return refused;
        }
        let has_started = self.started.load(Ordering::Relaxed);
        let is_draining = self.draining.load(Ordering::Relaxed);
        match path {
            "/livez" => text(StatusCode::OK, "alive\n"),
            "/startupz" | "/readyz" if !has_started => text(StatusCode::SERVICE_UNAVAILABLE, "starting\n"),
            "/startupz" => text(StatusCode::OK, "started\n"),
            "/readyz" if is_draining => text(StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
            "/readyz" => text(StatusCode::OK, "ready\n"),
            "/metrics" => {
                let mut scraped = Response::new(Full::from(self.metrics.exposition()));
                scraped.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(Metrics::CONTENT_TYPE));
                scraped
            }
            _ => text(StatusCode::NOT_FOUND, "want /livez, /readyz, /startupz or /metrics\n"),
        }
    }
}

fn text(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;
    use std::sync::atomic::Ordering;

    use http::Method;

    use super::Health;
    use crate::observe::metrics::Metrics;

    #[test]
    fn probes_follow_the_life_of_the_process() {
        let draining = Arc::new(AtomicBool::new(false));
        let health = Health::new(Arc::new(Metrics::new()), Arc::clone(&draining));
        let statuses = || {
            ["/livez", "/startupz", "/readyz", "/metrics", "/"]
                .map(|path| health.answer(&Method::GET, path).status().as_u16())
        };
        assert_eq!(statuses(), [200, 503, 503, 200, 404], "before the start");
        health.started();
        assert_eq!(statuses(), [200, 200, 200, 200, 404], "in service");
        draining.store(true, Ordering::Relaxed);
        assert_eq!(statuses(), [200, 200, 503, 200, 404], "draining");
        assert_eq!(health.answer(&Method::POST, "/livez").status(), 405);
    }
}
