//! One request packet, read without allocation.
//!
//! octets ──[`receive`]──▶ [`Received`] ──▶ `dns::respond`
//!
//! Pure and total: any octets are read, refused or dropped. The order of the checks is that of the protocol table in
//! docs/DNS.md. What is not implemented is not decoded, so a malformed option that nobody reads is no error. Compression
//! pointers are never followed: the question has nothing before it to point to, and no other name of a request matters.
//! Sources: RFC 1035 §4, RFC 6891, RFC 6895 §2, RFC 9267.

use super::config::Zones;
use super::lookup::RrType;
use super::name::{NameRef, OwnerName};
use super::respond::{Rcode, Transport};

/// UDP reply size without EDNS (RFC 1035 §2.3.4).
const PLAIN_UDP_PAYLOAD: u16 = 512;
/// Class IN.
const CLASS_IN: u16 = 1;
/// The pseudo record with EDNS data (RFC 6891 §6.1).
const TYPE_OPT: u16 = 41;
/// Octets of the fixed first part of a message.
pub const HEADER: usize = 12;

/// What a packet is.
#[derive(Debug)]
pub enum Received<'p> {
    /// Too short for a header, or itself a response: no reply.
    Noise,
    /// The question is not understood: a header with empty sections is the reply.
    Unreadable(Header, Rcode),
    /// One question.
    Query(Request<'p>),
    /// No question, but EDNS data: a client that wants nothing but a cookie (RFC 7873 §5.4).
    Unasked(Request<'p>),
}

/// Reads one packet. `name`: where the folded name of the question goes.
#[inline(always)]
pub fn receive<'p>(packet: &'p [u8], name: &'p mut OwnerName) -> Received<'p> {
    let Some(header) = Header::read(packet) else { return Received::Noise };
    if header.opcode() != 0 {
        return Received::Unreadable(header, Rcode::NotImp);
    }
    match Request::read(header, packet, name) {
        Some(request) => Received::Query(request),
        None => Request::read_unasked(header, packet)
            .map_or(Received::Unreadable(header, Rcode::FormErr), Received::Unasked),
    }
}

/// The fixed first part of a request.
#[derive(Debug, Clone, Copy)]
pub struct Header {
    id: [u8; 2],
    /// The octet with QR, opcode, AA, TC and RD.
    high: u8,
    /// The octet with RA, Z, AD, CD and the response code.
    low: u8,
}

impl Header {
    const RD: u8 = 0x01;
    /// The reply is truncated.
    pub const TC: u8 = 0x02;
    /// The reply is authoritative.
    pub const AA: u8 = 0x04;
    const QR: u8 = 0x80;
    const RA: u8 = 0x80;
    const CD: u8 = 0x10;

    /// `None`: not a request.
    fn read(packet: &[u8]) -> Option<Self> {
        let fixed: &[u8; HEADER] = packet.first_chunk()?;
        let header = Self { id: [fixed[0], fixed[1]], high: fixed[2], low: fixed[3] };
        (header.high & Self::QR == 0).then_some(header)
    }

    /// Whether the client does its own validation (RFC 4035 §3.2.2).
    pub fn checking_disabled(self) -> bool {
        self.low & Self::CD != 0
    }

    fn opcode(self) -> u8 {
        self.high >> 3 & 0x0f
    }

    /// Whether the client asks for recursion.
    pub fn recursion_desired(self) -> bool {
        self.high & Self::RD != 0
    }

    /// The first four octets of the reply: RD and CD are copied (RFC 6895 §2), AD stays 0. `recursion`: whether there is
    /// an upstream to recurse to (RA).
    #[inline(always)]
    pub fn reply(self, flags: u8, rcode: Rcode, recursion: bool) -> [u8; 4] {
        let high = Self::QR | self.high & 0x78 | self.high & Self::RD | flags;
        let available = if recursion { Self::RA } else { 0 };
        [self.id[0], self.id[1], high, available | self.low & Self::CD | (rcode as u16 & 0x0f) as u8]
    }

    /// A whole message with empty sections, for a request whose question is not understood.
    pub fn bare_reply(self, rcode: Rcode, recursion: bool) -> [u8; HEADER] {
        let mut octets = [0; HEADER];
        octets[..4].copy_from_slice(&self.reply(0, rcode, recursion));
        octets
    }
}

/// A request with one readable question.
#[derive(Debug)]
pub struct Request<'p> {
    /// Id and flags.
    pub header: Header,
    /// The name asked for, folded.
    pub name: NameRef<'p>,
    /// The question as the client spelled it: name, type and class. Empty when it has none.
    pub question: &'p [u8],
    /// The type asked for.
    pub rr_type: RrType,
    class: u16,
    /// EDNS data, if the request has any.
    pub edns: Option<Edns<'p>>,
}

/// The OPT record of a request.
#[derive(Debug, Clone, Copy)]
pub struct Edns<'p> {
    version: u8,
    /// The DO flag.
    pub dnssec_ok: bool,
    payload: u16,
    /// The options, each with its code and length; well-formed.
    pub options: &'p [u8],
}

impl<'p> Request<'p> {
    /// `None`: a question count other than one, more than one OPT, or anything unreadable.
    #[inline(always)]
    fn read(header: Header, packet: &'p [u8], name: &'p mut OwnerName) -> Option<Self> {
        let (fixed, question) = packet.split_first_chunk::<HEADER>()?;
        // QDCOUNT, ANCOUNT, NSCOUNT and ARCOUNT as one number.
        let counts = u64::from_be_bytes(*fixed.last_chunk()?);
        if counts >> 48 != 1 {
            return None;
        }
        let name = name.fill(question).ok()?;
        let (question, rest) = question.split_at_checked(name.wire().len() + 4)?;
        let [type_high, type_low, class_high, class_low] = *question.last_chunk()?;
        Some(Self {
            header,
            name,
            question,
            rr_type: RrType(u16::from_be_bytes([type_high, type_low])),
            class: u16::from_be_bytes([class_high, class_low]),
            edns: read_edns(counts << 16 >> 16, packet, rest).ok()?,
        })
    }

    /// A request without a question that has EDNS data.
    #[cold]
    fn read_unasked(header: Header, packet: &'p [u8]) -> Option<Self> {
        let rest = packet.get(HEADER..).filter(|_| packet[4..6] == [0, 0])?;
        let edns = Some(walk_records(packet, rest).ok()??);
        let (name, rr_type) = (NameRef::ROOT, RrType(0));
        Some(Self { header, name, question: &[], rr_type, class: CLASS_IN, edns })
    }

    /// Whether it has no question.
    pub fn is_unasked(&self) -> bool {
        self.question.is_empty()
    }

    /// The response code that the request has earned before its name is looked at.
    #[inline(always)]
    pub fn objection(&self) -> Option<Rcode> {
        if self.class != CLASS_IN {
            return Some(Rcode::Refused);
        }
        self.edns.is_some_and(|it| it.version > 0).then_some(Rcode::BadVers)
    }

    /// The response code of a request that is not answered over this transport: one with an objection, or for a zone
    /// transfer, which is not for `dns::lookup`.
    #[inline(always)]
    pub fn refusal(&self) -> Option<Rcode> {
        if self.is_transfer() { Some(self.objection().unwrap_or(Rcode::Refused)) } else { self.objection() }
    }

    /// Whether a zone transfer is asked for.
    #[inline(always)]
    pub fn is_transfer(&self) -> bool {
        matches!(self.rr_type, RrType::AXFR | RrType::IXFR)
    }

    /// The name as spelled, in wire form.
    pub fn spelling(&self) -> &'p [u8] {
        &self.question[..self.question.len() - 4]
    }

    /// The largest reply in octets.
    #[inline(always)]
    pub fn limit(&self, transport: Transport, zones: &Zones) -> u16 {
        match (transport, &self.edns) {
            (Transport::Tcp, _) => u16::MAX,
            (Transport::Udp, None) => PLAIN_UDP_PAYLOAD,
            (Transport::Udp, Some(edns)) => edns.payload.max(PLAIN_UDP_PAYLOAD).min(zones.max_udp_payload),
        }
    }
}

/// The request's octets are no message.
struct Malformed;

/// A record of a request.
struct Record<'p> {
    /// First octet of the owner name: 0 for the root.
    owner: u8,
    /// Type, class and TTL.
    fixed: [u8; 8],
    rdata: &'p [u8],
}

impl<'p> Record<'p> {
    /// The first record of `octets` and what follows it.
    fn read(octets: &'p [u8]) -> Option<(Self, &'p [u8])> {
        let (fixed, rest) = skip_name(octets)?.split_first_chunk::<8>()?;
        let (len, rest) = rest.split_first_chunk::<2>()?;
        let (rdata, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*len)))?;
        Some((Self { owner: octets[0], fixed: *fixed, rdata }, rest))
    }

    fn is_opt(&self) -> bool {
        self.fixed[..2] == TYPE_OPT.to_be_bytes()
    }

    /// `None`: the owner is not the root, or the options do not add up to the rdata.
    fn edns(&self) -> Option<Edns<'p>> {
        let [_, _, payload_high, payload_low, _, version, flags, _] = self.fixed;
        let mut options = self.rdata;
        while !options.is_empty() {
            let ([_, _, high, low], rest) = options.split_first_chunk::<4>()?;
            options = rest.get(usize::from(u16::from_be_bytes([*high, *low]))..)?;
        }
        let payload = u16::from_be_bytes([payload_high, payload_low]);
        let edns = Edns { version, dnssec_ok: flags & 0x80 != 0, payload, options: self.rdata };
        (self.owner == 0).then_some(edns)
    }
}

/// Walks the records behind the question and returns the OPT record. `counts`: ANCOUNT, NSCOUNT and ARCOUNT.
///
/// # Errors
/// The octets end early, there are two OPT records, or one is malformed or outside of the additional section.
#[inline(always)]
fn read_edns<'p>(counts: u64, packet: &[u8], rest: &'p [u8]) -> Result<Option<Edns<'p>>, Malformed> {
    // Most queries: nothing, or one OPT record without options.
    match (counts, <&[u8; 11]>::try_from(rest)) {
        (0, _) => Ok(None),
        (1, Ok(&[owner, type_high, type_low, high, low, _, version, flags, _, 0, 0]))
            if u32::from_be_bytes([0, owner, type_high, type_low]) == u32::from(TYPE_OPT) =>
        {
            let payload = u16::from_be_bytes([high, low]);
            Ok(Some(Edns { version, dnssec_ok: flags & 0x80 != 0, payload, options: &[] }))
        }
        _ => walk_records(packet, rest),
    }
}

#[cold]
fn walk_records<'p>(packet: &[u8], mut rest: &'p [u8]) -> Result<Option<Edns<'p>>, Malformed> {
    let count = |at: usize| usize::from(packet[at]) << 8 | usize::from(packet[at + 1]);
    let before_additional = count(6) + count(8);
    let mut edns = None;
    for at in 0..before_additional + count(10) {
        let record;
        (record, rest) = Record::read(rest).ok_or(Malformed)?;
        if record.is_opt() {
            if at < before_additional || edns.is_some() {
                return Err(Malformed);
            }
            edns = Some(record.edns().ok_or(Malformed)?);
        }
    }
    Ok(edns)
}

/// What follows an owner name, which may end in a compression pointer; nobody needs the name itself.
fn skip_name(mut rest: &[u8]) -> Option<&[u8]> {
    loop {
        rest = match *rest.first()? {
            0 => return rest.get(1..),
            len @ 1..=63 => rest.get(1 + usize::from(len)..)?,
            0xc0.. => return rest.get(2..),
            _ => return None,
        };
    }
}
