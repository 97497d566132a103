//! Protobuf request bodies: what Go clients send, and kubectl ≥ 1.32 for `create namespace` and its siblings.
//!
//! A body becomes the same JSON the JSON path reads. A kind without a layout is answered 415, and a field that is not
//! in a known message is an error: nothing is dropped silently. Go writes the zero values of fields that are not
//! pointers; those that JSON would leave out are left out again.
//! Source: apimachinery `pkg/runtime/serializer/protobuf/protobuf.go`, `k8s.io/api/*/generated.proto`.

mod wire;

use crate::apiserver::layout::{Field, Kind, Layout};
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
    let place = Layout::get()
        .find(&api_version, &kind)
        .ok_or_else(|| Status::unsupported_media(&["application/json", "application/yaml"]))?;
    let mut object = Map::new();
    message(raw, place, &mut object, DEPTH).map_err(|error| bad(&format!("{kind}: {error}")))?;
    object.insert("apiVersion".into(), api_version.into());
    object.insert("kind".into(), kind.into());
    Ok(Value::Object(object))
}

/// Reads a message of the struct at `place` into `object`.
fn message(bytes: &[u8], place: usize, object: &mut Map<String, Value>, depth: usize) -> Result<(), String> {
    let depth = depth.checked_sub(1).ok_or("messages are nested too deeply")?;
    let fields = Layout::get().fields(place);
    for item in Reader::new(bytes) {
        let (number, wire) = item?;
        let field = fields
            .iter()
            .find(|it| it.number == number)
            .ok_or_else(|| format!("unknown field number {number}"))?;
        let Field { name, kind, .. } = *field;
        let named = |error: String| format!("{name}: {error}");
        if let (Kind::Struct(inner), "", Wire::Bytes(bytes)) = (kind, name, wire) {
            message(bytes, inner, object, depth)?;
        } else if field.map {
            let Wire::Bytes(entry) = wire else { return Err(format!("{name} is not a map")) };
            let (key, value) = map_entry(entry, kind, depth).map_err(named)?;
            object.entry(name).or_insert_with(|| json!({}))[key] = value;
        } else if let Some(value) = value(wire, kind, depth).map_err(named)? {
            if field.list {
                if let Some(list) = object.entry(name).or_insert_with(|| json!([])).as_array_mut() {
                    list.push(value);
                }
            } else if field.pointer || !is_left_out(&value, field) {
                object.insert(name.to_owned(), value);
            }
        }
    }
    Ok(())
}

/// Whether JSON has no word for this value of a field that is no pointer.
fn is_left_out(value: &Value, field: &Field) -> bool {
    match value {
        Value::String(text) => text.is_empty(),
        Value::Number(number) => field.omit_empty && number.as_i64() == Some(0),
        Value::Bool(flag) => field.omit_empty && !flag,
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

/// `None` when the value means absent.
fn value(wire: Wire<'_>, kind: Kind, depth: usize) -> Result<Option<Value>, String> {
    Ok(Some(match (kind, wire) {
        (Kind::Ignored, _) => return Ok(None),
        (Kind::Text, Wire::Bytes(bytes)) => {
            std::str::from_utf8(bytes).map_err(|error| error.to_string())?.into()
        }
        (Kind::Int, Wire::Varint(number)) => Value::Number(Number::from(number as i64)),
        (Kind::Bool, Wire::Varint(flag)) => (flag != 0).into(),
        (Kind::Bytes, Wire::Bytes(bytes)) => STANDARD.encode(bytes).into(),
        (Kind::Struct(place), Wire::Bytes(bytes)) => {
            let mut object = Map::new();
            message(bytes, place, &mut object, depth)?;
            Value::Object(object)
        }
        (Kind::Time, Wire::Bytes(bytes)) => return time(bytes, "%Y-%m-%dT%H:%M:%SZ"),
        (Kind::MicroTime, Wire::Bytes(bytes)) => return time(bytes, "%Y-%m-%dT%H:%M:%S%.6fZ"),
        (Kind::IntOrString, Wire::Bytes(bytes)) => int_or_text(bytes)?,
        (Kind::Quantity, Wire::Bytes(bytes)) => quantity(bytes)?.into(),
        (Kind::Raw, Wire::Bytes(bytes)) => return raw(bytes),
        (kind, _) => return Err(format!("wire type does not fit {kind:?}")),
    }))
}

/// JSON text inside a message.
fn raw(bytes: &[u8]) -> Result<Option<Value>, String> {
    for item in Reader::new(bytes) {
        if let (1, Wire::Bytes(text)) = item? {
            return serde_json::from_slice(text).map(Some).map_err(|error| error.to_string());
        }
    }
    Ok(None)
}

fn time(bytes: &[u8], format: &str) -> Result<Option<Value>, String> {
    let (mut seconds, mut nanos) = (None, 0);
    for item in Reader::new(bytes) {
        match item? {
            (1, Wire::Varint(value)) => seconds = Some(value as i64),
            (2, Wire::Varint(value)) => nanos = value as i32,
            _ => {}
        }
    }
    let Some(seconds) = seconds else { return Ok(None) };
    let time = Timestamp::new(seconds, nanos).map_err(|error| error.to_string())?;
    Ok(Some(time.strftime(format).to_string().into()))
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

fn map_entry(bytes: &[u8], kind: Kind, depth: usize) -> Result<(String, Value), String> {
    let (mut key, mut content) = (String::new(), Wire::Bytes(&[]));
    for item in Reader::new(bytes) {
        match item? {
            (1, Wire::Bytes(text)) => key = String::from_utf8_lossy(text).into_owned(),
            (2, wire) => content = wire,
            _ => {}
        }
    }
    Ok((key, value(content, kind, depth)?.unwrap_or_default()))
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
    fn pointers_inlined_messages_and_times() {
        let source = field(2, b"");
        let volume = [field(1, b"data"), field(2, &source)].concat();
        let spec = [field(1, &volume), vec![0x20, 0], field(10, b"")].concat();
        let status = field(7, &[vec![0x08, 1], vec![0x10, 0]].concat());
        let raw = [field(1, &field(1, b"p")), field(2, &spec), field(3, &status)].concat();
        assert_eq!(
            decode(&envelope("v1", "Pod", &raw)).unwrap(),
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "status": {"startTime": "1970-01-01T00:00:01Z"},
                "spec": {"volumes": [{"name": "data", "emptyDir": {}}], "terminationGracePeriodSeconds": 0}})
        );
        let lease = field(2, &field(4, &[vec![0x08, 1], vec![0x10, 0xe8, 7]].concat()));
        let lease = decode(&envelope("coordination.k8s.io/v1", "Lease", &lease)).unwrap();
        assert_eq!(lease["spec"]["renewTime"], "1970-01-01T00:00:01.000001Z");
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
