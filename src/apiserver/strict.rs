//! `fieldValidation`: fields a kind does not have, and fields that a body has twice.
//!
//! Source: sigs.k8s.io/json, apiserver `pkg/endpoints/handlers` (create.go, patch.go).

use crate::apiserver::protobuf;
use crate::apiserver::resources::Resource;
use crate::apiserver::status::Status;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt::Write as _;

/// One key of a document, in the order of the document: its path, and whether its map had it before.
type Key = (String, bool);

/// A key, copied only if the document has it in an escaped form.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// The keys of one map so far. Most maps have few: those are compared, which costs less than to hash them.
#[derive(Default)]
struct Seen<'a> {
    few: Vec<Cow<'a, str>>,
    many: HashSet<Cow<'a, str>>,
}

impl<'a> Seen<'a> {
    /// False: it was there before.
    fn insert(&mut self, key: Cow<'a, str>) -> bool {
        if self.few.contains(&key) {
            false
        } else if self.few.len() < 16 {
            self.few.push(key);
            true
        } else {
            self.many.insert(key)
        }
    }
}

/// Collects the keys of a document: those that are there twice, or all.
struct Walk<'a> {
    path: &'a mut String,
    keys: &'a mut Vec<Key>,
    all: bool,
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = Seen::default();
        let length = self.path.len();
        while let Some(Name(key)) = map.next_key()? {
            if length > 0 {
                self.path.push('.');
            }
            self.path.push_str(&key);
            let again = !seen.insert(key);
            if again || self.all {
                self.keys.push((self.path.clone(), again));
            }
            map.next_value_seed(Walk { path: self.path, keys: self.keys, all: self.all })?;
            self.path.truncate(length);
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let length = self.path.len();
        for index in 0.. {
            write!(self.path, "[{index}]").expect("text takes text");
            let more = seq.next_element_seed(Walk { path: self.path, keys: self.keys, all: self.all })?;
            self.path.truncate(length);
            if more.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

/// Keys of a JSON document; of one that does not parse, those before the error.
fn keys(body: &[u8], all: bool) -> Vec<Key> {
    let (mut path, mut keys) = (String::new(), Vec::new());
    let walk = Walk { path: &mut path, keys: &mut keys, all };
    // Whoever reads the body for real reports what is wrong with it.
    let _ = walk.deserialize(&mut serde_json::Deserializer::from_slice(body));
    keys
}

/// What is odd about a body with these unknown fields, in the order and wording of upstream.
pub fn complaints(content_type: Option<&str>, body: &[u8], unknown: &[String]) -> Vec<String> {
    let unknown_field = |it: &String| format!("unknown field {it:?}");
    match content_type {
        Some(protobuf::CONTENT_TYPE) => unknown.iter().map(unknown_field).collect(),
        None | Some("application/json") => {
            let is_quiet = unknown.is_empty() && keys(body, false).is_empty();
            if is_quiet { Vec::new() } else { in_order(&keys(body, true), unknown) }
        }
        _ => twice_in_yaml(body).into_iter().chain(unknown.iter().map(unknown_field)).collect(),
    }
}

/// Unknown and repeated fields in the order of the document, each once; below an unknown field nothing counts.
fn in_order(keys: &[Key], unknown: &[String]) -> Vec<String> {
    let mut told: Vec<String> = Vec::new();
    for (path, again) in keys {
        let is_below =
            |top: &String| path.strip_prefix(top.as_str()).is_some_and(|it| it.starts_with(['.', '[']));
        let text = if unknown.contains(path) {
            format!("unknown field {path:?}")
        } else if *again && !unknown.iter().any(is_below) {
            format!("duplicate field {path:?}")
        } else {
            continue;
        };
        if !told.contains(&text) {
            told.push(text);
        }
    }
    told
}

/// The first key that a YAML document has twice, as Go's parser words it.
pub fn twice_in_yaml(body: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?;
    let error = serde_saphyr::from_str::<Value>(text).err()?;
    let serde_saphyr::Error::DuplicateMappingKey { key, .. } = error.without_snippet() else { return None };
    let line = error.location()?.line();
    let key = key.as_deref().unwrap_or_default();
    Some(format!("yaml: unmarshal errors:\n  line {line}: key {key:?} already set in map"))
}

/// A complaint as warnings: those of a YAML parser are one per line.
pub fn warnings(complaint: &str) -> Vec<String> {
    match complaint.strip_prefix("yaml: unmarshal errors:\n") {
        Some(lines) => lines.lines().map(|it| it.trim().to_owned()).collect(),
        None => vec![complaint.to_owned()],
    }
}

/// What is odd about a patch itself.
pub fn in_patch(body: &[u8], is_json_patch: bool) -> Vec<String> {
    if !is_json_patch {
        return in_order(&keys(body, false), &[]);
    }
    let mut told = Vec::new();
    for (path, again) in keys(body, true) {
        // `[0].value`: members of an operation, not of its value.
        let member = path.split_once("].").map(|it| it.1).unwrap_or_default();
        let text = if member.contains(['.', '[']) {
            continue;
        } else if again {
            format!("json patch duplicate field {path:?}")
        } else if !["op", "path", "from", "value"].contains(&member) {
            format!("json patch unknown field {path:?}")
        } else {
            continue;
        };
        told.push(text);
    }
    told
}

/// `fieldValidation=Strict`: 400 with every complaint.
pub fn refusal(resource: &Resource, complaints: &[String]) -> Status {
    let (kind, version) = (resource.kind, resource.version);
    Status::bad_request(format!(
        "{kind} in version {version:?} cannot be handled as a {kind}: strict decoding error: {}",
        complaints.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apiserver::resources::find_kind;

    fn told(kind: &str, content_type: &str, body: &str) -> Vec<String> {
        let body = body.as_bytes();
        let object = crate::apiserver::request::parse_body(Some(content_type), body).unwrap();
        let unknown = crate::apiserver::validate::unknown_fields(find_kind("v1", kind).unwrap(), &object);
        complaints(Some(content_type), body, &unknown)
    }

    /// Wording and order as kube-apiserver 1.36 gave them.
    #[test]
    fn in_the_order_of_the_document() {
        let body = r#"{"metadata":{"name":"a","name":"b"},"data":{"x":"1","x":"2","x":"3"},"foo":{"y":1,"y":2},"foo":2}"#;
        let want =
            [r#"duplicate field "metadata.name""#, r#"duplicate field "data.x""#, r#"unknown field "foo""#];
        assert_eq!(told("ConfigMap", "application/json", body), want);
        let body = r#"{"metadata":{"name":"a"},"spec":{"containers":[{"name":"a","image":"x","bar":1,"image":"y"},{"name":"b","image":"x","image":"y","baz":{}}],"foo":1}}"#;
        let want = [
            r#"unknown field "spec.containers[0].bar""#,
            r#"duplicate field "spec.containers[0].image""#,
            r#"duplicate field "spec.containers[1].image""#,
            r#"unknown field "spec.containers[1].baz""#,
            r#"unknown field "spec.foo""#,
        ];
        assert_eq!(told("Pod", "application/json", body), want);
        assert_eq!(told("Pod", "application/json", r#"{"metadata":{"name":"a"}}"#), [""; 0]);
    }

    #[test]
    fn yaml_names_the_line() {
        let body = "metadata:\n  name: a\n  name: b\nfoo: 1\n";
        let want =
            ["yaml: unmarshal errors:\n  line 3: key \"name\" already set in map", r#"unknown field "foo""#];
        let told = told("ConfigMap", "application/yaml", body);
        assert_eq!(told, want);
        assert_eq!(warnings(&told[0]), [r#"line 3: key "name" already set in map"#]);
    }

    #[test]
    fn patches() {
        let body = br#"[{"op":"add","path":"/foo","value":{"a":1,"a":2},"value":2},{"op":"add","path":"/y","value":"1","op":"add","wat":1}]"#;
        let want = [
            r#"json patch duplicate field "[0].value""#,
            r#"json patch duplicate field "[1].op""#,
            r#"json patch unknown field "[1].wat""#,
        ];
        assert_eq!(in_patch(body, true), want);
        assert_eq!(in_patch(br#"{"data":{"x":"1","x":"2"}}"#, false), [r#"duplicate field "data.x""#]);
    }
}
