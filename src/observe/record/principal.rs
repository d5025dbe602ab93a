//! Who called.

use std::fmt;
use std::sync::Arc;

use crate::config::TokenIssuer;
use crate::model::name::Name;
use crate::model::slot::Slot;
use crate::observe::metrics::Scheme;

/// Who called, once that is proven. Never what proved it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Principal {
    /// The holder of one of the service's own keys.
    Service {
        /// The service.
        service: Name,
        /// The slot that holds the key.
        slot: Slot,
    },
    /// The holder of one of an account's keys.
    Account {
        /// The account.
        account: Name,
        /// The slot that holds the key.
        slot: Slot,
    },
    /// The subject of a token.
    Token {
        /// Who issued it.
        issuer: TokenIssuer,
        /// Its `sub`.
        subject: Arc<str>,
    },
    /// Anybody: the service is public.
    Anonymous,
}

impl Principal {
    /// How the caller proved it.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        match self {
            Self::Service { .. } | Self::Account { .. } => Scheme::Key,
            Self::Token { .. } => Scheme::Token,
            Self::Anonymous => Scheme::Public,
        }
    }

    /// The slot of the key that was used.
    #[must_use]
    pub fn slot(&self) -> Option<Slot> {
        match self {
            Self::Service { slot, .. } | Self::Account { slot, .. } => Some(*slot),
            Self::Token { .. } | Self::Anonymous => None,
        }
    }
}

impl fmt::Display for Principal {
    /// `service:<name>:<slot>`, `account:<name>`, `token:<subject>` or `anonymous`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service { service, slot } => write!(f, "service:{service}:{slot}"),
            Self::Account { account, slot: _ } => write!(f, "account:{account}"),
            Self::Token { issuer: _, subject } => write!(f, "token:{subject}"),
            Self::Anonymous => f.write_str("anonymous"),
        }
    }
}
