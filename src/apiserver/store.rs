//! Objects, their resource versions and the log of changes.
//!
//! Writers take [`Store::write`] (one at a time), readers clone `Arc`s out of a state that is swapped in
//! small steps; a reader never waits for a writer that is still deciding. Every commit takes the next of one
//! global sequence of resource versions, and appends to the ring of its kind before anybody can see it, so a
//! list at version R followed by the ring after R misses nothing and repeats nothing.

use crate::apiserver::allocate::Allocations;
use crate::apiserver::journal::disk::Unsettled;
use crate::apiserver::object::{Key, Object, body_of, key_of};
use crate::apiserver::resources::{RESOURCES, Resource};
use bytes::Bytes;
use serde_json::Value;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use tokio::sync::watch;

/// Events kept per kind. A watcher further behind is told to relist (410), so this bounds memory, not
/// correctness; 10 000 covers ten rewrites of a thousand pods.
pub const RING_EVENTS: usize = 10_000;
/// JSON kept per ring, in bytes, so that a few large objects that change often do not fill the memory.
const RING_BYTES: usize = 64 * 1024 * 1024;
/// Events kept however large they are.
const RING_FLOOR: usize = 64;

/// What a commit did to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It did not exist before.
    Added,
    /// It replaced `previous`.
    Modified,
    /// It is gone; `object` is its last state with the version of the deletion.
    Deleted,
}

/// One commit, as readers of the ring get it.
#[derive(Debug, Clone)]
pub struct Event {
    /// Resource version of the commit.
    pub version: u64,
    /// What happened.
    pub change: Change,
    /// The object after the commit (before it, for a deletion, at the new version).
    pub object: Arc<Object>,
    /// The object before the commit.
    pub previous: Option<Arc<Object>>,
}

/// One commit in a ring: bytes that successive versions share.
#[derive(Debug)]
struct Entry {
    version: u64,
    change: Change,
    key: Key,
    body: Bytes,
    previous: Option<(u64, Bytes)>,
}

impl Entry {
    fn event(&self, resource: &'static Resource) -> Event {
        let object = |version, body: &Bytes| {
            Arc::new(Object::stored(resource, version, self.key.clone(), body.clone()))
        };
        Event {
            version: self.version,
            change: self.change,
            object: object(self.version, &self.body),
            previous: self.previous.as_ref().map(|(version, body)| object(*version, body)),
        }
    }
}

/// An event and its kind.
pub type KindEvent = (&'static Resource, Event);

/// The ring no longer reaches back to the version asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expired {
    /// Oldest version a watch may start from.
    pub oldest: u64,
}

/// One committed change on its way to durable storage.
#[derive(Debug)]
pub struct Commit<'a> {
    /// Kind of the object.
    pub resource: &'static Resource,
    /// Its name.
    pub key: &'a Key,
    /// The change.
    pub event: &'a Event,
}

/// Where commits are made durable. Called under the writer lock, in order, before anybody sees the batch.
pub trait Journal: Send + Sync {
    /// Records one batch: all of it or nothing.
    fn append(&self, batch: &[Commit<'_>]);

    /// What was appended and is not durable yet; `None`: nothing.
    fn unsettled(&self) -> Option<Unsettled> {
        None
    }
}

/// Forgets everything: state lives in memory only.
#[derive(Debug, Default)]
pub struct NoJournal;

impl Journal for NoJournal {
    fn append(&self, _batch: &[Commit<'_>]) {}
}

/// The content of a store, read back.
#[derive(Debug, Default)]
pub struct Restored {
    /// Version of the latest commit.
    pub version: u64,
    /// Every object with the kind it is stored as, in no order.
    pub objects: Vec<(&'static Resource, Object)>,
}

#[derive(Debug, Default)]
struct Kind {
    objects: BTreeMap<Key, Arc<Object>>,
    ring: VecDeque<Entry>,
    /// Total length of the bodies in the ring; a body that is also some entry's `previous` counts once.
    ring_bytes: usize,
    /// Every event of this kind with a version above this one is in the ring.
    floor: u64,
}

#[derive(Debug, Default)]
struct State {
    version: u64,
    kinds: Vec<Kind>,
}

/// All objects of one server.
pub struct Store {
    writer: Mutex<Allocations>,
    state: RwLock<State>,
    kind_changed: Vec<watch::Sender<u64>>,
    any_changed: watch::Sender<u64>,
    journal: Box<dyn Journal>,
    ring_events: usize,
}

/// Index of the stored kind behind `resource`; views such as events.k8s.io share the store of another kind.
fn slot(resource: &Resource) -> usize {
    let (group, plural) = resource.store_as.unwrap_or((resource.group, resource.plural));
    RESOURCES
        .iter()
        .position(|it| it.store_as.is_none() && it.group == group && it.plural == plural)
        .expect("every served kind, or the one it is stored as, is in the table")
}

/// The resource in whose shape objects of `resource` are stored.
pub fn stored_as(resource: &Resource) -> &'static Resource {
    &RESOURCES[slot(resource)]
}

impl Store {
    /// An empty store that keeps `ring_events` events per kind.
    pub fn new(allocations: Allocations, journal: Box<dyn Journal>, ring_events: usize) -> Self {
        let kinds = RESOURCES.iter().map(|_| Kind::default()).collect();
        Self {
            writer: Mutex::new(allocations),
            state: RwLock::new(State { version: 0, kinds }),
            kind_changed: RESOURCES.iter().map(|_| watch::Sender::new(0)).collect(),
            any_changed: watch::Sender::new(0),
            journal,
            ring_events,
        }
    }

    /// A store that holds `restored`. Its events are not kept: watches from before start over.
    pub fn restore(
        mut allocations: Allocations,
        journal: Box<dyn Journal>,
        ring_events: usize,
        restored: Restored,
    ) -> Self {
        let mut kinds: Vec<Kind> =
            RESOURCES.iter().map(|_| Kind { floor: restored.version, ..Kind::default() }).collect();
        for (resource, object) in restored.objects {
            if Allocations::concern(resource) {
                allocations.replace(resource, None, Some(&object.value));
            }
            kinds[slot(resource)].objects.insert(object.key.clone(), Arc::new(object));
        }
        let mut store = Self::new(allocations, journal, ring_events);
        store.state = RwLock::new(State { version: restored.version, kinds });
        store
    }

    /// What has to become durable before anything that was read up to now may be told; `None`: all of it is.
    pub fn unsettled(&self) -> Option<Unsettled> {
        self.journal.unsettled()
    }

    fn state(&self) -> RwLockReadGuard<'_, State> {
        // A panic cannot leave the state half-written: commits only assign.
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for its turn to write.
    pub fn write(&self) -> Writer<'_> {
        let allocations = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        Writer { store: self, allocations }
    }

    /// Version of the latest commit.
    pub fn version(&self) -> u64 {
        self.state().version
    }

    /// The current state of one object.
    pub fn get(&self, resource: &Resource, key: &Key) -> Option<Arc<Object>> {
        self.state().kinds[slot(resource)].objects.get(key).cloned()
    }

    /// All objects of a kind in (namespace, name) order, of one namespace if given, and the version of this
    /// list.
    pub fn list(&self, resource: &Resource, namespace: Option<&str>) -> (u64, Vec<Arc<Object>>) {
        let state = self.state();
        let objects = &state.kinds[slot(resource)].objects;
        let list = match namespace {
            None => objects.values().cloned().collect(),
            Some(namespace) => objects
                .range(Key::new(namespace, "")..)
                .take_while(|(key, _)| key.namespace == namespace)
                .map(|(_, object)| Arc::clone(object))
                .collect(),
        };
        (state.version, list)
    }

    /// The list as it was right after the commit `version`, rebuilt from the ring.
    pub fn list_at(
        &self,
        resource: &Resource,
        namespace: Option<&str>,
        version: u64,
    ) -> Result<Vec<Arc<Object>>, Expired> {
        let state = self.state();
        let kind = &state.kinds[slot(resource)];
        if version < kind.floor {
            return Err(Expired { oldest: kind.floor });
        }
        let mut objects = kind.objects.clone();
        for event in kind.ring.iter().rev().take_while(|it| it.version > version) {
            match event.event(stored_as(resource)).previous {
                Some(previous) => objects.insert(event.key.clone(), previous),
                None => objects.remove(&event.key),
            };
        }
        Ok(objects
            .into_iter()
            .filter(|(key, _)| namespace.is_none_or(|it| it == key.namespace))
            .map(|(_, object)| object)
            .collect())
    }

    /// Up to `limit` events of a kind after `version`, oldest first, and the version they bring the reader to.
    pub fn events_after(
        &self,
        resource: &Resource,
        version: u64,
        limit: usize,
    ) -> Result<(Vec<Event>, u64), Expired> {
        let state = self.state();
        let kind = &state.kinds[slot(resource)];
        if version < kind.floor {
            return Err(Expired { oldest: kind.floor });
        }
        let start = kind.ring.partition_point(|it| it.version <= version);
        let resource = stored_as(resource);
        let events: Vec<Event> = kind.ring.range(start..).take(limit).map(|it| it.event(resource)).collect();
        let reached = match events.last() {
            Some(last) if events.len() == limit => last.version,
            _ => state.version.max(version),
        };
        Ok((events, reached))
    }

    /// A receiver that changes with every commit of this kind. Subscribe before reading the list.
    pub fn subscribe(&self, resource: &Resource) -> watch::Receiver<u64> {
        self.kind_changed[slot(resource)].subscribe()
    }

    /// A receiver that changes with every commit.
    pub fn subscribe_all(&self) -> watch::Receiver<u64> {
        self.any_changed.subscribe()
    }

    /// Objects of all namespaced kinds in `namespace`.
    pub fn namespace_content(&self, namespace: &str) -> Vec<(&'static Resource, Arc<Object>)> {
        let state = self.state();
        let mut content = Vec::new();
        for (resource, kind) in RESOURCES.iter().zip(&state.kinds) {
            let objects = kind.objects.range(Key::new(namespace, "")..);
            content.extend(
                objects
                    .take_while(|(key, _)| key.namespace == namespace)
                    .map(|(_, object)| (resource, Arc::clone(object))),
            );
        }
        content
    }

    /// Everything, with the version at which it was read.
    pub fn snapshot(&self) -> (u64, Vec<(&'static Resource, Arc<Object>)>) {
        let state = self.state();
        let kinds = RESOURCES.iter().zip(&state.kinds);
        let all = kinds.flat_map(|(resource, kind)| {
            kind.objects.values().map(move |object| (resource, Arc::clone(object)))
        });
        (state.version, all.collect())
    }

    /// Events of all kinds after `version` in commit order, and the version they bring the reader to.
    pub fn all_events_after(&self, version: u64) -> Result<(Vec<KindEvent>, u64), Expired> {
        let state = self.state();
        let mut events = Vec::new();
        for (resource, kind) in RESOURCES.iter().zip(&state.kinds) {
            if version < kind.floor {
                return Err(Expired { oldest: kind.floor });
            }
            let start = kind.ring.partition_point(|it| it.version <= version);
            events.extend(kind.ring.range(start..).map(|event| (resource, event.event(resource))));
        }
        events.sort_by_key(|(_, event)| event.version);
        Ok((events, state.version))
    }

    /// Forgets the events of a kind, as a restart would: watches from earlier versions expire.
    pub fn truncate(&self, resource: &Resource) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let version = state.version;
        let kind = &mut state.kinds[slot(resource)];
        kind.ring.clear();
        kind.ring_bytes = 0;
        kind.floor = version;
    }
}

/// The right to write. What is read through it cannot change until it is dropped.
pub struct Writer<'a> {
    store: &'a Store,
    /// Service addresses and ports in use.
    pub allocations: MutexGuard<'a, Allocations>,
}

impl Writer<'_> {
    /// The current state of one object.
    pub fn get(&self, resource: &Resource, key: &Key) -> Option<Arc<Object>> {
        self.store.get(resource, key)
    }

    /// All objects of a kind, of one namespace if given.
    pub fn list(&self, resource: &Resource, namespace: Option<&str>) -> Vec<Arc<Object>> {
        self.store.list(resource, namespace).1
    }

    /// Stores `value` under the next version.
    pub fn put(&mut self, resource: &Resource, value: Value) -> Arc<Object> {
        let key = key_of(&value);
        let previous = self.get(resource, &key);
        let change = if previous.is_some() { Change::Modified } else { Change::Added };
        self.commit(resource, key, change, value, previous)
    }

    /// Removes an object that exists; its last state at the version of the deletion.
    pub fn remove(&mut self, resource: &Resource, object: &Arc<Object>) -> Arc<Object> {
        let key = key_of(&object.value);
        self.commit(resource, key, Change::Deleted, object.value.clone(), Some(Arc::clone(object)))
    }

    fn commit(
        &mut self,
        resource: &Resource,
        key: Key,
        change: Change,
        mut value: Value,
        previous: Option<Arc<Object>>,
    ) -> Arc<Object> {
        let slot = slot(resource);
        let resource = &RESOURCES[slot];
        let version = self.store.version() + 1;
        value["metadata"]["resourceVersion"] = Value::from(version.to_string());
        if Allocations::concern(resource) {
            let kept = (change != Change::Deleted).then_some(&value);
            self.allocations.replace(resource, previous.as_deref().map(|it| &*it.value), kept);
        }
        let object = Arc::new(Object::stored(resource, version, key.clone(), body_of(&value)));
        let event = Event { version, change, object: Arc::clone(&object), previous };
        self.store.journal.append(&[Commit { resource, key: &key, event: &event }]);
        let entry = Entry {
            version,
            change,
            key: key.clone(),
            body: object.body.clone(),
            previous: event.previous.as_ref().map(|it| (it.version, it.body.clone())),
        };
        // What leaves the ring is dropped after the lock is released.
        let mut dropped = Vec::new();
        {
            let mut state = self.store.state.write().unwrap_or_else(PoisonError::into_inner);
            state.version = version;
            let kind = &mut state.kinds[slot];
            match change {
                Change::Deleted => kind.objects.remove(&key),
                Change::Added | Change::Modified => kind.objects.insert(key, Arc::clone(&object)),
            };
            kind.ring_bytes += entry.body.len();
            kind.ring.push_back(entry);
            while kind.ring.len() > self.store.ring_events
                || (kind.ring_bytes > RING_BYTES && kind.ring.len() > RING_FLOOR)
            {
                let Some(oldest) = kind.ring.pop_front() else { break };
                kind.floor = oldest.version;
                kind.ring_bytes -= oldest.body.len();
                dropped.push(oldest);
            }
        }
        drop(dropped);
        self.store.kind_changed[slot].send_replace(version);
        self.store.any_changed.send_replace(version);
        object
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apiserver::resources;
    use serde_json::json;

    fn store(ring_events: usize) -> Store {
        Store::new(Allocations::new(crate::apiserver::Ranges::default()), Box::new(NoJournal), ring_events)
    }

    fn config_map(name: &str, data: &str) -> Value {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "d"}, "data": {"k": data}})
    }

    #[test]
    fn a_list_and_the_ring_after_it_meet() {
        let store = store(10);
        let resource = resources::find("", "v1", "configmaps").unwrap();
        store.write().put(resource, config_map("a", "1"));
        let (version, list) = store.list(resource, Some("d"));
        assert_eq!((version, list.len()), (1, 1));
        let b = store.write().put(resource, config_map("b", "1"));
        store.write().remove(resource, &b);
        let (events, reached) = store.events_after(resource, version, 100).unwrap();
        let changes: Vec<_> = events.iter().map(|it| (it.version, it.change)).collect();
        assert_eq!(changes, [(2, Change::Added), (3, Change::Deleted)]);
        assert_eq!(reached, 3);
        assert_eq!(events[1].object.value["metadata"]["resourceVersion"], "3");
        assert_eq!(store.list_at(resource, None, 2).unwrap().len(), 2);
        assert_eq!(store.list_at(resource, None, 0).unwrap().len(), 0);
    }

    #[test]
    fn a_reader_behind_the_ring_is_told_so() {
        let store = store(2);
        let resource = resources::find("", "v1", "configmaps").unwrap();
        for turn in 0..4 {
            store.write().put(resource, config_map("a", &turn.to_string()));
        }
        assert_eq!(store.events_after(resource, 1, 9).unwrap_err(), Expired { oldest: 2 });
        assert_eq!(store.events_after(resource, 2, 9).unwrap().0.len(), 2);
        assert_eq!(store.events_after(resource, 2, 1).unwrap().1, 3, "a full batch stops at its last event");
    }

    #[test]
    fn readers_of_the_ring_see_every_version() {
        let store = store(10);
        let resource = resources::find("", "v1", "configmaps").unwrap();
        for turn in 0..3 {
            store.write().put(resource, config_map("a", &turn.to_string()));
        }
        let (events, _) = store.events_after(resource, 0, 9).unwrap();
        let data = |object: &Object| object.value["data"]["k"].as_str().unwrap().to_owned();
        let seen: Vec<_> =
            events.iter().map(|it| (data(&it.object), it.previous.as_deref().map(data))).collect();
        let want = [("0", None), ("1", Some("0")), ("2", Some("1"))];
        assert_eq!(seen, want.map(|(now, before)| (now.to_owned(), before.map(ToOwned::to_owned))));
        assert_eq!(events[2].object.value["kind"], "ConfigMap");
        assert_eq!(events[2].object.value["metadata"]["resourceVersion"], "3");
        let held = store.get(resource, &Key::new("d", "a")).unwrap();
        assert_eq!(held.value.read()["data"]["k"], "2");
        assert!(!held.value.is_parsed(), "a reader of many objects leaves no parsed copy behind");
    }

    #[test]
    fn large_objects_shorten_the_ring() {
        let store = store(RING_EVENTS);
        let resource = resources::find("", "v1", "configmaps").unwrap();
        let large = "x".repeat(1024 * 1024);
        let turns = RING_FLOOR + 10;
        for _ in 0..turns {
            store.write().put(resource, config_map("a", &large));
        }
        let oldest = store.events_after(resource, 1, 1).unwrap_err().oldest;
        assert_eq!(oldest, 10);
        assert_eq!(store.events_after(resource, oldest, turns).unwrap().0.len(), RING_FLOOR);
    }
}
