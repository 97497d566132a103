//! Carries out the steps of one pod: binding, status writes, removal, and the events about them.
//!
//! A pod is left alone until the cache shows our last write to it, so no step is taken twice.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client};
use serde_json::json;
use tokio::time::Instant;

use super::address::{Addresses, second};
use super::config::NodeConfig;
use super::events::{Note, Recorder, Source};
use super::knobs::{self, Knobs};
use super::lifecycle::{self, Goal, Stage, Step};
use super::machine::{self, is_code};
use super::objects::{KnownClaim, KnownNode, KnownPod};
use super::schedule::{self, ClaimState};
use super::{status, volumes};
use crate::k8s::watch::{Cached as _, Store, parse_version};
use crate::model::ObjectKey;
use crate::runtime::{Next, Reconcile};

/// How long a pod may wait for its claims before an event says so; they are often made in the same breath.
const SCHEDULING_PATIENCE: std::time::Duration = std::time::Duration::from_secs(2);
/// Second look after another writer was faster, should its event have come already.
const CONFLICT_RECHECK: std::time::Duration = std::time::Duration::from_millis(50);

/// A look at whether the events of a start are posted: the status waits for them, so that they come before what follows
/// from it. Not where pods start without delay.
const TOLD_RECHECK: std::time::Duration = std::time::Duration::from_millis(5);

/// What is remembered about a pod besides the object.
#[derive(Debug)]
struct Memory {
    uid: String,
    stage: Stage,
    since: Instant,
    /// resourceVersion of our last write.
    written: u64,
    /// A binding or removal was accepted, the cache does not show it yet.
    awaits: Option<u64>,
    /// Killing was said.
    killing: bool,
    /// The last goal whose events were given.
    told: Option<Goal>,
    /// Warnings given.
    warned: HashSet<String>,
}

/// The part of the node that looks after pods.
pub struct Pods {
    client: Client,
    config: NodeConfig,
    recorder: Recorder,
    cache: Store<KnownPod>,
    claims: Store<KnownClaim>,
    node: Store<KnownNode>,
    addresses: Mutex<Addresses>,
    memory: Mutex<HashMap<ObjectKey, Memory>>,
    /// Images on the node; the value is the uid of the pod that is pulling it.
    images: Mutex<HashMap<String, Option<String>>>,
}

impl Pods {
    /// Nothing is remembered yet; [`Pods::observe`] reads back addresses and images.
    pub fn new(
        client: Client,
        config: NodeConfig,
        recorder: Recorder,
        pods: Store<KnownPod>,
        claims: Store<KnownClaim>,
        node: Store<KnownNode>,
    ) -> Self {
        Self {
            client,
            config,
            recorder,
            cache: pods,
            claims,
            node,
            addresses: Mutex::default(),
            memory: Mutex::default(),
            images: Mutex::default(),
        }
    }

    /// Notes the address and images of a pod that the watch shows.
    pub fn observe(&self, pod: &KnownPod) {
        let status = pod.object.status.as_ref();
        if let Some(address) = status.and_then(|it| it.pod_ip.as_deref()).and_then(|it| it.parse().ok()) {
            self.addresses
                .lock()
                .expect("no code panics while it holds the pool")
                .observe(pod.uid(), address);
            if lifecycle::is_running(&pod.object) {
                let mut images = self.images.lock().expect("no code panics while it holds the map");
                for image in
                    pod.object.spec.iter().flat_map(|it| &it.containers).filter_map(|it| it.image.as_ref())
                {
                    if !images.contains_key(image) {
                        images.insert(image.clone(), None);
                    }
                }
            }
        }
    }

    /// Forgets a pod that is gone.
    pub fn forget(&self, pod: &KnownPod) {
        self.addresses.lock().expect("no code panics while it holds the pool").release(pod.uid());
        let mut memory = self.memory.lock().expect("no code panics while it holds the map");
        if memory.get(&pod.key()).is_some_and(|it| it.uid == pod.uid()) {
            memory.remove(&pod.key());
        }
    }

    fn api(&self, key: &ObjectKey) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &key.namespace)
    }

    /// Runs `f` on what is remembered about the pod, after bringing the stage up to date.
    fn remember<R>(&self, key: &ObjectKey, uid: &str, stage: Stage, f: impl FnOnce(&mut Memory) -> R) -> R {
        let mut memory = self.memory.lock().expect("no code panics while it holds the map");
        let fresh = || Memory {
            uid: uid.to_owned(),
            stage,
            since: Instant::now(),
            written: 0,
            awaits: None,
            killing: false,
            told: None,
            warned: HashSet::new(),
        };
        let known = memory.entry(key.clone()).or_insert_with(fresh);
        if known.uid != uid {
            *known = fresh();
        }
        if known.stage != stage {
            (known.stage, known.since) = (stage, Instant::now());
        }
        f(known)
    }

    async fn schedule(
        &self,
        key: &ObjectKey,
        pod: &Pod,
        known: &KnownPod,
        waited: std::time::Duration,
    ) -> kube::Result<Next> {
        let Some(node) = self.node.get(&ObjectKey::new("", &self.config.name)) else {
            return Ok(Next::After(SCHEDULING_PATIENCE));
        };
        let claim = |name: &str| match self.claims.get(&ObjectKey::new(&key.namespace, name)) {
            None => ClaimState::Missing,
            Some(claim) if claim.object.metadata.deletion_timestamp.is_some() => ClaimState::Terminating,
            Some(claim) if volumes::is_bound(&claim.object) => ClaimState::Bound,
            Some(_) => ClaimState::Unbound,
        };
        let free = (machine::PODS + 1).saturating_sub(self.cache.len());
        if let Err(why) = schedule::fits(&node.object, free, pod, claim) {
            if let Some(wait) = SCHEDULING_PATIENCE.checked_sub(waited).filter(|it| !it.is_zero()) {
                return Ok(Next::After(wait));
            }
            let first =
                self.remember(key, known.uid(), Stage::Unscheduled, |it| it.warned.insert(why.clone()));
            if first {
                let patch = status::unschedulable(pod, &why, &machine::seconds(Timestamp::now()));
                self.write(key, known, Stage::Unscheduled, patch).await?;
                self.recorder.record(pod, Note::warning(Source::Scheduler, "FailedScheduling", why));
            }
            return Ok(Next::Event);
        }
        let binding = json!({
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": key.name, "namespace": key.namespace, "uid": known.uid()},
            "target": {"apiVersion": "v1", "kind": "Node", "name": self.config.name},
        });
        // The answer is a Status, not the pod.
        let bound: kube::Result<serde_json::Value> =
            self.api(key).create_subresource("binding", &key.name, &PostParams::default(), &binding).await;
        match bound {
            Ok(_) => {
                self.recorder.record(pod, Note::scheduled(pod, &self.config.name));
                self.remember(key, known.uid(), Stage::Unscheduled, |it| {
                    it.awaits = Some(known.resource_version());
                });
                Ok(Next::OwnWrites)
            }
            Err(error) if is_code(&error, 404) || is_code(&error, 409) => Ok(Next::After(CONFLICT_RECHECK)),
            Err(error) => Err(error),
        }
    }

    /// Writes a status; another writer's change in between, or a pod that is gone, is no error.
    async fn write(
        &self,
        key: &ObjectKey,
        known: &KnownPod,
        stage: Stage,
        patch: serde_json::Value,
    ) -> kube::Result<Option<Next>> {
        match self.api(key).patch_status(&key.name, &PatchParams::default(), &Patch::Merge(patch)).await {
            Ok(pod) => {
                let version = parse_version(pod.metadata.resource_version.as_deref());
                self.remember(key, known.uid(), stage, |it| it.written = version);
                Ok(None)
            }
            Err(error) if is_code(&error, 404) => Ok(Some(Next::Event)),
            Err(error) if is_code(&error, 409) => Ok(Some(Next::After(CONFLICT_RECHECK))),
            Err(error) => Err(error),
        }
    }

    async fn go(
        &self,
        key: &ObjectKey,
        known: &KnownPod,
        stage: Stage,
        goal: Goal,
        knobs: &Knobs,
    ) -> kube::Result<Next> {
        let pod = &*known.object;
        let needs_address = !matches!(goal, Goal::Creating);
        let host_network = pod.spec.as_ref().is_some_and(|it| it.host_network == Some(true));
        let addresses = if host_network {
            vec![machine::ADDRESS.to_owned()]
        } else if needs_address {
            let mut pool = self.addresses.lock().expect("no code panics while it holds the pool");
            let assigned = pool.assign(known.uid());
            drop(pool);
            let Some(address) = assigned else {
                let why = format!("no free address in {}", super::address::POD_CIDR);
                self.recorder.record(pod, Note::warning(Source::Kubelet, "FailedCreatePodSandBox", why));
                return Ok(Next::After(std::time::Duration::from_secs(10)));
            };
            let second = self.config.dual_stack.then(|| second(address).to_string());
            [address.to_string()].into_iter().chain(second).collect()
        } else {
            Vec::new()
        };
        let scene = status::Scene {
            now: machine::seconds(Timestamp::now()),
            node_address: machine::ADDRESS.to_owned(),
            pod_addresses: addresses,
        };
        // Told before others can act on the status; once, even if the write has to be repeated.
        if self.remember(key, known.uid(), stage, |it| it.told.replace(goal.clone()) != Some(goal.clone())) {
            for note in self.notes(known, stage, &goal) {
                self.recorder.record(pod, note);
            }
        }
        let starts = stage == Stage::Creating && matches!(goal, Goal::Running { .. });
        if starts && !knobs.start_delay.is_zero() && !self.recorder.is_told(known.uid()) {
            return Ok(Next::After(TOLD_RECHECK));
        }
        let next = self.write(key, known, stage, status::patch(pod, &goal, &scene)).await?;
        Ok(next.unwrap_or(Next::OwnWrites))
    }

    /// The events that reaching `goal` from `stage` brings.
    fn notes(&self, known: &KnownPod, stage: Stage, goal: &Goal) -> Vec<Note> {
        let pod = &*known.object;
        let names = pod.spec.iter().flat_map(|it| &it.containers);
        let mut notes = Vec::new();
        match (stage, goal) {
            (Stage::Creating, Goal::Creating) => {
                let mut images = self.images.lock().expect("no code panics while it holds the map");
                for it in names {
                    let image = it.image.as_deref().unwrap_or_default();
                    if !images.contains_key(image) {
                        images.insert(image.to_owned(), Some(known.uid().to_owned()));
                        notes.push(Note::container(
                            "Pulling",
                            &it.name,
                            format!("Pulling image \"{image}\""),
                        ));
                    }
                }
            }
            (Stage::Creating | Stage::BackOff(_), Goal::Running { .. } | Goal::Succeeded) => {
                let mut images = self.images.lock().expect("no code panics while it holds the map");
                for it in names {
                    let image = it.image.as_deref().unwrap_or_default();
                    if !images.contains_key(image) {
                        images.insert(image.to_owned(), Some(known.uid().to_owned()));
                        notes.push(Note::container(
                            "Pulling",
                            &it.name,
                            format!("Pulling image \"{image}\""),
                        ));
                    }
                    let slot = images.entry(image.to_owned()).or_default();
                    let pulled = if slot.as_deref() == Some(known.uid()) {
                        *slot = None;
                        format!("Successfully pulled image \"{image}\"")
                    } else {
                        format!("Container image \"{image}\" already present on machine")
                    };
                    notes.push(Note::container("Pulled", &it.name, pulled));
                    notes.push(Note::container(
                        "Created",
                        &it.name,
                        format!("Created container {}", it.name),
                    ));
                    notes.push(Note::container(
                        "Started",
                        &it.name,
                        format!("Started container {}", it.name),
                    ));
                }
            }
            (_, Goal::BackOff(_)) => {
                let (namespace, name) = (
                    pod.metadata.namespace.as_deref().unwrap_or_default(),
                    pod.metadata.name.as_deref().unwrap_or_default(),
                );
                for it in names {
                    let message = format!(
                        "Back-off restarting failed container {} in pod {name}_{namespace}({})",
                        it.name,
                        known.uid()
                    );
                    notes.push(Note { kind: "Warning", ..Note::container("BackOff", &it.name, message) });
                }
            }
            (_, Goal::Failed(reason)) => {
                let message = format!("The pod failed as its annotation asks: {reason}");
                notes.push(Note::warning(Source::Kubelet, "Failed", message));
            }
            _ => {}
        }
        notes
    }

    async fn remove(&self, key: &ObjectKey, known: &KnownPod) -> kube::Result<Next> {
        let only = Preconditions { uid: Some(known.uid().to_owned()), resource_version: None };
        let options = DeleteParams::default().grace_period(0).preconditions(only);
        match self.api(key).delete(&key.name, &options).await {
            Ok(_) => {
                self.remember(key, known.uid(), Stage::Terminating, |it| {
                    it.awaits = Some(known.resource_version());
                });
                Ok(Next::OwnWrites)
            }
            Err(error) if is_code(&error, 404) || is_code(&error, 409) => Ok(Next::After(CONFLICT_RECHECK)),
            Err(error) => Err(error),
        }
    }
}

impl Reconcile for Pods {
    type Error = kube::Error;

    async fn reconcile(&self, key: &ObjectKey) -> kube::Result<Next> {
        let Some(known) = self.cache.get(key) else { return Ok(Next::Event) };
        let pod = &*known.object;
        let stage = lifecycle::stage(pod, &self.config.name);
        if stage == Stage::Elsewhere {
            return Ok(Next::Event);
        }
        let version = known.resource_version();
        let (elapsed, behind) = self.remember(key, known.uid(), stage, |it| {
            it.awaits = it.awaits.filter(|it| *it == version);
            (it.since.elapsed(), it.awaits.is_some() || version < it.written)
        });
        if behind {
            return Ok(Next::OwnWrites);
        }
        let (knobs, ignored) = knobs::parse(&self.config, pod.metadata.annotations.as_ref());
        for message in ignored {
            if self.remember(key, known.uid(), stage, |it| it.warned.insert(message.clone())) {
                self.recorder.record(pod, Note::warning(Source::Kubelet, "IgnoredAnnotation", message));
            }
        }
        if stage == Stage::Terminating
            && lifecycle::is_running(pod)
            && !self.remember(key, known.uid(), stage, |it| std::mem::replace(&mut it.killing, true))
        {
            for it in pod.spec.iter().flat_map(|it| &it.containers) {
                let message = format!("Stopping container {}", it.name);
                self.recorder.record(pod, Note::container("Killing", &it.name, message));
            }
        }
        match lifecycle::next(pod, stage, elapsed, &knobs) {
            Step::Nothing => Ok(Next::Event),
            Step::Wait(delay) => Ok(Next::After(delay)),
            Step::Schedule => self.schedule(key, pod, &known, elapsed).await,
            Step::Write(goal) => self.go(key, &known, stage, goal, &knobs).await,
            Step::Remove => self.remove(key, &known).await,
        }
    }
}
