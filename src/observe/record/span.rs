//! A request as a span: OpenTelemetry's conventions for HTTP servers, v1.

use std::net::IpAddr;
use std::time::Duration;

use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::SpanFlags;
use opentelemetry_proto::tonic::trace::v1::Status;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;

use super::Outcome;
use super::Record;
use super::line;
use super::line::Attributes;
use crate::model::hex;
use crate::observe::metrics::MethodLabel;
use crate::observe::spans::attribute;

/// The span of a request that has ended; the moments since the Unix epoch.
pub(super) fn of(record: &Record, outcome: Outcome, started: Duration, ended: Duration) -> Span {
    let mut attributes = SpanAttributes(Vec::with_capacity(24));
    line::describe(&mut attributes, record, outcome);
    let parent = record.trace.parent_id();
    let comes_from_elsewhere = if parent.is_some() { SpanFlags::ContextIsRemoteMask as u32 } else { 0 };
    Span {
        trace_id: record.trace.trace_id().to_be_bytes().to_vec(),
        span_id: record.trace.span_id().to_be_bytes().to_vec(),
        parent_span_id: parent.map(|parent| parent.to_be_bytes().to_vec()).unwrap_or_default(),
        flags: u32::from(record.trace.flags()) | SpanFlags::ContextHasIsRemoteMask as u32 | comes_from_elsewhere,
        name: name(record),
        kind: SpanKind::Server.into(),
        start_time_unix_nano: nanos(started),
        end_time_unix_nano: nanos(ended),
        attributes: attributes.0,
        status: outcome.is_fault().then(|| Status { code: StatusCode::Error.into(), message: String::new() }),
        ..Span::default()
    }
}

/// Method and service: of few different values, whatever clients send.
fn name(record: &Record) -> String {
    let method = MethodLabel::from(&record.method);
    let method = if method == MethodLabel::Other { "HTTP" } else { method.as_str() };
    match &record.service {
        Some(in_flight) => format!("{method} {}", in_flight.service().name()),
        None => method.to_owned(),
    }
}

fn nanos(since_epoch: Duration) -> u64 {
    u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX)
}

struct SpanAttributes(Vec<KeyValue>);

impl Attributes for SpanAttributes {
    fn text(&mut self, name: &'static str, value: &str) {
        self.0.push(attribute::text(name, value.to_owned()));
    }

    fn words(&mut self, name: &'static str, words: &[&str]) {
        self.0.push(attribute::text(name, words.concat()));
    }

    fn number(&mut self, name: &'static str, value: u64) {
        self.0.push(attribute::number(name, value));
    }

    fn address(&mut self, name: &'static str, value: IpAddr) {
        self.0.push(attribute::text(name, value.to_string()));
    }

    fn hex<const N: usize>(&mut self, name: &'static str, number: u128) {
        self.0.push(attribute::text(name, String::from_utf8_lossy(&hex::digits::<N>(number)).into_owned()));
    }

    fn millis(&mut self, name: &'static str, value: Duration) {
        self.0.push(attribute::fraction(name, value.as_secs_f64() * 1000.0));
    }
}
