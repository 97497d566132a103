//! One version of one object: its key, its JSON, and its value for those who look inside.
//!
//! An object is serialised once, at its commit; lists and watches copy those bytes, and only who needs to look inside
//! parses them.

use crate::apiserver::resources::Resource;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use std::borrow::Cow;
use std::ops::Deref;
use std::sync::OnceLock;

/// Name of an object within its kind; the namespace is empty for cluster-scoped kinds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Namespace, or empty.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
}

impl Key {
    /// A key from its parts.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

/// One version of one object.
#[derive(Debug)]
pub struct Object {
    /// Resource version of the write that made it.
    pub version: u64,
    /// Its name.
    pub key: Key,
    /// The object serialised without apiVersion and kind: one line of JSON starting with `{`.
    pub body: Bytes,
    /// The whole object, with apiVersion and kind.
    pub value: Document,
}

impl Object {
    /// Serialises `value`, whose metadata.resourceVersion the caller has set.
    pub fn new(version: u64, value: Value) -> Self {
        let (key, body) = (key_of(&value), body_of(&value));
        let value = Document { resource: None, body: body.clone(), parsed: value.into() };
        Self { version, key, body, value }
    }

    /// A stored object, parsed when somebody looks into it.
    pub fn stored(resource: &'static Resource, version: u64, key: Key, body: Bytes) -> Self {
        let value = Document { resource: Some(resource), body: body.clone(), parsed: OnceLock::new() };
        Self { version, key, body, value }
    }
}

/// JSON that is parsed at the first look. Most versions of most objects are only ever copied out as bytes,
/// and parsed they take five times the room.
#[derive(Debug)]
pub struct Document {
    resource: Option<&'static Resource>,
    body: Bytes,
    parsed: OnceLock<Value>,
}

impl Document {
    /// The value for one look, without keeping what had to be parsed for it: for readers of many objects.
    pub fn read(&self) -> Cow<'_, Value> {
        self.parsed.get().map_or_else(|| Cow::Owned(self.parse()), Cow::Borrowed)
    }

    /// The value with nothing but its metadata; what has to be parsed for it is not kept.
    pub fn head(&self) -> Value {
        #[derive(Deserialize)]
        struct Head {
            #[serde(default)]
            metadata: Value,
        }
        let metadata = self.parsed.get().map_or_else(
            || serde_json::from_slice(&self.body).map(|it: Head| it.metadata).unwrap_or_default(),
            |it| it["metadata"].clone(),
        );
        json!({ "metadata": metadata })
    }

    /// Whether a parsed copy is kept.
    #[cfg(test)]
    pub fn is_parsed(&self) -> bool {
        self.parsed.get().is_some()
    }

    fn parse(&self) -> Value {
        let mut value: Value = serde_json::from_slice(&self.body)
            .expect("it was serialised here, and nests less than parsers take");
        if let Some(resource) = self.resource {
            value["apiVersion"] = resource.api_version().into();
            value["kind"] = resource.kind.into();
        }
        value
    }
}

impl Deref for Document {
    type Target = Value;

    fn deref(&self) -> &Value {
        self.parsed.get_or_init(|| self.parse())
    }
}

/// The JSON of `value` without apiVersion and kind, which come from the request's resource.
pub fn body_of(value: &Value) -> Bytes {
    let mut body = Vec::with_capacity(1024);
    body.push(b'{');
    for (key, field) in value.as_object().into_iter().flatten() {
        if key == "apiVersion" || key == "kind" {
            continue;
        }
        if body.len() > 1 {
            body.push(b',');
        }
        serde_json::to_writer(&mut body, key).expect("a string always serialises");
        body.push(b':');
        serde_json::to_writer(&mut body, field).expect("a JSON value always serialises");
    }
    body.push(b'}');
    // Without the spare room of the buffer.
    Bytes::from(body.into_boxed_slice())
}

/// The key of a stored object.
pub fn key_of(value: &Value) -> Key {
    let field = |name: &str| value["metadata"][name].as_str().unwrap_or_default();
    Key::new(field("namespace"), field("name"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_leave_out_the_type() {
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "d"}, "data": {"k": "1"}});
        let body = body_of(&object);
        assert_eq!(&body[..], br#"{"data":{"k":"1"},"metadata":{"name":"a","namespace":"d"}}"#);
    }
}
