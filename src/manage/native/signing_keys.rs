//! The gateway's own signing keys: which signs, which still verify, and a new one.

use http::StatusCode;
use serde_json::Value;
use serde_json::json;

use crate::manage::Asked;
use crate::manage::Management;
use crate::manage::keys;
use crate::manage::native;
use crate::manage::reply;
use crate::manage::reply::Refused;
use crate::manage::reply::Reply;
use crate::observe::audit::Act;
use crate::store::state::SigningKey;
use crate::store::state::State;
use crate::tokens::signing;

/// Most keys that may verify at once. A published set has at most 100, and one that could not be published would stop
/// every later change.
const MOST: usize = 32;

/// Shows the keys that verify.
///
/// # Errors
/// 503.
pub(super) async fn list(manage: &Management, asked: &Asked<'_>) -> Result<Reply, Refused> {
    let state = manage.store.read().await.map_err(|why| native::unreachable_store(&why))?;
    let bodies: Result<Vec<Value>, Refused> = state.verifiers(asked.now).map(|key| body(&state, key)).collect();
    Ok(reply::json(StatusCode::OK, &json!({ "value": bodies? })))
}

/// Makes a new key, which signs from then on; the one before it verifies as long as a token that it signed can be used.
///
/// # Errors
/// 400 for a body with members, 409 while too many keys still verify, 503.
pub(super) async fn rotate(manage: &Management, asked: &Asked<'_>) -> Result<Reply, Refused> {
    if !asked.body.is_empty() {
        let Nothing {} = native::read(asked.body, "no body, or {}")?;
    }
    let state = manage.store.read().await.map_err(|why| native::unreachable_store(&why))?;
    if state.verifiers(asked.now).count() >= MOST {
        let message = format!("{MOST} signing keys verify still; wait until one of them does not");
        return Err(Refused::conflict(message));
    }
    let management = &asked.snapshot.management;
    let algorithm = management.tokens.algorithm;
    let rotated = manage.store.rotate_signing_key(algorithm, management.verify_for(), asked.now).await;
    let revision = rotated.map_err(|error| keys::refused(&error))?;
    let state = manage.store.read().await.map_err(|why| native::unreachable_store(&why))?;
    let signer = state.signer().ok_or_else(|| Refused::unavailable("the new signing key cannot be read"))?;
    let kid = published_kid(signer)?;
    let detail = json!({ "kid": kid, "algorithm": signer.algorithm.as_str() });
    manage.record(asked, Act::RotateSigningKey, "signing-keys".to_owned(), detail).await?;
    manage.in_force(revision).await?;
    Ok(reply::json(StatusCode::CREATED, &body(&state, signer)?))
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// The `kid` of tokens and of the published set, which is made from the public key; the store's is its own.
fn published_kid(key: &SigningKey) -> Result<String, Refused> {
    let pair = signing::SigningKey::from_pkcs8(key.algorithm, key.pkcs8.clone());
    let pair = pair.map_err(|_bad| Refused::unavailable("a signing key of the store cannot be used"))?;
    Ok(pair.kid().to_owned())
}

fn body(state: &State, key: &SigningKey) -> Result<Value, Refused> {
    Ok(json!({
        "kid": published_kid(key)?,
        "algorithm": key.algorithm.as_str(),
        "created": key.created,
        "verifyUntil": key.verify_until,
        "signs": state.signer().is_some_and(|signer| signer.kid == key.kid),
    }))
}
