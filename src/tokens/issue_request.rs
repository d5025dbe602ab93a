//! What `POST /sts/v1.0/issueLimitedAccessToken` asks for.

use serde_json::Map;
use serde_json::Value;

use crate::model::feature::FeatureNames;
use crate::model::feature::FeatureSet;
use crate::model::resource::ResourceId;
use crate::tokens::json;
use crate::tokens::limited::LimitedLifetime;

/// A request for a LimitedAccessToken, well-formed. Whether the vendor may have it is another question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssueRequest {
    /// The resource that is to use the flags.
    pub target: ResourceId,
    /// The flags; never empty.
    pub flags: FeatureSet,
    /// For how long.
    pub lifetime: LimitedLifetime,
}

/// What is wrong with a request for a LimitedAccessToken. The messages are for the caller and repeat nothing that it
/// sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadArgument {
    /// `expiredTime` is not a plain decimal number in range, or stands twice.
    #[error("want expiredTime at most once, a whole number of seconds from 60 to 86400")]
    ExpiredTime,
    /// The body is longer than [`IssueRequest::MAX_BODY_BYTES`].
    #[error("want a body of at most 16 KiB")]
    BodyTooLarge,
    /// The body is not one JSON object, or a member stands twice.
    #[error("want a body that is one JSON object in which no member stands twice")]
    NotAnObject,
    /// Neither or both of the two names for the target, or not a resource identifier.
    #[error("want one of targetAzureResourceId and resourceId, a resource identifier")]
    Target,
    /// `featureFlags` is missing, empty, or no list of texts.
    #[error("want featureFlags, a list of at least one feature flag")]
    FeatureFlags,
    /// A flag is not known.
    #[error("featureFlags[{index}] is not a flag that is known here")]
    UnknownFlag {
        /// Which of them, from 0.
        index: usize,
    },
}

impl IssueRequest {
    /// Longest body, in bytes. The longest sensible one is below 5 KiB.
    pub const MAX_BODY_BYTES: usize = 16 * 1024;

    /// Reads a request from its query (without `?`) and its body. Members and parameters that are not known are left
    /// alone, as Azure's are.
    ///
    /// # Errors
    /// Each variant of [`BadArgument`].
    pub fn parse(query: Option<&str>, body: &[u8], features: &FeatureNames) -> Result<Self, BadArgument> {
        let lifetime = lifetime(query.unwrap_or_default())?;
        if body.len() > Self::MAX_BODY_BYTES {
            return Err(BadArgument::BodyTooLarge);
        }
        let members = json::object(body).map_err(|_why| BadArgument::NotAnObject)?;
        Ok(Self { target: target(&members)?, flags: flags(&members, features)?, lifetime })
    }
}

/// The parameter's name is compared without regard to case and escapes: one that was meant and missed would give a
/// token a longer life than was asked for.
fn lifetime(query: &str) -> Result<LimitedLifetime, BadArgument> {
    let mut values = query
        .split('&')
        .map(|parameter| parameter.split_once('=').unwrap_or((parameter, "")))
        .filter(|(name, _)| percent_decoded(name).eq_ignore_ascii_case(b"expiredTime"))
        .map(|(_, value)| value);
    match (values.next(), values.next()) {
        (None, _) => Ok(LimitedLifetime::DEFAULT),
        (Some(value), None) => {
            canonical_decimal(value).and_then(LimitedLifetime::from_seconds).ok_or(BadArgument::ExpiredTime)
        }
        (Some(_), Some(_)) => Err(BadArgument::ExpiredTime),
    }
}

/// Digits only, the first not 0.
fn canonical_decimal(text: &str) -> Option<u32> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    if plain { text.parse().ok() } else { None }
}

/// A broken escape stays as it is: such a name is not ours.
fn percent_decoded(name: &str) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let [first, after @ ..] = rest {
        let escaped = match rest {
            [b'%', high, low, ..] => hex(*high).zip(hex(*low)).map(|(high, low)| high << 4 | low),
            _ => None,
        };
        decoded.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { after.get(2..).unwrap_or_default() } else { after };
    }
    decoded
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// `resourceId` is the name that an older revision of Azure's page had.
fn target(members: &Map<String, Value>) -> Result<ResourceId, BadArgument> {
    let names = (members.get("targetAzureResourceId"), members.get("resourceId"));
    let ((Some(named), None) | (None, Some(named))) = names else { return Err(BadArgument::Target) };
    let text = named.as_str().ok_or(BadArgument::Target)?;
    ResourceId::parse(text).map_err(|_not_a_resource| BadArgument::Target)
}

fn flags(members: &Map<String, Value>, features: &FeatureNames) -> Result<FeatureSet, BadArgument> {
    let listed = members.get("featureFlags").and_then(Value::as_array).ok_or(BadArgument::FeatureFlags)?;
    let mut flags = FeatureSet::EMPTY;
    for (index, name) in listed.iter().enumerate() {
        let name = name.as_str().ok_or(BadArgument::FeatureFlags)?;
        flags = flags.union(features.find(name).ok_or(BadArgument::UnknownFlag { index })?);
    }
    if flags.is_empty() { Err(BadArgument::FeatureFlags) } else { Ok(flags) }
}

#[cfg(test)]
mod tests {
    use super::BadArgument;
    use super::IssueRequest;
    use crate::tokens::forge;

    const BODY: &str = r#"{"targetAzureResourceId":"/a/b","featureFlags":["Face.Identification"]}"#;

    fn parse(query: Option<&str>, body: &str) -> Result<IssueRequest, BadArgument> {
        IssueRequest::parse(query, body.as_bytes(), &forge::feature_names())
    }

    #[test]
    fn expired_time_is_a_plain_number_in_range_said_once() {
        for (query, want) in [
            (None, Some(3600)),
            (Some(""), Some(3600)),
            (Some("a=b&c"), Some(3600)),
            (Some("expiredTime=60"), Some(60)),
            (Some("expiredTime=86400"), Some(86_400)),
            (Some("a=b&expiredTime=61&c=d"), Some(61)),
            (Some("expiredtime=61"), Some(61)),
            (Some("expired%54ime=61"), Some(61)),
            (Some("%zz=1&expiredTime%=1&expiredTime=61"), Some(61)),
            (Some("expiredTime=59"), None),
            (Some("expiredTime=86401"), None),
            (Some("expiredTime=0"), None),
            (Some("expiredTime=-60"), None),
            (Some("expiredTime=+60"), None),
            (Some("expiredTime=%2B60"), None),
            (Some("expiredTime=060"), None),
            (Some("expiredTime=60.0"), None),
            (Some("expiredTime=6e1"), None),
            (Some("expiredTime=0x3c"), None),
            (Some("expiredTime=%360"), None),
            (Some("expiredTime= 60"), None),
            (Some("expiredTime=60 "), None),
            (Some("expiredTime=٦٠"), None),
            (Some("expiredTime="), None),
            (Some("expiredTime"), None),
            (Some("expiredTime=4294967356"), None),
            (Some("expiredTime=99999999999999999999999"), None),
            (Some("expiredTime=60&expiredTime=60"), None),
            (Some("expiredTime=60&expired%54ime=60"), None),
            (Some("expiredTime=60&EXPIREDTIME=60"), None),
        ] {
            let got = parse(query, BODY).map(|request| request.lifetime.as_seconds());
            assert_eq!(got, want.ok_or(BadArgument::ExpiredTime), "{query:?}");
        }
    }

    #[test]
    fn a_body_names_one_target_and_known_flags() {
        let huge = format!(r#"{{"x":"{}"}}"#, "x".repeat(IssueRequest::MAX_BODY_BYTES));
        for (body, want) in [
            (BODY, None),
            (r#"{"resourceId":"/a/b","featureFlags":["Face.Verification","Face.Verification"]}"#, None),
            (r#"{"resourceId":"/a/b","featureFlags":["LimitedAccess.HighRisk"],"x":{"y":[1]}}"#, None),
            ("", Some(BadArgument::NotAnObject)),
            ("[]", Some(BadArgument::NotAnObject)),
            (
                r#"{"resourceId":"/a","resourceId":"/a","featureFlags":["Face.Verification"]}"#,
                Some(BadArgument::NotAnObject),
            ),
            (
                r#"{"resourceId":"/a","featureFlags":[],"featureFlags":["Face.Verification"]}"#,
                Some(BadArgument::NotAnObject),
            ),
            (&huge, Some(BadArgument::BodyTooLarge)),
            (r#"{"featureFlags":["Face.Verification"]}"#, Some(BadArgument::Target)),
            (
                r#"{"resourceId":"/a/b","targetAzureResourceId":"/a/b","featureFlags":["Face.Verification"]}"#,
                Some(BadArgument::Target),
            ),
            (r#"{"resourceId":null,"featureFlags":["Face.Verification"]}"#, Some(BadArgument::Target)),
            (r#"{"resourceId":["/a"],"featureFlags":["Face.Verification"]}"#, Some(BadArgument::Target)),
            (r#"{"resourceId":"a","featureFlags":["Face.Verification"]}"#, Some(BadArgument::Target)),
            (r#"{"resourceId":"/a/../b","featureFlags":["Face.Verification"]}"#, Some(BadArgument::Target)),
            (r#"{"resourceId":"/a"}"#, Some(BadArgument::FeatureFlags)),
            (r#"{"resourceId":"/a","featureFlags":[]}"#, Some(BadArgument::FeatureFlags)),
            (r#"{"resourceId":"/a","featureFlags":null}"#, Some(BadArgument::FeatureFlags)),
            (r#"{"resourceId":"/a","featureFlags":"Face.Verification"}"#, Some(BadArgument::FeatureFlags)),
            (r#"{"resourceId":"/a","featureFlags":[1]}"#, Some(BadArgument::FeatureFlags)),
            (
                r#"{"resourceId":"/a","featureFlags":["Face.Verification","*"]}"#,
                Some(BadArgument::UnknownFlag { index: 1 }),
            ),
            (
                r#"{"resourceId":"/a","featureFlags":["face.verification"]}"#,
                Some(BadArgument::UnknownFlag { index: 0 }),
            ),
            (r#"{"resourceId":"/a","featureFlags":[""]}"#, Some(BadArgument::UnknownFlag { index: 0 })),
        ] {
            assert_eq!(parse(None, body).err(), want, "{body:.120}");
        }
    }

    #[test]
    fn both_names_of_the_target_mean_the_same() {
        let older = BODY.replace("targetAzureResourceId", "resourceId");
        assert_eq!(parse(None, BODY), parse(None, &older));
    }
}
