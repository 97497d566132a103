//! Answers one question from one view of the index.
//!
//! (`View`, `Zones`, name, type) ──[`lookup`]──▶ [`Answer`] ──▶ `dns::respond`
//!
//! Pure and total: no I/O, no clock, no error; every question has exactly one [`Answer`]. The answer is made of plain
//! values that borrow the view; nothing here knows a message format. Names arrive absolute and lower-case; case is
//! folded once, at the wire (RFC 4343). Which endpoints have records is decided in `dns::records`, never here.
//! A name exists if it owns a record or an existing name lies below it (RFC 8020); first the node is found, then the
//! type is asked of it, so that NODATA and NXDOMAIN cannot depend on the type.
//! Sources: RFC 1034 §3.6.2 and §4.3.2, RFC 2308 §2, RFC 6604, RFC 8020, RFC 8482; Kubernetes DNS specification 1.1.0.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::address_name::{ReverseName, pod_address, reverse_name};
use super::config::{PodMode, PtrMode, Zone, ZoneKind, Zones};
use super::index::{SyncState, View};
use super::model::Protocol;
use super::name::{Left, NameRef};
use super::records::{EndpointRef, Origin, Published, ServiceEntry, TopologyZone};
use super::srv::SrvSet;

/// Longest chain of CNAME records that is followed.
pub const MAX_CHAIN: usize = 10;

/// A record type by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RrType(pub u16);

#[allow(missing_docs, reason = "the names are those of the IANA registry")]
impl RrType {
    pub const A: Self = Self(1);
    pub const NS: Self = Self(2);
    pub const CNAME: Self = Self(5);
    pub const SOA: Self = Self(6);
    pub const HINFO: Self = Self(13);
    pub const PTR: Self = Self(12);
    pub const TXT: Self = Self(16);
    pub const AAAA: Self = Self(28);
    pub const SRV: Self = Self(33);
    pub const IXFR: Self = Self(251);
    pub const AXFR: Self = Self(252);
    pub const ANY: Self = Self(255);
}

/// What the zones say about one (owner name, type). Borrows the view.
#[derive(Debug)]
pub struct Answer<'a> {
    /// The zone of the question's name; `None` outside of all zones.
    pub zone: Option<&'a Zone>,
    /// Targets of CNAME records in chain order: the first is owned by the question's name, each other one by the target
    /// before it.
    pub aliases: Vec<NameRef<'a>>,
    /// What stands at the end of the chain.
    pub outcome: Outcome<'a>,
}

/// What one name, the last of a chain, says about a type.
#[derive(Debug)]
pub enum Outcome<'a> {
    /// The RRset.
    Records(Records<'a>),
    /// The chain ends with its last CNAME: asked for, looping, too long, or out of the zones. NOERROR.
    AliasOnly,
    /// The name exists, the type does not: NOERROR with the zone's SOA in the authority section.
    NoData(&'a Zone),
    /// Neither the name nor anything beneath it exists: NXDOMAIN with the zone's SOA.
    NxDomain(&'a Zone, Absence),
    /// Under no zone of ours: REFUSED.
    NotOurZone,
    /// The first full list has not arrived: SERVFAIL.
    NotSynced,
}

/// How long the absence of a name is expected to last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absence {
    /// Nothing is known of the name.
    Unknown,
    /// The name is known but not ready: a hostname of not-ready endpoints, a headless service without ready endpoints, or,
    /// with `pendingFromStatefulsets`, a pod inside the ordinal range of a StatefulSet.
    Pending,
}

/// One RRset, owned by the last name of the chain, and what belongs into the additional section with it.
#[derive(Debug)]
pub enum Records<'a> {
    /// Distinct IPv4 addresses in no useful order.
    A(Addresses<'a, Ipv4Addr>),
    /// Distinct IPv6 addresses in no useful order.
    Aaaa(Addresses<'a, Ipv6Addr>),
    /// SRV records and the addresses of their targets.
    Srv(SrvSet<'a>),
    /// PTR targets in the order to send them.
    Ptr(Vec<Target<'a>>),
    /// The SOA record of this zone.
    Soa(&'a Zone),
    /// Name servers of this zone, and their addresses.
    Ns(Vec<NameServer<'a>>),
    /// TXT with the version of the DNS schema.
    SchemaVersion,
    /// The single HINFO record that answers ANY (RFC 8482 §4.2).
    Hinfo,
}

/// Addresses of one family.
#[derive(Debug)]
pub enum Addresses<'a, T> {
    /// From the index or the configuration.
    Many(&'a [T]),
    /// Spelled out in the question.
    One(T),
}

impl<T> Addresses<'_, T> {
    /// The addresses.
    pub fn as_slice(&self) -> &[T] {
        match self {
            Self::Many(all) => all,
            Self::One(one) => std::slice::from_ref(one),
        }
    }
}

/// A name made of an endpoint label, if any, a service key and a zone: `[<endpoint>.]<service>.<ns>.svc.<zone>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target<'a> {
    /// Endpoint label without its length octet; `None` for the service itself.
    pub endpoint: Option<&'a [u8]>,
    /// `<service>.<ns>` as length-prefixed labels.
    pub service: &'a [u8],
    /// Apex of the zone.
    pub zone: NameRef<'a>,
}

impl Target<'_> {
    /// Octets of the name in wire form. More than 255 when the zone's own name is very long: no such name exists.
    pub fn wire_len(&self) -> usize {
        let endpoint = self.endpoint.map_or(0, |it| 1 + it.len());
        endpoint + self.service.len() + b"\x03svc".len() + self.zone.wire().len()
    }

    /// The name in wire form. May exceed 255 octets when the zone's own name is very long.
    pub fn to_wire(self) -> Vec<u8> {
        let mut wire = Vec::with_capacity(64 + self.service.len() + self.zone.wire().len());
        if let Some(label) = self.endpoint {
            wire.push(label.len() as u8);
            wire.extend_from_slice(label);
        }
        wire.extend_from_slice(self.service);
        wire.extend_from_slice(b"\x03svc");
        wire.extend_from_slice(self.zone.wire());
        wire
    }
}

/// A name server of a zone with its addresses.
#[derive(Debug)]
pub struct NameServer<'a> {
    /// `None`: `ns.dns.<zone>` of this zone.
    pub target: Option<Target<'a>>,
    /// The zone it serves.
    pub zone: &'a Zone,
    /// IPv4 addresses.
    pub v4: &'a [Ipv4Addr],
    /// IPv6 addresses.
    pub v6: &'a [Ipv6Addr],
}

/// What the zones say about `qtype` at `qname`. Types that are not questions about data (AXFR, IXFR) are the caller's.
#[inline(always)]
pub fn lookup<'a>(view: &'a View, zones: &'a Zones, qname: NameRef<'a>, qtype: RrType) -> Answer<'a> {
    let Some((zone, left)) = zones.split(qname) else {
        return Answer { zone: None, aliases: Vec::new(), outcome: Outcome::NotOurZone };
    };
    let node = match zone.kind {
        ZoneKind::Forward => forward_node(view, zones, left),
        ZoneKind::Reverse => reverse_node(view, zones, zone, qname, left.wire),
    };
    match node {
        Node::Alias(target) if qtype != RrType::ANY => follow(view, zones, zone, qname, target, qtype),
        node => {
            Answer { zone: Some(zone), aliases: Vec::new(), outcome: ask(view, zones, zone, node, qtype) }
        }
    }
}

/// The chain that begins with a CNAME at `qname`, in `zone`, to `target`.
#[cold]
fn follow<'a>(
    view: &'a View,
    zones: &'a Zones,
    zone: &'a Zone,
    qname: NameRef<'a>,
    mut target: NameRef<'a>,
    qtype: RrType,
) -> Answer<'a> {
    let asked = Some(zone);
    let mut aliases: Vec<NameRef<'a>> = Vec::new();
    loop {
        let repeated = target == qname || aliases.contains(&target);
        aliases.push(target);
        if repeated || qtype == RrType::CNAME {
            return Answer { zone: asked, aliases, outcome: Outcome::AliasOnly };
        }
        let Some((zone, left)) = zones.split(target) else {
            return Answer { zone: asked, aliases, outcome: Outcome::AliasOnly };
        };
        let node = match zone.kind {
            ZoneKind::Forward => forward_node(view, zones, left),
            ZoneKind::Reverse => reverse_node(view, zones, zone, target, left.wire),
        };
        match node {
            Node::Alias(_) if aliases.len() == MAX_CHAIN => {
                return Answer { zone: asked, aliases, outcome: Outcome::AliasOnly };
            }
            Node::Alias(next) => target = next,
            node => {
                let outcome = ask(view, zones, zone, node, qtype);
                return Answer { zone: asked, aliases, outcome };
            }
        }
    }
}

/// What stands at a name, before any type is asked of it.
enum Node<'a> {
    Missing(Absence),
    NotSynced,
    EmptyNonTerminal,
    Apex,
    SchemaVersion,
    NameServer,
    Service(&'a ServiceEntry),
    Endpoint(&'a ServiceEntry, EndpointRef<'a>),
    Zone(&'a ServiceEntry, &'a TopologyZone),
    Port(&'a ServiceEntry, &'a [u8], Protocol),
    Alias(NameRef<'a>),
    Pod(IpAddr),
    Pointer(Vec<Target<'a>>),
}

/// The longest names have five labels: _port._proto.service.namespace.svc.
const MAX_LABELS: usize = Left::KNOWN;

/// `left`: the labels left of the zone's apex.
#[inline(always)]
fn forward_node<'a>(view: &'a View, zones: &Zones, left: Left<'a>) -> Node<'a> {
    let count = left.count;
    // Most questions are about services and their endpoints: they come first and cost the least.
    if !(3..=MAX_LABELS).contains(&count) || left.label(count - 1) != b"svc" {
        return rare_node(view, zones, &left);
    }
    if view.sync() == SyncState::Waiting {
        return Node::NotSynced;
    }
    let key = left.labels(count - 3..count - 1);
    let Some(entry) = view.service(key) else {
        return absent(view, zones, &left, key, None, Absence::Unknown);
    };
    let node = match count {
        4 => endpoint_node(entry, left.label(0)),
        3 => service_node(entry),
        _ => port_node(entry, left.label(0), left.label(1)),
    };
    match node {
        Err(absence) => absent(view, zones, &left, key, Some(entry), absence),
        Ok(node) => node,
    }
}

/// A name where neither the service `key` nor anything below it stands.
#[cold]
fn absent<'a>(
    view: &View,
    zones: &Zones,
    left: &Left<'_>,
    key: &[u8],
    entry: Option<&ServiceEntry>,
    absence: Absence,
) -> Node<'a> {
    if zones.zonal && entry.is_some_and(|it| is_zonal_parent(it, left)) {
        return Node::EmptyNonTerminal;
    }
    let comes = left.count == 4
        && zones.pending_from_statefulsets
        && will_come(view, entry, left.label(2), key, left.label(0));
    Node::Missing(if comes { Absence::Pending } else { absence })
}

/// A name that is neither a service nor below one.
#[cold]
fn rare_node<'a>(view: &'a View, zones: &Zones, left: &Left<'a>) -> Node<'a> {
    let missing = Node::Missing(Absence::Unknown);
    let label = |at| left.label(at);
    match left.count {
        0 => return Node::Apex,
        1 => return top_node(view, label(0)),
        2 if label(0) == b"ns" && label(1) == b"dns" => return Node::NameServer,
        _ if view.sync() == SyncState::Waiting => return Node::NotSynced,
        _ => {}
    }
    let exists = |namespace: usize| view.has_namespace(label(namespace));
    let pods = |at: usize| zones.pods != PodMode::Disabled && label(at) == b"pod";
    match left.count {
        _ if left.count > MAX_LABELS && zones.zonal => zonal_node(view, left.wire),
        2 if exists(0) && (label(1) == b"svc" || pods(1)) => Node::EmptyNonTerminal,
        3 if pods(2) && exists(1) => {
            let verified = |it: &IpAddr| zones.pods != PodMode::Verified || view.has_pod(label(1), *it);
            pod_address(label(0)).filter(verified).map_or(missing, Node::Pod)
        }
        _ => missing,
    }
}

/// The name of one label below the apex.
fn top_node<'a>(view: &View, label: &[u8]) -> Node<'a> {
    match label {
        b"dns-version" => Node::SchemaVersion,
        b"dns" | b"svc" | b"pod" => Node::EmptyNonTerminal,
        _ if view.sync() == SyncState::Waiting => Node::NotSynced,
        _ => Node::Missing(Absence::Unknown),
    }
}

/// `<topology zone>.pin._zone.<service>.<namespace>.svc`, or `prefer` in place of `pin`. Any topology zone exists: what
/// it has now is a matter of its endpoints. CoreDNS `plugin/kubernetes` (option `zonal`).
fn zonal_node<'a>(view: &'a View, wire: &'a [u8]) -> Node<'a> {
    let missing = Node::Missing(Absence::Unknown);
    let mut starts = Vec::new();
    let mut at = 0;
    while let Some(len) = wire.get(at) {
        starts.push(at);
        at += 1 + usize::from(*len);
    }
    let [.., directive, anchor, service, _, svc] = starts[..] else { return missing };
    if wire[anchor..service] != *b"\x05_zone" || wire[svc..] != *b"\x03svc" {
        return missing;
    }
    let Some(entry) = view.service(&wire[service..svc]) else { return missing };
    let zone = entry.topology_zone(&wire[..directive]);
    match (entry.published(), &wire[directive..anchor], zone) {
        (Published::Headless, b"\x03pin" | b"\x06prefer", _) if !entry.has_endpoints() => {
            Node::Missing(Absence::Pending)
        }
        (Published::Headless, b"\x03pin" | b"\x06prefer", Some(zone)) => Node::Zone(entry, zone),
        (Published::Headless, b"\x03pin", None) => Node::EmptyNonTerminal,
        (Published::Headless, b"\x06prefer", None) => Node::Service(entry),
        _ => missing,
    }
}

/// Whether zonal names lie below this one: `_zone` or `pin._zone` or `prefer._zone` of a headless service.
#[cold]
fn is_zonal_parent(entry: &ServiceEntry, left: &Left<'_>) -> bool {
    let parent = match left.count {
        4 => left.label(0) == b"_zone",
        5 => left.label(1) == b"_zone" && matches!(left.label(0), b"pin" | b"prefer"),
        _ => false,
    };
    parent && matches!(entry.published(), Published::Headless) && entry.has_endpoints()
}

/// Whether a missing name is that of a pod which a StatefulSet will bring, or may bring once its service exists.
#[cold]
fn will_come(view: &View, entry: Option<&ServiceEntry>, namespace: &[u8], key: &[u8], label: &[u8]) -> bool {
    let alias = entry.is_some_and(|it| matches!(it.published(), Published::ExternalName(_)));
    !alias && view.has_namespace(namespace) && view.expects(key, label)
}

/// The name of the service itself.
#[inline(always)]
fn service_node(entry: &ServiceEntry) -> Result<Node<'_>, Absence> {
    match entry.published() {
        Published::ExternalName(target) => Ok(Node::Alias(target.as_name())),
        // Nothing lies below a headless service without ready endpoints, and so it does not exist itself.
        Published::Headless if !entry.has_endpoints() => Err(Absence::Pending),
        _ => Ok(Node::Service(entry)),
    }
}

/// One label below the service.
#[inline(always)]
fn endpoint_node<'a>(entry: &'a ServiceEntry, label: &[u8]) -> Result<Node<'a>, Absence> {
    // An ExternalName service has neither endpoints nor ports.
    if let Some(endpoint) = entry.endpoint(label) {
        return Ok(Node::Endpoint(entry, endpoint));
    }
    if let Some(protocol) = Protocol::from_label(label)
        && entry.named_ports().any(|it| it.protocol == protocol)
    {
        return Ok(Node::EmptyNonTerminal);
    }
    Err(if entry.is_pending(label) { Absence::Pending } else { Absence::Unknown })
}

/// Two labels below the service.
fn port_node<'a>(entry: &'a ServiceEntry, port: &'a [u8], protocol: &[u8]) -> Result<Node<'a>, Absence> {
    match (port.strip_prefix(b"_"), Protocol::from_label(protocol)) {
        (Some(name), Some(protocol)) if entry.has_port(name, protocol) => {
            Ok(Node::Port(entry, name, protocol))
        }
        _ => Err(Absence::Unknown),
    }
}

#[cold]
fn reverse_node<'a>(
    view: &'a View,
    zones: &'a Zones,
    zone: &Zone,
    name: NameRef<'a>,
    left: &[u8],
) -> Node<'a> {
    debug_assert_eq!(zone.kind, ZoneKind::Reverse);
    match left {
        b"" => return Node::Apex,
        b"\x03dns" => return Node::EmptyNonTerminal,
        b"\x02ns\x03dns" => return Node::NameServer,
        _ if view.sync() == SyncState::Waiting => return Node::NotSynced,
        _ => {}
    }
    match reverse_name(name) {
        None => Node::Missing(Absence::Unknown),
        Some(ReverseName::Address(address)) => {
            let targets = pointers(view, zones, address);
            if targets.is_empty() { Node::Missing(Absence::Unknown) } else { Node::Pointer(targets) }
        }
        Some(ReverseName::Block(first, last)) => {
            let named = |entry: &ServiceEntry, address| {
                zones.ptr != PtrMode::HostnameOnly
                    || entry.has_cluster_ip(address)
                    || entry.endpoints_with(address).any(|it| it.origin() == Origin::Hostname)
            };
            if view.any_address_within(first, last, named) {
                Node::EmptyNonTerminal
            } else {
                Node::Missing(Absence::Unknown)
            }
        }
    }
}

/// PTR targets of an address: the service whose clusterIP it is, else endpoint names: those with a hostname first, then
/// by namespace, service and name.
fn pointers<'a>(view: &'a View, zones: &'a Zones, address: IpAddr) -> Vec<Target<'a>> {
    let zone = zones.primary().apex();
    let services = view.services_with(address);
    if let Some(entry) = services.iter().find(|it| it.has_cluster_ip(address)) {
        return vec![Target { endpoint: None, service: entry.key(), zone }];
    }
    let mut found: Vec<(bool, Target<'a>)> = Vec::new();
    for entry in services {
        found.extend(entry.endpoints_with(address).map(|it| {
            let target = Target { endpoint: Some(it.label()), service: entry.key(), zone };
            (it.origin() != Origin::Hostname, target)
        }));
    }
    found.sort_by_key(|(unnamed, _)| *unnamed);
    let named = found.iter().filter(|(unnamed, _)| !unnamed).count();
    match zones.ptr {
        PtrMode::All => {}
        PtrMode::PreferHostname if named == 0 => {}
        PtrMode::PreferHostname | PtrMode::HostnameOnly => found.truncate(named),
    }
    found.into_iter().map(|(_, target)| target).collect()
}

#[inline(always)]
fn ask<'a>(view: &'a View, zones: &'a Zones, zone: &'a Zone, node: Node<'a>, qtype: RrType) -> Outcome<'a> {
    // The most common answers, ahead of the table.
    if qtype == RrType::A {
        let found = match &node {
            Node::Endpoint(_, endpoint) => endpoint.v4(),
            Node::Service(entry) => service_v4(entry),
            _ => &[],
        };
        if !found.is_empty() {
            return Outcome::Records(Records::A(Addresses::Many(found)));
        }
    }
    ask_table(view, zones, zone, node, qtype)
}

#[inline]
fn service_v4(entry: &ServiceEntry) -> &[Ipv4Addr] {
    if let Published::ClusterIp { v4, .. } = entry.published() { v4 } else { entry.endpoint_v4() }
}

#[inline(never)]
fn ask_table<'a>(
    view: &'a View,
    zones: &'a Zones,
    zone: &'a Zone,
    node: Node<'a>,
    qtype: RrType,
) -> Outcome<'a> {
    let node = match node {
        Node::Missing(absence) => return Outcome::NxDomain(zone, absence),
        Node::NotSynced => return Outcome::NotSynced,
        _ if qtype == RrType::ANY => return Outcome::Records(Records::Hinfo),
        existing => existing,
    };
    let apex = zone.apex();
    let records = match (node, qtype) {
        (Node::Apex, RrType::SOA) => Some(Records::Soa(zone)),
        (Node::Apex, RrType::NS) => Some(Records::Ns(name_servers(view, zones, zone))),
        (Node::SchemaVersion, RrType::TXT) => Some(Records::SchemaVersion),
        (Node::NameServer, RrType::A) => a(&zones.own_v4),
        (Node::NameServer, RrType::AAAA) => aaaa(&zones.own_v6),
        (Node::Service(entry), RrType::A) => a(service_v4(entry)),
        (Node::Service(entry), RrType::AAAA) => match entry.published() {
            Published::ClusterIp { v6, .. } => aaaa(v6),
            _ => aaaa(entry.endpoint_v6()),
        },
        (Node::Service(entry), RrType::SRV) => srv(SrvSet::of_service(entry, None, apex)),
        (Node::Zone(_, zone), RrType::A) => a(zone.v4()),
        (Node::Zone(_, zone), RrType::AAAA) => aaaa(zone.v6()),
        (Node::Zone(entry, zone), RrType::SRV) => {
            srv(SrvSet::of_endpoints(entry, entry.endpoints_in(zone), apex))
        }
        (Node::Endpoint(_, endpoint), RrType::A) => a(endpoint.v4()),
        (Node::Endpoint(_, endpoint), RrType::AAAA) => aaaa(endpoint.v6()),
        (Node::Endpoint(entry, endpoint), RrType::SRV) => {
            srv(SrvSet::of_endpoints(entry, endpoint.alone(), apex))
        }
        (Node::Port(entry, name, protocol), RrType::SRV) => {
            srv(SrvSet::of_service(entry, Some((name, protocol)), apex))
        }
        (Node::Pod(IpAddr::V4(it)), RrType::A) => Some(Records::A(Addresses::One(it))),
        (Node::Pod(IpAddr::V6(it)), RrType::AAAA) => Some(Records::Aaaa(Addresses::One(it))),
        (Node::Pointer(targets), RrType::PTR) => Some(Records::Ptr(targets)),
        (Node::Apex, RrType::PTR) => return apex_pointers(view, zones, zone),
        _ => None,
    };
    records.map_or(Outcome::NoData(zone), Outcome::Records)
}

/// PTR records at the apex: a reverse zone may be that of one address.
fn apex_pointers<'a>(view: &'a View, zones: &'a Zones, zone: &'a Zone) -> Outcome<'a> {
    let address = (zone.kind == ZoneKind::Reverse).then(|| reverse_name(zone.apex())).flatten();
    match address {
        Some(ReverseName::Address(_)) if view.sync() == SyncState::Waiting => Outcome::NotSynced,
        Some(ReverseName::Address(address)) => match pointers(view, zones, address) {
            targets if targets.is_empty() => Outcome::NoData(zone),
            targets => Outcome::Records(Records::Ptr(targets)),
        },
        _ => Outcome::NoData(zone),
    }
}

fn a(addresses: &[Ipv4Addr]) -> Option<Records<'_>> {
    (!addresses.is_empty()).then_some(Records::A(Addresses::Many(addresses)))
}

fn aaaa(addresses: &[Ipv6Addr]) -> Option<Records<'_>> {
    (!addresses.is_empty()).then_some(Records::Aaaa(Addresses::Many(addresses)))
}

fn srv(set: SrvSet<'_>) -> Option<Records<'_>> {
    if set.is_empty() { None } else { Some(Records::Srv(set)) }
}

/// The services that publish one of this server's own addresses as a ready endpoint, else `ns.dns.<zone>`.
fn name_servers<'a>(view: &'a View, zones: &'a Zones, zone: &'a Zone) -> Vec<NameServer<'a>> {
    let own =
        zones.own_v4.iter().map(|it| IpAddr::V4(*it)).chain(zones.own_v6.iter().map(|it| IpAddr::V6(*it)));
    let apex = if zone.kind == ZoneKind::Forward { zone.apex() } else { zones.primary().apex() };
    let mut servers: Vec<NameServer<'a>> = Vec::new();
    let mut add = |server: NameServer<'a>| {
        if servers.iter().all(|it| it.target != server.target) {
            servers.push(server);
        }
    };
    for address in own {
        for entry in view.services_with(address) {
            for endpoint in entry.endpoints_with(address) {
                let endpoint_label = Some(endpoint.label());
                match entry.published() {
                    Published::ClusterIp { v4, v6, .. } => {
                        let target = Target { endpoint: None, service: entry.key(), zone: apex };
                        add(NameServer { target: Some(target), zone, v4, v6 });
                    }
                    _ => {
                        let target = Target { endpoint: endpoint_label, service: entry.key(), zone: apex };
                        add(NameServer { target: Some(target), zone, v4: endpoint.v4(), v6: endpoint.v6() });
                    }
                }
            }
        }
    }
    if servers.is_empty() {
        servers.push(NameServer { target: None, zone, v4: &zones.own_v4, v6: &zones.own_v6 });
    }
    servers
}
