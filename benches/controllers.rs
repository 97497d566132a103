//! Workloads grown and rolled by our controllers and by kube-controller-manager, by turns, in one cluster.
//!
//! `cargo bench --bench controllers [-- --rounds 2 --pods 1000 --many 300]`
//! With `KUBEBUILDER_ASSETS` the API server is the real one and kube-controller-manager takes turns with ours; else ours
//! alone works on the embedded one. Every controller runs in a process of its own without an election and without a limit on
//! its requests; the node is simulated, its pods take no time.
//!
//! `goal`: from the request to the status that says it is done. `slices`: until the EndpointSlices show the pods, too. CPU is that of
//! the controller's process over all of it. Writes are those of everybody, the node's and events included: the difference
//! of two resource versions.

#[path = "support/rivals.rs"]
mod rivals;
mod support;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use rivals::{Controller, cluster, rivals};
use serde_json::{Value, json};
use support::common;
use support::{argument, client_of, percentile};

/// How long a step may take.
const DEADLINE: Duration = Duration::from_secs(600);

/// The two kinds that are grown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    StatefulSet,
    Deployment,
}

/// One step for one controller, over all rounds.
#[derive(Default)]
struct Measured {
    goal: Vec<f64>,
    slices: Vec<f64>,
    cpu: Vec<f64>,
    writes: Vec<f64>,
    rss: u64,
}

/// The cluster, and what is counted.
struct Bench {
    client: Client,
    results: BTreeMap<(usize, &'static str), Measured>,
}

fn manifest(kind: Kind, name: &str, replicas: usize, image: &str) -> Value {
    let template = json!({
        "metadata": {"labels": {"app": name}},
        "spec": {"terminationGracePeriodSeconds": 0, "containers": [{"name": "c", "image": image}]},
    });
    let spec =
        json!({"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template});
    let mut object = json!({"metadata": {"name": name, "labels": {"bench": "controllers"}}, "spec": spec});
    if kind == Kind::StatefulSet {
        object["spec"]["serviceName"] = json!(name);
    }
    object
}

impl Bench {
    fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::default_namespaced(self.client.clone())
    }

    /// The newest resource version.
    async fn version(&self) -> f64 {
        let meta = ObjectMeta { generate_name: Some("at-".to_owned()), ..ObjectMeta::default() };
        let object = ConfigMap { metadata: meta, ..ConfigMap::default() };
        let made = self.api().create(&PostParams::default(), &object).await.expect("created");
        made.metadata.resource_version.and_then(|it| it.parse().ok()).expect("a number")
    }

    /// A headless Service of the name, then the workload.
    async fn create(&self, kind: Kind, object: &Value) {
        let name = &object["metadata"]["name"];
        let service: Service = serde_json::from_value(json!({
            "metadata": {"name": name, "labels": {"bench": "controllers"}},
            "spec": {"clusterIP": "None", "selector": {"app": name}, "ports": [{"name": "web", "port": 80}]},
        }))
        .expect("a Service");
        let params = PostParams::default();
        self.api().create(&params, &service).await.expect("created");
        let object = object.clone();
        match kind {
            Kind::StatefulSet => {
                let it: StatefulSet = serde_json::from_value(object).expect("a StatefulSet");
                self.api().create(&params, &it).await.expect("created");
            }
            Kind::Deployment => {
                let it: Deployment = serde_json::from_value(object).expect("a Deployment");
                self.api().create(&params, &it).await.expect("created");
            }
        }
    }

    async fn patch(&self, kind: Kind, name: &str, patch: Value) {
        let (params, patch) = (PatchParams::default(), Patch::Merge(patch));
        match kind {
            Kind::StatefulSet => {
                drop(self.api::<StatefulSet>().patch(name, &params, &patch).await.expect("patched"));
            }
            Kind::Deployment => {
                drop(self.api::<Deployment>().patch(name, &params, &patch).await.expect("patched"));
            }
        }
    }

    /// Whether every workload of the kind says that it has so many new, ready pods and no others.
    async fn done(&self, kind: Kind, replicas: usize) -> bool {
        let (params, want) = (ListParams::default(), i32::try_from(replicas).expect("fits"));
        match kind {
            Kind::StatefulSet => {
                let list = self.api::<StatefulSet>().list(&params).await.expect("listed");
                list.items.iter().all(|it| {
                    let Some(status) = &it.status else { return false };
                    status.observed_generation >= it.metadata.generation
                        && [Some(status.replicas), status.updated_replicas, status.ready_replicas]
                            .map(Option::unwrap_or_default)
                            == [want; 3]
                })
            }
            Kind::Deployment => {
                let list = self.api::<Deployment>().list(&params).await.expect("listed");
                list.items.iter().all(|it| {
                    let Some(status) = &it.status else { return false };
                    status.observed_generation >= it.metadata.generation
                        && [status.replicas, status.updated_replicas, status.available_replicas]
                            .map(Option::unwrap_or_default)
                            == [want; 3]
                })
            }
        }
    }

    /// Ready endpoints of all slices.
    async fn published(&self) -> usize {
        let list = self.api::<EndpointSlice>().list(&ListParams::default()).await.expect("listed");
        let endpoints = list.items.into_iter().flat_map(|it| it.endpoints.unwrap_or_default());
        endpoints.filter(|it| it.conditions.as_ref().and_then(|it| it.ready).unwrap_or(true)).count()
    }

    async fn until(&self, what: &str, mut done: impl AsyncFnMut() -> bool) {
        let started = Instant::now();
        while !done().await {
            assert!(started.elapsed() < DEADLINE, "{what} is not done");
            tokio::time::sleep(Duration::from_millis(50)).await; // allow-sleep: polls a condition, with a deadline
        }
    }

    /// Makes `change` and waits until `workloads` of the kind have so many pods each.
    async fn step(
        &mut self,
        number: usize,
        (name, controller): (&'static str, &Controller),
        (kind, workloads, replicas): (Kind, usize, usize),
        change: impl AsyncFnOnce(&Self),
    ) {
        let version = self.version().await;
        let (cpu, started) = (common::cpu_seconds(controller.pid()), Instant::now());
        change(self).await;
        self.until("the workload", async || self.done(kind, replicas).await).await;
        let goal = started.elapsed().as_secs_f64();
        self.until("the slices", async || self.published().await == workloads * replicas).await;
        let slices = started.elapsed().as_secs_f64();
        let cpu = common::cpu_seconds(controller.pid()) - cpu;
        let writes = self.version().await - version;
        let measured = self.results.entry((number, name)).or_default();
        measured.goal.push(goal);
        measured.slices.push(slices);
        measured.cpu.push(cpu);
        measured.writes.push(writes);
        measured.rss = measured.rss.max(common::resident_kib(controller.pid()));
    }

    /// Removes everything; the controllers and the node have to clear up after it.
    async fn clean(&self) {
        let (all, params) = (ListParams::default(), DeleteParams::background());
        let ours = ListParams::default().labels("bench=controllers");
        drop(self.api::<StatefulSet>().delete_collection(&params, &ours).await.expect("deleted"));
        drop(self.api::<Deployment>().delete_collection(&params, &ours).await.expect("deleted"));
        for service in self.api::<Service>().list(&ours).await.expect("listed").items {
            let name = service.metadata.name.expect("a name");
            drop(self.api::<Service>().delete(&name, &params).await.expect("deleted"));
        }
        self.until("the end of the pods and slices", async || {
            let pods = self.api::<Pod>().list(&all).await.expect("listed").items.len();
            pods + self.api::<EndpointSlice>().list(&all).await.expect("listed").items.len() == 0
        })
        .await;
    }

    /// Every step by one controller.
    async fn round(&mut self, name: &'static str, kubeconfig: &std::path::Path, pods: usize, many: usize) {
        let controller = Controller::start(name, COMPONENTS, LOOPS, kubeconfig);
        for (first, kind) in [(0, Kind::StatefulSet), (3, Kind::Deployment)] {
            let mut object = manifest(kind, "web", 0, "nginx:1.17");
            if kind == Kind::StatefulSet {
                object["spec"]["podManagementPolicy"] = json!("Parallel");
                object["spec"]["updateStrategy"] = json!({"rollingUpdate": {"maxUnavailable": "10%"}});
            }
            self.create(kind, &object).await;
            self.until("the empty workload", async || self.done(kind, 0).await).await;
            self.step(first, (name, &controller), (kind, 1, pods), async |it| {
                it.patch(kind, "web", json!({"spec": {"replicas": pods}})).await;
            })
            .await;
            let template = manifest(kind, "web", pods, "nginx:1.18")["spec"]["template"].take();
            self.step(first + 1, (name, &controller), (kind, 1, pods), async |it| {
                it.patch(kind, "web", json!({"spec": {"template": template}})).await;
            })
            .await;
            self.clean().await;
            self.step(first + 2, (name, &controller), (kind, many, 3), async |it| {
                for number in 0..many {
                    it.create(kind, &manifest(kind, &format!("web-{number}"), 3, "nginx:1.17")).await;
                }
            })
            .await;
            self.clean().await;
        }
    }
}

const COMPONENTS: &str = "statefulset,endpointslice,replicaset,deployment";
const LOOPS: &str =
    "statefulset-controller,endpointslice-controller,replicaset-controller,deployment-controller";

#[tokio::main]
async fn main() {
    let (rounds, pods, many) = (argument("--rounds", 2), argument("--pods", 1000), argument("--many", 300));
    let cluster = cluster::Cluster::start();
    let client = client_of(&cluster.kubeconfig()).await;
    let mut bench = Bench { client, results: BTreeMap::new() };
    for round in 0..rounds {
        for name in rivals() {
            bench.round(name, &cluster.kubeconfig(), pods, many).await;
        }
        eprintln!("round {} of {rounds}", round + 1);
    }
    println!(
        "{}",
        if cluster::real::assets().is_some() { "kube-apiserver and etcd" } else { "embedded API server" }
    );
    let steps = [
        format!("StatefulSet, Parallel, 0 to {pods}"),
        format!("rolling update of {pods}, maxUnavailable 10 %"),
        format!("{many} StatefulSets of 3, OrderedReady"),
        format!("Deployment, 0 to {pods}"),
        format!("rolling update of {pods}, 25 %/25 %"),
        format!("{many} Deployments of 3"),
    ];
    for (number, step) in steps.iter().enumerate() {
        for name in rivals() {
            let Some(it) = bench.results.get_mut(&(number, *name)) else { continue };
            println!(
                "{step:44} {name:24} goal {:6.2} s  slices {:6.2} s  cpu {:6.2} s  {:6.0} writes  rss {:4} MiB",
                percentile(&mut it.goal, 0.5),
                percentile(&mut it.slices, 0.5),
                percentile(&mut it.cpu, 0.5),
                percentile(&mut it.writes, 0.5),
                it.rss / 1024,
            );
        }
    }
}
