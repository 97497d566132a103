//! Numbers about the DNS server.
//!
//! A struct of counters that serve and watch write to; [`Metrics::register`] publishes them. Label values are closed sets:
//! nothing a client sends becomes a label.

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use super::cache::ServiceClass;
use super::config::Zones;
use super::coredns_metrics;
use super::forward::ForwardMetrics;
use super::rate_limit::RateLimitMetrics;
use super::respond::Transport;
use super::scrape::Answering;
use super::sync_metrics::SyncMetrics;
use super::tally::Tally;
use super::tcp::TcpMetrics;

/// Counters of one server. Clones share the numbers.
#[derive(Debug, Clone)]
pub struct Metrics {
    answering: Arc<Answering>,
    programming_duration: Family<ServiceLabels, Histogram>,
    synced: Gauge,
    relists: Counter,
    watch_errors: Counter,
    last_event: Gauge,
    /// TCP connections.
    pub(super) tcp: TcpMetrics,
    /// Response rate limiting.
    pub(super) rate_limit: RateLimitMetrics,
    /// Forwarded queries.
    pub(super) forward: ForwardMetrics,
    /// Keeping in step with the API server.
    pub(super) sync: SyncMetrics,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ServiceLabels {
    service_kind: &'static str,
}

impl Default for Metrics {
    fn default() -> Self {
        // The buckets of the Kubernetes SLI for DNS programming: 1 ms to 17 min.
        let programming = || Histogram::new(exponential_buckets(0.001, 2.0, 20));
        Self {
            answering: Arc::default(),
            programming_duration: Family::new_with_constructor(programming),
            synced: Gauge::default(),
            relists: Counter::default(),
            watch_errors: Counter::default(),
            last_event: Gauge::default(),
            tcp: TcpMetrics::default(),
            rate_limit: RateLimitMetrics::default(),
            forward: ForwardMetrics::default(),
            sync: SyncMetrics::default(),
        }
    }
}

impl Metrics {
    /// Publishes the numbers under `<prefix of registry>_dns_…`.
    pub fn register(&self, registry: &mut Registry) {
        let dns = registry.sub_registry_with_prefix("dns");
        self.forward.register(dns);
        dns.register_collector(Box::new(self.answering.clone()));
        dns.register_with_unit(
            "programming_duration",
            "Time from the change of a pod or service to its changed answer",
            Unit::Seconds,
            self.programming_duration.clone(),
        );
        dns.register("synced", "1 when the first full lists are published, else 0", self.synced.clone());
        dns.register("relists", "Full lists published, the first one included", self.relists.clone());
        dns.register("watch_errors", "Watch and list requests that failed", self.watch_errors.clone());
        dns.register_with_unit(
            "last_event_timestamp",
            "Unix time of the last event of any watch",
            Unit::Seconds,
            self.last_event.clone(),
        );
        self.tcp.register(dns);
        self.rate_limit.register(dns);
        self.sync.register(dns);
    }

    /// Publishes some of them in the root of the registry under the names of CoreDNS as well. `listen`: where it listens.
    pub fn register_as_coredns(&self, root: &mut Registry, listen: SocketAddr) {
        coredns_metrics::register(root, &self.answering, listen);
        root.sub_registry_with_prefix("coredns_kubernetes").register_with_unit(
            "dns_programming_duration",
            "Histogram of the time it took to program a dns instance",
            Unit::Seconds,
            self.programming_duration.clone(),
        );
    }

    /// The counts of one more thread that answers, and the labels of the zones it answers for.
    pub(super) fn tally(&self, transport: Transport, zones: &Zones) -> Tally {
        let labels = self.answering.zones.get_or_init(|| zones.labels());
        let (tally, counts) = Tally::new(labels.len());
        self.answering.lock().push((transport, counts));
        tally
    }

    /// Has the drop counters of these UDP sockets read at every scrape.
    pub(super) fn watch_sockets(&self, inodes: impl IntoIterator<Item = u64>) {
        let mut sockets = self.answering.sockets.lock().unwrap_or_else(PoisonError::into_inner);
        sockets.extend(inodes);
    }

    pub(super) fn programmed(&self, class: ServiceClass, took: Duration) {
        let service_kind = service_label(class);
        self.programming_duration.get_or_create(&ServiceLabels { service_kind }).observe(took.as_secs_f64());
    }

    pub(super) fn relisted(&self) {
        self.synced.set(1);
        self.relists.inc();
    }

    pub(super) fn watch_failed(&self) {
        self.watch_errors.inc();
    }

    /// `now`: Unix time in seconds.
    pub(super) fn event_at(&self, now: i64) {
        self.last_event.set(now);
    }
}

fn service_label(class: ServiceClass) -> &'static str {
    match class {
        ServiceClass::ClusterIp => "cluster_ip",
        ServiceClass::HeadlessWithSelector => "headless_with_selector",
        ServiceClass::HeadlessWithoutSelector => "headless_without_selector",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::lookup::RrType;
    use crate::dns::reply::Rcode;
    use crate::dns::tally::Answered;

    #[test]
    fn the_text_form_has_every_family() {
        let (metrics, mut registry) = (Metrics::default(), Registry::with_prefix("ordinal"));
        metrics.register(&mut registry);
        let zones = crate::dns::DnsConfig::default().check(&[]).unwrap();
        let answered = Answered { zone: 0, rr_type: Some(RrType::A), rcode: Rcode::NxDomain, size: 99 };
        for mut tally in [metrics.tally(Transport::Udp, &zones), metrics.tally(Transport::Udp, &zones)] {
            tally.answered(&answered);
            tally.took(Duration::from_micros(3), 1);
        }
        metrics.programmed(ServiceClass::HeadlessWithSelector, Duration::from_millis(3));
        metrics.relisted();
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            "ordinal_dns_responses_total{zone=\"cluster.local.\",type=\"A\",rcode=\"NXDOMAIN\",transport=\"udp\"} 2",
            "ordinal_dns_request_duration_seconds_count{transport=\"udp\"} 2",
            "ordinal_dns_request_duration_seconds_bucket{le=\"0.000004\",transport=\"udp\"} 2",
            "ordinal_dns_response_size_bytes_sum{transport=\"udp\"} 198",
            "ordinal_dns_dropped_total 0",
            "ordinal_dns_programming_duration_seconds_count{service_kind=\"headless_with_selector\"} 1",
            "ordinal_dns_synced 1",
            "ordinal_dns_relists_total 1",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
