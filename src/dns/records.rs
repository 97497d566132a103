//! One Service and its slices into what the zone holds of them. Every readiness and naming rule lives here.
//!
//! (`Service`, `Slice`s) ──[`service_entry`]──▶ [`ServiceEntry`] ──▶ `dns::index`
//!
//! Only ready endpoints have records; hostnames that are not ready are kept as `pending` labels, because their absence is
//! answered with a shorter TTL. Equal (name, address) pairs of several slices are one. The result does not depend on the
//! order of the slices or of their endpoints. A topology zone of a headless service has the names of its endpoints there,
//! whatever they are elsewhere. How an entry is stored is the matter of `dns::entry`.
//! Sources: Kubernetes DNS specification 1.1.0 §2.3-2.4; CoreDNS `plugin/kubernetes` (endpoint names).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::address_name::dashed_address;
use super::config::EndpointNames;
use super::entry::Uncommon;
pub use super::entry::{Common, EndpointRef, Endpoints, Origin, Published, ServiceEntry, TopologyZone};
use super::model::{Endpoint, Readiness, Service, ServiceKind, Slice};
use super::name::{BoxedName, Label, OwnerName, append_label, service_key};
use super::names::{Names, NewName, common_prefix, rank};
pub use super::ports::{PortList, PortRef};

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

/// What the zone holds of `service`. `slices`: every slice that carries its label, in any order.
///
/// `None` when the service has no name in the zone: its name or namespace is no label, its `externalName` is an address
/// literal or no name, or it is hidden because it is empty.
pub fn service_entry(service: &Service, slices: &[&Slice], rules: RecordRules) -> Option<ServiceEntry> {
    let key: Box<[u8]> = service_key(&service.key.name, &service.key.namespace)?.into();
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
            ports: PortList::new(service.ports.iter()),
        },
    };
    let mut builder = Builder::default();
    let endpoints = slices.iter().map(|it| it.endpoints.len()).sum();
    builder.rows.reserve(endpoints);
    builder.text.reserve(endpoints * USUAL_LABEL);
    for slice in slices {
        let ports = builder.intern(PortList::new(slice.ports.iter()));
        for (endpoint, zone) in slice.endpoints_by_zone() {
            // Zonal names are those of headless services.
            let zone = zone.filter(|_| matches!(published, Published::Headless));
            let zone = zone.and_then(|it| builder.zone(it));
            builder.add(endpoint, ports, zone, rules.endpoint_names);
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

/// Octets of a label that are enough for most.
const USUAL_LABEL: usize = 16;

/// Primary names are SRV and PTR targets; extra names only resolve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Role {
    Primary,
    Extra,
}

/// One ready (name, address) pair before grouping.
#[derive(Clone, Copy)]
struct Row {
    label: Span,
    address: IpAddr,
    ports: u16,
    origin: Origin,
    role: Role,
    /// Place of the topology zone in the builder.
    zone: Option<u16>,
}

/// A label in the text of the builder.
#[derive(Clone, Copy)]
struct Span {
    start: u32,
    len: u8,
}

impl Span {
    fn of(self, text: &[u8]) -> &[u8] {
        &text[self.start as usize..self.start as usize + usize::from(self.len)]
    }
}

#[derive(Default)]
struct Builder {
    text: Vec<u8>,
    rows: Vec<Row>,
    port_lists: Vec<PortList>,
    pending: Vec<Label>,
    /// Names of topology zones as length-prefixed lower-case labels.
    zones: Vec<Box<[u8]>>,
}

impl Builder {
    fn intern(&mut self, list: PortList) -> u16 {
        let at = self.port_lists.iter().position(|it| *it == list).unwrap_or_else(|| {
            self.port_lists.push(list);
            self.port_lists.len() - 1
        });
        // One list per slice at most: 65536 slices of one service are beyond any API server's limits, and then
        // the last list is shared rather than the process stopped.
        u16::try_from(at).unwrap_or(u16::MAX)
    }

    /// `None` when no question can name the zone.
    fn zone(&mut self, text: &str) -> Option<u16> {
        let mut name = Vec::with_capacity(text.len() + 1);
        for label in text.split('.') {
            let at = name.len();
            name.push(0);
            name[at] = append_label(&mut name, label)?;
        }
        let at = self.zones.iter().position(|it| **it == name[..]).unwrap_or_else(|| {
            self.zones.push(name.into());
            self.zones.len() - 1
        });
        u16::try_from(at).ok()
    }

    fn add(&mut self, endpoint: &Endpoint, ports: u16, zone: Option<u16>, names: EndpointNames) {
        let pod = endpoint.pod.as_deref().filter(|_| names != EndpointNames::Hostname);
        if endpoint.readiness == Readiness::NotReady {
            let labels = [endpoint.hostname.as_deref(), pod].into_iter().flatten();
            self.pending.extend(labels.filter_map(|it| it.parse::<Label>().ok()));
            return;
        }
        let hostname = endpoint.hostname.as_deref().and_then(|it| self.label(it));
        let pod = pod.filter(|_| hostname.is_none() || names == EndpointNames::Both);
        let pod = pod.and_then(|it| self.label(it));
        let (primary, extra) = match (hostname, pod) {
            (Some(hostname), pod) => (Some((hostname, Origin::Hostname)), pod),
            (None, Some(pod)) if names == EndpointNames::PodName => (Some((pod, Origin::Pod)), None),
            (None, pod) => (None, pod),
        };
        for &address in &endpoint.addresses {
            let (label, origin) = primary.unwrap_or_else(|| {
                let label = self.label(&dashed_address(address));
                (label.expect("a dashed address is a label"), Origin::Address)
            });
            self.rows.push(Row { label, address, ports, origin, role: Role::Primary, zone });
            if let Some(label) = extra {
                let role = Role::Extra;
                self.rows.push(Row { label, address, ports, origin: Origin::Pod, role, zone });
            }
        }
    }

    fn label(&mut self, text: &str) -> Option<Span> {
        let start = self.text.len() as u32;
        append_label(&mut self.text, text).map(|len| Span { start, len })
    }

    fn finish(mut self, key: Box<[u8]>, published: Published) -> ServiceEntry {
        let rows = std::mem::take(&mut self.rows);
        let text = std::mem::take(&mut self.text);
        let rows = sorted(&rows, &text);
        // A name that any endpoint has as its primary one is primary for all of them.
        let mut primary = Vec::with_capacity(rows.len());
        let mut extra = Vec::new();
        for group in rows.chunk_by(|a, b| a.label.of(&text) == b.label.of(&text)) {
            let only_extra = group.iter().all(|it| it.role == Role::Extra);
            if only_extra { extra.push(group) } else { primary.push(group) }
        }
        let mut kept = Vec::new();
        let names = self.names(&primary, &text, &mut kept);
        let extra_names = self.names(&extra, &text, &mut kept);
        let zones = self.topology_zones(&rows, &text, &mut kept);
        let distinct = names.distinct();
        let common = extra_names.len() == 0 && distinct.is_none() && zones.is_empty();
        let mut pending = std::mem::take(&mut self.pending);
        pending.sort_unstable();
        pending.dedup();
        let port_lists =
            kept.iter().map(|it| std::mem::take(&mut self.port_lists[usize::from(*it)])).collect();
        let mut entry = ServiceEntry {
            key,
            published,
            names,
            uncommon: (!common).then(|| Box::new(Uncommon { extra_names, distinct, zones })),
            port_lists,
            pending: Box::default(),
        };
        pending.retain(|it| entry.endpoint(it.as_bytes()).is_none());
        entry.pending = pending.into();
        entry
    }

    /// What the service has in each topology zone, ascending by name. `rows`: in order.
    fn topology_zones(&mut self, rows: &[Row], text: &[u8], kept: &mut Vec<u16>) -> Box<[TopologyZone]> {
        let mut zones: Vec<(Box<[u8]>, u16)> = std::mem::take(&mut self.zones).into_iter().zip(0..).collect();
        zones.sort_unstable();
        let zones = zones.into_iter().filter_map(|(name, zone)| {
            let primary = rows.iter().filter(|it| it.zone == Some(zone) && it.role == Role::Primary);
            let rows: Vec<Row> = primary.copied().collect();
            let groups: Vec<&[Row]> = rows.chunk_by(|a, b| a.label.of(text) == b.label.of(text)).collect();
            let names = self.names(&groups, text, kept);
            (!groups.is_empty()).then(|| TopologyZone { name, distinct: names.distinct(), names })
        });
        zones.collect()
    }

    /// `groups`: rows of one name each, ascending. `kept`: the port lists in use so far, in the order of the names: those
    /// of slices without a ready endpoint have no owner name, and equal services compare equal whatever the order of
    /// their slices.
    fn names(&mut self, groups: &[&[Row]], text: &[u8], kept: &mut Vec<u16>) -> Names {
        let (mut v4, mut v6) = (Vec::<Ipv4Addr>::with_capacity(groups.len()), Vec::<Ipv6Addr>::new());
        let mut all = Vec::with_capacity(groups.len());
        for group in groups {
            let start = (v4.len(), v6.len());
            // Rows of a group are sorted by address, so equal pairs are neighbours.
            for same in group.chunk_by(|a, b| a.address == b.address) {
                match same[0].address {
                    IpAddr::V4(it) => v4.push(it),
                    IpAddr::V6(it) => v6.push(it),
                }
            }
            let ports = self.union(group);
            let ports = kept.iter().position(|it| *it == ports).unwrap_or_else(|| {
                kept.push(ports);
                kept.len() - 1
            });
            all.push(NewName {
                label: group[0].label.of(text),
                v4: start.0,
                v6: start.1,
                ports: ports as u16,
                origin: group.iter().map(|it| it.origin).min().expect("a group has a row"),
            });
        }
        Names::new(&all, v4, v6)
    }

    /// The list of every port that some row of the group has.
    fn union(&mut self, group: &[Row]) -> u16 {
        let first = group[0].ports;
        if group.iter().all(|it| it.ports == first) {
            return first;
        }
        let mut lists: Vec<u16> = group.iter().map(|it| it.ports).collect();
        lists.sort_unstable();
        lists.dedup();
        let merged = PortList::union(lists.iter().map(|it| &self.port_lists[usize::from(*it)]));
        self.intern(merged)
    }
}

/// The rows by label, then address. Most labels differ within four octets behind what all of them share, so numbers are
/// sorted, and text is compared only where these are equal.
fn sorted(rows: &[Row], text: &[u8]) -> Vec<Row> {
    let Some(first) = rows.first().map(|it| it.label.of(text)) else { return Vec::new() };
    let shared = rows.iter().map(|it| common_prefix(it.label.of(text), first)).min().unwrap_or_default();
    let key = |(row, at): (&Row, u64)| u64::from(rank(&row.label.of(text)[shared..])) << 32 | at;
    let mut order: Vec<u64> = rows.iter().zip(0..).map(key).collect();
    order.sort_unstable();
    let mut rows: Vec<Row> = order.iter().map(|it| rows[*it as u32 as usize]).collect();
    let mut start = 0;
    for equal in order.chunk_by(|a, b| a >> 32 == b >> 32) {
        let end = start + equal.len();
        if equal.len() > 1 {
            rows[start..end].sort_unstable_by(|a, b| {
                let by_label = a.label.of(text).cmp(b.label.of(text));
                by_label.then_with(|| a.address.cmp(&b.address))
            });
        }
        start = end;
    }
    rows
}
