//! The v2 document, which kubectl before 1.29 reads, as a protobuf message.
//!
//! It names the operations and their parameters: kubectl 1.20 looks there whether the server knows dry runs.
//! Schemas are left out: those of k8s-openapi have no merge keys, and with them old clients would replace lists
//! that merge by key. Without, they use their compiled-in types and check nothing themselves.
//! Source of the field numbers: `openapiv2/OpenAPIv2.proto` of google/gnostic-models.

use super::PATCH;
use super::path_of;
use crate::apiserver::resources::{RESOURCES, Resource, Scope};

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
    message(&[(1, b"2.0"), (2, &info), (8, &paths)])
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
        assert!(document().len() > 1_000);
    }
}
