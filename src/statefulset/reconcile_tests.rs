//! The whole controller against the embedded API server, in process, with a kubelet of a few lines.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::TryStreamExt as _;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet};
use k8s_openapi::api::core::v1::{Event, PersistentVolumeClaim, Pod};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{Options, run};
use crate::apiserver::{self, ApiServer};
use crate::runtime::Readiness;

struct Cluster {
    client: Client,
    shutdown: CancellationToken,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

impl Cluster {
    async fn start() -> Self {
        let server = ApiServer::new(apiserver::Options::default());
        let client = Client::new(server.router(), "default");
        let shutdown = CancellationToken::new();
        tokio::spawn(server.run(shutdown.clone()));
        tokio::spawn(kubelet(client.clone(), shutdown.clone()));
        let readiness = Readiness::default();
        let ready = readiness.part("statefulset");
        tokio::spawn(run(client.clone(), Options::default(), ready, shutdown.clone()));
        readiness.wait().await;
        Self { client, shutdown }
    }

    fn sets(&self) -> Api<StatefulSet> {
        Api::default_namespaced(self.client.clone())
    }

    fn pods(&self) -> Api<Pod> {
        Api::default_namespaced(self.client.clone())
    }

    async fn create(&self, set: Value) {
        let set = serde_json::from_value(set).unwrap();
        self.sets().create(&PostParams::default(), &set).await.unwrap();
    }

    async fn patch(&self, patch: Value) {
        self.sets().patch("web", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }

    /// Waits until the status of `web` says what its spec asks for and `until` holds; watch driven.
    async fn settled(&self, until: impl Fn(&StatefulSet) -> bool) -> StatefulSet {
        let settled = |it: &StatefulSet| {
            let replicas = it.spec.replicas.unwrap();
            it.status.as_ref().is_some_and(|status| {
                status.observed_generation == it.metadata.generation
                    && status.replicas == replicas
                    && status.ready_replicas.unwrap_or(0) == replicas
            })
        };
        let mut events = std::pin::pin!(watcher(self.sets(), watcher::Config::default()).applied_objects());
        let wait = async {
            while let Some(set) = events.try_next().await.unwrap() {
                if settled(&set) && until(&set) {
                    return set;
                }
            }
            unreachable!("the watch does not end")
        };
        if let Ok(set) = tokio::time::timeout(Duration::from_secs(30), wait).await {
            return set;
        }
        panic!("not settled: {:#?}\n{:#?}", self.sets().get("web").await, self.names().await)
    }

    /// Names of all pods.
    async fn names(&self) -> Vec<String> {
        let pods = self.pods().list(&ListParams::default()).await.unwrap();
        pods.iter().map(ResourceExt::name_any).collect()
    }

    /// The first container's image of each pod, by name.
    async fn images(&self) -> String {
        let pods = self.pods().list(&ListParams::default()).await.unwrap();
        let image = |it: &Pod| it.spec.as_ref().unwrap().containers[0].image.clone().unwrap();
        pods.iter().map(|it| format!("{}={}", it.name_any(), image(it))).collect::<Vec<_>>().join(" ")
    }
}

/// Makes every pod ready at once and finishes every deletion.
async fn kubelet(client: Client, shutdown: CancellationToken) {
    let pods: Api<Pod> = Api::all(client.clone());
    let mut events = std::pin::pin!(watcher(pods, watcher::Config::default()).applied_objects());
    loop {
        let pod = tokio::select! {
            () = shutdown.cancelled() => return,
            pod = events.try_next() => pod,
        };
        let Ok(Some(pod)) = pod else { continue };
        let api: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace().unwrap());
        let name = pod.name_any();
        if pod.metadata.deletion_timestamp.is_some() {
            let _ = api.delete(&name, &DeleteParams::default().grace_period(0)).await;
        } else if pod.status.as_ref().is_none_or(|it| it.phase.as_deref() == Some("Pending")) {
            let now = Timestamp::now();
            let condition =
                json!({ "type": "Ready", "status": "True", "lastTransitionTime": now.to_string() });
            let status = json!({ "metadata": { "uid": pod.metadata.uid }, "status": { "phase": "Running", "conditions": [condition] } });
            let _ = api.patch_status(&name, &PatchParams::default(), &Patch::Merge(status)).await;
        }
    }
}

fn web(replicas: u32, management: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": { "name": "web", "namespace": "default" },
        "spec": {
            "replicas": replicas, "serviceName": "web", "podManagementPolicy": management,
            "selector": { "matchLabels": { "app": "web" } },
            "template": {
                "metadata": { "labels": { "app": "web" } },
                "spec": { "containers": [{ "name": "c", "image": "one" }] },
            },
            "volumeClaimTemplates": [{
                "metadata": { "name": "www" },
                "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } } },
            }],
        },
    })
}

fn image(name: &str) -> Value {
    json!({ "spec": { "template": { "spec": { "containers": [{ "name": "c", "image": name }] } } } })
}

fn rolled_out(set: &StatefulSet) -> bool {
    let status = set.status.as_ref().unwrap();
    status.current_revision == status.update_revision && status.updated_replicas == Some(status.replicas)
}

#[tokio::test]
async fn a_set_scales_updates_and_rolls_back() {
    let cluster = Cluster::start().await;
    cluster.create(web(3, "OrderedReady")).await;
    let first = cluster.settled(rolled_out).await;
    assert_eq!(cluster.names().await, ["web-0", "web-1", "web-2"]);

    cluster.patch(json!({ "spec": { "replicas": 5 } })).await;
    cluster.settled(rolled_out).await;
    cluster.patch(json!({ "spec": { "replicas": 2 } })).await;
    cluster.settled(rolled_out).await;
    assert_eq!(cluster.names().await, ["web-0", "web-1"]);
    let claims: Api<PersistentVolumeClaim> = Api::default_namespaced(cluster.client.clone());
    assert_eq!(claims.list(&ListParams::default()).await.unwrap().items.len(), 5, "claims stay");

    let partition =
        |it: u32| json!({ "spec": { "updateStrategy": { "rollingUpdate": { "partition": it } } } });
    cluster.patch(partition(1)).await;
    cluster.patch(image("two")).await;
    cluster.settled(|it| it.status.as_ref().unwrap().updated_replicas == Some(1)).await;
    assert_eq!(cluster.images().await, "web-0=one web-1=two");
    cluster.patch(partition(0)).await;
    cluster.settled(rolled_out).await;
    assert_eq!(cluster.images().await, "web-0=two web-1=two");

    cluster.patch(image("one")).await;
    let back = cluster.settled(|it| rolled_out(it) && it.metadata.generation > Some(6)).await;
    assert_eq!(cluster.images().await, "web-0=one web-1=one");
    let revision = |it: &StatefulSet| it.status.as_ref().unwrap().current_revision.clone();
    assert_eq!(revision(&back), revision(&first), "a rollback reuses the revision");
    let revisions: Api<ControllerRevision> = Api::default_namespaced(cluster.client.clone());
    let mut numbers: Vec<_> =
        revisions.list(&ListParams::default()).await.unwrap().iter().map(|it| it.revision).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [Some(2), Some(3)]);
}

#[tokio::test]
async fn a_parallel_set_comes_up_at_once_and_tells_about_it() {
    let cluster = Cluster::start().await;
    cluster.create(web(30, "Parallel")).await;
    cluster.settled(rolled_out).await;
    cluster.pods().delete("web-7", &DeleteParams::default()).await.unwrap();
    cluster.patch(json!({ "spec": { "replicas": 31 } })).await;
    cluster.settled(rolled_out).await;
    let api: Api<Event> = Api::default_namespaced(cluster.client.clone());
    let mut events = std::pin::pin!(watcher(api, watcher::Config::default()).applied_objects());
    // Who tells too much is not heard: of the other pods and claims a few are told, and those as one.
    let mut missing = BTreeSet::from([
        "create Pod web-0 in StatefulSet web successful",
        "create Claim www-web-0 Pod web-0 in StatefulSet web success",
    ]);
    let all = async {
        while !missing.is_empty() {
            let event = events.try_next().await.unwrap().unwrap();
            assert_eq!(event.source.unwrap().component.as_deref(), Some("statefulset-controller"));
            missing.remove(event.message.unwrap_or_default().as_str());
        }
    };
    tokio::time::timeout(Duration::from_secs(10), all).await.expect("both are told");
}

#[tokio::test]
async fn orphans_are_adopted_and_strangers_released() {
    let cluster = Cluster::start().await;
    cluster.create(web(2, "OrderedReady")).await;
    cluster.settled(rolled_out).await;
    let uid = |pod: Pod| pod.metadata.uid.unwrap();
    let before = uid(cluster.pods().get("web-1").await.unwrap());
    // Deleted without its pods and created again, the set takes them over without a restart.
    cluster.sets().delete("web", &DeleteParams::orphan()).await.unwrap();
    let gone =
        kube::runtime::wait::await_condition(cluster.sets(), "web", |it: Option<&StatefulSet>| it.is_none());
    tokio::time::timeout(Duration::from_secs(10), gone).await.expect("orphaning ends").unwrap();
    cluster.create(web(2, "OrderedReady")).await;
    cluster.settled(rolled_out).await;
    assert_eq!(uid(cluster.pods().get("web-1").await.unwrap()), before);

    // Relabelled, a pod is let go but keeps its name; a new one comes when it is gone.
    let labels = json!({ "metadata": { "labels": { "app": "other" } } });
    cluster.pods().patch("web-1", &PatchParams::default(), &Patch::Merge(labels)).await.unwrap();
    let released = |it: Option<&Pod>| it.is_some_and(|it| it.owner_references().is_empty());
    let released = kube::runtime::wait::await_condition(cluster.pods(), "web-1", released);
    tokio::time::timeout(Duration::from_secs(10), released).await.expect("the pod is released").unwrap();
    cluster.pods().delete("web-1", &DeleteParams::default()).await.unwrap();
    let again = |it: Option<&Pod>| it.is_some_and(|it| it.uid() != Some(before.clone()));
    let again = kube::runtime::wait::await_condition(cluster.pods(), "web-1", again);
    tokio::time::timeout(Duration::from_secs(10), again).await.expect("a new pod comes").unwrap();
    cluster.settled(rolled_out).await;
}

#[tokio::test]
async fn a_taken_revision_name_is_not_used() {
    let cluster = Cluster::start().await;
    cluster.create(web(0, "OrderedReady")).await;
    let seen = |it: &StatefulSet| it.status.as_ref().is_some_and(|it| it.update_revision.is_some());
    let first = cluster.settled(seen).await.status.unwrap().update_revision.unwrap();
    cluster.sets().delete("web", &DeleteParams::default()).await.unwrap();
    let revisions: Api<ControllerRevision> = Api::default_namespaced(cluster.client.clone());
    let gone =
        kube::runtime::wait::await_condition(revisions.clone(), &first, |it: Option<&ControllerRevision>| {
            it.is_none()
        });
    tokio::time::timeout(Duration::from_secs(10), gone).await.expect("the revision is collected").unwrap();

    let occupant =
        json!({ "metadata": { "name": first }, "data": { "spec": { "template": {} } }, "revision": 1 });
    let occupant = serde_json::from_value(occupant).unwrap();
    revisions.create(&PostParams::default(), &occupant).await.unwrap();
    cluster.create(web(0, "OrderedReady")).await;
    let status = cluster.settled(seen).await.status.unwrap();
    assert_eq!(status.collision_count, Some(1));
    assert_ne!(status.update_revision, Some(first));
}
