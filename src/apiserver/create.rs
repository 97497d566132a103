//! POST of an object, and the creating half of PUT and apply.
//!
//! Source of the order of steps: apiserver `pkg/registry/generic/registry/store.go`, `pkg/registry/rest/create.go`.

use crate::apiserver::object::{Key, Object};
use crate::apiserver::request::{Call, Commit, Target};
use crate::apiserver::resources::{self, Resource, Scope};
use crate::apiserver::server::{ApiServer, random};
use crate::apiserver::ssa::updates::{self, Writer as ManagedBy};
use crate::apiserver::status::Status;
use crate::apiserver::store::{Writer, stored_as};
use crate::apiserver::{admission, defaults, families, meta, validate, views};
use serde_json::{Value, json};
use std::sync::Arc;

/// Characters of generated suffixes: no vowels, nothing that looks like another character.
const SUFFIX_ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
/// Length of generated suffixes.
const SUFFIX_LENGTH: usize = 5;
/// Longest base of a generated name: the result fits a DNS label.
const GENERATED_BASE: usize = 58;
/// Names tried before giving up on `generateName`.
const GENERATE_ATTEMPTS: u64 = 8;

/// Creates the object in the request body.
pub fn create(server: &ApiServer, call: &Call) -> Result<Arc<Object>, Status> {
    let object = call.typed_object()?;
    let commit = call.commit()?;
    let mut writer = server.store().write();
    let made = insert(server, &mut writer, &call.target, object, commit, Some(&server.writer_of(call)))?;
    call.tell(validate::warnings(call.target.resource, None, &made.value));
    Ok(made)
}

/// Creates `object` (of the target's resource) under the writer lock. The target's name, if any, must agree.
///
/// `by` is recorded as its manager; an apply has done so itself.
pub fn insert(
    server: &ApiServer,
    writer: &mut Writer<'_>,
    target: &Target,
    object: Value,
    commit: Commit,
    by: Option<&ManagedBy>,
) -> Result<Arc<Object>, Status> {
    let resource = stored_as(target.resource);
    let mut object = views::to_stored(target.resource, object);
    settle_namespace(target.resource, &target.namespace, &mut object)?;
    if let Some(name) = &target.name {
        check_name(name, &object)?;
    }
    if !meta::text(&object, "resourceVersion").is_empty() && meta::text(&object, "resourceVersion") != "0" {
        return Err(Status::untyped("resourceVersion should not be set on objects to be created"));
    }
    if meta::is_too_deep(&object) {
        return Err(Status::bad_request("the object nests too deep"));
    }
    prepare(resource, &mut object);
    let name = settle_name(writer, resource, &mut object)?;
    require_namespace(writer, resource, &object, &name)?;
    defaults::apply(resource, &mut object);
    if let Some(by) = by {
        updates::record(resource, None, &mut object, by, "");
    }
    admission::create(server, writer, resource, &mut object);
    let metadata = meta::metadata(&mut object);
    metadata.insert("uid".into(), server.new_uid().into());
    metadata.insert("creationTimestamp".into(), server.now_text().into());
    defaults::identified(resource, &mut object);
    validate::decode_check(resource, &object).map_err(Status::bad_request)?;
    // As upstream: what cannot be had is told before anything else is looked at.
    let mut errors = Vec::new();
    if resource.kind == "Service" {
        families::normalize(None, &mut object);
        errors = writer.allocations.assign(&mut object, None, random());
    }
    if errors.is_empty() {
        errors = validate::create(rules_of(target.resource, resource), &object);
    }
    if !errors.is_empty() {
        return Err(Status::invalid(resource, &name, &errors));
    }
    let key = Key::new(meta::text(&object, "namespace"), name.as_str());
    if let Some(existing) = writer.get(resource, &key) {
        return Err(if !meta::text(&object, "generateName").is_empty() {
            Status::generate_name_conflict(target.resource, &name)
        } else if meta::is_terminating(&existing.value) {
            Status::being_deleted(target.resource, &name)
        } else {
            Status::already_exists(target.resource, &name)
        });
    }
    Ok(match commit {
        Commit::Keep => writer.put(resource, object),
        Commit::DryRun => Arc::new(Object::new(0, object)),
    })
}

/// Events are checked by the rules of the group they come in by, everything else by those of what is stored.
pub fn rules_of(asked: &'static Resource, stored: &'static Resource) -> &'static Resource {
    if stored.kind == "Event" { asked } else { stored }
}

/// The namespace of the body must be that of the path; absent, it is filled in.
fn settle_namespace(resource: &Resource, namespace: &str, object: &mut Value) -> Result<(), Status> {
    let sent = meta::text(object, "namespace").to_owned();
    match resource.scope {
        Scope::Cluster => {
            meta::metadata(object).remove("namespace");
            Ok(())
        }
        Scope::Namespaced if namespace.is_empty() => {
            Err(Status::bad_request("an empty namespace may not be set during creation"))
        }
        Scope::Namespaced if sent.is_empty() || sent == namespace => {
            meta::metadata(object).insert("namespace".into(), namespace.into());
            Ok(())
        }
        Scope::Namespaced => Err(Status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        )),
    }
}

/// The name of the body must be that of the path.
pub fn check_name(name: &str, object: &Value) -> Result<(), Status> {
    let sent = meta::text(object, "name");
    if sent == name {
        return Ok(());
    }
    if sent.is_empty() {
        return Err(Status::bad_request(format!(
            "the name of the object ({name} based on URL) was undeterminable: name must be provided"
        )));
    }
    Err(Status::bad_request(format!(
        "the name of the object ({sent}) does not match the name on the URL ({name})"
    )))
}

/// Wipes what only the server sets.
fn prepare(resource: &Resource, object: &mut Value) {
    let metadata = meta::metadata(object);
    let wiped = [
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "selfLink",
        "resourceVersion",
    ];
    for field in wiped {
        metadata.remove(field);
    }
    if resource.generation {
        metadata.insert("generation".into(), json!(1));
    }
    // Kubelets register their node together with its status.
    if resource.has_status() && resource.kind != "Node" {
        meta::carry_top(object, &Value::Null, "status");
    }
}

/// `metadata.name`, generated from `generateName` when absent.
fn settle_name(writer: &Writer<'_>, resource: &Resource, object: &mut Value) -> Result<String, Status> {
    let name = meta::text(object, "name").to_owned();
    let base = meta::text(object, "generateName").to_owned();
    if !name.is_empty() {
        return Ok(name);
    }
    if base.is_empty() {
        let error = validate::FieldError::required("metadata.name", "name or generateName is required");
        return Err(Status::invalid(resource, "", &[error]));
    }
    let namespace = meta::text(object, "namespace").to_owned();
    let mut last = String::new();
    for _ in 0..GENERATE_ATTEMPTS {
        last = generated_name(&base, random());
        if writer.get(resource, &Key::new(namespace.as_str(), last.as_str())).is_none() {
            meta::metadata(object).insert("name".into(), last.as_str().into());
            return Ok(last);
        }
    }
    Err(Status::generate_name_conflict(resource, &last))
}

/// `base`, cut so that the result fits a DNS label, and five characters taken from `random`.
fn generated_name(base: &str, random: u64) -> String {
    let end = base.char_indices().map(|(index, _)| index).nth(GENERATED_BASE).unwrap_or(base.len());
    let mut name = base[..end].to_owned();
    let mut rest = random;
    for _ in 0..SUFFIX_LENGTH {
        let letters = SUFFIX_ALPHABET.len() as u64;
        name.push(char::from(SUFFIX_ALPHABET[usize::try_from(rest % letters).unwrap_or(0)]));
        rest /= letters;
    }
    name
}

/// The namespace must exist and not be on its way out.
fn require_namespace(
    writer: &Writer<'_>,
    resource: &Resource,
    object: &Value,
    name: &str,
) -> Result<(), Status> {
    if resource.scope == Scope::Cluster {
        return Ok(());
    }
    let namespaces = resources::find("", "v1", "namespaces").expect("namespaces are served");
    let namespace = meta::text(object, "namespace");
    let Some(found) = writer.get(namespaces, &Key::new("", namespace)) else {
        return Err(Status::not_found(namespaces, namespace));
    };
    if meta::is_terminating(&found.value) {
        return Err(Status::namespace_terminating(resource, name, namespace));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_names_fit_a_label() {
        let long = "a".repeat(70);
        assert_eq!(generated_name(&long, 0).len(), 63);
        assert_eq!(generated_name("web-", 0), "web-bbbbb");
        assert_eq!(generated_name("web-", 27), "web-bcbbb");
    }
}
