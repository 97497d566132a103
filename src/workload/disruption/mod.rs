//! PodDisruptionBudgets: pods and the sizes of their workloads in, how many may be evicted out.
//!
//! Only the status is written; evictions read it. Rollouts and scaling never do.
//! Source: kubernetes `pkg/controller/disruption/disruption.go` (1.36).

pub mod reconcile;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::model::{Condition, PodView, conditions, count, say, text};
use crate::model::ObjectKey;
use crate::model::selector::LabelSelector;

/// How long an eviction that was granted may take until the pod counts again.
const EVICTION: SignedDuration = SignedDuration::from_mins(2);
const ALLOWED: &str = "DisruptionAllowed";

/// A number of pods, or percent of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// Pods.
    Count(u32),
    /// Percent, rounded up.
    Percent(u32),
}

impl Share {
    fn narrow(raw: &Value) -> Option<Self> {
        match raw {
            Value::Number(_) => Some(Self::Count(count(raw))),
            Value::String(it) => it.strip_suffix('%')?.parse().ok().map(Self::Percent),
            _ => None,
        }
    }

    fn of(self, expected: u32) -> u32 {
        match self {
            Self::Count(it) => it,
            Self::Percent(it) => (it * expected).div_ceil(100),
        }
    }
}

/// `status` of a budget.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BudgetStatus {
    /// Generation the rest is about.
    pub observed_generation: i64,
    /// Evictions that may be granted.
    pub allowed: u32,
    /// Healthy pods.
    pub healthy: u32,
    /// Healthy pods there must be.
    pub desired: u32,
    /// Pods there should be.
    pub expected: u32,
    /// Evictions that were granted, by pod.
    pub disrupted: BTreeMap<String, Timestamp>,
    /// Conditions.
    pub conditions: Vec<Condition>,
}

/// A PodDisruptionBudget.
#[derive(Debug, Clone, PartialEq)]
pub struct BudgetView {
    /// Namespace and name.
    pub key: ObjectKey,
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.resourceVersion`.
    pub resource_version: String,
    /// `metadata.generation`.
    pub generation: i64,
    /// `spec.selector`.
    pub selector: LabelSelector,
    /// `spec.minAvailable`.
    pub min_available: Option<Share>,
    /// `spec.maxUnavailable`.
    pub max_unavailable: Option<Share>,
    /// `status`.
    pub status: BudgetStatus,
}

impl BudgetView {
    /// Narrows a budget.
    ///
    /// # Errors
    /// Why it can not be worked on.
    pub fn narrow(raw: &Value) -> Result<Self, String> {
        let (meta, spec, status) = (&raw["metadata"], &raw["spec"], &raw["status"]);
        let disrupted = status["disruptedPods"].as_object().into_iter().flatten();
        Ok(Self {
            key: ObjectKey::new(text(&meta["namespace"]), text(&meta["name"])),
            uid: text(&meta["uid"]),
            resource_version: text(&meta["resourceVersion"]),
            generation: meta["generation"].as_i64().unwrap_or(0),
            selector: LabelSelector::from_json(&spec["selector"])?,
            min_available: Share::narrow(&spec["minAvailable"]),
            max_unavailable: Share::narrow(&spec["maxUnavailable"]),
            status: BudgetStatus {
                observed_generation: status["observedGeneration"].as_i64().unwrap_or(0),
                allowed: count(&status["disruptionsAllowed"]),
                healthy: count(&status["currentHealthy"]),
                desired: count(&status["desiredHealthy"]),
                expected: count(&status["expectedPods"]),
                disrupted: disrupted
                    .filter_map(|(pod, at)| Some((pod.clone(), at.as_str()?.parse().ok()?)))
                    .collect(),
                conditions: conditions(status),
            },
        })
    }

    /// Whether a pod with these labels is guarded; `{}` guards every pod of the namespace.
    pub fn guards(&self, labels: &BTreeMap<String, String>) -> bool {
        self.selector.is_empty() || self.selector.selects(labels)
    }

    /// Whether the sizes of the workloads matter.
    pub fn counts_workloads(&self) -> bool {
        self.max_unavailable.is_some() || matches!(self.min_available, Some(Share::Percent(_)))
    }
}

/// The status, and when an eviction under way is over.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// What to publish.
    pub status: BudgetStatus,
    /// When to look again without an event.
    pub wake_at: Option<Timestamp>,
}

/// Decides about one budget. `workloads`: sizes of the workloads of its pods, summed, or why they are not known.
pub fn plan(it: &BudgetView, pods: &[Arc<PodView>], workloads: Result<u32, String>, now: Timestamp) -> Plan {
    let workloads = match workloads {
        Ok(it) => it,
        Err(error) => {
            // Nothing may be evicted while nobody knows.
            let mut status = BudgetStatus { allowed: 0, ..it.status.clone() };
            say(&mut status.conditions, ALLOWED, "False", "SyncFailed", error, now);
            return Plan { status, wake_at: None };
        }
    };
    let expected = if it.counts_workloads() { workloads } else { pods.len() as u32 };
    let desired = match (it.max_unavailable, it.min_available) {
        (Some(share), _) => expected.saturating_sub(share.of(expected)),
        (None, Some(share)) => share.of(expected),
        (None, None) => 0,
    };
    let by_name: BTreeMap<&str, &PodView> = pods.iter().map(|it| (it.key.name.as_str(), &**it)).collect();
    let over = |at: &Timestamp| at.checked_add(EVICTION).unwrap_or(Timestamp::MAX);
    let disrupted: BTreeMap<_, _> = it
        .status
        .disrupted
        .iter()
        .filter(|(pod, at)| by_name.get(pod.as_str()).is_some_and(|it| !it.deleting) && over(at) > now)
        .map(|(pod, at)| (pod.clone(), *at))
        .collect();
    let healthy =
        pods.iter().filter(|it| it.ready() && !it.deleting && !disrupted.contains_key(&it.key.name));
    let healthy = healthy.count() as u32;
    let allowed = if expected == 0 { 0 } else { healthy.saturating_sub(desired) };
    let wake_at = disrupted.values().map(over).min();
    let mut status = BudgetStatus {
        observed_generation: it.generation,
        allowed,
        healthy,
        desired,
        expected,
        disrupted,
        conditions: it.status.conditions.clone(),
    };
    let (truth, reason) =
        if allowed > 0 { ("True", "SufficientPods") } else { ("False", "InsufficientPods") };
    say(&mut status.conditions, ALLOWED, truth, reason, String::new(), now);
    Plan { status, wake_at }
}

/// The merge patch for `/status`; `None` if nothing changed.
pub fn status_patch(before: &BudgetView, status: &BudgetStatus) -> Option<Value> {
    if before.status == *status {
        return None;
    }
    let pods: BTreeSet<_> = before.status.disrupted.keys().chain(status.disrupted.keys()).collect();
    let disrupted: serde_json::Map<_, _> =
        pods.into_iter().map(|pod| (pod.clone(), json!(status.disrupted.get(pod)))).collect();
    Some(json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
        "metadata": {
            "name": before.key.name, "namespace": before.key.namespace, "uid": before.uid,
            "resourceVersion": before.resource_version,
        },
        "status": {
            "observedGeneration": status.observed_generation, "disruptionsAllowed": status.allowed,
            "currentHealthy": status.healthy, "desiredHealthy": status.desired, "expectedPods": status.expected,
            "disruptedPods": if disrupted.is_empty() { Value::Null } else { Value::Object(disrupted) },
            "conditions": status.conditions,
        },
    }))
}

#[cfg(test)]
mod tests {
    use super::super::notation::{NOW, pods};
    use super::*;

    #[test]
    fn budgets() {
        #[rustfmt::skip] // spec, pods, size of the workloads → expected desired healthy allowed
        let cases = [
            (json!({"minAvailable": 2}),      "a b c",    9, (3, 2, 3, 1)),
            (json!({"minAvailable": 2}),      "a b! c",   9, (3, 2, 2, 0)),
            (json!({"minAvailable": "50%"}),  "a b c",    3, (3, 2, 3, 1)),
            (json!({"maxUnavailable": 1}),    "a b c",    3, (3, 2, 3, 1)),
            (json!({"maxUnavailable": 1}),    "a b cd",   3, (3, 2, 2, 0)),
            (json!({"maxUnavailable": "30%"}), "a b c d", 4, (4, 2, 4, 2)),
            (json!({"maxUnavailable": 9}),    "a b",      2, (2, 0, 2, 2)),
            (json!({"minAvailable": 0}),      "",         0, (0, 0, 0, 0)),
        ];
        for (spec, notation, workloads, want) in cases {
            let mut raw = json!({ "metadata": { "name": "b", "namespace": "demo" }, "spec": spec });
            raw["spec"]["selector"] = json!({ "matchLabels": { "app": "web" } });
            let it = BudgetView::narrow(&raw).unwrap();
            let status = plan(&it, &pods(notation), Ok(workloads), NOW).status;
            assert_eq!((status.expected, status.desired, status.healthy, status.allowed), want, "{raw}");
        }
    }

    #[test]
    fn a_granted_eviction_counts_for_two_minutes() {
        let ago = |seconds: i64| (NOW - SignedDuration::from_secs(seconds)).to_string();
        let it = BudgetView::narrow(&json!({
            "metadata": { "name": "b", "namespace": "demo" },
            "spec": { "minAvailable": 1, "selector": { "matchLabels": { "app": "web" } } },
            "status": { "disruptedPods": { "web-a": ago(60), "web-b": ago(121), "web-x": ago(1) } },
        }))
        .unwrap();
        let it = plan(&it, &pods("a b c"), Ok(0), NOW);
        assert_eq!((it.status.healthy, it.status.allowed), (2, 1));
        assert_eq!(it.status.disrupted.keys().collect::<Vec<_>>(), ["web-a"]);
        assert_eq!(it.wake_at, Some(NOW + SignedDuration::from_secs(60)));
    }
}
