//! Why a pod does not become ready, as far as its status says.
//!
//! In words that stay the same while the trouble lasts: kubelets alternate between ErrImagePull and ImagePullBackOff,
//! and between CrashLoopBackOff and running, and every change of words would be a write.
//! Source: kubernetes `pkg/kubelet/images/types.go`, `pkg/kubelet/kuberuntime` (waiting reasons).

use k8s_openapi::api::core::v1::ContainerStatus;

use crate::k8s::lean::LeanStatus;

/// Restarts after which a container that is not ready counts as crashing.
const RESTARTS: i32 = 2;

/// The first container in trouble, or that no node takes the pod; `None` if time may be all it needs.
pub fn of(status: &LeanStatus) -> Option<String> {
    let unschedulable = status.conditions.iter().flatten().any(|it| {
        it.type_ == "PodScheduled" && it.status == "False" && it.reason.as_deref() == Some("Unschedulable")
    });
    if unschedulable {
        return Some("Unschedulable: no node takes it".to_owned());
    }
    let containers = status.init_container_statuses.iter().flatten();
    containers.chain(status.container_statuses.iter().flatten()).find_map(container)
}

fn container(it: &ContainerStatus) -> Option<String> {
    if it.ready {
        return None;
    }
    let state = it.state.as_ref();
    let waiting = state.and_then(|it| it.waiting.as_ref()).and_then(|it| it.reason.as_deref());
    let crashed = it.restart_count >= RESTARTS
        && it.last_state.as_ref().is_some_and(|it| it.terminated.is_some())
        && state.is_none_or(|it| it.terminated.as_ref().is_none_or(|it| it.exit_code != 0));
    let (name, image) = (&it.name, &it.image);
    match waiting {
        Some("ErrImagePull" | "ImagePullBackOff") => {
            Some(format!("ImagePullBackOff: image {image} of container {name} can not be pulled"))
        }
        Some(reason @ ("InvalidImageName" | "ErrImageNeverPull" | "ImageInspectError")) => {
            Some(format!("{reason}: image {image} of container {name}"))
        }
        Some(reason @ ("CreateContainerConfigError" | "CreateContainerError" | "RunContainerError")) => {
            Some(format!("{reason}: container {name} can not be started"))
        }
        Some("CrashLoopBackOff") => Some(format!("CrashLoopBackOff: container {name} ends again and again")),
        _ if crashed => Some(format!("CrashLoopBackOff: container {name} ends again and again")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn trouble_keeps_its_words() {
        let terminated = json!({ "terminated": { "exitCode": 1 } });
        let waiting = |reason: &str| json!({ "waiting": { "reason": reason } });
        let cases = [
            (waiting("ErrImagePull"), 0, "ImagePullBackOff: image i of container c can not be pulled"),
            (waiting("ImagePullBackOff"), 0, "ImagePullBackOff: image i of container c can not be pulled"),
            (waiting("CrashLoopBackOff"), 3, "CrashLoopBackOff: container c ends again and again"),
            (json!({ "running": {} }), 3, "CrashLoopBackOff: container c ends again and again"),
            (json!({ "running": {} }), 1, ""),
            (waiting("ContainerCreating"), 0, ""),
        ];
        for (state, restarts, want) in cases {
            let status = json!({ "containerStatuses": [{
                "name": "c", "image": "i", "imageID": "", "ready": false, "restartCount": restarts, "state": state,
                "lastState": if restarts > 0 { terminated.clone() } else { json!({}) },
            }] });
            let status = serde_json::from_value(status).unwrap();
            assert_eq!(of(&status).unwrap_or_default(), want, "{state} after {restarts} restarts");
        }
    }
}
