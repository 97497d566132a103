//! The services of the zone by the hash of their key, cheap to copy and to change: the storage of `dns::index`.
//!
//! A trie of 8-way branches over the bits of a hash, with small leaves. Nodes are shared between copies: a change of one
//! service copies the branches on its path and one leaf, whatever the number of services. Lookups compare hashes of 32
//! bits and then the key, so at most one entry is read that is not the one asked for, save by a collision.

use std::sync::Arc;

use super::records::ServiceEntry;

/// Children of a branch: a path copy of four levels at 10,000 services costs about 30 reference counts.
const WIDTH: usize = 8;
const BITS: u32 = 3;
/// Most services of a leaf, as long as the hashes have bits left to tell them apart.
const MAX_LEAF: usize = 8;

/// A hash of a service key. Randomly seeded by the index: names in queries are chosen by strangers.
pub type KeyHash = u32;

/// The services; cloning shares everything.
#[derive(Clone, Default)]
pub struct Services {
    root: Arc<Branch>,
    len: usize,
}

type Branch = [Child; WIDTH];

#[derive(Clone)]
enum Child {
    Leaf(Arc<[Slot]>),
    Branch(Arc<Branch>),
}

#[derive(Clone)]
struct Slot {
    hash: KeyHash,
    entry: Arc<ServiceEntry>,
}

impl Default for Child {
    fn default() -> Self {
        Self::Leaf(Arc::default())
    }
}

impl Services {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// The service of `key`, whose hash is `hash`.
    #[inline(always)]
    pub fn get(&self, hash: KeyHash, key: &[u8]) -> Option<&Arc<ServiceEntry>> {
        for slot in self.leaf(hash) {
            if slot.hash == hash && slot.entry.key() == key {
                return Some(&slot.entry);
            }
        }
        None
    }

    /// Every service whose key has this hash: one, but for collisions.
    pub fn with_hash(&self, hash: KeyHash) -> impl Iterator<Item = &ServiceEntry> {
        self.leaf(hash).iter().filter(move |it| it.hash == hash).map(|it| &*it.entry)
    }

    /// Every service, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<ServiceEntry>> {
        let mut pending: Vec<std::slice::Iter<'_, Child>> = vec![self.root.iter()];
        let slots = std::iter::from_fn(move || {
            loop {
                match pending.last_mut()?.next() {
                    None => drop(pending.pop()),
                    Some(Child::Leaf(slots)) => return Some(slots.iter()),
                    Some(Child::Branch(children)) => pending.push(children.iter()),
                }
            }
        });
        slots.flatten().map(|it| &it.entry)
    }

    /// Adds a service, in place of one with the same key.
    pub fn insert(&mut self, hash: KeyHash, entry: Arc<ServiceEntry>) {
        if insert(&mut self.root, 0, Slot { hash, entry }) {
            self.len += 1;
        }
    }

    /// Removes a service; one that is not there is no error.
    pub fn remove(&mut self, hash: KeyHash, key: &[u8]) {
        if self.get(hash, key).is_some() {
            self.len -= 1;
            let mut children = &mut self.root;
            let mut bits = hash;
            loop {
                match &mut Arc::make_mut(children)[bits as usize % WIDTH] {
                    Child::Branch(next) => children = next,
                    Child::Leaf(slots) => {
                        let others = slots.iter().filter(|it| it.entry.key() != key);
                        *slots = others.cloned().collect::<Vec<_>>().into();
                        return;
                    }
                }
                bits >>= BITS;
            }
        }
    }

    #[inline(always)]
    fn leaf(&self, hash: KeyHash) -> &[Slot] {
        let mut children = &self.root;
        let mut bits = hash;
        loop {
            match &children[bits as usize % WIDTH] {
                Child::Leaf(slots) => return slots,
                Child::Branch(next) => children = next,
            }
            bits >>= BITS;
        }
    }
}

/// Whether the service is a new one. `depth`: how many levels lie above these children.
fn insert(children: &mut Arc<Branch>, depth: u32, slot: Slot) -> bool {
    let at = (slot.hash >> (BITS * depth)) as usize % WIDTH;
    match &mut Arc::make_mut(children)[at] {
        Child::Branch(next) => insert(next, depth + 1, slot),
        Child::Leaf(slots) => {
            let mut changed = Vec::with_capacity(slots.len() + 1);
            let others = slots.iter().filter(|it| it.entry.key() != slot.entry.key());
            changed.extend(others.cloned());
            let new = changed.len() == slots.len();
            changed.push(slot);
            // Below the last level all hashes are equal.
            if changed.len() > MAX_LEAF && BITS * (depth + 1) < KeyHash::BITS {
                let mut branch = Arc::<Branch>::default();
                for it in changed {
                    insert(&mut branch, depth + 1, it);
                }
                Arc::make_mut(children)[at] = Child::Branch(branch);
            } else {
                *slots = changed.into();
            }
            new
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::config::EndpointNames;
    use crate::dns::model::{SeenAt, Selector, Service, ServiceKind};
    use crate::dns::records::{EmptyServices, RecordRules, service_entry};
    use crate::model::ObjectKey;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn entry(number: u16, version: u16) -> Arc<ServiceEntry> {
        let key = ObjectKey::new("ns", format!("s{number}"));
        let kind = ServiceKind::ExternalName(format!("v{version}.example"));
        let service =
            Service { key, kind, ports: Vec::new(), selector: Selector::Absent, seen: SeenAt::default() };
        let rules =
            RecordRules { endpoint_names: EndpointNames::Hostname, empty_services: EmptyServices::Published };
        Arc::new(service_entry(&service, &[], rules).unwrap())
    }

    fn all(services: &Services) -> BTreeMap<Vec<u8>, Arc<ServiceEntry>> {
        services.iter().map(|it| (it.key().to_vec(), it.clone())).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn behaves_like_a_map(
            edits in proptest::collection::vec((0u16..300, 0u16..3, any::<bool>()), 0..1200),
            // All bits, or so few that most services collide.
            mask in prop_oneof![Just(u32::MAX), Just(0xf000_0003)],
        ) {
            let hash = |number: u16| u32::from(number).wrapping_mul(0x9e37_79b1) & mask;
            let (mut got, mut want) = (Services::default(), BTreeMap::new());
            for (number, version, add) in edits {
                let (old, kept) = (got.clone(), want.clone());
                let new = entry(number, version);
                if add {
                    got.insert(hash(number), new.clone());
                    want.insert(new.key().to_vec(), new);
                } else {
                    got.remove(hash(number), new.key());
                    want.remove(new.key());
                }
                prop_assert_eq!(got.len(), want.len());
                prop_assert_eq!(old.len(), kept.len());
                if number % 50 == 0 {
                    prop_assert_eq!(all(&old), kept, "a copy keeps what it had");
                }
            }
            for number in 0..300 {
                let key = entry(number, 0).key().to_vec();
                prop_assert_eq!(got.get(hash(number), &key), want.get(&key));
            }
            prop_assert_eq!(all(&got), want);
        }
    }
}
