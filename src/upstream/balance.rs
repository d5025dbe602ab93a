//! Which endpoint gets a request.

use std::cell::Cell;
use std::rc::Rc;

use crate::config::WhenNoneIsHealthy;
use crate::snapshot::target::Endpoint;
use crate::snapshot::target::Target;
use crate::upstream::pool::Pool;

/// Endpoints that one request can try.
const MOST_TRIED: usize = 64;

/// The choices of one worker.
#[derive(Debug)]
pub struct Balance {
    random: Cell<u64>,
}

/// An endpoint that was chosen.
#[derive(Debug, Clone, Copy)]
pub struct Choice<'t> {
    /// Where it stands in its target.
    pub at: usize,
    /// The endpoint.
    pub endpoint: &'t Endpoint,
    /// Whether it was chosen because it is well, and not for want of one that is.
    pub is_well: bool,
}

/// How an endpoint looks from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Looks {
    Well,
    /// A connection failed a moment ago.
    Doubtful,
    Unwell,
}

impl Balance {
    /// `seed` makes the choices of this worker differ from its siblings'.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { random: Cell::new(seed | 1) }
    }

    /// The less busy of two random endpoints that are well, leaving out those whose bit is set. For want of one that is
    /// well, one that failed a moment ago; then any, where the target tries those as well.
    pub fn choose<'t>(
        &self,
        target: &'t Target,
        without: u64,
        pool: impl Fn(&Endpoint) -> Rc<Pool>,
    ) -> Option<Choice<'t>> {
        let looks = |endpoint: &Endpoint| {
            if !endpoint.is_well() {
                Looks::Unwell
            } else if pool(endpoint).is_avoided() {
                Looks::Doubtful
            } else {
                Looks::Well
            }
        };
        if let ([only], 0) = (&*target.endpoints, without)
            && only.health.is_none()
        {
            return Some(Choice { at: 0, endpoint: only, is_well: true });
        }
        let tiers: &[Looks] = match target.when_none_is_healthy {
            WhenNoneIsHealthy::Try => &[Looks::Well, Looks::Doubtful, Looks::Unwell],
            WhenNoneIsHealthy::Refuse => &[Looks::Well, Looks::Doubtful],
        };
        // Where one request tries whether an endpoint has recovered, the others do not follow it there.
        let mut on_trial = 0;
        for tier in tiers {
            loop {
                let passed_over = without | if *tier == Looks::Unwell { 0 } else { on_trial };
                let candidates = || {
                    let left = target.endpoints.iter().enumerate().take(MOST_TRIED);
                    left.filter(move |(at, _)| passed_over >> at & 1 == 0)
                        .filter(|(_, endpoint)| looks(endpoint) == *tier)
                };
                let count = candidates().count();
                let Some((at, endpoint)) = self.less_busy(count, candidates, &pool) else { break };
                if *tier == Looks::Unwell || endpoint.claim() {
                    return Some(Choice { at, endpoint, is_well: *tier == Looks::Well });
                }
                on_trial |= 1 << at;
            }
        }
        None
    }

    fn less_busy<'t, I: Iterator<Item = (usize, &'t Endpoint)>>(
        &self,
        count: usize,
        candidates: impl Fn() -> I,
        pool: &impl Fn(&Endpoint) -> Rc<Pool>,
    ) -> Option<(usize, &'t Endpoint)> {
        let first = candidates().nth(self.below(count))?;
        let second = candidates().nth(self.below(count)).unwrap_or(first);
        let busy = |(_, endpoint): &(usize, &Endpoint)| pool(endpoint).in_flight();
        Some(if busy(&second) < busy(&first) { second } else { first })
    }

    /// A number below `count`, by xorshift: spread matters here, secrecy does not.
    pub fn below(&self, count: usize) -> usize {
        let mut x = self.random.get();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.random.set(x);
        usize::try_from(x >> 33).unwrap_or(0).checked_rem(count).unwrap_or(0)
    }
}
