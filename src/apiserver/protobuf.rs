//! Kubernetes protobuf request bodies into the JSON the rest of the server works on.
//!
//! kubectl 1.32 and newer sends `create namespace`, `create configmap` and their like in protobuf and takes no refusal.
//! A table per message maps field numbers to JSON names; an unknown number is an error, never dropped silently.
//! Answers are always JSON. Sources: kubernetes `staging/src/k8s.io/api/*/generated.proto`,
//! `apimachinery/pkg/runtime/generated.proto` (`Unknown`, the envelope behind the magic number).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Value};

/// First octets of every Kubernetes protobuf body.
const MAGIC: &[u8] = b"k8s\0";

/// Deepest nesting of messages; the kinds here need six.
const DEPTH: usize = 32;

/// Why a body cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// The kind has no table: 415, the client may send JSON.
    Unsupported(String),
    /// The bytes are not what they claim to be: 400.
    Malformed(String),
}

/// A message: its fields by number.
type Message = &'static [(u32, &'static str, Kind)];

#[derive(Clone, Copy)]
enum Kind {
    /// A string; the empty one is Go's zero value and left out.
    Text,
    /// A string behind a Go pointer: kept even if empty.
    OptionalText,
    /// A 32 or 64 bit integer; zero is left out.
    Integer,
    /// An integer behind a Go pointer.
    OptionalInteger,
    /// A boolean; `false` is left out.
    Boolean,
    /// A boolean behind a Go pointer.
    OptionalBoolean,
    /// `meta/v1.Time`: seconds and nanoseconds.
    Time,
    /// `util/intstr.IntOrString`.
    IntOrString,
    /// Raw JSON in a wrapper message with field 1.
    RawJson,
    /// `map<string, string>`.
    TextMap,
    /// `map<string, bytes>`, base64 in JSON.
    BytesMap,
    /// `repeated string`.
    Texts,
    /// A message; an empty one is left out.
    One(Message),
    /// `repeated` message.
    Many(Message),
}

use Kind::{
    Boolean, BytesMap, IntOrString, Integer, Many, One, OptionalBoolean, OptionalInteger, OptionalText,
    RawJson, Text, TextMap, Texts, Time,
};

const OWNER_REFERENCE: Message = &[
    (1, "kind", Text),
    (3, "name", Text),
    (4, "uid", Text),
    (5, "apiVersion", Text),
    (6, "controller", OptionalBoolean),
    (7, "blockOwnerDeletion", OptionalBoolean),
];

const MANAGED_FIELDS: Message = &[
    (1, "manager", Text),
    (2, "operation", Text),
    (3, "apiVersion", Text),
    (4, "time", Time),
    (6, "fieldsType", Text),
    (7, "fieldsV1", RawJson),
    (8, "subresource", Text),
];

const OBJECT_META: Message = &[
    (1, "name", Text),
    (2, "generateName", Text),
    (3, "namespace", Text),
    (4, "selfLink", Text),
    (5, "uid", Text),
    (6, "resourceVersion", Text),
    (7, "generation", Integer),
    (8, "creationTimestamp", Time),
    (9, "deletionTimestamp", Time),
    (10, "deletionGracePeriodSeconds", OptionalInteger),
    (11, "labels", TextMap),
    (12, "annotations", TextMap),
    (13, "ownerReferences", Many(OWNER_REFERENCE)),
    (14, "finalizers", Texts),
    (17, "managedFields", Many(MANAGED_FIELDS)),
];

const CONDITION: Message = &[
    (1, "type", Text),
    (2, "status", Text),
    (3, "observedGeneration", Integer),
    (4, "lastTransitionTime", Time),
    (5, "reason", Text),
    (6, "message", Text),
];

const NAMESPACE_CONDITION: Message = &[
    (1, "type", Text),
    (2, "status", Text),
    (4, "lastTransitionTime", Time),
    (5, "reason", Text),
    (6, "message", Text),
];

const NAMESPACE: Message = &[
    (1, "metadata", One(OBJECT_META)),
    (2, "spec", One(&[(1, "finalizers", Texts)])),
    (3, "status", One(&[(1, "phase", Text), (2, "conditions", Many(NAMESPACE_CONDITION))])),
];

const CONFIG_MAP: Message = &[
    (1, "metadata", One(OBJECT_META)),
    (2, "data", TextMap),
    (3, "binaryData", BytesMap),
    (4, "immutable", OptionalBoolean),
];

const SECRET: Message = &[
    (1, "metadata", One(OBJECT_META)),
    (2, "data", BytesMap),
    (3, "type", Text),
    (4, "stringData", TextMap),
    (5, "immutable", OptionalBoolean),
];

const OBJECT_REFERENCE: Message = &[
    (1, "kind", Text),
    (2, "namespace", Text),
    (3, "name", Text),
    (4, "uid", Text),
    (5, "apiVersion", Text),
    (6, "resourceVersion", Text),
    (7, "fieldPath", Text),
];

const SERVICE_ACCOUNT: Message = &[
    (1, "metadata", One(OBJECT_META)),
    (2, "secrets", Many(OBJECT_REFERENCE)),
    (3, "imagePullSecrets", Many(&[(1, "name", Text)])),
    (4, "automountServiceAccountToken", OptionalBoolean),
];

const SERVICE_PORT: Message = &[
    (1, "name", Text),
    (2, "protocol", Text),
    (3, "port", Integer),
    (4, "targetPort", IntOrString),
    (5, "nodePort", Integer),
    (6, "appProtocol", OptionalText),
];

const SERVICE_SPEC: Message = &[
    (1, "ports", Many(SERVICE_PORT)),
    (2, "selector", TextMap),
    (3, "clusterIP", Text),
    (4, "type", Text),
    (5, "externalIPs", Texts),
    (7, "sessionAffinity", Text),
    (8, "loadBalancerIP", Text),
    (9, "loadBalancerSourceRanges", Texts),
    (10, "externalName", Text),
    (11, "externalTrafficPolicy", Text),
    (12, "healthCheckNodePort", Integer),
    (13, "publishNotReadyAddresses", Boolean),
    (14, "sessionAffinityConfig", One(&[(1, "clientIP", One(&[(1, "timeoutSeconds", OptionalInteger)]))])),
    (17, "ipFamilyPolicy", OptionalText),
    (18, "clusterIPs", Texts),
    (19, "ipFamilies", Texts),
    (20, "allocateLoadBalancerNodePorts", OptionalBoolean),
    (21, "loadBalancerClass", OptionalText),
    (22, "internalTrafficPolicy", OptionalText),
    (23, "trafficDistribution", OptionalText),
];

const LOAD_BALANCER_INGRESS: Message = &[(1, "ip", Text), (2, "hostname", Text), (3, "ipMode", OptionalText)];

const SERVICE: Message = &[
    (1, "metadata", One(OBJECT_META)),
    (2, "spec", One(SERVICE_SPEC)),
    (
        3,
        "status",
        One(&[
            (1, "loadBalancer", One(&[(1, "ingress", Many(LOAD_BALANCER_INGRESS))])),
            (2, "conditions", Many(CONDITION)),
        ]),
    ),
];

/// Kinds whose bodies can be decoded.
const KINDS: &[(&str, &str, Message)] = &[
    ("v1", "Namespace", NAMESPACE),
    ("v1", "ConfigMap", CONFIG_MAP),
    ("v1", "Secret", SECRET),
    ("v1", "ServiceAccount", SERVICE_ACCOUNT),
    ("v1", "Service", SERVICE),
];

/// Decodes one body: magic number, envelope, message.
///
/// # Errors
/// See [`DecodeError`].
pub fn decode(body: &[u8]) -> Result<Value, DecodeError> {
    let envelope = body.strip_prefix(MAGIC).ok_or_else(|| {
        DecodeError::Malformed("the body does not start with the protobuf magic number".to_owned())
    })?;
    let (mut api_version, mut kind, mut raw) = (String::new(), String::new(), &[][..]);
    for field in Fields(envelope) {
        match field.map_err(DecodeError::Malformed)? {
            (1, Wire::Bytes(meta)) => {
                for field in Fields(meta) {
                    match field.map_err(DecodeError::Malformed)? {
                        (1, Wire::Bytes(bytes)) => {
                            api_version = text(bytes).map_err(DecodeError::Malformed)?
                        }
                        (2, Wire::Bytes(bytes)) => kind = text(bytes).map_err(DecodeError::Malformed)?,
                        _ => {}
                    }
                }
            }
            (2, Wire::Bytes(bytes)) => raw = bytes,
            _ => {}
        }
    }
    let (_, _, message) = KINDS
        .iter()
        .find(|(version, name, _)| *version == api_version && *name == kind)
        .ok_or_else(|| DecodeError::Unsupported(format!("{kind} in version {api_version:?}")))?;
    let mut object = self::message(raw, message, DEPTH)
        .map_err(|reason| DecodeError::Malformed(format!("{kind} in version {api_version:?}: {reason}")))?;
    object.insert("apiVersion".to_owned(), api_version.into());
    object.insert("kind".to_owned(), kind.into());
    Ok(Value::Object(object))
}

fn message(bytes: &[u8], fields: Message, depth: usize) -> Result<Map<String, Value>, String> {
    if depth == 0 {
        return Err("messages are nested too deeply".to_owned());
    }
    let mut object = Map::new();
    for field in Fields(bytes) {
        let (number, wire) = field?;
        let (_, name, kind) = fields
            .iter()
            .find(|(known, _, _)| *known == number)
            .ok_or_else(|| format!("unknown protobuf field {number}"))?;
        set(&mut object, name, *kind, wire, depth).map_err(|reason| format!("{name}: {reason}"))?;
    }
    Ok(object)
}

/// Adds one occurrence of a field.
fn set(
    object: &mut Map<String, Value>,
    name: &str,
    kind: Kind,
    wire: Wire<'_>,
    depth: usize,
) -> Result<(), String> {
    let value = match (kind, wire) {
        // Go writes the zero values of plain fields.
        (Integer | Boolean, Wire::Varint(0)) | (Text, Wire::Bytes([])) => return Ok(()),
        (Text | OptionalText, Wire::Bytes(bytes)) => text(bytes)?.into(),
        (Integer | OptionalInteger, Wire::Varint(number)) => (number as i64).into(),
        (Boolean | OptionalBoolean, Wire::Varint(number)) => (number != 0).into(),
        (Time, Wire::Bytes(bytes)) => match time(bytes)? {
            Some(time) => time.into(),
            None => return Ok(()),
        },
        (IntOrString, Wire::Bytes(bytes)) => int_or_string(bytes)?,
        (RawJson, Wire::Bytes(bytes)) => raw_json(bytes)?,
        (TextMap, Wire::Bytes(entry)) => {
            let (key, value) = entry_of(entry)?;
            return insert(object, name, key, text(value)?.into());
        }
        (BytesMap, Wire::Bytes(entry)) => {
            let (key, value) = entry_of(entry)?;
            return insert(object, name, key, STANDARD.encode(value).into());
        }
        (Texts, Wire::Bytes(bytes)) => return push(object, name, text(bytes)?.into()),
        (Many(fields), Wire::Bytes(bytes)) => {
            return push(object, name, Value::Object(message(bytes, fields, depth - 1)?));
        }
        (One(fields), Wire::Bytes(bytes)) => {
            let inner = message(bytes, fields, depth - 1)?;
            if inner.is_empty() {
                return Ok(());
            }
            inner.into()
        }
        _ => return Err("wrong protobuf wire type".to_owned()),
    };
    object.insert(name.to_owned(), value);
    Ok(())
}

fn push(object: &mut Map<String, Value>, name: &str, value: Value) -> Result<(), String> {
    match object.entry(name).or_insert_with(|| Value::Array(Vec::new())) {
        Value::Array(items) => items.push(value),
        _ => return Err("not a list".to_owned()),
    }
    Ok(())
}

fn insert(object: &mut Map<String, Value>, name: &str, key: String, value: Value) -> Result<(), String> {
    match object.entry(name).or_insert_with(|| Value::Object(Map::new())) {
        Value::Object(entries) => entries.insert(key, value),
        _ => return Err("not a map".to_owned()),
    };
    Ok(())
}

fn text(bytes: &[u8]) -> Result<String, String> {
    String::from_utf8(bytes.to_vec()).map_err(|_| "a string is not UTF-8".to_owned())
}

/// Key and value of a map entry; an absent one is empty.
fn entry_of(entry: &[u8]) -> Result<(String, &[u8]), String> {
    let (mut key, mut value) = (String::new(), &[][..]);
    for field in Fields(entry) {
        match field? {
            (1, Wire::Bytes(bytes)) => key = text(bytes)?,
            (2, Wire::Bytes(bytes)) => value = bytes,
            _ => return Err("not a map entry".to_owned()),
        }
    }
    Ok((key, value))
}

/// RFC 3339 in whole seconds; `None` for the zero time, which Go writes for an unset one.
fn time(bytes: &[u8]) -> Result<Option<String>, String> {
    let mut seconds = None;
    for field in Fields(bytes) {
        if let (1, Wire::Varint(number)) = field? {
            seconds = Some(number as i64);
        }
    }
    let Some(seconds) = seconds else { return Ok(None) };
    let stamp = Timestamp::from_second(seconds).map_err(|_| format!("time {seconds} is out of range"))?;
    Ok((stamp.as_second() > -62_135_596_800).then(|| stamp.to_string()))
}

fn int_or_string(bytes: &[u8]) -> Result<Value, String> {
    let (mut is_text, mut number, mut string) = (false, 0, String::new());
    for field in Fields(bytes) {
        match field? {
            (1, Wire::Varint(kind)) => is_text = kind == 1,
            (2, Wire::Varint(value)) => number = i64::from(value as i32),
            (3, Wire::Bytes(bytes)) => string = text(bytes)?,
            _ => return Err("not an IntOrString".to_owned()),
        }
    }
    Ok(if is_text { string.into() } else { number.into() })
}

fn raw_json(bytes: &[u8]) -> Result<Value, String> {
    for field in Fields(bytes) {
        if let (1, Wire::Bytes(raw)) = field? {
            return serde_json::from_slice(raw).map_err(|error| format!("not JSON: {error}"));
        }
    }
    Ok(Value::Object(Map::new()))
}

/// One value on the wire; fixed-width ones do not occur in these kinds.
#[derive(Debug)]
enum Wire<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
}

/// The fields of a message in order: number and value. Ends after the first error.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Wire<'a>), String>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.read();
        if field.is_none() {
            self.0 = &[];
        }
        Some(field.ok_or_else(|| "the protobuf message is cut short or malformed".to_owned()))
    }
}

impl<'a> Fields<'a> {
    fn read(&mut self) -> Option<(u32, Wire<'a>)> {
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).ok().filter(|it| *it > 0)?;
        match tag & 7 {
            0 => Some((number, Wire::Varint(self.varint()?))),
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                let (bytes, rest) = self.0.split_at_checked(length)?;
                self.0 = rest;
                Some((number, Wire::Bytes(bytes)))
            }
            _ => None,
        }
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        let mut out = vec![number << 3 | 2, u8::try_from(bytes.len()).expect("short")];
        out.extend_from_slice(bytes);
        out
    }

    fn body(kind: &str, raw: &[u8]) -> Vec<u8> {
        let meta = [field(1, b"v1"), field(2, kind.as_bytes())].concat();
        [MAGIC.to_vec(), field(1, &meta), field(2, raw), field(3, b""), field(4, b"")].concat()
    }

    #[test]
    fn a_namespace_as_kubectl_sends_it() {
        // Go writes the zero values: empty strings, an empty time, empty spec and status.
        let zero_time = field(8, b"");
        let meta = [field(1, b"demo"), field(2, b""), field(3, b""), zero_time].concat();
        let raw = [field(1, &meta), field(2, b""), field(3, &field(1, b""))].concat();
        assert_eq!(
            decode(&body("Namespace", &raw)),
            Ok(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "demo"}}))
        );
    }

    #[test]
    fn maps_bytes_and_int_or_string() {
        let entry = |key: &[u8], value: &[u8]| [field(1, key), field(2, value)].concat();
        let raw = [field(2, &entry(b"password", b"s3cret")), field(3, b"Opaque")].concat();
        assert_eq!(
            decode(&body("Secret", &raw)),
            Ok(
                json!({"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "data": {"password": "czNjcmV0"}})
            )
        );
        let port =
            [field(1, b"web"), vec![3 << 3, 80], field(4, &[1 << 3, 1, 2 << 3, 0, 3 << 3 | 2, 1, b'x'])]
                .concat();
        let raw = field(2, &[field(1, &port), field(3, b"None")].concat());
        assert_eq!(
            decode(&body("Service", &raw)),
            Ok(json!({"apiVersion": "v1", "kind": "Service",
                "spec": {"clusterIP": "None", "ports": [{"name": "web", "port": 80, "targetPort": "x"}]}}))
        );
    }

    #[test]
    fn what_is_not_understood_is_never_dropped() {
        let unknown = field(9, b"x");
        for (bytes, want) in [
            (
                b"{}".to_vec(),
                DecodeError::Malformed("the body does not start with the protobuf magic number".into()),
            ),
            (body("Pod", b""), DecodeError::Unsupported("Pod in version \"v1\"".into())),
            (
                body("ConfigMap", &unknown),
                DecodeError::Malformed("ConfigMap in version \"v1\": unknown protobuf field 9".into()),
            ),
            (
                body("ConfigMap", &[10, 200]),
                DecodeError::Malformed(
                    "ConfigMap in version \"v1\": the protobuf message is cut short or malformed".into(),
                ),
            ),
        ] {
            assert_eq!(decode(&bytes), Err(want));
        }
    }
}
