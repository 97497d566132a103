//! Replies composed into a fixed buffer, without allocation: the codec of the UDP path.
//!
//! ([`Request`], [`Answer`], options) ──[`Composer::respond`]──▶ octets in the caller's buffer ──▶ `dns::udp`
//!
//! Pure and total. The question is repeated octet for octet; owner names point at it, at the target of the last CNAME, or
//! at an SRV target written before; targets of SRV records themselves are written in full (RFC 2782). If the answer does
//! not fit, whole records are left out and TC is set; if only additional RRsets do not fit they are left out without TC
//! (RFC 2181 §9). `dns::respond` composes the same messages with hickory-proto for the other transports; a test compares
//! the two on every query of the test tables.
//! Sources: RFC 1035 §4, RFC 2181 §9, RFC 2782, RFC 6891, RFC 8482, RFC 8914.

mod address;
mod message;
mod srv;

use self::address::{Address, AddressHead, address_head, write_record};
use self::message::{Message, Owner, Section};
use self::srv::SrvRecord;
use super::config::{Shuffle, Zones};
use super::forward::onward;
use super::index::View;
use super::lookup::{Answer, Outcome, Records, RrType, lookup};
use super::name::{MAX_NAME, OwnerName};
use super::random::Random;
use super::reply::{
    Additions, Cookie, Entry, Fixed, Rcode, SCHEMA_VERSION, SCHEMA_VERSION_TTL, reply_unasked,
};
use super::request::{HEADER, Received, Request, receive};
use super::respond::{Handled, Transport};

/// Where the question's name stands.
const QUESTION: u16 = HEADER as u16;
/// Addresses that are shuffled before they are written.
const FEW: usize = 16;

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

/// What a reply is like besides its records.
struct Form<'a> {
    /// Largest size in octets, 512 at least.
    limit: usize,
    additions: Additions<'a>,
    /// Of every SOA record.
    serial: u32,
}

/// Composes replies; keeps the lists that it needs while it does.
#[derive(Debug)]
pub struct Composer {
    /// Where the name of the question goes.
    name: OwnerName,
    writer: Writer,
}

/// Writes the records of replies.
#[derive(Debug)]
struct Writer {
    random: Random,
    /// In the order to send.
    srv: Vec<SrvRecord>,
    /// Numbers of the ports looked at.
    ports: Vec<u16>,
    /// Addresses to sort, in place of shuffling.
    sorted: Vec<u128>,
}

impl Composer {
    /// `seed`: decides the order of records.
    pub fn new(seed: u64) -> Self {
        let (srv, ports, sorted) = (Vec::new(), Vec::new(), Vec::new());
        let writer = Writer { random: Random::new(seed), srv, ports, sorted };
        Self { name: OwnerName::ROOT, writer }
    }

    /// Answers one packet.
    ///
    /// `out` holds the largest reply of the transport, and 512 octets at least. `admit`: decides whether a request is
    /// answered at all; `None` stands for one whose question is not understood.
    #[inline(always)]
    pub fn respond(
        &mut self,
        packet: &[u8],
        transport: Transport,
        view: &View,
        zones: &Zones,
        out: &mut [u8],
        admit: impl FnOnce(Option<&Request<'_>>) -> Entry,
    ) -> Handled<Composed> {
        let Self { name, writer } = self;
        let request = match receive(packet, name) {
            Received::Noise => return Handled::Silence,
            Received::Unreadable(header, rcode) => {
                if admit(None) == Entry::Silence {
                    return Handled::Silence;
                }
                out[..HEADER].copy_from_slice(&header.bare_reply(rcode, zones.recursion()));
                let zone = zones.label_of(None);
                return Handled::Here(Composed { len: HEADER, rcode, rr_type: None, zone });
            }
            Received::Unasked(request) => {
                let reply = reply_unasked(&request, admit(Some(&request)), zones, out);
                let Some((len, rcode)) = reply else { return Handled::Silence };
                return Handled::Here(Composed { len, rcode, rr_type: None, zone: zones.label_of(None) });
            }
            Received::Query(request) => request,
        };
        let entry = admit(Some(&request));
        let cookie = match &entry {
            Entry::Admitted(cookie) => cookie.as_ref(),
            Entry::Refused(rcode, cookie) => {
                let fixed = Fixed::refused(*rcode);
                return Handled::Here(refuse(&request, fixed, cookie.as_ref(), zones, out));
            }
            Entry::Slipped(cookie) => {
                return Handled::Here(refuse(&request, Fixed::SLIPPED, cookie.as_ref(), zones, out));
            }
            Entry::Silence => return Handled::Silence,
        };
        if let Some(rcode) = request.refusal() {
            return Handled::Here(refuse(&request, Fixed::refused(rcode), cookie, zones, out));
        }
        let answer = lookup(view, zones, request.name, request.rr_type);
        if onward(&answer, &request, zones).is_some() {
            return Handled::Onward;
        }
        let form = Form {
            limit: request.limit(transport, zones).into(),
            additions: Additions::of(&answer, view.freshness(), cookie),
            serial: view.serial(),
        };
        let composed = writer.compose(&request, &answer, &form, zones, out);
        Handled::Here(Composed { zone: zones.label_of(answer.zone), ..composed })
    }
}

impl Writer {
    /// The reply to a request.
    #[inline(always)]
    fn compose(
        &mut self,
        request: &Request<'_>,
        answer: &Answer<'_>,
        form: &Form<'_>,
        zones: &Zones,
        out: &mut [u8],
    ) -> Composed {
        let limit = form.limit.min(out.len());
        let mut message = Message::begin(request, Fixed::of(answer), &form.additions, limit, out);
        let mut owner = Owner { at: QUESTION, len: request.name.wire().len() as u16 };
        let complete = message.aliases(&mut owner, &answer.aliases, zones.ttl)
            && match &answer.outcome {
                Outcome::Records(Records::A(all)) => {
                    self.addresses(&mut message, owner.at, all.as_slice(), zones)
                }
                Outcome::Records(records) => self.records(&mut message, records, owner, form.serial, zones),
                Outcome::NoData(zone) => {
                    message.negative(owner, zone, form.serial, zones.negative_ttl, zones)
                }
                Outcome::NxDomain(zone, absence) => {
                    message.negative(owner, zone, form.serial, zones.absence_ttl(*absence), zones)
                }
                Outcome::AliasOnly | Outcome::NotOurZone | Outcome::NotSynced => true,
            };
        if !complete {
            message.truncated();
        }
        message.end(request, &form.additions, zones)
    }

    /// Whether the answer section is whole.
    #[inline(never)]
    fn records(
        &mut self,
        message: &mut Message<'_>,
        records: &Records<'_>,
        owner: Owner,
        serial: u32,
        zones: &Zones,
    ) -> bool {
        match records {
            Records::A(addresses) => self.addresses(message, owner.at, addresses.as_slice(), zones),
            Records::Aaaa(addresses) => self.addresses(message, owner.at, addresses.as_slice(), zones),
            Records::Srv(set) => self.srv(message, owner, *set, zones),
            Records::Ptr(targets) => {
                let mut suffix = None;
                targets.iter().filter(|it| it.wire_len() <= MAX_NAME).all(|target| {
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
    #[inline(always)]
    fn addresses<A: Address>(
        &mut self,
        message: &mut Message<'_>,
        owner: u16,
        addresses: &[A],
        zones: &Zones,
    ) -> bool {
        let head = address_head::<A>(owner, zones.ttl);
        if let [address] = addresses
            && let Some(record) = message.answers(1, A::RECORD)
        {
            write_record(record, &head, *address);
            return true;
        }
        self.several(message, &head, addresses, zones)
    }

    fn several<A: Address>(
        &mut self,
        message: &mut Message<'_>,
        head: &AddressHead,
        addresses: &[A],
        zones: &Zones,
    ) -> bool {
        let count = addresses.len().min((message.limit - message.at) / A::RECORD);
        let Some(octets) = message.answers(count, A::RECORD) else { return false };
        let records = octets.chunks_exact_mut(A::RECORD);
        match zones.shuffle {
            Shuffle::On if addresses.len() <= FEW => {
                let mut few = [A::UNSPECIFIED; FEW];
                for (place, address) in few.iter_mut().zip(addresses) {
                    *place = *address;
                }
                // The remainder says to the compiler what is so anyway.
                self.random.permute(addresses.len(), |a, b| few.swap(a % FEW, b % FEW));
                for (record, address) in records.zip(few) {
                    write_record(record, head, address);
                }
            }
            Shuffle::On => {
                // If not all fit, a random run of them goes out.
                let first =
                    if count < addresses.len() { self.random.below(addresses.len() as u32) } else { 0 };
                let (before, after) = addresses.split_at(first as usize);
                for (record, address) in records.zip(after.iter().chain(before)) {
                    write_record(record, head, *address);
                }
                self.random.permute(count, |a, b| {
                    let (a, b) = (a * A::RECORD + head.len(), b * A::RECORD + head.len());
                    for at in 0..A::RECORD - head.len() {
                        octets.swap(a + at, b + at);
                    }
                });
            }
            Shuffle::Off => {
                self.sorted.clear();
                self.sorted.extend(addresses.iter().map(|it| it.bits()));
                self.sorted.sort_unstable();
                for (record, bits) in records.zip(&self.sorted) {
                    write_record(record, head, A::from_bits(*bits));
                }
            }
        }
        count == addresses.len()
    }
}

/// A reply with the question and empty sections.
#[cold]
pub fn refuse(
    request: &Request<'_>,
    fixed: Fixed,
    cookie: Option<&Cookie>,
    zones: &Zones,
    out: &mut [u8],
) -> Composed {
    let additions = Additions { cookie, ..Additions::default() };
    Message::begin(request, fixed, &additions, out.len(), out).end(request, &additions, zones)
}
