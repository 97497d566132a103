//! One request packet into one reply packet.
//!
//! (octets, transport, `View`, `Zones`, seed) ──[`respond`]──▶ [`Reply`], or silence ──▶ `dns::serve`
//!
//! Pure and total: any octets are answered or dropped, none stop the process. The order of the checks is that of the
//! protocol table in docs/DNS.md: drop, NOTIMP, FORMERR, class, EDNS version, transfers, zones. `dns::request` reads the
//! request, hickory-proto encodes the records of replies.
//! Truncation is ours: hickory sets TC when only additional data is cut (RFC 2181 §9 says not to).
//! Sources: RFC 1035 §4, RFC 2181 §9, RFC 2782, RFC 6891, RFC 8482, RFC 8914.

use hickory_proto::rr::rdata::{A, AAAA, CNAME, HINFO, NS, PTR, SOA, SRV, TXT};
use hickory_proto::rr::{Name, RData, Record};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder, BinEncodable, BinEncoder};

use super::config::{Shuffle, Zone, Zones};
use super::index::View;
use super::lookup::{Absence, Answer, Outcome, Records, RrType, Target, lookup};
use super::name::NameRef;
use super::request::{HEADER, Header, Received, Request, receive};

/// The version of the Kubernetes DNS schema that is served.
const SCHEMA_VERSION: &str = "1.1.0";
/// TTL of the schema version record, in seconds.
const SCHEMA_VERSION_TTL: u32 = 28_800;
const SOA_REFRESH: i32 = 7200;
const SOA_RETRY: i32 = 1800;
const SOA_EXPIRE: i32 = 86_400;
/// Extended DNS error "Not Ready" (RFC 8914 §4.15).
const EDE_NOT_READY: u16 = 14;

/// How a request came, which decides the size of the reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// One datagram.
    Udp,
    /// A stream, up to 65535 octets a message.
    Tcp,
}

/// Response codes in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are those of the IANA registry")]
#[repr(u16)]
pub enum Rcode {
    NoError = 0,
    FormErr = 1,
    ServFail = 2,
    NxDomain = 3,
    NotImp = 4,
    Refused = 5,
    BadVers = 16,
}

/// A reply and what it was about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The message.
    pub octets: Vec<u8>,
    /// Its response code.
    pub rcode: Rcode,
    /// The type asked for, if the question could be read.
    pub rr_type: Option<RrType>,
}

/// Answers one packet; `None` when it must be dropped (too short for a header, or itself a response).
///
/// `seed`: decides the order of addresses and SRV records; a different one for every call.
pub fn respond(packet: &[u8], transport: Transport, view: &View, zones: &Zones, seed: u64) -> Option<Reply> {
    let request = match receive(packet) {
        Received::Noise => return None,
        Received::Unreadable(header, rcode) => {
            return Some(Reply { octets: header.bare_reply(rcode, false).to_vec(), rcode, rr_type: None });
        }
        Received::Query(request) => request,
    };
    let limit = request.limit(transport, zones);
    let refusal = request.is_transfer().then_some(Rcode::Refused);
    if let Some(rcode) = request.objection().or(refusal) {
        return Some(compose(&request, zones, limit, &Content::only(rcode)));
    }
    let answer = lookup(view, zones, request.name.as_name(), request.rr_type);
    let content = Render { zones, serial: view.serial(), random: Random(seed) }.content(&request, &answer);
    Some(compose(&request, zones, limit, &content))
}

/// Encodes the reply in at most `limit` octets.
fn compose(request: &Request<'_>, zones: &Zones, limit: u16, content: &Content) -> Reply {
    let opt = opt(request, zones, content);
    let mut octets = Vec::with_capacity(512);
    let mut message = Encoder { inner: BinEncoder::new(&mut octets), limit: usize::from(limit) - opt.len() };
    message.inner.emit_vec(&[0; HEADER]).expect("a header fits an empty buffer");
    let spelling = to_name(request.spelling()).expect("the name has been read before");
    let question = spelling.emit(&mut message.inner);
    let fixed = &request.question[request.spelling().len()..];
    question.and_then(|()| message.inner.emit_vec(fixed)).expect("a question fits 512 octets");

    let mut flags = content.flags;
    let mut counts = [1u16, 0, 0, u16::from(!opt.is_empty())];
    let all_answers = content.answers.iter().all(|it| message.push(it, &mut counts[1]));
    let all_authority = all_answers && content.authority.iter().all(|it| message.push(it, &mut counts[2]));
    if all_authority {
        // Additional RRsets are whole or absent, and nobody has to ask again for them.
        for rrset in &content.additional {
            message.push_all(rrset, &mut counts[3]);
        }
    } else {
        flags |= Header::TC;
    }
    drop(message);
    octets.extend_from_slice(&opt);
    octets[..4].copy_from_slice(&request.header.reply(flags, content.rcode, false));
    for (at, count) in counts.iter().enumerate() {
        octets[4 + 2 * at..6 + 2 * at].copy_from_slice(&count.to_be_bytes());
    }
    Reply { octets, rcode: content.rcode, rr_type: Some(request.rr_type) }
}

/// The OPT record of the reply: present when and only when the request had one (RFC 6891 §6.1.1). Options of the
/// request are ignored and never sent back.
fn opt(request: &Request<'_>, zones: &Zones, content: &Content) -> Vec<u8> {
    let Some(edns) = &request.edns else { return Vec::new() };
    let mut opt = vec![0, 0, 41];
    opt.extend(zones.max_udp_payload.to_be_bytes());
    opt.extend([(content.rcode as u16 >> 4) as u8, 0, if edns.dnssec_ok { 0x80 } else { 0 }, 0]);
    match content.extended_error {
        None => opt.extend([0, 0]),
        Some(code) => {
            opt.extend([0, 6, 0, 15, 0, 2]);
            opt.extend(code.to_be_bytes());
        }
    }
    opt
}

struct Encoder<'a> {
    inner: BinEncoder<'a>,
    /// Octets for everything but the OPT record.
    limit: usize,
}

impl Encoder<'_> {
    /// Appends a record if it fits; otherwise leaves the message as it was.
    fn push(&mut self, record: &Record, count: &mut u16) -> bool {
        let before = self.inner.offset();
        let fits = record.emit(&mut self.inner).is_ok() && self.inner.offset() <= self.limit;
        if fits {
            *count += 1;
        } else {
            self.cut(before);
        }
        fits
    }

    /// Appends all records or none.
    fn push_all(&mut self, records: &[Record], count: &mut u16) {
        let before = (self.inner.offset(), *count);
        if !records.iter().all(|it| self.push(it, count)) {
            self.cut(before.0);
            *count = before.1;
        }
    }

    fn cut(&mut self, offset: usize) {
        self.inner.set_offset(offset);
        self.inner.trim();
    }
}

/// The sections of a reply, before they are fitted into a message.
#[derive(Debug)]
struct Content {
    rcode: Rcode,
    flags: u8,
    answers: Vec<Record>,
    authority: Vec<Record>,
    /// By RRset.
    additional: Vec<Vec<Record>>,
    extended_error: Option<u16>,
}

impl Content {
    /// Empty sections, not authoritative.
    fn only(rcode: Rcode) -> Self {
        let (answers, authority, additional) = (Vec::new(), Vec::new(), Vec::new());
        Self { rcode, flags: 0, answers, authority, additional, extended_error: None }
    }
}

/// What the records of an answer take from outside of it.
struct Render<'a> {
    zones: &'a Zones,
    serial: u32,
    random: Random,
}

impl Render<'_> {
    fn content(mut self, request: &Request<'_>, answer: &Answer<'_>) -> Content {
        let mut content = Content::only(Rcode::NoError);
        content.flags = Header::AA;
        let ttl = self.zones.ttl;
        let mut owner = to_name(request.spelling()).expect("the name has been read before");
        for alias in &answer.aliases {
            let target = to_name(alias.wire());
            let Some(target) = target else { break };
            content.answers.push(Record::from_rdata(owner, ttl, RData::CNAME(CNAME(target.clone()))));
            owner = target;
        }
        match &answer.outcome {
            Outcome::Records(records) => self.records(records, &owner, &mut content),
            Outcome::AliasOnly => {}
            Outcome::NoData(zone) => content.authority.extend(self.soa(zone, self.zones.negative_ttl)),
            Outcome::NxDomain(zone, absence) => {
                content.rcode = Rcode::NxDomain;
                let ttl = match absence {
                    Absence::Unknown => self.zones.negative_ttl,
                    Absence::Pending => self.zones.pending_ttl,
                };
                content.authority.extend(self.soa(zone, ttl));
            }
            Outcome::NotOurZone => return Content::only(Rcode::Refused),
            Outcome::NotSynced => {
                return Content { extended_error: Some(EDE_NOT_READY), ..Content::only(Rcode::ServFail) };
            }
        }
        content
    }

    fn records(&mut self, records: &Records<'_>, owner: &Name, content: &mut Content) {
        let ttl = self.zones.ttl;
        let record = |rdata| Record::from_rdata(owner.clone(), ttl, rdata);
        let start = content.answers.len();
        match records {
            Records::A(addresses) => {
                let mut all = addresses.as_slice().to_vec();
                self.order(&mut all, Ord::cmp);
                content.answers.extend(all.into_iter().map(|it| record(RData::A(A(it)))));
            }
            Records::Aaaa(addresses) => {
                let mut all = addresses.as_slice().to_vec();
                self.order(&mut all, Ord::cmp);
                content.answers.extend(all.into_iter().map(|it| record(RData::AAAA(AAAA(it)))));
            }
            Records::Srv(set) => {
                let weight = set.weight();
                for target in set.targets() {
                    let Some(name) = target_name(target.target) else { continue };
                    let ports = target.port_numbers();
                    let rdata = ports.map(|port| RData::SRV(SRV::new(0, weight, port, name.clone())));
                    content.answers.extend(rdata.map(record));
                    content.additional.extend(address_sets(&name, ttl, target.v4, target.v6));
                }
                // Already sorted by target and port.
                self.order(&mut content.answers[start..], |_, _| std::cmp::Ordering::Equal);
            }
            Records::Ptr(targets) => {
                let names = targets.iter().filter_map(|it| target_name(*it));
                content.answers.extend(names.map(|it| record(RData::PTR(PTR(it)))));
            }
            Records::Soa(zone) => {
                let soa = self.soa(zone, self.zones.soa_ttl);
                content.answers.extend(soa.map(|mut soa| {
                    soa.name = owner.clone();
                    soa
                }));
            }
            Records::Ns(servers) => {
                for server in servers {
                    let name = match server.target {
                        Some(target) => target_name(target),
                        None => name_server(server.zone.apex()),
                    };
                    let Some(name) = name else { continue };
                    content.answers.push(record(RData::NS(NS(name.clone()))));
                    content.additional.extend(address_sets(&name, ttl, server.v4, server.v6));
                }
            }
            Records::SchemaVersion => {
                let text = RData::TXT(TXT::new(vec![SCHEMA_VERSION.to_string()]));
                content.answers.push(Record::from_rdata(owner.clone(), SCHEMA_VERSION_TTL, text));
            }
            Records::Hinfo => {
                content.answers.push(record(RData::HINFO(HINFO::new("RFC8482".to_string(), String::new()))));
            }
        }
    }

    /// `None` when the zone's name is too long to hold `ns.dns.` in front.
    fn soa(&self, zone: &Zone, ttl: u32) -> Option<Record> {
        let mut hostmaster = b"\x0ahostmaster".to_vec();
        hostmaster.extend_from_slice(zone.apex().wire());
        let soa = SOA::new(
            name_server(zone.apex())?,
            to_name(&hostmaster)?,
            self.serial,
            SOA_REFRESH,
            SOA_RETRY,
            SOA_EXPIRE,
            self.zones.negative_ttl,
        );
        Some(Record::from_rdata(to_name(zone.apex().wire())?, ttl, RData::SOA(soa)))
    }

    fn order<T>(&mut self, items: &mut [T], compare: impl FnMut(&T, &T) -> std::cmp::Ordering) {
        match self.zones.shuffle {
            Shuffle::Off => items.sort_by(compare),
            Shuffle::On => self.random.shuffle(items),
        }
    }
}

/// The address RRsets of one name, IPv4 first, none empty.
fn address_sets(
    owner: &Name,
    ttl: u32,
    v4: &[std::net::Ipv4Addr],
    v6: &[std::net::Ipv6Addr],
) -> impl Iterator<Item = Vec<Record>> {
    let v4 = v4.iter().map(|it| Record::from_rdata(owner.clone(), ttl, RData::A(A(*it)))).collect();
    let v6 = v6.iter().map(|it| Record::from_rdata(owner.clone(), ttl, RData::AAAA(AAAA(*it)))).collect();
    [v4, v6].into_iter().filter(|it: &Vec<Record>| !it.is_empty())
}

fn name_server(apex: NameRef<'_>) -> Option<Name> {
    let mut wire = b"\x02ns\x03dns".to_vec();
    wire.extend_from_slice(apex.wire());
    to_name(&wire)
}

fn target_name(target: Target<'_>) -> Option<Name> {
    to_name(&target.to_wire())
}

/// `None` for a name of more than 255 octets: nobody could ask for it either.
fn to_name(wire: &[u8]) -> Option<Name> {
    Name::read(&mut BinDecoder::new(wire)).ok()
}

/// SplitMix64 (Steele, Lea, Flood 2014): small, fast and good enough to spread load. Not for secrets.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// A number below `bound`, each equally likely: values of the last, incomplete run of `bound` numbers are redrawn.
    fn below(&mut self, bound: u64) -> u64 {
        let whole = u64::MAX - u64::MAX % bound;
        loop {
            let drawn = self.next();
            if drawn < whole {
                return drawn % bound;
            }
        }
    }

    /// Fisher-Yates: every order equally likely.
    fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last as u64 + 1) as usize);
        }
    }
}
