//! Containers of the three lists of a pod. Source: `validateContainers`, `validateInitContainers`,
//! `validateEphemeralContainers`.

use super::{
    FieldError, Surroundings, environment, invalid_each, list, names, one_of, probes, resources, security,
    text, volumes,
};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Probes and hooks, which only containers that go on running have.
const WATCHED: [&str; 4] = ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"];
const RESTARTS: [&str; 3] = ["Always", "Never", "OnFailure"];

pub fn regular(spec: &Value, path: &str, pod: &Surroundings<'_>, errors: &mut Vec<FieldError>) {
    let all = list(&spec["containers"]);
    if all.is_empty() {
        errors.push(FieldError::required(format!("{path}.containers"), ""));
        return;
    }
    let mut seen = BTreeSet::new();
    for (index, container) in all.iter().enumerate() {
        let field = format!("{path}.containers[{index}]");
        common(container, &field, &pod.volumes, errors);
        resize_policies(container, &field, pod.restart_policy, errors);
        unique_name(container, &field, &mut seen, errors);
        probes::check(container, &field, pod.grace, errors);
    }
    host_ports(all, &format!("{path}.containers"), errors);
}

pub fn init(spec: &Value, path: &str, pod: &Surroundings<'_>, errors: &mut Vec<FieldError>) {
    let all = list(&spec["initContainers"]);
    if all.is_empty() {
        return;
    }
    let mut seen: BTreeSet<&str> =
        list(&spec["containers"]).iter().map(|it| text(&it["name"])).filter(|it| !it.is_empty()).collect();
    for (index, container) in all.iter().enumerate() {
        let field = format!("{path}.initContainers[{index}]");
        common(container, &field, &pod.volumes, errors);
        resize_policies(container, &field, pod.restart_policy, errors);
        unique_name(container, &field, &mut seen, errors);
        if container["restartPolicy"] == "Always" {
            probes::check(container, &field, pod.grace, errors);
            continue;
        }
        for key in WATCHED.iter().filter(|it| container[**it].is_object()) {
            let detail = "may not be set for init containers without restartPolicy=Always";
            errors.push(FieldError::forbidden(format!("{field}.{key}"), detail));
        }
    }
    // They run one after the other, so that each has the ports for itself.
    for container in all {
        host_ports(std::slice::from_ref(container), &format!("{path}.initContainers"), errors);
    }
}

/// Containers added to a running pod: without what the pod's own work needs.
pub fn ephemeral(spec: &Value, path: &str, volumes: &BTreeMap<&str, &Value>, errors: &mut Vec<FieldError>) {
    const NEVER: [&str; 8] = [
        "ports",
        "resources",
        "resizePolicy",
        "restartPolicy",
        "livenessProbe",
        "readinessProbe",
        "startupProbe",
        "lifecycle",
    ];
    let all = list(&spec["ephemeralContainers"]);
    if all.is_empty() {
        return;
    }
    let others: BTreeSet<&str> = ["containers", "initContainers"]
        .iter()
        .flat_map(|key| list(&spec[*key]))
        .map(|it| text(&it["name"]))
        .collect();
    let mut seen = others.clone();
    for (index, container) in all.iter().enumerate() {
        let field = format!("{path}.ephemeralContainers[{index}]");
        common(container, &field, volumes, errors);
        trimmed_image(container, &field, errors);
        unique_name(container, &field, &mut seen, errors);
        let target = text(&container["targetContainerName"]);
        if !target.is_empty() && !others.contains(target) {
            errors.push(FieldError::not_found(format!("{field}.targetContainerName"), target));
        }
        let is_set = |it: &Value| match it {
            Value::Object(map) => !map.is_empty(),
            other => !other.is_null(),
        };
        for key in NEVER.iter().filter(|it| is_set(&container[**it])) {
            let detail = "cannot be set for an Ephemeral Container";
            errors.push(FieldError::forbidden(format!("{field}.{key}"), detail));
        }
    }
}

/// An image without blanks around it; templates may have them.
pub fn trimmed_image(container: &Value, field: &str, errors: &mut Vec<FieldError>) {
    let image = text(&container["image"]);
    if image.trim() != image {
        let detail = "must not have leading or trailing whitespace";
        errors.push(FieldError::invalid(format!("{field}.image"), image, detail));
    }
}

fn unique_name<'a>(
    container: &'a Value,
    field: &str,
    seen: &mut BTreeSet<&'a str>,
    errors: &mut Vec<FieldError>,
) {
    let name = text(&container["name"]);
    if !name.is_empty() && !seen.insert(name) {
        errors.push(FieldError::duplicate(format!("{field}.name"), name));
    }
}

fn common(container: &Value, field: &str, volumes: &BTreeMap<&str, &Value>, errors: &mut Vec<FieldError>) {
    let at = |key: &str| format!("{field}.{key}");
    match text(&container["name"]) {
        "" => errors.push(FieldError::required(at("name"), "")),
        name => invalid_each(&at("name"), name, names::dns_label(name), errors),
    }
    if text(&container["image"]).is_empty() {
        errors.push(FieldError::required(at("image"), ""));
    }
    let policy = &container["terminationMessagePolicy"];
    one_of(policy, &at("terminationMessagePolicy"), &["File", "FallbackToLogsOnError"], errors);
    ports(list(&container["ports"]), field, errors);
    environment::variables(list(&container["env"]), &at("env"), errors);
    environment::from(list(&container["envFrom"]), &at("envFrom"), errors);
    volumes::mounts(container, field, volumes, errors);
    let policies = ["Always", "IfNotPresent", "Never"];
    one_of(&container["imagePullPolicy"], &at("imagePullPolicy"), &policies, errors);
    resources::check(&container["resources"], &at("resources"), errors);
    if !container["restartPolicy"].is_null() && !RESTARTS.contains(&text(&container["restartPolicy"])) {
        let value = container["restartPolicy"].clone();
        errors.push(FieldError::not_supported(at("restartPolicy"), value, &RESTARTS));
    }
    security::of_container(&container["securityContext"], &at("securityContext"), errors);
}

fn resize_policies(container: &Value, field: &str, restart: &str, errors: &mut Vec<FieldError>) {
    let field = || format!("{field}.resizePolicy");
    for policy in list(&container["resizePolicy"]) {
        let name = text(&policy["resourceName"]);
        if !["cpu", "memory"].contains(&name) {
            errors.push(FieldError::not_supported(field(), name, &["cpu", "memory"]));
        }
        let action = text(&policy["restartPolicy"]);
        let known = ["NotRequired", "RestartContainer"];
        if !known.contains(&action) {
            errors.push(FieldError::not_supported(field(), action, &known));
        }
        if restart == "Never" && action != "NotRequired" {
            let detail = "must be 'NotRequired' when `restartPolicy` is 'Never'";
            errors.push(FieldError::invalid(field(), action, detail));
        }
    }
}

fn ports(ports: &[Value], path: &str, errors: &mut Vec<FieldError>) {
    let mut seen = BTreeSet::new();
    for (index, port) in ports.iter().enumerate() {
        let field = format!("{path}.ports[{index}]");
        let name = text(&port["name"]);
        if !name.is_empty() {
            let complaints = names::port_name(name);
            if complaints.is_empty() && !seen.insert(name) {
                errors.push(FieldError::duplicate(format!("{field}.name"), name));
            }
            invalid_each(&format!("{field}.name"), name, complaints, errors);
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
            if number == 0 {
                continue;
            }
            let id = format!("{}/{}/{number}", text(&port["protocol"]), text(&port["hostIP"]));
            if !seen.insert(id.clone()) {
                errors.push(FieldError::duplicate(format!("{path}[{outer}].ports[{inner}].hostPort"), id));
            }
        }
    }
}
