//! Label and field selectors.

use crate::apiserver::resources::Resource;
use serde_json::Value;

/// A parsed label selector; the empty one matches everything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LabelSelector {}

impl LabelSelector {
    /// Parses the query-string form.
    pub fn parse(_text: &str) -> Result<LabelSelector, String> {
        Ok(LabelSelector {})
    }
    /// Reads a `metav1.LabelSelector`.
    pub fn from_json(_selector: &Value) -> Result<LabelSelector, String> {
        Ok(LabelSelector {})
    }
    /// Whether the labels of `object` satisfy every requirement.
    pub fn matches(&self, _object: &Value) -> bool {
        true
    }
    /// Whether there is no requirement.
    pub fn is_empty(&self) -> bool {
        true
    }
}

impl std::fmt::Display for LabelSelector {
    fn fmt(&self, _f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        Ok(())
    }
}

/// A parsed field selector; the empty one matches everything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FieldSelector {}

impl FieldSelector {
    /// Parses `a=b,c!=d`; fields the resource does not offer are an error.
    pub fn parse(_resource: &Resource, _text: &str) -> Result<FieldSelector, String> {
        Ok(FieldSelector {})
    }
    /// Whether `object` satisfies every requirement.
    pub fn matches(&self, _resource: &Resource, _object: &Value) -> bool {
        true
    }
    /// Whether there is no requirement.
    pub fn is_empty(&self) -> bool {
        true
    }
}
