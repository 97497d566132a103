//! The mirroring controller: hand-written Endpoints of Services without selector into EndpointSlices.
//!
//! Endpoints, Services, mirrored slices ──queue──▶ [`plan`] (pure) ──▶ writes, one at a time
//!
//! Takes the place of kube-controller-manager's `endpointslice-mirroring-controller` and writes the same slices. **Invariant.**
//! Slices without its label are never read or written; where Endpoints must not be mirrored, no mirrored slice stays.
//! Sources: kubernetes 1.36 `pkg/controller/endpointslicemirroring`; KEP-752.

pub mod plan;
mod reconcile;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Endpoints;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::runtime::watcher::Config;
use kube::{Api, Client};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::plan::CONTROLLER;
use self::reconcile::{MirrorController, Stores, has_selector, service};
use super::Cleanup;
use super::events;
use super::metrics::MirrorMetrics;
use super::model::{MANAGED_BY, ServiceView};
use crate::k8s::kept::Kept;
use crate::k8s::watch::{Cached as _, Change, reflect};
use crate::k8s::watched::Watched;
use crate::runtime::{ControllerMetrics, ReadyHandle, Workqueue, work};

/// What a person may set.
#[derive(Clone)]
pub struct Options {
    /// Addresses of a subset that are mirrored (`--mirroring-max-endpoints-per-subset`).
    pub max_endpoints_per_subset: usize,
    /// Endpoints objects worked on at a time (`--mirroring-concurrent-service-endpoint-syncs`).
    pub workers: usize,
    /// Pause before a change is mirrored (`--mirroring-endpointslice-updates-batch-period`).
    pub batch_period: Duration,
    /// With [`Cleanup::Delete`], Endpoints that the legacy controller left behind are not mirrored.
    pub cleanup: Cleanup,
    /// Series of the controller frame.
    pub metrics: ControllerMetrics,
    /// Series of this controller.
    pub mirror_metrics: MirrorMetrics,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_endpoints_per_subset: 1000,
            workers: 5,
            batch_period: Duration::ZERO,
            cleanup: Cleanup::Keep,
            metrics: ControllerMetrics::default(),
            mirror_metrics: MirrorMetrics::default(),
        }
    }
}

/// Runs the controller until `shutdown`. `ready` is set once all caches are complete.
pub async fn run(client: Client, options: Options, ready: ReadyHandle, shutdown: CancellationToken) {
    options.mirror_metrics.start();
    let stores = Stores::default();
    let queue = Workqueue::with_longest_backoff(super::BACKOFF_LONGEST);
    let (recorder, backlog) = events::channel("endpoint-slice-mirroring-controller");
    let mut tasks = JoinSet::new();
    tasks.spawn(backlog.write(client.clone(), shutdown.clone()));
    tasks.spawn(reflect(
        Api::<Endpoints>::all(client.clone()),
        Config::default(),
        |it| Some(Kept::new(it)),
        stores.endpoints.clone(),
        {
            let (queue, pause) = (queue.clone(), options.batch_period);
            move |change: Change<Kept<Endpoints>>| {
                let Some(it) = change.new.or(change.old) else { return };
                let key = it.key();
                if pause.is_zero() { queue.add(key) } else { queue.add_after(key, pause) }
            }
        },
        shutdown.clone(),
    ));
    tasks.spawn(reflect(
        Api::<Watched<ServiceView>>::all(client.clone()),
        Config::default(),
        |it| Some(Kept::new(it)),
        stores.services.clone(),
        {
            let queue = queue.clone();
            move |change: Change<Kept<Watched<ServiceView>>>| {
                let selected = |it: &Option<Arc<Kept<_>>>| it.as_ref().map(|it| has_selector(&it.object));
                if selected(&change.old) != selected(&change.new)
                    && let Some(it) = change.new.or(change.old)
                {
                    queue.add(it.key());
                }
            }
        },
        shutdown.clone(),
    ));
    tasks.spawn(reflect(
        Api::<EndpointSlice>::all(client.clone()),
        Config::default().labels(&format!("{MANAGED_BY}={CONTROLLER}")),
        |it| Some(Kept::new(it)),
        stores.slices.clone(),
        {
            let queue = queue.clone();
            move |change: Change<Kept<EndpointSlice>>| {
                let keys = change.old.iter().chain(&change.new).filter_map(|it| service(it));
                keys.for_each(|it| queue.add(it));
            }
        },
        shutdown.clone(),
    ));
    let synced = async {
        tokio::join!(stores.endpoints.synced(), stores.services.synced(), stores.slices.synced());
    };
    tokio::select! {
        () = synced => {}
        () = shutdown.cancelled() => return,
    }
    ready.set();
    let controller = MirrorController::new(client, stores, &options, recorder);
    work("endpointslice-mirroring", Arc::new(controller), queue, options.workers, options.metrics, shutdown)
        .await;
    while tasks.join_next().await.is_some() {}
}
