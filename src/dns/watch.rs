//! Keeps the index in step with an API server.
//!
//! API server ──list + watch──▶ `dns::objects` ──▶ `dns::cache` ──▶ `dns::index`
//!          └──another list, now and then──▶ `dns::resync` ──┘
//!
//! Three watches: Namespaces, Services, and EndpointSlices that carry a service name; with `pods: verified` one of Pods and
//! with `pendingFromStatefulsets` one of StatefulSets. Objects are narrowed while they are read. All events that are
//! waiting form one batch and become visible together.
//! The strategy is list then watch, in pages: `sendInitialEvents` is off by default on some of the API servers supported
//! (1.33), and kube falls back only for servers that reject it, not for those that ignore it.
//! Lost watches are resumed with backoff and so is one that brings nothing for two minutes, not even a bookmark; the last
//! state keeps being served, and says so after a while.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::stream::{self, BoxStream, Stream, StreamExt, select_all};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use jiff::Timestamp;
use kube::runtime::watcher;
use kube::{Api, Client};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::cache::{Cache, Event, Input, Kinds, Published};
use super::config::DnsConfig;
use super::freshness::{Freshness, WatchHealth};
use super::index::Index;
use super::known::Object;
use super::metrics::Metrics;
use super::objects::Kind;
use super::resync::{Resync, Step};
use super::scoped::Merge;
use super::selection::Selection;
use super::skipped::{Reason, Skipped};
use crate::k8s::resume::resumed;
use crate::k8s::watched::Watched;
use crate::runtime::ReadyHandle;

/// Most events that become visible together: bounds the memory of a batch, not its latency, because only events that have
/// already arrived are taken.
const MAX_BATCH: usize = 1024;

/// Most questions about the cache that wait for their turn; the next asker is turned away.
pub const MAX_INSPECTIONS: usize = 8;

/// A look at the cache between two batches, by which everything it holds is published. Must be quick: events wait.
pub type Inspection = Box<dyn FnOnce(&Cache) + Send>;

/// Pods that are over have no name: the server leaves them out, and tells of their end as a deletion.
const POD_FIELDS: &str = "status.phase!=Succeeded,status.phase!=Failed,status.phase!=Unknown";

/// After so many seconds the server ends a watch, and it is resumed where it was. The client library gives up on one that
/// has brought nothing, not even a bookmark, five seconds later: together the two minutes after which a silent connection
/// counts as dead.
const WATCH_SECONDS: u32 = 115;

/// A response that brings nothing for so long has failed. Watches end sooner by themselves; this is for lists.
const SILENCE: Duration = Duration::from_secs(125);

/// Longest wait for the head of a response; lists of any size begin sooner.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(60);

/// How often the age of the data is looked at.
const FRESHNESS_INTERVAL: Duration = Duration::from_secs(1);

/// One kind to watch: how to list it, and how the cache takes its events.
pub(super) struct Source<T: Kind> {
    /// One for the whole cluster, or one for each namespace.
    pub(super) apis: Vec<Api<Watched<T>>>,
    /// What is taken for granted, when there is nothing to watch.
    pub(super) granted: Vec<T>,
    pub(super) config: watcher::Config,
    pub(super) wrap: fn(Event<T>) -> Input,
    health: Arc<WatchHealth>,
}

/// The sources of every kind that is watched.
pub(super) struct Sources {
    pub(super) namespaces: Source<String>,
    pub(super) services: Source<super::model::Service>,
    pub(super) slices: Option<Source<super::model::Slice>>,
    pub(super) pods: Option<Source<super::model::Pod>>,
    pub(super) sets: Option<Source<super::model::Set>>,
}

/// What one watch says.
enum Told {
    Input(Input),
    /// Become visible together.
    Inputs(Vec<Input>),
    Failed {
        kind: &'static str,
        error: watcher::Error,
    },
}

type Streams = BoxStream<'static, Told>;

/// Feeds `index` until `shutdown`. Sets `ready` after the first full lists are published. `inspections` have their turn
/// when no event is waiting.
pub async fn run(
    client: Client,
    index: Arc<Index>,
    config: DnsConfig,
    metrics: Metrics,
    mut inspections: mpsc::Receiver<Inspection>,
    ready: ReadyHandle,
    shutdown: CancellationToken,
) {
    let selection = match Selection::of(&config) {
        Ok(selection) => selection,
        // The configuration was checked before anything started.
        Err(error) => {
            error!(%error, "cannot watch");
            return;
        }
    };
    let began = Instant::now();
    let (sources, health) = sources(&client, &config, &selection, began);
    let mut batches = streams(&sources, &metrics).ready_chunks(MAX_BATCH);
    let mut resync = Resync::new(config.sync.resync);
    let mut ticks = tokio::time::interval(FRESHNESS_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut follower =
        Follower { cache: Cache::new(&config), index, config, metrics, ready, synced: false, warned: false };
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            batch = batches.next() => match batch {
                Some(batch) => follower.take(batch, began.elapsed()),
                None => return,
            },
            _ = ticks.tick() => {
                let now = began.elapsed();
                let stale = health.iter().map(|it| it.stale(now)).max().unwrap_or_default();
                follower.tick(now, stale);
            }
            () = reached(began, follower.cache.deadline()) => follower.settle(began.elapsed()),
            step = resync.next(&sources), if follower.synced => follower.resync(step, &mut resync),
            Some(inspect) = inspections.recv() => inspect(&follower.cache),
        }
    }
}

/// What follows the watches.
struct Follower {
    cache: Cache,
    index: Arc<Index>,
    config: DnsConfig,
    metrics: Metrics,
    ready: ReadyHandle,
    synced: bool,
    /// Whether the log says already that the first lists take long.
    warned: bool,
}

impl Follower {
    /// `elapsed`: since the start.
    fn take(&mut self, batch: Vec<Told>, elapsed: Duration) {
        let now = Timestamp::now();
        self.cache.at(unix(now));
        self.cache.clock(elapsed);
        for told in batch {
            match told {
                Told::Input(input) => self.cache.apply(input),
                Told::Inputs(inputs) => inputs.into_iter().for_each(|it| self.cache.apply(it)),
                Told::Failed { kind, error } => {
                    self.metrics.watch_failed();
                    let error: &dyn std::error::Error = &error;
                    warn!(object.kind = kind, error, "watch failed, will be resumed");
                }
            }
        }
        self.metrics.event_at(now.as_second());
        let published = self.publish(now);
        if published.whole {
            self.metrics.relisted();
            debug!(services = published.services, "published a full list");
        }
        if published.whole && !self.synced {
            self.synced = true;
            info!(services = published.services, "synced");
            self.ready.set();
        }
        if !self.synced {
            self.ready.describe(&self.waiting_for());
        }
    }

    /// Drops the endpoints that have been kept long enough after they left their slices. `elapsed`: since the start.
    fn settle(&mut self, elapsed: Duration) {
        self.cache.clock(elapsed);
        self.publish(Timestamp::now());
    }

    fn publish(&mut self, now: Timestamp) -> Published {
        let published = self.cache.publish(&self.index, unix(now));
        self.metrics.sync.orphans(self.cache.orphans());
        for (class, began) in &published.triggers {
            let took = Timestamp::now().duration_since(*began);
            self.metrics.programmed(*class, Duration::try_from(took).unwrap_or(Duration::ZERO));
        }
        published
    }

    fn waiting_for(&self) -> String {
        format!("waiting for the first list of {}", self.cache.waiting_for().collect::<Vec<_>>().join(", "))
    }

    /// `now`: since the start. `stale`: see [`WatchHealth::stale`], of the worst watch.
    fn tick(&mut self, now: Duration, stale: Duration) {
        self.metrics.sync.stale_for(stale);
        if !self.synced {
            if now >= self.config.sync.startup_timeout && !self.warned {
                self.warned = true;
                warn!(after = ?self.config.sync.startup_timeout, "not ready yet: {}", self.waiting_for());
                self.ready.describe(&self.waiting_for());
            }
            return;
        }
        let freshness = Freshness::of(stale, &self.config.sync);
        let before = self.index.set_freshness(freshness);
        if freshness == before {
            return;
        }
        let seconds = stale.as_secs();
        match freshness {
            Freshness::Fresh => info!("every watch delivers again"),
            Freshness::Stale => warn!(seconds, "a watch is lost: answers say that they are stale"),
            Freshness::TooStale => warn!(seconds, "a watch is lost: answers are failures"),
        }
    }

    fn resync(&mut self, step: Step, resync: &mut Resync) {
        match step {
            Step::Start => self.cache.compare_start(),
            Step::Page(inputs) => inputs.into_iter().for_each(|it| self.cache.apply(it)),
            Step::Listed => {
                let doubtful = self.cache.unexplained();
                debug!(doubtful, "listed everything again");
                resync.settle(doubtful > 0);
            }
            Step::Settled => {
                let now = Timestamp::now();
                self.cache.at(unix(now));
                let repaired = self.cache.compare_end();
                self.publish(now);
                self.metrics.sync.resynced(repaired.len());
                for (kind, key) in repaired.iter().take(10) {
                    warn!(object.kind = kind, object.r#ref = %key, "repaired what the watch had lost");
                }
                if !repaired.is_empty() {
                    warn!(objects = repaired.len(), "the watches had lost changes");
                }
            }
            Step::Failed(kind, error) => {
                self.cache.compare_cancel();
                self.metrics.watch_failed();
                let error: &dyn std::error::Error = &error;
                warn!(object.kind = kind, error, "cannot list everything again, will be tried later");
            }
        }
    }
}

/// Waits until `deadline` after `began`; without one for ever.
async fn reached(began: Instant, deadline: Option<Duration>) {
    match deadline {
        Some(deadline) => sleep_until(began + deadline).await, // allow-sleep: until then a lingering endpoint stays
        None => std::future::pending().await,
    }
}

/// Unix time in seconds.
fn unix(now: Timestamp) -> u32 {
    u32::try_from(now.as_second()).unwrap_or(0)
}

fn sources(
    client: &Client,
    config: &DnsConfig,
    selection: &Selection,
    began: Instant,
) -> (Sources, Vec<Arc<WatchHealth>>) {
    let kinds = Kinds::of(config);
    let mut all = Vec::new();
    let mut health = || {
        let health = Arc::<WatchHealth>::default();
        all.push(Arc::clone(&health));
        (observed(client, &health, began), health)
    };
    let plain = || watcher::Config::default().timeout(WATCH_SECONDS);
    let labels = |selector: &Option<String>| match selector {
        Some(selector) => plain().labels(selector),
        None => plain(),
    };
    let scopes: &[String] = if config.namespaced_watches { &config.namespaces } else { &[] };
    let mut namespaces = Source::new(health(), &[], labels(&selection.namespaces), Input::Namespace);
    if config.namespaced_watches {
        namespaces.apis.clear();
        namespaces.granted = config.namespaces.iter().map(|it| it.to_ascii_lowercase()).collect();
    }
    let slices = || plain().labels(&selection.slices);
    let sources = Sources {
        namespaces,
        services: Source::new(health(), scopes, labels(&selection.services), Input::Service),
        slices: kinds.slices.then(|| Source::new(health(), scopes, slices(), Input::Slice)),
        pods: kinds.pods.then(|| Source::new(health(), scopes, plain().fields(POD_FIELDS), Input::Pod)),
        sets: kinds.sets.then(|| Source::new(health(), scopes, plain(), Input::Set)),
    };
    (sources, all)
}

impl<T: Kind> Source<T> {
    /// `scopes`: the namespaces that are watched one by one; empty: the whole cluster is.
    fn new(
        (client, health): (Client, Arc<WatchHealth>),
        scopes: &[String],
        config: watcher::Config,
        wrap: fn(Event<T>) -> Input,
    ) -> Self {
        let apis = match scopes {
            [] => vec![Api::all(client)],
            scopes => {
                scopes.iter().map(|it| Api::namespaced(client.clone(), &it.to_ascii_lowercase())).collect()
            }
        };
        Self { apis, granted: Vec::new(), config, wrap, health }
    }
}

/// `client`, with every octet it brings noted in `health`. Fails when nothing comes.
fn observed(client: &Client, health: &Arc<WatchHealth>, began: Instant) -> Client {
    let (inner, health) = (client.clone(), Arc::clone(health));
    let service = tower::service_fn(move |request| {
        let (inner, health) = (inner.clone(), Arc::clone(&health));
        async move {
            let response = tokio::time::timeout(RESPONSE_TIMEOUT, inner.send(request)).await;
            let response = response.map_err(|elapsed| kube::Error::Service(elapsed.into()))??;
            if response.status().is_success() {
                health.delivered(began.elapsed());
            }
            Ok::<_, kube::Error>(response.map(|body| {
                let frames = stream::unfold(Some(body.into_data_stream()), move |body| {
                    let health = Arc::clone(&health);
                    async move {
                        let mut body = body?;
                        match tokio::time::timeout(SILENCE, body.next()).await {
                            Ok(Some(Ok(data))) => {
                                health.delivered(began.elapsed());
                                Some((Ok(Frame::data(data)), Some(body)))
                            }
                            Ok(Some(Err(error))) => Some((Err(error), None)),
                            Ok(None) => None,
                            Err(elapsed) => Some((Err(kube::Error::Service(elapsed.into())), None)),
                        }
                    }
                });
                StreamBody::new(frames)
            }))
        }
    });
    Client::new(service, client.default_namespace())
}

fn streams(sources: &Sources, metrics: &Metrics) -> futures::stream::SelectAll<Streams> {
    let mut all = vec![told(&sources.namespaces, metrics), told(&sources.services, metrics)];
    all.extend(sources.slices.as_ref().map(|it| told(it, metrics)));
    all.extend(sources.pods.as_ref().map(|it| told(it, metrics)));
    all.extend(sources.sets.as_ref().map(|it| told(it, metrics)));
    select_all(all)
}

/// One kind as inputs of the cache. An object that means nothing to DNS counts as removed.
fn told<T: Kind + Object>(source: &Source<T>, metrics: &Metrics) -> Streams {
    let wrap = source.wrap;
    match source.apis.as_slice() {
        [] => {
            let granted = source.granted.iter().cloned().map(Event::Listed);
            let list = [Event::ListStart].into_iter().chain(granted).chain([Event::ListEnd]);
            let list = list.map(wrap).collect();
            stream::iter([Told::Inputs(list)]).boxed()
        }
        [api] => {
            let mut skipped = Skipped::default();
            let metrics = metrics.clone();
            let events = heard(source, api, move |event| {
                if note(&mut skipped, event) {
                    metrics.sync.skipped(T::KIND, skipped.counts());
                }
            });
            let all = events.filter_map(move |heard| {
                std::future::ready(match heard {
                    Ok(event) => input(event).map(|it| Told::Input(wrap(it))),
                    Err(error) => Some(Told::Failed { kind: T::KIND, error }),
                })
            });
            all.boxed()
        }
        apis => {
            let counts = Arc::new(Mutex::new(vec![[0; Reason::ALL.len()]; apis.len()]));
            let streams = apis.iter().enumerate().map(|(part, api)| {
                let (mut skipped, metrics, counts) =
                    (Skipped::default(), metrics.clone(), Arc::clone(&counts));
                let events = heard(source, api, move |event| {
                    if note(&mut skipped, event) {
                        let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
                        counts[part] = skipped.counts();
                        let sums = std::array::from_fn(|reason| counts.iter().map(|it| it[reason]).sum());
                        metrics.sync.skipped(T::KIND, sums);
                    }
                });
                events.map(move |heard| (part, heard)).boxed()
            });
            let mut merge = Merge::new(apis.len());
            let all = select_all(streams).filter_map(move |(part, heard)| {
                std::future::ready(match heard {
                    Ok(event) => input(event)
                        .map(|it| merge.take(part, it))
                        .filter(|it| !it.is_empty())
                        .map(|it| Told::Inputs(it.into_iter().map(wrap).collect())),
                    Err(error) => Some(Told::Failed { kind: T::KIND, error }),
                })
            });
            all.boxed()
        }
    }
}

/// One watch, which is resumed for ever; `note` sees every event of it.
fn heard<T: Kind>(
    source: &Source<T>,
    api: &Api<Watched<T>>,
    mut note: impl FnMut(&watcher::Event<Watched<T>>) + Send + 'static,
) -> impl Stream<Item = Result<watcher::Event<Watched<T>>, watcher::Error>> + Send + 'static {
    let health = Arc::clone(&source.health);
    resumed(api.clone(), source.config.clone()).inspect(move |event| match event {
        Ok(event) => note(event),
        Err(_) => health.failed(),
    })
}

fn input<T: Kind>(event: watcher::Event<Watched<T>>) -> Option<Event<T>> {
    Some(match event {
        watcher::Event::Init => Event::ListStart,
        watcher::Event::InitApply(object) => Event::Listed(object.view.value?),
        watcher::Event::InitDone => Event::ListEnd,
        watcher::Event::Apply(object) => {
            let key = object.key();
            object.view.value.map_or(Event::Removed(key), Event::Applied)
        }
        watcher::Event::Delete(object) => Event::Removed(object.key()),
    })
}

/// Returns whether the counts may have changed.
fn note<T: Kind>(skipped: &mut Skipped, event: &watcher::Event<Watched<T>>) -> bool {
    match event {
        watcher::Event::Init => skipped.list_start(),
        watcher::Event::InitApply(object) => skipped.listed(|| object.key(), &object.view.problems),
        watcher::Event::InitDone => {
            skipped.list_end();
            return true;
        }
        watcher::Event::Apply(object) => return skipped.applied(|| object.key(), &object.view.problems),
        watcher::Event::Delete(object) => return skipped.applied(|| object.key(), &[]),
    }
    false
}
