//! What can be chosen about a simulated node.

use std::time::Duration;

/// Name and delays of a simulated node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeConfig {
    /// Name of the Node object.
    pub name: String,
    /// From bound to Running.
    pub start_delay: Duration,
    /// From Running to Ready.
    pub ready_delay: Duration,
    /// From deletion to stopped; a shorter grace period wins.
    pub stop_delay: Duration,
    /// From the creation of a VolumeSnapshot to its being ready.
    pub snapshot_delay: Duration,
    /// Pods have an IPv6 address, too.
    pub dual_stack: bool,
}

impl Default for NodeConfig {
    fn default() -> Self {
        Self {
            name: "sim-0".to_owned(),
            start_delay: Duration::from_millis(200),
            ready_delay: Duration::from_millis(300),
            stop_delay: Duration::from_millis(200),
            snapshot_delay: Duration::from_millis(500),
            dual_stack: false,
        }
    }
}
