//! What the checks of one request share: a snapshot, a moment, and what this worker has verified before.

use std::cell::RefCell;
use std::sync::Arc;

use crate::model::refusal::Denied;
use crate::model::refusal::Failed;
use crate::model::time::UnixSeconds;
use crate::pipeline::Halt;
use crate::snapshot::Snapshot;
use crate::tokens::cache::VerifiedCache;
use crate::tokens::issuer::Rejected;
use crate::tokens::limited::LimitedToken;
use crate::tokens::limited::LimitedVerifier;
use crate::tokens::verify::ServiceVerifier;
use crate::tokens::verify::VerifiedToken;

/// By what a request is judged.
#[derive(Debug, Clone, Copy)]
pub struct Judge<'s> {
    /// The snapshot; the same for the whole request.
    pub snapshot: &'s Snapshot,
    /// When the request came.
    pub now: UnixSeconds,
    /// Tokens that were verified before.
    pub tokens: &'s Tokens,
}

/// Tokens that this worker has verified.
#[derive(Debug, Default)]
pub struct Tokens {
    service: RefCell<VerifiedCache<VerifiedToken>>,
    limited: RefCell<VerifiedCache<LimitedToken>>,
}

impl Tokens {
    /// Verifies a token for a service, or remembers that it did.
    ///
    /// # Errors
    /// A 401 row, or [`Halt::KeysWanted`] when the issuer's keys have to be fetched first.
    pub fn verify(
        &self,
        verifier: &ServiceVerifier,
        token: &str,
        now: UnixSeconds,
    ) -> Result<Arc<VerifiedToken>, Halt> {
        let verify = || verifier.verify(token, now);
        self.service.borrow_mut().find_or_verify(token, verifier.epoch(), now, verify).map_err(
            |rejected| match rejected {
                Rejected::Denied(why) => why.into(),
                Rejected::IssuerUnavailable(issuer) => {
                    Halt::KeysWanted { issuer, otherwise: Failed::IssuerUnavailable.into() }
                }
                Rejected::UnknownKey(issuer) => Halt::KeysWanted { issuer, otherwise: Denied::TokenKeyUnknown.into() },
            },
        )
    }

    /// Verifies a LimitedAccessToken, or remembers that it did.
    ///
    /// # Errors
    /// [`Denied::LimitedTokenInvalid`] or [`Denied::LimitedTokenExpired`].
    pub fn verify_limited(
        &self,
        verifier: &LimitedVerifier,
        token: &str,
        now: UnixSeconds,
    ) -> Result<Arc<LimitedToken>, Denied> {
        let verify = || verifier.verify(token, now);
        self.limited.borrow_mut().find_or_verify(token, verifier.epoch(), now, verify).map_err(Denied::from)
    }
}
