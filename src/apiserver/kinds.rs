//! The Rust type of each stored kind: the one place that ties the resource table to k8s-openapi.

use crate::apiserver::resources::Resource;
use crate::model::snapshots;
use k8s_openapi::api::{
    apps::v1 as apps, autoscaling::v1 as autoscaling_v1, autoscaling::v2 as autoscaling, batch::v1 as batch,
    coordination::v1 as coordination, core::v1 as core, discovery::v1 as discovery, events::v1 as events,
    networking::v1 as networking, policy::v1 as policy, rbac::v1 as rbac, storage::v1 as storage,
};
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1 as registration;
use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};

/// Something to do with the type of a kind.
pub trait Visitor {
    /// What comes of it.
    type Output;

    /// Does it.
    fn visit<T: DeserializeOwned + Serialize + JsonSchema>(self) -> Self::Output;
}

/// Calls the visitor with the type of a kind; `None` for kinds without one.
pub fn visit<V: Visitor>(resource: &Resource, visitor: V) -> Option<V::Output> {
    Some(match (resource.group, resource.kind) {
        ("", "Namespace") => visitor.visit::<core::Namespace>(),
        ("", "Node") => visitor.visit::<core::Node>(),
        ("", "Service") => visitor.visit::<core::Service>(),
        ("", "Endpoints") => visitor.visit::<core::Endpoints>(),
        ("", "Pod") => visitor.visit::<core::Pod>(),
        ("", "PersistentVolumeClaim") => visitor.visit::<core::PersistentVolumeClaim>(),
        ("", "PersistentVolume") => visitor.visit::<core::PersistentVolume>(),
        ("", "ConfigMap") => visitor.visit::<core::ConfigMap>(),
        ("", "Secret") => visitor.visit::<core::Secret>(),
        ("", "ServiceAccount") => visitor.visit::<core::ServiceAccount>(),
        ("", "Event") => visitor.visit::<core::Event>(),
        ("", "ReplicationController") => visitor.visit::<core::ReplicationController>(),
        ("apps", "StatefulSet") => visitor.visit::<apps::StatefulSet>(),
        ("apps", "Deployment") => visitor.visit::<apps::Deployment>(),
        ("apps", "ReplicaSet") => visitor.visit::<apps::ReplicaSet>(),
        ("apps", "DaemonSet") => visitor.visit::<apps::DaemonSet>(),
        ("apps", "ControllerRevision") => visitor.visit::<apps::ControllerRevision>(),
        ("autoscaling", "HorizontalPodAutoscaler") if resource.version == "v1" => {
            visitor.visit::<autoscaling_v1::HorizontalPodAutoscaler>()
        }
        ("autoscaling", "HorizontalPodAutoscaler") => visitor.visit::<autoscaling::HorizontalPodAutoscaler>(),
        ("batch", "Job") => visitor.visit::<batch::Job>(),
        ("batch", "CronJob") => visitor.visit::<batch::CronJob>(),
        ("networking.k8s.io", "Ingress") => visitor.visit::<networking::Ingress>(),
        ("networking.k8s.io", "IngressClass") => visitor.visit::<networking::IngressClass>(),
        ("networking.k8s.io", "NetworkPolicy") => visitor.visit::<networking::NetworkPolicy>(),
        ("rbac.authorization.k8s.io", "ClusterRole") => visitor.visit::<rbac::ClusterRole>(),
        ("rbac.authorization.k8s.io", "ClusterRoleBinding") => visitor.visit::<rbac::ClusterRoleBinding>(),
        ("rbac.authorization.k8s.io", "Role") => visitor.visit::<rbac::Role>(),
        ("rbac.authorization.k8s.io", "RoleBinding") => visitor.visit::<rbac::RoleBinding>(),
        ("apiregistration.k8s.io", "APIService") => visitor.visit::<registration::APIService>(),
        ("snapshot.storage.k8s.io", "VolumeSnapshot") => visitor.visit::<snapshots::VolumeSnapshot>(),
        ("snapshot.storage.k8s.io", "VolumeSnapshotClass") => {
            visitor.visit::<snapshots::VolumeSnapshotClass>()
        }
        ("snapshot.storage.k8s.io", "VolumeSnapshotContent") => {
            visitor.visit::<snapshots::VolumeSnapshotContent>()
        }
        ("coordination.k8s.io", "Lease") => visitor.visit::<coordination::Lease>(),
        ("discovery.k8s.io", "EndpointSlice") => visitor.visit::<discovery::EndpointSlice>(),
        ("events.k8s.io", "Event") => visitor.visit::<events::Event>(),
        ("policy", "PodDisruptionBudget") => visitor.visit::<policy::PodDisruptionBudget>(),
        ("storage.k8s.io", "StorageClass") => visitor.visit::<storage::StorageClass>(),
        _ => return None,
    })
}
