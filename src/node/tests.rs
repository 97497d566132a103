//! The node against the embedded API server, in process.

use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{Event, Node, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{NodeConfig, lifecycle, run};
use crate::apiserver::{ApiServer, Options};
use crate::runtime::ControllerMetrics;

/// A server and a node that plays against it until the guard is dropped.
async fn start(config: NodeConfig) -> (Client, DropGuard) {
    let client = Client::new(ApiServer::new(Options::default()).router(), "default");
    let shutdown = CancellationToken::new();
    let (ready, is_ready) = tokio::sync::oneshot::channel();
    let on_ready = move || ready.send(()).expect("the test waits");
    tokio::spawn(run(client.clone(), config, ControllerMetrics::default(), on_ready, shutdown.clone()));
    is_ready.await.expect("the node gets ready");
    (client, shutdown.drop_guard())
}

fn quick() -> NodeConfig {
    let zero = Duration::ZERO;
    NodeConfig { start_delay: zero, ready_delay: zero, stop_delay: zero, ..NodeConfig::default() }
}

fn pod(name: &str, annotations: Value, volumes: Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": name, "annotations": annotations},
        "spec": {"containers": [{"name": "nginx", "image": "nginx:1.19.2-alpine"}], "volumes": volumes},
    }))
    .expect("a pod")
}

type Pods = std::collections::BTreeMap<Option<String>, Pod>;

/// Watches until `done` holds of all pods, and returns them.
async fn until(client: &Client, done: impl Fn(&Pods) -> bool) -> Vec<Pod> {
    let api: Api<Pod> = Api::default_namespaced(client.clone());
    let mut stream = std::pin::pin!(watcher(api, watcher::Config::default()).default_backoff());
    let mut pods = Pods::new();
    let mut synced = false;
    let wait = async {
        loop {
            match stream.next().await.expect("watches do not end").expect("the watch works") {
                watcher::Event::Init => pods.clear(),
                watcher::Event::InitApply(it) | watcher::Event::Apply(it) => {
                    pods.insert(it.metadata.name.clone(), it);
                }
                watcher::Event::Delete(it) => drop(pods.remove(&it.metadata.name)),
                watcher::Event::InitDone => synced = true,
            }
            if synced && done(&pods) {
                return pods.into_values().collect();
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), wait).await.expect("pods get there in time")
}

fn is_ready(pod: &Pod) -> bool {
    lifecycle::condition(pod, "Ready") == Some("True")
}

fn address(pod: &Pod) -> Option<&str> {
    pod.status.as_ref()?.pod_ip.as_deref()
}

#[tokio::test(start_paused = true)]
async fn a_pod_lives_and_dies_and_its_name_returns_with_a_new_address() {
    let (client, _guard) = start(NodeConfig::default()).await;
    let nodes: Api<Node> = Api::all(client.clone());
    assert!(nodes.get("sim-0").await.unwrap().status.unwrap().capacity.unwrap().contains_key("pods"));
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    pods.create(&PostParams::default(), &pod("web-0", json!({}), json!([]))).await.unwrap();
    let first = until(&client, |it| it.values().any(is_ready)).await;
    assert_eq!(address(&first[0]), Some("10.244.0.1"));
    pods.delete("web-0", &DeleteParams::default()).await.unwrap();
    until(&client, |it| it.values().all(|it| !is_ready(it))).await;
    until(&client, Pods::is_empty).await;
    pods.create(&PostParams::default(), &pod("web-0", json!({}), json!([]))).await.unwrap();
    let second = until(&client, |it| it.values().any(is_ready)).await;
    assert_eq!(address(&second[0]), Some("10.244.0.2"));
    let events: Api<Event> = Api::default_namespaced(client.clone());
    // The poster runs beside the test; on a paused clock a second passes only when it has nothing left to do.
    tokio::time::sleep(Duration::from_secs(1)).await; // allow-sleep: paused clock
    let list = events.list(&ListParams::default()).await.unwrap();
    let mut sorted = list.items;
    sorted.sort_by_key(|it| crate::k8s::watch::parse_version(it.metadata.resource_version.as_deref()));
    let told: Vec<String> = sorted
        .into_iter()
        .map(|it| format!("{} {}", it.reason.unwrap_or_default(), it.message.unwrap_or_default()))
        .collect();
    assert_eq!(
        told,
        [
            "Scheduled Successfully assigned default/web-0 to sim-0",
            "Pulling Pulling image \"nginx:1.19.2-alpine\"",
            "Pulled Successfully pulled image \"nginx:1.19.2-alpine\"",
            "Created Created container nginx",
            "Started Started container nginx",
            "Killing Stopping container nginx",
            "Scheduled Successfully assigned default/web-0 to sim-0",
            "Pulled Container image \"nginx:1.19.2-alpine\" already present on machine",
            "Created Created container nginx",
            "Started Started container nginx",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn readiness_follows_the_annotation() {
    let (client, _guard) = start(NodeConfig::default()).await;
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    pods.create(&PostParams::default(), &pod("web-0", json!({}), json!([]))).await.unwrap();
    until(&client, |it| it.values().any(is_ready)).await;
    for (value, want) in [("false", false), ("true", true)] {
        let patch = Patch::Merge(json!({"metadata": {"annotations": {"sim.ordinal/ready": value}}}));
        pods.patch("web-0", &PatchParams::default(), &patch).await.unwrap();
        until(&client, |it| it.values().all(|it| is_ready(it) == want)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_pod_waits_for_its_claim_which_is_bound_to_a_new_volume() {
    let (client, _guard) = start(quick()).await;
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let volumes = json!([{"name": "www", "persistentVolumeClaim": {"claimName": "www-web-0"}}]);
    pods.create(&PostParams::default(), &pod("web-0", json!({}), volumes)).await.unwrap();
    until(&client, |it| it.values().any(|it| lifecycle::condition(it, "PodScheduled") == Some("False")))
        .await;
    let claims: Api<PersistentVolumeClaim> = Api::default_namespaced(client.clone());
    let claim = serde_json::from_value(json!({
        "metadata": {"name": "www-web-0"},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}},
            "storageClassName": "fast",
        },
    }))
    .unwrap();
    let uid = claims.create(&PostParams::default(), &claim).await.unwrap().metadata.uid.unwrap();
    // Its class is not there yet; whose provisioner it is does not matter.
    let events: Api<Event> = Api::default_namespaced(client.clone());
    {
        let mut stream =
            std::pin::pin!(watcher(events, watcher::Config::default()).default_backoff().applied_objects());
        let told = async {
            while stream.next().await.unwrap().unwrap().reason.as_deref() != Some("ProvisioningFailed") {}
        };
        tokio::time::timeout(Duration::from_secs(60), told)
            .await
            .expect("an event says what the claim waits for");
    }
    let classes: Api<StorageClass> = Api::all(client.clone());
    let class = serde_json::from_value(json!({"metadata": {"name": "fast"},
        "provisioner": "kubernetes.io/aws-ebs", "volumeBindingMode": "WaitForFirstConsumer"}))
    .unwrap();
    classes.create(&PostParams::default(), &class).await.unwrap();
    until(&client, |it| it.values().any(is_ready)).await;
    let claim = claims.get("www-web-0").await.unwrap();
    assert_eq!(claim.spec.unwrap().volume_name, Some(format!("pvc-{uid}")));
    assert_eq!(claim.status.unwrap().phase.as_deref(), Some("Bound"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_pods_created_at_once_get_ready_with_distinct_addresses() {
    let (client, _guard) = start(quick()).await;
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let started = std::time::Instant::now();
    for index in 0..1_000 {
        pods.create(&PostParams::default(), &pod(&format!("web-{index}"), json!({}), json!([])))
            .await
            .unwrap();
    }
    let ready = until(&client, |it| it.len() == 1_000 && it.values().all(is_ready)).await;
    let addresses: std::collections::HashSet<_> = ready.iter().filter_map(address).collect();
    assert_eq!(addresses.len(), 1_000);
    println!("1000 pods Ready after {:?}", started.elapsed());
}
