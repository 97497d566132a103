//! Validation of objects before they are stored: a defaulted object in, what is wrong with it out.
//!
//! Fields are assumed to have their JSON types; [`decode_check`] comes first and sees to that. An Event is checked by the
//! rules of the group it came in by.
//! Sources: kubernetes `pkg/apis/*/validation`, apimachinery `pkg/api/validation`.

mod autoscaling;
mod batch;
mod config;
mod coordination;
mod decode;
mod endpoints;
mod error;
mod metadata;
mod networking;
mod node;
mod pod;
mod rbac;
mod service;
mod snapshot;
mod status;
mod storage;
mod warnings;
mod workload;

use crate::apiserver::resources::Resource;
use crate::model::names;
pub use decode::{decode_check, drop_fields, drop_unknown, find_unknown, unknown_fields};
pub use error::{FieldError, FieldErrorReason};
use serde_json::Value;
pub use warnings::warnings;

const NON_NEGATIVE: &str = "must be greater than or equal to 0";
const IMMUTABLE: &str = "field is immutable";
const NO_ADDRESS: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";

/// Checks a defaulted object about to be created.
pub fn create(resource: &Resource, object: &Value) -> Vec<FieldError> {
    let mut errors = metadata::check(resource, object);
    match (resource.group, resource.kind) {
        ("", "Event") => coordination::event(object, false, &mut errors),
        ("events.k8s.io", _) => coordination::event(object, true, &mut errors),
        _ => body(resource, object, &mut errors),
    }
    errors
}

/// Checks a defaulted object about to replace `old`.
pub fn update(resource: &Resource, old: &Value, new: &Value) -> Vec<FieldError> {
    let mut errors = metadata::check(resource, new);
    match (resource.group, resource.kind) {
        // What a bound Pod carries was right when it was made, or was filled in by others.
        ("", "Pod") => pod::update(old, new, &mut errors),
        ("", "Event") => coordination::update_event(old, new, false, &mut errors),
        ("events.k8s.io", _) => coordination::update_event(old, new, true, &mut errors),
        // What was given once, and is now `null`, is told as changed.
        ("apps", "ControllerRevision") => non_negative(&new["revision"], "revision", &mut errors),
        ("apps", "DaemonSet") => {
            immutable(old, new, "/spec/selector", "spec.selector", &mut errors);
            body(resource, new, &mut errors);
        }
        // A slice of another type would complain about each of its addresses.
        ("discovery.k8s.io", "EndpointSlice") if old["addressType"] != new["addressType"] => {}
        _ => body(resource, new, &mut errors),
    }
    match (resource.group, resource.kind) {
        ("apps", "StatefulSet") => workload::update_stateful_set(old, new, &mut errors),
        ("apps", "Deployment" | "ReplicaSet") => {
            immutable(old, new, "/spec/selector", "spec.selector", &mut errors);
        }
        ("batch", "Job") => batch::update_job(old, new, &mut errors),
        ("networking.k8s.io", "IngressClass") => networking::update_ingress_class(old, new, &mut errors),
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => {
            rbac::update_binding(old, new, &mut errors);
        }
        ("snapshot.storage.k8s.io", "VolumeSnapshot" | "VolumeSnapshotContent") => {
            snapshot::update(old, new, &mut errors);
        }
        ("apps", "ControllerRevision") => immutable(old, new, "/data", "data", &mut errors),
        ("", "Service") => service::update(old, new, &mut errors),
        ("discovery.k8s.io", "EndpointSlice") => {
            immutable(old, new, "/addressType", "addressType", &mut errors);
        }
        ("", "PersistentVolumeClaim") => storage::update_claim(old, new, &mut errors),
        ("", "PersistentVolume") => storage::update_volume(old, new, &mut errors),
        ("storage.k8s.io", "StorageClass") => {
            for field in ["parameters", "provisioner", "reclaimPolicy", "volumeBindingMode"] {
                immutable(old, new, &format!("/{field}"), field, &mut errors);
            }
        }
        ("", "ConfigMap" | "Secret") => config::update_immutable(old, new, &mut errors),
        ("", "Node") => node::update(old, new, &mut errors),
        _ => {}
    }
    errors
}

/// Checks a write of a Pod's `ephemeralcontainers` or `resize` subresource.
pub fn update_part_of_pod(subresource: &str, old: &Value, new: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    match subresource {
        "resize" => pod::resize(old, new, &mut errors),
        _ => pod::ephemeral(old, new, &mut errors),
    }
    errors
}

/// Checks a write of the status subresource.
pub fn update_status(resource: &Resource, old: &Value, new: &Value) -> Vec<FieldError> {
    let mut errors = metadata::check(resource, new);
    status::check(resource, old, new, &mut errors);
    errors
}

fn body(resource: &Resource, object: &Value, errors: &mut Vec<FieldError>) {
    match (resource.group, resource.kind) {
        ("", "Pod") => pod::pod(object, errors),
        ("", "Service") => service::check(object, errors),
        ("", "Endpoints") => endpoints::endpoints(object, errors),
        ("discovery.k8s.io", "EndpointSlice") => endpoints::slice(object, errors),
        ("", "PersistentVolumeClaim") => storage::claim_spec(&object["spec"], "spec", errors),
        ("", "PersistentVolume") => storage::volume(object, errors),
        ("storage.k8s.io", "StorageClass") => storage::class(object, errors),
        ("", "ConfigMap" | "Secret") => config::check(resource, object, errors),
        ("", "Node") => node::check(object, errors),
        ("", "Namespace") => metadata::namespace_finalizers(object, errors),
        ("coordination.k8s.io", "Lease") => coordination::lease(object, errors),
        ("apps", "ControllerRevision") => workload::controller_revision(object, errors),
        ("apps", "StatefulSet") => workload::stateful_set(object, errors),
        ("apps", "Deployment" | "ReplicaSet" | "DaemonSet") => workload::other(resource, object, errors),
        ("", "ReplicationController") => workload::replication_controller(object, errors),
        ("autoscaling", "HorizontalPodAutoscaler") => autoscaling::autoscaler(object, errors),
        ("batch", "Job") => batch::job(object, errors),
        ("batch", "CronJob") => batch::cron_job(object, errors),
        ("networking.k8s.io", "Ingress") => networking::ingress(object, errors),
        ("networking.k8s.io", "IngressClass") => networking::ingress_class(object, errors),
        ("networking.k8s.io", "NetworkPolicy") => networking::network_policy(object, errors),
        ("rbac.authorization.k8s.io", "ClusterRole") => rbac::role(object, false, errors),
        ("rbac.authorization.k8s.io", "Role") => rbac::role(object, true, errors),
        ("rbac.authorization.k8s.io", "ClusterRoleBinding") => rbac::binding(object, false, errors),
        ("rbac.authorization.k8s.io", "RoleBinding") => rbac::binding(object, true, errors),
        ("snapshot.storage.k8s.io", "VolumeSnapshot") => snapshot::snapshot(object, errors),
        ("snapshot.storage.k8s.io", "VolumeSnapshotClass") => snapshot::class(object, errors),
        ("snapshot.storage.k8s.io", "VolumeSnapshotContent") => snapshot::content(object, errors),
        ("policy", "PodDisruptionBudget") => workload::disruption_budget(object, errors),
        _ => {}
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn required(object: &Value, key: &str, field: impl Into<String>, errors: &mut Vec<FieldError>) {
    if text(&object[key]).is_empty() {
        errors.push(FieldError::required(field, ""));
    }
}

fn non_negative(value: &Value, field: impl Into<String>, errors: &mut Vec<FieldError>) {
    if value.as_i64().is_some_and(|it| it < 0) {
        errors.push(FieldError::invalid(field, value.clone(), NON_NEGATIVE));
    }
}

/// A value of a closed set; absent is `Required` unless `optional`.
fn one_of(value: &Value, field: &str, allowed: &[&str], errors: &mut Vec<FieldError>) {
    match text(value) {
        "" => errors.push(FieldError::required(field, "")),
        it if !allowed.contains(&it) => errors.push(FieldError::not_supported(field, it, allowed)),
        _ => {}
    }
}

/// A number of a closed range.
fn between(value: &Value, least: i64, most: i64, field: &str, errors: &mut Vec<FieldError>) {
    if value.as_i64().is_some_and(|it| it < least || it > most) {
        let detail = format!("must be between {least} and {most}, inclusive");
        errors.push(FieldError::invalid(field, value.clone(), detail));
    }
}

/// The number of a port, or the name of one.
fn port_number_or_name(value: &Value, field: &str, errors: &mut Vec<FieldError>) {
    match value {
        Value::Number(number) if !(1..=65_535).contains(&number.as_i64().unwrap_or_default()) => {
            errors.push(FieldError::invalid(field, value.clone(), names::PORT_RANGE));
        }
        Value::String(name) => invalid_each(field, name, names::port_name(name), errors),
        _ => {}
    }
}

/// An address of either family.
fn ip(value: &Value, field: &str, errors: &mut Vec<FieldError>) {
    if text(value).parse::<std::net::IpAddr>().is_err() {
        errors.push(FieldError::invalid(field, text(value), NO_ADDRESS));
    }
}

/// A range of addresses of either family.
fn cidr(value: &Value, field: &str, errors: &mut Vec<FieldError>) {
    if text(value).parse::<ipnet::IpNet>().is_err() {
        let detail = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
        errors.push(FieldError::invalid(field, text(value), detail));
    }
}

/// A `metav1.LabelSelector`. Source: apimachinery `ValidateLabelSelector`.
fn label_selector(selector: &Value, field: &str, errors: &mut Vec<FieldError>) {
    if !selector.is_object() {
        return;
    }
    metadata::labels(&selector["matchLabels"], &format!("{field}.matchLabels"), errors);
    for (index, rule) in list(&selector["matchExpressions"]).iter().enumerate() {
        let field = format!("{field}.matchExpressions[{index}]");
        let values = list(&rule["values"]);
        match text(&rule["operator"]) {
            "In" | "NotIn" if values.is_empty() => {
                let detail = "must be specified when `operator` is 'In' or 'NotIn'";
                errors.push(FieldError::required(format!("{field}.values"), detail));
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                errors.push(FieldError::forbidden(format!("{field}.values"), detail));
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => {
                let detail = "not a valid selector operator";
                errors.push(FieldError::invalid(format!("{field}.operator"), other, detail));
            }
        }
        let key = text(&rule["key"]);
        invalid_each(&format!("{field}.key"), key, names::qualified_name(key), errors);
        for (inner, value) in values.iter().enumerate() {
            let complaints = names::label_value(text(value));
            invalid_each(&format!("{field}.values[{inner}]"), text(value), complaints, errors);
        }
    }
}

fn invalid_each(field: &str, value: &str, complaints: Vec<String>, errors: &mut Vec<FieldError>) {
    errors.extend(complaints.into_iter().map(|it| FieldError::invalid(field, value, it)));
}

fn immutable(old: &Value, new: &Value, pointer: &str, field: &str, errors: &mut Vec<FieldError>) {
    let of = |object: &Value| object.pointer(pointer).cloned().unwrap_or_default();
    if of(old) != of(new) {
        errors.push(FieldError::invalid(field, of(new), IMMUTABLE));
    }
}

#[cfg(test)]
mod tests;
