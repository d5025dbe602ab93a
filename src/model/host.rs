//! The host that a request is for, in the one form in which it is matched.

use std::borrow::Cow;
use std::net::{Ipv4Addr, Ipv6Addr};

use crate::model::refusal::Denied;

/// A host in lower case, without port and without the root's trailing dot. An IPv6 address stands in
/// brackets, in the form of RFC 5952.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Host<'a>(Cow<'a, str>);

/// The text is not a [`Host`], or not one that every server would read alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("want a host name, an IPv4 address or an IPv6 address in brackets, with or without a port from 1 to 65535")]
pub struct NotAHost;

impl From<NotAHost> for Denied {
    fn from(_: NotAHost) -> Self {
        Self::HostInvalid
    }
}

impl<'a> Host<'a> {
    /// Longest name, in bytes (RFC 1035 §2.3.4, without the root's dot).
    pub const MAX_BYTES: usize = 253;

    /// Reads a `Host` header, an `:authority` or the authority of an absolute target. Allocates only where
    /// a letter is upper case, and for IPv6.
    ///
    /// Stricter than RFC 3986 §3.2.2: labels are letters, digits, `-` and `_`, without escapes; a name that
    /// ends in a number is an IPv4 address in four decimal parts or nothing (WHATWG URL §3.5), so that no
    /// address has a second spelling.
    ///
    /// # Errors
    /// [`NotAHost`] for everything else: user-info, an empty name or port, zone identifiers, lists.
    pub fn read(text: &'a str) -> Result<Self, NotAHost> {
        if let Some(rest) = text.strip_prefix('[') {
            let (address, port) = rest.split_once(']').ok_or(NotAHost)?;
            read_port_after(port)?;
            let Ok(address) = address.parse::<Ipv6Addr>() else { return Err(NotAHost) };
            return Ok(Self(Cow::Owned(format!("[{address}]"))));
        }
        let name_bytes = text.find(':').unwrap_or(text.len());
        let (name, port) = text.split_at_checked(name_bytes).ok_or(NotAHost)?;
        read_port_after(port)?;
        let name = name.strip_suffix('.').unwrap_or(name);
        read_name(name)?;
        if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            Ok(Self(Cow::Owned(name.to_ascii_lowercase())))
        } else {
            Ok(Self(Cow::Borrowed(name)))
        }
    }

    /// The host as it is matched.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What stands after each of its dots, longest first: the suffixes that `*.suffix` could name.
    pub fn parents(&self) -> impl Iterator<Item = &str> {
        let mut rest = &*self.0;
        std::iter::from_fn(move || {
            rest = rest.split_once('.')?.1;
            Some(rest)
        })
    }
}

fn read_port_after(host: &str) -> Result<(), NotAHost> {
    let Some(port) = host.strip_prefix(':') else {
        return if host.is_empty() { Ok(()) } else { Err(NotAHost) };
    };
    let decimal = port.bytes().all(|byte| byte.is_ascii_digit()) && !port.starts_with('0');
    if decimal && port.parse::<u16>().is_ok() { Ok(()) } else { Err(NotAHost) }
}

fn read_name(name: &str) -> Result<(), NotAHost> {
    if name.len() > Host::MAX_BYTES || !name.split('.').all(is_label) {
        return Err(NotAHost);
    }
    let last = name.rsplit('.').next().unwrap_or(name);
    let hexadecimal = last.get(..2).is_some_and(|start| start.eq_ignore_ascii_case("0x"));
    let ends_in_number = last.bytes().all(|byte| byte.is_ascii_digit()) || hexadecimal;
    if ends_in_number && name.parse::<Ipv4Addr>().is_err() { Err(NotAHost) } else { Ok(()) }
}

/// A label of RFC 1123 §2.1, with the `_` that container names bring.
fn is_label(label: &str) -> bool {
    let characters =
        label.bytes().fold(true, |fits, byte| fits & (byte.is_ascii_alphanumeric() | matches!(byte, b'-' | b'_')));
    (1..=63).contains(&label.len()) && characters && !label.starts_with('-') && !label.ends_with('-')
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::{Host, NotAHost};

    #[test]
    fn a_host_has_one_spelling_or_is_refused() {
        let (label, name) = ("a".repeat(63), format!("{}b", "a.".repeat(126)));
        let (long_label, long_name) = ("a".repeat(64), format!("{name}c"));
        for (text, want) in [
            ("a", Ok("a")),
            ("api.example.com", Ok("api.example.com")),
            ("API.Example.com", Ok("api.example.com")),
            ("api.example.com.", Ok("api.example.com")),
            ("api.example.com.:443", Ok("api.example.com")),
            ("api.example.com:8080", Ok("api.example.com")),
            ("scoring_1:80", Ok("scoring_1")),
            ("xn--bcher-kva.example", Ok("xn--bcher-kva.example")),
            ("127.0.0.1", Ok("127.0.0.1")),
            ("127.0.0.1:65535", Ok("127.0.0.1")),
            ("1.example", Ok("1.example")),
            ("[::1]", Ok("[::1]")),
            ("[0:0::0:1]:80", Ok("[::1]")),
            ("[2001:DB8::A]", Ok("[2001:db8::a]")),
            (&label, Ok(&*label)),
            (&name, Ok(&*name)),
            ("", Err(NotAHost)),
            (".", Err(NotAHost)),
            (":80", Err(NotAHost)),
            ("a..b", Err(NotAHost)),
            ("a..", Err(NotAHost)),
            (".a", Err(NotAHost)),
            ("-a", Err(NotAHost)),
            ("a-.b", Err(NotAHost)),
            ("a b", Err(NotAHost)),
            (" a", Err(NotAHost)),
            ("a,b", Err(NotAHost)),
            ("a/b", Err(NotAHost)),
            ("a\\b", Err(NotAHost)),
            ("a@b", Err(NotAHost)),
            ("user:pw@b", Err(NotAHost)),
            ("a%2eb", Err(NotAHost)),
            ("é.example", Err(NotAHost)),
            ("a\0", Err(NotAHost)),
            ("a:", Err(NotAHost)),
            ("a:0", Err(NotAHost)),
            ("a:080", Err(NotAHost)),
            ("a:65536", Err(NotAHost)),
            ("a:+80", Err(NotAHost)),
            ("a:80:80", Err(NotAHost)),
            ("a:80,b", Err(NotAHost)),
            ("127.1", Err(NotAHost)),
            ("127.0.0.01", Err(NotAHost)),
            ("2130706433", Err(NotAHost)),
            ("0x7f.0.0.1", Err(NotAHost)),
            ("a.0x7f", Err(NotAHost)),
            ("256.0.0.1", Err(NotAHost)),
            ("::1", Err(NotAHost)),
            ("[::1", Err(NotAHost)),
            ("[::1]a", Err(NotAHost)),
            ("[::1]:", Err(NotAHost)),
            ("[::1%25eth0]", Err(NotAHost)),
            ("[v1.a]", Err(NotAHost)),
            ("[127.0.0.1]", Err(NotAHost)),
            ("*.example.com", Err(NotAHost)),
            (&long_label, Err(NotAHost)),
            (&long_name, Err(NotAHost)),
        ] {
            let read = Host::read(text);
            assert_eq!(read.as_ref().map(Host::as_str).map_err(|why| *why), want, "{text:?}");
        }
    }

    #[test]
    fn a_host_in_lower_case_is_borrowed() {
        for text in ["api.example.com:443", "a.", "10.0.0.1"] {
            assert!(matches!(Host::read(text), Ok(Host(Cow::Borrowed(_)))), "{text}");
        }
    }

    #[test]
    fn the_parents_of_a_host_are_whole_labels() {
        let host = Host::read("a.b.example").unwrap();
        assert_eq!(host.parents().collect::<Vec<_>>(), ["b.example", "example"]);
        assert_eq!(Host::read("a").unwrap().parents().count(), 0);
    }
}
