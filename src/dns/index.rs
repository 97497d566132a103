//! The zone's data: which namespaces, services and addresses exist right now.
//!
//! `dns::cache` ──[`Index::update`], [`Index::reset`]──▶ [`Index`] ──[`Index::view`]──▶ [`View`] ──▶ `dns::lookup`
//!
//! Everything hangs below one `ArcSwap`. Its parts share what they can with the state before, so a change of one service
//! copies a few small nodes (`dns::services`, `dns::tree`) and never a part of the zone's size; a reader pays one load.
//! Invariants:
//! - A [`View`] is one immutable state of all services: A, SRV, endpoint and reverse names and the SOA serial never
//!   disagree, whatever is published meanwhile. A batch of changes becomes visible in one swap, as does a list.
//!   Addresses of pods and names that StatefulSets will bring belong to no service and change in place.
//! - Services of a missing namespace are kept aside, where no reader sees them.
//! - The reverse data hold (address, hash of the key) for exactly the addresses of the visible services. Keys with equal
//!   hashes share a hint, so the service entry has the last word.
//! - The SOA serial never decreases and grows only with a change that alters an answer.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, Hasher};
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, Guard};
use foldhash::fast::RandomState;

use super::expected::{Expected, Governed};
use super::freshness::Freshness;
use super::name::{Label, key_namespace};
use super::pods::{Change as PodChange, PodAddresses};
use super::records::ServiceEntry;
use super::reverse::Reverse;
use super::services::{KeyHash, Services};

/// The data of every zone served. Shared by all readers and one writer at a time.
pub struct Index {
    state: ArcSwap<State>,
    /// Held by writers only, for the whole of one change.
    writing: Mutex<Hidden>,
}

/// Services of namespaces that are missing or not exposed, by key.
type Hidden = HashMap<Box<[u8]>, Arc<ServiceEntry>>;

#[derive(Clone)]
struct State {
    sync: SyncState,
    freshness: Freshness,
    serial: u32,
    /// Randomly seeded: names in queries are chosen by strangers.
    hasher: RandomState,
    namespaces: Arc<Namespaces>,
    /// Those of existing namespaces.
    services: Services,
    reverse: Reverse,
    /// These two change by themselves, in place.
    pods: Arc<PodAddresses>,
    expected: Arc<Expected>,
}

/// Labels without their length octets.
type Namespaces = HashSet<Box<[u8]>, RandomState>;

/// Whether the first full list of every watched kind has arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncState {
    /// Not yet: nothing can be said about names that depend on objects.
    Waiting,
    /// Yes.
    Synced,
}

/// The new state of one service.
#[derive(Debug)]
pub struct Change {
    /// Service key, see [`super::name::service_key`].
    pub key: Box<[u8]>,
    /// `None`: the service has no records any more.
    pub entry: Option<ServiceEntry>,
}

impl State {
    #[inline(always)]
    fn hash(&self, key: &[u8]) -> KeyHash {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(key);
        hasher.finish() as KeyHash
    }

    /// Puts a service in, or takes it out. Returns whether that altered anything.
    fn set(&mut self, key: &[u8], entry: Option<Arc<ServiceEntry>>) -> bool {
        let hash = self.hash(key);
        let old = self.services.get(hash, key).cloned();
        if old == entry {
            return false;
        }
        match &entry {
            Some(entry) => self.services.insert(hash, Arc::clone(entry)),
            None => self.services.remove(hash, key),
        }
        differing(old.as_deref(), entry.as_deref(), |address| {
            if !old.as_deref().is_some_and(|it| it.has_address(address)) {
                self.reverse.insert(address, hash);
            }
        });
        differing(entry.as_deref(), old.as_deref(), |address| {
            // Another service with an equal hash may share the hint.
            if !self.services.with_hash(hash).any(|it| it.has_address(address)) {
                self.reverse.remove(address, hash);
            }
        });
        true
    }
}

/// Calls `visit` with every address of `new` that `old` does not have, and perhaps with some that it has.
fn differing(old: Option<&ServiceEntry>, new: Option<&ServiceEntry>, mut visit: impl FnMut(IpAddr)) {
    fn middle<'a, T: PartialEq>(old: &[T], new: &'a [T]) -> &'a [T] {
        let same = |(a, b): &(&T, &T)| a == b;
        let head = old.iter().zip(new).take_while(same).count();
        let (old, new) = (&old[head..], &new[head..]);
        let tail = old.iter().rev().zip(new.iter().rev()).take_while(same).count();
        &new[..new.len() - tail]
    }
    let (old, new) = (old.map(ServiceEntry::addresses).unwrap_or_default(), new.map(ServiceEntry::addresses));
    let new = new.unwrap_or_default();
    // The lists are in the order of the names: the usual change leaves all but one in place.
    let v4 = middle(old.v4, new.v4).iter().chain(new.cluster_v4).map(|it| IpAddr::from(*it));
    let v6 = middle(old.v6, new.v6).iter().chain(new.cluster_v6).map(|it| IpAddr::from(*it));
    for address in v4.chain(v6) {
        visit(address);
    }
}

impl Index {
    /// An empty index that is not synced. `now`: Unix time in seconds, the first SOA serial.
    pub fn new(now: u32) -> Self {
        let state = State {
            sync: SyncState::Waiting,
            freshness: Freshness::Fresh,
            serial: now,
            hasher: RandomState::default(),
            namespaces: Arc::default(),
            services: Services::default(),
            reverse: Reverse::default(),
            pods: Arc::default(),
            expected: Arc::default(),
        };
        Self { state: ArcSwap::from_pointee(state), writing: Mutex::default() }
    }

    /// The state of this moment, for one query or one batch of them. To be dropped soon: see [`Index::snapshot`].
    #[inline]
    pub fn view(&self) -> View {
        View { state: self.state.load() }
    }

    /// A copy of this moment that no later change reaches, to be kept for a while: a zone transfer, a report. Shares
    /// everything with the original; costs a pointer.
    #[must_use]
    pub fn snapshot(&self) -> Self {
        Self { state: ArcSwap::new(self.state.load_full()), writing: Mutex::default() }
    }

    /// Every service, in order of (namespace, service). Walks the whole index: for zone transfers.
    pub fn services(&self) -> Vec<Arc<ServiceEntry>> {
        let mut all: Vec<Arc<ServiceEntry>> = self.state.load_full().services.iter().cloned().collect();
        all.sort_unstable_by(|a, b| (a.namespace(), a.name()).cmp(&(b.namespace(), b.name())));
        all
    }

    /// Publishes changed services in one swap. `now`: Unix time in seconds.
    ///
    /// Returns how many differed from what was there.
    pub fn update(&self, changes: Vec<Change>, now: u32) -> usize {
        let mut hidden = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut state = State::clone(&self.state.load());
        let mut count = 0;
        for Change { key, entry } in changes {
            let entry = entry.map(Arc::new);
            let visible = state.namespaces.contains(key_namespace(&key));
            let differs = if visible {
                state.set(&key, entry)
            } else {
                let old = hidden.remove(&key);
                let differs = old != entry;
                hidden.extend(entry.map(|it| (key, it)));
                differs
            };
            count += usize::from(differs);
        }
        if count > 0 {
            self.publish(state, now);
        }
        count
    }

    /// Says how far answers can be trusted from now on. Returns what was said before.
    pub fn set_freshness(&self, freshness: Freshness) -> Freshness {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let state = self.state.load();
        let before = state.freshness;
        if before != freshness {
            self.state.store(Arc::new(State { freshness, ..State::clone(&state) }));
        }
        before
    }

    /// Publishes the set of namespaces that exist and are exposed, with their services.
    pub fn set_namespaces(&self, namespaces: impl IntoIterator<Item = Label>, now: u32) {
        let mut hidden = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut state = State::clone(&self.state.load());
        let namespaces = namespace_set(namespaces, &state.hasher);
        if *state.namespaces == namespaces {
            return;
        }
        let gone = |it: &[u8]| !namespaces.contains(it);
        if state.namespaces.iter().any(|it| gone(it)) {
            let leaving = state.services.iter().filter(|it| !namespaces.contains(it.namespace()));
            for entry in leaving.cloned().collect::<Vec<_>>() {
                state.set(entry.key(), None);
                hidden.insert(entry.key().into(), entry);
            }
        }
        for (key, entry) in hidden.extract_if(|key, _| namespaces.contains(key_namespace(key))) {
            state.set(&key, Some(entry));
        }
        state.namespaces = Arc::new(namespaces);
        self.publish(state, now);
    }

    /// Publishes pods that gained or lost addresses, for pod mode `verified`. `now`: Unix time in seconds.
    pub fn update_pods(&self, changes: &[PodChange], now: u32) {
        if !changes.is_empty() {
            let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
            let state = State::clone(&self.state.load());
            state.pods.update(changes);
            self.publish(state, now);
        }
    }

    /// Publishes the pod names that StatefulSets will bring. `now`: Unix time in seconds.
    pub fn update_expected(&self, changes: Vec<Governed>, now: u32) {
        if !changes.is_empty() {
            let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
            let state = State::clone(&self.state.load());
            state.expected.update(changes);
            self.publish(state, now);
        }
    }

    /// Replaces everything in one swap: the result of a full list. The index is synced from then on.
    ///
    /// Entries are taken one by one, and those that equal what is there are dropped at once, so that a repeated list
    /// needs little more memory than the index has.
    pub fn reset(
        &self,
        namespaces: impl IntoIterator<Item = Label>,
        entries: impl IntoIterator<Item = ServiceEntry>,
        now: u32,
    ) {
        let mut hidden = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut state = State::clone(&self.state.load());
        let old = state.services.clone();
        let namespaces = namespace_set(namespaces, &state.hasher);
        let mut same = state.sync == SyncState::Synced && *state.namespaces == namespaces;
        hidden.clear();
        let mut services = Services::default();
        for entry in entries {
            let hash = state.hash(entry.key());
            let entry = match old.get(hash, entry.key()) {
                Some(old) if **old == entry => old.clone(),
                _ => Arc::new(entry),
            };
            if namespaces.contains(entry.namespace()) {
                services.insert(hash, entry);
            } else {
                hidden.insert(entry.key().into(), entry);
            }
        }
        if old.len() == 0 {
            same &= services.len() == 0;
            state.reverse = all_hints(&services, &state);
        } else {
            let gone = old.iter().filter(|it| services.get(state.hash(it.key()), it.key()).is_none());
            let gone: Vec<Arc<ServiceEntry>> = gone.cloned().collect();
            for entry in gone {
                same &= !state.set(entry.key(), None);
            }
            for entry in services.iter() {
                same &= !state.set(entry.key(), Some(entry.clone()));
            }
        }
        if !same {
            // Built afresh, so that what a big zone of earlier left behind is gone.
            state.services = services;
            state.namespaces = Arc::new(namespaces);
            state.sync = SyncState::Synced;
            self.publish(state, now);
        }
    }

    /// Number of services and of endpoint names held. Walks the whole index: for metrics and logs.
    pub fn sizes(&self) -> (usize, usize) {
        let state = self.state.load_full();
        let names = state.services.iter().map(|it| it.endpoint_count()).sum();
        (state.services.len(), names)
    }

    /// Whether the first full list has arrived.
    pub fn sync(&self) -> SyncState {
        self.state.load().sync
    }

    fn publish(&self, mut state: State, now: u32) {
        state.serial = state.serial.max(now);
        self.state.store(Arc::new(state));
    }
}

fn namespace_set(namespaces: impl IntoIterator<Item = Label>, hasher: &RandomState) -> Namespaces {
    let mut all = Namespaces::with_hasher(hasher.clone());
    all.extend(namespaces.into_iter().map(|it| it.as_bytes().into()));
    all
}

fn all_hints(services: &Services, state: &State) -> Reverse {
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for entry in services.iter() {
        let hash = state.hash(entry.key());
        let addresses = entry.addresses();
        v4.extend(addresses.v4.iter().chain(addresses.cluster_v4).map(|it| (*it, hash)));
        v6.extend(addresses.v6.iter().chain(addresses.cluster_v6).map(|it| (*it, hash)));
    }
    Reverse::from_hints(v4, v6)
}

/// What one query sees of the index: one immutable state.
pub struct View {
    state: Guard<Arc<State>>,
}

impl View {
    /// Whether names that depend on objects can be answered: not before the first full list, and not from data that are
    /// too old.
    #[inline]
    pub fn sync(&self) -> SyncState {
        if self.state.freshness == Freshness::TooStale { SyncState::Waiting } else { self.state.sync }
    }

    /// Whether the data may be out of date.
    #[inline]
    pub fn freshness(&self) -> Freshness {
        self.state.freshness
    }

    /// SOA serial: Unix time of the last change that altered an answer.
    pub fn serial(&self) -> u32 {
        self.state.serial
    }

    /// Whether the namespace exists and is exposed.
    pub fn has_namespace(&self, label: &[u8]) -> bool {
        self.state.namespaces.contains(label)
    }

    /// Whether a pod of the namespace has the address: pod mode `verified`.
    pub fn has_pod(&self, namespace: &[u8], address: IpAddr) -> bool {
        self.state.pods.contains(namespace, address)
    }

    /// Whether a StatefulSet of the service will bring a pod of that name. `service`: its key.
    pub fn expects(&self, service: &[u8], label: &[u8]) -> bool {
        self.state.expected.contains(service, label)
    }

    /// The service of a key, in an existing namespace.
    #[inline(always)]
    pub fn service(&self, key: &[u8]) -> Option<&ServiceEntry> {
        self.state.services.get(self.state.hash(key), key).map(|it| &**it)
    }

    /// Services that have `address` as a clusterIP or ready endpoint, in order of (namespace, service).
    pub fn services_with(&self, address: IpAddr) -> Vec<&ServiceEntry> {
        let mut found = Vec::new();
        let _ = self.state.reverse.range(address, address, |address, hash| {
            found.extend(self.state.services.with_hash(hash).filter(|it| it.has_address(address)));
            ControlFlow::<()>::Continue(())
        });
        found.sort_unstable_by(|a, b| (a.namespace(), a.name()).cmp(&(b.namespace(), b.name())));
        found
    }

    /// Whether any address from `first` to `last` satisfies `has_name` for one of its services.
    pub fn any_address_within(
        &self,
        first: IpAddr,
        last: IpAddr,
        mut has_name: impl FnMut(&ServiceEntry, IpAddr) -> bool,
    ) -> bool {
        let found = self.state.reverse.range(first, last, |address, hash| {
            let mut services = self.state.services.with_hash(hash);
            if services.any(|it| it.has_address(address) && has_name(it, address)) {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
        found.is_break()
    }
}
