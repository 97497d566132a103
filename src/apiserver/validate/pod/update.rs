//! What of a Pod may change once it is made. Source: `ValidatePodUpdate`.

use super::{FieldError, list, text, whole};
use crate::apiserver::defaults::qos_class;
use serde_json::Value;

const UPDATE: &str = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// Only images, the deadline, more tolerations and fewer scheduling gates may change.
pub fn update(old: &Value, new: &Value, errors: &mut Vec<FieldError>) {
    if old["spec"] == new["spec"] {
        return;
    }
    // Here ephemeral containers are as they were, or come by their own subresource.
    whole(new, errors);
    let (old, new) = (&old["spec"], &new["spec"]);
    for list_name in ["containers", "initContainers"] {
        if list(&old[list_name]).len() != list(&new[list_name]).len() {
            let detail = "pod updates may not add or remove containers";
            errors.push(FieldError::forbidden(format!("spec.{list_name}"), detail));
            return;
        }
    }
    if !deadline(old, new, errors) {
        return;
    }
    tolerations(old, new, errors);
    let known = |name: &Value| list(&old["schedulingGates"]).iter().any(|it| it["name"] == *name);
    for (index, gate) in list(&new["schedulingGates"]).iter().enumerate().filter(|it| !known(&it.1["name"])) {
        let name = text(&gate["name"]);
        let detail = format!("only deletion is allowed, but found new scheduling gate '{name}'");
        errors.push(FieldError::forbidden(format!("spec.schedulingGates[{index}].name"), detail));
    }
    let mut allowed = new.clone();
    for key in ["activeDeadlineSeconds", "tolerations", "schedulingGates"] {
        restore(&mut allowed, old, key);
    }
    if old["terminationGracePeriodSeconds"].as_i64().is_some_and(|it| it < 0)
        && new["terminationGracePeriodSeconds"] == 1
    {
        restore(&mut allowed, old, "terminationGracePeriodSeconds");
    }
    if !list(&old["schedulingGates"]).is_empty() {
        node_choice(&mut allowed, old, errors);
    }
    for list_name in ["containers", "initContainers"] {
        let before = list(&old[list_name]).to_vec();
        let after = allowed.get_mut(list_name).and_then(Value::as_array_mut).into_iter().flatten();
        for (one, before) in after.zip(&before) {
            restore(one, before, "image");
        }
    }
    if allowed != *old {
        errors.push(FieldError::forbidden("spec", UPDATE));
    }
}

/// A pod that waits at a gate may get a narrower choice of nodes.
fn node_choice(allowed: &mut Value, old: &Value, errors: &mut Vec<FieldError>) {
    let kept = old["nodeSelector"]
        .as_object()
        .into_iter()
        .flatten()
        .all(|(key, value)| allowed["nodeSelector"].get(key) == Some(value));
    if kept {
        restore(allowed, old, "nodeSelector");
    } else {
        let value = allowed["nodeSelector"].clone();
        let detail = "only additions to spec.nodeSelector are allowed (no mutations or deletions)";
        errors.push(FieldError::invalid("spec.nodeSelector", value, detail));
    }
}

/// Set once, then only lowered; false if it is not worth going on.
fn deadline(old: &Value, new: &Value, errors: &mut Vec<FieldError>) -> bool {
    let field = "spec.activeDeadlineSeconds";
    match (old["activeDeadlineSeconds"].as_i64(), new["activeDeadlineSeconds"].as_i64()) {
        (_, Some(after)) if !(0..=i64::from(i32::MAX)).contains(&after) => {
            errors.push(FieldError::invalid(field, after, "must be between 0 and 2147483647, inclusive"));
            false
        }
        (Some(before), Some(after)) if before < after => {
            errors.push(FieldError::invalid(field, after, "must be less than or equal to previous value"));
            false
        }
        (Some(_), None) => {
            let detail = "must not update from a positive integer to nil value";
            errors.push(FieldError::invalid(field, Value::Null, detail));
            true
        }
        _ => true,
    }
}

/// Those there are may only last for another time.
fn tolerations(old: &Value, new: &Value, errors: &mut Vec<FieldError>) {
    let without_seconds = |it: &Value| {
        let mut it = it.clone();
        restore(&mut it, &Value::Null, "tolerationSeconds");
        it
    };
    let after: Vec<Value> = list(&new["tolerations"]).iter().map(without_seconds).collect();
    if !list(&old["tolerations"]).iter().all(|it| after.contains(&without_seconds(it))) {
        let detail = "existing toleration can not be modified except its tolerationSeconds";
        errors.push(FieldError::forbidden("spec.tolerations", detail));
    }
}

/// A write of the ephemeral containers: those there are stay as they are.
pub fn ephemeral(old: &Value, new: &Value, errors: &mut Vec<FieldError>) {
    whole(new, errors);
    let field = "spec.ephemeralContainers";
    for before in list(&old["spec"]["ephemeralContainers"]) {
        let name = text(&before["name"]);
        let after = list(&new["spec"]["ephemeralContainers"]).iter().find(|it| text(&it["name"]) == name);
        let what = match after {
            None => "removed",
            Some(after) if after != before => "changed",
            Some(_) => continue,
        };
        let detail = format!("existing ephemeral containers {name:?} may not be {what}");
        errors.push(FieldError::forbidden(field, detail));
    }
}

/// A write of the containers' resources: the class of service of the pod stays.
pub fn resize(old: &Value, new: &Value, errors: &mut Vec<FieldError>) {
    whole(new, errors);
    let class = qos_class(&new["spec"]);
    if qos_class(&old["spec"]) != class {
        let detail = "Pod QOS Class may not change as a result of resizing";
        errors.push(FieldError::invalid("spec", class, detail));
    }
}

/// Puts the old value of `key` back, or removes the key if there was none.
pub fn restore(object: &mut Value, old: &Value, key: &str) {
    if let Some(map) = object.as_object_mut() {
        match old.get(key) {
            Some(value) => map.insert(key.to_owned(), value.clone()),
            None => map.remove(key),
        };
    }
}
