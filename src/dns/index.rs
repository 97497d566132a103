//! The zone's data: which namespaces, services and addresses exist right now.
//!
//! `dns::cache` ──[`Index::update`], [`Index::reset`]──▶ [`Index`] ──[`Index::view`]──▶ [`View`] ──▶ `dns::lookup`
//!
//! Services lie in 256 shards, each a map behind an `ArcSwap`, below one top-level `ArcSwap`. A change of one service
//! replaces one shard's map; a relist replaces everything at once. Readers take no lock.
//! Invariants:
//! - One [`View`] sees one state of each shard, so A, SRV and endpoint names of a service never disagree.
//! - The reverse map only says which services *may* have an address. It is a superset at every moment (hints are added
//!   before a service appears and removed after it is gone) and the service entry has the last word, so forward and
//!   reverse answers change in the same swap.
//! - The SOA serial never decreases and grows only with a change that alters an answer.

use std::borrow::Borrow;
use std::cell::OnceCell;
use std::collections::HashSet;
use std::hash::{BuildHasher, Hash, Hasher};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, Guard};
use foldhash::fast::RandomState;

use super::expected::{Expected, Governed};
use super::name::Label;
use super::pods::{Change as PodChange, PodAddresses};
use super::records::ServiceEntry;
use super::reverse::{Hint, Reverse};

/// Small enough that copying one shard costs about a microsecond at 10 000 services.
const SHARDS: usize = 256;

/// The data of every zone served. Shared by all readers and one writer at a time.
pub struct Index {
    contents: ArcSwap<Contents>,
    serial: AtomicU32,
    /// Held by writers only, for the whole of one change.
    writing: Mutex<()>,
}

struct Contents {
    sync: SyncState,
    /// Randomly seeded: names in queries are chosen by strangers.
    hasher: RandomState,
    shards: Box<[ArcSwap<Shard>]>,
    namespaces: ArcSwap<Namespaces>,
    reverse: ArcSwap<Reverse>,
    /// These two change by themselves, in place, and outlive a reset.
    pods: Arc<PodAddresses>,
    expected: Arc<Expected>,
}

type Shard = HashSet<ByKey, RandomState>;
/// Labels without their length octets.
type Namespaces = HashSet<Box<[u8]>>;

/// Whether the first full list of every watched kind has arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncState {
    /// Not yet: nothing can be said about names that depend on objects.
    Waiting,
    /// Yes.
    Synced,
}

/// Hashes and compares by service key.
#[derive(Clone)]
struct ByKey(Arc<ServiceEntry>);

impl Borrow<[u8]> for ByKey {
    fn borrow(&self) -> &[u8] {
        self.0.key()
    }
}

impl Hash for ByKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.key().hash(state);
    }
}

impl PartialEq for ByKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.key() == other.0.key()
    }
}

impl Eq for ByKey {}

/// The new state of one service.
#[derive(Debug)]
pub struct Change {
    /// Service key, see [`super::name::service_key`].
    pub key: Box<[u8]>,
    /// `None`: the service has no records any more.
    pub entry: Option<ServiceEntry>,
}

impl Contents {
    fn new(sync: SyncState, hasher: RandomState, pods: Arc<PodAddresses>, expected: Arc<Expected>) -> Self {
        let shards = (0..SHARDS).map(|_| ArcSwap::from_pointee(Shard::with_hasher(hasher.clone()))).collect();
        let namespaces = ArcSwap::default();
        Self { sync, hasher, shards, namespaces, reverse: ArcSwap::default(), pods, expected }
    }

    /// The shard of a key. Uses bits that the hash maps inside do not look at first.
    fn shard_of(&self, key: &[u8]) -> usize {
        (self.hasher.hash_one(key) >> 32) as usize % SHARDS
    }
}

impl Index {
    /// An empty index that is not synced. `now`: Unix time in seconds, the first SOA serial.
    pub fn new(now: u32) -> Self {
        let contents =
            Contents::new(SyncState::Waiting, RandomState::default(), Arc::default(), Arc::default());
        Self {
            contents: ArcSwap::from_pointee(contents),
            serial: AtomicU32::new(now),
            writing: Mutex::new(()),
        }
    }

    /// The state of this moment, for one query.
    pub fn view(&self) -> View {
        View {
            contents: self.contents.load(),
            serial: self.serial.load(Ordering::Acquire),
            namespaces: OnceCell::new(),
            reverse: OnceCell::new(),
            shards: Slot::default(),
        }
    }

    /// Publishes changed services. `now`: Unix time in seconds.
    ///
    /// Each service changes in one swap, forward and reverse together. Returns how many differed from what was there.
    pub fn update(&self, changes: Vec<Change>, now: u32) -> usize {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let contents = self.contents.load();
        let mut swaps = Vec::new();
        let (mut gained, mut lost) = (Vec::new(), Vec::new());
        for Change { key, entry } in changes {
            let shard = contents.shard_of(&key);
            let old = contents.shards[shard].load().get(&*key).map(|it| it.0.clone());
            if old.as_deref() == entry.as_ref() {
                continue;
            }
            let entry = entry.map(Arc::new);
            let (before, after) = (addresses(old.as_ref()), addresses(entry.as_ref()));
            if let Some(entry) = &entry {
                gained.extend(hints(entry, without(&after, &before)));
            }
            if let Some(old) = &old {
                lost.extend(hints(old, without(&before, &after)));
            }
            swaps.push((shard, key, entry));
        }
        let count = swaps.len();
        if count == 0 {
            return 0;
        }
        if !gained.is_empty() {
            let mut reverse = Reverse::clone(&contents.reverse.load());
            for hint in gained {
                reverse.insert(hint);
            }
            contents.reverse.store(Arc::new(reverse));
        }
        for (shard, key, entry) in swaps {
            let mut map = Shard::clone(&contents.shards[shard].load());
            match entry {
                Some(entry) => drop(map.replace(ByKey(entry))),
                None => drop(map.remove(&*key)),
            }
            contents.shards[shard].store(Arc::new(map));
        }
        if !lost.is_empty() {
            let mut reverse = Reverse::clone(&contents.reverse.load());
            for hint in &lost {
                reverse.remove(hint);
            }
            contents.reverse.store(Arc::new(reverse));
        }
        self.bump(now);
        count
    }

    /// Publishes the set of namespaces that exist and are exposed.
    pub fn set_namespaces(&self, namespaces: impl IntoIterator<Item = Label>, now: u32) {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let contents = self.contents.load();
        let namespaces = namespace_set(namespaces);
        if **contents.namespaces.load() != namespaces {
            contents.namespaces.store(Arc::new(namespaces));
            self.bump(now);
        }
    }

    /// Publishes pods that gained or lost addresses, for pod mode `verified`. `now`: Unix time in seconds.
    pub fn update_pods(&self, changes: &[PodChange], now: u32) {
        if !changes.is_empty() {
            let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
            self.contents.load().pods.update(changes);
            self.bump(now);
        }
    }

    /// Publishes the pod names that StatefulSets will bring. `now`: Unix time in seconds.
    pub fn update_expected(&self, changes: Vec<Governed>, now: u32) {
        if !changes.is_empty() {
            let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
            self.contents.load().expected.update(changes);
            self.bump(now);
        }
    }

    /// Replaces everything in one swap: the result of a full list. The index is synced from then on.
    pub fn reset(
        &self,
        namespaces: impl IntoIterator<Item = Label>,
        entries: impl IntoIterator<Item = ServiceEntry>,
        now: u32,
    ) {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.contents.load();
        let (pods, expected) = (Arc::clone(&old.pods), Arc::clone(&old.expected));
        let new = Contents::new(SyncState::Synced, old.hasher.clone(), pods, expected);
        let mut maps = vec![Shard::with_hasher(new.hasher.clone()); SHARDS];
        let mut all_hints = Vec::new();
        for entry in entries {
            let entry = Arc::new(entry);
            all_hints.extend(hints(&entry, entry.reverse_addresses()));
            maps[new.shard_of(entry.key())].replace(ByKey(entry));
        }
        for (shard, map) in new.shards.iter().zip(maps) {
            shard.store(Arc::new(map));
        }
        new.namespaces.store(Arc::new(namespace_set(namespaces)));
        new.reverse.store(Arc::new(Reverse::from_hints(all_hints)));
        let same = old.sync == SyncState::Synced && same_answers(&old, &new);
        if !same {
            self.contents.store(Arc::new(new));
            self.bump(now);
        }
    }

    /// A copy of this moment that no later change reaches, taken between two changes: services, namespaces, addresses
    /// and serial belong together. Shares everything with the original; costs a pointer for each shard.
    #[must_use]
    pub fn snapshot(&self) -> Self {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let contents = self.contents.load();
        let copy = Contents {
            sync: contents.sync,
            hasher: contents.hasher.clone(),
            shards: contents.shards.iter().map(|it| ArcSwap::new(it.load_full())).collect(),
            namespaces: ArcSwap::new(contents.namespaces.load_full()),
            reverse: ArcSwap::new(contents.reverse.load_full()),
            pods: contents.pods.clone(),
            expected: contents.expected.clone(),
        };
        Self {
            contents: ArcSwap::from_pointee(copy),
            serial: AtomicU32::new(self.serial.load(Ordering::Acquire)),
            writing: Mutex::new(()),
        }
    }

    /// Every service, in order of (namespace, service). Walks the whole index: for zone transfers.
    pub fn services(&self) -> Vec<Arc<ServiceEntry>> {
        let contents = self.contents.load();
        let mut all = Vec::new();
        for shard in &contents.shards {
            all.extend(shard.load().iter().map(|it| it.0.clone()));
        }
        all.sort_unstable_by(|a, b| (a.namespace(), a.name()).cmp(&(b.namespace(), b.name())));
        all
    }

    /// Number of services and of endpoint names held. Walks the whole index: for metrics and logs.
    pub fn sizes(&self) -> (usize, usize) {
        let contents = self.contents.load();
        let mut sizes = (0, 0);
        for shard in &contents.shards {
            let shard = shard.load();
            sizes.0 += shard.len();
            sizes.1 += shard.iter().map(|it| it.0.endpoints().count()).sum::<usize>();
        }
        sizes
    }

    /// Whether the first full list has arrived.
    pub fn sync(&self) -> SyncState {
        self.contents.load().sync
    }

    fn bump(&self, now: u32) {
        self.serial.fetch_max(now, Ordering::AcqRel);
    }
}

fn namespace_set(namespaces: impl IntoIterator<Item = Label>) -> Namespaces {
    namespaces.into_iter().map(|it| it.as_bytes().into()).collect()
}

fn same_answers(old: &Contents, new: &Contents) -> bool {
    **old.namespaces.load() == **new.namespaces.load()
        && old.shards.iter().zip(&new.shards).all(|(old, new)| {
            let (old, new) = (old.load(), new.load());
            old.len() == new.len()
                && old.iter().all(|it| new.get(&**it.0.key()).is_some_and(|other| it.0 == other.0))
        })
}

/// Sorted and distinct.
fn addresses(entry: Option<&Arc<ServiceEntry>>) -> Vec<IpAddr> {
    entry.map(|it| it.reverse_addresses()).unwrap_or_default()
}

fn hints(entry: &ServiceEntry, addresses: Vec<IpAddr>) -> impl Iterator<Item = Hint> {
    addresses.into_iter().map(|address| Hint { address, service: entry.key().clone() })
}

/// The addresses of `all` that are not in `other`; both sorted. One pass: most changes touch one address of many.
fn without(all: &[IpAddr], other: &[IpAddr]) -> Vec<IpAddr> {
    let mut other = other.iter().peekable();
    let gone = |it: &&IpAddr| {
        while other.next_if(|next| next < it).is_some() {}
        other.peek() != Some(it)
    };
    all.iter().filter(gone).copied().collect()
}

/// What one query sees of the index. Repeated reads within one query give the same state.
pub struct View {
    contents: Guard<Arc<Contents>>,
    serial: u32,
    namespaces: OnceCell<Guard<Arc<Namespaces>>>,
    reverse: OnceCell<Guard<Arc<Reverse>>>,
    shards: Slot,
}

/// The shards a query has read, in the order it came to them: most queries read one.
#[derive(Default)]
struct Slot {
    held: OnceCell<(usize, Guard<Arc<Shard>>)>,
    next: OnceCell<Box<Slot>>,
}

impl View {
    /// Whether names that depend on objects can be answered.
    pub fn sync(&self) -> SyncState {
        self.contents.sync
    }

    /// SOA serial: Unix time of the last change that altered an answer.
    pub fn serial(&self) -> u32 {
        self.serial
    }

    /// Whether the namespace exists and is exposed.
    pub fn has_namespace(&self, label: &[u8]) -> bool {
        self.namespaces.get_or_init(|| self.contents.namespaces.load()).contains(label)
    }

    /// Whether a pod of the namespace has the address: pod mode `verified`.
    pub fn has_pod(&self, namespace: &[u8], address: IpAddr) -> bool {
        self.contents.pods.contains(namespace, address)
    }

    /// Whether a StatefulSet of the service will bring a pod of that name. `service`: its key.
    pub fn expects(&self, service: &[u8], label: &[u8]) -> bool {
        self.contents.expected.contains(service, label)
    }

    /// The service of a key, in an existing namespace.
    pub fn service(&self, key: &[u8]) -> Option<&ServiceEntry> {
        let entry = &self.shard(self.contents.shard_of(key)).get(key)?.0;
        self.has_namespace(entry.namespace()).then_some(&**entry)
    }

    /// Services that have `address` as a clusterIP or ready endpoint, in order of (namespace, service).
    pub fn services_with(&self, address: IpAddr) -> Vec<&ServiceEntry> {
        let mut found: Vec<_> =
            self.reverse().range(address, address).filter_map(|it| self.confirmed(it)).collect();
        found.sort_by(|a, b| (a.namespace(), &a.key()[..]).cmp(&(b.namespace(), &b.key()[..])));
        found
    }

    /// Whether any address from `first` to `last` satisfies `has_name` for one of its services.
    pub fn any_address_within(
        &self,
        first: IpAddr,
        last: IpAddr,
        mut has_name: impl FnMut(&ServiceEntry, IpAddr) -> bool,
    ) -> bool {
        self.reverse()
            .range(first, last)
            .any(|hint| self.confirmed(hint).is_some_and(|entry| has_name(entry, hint.address)))
    }

    /// The service of a hint if it still, or already, has the address.
    fn confirmed(&self, hint: &Hint) -> Option<&ServiceEntry> {
        let entry = self.service(&hint.service)?;
        let has = entry.has_cluster_ip(hint.address) || entry.endpoints_with(hint.address).next().is_some();
        has.then_some(entry)
    }

    fn reverse(&self) -> &Reverse {
        self.reverse.get_or_init(|| self.contents.reverse.load())
    }

    fn shard(&self, wanted: usize) -> &Shard {
        let mut slot = &self.shards;
        loop {
            let (held, shard) = slot.held.get_or_init(|| (wanted, self.contents.shards[wanted].load()));
            if *held == wanted {
                return shard;
            }
            slot = slot.next.get_or_init(Box::default);
        }
    }
}
