//! Events on a set, as kubectl shows them.
//!
//! Reconciles hand over what happened and go on; one task writes core/v1 Events in the background. The same event
//! again raises the count of the first one. Events are for people: if the task falls behind, they are dropped.
//! Source: client-go `tools/record` (names, counting); core/v1 because kubectl and dashboards read it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::api::{ApiError, Kind, Patch, WriteApi};
use super::model::{API_VERSION, KIND, SetSpec};
use crate::model::ObjectKey;

/// The component that events name as their source.
const COMPONENT: &str = "statefulset-controller";
/// Events waiting to be written. A set of 1 000 pods with a claim each makes 2 000 at once.
const QUEUE: usize = 8_192;
/// Events remembered for counting; when full, all are forgotten and counting starts anew.
const REMEMBERED: usize = 4_096;
/// How long a standing warning is not repeated.
const STANDING_PAUSE: Duration = Duration::from_secs(60);

/// `type` of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Severity {
    /// Something was done.
    Normal,
    /// Something failed: each time counts.
    Warning,
    /// Something stands in the way: seen on every look, so repeated at most once a minute.
    Standing,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Event {
    set: ObjectKey,
    uid: String,
    severity: Severity,
    reason: &'static str,
    message: String,
}

struct Happened {
    event: Event,
    resource_version: String,
    at: Timestamp,
}

/// Where reconciles leave their events.
#[derive(Clone)]
pub struct Recorder {
    sender: mpsc::Sender<Happened>,
    dropped: Arc<AtomicU64>,
}

/// The other end: give it to [`write()`].
pub struct Backlog(mpsc::Receiver<Happened>);

/// A recorder and its backlog.
pub fn channel() -> (Recorder, Backlog) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    (Recorder { sender, dropped: Arc::default() }, Backlog(receiver))
}

impl Recorder {
    /// Leaves an event on `set`; never waits.
    pub fn record(
        &self,
        set: &SetSpec,
        severity: Severity,
        reason: &'static str,
        message: String,
        at: Timestamp,
    ) {
        let event = Event { set: set.key.clone(), uid: set.uid.clone(), severity, reason, message };
        let happened = Happened { event, resource_version: set.resource_version.clone(), at };
        if self.sender.try_send(happened).is_err() {
            let dropped = self.dropped.fetch_add(1, Ordering::Relaxed) + 1;
            debug!(dropped, "events dropped: too many are waiting");
        }
    }
}

struct Known {
    name: String,
    count: u32,
    last: Timestamp,
}

/// Writes events until `shutdown`.
pub async fn write(api: WriteApi, mut backlog: Backlog, shutdown: CancellationToken) {
    let mut known: HashMap<Event, Known> = HashMap::new();
    let mut serial: u64 = 0;
    loop {
        let happened = tokio::select! {
            () = shutdown.cancelled() => return,
            happened = backlog.0.recv() => happened,
        };
        let Some(Happened { event, resource_version, at }) = happened else { return };
        if known.len() >= REMEMBERED {
            known.clear();
        }
        if let Some(earlier) = known.get_mut(&event) {
            let age = at.duration_since(earlier.last).unsigned_abs();
            if event.severity == Severity::Standing && age < STANDING_PAUSE {
                continue;
            }
            let patch = json!({ "count": earlier.count + 1, "lastTimestamp": stamp(at) });
            let object = ObjectKey::new(event.set.namespace.as_str(), earlier.name.as_str());
            match api.patch(Kind::Event, &object, Patch::Merge, &patch).await {
                Ok(_) => {
                    (earlier.count, earlier.last) = (earlier.count + 1, at);
                    continue;
                }
                // It expired: a new one begins.
                Err(ApiError::NotFound { .. }) => {}
                Err(error) => {
                    debug!(%error, "event not counted");
                    continue;
                }
            }
        }
        serial += 1;
        // Nanoseconds as upstream; the serial keeps events of one moment apart.
        let nanos = u128::try_from(at.as_nanosecond()).unwrap_or(0) + u128::from(serial);
        let name = format!("{}.{nanos:x}", event.set.name);
        let object = ObjectKey::new(event.set.namespace.as_str(), name.as_str());
        let body = json!({
            "apiVersion": "v1", "kind": "Event",
            "metadata": { "name": name, "namespace": event.set.namespace },
            "involvedObject": {
                "apiVersion": API_VERSION, "kind": KIND, "namespace": event.set.namespace, "name": event.set.name,
                "uid": event.uid, "resourceVersion": resource_version,
            },
            "reason": event.reason, "message": event.message,
            "type": if event.severity == Severity::Normal { "Normal" } else { "Warning" },
            "source": { "component": COMPONENT },
            "reportingComponent": COMPONENT, "reportingInstance": "",
            "firstTimestamp": stamp(at), "lastTimestamp": stamp(at), "count": 1,
        });
        match api.create(Kind::Event, &object, &body).await {
            Ok(_) => drop(known.insert(event, Known { name, count: 1, last: at })),
            Err(error) => debug!(%error, "event not written"),
        }
    }
}

fn stamp(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
impl Backlog {
    /// What was recorded so far: type, reason and message.
    pub fn drain(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.0.try_recv().ok())
            .map(|Happened { event, .. }| {
                let kind = if event.severity == Severity::Normal { "Normal" } else { "Warning" };
                format!("{kind} {} {}", event.reason, event.message)
            })
            .collect()
    }
}
