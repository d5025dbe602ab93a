//! What the management plane reads: who may come, and what its callers are told about the gateway.

use std::sync::Arc;
use std::time::Duration;

use crate::config::OwnTokens;
use crate::config::Role;
use crate::config::TokenIssuer;
use crate::model::digest::Digest;
use crate::model::name::Name;
use crate::model::resource::ResourceId;
use crate::tokens::issuer::TrustedIssuer;
use crate::tokens::verify::ServiceVerifier;

/// What the management plane reads besides services and keys.
#[derive(Debug, Clone)]
pub struct Management {
    /// Who may come.
    pub operators: Vec<Operator>,
    /// Tokens that open it, those with the role that may most first.
    pub doors: Vec<Door>,
    /// The workspace that the gateway stands for.
    pub workspace: ResourceId,
    /// Where clients reach the traffic plane, where that was configured.
    pub public_url: Option<String>,
    /// Everybody whose tokens are known, this gateway as the issuer of service tokens among them.
    pub issuers: Vec<Arc<TrustedIssuer>>,
    /// What the gateway's own tokens look like.
    pub tokens: OwnTokens,
    /// Whether the management listener speaks TLS.
    pub is_tls: bool,
}

/// The holder of a management key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operator {
    /// What the key is called.
    pub name: Name,
    /// What it opens.
    pub role: Role,
    /// SHA-256 of the key.
    pub digest: Digest,
}

/// Tokens of one issuer that have one role.
#[derive(Debug, Clone)]
pub struct Door {
    /// Which role.
    pub role: Role,
    /// Judges them.
    pub verifier: Arc<ServiceVerifier>,
}

impl Management {
    /// How long after a moment a token that one of these issuers issued until then can still be used, in seconds.
    pub fn longest_use_seconds(&self, these: impl Fn(&TrustedIssuer) -> bool) -> u64 {
        let lives = self.issuers.iter().filter(|issuer| these(issuer)).map(|issuer| issuer.longest_use_seconds());
        lives.max().unwrap_or_default()
    }

    /// How long a signing key of ours verifies after it has signed for the last time.
    #[must_use]
    pub fn verify_for(&self) -> Duration {
        Duration::from_secs(self.longest_use_seconds(|issuer| *issuer.who() == TokenIssuer::Own))
    }

    /// Whose key this is. Takes as long for a key that is nobody's as for any other.
    #[must_use]
    pub fn holder(&self, presented: &Digest) -> Option<&Operator> {
        self.operators
            .iter()
            .fold(None, |found, operator| if operator.digest == *presented { Some(operator) } else { found })
    }
}
