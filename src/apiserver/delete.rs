//! DELETE of an object or a collection: grace, finalizers, propagation, preconditions.
//!
//! Sources: apiserver `pkg/registry/rest/delete.go`, `pkg/registry/generic/registry/store.go`;
//! kubernetes `pkg/registry/core/pod/strategy.go`.

use crate::apiserver::list::Selection;
use crate::apiserver::meta;
use crate::apiserver::object::{Object, key_of};
use crate::apiserver::request::{Call, Commit, Target, parse_dry_run, parse_yaml};
use crate::apiserver::resources::Resource;
use crate::apiserver::server::{ApiServer, stamp};
use crate::apiserver::status::Status;
use crate::apiserver::store::{Writer, stored_as};
use crate::apiserver::validate::FieldError;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::sync::Arc;

/// Finalizer that keeps an owner until its dependents are gone.
pub const FOREGROUND: &str = "foregroundDeletion";
/// Finalizer that keeps an owner until its dependents have forgotten it.
pub const ORPHAN: &str = "orphan";

/// What happens to the dependents of a deleted object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    /// The garbage collector deletes them afterwards.
    Background,
    /// They go first.
    Foreground,
    /// They stay and lose their owner reference.
    Orphan,
}

/// `metav1.DeleteOptions`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteOptions {
    /// Seconds a pod has to stop; `None` leaves it to the pod.
    pub grace: Option<i64>,
    /// Fate of the dependents; `None` keeps the finalizers the object has.
    pub propagation: Option<Propagation>,
    /// Required uid.
    pub uid: Option<String>,
    /// Required resource version.
    pub version: Option<String>,
    /// Whether the deletion is kept.
    pub commit: Commit,
}

impl Default for DeleteOptions {
    fn default() -> Self {
        Self { grace: None, propagation: None, uid: None, version: None, commit: Commit::Keep }
    }
}

impl DeleteOptions {
    /// Reads the body, or the query when the body is empty.
    pub fn parse(call: &Call) -> Result<Self, Status> {
        let body: Value = if call.body.iter().all(u8::is_ascii_whitespace) {
            Value::Null
        } else {
            match call.content_type.as_deref() {
                None | Some("application/json") => serde_json::from_slice(&call.body)
                    .map_err(|error| Status::bad_request(format!("json parse error: {error}")))?,
                Some("application/yaml") => parse_yaml(&call.body)?,
                Some(_) => return Err(Status::unsupported_media(&["application/json", "application/yaml"])),
            }
        };
        let kind = body["kind"].as_str().unwrap_or("DeleteOptions");
        if kind != "DeleteOptions" {
            return Err(Status::bad_request(format!("{kind} cannot be handled as a DeleteOptions")));
        }
        let fits = |field: &str, is: fn(&Value) -> bool| body[field].is_null() || is(&body[field]);
        let decodes = (body.is_null() || body.is_object())
            && fits("gracePeriodSeconds", Value::is_i64)
            && fits("propagationPolicy", Value::is_string)
            && fits("orphanDependents", Value::is_boolean)
            && fits("preconditions", Value::is_object)
            && fits("dryRun", Value::is_array);
        if !decodes {
            return Err(Status::bad_request("the body cannot be handled as a DeleteOptions"));
        }
        Self::from_parts(call, &body)
    }

    /// Whether the preconditions hold for this object.
    pub fn holds(&self, object: &Value) -> bool {
        let is = |wanted: &Option<String>, field| {
            wanted.as_deref().is_none_or(|it| it == meta::text(object, field))
        };
        is(&self.uid, "uid") && is(&self.version, "resourceVersion")
    }

    fn from_parts(call: &Call, body: &Value) -> Result<Self, Status> {
        let query = &call.query;
        let grace = match body["gracePeriodSeconds"].as_i64() {
            None => query.number::<i64>("gracePeriodSeconds")?,
            grace => grace,
        };
        let policy = body["propagationPolicy"].as_str().or_else(|| query.get("propagationPolicy"));
        let orphan = match body["orphanDependents"].as_bool() {
            None => query.get("orphanDependents").map(|_| query.flag("orphanDependents")),
            orphan => orphan,
        };
        let propagation = match (policy, orphan) {
            (Some(_), Some(_)) => {
                let detail = "orphanDependents and deletionPropagation cannot be both set";
                let error = FieldError::invalid("propagationPolicy", policy.unwrap_or_default(), detail);
                return Err(Status::invalid_options("DeleteOptions", &[error]));
            }
            (Some("Background"), None) | (None, Some(false)) => Some(Propagation::Background),
            (Some("Foreground"), None) => Some(Propagation::Foreground),
            (Some("Orphan"), None) | (None, Some(true)) => Some(Propagation::Orphan),
            (Some(other), None) => {
                let known = ["Foreground", "Background", "Orphan", "nil"];
                let error = FieldError::not_supported("propagationPolicy", other, &known);
                return Err(Status::invalid_options("DeleteOptions", &[error]));
            }
            (None, None) => None,
        };
        let precondition = |field: &str| body["preconditions"][field].as_str().map(ToOwned::to_owned);
        let dry_run = body["dryRun"][0].as_str().or_else(|| query.get("dryRun"));
        Ok(Self {
            grace: grace.map(|it| if it < 0 { 1 } else { it }),
            propagation,
            uid: precondition("uid"),
            version: precondition("resourceVersion"),
            commit: parse_dry_run(dry_run)?,
        })
    }
}

/// What a deletion left.
#[derive(Debug)]
pub enum Deleted {
    /// Nothing; the last state.
    Gone(Arc<Object>),
    /// The object, waiting for its grace period or finalizers.
    Waiting(Arc<Object>),
}

impl Deleted {
    /// The object in either case.
    pub fn object(&self) -> &Arc<Object> {
        match self {
            Deleted::Gone(object) | Deleted::Waiting(object) => object,
        }
    }
}

/// Deletes the object the path names.
pub fn delete(server: &ApiServer, call: &Call) -> Result<Deleted, Status> {
    let options = DeleteOptions::parse(call)?;
    if call.target.resource.kind == "Job" && options.propagation.is_none() {
        let fate = "child pods are preserved by default when jobs are deleted";
        let advice = "set propagationPolicy=Background to remove them or set propagationPolicy=Orphan to suppress this warning";
        call.tell(vec![format!("{fate}; {advice}")]);
    }
    let mut writer = server.store().write();
    remove(server, &mut writer, &call.target, &options)
}

/// Deletes every object of a collection that the selectors match; the objects, in list order.
pub fn delete_collection(
    server: &ApiServer,
    call: &Call,
    selection: &Selection,
) -> Result<Vec<Arc<Object>>, Status> {
    let options = DeleteOptions::parse(call)?;
    let resource = call.target.resource;
    let (_, objects) = server.store().list(resource, call.target.list_namespace());
    let mut deleted = Vec::new();
    for object in objects.iter().filter(|it| selection.matches(resource, it)) {
        let target = target_of(resource, &object.value);
        let mut writer = server.store().write();
        match remove(server, &mut writer, &target, &options) {
            // As upstream: what was found, not what became of it.
            Ok(_) => deleted.push(Arc::clone(object)),
            // Somebody else deleted it meanwhile.
            Err(status) if status.code == 404 => {}
            Err(status) => return Err(status),
        }
    }
    Ok(deleted)
}

/// The target that names a stored object.
pub fn target_of(resource: &'static Resource, object: &Value) -> Target {
    let key = key_of(object);
    Target { resource, namespace: key.namespace, name: Some(key.name), subresource: String::new() }
}

/// Deletes one object under the writer lock.
pub fn remove(
    server: &ApiServer,
    writer: &mut Writer<'_>,
    target: &Target,
    options: &DeleteOptions,
) -> Result<Deleted, Status> {
    let resource = stored_as(target.resource);
    let name = target.name.as_deref().unwrap_or_default();
    let Some(old) = writer.get(resource, &target.key()) else {
        return Err(Status::not_found(target.resource, name));
    };
    for (field, label, wanted) in
        [("uid", "UID", &options.uid), ("resourceVersion", "ResourceVersion", &options.version)]
    {
        let stored = meta::text(&old.value, field);
        if let Some(wanted) = wanted.as_deref().filter(|it| *it != stored) {
            return Err(Status::precondition(target.resource, name, label, wanted, stored));
        }
    }
    if resource.kind == "Namespace" && matches!(name, "default" | "kube-system" | "kube-public") {
        return Err(Status::forbidden(resource, name, "this namespace may not be deleted"));
    }
    let next = next_state(resource, &old.value, options, server.now());
    let object = match next {
        Next::Gone(last) => {
            let last = last.map_or_else(|| Arc::clone(&old), |it| Arc::new(Object::new(old.version, it)));
            let object = match options.commit {
                Commit::Keep => writer.remove(resource, &last),
                Commit::DryRun => last,
            };
            // Whose registry upstream returns what it deleted.
            let is_returned = resource.group.is_empty()
                && matches!(
                    resource.kind,
                    "Pod" | "Service" | "ServiceAccount" | "PersistentVolume" | "PersistentVolumeClaim"
                );
            return Ok(if is_returned { Deleted::Waiting(object) } else { Deleted::Gone(object) });
        }
        Next::Stays(next) if next == *old.value => old,
        Next::Stays(next) => match options.commit {
            Commit::Keep => writer.put(resource, next),
            Commit::DryRun => Arc::new(Object::new(old.version, next)),
        },
    };
    Ok(Deleted::Waiting(object))
}

/// What a deletion leaves behind.
#[derive(Debug)]
enum Next {
    /// Nothing; the last state, if it is not that of before.
    Gone(Option<Value>),
    /// The object on its way out.
    Stays(Value),
}

/// Kinds whose dependents stay unless told otherwise, as they did before there was garbage collection.
fn leaves_dependents(resource: &Resource) -> bool {
    matches!((resource.group, resource.kind), ("batch", "Job") | ("", "ReplicationController"))
}

fn next_state(resource: &Resource, old: &Value, options: &DeleteOptions, now: Timestamp) -> Next {
    let mut next = old.clone();
    let collected = meta::finalizers(old).iter().any(|it| matches!(*it, FOREGROUND | ORPHAN));
    let by_default = (leaves_dependents(resource) && !collected).then_some(Propagation::Orphan);
    set_propagation(&mut next, options.propagation.or(by_default));
    let terminating = meta::is_terminating(old);
    let grace = if resource.kind == "Pod" { pod_grace(old, options.grace) } else { 0 };
    let held = !meta::finalizers(&next).is_empty()
        || resource.kind == "Namespace"
            && next["spec"]["finalizers"].as_array().is_some_and(|it| !it.is_empty());
    if grace == 0 && !held {
        if resource.kind != "Pod" {
            return Next::Gone(None);
        }
        // The last that is seen of a pod is a deleted one.
        stop(&mut next, now, 0, !terminating);
        return Next::Gone(Some(next));
    }
    if terminating {
        // Later deletions may only shorten what is left.
        let current = old["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or(0);
        if options.grace.is_some() && grace < current {
            let stamped =
                old["metadata"]["deletionTimestamp"].as_str().and_then(|it| it.parse::<Timestamp>().ok());
            let start = stamped.and_then(|it| it.checked_sub(SignedDuration::from_secs(current)).ok());
            let start = start.unwrap_or(now);
            let end = start.checked_add(SignedDuration::from_secs(grace)).unwrap_or(start);
            let metadata = meta::metadata(&mut next);
            metadata.insert("deletionTimestamp".into(), stamp(end).into());
            metadata.insert("deletionGracePeriodSeconds".into(), grace.into());
        }
        return Next::Stays(next);
    }
    stop(&mut next, now, grace, true);
    if resource.kind == "Namespace" {
        next["status"]["phase"] = "Terminating".into();
    }
    Next::Stays(next)
}

/// Marks an object as deleted, with so many seconds from now.
fn stop(object: &mut Value, now: Timestamp, grace: i64, is_first: bool) {
    let end = now.checked_add(SignedDuration::from_secs(grace)).unwrap_or(now);
    let metadata = meta::metadata(object);
    metadata.insert("deletionTimestamp".into(), stamp(end).into());
    metadata.insert("deletionGracePeriodSeconds".into(), grace.into());
    let generation = metadata.get("generation").and_then(Value::as_i64).filter(|it| is_first && *it > 0);
    if let Some(generation) = generation {
        metadata.insert("generation".into(), (generation + 1).into());
    }
}

/// Seconds a pod may take; pods that do not run anywhere need none.
fn pod_grace(pod: &Value, option: Option<i64>) -> i64 {
    let idle = pod["spec"]["nodeName"].as_str().unwrap_or_default().is_empty()
        || matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
    if idle {
        return 0;
    }
    let terminating = pod["metadata"]["deletionGracePeriodSeconds"].as_i64();
    option
        .or(terminating)
        .or_else(|| pod["spec"]["terminationGracePeriodSeconds"].as_i64())
        .unwrap_or(30)
        .max(0)
}

/// The finalizers of the garbage collector follow the latest policy asked for.
fn set_propagation(object: &mut Value, propagation: Option<Propagation>) {
    let Some(propagation) = propagation else { return };
    let mut finalizers: Vec<String> = meta::finalizers(object)
        .into_iter()
        .filter(|it| *it != FOREGROUND && *it != ORPHAN)
        .map(ToOwned::to_owned)
        .collect();
    match propagation {
        Propagation::Background => {}
        Propagation::Foreground => finalizers.push(FOREGROUND.to_owned()),
        Propagation::Orphan => finalizers.push(ORPHAN.to_owned()),
    }
    let metadata = meta::metadata(object);
    if finalizers.is_empty() {
        metadata.remove("finalizers");
    } else {
        metadata.insert("finalizers".into(), json!(finalizers));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apiserver::resources;

    fn pod(spec: Value, metadata: Value) -> Value {
        json!({"metadata": metadata, "spec": spec, "status": {"phase": "Running"}})
    }

    #[test]
    fn graceful_pods() {
        let now: Timestamp = "2026-01-01T00:00:10Z".parse().unwrap();
        let pods = resources::find("", "v1", "pods").unwrap();
        let bound = json!({"nodeName": "n", "terminationGracePeriodSeconds": 30});
        let fresh = json!({"name": "p", "generation": 1});
        let dying = json!({"name": "p", "generation": 2, "deletionTimestamp": "2026-01-01T00:00:30Z", "deletionGracePeriodSeconds": 30});
        #[rustfmt::skip]
        let cases = [
            ("an unbound pod goes at once",            json!({}),     fresh.clone(), None,     None),
            ("a bound pod gets its own period",        bound.clone(), fresh.clone(), None,     Some(("2026-01-01T00:00:40Z", 30, 2))),
            ("the caller's period wins",               bound.clone(), fresh.clone(), Some(5),  Some(("2026-01-01T00:00:15Z", 5, 2))),
            ("zero removes at once",                   bound.clone(), fresh,         Some(0),  None),
            ("a second deletion changes nothing",      bound.clone(), dying.clone(), None,     Some(("2026-01-01T00:00:30Z", 30, 2))),
            ("it may shorten, from the first request", bound.clone(), dying.clone(), Some(10), Some(("2026-01-01T00:00:10Z", 10, 2))),
            ("it may not lengthen",                    bound.clone(), dying.clone(), Some(99), Some(("2026-01-01T00:00:30Z", 30, 2))),
            ("zero ends the wait",                     bound,         dying,         Some(0),  None),
        ];
        for (why, spec, metadata, grace, want) in cases {
            let options = DeleteOptions { grace, ..DeleteOptions::default() };
            let next = match next_state(pods, &pod(spec, metadata), &options, now) {
                Next::Stays(it) => Some(it),
                Next::Gone(_) => None,
            };
            let got = next.as_ref().map(|it| {
                let it = &it["metadata"];
                (
                    it["deletionTimestamp"].as_str().unwrap(),
                    it["deletionGracePeriodSeconds"].as_i64().unwrap(),
                    it["generation"].as_i64().unwrap(),
                )
            });
            assert_eq!(got, want, "{why}");
        }
    }

    #[test]
    fn propagation_sets_one_finalizer() {
        let mut object = json!({"metadata": {"finalizers": ["a", "orphan"]}});
        set_propagation(&mut object, Some(Propagation::Foreground));
        assert_eq!(object["metadata"]["finalizers"], json!(["a", "foregroundDeletion"]));
        set_propagation(&mut object, None);
        assert_eq!(object["metadata"]["finalizers"], json!(["a", "foregroundDeletion"]));
        set_propagation(&mut object, Some(Propagation::Background));
        assert_eq!(object["metadata"]["finalizers"], json!(["a"]));
    }
}
