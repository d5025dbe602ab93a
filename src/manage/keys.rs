//! What all API versions do with a service's credentials: list and regenerate its keys, issue its tokens.

use std::sync::Arc;

use http::StatusCode;
use serde::Deserialize;
use serde_json::json;

use crate::config::Auth;
use crate::config::KeyAuth;
use crate::config::Slots;
use crate::config::TokenAuth;
use crate::config::TokenIssuer;
use crate::manage::Asked;
use crate::manage::Management;
use crate::manage::object::Object;
use crate::manage::reply;
use crate::manage::reply::Refused;
use crate::manage::reply::Reply;
use crate::model::secret::Secret;
use crate::model::slot::Slot;
use crate::model::time::UnixSeconds;
use crate::observe::audit::Act;
use crate::snapshot::Snapshot;
use crate::snapshot::service::Service;
use crate::store::change::ChangeError;
use crate::store::record_key::Owner;
use crate::store::slots::Keys;
use crate::store::slots::Regeneration;
use crate::tokens::issue::issue_service_token;

/// A service token, and when its holder should come again.
pub(super) struct Granted {
    pub(super) jwt: Secret<String>,
    pub(super) refresh_after: UnixSeconds,
    pub(super) expires: UnixSeconds,
}

impl Granted {
    /// The answer of Azure's v1 API, and of the project's own.
    pub(super) fn reply(&self) -> Reply {
        let document = json!({
            "accessToken": self.jwt.expose(),
            "tokenType": "Bearer",
            "refreshAfter": self.refresh_after,
            "expiryOn": self.expires,
        });
        reply::json(StatusCode::CREATED, &document)
    }
}

/// The service that a call names.
///
/// # Errors
/// 404.
pub(super) fn service<'s>(snapshot: &'s Snapshot, asked: &Asked<'_>) -> Result<&'s Arc<Service>, Refused> {
    let name = asked.name.unwrap_or_default();
    let found = snapshot.services.iter().find(|service| service.settings.name.as_str() == name);
    found.ok_or_else(|| Refused::not_found("there is no such service in this workspace"))
}

/// Shows both keys of a service.
///
/// # Errors
/// 404, 400 for a service without keys, 409 for keys that others own, 503.
pub(super) async fn list(manage: &Management, asked: &Asked<'_>) -> Result<Keys, Refused> {
    let owner = owner_of_slots(service(asked.snapshot, asked)?)?;
    let keys = manage.store.list(&owner).await.map_err(|error| refused(&error))?;
    manage.record(asked, Act::ListKeys, asked.resource_of(&owner), json!({ "slots": "both" })).await?;
    Ok(keys)
}

/// What a call asks to be regenerated.
#[derive(Deserialize)]
struct Body {
    #[serde(rename = "keyType")]
    slot: String,
    #[serde(rename = "keyValue", default)]
    value: Option<String>,
}

/// Puts a new key into one slot, and returns once it is the one that opens the service.
///
/// # Errors
/// As [`list`]; 400 for a body that cannot be read or a value that can be no key, 409 for one that is taken.
pub(super) async fn regenerate(manage: &Management, asked: &Asked<'_>) -> Result<(), Refused> {
    let owner = owner_of_slots(service(asked.snapshot, asked)?)?;
    let (slot, how) = wanted(asked.body)?;
    let revision = manage.store.regenerate(&owner, slot, &how, asked.now).await.map_err(|error| refused(&error))?;
    manage.record(asked, Act::RegenerateKey, asked.resource_of(&owner), json!({ "slot": slot.as_str() })).await?;
    manage.in_force(revision).await
}

/// An absent value is a new random key, and so is the slot's current one: azure-ai-ml sends that when it means it.
fn wanted(body: &[u8]) -> Result<(Slot, Regeneration), Refused> {
    let malformed =
        || Refused::bad_argument("want {\"keyType\": \"Primary\" or \"Secondary\", \"keyValue\": text or null}");
    // The parser's own message would quote the key.
    let Object(Body { slot, value }) = serde_json::from_slice(body).map_err(|_quotes_body| malformed())?;
    let value = value.map(Secret::new);
    let found = Slot::ALL.into_iter().find(|known| slot.eq_ignore_ascii_case(known.as_str()));
    Ok((found.ok_or_else(malformed)?, Regeneration { value, ..Regeneration::default() }))
}

/// Issues a token that opens one service.
///
/// # Errors
/// 404, 400 for a service without tokens, 409 for one that takes those of other issuers only, 503.
pub(super) async fn token(manage: &Management, asked: &Asked<'_>) -> Result<Granted, Refused> {
    let service = service(asked.snapshot, asked)?;
    let TokenAuth { issuers, audiences, .. } = match &service.settings.auth {
        Auth::Token(token) => token,
        Auth::Key(_) => return Err(mismatch("the service is called with keys; it has no tokens")),
        Auth::Public { .. } => return Err(mismatch("the service is public; it has no tokens")),
    };
    if !issuers.contains(&TokenIssuer::Own) {
        return Err(Refused::conflict("the service takes tokens of other issuers only; ask them for one"));
    }
    let audience = audiences.first().map_or(service.settings.name.as_str(), String::as_str);
    let own = &asked.snapshot.management.tokens;
    let signer = asked.snapshot.own_keys.newest();
    let subject = asked.caller.map_or("", |caller| caller.name.as_str());
    let issued = issue_service_token(signer, &own.issuer, audience, subject, own.lifetime, asked.now)
        .map_err(|_failed| Refused::unavailable("a token could not be signed"))?;
    let detail = json!({ "jti": issued.id, "expires": issued.expires });
    manage.record(asked, Act::IssueToken, format!("services/{}", service.settings.name), detail).await?;
    let refresh_after = issued.issued.plus(own.refresh_after.as_secs());
    Ok(Granted { jwt: issued.jwt, refresh_after, expires: issued.expires })
}

/// Whose record in the store holds the keys of a service.
fn owner_of_slots(service: &Service) -> Result<Owner, Refused> {
    in_store(Owner::Service(service.settings.name.clone()), slots_of(service)?)
}

/// Where the keys of a service come from.
///
/// # Errors
/// 400 for a service that is called otherwise, 409 for one that accounts call with theirs.
pub(super) fn slots_of(service: &Service) -> Result<&Slots, Refused> {
    match &service.settings.auth {
        Auth::Key(KeyAuth { slots: Some(slots), .. }) => Ok(slots),
        Auth::Key(KeyAuth { slots: None, .. }) => Err(Refused::conflict(
            "the service has no keys of its own; the accounts in gateway.yaml call it with theirs",
        )),
        Auth::Token(_) => Err(mismatch("the service is called with tokens; it has no keys")),
        Auth::Public { .. } => Err(mismatch("the service is public; it has no keys")),
    }
}

/// The owner, where the store holds its keys.
///
/// # Errors
/// 409 that says who holds them.
pub(super) fn in_store(owner: Owner, slots: &Slots) -> Result<Owner, Refused> {
    match slots {
        Slots::Store => Ok(owner),
        Slots::Directory(directory) => {
            let (at, kind) = (
                directory.display(),
                match &owner {
                    Owner::Service(_) => "service",
                    Owner::Account(_) => "account",
                },
            );
            Err(Refused::conflict(format!("whoever mounts {at} owns the keys of this {kind}; change them there")))
        }
        Slots::References { .. } => {
            let field = match &owner {
                Owner::Service(name) => format!("services.{name}.auth.key.keys"),
                Owner::Account(name) => format!("accounts.{name}.keys"),
            };
            Err(Refused::conflict(format!("{field} in gateway.yaml says where the keys are; change them there")))
        }
    }
}

fn mismatch(message: &str) -> Refused {
    Refused::new(StatusCode::BAD_REQUEST, "AuthModeMismatch", message)
}

/// What the store's no is to a caller. What is broken is logged here, since nobody else learns why.
pub(super) fn refused(error: &ChangeError) -> Refused {
    match error {
        ChangeError::NotAKey => Refused::bad_argument(error.to_string()),
        ChangeError::KeyInUse => Refused::conflict(error.to_string()),
        ChangeError::NotFound { .. }
        | ChangeError::Exists { .. }
        | ChangeError::Contended { .. }
        | ChangeError::Unreadable { .. }
        | ChangeError::Crypto
        | ChangeError::Unavailable(_) => {
            let source = std::error::Error::source(error).map(ToString::to_string);
            tracing::error!(%error, source, "the store could not do what an operator asked for");
            Refused::unavailable("the store cannot do that at the moment")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::wanted;
    use crate::model::slot::Slot;

    #[test]
    fn a_regeneration_names_its_slot_and_perhaps_a_value() {
        for (body, want) in [
            (r#"{"keyType":"Primary","keyValue":null}"#, Some((Slot::Primary, None))),
            (r#"{"keyType":"Secondary"}"#, Some((Slot::Secondary, None))),
            (r#" {"keyType":"secondary","keyValue":"k-chosen","x":1}"#, Some((Slot::Secondary, Some("k-chosen")))),
            (r#"{"keyType":"Tertiary"}"#, None),
            (r#"{"keyType":1}"#, None),
            (r#"{"keyType":"Primary","keyType":"Secondary"}"#, None),
            (r#"{"keyType":"Primary","keyValue":7}"#, None),
            (r#"["Primary",null]"#, None),
            ("{}", None),
            ("null", None),
            ("", None),
        ] {
            let got = wanted(body.as_bytes()).ok();
            let got = got.as_ref().map(|(slot, how)| (*slot, how.value.as_ref().map(|value| value.expose().as_str())));
            assert_eq!(got, want, "{body}");
        }
    }
}
