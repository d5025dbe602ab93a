//! Timestamps of lines.

use std::fmt::Write;
use std::time::Duration;

/// Writes moments; the part that changes once a second is kept.
#[derive(Debug, Default)]
pub(super) struct Stamp {
    second: Option<u64>,
    text: String,
}

/// A moment in UTC, as RFC 3339 writes it.
#[derive(Clone, Copy)]
pub(super) struct Timestamp<'s> {
    /// `2026-11-21T09:30:00`.
    pub(super) second: &'s str,
    /// 0 to 999.
    pub(super) millis: u32,
}

impl Stamp {
    /// A moment, given as the time since 1970.
    pub(super) fn at(&mut self, since_epoch: Duration) -> Timestamp<'_> {
        let second = since_epoch.as_secs();
        if self.second != Some(second) {
            self.second = Some(second);
            self.text.clear();
            let moment = i64::try_from(second).ok().and_then(|second| jiff::Timestamp::from_second(second).ok());
            // A `String` takes everything that is written to it.
            let _ = write!(self.text, "{}", moment.unwrap_or(jiff::Timestamp::MAX).strftime("%Y-%m-%dT%H:%M:%S"));
        }
        Timestamp { second: &self.text, millis: since_epoch.subsec_millis() }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Stamp;

    #[test]
    fn a_timestamp_is_rfc_3339_in_utc() {
        let mut stamp = Stamp::default();
        for (since_epoch, second, millis) in [
            (Duration::ZERO, "1970-01-01T00:00:00", 0),
            (Duration::from_millis(1_795_253_400_125), "2026-11-21T09:30:00", 125),
            (Duration::from_micros(1_795_253_400_999_999), "2026-11-21T09:30:00", 999),
            (Duration::from_secs(1_795_253_401), "2026-11-21T09:30:01", 0),
            (Duration::from_secs(1_709_164_800), "2024-02-29T00:00:00", 0),
            (Duration::MAX, "9999-12-30T22:00:00", 999),
        ] {
            let written = stamp.at(since_epoch);
            assert_eq!((written.second, written.millis), (second, millis), "{since_epoch:?}");
        }
    }
}
