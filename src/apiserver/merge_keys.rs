//! How lists and maps of the served kinds merge: the patch strategies and list types of the Go structs.
//!
//! A type is named by its Go name; only types on the way to something special have rows. What has no row is
//! ordinary: a map merges key by key, a list is replaced as a whole.
//! Source: the `patchStrategy`, `patchMergeKey`, `listType`, `listMapKey` and `structType` tags in
//! kubernetes `staging/src/k8s.io/api`.

use crate::apiserver::resources::Resource;
use std::collections::HashMap;
use std::sync::OnceLock;

/// How one field merges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A struct whose own fields have rows.
    Object(&'static str),
    /// Server-side apply owns it as one leaf; strategic merge patch merges it like any map.
    Atomic,
    /// As `Atomic`, and strategic merge patch replaces it too.
    Replaced,
    /// A list of structs.
    Items {
        /// Type of the items.
        item: &'static str,
        /// Merge key of strategic merge patch; empty: the list is replaced.
        patch_key: &'static str,
        /// Keys of server-side apply; empty: the list is one leaf.
        apply_keys: &'static [&'static str],
    },
    /// A list of scalars that merges as a set.
    Set,
}

/// Whether items of this type are owned as a whole (`structType=atomic`).
pub fn is_atomic_item(item: &str) -> bool {
    matches!(item, "OwnerReference" | "LocalObjectReference" | "ObjectReference")
}

const fn items(item: &'static str, patch_key: &'static str, apply_keys: &'static [&'static str]) -> Shape {
    Shape::Items { item, patch_key, apply_keys }
}

const NAME: &[&str] = &["name"];
const TYPE: &[&str] = &["type"];
const CONDITIONS: Shape = items("Condition", "type", TYPE);

/// (type, field, shape).
#[rustfmt::skip]
const FIELDS: &[(&str, &str, Shape)] = &[
    ("ObjectMeta", "ownerReferences", items("OwnerReference", "uid", &["uid"])),
    ("ObjectMeta", "finalizers", Shape::Set),

    ("PodTemplateSpec", "metadata", Shape::Object("ObjectMeta")),
    ("PodTemplateSpec", "spec", Shape::Object("PodSpec")),
    ("PodSpec", "containers", items("Container", "name", NAME)),
    ("PodSpec", "initContainers", items("Container", "name", NAME)),
    ("PodSpec", "ephemeralContainers", items("Container", "name", NAME)),
    ("PodSpec", "imagePullSecrets", items("LocalObjectReference", "name", NAME)),
    ("PodSpec", "schedulingGates", items("PodSchedulingGate", "name", NAME)),
    ("PodSpec", "volumes", items("Volume", "name", NAME)),
    ("PodSpec", "resourceClaims", items("PodResourceClaim", "name", NAME)),
    ("PodSpec", "hostAliases", items("HostAlias", "ip", &["ip"])),
    ("PodSpec", "topologySpreadConstraints",
        items("TopologySpreadConstraint", "topologyKey", &["topologyKey", "whenUnsatisfiable"])),
    ("PodSpec", "nodeSelector", Shape::Atomic),
    ("PodSpec", "resources", Shape::Object("ResourceRequirements")),
    ("PodSpec", "affinity", Shape::Object("Affinity")),
    ("Affinity", "nodeAffinity", Shape::Object("NodeAffinity")),
    ("NodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution", Shape::Atomic),
    ("TopologySpreadConstraint", "labelSelector", Shape::Atomic),
    ("Container", "env", items("EnvVar", "name", NAME)),
    ("Container", "ports", items("ContainerPort", "containerPort", &["containerPort", "protocol"])),
    ("Container", "volumeMounts", items("VolumeMount", "mountPath", &["mountPath"])),
    ("Container", "volumeDevices", items("VolumeDevice", "devicePath", &["devicePath"])),
    ("Container", "resources", Shape::Object("ResourceRequirements")),
    ("ResourceRequirements", "claims", items("ResourceClaim", "", NAME)),
    ("EnvVar", "valueFrom", Shape::Object("EnvVarSource")),
    ("EnvVarSource", "fieldRef", Shape::Atomic),
    ("EnvVarSource", "resourceFieldRef", Shape::Atomic),
    ("EnvVarSource", "configMapKeyRef", Shape::Atomic),
    ("EnvVarSource", "secretKeyRef", Shape::Atomic),
    ("EnvVarSource", "fileKeyRef", Shape::Atomic),
    ("PodStatus", "conditions", CONDITIONS),
    ("PodStatus", "resources", Shape::Object("ResourceRequirements")),
    ("PodStatus", "podIPs", items("PodIP", "ip", &["ip"])),
    ("PodStatus", "hostIPs", items("HostIP", "ip", &[])),
    ("PodStatus", "resourceClaimStatuses", items("PodResourceClaimStatus", "name", NAME)),

    ("Volume", "cephfs", Shape::Object("VolumeSource")),
    ("Volume", "cinder", Shape::Object("VolumeSource")),
    ("Volume", "csi", Shape::Object("VolumeSource")),
    ("Volume", "flexVolume", Shape::Object("VolumeSource")),
    ("Volume", "iscsi", Shape::Object("VolumeSource")),
    ("Volume", "rbd", Shape::Object("VolumeSource")),
    ("Volume", "scaleIO", Shape::Object("VolumeSource")),
    ("Volume", "storageos", Shape::Object("VolumeSource")),
    ("Volume", "ephemeral", Shape::Object("EphemeralVolumeSource")),
    ("VolumeSource", "secretRef", Shape::Atomic),
    ("VolumeSource", "nodePublishSecretRef", Shape::Atomic),
    ("VolumeSource", "nodeStageSecretRef", Shape::Atomic),
    ("VolumeSource", "nodeExpandSecretRef", Shape::Atomic),
    ("VolumeSource", "controllerExpandSecretRef", Shape::Atomic),
    ("VolumeSource", "controllerPublishSecretRef", Shape::Atomic),
    ("EphemeralVolumeSource", "volumeClaimTemplate", Shape::Object("PersistentVolumeClaimTemplate")),
    ("PersistentVolumeClaimTemplate", "metadata", Shape::Object("ObjectMeta")),
    ("PersistentVolumeClaimTemplate", "spec", Shape::Object("PersistentVolumeClaimSpec")),

    ("WorkloadSpec", "selector", Shape::Atomic),
    ("WorkloadSpec", "template", Shape::Object("PodTemplateSpec")),
    ("ConditionedStatus", "conditions", CONDITIONS),
    ("CronJobSpec", "jobTemplate", Shape::Object("JobTemplateSpec")),
    ("JobTemplateSpec", "metadata", Shape::Object("ObjectMeta")),
    ("JobTemplateSpec", "spec", Shape::Object("WorkloadSpec")),
    ("ServiceSpec", "ports", items("ServicePort", "port", &["port", "protocol"])),
    ("ServiceSpec", "selector", Shape::Atomic),
    ("NodeSpec", "podCIDRs", Shape::Set),
    ("NodeStatus", "conditions", CONDITIONS),
    ("NodeStatus", "addresses", items("NodeAddress", "type", TYPE)),
    ("PersistentVolumeClaimSpec", "selector", Shape::Atomic),
    ("PersistentVolumeClaimSpec", "dataSource", Shape::Atomic),
    ("PersistentVolumeSpec", "nodeAffinity", Shape::Object("VolumeNodeAffinity")),
    ("VolumeNodeAffinity", "required", Shape::Atomic),
    ("PersistentVolumeSpec", "claimRef", Shape::Atomic),
    ("PersistentVolumeSpec", "cephfs", Shape::Object("VolumeSource")),
    ("PersistentVolumeSpec", "cinder", Shape::Object("VolumeSource")),
    ("PersistentVolumeSpec", "csi", Shape::Object("VolumeSource")),
    ("PersistentVolumeSpec", "flexVolume", Shape::Object("VolumeSource")),
    ("PersistentVolumeSpec", "iscsi", Shape::Object("VolumeSource")),
    ("PersistentVolumeSpec", "rbd", Shape::Object("VolumeSource")),
    ("PersistentVolumeSpec", "scaleIO", Shape::Object("VolumeSource")),
    ("PersistentVolumeSpec", "storageos", Shape::Object("VolumeSource")),
    ("VolumeSnapshotContentSpec", "volumeSnapshotRef", Shape::Atomic),
    ("PodDisruptionBudgetSpec", "selector", Shape::Replaced),
    ("HorizontalPodAutoscalerSpec/v1", "scaleTargetRef", Shape::Atomic),
    ("JobStatus", "conditions", items("Condition", "type", &[])),
    ("JobStatus", "uncountedTerminatedPods", Shape::Object("UncountedTerminatedPods")),
    ("UncountedTerminatedPods", "failed", Shape::Set),
    ("UncountedTerminatedPods", "succeeded", Shape::Set),
    ("IngressSpec", "defaultBackend", Shape::Object("IngressBackend")),
    ("IngressBackend", "resource", Shape::Atomic),
    ("IngressBackend", "service", Shape::Object("IngressServiceBackend")),
    ("IngressServiceBackend", "port", Shape::Atomic),
    ("NetworkPolicySpec", "podSelector", Shape::Atomic),
    ("ClusterRoleBinding", "roleRef", Shape::Atomic),
    ("RoleBinding", "roleRef", Shape::Atomic),

    ("ServiceAccount", "secrets", items("ObjectReference", "name", NAME)),
    ("Event", "involvedObject", Shape::Atomic),
    ("Event", "regarding", Shape::Atomic),
    ("Event", "related", Shape::Atomic),
];

/// The rows of one type in [`FIELDS`].
fn rows(name: &str) -> &'static [(&'static str, Shape)] {
    static BY_TYPE: OnceLock<HashMap<&'static str, Vec<(&'static str, Shape)>>> = OnceLock::new();
    let by_type = BY_TYPE.get_or_init(|| {
        let mut all: HashMap<_, Vec<_>> = HashMap::new();
        for (name, field, shape) in FIELDS {
            all.entry(*name).or_default().push((*field, *shape));
        }
        all
    });
    by_type.get(name).map_or(&[], Vec::as_slice)
}

/// Types of `spec` and `status` by kind; `metadata` is the same everywhere.
#[rustfmt::skip]
const ROOTS: &[(&str, &str, &str)] = &[
    ("Pod", "PodSpec", "PodStatus"),
    ("StatefulSet", "WorkloadSpec", "ConditionedStatus"),
    ("Deployment", "WorkloadSpec", "ConditionedStatus"),
    ("ReplicaSet", "WorkloadSpec", "ConditionedStatus"),
    ("DaemonSet", "WorkloadSpec", "ConditionedStatus"),
    ("ReplicationController", "WorkloadSpec", "ConditionedStatus"),
    ("Job", "WorkloadSpec", "JobStatus"),
    ("CronJob", "CronJobSpec", "CronJobStatus"),
    ("Service", "ServiceSpec", "ConditionedStatus"),
    ("Namespace", "NamespaceSpec", "ConditionedStatus"),
    ("Node", "NodeSpec", "NodeStatus"),
    ("PersistentVolumeClaim", "PersistentVolumeClaimSpec", "ConditionedStatus"),
    ("PersistentVolume", "PersistentVolumeSpec", "PersistentVolumeStatus"),
    ("HorizontalPodAutoscaler/v1", "HorizontalPodAutoscalerSpec/v1", ""),
    ("Ingress", "IngressSpec", ""),
    ("NetworkPolicy", "NetworkPolicySpec", ""),
    ("APIService", "", "ConditionedStatus"),
    ("VolumeSnapshotContent", "VolumeSnapshotContentSpec", ""),
    ("HorizontalPodAutoscaler", "HorizontalPodAutoscalerSpec", "ConditionedStatus"),
    ("PodDisruptionBudget", "PodDisruptionBudgetSpec", "ConditionedStatus"),
];

/// A place in the schema while walking an object. `None` is a type without special fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Type {
    name: Option<&'static str>,
    root: bool,
}

impl Type {
    /// The type of a whole object of a kind.
    pub fn of(resource: &Resource) -> Type {
        // The one kind of which two versions merge differently.
        let name = match (resource.group, resource.version) {
            ("autoscaling", "v1") => "HorizontalPodAutoscaler/v1",
            _ => resource.kind,
        };
        Type { name: Some(name), root: true }
    }

    /// A type by its Go name.
    pub fn named(name: &'static str) -> Type {
        Type { name: Some(name), root: false }
    }

    /// A type without special fields.
    pub const PLAIN: Type = Type { name: None, root: false };

    /// How `field` of this type merges; `None` is ordinary.
    pub fn field(self, field: &str) -> Option<Shape> {
        let name = self.name?;
        if self.root {
            let root = ROOTS.iter().find(|it| it.0 == name);
            match (field, root) {
                ("metadata", _) => return Some(Shape::Object("ObjectMeta")),
                ("spec", Some(root)) => return Some(Shape::Object(root.1)),
                ("status", Some(root)) => return Some(Shape::Object(root.2)),
                _ => {}
            }
        }
        rows(name).iter().find(|it| it.0 == field).map(|it| it.1)
    }

    /// The type of a map under `field`.
    #[must_use]
    pub fn child(self, field: &str) -> Type {
        Type::below(self.field(field))
    }

    /// The type of a map of this shape.
    #[must_use]
    pub fn below(shape: Option<Shape>) -> Type {
        match shape {
            Some(Shape::Object(name)) => Type::named(name),
            _ => Type::PLAIN,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apiserver::resources::find_kind;

    #[test]
    fn walks_by_type() {
        let set = Type::of(find_kind("apps/v1", "StatefulSet").unwrap());
        let pod = set.child("spec").child("template").child("spec");
        assert_eq!(pod.field("containers"), Some(items("Container", "name", NAME)));
        assert_eq!(pod.field("tolerations"), None);
        assert_eq!(set.child("spec").field("volumeClaimTemplates"), None);
        assert_eq!(set.child("metadata").field("finalizers"), Some(Shape::Set));
    }
}
