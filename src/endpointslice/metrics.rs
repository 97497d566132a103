//! What the endpoint controllers count, under the names kube-controller-manager uses, and what is ours.
//!
//! Upstream's counters have no `_total`, which this text format insists on, so they are kept as gauges that only grow:
//! dashboards and alerts find the same names and labels.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// What a write did.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Operation {
    /// `create`, `update` or `delete`.
    pub operation: &'static str,
}

/// How a sync ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct SyncResult {
    /// `success`, `stale` or `error`.
    pub result: &'static str,
}

/// How hints were decided in a sync.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct HintMode {
    /// `Auto` or `Disabled`.
    pub topology: &'static str,
    /// `spec.trafficDistribution` where it counts.
    pub traffic_distribution: String,
}

/// A value of `spec.trafficDistribution`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Distribution {
    /// As in the Service.
    pub traffic_distribution: String,
}

/// What a pod event led to.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PodResult {
    /// `ignored`, `unchanged` or `planned`.
    pub result: &'static str,
}

/// A step between an event and its slice.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Stage {
    /// `observe`, `plan` or `write`.
    pub stage: &'static str,
}

/// Series of the EndpointSlice controller. Clones share them.
#[derive(Clone)]
pub struct SliceMetrics {
    /// Endpoints that entered slices in a sync.
    pub added: Histogram,
    /// Endpoints that left slices in a sync.
    pub removed: Histogram,
    /// Slices written in a sync.
    pub changed: Family<HintMode, Histogram>,
    /// Endpoints that should be published.
    pub desired: Gauge,
    /// Slices there are.
    pub slices: Gauge,
    /// Slices there would be with perfect packing.
    pub desired_slices: Gauge,
    /// Services by traffic distribution.
    pub distributions: Family<Distribution, Gauge>,
    /// Writes.
    pub changes: Family<Operation, Gauge>,
    /// Syncs.
    pub syncs: Family<SyncResult, Gauge>,
    /// Pod events.
    pub pod_events: Family<PodResult, Counter>,
    /// Time of each step.
    pub latency: Family<Stage, Histogram>,
    /// Octets sent in writes.
    pub bytes: Counter,
    /// How full slices are, 0 to 1.
    pub fill: Gauge<f64, AtomicU64>,
    /// Differences an audit found.
    pub audit_differences: Counter,
}

impl Default for SliceMetrics {
    fn default() -> Self {
        let per_sync = || Histogram::new(exponential_buckets(2.0, 2.0, 15));
        Self {
            added: per_sync(),
            removed: per_sync(),
            changed: Family::new_with_constructor(|| Histogram::new(exponential_buckets(2.0, 2.0, 15))),
            desired: Gauge::default(),
            slices: Gauge::default(),
            desired_slices: Gauge::default(),
            distributions: Family::default(),
            changes: Family::default(),
            syncs: Family::default(),
            pod_events: Family::default(),
            latency: Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.000_01, 4.0, 12))),
            bytes: Counter::default(),
            fill: Gauge::default(),
            audit_differences: Counter::default(),
        }
    }
}

impl SliceMetrics {
    /// Sets what a new leader counts anew to zero.
    pub fn start(&self) {
        for gauge in [&self.desired, &self.slices, &self.desired_slices] {
            gauge.set(0);
        }
        self.fill.set(0.0);
        self.distributions.clear();
    }

    /// Adds the series to `root`, which has no prefix: upstream's under their names, ours under `ordinal`.
    pub fn register(&self, root: &mut Registry) {
        let upstream = root.sub_registry_with_prefix("endpoint_slice_controller");
        upstream.register(
            "endpoints_added_per_sync",
            "Endpoints added on each Service sync",
            self.added.clone(),
        );
        upstream.register(
            "endpoints_removed_per_sync",
            "Endpoints removed on each Service sync",
            self.removed.clone(),
        );
        upstream.register(
            "endpointslices_changed_per_sync",
            "EndpointSlices changed on each Service sync",
            self.changed.clone(),
        );
        upstream.register("endpoints_desired", "Endpoints desired", self.desired.clone());
        upstream.register("num_endpoint_slices", "EndpointSlices", self.slices.clone());
        upstream.register(
            "desired_endpoint_slices",
            "EndpointSlices that would exist with perfect endpoint allocation",
            self.desired_slices.clone(),
        );
        upstream.register(
            "services_count_by_traffic_distribution",
            "Services using some specific trafficDistribution",
            self.distributions.clone(),
        );
        upstream.register("changes", "EndpointSlice changes", self.changes.clone());
        upstream.register("syncs", "EndpointSlice syncs", self.syncs.clone());
        let ours = root.sub_registry_with_prefix("ordinal");
        ours.register("pod_events", "Pod events by what they led to", self.pod_events.clone());
        ours.register(
            "endpoint_latency_seconds",
            "observe: from the Ready transition to the event; plan: one plan; write: from the event to the written slice",
            self.latency.clone(),
        );
        ours.register("slice_write_bytes", "Octets sent in slice writes", self.bytes.clone());
        ours.register(
            "slice_fill_ratio",
            "Endpoints in slices, divided by the room there is in them",
            self.fill.clone(),
        );
        ours.register(
            "slice_audit_differences",
            "Services whose incremental state differed from a plan from scratch",
            self.audit_differences.clone(),
        );
        for operation in ["create", "update", "delete"] {
            drop(self.changes.get_or_create(&Operation { operation }));
        }
        for result in ["success", "stale", "error"] {
            drop(self.syncs.get_or_create(&SyncResult { result }));
        }
        for result in ["ignored", "unchanged", "planned"] {
            drop(self.pod_events.get_or_create(&PodResult { result }));
        }
    }
}

/// Series of the mirroring controller. Clones share them.
#[derive(Clone)]
pub struct MirrorMetrics {
    /// Endpoints that entered mirrored slices in a sync.
    pub added: Histogram,
    /// Endpoints that changed in a sync.
    pub updated: Histogram,
    /// Endpoints that left in a sync.
    pub removed: Histogram,
    /// Addresses left out in a sync.
    pub skipped: Histogram,
    /// Time of a sync.
    pub duration: Histogram,
    /// Endpoints that should be mirrored.
    pub desired: Gauge,
    /// Mirrored slices there are.
    pub slices: Gauge,
    /// Mirrored slices there should be.
    pub desired_slices: Gauge,
    /// Writes.
    pub changes: Family<Operation, Gauge>,
}

impl Default for MirrorMetrics {
    fn default() -> Self {
        let per_sync = || Histogram::new(exponential_buckets(2.0, 2.0, 15));
        Self {
            added: per_sync(),
            updated: per_sync(),
            removed: per_sync(),
            skipped: per_sync(),
            duration: Histogram::new(exponential_buckets(0.001, 2.0, 15)),
            desired: Gauge::default(),
            slices: Gauge::default(),
            desired_slices: Gauge::default(),
            changes: Family::default(),
        }
    }
}

impl MirrorMetrics {
    /// Sets what a new leader counts anew to zero.
    pub fn start(&self) {
        for gauge in [&self.desired, &self.slices, &self.desired_slices] {
            gauge.set(0);
        }
    }

    /// Adds the series to `root`, which has no prefix.
    pub fn register(&self, root: &mut Registry) {
        let upstream = root.sub_registry_with_prefix("endpoint_slice_mirroring_controller");
        upstream.register("endpoints_added_per_sync", "Endpoints added on each sync", self.added.clone());
        upstream.register(
            "endpoints_updated_per_sync",
            "Endpoints updated on each sync",
            self.updated.clone(),
        );
        upstream.register(
            "endpoints_removed_per_sync",
            "Endpoints removed on each sync",
            self.removed.clone(),
        );
        upstream.register(
            "addresses_skipped_per_sync",
            "Addresses skipped on each sync",
            self.skipped.clone(),
        );
        upstream.register(
            "endpoints_sync_duration",
            "Seconds that one sync of an Endpoints object takes",
            self.duration.clone(),
        );
        upstream.register("endpoints_desired", "Endpoints desired", self.desired.clone());
        upstream.register("num_endpoint_slices", "Mirrored EndpointSlices", self.slices.clone());
        upstream.register(
            "desired_endpoint_slices",
            "Mirrored EndpointSlices desired",
            self.desired_slices.clone(),
        );
        upstream.register("changes", "EndpointSlice changes", self.changes.clone());
        for operation in ["create", "update", "delete"] {
            drop(self.changes.get_or_create(&Operation { operation }));
        }
    }
}
