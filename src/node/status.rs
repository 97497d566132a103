//! Builds the status a kubelet would publish, as a strategic merge patch.
//!
//! Strategic, because conditions belong to several writers (readiness gates) and merge by type.
//! The patch carries the uid: a pod recreated under the same name is never given its predecessor's status.

use std::net::IpAddr;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ContainerStatus;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Map, Value, json};

use super::lifecycle::{End, Target, gates_open};
use super::pod::{ContainerView, PodView};

/// Exit code shown for a container that was failed or crashed by annotation.
const FAILED_EXIT: i32 = 1;

/// Where a pod runs, as its status tells it.
#[derive(Debug, Clone)]
pub struct Place {
    /// The node's addresses, primary family first.
    pub host_ips: Vec<IpAddr>,
    /// The pod's addresses, primary family first.
    pub pod_ips: Vec<IpAddr>,
}

/// The patch for `pods/status` that brings `pod` into the state `target` at `now`.
pub fn patch(pod: &PodView, target: &Target, place: &Place, now: Timestamp) -> Value {
    let ready = *target == Target::Ready;
    let initialized = *target != Target::Creating || pod.init_containers.is_empty();
    let unready = match target {
        Target::Ended(End::Exit(0)) => "PodCompleted",
        Target::Ended(_) => "PodFailed",
        _ => "ContainersNotReady",
    };
    let names: Vec<_> = pod.containers.iter().map(|it| it.name.as_str()).collect();
    let message = format!("containers with unready status: [{}]", names.join(" "));
    let unready = Some((unready, message.as_str()));
    let gates = (ready && !gates_open(pod))
        .then_some(("ReadinessGatesNotReady", "corresponding condition of pod readiness gate is not True"));
    let uninitialized =
        (!initialized).then_some(("ContainersNotInitialized", "containers with incomplete status"));
    let conditions = [
        condition(pod, "PodScheduled", None, now),
        condition(pod, "PodReadyToStartContainers", (*target == Target::Creating).then_some(("", "")), now),
        condition(pod, "Initialized", uninitialized, now),
        condition(pod, "ContainersReady", if ready { None } else { unready }, now),
        condition(pod, "Ready", if ready { gates } else { unready }, now),
    ];
    let mut status = json!({
        "phase": match target {
            Target::Creating => "Pending",
            Target::Ended(End::Exit(0)) => "Succeeded",
            Target::Ended(_) => "Failed",
            Target::Stopping => pod.phase.as_str(),
            _ => "Running",
        },
        "conditions": conditions,
        "hostIP": place.host_ips.first(),
        "hostIPs": place.host_ips.iter().map(|it| json!({"ip": it})).collect::<Vec<_>>(),
        "startTime": pod.start_time.clone().unwrap_or(Time(now)),
        "containerStatuses": pod.containers.iter().map(|it| container(pod, it, target, now)).collect::<Vec<_>>(),
    });
    let fields = status.as_object_mut().expect("built as an object");
    if let Some(generation) = pod.generation {
        fields.insert("observedGeneration".into(), json!(generation));
    }
    if *target != Target::Creating && !place.pod_ips.is_empty() {
        fields.insert("podIP".into(), json!(place.pod_ips[0]));
        fields.insert(
            "podIPs".into(),
            place.pod_ips.iter().map(|it| json!({"ip": it})).collect::<Vec<_>>().into(),
        );
    }
    if !pod.init_containers.is_empty() && *target != Target::Stopping {
        let list: Vec<_> =
            pod.init_containers.iter().map(|it| init_container(pod, it, target, now)).collect();
        fields.insert("initContainerStatuses".into(), list.into());
    }
    if let Target::Ended(End::Failed(reason)) = target {
        fields.insert("reason".into(), json!(reason));
        fields.insert("message".into(), json!("failed by the annotation sim.ordinal/fail"));
    }
    json!({"metadata": {"uid": pod.uid}, "status": status})
}

/// The patch that tells why a pod cannot be scheduled.
pub fn unschedulable(pod: &PodView, message: &str, now: Timestamp) -> Value {
    let condition = condition(pod, "PodScheduled", Some(("Unschedulable", message)), now);
    json!({"metadata": {"uid": pod.uid}, "status": {"conditions": [condition]}})
}

/// A condition: True without `problem`, else False with its reason and message. The transition time of an
/// unchanged status is kept.
fn condition(pod: &PodView, kind: &str, problem: Option<(&str, &str)>, now: Timestamp) -> Value {
    let status = if problem.is_some() { "False" } else { "True" };
    let since = pod
        .condition(kind)
        .filter(|it| it.status == status)
        .and_then(|it| it.last_transition_time.clone())
        .unwrap_or(Time(now));
    let text = |it: Option<&str>| it.filter(|it| !it.is_empty()).map(ToOwned::to_owned);
    json!({
        "type": kind,
        "status": status,
        "lastProbeTime": null,
        "lastTransitionTime": since,
        "reason": text(problem.map(|it| it.0)),
        "message": text(problem.map(|it| it.1)),
    })
}

fn container(pod: &PodView, spec: &ContainerView, target: &Target, now: Timestamp) -> Value {
    let old = pod.container_statuses.iter().find(|it| it.name == spec.name);
    let restarts = old.map_or(0, |it| it.restart_count);
    let started = started_at(old);
    let id = format!("sim://{}/{}/{restarts}", pod.uid, spec.name);
    let terminated = |code: i32| {
        json!({"terminated": {
            "exitCode": code,
            "reason": if code == 0 { "Completed" } else { "Error" },
            "startedAt": started.clone().unwrap_or(Time(now)),
            "finishedAt": Time(now),
            "containerID": id,
        }})
    };
    let last = old.and_then(|it| it.last_state.as_ref()).map_or_else(|| json!({}), |it| json!(it));
    let creating = if pod.init_containers.is_empty() { "ContainerCreating" } else { "PodInitializing" };
    let (state, last, restarts) = match target {
        Target::Creating => (json!({"waiting": {"reason": creating}}), last, restarts),
        Target::Running | Target::Ready => {
            (json!({"running": {"startedAt": started.clone().unwrap_or(Time(now))}}), last, restarts)
        }
        Target::Stopping => {
            (old.and_then(|it| it.state.as_ref()).map_or_else(|| json!({}), |it| json!(it)), last, restarts)
        }
        Target::BackOff => {
            let message = format!("back-off restarting failed container={} pod={}", spec.name, pod.key.name);
            let waiting = json!({"waiting": {"reason": "CrashLoopBackOff", "message": message}});
            (waiting, terminated(FAILED_EXIT), restarts + 1)
        }
        Target::Ended(End::Exit(code)) => (terminated(*code), last, restarts),
        Target::Ended(End::Failed(_)) => (terminated(FAILED_EXIT), last, restarts),
    };
    let runs = state.get("running").is_some();
    let mut status = json!({
        "name": spec.name,
        "image": spec.image,
        "imageID": if *target == Target::Creating { String::new() } else { format!("sim://{}", spec.image) },
        "ready": *target == Target::Ready,
        "started": runs,
        "restartCount": restarts,
        "state": state,
        "lastState": last,
    });
    if *target != Target::Creating {
        status["containerID"] = json!(id);
    }
    status
}

fn init_container(pod: &PodView, spec: &ContainerView, target: &Target, now: Timestamp) -> Value {
    let state = match (target, spec.sidecar) {
        (Target::Creating, _) => json!({"waiting": {"reason": "PodInitializing"}}),
        (Target::Ended(_), _) | (_, false) => {
            json!({"terminated": {"exitCode": 0, "reason": "Completed", "startedAt": Time(now), "finishedAt": Time(now)}})
        }
        (_, true) => json!({"running": {"startedAt": Time(now)}}),
    };
    let created = *target != Target::Creating;
    json!({
        "name": spec.name,
        "image": spec.image,
        "imageID": if created { format!("sim://{}", spec.image) } else { String::new() },
        "ready": created,
        "started": created && spec.sidecar,
        "restartCount": 0,
        "state": state,
        "lastState": Map::new(),
        "containerID": created.then(|| format!("sim://{}/{}/0", pod.uid, spec.name)).unwrap_or_default(),
    })
}

fn started_at(status: Option<&ContainerStatus>) -> Option<Time> {
    status?.state.as_ref()?.running.as_ref()?.started_at.clone()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;

    use super::*;

    fn pod(status: Value) -> PodView {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "web-0", "namespace": "demo", "uid": "u1", "generation": 1},
            "spec": {"nodeName": "sim-0", "containers": [{"name": "nginx", "image": "nginx:1"}]},
            "status": status,
        }))
        .unwrap();
        PodView::narrow(pod)
    }

    fn place() -> Place {
        Place { host_ips: vec!["10.244.0.1".parse().unwrap()], pod_ips: vec!["10.244.0.7".parse().unwrap()] }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn find<'a>(patch: &'a Value, kind: &str) -> &'a Value {
        let conditions = patch["status"]["conditions"].as_array().unwrap();
        conditions.iter().find(|it| it["type"] == kind).unwrap()
    }

    #[test]
    fn a_pod_in_creation_has_no_address_and_a_ready_one_has() {
        let creating = patch(&pod(json!({})), &Target::Creating, &place(), at(1));
        assert_eq!(creating["metadata"]["uid"], "u1");
        assert_eq!(creating["status"]["phase"], "Pending");
        assert_eq!(creating["status"].get("podIP"), None);
        assert_eq!(
            creating["status"]["containerStatuses"][0]["state"]["waiting"]["reason"],
            "ContainerCreating"
        );
        assert_eq!(find(&creating, "Ready")["status"], "False");
        let ready = patch(&pod(json!({})), &Target::Ready, &place(), at(1));
        assert_eq!(ready["status"]["podIPs"], json!([{"ip": "10.244.0.7"}]));
        assert_eq!(ready["status"]["containerStatuses"][0]["ready"], true);
        assert_eq!(find(&ready, "Ready")["status"], "True");
        assert_eq!(find(&ready, "Ready")["reason"], Value::Null);
    }

    #[test]
    fn transition_and_start_times_survive_an_unchanged_state() {
        let running = pod(json!({
            "phase": "Running", "startTime": "1970-01-01T00:00:05Z",
            "conditions": [{"type": "Initialized", "status": "True", "lastTransitionTime": "1970-01-01T00:00:06Z"}],
            "containerStatuses": [{"name": "nginx", "image": "nginx:1", "imageID": "", "ready": false,
                "restartCount": 2, "state": {"running": {"startedAt": "1970-01-01T00:00:07Z"}}}],
        }));
        let ready = patch(&running, &Target::Ready, &place(), at(9));
        assert_eq!(ready["status"]["startTime"], "1970-01-01T00:00:05Z");
        assert_eq!(find(&ready, "Initialized")["lastTransitionTime"], "1970-01-01T00:00:06Z");
        assert_eq!(find(&ready, "Ready")["lastTransitionTime"], "1970-01-01T00:00:09Z");
        let container = &ready["status"]["containerStatuses"][0];
        assert_eq!(container["state"]["running"]["startedAt"], "1970-01-01T00:00:07Z");
        assert_eq!(container["restartCount"], 2);
        let crashed = patch(&running, &Target::BackOff, &place(), at(9));
        let container = &crashed["status"]["containerStatuses"][0];
        assert_eq!(container["restartCount"], 3);
        assert_eq!(container["state"]["waiting"]["reason"], "CrashLoopBackOff");
        assert_eq!(container["lastState"]["terminated"]["exitCode"], 1);
    }

    #[test]
    fn ended_pods_tell_how() {
        let done = patch(&pod(json!({})), &Target::Ended(End::Exit(0)), &place(), at(1));
        assert_eq!(done["status"]["phase"], "Succeeded");
        assert_eq!(done["status"]["containerStatuses"][0]["state"]["terminated"]["reason"], "Completed");
        assert_eq!(find(&done, "Ready")["reason"], "PodCompleted");
        let failed = patch(&pod(json!({})), &Target::Ended(End::Failed("Evicted".into())), &place(), at(1));
        assert_eq!(
            (&failed["status"]["phase"], &failed["status"]["reason"]),
            (&json!("Failed"), &json!("Evicted"))
        );
    }
}
