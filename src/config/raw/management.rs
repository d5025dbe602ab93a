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
