//! What makes a refused request pass: for each row of the table of refusals, what to change and who can.
//!
//! For operators. A caller whose credential was not accepted is not told why, and so not told this either.

use crate::model::refusal::Denied;
use crate::model::refusal::Failed;
use crate::model::refusal::Refusal;

impl Refusal {
    /// What makes the request pass.
    #[must_use]
    pub const fn advice(self) -> &'static str {
        match self {
            Self::Denied { why, .. } => why.advice(),
            Self::Failed(failed) => failed.advice(),
        }
    }
}

impl Denied {
    /// What makes the request pass.
    #[expect(clippy::too_many_lines, reason = "a table, a row each")]
    #[must_use]
    pub const fn advice(self) -> &'static str {
        match self {
            Self::HostInvalid => {
                "Send exactly one Host header, with the name and port of the service, and no other host in the request target."
            }
            Self::PathAmbiguous => {
                "Send the path in its plain form: no dot segments, no empty segments, no encoded slashes. Where the upstream needs one of these, list it under the service's `path_allows`."
            }
            Self::MethodRefused => "Use another method; CONNECT and TRACE are never forwarded.",
            Self::RequestMalformed => {
                "Mend the client or the proxy in front: its first line, a header or the lengths that it gives break HTTP's grammar."
            }
            Self::HeadTimeout => "Send the whole head at once, or raise the listener's `timeouts.head`.",
            Self::HeadersTooLarge => {
                "Send fewer or smaller headers, or raise `limits.max_header`, `limits.max_headers` or `limits.max_header_count` of the listener."
            }
            Self::TargetTooLong => {
                "Send what is in the query as a body instead, or raise the listener's `limits.max_target`."
            }
            Self::BodyTooLarge => "Send a smaller body, or raise the service's `max_body`.",
            Self::BodyTimeout => "Send the body without long pauses, or raise the service's `timeouts.idle`.",
            Self::BodyMalformed => {
                "Mend the client: what it sends is not framed as its Content-Length or its chunks say."
            }
            Self::NoService => {
                "Call a host and path that a service matches, or add a match for this one under the service's `match`."
            }
            Self::NoDeployment => {
                "Name one of the service's `deployments` in the header azureml-model-deployment, or none where one of them has a `weight`."
            }
            Self::MethodNotAllowed => {
                "Use a method that the service lists (the answer's Allow header names them), or add this one to the `methods` of its match."
            }
            Self::ForwardAuthPeer => {
                "Name the address that the proxy asks from under the listener's `forward_auth.peers`."
            }
            Self::ForwardAuthInvalid => {
                "Let the proxy ask as its example in docs/forward-auth.md does, and send keys in a header: a proxy passes on what stands in the query."
            }
            Self::CredentialMissing => {
                "Send the credential in a place that the service reads; the answer's WWW-Authenticate header names each one."
            }
            Self::CredentialAmbiguous => {
                "Send one credential, once: take out the one that is not meant for this service."
            }
            Self::CredentialMalformed => {
                "Write the credential as `Authorization: Bearer <credential>`, or the bare key in the header that the service names."
            }
            Self::KeyUnknown => {
                "Use one of the two live keys of the service or of an account that it admits (`scoregate keys list`); a regenerated key opens nothing any longer. To admit another account, name it under `auth.key.accounts`."
            }
            Self::KeyExpired => "Use the key in the other slot, or regenerate this one (`scoregate keys regenerate`).",
            Self::TokenMalformed => {
                "Send a signed JWT in its compact form: three base64url parts, with claims that are JSON and an `exp`."
            }
            Self::TokenAlgorithm => {
                "Have the token signed with an algorithm that its issuer's `algorithms` lists, by a key that is made for it."
            }
            Self::TokenKeyUnknown => {
                "Have the token signed by a key that its issuer publishes, under the `kid` that it publishes it by; after a rotation, get a new token."
            }
            Self::TokenSignature => {
                "Get a new token from its issuer: this one was changed after it was signed, or was signed by somebody else's key."
            }
            Self::TokenExpired => "Get a new token; if it was new, set the clocks of its issuer and of this machine.",
            Self::TokenNotYetValid => "Wait until the token's `nbf`, or set the clock of its issuer.",
            Self::TokenIssuer => {
                "Get the token from an issuer that the service lists under `auth.token.issuers`, or add the one that its `iss` names."
            }
            Self::TokenAudience => {
                "Ask the issuer for a token whose `aud` is this service's, or add the token's to `auth.token.audiences`."
            }
            Self::TokenLifetime => {
                "Ask the issuer for a token with a shorter life, or raise the issuer's `max_lifetime`."
            }
            Self::TokenClaim => "Ask the issuer for a token with the claims that `auth.token.required_claims` lists.",
            Self::TokenRevoked => "Get a new token. What was revoked stays so until the token would have expired.",
            Self::AuthThrottled => {
                "Stop the client that keeps showing a bad credential from this address and wait a minute; a valid credential from the same address is accepted all the while."
            }
            Self::RateLimited => {
                "Wait as long as the answer's Retry-After says and send fewer requests, or raise the service's `limits.per_caller.requests`."
            }
            Self::CallerBusy => {
                "Wait for answers before sending more requests, or raise the service's `limits.per_caller.concurrency`."
            }
            Self::ServiceBusy => {
                "Send fewer requests at once, or raise the service's `limits.concurrency` or `limits.queue` if its upstream bears more."
            }
            Self::FeatureNotGranted => {
                "Approve the feature for the account (`scoregate accounts set --approve`), or send a LimitedAccessToken for the account's resource that holds it; its vendor's ceiling has to hold it too."
            }
            Self::LimitedTokenInvalid => {
                "Send `LimitedAccessToken: Bearer <token>` with a token as this gateway issued it, unchanged."
            }
            Self::LimitedTokenExpired => "Have the vendor issue a new LimitedAccessToken.",
            Self::LimitedTokenResource => {
                "Have the vendor issue the LimitedAccessToken for the resource of the account that calls."
            }
            Self::IssueArgument => {
                "Name a known target resource, flags that this gateway knows and a life within bounds; the answer's detail says which is wrong."
            }
            Self::IssueNotAllowed => {
                "Call with a key of the vendor's account, and ask only for features in its ceiling; an owner can raise that (`scoregate accounts set --may-issue`)."
            }
        }
    }
}

impl Failed {
    /// What makes the request pass.
    #[must_use]
    pub const fn advice(self) -> &'static str {
        match self {
            Self::UpstreamUnreachable => {
                "Start the upstream, or mend the address of its endpoint, its DNS entry or the network policy between."
            }
            Self::UpstreamConnectTimeout => {
                "See whether the upstream's host drops packets or its queue is full, or raise the service's `timeouts.connect`."
            }
            Self::UpstreamTls => {
                "Give the upstream a certificate for the name in its endpoint by a CA that the upstream's `tls.ca` holds, or mend that name."
            }
            Self::UpstreamClosed => {
                "See why the upstream closes connections before it answers: its log says whether it crashed or ran out of workers."
            }
            Self::UpstreamProtocol => {
                "See that the endpoint speaks the protocol that the configuration says under the upstream's `protocol`."
            }
            Self::UpstreamTimeout => "Find out why the upstream is slow, or raise the service's `timeouts.response`.",
            Self::TotalTimeout => "Find out why the upstream is slow, or raise the service's `timeouts.total`.",
            Self::NoEndpoint => {
                "Bring an endpoint of the upstream back, or mend the health check that finds it unwell; `gateway_upstream_endpoint_healthy` says which it is."
            }
            Self::QueueTimeout => {
                "Send fewer requests at once, or raise the service's `limits.concurrency` if its upstream bears more, or `limits.queue_wait`."
            }
            Self::ServiceQuarantined => {
                "Put back the secret, certificate or key set that the service needs; it opens by itself when that can be read."
            }
            Self::IssuerUnavailable => {
                "Bring the issuer's key set URL back within reach of this gateway; it is asked again by itself."
            }
            Self::AuditUnavailable => {
                "Make the directory of the audit log writable again: space, permissions, the disk."
            }
            Self::Internal => {
                "Look in the gateway's log for this moment, and report what it says: this is a fault of scoregate."
            }
        }
    }
}
