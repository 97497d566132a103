//! Shell of the simulated node: registers it, keeps it alive, feeds scheduler, kubelet and volume binder.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::{Patch, PatchParams, PostParams};
use kube::runtime::watcher::Config;
use kube::{Api, Client};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::binder::Binder;
use super::config::NodeConfig;
use super::kubelet::Kubelet;
use super::object::{self, LEASE_NAMESPACE};
use super::pod::PodView;
use super::recorder::{self, Recorder};
use super::schedule::NodeView;
use super::volumes::{ClaimView, ClassView, VolumeView};
use super::{FIELD_MANAGER, claim_bucket};
use crate::k8s::watch::{Change, Store, reflect};
use crate::model::ObjectKey;
use crate::runtime::{ControllerMetrics, Workqueue, work};

/// Time between renewals of the Lease (kubelet: a quarter of its duration).
const RENEW_EVERY: Duration = Duration::from_secs(10);
/// Renewals between two reports of the node's status: five minutes (kubelet `nodeStatusReportFrequency`).
const RENEWALS_PER_STATUS: u32 = 30;
/// Time between tries to register the node.
const REGISTER_RETRY: Duration = Duration::from_millis(500);
/// Pods worked on at a time: enough to keep an in-process server busy, few enough to bound what is in flight.
const POD_WORKERS: usize = 64;
/// Claims bound at a time.
const CLAIM_WORKERS: usize = 8;

/// Runs one simulated node until `shutdown`. `on_ready` is called once the node is registered and the caches are full.
pub async fn run(
    client: Client,
    config: NodeConfig,
    on_ready: impl FnOnce() + Send,
    shutdown: CancellationToken,
) {
    let Some(uid) = register(&client, &config, &shutdown).await else { return };
    let pods = Store::indexed_by(|pod: &PodView| {
        pod.claims
            .iter()
            .map(|it| claim_bucket(&ObjectKey::new(pod.key.namespace.clone(), it.clone())))
            .collect()
    });
    let claims = Store::<ClaimView>::default();
    let volumes = Store::<VolumeView>::default();
    let classes = Store::<ClassView>::default();
    let nodes = Store::<NodeView>::default();
    let (events, waiting) = Recorder::new();
    let (pod_queue, claim_queue) = (Workqueue::default(), Workqueue::default());
    let kubelet = Arc::new(Kubelet::new(
        client.clone(),
        config.clone(),
        pods.clone(),
        claims.clone(),
        nodes.clone(),
        events.clone(),
    ));
    let binder = Arc::new(Binder::new(
        client.clone(),
        pods.clone(),
        claims.clone(),
        volumes.clone(),
        classes.clone(),
        events,
    ));

    let mut tasks = JoinSet::new();
    tasks.spawn(recorder::write(client.clone(), config.name.clone(), waiting, shutdown.clone()));
    tasks.spawn(keep_alive(client.clone(), config.clone(), uid, shutdown.clone()));
    tasks.spawn(reflect(
        Api::<Pod>::all(client.clone()),
        Config::default(),
        |it| Some(PodView::narrow(it)),
        pods.clone(),
        {
            let (kubelet, pod_queue, claim_queue) =
                (Arc::clone(&kubelet), pod_queue.clone(), claim_queue.clone());
            move |change| {
                kubelet.note(&change);
                let Some(pod) = change.new.as_ref().or(change.old.as_ref()) else { return };
                pod_queue.add(pod.key.clone());
                // A class may wait for the first pod that uses a claim.
                if change.old.is_none() {
                    for name in &pod.claims {
                        claim_queue.add(ObjectKey::new(pod.key.namespace.clone(), name.clone()));
                    }
                }
            }
        },
        shutdown.clone(),
    ));
    tasks.spawn(reflect(
        Api::<PersistentVolumeClaim>::all(client.clone()),
        Config::default(),
        |it| Some(ClaimView::narrow(it)),
        claims.clone(),
        {
            let (pods, pod_queue, claim_queue) = (pods.clone(), pod_queue.clone(), claim_queue.clone());
            move |change: Change<ClaimView>| {
                let Some(claim) = change.new.or(change.old) else { return };
                claim_queue.add(claim.key.clone());
                for pod in pods.by_index(&claim_bucket(&claim.key)) {
                    pod_queue.add(pod.key.clone());
                }
            }
        },
        shutdown.clone(),
    ));
    tasks.spawn(reflect(
        Api::<PersistentVolume>::all(client.clone()),
        Config::default(),
        |it| Some(VolumeView::narrow(it)),
        volumes.clone(),
        {
            let (claims, claim_queue) = (claims.clone(), claim_queue.clone());
            move |change: Change<VolumeView>| {
                let Some(volume) = change.new.or(change.old) else { return };
                match &volume.claim {
                    Some((claim, _)) => claim_queue.add(claim.clone()),
                    None => unbound(&claims, &claim_queue),
                }
            }
        },
        shutdown.clone(),
    ));
    tasks.spawn(reflect(
        Api::<StorageClass>::all(client.clone()),
        Config::default(),
        |it| Some(ClassView::narrow(it)),
        classes.clone(),
        {
            let (claims, claim_queue) = (claims.clone(), claim_queue.clone());
            move |_| unbound(&claims, &claim_queue)
        },
        shutdown.clone(),
    ));
    tasks.spawn(reflect(
        Api::<Node>::all(client.clone()),
        Config::default().fields(&format!("metadata.name={}", config.name)),
        |it| Some(NodeView::narrow(it)),
        nodes.clone(),
        {
            let (pods, pod_queue) = (pods.clone(), pod_queue.clone());
            move |_| {
                pods.list()
                    .iter()
                    .filter(|it| it.node_name.is_none())
                    .for_each(|it| pod_queue.add(it.key.clone()))
            }
        },
        shutdown.clone(),
    ));

    let synced = async {
        tokio::join!(pods.synced(), claims.synced(), volumes.synced(), classes.synced(), nodes.synced());
    };
    tokio::select! {
        () = synced => {}
        () = shutdown.cancelled() => return,
    }
    kubelet.resume();
    info!(node = %config.name, "simulated node is ready");
    on_ready();
    let metrics = ControllerMetrics::default();
    tokio::join!(
        work("node", kubelet, pod_queue, POD_WORKERS, metrics.clone(), shutdown.clone()),
        work("volume-binder", binder, claim_queue, CLAIM_WORKERS, metrics, shutdown.clone()),
    );
    while tasks.join_next().await.is_some() {}
}

fn unbound(claims: &Store<ClaimView>, queue: &Workqueue) {
    claims.list().iter().filter(|it| !it.bound).for_each(|it| queue.add(it.key.clone()));
}

/// Creates the Node or takes it over, and returns its uid; `None` on shutdown.
async fn register(client: &Client, config: &NodeConfig, shutdown: &CancellationToken) -> Option<String> {
    let api: Api<Node> = Api::all(client.clone());
    loop {
        let registered = async {
            let node = match api.create(&PostParams::default(), &object::node(config)).await {
                Err(kube::Error::Api(status)) if status.code == 409 => api.get(&config.name).await?,
                other => other?,
            };
            report(&api, config).await?;
            Ok::<_, kube::Error>(node.metadata.uid.unwrap_or_default())
        };
        match registered.await {
            Ok(uid) => return Some(uid),
            Err(error) => warn!(node = %config.name, %error, "node not registered, retrying"),
        }
        tokio::select! {
            () = shutdown.cancelled() => return None,
            () = sleep(REGISTER_RETRY) => {}
        }
    }
}

async fn report(api: &Api<Node>, config: &NodeConfig) -> Result<(), kube::Error> {
    let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    let status = object::node_status(config, Timestamp::now());
    api.patch_status(&config.name, &params, &Patch::Strategic(&status)).await.map(drop)
}

/// Renews the Lease, and now and then the node's status, until `shutdown`.
async fn keep_alive(client: Client, config: NodeConfig, uid: String, shutdown: CancellationToken) {
    let leases: Api<Lease> = Api::namespaced(client.clone(), LEASE_NAMESPACE);
    let nodes: Api<Node> = Api::all(client);
    let mut renewals = 0_u32;
    loop {
        let lease = object::lease(&config, &uid, Timestamp::now());
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let renewed = match leases.patch(&config.name, &params, &Patch::Merge(&lease)).await {
            Err(kube::Error::Api(status)) if status.code == 404 => {
                leases.create(&PostParams::default(), &lease).await
            }
            other => other,
        };
        if let Err(error) = renewed {
            warn!(node = %config.name, %error, "lease not renewed");
        }
        renewals = (renewals + 1) % RENEWALS_PER_STATUS;
        if renewals == 0
            && let Err(error) = report(&nodes, &config).await
        {
            warn!(node = %config.name, %error, "node status not reported");
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = sleep(RENEW_EVERY) => {}
        }
    }
}
