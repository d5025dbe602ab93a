//! The gateway's signing keys as a set: the newest signs, all that are still in use verify.

use std::sync::Arc;
use std::time::Duration;

use crate::config::OwnTokens;
use crate::model::time::UnixSeconds;
use crate::tokens::issue::SERVICE_TOKEN_TYPE;
use crate::tokens::issuer::TrustedIssuer;
use crate::tokens::jwks::BadJwks;
use crate::tokens::jwks::KeySet;
use crate::tokens::signing::SigningKey;

const DAY: Duration = Duration::from_secs(86_400);

/// One signing key and its time.
#[derive(Debug, Clone)]
pub struct OwnKey {
    /// The key pair.
    pub key: Arc<SigningKey>,
    /// When it was made; the newest signs.
    pub created: UnixSeconds,
    /// From when on it verifies nothing; `None` while no newer key has taken its place. Whoever replaces a key sets
    /// this no earlier than the last token that it signed can end.
    pub retires: Option<UnixSeconds>,
}

/// The signing keys in use.
#[derive(Debug)]
pub struct OwnKeys {
    newest: Arc<SigningKey>,
    set: Arc<KeySet>,
    document: String,
}

/// Why there is no set of own keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadOwnKeys {
    /// There is no key, or all are retired.
    #[error("want at least one signing key that is not retired")]
    NoKey,
    /// The set could not be published: more than 100 keys, or one of them twice.
    #[error("the signing keys cannot be published as a set")]
    Unpublishable(#[source] BadJwks),
}

impl OwnKeys {
    /// Takes the keys that are in use at this moment.
    ///
    /// # Errors
    /// Each variant of [`BadOwnKeys`].
    pub fn new(keys: &[OwnKey], now: UnixSeconds) -> Result<Self, BadOwnKeys> {
        let mut in_use: Vec<&OwnKey> =
            keys.iter().filter(|key| key.retires.is_none_or(|retires| now < retires)).collect();
        // One whose place was taken is never the newest, whatever the clock said when it was made. Then by age, then by
        // name, so that every replica chooses the same key and publishes the same text.
        let rank = |own: &OwnKey| (own.retires.is_none(), own.created, own.key.kid().to_owned());
        in_use.sort_by_key(|own| std::cmp::Reverse(rank(own)));
        let newest = Arc::clone(&in_use.first().ok_or(BadOwnKeys::NoKey)?.key);
        let published: Vec<_> = in_use.iter().map(|own| own.key.public_jwk()).collect();
        let document = serde_json::json!({ "keys": published }).to_string();
        let set = KeySet::parse(document.as_bytes()).map_err(BadOwnKeys::Unpublishable)?;
        Ok(Self { newest, set: Arc::new(set), document })
    }

    /// The key that signs.
    #[must_use]
    pub fn newest(&self) -> &Arc<SigningKey> {
        &self.newest
    }

    /// The published set: JSON (RFC 7517 §5), newest key first.
    #[must_use]
    pub fn jwks(&self) -> &str {
        &self.document
    }

    /// The set as verifiers read it: parsed from what is published, so that we take what others would.
    #[must_use]
    pub fn key_set(&self) -> Arc<KeySet> {
        Arc::clone(&self.set)
    }

    /// This gateway as the issuer of service tokens.
    ///
    /// They may live for a day where the configuration gives them less: whoever shortens the lifetime means the next
    /// tokens, not those that callers hold.
    #[must_use]
    pub fn service_issuer(&self, tokens: &OwnTokens) -> TrustedIssuer {
        let longest = tokens.lifetime.max(DAY);
        TrustedIssuer::own(&tokens.issuer, SERVICE_TOKEN_TYPE, longest.as_secs(), self)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::BadOwnKeys;
    use super::OwnKey;
    use super::OwnKeys;
    use crate::config::TokenAlgorithm;
    use crate::model::time::UnixSeconds;
    use crate::tokens::forge;
    use crate::tokens::forge::NOW;
    use crate::tokens::signing::SigningKey;

    fn own(key: &'static SigningKey, created: u64, retires: Option<u64>) -> OwnKey {
        let key = SigningKey::from_pkcs8(key.algorithm(), key.pkcs8().clone()).unwrap();
        OwnKey { key: Arc::new(key), created: UnixSeconds(created), retires: retires.map(UnixSeconds) }
    }

    #[test]
    fn the_newest_signs_and_all_that_are_not_retired_verify() {
        let (old, new, over) = (
            own(forge::es256(), 1, Some(NOW.0 + 1)),
            own(forge::ed25519(), 2, None),
            own(forge::rs256(), 3, Some(NOW.0)),
        );
        let keys = OwnKeys::new(&[old, over, new], NOW).unwrap();
        assert_eq!(keys.newest().kid(), forge::ed25519().kid());
        for (key, algorithm, verifies) in [
            (forge::ed25519(), TokenAlgorithm::EdDsa, true),
            (forge::es256(), TokenAlgorithm::Es256, true),
            (forge::rs256(), TokenAlgorithm::Rs256, false),
        ] {
            assert_eq!(keys.key_set().choose(Some(key.kid()), algorithm).is_ok(), verifies, "{algorithm:?}");
            assert_eq!(keys.jwks().contains(key.kid()), verifies, "{algorithm:?}");
        }
        assert!(!keys.jwks().contains("\"d\""));
    }

    #[test]
    fn a_key_whose_place_was_taken_signs_no_more_even_if_it_seems_newer() {
        for (old_created, new_created) in [(1, 1), (2, 1), (1, 2)] {
            for (old, new) in [(forge::es256(), forge::ed25519()), (forge::ed25519(), forge::es256())] {
                let keys = [own(old, old_created, Some(NOW.0 + 60)), own(new, new_created, None)];
                let newest = OwnKeys::new(&keys, NOW).unwrap();
                assert_eq!(newest.newest().kid(), new.kid(), "made at {old_created} and {new_created}");
            }
        }
    }

    #[test]
    fn replicas_that_read_the_keys_in_another_order_choose_alike() {
        let (a, b) = (own(forge::es256(), 1, None), own(forge::ed25519(), 1, None));
        let one = OwnKeys::new(&[a.clone(), b.clone()], NOW).unwrap();
        let other = OwnKeys::new(&[b, a], NOW).unwrap();
        assert_eq!(one.newest().kid(), other.newest().kid());
        assert_eq!(one.jwks(), other.jwks());
    }

    #[test]
    fn a_gateway_without_a_key_in_use_issues_nothing() {
        let over = own(forge::es256(), 1, Some(NOW.0));
        assert_eq!(OwnKeys::new(&[], NOW).err(), Some(BadOwnKeys::NoKey));
        assert_eq!(OwnKeys::new(&[over], NOW).err(), Some(BadOwnKeys::NoKey));
        let twice = own(forge::es256(), 1, None);
        assert!(matches!(OwnKeys::new(&[twice.clone(), twice], NOW), Err(BadOwnKeys::Unpublishable(_))));
    }
}
