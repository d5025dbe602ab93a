//! Two services that could answer the same request.
//!
//! A match is a set of requests: host × path × method. Where one set holds another, the narrower one goes first and
//! all is plain. Where two sets of different services are equal, or cross without one holding the other, which of the
//! two answers would be an accident of order. That is refused, unless sets that cross let in the same callers.
//!
//! Paths are kept in one trie of segments for each host, so that a match is compared with those only that share
//! requests with it: the cost is that of the paths' lengths, not of the number of services squared.

use std::collections::HashMap;
use std::ops::ControlFlow;

use http::Method;

use crate::config::Auth;
use crate::config::HostMatch;
use crate::config::Match;
use crate::config::PathMatch;
use crate::config::Service;
use crate::config::Slots;
use crate::config::problem::Place;
use crate::config::problem::Problems;
use crate::model::path::TemplateSegment;

/// Notes every match that shares requests with an earlier service's match in a way that leaves open who answers.
/// Of several such services, the first that is met is named.
pub(super) fn note(services: &[&Service], problems: &mut Problems) {
    let entries: Vec<Entry<'_>> = services
        .iter()
        .flat_map(|service| service.matches.iter().enumerate().map(|(index, matched)| (*service, index, matched)))
        .map(|(service, index, matched)| Entry { service, index, matched })
        .collect();
    let mut hosts: HashMap<&HostMatch, Node<'_>> = HashMap::new();
    for entry in &entries {
        hosts.entry(&entry.matched.host).or_default().insert(entry);
    }
    for entry in &entries {
        if let ControlFlow::Break(what) = find_conflict(entry, &hosts) {
            let service = Place::root().field("services").field(entry.service.name.as_str());
            problems.note(&service.field("match").item(entry.index), what);
        }
    }
}

fn find_conflict<'s>(entry: &Entry<'s>, hosts: &HashMap<&'s HostMatch, Node<'s>>) -> ControlFlow<String> {
    let (segments, _) = entry.path();
    if let Some(node) = hosts.get(&entry.matched.host) {
        // What is longer than this path meets it when its own turn comes.
        node.visit(segments, Below::LeaveOut, &mut |other| {
            if other.is_twin_of(entry) && other.service.name >= entry.service.name {
                return ControlFlow::Continue(());
            }
            conflict(entry, other)
        })?;
    }
    for wider in wider_hosts(&entry.matched.host) {
        if let Some(node) = hosts.get(&wider) {
            let below = if entry.path().1 == Kind::Prefix { Below::Include } else { Below::LeaveOut };
            node.visit(segments, below, &mut |other| conflict(entry, other))?;
        }
    }
    ControlFlow::Continue(())
}

/// One match of one service.
#[derive(Debug, Clone, Copy)]
struct Entry<'s> {
    service: &'s Service,
    index: usize,
    matched: &'s Match,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Template,
    Prefix,
}

impl<'s> Entry<'s> {
    fn path(&self) -> (&'s [TemplateSegment], Kind) {
        match &self.matched.path {
            PathMatch::Template(path) => (path.segments(), Kind::Template),
            PathMatch::Prefix(path) => (path.segments(), Kind::Prefix),
        }
    }

    /// Whether each of the two would meet the other, so that one of the two turns must be left out.
    fn is_twin_of(&self, other: &Self) -> bool {
        let ((mine, my_kind), (theirs, their_kind)) = (self.path(), other.path());
        my_kind == their_kind && mine.len() == theirs.len()
    }

    fn fits_the_same_as(&self, other: &Self) -> bool {
        let (mine, theirs) = (self.matched, other.matched);
        mine.host == theirs.host
            && mine.path == theirs.path
            && methods_cover(&mine.methods, &theirs.methods)
            && methods_cover(&theirs.methods, &mine.methods)
    }

    fn covers(&self, other: &Self) -> bool {
        host_covers(&self.matched.host, &other.matched.host)
            && self.path_covers(other)
            && methods_cover(&self.matched.methods, &other.matched.methods)
    }

    fn path_covers(&self, other: &Self) -> bool {
        let ((mine, my_kind), (theirs, their_kind)) = (self.path(), other.path());
        let long_enough = match (my_kind, their_kind) {
            (Kind::Template, Kind::Template) => mine.len() == theirs.len(),
            (Kind::Template, Kind::Prefix) => false,
            (Kind::Prefix, Kind::Template | Kind::Prefix) => mine.len() <= theirs.len(),
        };
        long_enough && mine.iter().zip(theirs).all(|(mine, theirs)| segment_covers(mine, theirs))
    }
}

/// What is wrong between two matches whose hosts and paths have requests in common, if anything is.
fn conflict(entry: &Entry<'_>, other: &Entry<'_>) -> ControlFlow<String> {
    if entry.service.name == other.service.name {
        return ControlFlow::Continue(());
    }
    let Some(method) = common_method(&entry.matched.methods, &other.matched.methods) else {
        return ControlFlow::Continue(());
    };
    let name = &other.service.name;
    if entry.fits_the_same_as(other) {
        let example = example(&method, entry, other);
        return ControlFlow::Break(format!(
            "want requests that no other service answers: the service {name:?} has the same match, for {example}"
        ));
    }
    if lets_in_the_same(entry.service, other.service) || entry.covers(other) || other.covers(entry) {
        return ControlFlow::Continue(());
    }
    let example = example(&method, entry, other);
    ControlFlow::Break(format!(
        "want one of two matches to be the narrower one: this and one of the service {name:?} both fit {example}, and \
         who may call differs"
    ))
}

/// Whether the same callers may make the same calls. Two services with keys of their own never let in the same, and
/// one whose mode may be changed does so only until it is.
fn lets_in_the_same(one: &Service, other: &Service) -> bool {
    if one.managed.is_some() || other.managed.is_some() {
        return false;
    }
    let has_own_keys = |auth: &Auth| matches!(auth, Auth::Key(key) if key.slots == Some(Slots::Store));
    let same_auth = match (&one.auth, &other.auth) {
        (Auth::Public { reason: _ }, Auth::Public { reason: _ }) => true,
        (one, other) => one == other && !has_own_keys(one),
    };
    same_auth && one.feature_rules == other.feature_rules
}

/// Whether a path is looked at that lies below the end of the one looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Below {
    Include,
    LeaveOut,
}

/// A trie of the paths of one host, by segments.
#[derive(Debug, Default)]
struct Node<'s> {
    literal: HashMap<&'s str, Self>,
    any: Option<Box<Self>>,
    ending_here: Vec<Entry<'s>>,
}

impl<'s> Node<'s> {
    fn insert(&mut self, entry: &Entry<'s>) {
        let mut node = self;
        for segment in entry.path().0 {
            node = match segment {
                TemplateSegment::Literal(text) => node.literal.entry(text).or_default(),
                TemplateSegment::Any => node.any.get_or_insert_default(),
            };
        }
        node.ending_here.push(*entry);
    }

    /// Shows every entry whose path has a path in common with `segments`: prefixes on the way there and what ends
    /// there, and on demand what lies below.
    fn visit(
        &self,
        segments: &[TemplateSegment],
        below: Below,
        see: &mut impl FnMut(&Entry<'s>) -> ControlFlow<String>,
    ) -> ControlFlow<String> {
        let Some((segment, rest)) = segments.split_first() else {
            return match below {
                Below::Include => self.visit_all(see),
                Below::LeaveOut => self.ending_here.iter().try_for_each(see),
            };
        };
        self.ending_here.iter().filter(|entry| entry.path().1 == Kind::Prefix).try_for_each(&mut *see)?;
        match segment {
            TemplateSegment::Literal(text) => {
                if let Some(node) = self.literal.get(&**text) {
                    node.visit(rest, below, see)?;
                }
                match &self.any {
                    Some(node) if !text.is_empty() => node.visit(rest, below, see),
                    Some(_) | None => ControlFlow::Continue(()),
                }
            }
            TemplateSegment::Any => {
                for (text, node) in &self.literal {
                    if !text.is_empty() {
                        node.visit(rest, below, see)?;
                    }
                }
                self.any.as_ref().map_or(ControlFlow::Continue(()), |node| node.visit(rest, below, see))
            }
        }
    }

    fn visit_all(&self, see: &mut impl FnMut(&Entry<'s>) -> ControlFlow<String>) -> ControlFlow<String> {
        self.ending_here.iter().try_for_each(&mut *see)?;
        self.literal.values().chain(self.any.as_deref()).try_for_each(|node| node.visit_all(see))
    }
}

/// Every host match that covers this one and is wider.
fn wider_hosts(host: &HostMatch) -> Vec<HostMatch> {
    let name = match host {
        HostMatch::Any => return Vec::new(),
        HostMatch::Exact(name) | HostMatch::Under(name) => name,
    };
    let suffixes = name.match_indices('.').filter_map(|(dot, _)| name.get(dot + 1..));
    suffixes.map(|suffix| HostMatch::Under(suffix.to_owned())).chain([HostMatch::Any]).collect()
}

fn host_covers(wide: &HostMatch, narrow: &HostMatch) -> bool {
    match (wide, narrow) {
        (HostMatch::Any, _) => true,
        (HostMatch::Under(suffix), HostMatch::Exact(name) | HostMatch::Under(name)) => {
            wide == narrow || name.strip_suffix(suffix.as_str()).is_some_and(|rest| rest.ends_with('.'))
        }
        (HostMatch::Exact(_), _) | (HostMatch::Under(_), HostMatch::Any) => wide == narrow,
    }
}

fn segment_covers(wide: &TemplateSegment, narrow: &TemplateSegment) -> bool {
    match (wide, narrow) {
        (TemplateSegment::Any, TemplateSegment::Any) => true,
        (TemplateSegment::Any, TemplateSegment::Literal(text)) => !text.is_empty(),
        (TemplateSegment::Literal(_), TemplateSegment::Any) => false,
        (TemplateSegment::Literal(wide), TemplateSegment::Literal(narrow)) => wide == narrow,
    }
}

/// Whether a list of methods takes this one: an empty list takes all, and `GET` stands for `HEAD` too.
fn takes(methods: &[Method], method: &Method) -> bool {
    methods.is_empty() || methods.contains(method) || (method == Method::HEAD && methods.contains(&Method::GET))
}

fn methods_cover(wide: &[Method], narrow: &[Method]) -> bool {
    wide.is_empty() || (!narrow.is_empty() && narrow.iter().all(|method| takes(wide, method)))
}

fn common_method(one: &[Method], other: &[Method]) -> Option<Method> {
    if one.is_empty() && other.is_empty() {
        return Some(Method::GET);
    }
    one.iter().chain(other).find(|method| takes(one, method) && takes(other, method)).cloned()
}

/// A request that both fit: `GET /a/x at api.example.com`.
fn example(method: &Method, one: &Entry<'_>, other: &Entry<'_>) -> String {
    let (longer, shorter) = if one.path().0.len() >= other.path().0.len() { (one, other) } else { (other, one) };
    let mut path = String::new();
    for (at, segment) in longer.path().0.iter().enumerate() {
        let literal =
            [Some(segment), shorter.path().0.get(at)].into_iter().flatten().find_map(|segment| match segment {
                TemplateSegment::Literal(text) => Some(&**text),
                TemplateSegment::Any => None,
            });
        path.push('/');
        path.push_str(literal.unwrap_or("x"));
    }
    if path.is_empty() {
        path.push('/');
    }
    let (one_host, other_host) = (&one.matched.host, &other.matched.host);
    match if host_covers(one_host, other_host) { other_host } else { one_host } {
        HostMatch::Any => format!("{method} {path}"),
        HostMatch::Exact(host) => format!("{method} {path} at {host}"),
        HostMatch::Under(suffix) => format!("{method} {path} at x.{suffix}"),
    }
}
