//! Sets of field paths and their `FieldsV1` form.
//!
//! A path is a list of steps in the codec's own spelling: `f:name` a field, `k:{…}` the list item with these
//! keys, `v:…` the list item that is this value. A set holds leaves and list items; in `FieldsV1` a path that
//! is a member and has members beneath carries `.`.
//! Source: structured-merge-diff `fieldpath/serialize.go`, `typed/tofieldset.go`.

use crate::apiserver::merge_keys::{Shape, Type, is_atomic_item};
use serde_json::{Map, Value};
use std::cmp::Ordering;
use std::collections::BTreeSet;

/// Steps from the root of the object.
pub type Path = Vec<String>;

/// Paths somebody owns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldSet(pub BTreeSet<Path>);

impl FieldSet {
    /// Everything `object` says, except fields that have no owner. Nulls say nothing.
    pub fn of(kind: Type, object: &Value, ignored: &dyn Fn(&[String]) -> bool) -> Result<FieldSet, String> {
        let mut set = FieldSet::default();
        set.collect(Shape::Object(""), kind, object, &mut Vec::new(), ignored)?;
        Ok(set)
    }

    fn collect(
        &mut self,
        shape: Shape,
        kind: Type,
        value: &Value,
        path: &mut Path,
        ignored: &dyn Fn(&[String]) -> bool,
    ) -> Result<(), String> {
        if value.is_null() || ignored(path) {
            return Ok(());
        }
        match (shape, value) {
            (Shape::Object(_), Value::Object(map)) if !map.is_empty() => {
                for (key, value) in map {
                    let (shape, child) = below(kind, key);
                    path.push(format!("f:{key}"));
                    self.collect(shape, child, value, path, ignored)?;
                    path.pop();
                }
            }
            (Shape::Items { item, apply_keys, .. }, Value::Array(items)) if !apply_keys.is_empty() => {
                for (index, one) in items.iter().enumerate() {
                    let step = item_step(one, apply_keys).map_err(|key| {
                        format!("{}: element {index}: associative list with keys has an element that omits key field {key:?} (and doesn't have default value)", shown(path))
                    })?;
                    path.push(step);
                    if !self.0.insert(path.clone()) {
                        let key = path.pop().unwrap_or_default();
                        return Err(format!("{}: duplicate entries for key {}", shown(path), shown(&[key])));
                    }
                    if !is_atomic_item(item) {
                        self.collect(Shape::Object(item), Type::named(item), one, path, ignored)?;
                    }
                    path.pop();
                }
            }
            (Shape::Set, Value::Array(items)) => {
                for one in items {
                    path.push(format!("v:{one}"));
                    let is_new = self.0.insert(path.clone());
                    let key = path.pop().unwrap_or_default();
                    if !is_new {
                        return Err(format!("{}: duplicate entries for key {}", shown(path), shown(&[key])));
                    }
                }
            }
            _ if path.is_empty() => {}
            _ => {
                self.0.insert(path.clone());
            }
        }
        Ok(())
    }

    /// Reads `fieldsV1`; what it cannot read it skips.
    pub fn decode(fields: &Value) -> FieldSet {
        let mut set = FieldSet::default();
        set.read(fields, &mut Vec::new());
        set
    }

    fn read(&mut self, fields: &Value, path: &mut Path) {
        let Some(map) = fields.as_object() else { return };
        if (map.is_empty() || map.contains_key(".")) && !path.is_empty() {
            self.0.insert(path.clone());
        }
        for (step, below) in map.iter().filter(|it| it.0 != ".") {
            path.push(step.clone());
            self.read(below, path);
            path.pop();
        }
    }

    /// The `fieldsV1` object.
    pub fn encode(&self) -> Value {
        let mut root = Map::new();
        // A set is in order, so a path comes right before what is beneath it.
        for path in &self.0 {
            let mut at = &mut root;
            for (depth, step) in path.iter().enumerate() {
                let known = at.contains_key(step);
                let member = known && depth + 1 < path.len() && self.0.contains(&path[..=depth]);
                let next = at.entry(step.clone()).or_insert_with(|| Value::Object(Map::new()));
                at = next.as_object_mut().expect("only objects are inserted here");
                if member {
                    at.entry(".").or_insert_with(|| Value::Object(Map::new()));
                }
            }
        }
        Value::Object(root)
    }

    /// Whether `path` or anything beneath it is a member.
    pub fn covers(&self, path: &[String]) -> bool {
        self.0.iter().any(|it| it.starts_with(path))
    }
}

/// Shape and type of `field` in a map of type `kind`; ordinary fields are granular maps or atomic lists.
pub fn below(kind: Type, field: &str) -> (Shape, Type) {
    let shape = kind.field(field);
    (shape.unwrap_or(Shape::Object("")), Type::below(shape))
}

/// `k:{…}` of a list item; the error is the key it lacks.
pub fn item_step<'a>(item: &Value, keys: &[&'a str]) -> Result<String, &'a str> {
    let mut id = Map::new();
    for key in keys {
        let value = match &item[*key] {
            // The defaults of the schema.
            Value::Null => match *key {
                "protocol" => "TCP".into(),
                "containerPort" | "port" => 0.into(),
                "name" | "type" | "mountPath" | "devicePath" | "ip" | "topologyKey" | "uid" => "".into(),
                key => return Err(key),
            },
            value => value.clone(),
        };
        id.insert((*key).to_owned(), value);
    }
    Ok(format!("k:{}", Value::Object(id)))
}

/// The order upstream walks a set in: the members of a level before what lies beneath others of it.
pub fn in_order(left: &[String], right: &[String]) -> Ordering {
    let shared = left.iter().zip(right).take_while(|it| it.0 == it.1).count();
    let is_member = |path: &[String]| path.len() <= shared + 1;
    is_member(right).cmp(&is_member(left)).then_with(|| left.cmp(right))
}

/// `.spec.containers[name="a"].image`.
pub fn shown(path: &[String]) -> String {
    let mut text = String::new();
    for step in path {
        match step.split_at(2) {
            ("f:", name) => {
                text.push('.');
                text.push_str(name);
            }
            ("k:", keys) => {
                let keys: Map<String, Value> = serde_json::from_str(keys).unwrap_or_default();
                let pairs: Vec<String> = keys.iter().map(|(key, value)| format!("{key}={value}")).collect();
                text.extend(["[", &pairs.join(","), "]"]);
            }
            (_, value) => text.extend(["[=", value, "]"]),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apiserver::resources::find_kind;
    use serde_json::json;

    #[test]
    fn leaves_and_codec() {
        let kind = Type::of(find_kind("v1", "Pod").unwrap());
        let pod = json!({"metadata": {"labels": {"app": "x"}, "finalizers": ["a/b"]}, "spec": {"nodeSelector": {"a": "b"},
            "tolerations": [{"key": "a"}], "containers": [{"name": "a", "image": "1", "ports": [{"containerPort": 80}]}]}});
        let set = FieldSet::of(kind, &pod, &|_| false).unwrap();
        let encoded = set.encode();
        assert_eq!(
            encoded,
            json!({"f:metadata": {"f:labels": {"f:app": {}}, "f:finalizers": {"v:\"a/b\"": {}}}, "f:spec": {
                "f:nodeSelector": {}, "f:tolerations": {}, "f:containers": {"k:{\"name\":\"a\"}": {".": {}, "f:image": {}, "f:name": {},
                    "f:ports": {"k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}}}}}})
        );
        assert_eq!(FieldSet::decode(&encoded), set);
        let paths: Vec<String> = set.0.iter().map(|it| shown(it)).collect();
        assert!(
            paths
                .contains(&r#".spec.containers[name="a"].ports[containerPort=80,protocol="TCP"]"#.to_owned())
        );
        assert!(paths.contains(&r#".metadata.finalizers[="a/b"]"#.to_owned()));
    }

    #[test]
    fn items_need_their_keys() {
        let kind = Type::of(find_kind("v1", "Pod").unwrap());
        let of = |pod: &Value| FieldSet::of(kind, pod, &|_| false);
        let error =
            of(&json!({"spec": {"topologySpreadConstraints": [{"topologyKey": "zone"}]}})).unwrap_err();
        assert!(error.starts_with(".spec.topologySpreadConstraints: element 0: associative list"), "{error}");
        assert!(of(&json!({"spec": {"containers": [{"image": "1"}]}})).is_ok(), "the schema has a default");
    }
}
