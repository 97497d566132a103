//! What every transport shares: the data, the options and the counters behind one answer.
//!
//! packet ──`dns::udp`──▶ [`Responder::worker`], one for each thread ──▶ reply, or silence
//! packet ──`dns::tcp`──▶ [`Responder::answer`] ──▶ reply, or silence

use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::{debug, trace};

use super::config::Zones;
use super::index::Index;
use super::metrics::Metrics;
use super::respond::{Reply, Transport, respond};
use super::tally::{Answered, Tally};
use super::transfer::{Transfer, transfer};
use super::wire::Composer;

/// Answers packets; shared by all sockets of a server.
pub struct Responder {
    /// The zone's data.
    pub index: Arc<Index>,
    /// The zones and the fixed part of their answers.
    pub zones: Zones,
    /// What is counted.
    pub metrics: Metrics,
    /// Counts of everything that is not a UDP thread.
    tally: Mutex<Tally>,
    /// Seeds differ between processes, so that replicas do not order records alike.
    seeds: foldhash::fast::RandomState,
    requests: AtomicU64,
}

impl Responder {
    /// Answers from `index`.
    pub fn new(index: Arc<Index>, zones: Zones, metrics: Metrics) -> Self {
        let (seeds, requests) = (foldhash::fast::RandomState::default(), AtomicU64::new(0));
        let tally = Mutex::new(metrics.tally(Transport::Tcp, &zones));
        Self { index, zones, metrics, tally, seeds, requests }
    }

    /// The reply to one packet that came over TCP, if it gets any.
    pub fn answer(&self, packet: &[u8]) -> Option<Reply> {
        let began = Instant::now();
        let reply = respond(packet, Transport::Tcp, &self.index.view(), &self.zones, self.seed());
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Reply { octets, rcode, rr_type, zone }) = &reply {
            tally.answered(&Answered { zone: *zone, rr_type: *rr_type, rcode: *rcode, size: octets.len() });
            tally.took(began.elapsed(), 1);
            trace!(?rr_type, ?rcode, "answered over TCP");
        } else {
            tally.dropped();
        }
        reply
    }

    /// The messages that answer a request for a zone transfer over TCP; `None`: answer the packet like any other.
    pub fn transfer(&self, packet: &[u8], client: IpAddr) -> Option<impl Iterator<Item = Vec<u8>> + use<>> {
        let began = Instant::now();
        let Transfer { rcode, rr_type, zone, mut messages } =
            transfer(packet, client, &self.index, &self.zones)?;
        let first = messages.next();
        debug!(%client, ?rr_type, ?rcode, "zone transfer");
        let size = first.as_ref().map_or(0, Vec::len);
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        tally.answered(&Answered { zone, rr_type: Some(rr_type), rcode, size });
        tally.took(began.elapsed(), 1);
        Some(first.into_iter().chain(messages))
    }

    /// A different number at every call.
    pub fn seed(&self) -> u64 {
        self.seeds.hash_one(self.requests.fetch_add(1, Ordering::Relaxed))
    }

    /// What one UDP thread answers with.
    pub fn worker(self: &Arc<Self>) -> UdpResponder {
        let tally = self.metrics.tally(Transport::Udp, &self.zones);
        UdpResponder { shared: self.clone(), composer: Composer::new(self.seed()), tally }
    }
}

/// Answers the datagrams of one thread: no lock, no allocation, no line of log for a query.
pub struct UdpResponder {
    shared: Arc<Responder>,
    composer: Composer,
    tally: Tally,
}

impl UdpResponder {
    /// Composes the reply to one packet in `out` and returns its length, if it gets any.
    pub fn answer(&mut self, packet: &[u8], out: &mut [u8]) -> Option<usize> {
        let view = self.shared.index.view();
        let composed = self.composer.respond(packet, Transport::Udp, &view, &self.shared.zones, out);
        let Some(composed) = composed else {
            self.tally.dropped();
            return None;
        };
        let size = composed.len;
        self.tally.answered(&Answered {
            zone: composed.zone,
            rr_type: composed.rr_type,
            rcode: composed.rcode,
            size,
        });
        Some(size)
    }

    /// Counts how long the queries of a batch took together.
    pub fn took(&mut self, time: Duration, queries: u64) {
        self.tally.took(time, queries);
    }
}
