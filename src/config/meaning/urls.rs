//! URLs that are fetched: over TLS, or from this very machine.

use std::net::IpAddr;

use http::Uri;

use super::Read;
use super::Reader;
use crate::config::problem::Place;

impl Reader {
    /// Reads a URL that keys are fetched from. The problem never quotes it: user information and queries hold secrets.
    pub(super) fn fetched_url(&mut self, text: &str, at: &Place) -> Read<Uri> {
        let Some(url) = text.parse::<Uri>().ok().filter(|url| url.host().is_some_and(|host| !host.is_empty())) else {
            return self.refuse(at, "want a URL such as https://login.example.com/keys");
        };
        if url.authority().is_some_and(|authority| authority.as_str().contains('@')) || text.contains('#') {
            return self.refuse(at, "want a URL without user information and fragment");
        }
        match url.scheme_str() {
            Some("https") => Ok(url),
            Some("http") if is_loopback(url.host().unwrap_or_default()) => Ok(url),
            Some("http") => self.refuse(at, "want https: whoever can change keys on their way can sign any token"),
            Some(_) | None => self.refuse(at, "want an https URL"),
        }
    }
}

/// Whether a host is this machine. `localhost` is by RFC 6761 §6.3.
pub(super) fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::is_loopback;

    #[test]
    fn only_this_machine_is_loopback() {
        for (host, local) in [
            ("localhost", true),
            ("LOCALHOST", true),
            ("127.0.0.1", true),
            ("127.9.9.9", true),
            ("[::1]", true),
            ("localhost.example.com", false),
            ("127.0.0.1.example.com", false),
            ("10.0.0.1", false),
            ("[::2]", false),
            ("", false),
        ] {
            assert_eq!(is_loopback(host), local, "{host}");
        }
    }
}
