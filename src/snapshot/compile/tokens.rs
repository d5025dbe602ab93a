//! Whose tokens are taken, and which of them no longer.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::Config;
use crate::config::TokenIssuer;
use crate::model::time::UnixSeconds;
use crate::snapshot::Snapshot;
use crate::snapshot::compile::CompileError;
use crate::snapshot::inputs::Inputs;
use crate::store::records::Revoked;
use crate::store::state::State;
use crate::tokens::issuer::TrustedIssuer;
use crate::tokens::limited::LimitedVerifier;
use crate::tokens::own_keys::OwnKey;
use crate::tokens::own_keys::OwnKeys;
use crate::tokens::revocation::Revocation;
use crate::tokens::revocation::Revocations;
use crate::tokens::revocation::TokenId;
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

pub(super) fn revocations(state: &State, now: UnixSeconds) -> Revocations {
    let mut revocations = Revocations::default();
    for entry in state.revocations.values() {
        let (issued_up_to, until) = (entry.issued_before, entry.expires);
        revocations.add(match &entry.revoked {
            Revoked::Jti { iss, jti } => Revocation::Token { token: TokenId::of(iss, jti), until },
            Revoked::Resource(resource) => Revocation::Resource { resource: resource.clone(), issued_up_to, until },
            Revoked::Isv(isv) => Revocation::Isv { isv: isv.clone(), issued_up_to, until },
        });
    }
    revocations.forget_expired(now);
    revocations
}

#[cfg(test)]
mod tests {
    use crate::snapshot::testing::Stage;

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
}
