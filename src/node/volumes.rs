//! Binds claims to volumes: an existing volume that fits, or a new one.
//!
//! Pure decisions. Differs from a cluster: a class needs no object and no provisioner, any name is provisioned;
//! a claim without a class gets the default class, `standard` if none is marked.
//! Sources: kubernetes `pkg/controller/volume/persistentvolume/pv_controller.go`.

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use serde_json::{Value, json};

use crate::k8s::watch::{Cached, parse_version};
use crate::model::ObjectKey;

/// The class of a claim that names none, when no StorageClass is marked as default.
pub const DEFAULT_CLASS: &str = "standard";
const DEFAULT_CLASS_MARK: &str = "storageclass.kubernetes.io/is-default-class";

/// A narrowed claim.
#[derive(Debug, Clone)]
pub struct ClaimView {
    /// Namespace and name.
    pub key: ObjectKey,
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.resourceVersion`.
    pub resource_version: u64,
    /// `metadata.deletionTimestamp` is set.
    pub terminating: bool,
    /// `spec.storageClassName`; an empty name means no class on purpose.
    pub class: Option<String>,
    /// `spec.volumeName`.
    pub volume_name: Option<String>,
    /// `spec.accessModes`.
    pub access_modes: Vec<String>,
    /// `spec.resources.requests.storage`.
    pub request: String,
    /// `spec.volumeMode`.
    pub volume_mode: Option<String>,
    /// `status.phase` is Bound.
    pub bound: bool,
}

/// A narrowed volume.
#[derive(Debug, Clone)]
pub struct VolumeView {
    /// Name; volumes have no namespace.
    pub name: String,
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.resourceVersion`.
    pub resource_version: u64,
    /// `spec.storageClassName`, empty for none.
    pub class: String,
    /// `spec.accessModes`.
    pub access_modes: Vec<String>,
    /// `spec.capacity.storage`.
    pub capacity: String,
    /// `spec.claimRef`: namespace and name, and the uid once bound.
    pub claim: Option<(ObjectKey, Option<String>)>,
    /// `spec.persistentVolumeReclaimPolicy` is Delete.
    pub deleted_with_claim: bool,
    /// `status.phase`.
    pub phase: String,
}

/// A narrowed StorageClass.
#[derive(Debug, Clone)]
pub struct ClassView {
    /// Name.
    pub name: String,
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.resourceVersion`.
    pub resource_version: u64,
    /// Marked as the default class.
    pub default: bool,
    /// `volumeBindingMode: WaitForFirstConsumer`.
    pub waits_for_consumer: bool,
    /// `reclaimPolicy`, Delete by default.
    pub reclaim_policy: String,
}

/// What to do for a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Binding {
    /// Nothing (bound, or going away).
    Done,
    /// Wait until a pod uses it, or a volume of no class appears.
    Wait,
    /// Bind to this existing volume.
    Existing {
        /// Name of the volume.
        volume: String,
    },
    /// Make a volume of this class and bind to it.
    Provision {
        /// The class, which the claim is given if it named none.
        class: String,
    },
}

/// Decides about one claim. `used`: whether a pod names it.
pub fn decide(claim: &ClaimView, volumes: &[&VolumeView], classes: &[&ClassView], used: bool) -> Binding {
    if claim.bound || claim.terminating {
        return Binding::Done;
    }
    if let Some(name) = &claim.volume_name {
        let known = volumes.iter().any(|it| it.name == *name);
        return if known { Binding::Existing { volume: name.clone() } } else { Binding::Wait };
    }
    let default = classes.iter().filter(|it| it.default).map(|it| it.name.as_str()).min();
    let class = claim.class.as_deref().unwrap_or(default.unwrap_or(DEFAULT_CLASS));
    let own = volumes.iter().find(|it| claims(it, claim));
    let free = volumes
        .iter()
        .filter(|it| {
            it.claim.is_none() && it.class == class && it.phase != "Released" && it.phase != "Failed"
        })
        .filter(|it| claim.access_modes.iter().all(|mode| it.access_modes.contains(mode)))
        .filter(|it| bytes(&it.capacity) >= bytes(&claim.request))
        .min_by(|a, b| bytes(&a.capacity).total_cmp(&bytes(&b.capacity)).then_with(|| a.name.cmp(&b.name)));
    if let Some(volume) = own.or(free) {
        return Binding::Existing { volume: volume.name.clone() };
    }
    let waits = classes.iter().any(|it| it.name == class && it.waits_for_consumer);
    if class.is_empty() || (waits && !used) {
        return Binding::Wait;
    }
    Binding::Provision { class: class.to_owned() }
}

/// Whether the volume is reserved for, or bound to, exactly this claim.
pub fn claims(volume: &VolumeView, claim: &ClaimView) -> bool {
    volume
        .claim
        .as_ref()
        .is_some_and(|(key, uid)| *key == claim.key && uid.as_ref().is_none_or(|it| *it == claim.uid))
}

/// Name of the volume made for a claim.
pub fn volume_name(claim: &ClaimView) -> String {
    format!("pvc-{}", claim.uid)
}

/// The volume to create for a claim.
pub fn volume(claim: &ClaimView, class: &str, classes: &[&ClassView]) -> PersistentVolume {
    let name = volume_name(claim);
    let policy = classes.iter().find(|it| it.name == class).map_or("Delete", |it| it.reclaim_policy.as_str());
    let object = json!({
        "metadata": {"name": name, "annotations": {"pv.kubernetes.io/provisioned-by": "sim.ordinal/host-path"}},
        "spec": {
            "accessModes": claim.access_modes,
            "capacity": {"storage": claim.request},
            "claimRef": claim_reference(claim),
            "hostPath": {"path": format!("/var/lib/sim/{name}"), "type": "DirectoryOrCreate"},
            "persistentVolumeReclaimPolicy": policy,
            "storageClassName": class,
            "volumeMode": claim.volume_mode.as_deref().unwrap_or("Filesystem"),
        },
    });
    serde_json::from_value(object).expect("strings and known fields make a PersistentVolume")
}

/// The patch that reserves an existing volume for a claim.
pub fn reserve(claim: &ClaimView) -> Value {
    json!({"spec": {"claimRef": claim_reference(claim)}})
}

/// The patch of the claim itself: its volume, and its class if it had none.
pub fn bind(claim: &ClaimView, volume: &str, class: Option<&str>) -> Value {
    let mut spec = json!({"volumeName": volume});
    if let (None, Some(class)) = (&claim.class, class) {
        spec["storageClassName"] = json!(class);
    }
    let annotations =
        json!({"pv.kubernetes.io/bind-completed": "yes", "pv.kubernetes.io/bound-by-controller": "yes"});
    json!({"metadata": {"uid": claim.uid, "annotations": annotations}, "spec": spec})
}

/// The patch of the claim's status once it is bound.
pub fn bound_status(claim: &ClaimView, capacity: &str) -> Value {
    json!({"metadata": {"uid": claim.uid}, "status": {
        "phase": "Bound", "accessModes": claim.access_modes, "capacity": {"storage": capacity},
    }})
}

fn claim_reference(claim: &ClaimView) -> Value {
    json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": claim.key.namespace,
        "name": claim.key.name, "uid": claim.uid, "resourceVersion": claim.resource_version.to_string()})
}

/// A storage quantity in bytes, for comparison only; 0 if it does not parse.
fn bytes(quantity: &str) -> f64 {
    let split = quantity.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(quantity.len());
    let (number, unit) = quantity.split_at(split);
    let unit = match unit {
        "Ki" => 1024_f64,
        "Mi" => 1024_f64.powi(2),
        "Gi" => 1024_f64.powi(3),
        "Ti" => 1024_f64.powi(4),
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        _ => 1.0,
    };
    number.parse::<f64>().unwrap_or(0.0) * unit
}

impl ClaimView {
    /// Keeps what binding reads.
    pub fn narrow(claim: PersistentVolumeClaim) -> Self {
        let (meta, spec) = (claim.metadata, claim.spec.unwrap_or_default());
        let requests = spec.resources.unwrap_or_default().requests.unwrap_or_default();
        Self {
            key: ObjectKey::new(meta.namespace.unwrap_or_default(), meta.name.unwrap_or_default()),
            uid: meta.uid.unwrap_or_default(),
            resource_version: parse_version(meta.resource_version.as_deref()),
            terminating: meta.deletion_timestamp.is_some(),
            class: spec.storage_class_name,
            volume_name: spec.volume_name.filter(|it| !it.is_empty()),
            access_modes: spec.access_modes.unwrap_or_default(),
            request: requests.get("storage").map_or_else(|| "0".to_owned(), |it| it.0.clone()),
            volume_mode: spec.volume_mode,
            bound: claim.status.unwrap_or_default().phase.as_deref() == Some("Bound"),
        }
    }
}

impl VolumeView {
    /// Keeps what binding reads.
    pub fn narrow(volume: PersistentVolume) -> Self {
        let (meta, spec) = (volume.metadata, volume.spec.unwrap_or_default());
        let capacity = spec.capacity.unwrap_or_default();
        Self {
            name: meta.name.unwrap_or_default(),
            uid: meta.uid.unwrap_or_default(),
            resource_version: parse_version(meta.resource_version.as_deref()),
            class: spec.storage_class_name.unwrap_or_default(),
            access_modes: spec.access_modes.unwrap_or_default(),
            capacity: capacity.get("storage").map_or_else(|| "0".to_owned(), |it| it.0.clone()),
            claim: spec.claim_ref.map(|it| {
                (ObjectKey::new(it.namespace.unwrap_or_default(), it.name.unwrap_or_default()), it.uid)
            }),
            deleted_with_claim: spec.persistent_volume_reclaim_policy.as_deref() == Some("Delete"),
            phase: volume.status.unwrap_or_default().phase.unwrap_or_default(),
        }
    }
}

impl ClassView {
    /// Keeps what binding reads.
    pub fn narrow(class: StorageClass) -> Self {
        let annotations = class.metadata.annotations.unwrap_or_default();
        Self {
            name: class.metadata.name.unwrap_or_default(),
            uid: class.metadata.uid.unwrap_or_default(),
            resource_version: parse_version(class.metadata.resource_version.as_deref()),
            default: annotations.get(DEFAULT_CLASS_MARK).is_some_and(|it| it == "true"),
            waits_for_consumer: class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer"),
            reclaim_policy: class.reclaim_policy.unwrap_or_else(|| "Delete".to_owned()),
        }
    }
}

impl Cached for ClaimView {
    fn key(&self) -> ObjectKey {
        self.key.clone()
    }
    fn uid(&self) -> &str {
        &self.uid
    }
    fn resource_version(&self) -> u64 {
        self.resource_version
    }
}

impl Cached for VolumeView {
    fn key(&self) -> ObjectKey {
        ObjectKey::new("", self.name.clone())
    }
    fn uid(&self) -> &str {
        &self.uid
    }
    fn resource_version(&self) -> u64 {
        self.resource_version
    }
}

impl Cached for ClassView {
    fn key(&self) -> ObjectKey {
        ObjectKey::new("", self.name.clone())
    }
    fn uid(&self) -> &str {
        &self.uid
    }
    fn resource_version(&self) -> u64 {
        self.resource_version
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(class: Option<&str>) -> ClaimView {
        let claim = json!({
            "metadata": {"name": "www-web-0", "namespace": "default", "uid": "u1"},
            "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": class,
                "resources": {"requests": {"storage": "1Gi"}}},
        });
        ClaimView::narrow(serde_json::from_value(claim).unwrap())
    }

    fn volume_of(name: &str, class: &str, capacity: &str, owner: Option<&str>) -> VolumeView {
        let reference = owner.map(|it| json!({"namespace": "default", "name": "www-web-0", "uid": it}));
        let volume = json!({"metadata": {"name": name}, "spec": {"accessModes": ["ReadWriteOnce"],
            "storageClassName": class, "capacity": {"storage": capacity}, "claimRef": reference}});
        VolumeView::narrow(serde_json::from_value(volume).unwrap())
    }

    fn class(name: &str, default: bool, waits: bool) -> ClassView {
        let mode = if waits { "WaitForFirstConsumer" } else { "Immediate" };
        let class = json!({"metadata": {"name": name, "annotations": {DEFAULT_CLASS_MARK: default.to_string()}},
            "provisioner": "p", "volumeBindingMode": mode});
        ClassView::narrow(serde_json::from_value(class).unwrap())
    }

    #[test]
    fn bindings() {
        let (small, big) =
            (volume_of("small", "standard", "500Mi", None), volume_of("big", "standard", "10Gi", None));
        let (taken, own) =
            (volume_of("taken", "standard", "1Gi", Some("other")), volume_of("own", "", "1Gi", Some("u1")));
        let (marked, late) = (class("gold", true, false), class("late", false, true));
        #[rustfmt::skip]
        let cases: [(&str, Option<&str>, &[&VolumeView], &[&ClassView], bool, &str); 9] = [
            ("no class, none marked: standard",        None,             &[],        &[],        false, "+standard"),
            ("no class: the marked default",           None,             &[],        &[&marked], false, "+gold"),
            ("a class without an object",              Some("fast"),     &[],        &[],        false, "+fast"),
            ("an empty class is never provisioned",    Some(""),         &[],        &[],        false, "wait"),
            ("the smallest volume that fits",          Some("standard"), &[&small, &big], &[],   false, "=big"),
            ("a volume of another claim is not taken", Some("standard"), &[&taken],  &[],        false, "+standard"),
            ("a volume made before a restart",         Some("fast"),     &[&own],    &[],        false, "=own"),
            ("a late class waits for a pod",           Some("late"),     &[],        &[&late],   false, "wait"),
            ("and is provisioned for it",              Some("late"),     &[],        &[&late],   true,  "+late"),
        ];
        for (why, name, volumes, classes, used, want) in cases {
            let got = match decide(&claim(name), volumes, classes, used) {
                Binding::Done => "done".to_owned(),
                Binding::Wait => "wait".to_owned(),
                Binding::Existing { volume } => format!("={volume}"),
                Binding::Provision { class } => format!("+{class}"),
            };
            assert_eq!(got, want, "{why}");
        }
    }

    #[test]
    fn a_new_volume_is_reserved_for_its_claim() {
        let made = VolumeView::narrow(volume(&claim(None), "standard", &[]));
        assert_eq!((made.name.as_str(), made.capacity.as_str()), ("pvc-u1", "1Gi"));
        assert!(made.deleted_with_claim && claims(&made, &claim(None)));
        assert_eq!(bind(&claim(None), "pvc-u1", Some("standard"))["spec"]["storageClassName"], "standard");
        assert_eq!(bind(&claim(Some("fast")), "pvc-u1", Some("fast"))["spec"].get("storageClassName"), None);
    }
}
