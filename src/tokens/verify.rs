//! What one service asks of a token, and what it knows of the caller afterwards.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use crate::config::CallerResource;
use crate::config::TokenAuth;
use crate::config::TokenIssuer;
use crate::model::name::Name;
use crate::model::refusal::Denied;
use crate::model::resource::ResourceId;
use crate::model::time::UnixSeconds;
use crate::tokens::Validity;
use crate::tokens::cache::Perishable;
pub use crate::tokens::issuer::Rejected;
use crate::tokens::issuer::TrustedIssuer;
use crate::tokens::next_epoch;
use crate::tokens::revocation::TokenId;
use crate::tokens::shape::Claims;
use crate::tokens::shape::Token;

/// Judges the tokens that are presented to one service.
#[derive(Debug)]
pub struct ServiceVerifier {
    issuers: Vec<Arc<TrustedIssuer>>,
    audiences: Vec<String>,
    required_claims: BTreeMap<String, String>,
    /// The claim that names the caller's resource.
    resource_claim: Option<String>,
    epoch: u64,
}

/// What a token proved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedToken {
    /// Who issued it; [`TrustedIssuer::OWN_NAME`] for this gateway.
    pub issuer: Name,
    /// `sub`; empty where the token has none.
    pub subject: Arc<str>,
    /// `jti`.
    pub id: Option<Arc<str>>,
    /// `iss` and `jti` as revocations know them; `None` without `jti`.
    pub revocable: Option<TokenId>,
    /// `iat`.
    pub issued: Option<UnixSeconds>,
    /// `exp`.
    pub expires: UnixSeconds,
    /// The caller's resource, where the service names a claim for it and the token has that claim.
    pub resource: Option<ResourceId>,
    /// When it may be taken from a cache.
    pub validity: Validity,
}

impl Perishable for VerifiedToken {
    fn validity(&self) -> Validity {
        self.validity
    }
}

impl ServiceVerifier {
    /// Compiles what a service's configuration says; `issuers` are those that it names.
    #[must_use]
    pub fn new(issuers: Vec<Arc<TrustedIssuer>>, auth: &TokenAuth) -> Self {
        let resource_claim = match &auth.resource {
            Some(CallerResource::Claim(name)) => Some(name.clone()),
            Some(CallerResource::Fixed(_)) | None => None,
        };
        Self {
            issuers,
            audiences: auth.audiences.clone(),
            required_claims: auth.required_claims.clone(),
            resource_claim,
            epoch: next_epoch(),
        }
    }

    /// A number that no other verifier of this process has: what one verifier took is never read from a cache as
    /// taken by another, be it another service's, or the same service's with other keys or rules.
    ///
    /// A verifier that equals its predecessor is better replaced by it, so that what was cached stays of use.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The foreign issuers that the service accepts.
    pub fn foreign_issuers(&self) -> impl Iterator<Item = &Name> {
        self.issuers.iter().filter_map(|issuer| match issuer.who() {
            TokenIssuer::Own => None,
            TokenIssuer::Foreign(name) => Some(name),
        })
    }

    /// Judges a token, whole, at this moment.
    ///
    /// # Errors
    /// [`Rejected::Denied`] with the first rule that it breaks: form, issuer, type, algorithm, key, signature, times,
    /// audience, claims. [`Rejected::IssuerUnavailable`] and [`Rejected::UnknownKey`] where its issuer's keys are
    /// missing or may be out of date.
    pub fn verify(&self, token: &str, now: UnixSeconds) -> Result<Arc<VerifiedToken>, Rejected> {
        let token = Token::read(token)?;
        let issuer = self.issuer_of(&token.claims)?;
        let validity = issuer.authenticate(&token, now)?;
        self.check_audience(&token.claims)?;
        self.check_required(&token.claims)?;
        let resource = self.resource_of(&token.claims)?;
        let Claims { issuer: iss, subject, id, issued, expires, .. } = token.claims;
        Ok(Arc::new(VerifiedToken {
            issuer: issuer.name().clone(),
            subject: subject.unwrap_or_default().into(),
            revocable: id.as_deref().map(|id| TokenId::of(&iss, id)),
            id: id.map(Arc::from),
            issued,
            expires,
            resource,
            validity,
        }))
    }

    fn issuer_of(&self, claims: &Claims) -> Result<&TrustedIssuer, Denied> {
        let named = self.issuers.iter().find(|issuer| issuer.issuer() == claims.issuer);
        named.map(Arc::as_ref).ok_or(Denied::TokenIssuer)
    }

    fn check_audience(&self, claims: &Claims) -> Result<(), Denied> {
        let named = claims.audiences.iter().any(|audience| self.audiences.contains(audience));
        if named { Ok(()) } else { Err(Denied::TokenAudience) }
    }

    fn check_required(&self, claims: &Claims) -> Result<(), Denied> {
        let all = self.required_claims.iter().all(|(claim, wanted)| claims.names(claim, wanted));
        if all { Ok(()) } else { Err(Denied::TokenClaim) }
    }

    /// A caller without the claim has no resource, and so no features; one that cannot be read is refused.
    fn resource_of(&self, claims: &Claims) -> Result<Option<ResourceId>, Denied> {
        match self.resource_claim.as_deref().and_then(|claim| claims.get(claim)) {
            None => Ok(None),
            Some(Value::String(text)) => {
                ResourceId::parse(text).map(Some).map_err(|_not_a_resource| Denied::TokenClaim)
            }
            Some(_) => Err(Denied::TokenClaim),
        }
    }
}

/// The same issuers, keys and rules; only the epochs differ.
impl PartialEq for ServiceVerifier {
    fn eq(&self, other: &Self) -> bool {
        let Self { issuers, audiences, required_claims, resource_claim, epoch: _ } = self;
        *issuers == other.issuers
            && *audiences == other.audiences
            && *required_claims == other.required_claims
            && *resource_claim == other.resource_claim
    }
}

impl Eq for ServiceVerifier {}

#[cfg(test)]
mod tests;
