//! The pods that should exist, and the condemned ones.
//!
//! OrderedReady looks at one pod after the other, ascending, and stops at the first that is not done. Parallel
//! looks at all of them; what one waits for holds up no other.
//! Differs: upstream's Parallel ends at the first ordinal that can not be created; here the others go on.
//! Sources: kubernetes `pkg/controller/statefulset/stateful_set_control.go` (`processReplica`,
//! `processCondemned`), `stateful_pod_control.go`.

use std::sync::Arc;

use super::desired;
use super::extras::ClaimUpdate;
use super::growth;
use super::model::{Ordinal, Phase as PodPhase, PodView, UpdateStrategy};
use super::plan::{Action, Cause, Draft, Flow, Phase, Reason};
use super::retention;
use super::revision::Release;
use super::update;

/// Most pods one plan creates. The rest follow in the next one; a set of any size costs bounded memory.
pub(super) const CREATES_MAX: usize = 5_000;
/// Longest label value, in bytes.
const LABEL_VALUE_MAX: usize = 63;

/// Plans the pods in range.
pub(super) fn replicas(draft: &mut Draft) -> Flow {
    let pods = std::mem::take(&mut draft.replicas);
    let mut left = pods.iter().copied().peekable();
    let threshold = first_at_update(draft, &pods);
    let mut flow = Flow::Continue;
    let mut creates = 0;
    let set = draft.set;
    for ordinal in set.ordinals() {
        let pod = left.next_if(|it| it.ordinal == Some(ordinal));
        if !draft.ordered() && draft.observed.backing_off.contains_key(&ordinal) {
            draft.wait(ordinal, Cause::BackingOff);
            continue;
        }
        let done = match pod {
            Some(pod) => existing(draft, ordinal, pod),
            None => {
                let release = if ordinal.0 < threshold { &draft.current } else { &draft.update };
                let release = Arc::clone(release);
                creates += 1;
                missing(draft, ordinal, release)
            }
        };
        if done == Flow::Stop && draft.ordered() {
            flow = Flow::Stop;
            break;
        }
        if creates == CREATES_MAX {
            break;
        }
    }
    draft.replicas = pods;
    flow
}

/// Lowest ordinal whose pod is made from the update revision.
///
/// Without a `rollingUpdate` block Kubernetes keeps as many pods at the current revision as it counted there.
/// Differs: the count is that of this observation, not the one last stored in the status, so that a crash between
/// a deletion and the status write can not bring a pod back at the old revision. Nor does it apply to Parallel:
/// there the 1.37 update deletes an outdated pod that is not available whatever the budget, so that a pod brought
/// back at the current revision would be deleted as soon as it exists, for ever. The same holds for `unstick`.
fn first_at_update(draft: &Draft, pods: &[&Arc<PodView>]) -> u32 {
    match &draft.set.strategy {
        UpdateStrategy::RollingUpdate(Some(_)) => draft.set.first_updatable(),
        UpdateStrategy::RollingUpdate(None) if draft.ordered() && draft.set.extras.unstick.is_none() => {
            let current =
                |it: &&&Arc<PodView>| it.is_created() && !it.deleting && it.revision() == draft.current.name;
            let count = pods.iter().chain(&draft.condemned).filter(current).count();
            draft.set.ordinal_after(u32::try_from(count).unwrap_or(u32::MAX))
        }
        _ => 0,
    }
}

fn missing(draft: &mut Draft, ordinal: Ordinal, release: Arc<Release>) -> Flow {
    let set = draft.set;
    if draft.observed.taken.contains(&ordinal) {
        draft.wait(ordinal, Cause::NameTaken);
        return Flow::Stop;
    }
    if release.name.len() > LABEL_VALUE_MAX {
        let (pod, set) = (set.pod_name(ordinal), &set.key.name);
        let message = format!(
            "create Pod {pod} in StatefulSet {set} failed error: revision name {} is longer than the {LABEL_VALUE_MAX} characters of a label value",
            release.name
        );
        if draft.waits.last().is_none_or(|it| it.cause != Cause::NameTooLong) {
            draft.warn("FailedCreate", message);
        }
        draft.wait(ordinal, Cause::NameTooLong);
        return Flow::Stop;
    }
    let mut actions = Vec::new();
    if !set.claim_templates.is_empty() {
        let pod = set.pod_name(ordinal);
        let mut blocked = None;
        for (index, template) in set.claim_templates.iter().enumerate() {
            let name = set.claim_name(template, ordinal);
            match draft.observed.claims.get(&name) {
                None => {
                    let owners = retention::owners_at_creation(set);
                    actions.push(Action::CreateClaim { ordinal, template: index, owners });
                }
                Some(it) if retention::is_stale(set, &pod, it) => {
                    draft.wait(ordinal, Cause::ClaimStale(name));
                    return Flow::Stop;
                }
                Some(it) if it.deleting => blocked = Some(name),
                Some(_) => {}
            }
        }
        if let Some(name) = blocked {
            let set = &set.key.name;
            draft.warn(
                "FailedCreate",
                format!("create Pod {pod} in StatefulSet {set} failed error: pvc {name} is being deleted"),
            );
            draft.push(Phase::Replicas, Some(ordinal), actions);
            draft.wait(ordinal, Cause::ClaimTerminating(name));
            return Flow::Stop;
        }
    }
    if set.extras.claim_update != ClaimUpdate::OnClaimDelete {
        growth::grow(draft, ordinal, &mut actions);
    }
    actions.push(Action::CreatePod { ordinal, release });
    draft.push(Phase::Replicas, Some(ordinal), actions);
    Flow::Stop
}

fn existing(draft: &mut Draft, ordinal: Ordinal, pod: &Arc<PodView>) -> Flow {
    if matches!(pod.phase, PodPhase::Failed | PodPhase::Succeeded) {
        if pod.deleting {
            draft.wait(ordinal, Cause::Terminating);
        } else {
            let delete = Action::DeletePod { pod: Arc::clone(pod), reason: Reason::Ended };
            draft.push(Phase::Replicas, Some(ordinal), vec![delete]);
        }
        return Flow::Stop;
    }
    let mut actions = Vec::new();
    if pod.phase == PodPhase::Pending {
        missing_claims(draft, ordinal, &mut actions);
    }
    let pause = if pod.deleting {
        Some(Cause::Terminating)
    } else if !pod.ready() {
        Some(Cause::NotReady)
    } else if !pod.available(draft.set.min_ready_seconds, draft.now) {
        Some(Cause::NotAvailable)
    } else {
        None
    };
    let reached = pause.is_none() || !draft.ordered();
    if reached || pod.phase == PodPhase::Pending {
        claim_owners(draft, ordinal, pod, &mut actions);
    }
    if reached && draft.set.extras.claim_update == ClaimUpdate::InPlace {
        growth::grow(draft, ordinal, &mut actions);
    }
    if reached && !pod.deleting {
        if !desired::identity_matches(pod) {
            actions.push(Action::RepairPod(Arc::clone(pod)));
        }
        if let Some(template) = desired::missing_volume(draft.set, pod) {
            let (pod, set) = (&pod.key.name, &draft.set.key.name);
            let message = format!(
                "update Pod {pod} in StatefulSet {set} failed error: the pod does not mount the claim of volume claim template {template}, and the volumes of a pod can not be changed; it is outdated"
            );
            draft.warn("FailedUpdate", message);
        }
    }
    draft.push(Phase::Replicas, Some(ordinal), actions);
    match pause {
        Some(Cause::NotReady | Cause::NotAvailable) if draft.ordered() && update::unstick(draft, pod) => {
            Flow::Stop
        }
        Some(cause) => {
            draft.wait(ordinal, cause);
            Flow::Stop
        }
        None => Flow::Continue,
    }
}

/// A pod that never ran gets back claims that were lost meanwhile.
fn missing_claims(draft: &mut Draft, ordinal: Ordinal, actions: &mut Vec<Action>) {
    for (template, it) in draft.set.claim_templates.iter().enumerate() {
        let name = draft.set.claim_name(it, ordinal);
        match draft.observed.claims.get(&name) {
            None => {
                let owners = retention::owners_at_creation(draft.set);
                actions.push(Action::CreateClaim { ordinal, template, owners });
            }
            Some(it) if it.deleting => draft.wait(ordinal, Cause::ClaimTerminating(name)),
            Some(_) => {}
        }
    }
}

fn claim_owners(draft: &mut Draft, ordinal: Ordinal, pod: &PodView, actions: &mut Vec<Action>) {
    for template in &draft.set.claim_templates {
        let Some(claim) = draft.claim(template, ordinal) else { continue };
        let verdict = retention::verdict(draft.set, pod, claim);
        if let Some(owners) = verdict.owners {
            actions.push(Action::OwnClaim { claim: Arc::clone(claim), owners });
        } else if verdict.conflict {
            // The spelling is upstream's; log filters look for it.
            draft.warn(
                "ConflictingController",
                format!(
                    "PersistentVolumeClaim {} has a conflicting OwnerReference that acts as a manging controller, the retention policy is ignored for this claim",
                    claim.key.name
                ),
            );
        }
    }
}

/// Plans the condemned pods: first who owns their claims, then which of them goes.
pub(super) fn condemned(draft: &mut Draft) -> Flow {
    let pods = std::mem::take(&mut draft.condemned);
    let flow = condemned_pods(draft, &pods);
    draft.condemned = pods;
    flow
}

fn condemned_pods(draft: &mut Draft, pods: &[&Arc<PodView>]) -> Flow {
    for pod in pods {
        let Some(ordinal) = pod.ordinal else { continue };
        let mut actions = Vec::new();
        claim_owners(draft, ordinal, pod, &mut actions);
        draft.push(Phase::CondemnedClaims, Some(ordinal), actions);
    }
    // Only the lowest of the unhealthy pods may go while it is unhealthy; all pods in range are available here.
    let first_unavailable = pods.iter().rev().find(|it| draft.unavailable(it)).and_then(|it| it.ordinal);
    for pod in pods {
        let Some(ordinal) = pod.ordinal else { continue };
        if pod.deleting {
            draft.wait(ordinal, Cause::Terminating);
            if draft.ordered() {
                return Flow::Stop;
            }
            continue;
        }
        if draft.ordered() && draft.unavailable(pod) && first_unavailable != Some(ordinal) {
            draft.wait(ordinal, if pod.ready() { Cause::NotAvailable } else { Cause::NotReady });
            return Flow::Stop;
        }
        let delete = Action::DeletePod { pod: Arc::clone(pod), reason: Reason::Condemned };
        draft.push(Phase::Condemned, Some(ordinal), vec![delete]);
        if draft.ordered() {
            return Flow::Stop;
        }
    }
    Flow::Continue
}
