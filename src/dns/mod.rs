//! Authoritative DNS for the Services of a cluster: the read path.

pub mod config;
pub mod index;
pub mod lookup;
pub mod model;
pub mod name;
pub mod narrow;
pub mod records;
pub mod respond;
mod reverse;
