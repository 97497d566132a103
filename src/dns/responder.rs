//! What every transport shares: the data, the options and the counters behind one answer.
//!
//! packet ──`dns::udp`──▶ [`Responder::worker`], one for each thread ──▶ reply, or silence
//! packet ──`dns::tcp`──▶ [`Responder::answer`] ──▶ reply, or silence

use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::{debug, trace};

use super::admission::Admission;
use super::config::Zones;
use super::cookie::Cookies;
use super::forward::Forwarder;
use super::hosts::Hosts;
use super::index::{Index, View};
use super::metrics::Metrics;
use super::name::OwnerName;
use super::rate_limit::RateLimiter;
use super::reply::{Entry, Fixed, Rcode, Reply};
use super::request::{Received, Request, receive};
use super::respond::{Handled, Transport};
use super::tally::{Answered, Tally};
use super::transfer::{Slots, Transfer, transfer};
use super::wire::{Composed, Composer, refuse};

/// Answers packets; shared by all sockets of a server.
pub struct Responder {
    /// The zone's data.
    pub index: Arc<Index>,
    /// The zones and the fixed part of their answers.
    pub zones: Zones,
    /// What is counted.
    pub metrics: Metrics,
    /// What is asked of clients.
    pub admission: Admission,
    /// Asks others, if there are any.
    forwarder: Option<Forwarder>,
    /// What replies over TCP are composed with while it is not in use: as many as were at once.
    spare: Mutex<Vec<(Composer, Box<[u8]>)>>,
    /// Counts of everything that is not a UDP thread.
    tally: Mutex<Tally>,
    /// Counts of what came over UDP and went onward.
    forwarded: Mutex<Tally>,
    /// How many zones may be on their way.
    transfers: Slots,
    /// Seeds differ between processes, so that replicas do not order records alike.
    seeds: foldhash::fast::RandomState,
    requests: AtomicU64,
}

impl Responder {
    /// Answers from `index`.
    ///
    /// `forwarder`: needed when `zones` send questions onward.
    pub fn new(
        index: Arc<Index>,
        zones: Zones,
        metrics: Metrics,
        cookies: Option<Cookies>,
        forwarder: Option<Forwarder>,
    ) -> Self {
        let limiter = zones.rate_limit.clone().map(|it| {
            RateLimiter::new(it, foldhash::fast::RandomState::default(), metrics.rate_limit.clone())
        });
        let admission = Admission::new(cookies, limiter);
        let (seeds, requests) = (foldhash::fast::RandomState::default(), AtomicU64::new(0));
        let tally = Mutex::new(metrics.tally(Transport::Tcp, &zones));
        let forwarded = Mutex::new(metrics.tally(Transport::Udp, &zones));
        let (spare, transfers) = (Mutex::default(), Slots::default());
        Self {
            index,
            zones,
            metrics,
            admission,
            forwarder,
            spare,
            tally,
            forwarded,
            transfers,
            seeds,
            requests,
        }
    }

    /// The reply to one packet that came over TCP, if it gets any from here.
    pub fn answer(&self, packet: &[u8], client: IpAddr) -> Handled<Reply> {
        let began = Instant::now();
        let admit = |request: Option<&Request<'_>>| self.admission.over_tcp(request, client);
        let spare = lock(&self.spare).pop();
        let (mut composer, mut out) = spare.unwrap_or_else(|| {
            (Composer::new(self.seed()), vec![0; usize::from(u16::MAX)].into_boxed_slice())
        });
        let view = self.index.view();
        let handled = match composer.respond(packet, Transport::Tcp, &view, &self.zones, &mut out, admit) {
            Handled::Silence => Handled::Silence,
            Handled::Here(Composed { len, rcode, rr_type, zone }) => {
                Handled::Here(Reply { octets: out[..len].to_vec(), rcode, rr_type, zone })
            }
            Handled::Onward => Handled::Onward,
        };
        lock(&self.spare).push((composer, out));
        match &handled {
            Handled::Silence => lock(&self.tally).dropped(),
            Handled::Here(reply) => count(&self.tally, reply, began),
            Handled::Onward => {}
        }
        handled
    }

    /// The hosts files that answers come from.
    pub fn hosts(&self) -> Option<Arc<Hosts>> {
        self.forwarder.as_ref()?.hosts()
    }

    /// The reply to a packet that goes onward.
    pub async fn complete(&self, packet: &[u8], transport: Transport, client: IpAddr) -> Option<Reply> {
        let began = Instant::now();
        // It has been admitted before it came here; what is missing is its cookie.
        let mut name = OwnerName::ROOT;
        let Received::Query(request) = receive(packet, &mut name) else { return None };
        let Entry::Admitted(cookie) = self.admission.over_tcp(Some(&request), client) else { return None };
        let reply = self.forwarder.as_ref()?.complete(packet, transport, cookie).await?;
        let tally = match transport {
            Transport::Udp => &self.forwarded,
            Transport::Tcp => &self.tally,
        };
        count(tally, &reply, began);
        Some(reply)
    }

    /// The messages that answer a request for a zone transfer over TCP; `None`: answer the packet like any other.
    pub fn transfer(&self, packet: &[u8], client: IpAddr) -> Option<impl Iterator<Item = Vec<u8>> + use<>> {
        let began = Instant::now();
        let Transfer { rcode, rr_type, zone, mut messages } =
            transfer(packet, client, &self.index, &self.zones, &self.transfers)?;
        let first = messages.next();
        debug!(%client, ?rr_type, ?rcode, "zone transfer");
        let size = first.as_ref().map_or(0, Vec::len);
        let mut tally = lock(&self.tally);
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

/// Counts one reply.
fn count(tally: &Mutex<Tally>, reply: &Reply, began: Instant) {
    let Reply { octets, rcode, rr_type, zone } = reply;
    let mut tally = lock(tally);
    tally.answered(&Answered { zone: *zone, rr_type: *rr_type, rcode: *rcode, size: octets.len() });
    tally.took(began.elapsed(), 1);
    trace!(?rr_type, ?rcode, "answered");
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Answers the datagrams of one thread: no lock, no allocation, no line of log for a query.
pub struct UdpResponder {
    shared: Arc<Responder>,
    composer: Composer,
    tally: Tally,
}

impl UdpResponder {
    /// Composes the reply to one packet in `out` and returns its length, if it gets any from here.
    ///
    /// `view`: [`UdpResponder::view`] of this moment. `client`: only asked for where it plays a role.
    #[inline(never)]
    pub fn answer(
        &mut self,
        view: &View,
        packet: &[u8],
        client: &dyn Fn() -> IpAddr,
        out: &mut [u8],
    ) -> Handled<usize> {
        let Responder { zones, admission, .. } = &*self.shared;
        let admit = |request: Option<&Request<'_>>| admission.over_udp(request, client);
        match self.composer.respond(packet, Transport::Udp, view, zones, out, admit) {
            Handled::Silence => {
                self.tally.dropped();
                Handled::Silence
            }
            Handled::Here(composed) => Handled::Here(self.answered(composed)),
            Handled::Onward => Handled::Onward,
        }
    }

    /// Composes SERVFAIL, when there is no room for a packet that goes onward.
    pub fn decline(&mut self, packet: &[u8], out: &mut [u8]) -> Option<usize> {
        self.shared.metrics.forward.rejected();
        let mut name = OwnerName::ROOT;
        let Received::Query(request) = receive(packet, &mut name) else { return None };
        let failure = Fixed::refused(Rcode::ServFail);
        Some(self.answered(refuse(&request, failure, None, &self.shared.zones, out)))
    }

    #[inline(always)]
    fn answered(&mut self, composed: Composed) -> usize {
        let Composed { len: size, rcode, rr_type, zone } = composed;
        self.tally.answered(&Answered { zone, rr_type, rcode, size });
        size
    }

    /// The data of this moment, for one batch of datagrams.
    pub fn view(&self) -> View {
        self.shared.index.view()
    }

    /// Counts how long the queries of a batch took together.
    pub fn took(&mut self, time: Duration, queries: u64) {
        self.tally.took(time, queries);
    }
}
