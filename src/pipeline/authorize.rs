//! May the caller make this call? Features from the account's own approvals, and from a LimitedAccessToken.

use std::sync::Arc;

use http::request::Parts;

use crate::model::feature::FeatureSet;
use crate::model::refusal::Denied;
use crate::model::resource::ResourceId;
use crate::observe::decisions::Needed;
use crate::pipeline::Judge;
use crate::pipeline::authenticate::Authenticated;
use crate::pipeline::authenticate::Caller;
use crate::pipeline::authenticate::approvals;
use crate::pipeline::credential;
use crate::pipeline::find::Routed;
use crate::snapshot::features;
use crate::tokens::limited::LimitedToken;

/// A request that may be made.
#[derive(Debug)]
pub struct Authorized<'s> {
    routed: Routed<'s>,
    caller: Caller<'s>,
    grant: FeatureSet,
    lent: Option<Arc<LimitedToken>>,
}

impl<'s> Authorized<'s> {
    /// Features that the request may use.
    pub const fn grant(&self) -> FeatureSet {
        self.grant
    }

    /// The LimitedAccessToken that was needed, if one was.
    pub const fn lent(&self) -> Option<&Arc<LimitedToken>> {
        self.lent.as_ref()
    }

    /// Who calls.
    pub const fn caller(&self) -> &Caller<'s> {
        &self.caller
    }

    /// Where the request goes.
    pub const fn routed(&self) -> &Routed<'s> {
        &self.routed
    }
}

/// A call that the caller may not make.
#[derive(Debug)]
pub struct Uncovered {
    /// The row.
    pub why: Denied,
    /// The caller's resource.
    pub resource: Option<ResourceId>,
    /// What the call needs.
    pub needed: Option<Needed>,
}

/// Checks the features that a call needs. A call that no rule gates does not look at LimitedAccessTokens.
///
/// # Errors
/// [`Denied::FeatureNotGranted`] when the grant does not cover the call, or the row that says what is wrong
/// with the LimitedAccessToken that was to cover it.
pub fn check<'s>(judge: &Judge<'s>, known: Authenticated<'s>, head: &Parts) -> Result<Authorized<'s>, Uncovered> {
    let (routed, caller) = known.into_parts();
    match grant(judge, &routed, &caller, head) {
        Ok((grant, lent)) => Ok(Authorized { routed, caller, grant, lent }),
        Err(why) => {
            let needed = needed(judge, &routed, head);
            Err(Uncovered { why, resource: caller.resource().cloned(), needed })
        }
    }
}

/// What a call needs, once more, for whoever asks why it was refused.
fn needed(judge: &Judge<'_>, routed: &Routed<'_>, head: &Parts) -> Option<Needed> {
    let names = judge.snapshot.features.clone();
    match routed.service().features.needs(&head.method, routed.path(), head.uri.query()) {
        features::Needed::Nothing => None,
        features::Needed::Features { all_of, any_of } => Some(Needed { names, all_of, any_of }),
    }
}

fn grant(
    judge: &Judge<'_>,
    routed: &Routed<'_>,
    caller: &Caller<'_>,
    head: &Parts,
) -> Result<(FeatureSet, Option<Arc<LimitedToken>>), Denied> {
    let own = approvals(judge.snapshot, caller);
    let needed = routed.service().features.needs(&head.method, routed.path(), head.uri.query());
    match needed.unmet(own) {
        None => Ok((own, None)),
        Some(_) => {
            let token = credential::limited_access_token(&head.headers)?.ok_or(Denied::FeatureNotGranted)?;
            let token = judge.limited_token(&judge.snapshot.limited, token)?;
            let grant = own.union(covered(judge, caller, &token)?);
            if needed.unmet(grant).is_some() {
                return Err(Denied::FeatureNotGranted);
            }
            Ok((grant, Some(token)))
        }
    }
}

/// What a LimitedAccessToken lends to this caller: nothing to another resource's, and never more than its ISV
/// may lend at this moment.
fn covered(judge: &Judge<'_>, caller: &Caller<'_>, token: &Arc<LimitedToken>) -> Result<FeatureSet, Denied> {
    if caller.resource() != Some(&token.target) {
        return Err(Denied::LimitedTokenResource);
    }
    if judge.snapshot.revocations.cover_limited(token, judge.now) {
        return Err(Denied::LimitedTokenExpired);
    }
    let ceiling = judge.snapshot.account_named(&token.isv).map_or(FeatureSet::EMPTY, |isv| isv.may_issue);
    Ok(token.flags.intersection(ceiling))
}
