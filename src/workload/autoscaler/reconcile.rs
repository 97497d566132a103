//! One autoscaler, once per period: read the scale of its target and the usage of its pods, decide, write.
//!
//! A key is looked at one period after it is first seen and once per period from then on; nothing else wakes it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::SignedDuration;
use serde_json::{Value, json};
use tracing::{debug, info};

use super::limits::Memory;
use super::model::{AutoscalerView, Target};
use super::proposal::Sample;
use super::{Observed, Scale, Settings, pass, status_patch};
use crate::k8s::events::Recorder;
use crate::k8s::kinds::{AUTOSCALERS, CONTROLLERS, DEPLOYMENTS, REPLICA_SETS, STATEFUL_SETS};
use crate::k8s::watch::Store;
use crate::k8s::write::{Kind, WriteApi, WriteError};
use crate::model::ObjectKey;
use crate::model::quantity::Quantity;
use crate::model::selector::LabelSelector;
use crate::runtime::{Next, Reconcile};
use crate::workload::World;
use crate::workload::apply::{ApplyError, Who};
use crate::workload::model::{PodView, count, text};

/// metrics.k8s.io PodMetrics.
const USAGE: Kind =
    Kind { api_version: "metrics.k8s.io/v1beta1", kind: "PodMetrics", plural: "pods", word: "podmetrics" };

/// Everything the controller may touch.
pub struct Reconciler {
    autoscalers: Store<AutoscalerView>,
    pods: Store<PodView>,
    api: WriteApi,
    events: Recorder,
    world: World,
    settings: Settings,
    memory: Mutex<HashMap<ObjectKey, Remembered>>,
}

#[derive(Default)]
struct Remembered {
    uid: String,
    memory: Memory,
    /// What its target selects.
    selector: LabelSelector,
}

impl Reconciler {
    /// A controller for `autoscalers`.
    pub fn new(
        autoscalers: Store<AutoscalerView>,
        pods: Store<PodView>,
        api: WriteApi,
        events: Recorder,
        world: World,
        settings: Settings,
    ) -> Self {
        Self { autoscalers, pods, api, events, world, settings, memory: Mutex::default() }
    }

    async fn scale(&self, target: &Target, namespace: &str) -> Result<Scale, String> {
        let kind = kind_of(target)?;
        let object = ObjectKey::new(namespace, target.name.as_str());
        match self.api.get_sub(kind, &object, "scale").await {
            Ok(it) => Ok(Scale {
                replicas: count(&it["spec"]["replicas"]),
                selector: text(&it["status"]["selector"]),
            }),
            Err(error) => Err(error.text()),
        }
    }

    async fn samples(&self, namespace: &str, selector: &str) -> Result<BTreeMap<String, Sample>, String> {
        let list = self.api.list(USAGE, namespace, selector).await.map_err(|it| it.text())?;
        let items = list["items"].as_array().into_iter().flatten();
        Ok(items.filter_map(|it| Some((text(&it["metadata"]["name"]), sample(it)?))).collect())
    }

    /// All autoscalers of the namespace that select one of `pods`, if this is not the only one.
    fn rivals(
        &self,
        key: &ObjectKey,
        uid: &str,
        selector: &LabelSelector,
        pods: &[Arc<PodView>],
    ) -> Vec<String> {
        let mut all = self.memory.lock().expect("no code panics while it holds the memory");
        let own = all.entry(key.clone()).or_default();
        if own.uid != uid {
            *own = Remembered { uid: uid.to_owned(), ..Remembered::default() };
        }
        own.selector = selector.clone();
        let selects = |it: &Remembered| pods.iter().any(|pod| it.selector.selects(&pod.labels));
        let mut names: Vec<_> = all
            .iter()
            .filter(|(other, it)| other.namespace == key.namespace && selects(it))
            .map(|(other, _)| other.to_string())
            .collect();
        names.sort_unstable();
        if names.len() > 1 { names } else { Vec::new() }
    }

    async fn observe(&self, it: &AutoscalerView) -> Observed {
        let namespace = it.key.namespace.as_str();
        let scale = self.scale(&it.target, namespace).await;
        let mut observed =
            Observed { scale, pods: Vec::new(), samples: Ok(BTreeMap::new()), rivals: Vec::new() };
        let Ok(scale) = &observed.scale else { return observed };
        let Ok(selector) = LabelSelector::parse(&scale.selector) else { return observed };
        observed.pods = self.pods.list();
        observed.pods.retain(|pod| pod.key.namespace == namespace && selector.selects(&pod.labels));
        observed.rivals = self.rivals(&it.key, &it.uid, &selector, &observed.pods);
        if scale.replicas > 0 && !it.metrics.is_empty() {
            observed.samples = self.samples(namespace, &scale.selector).await;
        }
        observed
    }

    async fn sync(&self, it: &AutoscalerView) -> Result<(), ApplyError> {
        let observed = self.observe(it).await;
        let now = (self.world.now)();
        let mut pass = {
            let mut all = self.memory.lock().expect("no code panics while it holds the memory");
            let memory = &mut all.entry(it.key.clone()).or_default().memory;
            pass(it, &observed, memory, &self.settings, now)
        };
        if let Some((to, reason)) = pass.rescale.clone() {
            let result = self.rescale(it, to).await;
            match result {
                Ok(()) => {
                    info!(to, %reason, "rescaled");
                    pass.taken(now);
                    let from = observed.scale.as_ref().map_or(0, |it| it.replicas);
                    let mut all = self.memory.lock().expect("no code panics while it holds the memory");
                    let memory = &mut all.entry(it.key.clone()).or_default().memory;
                    memory.note(it.behavior.as_ref(), from, to, now);
                }
                Err(error) => pass.refused(it, &error, now),
            }
        }
        let who = Who {
            kind: AUTOSCALERS,
            key: &it.key,
            uid: &it.uid,
            resource_version: &it.resource_version,
            component: "horizontal-pod-autoscaler",
        };
        for (severity, reason, message) in pass.events {
            who.tell(&self.events, severity, reason, message, now);
        }
        let Some(patch) = status_patch(it, &pass.status) else { return Ok(()) };
        match self.api.patch_sub(AUTOSCALERS, &it.key, "status", &patch).await {
            // The next pass sees what changed.
            Ok(_) | Err(WriteError::NotFound { .. } | WriteError::Stale { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    async fn rescale(&self, it: &AutoscalerView, to: u32) -> Result<(), String> {
        let kind = kind_of(&it.target)?;
        let object = ObjectKey::new(it.key.namespace.as_str(), it.target.name.as_str());
        let patch = json!({ "spec": { "replicas": to } });
        self.api.patch_sub(kind, &object, "scale", &patch).await.map(drop).map_err(|it| it.text())
    }
}

fn kind_of(target: &Target) -> Result<Kind, String> {
    let group = target.api_version.split_once('/').map_or("", |it| it.0);
    match (group, target.kind.as_str()) {
        ("apps", "Deployment") => Ok(DEPLOYMENTS),
        ("apps", "ReplicaSet") => Ok(REPLICA_SETS),
        ("apps", "StatefulSet") => Ok(STATEFUL_SETS),
        ("", "ReplicationController") => Ok(CONTROLLERS),
        ("", kind) => Err(format!("no matches for kind {kind:?} in group \"\"")),
        (group, kind) => Err(format!("no matches for kind {kind:?} in group {group:?}")),
    }
}

fn sample(raw: &Value) -> Option<Sample> {
    let millis = |it: &Value| Quantity::from_json(it).map_or(0, |it| it.millis());
    let containers = raw["containers"].as_array().into_iter().flatten();
    Some(Sample {
        containers: containers
            .map(|it| (text(&it["name"]), millis(&it["usage"]["cpu"]), millis(&it["usage"]["memory"])))
            .collect(),
        at: raw["timestamp"].as_str()?.parse().ok()?,
        window: raw["window"].as_str()?.parse::<SignedDuration>().ok()?,
    })
}

impl Reconcile for Reconciler {
    type Error = ApplyError;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, ApplyError> {
        let Some(it) = self.autoscalers.get(key) else {
            self.memory.lock().expect("no code panics while it holds the memory").remove(key);
            return Ok(Next::Event);
        };
        if let Err(error) = self.sync(&it).await {
            // The next pass comes anyway; trying sooner would judge twice in one period.
            debug!(%error, "a pass failed");
        }
        Ok(Next::After(Duration::try_from(self.settings.period).unwrap_or(Duration::from_secs(15))))
    }
}
