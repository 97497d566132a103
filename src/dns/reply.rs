//! What both codecs put into a reply besides records: response code, flags, the OPT record, the constants of the SOA.
//!
//! ([`Answer`], options) ──[`Fixed::of`], [`Additions::of`]──▶ `dns::wire`, `dns::respond`
//!
//! Sources: RFC 1035 §3.3.13, RFC 6891 §6.1, RFC 7873 §4, RFC 8914.

use super::config::Zones;
use super::freshness::Freshness;
use super::lookup::{Answer, Outcome, RrType};
use super::request::{HEADER, Header, Request};

/// The version of the Kubernetes DNS schema that is served.
pub const SCHEMA_VERSION: &str = "1.1.0";
/// TTL of the schema version record, in seconds.
pub const SCHEMA_VERSION_TTL: u32 = 28_800;

/// The fields of every SOA record that do not change.
#[derive(Debug)]
pub struct Soa;

impl Soa {
    /// Labels of the primary server's name left of the zone.
    pub const NAME_SERVER: &[u8] = b"\x02ns\x03dns";
    /// Label of the mailbox left of the zone.
    pub const HOSTMASTER: &[u8] = b"\x0ahostmaster";
    /// Seconds between refreshes of a secondary.
    pub const REFRESH: u32 = 7200;
    /// Seconds between its retries.
    pub const RETRY: u32 = 1800;
    /// Seconds after which it gives up.
    pub const EXPIRE: u32 = 86_400;
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
    NotAuth = 9,
    BadVers = 16,
    BadCookie = 23,
}

/// Extended DNS errors in use (RFC 8914 §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExtendedError {
    /// The data may be out of date.
    StaleAnswer,
    /// The first full list has not arrived.
    NotReady,
    /// No upstream answered.
    NoReachableAuthority,
    /// An upstream failed in another way.
    NetworkError,
    /// What an upstream said.
    Passed(u16),
}

impl ExtendedError {
    /// Its number.
    pub fn code(self) -> u16 {
        match self {
            Self::StaleAnswer => 3,
            Self::NotReady => 14,
            Self::NoReachableAuthority => 22,
            Self::NetworkError => 23,
            Self::Passed(code) => code,
        }
    }
}

/// Client and server cookie (RFC 7873 §4.2).
pub type Cookie = [u8; 24];

/// What becomes of a request before its name is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// It is answered.
    Admitted(Option<Cookie>),
    /// It is refused with a response code.
    Refused(Rcode, Option<Cookie>),
    /// Its reply is empty and truncated: a real client comes back over TCP.
    Slipped(Option<Cookie>),
    /// It gets no reply.
    Silence,
}

/// Admits every request, without cookies.
pub fn everybody(_: Option<&Request<'_>>) -> Entry {
    Entry::Admitted(None)
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
    /// The place of its zone, see [`Zones::label_of`].
    pub zone: usize,
}

/// Response code and flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fixed {
    /// Of the last name of the chain (RFC 6604).
    pub rcode: Rcode,
    /// [`Header::AA`] or nothing; [`Header::TC`] of an upstream.
    pub flags: u8,
}

impl Fixed {
    /// Of a reply that is empty because rate limiting cut it.
    pub const SLIPPED: Self = Self { rcode: Rcode::NoError, flags: Header::TC };

    /// Of a reply that refuses its request.
    pub fn refused(rcode: Rcode) -> Self {
        Self { rcode, flags: 0 }
    }

    /// What an answer says before its records.
    #[inline(always)]
    pub fn of(answer: &Answer<'_>) -> Self {
        let (rcode, flags) = match answer.outcome {
            Outcome::Records(_) | Outcome::NoData(_) | Outcome::AliasOnly => (Rcode::NoError, Header::AA),
            Outcome::NxDomain(..) => (Rcode::NxDomain, Header::AA),
            Outcome::NotOurZone => (Rcode::Refused, 0),
            Outcome::NotSynced => (Rcode::ServFail, 0),
        };
        Self { rcode, flags }
    }
}

/// What goes into the OPT record of a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Additions<'c> {
    /// Why the answer is not what it could be.
    pub extended_error: Option<ExtendedError>,
    /// Client and server cookie.
    pub cookie: Option<&'c Cookie>,
}

impl<'c> Additions<'c> {
    /// What an answer adds.
    #[inline]
    pub fn of(answer: &Answer<'_>, freshness: Freshness, cookie: Option<&'c Cookie>) -> Self {
        let extended_error = match (&answer.outcome, freshness) {
            (Outcome::NotSynced, _) => Some(ExtendedError::NotReady),
            (Outcome::NotOurZone, _) | (_, Freshness::Fresh) => None,
            (_, Freshness::Stale | Freshness::TooStale) => Some(ExtendedError::StaleAnswer),
        };
        Self { extended_error, cookie }
    }

    /// Octets of the OPT record: present when and only when the request had one (RFC 6891 §6.1.1).
    #[inline(always)]
    pub fn opt_len(&self, request: &Request<'_>) -> usize {
        if request.edns.is_none() {
            return 0;
        }
        let cookie = if self.cookie.is_some() { COOKIE_OPTION } else { 0 };
        let error = if self.extended_error.is_some() { ERROR_OPTION } else { 0 };
        OPT_FIXED + cookie + error
    }

    /// Writes the OPT record into its place, [`Additions::opt_len`] octets. Options of the request that are not
    /// implemented are ignored and never sent back.
    #[inline(always)]
    pub fn put_opt(&self, request: &Request<'_>, rcode: Rcode, zones: &Zones, place: &mut [u8]) {
        let (Some(edns), Some((fixed, options))) = (&request.edns, place.split_first_chunk_mut()) else {
            return;
        };
        let fixed: &mut [u8; OPT_FIXED] = fixed;
        // Root, type, payload size, upper part of the response code, version and upper part of the flags as one number.
        let dnssec_ok = u64::from(edns.dnssec_ok) << 7;
        let head = 41 << 40 | u64::from(zones.max_udp_payload) << 24 | u64::from(rcode as u16 >> 4) << 16;
        fixed[..8].copy_from_slice(&(head | dnssec_ok).to_be_bytes());
        fixed[8..].copy_from_slice(&[0, 0, options.len() as u8]);
        if !options.is_empty() {
            self.put_options(options);
        }
    }

    #[cold]
    fn put_options(&self, place: &mut [u8]) {
        let (cookie, error) = place.split_at_mut(if self.cookie.is_some() { COOKIE_OPTION } else { 0 });
        if let (Some(octets), Some((head, value))) = (self.cookie, cookie.split_first_chunk_mut()) {
            *head = [0, 10, 0, 24];
            value.copy_from_slice(octets);
        }
        if let (Some(reason), Some((head, value))) = (self.extended_error, error.split_first_chunk_mut()) {
            *head = [0, 15, 0, 2];
            value.copy_from_slice(&reason.code().to_be_bytes());
        }
    }

    /// The OPT record, or nothing.
    pub fn opt(&self, request: &Request<'_>, rcode: Rcode, zones: &Zones) -> Vec<u8> {
        let mut octets = vec![0; self.opt_len(request)];
        self.put_opt(request, rcode, zones, &mut octets);
        octets
    }
}

/// Owner, type, class, TTL and length of an OPT record.
const OPT_FIXED: usize = 11;
/// A cookie with its code and length.
const COOKIE_OPTION: usize = 4 + 24;
/// An extended error with its code and length.
const ERROR_OPTION: usize = 4 + 2;

/// Octets of the longest reply to a request without a question.
pub const MAX_UNASKED: usize = HEADER + OPT_FIXED + COOKIE_OPTION;

/// The reply to a request without a question: an error, unless it is about its cookie (RFC 7873 §5.4).
///
/// `out`: takes the header and an OPT record. Returns the length and the response code; `None`: silence.
#[cold]
pub fn reply_unasked(
    request: &Request<'_>,
    entry: Entry,
    zones: &Zones,
    out: &mut [u8],
) -> Option<(usize, Rcode)> {
    let (Fixed { rcode, flags }, cookie) = match entry {
        Entry::Silence => return None,
        Entry::Admitted(None) => (Fixed::refused(Rcode::FormErr), None),
        Entry::Admitted(cookie) => (Fixed::refused(Rcode::NoError), cookie),
        Entry::Refused(rcode, cookie) => (Fixed::refused(rcode), cookie),
        Entry::Slipped(cookie) => (Fixed::SLIPPED, cookie),
    };
    out[..HEADER].copy_from_slice(&request.header.bare_reply(rcode, zones.recursion()));
    out[2] |= flags;
    if cookie.is_none() {
        return Some((HEADER, rcode));
    }
    out[HEADER - 1] = 1;
    let additions = Additions { cookie: cookie.as_ref(), ..Additions::default() };
    let end = HEADER + additions.opt_len(request);
    additions.put_opt(request, rcode, zones, &mut out[HEADER..end]);
    Some((end, rcode))
}
