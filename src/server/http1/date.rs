//! The `Date` of an answer (RFC 9110 §6.6.1), written once a second.

use std::cell::RefCell;
use std::time::Duration;

use bytes::BytesMut;

thread_local! {
    static WRITTEN: RefCell<Written> = const { RefCell::new(Written { at: None, text: String::new() }) };
}

/// What this thread has written last.
struct Written {
    /// In seconds since the epoch.
    at: Option<u64>,
    text: String,
}

/// Writes the field's line.
pub(super) fn line(to: &mut BytesMut, since_epoch: Duration) {
    WRITTEN.with_borrow_mut(|written| {
        if written.at != Some(since_epoch.as_secs()) {
            *written = Written { at: Some(since_epoch.as_secs()), text: text(since_epoch) };
        }
        to.extend_from_slice(written.text.as_bytes());
    });
}

/// The line; nothing where the clock shows a year that the format does not know.
fn text(since_epoch: Duration) -> String {
    let date = i64::try_from(since_epoch.as_secs()).ok().and_then(|now| jiff::Timestamp::from_second(now).ok());
    let date = jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&date.unwrap_or_default());
    date.map_or_else(|_unknown_year| String::new(), |date| format!("date: {date}\r\n"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::BytesMut;

    use super::line;

    #[test]
    fn a_date_is_written_as_the_rfc_has_it_and_moves_with_the_clock() {
        for (seconds, want) in [
            (784_111_777, "date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"),
            (784_111_777, "date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"),
            (784_111_778, "date: Sun, 06 Nov 1994 08:49:38 GMT\r\n"),
        ] {
            let mut written = BytesMut::new();
            line(&mut written, Duration::from_secs(seconds));
            assert_eq!(written, want);
        }
    }
}
