//! Moments as whole seconds, the way tokens and key expiries count them.

use std::time::Duration;
use std::time::SystemTime;

/// Whole seconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct UnixSeconds(pub u64);

impl UnixSeconds {
    /// Asks the system's clock. The edges of the program ask; everything else takes `now` as an argument.
    #[must_use]
    pub fn now() -> Self {
        Self(since_epoch().as_secs())
    }

    /// This many seconds later; stops at the end of time.
    #[must_use]
    pub const fn plus(self, seconds: u64) -> Self {
        Self(self.0.saturating_add(seconds))
    }
}

/// Asks the system's clock for the time since 1970-01-01T00:00:00Z, for the timestamps of logs. Zero before 1970.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the one place that asks the clock")]
pub fn since_epoch() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}
