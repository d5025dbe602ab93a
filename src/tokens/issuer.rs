//! An issuer that is trusted: which of its tokens are authentic, in force and not too long-lived.

use std::sync::Arc;

use crate::config::Issuer;
use crate::config::TokenAlgorithm;
use crate::config::TokenIssuer;
use crate::model::name::Name;
use crate::model::refusal::Denied;
use crate::model::refusal::Failed;
use crate::model::refusal::Refusal;
use crate::model::time::UnixSeconds;
use crate::tokens::Validity;
use crate::tokens::jwks::KeySet;
use crate::tokens::jwks::NoKey;
use crate::tokens::jwks::Unverified;
use crate::tokens::own_keys::OwnKeys;
use crate::tokens::shape::Token;

/// How far another replica's clock may be ahead of ours, in seconds, before its fresh tokens are refused here.
const OWN_SKEW_SECONDS: u64 = 5;

/// An issuer, its rules and its keys as they are known now.
#[derive(Debug, PartialEq, Eq)]
pub struct TrustedIssuer {
    who: TokenIssuer,
    name: Name,
    /// The exact `iss`.
    issuer: String,
    algorithms: Vec<TokenAlgorithm>,
    /// Media types as [`Token`] has them: lower case, without `application/`.
    types: Vec<String>,
    /// How long before `nbf` and `iat` a token is taken.
    early_seconds: u64,
    /// How long after `exp` a token is taken.
    late_seconds: u64,
    max_lifetime_seconds: u64,
    /// `None` until they have been had for the first time.
    keys: Option<Arc<KeySet>>,
}

/// Why a token is not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rejected {
    /// The token is at fault.
    Denied(Denied),
    /// This issuer's keys were never had, so its tokens cannot be judged.
    IssuerUnavailable(Name),
    /// This foreign issuer's set does not hold the `kid`: it may have been fetched before the issuer changed its
    /// keys. Who can fetch the set again does so once, within its cool-down, and verifies again.
    UnknownKey(Name),
}

impl Rejected {
    /// What the caller is told when nothing more is tried.
    #[must_use]
    pub fn refusal(&self) -> Refusal {
        match self {
            Self::Denied(why) => (*why).into(),
            Self::IssuerUnavailable(_) => Failed::IssuerUnavailable.into(),
            Self::UnknownKey(_) => Denied::TokenKeyUnknown.into(),
        }
    }
}

impl From<Denied> for Rejected {
    fn from(why: Denied) -> Self {
        Self::Denied(why)
    }
}

impl TrustedIssuer {
    /// The name under which this gateway's own tokens appear in logs and metrics.
    pub const OWN_NAME: &'static str = "own";

    /// A foreign issuer; `keys` is `None` while its keys could not be had.
    #[must_use]
    pub fn foreign(configured: &Issuer, keys: Option<Arc<KeySet>>) -> Self {
        Self {
            who: TokenIssuer::Foreign(configured.name.clone()),
            name: configured.name.clone(),
            issuer: configured.issuer.clone(),
            algorithms: configured.algorithms.clone(),
            types: configured.types.clone(),
            early_seconds: configured.leeway.as_secs(),
            late_seconds: configured.leeway.as_secs(),
            max_lifetime_seconds: configured.max_lifetime.as_secs(),
            keys,
        }
    }

    /// This gateway, for tokens of the one media type. They end when they say: `exp` has no leeway.
    pub(super) fn own(issuer: &str, media_type: &str, max_lifetime_seconds: u64, keys: &OwnKeys) -> Self {
        Self {
            who: TokenIssuer::Own,
            name: own_name(),
            issuer: issuer.to_owned(),
            algorithms: vec![TokenAlgorithm::Es256, TokenAlgorithm::EdDsa, TokenAlgorithm::Rs256],
            types: vec![media_type.to_owned()],
            early_seconds: OWN_SKEW_SECONDS,
            late_seconds: 0,
            max_lifetime_seconds,
            keys: Some(keys.key_set()),
        }
    }

    /// Who it is, as a service's configuration names it.
    #[must_use]
    pub fn who(&self) -> &TokenIssuer {
        &self.who
    }

    /// What operators call it; [`Self::OWN_NAME`] for this gateway.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// The exact `iss` of its tokens.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// How long after a moment a token that was issued until then can still be taken, in seconds; clocks that differ as
    /// far as they may are thought of.
    #[must_use]
    pub const fn longest_use_seconds(&self) -> u64 {
        self.early_seconds.saturating_add(self.max_lifetime_seconds).saturating_add(self.late_seconds)
    }

    /// Judges all that does not depend on the service: type, algorithm, key, signature and times, in this order.
    pub(super) fn authenticate(&self, token: &Token<'_>, now: UnixSeconds) -> Result<Validity, Rejected> {
        if !self.types.contains(&token.header.media_type) {
            return Err(Denied::TokenMalformed.into());
        }
        self.check_signature(token)?;
        Ok(self.check_times(token, now)?)
    }

    fn check_signature(&self, token: &Token<'_>) -> Result<(), Rejected> {
        let keys = self.keys.as_ref().ok_or_else(|| Rejected::IssuerUnavailable(self.name.clone()))?;
        let algorithm = token.header.algorithm;
        if !self.algorithms.contains(&algorithm) {
            return Err(Denied::TokenAlgorithm.into());
        }
        let verified = keys.verify(token.header.kid.as_deref(), algorithm, token.signed.as_bytes(), token.signature);
        verified.map_err(|why| match why {
            Unverified::NoKey(why) => self.rejected(why),
            Unverified::Signature => Denied::TokenSignature.into(),
        })
    }

    /// Our own set is always complete, so that a key it lacks is nobody's.
    fn rejected(&self, why: NoKey) -> Rejected {
        match (why, &self.who) {
            (NoKey::OtherAlgorithm, _) => Denied::TokenAlgorithm.into(),
            (NoKey::Ambiguous, _) | (NoKey::Unknown, TokenIssuer::Own) => Denied::TokenKeyUnknown.into(),
            (NoKey::Unknown, TokenIssuer::Foreign(name)) => Rejected::UnknownKey(name.clone()),
        }
    }

    fn check_times(&self, token: &Token<'_>, now: UnixSeconds) -> Result<Validity, Denied> {
        let (expires, issued) = (token.claims.expires, token.claims.issued);
        if now >= expires.plus(self.late_seconds) {
            return Err(Denied::TokenExpired);
        }
        let starts =
            token.claims.not_before.max(issued).map_or(0, |starts| starts.0.saturating_sub(self.early_seconds));
        if now.0 < starts {
            return Err(Denied::TokenNotYetValid);
        }
        if expires.0.saturating_sub(issued.unwrap_or(now).0) > self.max_lifetime_seconds {
            return Err(Denied::TokenLifetime);
        }
        // A token without `iat` is short-lived only from here on, should the clock be set back.
        let short_lived_from = if issued.is_some() { 0 } else { expires.0.saturating_sub(self.max_lifetime_seconds) };
        Ok(Validity { from: UnixSeconds(starts.max(short_lived_from)), until: expires })
    }
}

#[expect(clippy::expect_used, reason = "the text is a constant that fits the rule for names")]
fn own_name() -> Name {
    Name::parse(TrustedIssuer::OWN_NAME).expect("a lower-case word")
}
