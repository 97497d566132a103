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
use super::ports::{PortList, PortRef};

/// Up to so many addresses are searched one by one; more have an order by address.
const MAX_SCAN: usize = 32;
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
        self.distinct.as_ref().map_or(&self.names.v4.list, |it| &it.v4)
    }

    /// Distinct IPv6 addresses of the endpoints.
    pub fn v6(&self) -> &[Ipv6Addr] {
        self.distinct.as_ref().map_or(&self.names.v6.list, |it| &it.v6)
    }

    /// How many endpoint names it has.
    pub fn endpoint_count(&self) -> usize {
        self.names.len()
    }
}

/// The distinct addresses of names that share some, sorted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Distinct {
    pub v4: Box<[Ipv4Addr]>,
    pub v6: Box<[Ipv6Addr]>,
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

/// Where a name came from, the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Origin {
    /// `hostname` of an endpoint.
    #[default]
    Hostname,
    /// The name of the target pod.
    Pod,
    /// The dashed address.
    Address,
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
            return Some(self.named(&self.names, at));
        }
        self.extra_endpoint(label)
    }

    fn extra_endpoint(&self, label: &[u8]) -> Option<EndpointRef<'_>> {
        let extra = &self.uncommon.as_deref()?.extra_names;
        Some(self.named(extra, extra.find(label)?))
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

    /// One of the endpoint names of a topology zone of this service, by its place, with its addresses there.
    pub fn endpoint_in<'a>(&'a self, zone: &'a TopologyZone, at: usize) -> Option<EndpointRef<'a>> {
        (at < zone.names.len()).then(|| self.named(&zone.names, at))
    }

    #[inline]
    fn named<'a>(&'a self, names: &'a Names, at: usize) -> EndpointRef<'a> {
        EndpointRef { port_lists: &self.port_lists, names, at }
    }

    /// Endpoint names that SRV and PTR records may point to, sorted by label.
    pub fn endpoints(&self) -> impl Iterator<Item = EndpointRef<'_>> {
        (0..self.names.len()).map(|at| self.named(&self.names, at))
    }

    /// How many names [`ServiceEntry::endpoints`] has.
    #[inline]
    pub fn endpoint_count(&self) -> usize {
        self.names.len()
    }

    /// One of [`ServiceEntry::endpoints`] by its place.
    #[inline]
    pub fn endpoint_at(&self, at: usize) -> Option<EndpointRef<'_>> {
        (at < self.names.len()).then(|| self.named(&self.names, at))
    }

    /// Every endpoint name, extra names included.
    pub fn endpoint_names(&self) -> impl Iterator<Item = EndpointRef<'_>> {
        let extra = self.uncommon.as_deref().map(|it| &it.extra_names).into_iter();
        let extra = extra.flat_map(|names| (0..names.len()).map(|at| self.named(names, at)));
        self.endpoints().chain(extra)
    }

    /// Those of [`ServiceEntry::endpoints`] that have `address`, sorted by label.
    pub fn endpoints_with(&self, address: IpAddr) -> impl Iterator<Item = EndpointRef<'_>> {
        let (v4, v6) = match address {
            IpAddr::V4(it) => (Some(self.names.v4.names_with(it)), None),
            IpAddr::V6(it) => (None, Some(self.names.v6.names_with(it))),
        };
        let places = v4.into_iter().flatten().chain(v6.into_iter().flatten());
        places.map(|at| self.named(&self.names, at))
    }

    /// Whether `address` is a clusterIP or the address of a ready endpoint.
    pub fn has_address(&self, address: IpAddr) -> bool {
        self.has_cluster_ip(address) || self.endpoints_with(address).next().is_some()
    }

    /// Distinct IPv4 addresses of the ready endpoints.
    #[inline]
    pub fn endpoint_v4(&self) -> &[Ipv4Addr] {
        self.distinct().map_or(&self.names.v4.list, |it| &it.v4)
    }

    /// Distinct IPv6 addresses of the ready endpoints.
    #[inline]
    pub fn endpoint_v6(&self) -> &[Ipv6Addr] {
        self.distinct().map_or(&self.names.v6.list, |it| &it.v6)
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
        AllAddresses { v4: &self.names.v4.list, v6: &self.names.v6.list, cluster_v4, cluster_v6 }
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

/// One published endpoint name of a service.
#[derive(Debug, Clone, Copy)]
pub struct EndpointRef<'a> {
    port_lists: &'a [PortList],
    names: &'a Names,
    at: usize,
}

impl<'a> EndpointRef<'a> {
    /// The label, without its length octet.
    pub fn label(self) -> &'a [u8] {
        self.names.label(self.at)
    }

    /// IPv4 addresses, sorted.
    #[inline]
    pub fn v4(self) -> &'a [Ipv4Addr] {
        self.names.v4.of(self.at)
    }

    /// IPv6 addresses, sorted.
    #[inline]
    pub fn v6(self) -> &'a [Ipv6Addr] {
        self.names.v6.of(self.at)
    }

    /// How many addresses the name has.
    pub fn address_count(self) -> usize {
        self.v4().len() + self.v6().len()
    }

    /// Ports of every slice that the name is ready in.
    #[inline]
    pub fn ports(self) -> &'a PortList {
        &self.port_lists[usize::from(self.names.ports.of(self.at))]
    }

    /// Where the name came from.
    pub fn origin(self) -> Origin {
        self.names.origins.of(self.at)
    }
}

/// A set of endpoint names with their addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Names {
    /// How many octets all labels begin with.
    shared: u8,
    /// Of each label, the octets behind the shared ones as a number (see [`rank`]): labels such as `db-17` differ there
    /// and nowhere else. Ascending.
    ranks: Box<[u32]>,
    /// The labels, ascending, without anything between them.
    text: Box<[u8]>,
    /// Where each label ends in `text`.
    ends: Ends,
    v4: Addresses<Ipv4Addr>,
    v6: Addresses<Ipv6Addr>,
    ports: PerName<u16>,
    origins: PerName<Origin>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Ends {
    Short(Box<[u16]>),
    Long(Box<[u32]>),
}

/// One name on its way into [`Names`].
pub(super) struct NewName<'a> {
    pub label: &'a [u8],
    /// Where its addresses start.
    pub v4: usize,
    pub v6: usize,
    pub ports: u16,
    pub origin: Origin,
}

impl Default for Names {
    fn default() -> Self {
        Self::new(&[], Vec::new(), Vec::new())
    }
}

impl Names {
    /// `all`: ascending by label. The addresses of a name end where those of the next one start; they ascend.
    pub fn new(all: &[NewName<'_>], v4: Vec<Ipv4Addr>, v6: Vec<Ipv6Addr>) -> Self {
        let shared = match all {
            [first, .., last] => common_prefix(first.label, last.label),
            _ => 0,
        };
        let mut text = Vec::with_capacity(all.iter().map(|it| it.label.len()).sum());
        let mut ends: Vec<u32> = Vec::with_capacity(all.len());
        for name in all {
            text.extend_from_slice(name.label);
            ends.push(text.len() as u32);
        }
        let ends = if u16::try_from(text.len()).is_ok() {
            Ends::Short(ends.into_iter().map(|it| it as u16).collect())
        } else {
            Ends::Long(ends.into())
        };
        Self {
            shared: shared as u8,
            ranks: all.iter().map(|it| rank(&it.label[shared..])).collect(),
            text: text.into(),
            ends,
            v4: Addresses::new(v4, all.iter().map(|it| it.v4)),
            v6: Addresses::new(v6, all.iter().map(|it| it.v6)),
            ports: PerName::new(all.iter().map(|it| it.ports)),
            origins: PerName::new(all.iter().map(|it| it.origin)),
        }
    }

    #[inline]
    pub fn len(&self) -> usize {
        self.ranks.len()
    }

    #[inline]
    fn label(&self, at: usize) -> &[u8] {
        let before = at.checked_sub(1);
        let range = match &self.ends {
            Ends::Short(ends) => before.map_or(0, |it| usize::from(ends[it]))..usize::from(ends[at]),
            Ends::Long(ends) => before.map_or(0, |it| ends[it] as usize)..ends[at] as usize,
        };
        &self.text[range]
    }

    /// The place of a label. One comparison of text, as a rule, at the end of a search by rank.
    #[inline]
    fn find(&self, label: &[u8]) -> Option<usize> {
        let wanted = rank(label.get(usize::from(self.shared)..)?);
        let (mut at, mut size) = (0, self.ranks.len());
        while size > 1 {
            let half = size / 2;
            // A branch would be mispredicted half of the time.
            at = std::hint::select_unpredictable(self.ranks[at + half] <= wanted, at + half, at);
            size -= half;
        }
        if *self.ranks.get(at)? != wanted {
            return None;
        }
        if self.label(at) == label {
            return Some(at);
        }
        self.find_among_equals(at, label)
    }

    /// Searches the labels up to `last` that have the same rank as this one.
    #[cold]
    fn find_among_equals(&self, last: usize, label: &[u8]) -> Option<usize> {
        let mut low = self.ranks.partition_point(|it| *it < self.ranks[last]);
        let mut high = last;
        while low < high {
            let middle = low.midpoint(high);
            match self.label(middle).cmp(label) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return Some(middle),
            }
        }
        None
    }
}

pub(super) fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// The first four octets as a number that compares like them; missing ones are zero.
#[inline]
pub(super) fn rank(octets: &[u8]) -> u32 {
    match *octets {
        [] => 0,
        [a] => u32::from_be_bytes([a, 0, 0, 0]),
        [a, b] => u32::from_be_bytes([a, b, 0, 0]),
        [a, b, c] => u32::from_be_bytes([a, b, c, 0]),
        [a, b, c, d, ..] => u32::from_be_bytes([a, b, c, d]),
    }
}

/// A value per name, stored once if all names have the same one.
#[derive(Debug, Clone, PartialEq, Eq)]
enum PerName<T> {
    Same(T),
    Each(Box<[T]>),
}

impl<T: Copy + PartialEq + Default> PerName<T> {
    fn new(values: impl Iterator<Item = T> + Clone) -> Self {
        let first = values.clone().next().unwrap_or_default();
        if values.clone().all(|it| it == first) { Self::Same(first) } else { Self::Each(values.collect()) }
    }
}

impl<T: Copy> PerName<T> {
    #[inline]
    fn of(&self, at: usize) -> T {
        match self {
            Self::Same(value) => *value,
            Self::Each(values) => values[at],
        }
    }
}

/// The addresses of one family, in the order of the names.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Addresses<T> {
    list: Box<[T]>,
    index: Option<Box<AddressIndex>>,
}

/// What a list of addresses needs beyond itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct AddressIndex {
    /// Where the addresses of each name start, and where the last ones end. Empty: every name has one.
    starts: Box<[u32]>,
    /// Positions in the list by (address, position). Empty: it is short, or ascending itself.
    order: Box<[u32]>,
}

/// An address that lists of its kind can be sorted by.
trait Address: Copy + Ord {
    /// The positions in `list`, by (address, position).
    fn order(list: &[Self]) -> Vec<u32>;
}

impl Address for Ipv4Addr {
    fn order(list: &[Self]) -> Vec<u32> {
        // Sorts numbers: several times faster than pairs.
        let mut order: Vec<u64> =
            list.iter().zip(0u64..).map(|(it, at)| u64::from(it.to_bits()) << 32 | at).collect();
        order.sort_unstable();
        order.into_iter().map(|it| it as u32).collect()
    }
}

impl Address for Ipv6Addr {
    fn order(list: &[Self]) -> Vec<u32> {
        let mut order: Vec<(Self, u32)> = list.iter().copied().zip(0..).collect();
        order.sort_unstable();
        order.into_iter().map(|(_, at)| at).collect()
    }
}

impl<T: Address> Addresses<T> {
    fn new(list: Vec<T>, starts: impl ExactSizeIterator<Item = usize> + Clone) -> Self {
        let mut index = AddressIndex::default();
        let one_each =
            list.len() == starts.len() && starts.clone().enumerate().all(|(at, start)| at == start);
        if !one_each && !list.is_empty() {
            index.starts = starts.chain([list.len()]).map(|it| it as u32).collect();
        }
        if list.len() > MAX_SCAN && !list.is_sorted() {
            index.order = T::order(&list).into();
        }
        let needed = index != AddressIndex::default();
        Self { list: list.into(), index: needed.then(|| Box::new(index)) }
    }

    /// The addresses of one name.
    #[inline]
    fn of(&self, at: usize) -> &[T] {
        match self.index.as_deref() {
            Some(AddressIndex { starts, .. }) if !starts.is_empty() => {
                &self.list[starts[at] as usize..starts[at + 1] as usize]
            }
            _ if self.list.is_empty() => &[],
            _ => std::slice::from_ref(&self.list[at]),
        }
    }

    fn order(&self) -> &[u32] {
        self.index.as_deref().map_or(&[], |it| &it.order)
    }

    /// The names that have `wanted`, ascending.
    fn names_with(&self, wanted: T) -> impl Iterator<Item = usize> {
        let order = self.order();
        let position = move |rank: usize| order.get(rank).map_or(rank, |it| *it as usize);
        let ranks = if self.list.len() <= MAX_SCAN {
            0..self.list.len()
        } else {
            let (mut from, mut to) = (0, self.list.len());
            while from < to {
                let middle = from.midpoint(to);
                if self.list[position(middle)] < wanted { from = middle + 1 } else { to = middle }
            }
            from..self.list.len()
        };
        let scans = self.list.len() <= MAX_SCAN;
        let hits = ranks.map(position).take_while(move |at| scans || self.list[*at] == wanted);
        hits.filter(move |at| self.list[*at] == wanted).map(|at| self.name_of(at))
    }

    /// The name that the address at `position` belongs to.
    fn name_of(&self, position: usize) -> usize {
        match self.index.as_deref() {
            // The last one that starts here or before is not empty.
            Some(AddressIndex { starts, .. }) if !starts.is_empty() => {
                starts.partition_point(|it| *it as usize <= position) - 1
            }
            _ => position,
        }
    }

    /// Whether an address is there twice.
    fn repeats(&self) -> bool {
        let order = self.order();
        if !order.is_empty() {
            return order.windows(2).any(|it| self.list[it[0] as usize] == self.list[it[1] as usize]);
        }
        if self.list.len() > MAX_SCAN {
            return self.list.windows(2).any(|it| it[0] == it[1]);
        }
        self.list.iter().enumerate().any(|(at, it)| self.list[..at].contains(it))
    }

    fn distinct(&self) -> Box<[T]> {
        let mut all = self.list.to_vec();
        all.sort_unstable();
        all.dedup();
        all.into()
    }
}

impl Names {
    /// The distinct addresses, sorted, if any is there twice.
    pub fn distinct(&self) -> Option<Distinct> {
        let repeats = self.v4.repeats() || self.v6.repeats();
        repeats.then(|| Distinct { v4: self.v4.distinct(), v6: self.v6.distinct() })
    }
}
