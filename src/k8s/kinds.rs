//! The kinds that controllers read and write by name.

use super::write::Kind;

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident: $version:literal $kind:literal $plural:literal $word:literal;)*) => {$(
        $(#[$doc])*
        pub const $name: Kind = Kind { api_version: $version, kind: $kind, plural: $plural, word: $word };
    )*};
}

kinds! {
    /// core/v1 Pod.
    PODS: "v1" "Pod" "pods" "pod";
    /// core/v1 PersistentVolumeClaim.
    CLAIMS: "v1" "PersistentVolumeClaim" "persistentvolumeclaims" "persistentvolumeclaim";
    /// core/v1 Event.
    EVENTS: "v1" "Event" "events" "event";
    /// core/v1 ReplicationController.
    CONTROLLERS: "v1" "ReplicationController" "replicationcontrollers" "replicationcontroller";
    /// apps/v1 ControllerRevision.
    REVISIONS: "apps/v1" "ControllerRevision" "controllerrevisions" "controllerrevision";
    /// apps/v1 StatefulSet.
    STATEFUL_SETS: "apps/v1" "StatefulSet" "statefulsets" "statefulset";
    /// apps/v1 ReplicaSet.
    REPLICA_SETS: "apps/v1" "ReplicaSet" "replicasets" "replicaset";
    /// apps/v1 Deployment.
    DEPLOYMENTS: "apps/v1" "Deployment" "deployments" "deployment";
    /// autoscaling/v2 HorizontalPodAutoscaler.
    AUTOSCALERS: "autoscaling/v2" "HorizontalPodAutoscaler" "horizontalpodautoscalers" "horizontalpodautoscaler";
    /// storage.k8s.io/v1 StorageClass; only ever read.
    STORAGE_CLASSES: "storage.k8s.io/v1" "StorageClass" "storageclasses" "storageclass";
}
