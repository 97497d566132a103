//! The controllers of workloads without identity: ReplicaSet, ReplicationController, Deployment; and what scales them.
//!
//! Store ──observe──▶ Observed ──plan──▶ Plan ──apply──▶ API server, as for StatefulSets.
//!
//! Decisions are pure: [`claim`] (what is whose), [`replicas`] (pods of a set), [`deployment`] (sets of a Deployment),
//! [`hash`] (what a template is called), [`autoscaler`] (how large a workload should be), [`usage`] (what pods use). All controllers of a process share one cache of pods and one of sets.
//!
//! Invariants: a plan creates no more than is missing, deletes no more than is too many, and never both; every delete
//! names the UID it means; no key is planned on a view older than our own writes, those of unknown outcome included.
//! Sources: kubernetes `pkg/controller/replicaset`, `pkg/controller/replication`, `pkg/controller/deployment` (1.36).

mod adopt;
mod apply;
pub mod autoscaler;
pub mod claim;
pub mod deployment;
pub mod disruption;
pub mod hash;
pub mod index;
pub mod model;
pub mod replicas;
pub mod usage;

#[cfg(test)]
mod fault_tests;
#[cfg(test)]
mod notation;
#[cfg(test)]
mod plan_tests;

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{Node, ReplicationController};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{ApiResource, DynamicObject};
use kube::runtime::watcher;
use kube::{Api, Client, Resource};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use self::autoscaler::model::AutoscalerView;
use self::deployment::model::DeploymentView;
use self::disruption::BudgetView;
use self::hash::Release;
use self::model::{NamedView, PodView, SetKind, SetView};
use crate::k8s::events::{self, Recorder};
use crate::k8s::lean::LeanPod;
use crate::k8s::watch::{Cached, Change, Store, reflect};
use crate::k8s::write::WriteApi;
use crate::model::ObjectKey;
use crate::runtime::{ControllerMetrics, ReadyHandle, Reconcile, Workqueue, work};

/// Its product is our name in managed fields.
const USER_AGENT: &str = concat!("ordinal/", env!("CARGO_PKG_VERSION"), " workload-controller");

/// A controller of this module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Controller {
    /// Pods of ReplicationControllers.
    ReplicationController,
    /// Pods of ReplicaSets.
    ReplicaSet,
    /// ReplicaSets of Deployments.
    Deployment,
    /// Sizes, by usage.
    Autoscaler,
    /// Status of PodDisruptionBudgets.
    Disruption,
    /// Usage of simulated pods; not a controller, but it looks at the same caches.
    Metrics,
}

impl Controller {
    /// The name used by `--components`, metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ReplicationController => "replicationcontroller",
            Self::ReplicaSet => "replicaset",
            Self::Deployment => "deployment",
            Self::Autoscaler => "autoscaler",
            Self::Disruption => "disruption",
            Self::Metrics => "metrics",
        }
    }
}

/// What plans get from outside.
#[derive(Debug, Clone, Copy)]
pub struct World {
    /// Reads the time.
    pub now: fn() -> Timestamp,
    /// Draws the characters at the end of pod names.
    pub random: fn() -> u64,
}

/// How the controllers run.
#[derive(Clone)]
pub struct Options {
    /// Which ones.
    pub controllers: Vec<Controller>,
    /// Keys of one controller worked on at the same time (`--concurrent-deployment-syncs`).
    pub workers: usize,
    /// Whose pod-template-hash new ReplicaSets are named by.
    pub release: Release,
    /// How autoscalers decide.
    pub autoscaler: autoscaler::Settings,
    /// How often pods are measured.
    pub metrics_resolution: SignedDuration,
    /// The caches.
    pub stores: Stores,
    /// The frame's metrics.
    pub metrics: ControllerMetrics,
    /// Time and chance.
    pub world: World,
}

impl Default for Options {
    fn default() -> Self {
        let random = || getrandom::u64().expect("the system has random numbers");
        Self {
            controllers: vec![
                Controller::ReplicationController,
                Controller::ReplicaSet,
                Controller::Deployment,
            ],
            workers: 5,
            release: Release::LAST,
            autoscaler: autoscaler::Settings::default(),
            metrics_resolution: SignedDuration::from_secs(15),
            stores: Stores::default(),
            metrics: ControllerMetrics::default(),
            world: World { now: Timestamp::now, random },
        }
    }
}

/// The caches.
#[derive(Clone)]
pub struct Stores {
    /// Pods, indexed by [`index::pod_buckets`].
    pub pods: Store<PodView>,
    /// ReplicaSets, indexed by [`index::set_buckets`].
    pub sets: Store<SetView>,
    /// ReplicationControllers, indexed likewise.
    pub controllers: Store<SetView>,
    /// Deployments, indexed by [`index::deployment_buckets`].
    pub deployments: Store<DeploymentView>,
    /// HorizontalPodAutoscalers.
    pub autoscalers: Store<AutoscalerView>,
    /// PodDisruptionBudgets.
    pub budgets: Store<BudgetView>,
    /// StatefulSets, for the usage of their pods.
    pub stateful_sets: Store<NamedView>,
    /// Nodes, likewise.
    pub nodes: Store<NamedView>,
}

impl Default for Stores {
    fn default() -> Self {
        Self {
            pods: Store::indexed_by(index::pod_buckets),
            sets: Store::indexed_by(index::set_buckets),
            controllers: Store::indexed_by(index::set_buckets),
            deployments: Store::indexed_by(index::deployment_buckets),
            autoscalers: Store::default(),
            budgets: Store::indexed_by(index::budget_buckets),
            stateful_sets: Store::default(),
            nodes: Store::default(),
        }
    }
}

/// The keys each controller has to look at.
#[derive(Clone, Default)]
pub struct Queues {
    /// Of ReplicaSets.
    pub sets: Workqueue,
    /// Of ReplicationControllers.
    pub controllers: Workqueue,
    /// Of Deployments.
    pub deployments: Workqueue,
    /// Of autoscalers.
    pub autoscalers: Workqueue,
    /// Of budgets.
    pub budgets: Workqueue,
}

impl Queues {
    /// A pod changed.
    pub fn pod(&self, change: &Change<PodView>, stores: &Stores) {
        let add = |keys: Vec<ObjectKey>, queue: &Workqueue| keys.into_iter().for_each(|it| queue.add(it));
        add(index::sets_of_pod(change, SetKind::ReplicaSet, &stores.sets), &self.sets);
        add(
            index::sets_of_pod(change, SetKind::ReplicationController, &stores.controllers),
            &self.controllers,
        );
        if let Some(key) = index::recreated_by(change, &stores.sets, &stores.deployments) {
            self.deployments.add(key);
        }
        for key in index::budgets_of_pod(change, &stores.budgets) {
            self.budgets.add(key);
        }
    }

    /// The size of a workload changed: every budget of its namespace may count it.
    fn resized(&self, namespace: &str, stores: &Stores) {
        for it in stores.budgets.by_index(&index::within(namespace)) {
            self.budgets.add(it.key());
        }
    }

    /// A ReplicaSet changed.
    pub fn set(&self, change: &Change<SetView>, stores: &Stores) {
        for key in index::deployments_of_set(change, &stores.deployments) {
            self.deployments.add(key);
        }
        self.if_resized(change, |it| it.replicas, stores);
        if let Some(key) = key_of(change) {
            self.sets.add(key);
        }
    }

    fn if_resized<T: Cached>(&self, change: &Change<T>, size: impl Fn(&T) -> u32, stores: &Stores) {
        let before = change.old.as_deref().map(&size);
        if before != change.new.as_deref().map(&size)
            && let Some(key) = key_of(change)
        {
            self.resized(&key.namespace, stores);
        }
    }

    /// A ReplicationController changed.
    pub fn controller(&self, change: &Change<SetView>, stores: &Stores) {
        self.if_resized(change, |it| it.replicas, stores);
        if let Some(key) = key_of(change) {
            self.controllers.add(key);
        }
    }

    /// A Deployment changed.
    pub fn deployment(&self, change: &Change<DeploymentView>, stores: &Stores) {
        self.if_resized(change, |it| it.replicas, stores);
        if let Some(key) = key_of(change) {
            self.deployments.add(key);
        }
    }
}

fn key_of<T: Cached>(change: &Change<T>) -> Option<ObjectKey> {
    change.new.as_ref().or(change.old.as_ref()).map(|it| it.key())
}

/// Runs the chosen controllers until `shutdown`, then lets reconciles under way finish. `ready` is set once all caches are
/// synced and keys are worked on.
pub async fn run(client: Client, options: Options, ready: ReadyHandle, shutdown: CancellationToken) {
    let (stores, queues) = (options.stores.clone(), Queues::default());
    let api = WriteApi::new(client.clone(), USER_AGENT);
    let (recorder, backlog) = events::channel();
    // Events outlive the reconciles that make them.
    let events_end = CancellationToken::new();
    let mut tasks = JoinSet::new();
    tasks.spawn(events::write(api.clone(), backlog, events_end.clone()));
    let watched = watch(&client, &options, &stores, &queues, &mut tasks, &shutdown);
    tokio::select! {
        () = watched => {
            ready.set();
            control(&options, stores, queues, api, recorder, &shutdown).await;
        }
        () = shutdown.cancelled() => {}
    }
    ready.clear();
    events_end.cancel();
    while tasks.join_next().await.is_some() {}
}

/// Works on the queues of the chosen controllers until `shutdown`.
async fn control(
    options: &Options,
    stores: Stores,
    queues: Queues,
    api: WriteApi,
    recorder: Recorder,
    shutdown: &CancellationToken,
) {
    let mut workers = JoinSet::new();
    let Stores { pods, sets, controllers, deployments, autoscalers, .. } = stores.clone();
    for controller in &options.controllers {
        let (pods, api, recorder) = (pods.clone(), api.clone(), recorder.clone());
        let of_sets = |kind, sets: &Store<SetView>, api, recorder| {
            replicas::reconcile::Reconciler::new(
                kind,
                sets.clone(),
                pods.clone(),
                api,
                recorder,
                options.world,
            )
        };
        match controller {
            Controller::ReplicationController => {
                let it = of_sets(SetKind::ReplicationController, &controllers, api, recorder);
                spawn(&mut workers, *controller, it, queues.controllers.clone(), options, shutdown);
            }
            Controller::ReplicaSet => {
                let it = of_sets(SetKind::ReplicaSet, &sets, api, recorder);
                spawn(&mut workers, *controller, it, queues.sets.clone(), options, shutdown);
            }
            Controller::Deployment => {
                let it = deployment::reconcile::Reconciler::new(
                    deployments.clone(),
                    sets.clone(),
                    pods.clone(),
                    api,
                    recorder,
                    options.world,
                    options.release,
                );
                spawn(&mut workers, *controller, it, queues.deployments.clone(), options, shutdown);
            }
            Controller::Autoscaler => {
                let settings = options.autoscaler.clone();
                let it = autoscaler::reconcile::Reconciler::new(
                    autoscalers.clone(),
                    pods.clone(),
                    api,
                    recorder,
                    options.world,
                    settings,
                );
                spawn(&mut workers, *controller, it, queues.autoscalers.clone(), options, shutdown);
            }
            Controller::Disruption => {
                let it = disruption::reconcile::Reconciler::new(stores.clone(), api, recorder, options.world);
                spawn(&mut workers, *controller, it, queues.budgets.clone(), options, shutdown);
            }
            Controller::Metrics => {}
        }
    }
    // Caches that only answer need their watches for as long.
    shutdown.cancelled().await;
    while workers.join_next().await.is_some() {}
}

fn spawn<R: Reconcile>(
    workers: &mut JoinSet<()>,
    controller: Controller,
    reconciler: R,
    queue: Workqueue,
    options: &Options,
    shutdown: &CancellationToken,
) {
    let metrics = options.metrics.clone();
    let reconciler = Arc::new(reconciler);
    workers.spawn(work(controller.name(), reconciler, queue, options.workers, metrics, shutdown.clone()));
}

/// Starts the watches that the chosen controllers need. What it returns resolves when their first lists are in.
fn watch(
    client: &Client,
    options: &Options,
    stores: &Stores,
    queues: &Queues,
    tasks: &mut JoinSet<()>,
    shutdown: &CancellationToken,
) -> impl Future<Output = ()> + use<> {
    let config = watcher::Config::default;
    let has = |it| options.controllers.contains(&it);
    let (measures, has_budgets) = (has(Controller::Metrics), has(Controller::Disruption));
    let looks_up = measures || has_budgets;
    let has_sets = has(Controller::ReplicaSet) || looks_up;
    let has_deployments = has(Controller::Deployment) || looks_up;
    let has_controllers = has(Controller::ReplicationController) || looks_up;
    let has_autoscalers = has(Controller::Autoscaler);

    let pods = Api::<LeanPod>::all(client.clone());
    let (to, known) = (queues.clone(), stores.clone());
    let on_change = move |change| to.pod(&change, &known);
    tasks.spawn(reflect(pods, config(), PodView::narrow, stores.pods.clone(), on_change, shutdown.clone()));

    if has_sets || has_deployments {
        let (to, known) = (queues.clone(), stores.clone());
        let on_change = move |change| to.set(&change, &known);
        let narrow = |it| narrow(it, |raw| SetView::narrow(SetKind::ReplicaSet, raw));
        let api = raw::<ReplicaSet>(client);
        tasks.spawn(reflect(api, config(), narrow, stores.sets.clone(), on_change, shutdown.clone()));
    }
    if has_controllers {
        let (to, known) = (queues.clone(), stores.clone());
        let on_change = move |change| to.controller(&change, &known);
        let narrow = |it| narrow(it, |raw| SetView::narrow(SetKind::ReplicationController, raw));
        let api = raw::<ReplicationController>(client);
        tasks.spawn(reflect(api, config(), narrow, stores.controllers.clone(), on_change, shutdown.clone()));
    }
    if has_deployments {
        let (to, known) = (queues.clone(), stores.clone());
        let on_change = move |change| to.deployment(&change, &known);
        let narrow = |it| narrow(it, DeploymentView::narrow);
        let api = raw::<Deployment>(client);
        tasks.spawn(reflect(api, config(), narrow, stores.deployments.clone(), on_change, shutdown.clone()));
    }
    if has_autoscalers {
        // Only time wakes them: one period after they are first seen, and from then on.
        let (to, first) = (queues.autoscalers.clone(), options.autoscaler.period.unsigned_abs());
        let on_change = move |change: Change<AutoscalerView>| match (&change.old, &change.new) {
            (None, Some(new)) => to.add_after(new.key.clone(), first),
            (Some(old), None) => to.add(old.key.clone()),
            _ => {}
        };
        let narrow = |it| narrow(it, |raw| Ok(AutoscalerView::narrow(raw)));
        let api = raw::<HorizontalPodAutoscaler>(client);
        tasks.spawn(reflect(api, config(), narrow, stores.autoscalers.clone(), on_change, shutdown.clone()));
    }
    if has_budgets {
        let to = queues.budgets.clone();
        let on_change =
            move |change: Change<BudgetView>| key_of(&change).into_iter().for_each(|it| to.add(it));
        let narrow = |it| narrow(it, BudgetView::narrow);
        let api = raw::<PodDisruptionBudget>(client);
        tasks.spawn(reflect(api, config(), narrow, stores.budgets.clone(), on_change, shutdown.clone()));
    }
    if measures {
        let narrow = |it: DynamicObject| NamedView::narrow(it.metadata);
        let api = raw::<StatefulSet>(client);
        tasks.spawn(reflect(api, config(), narrow, stores.stateful_sets.clone(), drop, shutdown.clone()));
        let api = raw::<Node>(client);
        tasks.spawn(reflect(api, config(), narrow, stores.nodes.clone(), drop, shutdown.clone()));
    }
    let stores = stores.clone();
    async move {
        stores.pods.synced().await;
        if has_sets || has_deployments {
            stores.sets.synced().await;
        }
        if has_controllers {
            stores.controllers.synced().await;
        }
        if has_deployments {
            stores.deployments.synced().await;
        }
        if has_autoscalers {
            stores.autoscalers.synced().await;
        }
        if has_budgets {
            stores.budgets.synced().await;
        }
        if measures {
            stores.stateful_sets.synced().await;
            stores.nodes.synced().await;
        }
    }
}

/// A kind as raw objects, so that fields this build does not know survive.
fn raw<K: Resource<DynamicType = ()>>(client: &Client) -> Api<DynamicObject> {
    Api::all_with(client.clone(), &ApiResource::erase::<K>(&()))
}

fn narrow<T>(object: DynamicObject, narrow: impl Fn(&serde_json::Value) -> Result<T, String>) -> Option<T> {
    let raw = serde_json::to_value(&object).ok()?;
    match narrow(&raw) {
        Ok(it) => Some(it),
        Err(error) => {
            let kind = object.types.map_or_else(String::new, |it| it.kind);
            let name = object.metadata.name.unwrap_or_default();
            warn!(object.kind = %kind, object.r#ref = %name, %error, "can not be worked on");
            None
        }
    }
}
