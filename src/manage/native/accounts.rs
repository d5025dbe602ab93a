//! Accounts: those of `gateway.yaml` are shown, those of the store made, changed and taken away.

use http::HeaderValue;
use http::StatusCode;
use http::header;
use serde::Deserialize;
use serde_json::Value;
use serde_json::json;

use crate::manage::Asked;
use crate::manage::Management;
use crate::manage::keys;
use crate::manage::native;
use crate::manage::reply;
use crate::manage::reply::Refused;
use crate::manage::reply::Reply;
use crate::model::feature::FeatureNames;
use crate::model::feature::FeatureSet;
use crate::model::name::Name;
use crate::model::resource::ResourceId;
use crate::observe::audit::Act;
use crate::snapshot::Snapshot;
use crate::snapshot::service::Account;
use crate::snapshot::service::AccountOrigin;
use crate::store::change::ChangeError;
use crate::store::record_key::Owner;
use crate::store::records::AccountRecord;

/// Shows every account.
pub(super) fn list(asked: &Asked<'_>) -> Reply {
    let all = asked.snapshot.accounts().map(|account| body(asked.snapshot, account));
    reply::json(StatusCode::OK, &json!({ "value": all.collect::<Vec<Value>>() }))
}

/// Shows one account.
///
/// # Errors
/// 404.
pub(super) fn show(asked: &Asked<'_>) -> Result<Reply, Refused> {
    Ok(reply::json(StatusCode::OK, &body(asked.snapshot, named(asked.snapshot, asked)?)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct New {
    name: String,
    resource: String,
    #[serde(default)]
    approvals: Vec<String>,
    #[serde(default)]
    may_issue: Vec<String>,
}

/// Makes an account and both its keys.
///
/// # Errors
/// 400 for what no account can be, 409 for a name or a resource that is taken, 503.
pub(super) async fn create(manage: &Management, asked: &Asked<'_>) -> Result<Reply, Refused> {
    let want = "{\"name\": text, \"resource\": text, \"approvals\": [text], \"mayIssue\": [text]}";
    let new: New = native::read(asked.body, want)?;
    let name = Name::parse(&new.name).map_err(|why| Refused::bad_argument(format!("name: {why}")))?;
    let resource = ResourceId::parse(&new.resource);
    let resource = resource.map_err(|why| Refused::bad_argument(format!("resource: {why}")))?;
    let names = &asked.snapshot.features;
    let approvals = known(names, "approvals", &new.approvals)?;
    let may_issue = known(names, "mayIssue", &new.may_issue)?;
    let taken = || Refused::conflict("an account of this name is there already");
    if asked.snapshot.account_named(&name).is_some() {
        return Err(taken());
    }
    if let Some(other) = asked.snapshot.account_of(&resource) {
        return Err(of_another(&other.name));
    }
    let record = AccountRecord { resource, approvals, may_issue, created: asked.now };
    let revision = match manage.store.create_account(&name, &record).await {
        Ok(revision) => revision,
        Err(ChangeError::Exists { key }) if key.starts_with("slots/") => {
            let message = format!("keys of a former account are left under this name; DELETE accounts/{name} first");
            return Err(Refused::conflict(message));
        }
        Err(ChangeError::Exists { .. }) => return Err(taken()),
        Err(error) => return Err(keys::refused(&error)),
    };
    let detail = json!({ "account": name, "approvals": record.approvals, "may_issue": record.may_issue });
    manage.record(asked, Act::CreateAccount, record.resource.to_string(), detail).await?;
    manage.in_force(revision).await?;
    let snapshot = manage.live.load();
    let Some(account) = snapshot.account_named(&name) else {
        // Somebody else made one for the same resource at the same time, and of two only one can stand.
        manage.store.remove_account(&name).await.map_err(|error| keys::refused(&error))?;
        return Err(snapshot.account_of(&record.resource).map_or_else(taken, |other| of_another(&other.name)));
    };
    let mut reply = reply::json(StatusCode::CREATED, &body(&snapshot, account));
    let location = HeaderValue::try_from(format!("/api/v1/accounts/{name}")).ok();
    reply.headers_mut().extend(location.map(|location| (header::LOCATION, location)));
    Ok(reply)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Changes {
    #[serde(default, deserialize_with = "native::given")]
    approvals: Option<Vec<String>>,
    #[serde(default, deserialize_with = "native::given")]
    may_issue: Option<Vec<String>>,
}

/// Sets what an account holds and may issue. Tokens that are out keep no more than the new ceiling.
///
/// # Errors
/// 404, 400 for features that are not known, 409 for an account of `gateway.yaml`, 503.
pub(super) async fn change(manage: &Management, asked: &Asked<'_>) -> Result<Reply, Refused> {
    let account = stored(asked.snapshot, asked)?;
    let want = "{\"approvals\": [text], \"mayIssue\": [text]}, at least one of the two";
    let changes: Changes = native::read(asked.body, want)?;
    if changes.approvals.is_none() && changes.may_issue.is_none() {
        return Err(Refused::bad_argument(format!("want {want}")));
    }
    let names = &asked.snapshot.features;
    let approvals = changes.approvals.map(|flags| known(names, "approvals", &flags)).transpose()?;
    let may_issue = changes.may_issue.map(|flags| known(names, "mayIssue", &flags)).transpose()?;
    let name = &account.name;
    let changed = manage.store.set_features(name, approvals.as_deref(), may_issue.as_deref()).await;
    let revision = changed.map_err(|error| refused(&error))?;
    let detail = json!({ "account": name, "approvals": approvals, "may_issue": may_issue });
    manage.record(asked, Act::ChangeAccount, account.resource.to_string(), detail).await?;
    manage.in_force(revision).await?;
    let snapshot = manage.live.load();
    Ok(reply::json(StatusCode::OK, &body(&snapshot, named(&snapshot, asked)?)))
}

/// Takes away an account and its keys, or what a former account left.
///
/// # Errors
/// 404, 409 for an account of `gateway.yaml`, 503.
pub(super) async fn remove(manage: &Management, asked: &Asked<'_>) -> Result<Reply, Refused> {
    let name = Name::parse(asked.name.unwrap_or_default()).map_err(|_not_one| unknown())?;
    match asked.snapshot.account_named(&name).map(|account| &account.origin) {
        Some(AccountOrigin::File { .. }) => return Err(of_the_file(&name)),
        Some(AccountOrigin::Store { .. }) | None => {}
    }
    let revision = manage.store.remove_account(&name).await.map_err(|error| refused(&error))?;
    let detail = json!({ "account": name });
    manage.record(asked, Act::RemoveAccount, asked.resource_of(&Owner::Account(name)), detail).await?;
    manage.in_force(revision).await?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

/// The account that a call names.
///
/// # Errors
/// 404.
pub(super) fn named<'s>(snapshot: &'s Snapshot, asked: &Asked<'_>) -> Result<&'s Account, Refused> {
    let name = Name::parse(asked.name.unwrap_or_default()).map_err(|_not_one| unknown())?;
    snapshot.account_named(&name).ok_or_else(unknown)
}

pub(super) fn unknown() -> Refused {
    Refused::not_found("there is no such account")
}

fn stored<'s>(snapshot: &'s Snapshot, asked: &Asked<'_>) -> Result<&'s Account, Refused> {
    let account = named(snapshot, asked)?;
    match account.origin {
        AccountOrigin::Store { .. } => Ok(account),
        AccountOrigin::File { .. } => Err(of_the_file(&account.name)),
    }
}

fn of_the_file(name: &Name) -> Refused {
    Refused::conflict(format!("gateway.yaml owns this account; change accounts.{name} there"))
}

fn of_another(name: &Name) -> Refused {
    Refused::conflict(format!("the resource is that of the account {name}"))
}

fn refused(error: &ChangeError) -> Refused {
    match error {
        ChangeError::NotFound { .. } => unknown(),
        ChangeError::Exists { .. }
        | ChangeError::NotAKey
        | ChangeError::KeyInUse
        | ChangeError::Contended { .. }
        | ChangeError::Unreadable { .. }
        | ChangeError::Crypto
        | ChangeError::Unavailable(_) => keys::refused(error),
    }
}

/// The flags, each once and in their order.
fn known(names: &FeatureNames, member: &str, flags: &[String]) -> Result<Vec<String>, Refused> {
    let set = flags.iter().try_fold(FeatureSet::EMPTY, |set, flag| Some(set.union(names.find(flag)?)));
    let set = set.ok_or_else(|| Refused::bad_argument(format!("{member}: want some of {names}")))?;
    Ok(names.names_of(set).map(str::to_owned).collect())
}

fn body(snapshot: &Snapshot, account: &Account) -> Value {
    let names = |set| snapshot.features.names_of(set).collect::<Vec<_>>();
    let (owned_by, created) = match &account.origin {
        AccountOrigin::File { .. } => ("gateway.yaml", None),
        AccountOrigin::Store { created } => ("store", Some(*created)),
    };
    json!({
        "name": account.name,
        "resource": account.resource.as_str(),
        "approvals": names(account.approvals),
        "mayIssue": names(account.may_issue),
        "ownedBy": owned_by,
        "created": created,
    })
}
