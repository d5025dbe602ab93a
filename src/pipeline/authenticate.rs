//! Who is calling? One function a mode; the mode is the service's, never the request's.

use std::borrow::Cow;
use std::sync::Arc;

use http::request::Parts;

use crate::config::CallerResource;
use crate::config::TokenIssuer;
use crate::model::digest::Digest;
use crate::model::feature::FeatureSet;
use crate::model::refusal::Denied;
use crate::model::refusal::Failed;
use crate::model::resource::ResourceId;
use crate::model::slot::Slot;
use crate::model::time::UnixSeconds;
use crate::observe::record::Principal;
use crate::observe::usage::UsedKey;
use crate::pipeline::Halt;
use crate::pipeline::Judge;
use crate::pipeline::credential;
use crate::pipeline::find::Routed;
use crate::snapshot::Snapshot;
use crate::snapshot::keys::KeyOwner;
use crate::snapshot::service::Account;
use crate::snapshot::service::Accounts;
use crate::snapshot::service::Auth;
use crate::snapshot::service::Service;
use crate::tokens::issuer::TrustedIssuer;
use crate::tokens::verify::VerifiedToken;

/// A request whose caller is known, or may be unknown.
#[derive(Debug)]
pub struct Authenticated<'s> {
    routed: Routed<'s>,
    caller: Caller<'s>,
    key: Option<UsedKey<'s>>,
}

/// Who calls.
#[derive(Debug, Clone)]
pub enum Caller<'s> {
    /// Anybody: the service is public.
    Anyone,
    /// Somebody who holds the service's own key.
    Service(Slot),
    /// An account.
    Account(&'s Account, Slot),
    /// The bearer of a token, and the resource that it stands for.
    Token(Arc<VerifiedToken>, Option<Cow<'s, ResourceId>>),
}

impl<'s> Authenticated<'s> {
    /// Who calls, for the record.
    pub fn principal(&self) -> Principal {
        match &self.caller {
            Caller::Anyone => Principal::Anonymous,
            Caller::Service(slot) => {
                Principal::Service { service: self.routed.service().settings.name.clone(), slot: *slot }
            }
            Caller::Account(account, slot) => Principal::Account { account: account.name.clone(), slot: *slot },
            Caller::Token(token, _) => {
                Principal::Token { issuer: issuer_of(token), subject: Arc::clone(&token.subject) }
            }
        }
    }

    /// The key that opened, for the record.
    pub const fn key(&self) -> Option<UsedKey<'s>> {
        self.key
    }

    pub(super) fn into_parts(self) -> (Routed<'s>, Caller<'s>) {
        (self.routed, self.caller)
    }
}

fn issuer_of(token: &VerifiedToken) -> TokenIssuer {
    if token.issuer.as_str() == TrustedIssuer::OWN_NAME {
        TokenIssuer::Own
    } else {
        TokenIssuer::Foreign(token.issuer.clone())
    }
}

impl Caller<'_> {
    /// The resource that the caller stands for.
    pub fn resource(&self) -> Option<&ResourceId> {
        match self {
            Self::Account(account, _) => Some(&account.resource),
            Self::Token(_, resource) => resource.as_deref(),
            Self::Anyone | Self::Service(_) => None,
        }
    }
}

/// Checks the one credential that the service wants.
///
/// # Errors
/// [`Failed::ServiceQuarantined`], a 401 row, or [`Halt::KeysWanted`] when a token cannot be judged before its issuer's keys are fetched.
pub fn check<'s>(judge: &Judge<'s>, routed: Routed<'s>, head: &Parts) -> Result<Authenticated<'s>, Halt> {
    if routed.service().quarantined.is_some() {
        return Err(Failed::ServiceQuarantined.into());
    }
    let mut key = None;
    let caller = match &routed.service().auth {
        Auth::Public => Caller::Anyone,
        Auth::Key { sources, accounts } => {
            let presented = credential::key(sources, &head.headers, head.uri.query())?;
            let (caller, used) =
                holder(judge.snapshot, routed.service(), accounts, &Digest::of(&presented), judge.now)?;
            key = used;
            caller
        }
        Auth::Token { verifier, resource } => {
            let presented = credential::token(&head.headers)?;
            let token = judge.token(verifier, presented)?;
            if judge.snapshot.revocations.cover(&token, judge.now) {
                return Err(Denied::TokenRevoked.into());
            }
            let resource = match resource {
                None => None,
                Some(CallerResource::Fixed(resource)) => Some(Cow::Borrowed(resource)),
                Some(CallerResource::Claim(_)) => token.resource.clone().map(Cow::Owned),
            };
            Caller::Token(token, resource)
        }
    };
    Ok(Authenticated { routed, caller, key })
}

/// Finds who holds a key, if it opens this service now.
fn holder<'s>(
    snapshot: &'s Snapshot,
    service: &'s Service,
    accounts: &Accounts,
    key: &Digest,
    now: UnixSeconds,
) -> Result<(Caller<'s>, Option<UsedKey<'s>>), Denied> {
    let record = snapshot.keys.get(key).ok_or(Denied::KeyUnknown)?;
    let found = match record.owner {
        KeyOwner::Service(index) if index == service.index => (Caller::Service(record.slot), service.usage.of(key)),
        KeyOwner::Account(index) if accounts.hold(index) => {
            let account = snapshot.account(index).ok_or(Denied::KeyUnknown)?;
            (Caller::Account(account, record.slot), account.usage.of(key))
        }
        KeyOwner::Service(_) | KeyOwner::Account(_) => return Err(Denied::KeyUnknown),
    };
    match record.expires {
        Some(expires) if expires <= now => Err(Denied::KeyExpired),
        Some(_) | None => Ok(found),
    }
}

/// Features that the caller holds in its own right. A token for an account's resource brings that account's.
pub fn approvals(snapshot: &Snapshot, caller: &Caller<'_>) -> FeatureSet {
    match caller {
        Caller::Account(account, _) => account.approvals,
        Caller::Token(_, Some(resource)) => {
            snapshot.account_of(resource).map_or(FeatureSet::EMPTY, |account| account.approvals)
        }
        Caller::Token(_, None) | Caller::Anyone | Caller::Service(_) => FeatureSet::EMPTY,
    }
}

#[cfg(test)]
mod tests;
