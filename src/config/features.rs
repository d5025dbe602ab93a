//! Calls that need features.

use http::Method;

use crate::model::feature::FeatureSet;
use crate::model::path::PathTemplate;

/// Calls that need features.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeatureRule {
    /// Methods; empty is every method.
    pub methods: Vec<Method>,
    /// The path as the client sent it, compared without regard to case and to a trailing slash: a wider gate is the safe one.
    pub path: PathTemplate,
    /// The call is free where this query parameter stands exactly once and has exactly this value.
    pub free_when: Option<QueryParameter>,
    /// What the call needs.
    pub needs: Needs,
}

/// A query parameter and its value, both compared without regard to case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryParameter {
    /// Name.
    pub name: String,
    /// Value.
    pub value: String,
}

/// What a gated call needs; the set is never empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// One of these.
    AnyOf(FeatureSet),
    /// All of these.
    AllOf(FeatureSet),
}
