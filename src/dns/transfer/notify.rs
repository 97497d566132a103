//! Tells secondaries of changes: NOTIFY over UDP.
//!
//! serial of the index ──`schedule`──▶ message ──UDP──▶ secondary, for each single address of `transfer.to`
//!
//! One task for each secondary. The serial is looked at every `TICK`; nothing is sent before the first full lists are
//! published. The source address is the one the kernel takes for the route.
//! Source: RFC 1996.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::{Message, OpCode, Query};
use hickory_proto::rr::{Record, RecordType};
use jiff::Timestamp;
use tokio::net::UdpSocket;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::schedule::{Schedule, Step};
use crate::dns::index::SyncState;
use crate::dns::lookup::{RrType, lookup};
use crate::dns::name::OwnerName;
use crate::dns::respond::own_records;
use crate::dns::responder::Responder;

/// How often the serial is looked at.
const TICK: Duration = Duration::from_millis(500);

/// Keeps one secondary informed until `stop`.
pub async fn run(target: SocketAddr, responder: Arc<Responder>, stop: CancellationToken) {
    let mut schedule = Schedule::new(responder.zones.apexes());
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let began = Instant::now();
    let mut socket: Option<UdpSocket> = None;
    let mut packet = [0; 512];
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            received = receive(socket.as_ref(), &mut packet) => {
                match received {
                    Ok(len) => schedule.answered(&packet[..len]),
                    // Nobody listens there yet; the next attempt comes when it is due.
                    Err(error) => debug!(%target, %error, "NOTIFY did not arrive"),
                }
                continue;
            }
            () = stop.cancelled() => return,
        }
        let serial = {
            let view = responder.index.view();
            (view.sync() == SyncState::Synced).then(|| view.serial())
        };
        let Some(serial) = serial else { continue };
        let clock = u32::try_from(Timestamp::now().as_second()).unwrap_or(u32::MAX);
        for step in schedule.due(began.elapsed(), serial, clock, || responder.seed() as u16) {
            match step {
                Step::Announce(zone, id) => {
                    let sent = send(&mut socket, target, &message(&responder, &zone, id)).await;
                    debug!(%target, %zone, serial, error = ?sent.err(), "NOTIFY");
                }
                Step::GiveUp(zone) => {
                    warn!(%target, %zone, "no answer to NOTIFY, giving up until the next change");
                }
            }
        }
    }
}

/// The next packet; never without a socket.
async fn receive(socket: Option<&UdpSocket>, packet: &mut [u8]) -> io::Result<usize> {
    match socket {
        Some(socket) => socket.recv(packet).await,
        None => std::future::pending().await,
    }
}

/// Sends through `socket`, which is opened if it is not: the route may not have been there before.
async fn send(socket: &mut Option<UdpSocket>, target: SocketAddr, message: &[u8]) -> io::Result<usize> {
    let socket = match socket {
        Some(socket) => socket,
        None => {
            let any: SocketAddr = match target {
                SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
                SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
            };
            let opened = UdpSocket::bind(any).await?;
            opened.connect(target).await?;
            socket.insert(opened)
        }
    };
    socket.send(message).await
}

/// The announcement of a zone, with its SOA record as a hint (RFC 1996 §3.7).
fn message(responder: &Responder, zone: &OwnerName, id: u16) -> Vec<u8> {
    let (view, zones) = (responder.index.view(), &responder.zones);
    let answer = lookup(&view, zones, zone.as_name(), RrType::SOA);
    let soa = own_records(zone.as_name(), &answer, zones, view.serial());
    announcement(soa, id)
}

/// Empty when there is no SOA record: the zone's name is too long for one, and nobody can be its secondary.
fn announcement(soa: Vec<Record>, id: u16) -> Vec<u8> {
    let Some(name) = soa.first().map(|it| it.name.clone()) else { return Vec::new() };
    let mut message = Message::query();
    message.metadata.id = id;
    message.metadata.op_code = OpCode::Notify;
    message.metadata.authoritative = true;
    message.add_query(Query::query(name, RecordType::SOA));
    message.answers = soa;
    message.to_vec().expect("one question and one record fit a message")
}
