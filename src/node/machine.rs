//! The Node object itself: created once, status and lease kept fresh.
//!
//! Source: kubelet `pkg/kubelet/nodestatus/setters.go`; lease of KEP-589.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::address::{POD_CIDR, POD_CIDR_V6};
use super::config::NodeConfig;

/// InternalIP of the node. Not loopback, which EndpointSlices refuse, and not in the pod network.
pub const ADDRESS: &str = "172.18.0.2";

/// Pods the node takes.
pub const PODS: usize = 10_000;
const LEASE_NAMESPACE: &str = "kube-node-lease";
const LEASE_PERIOD: Duration = Duration::from_secs(10);
/// Lease renewals between two status heartbeats: every five minutes.
const RENEWALS_PER_HEARTBEAT: u32 = 30;
const DEFAULT_CLASS: &str = "storageclass.kubernetes.io/is-default-class";

/// The Node object named `name`, without its status.
pub fn node(name: &str, dual_stack: bool) -> Value {
    let ranges = if dual_stack { vec![POD_CIDR, POD_CIDR_V6] } else { vec![POD_CIDR] };
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": {
                "kubernetes.io/hostname": name,
                "kubernetes.io/os": "linux",
                "kubernetes.io/arch": "amd64",
                "topology.kubernetes.io/region": "sim",
                "topology.kubernetes.io/zone": "sim-a",
            },
        },
        "spec": {"podCIDR": POD_CIDR, "podCIDRs": ranges},
    })
}

/// The merge patch of its status. `now` is RFC 3339 in whole seconds, `since` when the process began.
pub fn status(name: &str, now: &str, since: &str) -> Value {
    let condition = |kind: &str, status: &str, reason: &str, message: &str| {
        json!({
            "type": kind,
            "status": status,
            "reason": reason,
            "message": message,
            "lastHeartbeatTime": now,
            "lastTransitionTime": since,
        })
    };
    let room = json!({
        "cpu": "32", "memory": "256Gi", "ephemeral-storage": "1Ti", "pods": PODS.to_string(),
    });
    json!({"status": {
        "capacity": room,
        "allocatable": room,
        "addresses": [
            {"type": "InternalIP", "address": ADDRESS},
            {"type": "Hostname", "address": name},
        ],
        "conditions": [
            condition("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
            condition("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
            condition("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
            condition("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
        ],
        "nodeInfo": {
            "architecture": "amd64",
            "operatingSystem": "linux",
            "osImage": "simulated",
            "kernelVersion": "simulated",
            "containerRuntimeVersion": "simulated://1",
            "kubeletVersion": "v1.37.0",
            "kubeProxyVersion": "v1.37.0",
            "machineID": name,
            "systemUUID": name,
            "bootID": since,
        },
    }})
}

/// The time as the API writes it: RFC 3339 in whole seconds.
pub fn seconds(now: Timestamp) -> String {
    now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Creates what is missing: the node with its status, its lease, a default storage class.
pub async fn register(client: &Client, config: &NodeConfig, since: &str) -> kube::Result<()> {
    let name = config.name.as_str();
    let nodes: Api<Node> = Api::all(client.clone());
    let object: Node =
        serde_json::from_value(node(name, config.dual_stack)).map_err(kube::Error::SerdeError)?;
    exists(nodes.create(&PostParams::default(), &object).await)?;
    heartbeat(client, name, since).await?;
    renew(client, name).await?;
    let classes: Api<StorageClass> = Api::all(client.clone());
    let is_default = |it: &StorageClass| {
        it.metadata.annotations.as_ref().and_then(|it| it.get(DEFAULT_CLASS)).is_some_and(|it| it == "true")
    };
    if !classes.list(&ListParams::default()).await?.items.iter().any(is_default) {
        let class: StorageClass = serde_json::from_value(json!({
            "metadata": {"name": super::volumes::DEFAULT_CLASS, "annotations": {DEFAULT_CLASS: "true"}},
            "provisioner": super::volumes::PROVISIONER,
            "reclaimPolicy": "Delete",
            "volumeBindingMode": "Immediate",
            "allowVolumeExpansion": true,
        }))
        .map_err(kube::Error::SerdeError)?;
        exists(classes.create(&PostParams::default(), &class).await)?;
    }
    Ok(())
}

/// Renews the lease every ten seconds and the status every five minutes until `shutdown`.
pub async fn keep_alive(client: Client, name: String, since: String, shutdown: CancellationToken) {
    let mut renewals = 0;
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(LEASE_PERIOD) => {} // allow-sleep: lease period
        }
        if let Err(error) = renew(&client, &name).await {
            warn!(node = name, %error, "lease not renewed, trying again");
        }
        renewals += 1;
        if renewals % RENEWALS_PER_HEARTBEAT == 0
            && let Err(error) = heartbeat(&client, &name, &since).await
        {
            warn!(node = name, %error, "node status not written, trying again");
        }
    }
}

async fn heartbeat(client: &Client, name: &str, since: &str) -> kube::Result<()> {
    let nodes: Api<Node> = Api::all(client.clone());
    let patch = status(name, &seconds(Timestamp::now()), since);
    nodes.patch_status(name, &PatchParams::default(), &Patch::Merge(patch)).await.map(drop)
}

async fn renew(client: &Client, name: &str) -> kube::Result<()> {
    let leases: Api<Lease> = Api::namespaced(client.clone(), LEASE_NAMESPACE);
    let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string();
    let spec = json!({"holderIdentity": name, "leaseDurationSeconds": 40, "renewTime": now});
    let patch = Patch::Merge(json!({"spec": spec}));
    match leases.patch(name, &PatchParams::default(), &patch).await {
        Err(error) if is_code(&error, 404) => {
            let lease = json!({"metadata": {"name": name}, "spec": spec});
            let lease: Lease = serde_json::from_value(lease).map_err(kube::Error::SerdeError)?;
            exists(leases.create(&PostParams::default(), &lease).await)
        }
        other => other.map(drop),
    }
}

/// Takes "already exists" for success.
pub fn exists<T>(result: kube::Result<T>) -> kube::Result<()> {
    match result {
        Err(error) if is_code(&error, 409) => Ok(()),
        other => other.map(drop),
    }
}

/// Whether the API server answered with that code.
pub fn is_code(error: &kube::Error, code: u16) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == code)
}
