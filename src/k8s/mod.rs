//! The API edge: watches that fill caches. Everything behind it works on plain, narrowed values.

pub mod limit;
pub mod watch;
