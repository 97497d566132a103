//! Snapshots, their classes and contents.
//!
//! Source: the validation rules of the CustomResourceDefinitions in kubernetes-csi/external-snapshotter
//! `client/config/crd`.

use super::{FieldError, immutable, one_of, required, text};
use serde_json::Value;

const POLICIES: &[&str] = &["Delete", "Retain"];

/// Exactly one of two members.
fn exactly_one(source: &Value, field: &str, keys: [&str; 2], errors: &mut Vec<FieldError>) {
    let given = keys.iter().filter(|it| !text(&source[**it]).is_empty()).count();
    if given != 1 {
        let detail = format!("exactly one of {} and {} must be set", keys[0], keys[1]);
        errors.push(FieldError::invalid(field, source.clone(), detail));
    }
}

/// A snapshot has one source.
pub fn snapshot(object: &Value, errors: &mut Vec<FieldError>) {
    let spec = &object["spec"];
    if spec["source"].is_null() {
        errors.push(FieldError::required("spec.source", ""));
    } else {
        let keys = ["persistentVolumeClaimName", "volumeSnapshotContentName"];
        exactly_one(&spec["source"], "spec.source", keys, errors);
    }
    if spec["volumeSnapshotClassName"] == "" {
        let detail = "volumeSnapshotClassName must not be the empty string when set";
        errors.push(FieldError::invalid("spec.volumeSnapshotClassName", "", detail));
    }
}

/// The source never changes.
pub fn update(old: &Value, new: &Value, errors: &mut Vec<FieldError>) {
    immutable(old, new, "/spec/source", "spec.source", errors);
}

/// Driver and policy.
pub fn class(object: &Value, errors: &mut Vec<FieldError>) {
    required(object, "driver", "driver", errors);
    one_of(&object["deletionPolicy"], "deletionPolicy", POLICIES, errors);
}

/// Driver, policy, source and the snapshot it belongs to.
pub fn content(object: &Value, errors: &mut Vec<FieldError>) {
    let spec = &object["spec"];
    required(spec, "driver", "spec.driver", errors);
    one_of(&spec["deletionPolicy"], "spec.deletionPolicy", POLICIES, errors);
    if spec["source"].is_null() {
        errors.push(FieldError::required("spec.source", ""));
    } else {
        exactly_one(&spec["source"], "spec.source", ["volumeHandle", "snapshotHandle"], errors);
    }
    let reference = &spec["volumeSnapshotRef"];
    if reference.is_null() {
        errors.push(FieldError::required("spec.volumeSnapshotRef", ""));
        return;
    }
    for key in ["name", "namespace"] {
        required(reference, key, format!("spec.volumeSnapshotRef.{key}"), errors);
    }
}
