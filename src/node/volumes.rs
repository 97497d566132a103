//! Claims and volumes: which volume a claim binds to, and the objects and patches that bind them.
//!
//! A claim is bound to a free volume made by hand that fits, the smallest first; else `provision` says whether a new
//! volume `pvc-<uid>` may be made for it.
//! Source: kube-controller-manager `pkg/controller/volume/persistentvolume/index.go`, `pv_controller.go`.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde_json::{Value, json};

/// Name of the default class where there is none.
pub const DEFAULT_CLASS: &str = "standard";
/// Provisioner of that class.
pub const PROVISIONER: &str = "ordinal.dev/simulated";
/// Names the provisioner of a volume.
pub const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
/// Names the snapshot or claim a volume was filled from.
pub const RESTORED_FROM: &str = "sim.ordinal/restored-from";
/// Keeps a claim while a pod mounts it.
pub const CLAIM_PROTECTION: &str = "kubernetes.io/pvc-protection";
/// Keeps a volume while it is bound.
pub const VOLUME_PROTECTION: &str = "kubernetes.io/pv-protection";

/// What a claim asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// Storage class; empty for none.
    pub class: String,
    /// Bytes.
    pub size: f64,
    /// Access modes, all of which the volume must offer.
    pub modes: Vec<String>,
    /// `Filesystem` or `Block`.
    pub volume_mode: String,
}

/// What `claim` asks for, `default_class` filled in where it names none.
pub fn request(claim: &PersistentVolumeClaim, default_class: &str) -> Request {
    let spec = claim.spec.as_ref();
    Request {
        class: spec.and_then(|it| it.storage_class_name.clone()).unwrap_or_else(|| default_class.to_owned()),
        size: requested(claim).map_or(0.0, bytes),
        modes: spec.and_then(|it| it.access_modes.clone()).unwrap_or_default(),
        volume_mode: spec.and_then(|it| it.volume_mode.clone()).unwrap_or_else(|| "Filesystem".to_owned()),
    }
}

fn requested(claim: &PersistentVolumeClaim) -> Option<&Quantity> {
    claim.spec.as_ref()?.resources.as_ref()?.requests.as_ref()?.get("storage")
}

/// What `claim` asks for, if that is more than it has.
pub fn growth(claim: &PersistentVolumeClaim) -> Option<&Quantity> {
    let has = claim.status.as_ref()?.capacity.as_ref()?.get("storage")?;
    requested(claim).filter(|it| bytes(it) > bytes(has))
}

/// Whether `claim` is bound.
pub fn is_bound(claim: &PersistentVolumeClaim) -> bool {
    claim.status.as_ref().and_then(|it| it.phase.as_deref()) == Some("Bound")
}

/// Whether `volume` is bound to, or set aside for, `claim`.
pub fn belongs(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    let meta = &claim.metadata;
    let reference = volume.spec.as_ref().and_then(|it| it.claim_ref.as_ref());
    reference.is_some_and(|it| {
        it.namespace == meta.namespace && it.name == meta.name && (it.uid.is_none() || it.uid == meta.uid)
    })
}

/// Whether `volume` may be bound to `claim`, whose wish is `request`.
pub fn matches(volume: &PersistentVolume, claim: &PersistentVolumeClaim, request: &Request) -> bool {
    let Some(spec) = &volume.spec else { return false };
    let phase = volume.status.as_ref().and_then(|it| it.phase.as_deref()).unwrap_or("Pending");
    let modes = spec.access_modes.as_deref().unwrap_or_default();
    volume.metadata.deletion_timestamp.is_none()
        && matches!(phase, "Pending" | "Available")
        && (spec.claim_ref.is_none() || belongs(volume, claim))
        && spec.storage_class_name.as_deref().unwrap_or_default() == request.class
        && spec.volume_mode.as_deref().unwrap_or("Filesystem") == request.volume_mode
        && request.modes.iter().all(|it| modes.contains(it))
        && capacity(volume) >= request.size
        && is_selected(volume, claim)
}

/// Whether the selector of `claim`, if it has one, matches the labels of `volume`.
fn is_selected(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    let Some(selector) = claim.spec.as_ref().and_then(|it| it.selector.as_ref()) else { return true };
    let labels = volume.metadata.labels.clone().unwrap_or_default();
    let equal = selector.match_labels.iter().flatten().all(|(key, value)| labels.get(key) == Some(value));
    equal
        && selector.match_expressions.iter().flatten().all(|it| {
            let values = it.values.as_deref().unwrap_or_default();
            let label = labels.get(&it.key);
            match it.operator.as_str() {
                "In" => label.is_some_and(|it| values.contains(it)),
                "NotIn" => label.is_none_or(|it| !values.contains(it)),
                "Exists" => label.is_some(),
                "DoesNotExist" => label.is_none(),
                _ => false,
            }
        })
}

/// Whether `claim` and `volume` were meant for each other before any controller looked.
pub fn is_prebound(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    volume.spec.as_ref().is_some_and(|it| it.claim_ref.is_some()) && belongs(volume, claim)
}

/// Bytes of a volume.
pub fn capacity(volume: &PersistentVolume) -> f64 {
    let capacity = volume.spec.as_ref().and_then(|it| it.capacity.as_ref());
    capacity.and_then(|it| it.get("storage")).map_or(0.0, bytes)
}

/// A new volume for `claim` of `class`, filled from the object named `filled_from`, if any.
pub fn provision(
    claim: &PersistentVolumeClaim,
    request: &Request,
    class: &StorageClass,
    filled_from: Option<&str>,
) -> Value {
    let uid = claim.metadata.uid.as_deref().unwrap_or_default();
    let name = format!("pvc-{uid}");
    let mut annotations = json!({PROVISIONED_BY: class.provisioner});
    if let (Some(source), Some(namespace)) = (filled_from, &claim.metadata.namespace) {
        annotations[RESTORED_FROM] = format!("{namespace}/{source}").into();
    }
    json!({
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name, "annotations": annotations, "finalizers": [VOLUME_PROTECTION]},
        "spec": {
            "capacity": {"storage": requested(claim).map_or("1Gi", |it| it.0.as_str())},
            "accessModes": request.modes,
            "volumeMode": request.volume_mode,
            "persistentVolumeReclaimPolicy": class.reclaim_policy.as_deref().unwrap_or("Delete"),
            "mountOptions": class.mount_options,
            "storageClassName": request.class,
            "hostPath": {"path": format!("/simulated/{name}")},
            "claimRef": claim_ref(claim),
        },
    })
}

/// The reference of a volume to its claim.
pub fn claim_ref(claim: &PersistentVolumeClaim) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "namespace": claim.metadata.namespace,
        "name": claim.metadata.name,
        "uid": claim.metadata.uid,
    })
}

/// The strategic merge patch that names the volume in the claim, and protects the claim while a pod uses it.
pub fn bind_patch(claim: &PersistentVolumeClaim, volume: &str, request: &Request) -> Value {
    let mut annotations = json!({"pv.kubernetes.io/bind-completed": "yes"});
    if claim.spec.as_ref().is_none_or(|it| it.volume_name.is_none()) {
        annotations["pv.kubernetes.io/bound-by-controller"] = "yes".into();
    }
    json!({
        "metadata": {"uid": claim.metadata.uid, "annotations": annotations, "finalizers": [CLAIM_PROTECTION]},
        "spec": {"volumeName": volume, "storageClassName": request.class},
    })
}

/// The merge patch of the status of a bound claim.
pub fn bound_status(capacity: Option<&BTreeMap<String, Quantity>>, modes: Option<&Vec<String>>) -> Value {
    json!({"status": {"phase": "Bound", "capacity": capacity, "accessModes": modes}})
}

/// What a quantity such as `1Gi` or `500M` amounts to; 0 for one that is none.
pub fn bytes(quantity: &Quantity) -> f64 {
    const SUFFIXES: [(&str, f64); 13] = [
        ("Ki", 1024.0),
        ("Mi", 1_048_576.0),
        ("Gi", 1_073_741_824.0),
        ("Ti", 1_099_511_627_776.0),
        ("Pi", 1_125_899_906_842_624.0),
        ("Ei", 1_152_921_504_606_846_976.0),
        ("m", 1e-3),
        ("k", 1e3),
        ("M", 1e6),
        ("G", 1e9),
        ("T", 1e12),
        ("P", 1e15),
        ("E", 1e18),
    ];
    let text = quantity.0.trim();
    let scaled = SUFFIXES.iter().find_map(|(suffix, factor)| {
        text.strip_suffix(suffix).and_then(|it| it.parse::<f64>().ok()).map(|it| it * factor)
    });
    scaled.or_else(|| text.parse().ok()).unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_matches_by_class_size_modes_and_owner() {
        let claim: PersistentVolumeClaim = serde_json::from_value(json!({
            "metadata": {"name": "c", "namespace": "ns", "uid": "u1"},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
        }))
        .expect("a claim");
        let request = request(&claim, "standard");
        let volume = |class: &str, size: &str, modes: Value, owner: Value| -> PersistentVolume {
            serde_json::from_value(json!({"metadata": {"name": "v"}, "spec": {
                "storageClassName": class, "capacity": {"storage": size}, "accessModes": modes, "claimRef": owner,
            }}))
            .expect("a volume")
        };
        let rwo = || json!(["ReadWriteOnce", "ReadOnlyMany"]);
        let cases = vec![
            ("fits", volume("standard", "1Gi", rwo(), Value::Null), true),
            ("larger", volume("standard", "2G", rwo(), Value::Null), true),
            ("class", volume("fast", "1Gi", rwo(), Value::Null), false),
            ("small", volume("standard", "1G", rwo(), Value::Null), false),
            ("modes", volume("standard", "1Gi", json!(["ReadOnlyMany"]), Value::Null), false),
            ("set aside", volume("standard", "1Gi", rwo(), json!({"namespace": "ns", "name": "c"})), true),
            ("of another", volume("standard", "1Gi", rwo(), json!({"namespace": "ns", "name": "d"})), false),
            (
                "of a former",
                volume("standard", "1Gi", rwo(), json!({"namespace": "ns", "name": "c", "uid": "u0"})),
                false,
            ),
        ];
        for (name, volume, want) in cases {
            assert_eq!(matches(&volume, &claim, &request), want, "{name}");
        }
    }

    #[test]
    fn a_claim_that_asks_for_more_than_it_has_grows() {
        let claim = |asks: &str, has: Value| -> PersistentVolumeClaim {
            let status = json!({"phase": "Bound", "capacity": {"storage": has}});
            let spec = json!({"resources": {"requests": {"storage": asks}}});
            serde_json::from_value(json!({"spec": spec, "status": status})).expect("a claim")
        };
        assert_eq!(growth(&claim("2Gi", json!("1Gi"))), Some(&Quantity("2Gi".to_owned())));
        assert_eq!(growth(&claim("1024Mi", json!("1Gi"))), None);
        assert_eq!(growth(&claim("1Gi", json!("2Gi"))), None);
    }

    #[test]
    fn quantities_are_read_in_either_base() {
        for (text, want) in [("1Ki", 1024.0), ("1.5k", 1500.0), ("2e3", 2000.0), ("7", 7.0), ("x", 0.0)] {
            assert!((bytes(&Quantity(text.to_owned())) - want).abs() < 1e-6, "{text}");
        }
    }
}
