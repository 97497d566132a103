//! Writes of the status subresource: counters make sense together, addresses are some.
//!
//! Source: the `Validate…StatusUpdate` functions of `pkg/apis/{apps,core,autoscaling}/validation`.

use super::{
    FieldError, batch, invalid_each, ip, list, names, networking, node, non_negative, service, text,
};
use crate::apiserver::quantity::Quantity;
use crate::apiserver::resources::Resource;
use serde_json::Value;

const TOO_MANY: &str = "cannot be greater than status.replicas";

/// Checks the status of `new`, which replaces `old`.
pub fn check(resource: &Resource, old: &Value, new: &Value, errors: &mut Vec<FieldError>) {
    // Counters besides `replicas`, each of which is part of it.
    let parts: &[&str] = match (resource.group, resource.kind) {
        ("apps", "StatefulSet") => {
            &["readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas"]
        }
        ("apps", "Deployment") => &["updatedReplicas", "readyReplicas", "availableReplicas"],
        ("apps", "ReplicaSet") | ("", "ReplicationController") => {
            &["fullyLabeledReplicas", "readyReplicas", "availableReplicas"]
        }
        ("autoscaling", _) => {
            for key in ["currentReplicas", "desiredReplicas"] {
                non_negative(&new["status"][key], format!("status.{key}"), errors);
            }
            return;
        }
        ("apps", "DaemonSet") => {
            daemon_set(new, errors);
            return;
        }
        ("policy", "PodDisruptionBudget") => {
            for key in ["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"] {
                non_negative(&new["status"][key], format!("status.{key}"), errors);
            }
            return;
        }
        ("batch", "Job") => return batch::job_status(old, new, errors),
        ("", "Service") => return service::status(new, errors),
        ("", "Pod") => return pod(old, new, errors),
        ("", "PersistentVolumeClaim") => return claim(new, errors),
        ("", "Node") => return node::status(old, new, errors),
        ("", "Namespace") => return namespace(new, errors),
        ("networking.k8s.io", "Ingress") => return networking::ingress_status(new, errors),
        _ => return,
    };
    let status = &new["status"];
    non_negative(&status["replicas"], "status.replicas", errors);
    for key in parts {
        non_negative(&status[*key], format!("status.{key}"), errors);
    }
    for key in ["unavailableReplicas", "terminatingReplicas", "observedGeneration", "collisionCount"] {
        non_negative(&status[key], format!("status.{key}"), errors);
    }
    let number = |key: &str| status[key].as_i64().unwrap_or_default();
    for key in parts.iter().filter(|it| number(it) > number("replicas")) {
        errors.push(FieldError::invalid(format!("status.{key}"), number(key), TOO_MANY));
    }
    if number("availableReplicas") > number("readyReplicas") {
        let detail = match resource.kind {
            "StatefulSet" => "cannot be greater than status.readyReplicas",
            _ => "cannot be greater than readyReplicas",
        };
        errors.push(FieldError::invalid("status.availableReplicas", number("availableReplicas"), detail));
    }
    let before = old["status"]["collisionCount"].as_i64();
    if before.is_some_and(|it| number("collisionCount") < it) {
        let value = number("collisionCount");
        errors.push(FieldError::invalid("status.collisionCount", value, "cannot be decremented"));
    }
}

fn daemon_set(new: &Value, errors: &mut Vec<FieldError>) {
    for key in [
        "currentNumberScheduled",
        "numberMisscheduled",
        "desiredNumberScheduled",
        "numberReady",
        "observedGeneration",
        "updatedNumberScheduled",
        "numberAvailable",
        "numberUnavailable",
    ] {
        non_negative(&new["status"][key], format!("status.{key}"), errors);
    }
}

/// Addresses, one of each family; conditions; the node a pod is to go to.
fn pod(old: &Value, new: &Value, errors: &mut Vec<FieldError>) {
    let status = &new["status"];
    for (index, condition) in list(&status["conditions"]).iter().enumerate() {
        let kind = text(&condition["type"]);
        if !matches!(kind, "PodScheduled" | "Ready" | "Initialized") {
            // The case of the first letter is upstream's.
            invalid_each(
                &format!("status.conditions[{index}].Type"),
                kind,
                names::qualified_name(kind),
                errors,
            );
        }
    }
    let nominated = text(&status["nominatedNodeName"]);
    if !nominated.is_empty() && old["status"]["nominatedNodeName"] != status["nominatedNodeName"] {
        let field = "status.nominatedNodeName";
        invalid_each(field, nominated, names::dns_subdomain(nominated), errors);
        if !text(&new["spec"]["nodeName"]).is_empty() {
            let detail = "may not be set on pods that are already bound to a node";
            errors.push(FieldError::forbidden(field, detail));
        }
    }
    let addresses = list(&status["podIPs"]);
    for (index, address) in addresses.iter().enumerate() {
        ip(&address["ip"], &format!("status.podIPs[{index}]"), errors);
    }
    let of_six = |it: &Value| text(&it["ip"]).contains(':');
    if addresses.len() > 2 || matches!(addresses, [one, other] if of_six(one) == of_six(other)) {
        let value: Vec<Value> = addresses.iter().map(|it| serde_json::json!({"IP": it["ip"]})).collect();
        let detail = "may specify no more than one IP for each IP family";
        errors.push(FieldError::invalid("status.podIPs", value, detail));
    }
}

fn claim(new: &Value, errors: &mut Vec<FieldError>) {
    for (name, amount) in new["status"]["capacity"].as_object().into_iter().flatten() {
        if Quantity::from_json(amount).is_none_or(|it| it.is_negative()) {
            let detail = "must be a valid resource quantity";
            let value = Quantity::from_json(amount).map_or(amount.clone(), |it| (it.milli() / 1000).into());
            errors.push(FieldError::invalid(format!("status.capacity[{name}]"), value, detail));
        }
    }
}

/// The phase tells whether a namespace is on its way out.
fn namespace(new: &Value, errors: &mut Vec<FieldError>) {
    let phase = text(&new["status"]["phase"]);
    let detail = match (new["metadata"]["deletionTimestamp"].is_null(), phase) {
        (true, "Active") | (false, "Terminating") => return,
        (true, _) => "may only be 'Active' if `deletionTimestamp` is empty",
        (false, _) => "may only be 'Terminating' if `deletionTimestamp` is not empty",
    };
    // The case of the letter is upstream's.
    errors.push(FieldError::invalid("status.Phase", phase, detail));
}
