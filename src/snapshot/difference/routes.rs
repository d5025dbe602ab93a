//! Requests that another service answers: asked of the route tables themselves, with one request for each match.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use http::Method;

use super::Changes;
use super::Effect;
use crate::config::Auth;
use crate::config::Config;
use crate::config::HostMatch;
use crate::config::Match;
use crate::config::PathMatch;
use crate::config::Service;
use crate::model::host::Host;
use crate::model::name::Name;
use crate::model::path::NormalPath;
use crate::model::path::PathTemplate;
use crate::model::path::TemplateSegment;
use crate::snapshot::routes::RouteTable;

/// A segment, label or host that no configuration is likely to name.
const ANY: &str = "any";

/// From which service to which; `None` is none.
type Move<'c> = (Option<&'c Name>, Option<&'c Name>);

/// Notes where requests go elsewhere. Whole services that come or go are noted as such.
pub(super) fn compare(changes: &mut Changes, old: &Config, new: &Config) {
    let (before, after) = (Routes::of(old), Routes::of(new));
    let methods = methods(old, new);
    for (host, path) in samples(old, new) {
        let mut moved: BTreeMap<Move<'_>, (Effect, Vec<&str>)> = BTreeMap::new();
        for method in &methods {
            let (from, to) = (before.find(&host, &path, method), after.find(&host, &path, method));
            let (was, is) = (from.map(|service| &service.name), to.map(|service| &service.name));
            let came = from.is_none() && is.is_some_and(|name| !old.services.contains_key(name));
            let went = to.is_none() && was.is_some_and(|name| !new.services.contains_key(name));
            if was != is && !came && !went {
                moved.entry((was, is)).or_insert((effect(from, to), Vec::new())).1.push(method.as_str());
            }
        }
        for ((was, is), (effect, methods)) in moved {
            let Some(about) = is.or(was) else { continue };
            let name = |of: Option<&Name>| of.map_or("nobody", Name::as_str).to_owned();
            let call = format!("{} {host}{path}", methods.join(","));
            changes.note(effect, &format!("services.{about}.match"), format!("{call}: {} -> {}", name(was), name(is)));
        }
    }
}

fn effect(was: Option<&Service>, is: Option<&Service>) -> Effect {
    let is_public = |service: &Service| matches!(service.auth, Auth::Public { .. });
    match (was, is) {
        (None, Some(_)) => Effect::Widens,
        (Some(_), None) => Effect::Narrows,
        (Some(was), Some(is)) if !is_public(was) && is_public(is) => Effect::Widens,
        (Some(was), Some(is)) if is_public(was) && !is_public(is) => Effect::Narrows,
        (Some(_), Some(_)) | (None, None) => Effect::Changes,
    }
}

/// The services of a configuration, and the table that finds them.
struct Routes<'c> {
    services: Vec<&'c Service>,
    table: RouteTable,
}

impl<'c> Routes<'c> {
    fn of(config: &'c Config) -> Self {
        let services: Vec<&Service> = config.services.values().collect();
        let entries = services.iter().enumerate();
        let matches = entries.flat_map(|(index, service)| service.matches.iter().map(move |entry| (entry, index)));
        // A configuration in which two services match the same requests has not been read.
        Self { table: RouteTable::build(matches).unwrap_or_default(), services }
    }

    fn find(&self, host: &str, path: &str, method: &Method) -> Option<&'c Service> {
        let (host, path) = (Host::read(host).ok()?, NormalPath::read(path).ok()?);
        self.services.get(self.table.find(&host, &path, method).ok()?).copied()
    }
}

/// Methods that are listed anywhere, and two that need not be.
fn methods(old: &Config, new: &Config) -> Vec<Method> {
    let mut methods = vec![Method::GET, Method::POST];
    for method in matches(old).chain(matches(new)).flat_map(|entry| &entry.methods) {
        if !methods.contains(method) {
            methods.push(method.clone());
        }
    }
    methods
}

fn matches(config: &Config) -> impl Iterator<Item = &Match> {
    config.services.values().flat_map(|service| &service.matches)
}

/// A host and a path for each match; for a host that only one side names every path, since there all of the wider
/// matches end.
fn samples(old: &Config, new: &Config) -> BTreeSet<(String, String)> {
    let hosts = |config| matches(config).map(|entry| host(&entry.host)).collect::<BTreeSet<_>>();
    let one_sided: Vec<String> = hosts(old).symmetric_difference(&hosts(new)).cloned().collect();
    let all = || matches(old).chain(matches(new));
    let own = all().flat_map(|entry| paths(&entry.path).map(|path| (host(&entry.host), path)));
    let ended = all().flat_map(|entry| {
        let paths: Vec<String> = paths(&entry.path).collect();
        one_sided.iter().flat_map(move |host| paths.clone().into_iter().map(|path| (host.clone(), path)))
    });
    own.chain(ended).collect()
}

fn host(of: &HostMatch) -> String {
    match of {
        HostMatch::Any => ANY.to_owned(),
        HostMatch::Exact(host) => host.clone(),
        HostMatch::Under(suffix) => format!("{ANY}.{suffix}"),
    }
}

fn paths(of: &PathMatch) -> impl Iterator<Item = String> {
    let (template, is_prefix) = match of {
        PathMatch::Template(template) => (template, false),
        PathMatch::Prefix(template) => (template, true),
    };
    let path = sample(template);
    let below = is_prefix.then(|| format!("{}/{ANY}", path.trim_end_matches('/')));
    [path].into_iter().chain(below)
}

fn sample(template: &PathTemplate) -> String {
    let segments = template.segments().iter().map(|segment| match segment {
        TemplateSegment::Literal(text) => format!("/{text}"),
        TemplateSegment::Any => format!("/{ANY}"),
    });
    let path: String = segments.collect();
    if path.is_empty() { "/".to_owned() } else { path }
}
