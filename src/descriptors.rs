//! How many file descriptors the process may have: what the limits of connections are made of.

/// Assumed where the limit cannot be read.
const ASSUMED: usize = 1024;

/// The soft limit of descriptors (`RLIMIT_NOFILE`).
#[cfg(target_os = "linux")]
pub fn limit() -> usize {
    use nix::sys::resource::{Resource, getrlimit};
    getrlimit(Resource::RLIMIT_NOFILE)
        .map_or(ASSUMED, |(soft, _)| usize::try_from(soft).unwrap_or(usize::MAX))
}

/// The soft limit of descriptors.
#[cfg(not(target_os = "linux"))]
pub fn limit() -> usize {
    ASSUMED
}
