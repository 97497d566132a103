//! OpenAPI documents.
//!
//! v3: the schemas of all kinds and the operations clients look at: kubectl ≥ 1.27 reads there whether the
//! server validates fields, what `explain` prints, and, from 1.30 on, how lists merge.
//! v2, for clients before 1.29: the same schemas and the PATCH operations, as protobuf.
//!
//! Nothing is made before somebody asks, and nothing is kept: clients cache by the hash in the URL.

mod facts;
mod schemas;
mod v2;

pub use v2::document as document_v2;

use crate::apiserver::discovery::group_versions;
use crate::apiserver::resources::{RESOURCES, Resource, Scope};
use serde_json::{Map, Value, json};

/// Content-Type of the v2 document. Clients ask with `@` before the version; echoing that breaks them.
pub const V2_CONTENT_TYPE: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// `api/v1` or `apis/{group}/{version}`.
fn path_of(group: &str, version: &str) -> String {
    if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") }
}

/// `/openapi/v3` of a server below `base`.
///
/// The first kubectl 1.27 take these URLs as they are; later ones put the path of the server before them, twice then.
pub fn index(base: &str) -> Value {
    let mut paths = Map::new();
    for (group, version) in group_versions() {
        let path = path_of(group, version);
        let url = format!("{base}/openapi/v3/{path}?hash={}", hash(group, version));
        paths.insert(path, json!({"serverRelativeURL": url}));
    }
    json!({"paths": paths})
}

/// `/openapi/v3/…` of one group; `None` when it is not served.
pub fn document(group: &str, version: &str) -> Option<Vec<u8>> {
    if !group_versions().contains(&(group, version)) {
        return None;
    }
    let served = || RESOURCES.iter().filter(|it| it.group == group && it.version == version);
    let patches: Map<String, Value> = PATCH_TYPES
        .iter()
        .map(|it| {
            ((*it).to_owned(), json!({"schema": {"$ref": format!("#/components/schemas/{PATCH_SCHEMA}")}}))
        })
        .collect();
    let mut schemas = schemas::of(served());
    schemas.insert(PATCH_SCHEMA.to_owned(), json!({"description": PATCH_TEXT, "type": "object"}));
    let mut paths = Map::new();
    for resource in served() {
        let root = path_of(group, version);
        let scope = if resource.scope == Scope::Namespaced { "namespaces/{namespace}/" } else { "" };
        let collection = format!("/{root}/{scope}{}", resource.plural);
        let item = format!("{collection}/{{name}}");
        let write = |action: &str| operation(resource, action, WRITE);
        let (mut many, mut one) = (json!({"get": operation(resource, "list", &[])}), json!({}));
        one["get"] = operation(resource, "get", &[]);
        if resource.is_stored() {
            many["post"] = write("post");
            many["delete"] = operation(resource, "deletecollection", &[]);
            one["put"] = write("put");
            one["patch"] = operation(resource, "patch", PATCH);
            one["patch"]["requestBody"] = json!({"content": patches, "required": true});
            one["delete"] = operation(resource, "delete", &[("dryRun", "string")]);
        }
        if resource.scope == Scope::Namespaced {
            // `explain` of kubectl 1.27 finds a resource by this path alone.
            let everywhere = json!({"get": operation(resource, "list", &[])});
            paths.insert(format!("/{root}/{}", resource.plural), everywhere);
        }
        paths.insert(collection, many);
        paths.insert(item, one);
    }
    let document = json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": crate::apiserver::version::GIT_VERSION},
        "paths": paths,
        "components": {"schemas": schemas},
    });
    Some(serde_json::to_vec(&document).expect("a JSON value always serialises"))
}

/// What a PATCH body may be.
const PATCH_TYPES: &[&str] = &[
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
];
const PATCH_SCHEMA: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Patch";
const PATCH_TEXT: &str =
    "Patch is provided to give a concrete name and type to the Kubernetes PATCH request body.";

/// Query parameters of POST and PUT.
const WRITE: &[(&str, &str)] =
    &[("dryRun", "string"), ("fieldManager", "string"), ("fieldValidation", "string")];
/// Query parameters of PATCH.
const PATCH: &[(&str, &str)] =
    &[("dryRun", "string"), ("fieldManager", "string"), ("fieldValidation", "string"), ("force", "boolean")];

fn operation(resource: &Resource, action: &str, parameters: &[(&str, &str)]) -> Value {
    let parameters: Vec<Value> = parameters
        .iter()
        .map(|(name, kind)| json!({"name": name, "in": "query", "schema": {"type": kind, "uniqueItems": true}}))
        .collect();
    json!({
        "operationId": format!("{action}{}", resource.kind),
        "parameters": parameters,
        "responses": {"200": {"description": "OK"}},
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": schemas::gvk(resource),
    })
}

/// Changes when documents do: raise it with their content.
const EDITION: u32 = 3;

/// What names the content of one document, without making it: documents change with the build only.
pub fn hash(group: &str, version: &str) -> String {
    let text = format!("{} {EDITION} {group}/{version}", crate::apiserver::version::GIT_VERSION);
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    format!("{hash:016X}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(group: &str, version: &str) -> Value {
        serde_json::from_slice(&document(group, version).unwrap()).unwrap()
    }

    #[test]
    fn the_index_names_every_group_document() {
        let index = index("");
        let paths = index["paths"].as_object().unwrap();
        assert!(paths.contains_key("api/v1") && paths.contains_key("apis/apps/v1"));
        let patch = &parsed("apps", "v1")["paths"]["/apis/apps/v1/namespaces/{namespace}/statefulsets/{name}"]
            ["patch"];
        assert_eq!(patch["x-kubernetes-group-version-kind"]["kind"], "StatefulSet");
        assert!(patch["requestBody"]["content"].get("application/strategic-merge-patch+json").is_some());
    }

    #[test]
    fn every_kind_has_a_schema_and_no_reference_leads_nowhere() {
        for (group, version) in group_versions() {
            let document = parsed(group, version);
            let schemas = document["components"]["schemas"].as_object().unwrap();
            for resource in RESOURCES.iter().filter(|it| it.group == group && it.version == version) {
                let described = schemas
                    .values()
                    .any(|it| it["x-kubernetes-group-version-kind"][0] == super::schemas::gvk(resource));
                assert!(described || !resource.is_stored(), "{}", resource.kind);
            }
            let text = document.to_string();
            for reference in text.split("\"#/components/schemas/").skip(1) {
                let name = reference.split('"').next().unwrap();
                assert!(schemas.contains_key(name), "{name}");
            }
        }
        let strategy =
            &parsed("apps", "v1")["components"]["schemas"]["io.k8s.api.apps.v1.DeploymentStrategy"];
        assert_eq!(strategy["properties"]["type"]["enum"], json!(["Recreate", "RollingUpdate"]));
        let port =
            &parsed("", "v1")["components"]["schemas"]["io.k8s.api.core.v1.Container"]["properties"]["ports"];
        assert_eq!(port["x-kubernetes-list-map-keys"], json!(["containerPort", "protocol"]));
        assert_eq!(port["x-kubernetes-patch-merge-key"], "containerPort");
    }
}
