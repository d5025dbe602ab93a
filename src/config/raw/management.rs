//! What concerns the management plane: `management_keys`, and a service's `platform`.

use schemars::JsonSchema;
use serde::Deserialize;

/// A key that opens the management API.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ManagementKey {
    /// `file:<path>`, `env:<NAME>` or `credential:<name>`: at least 16 visible characters.
    pub key: String,
    /// What it may do.
    pub role: Role,
}

/// Which tokens of a foreign issuer open the management API.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ManagementIssuer {
    /// Audiences of which the token's `aud` must name one.
    #[schemars(length(min = 1))]
    pub audiences: Vec<String>,
    /// Which role a token brings.
    pub roles: Roles,
}

/// Which role a token brings: the highest whose values its claim is, or holds in a list. None of them is 403.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Roles {
    /// The claim, such as `roles` or `groups`.
    pub claim: String,
    /// Values of a reader. Default: none.
    pub reader: Option<Vec<String>>,
    /// Values of an operator. Default: none.
    pub operator: Option<Vec<String>>,
    /// Values of an owner. Default: none.
    pub owner: Option<Vec<String>>,
}

/// What somebody may do on the management plane. Each role may do all that the one before it may.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// May look, and get a token for a service.
    Reader,
    /// May list and regenerate keys.
    Operator,
    /// May do everything.
    Owner,
}

/// Where a service runs, in the eyes of Azure's v1 SDK.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Platform {
    /// Azure Kubernetes Service: `AksWebservice`.
    Aks,
    /// Azure Container Instances: `AciWebservice`, which has no tokens.
    Aci,
}
