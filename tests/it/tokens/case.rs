//! A case of the corpus as it is written in `tests/tokens/*.yaml`.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::support::corpus::OneOf;

/// One request and what has to come of it.
///
/// Texts may hold `@{…}`. Members of `header` and `claims` are JSON as it is sent; `~` takes a member out.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Case {
    pub(super) name: String,
    /// Why the answer has to be this one.
    pub(super) why: String,
    /// Where that is written, or who was attacked like this.
    pub(super) source: String,
    /// The good token that this one is made from, a row of `good.yaml`.
    #[serde(default = "corp")]
    pub(super) from: String,
    #[serde(default)]
    pub(super) header: BTreeMap<String, Option<String>>,
    #[serde(default)]
    pub(super) claims: BTreeMap<String, Option<String>>,
    /// Members that are written after all others, with their names, so that one can stand twice.
    pub(super) header_also: Option<String>,
    pub(super) claims_also: Option<String>,
    /// The whole text in place of the members.
    pub(super) header_text: Option<String>,
    pub(super) claims_text: Option<String>,
    /// Algorithm, key and, for HMAC with a public key, its form.
    pub(super) sign: Option<String>,
    /// What is done to the signature's bytes.
    pub(super) signature: Option<String>,
    /// How the parts are spelled; `@{it}` is the canonical spelling.
    pub(super) header_as: Option<String>,
    pub(super) claims_as: Option<String>,
    pub(super) signature_as: Option<String>,
    /// How the parts are put together: `@{h}.@{p}.@{s}` unless said otherwise.
    pub(super) text: Option<String>,
    /// Header lines; `@{t}` is the token.
    pub(super) send: Option<Vec<String>>,
    pub(super) method: Option<String>,
    pub(super) target: Option<String>,
    pub(super) body: Option<String>,
    /// The reason in the access log, or `accepted`.
    pub(super) reason: OneOf<String>,
}

fn corp() -> String {
    "corp".to_owned()
}
