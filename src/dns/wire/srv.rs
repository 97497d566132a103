//! SRV records and the addresses of their targets.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::Writer;
use super::address::{Address, address_head, write_record};
use super::message::{FIXED, IN, Message, Owner, POINTER, Section};
use crate::dns::config::{Shuffle, Zones};
use crate::dns::lookup::RrType;
use crate::dns::name::{MAX_LABEL, MAX_NAME};
use crate::dns::ports::PortList;
use crate::dns::records::Common;
use crate::dns::srv::{SrvSet, weight_of};

/// Targets considered for one datagram: more than any holds.
const MAX_SRV: usize = 256;
/// Largest datagram, the upper end of `maxUdpPayload`.
const MAX_DATAGRAM: usize = 4096;
/// How far a pointer reaches (RFC 1035 §4.1.4).
const POINTER_END: u16 = 0x3fff;
/// Owner, type, class, TTL, length, priority, weight, port, and the length of the target's first label.
const HEAD: usize = 2 + FIXED + 6 + 1;

/// One SRV record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SrvRecord {
    /// The place of its target, see [`SrvSet::slots`].
    slot: u32,
    port: u16,
    /// Where the target's name stands, once it is written.
    at: u16,
}

impl Writer {
    /// Whether the answer section is whole.
    pub fn srv(&mut self, message: &mut Message<'_>, owner: Owner, set: SrvSet<'_>, zones: &Zones) -> bool {
        self.srv.clear();
        let mut suffix = Suffix { octets: [0; MAX_NAME], len: 0 };
        if !set.suffix().iter().all(|it| suffix.push(it)) {
            // Too long for any name below it.
            return true;
        }
        // A datagram holds a part of a huge set at most.
        let most = if message.limit > MAX_DATAGRAM { usize::MAX } else { MAX_SRV };
        // Every name is short enough, and every one of them in reach of a pointer.
        let fits =
            set.slots() <= most && message.limit <= MAX_DATAGRAM && suffix.len + 1 + MAX_LABEL <= MAX_NAME;
        let common = if fits { set.in_common() } else { None };
        let (targets, pairs) = match &common {
            Some(common) => self.list_common(set, common),
            None => self.list_targets(set, &suffix, most, zones.shuffle),
        };
        if zones.shuffle == Shuffle::On {
            self.random.shuffle(&mut self.srv);
        }
        let complete = self.write(message, set, &suffix, &head(owner.at, zones.ttl, weight_of(pairs)));
        if !complete || targets >= most && targets < set.slots() {
            return false;
        }
        if self.srv.len() > targets {
            // Some targets have several ports.
            self.srv.sort_unstable();
            self.srv.dedup_by_key(|it| it.slot);
        }
        match common {
            Some(common) => self.glue_in_common(message, &common, zones.ttl),
            None => self.glue(message, set, &suffix, zones.ttl),
        }
        true
    }

    /// Writes the records that are listed. Whether all of them fit.
    fn write(
        &mut self,
        message: &mut Message<'_>,
        set: SrvSet<'_>,
        suffix: &Suffix,
        head: &[u8; HEAD],
    ) -> bool {
        let out = &mut message.out[..message.limit];
        let mut at = message.at;
        let mut count = 0;
        for record in &mut self.srv {
            let label = set.label(record.slot as usize);
            let Some((fixed, name)) = out.get_mut(at..).and_then(<[u8]>::split_first_chunk_mut) else {
                break;
            };
            let len = label.len() + suffix.len;
            if len > name.len() {
                break;
            }
            *fixed = *head;
            fixed[10..12].copy_from_slice(&(len as u16 + 7).to_be_bytes());
            fixed[16..18].copy_from_slice(&record.port.to_be_bytes());
            fixed[18] = label.len() as u8;
            let (first, rest) = name.split_at_mut(label.len());
            first.copy_from_slice(label);
            suffix.write(rest);
            record.at = (at + HEAD - 1) as u16;
            at += HEAD + len;
            count += 1;
        }
        message.at = at;
        message.counts[Section::Answer as usize] += count;
        usize::from(count) == self.srv.len()
    }

    /// The addresses of all targets that were written, one of a family each, as far as they fit.
    fn glue_in_common(&self, message: &mut Message<'_>, common: &Common<'_>, ttl: u32) {
        let (head_v4, head_v6) = (address_head::<Ipv4Addr>(0, ttl), address_head::<Ipv6Addr>(0, ttl));
        let out = &mut message.out[..message.limit];
        let mut at = message.at;
        let mut count = 0;
        for SrvRecord { slot, at: name, .. } in &self.srv {
            let owner = (POINTER | name).to_be_bytes();
            if let Some(address) = common.v4.get(*slot as usize)
                && let Some(record) = out.get_mut(at..at + Ipv4Addr::RECORD)
            {
                write_record(record, &head_v4, *address);
                record[..2].copy_from_slice(&owner);
                at += Ipv4Addr::RECORD;
                count += 1;
            }
            if let Some(address) = common.v6.get(*slot as usize)
                && let Some(record) = out.get_mut(at..at + Ipv6Addr::RECORD)
            {
                write_record(record, &head_v6, *address);
                record[..2].copy_from_slice(&owner);
                at += Ipv6Addr::RECORD;
                count += 1;
            }
        }
        message.at = at;
        message.counts[Section::Additional as usize] += count;
    }

    /// The addresses of all targets that were written.
    fn glue(&self, message: &mut Message<'_>, set: SrvSet<'_>, suffix: &Suffix, ttl: u32) {
        for SrvRecord { slot, at, .. } in &self.srv {
            let (v4, v6) = set.addresses(*slot as usize);
            if *at <= POINTER_END {
                message.glue(*at, v4, ttl);
                message.glue(*at, v6, ttl);
            } else {
                let (label, suffix) = (set.label(*slot as usize), suffix.as_bytes());
                message.far_glue(label, suffix, v4, ttl);
                message.far_glue(label, suffix, v6, ttl);
            }
        }
    }

    /// Lists the records of targets that differ in little. Returns how many targets there are and how many (address,
    /// port) pairs they have.
    fn list_common(&mut self, set: SrvSet<'_>, common: &Common<'_>) -> (usize, usize) {
        let matching = self.numbers_of(set, common.ports);
        let slots = 0..set.slots() as u32;
        match self.ports[..] {
            [port] => self.srv.extend(slots.map(|slot| SrvRecord { slot, port, at: 0 })),
            _ => {
                for slot in slots {
                    self.srv.extend(self.ports.iter().map(|port| SrvRecord { slot, port: *port, at: 0 }));
                }
            }
        }
        (set.slots(), (common.v4.len() + common.v6.len()) * matching)
    }

    /// Lists the distinct numbers of matching ports. Returns how many ports match.
    fn numbers_of(&mut self, set: SrvSet<'_>, ports: &PortList) -> usize {
        self.ports.clear();
        for number in set.numbers(ports) {
            self.ports.push(number);
        }
        let matching = self.ports.len();
        // Sorted, so equal ones (one number for TCP and UDP) are neighbours.
        self.ports.dedup();
        matching
    }

    /// Lists the records of a set by looking at each place, up to `most` targets; where there are more, beginning anywhere.
    /// Returns how many targets there are and how many (address, port) pairs they have.
    fn list_targets(
        &mut self,
        set: SrvSet<'_>,
        suffix: &Suffix,
        most: usize,
        shuffle: Shuffle,
    ) -> (usize, usize) {
        let slots = set.slots();
        let first =
            if slots > most && shuffle == Shuffle::On { self.random.below(slots as u32) as usize } else { 0 };
        let (mut targets, mut pairs) = (0, 0);
        // The list looked at last, and how many of its ports count.
        let mut last: Option<(&PortList, usize)> = None;
        for slot in (first..slots).chain(0..first) {
            let Some(ports) = set.ports(slot) else { continue };
            let (v4, v6) = set.addresses(slot);
            let addresses = v4.len() + v6.len();
            if addresses == 0 || suffix.len + 1 + set.label(slot).len() > MAX_NAME {
                continue;
            }
            if !last.is_some_and(|(it, _)| std::ptr::eq(it, ports)) {
                last = Some((ports, self.numbers_of(set, ports)));
            }
            let matching = last.map_or(0, |(_, matching)| matching);
            if matching == 0 {
                continue;
            }
            pairs += addresses * matching;
            self.srv.extend(self.ports.iter().map(|port| SrvRecord {
                slot: slot as u32,
                port: *port,
                at: 0,
            }));
            targets += 1;
            if targets == most {
                break;
            }
        }
        (targets, pairs)
    }
}

/// Everything but the length, the port and the label.
fn head(owner: u16, ttl: u32, weight: u16) -> [u8; HEAD] {
    let mut head = [0; HEAD];
    head[..2].copy_from_slice(&(POINTER | owner).to_be_bytes());
    head[2..4].copy_from_slice(&RrType::SRV.0.to_be_bytes());
    head[4..6].copy_from_slice(&IN);
    head[6..10].copy_from_slice(&ttl.to_be_bytes());
    head[14..16].copy_from_slice(&weight.to_be_bytes());
    head
}

/// The labels that the targets of a set end in.
struct Suffix {
    octets: [u8; MAX_NAME],
    len: usize,
}

impl Suffix {
    /// Most suffixes are shorter.
    const SHORT: usize = 64;

    /// Whether there was room.
    fn push(&mut self, labels: &[u8]) -> bool {
        let end = self.len + labels.len();
        let Some(place) = self.octets.get_mut(self.len..end) else { return false };
        place.copy_from_slice(labels);
        self.len = end;
        true
    }

    fn as_bytes(&self) -> &[u8] {
        &self.octets[..self.len]
    }

    /// Writes the labels to the start of `place`, which has room for them. What follows there may change: a copy of fixed
    /// length is several times faster.
    #[inline]
    fn write(&self, place: &mut [u8]) {
        match (self.octets.first_chunk::<{ Self::SHORT }>(), place.first_chunk_mut()) {
            (Some(octets), Some(place)) if self.len <= Self::SHORT => *place = *octets,
            _ => self.write_exactly(place),
        }
    }

    #[cold]
    fn write_exactly(&self, place: &mut [u8]) {
        place[..self.len].copy_from_slice(self.as_bytes());
    }
}
