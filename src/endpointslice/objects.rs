//! Endpoints and mirrored slices as the mirroring and legacy controllers keep them: whole, but for their managed fields.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Endpoints;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::model::SERVICE_NAME;
use crate::k8s::watch::{Cached, parse_version};
use crate::model::ObjectKey;

/// An object in a cache.
#[derive(Debug, Clone)]
pub struct Kept<K> {
    key: ObjectKey,
    uid: String,
    version: u64,
    /// The object.
    pub object: Arc<K>,
}

/// What [`Kept`] needs of an object.
pub trait HasMeta {
    /// Its metadata.
    fn meta(&self) -> &ObjectMeta;
    /// Its metadata.
    fn meta_mut(&mut self) -> &mut ObjectMeta;
}

impl HasMeta for Endpoints {
    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl HasMeta for EndpointSlice {
    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl<K: HasMeta> Kept<K> {
    /// Keeps an object without its managed fields.
    pub fn new(mut object: K) -> Self {
        object.meta_mut().managed_fields = None;
        let meta = object.meta();
        let part = |it: &Option<String>| it.clone().unwrap_or_default();
        Self {
            key: ObjectKey::new(part(&meta.namespace), part(&meta.name)),
            uid: part(&meta.uid),
            version: parse_version(meta.resource_version.as_deref()),
            object: Arc::new(object),
        }
    }

    /// The Service that the label names.
    pub fn service(&self) -> Option<ObjectKey> {
        let name = self.object.meta().labels.as_ref()?.get(SERVICE_NAME)?;
        Some(ObjectKey::new(self.key.namespace.clone(), name.clone()))
    }
}

impl<K: HasMeta + Send + Sync + 'static> Cached for Kept<K> {
    fn key(&self) -> ObjectKey {
        self.key.clone()
    }
    fn uid(&self) -> &str {
        &self.uid
    }
    fn resource_version(&self) -> u64 {
        self.version
    }
}
