//! Metrics of the controller frame, one set per controller.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use super::queue_metrics::QueueMetrics;

/// Which controller a sample is about; the values are the component names.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ControllerLabel {
    /// Component name, such as `statefulset`.
    pub controller: &'static str,
}

/// Controller and the outcome of one reconcile.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ReconcileLabels {
    /// Component name.
    pub controller: &'static str,
    /// `success`, `error`, `panic` or `waiting` (own-write barrier).
    pub result: &'static str,
}

/// `ordinal_workqueue_*` and `ordinal_reconcile*`. Clones share the series.
#[derive(Clone)]
pub struct ControllerMetrics {
    pub(super) depth: Family<ControllerLabel, Gauge>,
    pub(super) reconciles: Family<ReconcileLabels, Counter>,
    pub(super) duration: Family<ControllerLabel, Histogram>,
    pub(super) own_write_wait: Family<ControllerLabel, Histogram>,
    leader: Family<ControllerLabel, Gauge>,
    pub(super) queues: QueueMetrics,
}

impl Default for ControllerMetrics {
    fn default() -> Self {
        Self {
            depth: Family::default(),
            reconciles: Family::default(),
            duration: Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.0005, 4.0, 10))),
            own_write_wait: Family::new_with_constructor(|| {
                Histogram::new(exponential_buckets(0.0005, 4.0, 10))
            }),
            leader: Family::default(),
            queues: QueueMetrics::default(),
        }
    }
}

impl ControllerMetrics {
    /// Says whether this process leads a controller that leader election decides about.
    pub fn leads(&self, controller: &'static str, leads: bool) {
        self.leader.get_or_create(&ControllerLabel { controller }).set(leads.into());
    }

    /// How many reconciles of a controller panicked.
    pub fn panics(&self, controller: &'static str) -> u64 {
        self.reconciles.get_or_create(&ReconcileLabels { controller, result: "panic" }).get()
    }

    /// Adds the series to a registry without a prefix: ours under `ordinal`, those of the queues as client-go names them.
    pub fn register(&self, root: &mut Registry) {
        self.queues.register(root);
        let registry = root.sub_registry_with_prefix("ordinal");
        registry.register("workqueue_depth", "Keys waiting for a worker", self.depth.clone());
        registry.register("reconciles", "Reconciles by outcome", self.reconciles.clone());
        registry.register(
            "reconcile_duration_seconds",
            "Time of one reconcile, writes included",
            self.duration.clone(),
        );
        registry.register("leader", "1 while this process leads the controller", self.leader.clone());
        registry.register(
            "own_write_wait_seconds",
            "Time from the first look at a key whose own writes the caches did not show until they did",
            self.own_write_wait.clone(),
        );
    }
}
