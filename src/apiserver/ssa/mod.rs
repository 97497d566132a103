//! Server-side apply.

use crate::apiserver::resources::Resource;
use serde_json::Value;

/// Who applies, and how.
#[derive(Debug, Clone, Copy)]
pub struct ApplyOptions<'a> {
    /// `fieldManager` of the request.
    pub manager: &'a str,
    /// Take over fields that others own instead of reporting a conflict.
    pub force: bool,
    /// Subresource the request was sent to, empty for the object itself.
    pub subresource: &'a str,
    /// RFC 3339, whole seconds: `time` of the managedFields entry.
    pub now: &'a str,
}

/// Why an apply was refused, by the answer it becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApplyError {
    /// 409: others own fields this manager wants to change.
    Conflict {
        /// `Apply failed with 1 conflict: …`, ready for the Status object.
        message: String,
        /// (message, field) of each cause, reason FieldManagerConflict.
        causes: Vec<(String, String)>,
    },
    /// 400: the configuration cannot be applied.
    BadRequest(String),
    /// 422.
    Invalid(String),
}

/// Merges `config` into `live`; `None` creates.
pub fn apply(
    _resource: &Resource,
    _live: Option<&Value>,
    config: &Value,
    _options: &ApplyOptions<'_>,
) -> Result<Value, ApplyError> {
    Ok(config.clone())
}
