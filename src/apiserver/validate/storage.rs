//! Claims, volumes and their classes.
//!
//! Source: `ValidatePersistentVolumeClaim(Update)`, `ValidatePersistentVolume(Update)`, `ValidateStorageClass`.

use super::{FieldError, IMMUTABLE, invalid_each, label_selector, list, names, pod, text};
use crate::apiserver::quantity::{self, Quantity};
use serde_json::{Value, json};

const ACCESS_MODES: &[&str] = &["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
const CLAIM_UPDATE: &str = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";

/// The spec of a claim at `path`.
pub fn claim_spec(spec: &Value, path: &str, errors: &mut Vec<FieldError>) {
    access_modes(spec, path, "at least 1 access mode is required", errors);
    label_selector(&spec["selector"], &format!("{path}.selector"), errors);
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
    for key in ["dataSource", "dataSourceRef"].into_iter().filter(|it| spec[*it].is_object()) {
        data_source(&spec[key], &format!("{path}.{key}"), errors);
    }
}

/// What a new claim is filled from.
fn data_source(source: &Value, field: &str, errors: &mut Vec<FieldError>) {
    for key in ["name", "kind"].into_iter().filter(|it| text(&source[*it]).is_empty()) {
        errors.push(FieldError::required(format!("{field}.{key}"), ""));
    }
    let (group, kind) = (text(&source["apiGroup"]), text(&source["kind"]));
    if group.is_empty() {
        if kind != "PersistentVolumeClaim" {
            let detail = "must be 'PersistentVolumeClaim' when referencing the default apiGroup";
            errors.push(FieldError::invalid(field, kind, detail));
        }
    } else {
        invalid_each(&format!("{field}.apiGroup"), group, names::dns_subdomain(group), errors);
    }
}

fn access_modes(spec: &Value, path: &str, missing: &str, errors: &mut Vec<FieldError>) {
    let field = format!("{path}.accessModes");
    let modes = list(&spec["accessModes"]);
    if modes.is_empty() {
        errors.push(FieldError::required(field.as_str(), missing));
    }
    for mode in modes {
        if !ACCESS_MODES.contains(&text(mode)) {
            errors.push(FieldError::not_supported(field.as_str(), mode.clone(), ACCESS_MODES));
        }
    }
    if modes.iter().any(|it| it == "ReadWriteOncePod") && modes.iter().any(|it| it != "ReadWriteOncePod") {
        let detail = "may not use ReadWriteOncePod with other access modes";
        errors.push(FieldError::forbidden(field, detail));
    }
}

/// Growth of what is bound, binding and late choice of a class; nothing else.
pub fn update_claim(old: &Value, new: &Value, errors: &mut Vec<FieldError>) {
    let (before, after) = (&old["spec"], &new["spec"]);
    let is_bound = new["status"]["phase"] == "Bound";
    let mut allowed = after.clone();
    if before["volumeName"].is_null() {
        pod::restore(&mut allowed, before, "volumeName");
    }
    if before["storageClassName"].is_null() && !after["storageClassName"].is_null() {
        pod::restore(&mut allowed, before, "storageClassName");
    }
    if is_bound {
        pod::restore(&mut allowed, before, "volumeAttributesClassName");
        if let Some(resources) = allowed.get_mut("resources") {
            pod::restore(resources, &before["resources"], "requests");
        }
    }
    if allowed != *before {
        errors.push(FieldError::forbidden("spec", CLAIM_UPDATE));
    }
    let (small, large) =
        (&before["resources"]["requests"]["storage"], &after["resources"]["requests"]["storage"]);
    if let (Some(small), Some(large)) = (Quantity::from_json(small), Quantity::from_json(large))
        && large < small
        && Quantity::from_json(&old["status"]["capacity"]["storage"]).is_some_and(|it| large <= it)
    {
        errors.push(FieldError::forbidden(
            "spec.resources.requests.storage",
            "field can not be less than status.capacity",
        ));
    }
}

/// A volume needs a size, modes and one source.
pub fn volume(object: &Value, errors: &mut Vec<FieldError>) {
    let spec = &object["spec"];
    access_modes(spec, "spec", "", errors);
    let capacity = spec["capacity"].as_object();
    if capacity.is_none_or(serde_json::Map::is_empty) {
        errors.push(FieldError::required("spec.capacity", ""));
    }
    if capacity.is_none_or(|it| it.len() != 1 || !it.contains_key("storage")) {
        let value = capacity.map_or(Value::Null, |it| json!(it));
        errors.push(FieldError::not_supported("spec.capacity", value, &["storage"]));
    }
    for (name, amount) in capacity.into_iter().flatten() {
        let field = format!("spec.capacity[{name}]");
        match Quantity::from_json(amount) {
            None => errors.push(FieldError::invalid(field, amount.clone(), quantity::FORMAT_ERROR)),
            Some(it) if it.is_negative() || it.is_zero() => {
                errors.push(FieldError::invalid(field, amount.clone(), "must be greater than zero"));
            }
            Some(_) => {}
        }
    }
    let policy = &spec["persistentVolumeReclaimPolicy"];
    let policies = ["Delete", "Recycle", "Retain"];
    if !text(policy).is_empty() && !policies.contains(&text(policy)) {
        let field = "spec.persistentVolumeReclaimPolicy";
        errors.push(FieldError::not_supported(field, policy.clone(), &policies));
    }
    let affinity = &spec["nodeAffinity"];
    if affinity.is_object() {
        if affinity["required"].is_object() {
            pod::node_selector(&affinity["required"], "spec.nodeAffinity.required", errors);
        } else {
            let detail = "must specify required node constraints";
            errors.push(FieldError::required("spec.nodeAffinity.required", detail));
        }
    }
    volume_source(spec, errors);
    let class = text(&spec["storageClassName"]);
    if !class.is_empty() {
        invalid_each("spec.storageClassName", class, names::dns_subdomain(class), errors);
    }
    let mode = &spec["volumeMode"];
    if !mode.is_null() && !matches!(text(mode), "Block" | "Filesystem") {
        errors.push(FieldError::not_supported("spec.volumeMode", mode.clone(), &["Block", "Filesystem"]));
    }
}

fn volume_source(spec: &Value, errors: &mut Vec<FieldError>) {
    let sources = sources(spec);
    let Some(((kind, source), others)) = sources.split_first() else {
        errors.push(FieldError::required("spec", "must specify a volume type"));
        return;
    };
    let field = format!("spec.{kind}");
    match kind.as_str() {
        "hostPath" => pod::host_path(source, &field, errors),
        "nfs" => pod::nfs(source, &field, errors),
        "local" => {
            match text(&source["path"]) {
                "" => errors.push(FieldError::required(format!("{field}.path"), "")),
                path => pod::no_steps_back(path, &format!("{field}.path"), errors),
            }
            if spec["nodeAffinity"].is_null() {
                let detail = "Local volume requires node affinity";
                errors.push(FieldError::required("spec.nodeAffinity", detail));
            }
        }
        "csi" => {
            pod::csi_driver(source, &field, errors);
            if text(&source["volumeHandle"]).is_empty() {
                errors.push(FieldError::required(format!("{field}.volumeHandle"), ""));
            }
        }
        _ => {}
    }
    for (other, _) in others {
        let detail = "may not specify more than 1 volume type";
        errors.push(FieldError::forbidden(format!("spec.{other}"), detail));
    }
}

/// Who makes volumes, and how.
pub fn class(object: &Value, errors: &mut Vec<FieldError>) {
    match text(&object["provisioner"]) {
        "" => errors.push(FieldError::required("provisioner", "")),
        provisioner => {
            let lower = provisioner.to_lowercase();
            invalid_each("provisioner", &lower, names::qualified_name(&lower), errors);
        }
    }
    for key in object["parameters"].as_object().into_iter().flatten().map(|it| it.0) {
        if key.is_empty() {
            errors.push(FieldError::invalid("parameters", "", "field can not be empty."));
        }
    }
    for (key, known) in [
        ("reclaimPolicy", ["Delete", "Retain"]),
        ("volumeBindingMode", ["Immediate", "WaitForFirstConsumer"]),
    ] {
        if !known.contains(&text(&object[key])) {
            errors.push(FieldError::not_supported(key, object[key].clone(), &known));
        }
    }
    for (outer, term) in list(&object["allowedTopologies"]).iter().enumerate() {
        for (inner, rule) in list(&term["matchLabelExpressions"]).iter().enumerate() {
            let field = format!("allowedTopologies[{outer}].matchLabelExpressions[{inner}]");
            let values = list(&rule["values"]);
            if values.is_empty() {
                errors.push(FieldError::required(format!("{field}.values"), ""));
            }
            for (index, value) in values.iter().enumerate().filter(|it| values[..it.0].contains(it.1)) {
                errors.push(FieldError::duplicate(format!("{field}.values[{index}]"), value.clone()));
            }
            let key = text(&rule["key"]);
            invalid_each(&format!("{field}.key"), key, names::qualified_name(key), errors);
        }
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

/// The source and the mode of a volume never change.
pub fn update_volume(old: &Value, new: &Value, errors: &mut Vec<FieldError>) {
    if sources(&old["spec"]) != sources(&new["spec"]) {
        let detail = "spec.persistentvolumesource is immutable after creation";
        errors.push(FieldError::forbidden("spec.persistentvolumesource", detail));
    }
    if old["spec"]["volumeMode"] != new["spec"]["volumeMode"] {
        errors.push(FieldError::invalid("volumeMode", new["spec"]["volumeMode"].clone(), IMMUTABLE));
    }
}
