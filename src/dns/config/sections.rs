//! The sections within the `dns:` section of the configuration.
//!
//! file, flags ──serde──▶ these, as parts of [`DnsConfig`](super::DnsConfig)

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{ConfigError, fail};

/// The `transfer:` section: AXFR and IXFR (RFC 5936, RFC 1995).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct TransferConfig {
    /// Addresses and CIDR blocks that may transfer zones. Empty: nobody.
    pub to: Vec<String>,
    /// Send NOTIFY (RFC 1996) to the single addresses of `to`, port 53 unless given, when a serial changes.
    pub notify: bool,
}

/// The `sync:` section.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct SyncConfig {
    /// How long readiness may wait for the first full lists before the process says so in its log and in `/readyz`.
    /// Ports are bound at once in any case.
    #[serde(with = "crate::model::duration")]
    pub startup_timeout: Duration,
    /// From then on answers say "Stale Answer" (RFC 8914) when a watch is lost this long.
    #[serde(with = "crate::model::duration")]
    pub stale_after: Duration,
    /// From then on answers are SERVFAIL when a watch is lost this long. Left out: the last state is served for ever.
    #[serde(with = "crate::model::duration::option")]
    pub max_stale: Option<Duration>,
    /// How often the data is compared with a fresh list, give or take a tenth; zero: never.
    #[serde(with = "crate::model::duration")]
    pub resync: Duration,
}

impl Default for SyncConfig {
    fn default() -> Self {
        Self {
            startup_timeout: Duration::from_secs(5),
            stale_after: Duration::from_secs(60),
            max_stale: None,
            resync: Duration::from_secs(600),
        }
    }
}

/// The `tcp:` section.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct TcpConfig {
    /// Longest silence of a connection.
    #[serde(with = "crate::model::duration")]
    pub idle_timeout: Duration,
    /// Longest time one message may take to arrive once it began.
    #[serde(with = "crate::model::duration")]
    pub read_timeout: Duration,
    /// Open connections. Left out: half of the descriptor limit of the process.
    pub max_connections: Option<usize>,
    /// Open connections of one client address.
    pub max_connections_per_address: usize,
    /// Queries of one connection that wait for an answer.
    pub max_in_flight: usize,
}

impl Default for TcpConfig {
    fn default() -> Self {
        Self {
            idle_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_secs(3),
            max_connections: None,
            max_connections_per_address: 1024,
            max_in_flight: 64,
        }
    }
}

impl TcpConfig {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let longest = Duration::from_secs(3600);
        for (key, value) in [("idleTimeout", self.idle_timeout), ("readTimeout", self.read_timeout)] {
            if value.is_zero() || value > longest {
                return fail(
                    format!("tcp.{key}"),
                    format!("{value:?} is not above 0 and at most {longest:?}"),
                );
            }
        }
        for (key, value) in [
            ("maxConnections", self.max_connections.unwrap_or(1)),
            ("maxConnectionsPerAddress", self.max_connections_per_address),
            ("maxInFlight", self.max_in_flight),
        ] {
            if value == 0 {
                return fail(format!("tcp.{key}"), "0 is below 1");
            }
        }
        Ok(())
    }
}

/// The `rateLimit:` section: response rate limiting over UDP, as in BIND, Knot and NSD.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct RateLimitConfig {
    /// Off by default: forwarders and node caches share one address.
    pub enabled: bool,
    /// Answers in one second to one IPv4 /24 or IPv6 /64.
    pub responses_per_second: u32,
    /// Every so many limited answers one is sent truncated, so that a real client comes back over TCP; 0: none.
    pub slip: u32,
    /// Addresses and CIDR blocks that are not limited.
    pub exempt: Vec<String>,
}

impl Default for RateLimitConfig {
    fn default() -> Self {
        Self { enabled: false, responses_per_second: 200, slip: 2, exempt: Vec::new() }
    }
}

/// The `cookies:` section: DNS cookies (RFC 7873, RFC 9018).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct CookieConfig {
    /// Whether server cookies are handed out and checked.
    pub enabled: bool,
    /// File with one secret of 32 hexadecimal digits a line, the first one in use, the others still accepted; read
    /// again when it changes. Replicas share it. Left out: a random secret that is replaced every day.
    pub secret_file: Option<PathBuf>,
}
