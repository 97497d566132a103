//! How the CPUs of a cluster are spread over its zones.

use std::collections::BTreeMap;

use crate::endpointslice::model::NodeView;

/// The share of each zone in the allocatable CPUs of ready worker nodes; empty if the nodes do not tell enough.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ZoneShares(BTreeMap<String, f64>);

impl ZoneShares {
    /// From all nodes. Those of the control plane and those that are not ready do not count; one that counts and has no
    /// zone or CPU spoils everything, and so does a single zone.
    pub fn of<'a>(nodes: impl Iterator<Item = &'a NodeView>) -> Self {
        let mut cpus: BTreeMap<String, i64> = BTreeMap::new();
        for node in nodes.filter(|it| it.ready && !it.control_plane) {
            match &node.zone {
                Some(zone) if node.milli_cpu > 0 => {
                    let sum = cpus.entry(zone.clone()).or_default();
                    *sum = sum.saturating_add(node.milli_cpu);
                }
                _ => return Self::default(),
            }
        }
        if cpus.len() < 2 {
            return Self::default();
        }
        let total: f64 = cpus.values().map(|it| *it as f64).sum();
        Self(cpus.into_iter().map(|(zone, cpu)| (zone, cpu as f64 / total)).collect())
    }

    /// Whether the nodes do not tell enough.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Number of zones.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Zone and share, ascending by zone.
    pub fn iter(&self) -> impl Iterator<Item = (&str, f64)> {
        self.0.iter().map(|(zone, share)| (zone.as_str(), *share))
    }
}
