//! The last refusals of each worker, as facts that an explanation can be made of when somebody asks for one.
//!
//! Only a refusal comes here. It takes its worker's own lock, which nobody else holds for longer than it takes to copy
//! a few hundred pointers, and puts a fact sheet of bounded size in the place of the oldest of its kind. No credential
//! is in it: of a token the part that is signed, without the signature that would make it one.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use http::HeaderName;
use http::Method;

use crate::model::feature::FeatureNames;
use crate::model::feature::FeatureSet;
use crate::model::name::Name;
use crate::model::refusal::Denied;
use crate::model::refusal::Refusal;
use crate::model::resource::ResourceId;
use crate::observe::ids::Id;
use crate::observe::record::Principal;

/// Refusals of a service's own that a worker remembers.
const OF_SERVICES: usize = 128;

/// Refusals before a service was found: a stranger who tries paths does not push out those of callers.
const OF_NOBODY: usize = 64;

/// Failures that a worker remembers: an upstream that is down does not push out denials.
const FAILURES: usize = 64;

/// Longest signed part of a token that is kept, in bytes.
const LONGEST_TOKEN: usize = 2048;

/// What one decision was made of.
#[derive(Debug, Clone)]
pub struct Decision {
    /// Its identifier; `None` where no request was sent.
    pub id: Option<Id>,
    /// When the request ended, since 1970.
    pub at: Duration,
    /// The snapshot that decided; `None` where none was asked.
    pub generation: Option<u64>,
    /// Why the request was refused; `None` where it passed.
    pub refusal: Option<Refusal>,
    /// The service that matched.
    pub service: Option<Name>,
    /// Who called, once that was proven.
    pub principal: Option<Principal>,
    /// The client's address.
    pub client: Option<IpAddr>,
    /// The request's method.
    pub method: Method,
    /// The host that was asked for.
    pub host: Option<Box<str>>,
    /// The path, cut.
    pub path: Box<str>,
    /// Bytes of the request's body that came.
    pub body_bytes: u64,
    /// Where the request was sent: the upstream, and the endpoint that answered.
    pub sent: Option<(Name, Option<Arc<str>>)>,
    /// What else the request showed.
    pub evidence: Evidence,
}

/// What a refused request showed, as far as an explanation needs it.
#[derive(Debug, Clone, Default)]
pub struct Evidence {
    /// What stood where credentials can stand.
    pub shown: Vec<Shown>,
    /// The token that was to prove who calls.
    pub token: Option<Unsigned>,
    /// The LimitedAccessToken.
    pub limited: Option<Unsigned>,
    /// The resource that the caller stands for, or that a token was to be issued for.
    pub resource: Option<ResourceId>,
    /// What the call needs.
    pub needed: Option<Needed>,
    /// Why the credential was not accepted, where the caller is told only that it fails too often.
    pub throttled: Option<Denied>,
}

/// Something where a credential can stand, by its place and size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Where.
    pub place: Place,
    /// How often it stands there.
    pub times: usize,
    /// How long the first of them is.
    pub bytes: usize,
}

/// Where a credential can stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A header.
    Header(HeaderName),
    /// A query parameter.
    Query(Box<str>),
}

/// What a token says, without the signature that would make it one.
#[derive(Clone, PartialEq, Eq)]
pub struct Unsigned(Box<str>);

/// The features that a call needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needed {
    /// What the bits of the sets are called.
    pub names: FeatureNames,
    /// Every one of these.
    pub all_of: FeatureSet,
    /// One of each of these.
    pub any_of: Vec<FeatureSet>,
}

impl Unsigned {
    /// What of a token is no secret; `None` where it has no two dots or is too long to be kept.
    #[must_use]
    pub fn of(token: &str) -> Option<Self> {
        let (signed, _signature) = token.rsplit_once('.')?;
        (signed.contains('.') && signed.len() <= LONGEST_TOKEN).then(|| Self(signed.into()))
    }

    /// Header and claims, in base64url, with a dot between them.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Unsigned {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unsigned").finish_non_exhaustive()
    }
}

/// The refusals that every worker remembers.
#[derive(Debug, Default)]
pub struct Decisions(Mutex<Vec<Arc<Recent>>>);

impl Decisions {
    /// The memory of one more worker.
    #[must_use]
    pub fn of_worker(&self) -> Arc<Recent> {
        let recent = Arc::new(Recent::default());
        locked(&self.0).push(Arc::clone(&recent));
        recent
    }

    /// The refusal with this identifier, if it is remembered.
    #[must_use]
    pub fn find(&self, id: &str) -> Option<Arc<Decision>> {
        self.all().into_iter().find(|decision| decision.id.is_some_and(|known| known.digits() == id.as_bytes()))
    }

    /// The newest refusals, newest first.
    #[must_use]
    pub fn newest(&self, most: usize) -> Vec<Arc<Decision>> {
        let mut all = self.all();
        all.sort_by_key(|decision| std::cmp::Reverse(decision.at));
        all.truncate(most);
        all
    }

    fn all(&self) -> Vec<Arc<Decision>> {
        locked(&self.0).iter().flat_map(|recent| recent.all()).collect()
    }
}

/// The refusals that one worker remembers, in as much memory as there is room for.
#[derive(Debug, Default)]
pub struct Recent(Mutex<[VecDeque<Arc<Decision>>; 3]>);

impl Recent {
    /// Remembers a refusal, and forgets the oldest of its kind.
    pub fn remember(&self, decision: Decision) {
        let mut kinds = locked(&self.0);
        let [of_services, of_nobody, failures] = &mut *kinds;
        let (kind, most) = match (decision.refusal, &decision.service) {
            (Some(Refusal::Failed(_)), _) => (failures, FAILURES),
            (_, Some(_)) => (of_services, OF_SERVICES),
            (_, None) => (of_nobody, OF_NOBODY),
        };
        if kind.len() >= most {
            kind.pop_front();
        }
        kind.push_back(Arc::new(decision));
    }

    fn all(&self) -> Vec<Arc<Decision>> {
        locked(&self.0).iter().flatten().map(Arc::clone).collect()
    }
}

/// A lock whose holder panicked is still a lock.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::Method;

    use super::Decision;
    use super::Decisions;
    use super::Evidence;
    use super::OF_NOBODY;
    use super::OF_SERVICES;
    use super::Unsigned;
    use crate::model::name::Name;
    use crate::model::refusal::Denied;
    use crate::observe::ids::Ids;

    fn decision(ids: &Ids, second: u64, service: Option<&str>, why: Denied) -> Decision {
        Decision {
            id: Some(ids.next()),
            at: Duration::from_secs(second),
            generation: Some(1),
            refusal: Some(why.into()),
            service: service.map(|name| Name::parse(name).unwrap()),
            principal: None,
            client: None,
            method: Method::GET,
            host: None,
            path: "/".into(),
            body_bytes: 0,
            sent: None,
            evidence: Evidence::default(),
        }
    }

    #[test]
    fn strangers_do_not_push_out_the_refusals_of_callers_and_the_oldest_goes_first() {
        let (decisions, ids) = (Decisions::default(), Ids::new());
        let workers = [decisions.of_worker(), decisions.of_worker()];
        let first = decision(&ids, 0, Some("iris"), Denied::KeyUnknown);
        let id = first.id.unwrap().to_string();
        workers[0].remember(first);
        for second in 1..=1000 {
            workers[0].remember(decision(&ids, second, None, Denied::NoService));
            workers[1].remember(decision(&ids, second, Some("iris"), Denied::KeyUnknown));
        }
        assert!(decisions.find(&id).is_some());
        assert_eq!(decisions.newest(usize::MAX).len(), 1 + OF_NOBODY + OF_SERVICES);
        let newest: Vec<u64> = decisions.newest(3).iter().map(|decision| decision.at.as_secs()).collect();
        assert_eq!(newest, [1000, 1000, 999]);
        for second in 0..OF_SERVICES as u64 {
            workers[0].remember(decision(&ids, second, Some("iris"), Denied::KeyUnknown));
        }
        assert!(decisions.find(&id).is_none());
        assert!(decisions.find("").is_none());
    }

    #[test]
    fn of_a_token_the_signature_is_not_kept() {
        for (token, kept) in [
            ("aGVhZGVy.Y2xhaW1z.c2lnbmF0dXJl", Some("aGVhZGVy.Y2xhaW1z")),
            ("aGVhZGVy.Y2xhaW1z.", Some("aGVhZGVy.Y2xhaW1z")),
            ("no-token-at-all", None),
            ("one.dot", None),
            (&format!("a.{}.b", "c".repeat(4096)), None),
        ] {
            let unsigned = Unsigned::of(token);
            assert_eq!(unsigned.as_ref().map(Unsigned::as_str), kept, "{token}");
            assert!(!format!("{unsigned:?}").contains("aGVhZGVy"), "{token}");
        }
    }
}
