//! Durations and sizes as an operator writes them.

use std::time::Duration;

/// The text is not a duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("want a duration with its unit, such as 500ms, 30s, 5m, 12h, 7d or 1h30m")]
pub struct NotADuration;

/// The text is not a size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("want a size with its unit, such as 4096B, 512KiB, 64MiB or 1GiB")]
pub(super) struct NotASize;

/// Reads a duration: one or more whole numbers, each with `ms`, `s`, `m`, `h` or `d`; at most 100 years.
///
/// # Errors
/// [`NotADuration`].
pub fn duration(text: &str) -> Result<Duration, NotADuration> {
    const LONGEST_MILLISECONDS: u64 = 100 * 365 * 86_400_000;
    let mut rest = text;
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let (number, unit, after) = number_and_unit(rest).ok_or(NotADuration)?;
        let milliseconds = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(NotADuration),
        };
        let part = number.checked_mul(milliseconds).ok_or(NotADuration)?;
        total = total.checked_add(part).filter(|sum| *sum <= LONGEST_MILLISECONDS).ok_or(NotADuration)?;
        rest = after;
    }
    if text.is_empty() { Err(NotADuration) } else { Ok(Duration::from_millis(total)) }
}

/// Reads a size in bytes: a whole number with `B`, `KiB`, `MiB` or `GiB`.
///
/// # Errors
/// [`NotASize`].
pub(super) fn size(text: &str) -> Result<u64, NotASize> {
    let (number, unit, after) = number_and_unit(text).ok_or(NotASize)?;
    let bytes = match unit {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(NotASize),
    };
    if after.is_empty() { number.checked_mul(bytes).ok_or(NotASize) } else { Err(NotASize) }
}

/// The leading digits, the letters after them, and what is left.
fn number_and_unit(text: &str) -> Option<(u64, &str, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, rest) = text.split_at_checked(digits)?;
    let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
    let (unit, after) = rest.split_at_checked(letters)?;
    Some((number.parse().ok()?, unit, after))
}

/// Writes a duration the way [`duration`] reads it.
#[must_use]
pub fn show(duration: Duration) -> String {
    let milliseconds = duration.as_millis();
    for (unit, size) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)] {
        if milliseconds >= size && milliseconds.is_multiple_of(size) {
            return format!("{}{unit}", milliseconds / size);
        }
    }
    format!("{milliseconds}ms")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{duration, show, size};

    #[test]
    fn a_duration_says_its_unit() {
        for (text, milliseconds) in [
            ("0s", Some(0)),
            ("500ms", Some(500)),
            ("30s", Some(30_000)),
            ("1h30m", Some(5_400_000)),
            ("7d", Some(604_800_000)),
            ("36500d", Some(3_153_600_000_000)),
            ("36501d", None),
            ("", None),
            ("30", None),
            ("s", None),
            ("1.5s", None),
            ("-1s", None),
            ("+1s", None),
            (" 1s", None),
            ("1 s", None),
            ("1S", None),
            ("1w", None),
            ("1h30", None),
            ("99999999999999999999s", None),
            ("18446744073709551615d", None),
        ] {
            assert_eq!(duration(text).ok(), milliseconds.map(Duration::from_millis), "{text:?}");
        }
    }

    #[test]
    fn a_shown_duration_is_read_as_itself() {
        for text in ["1d", "36h", "90m", "61s", "1500ms", "0ms"] {
            assert_eq!(show(duration(text).unwrap()), text);
        }
    }

    #[test]
    fn a_size_says_its_unit() {
        for (text, bytes) in [
            ("0B", Some(0)),
            ("512KiB", Some(524_288)),
            ("64MiB", Some(67_108_864)),
            ("1GiB", Some(1_073_741_824)),
            ("64", None),
            ("64MB", None),
            ("64 MiB", None),
            ("1MiB1KiB", None),
            ("MiB", None),
            ("", None),
            ("99999999999GiB", None),
        ] {
            assert_eq!(size(text).ok(), bytes, "{text:?}");
        }
    }
}
