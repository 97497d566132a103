//! StatefulSets by the thousand, in `ordinal up` with a node that takes no time: writes, wall time, CPU, memory.
//!
//! `cargo bench --bench statefulset_scale [-- --pods 1000 --sets 1000 --idle-seconds 600]`
//! (a) one Parallel set from 0 pods, (b) sets of 3 OrderedReady pods, (c) a rolling update of (a) with maxUnavailable
//! 10 %, (d) everything at rest: no write at all. Writes are counted from watches: those of the controller by kind, its
//! events apart.

mod support;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet};
use k8s_openapi::api::core::v1::{Event, Pod};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{
    ApiResource, DynamicObject, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams,
};
use kube::{Api, Client};
use serde_json::{Value, json};
use support::common::{self, Ordinal};
use support::{argument, client, create_headless_service};
use tokio::task::JoinSet;

/// Writes of the controller by kind.
type Counts = Arc<Mutex<BTreeMap<&'static str, usize>>>;

struct Counting {
    counts: Counts,
    tasks: JoinSet<()>,
}

impl Counting {
    async fn start(client: &Client) -> Self {
        let kinds = [
            ApiResource::erase::<Pod>(&()),
            ApiResource::erase::<StatefulSet>(&()),
            ApiResource::erase::<ControllerRevision>(&()),
            ApiResource::erase::<Event>(&()),
        ];
        let counts = Counts::default();
        let mut tasks = JoinSet::new();
        let version = version(client).await;
        for kind in kinds {
            let api: Api<DynamicObject> = Api::all_with(client.clone(), &kind);
            let (counts, version) = (Arc::clone(&counts), version.clone());
            tasks.spawn(async move {
                let params = WatchParams::default().timeout(290);
                let mut events = api.watch(&params, &version).await.expect("watched").boxed();
                let mut seen = Seen::default();
                while let Ok(Some(event)) = events.try_next().await {
                    if let Some(write) = seen.write(&kind.kind, event) {
                        *counts.lock().expect("unpoisoned").entry(write).or_default() += 1;
                    }
                }
            });
        }
        Self { counts, tasks }
    }

    /// What was counted once nothing more comes.
    async fn end(mut self) -> BTreeMap<&'static str, usize> {
        let mut last = usize::MAX;
        loop {
            let sum = self.counts.lock().expect("unpoisoned").values().sum();
            if sum == last {
                self.tasks.abort_all();
                return self.counts.lock().expect("unpoisoned").clone();
            }
            last = sum;
            tokio::time::sleep(Duration::from_millis(500)).await; // allow-sleep: until nothing more is written
        }
    }
}

#[derive(Default)]
struct Seen {
    going: HashSet<String>,
    generations: HashMap<String, i64>,
}

impl Seen {
    /// Which write of the controller an event shows; `None` for the writes of others.
    fn write(&mut self, kind: &str, event: WatchEvent<DynamicObject>) -> Option<&'static str> {
        let (object, deleted, added) = match event {
            WatchEvent::Added(it) => (it, false, true),
            WatchEvent::Modified(it) => (it, false, false),
            WatchEvent::Deleted(it) => (it, true, false),
            _ => return None,
        };
        let uid = object.metadata.uid.clone().unwrap_or_default();
        match kind {
            "Pod" if added => Some("pod creates"),
            "Pod" => {
                let going = deleted || object.metadata.deletion_timestamp.is_some();
                (going && self.going.insert(uid)).then_some("pod deletes")
            }
            "StatefulSet" => {
                let generation = object.metadata.generation.unwrap_or_default();
                let before = self.generations.insert(uid, generation);
                (!added && !deleted && before.is_none_or(|it| it == generation)).then_some("status writes")
            }
            "ControllerRevision" => Some("revision writes"),
            "Event" => {
                let component = &object.data["source"]["component"];
                (!deleted && component == "statefulset-controller").then_some("events")
            }
            _ => None,
        }
    }
}

async fn version(client: &Client) -> String {
    let pods: Api<Pod> = Api::all(client.clone());
    let list = pods.list(&ListParams::default().limit(1)).await.expect("listed");
    list.metadata.resource_version.unwrap_or_default()
}

fn set(name: &str, replicas: usize, policy: &str) -> StatefulSet {
    let set = json!({
        "metadata": { "name": name },
        "spec": {
            "serviceName": "nginx", "replicas": replicas, "podManagementPolicy": policy,
            "updateStrategy": { "type": "RollingUpdate", "rollingUpdate": { "maxUnavailable": "10%" } },
            "selector": { "matchLabels": { "app": "nginx", "set": name } },
            "template": {
                "metadata": { "labels": { "app": "nginx", "set": name } },
                "spec": { "containers": [{ "name": "nginx", "image": "nginx" }] },
            },
        },
    });
    serde_json::from_value(set).expect("a set")
}

fn peak_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|it| it.parse().ok()).unwrap_or(0)
}

/// Waits until every set says that all of its pods are ready and up to date.
async fn all_ready(api: &Api<StatefulSet>, sets: usize, pods: usize) {
    let started = Instant::now();
    loop {
        let list = api.list(&ListParams::default()).await.expect("listed");
        let done = list.items.iter().filter(|it| {
            let status = it.status.clone().unwrap_or_default();
            let replicas = it.spec.replicas;
            status.observed_generation == it.metadata.generation
                && status.ready_replicas.unwrap_or(0) == replicas.unwrap_or(0)
                && status.updated_replicas.unwrap_or(0) == replicas.unwrap_or(0)
                && status.current_revision == status.update_revision
        });
        let ready: i32 = list.items.iter().filter_map(|it| it.status.as_ref()?.ready_replicas).sum();
        if done.count() == sets && usize::try_from(ready) == Ok(pods) {
            return;
        }
        assert!(started.elapsed() < Duration::from_secs(600), "stuck: {ready} of {pods} pods are ready");
        tokio::time::sleep(Duration::from_millis(20)).await; // allow-sleep: polls a condition, with a deadline
    }
}

/// The resourceVersion of every object that a controller writes, by uid. The node renews its Lease, and nobody else may write.
async fn versions(client: &Client) -> BTreeMap<String, String> {
    let kinds = [
        ApiResource::erase::<StatefulSet>(&()),
        ApiResource::erase::<Pod>(&()),
        ApiResource::erase::<ControllerRevision>(&()),
        ApiResource::erase::<EndpointSlice>(&()),
        ApiResource::erase::<Event>(&()),
    ];
    let mut versions = BTreeMap::new();
    for kind in kinds {
        let api: Api<DynamicObject> = Api::all_with(client.clone(), &kind);
        for object in api.list(&ListParams::default()).await.expect("listed") {
            let metadata = object.metadata;
            versions.insert(metadata.uid.unwrap_or_default(), metadata.resource_version.unwrap_or_default());
        }
    }
    versions
}

struct Bench {
    ordinal: Ordinal,
    client: Client,
    sets: Api<StatefulSet>,
}

impl Bench {
    async fn start() -> Self {
        let ordinal =
            Ordinal::up(&["--start-delay=0s", "--ready-delay=0s", "--stop-delay=0s", "--log-level=warn"]);
        let client = client(&ordinal).await;
        create_headless_service(&client).await;
        Self { sets: Api::default_namespaced(client.clone()), client, ordinal }
    }

    async fn run(&self, what: &str, sets: usize, pods: usize, action: impl AsyncFnOnce()) {
        let counting = Counting::start(&self.client).await;
        let (started, cpu) = (Instant::now(), common::cpu_seconds(self.ordinal.pid()));
        action().await;
        all_ready(&self.sets, sets, pods).await;
        let took = started.elapsed();
        let cpu = common::cpu_seconds(self.ordinal.pid()) - cpu;
        let counts = counting.end().await;
        let events = counts.get("events").copied().unwrap_or(0);
        let writes = counts.values().sum::<usize>() - events;
        println!(
            "{what}: {:.2} s, CPU {cpu:.2} s, peak RSS {} KiB; {writes} writes of the controller, {:.3} a pod, {counts:?}",
            took.as_secs_f64(),
            peak_kib(self.ordinal.pid()),
            writes as f64 / pods as f64,
        );
    }

    async fn patch(&self, name: &str, patch: Value) {
        self.sets.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.expect("patched");
    }
}

#[tokio::main]
async fn main() {
    let (pods, sets) = (argument("--pods", 1000), argument("--sets", 1000));
    let idle = argument("--idle-seconds", 600);

    let bench = Bench::start().await;
    bench.sets.create(&PostParams::default(), &set("web", 0, "Parallel")).await.expect("created");
    all_ready(&bench.sets, 1, 0).await;
    let what = format!("(a) one Parallel set, 0 to {pods} pods");
    bench
        .run(&what, 1, pods, async || bench.patch("web", json!({ "spec": { "replicas": pods } })).await)
        .await;
    let template = json!({ "spec": { "template": { "spec": { "containers": [{ "name": "nginx", "image": "new" }] } } } });
    let what = format!("(c) rolling update of {pods} pods, maxUnavailable 10 %");
    bench.run(&what, 1, pods, async || bench.patch("web", template).await).await;
    drop(bench);

    let bench = Bench::start().await;
    let what = format!("(b) {sets} sets of 3 OrderedReady pods");
    let create = async || {
        futures::stream::iter(0..sets)
            .for_each_concurrent(16, |it| {
                let set = set(&format!("web-{it}"), 3, "OrderedReady");
                let api = bench.sets.clone();
                async move { drop(api.create(&PostParams::default(), &set).await.expect("created")) }
            })
            .await;
    };
    bench.run(&what, sets, 3 * sets, create).await;
    // The slices and events of so many pods take longer than the sets.
    let mut last = version(&bench.client).await;
    loop {
        tokio::time::sleep(Duration::from_secs(5)).await; // allow-sleep: until nothing more is written
        let now = version(&bench.client).await;
        if now == std::mem::replace(&mut last, now.clone()) {
            break;
        }
    }
    let (before, cpu) = (versions(&bench.client).await, common::cpu_seconds(bench.ordinal.pid()));
    tokio::time::sleep(Duration::from_secs(idle as u64)).await; // allow-sleep: what happens at rest is the question
    let cpu = common::cpu_seconds(bench.ordinal.pid()) - cpu;
    let after = versions(&bench.client).await;
    let changed = after.iter().filter(|(uid, version)| before.get(*uid) != Some(version)).count();
    println!(
        "(d) {sets} sets at rest for {idle} s: {changed} of {} objects written; CPU {cpu:.2} s, RSS {} KiB",
        after.len(),
        common::resident_kib(bench.ordinal.pid()),
    );
    assert_eq!(before, after, "nothing is written at rest");
}
