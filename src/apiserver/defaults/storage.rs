//! Defaults of claims, volumes and storage classes.

use super::{at, child, set};
use crate::apiserver::quantity;
use serde_json::Value;

/// Source: `SetDefaults_PersistentVolumeClaim`.
pub fn claim(object: &mut Value) {
    claim_spec(child(object, "spec"));
    set(child(object, "status"), "phase", "Pending");
}

/// Source: `SetDefaults_PersistentVolumeClaimSpec`; the two data sources mirror each other
/// (`NormalizeDataSources`).
pub fn claim_spec(spec: &mut Value) {
    set(spec, "volumeMode", "Filesystem");
    if let Some(source) = spec.get("dataSource").cloned() {
        set(spec, "dataSourceRef", source);
    } else if let Some(source) = spec.get("dataSourceRef").filter(|it| it.get("namespace").is_none()).cloned()
    {
        set(spec, "dataSource", source);
    }
}

/// Canonical quantities of a claim or claim template.
pub fn claim_quantities(claim: &mut Value) {
    at(claim, "spec", |spec| {
        at(spec, "resources", |resources| {
            at(resources, "requests", quantity::canonicalize_map);
            at(resources, "limits", quantity::canonicalize_map);
        });
    });
    at(claim, "status", |status| {
        at(status, "capacity", quantity::canonicalize_map);
        at(status, "allocatedResources", quantity::canonicalize_map);
    });
}

/// Source: `SetDefaults_PersistentVolume`.
pub fn volume(object: &mut Value) {
    let spec = child(object, "spec");
    set(spec, "persistentVolumeReclaimPolicy", "Retain");
    set(spec, "volumeMode", "Filesystem");
    at(spec, "hostPath", |it| set(it, "type", ""));
    set(child(object, "status"), "phase", "Pending");
}

/// Source: storage `SetDefaults_StorageClass`.
pub fn class(object: &mut Value) {
    set(object, "reclaimPolicy", "Delete");
    set(object, "volumeBindingMode", "Immediate");
}
