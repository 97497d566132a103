//! Pods and the pod specs of templates. Source: `ValidatePodSpec`, `ValidatePodCreate`, `ValidatePodUpdate`.
//!
//! Errors come in upstream's order: volumes, containers, then the spec's own fields.

mod containers;
mod environment;
mod probes;
mod resources;
mod scheduling;
mod security;
mod update;
mod volumes;

use super::{FieldError, between, invalid_each, ip, list, metadata, names, one_of, text};
use serde_json::Value;
use std::collections::BTreeMap;

pub use scheduling::{node_selector, tolerations};
pub use update::{ephemeral, resize};
pub use update::{restore, update};
pub use volumes::{csi_driver, host_path, nfs, no_steps_back};

/// Longest list of name servers.
const MAX_NAMESERVERS: usize = 3;
/// Longest list of search domains.
const MAX_SEARCHES: usize = 32;

/// What containers need to know of the pod around them.
struct Surroundings<'a> {
    /// Volumes that are right, by name.
    volumes: BTreeMap<&'a str, &'a Value>,
    /// Seconds.
    grace: i64,
    /// Of the pod.
    restart_policy: &'a str,
}

/// A whole Pod about to be created.
pub fn pod(object: &Value, errors: &mut Vec<FieldError>) {
    let pod = &object["spec"];
    whole(object, errors);
    if !list(&pod["ephemeralContainers"]).is_empty() {
        errors.push(FieldError::forbidden("spec.ephemeralContainers", "cannot be set on create"));
    }
    if !text(&pod["nodeName"]).is_empty() && !list(&pod["schedulingGates"]).is_empty() {
        let detail = "cannot be set until all schedulingGates have been cleared";
        errors.push(FieldError::forbidden("spec.nodeName", detail));
    }
}

/// The spec of a Pod, and what holds for Pods but not for templates.
fn whole(object: &Value, errors: &mut Vec<FieldError>) {
    let pod = &object["spec"];
    checked(pod, "spec", Some(text(&object["metadata"]["name"])), errors);
    for key in ["containers", "initContainers"] {
        for (index, container) in list(&pod[key]).iter().enumerate() {
            containers::trimmed_image(container, &format!("spec.{key}[{index}]"), errors);
        }
    }
}

/// The spec of a template at `path`.
pub fn spec(spec: &Value, path: &str, errors: &mut Vec<FieldError>) {
    checked(spec, path, None, errors);
}

fn checked(spec: &Value, path: &str, pod: Option<&str>, errors: &mut Vec<FieldError>) {
    let surroundings = Surroundings {
        volumes: volumes::check(spec, path, pod, errors),
        grace: spec["terminationGracePeriodSeconds"].as_i64().unwrap_or(0),
        restart_policy: text(&spec["restartPolicy"]),
    };
    containers::regular(spec, path, &surroundings, errors);
    containers::init(spec, path, &surroundings, errors);
    containers::ephemeral(spec, path, &surroundings.volumes, errors);
    host_network(spec, path, pod.is_some(), errors);
    let at = |key: &str| format!("{path}.{key}");
    one_of(&spec["restartPolicy"], &at("restartPolicy"), &["Always", "OnFailure", "Never"], errors);
    let policies = ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
    one_of(&spec["dnsPolicy"], &at("dnsPolicy"), &policies, errors);
    if spec["nodeSelector"].is_object() {
        metadata::labels(&spec["nodeSelector"], &at("nodeSelector"), errors);
    }
    security::of_pod(spec, path, errors);
    if spec["affinity"].is_object() {
        scheduling::affinity(&spec["affinity"], &at("affinity"), errors);
    }
    dns_config(spec, path, errors);
    for (index, gate) in list(&spec["readinessGates"]).iter().enumerate() {
        let name = text(&gate["conditionType"]);
        let field = at(&format!("readinessGates[{index}].conditionType"));
        invalid_each(&field, name, names::qualified_name(name), errors);
    }
    scheduling::gates(list(&spec["schedulingGates"]), &at("schedulingGates"), errors);
    scheduling::spread(list(&spec["topologySpreadConstraints"]), &at("topologySpreadConstraints"), errors);
    host_users(spec, path, errors);
    names_of(spec, path, errors);
    os(spec, path, errors);
}

/// Names, addresses and the deadline.
fn names_of(spec: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let named = |key: &str, grammar: fn(&str) -> Vec<String>, errors: &mut Vec<FieldError>| {
        let value = text(&spec[key]);
        if !value.is_empty() {
            invalid_each(&format!("{path}.{key}"), value, grammar(value), errors);
        }
    };
    named("serviceAccountName", names::dns_subdomain, errors);
    named("nodeName", names::dns_subdomain, errors);
    if !spec["activeDeadlineSeconds"].is_null() {
        between(
            &spec["activeDeadlineSeconds"],
            1,
            i32::MAX.into(),
            &format!("{path}.activeDeadlineSeconds"),
            errors,
        );
    }
    named("hostname", names::label_without_dots, errors);
    named("subdomain", names::label_without_dots, errors);
    named("hostnameOverride", names::dns_subdomain, errors);
    tolerations(list(&spec["tolerations"]), &format!("{path}.tolerations"), errors);
    for (outer, alias) in list(&spec["hostAliases"]).iter().enumerate() {
        let field = format!("{path}.hostAliases[{outer}]");
        ip(&alias["ip"], &format!("{field}.ip"), errors);
        for (inner, name) in list(&alias["hostnames"]).iter().enumerate() {
            let field = format!("{field}.hostnames[{inner}]");
            invalid_each(&field, text(name), names::dns_subdomain(text(name)), errors);
        }
    }
    named("priorityClassName", names::dns_subdomain, errors);
    named("runtimeClassName", names::dns_subdomain, errors);
    if !spec["preemptionPolicy"].is_null() {
        let known = ["PreemptLowerPriority", "Never"];
        one_of(&spec["preemptionPolicy"], &format!("{path}.preemptionPolicy"), &known, errors);
    }
    if spec["overhead"].is_object() {
        let overhead = serde_json::json!({"limits": spec["overhead"]});
        resources::check(&overhead, &format!("{path}.overhead"), errors);
    }
}

/// In the network of the node, the port of a container is that of the node.
fn host_network(spec: &Value, path: &str, is_pod: bool, errors: &mut Vec<FieldError>) {
    if spec["hostNetwork"] != true {
        return;
    }
    for (outer, container) in list(&spec["containers"]).iter().enumerate() {
        for (inner, port) in list(&container["ports"]).iter().enumerate() {
            let host = port["hostPort"].as_i64().unwrap_or(0);
            // In a template it is filled in when the pod is made.
            if (is_pod || host != 0) && Some(host) != port["containerPort"].as_i64() {
                let field = format!("{path}.containers[{outer}].ports[{inner}].hostPort");
                let detail = "must match `containerPort` when `hostNetwork` is true";
                errors.push(FieldError::invalid(field, host, detail));
            }
        }
    }
}

fn host_users(spec: &Value, path: &str, errors: &mut Vec<FieldError>) {
    if spec["hostUsers"] != false {
        return;
    }
    for key in ["hostNetwork", "hostPID", "hostIPC"].into_iter().filter(|it| spec[*it] == true) {
        errors.push(FieldError::forbidden(format!("{path}.{key}"), "when `hostUsers` is false"));
    }
}

fn dns_config(spec: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let config = &spec["dnsConfig"];
    let field = || format!("{path}.dnsConfig");
    let nameservers = list(&config["nameservers"]);
    if spec["dnsPolicy"] == "None" {
        if !config.is_object() {
            let detail = "must provide `dnsConfig` when `dnsPolicy` is None";
            errors.push(FieldError::required(field(), detail));
            return;
        }
        if nameservers.is_empty() {
            let detail = "must provide at least one DNS nameserver when `dnsPolicy` is None";
            errors.push(FieldError::required(format!("{}.nameservers", field()), detail));
            return;
        }
    }
    if !config.is_object() {
        return;
    }
    let field = field();
    if nameservers.len() > MAX_NAMESERVERS {
        let detail = format!("must not have more than {MAX_NAMESERVERS} nameservers");
        errors.push(FieldError::invalid(
            format!("{field}.nameservers"),
            config["nameservers"].clone(),
            detail,
        ));
    }
    for (index, address) in nameservers.iter().enumerate() {
        ip(address, &format!("{field}.nameservers[{index}]"), errors);
    }
    let searches = list(&config["searches"]);
    if searches.len() > MAX_SEARCHES {
        let detail = format!("must not have more than {MAX_SEARCHES} search paths");
        errors.push(FieldError::invalid(format!("{field}.searches"), config["searches"].clone(), detail));
    }
    for (index, search) in searches.iter().enumerate().filter(|it| it.1 != ".") {
        let name = text(search).strip_suffix('.').unwrap_or(text(search));
        let complaints = names::dns_subdomain_with_underscores(name);
        invalid_each(&format!("{field}.searches[{index}]"), name, complaints, errors);
    }
    for (index, option) in list(&config["options"]).iter().enumerate() {
        if text(&option["name"]).is_empty() {
            errors.push(FieldError::required(format!("{field}.options[{index}]"), "must not be empty"));
        }
    }
}

/// Windows knows little of what Linux does.
fn os(spec: &Value, path: &str, errors: &mut Vec<FieldError>) {
    if !spec["os"].is_object() {
        return;
    }
    let name = text(&spec["os"]["name"]);
    match name {
        "" => errors.push(FieldError::required(format!("{path}.os.name"), "cannot be empty")),
        "linux" => {}
        "windows" => {
            for key in ["hostUsers", "hostPID", "hostIPC", "shareProcessNamespace"] {
                if !spec[key].is_null() && spec[key] != false {
                    errors.push(FieldError::forbidden(
                        format!("{path}.{key}"),
                        "cannot be set for a windows pod",
                    ));
                }
            }
            security::not_on_windows(spec, path, errors);
        }
        _ => errors.push(FieldError::not_supported(format!("{path}.os"), name, &["linux", "windows"])),
    }
}
