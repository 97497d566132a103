//! Environment variables, and the references to fields and keys that they share with volumes.
//!
//! Source: `ValidateEnv`, `ValidateEnvFrom`, `validateObjectFieldSelector`.

use super::{FieldError, invalid_each, names, text};
use serde_json::Value;

/// Fields that variables may show.
const FIELDS: [&str; 9] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

/// Fields there are, but which not everything may show.
const OTHER_FIELDS: [&str; 5] =
    ["metadata.annotations", "metadata.labels", "spec.restartPolicy", "spec.schedulerName", "status.phase"];

const RESOURCES: [&str; 6] = [
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];

const SOURCES: [&str; 5] = ["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef"];

pub fn variables(all: &[Value], field: &str, errors: &mut Vec<FieldError>) {
    for (index, variable) in all.iter().enumerate() {
        match text(&variable["name"]) {
            "" => errors.push(FieldError::required(format!("{field}[{index}].name"), "")),
            name => {
                let complaints = names::env_name(name);
                if !complaints.is_empty() {
                    invalid_each(&format!("{field}[{index}].name"), name, complaints, errors);
                }
            }
        }
        let from = &variable["valueFrom"];
        if from.is_object() {
            value_from(from, text(&variable["value"]), &format!("{field}[{index}].valueFrom"), errors);
        }
    }
}

fn value_from(from: &Value, value: &str, field: &str, errors: &mut Vec<FieldError>) {
    let given: Vec<&str> = SOURCES.into_iter().filter(|it| from[*it].is_object()).collect();
    for source in &given {
        let (of, field) = (&from[*source], format!("{field}.{source}"));
        match *source {
            "fieldRef" => field_ref(of, &FIELDS, &field, errors),
            "resourceFieldRef" => resource_ref(of, false, &field, errors),
            "configMapKeyRef" | "secretKeyRef" => key_ref(of, &field, errors),
            _ => {}
        }
    }
    let detail = match given.len() {
        0 => {
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"
        }
        _ if !value.is_empty() => "may not be specified when `value` is not empty",
        1 => return,
        _ => "may not have more than one field specified at a time",
    };
    errors.push(FieldError::invalid(field, "", detail));
}

fn key_ref(of: &Value, field: &str, errors: &mut Vec<FieldError>) {
    let name = text(&of["name"]);
    invalid_each(&format!("{field}.name"), name, names::dns_subdomain(name), errors);
    match text(&of["key"]) {
        "" => errors.push(FieldError::required(format!("{field}.key"), "")),
        key => invalid_each(&format!("{field}.key"), key, names::config_key(key), errors),
    }
}

/// A field of the pod; one label or annotation is written `metadata.labels['x']`.
pub fn field_ref(of: &Value, allowed: &[&str], field: &str, errors: &mut Vec<FieldError>) {
    let path = text(&of["fieldPath"]);
    if path.is_empty() {
        errors.push(FieldError::required(format!("{field}.fieldPath"), ""));
        return;
    }
    if let Some((map, key)) = path.strip_suffix("']").and_then(|it| it.split_once("['")) {
        match map {
            "metadata.labels" => invalid_each(field, key, names::qualified_name(key), errors),
            "metadata.annotations" => {
                let key = key.to_lowercase();
                invalid_each(field, &key, names::qualified_name(&key), errors);
            }
            _ => errors.push(FieldError::invalid(field, map, "does not support subscript")),
        }
    } else if !FIELDS.contains(&path) && !OTHER_FIELDS.contains(&path) {
        let detail = format!("error converting fieldPath: field label not supported: {path}");
        errors.push(FieldError::invalid(format!("{field}.fieldPath"), path, detail));
    } else if !allowed.contains(&path) {
        errors.push(FieldError::not_supported(format!("{field}.fieldPath"), path, allowed));
    }
}

/// An amount of a container, which volumes have to name.
pub fn resource_ref(of: &Value, in_volume: bool, field: &str, errors: &mut Vec<FieldError>) {
    let resource = text(&of["resource"]);
    let is_huge = ["limits.hugepages-", "requests.hugepages-"].iter().any(|it| resource.starts_with(it));
    if in_volume && text(&of["containerName"]).is_empty() {
        errors.push(FieldError::required(format!("{field}.containerName"), ""));
    } else if resource.is_empty() {
        errors.push(FieldError::required(format!("{field}.resource"), ""));
    } else if !RESOURCES.contains(&resource) && !is_huge {
        errors.push(FieldError::not_supported(format!("{field}.resource"), resource, &RESOURCES));
    }
}

pub fn from(all: &[Value], field: &str, errors: &mut Vec<FieldError>) {
    for (index, source) in all.iter().enumerate() {
        let prefix = text(&source["prefix"]);
        if !prefix.is_empty() {
            invalid_each(&format!("{field}[{index}].prefix"), prefix, names::env_name(prefix), errors);
        }
        let mut count = 0;
        for key in ["configMapRef", "secretRef"].into_iter().filter(|it| source[*it].is_object()) {
            count += 1;
            let field = format!("{field}[{index}].{key}.name");
            match text(&source[key]["name"]) {
                "" => errors.push(FieldError::required(field, "")),
                name => invalid_each(&field, name, names::dns_subdomain(name), errors),
            }
        }
        let detail = match count {
            0 => "must specify one of: `configMapRef` or `secretRef`",
            1 => continue,
            _ => "may not have more than one field specified at a time",
        };
        errors.push(FieldError::invalid(field, "", detail));
    }
}
