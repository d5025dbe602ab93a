//! When a certificate ends: the one field of it that is read here. Whether it is any good is for rustls to say.

use crate::model::time::UnixSeconds;

/// The last second in which a certificate is valid (RFC 5280 §4.1.2.5); `None` for what is no certificate.
#[must_use]
pub fn not_after(der: &[u8]) -> Option<UnixSeconds> {
    let certificate = Element::first(der)?.of(SEQUENCE)?;
    let mut fields = Element::first(certificate.content)?.of(SEQUENCE)?.content;
    if Element::first(fields)?.tag == VERSION {
        fields = Element::first(fields)?.rest;
    }
    for _serial_algorithm_issuer in 0..3 {
        fields = Element::first(fields)?.rest;
    }
    let validity = Element::first(fields)?.of(SEQUENCE)?;
    let not_before = Element::first(validity.content)?;
    let not_after = Element::first(not_before.rest)?;
    moment(not_after.tag, std::str::from_utf8(not_after.content).ok()?)
}

const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// A DER element with a tag of one byte (X.690 §8.1).
struct Element<'d> {
    tag: u8,
    content: &'d [u8],
    rest: &'d [u8],
}

impl<'d> Element<'d> {
    fn first(bytes: &'d [u8]) -> Option<Self> {
        let (&tag, after_tag) = bytes.split_first()?;
        let (&first, after_first) = after_tag.split_first()?;
        let (length, body) = if first < 0x80 {
            (usize::from(first), after_first)
        } else {
            let (digits, body) = after_first.split_at_checked(usize::from(first & 0x7f).min(4))?;
            (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), body)
        };
        let (content, rest) = body.split_at_checked(length)?;
        Some(Self { tag, content, rest })
    }

    fn of(self, tag: u8) -> Option<Self> {
        (self.tag == tag).then_some(self)
    }
}

/// `YYMMDDHHMMSSZ`, where years below 50 are of this century, or `YYYYMMDDHHMMSSZ`.
fn moment(tag: u8, text: &str) -> Option<UnixSeconds> {
    let (year, rest) = match tag {
        UTC_TIME => {
            let (year, rest) = text.split_at_checked(2)?;
            let year: i16 = year.parse().ok()?;
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        GENERALIZED_TIME => {
            let (year, rest) = text.split_at_checked(4)?;
            (year.parse().ok()?, rest)
        }
        _ => return None,
    };
    let two = |at: usize| rest.get(at..at + 2)?.parse::<i8>().ok();
    let date = jiff::civil::Date::new(year, two(0)?, two(2)?).ok()?;
    let time = jiff::civil::Time::new(two(4)?, two(6)?, two(8)?, 0).ok()?;
    let moment = date.to_datetime(time).to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_second();
    (rest.get(10..) == Some("Z")).then_some(())?;
    u64::try_from(moment).ok().map(UnixSeconds)
}

#[cfg(test)]
mod tests {
    use super::not_after;
    use crate::model::time::UnixSeconds;

    fn certificate(year: i32) -> Vec<u8> {
        let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(year, 3, 1);
        params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn the_end_is_read_in_both_forms() {
        for (year, want) in [(2031, 1_930_089_600), (2061, 2_876_860_800)] {
            assert_eq!(not_after(&certificate(year)), Some(UnixSeconds(want)), "{year}");
        }
    }

    #[test]
    fn what_is_cut_short_or_no_certificate_has_no_end() {
        let whole = certificate(2031);
        for length in 0..whole.len() {
            assert_eq!(not_after(&whole[..length]), None, "{length}");
        }
        assert_eq!(not_after(b"-----BEGIN CERTIFICATE-----"), None);
        assert_eq!(not_after(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]), None);
    }
}
