//! One budget: its pods, the sizes of their workloads, the status.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::{BudgetView, plan, status_patch};
use crate::k8s::events::{Recorder, Severity};
use crate::k8s::kinds::{DEPLOYMENTS, STATEFUL_SETS};
use crate::k8s::write::{Kind, WriteApi, WriteError};
use crate::model::ObjectKey;
use crate::runtime::{Next, Reconcile};
use crate::workload::apply::{ApplyError, Ledger, Who};
use crate::workload::model::{Owner, PodView, count};
use crate::workload::{Stores, World};

/// policy/v1 PodDisruptionBudget.
const BUDGETS: Kind = Kind {
    api_version: "policy/v1",
    kind: "PodDisruptionBudget",
    plural: "poddisruptionbudgets",
    word: "poddisruptionbudget",
};
/// A look at a budget whose status write met a newer version than the cache had.
const BEHIND_RECHECK: Duration = Duration::from_secs(1);

/// Everything the controller may touch.
pub struct Reconciler {
    stores: Stores,
    ledger: Ledger,
    api: WriteApi,
    events: Recorder,
    world: World,
}

impl Reconciler {
    /// A controller for the budgets in `stores`.
    pub fn new(stores: Stores, api: WriteApi, events: Recorder, world: World) -> Self {
        let ledger = Ledger::new(vec![(BUDGETS, Arc::new(stores.budgets.clone()))]);
        Self { stores, ledger, api, events, world }
    }

    /// The size of what is above a pod, and its UID.
    async fn size(&self, owner: &Owner, namespace: &str) -> Result<(String, u32), String> {
        let key = ObjectKey::new(namespace, owner.name.as_str());
        let sets = [self.stores.sets.get(&key), self.stores.controllers.get(&key)];
        if let Some(set) = sets.into_iter().flatten().find(|it| it.uid == owner.uid) {
            let above = set.owner.as_ref().and_then(|it| it.key(DEPLOYMENTS, namespace));
            return Ok(match above.and_then(|it| self.stores.deployments.get(&it)) {
                Some(it) => (it.uid.clone(), it.replicas),
                None => (set.uid.clone(), set.replicas),
            });
        }
        let Some(key) = owner.key(STATEFUL_SETS, namespace) else {
            return Err(format!("found no controllers for a pod of {} {}", owner.kind, owner.name));
        };
        let scale = self.api.get_sub(STATEFUL_SETS, &key, "scale").await.map_err(|it| it.text())?;
        Ok((owner.uid.clone(), count(&scale["spec"]["replicas"])))
    }

    /// The sizes of all workloads of `pods`, and the pods that have none.
    async fn sizes(&self, pods: &[Arc<PodView>]) -> (Result<u32, String>, Vec<String>) {
        let (mut known, mut counted) = (BTreeSet::new(), BTreeSet::new());
        let (mut sum, mut bare) = (0, Vec::new());
        for pod in pods {
            let Some(owner) = &pod.owner else {
                bare.push(pod.key.name.clone());
                continue;
            };
            if !known.insert(owner.uid.as_str()) {
                continue;
            }
            match self.size(owner, &pod.key.namespace).await {
                Ok((uid, size)) => sum += if counted.insert(uid) { size } else { 0 },
                Err(error) => return (Err(error), bare),
            }
        }
        (Ok(sum), bare)
    }
}

impl Reconcile for Reconciler {
    type Error = ApplyError;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, ApplyError> {
        let Some(it) = self.stores.budgets.get(key) else {
            self.ledger.forget(key);
            return Ok(Next::Event);
        };
        if self.ledger.trails(&self.api, key).await? {
            return Ok(Next::OwnWrites);
        }
        let now = (self.world.now)();
        let who = who(&it);
        let mut pods = self.stores.pods.list();
        pods.retain(|pod| pod.key.namespace == key.namespace && it.guards(&pod.labels));
        if pods.is_empty() {
            let message = "No matching pods found".to_owned();
            who.tell(&self.events, Severity::Normal, "NoPods", message, now);
        }
        let workloads = if it.counts_workloads() {
            let (sizes, bare) = self.sizes(&pods).await;
            if !bare.is_empty() {
                let message = format!(
                    "Pods selected by this PodDisruptionBudget (selector: {}) were found to be unmanaged. As a result, the status of the PDB cannot be calculated correctly, which may result in undefined behavior. To account for these pods please set \".spec.minAvailable\" field of the PDB to an integer value.",
                    it.selector
                );
                who.tell(&self.events, Severity::Warning, "UnmanagedPods", message, now);
            }
            sizes
        } else {
            Ok(0)
        };
        let plan = plan(&it, &pods, workloads, now);
        let wakes = plan.wake_at.map(|at| at.duration_since(now).unsigned_abs());
        let Some(patch) = status_patch(&it, &plan.status) else {
            return Ok(wakes.map_or(Next::Event, Next::After));
        };
        match self.api.patch_sub(BUDGETS, key, "status", &patch).await {
            Ok(written) => {
                self.ledger.stored(key, BUDGETS, key, &written);
                Ok(wakes.map_or(Next::Event, Next::After))
            }
            Err(WriteError::NotFound { .. }) => Ok(Next::Event),
            Err(WriteError::Stale { .. }) => Ok(Next::After(BEHIND_RECHECK)),
            Err(error) => {
                self.ledger.note(key, BUDGETS, key, Some(&it.uid), &error);
                Err(error.into())
            }
        }
    }
}

fn who(it: &BudgetView) -> Who<'_> {
    Who {
        kind: BUDGETS,
        key: &it.key,
        uid: &it.uid,
        resource_version: &it.resource_version,
        component: "controllermanager",
    }
}
