//! A leaky bucket in one word: so many in a time, and then as many as time gives back.

use std::num::NonZeroU32;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How many fit into how long.
#[derive(Debug, Clone, Copy)]
pub struct Bucket {
    /// All of them, in microseconds.
    window: u64,
    /// One of them.
    share: u64,
}

impl Bucket {
    /// So many in so long.
    #[must_use]
    pub fn new(most: NonZeroU32, within: Duration) -> Self {
        let window = micros(within);
        Self { window, share: (window / u64::from(most.get())).max(1) }
    }

    /// Puts one more into `cell`, which holds the moment at which it will have leaked empty: each one pushes it on by its
    /// share, and one that would push it more than the whole time ahead of `now` is one too many.
    ///
    /// # Errors
    /// How long until another one fits, where this one does not. It is not counted then.
    pub fn pour(self, cell: &AtomicU64, now: u64) -> Result<(), Duration> {
        let pushed = |cell: u64| Some(cell.max(now) + self.share).filter(|next| *next <= now + self.window);
        match cell.fetch_update(Ordering::Relaxed, Ordering::Relaxed, pushed) {
            Ok(_) => Ok(()),
            Err(cell) => Err(Duration::from_micros((cell + self.share).saturating_sub(now + self.window))),
        }
    }
}

/// A duration in the unit of buckets and their cells.
#[must_use]
pub fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX / 4)
}
