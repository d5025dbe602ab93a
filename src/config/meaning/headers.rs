//! Header names that may carry a key or an identity.

use http::HeaderName;

use super::Read;
use super::Reader;
use crate::config::problem::Place;

/// Headers that belong to the connection (RFC 9110 §7.6.1), to the framing or routing of the message, or to
/// mechanisms of the gateway's own. Carrying a credential or an identity in one would lose it, or worse.
const TAKEN: [&str; 28] = [
    "accept",
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "date",
    "expect",
    "forwarded",
    "host",
    "keep-alive",
    "limitedaccesstoken",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "range",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-original-url",
    "x-rewrite-url",
];

impl Reader {
    /// Reads the name of a header that is to carry a key or an identity.
    pub(super) fn header_name(&mut self, text: &str, at: &Place) -> Read<HeaderName> {
        let Ok(name) = HeaderName::from_bytes(text.as_bytes()) else {
            return self.refuse(at, "want the name of a header");
        };
        if name.as_str().contains('_') {
            // CGI and WSGI servers read `a_b` and `a-b` as one and the same variable.
            return self.refuse(at, "want a header name without underscores: servers confuse them with hyphens");
        }
        if name == http::header::AUTHORIZATION {
            return self.refuse(at, "want another header: Authorization is read by `bearer`, and never sent on");
        }
        if TAKEN.contains(&name.as_str()) {
            return self.refuse(at, format!("want another header: {name} has a meaning of its own in HTTP"));
        }
        Ok(name)
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn taken_headers_are_written_as_headers_are_compared() {
        assert!(super::TAKEN.is_sorted());
        for name in super::TAKEN {
            assert_eq!(http::HeaderName::from_bytes(name.as_bytes()).unwrap().as_str(), name);
        }
    }
}
