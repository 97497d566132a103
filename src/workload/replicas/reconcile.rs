//! One set: observe the caches, claim, plan, create and delete, publish the status.
//!
//! A key is not planned before the caches show every write of the sync before it; the watch event that shows the last one
//! names the key again. Source: kubernetes `pkg/controller/replicaset/replica_set.go` (`slowStartBatch`,
//! `manageReplicas`).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;

use super::{Failure, Observed, Plan, pod, pod_name, status_patch, suffix, surplus};
use crate::k8s::events::{Recorder, Severity};
use crate::k8s::kinds::PODS;
use crate::k8s::watch::Store;
use crate::k8s::write::{WriteApi, WriteError};
use crate::model::ObjectKey;
use crate::runtime::{Next, Reconcile};
use crate::workload::apply::{ApplyError, Ledger, Who, is_controlled_by, until_gone};
use crate::workload::claim::{self, Claimant};
use crate::workload::model::{PodView, SetKind, SetView};
use crate::workload::{World, adopt, index};

/// A look at a set that was written to, even if the events of the writes never come.
const WRITTEN_RECHECK: Duration = Duration::from_secs(5);
/// A look at a set whose status write met a newer version than the cache had.
const BEHIND_RECHECK: Duration = Duration::from_secs(1);

/// Everything the controller of one kind of set may touch.
pub struct Reconciler {
    kind: SetKind,
    sets: Store<SetView>,
    pods: Store<PodView>,
    ledger: Ledger,
    api: WriteApi,
    events: Recorder,
    world: World,
}

impl Reconciler {
    /// A controller for the sets in `sets`.
    pub fn new(
        kind: SetKind,
        sets: Store<SetView>,
        pods: Store<PodView>,
        api: WriteApi,
        events: Recorder,
        world: World,
    ) -> Self {
        let ledger = Ledger::new(vec![(PODS, Arc::new(pods.clone())), (kind.kind(), Arc::new(sets.clone()))]);
        Self { kind, sets, pods, ledger, api, events, world }
    }

    fn observe(&self, set: &SetView, kept: Vec<Arc<PodView>>) -> Observed {
        let terminating = kept.iter().filter(|it| it.deleting && !it.ended()).count();
        let active: Vec<_> = kept.into_iter().filter(|it| it.active()).collect();
        let extra = surplus(set, active.len());
        let ranked = extra > 0 && extra < active.len() as i64;
        let siblings = if ranked { self.siblings(set) } else { HashMap::new() };
        Observed { active, terminating: u32::try_from(terminating).unwrap_or(u32::MAX), siblings }
    }

    /// Active pods per node of all sets with the same controller.
    ///
    /// Differs: upstream counts what the selectors of those sets match, orphans and pods of others included.
    fn siblings(&self, set: &SetView) -> HashMap<String, usize> {
        let mut nodes = HashMap::new();
        let Some(owner) = &set.owner else { return nodes };
        for sibling in self.sets.by_index(&index::owned(&owner.uid)) {
            for pod in self.pods.by_index(&index::owned(&sibling.uid)) {
                if pod.active() {
                    *nodes.entry(pod.node.clone()).or_insert(0) += 1;
                }
            }
        }
        nodes
    }

    async fn sync(&self, key: &ObjectKey) -> Result<Next, ApplyError> {
        let Some(set) = self.sets.get(key) else {
            self.ledger.forget(key);
            return Ok(Next::Event);
        };
        if self.ledger.trails(&self.api, key).await? {
            return Ok(Next::OwnWrites);
        }
        let now = (self.world.now)();
        let who = Who {
            kind: self.kind.kind(),
            key,
            uid: &set.uid,
            resource_version: &set.resource_version,
            component: self.kind.component(),
        };
        let mut candidates = self.pods.by_index(&index::owned(&set.uid));
        candidates.extend(self.pods.by_index(&index::orphans_in(&key.namespace)));
        let claimant = Claimant { uid: &set.uid, selector: &set.selector, deleting: set.deleting };
        let claimed = claim::claim(claimant, candidates);
        adopt::apply(&self.api, &self.ledger, &who, PODS, &claimed).await?;
        // What was adopted or released counts once the cache shows it.
        if self.ledger.waits_for(key).is_some() {
            return Ok(Next::OwnWrites);
        }
        let observed = self.observe(&set, claimed.kept);
        let plan = super::plan(&set, &observed, now);
        let applied = self.manage(&who, &set, &plan, now).await;
        let failure = applied.as_ref().err().map(|(failure, _)| failure);
        let behind = self.publish(&set, &plan, failure, now).await?;
        if let Err((_, error)) = applied {
            return Err(error);
        }
        let wakes = plan.wake_at.map(|at| at.duration_since(now).unsigned_abs());
        let written = self.ledger.waits_for(key).is_some().then_some(WRITTEN_RECHECK);
        let next = [behind, wakes, written].into_iter().flatten().min();
        Ok(next.map_or(Next::Event, Next::After))
    }

    /// Creates or deletes pods.
    async fn manage(
        &self,
        who: &Who<'_>,
        set: &SetView,
        plan: &Plan,
        now: Timestamp,
    ) -> Result<(), (Failure, ApplyError)> {
        // Slow start: a quota that is used up costs one request, not hundreds.
        let (mut left, mut size) = (plan.create, 1);
        while left > 0 {
            let batch = size.min(left);
            let results = join_all((0..batch).map(|_| self.create(who, set, now))).await;
            if let Some(error) = results.into_iter().find_map(Result::err) {
                if error.is_farewell() {
                    return Ok(());
                }
                return Err((Failure::Create(error.text()), error));
            }
            left -= batch;
            size *= 2;
        }
        let results = join_all(plan.delete.iter().map(|it| self.delete(who, it, now))).await;
        match results.into_iter().find_map(Result::err) {
            Some(error) => Err((Failure::Delete(error.text()), error.into())),
            None => Ok(()),
        }
    }

    async fn create(&self, who: &Who<'_>, set: &SetView, now: Timestamp) -> Result<(), ApplyError> {
        let again = self.ledger.take_name(who.key);
        let name = again.unwrap_or_else(|| pod_name(&set.key.name, &suffix((self.world.random)())));
        let object = ObjectKey::new(set.key.namespace.as_str(), name.as_str());
        let result = match self.api.create(PODS, &object, &pod(set, &name)).await {
            Ok(written) => {
                self.ledger.stored(who.key, PODS, &object, &written);
                let message = format!("Created pod: {name}");
                who.tell(&self.events, Severity::Normal, "SuccessfulCreate", message, now);
                return Ok(());
            }
            Err(WriteError::AlreadyExists { .. }) => self.is_ours(who, &object).await,
            Err(error) => {
                self.ledger.note(who.key, PODS, &object, None, &error);
                Err(error.into())
            }
        };
        if let Err(error) = &result
            && !error.is_farewell()
        {
            let message = format!("Error creating: {}", error.text());
            who.tell(&self.events, Severity::Warning, "FailedCreate", message, now);
        }
        result
    }

    /// The name is taken: by a pod of this set whose creation nobody heard of, or by somebody else.
    async fn is_ours(&self, who: &Who<'_>, object: &ObjectKey) -> Result<(), ApplyError> {
        let found = self.api.get(PODS, object).await?;
        if !is_controlled_by(&found, who.uid) {
            return Err(ApplyError::Taken(object.clone()));
        }
        let written = serde_json::from_value(found).unwrap_or_default();
        self.ledger.stored(who.key, PODS, object, &written);
        Ok(())
    }

    async fn delete(&self, who: &Who<'_>, pod: &PodView, now: Timestamp) -> Result<(), WriteError> {
        let result = self.api.delete(PODS, &pod.key, &pod.uid, None).await;
        let done = result.is_ok();
        let result = self.ledger.deleted(who.key, PODS, &pod.key, &pod.uid, result);
        match &result {
            Ok(()) if done => {
                let message = format!("Deleted pod: {}", pod.key.name);
                who.tell(&self.events, Severity::Normal, "SuccessfulDelete", message, now);
            }
            Ok(()) => {}
            Err(error) => {
                let message = format!("Error deleting: {}", error.text());
                who.tell(&self.events, Severity::Warning, "FailedDelete", message, now);
            }
        }
        result
    }

    /// Writes the status if it changed. A delay if somebody else wrote the set meanwhile: the event of that write names
    /// the key again, the delay is for the case that it does not come.
    async fn publish(
        &self,
        set: &SetView,
        plan: &Plan,
        failure: Option<&Failure>,
        now: Timestamp,
    ) -> Result<Option<Duration>, ApplyError> {
        let Some(status) = plan.publish(set, failure, now) else { return Ok(None) };
        let kind = self.kind.kind();
        match self.api.patch_sub(kind, &set.key, "status", &status_patch(set, &status)).await {
            Ok(written) => {
                self.ledger.stored(&set.key, kind, &set.key, &written);
                Ok(None)
            }
            Err(WriteError::NotFound { .. }) => Ok(None),
            Err(WriteError::Stale { .. }) => Ok(Some(BEHIND_RECHECK)),
            Err(error) => {
                self.ledger.note(&set.key, kind, &set.key, Some(&set.uid), &error);
                Err(error.into())
            }
        }
    }
}

impl Reconcile for Reconciler {
    type Error = ApplyError;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, ApplyError> {
        until_gone(self.sync(key).await)
    }
}
