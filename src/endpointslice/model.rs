//! The objects of the endpoint controllers, reduced to what a plan reads. [`narrow`](super::narrow) makes them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

use crate::k8s::watch::parse_version;
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

/// Labels or annotations, ascending by key: a fraction of the memory of a map.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Labels(Box<[(Arc<str>, Arc<str>)]>);

impl Labels {
    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        let at = self.0.binary_search_by(|(known, _)| (**known).cmp(key)).ok()?;
        Some(&self.0[at].1)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The same with one more pair.
    #[must_use]
    pub fn with(&self, key: &str, value: &str) -> Self {
        let pairs = self.iter().chain([(key, value)]);
        pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }

    /// Every key and value, to be replaced by equal ones.
    pub fn texts_mut(&mut self) -> impl Iterator<Item = (&mut Arc<str>, &mut Arc<str>)> {
        self.0.iter_mut().map(|(key, value)| (key, value))
    }

    /// Every pair, ascending by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (&**key, &**value))
    }
}

impl FromIterator<(String, String)> for Labels {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(pairs: I) -> Self {
        let sorted: BTreeMap<String, String> = pairs.into_iter().collect();
        Self(sorted.into_iter().map(|(key, value)| (key.into(), value.into())).collect())
    }
}

impl PartialEq<BTreeMap<String, String>> for Labels {
    fn eq(&self, other: &BTreeMap<String, String>) -> bool {
        self.iter().eq(other.iter().map(|(key, value)| (key.as_str(), value.as_str())))
    }
}

/// What decides the hints of a Service's endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Topology {
    /// Nothing: no hints.
    #[default]
    Anywhere,
    /// `trafficDistribution: PreferClose` or `PreferSameZone`: the endpoint's own zone.
    SameZone,
    /// `trafficDistribution: PreferSameNode`: its zone and its node.
    SameNode,
    /// Annotation `service.kubernetes.io/topology-mode: Auto`: zones in proportion to their CPUs (KEP-2433).
    Auto,
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
#[expect(clippy::struct_excessive_bools, reason = "each is a field of the API, or whether it is set")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceView {
    /// Namespace and name.
    pub key: ObjectKey,
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// `spec.selector`; empty when this controller does not manage the Service.
    pub selector: Labels,
    /// The Service has a selector, whatever its type: its Endpoints are not mirrored.
    pub has_selector: bool,
    /// `clusterIP` is None or empty.
    pub headless: bool,
    /// `spec.ipFamilies`, or what stands for it.
    pub families: Vec<Family>,
    /// `spec.ports`.
    pub ports: Vec<ServicePort>,
    /// `spec.publishNotReadyAddresses`.
    pub publish_not_ready: bool,
    /// What decides the hints.
    pub topology: Topology,
    /// `spec.trafficDistribution` where it decides them, else empty.
    pub traffic_distribution: String,
    /// `metadata.deletionTimestamp` is set.
    pub terminating: bool,
    /// `metadata.creationTimestamp`.
    pub created: Option<Timestamp>,
}

/// A container port that has a name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
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
    /// `metadata.labels`.
    pub labels: Labels,
    /// `status.podIPs`, parsed.
    pub ips: Box<[IpAddr]>,
    /// Phase Succeeded or Failed.
    pub terminal: bool,
    /// Condition Ready is True.
    pub ready: bool,
    /// `metadata.deletionTimestamp` is set.
    pub terminating: bool,
    /// `spec.nodeName`, maybe empty.
    pub node_name: Arc<str>,
    /// `spec.hostname`, maybe empty.
    pub hostname: String,
    /// `spec.subdomain`, maybe empty.
    pub subdomain: Arc<str>,
    /// Named ports: those of the containers, then those of the sidecars.
    pub ports: Arc<[NamedPort]>,
    /// When the Ready condition changed last.
    pub ready_since: Option<Timestamp>,
}

/// A narrowed Node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeView {
    /// Name; Nodes have no namespace.
    pub name: String,
    /// Its topology zone.
    pub zone: Option<String>,
    /// Condition Ready is True.
    pub ready: bool,
    /// Allocatable CPU in thousandths, 0 if unknown.
    pub milli_cpu: i64,
    /// A control plane node: its CPUs do not count for topology hints.
    pub control_plane: bool,
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
    /// `hints`.
    pub hints: Option<Box<Hints>>,
    /// Carries something this controller never writes (deprecated topology, a target that is no pod).
    pub foreign: bool,
}

/// Where traffic to an endpoint should come from. Boxed where it stands: most endpoints have none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hints {
    /// `forZones`.
    pub zones: Vec<String>,
    /// `forNodes`.
    pub nodes: Vec<String>,
}

/// What makes two records the same endpoint: addresses, hostname, and namespace and name of the pod; not its uid.
pub type Identity<'a> = (&'a [String], Option<&'a str>, Option<(&'a str, &'a str)>);

impl Endpoint {
    /// See [`Identity`].
    pub fn identity(&self) -> Identity<'_> {
        let target = self.target.as_ref().map(|it| (it.namespace.as_str(), it.name.as_str()));
        (&self.addresses, self.hostname.as_deref(), target)
    }

    /// Whether nothing but the hints differs.
    pub fn same_but_hints(&self, other: &Self) -> bool {
        self.addresses == other.addresses
            && self.conditions == other.conditions
            && self.hostname == other.hostname
            && self.target == other.target
            && self.node_name == other.node_name
            && self.zone == other.zone
            && self.foreign == other.foreign
    }

    /// Condition `ready` is set and true.
    pub fn is_ready(&self) -> bool {
        self.conditions.ready == Some(true)
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
    pub labels: Labels,
    /// `metadata.annotations`.
    pub annotations: Labels,
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
    /// `endpoints` in their order. Shared with the plans that keep them.
    pub endpoints: Vec<Arc<Endpoint>>,
}

impl ServiceView {
    /// Whether the controllers write slices for the Service.
    pub fn managed(&self) -> bool {
        !self.selector.is_empty()
    }

    /// Whether the selector, which is not empty, matches these labels.
    pub fn selects(&self, labels: &Labels) -> bool {
        self.managed() && self.selector.iter().all(|(key, value)| labels.get(key) == Some(value))
    }
}

impl SliceView {
    /// `metadata.resourceVersion` as a number, 0 if it is none.
    pub fn resource_version(&self) -> u64 {
        parse_version(Some(&self.version))
    }
}
