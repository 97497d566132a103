//! The EndpointSlice controller: Services, Pods and Nodes into EndpointSlices.
//!
//! changes ──▶ Services they concern ──queue──▶ [`desired`] (pure) ──▶ [`plan`] (pure) ──▶ writes, one at a time
//!
//! Takes the place of kube-controller-manager's `endpointslice-controller` and writes the same slices: either may take
//! over from the other without a write. **Invariants.** Slices of others are never read into a plan and never written,
//! nothing is written before all caches are complete, and a pod that should be published never vanishes in between.
//! Sources: kubernetes 1.36 `pkg/controller/endpointslice`, `staging/src/k8s.io/endpointslice`; KEP-752, KEP-1672.

pub mod desired;
pub mod model;
pub mod plan;
mod reconcile;
mod trigger;

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::runtime::watcher::Config;
use kube::{Api, Client};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::model::{CONTROLLER, MANAGED_BY, NodeView, PodView, ServiceView, SliceView};
use self::reconcile::{SliceController, Stores};
use crate::k8s::watch::{Change, Store, reflect};
use crate::model::ObjectKey;
use crate::runtime::{ControllerMetrics, ReadyHandle, Workqueue, work};

/// What a person may set.
#[derive(Clone)]
pub struct Options {
    /// Endpoints per slice, 1 to 1000 (`--max-endpoints-per-slice`).
    pub max_endpoints_per_slice: usize,
    /// Services worked on at a time (`--concurrent-service-endpoint-syncs`).
    pub workers: usize,
    /// Series of the controller frame.
    pub metrics: ControllerMetrics,
}

impl Default for Options {
    fn default() -> Self {
        Self { max_endpoints_per_slice: 100, workers: 5, metrics: ControllerMetrics::default() }
    }
}

/// Runs the controller until `shutdown`. `ready` is set once all caches are complete.
pub async fn run(client: Client, options: Options, ready: ReadyHandle, shutdown: CancellationToken) {
    let stores = Stores::default();
    let queue = Workqueue::default();
    let mut tasks = JoinSet::new();
    tasks.spawn(reflect(
        Api::<Service>::all(client.clone()),
        Config::default(),
        |it| Some(ServiceView::narrow(it)),
        stores.services.clone(),
        {
            let queue = queue.clone();
            move |change: Change<ServiceView>| {
                if let Some(service) = change.new.or(change.old) {
                    queue.add(service.key.clone());
                }
            }
        },
        shutdown.clone(),
    ));
    tasks.spawn(reflect(
        Api::<Pod>::all(client.clone()),
        Config::default(),
        |it| Some(PodView::narrow(it)),
        stores.pods.clone(),
        {
            let (services, queue) = (stores.services.clone(), queue.clone());
            move |change| pod_changed(&services, &queue, &change)
        },
        shutdown.clone(),
    ));
    tasks.spawn(reflect(
        Api::<Node>::all(client.clone()),
        Config::default(),
        |it| Some(NodeView::narrow(it)),
        stores.nodes.clone(),
        {
            let (stores, queue) = (stores.clone(), queue.clone());
            move |change| node_changed(&stores, &queue, &change)
        },
        shutdown.clone(),
    ));
    tasks.spawn(reflect(
        Api::<EndpointSlice>::all(client.clone()),
        // Slices of others are not even transferred; one that is relabelled away arrives as a deletion.
        Config::default().labels(&format!("{MANAGED_BY}={CONTROLLER}")),
        SliceView::narrow,
        stores.slices.clone(),
        {
            let queue = queue.clone();
            move |change: Change<SliceView>| {
                for slice in change.old.iter().chain(&change.new) {
                    queue.add(ObjectKey::new(slice.key.namespace.clone(), slice.service.clone()));
                }
            }
        },
        shutdown.clone(),
    ));
    let synced = async {
        let Stores { services, pods, nodes, slices } = &stores;
        tokio::join!(services.synced(), pods.synced(), nodes.synced(), slices.synced());
    };
    tokio::select! {
        () = synced => {}
        () = shutdown.cancelled() => return,
    }
    ready.set();
    let controller = Arc::new(SliceController::new(client, stores, options.max_endpoints_per_slice));
    work("endpointslice", controller, queue, options.workers, options.metrics, shutdown).await;
    while tasks.join_next().await.is_some() {}
}

/// Enqueues the Services that select the pod, before or after the change, unless no endpoint can differ.
fn pod_changed(services: &Store<ServiceView>, queue: &Workqueue, change: &Change<PodView>) {
    let (old, new) = (change.old.as_deref(), change.new.as_deref());
    if let (Some(old), Some(new)) = (old, new) {
        if old.same_endpoints(new) {
            return;
        }
        if old.labels == new.labels {
            return enqueue_selecting(services, queue, &new.key.namespace, &new.labels);
        }
    }
    for pod in [old, new].into_iter().flatten() {
        enqueue_selecting(services, queue, &pod.key.namespace, &pod.labels);
    }
}

/// A node that appears, goes, or changes its zone concerns the Services of its pods.
fn node_changed(stores: &Stores, queue: &Workqueue, change: &Change<NodeView>) {
    let zone = |it: &Option<Arc<NodeView>>| it.as_ref().map(|it| it.zone.clone());
    if zone(&change.old) == zone(&change.new) {
        return;
    }
    let Some(node) = change.new.as_ref().or(change.old.as_ref()) else { return };
    for pod in stores.pods.by_index(&node_bucket(&node.name)) {
        enqueue_selecting(&stores.services, queue, &pod.key.namespace, &pod.labels);
    }
}

fn enqueue_selecting(
    services: &Store<ServiceView>,
    queue: &Workqueue,
    namespace: &str,
    labels: &BTreeMap<String, String>,
) {
    for (key, value) in labels {
        let candidates = services.by_index(&label_bucket(namespace, key, value));
        candidates.iter().filter(|it| it.selects(labels)).for_each(|it| queue.add(it.key.clone()));
    }
}

/// Index bucket of the objects of a namespace with a label. No part of it may contain a space.
fn label_bucket(namespace: &str, key: &str, value: &str) -> String {
    format!("{namespace} {key} {value}")
}

/// Index bucket of the pods on a node.
fn node_bucket(name: &str) -> String {
    format!("node {name}")
}

/// Index bucket of the slices of a Service.
fn service_bucket(service: &ObjectKey) -> String {
    service.to_string()
}
