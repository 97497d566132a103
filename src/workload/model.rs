//! Pods and sets of pods, narrowed to what a plan reads.
//!
//! A [`SetView`] is a ReplicaSet or a ReplicationController: both mean the same to a plan. Templates stay raw JSON, so
//! that fields this build does not know reach the pods.
//! Sources: core/v1 Pod and ReplicationController, apps/v1 ReplicaSet.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::k8s::kinds::{CONTROLLERS, REPLICA_SETS};
use crate::k8s::lean::LeanPod;
use crate::k8s::write::Kind;
use crate::model::ObjectKey;
use crate::model::quantity::Quantity;
use crate::model::selector::LabelSelector;
use crate::workload::usage::PREFIX;

/// Lower goes first when pods have to go (KEP-2255).
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// An object of which only name and annotations matter here.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedView {
    /// Namespace and name.
    pub key: ObjectKey,
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.resourceVersion`.
    pub resource_version: String,
    /// `metadata.annotations`.
    pub annotations: BTreeMap<String, String>,
}

impl NamedView {
    /// Narrows any object.
    pub fn narrow(meta: ObjectMeta) -> Option<Self> {
        Some(Self {
            key: ObjectKey::new(meta.namespace.unwrap_or_default(), meta.name?),
            uid: meta.uid.unwrap_or_default(),
            resource_version: meta.resource_version.unwrap_or_default(),
            annotations: meta.annotations.unwrap_or_default(),
        })
    }
}

/// The controller reference of an object.
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
}

impl Owner {
    /// The owner's key, if it is of `kind` (any version of its group).
    pub fn key(&self, kind: Kind, namespace: &str) -> Option<ObjectKey> {
        let group = |version: &str| version.split_once('/').map_or(String::new(), |it| it.0.to_owned());
        let same = self.kind == kind.kind && group(&self.api_version) == group(kind.api_version);
        same.then(|| ObjectKey::new(namespace, self.name.as_str()))
    }

    /// The controller reference of a raw object.
    pub fn narrow(raw: &Value) -> Option<Self> {
        let owners = raw.pointer("/metadata/ownerReferences")?.as_array()?;
        let it = owners.iter().find(|it| it["controller"] == true)?;
        Some(Self {
            api_version: text(&it["apiVersion"]),
            kind: text(&it["kind"]),
            name: text(&it["name"]),
            uid: text(&it["uid"]),
        })
    }
}

/// A controller reference to an object of `kind`.
pub fn reference(kind: Kind, name: &str, uid: &str) -> Value {
    json!({
        "apiVersion": kind.api_version, "kind": kind.kind, "name": name, "uid": uid,
        "controller": true, "blockOwnerDeletion": true,
    })
}

fn controller_of(meta: &ObjectMeta) -> Option<Owner> {
    let it = meta.owner_references.iter().flatten().find(|it| it.controller == Some(true))?;
    Some(Owner {
        api_version: it.api_version.clone(),
        kind: it.kind.clone(),
        name: it.name.clone(),
        uid: it.uid.clone(),
    })
}

/// `status.phase` of a pod, in the order in which pods are deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Accepted, not running yet; also an absent phase.
    Pending,
    /// The node does not report.
    Unknown,
    /// At least one container runs.
    Running,
    /// All containers ended well.
    Succeeded,
    /// All containers ended, one of them badly.
    Failed,
}

/// What one container requests, in thousandths (of a core, of a byte).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Requests {
    /// Name of the container; empty for the pod as a whole.
    pub container: String,
    /// CPU.
    pub cpu: Option<i64>,
    /// Memory.
    pub memory: Option<i64>,
}

impl Requests {
    /// The request for `resource`.
    pub fn of(&self, resource: &str) -> Option<i64> {
        match resource {
            "cpu" => self.cpu,
            "memory" => self.memory,
            _ => None,
        }
    }
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
    /// `status.phase`.
    pub phase: Phase,
    /// The Ready condition: its status; `None` if there is none.
    pub ready_condition: Option<bool>,
    /// When the Ready condition changed last.
    pub ready_since: Option<Timestamp>,
    /// `status.startTime`.
    pub started: Option<Timestamp>,
    /// `metadata.deletionTimestamp` is set.
    pub deleting: bool,
    /// Its node, empty before it has one.
    pub node: String,
    /// The annotation `controller.kubernetes.io/pod-deletion-cost`; 0 if absent or malformed.
    pub deletion_cost: i32,
    /// Most restarts of a container.
    pub restarts: i32,
    /// Most restarts of a sidecar (restartable init container).
    pub sidecar_restarts: i32,
    /// Requests of containers and sidecars.
    pub requests: Vec<Requests>,
    /// Requests of the pod as a whole (KEP-2837).
    pub pod_requests: Option<Requests>,
    /// Annotations that say what a simulated pod uses.
    pub simulation: BTreeMap<String, String>,
}

impl PodView {
    /// Narrows a pod. `None` for an object without a name, which no API server returns.
    pub fn narrow(pod: LeanPod) -> Option<Self> {
        let key = ObjectKey::new(pod.metadata.namespace.clone()?, pod.metadata.name.clone()?);
        let owner = controller_of(&pod.metadata);
        let (spec, status) = (pod.spec.unwrap_or_default(), pod.status.unwrap_or_default());
        let annotations = pod.metadata.annotations.iter().flatten();
        let simulation = annotations
            .filter(|it| it.0.starts_with(PREFIX))
            .map(|it| (it.0.clone(), it.1.clone()))
            .collect();
        let cost = pod.metadata.annotations.as_ref().and_then(|it| it.get(DELETION_COST));
        let ready = status.conditions.into_iter().flatten().find(|it| it.type_ == "Ready");
        let sidecars: Vec<_> = spec
            .init_containers
            .iter()
            .flatten()
            .filter(|it| it.restart_policy.as_deref() == Some("Always"))
            .collect();
        let most = |it: &mut dyn Iterator<Item = i32>| it.max().unwrap_or(0);
        let inits = status.init_container_statuses.iter().flatten();
        let sidecar_restarts = most(
            &mut inits.filter(|it| sidecars.iter().any(|s| s.name == it.name)).map(|it| it.restart_count),
        );
        let requests = spec
            .containers
            .iter()
            .flatten()
            .chain(sidecars)
            .map(|it| requests(&it.name, it.resources.as_ref().and_then(|it| it.requests.as_ref())));
        Some(Self {
            requests: requests.collect(),
            pod_requests: spec
                .resources
                .as_ref()
                .and_then(|it| it.requests.as_ref())
                .map(|it| requests_of("", it)),
            key,
            uid: pod.metadata.uid.unwrap_or_default(),
            resource_version: pod.metadata.resource_version.unwrap_or_default(),
            created: pod.metadata.creation_timestamp.map(|it| it.0),
            deletion_cost: cost.and_then(|it| parse_cost(it)).unwrap_or(0),
            labels: pod.metadata.labels.unwrap_or_default(),
            owner,
            phase: match status.phase.as_deref() {
                Some("Running") => Phase::Running,
                Some("Succeeded") => Phase::Succeeded,
                Some("Failed") => Phase::Failed,
                Some("Unknown") => Phase::Unknown,
                _ => Phase::Pending,
            },
            ready_condition: ready.as_ref().map(|it| it.status == "True"),
            ready_since: ready.and_then(|it| it.last_transition_time).map(|it| it.0),
            started: status.start_time.map(|it| it.0),
            deleting: pod.metadata.deletion_timestamp.is_some(),
            node: spec.node_name.unwrap_or_default(),
            restarts: most(&mut status.container_statuses.iter().flatten().map(|it| it.restart_count)),
            sidecar_restarts,
            simulation,
        })
    }

    /// Neither ended nor being deleted: upstream's `IsPodActive`.
    pub fn active(&self) -> bool {
        !self.ended() && !self.deleting
    }

    /// Every container ended.
    pub fn ended(&self) -> bool {
        matches!(self.phase, Phase::Succeeded | Phase::Failed)
    }

    /// The Ready condition is True; the phase is not looked at.
    pub fn ready(&self) -> bool {
        self.ready_condition == Some(true)
    }

    /// Ready for at least `min_ready_seconds` at `now`.
    pub fn available(&self, min_ready_seconds: i64, now: Timestamp) -> bool {
        self.ready()
            && (min_ready_seconds == 0 || self.available_at(min_ready_seconds).is_some_and(|it| it <= now))
    }

    /// When a ready pod becomes available. `None` if it is not ready or nobody knows since when it is.
    pub fn available_at(&self, min_ready_seconds: i64) -> Option<Timestamp> {
        let since = self.ready_since.filter(|_| self.ready())?;
        since.checked_add(SignedDuration::from_secs(min_ready_seconds)).ok()
    }
}

type Amounts = BTreeMap<String, k8s_openapi::apimachinery::pkg::api::resource::Quantity>;

fn requests(container: &str, amounts: Option<&Amounts>) -> Requests {
    amounts.map_or_else(
        || Requests { container: container.to_owned(), ..Requests::default() },
        |it| requests_of(container, it),
    )
}

fn requests_of(container: &str, amounts: &Amounts) -> Requests {
    let of = |name: &str| amounts.get(name).and_then(|it| Quantity::parse(&it.0)).map(|it| it.millis());
    Requests { container: container.to_owned(), cpu: of("cpu"), memory: of("memory") }
}

/// An int32 as upstream takes it: no plus sign, no leading zeros.
fn parse_cost(text: &str) -> Option<i32> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let plain = !text.starts_with('+') && (digits == "0" && text == "0" || !digits.starts_with('0'));
    text.parse().ok().filter(|_| plain)
}

/// A condition of a set or a Deployment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// `type`.
    #[serde(rename = "type")]
    pub name: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// When somebody last said so; sets do not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_update_time: Option<Timestamp>,
    /// When the status changed last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_transition_time: Option<Timestamp>,
    /// One word.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// Sets a condition. Reason and message are always those of now, the transition time moves with the status; nobody notes when
/// it was last said.
pub fn say(
    conditions: &mut Vec<Condition>,
    name: &str,
    status: &str,
    reason: &str,
    message: String,
    now: Timestamp,
) {
    let known = conditions.iter_mut().find(|it| it.name == name);
    let since = known.as_ref().filter(|it| it.status == status).and_then(|it| it.last_transition_time);
    let condition = Condition {
        name: name.to_owned(),
        status: status.to_owned(),
        last_update_time: None,
        last_transition_time: Some(since.unwrap_or(now)),
        reason: reason.to_owned(),
        message,
    };
    match known {
        Some(known) => *known = condition,
        None => conditions.push(condition),
    }
}

/// The conditions of a raw status; one that can not be read is left out.
pub fn conditions(status: &Value) -> Vec<Condition> {
    let raw = status["conditions"].as_array().into_iter().flatten();
    raw.filter_map(|it| serde_json::from_value(it.clone()).ok()).collect()
}

/// ReplicaSet or ReplicationController.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetKind {
    /// apps/v1 ReplicaSet.
    ReplicaSet,
    /// core/v1 ReplicationController.
    ReplicationController,
}

impl SetKind {
    /// How requests name it.
    pub fn kind(self) -> Kind {
        match self {
            Self::ReplicaSet => REPLICA_SETS,
            Self::ReplicationController => CONTROLLERS,
        }
    }

    /// The component that its events name.
    pub fn component(self) -> &'static str {
        match self {
            Self::ReplicaSet => "replicaset-controller",
            Self::ReplicationController => "replication-controller",
        }
    }
}

/// Status of a set.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SetStatus {
    /// Active pods.
    pub replicas: u32,
    /// Those with every label of the template.
    pub fully_labeled: u32,
    /// Those that are ready.
    pub ready: u32,
    /// Those that are ready for long enough.
    pub available: u32,
    /// Pods on their way out; ReplicaSets only (KEP-3973).
    pub terminating: Option<u32>,
    /// `metadata.generation` that the rest is about.
    pub observed_generation: i64,
    /// `ReplicaFailure`, and those of others.
    pub conditions: Vec<Condition>,
}

/// A ReplicaSet or ReplicationController.
#[derive(Debug, Clone, PartialEq)]
pub struct SetView {
    /// Which of the two.
    pub kind: SetKind,
    /// Namespace and name.
    pub key: ObjectKey,
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.resourceVersion`.
    pub resource_version: String,
    /// `metadata.generation`.
    pub generation: i64,
    /// `metadata.creationTimestamp`.
    pub created: Option<Timestamp>,
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// `metadata.annotations`.
    pub annotations: BTreeMap<String, String>,
    /// The controller reference, if any.
    pub owner: Option<Owner>,
    /// `metadata.deletionTimestamp` is set.
    pub deleting: bool,
    /// `spec.replicas`.
    pub replicas: u32,
    /// `spec.minReadySeconds`.
    pub min_ready_seconds: i64,
    /// `spec.selector`.
    pub selector: LabelSelector,
    /// `spec.template`.
    pub template: Arc<Value>,
    /// `status`.
    pub status: SetStatus,
}

impl SetView {
    /// Narrows a set.
    ///
    /// # Errors
    /// Why it can not be worked on.
    pub fn narrow(kind: SetKind, raw: &Value) -> Result<Self, String> {
        let (meta, spec, status) = (&raw["metadata"], &raw["spec"], &raw["status"]);
        let selector = match kind {
            SetKind::ReplicaSet => LabelSelector::from_json(&spec["selector"])?,
            SetKind::ReplicationController => {
                // A plain map of labels.
                LabelSelector::from_json(&json!({ "matchLabels": spec["selector"] }))?
            }
        };
        Ok(Self {
            kind,
            key: ObjectKey::new(text(&meta["namespace"]), text(&meta["name"])),
            uid: text(&meta["uid"]),
            resource_version: text(&meta["resourceVersion"]),
            generation: meta["generation"].as_i64().unwrap_or(0),
            created: meta["creationTimestamp"].as_str().and_then(|it| it.parse().ok()),
            labels: string_map(&meta["labels"]),
            annotations: string_map(&meta["annotations"]),
            owner: Owner::narrow(raw),
            deleting: !meta["deletionTimestamp"].is_null(),
            replicas: spec.get("replicas").map_or(1, count),
            min_ready_seconds: spec["minReadySeconds"].as_i64().unwrap_or(0),
            selector,
            template: Arc::new(spec["template"].clone()),
            status: SetStatus {
                replicas: count(&status["replicas"]),
                fully_labeled: count(&status["fullyLabeledReplicas"]),
                ready: count(&status["readyReplicas"]),
                available: count(&status["availableReplicas"]),
                terminating: status.get("terminatingReplicas").filter(|it| !it.is_null()).map(count),
                observed_generation: status["observedGeneration"].as_i64().unwrap_or(0),
                conditions: conditions(status),
            },
        })
    }
}

/// A JSON number as a count; 0 for anything else.
pub fn count(value: &Value) -> u32 {
    value.as_i64().map_or(0, |it| u32::try_from(it.max(0)).unwrap_or(u32::MAX))
}

/// A JSON string, or nothing.
pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// The strings of a JSON object.
pub fn string_map(raw: &Value) -> BTreeMap<String, String> {
    let entries = raw.as_object().into_iter().flatten();
    entries.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deletion_costs() {
        for (text, want) in [
            ("5", Some(5)),
            ("-5", Some(-5)),
            ("0", Some(0)),
            ("+5", None),
            ("05", None),
            ("-0", None),
            ("x", None),
        ] {
            assert_eq!(parse_cost(text), want, "{text}");
        }
    }

    #[test]
    fn owners_are_told_apart_by_group_and_kind() {
        let owner = |version: &str, kind: &str| Owner {
            api_version: version.into(),
            kind: kind.into(),
            name: "a".into(),
            uid: "u".into(),
        };
        assert!(owner("apps/v1", "ReplicaSet").key(REPLICA_SETS, "ns").is_some());
        assert!(owner("apps/v1beta2", "ReplicaSet").key(REPLICA_SETS, "ns").is_some());
        assert!(owner("extra/v1", "ReplicaSet").key(REPLICA_SETS, "ns").is_none());
        assert!(owner("v1", "ReplicationController").key(CONTROLLERS, "ns").is_some());
        assert!(owner("v1", "ReplicationController").key(REPLICA_SETS, "ns").is_none());
    }
}
