//! Spans on their way to a collector: a buffer a worker, and whoever sends them takes what there is.
//!
//! A request only appends. Buffers are handed over by a timer; where the collector is too slow or gone, whole buffers are
//! dropped and their spans counted, rather than requests delayed.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::mpsc;
use std::sync::mpsc::Receiver;
use std::sync::mpsc::SyncSender;

use opentelemetry_proto::tonic::trace::v1::Span;

use super::metrics::Metrics;

/// Spans that a worker keeps from one turn of its timer to the next, a quarter of a second: a span takes about 2 kB.
const KEPT: usize = 2048;

/// Buffers that may wait to be sent, all workers together.
const WAITING: usize = 16;

/// A worker's end. What it holds is handed over when it is dropped.
#[derive(Debug)]
pub struct Spans {
    kept: RefCell<Vec<Span>>,
    out: SyncSender<Vec<Span>>,
    metrics: Arc<Metrics>,
}

/// The other end.
#[derive(Debug)]
pub struct Ended(Receiver<Vec<Span>>);

/// What workers' ends are made from.
#[derive(Debug, Clone)]
pub struct SpanSource {
    out: SyncSender<Vec<Span>>,
    metrics: Arc<Metrics>,
}

impl SpanSource {
    /// A source, and where its spans come out.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>) -> (Self, Ended) {
        let (out, ended) = mpsc::sync_channel(WAITING);
        (Self { out, metrics }, Ended(ended))
    }

    /// A worker's end.
    #[must_use]
    pub fn spans(&self) -> Spans {
        Spans { kept: RefCell::default(), out: self.out.clone(), metrics: Arc::clone(&self.metrics) }
    }
}

impl Spans {
    pub(super) fn push(&self, span: impl FnOnce() -> Span) {
        match self.kept.try_borrow_mut() {
            Ok(mut kept) if kept.len() < KEPT => kept.push(span()),
            Ok(_) | Err(_) => self.metrics.gateway.spans_dropped(1),
        }
    }

    /// Hands over what there is. A worker calls it on a timer.
    pub(super) fn flush(&self) {
        let Ok(mut kept) = self.kept.try_borrow_mut() else { return };
        if kept.is_empty() {
            return;
        }
        let sent = self.out.try_send(std::mem::take(&mut kept));
        if let Err(mpsc::TrySendError::Full(lost) | mpsc::TrySendError::Disconnected(lost)) = sent {
            self.metrics.gateway.spans_dropped(lost.len());
        }
    }
}

impl Drop for Spans {
    fn drop(&mut self) {
        self.flush();
    }
}

impl Ended {
    /// The next buffer, if one was handed over.
    #[must_use]
    pub fn take(&self) -> Option<Vec<Span>> {
        self.0.try_recv().ok()
    }
}

/// Attributes in the form that they are sent in.
pub mod attribute {
    use opentelemetry_proto::tonic::common::v1::AnyValue;
    use opentelemetry_proto::tonic::common::v1::KeyValue;
    use opentelemetry_proto::tonic::common::v1::any_value::Value;

    /// A text.
    #[must_use]
    pub fn text(name: &str, value: String) -> KeyValue {
        of(name, Value::StringValue(value))
    }

    /// A whole number; the format ends at 2^63.
    #[must_use]
    pub fn number(name: &str, value: u64) -> KeyValue {
        of(name, Value::IntValue(i64::try_from(value).unwrap_or(i64::MAX)))
    }

    /// A number with a fraction.
    #[must_use]
    pub fn fraction(name: &str, value: f64) -> KeyValue {
        of(name, Value::DoubleValue(value))
    }

    fn of(name: &str, value: Value) -> KeyValue {
        KeyValue { key: name.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
    }
}
