//! Events on Services and Endpoints, as kubectl shows them.
//!
//! Reconciles hand over what happened and go on; one task writes core/v1 Events in the background. The same event again raises
//! the count of the first one. Events are for people: if the task falls behind, they are dropped.
//! Source: client-go `tools/record` (names, counting); core/v1 because kubectl and dashboards read it.

use std::collections::HashMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event as ApiEvent;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::model::ObjectKey;

/// Events waiting to be written.
const QUEUE: usize = 1_024;
/// Events remembered for counting; when full, all are forgotten and counting starts anew.
const REMEMBERED: usize = 4_096;

/// `type` of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Severity {
    /// For information.
    Normal,
    /// A person may have to act.
    Warning,
}

/// The object an event is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct About {
    /// `Service` or `Endpoints`.
    pub kind: &'static str,
    /// Namespace and name.
    pub key: ObjectKey,
    /// Its uid.
    pub uid: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Event {
    about: About,
    severity: Severity,
    reason: &'static str,
    message: String,
}

/// Where reconciles leave their events.
#[derive(Clone)]
pub struct Recorder(mpsc::Sender<(Event, Timestamp)>);

/// The other end: give it to [`Backlog::write`].
pub struct Backlog {
    component: &'static str,
    events: mpsc::Receiver<(Event, Timestamp)>,
}

/// A recorder for the controller of this name, and its backlog.
pub fn channel(component: &'static str) -> (Recorder, Backlog) {
    let (sender, events) = mpsc::channel(QUEUE);
    (Recorder(sender), Backlog { component, events })
}

impl Recorder {
    /// Leaves an event; never waits.
    pub fn record(&self, about: About, severity: Severity, reason: &'static str, message: String) {
        let event = Event { about, severity, reason, message };
        if self.0.try_send((event, Timestamp::now())).is_err() {
            debug!("event dropped: too many are waiting");
        }
    }
}

struct Known {
    name: String,
    count: u32,
}

impl Backlog {
    /// Writes events until `shutdown`.
    pub async fn write(mut self, client: Client, shutdown: CancellationToken) {
        let mut known: HashMap<Event, Known> = HashMap::new();
        let mut serial: u64 = 0;
        loop {
            let happened = tokio::select! {
                () = shutdown.cancelled() => return,
                happened = self.events.recv() => happened,
            };
            let Some((event, at)) = happened else { return };
            if known.len() >= REMEMBERED {
                known.clear();
            }
            let api: Api<ApiEvent> = Api::namespaced(client.clone(), &event.about.key.namespace);
            if let Some(earlier) = known.get_mut(&event) {
                let patch = json!({ "count": earlier.count + 1, "lastTimestamp": stamp(at) });
                if api.patch(&earlier.name, &PatchParams::default(), &Patch::Merge(patch)).await.is_ok() {
                    earlier.count += 1;
                    continue;
                }
                // It expired: a new one begins.
            }
            serial += 1;
            match api.create(&PostParams::default(), &self.object(&event, at, serial)).await {
                Ok(created) => {
                    let name = created.metadata.name.unwrap_or_default();
                    known.insert(event, Known { name, count: 1 });
                }
                Err(error) => debug!(%error, "event not written"),
            }
        }
    }

    fn object(&self, event: &Event, at: Timestamp, serial: u64) -> ApiEvent {
        let Event { about, severity, reason, message } = event;
        // Nanoseconds as upstream; the serial keeps events of one moment apart.
        let nanos = u128::try_from(at.as_nanosecond()).unwrap_or(0) + u128::from(serial);
        let object = json!({
            "apiVersion": "v1", "kind": "Event",
            "metadata": { "name": format!("{}.{nanos:x}", about.key.name), "namespace": about.key.namespace },
            "involvedObject": {
                "apiVersion": "v1", "kind": about.kind, "namespace": about.key.namespace, "name": about.key.name,
                "uid": about.uid,
            },
            "reason": reason, "message": message,
            "type": if *severity == Severity::Normal { "Normal" } else { "Warning" },
            "source": { "component": self.component },
            "reportingComponent": self.component, "reportingInstance": "",
            "firstTimestamp": stamp(at), "lastTimestamp": stamp(at), "count": 1,
        });
        serde_json::from_value(object).expect("the fields of an Event")
    }

    /// What was recorded so far: type, reason and message.
    #[cfg(test)]
    pub fn drain(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.events.try_recv().ok())
            .map(|(event, _)| format!("{:?} {} {}", event.severity, event.reason, event.message))
            .collect()
    }
}

fn stamp(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
