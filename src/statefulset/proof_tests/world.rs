//! A cluster and a controller, moved step by step.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::cluster::{self, Cluster, terminating};
use super::controller::{Controller, Stream, Turn};
use super::gateway::{Record, SharedRecord, Trap};

/// Nothing written for so long means that nothing will be (LIV-2).
const AT_REST: Duration = Duration::from_secs(600);
/// How much time passes in a round in which only a stream has something to say.
const LAG: Duration = Duration::from_secs(10);
/// Rounds after which a history that does not come to rest is given up.
const ROUNDS: u32 = 6_000;

pub struct World {
    pub cluster: Cluster,
    pub controller: Controller,
    pub record: SharedRecord,
    pub crashes: u32,
}

/// Runs a simulation in a runtime of its own, whose clock is paused.
pub fn simulate<T>(run: impl AsyncFnOnce() -> T) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_time().start_paused(true);
    runtime.build().expect("a runtime").block_on(run())
}

impl World {
    /// A cluster without sets.
    pub fn start(traps: Vec<Trap>) -> Self {
        let cluster = Cluster::start();
        let record: SharedRecord = Arc::new(Mutex::new(Record { traps, ..Record::default() }));
        let controller = Controller::start("c", &cluster, &record);
        Self { cluster, controller, record, crashes: 0 }
    }

    pub fn log(&self, line: impl Into<String>) {
        self.record.lock().unwrap().log.push(line.into());
    }

    /// The controller starts anew, with nothing but what the API server holds.
    pub fn restart(&mut self) {
        self.log("restart");
        self.crashes += 1;
        self.controller = Controller::start("c", &self.cluster, &self.record);
    }

    pub async fn turn(&mut self) -> Turn {
        let turn = self.controller.turn().await;
        if turn == Turn::Crashed {
            self.restart();
        }
        turn
    }

    pub async fn advance(&self, by: Duration) {
        tokio::time::advance(by).await;
    }

    /// Moves everything, in a fixed order, until nothing has been written for ten minutes.
    pub async fn settle(&mut self) -> Result<(), String> {
        let (mut version, mut since) = (self.cluster.version(), Instant::now());
        for _ in 0..ROUNDS {
            if let Some(broken) = self.record.lock().unwrap().broken.first() {
                return Err(broken.clone());
            }
            if self.cluster.version() != version {
                (version, since) = (self.cluster.version(), Instant::now());
            }
            let mut moved = self.cluster.collect() > 0;
            for stream in Stream::ALL {
                moved |= self.controller.round(&self.cluster, stream);
            }
            moved |= self.turn().await != Turn::Idle;
            if moved {
                continue;
            }
            if let Some(name) = self.cluster.movable().first() {
                let did = self.cluster.node(name);
                self.log(format!("node: {name} {did}"));
                continue;
            }
            let lagging = Stream::ALL.iter().any(|it| self.controller.lag(&self.cluster, *it) > 0);
            let next = match self.controller.due() {
                Some(due) if lagging => due.min(Instant::now() + LAG),
                Some(due) => due,
                None if lagging => Instant::now() + LAG,
                None => return Ok(()),
            };
            if !lagging && next.duration_since(since) > AT_REST {
                return Ok(());
            }
            self.advance(next.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))).await;
        }
        Err("it does not come to rest".into())
    }

    /// Whether everything is as the set says (LIV-1), and stays so without a write (LIV-2).
    pub async fn reached(&mut self) -> Result<(), String> {
        goal(&self.cluster)?;
        let version = self.cluster.version();
        for stream in Stream::ALL {
            self.controller.relist(&self.cluster, stream);
        }
        self.controller.resync();
        self.advance(AT_REST).await;
        self.settle().await?;
        if self.cluster.version() != version {
            return Err("LIV-2: something is written at rest".into());
        }
        Ok(())
    }

    /// Everything that happened, for the message of a failure.
    pub fn story(&self) -> String {
        self.record.lock().unwrap().log.join("\n")
    }
}

/// LIV-1, written down once more from the objects alone.
pub fn goal(cluster: &Cluster) -> Result<(), String> {
    let Some(set) = cluster.get(cluster::sets(), "web") else {
        let owned: Vec<_> = cluster.list(cluster::pods()).iter().map(name).collect();
        return if owned.is_empty() { Ok(()) } else { Err(format!("pods without a set: {owned:?}")) };
    };
    let (spec, status) = (&set["spec"], &set["status"]);
    let replicas = spec["replicas"].as_u64().unwrap_or(1);
    let start = spec["ordinals"]["start"].as_u64().unwrap_or(0);
    let uid = &set["metadata"]["uid"];
    let owned = |it: &Value| it["metadata"]["ownerReferences"][0]["uid"] == *uid;
    let pods: Vec<_> = cluster.list(cluster::pods()).into_iter().filter(owned).collect();
    let mut have: Vec<_> = pods.iter().map(name).collect();
    let mut want: Vec<_> = (start..start + replicas).map(|it| format!("web-{it}")).collect();
    have.sort();
    want.sort();
    if have != want {
        return Err(format!("LIV-1: pods {have:?}, not {want:?}"));
    }
    let rolling = spec["updateStrategy"]["type"] != "OnDelete";
    let partition = spec["updateStrategy"]["rollingUpdate"]["partition"].as_u64().unwrap_or(0);
    let image = &spec["template"]["spec"]["containers"][0]["image"];
    for pod in &pods {
        let ordinal: u64 = name(pod).rsplit('-').next().and_then(|it| it.parse().ok()).unwrap_or(0);
        if terminating(pod) || !cluster::ready(pod) {
            return Err(format!("LIV-1: {} is not ready", name(pod)));
        }
        if rolling && ordinal >= start + partition && pod["spec"]["containers"][0]["image"] != *image {
            return Err(format!("LIV-1: {} is outdated", name(pod)));
        }
        for template in spec["volumeClaimTemplates"].as_array().into_iter().flatten() {
            let claim =
                format!("{}-{}", template["metadata"]["name"].as_str().unwrap_or_default(), name(pod));
            if cluster.get(cluster::claims(), &claim).is_none() {
                return Err(format!("LIV-1: claim {claim} is missing"));
            }
        }
    }
    let full = partition == 0 && rolling;
    let of = |it: &str| status[it].as_u64().unwrap_or(0);
    let counts = ["replicas", "readyReplicas", "availableReplicas"].map(of);
    let current = status["currentRevision"] == status["updateRevision"];
    if status["observedGeneration"] != set["metadata"]["generation"]
        || counts != [replicas; 3]
        || full && (of("updatedReplicas") != replicas || !current)
    {
        return Err(format!("LIV-1: the status is {status}"));
    }
    Ok(())
}

fn name(object: &Value) -> String {
    object["metadata"]["name"].as_str().unwrap_or_default().to_owned()
}

/// A set `web` with one claim template; `extra` is merged into its spec.
pub fn web(replicas: u32, extra: Value) -> Value {
    let mut set = json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": { "name": "web", "namespace": "default" },
        "spec": {
            "replicas": replicas, "serviceName": "web", "selector": { "matchLabels": { "app": "web" } },
            "template": {
                "metadata": { "labels": { "app": "web" } },
                "spec": { "containers": [{ "name": "c", "image": "one" }] },
            },
            "volumeClaimTemplates": [{
                "metadata": { "name": "data" },
                "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } } },
            }],
        },
    });
    json_patch::merge(&mut set["spec"], &extra);
    set
}

/// A patch that changes the image.
pub fn image(name: &str) -> Value {
    json!({ "spec": { "template": { "spec": { "containers": [{ "name": "c", "image": name }] } } } })
}
