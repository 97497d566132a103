//! A pod as the simulated node sees it: what scheduling and the lifecycle read, and nothing else.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::k8s::watch::{Cached, parse_version};
use crate::model::ObjectKey;

/// One container of the spec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerView {
    /// Container name.
    pub name: String,
    /// Image as written in the spec.
    pub image: String,
    /// Whether the spec names what to run (`command` or `args`).
    pub has_command: bool,
    /// An init container that keeps running (`restartPolicy: Always`).
    pub sidecar: bool,
}

/// What the `sim.ordinal/…` annotations ask for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Knobs {
    /// `start-delay`.
    pub start_delay: Option<Duration>,
    /// `ready-delay`.
    pub ready_delay: Option<Duration>,
    /// `stop-delay`.
    pub stop_delay: Option<Duration>,
    /// `ready`: `Some(false)` holds the pod not ready, `Some(true)` skips the delay.
    pub ready: Option<bool>,
    /// `stuck: creating`.
    pub stuck_creating: bool,
    /// `stuck: terminating`.
    pub stuck_terminating: bool,
    /// `crash`: how often the containers crash before they work; `u32::MAX` for `loop`.
    pub crashes: u32,
    /// `fail`: the pod ends Failed with this reason.
    pub fail: Option<String>,
    /// `exit: <code>[@<after>]`: the containers end by themselves.
    pub exit: Option<(i32, Option<Duration>)>,
}

/// A narrowed pod.
#[derive(Debug, Clone)]
pub struct PodView {
    /// Namespace and name.
    pub key: ObjectKey,
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.resourceVersion`.
    pub resource_version: u64,
    /// `metadata.generation`.
    pub generation: Option<i64>,
    /// `metadata.deletionTimestamp` is set.
    pub terminating: bool,
    /// `metadata.deletionGracePeriodSeconds`.
    pub grace_seconds: Option<i64>,
    /// `metadata.finalizers` is not empty.
    pub finalized: bool,
    /// Controlled by a Job.
    pub of_job: bool,
    /// What the annotations ask for.
    pub knobs: Knobs,
    /// `spec.nodeName`.
    pub node_name: Option<String>,
    /// `spec.schedulerName`, if it is not the default scheduler.
    pub foreign_scheduler: bool,
    /// `spec.schedulingGates` is not empty.
    pub gated: bool,
    /// `spec.nodeSelector`.
    pub node_selector: BTreeMap<String, String>,
    /// `spec.hostNetwork`.
    pub host_network: bool,
    /// `spec.restartPolicy: Always`.
    pub restarts_always: bool,
    /// Claim names in `spec.volumes`.
    pub claims: Vec<String>,
    /// `spec.initContainers`.
    pub init_containers: Vec<ContainerView>,
    /// `spec.containers`.
    pub containers: Vec<ContainerView>,
    /// Condition types of `spec.readinessGates`.
    pub readiness_gates: Vec<String>,
    /// `status.phase`.
    pub phase: String,
    /// `status.startTime`.
    pub start_time: Option<Time>,
    /// `status.podIPs`.
    pub ips: Vec<IpAddr>,
    /// `status.conditions`.
    pub conditions: Vec<PodCondition>,
    /// `status.containerStatuses`.
    pub container_statuses: Vec<ContainerStatus>,
}

impl PodView {
    /// Keeps what the node reads.
    pub fn narrow(pod: Pod) -> Self {
        let (meta, spec, status) =
            (pod.metadata, pod.spec.unwrap_or_default(), pod.status.unwrap_or_default());
        let owners = meta.owner_references.unwrap_or_default();
        Self {
            key: ObjectKey::new(meta.namespace.unwrap_or_default(), meta.name.unwrap_or_default()),
            uid: meta.uid.unwrap_or_default(),
            resource_version: parse_version(meta.resource_version.as_deref()),
            generation: meta.generation,
            terminating: meta.deletion_timestamp.is_some(),
            grace_seconds: meta.deletion_grace_period_seconds,
            finalized: meta.finalizers.is_some_and(|it| !it.is_empty()),
            of_job: owners.iter().any(|it| it.kind == "Job" && it.controller == Some(true)),
            knobs: Knobs::parse(&meta.annotations.unwrap_or_default()),
            node_name: spec.node_name.filter(|it| !it.is_empty()),
            foreign_scheduler: spec
                .scheduler_name
                .is_some_and(|it| it != "default-scheduler" && !it.is_empty()),
            gated: spec.scheduling_gates.is_some_and(|it| !it.is_empty()),
            node_selector: spec.node_selector.unwrap_or_default(),
            host_network: spec.host_network == Some(true),
            restarts_always: spec.restart_policy.as_deref().unwrap_or("Always") == "Always",
            claims: spec
                .volumes
                .unwrap_or_default()
                .into_iter()
                .filter_map(|it| it.persistent_volume_claim.map(|claim| claim.claim_name))
                .collect(),
            init_containers: spec.init_containers.unwrap_or_default().iter().map(container).collect(),
            containers: spec.containers.iter().map(container).collect(),
            readiness_gates: spec
                .readiness_gates
                .unwrap_or_default()
                .into_iter()
                .map(|it| it.condition_type)
                .collect(),
            phase: status.phase.unwrap_or_default(),
            start_time: status.start_time,
            ips: status.pod_ips.unwrap_or_default().iter().filter_map(|it| it.ip.parse().ok()).collect(),
            conditions: status.conditions.unwrap_or_default(),
            container_statuses: status.container_statuses.unwrap_or_default(),
        }
    }

    /// The condition of that type.
    pub fn condition(&self, kind: &str) -> Option<&PodCondition> {
        self.conditions.iter().find(|it| it.type_ == kind)
    }

    /// Whether the condition of that type is True.
    pub fn is_true(&self, kind: &str) -> bool {
        self.condition(kind).is_some_and(|it| it.status == "True")
    }

    /// Whether the pod ended by itself: phase Succeeded or Failed.
    pub fn ended(&self) -> bool {
        matches!(self.phase.as_str(), "Succeeded" | "Failed")
    }

    /// The highest restart count of a container.
    pub fn restarts(&self) -> u32 {
        self.container_statuses.iter().map(|it| it.restart_count).max().unwrap_or(0).max(0) as u32
    }

    /// Whether a container runs.
    pub fn running(&self) -> bool {
        self.container_statuses
            .iter()
            .any(|it| it.state.as_ref().is_some_and(|state| state.running.is_some()))
    }

    /// Whether a container waits to be restarted after a crash.
    pub fn backs_off(&self) -> bool {
        self.container_statuses
            .iter()
            .filter_map(|it| it.state.as_ref()?.waiting.as_ref()?.reason.as_deref())
            .any(|reason| reason == "CrashLoopBackOff")
    }
}

impl Cached for PodView {
    fn key(&self) -> ObjectKey {
        self.key.clone()
    }
    fn uid(&self) -> &str {
        &self.uid
    }
    fn resource_version(&self) -> u64 {
        self.resource_version
    }
}

impl Knobs {
    /// Reads the annotations; a value that does not parse is as if it were absent.
    pub fn parse(annotations: &BTreeMap<String, String>) -> Self {
        let get = |name: &str| annotations.get(&format!("sim.ordinal/{name}")).map(String::as_str);
        let delay = |name: &str| get(name).and_then(parse_duration);
        Self {
            start_delay: delay("start-delay"),
            ready_delay: delay("ready-delay"),
            stop_delay: delay("stop-delay"),
            ready: get("ready").and_then(|it| it.parse().ok()),
            stuck_creating: get("stuck") == Some("creating"),
            stuck_terminating: get("stuck") == Some("terminating"),
            crashes: match get("crash") {
                Some("loop") => u32::MAX,
                other => other.and_then(|it| it.parse().ok()).unwrap_or(0),
            },
            fail: get("fail").filter(|it| !it.is_empty()).map(ToOwned::to_owned),
            exit: get("exit").and_then(|it| {
                let (code, after) =
                    it.split_once('@').map_or((it, None), |(code, after)| (code, Some(after)));
                Some((code.parse().ok()?, after.and_then(parse_duration)))
            }),
        }
    }
}

/// A duration as people write it in annotations: a number and `ms`, `s`, `m` or `h`; a bare number means seconds.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let seconds = match unit {
        "ms" => 0.001,
        "s" | "" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(number.trim().parse::<f64>().ok()? * seconds).ok()
}

fn container(it: &Container) -> ContainerView {
    let named = |list: &Option<Vec<String>>| list.as_ref().is_some_and(|it| !it.is_empty());
    ContainerView {
        name: it.name.clone(),
        image: it.image.clone().unwrap_or_default(),
        has_command: named(&it.command) || named(&it.args),
        sidecar: it.restart_policy.as_deref() == Some("Always"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_as_people_write_them() {
        let cases = [
            ("200ms", Some(200)),
            ("1.5s", Some(1500)),
            ("2", Some(2000)),
            ("0", Some(0)),
            ("1m", Some(60_000)),
            ("fast", None),
            ("-1s", None),
            ("1d", None),
        ];
        for (text, want) in cases {
            assert_eq!(parse_duration(text), want.map(Duration::from_millis), "{text}");
        }
    }

    #[test]
    fn annotations_are_read_and_nonsense_is_ignored() {
        let annotations = |pairs: &[(&str, &str)]| {
            Knobs::parse(&pairs.iter().map(|(k, v)| (format!("sim.ordinal/{k}"), (*v).to_owned())).collect())
        };
        assert_eq!(annotations(&[("crash", "loop")]).crashes, u32::MAX);
        assert_eq!(annotations(&[("crash", "2")]).crashes, 2);
        assert_eq!(annotations(&[("ready", "false")]).ready, Some(false));
        assert_eq!(annotations(&[("exit", "3@2s")]).exit, Some((3, Some(Duration::from_secs(2)))));
        assert_eq!(annotations(&[("stuck", "creating")]).stuck_creating, true);
        assert_eq!(
            annotations(&[("ready", "maybe"), ("crash", "x"), ("stuck", "y"), ("exit", "")]),
            Knobs::default()
        );
    }
}
