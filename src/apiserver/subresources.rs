//! Subresources with verbs of their own: binding, finalize, ephemeralcontainers, resize, token.

use crate::apiserver::object::{Key, Object};
use crate::apiserver::patches;
use crate::apiserver::request::{Call, Commit, require_type};
use crate::apiserver::resources::{Resource, find_kind, resource};
use crate::apiserver::server::{ApiServer, random_uid, stamp};
use crate::apiserver::ssa::updates;
use crate::apiserver::status::Status;
use crate::apiserver::update::{self, Part};
use crate::apiserver::validate::FieldError;
use crate::apiserver::{defaults, meta, validate};
use jiff::SignedDuration;
use serde_json::{Value, json};
use std::sync::Arc;

/// Seconds a token lives at least.
const SHORTEST_TOKEN: i64 = 600;

/// How messages about a TokenRequest name its kind.
static TOKEN_REQUEST: Resource =
    resource("authentication.k8s.io", "v1", "TokenRequest", "tokenrequests", "tokenrequest");

fn name(call: &Call) -> &str {
    call.target.name.as_deref().unwrap_or_default()
}

/// POST `binding`: assigns the pod to a node, once.
pub fn bind(server: &ApiServer, call: &Call) -> Result<Value, Status> {
    let mut binding = call.object()?;
    require_type(&mut binding, "v1", "Binding")?;
    let commit = call.commit()?;
    let node = binding["target"]["name"].as_str().unwrap_or_default().to_owned();
    let sent = meta::text(&binding, "name");
    if !sent.is_empty() && sent != name(call) {
        return Err(Status::bad_request("name in URL does not match name in Binding object"));
    }
    let kind = binding["target"]["kind"].as_str().unwrap_or_default();
    if !matches!(kind, "" | "Node") {
        let known = "supported values: \"Node\", \"<empty>\"";
        return Err(Status::untyped(format!("target.kind: Unsupported value: {kind:?}: {known}")));
    }
    if node.is_empty() {
        return Err(Status::untyped("target.name: Required value"));
    }
    let resource = call.target.resource;
    let mut writer = server.store().write();
    let Some(old) = writer.get(resource, &call.target.key()) else {
        return Err(Status::not_found(resource, name(call)));
    };
    if meta::is_terminating(&old.value) {
        let why = format!("pod {} is being deleted, cannot be assigned to a host", name(call));
        return Err(binding_conflict(call, &why));
    }
    let uid = meta::text(&binding, "uid");
    if !uid.is_empty() && uid != meta::text(&old.value, "uid") {
        return Err(Status::precondition(resource, name(call), "UID", uid, meta::text(&old.value, "uid")));
    }
    let assigned = old.value["spec"]["nodeName"].as_str().unwrap_or_default();
    if !assigned.is_empty() {
        let why = format!("pod {} is already assigned to node {assigned:?}", name(call));
        return Err(binding_conflict(call, &why));
    }
    if old.value["spec"]["schedulingGates"].as_array().is_some_and(|it| !it.is_empty()) {
        let why = format!("pod {} has non-empty .spec.schedulingGates", name(call));
        return Err(binding_conflict(call, &why));
    }
    let mut pod = old.value.clone();
    pod["spec"]["nodeName"] = node.into();
    for (key, value) in binding["metadata"]["annotations"].as_object().into_iter().flatten() {
        pod["metadata"]["annotations"][key] = value.clone();
    }
    set_scheduled(&mut pod, &server.now_text());
    if commit == Commit::Keep {
        writer.put(resource, pod);
    }
    Ok(Status::success(201))
}

/// 409 that names the subresource, not the pod.
fn binding_conflict(call: &Call, why: &str) -> Status {
    let mut status = Status::conflict(call.target.resource, name(call), why);
    status.message = status.message.replacen("on pods ", "on pods/binding ", 1);
    status.details["kind"] = "pods/binding".into();
    status
}

fn set_scheduled(pod: &mut Value, now: &str) {
    let condition = json!({
        "type": "PodScheduled",
        "status": "True",
        "lastProbeTime": null,
        "lastTransitionTime": now,
    });
    let mut condition = condition;
    meta::strip_nulls(&mut condition, None);
    if !pod["status"].is_object() {
        pod["status"] = json!({});
    }
    let conditions = &mut pod["status"]["conditions"];
    match conditions.as_array_mut() {
        Some(list) => {
            list.retain(|it| it["type"] != "PodScheduled");
            list.push(condition);
        }
        None => *conditions = json!([condition]),
    }
}

/// PUT `finalize` of a Namespace: replaces `spec.finalizers`; the last one out removes the namespace.
pub fn finalize(server: &ApiServer, call: &Call) -> Result<Arc<Object>, Status> {
    let sent = call.typed_object()?;
    let commit = call.commit()?;
    let mut writer = server.store().write();
    let Some(old) = writer.get(call.target.resource, &call.target.key()) else {
        return Err(Status::not_found(call.target.resource, name(call)));
    };
    let mut namespace = old.value.clone();
    namespace["spec"]["finalizers"] = match &sent["spec"]["finalizers"] {
        Value::Array(finalizers) => json!(finalizers),
        _ => json!([]),
    };
    for field in ["name", "uid", "resourceVersion"] {
        let value = meta::text(&sent, field).to_owned();
        if !value.is_empty() {
            meta::metadata(&mut namespace).insert(field.into(), value.into());
        }
    }
    let by = server.writer_of(call);
    update::store(&mut writer, &call.target, &old, namespace, Part::Narrow, commit, Some(&by))
}

/// Takes from `sent` what the subresource is for: ephemeral containers, or the resources of the others.
fn take_part(subresource: &str, sent: &Value, pod: &mut Value) {
    if subresource != "resize" {
        pod["spec"]["ephemeralContainers"] = sent["spec"]["ephemeralContainers"].clone();
        return;
    }
    for key in ["containers", "initContainers"] {
        for container in pod["spec"][key].as_array_mut().into_iter().flatten() {
            let of = sent["spec"][key].as_array().into_iter().flatten();
            if let Some(sent) = of.into_iter().find(|it| it["name"] == container["name"]) {
                for field in ["resources", "resizePolicy"] {
                    container[field] = sent[field].clone();
                }
            }
        }
    }
}

/// PUT and PATCH `ephemeralcontainers` and `resize`: stored, and nothing is run.
pub fn part_of_pod(server: &ApiServer, call: &Call) -> Result<Arc<Object>, Status> {
    let commit = call.commit()?;
    let resource = call.target.resource;
    let patch = match call.content_type.as_deref() {
        Some(kind) if kind.contains("patch") => Some(patches::patch_type(call)?),
        _ => None,
    };
    let mut writer = server.store().write();
    let Some(old) = writer.get(resource, &call.target.key()) else {
        return Err(Status::not_found(resource, name(call)));
    };
    let sent = match patch {
        Some(kind) => patches::apply_to(call, resource, kind, &old.value)?,
        None => call.typed_object()?,
    };
    let mut pod = old.value.clone();
    take_part(&call.target.subresource, &sent, &mut pod);
    pod["metadata"]["resourceVersion"] = sent["metadata"]["resourceVersion"].clone();
    meta::strip_nulls(&mut pod, None);
    // Pod validation refuses this field on the main path; here it is the only one that differs.
    let version = meta::text(&pod, "resourceVersion").to_owned();
    if !version.is_empty() && version != meta::text(&old.value, "resourceVersion") {
        return Err(Status::stale(resource, name(call)));
    }
    meta::carry(&mut pod, &old.value, "resourceVersion");
    defaults::apply(resource, &mut pod);
    let by = server.writer_of(call);
    updates::record(resource, Some(&old.value), &mut pod, &by, &call.target.subresource);
    if pod["spec"] != old.value["spec"]
        && let Some(generation) = old.value["metadata"]["generation"].as_i64()
    {
        meta::metadata(&mut pod).insert("generation".into(), (generation + 1).into());
    }
    let errors = validate::update_part_of_pod(&call.target.subresource, &old.value, &pod);
    if !errors.is_empty() {
        return Err(Status::invalid(resource, name(call), &errors));
    }
    if pod == *old.value || commit == Commit::DryRun {
        return Ok(Arc::new(Object::new(old.version, pod)));
    }
    Ok(writer.put(resource, pod))
}

/// POST `token` of a ServiceAccount: an opaque value that grants nothing.
pub fn token(server: &ApiServer, call: &Call) -> Result<Value, Status> {
    let mut request = call.object()?;
    require_type(&mut request, "authentication.k8s.io/v1", "TokenRequest")?;
    let resource = call.target.resource;
    let Some(account) = server.store().get(resource, &call.target.key()) else {
        return Err(Status::not_found(resource, name(call)));
    };
    let sent = meta::text(&request, "name").to_owned();
    if !sent.is_empty() && sent != name(call) {
        let error =
            FieldError::invalid("metadata.name", sent, "must match the service account name if specified");
        return Err(Status::invalid(&TOKEN_REQUEST, name(call), &[error]));
    }
    let seconds = request["spec"]["expirationSeconds"].as_i64().unwrap_or(3_600);
    if seconds < SHORTEST_TOKEN {
        let detail = "may not specify a duration less than 10 minutes";
        let error = FieldError::invalid("spec.expirationSeconds", seconds, detail);
        return Err(Status::invalid(&TOKEN_REQUEST, &sent, &[error]));
    }
    let bound = &request["spec"]["boundObjectRef"];
    let kind = bound["kind"].as_str().and_then(|kind| find_kind("v1", kind));
    if let Some(kind) = kind.filter(|it| matches!(it.kind, "Pod" | "Secret")) {
        let named = bound["name"].as_str().unwrap_or_default();
        if server.store().get(kind, &Key::new(call.target.namespace.as_str(), named)).is_none() {
            return Err(Status::not_found(kind, named));
        }
    }
    let seconds = seconds.min(1 << 32);
    let now = server.now();
    let expires = now.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(now);
    request["metadata"] = json!({
        "name": name(call),
        "namespace": call.target.namespace,
        "uid": account.value["metadata"]["uid"],
        "creationTimestamp": stamp(now),
    });
    request["spec"]["expirationSeconds"] = seconds.into();
    request["status"] = json!({"token": random_uid(), "expirationTimestamp": stamp(expires)});
    Ok(request)
}
