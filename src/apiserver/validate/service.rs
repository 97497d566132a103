//! Services. Source: `ValidateService`, `ValidateServiceUpdate`.

use crate::apiserver::families;

use super::{FieldError, invalid_each, list, metadata, names, one_of, text};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const TYPES: &[&str] = &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];

pub fn check(object: &Value, errors: &mut Vec<FieldError>) {
    let spec = &object["spec"];
    let kind = text(&spec["type"]);
    let address = text(&spec["clusterIP"]);
    let headless = address == "None";
    let all = list(&spec["ports"]);
    if all.is_empty() && !headless && kind != "ExternalName" {
        errors.push(FieldError::required("spec.ports", ""));
    }
    match kind {
        "LoadBalancer" | "NodePort" if headless => errors.push(FieldError::invalid(
            "spec.clusterIPs[0]",
            "None",
            format!("may not be set to 'None' for {kind} services"),
        )),
        "ExternalName" => {
            if !address.is_empty() {
                let detail = "may not be set when `type` is 'ExternalName'";
                errors.push(FieldError::forbidden("spec.clusterIPs", detail));
            }
            let target = text(&spec["externalName"]);
            match target.strip_suffix('.').unwrap_or(target) {
                "" => errors.push(FieldError::required("spec.externalName", "")),
                name => invalid_each("spec.externalName", target, names::dns_subdomain(name), errors),
            }
        }
        _ => {}
    }
    let inside = matches!(kind, "ClusterIP" | "ExternalName") && list(&spec["externalIPs"]).is_empty();
    if inside && spec["externalTrafficPolicy"] == "Local" {
        let detail = "may only be set for externally-accessible services";
        errors.push(FieldError::invalid("spec.externalTrafficPolicy", "Local", detail));
    }
    errors.extend(families::related(object));
    ports(all, errors);
    metadata::labels(&spec["selector"], "spec.selector", errors);
    one_of(&spec["sessionAffinity"], "spec.sessionAffinity", &["ClientIP", "None"], errors);
    one_of(&spec["type"], "spec.type", TYPES, errors);
    for (key, allowed) in [
        ("internalTrafficPolicy", ["Cluster", "Local"].as_slice()),
        ("externalTrafficPolicy", &["Cluster", "Local"]),
    ] {
        if !spec[key].is_null() {
            one_of(&spec[key], &format!("spec.{key}"), allowed, errors);
        }
    }
}

fn ports(ports: &[Value], errors: &mut Vec<FieldError>) {
    let (mut named, mut numbered) = (BTreeSet::new(), BTreeSet::new());
    for (index, port) in ports.iter().enumerate() {
        let field = format!("spec.ports[{index}]");
        let name = text(&port["name"]);
        if name.is_empty() {
            if ports.len() > 1 {
                errors.push(FieldError::required(format!("{field}.name"), ""));
            }
        } else {
            invalid_each(&format!("{field}.name"), name, names::dns_label(name), errors);
            if !named.insert(name) {
                errors.push(FieldError::duplicate(format!("{field}.name"), name));
            }
        }
        let number = port["port"].as_i64().unwrap_or_default();
        if !(1..=65_535).contains(&number) {
            errors.push(FieldError::invalid(format!("{field}.port"), number, names::PORT_RANGE));
        }
        one_of(&port["protocol"], &format!("{field}.protocol"), &["SCTP", "TCP", "UDP"], errors);
        target_port(&port["targetPort"], &format!("{field}.targetPort"), errors);
        let node_port = port["nodePort"].as_i64().unwrap_or_default();
        if !(0..=65_535).contains(&node_port) {
            errors.push(FieldError::invalid(format!("{field}.nodePort"), node_port, names::PORT_RANGE));
        }
        if !numbered.insert((number, text(&port["protocol"]))) {
            let value = json!({"port": number, "protocol": port["protocol"]});
            errors.push(FieldError::duplicate(field, value));
        }
    }
}

fn target_port(value: &Value, field: &str, errors: &mut Vec<FieldError>) {
    match value {
        Value::Number(number) if !(1..=65_535).contains(&number.as_i64().unwrap_or_default()) => {
            errors.push(FieldError::invalid(field, value.clone(), names::PORT_RANGE));
        }
        Value::String(name) => invalid_each(field, name, names::port_name(name), errors),
        _ => {}
    }
}

/// The first cluster IP and family stay for the life of the Service, unless it turns into an `ExternalName` or out of one.
pub fn update(old: &Value, new: &Value, errors: &mut Vec<FieldError>) {
    errors.extend(families::changes(old, new));
}
