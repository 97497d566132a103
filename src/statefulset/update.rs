//! Which pods are deleted so that they come back at the update revision.
//!
//! A pod is outdated if its revision label differs, or if it lacks the claim of a template: the API server refuses
//! to change the volumes of a pod, so only a new pod can have it. Differs: upstream tries that change for ever.
//! Sources: kubernetes `pkg/controller/statefulset/stateful_set_control.go` (`updateStatefulSetAfterInvariant…`,
//! 1.37: k/k#137666); KEP-961; KEP-3541 for Recreate.

use std::sync::Arc;

use jiff::SignedDuration;

use super::desired;
use super::model::{PodView, UpdateStrategy};
use super::plan::{Action, Cause, Draft, Flow, Phase, Reason};

/// Plans a rolling update. All pods in range have been looked after, and no condemned pod holds up OrderedReady.
pub(super) fn rolling(draft: &mut Draft) {
    let UpdateStrategy::RollingUpdate(_) = draft.set.strategy else { return };
    let first = draft.set.first_updatable();
    let updatable = |it: &&Arc<PodView>| it.ordinal.is_some_and(|it| it.0 >= first);
    let outdated: Vec<_> = {
        // From the top; those that failed are being replaced already.
        let pods = draft.replicas.iter().rev().filter(|it| !it.deleting && !ended(it));
        pods.filter(|it| updatable(it) && is_outdated(draft, it)).map(|it| Arc::clone(it)).collect()
    };
    if outdated.is_empty() {
        return;
    }
    // A pod that does not exist is unavailable, too.
    let available = draft.replicas.iter().filter(|it| !draft.unavailable(it)).count();
    let unavailable = draft.set.replicas.saturating_sub(u32::try_from(available).unwrap_or(u32::MAX));
    let mut budget = draft.set.max_unavailable().saturating_sub(unavailable);

    let (broken, sound): (Vec<_>, Vec<_>) = outdated.into_iter().partition(|it| draft.unavailable(it));
    // Replacing what does not work costs nothing, so the budget does not limit it.
    for pod in broken {
        let ordinal = pod.ordinal;
        let delete = Action::DeletePod { pod, reason: Reason::OutdatedUnavailable };
        draft.push(Phase::Update, ordinal, vec![delete]);
    }
    for pod in sound {
        let ordinal = pod.ordinal;
        if budget == 0 {
            if let Some(ordinal) = ordinal {
                draft.wait(ordinal, Cause::Budget);
            }
            return;
        }
        budget -= 1;
        let delete = Action::DeletePod { pod, reason: Reason::Outdated };
        draft.push(Phase::Update, ordinal, vec![delete]);
    }
}

/// Plans the replacement of a pod that holds up OrderedReady, if the set asks for it (`extras::UNSTICK`): the pod is
/// outdated, not available, old enough, and an update may touch it. Returns whether it goes.
///
/// It is the lowest such pod, and nothing else goes in the same plan. It comes back at the update revision, so it goes
/// once; that it is not available costs nobody anything.
pub(super) fn unstick(draft: &mut Draft, pod: &Arc<PodView>) -> bool {
    let (Some(age), UpdateStrategy::RollingUpdate(_)) = (draft.set.extras.unstick, &draft.set.strategy)
    else {
        return false;
    };
    let updatable = pod.ordinal.is_some_and(|it| it.0 >= draft.set.first_updatable());
    if !updatable || !is_outdated(draft, pod) {
        return false;
    }
    let age = SignedDuration::try_from(age).unwrap_or(SignedDuration::MAX);
    let due = pod.created.and_then(|it| it.checked_add(age).ok());
    if let Some(due) = due.filter(|it| *it > draft.now) {
        draft.look_again.push(due);
        return false;
    }
    let delete = Action::DeletePod { pod: Arc::clone(pod), reason: Reason::OutdatedUnavailable };
    draft.push(Phase::Replicas, pod.ordinal, vec![delete]);
    true
}

/// Recreate: while an outdated pod exists, all of them go and none is created.
pub(super) fn recreate(draft: &mut Draft) -> Flow {
    let pods = draft.replicas.iter().rev().chain(&draft.condemned);
    let outdated: Vec<_> = pods.filter(|it| is_outdated(draft, it)).map(|it| Arc::clone(it)).collect();
    for pod in &outdated {
        let Some(ordinal) = pod.ordinal else { continue };
        if pod.deleting {
            draft.wait(ordinal, Cause::Terminating);
        } else {
            let delete = Action::DeletePod { pod: Arc::clone(pod), reason: Reason::Outdated };
            draft.push(Phase::Update, Some(ordinal), vec![delete]);
        }
    }
    if outdated.is_empty() { Flow::Continue } else { Flow::Stop }
}

fn ended(pod: &PodView) -> bool {
    use super::model::Phase::{Failed, Succeeded};
    matches!(pod.phase, Failed | Succeeded)
}

fn is_outdated(draft: &Draft, pod: &PodView) -> bool {
    pod.revision() != draft.update.name || desired::missing_volume(draft.set, pod).is_some()
}
