//! The embedded, Kubernetes-compatible API server.
pub mod allocate;
pub mod boot;
pub mod create;
pub mod defaults;
pub mod delete;
pub mod events;
pub mod gc;
pub mod http;
pub mod list;
pub mod merge_keys;
pub mod meta;
pub mod namespaces;
pub mod negotiate;
pub mod patch;
pub mod patches;
pub mod protobuf;
pub mod quantity;
pub mod render;
pub mod request;
pub mod resources;
pub mod scale;
pub mod selector;
pub mod server;
pub mod ssa;
pub mod status;
pub mod store;
pub mod subresources;
pub mod table;
pub mod update;
pub mod validate;
pub mod watch;

pub mod discovery;
pub mod documents;
pub mod graph;
pub mod guard;
pub mod openapi;
pub mod reviews;
pub mod serve;
pub mod version;

pub use server::{ApiServer, Clock, Options};

#[cfg(test)]
mod tests;
