//! A Pod as the workload controllers read it: what no plan reads never becomes an object.
//!
//! JSON ──serde──▶ [`LeanPod`] ──`PodView::narrow` of a controller──▶ its cache
//!
//! Decoding whole pods was a quarter of what the controllers did. Environments, probes, mounts, managed fields and most of the
//! rest are skipped as text; what is left has the names of `k8s_openapi`. Absent and `null` are the same, as for Go.
//! Source: core/v1 Pod.

use std::borrow::Cow;
use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ContainerStatus, PodCondition, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use kube::Resource;
use kube::core::NamespaceResourceScope;
use serde::{Deserialize, Deserializer};

/// `v1` Pod, in part.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct LeanPod {
    /// Without managed fields, finalizers and what else nobody asks for.
    #[serde(deserialize_with = "lean_meta")]
    pub metadata: ObjectMeta,
    /// What should run.
    pub spec: Option<LeanSpec>,
    /// What runs.
    pub status: Option<LeanStatus>,
}

/// `spec` of a pod, in part.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LeanSpec {
    /// Its node.
    pub node_name: Option<String>,
    /// Volumes.
    pub volumes: Option<Vec<LeanVolume>>,
    /// Containers.
    pub containers: Option<Vec<LeanContainer>>,
    /// Containers that run before, and sidecars.
    pub init_containers: Option<Vec<LeanContainer>>,
    /// Of the pod as a whole.
    pub resources: Option<ResourceRequirements>,
}

/// A volume, in part.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LeanVolume {
    /// Name within the pod.
    pub name: String,
    /// The claim it is, if it is one.
    pub persistent_volume_claim: Option<LeanClaimSource>,
}

/// A reference to a claim.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LeanClaimSource {
    /// Name of the claim.
    pub claim_name: String,
}

/// A container, in part.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LeanContainer {
    /// Name within the pod.
    pub name: String,
    /// `Always` makes a sidecar of an init container.
    pub restart_policy: Option<String>,
    /// What it asks for.
    pub resources: Option<ResourceRequirements>,
}

/// `status` of a pod, in part.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LeanStatus {
    /// Pending, Running, Succeeded, Failed or Unknown.
    pub phase: Option<String>,
    /// Conditions.
    pub conditions: Option<Vec<PodCondition>>,
    /// When the node took it.
    pub start_time: Option<Time>,
    /// One per container.
    pub container_statuses: Option<Vec<ContainerStatus>>,
    /// One per init container.
    pub init_container_statuses: Option<Vec<ContainerStatus>>,
}

/// The parts of `metadata` that are read.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct LeanMeta {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    creation_timestamp: Option<Time>,
    deletion_timestamp: Option<Time>,
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<BTreeMap<String, String>>,
    owner_references: Option<Vec<OwnerReference>>,
}

fn lean_meta<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    let lean = LeanMeta::deserialize(deserializer)?;
    Ok(ObjectMeta {
        name: lean.name,
        namespace: lean.namespace,
        uid: lean.uid,
        resource_version: lean.resource_version,
        creation_timestamp: lean.creation_timestamp,
        deletion_timestamp: lean.deletion_timestamp,
        labels: lean.labels,
        annotations: lean.annotations,
        owner_references: lean.owner_references,
        ..ObjectMeta::default()
    })
}

impl Resource for LeanPod {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        "Pod".into()
    }

    fn group((): &()) -> Cow<'_, str> {
        "".into()
    }

    fn version((): &()) -> Cow<'_, str> {
        "v1".into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        "pods".into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_kept_is_what_a_whole_pod_has() {
        let object = json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "web-0", "namespace": "demo", "uid": "u", "resourceVersion": "7", "generateName": "web-",
                "creationTimestamp": "2026-01-01T00:00:00Z", "deletionTimestamp": "2026-01-01T00:01:00Z",
                "labels": {"app": "web"}, "annotations": {"a": "b"}, "finalizers": ["x/y"],
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "web", "uid": "s", "controller": true}],
                "managedFields": [{"manager": "m", "operation": "Update"}]},
            "spec": {"nodeName": "n", "volumes": [{"name": "www", "persistentVolumeClaim": {"claimName": "www-web-0"}},
                    {"name": "tmp", "emptyDir": {}}],
                "initContainers": [{"name": "i", "restartPolicy": "Always", "image": "i"}],
                "containers": [{"name": "c", "image": "i", "env": [{"name": "A", "value": "1"}],
                    "resources": {"requests": {"cpu": "100m"}}}]},
            "status": {"phase": "Running", "startTime": "2026-01-01T00:00:01Z", "podIP": "10.0.0.1",
                "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:02Z"}],
                "containerStatuses": [{"name": "c", "image": "i", "imageID": "", "ready": true, "restartCount": 2}]}});
        let whole: Pod = serde_json::from_value(object.clone()).unwrap();
        let lean: LeanPod = serde_json::from_value(object).unwrap();
        let meta =
            ObjectMeta { generate_name: None, finalizers: None, managed_fields: None, ..whole.metadata };
        assert_eq!(lean.metadata, meta);
        let (spec, whole_spec) = (lean.spec.unwrap(), whole.spec.unwrap());
        assert_eq!(spec.node_name, whole_spec.node_name);
        let claims: Vec<_> = spec
            .volumes
            .into_iter()
            .flatten()
            .map(|it| (it.name, it.persistent_volume_claim.map(|it| it.claim_name)))
            .collect();
        assert_eq!(claims, [("www".to_owned(), Some("www-web-0".to_owned())), ("tmp".to_owned(), None)]);
        let container = &spec.containers.unwrap()[0];
        assert_eq!(
            (&container.name, &container.resources),
            (&whole_spec.containers[0].name, &whole_spec.containers[0].resources)
        );
        assert_eq!(spec.init_containers.unwrap()[0].restart_policy.as_deref(), Some("Always"));
        let (status, whole_status) = (lean.status.unwrap(), whole.status.unwrap());
        assert_eq!(status.phase, whole_status.phase);
        assert_eq!(status.start_time, whole_status.start_time);
        assert_eq!(status.conditions, whole_status.conditions);
        assert_eq!(status.container_statuses, whole_status.container_statuses);
        assert_eq!(LeanPod::url_path(&(), Some("demo")), "/api/v1/namespaces/demo/pods");
    }

    #[test]
    fn nulls_are_nothing() {
        let object = json!({"metadata": {"name": "a", "creationTimestamp": null, "labels": null}, "spec": {"volumes": null,
            "containers": null}, "status": {"conditions": null}});
        let lean: LeanPod = serde_json::from_value(object).unwrap();
        assert_eq!(lean.metadata.name.as_deref(), Some("a"));
        assert!(lean.spec.unwrap().containers.is_none());
    }
}
