//! Numbers about TCP connections.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Counters of all connections of one server. Clones share the numbers.
#[derive(Debug, Clone, Default)]
pub struct TcpMetrics {
    pub(super) open: Gauge,
    pub(super) accepted: Counter,
    limits: Family<LimitLabels, Counter>,
}

/// A limit that a connection met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// `maxConnections`: the longest idle connection was closed for a new one.
    Connections,
    /// `maxConnectionsPerAddress`: likewise, among those of the new one's address.
    Address,
    /// One of these two, and no connection was idle: the new one was closed.
    Refused,
    /// `maxInFlight`: no more was read until a reply was ready.
    InFlight,
    /// `idleTimeout`.
    Idle,
    /// `readTimeout`.
    Read,
    /// The client did not take its replies within `idleTimeout`.
    Write,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LimitLabels {
    limit: &'static str,
}

impl Limit {
    const ALL: [Self; 7] = [
        Self::Connections,
        Self::Address,
        Self::Refused,
        Self::InFlight,
        Self::Idle,
        Self::Read,
        Self::Write,
    ];

    fn labels(self) -> LimitLabels {
        let limit = match self {
            Self::Connections => "connections",
            Self::Address => "address",
            Self::Refused => "refused",
            Self::InFlight => "in_flight",
            Self::Idle => "idle",
            Self::Read => "read",
            Self::Write => "write",
        };
        LimitLabels { limit }
    }
}

impl TcpMetrics {
    /// Publishes the numbers as `tcp_…` below the prefix of `dns`.
    pub fn register(&self, dns: &mut Registry) {
        dns.register("tcp_connections", "Open TCP connections", self.open.clone());
        dns.register("tcp_connections_accepted", "TCP connections accepted", self.accepted.clone());
        dns.register("tcp_limits", "Times a TCP connection met a limit, by limit", self.limits.clone());
        for limit in Limit::ALL {
            drop(self.limits.get_or_create(&limit.labels()));
        }
    }

    pub(super) fn hit(&self, limit: Limit) {
        self.limits.get_or_create(&limit.labels()).inc();
    }

    /// How often `limit` was met.
    #[cfg(test)]
    pub(super) fn hits(&self, limit: Limit) -> u64 {
        self.limits.get_or_create(&limit.labels()).get()
    }
}
