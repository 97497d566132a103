//! How the caches are indexed, and which sets a change concerns.
//!
//! A change of one object costs look-ups of a few keys, whatever else the namespace holds.

use super::model::{ClaimView, KIND, Owner, PodView, RevisionView, SetSpec, parse_pod_name};
use crate::k8s::watch::{Change, Store, cached};
use crate::model::ObjectKey;

cached!(SetSpec, PodView, ClaimView, RevisionView);

/// Bucket of what a UID controls.
pub fn owned(uid: &str) -> String {
    format!("uid/{uid}")
}

/// Bucket of the pods without a controller that are named after a set.
pub fn orphans_of(set: &ObjectKey) -> String {
    format!("orphan/{}/{}", set.namespace, set.name)
}

/// Bucket of the revisions of a namespace without a controller.
pub fn orphans_in(namespace: &str) -> String {
    format!("orphan/{namespace}")
}

/// Buckets of a pod.
pub fn pod_buckets(pod: &PodView) -> Vec<String> {
    match (&pod.owner, pod.parent()) {
        (Some(owner), _) => vec![owned(&owner.uid)],
        (None, Some(parent)) => vec![format!("orphan/{}/{parent}", pod.key.namespace)],
        (None, None) => Vec::new(),
    }
}

/// Buckets of a revision.
pub fn revision_buckets(revision: &RevisionView) -> Vec<String> {
    match &revision.owner {
        Some(owner) => vec![owned(&owner.uid)],
        None => vec![orphans_in(&revision.key.namespace)],
    }
}

fn owner_key(namespace: &str, owner: Option<&Owner>) -> Option<ObjectKey> {
    let owner = owner.filter(|it| it.kind == KIND && it.api_version.starts_with("apps/"))?;
    Some(ObjectKey::new(namespace, owner.name.as_str()))
}

/// Sets that a changed pod concerns: its owner before and after, and the set it is named after, which may adopt
/// it or waits for the name.
pub fn of_pod(change: &Change<PodView>, sets: &Store<SetSpec>) -> Vec<ObjectKey> {
    let mut keys = Vec::new();
    let pods: Vec<_> = change.old.iter().chain(&change.new).collect();
    for pod in &pods {
        keys.extend(owner_key(&pod.key.namespace, pod.owner.as_ref()));
    }
    // A pod of somebody else concerns the set of that name only when it comes, goes or changes hands.
    let moved = match (&change.old, &change.new) {
        (Some(old), Some(new)) => old.owner != new.owner || old.labels != new.labels || old.uid != new.uid,
        _ => true,
    };
    if moved && let Some(pod) = pods.last() {
        let key = parse_pod_name(&pod.key.name).map(|it| ObjectKey::new(pod.key.namespace.as_str(), it.0));
        keys.extend(key.filter(|it| sets.get(it).is_some()));
    }
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// Sets that a changed claim may concern: every reading of `<template>-<set>-<ordinal>`.
pub fn of_claim(change: &Change<ClaimView>, sets: &Store<SetSpec>) -> Vec<ObjectKey> {
    let Some(claim) = change.new.as_ref().or(change.old.as_ref()) else { return Vec::new() };
    let Some((stem, _)) = parse_pod_name(&claim.key.name) else { return Vec::new() };
    let readings = stem.match_indices('-').map(|(at, _)| (&stem[..at], &stem[at + 1..]));
    readings
        .filter_map(|(template, set)| {
            let key = ObjectKey::new(claim.key.namespace.as_str(), set);
            let named = |it: &SetSpec| it.claim_templates.iter().any(|it| it.name == template);
            sets.get(&key).filter(|it| named(it)).map(|_| key)
        })
        .collect()
}

/// Sets that a changed revision concerns: its owners. Orphans wake nobody; a set looks for them when it is new.
pub fn of_revision(change: &Change<RevisionView>) -> Vec<ObjectKey> {
    let revisions = change.old.iter().chain(&change.new);
    let mut keys: Vec<_> =
        revisions.filter_map(|it| owner_key(&it.key.namespace, it.owner.as_ref())).collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::model::Ordinal;
    use super::super::notation::{claim, pod, set};
    use super::*;

    #[test]
    fn changes_name_their_sets() {
        let sets = Store::default();
        sets.apply(set("1xA claims"));
        let web = [ObjectKey::new("demo", "web")];
        let ours = pod("0A");
        let mut foreign = ours.clone();
        foreign.owner.as_mut().unwrap().kind = "ReplicaSet".into();
        let change = |old: Option<&PodView>, new: Option<&PodView>| Change {
            old: old.cloned().map(Arc::new),
            new: new.cloned().map(Arc::new),
        };
        assert_eq!(of_pod(&change(None, Some(&ours)), &sets), web);
        assert_eq!(of_pod(&change(Some(&ours), Some(&foreign)), &sets), web, "the old owner, too");
        assert_eq!(of_pod(&change(Some(&foreign), Some(&foreign)), &sets), [], "not ours and unmoved");
        assert_eq!(of_pod(&change(Some(&foreign), None), &sets), web, "the name is free");

        let claim = claim(&set("1xA"), Ordinal(0), "");
        assert_eq!(of_claim(&Change { old: None, new: Some(Arc::new(claim.clone())) }, &sets), web);
        let mut other = claim;
        other.key.name = "logs-web-0".into();
        assert_eq!(of_claim(&Change { old: None, new: Some(Arc::new(other)) }, &sets), []);
    }
}
