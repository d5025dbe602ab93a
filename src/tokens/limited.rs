//! LimitedAccessTokens: a vendor's loan of features to one resource, for a short time.
//!
//! Azure publishes neither the claims nor the error bodies; the claims follow the style of its sibling
//! token for Cognitive Services (`azure-resource-id`, `urn:` names). What the vendor may lend is checked
//! where tokens are issued and again at each use, not here: a token is proof of what was lent, no more.

use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use crate::model::feature::FeatureNames;
use crate::model::feature::FeatureSet;
use crate::model::name::Name;
use crate::model::refusal::Denied;
use crate::model::resource::ResourceId;
use crate::model::time::UnixSeconds;
use crate::tokens::Validity;
use crate::tokens::cache::Perishable;
use crate::tokens::issue::Issued;
use crate::tokens::issue::new_id;
use crate::tokens::issuer::Rejected;
use crate::tokens::issuer::TrustedIssuer;
use crate::tokens::next_epoch;
use crate::tokens::own_keys::OwnKeys;
use crate::tokens::revocation::TokenId;
use crate::tokens::shape::Claims;
use crate::tokens::shape::Token;
use crate::tokens::signing::SigningFailed;
use crate::tokens::signing::SigningKey;

/// `typ` of a LimitedAccessToken.
const MEDIA_TYPE: &str = "limited-access+jwt";

/// `aud` of a LimitedAccessToken: no service can be configured to be meant by it without saying so.
const AUDIENCE: &str = "urn:scoregate:limited-access";

/// How long a LimitedAccessToken lives: 60 to 86,400 seconds, as in Azure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitedLifetime(u32);

impl LimitedLifetime {
    /// Shortest life, in seconds.
    pub const MIN_SECONDS: u32 = 60;

    /// Longest life, in seconds: one day.
    pub const MAX_SECONDS: u32 = 86_400;

    /// One hour.
    pub const DEFAULT: Self = Self(3600);

    /// `None` outside the range.
    #[must_use]
    pub fn from_seconds(seconds: u32) -> Option<Self> {
        (Self::MIN_SECONDS..=Self::MAX_SECONDS).contains(&seconds).then_some(Self(seconds))
    }

    /// In seconds.
    #[must_use]
    pub const fn as_seconds(self) -> u32 {
        self.0
    }
}

/// What a vendor lends.
#[derive(Debug, Clone, Copy)]
pub struct Loan<'a> {
    /// The vendor's account.
    pub isv: &'a Name,
    /// The vendor's own resource.
    pub isv_resource: &'a ResourceId,
    /// The resource that may use the flags.
    pub target: &'a ResourceId,
    /// The flags.
    pub flags: FeatureSet,
    /// For how long.
    pub lifetime: LimitedLifetime,
}

#[derive(Serialize)]
struct LimitedClaims<'a> {
    iss: &'a str,
    aud: &'static str,
    #[serde(rename = "azure-resource-id")]
    target: &'a str,
    #[serde(rename = "feature-flags")]
    flags: Vec<&'a str>,
    isv: &'a str,
    #[serde(rename = "isv-resource-id")]
    isv_resource: &'a str,
    jti: &'a str,
    iat: UnixSeconds,
    exp: UnixSeconds,
}

/// Issues a LimitedAccessToken. Whether the vendor holds the flags is for the caller to have checked.
///
/// # Errors
/// [`SigningFailed`] when the system's randomness or the signature fails.
pub fn issue_limited_token(
    key: &SigningKey,
    issuer: &str,
    loan: &Loan<'_>,
    names: &FeatureNames,
    now: UnixSeconds,
) -> Result<Issued, SigningFailed> {
    let id = new_id()?;
    let expires = now.plus(loan.lifetime.0.into());
    let claims = LimitedClaims {
        iss: issuer,
        aud: AUDIENCE,
        target: loan.target.as_str(),
        flags: names.names_of(loan.flags).collect(),
        isv: loan.isv.as_str(),
        isv_resource: loan.isv_resource.as_str(),
        jti: &id,
        iat: now,
        exp: expires,
    };
    let jwt = key.sign(MEDIA_TYPE, &claims)?;
    Ok(Issued { jwt, id, issued: now, expires })
}

/// Judges LimitedAccessTokens.
#[derive(Debug)]
pub struct LimitedVerifier {
    issuer: TrustedIssuer,
    features: FeatureNames,
    epoch: u64,
}

/// What a LimitedAccessToken proved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitedToken {
    /// Who may use it.
    pub target: ResourceId,
    /// What was lent, as far as this gateway knows the flags.
    pub flags: FeatureSet,
    /// Whose ceiling bounds it.
    pub isv: Name,
    /// `jti`.
    pub id: Arc<str>,
    /// `iss` and `jti` as revocations know them.
    pub revocable: TokenId,
    /// `iat`.
    pub issued: UnixSeconds,
    /// `exp`.
    pub expires: UnixSeconds,
    /// `iss`.
    pub issuer: Arc<str>,
    /// When it may be taken from a cache.
    pub validity: Validity,
}

impl Perishable for LimitedToken {
    fn validity(&self) -> Validity {
        self.validity
    }
}

/// Why a LimitedAccessToken is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitedRejected {
    /// It cannot be read, or is not one that this gateway issued.
    Invalid,
    /// It is one of ours, and over.
    Expired,
}

impl From<LimitedRejected> for Denied {
    fn from(why: LimitedRejected) -> Self {
        match why {
            LimitedRejected::Invalid => Self::LimitedTokenInvalid,
            LimitedRejected::Expired => Self::LimitedTokenExpired,
        }
    }
}

impl LimitedVerifier {
    /// A verifier of what this gateway and its replicas issue under `issuer`.
    #[must_use]
    pub fn new(issuer: &str, keys: &OwnKeys, features: FeatureNames) -> Self {
        let issuer = TrustedIssuer::own(issuer, MEDIA_TYPE, LimitedLifetime::MAX_SECONDS.into(), keys);
        Self { issuer, features, epoch: next_epoch() }
    }

    /// A number that no other verifier of this process has; see
    /// [`ServiceVerifier::epoch`](crate::tokens::verify::ServiceVerifier::epoch).
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Judges a token, whole, at this moment. Flags that this gateway does not know are left out.
    ///
    /// # Errors
    /// [`LimitedRejected::Expired`] for a token of ours that is over, [`LimitedRejected::Invalid`] for everything else.
    pub fn verify(&self, token: &str, now: UnixSeconds) -> Result<Arc<LimitedToken>, LimitedRejected> {
        let token = Token::read(token).map_err(|_why| LimitedRejected::Invalid)?;
        if token.claims.issuer != self.issuer.issuer() {
            return Err(LimitedRejected::Invalid);
        }
        let validity = self.issuer.authenticate(&token, now).map_err(|why| match why {
            Rejected::Denied(Denied::TokenExpired) => LimitedRejected::Expired,
            Rejected::Denied(_) | Rejected::IssuerUnavailable(_) | Rejected::UnknownKey(_) => LimitedRejected::Invalid,
        })?;
        self.read(&token.claims, validity).map(Arc::new).ok_or(LimitedRejected::Invalid)
    }

    /// The claims are ours, and read as strictly as a stranger's: an older release may have written them.
    fn read(&self, claims: &Claims, validity: Validity) -> Option<LimitedToken> {
        if claims.audiences != [AUDIENCE] {
            return None;
        }
        let id = claims.id.as_deref()?;
        Some(LimitedToken {
            target: ResourceId::parse(claims.get("azure-resource-id")?.as_str()?).ok()?,
            flags: self.flags(claims.get("feature-flags")?)?,
            isv: Name::parse(claims.get("isv")?.as_str()?).ok()?,
            revocable: TokenId::of(&claims.issuer, id),
            id: id.into(),
            issued: claims.issued?,
            expires: claims.expires,
            issuer: claims.issuer.as_str().into(),
            validity,
        })
    }

    fn flags(&self, listed: &Value) -> Option<FeatureSet> {
        listed.as_array()?.iter().try_fold(FeatureSet::EMPTY, |flags, name| {
            let known = self.features.find(name.as_str()?).unwrap_or(FeatureSet::EMPTY);
            Some(flags.union(known))
        })
    }
}

/// The same keys and flags; only the epochs differ.
impl PartialEq for LimitedVerifier {
    fn eq(&self, other: &Self) -> bool {
        let Self { issuer, features, epoch: _ } = self;
        *issuer == other.issuer && *features == other.features
    }
}

impl Eq for LimitedVerifier {}

#[cfg(test)]
mod tests;
