//! What each caller has of a service that limits it: how many requests at once, how many in a time.
//!
//! The callers of all services share one table of fixed size, which no reload touches. A caller that has nothing under
//! way, and whose time has given everything back, leaves its cell to whoever comes.

use std::hash::BuildHasher as _;
use std::hash::Hash;
use std::hash::RandomState;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use crate::config::Rate;
use crate::pipeline::bucket::Bucket;
use crate::pipeline::bucket::micros;

/// Cells of each kind. That many callers can be in the middle of something at once.
const CELLS: usize = 1 << 14;

/// Cells that a caller can have one of.
const SET: usize = 8;

/// The lower bits of a cell that count requests under way; above them is whose they are.
const COUNT: u64 = 0xffff;

/// All callers that some service limits.
#[derive(Debug)]
pub struct Callers {
    began: Instant,
    /// Who calls cannot know whose cells are its neighbours'.
    seed: RandomState,
    /// Made by the first service that asks.
    under_way: OnceLock<Box<[AtomicU64]>>,
    rates: OnceLock<Box<[RateCell]>>,
}

#[derive(Debug, Default)]
struct RateCell {
    whose: AtomicU64,
    bucket: AtomicU64,
}

/// A caller of a service.
#[derive(Debug, Clone, Copy)]
pub struct CallerId(u64);

/// One request of a caller that is under way, until this is dropped.
#[derive(Debug)]
pub struct UnderWay {
    callers: Arc<Callers>,
    at: usize,
}

impl Default for Callers {
    fn default() -> Self {
        let (under_way, rates) = (OnceLock::new(), OnceLock::new());
        Self { began: Instant::now(), seed: RandomState::new(), under_way, rates }
    }
}

impl Callers {
    /// Names a caller by whatever tells it from others. Names of 64 bits do not meet by chance.
    pub fn id(&self, who: impl Hash) -> CallerId {
        CallerId(self.seed.hash_one(who))
    }

    /// Counts a request in; `None` where the caller has `most` under way.
    ///
    /// Where eight others with something under way have all the cells that could be this caller's, it is not counted: the
    /// service's own limit holds for it like for everybody.
    pub fn begin(self: &Arc<Self>, caller: CallerId, most: NonZeroU16) -> Option<Begun> {
        let cells = self.under_way.get_or_init(|| (0..CELLS).map(|_| AtomicU64::new(0)).collect());
        let whose = caller.0 & !COUNT;
        let set = set_of(caller);
        loop {
            let mut free = None;
            let mut mine = None;
            for (at, cell) in cells.iter().enumerate().skip(set).take(SET) {
                let seen = cell.load(Ordering::Acquire);
                if seen & !COUNT == whose {
                    mine = Some((at, cell, seen));
                    break;
                }
                if seen & COUNT == 0 && free.is_none() {
                    free = Some((at, cell, seen));
                }
            }
            let (at, cell, seen, next) = match (mine, free) {
                (Some((_, _, seen)), _) if seen & COUNT >= u64::from(most.get()) => return None,
                (Some((at, cell, seen)), _) => (at, cell, seen, seen + 1),
                (None, Some((at, cell, seen))) => (at, cell, seen, whose | 1),
                (None, None) => return Some(Begun::Uncounted),
            };
            if cell.compare_exchange(seen, next, Ordering::AcqRel, Ordering::Acquire).is_ok() {
                return Some(Begun::Counted(UnderWay { callers: Arc::clone(self), at }));
            }
        }
    }

    /// Counts a request of this moment.
    ///
    /// # Errors
    /// How long until the caller may send another, where this one is above the limit.
    pub fn count(&self, caller: CallerId, rate: Rate, now: Instant) -> Result<(), Duration> {
        let cells = self.rates.get_or_init(|| (0..CELLS).map(|_| RateCell::default()).collect());
        let now = micros(now.saturating_duration_since(self.began)) + 1;
        let set = || cells.iter().skip(set_of(caller)).take(SET);
        let bucket = Bucket::new(rate.requests, rate.per);
        if let Some(mine) = set().find(|cell| cell.whose.load(Ordering::Acquire) == caller.0) {
            return bucket.pour(&mine.bucket, now);
        }
        // The emptiest: nearly always one that has leaked out, and then it is as good as new.
        let emptiest = set().min_by_key(|cell| cell.bucket.load(Ordering::Relaxed));
        let Some(cell) = emptiest else { return Ok(()) };
        cell.whose.store(caller.0, Ordering::Release);
        bucket.pour(&cell.bucket, now)
    }
}

/// A request that may go on.
#[derive(Debug)]
pub enum Begun {
    /// It counts for as long as this lives.
    Counted(UnderWay),
    /// There was no cell to count it in.
    Uncounted,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if let Some(cell) = self.callers.under_way.get().and_then(|cells| cells.get(self.at)) {
            cell.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

fn set_of(caller: CallerId) -> usize {
    usize::try_from(caller.0 & COUNT).unwrap_or_default() % (CELLS / SET) * SET
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;
    use std::num::NonZeroU32;
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::time::Instant;

    use super::Begun;
    use super::CELLS;
    use super::Callers;
    use crate::config::Rate;

    #[test]
    fn each_caller_has_so_many_under_way_and_gives_them_back() {
        let (callers, two) = (Arc::new(Callers::default()), NonZeroU16::new(2).unwrap());
        let begin = |name: &str| callers.begin(callers.id(name), two);
        let (first, _second) = (begin("a").unwrap(), begin("a").unwrap());
        assert!(begin("a").is_none());
        let others: Vec<_> = (0..1000).map(|other| begin(&format!("other-{other}")).expect("it has none")).collect();
        let uncounted = others.iter().filter(|begun| matches!(begun, Begun::Uncounted)).count();
        assert!(uncounted < 3, "{uncounted} of 1000 found no cell");
        drop(first);
        let _third = begin("a").expect("one has ended");
        assert!(begin("a").is_none());
    }

    #[test]
    fn the_count_is_exact_over_threads() {
        let (callers, most) = (Arc::new(Callers::default()), NonZeroU16::new(3).unwrap());
        let under_way = Arc::new(std::sync::atomic::AtomicU32::new(0));
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let (callers, under_way) = (Arc::clone(&callers), Arc::clone(&under_way));
                std::thread::spawn(move || {
                    for _ in 0..5_000 {
                        if let Some(_begun) = callers.begin(callers.id("a"), most) {
                            assert!(under_way.fetch_add(1, std::sync::atomic::Ordering::SeqCst) < 3);
                            std::thread::yield_now();
                            under_way.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                        }
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    }

    #[test]
    fn a_caller_has_its_burst_and_then_what_time_gives_back() {
        let (callers, begun) = (Callers::default(), Instant::now());
        let rate = Rate { requests: NonZeroU32::new(6).unwrap(), per: Duration::from_secs(60) };
        let at = |name: &str, second: u64| {
            let now = begun + Duration::from_secs(second);
            callers.count(callers.id(name), rate, now).map_err(|wait| wait.as_secs_f64().round())
        };
        for _ in 0..6 {
            at("a", 0).unwrap();
        }
        assert_eq!(at("a", 0), Err(10.0));
        assert_eq!(at("b", 0), Ok(()), "another caller");
        assert_eq!(at("a", 4), Err(6.0));
        assert_eq!(at("a", 10), Ok(()));
        assert_eq!(at("a", 10), Err(10.0));
        // Callers that have been forgotten make room; those that owe something are not.
        for other in 0..CELLS {
            assert_eq!(at(&format!("other-{other}"), 11), Ok(()));
        }
    }
}
