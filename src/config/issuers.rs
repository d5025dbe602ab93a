//! Whose tokens are known: the gateway's own, and those of foreign issuers.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::SecretRef;
use crate::model::name::Name;

/// What the gateway's own tokens look like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnTokens {
    /// `iss`. Default `urn:scoregate`.
    pub issuer: String,
    /// How new signing keys sign; one that there is stays until its time has come. Default ES256.
    pub algorithm: SigningAlgorithm,
    /// Life of a service token. Default 12 h.
    pub lifetime: Duration,
    /// When a client should fetch a new one, after issue. Default half of `lifetime`.
    pub refresh_after: Duration,
    /// How old a signing key gets before another takes its place; `None` is by call only. Default 90 d.
    pub rotate_every: Option<Duration>,
}

/// How the gateway signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SigningAlgorithm {
    /// ECDSA over P-256 with SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
    /// RSASSA-PKCS1-v1_5 with SHA-256, 2048 bits.
    Rs256,
}

impl SigningAlgorithm {
    /// Its name in RFC 7518 §3.1 and RFC 8037 §3.1.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
            Self::Rs256 => "RS256",
        }
    }
}

/// A foreign issuer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issuer {
    /// What operators call it.
    pub name: Name,
    /// The exact `iss` of its tokens.
    pub issuer: String,
    /// Where its keys are.
    pub keys: IssuerKeys,
    /// Algorithms that are accepted; never empty, and all HMAC for [`IssuerKeys::Secret`], none otherwise.
    pub algorithms: Vec<TokenAlgorithm>,
    /// `typ` values that are accepted, lower case, without `application/`. Default `jwt` and `at+jwt`; a missing `typ` counts as `jwt`.
    pub types: Vec<String>,
    /// How far clocks may differ, at most 5 min. Default 30 s.
    pub leeway: Duration,
    /// Longest life of a token, `exp` − `iat`, where `iat` is missing `exp` − now. Default 24 h.
    pub max_lifetime: Duration,
}

/// Where a foreign issuer's keys are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IssuerKeys {
    /// A JWKS file.
    File(PathBuf),
    /// A JWKS that is fetched.
    Url(FetchUrl),
    /// `<issuer>/.well-known/openid-configuration` names the JWKS (OpenID Connect Discovery 1.0 §4).
    Discovery(FetchUrl),
    /// A shared secret of at least 32 bytes, for HS256 and its like.
    Secret(SecretRef),
}

/// What is fetched from a foreign issuer, and with which trust.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchUrl {
    /// `https`, or `http` to a loopback address.
    pub url: http::Uri,
    /// CAs to trust, PEM; `None` is the system's.
    pub ca: Option<PathBuf>,
    /// How often it is fetched again. Default 15 min.
    pub refresh: Duration,
    /// Shortest time between two fetches that tokens with an unknown `kid` cause. Default 30 s.
    pub cooldown: Duration,
}

/// Algorithms that a token may be signed with.
#[expect(missing_docs, reason = "the names are those of RFC 7518 §3.1 and RFC 8037 §3.1")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TokenAlgorithm {
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    EdDsa,
    Hs256,
    Hs384,
    Hs512,
}
