//! Zone transfer: AXFR, and IXFR in AXFR form.
//!
//! request ──[`decide`]──▶ [`Decision`] ──[`transfer`]──▶ [`Messages`] ──▶ `dns::tcp`
//!                                             ▲
//!            index ──snapshot──▶ `content` ───┘ records, one name at a time
//!
//! Pure but for what the snapshot shares with the index. A transfer is made from one snapshot, taken between two changes of
//! the index, so SOA serial and records belong together and a change is in it as a whole or not at all. The records are
//! what `dns::lookup` says about each name that exists, so that transfer and queries cannot disagree. Messages are composed
//! as they are sent; nothing but the snapshot is held.
//! A serial counts seconds: of two changes within one second a secondary that transferred between them hears with the
//! next change only.
//! Secondaries hear of changes by NOTIFY (`notify`, `schedule`).
//! Sources: RFC 1982, RFC 1995, RFC 5936.

pub mod access;
mod content;
mod message;
pub mod notify;
mod schedule;
mod slots;

use std::net::IpAddr;

use hickory_proto::op::Message;
use hickory_proto::rr::RData;

pub use message::Messages;
pub use slots::{MAX_TRANSFERS, Slots};

use super::config::Zones;
use super::freshness::Freshness;
use super::index::{Index, SyncState};
use super::lookup::RrType;
use super::name::OwnerName;
use super::reply::{ExtendedError, Rcode};
use super::request::{Received, Request, receive};
use content::ZoneContent;

/// Extended DNS error "Other" (RFC 8914 §4.1): as many transfers are under way as may be.
const BUSY: ExtendedError = ExtendedError::Passed(0);

/// What a request for a transfer gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It is answered like any other query: because it is no request for a transfer, or because it is refused.
    Ordinary,
    /// One message with this response code.
    Error(Rcode),
    /// One message with our SOA: the client has nothing to fetch (RFC 1995 §4).
    UpToDate,
    /// The whole zone, SOA first and last.
    Full,
}

/// A transfer that has begun.
pub struct Transfer {
    /// Response code of the first message, the only one unless it is NOERROR.
    pub rcode: Rcode,
    /// AXFR or IXFR.
    pub rr_type: RrType,
    /// The place of the zone, see [`Zones::label_of`].
    pub zone: usize,
    /// What to send.
    pub messages: Messages,
}

/// What answers `packet`, which came over TCP; `None`: see [`Decision::Ordinary`].
///
/// A whole zone takes one of `slots`; SERVFAIL when there is none, so that the client tries again.
pub fn transfer(
    packet: &[u8],
    client: IpAddr,
    index: &Index,
    zones: &Zones,
    slots: &Slots,
) -> Option<Transfer> {
    let mut name = OwnerName::ROOT;
    let Received::Query(request) = receive(packet, &mut name) else { return None };
    // Most packets end here: they ask for something else.
    if !request.is_transfer() || !zones.transfer.allows(client) {
        return None;
    }
    let snapshot = index.snapshot();
    let view = snapshot.view();
    let (sync, serial, freshness) = (view.sync(), view.serial(), view.freshness());
    drop(view);
    let content = || ZoneContent::new(snapshot, zones.clone(), &request.name.to_owner());
    let (rcode, messages) = match decide(&request, packet, client, zones, sync, serial) {
        Decision::Ordinary => return None,
        Decision::Error(rcode) => {
            let not_ready = match freshness {
                Freshness::TooStale => ExtendedError::StaleAnswer,
                Freshness::Fresh | Freshness::Stale => ExtendedError::NotReady,
            };
            let extended_error = (rcode == Rcode::ServFail).then_some(not_ready);
            (rcode, Messages::error(&request, zones, rcode, extended_error))
        }
        Decision::UpToDate => (Rcode::NoError, Messages::up_to_date(&request, zones, &content())),
        Decision::Full => match slots.take() {
            Some(slot) => (Rcode::NoError, Messages::whole_zone(&request, zones, content(), slot)),
            None => (Rcode::ServFail, Messages::error(&request, zones, Rcode::ServFail, Some(BUSY))),
        },
    };
    let zone = zones.label_of(zones.longest_match(request.name).map(|(zone, _)| zone));
    Some(Transfer { rcode, rr_type: request.rr_type, zone, messages })
}

/// What `request`, read from `packet`, gets over TCP. `serial`: ours.
pub fn decide(
    request: &Request<'_>,
    packet: &[u8],
    client: IpAddr,
    zones: &Zones,
    sync: SyncState,
    serial: u32,
) -> Decision {
    if !request.is_transfer() || request.objection().is_some() || !zones.transfer.allows(client) {
        return Decision::Ordinary;
    }
    match zones.longest_match(request.name) {
        None => return Decision::Ordinary,
        Some((_, b"")) => {}
        Some(_) => return Decision::Error(Rcode::NotAuth),
    }
    let known = match (request.rr_type, client_serial(packet)) {
        (RrType::IXFR, None) => return Decision::Error(Rcode::FormErr),
        (RrType::IXFR, known) => known,
        _ => None,
    };
    match known {
        _ if sync == SyncState::Waiting => Decision::Error(Rcode::ServFail),
        Some(known) if !is_older(known, serial) => Decision::UpToDate,
        _ => Decision::Full,
    }
}

/// The serial in the authority section of an IXFR request (RFC 1995 §3).
fn client_serial(packet: &[u8]) -> Option<u32> {
    let message = Message::from_vec(packet).ok()?;
    let question = message.queries.first()?;
    message.authorities.iter().find_map(|it| match &it.data {
        RData::SOA(soa) if it.name == question.name => Some(soa.serial),
        _ => None,
    })
}

/// Whether serial `a` comes before `b` (RFC 1982 §3.2). Where the RFC leaves the order open, at a distance of 2^31, it does:
/// then a client fetches a zone it may have rather than staying behind.
fn is_older(a: u32, b: u32) -> bool {
    (1..=0x8000_0000).contains(&b.wrapping_sub(a))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serials_are_ordered_on_a_circle() {
        for (a, b, want) in [
            (1, 2, true),
            (2, 2, false),
            (3, 2, false),
            (u32::MAX, 0, true),
            (0, u32::MAX, false),
            (0, 0x7fff_ffff, true),
            (0, 0x8000_0000, true),
            (0x8000_0000, 0, true),
            (0, 0x8000_0001, false),
        ] {
            assert_eq!(is_older(a, b), want, "{a} {b}");
        }
    }
}
