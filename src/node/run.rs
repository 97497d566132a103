//! Starts the node: registers it, fills its caches, and works until shutdown.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::runtime::watcher;
use kube::{Api, Client};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::claims::{self, Claims};
use super::config::NodeConfig;
use super::events::{self, Recorder};
use super::machine;
use super::objects::{
    KnownClaim, KnownContent, KnownPod, KnownSnapshot, KnownVolume, UNSCHEDULED, claim_bucket, pod_buckets,
};
use super::pods::Pods;
use super::snapshots::{self, Snapshots};
use super::{schedule, volumes};
use crate::k8s::kept::Kept;
use crate::k8s::watch::{Cached as _, Change, Store, reflect};
use crate::model::ObjectKey;
use crate::runtime::{ControllerMetrics, Workqueue, work};

/// Pods worked on at a time; each has at most one request under way.
const POD_WORKERS: usize = 64;
/// Claims and volumes worked on at a time.
const CLAIM_WORKERS: usize = 16;
/// Snapshots and contents worked on at a time.
const SNAPSHOT_WORKERS: usize = 4;
/// Where snapshots are, if they are anywhere.
const SNAPSHOTS: &str = "snapshot.storage.k8s.io/v1";
/// Pause between two attempts to register.
const REGISTER_RETRY: Duration = Duration::from_secs(1);

/// Plays the node `config.name` until `shutdown`. `on_ready` is called once, when the Node object exists and the first
/// lists are in. Errors of the API server are retried for ever.
pub async fn run(
    client: Client,
    config: NodeConfig,
    metrics: ControllerMetrics,
    on_ready: impl FnOnce() + Send + 'static,
    shutdown: CancellationToken,
) {
    let since = machine::seconds(Timestamp::now());
    while let Err(error) = machine::register(&client, &config, &since).await {
        warn!(node = config.name, %error, "node not registered, trying again");
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(REGISTER_RETRY) => {} // allow-sleep: retry pause
        }
    }
    let (recorder, queued_events) = Recorder::new(&config.name);
    let pods: Store<KnownPod> = Store::indexed_by(pod_buckets);
    let (claims, volumes, classes, node) =
        (Store::default(), Store::default(), Store::default(), Store::default());
    let keeper = Arc::new(Pods::new(
        client.clone(),
        config.clone(),
        recorder.clone(),
        pods.clone(),
        claims.clone(),
        node.clone(),
    ));
    let (snapshots, contents, snapshot_classes) = (Store::default(), Store::default(), Store::default());
    let binder = Arc::new(Claims::new(
        client.clone(),
        recorder.clone(),
        claims::Caches {
            pods: pods.clone(),
            claims: claims.clone(),
            volumes: volumes.clone(),
            classes: classes.clone(),
            snapshots: snapshots.clone(),
        },
    ));
    let photographer = Arc::new(Snapshots::new(
        client.clone(),
        recorder,
        snapshots::Caches {
            claims: claims.clone(),
            snapshots: snapshots.clone(),
            contents: contents.clone(),
            classes: snapshot_classes.clone(),
        },
        config.snapshot_delay,
    ));
    let (pod_queue, claim_queue) = (Workqueue::default(), Workqueue::default());
    let snapshot_queue = Workqueue::default();

    let mut tasks = JoinSet::new();
    let with_snapshots = snapshots_served(&client, &shutdown).await;
    if !with_snapshots {
        info!(group = SNAPSHOTS, "the API server has no snapshots, so the node takes none");
    }
    // Without their API these would fail for ever.
    let taken = if with_snapshots { shutdown.clone() } else { ended() };
    tasks.spawn(reflect(
        Api::all(client.clone()),
        watcher::Config::default(),
        |it| Some(Kept::new(it)),
        snapshots.clone(),
        {
            let (claims, claim_queue) = (claims.clone(), claim_queue.clone());
            let snapshot_queue = snapshot_queue.clone();
            move |change| snapshot_changed(&change, &claims, &claim_queue, &snapshot_queue)
        },
        taken.clone(),
    ));
    tasks.spawn(reflect(
        Api::all(client.clone()),
        watcher::Config::default(),
        |it| Some(Kept::new(it)),
        contents.clone(),
        {
            let snapshot_queue = snapshot_queue.clone();
            move |change: Change<KnownContent>| {
                if let Some(new) = change.new {
                    snapshot_queue.add(new.key());
                }
            }
        },
        taken.clone(),
    ));
    tasks.spawn(reflect(
        Api::all(client.clone()),
        watcher::Config::default(),
        |it| Some(Kept::new(it)),
        snapshot_classes.clone(),
        {
            let (snapshots, snapshot_queue) = (snapshots.clone(), snapshot_queue.clone());
            move |_| snapshots.list().iter().for_each(|it: &Arc<KnownSnapshot>| snapshot_queue.add(it.key()))
        },
        taken.clone(),
    ));
    tasks.spawn(events::post(client.clone(), queued_events, shutdown.clone()));
    tasks.spawn(machine::keep_alive(client.clone(), config.name.clone(), since, shutdown.clone()));
    tasks.spawn(reflect(
        Api::all(client.clone()),
        watcher::Config::default(),
        |it| Some(Kept::new(it)),
        pods.clone(),
        {
            let (keeper, pod_queue, claim_queue) =
                (Arc::clone(&keeper), pod_queue.clone(), claim_queue.clone());
            move |change| pod_changed(&change, &keeper, &pod_queue, &claim_queue)
        },
        shutdown.clone(),
    ));
    tasks.spawn(reflect(
        Api::all(client.clone()),
        watcher::Config::default(),
        |it| Some(Kept::new(it)),
        claims.clone(),
        {
            let (pods, pod_queue, claim_queue) = (pods.clone(), pod_queue.clone(), claim_queue.clone());
            let (snapshots, snapshot_queue) = (snapshots.clone(), snapshot_queue.clone());
            move |change| {
                claim_changed(&change, &pods, &pod_queue, &claim_queue);
                pending(&snapshots).for_each(|it| snapshot_queue.add(it));
            }
        },
        shutdown.clone(),
    ));
    tasks.spawn(reflect(
        Api::all(client.clone()),
        watcher::Config::default(),
        |it| Some(Kept::new(it)),
        volumes.clone(),
        {
            let (claims, claim_queue) = (claims.clone(), claim_queue.clone());
            move |change| volume_changed(&change, &claims, &claim_queue)
        },
        shutdown.clone(),
    ));
    tasks.spawn(reflect(
        Api::all(client.clone()),
        watcher::Config::default(),
        |it| Some(Kept::new(it)),
        classes.clone(),
        {
            let (claims, claim_queue) = (claims.clone(), claim_queue.clone());
            // A default class may be what unbound claims wait for.
            move |_| unbound(&claims).for_each(|it| claim_queue.add(it))
        },
        shutdown.clone(),
    ));
    tasks.spawn(reflect(
        Api::all(client),
        watcher::Config::default().fields(&format!("metadata.name={}", config.name)),
        |it| Some(Kept::new(it)),
        node.clone(),
        {
            let (pods, pod_queue) = (pods.clone(), pod_queue.clone());
            move |_| pods.by_index(UNSCHEDULED).iter().for_each(|it| pod_queue.add(it.key()))
        },
        shutdown.clone(),
    ));

    tokio::select! {
        () = shutdown.cancelled() => {}
        () = async {
            pods.synced().await;
            claims.synced().await;
            volumes.synced().await;
            classes.synced().await;
            if with_snapshots {
                snapshots.synced().await;
                contents.synced().await;
                snapshot_classes.synced().await;
            }
            node.synced().await;
        } => {
            info!(node = config.name, pods = pods.len(), "simulated node is ready");
            on_ready();
            tokio::join!(
                work("node", keeper, pod_queue, POD_WORKERS, metrics.clone(), shutdown.clone()),
                work("volumes", binder, claim_queue, CLAIM_WORKERS, metrics.clone(), shutdown.clone()),
                work("snapshots", photographer, snapshot_queue, SNAPSHOT_WORKERS, metrics, shutdown.clone()),
            );
        }
    }
    while tasks.join_next().await.is_some() {}
}

/// Whether the API server knows VolumeSnapshots: they are a custom resource that many clusters do not have.
async fn snapshots_served(client: &Client, shutdown: &CancellationToken) -> bool {
    loop {
        match client.list_api_group_resources(SNAPSHOTS).await {
            Ok(_) => return true,
            Err(error) if machine::is_code(&error, 404) => return false,
            Err(error) => warn!(group = SNAPSHOTS, %error, "cannot be discovered, trying again"),
        }
        tokio::select! {
            () = shutdown.cancelled() => return false,
            () = tokio::time::sleep(REGISTER_RETRY) => {} // allow-sleep: retry pause
        }
    }
}

/// A token that ends what gets it at once.
fn ended() -> CancellationToken {
    let token = CancellationToken::new();
    token.cancel();
    token
}

fn pod_changed(change: &Change<KnownPod>, keeper: &Pods, pod_queue: &Workqueue, claim_queue: &Workqueue) {
    let old = change.old.as_deref();
    let gone = old.filter(|old| change.new.as_ref().is_none_or(|new| new.uid() != old.uid()));
    if let Some(gone) = gone {
        keeper.forget(gone);
        let namespace = gone.key().namespace;
        for claim in schedule::claim_names(&gone.object) {
            claim_queue.add(ObjectKey::new(&namespace, claim));
        }
    }
    if let Some(new) = &change.new {
        keeper.observe(new);
        pod_queue.add(new.key());
        if old.is_none() {
            // The first pod of a claim may be what it waits for.
            let namespace = new.key().namespace;
            for claim in schedule::claim_names(&new.object) {
                claim_queue.add(ObjectKey::new(&namespace, claim));
            }
        }
    }
}

fn claim_changed(
    change: &Change<KnownClaim>,
    pods: &Store<KnownPod>,
    pod_queue: &Workqueue,
    claim_queue: &Workqueue,
) {
    let Some(claim) = change.new.as_ref().or(change.old.as_ref()) else { return };
    let key = claim.key();
    for pod in pods.by_index(&claim_bucket(&key.namespace, &key.name)) {
        pod_queue.add(pod.key());
    }
    if change.new.is_none()
        && let Some(volume) = claim.object.spec.as_ref().and_then(|it| it.volume_name.as_ref())
    {
        claim_queue.add(ObjectKey::new("", volume));
    }
    claim_queue.add(key);
}

fn volume_changed(change: &Change<KnownVolume>, claims: &Store<KnownClaim>, claim_queue: &Workqueue) {
    let Some(new) = &change.new else {
        // The claim of a volume that is gone is lost.
        let owner = change.old.as_ref().and_then(|it| it.object.spec.clone()?.claim_ref);
        if let Some((namespace, name)) = owner.and_then(|it| Some((it.namespace?, it.name?))) {
            claim_queue.add(ObjectKey::new(namespace, name));
        }
        return;
    };
    claim_queue.add(new.key());
    // A volume that is free may be what a claim waits for.
    if new.object.spec.as_ref().is_some_and(|it| it.claim_ref.as_ref().is_none_or(|it| it.uid.is_none())) {
        unbound(claims).for_each(|it| claim_queue.add(it));
    }
}

fn unbound(claims: &Store<KnownClaim>) -> impl Iterator<Item = ObjectKey> {
    claims.list().into_iter().filter(|it| !volumes::is_bound(&it.object)).map(|it| it.key())
}

fn snapshot_changed(
    change: &Change<KnownSnapshot>,
    claims: &Store<KnownClaim>,
    claim_queue: &Workqueue,
    snapshot_queue: &Workqueue,
) {
    if let Some(new) = &change.new {
        snapshot_queue.add(new.key());
        // It may be what unbound claims are restored from.
        unbound(claims).for_each(|it| claim_queue.add(it));
    } else if let Some(old) = &change.old {
        let status = old.object.status.clone().unwrap_or_default();
        if let Some(content) = status.bound_volume_snapshot_content_name {
            snapshot_queue.add(ObjectKey::new("", content));
        }
    }
}

/// Snapshots that are not ready.
fn pending(snapshots: &Store<KnownSnapshot>) -> impl Iterator<Item = ObjectKey> {
    let ready = |it: &KnownSnapshot| {
        it.object.status.as_ref().is_some_and(|status| status.ready_to_use == Some(true))
    };
    snapshots.list().into_iter().filter(move |it| !ready(it)).map(|it| it.key())
}
