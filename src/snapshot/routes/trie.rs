//! The paths of one host: a tree with a level for each segment.
//!
//! Literals are filed under their folded form (one decoding, lower case), so that one descent finds both
//! what a path matches exactly and what a lenient server could take it for. Each end of a path keeps the
//! spellings that lead to it.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use http::Method;

use super::SameMatch;
use crate::config::PathMatch;
use crate::model::path::NormalPath;
use crate::model::path::TemplateSegment;
use crate::model::path::escape::folded;
use crate::snapshot::methods::Methods;

/// A node, and so the tree below it.
#[derive(Default)]
pub(super) struct Trie {
    /// By [`hash_of`] the folded literal. Filled from the configuration only, so nobody can force collisions.
    literals: HashMap<u64, Vec<Literal>, BuildHasherDefault<AsItIs>>,
    any: Option<Box<Self>>,
    /// Templates that end here, with or without a trailing slash.
    whole: Endpoint,
    /// Prefixes that end here.
    prefix: Endpoint,
}

struct Literal {
    folded: Box<[u8]>,
    below: Trie,
}

/// All templates, or all prefixes, that are alike when folded.
#[derive(Default)]
pub(super) struct Endpoint(Vec<Spelling>);

struct Spelling {
    path: PathMatch,
    entries: Entries,
}

/// The entries for one path as it is spelled: those that list methods before those that take every one.
pub(super) struct Entries(Vec<(Methods, usize)>);

/// What a path leads to.
pub(super) struct Found<'t> {
    /// The most specific path that matches to the letter.
    pub(super) exact: Option<&'t Entries>,
    /// The most specific path that the most lenient reading matches.
    pub(super) loosest: Option<&'t Endpoint>,
}

impl Trie {
    /// Files a service under a path.
    pub(super) fn insert(&mut self, path: &PathMatch, methods: Methods, service: usize) -> Result<(), SameMatch> {
        let (PathMatch::Template(template) | PathMatch::Prefix(template)) = path;
        self.insert_below(template.named_segments(), path, methods, service)
    }

    fn insert_below(
        &mut self,
        segments: &[TemplateSegment],
        path: &PathMatch,
        methods: Methods,
        service: usize,
    ) -> Result<(), SameMatch> {
        match (segments, path) {
            ([], PathMatch::Template(_)) => self.whole.insert(path, methods, service),
            ([], PathMatch::Prefix(_)) => self.prefix.insert(path, methods, service),
            ([TemplateSegment::Any, rest @ ..], _) => {
                self.any.get_or_insert_default().insert_below(rest, path, methods, service)
            }
            ([TemplateSegment::Literal(text), rest @ ..], _) => {
                let alike = self.literals.entry(hash_of(text)).or_default();
                if let Some(known) = alike.iter_mut().find(|literal| literal.is(text)) {
                    return known.below.insert_below(rest, path, methods, service);
                }
                let mut literal = Literal { folded: folded(text).collect(), below: Self::default() };
                literal.below.insert_below(rest, path, methods, service)?;
                alike.push(literal);
                Ok(())
            }
        }
    }

    /// Finds what a path leads to.
    pub(super) fn find<'t>(&'t self, path: &NormalPath<'_>) -> Found<'t> {
        let mut loosest = None;
        let mut take_exact = |endpoint: &'t Endpoint| {
            loosest.get_or_insert(endpoint);
            endpoint.0.iter().find(|spelling| spelling.matches(path)).map(|spelling| &spelling.entries)
        };
        let exact = self.first(named_rest(path.as_str()), &mut take_exact);
        if !path.oddities().is_empty() {
            loosest = self.first(named_rest(path.loosest()), &mut Some);
        }
        Found { exact, loosest }
    }

    /// Asks the endpoints that `rest` leads to, the most specific first, until one answers.
    fn first<'t, R>(&'t self, rest: Option<&str>, ask: &mut impl FnMut(&'t Endpoint) -> Option<R>) -> Option<R> {
        let deeper = match rest {
            None => self.whole.asked(ask),
            Some(rest) => {
                let (segment, rest) =
                    rest.split_once('/').map_or((rest, None), |(segment, rest)| (segment, Some(rest)));
                let literal = self.literal(segment).and_then(|node| node.first(rest, ask));
                literal.or_else(|| self.any.as_ref().filter(|_| !segment.is_empty())?.first(rest, ask))
            }
        };
        deeper.or_else(|| self.prefix.asked(ask))
    }

    fn literal(&self, segment: &str) -> Option<&Self> {
        let alike = self.literals.get(&hash_of(segment))?;
        alike.iter().find(|literal| literal.is(segment)).map(|literal| &literal.below)
    }
}

/// What follows the first slash, without a trailing one: `None` where no segment is left.
fn named_rest(path: &str) -> Option<&str> {
    let rest = path.strip_prefix('/').filter(|rest| !rest.is_empty())?;
    Some(rest.strip_suffix('/').unwrap_or(rest))
}

impl Literal {
    /// Whether a segment is filed here. Most are in lower case and unescaped, and compared at once.
    fn is(&self, segment: &str) -> bool {
        *self.folded == *segment.as_bytes() || folded(segment).eq(self.folded.iter().copied())
    }
}

impl Endpoint {
    pub(super) fn spellings(&self) -> impl Iterator<Item = &Entries> {
        self.0.iter().map(|spelling| &spelling.entries)
    }

    fn asked<'t, R>(&'t self, ask: &mut impl FnMut(&'t Self) -> Option<R>) -> Option<R> {
        if self.0.is_empty() { None } else { ask(self) }
    }

    fn insert(&mut self, path: &PathMatch, methods: Methods, service: usize) -> Result<(), SameMatch> {
        if let Some(known) = self.0.iter_mut().find(|spelling| spelling.is(path)) {
            return known.entries.insert(methods, service);
        }
        self.0.push(Spelling { path: path.clone(), entries: Entries(vec![(methods, service)]) });
        Ok(())
    }
}

impl Spelling {
    fn matches(&self, path: &NormalPath<'_>) -> bool {
        match &self.path {
            PathMatch::Template(template) => template.matches(path),
            PathMatch::Prefix(template) => template.leads(path),
        }
    }

    fn is(&self, path: &PathMatch) -> bool {
        match (&self.path, path) {
            (PathMatch::Template(this), PathMatch::Template(other)) => this == other,
            (PathMatch::Prefix(this), PathMatch::Prefix(other)) => this.named_segments() == other.named_segments(),
            (PathMatch::Template(_), PathMatch::Prefix(_)) | (PathMatch::Prefix(_), PathMatch::Template(_)) => false,
        }
    }
}

impl Entries {
    pub(super) fn service_for(&self, method: &Method) -> Option<usize> {
        self.0.iter().find(|(methods, _)| methods.take(method)).map(|(_, service)| *service)
    }

    /// Every method that is taken; empty where every method is, since then none is refused.
    pub(super) fn methods(&self) -> impl Iterator<Item = &Method> {
        self.0.iter().flat_map(|(methods, _)| match methods {
            Methods::Every => &[][..],
            Methods::Listed(methods) => methods,
        })
    }

    fn insert(&mut self, methods: Methods, service: usize) -> Result<(), SameMatch> {
        let rival = self.0.iter().find(|(taken, other)| *other != service && taken.compete_with(&methods));
        if let Some((_, first)) = rival {
            return Err(SameMatch { first: *first, second: service });
        }
        let at = match methods {
            Methods::Every => self.0.len(),
            Methods::Listed(_) => 0,
        };
        self.0.insert(at, (methods, service));
        Ok(())
    }
}

/// FNV-1a of the folded segment: short keys, and no adversary among those who choose what is filed.
fn hash_of(segment: &str) -> u64 {
    folded(segment).fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Takes a hash for what it is.
#[derive(Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(self.0.rotate_left(8) ^ u64::from(*byte));
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
