//! The API edge: watches that fill caches, writes, events. Everything behind it works on plain, narrowed values.

pub mod events;
pub mod kept;
pub mod kinds;
pub mod lean;
pub mod limit;
pub mod own_writes;
pub mod proxy;
pub mod requests;
pub mod resume;
pub mod watch;
pub mod watched;
pub mod write;
