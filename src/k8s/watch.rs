//! A cache of one kind, filled by a list and watch.
//!
//! API server ──kube watcher──▶ narrow ──▶ [`Store`] ──[`Change`]──▶ `runtime::Workqueue`
//!
//! Objects are narrowed at the door: what a plan does not read is never kept. A relist is buffered and swapped in
//! whole, so no reader sees a partial list; afterwards every difference is reported as a [`Change`].
//! The store also knows how far its stream has come, which is what `runtime::barrier` waits for.
//! Sources: client-go `tools/cache/reflector.go`; spec of resourceVersion order: KEP-5504.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::pin::pin;
use std::sync::{Arc, RwLock, RwLockReadGuard};

use futures::StreamExt as _;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::resume::resumed;
use crate::model::ObjectKey;
use crate::runtime::barrier::{View, Write};
use crate::runtime::error::chain;

/// What a cached value must tell about the object it was narrowed from.
pub trait Cached: Send + Sync + 'static {
    /// Namespace and name.
    fn key(&self) -> ObjectKey;
    /// `metadata.uid`.
    fn uid(&self) -> &str;
    /// `metadata.resourceVersion` as a number, 0 if it is none.
    fn resource_version(&self) -> u64;
}

/// [`Cached`] for views with the fields `key`, `uid` and `resource_version`.
macro_rules! cached {
    ($($view:ty),*) => {$(
        impl $crate::k8s::watch::Cached for $view {
            fn key(&self) -> $crate::model::ObjectKey {
                self.key.clone()
            }
            fn uid(&self) -> &str {
                &self.uid
            }
            fn resource_version(&self) -> u64 {
                $crate::k8s::watch::parse_version(Some(&self.resource_version))
            }
        }
    )*};
}
pub(crate) use cached;

/// One difference between two consecutive states of the cache.
#[derive(Debug)]
pub struct Change<T> {
    /// The value before; `None` for a new object.
    pub old: Option<Arc<T>>,
    /// The value now; `None` for a deleted object.
    pub new: Option<Arc<T>>,
}

/// Names the buckets of the secondary index a value belongs to.
pub type IndexFn<T> = fn(&T) -> Vec<String>;

/// A clonable handle to the cache of one kind.
pub struct Store<T> {
    inner: Arc<RwLock<Inner<T>>>,
    synced: watch::Sender<bool>,
}

impl<T> Clone for Store<T> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner), synced: self.synced.clone() }
    }
}

struct Inner<T> {
    objects: HashMap<ObjectKey, Arc<T>>,
    index: HashMap<String, BTreeMap<ObjectKey, Arc<T>>>,
    index_of: IndexFn<T>,
    /// Highest resourceVersion applied.
    high_water: u64,
    /// Lists begun so far; the last one may still be under way.
    lists_begun: u64,
    /// Number of the newest list that was swapped in.
    list_shown: u64,
}

impl<T: Cached> Inner<T> {
    fn put(&mut self, value: Arc<T>) -> Option<Arc<T>> {
        self.high_water = self.high_water.max(value.resource_version());
        let key = value.key();
        let old = self.objects.insert(key.clone(), Arc::clone(&value));
        if let Some(old) = &old {
            self.unindex(&key, old);
        }
        for bucket in (self.index_of)(&value) {
            self.index.entry(bucket).or_default().insert(key.clone(), Arc::clone(&value));
        }
        old
    }

    fn remove(&mut self, key: &ObjectKey) -> Option<Arc<T>> {
        let old = self.objects.remove(key)?;
        self.unindex(key, &old);
        Some(old)
    }

    fn unindex(&mut self, key: &ObjectKey, old: &T) {
        for bucket in (self.index_of)(old) {
            if let Some(members) = self.index.get_mut(&bucket) {
                members.remove(key);
                if members.is_empty() {
                    self.index.remove(&bucket);
                }
            }
        }
    }
}

impl<T: Cached> Default for Store<T> {
    fn default() -> Self {
        Self::indexed_by(|_| Vec::new())
    }
}

impl<T: Cached> Store<T> {
    /// An empty store whose secondary index files each value under the buckets `index_of` names.
    pub fn indexed_by(index_of: IndexFn<T>) -> Self {
        let inner = Inner {
            objects: HashMap::new(),
            index: HashMap::new(),
            index_of,
            high_water: 0,
            lists_begun: 0,
            list_shown: 0,
        };
        Self { inner: Arc::new(RwLock::new(inner)), synced: watch::Sender::new(false) }
    }

    /// The object of that key.
    pub fn get(&self, key: &ObjectKey) -> Option<Arc<T>> {
        self.read().objects.get(key).cloned()
    }

    /// Every object in one bucket of the secondary index, ascending by key.
    pub fn by_index(&self, bucket: &str) -> Vec<Arc<T>> {
        self.read().index.get(bucket).map(|it| it.values().cloned().collect()).unwrap_or_default()
    }

    /// Every object, in no particular order.
    pub fn list(&self) -> Vec<Arc<T>> {
        self.read().objects.values().cloned().collect()
    }

    /// Number of objects held.
    pub fn len(&self) -> usize {
        self.read().objects.len()
    }

    /// Whether the store holds nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Resolves once the first list is in.
    pub async fn synced(&self) {
        let mut synced = self.synced.subscribe();
        // The sender lives in `self`, so waiting cannot fail.
        let _ = synced.wait_for(|it| *it).await;
    }

    /// Inserts or replaces one object, as a watch event would. Also how tests fill a store.
    pub fn apply(&self, value: T) -> Change<T> {
        let new = Arc::new(value);
        let old = self.write().put(Arc::clone(&new));
        Change { old, new: Some(new) }
    }

    /// Removes one object; `resource_version` is that of the deletion.
    pub fn delete(&self, key: &ObjectKey, resource_version: u64) -> Option<Change<T>> {
        let mut inner = self.write();
        inner.high_water = inner.high_water.max(resource_version);
        inner.remove(key).map(|old| Change { old: Some(old), new: None })
    }

    /// Notes that a list was begun: what it will show includes every write made before now.
    pub fn begin_list(&self) {
        self.write().lists_begun += 1;
    }

    /// Swaps in a complete list and returns what it changed.
    pub fn replace(&self, values: Vec<T>) -> Vec<Change<T>> {
        let mut inner = self.write();
        let mut gone: HashMap<ObjectKey, Arc<T>> = inner.objects.clone();
        let mut changes = Vec::new();
        for value in values {
            let new = Arc::new(value);
            let old = gone.remove(&new.key());
            let same = old.as_ref().is_some_and(|old| {
                old.resource_version() == new.resource_version() && old.uid() == new.uid()
            });
            if !same {
                inner.put(Arc::clone(&new));
                changes.push(Change { old, new: Some(new) });
            }
        }
        for (key, old) in gone {
            inner.remove(&key);
            changes.push(Change { old: Some(old), new: None });
        }
        inner.list_shown = inner.lists_begun;
        drop(inner);
        self.synced.send_replace(true);
        changes
    }

    fn read(&self) -> RwLockReadGuard<'_, Inner<T>> {
        self.inner.read().expect("no code panics while it holds the store")
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Inner<T>> {
        self.inner.write().expect("no code panics while it holds the store")
    }
}

impl<T: Cached> View for Store<T> {
    fn lists_begun(&self) -> u64 {
        self.read().lists_begun
    }

    fn shows(&self, write: &Write, lists_begun: u64) -> bool {
        let inner = self.read();
        match write {
            Write::Stored { resource_version, .. } => {
                inner.high_water >= *resource_version || inner.list_shown > lists_begun
            }
            Write::Gone { object, uid } => inner.objects.get(object).is_none_or(|it| it.uid() != uid),
        }
    }
}

/// Keeps `store` equal to what `api` lists until `shutdown`, and reports every change.
///
/// Objects for which `narrow` returns `None` are left out. Errors are retried for ever with backoff (`k8s::resume`):
/// the store keeps its last state meanwhile.
pub async fn reflect<K, T>(
    api: Api<K>,
    config: watcher::Config,
    narrow: impl Fn(K) -> Option<T> + Send,
    store: Store<T>,
    on_change: impl Fn(Change<T>) + Send,
    shutdown: CancellationToken,
) where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    T: Cached,
{
    let kind = api.resource_url().to_owned();
    let mut events = pin!(resumed(api, config));
    let mut listing = Vec::new();
    loop {
        let event = tokio::select! {
            () = shutdown.cancelled() => return,
            event = events.next() => event,
        };
        match event {
            None => return,
            Some(Err(error)) => warn!(resource = %kind, error = %chain(&error), "watch failed, retrying"),
            Some(Ok(Event::Init)) => {
                listing.clear();
                store.begin_list();
            }
            Some(Ok(Event::InitApply(object))) => listing.extend(narrow(object)),
            Some(Ok(Event::InitDone)) => {
                let changes = store.replace(std::mem::take(&mut listing));
                debug!(resource = %kind, objects = store.len(), changed = changes.len(), "synced");
                changes.into_iter().for_each(&on_change);
            }
            Some(Ok(Event::Apply(object))) => {
                let version = version_of(&object);
                let key = key_of(&object);
                match narrow(object) {
                    Some(value) => on_change(store.apply(value)),
                    None => store.delete(&key, version).into_iter().for_each(&on_change),
                }
            }
            Some(Ok(Event::Delete(object))) => {
                debug!(resource = %kind, object = %key_of(&object), "deleted");
                store.delete(&key_of(&object), version_of(&object)).into_iter().for_each(&on_change);
            }
        }
    }
}

/// Namespace and name of an object.
pub fn key_of<K: Resource>(object: &K) -> ObjectKey {
    let meta = object.meta();
    ObjectKey::new(meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
}

fn version_of<K: Resource>(object: &K) -> u64 {
    parse_version(object.meta().resource_version.as_deref())
}

/// A resourceVersion as a number; 0 for an absent or non-numeric one, which no barrier waits for.
pub fn parse_version(version: Option<&str>) -> u64 {
    version.and_then(|it| it.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Thing(&'static str, &'static str, u64);

    impl Cached for Thing {
        fn key(&self) -> ObjectKey {
            ObjectKey::new("ns", self.0)
        }
        fn uid(&self) -> &str {
            self.1
        }
        fn resource_version(&self) -> u64 {
            self.2
        }
    }

    fn stored(version: u64) -> Write {
        Write::Stored { object: ObjectKey::new("ns", "a"), resource_version: version }
    }

    #[test]
    fn a_list_is_swapped_in_whole_and_reports_only_differences() {
        let store = Store::indexed_by(|it: &Thing| vec![it.1.to_owned()]);
        store.begin_list();
        assert_eq!(store.replace(vec![Thing("a", "u1", 1), Thing("b", "u2", 2)]).len(), 2);
        store.begin_list();
        let changes = store.replace(vec![Thing("b", "u2", 2), Thing("c", "u3", 4)]);
        let mut names: Vec<_> =
            changes.iter().map(|it| (it.old.as_ref().map(|t| t.0), it.new.as_ref().map(|t| t.0))).collect();
        names.sort_unstable();
        assert_eq!(names, [(None, Some("c")), (Some("a"), None)]);
        assert!(store.by_index("u1").is_empty());
        assert_eq!(store.by_index("u3").len(), 1);
    }

    #[test]
    fn a_view_shows_a_write_when_its_stream_passed_it_or_a_later_list_came_in() {
        let store = Store::default();
        store.begin_list();
        store.replace(vec![Thing("a", "u1", 5)]);
        assert!(store.shows(&stored(5), 1));
        assert!(!store.shows(&stored(6), 1));
        store.begin_list();
        assert!(!store.shows(&stored(6), 1), "a list under way proves nothing");
        store.replace(vec![Thing("a", "u1", 5)]);
        assert!(store.shows(&stored(6), 1), "the list began after the write");
        assert!(!store.shows(&stored(6), 2), "this write came after the list began");
        store.delete(&ObjectKey::new("ns", "a"), 9);
        assert!(store.shows(&stored(9), 2));
    }

    #[test]
    fn a_deleted_object_counts_as_gone_when_its_uid_left_the_view() {
        let store = Store::default();
        let gone = Write::Gone { object: ObjectKey::new("ns", "a"), uid: "u1".into() };
        store.apply(Thing("a", "u1", 5));
        assert!(!store.shows(&gone, 0));
        store.apply(Thing("a", "u2", 7));
        assert!(store.shows(&gone, 0), "recreated under a new uid");
    }
}
