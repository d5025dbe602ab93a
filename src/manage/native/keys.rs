//! Both slots of services and accounts: since when and until when they open, their keys, new keys.

use std::collections::HashMap;
use std::time::Duration;

use http::StatusCode;
use serde::Deserialize;
use serde_json::Value;
use serde_json::json;

use crate::config::Slots;
use crate::manage::Asked;
use crate::manage::Management;
use crate::manage::keys;
use crate::manage::native;
use crate::manage::native::accounts;
use crate::manage::reply;
use crate::manage::reply::Refused;
use crate::manage::reply::Reply;
use crate::manage::routes::Kind;
use crate::model::secret::Secret;
use crate::model::slot::Slot;
use crate::model::time::UnixSeconds;
use crate::observe::audit::Act;
use crate::observe::usage::KeyAge;
use crate::observe::usage::KeyUsage;
use crate::snapshot::Snapshot;
use crate::snapshot::keys::KeyOwner;
use crate::snapshot::usage::OwnerUsage;
use crate::store::record_key::Owner;
use crate::store::slots::Regeneration;
use crate::store::state::Held;
use crate::store::state::OwnerKeys;

/// Longest grace of a replaced key, in seconds: 30 days. Who needs longer has the other slot.
const LONGEST_GRACE_SECONDS: u64 = 30 * 86_400;

/// The last second of the year 9999, which is as far as dates are written.
const LAST_SECOND: UnixSeconds = UnixSeconds(253_402_300_799);

/// Whoever has two slots.
struct Holder<'s> {
    owner: Owner,
    number: KeyOwner,
    slots: &'s Slots,
    usage: &'s OwnerUsage,
}

/// Keys that the store does not hold, by slot, with the first second in which they open nothing.
type Elsewhere = HashMap<(KeyOwner, Slot), Option<UnixSeconds>>;

/// Says of every slot since when and until when it opens.
///
/// # Errors
/// 503.
pub(super) async fn every(manage: &Management, asked: &Asked<'_>) -> Result<Reply, Refused> {
    let state = manage.store.read().await.map_err(|why| native::unreachable_store(&why))?;
    let elsewhere = elsewhere(asked.snapshot);
    let each = holders(asked.snapshot).map(|holder| {
        let stored = match state.slots(&holder.owner) {
            Held::Keys(keys) => Some(keys),
            // What is wrong with them is in the log, and the owner answers 503.
            Held::Quarantined(_) | Held::Nothing => None,
        };
        status(&holder, stored, &elsewhere, asked.now)
    });
    Ok(reply::json(StatusCode::OK, &json!({ "value": each.collect::<Vec<Value>>() })))
}

/// Says the same of one owner.
///
/// # Errors
/// 404, 400 for a service without keys, 503.
pub(super) async fn of_one(manage: &Management, kind: Kind, asked: &Asked<'_>) -> Result<Reply, Refused> {
    let holder = holder(kind, asked)?;
    let stored = match holder.slots {
        Slots::Store => Some(manage.store.times(&holder.owner).await.map_err(|error| keys::refused(&error))?),
        Slots::Directory(_) | Slots::References { .. } => None,
    };
    Ok(reply::json(StatusCode::OK, &status(&holder, stored.as_ref(), &elsewhere(asked.snapshot), asked.now)))
}

/// Shows both keys.
///
/// # Errors
/// 404, 400 for a service without keys, 409 for keys that others own, 503.
pub(super) async fn list(manage: &Management, kind: Kind, asked: &Asked<'_>) -> Result<Reply, Refused> {
    let Holder { owner, slots, .. } = holder(kind, asked)?;
    let owner = keys::in_store(owner, slots)?;
    let keys = manage.store.list(&owner).await.map_err(|error| keys::refused(&error))?;
    let detail = json!({ "owner": path(&owner), "slots": "both" });
    manage.record(asked, Act::ListKeys, asked.resource_of(&owner), detail).await?;
    let document = json!({ "primaryKey": keys.primary.expose(), "secondaryKey": keys.secondary.expose() });
    Ok(reply::json(StatusCode::OK, &document))
}

/// What a call asks to be regenerated.
#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
struct Wanted {
    grace_seconds: Option<u64>,
    expires: Option<UnixSeconds>,
    value: Option<String>,
    require_idle_seconds: Option<u64>,
}

/// Puts a new key into one slot, and returns it once it is the one that opens.
///
/// # Errors
/// As [`list`]; 400 for what cannot be meant, 409 for a key that is taken and for a slot that is in use.
pub(super) async fn regenerate(manage: &Management, kind: Kind, asked: &Asked<'_>) -> Result<Reply, Refused> {
    let Holder { owner, slots, usage, .. } = holder(kind, asked)?;
    let owner = keys::in_store(owner, slots)?;
    let slot = asked.slot.ok_or_else(|| Refused::not_found("want primary or secondary"))?;
    let Wanted { grace_seconds, expires, value, require_idle_seconds } = wanted(asked)?;
    if let Some(seconds) = require_idle_seconds {
        let idle = usage.idle_for(slot, Duration::from_secs(seconds), asked.now);
        idle.map_err(|why| Refused::new(StatusCode::CONFLICT, "SlotInUse", why.to_string()))?;
    }
    let how = Regeneration { value: value.map(Secret::new), grace: grace_seconds.map(Duration::from_secs), expires };
    let revision =
        manage.store.regenerate(&owner, slot, &how, asked.now).await.map_err(|error| keys::refused(&error))?;
    let detail = json!({ "owner": path(&owner), "slot": slot });
    manage.record(asked, Act::RegenerateKey, asked.resource_of(&owner), detail).await?;
    manage.in_force(revision).await?;
    let keys = manage.store.list(&owner).await.map_err(|error| keys::refused(&error))?;
    let times = manage.store.times(&owner).await.map_err(|error| keys::refused(&error))?;
    let (key, times) = (keys.of(slot), times.slot(slot));
    let document = json!({
        "owner": path(&owner),
        "slot": slot,
        "key": key.expose(),
        "created": times.created,
        "expires": times.expires,
        "retiringUntil": times.retiring.map(|retiring| retiring.until),
    });
    Ok(reply::json(StatusCode::OK, &document))
}

fn wanted(asked: &Asked<'_>) -> Result<Wanted, Refused> {
    if asked.body.is_empty() {
        return Ok(Wanted::default());
    }
    let want = "{\"graceSeconds\": seconds, \"expires\": seconds since 1970, \"value\": text, \
                \"requireIdleSeconds\": seconds}, each of which may be missing";
    let wanted: Wanted = native::read(asked.body, want)?;
    if wanted.grace_seconds.is_some_and(|grace| grace > LONGEST_GRACE_SECONDS) {
        return Err(Refused::bad_argument("graceSeconds: want at most 2592000, which is 30 days"));
    }
    if wanted.expires.is_some_and(|expires| expires <= asked.now || expires > LAST_SECOND) {
        return Err(Refused::bad_argument("expires: want seconds since 1970 that lie ahead, before the year 10000"));
    }
    Ok(wanted)
}

/// Issues a token that opens one service.
///
/// # Errors
/// 404, 400 for a service without tokens, 409 for one that takes those of other issuers only, 503.
pub(super) async fn token(manage: &Management, asked: &Asked<'_>) -> Result<Reply, Refused> {
    Ok(keys::token(manage, asked).await?.reply())
}

fn holder<'s>(kind: Kind, asked: &Asked<'s>) -> Result<Holder<'s>, Refused> {
    match kind {
        Kind::Service => {
            let service = keys::service(asked.snapshot, asked)?;
            let owner = Owner::Service(service.settings.name.clone());
            let (number, slots) = (KeyOwner::Service(service.index), keys::slots_of(service)?);
            Ok(Holder { owner, number, slots, usage: &service.usage })
        }
        Kind::Account => {
            let name = accounts::named(asked.snapshot, asked)?.name.as_str();
            let found = accounts_of(asked.snapshot).find(|holder| match &holder.owner {
                Owner::Account(account) => account.as_str() == name,
                Owner::Service(_) => false,
            });
            found.ok_or_else(accounts::unknown)
        }
    }
}

fn holders(snapshot: &Snapshot) -> impl Iterator<Item = Holder<'_>> {
    let services = snapshot.services.iter().filter_map(|service| {
        let owner = Owner::Service(service.settings.name.clone());
        let (number, slots) = (KeyOwner::Service(service.index), keys::slots_of(service).ok()?);
        Some(Holder { owner, number, slots, usage: &service.usage })
    });
    services.chain(accounts_of(snapshot))
}

fn accounts_of(snapshot: &Snapshot) -> impl Iterator<Item = Holder<'_>> {
    (0_u32..).zip(snapshot.accounts()).map(|(index, account)| Holder {
        owner: Owner::Account(account.name.clone()),
        number: KeyOwner::Account(index),
        slots: account.slots(),
        usage: &account.usage,
    })
}

fn elsewhere(snapshot: &Snapshot) -> Elsewhere {
    snapshot.keys.iter().map(|record| ((record.owner, record.slot), record.expires)).collect()
}

fn status(holder: &Holder<'_>, stored: Option<&OwnerKeys>, elsewhere: &Elsewhere, now: UnixSeconds) -> Value {
    let owned_by = match holder.slots {
        Slots::Store => "store",
        Slots::Directory(_) => "directory",
        Slots::References { .. } => "references",
    };
    let slot = |slot: Slot| match holder.slots {
        Slots::Store => stored.map(|keys| {
            let keys = keys.slot(slot);
            let retiring = keys.retiring.map(|retiring| retiring.until).filter(|until| *until > now);
            slot_status(holder.usage, slot, Some(keys.created), keys.expires, retiring)
        }),
        Slots::Directory(_) | Slots::References { .. } => {
            let expires = elsewhere.get(&(holder.number, slot))?;
            Some(slot_status(holder.usage, slot, None, *expires, None))
        }
    };
    json!({
        "owner": path(&holder.owner),
        "ownedBy": owned_by,
        "slots": { "primary": slot(Slot::Primary), "secondary": slot(Slot::Secondary) },
    })
}

fn slot_status(
    usage: &OwnerUsage,
    slot: Slot,
    created: Option<UnixSeconds>,
    expires: Option<UnixSeconds>,
    retiring_until: Option<UnixSeconds>,
) -> Value {
    let of_age = |age| usage.slot(slot).find(|key| key.age == age).map(|key| key.usage);
    let (current, retiring) = (of_age(KeyAge::Current), of_age(KeyAge::Retiring));
    json!({
        "created": created,
        "expires": expires,
        "retiringUntil": retiring_until,
        "retiringLastSeen": retiring.and_then(KeyUsage::last_seen),
        "lastSeen": current.and_then(KeyUsage::last_seen),
        "uses": current.map_or(0, KeyUsage::uses),
        "callers": current.map_or(0, KeyUsage::callers),
    })
}

/// An owner as it stands in a path.
fn path(owner: &Owner) -> String {
    match owner {
        Owner::Service(name) => format!("services/{name}"),
        Owner::Account(name) => format!("accounts/{name}"),
    }
}
