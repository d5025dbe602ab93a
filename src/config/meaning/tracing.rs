//! Where spans go.

use http::HeaderName;
use http::Uri;
use http::header;

use super::Read;
use super::Reader;
use super::urls::is_loopback;
use crate::config::SecretRef;
use crate::config::Tracing;
use crate::config::problem::Place;
use crate::config::raw;

/// Beneath a collector's address (OTLP specification 1.x, "OTLP/HTTP Request").
const TRACES: &str = "/v1/traces";

/// What a request to a collector has by itself.
const OWN: [HeaderName; 5] =
    [header::HOST, header::CONTENT_TYPE, header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::CONNECTION];

impl Reader {
    pub(super) fn tracing(&mut self, written: &raw::Tracing, at: &Place) -> Read<Tracing> {
        if !cfg!(feature = "otel") {
            return self.refuse(
                at,
                "this scoregate was built without tracing; `cargo build --release --features otel` builds one with it",
            );
        }
        let endpoint_at = at.field("endpoint");
        let url = self.collector(&written.endpoint, &endpoint_at);
        let headers_at = at.field("headers");
        let headers = written.headers.iter().flatten();
        let headers: Vec<_> =
            headers.map(|(name, value)| self.collector_header(name, value, &headers_at.field(name))).collect();
        let ca = self.optional_path(written.ca.as_deref(), &at.field("ca"));
        let url = url?;
        if url.scheme_str() == Some("http") {
            if !headers.is_empty() && !is_loopback(url.host().unwrap_or_default()) {
                return self.refuse(&endpoint_at, "want https: the headers are secrets");
            }
            if written.ca.is_some() {
                return self.refuse(&at.field("ca"), "want it only beside an https collector");
            }
        }
        Ok(Tracing {
            url,
            sample: written.sample.unwrap_or(1.0),
            service_name: written.service_name.clone().unwrap_or_else(|| "scoregate".to_owned()),
            headers: headers.into_iter().collect::<Read<_>>()?,
            ca: ca?,
        })
    }

    fn collector(&mut self, text: &str, at: &Place) -> Read<Uri> {
        let base = text.trim_end_matches('/');
        let base = base.strip_suffix(TRACES).unwrap_or(base);
        let url = format!("{base}{TRACES}").parse::<Uri>().ok().filter(|url| {
            matches!(url.scheme_str(), Some("http" | "https"))
                && url.host().is_some_and(|host| !host.is_empty())
                && url.authority().is_some_and(|authority| !authority.as_str().contains('@'))
                && url.query().is_none()
                && !text.contains('#')
        });
        url.map_or_else(|| self.refuse(at, "want a collector's address such as http://127.0.0.1:4318"), Ok)
    }

    fn collector_header(&mut self, name: &str, value: &str, at: &Place) -> Read<(HeaderName, SecretRef)> {
        match name.parse::<HeaderName>() {
            Ok(name) if !OWN.contains(&name) => Ok((name, self.secret_ref(value, at)?)),
            Ok(_) => self.refuse(at, "want another header: the export sets this one"),
            Err(_no_name) => self.refuse(at, "want the name of a header"),
        }
    }
}
