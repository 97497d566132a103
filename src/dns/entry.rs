//! Everything the zone holds of one Service: compact, immutable, quick to search.
//!
//! `dns::records` ──builds──▶ [`ServiceEntry`] ──held by `dns::index`──▶ read by `dns::lookup`
//!
//! Endpoint names are sorted by label and their addresses follow in the same order, so that the usual name of one address
//! needs nothing beyond its label and the address: what differs between names (ports, origin, several addresses) is
//! stored only if it differs. Two entries are equal exactly if they give equal answers and equal orders.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::model::Protocol;
use super::name::{BoxedName, Label, key_namespace};
pub use super::names::{Common, EndpointRef, Endpoints, Origin};
pub(super) use super::names::{Distinct, Names};
use super::ports::{PortList, PortRef};

/// Everything the zone holds of one Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceEntry {
    pub(super) key: Box<[u8]>,
    pub(super) published: Published,
    /// Names that SRV and PTR records may point to.
    pub(super) names: Names,
    pub(super) uncommon: Option<Box<Uncommon>>,
    /// Distinct port lists, in the order of the names that have them.
    pub(super) port_lists: Box<[PortList]>,
    /// Hostnames without a ready endpoint, sorted.
    pub(super) pending: Box<[Label]>,
}

/// What few services have.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Uncommon {
    /// Names that only resolve; none is among the others.
    pub extra_names: Names,
    /// Present only when two names share an address.
    pub distinct: Option<Distinct>,
    /// With the option `zonal`, the topology zones of ready endpoints, ascending by name.
    pub zones: Box<[TopologyZone]>,
}

/// The ready endpoints of a service in one topology zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopologyZone {
    /// The name as length-prefixed lower-case labels: a topology zone may contain dots.
    pub(super) name: Box<[u8]>,
    pub(super) names: Names,
    pub(super) distinct: Option<Distinct>,
}

impl TopologyZone {
    /// Distinct IPv4 addresses of the endpoints.
    pub fn v4(&self) -> &[Ipv4Addr] {
        self.distinct.as_ref().map_or(self.names.v4(), |it| &it.v4)
    }

    /// Distinct IPv6 addresses of the endpoints.
    pub fn v6(&self) -> &[Ipv6Addr] {
        self.distinct.as_ref().map_or(self.names.v6(), |it| &it.v6)
    }
}

fn run(endpoints: Endpoints<'_>) -> impl Iterator<Item = EndpointRef<'_>> {
    (0..endpoints.len()).map(move |at| endpoints.at(at))
}

/// What stands at the name of the service itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Published {
    /// The clusterIPs and the Service's ports.
    ClusterIp {
        /// IPv4 clusterIPs, at most one.
        v4: Box<[Ipv4Addr]>,
        /// IPv6 clusterIPs, at most one.
        v6: Box<[Ipv6Addr]>,
        /// Ports of the Service.
        ports: PortList,
    },
    /// The addresses of the ready endpoints.
    Headless,
    /// A CNAME.
    ExternalName(BoxedName),
}

impl ServiceEntry {
    /// `<service>.<namespace>` as two length-prefixed lower-case labels.
    #[inline]
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// The namespace label, without its length octet.
    pub fn namespace(&self) -> &[u8] {
        key_namespace(&self.key)
    }

    /// The service label, without its length octet.
    pub fn name(&self) -> &[u8] {
        &self.key[1..=usize::from(self.key[0])]
    }

    /// What stands at the name of the service.
    #[inline]
    pub fn published(&self) -> &Published {
        &self.published
    }

    /// The endpoint name `label`, extra names included.
    #[inline]
    pub fn endpoint(&self, label: &[u8]) -> Option<EndpointRef<'_>> {
        if let Some(at) = self.names.find(label) {
            return Some(self.endpoint_run().at(at));
        }
        self.extra_endpoint(label)
    }

    fn extra_endpoint(&self, label: &[u8]) -> Option<EndpointRef<'_>> {
        let extra = &self.uncommon.as_deref()?.extra_names;
        Some(Endpoints::all(extra, &self.port_lists).at(extra.find(label)?))
    }

    /// The topology zone with this name, given as length-prefixed lower-case labels: with the option `zonal`.
    pub fn topology_zone(&self, name: &[u8]) -> Option<&TopologyZone> {
        let zones = &self.uncommon.as_deref()?.zones;
        let at = zones.binary_search_by(|it| (*it.name).cmp(name)).ok()?;
        Some(&zones[at])
    }

    /// Names of the topology zones with ready endpoints, as length-prefixed labels, ascending: with the option `zonal`.
    pub fn topology_zones(&self) -> impl Iterator<Item = &[u8]> {
        self.uncommon.iter().flat_map(|it| it.zones.iter().map(|zone| &*zone.name))
    }

    /// The endpoint names of a topology zone of this service, sorted by label, with their addresses there.
    pub fn endpoints_in<'a>(&'a self, zone: &'a TopologyZone) -> Endpoints<'a> {
        Endpoints::all(&zone.names, &self.port_lists)
    }

    /// Endpoint names that SRV and PTR records may point to, sorted by label.
    #[inline]
    pub fn endpoint_run(&self) -> Endpoints<'_> {
        Endpoints::all(&self.names, &self.port_lists)
    }

    /// The same one by one.
    pub fn endpoints(&self) -> impl Iterator<Item = EndpointRef<'_>> {
        run(self.endpoint_run())
    }

    /// How many names [`ServiceEntry::endpoints`] has.
    #[inline]
    pub fn endpoint_count(&self) -> usize {
        self.names.len()
    }

    /// Every endpoint name, extra names included.
    pub fn endpoint_names(&self) -> impl Iterator<Item = EndpointRef<'_>> {
        let extra = self.uncommon.as_deref().map(|it| &it.extra_names).into_iter();
        let extra = extra.flat_map(|names| run(Endpoints::all(names, &self.port_lists)));
        self.endpoints().chain(extra)
    }

    /// Those of [`ServiceEntry::endpoints`] that have `address`, sorted by label.
    pub fn endpoints_with(&self, address: IpAddr) -> impl Iterator<Item = EndpointRef<'_>> {
        self.names.with_address(address).map(|at| self.endpoint_run().at(at))
    }

    /// Whether `address` is a clusterIP or the address of a ready endpoint.
    pub fn has_address(&self, address: IpAddr) -> bool {
        self.has_cluster_ip(address) || self.endpoints_with(address).next().is_some()
    }

    /// Distinct IPv4 addresses of the ready endpoints.
    #[inline]
    pub fn endpoint_v4(&self) -> &[Ipv4Addr] {
        self.distinct().map_or(self.names.v4(), |it| &it.v4)
    }

    /// Distinct IPv6 addresses of the ready endpoints.
    #[inline]
    pub fn endpoint_v6(&self) -> &[Ipv6Addr] {
        self.distinct().map_or(self.names.v6(), |it| &it.v6)
    }

    #[inline]
    fn distinct(&self) -> Option<&Distinct> {
        self.uncommon.as_deref()?.distinct.as_ref()
    }

    /// Whether any endpoint is ready.
    #[inline]
    pub fn has_endpoints(&self) -> bool {
        self.names.len() > 0
    }

    /// Hostnames of endpoints that are all not ready, sorted.
    pub fn pending(&self) -> &[Label] {
        &self.pending
    }

    /// Whether `label` is a hostname of endpoints that are all not ready.
    pub fn is_pending(&self, label: &[u8]) -> bool {
        self.pending.binary_search_by(|it| it.as_bytes().cmp(label)).is_ok()
    }

    /// Ports with their own owner names: those of the Service, or of the slices of a headless service.
    pub fn named_ports(&self) -> impl Iterator<Item = PortRef<'_>> {
        let lists = match &self.published {
            Published::ClusterIp { ports, .. } => std::slice::from_ref(ports),
            Published::Headless => &self.port_lists,
            Published::ExternalName(_) => &[],
        };
        lists.iter().flat_map(PortList::iter).filter(|it| !it.name.is_empty())
    }

    /// Whether `_port._protocol` exists below the service.
    pub fn has_port(&self, name: &[u8], protocol: Protocol) -> bool {
        self.named_ports().any(|it| it.protocol == protocol && it.name == name)
    }

    /// Every address that has a PTR record into this service.
    pub(super) fn addresses(&self) -> AllAddresses<'_> {
        let (cluster_v4, cluster_v6) = match &self.published {
            Published::ClusterIp { v4, v6, .. } => (&v4[..], &v6[..]),
            _ => (&[][..], &[][..]),
        };
        AllAddresses { v4: self.names.v4(), v6: self.names.v6(), cluster_v4, cluster_v6 }
    }

    /// Whether `address` is a clusterIP of this service.
    pub fn has_cluster_ip(&self, address: IpAddr) -> bool {
        match (&self.published, address) {
            (Published::ClusterIp { v4, .. }, IpAddr::V4(it)) => v4.contains(&it),
            (Published::ClusterIp { v6, .. }, IpAddr::V6(it)) => v6.contains(&it),
            _ => false,
        }
    }
}

/// The addresses of a service: of its ready endpoints in the order of their names, and its clusterIPs.
#[derive(Default)]
pub(super) struct AllAddresses<'a> {
    pub v4: &'a [Ipv4Addr],
    pub v6: &'a [Ipv6Addr],
    pub cluster_v4: &'a [Ipv4Addr],
    pub cluster_v6: &'a [Ipv6Addr],
}
