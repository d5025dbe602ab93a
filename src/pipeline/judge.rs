//! What the checks of one request share: a snapshot, a moment, and what this worker has verified before.

use std::cell::Cell;
use std::cell::RefCell;
use std::sync::Arc;

use tokio::time::Instant;

use crate::model::refusal::Denied;
use crate::model::refusal::Failed;
use crate::model::time::UnixSeconds;
use crate::observe::metrics::CacheAnswer;
use crate::observe::metrics::GatewayMetrics;
use crate::pipeline::Halt;
use crate::snapshot::Snapshot;
use crate::tokens::cache::Perishable;
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
    /// Where verifications are counted.
    pub metrics: &'s GatewayMetrics,
}

impl Judge<'_> {
    /// Verifies a token for a service, or remembers that it did.
    ///
    /// # Errors
    /// A 401 row, or [`Halt::KeysWanted`] when the issuer's keys have to be fetched first.
    pub fn token(&self, verifier: &ServiceVerifier, token: &str) -> Result<Arc<VerifiedToken>, Halt> {
        let verify = || verifier.verify(token, self.now);
        self.remembered(&self.tokens.service, token, verifier.epoch(), verify).map_err(|rejected| match rejected {
            Rejected::Denied(why) => why.into(),
            Rejected::IssuerUnavailable(issuer) => {
                Halt::KeysWanted { issuer, otherwise: Failed::IssuerUnavailable.into() }
            }
            Rejected::UnknownKey(issuer) => Halt::KeysWanted { issuer, otherwise: Denied::TokenKeyUnknown.into() },
        })
    }

    /// Verifies a LimitedAccessToken, or remembers that it did.
    ///
    /// # Errors
    /// [`Denied::LimitedTokenInvalid`] or [`Denied::LimitedTokenExpired`].
    pub fn limited_token(&self, verifier: &LimitedVerifier, token: &str) -> Result<Arc<LimitedToken>, Denied> {
        let verify = || verifier.verify(token, self.now);
        self.remembered(&self.tokens.limited, token, verifier.epoch(), verify).map_err(Denied::from)
    }

    fn remembered<T: Perishable, E>(
        &self,
        cache: &RefCell<VerifiedCache<T>>,
        token: &str,
        epoch: u64,
        verify: impl FnOnce() -> Result<Arc<T>, E>,
    ) -> Result<Arc<T>, E> {
        let mut answer = CacheAnswer::Hit;
        let found = cache.borrow_mut().find_or_verify(token, epoch, self.now, || {
            answer = CacheAnswer::Miss;
            let begun = Instant::now();
            let verified = verify();
            self.metrics.token_verified(begun.elapsed());
            verified
        });
        self.metrics.token_looked_up(answer);
        found
    }
}

/// Tokens that this worker has verified.
#[derive(Debug, Default)]
pub struct Tokens {
    service: RefCell<VerifiedCache<VerifiedToken>>,
    limited: RefCell<VerifiedCache<LimitedToken>>,
    counted: Cell<i64>,
}

impl Tokens {
    /// Says how many tokens are kept, to be called now and then.
    pub fn count(&self, metrics: &GatewayMetrics) {
        let kept = self.service.borrow().len() + self.limited.borrow().len();
        let kept = i64::try_from(kept).unwrap_or(i64::MAX);
        metrics.token_cache_grew(kept - self.counted.replace(kept));
    }
}
