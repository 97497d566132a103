//! Events as a scheduler, a kubelet and a volume binder word them.
//!
//! Pure: [`between`] says what happened, [`object`] makes it an Event. They are written by a task of their own, so a
//! slow event never delays a pod.
//! Sources: kubelet `pkg/kubelet/events`, kube-scheduler `schedule_one.go`, wording as of Kubernetes 1.36 except
//! `Created container NAME`, which is the older form without a colon.

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};

use super::lifecycle::Stage;
use super::pod::{ContainerView, PodView};

/// Who reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reporter {
    /// `default-scheduler`.
    Scheduler,
    /// `kubelet`, with the node as host.
    Kubelet,
    /// `persistentvolume-controller`.
    VolumeBinder,
}

/// Something that happened to one object.
#[derive(Debug, Clone, PartialEq)]
pub struct Happening {
    /// The object it happened to.
    pub involved: ObjectReference,
    /// Who reports it.
    pub reporter: Reporter,
    /// Type Warning instead of Normal.
    pub warning: bool,
    /// CamelCase reason.
    pub reason: &'static str,
    /// Text for people.
    pub message: String,
}

/// What happened to `pod` when it went from one stage to the next.
///
/// `images`: images this node has pulled; those needed now are added.
pub fn between(pod: &PodView, from: Stage, to: Stage, images: &mut BTreeSet<String>) -> Vec<Happening> {
    let started_before = !matches!(from, Stage::Unbound | Stage::Bound | Stage::Creating | Stage::BackOff);
    let starts = matches!(to, Stage::Running | Stage::Ready)
        || (matches!(to, Stage::BackOff | Stage::Ended) && !started_before);
    let mut happened = Vec::new();
    if starts && !started_before {
        let first = from != Stage::BackOff;
        let inits = pod.init_containers.iter().filter(|_| first).map(|it| ("initContainers", it));
        for (list, container) in inits.chain(pod.containers.iter().map(|it| ("containers", it))) {
            happened.extend(start(pod, list, container, images));
        }
    }
    for container in &pod.containers {
        match to {
            Stage::BackOff => happened.push(Happening {
                warning: true,
                ..kubelet(
                    pod,
                    "containers",
                    container,
                    "BackOff",
                    format!(
                        "Back-off restarting failed container {} in pod {}_{}({})",
                        container.name, pod.key.name, pod.key.namespace, pod.uid
                    ),
                )
            }),
            Stage::Terminating if pod.running() => happened.push(kubelet(
                pod,
                "containers",
                container,
                "Killing",
                format!("Stopping container {}", container.name),
            )),
            _ => {}
        }
    }
    happened
}

/// The scheduler bound the pod.
pub fn scheduled(pod: &PodView, node: &str) -> Happening {
    Happening {
        involved: reference(pod, None),
        reporter: Reporter::Scheduler,
        warning: false,
        reason: "Scheduled",
        message: format!("Successfully assigned {} to {node}", pod.key),
    }
}

/// The scheduler found no place.
pub fn unschedulable(pod: &PodView, message: &str) -> Happening {
    Happening { warning: true, reason: "FailedScheduling", message: message.to_owned(), ..scheduled(pod, "") }
}

/// The Event object. `serial` makes the name unique among those of the same nanosecond.
pub fn object(happening: Happening, node: &str, now: Timestamp, serial: u64) -> Event {
    let (component, host) = match happening.reporter {
        Reporter::Scheduler => ("default-scheduler", None),
        Reporter::Kubelet => ("kubelet", Some(node.to_owned())),
        Reporter::VolumeBinder => ("persistentvolume-controller", None),
    };
    let involved = happening.involved;
    let unique = now.as_nanosecond() as u64 ^ (serial << 48);
    Event {
        metadata: ObjectMeta {
            name: Some(format!("{}.{unique:016x}", involved.name.as_deref().unwrap_or_default())),
            namespace: Some(involved.namespace.clone().unwrap_or_else(|| "default".to_owned())),
            ..Default::default()
        },
        involved_object: involved,
        reason: Some(happening.reason.to_owned()),
        message: Some(happening.message),
        type_: Some(if happening.warning { "Warning" } else { "Normal" }.to_owned()),
        source: Some(EventSource { component: Some(component.to_owned()), host: host.clone() }),
        reporting_component: Some(component.to_owned()),
        reporting_instance: host,
        first_timestamp: Some(Time(now)),
        last_timestamp: Some(Time(now)),
        count: Some(1),
        ..Default::default()
    }
}

fn start(
    pod: &PodView,
    list: &str,
    container: &ContainerView,
    images: &mut BTreeSet<String>,
) -> Vec<Happening> {
    let event = |reason, message| kubelet(pod, list, container, reason, message);
    let mut happened = Vec::new();
    if images.insert(container.image.clone()) {
        happened.push(event("Pulling", format!("Pulling image \"{}\"", container.image)));
        happened.push(event("Pulled", format!("Successfully pulled image \"{}\"", container.image)));
    } else {
        let message = format!("Container image \"{}\" already present on machine", container.image);
        happened.push(event("Pulled", message));
    }
    happened.push(event("Created", format!("Created container {}", container.name)));
    happened.push(event("Started", format!("Started container {}", container.name)));
    happened
}

fn kubelet(
    pod: &PodView,
    list: &str,
    container: &ContainerView,
    reason: &'static str,
    message: String,
) -> Happening {
    let path = format!("spec.{list}{{{}}}", container.name);
    Happening {
        involved: reference(pod, Some(path)),
        reporter: Reporter::Kubelet,
        warning: false,
        reason,
        message,
    }
}

fn reference(pod: &PodView, field_path: Option<String>) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        namespace: Some(pod.key.namespace.clone()),
        name: Some(pod.key.name.clone()),
        uid: Some(pod.uid.clone()),
        resource_version: Some(pod.resource_version.to_string()),
        field_path,
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::json;

    use super::*;

    fn pod(state: &str) -> PodView {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "web-demo-0", "namespace": "demo", "uid": "u1"},
            "spec": {"containers": [{"name": "nginx", "image": "nginx:1"}]},
            "status": {"containerStatuses": [{"name": "nginx", "image": "", "imageID": "", "ready": true,
                "restartCount": 0, "state": {state: {}}}]},
        }))
        .unwrap();
        PodView::narrow(pod)
    }

    fn lines(happened: &[Happening]) -> Vec<String> {
        happened.iter().map(|it| format!("{} {}", it.reason, it.message)).collect()
    }

    #[test]
    fn the_first_pod_pulls_its_image_and_later_ones_find_it() {
        let (pod, mut images) = (pod("waiting"), BTreeSet::new());
        let start = ["Created Created container nginx", "Started Started container nginx"];
        let first = between(&pod, Stage::Creating, Stage::Running, &mut images);
        let pulled = ["Pulling Pulling image \"nginx:1\"", "Pulled Successfully pulled image \"nginx:1\""];
        assert_eq!(lines(&first), [&pulled[..], &start[..]].concat());
        let second = between(&pod, Stage::Bound, Stage::Ready, &mut images);
        let present = ["Pulled Container image \"nginx:1\" already present on machine"];
        assert_eq!(lines(&second), [&present[..], &start[..]].concat());
        assert!(between(&pod, Stage::Running, Stage::Ready, &mut images).is_empty());
    }

    #[test]
    fn only_running_containers_are_killed() {
        let mut images = BTreeSet::new();
        let killed = between(&pod("running"), Stage::Ready, Stage::Terminating, &mut images);
        assert_eq!(lines(&killed), ["Killing Stopping container nginx"]);
        assert!(between(&pod("waiting"), Stage::Creating, Stage::Terminating, &mut images).is_empty());
        assert_eq!(
            scheduled(&pod("waiting"), "sim-0").message,
            "Successfully assigned demo/web-demo-0 to sim-0"
        );
    }
}
