//! Defaults the API server writes into stored objects.

use crate::apiserver::resources::Resource;
use serde_json::Value;

/// Fills in defaults. Idempotent; used at create and update.
pub fn apply(_resource: &Resource, _object: &mut Value) {}
