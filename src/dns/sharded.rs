//! A map from octets that readers see without a lock and writers change in small parts.
//!
//! `dns::index` ──[`Sharded::update`]──▶ [`Sharded`] ──[`Sharded::get`]──▶ `View`
//!
//! A change copies the shards it touches, so its cost does not grow with the whole map. One writer at a time: the index
//! holds its lock.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::Arc;

use arc_swap::ArcSwap;
use foldhash::fast::RandomState;

const SHARDS: usize = 64;

type Shard<V> = HashMap<Box<[u8]>, V, RandomState>;

/// See the module.
pub struct Sharded<V> {
    /// Randomly seeded: keys in queries are chosen by strangers.
    hasher: RandomState,
    shards: Box<[ArcSwap<Shard<V>>]>,
}

impl<V> Default for Sharded<V> {
    fn default() -> Self {
        let hasher = RandomState::default();
        let empty = Arc::new(Shard::with_hasher(hasher.clone()));
        Self { hasher, shards: (0..SHARDS).map(|_| ArcSwap::new(Arc::clone(&empty))).collect() }
    }
}

impl<V: Clone> Sharded<V> {
    /// What is known under `key`.
    pub fn get(&self, key: &[u8]) -> Option<V> {
        self.shards[self.shard_of(key)].load().get(key).cloned()
    }

    /// Merges each change into what is there; `None` from `merge` removes the key.
    ///
    /// A key may occur several times: the changes follow each other.
    pub fn update<C>(&self, changes: Vec<(Box<[u8]>, C)>, merge: impl Fn(Option<V>, C) -> Option<V>) {
        let mut by_shard: Vec<Vec<(Box<[u8]>, C)>> = (0..SHARDS).map(|_| Vec::new()).collect();
        for (key, change) in changes {
            by_shard[self.shard_of(&key)].push((key, change));
        }
        for (slot, changes) in self.shards.iter().zip(by_shard).filter(|(_, changes)| !changes.is_empty()) {
            let mut shard = Shard::clone(&slot.load());
            for (key, change) in changes {
                let old = shard.remove(&key);
                if let Some(new) = merge(old, change) {
                    shard.insert(key, new);
                }
            }
            slot.store(Arc::new(shard));
        }
    }

    /// Uses bits that the hash maps inside do not look at first.
    fn shard_of(&self, key: &[u8]) -> usize {
        (self.hasher.hash_one(key) >> 32) as usize % SHARDS
    }
}
