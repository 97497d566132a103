//! Rows of claims, volumes and storage classes.

use super::{AGE, Column, NAME, age, created, list, name, text_or, timestamp};
use jiff::Timestamp;
use serde_json::Value;

pub const CLAIM: &[Column] = &[
    NAME,
    Column::text("Status", "Phase of the claim."),
    Column::text("Volume", "Volume the claim is bound to."),
    Column::text("Capacity", "Size of the bound volume."),
    Column::text("Access Modes", "How the volume may be mounted."),
    Column::text("StorageClass", "Class that provides the volume."),
    Column::text("VolumeAttributesClass", "Class of changeable attributes."),
    AGE,
    Column::text("VolumeMode", "Filesystem or Block.").wide(),
];
pub const VOLUME: &[Column] = &[
    NAME,
    Column::text("Capacity", "Size of the volume."),
    Column::text("Access Modes", "How the volume may be mounted."),
    Column::text("Reclaim Policy", "What happens when the claim is gone."),
    Column::text("Status", "Phase of the volume."),
    Column::text("Claim", "Claim the volume is bound to."),
    Column::text("StorageClass", "Class that provides the volume."),
    Column::text("VolumeAttributesClass", "Class of changeable attributes."),
    Column::text("Reason", "Why the volume failed."),
    AGE,
    Column::text("VolumeMode", "Filesystem or Block.").wide(),
];
pub const CLASS: &[Column] = &[
    NAME,
    Column::text("Provisioner", "What makes the volumes."),
    Column::text("ReclaimPolicy", "What happens when the claim is gone."),
    Column::text("VolumeBindingMode", "When volumes are made and bound."),
    Column::text("AllowVolumeExpansion", "Whether claims may grow."),
    AGE,
];

pub const SNAPSHOT: &[Column] = &[
    NAME,
    Column { type_: "boolean", ..Column::text("ReadyToUse", "Whether a claim can be restored from it.") },
    Column::text("SourcePVC", "Claim it was taken of."),
    Column::text("SourceSnapshotContent", "Content it was made for."),
    Column::text("RestoreSize", "Smallest claim that can be restored from it."),
    Column::text("SnapshotClass", "Class that provides the snapshot."),
    Column::text("SnapshotContent", "Content the snapshot is bound to."),
    Column::text("CreationTime", "When it was taken."),
    AGE,
];
pub const SNAPSHOT_CLASS: &[Column] = &[
    NAME,
    Column::text("Driver", "What takes the snapshots."),
    Column::text("DeletionPolicy", "What happens when the snapshot is gone."),
    AGE,
];
pub const SNAPSHOT_CONTENT: &[Column] = &[
    NAME,
    Column { type_: "boolean", ..Column::text("ReadyToUse", "Whether a claim can be restored from it.") },
    Column::number("RestoreSize", "Bytes."),
    Column::text("DeletionPolicy", "What happens when the snapshot is gone."),
    Column::text("Driver", "What took the snapshot."),
    Column::text("VolumeSnapshotClass", "Class it was made with."),
    Column::text("VolumeSnapshot", "Snapshot it is bound to."),
    Column::text("VolumeSnapshotNamespace", "Namespace of that snapshot."),
    AGE,
];

const LEGACY_CLASS: &str = "volume.beta.kubernetes.io/storage-class";

fn access_modes(modes: &Value) -> String {
    let order = [
        ("ReadWriteOnce", "RWO"),
        ("ReadOnlyMany", "ROX"),
        ("ReadWriteMany", "RWX"),
        ("ReadWriteOncePod", "RWOP"),
    ];
    let shown: Vec<&str> =
        order.iter().filter(|mode| list(modes).iter().any(|it| it == mode.0)).map(|it| it.1).collect();
    shown.join(",")
}

fn storage_class(object: &Value) -> Value {
    match object["metadata"]["annotations"][LEGACY_CLASS].as_str() {
        Some(class) => class.into(),
        None => text_or(&object["spec"]["storageClassName"], ""),
    }
}

/// The phase, or that the object is on its way out.
fn phase(object: &Value) -> Value {
    if object["metadata"]["deletionTimestamp"].is_string() {
        "Terminating".into()
    } else {
        text_or(&object["status"]["phase"], "")
    }
}

pub fn claim(object: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let bound = spec["volumeName"].as_str().is_some_and(|it| !it.is_empty());
    vec![
        name(object),
        phase(object),
        text_or(&spec["volumeName"], ""),
        if bound { text_or(&status["capacity"]["storage"], "0") } else { "".into() },
        if bound { access_modes(&status["accessModes"]) } else { String::new() }.into(),
        storage_class(object),
        text_or(&spec["volumeAttributesClassName"], "<unset>"),
        created(object, now),
        text_or(&spec["volumeMode"], "<unset>"),
    ]
}

pub fn volume(object: &Value, now: Timestamp) -> Vec<Value> {
    let spec = &object["spec"];
    let claim = match (spec["claimRef"]["namespace"].as_str(), spec["claimRef"]["name"].as_str()) {
        (Some(namespace), Some(name)) => format!("{namespace}/{name}"),
        _ => String::new(),
    };
    vec![
        name(object),
        text_or(&spec["capacity"]["storage"], ""),
        access_modes(&spec["accessModes"]).into(),
        text_or(&spec["persistentVolumeReclaimPolicy"], ""),
        phase(object),
        claim.into(),
        storage_class(object),
        text_or(&spec["volumeAttributesClassName"], "<unset>"),
        text_or(&object["status"]["reason"], ""),
        created(object, now),
        text_or(&spec["volumeMode"], "<unset>"),
    ]
}

pub fn class(object: &Value, now: Timestamp) -> Vec<Value> {
    let annotations = &object["metadata"]["annotations"];
    let default =
        ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"]
            .iter()
            .any(|it| annotations[*it] == "true");
    let mut shown = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    if default {
        shown.push_str(" (default)");
    }
    vec![
        shown.into(),
        text_or(&object["provisioner"], ""),
        text_or(&object["reclaimPolicy"], "Delete"),
        text_or(&object["volumeBindingMode"], "<unset>"),
        (object["allowVolumeExpansion"] == true).into(),
        created(object, now),
    ]
}

pub fn snapshot(object: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let taken = &status["creationTime"];
    vec![
        name(object),
        status["readyToUse"].clone(),
        text_or(&spec["source"]["persistentVolumeClaimName"], ""),
        text_or(&spec["source"]["volumeSnapshotContentName"], ""),
        text_or(&status["restoreSize"], ""),
        text_or(&spec["volumeSnapshotClassName"], ""),
        text_or(&status["boundVolumeSnapshotContentName"], ""),
        if taken.is_string() { age(timestamp(taken), now).into() } else { "".into() },
        created(object, now),
    ]
}

pub fn snapshot_class(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![
        name(object),
        text_or(&object["driver"], ""),
        text_or(&object["deletionPolicy"], ""),
        created(object, now),
    ]
}

pub fn snapshot_content(object: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    vec![
        name(object),
        status["readyToUse"].clone(),
        status["restoreSize"].clone(),
        text_or(&spec["deletionPolicy"], ""),
        text_or(&spec["driver"], ""),
        text_or(&spec["volumeSnapshotClassName"], ""),
        text_or(&spec["volumeSnapshotRef"]["name"], ""),
        text_or(&spec["volumeSnapshotRef"]["namespace"], ""),
        created(object, now),
    ]
}
