//! Rows and columns of `kubectl get`: one stored object in, its cells out.
//!
//! Every row carries every cell; which of them are shown is the client's choice by priority. Counters are JSON
//! numbers, everything else is text. Nothing here fails: what an object lacks prints as upstream prints it.
//! Source: kubernetes `pkg/printers/internalversion/printers.go`.

mod cluster;
mod event;
mod more;
mod network;
mod pod;
mod storage;
mod workload;

use crate::apiserver::resources::Resource;
use jiff::Timestamp;
use serde_json::Value;

/// One `columnDefinitions` entry of a `meta.k8s.io/v1` Table.
#[derive(Debug, PartialEq, Eq)]
pub struct Column {
    /// Heading; kubectl prints it in upper case.
    pub name: &'static str,
    /// OpenAPI type: `string`, `integer` or `boolean`.
    pub type_: &'static str,
    /// OpenAPI format: `name` for the name column, else empty.
    pub format: &'static str,
    /// One sentence.
    pub description: &'static str,
    /// 0 always shown, 1 only with `-o wide`.
    pub priority: i32,
}

impl Column {
    const fn text(name: &'static str, description: &'static str) -> Column {
        Column { name, type_: "string", format: "", description, priority: 0 }
    }

    const fn number(name: &'static str, description: &'static str) -> Column {
        Column { name, type_: "integer", format: "", description, priority: 0 }
    }

    const fn wide(self) -> Column {
        Column { priority: 1, ..self }
    }
}

const NAME: Column = Column {
    name: "Name",
    type_: "string",
    format: "name",
    description: "Name must be unique within a namespace.",
    priority: 0,
};
const AGE: Column = Column::text("Age", "Time since the object was created.");
const CONTAINERS: Column = Column::text("Containers", "Names of each container in the template.").wide();
const IMAGES: Column = Column::text("Images", "Images referenced by each container in the template.").wide();
const SELECTOR: Column = Column::text("Selector", "Labels that select the pods of this object.").wide();

/// Columns of a kind, in cell order.
pub fn columns(resource: &Resource) -> &'static [Column] {
    match (resource.group, resource.kind) {
        ("", "Pod") => pod::COLUMNS,
        ("", "Service") => network::SERVICE,
        ("", "Endpoints") => network::ENDPOINTS,
        ("discovery.k8s.io", "EndpointSlice") => network::ENDPOINT_SLICE,
        ("apps", "StatefulSet") => workload::STATEFUL_SET,
        ("apps", "Deployment") => workload::DEPLOYMENT,
        ("apps", "ReplicaSet") | ("", "ReplicationController") => workload::REPLICA_SET,
        ("apps", "DaemonSet") => workload::DAEMON_SET,
        ("apps", "ControllerRevision") => workload::CONTROLLER_REVISION,
        ("autoscaling", "HorizontalPodAutoscaler") => workload::AUTOSCALER,
        ("policy", "PodDisruptionBudget") => workload::DISRUPTION_BUDGET,
        ("", "Node") => cluster::NODE,
        ("", "Namespace") => cluster::NAMESPACE,
        ("", "ConfigMap") => cluster::CONFIG_MAP,
        ("", "Secret") => cluster::SECRET,
        ("", "ServiceAccount") => cluster::SERVICE_ACCOUNT,
        ("coordination.k8s.io", "Lease") => cluster::LEASE,
        ("", "PersistentVolumeClaim") => storage::CLAIM,
        ("", "PersistentVolume") => storage::VOLUME,
        ("storage.k8s.io", "StorageClass") => storage::CLASS,
        (_, "Event") => event::COLUMNS,
        ("snapshot.storage.k8s.io", "VolumeSnapshot") => storage::SNAPSHOT,
        ("snapshot.storage.k8s.io", "VolumeSnapshotClass") => storage::SNAPSHOT_CLASS,
        ("snapshot.storage.k8s.io", "VolumeSnapshotContent") => storage::SNAPSHOT_CONTENT,
        (group, kind) => more::columns(group, kind),
    }
}

/// Cells of one object, as many as there are columns. `now` decides ages.
pub fn cells(resource: &Resource, object: &Value, now: Timestamp) -> Vec<Value> {
    match (resource.group, resource.kind) {
        ("", "Pod") => pod::cells(object, now),
        ("", "Service") => network::service(object, now),
        ("", "Endpoints") => network::endpoints(object, now),
        ("discovery.k8s.io", "EndpointSlice") => network::endpoint_slice(object, now),
        ("apps", "StatefulSet") => workload::stateful_set(object, now),
        ("apps", "Deployment") => workload::deployment(object, now),
        ("apps", "ReplicaSet") | ("", "ReplicationController") => workload::replica_set(object, now),
        ("apps", "DaemonSet") => workload::daemon_set(object, now),
        ("apps", "ControllerRevision") => workload::controller_revision(object, now),
        ("autoscaling", "HorizontalPodAutoscaler") => workload::autoscaler(object, now),
        ("policy", "PodDisruptionBudget") => workload::disruption_budget(object, now),
        ("", "Node") => cluster::node(object, now),
        ("", "Namespace") => cluster::namespace(object, now),
        ("", "ConfigMap") => cluster::config_map(object, now),
        ("", "Secret") => cluster::secret(object, now),
        ("", "ServiceAccount") => cluster::service_account(object, now),
        ("coordination.k8s.io", "Lease") => cluster::lease(object, now),
        ("", "PersistentVolumeClaim") => storage::claim(object, now),
        ("", "PersistentVolume") => storage::volume(object, now),
        ("storage.k8s.io", "StorageClass") => storage::class(object, now),
        (_, "Event") => event::cells(object, now),
        ("snapshot.storage.k8s.io", "VolumeSnapshot") => storage::snapshot(object, now),
        ("snapshot.storage.k8s.io", "VolumeSnapshotClass") => storage::snapshot_class(object, now),
        ("snapshot.storage.k8s.io", "VolumeSnapshotContent") => storage::snapshot_content(object, now),
        (group, kind) => more::cells(group, kind, object, now),
    }
}

/// `conditions` of the row, for finished Pods.
pub fn conditions(resource: &Resource, object: &Value) -> Option<Value> {
    if resource.kind == "Pod" { pod::conditions(object) } else { None }
}

/// How long ago `since` was, as kubectl prints it; `None` is `<unknown>`.
///
/// Source: apimachinery `pkg/util/duration/duration.go`.
pub fn age(since: Option<Timestamp>, now: Timestamp) -> String {
    let Some(since) = since else { return "<unknown>".to_owned() };
    let seconds = now.duration_since(since).as_secs();
    let pair = |amount: i64, unit: &str, rest: i64, rest_unit: &str| {
        if rest == 0 { format!("{amount}{unit}") } else { format!("{amount}{unit}{rest}{rest_unit}") }
    };
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    let (days, years) = (hours / 24, hours / 24 / 365);
    match seconds {
        ..-1 => "<invalid>".to_owned(),
        -1 => "0s".to_owned(),
        0..120 => format!("{seconds}s"),
        _ if minutes < 10 => pair(minutes, "m", seconds % 60, "s"),
        _ if minutes < 180 => format!("{minutes}m"),
        _ if hours < 8 => pair(hours, "h", minutes % 60, "m"),
        _ if hours < 48 => format!("{hours}h"),
        _ if days < 8 => pair(days, "d", hours % 24, "h"),
        _ if days < 2 * 365 => format!("{days}d"),
        _ if days < 8 * 365 => pair(years, "y", days % 365, "d"),
        _ => format!("{years}y"),
    }
}

fn timestamp(value: &Value) -> Option<Timestamp> {
    value.as_str().and_then(|it| it.parse().ok())
}

fn name(object: &Value) -> Value {
    object["metadata"]["name"].as_str().unwrap_or_default().into()
}

fn created(object: &Value, now: Timestamp) -> Value {
    age(timestamp(&object["metadata"]["creationTimestamp"]), now).into()
}

/// The text at `value`, or `absent` if there is none or it is empty.
fn text_or(value: &Value, absent: &str) -> Value {
    value.as_str().filter(|it| !it.is_empty()).unwrap_or(absent).into()
}

fn number(value: &Value) -> Value {
    value.as_i64().unwrap_or_default().into()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn count(value: &Value) -> i64 {
    match value {
        Value::Array(items) => items.len() as i64,
        Value::Object(map) => map.len() as i64,
        _ => 0,
    }
}

/// `a=b,c=d`, or `<none>`.
fn labels(map: &Value) -> String {
    let pairs: Vec<String> = map
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    or_none(pairs.join(","))
}

fn or_none(text: String) -> String {
    if text.is_empty() { "<none>".to_owned() } else { text }
}

#[cfg(test)]
mod tests;
