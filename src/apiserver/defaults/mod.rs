//! Defaults the API server writes into stored objects.
//!
//! A decoded object goes in, the same object with every default of its kind comes out; applying twice changes
//! nothing more. Nulls are dropped and quantities brought to canonical form on the way, because upstream's
//! typed storage does both; without that, equal templates would have different revision hashes.
//! Allocation (cluster IPs, node ports) and the default StorageClass need the store and are not done here.
//! Sources: kubernetes `pkg/apis/*/v1/defaults.go`, `zz_generated.defaults.go`, conversions where they fill
//! fields, and the ServiceAccount admission plugin for Pods.

mod more;
mod pod_spec;
mod service;
mod storage;
mod workload;

use crate::apiserver::quantity;
use crate::apiserver::resources::Resource;
use serde_json::{Map, Value, json};

pub use pod_spec::qos_class;

/// Fills in defaults. Idempotent; used at create and update.
pub fn apply(resource: &Resource, object: &mut Value) {
    normalize(resource, object);
    if !object.is_object() {
        return;
    }
    match (resource.group, resource.kind) {
        ("", "Pod") => pod_spec::pod(object),
        ("", "Service") => service::service(object),
        ("", "Endpoints") => service::endpoints(object),
        ("discovery.k8s.io", "EndpointSlice") => service::endpoint_slice(object),
        ("", "PersistentVolumeClaim") => storage::claim(object),
        ("", "PersistentVolume") => storage::volume(object),
        ("storage.k8s.io", "StorageClass") => storage::class(object),
        ("apps", "StatefulSet") => workload::stateful_set(object),
        ("apps", "Deployment") => workload::deployment(object),
        ("apps", "ReplicaSet") => workload::replica_set(object),
        ("apps", "DaemonSet") => workload::daemon_set(object),
        ("", "ReplicationController") => workload::replication_controller(object),
        ("", "Namespace") => namespace(object),
        ("", "Node") => node(object),
        ("", "Secret") => secret(object),
        ("autoscaling", "HorizontalPodAutoscaler") => workload::autoscaler(object),
        ("policy", "PodDisruptionBudget") => workload::disruption_budget(object),
        ("batch", "Job") => more::job(object),
        ("batch", "CronJob") => more::cron_job(object),
        ("networking.k8s.io", "NetworkPolicy") => more::network_policy(object),
        ("networking.k8s.io", "Ingress") => more::ingress(object),
        ("networking.k8s.io", "IngressClass") => more::ingress_class(object),
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => more::binding(object),
        ("apiregistration.k8s.io", "APIService") => more::api_service(object),
        _ => {}
    }
}

/// What a new object gets once it has its uid and its time.
pub fn identified(resource: &Resource, object: &mut Value) {
    match (resource.group, resource.kind) {
        ("batch", "Job") => more::job_selector(object),
        ("", "Pod") => pod_spec::gated(object),
        ("apiregistration.k8s.io", "APIService") => more::api_service_status(object),
        _ => {}
    }
}

/// Brings foreign JSON to the shape typed storage would have: no nulls, canonical quantities as strings.
pub(crate) fn normalize(resource: &Resource, object: &mut Value) {
    let Some(map) = object.as_object_mut() else { return };
    for (key, value) in map.iter_mut() {
        // A revision is kept byte for byte: its name is the hash of these bytes.
        if !(resource.kind == "ControllerRevision" && key == "data") {
            drop_nulls(value);
        }
    }
    map.retain(|key, value| !value.is_null() || key == "data");
    match resource.kind {
        "Pod" => at(object, "spec", pod_spec::quantities),
        "StatefulSet" | "Deployment" | "ReplicaSet" | "DaemonSet" | "ReplicationController" => {
            at(object, "spec", |spec| {
                at(spec, "template", |template| at(template, "spec", pod_spec::quantities));
                each(spec, "volumeClaimTemplates", storage::claim_quantities);
            });
        }
        "Job" => job_quantities(object),
        "CronJob" => at(object, "spec", |spec| at(spec, "jobTemplate", job_quantities)),
        "PersistentVolumeClaim" => storage::claim_quantities(object),
        "HorizontalPodAutoscaler" => workload::autoscaler_quantities(object),
        "PersistentVolume" => at(object, "spec", |spec| at(spec, "capacity", quantity::canonicalize_map)),
        "Node" => at(object, "status", |status| {
            at(status, "capacity", quantity::canonicalize_map);
            at(status, "allocatable", quantity::canonicalize_map);
        }),
        _ => {}
    }
}

/// Quantities of the pods of a Job.
fn job_quantities(job: &mut Value) {
    at(job, "spec", |spec| at(spec, "template", |it| at(it, "spec", pod_spec::quantities)));
}

fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, it| !it.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// Sets `key` unless it is there; an empty string counts as absent, as in Go.
fn set(object: &mut Value, key: &str, default: impl Into<Value>) {
    if let Some(map) = object.as_object_mut() {
        let slot = map.entry(key).or_insert(Value::Null);
        if slot.is_null() || slot.as_str() == Some("") {
            *slot = default.into();
        }
    }
}

/// The object under `key`, made if absent; something else there is left alone for validation.
fn child<'a>(object: &'a mut Value, key: &str) -> &'a mut Value {
    if !object.is_object() {
        return object;
    }
    let map = object.as_object_mut().expect("checked to be an object");
    map.entry(key).or_insert_with(|| Value::Object(Map::new()))
}

/// Runs `change` on the value under `key`, if there is one.
fn at(object: &mut Value, key: &str, change: impl FnOnce(&mut Value)) {
    if let Some(value) = object.get_mut(key) {
        change(value);
    }
}

/// Runs `change` on every item of the list under `key`.
fn each(object: &mut Value, key: &str, change: impl FnMut(&mut Value)) {
    object.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten().for_each(change);
}

fn namespace(object: &mut Value) {
    let name = object["metadata"]["name"].clone();
    let deleting = object["metadata"]["deletionTimestamp"].is_string();
    if name.as_str().is_some_and(|it| !it.is_empty()) {
        let labels = child(child(object, "metadata"), "labels");
        if let Some(labels) = labels.as_object_mut() {
            labels.insert("kubernetes.io/metadata.name".into(), name);
        }
    }
    if !deleting {
        set(child(object, "spec"), "finalizers", json!(["kubernetes"]));
    }
    set(child(object, "status"), "phase", "Active");
}

fn node(object: &mut Value) {
    // One range and the list of them mirror each other.
    let spec = child(object, "spec");
    let (one, first) = (spec["podCIDR"].clone(), spec["podCIDRs"][0].clone());
    if one.is_string() && first.is_null() {
        spec["podCIDRs"] = json!([one]);
    } else if first.is_string() && one.is_null() {
        spec["podCIDR"] = first;
    }
    let status = child(object, "status");
    if let Some(capacity) = status.get("capacity").cloned() {
        set(status, "allocatable", capacity);
    }
}

fn secret(object: &mut Value) {
    use base64::{Engine, engine::general_purpose::STANDARD};
    set(object, "type", "Opaque");
    let Some(Value::Object(text)) = object.as_object_mut().and_then(|it| it.remove("stringData")) else {
        return;
    };
    let data = child(object, "data");
    for (key, value) in text {
        if let (Some(data), Some(value)) = (data.as_object_mut(), value.as_str()) {
            data.insert(key, Value::String(STANDARD.encode(value)));
        }
    }
}

#[cfg(test)]
mod tests;
