//! `issuers`: who else signs tokens that services accept.

use schemars::JsonSchema;
use serde::Deserialize;

/// A foreign issuer of tokens.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Issuer {
    /// The exact `iss` claim of its tokens.
    pub issuer: String,
    /// Where its keys are: exactly one of `file`, `url`, `discovery` and `secret`.
    pub keys: IssuerKeys,
    /// Path of CA certificates, PEM, to trust when keys are fetched. Default: the system's.
    pub ca: Option<String>,
    /// How often keys are fetched again, at least `10s`. Default: `15m`.
    pub refresh: Option<String>,
    /// Shortest time between two fetches that tokens with an unknown `kid` cause, at least `1s`. Default: `30s`.
    pub cooldown: Option<String>,
    /// Algorithms that are accepted: those with HMAC where the keys are a `secret`, none of them otherwise.
    #[schemars(length(min = 1))]
    pub algorithms: Vec<Algorithm>,
    /// Token types (`typ`) that are accepted; a token without one counts as `jwt`. Default: `jwt` and `at+jwt`.
    #[schemars(length(min = 1))]
    pub types: Option<Vec<String>>,
    /// How far clocks may differ, at most `5m`. Default: `30s`.
    pub leeway: Option<String>,
    /// Longest life of a token that is accepted. Default: `24h`.
    pub max_lifetime: Option<String>,
}

/// Where a foreign issuer's keys are: exactly one of these.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IssuerKeys {
    /// Path of a JWKS file.
    pub file: Option<String>,
    /// URL of a JWKS: `https`, or `http` to a loopback address.
    pub url: Option<String>,
    /// URL of the issuer, or of its OpenID Connect discovery document; `/.well-known/openid-configuration` is added
    /// where it is missing. `https`, or `http` to a loopback address.
    pub discovery: Option<String>,
    /// A shared secret of at least 32 bytes, for HMAC: `file:<path>`, `env:<NAME>` or `credential:<name>`.
    pub secret: Option<String>,
}

/// Signature algorithms, by the names of RFC 7518 §3.1 and RFC 8037 §3.1.
#[expect(missing_docs, reason = "the names are those of the RFCs")]
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Algorithm {
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    #[serde(rename = "EdDSA")]
    EdDsa,
    Hs256,
    Hs384,
    Hs512,
}
