//! A Deployment, narrowed to what a plan reads.
//!
//! Source: apps/v1 Deployment; kubernetes `pkg/controller/deployment/util` (`ResolveFenceposts`).

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use crate::model::ObjectKey;
use crate::model::selector::LabelSelector;
use crate::workload::model::{Condition, conditions, count, string_map, text};

/// A number of pods, or a share of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amount {
    /// Pods.
    Count(u32),
    /// Percent of the replicas.
    Percent(u32),
}

impl Amount {
    fn narrow(raw: &Value) -> Option<Self> {
        match raw {
            Value::Number(_) => Some(Self::Count(count(raw))),
            Value::String(it) => it.strip_suffix('%')?.parse().ok().map(Self::Percent),
            _ => None,
        }
    }

    fn up(self, of: u32) -> u32 {
        match self {
            Self::Count(it) => it,
            Self::Percent(it) => clamp((u64::from(it) * u64::from(of)).div_ceil(100)),
        }
    }

    fn down(self, of: u32) -> u32 {
        match self {
            Self::Count(it) => it,
            Self::Percent(it) => clamp(u64::from(it) * u64::from(of) / 100),
        }
    }
}

fn clamp(it: u64) -> u32 {
    u32::try_from(it).unwrap_or(u32::MAX)
}

/// `spec.strategy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strategy {
    /// All old pods end before the first new one begins.
    Recreate,
    /// Pods are replaced some at a time.
    RollingUpdate {
        /// Pods above the replicas.
        surge: Amount,
        /// Replicas that may be unavailable.
        unavailable: Amount,
    },
}

/// `status` of a Deployment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DeploymentStatus {
    /// `metadata.generation` that the rest is about.
    pub observed_generation: i64,
    /// Pods of all sets.
    pub replicas: u32,
    /// Pods of the current set.
    pub updated: u32,
    /// Ready pods.
    pub ready: u32,
    /// Available pods.
    pub available: u32,
    /// Pods that are missing or not available.
    pub unavailable: u32,
    /// Pods on their way out, if every set says how many.
    pub terminating: Option<u32>,
    /// How many names of sets were taken by others.
    pub collision_count: Option<i32>,
    /// In order of their last change of reason.
    pub conditions: Vec<Condition>,
}

impl DeploymentStatus {
    /// The condition of this type.
    pub fn condition(&self, name: &str) -> Option<&Condition> {
        self.conditions.iter().find(|it| it.name == name)
    }
}

/// A Deployment.
#[derive(Debug, Clone, PartialEq)]
pub struct DeploymentView {
    /// Namespace and name.
    pub key: ObjectKey,
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.resourceVersion`.
    pub resource_version: String,
    /// `metadata.generation`.
    pub generation: i64,
    /// `metadata.annotations`.
    pub annotations: BTreeMap<String, String>,
    /// `metadata.deletionTimestamp` is set.
    pub deleting: bool,
    /// `spec.replicas`.
    pub replicas: u32,
    /// `spec.minReadySeconds`.
    pub min_ready_seconds: i64,
    /// `spec.paused`.
    pub paused: bool,
    /// `spec.strategy`.
    pub strategy: Strategy,
    /// `spec.revisionHistoryLimit`; `None`: everything is kept.
    pub history_limit: Option<u32>,
    /// `spec.progressDeadlineSeconds`; `None`: progress is not judged.
    pub progress_deadline: Option<i64>,
    /// `spec.selector`.
    pub selector: LabelSelector,
    /// `spec.selector` as it was written; sets get it with one more label.
    pub raw_selector: Value,
    /// `spec.template`.
    pub template: Arc<Value>,
    /// `status`.
    pub status: DeploymentStatus,
}

impl DeploymentView {
    /// Narrows a Deployment.
    ///
    /// # Errors
    /// Why it can not be worked on.
    pub fn narrow(raw: &Value) -> Result<Self, String> {
        let (meta, spec, status) = (&raw["metadata"], &raw["spec"], &raw["status"]);
        let forever = i64::from(i32::MAX);
        Ok(Self {
            key: ObjectKey::new(text(&meta["namespace"]), text(&meta["name"])),
            uid: text(&meta["uid"]),
            resource_version: text(&meta["resourceVersion"]),
            generation: meta["generation"].as_i64().unwrap_or(0),
            annotations: string_map(&meta["annotations"]),
            deleting: !meta["deletionTimestamp"].is_null(),
            replicas: spec.get("replicas").map_or(1, count),
            min_ready_seconds: spec["minReadySeconds"].as_i64().unwrap_or(0),
            paused: spec["paused"] == true,
            strategy: strategy(&spec["strategy"]),
            history_limit: spec["revisionHistoryLimit"]
                .as_i64()
                .filter(|it| *it != forever)
                .map(|it| u32::try_from(it.max(0)).unwrap_or(u32::MAX)),
            progress_deadline: spec["progressDeadlineSeconds"].as_i64().filter(|it| *it != forever),
            selector: LabelSelector::from_json(&spec["selector"])?,
            raw_selector: spec["selector"].clone(),
            template: Arc::new(spec["template"].clone()),
            status: DeploymentStatus {
                observed_generation: status["observedGeneration"].as_i64().unwrap_or(0),
                replicas: count(&status["replicas"]),
                updated: count(&status["updatedReplicas"]),
                ready: count(&status["readyReplicas"]),
                available: count(&status["availableReplicas"]),
                unavailable: count(&status["unavailableReplicas"]),
                terminating: status.get("terminatingReplicas").filter(|it| !it.is_null()).map(count),
                collision_count: status["collisionCount"].as_i64().and_then(|it| i32::try_from(it).ok()),
                conditions: conditions(status),
            },
        })
    }

    /// Pods that may exist above the replicas.
    pub fn max_surge(&self) -> u32 {
        match self.strategy {
            Strategy::Recreate => 0,
            Strategy::RollingUpdate { surge, .. } => surge.up(self.replicas),
        }
    }

    /// Replicas that may be unavailable. Both 0 would never move: then it is 1.
    pub fn max_unavailable(&self) -> u32 {
        match self.strategy {
            Strategy::RollingUpdate { unavailable, .. } if self.replicas > 0 => {
                let it = unavailable.down(self.replicas);
                let stuck = it == 0 && self.max_surge() == 0;
                if stuck { 1 } else { it.min(self.replicas) }
            }
            _ => 0,
        }
    }

    /// Most pods that the controller asks for.
    pub fn max_replicas(&self) -> u32 {
        self.replicas.saturating_add(self.max_surge())
    }

    /// Fewest pods that the controller leaves available.
    pub fn min_available(&self) -> u32 {
        self.replicas - self.max_unavailable()
    }

    /// Whether the rollout is over according to `status`.
    pub fn complete(&self, status: &DeploymentStatus) -> bool {
        status.updated == self.replicas
            && status.replicas == self.replicas
            && status.available == self.replicas
            && status.observed_generation >= self.generation
    }
}

fn strategy(raw: &Value) -> Strategy {
    if raw["type"] == "Recreate" {
        return Strategy::Recreate;
    }
    let of = |key: &str| Amount::narrow(&raw["rollingUpdate"][key]);
    Strategy::RollingUpdate {
        surge: of("maxSurge").unwrap_or(Amount::Percent(25)),
        unavailable: of("maxUnavailable").unwrap_or(Amount::Percent(25)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn surge_rounds_up_unavailable_down() {
        #[rustfmt::skip] // replicas, maxSurge, maxUnavailable → resolved
        let cases = [
            (10, json!("25%"), json!("25%"), (3, 2)),
            (3,  json!("25%"), json!("25%"), (1, 0)),
            (1,  json!("25%"), json!("25%"), (1, 0)),
            (1,  json!("0%"),  json!("1%"),  (0, 1)),
            (4,  json!(0),     json!(0),     (0, 1)),
            (2,  json!(5),     json!(5),     (5, 2)),
            (0,  json!("25%"), json!(1),     (0, 0)),
        ];
        for (replicas, surge, unavailable, want) in cases {
            let it = DeploymentView::narrow(&json!({ "spec": {
                "replicas": replicas, "selector": { "matchLabels": { "a": "b" } },
                "strategy": { "rollingUpdate": { "maxSurge": surge, "maxUnavailable": unavailable } },
            } }))
            .expect("narrow");
            assert_eq!((it.max_surge(), it.max_unavailable()), want, "{replicas} {surge} {unavailable}");
        }
    }
}
