//! DNS over TCP: pipelined queries on long-lived connections (RFC 7766).
//!
//! listener ──▶ `Pool` ──▶ `Connection` ──message──▶ [`Service`] ──[`Response`]──▶ connection
//!
//! Replies that are ready at once leave in the order of their queries; those that take a while (a forwarded query, a zone
//! transfer) leave when they are ready, and hold up nobody. On shutdown, requests that have already arrived are answered,
//! then the connection closes. Every limit has a metric.
//! Sources: RFC 1035 §4.2.2, RFC 7766.

mod connection;
pub mod frames;
mod metrics;
mod pool;

#[cfg(test)]
mod tests;

use std::future::ready;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::config::TcpConfig;
use super::respond::{Handled, Transport};
use super::responder::Responder;
use connection::{Connection, Timing};
use metrics::Limit;
pub use metrics::TcpMetrics;
use pool::Pool;

/// After lameduck: how long connections may take to send the replies they owe.
const DRAIN: Duration = Duration::from_secs(2);

/// What one query gets.
pub enum Response {
    /// Silence.
    None,
    /// One message, composed on the spot.
    Now(Vec<u8>),
    /// Messages that take a while: a forwarded query has one, a zone transfer many. The next one is asked for when the
    /// client has taken the last. Ends by itself; dropped when the client is gone.
    Later(BoxStream<'static, Vec<u8>>),
}

/// Answers queries.
pub trait Service: Clone + Send + 'static {
    /// The response to one message. `client`: where it came from. Must not block.
    fn answer(&self, message: &[u8], client: SocketAddr) -> Response;
}

impl Service for Arc<Responder> {
    fn answer(&self, message: &[u8], client: SocketAddr) -> Response {
        if let Some(messages) = self.transfer(message, client.ip()) {
            return Response::Later(stream::iter(messages).boxed());
        }
        match Responder::answer(self, message, client.ip()) {
            Handled::Silence => Response::None,
            Handled::Here(reply) => Response::Now(reply.octets),
            Handled::Onward => {
                let (responder, message) = (self.clone(), message.to_vec());
                let reply = async move { responder.complete(&message, Transport::Tcp, client.ip()).await };
                Response::Later(stream::once(reply).filter_map(|it| ready(it.map(|it| it.octets))).boxed())
            }
        }
    }
}

/// What all connections of a server share. Clones share it too.
#[derive(Clone)]
pub struct Shared<S> {
    service: S,
    metrics: TcpMetrics,
    pool: Arc<Pool>,
    timing: Timing,
    max_in_flight: usize,
    epoch: Instant,
}

impl<S: Service> Shared<S> {
    /// With the limits of `config`, which has been checked.
    pub fn new(service: S, config: &TcpConfig, metrics: TcpMetrics) -> Self {
        let half = crate::descriptors::limit() / 2;
        let most = config.max_connections.unwrap_or(half);
        if most > half {
            warn!(
                connections = most,
                descriptors = half * 2,
                "dns.tcp.maxConnections: more than half of the descriptor limit"
            );
        }
        Self {
            service,
            metrics,
            pool: Pool::new(most.max(1), config.max_connections_per_address),
            timing: Timing { idle: config.idle_timeout, read: config.read_timeout },
            max_in_flight: config.max_in_flight,
            epoch: Instant::now(),
        }
    }

    fn now(&self) -> u64 {
        self.epoch.elapsed().as_millis() as u64
    }

    /// Answers the connections of one listener until `stop`, then drains.
    pub async fn serve(self, listener: TcpListener, stop: CancellationToken) {
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = stop.cancelled() => break,
            };
            match accepted {
                Ok((stream, client)) => {
                    self.metrics.accepted.inc();
                    let place = match self.pool.admit(client.ip(), self.now()) {
                        Ok((place, met)) => {
                            if let Some(limit) = met {
                                self.metrics.hit(limit);
                            }
                            place
                        }
                        Err(limit) => {
                            self.metrics.hit(limit);
                            continue;
                        }
                    };
                    let connection = Connection {
                        service: self.service.clone(),
                        metrics: self.metrics.clone(),
                        timing: self.timing,
                        max_in_flight: self.max_in_flight,
                        place,
                        epoch: self.epoch,
                    };
                    let (open, stop) = (self.metrics.open.clone(), stop.clone());
                    connections.spawn(async move {
                        open.inc();
                        if let Err(error) = connection.serve(stream, client, stop).await {
                            debug!(%client, %error, "connection ended early");
                        }
                        open.dec();
                    });
                }
                // Out of descriptors, most likely: one idle connection goes, others get time to close.
                Err(error) => {
                    warn!(%error, "accepting a connection failed");
                    if self.pool.make_room(self.now()) {
                        self.metrics.hit(Limit::Connections);
                    }
                    tokio::time::sleep(Duration::from_millis(50)).await; // allow-sleep: pause after a failed accept
                }
            }
            while connections.try_join_next().is_some() {}
        }
        drop(listener);
        let drained = timeout(DRAIN, async { while connections.join_next().await.is_some() {} }).await;
        if drained.is_err() {
            debug!("some connections did not take their replies in time");
        }
    }
}
