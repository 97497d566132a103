//! ReplicaSets and ReplicationControllers: pods in, what to create and delete and which status to publish out.
//!
//! [`Observed`] ──[`plan`]──▶ [`Plan`]. One plan for both kinds. It never creates more pods than are missing, never
//! deletes more than are too many, and never does both. The status counts the pods a plan was made from; what the
//! plan is about to do shows with the next one.
//! Sources: kubernetes `pkg/controller/replicaset` (`replica_set.go`, `replica_set_utils.go`), 1.36.

pub mod rank;
pub mod reconcile;

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::model::{Condition, PodView, SetKind, SetStatus, SetView, reference};

/// Most pods one plan creates or deletes (upstream's `BurstReplicas`).
const BURST: usize = 500;
/// The one condition a set has.
const REPLICA_FAILURE: &str = "ReplicaFailure";

/// What a plan is made from.
#[derive(Debug, Default)]
pub struct Observed {
    /// The active pods of the set.
    pub active: Vec<Arc<PodView>>,
    /// Pods of the set on their way out.
    pub terminating: u32,
    /// Active pods of all sets of the same Deployment, per node. Only looked at when some pods have to go.
    pub siblings: HashMap<String, usize>,
}

/// What to do.
#[derive(Debug, PartialEq)]
pub struct Plan {
    /// Pods to create.
    pub create: usize,
    /// Pods to delete.
    pub delete: Vec<Arc<PodView>>,
    /// What to publish, but for the condition that tells of failures ([`Plan::publish`]).
    status: SetStatus,
    /// When a pod becomes available without an event.
    pub wake_at: Option<Timestamp>,
}

/// How many pods are missing (negative) or too many.
pub fn surplus(set: &SetView, active: usize) -> i64 {
    if set.deleting { 0 } else { active as i64 - i64::from(set.replicas) }
}

/// Decides about one set. Same arguments, same plan.
pub fn plan(set: &SetView, observed: &Observed, now: Timestamp) -> Plan {
    let surplus = surplus(set, observed.active.len());
    let missing = usize::try_from(-surplus).unwrap_or(0);
    let too_many = usize::try_from(surplus).unwrap_or(0);
    Plan {
        create: missing.min(BURST),
        delete: if too_many == 0 {
            Vec::new()
        } else {
            let mut pods = rank::first(&observed.active, too_many, &observed.siblings, now);
            pods.truncate(BURST);
            pods
        },
        status: count(set, observed, now),
        wake_at: wake_at(set, observed, now),
    }
}

fn count(set: &SetView, observed: &Observed, now: Timestamp) -> SetStatus {
    let of_template = set.template.pointer("/metadata/labels").and_then(Value::as_object);
    let labelled = |pod: &PodView| {
        of_template
            .into_iter()
            .flatten()
            .all(|(key, value)| pod.labels.get(key).map(String::as_str) == value.as_str())
    };
    let mut status = SetStatus {
        terminating: (set.kind == SetKind::ReplicaSet).then_some(observed.terminating),
        observed_generation: set.generation,
        conditions: set.status.conditions.clone(),
        ..SetStatus::default()
    };
    for pod in &observed.active {
        status.replicas += 1;
        status.fully_labeled += u32::from(labelled(pod));
        status.ready += u32::from(pod.ready());
        status.available += u32::from(pod.available(set.min_ready_seconds, now));
    }
    status
}

fn wake_at(set: &SetView, observed: &Observed, now: Timestamp) -> Option<Timestamp> {
    if set.min_ready_seconds == 0 {
        return None;
    }
    let becomes = observed.active.iter().filter_map(|it| it.available_at(set.min_ready_seconds));
    becomes.filter(|it| *it > now).min()
}

/// What went wrong when a plan was applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// A pod could not be created.
    Create(String),
    /// A pod could not be deleted.
    Delete(String),
}

impl Plan {
    /// The status to publish after the plan was applied; `None` if nothing changed.
    pub fn publish(&self, set: &SetView, failure: Option<&Failure>, now: Timestamp) -> Option<SetStatus> {
        let mut status = self.status.clone();
        let known = status.conditions.iter().any(|it| it.name == REPLICA_FAILURE);
        match failure {
            Some(failure) if !known => {
                let (reason, message) = match failure {
                    Failure::Create(message) => ("FailedCreate", message),
                    Failure::Delete(message) => ("FailedDelete", message),
                };
                status.conditions.push(Condition {
                    name: REPLICA_FAILURE.to_owned(),
                    status: "True".to_owned(),
                    last_update_time: None,
                    last_transition_time: Some(now),
                    reason: reason.to_owned(),
                    message: message.clone(),
                });
            }
            None if known => status.conditions.retain(|it| it.name != REPLICA_FAILURE),
            _ => {}
        }
        (status != set.status).then_some(status)
    }
}

/// The merge patch for `/status`. UID and resourceVersion are preconditions, counters that are zero are absent.
pub fn status_patch(set: &SetView, status: &SetStatus) -> Value {
    let or_absent = |it: u32| if it == 0 { Value::Null } else { json!(it) };
    let kind = set.kind.kind();
    let mut patch = json!({
        "apiVersion": kind.api_version, "kind": kind.kind,
        "metadata": {
            "name": set.key.name, "namespace": set.key.namespace, "uid": set.uid,
            "resourceVersion": set.resource_version,
        },
        "status": {
            "replicas": status.replicas,
            "fullyLabeledReplicas": or_absent(status.fully_labeled),
            "readyReplicas": or_absent(status.ready),
            "availableReplicas": or_absent(status.available),
            "observedGeneration": status.observed_generation,
        },
    });
    if let Some(terminating) = status.terminating {
        patch["status"]["terminatingReplicas"] = json!(terminating);
    }
    // A merge patch replaces the whole list; it holds the conditions of others, too.
    if status.conditions != set.status.conditions {
        let none = status.conditions.is_empty();
        patch["status"]["conditions"] = if none { Value::Null } else { json!(status.conditions) };
    }
    patch
}

/// A pod of the set, ready to be posted. `suffix`: five random characters.
pub fn pod(set: &SetView, name: &str) -> Value {
    let kind = set.kind.kind();
    let mut metadata = json!({
        "name": name,
        "generateName": format!("{}-", set.key.name),
        "namespace": set.key.namespace,
        "ownerReferences": [reference(kind, &set.key.name, &set.uid)],
    });
    for key in ["labels", "annotations", "finalizers"] {
        if let Some(it) = set.template.pointer(&format!("/metadata/{key}")).filter(|it| !it.is_null()) {
            metadata[key] = it.clone();
        }
    }
    let spec = set.template.get("spec").cloned().unwrap_or_else(|| json!({}));
    json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec })
}

/// Name of a pod: that of its set, a dash and `suffix`, cut so that the suffix fits 63 characters.
///
/// Upstream leaves it to the API server (`generateName`). Differs: it is chosen here, so that a create whose outcome
/// nobody knows can be repeated under the same name instead of making a second pod.
pub fn pod_name(set: &str, suffix: &str) -> String {
    let stem = format!("{set}-");
    let room = 63 - suffix.len();
    let cut = stem.char_indices().map(|it| it.0).chain([stem.len()]).take_while(|it| *it <= room).last();
    format!("{}{suffix}", &stem[..cut.unwrap_or(0)])
}

/// Random characters as the API server appends them to a generateName: no vowels, nothing that looks alike.
pub fn suffix(random: u64) -> String {
    const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut left = random;
    let digits = (0..5).map(|_| {
        let digit = ALPHABET[usize::try_from(left % 27).unwrap_or(0)];
        left /= 27;
        char::from(digit)
    });
    digits.collect()
}

#[cfg(test)]
mod tests {
    use super::super::notation::{NOW, observed, set};
    use super::*;

    #[test]
    fn planning() {
        #[rustfmt::skip]
        let cases = [
            ("a fresh set",                        3, "",              "create 3"),
            ("a gap",                              3, "a b",           "create 1"),
            ("enough",                             2, "a b",           ""),
            ("one too many: the unready one goes", 2, "a b! c",        "delete b"),
            ("everything goes, unranked",          0, "a b!",          "delete a,b"),
            ("no more than a burst",             900, "",              "create 500"),
        ];
        for (why, replicas, pods, want) in cases {
            let plan = plan(&set(replicas), &observed(pods), NOW);
            assert_eq!(show(&plan), want, "{why}");
        }
        let mut going = set(3);
        going.deleting = true;
        assert_eq!(show(&plan(&going, &observed("a"), NOW)), "", "a set that goes does nothing");
    }

    fn show(plan: &Plan) -> String {
        let mut words = Vec::new();
        if plan.create > 0 {
            words.push(format!("create {}", plan.create));
        }
        if !plan.delete.is_empty() {
            let names: Vec<_> = plan.delete.iter().map(|it| it.uid.as_str()).collect();
            words.push(format!("delete {}", names.join(",")));
        }
        words.join(" ")
    }

    #[test]
    fn counting() {
        let mut web = set(3);
        web.min_ready_seconds = 50;
        let it = plan(&web, &observed("a~100 b~10 c! dL"), NOW);
        let status = &it.status;
        assert_eq!((status.replicas, status.fully_labeled, status.ready, status.available), (4, 3, 3, 2));
        assert_eq!(it.wake_at, Some(NOW + jiff::SignedDuration::from_secs(40)));
    }

    #[test]
    fn a_failure_is_told_once_and_taken_back() {
        let mut web = set(1);
        let it = plan(&web, &observed(""), NOW);
        let failure = Failure::Create("no quota".into());
        let status = it.publish(&web, Some(&failure), NOW).expect("told");
        assert_eq!(status.conditions[0].reason, "FailedCreate");
        web.status = status.clone();
        let later = NOW + jiff::SignedDuration::from_secs(5);
        assert_eq!(
            plan(&web, &observed(""), later).publish(&web, Some(&failure), later),
            None,
            "nothing new"
        );
        let status = plan(&web, &observed(""), later).publish(&web, None, later).expect("taken back");
        assert!(status.conditions.is_empty());
    }

    #[test]
    fn names() {
        assert_eq!(pod_name("web-5d65f98bd9", "abcde"), "web-5d65f98bd9-abcde");
        assert_eq!(pod_name(&"x".repeat(70), "abcde"), format!("{}abcde", "x".repeat(58)));
        assert_eq!(suffix(0), "bbbbb");
        assert_eq!(suffix(u64::MAX).len(), 5);
    }
}
