//! The table of refusals: every way in which the gateway itself says no, one row each.
//!
//! Status, body, challenge, `grpc-status`, metric label and log field are all read from the row. A code
//! that was once released is never renamed. Policy that said no is a [`Denied`]; something that broke is
//! a [`Failed`]: alerts look at failures only.

use std::time::Duration;

use http::StatusCode;

/// What a row says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// The reason: snake case, unique. The log field `reason`, the metric label `reason`.
    pub code: &'static str,
    /// The answer's status.
    pub status: StatusCode,
    /// The `grpc-status` of a gRPC caller's answer.
    pub grpc: Grpc,
    /// How much of the reason the caller learns.
    pub shown: Shown,
    /// One sentence for the caller, where the caller may learn the reason.
    pub message: &'static str,
}

/// How much of a reason the caller learns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// The code and the message as they stand in the row.
    Exactly,
    /// Only that the credential was not accepted: unknown, expired and revoked ones look alike.
    AsUnauthenticated,
}

/// Status codes of gRPC that a refusal can become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grpc {
    /// 3: the request itself is malformed.
    InvalidArgument = 3,
    /// 4: a deadline passed.
    DeadlineExceeded = 4,
    /// 7: authenticated, and not allowed.
    PermissionDenied = 7,
    /// 8: a limit was reached.
    ResourceExhausted = 8,
    /// 12: nothing answers here.
    Unimplemented = 12,
    /// 13: the gateway broke.
    Internal = 13,
    /// 14: try again later.
    Unavailable = 14,
    /// 16: no valid credential.
    Unauthenticated = 16,
}

macro_rules! refusals {
    ($(#[$about:meta])* $kind:ident { $($(#[doc = $doc:literal])+ $name:ident => $code:literal, $status:ident, $grpc:ident, $shown:ident, $message:literal;)+ }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $kind { $($(#[doc = $doc])+ $name,)+ }

        impl $kind {
            /// Every row, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// What the row says.
            #[must_use]
            pub const fn row(self) -> Row {
                match self {
                    $(Self::$name => Row {
                        code: $code,
                        status: StatusCode::$status,
                        grpc: Grpc::$grpc,
                        shown: Shown::$shown,
                        message: $message,
                    },)+
                }
            }

            /// What the row's documentation says, for the reference of reason codes.
            #[must_use]
            pub const fn about(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),+),)+ }
            }
        }
    };
}

refusals! {
    /// Policy said no: 4xx. The caller has to change something; nobody is paged.
    Denied {
        /// `Host` is missing, repeated, malformed, or disagrees with the request target (RFC 9112 §3.2).
        HostInvalid => "host_invalid", BAD_REQUEST, InvalidArgument, Exactly, "The request needs exactly one valid Host.";
        /// The path could be read in two ways: dot segments, `//`, encoded separators, broken escapes.
        PathAmbiguous => "path_ambiguous", BAD_REQUEST, InvalidArgument, Exactly, "The path can be read in more than one way; send it in its plain form.";
        /// `CONNECT`, `TRACE`, or a method override that a service does not take.
        MethodRefused => "method_refused", METHOD_NOT_ALLOWED, Unimplemented, Exactly, "This method is never forwarded.";
        /// What arrived is no HTTP request: its first line, a header or its framing is broken.
        RequestMalformed => "request_malformed", BAD_REQUEST, InvalidArgument, Exactly, "The request is not well-formed HTTP.";
        /// The request's head began to arrive and did not end in time.
        HeadTimeout => "head_timeout", REQUEST_TIMEOUT, DeadlineExceeded, Exactly, "The request's head did not arrive in time.";
        /// A header, or all of them, or their number, is above the limit.
        HeadersTooLarge => "headers_too_large", REQUEST_HEADER_FIELDS_TOO_LARGE, ResourceExhausted, Exactly, "The request's headers are more than this gateway takes.";
        /// The request target is longer than the limit.
        TargetTooLong => "target_too_long", URI_TOO_LONG, ResourceExhausted, Exactly, "The request target is longer than this gateway takes.";
        /// The body is larger than the service takes.
        BodyTooLarge => "body_too_large", PAYLOAD_TOO_LARGE, ResourceExhausted, Exactly, "The request body is larger than this service takes.";
        /// The body stopped arriving for longer than the service waits.
        BodyTimeout => "body_timeout", REQUEST_TIMEOUT, DeadlineExceeded, Exactly, "The request body did not arrive in time.";
        /// The body's framing is broken.
        BodyMalformed => "body_malformed", BAD_REQUEST, InvalidArgument, Exactly, "The request body is not framed as its headers say.";
        /// No service matches host and path.
        NoService => "no_service", NOT_FOUND, Unimplemented, Exactly, "No service answers at this host and path.";
        /// The service has no deployment of the name that the request gives, or none that takes requests without one.
        NoDeployment => "no_deployment", NOT_FOUND, Unimplemented, Exactly, "The service has no deployment of this name, or none that takes traffic.";
        /// A service matches host and path, and none of them this method.
        MethodNotAllowed => "method_not_allowed", METHOD_NOT_ALLOWED, Unimplemented, Exactly, "The service at this path does not take this method.";
        /// A peer asked for a decision about somebody's request, and is none of those that may.
        ForwardAuthPeer => "forward_auth_peer", FORBIDDEN, PermissionDenied, Exactly, "This peer may not ask for decisions.";
        /// A proxy asked about a request in a form that is not the agreed one, or about one that it would forward otherwise than it was judged: with a key in its query.
        ForwardAuthInvalid => "forward_auth_invalid", BAD_REQUEST, InvalidArgument, Exactly, "This request cannot be judged for the proxy that asks.";
        /// The service wants a credential and the request has none.
        CredentialMissing => "credential_missing", UNAUTHORIZED, Unauthenticated, Exactly, "This service wants a credential and the request has none.";
        /// Several credentials that differ, or one header with several in it.
        CredentialAmbiguous => "credential_ambiguous", UNAUTHORIZED, Unauthenticated, Exactly, "The request carries several credentials; send exactly one.";
        /// The credential's header cannot be read: another scheme, no value, bytes outside the grammar.
        CredentialMalformed => "credential_malformed", UNAUTHORIZED, Unauthenticated, Exactly, "The credential's header is malformed.";
        /// No slot holds this key, or only slots that do not open this service.
        KeyUnknown => "key_unknown", UNAUTHORIZED, Unauthenticated, AsUnauthenticated, "";
        /// The slot's key has passed its expiry.
        KeyExpired => "key_expired", UNAUTHORIZED, Unauthenticated, AsUnauthenticated, "";
        /// The token is no JWT of the form that is accepted here (RFC 7515, RFC 7519, RFC 8725).
        TokenMalformed => "token_malformed", UNAUTHORIZED, Unauthenticated, AsUnauthenticated, "";
        /// The token names an algorithm that the issuer's configuration or key does not allow.
        TokenAlgorithm => "token_algorithm", UNAUTHORIZED, Unauthenticated, AsUnauthenticated, "";
        /// The token was signed by a key that its issuer does not publish.
        TokenKeyUnknown => "token_key_unknown", UNAUTHORIZED, Unauthenticated, AsUnauthenticated, "";
        /// The signature does not verify.
        TokenSignature => "token_signature", UNAUTHORIZED, Unauthenticated, AsUnauthenticated, "";
        /// The token's `exp` has passed.
        TokenExpired => "token_expired", UNAUTHORIZED, Unauthenticated, AsUnauthenticated, "";
        /// The token's `nbf` lies ahead.
        TokenNotYetValid => "token_not_yet_valid", UNAUTHORIZED, Unauthenticated, AsUnauthenticated, "";
        /// The token's `iss` is missing, or none that this service accepts.
        TokenIssuer => "token_issuer", UNAUTHORIZED, Unauthenticated, AsUnauthenticated, "";
        /// The token's `aud` is missing, or does not name this service.
        TokenAudience => "token_audience", UNAUTHORIZED, Unauthenticated, AsUnauthenticated, "";
        /// The token lives longer than its issuer's maximum lifetime.
        TokenLifetime => "token_lifetime", UNAUTHORIZED, Unauthenticated, AsUnauthenticated, "";
        /// A claim that the service requires is missing or has another value.
        TokenClaim => "token_claim", UNAUTHORIZED, Unauthenticated, AsUnauthenticated, "";
        /// The token was revoked.
        TokenRevoked => "token_revoked", UNAUTHORIZED, Unauthenticated, AsUnauthenticated, "";
        /// More credentials from this address were not accepted in the last minute than may be; a valid one still is.
        AuthThrottled => "auth_throttled", TOO_MANY_REQUESTS, ResourceExhausted, Exactly, "Too many credentials from this address were not accepted.";
        /// The caller has sent more requests to this service in a time than it may.
        RateLimited => "rate_limited", TOO_MANY_REQUESTS, ResourceExhausted, Exactly, "Rate limit is exceeded.";
        /// The caller has as many requests under way at this service as it may.
        CallerBusy => "caller_busy", TOO_MANY_REQUESTS, ResourceExhausted, Exactly, "Too many requests of this caller are under way.";
        /// The service has as many requests under way as it may, and as many waiting.
        ServiceBusy => "service_busy", TOO_MANY_REQUESTS, ResourceExhausted, Exactly, "Too many requests for this service (overloaded)";
        /// The call needs a feature that neither the caller's account nor a LimitedAccessToken grants.
        FeatureNotGranted => "feature_not_granted", FORBIDDEN, PermissionDenied, Exactly, "This call needs a feature that the caller has not been granted.";
        /// The LimitedAccessToken cannot be read or does not verify.
        LimitedTokenInvalid => "limited_token_invalid", UNAUTHORIZED, Unauthenticated, Exactly, "The LimitedAccessToken is not valid.";
        /// The LimitedAccessToken has expired, or was revoked.
        LimitedTokenExpired => "limited_token_expired", UNAUTHORIZED, Unauthenticated, Exactly, "The LimitedAccessToken is not valid any longer.";
        /// The LimitedAccessToken was issued for another resource than the caller's.
        LimitedTokenResource => "limited_token_resource", FORBIDDEN, PermissionDenied, Exactly, "The LimitedAccessToken was issued for another resource.";
        /// What was asked of `issueLimitedAccessToken` cannot be read, or names what is not known.
        IssueArgument => "issue_argument", BAD_REQUEST, InvalidArgument, Exactly, "The request for a LimitedAccessToken is malformed.";
        /// The caller is no account, or its ceiling does not hold all the features that it asked for.
        IssueNotAllowed => "issue_not_allowed", FORBIDDEN, PermissionDenied, Exactly, "The caller may not issue a LimitedAccessToken for all of these features.";
    }
}

refusals! {
    /// Something broke: 5xx. The caller did nothing wrong; alerts look here.
    Failed {
        /// The upstream refused the connection, or no route leads to it.
        UpstreamUnreachable => "upstream_unreachable", BAD_GATEWAY, Unavailable, Exactly, "The upstream could not be reached.";
        /// The connection to the upstream was not made in time.
        UpstreamConnectTimeout => "upstream_connect_timeout", GATEWAY_TIMEOUT, Unavailable, Exactly, "The upstream did not accept a connection in time.";
        /// The TLS handshake with the upstream failed: its certificate, name or protocol.
        UpstreamTls => "upstream_tls", BAD_GATEWAY, Unavailable, Exactly, "No trusted TLS connection to the upstream could be made.";
        /// The upstream closed the connection before it answered.
        UpstreamClosed => "upstream_closed", BAD_GATEWAY, Unavailable, Exactly, "The upstream closed the connection before it answered.";
        /// The upstream's answer is not well-formed HTTP.
        UpstreamProtocol => "upstream_protocol", BAD_GATEWAY, Unavailable, Exactly, "The upstream's answer is not well-formed HTTP.";
        /// The upstream's answer did not begin in time.
        UpstreamTimeout => "upstream_timeout", GATEWAY_TIMEOUT, Unavailable, Exactly, "upstream request timeout";
        /// The request as a whole took longer than the service allows.
        TotalTimeout => "total_timeout", GATEWAY_TIMEOUT, DeadlineExceeded, Exactly, "The request took longer than this service allows.";
        /// The upstream has no endpoint that could be used.
        NoEndpoint => "no_endpoint", SERVICE_UNAVAILABLE, Unavailable, Exactly, "The service has no endpoint that is ready.";
        /// The request has waited for its turn at a busy service for as long as it may.
        QueueTimeout => "queue_timeout", SERVICE_UNAVAILABLE, Unavailable, Exactly, "Too many requests for this service (overloaded)";
        /// The service's keys, certificate or issuer could not be loaded; it answers nobody until they can.
        ServiceQuarantined => "service_quarantined", SERVICE_UNAVAILABLE, Unavailable, Exactly, "The service is not ready: a secret, certificate or issuer of it could not be loaded.";
        /// A token cannot be judged because its issuer's keys cannot be had at the moment.
        IssuerUnavailable => "issuer_unavailable", SERVICE_UNAVAILABLE, Unavailable, Exactly, "The token cannot be judged now: its issuer's keys cannot be fetched.";
        /// What is not on record is not done, and the audit log cannot be written.
        AuditUnavailable => "audit_unavailable", SERVICE_UNAVAILABLE, Unavailable, Exactly, "This call has to be recorded, and cannot be at the moment.";
        /// The gateway broke; its log says how.
        Internal => "internal", INTERNAL_SERVER_ERROR, Internal, Exactly, "The gateway could not answer this request.";
    }
}

impl Failed {
    /// The error type of `Proxy-Status` (RFC 9209 §2.3).
    #[must_use]
    pub const fn proxy_status(self) -> &'static str {
        match self {
            Self::UpstreamUnreachable => "connection_refused",
            Self::UpstreamConnectTimeout => "connection_timeout",
            Self::UpstreamTls => "tls_certificate_error",
            Self::UpstreamClosed => "connection_terminated",
            Self::UpstreamProtocol => "http_protocol_error",
            Self::UpstreamTimeout | Self::TotalTimeout => "http_response_timeout",
            Self::NoEndpoint => "destination_unavailable",
            Self::QueueTimeout => "connection_limit_reached",
            Self::ServiceQuarantined | Self::IssuerUnavailable => "proxy_configuration_error",
            Self::AuditUnavailable | Self::Internal => "proxy_internal_error",
        }
    }
}

/// A request that the gateway answers itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Policy said no.
    Denied {
        /// The row.
        why: Denied,
        /// When trying again can help. Never with 401 or 403: clients repeat such a request four times.
        retry_after: Option<Duration>,
    },
    /// Something broke.
    Failed(Failed),
}

impl Refusal {
    /// The row.
    #[must_use]
    pub const fn row(self) -> Row {
        match self {
            Self::Denied { why, .. } => why.row(),
            Self::Failed(failed) => failed.row(),
        }
    }

    /// What the row's documentation says.
    #[must_use]
    pub const fn about(self) -> &'static str {
        match self {
            Self::Denied { why, .. } => why.about(),
            Self::Failed(failed) => failed.about(),
        }
    }
}

impl From<Denied> for Refusal {
    fn from(why: Denied) -> Self {
        Self::Denied { why, retry_after: None }
    }
}

impl From<Failed> for Refusal {
    fn from(failed: Failed) -> Self {
        Self::Failed(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::{Denied, Failed, Grpc, Row, Shown};

    fn rows() -> impl Iterator<Item = Row> {
        Denied::ALL.iter().map(|why| why.row()).chain(Failed::ALL.iter().map(|failed| failed.row()))
    }

    #[test]
    fn codes_are_unique_snake_case() {
        let mut seen = std::collections::HashSet::new();
        for Row { code, .. } in rows() {
            assert!(code.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{code}");
            assert!(seen.insert(code), "{code} stands twice");
        }
    }

    #[test]
    fn a_denial_is_the_callers_to_mend_and_a_failure_ours() {
        assert!(Denied::ALL.iter().all(|why| why.row().status.is_client_error()));
        assert!(Failed::ALL.iter().all(|failed| failed.row().status.is_server_error()));
    }

    #[test]
    fn what_hides_its_reason_is_a_401_with_no_text_of_its_own() {
        for row in rows() {
            match row.shown {
                Shown::Exactly => assert!(!row.message.is_empty(), "{}", row.code),
                Shown::AsUnauthenticated => {
                    assert_eq!(
                        (row.status.as_u16(), row.grpc, row.message),
                        (401, Grpc::Unauthenticated, ""),
                        "{}",
                        row.code
                    );
                }
            }
        }
    }
}
