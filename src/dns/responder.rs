//! What every transport shares: the data, the options and the counters behind one answer.
//!
//! packet ──`dns::udp`, `dns::tcp`──▶ [`Responder::answer`] ──▶ reply, or silence

use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use tracing::trace;

use super::config::Zones;
use super::index::Index;
use super::metrics::Metrics;
use super::respond::{Reply, Transport, respond};

/// Answers packets; shared by all sockets of a server.
pub struct Responder {
    /// The zone's data.
    pub index: Arc<Index>,
    /// The zones and the fixed part of their answers.
    pub zones: Zones,
    /// What is counted.
    pub metrics: Metrics,
    /// Seeds differ between processes, so that replicas do not order records alike.
    seeds: foldhash::fast::RandomState,
    requests: AtomicU64,
}

impl Responder {
    /// Answers from `index`.
    pub fn new(index: Arc<Index>, zones: Zones, metrics: Metrics) -> Self {
        let (seeds, requests) = (foldhash::fast::RandomState::default(), AtomicU64::new(0));
        Self { index, zones, metrics, seeds, requests }
    }

    /// The reply to one packet, if it gets any.
    pub fn answer(&self, packet: &[u8], transport: Transport) -> Option<Reply> {
        let began = Instant::now();
        let reply = respond(packet, transport, &self.index.view(), &self.zones, self.seed());
        match &reply {
            Some(reply) => {
                self.metrics.replied(reply, transport, began.elapsed());
                trace!(rr_type = ?reply.rr_type, rcode = ?reply.rcode, proto = ?transport, "answered");
            }
            None => self.metrics.dropped(),
        }
        reply
    }

    /// A different number at every call.
    pub fn seed(&self) -> u64 {
        self.seeds.hash_one(self.requests.fetch_add(1, Ordering::Relaxed))
    }
}
