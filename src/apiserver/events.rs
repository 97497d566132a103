//! events.k8s.io/v1 Events as a view of the core/v1 ones they are stored as.
//!
//! Source: kubernetes `pkg/apis/events/v1/conversion.go`.

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

/// From events.k8s.io/v1 to core/v1.
pub fn to_stored(object: Value) -> Value {
    rename(object, FIELDS.iter().copied(), "v1")
}

/// From core/v1 to events.k8s.io/v1.
pub fn from_stored(object: Value) -> Value {
    rename(object, FIELDS.iter().map(|(view, stored)| (*stored, *view)), "events.k8s.io/v1")
}

fn rename(
    mut object: Value,
    fields: impl Iterator<Item = (&'static str, &'static str)>,
    api_version: &str,
) -> Value {
    if let Some(map) = object.as_object_mut() {
        for (from, to) in fields {
            if let Some(value) = map.remove(from) {
                map.insert(to.to_owned(), value);
            }
        }
        map.insert("apiVersion".into(), api_version.into());
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn both_directions() {
        let event = json!({"apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "e"},
            "regarding": {"name": "p"}, "note": "n", "reportingController": "c", "reason": "R"});
        let stored = to_stored(event.clone());
        assert_eq!(
            stored,
            json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "e"},
                "involvedObject": {"name": "p"}, "message": "n", "reportingComponent": "c", "reason": "R"})
        );
        assert_eq!(from_stored(stored), event);
    }
}
