//! Numbers about keeping in step with the API server, besides those of the events themselves.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::skipped::Reason;

/// Clones share the numbers.
#[derive(Debug, Clone, Default)]
pub struct SyncMetrics {
    watch_stale: Gauge<f64, AtomicU64>,
    resyncs: Counter,
    resync_repairs: Counter,
    skipped: Family<SkippedLabels, Gauge>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SkippedLabels {
    kind: &'static str,
    reason: &'static str,
}

impl SyncMetrics {
    pub(super) fn register(&self, dns: &mut Registry) {
        dns.register_with_unit(
            "watch_stale",
            "Time since a watch that is lost delivered anything, the longest of all; 0 while every watch delivers",
            Unit::Seconds,
            self.watch_stale.clone(),
        );
        dns.register(
            "resyncs",
            "Full lists compared with the data besides the watches",
            self.resyncs.clone(),
        );
        dns.register(
            "resync_repairs",
            "Objects that such a comparison found different and repaired",
            self.resync_repairs.clone(),
        );
        dns.register(
            "skipped_objects",
            "Objects that are left out now, in whole or in part, by kind and reason",
            self.skipped.clone(),
        );
    }

    pub(super) fn stale_for(&self, stale: Duration) {
        self.watch_stale.set(stale.as_secs_f64());
    }

    pub(super) fn resynced(&self, repaired: usize) {
        self.resyncs.inc();
        self.resync_repairs.inc_by(repaired as u64);
    }

    /// Comparisons so far, and what they repaired.
    #[cfg(test)]
    pub(super) fn resyncs(&self) -> (u64, u64) {
        (self.resyncs.get(), self.resync_repairs.get())
    }

    /// `counts`: objects of the kind by reason, in the order of [`Reason::ALL`].
    pub(super) fn skipped(&self, kind: &'static str, counts: [u32; Reason::ALL.len()]) {
        for (reason, count) in Reason::ALL.into_iter().zip(counts).filter(|(it, _)| *it != Reason::NoService)
        {
            self.set_skipped(kind, reason, count);
        }
    }

    /// Slices whose Service does not exist: only the cache can tell.
    pub(super) fn orphans(&self, slices: usize) {
        self.set_skipped("EndpointSlice", Reason::NoService, slices as u32);
    }

    fn set_skipped(&self, kind: &'static str, reason: Reason, count: u32) {
        let labels = SkippedLabels { kind, reason: reason.label() };
        // A series appears with its first object and stays.
        if count > 0 || self.skipped.get(&labels).is_some() {
            self.skipped.get_or_create(&labels).set(i64::from(count));
        }
    }
}
