//! The embedded, Kubernetes-compatible API server.
pub mod defaults;
pub mod merge_keys;
pub mod patch;
pub mod quantity;
pub mod resources;
pub mod selector;
pub mod ssa;
pub mod table;
pub mod validate;
