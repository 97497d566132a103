//! metrics.k8s.io of `ordinal up`: the API server asks, the caches of the workload controllers answer.

use serde_json::Value;

use crate::apiserver::metrics::MetricsSource;
use crate::workload::usage::Source;

/// What simulated pods use.
pub struct Simulated(pub Source);

impl MetricsSource for Simulated {
    fn nodes(&self) -> Vec<Value> {
        self.0.nodes()
    }

    fn pods(&self, namespace: Option<&str>) -> Vec<Value> {
        self.0.pods(namespace)
    }
}
