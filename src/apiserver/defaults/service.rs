//! Defaults of Services and of the objects that carry their endpoints.

use super::{child, each, set};
use serde_json::{Value, json};

/// Source: `SetDefaults_Service`; IP families of a single-stack IPv4 server from the Service REST storage.
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
        cluster_ips(spec);
        families(spec);
    }
    if kind == "LoadBalancer" {
        set(spec, "allocateLoadBalancerNodePorts", true);
    }
    set(child(object, "status"), "loadBalancer", json!({}));
}

/// `clusterIP` and `clusterIPs[0]` mirror each other.
fn cluster_ips(spec: &mut Value) {
    let one = spec["clusterIP"].as_str().unwrap_or_default().to_owned();
    let first = spec["clusterIPs"][0].as_str().unwrap_or_default().to_owned();
    if one.is_empty() && !first.is_empty() {
        spec["clusterIP"] = first.into();
    } else if !one.is_empty() && spec["clusterIPs"].as_array().is_none_or(Vec::is_empty) {
        spec["clusterIPs"] = json!([one]);
    }
}

fn families(spec: &mut Value) {
    let headless = spec["clusterIP"] == "None";
    let selectorless = spec["selector"].as_object().is_none_or(serde_json::Map::is_empty);
    let written = spec["ipFamilies"].as_array().map_or(0, Vec::len);
    let dual = (headless && selectorless) || written > 1;
    if spec.get("ipFamilyPolicy").is_none() {
        spec["ipFamilyPolicy"] = if dual && written != 1 { "RequireDualStack" } else { "SingleStack" }.into();
    }
    if written == 0 {
        let wants_dual = headless && selectorless && spec["ipFamilyPolicy"] != "SingleStack";
        let v6 = spec["clusterIP"].as_str().is_some_and(|it| it.contains(':'));
        spec["ipFamilies"] = match (wants_dual, v6) {
            (true, _) => json!(["IPv4", "IPv6"]),
            (false, true) => json!(["IPv6"]),
            (false, false) => json!(["IPv4"]),
        };
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
