//! The objects of the EndpointSlice controller, narrowed to what a plan reads.

use std::collections::BTreeMap;
use std::net::IpAddr;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use k8s_openapi::api::discovery::v1::{Endpoint as ApiEndpoint, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::k8s::watch::{Cached, parse_version};
use crate::model::ObjectKey;

/// Label that names the controller of a slice.
pub const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
/// Its value on the slices of this controller, upstream's on purpose: either may take over from the other.
pub const CONTROLLER: &str = "endpointslice-controller.k8s.io";
/// Label that names the Service of a slice.
pub const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Label on the slices of headless Services.
pub const HEADLESS: &str = "service.kubernetes.io/headless";
/// Annotation with the time of the change that a slice write publishes.
pub const TRIGGER_TIME: &str = "endpoints.kubernetes.io/last-change-trigger-time";
const TOPOLOGY_ZONE: &str = "topology.kubernetes.io/zone";

/// Address family of a slice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// `addressType: IPv4`.
    V4,
    /// `addressType: IPv6`.
    V6,
}

impl Family {
    /// The `addressType` of the family.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }

    /// Parses an `addressType` or `ipFamilies` entry.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "IPv4" => Some(Self::V4),
            "IPv6" => Some(Self::V6),
            _ => None,
        }
    }

    /// The family of an address.
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

/// Number or name of a target port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TargetPort {
    /// Used as it is.
    Number(i32),
    /// Looked up in each pod.
    Name(String),
}

/// One port of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicePort {
    /// Name, maybe empty.
    pub name: String,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// Where it leads.
    pub target: TargetPort,
    /// `appProtocol`.
    pub app_protocol: Option<String>,
}

/// A narrowed Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceView {
    /// Namespace and name.
    pub key: ObjectKey,
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.resourceVersion`.
    pub resource_version: u64,
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// `spec.selector`; empty when this controller does not manage the Service.
    pub selector: BTreeMap<String, String>,
    /// `clusterIP` is None or empty.
    pub headless: bool,
    /// `spec.ipFamilies`, or what stands for it.
    pub families: Vec<Family>,
    /// `spec.ports`.
    pub ports: Vec<ServicePort>,
    /// `spec.publishNotReadyAddresses`.
    pub publish_not_ready: bool,
    /// `metadata.deletionTimestamp` is set.
    pub terminating: bool,
    /// `metadata.creationTimestamp`.
    pub created: Option<Timestamp>,
}

/// A container port that has a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedPort {
    /// Port name.
    pub name: String,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// Port number.
    pub port: i32,
}

/// A narrowed Pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodView {
    /// Namespace and name.
    pub key: ObjectKey,
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.resourceVersion`.
    pub resource_version: u64,
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// `status.podIPs`, parsed.
    pub ips: Vec<IpAddr>,
    /// Phase Succeeded or Failed.
    pub terminal: bool,
    /// Condition Ready is True.
    pub ready: bool,
    /// `metadata.deletionTimestamp` is set.
    pub terminating: bool,
    /// `spec.nodeName`, maybe empty.
    pub node_name: String,
    /// `spec.hostname`, maybe empty.
    pub hostname: String,
    /// `spec.subdomain`, maybe empty.
    pub subdomain: String,
    /// Named ports: those of the containers, then those of the sidecars.
    pub ports: Vec<NamedPort>,
    /// When the Ready condition changed last.
    pub ready_since: Option<Timestamp>,
}

/// A narrowed Node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeView {
    /// Name; Nodes have no namespace.
    pub name: String,
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.resourceVersion`.
    pub resource_version: u64,
    /// Its topology zone.
    pub zone: Option<String>,
}

/// The pod behind an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Target {
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod.
    pub name: String,
    /// uid of the pod.
    pub uid: String,
}

/// The three conditions; `None` only in slices of others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Conditions {
    /// `ready`.
    pub ready: Option<bool>,
    /// `serving`.
    pub serving: Option<bool>,
    /// `terminating`.
    pub terminating: Option<bool>,
}

/// One endpoint record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Addresses of the slice's family, sorted.
    pub addresses: Vec<String>,
    /// Conditions.
    pub conditions: Conditions,
    /// `hostname`.
    pub hostname: Option<String>,
    /// `targetRef`.
    pub target: Option<Target>,
    /// `nodeName`.
    pub node_name: Option<String>,
    /// `zone`.
    pub zone: Option<String>,
    /// Carries something this controller never writes (hints, deprecated topology).
    pub foreign: bool,
}

/// What makes two records the same endpoint: addresses, hostname, and namespace and name of the pod; not its uid.
pub type Identity<'a> = (&'a [String], Option<&'a str>, Option<(&'a str, &'a str)>);

impl Endpoint {
    /// See [`Identity`].
    pub fn identity(&self) -> Identity<'_> {
        let target = self.target.as_ref().map(|it| (it.namespace.as_str(), it.name.as_str()));
        (&self.addresses, self.hostname.as_deref(), target)
    }
}

/// One port of a slice. The order of fields makes the order of a [`PortSet`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Port {
    /// Name, maybe empty.
    pub name: String,
    /// Protocol.
    pub protocol: String,
    /// Number.
    pub port: i32,
    /// `appProtocol`.
    pub app_protocol: Option<String>,
}

/// The ports of a slice as a set: sorted, without duplicates.
pub type PortSet = Vec<Port>;

/// A narrowed EndpointSlice of this controller.
#[derive(Debug, Clone, PartialEq)]
pub struct SliceView {
    /// Namespace and name.
    pub key: ObjectKey,
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.resourceVersion`, for preconditions.
    pub version: String,
    /// Label `kubernetes.io/service-name`.
    pub service: String,
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// `metadata.annotations`.
    pub annotations: BTreeMap<String, String>,
    /// `metadata.finalizers`.
    pub finalizers: Vec<String>,
    /// `metadata.ownerReferences`.
    pub owners: Vec<OwnerReference>,
    /// `metadata.deletionTimestamp` is set.
    pub terminating: bool,
    /// `addressType`, if it is one of ours.
    pub family: Option<Family>,
    /// `ports`.
    pub ports: PortSet,
    /// `endpoints` in their order.
    pub endpoints: Vec<Endpoint>,
}

impl ServiceView {
    /// Keeps what a plan reads. A Service without selector, or of type ExternalName, keeps an empty selector.
    pub fn narrow(service: Service) -> Self {
        let (meta, spec) = (service.metadata, service.spec.unwrap_or_default());
        let external = spec.type_.as_deref() == Some("ExternalName");
        let cluster_ip = spec.cluster_ip.as_deref().unwrap_or_default();
        let headless = matches!(cluster_ip, "" | "None");
        let mut families: Vec<_> =
            spec.ip_families.iter().flatten().filter_map(|it| Family::parse(it)).collect();
        if families.is_empty() {
            families = match cluster_ip.parse::<IpAddr>() {
                Ok(address) => vec![Family::of(address)],
                Err(_) => vec![Family::V4, Family::V6],
            };
        }
        let ports = spec.ports.unwrap_or_default().into_iter().map(|it| ServicePort {
            name: it.name.unwrap_or_default(),
            protocol: it.protocol.unwrap_or_else(|| "TCP".to_owned()),
            target: match it.target_port {
                Some(IntOrString::String(name)) => TargetPort::Name(name),
                Some(IntOrString::Int(number)) if number != 0 => TargetPort::Number(number),
                _ => TargetPort::Number(it.port),
            },
            app_protocol: it.app_protocol,
        });
        Self {
            key: ObjectKey::new(meta.namespace.unwrap_or_default(), meta.name.unwrap_or_default()),
            uid: meta.uid.unwrap_or_default(),
            resource_version: parse_version(meta.resource_version.as_deref()),
            labels: meta.labels.unwrap_or_default(),
            selector: spec.selector.filter(|_| !external).unwrap_or_default(),
            headless,
            families,
            ports: ports.collect(),
            publish_not_ready: spec.publish_not_ready_addresses == Some(true),
            terminating: meta.deletion_timestamp.is_some(),
            created: meta.creation_timestamp.map(|it| it.0),
        }
    }

    /// Whether this controller writes slices for the Service.
    pub fn managed(&self) -> bool {
        !self.selector.is_empty()
    }

    /// Whether the selector, which is not empty, matches these labels.
    pub fn selects(&self, labels: &BTreeMap<String, String>) -> bool {
        self.managed() && self.selector.iter().all(|(key, value)| labels.get(key) == Some(value))
    }
}

impl PodView {
    /// Keeps what a plan reads.
    pub fn narrow(pod: Pod) -> Self {
        let (meta, spec, status) =
            (pod.metadata, pod.spec.unwrap_or_default(), pod.status.unwrap_or_default());
        let sidecars = spec.init_containers.unwrap_or_default();
        let sidecars = sidecars.into_iter().filter(|it| it.restart_policy.as_deref() == Some("Always"));
        let ports = spec.containers.into_iter().chain(sidecars).flat_map(|it| it.ports.unwrap_or_default());
        let ready =
            status.conditions.as_ref().and_then(|list| list.iter().find(|it| it.type_ == "Ready")).cloned();
        Self {
            key: ObjectKey::new(meta.namespace.unwrap_or_default(), meta.name.unwrap_or_default()),
            uid: meta.uid.unwrap_or_default(),
            resource_version: parse_version(meta.resource_version.as_deref()),
            labels: meta.labels.unwrap_or_default(),
            ips: status.pod_ips.iter().flatten().filter_map(|it| it.ip.parse().ok()).collect(),
            terminal: matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")),
            ready: ready.as_ref().is_some_and(|it| it.status == "True"),
            terminating: meta.deletion_timestamp.is_some(),
            node_name: spec.node_name.unwrap_or_default(),
            hostname: spec.hostname.unwrap_or_default(),
            subdomain: spec.subdomain.unwrap_or_default(),
            ports: ports
                .filter_map(|it| {
                    let protocol = it.protocol.unwrap_or_else(|| "TCP".to_owned());
                    Some(NamedPort { name: it.name?, protocol, port: it.container_port })
                })
                .collect(),
            ready_since: ready.and_then(|it| it.last_transition_time).map(|it| it.0),
        }
    }

    /// Whether the two views of one pod give the same endpoints; all but the resourceVersion counts.
    pub fn same_endpoints(&self, other: &Self) -> bool {
        let other = Self { resource_version: self.resource_version, ..other.clone() };
        *self == other
    }
}

impl NodeView {
    /// Keeps what a plan reads.
    pub fn narrow(node: Node) -> Self {
        let meta = node.metadata;
        Self {
            name: meta.name.unwrap_or_default(),
            uid: meta.uid.unwrap_or_default(),
            resource_version: parse_version(meta.resource_version.as_deref()),
            zone: meta.labels.unwrap_or_default().remove(TOPOLOGY_ZONE).filter(|it| !it.is_empty()),
        }
    }
}

impl SliceView {
    /// Keeps what a plan reads; `None` for a slice that another controller manages.
    pub fn narrow(slice: EndpointSlice) -> Option<Self> {
        let meta = slice.metadata;
        let labels = meta.labels.unwrap_or_default();
        if labels.get(MANAGED_BY).map(String::as_str) != Some(CONTROLLER) {
            return None;
        }
        let mut ports: PortSet = slice
            .ports
            .unwrap_or_default()
            .into_iter()
            .map(|it| Port {
                name: it.name.unwrap_or_default(),
                protocol: it.protocol.unwrap_or_else(|| "TCP".to_owned()),
                port: it.port.unwrap_or_default(),
                app_protocol: it.app_protocol,
            })
            .collect();
        ports.sort();
        Some(Self {
            key: ObjectKey::new(meta.namespace.unwrap_or_default(), meta.name.unwrap_or_default()),
            uid: meta.uid.unwrap_or_default(),
            version: meta.resource_version.unwrap_or_default(),
            service: labels.get(SERVICE_NAME).cloned().unwrap_or_default(),
            labels,
            annotations: meta.annotations.unwrap_or_default(),
            finalizers: meta.finalizers.unwrap_or_default(),
            owners: meta.owner_references.unwrap_or_default(),
            terminating: meta.deletion_timestamp.is_some(),
            family: Family::parse(&slice.address_type),
            ports,
            endpoints: slice.endpoints.unwrap_or_default().into_iter().map(endpoint).collect(),
        })
    }
}

fn endpoint(it: ApiEndpoint) -> Endpoint {
    let conditions = it.conditions.unwrap_or_default();
    let mut addresses = it.addresses;
    addresses.sort();
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
        foreign: it.hints.is_some() || it.deprecated_topology.is_some(),
    }
}

impl Cached for ServiceView {
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

impl Cached for NodeView {
    fn key(&self) -> ObjectKey {
        ObjectKey::new("", self.name.clone())
    }
    fn uid(&self) -> &str {
        &self.uid
    }
    fn resource_version(&self) -> u64 {
        self.resource_version
    }
}

impl Cached for SliceView {
    fn key(&self) -> ObjectKey {
        self.key.clone()
    }
    fn uid(&self) -> &str {
        &self.uid
    }
    fn resource_version(&self) -> u64 {
        parse_version(Some(&self.version))
    }
}
