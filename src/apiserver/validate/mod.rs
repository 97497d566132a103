//! Validation of objects before they are stored.

mod error;
pub mod names;

use crate::apiserver::resources::Resource;
pub use error::{FieldError, FieldErrorReason};
use serde_json::Value;

/// Checks a defaulted object about to be created.
pub fn create(_resource: &Resource, _object: &Value) -> Vec<FieldError> {
    Vec::new()
}

/// Checks a defaulted object about to replace `old`.
pub fn update(_resource: &Resource, _old: &Value, _new: &Value) -> Vec<FieldError> {
    Vec::new()
}

/// Checks a write of the status subresource.
pub fn update_status(_resource: &Resource, _old: &Value, _new: &Value) -> Vec<FieldError> {
    Vec::new()
}

/// Whether the object decodes into the kind's type; the message of the 400 answer if not.
pub fn decode_check(_resource: &Resource, _object: &Value) -> Result<(), String> {
    Ok(())
}

/// Paths of fields the kind's type does not have, such as `spec.template.foo`.
pub fn unknown_fields(_resource: &Resource, _object: &Value) -> Vec<String> {
    Vec::new()
}
