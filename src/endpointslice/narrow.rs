//! What the watches of the endpoint controllers read: JSON straight into the reduced forms of [`model`](super::model).
//!
//! API server ──JSON──▶ raw forms with few fields ──[`Kind::reduce`]──▶ `k8s::watched::Watched` ──▶ caches
//!
//! Whatever a plan does not read (containers but for their named ports, volumes, managed fields, annotations of pods) is
//! skipped while it is parsed and never becomes an object. Absent and `null` are the same, as for Go. Pure.
//! Sources: KEP-752; kubernetes `staging/src/k8s.io/endpointslice/util/controller_utils.go`, `pkg/api/v1/pod` (`FindPort`).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::discovery::v1::{Endpoint as ApiEndpoint, EndpointPort};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::model::{
    CONTROLLER, Conditions, Endpoint, Family, Hints, MANAGED_BY, NamedPort, NodeView, PodView, Port, PortSet,
    SERVICE_NAME, ServicePort, ServiceView, SliceView, Target, TargetPort, Topology,
};
use crate::k8s::watched::{Kind, Watched};
use crate::model::ObjectKey;
use crate::model::quantity::Quantity;

const TOPOLOGY_ZONE: &str = "topology.kubernetes.io/zone";
const CONTROL_PLANE: [&str; 2] = ["node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master"];

/// `metadata`; `A` is what is read of the annotations.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Meta<A> {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    creation_timestamp: Option<Time>,
    deletion_timestamp: Option<IgnoredAny>,
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<A>,
    finalizers: Option<Vec<String>>,
    owner_references: Option<Vec<OwnerReference>>,
}

impl<A> Default for Meta<A> {
    fn default() -> Self {
        Self {
            name: None,
            namespace: None,
            uid: None,
            resource_version: None,
            creation_timestamp: None,
            deletion_timestamp: None,
            labels: None,
            annotations: None,
            finalizers: None,
            owner_references: None,
        }
    }
}

impl<A> Meta<A> {
    fn key(&self) -> ObjectKey {
        let part = |it: &Option<String>| it.clone().unwrap_or_default();
        ObjectKey::new(part(&self.namespace), part(&self.name))
    }

    fn object_meta(&self) -> ObjectMeta {
        ObjectMeta {
            name: self.name.clone(),
            namespace: self.namespace.clone(),
            resource_version: self.resource_version.clone(),
            ..ObjectMeta::default()
        }
    }
}

/// The annotations of a Service with a meaning.
#[derive(Debug, Default, Deserialize)]
pub struct TopologyAnnotations {
    #[serde(rename = "service.kubernetes.io/topology-mode")]
    mode: Option<String>,
    #[serde(rename = "service.kubernetes.io/topology-aware-hints")]
    hints: Option<String>,
}

/// `v1` Service.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct RawService {
    metadata: Meta<TopologyAnnotations>,
    spec: Option<RawServiceSpec>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawServiceSpec {
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(rename = "clusterIP")]
    cluster_ip: Option<String>,
    ip_families: Option<Vec<String>>,
    ports: Option<Vec<RawServicePort>>,
    publish_not_ready_addresses: Option<bool>,
    selector: Option<BTreeMap<String, String>>,
    traffic_distribution: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawServicePort {
    name: Option<String>,
    protocol: Option<String>,
    app_protocol: Option<String>,
    port: i32,
    /// A number or a name.
    target_port: Value,
}

/// `v1` Pod.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct RawPod {
    metadata: Meta<IgnoredAny>,
    spec: Option<RawPodSpec>,
    status: Option<RawPodStatus>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawPodSpec {
    node_name: Option<String>,
    hostname: Option<String>,
    subdomain: Option<String>,
    containers: Option<Vec<RawContainer>>,
    init_containers: Option<Vec<RawContainer>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawContainer {
    restart_policy: Option<String>,
    ports: Option<Vec<RawContainerPort>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawContainerPort {
    name: Option<String>,
    protocol: Option<String>,
    container_port: i32,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawPodStatus {
    phase: Option<String>,
    #[serde(rename = "podIPs")]
    pod_ips: Option<Vec<RawPodIp>>,
    conditions: Option<Vec<RawCondition>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RawPodIp {
    ip: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawCondition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
    last_transition_time: Option<Time>,
}

/// `v1` Node.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct RawNode {
    metadata: Meta<IgnoredAny>,
    status: Option<RawNodeStatus>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RawNodeStatus {
    allocatable: Option<RawAllocatable>,
    conditions: Option<Vec<RawCondition>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RawAllocatable {
    cpu: Value,
}

/// `discovery.k8s.io/v1` EndpointSlice.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RawSlice {
    metadata: Meta<BTreeMap<String, String>>,
    address_type: String,
    ports: Option<Vec<EndpointPort>>,
    endpoints: Option<Vec<ApiEndpoint>>,
}

impl Kind for ServiceView {
    type Raw<'a> = RawService;
    type View = Option<Self>;
    const GROUP: &'static str = "";
    const KIND: &'static str = "Service";
    const PLURAL: &'static str = "services";

    /// A Service without selector, or of type ExternalName, keeps an empty selector.
    fn reduce(raw: RawService) -> (ObjectMeta, Option<Self>) {
        let (meta, spec) = (raw.metadata, raw.spec.unwrap_or_default());
        let external = spec.kind.as_deref() == Some("ExternalName");
        let cluster_ip = spec.cluster_ip.as_deref().unwrap_or_default();
        let mut families: Vec<_> =
            spec.ip_families.iter().flatten().filter_map(|it| Family::parse(it)).collect();
        if families.is_empty() {
            families = match cluster_ip.parse::<IpAddr>() {
                Ok(address) => vec![Family::of(address)],
                Err(_) => vec![Family::V4, Family::V6],
            };
        }
        let annotations = meta.annotations.as_ref();
        // The older annotation wins where both are set.
        let mode = annotations.and_then(|it| it.hints.as_deref().or(it.mode.as_deref()));
        let auto = matches!(mode, Some("Auto" | "auto"));
        let traffic = spec.traffic_distribution.as_deref().unwrap_or_default();
        let topology = match traffic {
            _ if auto => Topology::Auto,
            "PreferClose" | "PreferSameZone" => Topology::SameZone,
            "PreferSameNode" => Topology::SameNode,
            _ => Topology::Anywhere,
        };
        let used = matches!(topology, Topology::SameZone | Topology::SameNode);
        let view = Self {
            key: meta.key(),
            headless: matches!(cluster_ip, "" | "None"),
            families,
            ports: fitting(spec.ports.unwrap_or_default().into_iter().map(service_port).collect()),
            publish_not_ready: spec.publish_not_ready_addresses == Some(true),
            topology,
            traffic_distribution: if used { traffic.to_owned() } else { String::new() },
            terminating: meta.deletion_timestamp.is_some(),
            has_selector: spec.selector.as_ref().is_some_and(|it| !it.is_empty()),
            selector: spec.selector.filter(|_| !external).unwrap_or_default().into_iter().collect(),
            uid: meta.uid.clone().unwrap_or_default(),
            labels: meta.labels.clone().unwrap_or_default(),
            created: meta.creation_timestamp.as_ref().map(|it| it.0),
        };
        (meta.object_meta(), Some(view))
    }
}

fn service_port(raw: RawServicePort) -> ServicePort {
    let target = match raw.target_port {
        Value::String(name) if !name.is_empty() => TargetPort::Name(name),
        // Beyond 16 bits the API server would not have stored it.
        Value::Number(number) => match number.as_i64().and_then(|it| i32::try_from(it).ok()) {
            Some(number) if number != 0 => TargetPort::Number(number),
            _ => TargetPort::Number(raw.port),
        },
        _ => TargetPort::Number(raw.port),
    };
    ServicePort {
        name: raw.name.unwrap_or_default(),
        protocol: raw.protocol.unwrap_or_else(|| "TCP".to_owned()),
        target,
        app_protocol: raw.app_protocol,
    }
}

impl Kind for PodView {
    type Raw<'a> = RawPod;
    type View = Option<Self>;
    const GROUP: &'static str = "";
    const KIND: &'static str = "Pod";
    const PLURAL: &'static str = "pods";

    fn reduce(raw: RawPod) -> (ObjectMeta, Option<Self>) {
        let (meta, spec, status) =
            (raw.metadata, raw.spec.unwrap_or_default(), raw.status.unwrap_or_default());
        let sidecars = spec.init_containers.unwrap_or_default();
        let sidecars = sidecars.into_iter().filter(|it| it.restart_policy.as_deref() == Some("Always"));
        let containers = spec.containers.unwrap_or_default().into_iter().chain(sidecars);
        let ports = containers.flat_map(|it| it.ports.unwrap_or_default());
        let ready = status.conditions.unwrap_or_default().into_iter().find(|it| it.kind == "Ready");
        let object_meta = meta.object_meta();
        let view = Self {
            key: meta.key(),
            uid: meta.uid.unwrap_or_default(),
            labels: meta.labels.unwrap_or_default().into_iter().collect(),
            ips: status
                .pod_ips
                .unwrap_or_default()
                .into_iter()
                .filter_map(|it| it.ip?.parse().ok())
                .collect(),
            terminal: matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")),
            ready: ready.as_ref().is_some_and(|it| it.status == "True"),
            terminating: meta.deletion_timestamp.is_some(),
            node_name: spec.node_name.unwrap_or_default().into(),
            hostname: spec.hostname.unwrap_or_default(),
            subdomain: spec.subdomain.unwrap_or_default().into(),
            ports: ports
                .filter_map(|it| {
                    let protocol = it.protocol.unwrap_or_else(|| "TCP".to_owned());
                    Some(NamedPort { name: it.name?, protocol, port: it.container_port })
                })
                .collect(),
            ready_since: ready.and_then(|it| it.last_transition_time).map(|it| it.0),
        };
        (object_meta, Some(view))
    }
}

impl Kind for NodeView {
    type Raw<'a> = RawNode;
    type View = Option<Self>;
    const GROUP: &'static str = "";
    const KIND: &'static str = "Node";
    const PLURAL: &'static str = "nodes";

    fn reduce(raw: RawNode) -> (ObjectMeta, Option<Self>) {
        let (meta, status) = (raw.metadata, raw.status.unwrap_or_default());
        let object_meta = meta.object_meta();
        let mut labels = meta.labels.unwrap_or_default();
        let cpu = status.allocatable.and_then(|it| Quantity::from_json(&it.cpu));
        let view = Self {
            name: meta.name.unwrap_or_default(),
            control_plane: CONTROL_PLANE.iter().any(|it| labels.contains_key(*it)),
            zone: labels.remove(TOPOLOGY_ZONE).filter(|it| !it.is_empty()),
            ready: status
                .conditions
                .unwrap_or_default()
                .iter()
                .any(|it| it.kind == "Ready" && it.status == "True"),
            milli_cpu: cpu.map_or(0, |it| it.milli()),
        };
        (object_meta, Some(view))
    }
}

impl Kind for SliceView {
    type Raw<'a> = RawSlice;
    type View = Option<Self>;
    const GROUP: &'static str = "discovery.k8s.io";
    const KIND: &'static str = "EndpointSlice";
    const PLURAL: &'static str = "endpointslices";

    /// `None` for a slice that another controller manages.
    fn reduce(raw: RawSlice) -> (ObjectMeta, Option<Self>) {
        let meta = raw.metadata;
        let object_meta = meta.object_meta();
        let key = meta.key();
        let labels = meta.labels.unwrap_or_default();
        if labels.get(MANAGED_BY).map(String::as_str) != Some(CONTROLLER) {
            return (object_meta, None);
        }
        let ports = raw.ports.unwrap_or_default().into_iter().map(|it| Port {
            name: it.name.unwrap_or_default(),
            protocol: it.protocol.unwrap_or_else(|| "TCP".to_owned()),
            port: it.port.unwrap_or_default(),
            app_protocol: it.app_protocol,
        });
        let mut ports: PortSet = fitting(ports.collect());
        ports.sort();
        let view = Self {
            key,
            uid: meta.uid.unwrap_or_default(),
            version: meta.resource_version.unwrap_or_default(),
            service: labels.get(SERVICE_NAME).cloned().unwrap_or_default(),
            labels: labels.into_iter().collect(),
            annotations: meta.annotations.unwrap_or_default().into_iter().collect(),
            finalizers: meta.finalizers.unwrap_or_default(),
            owners: meta.owner_references.unwrap_or_default(),
            terminating: meta.deletion_timestamp.is_some(),
            family: Family::parse(&raw.address_type),
            ports,
            endpoints: fitting(
                raw.endpoints.unwrap_or_default().into_iter().map(|it| Arc::new(endpoint(it))).collect(),
            ),
        };
        (object_meta, Some(view))
    }
}

/// Without the room that parsing left: a `collect` from a vector keeps its memory, however much smaller its elements are.
fn fitting<T>(mut list: Vec<T>) -> Vec<T> {
    list.shrink_to_fit();
    list
}

/// An endpoint as a slice of ours has it.
pub fn endpoint(it: ApiEndpoint) -> Endpoint {
    let conditions = it.conditions.unwrap_or_default();
    let mut addresses = fitting(it.addresses);
    addresses.sort();
    let odd_target = it.target_ref.as_ref().is_some_and(|it| {
        it.kind.as_deref() != Some("Pod") || it.api_version.is_some() || it.field_path.is_some()
    });
    Endpoint {
        addresses,
        conditions: Conditions {
            ready: conditions.ready,
            serving: conditions.serving,
            terminating: conditions.terminating,
        },
        hostname: it.hostname,
        target: it.target_ref.map(|it| Target {
            namespace: it.namespace.unwrap_or_default(),
            name: it.name.unwrap_or_default(),
            uid: it.uid.unwrap_or_default(),
        }),
        node_name: it.node_name,
        zone: it.zone,
        hints: it.hints.map(|it| {
            Box::new(Hints {
                zones: it.for_zones.unwrap_or_default().into_iter().map(|it| it.name).collect(),
                nodes: it.for_nodes.unwrap_or_default().into_iter().map(|it| it.name).collect(),
            })
        }),
        foreign: odd_target || it.deprecated_topology.is_some_and(|it| !it.is_empty()),
    }
}

/// For tests and tools: the view of an object given as JSON.
///
/// # Errors
/// The JSON is no such object.
pub fn from_json<T: Kind<View = Option<T>>>(object: Value) -> Result<Option<T>, serde_json::Error> {
    serde_json::from_value::<Watched<T>>(object).map(|it| it.view)
}

#[cfg(test)]
mod tests {
    use kube::Resource as _;
    use kube::core::{ObjectList, WatchEvent};
    use serde_json::json;

    use super::*;

    #[test]
    fn lists_and_events_are_read_without_what_no_plan_reads() {
        let pod = json!({
            "kind": "Pod", "apiVersion": "v1",
            "metadata": {"name": "web-0", "namespace": "prod", "uid": "u", "resourceVersion": "7", "labels": {"b": "2", "a": "1"},
                "annotations": null, "managedFields": [{"manager": "x", "fieldsV1": {"f:a": {}}}]},
            "spec": {"nodeName": "n", "containers": [
                {"name": "c", "image": "i", "env": [{"name": "A"}], "ports": [
                    {"name": "http", "containerPort": 80}, {"containerPort": 81}, {"name": "dns", "containerPort": 53, "protocol": "UDP"}]}],
                "initContainers": [
                    {"name": "once", "ports": [{"name": "never", "containerPort": 1}]},
                    {"name": "sidecar", "restartPolicy": "Always", "ports": [{"name": "side", "containerPort": 2}]}]},
            "status": {"phase": "Running", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "FD00:0::1"}, {"ip": "nonsense"}],
                "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]},
        });
        let list = json!({"metadata": {"resourceVersion": "9", "continue": "c"}, "items": [pod]});
        let list: ObjectList<Watched<PodView>> = serde_json::from_value(list).unwrap();
        assert_eq!(list.metadata.continue_.as_deref(), Some("c"));
        let view = list.items[0].view.clone().unwrap();
        let ports: Vec<_> =
            view.ports.iter().map(|it| format!("{}/{}={}", it.name, it.protocol, it.port)).collect();
        assert_eq!(ports, ["http/TCP=80", "dns/UDP=53", "side/TCP=2"]);
        assert_eq!(view.ips.iter().map(ToString::to_string).collect::<Vec<_>>(), ["10.0.0.1", "fd00::1"]);
        assert_eq!((view.labels.get("a"), view.labels.get("c")), (Some("1"), None));
        let event: WatchEvent<Watched<PodView>> =
            serde_json::from_value(json!({"type": "ADDED", "object": pod})).unwrap();
        let WatchEvent::Added(added) = event else { panic!("not an addition") };
        assert_eq!(added.view, Some(view));
        assert_eq!(Watched::<SliceView>::url_path(&(), None), "/apis/discovery.k8s.io/v1/endpointslices");
    }

    #[test]
    fn what_decides_the_hints_of_a_service() {
        #[rustfmt::skip]
        let cases = [
            (json!({}),                                              json!(null),             Topology::Anywhere),
            (json!({}),                                              json!("PreferClose"),    Topology::SameZone),
            (json!({}),                                              json!("PreferSameZone"), Topology::SameZone),
            (json!({}),                                              json!("PreferSameNode"), Topology::SameNode),
            (json!({}),                                              json!("Elsewhere"),      Topology::Anywhere),
            (json!({"service.kubernetes.io/topology-mode": "Auto"}), json!("PreferClose"),    Topology::Auto),
            (json!({"service.kubernetes.io/topology-mode": "auto"}), json!(null),             Topology::Auto),
            (json!({"service.kubernetes.io/topology-mode": "AUTO"}), json!(null),             Topology::Anywhere),
            (json!({"service.kubernetes.io/topology-aware-hints": "Disabled",
                    "service.kubernetes.io/topology-mode": "Auto"}), json!("PreferClose"),    Topology::SameZone),
        ];
        for (annotations, traffic, want) in cases {
            let service = json!({"metadata": {"name": "web", "annotations": annotations}, "spec": {"trafficDistribution": traffic}});
            let view: ServiceView = from_json(service.clone()).unwrap().unwrap();
            assert_eq!(view.topology, want, "{service}");
        }
    }

    #[test]
    fn the_cpus_of_a_node() {
        for (cpu, want) in [(json!("3920m"), 3920), (json!("4"), 4000), (json!(2), 2000), (json!(null), 0)] {
            let node = json!({"metadata": {"name": "n"}, "status": {"allocatable": {"cpu": cpu}}});
            assert_eq!(from_json::<NodeView>(node).unwrap().unwrap().milli_cpu, want);
        }
    }
}
