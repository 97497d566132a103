//! metrics.k8s.io/v1beta1: what pods and nodes use, computed when somebody asks.
//!
//! The server knows nothing about usage; whoever does registers a [`MetricsSource`]. Without one the lists are
//! empty, which `kubectl top` reports as "metrics not available yet". There is nothing to write or to watch.

use crate::apiserver::http::json_response;
use crate::apiserver::list::Selection;
use crate::apiserver::meta;
use crate::apiserver::object::Object;
use crate::apiserver::render::{Columns, ListMeta, View};
use crate::apiserver::request::Call;
use crate::apiserver::resources::Scope;
use crate::apiserver::server::ApiServer;
use crate::apiserver::status::Status;
use axum::response::Response;
use http::Method;
use serde_json::Value;
use std::sync::Arc;

/// Where usage comes from. Called for each request, so answers should be cheap.
pub trait MetricsSource: Send + Sync {
    /// A `NodeMetrics` for each node with a sample: metadata, timestamp, window, usage.
    fn nodes(&self) -> Vec<Value>;
    /// A `PodMetrics` for each pod with a sample, of one namespace if given: metadata with the pod's labels,
    /// timestamp, window, containers.
    fn pods(&self, namespace: Option<&str>) -> Vec<Value>;
}

/// Answers a request for metrics.
pub(crate) fn answer(
    server: &ApiServer,
    method: &Method,
    call: &Call,
    view: &View,
) -> Result<Response, Status> {
    let target = &call.target;
    if *method != Method::GET || !target.subresource.is_empty() || call.query.flag("watch") {
        return Err(Status::method_not_allowed());
    }
    let selection = Selection::parse(call)?;
    let samples = server.shared.metrics.get().map(|source| match target.resource.scope {
        Scope::Cluster => source.nodes(),
        Scope::Namespaced => source.pods(target.list_namespace()),
    });
    let version = server.store().version();
    let mut objects: Vec<Arc<Object>> = samples
        .unwrap_or_default()
        .into_iter()
        .map(|sample| Arc::new(Object::new(version, sample)))
        .filter(|it| target.list_namespace().is_none_or(|namespace| it.key.namespace == namespace))
        .filter(|it| selection.matches(target.resource, it))
        .collect();
    objects.sort_by(|a, b| a.key.cmp(&b.key));
    let Some(name) = &target.name else {
        let meta = ListMeta { version, ..ListMeta::default() };
        return Ok(json_response(200, view.list(&objects, &meta)));
    };
    let found = objects.first().filter(|it| meta::text(&it.value, "name") == name);
    let found = found.ok_or_else(|| Status::not_found(target.resource, name))?;
    let mut out = Vec::new();
    view.object(found, Columns::Defined, &mut out);
    Ok(json_response(200, out))
}
