//! Ingresses and network policies, which are stored and route or stop nothing.
//!
//! Source: `pkg/apis/networking/validation/validation.go`.

use super::{
    FieldError, between, cidr, immutable, invalid_each, ip, label_selector, list, metadata, names, one_of,
    port_number_or_name, service, text,
};
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
        host(text(&rule["host"]), &format!("spec.rules[{outer}].host"), errors);
        let http = &rule["http"];
        if http.is_object() && list(&http["paths"]).is_empty() {
            errors.push(FieldError::required(format!("spec.rules[{outer}].http.paths"), ""));
        }
        for (inner, path) in list(&http["paths"]).iter().enumerate() {
            let field = format!("spec.rules[{outer}].http.paths[{inner}]");
            ingress_path(path, &field, errors);
        }
    }
    for (outer, tls) in list(&spec["tls"]).iter().enumerate() {
        for (inner, name) in list(&tls["hosts"]).iter().enumerate() {
            let (field, name) = (format!("spec.tls[{outer}].hosts[{inner}]"), text(name));
            let complaints = if name.contains('*') {
                names::wildcard_dns_subdomain(name)
            } else {
                names::dns_subdomain(name)
            };
            invalid_each(&field, name, complaints, errors);
        }
        let secret = text(&tls["secretName"]);
        if !secret.is_empty() {
            let field = format!("spec.tls[{outer}].secretName");
            invalid_each(&field, secret, names::dns_subdomain(secret), errors);
        }
    }
    let class = text(&spec["ingressClassName"]);
    if !class.is_empty() {
        invalid_each("spec.ingressClassName", class, names::dns_subdomain(class), errors);
    }
}

/// The host of a rule: a name, perhaps with a star in front.
fn host(host: &str, field: &str, errors: &mut Vec<FieldError>) {
    if host.is_empty() {
        return;
    }
    if host.parse::<std::net::IpAddr>().is_ok() {
        errors.push(FieldError::invalid(field, host, "must be a DNS name, not an IP address"));
    } else if host.contains('*') {
        invalid_each(field, host, names::wildcard_dns_subdomain(host), errors);
    } else {
        invalid_each(field, host, names::dns_subdomain(host), errors);
    }
}

fn ingress_path(path: &Value, field: &str, errors: &mut Vec<FieldError>) {
    /// What a path must not contain, and must not end with.
    const ODD: [&str; 6] = ["//", "/./", "/../", "%2f", "%2F", "#"];
    const ODD_ENDS: [&str; 2] = ["/..", "/."];
    let kinds = ["Exact", "ImplementationSpecific", "Prefix"];
    let (of, at) = (text(&path["path"]), format!("{field}.path"));
    match text(&path["pathType"]) {
        "" => errors.push(FieldError::required(format!("{field}.pathType"), "pathType must be specified")),
        "Exact" | "Prefix" => {
            if !of.starts_with('/') {
                errors.push(FieldError::invalid(at.as_str(), of, "must be an absolute path"));
            }
            for odd in ODD.into_iter().filter(|it| of.contains(it)) {
                errors.push(FieldError::invalid(at.as_str(), of, format!("must not contain '{odd}'")));
            }
            for odd in ODD_ENDS.into_iter().filter(|it| of.ends_with(it)) {
                errors.push(FieldError::invalid(at.as_str(), of, format!("cannot end with '{odd}'")));
            }
        }
        "ImplementationSpecific" if !of.is_empty() && !of.starts_with('/') => {
            errors.push(FieldError::invalid(at, of, "must be an absolute path"));
        }
        "ImplementationSpecific" => {}
        kind => errors.push(FieldError::not_supported(format!("{field}.pathType"), kind, &kinds)),
    }
    backend(&path["backend"], &format!("{field}.backend"), errors);
}

/// A write of the status: where its load balancer listens.
pub fn ingress_status(object: &Value, errors: &mut Vec<FieldError>) {
    for (index, one) in list(&object["status"]["loadBalancer"]["ingress"]).iter().enumerate() {
        let field = format!("status.loadBalancer.ingress[{index}]");
        if !text(&one["ip"]).is_empty() {
            ip(&one["ip"], &format!("{field}.ip"), errors);
        }
        service::host_name(text(&one["hostname"]), &format!("{field}.hostname"), errors);
    }
}

fn backend(backend: &Value, field: &str, errors: &mut Vec<FieldError>) {
    let (service, resource) = (&backend["service"], &backend["resource"]);
    match (service.is_object(), resource.is_object()) {
        (true, true) => {
            let detail = "cannot set both resource and service backends";
            errors.push(FieldError::invalid(field, "", detail));
        }
        (false, false) => {
            errors.push(FieldError::invalid(field, "", "resource or service backend is required"));
        }
        (false, true) => {}
        (true, false) => {
            let field_of = |key: &str| format!("{field}.service.{key}");
            match text(&service["name"]) {
                "" => errors.push(FieldError::required(field_of("name"), "")),
                name => invalid_each(&field_of("name"), name, names::dns_label(name), errors),
            }
            let port = &service["port"];
            let (name, number) = (text(&port["name"]), port["number"].as_i64().unwrap_or(0));
            if !name.is_empty() && number != 0 {
                errors.push(FieldError::invalid(field, "", "cannot set both port name & port number"));
            } else if name.is_empty() && number == 0 {
                errors.push(FieldError::required(field, "port name or number is required"));
            } else if name.is_empty() {
                port_number_or_name(&port["number"], &field_of("port.number"), errors);
            } else {
                invalid_each(&field_of("port.name"), name, names::port_name(name), errors);
            }
        }
    }
}

/// `ValidateIngressClass`.
pub fn ingress_class(object: &Value, errors: &mut Vec<FieldError>) {
    let spec = &object["spec"];
    let is_prefixed = |it: &str| {
        let (domain, path) = it.split_once('/').unwrap_or_default();
        !path.is_empty() && names::dns_subdomain(domain).is_empty()
    };
    match text(&spec["controller"]) {
        "" => errors.push(FieldError::required("spec.controller", "")),
        controller if !is_prefixed(controller) => {
            let detail = "must be a domain-prefixed path (such as \"acme.io/foo\")";
            errors.push(FieldError::invalid("spec.controller", controller, detail));
        }
        _ => {}
    }
    let parameters = &spec["parameters"];
    if !parameters.is_object() {
        return;
    }
    for key in ["kind", "name"] {
        let field = format!("spec.parameters.{key}");
        match text(&parameters[key]) {
            "" => errors.push(FieldError::required(field, "")),
            it => invalid_each(&field, it, metadata::path_segment(it), errors),
        }
    }
    let namespace = text(&parameters["namespace"]);
    let field = "spec.parameters.namespace";
    match text(&parameters["scope"]) {
        "Namespace" if namespace.is_empty() => {
            errors.push(FieldError::required(field, "`parameters.scope` is set to 'Namespace'"));
        }
        "Namespace" => invalid_each(field, namespace, names::dns_label(namespace), errors),
        "Cluster" if !namespace.is_empty() => {
            errors.push(FieldError::forbidden(field, "`parameters.scope` is set to 'Cluster'"));
        }
        "Cluster" => {}
        "" => errors.push(FieldError::required("spec.parameters.scope", "")),
        other => {
            let known = ["Cluster", "Namespace"];
            errors.push(FieldError::not_supported("spec.parameters.scope", other, &known));
        }
    }
}

/// The controller of a class never changes.
pub fn update_ingress_class(old: &Value, new: &Value, errors: &mut Vec<FieldError>) {
    immutable(old, new, "/spec/controller", "spec.controller", errors);
}

/// `ValidateNetworkPolicy`.
pub fn network_policy(object: &Value, errors: &mut Vec<FieldError>) {
    let spec = &object["spec"];
    label_selector(&spec["podSelector"], "spec.podSelector", errors);
    for (direction, peers) in [("ingress", "from"), ("egress", "to")] {
        for (outer, rule) in list(&spec[direction]).iter().enumerate() {
            for (inner, port) in list(&rule["ports"]).iter().enumerate() {
                policy_port(port, &format!("spec.{direction}[{outer}].ports[{inner}]"), errors);
            }
            for (inner, one) in list(&rule[peers]).iter().enumerate() {
                peer(one, &format!("spec.{direction}[{outer}].{peers}[{inner}]"), errors);
            }
        }
    }
    let kinds = list(&spec["policyTypes"]);
    if kinds.len() > 2 {
        let detail = "may not specify more than two policyTypes";
        errors.push(FieldError::invalid("spec.policyTypes", spec["policyTypes"].clone(), detail));
        return;
    }
    for (index, kind) in kinds.iter().enumerate() {
        if !["Ingress", "Egress"].contains(&text(kind)) {
            let field = format!("spec.policyTypes[{index}]");
            errors.push(FieldError::not_supported(field, kind.clone(), &["Egress", "Ingress"]));
        }
    }
}

fn policy_port(port: &Value, field: &str, errors: &mut Vec<FieldError>) {
    one_of(&port["protocol"], &format!("{field}.protocol"), &["TCP", "UDP", "SCTP"], errors);
    port_number_or_name(&port["port"], &format!("{field}.port"), errors);
    let end = &port["endPort"];
    if end.is_null() {
        return;
    }
    let first = &port["port"];
    let (value, detail) = match first {
        Value::Null => (end, "may not be specified when `port` is not specified"),
        Value::String(_) => (end, "may not be specified when `port` is non-numeric"),
        // Upstream shows the one it has to reach.
        _ if end.as_i64() < first.as_i64() => (first, "must be greater than or equal to `port`"),
        _ => {
            between(end, 1, 65_535, &format!("{field}.endPort"), errors);
            return;
        }
    };
    errors.push(FieldError::invalid(format!("{field}.endPort"), value.clone(), detail));
}

fn peer(peer: &Value, field: &str, errors: &mut Vec<FieldError>) {
    for key in ["podSelector", "namespaceSelector"] {
        label_selector(&peer[key], &format!("{field}.{key}"), errors);
    }
    let selects = peer["podSelector"].is_object() || peer["namespaceSelector"].is_object();
    match (selects, peer["ipBlock"].is_object()) {
        (false, false) => errors.push(FieldError::required(field, "must specify a peer")),
        (true, true) => {
            errors.push(FieldError::forbidden(field, "may not specify both ipBlock and another peer"));
        }
        (false, true) => ip_block(&peer["ipBlock"], &format!("{field}.ipBlock"), errors),
        (true, false) => {}
    }
}

fn ip_block(block: &Value, field: &str, errors: &mut Vec<FieldError>) {
    let whole = text(&block["cidr"]);
    if whole.is_empty() {
        errors.push(FieldError::required(format!("{field}.cidr"), ""));
        return;
    }
    cidr(&block["cidr"], &format!("{field}.cidr"), errors);
    let Ok(parsed) = whole.parse::<ipnet::IpNet>() else { return };
    for (index, part) in list(&block["except"]).iter().enumerate() {
        let field = format!("{field}.except[{index}]");
        cidr(part, &field, errors);
        let inside = |it: &ipnet::IpNet| parsed.contains(it) && parsed.prefix_len() < it.prefix_len();
        if text(part).parse().is_ok_and(|it| !inside(&it)) {
            errors.push(FieldError::invalid(field, text(part), "must be a strict subset of `cidr`"));
        }
    }
}
