//! autoscaling/v1 HorizontalPodAutoscalers as a view of the autoscaling/v2 ones they are stored as.
//!
//! v1 has one target, the CPU utilisation. Other metrics, their current values, the conditions and the
//! behaviour travel in annotations that only the view has, so that a v1 client which reads and writes back
//! loses nothing.
//! Source: kubernetes `pkg/apis/autoscaling/v1/conversion.go`, `pkg/apis/autoscaling/annotations.go`.

use crate::apiserver::meta;
use serde_json::{Map, Value, json};

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT_METRICS: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";

/// From autoscaling/v1 to autoscaling/v2.
pub fn to_stored(mut object: Value) -> Value {
    object["apiVersion"] = "autoscaling/v2".into();
    let mut carried = |key: &str| -> Option<Value> {
        let annotations = object.pointer_mut("/metadata/annotations")?.as_object_mut()?;
        let text = annotations.remove(key)?;
        serde_json::from_str(text.as_str()?).ok()
    };
    let (metrics, current) = (carried(METRICS), carried(CURRENT_METRICS));
    let (conditions, behavior) = (carried(CONDITIONS), carried(BEHAVIOR));
    if object["metadata"]["annotations"].as_object().is_some_and(Map::is_empty) {
        meta::metadata(&mut object).remove("annotations");
    }
    if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
        let mut all = Vec::new();
        if let Some(target) = spec.remove("targetCPUUtilizationPercentage") {
            all.push(json!({"type": "Resource", "resource": {"name": "cpu",
                "target": {"type": "Utilization", "averageUtilization": target}}}));
        }
        all.extend(list(metrics).iter().map(|it| metric(it, "target", modern)));
        if !all.is_empty() {
            spec.insert("metrics".into(), all.into());
        }
        spec.extend(behavior.map(|it| ("behavior".to_owned(), it)));
    }
    if let Some(status) = object.get_mut("status").and_then(Value::as_object_mut) {
        let cpu = status.remove("currentCPUUtilizationPercentage");
        let mut all: Vec<Value> = list(current).iter().map(|it| metric(it, "current", modern)).collect();
        if let (Some(cpu), true) = (cpu, all.is_empty()) {
            all.push(json!({"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": cpu}}}));
        }
        if !all.is_empty() {
            status.insert("currentMetrics".into(), all.into());
        }
        status.extend(conditions.map(|it| ("conditions".to_owned(), it)));
    }
    object
}

/// From autoscaling/v2 to autoscaling/v1.
pub fn from_stored(mut object: Value) -> Value {
    object["apiVersion"] = "autoscaling/v1".into();
    let mut carried: Vec<(&str, Value)> = Vec::new();
    if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
        let mut metrics = list(spec.remove("metrics"));
        if let Some(at) = metrics.iter().position(|it| cpu_target(it).is_some()) {
            let target = cpu_target(&metrics.remove(at)).unwrap_or_default();
            spec.insert("targetCPUUtilizationPercentage".into(), target.into());
        }
        if !metrics.is_empty() {
            carried.push((METRICS, metrics.iter().map(|it| metric(it, "target", legacy)).collect()));
        }
        carried.extend(spec.remove("behavior").map(|it| (BEHAVIOR, it)));
    }
    if let Some(status) = object.get_mut("status").and_then(Value::as_object_mut) {
        let current = list(status.remove("currentMetrics"));
        let cpu = current.iter().find(|it| it["type"] == "Resource" && it["resource"]["name"] == "cpu");
        if let Some(used) = cpu.and_then(|it| it["resource"]["current"]["averageUtilization"].as_i64()) {
            status.insert("currentCPUUtilizationPercentage".into(), used.into());
        }
        if !current.is_empty() {
            carried.push((CURRENT_METRICS, current.iter().map(|it| metric(it, "current", legacy)).collect()));
        }
        carried.extend(status.remove("conditions").map(|it| (CONDITIONS, it)));
    }
    for (key, value) in carried {
        let annotations = meta::metadata(&mut object).entry("annotations").or_insert_with(|| json!({}));
        annotations[key] = value.to_string().into();
    }
    object
}

fn list(value: Option<Value>) -> Vec<Value> {
    match value {
        Some(Value::Array(items)) => items,
        _ => Vec::new(),
    }
}

/// The CPU utilisation a v2 metric aims at, if that is what it does.
fn cpu_target(metric: &Value) -> Option<i64> {
    let is_cpu = metric["type"] == "Resource" && metric["resource"]["name"] == "cpu";
    is_cpu.then(|| metric["resource"]["target"]["averageUtilization"].as_i64()).flatten()
}

/// Converts the source of one metric; `role` is `target` in a spec and `current` in a status.
fn metric(metric: &Value, role: &str, convert: fn(&str, &str, &Value) -> Value) -> Value {
    let kind = metric["type"].as_str().unwrap_or_default();
    let key = kind.get(..1).unwrap_or_default().to_ascii_lowercase() + kind.get(1..).unwrap_or_default();
    match metric.get(&key) {
        Some(source) => json!({"type": kind, (key): convert(kind, role, source)}),
        None => json!({"type": kind}),
    }
}

/// Name of the v1 field that holds `value` of a metric of this kind.
fn flat_name(kind: &str, role: &str, value: &str) -> String {
    match (kind, value) {
        ("Object", "averageValue") => "averageValue".to_owned(),
        _ => format!("{role}{}{}", value[..1].to_ascii_uppercase(), &value[1..]),
    }
}

const VALUES: [&str; 3] = ["averageUtilization", "averageValue", "value"];

/// One source from v2 to v1: values move out of `target`, the metric's name out of `metric`.
fn legacy(kind: &str, role: &str, source: &Value) -> Value {
    let mut flat = Map::new();
    for (key, value) in source.as_object().into_iter().flatten() {
        match key.as_str() {
            "metric" => {
                let selector = if kind == "External" { "metricSelector" } else { "selector" };
                flat.extend(value.get("name").map(|it| ("metricName".to_owned(), it.clone())));
                flat.extend(value.get("selector").map(|it| (selector.to_owned(), it.clone())));
            }
            "describedObject" => {
                flat.insert("target".into(), value.clone());
            }
            key if key == role => {
                for field in VALUES {
                    flat.extend(value.get(field).map(|it| (flat_name(kind, role, field), it.clone())));
                }
            }
            _ => {
                flat.insert(key.clone(), value.clone());
            }
        }
    }
    Value::Object(flat)
}

/// One source from v1 to v2.
fn modern(kind: &str, role: &str, source: &Value) -> Value {
    let mut source = source.as_object().cloned().unwrap_or_default();
    let mut values = Map::new();
    for field in VALUES {
        let found = source.remove(&flat_name(kind, role, field));
        values.extend(found.map(|it| (field.to_owned(), it)));
    }
    if role == "target" {
        let kind = match (values.contains_key("averageUtilization"), values.contains_key("averageValue")) {
            (true, _) => "Utilization",
            (false, true) => "AverageValue",
            (false, false) => "Value",
        };
        values.insert("type".into(), kind.into());
    }
    let selector = source.remove(if kind == "External" { "metricSelector" } else { "selector" });
    if let Some(name) = source.remove("metricName") {
        let mut metric = json!({"name": name});
        if let Some(selector) = selector {
            metric["selector"] = selector;
        }
        source.insert("metric".into(), metric);
    }
    if let ("Object", Some(target)) = (kind, source.remove("target")) {
        source.insert("describedObject".into(), target);
    }
    source.insert(role.to_owned(), Value::Object(values));
    Value::Object(source)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v2() -> Value {
        json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "a"},
            "spec": {"maxReplicas": 3, "behavior": {"scaleUp": {"selectPolicy": "Max"}}, "metrics": [
                {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}},
                {"type": "Resource", "resource": {"name": "memory", "target": {"type": "AverageValue", "averageValue": "1Gi"}}},
                {"type": "Pods", "pods": {"metric": {"name": "qps", "selector": {"matchLabels": {"a": "b"}}}, "target": {"type": "AverageValue", "averageValue": "10"}}},
                {"type": "Object", "object": {"describedObject": {"kind": "Service", "name": "s"}, "metric": {"name": "hits"}, "target": {"type": "Value", "value": "7"}}},
                {"type": "External", "external": {"metric": {"name": "queue", "selector": {}}, "target": {"type": "Value", "value": "5"}}}]},
            "status": {"currentReplicas": 2, "conditions": [{"type": "AbleToScale"}], "currentMetrics": [
                {"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 40, "averageValue": "20m"}}}]}})
    }

    #[test]
    fn nothing_is_lost_on_the_way() {
        let view = from_stored(v2());
        assert_eq!(view["spec"]["targetCPUUtilizationPercentage"], 50);
        assert_eq!(view["status"]["currentCPUUtilizationPercentage"], 40);
        let metrics: Value =
            serde_json::from_str(view["metadata"]["annotations"][METRICS].as_str().unwrap()).unwrap();
        assert_eq!(
            metrics[0],
            json!({"type": "Resource", "resource": {"name": "memory", "targetAverageValue": "1Gi"}})
        );
        assert_eq!(
            metrics[3],
            json!({"type": "External", "external": {"metricName": "queue", "metricSelector": {}, "targetValue": "5"}})
        );
        assert_eq!(to_stored(view), v2());
    }

    #[test]
    fn what_autoscale_sends() {
        let sent = json!({"apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "a"},
            "spec": {"maxReplicas": 10, "minReplicas": 2, "targetCPUUtilizationPercentage": 50}, "status": {"currentReplicas": 0}});
        let stored = to_stored(sent.clone());
        assert_eq!(stored["spec"]["metrics"], json!([v2()["spec"]["metrics"][0]]));
        assert_eq!(from_stored(stored), sent);
    }
}
