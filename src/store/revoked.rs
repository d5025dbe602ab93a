//! What is revoked, as every request asks it: one table, which the state and its snapshots share.
//!
//! Single tokens may be a million, so that they are kept by digest alone, in sorted runs of a few hundred. A change
//! copies the run that it falls into, and no other.

use std::collections::HashMap;
use std::sync::Arc;

use super::records::{RevocationRecord, Revoked};
use crate::model::digest::Digest;
use crate::model::name::Name;
use crate::model::resource::ResourceId;
use crate::model::time::UnixSeconds;

/// How many runs there are: a million tokens make runs of 244.
const RUNS: u16 = 4096;

/// Everything that is revoked. A look-up costs much the same for one entry and a million.
#[derive(Debug, Clone)]
pub struct Revocations {
    tokens: Vec<Arc<[Single]>>,
    resources: HashMap<ResourceId, Cutoff>,
    isvs: HashMap<Name, Cutoff>,
}

#[derive(Debug, Clone, Copy)]
struct Single {
    digest: Digest,
    expires: UnixSeconds,
}

#[derive(Debug, Clone, Copy)]
struct Cutoff {
    digest: Digest,
    issued_up_to: UnixSeconds,
    expires: UnixSeconds,
}

impl Default for Revocations {
    fn default() -> Self {
        let tokens = vec![Arc::default(); usize::from(RUNS)];
        Self { tokens, resources: HashMap::new(), isvs: HashMap::new() }
    }
}

impl Revocations {
    /// Takes a record over, in place of what has the same digest, which is that of what it revokes.
    pub fn put(&mut self, digest: Digest, record: RevocationRecord) {
        let RevocationRecord { revoked, issued_before: issued_up_to, expires, why: _ } = record;
        match revoked {
            Revoked::Jti { iss: _, jti: _ } => self.put_token(Single { digest, expires }),
            Revoked::Resource(resource) => {
                self.resources.insert(resource, Cutoff { digest, issued_up_to, expires });
            }
            Revoked::Isv(isv) => {
                self.isvs.insert(isv, Cutoff { digest, issued_up_to, expires });
            }
        }
    }

    /// Forgets what has this digest.
    pub fn remove(&mut self, digest: &Digest) {
        let run = self.tokens.get_mut(run_of(digest));
        if let Some((run, at)) = run.and_then(|run| find(run, digest).ok().map(|at| (run, at))) {
            let (before, from) = run.split_at(at);
            *run = [before, from.get(1..).unwrap_or_default()].concat().into();
            return;
        }
        self.resources.retain(|_, cutoff| cutoff.digest != *digest);
        self.isvs.retain(|_, cutoff| cutoff.digest != *digest);
    }

    /// Whether the token is revoked by itself whose `iss` and `jti` have this digest.
    #[must_use]
    pub fn has_token(&self, digest: &Digest, now: UnixSeconds) -> bool {
        let run = self.tokens.get(run_of(digest));
        let found = run.and_then(|run| run.get(find(run, digest).ok()?));
        found.is_some_and(|single| now < single.expires)
    }

    /// Whether a token for this resource is revoked. One that says no time counts as issued before.
    #[must_use]
    pub fn has_resource(&self, resource: &ResourceId, issued: Option<UnixSeconds>, now: UnixSeconds) -> bool {
        self.resources.get(resource).is_some_and(|cutoff| cutoff.covers(issued, now))
    }

    /// Whether a LimitedAccessToken of this vendor is revoked.
    #[must_use]
    pub fn has_isv(&self, isv: &Name, issued: UnixSeconds, now: UnixSeconds) -> bool {
        self.isvs.get(isv).is_some_and(|cutoff| cutoff.covers(Some(issued), now))
    }

    /// The digests of what no living token can meet any more.
    pub fn expired(&self, now: UnixSeconds) -> impl Iterator<Item = Digest> {
        let singles = self.tokens.iter().flat_map(|run| run.iter()).map(|single| (single.digest, single.expires));
        let cutoffs = self.resources.values().chain(self.isvs.values()).map(|cutoff| (cutoff.digest, cutoff.expires));
        singles.chain(cutoffs).filter(move |(_, expires)| *expires <= now).map(|(digest, _)| digest)
    }

    /// How many entries there are, of all three kinds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tokens.iter().map(|run| run.len()).sum::<usize>() + self.resources.len() + self.isvs.len()
    }

    /// Whether nothing is revoked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn put_token(&mut self, single: Single) {
        let Some(run) = self.tokens.get_mut(run_of(&single.digest)) else { return };
        let (at, replaced) = find(run, &single.digest).map_or_else(|at| (at, 0), |at| (at, 1));
        let (before, from) = run.split_at(at);
        *run = [before, &[single], from.get(replaced..).unwrap_or_default()].concat().into();
    }
}

impl Cutoff {
    fn covers(&self, issued: Option<UnixSeconds>, now: UnixSeconds) -> bool {
        now < self.expires && issued.is_none_or(|issued| issued <= self.issued_up_to)
    }
}

fn run_of(digest: &Digest) -> usize {
    let [first, second, ..] = *digest.as_bytes();
    usize::from(u16::from_le_bytes([first, second]) % RUNS)
}

fn find(run: &[Single], digest: &Digest) -> Result<usize, usize> {
    run.binary_search_by(|single| single.digest.as_bytes().cmp(digest.as_bytes()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use super::{Revocations, Single};
    use crate::model::digest::Digest;
    use crate::model::time::UnixSeconds;

    const NOW: UnixSeconds = UnixSeconds(999);

    fn single(number: u64, expires: u64) -> Single {
        Single { digest: Digest::of(&number.to_le_bytes()), expires: UnixSeconds(expires) }
    }

    #[test]
    fn a_million_tokens_take_less_than_64_mib_in_a_state_and_its_snapshots_together() {
        let mut state = Arc::new(Revocations::default());
        for number in 0..1_000_000 {
            Arc::make_mut(&mut state).put_token(single(number, 1000));
        }
        let before = Arc::clone(&state);
        Arc::make_mut(&mut state).put_token(single(1_000_000, 1000));
        assert_eq!((before.len(), state.len()), (1_000_000, 1_000_001));
        // What both hold counts once.
        let runs: BTreeMap<_, _> =
            before.tokens.iter().chain(&state.tokens).map(|run| (run.as_ptr(), run.len())).collect();
        assert_eq!(runs.len(), before.tokens.len() + 1, "one change copies one run");
        let tables = 2 * before.tokens.capacity() * size_of::<Arc<[Single]>>();
        let counts = runs.len() * 2 * size_of::<usize>();
        let taken = tables + counts + runs.values().sum::<usize>() * size_of::<Single>();
        assert!(taken < 64 << 20, "{taken} bytes");
        for (number, known, added) in [(0, true, true), (999_999, true, true), (1_000_000, false, true)] {
            let digest = single(number, 0).digest;
            assert_eq!((before.has_token(&digest, NOW), state.has_token(&digest, NOW)), (known, added), "{number}");
        }
        let falsely = (1_000_001..1_100_000).filter(|number| state.has_token(&single(*number, 0).digest, NOW));
        assert_eq!(falsely.count(), 0);
    }

    #[test]
    fn a_token_that_is_put_again_or_removed_leaves_the_others() {
        let mut revocations = Revocations::default();
        for number in 0..20_000 {
            revocations.put_token(single(number, 1));
        }
        for number in 0..20_000 {
            match number % 4 {
                0 => revocations.remove(&single(number, 0).digest),
                1 => revocations.put_token(single(number, 1000)),
                _ => {}
            }
        }
        assert_eq!(revocations.len(), 15_000);
        assert_eq!(revocations.expired(NOW).count(), 10_000);
        for number in 0..20_000 {
            let digest = single(number, 0).digest;
            assert_eq!(revocations.has_token(&digest, NOW), number % 4 == 1, "{number}");
            assert_eq!(revocations.has_token(&digest, UnixSeconds(0)), number % 4 != 0, "{number}");
        }
    }
}
