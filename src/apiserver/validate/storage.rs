//! Claims, volumes, and the kinds that hold configuration.
//!
//! Source: `ValidatePersistentVolumeClaim(Update)`, `ValidateConfigMap(Update)`, `ValidateSecret(Update)`.

use super::{FieldError, invalid_each, list, names, pod, text};
use crate::apiserver::quantity::{self, Quantity};
use crate::apiserver::resources::Resource;
use serde_json::Value;

const ACCESS_MODES: &[&str] = &["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
const CLAIM_UPDATE: &str = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
const MAX_CONFIG: usize = 1024 * 1024;

/// The spec of a claim at `path`.
pub fn claim_spec(spec: &Value, path: &str, errors: &mut Vec<FieldError>) {
    access_modes(spec, path, errors);
    let storage = &spec["resources"]["requests"]["storage"];
    let field = format!("{path}.resources[storage]");
    match (storage, Quantity::from_json(storage)) {
        (Value::Null, _) => errors.push(FieldError::required(field, "")),
        (_, None) => errors.push(FieldError::invalid(field, storage.clone(), quantity::FORMAT_ERROR)),
        (_, Some(it)) if it.is_negative() || it.is_zero() => {
            errors.push(FieldError::invalid(field, storage.clone(), "must be greater than zero"));
        }
        _ => {}
    }
    let class = text(&spec["storageClassName"]);
    if !class.is_empty() {
        invalid_each(&format!("{path}.storageClassName"), class, names::dns_subdomain(class), errors);
    }
    let mode = &spec["volumeMode"];
    if !mode.is_null() && !matches!(text(mode), "Block" | "Filesystem") {
        let field = format!("{path}.volumeMode");
        errors.push(FieldError::not_supported(field, mode.clone(), &["Block", "Filesystem"]));
    }
}

fn access_modes(spec: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let field = format!("{path}.accessModes");
    let modes = list(&spec["accessModes"]);
    if modes.is_empty() {
        errors.push(FieldError::required(field.as_str(), "at least 1 access mode is required"));
    }
    for mode in modes {
        if !ACCESS_MODES.contains(&text(mode)) {
            errors.push(FieldError::not_supported(field.as_str(), mode.clone(), ACCESS_MODES));
        }
    }
}

/// Growth, binding and late choice of a class; nothing else.
pub fn update_claim(old: &Value, new: &Value, errors: &mut Vec<FieldError>) {
    let (before, after) = (&old["spec"], &new["spec"]);
    let mut allowed = after.clone();
    pod::restore(&mut allowed, before, "volumeAttributesClassName");
    for key in ["volumeName", "storageClassName"] {
        if before[key].is_null() {
            pod::restore(&mut allowed, before, key);
        }
    }
    let (small, large) =
        (&before["resources"]["requests"]["storage"], &after["resources"]["requests"]["storage"]);
    if let (Some(small), Some(large)) = (Quantity::from_json(small), Quantity::from_json(large))
        && large < small
    {
        let status = Quantity::from_json(&old["status"]["capacity"]["storage"]);
        if status.is_none_or(|it| large < it) {
            errors.push(FieldError::forbidden(
                "spec.resources.requests.storage",
                "field can not be less than status.capacity",
            ));
        }
    }
    if let Some(resources) = allowed.get_mut("resources") {
        pod::restore(resources, &before["resources"], "requests");
    }
    if allowed != *before {
        errors.push(FieldError::forbidden("spec", CLAIM_UPDATE));
    }
}

/// A volume needs a size, modes and one source.
pub fn volume(object: &Value, errors: &mut Vec<FieldError>) {
    let spec = &object["spec"];
    access_modes(spec, "spec", errors);
    let storage = &spec["capacity"]["storage"];
    if Quantity::from_json(storage).is_none() {
        errors.push(FieldError::required("spec.capacity", ""));
    }
    if sources(spec).is_empty() {
        errors.push(FieldError::required("spec", "must specify a volume type"));
    }
}

/// What of a volume's spec is no source.
const VOLUME_FIELDS: [&str; 9] = [
    "accessModes",
    "capacity",
    "claimRef",
    "mountOptions",
    "nodeAffinity",
    "persistentVolumeReclaimPolicy",
    "storageClassName",
    "volumeAttributesClassName",
    "volumeMode",
];

fn sources(spec: &Value) -> Vec<(&String, &Value)> {
    let fields = spec.as_object().into_iter().flatten();
    fields.filter(|it| !VOLUME_FIELDS.contains(&it.0.as_str())).collect()
}

/// The source of a volume never changes.
pub fn update_volume(old: &Value, new: &Value, errors: &mut Vec<FieldError>) {
    if sources(&old["spec"]) != sources(&new["spec"]) {
        let detail = "spec.persistentvolumesource is immutable after creation";
        errors.push(FieldError::forbidden("spec.persistentvolumesource", detail));
    }
}

/// Keys and total size of a `ConfigMap` or `Secret`.
pub fn config(resource: &Resource, object: &Value, errors: &mut Vec<FieldError>) {
    let mut size = 0;
    for map in ["data", "binaryData"] {
        for (key, value) in object[map].as_object().into_iter().flatten() {
            invalid_each(&format!("{map}[{key}]"), key, names::config_key(key), errors);
            size += text(value).len();
        }
    }
    for key in object["data"].as_object().into_iter().flatten().map(|it| it.0) {
        if object["binaryData"].get(key).is_some() {
            let detail = "duplicate of key present in binaryData";
            errors.push(FieldError::invalid(format!("data[{key}]"), key.as_str(), detail));
        }
    }
    if resource.kind == "Secret" {
        secret_type(object, errors);
    }
    // A Secret's text is base64: four characters for three bytes.
    let size = if resource.kind == "Secret" { size / 4 * 3 } else { size };
    if size > MAX_CONFIG {
        let field = if resource.kind == "Secret" { "data" } else { "" };
        errors.push(FieldError::too_long(field, MAX_CONFIG));
    }
}

/// The keys that the type of a Secret asks for.
fn secret_type(object: &Value, errors: &mut Vec<FieldError>) {
    let data = &object["data"];
    let mut required = |keys: &[&str]| {
        for key in keys.iter().filter(|it| data.get(**it).is_none()) {
            errors.push(FieldError::required(format!("data[{key}]"), ""));
        }
    };
    match text(&object["type"]) {
        "kubernetes.io/tls" => required(&["tls.crt", "tls.key"]),
        "kubernetes.io/ssh-auth" => required(&["ssh-privatekey"]),
        "kubernetes.io/dockerconfigjson" => required(&[".dockerconfigjson"]),
        "kubernetes.io/dockercfg" => required(&[".dockercfg"]),
        "kubernetes.io/basic-auth" if data.get("username").is_none() && data.get("password").is_none() => {
            required(&["username", "password"]);
        }
        _ => {}
    }
}

/// `immutable: true` holds for data and for itself.
pub fn update_immutable(old: &Value, new: &Value, errors: &mut Vec<FieldError>) {
    if old.get("type") != new.get("type") {
        errors.push(FieldError::invalid("type", new["type"].clone(), super::IMMUTABLE));
    }
    if old["immutable"] != true {
        return;
    }
    for (key, detail) in [
        ("immutable", "field is immutable when `immutable` is set"),
        ("data", "field is immutable when `immutable` is set"),
        ("binaryData", "field is immutable when `immutable` is set"),
    ] {
        if old.get(key) != new.get(key) {
            errors.push(FieldError::forbidden(key, detail));
        }
    }
}
