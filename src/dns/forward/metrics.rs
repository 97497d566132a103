//! Numbers about forwarded queries.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::dns::respond::Rcode;
use crate::dns::tally::RCODES;
use crate::dns::upstream::Failure;

/// Counters of one forwarder. Clones share the numbers.
#[derive(Debug, Clone)]
pub struct ForwardMetrics {
    responses: Family<RcodeLabel, Counter>,
    failures: Family<ReasonLabel, Counter>,
    duration: Histogram,
    cache_hits: Counter,
    cache_misses: Counter,
    loops: Counter,
    rejected: Counter,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RcodeLabel {
    rcode: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

impl Default for ForwardMetrics {
    fn default() -> Self {
        Self {
            responses: Family::default(),
            failures: Family::default(),
            // 0.25 ms to 4 s, the deadline.
            duration: Histogram::new(exponential_buckets(0.000_25, 2.0, 15)),
            cache_hits: Counter::default(),
            cache_misses: Counter::default(),
            loops: Counter::default(),
            rejected: Counter::default(),
        }
    }
}

impl ForwardMetrics {
    /// Publishes the numbers under `<prefix of registry>_forward_…`.
    pub fn register(&self, registry: &mut Registry) {
        let forward = registry.sub_registry_with_prefix("forward");
        forward.register(
            "responses",
            "Responses of upstream servers, by response code",
            self.responses.clone(),
        );
        forward.register("failures", "Queries no upstream server answered, by reason", self.failures.clone());
        forward.register_with_unit(
            "duration",
            "Time from a query to the response of an upstream server, cache hits left out",
            Unit::Seconds,
            self.duration.clone(),
        );
        forward.register("cache_hits", "Queries answered from kept responses", self.cache_hits.clone());
        forward.register("cache_misses", "Queries no response was kept for", self.cache_misses.clone());
        forward.register("loops", "Own queries that came back from an upstream server", self.loops.clone());
        forward.register(
            "rejected",
            "Queries over UDP refused because too many were waiting",
            self.rejected.clone(),
        );
    }

    pub(in crate::dns) fn looked_into_cache(&self, hit: bool) {
        if hit { &self.cache_hits } else { &self.cache_misses }.inc();
    }

    pub(in crate::dns) fn asked(&self, outcome: Result<Rcode, Failure>, took: Duration) {
        match outcome {
            Ok(rcode) => self.responses.get_or_create(&RcodeLabel { rcode: label(rcode) }).inc(),
            Err(failure) => {
                let reason = match failure {
                    Failure::Timeout => "timeout",
                    Failure::Network => "network",
                    Failure::Busy => "busy",
                };
                self.failures.get_or_create(&ReasonLabel { reason }).inc()
            }
        };
        self.duration.observe(took.as_secs_f64());
    }

    /// Returns how many there have been before.
    pub(in crate::dns) fn looped(&self) -> u64 {
        self.loops.inc()
    }

    pub(in crate::dns) fn rejected(&self) {
        self.rejected.inc();
    }
}

fn label(rcode: Rcode) -> &'static str {
    RCODES.iter().find(|(_, it)| *it == rcode).map_or("other", |(label, _)| label)
}
