//! One key: observe the caches, plan, apply, publish the status.
//!
//! A key is not planned before the caches show every write of the sync before it (DES-2); the watch event that
//! shows the last one names the key again.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use jiff::Timestamp;
use tracing::{debug, info, warn};

use super::apply::{Applier, ApplyError};
use super::backoff::Backoffs;
use super::claim;
use super::classes::Classes;
use super::events::tell;
use super::model::{ClaimView, Ordinal, PodView, RevisionView, SetSpec};
use super::plan::{Observed, Plan, plan};
use super::rival::rival;
use super::scale::CREATES_MAX;
use super::{conditions, growth, index, status};
use crate::k8s::events::{Recorder, Severity};
use crate::k8s::kinds::{CLAIMS, PODS, REVISIONS, STATEFUL_SETS};
use crate::k8s::own_writes::OwnWrites;
use crate::k8s::watch::Store;
use crate::k8s::write::{Kind, WriteApi, WriteError};
use crate::model::ObjectKey;
use crate::runtime::barrier::View;
use crate::runtime::{Next, Reconcile};

/// Collisions of revision names after which a sync gives up; one is already a rarity.
const COLLISIONS_MAX: i32 = 20;
/// A look at a set that was written to, even if the events of the writes never come.
const WRITTEN_RECHECK: Duration = Duration::from_secs(5);
/// A look at a set whose status write met a newer version than the cache had.
const BEHIND_RECHECK: Duration = Duration::from_secs(1);

/// The caches.
#[derive(Clone)]
pub struct Stores {
    /// StatefulSets.
    pub sets: Store<SetSpec>,
    /// Pods, indexed by [`index::pod_buckets`].
    pub pods: Store<PodView>,
    /// Claims.
    pub claims: Store<ClaimView>,
    /// Revisions, indexed by [`index::revision_buckets`].
    pub revisions: Store<RevisionView>,
}

impl Default for Stores {
    fn default() -> Self {
        Self {
            sets: Store::default(),
            pods: Store::indexed_by(index::pod_buckets),
            claims: Store::default(),
            revisions: Store::indexed_by(index::revision_buckets),
        }
    }
}

/// Everything a reconcile may touch.
pub struct Reconciler {
    stores: Stores,
    own: OwnWrites,
    api: WriteApi,
    events: Recorder,
    backoffs: Mutex<Backoffs>,
    classes: Classes,
    now: fn() -> Timestamp,
}

impl Reconciler {
    /// A reconciler over `stores` that writes through `api` and reads the time from `now`.
    pub fn new(stores: Stores, api: WriteApi, events: Recorder, now: fn() -> Timestamp) -> Self {
        let views: Vec<(Kind, Arc<dyn View>)> = vec![
            (STATEFUL_SETS, Arc::new(stores.sets.clone())),
            (PODS, Arc::new(stores.pods.clone())),
            (CLAIMS, Arc::new(stores.claims.clone())),
            (REVISIONS, Arc::new(stores.revisions.clone())),
        ];
        Self {
            stores,
            own: OwnWrites::new(views),
            api,
            events,
            backoffs: Mutex::default(),
            classes: Classes::default(),
            now,
        }
    }

    pub(super) fn candidates(&self, set: &SetSpec) -> Vec<Arc<PodView>> {
        let mut pods = self.stores.pods.by_index(&index::owned(&set.uid));
        pods.extend(self.stores.pods.by_index(&index::orphans_of(&set.key)));
        pods
    }

    pub(super) fn observe(
        &self,
        set: &SetSpec,
        pods: Vec<Arc<PodView>>,
        revisions: Vec<Arc<RevisionView>>,
        now: Timestamp,
    ) -> Observed {
        let namespace = set.key.namespace.as_str();
        let present: HashSet<Ordinal> = pods.iter().filter_map(|it| it.ordinal).collect();
        // A plan looks no further than this many ordinals.
        let range = set.ordinals().take(CREATES_MAX + pods.len());
        let mut taken = BTreeSet::new();
        let mut claims = HashMap::new();
        let mut add_claims = |ordinal| {
            for template in &set.claim_templates {
                let key = ObjectKey::new(namespace, set.claim_name(template, ordinal));
                if let Some(claim) = self.stores.claims.get(&key) {
                    claims.insert(key.name, claim);
                }
            }
        };
        for ordinal in range.filter(|it| !present.contains(it)) {
            add_claims(ordinal);
            if self.stores.pods.get(&ObjectKey::new(namespace, set.pod_name(ordinal))).is_some() {
                taken.insert(ordinal);
            }
        }
        present.iter().copied().for_each(add_claims);

        let collision_count = set.status.collision_count.unwrap_or(0);
        let backing_off = self.backoffs().of(set, now);
        Observed { pods, taken, claims, revisions, collision_count, backing_off, expandable: BTreeMap::new() }
    }

    /// Revisions of the set, and those of nobody that match its selector unless the set goes.
    pub(super) fn revisions(&self, set: &SetSpec) -> Vec<Arc<RevisionView>> {
        let mut revisions = self.stores.revisions.by_index(&index::owned(&set.uid));
        if !set.deleting {
            revisions.extend(self.stores.revisions.by_index(&index::orphans_in(&set.key.namespace)));
        }
        revisions.retain(|it| set.selector.matches(&it.labels));
        revisions
    }

    fn backoffs(&self) -> MutexGuard<'_, Backoffs> {
        self.backoffs.lock().expect("no code panics while it holds the backoffs")
    }

    /// Writes the status if it changed. `Next::After` if somebody else wrote the set meanwhile: the event of that
    /// write names the key again, the delay is for the case that it does not come.
    async fn publish(&self, applier: &Applier<'_>, plan: &Plan) -> Result<Next, ApplyError> {
        let set = applier.set;
        let told = conditions::matter(&set.status.conditions, &plan.status.conditions, plan);
        if !told && !status::differs(&set.status, &plan.status) {
            return Ok(Next::Event);
        }
        let patch = status::patch(set, &plan.status);
        match self.api.patch_sub(STATEFUL_SETS, &set.key, "status", &patch).await {
            Ok(written) => {
                applier.stored(STATEFUL_SETS, &set.key, &written);
                Ok(Next::Event)
            }
            Err(WriteError::NotFound { .. }) => Ok(Next::Event),
            Err(WriteError::Stale { .. }) => Ok(Next::After(BEHIND_RECHECK)),
            Err(error) => Err(error.into()),
        }
    }
}

impl Reconcile for Reconciler {
    type Error = ApplyError;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, ApplyError> {
        match self.sync(key).await {
            // The deletion of the set comes as an event.
            Err(error) if error.is_farewell() => {
                debug!(%error, "nothing left to do");
                Ok(Next::Event)
            }
            other => other,
        }
    }
}

impl Reconciler {
    async fn sync(&self, key: &ObjectKey) -> Result<Next, ApplyError> {
        if let Some(write) = self.own.waits_for(key) {
            debug!(?write, "own write not seen yet");
            return Ok(Next::OwnWrites);
        }
        let Some(set) = self.stores.sets.get(key) else {
            self.own.forget(key);
            self.backoffs().forget(key);
            return Ok(Next::Event);
        };
        let now = (self.now)();
        let applier = Applier {
            api: &self.api,
            own: &self.own,
            events: &self.events,
            backoffs: &self.backoffs,
            set: &set,
            now,
        };
        if let Some((pause, warning)) = rival(&set, now) {
            warn!(object.r#ref = %key, "another controller writes the status of this set, leaving it alone");
            tell(&self.events, &set, Severity::Standing, warning.reason, warning.message, now);
            return Ok(Next::After(pause));
        }
        let revisions = self.revisions(&set);
        let orphans: Vec<_> = revisions.iter().filter(|it| it.owner.is_none()).collect();
        applier.adopt_revisions(&orphans).await?;
        let claimed = claim::claim(&set, self.candidates(&set));
        applier.claim_pods(&claimed).await?;
        // The collector removes the revisions of a deleted set. Each removal comes here, and with the news of the deletion
        // missing they would be recorded again, and removed again.
        if revisions.is_empty() && !set.status.update_revision.is_empty() {
            applier.still_stays().await?;
        }
        // What was adopted or released counts once the caches show it.
        if self.own.waits_for(key).is_some() {
            return Ok(Next::OwnWrites);
        }

        let mut observed = self.observe(&set, claimed.kept, revisions, now);
        let classes = growth::classes(&set, &observed);
        observed.expandable = self.classes.expandable(&self.api, classes, now).await;
        let mut plan = loop {
            let plan = plan(&set, &observed, now);
            match applier.revisions(&plan.steps).await {
                Err(ApplyError::Collision(revision)) if observed.collision_count < COLLISIONS_MAX => {
                    info!(%revision, "revision name collided");
                    observed.collision_count += 1;
                }
                // Nothing is said of a revision that may not exist.
                Err(error) => return applier.history(&plan.steps).await.and(Err(error)),
                Ok(()) => break plan,
            }
        };
        let applied = applier.steps(&plan.steps).await;
        for warning in &plan.warnings {
            let message = warning.message.clone();
            tell(&self.events, &set, Severity::Standing, warning.reason, message, now);
        }
        for wait in &plan.waits {
            debug!(%wait, "waiting");
        }
        let refused = applied.as_ref().err().and_then(ApplyError::refused);
        let told = conditions::judge(&set, &observed, &plan, refused.as_ref(), now);
        plan.status.conditions = told.conditions;
        if let Some(warning) = told.warning {
            tell(&self.events, &set, Severity::Standing, warning.reason, warning.message, now);
        }
        // A sync that failed halfway still says what it saw, and still trims the history.
        let published = self.publish(&applier, &plan).await;
        let trimmed = applier.history(&plan.steps).await;
        applied?;
        let behind = if let Next::After(delay) = published? { Some(delay) } else { None };
        trimmed?;

        let written = self.own.waits_for(key).is_some().then_some(WRITTEN_RECHECK);
        let next = [plan.requeue_after, told.again_after, written, behind].into_iter().flatten().min();
        Ok(next.map_or(Next::Event, Next::After))
    }
}
