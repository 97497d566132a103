//! One Service and its slices into what the zone holds of them. Every readiness and naming rule lives here.
//!
//! (`Service`, `Slice`s) ──[`service_entry`]──▶ [`ServiceEntry`] ──▶ `dns::index`
//!
//! An entry is immutable and compact: labels in one buffer, addresses in two arrays, port lists shared between the
//! endpoint names that have the same ones. Endpoint names are sorted by label, the addresses of one name by value, and
//! an order by address leads from an address to its names; equal (name, address) pairs of several slices are one. Only ready endpoints are in it; not-ready hostnames are kept as
//! `pending` labels, because their absence is answered with a shorter TTL.
//! Sources: Kubernetes DNS specification 1.1.0 §2.3-2.4; CoreDNS `plugin/kubernetes` (endpoint names, SRV weight).

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;
use std::sync::Arc;

use super::config::EndpointNames;
use super::model::{Endpoint, Port, Protocol, Readiness, Service, ServiceKind, Slice};
use super::name::{BoxedName, Label, OwnerName, dashed_address, service_key};

/// The options that decide what a service publishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordRules {
    /// Where endpoint names come from.
    pub endpoint_names: EndpointNames,
    /// What a ClusterIP service without ready endpoints is.
    pub empty_services: EmptyServices,
}

/// What a ClusterIP service without ready endpoints is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EmptyServices {
    /// Published like any other.
    Published,
    /// Missing.
    Hidden,
}

/// Everything the zone holds of one Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceEntry {
    key: Arc<[u8]>,
    published: Published,
    /// Names that SRV and PTR records may point to, sorted by label.
    names: Box<[EndpointName]>,
    /// Names that only resolve, sorted by label; none is in `names`.
    extra_names: Box<[EndpointName]>,
    labels: Box<[u8]>,
    /// Addresses in the order of `names`, then of `extra_names`.
    v4: Box<[Ipv4Addr]>,
    v6: Box<[Ipv6Addr]>,
    /// Positions of the addresses of `names` in `v4`, sorted by (address, position).
    order_v4: Box<[u32]>,
    order_v6: Box<[u32]>,
    /// Present only when two primary names share an address: the distinct addresses, sorted.
    distinct: Option<Box<Distinct>>,
    /// Distinct port lists, each sorted by number.
    port_lists: Box<[Box<[Port]>]>,
    /// Hostnames without a ready endpoint, sorted.
    pending: Box<[Label]>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Distinct {
    v4: Box<[Ipv4Addr]>,
    v6: Box<[Ipv6Addr]>,
}

/// What stands at the name of the service itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Published {
    /// The clusterIPs and the Service's ports, sorted by number.
    ClusterIp {
        /// IPv4 clusterIPs, at most one.
        v4: Box<[Ipv4Addr]>,
        /// IPv6 clusterIPs, at most one.
        v6: Box<[Ipv6Addr]>,
        /// Ports of the Service.
        ports: Box<[Port]>,
    },
    /// The addresses of the ready endpoints.
    Headless,
    /// A CNAME.
    ExternalName(BoxedName),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct EndpointName {
    label: Span,
    v4: Span,
    v6: Span,
    ports: u16,
    origin: Origin,
}

/// Where a name came from, the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// `hostname` of an endpoint.
    Hostname,
    /// The name of the target pod.
    Pod,
    /// The dashed address.
    Address,
}

/// Primary names are SRV and PTR targets; extra names only resolve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Role {
    Primary,
    Extra,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Span {
    start: u32,
    len: u32,
}

impl Span {
    fn range(self) -> Range<usize> {
        self.start as usize..(self.start + self.len) as usize
    }
}

/// One published endpoint name of a service.
#[derive(Debug, Clone, Copy)]
pub struct EndpointRef<'a> {
    entry: &'a ServiceEntry,
    name: &'a EndpointName,
}

impl<'a> EndpointRef<'a> {
    /// The label, without its length octet.
    pub fn label(self) -> &'a [u8] {
        &self.entry.labels[self.name.label.range()]
    }

    /// IPv4 addresses, sorted.
    pub fn v4(self) -> &'a [Ipv4Addr] {
        &self.entry.v4[self.name.v4.range()]
    }

    /// IPv6 addresses, sorted.
    pub fn v6(self) -> &'a [Ipv6Addr] {
        &self.entry.v6[self.name.v6.range()]
    }

    /// How many addresses the name has.
    pub fn address_count(self) -> usize {
        self.v4().len() + self.v6().len()
    }

    /// Ports of every slice that the name is ready in, sorted by number.
    pub fn ports(self) -> &'a [Port] {
        &self.entry.port_lists[usize::from(self.name.ports)]
    }

    /// Where the name came from.
    pub fn origin(self) -> Origin {
        self.name.origin
    }
}

impl ServiceEntry {
    /// `<service>.<namespace>` as two length-prefixed lower-case labels.
    pub fn key(&self) -> &Arc<[u8]> {
        &self.key
    }

    /// The namespace label, without its length octet.
    pub fn namespace(&self) -> &[u8] {
        &self.key[2 + usize::from(self.key[0])..]
    }

    /// The service label, without its length octet.
    pub fn name(&self) -> &[u8] {
        &self.key[1..=usize::from(self.key[0])]
    }

    /// What stands at the name of the service.
    pub fn published(&self) -> &Published {
        &self.published
    }

    /// The endpoint name `label`, extra names included.
    pub fn endpoint(&self, label: &[u8]) -> Option<EndpointRef<'_>> {
        [&self.names, &self.extra_names].into_iter().find_map(|names| {
            let at = names.binary_search_by(|it| self.labels[it.label.range()].cmp(label)).ok()?;
            Some(EndpointRef { entry: self, name: &names[at] })
        })
    }

    /// Endpoint names that SRV and PTR records may point to, sorted by label.
    pub fn endpoints(&self) -> impl Iterator<Item = EndpointRef<'_>> {
        self.names.iter().map(|name| EndpointRef { entry: self, name })
    }

    /// How many names [`ServiceEntry::endpoints`] has.
    pub fn endpoint_count(&self) -> usize {
        self.names.len()
    }

    /// One of [`ServiceEntry::endpoints`] by its place.
    pub fn endpoint_at(&self, at: usize) -> Option<EndpointRef<'_>> {
        self.names.get(at).map(|name| EndpointRef { entry: self, name })
    }

    /// Every endpoint name, extra names included.
    pub fn endpoint_names(&self) -> impl Iterator<Item = EndpointRef<'_>> {
        self.names.iter().chain(&self.extra_names).map(|name| EndpointRef { entry: self, name })
    }

    /// Those of [`ServiceEntry::endpoints`] that have `address`, found by binary search.
    pub fn endpoints_with(&self, address: IpAddr) -> impl Iterator<Item = EndpointRef<'_>> {
        let (positions, span): (_, fn(&EndpointName) -> Span) = match address {
            IpAddr::V4(it) => (positions(&self.order_v4, &self.v4, it), |name| name.v4),
            IpAddr::V6(it) => (positions(&self.order_v6, &self.v6, it), |name| name.v6),
        };
        positions.iter().map(move |at| {
            // Spans follow each other; the last one that starts here or before is not empty.
            let after = self.names.partition_point(|name| span(name).start <= *at);
            EndpointRef { entry: self, name: &self.names[after - 1] }
        })
    }

    /// Distinct IPv4 addresses of the ready endpoints.
    pub fn endpoint_v4(&self) -> &[Ipv4Addr] {
        self.distinct.as_ref().map_or(&self.v4[..self.order_v4.len()], |it| &it.v4)
    }

    /// Distinct IPv6 addresses of the ready endpoints.
    pub fn endpoint_v6(&self) -> &[Ipv6Addr] {
        self.distinct.as_ref().map_or(&self.v6[..self.order_v6.len()], |it| &it.v6)
    }

    /// Whether any endpoint is ready.
    pub fn has_endpoints(&self) -> bool {
        !self.names.is_empty()
    }

    /// Whether `label` is a hostname of endpoints that are all not ready.
    pub fn is_pending(&self, label: &[u8]) -> bool {
        self.pending.binary_search_by(|it| it.as_bytes().cmp(label)).is_ok()
    }

    /// Ports with their own owner names: those of the Service, or of the slices of a headless service.
    pub fn named_ports(&self) -> impl Iterator<Item = &Port> {
        let (own, lists) = match &self.published {
            Published::ClusterIp { ports, .. } => (&ports[..], &[][..]),
            Published::Headless => (&[][..], &self.port_lists[..]),
            Published::ExternalName(_) => (&[][..], &[][..]),
        };
        own.iter().chain(lists.iter().flat_map(|it| it.iter())).filter(|it| !it.name.is_empty())
    }

    /// Whether `_port._protocol` exists below the service.
    pub fn has_port(&self, name: &[u8], protocol: Protocol) -> bool {
        self.named_ports().any(|it| it.protocol == protocol && it.name.as_bytes() == name)
    }

    /// Every address that has a PTR record into this service: clusterIPs and ready endpoints. Sorted, distinct.
    pub fn reverse_addresses(&self) -> Vec<IpAddr> {
        let mut all: Vec<IpAddr> = in_order(&self.order_v4, &self.v4).map(IpAddr::V4).collect();
        all.extend(in_order(&self.order_v6, &self.v6).map(IpAddr::V6));
        if let Published::ClusterIp { v4, v6, .. } = &self.published {
            all.extend(v4.iter().map(|it| IpAddr::V4(*it)));
            all.extend(v6.iter().map(|it| IpAddr::V6(*it)));
        }
        // Merges few runs that are sorted already.
        all.sort();
        all.dedup();
        all
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

/// One ready (name, address) pair before grouping.
struct Row {
    label: Span,
    address: IpAddr,
    ports: u16,
    origin: Origin,
    role: Role,
}

/// What the zone holds of `service`. `slices`: every slice that carries its label, in any order.
///
/// `None` when the service has no name in the zone: its name or namespace is no label, its `externalName` is an address
/// literal or no name, or it is hidden because it is empty.
pub fn service_entry(service: &Service, slices: &[&Slice], rules: RecordRules) -> Option<ServiceEntry> {
    let key: Arc<[u8]> = service_key(&service.key.name, &service.key.namespace)?.into();
    let published = match &service.kind {
        ServiceKind::ExternalName(target) => {
            let published = Published::ExternalName(external_target(target)?);
            return Some(Builder::default().finish(key, published));
        }
        ServiceKind::Headless => Published::Headless,
        ServiceKind::ClusterIp(addresses) => Published::ClusterIp {
            v4: addresses
                .iter()
                .filter_map(|it| if let IpAddr::V4(it) = it { Some(*it) } else { None })
                .collect(),
            v6: addresses
                .iter()
                .filter_map(|it| if let IpAddr::V6(it) = it { Some(*it) } else { None })
                .collect(),
            ports: port_list(service.ports.iter()),
        },
    };
    let mut builder = Builder::default();
    for slice in slices {
        let ports = builder.intern(port_list(slice.ports.iter()));
        for endpoint in &slice.endpoints {
            builder.add(endpoint, ports, rules.endpoint_names);
        }
    }
    let hidden = rules.empty_services == EmptyServices::Hidden && !matches!(published, Published::Headless);
    if hidden && builder.rows.is_empty() {
        return None;
    }
    Some(builder.finish(key, published))
}

/// Lower-case name of an `externalName`; `None` for an address literal or text that is no name.
fn external_target(text: &str) -> Option<BoxedName> {
    let bare = text.strip_suffix('.').unwrap_or(text);
    if bare.is_empty() || bare.parse::<IpAddr>().is_ok() {
        return None;
    }
    let name: OwnerName = bare.parse().ok()?;
    Some(BoxedName::from(&name))
}

fn port_list<'p>(ports: impl Iterator<Item = &'p Port>) -> Box<[Port]> {
    ports.cloned().collect::<BTreeSet<_>>().into_iter().collect()
}

#[derive(Default)]
struct Builder {
    labels: Vec<u8>,
    rows: Vec<Row>,
    port_lists: Vec<Box<[Port]>>,
    pending: BTreeSet<Label>,
}

impl Builder {
    fn intern(&mut self, list: Box<[Port]>) -> u16 {
        let at = self.port_lists.iter().position(|it| *it == list).unwrap_or_else(|| {
            self.port_lists.push(list);
            self.port_lists.len() - 1
        });
        // One list per slice at most: 65536 slices of one service are beyond any API server's limits, and then
        // the last list is shared rather than the process stopped.
        u16::try_from(at).unwrap_or(u16::MAX)
    }

    fn add(&mut self, endpoint: &Endpoint, ports: u16, names: EndpointNames) {
        let label = |text: &Option<Box<str>>| text.as_deref().and_then(|it| it.parse::<Label>().ok());
        let hostname = label(&endpoint.hostname);
        let pod = if names == EndpointNames::Hostname { None } else { label(&endpoint.pod) };
        if endpoint.readiness == Readiness::NotReady {
            self.pending.extend(hostname);
            self.pending.extend(pod);
            return;
        }
        let (primary, extra) = match (hostname, pod, names) {
            (Some(hostname), pod, EndpointNames::Both) => (Some((hostname, Origin::Hostname)), pod),
            (Some(hostname), _, _) => (Some((hostname, Origin::Hostname)), None),
            (None, Some(pod), EndpointNames::PodName) => (Some((pod, Origin::Pod)), None),
            (None, pod, _) => (None, pod),
        };
        let primary = primary.map(|(label, origin)| (self.push_label(label.as_bytes()), origin));
        let extra = extra.map(|it| self.push_label(it.as_bytes()));
        for &address in &endpoint.addresses {
            let (label, origin) = primary
                .unwrap_or_else(|| (self.push_label(dashed_address(address).as_bytes()), Origin::Address));
            self.rows.push(Row { label, address, ports, origin, role: Role::Primary });
            if let Some(label) = extra {
                self.rows.push(Row { label, address, ports, origin: Origin::Pod, role: Role::Extra });
            }
        }
    }

    fn push_label(&mut self, label: &[u8]) -> Span {
        let start = self.labels.len() as u32;
        self.labels.extend_from_slice(label);
        Span { start, len: label.len() as u32 }
    }

    fn finish(mut self, key: Arc<[u8]>, published: Published) -> ServiceEntry {
        let mut rows = std::mem::take(&mut self.rows);
        let text = std::mem::take(&mut self.labels);
        rows.sort_unstable_by(|a, b| {
            (&text[a.label.range()], a.address).cmp(&(&text[b.label.range()], b.address))
        });
        let mut entry = ServiceEntry {
            key,
            published,
            names: Box::default(),
            extra_names: Box::default(),
            labels: Box::default(),
            v4: Box::default(),
            v6: Box::default(),
            order_v4: Box::default(),
            order_v6: Box::default(),
            distinct: None,
            port_lists: Box::default(),
            pending: Box::default(),
        };
        let mut labels = Vec::new();
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        // A name that any endpoint has as its primary one is primary for all of them.
        let groups: Vec<&[Row]> =
            rows.chunk_by(|a, b| text[a.label.range()] == text[b.label.range()]).collect();
        let role_of = |group: &[Row]| group.iter().map(|it| it.role).min().expect("a group has a row");
        for role in [Role::Primary, Role::Extra] {
            let mut names = Vec::new();
            for group in groups.iter().filter(|it| role_of(it) == role) {
                let label = &text[group[0].label.range()];
                let start = labels.len() as u32;
                labels.extend_from_slice(label);
                let label = Span { start, len: label.len() as u32 };
                let start = (v4.len() as u32, v6.len() as u32);
                // Rows of a group are sorted by address, so equal pairs are neighbours.
                for same in group.chunk_by(|a, b| a.address == b.address) {
                    match same[0].address {
                        IpAddr::V4(it) => v4.push(it),
                        IpAddr::V6(it) => v6.push(it),
                    }
                }
                names.push(EndpointName {
                    label,
                    v4: Span { start: start.0, len: v4.len() as u32 - start.0 },
                    v6: Span { start: start.1, len: v6.len() as u32 - start.1 },
                    ports: self.union(group),
                    origin: group.iter().map(|it| it.origin).min().expect("a group has a row"),
                });
            }
            match role {
                Role::Primary => {
                    (entry.order_v4, entry.order_v6) = (by_address(&v4), by_address(&v6));
                    entry.names = names.into();
                }
                Role::Extra => entry.extra_names = names.into(),
            }
        }
        entry.labels = labels.into();
        (entry.v4, entry.v6) = (v4.into(), v6.into());
        entry.distinct = distinct(&entry);
        let pending = std::mem::take(&mut self.pending);
        entry.pending = pending.into_iter().filter(|it| entry.endpoint(it.as_bytes()).is_none()).collect();
        self.keep_used_ports(&mut entry);
        entry
    }

    /// The list of every port that some row of the group has.
    fn union(&mut self, group: &[Row]) -> u16 {
        let first = group[0].ports;
        if group.iter().all(|it| it.ports == first) {
            return first;
        }
        let lists: BTreeSet<u16> = group.iter().map(|it| it.ports).collect();
        let merged = port_list(lists.iter().flat_map(|it| self.port_lists[usize::from(*it)].iter()));
        self.intern(merged)
    }

    /// Ports of slices without a ready endpoint have no owner name, and two equal services must compare equal whatever
    /// the order of their slices: keeps the lists in use, in the order of the names.
    fn keep_used_ports(self, entry: &mut ServiceEntry) {
        let mut kept: Vec<u16> = Vec::new();
        for name in entry.names.iter_mut().chain(&mut entry.extra_names) {
            let at = kept.iter().position(|it| *it == name.ports).unwrap_or_else(|| {
                kept.push(name.ports);
                kept.len() - 1
            });
            name.ports = at as u16;
        }
        entry.port_lists = kept.iter().map(|it| self.port_lists[usize::from(*it)].clone()).collect();
    }
}

/// Positions of `addresses`, sorted by (address, position).
fn by_address<T: Ord>(addresses: &[T]) -> Box<[u32]> {
    let mut order: Vec<u32> = (0..addresses.len() as u32).collect();
    order.sort_unstable_by_key(|at| (&addresses[*at as usize], *at));
    order.into()
}

/// The part of `order` whose addresses are `wanted`.
fn positions<'a, T: Copy + Ord>(order: &'a [u32], addresses: &[T], wanted: T) -> &'a [u32] {
    let from = order.partition_point(|at| addresses[*at as usize] < wanted);
    let len = order[from..].partition_point(|at| addresses[*at as usize] == wanted);
    &order[from..from + len]
}

fn in_order<'a, T: Copy>(order: &'a [u32], addresses: &'a [T]) -> impl Iterator<Item = T> + 'a {
    order.iter().map(|at| addresses[*at as usize])
}

fn distinct(entry: &ServiceEntry) -> Option<Box<Distinct>> {
    let mut v4: Vec<_> = in_order(&entry.order_v4, &entry.v4).collect();
    let mut v6: Vec<_> = in_order(&entry.order_v6, &entry.v6).collect();
    v4.dedup();
    v6.dedup();
    let shared = v4.len() < entry.order_v4.len() || v6.len() < entry.order_v6.len();
    shared.then(|| Box::new(Distinct { v4: v4.into(), v6: v6.into() }))
}
