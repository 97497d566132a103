//! How the caches are indexed, and which sets and Deployments a change concerns.

use super::autoscaler::model::AutoscalerView;
use super::deployment::model::DeploymentView;
use super::disruption::BudgetView;
use super::model::{NamedView, Owner, PodView, SetKind, SetView};
use crate::k8s::kinds::{CONTROLLERS, DEPLOYMENTS, REPLICA_SETS};
use crate::k8s::watch::{Change, Store, cached};
use crate::model::ObjectKey;

cached!(PodView, SetView, DeploymentView, AutoscalerView, NamedView, BudgetView);

/// Bucket of what a UID controls.
pub fn owned(uid: &str) -> String {
    format!("uid/{uid}")
}

/// Bucket of what nobody controls in a namespace.
pub fn orphans_in(namespace: &str) -> String {
    format!("orphan/{namespace}")
}

/// Bucket of everything in a namespace.
pub fn within(namespace: &str) -> String {
    format!("in/{namespace}")
}

fn by_owner(owner: Option<&Owner>, namespace: &str) -> String {
    owner.map_or_else(|| orphans_in(namespace), |it| owned(&it.uid))
}

/// Buckets of a pod.
pub fn pod_buckets(pod: &PodView) -> Vec<String> {
    vec![by_owner(pod.owner.as_ref(), &pod.key.namespace)]
}

/// Buckets of a set.
pub fn set_buckets(set: &SetView) -> Vec<String> {
    vec![by_owner(set.owner.as_ref(), &set.key.namespace), within(&set.key.namespace)]
}

/// Buckets of a Deployment.
pub fn deployment_buckets(deployment: &DeploymentView) -> Vec<String> {
    vec![within(&deployment.key.namespace)]
}

/// Buckets of a budget.
pub fn budget_buckets(budget: &BudgetView) -> Vec<String> {
    vec![within(&budget.key.namespace)]
}

/// Budgets that guard a pod now, or did before it changed.
pub fn budgets_of_pod(change: &Change<PodView>, budgets: &Store<BudgetView>) -> Vec<ObjectKey> {
    let Some(pod) = change.new.as_ref().or(change.old.as_ref()) else { return Vec::new() };
    let guards = |it: &BudgetView| change.old.iter().chain(&change.new).any(|pod| it.guards(&pod.labels));
    let all = budgets.by_index(&within(&pod.key.namespace));
    all.into_iter().filter(|it| guards(it)).map(|it| it.key.clone()).collect()
}

/// Sets of one kind that a changed pod concerns: its owner before and after; an orphan that came or changed concerns
/// every set that selects it.
pub fn sets_of_pod(change: &Change<PodView>, kind: SetKind, sets: &Store<SetView>) -> Vec<ObjectKey> {
    let resource = if kind == SetKind::ReplicaSet { REPLICA_SETS } else { CONTROLLERS };
    let mut keys = Vec::new();
    for pod in change.old.iter().chain(&change.new) {
        keys.extend(pod.owner.as_ref().and_then(|it| it.key(resource, &pod.key.namespace)));
    }
    if let Some(pod) = change.new.as_ref().filter(|it| it.owner.is_none() && it.active()) {
        let moved = change.old.as_ref().is_none_or(|old| old.owner != pod.owner || old.labels != pod.labels);
        if moved {
            let all = sets.by_index(&within(&pod.key.namespace));
            keys.extend(
                all.into_iter().filter(|it| it.selector.selects(&pod.labels)).map(|it| it.key.clone()),
            );
        }
    }
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// Deployments that a changed set concerns: its owner before and after; an orphan concerns every Deployment that selects
/// it.
pub fn deployments_of_set(change: &Change<SetView>, deployments: &Store<DeploymentView>) -> Vec<ObjectKey> {
    let mut keys = Vec::new();
    for set in change.old.iter().chain(&change.new) {
        keys.extend(set.owner.as_ref().and_then(|it| it.key(DEPLOYMENTS, &set.key.namespace)));
    }
    if let Some(set) = change.new.as_ref().filter(|it| it.owner.is_none() && !it.deleting) {
        let all = deployments.by_index(&within(&set.key.namespace));
        keys.extend(all.into_iter().filter(|it| it.selector.selects(&set.labels)).map(|it| it.key.clone()));
    }
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// The Deployment that waits for the end of a pod: one that recreates, when a pod of one of its sets is gone or ended.
pub fn recreated_by(
    change: &Change<PodView>,
    sets: &Store<SetView>,
    deployments: &Store<DeploymentView>,
) -> Option<ObjectKey> {
    let old = change.old.as_ref()?;
    if change.new.as_ref().is_some_and(|new| new.uid == old.uid && new.ended() == old.ended()) {
        return None;
    }
    let set = sets.get(&old.owner.as_ref()?.key(REPLICA_SETS, &old.key.namespace)?)?;
    let key = set.owner.as_ref()?.key(DEPLOYMENTS, &old.key.namespace)?;
    let recreates = |it: &DeploymentView| it.strategy == super::deployment::model::Strategy::Recreate;
    deployments.get(&key).filter(|it| recreates(it)).map(|_| key)
}
