//! Own-write barrier: no plan on a view older than our last write to the same key's objects.
//!
//! Each write of a reconcile is recorded with the store that will show it. Until every recorded write is shown,
//! the key is not planned again. Nothing polls: the watch event that shows the write enqueues the key anyway.
//! Sources: spec of resourceVersion order KEP-5504; kube-controller-manager 1.36 `StaleControllerConsistency*`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use crate::model::ObjectKey;

/// One write of ours, as a later view will show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// Created, updated, or marked for deletion: the response carried this resourceVersion.
    Stored {
        /// The object written.
        object: ObjectKey,
        /// Its `metadata.resourceVersion` in the response.
        resource_version: u64,
    },
    /// Removed at once: an object of this uid must leave the view.
    Gone {
        /// The object deleted.
        object: ObjectKey,
        /// Its uid.
        uid: String,
    },
}

/// A cache as the barrier sees it.
pub trait View: Send + Sync {
    /// Lists begun so far.
    fn lists_begun(&self) -> u64;
    /// Whether the cache includes `write`, made when `lists_begun` lists had been begun.
    fn shows(&self, write: &Write, lists_begun: u64) -> bool;
}

struct Pending {
    view: Arc<dyn View>,
    lists_begun: u64,
    write: Write,
}

/// Writes not yet shown, by the key whose reconcile made them. Each key waits for its own and for no other's.
#[derive(Default)]
pub struct Barrier {
    pending: Mutex<HashMap<ObjectKey, Vec<Pending>>>,
}

impl Barrier {
    /// Remembers a write made for `key`. Call it right after the response arrived.
    pub fn record(&self, key: &ObjectKey, view: Arc<dyn View>, write: Write) {
        let lists_begun = view.lists_begun();
        if view.shows(&write, lists_begun) {
            return;
        }
        let mut pending = self.pending.lock().expect("no code panics while it holds the map");
        pending.entry(key.clone()).or_default().push(Pending { view, lists_begun, write });
    }

    /// The first write for `key` that no view shows yet; `None` means the key may be planned.
    pub fn waits_for(&self, key: &ObjectKey) -> Option<Write> {
        let mut pending = self.pending.lock().expect("no code panics while it holds the map");
        let writes = pending.get_mut(key)?;
        writes.retain(|it| !it.view.shows(&it.write, it.lists_begun));
        let first = writes.first().map(|it| it.write.clone());
        if first.is_none() {
            pending.remove(key);
        }
        first
    }

    /// Drops what is remembered for a key whose object is gone.
    pub fn forget(&self, key: &ObjectKey) {
        self.pending.lock().expect("no code panics while it holds the map").remove(key);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[derive(Default)]
    struct Stream(AtomicU64);

    impl View for Stream {
        fn lists_begun(&self) -> u64 {
            0
        }
        fn shows(&self, write: &Write, _: u64) -> bool {
            matches!(write, Write::Stored { resource_version, .. } if *resource_version <= self.0.load(Ordering::SeqCst))
        }
    }

    #[test]
    fn a_key_waits_for_all_of_its_own_writes_and_only_those() {
        let (barrier, stream) = (Barrier::default(), Arc::new(Stream::default()));
        let key = ObjectKey::new("ns", "web");
        let write =
            |version| Write::Stored { object: ObjectKey::new("ns", "web-0"), resource_version: version };
        barrier.record(&key, stream.clone(), write(7));
        barrier.record(&key, stream.clone(), write(9));
        assert_eq!(barrier.waits_for(&key), Some(write(7)));
        assert_eq!(barrier.waits_for(&ObjectKey::new("ns", "other")), None);
        stream.0.store(8, Ordering::SeqCst);
        assert_eq!(barrier.waits_for(&key), Some(write(9)));
        stream.0.store(9, Ordering::SeqCst);
        assert_eq!(barrier.waits_for(&key), None);
        assert!(barrier.pending.lock().expect("unpoisoned").is_empty(), "nothing is kept for a clear key");
    }
}
