//! Ingresses and network policies, which are stored and route or stop nothing.
//!
//! Source: `pkg/apis/networking/validation/validation.go`.

use super::{FieldError, immutable, list, one_of, required, text};
use serde_json::Value;

/// `ValidateIngress`.
pub fn ingress(object: &Value, errors: &mut Vec<FieldError>) {
    let spec = &object["spec"];
    if list(&spec["rules"]).is_empty() && !spec["defaultBackend"].is_object() {
        let detail = "either `defaultBackend` or `rules` must be specified";
        errors.push(FieldError::invalid("spec", spec.clone(), detail));
    }
    if spec["defaultBackend"].is_object() {
        backend(&spec["defaultBackend"], "spec.defaultBackend", errors);
    }
    for (outer, rule) in list(&spec["rules"]).iter().enumerate() {
        let http = &rule["http"];
        if http.is_object() && list(&http["paths"]).is_empty() {
            errors.push(FieldError::required(format!("spec.rules[{outer}].http.paths"), ""));
        }
        for (inner, path) in list(&http["paths"]).iter().enumerate() {
            let field = format!("spec.rules[{outer}].http.paths[{inner}]");
            ingress_path(path, &field, errors);
        }
    }
}

fn ingress_path(path: &Value, field: &str, errors: &mut Vec<FieldError>) {
    let kinds = ["Exact", "ImplementationSpecific", "Prefix"];
    match text(&path["pathType"]) {
        "" => errors.push(FieldError::required(format!("{field}.pathType"), "pathType must be specified")),
        "Exact" | "Prefix" if !text(&path["path"]).starts_with('/') => {
            let detail = "must be an absolute path";
            errors.push(FieldError::invalid(format!("{field}.path"), text(&path["path"]), detail));
        }
        kind if !kinds.contains(&kind) => {
            errors.push(FieldError::not_supported(format!("{field}.pathType"), kind, &kinds));
        }
        _ => {}
    }
    backend(&path["backend"], &format!("{field}.backend"), errors);
}

fn backend(backend: &Value, field: &str, errors: &mut Vec<FieldError>) {
    let (service, resource) = (&backend["service"], &backend["resource"]);
    match (service.is_object(), resource.is_object()) {
        (true, true) => {
            let detail = "cannot set both resource and service backends";
            errors.push(FieldError::invalid(field, "", detail));
        }
        (false, false) => errors.push(FieldError::required(field, "resource or service backend is required")),
        (false, true) => {}
        (true, false) => {
            required(service, "name", format!("{field}.service.name"), errors);
            let port = &service["port"];
            let (named, numbered) = (!text(&port["name"]).is_empty(), port["number"].is_number());
            if named && numbered {
                let detail = "cannot set both port name & port number";
                errors.push(FieldError::invalid(field, "", detail));
            } else if !named && !numbered {
                errors.push(FieldError::required(field, "port name or number is required"));
            }
        }
    }
}

/// `ValidateIngressClass`.
pub fn ingress_class(object: &Value, errors: &mut Vec<FieldError>) {
    if text(&object["spec"]["controller"]).is_empty() {
        errors.push(FieldError::required("spec.controller", ""));
    }
}

/// The controller of a class never changes.
pub fn update_ingress_class(old: &Value, new: &Value, errors: &mut Vec<FieldError>) {
    immutable(old, new, "/spec/controller", "spec.controller", errors);
}

/// `ValidateNetworkPolicy`.
pub fn network_policy(object: &Value, errors: &mut Vec<FieldError>) {
    let spec = &object["spec"];
    for (direction, peers) in [("ingress", "from"), ("egress", "to")] {
        for (outer, rule) in list(&spec[direction]).iter().enumerate() {
            for (inner, port) in list(&rule["ports"]).iter().enumerate() {
                let field = format!("spec.{direction}[{outer}].ports[{inner}].protocol");
                one_of(&port["protocol"], &field, &["SCTP", "TCP", "UDP"], errors);
            }
            for (inner, peer) in list(&rule[peers]).iter().enumerate() {
                let field = format!("spec.{direction}[{outer}].{peers}[{inner}]");
                let selects = peer["podSelector"].is_object() || peer["namespaceSelector"].is_object();
                match (selects, peer["ipBlock"].is_object()) {
                    (false, false) => errors.push(FieldError::required(field, "must specify a peer")),
                    (true, true) => errors
                        .push(FieldError::forbidden(field, "may not specify both ipBlock and another peer")),
                    (false, true) => {
                        required(&peer["ipBlock"], "cidr", format!("{field}.ipBlock.cidr"), errors);
                    }
                    (true, false) => {}
                }
            }
        }
    }
    for (index, kind) in list(&spec["policyTypes"]).iter().enumerate() {
        one_of(kind, &format!("spec.policyTypes[{index}]"), &["Egress", "Ingress"], errors);
    }
}
