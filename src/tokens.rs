//! JSON Web Tokens: verifying them, issuing them, publishing keys, revoking. The only place that names
//! `jsonwebtoken`.
//!
//! A presented token is read once, by [`shape`]'s strict parser, and every rule is judged from what that
//! parser read; `jsonwebtoken` is asked for signatures only. Its own `decode` would parse header and
//! claims a second time with laxer rules, ask the system's clock where ours is an argument, and leave
//! `nbf`, `crit`, `typ` and a missing `aud` unjudged: two parsers of one token are two opinions of it.
//! Algorithm and key come from the configuration and the issuer's key set, never from the token
//! (RFC 8725 §3.1); what a token says about itself can only make it fail.
//!
//! Nothing in here asks the clock, touches a file or opens a connection.

mod algorithm;
pub mod cache;
#[cfg(test)]
mod forge;
pub mod issue;
pub mod issue_request;
pub mod issuer;
mod json;
pub mod jwks;
pub mod limited;
pub mod own_keys;
pub mod revocation;
pub mod said;
mod shape;
pub mod signing;
pub mod verify;

use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use crate::model::time::UnixSeconds;

/// Chooses aws-lc for `jsonwebtoken`, once for the process; later calls do nothing.
///
/// Without a choice the library guesses from the features that the whole build turned on, and panics at the
/// first token when some dependency has turned on a second backend.
pub fn install_crypto_provider() {
    static INSTALLED: OnceLock<()> = OnceLock::new();
    INSTALLED.get_or_init(|| {
        // The only error is that a provider was chosen before, and then there is one.
        jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default().ok();
    });
}

/// The time in which a token can be taken as it is: from `from`, and before `until`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// The first second.
    pub from: UnixSeconds,
    /// The first second in which it is over: the token's `exp`, without leeway.
    pub until: UnixSeconds,
}

impl Validity {
    /// Whether `now` lies in it.
    #[must_use]
    pub fn holds(self, now: UnixSeconds) -> bool {
        self.from <= now && now < self.until
    }
}

/// A number that no verifier had before in this process; see [`verify::ServiceVerifier::epoch`].
fn next_epoch() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    LAST.fetch_add(1, Ordering::Relaxed)
}
