//! Issuing service tokens, and what every token of ours has in common.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;

use crate::model::secret::Secret;
use crate::model::time::UnixSeconds;
use crate::tokens::signing::SigningFailed;
use crate::tokens::signing::SigningKey;

/// `typ` of a service token (RFC 9068 §2.1). No other token of ours has it, so none is taken for one.
pub const SERVICE_TOKEN_TYPE: &str = "at+jwt";

/// A token that was issued.
#[derive(Debug)]
pub struct Issued {
    /// The compact JWT.
    pub jwt: Secret<String>,
    /// `jti`: what revocations and the audit log know it by.
    pub id: Arc<str>,
    /// `iat`.
    pub issued: UnixSeconds,
    /// `exp`.
    pub expires: UnixSeconds,
}

#[derive(Serialize)]
struct ServiceClaims<'a> {
    iss: &'a str,
    aud: &'a str,
    sub: &'a str,
    jti: &'a str,
    iat: UnixSeconds,
    nbf: UnixSeconds,
    exp: UnixSeconds,
}

/// Issues a token that opens one service; `audience` is what that service asks for.
///
/// # Errors
/// [`SigningFailed`] when the system's randomness or the signature fails.
pub fn issue_service_token(
    key: &SigningKey,
    issuer: &str,
    audience: &str,
    subject: &str,
    lifetime: Duration,
    now: UnixSeconds,
) -> Result<Issued, SigningFailed> {
    let id = new_id()?;
    let expires = now.plus(lifetime.as_secs());
    let claims = ServiceClaims { iss: issuer, aud: audience, sub: subject, jti: &id, iat: now, nbf: now, exp: expires };
    let jwt = key.sign(SERVICE_TOKEN_TYPE, &claims)?;
    Ok(Issued { jwt, id, issued: now, expires })
}

/// 128 random bits: nobody meets one twice, and none can be guessed.
pub(super) fn new_id() -> Result<Arc<str>, SigningFailed> {
    let mut bits = [0; 16];
    aws_lc_rs::rand::fill(&mut bits).map_err(|_unspecified| SigningFailed)?;
    Ok(URL_SAFE_NO_PAD.encode(bits).into())
}
