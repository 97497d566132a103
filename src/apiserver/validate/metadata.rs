//! `metadata` of every kind. Source: `ValidateObjectMeta` and each registry's name function.

use super::{FieldError, invalid_each, list, names, text};
use crate::apiserver::resources::Resource;
use serde_json::Value;

/// Most bytes of all annotations of one object together.
const MAX_ANNOTATIONS: usize = 256 * 1024;

pub fn check(resource: &Resource, object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let metadata = &object["metadata"];
    let grammar = name_grammar(resource);
    let base = text(&metadata["generateName"]);
    if !base.is_empty() {
        // A prefix may end in `-`: random characters follow.
        let probe = base.strip_suffix('-').map_or_else(|| base.to_owned(), |it| format!("{it}a"));
        invalid_each("metadata.generateName", base, grammar(&probe), &mut errors);
    }
    match text(&metadata["name"]) {
        "" => errors.push(FieldError::required("metadata.name", "name or generateName is required")),
        name => invalid_each("metadata.name", name, grammar(name), &mut errors),
    }
    labels(&metadata["labels"], "metadata.labels", &mut errors);
    annotations(&metadata["annotations"], "metadata.annotations", &mut errors);
    owners(list(&metadata["ownerReferences"]), &mut errors);
    for (index, finalizer) in list(&metadata["finalizers"]).iter().enumerate() {
        let name = text(finalizer);
        invalid_each("metadata.finalizers", name, names::qualified_name(name), &mut errors);
        if !name.contains('/') && !matches!(name, "orphan" | "foregroundDeletion" | "kubernetes") {
            errors.push(FieldError::invalid(
                format!("metadata.finalizers[{index}]"),
                name,
                "name is neither a standard finalizer name nor is it fully qualified",
            ));
        }
    }
    errors
}

fn name_grammar(resource: &Resource) -> fn(&str) -> Vec<String> {
    match (resource.group, resource.kind) {
        ("", "Namespace" | "Service") => |it| in_characters(names::dns_label(it)),
        ("apps", "StatefulSet") => |it| in_characters(names::label_without_dots(it)),
        ("rbac.authorization.k8s.io", _) => path_segment,
        _ => names::dns_subdomain,
    }
}

/// Names are told their limit in characters, which are bytes in every name that is right.
fn in_characters(complaints: Vec<String>) -> Vec<String> {
    complaints
        .into_iter()
        .map(|it| it.replace("no more than 63 bytes", "no more than 63 characters"))
        .collect()
}

/// What can stand between two slashes. Source: apimachinery `pkg/api/validation/path/name.go`.
pub fn path_segment(name: &str) -> Vec<String> {
    if matches!(name, "." | "..") {
        return vec![format!("may not be '{name}'")];
    }
    ["/", "%"].iter().filter(|it| name.contains(**it)).map(|it| format!("may not contain '{it}'")).collect()
}

/// What a namespace waits for before it goes.
pub fn namespace_finalizers(object: &Value, errors: &mut Vec<FieldError>) {
    for finalizer in list(&object["spec"]["finalizers"]) {
        let name = text(finalizer);
        invalid_each("spec.finalizers", name, names::qualified_name(name), errors);
        if !name.contains('/') && name != "kubernetes" {
            let detail = "name is neither a standard finalizer name nor is it fully qualified";
            errors.push(FieldError::invalid("spec.finalizers", name, detail));
        }
    }
}

/// Label keys and values.
pub fn labels(labels: &Value, field: &str, errors: &mut Vec<FieldError>) {
    for (key, value) in labels.as_object().into_iter().flatten() {
        invalid_each(field, key, names::qualified_name(key), errors);
        invalid_each(field, text(value), names::label_value(text(value)), errors);
    }
}

/// Annotation keys and the total size.
pub fn annotations(annotations: &Value, field: &str, errors: &mut Vec<FieldError>) {
    let mut size = 0;
    for (key, value) in annotations.as_object().into_iter().flatten() {
        invalid_each(field, key, names::qualified_name(&key.to_lowercase()), errors);
        size += key.len() + text(value).len();
    }
    if size > MAX_ANNOTATIONS {
        errors.push(FieldError::too_long(field, MAX_ANNOTATIONS));
    }
}

fn owners(owners: &[Value], errors: &mut Vec<FieldError>) {
    let field = "metadata.ownerReferences";
    for owner in owners {
        for (key, complaint) in [
            ("apiVersion", "version must not be empty"),
            ("kind", "must not be empty"),
            ("name", "must not be empty"),
            ("uid", "must not be empty"),
        ] {
            if text(&owner[key]).is_empty() {
                errors.push(FieldError::invalid(format!("{field}.{key}"), text(&owner[key]), complaint));
            }
        }
    }
    for owner in owners.iter().filter(|it| it["apiVersion"] == "v1" && it["kind"] == "Event") {
        let detail = "/v1, Kind=Event is disallowed from being an owner";
        errors.push(FieldError::invalid(field, owner.clone(), detail));
    }
    let controllers: Vec<&Value> = owners.iter().filter(|it| it["controller"] == true).collect();
    if let [first, second, ..] = controllers[..] {
        errors.push(FieldError::invalid(
            field,
            Value::from(owners.to_vec()),
            format!(
                "Only one reference can have Controller set to true. Found \"true\" in references for {}/{} and {}/{}",
                text(&first["kind"]),
                text(&first["name"]),
                text(&second["kind"]),
                text(&second["name"])
            ),
        ));
    }
}
