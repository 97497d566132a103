//! Paths that are not objects: discovery, OpenAPI, version, health.

use crate::apiserver::discovery::{self, Root};
use crate::apiserver::http::{json_response, typed_response, value};
use crate::apiserver::negotiate::{self, Media, Offer};
use crate::apiserver::request::Query;
use crate::apiserver::status::Status;
use crate::apiserver::{openapi, version};
use axum::body::Body;
use axum::response::Response;
use http::{HeaderValue, header};
use serde_json::json;

/// Roots listed at `/`.
const ROOTS: &[&str] =
    &["/api", "/apis", "/healthz", "/livez", "/openapi/v2", "/openapi/v3", "/readyz", "/version"];

/// Answers a GET of a path outside the objects. `base` is what stands before the path in the server's URL.
pub fn respond(path: &[&str], base: &str, query: &Query, accept: Option<&str>) -> Result<Response, Status> {
    match path {
        [] => Ok(value(200, &json!({"paths": ROOTS}))),
        ["healthz" | "livez" | "readyz"] | ["healthz" | "livez" | "readyz", "ping" | "log" | "etcd"] => {
            Ok(typed_response(200, "text/plain; charset=utf-8", Body::from("ok")))
        }
        ["version"] => Ok(value(200, &version::document())),
        ["api"] => discovery_root(Root::Api, accept),
        ["apis"] => discovery_root(Root::Apis, accept),
        ["api", version] => found(discovery::resource_list("", version)),
        ["apis", group] => found(discovery::group(group)),
        ["apis", group, version] => found(discovery::resource_list(group, version)),
        ["openapi", "v2"] => {
            Ok(typed_response(200, openapi::V2_CONTENT_TYPE, Body::from(openapi::document_v2())))
        }
        ["openapi", "v3"] => Ok(value(200, &openapi::index(base))),
        ["openapi", "v3", "api", version] => openapi_document("", version, query),
        ["openapi", "v3", "apis", group, version] => openapi_document(group, version, query),
        _ => Err(Status::no_such_path()),
    }
}

fn found(document: Option<serde_json::Value>) -> Result<Response, Status> {
    document.map(|it| value(200, &it)).ok_or_else(Status::no_such_path)
}

fn discovery_root(root: Root, accept: Option<&str>) -> Result<Response, Status> {
    let mut response = match negotiate::choose(accept, Offer::Discovery)? {
        Media::Discovery(version) => {
            let document = discovery::aggregated(root, version);
            let body = serde_json::to_vec(&document).expect("a JSON value always serialises");
            typed_response(200, &discovery::aggregated_content_type(version), Body::from(body))
        }
        _ if root == Root::Api => value(200, &discovery::api_versions()),
        _ => value(200, &discovery::groups()),
    };
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept"));
    Ok(response)
}

/// A group document. With the right `?hash=` clients may keep it for good.
fn openapi_document(group: &str, version: &str, query: &Query) -> Result<Response, Status> {
    let document = openapi::document(group, version).ok_or_else(Status::no_such_path)?;
    let hash = openapi::hash(group, version);
    let mut response = json_response(200, document);
    let headers = response.headers_mut();
    headers.insert(header::VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{hash}\"")) {
        headers.insert(header::ETAG, tag);
    }
    if query.get("hash") == Some(hash.as_str()) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, immutable"));
        // The document changes only with the build, and then its hash does too.
        headers.insert(header::EXPIRES, HeaderValue::from_static("Fri, 31 Dec 2100 00:00:00 GMT"));
    }
    Ok(response)
}
