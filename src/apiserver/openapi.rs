//! OpenAPI documents, as small as clients accept.
//!
//! v3: one PATCH operation per kind with its query parameters: kubectl ≥ 1.27 looks there whether the server
//! validates fields. `requestBody` is left out on purpose: schemas without merge keys would make kubectl
//! ≥ 1.30 treat merge lists as atomic, while without a body it uses its compiled-in types.
//! v2: an empty protobuf message, which clients before 1.29 take as "no schema, no validation".

use crate::apiserver::discovery::group_versions;
use crate::apiserver::resources::{RESOURCES, Resource, Scope};
use serde_json::{Map, Value, json};

/// Content-Type of the v2 document. Clients ask with `@` before the version; echoing that breaks them.
pub const V2_CONTENT_TYPE: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// `api/v1` or `apis/{group}/{version}`.
fn path_of(group: &str, version: &str) -> String {
    if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") }
}

/// `/openapi/v3`.
pub fn index() -> Value {
    let mut paths = Map::new();
    for (group, version) in group_versions() {
        let path = path_of(group, version);
        let hash = document(group, version).map(|it| hash(&it)).unwrap_or_default();
        let url = format!("/openapi/v3/{path}?hash={hash}");
        paths.insert(path, json!({"serverRelativeURL": url}));
    }
    json!({"paths": paths})
}

/// `/openapi/v3/…` of one group; `None` when it is not served.
pub fn document(group: &str, version: &str) -> Option<Vec<u8>> {
    if !group_versions().contains(&(group, version)) {
        return None;
    }
    let mut paths = Map::new();
    for resource in RESOURCES.iter().filter(|it| it.group == group && it.version == version) {
        let scope = if resource.scope == Scope::Namespaced { "namespaces/{namespace}/" } else { "" };
        let path = format!("/{}/{scope}{}/{{name}}", path_of(group, version), resource.plural);
        paths.insert(path, json!({"patch": patch_operation(resource)}));
    }
    let document = json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": crate::apiserver::version::GIT_VERSION},
        "paths": paths,
        "components": {"schemas": {}},
    });
    Some(serde_json::to_vec(&document).expect("a JSON value always serialises"))
}

fn patch_operation(resource: &Resource) -> Value {
    let parameter = |name: &str, kind: &str| json!({"name": name, "in": "query", "schema": {"type": kind, "uniqueItems": true}});
    json!({
        "operationId": format!("patch{}", resource.kind),
        "parameters": [
            parameter("dryRun", "string"),
            parameter("fieldManager", "string"),
            parameter("fieldValidation", "string"),
            parameter("force", "boolean"),
        ],
        "responses": {"200": {"description": "OK"}},
        "x-kubernetes-action": "patch",
        "x-kubernetes-group-version-kind": {
            "group": resource.group,
            "version": resource.version,
            "kind": resource.kind,
        },
    })
}

/// FNV-1a of a document: changes when it does.
pub fn hash(document: &[u8]) -> String {
    let hash = document.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    format!("{hash:016X}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_names_every_group_document() {
        let index = index();
        let paths = index["paths"].as_object().unwrap();
        assert!(paths.contains_key("api/v1") && paths.contains_key("apis/apps/v1"));
        let document: Value = serde_json::from_slice(&document("apps", "v1").unwrap()).unwrap();
        let patch = &document["paths"]["/apis/apps/v1/namespaces/{namespace}/statefulsets/{name}"]["patch"];
        assert_eq!(patch["x-kubernetes-group-version-kind"]["kind"], "StatefulSet");
        assert!(patch.get("requestBody").is_none());
    }
}
