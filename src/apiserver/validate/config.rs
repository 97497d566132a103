//! `ConfigMaps` and Secrets. Source: `ValidateConfigMap(Update)`, `ValidateSecret(Update)`.

use super::{FieldError, invalid_each, names, text};
use crate::apiserver::resources::Resource;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;

/// Most bytes of one object.
const MAX_CONFIG: usize = 1024 * 1024;

/// Keys and total size of a `ConfigMap` or `Secret`.
pub fn check(resource: &Resource, object: &Value, errors: &mut Vec<FieldError>) {
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

/// The keys that the type of a Secret asks for, and what is in them.
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
        "kubernetes.io/dockerconfigjson" => json_in(data, ".dockerconfigjson", errors),
        "kubernetes.io/dockercfg" => json_in(data, ".dockercfg", errors),
        "kubernetes.io/service-account-token" => {
            let key = "kubernetes.io/service-account.name";
            if text(&object["metadata"]["annotations"][key]).is_empty() {
                errors.push(FieldError::required(format!("metadata.annotations[{key}]"), ""));
            }
        }
        "kubernetes.io/basic-auth" if data.get("username").is_none() && data.get("password").is_none() => {
            required(&["username", "password"]);
        }
        _ => {}
    }
}

/// A key that holds a JSON object. What is in it is told to nobody.
fn json_in(data: &Value, key: &str, errors: &mut Vec<FieldError>) {
    let Some(value) = data.get(key) else {
        errors.push(FieldError::required(format!("data[{key}]"), ""));
        return;
    };
    let bytes = STANDARD.decode(text(value)).unwrap_or_default();
    if serde_json::from_slice::<serde_json::Map<String, Value>>(&bytes).is_err() {
        let detail = "is no JSON object";
        errors.push(FieldError::invalid(format!("data[{key}]"), "<secret contents redacted>", detail));
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
