//! The objects a kubelet keeps about itself: the Node and its Lease.

use std::net::IpAddr;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference, Time};
use serde_json::{Value, json};

use super::address::node_address;
use super::config::NodeConfig;

/// Namespace of node leases.
pub const LEASE_NAMESPACE: &str = "kube-node-lease";
/// Seconds until a lease that is not renewed counts as lost (kubelet `nodeLeaseDurationSeconds`).
pub const LEASE_SECONDS: i32 = 40;

/// The node's addresses, primary family first.
pub fn addresses(config: &NodeConfig) -> Vec<IpAddr> {
    config.pod_cidrs.iter().map(|it| node_address(*it)).collect()
}

/// The Node as it is registered.
pub fn node(config: &NodeConfig) -> Node {
    let name = &config.name;
    let cidrs: Vec<_> = config.pod_cidrs.iter().map(ToString::to_string).collect();
    let object = json!({
        "metadata": {
            "name": name,
            "labels": {
                "kubernetes.io/hostname": name,
                "kubernetes.io/os": "linux",
                "kubernetes.io/arch": "amd64",
                "beta.kubernetes.io/os": "linux",
                "beta.kubernetes.io/arch": "amd64",
                "topology.kubernetes.io/region": "sim",
                "topology.kubernetes.io/zone": "sim-a",
            },
        },
        "spec": {"podCIDR": cidrs.first(), "podCIDRs": cidrs, "providerID": format!("sim://{name}")},
    });
    serde_json::from_value(object).expect("a constant Node parses")
}

/// The strategic merge patch for `nodes/status` that says the node is well.
pub fn node_status(config: &NodeConfig, now: Timestamp) -> Value {
    // As many pods as the primary network has room for, in round numbers.
    let resources = json!({"cpu": "32", "memory": "256Gi", "ephemeral-storage": "1Ti", "pods": "16384"});
    let mut addresses: Vec<_> =
        addresses(config).iter().map(|it| json!({"type": "InternalIP", "address": it})).collect();
    addresses.push(json!({"type": "Hostname", "address": config.name}));
    let condition = |kind: &str, status: &str, reason: &str, message: &str| {
        json!({"type": kind, "status": status, "reason": reason, "message": message,
            "lastHeartbeatTime": Time(now), "lastTransitionTime": Time(now)})
    };
    json!({"status": {
        "capacity": resources,
        "allocatable": resources,
        "addresses": addresses,
        "conditions": [
            condition("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
            condition("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
            condition("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
            condition("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
        ],
        "nodeInfo": {
            "kubeletVersion": "v1.37.0", "kubeProxyVersion": "", "containerRuntimeVersion": "sim://1",
            "osImage": "simulated", "operatingSystem": "linux", "architecture": "amd64", "kernelVersion": "0",
            "machineID": config.name, "systemUUID": config.name, "bootID": config.name,
        },
    }})
}

/// The node's Lease, renewed at `now`.
pub fn lease(config: &NodeConfig, node_uid: &str, now: Timestamp) -> Lease {
    Lease {
        metadata: ObjectMeta {
            name: Some(config.name.clone()),
            namespace: Some(LEASE_NAMESPACE.to_owned()),
            owner_references: Some(vec![OwnerReference {
                api_version: "v1".to_owned(),
                kind: "Node".to_owned(),
                name: config.name.clone(),
                uid: node_uid.to_owned(),
                ..Default::default()
            }]),
            ..Default::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(config.name.clone()),
            lease_duration_seconds: Some(LEASE_SECONDS),
            renew_time: Some(MicroTime(now)),
            ..Default::default()
        }),
    }
}
