//! The embedded, Kubernetes-compatible API server.
//!
//! ```text
//! kubectl ─▶ serve ─▶ guard ─┐                     ┌─▶ create, update, patches, delete, subresources ─▶ store
//! kube::Client ──────────────┴─▶ http ─▶ request ──┼─▶ list, watch ◀─── events, bytes ──────────────── store
//!                                                  └─▶ documents (discovery, openapi, version)
//! gc, namespaces: store events in, deletions out
//! store: commits ─▶ journal, to disk if there is a data directory; http and watch wait for it
//! ```
//!
//! One handler takes every path; the table in [`resources`] decides what exists. A request becomes a
//! [`request::Call`], an operation on the [`store`], and an answer in the shape [`negotiate`] chose and
//! [`render`] writes. Objects are JSON throughout, so fields this build does not know survive.
//!
//! Invariants: one writer at a time, one sequence of resource versions for all kinds; what an operation decides
//! it decides on state that cannot change before its commit; no event is visible before the object is; a write
//! that changes nothing leaves no trace; no await while a lock is held.
//! Nothing here runs containers, checks permissions or calls out.
//!
//! As a library, to test controllers in process ([`faults`] makes it answer badly on purpose; `examples/controller_test.rs`
//! is a whole test):
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), kube::Error> {
//! use k8s_openapi::api::core::v1::ConfigMap;
//! use ordinal::apiserver::{ApiServer, Options};
//!
//! let server = ApiServer::new(Options::default());
//! let client = kube::Client::new(server.router(), "default");
//! let maps: kube::Api<ConfigMap> = kube::Api::default_namespaced(client);
//! assert!(maps.list(&Default::default()).await?.items.is_empty());
//! # Ok(()) }
//! ```
pub mod admission;
pub mod allocate;
pub mod autoscalers;
pub mod boot;
pub mod create;
pub mod defaults;
pub mod delete;
pub mod discovery;
pub mod documents;
pub mod events;
pub mod eviction;
pub mod families;
pub mod faults;
pub mod gc;
pub mod graph;
pub mod guard;
pub mod http;
pub mod journal;
pub mod kinds;
pub mod layout;
pub mod list;
pub mod merge_keys;
pub mod meta;
pub mod metrics;
pub mod namespaces;
pub mod negotiate;
pub mod object;
pub mod openapi;
pub mod patch;
pub mod patches;
pub mod protobuf;
pub use crate::model::quantity;
pub mod render;
pub mod request;
pub mod resources;
pub mod reviews;
pub mod scale;
pub mod selector;
pub mod serve;
pub mod server;
pub mod ssa;
pub mod status;
pub mod store;
pub mod strict;
pub mod subresources;
pub mod table;
pub mod tls;
pub mod update;
pub mod validate;
pub mod version;
pub mod views;
pub mod watch;

pub use allocate::Ranges;
pub use metrics::MetricsSource;
pub use serve::Door;
pub use server::{ApiServer, Clock, Options};

#[cfg(test)]
mod tests;
