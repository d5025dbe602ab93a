//! Which requests are for a service: hosts, paths, methods, and the prefix that its upstream does not see.

use http::Method;
use rustls_pki_types::DnsName;

use super::Read;
use super::Reader;
use crate::config::HostMatch;
use crate::config::Match;
use crate::config::PathMatch;
use crate::config::problem::Place;
use crate::config::raw;
use crate::model::name::Name;
use crate::model::path::PathTemplate;
use crate::model::path::TemplateSegment;

impl Reader {
    /// Reads a service's matches and the prefix to strip.
    pub(super) fn matches(
        &mut self,
        name: &Name,
        written: &raw::Service,
        at: &Place,
    ) -> Read<(Vec<Match>, Option<String>)> {
        let usual_prefix = format!("/api/v1/service/{name}");
        let strip_at = at.field("strip_prefix");
        let Some(matches) = &written.matches else {
            let matches = match written.preset {
                Some(preset) => self.calls_below(preset, &HostMatch::Any, &usual_prefix, at)?,
                None => {
                    let path = self.template(&usual_prefix, at).map(PathMatch::Prefix);
                    vec![Match { host: HostMatch::Any, path: path?, methods: Vec::new() }]
                }
            };
            let strip_prefix =
                self.strip_prefix(written.strip_prefix.as_ref().unwrap_or(&usual_prefix), &matches, &strip_at);
            return strip_prefix.map(|strip_prefix| (matches, strip_prefix));
        };
        let each = self.each(matches, &at.field("match"), |reader, matched, at| match written.preset {
            Some(preset) => reader.preset_matches(preset, matched, at),
            None => reader.one_match(matched, at).map(|matched| vec![matched]),
        })?;
        let matches: Vec<Match> = each.into_iter().flatten().collect();
        let strip_prefix = match &written.strip_prefix {
            Some(prefix) => self.strip_prefix(prefix, &matches, &strip_at),
            None => Ok(None),
        };
        strip_prefix.map(|strip_prefix| (matches, strip_prefix))
    }

    pub(super) fn one_match(&mut self, written: &raw::Match, at: &Place) -> Read<Match> {
        let host = match &written.host {
            Some(host) => self.host_match(host, &at.field("host")),
            None => Ok(HostMatch::Any),
        };
        let path = match (&written.path, &written.prefix) {
            (Some(path), None) => self.template(path, &at.field("path")).map(PathMatch::Template),
            (None, Some(prefix)) => self.prefix(prefix, &at.field("prefix")).map(PathMatch::Prefix),
            (None, None) if written.host.is_some() => self.template("/", at).map(PathMatch::Prefix),
            (None, None) => self.refuse(at, "want a path, a prefix or a host; every request is `prefix: /`"),
            (Some(_), Some(_)) => self.refuse(at, "want either path or prefix, found both"),
        };
        let methods = self.methods(written.methods.as_deref(), &at.field("methods"));
        Ok(Match { host: host?, path: path?, methods: methods? })
    }

    fn host_match(&mut self, text: &str, at: &Place) -> Read<HostMatch> {
        let lower = text.to_ascii_lowercase();
        let is_name = |name: &str| DnsName::try_from(name).is_ok() && !name.ends_with('.');
        if let Some(suffix) = lower.strip_prefix("*.") {
            if is_name(suffix) {
                return Ok(HostMatch::Under(suffix.to_owned()));
            }
        } else if is_name(&lower) || lower.parse::<std::net::Ipv4Addr>().is_ok() || is_bracketed_ipv6(&lower) {
            return Ok(HostMatch::Exact(lower));
        }
        self.refuse(at, "want a host without port, such as api.example.com, or *.example.com for all below it")
    }

    pub(super) fn methods(&mut self, written: Option<&[String]>, at: &Place) -> Read<Vec<Method>> {
        let mut methods = Vec::new();
        self.each(written.unwrap_or_default(), at, |reader, text, at| {
            let Ok(method) = Method::from_bytes(text.as_bytes()) else {
                return reader.refuse(at, "want a method such as GET");
            };
            if text.bytes().any(|b| b.is_ascii_lowercase()) {
                return reader.refuse(at, "want the method in capitals: methods are compared with regard to case");
            }
            if method == Method::CONNECT || method == Method::TRACE {
                return reader.refuse(at, "want another method: CONNECT and TRACE are never forwarded");
            }
            if methods.contains(&method) {
                return reader.refuse(at, "this method is listed twice");
            }
            methods.push(method);
            Ok(())
        })?;
        Ok(methods)
    }

    pub(super) fn template(&mut self, text: &str, at: &Place) -> Read<PathTemplate> {
        self.keep(at, PathTemplate::parse(text))
    }

    fn prefix(&mut self, text: &str, at: &Place) -> Read<PathTemplate> {
        if text.len() > 1 && text.ends_with('/') {
            return self.refuse(at, "want a prefix without a slash at its end: it fits whole segments anyway");
        }
        self.template(text, at)
    }

    fn strip_prefix(&mut self, text: &str, matches: &[Match], at: &Place) -> Read<Option<String>> {
        if text == "none" {
            return Ok(None);
        }
        let stripped = self.prefix(text, at)?;
        if stripped.segments().is_empty() {
            return self.refuse(at, "want a prefix of at least one segment, or none");
        }
        let is_literal = |segment: &TemplateSegment| matches!(segment, TemplateSegment::Literal(_));
        if !stripped.segments().iter().all(is_literal) {
            return self.refuse(at, "want a prefix without {…}");
        }
        let covers = |matched: &Match| match &matched.path {
            PathMatch::Template(path) | PathMatch::Prefix(path) => path.segments().starts_with(stripped.segments()),
        };
        if matches.iter().all(covers) {
            return Ok(Some(text.to_owned()));
        }
        self.refuse(at, "want whole segments with which every path and prefix of `match` begins")
    }
}

fn is_bracketed_ipv6(host: &str) -> bool {
    host.strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .is_some_and(|address| address.parse::<std::net::Ipv6Addr>().is_ok())
}
