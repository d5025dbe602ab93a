//! Tokens that were verified a moment ago: a signature costs a hundred times what a look-up does.
//!
//! Only successes are kept: a sender of bad tokens must not be able to push good ones out. One cache
//! belongs to one worker, so that no request waits for another's.

use std::collections::HashMap;
use std::sync::Arc;

use crate::model::digest::Digest;
use crate::model::time::UnixSeconds;
use crate::tokens::Validity;

/// Something that was verified and can be taken again for a time.
pub trait Perishable {
    /// When it can be taken without being verified again.
    fn validity(&self) -> Validity;
}

/// What verifiers took, by the digest of the whole token and the verifier's epoch.
///
/// An entry is never read outside its validity or under another epoch, so a change of keys or rules makes
/// every older entry unreachable at once. Revocations are not in here: ask them each time.
///
/// Two generations bound it. What is used moves to the young one; when that is full it becomes the old
/// one, and what was old and unused is dropped. That is nearly as good as recency order, without the list.
#[derive(Debug)]
pub struct VerifiedCache<T> {
    young: HashMap<Key, Arc<T>>,
    old: HashMap<Key, Arc<T>>,
    generation_entries: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    token: Digest,
    epoch: u64,
}

impl<T: Perishable> VerifiedCache<T> {
    /// How many tokens are kept at most, unless said otherwise: about 4 MiB a worker for usual ones.
    pub const DEFAULT_ENTRIES: usize = 8192;

    /// An empty cache for at most this many tokens, and at least two. Memory is taken as it fills.
    #[must_use]
    pub fn new(entries: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), generation_entries: (entries / 2).max(1) }
    }

    /// What the token was found to be, by memory or by `verify`.
    ///
    /// # Errors
    /// Those of `verify`; they are not remembered.
    pub fn find_or_verify<E>(
        &mut self,
        token: &str,
        epoch: u64,
        now: UnixSeconds,
        verify: impl FnOnce() -> Result<Arc<T>, E>,
    ) -> Result<Arc<T>, E> {
        let key = Key { token: Digest::of(token.as_bytes()), epoch };
        if let Some(known) = self.find(key, now) {
            return Ok(known);
        }
        let verified = verify()?;
        // With leeway a token is taken when its own time is over. Such a one is verified each time.
        if verified.validity().holds(now) {
            self.keep(key, Arc::clone(&verified));
        }
        Ok(verified)
    }

    /// How many tokens are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// Whether none is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.young.is_empty() && self.old.is_empty()
    }

    fn find(&mut self, key: Key, now: UnixSeconds) -> Option<Arc<T>> {
        let known = match self.young.get(&key) {
            Some(known) => Arc::clone(known),
            None => {
                let known = self.old.remove(&key)?;
                self.keep(key, Arc::clone(&known));
                known
            }
        };
        known.validity().holds(now).then_some(known)
    }

    fn keep(&mut self, key: Key, verified: Arc<T>) {
        if self.young.len() >= self.generation_entries && !self.young.contains_key(&key) {
            std::mem::swap(&mut self.young, &mut self.old);
            self.young.clear();
        }
        self.young.insert(key, verified);
    }
}

impl<T: Perishable> Default for VerifiedCache<T> {
    fn default() -> Self {
        Self::new(Self::DEFAULT_ENTRIES)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::sync::Arc;

    use super::Perishable;
    use super::VerifiedCache;
    use crate::model::time::UnixSeconds;
    use crate::tokens::Validity;

    struct Taken(Validity);

    impl Perishable for Taken {
        fn validity(&self) -> Validity {
            self.0
        }
    }

    fn validity(from: u64, until: u64) -> Validity {
        Validity { from: UnixSeconds(from), until: UnixSeconds(until) }
    }

    /// Asks the cache, and says whether it had to verify.
    fn verifies(cache: &mut VerifiedCache<Taken>, token: &str, epoch: u64, now: u64) -> bool {
        let asked = Cell::new(false);
        let verified = cache.find_or_verify(token, epoch, UnixSeconds(now), || {
            asked.set(true);
            Ok::<_, ()>(Arc::new(Taken(validity(100, 200))))
        });
        assert!(verified.is_ok());
        asked.get()
    }

    #[test]
    fn an_entry_is_read_only_for_the_same_token_rules_and_time() {
        let mut cache = VerifiedCache::new(16);
        assert!(verifies(&mut cache, "token", 1, 150));
        for (token, epoch, now, again) in [
            ("token", 1, 150, false),
            ("token", 1, 199, false),
            ("token", 1, 100, false),
            ("token", 1, 200, true),
            ("token", 1, 99, true),
            ("token", 2, 150, true),
            ("token ", 1, 150, true),
            ("toke", 1, 150, true),
            ("Token", 1, 150, true),
        ] {
            assert_eq!(verifies(&mut cache, token, epoch, now), again, "{token:?} {epoch} {now}");
        }
    }

    #[test]
    fn a_failure_is_not_remembered() {
        let mut cache = VerifiedCache::<Taken>::new(16);
        for _ in 0..3 {
            assert_eq!(cache.find_or_verify("bad", 1, UnixSeconds(150), || Err("no")).err(), Some("no"));
        }
        assert!(cache.is_empty());
    }

    #[test]
    fn what_is_over_when_it_is_taken_is_not_kept() {
        let mut cache = VerifiedCache::new(16);
        assert!(verifies(&mut cache, "late", 1, 200));
        assert!(cache.is_empty());
    }

    #[test]
    fn the_cache_is_bounded_and_keeps_what_is_used() {
        let mut cache = VerifiedCache::new(100);
        assert!(verifies(&mut cache, "steady", 1, 150));
        for n in 0..10_000 {
            assert!(verifies(&mut cache, &format!("once-{n}"), 1, 150));
            assert!(!verifies(&mut cache, "steady", 1, 150), "after {n}");
            assert!(cache.len() <= 100, "{} after {n}", cache.len());
        }
    }
}
