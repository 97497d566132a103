//! Resources that show the objects of another one in a different shape: events.k8s.io/v1 Events and
//! autoscaling/v1 autoscalers. What is stored is core/v1 and autoscaling/v2.
//!
//! A body is converted when it comes in, an object when it goes out; nothing between knows about views.

use crate::apiserver::autoscalers;
use crate::apiserver::events;
use crate::apiserver::resources::Resource;
use serde_json::Value;

/// Turns an object of `resource` into the shape it is stored in.
pub fn to_stored(resource: &Resource, object: Value) -> Value {
    match (is_view(resource), resource.kind) {
        (true, "Event") => events::to_stored(object),
        (true, "HorizontalPodAutoscaler") => autoscalers::to_stored(object),
        _ => object,
    }
}

/// Turns a stored object into the shape of `resource`.
pub fn from_stored(resource: &Resource, object: &Value) -> Value {
    match (is_view(resource), resource.kind) {
        (true, "Event") => events::from_stored(object.clone()),
        (true, "HorizontalPodAutoscaler") => autoscalers::from_stored(object.clone()),
        _ => object.clone(),
    }
}

/// Whether objects of `resource` are stored in another shape.
pub fn is_view(resource: &Resource) -> bool {
    resource.store_as.is_some()
}
