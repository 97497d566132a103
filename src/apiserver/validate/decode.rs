//! Type errors and unknown fields, found by decoding into the kind's k8s-openapi type.

use crate::apiserver::defaults;
use crate::apiserver::kinds::{self, Visitor};
use crate::apiserver::resources::Resource;
use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

/// Whether the object decodes as it is: most do, and are not copied to find that out.
struct Decodes<'a>(&'a Value);

impl Visitor for Decodes<'_> {
    type Output = bool;

    fn visit<T: DeserializeOwned + Serialize + JsonSchema>(self) -> bool {
        T::deserialize(self.0).is_ok()
    }
}

/// The same, and no field is left over.
struct Fits<'a>(&'a Value);

impl Visitor for Fits<'_> {
    type Output = bool;

    fn visit<T: DeserializeOwned + Serialize + JsonSchema>(self) -> bool {
        let mut whole = true;
        let decoded: Result<T, _> = serde_ignored::deserialize(self.0, |_| whole = false);
        decoded.is_ok() && whole
    }
}

/// Decodes and encodes again.
struct RoundTrip(Value);

impl Visitor for RoundTrip {
    type Output = Result<Value, String>;

    fn visit<T: DeserializeOwned + Serialize + JsonSchema>(self) -> Self::Output {
        let typed: T = serde_json::from_value(self.0).map_err(|it| it.to_string())?;
        serde_json::to_value(typed).map_err(|it| it.to_string())
    }
}

fn round_trip(resource: &Resource, object: Value) -> Option<Result<Value, String>> {
    kinds::visit(resource, RoundTrip(object))
}

/// What the decoder expects: kind and version present, no nulls, quantities as text.
fn prepared(resource: &Resource, object: &Value) -> Value {
    let mut object = object.clone();
    defaults::normalize(resource, &mut object);
    if let Some(map) = object.as_object_mut() {
        map.entry("apiVersion").or_insert_with(|| resource.api_version().into());
        map.entry("kind").or_insert_with(|| resource.kind.into());
        map.entry("metadata").or_insert_with(|| Value::Object(Map::new()));
    }
    object
}

/// Whether the object decodes into the kind's type; the message of the 400 answer if not.
pub fn decode_check(resource: &Resource, object: &Value) -> Result<(), String> {
    if kinds::visit(resource, Decodes(object)) == Some(true) {
        return Ok(());
    }
    let object = prepared(resource, object);
    let Some(Err(error)) = round_trip(resource, object.clone()) else { return Ok(()) };
    let at = culprit(resource, &object, &error).map(|it| format!("{it}: ")).unwrap_or_default();
    Err(format!(
        "{kind} in version {version:?} cannot be handled as a {kind}: {at}{error}",
        kind = resource.kind,
        version = resource.version
    ))
}

/// The path of the value whose removal makes this error go away. Only walked once decoding has failed.
fn culprit(resource: &Resource, object: &Value, error: &str) -> Option<String> {
    let mut paths = Vec::new();
    leaves(object, "", "", &mut paths);
    // These two are read first, so that anything after them would be blamed on them.
    paths.retain(|it| it.1 != "apiVersion" && it.1 != "kind");
    paths.into_iter().find_map(|(pointer, shown)| {
        let mut without = object.clone();
        remove(&mut without, &pointer)?;
        let rest = round_trip(resource, without)?;
        (rest.err().as_deref() != Some(error)).then_some(shown)
    })
}

fn remove(object: &mut Value, pointer: &str) -> Option<()> {
    let (parent, key) = pointer.rsplit_once('/')?;
    match object.pointer_mut(parent)? {
        Value::Object(map) => map.remove(&key.replace("~1", "/").replace("~0", "~")).map(drop),
        Value::Array(items) => {
            items.remove(key.parse().ok()?);
            Some(())
        }
        _ => None,
    }
}

/// Every place as (JSON pointer, field path), deepest first.
fn leaves(value: &Value, pointer: &str, shown: &str, found: &mut Vec<(String, String)>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let escaped = key.replace('~', "~0").replace('/', "~1");
                leaves(value, &format!("{pointer}/{escaped}"), &joined(shown, key), found);
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                leaves(value, &format!("{pointer}/{index}"), &format!("{shown}[{index}]"), found);
            }
        }
        _ => {}
    }
    if !shown.is_empty() {
        found.push((pointer.to_owned(), shown.to_owned()));
    }
}

fn joined(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// Paths of fields the kind's type does not have, such as `spec.template.foo`; the message of the decoder if it does not
/// decode.
pub fn find_unknown(resource: &Resource, object: &Value) -> Result<Vec<String>, String> {
    let mut found = Vec::new();
    if kinds::visit(resource, Fits(object)) != Some(true) {
        let given = prepared(resource, object);
        if let Some(known) = round_trip(resource, given.clone()) {
            compare(&given, &known?, "", &mut found);
        }
    }
    Ok(found)
}

/// The same; empty if it does not decode.
pub fn unknown_fields(resource: &Resource, object: &Value) -> Vec<String> {
    find_unknown(resource, object).unwrap_or_default()
}

/// Removes the fields of these paths.
pub fn drop_fields(object: &mut Value, paths: &[String]) {
    if !paths.is_empty() {
        drop_paths(object, "", paths);
    }
}

/// Removes the fields the kind's type does not have and names them; the message of the decoder if it does not decode.
pub fn drop_unknown(resource: &Resource, object: &mut Value) -> Result<Vec<String>, String> {
    let found = find_unknown(resource, object)?;
    drop_fields(object, &found);
    Ok(found)
}

fn drop_paths(value: &mut Value, path: &str, doomed: &[String]) {
    match value {
        Value::Object(map) => {
            map.retain(|key, _| !doomed.contains(&joined(path, key)));
            for (key, value) in map.iter_mut() {
                drop_paths(value, &joined(path, key), doomed);
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter_mut().enumerate() {
                drop_paths(value, &format!("{path}[{index}]"), doomed);
            }
        }
        _ => {}
    }
}

fn compare(given: &Value, known: &Value, path: &str, found: &mut Vec<String>) {
    match (given, known) {
        (Value::Object(given), Value::Object(known)) => {
            for (key, value) in given {
                match known.get(key) {
                    Some(known) => compare(value, known, &joined(path, key), found),
                    None if value.is_null() => {}
                    None => found.push(joined(path, key)),
                }
            }
        }
        (Value::Array(given), Value::Array(known)) => {
            for (index, (given, known)) in given.iter().zip(known).enumerate() {
                compare(given, known, &format!("{path}[{index}]"), found);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apiserver::resources::find_kind;
    use serde_json::json;

    #[test]
    fn type_errors_name_the_field() {
        let resource = find_kind("apps/v1", "StatefulSet").unwrap();
        let object = json!({"metadata": {"name": "web"}, "spec": {"replicas": "3", "selector": {}, "serviceName": "a",
            "template": {"spec": {"containers": [{"name": "a", "resources": {"limits": {"cpu": 1}}}]}}}});
        let error = decode_check(resource, &object).unwrap_err();
        let want = r#"StatefulSet in version "v1" cannot be handled as a StatefulSet: spec.replicas: invalid type: string "3", expected i32"#;
        assert_eq!(error, want);
        let mut fine = object;
        fine["spec"]["replicas"] = 3.into();
        assert_eq!(decode_check(resource, &fine), Ok(()));
    }

    #[test]
    fn unknown_fields_have_paths() {
        let resource = find_kind("v1", "Pod").unwrap();
        let object = json!({"metadata": {"name": "a", "creationTimestamp": null, "labels": {"x": "y"}}, "spec": {"foo": 1,
            "containers": [{"name": "a", "bar": {}, "command": [], "env": [], "resources": {}}]}, "status": {}});
        assert_eq!(unknown_fields(resource, &object), ["spec.containers[0].bar", "spec.foo"]);
        let mut pruned = object.clone();
        assert_eq!(drop_unknown(resource, &mut pruned).unwrap().len(), 2);
        assert_eq!(unknown_fields(resource, &pruned), [""; 0]);
        assert_eq!(pruned["metadata"], object["metadata"]);
    }

    #[test]
    fn every_served_kind_decodes() {
        for resource in crate::apiserver::resources::RESOURCES.iter().filter(|it| it.is_stored()) {
            assert!(round_trip(resource, Value::Null).is_some(), "{}", resource.kind);
        }
    }
}
