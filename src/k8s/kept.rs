//! Objects that a cache keeps whole, but for their managed fields.

use std::sync::Arc;

use kube::Resource;

use super::watch::{Cached, parse_version};
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

impl<K: Resource> Kept<K> {
    /// Keeps an object without its managed fields.
    pub fn new(mut object: K) -> Self {
        let meta = object.meta_mut();
        meta.managed_fields = None;
        let part = |it: &Option<String>| it.clone().unwrap_or_default();
        Self {
            key: ObjectKey::new(part(&meta.namespace), part(&meta.name)),
            uid: part(&meta.uid),
            version: parse_version(meta.resource_version.as_deref()),
            object: Arc::new(object),
        }
    }
}

impl<K: Send + Sync + 'static> Cached for Kept<K> {
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
