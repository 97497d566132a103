//! Authoritative DNS for the Services of a cluster: the read path.
//!
//! ```text
//! API server ─▶ watch ─▶ narrow ─▶ cache ─▶ records ─▶ index
//!                                                       │ View: one state for one query
//! packet ─▶ serve ─▶ respond ─▶ name ─▶ lookup ◀────────┘
//!   ▲                   │                 │ Answer: plain borrowed values
//!   └────── octets ◀────┴─────────────────┘
//! ```
//!
//! Invariants: `lookup` is pure and knows no message format, so every transport and codec answers alike. One service
//! changes in one swap, forward and reverse together; a full list replaces everything in one swap. Readers take no lock.
//! Only `serve` and `watch` do I/O and read the clock.

pub mod address_name;
mod admission;
pub mod cache;
pub mod config;
pub mod cookie;
mod coredns_metrics;
mod entry;
pub mod expected;
pub mod explain;
pub mod forward;
pub mod freshness;
pub mod hosts;
pub mod index;
pub mod known;
mod linger;
mod listen;
pub mod lookup;
pub mod metrics;
pub mod model;
pub mod name;
mod names;
pub mod narrow;
pub mod objects;
pub mod pods;
mod ports;
mod random;
pub mod rate_limit;
pub mod records;
pub mod reply;
pub mod request;
pub mod respond;
mod responder;
mod resync;
mod reverse;
mod scoped;
mod scrape;
pub mod selection;
pub mod serve;
mod services;
mod sharded;
pub mod skipped;
pub mod srv;
mod sync_metrics;
mod tally;
pub mod tcp;
pub mod transfer;
mod tree;
mod udp;
pub mod upstream;
pub mod watch;
pub mod wire;

#[cfg(test)]
mod tests;

pub use config::DnsConfig;
pub use metrics::Metrics;
pub use serve::Server;
