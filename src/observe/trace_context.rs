//! W3C Trace Context (Recommendation of 23 November 2021): `traceparent` read, made and passed on.
//!
//! The gateway passes a valid context on with an identifier of its own as the parent, and begins one where there is none or
//! where it is not valid, so that a line of the access log can be found by the trace it belongs to. Where traces are
//! recorded, that identifier is the gateway's span.

use http::HeaderMap;
use http::HeaderName;

use super::ids::Ids;
use crate::model::hex;

/// `traceparent`.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// `tracestate`.
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The flags that are passed on: sampled, and random (level 2 of the specification). All others are reserved.
const KNOWN_FLAGS: u8 = SAMPLED | RANDOM;
const SAMPLED: u8 = 0b01;
const RANDOM: u8 = 0b10;

/// One more than the largest number that the random bits of a trace's identifier can be: its lowest 56 (Level 2 §2.2.2.3).
const RANDOM_END: u64 = 1 << 56;

/// Which traces get a span of the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Recording {
    /// None.
    #[default]
    Off,
    /// Those of callers who have them recorded, and of those that begin here the ones whose random bits are not below
    /// this: whoever compares with the same number chooses the same traces.
    NotBelow(u64),
}

impl Recording {
    /// Records this share of the traces that begin here, 0.0 to 1.0; `None` records nothing.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the number is between 0 and RANDOM_END"
    )]
    #[expect(clippy::cast_precision_loss, reason = "a power of two is exact")]
    pub fn of(share: Option<f64>) -> Self {
        share.map_or(Self::Off, |share| Self::NotBelow(((1.0 - share.clamp(0.0, 1.0)) * RANDOM_END as f64) as u64))
    }

    fn takes(self, trace: u128) -> bool {
        match self {
            Self::Off => false,
            Self::NotBelow(least) => trace % u128::from(RANDOM_END) >= u128::from(least),
        }
    }
}

/// The trace that a request belongs to, and the gateway's place in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    trace: u128,
    span: u64,
    /// The caller's span; 0 in a trace that begins here.
    parent: u64,
    flags: u8,
    origin: Origin,
    is_recorded: bool,
}

/// Who began a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Somebody before the gateway.
    Continued,
    /// The gateway. A `tracestate` that came along belongs to no trace and must be removed (§3.4).
    Begun,
}

impl TraceContext {
    /// Continues the trace that the headers name, or begins one.
    ///
    /// Where nothing is recorded, a trace that begins here has both flags set: the upstream then samples as it would
    /// have without the gateway, whereas a trace that is marked as not sampled would silence an upstream that follows
    /// its parent. Where traces are recorded, the flag says whether this one is.
    #[must_use]
    pub fn of(headers: &HeaderMap, ids: &Ids, recording: Recording) -> Self {
        let span = ids.next_short();
        if let Some((trace, parent, flags)) = parent(headers) {
            let is_recorded = recording != Recording::Off && flags & SAMPLED != 0;
            return Self { trace, span, parent, flags: flags & KNOWN_FLAGS, origin: Origin::Continued, is_recorded };
        }
        let trace = ids.next().bits();
        let is_recorded = recording.takes(trace);
        let flags = if is_recorded || recording == Recording::Off { KNOWN_FLAGS } else { RANDOM };
        Self { trace, span, parent: 0, flags, origin: Origin::Begun, is_recorded }
    }

    /// Who began the trace.
    #[must_use]
    pub const fn origin(&self) -> Origin {
        self.origin
    }

    /// The value of `traceparent` for the upstream.
    #[must_use]
    pub fn traceparent(&self) -> [u8; 55] {
        let mut text = [b'-'; 55];
        let (trace, span, flags): ([u8; 32], [u8; 16], [u8; 2]) =
            (hex::digits(self.trace), hex::digits(self.span.into()), hex::digits(self.flags.into()));
        for (part, at) in [(&b"00"[..], 0..2), (&trace, 3..35), (&span, 36..52), (&flags, 53..55)] {
            if let Some(place) = text.get_mut(at) {
                place.copy_from_slice(part);
            }
        }
        text
    }

    pub(super) const fn trace_id(&self) -> u128 {
        self.trace
    }

    pub(super) const fn span_id(&self) -> u64 {
        self.span
    }

    /// The caller's span, where it told one.
    #[must_use]
    pub const fn parent_id(&self) -> Option<u64> {
        if self.parent == 0 { None } else { Some(self.parent) }
    }

    /// The flags that are passed on.
    #[must_use]
    pub const fn flags(&self) -> u8 {
        self.flags
    }

    /// Whether the gateway's span is to be exported.
    #[must_use]
    pub const fn is_recorded(&self) -> bool {
        self.is_recorded
    }
}

/// The trace identifier, the span and the flags of the one valid `traceparent`, if there is exactly one.
fn parent(headers: &HeaderMap) -> Option<(u128, u64, u8)> {
    let mut given = headers.get_all(TRACEPARENT).iter();
    let (Some(value), None) = (given.next(), given.next()) else { return None };
    parse(value.to_str().ok()?)
}

fn parse(text: &str) -> Option<(u128, u64, u8)> {
    let mut fields = text.split('-');
    let version = lower_hex(fields.next()?, 2)?;
    let trace = lower_hex(fields.next()?, 32)?;
    let parent = lower_hex(fields.next()?, 16)?;
    let flags = lower_hex(fields.next()?, 2)?;
    // Version 00 ends here. A later one may go on, and is read as far as 00 knows it (§4.3); ff is never valid.
    let version_fits = if version == 0 { fields.next().is_none() } else { version != 0xff };
    let (parent, flags) = (u64::try_from(parent).ok()?, u8::try_from(flags).ok()?);
    (version_fits && trace != 0 && parent != 0).then_some((trace, parent, flags))
}

fn lower_hex(text: &str, digits: usize) -> Option<u128> {
    let fits = text.len() == digits && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if fits { u128::from_str_radix(text, 16).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use http::HeaderValue;

    use super::Origin;
    use super::Recording;
    use super::TRACEPARENT;
    use super::TraceContext;
    use crate::observe::ids::Ids;

    fn context(given: &[&str]) -> TraceContext {
        let mut headers = HeaderMap::new();
        for value in given {
            headers.append(TRACEPARENT, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        TraceContext::of(&headers, &Ids::new(), Recording::Off)
    }

    #[test]
    fn a_valid_context_goes_on_with_a_parent_of_the_gateways_own() {
        for (given, flags) in [
            ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "01"),
            ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00", "00"),
            ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-ff", "03"),
            ("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "01"),
            ("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what-the-future-brings", "01"),
        ] {
            let context = context(&[given]);
            assert_eq!(context.origin(), Origin::Continued, "{given}");
            let passed_on = String::from_utf8(context.traceparent().to_vec()).unwrap();
            assert!(passed_on.starts_with("00-0af7651916cd43dd8448eb211c80319c-"), "{passed_on}");
            assert!(!passed_on.contains("b7ad6b7169203331"), "{passed_on}");
            assert!(passed_on.ends_with(flags) && passed_on.len() == 55, "{passed_on}");
        }
    }

    #[test]
    fn an_invalid_context_is_replaced() {
        let valid = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        for given in [
            &[][..],
            &[""],
            &[valid, valid],
            &["00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331"],
            &["00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-"],
            &["00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more"],
            &["00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01"],
            &["00-00000000000000000000000000000000-b7ad6b7169203331-01"],
            &["00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01"],
            &["ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"],
            &["00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"],
            &["00-0af7651916cd43dd8448eb211c80319-b7ad6b7169203331-01"],
            &["00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0\u{e9}"],
        ] {
            let context = context(given);
            assert_eq!(context.origin(), Origin::Begun, "{given:?}");
            let begun = String::from_utf8(context.traceparent().to_vec()).unwrap();
            assert!(super::parse(&begun).is_some() && !begun.contains("0af7651916cd43dd"), "{begun}");
        }
    }

    #[test]
    fn a_trace_is_recorded_as_its_caller_says_and_one_that_begins_here_by_its_share() {
        let given = |flags: &str| {
            let text = format!("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-{flags}");
            HeaderMap::from_iter([(TRACEPARENT, HeaderValue::try_from(text).unwrap())])
        };
        let ids = Ids::new();
        let of = |headers: &HeaderMap, share| TraceContext::of(headers, &ids, Recording::of(share));
        for (flags, share, recorded) in [("01", Some(0.0), true), ("00", Some(1.0), false), ("01", None, false)] {
            let context = of(&given(flags), share);
            assert_eq!(
                (context.is_recorded, context.flags & 1),
                (recorded, flags.as_bytes()[1] & 1),
                "{flags} {share:?}"
            );
            assert_eq!(context.parent, 0xb7ad_6b71_6920_3331);
        }
        let none = HeaderMap::new();
        for (share, least, most) in [(None, 0, 0), (Some(0.0), 0, 0), (Some(1.0), 1000, 1000), (Some(0.25), 150, 350)] {
            let begun: Vec<_> = (0..1000).map(|_| of(&none, share)).collect();
            let recorded = begun.iter().filter(|context| context.is_recorded).count();
            assert!((least..=most).contains(&recorded), "{recorded} of 1000 for {share:?}");
            let sampled = |context: &TraceContext| context.flags & super::SAMPLED != 0;
            assert!(
                begun.iter().all(|context| sampled(context) == (context.is_recorded || share.is_none())),
                "{share:?}"
            );
        }
    }
}
