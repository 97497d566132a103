//! Defaults of Services and of the objects that carry their endpoints.

use super::{at, child, each, set};
use serde_json::{Value, json};

/// Source: `SetDefaults_Service`. Families and addresses are the business of `allocate`.
pub fn service(object: &mut Value) {
    let spec = child(object, "spec");
    if !spec.is_object() {
        return;
    }
    set(spec, "sessionAffinity", "None");
    if spec["sessionAffinity"] == "ClientIP" {
        set(child(child(spec, "sessionAffinityConfig"), "clientIP"), "timeoutSeconds", 10_800);
    } else if let Some(spec) = spec.as_object_mut() {
        spec.remove("sessionAffinityConfig");
    }
    set(spec, "type", "ClusterIP");
    each(spec, "ports", |port| {
        set(port, "protocol", "TCP");
        if let Some(number) = port.get("port").cloned() {
            if port.get("targetPort").is_some_and(|it| it == 0) {
                port["targetPort"] = number;
            } else {
                set(port, "targetPort", number);
            }
        }
    });
    let kind = spec["type"].as_str().unwrap_or_default().to_owned();
    let has_external_ips = spec["externalIPs"].as_array().is_some_and(|it| !it.is_empty());
    if matches!(kind.as_str(), "NodePort" | "LoadBalancer") || (kind == "ClusterIP" && has_external_ips) {
        set(spec, "externalTrafficPolicy", "Cluster");
    }
    if matches!(kind.as_str(), "ClusterIP" | "NodePort" | "LoadBalancer") {
        set(spec, "internalTrafficPolicy", "Cluster");
    }
    if kind == "ExternalName"
        && let Some(spec) = spec.as_object_mut()
    {
        spec.remove("internalTrafficPolicy");
    }
    if kind == "LoadBalancer" {
        set(spec, "allocateLoadBalancerNodePorts", true);
    }
    let status = child(object, "status");
    set(status, "loadBalancer", json!({}));
    if kind == "LoadBalancer" {
        at(status, "loadBalancer", |it| each(it, "ingress", ip_mode));
    }
}

/// An address of a load balancer is its own, not that of a proxy.
fn ip_mode(ingress: &mut Value) {
    if ingress["ip"].as_str().is_some_and(|it| !it.is_empty()) {
        set(ingress, "ipMode", "VIP");
    }
}

/// Source: `SetDefaults_Endpoints`.
pub fn endpoints(object: &mut Value) {
    each(object, "subsets", |subset| each(subset, "ports", |port| set(port, "protocol", "TCP")));
}

/// Source: discovery `SetDefaults_EndpointPort`.
pub fn endpoint_slice(object: &mut Value) {
    set(object, "endpoints", json!([]));
    each(object, "ports", |port| {
        set(port, "name", "");
        set(port, "protocol", "TCP");
    });
}
