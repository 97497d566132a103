//! PATCH: the four patch types, applied under the writer lock to the latest object.
//!
//! Source: apiserver `pkg/endpoints/handlers/patch.go`.

use crate::apiserver::patch::{self, PatchError};
use crate::apiserver::request::{Call, check_shape, opaque_field, parse_yaml, require_type};
use crate::apiserver::resources::Resource;
use crate::apiserver::server::ApiServer;
use crate::apiserver::ssa::{self, ApplyError, ApplyOptions};
use crate::apiserver::status::Status;
use crate::apiserver::store::stored_as;
use crate::apiserver::update::{self, Part, Written};
use crate::apiserver::validate::{self, FieldError};
use crate::apiserver::{create, meta, strict, views};
use serde_json::{Value, json};

/// The patch types, as `415` lists them.
const ACCEPTED: &[&str] = &[
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];

/// How the body is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatchType {
    /// RFC 6902.
    Json,
    /// RFC 7396.
    Merge,
    /// Strategic merge patch.
    Strategic,
    /// Server-side apply.
    Apply,
}

/// Reads the Content-Type and checks the options that belong to one type only.
pub fn patch_type(call: &Call) -> Result<PatchType, Status> {
    let kind = match call.content_type.as_deref() {
        Some("application/json-patch+json") => PatchType::Json,
        Some("application/merge-patch+json") => PatchType::Merge,
        Some("application/strategic-merge-patch+json") => PatchType::Strategic,
        Some("application/apply-patch+yaml") => PatchType::Apply,
        _ => return Err(Status::unsupported_media(ACCEPTED)),
    };
    let mut errors = Vec::new();
    if kind == PatchType::Apply && call.query.get("fieldManager").is_none() {
        errors.push(FieldError::required("fieldManager", "is required for apply patch"));
    }
    if kind != PatchType::Apply && call.query.get("force").is_some() {
        errors.push(FieldError::forbidden("force", "may not be specified for non-apply patch"));
    }
    if errors.is_empty() { Ok(kind) } else { Err(Status::invalid_options("PatchOptions", &errors)) }
}

/// Patches the object the path names.
pub fn patch(server: &ApiServer, call: &Call, part: Part) -> Result<Written, Status> {
    let kind = patch_type(call)?;
    let commit = call.commit()?;
    let target = &call.target;
    let name = target.name.as_deref().unwrap_or_default();
    let mut writer = server.store().write();
    let old = writer.get(target.resource, &target.key());
    let Some(old) = old else {
        if kind == PatchType::Apply && part == Part::Main {
            let object = applied(server, call, None)?;
            let uid = meta::text(&object, "uid");
            if !uid.is_empty() {
                let what = "uid mismatch: the provided object specified uid";
                let why = format!("{what} {uid}, and no existing object was found");
                return Err(Status::conflict(target.resource, name, &why));
            }
            let made = create::insert(server, &mut writer, target, object, commit, None)?;
            call.tell(validate::warnings(target.resource, None, &made.value));
            return Ok(Written::Created(made));
        }
        return Err(Status::not_found(target.resource, name));
    };
    let current = views::from_stored(target.resource, &old.value);
    let mut patched = if kind == PatchType::Apply {
        applied(server, call, Some(&current))?
    } else {
        apply_to(call, target.resource, kind, &current)?
    };
    check_shape(&patched).map_err(|it| Status::unfit_patch(&patched, &it.message))?;
    meta::strip_nulls(&mut patched, opaque_field(target.resource));
    require_type(&mut patched, &target.resource.api_version(), target.resource.kind)
        .map_err(|it| Status::unfit_patch(&patched, &it.message))?;
    let (sent, stored) = (meta::text(&patched, "uid"), meta::text(&old.value, "uid"));
    if !sent.is_empty() && sent != stored {
        let error = FieldError::invalid("metadata.uid", sent, "field is immutable");
        return Err(Status::invalid(target.resource, name, &[error]));
    }
    if kind != PatchType::Apply {
        check_fields(call, kind, &current, &mut patched)?;
    }
    let patched = views::to_stored(target.resource, patched);
    // An apply has written its own entry.
    let by = (kind != PatchType::Apply).then(|| server.writer_of(call));
    let new = update::store(&mut writer, target, &old, patched, part, commit, by.as_ref())?;
    call.tell(validate::warnings(target.resource, Some(&old.value), &new.value));
    Ok(Written::Updated(new))
}

/// Drops from the result what its kind does not have, and tells or refuses it as `fieldValidation` says.
fn check_fields(call: &Call, kind: PatchType, current: &Value, patched: &mut Value) -> Result<(), Status> {
    let resource = call.target.resource;
    let found = validate::find_unknown(resource, patched).map_err(|it| Status::unfit_patch(patched, &it))?;
    if call.validation() == "Ignore" {
        validate::drop_fields(patched, &found);
        return Ok(());
    }
    let mut unknown: Vec<&String> = found.iter().collect();
    if !unknown.is_empty() {
        // Fields the object had before are nobody's mistake now.
        let before = validate::unknown_fields(resource, current);
        unknown.retain(|it| !before.contains(*it));
    }
    let mut complaints = strict::in_patch(&call.body, kind == PatchType::Json);
    complaints.extend(unknown.iter().map(|it| format!("unknown field {it:?}")));
    if call.validation() == "Strict" && !complaints.is_empty() {
        let text = format!("strict decoding error: {}", complaints.join(", "));
        return Err(Status::unfit_patch(patched, &text));
    }
    validate::drop_fields(patched, &found);
    call.tell(complaints);
    Ok(())
}

/// The result of a patch other than apply on `current`, an object of `resource`.
pub fn apply_to(call: &Call, resource: &Resource, kind: PatchType, current: &Value) -> Result<Value, Status> {
    let patched = match kind {
        PatchType::Json => patch::json_patch(current, &call.body),
        PatchType::Merge => Ok(patch::merge_patch(current, &json_body(call, kind)?)),
        PatchType::Strategic => patch::strategic_merge_patch(resource, current, &json_body(call, kind)?),
        PatchType::Apply => return Err(Status::unsupported_media(&ACCEPTED[..3])),
    };
    let patched = patched.map_err(|error| match error {
        PatchError::BadRequest(message) => Status::bad_request(message),
        PatchError::Invalid(message) => Status::invalid_patch(message),
        PatchError::Untyped(message) => Status::untyped(message),
    })?;
    if !patched.is_object() {
        return Err(Status::bad_request("the patch does not result in a JSON object"));
    }
    Ok(patched)
}

fn json_body(call: &Call, kind: PatchType) -> Result<Value, Status> {
    let patch: Value = serde_json::from_slice(&call.body)
        .map_err(|error| Status::bad_request(format!("error decoding patch: {error}")))?;
    match (kind, patch) {
        (_, Value::Object(patch)) => Ok(Value::Object(patch)),
        (PatchType::Strategic, Value::Null) => Ok(Value::Object(serde_json::Map::new())),
        (PatchType::Merge, Value::Null) => Err(Status::bad_request("Invalid JSON Patch")),
        _ => Err(Status::bad_request("error decoding patch: expected a JSON object")),
    }
}

/// A workload after an apply to its `scale`: the replicas change hands, and nothing else.
pub fn applied_scale(call: &Call, live: &Value) -> Result<Value, Status> {
    let resource = call.target.resource;
    let name = call.target.name.as_deref().unwrap_or_default();
    let scale = parse_yaml(&call.body)?;
    if scale["apiVersion"] != "autoscaling/v1" || scale["kind"] != "Scale" {
        let text = |field: &str| scale[field].as_str().unwrap_or_default();
        return Err(Status::bad_request(format!(
            "invalid object type: {}, Kind={}",
            text("apiVersion"),
            text("kind")
        )));
    }
    create::check_name(name, &scale)?;
    let config = json!({"apiVersion": resource.api_version(), "kind": resource.kind,
        "metadata": {"name": name}, "spec": {"replicas": scale["spec"]["replicas"]}});
    let options = ApplyOptions {
        manager: call.query.get("fieldManager").unwrap_or_default(),
        force: call.query.flag("force"),
        subresource: "scale",
        now: "",
    };
    ssa::apply(resource, Some(live), &config, &options).map_err(refused)
}

fn refused(error: ApplyError) -> Status {
    match error {
        ApplyError::Conflict { message, causes } => Status::apply_conflict(message, causes),
        ApplyError::BadRequest(message) => Status::bad_request(message),
        ApplyError::Typed(message) => Status::untyped(message),
    }
}

fn applied(server: &ApiServer, call: &Call, live: Option<&Value>) -> Result<Value, Status> {
    let resource = call.target.resource;
    let name = call.target.name.as_deref().unwrap_or_default();
    // kubectl and kube-rs send JSON, which is faster to read and the common case.
    let config: Value = match serde_json::from_slice(&call.body) {
        Ok(config) => config,
        Err(_) => {
            let config = parse_yaml(&call.body)?;
            match strict::twice_in_yaml(&call.body) {
                Some(told) if call.validation() == "Strict" => {
                    let why = format!("error strict decoding YAML: error converting YAML to JSON: {told}");
                    return Err(Status::bad_request(why));
                }
                Some(told) if call.validation() == "Warn" => call.tell(strict::warnings(&told)),
                _ => {}
            }
            config
        }
    };
    if !config.is_object() {
        return Err(Status::bad_request("the applied configuration is not an object"));
    }
    check_shape(&config)?;
    let (version, named) = (&config["apiVersion"], &config["kind"]);
    let is_empty = |it: &Value| it.as_str().unwrap_or_default().is_empty();
    let is_other = *version != resource.api_version().as_str() || *named != resource.kind;
    if is_empty(version) || is_empty(named) || is_other {
        let (version, kind) = (version.as_str().unwrap_or_default(), named.as_str().unwrap_or_default());
        let slash = if version.contains('/') { "" } else { "/" };
        return Err(Status::bad_request(format!("invalid object type: {slash}{version}, Kind={kind}")));
    }
    create::check_name(name, &config)?;
    let now = server.now_text();
    let options = ApplyOptions {
        manager: call.query.get("fieldManager").unwrap_or_default(),
        force: call.query.flag("force"),
        subresource: &call.target.subresource,
        now: &now,
    };
    // Objects that are stored in another shape are merged as sent; nobody applies Events.
    debug_assert!(live.is_none() || stored_as(resource).plural == resource.plural);
    ssa::apply(resource, live, &config, &options).map_err(refused)
}
