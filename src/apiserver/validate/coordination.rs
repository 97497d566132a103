//! Leases and Events. Source: `ValidateLeaseSpec`; `ValidateEventCreate`, `ValidateEventUpdate` of `events.go`.

use super::{FieldError, IMMUTABLE, invalid_each, names, non_negative, text};
use serde_json::Value;

pub fn lease(object: &Value, errors: &mut Vec<FieldError>) {
    let spec = &object["spec"];
    let seconds = &spec["leaseDurationSeconds"];
    if seconds.as_i64().is_some_and(|it| it <= 0) {
        errors.push(FieldError::invalid(
            "spec.leaseDurationSeconds",
            seconds.clone(),
            "must be greater than 0",
        ));
    }
    non_negative(&spec["leaseTransitions"], "spec.leaseTransitions", errors);
}

/// Longest reason and action, in bytes.
const LONGEST_REASON: usize = 128;
/// Longest note, in bytes.
const LONGEST_NOTE: usize = 1024;

/// Fields that an event of the new kind keeps, under their stored and their shown names.
const KEPT: [&str; 9] = [
    "involvedObject",
    "reason",
    "message",
    "eventTime",
    "reportingComponent",
    "reportingInstance",
    "action",
    "related",
    "type",
];

/// An event in the shape of v1; `is_new` if it came in by events.k8s.io/v1.
pub fn event(event: &Value, is_new: bool, errors: &mut Vec<FieldError>) {
    timeless_or_whole(event, errors);
    if !is_new {
        return;
    }
    series(event, errors);
    if event["eventTime"].is_null() {
        errors.push(FieldError::required("eventTime", ""));
    }
    let kind = text(&event["type"]);
    if !matches!(kind, "Normal" | "Warning") {
        errors.push(FieldError::invalid("type", "", format!("has invalid value: {kind}")));
    }
    for key in ["firstTimestamp", "lastTimestamp", "count"].into_iter().filter(|it| !event[*it].is_null()) {
        errors.push(FieldError::invalid(key, "", "needs to be unset"));
    }
}

/// Events of the old kind have no time of their own, those of the new kind say who reports what.
fn timeless_or_whole(event: &Value, errors: &mut Vec<FieldError>) {
    let (own, about) = (text(&event["metadata"]["namespace"]), text(&event["involvedObject"]["namespace"]));
    let is_new = !event["eventTime"].is_null();
    let fits = match about {
        "" => own == "default" || is_new && own == "kube-system",
        about => is_new || about == own,
    };
    if !fits {
        let detail = "does not match event.namespace";
        errors.push(FieldError::invalid("involvedObject.namespace", about, detail));
    }
    if !is_new {
        return;
    }
    let controller = text(&event["reportingComponent"]);
    if controller.is_empty() {
        errors.push(FieldError::required("reportingComponent", ""));
    }
    invalid_each("reportingComponent", controller, names::qualified_name(controller), errors);
    for key in ["reportingInstance", "action", "reason"] {
        let length = text(&event[key]).len();
        if length == 0 {
            errors.push(FieldError::required(key, ""));
        } else if length > LONGEST_REASON {
            let detail = format!("can have at most {LONGEST_REASON} characters");
            errors.push(FieldError::invalid(key, "", detail));
        }
    }
    if text(&event["message"]).len() > LONGEST_NOTE {
        let detail = format!("can have at most {LONGEST_NOTE} characters");
        errors.push(FieldError::invalid("message", "", detail));
    }
}

fn series(event: &Value, errors: &mut Vec<FieldError>) {
    let series = &event["series"];
    if !series.is_object() {
        return;
    }
    if series["count"].as_i64().unwrap_or(0) < 2 {
        errors.push(FieldError::invalid("series.count", "", "should be at least 2"));
    }
    if series["lastObservedTime"].is_null() {
        errors.push(FieldError::required("series.lastObservedTime", ""));
    }
}

/// Of an event of the new kind only the series grows.
pub fn update_event(old: &Value, new: &Value, is_new: bool, errors: &mut Vec<FieldError>) {
    timeless_or_whole(new, errors);
    if !is_new {
        return;
    }
    if old["series"] != new["series"] {
        series(new, errors);
    }
    for key in KEPT.iter().filter(|it| old[**it] != new[**it]) {
        errors.push(FieldError::invalid(*key, new[*key].clone(), IMMUTABLE));
    }
}
