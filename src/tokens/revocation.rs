//! Tokens that are cut off before their time: one by one, by resource, or by vendor.
//!
//! Asked at every use, after the cache: a token that was verified a second ago is refused all the same.

use std::collections::HashMap;
use std::sync::Arc;

use crate::model::digest::Digest;
use crate::model::name::Name;
use crate::model::resource::ResourceId;
use crate::model::time::UnixSeconds;
use crate::tokens::limited::LimitedToken;
use crate::tokens::verify::VerifiedToken;

/// A token as revocations know it: the first 128 bits of the SHA-256 of its `iss` and `jti`.
///
/// No revoked token is ever missed, since equal tokens have equal identities. That another one is met by accident has,
/// with a million entries, the odds of 1 in 3·10³² at each look-up; and who makes two of their own tokens collide
/// (2⁶⁴ work) gains that revoking one revokes the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenId([u8; 16]);

impl TokenId {
    /// The identity of the token with this `iss` and `jti`.
    #[must_use]
    pub fn of(issuer: &str, id: &str) -> Self {
        // The length keeps ("ab", "c") and ("a", "bc") apart.
        let mut joined = Vec::with_capacity(8 + issuer.len() + id.len());
        joined.extend_from_slice(&(issuer.len() as u64).to_le_bytes());
        joined.extend_from_slice(issuer.as_bytes());
        joined.extend_from_slice(id.as_bytes());
        let digest = Digest::of(&joined);
        let mut first_half = [0; 16];
        for (to, from) in first_half.iter_mut().zip(digest.as_bytes()) {
            *to = *from;
        }
        Self(first_half)
    }
}

/// What is cut off, and until when that must be remembered: no token that it concerns outlives `until`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Revocation {
    /// One token.
    Token {
        /// Which.
        token: TokenId,
        /// Its `exp`, or later.
        until: UnixSeconds,
    },
    /// Tokens for a resource.
    Resource {
        /// Which resource.
        resource: ResourceId,
        /// Those issued up to and in this second; one that says no time counts as issued before.
        issued_up_to: UnixSeconds,
        /// The last `exp` that such a token can have, or later.
        until: UnixSeconds,
    },
    /// LimitedAccessTokens of a vendor.
    Isv {
        /// The vendor's account.
        isv: Name,
        /// Those issued up to and in this second.
        issued_up_to: UnixSeconds,
        /// The last `exp` that such a token can have, or later.
        until: UnixSeconds,
    },
}

/// Everything that is cut off. A look-up costs the same for one entry and a million.
///
/// A clone is cheap: most single tokens lie in a table that clones share. New ones gather beside it and are merged when
/// they are an eighth of it, so that adding one to a million copies a table once in a hundred thousand times.
#[derive(Debug, Clone, Default)]
pub struct Revocations {
    settled: Arc<HashMap<TokenId, UnixSeconds>>,
    recent: HashMap<TokenId, UnixSeconds>,
    resources: HashMap<ResourceId, Cutoff>,
    isvs: HashMap<Name, Cutoff>,
}

#[derive(Debug, Clone, Copy)]
struct Cutoff {
    issued_up_to: UnixSeconds,
    until: UnixSeconds,
}

impl Revocations {
    /// Recent tokens that are looked after before a merge is worth its copy.
    const FEWEST_TO_MERGE: usize = 1024;

    /// Cuts off. What was cut off further stays so.
    pub fn add(&mut self, revocation: Revocation) {
        match revocation {
            Revocation::Token { token, until } => {
                let known = self.recent.entry(token).or_insert(until);
                *known = until.max(*known);
                if self.recent.len() >= Self::FEWEST_TO_MERGE.max(self.settled.len() / 8) {
                    self.settle();
                }
            }
            Revocation::Resource { resource, issued_up_to, until } => {
                let cutoff = Cutoff { issued_up_to, until };
                self.resources.entry(resource).and_modify(|known| known.widen(cutoff)).or_insert(cutoff);
            }
            Revocation::Isv { isv, issued_up_to, until } => {
                let cutoff = Cutoff { issued_up_to, until };
                self.isvs.entry(isv).and_modify(|known| known.widen(cutoff)).or_insert(cutoff);
            }
        }
    }

    /// Drops what no living token can meet any more.
    pub fn forget_expired(&mut self, now: UnixSeconds) {
        self.recent.retain(|_, until| now < *until);
        self.resources.retain(|_, cutoff| now < cutoff.until);
        self.isvs.retain(|_, cutoff| now < cutoff.until);
        if self.settled.values().any(|until| *until <= now) {
            let living = self.settled.iter().filter(|(_, until)| now < **until);
            self.settled = Arc::new(living.map(|(token, until)| (*token, *until)).collect());
        }
    }

    /// Whether a service token is cut off: by itself, or by its caller's resource.
    #[must_use]
    pub fn cover(&self, token: &VerifiedToken) -> bool {
        let by_resource = token.resource.as_ref().and_then(|resource| self.resources.get(resource));
        token.revocable.is_some_and(|id| self.names(id))
            || by_resource.is_some_and(|cutoff| cutoff.covers(token.issued))
    }

    /// Whether a LimitedAccessToken is cut off: by itself, by its target, or by its vendor.
    #[must_use]
    pub fn cover_limited(&self, token: &LimitedToken) -> bool {
        let cutoffs = [self.resources.get(&token.target), self.isvs.get(&token.isv)];
        self.names(token.revocable) || cutoffs.into_iter().flatten().any(|cutoff| cutoff.covers(Some(token.issued)))
    }

    /// How many entries are kept, of all three kinds. One that was added again before a merge counts twice.
    #[must_use]
    pub fn len(&self) -> usize {
        self.settled.len() + self.recent.len() + self.resources.len() + self.isvs.len()
    }

    /// Whether nothing is cut off.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn names(&self, token: TokenId) -> bool {
        self.recent.contains_key(&token) || self.settled.contains_key(&token)
    }

    fn settle(&mut self) {
        let settled = Arc::make_mut(&mut self.settled);
        settled.reserve(self.recent.len());
        for (token, until) in self.recent.drain() {
            let known = settled.entry(token).or_insert(until);
            *known = until.max(*known);
        }
        self.recent.shrink_to(Self::FEWEST_TO_MERGE);
    }
}

impl Cutoff {
    fn widen(&mut self, other: Self) {
        self.issued_up_to = self.issued_up_to.max(other.issued_up_to);
        self.until = self.until.max(other.until);
    }

    fn covers(self, issued: Option<UnixSeconds>) -> bool {
        issued.is_none_or(|issued| issued <= self.issued_up_to)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Arc;

    use super::Revocation;
    use super::Revocations;
    use super::TokenId;
    use crate::model::feature::FeatureSet;
    use crate::model::name::Name;
    use crate::model::resource::ResourceId;
    use crate::model::time::UnixSeconds;
    use crate::tokens::Validity;
    use crate::tokens::limited::LimitedToken;
    use crate::tokens::verify::VerifiedToken;

    const UNTIL: UnixSeconds = UnixSeconds(1000);

    fn validity() -> Validity {
        Validity { from: UnixSeconds(0), until: UNTIL }
    }

    fn service(id: Option<&str>, resource: Option<&str>, issued: Option<u64>) -> VerifiedToken {
        VerifiedToken {
            issuer: Name::parse("own").unwrap(),
            subject: "s".into(),
            id: id.map(Arc::from),
            revocable: id.map(|id| TokenId::of("iss", id)),
            issued: issued.map(UnixSeconds),
            expires: UNTIL,
            resource: resource.map(|text| ResourceId::parse(text).unwrap()),
            validity: validity(),
        }
    }

    fn limited(id: &str, target: &str, isv: &str, issued: u64) -> LimitedToken {
        LimitedToken {
            target: ResourceId::parse(target).unwrap(),
            flags: FeatureSet::EMPTY,
            isv: Name::parse(isv).unwrap(),
            id: id.into(),
            revocable: TokenId::of("iss", id),
            issued: UnixSeconds(issued),
            expires: UNTIL,
            issuer: "iss".into(),
            validity: validity(),
        }
    }

    fn revocations() -> Revocations {
        let mut revocations = Revocations::default();
        revocations.add(Revocation::Token { token: TokenId::of("iss", "cut"), until: UNTIL });
        revocations.add(Revocation::Resource {
            resource: ResourceId::parse("/a/cut").unwrap(),
            issued_up_to: UnixSeconds(500),
            until: UNTIL,
        });
        revocations.add(Revocation::Isv {
            isv: Name::parse("cut").unwrap(),
            issued_up_to: UnixSeconds(500),
            until: UNTIL,
        });
        revocations
    }

    #[test]
    fn a_service_token_is_cut_off_by_itself_or_by_its_resource() {
        let revocations = revocations();
        for (id, resource, issued, cut) in [
            (Some("cut"), None, Some(900), true),
            (Some("Cut"), None, Some(1), false),
            (Some("other"), None, Some(1), false),
            (None, None, None, false),
            (None, Some("/a/cut"), Some(499), true),
            (None, Some("/A/CUT/"), Some(500), true),
            (None, Some("/a/cut"), None, true),
            (None, Some("/a/cut"), Some(501), false),
            (None, Some("/a/other"), Some(1), false),
        ] {
            let row = format!("{id:?} {resource:?} {issued:?}");
            assert_eq!(revocations.cover(&service(id, resource, issued)), cut, "{row}");
        }
    }

    #[test]
    fn a_limited_token_is_cut_off_by_itself_its_target_or_its_vendor() {
        let revocations = revocations();
        for (id, target, isv, issued, cut) in [
            ("cut", "/a/other", "other", 900, true),
            ("other", "/a/cut", "other", 500, true),
            ("other", "/a/cut", "other", 501, false),
            ("other", "/a/other", "cut", 500, true),
            ("other", "/a/other", "cut", 501, false),
            ("other", "/a/other", "other", 1, false),
        ] {
            let token = limited(id, target, isv, issued);
            assert_eq!(revocations.cover_limited(&token), cut, "{id} {target} {isv} {issued}");
        }
    }

    #[test]
    fn issuer_and_id_are_kept_apart() {
        assert_ne!(TokenId::of("ab", "c"), TokenId::of("a", "bc"));
        assert_ne!(TokenId::of("iss", "cut"), TokenId::of("other", "cut"));
        assert_eq!(TokenId::of("iss", "cut"), TokenId::of("iss", "cut"));
    }

    #[test]
    fn cutting_off_again_never_takes_anything_back() {
        let mut revocations = revocations();
        revocations.add(Revocation::Resource {
            resource: ResourceId::parse("/a/cut").unwrap(),
            issued_up_to: UnixSeconds(100),
            until: UnixSeconds(600),
        });
        revocations.add(Revocation::Token { token: TokenId::of("iss", "cut"), until: UnixSeconds(1) });
        revocations.forget_expired(UnixSeconds(999));
        assert!(revocations.cover(&service(None, Some("/a/cut"), Some(500))));
        assert!(revocations.cover(&service(Some("cut"), None, None)));
    }

    #[test]
    fn an_entry_is_dropped_when_no_token_can_meet_it() {
        let mut revocations = revocations();
        for n in 0..3000 {
            revocations.add(Revocation::Token { token: TokenId::of("iss", &n.to_string()), until: UnixSeconds(n) });
        }
        let shared = revocations.clone();
        revocations.forget_expired(UnixSeconds(999));
        assert_eq!(revocations.len(), 3 + 2000);
        revocations.forget_expired(UnixSeconds(5000));
        assert!(revocations.is_empty());
        assert_eq!(shared.len(), 3 + 3000, "a clone keeps what it had");
    }

    #[test]
    fn a_million_tokens_take_less_than_64_mib() {
        let mut revocations = Revocations::default();
        for n in 0..1_000_000_u64 {
            let mut bits = [0; 16];
            bits[..8].copy_from_slice(&n.to_le_bytes());
            revocations.add(Revocation::Token { token: TokenId(bits), until: UNTIL });
        }
        // A table of the standard library is 7/8 full at most, and has one control byte for each place.
        let bytes = |table: &HashMap<TokenId, UnixSeconds>| {
            table.capacity() * 8 / 7 * (size_of::<(TokenId, UnixSeconds)>() + 1)
        };
        let taken = bytes(&revocations.settled) + bytes(&revocations.recent);
        assert!(taken < 64 << 20, "{taken} bytes");
        assert_eq!(revocations.len(), 1_000_000);
        assert!(revocations.names(TokenId([0; 16])));
        assert!(!revocations.names(TokenId([255; 16])));
    }
}
