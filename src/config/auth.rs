//! Who may call a service.

use std::collections::BTreeMap;

use http::HeaderName;

use crate::config::Slots;
use crate::model::name::Name;
use crate::model::resource::ResourceId;

/// Who may call a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Auth {
    /// One of the service's own two keys, or one of an allowed account's two.
    Key(KeyAuth),
    /// A JWT.
    Token(TokenAuth),
    /// Everybody.
    Public {
        /// Why, in the words of whoever wrote it.
        reason: String,
    },
}

/// A mode that the management API can put a service in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthMode {
    /// [`Auth::Key`].
    Key,
    /// [`Auth::Token`].
    Token,
}

impl AuthMode {
    /// The word in the store, in logs and in answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Token => "token",
        }
    }
}

/// The settings of both modes of a service whose mode the management API may change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Modes {
    /// By key.
    pub key: KeyAuth,
    /// By token.
    pub token: TokenAuth,
}

/// Authentication by key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyAuth {
    /// Where a key may stand; never empty. Default `Authorization: Bearer` and `Ocp-Apim-Subscription-Key`.
    pub sources: Vec<KeySource>,
    /// The service's own two slots; `None` where only accounts call it.
    pub slots: Option<Slots>,
    /// Accounts whose keys open this service.
    pub accounts: AllowedAccounts,
}

/// Where a key may stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// `Authorization: Bearer <key>`.
    Bearer,
    /// A header that holds nothing but the key.
    Header(HeaderName),
    /// A query parameter. It lands in other people's logs: opt-in only.
    Query(String),
}

/// Accounts whose keys open a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AllowedAccounts {
    /// These, possibly none.
    Only(Vec<Name>),
    /// Every account that exists, also those of the store.
    Every,
}

/// Authentication by token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenAuth {
    /// Issuers that are accepted; never empty.
    pub issuers: Vec<TokenIssuer>,
    /// Audiences of which the token's `aud` must name one; never empty. Default the service's name.
    pub audiences: Vec<String>,
    /// Claims that must have exactly this text, or hold it in a list.
    pub required_claims: BTreeMap<String, String>,
    /// Which account's resource a caller stands for, where LimitedAccessTokens are used.
    pub resource: Option<CallerResource>,
}

/// An issuer that a service accepts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum TokenIssuer {
    /// This gateway.
    Own,
    /// A foreign one.
    Foreign(Name),
}

/// Which resource the caller of a token service stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallerResource {
    /// Always this one.
    Fixed(ResourceId),
    /// The one that this claim names.
    Claim(String),
}
