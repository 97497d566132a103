//! The `scale` subresource: autoscaling/v1 Scale as a window on a workload.

use crate::apiserver::meta;
use crate::apiserver::patches::{self, PatchType};
use crate::apiserver::request::{Call, require_type};
use crate::apiserver::server::ApiServer;
use crate::apiserver::ssa::updates::Writer;
use crate::apiserver::status::Status;
use crate::apiserver::strict;
use crate::apiserver::update::{self, Part, Written};
use crate::apiserver::validate::FieldError;
use serde_json::{Value, json};

/// GET.
pub fn get(server: &ApiServer, call: &Call) -> Result<Value, Status> {
    let target = &call.target;
    let found = server.store().get(target.resource, &target.key());
    let found = found
        .ok_or_else(|| Status::not_found(target.resource, target.name.as_deref().unwrap_or_default()))?;
    Ok(scale_of(&found.value))
}

/// PUT and PATCH.
pub fn write(server: &ApiServer, call: &Call, patch: Option<PatchType>) -> Result<Value, Status> {
    let target = &call.target;
    let name = target.name.as_deref().unwrap_or_default();
    let commit = call.commit()?;
    let by = Writer { now: None, ..server.writer_of(call) };
    let mut writer = server.store().write();
    let Some(old) = writer.get(target.resource, &target.key()) else {
        return Err(Status::not_found(target.resource, name));
    };
    let current = scale_of(&old.value);
    if patch == Some(PatchType::Apply) {
        let object = patches::applied_scale(call, &old.value)?;
        let written = update::store(&mut writer, target, &old, object, Part::Main, commit, None)?;
        return Ok(scale_of(&written.value));
    }
    let mut scale = match patch {
        Some(kind) => patches::apply_to(call, target.resource, kind, &current)?,
        None => call.object()?,
    };
    meta::strip_nulls(&mut scale, None);
    require_type(&mut scale, "autoscaling/v1", "Scale")?;
    check_fields(call, patch.is_some(), &scale)?;
    let replicas = scale["spec"]["replicas"].as_i64().unwrap_or(0);
    if replicas < 0 || i32::try_from(replicas).is_err() {
        let detail = "must be greater than or equal to 0";
        let error = FieldError::invalid("spec.replicas", replicas, detail);
        return Err(Status::invalid(&SCALE, name, &[error]));
    }
    let mut object = old.value.clone();
    object["spec"]["replicas"] = replicas.into();
    for field in ["name", "namespace", "uid", "resourceVersion"] {
        let sent = meta::text(&scale, field).to_owned();
        if !sent.is_empty() {
            meta::metadata(&mut object).insert(field.into(), sent.into());
        }
    }
    let written = update::store(&mut writer, target, &old, object, Part::Main, commit, Some(&by))?;
    Ok(scale_of(&written.value))
}

/// Tells or refuses what a Scale does not have, and a number of replicas that is none.
fn check_fields(call: &Call, is_patch: bool, scale: &Value) -> Result<(), Status> {
    let replicas = &scale["spec"]["replicas"];
    if !replicas.is_null() && !replicas.is_i64() {
        let why = format!("spec.replicas: {replicas} is not a whole number");
        return Err(if is_patch { Status::unfit_patch(scale, &why) } else { Status::bad_request(why) });
    }
    let fields = scale["spec"].as_object().into_iter().flatten();
    let unknown: Vec<String> =
        fields.filter(|it| it.0 != "replicas").map(|it| format!("spec.{}", it.0)).collect();
    if call.validation() == "Ignore" {
        return Ok(());
    }
    let complaints = if is_patch {
        unknown.iter().map(|it| format!("unknown field {it:?}")).collect()
    } else {
        strict::complaints(call.content_type.as_deref(), &call.body, &unknown)
    };
    match call.validation() {
        "Strict" if is_patch && !complaints.is_empty() => {
            let why = format!("strict decoding error: {}", complaints.join(", "));
            Err(Status::unfit_patch(scale, &why))
        }
        "Strict" if !complaints.is_empty() => Err(strict::refusal(&SCALE, &complaints)),
        _ => {
            call.tell(complaints);
            Ok(())
        }
    }
}

/// How messages about a Scale name its kind.
static SCALE: crate::apiserver::resources::Resource =
    crate::apiserver::resources::resource("autoscaling", "v1", "Scale", "scales", "scale");

fn scale_of(object: &Value) -> Value {
    let mut metadata = json!({});
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        metadata[field] = object["metadata"][field].clone();
    }
    let mut scale = json!({
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": metadata,
        "spec": {"replicas": object["spec"]["replicas"].as_i64().unwrap_or(0)},
        "status": {"replicas": object["status"]["replicas"].as_i64().unwrap_or(0)},
    });
    let selector = selector_text(&object["spec"]["selector"], object["kind"] == "ReplicationController");
    if !selector.is_empty() {
        scale["status"]["selector"] = selector.into();
    }
    scale
}

/// A label selector in its query form.
fn selector_text(selector: &Value, is_map: bool) -> String {
    let labels = if is_map { selector } else { &selector["matchLabels"] };
    let mut terms: Vec<String> = labels
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    for requirement in selector["matchExpressions"].as_array().into_iter().flatten() {
        let key = requirement["key"].as_str().unwrap_or_default();
        let mut values: Vec<&str> =
            requirement["values"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        values.sort_unstable();
        let values = values.join(",");
        match requirement["operator"].as_str() {
            Some("In") => terms.push(format!("{key} in ({values})")),
            Some("NotIn") => terms.push(format!("{key} notin ({values})")),
            Some("Exists") => terms.push(key.to_owned()),
            Some("DoesNotExist") => terms.push(format!("!{key}")),
            _ => {}
        }
    }
    terms.join(",")
}

/// What a PUT or PATCH of the object itself did, as its HTTP code.
pub fn code(written: &Written) -> u16 {
    match written {
        Written::Created(_) => 201,
        Written::Updated(_) => 200,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_in_query_form() {
        let selector = json!({"matchLabels": {"a": "b"}, "matchExpressions": [
            {"key": "c", "operator": "In", "values": ["d", "e"]}, {"key": "f", "operator": "Exists"}]});
        assert_eq!(selector_text(&selector, false), "a=b,c in (d,e),f");
        assert_eq!(selector_text(&json!({"a": "b"}), true), "a=b");
    }
}
