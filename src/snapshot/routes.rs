//! Which service a request is for: an index of host, path and method.
//!
//! The rules, in this order:
//!
//! 1. **Host.** The most specific pattern that fits decides alone: the host itself, else the longest
//!    `*.suffix`, else "any host". A host with entries of its own never falls back to a wider pattern, as
//!    virtual hosts do elsewhere: else whoever adds a service for any host would add it to every other's.
//! 2. **Path.** Segment by segment from the left, a literal goes before `{name}`, and both before a prefix
//!    that ends there; so a longer prefix goes before a shorter one. The most specific entry decides alone.
//! 3. **Method.** Among entries for the very same host and path, one that lists the method goes before one
//!    that takes every method. When none takes it, the answer is 405: a wider entry is never asked instead,
//!    since it may be a more open service.
//! 4. **No second reading.** Servers differ on letter case, on a trailing slash, on escapes and on the
//!    oddities of [`NormalPath`]. When the most lenient reading of a path would select another service than
//!    the exact one does, the request is refused: `/SCORE`, `/score/` or `/scor%2565` never reaches the
//!    open service behind `/` when `/score` is a stricter one's.
//!
//! A lookup costs one hash per segment of the path, whatever the number of services; templates that put a
//! literal and a `{name}` at the same place cost a second try there.

mod trie;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;

use http::Method;

use self::trie::{Endpoint, Trie};
use super::methods::Methods;
use crate::config::HostMatch;
use crate::config::Match;
use crate::model::host::Host;
use crate::model::path::NormalPath;
use crate::model::refusal::Denied;

/// The index. Services are numbers that the builder chose.
#[derive(Default)]
pub struct RouteTable {
    exact: HashMap<Box<str>, Trie>,
    under: HashMap<Box<str>, Trie>,
    /// Length of the longest key of `under`, in bytes: longer parents of a host need no lookup.
    longest_suffix: usize,
    any: Trie,
}

/// Two services match the same requests, and nothing says which of them goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("want one service for each host, path and method, got two that match the same requests")]
pub struct SameMatch {
    /// The service that was there first.
    pub first: usize,
    /// The one that came later.
    pub second: usize,
}

impl RouteTable {
    /// Indexes the matches of all services.
    ///
    /// # Errors
    /// [`SameMatch`] when two services match the same host, path and method and neither is more specific.
    pub fn build<'m>(entries: impl IntoIterator<Item = (&'m Match, usize)>) -> Result<Self, SameMatch> {
        let mut table = Self::default();
        for (entry, service) in entries {
            let trie = match &entry.host {
                HostMatch::Any => &mut table.any,
                HostMatch::Exact(host) => table.exact.entry(host.as_str().into()).or_default(),
                HostMatch::Under(suffix) => {
                    table.longest_suffix = table.longest_suffix.max(suffix.len());
                    table.under.entry(suffix.as_str().into()).or_default()
                }
            };
            trie.insert(&entry.path, Methods::of(&entry.methods), service)?;
        }
        Ok(table)
    }

    /// Finds the service that a request is for. Whether that service takes the path's oddities is still to
    /// be asked.
    ///
    /// # Errors
    /// - [`Denied::NoService`]: nothing matches host and path.
    /// - [`Denied::MethodNotAllowed`]: the most specific entry does not take the method.
    /// - [`Denied::PathAmbiguous`]: a lenient server could read the path as another service's.
    pub fn find(&self, host: &Host<'_>, path: &NormalPath<'_>, method: &Method) -> Result<usize, Denied> {
        let trie = self.trie_for(host);
        let found = trie.find(path);
        let service = found.exact.ok_or(Denied::NoService)?.service_for(method).ok_or(Denied::MethodNotAllowed)?;
        let elsewhere =
            |endpoint: &Endpoint| endpoint.spellings().all(|entry| entry.service_for(method) != Some(service));
        if found.loosest.is_some_and(elsewhere) { Err(Denied::PathAmbiguous) } else { Ok(service) }
    }

    /// The methods that are taken at a host and path: what `Allow` has to say in a 405 (RFC 9110 §15.5.6).
    pub fn methods_at(&self, host: &Host<'_>, path: &NormalPath<'_>) -> impl Iterator<Item = &Method> {
        self.trie_for(host).find(path).exact.into_iter().flat_map(trie::Entries::methods)
    }

    fn trie_for(&self, host: &Host<'_>) -> &Trie {
        let under = || {
            let short_enough = host.parents().filter(|suffix| suffix.len() <= self.longest_suffix);
            short_enough.into_iter().find_map(|suffix| self.under.get(suffix))
        };
        self.exact.get(host.as_str()).or_else(under).unwrap_or(&self.any)
    }
}

impl fmt::Debug for RouteTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RouteTable").field("hosts", &(self.exact.len() + self.under.len())).finish_non_exhaustive()
    }
}
