//! What a refused request showed: gathered once it is refused, for whoever asks why, and never for one that passes.

use http::HeaderName;
use http::header::AUTHORIZATION;
use http::request::Parts;

use crate::config::KeySource;
use crate::model::explanation::Step;
use crate::model::refusal::Refusal;
use crate::model::resource::ResourceId;
use crate::observe::decisions::Evidence;
use crate::observe::decisions::Needed;
use crate::observe::decisions::Place;
use crate::observe::decisions::Shown;
use crate::observe::decisions::Unsigned;
use crate::pipeline::credential;
use crate::pipeline::credential::LIMITED_ACCESS_TOKEN;
use crate::pipeline::credential::SUBSCRIPTION_KEY;
use crate::snapshot::service::Auth;
use crate::snapshot::service::Service;

/// Where credentials usually stand, whether or not the service reads them there.
static USUAL: [HeaderName; 3] = [AUTHORIZATION, SUBSCRIPTION_KEY, LIMITED_ACCESS_TOKEN];

/// Gathers what an explanation of this refusal will need. `needed` is what the call needs, where the caller lacks it.
pub(super) fn of(
    refusal: Refusal,
    head: &Parts,
    service: Option<&Service>,
    resource: Option<ResourceId>,
    needed: Option<Needed>,
) -> Evidence {
    let Some(service) = service else { return Evidence::default() };
    let headers = &head.headers;
    let token = || credential::token(headers).ok().and_then(Unsigned::of);
    let limited = || credential::limited_access_token(headers).ok().flatten().and_then(Unsigned::of);
    let (sources, token) = match &service.auth {
        Auth::Key { sources, .. } => (&**sources, None),
        Auth::Token { .. } if Step::of(refusal) == Step::Caller => (&[][..], token()),
        Auth::Token { .. } | Auth::Public => (&[][..], None),
    };
    Evidence {
        shown: shown(sources, head),
        token,
        limited: if needed.is_some() { limited() } else { None },
        resource,
        needed,
        throttled: None,
    }
}

fn shown(sources: &[KeySource], head: &Parts) -> Vec<Shown> {
    let own = sources.iter().filter_map(|source| match source {
        KeySource::Header(name) if !USUAL.contains(name) => Some(name),
        KeySource::Header(_) | KeySource::Bearer | KeySource::Query(_) => None,
    });
    let headers = USUAL.iter().chain(own).filter_map(|name| {
        let mut values = head.headers.get_all(name).iter();
        let bytes = values.next()?.len();
        Some(Shown { place: Place::Header(name.clone()), times: 1 + values.count(), bytes })
    });
    let parameters = sources.iter().filter_map(|source| match source {
        KeySource::Query(name) => {
            let (times, bytes) = credential::parameters(head.uri.query(), name)?;
            Some(Shown { place: Place::Query(name.as_str().into()), times, bytes })
        }
        KeySource::Bearer | KeySource::Header(_) => None,
    });
    headers.chain(parameters).collect()
}
