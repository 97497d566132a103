//! What a controller remembers of each object beyond its caches.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};

use crate::model::ObjectKey;

/// Values by object, made when they are first asked for.
#[derive(Debug, Default)]
pub struct Memories<T>(Mutex<HashMap<ObjectKey, T>>);

impl<T: Default> Memories<T> {
    fn map(&self) -> MutexGuard<'_, HashMap<ObjectKey, T>> {
        self.0.lock().expect("no code panics while it holds the map")
    }

    /// Looks at, or changes, what is remembered of an object.
    pub fn with<R>(&self, key: &ObjectKey, f: impl FnOnce(&mut T) -> R) -> R {
        f(self.map().entry(key.clone()).or_default())
    }

    /// Forgets an object.
    pub fn forget(&self, key: &ObjectKey) {
        self.map().remove(key);
    }
}
