//! What a person may set about the simulated node.

use std::time::Duration;

use ipnet::IpNet;

/// Settings of one simulated node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeConfig {
    /// Name of the Node object.
    pub name: String,
    /// From binding to running containers.
    pub start_delay: Duration,
    /// From running containers to Ready.
    pub ready_delay: Duration,
    /// From `deletionTimestamp` to the end of the containers; never longer than the grace period.
    pub stop_delay: Duration,
    /// Ranges of pod addresses, one per address family, the primary one first. The first host is the node itself.
    pub pod_cidrs: Vec<IpNet>,
}

impl Default for NodeConfig {
    fn default() -> Self {
        Self {
            name: "sim-0".to_owned(),
            start_delay: Duration::from_millis(200),
            ready_delay: Duration::from_millis(300),
            stop_delay: Duration::from_millis(200),
            pod_cidrs: ["10.244.0.0/16", "fd00:10:244::/64"]
                .map(|it| it.parse().expect("a constant network parses"))
                .to_vec(),
        }
    }
}
