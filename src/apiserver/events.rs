//! events.k8s.io/v1 Events as a view of the core/v1 ones they are stored as.
//!
//! Source: kubernetes `pkg/apis/events/v1/conversion.go`.

use crate::apiserver::resources::Resource;
use crate::apiserver::store::stored_as;
use serde_json::Value;

/// (name in events.k8s.io/v1, name in core/v1) of the fields that differ.
const FIELDS: &[(&str, &str)] = &[
    ("regarding", "involvedObject"),
    ("note", "message"),
    ("reportingController", "reportingComponent"),
    ("deprecatedSource", "source"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedCount", "count"),
];

/// Turns an object of `resource` into the shape it is stored in. `_stored` is the object it replaces.
pub fn to_stored(resource: &Resource, object: Value, _stored: Option<&Value>) -> Value {
    rename(resource, object, stored_as(resource), Direction::In)
}

/// Turns a stored object into the shape of `resource`.
pub fn from_stored(resource: &Resource, object: &Value) -> Value {
    rename(resource, object.clone(), resource, Direction::Out)
}

/// Whether objects of `resource` are stored in another shape.
pub fn is_view(resource: &Resource) -> bool {
    resource.store_as.is_some()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    In,
    Out,
}

fn rename(resource: &Resource, mut object: Value, shape: &Resource, direction: Direction) -> Value {
    if !is_view(resource) {
        return object;
    }
    if let Some(map) = object.as_object_mut() {
        for (view, stored) in FIELDS {
            let (from, to) = if direction == Direction::In { (view, stored) } else { (stored, view) };
            if let Some(value) = map.remove(*from) {
                map.insert((*to).to_owned(), value);
            }
        }
        map.insert("apiVersion".into(), shape.api_version().into());
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apiserver::resources;
    use serde_json::json;

    #[test]
    fn both_directions() {
        let view = resources::find("events.k8s.io", "v1", "events").unwrap();
        let event = json!({"apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "e"},
            "regarding": {"name": "p"}, "note": "n", "reportingController": "c", "reason": "R"});
        let stored = to_stored(view, event.clone(), None);
        assert_eq!(
            stored,
            json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "e"},
                "involvedObject": {"name": "p"}, "message": "n", "reportingComponent": "c", "reason": "R"})
        );
        assert_eq!(from_stored(view, &stored), event);
    }
}
