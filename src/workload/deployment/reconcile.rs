//! One Deployment: observe the caches, claim its sets, plan, apply, publish the status.
//!
//! A key is not planned before the caches show every write of the sync before it; the watch event that shows the last one
//! names the key again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tracing::info;

use super::apply::{Applier, Failed};
use super::model::{DeploymentView, Strategy};
use super::{Action, Observed, Plan, conditions, plan, status_patch};
use crate::k8s::events::{Recorder, Severity};
use crate::k8s::kinds::{DEPLOYMENTS, REPLICA_SETS};
use crate::k8s::watch::Store;
use crate::k8s::write::{WriteApi, WriteError};
use crate::model::ObjectKey;
use crate::runtime::{Next, Reconcile};
use crate::workload::apply::{ApplyError, Ledger, Who, until_gone};
use crate::workload::claim::{self, Claimant};
use crate::workload::hash::Release;
use crate::workload::model::{PodView, SetView};
use crate::workload::{World, adopt, index};

/// Collisions of set names after which a sync gives up; one is already a rarity.
const COLLISIONS_MAX: i32 = 20;
/// A look at a Deployment that was written to, even if the events of the writes never come.
const WRITTEN_RECHECK: Duration = Duration::from_secs(5);
/// A look at a Deployment whose write met a newer version than the cache had.
const BEHIND_RECHECK: Duration = Duration::from_secs(1);
/// The shortest wait for the end of a deadline.
const SOON: Duration = Duration::from_millis(100);

/// Everything the controller may touch.
pub struct Reconciler {
    deployments: Store<DeploymentView>,
    sets: Store<SetView>,
    pods: Store<PodView>,
    ledger: Ledger,
    api: WriteApi,
    events: Recorder,
    world: World,
    release: Release,
}

impl Reconciler {
    /// A controller for `deployments`; `release` names its sets.
    pub fn new(
        deployments: Store<DeploymentView>,
        sets: Store<SetView>,
        pods: Store<PodView>,
        api: WriteApi,
        events: Recorder,
        world: World,
        release: Release,
    ) -> Self {
        let ledger = Ledger::new(vec![
            (REPLICA_SETS, Arc::new(sets.clone())),
            (DEPLOYMENTS, Arc::new(deployments.clone())),
        ]);
        Self { deployments, sets, pods, ledger, api, events, world, release }
    }

    fn observe(&self, deployment: &DeploymentView, sets: Vec<Arc<SetView>>) -> Observed {
        let mut unfinished = BTreeMap::new();
        if deployment.strategy == Strategy::Recreate {
            for set in &sets {
                let pods = self.pods.by_index(&index::owned(&set.uid));
                let count = pods.iter().filter(|it| !it.ended()).count();
                unfinished.insert(set.uid.clone(), u32::try_from(count).unwrap_or(u32::MAX));
            }
        }
        let collision_count = deployment.status.collision_count;
        Observed { sets, unfinished, collision_count, release: self.release }
    }

    async fn sync(&self, key: &ObjectKey) -> Result<Next, ApplyError> {
        let Some(deployment) = self.deployments.get(key) else {
            self.ledger.forget(key);
            return Ok(Next::Event);
        };
        if self.ledger.trails(&self.api, key).await? {
            return Ok(Next::OwnWrites);
        }
        let now = (self.world.now)();
        let who = Who {
            kind: DEPLOYMENTS,
            key,
            uid: &deployment.uid,
            resource_version: &deployment.resource_version,
            component: "deployment-controller",
        };
        if deployment.selector.is_empty() {
            let message = "This deployment is selecting all pods. A non-empty selector is required.";
            who.tell(&self.events, Severity::Warning, "SelectingAll", message.to_owned(), now);
            return Ok(Next::Event);
        }
        let mut candidates = self.sets.by_index(&index::owned(&deployment.uid));
        candidates.extend(self.sets.by_index(&index::orphans_in(&key.namespace)));
        let claimant =
            Claimant { uid: &deployment.uid, selector: &deployment.selector, deleting: deployment.deleting };
        let claimed = claim::claim(claimant, candidates);
        adopt::apply(&self.api, &self.ledger, &who, REPLICA_SETS, &claimed).await?;
        if self.ledger.waits_for(key).is_some() {
            return Ok(Next::OwnWrites);
        }
        let mut observed = self.observe(&deployment, claimed.kept);
        let applier = Applier {
            api: &self.api,
            ledger: &self.ledger,
            events: &self.events,
            deployment: &deployment,
            who: &who,
            now,
        };
        // Our writes of the last rollout may be gone with the cache of a process that went: a set that nobody sees any more
        // would be made again for a Deployment that is gone.
        if observed.sets.is_empty() && deployment.status.observed_generation > 0 {
            who.still_stays(&self.api).await?;
        }
        let mut plan = plan(&deployment, &observed, now);
        loop {
            match self.apply(&applier, &plan.actions).await {
                Ok(()) => break,
                Err(Failed::Collision(set)) if observed.collision_count.unwrap_or(0) < COLLISIONS_MAX => {
                    info!(replicaset = %set, "replica set name collided");
                    observed.collision_count = Some(observed.collision_count.map_or(1, |it| it + 1));
                    plan = super::plan(&deployment, &observed, now);
                }
                Err(Failed::Collision(set)) => return Err(ApplyError::Taken(set)),
                Err(Failed::Stale) => return Ok(Next::After(BEHIND_RECHECK)),
                Err(Failed::Create(name, error)) => {
                    return self.could_not_create(&who, &deployment, plan, &name, error, now).await;
                }
                Err(Failed::Other(error)) => return Err(error),
            }
        }
        // A rollback changed the Deployment: what there is to say about it has to wait.
        let rolled_back = plan.actions.iter().any(|it| matches!(it, Action::Rollback(_)));
        let behind = if rolled_back { None } else { self.publish(&deployment, &plan).await? };
        let wakes =
            plan.wake_at.map(|at| Duration::try_from(at.duration_since(now)).unwrap_or(SOON).max(SOON));
        let written = self.ledger.waits_for(key).is_some().then_some(WRITTEN_RECHECK);
        let next = [behind, wakes, written].into_iter().flatten().min();
        Ok(next.map_or(Next::Event, Next::After))
    }

    async fn apply(&self, applier: &Applier<'_>, actions: &[Action]) -> Result<(), Failed> {
        for action in actions {
            applier.apply(action).await?;
        }
        Ok(())
    }

    /// Says that a set could not be created, in the status and to people.
    async fn could_not_create(
        &self,
        who: &Who<'_>,
        deployment: &DeploymentView,
        mut plan: Plan,
        name: &str,
        error: ApplyError,
        now: Timestamp,
    ) -> Result<Next, ApplyError> {
        if error.is_farewell() {
            return Err(error);
        }
        let reason = "ReplicaSetCreateError";
        let message = format!("Failed to create new replica set {name:?}: {}", error.text());
        // The set does not exist: nothing is said of it but this.
        plan.revision = None;
        plan.status = deployment.status.clone();
        if deployment.progress_deadline.is_some() {
            let conditions = &mut plan.status.conditions;
            conditions::set(conditions, conditions::PROGRESSING, "False", reason, message.clone(), now);
        }
        who.tell(&self.events, Severity::Warning, reason, message, now);
        self.publish(deployment, &plan).await?;
        Err(error)
    }

    /// Writes the status if it changed. A delay if somebody else wrote the Deployment meanwhile.
    async fn publish(
        &self,
        deployment: &DeploymentView,
        plan: &Plan,
    ) -> Result<Option<Duration>, ApplyError> {
        let Some(patch) = status_patch(deployment, plan) else { return Ok(None) };
        let key = &deployment.key;
        match self.api.patch_sub(DEPLOYMENTS, key, "status", &patch).await {
            Ok(written) => {
                self.ledger.stored(key, DEPLOYMENTS, key, &written);
                Ok(None)
            }
            Err(WriteError::NotFound { .. }) => Ok(None),
            Err(WriteError::Stale { .. }) => Ok(Some(BEHIND_RECHECK)),
            Err(error) => {
                self.ledger.note(key, DEPLOYMENTS, key, Some(&deployment.uid), &error);
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
