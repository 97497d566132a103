//! One pod and the time it spent in its stage into the next step.
//!
//! pod ──▶ [`stage`]; (pod, stage, time in it, knobs) ──[`next`]──▶ [`Step`] ──▶ `pods` carries it out
//!
//! Pure. Every write of a step changes what [`next`] sees, so repeating it until nothing is left to do ends.
//! A stage's timer starts when the stage is first seen; after a restart of the process it starts anew.

use std::time::Duration;

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

use super::knobs::{Knobs, Stuck};

/// First pause after a crash; doubled per crash.
const BACKOFF_FIRST: Duration = Duration::from_secs(10);
/// Longest pause after a crash.
const BACKOFF_LONGEST: Duration = Duration::from_secs(300);

/// Where an observed pod stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// No node yet.
    Unscheduled,
    /// Bound to this node, containers not started.
    Creating,
    /// Containers run, after this many restarts.
    Running(i32),
    /// Containers wait after a crash, after this many restarts.
    BackOff(i32),
    /// Succeeded or Failed.
    Finished,
    /// Deletion asked for.
    Terminating,
    /// Bound to another node.
    Elsewhere,
}

/// A status to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Goal {
    /// Pending, containers waiting.
    Creating,
    /// Running; whether the containers are ready.
    Running {
        /// Restarts so far.
        restarts: i32,
        /// Whether the containers are ready. The pod is Ready if its readiness gates are open as well.
        ready: bool,
    },
    /// Waiting in CrashLoopBackOff after this many restarts.
    BackOff(i32),
    /// Every container ended with exit code 0.
    Succeeded,
    /// Failed with this reason.
    Failed(String),
    /// Not Ready any more, containers still running.
    Stopping,
    /// Containers terminated; `killed`: by force, since the grace period ran out.
    Stopped {
        /// Whether the grace period was shorter than the stop delay.
        killed: bool,
    },
}

/// What to do with a pod now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Find it a node.
    Schedule,
    /// Write its status.
    Write(Goal),
    /// Delete it with grace period 0.
    Remove,
    /// Look again after this long.
    Wait(Duration),
    /// Nothing until it changes.
    Nothing,
}

/// Where `pod` stands, seen from the node named `node`.
pub fn stage(pod: &Pod, node: &str) -> Stage {
    let spec = pod.spec.as_ref();
    match spec.and_then(|it| it.node_name.as_deref()).unwrap_or_default() {
        "" => return Stage::Unscheduled,
        other if other != node => return Stage::Elsewhere,
        _ => {}
    }
    if pod.metadata.deletion_timestamp.is_some() {
        return Stage::Terminating;
    }
    if matches!(phase(pod), "Succeeded" | "Failed") {
        return Stage::Finished;
    }
    let Some(first) = containers(pod).first() else { return Stage::Creating };
    let state = first.state.as_ref();
    if state.is_some_and(|it| it.running.is_some() || it.terminated.is_some()) {
        Stage::Running(first.restart_count)
    } else if waiting_reason(first) == Some("CrashLoopBackOff") {
        Stage::BackOff(first.restart_count)
    } else {
        Stage::Creating
    }
}

/// What to do with `pod`, which has been in `stage` for `elapsed`.
pub fn next(pod: &Pod, stage: Stage, elapsed: Duration, knobs: &Knobs) -> Step {
    match stage {
        Stage::Elsewhere | Stage::Finished => Step::Nothing,
        Stage::Unscheduled => unscheduled(pod),
        Stage::Creating => creating(pod, elapsed, knobs),
        Stage::Running(restarts) => running(pod, restarts, elapsed, knobs),
        Stage::BackOff(restarts) => match remaining(backoff(restarts), elapsed) {
            Some(wait) => Step::Wait(wait),
            None => Step::Write(Goal::Running { restarts, ready: false }),
        },
        Stage::Terminating => terminating(pod, elapsed, knobs),
    }
}

fn unscheduled(pod: &Pod) -> Step {
    let Some(spec) = &pod.spec else { return Step::Nothing };
    let ours = spec.scheduler_name.as_deref().is_none_or(|it| it == "default-scheduler");
    let gated = spec.scheduling_gates.as_ref().is_some_and(|it| !it.is_empty());
    let over = pod.metadata.deletion_timestamp.is_some() || matches!(phase(pod), "Succeeded" | "Failed");
    if ours && !gated && !over { Step::Schedule } else { Step::Nothing }
}

fn creating(pod: &Pod, elapsed: Duration, knobs: &Knobs) -> Step {
    let stuck = knobs.stuck == Some(Stuck::Creating);
    if containers(pod).is_empty() && (stuck || !knobs.start_delay.is_zero()) {
        return Step::Write(Goal::Creating);
    }
    if stuck {
        return Step::Nothing;
    }
    if let Some(wait) = remaining(knobs.start_delay, elapsed) {
        return Step::Wait(wait);
    }
    if let Some(reason) = &knobs.fail {
        return Step::Write(Goal::Failed(reason.clone()));
    }
    // Both stages in one write when there is no time between them.
    match after_start(pod, 0, Duration::ZERO, knobs) {
        Step::Write(goal @ (Goal::Running { .. } | Goal::Succeeded)) => Step::Write(goal),
        _ => Step::Write(Goal::Running { restarts: 0, ready: false }),
    }
}

fn running(pod: &Pod, restarts: i32, elapsed: Duration, knobs: &Knobs) -> Step {
    if let Some(reason) = &knobs.fail {
        return Step::Write(Goal::Failed(reason.clone()));
    }
    let step = after_start(pod, restarts, elapsed, knobs);
    match &step {
        Step::Write(Goal::Running { ready, .. }) if shows(pod, *ready) => Step::Nothing,
        Step::Wait(_) if !shows(pod, false) => Step::Write(Goal::Running { restarts, ready: false }),
        _ => step,
    }
}

/// What a pod does whose containers have run for `elapsed`.
fn after_start(pod: &Pod, restarts: i32, elapsed: Duration, knobs: &Knobs) -> Step {
    let was_ready = containers(pod).first().is_some_and(|it| it.ready);
    let delay = if was_ready { Duration::ZERO } else { knobs.ready_delay };
    let due = remaining(delay, elapsed);
    let crashes = u32::try_from(restarts).unwrap_or(0) < knobs.crashes;
    match (due, knobs.ready) {
        (None, _) if crashes => Step::Write(if restarts_always(pod) {
            Goal::BackOff(restarts + 1)
        } else {
            Goal::Failed("Error".to_owned())
        }),
        (Some(wait), _) if crashes => Step::Wait(wait),
        (None, _) if runs_to_completion(pod) => Step::Write(Goal::Succeeded),
        (Some(wait), _) if runs_to_completion(pod) => Step::Wait(wait),
        (_, Some(ready)) => Step::Write(Goal::Running { restarts, ready }),
        (None, None) => Step::Write(Goal::Running { restarts, ready: true }),
        (Some(wait), None) => Step::Wait(wait),
    }
}

fn terminating(pod: &Pod, elapsed: Duration, knobs: &Knobs) -> Step {
    let running = is_running(pod);
    if running && condition(pod, "Ready") == Some("True") {
        return Step::Write(Goal::Stopping);
    }
    if knobs.stuck == Some(Stuck::Terminating) {
        return Step::Nothing;
    }
    let grace = pod.metadata.deletion_grace_period_seconds.unwrap_or(0);
    if running {
        let grace_time = Duration::from_secs(u64::try_from(grace).unwrap_or(0));
        if let Some(wait) = remaining(knobs.stop_delay.min(grace_time), elapsed) {
            return Step::Wait(wait);
        }
        return Step::Write(Goal::Stopped { killed: grace_time < knobs.stop_delay });
    }
    let held = pod.metadata.finalizers.as_ref().is_some_and(|it| !it.is_empty());
    // With grace 0 it was removed already, and goes when its last finalizer does.
    if held && grace == 0 { Step::Nothing } else { Step::Remove }
}

/// Pause after the `restarts`-th crash.
fn backoff(restarts: i32) -> Duration {
    let doublings = u32::try_from(restarts - 1).unwrap_or(0).min(10);
    (BACKOFF_FIRST * 2_u32.pow(doublings)).min(BACKOFF_LONGEST)
}

fn remaining(delay: Duration, elapsed: Duration) -> Option<Duration> {
    delay.checked_sub(elapsed).filter(|it| !it.is_zero())
}

/// Whether the status already says Running with that readiness of containers and pod.
fn shows(pod: &Pod, ready: bool) -> bool {
    let text = |it: bool| Some(if it { "True" } else { "False" });
    phase(pod) == "Running"
        && containers(pod).iter().all(|it| it.ready == ready)
        && condition(pod, "ContainersReady") == text(ready)
        && condition(pod, "Ready") == text(ready && gates_open(pod))
}

/// Whether every readiness gate's condition is True.
pub fn gates_open(pod: &Pod) -> bool {
    let gates = pod.spec.as_ref().and_then(|it| it.readiness_gates.as_ref());
    gates.into_iter().flatten().all(|it| condition(pod, &it.condition_type) == Some("True"))
}

/// Whether a container is running.
pub fn is_running(pod: &Pod) -> bool {
    containers(pod).iter().any(|it| it.state.as_ref().is_some_and(|it| it.running.is_some()))
}

/// Status of a condition of the pod.
pub fn condition<'a>(pod: &'a Pod, name: &str) -> Option<&'a str> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|it| it.type_ == name).map(|it| it.status.as_str())
}

/// Statuses of the containers, empty before the first.
pub fn containers(pod: &Pod) -> &[ContainerStatus] {
    pod.status.as_ref().and_then(|it| it.container_statuses.as_deref()).unwrap_or_default()
}

fn waiting_reason(status: &ContainerStatus) -> Option<&str> {
    status.state.as_ref()?.waiting.as_ref()?.reason.as_deref()
}

fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|it| it.phase.as_deref()).unwrap_or_default()
}

fn restarts_always(pod: &Pod) -> bool {
    pod.spec.as_ref().and_then(|it| it.restart_policy.as_deref()).is_none_or(|it| it == "Always")
}

/// Whether the pod ends by itself: it may, and each container says what to run.
fn runs_to_completion(pod: &Pod) -> bool {
    let commands = |spec: &k8s_openapi::api::core::v1::PodSpec| {
        spec.containers.iter().all(|it| it.command.as_ref().is_some_and(|it| !it.is_empty()))
    };
    !restarts_always(pod) && pod.spec.as_ref().is_some_and(commands)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::config::NodeConfig;
    use serde_json::{Value, json};

    const MS: Duration = Duration::from_millis(1);

    fn pod(meta: Value, spec: Value, status: Value) -> Pod {
        let mut value = json!({"metadata": meta, "spec": {"containers": [{"name": "c"}]}, "status": status});
        for (key, field) in spec.as_object().expect("an object") {
            value["spec"][key] = field.clone();
        }
        serde_json::from_value(value).expect("a pod")
    }

    fn status(phase: &str, state: &str, restarts: i32, ready: bool) -> Value {
        let truth = if ready { "True" } else { "False" };
        json!({
            "phase": phase,
            "conditions": [{"type": "Ready", "status": truth}, {"type": "ContainersReady", "status": truth}],
            "containerStatuses": [{
                "name": "c", "image": "i", "imageID": "i", "ready": ready, "restartCount": restarts,
                "state": match state {
                    "running" => json!({"running": {}}),
                    "terminated" => json!({"terminated": {"exitCode": 0}}),
                    reason => json!({"waiting": {"reason": reason}}),
                },
            }],
        })
    }

    #[test]
    fn each_stage_leads_to_the_next() {
        let here = || json!({"nodeName": "sim-0"});
        let deleted = |grace: i64| json!({"deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": grace});
        let held = json!({
            "deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": 0, "finalizers": ["a/b"],
        });
        let run = |restarts, ready| Step::Write(Goal::Running { restarts, ready });
        let base = || Knobs::of(&NodeConfig::default());
        let quick = || Knobs { start_delay: Duration::ZERO, ready_delay: Duration::ZERO, ..base() };
        let creating = || status("Pending", "ContainerCreating", 0, false);
        let running = |ready| status("Running", "running", 0, ready);
        let cases: Vec<(&str, Pod, u32, Knobs, Step)> = vec![
            ("new", pod(json!({}), json!({}), json!({"phase": "Pending"})), 0, base(), Step::Schedule),
            (
                "gated",
                pod(json!({}), json!({"schedulingGates": [{"name": "g"}]}), json!({})),
                0,
                base(),
                Step::Nothing,
            ),
            (
                "other scheduler",
                pod(json!({}), json!({"schedulerName": "x"}), json!({})),
                0,
                base(),
                Step::Nothing,
            ),
            ("other node", pod(json!({}), json!({"nodeName": "n"}), json!({})), 0, base(), Step::Nothing),
            ("bound", pod(json!({}), here(), json!({})), 0, base(), Step::Write(Goal::Creating)),
            ("bound, no delays", pod(json!({}), here(), json!({})), 0, quick(), run(0, true)),
            ("starting", pod(json!({}), here(), creating()), 150, base(), Step::Wait(50 * MS)),
            ("started", pod(json!({}), here(), creating()), 200, base(), run(0, false)),
            ("not ready yet", pod(json!({}), here(), running(false)), 100, base(), Step::Wait(200 * MS)),
            ("ready", pod(json!({}), here(), running(false)), 300, base(), run(0, true)),
            ("settled", pod(json!({}), here(), running(true)), 0, base(), Step::Nothing),
            (
                "made unready",
                pod(json!({}), here(), running(true)),
                0,
                Knobs { ready: Some(false), ..base() },
                run(0, false),
            ),
            (
                "stays unready",
                pod(json!({}), here(), running(false)),
                999,
                Knobs { ready: Some(false), ..base() },
                Step::Nothing,
            ),
            (
                "stuck creating",
                pod(json!({}), here(), creating()),
                999,
                Knobs { stuck: Some(Stuck::Creating), ..base() },
                Step::Nothing,
            ),
            (
                "fails",
                pod(json!({}), here(), running(true)),
                0,
                Knobs { fail: Some("Evicted".into()), ..base() },
                Step::Write(Goal::Failed("Evicted".into())),
            ),
            (
                "crashes",
                pod(json!({}), here(), running(false)),
                300,
                Knobs { crashes: 1, ..base() },
                Step::Write(Goal::BackOff(1)),
            ),
            (
                "backs off",
                pod(json!({}), here(), status("Running", "CrashLoopBackOff", 2, false)),
                5_000,
                base(),
                Step::Wait(15_000 * MS),
            ),
            (
                "restarts",
                pod(json!({}), here(), status("Running", "CrashLoopBackOff", 9, false)),
                300_000,
                base(),
                run(9, false),
            ),
            (
                "completes",
                pod(
                    json!({}),
                    json!({"nodeName": "sim-0", "restartPolicy": "Never", "containers": [{"name": "c", "command": ["ls"]}]}),
                    running(false),
                ),
                300,
                base(),
                Step::Write(Goal::Succeeded),
            ),
            ("deleted", pod(deleted(30), here(), running(true)), 0, base(), Step::Write(Goal::Stopping)),
            ("stopping", pod(deleted(30), here(), running(false)), 50, base(), Step::Wait(150 * MS)),
            (
                "stopped",
                pod(deleted(30), here(), running(false)),
                200,
                base(),
                Step::Write(Goal::Stopped { killed: false }),
            ),
            (
                "killed",
                pod(deleted(1), here(), running(false)),
                1_000,
                Knobs { stop_delay: 9_000 * MS, ..base() },
                Step::Write(Goal::Stopped { killed: true }),
            ),
            (
                "stuck terminating",
                pod(deleted(30), here(), running(false)),
                999,
                Knobs { stuck: Some(Stuck::Terminating), ..base() },
                Step::Nothing,
            ),
            (
                "over",
                pod(deleted(30), here(), status("Running", "terminated", 0, false)),
                0,
                base(),
                Step::Remove,
            ),
            ("held", pod(held, here(), status("Running", "terminated", 0, false)), 0, base(), Step::Nothing),
        ];
        for (name, pod, elapsed, knobs, want) in cases {
            let stage = stage(&pod, "sim-0");
            assert_eq!(next(&pod, stage, elapsed * MS, &knobs), want, "{name}");
        }
    }
}
