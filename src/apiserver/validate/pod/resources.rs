//! Requests and limits of containers. Source: `ValidateContainerResourceRequirements`.

use super::{FieldError, invalid_each, names};
use crate::apiserver::quantity::{self, Quantity};
use crate::apiserver::validate::NON_NEGATIVE;
use serde_json::Value;

/// Whether requests may be below limits: not for what cannot be shared out twice.
fn can_overcommit(name: &str) -> bool {
    is_native(name) && !name.starts_with("hugepages-")
}

fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

pub fn check(resources: &Value, field: &str, errors: &mut Vec<FieldError>) {
    let (mut usual, mut huge) = (false, false);
    for key in ["limits", "requests"] {
        for (name, amount) in resources[key].as_object().into_iter().flatten() {
            usual |= matches!(name.as_str(), "cpu" | "memory");
            huge |= name.starts_with("hugepages-");
            let at = || format!("{field}.{key}[{name}]");
            if !matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage") {
                resource_name(name, &at(), errors);
            }
            match Quantity::from_json(amount) {
                None => errors.push(FieldError::invalid(at(), amount.clone(), quantity::FORMAT_ERROR)),
                Some(it) if it.is_negative() => {
                    errors.push(FieldError::invalid(at(), amount.clone(), NON_NEGATIVE));
                }
                Some(it) if !is_native(name) && it.milli() % 1000 != 0 => {
                    errors.push(FieldError::invalid(at(), amount.clone(), "must be an integer"));
                }
                Some(_) => {}
            }
            if key == "requests" {
                fits(name, amount, &resources["limits"][name.as_str()], field, errors);
            }
        }
    }
    if huge && !usual {
        errors.push(FieldError::forbidden(field, "HugePages require cpu or memory"));
    }
}

/// A request against its limit.
fn fits(name: &str, amount: &Value, limit: &Value, field: &str, errors: &mut Vec<FieldError>) {
    if limit.is_null() {
        if !can_overcommit(name) {
            let detail = "Limit must be set for non overcommitable resources";
            errors.push(FieldError::required(format!("{field}.limits"), detail));
        }
        return;
    }
    let (Some(request), Some(bound)) = (Quantity::from_json(amount), Quantity::from_json(limit)) else {
        return;
    };
    let must = if !can_overcommit(name) && request != bound {
        "equal to"
    } else if request > bound {
        "less than or equal to"
    } else {
        return;
    };
    let detail = format!("must be {must} {name} limit of {bound}");
    errors.push(FieldError::invalid(format!("{field}.requests"), amount.clone(), detail));
}

/// A name that is neither one of the usual three nor an extended one, as a rule.
fn resource_name(name: &str, field: &str, errors: &mut Vec<FieldError>) {
    let complaints = names::qualified_name(name);
    let is_qualified = complaints.is_empty();
    invalid_each(field, name, complaints, errors);
    if name.starts_with("hugepages-") {
        return;
    }
    if !name.contains('/') {
        // Names that only quotas know.
        let elsewhere = ["storage", "pods", "services", "secrets", "configmaps"].contains(&name);
        if is_qualified && !elsewhere {
            let detail = "must be a standard resource type or fully qualified";
            errors.push(FieldError::invalid(field, name, detail));
        }
        errors.push(FieldError::invalid(field, name, "must be a standard resource for containers"));
    } else if !is_native(name) && (!is_qualified || name.starts_with("requests.")) {
        errors.push(FieldError::invalid(field, name, "doesn't follow extended resource name standard"));
    }
}
