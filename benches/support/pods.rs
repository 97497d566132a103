//! Pods that are made by hand, on a node that nobody plays.

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};

/// The node the pods are on.
pub const NODE: &str = "bench";
/// Requests under way while data are made.
const AT_ONCE: usize = 16;

/// Makes the node.
pub async fn create_node(client: &Client) {
    let node: Node = serde_json::from_value(
        json!({"metadata": {"name": NODE, "labels": {"topology.kubernetes.io/zone": "a"}}}),
    )
    .expect("a node");
    Api::<Node>::all(client.clone()).create(&PostParams::default(), &node).await.expect("created");
}

/// The address of the pod of a number, below 4,000,000.
pub fn address(number: usize) -> String {
    format!("10.{}.{}.{}", 10 + number / 62_500, (number / 250) % 250, number % 250 + 1)
}

/// The status of a running pod, ready or not.
pub fn status(number: usize, ready: bool) -> Value {
    let (ip, ready) = (address(number), if ready { "True" } else { "False" });
    json!({"status": {
        "phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}],
        "conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": jiff::Timestamp::now()}],
    }})
}

/// Headless Services of these names, each over `app=NAME`.
pub async fn create_services(client: &Client, names: Vec<String>) {
    let api: Api<Service> = Api::default_namespaced(client.clone());
    futures::stream::iter(names)
        .for_each_concurrent(AT_ONCE, |name| {
            let api = api.clone();
            async move {
                let service: Service = serde_json::from_value(json!({
                    "metadata": {"name": name},
                    "spec": {"clusterIP": "None", "selector": {"app": name}, "ports": [{"name": "web", "port": 80}]},
                }))
                .expect("a service");
                api.create(&PostParams::default(), &service).await.expect("created");
            }
        })
        .await;
}

/// The pod of a number behind a Service: its name is the Service's with the number.
pub fn pod(service: &str, number: usize) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": format!("{service}-{number}"), "labels": {"app": service}},
        "spec": {
            "nodeName": NODE, "hostname": format!("{service}-{number}"), "subdomain": service,
            "containers": [{"name": "nginx", "image": "nginx"}],
        },
    }))
    .expect("a pod")
}

/// Makes one running pod.
pub async fn create_pod(api: &Api<Pod>, service: &str, number: usize, ready: bool) {
    api.create(&PostParams::default(), &pod(service, number)).await.expect("created");
    set_ready(api, service, number, ready).await;
}

/// Patches the status of a pod.
pub async fn set_ready(api: &Api<Pod>, service: &str, number: usize, ready: bool) {
    let patch = Patch::Merge(status(number, ready));
    api.patch_status(&format!("{service}-{number}"), &PatchParams::default(), &patch).await.expect("patched");
}

/// Makes running pods, given as Service and number.
pub async fn create_pods(client: &Client, pods: Vec<(String, usize)>, ready: bool) {
    let api: Api<Pod> = Api::default_namespaced(client.clone());
    futures::stream::iter(pods)
        .for_each_concurrent(AT_ONCE, |(service, number)| {
            let api = api.clone();
            async move { create_pod(&api, &service, number, ready).await }
        })
        .await;
}
