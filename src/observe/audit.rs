//! Audit events: who did what to which resource, by which decision. Never a secret.
//!
//! They are lines of the process log with the target `audit`. The hash-chained log that outlives the process is
//! not here.

use std::fmt::Display;

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Both keys of a service were shown.
    ListKeys,
    /// A key was replaced.
    RegenerateKey,
    /// A service was put in another auth mode.
    ChangeAuthMode,
    /// A service token was issued.
    IssueToken,
    /// A LimitedAccessToken was issued.
    IssueLimitedAccessToken,
    /// An account was made.
    CreateAccount,
    /// What an account holds or may issue was changed.
    ChangeAccount,
    /// An account and its keys were taken away.
    RemoveAccount,
    /// Tokens were cut off.
    Revoke,
    /// A new signing key took over.
    RotateSigningKey,
    /// A role did not cover a call of the management plane.
    Forbidden,
}

impl Act {
    /// The word in the log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ListKeys => "keys.list",
            Self::RegenerateKey => "keys.regenerate",
            Self::ChangeAuthMode => "services.auth_mode",
            Self::IssueToken => "token.issue",
            Self::IssueLimitedAccessToken => "limited_access_token.issue",
            Self::CreateAccount => "account.create",
            Self::ChangeAccount => "account.change",
            Self::RemoveAccount => "account.remove",
            Self::Revoke => "token.revoke",
            Self::RotateSigningKey => "signing_key.rotate",
            Self::Forbidden => "management.forbidden",
        }
    }
}

/// Writes one event. `detail` is the slot, the token's `jti`, the flags: whatever tells one such act from another.
pub fn note(act: Act, who: &dyn Display, resource: &dyn Display, detail: &dyn Display, decision: &dyn Display) {
    tracing::info!(target: "audit", what = act.as_str(), %who, %resource, %detail, decision_id = %decision, "audit");
}
