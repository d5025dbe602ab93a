//! What of a message's headers is between two neighbours only, and what the gateway adds.

use std::fmt::Write as _;
use std::net::IpAddr;

use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;
use http::header;
use ipnet::IpNet;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// What becomes of a header that a client sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It goes on.
    Passes,
    /// It is between two neighbours only (RFC 9110 §7.6.1).
    OneHop,
    /// It holds a credential of the gateway, or an upstream could take it for the path, the method or the client.
    Ours,
    /// The gateway writes it anew.
    Rewritten,
}

/// Judged by the name alone; `TE` and what `Connection` names have rules of their own.
fn fate(name: &str) -> Fate {
    match name {
        "connection"
        | "keep-alive"
        | "proxy-connection"
        | "proxy-authenticate"
        | "proxy-authorization"
        | "transfer-encoding"
        | "upgrade"
        | "http2-settings" => Fate::OneHop,
        "authorization"
        | "ocp-apim-subscription-key"
        | "limitedaccesstoken"
        | "x-original-url"
        | "x-rewrite-url"
        | "x-http-method-override"
        | "x-http-method"
        | "x-method-override"
        | "x-real-ip"
        | "true-client-ip"
        | "expect" => Fate::Ours,
        "host" | "te" | "content-length" | "content-type" | "forwarded" | "via" => Fate::Rewritten,
        other if other.starts_with("x-forwarded") => Fate::Rewritten,
        _ => Fate::Passes,
    }
}

/// Removes what is between two neighbours only, in a request or an answer.
///
/// `TE: trailers` stays in a request: gRPC servers insist on it, and trailers are passed on.
pub fn strip_hop(headers: &mut HeaderMap) {
    strip_named(headers);
    remove_where(headers, |name| fate(name.as_str()) == Fate::OneHop);
}

/// Removes what a request must not bring to an upstream besides that: credentials, the client's copies of the
/// headers that the gateway sets, overrides of path and method, and the underscore twins of all of them, which
/// some servers read as the same header (CGI turns `-` and `_` into one).
pub fn strip_request(headers: &mut HeaderMap, identity: &[HeaderName], key_headers: &[HeaderName]) {
    strip_named(headers);
    remove_where(headers, |name| {
        let is_set_here = |name: &str| identity.iter().chain(key_headers).any(|own| own == name);
        match fate(name.as_str()) {
            Fate::OneHop | Fate::Ours => true,
            Fate::Rewritten => is_set_here(name.as_str()),
            Fate::Passes if name.as_str().contains('_') => {
                let twin = name.as_str().replace('_', "-");
                fate(&twin) != Fate::Passes || is_set_here(&twin)
            }
            Fate::Passes => is_set_here(name.as_str()),
        }
    });
}

/// Removes what `Connection` names, and of `TE` everything but `trailers`.
fn strip_named(headers: &mut HeaderMap) {
    if headers.contains_key(header::CONNECTION) {
        let named: Vec<HeaderName> = headers
            .get_all(header::CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok())
            .filter(|name| *name != header::TE)
            .collect();
        for name in named {
            headers.remove(name);
        }
    }
    if let Some(te) = headers.get(header::TE) {
        let mut codings = te.to_str().unwrap_or_default().split(',');
        if codings.any(|coding| coding.trim().eq_ignore_ascii_case("trailers")) {
            headers.insert(header::TE, HeaderValue::from_static("trailers"));
        } else {
            headers.remove(header::TE);
        }
    }
}

/// One pass over the names; most requests lose one header or two.
fn remove_where(headers: &mut HeaderMap, goes: impl Fn(&HeaderName) -> bool) {
    let gone: Vec<HeaderName> = headers.keys().filter(|name| goes(name)).cloned().collect();
    for name in gone {
        headers.remove(name);
    }
}

/// Who the request came from, as far as that can be trusted.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'a> {
    /// The peer of the connection; `None` over a Unix socket.
    pub peer: Option<IpAddr>,
    /// Whether the peer's own word on who it stands for is believed.
    pub peer_is_trusted: bool,
    /// `http` or `https`, of the connection.
    pub scheme: &'static str,
    /// The `Host` that the client sent.
    pub host: &'a str,
}

impl Origin<'_> {
    /// Says where a request came from: `X-Forwarded-For`, `-Proto`, `-Host`, and `Via` (RFC 9110 §7.6.3).
    ///
    /// An untrusted peer's own claims are replaced, `Forwarded` (RFC 7239) with them; a trusted peer's are
    /// continued.
    pub fn write(&self, headers: &mut HeaderMap, version: http::Version) {
        if self.peer_is_trusted {
            self.extend_forwarded(headers);
        } else {
            headers.remove(header::FORWARDED);
            let claims: Vec<HeaderName> =
                headers.keys().filter(|name| name.as_str().starts_with("x-forwarded")).cloned().collect();
            for name in claims {
                headers.remove(name);
            }
        }
        let hop = match self.peer {
            Some(peer) => peer.to_string(),
            None => "unknown".to_owned(),
        };
        let mut chain = lines_of(headers, &FORWARDED_FOR);
        chain.push(&hop);
        let chain = chain.join(", ");
        insert(headers, FORWARDED_FOR, &chain);
        if !headers.contains_key(FORWARDED_PROTO) {
            headers.insert(FORWARDED_PROTO, HeaderValue::from_static(self.scheme));
        }
        if !headers.contains_key(FORWARDED_HOST) {
            insert(headers, FORWARDED_HOST, self.host);
        }
        let via = match version {
            http::Version::HTTP_2 => "2 scoregate",
            http::Version::HTTP_10 => "1.0 scoregate",
            _ => "1.1 scoregate",
        };
        headers.append(header::VIA, HeaderValue::from_static(via));
    }

    fn extend_forwarded(&self, headers: &mut HeaderMap) {
        let mut chain = lines_of(headers, &header::FORWARDED).join(", ");
        if chain.is_empty() {
            return;
        }
        let written = match self.peer {
            Some(IpAddr::V4(peer)) => write!(chain, ", for={peer};proto={}", self.scheme),
            Some(IpAddr::V6(peer)) => write!(chain, ", for=\"[{peer}]\";proto={}", self.scheme),
            None => write!(chain, ", for=unknown;proto={}", self.scheme),
        };
        if written.is_ok() {
            insert(headers, header::FORWARDED, &chain);
        }
    }
}

/// All lines of a list: proxies append to the last one, or write one of their own (RFC 9110 §5.3).
fn lines_of<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Vec<&'h str> {
    headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect()
}

/// Removes from a request's trailers what its headers may not bring either, and what only headers may say.
pub fn strip_trailers(trailers: &mut HeaderMap, identity: &[HeaderName], key_headers: &[HeaderName]) {
    strip_request(trailers, identity, key_headers);
    remove_where(trailers, |name| fate(name.as_str()) == Fate::Rewritten);
}

/// The client's address: the peer's, or behind trusted proxies the last one that none of them vouches for.
#[must_use]
pub fn client_address(peer: Option<IpAddr>, trusted: &[IpNet], headers: &HeaderMap) -> Option<IpAddr> {
    let is_trusted = |address: &IpAddr| trusted.iter().any(|net| net.contains(address));
    let peer = peer?;
    if !is_trusted(&peer) {
        return Some(peer);
    }
    let mut nearest = peer;
    let lines = lines_of(headers, &FORWARDED_FOR);
    for claimed in lines.iter().rev().flat_map(|line| line.rsplit(',')) {
        let Ok(address) = claimed.trim().parse::<IpAddr>() else { break };
        nearest = address;
        if !is_trusted(&address) {
            break;
        }
    }
    Some(nearest)
}

/// Sets a header to text that came from outside; text that cannot stand in a header is left out.
pub fn insert(headers: &mut HeaderMap, name: HeaderName, text: &str) {
    match HeaderValue::from_str(text) {
        Ok(value) => drop(headers.insert(name, value)),
        Err(_not_a_value) => drop(headers.remove(name)),
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use http::HeaderMap;
    use http::HeaderName;
    use http::HeaderValue;

    use super::Origin;
    use super::client_address;
    use super::strip_hop;
    use super::strip_request;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in lines {
            map.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        map
    }

    fn names(map: &HeaderMap) -> Vec<&str> {
        let mut names: Vec<_> = map.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn what_connection_names_goes_with_it() {
        let mut sent = headers(&[
            ("connection", "keep-alive, X-One"),
            ("connection", "te, close, not a token"),
            ("x-one", "1"),
            ("x-two", "2"),
            ("keep-alive", "timeout=5"),
            ("te", "gzip, trailers"),
            ("upgrade", "h2c"),
            ("http2-settings", "AAMAAABk"),
            ("transfer-encoding", "chunked"),
            ("proxy-authorization", "Basic x"),
            ("trailer", "x-sum"),
        ]);
        strip_hop(&mut sent);
        assert_eq!(names(&sent), ["te", "trailer", "x-two"]);
        assert_eq!(sent["te"], "trailers");
    }

    #[test]
    fn credentials_identity_and_their_twins_stay_here() {
        let mut sent = headers(&[
            ("authorization", "Bearer k"),
            ("ocp-apim-subscription-key", "k"),
            ("ocp_apim_subscription_key", "k"),
            ("limitedaccesstoken", "Bearer t"),
            ("x-key", "k"),
            ("x_key", "k"),
            ("x-scoregate-principal", "root"),
            ("x_scoregate-principal", "root"),
            ("content_length", "5"),
            ("transfer_encoding", "chunked"),
            ("x_forwarded_for", "1.2.3.4"),
            ("x-original-url", "/admin"),
            ("x-http-method-override", "DELETE"),
            ("my_header", "stays"),
            ("content-type", "application/json"),
        ]);
        let identity = [HeaderName::from_static("x-scoregate-principal")];
        strip_request(&mut sent, &identity, &[HeaderName::from_static("x-key")]);
        assert_eq!(names(&sent), ["content-type", "my_header"]);
    }

    #[test]
    fn a_strangers_claims_are_replaced_and_a_trusted_proxys_continued() {
        let lines = [
            ("x-forwarded-for", "9.9.9.9"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-port", "444"),
            ("forwarded", "for=9.9.9.9"),
        ];
        let peer: IpAddr = "10.0.0.1".parse().unwrap();
        let mut origin = Origin { peer: Some(peer), peer_is_trusted: false, scheme: "http", host: "a.example" };

        let mut sent = headers(&lines);
        origin.write(&mut sent, http::Version::HTTP_11);
        assert_eq!(names(&sent), ["via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"]);
        assert_eq!(
            (&sent["x-forwarded-for"], &sent["x-forwarded-proto"]),
            (&"10.0.0.1".parse().unwrap(), &"http".parse().unwrap())
        );

        origin.peer_is_trusted = true;
        let mut sent = headers(&lines);
        origin.write(&mut sent, http::Version::HTTP_11);
        assert_eq!(sent["x-forwarded-for"], "9.9.9.9, 10.0.0.1");
        assert_eq!(sent["x-forwarded-proto"], "https");
        assert_eq!(sent["forwarded"], "for=9.9.9.9, for=10.0.0.1;proto=http");
    }

    #[test]
    fn a_chain_of_several_lines_is_one_chain() {
        let mut sent = headers(&[("x-forwarded-for", "6.6.6.6"), ("x-forwarded-for", "2.2.2.2")]);
        let peer: IpAddr = "10.0.0.1".parse().unwrap();
        let origin = Origin { peer: Some(peer), peer_is_trusted: true, scheme: "http", host: "a.example" };
        origin.write(&mut sent, http::Version::HTTP_11);
        assert_eq!(sent.get_all("x-forwarded-for").iter().collect::<Vec<_>>(), ["6.6.6.6, 2.2.2.2, 10.0.0.1"]);
    }

    #[test]
    fn trailers_bring_nothing_that_headers_may_not() {
        let mut sent = headers(&[
            ("x-sum", "1"),
            ("authorization", "Bearer k"),
            ("x-scoregate-principal", "root"),
            ("x-key", "k"),
            ("content-length", "5"),
            ("x-forwarded-for", "1.1.1.1"),
        ]);
        let identity = [HeaderName::from_static("x-scoregate-principal")];
        super::strip_trailers(&mut sent, &identity, &[HeaderName::from_static("x-key")]);
        assert_eq!(names(&sent), ["x-sum"]);
    }

    #[test]
    fn an_identity_header_among_the_forwarding_ones_is_still_the_gateways() {
        let mut sent = headers(&[("x-forwarded-user", "root")]);
        strip_request(&mut sent, &[HeaderName::from_static("x-forwarded-user")], &[]);
        assert!(sent.is_empty());
    }

    #[test]
    fn the_client_is_the_last_address_that_no_trusted_proxy_vouches_for() {
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        for (peer, chain, want) in [
            ("1.1.1.1", "2.2.2.2", "1.1.1.1"),
            ("10.0.0.1", "2.2.2.2", "2.2.2.2"),
            ("10.0.0.1", "3.3.3.3, 2.2.2.2, 10.9.9.9", "2.2.2.2"),
            ("10.0.0.1", "2.2.2.2, nonsense", "10.0.0.1"),
            ("10.0.0.1", "10.0.0.2", "10.0.0.2"),
        ] {
            let mut sent = HeaderMap::new();
            sent.insert("x-forwarded-for", chain.parse().unwrap());
            let got = client_address(Some(peer.parse().unwrap()), &trusted, &sent);
            assert_eq!(got, Some(want.parse().unwrap()), "{peer} {chain}");
        }
    }
}
