//! What `gateway.yaml` says about the management plane: who may do what there, and what its SDKs are told.

use crate::config::SecretRef;
use crate::model::name::Name;

/// A key of an operator or of a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManagementKey {
    /// What operators call it; audit events name it.
    pub name: Name,
    /// Where the key is.
    pub key: SecretRef,
    /// What it opens.
    pub role: Role,
}

/// A foreign issuer whose tokens open the management API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManagementIssuer {
    /// Which of the issuers.
    pub issuer: Name,
    /// Audiences of which a token's `aud` must name one; never empty.
    pub audiences: Vec<String>,
    /// The claim that tells a role.
    pub claim: String,
    /// What the claim has to be, or to hold in a list, for a role; never empty, the role that may most first.
    pub roles: Vec<(Role, String)>,
}

/// What somebody may do on the management plane. Each role may do all that the one before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// May look, and get a token for a service.
    Reader,
    /// May list and regenerate keys.
    Operator,
    /// May do everything.
    Owner,
}

impl Role {
    /// Every role, the one that may least first.
    pub const ALL: [Self; 3] = [Self::Reader, Self::Operator, Self::Owner];

    /// The word in the configuration, in logs and in answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reader => "reader",
            Self::Operator => "operator",
            Self::Owner => "owner",
        }
    }
}

/// Where a service runs, in the eyes of Azure's v1 SDK: it has a class for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Platform {
    /// Azure Kubernetes Service: `AksWebservice`.
    Aks,
    /// Azure Container Instances: `AciWebservice`, which has no tokens.
    Aci,
}
