//! Defaults of the kinds that make Pods from a template, and of those that watch over them.

use super::{at, child, each, pod_spec, set, storage};
use crate::apiserver::quantity;
use serde_json::{Value, json};

fn template(spec: &mut Value) {
    let template = child(spec, "template");
    child(template, "metadata");
    pod_spec::pod_spec(child(template, "spec"));
}

/// Source: apps `SetDefaults_StatefulSet`.
///
/// An explicit strategy type without a `rollingUpdate` block stays without one.
pub fn stateful_set(object: &mut Value) {
    let spec = child(object, "spec");
    template(spec);
    set(spec, "podManagementPolicy", "OrderedReady");
    let strategy = child(spec, "updateStrategy");
    if strategy["type"].as_str().unwrap_or_default().is_empty() {
        set(strategy, "type", "RollingUpdate");
        child(strategy, "rollingUpdate");
    }
    if strategy["type"] == "RollingUpdate" && strategy.get("rollingUpdate").is_some() {
        let rolling = child(strategy, "rollingUpdate");
        set(rolling, "partition", 0);
        // MaxUnavailableStatefulSet is on by default in 1.37.
        set(rolling, "maxUnavailable", 1);
    }
    let retention = child(spec, "persistentVolumeClaimRetentionPolicy");
    set(retention, "whenDeleted", "Retain");
    set(retention, "whenScaled", "Retain");
    set(spec, "replicas", 1);
    set(spec, "revisionHistoryLimit", 10);
    each(spec, "volumeClaimTemplates", |claim| {
        set(claim, "apiVersion", "v1");
        set(claim, "kind", "PersistentVolumeClaim");
        storage::claim(claim);
    });
    counters(object, &["replicas", "availableReplicas"]);
}

/// Source: apps `SetDefaults_Deployment`.
pub fn deployment(object: &mut Value) {
    let spec = child(object, "spec");
    template(spec);
    set(spec, "replicas", 1);
    let strategy = child(spec, "strategy");
    set(strategy, "type", "RollingUpdate");
    if strategy["type"] == "RollingUpdate" {
        let rolling = child(strategy, "rollingUpdate");
        set(rolling, "maxUnavailable", "25%");
        set(rolling, "maxSurge", "25%");
    }
    set(spec, "revisionHistoryLimit", 10);
    set(spec, "progressDeadlineSeconds", 600);
    child(object, "status");
}

/// Source: apps `SetDefaults_ReplicaSet`.
pub fn replica_set(object: &mut Value) {
    let spec = child(object, "spec");
    template(spec);
    set(spec, "replicas", 1);
    counters(object, &["replicas"]);
}

/// Source: apps `SetDefaults_DaemonSet`.
pub fn daemon_set(object: &mut Value) {
    let spec = child(object, "spec");
    template(spec);
    let strategy = child(spec, "updateStrategy");
    set(strategy, "type", "RollingUpdate");
    if strategy["type"] == "RollingUpdate" {
        let rolling = child(strategy, "rollingUpdate");
        set(rolling, "maxUnavailable", 1);
        set(rolling, "maxSurge", 0);
    }
    set(spec, "revisionHistoryLimit", 10);
    counters(
        object,
        &["currentNumberScheduled", "desiredNumberScheduled", "numberMisscheduled", "numberReady"],
    );
}

/// Source: core `SetDefaults_ReplicationController`: selector and labels come from the template.
pub fn replication_controller(object: &mut Value) {
    let spec = child(object, "spec");
    set(spec, "replicas", 1);
    if spec.get("template").is_some() {
        template(spec);
        let labels = spec["template"]["metadata"]["labels"].clone();
        if labels.as_object().is_some_and(|it| !it.is_empty()) {
            set_map(spec, "selector", &labels);
            set_map(child(object, "metadata"), "labels", &labels);
        }
    }
    counters(object, &["replicas"]);
}

/// Sets a map unless there is one with content.
fn set_map(object: &mut Value, key: &str, map: &Value) {
    if let Some(object) = object.as_object_mut() {
        let slot = object.entry(key).or_insert(Value::Null);
        if slot.is_null() || slot.as_object().is_some_and(serde_json::Map::is_empty) {
            slot.clone_from(map);
        }
    }
}

/// Source: autoscaling/v2 `SetDefaults_HorizontalPodAutoscaler` and `GenerateHPAScale…Rules`: a behaviour is
/// only completed, never made up.
pub fn autoscaler(object: &mut Value) {
    let spec = child(object, "spec");
    set(spec, "minReplicas", 1);
    if let Some(behavior) = spec.get_mut("behavior").filter(|it| it.is_object()) {
        let percent = json!({"type": "Percent", "value": 100, "periodSeconds": 15});
        let pods = json!({"type": "Pods", "value": 4, "periodSeconds": 15});
        let up = child(behavior, "scaleUp");
        set(up, "stabilizationWindowSeconds", 0);
        set(up, "selectPolicy", "Max");
        set(up, "policies", json!([pods, percent.clone()]));
        let down = child(behavior, "scaleDown");
        set(down, "selectPolicy", "Max");
        set(down, "policies", json!([percent]));
    }
    if spec["metrics"].as_array().is_none_or(Vec::is_empty) && spec.is_object() {
        spec["metrics"] = json!([{"type": "Resource", "resource": {"name": "cpu",
            "target": {"type": "Utilization", "averageUtilization": 80}}}]);
    }
    counters(object, &["desiredReplicas"]);
}

/// Canonical quantities of what an autoscaler aims at, and of what it has measured.
pub fn autoscaler_quantities(object: &mut Value) {
    for (part, metrics, member) in [("spec", "metrics", "target"), ("status", "currentMetrics", "current")] {
        at(object, part, |part| {
            each(part, metrics, |metric| {
                for source in metric.as_object_mut().into_iter().flatten().map(|it| it.1) {
                    at(source, member, |it| {
                        at(it, "value", quantity::canonicalize);
                        at(it, "averageValue", quantity::canonicalize);
                    });
                }
            });
        });
    }
}

/// The counters of a budget's status are always written.
pub fn disruption_budget(object: &mut Value) {
    child(object, "spec");
    counters(object, &["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"]);
}

fn counters(object: &mut Value, names: &[&str]) {
    let status = child(object, "status");
    for name in names {
        set(status, name, 0);
    }
}
