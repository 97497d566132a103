//! Shell of scheduler and kubelet: one pod, one step.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Binding, ObjectReference, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::core::Status;
use kube::{Api, Client};
use tokio::time::Instant;
use tracing::debug;

use super::address::Addresses;
use super::config::NodeConfig;
use super::events;
use super::lifecycle::{Delays, Stage, Step, Target, stage_after, stage_of, step};
use super::pod::PodView;
use super::recorder::Recorder;
use super::schedule::{ClaimState, NodeView, Verdict, judge};
use super::status::{self, Place};
use super::volumes::ClaimView;
use super::{FIELD_MANAGER, object};
use crate::k8s::watch::{Change, Store, parse_version};
use crate::model::ObjectKey;
use crate::runtime::barrier::{View, Write};
use crate::runtime::{Barrier, Next, Reconcile};

/// How long a pod may wait for something that usually follows at once before the user is told.
const TELL_AFTER: Duration = Duration::from_secs(1);
/// When to try again after the API server saw another state than we did.
const AFTER_CONFLICT: Duration = Duration::from_millis(50);

/// A write that the API server did not take.
#[derive(Debug, thiserror::Error)]
#[error("API server did not take the {what} of {object}")]
pub struct WriteError {
    pub(super) what: &'static str,
    pub(super) object: ObjectKey,
    #[source]
    pub(super) source: Box<kube::Error>,
}

/// What the kubelet remembers about a pod beside the object.
#[derive(Debug, Clone, Copy)]
struct Memory {
    stage: Stage,
    since: Instant,
    told: bool,
}

/// Everything a pod's reconcile may touch.
pub struct Kubelet {
    client: Client,
    config: NodeConfig,
    pods: Store<PodView>,
    claims: Store<ClaimView>,
    nodes: Store<NodeView>,
    recorder: Recorder,
    barrier: Barrier,
    view: Arc<dyn View>,
    state: Mutex<State>,
}

struct State {
    addresses: Addresses,
    memory: HashMap<String, Memory>,
    images: BTreeSet<String>,
}

impl Kubelet {
    /// A kubelet over these caches, not running anything yet.
    pub fn new(
        client: Client,
        config: NodeConfig,
        pods: Store<PodView>,
        claims: Store<ClaimView>,
        nodes: Store<NodeView>,
        recorder: Recorder,
    ) -> Self {
        let addresses = Addresses::new(&config.pod_cidrs);
        let state = State { addresses, memory: HashMap::new(), images: BTreeSet::new() };
        let view = Arc::new(pods.clone());
        Self {
            client,
            config,
            pods,
            claims,
            nodes,
            recorder,
            barrier: Barrier::default(),
            view,
            state: Mutex::new(state),
        }
    }

    /// Notes a change of the pod cache: addresses in use, and those given back.
    pub fn note(&self, change: &Change<PodView>) {
        let mut state = self.lock();
        if let Some(new) = &change.new
            && !new.host_network
            && !new.ended()
        {
            state.addresses.claim(&new.uid, &new.ips);
        }
        if let Some(old) = &change.old
            && change.new.as_ref().is_none_or(|new| new.uid != old.uid)
        {
            state.addresses.release(&old.uid);
            state.memory.remove(&old.uid);
        }
    }

    /// The images of running pods count as pulled: called once, before the first reconcile.
    pub fn resume(&self) {
        let mut state = self.lock();
        for pod in self.pods.list() {
            if pod.running() {
                state.images.extend(pod.containers.iter().map(|it| it.image.clone()));
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("no code panics while it holds the state")
    }

    fn api(&self, key: &ObjectKey) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &key.namespace)
    }

    /// Enters `stage` if the pod is not in it yet; reports what happened; returns the memory.
    fn enter(&self, pod: &PodView, stage: Stage) -> Memory {
        let (memory, happened) = {
            let mut state = self.lock();
            let known = state.memory.get(&pod.uid).copied();
            let memory = known.filter(|it| it.stage == stage).unwrap_or(Memory {
                stage,
                since: Instant::now(),
                told: false,
            });
            state.memory.insert(pod.uid.clone(), memory);
            let from = known.map(|it| it.stage).filter(|from| *from != stage);
            let happened = from.map(|from| events::between(pod, from, stage, &mut state.images));
            (memory, happened.unwrap_or_default())
        };
        happened.into_iter().for_each(|it| self.recorder.record(it));
        memory
    }

    async fn schedule(&self, pod: &PodView) -> Result<Outcome, WriteError> {
        let memory = self.enter(pod, Stage::Unbound);
        let node = self.nodes.get(&ObjectKey::new("", self.config.name.clone()));
        let claims: Vec<_> = pod.claims.iter().map(|name| self.claim_state(&pod.key, name)).collect();
        let message = match judge(pod, node.as_deref(), &claims) {
            Verdict::Ignore => return Ok(Outcome::Next(Next::Event)),
            Verdict::Fits => return self.bind(pod).await,
            Verdict::Soon(_) if memory.since.elapsed() < TELL_AFTER => {
                return Ok(Outcome::Next(Next::After(TELL_AFTER - memory.since.elapsed())));
            }
            Verdict::Soon(message) | Verdict::No(message) => message,
        };
        let known =
            pod.condition("PodScheduled").and_then(|it| it.message.as_deref()) == Some(message.as_str());
        if !known {
            self.patch(pod, &status::unschedulable(pod, &message, Timestamp::now())).await?;
        }
        if !memory.told {
            self.recorder.record(events::unschedulable(pod, &message));
            self.lock().memory.insert(pod.uid.clone(), Memory { told: true, ..memory });
        }
        Ok(Outcome::Next(Next::Event))
    }

    fn claim_state(&self, pod: &ObjectKey, name: &str) -> ClaimState {
        match self.claims.get(&ObjectKey::new(pod.namespace.clone(), name)) {
            None => ClaimState::Missing,
            Some(claim) if claim.bound => ClaimState::Bound,
            Some(_) => ClaimState::Unbound,
        }
    }

    async fn bind(&self, pod: &PodView) -> Result<Outcome, WriteError> {
        let binding = Binding {
            metadata: ObjectMeta {
                name: Some(pod.key.name.clone()),
                namespace: Some(pod.key.namespace.clone()),
                uid: Some(pod.uid.clone()),
                ..Default::default()
            },
            target: ObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Node".to_owned()),
                name: Some(self.config.name.clone()),
                ..Default::default()
            },
        };
        let params = PostParams::default();
        let bound: Result<Status, _> =
            self.api(&pod.key).create_subresource("binding", &pod.key.name, &params, &binding).await;
        match bound {
            Ok(_) => {
                self.recorder.record(events::scheduled(pod, &self.config.name));
                Ok(Outcome::Bound)
            }
            Err(error) => Ok(Outcome::Next(self.refused(pod, "binding", error)?)),
        }
    }

    /// One step of a pod that is bound to this node.
    async fn run_pod(&self, pod: &PodView) -> Result<Next, WriteError> {
        let memory = self.enter(pod, stage_of(pod));
        let delays = Delays {
            start: self.config.start_delay,
            ready: self.config.ready_delay,
            stop: self.config.stop_delay,
        };
        match step(pod, memory.since.elapsed(), delays) {
            Step::Wait(None) => Ok(Next::Event),
            Step::Wait(Some(wait)) => Ok(Next::After(wait)),
            Step::Write(target) => self.publish(pod, &target).await,
            Step::Remove => self.remove(pod).await,
        }
    }

    async fn publish(&self, pod: &PodView, target: &Target) -> Result<Next, WriteError> {
        let host_ips = object::addresses(&self.config);
        let pod_ips = if pod.host_network {
            Some(host_ips.clone())
        } else if matches!(target, Target::Creating | Target::Stopping) {
            Some(pod.ips.clone())
        } else {
            self.lock().addresses.of(&pod.uid)
        };
        let Some(pod_ips) = pod_ips else {
            debug!("no pod address is free");
            return Ok(Next::After(TELL_AFTER));
        };
        let place = Place { host_ips, pod_ips };
        let next = self.patch(pod, &status::patch(pod, target, &place, Timestamp::now())).await?;
        if next == Next::OwnWrites {
            self.enter(pod, stage_after(target));
        }
        Ok(next)
    }

    /// Patches the status; `Next::OwnWrites` on success.
    async fn patch(&self, pod: &PodView, patch: &serde_json::Value) -> Result<Next, WriteError> {
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        match self.api(&pod.key).patch_status(&pod.key.name, &params, &Patch::Strategic(patch)).await {
            Ok(written) => {
                let resource_version = parse_version(written.metadata.resource_version.as_deref());
                let write = Write::Stored { object: pod.key.clone(), resource_version };
                self.barrier.record(&pod.key, Arc::clone(&self.view), write);
                Ok(Next::OwnWrites)
            }
            Err(error) => self.refused(pod, "status", error),
        }
    }

    async fn remove(&self, pod: &PodView) -> Result<Next, WriteError> {
        let preconditions = Preconditions { uid: Some(pod.uid.clone()), resource_version: None };
        let params = DeleteParams::default().grace_period(0).preconditions(preconditions);
        match self.api(&pod.key).delete(&pod.key.name, &params).await {
            Ok(_) if pod.finalized => Ok(Next::OwnWrites),
            Ok(_) => {
                let write = Write::Gone { object: pod.key.clone(), uid: pod.uid.clone() };
                self.barrier.record(&pod.key, Arc::clone(&self.view), write);
                Ok(Next::OwnWrites)
            }
            Err(error) => self.refused(pod, "removal", error),
        }
    }

    /// A refusal: gone and changed objects are looked at again when the cache knows; the rest is an error.
    fn refused(&self, pod: &PodView, what: &'static str, error: kube::Error) -> Result<Next, WriteError> {
        match &error {
            kube::Error::Api(status) if status.code == 404 => Ok(Next::Event),
            kube::Error::Api(status) if status.code == 409 => Ok(Next::After(AFTER_CONFLICT)),
            _ => Err(WriteError { what, object: pod.key.clone(), source: Box::new(error) }),
        }
    }
}

/// What scheduling came to.
enum Outcome {
    Bound,
    Next(Next),
}

impl Reconcile for Kubelet {
    type Error = WriteError;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, WriteError> {
        let Some(pod) = self.pods.get(key) else {
            self.barrier.forget(key);
            return Ok(Next::Event);
        };
        if self.barrier.waits_for(key).is_some() {
            return Ok(Next::OwnWrites);
        }
        match &pod.node_name {
            Some(name) if *name == self.config.name => self.run_pod(&pod).await,
            Some(_) => Ok(Next::Event),
            None => match self.schedule(&pod).await? {
                Outcome::Next(next) => Ok(next),
                // The kubelet goes on at once; the event that shows the binding comes too late to be of use.
                Outcome::Bound => {
                    let bound = PodView { node_name: Some(self.config.name.clone()), ..(*pod).clone() };
                    self.run_pod(&bound).await
                }
            },
        }
    }
}
