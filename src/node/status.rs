//! A goal of the lifecycle into the merge patch of the pod's status.
//!
//! Lists in a merge patch replace what is there, so conditions of others (readiness gates) are carried over, and the
//! patch names the resourceVersion it was made from. Transition times change only with the status of a condition.

use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod, PodCondition};
use serde_json::{Value, json};

use super::lifecycle::{Goal, containers, gates_open};

/// Where and when a status is written.
#[derive(Debug, Clone)]
pub struct Scene {
    /// The time, RFC 3339 in whole seconds.
    pub now: String,
    /// Address of the node.
    pub node_address: String,
    /// Addresses of the pod, none before it has one; IPv4 first.
    pub pod_addresses: Vec<String>,
}

/// The merge patch that takes `pod` to `goal`.
pub fn patch(pod: &Pod, goal: &Goal, scene: &Scene) -> Value {
    let mut status = json!({
        "observedGeneration": pod.metadata.generation,
        "hostIP": scene.node_address,
        "hostIPs": [{"ip": scene.node_address}],
        "conditions": conditions(pod, goal, scene),
        "containerStatuses": main_statuses(pod, goal, scene),
    });
    match goal {
        Goal::Creating => status["phase"] = "Pending".into(),
        Goal::Running { .. } | Goal::BackOff(_) => status["phase"] = "Running".into(),
        Goal::Succeeded => status["phase"] = "Succeeded".into(),
        Goal::Failed(reason) => {
            status["phase"] = "Failed".into();
            status["reason"] = reason.as_str().into();
        }
        Goal::Stopping | Goal::Stopped { .. } => {}
    }
    if pod.status.as_ref().is_none_or(|it| it.start_time.is_none()) {
        status["startTime"] = scene.now.as_str().into();
    }
    if *goal != Goal::Creating
        && let Some(address) = scene.pod_addresses.first()
    {
        status["podIP"] = address.as_str().into();
        let all: Vec<_> = scene.pod_addresses.iter().map(|it| json!({"ip": it})).collect();
        status["podIPs"] = all.into();
    }
    let init = init_statuses(pod, goal, scene);
    if !init.is_empty() {
        status["initContainerStatuses"] = init.into();
    }
    json!({"metadata": {"resourceVersion": pod.metadata.resource_version}, "status": status})
}

/// The merge patch of a pod that no node takes.
pub fn unschedulable(pod: &Pod, message: &str, now: &str) -> Value {
    let condition = Condition {
        name: "PodScheduled",
        status: false,
        reason: Some("Unschedulable"),
        message: Some(message),
    };
    let conditions = with_conditions(pod, &[condition], now);
    json!({"metadata": {"resourceVersion": pod.metadata.resource_version}, "status": {"conditions": conditions}})
}

struct Condition<'a> {
    name: &'static str,
    status: bool,
    reason: Option<&'a str>,
    message: Option<&'a str>,
}

fn conditions(pod: &Pod, goal: &Goal, scene: &Scene) -> Vec<Value> {
    let plain = |name, status| Condition { name, status, reason: None, message: None };
    let because = |name, reason, message| Condition { name, status: false, reason: Some(reason), message };
    let names: Vec<&str> = pod.spec.iter().flat_map(|it| &it.containers).map(|it| it.name.as_str()).collect();
    let unready = format!("containers with unready status: [{}]", names.join(" "));
    let has_init = pod.spec.as_ref().is_some_and(|it| it.init_containers.is_some());
    let initialized = if *goal == Goal::Creating && has_init {
        because("Initialized", "ContainersNotInitialized", None)
    } else {
        plain("Initialized", true)
    };
    let mut wanted = vec![plain("PodReadyToStartContainers", *goal != Goal::Creating), initialized];
    match goal {
        Goal::Running { ready: true, .. } => {
            wanted.push(if gates_open(pod) {
                plain("Ready", true)
            } else {
                because("Ready", "ReadinessGatesNotReady", Some("a readiness gate's condition is not True"))
            });
            wanted.push(plain("ContainersReady", true));
        }
        Goal::Stopping => wanted.push(because("Ready", "PodTerminating", None)),
        Goal::Succeeded => {
            wanted.push(because("Ready", "PodCompleted", None));
            wanted.push(because("ContainersReady", "PodCompleted", None));
        }
        Goal::Failed(_) => {
            wanted.push(because("Ready", "PodFailed", None));
            wanted.push(because("ContainersReady", "PodFailed", None));
        }
        _ => {
            wanted.push(because("Ready", "ContainersNotReady", Some(&unready)));
            wanted.push(because("ContainersReady", "ContainersNotReady", Some(&unready)));
        }
    }
    wanted.push(plain("PodScheduled", true));
    with_conditions(pod, &wanted, &scene.now)
}

/// The pod's conditions with those of `wanted` replaced or added.
fn with_conditions(pod: &Pod, wanted: &[Condition<'_>], now: &str) -> Vec<Value> {
    let present: &[PodCondition] =
        pod.status.as_ref().and_then(|it| it.conditions.as_deref()).unwrap_or_default();
    let ours = wanted.iter().map(|want| {
        let status = if want.status { "True" } else { "False" };
        let known = present.iter().find(|it| it.type_ == want.name && it.status == status);
        let since = known.and_then(|it| it.last_transition_time.as_ref());
        let mut value = json!({
            "type": want.name,
            "status": status,
            "lastTransitionTime": since.map_or_else(|| json!(now), |it| json!(it)),
        });
        if let Some(reason) = want.reason {
            value["reason"] = reason.into();
        }
        if let Some(message) = want.message {
            value["message"] = message.into();
        }
        value
    });
    let others = present.iter().filter(|it| wanted.iter().all(|want| want.name != it.type_));
    ours.chain(others.map(|it| json!(it))).collect()
}

fn main_statuses(pod: &Pod, goal: &Goal, scene: &Scene) -> Vec<Value> {
    let now = scene.now.as_str();
    let specs = pod.spec.iter().flat_map(|it| &it.containers);
    specs
        .map(|container| {
            let old = containers(pod).iter().find(|it| it.name == container.name);
            let restarts = old.map_or(0, |it| it.restart_count);
            let started = started_at(old).unwrap_or_else(|| json!(now));
            let waiting = |reason: &str| json!({"waiting": {"reason": reason}});
            let (state, last, restarts, ready) = match goal {
                Goal::Creating => {
                    let inits = pod.spec.as_ref().is_some_and(|it| it.init_containers.is_some());
                    (waiting(if inits { "PodInitializing" } else { "ContainerCreating" }), None, 0, false)
                }
                Goal::Running { restarts, ready } => {
                    (json!({"running": {"startedAt": started}}), last_state(old), *restarts, *ready)
                }
                Goal::BackOff(restarts) => {
                    let message = "back-off restarting failed container";
                    let state = json!({"waiting": {"reason": "CrashLoopBackOff", "message": message}});
                    (state, Some(ended(1, "Error", &started, now)), *restarts, false)
                }
                Goal::Succeeded => (ended(0, "Completed", &started, now), last_state(old), restarts, false),
                Goal::Failed(_) => (ended(1, "Error", &started, now), last_state(old), restarts, false),
                Goal::Stopping => {
                    let state = old.map_or_else(|| waiting("ContainerCreating"), |it| json!(it.state));
                    (state, last_state(old), restarts, false)
                }
                Goal::Stopped { killed: true } => {
                    (ended(137, "Error", &started, now), last_state(old), restarts, false)
                }
                Goal::Stopped { killed: false } => {
                    (ended(0, "Completed", &started, now), last_state(old), restarts, false)
                }
            };
            let runs = state.get("running").is_some();
            let mut status = json!({
                "name": container.name,
                "image": container.image,
                "imageID": if runs { image_id(container) } else { old.map_or_else(String::new, |it| it.image_id.clone()) },
                "ready": ready,
                "started": runs,
                "restartCount": restarts,
                "state": state,
                "lastState": last.unwrap_or_else(|| json!({})),
            });
            if *goal != Goal::Creating {
                status["containerID"] = container_id(pod, container, restarts).into();
            }
            status
        })
        .collect()
}

/// Init containers wait while the pod is being created and are over once it runs; sidecars keep running.
fn init_statuses(pod: &Pod, goal: &Goal, scene: &Scene) -> Vec<Value> {
    let now = scene.now.as_str();
    let present =
        pod.status.as_ref().and_then(|it| it.init_container_statuses.as_deref()).unwrap_or_default();
    let specs = pod.spec.iter().filter_map(|it| it.init_containers.as_ref()).flatten();
    specs
        .map(|container| {
            let old = present.iter().find(|it| it.name == container.name);
            let sidecar = container.restart_policy.as_deref() == Some("Always");
            let started = started_at(old).unwrap_or_else(|| json!(now));
            let over = matches!(goal, Goal::Stopped { .. } | Goal::Succeeded | Goal::Failed(_));
            let (state, ready) = if *goal == Goal::Creating {
                (json!({"waiting": {"reason": "PodInitializing"}}), false)
            } else if sidecar && !over {
                (json!({"running": {"startedAt": started}}), true)
            } else if let Some(done) =
                old.filter(|it| it.state.as_ref().is_some_and(|it| it.terminated.is_some()))
            {
                (json!(done.state), true)
            } else {
                (ended(0, "Completed", &started, now), !sidecar)
            };
            let mut status = json!({
                "name": container.name,
                "image": container.image,
                "imageID": if *goal == Goal::Creating { String::new() } else { image_id(container) },
                "ready": ready,
                "started": state.get("running").is_some(),
                "restartCount": 0,
                "state": state,
                "lastState": {},
            });
            if *goal != Goal::Creating {
                status["containerID"] = container_id(pod, container, 0).into();
            }
            status
        })
        .collect()
}

fn ended(code: i32, reason: &str, started: &Value, now: &str) -> Value {
    json!({"terminated": {"exitCode": code, "reason": reason, "startedAt": started, "finishedAt": now}})
}

fn started_at(old: Option<&ContainerStatus>) -> Option<Value> {
    old?.state.as_ref()?.running.as_ref()?.started_at.as_ref().map(|it| json!(it))
}

fn last_state(old: Option<&ContainerStatus>) -> Option<Value> {
    old?.last_state.as_ref().map(|it| json!(it))
}

fn image_id(container: &Container) -> String {
    format!("simulated://{}", container.image.as_deref().unwrap_or_default())
}

fn container_id(pod: &Pod, container: &Container, restarts: i32) -> String {
    format!("simulated://{}/{}/{restarts}", pod.metadata.uid.as_deref().unwrap_or_default(), container.name)
}
