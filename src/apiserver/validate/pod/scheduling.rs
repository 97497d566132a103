//! Where pods may run: affinity, spread, tolerations and gates.
//!
//! Source: `validateAffinity`, `validateTopologySpreadConstraints`, `ValidateTolerations`.

use super::{FieldError, invalid_each, list, names, one_of, text};
use crate::apiserver::validate::label_selector;
use serde_json::Value;
use std::collections::BTreeSet;

/// What keeps pods away from a node.
pub const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

pub fn affinity(affinity: &Value, field: &str, errors: &mut Vec<FieldError>) {
    let node = &affinity["nodeAffinity"];
    if node[REQUIRED].is_object() {
        node_selector(&node[REQUIRED], &format!("{field}.nodeAffinity.{REQUIRED}"), errors);
    }
    for (index, term) in list(&node[PREFERRED]).iter().enumerate() {
        let field = format!("{field}.nodeAffinity.{PREFERRED}[{index}]");
        weight(term, &field, errors);
        node_term(&term["preference"], false, &format!("{field}.preference"), errors);
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        for (index, term) in list(&affinity[kind][REQUIRED]).iter().enumerate() {
            pod_term(term, &format!("{field}.{kind}.{REQUIRED}[{index}]"), errors);
        }
        for (index, term) in list(&affinity[kind][PREFERRED]).iter().enumerate() {
            let field = format!("{field}.{kind}.{PREFERRED}[{index}]");
            weight(term, &field, errors);
            pod_term(&term["podAffinityTerm"], &format!("{field}.podAffinityTerm"), errors);
        }
    }
}

fn weight(term: &Value, field: &str, errors: &mut Vec<FieldError>) {
    let weight = term["weight"].as_i64().unwrap_or(0);
    if !(1..=100).contains(&weight) {
        errors.push(FieldError::invalid(format!("{field}.weight"), weight, "must be in the range 1-100"));
    }
}

/// Terms of which a node has to meet one.
pub fn node_selector(selector: &Value, field: &str, errors: &mut Vec<FieldError>) {
    let field = format!("{field}.nodeSelectorTerms");
    let terms = list(&selector["nodeSelectorTerms"]);
    if terms.is_empty() {
        errors.push(FieldError::required(field.as_str(), "must have at least one node selector term"));
    }
    for (index, term) in terms.iter().enumerate() {
        node_term(term, true, &format!("{field}[{index}]"), errors);
    }
}

fn node_term(term: &Value, checks_values: bool, field: &str, errors: &mut Vec<FieldError>) {
    for (index, rule) in list(&term["matchExpressions"]).iter().enumerate() {
        node_rule(rule, checks_values, &format!("{field}.matchExpressions[{index}]"), errors);
    }
    for (index, rule) in list(&term["matchFields"]).iter().enumerate() {
        node_field(rule, &format!("{field}.matchFields[{index}]"), errors);
    }
}

fn node_rule(rule: &Value, checks_values: bool, field: &str, errors: &mut Vec<FieldError>) {
    let values = list(&rule["values"]);
    let at = format!("{field}.values");
    match text(&rule["operator"]) {
        "In" | "NotIn" if values.is_empty() => {
            let detail = "must be specified when `operator` is 'In' or 'NotIn'";
            errors.push(FieldError::required(at.as_str(), detail));
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            let detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
            errors.push(FieldError::forbidden(at.as_str(), detail));
        }
        "Gt" | "Lt" if values.len() != 1 => {
            let detail = "must be specified single value when `operator` is 'Lt' or 'Gt'";
            errors.push(FieldError::required(at.as_str(), detail));
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
        other => operator_unknown(other, field, errors),
    }
    let key = text(&rule["key"]);
    invalid_each(&format!("{field}.key"), key, names::qualified_name(key), errors);
    for (index, value) in values.iter().enumerate().filter(|_| checks_values) {
        invalid_each(&format!("{at}[{index}]"), text(value), names::label_value(text(value)), errors);
    }
}

fn operator_unknown(operator: &str, field: &str, errors: &mut Vec<FieldError>) {
    errors.push(FieldError::invalid(format!("{field}.operator"), operator, "not a valid selector operator"));
}

/// The only field of nodes that counts is their name.
fn node_field(rule: &Value, field: &str, errors: &mut Vec<FieldError>) {
    let values = list(&rule["values"]);
    match text(&rule["operator"]) {
        "In" | "NotIn" if values.len() == 1 => {}
        "In" | "NotIn" => errors.push(FieldError::required(
            format!("{field}.values"),
            "must be only one value when `operator` is 'In' or 'NotIn' for node field selector",
        )),
        other => operator_unknown(other, field, errors),
    }
    let key = text(&rule["key"]);
    if key != "metadata.name" {
        errors.push(FieldError::invalid(format!("{field}.key"), key, "not a valid field selector key"));
        return;
    }
    for (index, value) in values.iter().enumerate() {
        let complaints = names::dns_subdomain(text(value));
        invalid_each(&format!("{field}.values[{index}]"), text(value), complaints, errors);
    }
}

fn pod_term(term: &Value, field: &str, errors: &mut Vec<FieldError>) {
    for key in ["labelSelector", "namespaceSelector"] {
        label_selector(&term[key], &format!("{field}.{key}"), errors);
    }
    for name in list(&term["namespaces"]) {
        invalid_each(&format!("{field}.namespace"), text(name), names::dns_label(text(name)), errors);
    }
    let key = text(&term["topologyKey"]);
    let at = format!("{field}.topologyKey");
    if key.is_empty() {
        errors.push(FieldError::required(at.as_str(), "can not be empty"));
    }
    invalid_each(&at, key, names::qualified_name(key), errors);
}

pub fn spread(constraints: &[Value], field: &str, errors: &mut Vec<FieldError>) {
    for (index, constraint) in constraints.iter().enumerate() {
        let field = format!("{field}[{index}]");
        positive(&constraint["maxSkew"], &format!("{field}.maxSkew"), errors);
        let key = text(&constraint["topologyKey"]);
        let at = format!("{field}.topologyKey");
        if key.is_empty() {
            errors.push(FieldError::required(at, "can not be empty"));
        } else {
            invalid_each(&at, key, names::qualified_name(key), errors);
        }
        let otherwise = text(&constraint["whenUnsatisfiable"]);
        let known = ["DoNotSchedule", "ScheduleAnyway"];
        if !known.contains(&otherwise) {
            errors.push(FieldError::not_supported(format!("{field}.whenUnsatisfiable"), otherwise, &known));
        }
        let is_same =
            |it: &&Value| text(&it["topologyKey"]) == key && text(&it["whenUnsatisfiable"]) == otherwise;
        if constraints[index + 1..].iter().any(|it| is_same(&it)) {
            let value = format!("{{{key}, {otherwise}}}");
            errors.push(FieldError::duplicate(format!("{field}.{{topologyKey, whenUnsatisfiable}}"), value));
        }
        domains(constraint, otherwise, &field, errors);
        for key in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
            let policy = &constraint[key];
            if !policy.is_null() && !["Honor", "Ignore"].contains(&text(policy)) {
                let value = policy.clone();
                errors.push(FieldError::not_supported(format!("{field}.{key}"), value, &["Honor", "Ignore"]));
            }
        }
        label_keys(constraint, &field, errors);
        label_selector(&constraint["labelSelector"], &format!("{field}.labelSelector"), errors);
    }
}

fn positive(value: &Value, field: &str, errors: &mut Vec<FieldError>) {
    let number = value.as_i64().unwrap_or(0);
    if number <= 0 {
        errors.push(FieldError::invalid(field, number, "must be greater than zero"));
    }
}

fn domains(constraint: &Value, otherwise: &str, field: &str, errors: &mut Vec<FieldError>) {
    let least = &constraint["minDomains"];
    if least.is_null() {
        return;
    }
    let field = format!("{field}.minDomains");
    positive(least, &field, errors);
    if otherwise != "DoNotSchedule" {
        let detail = format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {otherwise}");
        errors.push(FieldError::invalid(field, least.clone(), detail));
    }
}

fn label_keys(constraint: &Value, field: &str, errors: &mut Vec<FieldError>) {
    let keys = list(&constraint["matchLabelKeys"]);
    if keys.is_empty() {
        return;
    }
    let field = format!("{field}.matchLabelKeys");
    let selector = &constraint["labelSelector"];
    if selector.is_null() {
        errors.push(FieldError::forbidden(field, "must not be specified when labelSelector is not set"));
        return;
    }
    let selected: BTreeSet<&str> = selector["matchLabels"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|it| it.0.as_str())
        .chain(list(&selector["matchExpressions"]).iter().map(|it| text(&it["key"])))
        .collect();
    for (index, key) in keys.iter().map(text).enumerate() {
        let field = format!("{field}[{index}]");
        invalid_each(&field, key, names::qualified_name(key), errors);
        if selected.contains(key) {
            let detail = "exists in both matchLabelKeys and labelSelector";
            errors.push(FieldError::invalid(field, key, detail));
        }
    }
}

pub fn tolerations(all: &[Value], field: &str, errors: &mut Vec<FieldError>) {
    for (index, one) in all.iter().enumerate() {
        let at = |key: &str| format!("{field}[{index}].{key}");
        let (key, operator, value) = (text(&one["key"]), text(&one["operator"]), text(&one["value"]));
        if !key.is_empty() {
            invalid_each(&at("key"), key, names::qualified_name(key), errors);
        } else if operator != "Exists" {
            let detail =
                "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            errors.push(FieldError::invalid(at("operator"), operator, detail));
        }
        let effect = text(&one["effect"]);
        if !one["tolerationSeconds"].is_null() && effect != "NoExecute" {
            let detail = "effect must be 'NoExecute' when `tolerationSeconds` is set";
            errors.push(FieldError::invalid(at("effect"), effect, detail));
        }
        match operator {
            "" | "Equal" => {
                let complaints = names::label_value(value);
                if !complaints.is_empty() {
                    errors.push(FieldError::invalid(at("operator"), value, complaints.join(";")));
                }
            }
            "Exists" if value.is_empty() => {}
            "Exists" => {
                let detail = "value must be empty when `operator` is 'Exists'";
                errors.push(FieldError::invalid(at("operator"), value, detail));
            }
            _ => errors.push(FieldError::not_supported(at("operator"), operator, &["Equal", "Exists"])),
        }
        if !effect.is_empty() {
            one_of(&one["effect"], &at("effect"), &EFFECTS, errors);
        }
    }
}

pub fn gates(gates: &[Value], field: &str, errors: &mut Vec<FieldError>) {
    let mut seen = BTreeSet::new();
    for (index, gate) in gates.iter().enumerate() {
        let (name, field) = (text(&gate["name"]), format!("{field}[{index}]"));
        invalid_each(&field, name, names::qualified_name(name), errors);
        if !seen.insert(name) {
            errors.push(FieldError::duplicate(field, name));
        }
    }
}
