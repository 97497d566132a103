//! Records into the messages of a transfer.
//!
//! [`ZoneContent`] ──▶ [`Messages`] ──octets, one message at a time──▶ `dns::tcp`
//!
//! The question stands in the first message alone, and so does OPT when the request had one (RFC 5936 §2.2). Names are
//! compressed within a message, SRV targets excepted (RFC 2782).

use hickory_proto::rr::{Name, Record};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder, BinEncodable, BinEncoder};

use super::content::ZoneContent;
use super::slots::Slot;
use crate::dns::config::Zones;
use crate::dns::reply::ExtendedError;
use crate::dns::request::{HEADER, Header, Request};
use crate::dns::respond::{Additions, Rcode, turn_down};

/// Aimed at by every message but the last. Compression pointers reach no further (RFC 1035 §4.1.4).
const MESSAGE: usize = 16 * 1024;

/// The messages of one transfer, each without its length prefix. Composes one when it is asked for the next.
pub struct Messages {
    first_octets: [u8; 4],
    /// Question and OPT of the next message: those of the request first, then none.
    question: Vec<u8>,
    opt: Vec<u8>,
    /// A message that is there already.
    ready: Option<Vec<u8>>,
    /// What did not fit the last message.
    held: Option<Record>,
    /// Held until the last message, for a whole zone.
    slot: Option<Slot>,
    /// What is still to be sent.
    rest: Box<dyn Iterator<Item = Record> + Send>,
}

impl Messages {
    /// One message with a response code and no records.
    pub(super) fn error(
        request: &Request<'_>,
        zones: &Zones,
        rcode: Rcode,
        extended_error: Option<ExtendedError>,
    ) -> Self {
        let ready = Some(turn_down(request, zones, rcode, extended_error).octets);
        Self { ready, ..Self::of(request, zones, std::iter::empty()) }
    }

    /// One message with the SOA record.
    pub(super) fn up_to_date(request: &Request<'_>, zones: &Zones, content: &ZoneContent) -> Self {
        Self::of(request, zones, content.soa().into_iter())
    }

    /// Every record, with the SOA first and last (RFC 5936 §2.2).
    pub(super) fn whole_zone(request: &Request<'_>, zones: &Zones, content: ZoneContent, slot: Slot) -> Self {
        let soa = content.soa();
        let records = soa.clone().into_iter().chain(content).chain(soa);
        Self { slot: Some(slot), ..Self::of(request, zones, records) }
    }

    fn of(
        request: &Request<'_>,
        zones: &Zones,
        records: impl Iterator<Item = Record> + Send + 'static,
    ) -> Self {
        Self {
            first_octets: request.header.reply(Header::AA, Rcode::NoError, zones.recursion()),
            question: request.question.to_vec(),
            opt: Additions::default().opt(request, Rcode::NoError, zones),
            ready: None,
            held: None,
            slot: None,
            rest: Box::new(records),
        }
    }
}

impl Iterator for Messages {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        if let Some(message) = self.ready.take() {
            return Some(message);
        }
        let Some(first) = self.held.take().or_else(|| self.rest.next()) else {
            self.slot = None;
            return None;
        };
        let (question, opt) = (std::mem::take(&mut self.question), std::mem::take(&mut self.opt));
        let mut octets = Vec::with_capacity(MESSAGE);
        let mut encoder = BinEncoder::new(&mut octets);
        encoder.emit_vec(&[0; HEADER]).expect("a header fits an empty buffer");
        put_question(&question, &mut encoder);
        let mut answers = 0u16;
        let mut next = Some(first);
        while let Some(record) = next {
            let before = encoder.offset();
            let fits = record.emit(&mut encoder).is_ok() && encoder.offset() + opt.len() <= MESSAGE;
            if !fits {
                encoder.set_offset(before);
                encoder.trim();
                // A record is far smaller than a message, so one fits and every message has progress.
                self.held = (answers > 0).then_some(record);
                break;
            }
            answers += 1;
            next = self.rest.next();
        }
        drop(encoder);
        octets.extend_from_slice(&opt);
        octets[..4].copy_from_slice(&self.first_octets);
        let counts = [u16::from(!question.is_empty()), answers, 0, u16::from(!opt.is_empty())];
        for (at, count) in counts.iter().enumerate() {
            octets[4 + 2 * at..6 + 2 * at].copy_from_slice(&count.to_be_bytes());
        }
        Some(octets)
    }
}

/// Repeats the question in its spelling; later names may point to it.
fn put_question(question: &[u8], encoder: &mut BinEncoder<'_>) {
    if let Some((name, fixed)) = question.split_last_chunk::<4>() {
        let name = Name::read(&mut BinDecoder::new(name)).expect("the name has been read before");
        name.emit(encoder).and_then(|()| encoder.emit_vec(fixed)).expect("a question fits an empty message");
    }
}
