//! Identifiers: one for each decision, and the one that a client may have given its request.

use std::cell::Cell;
use std::fmt;
use std::hash::BuildHasher;
use std::hash::RandomState;

use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;

use crate::model::hex;

/// The header in which a client names its request.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The header that names the decision, as the access log and the audit events do.
pub const DECISION_ID: HeaderName = HeaderName::from_static("x-scoregate-decision-id");

/// Longest request identifier that is taken over from a client, in bytes. A UUID has 36.
const LONGEST_REQUEST_ID: usize = 128;

/// 128 bits that name a decision, printed as 32 lower-case hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Id(u128);

impl Id {
    /// The bits.
    #[must_use]
    pub const fn bits(self) -> u128 {
        self.0
    }

    /// The identifier's digits.
    #[must_use]
    pub fn digits(self) -> [u8; 32] {
        hex::digits(self.0)
    }

    /// The identifier as a header's value.
    #[must_use]
    #[expect(clippy::expect_used, reason = "hexadecimal digits are always a header value")]
    pub fn header_value(self) -> HeaderValue {
        HeaderValue::from_bytes(&self.digits()).expect("hexadecimal digits are a header value")
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// Makes identifiers, one source a worker: no lock, no system call, about 20 ns each.
///
/// An identifier is a counter through two keyed hashes (SipHash-1-3; the standard library takes the keys from
/// the operating system). Answers show them to callers, and neither how many requests there were nor the next
/// identifier can be read out of them. They are names, not secrets: knowing one opens nothing.
#[derive(Debug, Default)]
pub struct Ids {
    count: Cell<u64>,
    high: RandomState,
    low: RandomState,
}

impl Ids {
    /// A source with keys of its own.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The next identifier; never all zeros, which W3C Trace Context forbids.
    pub fn next(&self) -> Id {
        let count = self.count();
        Id(u128::from(self.high.hash_one(count)) << 64 | u128::from(self.low.hash_one(count).max(1)))
    }

    /// The next short identifier, 64 bits; never 0.
    pub fn next_short(&self) -> u64 {
        self.low.hash_one(self.count()).max(1)
    }

    fn count(&self) -> u64 {
        let count = self.count.get();
        self.count.set(count.wrapping_add(1));
        count
    }
}

/// The identifier that a client gave its request, if it gave exactly one that is fit to be repeated: 1 to 128
/// letters, digits, `-`, `_`, `.` and `:`.
#[must_use]
pub fn request_id(headers: &HeaderMap) -> Option<&HeaderValue> {
    let mut given = headers.get_all(REQUEST_ID).iter();
    let (Some(id), None) = (given.next(), given.next()) else { return None };
    let bytes = id.as_bytes();
    let fits = (1..=LONGEST_REQUEST_ID).contains(&bytes.len())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':'));
    fits.then_some(id)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use http::HeaderMap;
    use http::HeaderValue;

    use super::Ids;
    use super::REQUEST_ID;
    use super::request_id;

    #[test]
    fn identifiers_differ_within_a_worker_and_between_workers() {
        let workers = [Ids::new(), Ids::new(), Ids::new()];
        let made: HashSet<_> = workers.iter().flat_map(|ids| (0..1000).map(|_| ids.next())).collect();
        assert_eq!(made.len(), 3000);
    }

    #[test]
    fn an_identifier_prints_as_32_digits_that_do_not_tell_the_count() {
        let ids = Ids::new();
        let (first, second) = (ids.next().to_string(), ids.next().to_string());
        assert!(first.len() == 32 && first.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)));
        let same = first.bytes().zip(second.bytes()).filter(|(a, b)| a == b).count();
        assert!(same < 16, "{first} and {second} are alike");
        assert_eq!(ids.next().header_value().len(), 32);
    }

    #[test]
    fn a_clients_identifier_is_taken_over_only_if_it_is_plain_and_alone() {
        let long = "a".repeat(128);
        let longer = "a".repeat(129);
        for (given, taken) in [
            (vec!["2f6c0a4e-7a31-4e0f-9d55-0a3d1b6a9b10"], true),
            (vec![long.as_str()], true),
            (vec![longer.as_str()], false),
            (vec![], false),
            (vec![""], false),
            (vec!["a b"], false),
            (vec!["a\"b"], false),
            (vec!["a\tb"], false),
            (vec!["a", "b"], false),
        ] {
            let mut headers = HeaderMap::new();
            for id in &given {
                headers.append(REQUEST_ID, HeaderValue::from_str(id).unwrap());
            }
            assert_eq!(request_id(&headers).is_some(), taken, "{given:?}");
        }
    }
}
