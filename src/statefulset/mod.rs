//! The StatefulSet controller.
//!
//! Store ──observe──▶ [`plan::Observed`] ──[`plan::plan`]──▶ [`plan::Plan`] ──apply──▶ API server
//!
//! Decisions are pure: [`claim`] (which pods are ours), [`revision`] (what a template is called), [`plan`] with
//! its phases `scale` and `update`, [`status`], [`desired`] (what a pod looks like), [`retention`] (who owns a
//! claim).
//!
//! Invariants: one pod per identity, never created while the name exists; every delete names the UID it means;
//! claims are never deleted; no key is planned on a view older than our own writes. The tests name them INV-1 to
//! INV-11.
//! Sources: KEP-961, KEP-1847, KEP-3335; kubernetes `pkg/controller/statefulset` (1.37).

mod adopt;
pub mod apply;
pub mod backoff;
pub mod claim;
mod classes;
pub mod conditions;
mod defaults;
pub mod desired;
pub mod events;
pub mod extras;
pub mod growth;
pub mod index;
pub mod model;
pub mod plan;
pub mod reconcile;
pub mod reserved;
pub mod retention;
pub mod revision;
pub mod rival;
mod scale;
pub mod selector;
pub mod status;
pub mod takeover;
mod trouble;
mod update;
pub mod view;

#[cfg(test)]
mod notation;
#[cfg(test)]
mod plan_tests;
#[cfg(test)]
mod proof_tests;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod reconcile_tests;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::api::{ApiResource, DynamicObject};
use kube::runtime::watcher;
use kube::{Api, Client};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::k8s::events as told;
use crate::k8s::lean::LeanPod;
use crate::k8s::watch::{Change, reflect};
use crate::k8s::write::WriteApi;
use crate::model::ObjectKey;
use crate::runtime::{ControllerMetrics, ReadyHandle, Workqueue, work};

/// Its product is our name in managed fields (see `rival`).
const USER_AGENT: &str = concat!("ordinal/", env!("CARGO_PKG_VERSION"), " statefulset-controller");

/// How the controller runs.
#[derive(Clone)]
pub struct Options {
    /// Sets worked on at the same time (`--concurrent-statefulset-syncs`).
    pub workers: usize,
    /// The frame's metrics.
    pub metrics: ControllerMetrics,
    /// Reads the time.
    pub now: fn() -> Timestamp,
}

impl Default for Options {
    fn default() -> Self {
        Self { workers: 5, metrics: ControllerMetrics::default(), now: Timestamp::now }
    }
}

/// Runs the controller until `shutdown`, then lets reconciles under way finish. `ready` is set once all caches are
/// synced and keys are worked on.
pub async fn run(client: Client, options: Options, ready: ReadyHandle, shutdown: CancellationToken) {
    let stores = reconcile::Stores::default();
    let queue = Workqueue::default();
    let api = WriteApi::new(client.clone(), USER_AGENT);
    let (recorder, backlog) = told::channel();
    // Events outlive the reconciles that make them.
    let events_end = CancellationToken::new();
    let mut tasks = JoinSet::new();
    tasks.spawn(told::write(api.clone(), backlog, events_end.clone()));
    watch(&client, &stores, &queue, &mut tasks, &shutdown);

    tokio::select! {
        () = async {
            stores.sets.synced().await;
            stores.pods.synced().await;
            stores.claims.synced().await;
            stores.revisions.synced().await;
        } => {
            ready.set();
            let reconciler = Arc::new(reconcile::Reconciler::new(stores, api, recorder, options.now));
            work("statefulset", reconciler, queue, options.workers, options.metrics, shutdown.clone()).await;
        }
        () = shutdown.cancelled() => {}
    }
    ready.clear();
    events_end.cancel();
    while tasks.join_next().await.is_some() {}
}

/// Starts the four watches. Each change puts the keys it concerns into `queue`.
fn watch(
    client: &Client,
    stores: &reconcile::Stores,
    queue: &Workqueue,
    tasks: &mut JoinSet<()>,
    shutdown: &CancellationToken,
) {
    let add = |keys: Vec<ObjectKey>, queue: &Workqueue| keys.into_iter().for_each(|it| queue.add(it));
    let config = watcher::Config::default;

    // Raw, so that fields this build does not know survive into revisions.
    let resource = ApiResource::erase::<StatefulSet>(&());
    let to_queue = queue.clone();
    let on_set = move |change: Change<model::SetSpec>| {
        if let Some(set) = change.new.or(change.old) {
            to_queue.add(set.key.clone());
        }
    };
    let sets = Api::<DynamicObject>::all_with(client.clone(), &resource);
    tasks.spawn(reflect(sets, config(), narrow_set, stores.sets.clone(), on_set, shutdown.clone()));

    let (to_queue, known) = (queue.clone(), stores.sets.clone());
    let on_pod = move |change| add(index::of_pod(&change, &known), &to_queue);
    let pods = Api::<LeanPod>::all(client.clone());
    tasks.spawn(reflect(
        pods,
        config(),
        model::PodView::narrow,
        stores.pods.clone(),
        on_pod,
        shutdown.clone(),
    ));

    let (to_queue, known) = (queue.clone(), stores.sets.clone());
    let on_claim = move |change| add(index::of_claim(&change, &known), &to_queue);
    let claims = Api::<PersistentVolumeClaim>::all(client.clone());
    let narrow = model::ClaimView::narrow;
    tasks.spawn(reflect(claims, config(), narrow, stores.claims.clone(), on_claim, shutdown.clone()));

    let to_queue = queue.clone();
    let on_revision = move |change| add(index::of_revision(&change), &to_queue);
    let revisions = Api::<ControllerRevision>::all(client.clone());
    let narrow = model::RevisionView::narrow;
    tasks.spawn(reflect(
        revisions,
        config(),
        narrow,
        stores.revisions.clone(),
        on_revision,
        shutdown.clone(),
    ));
}

fn narrow_set(object: DynamicObject) -> Option<model::SetSpec> {
    let raw = serde_json::to_value(&object).ok()?;
    match model::SetSpec::narrow(&raw) {
        Ok(set) => Some(set),
        Err(error) => {
            let key = ObjectKey::new(
                object.metadata.namespace.unwrap_or_default(),
                object.metadata.name.unwrap_or_default(),
            );
            warn!(object.r#ref = %key, %error, "statefulset can not be worked on");
            None
        }
    }
}
