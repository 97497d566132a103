//! Pod specs, in Pods and in templates. Source: `ValidatePodSpec`, `ValidatePodUpdate`.

use super::{FieldError, invalid_each, list, metadata, names, non_negative, one_of, required, text};
use crate::apiserver::quantity::{self, Quantity};
use serde_json::Value;
use std::collections::BTreeSet;

const PULL_POLICIES: &[&str] = &["Always", "IfNotPresent", "Never"];
const UPDATE: &str = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// Checks a pod spec at `path`.
pub fn spec(spec: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let mut volumes = BTreeSet::new();
    for (index, volume) in list(&spec["volumes"]).iter().enumerate() {
        let field = format!("{path}.volumes[{index}].name");
        unique_label(volume, &field, &mut volumes, errors);
        let sources = volume.as_object().into_iter().flatten().filter(|it| it.0 != "name" && !it.1.is_null());
        for (source, _) in sources.skip(1) {
            let detail = "may not specify more than 1 volume type";
            errors.push(FieldError::forbidden(format!("{path}.volumes[{index}].{source}"), detail));
        }
    }
    if list(&spec["containers"]).is_empty() {
        errors.push(FieldError::required(format!("{path}.containers"), ""));
    }
    let mut seen = BTreeSet::new();
    for name in ["containers", "initContainers"] {
        for (index, one) in list(&spec[name]).iter().enumerate() {
            let field = format!("{path}.{name}[{index}]");
            unique_label(one, &format!("{field}.name"), &mut seen, errors);
            container(one, &field, &volumes, errors);
        }
        host_ports(list(&spec[name]), &format!("{path}.{name}"), errors);
    }
    one_of(
        &spec["restartPolicy"],
        &format!("{path}.restartPolicy"),
        &["Always", "OnFailure", "Never"],
        errors,
    );
    one_of(
        &spec["dnsPolicy"],
        &format!("{path}.dnsPolicy"),
        &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"],
        errors,
    );
    if spec["dnsPolicy"] == "None" && list(&spec["dnsConfig"]["nameservers"]).is_empty() {
        errors.push(FieldError::required(
            format!("{path}.dnsConfig.nameservers"),
            "must provide at least one DNS nameserver when `dnsPolicy` is None",
        ));
    }
    metadata::labels(&spec["nodeSelector"], &format!("{path}.nodeSelector"), errors);
    if spec["activeDeadlineSeconds"].as_i64().is_some_and(|it| it < 1) {
        errors.push(FieldError::invalid(
            format!("{path}.activeDeadlineSeconds"),
            spec["activeDeadlineSeconds"].clone(),
            "must be between 1 and 2147483647, inclusive",
        ));
    }
    for key in ["hostname", "subdomain"] {
        let value = text(&spec[key]);
        if !value.is_empty() {
            invalid_each(&format!("{path}.{key}"), value, names::dns_label(value), errors);
        }
    }
    for key in ["serviceAccountName", "nodeName"] {
        let value = text(&spec[key]);
        if !value.is_empty() {
            invalid_each(&format!("{path}.{key}"), value, names::dns_subdomain(value), errors);
        }
    }
}

fn unique_label<'a>(
    item: &'a Value,
    field: &str,
    seen: &mut BTreeSet<&'a str>,
    errors: &mut Vec<FieldError>,
) {
    let name = text(&item["name"]);
    if name.is_empty() {
        errors.push(FieldError::required(field, ""));
        return;
    }
    invalid_each(field, name, names::dns_label(name), errors);
    if !seen.insert(name) {
        errors.push(FieldError::duplicate(field, name));
    }
}

fn container(container: &Value, path: &str, volumes: &BTreeSet<&str>, errors: &mut Vec<FieldError>) {
    let image = text(&container["image"]);
    if image.is_empty() {
        errors.push(FieldError::required(format!("{path}.image"), ""));
    } else if image.trim() != image {
        errors.push(FieldError::invalid(
            format!("{path}.image"),
            image,
            "must not have leading or trailing whitespace",
        ));
    }
    one_of(&container["imagePullPolicy"], &format!("{path}.imagePullPolicy"), PULL_POLICIES, errors);
    ports(list(&container["ports"]), path, errors);
    for (index, env) in list(&container["env"]).iter().enumerate() {
        let field = format!("{path}.env[{index}].name");
        match text(&env["name"]) {
            "" => errors.push(FieldError::required(field, "")),
            name => invalid_each(&field, name, names::env_name(name), errors),
        }
        if !text(&env["value"]).is_empty() && env["valueFrom"].is_object() {
            errors.push(FieldError::invalid(
                format!("{path}.env[{index}].valueFrom"),
                "",
                "may not be specified when `value` is not empty",
            ));
        }
    }
    mounts(list(&container["volumeMounts"]), path, volumes, errors);
    resources(&container["resources"], &format!("{path}.resources"), errors);
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        probe_numbers(&container[probe], &format!("{path}.{probe}"), probe != "readinessProbe", errors);
    }
}

fn ports(ports: &[Value], path: &str, errors: &mut Vec<FieldError>) {
    let mut seen = BTreeSet::new();
    for (index, port) in ports.iter().enumerate() {
        let field = format!("{path}.ports[{index}]");
        let name = text(&port["name"]);
        if !name.is_empty() {
            invalid_each(&format!("{field}.name"), name, names::port_name(name), errors);
            if !seen.insert(name) {
                errors.push(FieldError::duplicate(format!("{field}.name"), name));
            }
        }
        match port["containerPort"].as_i64().unwrap_or_default() {
            0 => errors.push(FieldError::required(format!("{field}.containerPort"), "")),
            1..=65_535 => {}
            other => {
                errors.push(FieldError::invalid(format!("{field}.containerPort"), other, names::PORT_RANGE));
            }
        }
        if port["hostPort"].as_i64().is_some_and(|it| !(0..=65_535).contains(&it)) {
            let value = port["hostPort"].clone();
            errors.push(FieldError::invalid(format!("{field}.hostPort"), value, names::PORT_RANGE));
        }
        one_of(&port["protocol"], &format!("{field}.protocol"), &["SCTP", "TCP", "UDP"], errors);
    }
}

fn host_ports(containers: &[Value], path: &str, errors: &mut Vec<FieldError>) {
    let mut seen = BTreeSet::new();
    for (outer, container) in containers.iter().enumerate() {
        for (inner, port) in list(&container["ports"]).iter().enumerate() {
            let number = port["hostPort"].as_i64().unwrap_or_default();
            let id = format!("{}/{}/{number}", text(&port["protocol"]), text(&port["hostIP"]));
            if number != 0 && !seen.insert(id.clone()) {
                errors.push(FieldError::duplicate(format!("{path}[{outer}].ports[{inner}].hostPort"), id));
            }
        }
    }
}

fn mounts(mounts: &[Value], path: &str, volumes: &BTreeSet<&str>, errors: &mut Vec<FieldError>) {
    let mut seen = BTreeSet::new();
    for (index, mount) in mounts.iter().enumerate() {
        let field = format!("{path}.volumeMounts[{index}]");
        match text(&mount["name"]) {
            "" => errors.push(FieldError::required(format!("{field}.name"), "")),
            name if !volumes.contains(name) => {
                errors.push(FieldError::not_found(format!("{field}.name"), name));
            }
            _ => {}
        }
        let target = text(&mount["mountPath"]);
        required(mount, "mountPath", format!("{field}.mountPath"), errors);
        if !target.is_empty() && !seen.insert(target) {
            errors.push(FieldError::invalid(format!("{field}.mountPath"), target, "must be unique"));
        }
    }
}

fn resources(resources: &Value, path: &str, errors: &mut Vec<FieldError>) {
    for list in ["limits", "requests"] {
        for (name, amount) in resources[list].as_object().into_iter().flatten() {
            let field = format!("{path}.{list}[{name}]");
            match Quantity::from_json(amount) {
                None => errors.push(FieldError::invalid(field, amount.clone(), quantity::FORMAT_ERROR)),
                Some(it) if it.is_negative() => {
                    errors.push(FieldError::invalid(field, amount.clone(), super::NON_NEGATIVE));
                }
                _ => {}
            }
        }
    }
    for (name, amount) in resources["requests"].as_object().into_iter().flatten() {
        let limit = &resources["limits"][name.as_str()];
        if let (Some(request), Some(bound)) = (Quantity::from_json(amount), Quantity::from_json(limit))
            && request > bound
        {
            errors.push(FieldError::invalid(
                format!("{path}.requests"),
                amount.clone(),
                format!("must be less than or equal to {name} limit of {bound}"),
            ));
        }
    }
}

fn probe_numbers(probe: &Value, path: &str, success_is_one: bool, errors: &mut Vec<FieldError>) {
    if !probe.is_object() {
        return;
    }
    for key in
        ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"]
    {
        non_negative(&probe[key], format!("{path}.{key}"), errors);
    }
    if success_is_one && probe["successThreshold"].as_i64().is_some_and(|it| it > 1) {
        errors.push(FieldError::invalid(
            format!("{path}.successThreshold"),
            probe["successThreshold"].clone(),
            "must be 1",
        ));
    }
    let handlers =
        ["exec", "httpGet", "tcpSocket", "grpc"].iter().filter(|it| probe[**it].is_object()).count();
    match handlers {
        0 => errors.push(FieldError::required(path, "must specify a handler type")),
        1 => {}
        _ => errors.push(FieldError::forbidden(path, "may not specify more than 1 handler type")),
    }
}

/// Only images, the deadline, more tolerations and fewer scheduling gates may change.
pub fn update(old: &Value, new: &Value, errors: &mut Vec<FieldError>) {
    let (old, new) = (&old["spec"], &new["spec"]);
    if old == new {
        return;
    }
    for list_name in ["containers", "initContainers"] {
        for (index, one) in list(&new[list_name]).iter().enumerate() {
            required(one, "image", format!("spec.{list_name}[{index}].image"), errors);
        }
        if list(&old[list_name]).len() != list(&new[list_name]).len() {
            errors.push(FieldError::forbidden(
                format!("spec.{list_name}"),
                "pod updates may not add or remove containers",
            ));
            return;
        }
    }
    let gates = |it: &Value| list(&it["schedulingGates"]).to_vec();
    if !gates(new).iter().all(|it| gates(old).contains(it)) {
        errors.push(FieldError::forbidden(
            "spec.schedulingGates",
            "only deletion is allowed, but found new scheduling gates",
        ));
    }
    if !list(&old["tolerations"]).iter().all(|it| list(&new["tolerations"]).contains(it)) {
        errors.push(FieldError::forbidden(
            "spec.tolerations",
            "existing toleration can not be modified except its tolerationSeconds",
        ));
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

/// Puts the old value of `key` back, or removes the key if there was none.
pub fn restore(object: &mut Value, old: &Value, key: &str) {
    if let Some(map) = object.as_object_mut() {
        match old.get(key) {
            Some(value) => map.insert(key.to_owned(), value.clone()),
            None => map.remove(key),
        };
    }
}
