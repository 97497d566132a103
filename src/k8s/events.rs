//! Events on an object, as kubectl shows them.
//!
//! Reconciles hand over what happened and go on; one task writes core/v1 Events in the background. The same event
//! again raises the count of the first one; ten that differ in nothing but the message within ten minutes are told as
//! one; an object that has told 25 tells one more every five minutes. Events are for people: if the task falls behind,
//! they are dropped.
//! Source: client-go `tools/record` (`events_cache.go`: names, counting, aggregation, spam filter); core/v1 because
//! kubectl and dashboards read it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::kinds::EVENTS;
use super::write::{Patch, WriteApi, WriteError};
use crate::model::ObjectKey;

/// Events waiting to be written; more at once than people read.
const QUEUE: usize = 8_192;
/// Objects and events remembered; when full, all are forgotten and counting starts anew.
const REMEMBERED: usize = 4_096;
/// Different messages of one reason within [`ALIKE_WITHIN`] from which on they are told as one.
const ALIKE_MAX: usize = 10;
const ALIKE_WITHIN: SignedDuration = SignedDuration::from_mins(10);
/// How long a standing warning is not repeated.
const STANDING_PAUSE: SignedDuration = SignedDuration::from_secs(60);
/// Events an object may tell at once ...
const BURST: f64 = 25.0;
/// ... and how many more per second.
const REFILL: f64 = 1.0 / 300.0;

/// `type` of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Severity {
    /// Something was done.
    Normal,
    /// Something failed.
    Warning,
    /// Something stands in the way: seen on every look, so repeated at most once a minute.
    Standing,
}

impl Severity {
    fn word(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning | Self::Standing => "Warning",
        }
    }
}

/// What an event is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Subject {
    /// `apiVersion` of the object.
    pub api_version: &'static str,
    /// `kind` of the object.
    pub kind: &'static str,
    /// Namespace and name.
    pub key: ObjectKey,
    /// UID.
    pub uid: String,
    /// The component that tells.
    pub component: &'static str,
}

/// An event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// What it is about.
    pub subject: Subject,
    /// resourceVersion of that object when it happened.
    pub resource_version: String,
    /// `type`.
    pub severity: Severity,
    /// One word.
    pub reason: &'static str,
    /// For people.
    pub message: String,
    /// When.
    pub at: Timestamp,
}

/// Where reconciles leave their events.
#[derive(Clone)]
pub struct Recorder {
    sender: mpsc::Sender<Told>,
    dropped: Arc<AtomicU64>,
}

/// The other end: give it to [`write()`].
pub struct Backlog(mpsc::Receiver<Told>);

/// A recorder and its backlog.
pub fn channel() -> (Recorder, Backlog) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    (Recorder { sender, dropped: Arc::default() }, Backlog(receiver))
}

impl Recorder {
    /// Leaves an event; never waits.
    pub fn record(&self, told: Told) {
        if self.sender.try_send(told).is_err() {
            let dropped = self.dropped.fetch_add(1, Ordering::Relaxed) + 1;
            debug!(dropped, "events dropped: too many are waiting");
        }
    }
}

/// What there is to write.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// A new event with this name.
    Create { name: String, message: String },
    /// Once more: the name of the event, its count, its message.
    Count { name: String, count: u32, message: String },
    /// Nothing: the object told too much, or what stands in the way was told a moment ago.
    Nothing,
}

type Alike = (Subject, Severity, &'static str);

struct Alikes {
    messages: HashSet<String>,
    last: Timestamp,
}

struct Known {
    name: String,
    count: u32,
    last: Timestamp,
}

/// Which events become objects. Pure: time is an argument.
#[derive(Default)]
struct Correlator {
    alike: HashMap<Alike, Alikes>,
    known: HashMap<(Alike, String), Known>,
    /// Tokens left and when that was true.
    budgets: HashMap<Subject, (f64, Timestamp)>,
    serial: u64,
}

impl Correlator {
    fn correlate(&mut self, told: &Told) -> Outcome {
        if self.known.len() + self.alike.len() + self.budgets.len() >= REMEMBERED {
            (self.known, self.alike, self.budgets) = Default::default();
        }
        let alike: Alike = (told.subject.clone(), told.severity, told.reason);
        let group = self
            .alike
            .entry(alike.clone())
            .or_insert_with(|| Alikes { messages: HashSet::new(), last: told.at });
        if told.at.duration_since(group.last) > ALIKE_WITHIN {
            group.messages.clear();
        }
        group.last = told.at;
        group.messages.insert(told.message.clone());
        let many = group.messages.len() >= ALIKE_MAX;
        if many {
            // One more would change nothing.
            let spare = group.messages.iter().next().cloned().filter(|it| *it != told.message);
            if let Some(it) = spare.filter(|_| group.messages.len() > ALIKE_MAX) {
                group.messages.remove(&it);
            }
        }
        let message = if many {
            format!("(combined from similar events): {}", told.message)
        } else {
            told.message.clone()
        };
        let key = (alike, if many { String::new() } else { told.message.clone() });
        let told_just_now =
            self.known.get(&key).is_some_and(|it| told.at.duration_since(it.last) < STANDING_PAUSE);
        if (told.severity == Severity::Standing && told_just_now) || !self.allow(told) {
            return Outcome::Nothing;
        }
        if let Some(known) = self.known.get_mut(&key) {
            (known.count, known.last) = (known.count + 1, told.at);
            return Outcome::Count { name: known.name.clone(), count: known.count, message };
        }
        self.serial += 1;
        // Nanoseconds as upstream; the serial keeps events of one moment apart.
        let nanos = u128::try_from(told.at.as_nanosecond()).unwrap_or(0) + u128::from(self.serial);
        let name = format!("{}.{nanos:x}", told.subject.key.name);
        self.known.insert(key, Known { name: name.clone(), count: 1, last: told.at });
        Outcome::Create { name, message }
    }

    fn allow(&mut self, told: &Told) -> bool {
        let (tokens, since) = self.budgets.entry(told.subject.clone()).or_insert((BURST, told.at));
        let passed = told.at.duration_since(*since).as_secs_f64().max(0.0);
        *tokens = (*tokens + passed * REFILL).min(BURST);
        *since = told.at;
        let allowed = *tokens >= 1.0;
        if allowed {
            *tokens -= 1.0;
        }
        allowed
    }

    /// The event is not there (any more): the next one like it begins anew.
    fn forget(&mut self, name: &str) {
        self.known.retain(|_, it| it.name != name);
    }
}

/// Writes events until `shutdown`.
pub async fn write(api: WriteApi, mut backlog: Backlog, shutdown: CancellationToken) {
    let mut correlator = Correlator::default();
    loop {
        let told = tokio::select! {
            () = shutdown.cancelled() => return,
            told = backlog.0.recv() => told,
        };
        let Some(told) = told else { return };
        let mut outcome = correlator.correlate(&told);
        if let Outcome::Count { name, count, message } = &outcome {
            let patch = json!({ "count": count, "lastTimestamp": stamp(told.at), "message": message });
            let object = ObjectKey::new(told.subject.key.namespace.as_str(), name.as_str());
            match api.patch(EVENTS, &object, Patch::Merge, &patch).await {
                // It expired: a new one begins.
                Err(WriteError::NotFound { .. }) => {
                    correlator.forget(&object.name);
                    outcome = correlator.correlate(&told);
                }
                Err(error) => debug!(%error, "event not counted"),
                Ok(_) => {}
            }
        }
        if let Outcome::Create { name, message } = outcome {
            create(&api, &mut correlator, &told, name, &message).await;
        }
    }
}

async fn create(api: &WriteApi, correlator: &mut Correlator, told: &Told, name: String, message: &str) {
    let subject = &told.subject;
    let object = ObjectKey::new(subject.key.namespace.as_str(), name.as_str());
    let body = json!({
        "apiVersion": "v1", "kind": "Event",
        "metadata": { "name": name, "namespace": subject.key.namespace },
        "involvedObject": {
            "apiVersion": subject.api_version, "kind": subject.kind, "namespace": subject.key.namespace,
            "name": subject.key.name, "uid": subject.uid, "resourceVersion": told.resource_version,
        },
        "reason": told.reason, "message": message, "type": told.severity.word(),
        "source": { "component": subject.component },
        "reportingComponent": subject.component, "reportingInstance": "",
        "firstTimestamp": stamp(told.at), "lastTimestamp": stamp(told.at), "count": 1,
    });
    if let Err(error) = api.create(EVENTS, &object, &body).await {
        debug!(%error, "event not written");
        correlator.forget(&name);
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
            .map(|it| format!("{} {} {}", it.severity.word(), it.reason, it.message))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(message: &str, second: i64) -> Told {
        Told {
            subject: Subject {
                api_version: "apps/v1",
                kind: "ReplicaSet",
                key: ObjectKey::new("demo", "web"),
                uid: "u".into(),
                component: "c",
            },
            resource_version: "1".into(),
            severity: Severity::Normal,
            reason: "SuccessfulCreate",
            message: message.into(),
            at: Timestamp::from_second(second).unwrap(),
        }
    }

    #[test]
    fn the_same_counts_and_many_alike_become_one() {
        let mut it = Correlator::default();
        assert!(matches!(it.correlate(&told("a", 0)), Outcome::Create { .. }));
        assert!(matches!(it.correlate(&told("a", 1)), Outcome::Count { count: 2, .. }));
        for at in 1..9 {
            assert!(matches!(it.correlate(&told(&format!("b{at}"), at)), Outcome::Create { .. }), "{at}");
        }
        let Outcome::Create { message, .. } = it.correlate(&told("tenth", 9)) else { panic!("one for all") };
        assert_eq!(message, "(combined from similar events): tenth");
        let next = it.correlate(&told("eleventh", 10));
        assert!(
            matches!(&next, Outcome::Count { count: 2, message, .. } if message.ends_with("eleventh")),
            "{next:?}"
        );
        let later = it.correlate(&told("again", 10 + 601));
        assert!(matches!(&later, Outcome::Create { message, .. } if message == "again"), "{later:?}");
    }

    #[test]
    fn what_stands_in_the_way_is_told_once_a_minute() {
        let mut it = Correlator::default();
        let standing = |second| Told { severity: Severity::Standing, ..told("blocked", second) };
        assert!(matches!(it.correlate(&standing(0)), Outcome::Create { .. }));
        for second in 1..60 {
            assert_eq!(it.correlate(&standing(second)), Outcome::Nothing, "{second}");
        }
        assert!(matches!(it.correlate(&standing(60)), Outcome::Count { count: 2, .. }));
    }

    #[test]
    fn who_tells_too_much_is_not_heard() {
        let mut it = Correlator::default();
        let outcomes: Vec<_> = (0..40).map(|_| it.correlate(&told("a", 0))).collect();
        assert_eq!(outcomes.iter().filter(|it| **it != Outcome::Nothing).count(), 25);
        assert_eq!(it.correlate(&told("a", 200)), Outcome::Nothing);
        assert!(matches!(it.correlate(&told("a", 301)), Outcome::Count { count: 26, .. }));
    }
}
