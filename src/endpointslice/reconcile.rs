//! Shell: one Service, its slices written.
//!
//! Index ──plan──▶ writes that may leave now ──▶ API server ──answers──▶ Index, at once
//!
//! One plan of a Service is under way at a time, so that each slice has one request in flight at most; what changes
//! meanwhile is planned when it is done, on a view that includes our own writes. The index is locked to plan and to book an
//! answer, never across an await.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use jiff::Timestamp;
use tokio::time::Instant;
use tracing::debug;

use super::events::{About, Recorder, Severity};
use super::hints::Disabled;
use super::index::slices::{News, WriteKind};
use super::index::{Index, Planned};
use super::metrics::{Distribution, HintMode, Operation, SliceMetrics, Stage, SyncResult};
use super::model::{Endpoint, Family, ServiceView, SliceView, Topology};
use super::object::slice_name;
use super::plan::{Content, Write};
use super::spacing::Urgency;
use super::write::{Outcome, SliceApi};
use crate::model::ObjectKey;
use crate::runtime::error::chain;
use crate::runtime::{Next, Reconcile};

/// Requests of one plan under way at a time, where their order does not matter.
const CONCURRENT_WRITES: usize = 8;
/// Pause before a Service is planned anew because a write met a newer state than we knew.
const STALE_RETRY: Duration = Duration::from_millis(5);

/// A slice write that failed. The Service is tried again, for ever.
#[derive(Debug, thiserror::Error)]
#[error("API server did not take the {what} of a slice of service {service}")]
pub struct WriteError {
    what: &'static str,
    service: ObjectKey,
    #[source]
    source: Box<kube::Error>,
}

/// What happens to the slices of a Service that stops being managed (`--unmanaged-service-cleanup`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cleanup {
    /// They stay, as upstream (#91072, #103576).
    #[default]
    Keep,
    /// Those that carry our label and belong to the Service are deleted (#118376).
    Delete,
}

/// Since when Services wait for their slices to be written.
#[derive(Debug, Clone, Default)]
pub struct Since(Arc<Mutex<HashMap<ObjectKey, Instant>>>);

impl Since {
    fn map(&self) -> MutexGuard<'_, HashMap<ObjectKey, Instant>> {
        self.0.lock().expect("no code panics while it holds the map")
    }

    /// An event of the Service arrived; an earlier one stands.
    pub fn note(&self, service: &ObjectKey, at: Instant) {
        let mut map = self.map();
        match map.get_mut(service) {
            Some(since) => *since = at.min(*since),
            None => drop(map.insert(service.clone(), at)),
        }
    }

    /// The events so far are looked at.
    fn take(&self, service: &ObjectKey) -> Option<Instant> {
        self.map().remove(service)
    }
}

/// The index, shared by the watches that fill it and the workers that plan from it.
pub type SharedIndex = Arc<Mutex<Index>>;

/// Locks the index.
pub fn lock(index: &SharedIndex) -> MutexGuard<'_, Index> {
    index.lock().expect("no code panics while it holds the index")
}

/// Everything a Service's reconcile may touch.
pub struct SliceController {
    /// What is known.
    pub index: SharedIndex,
    /// Where writes go.
    pub api: SliceApi,
    /// Endpoints per slice.
    pub max: usize,
    /// For Services that stop being managed.
    pub cleanup: Cleanup,
    /// What is counted.
    pub metrics: SliceMetrics,
    /// When the oldest event of a Service that is not written yet arrived.
    pub since: Since,
    /// Events on Services.
    pub events: Recorder,
    /// Audit every plan of an unmarked Service; for tests.
    pub audit: bool,
}

/// What a write asks for next.
enum Step {
    /// Go on.
    Done,
    /// Plan anew after a pause.
    Again(Duration),
    /// Nothing more can be done.
    GiveUp,
}

impl SliceController {
    fn index(&self) -> MutexGuard<'_, Index> {
        lock(&self.index)
    }

    fn event(&self, service: &ServiceView, severity: Severity, reason: &'static str, message: String) {
        let about = About { kind: "Service", key: service.key.clone(), uid: service.uid.clone() };
        self.events.record(about, severity, reason, message);
    }

    fn tell_zones(&self, service: &ServiceView, zones: &[(Family, Result<(), Disabled>)]) {
        for (family, outcome) in zones {
            let (severity, reason, text) = match outcome {
                Ok(()) => {
                    (Severity::Normal, "TopologyAwareHintsEnabled", "Topology Aware Hints has been enabled")
                }
                Err(Disabled(why)) => (Severity::Warning, "TopologyAwareHintsDisabled", why.as_str()),
            };
            self.event(service, severity, reason, format!("{text}, addressType: {}", family.as_str()));
        }
    }

    /// Makes one write and books its answer.
    async fn write(
        &self,
        service: &ServiceView,
        write: &Write,
        trigger: Option<Timestamp>,
    ) -> Result<Step, WriteError> {
        let key = &service.key;
        let (what, name, outcome, began) = match write {
            Write::Create(content) => {
                let unsure = self.index().take_unsure_name(key);
                let retried = unsure.is_some();
                let name = unsure.unwrap_or_else(|| slice_name(&key.name, uuid::Uuid::new_v4().as_bytes()));
                let began = self.begin(key, &name, WriteKind::Store);
                let (outcome, sent) = self.api.create(service, &name, content, trigger).await;
                self.metrics.bytes.inc_by(sent as u64);
                match &outcome {
                    // The first try did arrive.
                    Outcome::Taken if retried => self.index().doubt(key, &name),
                    Outcome::Unknown(_) => self.index().keep_unsure_name(key, name.clone()),
                    _ => {}
                }
                ("create", name, outcome, began)
            }
            Write::Update(slice, content) => {
                let name = slice.key.name.clone();
                let began = self.begin(key, &name, WriteKind::Store);
                // An earlier write of the same plan, or a watch event, may have brought a newer version.
                let current = self.index().slice(key, &name).unwrap_or_else(|| Arc::clone(slice));
                let (outcome, sent) =
                    self.api.update(service, &current, content, trigger, urgency(slice, content)).await;
                self.metrics.bytes.inc_by(sent as u64);
                ("update", name, outcome, began)
            }
            Write::Delete(slice) => {
                let began = self.begin(key, &slice.key.name, WriteKind::Delete);
                ("delete", slice.key.name.clone(), self.api.delete(slice).await, began)
            }
        };
        self.book(service, write, what, &name, outcome, began)
    }

    fn begin(&self, key: &ObjectKey, name: &str, kind: WriteKind) -> Instant {
        self.index().begin(key, name, kind);
        Instant::now()
    }

    fn book(
        &self,
        service: &ServiceView,
        write: &Write,
        what: &'static str,
        name: &str,
        outcome: Outcome,
        began: Instant,
    ) -> Result<Step, WriteError> {
        let key = &service.key;
        let (mut index, mut made) = (self.index(), true);
        let step = match outcome {
            Outcome::Written(view) => {
                index.wrote(key, *view);
                if let Some(pace) = index.pace(key, name) {
                    pace.wrote(began, Instant::now());
                }
                Ok(Step::Done)
            }
            Outcome::Gone => {
                if let Write::Delete(slice) = write {
                    index.buried(key, slice);
                }
                Ok(Step::Done)
            }
            Outcome::Held => {
                index.doubt(key, name);
                Ok(Step::Again(Duration::ZERO))
            }
            other => {
                made = false;
                index.failed(key);
                match other {
                    Outcome::Stale => {
                        index.doubt(key, name);
                        Ok(Step::Again(STALE_RETRY))
                    }
                    Outcome::Missing => {
                        index.missing(key, name);
                        Ok(Step::Again(Duration::ZERO))
                    }
                    Outcome::Taken => Ok(Step::Again(STALE_RETRY)),
                    Outcome::NamespaceTerminates => Ok(Step::GiveUp),
                    Outcome::Refused(pods) => {
                        index.quarantine(key, &pods);
                        let names: Vec<_> = pods.iter().map(|it| it.pod.as_str()).collect();
                        let text = format!(
                            "Error updating Endpoint Slices for Service {key}: left out endpoints that the API server refuses: {}",
                            names.join(", ")
                        );
                        self.event(service, Severity::Warning, "FailedToUpdateEndpointSlices", text);
                        Ok(Step::Again(Duration::ZERO))
                    }
                    Outcome::Failed(source) => Err(source),
                    Outcome::Unknown(source) => {
                        if what != "create" {
                            index.doubt(key, name);
                        }
                        Err(source)
                    }
                    _ => Ok(Step::Done),
                }
            }
        };
        if index.landed(key, name) == News::Foreign {
            index.failed(key);
        }
        drop(index);
        if made {
            self.metrics.changes.get_or_create(&Operation { operation: what }).inc();
        }
        step.map_err(|source| {
            let text = format!("Error updating Endpoint Slices for Service {key}: {}", chain(&source));
            self.event(service, Severity::Warning, "FailedToUpdateEndpointSlices", text);
            WriteError { what, service: key.clone(), source: Box::new(source) }
        })
    }

    fn latency(&self, stage: &'static str, took: Duration) {
        self.metrics.latency.get_or_create(&Stage { stage }).observe(took.as_secs_f64());
    }

    /// Makes writes of one kind, at most some at a time; stops at the first that does not go well.
    async fn phase(
        &self,
        service: &ServiceView,
        writes: &[Write],
        trigger: Option<Timestamp>,
        at_once: usize,
    ) -> Result<Step, WriteError> {
        let (mut waiting, mut under_way) = (writes.iter(), FuturesUnordered::new());
        let mut worst = Ok(Step::Done);
        // Those that were sent are waited for in any case: nothing may be under way when the next plan is made.
        loop {
            while under_way.len() < at_once && matches!(worst, Ok(Step::Done)) {
                let Some(write) = waiting.next() else { break };
                under_way.push(self.write(service, write, trigger));
            }
            match under_way.next().await {
                None => break,
                Some(Ok(Step::Done)) => {}
                Some(step) => worst = step,
            }
        }
        worst
    }

    /// Splits updates into those that may leave now and the longest wait of the others.
    fn due(&self, key: &ObjectKey, writes: Vec<Write>) -> (Vec<Write>, Option<Duration>) {
        let now = Instant::now();
        let mut index = self.index();
        let mut wait = None;
        let due = writes.into_iter().filter(|write| {
            let Write::Update(slice, content) = write else { return true };
            let Some(pace) = index.pace(key, &slice.key.name) else { return true };
            if pace.wait(Urgency::Normal, now).is_zero() {
                return true;
            }
            let left = pace.wait(urgency(slice, content), now);
            if !left.is_zero() {
                pace.hold();
                wait = Some(wait.map_or(left, |it: Duration| it.min(left)));
            }
            left.is_zero()
        });
        (due.collect(), wait)
    }

    async fn apply(&self, key: &ObjectKey, planned: Planned) -> Result<Next, WriteError> {
        let Planned { service, plan, trigger, taken, zones } = planned;
        self.tell_zones(&service, &zones);
        self.metrics.added.observe(plan.added as f64);
        self.metrics.removed.observe(plan.removed as f64);
        let only_updates = plan.writes.iter().all(|it| matches!(it, Write::Update(..)));
        let (writes, wait) =
            if only_updates && !plan.moves { self.due(key, plan.writes) } else { (plan.writes, None) };
        let mut writes = writes;
        if !plan.moves {
            // A stable sort: otherwise the order is the plan's.
            writes.sort_by_cached_key(|it| (stage(it), !takes_away(it)));
        }
        let mode = HintMode {
            topology: if service.topology == Topology::Auto { "Auto" } else { "Disabled" },
            traffic_distribution: service.traffic_distribution.clone(),
        };
        self.metrics.changed.get_or_create(&mode).observe(writes.len() as f64);
        for phase in writes.chunk_by(|a, b| stage(a) == stage(b)) {
            let at_once = if plan.moves { 1 } else { CONCURRENT_WRITES };
            match self.phase(&service, phase, trigger, at_once).await? {
                Step::Done => {}
                Step::Again(pause) => {
                    self.sync("stale");
                    return Ok(Next::After(pause));
                }
                Step::GiveUp => return Ok(Next::Event),
            }
        }
        self.sync("success");
        let mut index = self.index();
        match wait {
            Some(wait) => {
                index.postpone(key, taken);
                Ok(Next::After(wait))
            }
            None => {
                index.published(key);
                Ok(Next::Event)
            }
        }
    }

    fn sync(&self, result: &'static str) {
        self.metrics.syncs.get_or_create(&SyncResult { result }).inc();
    }

    /// Brings the gauges up to date with one Service.
    fn count(&self, key: &ObjectKey) {
        let (before, now) = self.index().count(key, self.max);
        let gauges = [&self.metrics.desired, &self.metrics.slices, &self.metrics.desired_slices];
        for ((gauge, now), before) in gauges.into_iter().zip(now.numbers).zip(before.numbers) {
            gauge.inc_by(now - before);
        }
        let room = self.metrics.slices.get().max(1) * self.max as i64;
        self.metrics.fill.set(self.metrics.desired.get() as f64 / room as f64);
        if before.distribution != now.distribution {
            for (traffic_distribution, step) in [(before.distribution, -1), (now.distribution, 1)] {
                if !traffic_distribution.is_empty() {
                    self.metrics
                        .distributions
                        .get_or_create(&Distribution { traffic_distribution })
                        .inc_by(step);
                }
            }
        }
    }

    /// Looks up the slices that only the API server knows about.
    async fn look_up(&self, key: &ObjectKey) -> Result<(), WriteError> {
        let doubtful = self.index().doubtful(key);
        for name in doubtful {
            let found = self.api.read(&key.namespace, &name).await.map_err(|source| WriteError {
                what: "read",
                service: key.clone(),
                source: Box::new(source),
            })?;
            self.index().looked_up(key, &name, found);
        }
        Ok(())
    }

    async fn clean_up(&self, key: &ObjectKey) -> Result<Next, WriteError> {
        let unmanaged = if self.cleanup == Cleanup::Delete { self.index().unmanaged(key) } else { None };
        let Some((service, writes)) = unmanaged else { return Ok(Next::Event) };
        match self.phase(&service, &writes, None, CONCURRENT_WRITES).await? {
            Step::Again(pause) => Ok(Next::After(pause)),
            Step::Done | Step::GiveUp => Ok(Next::Event),
        }
    }
}

impl Reconcile for SliceController {
    type Error = WriteError;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, WriteError> {
        // Events that arrived in the same tick make one plan.
        tokio::task::yield_now().await;
        let since = self.since.take(key);
        // A Service that is gone takes its slices along by garbage collection.
        if self.index().managed(key).is_none() {
            self.count(key);
            return self.clean_up(key).await;
        }
        self.look_up(key).await?;
        let began = Instant::now();
        let Some(planned) = self.index().plan(key, self.max) else { return Ok(Next::Event) };
        self.latency("plan", began.elapsed());
        debug!(writes = planned.plan.writes.len(), "planned");
        let merge = self.index().take_compaction(key).filter(|_| planned.plan.writes.is_empty());
        if let Some((service, writes)) = merge {
            self.phase(&service, &writes, None, 1).await?;
            // Its own merges do not make a Service less quiet.
            for write in &writes {
                if let Write::Update(slice, _) = write
                    && let Some(pace) = self.index().pace(key, &slice.key.name)
                {
                    pace.forget();
                }
            }
            return Ok(Next::Event);
        }
        let writes = !planned.plan.writes.is_empty();
        let next = self.apply(key, planned).await;
        match (since, &next) {
            (Some(since), Ok(Next::Event)) if writes => self.latency("write", since.elapsed()),
            (Some(since), Ok(Next::After(_)) | Err(_)) => self.since.note(key, since),
            _ => {}
        }
        if next.is_err() {
            self.sync("error");
        }
        self.count(key);
        if self.audit && matches!(next, Ok(Next::Event)) {
            let found = self.index().audit(key, self.max);
            assert_eq!(found, None, "{key}: the incremental plan missed writes");
        }
        next
    }
}

/// Creates come first, then updates, then deletes.
fn stage(write: &Write) -> u8 {
    match write {
        Write::Create(_) => 0,
        Write::Update(..) => 1,
        Write::Delete(_) => 2,
    }
}

/// Whether an update takes something away: of those under way together they leave first.
fn takes_away(write: &Write) -> bool {
    matches!(write, Write::Update(slice, content) if urgency(slice, content) == Urgency::Removal)
}

/// Whether a write takes away something that readers use.
fn urgency(slice: &SliceView, content: &Content) -> Urgency {
    let ready: HashSet<_> =
        content.endpoints.iter().filter(|it| it.is_ready()).map(|it| Endpoint::identity(it)).collect();
    let lost = slice.endpoints.iter().any(|it| it.is_ready() && !ready.contains(&it.identity()));
    if lost { Urgency::Removal } else { Urgency::Normal }
}
