//! The v2 document, which kubectl before 1.29 reads, as a protobuf message.
//!
//! It has the schemas, by which those clients check manifests, merge lists and `explain`, and the PATCH operations with
//! their parameters: kubectl 1.20 looks there whether the server knows dry runs.
//! Source of the field numbers: `openapiv2/OpenAPIv2.proto` of google/gnostic-models.

use super::{PATCH, path_of, schemas};
use crate::apiserver::resources::{RESOURCES, Resource, Scope};
use serde_json::Value;

/// Appends field `number` with a payload of its own length.
fn field(out: &mut Vec<u8>, number: u32, payload: &[u8]) {
    varint(out, u64::from(number) << 3 | 2);
    varint(out, payload.len() as u64);
    out.extend_from_slice(payload);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn message(fields: &[(u32, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (number, payload) in fields {
        field(&mut out, *number, payload);
    }
    out
}

/// The whole document.
pub fn document() -> Vec<u8> {
    let mut paths = Vec::new();
    for resource in RESOURCES.iter().filter(|it| it.is_stored()) {
        let scope = if resource.scope == Scope::Namespaced { "namespaces/{namespace}/" } else { "" };
        let root = path_of(resource.group, resource.version);
        let path = format!("/{root}/{scope}{}/{{name}}", resource.plural);
        let item = message(&[(8, &patch(resource))]);
        field(&mut paths, 2, &message(&[(1, path.as_bytes()), (2, &item)]));
    }
    let info = message(&[(1, b"Kubernetes"), (2, crate::apiserver::version::GIT_VERSION.as_bytes())]);
    let mut definitions = Vec::new();
    for (name, definition) in schemas::of(RESOURCES.iter().filter(|it| it.is_stored())) {
        field(&mut definitions, 1, &message(&[(1, name.as_bytes()), (2, &schema(&definition))]));
    }
    message(&[(1, b"2.0"), (2, &info), (8, &paths), (9, &definitions)])
}

/// A schema of v3 in the words of v2: references with what stands beside them, text where v3 has two types.
fn schema(value: &Value) -> Vec<u8> {
    let text = |name: &str| value[name].as_str();
    let mut out = Vec::new();
    let mut put = |number: u32, text: Option<&str>| {
        if let Some(text) = text {
            field(&mut out, number, text.as_bytes());
        }
    };
    let reference = text("$ref").or_else(|| value["allOf"][0]["$ref"].as_str());
    let reference = reference.map(|it| it.replace("#/components/schemas/", "#/definitions/"));
    put(1, reference.as_deref());
    put(2, text("format"));
    put(4, text("description"));
    for required in value["required"].as_array().into_iter().flatten() {
        put(19, required.as_str());
    }
    let kind = text("type").or_else(|| value.get("oneOf").map(|_| "string"));
    if let Some(default) = value.get("default") {
        field(&mut out, 5, &any(default));
    }
    for one in value["enum"].as_array().into_iter().flatten() {
        field(&mut out, 20, &any(one));
    }
    if let Some(inner) = value.get("additionalProperties").filter(|it| it.is_object()) {
        field(&mut out, 21, &message(&[(1, &schema(inner))]));
    }
    if let Some(kind) = kind {
        field(&mut out, 22, &message(&[(1, kind.as_bytes())]));
    }
    if let Some(items) = value.get("items") {
        field(&mut out, 23, &message(&[(1, &schema(items))]));
    }
    if let Some(properties) = value["properties"].as_object() {
        let mut all = Vec::new();
        for (name, property) in properties {
            field(&mut all, 1, &message(&[(1, name.as_bytes()), (2, &schema(property))]));
        }
        field(&mut out, 25, &all);
    }
    for (name, extension) in value.as_object().into_iter().flatten().filter(|it| it.0.starts_with("x-")) {
        field(&mut out, 31, &message(&[(1, name.as_bytes()), (2, &any(extension))]));
    }
    out
}

/// `Any{2 yaml}`; JSON is YAML.
fn any(value: &Value) -> Vec<u8> {
    message(&[(2, value.to_string().as_bytes())])
}

/// A PATCH operation.
fn patch(resource: &Resource) -> Vec<u8> {
    let id = format!("patch{}", resource.kind);
    let mut out = message(&[(5, id.as_bytes())]);
    for (name, kind) in PATCH {
        let parameter = message(&[(2, b"query"), (4, name.as_bytes()), (6, kind.as_bytes())]);
        // ParametersItem{1 Parameter{2 NonBodyParameter{2 QueryParameterSubSchema}}} and its siblings.
        let parameter = message(&[(1, &message(&[(2, &message(&[(3, &parameter)]))]))]);
        field(&mut out, 8, &parameter);
    }
    let response = message(&[(1, &message(&[(1, b"OK")]))]);
    field(&mut out, 9, &message(&[(1, &message(&[(1, b"200"), (2, &response)]))]));
    let gvk =
        format!("group: {:?}\nversion: {:?}\nkind: {:?}\n", resource.group, resource.version, resource.kind);
    let any = message(&[(2, gvk.as_bytes())]);
    field(&mut out, 13, &message(&[(1, b"x-kubernetes-group-version-kind"), (2, &any)]));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_add_up() {
        let mut out = Vec::new();
        field(&mut out, 16, &[7; 200]);
        assert_eq!(out[..4], [0x82, 0x01, 0xc8, 0x01]);
        assert!(document().len() > 100_000);
    }
}
