//! Tokens that are cut off before their time: one by one, by resource, or by vendor.
//!
//! Asked at every use, after the cache: a token that was verified a second ago is refused all the same.

use crate::model::digest::Digest;
use crate::model::time::UnixSeconds;
use crate::store::records::Revoked;
use crate::store::revoked::Revocations;
use crate::tokens::limited::LimitedToken;
use crate::tokens::verify::VerifiedToken;

/// A token as revocations know it: the SHA-256 of its `iss` and `jti`, by which the store names its revocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenId(Digest);

impl TokenId {
    /// The identity of the token with this `iss` and `jti`.
    #[must_use]
    pub fn of(issuer: &str, id: &str) -> Self {
        Self(Revoked::token_digest(issuer, id))
    }
}

impl Revocations {
    /// Whether a service token is cut off: by itself, or by its caller's resource.
    #[must_use]
    pub fn cover(&self, token: &VerifiedToken, now: UnixSeconds) -> bool {
        token.revocable.is_some_and(|TokenId(digest)| self.has_token(&digest, now))
            || token.resource.as_ref().is_some_and(|resource| self.has_resource(resource, token.issued, now))
    }

    /// Whether a LimitedAccessToken is cut off: by itself, by its target, or by its vendor.
    #[must_use]
    pub fn cover_limited(&self, token: &LimitedToken, now: UnixSeconds) -> bool {
        let TokenId(digest) = token.revocable;
        self.has_token(&digest, now)
            || self.has_resource(&token.target, Some(token.issued), now)
            || self.has_isv(&token.isv, token.issued, now)
    }
}

#[cfg(test)]
mod against_a_model;
#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::TokenId;
    use crate::model::feature::FeatureSet;
    use crate::model::name::Name;
    use crate::model::resource::ResourceId;
    use crate::model::time::UnixSeconds;
    use crate::store::records::RevocationRecord;
    use crate::store::records::Revoked;
    use crate::store::revoked::Revocations;
    use crate::tokens::Validity;
    use crate::tokens::limited::LimitedToken;
    use crate::tokens::verify::VerifiedToken;

    const NOW: UnixSeconds = UnixSeconds(999);
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

    fn revoked() -> [Revoked; 3] {
        [
            Revoked::Jti { iss: "iss".to_owned(), jti: "cut".to_owned() },
            Revoked::Resource(ResourceId::parse("/a/cut").unwrap()),
            Revoked::Isv(Name::parse("cut").unwrap()),
        ]
    }

    fn revocations() -> Revocations {
        let mut revocations = Revocations::default();
        for revoked in revoked() {
            let (digest, issued_before, why) = (revoked.digest(), UnixSeconds(500), String::new());
            revocations.put(digest, RevocationRecord { revoked, issued_before, expires: UNTIL, why });
        }
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
            assert_eq!(revocations.cover(&service(id, resource, issued), NOW), cut, "{row}");
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
            assert_eq!(revocations.cover_limited(&token, NOW), cut, "{id} {target} {isv} {issued}");
        }
    }

    #[test]
    fn issuer_and_id_are_kept_apart() {
        assert_ne!(TokenId::of("ab", "c"), TokenId::of("a", "bc"));
        assert_ne!(TokenId::of("iss", "cut"), TokenId::of("other", "cut"));
        assert_eq!(TokenId::of("iss", "cut"), TokenId::of("iss", "cut"));
    }

    #[test]
    fn an_entry_counts_until_no_token_can_meet_it() {
        let revocations = revocations();
        let tokens = [service(Some("cut"), None, None), service(None, Some("/a/cut"), None)];
        let limited = [limited("cut", "/a", "a", 1), limited("l", "/a/cut", "a", 1), limited("l", "/a", "cut", 1)];
        for (now, cut) in [(999, true), (1000, false)] {
            assert!(tokens.iter().all(|token| revocations.cover(token, UnixSeconds(now)) == cut), "at {now}");
            assert!(limited.iter().all(|token| revocations.cover_limited(token, UnixSeconds(now)) == cut), "at {now}");
            assert_eq!(revocations.expired(UnixSeconds(now)).count(), if cut { 0 } else { 3 }, "at {now}");
        }
    }

    #[test]
    fn what_is_removed_cuts_nothing_off_and_leaves_the_rest() {
        for gone in revoked() {
            let mut revocations = revocations();
            revocations.remove(&gone.digest());
            assert_eq!(revocations.len(), 2, "{gone:?}");
            let left = [
                revocations.cover(&service(Some("cut"), None, None), NOW),
                revocations.cover(&service(None, Some("/a/cut"), None), NOW),
                revocations.cover_limited(&limited("l", "/a", "cut", 1), NOW),
            ];
            assert_eq!(left, revoked().map(|one| one != gone), "{gone:?}");
        }
    }
}
