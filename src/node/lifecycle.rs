//! The kubelet's decisions as a pure function: a pod and the time it spent in its stage give the next step.
//!
//! Where a pod stands is read from the object itself, so a restarted simulator goes on where it was. Only how long it
//! has been there is remembered outside (it starts anew with the process). Stages whose delay is zero are passed
//! through without a write of their own.

use std::time::Duration;

use super::pod::PodView;

/// First back-off after a crash; doubles per crash (kubelet `backOffPeriod`).
const CRASH_BACKOFF: Duration = Duration::from_secs(10);
/// Longest back-off after crashes (kubelet `MaxContainerBackOff`).
const CRASH_BACKOFF_LONGEST: Duration = Duration::from_secs(300);

/// Where a pod on this node stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Not bound to a node.
    Unbound,
    /// Bound, not seen by the kubelet yet.
    Bound,
    /// Containers are being created.
    Creating,
    /// Containers run and are not ready.
    Running,
    /// Containers are ready.
    Ready,
    /// Containers crashed and wait for their restart.
    BackOff,
    /// Succeeded or Failed, for good.
    Ended,
    /// `deletionTimestamp` is set.
    Terminating,
}

/// How a pod ends by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The containers exited with this code.
    Exit(i32),
    /// The pod was failed with this `status.reason`.
    Failed(String),
}

/// The state to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Containers waiting with reason ContainerCreating.
    Creating,
    /// Containers running, not ready.
    Running,
    /// Containers ready.
    Ready,
    /// Containers waiting with reason CrashLoopBackOff, one more restart.
    BackOff,
    /// Phase Succeeded or Failed.
    Ended(End),
    /// Containers run on, Ready is False.
    Stopping,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Nothing, until this long has passed (`None`: until the pod changes).
    Wait(Option<Duration>),
    /// Publish this state.
    Write(Target),
    /// Remove the object: its containers have stopped.
    Remove,
}

/// The delays that apply where no annotation says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delays {
    /// From binding to running.
    pub start: Duration,
    /// From running to ready.
    pub ready: Duration,
    /// From deletion to removal.
    pub stop: Duration,
}

/// Where the pod stands, read from the object alone.
pub fn stage_of(pod: &PodView) -> Stage {
    if pod.terminating {
        Stage::Terminating
    } else if pod.ended() {
        Stage::Ended
    } else if pod.node_name.is_none() {
        Stage::Unbound
    } else if pod.start_time.is_none() {
        Stage::Bound
    } else if pod.backs_off() {
        Stage::BackOff
    } else if !pod.running() {
        Stage::Creating
    } else if pod.is_true("ContainersReady") {
        Stage::Ready
    } else {
        Stage::Running
    }
}

/// Decides the next step of a pod bound to this node.
///
/// `elapsed`: time since the pod was first seen in its present stage.
pub fn step(pod: &PodView, elapsed: Duration, delays: Delays) -> Step {
    let observed = stage_of(pod);
    match observed {
        Stage::Unbound | Stage::Ended => return Step::Wait(None),
        Stage::Terminating => return terminate(pod, elapsed, delays),
        _ => {}
    }
    let (mut target, mut spent) = (None, elapsed);
    let wait = loop {
        match advance(pod, target.as_ref().map_or(observed, stage_after), spent, delays) {
            Ok(next) => {
                let stop = matches!(next, Target::Ended(_) | Target::BackOff);
                target = Some(next);
                if stop {
                    break None;
                }
            }
            Err(wait) => break wait,
        }
        spent = Duration::ZERO;
    };
    match target {
        Some(target) => Step::Write(target),
        // A readiness gate of somebody else decides about Ready after the containers are.
        None if observed == Stage::Ready && pod.is_true("Ready") != gates_open(pod) => {
            Step::Write(Target::Ready)
        }
        None => Step::Wait(wait),
    }
}

/// Whether every readiness gate's condition is True.
pub fn gates_open(pod: &PodView) -> bool {
    pod.readiness_gates.iter().all(|gate| pod.is_true(gate))
}

/// The stage a pod is in once `target` is published.
pub fn stage_after(target: &Target) -> Stage {
    match target {
        Target::Creating => Stage::Creating,
        Target::Running => Stage::Running,
        Target::Ready => Stage::Ready,
        Target::BackOff => Stage::BackOff,
        Target::Ended(_) => Stage::Ended,
        Target::Stopping => Stage::Terminating,
    }
}

/// The next state after `spent` in `stage`, or how long to wait for it.
fn advance(pod: &PodView, stage: Stage, spent: Duration, delays: Delays) -> Result<Target, Option<Duration>> {
    let knobs = &pod.knobs;
    if let Some(reason) = &knobs.fail
        && stage != Stage::Bound
    {
        return Ok(Target::Ended(End::Failed(reason.clone())));
    }
    let ready_delay = knobs.ready_delay.unwrap_or(delays.ready);
    match stage {
        Stage::Bound => Ok(Target::Creating),
        Stage::Creating if knobs.stuck_creating => Err(None),
        Stage::Creating => after(knobs.start_delay.unwrap_or(delays.start), spent, Target::Running),
        Stage::Running | Stage::Ready if pod.restarts() < knobs.crashes => {
            after(ready_delay, spent, Target::BackOff)
        }
        Stage::Running => match (exit_code(pod), knobs.ready) {
            (Some((code, delay)), _) => {
                after(delay.unwrap_or(ready_delay), spent, Target::Ended(End::Exit(code)))
            }
            (None, Some(false)) => Err(None),
            (None, Some(true)) => Ok(Target::Ready),
            (None, None) => after(ready_delay, spent, Target::Ready),
        },
        Stage::Ready if knobs.ready == Some(false) => Ok(Target::Running),
        Stage::BackOff => {
            let doublings = pod.restarts().saturating_sub(1).min(10);
            after((CRASH_BACKOFF * (1 << doublings)).min(CRASH_BACKOFF_LONGEST), spent, Target::Running)
        }
        Stage::Ready | Stage::Unbound | Stage::Ended | Stage::Terminating => Err(None),
    }
}

/// The exit code of a pod whose containers end by themselves, and after how long if the pod says so.
///
/// Without the annotation these are the pods a person starts to run a command once: not restarted always, and every
/// container names its command (or the pod belongs to a Job).
fn exit_code(pod: &PodView) -> Option<(i32, Option<Duration>)> {
    if pod.restarts_always {
        return None;
    }
    let once = pod.of_job || pod.containers.iter().all(|it| it.has_command);
    pod.knobs.exit.or(once.then_some((0, None)))
}

fn terminate(pod: &PodView, elapsed: Duration, delays: Delays) -> Step {
    // Grace 0 means the removal was already asked for; only finalizers keep the object.
    if pod.grace_seconds == Some(0) {
        return Step::Wait(None);
    }
    let grace = Duration::from_secs(pod.grace_seconds.unwrap_or(30).max(0) as u64);
    let delay = pod.knobs.stop_delay.unwrap_or(delays.stop).min(grace);
    if !pod.knobs.stuck_terminating && elapsed >= delay {
        return Step::Remove;
    }
    if pod.is_true("Ready") || pod.is_true("ContainersReady") {
        return Step::Write(Target::Stopping);
    }
    Step::Wait((!pod.knobs.stuck_terminating).then(|| delay - elapsed))
}

fn after(delay: Duration, spent: Duration, target: Target) -> Result<Target, Option<Duration>> {
    if spent >= delay { Ok(target) } else { Err(Some(delay - spent)) }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::{Value, json};

    use super::*;

    const DELAYS: Delays = Delays {
        start: Duration::from_millis(200),
        ready: Duration::from_millis(300),
        stop: Duration::from_millis(200),
    };
    const NONE: Delays = Delays { start: Duration::ZERO, ready: Duration::ZERO, stop: Duration::ZERO };

    /// `state`: `bound`, `creating`, `running`, `ready`, `backoff<restarts>`, `failed`, each with ` deleted` or ` grace=0`.
    fn pod(state: &str, annotations: &str, spec: Value) -> PodView {
        let restarts = state.strip_prefix("backoff").and_then(|it| it.parse::<i32>().ok()).unwrap_or(0);
        let container = match state.split(' ').next().unwrap() {
            "running" | "ready" => json!({"running": {"startedAt": "2026-01-01T00:00:00Z"}}),
            it if it.starts_with("backoff") => json!({"waiting": {"reason": "CrashLoopBackOff"}}),
            _ => json!({"waiting": {"reason": "ContainerCreating"}}),
        };
        let ready = if state.starts_with("ready") { "True" } else { "False" };
        let status = if state == "bound" {
            json!({"phase": "Pending"})
        } else {
            json!({
                "phase": if state == "failed" { "Failed" } else { "Running" },
                "startTime": "2026-01-01T00:00:00Z",
                "conditions": [{"type": "Ready", "status": ready}, {"type": "ContainersReady", "status": ready}],
                "containerStatuses": [{"name": "c", "image": "i", "imageID": "", "ready": ready == "True",
                    "restartCount": restarts, "state": container}],
            })
        };
        let mut meta = json!({"name": "web-0", "namespace": "demo", "uid": "u"});
        if state.contains("deleted") {
            meta["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
            meta["deletionGracePeriodSeconds"] = json!(if state.contains("grace=0") { 0 } else { 30 });
        }
        meta["annotations"] = annotations
            .split_whitespace()
            .map(|it| it.split_once('=').unwrap())
            .map(|(key, value)| (format!("sim.ordinal/{key}"), json!(value)))
            .collect::<serde_json::Map<_, _>>()
            .into();
        let mut full = json!({"nodeName": "sim-0", "containers": [{"name": "c", "image": "i"}]});
        full.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        let pod: Pod =
            serde_json::from_value(json!({"metadata": meta, "spec": full, "status": status})).unwrap();
        PodView::narrow(pod)
    }

    fn show(step: &Step) -> String {
        match step {
            Step::Wait(None) => "-".into(),
            Step::Wait(Some(wait)) => format!("wait {}", wait.as_millis()),
            Step::Write(target) => format!("{target:?}"),
            Step::Remove => "remove".into(),
        }
    }

    #[test]
    fn steps() {
        #[rustfmt::skip] // state, annotations, milliseconds in the stage, step with the usual delays
        let cases = [
            ("a bound pod is acknowledged",             "bound", "",                  0,   "Creating"),
            ("containers take the start delay",         "creating", "",               50,  "wait 150"),
            ("then run",                                "creating", "",               200, "Running"),
            ("readiness takes the ready delay",         "running", "",                299, "wait 1"),
            ("then is published",                       "running", "",                300, "Ready"),
            ("a ready pod rests",                       "ready", "",                  999, "-"),
            ("an annotation overrides a delay",         "creating", "start-delay=1s", 200, "wait 800"),
            ("a delay of zero is passed through",       "creating", "start-delay=0 ready-delay=0", 0, "Ready"),
            ("stuck in creation",                       "creating", "stuck=creating", 999, "-"),
            ("held not ready",                          "running", "ready=false",     999, "-"),
            ("made unready live",                       "ready", "ready=false",       0,   "Running"),
            ("made ready at once",                      "running", "ready=true",      0,   "Ready"),
            ("crashes instead of becoming ready",       "running", "crash=1",         300, "BackOff"),
            ("the first back-off is ten seconds",       "backoff1", "crash=1",        9_000, "wait 1000"),
            ("then it runs again",                      "backoff1", "crash=1",        10_000, "Running"),
            ("the third back-off is forty seconds",     "backoff3", "crash=loop",     0,   "wait 40000"),
            ("back-off is at most five minutes",        "backoff9", "crash=loop",     0,   "wait 300000"),
            ("failed by annotation",                    "ready", "fail=Evicted",      0,   "Ended(Failed(\"Evicted\"))"),
            ("a failed pod stays",                      "failed", "fail=Evicted",     0,   "-"),
            ("deletion takes readiness first",          "ready deleted", "",          0,   "Stopping"),
            ("then the stop delay",                     "running deleted", "",        150, "wait 50"),
            ("then the object",                         "running deleted", "",        200, "remove"),
            ("a pod in creation is stopped too",        "creating deleted", "",       200, "remove"),
            ("the grace period bounds the stop delay",  "running deleted", "stop-delay=1h", 29_000, "wait 1000"),
            ("stuck in termination is not ready",       "ready deleted", "stuck=terminating", 999, "Stopping"),
            ("and stays",                               "running deleted", "stuck=terminating", 99_000, "-"),
            ("removed already, a finalizer holds it",   "running deleted grace=0", "", 999, "-"),
        ];
        for (why, state, annotations, elapsed, want) in cases {
            let pod = pod(state, annotations, json!({}));
            assert_eq!(
                show(&step(&pod, Duration::from_millis(elapsed), DELAYS)),
                want,
                "{why}: {state} [{annotations}]"
            );
        }
    }

    #[test]
    fn without_delays_a_pod_needs_one_status_write_and_one_removal() {
        assert_eq!(step(&pod("bound", "", json!({})), Duration::ZERO, NONE), Step::Write(Target::Ready));
        assert_eq!(step(&pod("ready deleted", "", json!({})), Duration::ZERO, NONE), Step::Remove);
    }

    #[test]
    fn a_command_run_once_completes() {
        let once = |policy: &str, command: Value| {
            let spec = json!({"restartPolicy": policy, "containers": [{"name": "c", "image": "i", "command": command}]});
            show(&step(&pod("running", "", spec), Duration::from_secs(1), DELAYS))
        };
        assert_eq!(once("Never", json!(["env"])), "Ended(Exit(0))");
        assert_eq!(once("OnFailure", json!(["env"])), "Ended(Exit(0))");
        assert_eq!(once("Always", json!(["env"])), "Ready");
        assert_eq!(once("Never", json!([])), "Ready", "a server started by kubectl run --restart=Never");
    }

    #[test]
    fn readiness_gates_decide_about_ready_after_the_containers() {
        let gated = json!({"readinessGates": [{"conditionType": "example.com/in"}]});
        assert_eq!(show(&step(&pod("ready", "", gated), Duration::ZERO, DELAYS)), "Ready");
    }
}
