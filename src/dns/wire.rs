//! Replies composed into a fixed buffer, without allocation: the codec of the UDP path.
//!
//! ([`Request`], [`Answer`], options) ──[`Composer::compose`]──▶ octets in the caller's buffer ──▶ `dns::udp`
//!
//! Pure and total. The question is repeated octet for octet; owner names point at it, at the target of the last CNAME, or
//! at an SRV target written before; targets of SRV records themselves are written in full (RFC 2782). If the answer does
//! not fit, whole records are left out and TC is set; if only additional RRsets do not fit they are left out without TC
//! (RFC 2181 §9). `dns::respond` composes the same messages with hickory-proto for the other transports; a test compares
//! the two on every query of the test tables.
//! Sources: RFC 1035 §4, RFC 2181 §9, RFC 2782, RFC 6891, RFC 8482, RFC 8914.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::config::{Shuffle, Zone, Zones};
use super::index::View;
use super::lookup::{Answer, Outcome, Records, RrType, SrvSet, Target};
use super::name::{MAX_NAME, NameRef};
use super::random::Random;
use super::reply::{Additions, Cookie, Entry, Fixed, Opt, Rcode, SCHEMA_VERSION, SCHEMA_VERSION_TTL, Soa};
use super::request::{HEADER, Header, Received, Request, receive};
use super::respond::{Handled, Transport, Verdict, decide};

/// Class IN on the wire.
const IN: [u8; 2] = [0, 1];
/// Where the question's name stands.
const QUESTION: u16 = HEADER as u16;
/// A pointer to an earlier name (RFC 1035 §4.1.4).
const POINTER: u16 = 0xc000;
/// SRV records considered for one reply: more than any datagram holds.
const MAX_SRV: usize = 256;
/// Type, class, TTL and length of the rdata.
const FIXED: usize = 10;
/// Records of one address with a compressed owner.
const A_RECORD: usize = 2 + FIXED + 4;
const AAAA_RECORD: usize = 2 + FIXED + 16;

/// A reply in the caller's buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Composed {
    /// Its octets.
    pub len: usize,
    /// Its response code.
    pub rcode: Rcode,
    /// The type asked for, if the question could be read.
    pub rr_type: Option<RrType>,
    /// The place of its zone, see [`Zones::label_of`].
    pub zone: usize,
}

/// Composes replies; keeps the lists that it needs while it does.
#[derive(Debug)]
pub struct Composer {
    random: Random,
    /// Target and port number of each SRV record, in the order to send.
    srv: Vec<(u32, u16)>,
    /// Offset of the name of each SRV target that is written.
    written: Vec<(u32, u16)>,
    /// Addresses to sort, in place of shuffling.
    sorted: Vec<u128>,
}

impl Composer {
    /// `seed`: decides the order of records.
    pub fn new(seed: u64) -> Self {
        Self { random: Random::new(seed), srv: Vec::new(), written: Vec::new(), sorted: Vec::new() }
    }

    /// Answers one packet.
    ///
    /// `out` holds the largest reply of the transport, and 512 octets at least. `admit`: decides whether a request is
    /// answered at all; `None` stands for one whose question is not understood.
    pub fn respond(
        &mut self,
        packet: &[u8],
        transport: Transport,
        view: &View,
        zones: &Zones,
        out: &mut [u8],
        admit: impl FnOnce(Option<&Request<'_>>) -> Entry,
    ) -> Handled<Composed> {
        let request = match receive(packet) {
            Received::Noise => return Handled::Silence,
            Received::Unreadable(header, rcode) => {
                if admit(None) == Entry::Silence {
                    return Handled::Silence;
                }
                out[..HEADER].copy_from_slice(&header.bare_reply(rcode, zones.recursion()));
                let zone = zones.label_of(None);
                return Handled::Here(Composed { len: HEADER, rcode, rr_type: None, zone });
            }
            Received::Query(request) => request,
        };
        let cookie = match admit(Some(&request)) {
            Entry::Admitted(cookie) => cookie,
            Entry::Refused(rcode, cookie) => {
                return Handled::Here(refuse(&request, Fixed::refused(rcode), cookie, zones, out));
            }
            Entry::Slipped(cookie) => {
                return Handled::Here(refuse(&request, Fixed::SLIPPED, cookie, zones, out));
            }
            Entry::Silence => return Handled::Silence,
        };
        Handled::Here(match decide(&request, view, zones) {
            Verdict::Onward(..) => return Handled::Onward,
            Verdict::Refused(rcode) => refuse(&request, Fixed::refused(rcode), cookie, zones, out),
            Verdict::Answer(answer) => {
                let limit = request.limit(transport, zones).into();
                let additions = Additions::of(&answer, cookie);
                let composed = self.compose(&request, &answer, view.serial(), &additions, zones, limit, out);
                Composed { zone: zones.label_of(answer.zone), ..composed }
            }
        })
    }

    /// The reply to a request in at most `limit` octets of `out`; `limit` is at least 512.
    pub fn compose(
        &mut self,
        request: &Request<'_>,
        answer: &Answer<'_>,
        serial: u32,
        additions: &Additions,
        zones: &Zones,
        limit: usize,
        out: &mut [u8],
    ) -> Composed {
        let fixed = Fixed::of(answer);
        let mut message = Message::begin(request, &fixed, additions, zones, limit.min(out.len()), out);
        if matches!(answer.outcome, Outcome::NotOurZone | Outcome::NotSynced) {
            return message.end(request, zones);
        }
        let mut owner = Owner { at: QUESTION, name: request.name.as_name() };
        for alias in &answer.aliases {
            let Some(at) = message.alias(owner, *alias, zones.ttl) else {
                message.truncated();
                return message.end(request, zones);
            };
            owner = Owner { at, name: *alias };
        }
        let complete = match &answer.outcome {
            Outcome::Records(records) => self.records(&mut message, records, owner, serial, zones),
            Outcome::NoData(zone) => message.negative(owner, zone, serial, zones.negative_ttl, zones),
            Outcome::NxDomain(zone, absence) => {
                message.negative(owner, zone, serial, zones.absence_ttl(*absence), zones)
            }
            Outcome::AliasOnly | Outcome::NotOurZone | Outcome::NotSynced => true,
        };
        if !complete {
            message.truncated();
        }
        message.end(request, zones)
    }

    /// Whether the answer section is whole.
    fn records(
        &mut self,
        message: &mut Message<'_>,
        records: &Records<'_>,
        owner: Owner<'_>,
        serial: u32,
        zones: &Zones,
    ) -> bool {
        match records {
            Records::A(addresses) => self.addresses(message, owner.at, addresses.as_slice(), zones),
            Records::Aaaa(addresses) => self.addresses(message, owner.at, addresses.as_slice(), zones),
            Records::Srv(set) => self.srv(message, owner, *set, zones),
            Records::Ptr(targets) => {
                let mut suffix = None;
                targets.iter().filter(|it| it.len() <= MAX_NAME).all(|target| {
                    message.record(Section::Answer, |it| {
                        it.head(owner.at, RrType::PTR, zones.ttl)?;
                        it.target(*target, &mut suffix)
                    })
                })
            }
            Records::Soa(zone) => message.soa(Section::Answer, owner, zone, serial, zones.soa_ttl, zones),
            Records::Ns(servers) => message.name_servers(owner, servers, zones),
            Records::SchemaVersion => message.record(Section::Answer, |it| {
                it.head(owner.at, RrType::TXT, SCHEMA_VERSION_TTL)?;
                it.put(&(SCHEMA_VERSION.len() as u16 + 1).to_be_bytes())?;
                it.string(SCHEMA_VERSION.as_bytes())
            }),
            Records::Hinfo => message.record(Section::Answer, |it| {
                it.head(owner.at, RrType::HINFO, zones.ttl)?;
                it.put(&9u16.to_be_bytes())?;
                it.string(b"RFC8482")?;
                it.string(b"")
            }),
        }
    }

    /// As many addresses as fit, in random order or sorted.
    fn addresses<A: Address>(
        &mut self,
        message: &mut Message<'_>,
        owner: u16,
        addresses: &[A],
        zones: &Zones,
    ) -> bool {
        let room = (message.limit - message.at) / A::RECORD;
        let count = addresses.len().min(room);
        let mut head = [0; 2 + FIXED];
        head[..2].copy_from_slice(&(POINTER | owner).to_be_bytes());
        head[2..4].copy_from_slice(&A::TYPE.0.to_be_bytes());
        head[4..6].copy_from_slice(&IN);
        head[6..10].copy_from_slice(&zones.ttl.to_be_bytes());
        head[11] = (A::RECORD - 2 - FIXED) as u8;
        let start = message.at;
        let records = message.out[start..start + count * A::RECORD].chunks_exact_mut(A::RECORD);
        match zones.shuffle {
            Shuffle::On => {
                // If not all fit, a random run of them goes out.
                let first =
                    if count < addresses.len() { self.random.below(addresses.len() as u32) } else { 0 };
                let (before, after) = addresses.split_at(first as usize);
                for (record, address) in records.zip(after.iter().chain(before)) {
                    record[..head.len()].copy_from_slice(&head);
                    address.write(&mut record[head.len()..]);
                }
                let out = &mut message.out[start..];
                self.random.permute(count, |a, b| {
                    let (a, b) = (a * A::RECORD + head.len(), b * A::RECORD + head.len());
                    for at in 0..A::RECORD - head.len() {
                        out.swap(a + at, b + at);
                    }
                });
            }
            Shuffle::Off => {
                self.sorted.clear();
                self.sorted.extend(addresses.iter().map(|it| it.bits()));
                self.sorted.sort_unstable();
                for (record, bits) in records.zip(&self.sorted) {
                    record[..head.len()].copy_from_slice(&head);
                    A::from_bits(*bits).write(&mut record[head.len()..]);
                }
            }
        }
        message.at += count * A::RECORD;
        message.counts[Section::Answer as usize] += count as u16;
        count == addresses.len()
    }

    fn srv(&mut self, message: &mut Message<'_>, owner: Owner<'_>, set: SrvSet<'_>, zones: &Zones) -> bool {
        self.srv.clear();
        self.written.clear();
        // A datagram holds a part of a huge set at most: that part begins anywhere.
        let slots = set.slots();
        let first = if slots > MAX_SRV && zones.shuffle == Shuffle::On {
            self.random.below(slots as u32) as usize
        } else {
            0
        };
        let mut considered = 0;
        for slot in (first..slots).chain(0..first) {
            let Some(target) = set.target(slot).filter(|it| it.target.len() <= MAX_NAME) else { continue };
            self.srv.extend(target.port_numbers().map(|port| (slot as u32, port)));
            considered += 1;
            if considered == MAX_SRV {
                break;
            }
        }
        if zones.shuffle == Shuffle::On {
            self.random.shuffle(&mut self.srv);
        }
        let weight = set.weight();
        for (slot, port) in &self.srv {
            let Some(target) = set.target(*slot as usize) else { continue };
            let mut name_at = 0;
            let fits = message.record(Section::Answer, |it| {
                it.head(owner.at, RrType::SRV, zones.ttl)?;
                it.put(&(target.target.len() as u16 + 6).to_be_bytes())?;
                it.put(&[0, 0])?;
                it.put(&weight.to_be_bytes())?;
                it.put(&port.to_be_bytes())?;
                name_at = it.at as u16;
                it.name(target.target)
            });
            if !fits {
                return false;
            }
            self.written.push((*slot, name_at));
        }
        let all = considered < MAX_SRV || considered == slots;
        if all {
            self.written.sort_unstable();
            self.written.dedup_by_key(|(slot, _)| *slot);
            for (slot, at) in &self.written {
                let Some(target) = set.target(*slot as usize) else { continue };
                message.glue(*at, target.v4, zones.ttl);
                message.glue(*at, target.v6, zones.ttl);
            }
        }
        all
    }
}

/// A reply with the question and empty sections.
pub fn refuse(
    request: &Request<'_>,
    fixed: Fixed,
    cookie: Option<Cookie>,
    zones: &Zones,
    out: &mut [u8],
) -> Composed {
    let additions = Additions { cookie, ..Additions::default() };
    Message::begin(request, &fixed, &additions, zones, out.len(), out).end(request, zones)
}

/// An address on the wire.
trait Address: Copy {
    const TYPE: RrType;
    /// Octets of a record with a compressed owner.
    const RECORD: usize;
    fn write(self, rdata: &mut [u8]);
    fn bits(self) -> u128;
    fn from_bits(bits: u128) -> Self;
}

impl Address for Ipv4Addr {
    const TYPE: RrType = RrType::A;
    const RECORD: usize = A_RECORD;

    fn write(self, rdata: &mut [u8]) {
        rdata.copy_from_slice(&self.octets());
    }

    fn bits(self) -> u128 {
        self.to_bits().into()
    }

    fn from_bits(bits: u128) -> Self {
        Self::from_bits(bits as u32)
    }
}

impl Address for Ipv6Addr {
    const TYPE: RrType = RrType::AAAA;
    const RECORD: usize = AAAA_RECORD;

    fn write(self, rdata: &mut [u8]) {
        rdata.copy_from_slice(&self.octets());
    }

    fn bits(self) -> u128 {
        self.to_bits()
    }

    fn from_bits(bits: u128) -> Self {
        Self::from_bits(bits)
    }
}

/// A name and where it stands in the message.
#[derive(Clone, Copy)]
struct Owner<'n> {
    at: u16,
    name: NameRef<'n>,
}

impl Owner<'_> {
    /// Where the apex of a zone that the name is within stands.
    fn apex(self, zone: &Zone) -> u16 {
        self.at + (self.name.wire().len() - zone.apex().wire().len()) as u16
    }
}

#[derive(Clone, Copy)]
enum Section {
    Answer = 0,
    Authority = 1,
    Additional = 2,
}

/// A message that grows in the caller's buffer.
struct Message<'b> {
    out: &'b mut [u8],
    at: usize,
    /// Octets for everything but the OPT record.
    limit: usize,
    counts: [u16; 3],
    flags: u8,
    rcode: Rcode,
    opt: Opt,
}

/// The record does not fit.
struct Full;

impl<'b> Message<'b> {
    fn begin(
        request: &Request<'_>,
        fixed: &Fixed,
        additions: &Additions,
        zones: &Zones,
        limit: usize,
        out: &'b mut [u8],
    ) -> Self {
        let opt = additions.opt(request, fixed.rcode, zones);
        let at = HEADER + request.question.len();
        out[HEADER..at].copy_from_slice(request.question);
        let limit = limit - opt.as_bytes().len();
        Self { out, at, limit, counts: [0; 3], flags: fixed.flags, rcode: fixed.rcode, opt }
    }

    fn truncated(&mut self) {
        self.flags |= Header::TC;
    }

    fn end(&mut self, request: &Request<'_>, zones: &Zones) -> Composed {
        let opt = self.opt.as_bytes();
        self.out[self.at..self.at + opt.len()].copy_from_slice(opt);
        self.at += opt.len();
        self.counts[Section::Additional as usize] += u16::from(!opt.is_empty());
        self.out[..4].copy_from_slice(&request.header.reply(self.flags, self.rcode, zones.recursion()));
        self.out[4..6].copy_from_slice(&[0, 1]);
        for (place, count) in self.out[6..HEADER].chunks_exact_mut(2).zip(self.counts) {
            place.copy_from_slice(&count.to_be_bytes());
        }
        let zone = zones.label_of(None);
        Composed { len: self.at, rcode: self.rcode, rr_type: Some(request.rr_type), zone }
    }

    /// Appends one record if it fits; otherwise leaves the message as it was.
    fn record(&mut self, section: Section, write: impl FnOnce(&mut Self) -> Result<(), Full>) -> bool {
        let start = self.at;
        let fits = write(self).is_ok();
        if fits {
            self.counts[section as usize] += 1;
        } else {
            self.at = start;
        }
        fits
    }

    fn put(&mut self, octets: &[u8]) -> Result<(), Full> {
        let end = self.at + octets.len();
        if end > self.limit {
            return Err(Full);
        }
        self.out[self.at..end].copy_from_slice(octets);
        self.at = end;
        Ok(())
    }

    /// A character string: its length and its octets.
    fn string(&mut self, text: &[u8]) -> Result<(), Full> {
        self.put(&[text.len() as u8])?;
        self.put(text)
    }

    /// Owner, type, class and TTL.
    fn head(&mut self, owner: u16, rr_type: RrType, ttl: u32) -> Result<(), Full> {
        let mut head = [0; FIXED];
        head[..2].copy_from_slice(&(POINTER | owner).to_be_bytes());
        head[2..4].copy_from_slice(&rr_type.0.to_be_bytes());
        head[4..6].copy_from_slice(&IN);
        head[6..].copy_from_slice(&ttl.to_be_bytes());
        self.put(&head)
    }

    /// A name in full.
    fn name(&mut self, target: Target<'_>) -> Result<(), Full> {
        self.service_part(target)?;
        self.put(target.zone.wire())
    }

    /// The labels of a target left of the zone.
    fn service_part(&mut self, target: Target<'_>) -> Result<(), Full> {
        if let Some(label) = target.endpoint {
            self.string(label)?;
        }
        self.put(target.service)?;
        self.put(b"\x03svc")
    }

    /// Length and name of a target as rdata. `zone`: where the name of the targets' zone stands already.
    fn target(&mut self, target: Target<'_>, zone: &mut Option<u16>) -> Result<(), Full> {
        let length_at = self.at;
        self.put(&[0, 0])?;
        self.service_part(target)?;
        match *zone {
            Some(at) => self.put(&(POINTER | at).to_be_bytes())?,
            None => {
                let at = self.at as u16;
                self.put(target.zone.wire())?;
                *zone = Some(at);
            }
        }
        let length = (self.at - length_at - 2) as u16;
        self.out[length_at..length_at + 2].copy_from_slice(&length.to_be_bytes());
        Ok(())
    }

    /// A CNAME record; returns where its target stands.
    fn alias(&mut self, owner: Owner<'_>, target: NameRef<'_>, ttl: u32) -> Option<u16> {
        let mut at = 0;
        let fits = self.record(Section::Answer, |it| {
            it.head(owner.at, RrType::CNAME, ttl)?;
            it.put(&(target.wire().len() as u16).to_be_bytes())?;
            at = it.at as u16;
            it.put(target.wire())
        });
        fits.then_some(at)
    }

    /// The SOA in the authority section.
    fn negative(&mut self, owner: Owner<'_>, zone: &Zone, serial: u32, ttl: u32, zones: &Zones) -> bool {
        self.soa(Section::Authority, owner, zone, serial, ttl, zones)
    }

    /// The SOA of the zone that `owner` is within. A zone whose name leaves no room for `hostmaster.` has none.
    fn soa(
        &mut self,
        section: Section,
        owner: Owner<'_>,
        zone: &Zone,
        serial: u32,
        ttl: u32,
        zones: &Zones,
    ) -> bool {
        if zone.apex().wire().len() + Soa::HOSTMASTER.len() > MAX_NAME {
            return true;
        }
        let apex = owner.apex(zone);
        let pointer = (POINTER | apex).to_be_bytes();
        self.record(section, |it| {
            it.head(apex, RrType::SOA, ttl)?;
            let length = Soa::NAME_SERVER.len() + Soa::HOSTMASTER.len() + 2 * pointer.len() + 20;
            it.put(&(length as u16).to_be_bytes())?;
            it.put(Soa::NAME_SERVER)?;
            it.put(&pointer)?;
            it.put(Soa::HOSTMASTER)?;
            it.put(&pointer)?;
            it.put(&serial.to_be_bytes())?;
            for value in [Soa::REFRESH, Soa::RETRY, Soa::EXPIRE, zones.negative_ttl] {
                it.put(&value.to_be_bytes())?;
            }
            Ok(())
        })
    }

    /// NS records and the addresses of their targets.
    fn name_servers(
        &mut self,
        owner: Owner<'_>,
        servers: &[super::lookup::NameServer<'_>],
        zones: &Zones,
    ) -> bool {
        // Few, and most often one: glue is looked for by walking the servers again.
        let mut targets = [0u16; 16];
        for (server, target_at) in servers.iter().zip(&mut targets) {
            let fits = self.record(Section::Answer, |it| {
                it.head(owner.at, RrType::NS, zones.ttl)?;
                *target_at = it.at as u16 + 2;
                match server.target {
                    Some(target) => it.target(target, &mut None),
                    None => {
                        let pointer = (POINTER | owner.apex(server.zone)).to_be_bytes();
                        it.put(&((Soa::NAME_SERVER.len() + pointer.len()) as u16).to_be_bytes())?;
                        it.put(Soa::NAME_SERVER)?;
                        it.put(&pointer)
                    }
                }
            });
            if !fits {
                return false;
            }
        }
        for (server, at) in servers.iter().zip(targets) {
            self.glue(at, server.v4, zones.ttl);
            self.glue(at, server.v6, zones.ttl);
        }
        servers.len() <= targets.len()
    }

    /// The address records of one name, all or none.
    fn glue<A: Address>(&mut self, owner: u16, addresses: &[A], ttl: u32) {
        if addresses.len() * A::RECORD > self.limit - self.at {
            return;
        }
        for address in addresses {
            let mut rdata = [0; 16];
            let rdata = &mut rdata[..A::RECORD - 2 - FIXED];
            address.write(rdata);
            self.record(Section::Additional, |it| {
                it.head(owner, A::TYPE, ttl)?;
                it.put(&(rdata.len() as u16).to_be_bytes())?;
                it.put(rdata)
            });
        }
    }
}
