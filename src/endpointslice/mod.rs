//! The EndpointSlice controller: Services, Pods and Nodes into EndpointSlices.
//!
//! ```text
//! watches ──▶ narrow ──▶ index ──Services concerned──▶ queue ──▶ reconcile ──▶ writes
//!                          ▲      what changed ──▶ plan (pure) ──┘               │
//!                          └───────────── answers, at once ──────────────────────┘
//! ```
//!
//! Takes the place of kube-controller-manager's `endpointslice-controller` and writes the same slices: either may take
//! over from the other without a write. **Invariants.** Slices of others are never read into a plan and never written,
//! nothing is written before all caches are complete, and a pod that should be published never vanishes in between.
//! An event costs what it touches, never the size of its Service or namespace. [`mirroring`] copies hand-written Endpoints
//! into slices, [`legacy`] maintains Endpoints objects: the other two loops.
//! Sources: kubernetes 1.36 `pkg/controller/endpointslice`, `staging/src/k8s.io/endpointslice`; KEP-752, KEP-1672.

pub mod config;
pub mod desired;
pub mod events;
pub mod hints;
pub mod index;
pub mod legacy;
mod memory;
pub mod metrics;
pub mod mirroring;
pub mod model;
pub mod narrow;
mod object;
pub mod plan;
mod reconcile;
pub mod spacing;
pub mod subsets;
mod trigger;
mod watch;
mod write;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::Client;
use kube::runtime::watcher::Config;
use tokio::sync::watch as signal;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::error;

use self::config::Compaction;
use self::index::{Index, Verdict, Wake};
use self::metrics::{PodResult, SliceMetrics, Stage};
use self::model::{CONTROLLER, MANAGED_BY, NodeView, PodView, ServiceView, SliceView};
pub use self::reconcile::Cleanup;
use self::reconcile::{SharedIndex, Since, SliceController, lock};
use self::watch::{Event, feed};
use self::write::SliceApi;
use crate::runtime::{ControllerMetrics, ReadyHandle, Workqueue, work};

/// How often one Service is planned from scratch to see whether the incremental state is right.
const AUDIT_INTERVAL: Duration = Duration::from_secs(60);
/// How often two half-empty slices are merged at most.
const COMPACTION_INTERVAL: Duration = Duration::from_secs(2);
/// Longest pause of a Service whose writes fail.
const BACKOFF_LONGEST: Duration = Duration::from_secs(5);
/// Kinds that are watched.
const KINDS: usize = 4;

/// What a person may set.
#[derive(Clone)]
pub struct Options {
    /// Endpoints per slice, 1 to 1000 (`--max-endpoints-per-slice`).
    pub max_endpoints_per_slice: usize,
    /// Services worked on at a time (`--concurrent-service-endpoint-syncs`).
    pub workers: usize,
    /// Pause between a pod event and the plan (`--endpointslice-updates-batch-period`); zero: none, writes of a slice that
    /// changes all the time are spaced instead.
    pub batch_period: Duration,
    /// What happens to the slices of a Service that stops being managed (`--unmanaged-service-cleanup`).
    pub cleanup: Cleanup,
    /// When half-empty slices are merged (`--slice-compaction`).
    pub compaction: Compaction,
    /// Series of the controller frame.
    pub metrics: ControllerMetrics,
    /// Series of this controller.
    pub slice_metrics: SliceMetrics,
    /// Audit after every plan and panic on a difference; for tests.
    pub audit: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_endpoints_per_slice: 100,
            workers: 5,
            batch_period: Duration::ZERO,
            cleanup: Cleanup::Keep,
            compaction: Compaction::Off,
            metrics: ControllerMetrics::default(),
            slice_metrics: SliceMetrics::default(),
            audit: false,
        }
    }
}

/// Where the watches leave what they tell.
#[derive(Clone)]
struct Feed {
    index: SharedIndex,
    queue: Workqueue,
    batch_period: Duration,
    metrics: SliceMetrics,
    /// `None`: nobody asks.
    since: Option<Since>,
    /// How many kinds have their first list.
    synced: signal::Sender<usize>,
}

impl Feed {
    /// Events of these Services arrive now.
    fn note(&self, services: &Wake) {
        let now = Instant::now();
        if let Some(since) = &self.since {
            for service in services {
                since.note(service, now);
            }
        }
    }

    fn wake(&self, services: Wake) {
        self.note(&services);
        for service in services {
            self.queue.add(service);
        }
    }

    /// A pod became ready or unready then, to the second, and its event arrives now.
    fn observed(&self, since: Timestamp) {
        let late = Timestamp::now().duration_since(since).as_secs_f64().max(0.0);
        self.metrics.latency.get_or_create(&Stage { stage: "observe" }).observe(late);
    }

    fn wake_for_pods(&self, verdict: Verdict, services: Wake) {
        let result = match verdict {
            Verdict::Ignored => "ignored",
            Verdict::Unchanged => "unchanged",
            Verdict::Planned => "planned",
        };
        self.metrics.pod_events.get_or_create(&PodResult { result }).inc();
        if self.batch_period.is_zero() {
            self.wake(services);
        } else {
            self.note(&services);
            for service in services {
                self.queue.add_after(service, self.batch_period);
            }
        }
    }

    fn list_done(&self, first: &mut bool) {
        if std::mem::take(first) {
            self.synced.send_modify(|it| *it += 1);
        }
    }

    fn services(self) -> impl FnMut(Event<ServiceView>) + Send {
        let (mut first, mut list) = (true, Vec::new());
        move |event| {
            let services = match event {
                Event::Begin => return list.clear(),
                Event::Listed(view) => return list.push(view),
                Event::Done => lock(&self.index).replace_services(std::mem::take(&mut list)),
                Event::Apply(view) => return self.wake(lock(&self.index).apply_service(view)),
                Event::Gone { object, .. } => return self.wake(lock(&self.index).remove_service(&object)),
            };
            self.wake(services);
            self.list_done(&mut first);
        }
    }

    fn pods(self) -> impl FnMut(Event<PodView>) + Send {
        let mut first = true;
        move |event| match event {
            Event::Begin => lock(&self.index).begin_pod_list(),
            Event::Listed(view) => {
                let services = lock(&self.index).apply_pod(view).1;
                self.wake(services);
            }
            Event::Done => {
                let services = lock(&self.index).end_pod_list();
                self.wake(services);
                self.list_done(&mut first);
            }
            Event::Apply(view) => {
                let (since, mut index) = (view.ready_since, lock(&self.index));
                let turned = index.pod(&view.key).is_some_and(|it| it.ready_since != since);
                let (verdict, services) = index.apply_pod(view);
                drop(index);
                if let Some(since) = since.filter(|_| turned && verdict == Verdict::Planned) {
                    self.observed(since);
                }
                self.wake_for_pods(verdict, services);
            }
            Event::Gone { object, .. } => {
                let (verdict, services) = lock(&self.index).remove_pod(&object);
                self.wake_for_pods(verdict, services);
            }
        }
    }

    fn nodes(self) -> impl FnMut(Event<NodeView>) + Send {
        let (mut first, mut list) = (true, Vec::new());
        move |event| {
            let services = match event {
                Event::Begin => return list.clear(),
                Event::Listed(view) => return list.push(view),
                Event::Done => lock(&self.index).replace_nodes(std::mem::take(&mut list)),
                Event::Apply(view) => return self.wake(lock(&self.index).apply_node(view)),
                Event::Gone { object, .. } => return self.wake(lock(&self.index).remove_node(&object.name)),
            };
            self.wake(services);
            self.list_done(&mut first);
        }
    }

    fn slices(self) -> impl FnMut(Event<SliceView>) + Send {
        let (mut first, mut list) = (true, Vec::new());
        move |event| {
            let services = match event {
                Event::Begin => {
                    list.clear();
                    return lock(&self.index).begin_slice_list();
                }
                Event::Listed(view) => return list.push(view),
                Event::Done => lock(&self.index).replace_slices(std::mem::take(&mut list)),
                Event::Apply(view) => return self.wake(lock(&self.index).apply_slice(view)),
                Event::Gone { object, version } => {
                    return self.wake(lock(&self.index).remove_slice(&object, version));
                }
            };
            self.wake(services);
            self.list_done(&mut first);
        }
    }
}

/// Runs the controller until `shutdown`. `ready` is set once all caches are complete.
pub async fn run(client: Client, options: Options, ready: ReadyHandle, shutdown: CancellationToken) {
    options.slice_metrics.start();
    let index = SharedIndex::default();
    let queue = Workqueue::with_longest_backoff(BACKOFF_LONGEST);
    let since = Since::default();
    let into = Feed {
        index: Arc::clone(&index),
        queue: queue.clone(),
        batch_period: options.batch_period,
        metrics: options.slice_metrics.clone(),
        since: Some(since.clone()),
        synced: signal::Sender::new(0),
    };
    let mut synced = into.synced.subscribe();
    let (recorder, backlog) = events::channel("endpoint-slice-controller");
    let mut tasks = JoinSet::new();
    tasks.spawn(backlog.write(client.clone(), shutdown.clone()));
    tasks.spawn(feed(client.clone(), Config::default(), into.clone().nodes(), shutdown.clone()));
    tasks.spawn(feed(client.clone(), Config::default(), into.clone().services(), shutdown.clone()));
    tasks.spawn(feed(client.clone(), Config::default(), into.clone().pods(), shutdown.clone()));
    // Slices of others are not even transferred; one that is relabelled away arrives as a deletion.
    let ours = Config::default().labels(&format!("{MANAGED_BY}={CONTROLLER}"));
    tasks.spawn(feed(client.clone(), ours, into.slices(), shutdown.clone()));
    tokio::select! {
        _ = synced.wait_for(|it| *it == KINDS) => {}
        () = shutdown.cancelled() => return,
    }
    ready.set();
    tasks.spawn(audit(
        Arc::clone(&index),
        queue.clone(),
        options.max_endpoints_per_slice,
        options.slice_metrics.clone(),
        shutdown.clone(),
    ));
    if options.compaction == Compaction::Idle {
        let (index, queue) = (Arc::clone(&index), queue.clone());
        tasks.spawn(compact(index, queue, options.max_endpoints_per_slice, shutdown.clone()));
    }
    let controller = SliceController {
        index,
        api: SliceApi::new(client),
        max: options.max_endpoints_per_slice,
        cleanup: options.cleanup,
        metrics: options.slice_metrics,
        since,
        events: recorder,
        audit: options.audit,
    };
    work("endpointslice", Arc::new(controller), queue, options.workers, options.metrics, shutdown).await;
    while tasks.join_next().await.is_some() {}
}

/// Has half-empty slices merged, two writes every two seconds at most.
async fn compact(index: SharedIndex, queue: Workqueue, max: usize, shutdown: CancellationToken) {
    let started = spacing::Instant::now();
    let mut ticks = tokio::time::interval(COMPACTION_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let picked = lock(&index).pick_compaction(max, started, spacing::Instant::now());
        if let Some(service) = picked {
            queue.add(service);
        }
    }
}

/// Plans a random Service from scratch now and then: it must need no write.
async fn audit(
    index: SharedIndex,
    queue: Workqueue,
    max: usize,
    metrics: SliceMetrics,
    shutdown: CancellationToken,
) {
    let mut ticks = tokio::time::interval(AUDIT_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let random = uuid::Uuid::new_v4().as_u128() as usize;
        let found = {
            let mut index: std::sync::MutexGuard<'_, Index> = lock(&index);
            index.pick(random).and_then(|key| index.audit(&key, max).map(|writes| (key, writes)))
        };
        if let Some((key, writes)) = found {
            error!(object.r#ref = %key, writes, "slices differ from a plan from scratch, planning anew");
            metrics.audit_differences.inc();
            queue.add(key);
        }
    }
}

#[cfg(test)]
mod proof_tests;
