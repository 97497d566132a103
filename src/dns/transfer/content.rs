//! The records of one zone, one name after the other.
//!
//! snapshot of the index ──▶ names that exist ──`lookup` for each type──▶ records
//!
//! The walk only proposes names; whether a name exists and what it owns is asked of `lookup`, so a name that should not be
//! there gives nothing and one that is proposed has exactly the records of a query. Pod names are not walked: in mode
//! `insecure` there is one for every address.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use hickory_proto::rr::Record;

use crate::dns::address_name::{IN_ADDR_ARPA, IP6_ARPA, ReverseName, reverse_name};
use crate::dns::config::{Shuffle, ZoneKind, Zones};
use crate::dns::index::Index;
use crate::dns::lookup::{RrType, lookup};
use crate::dns::model::Protocol;
use crate::dns::name::OwnerName;
use crate::dns::records::ServiceEntry;
use crate::dns::reply::Soa;
use crate::dns::respond::own_records;

/// Types that a name may own, in the order they are sent. The SOA record frames the transfer and is left out.
const TYPES: [RrType; 7] =
    [RrType::NS, RrType::CNAME, RrType::A, RrType::AAAA, RrType::SRV, RrType::TXT, RrType::PTR];

/// Iterates over the records of a zone but the SOA: apex and static names, then services in order of (namespace,
/// service) or addresses in their order.
pub struct ZoneContent {
    index: Index,
    zones: Zones,
    apex: OwnerName,
    /// Records of the name reached.
    records: std::vec::IntoIter<Record>,
    /// Names of the object reached.
    names: std::vec::IntoIter<OwnerName>,
    objects: Objects,
}

/// What is still to be walked.
enum Objects {
    Services(std::vec::IntoIter<Arc<ServiceEntry>>),
    /// Addresses from the first to the last.
    Addresses(IpAddr, IpAddr),
    Done,
}

impl ZoneContent {
    /// `apex`: of one of `zones`. `index`: a snapshot.
    pub fn new(index: Index, mut zones: Zones, apex: &OwnerName) -> Self {
        zones.shuffle = Shuffle::Off;
        let forward = zones.longest_match(apex.as_name()).is_some_and(|(it, _)| it.kind == ZoneKind::Forward);
        let objects = match reverse_name(apex.as_name()) {
            _ if forward => Objects::Services(index.services().into_iter()),
            Some(ReverseName::Block(first, last)) => Objects::Addresses(first, last),
            _ => Objects::Done,
        };
        let fixed: &[&[u8]] =
            if forward { &[b"", b"\x0bdns-version", Soa::NAME_SERVER] } else { &[b"", Soa::NAME_SERVER] };
        let names: Vec<OwnerName> = fixed.iter().filter_map(|it| below(it, apex)).collect();
        Self { index, zones, apex: *apex, records: Vec::new().into_iter(), names: names.into_iter(), objects }
    }

    /// The SOA record; none when the zone's name is too long for one.
    pub fn soa(&self) -> Option<Record> {
        self.ask(&self.apex, RrType::SOA).pop()
    }

    fn ask(&self, name: &OwnerName, rr_type: RrType) -> Vec<Record> {
        let view = self.index.view();
        let owner = name.as_name();
        own_records(owner, &lookup(&view, &self.zones, owner, rr_type), &self.zones, view.serial())
    }

    /// All records of `name`, if it lies in this zone rather than in one below it.
    fn records(&self, name: &OwnerName) -> Vec<Record> {
        let zone = self.zones.longest_match(name.as_name());
        if zone.is_none_or(|(zone, _)| zone.apex() != self.apex.as_name()) {
            return Vec::new();
        }
        if self.apex != *name {
            let alias = self.ask(name, RrType::CNAME);
            if !alias.is_empty() {
                return alias;
            }
        }
        TYPES.iter().flat_map(|it| self.ask(name, *it)).collect()
    }

    /// The names of the next object; `None` at the end.
    fn next_names(&mut self) -> Option<Vec<OwnerName>> {
        match &mut self.objects {
            Objects::Services(services) => services.next().map(|it| service_names(&it, &self.apex)),
            Objects::Addresses(first, last) => {
                let mut found = None;
                self.index.view().any_address_within(*first, *last, |_, address| {
                    found = Some(address);
                    true
                });
                let address = found?;
                match next_address(address) {
                    Some(next) if next <= *last => *first = next,
                    _ => self.objects = Objects::Done,
                }
                Some(vec![reverse_owner(address)])
            }
            Objects::Done => None,
        }
    }
}

impl Iterator for ZoneContent {
    type Item = Record;

    fn next(&mut self) -> Option<Record> {
        loop {
            if let Some(record) = self.records.next() {
                return Some(record);
            }
            match self.names.next() {
                Some(name) => self.records = self.records(&name).into_iter(),
                None => self.names = self.next_names()?.into_iter(),
            }
        }
    }
}

/// The name made of length-prefixed labels and an apex; `None` when it is too long to exist.
fn below(labels: &[u8], apex: &OwnerName) -> Option<OwnerName> {
    OwnerName::read(&[labels, apex.as_name().wire()].concat()).ok()
}

/// Names at and below a service that may own records, each once.
fn service_names(entry: &ServiceEntry, apex: &OwnerName) -> Vec<OwnerName> {
    let service = [entry.key(), &b"\x03svc"[..]].concat();
    let ports: BTreeSet<(&[u8], Protocol)> = entry.named_ports().map(|it| (it.name, it.protocol)).collect();
    let ports = ports.into_iter().map(|(name, protocol)| {
        let mut labels = prefixed(&[b"_", name].concat());
        labels.extend(prefixed(protocol.label()));
        labels
    });
    let endpoints = entry.endpoint_names().map(|it| prefixed(it.label()));
    // Of the zonal names those that have endpoints: any other topology zone exists as well.
    let zonal = entry.topology_zones().flat_map(|zone| {
        [&b"\x03pin"[..], b"\x06prefer"].map(|directive| [zone, directive, b"\x05_zone"].concat())
    });
    std::iter::once(Vec::new())
        .chain(ports)
        .chain(endpoints)
        .chain(zonal)
        .filter_map(|labels| below(&[&labels[..], &service].concat(), apex))
        .collect()
}

/// A label with its length in front.
fn prefixed(label: &[u8]) -> Vec<u8> {
    let mut wire = Vec::with_capacity(label.len() + 1);
    wire.push(label.len() as u8);
    wire.extend_from_slice(label);
    wire
}

fn next_address(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(it) => u32::from(it).checked_add(1).map(|it| IpAddr::V4(it.into())),
        IpAddr::V6(it) => u128::from(it).checked_add(1).map(|it| IpAddr::V6(it.into())),
    }
}

/// The owner name of an address's PTR records (RFC 1035 §3.5, RFC 3596 §2.5).
fn reverse_owner(address: IpAddr) -> OwnerName {
    let (labels, tree): (Vec<String>, _) = match address {
        IpAddr::V4(it) => (it.octets().iter().rev().map(ToString::to_string).collect(), IN_ADDR_ARPA),
        IpAddr::V6(it) => {
            let nibbles = it.octets().into_iter().rev().flat_map(|it| [it & 0xf, it >> 4]);
            (nibbles.map(|it| format!("{it:x}")).collect(), IP6_ARPA)
        }
    };
    let wire: Vec<u8> = labels.iter().flat_map(|it| prefixed(it.as_bytes())).collect();
    OwnerName::read(&[&wire, tree].concat()).expect("an address name is at most 74 octets")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_names_are_read_back() {
        for text in ["10.1.2.3", "0.0.0.0", "255.255.255.255", "::", "fd00::7", "2001:db8:5:1::ffff"] {
            let address: IpAddr = text.parse().unwrap();
            let owner = reverse_owner(address);
            assert_eq!(reverse_name(owner.as_name()), Some(ReverseName::Address(address)), "{owner}");
        }
    }
}
