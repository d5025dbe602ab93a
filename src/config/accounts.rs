//! Callers' resources, and where keys come from.

use std::path::PathBuf;

use crate::config::SecretRef;
use crate::model::feature::FeatureSet;
use crate::model::name::Name;
use crate::model::resource::ResourceId;

/// A caller's resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its name.
    pub name: Name,
    /// Its identifier.
    pub resource: ResourceId,
    /// Its two keys.
    pub slots: Slots,
    /// Features that it holds in its own right.
    pub approvals: FeatureSet,
    /// Features that it may put into LimitedAccessTokens: its ceiling.
    pub may_issue: FeatureSet,
}

/// Where two slots get their keys from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Slots {
    /// The store holds them: made at first start, listed and regenerated through the API.
    Store,
    /// Files `primary` and `secondary` in a mounted directory; one of the two may be missing.
    Directory(PathBuf),
    /// References, each with an optional expiry; at least one of the two.
    References {
        /// The first key.
        primary: Option<SlotRef>,
        /// The second key.
        secondary: Option<SlotRef>,
    },
}

/// One slot whose key is referred to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotRef {
    /// Where the key is.
    pub key: SecretRef,
    /// When it stops to open anything, seconds since 1970; `None` is never.
    pub expires: Option<crate::model::time::UnixSeconds>,
}
