//! Reading and writing `metadata` of JSON objects.

use serde_json::{Map, Value};

/// A string at `metadata.<field>`, empty when absent.
pub fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object["metadata"][field].as_str().unwrap_or_default()
}

/// `metadata` as a map, created when absent. `object` must be a JSON object.
pub fn metadata(object: &mut Value) -> &mut Map<String, Value> {
    let metadata = &mut object["metadata"];
    if !metadata.is_object() {
        *metadata = Value::Object(Map::new());
    }
    metadata.as_object_mut().expect("just made an object")
}

/// Copies `metadata.<field>` from `from`, or removes it when absent there.
pub fn carry(object: &mut Value, from: &Value, field: &str) {
    match from["metadata"].get(field) {
        Some(value) => metadata(object).insert(field.to_owned(), value.clone()),
        None => metadata(object).remove(field),
    };
}

/// Copies the top-level `field` from `from`, or removes it when absent there.
pub fn carry_top(object: &mut Value, from: &Value, field: &str) {
    let Some(map) = object.as_object_mut() else { return };
    match from.get(field) {
        Some(value) => map.insert(field.to_owned(), value.clone()),
        None => map.remove(field),
    };
}

/// `metadata.finalizers`.
pub fn finalizers(object: &Value) -> Vec<&str> {
    object["metadata"]["finalizers"].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// Whether `metadata.deletionTimestamp` is set.
pub fn is_terminating(object: &Value) -> bool {
    object["metadata"].get("deletionTimestamp").is_some_and(|it| !it.is_null())
}

/// Removes null members at every depth: Go decodes them as absent. `keep` names a top-level field that is
/// left as it is (opaque data).
pub fn strip_nulls(object: &mut Value, keep: Option<&str>) {
    if let Value::Object(map) = object {
        map.retain(|_, value| !value.is_null());
        for (key, value) in map {
            if keep != Some(key.as_str()) {
                strip_below(key, value);
            }
        }
    }
}

/// Maps from text to text: there Go decodes a null as the empty text.
const TEXTS: &[&str] = &["labels", "annotations", "data", "stringData", "nodeSelector", "matchLabels"];

fn strip_below(key: &str, value: &mut Value) {
    if let (true, Value::Object(texts)) = (TEXTS.contains(&key), &mut *value) {
        texts.values_mut().filter(|it| it.is_null()).for_each(|it| *it = "".into());
    }
    strip_nulls_deep(value);
}

fn strip_nulls_deep(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, it| !it.is_null());
            for (key, value) in map {
                strip_below(key, value);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(strip_nulls_deep),
        _ => {}
    }
}

/// Deepest nesting of a stored object. Below what JSON parsers take (128), so that whoever reads it, alone or
/// inside a list or a watch event, can.
const DEPTH: usize = 100;

/// Whether a value nests too deep to be stored.
pub fn is_too_deep(value: &Value) -> bool {
    fn exceeds(value: &Value, left: usize) -> bool {
        match value {
            Value::Object(map) => left == 0 || map.values().any(|it| exceeds(it, left - 1)),
            Value::Array(items) => left == 0 || items.iter().any(|it| exceeds(it, left - 1)),
            _ => false,
        }
    }
    exceeds(value, DEPTH)
}

/// Whether two objects are equal apart from the times in managedFields.
pub fn same_but_for_times(left: &Value, right: &Value) -> bool {
    if left == right {
        return true;
    }
    if left["metadata"].get("managedFields").is_none() || right["metadata"].get("managedFields").is_none() {
        return false;
    }
    let without_times = |object: &Value| {
        let mut object = object.clone();
        for entry in object["metadata"]["managedFields"].as_array_mut().into_iter().flatten() {
            entry.as_object_mut().map(|it| it.remove("time"));
        }
        object
    };
    without_times(left) == without_times(right)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn nulls_are_absent() {
        let mut texts =
            json!({"metadata": {"labels": {"x": null}}, "data": {"y": null}, "spec": {"z": null}});
        strip_nulls(&mut texts, None);
        assert_eq!(texts, json!({"metadata": {"labels": {"x": ""}}, "data": {"y": ""}, "spec": {}}));
        let mut object = json!({"metadata": {"creationTimestamp": null, "name": "a"}, "data": {"x": null}});
        strip_nulls(&mut object, Some("data"));
        assert_eq!(object, json!({"metadata": {"name": "a"}, "data": {"x": null}}));
    }

    #[test]
    fn depth_is_limited() {
        let nested = |depth: usize| (1..depth).fold(json!({}), |inner, _| json!([inner]));
        assert!(!is_too_deep(&nested(DEPTH)));
        assert!(is_too_deep(&nested(DEPTH + 1)));
    }

    #[test]
    fn times_of_managed_fields_do_not_count() {
        let at = |time: &str, name: &str| json!({"metadata": {"name": name, "managedFields": [{"manager": "m", "time": time}]}});
        assert!(same_but_for_times(&at("1", "a"), &at("2", "a")));
        assert!(!same_but_for_times(&at("1", "a"), &at("2", "b")));
    }
}
