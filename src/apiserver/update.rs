//! PUT, and the storing half of every patch.
//!
//! Sources: apiserver `pkg/registry/rest/update.go`, `pkg/registry/generic/registry/store.go`; the strategies
//! of kubernetes `pkg/registry/*/*/strategy.go`.

use crate::apiserver::object::Object;
use crate::apiserver::request::{Call, Commit, Target};
use crate::apiserver::resources::Resource;
use crate::apiserver::server::{ApiServer, random};
use crate::apiserver::ssa::updates::{self, Writer as ManagedBy};
use crate::apiserver::status::Status;
use crate::apiserver::store::{Writer, stored_as};
use crate::apiserver::validate::{self, FieldError};
use crate::apiserver::{admission, allocate, create, defaults, meta, views};
use serde_json::{Value, json};
use std::sync::Arc;

/// Which part of an object a write may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Everything but status.
    Main,
    /// Status, labels, annotations, finalizers.
    Status,
    /// A subresource whose caller already limited what differs.
    Narrow,
}

/// What a PUT did.
#[derive(Debug)]
pub enum Written {
    /// The object did not exist.
    Created(Arc<Object>),
    /// It did.
    Updated(Arc<Object>),
}

/// Replaces the object named by the path with the request body.
pub fn replace(server: &ApiServer, call: &Call, part: Part) -> Result<Written, Status> {
    let object = call.typed_object()?;
    let commit = call.commit()?;
    let target = &call.target;
    let name = target.name.as_deref().unwrap_or_default();
    create::check_name(name, &object)?;
    let by = server.writer_of(call);
    let mut writer = server.store().write();
    let Some(old) = writer.get(target.resource, &target.key()) else {
        if target.resource.create_on_update && part == Part::Main {
            let mut object = object;
            meta::metadata(&mut object).remove("resourceVersion");
            return create::insert(server, &mut writer, target, object, commit, Some(&by))
                .map(Written::Created);
        }
        return Err(Status::not_found(target.resource, name));
    };
    let strict = matches!(target.resource.kind, "Lease" | "PodDisruptionBudget");
    if strict && meta::text(&object, "resourceVersion").is_empty() {
        let error = FieldError::invalid("metadata.resourceVersion", 0, "must be specified for an update");
        return Err(Status::invalid_resource(target.resource, name, &[error]));
    }
    let object = views::to_stored(target.resource, object);
    let new = store(&mut writer, target, &old, object, part, commit, Some(&by))?;
    call.tell(validate::warnings(target.resource, Some(&old.value), &new.value));
    Ok(Written::Updated(new))
}

/// Puts `new` in the place of `old`: fixes what a client may not change, defaults, validates, commits.
///
/// A write that changes nothing returns `old`; one that frees an object on its way out removes it. `by` is recorded
/// as manager of what changes; an apply has done so itself.
pub fn store(
    writer: &mut Writer<'_>,
    target: &Target,
    old: &Arc<Object>,
    mut new: Value,
    part: Part,
    commit: Commit,
    by: Option<&ManagedBy>,
) -> Result<Arc<Object>, Status> {
    let resource = stored_as(target.resource);
    let name = meta::text(&old.value, "name");
    check_identity(target, &old.value, &mut new)?;
    if meta::is_too_deep(&new) {
        return Err(Status::bad_request("the object nests too deep"));
    }
    let immutable = if part == Part::Main { immutable_errors(&old.value, &new) } else { Vec::new() };
    if !immutable.is_empty() {
        return Err(Status::invalid(target.resource, name, &immutable));
    }
    restore(resource, &old.value, &mut new, part, by.is_none());
    if resource.kind == "Service" && part == Part::Main {
        allocate::carry_over(&old.value, &mut new);
    }
    // The content of the subresources behind `Narrow` is final: an emptied list must not come back.
    if part != Part::Narrow {
        defaults::apply(resource, &mut new);
    }
    if resource.kind == "Namespace" && part == Part::Main {
        meta::carry_top(&mut new, &old.value, "spec");
    }
    validate::decode_check(resource, &new).map_err(Status::bad_request)?;
    if let Some(by) = by {
        updates::record(resource, Some(&old.value), &mut new, by, &target.subresource);
    }
    if resource.kind == "Service" && part == Part::Main {
        let errors = writer.allocations.assign(&mut new, Some(&old.value), random());
        if !errors.is_empty() {
            return Err(Status::invalid(target.resource, name, &errors));
        }
        allocate::drop_leftovers(&old.value, &mut new);
    }
    bump_generation(resource, &old.value, &mut new);
    let mut errors = finalizer_errors(&old.value, &new);
    errors.extend(match part {
        Part::Main | Part::Narrow => {
            validate::update(create::rules_of(target.resource, resource), &old.value, &new)
        }
        Part::Status => validate::update_status(resource, &old.value, &new),
    });
    if !errors.is_empty() {
        return Err(Status::invalid(resource, name, &errors));
    }
    admission::update(writer, resource, &old.value, &new)?;
    if meta::same_but_for_times(&old.value, &new) {
        return Ok(Arc::clone(old));
    }
    if commit == Commit::DryRun {
        return Ok(Arc::new(Object::new(old.version, new)));
    }
    if is_released(resource, &new) {
        // The event tells what was stored last, the answer what was written.
        let removed = writer.remove(resource, old);
        new["metadata"]["resourceVersion"] = removed.version.to_string().into();
        return Ok(Arc::new(Object::new(removed.version, new)));
    }
    Ok(writer.put(resource, new))
}

/// Name, namespace, uid and resourceVersion of the body must be those of the stored object.
fn check_identity(target: &Target, old: &Value, new: &mut Value) -> Result<(), Status> {
    let name = meta::text(old, "name");
    create::check_name(name, new)?;
    let namespace = meta::text(new, "namespace");
    if !namespace.is_empty() && namespace != meta::text(old, "namespace") {
        return Err(Status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    let version = meta::text(new, "resourceVersion");
    if !version.is_empty() && version.parse::<u64>().is_err() {
        return Err(Status::untyped(format!("strconv.ParseUint: parsing {version:?}: invalid syntax")));
    }
    if !version.is_empty() && version != "0" && version != meta::text(old, "resourceVersion") {
        return Err(Status::stale(target.resource, name));
    }
    let (sent, stored) = (meta::text(new, "uid"), meta::text(old, "uid"));
    if !sent.is_empty() && sent != stored {
        return Err(Status::other_uid(target.resource, meta::text(old, "namespace"), name, sent, stored));
    }
    Ok(())
}

/// When an object goes is not for a write to say.
fn immutable_errors(old: &Value, new: &Value) -> Vec<FieldError> {
    let sent = |field: &str| new["metadata"].get(field).filter(|it| !it.is_null()).cloned();
    ["deletionTimestamp", "deletionGracePeriodSeconds"]
        .into_iter()
        .filter_map(|field| Some((field, sent(field)?)))
        .filter(|it| old["metadata"].get(it.0) != Some(&it.1))
        .map(|(field, value)| FieldError::invalid(format!("metadata.{field}"), value, "field is immutable"))
        .collect()
}

/// Copies back what this write may not touch.
fn restore(resource: &Resource, old: &Value, new: &mut Value, part: Part, was_applied: bool) {
    if part == Part::Status {
        let mut restored = old.clone();
        meta::carry_top(&mut restored, new, "status");
        for field in ["labels", "annotations", "finalizers", "ownerReferences"] {
            // Old kubelets spoilt the owners of their pods.
            if !matches!((resource.kind, field), ("Deployment", "labels") | ("Pod", "ownerReferences")) {
                meta::carry(&mut restored, new, field);
            }
        }
        if was_applied {
            meta::carry(&mut restored, new, "managedFields");
        }
        *new = restored;
    } else if resource.has_status() && part == Part::Main {
        meta::carry_top(new, old, "status");
    }
    let fixed = [
        "namespace",
        "uid",
        "resourceVersion",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
    ];
    for field in fixed {
        meta::carry(new, old, field);
    }
    let metadata = meta::metadata(new);
    metadata.remove("selfLink");
    // Clients that do not know managedFields leave them out; an empty list, or one empty entry, resets them.
    match metadata.get("managedFields") {
        Some(Value::Array(entries)) if entries.iter().all(|it| it == &json!({})) => {
            metadata.remove("managedFields");
        }
        Some(Value::Array(entries)) if entries.iter().all(is_readable) => {}
        // Those that cannot be read neither.
        _ => meta::carry(new, old, "managedFields"),
    }
    // Empty maps and lists are stored as absent, the way Go's omitempty writes them.
    for field in ["labels", "annotations", "finalizers", "ownerReferences"] {
        let metadata = meta::metadata(new);
        let empty = match metadata.get(field) {
            Some(Value::Object(map)) => map.is_empty(),
            Some(Value::Array(items)) => items.is_empty(),
            _ => false,
        };
        if empty {
            metadata.remove(field);
        }
    }
}

/// Whether an entry of managedFields can be understood; one that cannot leaves things as they were.
fn is_readable(entry: &Value) -> bool {
    matches!(entry["operation"].as_str(), Some("Apply" | "Update")) && entry["fieldsType"] == "FieldsV1"
}

/// `metadata.generation` counts changes of what the user asks for.
fn bump_generation(resource: &Resource, old: &Value, new: &mut Value) {
    if !resource.generation {
        return;
    }
    let changed = if resource.kind == "EndpointSlice" {
        !outside(old).eq(outside(new)) || old["metadata"].get("labels") != new["metadata"].get("labels")
    } else {
        // Annotations of Deployments are copied to their ReplicaSets.
        let annotations = |it: &Value| it["metadata"].get("annotations").cloned();
        old.get("spec") != new.get("spec")
            || resource.kind == "Deployment" && annotations(old) != annotations(new)
    };
    if changed {
        let generation = old["metadata"]["generation"].as_i64().unwrap_or(0) + 1;
        meta::metadata(new).insert("generation".into(), generation.into());
    }
}

/// Everything but the metadata.
fn outside(object: &Value) -> impl Iterator<Item = (&String, &Value)> {
    object.as_object().into_iter().flatten().filter(|it| it.0 != "metadata")
}

/// A deleting object may lose finalizers but gain none.
fn finalizer_errors(old: &Value, new: &Value) -> Vec<FieldError> {
    if !meta::is_terminating(old) {
        return Vec::new();
    }
    let before = meta::finalizers(old);
    let added: Vec<String> = meta::finalizers(new)
        .into_iter()
        .filter(|it| !before.contains(it))
        .map(|it| format!("{it:?}"))
        .collect();
    if added.is_empty() {
        return Vec::new();
    }
    vec![FieldError::forbidden(
        "metadata.finalizers",
        format!(
            "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
            added.join(", ")
        ),
    )]
}

/// Whether a deleting object has nothing left to wait for.
fn is_released(resource: &Resource, object: &Value) -> bool {
    meta::is_terminating(object)
        && meta::finalizers(object).is_empty()
        && object["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or(0) == 0
        && (resource.kind != "Namespace" || object["spec"]["finalizers"].as_array().is_none_or(Vec::is_empty))
}
