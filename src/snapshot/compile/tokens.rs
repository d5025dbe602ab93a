//! Whose tokens are taken.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::Config;
use crate::config::TokenIssuer;
use crate::model::time::UnixSeconds;
use crate::snapshot::Snapshot;
use crate::snapshot::compile::CompileError;
use crate::snapshot::inputs::Inputs;
use crate::store::state::State;
use crate::tokens::issuer::TrustedIssuer;
use crate::tokens::limited::LimitedVerifier;
use crate::tokens::own_keys::OwnKey;
use crate::tokens::own_keys::OwnKeys;
use crate::tokens::signing::BadSigningKey;
use crate::tokens::signing::SigningKey;

pub(super) fn own_keys(state: &State, now: UnixSeconds) -> Result<OwnKeys, CompileError> {
    let own = |key: &crate::store::state::SigningKey| {
        let pair = SigningKey::from_pkcs8(key.algorithm, key.pkcs8.clone())?;
        Ok(OwnKey { key: Arc::new(pair), created: key.created, retires: key.verify_until })
    };
    let keys = state.signing_keys().map(own).collect::<Result<Vec<_>, BadSigningKey>>()?;
    Ok(OwnKeys::new(&keys, now)?)
}

pub(super) fn issuers(config: &Config, inputs: &Inputs, own: &OwnKeys) -> BTreeMap<TokenIssuer, Arc<TrustedIssuer>> {
    let foreign = config.issuers.values().map(|issuer| {
        let keys = inputs.issuers.get(&issuer.name).map(|loaded| Arc::clone(&loaded.keys));
        (TokenIssuer::Foreign(issuer.name.clone()), Arc::new(TrustedIssuer::foreign(issuer, keys)))
    });
    let own = (TokenIssuer::Own, Arc::new(own.service_issuer(&config.tokens)));
    foreign.chain([own]).collect()
}

pub(super) fn limited(config: &Config, own: &OwnKeys, previous: Option<&Snapshot>) -> Arc<LimitedVerifier> {
    let made = LimitedVerifier::new(&config.tokens.issuer, own, config.features.clone());
    match previous {
        Some(previous) if *previous.limited == made => Arc::clone(&previous.limited),
        Some(_) | None => Arc::new(made),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use crate::model::name::Name;
    use crate::model::slot::Slot;
    use crate::model::time::UnixSeconds;
    use crate::snapshot::testing::Stage;
    use crate::store::record_key::Owner;
    use crate::store::records::RevocationRecord;
    use crate::store::records::Revoked;
    use crate::store::slots::Regeneration;

    #[tokio::test]
    async fn the_key_that_the_store_makes_signs_with_every_algorithm() {
        for algorithm in ["ES256", "EdDSA", "RS256"] {
            let text = format!(
                "listeners: {{traffic: [{{address: '127.0.0.1:0'}}], health: {{address: '127.0.0.1:0'}}}}\n\
                 tokens: {{algorithm: {algorithm}}}\n\
                 upstreams: {{model: {{endpoints: ['http://127.0.0.1:9']}}}}\n\
                 services: {{iris: {{upstream: model, auth: {{token: {{}}}}}}}}\n"
            );
            let stage = Stage::new(&text, &[]).await;
            let keys = &stage.live.load().own_keys;
            assert!(keys.jwks().contains(algorithm), "{algorithm}: {}", keys.jwks());
            assert!(keys.newest().sign("at+jwt", &serde_json::json!({})).is_ok(), "{algorithm}");
        }
    }

    #[tokio::test]
    async fn snapshots_share_the_revocations_until_one_changes() {
        let text = "
listeners: {traffic: [{address: '127.0.0.1:0'}], health: {address: '127.0.0.1:0'}}
upstreams: {model: {endpoints: ['http://127.0.0.1:9']}}
services: {iris: {upstream: model, auth: {key: {}}}}
";
        let stage = Stage::new(text, &[]).await;
        let (live, store) = (stage.live.clone(), Arc::clone(&stage.store));
        let following = stage.follow().await;
        let once_at = async |revision| {
            while live.load().store_revision < revision {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            Arc::clone(&live.load().revocations)
        };
        let now = UnixSeconds::now();
        let revoke = async |jti: &str| {
            let revoked = Revoked::Jti { iss: "urn:scoregate".to_owned(), jti: jti.to_owned() };
            let record = RevocationRecord { revoked, issued_before: now, expires: now.plus(600), why: String::new() };
            once_at(store.revoke(&record).await.unwrap().0).await
        };
        let first = revoke("a").await;
        let iris = Owner::Service(Name::parse("iris").unwrap());
        let regenerated = store.regenerate(&iris, Slot::Primary, &Regeneration::default(), now).await.unwrap();
        assert!(Arc::ptr_eq(&once_at(regenerated).await, &first));
        let second = revoke("b").await;
        assert_eq!((first.len(), second.len()), (1, 2));
        following.abort();
    }
}
