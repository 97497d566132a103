//! Nodes. Source: `ValidateNode`, `ValidateNodeUpdate`.

use super::{FieldError, NON_NEGATIVE, cidr, invalid_each, list, names, one_of, text};
use crate::apiserver::quantity::Quantity;
use serde_json::{Value, json};
use std::collections::BTreeSet;

pub fn check(object: &Value, errors: &mut Vec<FieldError>) {
    let spec = &object["spec"];
    taints(list(&spec["taints"]), errors);
    for (index, range) in list(&spec["podCIDRs"]).iter().enumerate() {
        cidr(range, &format!("spec.podCIDRs[{index}]"), errors);
    }
}

/// Upstream looks for them in the metadata, where they once were.
fn taints(taints: &[Value], errors: &mut Vec<FieldError>) {
    let mut seen = BTreeSet::new();
    for (index, taint) in taints.iter().enumerate() {
        let field = format!("metadata.taints[{index}]");
        let (key, value) = (text(&taint["key"]), text(&taint["value"]));
        invalid_each(&format!("{field}.key"), key, names::qualified_name(key), errors);
        invalid_each(&format!("{field}.value"), value, names::label_value(value), errors);
        let effects = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
        one_of(&taint["effect"], &format!("{field}.effect"), &effects, errors);
        if !seen.insert((key, text(&taint["effect"]))) {
            let value = json!({"Key": key, "Value": value, "Effect": taint["effect"], "TimeAdded": null});
            let mut error = FieldError::duplicate(field, value);
            "taints must be unique by key and effect pair".clone_into(&mut error.detail);
            errors.push(error);
        }
    }
}

/// What is set once, by whoever runs the node.
pub fn update(old: &Value, new: &Value, errors: &mut Vec<FieldError>) {
    capacity(new, errors);
    let (old, new) = (&old["spec"], &new["spec"]);
    if !list(&old["podCIDRs"]).is_empty() && old["podCIDRs"] != new["podCIDRs"] {
        let detail = "node updates may not change podCIDR except from \"\" to valid";
        errors.push(FieldError::forbidden("spec.podCIDRs", detail));
    }
    if !text(&old["providerID"]).is_empty() && old["providerID"] != new["providerID"] {
        let detail = "node updates may not change providerID except from \"\" to valid";
        errors.push(FieldError::forbidden("spec.providerID", detail));
    }
}

/// A write of the status.
pub fn status(old: &Value, new: &Value, errors: &mut Vec<FieldError>) {
    if old["status"] != new["status"] {
        capacity(new, errors);
    }
}

fn capacity(node: &Value, errors: &mut Vec<FieldError>) {
    for key in ["capacity", "allocatable"] {
        for (name, amount) in node["status"][key].as_object().into_iter().flatten() {
            if Quantity::from_json(amount).is_some_and(|it| it.is_negative()) {
                let field = format!("status.{key}.{name}");
                errors.push(FieldError::invalid(field, amount.clone(), NON_NEGATIVE));
            }
        }
    }
}
