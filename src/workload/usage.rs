//! What simulated pods use: annotations and time in, cores and bytes out.
//!
//! `sim.ordinal/cpu`, `sim.ordinal/memory` (with `.<container>` for one of them) say it outright, on the pod or on the
//! object above it; `sim.ordinal/load` there is a total that its ready pods share, which is what lets an autoscaler
//! settle; otherwise it is a tenth of the request. Pure: the same arguments give the same samples.
//! Shapes: metrics.k8s.io/v1beta1, as metrics-server answers.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::model::{Phase, PodView};
use super::{Stores, index};
use crate::k8s::kinds::DEPLOYMENTS;
use crate::k8s::watch::Cached as _;
use crate::model::ObjectKey;
use crate::model::quantity::Quantity;

/// Annotations that are read here; the node looks at others.
pub const PREFIX: &str = "sim.ordinal/";
/// What a container uses that requests nothing.
const IDLE: [i64; 2] = [1, 16 * 1024 * 1024 * 1000];
/// What a node uses itself.
const NODE: [i64; 2] = [100, 512 * 1024 * 1024 * 1000];
const RESOURCES: [&str; 2] = ["cpu", "memory"];
const LOADS: [&str; 2] = ["load", "load-memory"];

/// A total over time, in thousandths.
#[derive(Debug, Clone, PartialEq)]
pub enum Load {
    /// Always the same.
    Constant(i64),
    /// From each moment on.
    Steps(Vec<(SignedDuration, i64)>),
    /// Up and down between two amounts.
    Sine(i64, i64, SignedDuration),
}

impl Load {
    /// Parses `2000m`, `steps 0s=200m 60s=2000m` or `sine 500m..3000m period=10m`; `None` if it is none of them.
    pub fn parse(text: &str) -> Option<Self> {
        let amount = |it: &str| Quantity::parse(it).map(|it| it.millis());
        let mut words = text.split_whitespace();
        match words.next()? {
            "steps" => {
                let mut steps = Vec::new();
                for word in words {
                    let (at, value) = word.split_once('=')?;
                    steps.push((at.parse().ok()?, amount(value)?));
                }
                steps.sort_by_key(|it| it.0);
                Some(Self::Steps(steps))
            }
            "sine" => {
                let (low, high) = words.next()?.split_once("..")?;
                let period = words.next()?.strip_prefix("period=")?.parse().ok()?;
                Some(Self::Sine(amount(low)?, amount(high)?, period))
            }
            plain => amount(plain).filter(|_| words.next().is_none()).map(Self::Constant),
        }
    }

    /// The total after `age`.
    pub fn at(&self, age: SignedDuration) -> i64 {
        match self {
            Self::Constant(it) => *it,
            Self::Steps(steps) => steps.iter().rev().find(|it| it.0 <= age).map_or(0, |it| it.1),
            Self::Sine(low, high, period) => {
                let turns = age.as_secs_f64() / period.as_secs_f64().max(0.001);
                let share = (1.0 - (turns * std::f64::consts::TAU).cos()) / 2.0;
                low + ((high - low) as f64 * share) as i64
            }
        }
    }
}

/// Cores and bytes of each container, in thousandths.
pub type Containers = Vec<(String, [i64; 2])>;

/// What is above a pod.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Above {
    /// `sim.ordinal/…` annotations of the objects above it, the nearest first.
    pub annotations: Vec<BTreeMap<String, String>>,
    /// Total loads of cpu and memory, now.
    pub loads: [Option<i64>; 2],
    /// Ready pods that share them.
    pub ready: usize,
}

/// Cores and bytes of each container, in thousandths; `None` if the pod is not to be measured.
pub fn of_pod(pod: &PodView, above: &Above) -> Option<Containers> {
    let told = |key: &str| {
        let key = format!("{PREFIX}{key}");
        let own = std::iter::once(&pod.simulation);
        own.chain(&above.annotations).find_map(|it| it.get(&key))
    };
    if told("metrics").is_some_and(|it| it == "off") {
        return None;
    }
    let count = pod.requests.len().max(1) as i64;
    let containers = pod.requests.iter().map(|it| {
        let mut usage = [0; 2];
        for (at, resource) in RESOURCES.into_iter().enumerate() {
            let one = told(&format!("{resource}.{}", it.container)).or_else(|| told(resource));
            let outright = one.and_then(|it| Quantity::parse(it)).map(|it| it.millis());
            let share =
                above.loads[at].filter(|_| pod.ready()).map(|it| it / above.ready.max(1) as i64 / count);
            let tenth = it.of(resource).map(|it| it / 10);
            usage[at] = outright.or(share).or(tenth).unwrap_or(IDLE[at]);
        }
        (it.container.clone(), usage)
    });
    Some(containers.collect())
}

/// Samples of everything in the caches.
pub struct Source {
    stores: Stores,
    resolution: SignedDuration,
    now: fn() -> Timestamp,
    /// When each load was first seen, by object and text.
    seen: Mutex<HashMap<(String, String), Timestamp>>,
}

impl Source {
    /// Samples of the pods in `stores`, one each `resolution`.
    pub fn new(stores: Stores, resolution: SignedDuration, now: fn() -> Timestamp) -> Self {
        Self { stores, resolution, now, seen: Mutex::default() }
    }

    /// A `PodMetrics` for each running pod that is old enough, of one namespace if given.
    pub fn pods(&self, namespace: Option<&str>) -> Vec<Value> {
        let now = (self.now)();
        let measured = self.measure(namespace, now);
        let samples = measured.into_iter().map(|(pod, containers)| {
            let containers: Vec<_> = containers
                .iter()
                .map(|(name, usage)| json!({ "name": name, "usage": shown(*usage) }))
                .collect();
            json!({
                "kind": "PodMetrics", "apiVersion": "metrics.k8s.io/v1beta1",
                "metadata": {
                    "name": pod.key.name, "namespace": pod.key.namespace, "labels": pod.labels,
                    "creationTimestamp": stamp(now),
                },
                "timestamp": stamp(now), "window": self.window(), "containers": containers,
            })
        });
        samples.collect()
    }

    /// A `NodeMetrics` for each node.
    pub fn nodes(&self) -> Vec<Value> {
        let now = (self.now)();
        let measured = self.measure(None, now);
        let nodes = self.stores.nodes.list();
        let samples = nodes.iter().map(|node| {
            let here = measured.iter().filter(|it| it.0.node == node.key.name).flat_map(|it| &it.1);
            let usage = here.fold(NODE, |all, (_, it)| [all[0] + it[0], all[1] + it[1]]);
            json!({
                "kind": "NodeMetrics", "apiVersion": "metrics.k8s.io/v1beta1",
                "metadata": { "name": node.key.name, "creationTimestamp": stamp(now) },
                "timestamp": stamp(now), "window": self.window(), "usage": shown(usage),
            })
        });
        samples.collect()
    }

    fn window(&self) -> String {
        format!("{}s", self.resolution.as_secs())
    }

    fn measure(&self, namespace: Option<&str>, now: Timestamp) -> Vec<(Arc<PodView>, Containers)> {
        let mut above: HashMap<String, Above> = HashMap::new();
        let mut samples = Vec::new();
        for pod in self.stores.pods.list() {
            let here = namespace.is_none_or(|it| it == pod.key.namespace);
            let young = pod.started.is_none_or(|it| now.duration_since(it) < self.resolution);
            if !here || young || pod.phase != Phase::Running {
                continue;
            }
            let usage = match &pod.owner {
                None => of_pod(&pod, &Above::default()),
                Some(owner) => {
                    let above = above.entry(owner.uid.clone()).or_insert_with(|| self.above(&pod, now));
                    of_pod(&pod, above)
                }
            };
            samples.extend(usage.map(|it| (pod, it)));
        }
        samples
    }

    /// What is above a pod: its set, and what is above that.
    fn above(&self, pod: &PodView, now: Timestamp) -> Above {
        let Some(owner) = &pod.owner else { return Above::default() };
        let namespace = pod.key.namespace.as_str();
        let key = ObjectKey::new(namespace, owner.name.as_str());
        let stores = &self.stores;
        // The objects above, nearest first, and the sets whose pods share a load.
        let mut annotations = Vec::new();
        let mut sets = vec![owner.uid.clone()];
        let own = |it: &BTreeMap<String, String>| {
            it.iter().filter(|it| it.0.starts_with(PREFIX)).map(|it| (it.0.clone(), it.1.clone())).collect()
        };
        let set = [stores.sets.get(&key), stores.controllers.get(&key)].into_iter().flatten();
        if let Some(set) = set.into_iter().find(|it| it.uid == owner.uid) {
            annotations.push(own(&set.annotations));
            let above = set.owner.as_ref().and_then(|it| it.key(DEPLOYMENTS, namespace));
            if let Some(deployment) = above.and_then(|it| stores.deployments.get(&it)) {
                annotations.push(own(&deployment.annotations));
                let all = stores.sets.by_index(&index::owned(&deployment.uid));
                sets = all.iter().map(|it| it.uid.clone()).collect();
            }
        } else if let Some(set) = stores.stateful_sets.get(&key).filter(|it| it.uid() == owner.uid) {
            annotations.push(own(&set.annotations));
        }
        let pods = sets.iter().flat_map(|it| stores.pods.by_index(&index::owned(it)));
        let ready = pods.filter(|it| it.active() && it.ready()).count();
        let loads = LOADS.map(|key| {
            let text = annotations
                .iter()
                .find_map(|it: &BTreeMap<String, String>| it.get(&format!("{PREFIX}{key}")))?;
            let id = (sets.join(","), text.clone());
            // A rollout changes the sets; the load goes on as long as its text stays with one of them.
            let mut seen = self.seen.lock().expect("no code panics while it holds the map");
            let known = sets.iter().find_map(|it| seen.get(&(it.clone(), text.clone())).copied());
            let since = known.unwrap_or(now);
            for it in &sets {
                seen.insert((it.clone(), id.1.clone()), since);
            }
            Some(Load::parse(text)?.at(now.duration_since(since)))
        });
        Above { annotations, loads, ready }
    }
}

fn shown([cpu, memory]: [i64; 2]) -> Value {
    json!({
        "cpu": Quantity::from_millis(cpu, false).to_string(),
        "memory": Quantity::from_millis(memory, true).to_string(),
    })
}

fn stamp(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::super::model::Requests;
    use super::super::notation::pods;
    use super::*;

    #[test]
    fn loads() {
        let at =
            |text: &str, seconds: i64| Load::parse(text).map(|it| it.at(SignedDuration::from_secs(seconds)));
        for (text, seconds, want) in [
            ("2000m", 99, Some(2000)),
            ("2", 0, Some(2000)),
            ("steps 0s=200m 60s=2 300s=200m", 59, Some(200)),
            ("steps 0s=200m 60s=2 300s=200m", 60, Some(2000)),
            ("steps 10s=200m", 5, Some(0)),
            ("sine 500m..3000m period=10m", 0, Some(500)),
            ("sine 500m..3000m period=10m", 300, Some(3000)),
            ("a lot", 0, None),
            ("steps 0s", 0, None),
        ] {
            assert_eq!(at(text, seconds), want, "{text} after {seconds}");
        }
    }

    #[test]
    fn the_most_specific_wins() {
        let mut pod = PodView::clone(&pods("a")[0]);
        pod.requests = vec![Requests { container: "c".into(), cpu: Some(200), memory: None }];
        let cpu = |pod: &PodView, above: &Above| of_pod(pod, above).map(|it| it[0].1[0]);
        let mut above = Above::default();
        assert_eq!(cpu(&pod, &above), Some(20), "a tenth of the request");
        above.loads[0] = Some(2000);
        above.ready = 4;
        assert_eq!(cpu(&pod, &above), Some(500), "its share");
        above.annotations.push([("sim.ordinal/cpu".to_owned(), "70m".to_owned())].into());
        assert_eq!(cpu(&pod, &above), Some(70));
        pod.simulation.insert("sim.ordinal/cpu".into(), "80m".into());
        assert_eq!(cpu(&pod, &above), Some(80));
        pod.simulation.insert("sim.ordinal/cpu.c".into(), "90m".into());
        assert_eq!(cpu(&pod, &above), Some(90));
        pod.simulation.insert("sim.ordinal/metrics".into(), "off".into());
        assert_eq!(cpu(&pod, &above), None);
    }
}
