//! Observed into the status of a Deployment: counters, and the conditions that tell how a rollout goes.
//!
//! Sources: kubernetes `pkg/controller/deployment/progress.go`, `sync.go` (`calculateStatus`, `checkPausedConditions`),
//! `util/deployment_util.go`.

use jiff::{SignedDuration, Timestamp};

use super::model::{DeploymentStatus, DeploymentView};
use crate::workload::model::{Condition, SetStatus};

/// Enough pods are available.
pub const AVAILABLE: &str = "Available";
/// The rollout makes progress, or is over.
pub const PROGRESSING: &str = "Progressing";
/// A set can not create or delete pods.
pub const REPLICA_FAILURE: &str = "ReplicaFailure";

/// The rollout was completed.
pub const NEW_SET_AVAILABLE: &str = "NewReplicaSetAvailable";
const TIMED_OUT: &str = "ProgressDeadlineExceeded";
const PAUSED: &str = "DeploymentPaused";

/// A set, as far as a status looks at it.
#[derive(Debug, Clone)]
pub struct Counted<'a> {
    /// Its name.
    pub name: &'a str,
    /// `spec.replicas`.
    pub replicas: u32,
    /// Its status.
    pub status: &'a SetStatus,
    /// It is the one of the current template.
    pub current: bool,
}

/// Sets a condition. The same status and reason leave it untouched; the transition time moves with the status only; a
/// changed condition moves to the end.
pub fn set(
    conditions: &mut Vec<Condition>,
    name: &str,
    status: &str,
    reason: &str,
    message: String,
    now: Timestamp,
) {
    let known = conditions.iter().find(|it| it.name == name);
    if known.is_some_and(|it| it.status == status && it.reason == reason) {
        return;
    }
    let since = known.filter(|it| it.status == status).and_then(|it| it.last_transition_time);
    conditions.retain(|it| it.name != name);
    conditions.push(Condition {
        name: name.to_owned(),
        status: status.to_owned(),
        last_update_time: Some(now),
        last_transition_time: Some(since.unwrap_or(now)),
        reason: reason.to_owned(),
        message,
    });
}

/// Notes a pause or its end, before anything else is judged: a resumed rollout does not time out at once.
pub fn pause(deployment: &DeploymentView, conditions: &mut Vec<Condition>, now: Timestamp) {
    if deployment.progress_deadline.is_none() {
        return;
    }
    let reason = conditions.iter().find(|it| it.name == PROGRESSING).map_or("", |it| it.reason.as_str());
    let (is_paused, timed_out) = (reason == PAUSED, reason == TIMED_OUT);
    match deployment.paused {
        _ if timed_out => {}
        true if !is_paused => {
            set(conditions, PROGRESSING, "Unknown", PAUSED, "Deployment is paused".to_owned(), now);
        }
        false if is_paused => {
            let message = "Deployment is resumed".to_owned();
            set(conditions, PROGRESSING, "Unknown", "DeploymentResumed", message, now);
        }
        _ => {}
    }
}

/// Counts, and says whether enough is available. `conditions`: those so far.
pub fn count(
    deployment: &DeploymentView,
    sets: &[Counted<'_>],
    conditions: Vec<Condition>,
    collision_count: Option<i32>,
    now: Timestamp,
) -> DeploymentStatus {
    let sum = |of: &dyn Fn(&Counted<'_>) -> u32| sets.iter().map(of).sum::<u32>();
    let available = sum(&|it| it.status.available);
    let mut status = DeploymentStatus {
        observed_generation: deployment.generation,
        replicas: sum(&|it| it.status.replicas),
        updated: sum(&|it| if it.current { it.status.replicas } else { 0 }),
        ready: sum(&|it| it.status.ready),
        available,
        unavailable: sum(&|it| it.replicas).saturating_sub(available),
        terminating: sets.iter().try_fold(0, |all, it| match it.status.terminating {
            Some(count) => Some(all + count),
            // A set that was never looked at has none yet.
            None if it.status.observed_generation == 0 => Some(all),
            None => None,
        }),
        collision_count,
        conditions,
    };
    let (truth, reason, message) = if available >= deployment.min_available() {
        ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
    } else {
        ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
    };
    set(&mut status.conditions, AVAILABLE, truth, reason, message.to_owned(), now);
    status
}

/// Judges the progress of a rollout against the stored status, and takes over failures of sets.
pub fn judge(
    deployment: &DeploymentView,
    before: &[Condition],
    sets: &[Counted<'_>],
    status: &mut DeploymentStatus,
    now: Timestamp,
) {
    let known = before.iter().find(|it| it.name == PROGRESSING).cloned();
    let Some(deadline) = deployment.progress_deadline else {
        status.conditions.retain(|it| it.name != PROGRESSING);
        return failures(sets, status);
    };
    let current = sets.iter().find(|it| it.current);
    let who = current.map_or_else(
        || format!("Deployment {:?}", deployment.key.name),
        |it| format!("ReplicaSet {:?}", it.name),
    );
    let was_complete = known.as_ref().is_some_and(|it| it.reason == NEW_SET_AVAILABLE);
    // A pod that fails later is not a rollout that does not progress.
    if !(status.replicas == status.updated && was_complete) {
        if deployment.complete(status) {
            let message = format!("{who} has successfully progressed.");
            set(&mut status.conditions, PROGRESSING, "True", NEW_SET_AVAILABLE, message, now);
        } else if progressed(&deployment.status, status) {
            // The time of the last progress moves although the reason stays.
            let since = known.filter(|it| it.status == "True").and_then(|it| it.last_transition_time);
            status.conditions.retain(|it| it.name != PROGRESSING);
            status.conditions.push(Condition {
                name: PROGRESSING.to_owned(),
                status: "True".to_owned(),
                last_update_time: Some(now),
                last_transition_time: Some(since.unwrap_or(now)),
                reason: "ReplicaSetUpdated".to_owned(),
                message: format!("{who} is progressing."),
            });
        } else if timed_out(status.condition(PROGRESSING), deadline, now) {
            let message = format!("{who} has timed out progressing.");
            set(&mut status.conditions, PROGRESSING, "False", TIMED_OUT, message, now);
        }
    }
    failures(sets, status);
}

/// The failure of the current set, or of any other.
fn failures(sets: &[Counted<'_>], status: &mut DeploymentStatus) {
    let of = |it: &Counted<'_>| it.status.conditions.iter().find(|it| it.name == REPLICA_FAILURE).cloned();
    let current = sets.iter().filter(|it| it.current).find_map(of);
    match current.or_else(|| sets.iter().find_map(of)) {
        Some(it) => {
            let now = it.last_transition_time.unwrap_or(Timestamp::UNIX_EPOCH);
            set(&mut status.conditions, REPLICA_FAILURE, &it.status, &it.reason, it.message, now);
        }
        None => status.conditions.retain(|it| it.name != REPLICA_FAILURE),
    }
}

fn progressed(before: &DeploymentStatus, now: &DeploymentStatus) -> bool {
    let old = |it: &DeploymentStatus| i64::from(it.replicas) - i64::from(it.updated);
    now.updated > before.updated
        || old(now) < old(before)
        || now.ready > before.ready
        || now.available > before.available
}

fn timed_out(condition: Option<&Condition>, deadline: i64, now: Timestamp) -> bool {
    let Some(condition) = condition else { return false };
    match condition.reason.as_str() {
        NEW_SET_AVAILABLE => false,
        TIMED_OUT => true,
        _ => due(condition, deadline).is_some_and(|it| it < now),
    }
}

fn due(condition: &Condition, deadline: i64) -> Option<Timestamp> {
    condition.last_update_time?.checked_add(SignedDuration::from_secs(deadline)).ok()
}

/// When to look whether the rollout timed out; `None` if it is over, or did already.
pub fn look_again(deployment: &DeploymentView, status: &DeploymentStatus) -> Option<Timestamp> {
    let deadline = deployment.progress_deadline?;
    let condition = status.condition(PROGRESSING)?;
    if deployment.paused
        || deployment.complete(status)
        || [TIMED_OUT, NEW_SET_AVAILABLE].contains(&&*condition.reason)
    {
        return None;
    }
    due(condition, deadline)?.checked_add(SignedDuration::from_secs(1)).ok()
}

#[cfg(test)]
mod tests {
    use super::super::super::notation::{NOW, deployment};
    use super::*;

    fn condition(status: &str, reason: &str, seconds_ago: i64) -> Condition {
        let at = NOW - SignedDuration::from_secs(seconds_ago);
        Condition {
            name: PROGRESSING.into(),
            status: status.into(),
            last_update_time: Some(at),
            last_transition_time: Some(at),
            reason: reason.into(),
            message: String::new(),
        }
    }

    #[test]
    fn progress() {
        #[rustfmt::skip] // stored: replicas/updated/ready/available; the set: spec:replicas/ready/available
        let cases = [
            ("complete",                 "3/3/3/2", 3, [3, 3, 3], condition("True", "ReplicaSetUpdated", 9),      "True NewReplicaSetAvailable"),
            ("one more is available",    "3/3/2/1", 3, [3, 2, 2], condition("True", "ReplicaSetUpdated", 9),      "True ReplicaSetUpdated"),
            ("nothing moved in time",    "3/3/2/2", 3, [3, 2, 2], condition("True", "ReplicaSetUpdated", 599),    "True ReplicaSetUpdated"),
            ("nothing moved for long",   "3/3/2/2", 3, [3, 2, 2], condition("True", "ReplicaSetUpdated", 601),    "False ProgressDeadlineExceeded"),
            ("late progress",            "3/3/2/2", 3, [3, 3, 2], condition("False", "ProgressDeadlineExceeded", 9), "True ReplicaSetUpdated"),
            ("a pod fails afterwards",   "3/3/3/3", 3, [3, 2, 2], condition("True", "NewReplicaSetAvailable", 9999), "True NewReplicaSetAvailable"),
            ("resumed",                  "3/3/2/2", 3, [3, 2, 2], condition("Unknown", "DeploymentResumed", 1),   "Unknown DeploymentResumed"),
        ];
        for (why, stored, replicas, [have, ready, available], known, want) in cases {
            let mut web = deployment("3");
            let it: Vec<u32> = stored.split('/').map(|it| it.parse().unwrap()).collect();
            web.status = DeploymentStatus {
                replicas: it[0],
                updated: it[1],
                ready: it[2],
                available: it[3],
                conditions: vec![known.clone()],
                ..DeploymentStatus::default()
            };
            let of_set = SetStatus { replicas: have, ready, available, ..SetStatus::default() };
            let sets = [Counted { name: "web-a", replicas, status: &of_set, current: true }];
            let mut status = count(&web, &sets, vec![known.clone()], None, NOW);
            judge(&web, std::slice::from_ref(&known), &sets, &mut status, NOW);
            let got = status.condition(PROGRESSING).unwrap();
            assert_eq!(format!("{} {}", got.status, got.reason), want, "{why}");
        }
    }

    #[test]
    fn pausing() {
        let mut web = deployment("3");
        web.paused = true;
        let mut conditions = vec![condition("True", NEW_SET_AVAILABLE, 9)];
        pause(&web, &mut conditions, NOW);
        assert_eq!((&*conditions[0].status, &*conditions[0].reason), ("Unknown", PAUSED));
        web.paused = false;
        pause(&web, &mut conditions, NOW);
        assert_eq!(conditions[0].reason, "DeploymentResumed");
        conditions = vec![condition("False", TIMED_OUT, 9)];
        web.paused = true;
        pause(&web, &mut conditions, NOW);
        assert_eq!(conditions[0].reason, TIMED_OUT, "a timeout is not covered up");
        assert_eq!(look_again(&web, &DeploymentStatus { conditions, ..DeploymentStatus::default() }), None);
    }
}
