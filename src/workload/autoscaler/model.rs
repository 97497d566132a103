//! A HorizontalPodAutoscaler, narrowed to what a pass reads.
//!
//! Source: autoscaling/v2 HorizontalPodAutoscaler; kubernetes `pkg/apis/autoscaling/v2/defaults.go`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

use crate::model::ObjectKey;
use crate::model::quantity::Quantity;
use crate::workload::model::{Condition, conditions, count, string_map, text};

/// What is scaled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// `apiVersion`, such as `apps/v1`.
    pub api_version: String,
    /// `kind`, such as `Deployment`.
    pub kind: String,
    /// Name, in the namespace of the autoscaler.
    pub name: String,
}

/// What a metric should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// Percent of what the pods request.
    Utilization(i64),
    /// Thousandths per pod.
    Average(i64),
    /// Thousandths in all.
    Value(i64),
}

/// One entry of `spec.metrics`.
#[derive(Debug, Clone, PartialEq)]
pub enum Metric {
    /// Usage of pods, or of one container in each.
    Resource {
        /// `cpu` or `memory`.
        name: String,
        /// The container; `None` for the whole pod.
        container: Option<String>,
        /// What it should be.
        goal: Goal,
    },
    /// A metric that only a cluster with more parts has: `Object`, `Pods` or `External`.
    Other {
        /// `type`.
        source: String,
        /// Name of the metric.
        name: String,
        /// What it should be.
        goal: Goal,
        /// The entry, for the status.
        raw: Value,
    },
}

/// Which of several policies counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Select {
    /// The one that changes most.
    Max,
    /// The one that changes least.
    Min,
    /// Nothing changes in this direction.
    Disabled,
}

/// How much may change in a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Percent of the pods, or pods.
    pub percent: bool,
    /// How many.
    pub value: i64,
    /// Seconds.
    pub period: i64,
}

/// Rules of one direction.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    /// Seconds that recommendations count; `None`: as configured.
    pub window: Option<i64>,
    /// Which policy counts.
    pub select: Select,
    /// The policies.
    pub policies: Vec<Policy>,
    /// Deviation that is ignored; `None`: as configured.
    pub tolerance: Option<f64>,
}

/// `spec.behavior`.
#[derive(Debug, Clone, PartialEq)]
pub struct Behavior {
    /// Growing.
    pub up: Rules,
    /// Shrinking.
    pub down: Rules,
}

/// `status`, and what a pass makes of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AutoscalerStatus {
    /// Size before the last pass.
    pub current: u32,
    /// Size it asked for.
    pub desired: u32,
    /// When it last changed the size.
    pub last_scale: Option<Timestamp>,
    /// What the metrics were.
    pub metrics: Vec<Value>,
    /// Conditions, in order of first appearance.
    pub conditions: Vec<Condition>,
}

/// A HorizontalPodAutoscaler.
#[derive(Debug, Clone, PartialEq)]
pub struct AutoscalerView {
    /// Namespace and name.
    pub key: ObjectKey,
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.resourceVersion`.
    pub resource_version: String,
    /// `metadata.annotations`.
    pub annotations: BTreeMap<String, String>,
    /// `spec.scaleTargetRef`.
    pub target: Target,
    /// `spec.minReplicas`.
    pub min: u32,
    /// `spec.maxReplicas`.
    pub max: u32,
    /// `spec.metrics`.
    pub metrics: Vec<Metric>,
    /// `spec.behavior`.
    pub behavior: Option<Behavior>,
    /// `status`.
    pub status: AutoscalerStatus,
}

impl AutoscalerView {
    /// Narrows an autoscaler in its v2 shape.
    pub fn narrow(raw: &Value) -> Self {
        let (meta, spec, status) = (&raw["metadata"], &raw["spec"], &raw["status"]);
        let target = &spec["scaleTargetRef"];
        let metrics = spec["metrics"].as_array().into_iter().flatten().filter_map(metric);
        Self {
            key: ObjectKey::new(text(&meta["namespace"]), text(&meta["name"])),
            uid: text(&meta["uid"]),
            resource_version: text(&meta["resourceVersion"]),
            annotations: string_map(&meta["annotations"]),
            target: Target {
                api_version: text(&target["apiVersion"]),
                kind: text(&target["kind"]),
                name: text(&target["name"]),
            },
            min: spec.get("minReplicas").map_or(1, count),
            max: count(&spec["maxReplicas"]),
            metrics: metrics.collect(),
            behavior: spec.get("behavior").filter(|it| it.is_object()).map(|it| Behavior {
                up: rules(&it["scaleUp"], Some(0), &[(false, 4), (true, 100)]),
                down: rules(&it["scaleDown"], None, &[(true, 100)]),
            }),
            status: AutoscalerStatus {
                current: count(&status["currentReplicas"]),
                desired: count(&status["desiredReplicas"]),
                last_scale: status["lastScaleTime"].as_str().and_then(|it| it.parse().ok()),
                metrics: status["currentMetrics"].as_array().cloned().unwrap_or_default(),
                conditions: conditions(status),
            },
        }
    }
}

fn metric(raw: &Value) -> Option<Metric> {
    let source = text(&raw["type"]);
    let resource = |block: &Value, container: Option<String>| {
        Some(Metric::Resource { name: text(&block["name"]), container, goal: goal(&block["target"])? })
    };
    match source.as_str() {
        "Resource" => resource(&raw["resource"], None),
        "ContainerResource" => {
            let block = &raw["containerResource"];
            resource(block, Some(text(&block["container"])))
        }
        _ => {
            let block = &raw[source.to_lowercase().as_str()];
            let name = text(&block["metric"]["name"]);
            Some(Metric::Other { goal: goal(&block["target"])?, name, raw: raw.clone(), source })
        }
    }
}

fn goal(target: &Value) -> Option<Goal> {
    let millis = |it: &Value| Quantity::from_json(it).map(|it| it.millis());
    if let Some(it) = target["averageUtilization"].as_i64() {
        return Some(Goal::Utilization(it));
    }
    millis(&target["averageValue"]).map(Goal::Average).or_else(|| millis(&target["value"]).map(Goal::Value))
}

fn rules(raw: &Value, window: Option<i64>, defaults: &[(bool, i64)]) -> Rules {
    let policies = raw["policies"].as_array().filter(|it| !it.is_empty()).map(|it| {
        it.iter()
            .map(|it| Policy {
                percent: it["type"] == "Percent",
                value: it["value"].as_i64().unwrap_or(0),
                period: it["periodSeconds"].as_i64().unwrap_or(0),
            })
            .collect()
    });
    let defaults =
        defaults.iter().map(|(percent, value)| Policy { percent: *percent, value: *value, period: 15 });
    Rules {
        window: raw["stabilizationWindowSeconds"].as_i64().or(window),
        select: match raw["selectPolicy"].as_str() {
            Some("Min") => Select::Min,
            Some("Disabled") => Select::Disabled,
            _ => Select::Max,
        },
        policies: policies.unwrap_or_else(|| defaults.collect()),
        tolerance: Quantity::from_json(&raw["tolerance"]).map(|it| it.millis() as f64 / 1000.0),
    }
}
