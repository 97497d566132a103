//! Pods, claims and revisions, narrowed to what a plan reads.
//!
//! Sources: core/v1 Pod and PersistentVolumeClaim, apps/v1 ControllerRevision;
//! kubernetes `pkg/controller/statefulset/stateful_set_utils.go` (`isCreated`, `isRunningAndAvailable`).

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use serde_json::Value;

use super::model::{LABEL_REVISION, Ordinal, parse_pod_name};
use super::revision;
use crate::k8s::lean::LeanPod;
use crate::model::{ObjectKey, quantity::Quantity};

/// An owner reference, reduced to identity and the controller flag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// API version of the owner.
    pub api_version: String,
    /// Kind of the owner.
    pub kind: String,
    /// Name of the owner.
    pub name: String,
    /// UID of the owner.
    pub uid: String,
    /// The owner is the managing controller.
    pub controller: bool,
    /// `blockOwnerDeletion`, kept so that references of others are written back as they were.
    pub block: Option<bool>,
}

impl From<&OwnerReference> for Owner {
    fn from(it: &OwnerReference) -> Self {
        Self {
            api_version: it.api_version.clone(),
            kind: it.kind.clone(),
            name: it.name.clone(),
            uid: it.uid.clone(),
            controller: it.controller == Some(true),
            block: it.block_owner_deletion,
        }
    }
}

fn controller_of(meta: &ObjectMeta) -> Option<Owner> {
    let mut owners = meta.owner_references.iter().flatten().map(Owner::from);
    owners.find(|it| it.controller)
}

fn key_of(meta: &ObjectMeta) -> Option<ObjectKey> {
    Some(ObjectKey::new(meta.namespace.clone()?, meta.name.clone()?))
}

/// `status.phase` of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Absent, or a value this build does not know.
    Unset,
    /// Accepted, not running yet.
    Pending,
    /// At least one container runs.
    Running,
    /// All containers ended well.
    Succeeded,
    /// All containers ended, one of them badly.
    Failed,
    /// The node does not report.
    Unknown,
}

/// A pod.
#[derive(Debug, Clone, PartialEq)]
pub struct PodView {
    /// Namespace and name.
    pub key: ObjectKey,
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.resourceVersion`.
    pub resource_version: String,
    /// `metadata.creationTimestamp`.
    pub created: Option<Timestamp>,
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// The controller reference, if any.
    pub owner: Option<Owner>,
    /// The ordinal its name says; `None` if the name has none.
    pub ordinal: Option<Ordinal>,
    /// `status.phase`.
    pub phase: Phase,
    /// The Ready condition is True.
    pub ready_condition: bool,
    /// When the Ready condition changed last; `None` if it does not say.
    pub ready_since: Option<Timestamp>,
    /// `metadata.deletionTimestamp` is set.
    pub deleting: bool,
    /// `metadata.deletionTimestamp`: when its grace period is over.
    pub ends: Option<Timestamp>,
    /// Its node, kept for a terminating pod only.
    pub node: Option<String>,
    /// Why it does not become ready, as `statefulset::trouble` words it.
    pub trouble: Option<String>,
    /// Volumes that are claims: volume name and claim name, in order.
    pub claims: Vec<(String, String)>,
}

impl PodView {
    /// Narrows a pod. `None` for an object without a name, which no API server returns.
    pub fn narrow(pod: LeanPod) -> Option<Self> {
        let key = key_of(&pod.metadata)?;
        let owner = controller_of(&pod.metadata);
        let status = pod.status.unwrap_or_default();
        let trouble = super::trouble::of(&status);
        let ends = pod.metadata.deletion_timestamp.map(|it| it.0);
        let node = pod.spec.as_ref().and_then(|it| it.node_name.clone()).filter(|_| ends.is_some());
        let ready = status.conditions.into_iter().flatten().find(|it| it.type_ == "Ready");
        let volumes = pod.spec.and_then(|it| it.volumes).into_iter().flatten();
        Some(Self {
            ordinal: parse_pod_name(&key.name).and_then(|it| it.1),
            key,
            uid: pod.metadata.uid.unwrap_or_default(),
            resource_version: pod.metadata.resource_version.unwrap_or_default(),
            created: pod.metadata.creation_timestamp.map(|it| it.0),
            labels: pod.metadata.labels.unwrap_or_default(),
            owner,
            phase: match status.phase.as_deref() {
                Some("Pending") => Phase::Pending,
                Some("Running") => Phase::Running,
                Some("Succeeded") => Phase::Succeeded,
                Some("Failed") => Phase::Failed,
                Some("Unknown") => Phase::Unknown,
                _ => Phase::Unset,
            },
            ready_condition: ready.as_ref().is_some_and(|it| it.status == "True"),
            ready_since: ready.and_then(|it| it.last_transition_time).map(|it| it.0),
            deleting: ends.is_some(),
            ends,
            node,
            trouble,
            claims: volumes
                .filter_map(|it| Some((it.name, it.persistent_volume_claim?.claim_name)))
                .collect(),
        })
    }

    /// Name of the set this pod belongs to by its name.
    pub fn parent(&self) -> Option<&str> {
        parse_pod_name(&self.key.name).map(|it| it.0)
    }

    /// Name of the revision the pod was made from; empty if the label is missing.
    pub fn revision(&self) -> &str {
        self.labels.get(LABEL_REVISION).map_or("", String::as_str)
    }

    /// The API server has accepted it: upstream's `isCreated`.
    pub fn is_created(&self) -> bool {
        self.phase != Phase::Unset
    }

    /// Running and ready.
    pub fn ready(&self) -> bool {
        self.phase == Phase::Running && self.ready_condition
    }

    /// Ready for at least `min_ready_seconds` at `now`. Terminating does not matter here.
    pub fn available(&self, min_ready_seconds: i64, now: Timestamp) -> bool {
        self.ready()
            && (min_ready_seconds == 0 || self.available_at(min_ready_seconds).is_some_and(|it| it <= now))
    }

    /// When a ready pod becomes available. `None` if it is not ready or nobody knows since when it is.
    pub fn available_at(&self, min_ready_seconds: i64) -> Option<Timestamp> {
        let since = self.ready_since.filter(|_| self.ready())?;
        since.checked_add(jiff::SignedDuration::from_secs(min_ready_seconds)).ok()
    }
}

/// A PersistentVolumeClaim.
#[derive(Debug, Clone, PartialEq)]
pub struct ClaimView {
    /// Namespace and name.
    pub key: ObjectKey,
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.resourceVersion`.
    pub resource_version: String,
    /// `metadata.deletionTimestamp` is set.
    pub deleting: bool,
    /// `metadata.ownerReferences`, in order.
    pub owners: Vec<Owner>,
    /// `spec.resources.requests.storage`.
    pub requested: Option<Quantity>,
    /// `spec.storageClassName`; empty for none.
    pub class: String,
    /// `status.phase` is Bound.
    pub bound: bool,
}

impl ClaimView {
    /// Narrows a claim. `None` for an object without a name.
    pub fn narrow(claim: PersistentVolumeClaim) -> Option<Self> {
        let spec = claim.spec.unwrap_or_default();
        let requests = spec.resources.and_then(|it| it.requests).unwrap_or_default();
        Some(Self {
            key: key_of(&claim.metadata)?,
            uid: claim.metadata.uid.unwrap_or_default(),
            resource_version: claim.metadata.resource_version.unwrap_or_default(),
            deleting: claim.metadata.deletion_timestamp.is_some(),
            owners: claim.metadata.owner_references.iter().flatten().map(Owner::from).collect(),
            requested: requests.get("storage").and_then(|it| Quantity::parse(&it.0)),
            class: spec.storage_class_name.unwrap_or_default(),
            bound: claim.status.and_then(|it| it.phase).as_deref() == Some("Bound"),
        })
    }
}

/// A ControllerRevision.
#[derive(Debug, Clone, PartialEq)]
pub struct RevisionView {
    /// Namespace and name.
    pub key: ObjectKey,
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.resourceVersion`.
    pub resource_version: String,
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// The controller reference, if any.
    pub owner: Option<Owner>,
    /// `metadata.creationTimestamp`.
    pub created: Option<Timestamp>,
    /// `revision`: grows with every change and every rollback.
    pub number: i64,
    /// `data` in the encoding of [`revision::encode`].
    pub data: String,
    /// The recorded pod template, without the patch directive; `None` for data of another shape, which still takes
    /// its place in the history.
    pub template: Option<Value>,
}

impl RevisionView {
    /// Narrows a revision. `None` for an object without a name.
    pub fn narrow(it: ControllerRevision) -> Option<Self> {
        let key = key_of(&it.metadata)?;
        let owner = controller_of(&it.metadata);
        let raw = it.data.0;
        Some(Self {
            key,
            owner,
            uid: it.metadata.uid.unwrap_or_default(),
            resource_version: it.metadata.resource_version.unwrap_or_default(),
            labels: it.metadata.labels.unwrap_or_default(),
            created: it.metadata.creation_timestamp.map(|it| it.0),
            number: it.revision.unwrap_or(0),
            template: revision::recorded_template(&raw),
            data: revision::encode(&raw),
        })
    }
}
