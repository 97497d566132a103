//! JSON patch the way kube-apiserver applies it, which is more lenient than RFC 6902: `replace` adds a member that is
//! missing, `copy` of a missing member gives null, a missing `value` is null, and indices may be negative.
//!
//! Source: evanphx/json-patch v4, `patch.go`.

use serde_json::Value;

/// Applies the operations one after the other; `None` when one of them fails.
pub fn apply(object: &Value, operations: &[Value]) -> Option<Value> {
    let mut result = object.clone();
    operations.iter().try_for_each(|it| step(&mut result, it))?;
    Some(result)
}

fn step(document: &mut Value, operation: &Value) -> Option<()> {
    let path = operation.get("path")?.as_str()?;
    let value = || operation.get("value").cloned().unwrap_or_default();
    match operation.get("op")?.as_str()? {
        "add" => {
            let (parent, key) = find(document, path)?;
            add(parent, &key, value())
        }
        "remove" => {
            let (parent, key) = find(document, path)?;
            remove(parent, &key).map(|_| ())
        }
        "replace" if path.is_empty() => {
            *document = value();
            document.is_object().then_some(())
        }
        "replace" => {
            let (parent, key) = find(document, path)?;
            match parent {
                Value::Array(items) => {
                    let index = index_of(&key, items.len())?;
                    *items.get_mut(index)? = value();
                    Some(())
                }
                parent => add(parent, &key, value()),
            }
        }
        "move" => {
            let (parent, key) = find(document, operation.get("from")?.as_str()?)?;
            let moved = remove(parent, &key)?;
            let (parent, key) = find(document, path)?;
            add(parent, &key, moved)
        }
        "copy" => {
            let (parent, key) = find(document, operation.get("from")?.as_str()?)?;
            let copied = get(parent, &key)?;
            let (parent, key) = find(document, path)?;
            add(parent, &key, copied)
        }
        "test" if path.is_empty() => (*document == value()).then_some(()),
        "test" => {
            let (parent, key) = find(document, path)?;
            (get(parent, &key)? == value()).then_some(())
        }
        _ => None,
    }
}

/// The container that holds the last step of `path`, and that step.
fn find<'a>(document: &'a mut Value, path: &str) -> Option<(&'a mut Value, String)> {
    let mut steps = path.split('/').skip(1).map(|it| it.replace("~1", "/").replace("~0", "~"));
    let mut key = steps.next()?;
    let mut at = document;
    for next in steps {
        at = match at {
            Value::Object(map) => map.get_mut(&key)?,
            Value::Array(items) => {
                let index = index_of(&key, items.len())?;
                items.get_mut(index)?
            }
            _ => return None,
        };
        key = next;
    }
    (at.is_object() || at.is_array()).then_some((at, key))
}

/// A negative index counts from the end.
fn index_of(key: &str, length: usize) -> Option<usize> {
    let index: i64 = key.parse().ok()?;
    let from_end = if index < 0 { i64::try_from(length).ok()? } else { 0 };
    usize::try_from(index + from_end).ok()
}

/// Null for a member that is not there.
fn get(parent: &Value, key: &str) -> Option<Value> {
    match parent {
        Value::Array(items) => items.get(index_of(key, items.len())?).cloned(),
        parent => Some(parent.get(key).cloned().unwrap_or_default()),
    }
}

fn add(parent: &mut Value, key: &str, value: Value) -> Option<()> {
    match parent {
        Value::Object(map) => {
            map.insert(key.to_owned(), value);
            Some(())
        }
        Value::Array(items) if key == "-" => {
            items.push(value);
            Some(())
        }
        Value::Array(items) => {
            let index = index_of(key, items.len() + 1).filter(|it| *it <= items.len())?;
            items.insert(index, value);
            Some(())
        }
        _ => None,
    }
}

fn remove(parent: &mut Value, key: &str) -> Option<Value> {
    match parent {
        Value::Object(map) => map.remove(key),
        Value::Array(items) => {
            let index = index_of(key, items.len()).filter(|it| *it < items.len())?;
            Some(items.remove(index))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// What kube-apiserver 1.36 made of the same operations.
    #[test]
    fn as_lenient_as_upstream() {
        let object = json!({"a": {"x": 1}, "l": [1, 2]});
        #[rustfmt::skip]
        let cases = [
            (json!({"op": "replace", "path": "/a/y", "value": 2}), Some(json!({"a": {"x": 1, "y": 2}, "l": [1, 2]}))),
            (json!({"op": "copy", "from": "/a/z", "path": "/a/y"}), Some(json!({"a": {"x": 1, "y": null}, "l": [1, 2]}))),
            (json!({"op": "add", "path": "/l/01", "value": 3}),    Some(json!({"a": {"x": 1}, "l": [1, 3, 2]}))),
            (json!({"op": "add", "path": "/l/-", "value": 3}),     Some(json!({"a": {"x": 1}, "l": [1, 2, 3]}))),
            (json!({"op": "remove", "path": "/l/-1"}),             Some(json!({"a": {"x": 1}, "l": [1]}))),
            (json!({"op": "test", "path": "/a/z", "value": null}), Some(object.clone())),
            (json!({"op": "move", "from": "/a", "path": "/a/x"}),  None),
            (json!({"op": "add", "path": "/l/3", "value": 3}),     None),
            (json!({"op": "replace", "path": "/l/2", "value": 3}), None),
            (json!({"op": "remove", "path": "/a/z"}),              None),
            (json!({"op": "add", "path": "/b/c", "value": 3}),     None),
            (json!({"op": "add", "path": "", "value": {}}),        None),
        ];
        for (operation, want) in cases {
            assert_eq!(apply(&object, std::slice::from_ref(&operation)), want, "{operation}");
        }
    }
}
