//! `accounts`, and where two slots get their keys from.

use schemars::JsonSchema;
use serde::Deserialize;

/// A caller's resource: an identifier, two keys, the features it holds, the features it may hand on.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Account {
    /// Its resource identifier, `/subscriptions/…/accounts/<name>`. No two accounts have the same one.
    pub resource: String,
    /// Where its two keys come from. Default: the store, which makes them at first start.
    pub keys: Option<Slots>,
    /// Features that it holds in its own right. Default: none.
    pub approvals: Option<Vec<String>>,
    /// Features that it may put into LimitedAccessTokens for others. Default: none, it issues none.
    pub may_issue: Option<Vec<String>>,
}

/// Where two keys come from: a mounted `directory`, or references for `primary`, `secondary` or both.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Slots {
    /// A directory with the files `primary` and `secondary`, such as a mounted Kubernetes Secret; one may be missing.
    pub directory: Option<String>,
    /// The first key.
    pub primary: Option<SlotRef>,
    /// The second key.
    pub secondary: Option<SlotRef>,
}

/// One key, referred to.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SlotRef {
    /// `file:<path>`, `env:<NAME>` or `credential:<name>`.
    pub key: String,
    /// When it stops to open anything, RFC 3339, such as `2027-01-31T00:00:00Z`. Default: never.
    pub expires: Option<String>,
}

/// Where a service's own two keys come from, or `none`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ServiceSlots {
    /// The service has no keys of its own.
    None(NoneWord),
    /// It has.
    Given(Slots),
}

/// The word `none`.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum NoneWord {
    /// No keys of its own: only accounts call it.
    None,
}
