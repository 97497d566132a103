//! Autoscalers. Source: `pkg/apis/autoscaling/validation/validation.go`.

use super::{FieldError, invalid_each, list, metadata, one_of, required, text};
use crate::apiserver::quantity::Quantity;
use serde_json::Value;

/// (type, member) of the metric sources.
const SOURCES: [(&str, &str); 5] = [
    ("ContainerResource", "containerResource"),
    ("External", "external"),
    ("Object", "object"),
    ("Pods", "pods"),
    ("Resource", "resource"),
];

/// `maxReplicas` ≥ `minReplicas` ≥ 1, a target, and metrics that say what they aim at.
pub fn autoscaler(object: &Value, errors: &mut Vec<FieldError>) {
    let spec = &object["spec"];
    let (min, max) = (spec["minReplicas"].as_i64().unwrap_or(1), spec["maxReplicas"].as_i64().unwrap_or(0));
    if min < 1 {
        errors.push(FieldError::invalid("spec.minReplicas", min, "must be greater than or equal to 1"));
    }
    if max < 1 {
        errors.push(FieldError::required("spec.maxReplicas", "must be set and greater than 0"));
    }
    if max < min {
        let detail = "must be greater than or equal to `minReplicas`";
        errors.push(FieldError::invalid("spec.maxReplicas", max, detail));
    }
    for key in ["kind", "name"] {
        let field = format!("spec.scaleTargetRef.{key}");
        match text(&spec["scaleTargetRef"][key]) {
            "" => errors.push(FieldError::required(field, "")),
            it => invalid_each(&field, it, metadata::path_segment(it), errors),
        }
    }
    let version = text(&spec["scaleTargetRef"]["apiVersion"]);
    if version.is_empty() {
        let detail = "apiVersion must specify API group";
        errors.push(FieldError::invalid("spec.scaleTargetRef.apiVersion", version, detail));
    }
    for (index, metric) in list(&spec["metrics"]).iter().enumerate() {
        metric_spec(metric, &format!("spec.metrics[{index}]"), errors);
    }
    let from_outside = |it: &Value| matches!(text(&it["type"]), "Object" | "External");
    if min == 0 && !list(&spec["metrics"]).iter().any(from_outside) {
        let detail =
            "must specify at least one Object or External metric to support scaling to zero replicas";
        errors.push(FieldError::forbidden("spec.metrics", detail));
    }
    for direction in ["scaleUp", "scaleDown"] {
        let rules = &spec["behavior"][direction];
        if rules.is_object() {
            scaling_rules(rules, &format!("spec.behavior.{direction}"), errors);
        }
    }
}

fn metric_spec(metric: &Value, field: &str, errors: &mut Vec<FieldError>) {
    let kind = text(&metric["type"]);
    if kind.is_empty() {
        errors.push(FieldError::required(format!("{field}.type"), "must specify a metric source type"));
    }
    let Some((_, expected)) = SOURCES.iter().find(|it| it.0 == kind) else {
        let known = SOURCES.map(|it| it.0);
        errors.push(FieldError::not_supported(format!("{field}.type"), kind, &known));
        return;
    };
    for (_, member) in SOURCES.iter().filter(|it| it.1 != *expected && metric[it.1].is_object()) {
        let detail = "must populate the given metric source only";
        errors.push(FieldError::forbidden(format!("{field}.{member}"), detail));
    }
    let source = &metric[*expected];
    let field = format!("{field}.{expected}");
    if !source.is_object() {
        errors.push(FieldError::required(field, "must populate information for the given metric source"));
        return;
    }
    match kind {
        "Resource" | "ContainerResource" => {
            if text(&source["name"]).is_empty() {
                errors.push(FieldError::required(format!("{field}.name"), "must specify a resource name"));
            }
            if kind == "ContainerResource" && text(&source["container"]).is_empty() {
                errors.push(FieldError::required(format!("{field}.container"), "must specify a container"));
            }
        }
        _ => {
            let name = format!("{field}.metric.name");
            if text(&source["metric"]["name"]).is_empty() {
                errors.push(FieldError::required(name, "must specify a metric name"));
            }
        }
    }
    if kind == "Object" {
        for key in ["kind", "name"] {
            let field = format!("{field}.describedObject.{key}");
            required(&source["describedObject"], key, field, errors);
        }
    }
    target(kind, &source["target"], &format!("{field}.target"), errors);
}

fn target(kind: &str, target: &Value, field: &str, errors: &mut Vec<FieldError>) {
    let of = |key: &str| &target[key];
    match text(of("type")) {
        "" => errors.push(FieldError::required(format!("{field}.type"), "must specify a metric target type")),
        "Utilization" | "Value" | "AverageValue" => {}
        other => errors.push(FieldError::invalid(
            format!("{field}.type"),
            other,
            "must be either Utilization, Value, or AverageValue",
        )),
    }
    for key in ["value", "averageValue"] {
        let size = Quantity::from_json(of(key));
        if !of(key).is_null() && size.is_none_or(|it| it.is_negative() || it.is_zero()) {
            errors.push(FieldError::invalid(format!("{field}.{key}"), of(key).clone(), "must be positive"));
        }
    }
    if of("averageUtilization").as_i64().is_some_and(|it| it < 1) {
        let value = of("averageUtilization").clone();
        errors.push(FieldError::invalid(
            format!("{field}.averageUtilization"),
            value,
            "must be greater than 0",
        ));
    }
    let set = |key: &str| !of(key).is_null();
    match kind {
        "Resource" | "ContainerResource" => {
            let (average, utilization) = (set("averageValue"), set("averageUtilization"));
            if average && utilization {
                errors.push(FieldError::forbidden(
                    format!("{field}.averageValue"),
                    "may not set both a target raw value and a target utilization",
                ));
            } else if !average && !utilization {
                errors.push(FieldError::required(
                    format!("{field}.averageUtilization"),
                    "must set either a target raw value or a target utilization",
                ));
            }
        }
        "Pods" if !set("averageValue") => errors.push(FieldError::required(
            format!("{field}.averageValue"),
            "must specify a positive target averageValue",
        )),
        "Object" | "External" if !set("averageValue") && !set("value") => {
            errors.push(FieldError::required(
                format!("{field}.averageValue"),
                "must set either a target value or averageValue",
            ));
        }
        _ => {}
    }
}

fn scaling_rules(rules: &Value, field: &str, errors: &mut Vec<FieldError>) {
    /// Seconds.
    const LONGEST_WINDOW: i64 = 3_600;
    /// Seconds.
    const LONGEST_PERIOD: i64 = 1_800;
    let window = format!("{field}.stabilizationWindowSeconds");
    if rules["stabilizationWindowSeconds"].as_i64().is_some_and(|it| it < 0) {
        let detail = "must be greater than or equal to zero";
        errors.push(FieldError::invalid(
            window.as_str(),
            rules["stabilizationWindowSeconds"].clone(),
            detail,
        ));
    }
    if rules["stabilizationWindowSeconds"].as_i64().is_some_and(|it| it > LONGEST_WINDOW) {
        let detail = format!("must be less than or equal to {LONGEST_WINDOW}");
        errors.push(FieldError::invalid(window, rules["stabilizationWindowSeconds"].clone(), detail));
    }
    if !rules["selectPolicy"].is_null() {
        let known = ["Disabled", "Max", "Min"];
        one_of(&rules["selectPolicy"], &format!("{field}.selectPolicy"), &known, errors);
    }
    let policies = list(&rules["policies"]);
    if policies.is_empty() {
        errors.push(FieldError::required(format!("{field}.policies"), "must specify at least one Policy"));
    }
    for (index, policy) in policies.iter().enumerate() {
        let field = format!("{field}.policies[{index}]");
        one_of(&policy["type"], &format!("{field}.type"), &["Percent", "Pods"], errors);
        for key in ["value", "periodSeconds"] {
            let value = policy[key].as_i64().unwrap_or(0);
            if value <= 0 {
                let detail = "must be greater than zero";
                errors.push(FieldError::invalid(format!("{field}.{key}"), value, detail));
            }
        }
        if policy["periodSeconds"].as_i64().is_some_and(|it| it > LONGEST_PERIOD) {
            let detail = format!("must be less than or equal to {LONGEST_PERIOD}");
            let value = policy["periodSeconds"].clone();
            errors.push(FieldError::invalid(format!("{field}.periodSeconds"), value, detail));
        }
    }
}
