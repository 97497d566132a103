//! What a set tells about itself: `Progressing`, `Available`, `RolloutBlocked` and `ReplicaFailure`.
//!
//! (set, observed, plan, refused writes, now) ──▶ [`judge`] ──▶ conditions for the status, a warning, a time to look again
//!
//! Differs: upstream sets no conditions. Each message names the ordinal, the awaited state, since when, and the remedy
//! where only a person has one. The annotation `ordinal.dev/conditions: "false"` takes them away. Conditions of others
//! stay as they are.
//!
//! Little is written for their sake alone (see [`matter`]): what they say changes when a counter does. Times are
//! moments, not ages, so that a set at rest stays at rest.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::model::{Ordinal, PodManagement, PodView, SetSpec, SetStatus, UpdateStrategy};
use super::plan::{Cause, Observed, Plan, Warning};

/// `"false"` takes the conditions away.
pub const ANNOTATION: &str = "ordinal.dev/conditions";
/// Types of the conditions, in the order in which they stand.
pub const TYPES: [&str; 4] = ["Progressing", "Available", "RolloutBlocked", "ReplicaFailure"];

/// An outdated pod that is not ready for so long holds up the rollout, and nothing but a person or `unstick` helps.
const OUTDATED_AFTER: SignedDuration = SignedDuration::from_secs(60);
/// Any other pod may take as long as a Deployment lets its pods (`progressDeadlineSeconds`).
const DEADLINE: SignedDuration = SignedDuration::from_secs(600);
/// How long after its grace period a pod may stay.
const LINGERING_AFTER: SignedDuration = SignedDuration::from_secs(60);

/// A write that the API server refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The object and what was said about it.
    pub message: String,
}

/// What to publish.
#[derive(Debug, Default, PartialEq)]
pub struct Told {
    /// All conditions of the status, those of others first.
    pub conditions: Vec<Value>,
    /// Something only a person can end, for an event.
    pub warning: Option<Warning>,
    /// When a condition turns although nothing happens.
    pub again_after: Option<Duration>,
}

/// What the set waits for next.
struct Focus<'a> {
    ordinal: Ordinal,
    pod: Option<&'a PodView>,
    awaited: String,
    /// `None`: since the condition says so.
    since: Option<Timestamp>,
}

/// Something that ends a wait only if a person acts.
struct Stall {
    reason: &'static str,
    message: String,
}

/// A condition before it is compared with the stored one.
struct Draft {
    status: bool,
    reason: &'static str,
    message: String,
    since: Option<Timestamp>,
}

/// Says what is to be said of a set after its plan was applied. `refused`: the first write that was.
pub fn judge(
    set: &SetSpec,
    observed: &Observed,
    plan: &Plan,
    refused: Option<&Refused>,
    now: Timestamp,
) -> Told {
    let stored = &set.status.conditions;
    let mut told = Told { conditions: others(stored), ..Told::default() };
    match enabled(&set.annotations) {
        Ok(true) => {}
        Ok(false) => return told,
        Err(warning) => told.warning = Some(warning),
    }
    if set.deleting {
        told.conditions.clone_from(stored);
        return told;
    }
    let status = &plan.status;
    let focus = focus(set, observed, status, now);
    let failure = failure(set, plan, refused, stored);
    let (stall, again) = focus.as_ref().map_or((None, None), |it| stall(set, observed, status, it, now));
    told.again_after = again.map(|at| at.duration_since(now).unsigned_abs());

    let available = available(set, observed, now);
    let enough = available >= set.replicas.saturating_sub(set.max_unavailable()).max(1).min(set.replicas);
    let counted = format!("{available} of {} pods are available", set.replicas);
    let drafts = [
        progressing(set, status, focus.as_ref(), stall.as_ref(), failure.as_ref()),
        Draft {
            status: enough,
            reason: if enough { "MinimumReplicasAvailable" } else { "MinimumReplicasUnavailable" },
            message: match &focus {
                Some(it) if !enough => {
                    format!("{counted}; pod {} is awaited to {}", name(set, it), it.awaited)
                }
                _ => counted,
            },
            since: focus.as_ref().filter(|_| !enough).and_then(|it| it.since),
        },
        match &stall {
            Some(it) => Draft { status: true, reason: it.reason, message: it.message.clone(), since: None },
            None => idle("NotBlocked", "nothing holds up the set that time does not solve"),
        },
        match failure {
            Some(it) => Draft { status: true, reason: it.reason, message: it.message, since: None },
            None => idle("NoFailure", "no write was refused"),
        },
    ];
    if let Some(it) = &stall {
        told.warning = Some(Warning { reason: "RolloutBlocked", message: it.message.clone() });
    }
    for (kind, draft) in TYPES.into_iter().zip(drafts) {
        told.conditions.push(condition(kind, &draft, stored, now));
    }
    told
}

/// Whether the conditions are worth a write although no counter changed: a trouble that is new, at once; anything else
/// once there is nothing to do, because what is done changes a counter soon. A set that never had conditions and is
/// well gets them with its next counter, so that taking over a cluster writes nothing.
pub fn matter(stored: &[Value], new: &[Value], plan: &Plan) -> bool {
    let of =
        |list: &[Value], kind: &str| list.iter().find(|it| it["type"] == kind).cloned().unwrap_or_default();
    let new_trouble = TYPES[2..].iter().any(|kind| {
        let (old, new) = (of(stored, kind), of(new, kind));
        new["status"] == "True" && old != new
    });
    let had = stored.len() > others(stored).len();
    new_trouble || plan.steps.is_empty() && had && stored != new
}

fn idle(reason: &'static str, message: &str) -> Draft {
    Draft { status: false, reason, message: message.to_owned(), since: None }
}

fn others(stored: &[Value]) -> Vec<Value> {
    let ours = |it: &&Value| it["type"].as_str().is_some_and(|it| TYPES.contains(&it));
    stored.iter().filter(|it| !ours(it)).cloned().collect()
}

fn enabled(annotations: &BTreeMap<String, String>) -> Result<bool, Warning> {
    match annotations.get(ANNOTATION).map(|it| it.trim()) {
        None | Some("true") => Ok(true),
        Some("false") => Ok(false),
        Some(other) => Err(Warning {
            reason: "InvalidAnnotation",
            message: format!(
                "annotation {ANNOTATION}: {other:?} is not understood and has no effect: the values are \"true\" and \"false\""
            ),
        }),
    }
}

fn name(set: &SetSpec, focus: &Focus) -> String {
    set.pod_name(focus.ordinal)
}

fn available(set: &SetSpec, observed: &Observed, now: Timestamp) -> u32 {
    let pods = observed.pods.iter().filter(|it| it.ordinal.is_some_and(|it| set.in_range(it)));
    let count = pods.filter(|it| !it.deleting && it.available(set.min_ready_seconds, now)).count();
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// The lowest ordinal that is not available; then the highest that should not be; then the highest that is outdated.
fn focus<'a>(set: &SetSpec, observed: &'a Observed, status: &SetStatus, now: Timestamp) -> Option<Focus<'a>> {
    let mut pods: BTreeMap<Ordinal, &PodView> = BTreeMap::new();
    pods.extend(observed.pods.iter().filter_map(|it| Some((it.ordinal?, &**it))));
    let ready = match set.min_ready_seconds {
        0 => "be Ready".to_owned(),
        seconds => format!("be Ready for {seconds} s"),
    };
    let since = |it: &PodView| it.ready_since.max(it.created);
    let fine = |it: &PodView| !it.deleting && it.available(set.min_ready_seconds, now);
    // Ordinals beyond the pods there are can only be missing.
    let mut wanted = set.ordinals().take(pods.len() + 1);
    if let Some(ordinal) = wanted.find(|it| !pods.get(it).is_some_and(|it| fine(it))) {
        let pod = pods.get(&ordinal).copied();
        return Some(match pod {
            Some(it) if it.deleting => Focus { ordinal, pod, awaited: "end".into(), since: it.ends },
            Some(it) => Focus { ordinal, pod, awaited: ready, since: since(it) },
            None => Focus { ordinal, pod, awaited: ready, since: None },
        });
    }
    if let Some((ordinal, it)) = pods.iter().rev().find(|(it, _)| !set.in_range(**it)) {
        let since = if it.deleting { it.ends } else { None };
        return Some(Focus { ordinal: *ordinal, pod: Some(it), awaited: "end".into(), since });
    }
    if !matches!(set.strategy, UpdateStrategy::OnDelete) {
        let outdated = |(ordinal, it): &(&Ordinal, &&PodView)| {
            ordinal.0 >= set.first_updatable() && it.revision() != status.update_revision
        };
        let (ordinal, it) = pods.iter().rev().find(outdated)?;
        let awaited = format!("be at revision {}", status.update_revision);
        return Some(Focus { ordinal: *ordinal, pod: Some(it), awaited, since: None });
    }
    None
}

fn progressing(
    set: &SetSpec,
    status: &SetStatus,
    focus: Option<&Focus>,
    stall: Option<&Stall>,
    failure: Option<&Stall>,
) -> Draft {
    if let Some(it) = failure {
        return Draft { status: false, reason: "ReplicaFailure", message: it.message.clone(), since: None };
    }
    if let Some(it) = stall {
        return Draft { status: false, reason: "RolloutBlocked", message: it.message.clone(), since: None };
    }
    match focus {
        Some(it) => Draft {
            status: true,
            reason: "Waiting",
            message: format!("pod {} is awaited to {}", name(set, it), it.awaited),
            since: it.since,
        },
        None => Draft {
            status: true,
            reason: "Complete",
            message: format!(
                "all {} pods are available, {} of them at the update revision",
                set.replicas, status.updated_replicas
            ),
            since: None,
        },
    }
}

/// Whether what is awaited will not come by itself; else when that would have to be said.
fn stall(
    set: &SetSpec,
    observed: &Observed,
    status: &SetStatus,
    focus: &Focus,
    now: Timestamp,
) -> (Option<Stall>, Option<Timestamp>) {
    let Some(pod) = focus.pod else { return (None, None) };
    let pod_name = name(set, focus);
    let due = |after: SignedDuration| focus.since.and_then(|it| it.checked_add(after).ok());
    let since = focus.since.map(|it| format!(" since {}", stamp(it))).unwrap_or_default();
    if pod.deleting {
        let Some(at) = due(LINGERING_AFTER) else { return (None, None) };
        if now < at {
            return (None, Some(at));
        }
        let node = pod.node.as_deref().map(|it| format!(" on node {it}")).unwrap_or_default();
        let message = format!(
            "pod {pod_name}{node} is awaited to end{since}, when its grace period was over. If the node is lost for good, delete the Node or taint it node.kubernetes.io/out-of-service; else look at its kubelet and at finalizers of the pod"
        );
        return (Some(Stall { reason: "PodTerminating", message }), None);
    }
    if pod.available(set.min_ready_seconds, now) {
        return (None, None);
    }
    let condemned = !set.in_range(focus.ordinal);
    let outdated = !condemned && pod.revision() != status.update_revision;
    let ordered = set.management == PodManagement::OrderedReady;
    let held =
        outdated && ordered && !matches!(set.strategy, UpdateStrategy::OnDelete | UpdateStrategy::Recreate);
    if held && set.extras.unstick.is_some() {
        return (None, None);
    }
    let claim = missing_claim(set, observed, focus.ordinal);
    let trouble = claim
        .as_ref()
        .map(|it| format!("; {it}"))
        .or_else(|| pod.trouble.as_ref().map(|it| format!("; {it}")));
    let at = due(if held { OUTDATED_AFTER } else { DEADLINE });
    if trouble.is_none() && at.is_none_or(|it| now < it) {
        return (None, at);
    }
    let (awaited, trouble) = (&focus.awaited, trouble.unwrap_or_default());
    let revision = pod.revision();
    let (reason, remedy) = if held {
        let below = focus.ordinal.0 < set.first_updatable();
        let remedy = if below {
            "it lies below the partition, so that it is not replaced: repair it, or lower the partition"
                .to_owned()
        } else {
            format!(
                "revision {} waits for it: delete the pod, or set the annotation {}: outdated",
                status.update_revision,
                super::extras::UNSTICK
            )
        };
        ("OutdatedPodNotReady", remedy)
    } else if claim.is_some() {
        ("ClaimMissing", "restore the claim, or delete the pod to have it made anew".to_owned())
    } else if status.current_revision != status.update_revision && !outdated {
        (
            "PodNotReady",
            format!(
                "correct the template{}",
                if ordered {
                    format!(
                        "; then delete the pod, or set the annotation {}: outdated",
                        super::extras::UNSTICK
                    )
                } else {
                    String::new()
                }
            ),
        )
    } else {
        ("PodNotReady", "look at the events and logs of the pod".to_owned())
    };
    let message = format!(
        "pod {pod_name} of revision {revision} is awaited to {awaited}{since}{trouble}. Remedy: {remedy}"
    );
    (Some(Stall { reason, message }), None)
}

fn missing_claim(set: &SetSpec, observed: &Observed, ordinal: Ordinal) -> Option<String> {
    set.claim_templates.iter().find_map(|it| {
        let name = set.claim_name(it, ordinal);
        match observed.claims.get(&name) {
            None => Some(format!("claim {name} is missing")),
            Some(it) if it.deleting => Some(format!("claim {name} is being deleted")),
            Some(_) => None,
        }
    })
}

/// Why a pod or claim can not be written.
fn failure(set: &SetSpec, plan: &Plan, refused: Option<&Refused>, stored: &[Value]) -> Option<Stall> {
    if let Some(it) = refused {
        let message =
            format!("{}. Remedy: raise the quota, or correct what is refused; it is tried again", it.message);
        return Some(Stall { reason: "WriteRefused", message });
    }
    plan.waits.iter().find_map(|wait| {
        let pod = set.pod_name(wait.ordinal);
        let (reason, message) = match &wait.cause {
            Cause::NameTaken => (
                "NameTaken",
                format!("pod {pod} is awaited to be created, but a pod of somebody else has the name. Remedy: delete that pod"),
            ),
            Cause::NameTooLong => (
                "NameTooLong",
                format!("pod {pod} is awaited to be created, but the name of its revision is longer than a label may be. Remedy: create the set under a name of at most 52 characters"),
            ),
            Cause::ClaimTerminating(claim) => (
                "ClaimTerminating",
                format!("pod {pod} is awaited to have its claim {claim}, which is being deleted. Remedy: end what uses the claim, or wait"),
            ),
            Cause::ClaimStale(claim) => (
                "ClaimStale",
                format!("pod {pod} is awaited to be created, but claim {claim} belongs to an earlier pod and is to be collected. Remedy: delete the claim if nobody else does"),
            ),
            // What was refused was said when it was.
            Cause::BackingOff => {
                let it = stored.iter().find(|it| it["type"] == TYPES[3] && it["status"] == "True")?;
                let message = it["message"].as_str()?;
                ("WriteRefused", message.split(SINCE).next().unwrap_or_default().to_owned())
            }
            _ => return None,
        };
        Some(Stall { reason, message })
    })
}

/// Precedes the moment at the end of a message.
const SINCE: &str = " (since ";

/// A stored condition that says the same keeps its time, and its transition.
fn condition(kind: &str, draft: &Draft, stored: &[Value], now: Timestamp) -> Value {
    let old = stored.iter().find(|it| it["type"] == kind);
    let status = if draft.status { "True" } else { "False" };
    let text = |it: &Value, field: &str| it[field].as_str().unwrap_or_default().to_owned();
    let told_before = old.filter(|it| {
        text(it, "reason") == draft.reason && text(it, "message").split(SINCE).next() == Some(&draft.message)
    });
    let settled =
        matches!(draft.reason, "Complete" | "MinimumReplicasAvailable" | "NotBlocked" | "NoFailure");
    let message = match (told_before, draft.since) {
        _ if settled || draft.message.contains(" since ") => draft.message.clone(),
        (_, Some(since)) => format!("{}{SINCE}{})", draft.message, stamp(since)),
        (Some(old), None) => text(old, "message"),
        (None, None) => format!("{}{SINCE}{})", draft.message, stamp(now)),
    };
    let turned = old.filter(|it| it["status"] == status).map(|it| text(it, "lastTransitionTime"));
    json!({
        "type": kind, "status": status, "reason": draft.reason, "message": message,
        "lastTransitionTime": turned.filter(|it| !it.is_empty()).unwrap_or_else(|| stamp(now)),
    })
}

fn stamp(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::super::notation::{NOW, given};
    use super::super::plan::plan;
    use super::*;

    /// Status, reason and message of one condition, `+` for True.
    fn told(kind: &str, spec: &str, pods: &str, change: impl Fn(&mut Vec<PodView>)) -> String {
        let (set, mut observed) = given(spec, pods);
        let mut views: Vec<_> = observed.pods.iter().map(|it| (**it).clone()).collect();
        change(&mut views);
        observed.pods = views.into_iter().map(std::sync::Arc::new).collect();
        let plan = plan(&set, &observed, NOW);
        let told = judge(&set, &observed, &plan, None, NOW);
        let it = told.conditions.iter().find(|it| it["type"] == kind).unwrap();
        let mark = if it["status"] == "True" { "+" } else { "-" };
        let word = |field: &str| it[field].as_str().unwrap().to_owned();
        format!("{mark}{} {}", word("reason"), word("message"))
    }

    type Change<'a> = &'a dyn Fn(&mut Vec<PodView>);

    #[test]
    fn every_condition_names_ordinal_state_time_and_remedy() {
        let image = |views: &mut Vec<PodView>| {
            for it in views.iter_mut().filter(|it| !it.ready_condition) {
                it.trouble = Some("ImagePullBackOff: image i of container c can not be pulled".into());
            }
        };
        let lost = |views: &mut Vec<PodView>| {
            for it in views.iter_mut().filter(|it| it.deleting) {
                it.ends = Some(NOW - SignedDuration::from_hours(1));
                it.node = Some("n1".into());
            }
        };
        let nothing = |_: &mut Vec<PodView>| {};
        #[rustfmt::skip]
        let cases: Vec<(&str, &str, &str, Change, &[&str])> = vec![
            ("Progressing", "2xA", "0A 1A", &nothing, &["+Complete", "all 2 pods"]),
            ("Progressing", "2xA", "0A", &nothing, &["+Waiting", "pod web-1 is awaited to be Ready (since 1970"]),
            ("Progressing", "2xA minready=10", "0A 1A3", &nothing, &["+Waiting", "web-1", "Ready for 10 s"]),
            ("Progressing", "2xA→B", "0A 1A", &nothing, &["+Waiting", "pod web-1 is awaited to be at revision"]),
            ("Progressing", "1xA", "0A 1A", &nothing, &["+Waiting", "pod web-1 is awaited to end"]),
            ("Available", "3xA", "0A 1A 2A!", &nothing, &["+Minimum", "2 of 3"]),
            ("Available", "3xA", "0A! 1A 2A!", &nothing, &["-Minimum", "1 of 3", "web-0", "be Ready", "since"]),
            ("Available", "1xA", "", &nothing, &["-Minimum", "0 of 1", "web-0"]),
            ("Available", "0xA", "", &nothing, &["+Minimum"]),
            ("RolloutBlocked", "2xA", "0A 1A", &nothing, &["-NotBlocked"]),
            ("RolloutBlocked", "2xB→C", "0B 1A!", &nothing, &["+OutdatedPodNotReady", "web-1", "be Ready since 1969", "delete the pod", "ordinal.dev/unstick"]),
            ("RolloutBlocked", "2xB→C parallel", "0B 1A!", &image, &["+PodNotReady", "ImagePullBackOff"]),
            ("RolloutBlocked", "2xA→B", "0A 1B!", &image, &["+PodNotReady", "web-1", "image i", "correct the template"]),
            ("RolloutBlocked", "2xA", "0A 1A-", &lost, &["+PodTerminating", "web-1 on node n1", "end since 1969", "out-of-service"]),
            ("RolloutBlocked", "2xA claims", "0A c0 1A?", &nothing, &["+ClaimMissing", "data-web-1 is missing"]),
            ("ReplicaFailure", "2xA", "0A", &nothing, &["-NoFailure"]),
            ("ReplicaFailure", "2xA", "0A t1", &nothing, &["+NameTaken", "web-1", "delete that pod", "since"]),
            ("ReplicaFailure", "2xA claims", "0A c0 c1-", &nothing, &["+ClaimTerminating", "web-1", "data-web-1"]),
            ("ReplicaFailure", "2xA claims retain=RD", "0A c0 c1~", &nothing, &["+ClaimStale", "web-1"]),
        ];
        for (kind, spec, pods, change, want) in cases {
            let got = told(kind, spec, pods, change);
            assert!(
                want.iter().all(|it| got.contains(it)),
                "{kind} of {spec} given [{pods}]: {got}, not {want:?}"
            );
        }
    }

    #[test]
    fn what_was_said_keeps_its_time_and_others_their_conditions() {
        let (mut set, observed) = given("2xA", "0A");
        let foreign = json!({ "type": "Backup", "status": "True" });
        set.status.conditions = vec![foreign.clone()];
        let plan = plan(&set, &observed, NOW);
        let first = judge(&set, &observed, &plan, None, NOW).conditions;
        assert_eq!(first[0], foreign);
        set.status.conditions.clone_from(&first);
        let later = judge(&set, &observed, &plan, None, NOW + SignedDuration::from_hours(1)).conditions;
        assert_eq!(first, later, "nothing is written while nothing changes");
        let refused = Refused { message: "pod demo/web-1: exceeded quota".into() };
        let failed = judge(&set, &observed, &plan, Some(&refused), NOW).conditions;
        assert_eq!((&failed[1]["status"], &failed[4]["status"]), (&json!("False"), &json!("True")));
        assert!(failed[4]["message"].as_str().unwrap().contains("exceeded quota"));
    }

    #[test]
    fn an_annotation_takes_them_away() {
        let (mut set, observed) = given("2xA", "0A");
        let plan = plan(&set, &observed, NOW);
        set.status.conditions = judge(&set, &observed, &plan, None, NOW).conditions;
        assert_eq!(set.status.conditions.len(), 4);
        set.annotations.insert(ANNOTATION.into(), "false".into());
        assert_eq!(judge(&set, &observed, &plan, None, NOW), Told::default());
        set.annotations.insert(ANNOTATION.into(), "no".into());
        let told = judge(&set, &observed, &plan, None, NOW);
        assert!(told.warning.unwrap().message.contains("\"no\""));
        assert_eq!(told.conditions.len(), 4);
    }
}
