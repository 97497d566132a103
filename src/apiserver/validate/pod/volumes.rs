//! Volumes of pods and where containers mount them. Source: `ValidateVolumes`, `ValidateVolumeMounts`.

use super::{FieldError, environment, invalid_each, list, names, text};
use crate::apiserver::quantity::Quantity;
use crate::apiserver::validate::storage;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

const MODE: &str = "must be a number between 0 and 0777 (octal), both inclusive";
const MORE_THAN_ONE: &str = "may not specify more than 1 volume type";
const HOST_PATH_TYPES: [&str; 8] =
    ["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];
/// Fields that files of volumes may show.
const FIELDS: [&str; 5] =
    ["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];

/// The volumes that are right, by name; `pod` is the name of the pod, if it is one.
pub fn check<'a>(
    spec: &'a Value,
    path: &str,
    pod: Option<&str>,
    errors: &mut Vec<FieldError>,
) -> BTreeMap<&'a str, &'a Value> {
    let mut known = BTreeMap::new();
    for (index, volume) in list(&spec["volumes"]).iter().enumerate() {
        let field = format!("{path}.volumes[{index}]");
        let before = errors.len();
        sources(volume, &field, errors);
        let name = text(&volume["name"]);
        if let Some(pod) = pod.filter(|_| volume["ephemeral"].is_object() && !name.is_empty()) {
            let claim = format!("{pod}-{name}");
            let complaints = names::dns_subdomain(&claim);
            let complaints = complaints.into_iter().map(|it| format!("PVC name {claim:?}: {it}")).collect();
            invalid_each(&format!("{field}.name"), name, complaints, errors);
        }
        if name.is_empty() {
            errors.push(FieldError::required(format!("{field}.name"), ""));
        } else {
            let complaints = names::dns_label(name);
            if !complaints.is_empty() {
                invalid_each(&format!("{field}.name"), name, complaints, errors);
            }
        }
        if known.contains_key(name) {
            errors.push(FieldError::duplicate(format!("{field}.name"), name));
        }
        if errors.len() == before {
            known.insert(name, volume);
        }
    }
    known
}

/// Types in the order upstream looks at them, as far as it matters which comes first.
fn rank(source: &str) -> usize {
    const ORDER: [&str; 8] = [
        "emptyDir",
        "hostPath",
        "secret",
        "nfs",
        "persistentVolumeClaim",
        "downwardAPI",
        "configMap",
        "projected",
    ];
    ORDER.iter().position(|it| *it == source).unwrap_or(ORDER.len())
}

fn sources(volume: &Value, field: &str, errors: &mut Vec<FieldError>) {
    let given = volume.as_object().into_iter().flatten().filter(|it| it.0 != "name" && !it.1.is_null());
    let mut given: Vec<(&str, &Value)> = given.map(|it| (it.0.as_str(), it.1)).collect();
    given.sort_by_key(|it| rank(it.0));
    let Some(((kind, source), others)) = given.split_first() else {
        errors.push(FieldError::required(field, "must specify a volume type"));
        return;
    };
    one(kind, source, &format!("{field}.{kind}"), errors);
    for (other, _) in others {
        errors.push(FieldError::forbidden(format!("{field}.{other}"), MORE_THAN_ONE));
    }
}

/// One source of a volume; those of network storage that nobody has used for long are not looked into.
fn one(kind: &str, source: &Value, field: &str, errors: &mut Vec<FieldError>) {
    let at = |key: &str| format!("{field}.{key}");
    let mut required = |key: &str| {
        if text(&source[key]).is_empty() {
            errors.push(FieldError::required(format!("{field}.{key}"), ""));
        }
    };
    match kind {
        "emptyDir" if Quantity::from_json(&source["sizeLimit"]).is_some_and(|it| it.is_negative()) => {
            let detail = "SizeLimit field must be a valid resource quantity";
            errors.push(FieldError::forbidden(at("sizeLimit"), detail));
        }
        "hostPath" => host_path(source, field, errors),
        "secret" => {
            required("secretName");
            files(source, field, errors);
        }
        "configMap" => {
            required("name");
            files(source, field, errors);
        }
        "nfs" => nfs(source, field, errors),
        "persistentVolumeClaim" => required("claimName"),
        "iscsi" => {
            required("targetPortal");
            required("iqn");
        }
        "downwardAPI" => {
            mode(&source["defaultMode"], &at("defaultMode"), errors);
            for item in list(&source["items"]) {
                downward(item, field, errors);
            }
        }
        "projected" => projected(source, field, errors),
        "csi" => csi_driver(source, field, errors),
        "ephemeral" => ephemeral(&source["volumeClaimTemplate"], &at("volumeClaimTemplate"), errors),
        _ => {}
    }
}

/// A folder of the node.
pub fn host_path(source: &Value, field: &str, errors: &mut Vec<FieldError>) {
    let path = text(&source["path"]);
    if path.is_empty() {
        errors.push(FieldError::required(format!("{field}.path"), ""));
        return;
    }
    no_steps_back(path, &format!("{field}.path"), errors);
    let kind = &source["type"];
    if !kind.is_null() && !HOST_PATH_TYPES.contains(&text(kind)) {
        errors.push(FieldError::not_supported(format!("{field}.type"), kind.clone(), &HOST_PATH_TYPES));
    }
}

/// A share of a server.
pub fn nfs(source: &Value, field: &str, errors: &mut Vec<FieldError>) {
    for key in ["server", "path"].into_iter().filter(|it| text(&source[*it]).is_empty()) {
        errors.push(FieldError::required(format!("{field}.{key}"), ""));
    }
    let path = text(&source["path"]);
    if !path.starts_with('/') {
        errors.push(FieldError::invalid(format!("{field}.path"), path, "must be an absolute path"));
    }
}

/// The name of a storage driver.
pub fn csi_driver(source: &Value, field: &str, errors: &mut Vec<FieldError>) {
    let field = format!("{field}.driver");
    match text(&source["driver"]) {
        "" => errors.push(FieldError::required(field, "")),
        driver => {
            if driver.len() > 63 {
                errors.push(FieldError::too_long(field.as_str(), 63));
            }
            let lower = driver.to_lowercase();
            invalid_each(&field, driver, names::dns_subdomain(&lower), errors);
        }
    }
}

/// No path leads up.
pub fn no_steps_back(path: &str, field: &str, errors: &mut Vec<FieldError>) {
    if path.split('/').any(|it| it == "..") {
        errors.push(FieldError::invalid(field, path, "must not contain '..'"));
    }
}

fn descending(path: &str, field: &str, errors: &mut Vec<FieldError>) {
    if path.starts_with('/') {
        errors.push(FieldError::invalid(field, path, "must be a relative path"));
    }
    no_steps_back(path, field, errors);
}

/// The path of a file in a volume.
fn file_path(path: &str, field: &str, errors: &mut Vec<FieldError>) {
    if path.is_empty() {
        errors.push(FieldError::required(field, ""));
    }
    descending(path, field, errors);
    if path.starts_with("..") && path != ".." && !path.starts_with("../") {
        errors.push(FieldError::invalid(field, path, "must not start with '..'"));
    }
}

fn mode(mode: &Value, field: &str, errors: &mut Vec<FieldError>) {
    if mode.as_i64().is_some_and(|it| !(0..=0o777).contains(&it)) {
        errors.push(FieldError::invalid(field, mode.clone(), MODE));
    }
}

fn files(source: &Value, field: &str, errors: &mut Vec<FieldError>) {
    mode(&source["defaultMode"], &format!("{field}.defaultMode"), errors);
    items(source, field, errors);
}

/// Keys and the files they become.
fn items(source: &Value, field: &str, errors: &mut Vec<FieldError>) {
    for (index, item) in list(&source["items"]).iter().enumerate() {
        let field = format!("{field}.items[{index}]");
        if text(&item["key"]).is_empty() {
            errors.push(FieldError::required(format!("{field}.key"), ""));
        }
        file_path(text(&item["path"]), &format!("{field}.path"), errors);
        mode(&item["mode"], &format!("{field}.mode"), errors);
    }
}

/// A file that shows a field; upstream names the list, not the item.
fn downward(item: &Value, field: &str, errors: &mut Vec<FieldError>) {
    file_path(text(&item["path"]), &format!("{field}.path"), errors);
    let (of_field, of_resource) = (&item["fieldRef"], &item["resourceFieldRef"]);
    if of_field.is_object() {
        environment::field_ref(of_field, &FIELDS, &format!("{field}.fieldRef"), errors);
        if of_resource.is_object() {
            let detail = "fieldRef and resourceFieldRef can not be specified simultaneously";
            errors.push(FieldError::invalid(field, "resource", detail));
        }
    } else if of_resource.is_object() {
        environment::resource_ref(of_resource, true, &format!("{field}.resourceFieldRef"), errors);
    } else {
        errors.push(FieldError::required(field, "one of fieldRef and resourceFieldRef is required"));
    }
    mode(&item["mode"], &format!("{field}.mode"), errors);
}

fn projected(source: &Value, field: &str, errors: &mut Vec<FieldError>) {
    mode(&source["defaultMode"], &format!("{field}.defaultMode"), errors);
    let mut seen = BTreeSet::new();
    for (index, part) in list(&source["sources"]).iter().enumerate() {
        let at = format!("{field}.sources[{index}]");
        let mut taken = |path: &Value, shown: &str, errors: &mut Vec<FieldError>| {
            if !text(path).is_empty() && !seen.insert(text(path).to_owned()) {
                errors.push(FieldError::invalid(field, shown, "conflicting duplicate paths"));
            }
        };
        for kind in ["secret", "configMap"].into_iter().filter(|it| part[*it].is_object()) {
            let (of, at) = (&part[kind], format!("{at}.{kind}"));
            if text(&of["name"]).is_empty() {
                errors.push(FieldError::required(format!("{at}.name"), ""));
            }
            items(of, &at, errors);
            for item in list(&of["items"]) {
                taken(&item["path"], text(&of["name"]), errors);
            }
        }
        for item in list(&part["downwardAPI"]["items"]) {
            downward(item, &format!("{at}.downwardAPI"), errors);
            taken(&item["path"], text(&item["path"]), errors);
        }
        if part["serviceAccountToken"].is_object() {
            token(&part["serviceAccountToken"], field, &at, errors);
        }
        let kinds = ["secret", "configMap", "downwardAPI", "serviceAccountToken", "clusterTrustBundle"];
        if kinds.iter().filter(|it| part[**it].is_object()).count() > 1 {
            errors.push(FieldError::forbidden(at, "may not specify more than 1 volume type per source"));
        }
    }
}

fn token(token: &Value, field: &str, at: &str, errors: &mut Vec<FieldError>) {
    let seconds = token["expirationSeconds"].as_i64().unwrap_or(0);
    let detail = match seconds {
        ..600 => Some("may not specify a duration less than 10 minutes"),
        600..=0x1_0000_0000 => None,
        _ => Some("may not specify a duration larger than 2^32 seconds"),
    };
    if let Some(detail) = detail {
        let field = format!("{at}.serviceAccountToken.expirationSeconds");
        errors.push(FieldError::invalid(field, seconds, detail));
    }
    file_path(text(&token["path"]), &format!("{field}.path"), errors);
}

/// A claim made for the pod; its name is not the user's to give.
fn ephemeral(template: &Value, field: &str, errors: &mut Vec<FieldError>) {
    if !template.is_object() {
        errors.push(FieldError::required(field, ""));
        return;
    }
    for (key, value) in template["metadata"].as_object().into_iter().flatten() {
        let is_set =
            !value.is_null() && !matches!(key.as_str(), "labels" | "annotations" | "creationTimestamp");
        if is_set {
            errors.push(FieldError::forbidden(format!("{field}.metadata.{key}"), "cannot be set"));
        }
    }
    storage::claim_spec(&template["spec"], &format!("{field}.spec"), errors);
}

/// Mounts and raw devices of one container.
pub fn mounts(
    container: &Value,
    field: &str,
    volumes: &BTreeMap<&str, &Value>,
    errors: &mut Vec<FieldError>,
) {
    let (mounts, devices) = (list(&container["volumeMounts"]), list(&container["volumeDevices"]));
    let mut seen = BTreeSet::new();
    for (index, mount) in mounts.iter().enumerate() {
        let at = |key: &str| format!("{field}.volumeMounts[{index}].{key}");
        let (name, target) = (text(&mount["name"]), text(&mount["mountPath"]));
        if name.is_empty() {
            errors.push(FieldError::required(at("name"), ""));
        }
        if !volumes.contains_key(name) {
            errors.push(FieldError::not_found(at("name"), name));
        }
        if target.is_empty() {
            errors.push(FieldError::required(at("mountPath"), ""));
        }
        if !seen.insert(target) {
            errors.push(FieldError::invalid(at("mountPath"), target, "must be unique"));
        }
        if devices.iter().any(|it| text(&it["name"]) == name) {
            errors.push(FieldError::invalid(at("name"), name, "must not already exist in volumeDevices"));
        }
        // Upstream names the list where it means the mount.
        let (path, expression) = (text(&mount["subPath"]), text(&mount["subPathExpr"]));
        descending(path, &format!("{field}.volumeMounts.subPath"), errors);
        if !path.is_empty() && !expression.is_empty() {
            let detail = "subPathExpr and subPath are mutually exclusive";
            errors.push(FieldError::invalid(at("subPathExpr"), expression, detail));
        }
        descending(expression, &format!("{field}.volumeMounts.subPathExpr"), errors);
        propagation(&mount["mountPropagation"], container, field, errors);
    }
    let mut seen = BTreeSet::new();
    for (index, device) in devices.iter().enumerate() {
        let at = |key: &str| format!("{field}.volumeDevices[{index}].{key}");
        let (name, path) = (text(&device["name"]), text(&device["devicePath"]));
        if name.is_empty() {
            errors.push(FieldError::required(at("name"), ""));
        }
        match volumes.get(name) {
            None => errors.push(FieldError::not_found(at("name"), name)),
            Some(it) if it["persistentVolumeClaim"].is_object() || it["ephemeral"].is_object() => {}
            Some(_) => {
                let detail =
                    "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
                errors.push(FieldError::invalid(at("name"), name, detail));
            }
        }
        if path.is_empty() {
            errors.push(FieldError::required(at("devicePath"), ""));
        } else if !seen.insert(path) {
            errors.push(FieldError::invalid(at("devicePath"), path, "must be unique"));
        }
    }
}

fn propagation(of: &Value, container: &Value, field: &str, errors: &mut Vec<FieldError>) {
    if of.is_null() {
        return;
    }
    let field = format!("{field}.volumeMounts.mountPropagation");
    let known = ["Bidirectional", "HostToContainer", "None"];
    if !known.contains(&text(of)) {
        errors.push(FieldError::not_supported(field.as_str(), of.clone(), &known));
    }
    if of == "Bidirectional" && container["securityContext"]["privileged"] != true {
        let detail = "Bidirectional mount propagation is available only to privileged containers";
        errors.push(FieldError::forbidden(field, detail));
    }
}
