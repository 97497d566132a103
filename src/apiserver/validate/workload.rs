//! StatefulSets, their revisions, and the other kinds with a pod template.
//!
//! Sources: `pkg/apis/apps/validation/validation.go`, `pkg/apis/policy/validation`, `pkg/apis/autoscaling/validation`.

use super::{
    FieldError, NON_NEGATIVE, invalid_each, label_selector, list, metadata, names, non_negative, pod, text,
};
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

const PERCENT: &str = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')";

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
    let service = text(&spec["serviceName"]);
    if !service.is_empty() {
        invalid_each("spec.serviceName", service, names::dns_label(service), errors);
    }
    template_pod(&template_spec, errors);
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
            None => PERCENT,
            Some(0) => "cannot be 0",
            Some(1..=100) => return,
            Some(_) => "must not be greater than 100%",
        },
        _ => return,
    };
    errors.push(FieldError::invalid(field, value.clone(), complaint));
}

/// Selector present, not empty, and matching the template's labels.
///
/// Whether the template is worth looking at: with a selector that cannot be read only a `StatefulSet` goes on.
fn selector_and_template(spec: &Value, kind: &str, errors: &mut Vec<FieldError>) -> bool {
    let selector = &spec["selector"];
    let template = &spec["template"];
    let empty = |key: &str| match &selector[key] {
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => true,
    };
    label_selector(selector, "spec.selector", errors);
    let unreadable = if kind == "statefulset" { "" } else { "invalid label selector" };
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
        Err(_) => {
            errors.push(FieldError::invalid("spec.selector", selector.clone(), unreadable));
            return kind == "statefulset";
        }
        // An absent selector matches nothing, an empty one everything.
        Ok(parsed) if selector.is_null() || (!parsed.is_empty() && !parsed.matches(template)) => {
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
    true
}

/// The pod spec of a template.
fn template_pod(spec: &Value, errors: &mut Vec<FieldError>) {
    pod::spec(spec, "spec.template.spec", errors);
    if !list(&spec["ephemeralContainers"]).is_empty() {
        let detail = "ephemeral containers not allowed in pod template";
        errors.push(FieldError::forbidden("spec.template.spec.ephemeralContainers", detail));
    }
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
    match resource.kind {
        "DaemonSet" => daemon_set(spec, errors),
        "Deployment" => {
            template_of(resource, spec, errors);
            deployment_strategy(&spec["strategy"], errors);
            non_negative(&spec["minReadySeconds"], "spec.minReadySeconds", errors);
            non_negative(&spec["revisionHistoryLimit"], "spec.revisionHistoryLimit", errors);
        }
        _ => {
            non_negative(&spec["minReadySeconds"], "spec.minReadySeconds", errors);
            template_of(resource, spec, errors);
        }
    }
    if let Some(deadline) = spec["progressDeadlineSeconds"].as_i64() {
        non_negative(&spec["progressDeadlineSeconds"], "spec.progressDeadlineSeconds", errors);
        if deadline <= spec["minReadySeconds"].as_i64().unwrap_or(0) {
            let detail = "must be greater than minReadySeconds";
            errors.push(FieldError::invalid("spec.progressDeadlineSeconds", deadline, detail));
        }
    }
}

fn template_of(resource: &Resource, spec: &Value, errors: &mut Vec<FieldError>) {
    if !selector_and_template(spec, &resource.kind.to_lowercase(), errors) {
        return;
    }
    template_pod(&spec["template"]["spec"], errors);
    always_restarts(spec, errors);
    if !spec["template"]["spec"]["activeDeadlineSeconds"].is_null() {
        errors.push(FieldError::forbidden(
            "spec.template.spec.activeDeadlineSeconds",
            format!("activeDeadlineSeconds in {} is not Supported", resource.kind),
        ));
    }
}

/// A `DaemonSet` complains of an empty selector last, and of a missing one only by its template.
fn daemon_set(spec: &Value, errors: &mut Vec<FieldError>) {
    let (selector, template) = (&spec["selector"], &spec["template"]);
    label_selector(selector, "spec.selector", errors);
    let parsed = LabelSelector::from_json(selector);
    let labels = &template["metadata"]["labels"];
    if parsed.as_ref().is_ok_and(|it| selector.is_null() || !it.is_empty() && !it.matches(template)) {
        let detail = "`selector` does not match template `labels`";
        errors.push(FieldError::invalid("spec.template.metadata.labels", labels.clone(), detail));
    }
    if parsed.is_ok_and(|it| it.is_empty()) && !selector.is_null() {
        let detail = "empty selector is invalid for daemonset";
        errors.push(FieldError::invalid("spec.selector", selector.clone(), detail));
    }
    metadata::labels(labels, "spec.template.labels", errors);
    metadata::annotations(&template["metadata"]["annotations"], "spec.template.annotations", errors);
    template_pod(&template["spec"], errors);
    always_restarts(spec, errors);
    if !template["spec"]["activeDeadlineSeconds"].is_null() {
        let detail = "activeDeadlineSeconds in DaemonSet is not Supported";
        errors.push(FieldError::forbidden("spec.template.spec.activeDeadlineSeconds", detail));
    }
    non_negative(&spec["minReadySeconds"], "spec.minReadySeconds", errors);
    daemon_set_strategy(&spec["updateStrategy"], errors);
    non_negative(&spec["revisionHistoryLimit"], "spec.revisionHistoryLimit", errors);
}

/// A number, or a percentage of it.
fn int_or_percent(value: &Value, field: &str, errors: &mut Vec<FieldError>) {
    non_negative(value, field, errors);
    if let Value::String(text) = value
        && text.strip_suffix('%').is_none_or(|it| it.is_empty() || !it.bytes().all(|c| c.is_ascii_digit()))
    {
        errors.push(FieldError::invalid(field, text.as_str(), PERCENT));
    }
}

fn is_zero(value: &Value) -> bool {
    value.as_i64() == Some(0) || value.as_str().is_some_and(|it| it.trim_start_matches('0') == "%")
}

fn at_most_all(value: &Value, field: &str, errors: &mut Vec<FieldError>) {
    let percent = value.as_str().and_then(|it| it.strip_suffix('%')).and_then(|it| it.parse::<u64>().ok());
    if percent.is_some_and(|it| it > 100) {
        errors.push(FieldError::invalid(field, value.clone(), "must not be greater than 100%"));
    }
}

fn deployment_strategy(strategy: &Value, errors: &mut Vec<FieldError>) {
    let rolling = &strategy["rollingUpdate"];
    let field = "spec.strategy.rollingUpdate";
    match text(&strategy["type"]) {
        "Recreate" if rolling.is_object() => {
            let detail = "may not be specified when strategy `type` is 'Recreate'";
            errors.push(FieldError::forbidden(field, detail));
        }
        "Recreate" => {}
        "RollingUpdate" => {
            let unavailable = format!("{field}.maxUnavailable");
            int_or_percent(&rolling["maxUnavailable"], &unavailable, errors);
            int_or_percent(&rolling["maxSurge"], &format!("{field}.maxSurge"), errors);
            if is_zero(&rolling["maxUnavailable"]) && is_zero(&rolling["maxSurge"]) {
                let (value, detail) =
                    (rolling["maxUnavailable"].clone(), "may not be 0 when `maxSurge` is 0");
                errors.push(FieldError::invalid(unavailable.as_str(), value, detail));
            }
            at_most_all(&rolling["maxUnavailable"], &unavailable, errors);
        }
        other => {
            let known = ["Recreate", "RollingUpdate"];
            errors.push(FieldError::not_supported("spec.strategy", json!({"type": other}), &known));
        }
    }
}

fn daemon_set_strategy(strategy: &Value, errors: &mut Vec<FieldError>) {
    let rolling = &strategy["rollingUpdate"];
    let field = "spec.updateStrategy.rollingUpdate";
    match text(&strategy["type"]) {
        "RollingUpdate" => {}
        "OnDelete" => return,
        _ => {
            let known = ["RollingUpdate", "OnDelete"];
            errors.push(FieldError::not_supported("spec.updateStrategy", strategy.clone(), &known));
            return;
        }
    }
    let surge = format!("{field}.maxSurge");
    int_or_percent(&rolling["maxUnavailable"], &format!("{field}.maxUnavailable"), errors);
    int_or_percent(&rolling["maxSurge"], &surge, errors);
    match (is_zero(&rolling["maxUnavailable"]), is_zero(&rolling["maxSurge"])) {
        (true, true) => errors
            .push(FieldError::required(format!("{field}.maxUnavailable"), "cannot be 0 when maxSurge is 0")),
        (false, false) if !rolling["maxSurge"].is_null() => errors.push(FieldError::invalid(
            surge,
            rolling["maxSurge"].clone(),
            "may not be set when maxUnavailable is non-zero",
        )),
        _ => {}
    }
}

/// `ValidateReplicationController`: its selector is a plain map.
pub fn replication_controller(object: &Value, errors: &mut Vec<FieldError>) {
    let spec = &object["spec"];
    non_negative(&spec["minReadySeconds"], "spec.minReadySeconds", errors);
    let selector = spec["selector"].as_object().filter(|it| !it.is_empty());
    if selector.is_none() {
        errors.push(FieldError::required("spec.selector", ""));
    }
    non_negative(&spec["replicas"], "spec.replicas", errors);
    let template = &spec["template"];
    if template.is_null() {
        errors.push(FieldError::required("spec.template", ""));
        return;
    }
    let labels = &template["metadata"]["labels"];
    let matches = selector.into_iter().flatten().all(|(key, value)| labels.get(key) == Some(value));
    if !matches {
        let detail = "`selector` does not match template `labels`";
        errors.push(FieldError::invalid("spec.template.metadata.labels", labels.clone(), detail));
    }
    metadata::labels(labels, "spec.template.labels", errors);
    template_pod(&template["spec"], errors);
    always_restarts(spec, errors);
}

/// `ValidatePodDisruptionBudget`: not both limits.
pub fn disruption_budget(object: &Value, errors: &mut Vec<FieldError>) {
    let spec = &object["spec"];
    if !spec["minAvailable"].is_null() && !spec["maxUnavailable"].is_null() {
        let detail = "minAvailable and maxUnavailable cannot be both set";
        errors.push(FieldError::invalid("spec", spec.clone(), detail));
    }
    for key in ["minAvailable", "maxUnavailable"] {
        let field = format!("spec.{key}");
        int_or_percent(&spec[key], &field, errors);
        at_most_all(&spec[key], &field, errors);
    }
    label_selector(&spec["selector"], "spec.selector", errors);
    let policy = &spec["unhealthyPodEvictionPolicy"];
    let known = ["AlwaysAllow", "IfHealthyBudget"];
    if !policy.is_null() && !known.contains(&text(policy)) {
        errors.push(FieldError::not_supported("spec.unhealthyPodEvictionPolicy", policy.clone(), &known));
    }
}
