//! Services. Source: `ValidateService`, `ValidateServiceUpdate`, `ValidateServiceStatusUpdate`.

use super::{
    FieldError, between, cidr, invalid_each, ip, list, metadata, names, one_of, port_number_or_name, text,
};
use crate::apiserver::families;
use crate::apiserver::validate::endpoints::special;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::IpAddr;

const TYPES: &[&str] = &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const ONLY_BALANCERS: &str = "may only be used when `type` is 'LoadBalancer'";
/// A day, in seconds.
const LONGEST_AFFINITY: i64 = 86_400;

pub fn check(object: &Value, errors: &mut Vec<FieldError>) {
    let spec = &object["spec"];
    let kind = text(&spec["type"]);
    let headless = spec["clusterIP"] == "None";
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
        "ExternalName" => external_name(spec, errors),
        _ => {}
    }
    ports(all, errors);
    metadata::labels(&spec["selector"], "spec.selector", errors);
    affinity(spec, errors);
    errors.extend(families::related(object));
    for (index, address) in list(&spec["externalIPs"]).iter().enumerate() {
        let field = format!("spec.externalIPs[{index}]");
        match text(address).parse::<IpAddr>() {
            Ok(parsed) => {
                errors.extend(special(parsed).map(|it| FieldError::invalid(field, text(address), it)));
            }
            Err(_) => ip(address, &field, errors),
        }
    }
    one_of(&spec["type"], "spec.type", TYPES, errors);
    duplicates(all, kind, errors);
    balancer(spec, kind, errors);
    traffic(spec, kind, errors);
}

fn external_name(spec: &Value, errors: &mut Vec<FieldError>) {
    let is_set = |key: &str| match &spec[key] {
        Value::Array(items) => !items.is_empty(),
        other => !text(other).is_empty(),
    };
    if is_set("clusterIPs") || is_set("clusterIP") {
        errors.push(FieldError::forbidden("spec.clusterIPs", "may not be set for ExternalName services"));
    }
    for key in ["ipFamilies", "ipFamilyPolicy"].into_iter().filter(|it| is_set(it)) {
        errors.push(FieldError::forbidden(format!("spec.{key}"), "may not be set for ExternalName services"));
    }
    let target = text(&spec["externalName"]);
    match target.strip_suffix('.').unwrap_or(target) {
        "" => errors.push(FieldError::required("spec.externalName", "")),
        name => invalid_each("spec.externalName", target, names::dns_subdomain(name), errors),
    }
}

fn affinity(spec: &Value, errors: &mut Vec<FieldError>) {
    one_of(&spec["sessionAffinity"], "spec.sessionAffinity", &["ClientIP", "None"], errors);
    let seconds = &spec["sessionAffinityConfig"]["clientIP"]["timeoutSeconds"];
    if spec["sessionAffinity"] == "ClientIP"
        && seconds.as_i64().is_some_and(|it| !(1..=LONGEST_AFFINITY).contains(&it))
    {
        errors.push(FieldError::invalid(
            "spec.sessionAffinityConfig.clientIP.timeoutSeconds",
            seconds.clone(),
            format!("must be greater than 0 and less than {LONGEST_AFFINITY}"),
        ));
    }
}

fn ports(ports: &[Value], errors: &mut Vec<FieldError>) {
    let mut named = BTreeSet::new();
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
        port_number_or_name(&port["targetPort"], &format!("{field}.targetPort"), errors);
        let protocol = text(&port["appProtocol"]);
        if !protocol.is_empty() {
            let field = format!("{field}.appProtocol");
            invalid_each(&field, protocol, names::qualified_name(protocol), errors);
        }
        between(&port["nodePort"], 0, 65_535, &format!("{field}.nodePort"), errors);
    }
}

fn duplicates(ports: &[Value], kind: &str, errors: &mut Vec<FieldError>) {
    if kind == "ClusterIP" {
        for (index, port) in ports.iter().enumerate() {
            if port["nodePort"].as_i64().unwrap_or(0) != 0 {
                errors.push(FieldError::forbidden(
                    format!("spec.ports[{index}].nodePort"),
                    "may not be used when `type` is 'ClusterIP'",
                ));
            }
        }
    }
    let mut seen = BTreeSet::new();
    for (index, port) in ports.iter().enumerate() {
        let number = port["port"].as_i64().unwrap_or_default();
        if !seen.insert((number, text(&port["protocol"]))) {
            let value = json!({"port": number, "protocol": port["protocol"]});
            errors.push(FieldError::duplicate(format!("spec.ports[{index}]"), value));
        }
    }
}

/// What only load balancers have.
fn balancer(spec: &Value, kind: &str, errors: &mut Vec<FieldError>) {
    let ranges = list(&spec["loadBalancerSourceRanges"]);
    // The case of the first letter is upstream's.
    let field = "spec.LoadBalancerSourceRanges";
    if !ranges.is_empty() && kind != "LoadBalancer" {
        errors.push(FieldError::forbidden(field, ONLY_BALANCERS));
    }
    for (index, range) in ranges.iter().enumerate() {
        cidr(range, &format!("{field}[{index}]"), errors);
    }
    if !spec["allocateLoadBalancerNodePorts"].is_null() && kind != "LoadBalancer" {
        errors.push(FieldError::forbidden("spec.allocateLoadBalancerNodePorts", ONLY_BALANCERS));
    }
    let class = text(&spec["loadBalancerClass"]);
    if !class.is_empty() {
        let field = "spec.loadBalancerClass";
        if kind != "LoadBalancer" {
            errors.push(FieldError::forbidden(field, ONLY_BALANCERS));
        }
        invalid_each(field, class, names::qualified_name(class), errors);
    }
}

fn traffic(spec: &Value, kind: &str, errors: &mut Vec<FieldError>) {
    let known = ["Cluster", "Local"];
    let inside = matches!(kind, "ClusterIP" | "ExternalName") && list(&spec["externalIPs"]).is_empty();
    let policy = &spec["externalTrafficPolicy"];
    if inside && !policy.is_null() {
        let detail = "may only be set for externally-accessible services";
        errors.push(FieldError::invalid("spec.externalTrafficPolicy", policy.clone(), detail));
    } else if !policy.is_null() {
        one_of(policy, "spec.externalTrafficPolicy", &known, errors);
    }
    let checked = spec["healthCheckNodePort"].as_i64().unwrap_or(0);
    if checked != 0 && !(kind == "LoadBalancer" && policy == "Local") {
        let detail = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
        errors.push(FieldError::invalid("spec.healthCheckNodePort", checked, detail));
    }
    if !spec["internalTrafficPolicy"].is_null() {
        one_of(&spec["internalTrafficPolicy"], "spec.internalTrafficPolicy", &known, errors);
    }
    if !spec["trafficDistribution"].is_null() {
        let known = ["PreferClose", "PreferSameZone", "PreferSameNode"];
        one_of(&spec["trafficDistribution"], "spec.trafficDistribution", &known, errors);
    }
}

/// The first cluster IP and family stay for the life of the Service, unless it turns into an `ExternalName` or out of one;
/// class and health check stay while it is a balancer that has them.
pub fn update(old: &Value, new: &Value, errors: &mut Vec<FieldError>) {
    errors.extend(families::changes(old, new));
    let (old, new) = (&old["spec"], &new["spec"]);
    let class = &new["loadBalancerClass"];
    let balances = |it: &Value| it["type"] == "LoadBalancer";
    if balances(old) && balances(new) && old["loadBalancerClass"] != *class {
        let detail = "may not change once set";
        errors.push(FieldError::invalid("spec.loadBalancerClass", class.clone(), detail));
    }
    let checks = |it: &Value| balances(it) && it["externalTrafficPolicy"] == "Local";
    if checks(old) && checks(new) && old["healthCheckNodePort"] != new["healthCheckNodePort"] {
        errors.push(FieldError::forbidden("spec.healthCheckNodePort", "field is immutable"));
    }
}

/// Where a load balancer listens.
pub fn status(object: &Value, errors: &mut Vec<FieldError>) {
    let field = "status.loadBalancer.ingress";
    let ingress = list(&object["status"]["loadBalancer"]["ingress"]);
    if !ingress.is_empty() && object["spec"]["type"] != "LoadBalancer" {
        errors.push(FieldError::forbidden(field, "may only be used when `spec.type` is 'LoadBalancer'"));
        return;
    }
    for (index, one) in ingress.iter().enumerate() {
        let at = |key: &str| format!("{field}[{index}].{key}");
        if !text(&one["ip"]).is_empty() {
            ip(&one["ip"], &at("ip"), errors);
        }
        let mode = &one["ipMode"];
        if !mode.is_null() && !["Proxy", "VIP"].contains(&text(mode)) {
            errors.push(FieldError::not_supported(at("ipMode"), mode.clone(), &["Proxy", "VIP"]));
        }
        host_name(text(&one["hostname"]), &at("hostname"), errors);
    }
}

/// The name of a host, which is no address.
pub fn host_name(name: &str, field: &str, errors: &mut Vec<FieldError>) {
    if name.is_empty() {
        return;
    }
    invalid_each(field, name, names::dns_subdomain(name), errors);
    if name.parse::<IpAddr>().is_ok() {
        errors.push(FieldError::invalid(field, name, "must be a DNS name, not an IP address"));
    }
}
