//! Questions to an upstream server and its responses, as octets.
//!
//! [`Question`] ──[`Question::to_query`]──▶ octets ──`exchange`──▶ octets ──[`Response::read`]──▶ [`Response`]
//!
//! Pure. What a response says is kept: response code, truncation, every section. Its OPT record is about the hop and goes
//! no further, but for the code of an extended error.
//! Sources: RFC 1035 §4 and §7.3, RFC 2181 §8, RFC 2308 §5, RFC 6891, RFC 8914.

use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::opt::{EdnsCode, EdnsOption};
use hickory_proto::rr::{RData, Record};

use crate::dns::lookup::RrType;
use crate::dns::name::OwnerName;
use crate::dns::request::HEADER;
use crate::dns::respond::Rcode;

/// UDP payload offered to upstream servers: passes every path unfragmented (RFC 9715 §3.1).
const PAYLOAD: u16 = 1232;
/// The EDNS option that marks our own queries: from the range for local use (RFC 6891 §9).
const TOKEN_OPTION: u16 = 65_227;
/// Extended DNS error (RFC 8914 §2).
const EDE_OPTION: u16 = 15;
/// Longest time a positive answer is kept.
const MAX_POSITIVE: u32 = 3600;
/// Longest time a negative answer is kept.
const MAX_NEGATIVE: u32 = 1800;
/// How long a SERVFAIL and its like are kept: the least that RFC 9520 §3.2 allows.
pub const FAILURE_LIFETIME: Duration = Duration::from_secs(1);

/// Whether a query carries an OPT record. A few old servers answer FORMERR to one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edns {
    /// With one.
    With,
    /// Without.
    Without,
}

/// What is asked of an upstream server. Class IN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question {
    /// The name.
    pub name: OwnerName,
    /// The type.
    pub rr_type: RrType,
    /// RD.
    pub recursion_desired: bool,
    /// CD.
    pub checking_disabled: bool,
    /// DO.
    pub dnssec_ok: bool,
}

impl Question {
    /// The query message. `token`: says that it is ours, see `has_token`.
    pub fn to_query(&self, id: u16, token: u64, edns: Edns) -> Vec<u8> {
        let mut octets = Vec::with_capacity(HEADER + 280);
        octets.extend(id.to_be_bytes());
        octets.extend([u8::from(self.recursion_desired), if self.checking_disabled { 0x10 } else { 0 }]);
        octets.extend([0, 1, 0, 0, 0, 0, 0, u8::from(edns == Edns::With)]);
        octets.extend_from_slice(self.name.as_name().wire());
        octets.extend(self.rr_type.0.to_be_bytes());
        octets.extend([0, 1]);
        if edns == Edns::With {
            octets.extend([0, 0, 41]);
            octets.extend(PAYLOAD.to_be_bytes());
            octets.extend([0, 0, if self.dnssec_ok { 0x80 } else { 0 }, 0, 0, 12]);
            octets.extend(TOKEN_OPTION.to_be_bytes());
            octets.extend([0, 8]);
            octets.extend(token.to_be_bytes());
        }
        octets
    }

    /// What tells cached responses apart. RD is left out: responses to queries without it are not kept.
    pub fn cache_key(&self) -> Box<[u8]> {
        let mut key = self.name.as_name().wire().to_vec();
        key.extend(self.rr_type.0.to_be_bytes());
        key.push(u8::from(self.checking_disabled) << 1 | u8::from(self.dnssec_ok));
        key.into()
    }
}

/// Whether EDNS options hold the mark of a query that [`Question::to_query`] made with `token`.
///
/// `options`: code, length and data of each, well-formed.
pub fn has_token(mut options: &[u8], token: u64) -> bool {
    while let Some(([code_high, code_low, high, low], rest)) = options.split_first_chunk::<4>() {
        let Some((data, rest)) = rest.split_at_checked(usize::from(u16::from_be_bytes([*high, *low]))) else {
            return false;
        };
        if u16::from_be_bytes([*code_high, *code_low]) == TOKEN_OPTION && data == token.to_be_bytes() {
            return true;
        }
        options = rest;
    }
    false
}

/// Whether `octets` are a response to `query`: the same id, opcode and question (RFC 1035 §7.3). Anything else that
/// arrives is a stray or a forgery.
pub fn is_response_to(query: &[u8], octets: &[u8]) -> bool {
    let (Some(asked), Some(header)) = (query.first_chunk::<HEADER>(), octets.first_chunk::<HEADER>()) else {
        return false;
    };
    if header[..2] != asked[..2] || header[2] & 0xf8 != 0x80 {
        return false;
    }
    match header[4..6] {
        // Some servers leave the question out of an error.
        [0, 0] => header[3] & 0x0f != 0,
        [0, 1] => {
            let Ok(name) = OwnerName::read(&query[HEADER..]) else { return false };
            let end = HEADER + name.as_name().wire().len();
            octets.get(end..end + 4) == query.get(end..end + 4)
                && OwnerName::read(&octets[HEADER..]).is_ok_and(|it| it == name)
        }
        _ => false,
    }
}

/// Whether a response says that it is truncated.
pub fn is_truncated(octets: &[u8]) -> bool {
    octets.get(2).is_some_and(|it| it & 0x02 != 0)
}

/// Whether a response comes from a server that does not know EDNS: an error without OPT (RFC 6891 §7).
pub fn refuses_edns(octets: &[u8]) -> bool {
    let code = octets.get(3).map_or(0, |it| it & 0x0f);
    matches!(code, 1 | 4) && octets.get(10..12) == Some(&[0, 0])
}

/// Whether another server may know better: SERVFAIL and REFUSED.
pub fn is_refusal(octets: &[u8]) -> bool {
    matches!(octets.get(3).map(|it| it & 0x0f), Some(2 | 5))
}

/// What an upstream server says.
#[derive(Debug, Clone, PartialEq)]
pub struct Response {
    /// Its response code; SERVFAIL for one that no answer to a query has.
    pub rcode: Rcode,
    /// TC.
    pub truncated: bool,
    /// The answer section.
    pub answers: Vec<Record>,
    /// The authority section.
    pub authority: Vec<Record>,
    /// The additional section without OPT.
    pub additional: Vec<Record>,
    /// The code of an extended error.
    pub extended_error: Option<u16>,
}

impl Response {
    /// Reads a response. `None`: it cannot be read.
    pub fn read(octets: &[u8]) -> Option<Self> {
        let message = match Message::from_vec(octets) {
            Ok(message) => message,
            // Some servers cut in the middle of a record: what matters is that they did.
            Err(_) if is_truncated(octets) => return Some(Self::cut()),
            Err(_) => return None,
        };
        let extended_error =
            message.edns.as_ref().and_then(|it| match it.option(EdnsCode::Unknown(EDE_OPTION))? {
                EdnsOption::Unknown(_, data) => data.first_chunk().map(|it| u16::from_be_bytes(*it)),
                _ => None,
            });
        let mut response = Self {
            rcode: rcode(message.metadata.response_code),
            truncated: message.metadata.truncation,
            answers: message.answers,
            authority: message.authorities,
            additional: message.additionals,
            extended_error,
        };
        for record in response.records_mut() {
            // RFC 2181 §8: the highest bit set means zero.
            record.ttl = if record.ttl > i32::MAX as u32 { 0 } else { record.ttl };
        }
        Some(response)
    }

    /// Truncated so that nothing is left.
    fn cut() -> Self {
        let (answers, authority, additional) = (Vec::new(), Vec::new(), Vec::new());
        Self { rcode: Rcode::NoError, truncated: true, answers, authority, additional, extended_error: None }
    }

    fn records_mut(&mut self) -> impl Iterator<Item = &mut Record> {
        self.answers.iter_mut().chain(&mut self.authority).chain(&mut self.additional)
    }

    /// The response as it is after some time in the cache.
    #[must_use]
    pub fn aged(mut self, age: Duration) -> Self {
        let age = u32::try_from(age.as_secs()).unwrap_or(u32::MAX);
        for record in self.records_mut() {
            record.ttl = record.ttl.saturating_sub(age);
        }
        self
    }

    /// How long the response may be answered from a cache; `None`: not at all. A positive one as long as its shortest
    /// TTL, a negative one as its SOA says (RFC 2308 §5), a failure for a moment (RFC 9520 §3.2).
    pub fn lifetime(&self) -> Option<Duration> {
        if self.truncated {
            return None;
        }
        let negative = self.authority.iter().find_map(|it| match &it.data {
            RData::SOA(soa) => Some(it.ttl.min(soa.minimum)),
            _ => None,
        });
        let answers = self.answers.iter().map(|it| it.ttl);
        let seconds = match (self.rcode, negative) {
            (Rcode::NoError | Rcode::NxDomain, Some(soa)) => answers.fold(soa, u32::min).min(MAX_NEGATIVE),
            (Rcode::NoError, None) => {
                let others = self.authority.iter().chain(&self.additional).map(|it| it.ttl);
                others.fold(answers.min()?, u32::min).min(MAX_POSITIVE)
            }
            (Rcode::NxDomain, None) => return None,
            _ => return Some(FAILURE_LIFETIME),
        };
        (seconds > 0).then(|| Duration::from_secs(u64::from(seconds)))
    }
}

fn rcode(code: ResponseCode) -> Rcode {
    match code {
        ResponseCode::NoError => Rcode::NoError,
        ResponseCode::FormErr => Rcode::FormErr,
        ResponseCode::NXDomain => Rcode::NxDomain,
        ResponseCode::NotImp => Rcode::NotImp,
        ResponseCode::Refused => Rcode::Refused,
        _ => Rcode::ServFail,
    }
}

#[cfg(test)]
mod tests {
    use hickory_proto::op::Query;
    use hickory_proto::rr::rdata::{A, CNAME, SOA};
    use hickory_proto::rr::{Name, RecordType};

    use super::*;

    fn question() -> Question {
        let name = "www.example.com".parse().unwrap();
        let (recursion_desired, checking_disabled, dnssec_ok) = (true, false, false);
        Question { name, rr_type: RrType::A, recursion_desired, checking_disabled, dnssec_ok }
    }

    type Edit<'a> = &'a dyn Fn(&mut Message);

    fn response(edit: impl FnOnce(&mut Message)) -> Vec<u8> {
        let mut message =
            Message::from_vec(&question().to_query(7, 1, Edns::Without)).unwrap().into_response();
        edit(&mut message);
        message.to_vec().unwrap()
    }

    fn name(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    fn address(ttl: u32) -> Record {
        Record::from_rdata(name("www.example.com."), ttl, RData::A(A::new(192, 0, 2, 1)))
    }

    fn alias(ttl: u32) -> Record {
        Record::from_rdata(name("www.example.com."), ttl, RData::CNAME(CNAME(name("a.example.com."))))
    }

    fn soa(ttl: u32, minimum: u32) -> Record {
        let soa = SOA::new(name("ns.example.com."), name("h.example.com."), 1, 2, 3, 4, minimum);
        Record::from_rdata(name("example.com."), ttl, RData::SOA(soa))
    }

    #[test]
    fn queries_say_what_was_asked() {
        let asked = Question { checking_disabled: true, dnssec_ok: true, ..question() };
        let message = Message::from_vec(&asked.to_query(0xbeef, 5, Edns::With)).unwrap();
        assert_eq!((message.metadata.id, message.queries.len()), (0xbeef, 1));
        assert_eq!(message.queries[0], Query::query(name("www.example.com."), RecordType::A));
        assert!(message.metadata.recursion_desired && message.metadata.checking_disabled);
        let edns = message.edns.unwrap();
        assert_eq!((edns.max_payload(), edns.flags().dnssec_ok), (PAYLOAD, true));
        assert!(Message::from_vec(&asked.to_query(1, 5, Edns::Without)).unwrap().edns.is_none());
    }

    #[test]
    fn our_own_queries_are_recognised() {
        let query = question().to_query(1, 0xfeed, Edns::With);
        let options = &query[query.len() - 12..];
        assert!(has_token(options, 0xfeed));
        assert!(!has_token(options, 0xfeee));
        assert!(has_token(&[&[0, 10, 0, 1, 9], options].concat(), 0xfeed));
        assert!(!has_token(&[], 0xfeed));
        assert!(!has_token(&[0, 10, 0, 9], 0xfeed));
    }

    #[test]
    fn only_the_response_to_the_question_counts() {
        let query = question().to_query(7, 1, Edns::With);
        let good = response(|_| ());
        let spelled = |at: usize| {
            let mut octets = good.clone();
            octets[at] = octets[at].to_ascii_uppercase();
            octets
        };
        let changed = |at: usize, octet: u8| {
            let mut octets = good.clone();
            octets[at] = octet;
            octets
        };
        for (why, octets, want) in [
            ("the response", good.clone(), true),
            ("another spelling of the name", spelled(14), true),
            ("another id", changed(1, 9), false),
            ("a query", changed(2, 1), false),
            ("another opcode", changed(2, 0xa0), false),
            ("another name", changed(14, b'x'), false),
            ("another type", changed(30, 28), false),
            ("two questions", changed(5, 2), false),
            ("no question without an error", [&changed(5, 0)[..12]].concat(), false),
            ("an error without question", [&[0, 7, 0x80, 1][..], &[0; 8]].concat(), true),
            ("too short", good[..11].to_vec(), false),
        ] {
            assert_eq!(is_response_to(&query, &octets), want, "{why}");
        }
    }

    #[test]
    fn how_long_a_response_is_kept() {
        let nxdomain = |it: &mut Message| it.metadata.response_code = ResponseCode::NXDomain;
        let cases: [(&str, Edit<'_>, Option<u64>); 13] = [
            ("the shortest TTL", &|it| it.answers = vec![address(60), address(30)], Some(30)),
            ("aliases count", &|it| it.answers = vec![alias(10), address(30)], Some(10)),
            ("an hour at most", &|it| it.answers = vec![address(86_400)], Some(3600)),
            ("TTL 0", &|it| it.answers = vec![address(0)], None),
            ("a TTL below zero is 0", &|it| it.answers = vec![address(u32::MAX)], None),
            ("NODATA", &|it| it.authorities = vec![soa(300, 60)], Some(60)),
            ("the SOA's own TTL", &|it| it.authorities = vec![soa(20, 60)], Some(20)),
            ("NODATA without SOA", &|_| (), None),
            (
                "NXDOMAIN",
                &|it| {
                    nxdomain(it);
                    it.authorities = vec![soa(86_400, 86_400)];
                },
                Some(1800),
            ),
            ("NXDOMAIN without SOA", &nxdomain, None),
            (
                "an alias of nothing",
                &|it| {
                    nxdomain(it);
                    it.answers = vec![alias(5)];
                    it.authorities = vec![soa(300, 60)];
                },
                Some(5),
            ),
            ("SERVFAIL", &|it| it.metadata.response_code = ResponseCode::ServFail, Some(1)),
            (
                "truncated",
                &|it| {
                    it.metadata.truncation = true;
                    it.answers = vec![address(60)];
                },
                None,
            ),
        ];
        for (why, edit, want) in cases {
            let response = Response::read(&response(edit)).expect(why);
            assert_eq!(response.lifetime().map(|it| it.as_secs()), want, "{why}");
        }
    }

    #[test]
    fn a_response_ages() {
        let read = Response::read(&response(|it| it.answers = vec![address(60)])).unwrap();
        assert_eq!(read.clone().aged(Duration::from_secs(25)).answers[0].ttl, 35);
        assert_eq!(read.aged(Duration::from_secs(90)).answers[0].ttl, 0);
    }

    #[test]
    fn a_response_cut_anywhere_is_truncated_or_nothing() {
        let whole = response(|it| {
            it.metadata.truncation = true;
            it.answers = vec![address(60), address(60)];
        });
        assert_eq!(Response::read(&whole).unwrap().answers.len(), 2);
        let cut = Response::read(&whole[..whole.len() - 3]).unwrap();
        assert!(cut.truncated && cut.answers.is_empty());
        let plain = response(|it| it.answers = vec![address(60)]);
        assert_eq!(Response::read(&plain[..plain.len() - 3]), None);
    }
}
