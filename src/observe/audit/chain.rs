//! What a line is, and how it hangs on the line before: each carries the SHA-256 of that one's bytes.

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::Value;

use super::key::Signer;

/// The act of a signed line.
pub(super) const CHECKPOINT: &str = "log.checkpoint";

/// The act of the line after one that a crash cut off.
pub(super) const TORN: &str = "log.torn";

/// What stands before the signature of a checkpoint. All that is before it is signed.
const BEFORE_SIGNATURE: &str = ",\"signature\":\"";

/// What stands after it.
const AFTER_SIGNATURE: &str = "\"}";

/// SHA-256 of a line, its end not among its bytes. It prints in hexadecimal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Link([u8; 32]);

impl Link {
    /// What the first line of all hangs on.
    pub(super) const FIRST: Self = Self([0; 32]);

    /// The link to a line.
    pub(super) fn to(line: &[u8]) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, line).as_ref());
        Self(bytes)
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Where the chain ends: the number of the last line, 0 before the first, and the link to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct End {
    pub(super) seq: u64,
    pub(super) link: Link,
}

/// What a line says besides its place in the chain.
#[derive(Debug, Serialize)]
pub(super) struct Said<'a> {
    pub(super) act: &'a str,
    pub(super) who: &'a str,
    pub(super) resource: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(super) rule: &'a str,
    #[serde(skip_serializing_if = "Value::is_null")]
    pub(super) detail: &'a Value,
    #[serde(rename = "decision_id", skip_serializing_if = "str::is_empty")]
    pub(super) decision: &'a str,
}

impl<'a> Said<'a> {
    /// Something about the log itself.
    pub(super) const fn by_the_log(act: &'a str, detail: &'a Value) -> Self {
        Self { act, who: "gateway", resource: "", rule: "", detail, decision: "" }
    }
}

#[derive(Serialize)]
struct Line<'a> {
    seq: u64,
    time: String,
    #[serde(flatten)]
    said: &'a Said<'a>,
    prev: String,
    /// Of a checkpoint: the name of the key that signs it.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
}

impl End {
    pub(super) const START: Self = Self { seq: 0, link: Link::FIRST };

    /// Appends a line and its end; the chain ends with it then.
    ///
    /// # Errors
    /// When the line cannot be written as JSON.
    pub(super) fn append(&mut self, to: &mut Vec<u8>, said: &Said<'_>, time: Duration) -> serde_json::Result<()> {
        let line = serde_json::to_vec(&self.next(said, time, None))?;
        self.take(to, &line);
        Ok(())
    }

    /// Appends a signed line, which vouches for all before it.
    ///
    /// # Errors
    /// When the line cannot be written as JSON.
    pub(super) fn sign(&mut self, to: &mut Vec<u8>, key: &Signer, time: Duration) -> serde_json::Result<()> {
        let said = Said::by_the_log(CHECKPOINT, &Value::Null);
        let mut line = serde_json::to_vec(&self.next(&said, time, Some(key.id())))?;
        // The brace that closes the object comes after the signature.
        line.pop();
        let signature = STANDARD.encode(key.sign(&line));
        line.extend_from_slice(BEFORE_SIGNATURE.as_bytes());
        line.extend_from_slice(signature.as_bytes());
        line.extend_from_slice(AFTER_SIGNATURE.as_bytes());
        self.take(to, &line);
        Ok(())
    }

    fn next<'a>(self, said: &'a Said<'a>, time: Duration, key: Option<&'a str>) -> Line<'a> {
        let milliseconds = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        let time = jiff::Timestamp::from_millisecond(milliseconds).unwrap_or_default().to_string();
        Line { seq: self.seq.saturating_add(1), time, said, prev: self.link.to_string(), key }
    }

    fn take(&mut self, to: &mut Vec<u8>, line: &[u8]) {
        to.extend_from_slice(line);
        to.push(b'\n');
        *self = Self { seq: self.seq.saturating_add(1), link: Link::to(line) };
    }
}

/// The bytes of a checkpoint that are signed, and the signature.
pub(super) fn signed(line: &[u8]) -> Option<(&[u8], Vec<u8>)> {
    let text = std::str::from_utf8(line).ok()?;
    let (said, signature) = text.strip_suffix(AFTER_SIGNATURE)?.rsplit_once(BEFORE_SIGNATURE)?;
    Some((said.as_bytes(), STANDARD.decode(signature).ok()?))
}
