//! Upstreams: endpoints, protocol, TLS, what `Host` says.

use std::path::PathBuf;

use http::HeaderValue;
use http::Uri;
use http::uri::Authority;
use rustls_pki_types::ServerName;

use super::Noted;
use super::Read;
use super::Reader;
use super::resilience;
use crate::config::ClientTls;
use crate::config::Endpoint;
use crate::config::EndpointAddress;
use crate::config::HostHeader;
use crate::config::Protocol;
use crate::config::Upstream;
use crate::config::problem::Place;
use crate::config::raw;
use crate::model::name::Name;

/// How an endpoint is written; all endpoints of an upstream are written alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Http,
    Https,
    H2c,
    Unix,
}

impl Reader {
    pub(super) fn upstream(&mut self, name: &Name, written: &raw::Upstream, at: &Place) -> Read<Upstream> {
        let read = self.endpoints(&written.endpoints, &at.field("endpoints"));
        let host = self.host_header(written.host.as_deref(), &at.field("host"));
        let tls_options = written.tls.as_ref().map(|tls| self.client_tls(tls, &at.field("tls")));
        let (scheme, endpoints) = read?;
        let protocol = match (scheme, written.protocol) {
            (Scheme::H2c, Some(raw::Protocol::Http1)) => {
                self.refuse(&at.field("protocol"), "want http2, or http:// endpoints: h2c is HTTP/2 over plain text")
            }
            (Scheme::H2c, None) | (_, Some(raw::Protocol::Http2)) => Ok(Protocol::Http2),
            (_, None | Some(raw::Protocol::Http1)) => Ok(Protocol::Http1),
        };
        let tls = match (scheme, tls_options) {
            (Scheme::Https, Some(options)) => Ok(Some(options?)),
            (Scheme::Https, None) => Ok(Some(ClientTls { ca: None, server_name: None, client: None })),
            (Scheme::Http | Scheme::H2c | Scheme::Unix, None) => Ok(None),
            (Scheme::Http | Scheme::H2c | Scheme::Unix, Some(_)) => {
                self.refuse(&at.field("tls"), "want https:// endpoints with it: these are plain text")
            }
        };
        if matches!((&host, scheme), (Ok(HostHeader::Endpoint), Scheme::Unix)) {
            return self.refuse(&at.field("host"), "want client or a host: a Unix socket has no host of its own");
        }
        let protocol = protocol?;
        let check = written.health_check.as_ref();
        let check = check.map(|check| self.health_check(check, protocol, &at.field("health_check"))).transpose();
        let ejection = written.ejection.as_ref();
        let ejection = ejection.map(|ejection| self.ejection(ejection, &at.field("ejection"))).transpose();
        Ok(Upstream {
            name: name.clone(),
            endpoints,
            protocol,
            tls: tls?,
            host: host?,
            health_check: check?,
            ejection: ejection?,
            when_none_is_healthy: resilience::when_none_is_healthy(written.when_none_is_healthy),
            retries: resilience::retries(&written.retries.clone().unwrap_or_default()),
        })
    }

    fn endpoints(&mut self, written: &[String], at: &Place) -> Read<(Scheme, Vec<Endpoint>)> {
        let mut first: Option<Scheme> = None;
        let mut endpoints: Vec<Endpoint> = Vec::new();
        self.each(written, at, |reader, text, at| {
            let (scheme, address) = reader.endpoint(text, at)?;
            if *first.get_or_insert(scheme) != scheme {
                return reader.refuse(at, "want the same scheme for all endpoints of an upstream");
            }
            let endpoint = Endpoint { at: address };
            if endpoints.contains(&endpoint) {
                return reader.refuse(at, "this endpoint is listed twice");
            }
            endpoints.push(endpoint);
            Ok(())
        })?;
        Ok((first.ok_or(Noted)?, endpoints))
    }

    /// Reads an endpoint. The problem never quotes it: user information in a URL is a secret.
    fn endpoint(&mut self, text: &str, at: &Place) -> Read<(Scheme, EndpointAddress)> {
        if let Some(path) = text.strip_prefix("unix:") {
            if path.starts_with('/') && !path.starts_with("//") {
                return Ok((Scheme::Unix, EndpointAddress::Unix(PathBuf::from(path))));
            }
            return self.refuse(at, "want unix: and an absolute path, such as unix:/run/model.sock");
        }
        let (scheme, usual_port, rest) = match text.split_once("://") {
            Some(("http", rest)) => (Scheme::Http, 80, rest),
            Some(("https", rest)) => (Scheme::Https, 443, rest),
            Some(("h2c", rest)) => (Scheme::H2c, 80, rest),
            _ => return self.refuse(at, "want http://host:port, https://host:port, h2c://host:port or unix:/path"),
        };
        let host_and_port = rest.strip_suffix('/').unwrap_or(rest);
        if host_and_port.contains(['/', '?', '#', '@']) {
            return self.refuse(at, "want nothing but a host and a port; paths are `match` and `strip_prefix`");
        }
        let Ok(authority) = host_and_port.parse::<Authority>() else {
            return self.refuse(at, "want a host and a port, such as 127.0.0.1:5001");
        };
        let port = match authority.port() {
            None if host_and_port.ends_with(':') => None,
            None => Some(usual_port),
            Some(port) => port.as_str().parse().ok().filter(|port| *port != 0),
        };
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        match (port, ServerName::try_from(host.as_str())) {
            (Some(port), Ok(_)) => Ok((scheme, EndpointAddress::Tcp { host, port })),
            (None, _) => self.refuse(at, "want a port from 1 to 65535"),
            (_, Err(_)) => self.refuse(at, "want a host name or an IP address"),
        }
    }

    pub(super) fn client_tls(&mut self, written: &raw::ClientTls, at: &Place) -> Read<ClientTls> {
        let ca = self.optional_path(written.ca.as_deref(), &at.field("ca"));
        let server_name = match written.server_name.as_deref() {
            Some(name) if ServerName::try_from(name).is_ok() => Ok(Some(name.to_owned())),
            Some(_) => self.refuse(&at.field("server_name"), "want a host name or an IP address"),
            None => Ok(None),
        };
        let client = match (written.client_certificate.as_deref(), written.client_key.as_deref()) {
            (Some(certificate), Some(key)) => {
                let certificate = self.path(certificate, &at.field("client_certificate"));
                let key = self.path(key, &at.field("client_key"));
                Ok(Some((certificate?, key?)))
            }
            (None, None) => Ok(None),
            (Some(_), None) => self.refuse(&at.field("client_key"), "want it beside `client_certificate`"),
            (None, Some(_)) => self.refuse(&at.field("client_certificate"), "want it beside `client_key`"),
        };
        Ok(ClientTls { ca: ca?, server_name: server_name?, client: client? })
    }

    fn host_header(&mut self, written: Option<&str>, at: &Place) -> Read<HostHeader> {
        let text = match written {
            None | Some("client") => return Ok(HostHeader::Client),
            Some("endpoint") => return Ok(HostHeader::Endpoint),
            Some(text) => text,
        };
        let is_host =
            !text.contains('@') && Uri::builder().scheme("http").authority(text).path_and_query("/").build().is_ok();
        match HeaderValue::from_str(text) {
            Ok(value) if is_host && !text.is_empty() => Ok(HostHeader::Fixed(value)),
            Ok(_) | Err(_) => self.refuse(at, "want client, endpoint, or a host such as model.example.com"),
        }
    }
}
