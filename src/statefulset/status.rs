//! Observed into the status to publish.
//!
//! Counts describe the one observation a plan was made from (INV-11); what the plan is about to do shows up with
//! the next one. Differs: upstream subtracts each deletion of an update from `currentReplicas`, whatever revision
//! the pod had, and so reaches -1; here nothing is subtracted, and no counter exceeds `replicas`.
//! Sources: kubernetes `pkg/controller/statefulset/stateful_set_control.go` (`updateStatus`,
//! `completeRollingUpdate`, `inconsistentStatus`).

use jiff::Timestamp;
use serde_json::{Value, json};

use super::model::{PodView, SetSpec, SetStatus, UpdateStrategy};

/// Computes the status. `pods`: the claimed pods that have an ordinal.
pub fn compute<'p>(
    set: &SetSpec,
    pods: impl Iterator<Item = &'p PodView>,
    current: &str,
    update: &str,
    collision_count: i32,
    now: Timestamp,
) -> SetStatus {
    let mut status = SetStatus {
        observed_generation: set.generation.max(set.status.observed_generation),
        current_revision: current.to_owned(),
        update_revision: update.to_owned(),
        collision_count: Some(collision_count),
        ..SetStatus::default()
    };
    for pod in pods.filter(|it| it.is_created()) {
        status.replicas += 1;
        status.ready_replicas += u32::from(pod.ready());
        status.available_replicas += u32::from(pod.available(set.min_ready_seconds, now));
        if !pod.deleting {
            status.current_replicas += u32::from(pod.revision() == current);
            status.updated_replicas += u32::from(pod.revision() == update);
        }
    }
    complete(set, &mut status);
    status
}

/// A rolling update that moved every pod makes its revision the current one.
fn complete(set: &SetSpec, status: &mut SetStatus) {
    if matches!(set.strategy, UpdateStrategy::RollingUpdate(_))
        && status.updated_replicas == set.replicas
        && status.ready_replicas == set.replicas
        && status.replicas == set.replicas
    {
        status.current_revision.clone_from(&status.update_revision);
        status.current_replicas = status.updated_replicas;
    }
}

/// Whether the stored status counts or names something else. A changed collision count alone is no reason to write;
/// whether conditions are, [`conditions::matter`](super::conditions::matter) says.
pub fn differs(stored: &SetStatus, new: &SetStatus) -> bool {
    let SetStatus { collision_count: _, conditions: _, .. } = stored;
    let stored = SetStatus {
        collision_count: new.collision_count,
        conditions: new.conditions.clone(),
        ..stored.clone()
    };
    stored != *new
}

/// The merge patch for `/status`: our own fields and no others, so that foreign conditions stay. UID and
/// resourceVersion are preconditions: two leaders can not take turns at going backwards.
pub fn patch(set: &SetSpec, status: &SetStatus) -> Value {
    let mut patch = json!({
        "apiVersion": super::model::API_VERSION,
        "kind": super::model::KIND,
        "metadata": { "name": set.key.name, "namespace": set.key.namespace, "uid": set.uid, "resourceVersion": set.resource_version },
        "status": {
            "observedGeneration": status.observed_generation,
            "replicas": status.replicas,
            "readyReplicas": status.ready_replicas,
            "availableReplicas": status.available_replicas,
            "currentReplicas": status.current_replicas,
            "updatedReplicas": status.updated_replicas,
            "currentRevision": status.current_revision,
            "updateRevision": status.update_revision,
            "collisionCount": status.collision_count.unwrap_or(0),
        },
    });
    // A merge patch replaces the whole list; it holds the conditions of others, too.
    if status.conditions != set.status.conditions {
        let none = status.conditions.is_empty();
        patch["status"]["conditions"] = if none { Value::Null } else { json!(status.conditions) };
    }
    patch
}

#[cfg(test)]
mod tests {
    use super::super::notation::{NOW, observed, release_name, set};
    use super::*;

    #[test]
    fn counting() {
        // replicas/ready/available/current/updated and the current revision.
        #[rustfmt::skip]
        let cases = [
            ("nothing yet",                            "3xA",          "",            "0/0/0/0/0 A"),
            ("one revision counts twice",              "3xA",          "0A 1A!",      "2/1/1/2/2 A"),
            ("a terminating pod exists and is ready",  "3xA→B",        "0A 1A 2A-",   "3/3/3/2/0 A"),
            ("mid rollout",                            "3xA→B",        "0A 1B 2B",    "3/3/3/1/2 A"),
            ("an update is complete",                  "2xA→B",        "0B 1B",       "2/2/2/2/2 B"),
            ("not while a condemned pod is there",     "1xA→B",        "0B 1B",       "2/2/2/0/2 A"),
            ("not while one is not ready",             "2xA→B",        "0B 1B!",      "2/1/1/0/2 A"),
            ("OnDelete never completes",               "2xA→B ondelete", "0B 1B",     "2/2/2/0/2 A"),
            ("failed pods exist",                      "2xA",          "0Af 1A",      "2/1/1/2/2 A"),
            ("ready, not yet available",               "2xA minready=10", "0A4 1A",   "2/2/1/2/2 A"),
            ("an older revision counts nowhere",       "2xA→B partition=1", "0C 1B",  "2/2/2/0/1 A"),
        ];
        for (why, spec, pods, want) in cases {
            let (set, pods) = (set(spec), observed(pods).pods);
            let update = release_name(if spec.contains("→B") { 'B' } else { 'A' });
            let it = compute(&set, pods.iter().map(|it| &**it), &release_name('A'), &update, 0, NOW);
            let letter = ['A', 'B'].into_iter().find(|l| release_name(*l) == it.current_revision).unwrap();
            let got = format!(
                "{}/{}/{}/{}/{} {letter}",
                it.replicas,
                it.ready_replicas,
                it.available_replicas,
                it.current_replicas,
                it.updated_replicas
            );
            assert_eq!(got, want, "{why}: {spec} given [{pods:?}]");
        }
    }

    #[test]
    fn a_collision_alone_is_not_written() {
        let stored = SetStatus { collision_count: None, ..SetStatus::default() };
        assert!(!differs(&stored, &SetStatus { collision_count: Some(1), ..stored.clone() }));
        assert!(differs(&stored, &SetStatus { replicas: 1, ..stored.clone() }));
    }
}
