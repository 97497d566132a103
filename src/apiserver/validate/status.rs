//! Writes of the status subresource: counters make sense together.
//!
//! Source: the `Validate…StatusUpdate` functions of `pkg/apis/{apps,core,autoscaling}/validation`.

use super::{FieldError, non_negative};
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
        _ => return,
    };
    let status = &new["status"];
    non_negative(&status["replicas"], "status.replicas", errors);
    for key in parts {
        non_negative(&status[*key], format!("status.{key}"), errors);
    }
    for key in ["terminatingReplicas", "observedGeneration", "collisionCount"] {
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
