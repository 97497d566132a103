//! Asks the upstream servers, and keeps what they say.
//!
//! `dns::forward` ──[`Question`]──▶ [`Upstream::ask`] ──cache, `exchange`──▶ [`Response`] or [`Failure`]
//!
//! The server that answered last is asked first. One that stays silent for `PATIENCE` has the next one asked as well, one
//! that cannot be reached or refuses has it asked at once; whoever answers first wins, and after `DEADLINE` it is over,
//! sooner than a stub resolver gives up. Equal questions that are asked at the same time are one question.
//! So a loop of servers that forward to each other ends: a question that comes back through others joins the one that is
//! waiting, and one that comes back directly carries our mark ([`Upstream::is_own`]).
//! Sources: RFC 5625, RFC 6891, RFC 9520.

mod cache;
mod exchange;
mod message;

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::future::{BoxFuture, FutureExt as _, WeakShared};
use futures::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::Semaphore;
use tracing::debug;

use self::cache::{Cache, Outcome};
use self::message::{Edns, FAILURE_LIFETIME, has_token, is_refusal, is_truncated, refuses_edns};
pub use self::message::{Question, Response};
use super::forward::ForwardMetrics;
use super::reply::ExtendedError;
use super::respond::Transport;

/// How long one server is waited for before the next one, or the same one again, is asked as well.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long a question may take in all. Stub resolvers wait 5 s.
const DEADLINE: Duration = Duration::from_secs(4);
/// Times one question is asked when nothing answers; more when there are more servers.
const ATTEMPTS: usize = 3;
/// Sockets in use at once: with the connections of clients, below the descriptor limit of a plain process. At this number
/// further questions fail.
const MAX_SOCKETS: usize = 384;
/// Octets of responses kept: about 50 000 of the usual size.
const CACHE_SIZE: usize = 16 << 20;

/// Why there is no response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Failure {
    /// No server answered in time.
    Timeout,
    /// No server could be reached, or what it sent cannot be read.
    Network,
    /// Too many questions are waiting.
    Busy,
}

impl Failure {
    /// The code of the extended error that says so (RFC 8914 §4.23 and §4.24).
    pub fn extended_error(self) -> Option<ExtendedError> {
        match self {
            Self::Timeout => Some(ExtendedError::NoReachableAuthority),
            Self::Network => Some(ExtendedError::NetworkError),
            Self::Busy => None,
        }
    }
}

/// The upstream servers with their cache.
pub struct Upstream {
    servers: Vec<SocketAddr>,
    /// Index of the server that answered last.
    preferred: AtomicUsize,
    cache: Mutex<Cache<Failure>>,
    /// By cache key, RD and transport.
    waiting: Mutex<HashMap<Box<[u8]>, WeakShared<Exchange>>>,
    sockets: Semaphore,
    /// Keyed by the operating system: ids must not be guessed.
    ids: RandomState,
    queries: AtomicU64,
    /// Marks the queries of this process.
    token: u64,
    metrics: ForwardMetrics,
}

type Exchange = BoxFuture<'static, Outcome<Failure>>;

impl Upstream {
    /// `servers`: at least one.
    pub fn new(servers: Vec<SocketAddr>, metrics: ForwardMetrics) -> Self {
        debug_assert!(!servers.is_empty());
        let ids = RandomState::new();
        Self {
            servers,
            preferred: AtomicUsize::new(0),
            cache: Mutex::new(Cache::new(CACHE_SIZE)),
            waiting: Mutex::default(),
            sockets: Semaphore::new(MAX_SOCKETS),
            token: RandomState::new().hash_one(0u64),
            ids,
            queries: AtomicU64::new(0),
            metrics,
        }
    }

    /// Whether a request with these EDNS options is one of our own queries that came back.
    pub fn is_own(&self, options: &[u8]) -> bool {
        has_token(options, self.token)
    }

    /// What the servers say.
    ///
    /// `transport`: over UDP a truncated response is as good as any, because the client will come back over TCP; over TCP
    /// the whole response is fetched.
    ///
    /// # Errors
    /// Nobody said anything: the client gets SERVFAIL.
    pub async fn ask(
        self: &Arc<Self>,
        question: &Question,
        transport: Transport,
    ) -> Result<Response, Failure> {
        let key = question.cache_key();
        let kept = lock(&self.cache).get(&key, Instant::now());
        self.metrics.looked_into_cache(kept.is_some());
        if let Some((outcome, age)) = kept {
            return Response::read(&outcome?).map(|it| it.aged(age)).ok_or(Failure::Network);
        }
        let began = Instant::now();
        let outcome = self.join(key, question, transport).await;
        let response = outcome.and_then(|it| Response::read(&it).ok_or(Failure::Network));
        self.metrics.asked(response.as_ref().map(|it| it.rcode).map_err(|it| *it), began.elapsed());
        response
    }

    /// Joins the exchange for an equal question that is under way, else begins one.
    async fn join(
        self: &Arc<Self>,
        cache_key: Box<[u8]>,
        question: &Question,
        transport: Transport,
    ) -> Outcome<Failure> {
        let mut key = cache_key.to_vec();
        key.extend([u8::from(question.recursion_desired), u8::from(transport == Transport::Tcp)]);
        let leaving = Leaving { upstream: self, key: &key };
        let exchange = {
            let mut waiting = lock(&self.waiting);
            let under_way = waiting.get(&*key).and_then(WeakShared::upgrade);
            under_way.filter(|it| it.peek().is_none()).unwrap_or_else(|| {
                let (upstream, question) = (self.clone(), *question);
                let exchange = async move { upstream.fetch(cache_key, &question, transport).await };
                let exchange = exchange.boxed().shared();
                waiting.extend(exchange.downgrade().map(|it| (key.clone().into(), it)));
                exchange
            })
        };
        let outcome = exchange.await;
        drop(leaving);
        outcome
    }

    /// Asks, and keeps the outcome.
    async fn fetch(&self, key: Box<[u8]>, question: &Question, transport: Transport) -> Outcome<Failure> {
        let outcome = self.race(question, transport).await.map(Arc::from);
        let lifetime = match &outcome {
            Ok(octets) => Response::read(octets).and_then(|it| it.lifetime()),
            Err(Failure::Busy) => None,
            Err(Failure::Timeout | Failure::Network) => Some(FAILURE_LIFETIME),
        };
        // A server that was told not to recurse may have said less than it could.
        if let Some(lifetime) = lifetime.filter(|_| question.recursion_desired) {
            lock(&self.cache).insert(key, outcome.clone(), lifetime, Instant::now());
        }
        outcome
    }

    /// The first useful response of any server.
    async fn race(&self, question: &Question, transport: Transport) -> Result<Vec<u8>, Failure> {
        let first = self.preferred.load(Ordering::Relaxed);
        let count = self.servers.len();
        let deadline = tokio::time::Instant::now() + DEADLINE;
        let mut attempts = FuturesUnordered::new();
        let mut started = 0;
        let mut refusal = None;
        let mut failure = Failure::Busy;
        let mut start_next = true;
        loop {
            // A server that has answered is not asked the same thing again.
            let limit = if refusal.is_some() { count } else { count.max(ATTEMPTS) };
            if start_next && started < limit {
                let server = (first + started) % count;
                attempts.push(async move { (server, self.attempt(server, question, transport).await) });
                started += 1;
            }
            if attempts.is_empty() || (refusal.is_some() && count == 1) {
                return refusal.ok_or(failure);
            }
            let patience = (tokio::time::Instant::now() + PATIENCE).min(deadline);
            start_next = tokio::select! {
                Some((server, outcome)) = attempts.next() => match outcome {
                    Ok(octets) if !is_refusal(&octets) => {
                        self.preferred.store(server, Ordering::Relaxed);
                        return Ok(octets);
                    }
                    Ok(octets) => {
                        refusal.get_or_insert(octets);
                        true
                    }
                    Err(error) => {
                        if error.kind() != io::ErrorKind::ResourceBusy {
                            failure = Failure::Network;
                        }
                        debug!(server = %self.servers[server], %error, "an upstream server cannot be asked");
                        true
                    }
                },
                () = tokio::time::sleep_until(patience) => true, // allow-sleep: how long a server is waited for
            };
            if tokio::time::Instant::now() >= deadline {
                return refusal.ok_or(Failure::Timeout);
            }
        }
    }

    async fn attempt(&self, server: usize, question: &Question, transport: Transport) -> io::Result<Vec<u8>> {
        let server = self.servers[server];
        let Ok(_socket) = self.sockets.try_acquire() else { return Err(io::ErrorKind::ResourceBusy.into()) };
        let query = |edns| {
            let id = self.ids.hash_one(self.queries.fetch_add(1, Ordering::Relaxed));
            question.to_query(id as u16, self.token, edns)
        };
        let mut response = exchange::over_udp(server, &query(Edns::With)).await?;
        let mut edns = Edns::With;
        if refuses_edns(&response) {
            edns = Edns::Without;
            response = exchange::over_udp(server, &query(edns)).await?;
        }
        if is_truncated(&response) && transport == Transport::Tcp {
            match exchange::over_tcp(server, &query(edns)).await {
                Ok(whole) => return Ok(whole),
                Err(error) => debug!(%server, %error, "the rest of a truncated response cannot be fetched"),
            }
        }
        Ok(response)
    }
}

/// Takes a finished or abandoned exchange off the list.
struct Leaving<'a> {
    upstream: &'a Upstream,
    key: &'a [u8],
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        let mut waiting = lock(&self.upstream.waiting);
        let alive = waiting.get(self.key).and_then(WeakShared::upgrade);
        if alive.is_none_or(|it| it.peek().is_some()) {
            waiting.remove(self.key);
        }
    }
}

/// The maps are whole after any panic: nothing in between can panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
