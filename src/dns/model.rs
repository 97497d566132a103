//! What DNS keeps of API objects: the inputs of `dns::records`.
//!
//! API object ──`dns::narrow`──▶ these values ──▶ `dns::cache` ──▶ `dns::records`
//!
//! Plain data without rules: who has a record is decided in `dns::records`.

use std::net::IpAddr;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use jiff::Timestamp;

use super::skipped::Problem;
use crate::model::ObjectKey;

/// A Service, reduced to what answers depend on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Namespace and name.
    pub key: ObjectKey,
    /// How the service is reached.
    pub kind: ServiceKind,
    /// `spec.ports`, in the order of the object.
    pub ports: Vec<Port>,
    /// Whether a selector feeds its slices; only a metric label depends on it.
    pub selector: Selector,
    /// When it came to be as it is, for `dns::explain`.
    pub seen: SeenAt,
}

/// How a Service is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServiceKind {
    /// ClusterIP, NodePort and LoadBalancer services: the `clusterIPs`.
    ClusterIp(Vec<IpAddr>),
    /// `clusterIP: None`.
    Headless,
    /// `externalName`, as written.
    ExternalName(String),
}

/// Whether a Service selects pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Selector {
    /// `spec.selector` is present and not empty.
    Present,
    /// Slices are written by somebody other than the endpoint slice controller.
    Absent,
}

/// A transport protocol that can stand in an SRV owner name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// `_tcp`
    Tcp,
    /// `_udp`
    Udp,
    /// `_sctp`
    Sctp,
}

impl Protocol {
    /// The protocol of an owner label such as `_tcp`, given in lower case.
    pub fn from_label(label: &[u8]) -> Option<Self> {
        match label {
            b"_tcp" => Some(Self::Tcp),
            b"_udp" => Some(Self::Udp),
            b"_sctp" => Some(Self::Sctp),
            _ => None,
        }
    }

    /// The owner label, such as `_tcp`.
    pub fn label(self) -> &'static [u8] {
        match self {
            Self::Tcp => b"_tcp",
            Self::Udp => b"_udp",
            Self::Sctp => b"_sctp",
        }
    }
}

/// A port of a Service or slice that has a number.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port {
    /// Port number, 1 to 65535.
    pub number: u16,
    /// Transport protocol.
    pub protocol: Protocol,
    /// Lower-case name; empty for an unnamed port.
    pub name: Box<str>,
}

/// An EndpointSlice, reduced to what answers depend on. One of names instead of addresses has no endpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slice {
    /// Namespace and name.
    pub key: ObjectKey,
    /// Label `kubernetes.io/service-name`: the service in the same namespace that it belongs to.
    pub service: String,
    /// Every endpoint, ready or not, in the order of the object.
    pub endpoints: Vec<Endpoint>,
    /// The ports that have a number.
    pub ports: Vec<Port>,
    /// Annotation `endpoints.kubernetes.io/last-change-trigger-time`.
    pub trigger_time: Option<Timestamp>,
    /// `zone` of each endpoint, in their order; empty without the option `zonal` and when no endpoint has one. Apart from
    /// the endpoints, so that it costs nothing when it is not wanted.
    pub topology_zones: Box<[Option<Arc<str>>]>,
    /// The first few parts that were left out, for `dns::explain`.
    pub left_out: Box<[Problem]>,
    /// When it came to be as it is, for `dns::explain`.
    pub seen: SeenAt,
}

impl Slice {
    /// The endpoints, each with its topology zone.
    pub fn endpoints_by_zone(&self) -> impl Iterator<Item = (&Endpoint, Option<&Arc<str>>)> {
        let zones = self.topology_zones.iter().map(Option::as_ref);
        self.endpoints.iter().zip(zones.chain(std::iter::repeat(None)))
    }
}

/// One endpoint of a slice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Addresses of the slice's family.
    pub addresses: Addresses,
    /// Whether the endpoint is published.
    pub readiness: Readiness,
    /// `conditions.serving`; only explanations tell it.
    pub serving: Option<bool>,
    /// `conditions.terminating`; only explanations tell it.
    pub terminating: Option<bool>,
    /// `hostname`.
    pub hostname: Option<Arc<str>>,
    /// Name of the target when it is a Pod. Shares the text with an equal hostname.
    pub pod: Option<Arc<str>>,
}

/// The addresses of an endpoint: nearly always one, which then takes no allocation.
#[derive(Debug, Clone)]
pub enum Addresses {
    /// Exactly one.
    One([IpAddr; 1]),
    /// None or several.
    Many(Box<[IpAddr]>),
}

impl Deref for Addresses {
    type Target = [IpAddr];

    fn deref(&self) -> &[IpAddr] {
        match self {
            Self::One(it) => it,
            Self::Many(it) => it,
        }
    }
}

impl DerefMut for Addresses {
    fn deref_mut(&mut self) -> &mut [IpAddr] {
        match self {
            Self::One(it) => it,
            Self::Many(it) => it,
        }
    }
}

impl PartialEq for Addresses {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Addresses {}

impl FromIterator<IpAddr> for Addresses {
    fn from_iter<I: IntoIterator<Item = IpAddr>>(addresses: I) -> Self {
        let mut addresses = addresses.into_iter();
        match (addresses.next(), addresses.next()) {
            (None, _) => Self::Many(Box::default()),
            (Some(one), None) => Self::One([one]),
            (Some(one), Some(two)) => Self::Many([one, two].into_iter().chain(addresses).collect()),
        }
    }
}

impl From<Vec<IpAddr>> for Addresses {
    fn from(addresses: Vec<IpAddr>) -> Self {
        addresses.into_iter().collect()
    }
}

impl<'a> IntoIterator for &'a Addresses {
    type Item = &'a IpAddr;
    type IntoIter = std::slice::Iter<'a, IpAddr>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// When this server first saw an object as it is, Unix time in seconds; 0 when nobody looked at a clock.
///
/// Compares equal to every other: an object that was seen again is the same object.
#[derive(Debug, Clone, Copy, Default)]
pub struct SeenAt(pub u32);

impl PartialEq for SeenAt {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for SeenAt {}

/// Whether an endpoint is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// `conditions.ready` is true or absent.
    Ready,
    /// `conditions.ready` is false.
    NotReady,
}

/// A Pod whose addresses have names in pod mode `verified`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    /// Namespace and name.
    pub key: ObjectKey,
    /// Every distinct address of `status.podIPs`, sorted.
    pub addresses: Box<[IpAddr]>,
}

/// A StatefulSet, reduced to the names of its pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    /// Namespace and name.
    pub key: ObjectKey,
    /// `spec.serviceName`: the service in the same namespace that governs it.
    pub service: String,
    /// `spec.ordinals.start`.
    pub start: u32,
    /// `spec.replicas`.
    pub replicas: u32,
}
