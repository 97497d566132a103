//! The pods, and which of them carry a label.
//!
//! Pods have small numbers here: a label that a thousand pods carry costs a thousand numbers, not names.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::{Pair, pair};
use crate::endpointslice::model::{Labels, PodView};
use crate::model::ObjectKey;

/// Number of a pod while it exists.
pub type PodId = u32;

/// All pods.
#[derive(Debug, Default)]
pub struct Members {
    slots: Vec<Option<Record>>,
    free: Vec<PodId>,
    /// By namespace and name.
    by_key: HashMap<Box<str>, HashMap<Box<str>, PodId>>,
    postings: HashMap<Pair, BTreeSet<PodId>>,
    /// Lists begun so far.
    lists: u32,
}

#[derive(Debug)]
struct Record {
    view: Arc<PodView>,
    /// The Services that select it, ascending.
    services: Vec<Arc<ObjectKey>>,
    /// Lists begun when it was seen last.
    seen: u32,
}

impl Members {
    fn record(&self, id: PodId) -> Option<&Record> {
        self.slots.get(id as usize)?.as_ref()
    }

    fn record_mut(&mut self, id: PodId) -> Option<&mut Record> {
        self.slots.get_mut(id as usize)?.as_mut()
    }

    /// The number of a pod.
    pub fn id_of(&self, key: &ObjectKey) -> Option<PodId> {
        self.by_key.get(key.namespace.as_str())?.get(key.name.as_str()).copied()
    }

    /// The pod of a number.
    pub fn view(&self, id: PodId) -> Option<&Arc<PodView>> {
        self.record(id).map(|it| &it.view)
    }

    /// A list begins.
    pub fn begin_list(&mut self) {
        self.lists = self.lists.wrapping_add(1);
    }

    /// Pods that were not seen since it began.
    pub fn not_listed(&self) -> Vec<ObjectKey> {
        let unseen = self.slots.iter().flatten().filter(|it| it.seen != self.lists);
        unseen.map(|it| it.view.key.clone()).collect()
    }

    /// Number of pods.
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// The Services that select a pod.
    pub fn services(&self, id: PodId) -> &[Arc<ObjectKey>] {
        self.record(id).map(|it| it.services.as_slice()).unwrap_or_default()
    }

    /// The pod is as it was.
    pub fn seen(&mut self, id: PodId) {
        let lists = self.lists;
        if let Some(record) = self.record_mut(id) {
            record.seen = lists;
        }
    }

    /// Adds or replaces a pod; its Services stay.
    pub fn put(&mut self, id: Option<PodId>, view: &Arc<PodView>) -> PodId {
        let Some(id) = id else { return self.insert(view) };
        let old = self.record(id).map(|it| Arc::clone(&it.view));
        if let Some(old) = old.filter(|it| it.labels != view.labels) {
            self.unpost(id, &old);
            self.post(id, view);
        }
        if let Some(record) = self.record_mut(id) {
            record.view = Arc::clone(view);
        }
        self.seen(id);
        id
    }

    fn insert(&mut self, view: &Arc<PodView>) -> PodId {
        let record = Record { view: Arc::clone(view), services: Vec::new(), seen: self.lists };
        let id = match self.free.pop() {
            Some(id) => {
                self.slots[id as usize] = Some(record);
                id
            }
            None => {
                self.slots.push(Some(record));
                (self.slots.len() - 1) as PodId
            }
        };
        let ObjectKey { namespace, name } = &view.key;
        match self.by_key.get_mut(namespace.as_str()) {
            Some(pods) => drop(pods.insert(name.as_str().into(), id)),
            None => drop(self.by_key.insert(namespace.as_str().into(), [(name.as_str().into(), id)].into())),
        }
        self.post(id, view);
        id
    }

    /// Removes a pod.
    pub fn remove(&mut self, id: PodId) {
        let Some(record) = self.slots.get_mut(id as usize).and_then(Option::take) else { return };
        let ObjectKey { namespace, name } = &record.view.key;
        if let Some(pods) = self.by_key.get_mut(namespace.as_str()) {
            pods.remove(name.as_str());
            if pods.is_empty() {
                self.by_key.remove(namespace.as_str());
            }
        }
        self.unpost(id, &record.view);
        self.free.push(id);
    }

    fn post(&mut self, id: PodId, view: &PodView) {
        for (key, value) in view.labels.iter() {
            self.postings.entry(pair(&view.key.namespace, key, value)).or_default().insert(id);
        }
    }

    fn unpost(&mut self, id: PodId, view: &PodView) {
        for (key, value) in view.labels.iter() {
            let pair = pair(&view.key.namespace, key, value);
            if let Some(posting) = self.postings.get_mut(&pair) {
                posting.remove(&id);
                if posting.is_empty() {
                    self.postings.remove(&pair);
                }
            }
        }
    }

    /// How many pods carry a pair.
    pub fn carriers(&self, pair: &Pair) -> usize {
        self.postings.get(pair).map_or(0, BTreeSet::len)
    }

    /// The pods that carry a pair and whose labels match.
    pub fn matching(&self, pair: &Pair, matches: impl Fn(&Labels) -> bool) -> Vec<PodId> {
        let carriers = self.postings.get(pair).into_iter().flatten();
        carriers.copied().filter(|it| self.view(*it).is_some_and(|it| matches(&it.labels))).collect()
    }

    /// A Service selects a pod.
    pub fn join(&mut self, id: PodId, service: &Arc<ObjectKey>) {
        if let Some(record) = self.record_mut(id)
            && let Err(at) = record.services.binary_search(service)
        {
            record.services.reserve_exact(1);
            record.services.insert(at, Arc::clone(service));
        }
    }

    /// A Service selects a pod no longer.
    pub fn leave(&mut self, id: PodId, service: &ObjectKey) {
        if let Some(record) = self.record_mut(id) {
            record.services.retain(|it| **it != *service);
        }
    }

    /// The Services that select a pod are these, ascending.
    pub fn set_services(&mut self, id: PodId, services: Vec<Arc<ObjectKey>>) {
        if let Some(record) = self.record_mut(id) {
            record.services = services;
        }
    }
}
