//! Spans go to the collector: OTLP over HTTP, once a second, on the control runtime.
//!
//! A collector that is away or busy is asked again with the same spans, less and less often; what comes meanwhile waits in
//! the workers' buffers, and is dropped and counted once those are full.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use http::Request;
use http::StatusCode;
use http::header;
use http_body_util::BodyExt as _;
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper::rt::Executor as _;
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::ResourceSpans;
use opentelemetry_proto::tonic::trace::v1::ScopeSpans;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::config::Tracing;
use crate::observe::ids::Ids;
use crate::observe::metrics::Metrics;
use crate::observe::spans::Ended;
use crate::observe::spans::SpanSource;
use crate::observe::spans::attribute;
use crate::reload::secret;
use crate::reload::secret::BadSecret;
use crate::snapshot::target::BadTarget;
use crate::snapshot::target::Endpoint;
use crate::upstream::connect::connect;
use crate::upstream::http2::LocalExecutor;

/// How often spans are sent.
const EVERY: Duration = Duration::from_secs(1);

/// Longest pause after a failure.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Longest wait for the collector, connection included.
const WITHIN: Duration = Duration::from_secs(10);

/// Spans of one request to the collector: about half a megabyte.
const BATCH: usize = 2048;

/// Why the collector does not have the spans.
#[derive(Debug, thiserror::Error)]
enum ExportError {
    #[error("a header of the collector or its CA could not be read")]
    Secret(#[from] BadSecret),
    #[error("a header of the collector has a value that no header can have")]
    Header,
    #[error("the connection could not be set up")]
    Target(#[from] BadTarget),
    #[error("the collector's address is none")]
    Address,
    #[error("the collector could not be reached: {0}")]
    Unreachable(&'static str),
    #[error("the collector did not answer within 10 s")]
    Late(#[from] tokio::time::error::Elapsed),
    #[error("the connection broke off")]
    Broken(#[from] hyper::Error),
    #[error("the collector answered {0}")]
    Refused(StatusCode),
}

impl ExportError {
    /// Whether the same spans may be taken later (OTLP specification, "Failures": 429, 502, 503 and 504).
    fn may_pass(&self) -> bool {
        match self {
            Self::Refused(status) => matches!(status.as_u16(), 429 | 502 | 503 | 504),
            Self::Secret(_) | Self::Header | Self::Target(_) | Self::Address => true,
            Self::Unreachable(_) | Self::Late(_) | Self::Broken(_) => true,
        }
    }
}

/// The task that sends spans.
#[derive(Debug)]
pub(super) struct SpanExport {
    settings: watch::Sender<Option<Arc<Tracing>>>,
    end: CancellationToken,
    ended: JoinHandle<()>,
}

impl SpanExport {
    /// Starts it; what workers hand over comes from the source.
    pub(super) fn start(metrics: Arc<Metrics>) -> (Self, SpanSource) {
        let (source, spans) = SpanSource::new(Arc::clone(&metrics));
        let (settings, followed) = watch::channel(None);
        let end = CancellationToken::new();
        let exporter = Exporter { spans, settings: followed, metrics, instance: Ids::new().next().to_string() };
        let ended = tokio::task::spawn_local(exporter.run(end.clone()));
        (Self { settings, end, ended }, source)
    }

    /// From now on spans go where this configuration says.
    pub(super) fn follow(&self, config: &Config) {
        self.settings.send_replace(config.tracing.clone());
    }

    /// Sends what there still is, and ends. The workers' ends have to be dropped before; `longest` at most.
    pub(super) async fn finish(self, longest: Duration) {
        self.end.cancel();
        if tokio::time::timeout(longest, self.ended).await.is_err() {
            tracing::warn!("the last spans could not be sent");
        }
    }
}

struct Exporter {
    spans: Ended,
    settings: watch::Receiver<Option<Arc<Tracing>>>,
    metrics: Arc<Metrics>,
    /// `service.instance.id`, another one after each start.
    instance: String,
}

impl Exporter {
    async fn run(self, end: CancellationToken) {
        let mut pause = EVERY;
        let mut batch = Vec::new();
        loop {
            let is_last = tokio::time::timeout(pause, end.cancelled()).await.is_ok();
            pause = loop {
                self.fill(&mut batch);
                if batch.is_empty() {
                    break EVERY;
                }
                match self.send(&mut batch, pause > EVERY).await {
                    Ok(()) => pause = EVERY,
                    Err(()) => break (pause * 2).min(LONGEST_PAUSE),
                }
            };
            if is_last {
                return self.metrics.gateway.spans_dropped(batch.len());
            }
        }
    }

    fn fill(&self, batch: &mut Vec<Span>) {
        while batch.len() < BATCH
            && let Some(more) = self.spans.take()
        {
            batch.extend(more);
        }
    }

    /// Sends the batch and empties it, unless it is worth to be sent again.
    async fn send(&self, batch: &mut Vec<Span>, is_known_to_fail: bool) -> Result<(), ()> {
        // Whoever switched tracing off does not want them.
        let Some(settings) = self.settings.borrow().clone() else {
            batch.clear();
            return Ok(());
        };
        let body = Bytes::from(self.message(&settings, batch).encode_to_vec());
        match tokio::time::timeout(WITHIN, post(&settings, body)).await.unwrap_or_else(|late| Err(late.into())) {
            Ok(()) => {
                self.metrics.gateway.spans_exported(batch.len());
                batch.clear();
                if is_known_to_fail {
                    tracing::info!("the collector of traces takes spans again");
                }
                Ok(())
            }
            Err(error) => {
                if !is_known_to_fail {
                    let source = std::error::Error::source(&error).map(ToString::to_string);
                    tracing::warn!(%error, source, url = %settings.url, "spans could not be sent; gateway_spans_dropped_total counts what is lost");
                }
                if !error.may_pass() {
                    self.metrics.gateway.spans_dropped(batch.len());
                    batch.clear();
                }
                Err(())
            }
        }
    }

    fn message(&self, settings: &Tracing, spans: &[Span]) -> ExportTraceServiceRequest {
        let attributes = vec![
            attribute::text("service.name", settings.service_name.clone()),
            attribute::text("service.version", env!("CARGO_PKG_VERSION").to_owned()),
            attribute::text("service.instance.id", self.instance.clone()),
        ];
        let scope = InstrumentationScope {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..InstrumentationScope::default()
        };
        let of_scope = ScopeSpans { scope: Some(scope), spans: spans.to_vec(), ..ScopeSpans::default() };
        let resource = Resource { attributes, ..Resource::default() };
        let resource_spans =
            vec![ResourceSpans { resource: Some(resource), scope_spans: vec![of_scope], ..ResourceSpans::default() }];
        ExportTraceServiceRequest { resource_spans }
    }
}

/// One request on a connection of its own. Secrets are read anew each time: they may be replaced at any moment.
async fn post(settings: &Tracing, body: Bytes) -> Result<(), ExportError> {
    let ca = settings.ca.as_deref().map(secret::read_file).transpose()?;
    let endpoint = Endpoint::for_fetching(&settings.url, ca.as_deref())?.ok_or(ExportError::Address)?;
    let mut request = Request::post(settings.url.path())
        .header(header::HOST, &endpoint.authority)
        .header(header::CONTENT_TYPE, "application/x-protobuf")
        .header(header::USER_AGENT, concat!("scoregate/", env!("CARGO_PKG_VERSION")));
    for (name, reference) in &settings.headers {
        let mut value =
            HeaderValue::from_bytes(secret::read(reference)?.expose()).map_err(|_not_a_value| ExportError::Header)?;
        value.set_sensitive(true);
        request = request.header(name, value);
    }
    let request = request.body(Full::new(body)).map_err(|_bad_path| ExportError::Address)?;
    let stream = connect(&endpoint, WITHIN).await.map_err(|failed| ExportError::Unreachable(failed.row().code))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    LocalExecutor.execute(async move { drop(connection.await) });
    let answer = sender.send_request(request).await?;
    let status = answer.status();
    let _what_it_says = http_body_util::Limited::new(answer.into_body(), 64 * 1024).collect().await;
    if status.is_success() { Ok(()) } else { Err(ExportError::Refused(status)) }
}
