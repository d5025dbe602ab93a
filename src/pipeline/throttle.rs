//! Credentials that were not accepted, by where they came from. Only a failure looks here: whoever shows a valid
//! credential passes, however many failed beside it, and pays nothing.

use std::fmt;
use std::hash::BuildHasher as _;
use std::hash::RandomState;
use std::num::NonZeroU32;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tokio::time::Instant;

use crate::model::source::Source;
use crate::pipeline::bucket::Bucket;
use crate::pipeline::bucket::micros;

/// Cells, 8 bytes each. Two sources that share one share its count, which costs neither a request that would succeed.
const CELLS: usize = 8192;

/// The time that a limit is for.
const WINDOW: Duration = Duration::from_secs(60);

/// The failures of the last minute, of as many sources as there are, in as much memory as there was at the start.
///
/// A cell is a bucket's: it forgets by itself, and nothing a client does can make it forget sooner.
pub struct Throttle {
    began: Instant,
    /// Who fills a cell cannot know whose it is.
    seed: RandomState,
    /// Microseconds since `began`.
    cells: Box<[AtomicU64]>,
}

impl fmt::Debug for Throttle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Throttle").finish_non_exhaustive()
    }
}

impl Default for Throttle {
    fn default() -> Self {
        Self { began: Instant::now(), seed: RandomState::new(), cells: (0..CELLS).map(|_| AtomicU64::new(0)).collect() }
    }
}

impl Throttle {
    /// Counts a failure.
    ///
    /// # Errors
    /// How long until another one is within the limit, where this one is not. It is not counted then.
    pub fn failed(&self, source: Source, per_minute: NonZeroU32, now: Instant) -> Result<(), Duration> {
        let now = micros(now.saturating_duration_since(self.began));
        let place = usize::try_from(self.seed.hash_one(source)).unwrap_or_default() % CELLS;
        let Some(cell) = self.cells.get(place) else { return Ok(()) };
        Bucket::new(per_minute, WINDOW).pour(cell, now)
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::time::Duration;

    use tokio::time::Instant;

    use super::CELLS;
    use super::Throttle;
    use crate::model::source::Source;

    fn source(text: &str) -> Source {
        Source::of(text.parse().unwrap())
    }

    #[test]
    fn so_many_in_a_minute_and_then_as_many_as_time_gives_back() {
        let (throttle, begun) = (Throttle::default(), Instant::now());
        let six = NonZeroU32::new(6).unwrap();
        let failed = |address: &str, second: u64| {
            throttle.failed(source(address), six, begun + Duration::from_secs(second)).map_err(|wait| wait.as_secs())
        };
        for (address, second, want) in [
            ("192.0.2.1", 0, Ok(())),
            ("192.0.2.1", 0, Ok(())),
            ("192.0.2.1", 0, Ok(())),
            ("192.0.2.1", 0, Ok(())),
            ("192.0.2.1", 0, Ok(())),
            ("192.0.2.1", 1, Ok(())),
            ("192.0.2.1", 2, Err(8)),
            ("192.0.2.1", 5, Err(5)),
            ("192.0.2.1", 11, Ok(())),
            ("192.0.2.1", 11, Err(9)),
            ("192.0.2.1", 1000, Ok(())),
        ] {
            assert_eq!(failed(address, second), want, "{address} at {second} s");
        }
    }

    #[test]
    fn one_source_does_not_use_up_what_another_has_but_by_chance() {
        let (throttle, now) = (Throttle::default(), Instant::now());
        let one = NonZeroU32::MIN;
        throttle.failed(source("192.0.2.1"), one, now).unwrap();
        throttle.failed(source("192.0.2.1"), one, now).unwrap_err();
        let others = (0..1000).map(|number: u32| Source::of(std::net::Ipv4Addr::from(number).into()));
        let refused = others.filter(|other| throttle.failed(*other, one, now).is_err()).count();
        // A thousand in 8,192 cells: about 60 share one.
        assert!(refused < 150, "{refused} of 1000 share a cell, of {CELLS}");
    }
}
