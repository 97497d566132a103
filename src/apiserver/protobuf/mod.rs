//! Protobuf request bodies, which kubectl ≥ 1.32 sends for `create namespace` and its siblings.
//!
//! A body becomes the same JSON the JSON path reads. Only the messages in `messages` are known; another kind
//! is answered 415, and a field that is not in a known message is an error: nothing is dropped silently.
//! Go writes the zero values of fields that are not pointers; those are left out again.
//! Source: apimachinery `pkg/runtime/serializer/protobuf/protobuf.go`, `k8s.io/api/*/generated.proto`.

mod messages;
mod more;
mod wire;

use crate::apiserver::status::Status;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Number, Value, json};
use wire::{Reader, Wire};

/// Media type of the envelope.
pub const CONTENT_TYPE: &str = "application/vnd.kubernetes.protobuf";
const MAGIC: &[u8] = b"k8s\0";
/// Deepest nesting of messages, as for JSON.
const DEPTH: usize = 128;

/// How a field reads.
#[derive(Debug, Clone, Copy)]
enum Type {
    Text,
    /// Numbers and booleans of pointers: zero is a value.
    Number,
    Flag,
    /// Numbers and booleans that are not pointers: zero is absent.
    PlainNumber,
    PlainFlag,
    /// Nested message that is a pointer: an empty one is a value.
    Object(&'static [Field]),
    /// Nested message that is not: an empty one is absent.
    PlainObject(&'static [Field]),
    Time,
    IntOrText,
    TextMap,
    BytesMap,
    QuantityMap,
    Quantity,
    /// What the server sets itself; not decoded.
    Ignored,
}

/// How often a field occurs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Many {
    One,
    List,
}

/// One field of a message: number on the wire, name in JSON.
type Field = (u64, &'static str, Many, Type);

/// Decodes an enveloped body into JSON with apiVersion and kind. 415 for kinds without a table, 400 for bodies
/// that do not parse.
pub fn decode(body: &[u8]) -> Result<Value, Status> {
    let bad = |why: &str| Status::bad_request(format!("protobuf body cannot be decoded: {why}"));
    let unknown = body.strip_prefix(MAGIC).ok_or_else(|| bad("the k8s prefix is missing"))?;
    let (mut api_version, mut kind, mut raw) = (String::new(), String::new(), &[][..]);
    for item in Reader::new(unknown) {
        match item.map_err(|error| bad(&error))? {
            (1, Wire::Bytes(meta)) => {
                for item in Reader::new(meta) {
                    match item.map_err(|error| bad(&error))? {
                        (1, Wire::Bytes(text)) => api_version = String::from_utf8_lossy(text).into_owned(),
                        (2, Wire::Bytes(text)) => kind = String::from_utf8_lossy(text).into_owned(),
                        _ => {}
                    }
                }
            }
            (2, Wire::Bytes(bytes)) => raw = bytes,
            _ => {}
        }
    }
    let fields = messages::find(&api_version, &kind)
        .ok_or_else(|| Status::unsupported_media(&["application/json", "application/yaml"]))?;
    let mut object = message(raw, fields, DEPTH).map_err(|error| bad(&format!("{kind}: {error}")))?;
    object.insert("apiVersion".into(), api_version.into());
    object.insert("kind".into(), kind.into());
    Ok(Value::Object(object))
}

fn message(bytes: &[u8], fields: &[Field], depth: usize) -> Result<Map<String, Value>, String> {
    let depth = depth.checked_sub(1).ok_or("messages are nested too deeply")?;
    let mut object = Map::new();
    for item in Reader::new(bytes) {
        let (number, wire) = item?;
        let (_, name, many, type_) = fields
            .iter()
            .find(|(it, ..)| *it == number)
            .ok_or_else(|| format!("unknown field number {number}"))?;
        if let Type::TextMap | Type::BytesMap | Type::QuantityMap = type_ {
            let Wire::Bytes(entry) = wire else { return Err(format!("{name} is not a map")) };
            let (key, value) = map_entry(entry, *type_)?;
            let map = object.entry(*name).or_insert_with(|| json!({}));
            map[key] = value;
            continue;
        }
        let value = value(wire, *type_, depth).map_err(|error| format!("{name}: {error}"))?;
        match (many, value) {
            (Many::One, Some(value)) => {
                object.insert((*name).to_owned(), value);
            }
            (Many::One, None) => {}
            (Many::List, value) => {
                // An item of a list counts even when it is empty.
                let value = value.unwrap_or_else(|| match type_ {
                    Type::Text => json!(""),
                    Type::PlainNumber => json!(0),
                    Type::PlainFlag => json!(false),
                    _ => json!({}),
                });
                if let Some(list) = object.entry(*name).or_insert_with(|| json!([])).as_array_mut() {
                    list.push(value);
                }
            }
        }
    }
    Ok(object)
}

/// `None` when the value means absent.
fn value(wire: Wire<'_>, type_: Type, depth: usize) -> Result<Option<Value>, String> {
    Ok(match (type_, wire) {
        (Type::Ignored, _) => None,
        (Type::Text, Wire::Bytes(bytes)) => {
            let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
            (!text.is_empty()).then(|| text.into())
        }
        (Type::Number, Wire::Varint(number)) => Some(Value::Number(Number::from(number as i64))),
        (Type::PlainNumber, Wire::Varint(number)) => {
            (number != 0).then(|| Value::Number(Number::from(number as i64)))
        }
        (Type::Flag, Wire::Varint(flag)) => Some((flag != 0).into()),
        (Type::PlainFlag, Wire::Varint(flag)) => (flag != 0).then_some(Value::Bool(true)),
        (Type::Object(fields), Wire::Bytes(bytes)) => Some(Value::Object(message(bytes, fields, depth)?)),
        (Type::PlainObject(fields), Wire::Bytes(bytes)) => {
            let object = message(bytes, fields, depth)?;
            (!object.is_empty()).then_some(Value::Object(object))
        }
        (Type::Time, Wire::Bytes(bytes)) => time(bytes)?,
        (Type::IntOrText, Wire::Bytes(bytes)) => Some(int_or_text(bytes)?),
        (Type::Quantity, Wire::Bytes(bytes)) => Some(quantity(bytes)?.into()),
        (type_, _) => return Err(format!("wire type does not fit {type_:?}")),
    })
}

fn time(bytes: &[u8]) -> Result<Option<Value>, String> {
    let mut seconds = None;
    for item in Reader::new(bytes) {
        if let (1, Wire::Varint(value)) = item? {
            seconds = Some(value as i64);
        }
    }
    let Some(seconds) = seconds else { return Ok(None) };
    let time = Timestamp::from_second(seconds).map_err(|error| error.to_string())?;
    Ok(Some(time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into()))
}

fn int_or_text(bytes: &[u8]) -> Result<Value, String> {
    let (mut is_text, mut number, mut text) = (false, 0, String::new());
    for item in Reader::new(bytes) {
        match item? {
            (1, Wire::Varint(kind)) => is_text = kind == 1,
            (2, Wire::Varint(value)) => number = value as i64,
            (3, Wire::Bytes(value)) => text = String::from_utf8_lossy(value).into_owned(),
            _ => {}
        }
    }
    Ok(if is_text { text.into() } else { number.into() })
}

fn quantity(bytes: &[u8]) -> Result<String, String> {
    let mut quantity = String::new();
    for item in Reader::new(bytes) {
        if let (1, Wire::Bytes(bytes)) = item? {
            quantity = String::from_utf8_lossy(bytes).into_owned();
        }
    }
    Ok(quantity)
}

fn map_entry(bytes: &[u8], type_: Type) -> Result<(String, Value), String> {
    let (mut key, mut value) = (String::new(), &[][..]);
    for item in Reader::new(bytes) {
        match item? {
            (1, Wire::Bytes(text)) => key = String::from_utf8_lossy(text).into_owned(),
            (2, Wire::Bytes(bytes)) => value = bytes,
            _ => {}
        }
    }
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let value = match type_ {
        Type::BytesMap => STANDARD.encode(value),
        Type::QuantityMap => quantity(value)?,
        _ => text(value),
    };
    Ok((key, value.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(number: u8, payload: &[u8]) -> Vec<u8> {
        let mut out = vec![number << 3 | 2, u8::try_from(payload.len()).unwrap()];
        out.extend_from_slice(payload);
        out
    }

    fn envelope(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
        let meta = [field(1, api_version.as_bytes()), field(2, kind.as_bytes())].concat();
        [MAGIC.to_vec(), field(1, &meta), field(2, raw), field(3, b""), field(4, b"")].concat()
    }

    #[test]
    fn a_namespace_as_kubectl_sends_it() {
        let metadata =
            [field(1, b"demo"), field(2, b""), field(3, b""), vec![0x38, 0], field(8, b"")].concat();
        let raw = [field(1, &metadata), field(2, b""), field(3, &field(1, b""))].concat();
        assert_eq!(
            decode(&envelope("v1", "Namespace", &raw)).unwrap(),
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "demo"}})
        );
    }

    #[test]
    fn maps_and_bytes() {
        let entry = [field(1, b"k"), field(2, b"\x00\x01")].concat();
        let raw = [field(1, &field(1, b"s")), field(2, &entry), field(3, b"Opaque")].concat();
        assert_eq!(
            decode(&envelope("v1", "Secret", &raw)).unwrap(),
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"k": "AAE="}, "type": "Opaque"})
        );
    }

    #[test]
    fn what_is_not_known_is_refused() {
        assert_eq!(decode(&envelope("v1", "Widget", b"")).unwrap_err().code, 415);
        assert_eq!(decode(&envelope("v1", "Namespace", &field(9, b""))).unwrap_err().code, 400);
        assert_eq!(decode(b"{}").unwrap_err().code, 400);
        let mut short = envelope("v1", "Namespace", b"");
        short.truncate(8);
        assert_eq!(decode(&short).unwrap_err().code, 400);
    }
}
