//! Idle compaction (`--slice-compaction=idle`): half-empty slices of a quiet Service become fewer.
//!
//! Upstream never repairs fragmentation. Here it is one merge at a time: the target takes the endpoints first, then the source
//! is deleted, so that readers see duplicates for a moment and never a gap.

use std::sync::Arc;
use std::time::Duration;

use super::Index;
use super::service::Dirty;
use crate::endpointslice::model::{ServiceView, Topology};
use crate::endpointslice::plan::{Content, Write};
use crate::endpointslice::spacing::Instant;
use crate::model::ObjectKey;

/// How long a Service must have been left alone.
const QUIET: Duration = Duration::from_secs(600);

impl Index {
    /// Picks a Service with at least twice the slices it needs that was not written for ten minutes, and notes which two to
    /// merge. `started`: when this controller did; before that nothing is known.
    pub fn pick_compaction(&mut self, max: usize, started: Instant, now: Instant) -> Option<ObjectKey> {
        if now.duration_since(started) < QUIET {
            return None;
        }
        self.services.iter_mut().find_map(|(key, state)| {
            let managed = state.view.as_ref().is_some_and(|it| it.managed() && it.topology != Topology::Auto);
            if !managed || state.dirty != Dirty::Clean || state.slices.has_odd() || state.slices.len() < 2 {
                return None;
            }
            let merge = state.slices.half_empty(max, |pace| pace.quiet_for(now) >= QUIET)?;
            state.merge = Some(merge);
            Some((**key).clone())
        })
    }

    /// The writes of a merge that was noted, if nothing has changed since.
    pub fn take_compaction(&mut self, key: &ObjectKey) -> Option<(Arc<ServiceView>, Vec<Write>)> {
        let state = self.services.get_mut(key)?;
        let (target, source) = state.merge.take()?;
        let same = |it: &Arc<_>, name: &str| state.slices.get(name).is_some_and(|now| Arc::ptr_eq(now, it));
        if state.dirty != Dirty::Clean || !same(&target, &target.key.name) || !same(&source, &source.key.name)
        {
            return None;
        }
        let endpoints = target.endpoints.iter().chain(&source.endpoints).cloned().collect();
        let content = Content { family: target.family?, ports: target.ports.clone(), endpoints };
        let service = state.view.clone()?;
        Some((service, vec![Write::Update(target, content), Write::Delete(source)]))
    }
}
