//! StatefulSets, their revisions, and the other kinds with a pod template.
//!
//! Sources: `pkg/apis/apps/validation/validation.go`, `pkg/apis/policy/validation`, `pkg/apis/autoscaling/validation`.

use super::{FieldError, NON_NEGATIVE, list, metadata, non_negative, one_of, pod, required, text};
use crate::apiserver::resources::Resource;
use crate::apiserver::selector::LabelSelector;
use serde_json::{Value, json};
use std::collections::BTreeSet;

const UPDATE: &str = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden";
const MUTABLE: [&str; 7] = [
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
];

/// `ValidateStatefulSet`.
pub fn stateful_set(object: &Value, errors: &mut Vec<FieldError>) {
    let spec = &object["spec"];
    match text(&spec["podManagementPolicy"]) {
        "" => errors.push(FieldError::required("spec.podManagementPolicy", "")),
        "OrderedReady" | "Parallel" => {}
        other => errors.push(FieldError::invalid(
            "spec.podManagementPolicy",
            other,
            "must be 'OrderedReady' or 'Parallel'",
        )),
    }
    update_strategy(&spec["updateStrategy"], errors);
    for key in ["whenDeleted", "whenScaled"] {
        let field = format!("spec.persistentVolumeClaimRetentionPolicy.{key}");
        let value = &spec["persistentVolumeClaimRetentionPolicy"][key];
        if !value.is_null() && !matches!(text(value), "Retain" | "Delete") {
            errors.push(FieldError::not_supported(field, value.clone(), &["Retain", "Delete"]));
        }
    }
    non_negative(&spec["replicas"], "spec.replicas", errors);
    non_negative(&spec["minReadySeconds"], "spec.minReadySeconds", errors);
    non_negative(&spec["ordinals"]["start"], "spec.ordinals.start", errors);
    selector_and_template(spec, "statefulset", errors);
    // A mount may name a claim template: the volume is added to each Pod.
    let mut template_spec = spec["template"]["spec"].clone();
    let claims: Vec<Value> = list(&spec["volumeClaimTemplates"])
        .iter()
        .map(|it| json!({"name": it["metadata"]["name"], "emptyDir": {}}))
        .collect();
    let names: BTreeSet<&str> = claims.iter().map(|it| text(&it["name"])).collect();
    let mut volumes: Vec<Value> = list(&template_spec["volumes"]).to_vec();
    volumes.retain(|it| !names.contains(text(&it["name"])));
    volumes.extend(claims.iter().filter(|it| !text(&it["name"]).is_empty()).cloned());
    if template_spec.is_object() {
        template_spec["volumes"] = volumes.into();
    }
    pod::spec(&template_spec, "spec.template.spec", errors);
    always_restarts(spec, errors);
    if !spec["template"]["spec"]["activeDeadlineSeconds"].is_null() {
        errors.push(FieldError::forbidden(
            "spec.template.spec.activeDeadlineSeconds",
            "activeDeadlineSeconds in StatefulSet is not Supported",
        ));
    }
}

fn update_strategy(strategy: &Value, errors: &mut Vec<FieldError>) {
    let rolling = &strategy["rollingUpdate"];
    let field = "spec.updateStrategy.rollingUpdate";
    match text(&strategy["type"]) {
        "" => errors.push(FieldError::required("spec.updateStrategy", "")),
        "OnDelete" if !rolling.is_null() => errors.push(FieldError::invalid(
            field,
            rolling.clone(),
            "only allowed for updateStrategy 'RollingUpdate'",
        )),
        "OnDelete" => {}
        "RollingUpdate" => {
            non_negative(&rolling["partition"], format!("{field}.partition"), errors);
            max_unavailable(&rolling["maxUnavailable"], &format!("{field}.maxUnavailable"), errors);
        }
        _ => errors.push(FieldError::invalid(
            "spec.updateStrategy",
            strategy.clone(),
            "must be 'RollingUpdate' or 'OnDelete'",
        )),
    }
}

fn max_unavailable(value: &Value, field: &str, errors: &mut Vec<FieldError>) {
    let complaint = match value {
        Value::Number(number) => match number.as_i64().unwrap_or_default() {
            ..=-1 => NON_NEGATIVE,
            0 => "cannot be 0",
            _ => return,
        },
        Value::String(text) => match text.strip_suffix('%').and_then(|it| it.parse::<u32>().ok()) {
            None => {
                "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')"
            }
            Some(0) => "cannot be 0",
            Some(1..=100) => return,
            Some(_) => "must not be greater than 100%",
        },
        _ => return,
    };
    errors.push(FieldError::invalid(field, value.clone(), complaint));
}

/// Selector present, not empty, and matching the template's labels.
fn selector_and_template(spec: &Value, kind: &str, errors: &mut Vec<FieldError>) {
    let selector = &spec["selector"];
    let template = &spec["template"];
    let empty = |key: &str| match &selector[key] {
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => true,
    };
    if selector.is_null() {
        errors.push(FieldError::required("spec.selector", ""));
    } else if empty("matchLabels") && empty("matchExpressions") {
        errors.push(FieldError::invalid(
            "spec.selector",
            selector.clone(),
            format!("empty selector is invalid for {kind}"),
        ));
    }
    match LabelSelector::from_json(selector) {
        Err(error) => errors.push(FieldError::invalid("spec.selector", selector.clone(), error)),
        Ok(parsed) if !parsed.is_empty() && !selector.is_null() && !parsed.matches(template) => {
            errors.push(FieldError::invalid(
                "spec.template.metadata.labels",
                template["metadata"]["labels"].clone(),
                "`selector` does not match template `labels`",
            ));
        }
        Ok(_) => {}
    }
    metadata::labels(&template["metadata"]["labels"], "spec.template.labels", errors);
    metadata::annotations(&template["metadata"]["annotations"], "spec.template.annotations", errors);
}

fn always_restarts(spec: &Value, errors: &mut Vec<FieldError>) {
    let policy = &spec["template"]["spec"]["restartPolicy"];
    if matches!(text(policy), "Never" | "OnFailure") {
        let field = "spec.template.spec.restartPolicy";
        errors.push(FieldError::not_supported(field, policy.clone(), &["Always"]));
    }
}

/// Everything but [`MUTABLE`] has to stay.
pub fn update_stateful_set(old: &Value, new: &Value, errors: &mut Vec<FieldError>) {
    let mut allowed = new["spec"].clone();
    for key in MUTABLE {
        pod::restore(&mut allowed, &old["spec"], key);
    }
    if allowed != old["spec"] {
        errors.push(FieldError::forbidden("spec", UPDATE));
    }
}

/// Counters are consistent, and the collision count never falls.
pub fn stateful_set_status(old: &Value, new: &Value, errors: &mut Vec<FieldError>) {
    let status = &new["status"];
    let counters = ["replicas", "readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas"];
    for key in counters.iter().chain(&["observedGeneration", "collisionCount"]) {
        non_negative(&status[*key], format!("status.{key}"), errors);
    }
    let number = |key: &str| status[key].as_i64().unwrap_or_default();
    for key in &counters[1..] {
        if number(key) > number("replicas") {
            errors.push(FieldError::invalid(
                format!("status.{key}"),
                number(key),
                "cannot be greater than status.replicas",
            ));
        }
    }
    if number("availableReplicas") > number("readyReplicas") {
        errors.push(FieldError::invalid(
            "status.availableReplicas",
            number("availableReplicas"),
            "cannot be greater than status.readyReplicas",
        ));
    }
    let before = old["status"]["collisionCount"].as_i64();
    if before.is_some_and(|it| number("collisionCount") < it) {
        let value = number("collisionCount");
        errors.push(FieldError::invalid("status.collisionCount", value, "cannot be decremented"));
    }
}

/// `ValidateControllerRevision`.
pub fn controller_revision(object: &Value, errors: &mut Vec<FieldError>) {
    if object["data"].is_null() {
        errors.push(FieldError::required("data", "data is mandatory"));
    }
    non_negative(&object["revision"], "revision", errors);
}

/// Deployments, `ReplicaSets` and `DaemonSets`.
pub fn other(resource: &Resource, object: &Value, errors: &mut Vec<FieldError>) {
    let spec = &object["spec"];
    non_negative(&spec["replicas"], "spec.replicas", errors);
    non_negative(&spec["minReadySeconds"], "spec.minReadySeconds", errors);
    non_negative(&spec["revisionHistoryLimit"], "spec.revisionHistoryLimit", errors);
    let kind =
        if resource.kind == "DaemonSet" { "daemonset".to_owned() } else { resource.kind.to_lowercase() };
    selector_and_template(spec, &kind, errors);
    pod::spec(&spec["template"]["spec"], "spec.template.spec", errors);
    always_restarts(spec, errors);
    if resource.kind == "Deployment" {
        one_of(&spec["strategy"]["type"], "spec.strategy.type", &["Recreate", "RollingUpdate"], errors);
        if spec["strategy"]["type"] == "Recreate" && spec["strategy"]["rollingUpdate"].is_object() {
            errors.push(FieldError::forbidden(
                "spec.strategy.rollingUpdate",
                "may not be specified when strategy `type` is 'Recreate'",
            ));
        }
    }
}

/// `maxReplicas` ≥ `minReplicas` ≥ 1 and a target.
pub fn autoscaler(object: &Value, errors: &mut Vec<FieldError>) {
    let spec = &object["spec"];
    let (min, max) = (spec["minReplicas"].as_i64().unwrap_or(1), spec["maxReplicas"].as_i64().unwrap_or(0));
    if min < 1 {
        errors.push(FieldError::invalid("spec.minReplicas", min, "must be greater than or equal to 1"));
    }
    if max < 1 {
        errors.push(FieldError::invalid("spec.maxReplicas", max, "must be greater than 0"));
    }
    if max < min {
        let detail = "must be greater than or equal to `minReplicas`";
        errors.push(FieldError::invalid("spec.maxReplicas", max, detail));
    }
    required(&spec["scaleTargetRef"], "kind", "spec.scaleTargetRef.kind", errors);
    required(&spec["scaleTargetRef"], "name", "spec.scaleTargetRef.name", errors);
}

/// Not both limits.
pub fn disruption_budget(object: &Value, errors: &mut Vec<FieldError>) {
    let spec = &object["spec"];
    if !spec["minAvailable"].is_null() && !spec["maxUnavailable"].is_null() {
        let detail = "minAvailable and maxUnavailable cannot be both set";
        errors.push(FieldError::invalid("spec", spec.clone(), detail));
    }
    non_negative(&spec["minAvailable"], "spec.minAvailable", errors);
    non_negative(&spec["maxUnavailable"], "spec.maxUnavailable", errors);
}
