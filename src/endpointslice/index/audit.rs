//! The check of the incremental against the plain: a Service that is not marked must need no write.

use super::Index;
use super::service::Dirty;
use crate::model::ObjectKey;

impl Index {
    /// Plans a Service from scratch if nothing of it is marked. `Some`: it should have needed no write, but needs so many;
    /// it is marked, so that the next plan puts it right.
    pub fn audit(&mut self, key: &ObjectKey, max: usize) -> Option<usize> {
        let state = self.services.get(key)?;
        if state.dirty != Dirty::Clean || !state.doubtful.is_empty() {
            return None;
        }
        let writes = self.plan_all(key, max)?.writes.len();
        if writes == 0 {
            return None;
        }
        self.services.get_mut(key)?.dirty = Dirty::All;
        Some(writes)
    }

    /// The managed Service at a position, to pick one at random; `None`: there is none.
    pub fn pick(&self, at: usize) -> Option<ObjectKey> {
        let count = self.services.len();
        if count == 0 {
            return None;
        }
        self.services.keys().nth(at % count).map(|it| (**it).clone())
    }

    /// What the caches hold, for metrics and benches.
    pub fn sizes(&self) -> Sizes {
        Sizes {
            services: self
                .services
                .values()
                .filter(|it| it.view.as_ref().is_some_and(|it| it.managed()))
                .count(),
            pods: self.pods.len(),
            slices: self.services.values().map(|it| it.slices.len()).sum(),
        }
    }
}

/// See [`Index::sizes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// Managed Services.
    pub services: usize,
    /// Pods.
    pub pods: usize,
    /// Our slices.
    pub slices: usize,
}
