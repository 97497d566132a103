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
use super::forward::onward;
use super::index::View;
use super::lookup::{Answer, Outcome, Records, Target, lookup};
use super::name::{NameRef, OwnerName};
use super::random::Random;
pub use super::reply::{Additions, Rcode, Reply};
use super::reply::{
    Entry, ExtendedError, Fixed, MAX_UNASKED, SCHEMA_VERSION, SCHEMA_VERSION_TTL, Soa, reply_unasked,
};
use super::request::{HEADER, Header, Received, Request, receive};

/// How a request came, which decides the size of the reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// One datagram.
    Udp,
    /// A stream, up to 65535 octets a message.
    Tcp,
}

/// What a codec makes of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Handled<T> {
    /// No reply: too short for a header, or itself a response.
    Silence,
    /// The reply.
    Here(T),
    /// `dns::forward` replies, once others have been asked.
    Onward,
}

impl<T> Handled<T> {
    /// The reply, if it needs nobody else.
    pub fn here(self) -> Option<T> {
        match self {
            Self::Here(reply) => Some(reply),
            Self::Silence | Self::Onward => None,
        }
    }
}

/// Answers one packet.
///
/// `seed`: decides the order of addresses and SRV records; a different one for every call. `admit`: decides whether a
/// request is answered at all; `None` stands for one whose question is not understood.
pub fn respond(
    packet: &[u8],
    transport: Transport,
    view: &View,
    zones: &Zones,
    seed: u64,
    admit: impl FnOnce(Option<&Request<'_>>) -> Entry,
) -> Handled<Reply> {
    let mut name = OwnerName::ROOT;
    let request = match receive(packet, &mut name) {
        Received::Noise => return Handled::Silence,
        Received::Unreadable(header, rcode) => {
            if admit(None) == Entry::Silence {
                return Handled::Silence;
            }
            let octets = header.bare_reply(rcode, zones.recursion()).to_vec();
            return Handled::Here(Reply { octets, rcode, rr_type: None, zone: zones.label_of(None) });
        }
        Received::Unasked(request) => {
            let mut octets = vec![0; MAX_UNASKED];
            let Some((len, rcode)) = reply_unasked(&request, admit(Some(&request)), zones, &mut octets)
            else {
                return Handled::Silence;
            };
            octets.truncate(len);
            return Handled::Here(Reply { octets, rcode, rr_type: None, zone: zones.label_of(None) });
        }
        Received::Query(request) => request,
    };
    let limit = request.limit(transport, zones);
    let only = |fixed, cookie| {
        let additions = Additions { cookie, ..Additions::default() };
        compose(&request, zones, limit, &Content::empty(fixed), &additions)
    };
    let entry = admit(Some(&request));
    let cookie = match &entry {
        Entry::Admitted(cookie) => cookie.as_ref(),
        Entry::Refused(rcode, cookie) => {
            return Handled::Here(only(Fixed::refused(*rcode), cookie.as_ref()));
        }
        Entry::Slipped(cookie) => return Handled::Here(only(Fixed::SLIPPED, cookie.as_ref())),
        Entry::Silence => return Handled::Silence,
    };
    if let Some(rcode) = request.refusal() {
        return Handled::Here(only(Fixed::refused(rcode), cookie));
    }
    let answer = lookup(view, zones, request.name, request.rr_type);
    if onward(&answer, &request, zones).is_some() {
        return Handled::Onward;
    }
    let render = Render { zones, serial: view.serial(), random: Random::new(seed) };
    let content = render.content(&request, &answer);
    let additions = Additions::of(&answer, view.freshness(), cookie);
    let reply = compose(&request, zones, limit, &content, &additions);
    Handled::Here(Reply { zone: zones.label_of(answer.zone), ..reply })
}

/// The reply that turns a request down with `rcode`, in place of the answer to its question.
pub fn turn_down(
    request: &Request<'_>,
    zones: &Zones,
    rcode: Rcode,
    extended_error: Option<ExtendedError>,
) -> Reply {
    let additions = Additions { extended_error, ..Additions::default() };
    compose(request, zones, request.limit(Transport::Tcp, zones), &Content::only(rcode), &additions)
}

/// The records that `owner` itself has in an answer about it, however many; of a chain of CNAMEs only the first.
///
/// Sorted when `zones` says so. For zone transfers, which must not disagree with replies.
pub fn own_records(owner: NameRef<'_>, answer: &Answer<'_>, zones: &Zones, serial: u32) -> Vec<Record> {
    let Some(name) = to_name(owner.wire()) else { return Vec::new() };
    let mut content = Content::only(Rcode::NoError);
    let mut render = Render { zones, serial, random: Random::new(0) };
    if let Some(alias) = answer.aliases.first() {
        let target = to_name(alias.wire()).map(|it| RData::CNAME(CNAME(it)));
        return target.map(|it| Record::from_rdata(name, zones.ttl, it)).into_iter().collect();
    }
    if let Outcome::Records(records) = &answer.outcome {
        render.records(records, &name, &mut content);
    }
    content.answers
}

/// Encodes the reply in at most `limit` octets.
pub(super) fn compose(
    request: &Request<'_>,
    zones: &Zones,
    limit: u16,
    content: &Content,
    additions: &Additions<'_>,
) -> Reply {
    let opt = additions.opt(request, content.fixed.rcode, zones);
    let mut octets = Vec::with_capacity(512);
    let mut message = Encoder { inner: BinEncoder::new(&mut octets), limit: usize::from(limit) - opt.len() };
    message.inner.emit_vec(&[0; HEADER]).expect("a header fits an empty buffer");
    let spelling = to_name(request.spelling()).expect("the name has been read before");
    let question = spelling.emit(&mut message.inner);
    let fixed = &request.question[request.spelling().len()..];
    question.and_then(|()| message.inner.emit_vec(fixed)).expect("a question fits 512 octets");

    let Fixed { rcode, mut flags } = content.fixed;
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
    octets[..4].copy_from_slice(&request.header.reply(flags, rcode, zones.recursion()));
    for (at, count) in counts.iter().enumerate() {
        octets[4 + 2 * at..6 + 2 * at].copy_from_slice(&count.to_be_bytes());
    }
    Reply { octets, rcode, rr_type: Some(request.rr_type), zone: zones.label_of(None) }
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
pub(super) struct Content {
    pub fixed: Fixed,
    pub answers: Vec<Record>,
    pub authority: Vec<Record>,
    /// By RRset.
    pub additional: Vec<Vec<Record>>,
}

impl Content {
    /// Empty sections, not authoritative.
    pub fn only(rcode: Rcode) -> Self {
        Self::empty(Fixed::refused(rcode))
    }

    pub fn empty(fixed: Fixed) -> Self {
        Self { fixed, answers: Vec::new(), authority: Vec::new(), additional: Vec::new() }
    }
}

/// What the records of an answer take from outside of it.
pub(super) struct Render<'a> {
    pub zones: &'a Zones,
    pub serial: u32,
    pub random: Random,
}

impl Render<'_> {
    pub fn content(mut self, request: &Request<'_>, answer: &Answer<'_>) -> Content {
        let mut content = Content::empty(Fixed::of(answer));
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
            Outcome::NoData(zone) => content.authority.extend(self.soa(zone, self.zones.negative_ttl)),
            Outcome::NxDomain(zone, absence) => {
                content.authority.extend(self.soa(zone, self.zones.absence_ttl(*absence)));
            }
            Outcome::AliasOnly | Outcome::NotOurZone | Outcome::NotSynced => {}
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
        let mut hostmaster = Soa::HOSTMASTER.to_vec();
        hostmaster.extend_from_slice(zone.apex().wire());
        let soa = SOA::new(
            name_server(zone.apex())?,
            to_name(&hostmaster)?,
            self.serial,
            Soa::REFRESH as i32,
            Soa::RETRY as i32,
            Soa::EXPIRE as i32,
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
    let mut wire = Soa::NAME_SERVER.to_vec();
    wire.extend_from_slice(apex.wire());
    to_name(&wire)
}

fn target_name(target: Target<'_>) -> Option<Name> {
    to_name(&target.to_wire())
}

/// `None` for a name of more than 255 octets: nobody could ask for it either.
pub(super) fn to_name(wire: &[u8]) -> Option<Name> {
    Name::read(&mut BinDecoder::new(wire)).ok()
}
