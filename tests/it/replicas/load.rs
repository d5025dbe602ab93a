//! Callers of every service of every gateway, who must never be refused.

use super::SERVICES;
use crate::support::gateway::Gateway;
use crate::support::load;
use crate::support::load::Caller;
use crate::support::load::Held;
use crate::support::load::Kind;
use crate::support::load::Seen;

/// Callers of each service of each gateway, of each kind.
const CALLERS: usize = 1;

/// Running callers.
#[derive(Debug)]
pub(super) struct Load {
    /// The key of each service that callers use.
    used: [Held; SERVICES],
    load: load::Load,
}

impl Load {
    /// Calls every service of every gateway.
    pub(super) fn start<'g>(gateways: impl IntoIterator<Item = &'g Gateway>, keys: [String; SERVICES]) -> Self {
        let used = keys.map(Held::new);
        let mut callers = Vec::new();
        for gateway in gateways {
            for (service, key) in used.iter().enumerate() {
                let caller =
                    |kind| Caller { kind, at: gateway.traffic(), path: format!("/s{service}"), key: key.clone() };
                callers.extend([Kind::Http1, Kind::Http2].map(|kind| (CALLERS, caller(kind))));
            }
        }
        Self { used, load: load::Load::start(callers) }
    }

    /// Gives callers another key, once nobody uses the one before.
    pub(super) fn switch(&self, service: usize, key: &str) {
        self.used[service].switch(key);
    }

    /// Waits until this many more requests have been sent.
    pub(super) fn go_on(&self, requests: u64) {
        self.load.go_on(requests);
    }

    /// Ends, and tells how many requests there were. Nobody was disturbed.
    pub(super) fn finish(self) -> Seen {
        let seen = self.load.finish();
        seen.assert_undisturbed();
        seen
    }
}
