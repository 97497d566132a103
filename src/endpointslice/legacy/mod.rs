//! The legacy controller: Services and Pods into Endpoints objects, for readers older than EndpointSlices.
//!
//! Services, Pods ──index──▶ queue ──▶ [`desired`] (pure) ──▶ one write
//!
//! Takes the place of kube-controller-manager's `endpoints-controller`. Off in a cluster unless asked for: the API is deprecated
//! since Kubernetes 1.33 (KEP-4974), an object holds 1000 addresses at most, and each change rewrites all of them. `ordinal
//! up` runs it, because `kubectl describe service` before 1.31 and `kubectl get endpoints` show nothing else.
//! **Invariant.** An object is deleted only if it carries the label of this controller.
//! Sources: kubernetes 1.36 `pkg/controller/endpoint/endpoints_controller.go`.

pub mod desired;
mod reconcile;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Endpoints;
use kube::runtime::watcher::Config;
use kube::{Api, Client};
use tokio::sync::watch as signal;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::reconcile::LegacyController;
use super::metrics::SliceMetrics;
use super::reconcile::SharedIndex;
use super::watch::feed;
use super::{Cleanup, Feed, events};
use crate::k8s::kept::Kept;
use crate::k8s::watch::{Cached as _, Change, Store, reflect};
use crate::runtime::{ControllerMetrics, ReadyHandle, Workqueue, work};

/// Kinds that fill the index.
const KINDS: usize = 2;

/// What a person may set.
#[derive(Clone)]
pub struct Options {
    /// Services worked on at a time (`--concurrent-endpoint-syncs`).
    pub workers: usize,
    /// Pause between a pod event and the Endpoints (`--endpoint-updates-batch-period`).
    pub batch_period: Duration,
    /// With [`Cleanup::Delete`], Endpoints of a Service that stops being managed are deleted.
    pub cleanup: Cleanup,
    /// Series of the controller frame.
    pub metrics: ControllerMetrics,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            workers: 5,
            batch_period: Duration::ZERO,
            cleanup: Cleanup::Keep,
            metrics: ControllerMetrics::default(),
        }
    }
}

/// Runs the controller until `shutdown`. `ready` is set once all caches are complete.
pub async fn run(client: Client, options: Options, ready: ReadyHandle, shutdown: CancellationToken) {
    let index = SharedIndex::default();
    let endpoints: Store<Kept<Endpoints>> = Store::default();
    let queue = Workqueue::with_longest_backoff(super::BACKOFF_LONGEST);
    let (recorder, backlog) = events::channel("endpoint-controller");
    let into = Feed {
        index: Arc::clone(&index),
        queue: queue.clone(),
        batch_period: options.batch_period,
        metrics: SliceMetrics::default(),
        since: None,
        synced: signal::Sender::new(0),
    };
    let mut synced = into.synced.subscribe();
    let mut tasks = JoinSet::new();
    tasks.spawn(backlog.write(client.clone(), shutdown.clone()));
    tasks.spawn(feed(client.clone(), Config::default(), into.clone().services(), shutdown.clone()));
    tasks.spawn(feed(client.clone(), Config::default(), into.pods(), shutdown.clone()));
    tasks.spawn(reflect(
        Api::<Endpoints>::all(client.clone()),
        Config::default(),
        |it| Some(Kept::new(it)),
        endpoints.clone(),
        {
            let queue = queue.clone();
            move |change: Change<Kept<Endpoints>>| {
                if let Some(it) = change.new.or(change.old) {
                    queue.add(it.key());
                }
            }
        },
        shutdown.clone(),
    ));
    let complete = async {
        drop(synced.wait_for(|it| *it == KINDS).await);
        endpoints.synced().await;
    };
    tokio::select! {
        () = complete => {}
        () = shutdown.cancelled() => return,
    }
    ready.set();
    let controller = LegacyController::new(client, index, endpoints, options.cleanup, recorder);
    work("endpoints", Arc::new(controller), queue, options.workers, options.metrics, shutdown).await;
    while tasks.join_next().await.is_some() {}
}
