//! Events about pods, claims and snapshots: their words, and the task that posts them.
//!
//! `pods` ──[`Recorder::record`], never waits──▶ bounded queue ──one at a time, `order`──▶ API server
//!
//! Names end in the time in hexadecimal nanoseconds, so that a list, which is sorted by name, shows the events of an
//! object in the order in which they happened.
//!
//! Whoever watches reads the `SuccessfulCreate` of a StatefulSet before the `Scheduled` that follows from it: a watch of
//! those events tells when (see `order`).
//!
//! Source of the words: kubelet `pkg/kubelet/events`, `pkg/kubelet/images/image_manager.go`, kube-scheduler.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use futures::StreamExt as _;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::PostParams;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::order::{Cause, Order};

/// Events waiting to be posted: five for each of 3 000 pods created at once. Beyond it new ones are dropped.
const QUEUE: usize = 16_384;

/// The events that others wait for.
const CAUSES: &str = "involvedObject.kind=StatefulSet,reason=SuccessfulCreate";

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// `default-scheduler`, without a host.
    Scheduler,
    /// `kubelet` on the node.
    Kubelet,
    /// `persistentvolume-controller`.
    Volumes,
    /// `snapshot-controller`.
    Snapshots,
}

/// What happened to an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Who speaks.
    pub source: Source,
    /// `Normal` or `Warning`.
    pub kind: &'static str,
    /// The reason, one word.
    pub reason: &'static str,
    /// The sentence.
    pub message: String,
    /// The container it is about.
    pub container: Option<String>,
}

impl Note {
    /// A normal note of the kubelet about a container.
    pub fn container(reason: &'static str, container: &str, message: String) -> Self {
        Self {
            source: Source::Kubelet,
            kind: "Normal",
            reason,
            message,
            container: Some(container.to_owned()),
        }
    }

    /// A normal note about the whole object.
    pub fn normal(source: Source, reason: &'static str, message: String) -> Self {
        Self { source, kind: "Normal", reason, message, container: None }
    }

    /// A warning about the whole object.
    pub fn warning(source: Source, reason: &'static str, message: String) -> Self {
        Self { source, kind: "Warning", reason, message, container: None }
    }

    /// The scheduler found a node.
    pub fn scheduled(pod: &Pod, node: &str) -> Self {
        let (namespace, name) = names(pod);
        let message = format!("Successfully assigned {namespace}/{name} to {node}");
        Self { source: Source::Scheduler, kind: "Normal", reason: "Scheduled", message, container: None }
    }
}

/// How events refer to an object.
pub fn reference<K: kube::Resource<DynamicType = ()>>(object: &K) -> ObjectReference {
    let meta = object.meta();
    ObjectReference {
        api_version: Some(K::api_version(&()).into_owned()),
        kind: Some(K::kind(&()).into_owned()),
        name: meta.name.clone(),
        namespace: meta.namespace.clone(),
        uid: meta.uid.clone(),
        resource_version: meta.resource_version.clone(),
        field_path: None,
    }
}

/// The Event object of a note. `id`, in nanoseconds, makes its name unique and sorts it.
pub fn event(about: ObjectReference, note: Note, node: &str, now: Timestamp, id: u64) -> Event {
    let name = about.name.clone().unwrap_or_default();
    // Events about what has no namespace are in this one.
    let namespace = about.namespace.clone().unwrap_or_else(|| "default".to_owned());
    let (component, host) = match note.source {
        Source::Scheduler => ("default-scheduler", None),
        Source::Kubelet => ("kubelet", Some(node.to_owned())),
        Source::Volumes => ("persistentvolume-controller", None),
        Source::Snapshots => ("snapshot-controller", None),
    };
    Event {
        metadata: ObjectMeta {
            name: Some(format!("{name}.{id:016x}")),
            namespace: Some(namespace),
            ..ObjectMeta::default()
        },
        involved_object: ObjectReference {
            field_path: note.container.map(|it| format!("spec.containers{{{it}}}")),
            ..about
        },
        reason: Some(note.reason.to_owned()),
        message: Some(note.message),
        type_: Some(note.kind.to_owned()),
        source: Some(EventSource { component: Some(component.to_owned()), host: host.clone() }),
        reporting_component: Some(component.to_owned()),
        reporting_instance: host,
        first_timestamp: Some(Time(now)),
        last_timestamp: Some(Time(now)),
        count: Some(1),
        ..Event::default()
    }
}

fn names(pod: &Pod) -> (&str, &str) {
    let meta = &pod.metadata;
    (meta.namespace.as_deref().unwrap_or("default"), meta.name.as_deref().unwrap_or_default())
}

/// An event, and what has to be told before it.
pub struct Queued {
    event: Event,
    cause: Option<Cause>,
}

impl Queued {
    /// UID of what it is about.
    fn uid(&self) -> &str {
        self.event.involved_object.uid.as_deref().unwrap_or_default()
    }
}

/// Why a pod exists that has just been scheduled: its StatefulSet.
fn cause_of(meta: &ObjectMeta) -> Option<Cause> {
    let owners = meta.owner_references.iter().flatten();
    let owner = owners.into_iter().find(|it| it.controller == Some(true) && it.kind == "StatefulSet")?;
    Some(Cause { controller: owner.uid.clone(), pod: meta.name.clone()? })
}

/// How many events of an object are not posted yet, by its UID.
type Waiting = Arc<Mutex<HashMap<String, usize>>>;

/// Takes notes without ever waiting.
#[derive(Clone)]
pub struct Recorder {
    node: String,
    queue: mpsc::Sender<Queued>,
    /// The latest id given.
    latest: Arc<AtomicU64>,
    waiting: Waiting,
}

/// The other end of a [`Recorder`]: give it to [`post`].
pub struct Backlog {
    queue: mpsc::Receiver<Queued>,
    waiting: Waiting,
}

impl Recorder {
    /// A recorder for the node named `node`, and the queue [`post`] empties.
    pub fn new(node: &str) -> (Self, Backlog) {
        let (queue, events) = mpsc::channel(QUEUE);
        let waiting = Waiting::default();
        let backlog = Backlog { queue: events, waiting: Arc::clone(&waiting) };
        (Self { node: node.to_owned(), queue, latest: Arc::default(), waiting }, backlog)
    }

    /// Whether everything recorded about the object of this UID is posted.
    pub fn is_told(&self, uid: &str) -> bool {
        !self.waiting.lock().expect("no code panics while it holds the map").contains_key(uid)
    }

    /// Queues a note about `object`; drops it when the queue is full.
    pub fn record<K: kube::Resource<DynamicType = ()>>(&self, object: &K, note: Note) {
        let now = Timestamp::now();
        let cause = (note.source == Source::Scheduler).then(|| cause_of(object.meta())).flatten();
        let nanos = u64::try_from(now.as_nanosecond()).unwrap_or(0);
        let id = next_id(&self.latest, nanos);
        let event = event(reference(object), note, &self.node, now, id);
        let queued = Queued { event, cause };
        let uid = queued.uid().to_owned();
        *self
            .waiting
            .lock()
            .expect("no code panics while it holds the map")
            .entry(uid.clone())
            .or_default() += 1;
        if self.queue.try_send(queued).is_err() {
            settle(&self.waiting, &uid);
            warn!(object.name = ?object.meta().name, "event queue is full, event dropped");
        }
    }
}

/// The time, or one more than the latest id: no two notes share an id, and a later one has a greater id.
fn next_id(latest: &AtomicU64, nanos: u64) -> u64 {
    let step = |latest: u64| nanos.max(latest.saturating_add(1));
    let before = latest.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |it| Some(step(it)));
    step(before.unwrap_or_else(|it| it))
}

/// One event of an object is posted, or never will be.
fn settle(waiting: &Waiting, uid: &str) {
    let mut waiting = waiting.lock().expect("no code panics while it holds the map");
    if let Some(left) = waiting.get_mut(uid) {
        *left -= 1;
        if *left == 0 {
            waiting.remove(uid);
        }
    }
}

/// Posts queued events in order until `shutdown`. An event that is refused is dropped.
pub async fn post(client: Client, backlog: Backlog, shutdown: CancellationToken) {
    let Backlog { mut queue, waiting } = backlog;
    let causes: Api<Event> = Api::all(client.clone());
    let causes =
        watcher(causes, watcher::Config::default().fields(CAUSES)).default_backoff().applied_objects();
    let mut causes = std::pin::pin!(causes);
    let mut order = Order::default();
    loop {
        let due = order.due();
        let patience = async move {
            match due {
                Some(due) => tokio::time::sleep_until(due.into()).await, // allow-sleep: how long an event waits for its cause
                None => std::future::pending().await,
            }
        };
        let ready = tokio::select! {
            () = shutdown.cancelled() => return,
            queued = queue.recv() => {
                let Some(mut queued) = queued else { return };
                let (uid, cause) = (queued.uid().to_owned(), queued.cause.take());
                order.admit(&uid, cause, queued, Instant::now().into_std()).into_iter().collect()
            }
            Some(told) = causes.next() => match told {
                Ok(told) => {
                    let controller = told.involved_object.uid.unwrap_or_default();
                    order.hear(&controller, told.message.as_deref().unwrap_or_default())
                }
                Err(error) => {
                    debug!(%error, "events of controllers are not heard");
                    Vec::new()
                }
            },
            () = patience => order.expire(Instant::now().into_std()),
        };
        for queued in ready {
            let namespace = queued.event.metadata.namespace.clone().unwrap_or_default();
            let api: Api<Event> = Api::namespaced(client.clone(), &namespace);
            if let Err(error) = api.create(&PostParams::default(), &queued.event).await {
                debug!(%error, namespace, "event was refused");
            }
            settle(&waiting, queued.uid());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_event_names_source_object_and_container() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "web-demo-0", "namespace": "demo", "uid": "u1"},
        }))
        .expect("a pod");
        let note = Note::scheduled(&pod, "sim-0");
        assert_eq!(note.message, "Successfully assigned demo/web-demo-0 to sim-0");
        let note = Note::container("Started", "nginx", "Started container nginx".to_owned());
        let event = event(reference(&pod), note, "sim-0", Timestamp::UNIX_EPOCH, 7);
        assert_eq!(event.metadata.name.as_deref(), Some("web-demo-0.0000000000000007"));
        assert_eq!(event.involved_object.field_path.as_deref(), Some("spec.containers{nginx}"));
        assert_eq!(event.source.and_then(|it| it.host).as_deref(), Some("sim-0"));
    }
    #[test]
    fn names_sort_as_the_notes_happened() {
        let latest = AtomicU64::default();
        // Two of one moment, and one from a clock that was set back.
        let ids = [100, 100, 99, 200].map(|it| next_id(&latest, it));
        assert_eq!(ids, [100, 101, 102, 200]);
    }
}
