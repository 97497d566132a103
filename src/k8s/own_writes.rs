//! The writes of one controller until its caches show them: the own-write barrier, by kind.

use std::sync::Arc;

use super::watch::parse_version;
use super::write::{Kind, WriteError, Written};
use crate::model::ObjectKey;
use crate::runtime::Barrier;
use crate::runtime::barrier::{View, Write};

/// What was written for each key and is not seen yet.
pub struct OwnWrites {
    barrier: Barrier,
    views: Vec<(Kind, Arc<dyn View>)>,
}

impl OwnWrites {
    /// `views`: the cache of each kind that is written; writes of other kinds are not waited for.
    pub fn new(views: Vec<(Kind, Arc<dyn View>)>) -> Self {
        Self { barrier: Barrier::default(), views }
    }

    fn view(&self, kind: Kind) -> Option<Arc<dyn View>> {
        self.views.iter().find(|it| it.0 == kind).map(|it| Arc::clone(&it.1))
    }

    /// A write of `key` that its cache does not show yet.
    pub fn waits_for(&self, key: &ObjectKey) -> Option<Write> {
        self.barrier.waits_for(key)
    }

    /// Remembers a write until the cache shows it.
    pub fn stored(&self, key: &ObjectKey, kind: Kind, object: &ObjectKey, written: &Written) {
        self.shows(key, kind, object, &written.metadata.resource_version);
    }

    /// Remembers that an object has this resourceVersion until the cache shows it.
    pub fn shows(&self, key: &ObjectKey, kind: Kind, object: &ObjectKey, version: &str) {
        if let Some(view) = self.view(kind) {
            let resource_version = parse_version(Some(version));
            self.barrier.record(key, view, Write::Stored { object: object.clone(), resource_version });
        }
    }

    /// Remembers that the object of this UID is gone until the cache shows it.
    pub fn gone(&self, key: &ObjectKey, kind: Kind, object: &ObjectKey, uid: &str) {
        if let Some(view) = self.view(kind) {
            self.barrier.record(key, view, Write::Gone { object: object.clone(), uid: uid.to_owned() });
        }
    }

    /// Remembers a deletion until the cache shows the object terminating or gone. That it is gone already is fine.
    ///
    /// # Errors
    /// The deletion failed. A conflict is an error like any other: that the UID is another one will show in the cache, too.
    pub fn deleted(
        &self,
        key: &ObjectKey,
        kind: Kind,
        object: &ObjectKey,
        uid: &str,
        result: Result<Written, WriteError>,
    ) -> Result<(), WriteError> {
        match result {
            Ok(written) if written.metadata.uid == uid && written.metadata.deletion_timestamp.is_some() => {
                self.stored(key, kind, object, &written);
            }
            Ok(_) | Err(WriteError::NotFound { .. }) => self.gone(key, kind, object, uid),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Drops what is remembered for a key whose object is gone.
    pub fn forget(&self, key: &ObjectKey) {
        self.barrier.forget(key);
    }
}
