//! JSON patch, merge patch and strategic merge patch: object and patch in, new object out.
//!
//! Nothing here looks at resourceVersion, names or defaults; the caller checks the result as it would a PUT.
//! Sources: RFC 6902, RFC 7396, apimachinery `pkg/util/strategicpatch/patch.go`.

use crate::apiserver::merge_keys::{Shape, Type};
use crate::apiserver::resources::Resource;
use serde_json::{Map, Value, json};

/// Most operations in one JSON patch.
pub const MAX_JSON_PATCH_OPERATIONS: usize = 10_000;

/// Upstream tells the client no more than this about an operation that failed.
const JSON_PATCH_FAILED: &str = "the server rejected our request due to an error in our request";

const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const ELEMENT_ORDER: &str = "$setElementOrder/";
const DELETE_FROM_LIST: &str = "$deleteFromPrimitiveList/";

/// Why a patch could not be applied, by the answer it becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PatchError {
    /// 400: the patch cannot be understood.
    BadRequest(String),
    /// 422: the patch does not fit the object.
    Invalid(String),
    /// 500 without a reason, as upstream: the patch contradicts itself or the schema.
    Untyped(String),
}

fn bad<T>(message: impl Into<String>) -> Result<T, PatchError> {
    Err(PatchError::BadRequest(message.into()))
}

/// Applies a JSON patch. Parents are not created.
pub fn json_patch(object: &Value, patch: &[u8]) -> Result<Value, PatchError> {
    let parsed: Value = serde_json::from_slice(patch)
        .map_err(|error| PatchError::BadRequest(format!("error decoding patch: {error}")))?;
    let operations = match parsed {
        Value::Null => Vec::new(),
        Value::Array(operations) => operations,
        _ => return bad("error decoding patch: expected a list of operations"),
    };
    if operations.len() > MAX_JSON_PATCH_OPERATIONS {
        return bad(format!(
            "The allowed maximum operations in a JSON patch is {MAX_JSON_PATCH_OPERATIONS}, got {}",
            operations.len()
        ));
    }
    json::apply(object, &operations).ok_or_else(|| PatchError::Invalid(JSON_PATCH_FAILED.to_owned()))
}

/// Applies an RFC 7396 patch.
pub fn merge_patch(object: &Value, patch: &Value) -> Value {
    let mut result = object.clone();
    json_patch::merge(&mut result, patch);
    result
}

/// Applies a strategic merge patch: lists merge by the keys of the kind's types, directives steer.
pub fn strategic_merge_patch(
    resource: &Resource,
    object: &Value,
    patch: &Value,
) -> Result<Value, PatchError> {
    let (Value::Object(object), Value::Object(patch)) = (object, patch) else {
        return bad("strategic merge patch: expected an object");
    };
    merge_map(Type::of(resource), object.clone(), patch).map(Value::Object)
}

type Object = Map<String, Value>;

fn merge_map(kind: Type, mut live: Object, patch: &Object) -> Result<Object, PatchError> {
    match patch.get(DIRECTIVE).map(Value::as_str) {
        None => {}
        Some(Some("replace")) => {
            let rest = patch.iter().filter(|it| it.0 != DIRECTIVE);
            return Ok(rest.map(|(key, value)| (key.clone(), value.clone())).collect());
        }
        Some(Some("delete")) => return Ok(Map::new()),
        Some(_) => return unknown_type(patch),
    }
    if let Some(retained) = patch.get(RETAIN_KEYS) {
        retain_keys(&mut live, patch, retained)?;
    }
    let is_ordered = patch.keys().any(|it| it.starts_with(ELEMENT_ORDER));
    let original = if is_ordered { live.clone() } else { Map::new() };
    for (key, value) in patch {
        if let Some(field) = key.strip_prefix(DELETE_FROM_LIST) {
            let Some(doomed) = value.as_array() else { continue };
            if let Some(Value::Array(items)) = live.get_mut(field) {
                items.retain(|it| !doomed.contains(it));
            }
        }
    }
    for (key, value) in patch {
        if is_directive(key) {
            continue;
        }
        if value.is_null() {
            live.remove(key);
            continue;
        }
        let merged = merge_field(kind, key, live.get(key), value)?;
        live.insert(key.clone(), merged);
    }
    for (key, value) in patch {
        if let Some(field) = key.strip_prefix(ELEMENT_ORDER) {
            set_order(kind, field, &mut live, value, original.get(field), patch.get(field))?;
        }
    }
    Ok(live)
}

fn is_directive(key: &str) -> bool {
    key == DIRECTIVE
        || key == RETAIN_KEYS
        || key.starts_with(ELEMENT_ORDER)
        || key.starts_with(DELETE_FROM_LIST)
}

fn untyped<T>(message: impl Into<String>) -> Result<T, PatchError> {
    Err(PatchError::Untyped(message.into()))
}

fn unknown_type<T>(patch: &Object) -> Result<T, PatchError> {
    let named = match &patch[DIRECTIVE] {
        Value::Number(number) => format!("%!s(int64={number})"),
        named => printed(named),
    };
    untyped(format!("unknown patch type: {named} in map: {}", printed_map(patch)))
}

/// A value as Go's `%v` prints it: upstream's messages quote patches so.
fn printed(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(printed).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => printed_map(map),
        other => other.to_string(),
    }
}

fn printed_map(map: &Object) -> String {
    let mut pairs: Vec<_> = map.iter().map(|(key, value)| format!("{key}:{}", printed(value))).collect();
    pairs.sort_unstable();
    format!("map[{}]", pairs.join(" "))
}

fn retain_keys(live: &mut Object, patch: &Object, retained: &Value) -> Result<(), PatchError> {
    const MALFORMED: &str = "invalid patch format of retainKeys";
    let Some(retained) = retained.as_array() else { return bad(MALFORMED) };
    let is_missing = |key: &String| !is_directive(key) && !retained.iter().any(|it| it == key);
    if patch.iter().any(|(key, value)| !value.is_null() && is_missing(key)) {
        return bad(MALFORMED);
    }
    live.retain(|key, _| retained.iter().any(|it| it == key));
    Ok(())
}

fn merge_field(kind: Type, key: &str, live: Option<&Value>, patch: &Value) -> Result<Value, PatchError> {
    let shape = kind.field(key);
    match (patch, live) {
        (Value::Object(patch), _) if shape == Some(Shape::Replaced) => Ok(Value::Object(patch.clone())),
        (Value::Object(patch), Some(Value::Object(live))) => {
            merge_map(kind.child(key), live.clone(), patch).map(Value::Object)
        }
        (Value::Object(patch), _) => merge_map(kind.child(key), Map::new(), patch).map(Value::Object),
        (Value::Array(patch), live) => {
            let live: &[Value] = live.and_then(Value::as_array).map_or(&[], Vec::as_slice);
            merge_list(shape, live, patch).map(Value::Array)
        }
        _ => Ok(patch.clone()),
    }
}

fn merge_list(shape: Option<Shape>, live: &[Value], patch: &[Value]) -> Result<Vec<Value>, PatchError> {
    match shape {
        Some(Shape::Items { item, patch_key, .. }) if !patch_key.is_empty() => {
            merge_items(Type::named(item), patch_key, live, patch)
        }
        Some(Shape::Set) => {
            let mut merged = live.to_vec();
            for value in patch {
                if !merged.contains(value) {
                    merged.push(value.clone());
                }
            }
            Ok(in_order(merged, &|it| Some(it.clone()), patch, live))
        }
        _ => Ok(patch.to_vec()),
    }
}

fn merge_items(item: Type, key: &str, live: &[Value], patch: &[Value]) -> Result<Vec<Value>, PatchError> {
    let directive = |it: &Value| it.get(DIRECTIVE).and_then(Value::as_str).map(str::to_owned);
    if patch.iter().any(|it| directive(it).as_deref() == Some("replace")) {
        return Ok(patch.iter().filter(|it| directive(it).is_none()).cloned().collect());
    }
    let mut merged = live.to_vec();
    for one in patch {
        let Some(fields) = one.as_object() else {
            let lists = [live, patch].map(|it| printed(&Value::from(it)));
            return untyped(format!("list element types are not identical: [{}]", lists.join(" ")));
        };
        let Some(id) = fields.get(key) else {
            return untyped(format!("map: {} does not contain declared merge key: {key}", printed(one)));
        };
        match directive(one).as_deref() {
            Some("delete") => merged.retain(|it| it.get(key) != Some(id)),
            Some("merge") => return untyped("merging lists cannot yet be specified in the patch"),
            None => match merged.iter_mut().find(|it| it.get(key) == Some(id)) {
                Some(Value::Object(found)) => *found = merge_map(item, std::mem::take(found), fields)?,
                _ => merged.push(Value::Object(merge_map(item, Map::new(), fields)?)),
            },
            Some(_) => return unknown_type(fields),
        }
    }
    Ok(in_order(merged, &|it| it.get(key).cloned(), patch, live))
}

/// Items that `first` names come in its order; the rest keeps the order of `live` and stays before those items that
/// came after it there.
///
/// Source: strategicpatch `normalizeElementOrder`, `mergeSortedSlice`.
fn in_order(
    merged: Vec<Value>,
    id: &dyn Fn(&Value) -> Option<Value>,
    first: &[Value],
    live: &[Value],
) -> Vec<Value> {
    let place = |list: &[Value], it: &Value| list.iter().position(|other| id(other) == id(it));
    let (mut named, mut others): (Vec<Value>, Vec<Value>) =
        merged.into_iter().partition(|it| place(first, it).is_some());
    named.sort_by_key(|it| place(first, it));
    others.sort_by_key(|it| place(live, it));
    let mut result = Vec::with_capacity(named.len() + others.len());
    let mut named = named.into_iter().peekable();
    for other in others {
        while let Some(next) = named.peek() {
            match (place(live, &other), place(live, next)) {
                (Some(left), Some(right)) if left < right => break,
                _ => result.extend(named.next()),
            }
        }
        result.push(other);
    }
    result.extend(named);
    result
}

/// Brings a merged list into the given order; `before` is the list before the patch, `patch` what the patch says of it.
fn set_order(
    kind: Type,
    field: &str,
    live: &mut Object,
    order: &Value,
    before: Option<&Value>,
    patch: Option<&Value>,
) -> Result<(), PatchError> {
    let Some(order) = order.as_array() else {
        let got = match order {
            Value::Object(_) => "map[string]interface {}",
            Value::String(_) => "string",
            _ => "another type",
        };
        return untyped(format!("expected a []interface {{}}, but received a {got}"));
    };
    let key = match kind.field(field) {
        Some(Shape::Items { patch_key, .. }) if !patch_key.is_empty() => Some(patch_key),
        Some(Shape::Set) => None,
        _ => return Ok(()),
    };
    let id = |it: &Value| match key {
        Some(key) => it.get(key).cloned(),
        None => Some(it.clone()),
    };
    if let Some(index) = order.iter().position(|it| id(it).is_none()) {
        return untyped(format!("value for key {index} is not a map"));
    }
    // The items of the patch have to be there, in the same order.
    let stays = |it: &&Value| it.get(DIRECTIVE).and_then(Value::as_str) != Some("delete");
    let named: Vec<&Value> = patch.and_then(Value::as_array).into_iter().flatten().filter(stays).collect();
    let mut rest = order.iter();
    if !named.iter().all(|it| rest.any(|other| id(other) == id(it))) {
        let lists = [printed(&json!(named)), printed(&json!(order))];
        return untyped(format!(
            "The order in patch list:\n{}\n doesn't match {} list:\n{}\n",
            lists[0],
            ELEMENT_ORDER.trim_end_matches('/'),
            lists[1]
        ));
    }
    let Some(Value::Array(items)) = live.get_mut(field) else { return Ok(()) };
    let before = before.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    *items = in_order(std::mem::take(items), &|it| id(it), order, before);
    Ok(())
}

mod json;

#[cfg(test)]
mod tests;
