//! The SRV records of one owner name: targets, ports and weight.
//!
//! `dns::lookup` ──[`SrvSet`]──▶ both codecs
//!
//! A set borrows the service's entry; records are made from it while they are written. One target for each endpoint name,
//! or the service itself for one with a clusterIP; one record for each distinct port number.
//! Source: RFC 2782; Kubernetes DNS specification 1.1.0 §2.3.2, §2.4.2; CoreDNS `plugin/backend_lookup.go` (weight).

use std::net::{Ipv4Addr, Ipv6Addr};

use super::lookup::Target;
use super::model::Protocol;
use super::name::NameRef;
use super::ports::{PortList, PortRef};
use super::records::{Common, Endpoints, Published, ServiceEntry};

/// The SRV records of one owner name.
#[derive(Debug, Clone, Copy)]
pub struct SrvSet<'a> {
    /// `<service>.<ns>` as length-prefixed labels.
    service: &'a [u8],
    zone: NameRef<'a>,
    /// `_name._protocol`: no other port counts.
    port: Option<(&'a [u8], Protocol)>,
    places: Places<'a>,
}

/// Where the targets stand.
#[derive(Debug, Clone, Copy)]
enum Places<'a> {
    Endpoints(Endpoints<'a>),
    /// The service itself.
    Service {
        v4: &'a [Ipv4Addr],
        v6: &'a [Ipv6Addr],
        ports: &'a PortList,
    },
    Nowhere,
}

/// The SRV records with one target.
#[derive(Debug, Clone, Copy)]
pub struct SrvTarget<'a> {
    /// The target.
    pub target: Target<'a>,
    /// Its IPv4 addresses.
    pub v4: &'a [Ipv4Addr],
    /// Its IPv6 addresses.
    pub v6: &'a [Ipv6Addr],
    ports: &'a PortList,
    set: SrvSet<'a>,
}

impl<'a> SrvSet<'a> {
    /// All ports of a service, or those with one name and protocol.
    #[inline]
    pub fn of_service(
        entry: &'a ServiceEntry,
        port: Option<(&'a [u8], Protocol)>,
        zone: NameRef<'a>,
    ) -> Self {
        let places = match entry.published() {
            Published::Headless => Places::Endpoints(entry.endpoint_run()),
            Published::ClusterIp { v4, v6, ports } => Places::Service { v4, v6, ports },
            Published::ExternalName(_) => Places::Nowhere,
        };
        Self { service: entry.key(), zone, port, places }
    }

    /// All ports of some endpoint names of a service.
    pub fn of_endpoints(entry: &'a ServiceEntry, endpoints: Endpoints<'a>, zone: NameRef<'a>) -> Self {
        Self { service: entry.key(), zone, port: None, places: Places::Endpoints(endpoints) }
    }

    /// Whether there is no record.
    #[inline]
    pub fn is_empty(self) -> bool {
        match self.in_common() {
            Some(common) => self.numbers(common.ports).next().is_none(),
            None => self.targets().next().is_none(),
        }
    }

    /// The targets in order of their labels, with at least one port and one address each.
    pub fn targets(self) -> impl Iterator<Item = SrvTarget<'a>> {
        (0..self.slots()).filter_map(move |slot| self.target(slot))
    }

    /// How many places there are for targets; some may have no record.
    #[inline]
    pub fn slots(self) -> usize {
        match self.places {
            Places::Endpoints(endpoints) => endpoints.len(),
            Places::Service { .. } => 1,
            Places::Nowhere => 0,
        }
    }

    fn target(self, slot: usize) -> Option<SrvTarget<'a>> {
        let endpoint = match self.places {
            Places::Endpoints(endpoints) => Some(endpoints.at(slot).label()),
            Places::Service { .. } | Places::Nowhere => None,
        };
        let target = Target { endpoint, service: self.service, zone: self.zone };
        let (v4, v6) = self.addresses(slot);
        let target = SrvTarget { target, v4, v6, ports: self.ports(slot)?, set: self };
        (target.v4.len() + target.v6.len() > 0 && target.matching().next().is_some()).then_some(target)
    }

    /// The first label of a place's target, without its length octet.
    #[inline(always)]
    pub fn label(self, slot: usize) -> &'a [u8] {
        match self.places {
            Places::Endpoints(endpoints) => endpoints.at(slot).label(),
            Places::Service { .. } | Places::Nowhere => self.service_label().0,
        }
    }

    /// The labels behind the first one, the same for all targets.
    #[inline]
    pub fn suffix(self) -> [&'a [u8]; 3] {
        let first = match self.places {
            Places::Endpoints(_) => self.service,
            Places::Service { .. } | Places::Nowhere => self.service_label().1,
        };
        [first, b"\x03svc", self.zone.wire()]
    }

    /// The service's own label without its length octet, and what follows it.
    fn service_label(self) -> (&'a [u8], &'a [u8]) {
        self.service[1..].split_at(usize::from(self.service[0]))
    }

    /// The addresses of a place's target.
    #[inline]
    pub fn addresses(self, slot: usize) -> (&'a [Ipv4Addr], &'a [Ipv6Addr]) {
        match self.places {
            Places::Endpoints(endpoints) => {
                let endpoint = endpoints.at(slot);
                (endpoint.v4(), endpoint.v6())
            }
            Places::Service { v4, v6, .. } => (v4, v6),
            Places::Nowhere => (&[], &[]),
        }
    }

    /// The ports of a place's target; most places have the same ones.
    #[inline]
    pub fn ports(self, slot: usize) -> Option<&'a PortList> {
        match self.places {
            Places::Endpoints(endpoints) => Some(endpoints.at(slot).ports()),
            Places::Service { ports, .. } => Some(ports),
            Places::Nowhere => None,
        }
    }

    /// What all places have, if they differ in little: see [`Endpoints::in_common`].
    #[inline]
    pub fn in_common(self) -> Option<Common<'a>> {
        match self.places {
            Places::Endpoints(endpoints) => endpoints.in_common(),
            Places::Service { .. } | Places::Nowhere => None,
        }
    }

    /// Those of `ports` that belong to the records: numbers, ascending, one for each protocol.
    #[inline]
    pub fn numbers(self, ports: &PortList) -> impl Iterator<Item = u16> {
        ports.iter().filter(move |it| self.has(it)).map(|it| it.number)
    }

    #[inline]
    fn has(self, port: &PortRef<'_>) -> bool {
        self.port.is_none_or(|(name, protocol)| port.protocol == protocol && port.name == name)
    }

    /// The weight of every record: 100 divided by the number of (address, port) pairs, at least 1.
    pub fn weight(self) -> u16 {
        let mut pairs = 0;
        for target in self.targets() {
            pairs += (target.v4.len() + target.v6.len()) * target.matching().count();
            if pairs >= 100 {
                return 1;
            }
        }
        weight_of(pairs)
    }
}

/// The weight of each of the SRV records that stand for so many (address, port) pairs.
pub fn weight_of(pairs: usize) -> u16 {
    (100 / pairs.max(1)).max(1) as u16
}

impl<'a> SrvTarget<'a> {
    /// Port numbers, ascending and distinct.
    pub fn port_numbers(self) -> impl Iterator<Item = u16> + 'a {
        let mut last = None;
        // Sorted by number, so equal ones (one number for TCP and UDP) are neighbours.
        self.matching().map(|it| it.number).filter(move |it| last.replace(*it) != Some(*it))
    }

    fn matching(self) -> impl Iterator<Item = PortRef<'a>> {
        self.ports.iter().filter(move |it| self.set.has(it))
    }
}
