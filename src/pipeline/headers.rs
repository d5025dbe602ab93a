//! What of a message's headers is between two neighbours only, and what the gateway adds.

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
    /// It holds a credential of the gateway, or an upstream could take it for the path, the method, the host, the client or
    /// the user, or, as CGI programs do `Proxy`, for where its own requests go.
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
        | "x-original-uri"
        | "x-original-host"
        | "x-host"
        | "x-http-host-override"
        | "x-real-ip"
        | "x-client-ip"
        | "x-cluster-client-ip"
        | "x-originating-ip"
        | "x-remote-ip"
        | "x-remote-addr"
        | "client-ip"
        | "true-client-ip"
        | "cf-connecting-ip"
        | "fastly-client-ip"
        | "client-cert"
        | "client-cert-chain"
        | "ssl-client-cert"
        | "x-client-cert"
        | "x-ssl-client-cert"
        | "x-arr-clientcert"
        | "remote-user"
        | "x-remote-user"
        | "x-authenticated-user"
        | "proxy"
        | "expect" => Fate::Ours,
        "host" | "te" | "content-length" | "content-type" | "forwarded" | "via" => Fate::Rewritten,
        other if other.starts_with("x-forwarded") => Fate::Rewritten,
        _ => Fate::Passes,
    }
}

/// Removes what is between two neighbours only from an answer.
pub fn strip_hop(headers: &mut HeaderMap) {
    for name in named_by_connection(headers) {
        headers.remove(name);
    }
    headers.remove(header::TE);
    remove_where(headers, |name| fate(name.as_str()) == Fate::OneHop);
}

/// What `Connection` names besides what is between two neighbours anyway (RFC 9110 §7.6.1).
fn named_by_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    let mut named = Vec::new();
    for value in headers.get_all(header::CONNECTION) {
        let usual: [&[u8]; 3] = [b"keep-alive", b"close", b"te"];
        let unusual = options_in(value).filter(|option| !usual.iter().any(|usual| option.eq_ignore_ascii_case(usual)));
        named.extend(unusual.filter_map(|option| HeaderName::from_bytes(option).ok()));
    }
    named
}

/// Whether `Connection` names a header.
pub fn connection_names(headers: &HeaderMap, wanted: &str) -> bool {
    let mut options = headers.get_all(header::CONNECTION).iter().flat_map(options_in);
    options.any(|option| option.eq_ignore_ascii_case(wanted.as_bytes()))
}

fn options_in(connection: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    connection.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}

/// One pass over the names; most answers lose one header or two.
fn remove_where(headers: &mut HeaderMap, goes: impl Fn(&HeaderName) -> bool) {
    let gone: Vec<HeaderName> = headers.keys().filter(|name| goes(name)).cloned().collect();
    for name in gone {
        headers.remove(name);
    }
}

/// The headers that only the gateway may set for a service, and those in which it takes keys.
#[derive(Debug, Clone, Copy)]
pub struct Reserved<'a> {
    /// Who called.
    pub identity: &'a [HeaderName],
    /// Where keys are taken.
    pub keys: &'a [HeaderName],
}

impl Reserved<'_> {
    /// Whether a request must not bring a header to an upstream: hop-by-hop ones, credentials, the client's copies of
    /// what the gateway sets, overrides of path and method, and the twins of all of them that have another character
    /// for a dash, which some servers read as the same header (CGI turns `-` and `_` into one, Apache and PHP `.` and
    /// more).
    fn forbid(self, name: &str) -> bool {
        let is_set_here = |name: &str| self.identity.iter().chain(self.keys).any(|own| own == name);
        match fate(name) {
            Fate::OneHop | Fate::Ours => true,
            // Only those that begin with `x-forwarded` can hold one: a trusted proxy would hand a stranger's on.
            Fate::Rewritten => name.contains(is_odd) || is_set_here(name),
            Fate::Passes if name.contains(is_odd) => {
                let twin = name.replace(is_odd, "-");
                fate(&twin) != Fate::Passes || is_set_here(&twin)
            }
            Fate::Passes => is_set_here(name),
        }
    }

    /// Removes from a request's trailers what its headers may not bring either, and what only headers may say.
    pub fn strip_trailers(self, trailers: &mut HeaderMap) {
        remove_where(trailers, |name| self.forbid(name.as_str()) || fate(name.as_str()) == Fate::Rewritten);
    }
}

const fn is_odd(char: char) -> bool {
    !char.is_ascii_alphanumeric() && char != '-'
}

/// Who a request came from, as far as that can be trusted.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'a> {
    /// The address of the connection's peer, `unknown` over a Unix socket.
    pub peer: &'a str,
    /// Whether the peer's own word on who it stands for is believed.
    pub peer_is_trusted: bool,
    /// `http` or `https`, of the connection.
    pub scheme: &'static str,
    /// The `Host` that the client sent.
    pub host: &'a [u8],
}

/// A client's headers on their way to an upstream.
#[derive(Debug, Clone, Copy)]
pub struct Outgoing<'a> {
    /// As the client sent them.
    pub client: &'a HeaderMap,
    /// In which version of HTTP.
    pub version: http::Version,
    /// What must not pass.
    pub reserved: Reserved<'a>,
    /// Where they came from.
    pub origin: Origin<'a>,
    /// Headers that the gateway writes for every service.
    pub replaced: &'a [HeaderName],
}

impl Outgoing<'_> {
    /// Tells what passes, and where it came from: `X-Forwarded-For`, `-Proto`, `-Host`, and `Via` (RFC 9110 §7.6.3).
    ///
    /// An untrusted peer's own claims are replaced, `Forwarded` (RFC 7239) with them; a trusted peer's are
    /// continued. `Host` and the length of the body are left to others.
    pub fn fields(&self, line: &mut impl FnMut(&HeaderName, &[u8])) {
        let named = named_by_connection(self.client);
        for (name, value) in self.client {
            if self.passes(name) && !named.contains(name) {
                line(name, value.as_bytes());
            }
        }
        if self.wants_trailers() {
            // gRPC servers insist on it, and trailers are passed on.
            line(&header::TE, b"trailers");
        }
        self.tell_origin(&named, line);
    }

    fn passes(&self, name: &HeaderName) -> bool {
        let is_claim = *name == header::FORWARDED || name.as_str().starts_with("x-forwarded");
        let is_continued = self.origin.peer_is_trusted && *name != header::FORWARDED && *name != FORWARDED_FOR;
        let is_written =
            [header::HOST, header::TE, header::CONTENT_LENGTH].contains(name) || self.replaced.contains(name);
        !is_written && !self.reserved.forbid(name.as_str()) && (!is_claim || is_continued)
    }

    fn wants_trailers(&self) -> bool {
        let codings =
            self.client.get_all(header::TE).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
        codings.map(<[u8]>::trim_ascii).any(|coding| coding.eq_ignore_ascii_case(b"trailers"))
    }

    fn tell_origin(&self, named: &[HeaderName], line: &mut impl FnMut(&HeaderName, &[u8])) {
        let origin = &self.origin;
        let claimed =
            |name: &HeaderName| origin.peer_is_trusted && self.client.contains_key(name) && !named.contains(name);
        let peer = origin.peer;
        if claimed(&FORWARDED_FOR) {
            let chain = lines_of(self.client, &FORWARDED_FOR).join(", ");
            line(&FORWARDED_FOR, format!("{chain}, {peer}").as_bytes());
        } else {
            line(&FORWARDED_FOR, peer.as_bytes());
        }
        if claimed(&header::FORWARDED) {
            let chain = lines_of(self.client, &header::FORWARDED).join(", ");
            let scheme = origin.scheme;
            // RFC 7239 §6: IPv6 in brackets, and so in quotation marks.
            let hop = if peer.contains(':') {
                format!("{chain}, for=\"[{peer}]\";proto={scheme}")
            } else {
                format!("{chain}, for={peer};proto={scheme}")
            };
            line(&header::FORWARDED, hop.as_bytes());
        }
        if !claimed(&FORWARDED_PROTO) {
            line(&FORWARDED_PROTO, origin.scheme.as_bytes());
        }
        if !claimed(&FORWARDED_HOST) {
            line(&FORWARDED_HOST, origin.host);
        }
        let via: &[u8] = match self.version {
            http::Version::HTTP_2 => b"2 scoregate",
            http::Version::HTTP_10 => b"1.0 scoregate",
            _ => b"1.1 scoregate",
        };
        line(&header::VIA, via);
    }
}

/// All lines of a list: proxies append to the last one, or write one of their own (RFC 9110 §5.3).
fn lines_of<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Vec<&'h str> {
    headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect()
}

/// Removes from an answer's trailers what is between two neighbours only, and what only headers may say.
pub fn strip_answer_trailers(trailers: &mut HeaderMap) {
    strip_hop(trailers);
    remove_where(trailers, |name| fate(name.as_str()) == Fate::Rewritten);
}

/// The client's address: the peer's, or behind trusted proxies the last one that none of them vouches for.
#[must_use]
pub fn client_address(peer: Option<IpAddr>, trusted: &[IpNet], headers: &HeaderMap) -> Option<IpAddr> {
    let peer = peer?;
    if trusted.iter().any(|net| net.contains(&peer)) {
        Some(claimed_client(trusted, headers).unwrap_or(peer))
    } else {
        Some(peer)
    }
}

/// The last address of `X-Forwarded-For` that is not trusted, or the first one where all are; `None` where there is none.
#[must_use]
pub fn claimed_client(trusted: &[IpNet], headers: &HeaderMap) -> Option<IpAddr> {
    let is_trusted = |address: &IpAddr| trusted.iter().any(|net| net.contains(address));
    let mut nearest = None;
    let lines = lines_of(headers, &FORWARDED_FOR);
    for claimed in lines.iter().rev().flat_map(|line| line.rsplit(',')) {
        let Ok(address) = claimed.trim().parse::<IpAddr>() else { break };
        nearest = Some(address);
        if !is_trusted(&address) {
            break;
        }
    }
    nearest
}

#[cfg(test)]
mod tests {

    use http::HeaderMap;
    use http::HeaderName;
    use http::HeaderValue;

    use super::Origin;
    use super::Outgoing;
    use super::Reserved;
    use super::client_address;
    use super::strip_hop;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in lines {
            map.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        map
    }

    const STRANGER: bool = false;
    const TRUSTED: bool = true;
    const NOTHING: Reserved<'_> = Reserved { identity: &[], keys: &[] };

    /// What an upstream gets to see.
    fn outgoing(client: &HeaderMap, reserved: Reserved<'_>, peer_is_trusted: bool) -> HeaderMap {
        let origin = Origin { peer: "10.0.0.1", peer_is_trusted, scheme: "http", host: b"a.example" };
        let mut told = HeaderMap::new();
        Outgoing { client, version: http::Version::HTTP_11, reserved, origin, replaced: &[] }.fields(
            &mut |name, value| {
                told.append(name, HeaderValue::from_bytes(value).unwrap());
            },
        );
        told
    }

    fn names(map: &HeaderMap) -> Vec<&str> {
        let mut names: Vec<_> = map.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn what_connection_names_goes_with_it() {
        let sent = headers(&[
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
        let told = outgoing(&sent, NOTHING, STRANGER);
        let own = ["via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"];
        assert_eq!(
            names(&told).into_iter().filter(|name| !own.contains(name)).collect::<Vec<_>>(),
            ["te", "trailer", "x-two"]
        );
        assert_eq!(told["te"], "trailers");
        let mut answer = sent;
        strip_hop(&mut answer);
        assert_eq!(names(&answer), ["trailer", "x-two"]);
    }

    #[test]
    fn credentials_identity_and_their_twins_stay_here() {
        let sent = headers(&[
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
            ("x.forwarded~for", "1.2.3.4"),
            ("x-original-url", "/admin"),
            ("x-http-method-override", "DELETE"),
            ("my_header", "stays"),
            ("content-type", "application/json"),
        ]);
        let identity = [HeaderName::from_static("x-scoregate-principal")];
        let told =
            outgoing(&sent, Reserved { identity: &identity, keys: &[HeaderName::from_static("x-key")] }, STRANGER);
        let own = ["via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"];
        assert_eq!(
            names(&told).into_iter().filter(|name| !own.contains(name)).collect::<Vec<_>>(),
            ["content-type", "my_header"]
        );
    }

    #[test]
    fn a_strangers_claims_are_replaced_and_a_trusted_proxys_continued() {
        let lines = [
            ("x-forwarded-for", "9.9.9.9"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-port", "444"),
            ("forwarded", "for=9.9.9.9"),
        ];
        let told = outgoing(&headers(&lines), NOTHING, STRANGER);
        assert_eq!(names(&told), ["via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"]);
        assert_eq!(
            (&told["x-forwarded-for"], &told["x-forwarded-proto"]),
            (&"10.0.0.1".parse().unwrap(), &"http".parse().unwrap())
        );

        let told = outgoing(&headers(&lines), NOTHING, TRUSTED);
        assert_eq!(told["x-forwarded-for"], "9.9.9.9, 10.0.0.1");
        assert_eq!(told["x-forwarded-proto"], "https");
        assert_eq!(told["x-forwarded-port"], "444");
        assert_eq!(told["forwarded"], "for=9.9.9.9, for=10.0.0.1;proto=http");
    }

    #[test]
    fn what_a_trusted_proxy_names_in_connection_is_no_claim() {
        let sent = headers(&[
            ("connection", "x-forwarded-for, x-forwarded-proto"),
            ("x-forwarded-for", "9.9.9.9"),
            ("x-forwarded-proto", "https"),
        ]);
        let told = outgoing(&sent, NOTHING, TRUSTED);
        assert_eq!(
            (&told["x-forwarded-for"], &told["x-forwarded-proto"]),
            (&"10.0.0.1".parse().unwrap(), &"http".parse().unwrap())
        );
    }

    #[test]
    fn a_chain_of_several_lines_is_one_chain() {
        let sent = headers(&[("x-forwarded-for", "6.6.6.6"), ("x-forwarded-for", "2.2.2.2")]);
        let told = outgoing(&sent, NOTHING, TRUSTED);
        assert_eq!(told.get_all("x-forwarded-for").iter().collect::<Vec<_>>(), ["6.6.6.6, 2.2.2.2, 10.0.0.1"]);
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
        Reserved { identity: &identity, keys: &[HeaderName::from_static("x-key")] }.strip_trailers(&mut sent);
        assert_eq!(names(&sent), ["x-sum"]);
    }

    #[test]
    fn an_identity_header_among_the_forwarding_ones_is_still_the_gateways() {
        let twin = headers(&[("x-forwarded_for", "9.9.9.9"), ("x-forwarded_user", "root")]);
        assert_eq!(names(&outgoing(&twin, NOTHING, TRUSTED)), names(&outgoing(&HeaderMap::new(), NOTHING, TRUSTED)));
        let sent = headers(&[("x-forwarded-user", "root")]);
        let reserved = Reserved { identity: &[HeaderName::from_static("x-forwarded-user")], keys: &[] };
        assert!(!outgoing(&sent, reserved, TRUSTED).contains_key("x-forwarded-user"));
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
