//! Numbers about the DNS server.
//!
//! A struct of counters that serve and watch write to; [`Metrics::register`] publishes them. Label values are closed sets:
//! nothing a client sends becomes a label.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use super::cache::ServiceClass;
use super::lookup::RrType;
use super::respond::{Rcode, Reply, Transport};

/// Counters of one server. Clones share the numbers.
#[derive(Debug, Clone)]
pub struct Metrics {
    responses: Family<ResponseLabels, Counter>,
    request_duration: Family<TransportLabels, Histogram>,
    dropped: Counter,
    programming_duration: Family<ServiceLabels, Histogram>,
    synced: Gauge,
    relists: Counter,
    watch_errors: Counter,
    last_event: Gauge,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResponseLabels {
    r#type: &'static str,
    rcode: &'static str,
    transport: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TransportLabels {
    transport: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ServiceLabels {
    service_kind: &'static str,
}

impl Default for Metrics {
    fn default() -> Self {
        // 1 µs to 65 ms: an answer takes microseconds, the tail is the machine's.
        let requests = || Histogram::new(exponential_buckets(0.000_001, 4.0, 9));
        // The buckets of the Kubernetes SLI for DNS programming: 1 ms to 17 min.
        let programming = || Histogram::new(exponential_buckets(0.001, 2.0, 20));
        Self {
            responses: Family::default(),
            request_duration: Family::new_with_constructor(requests),
            dropped: Counter::default(),
            programming_duration: Family::new_with_constructor(programming),
            synced: Gauge::default(),
            relists: Counter::default(),
            watch_errors: Counter::default(),
            last_event: Gauge::default(),
        }
    }
}

impl Metrics {
    /// Publishes the numbers under `ordinal_dns_…`.
    pub fn register(&self, registry: &mut Registry) {
        let dns = registry.sub_registry_with_prefix("ordinal_dns");
        dns.register(
            "responses",
            "Replies sent, by type asked, response code and transport",
            self.responses.clone(),
        );
        dns.register_with_unit(
            "request_duration",
            "Time from a request read to its reply composed",
            Unit::Seconds,
            self.request_duration.clone(),
        );
        dns.register("dropped", "Packets dropped: too short or themselves responses", self.dropped.clone());
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
    }

    pub(super) fn replied(&self, reply: &Reply, transport: Transport, took: Duration) {
        let transport = transport_label(transport);
        let (r#type, rcode) = (type_label(reply.rr_type), rcode_label(reply.rcode));
        self.responses.get_or_create(&ResponseLabels { r#type, rcode, transport }).inc();
        self.request_duration.get_or_create(&TransportLabels { transport }).observe(took.as_secs_f64());
    }

    pub(super) fn dropped(&self) {
        self.dropped.inc();
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

fn type_label(rr_type: Option<RrType>) -> &'static str {
    match rr_type {
        Some(RrType::A) => "A",
        Some(RrType::AAAA) => "AAAA",
        Some(RrType::SRV) => "SRV",
        Some(RrType::PTR) => "PTR",
        Some(RrType::SOA) => "SOA",
        Some(RrType::NS) => "NS",
        Some(RrType::TXT) => "TXT",
        Some(RrType::CNAME) => "CNAME",
        Some(RrType::ANY) => "ANY",
        _ => "other",
    }
}

fn rcode_label(rcode: Rcode) -> &'static str {
    match rcode {
        Rcode::NoError => "NOERROR",
        Rcode::FormErr => "FORMERR",
        Rcode::ServFail => "SERVFAIL",
        Rcode::NxDomain => "NXDOMAIN",
        Rcode::NotImp => "NOTIMP",
        Rcode::Refused => "REFUSED",
        Rcode::BadVers => "BADVERS",
    }
}

fn transport_label(transport: Transport) -> &'static str {
    match transport {
        Transport::Udp => "udp",
        Transport::Tcp => "tcp",
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

    #[test]
    fn the_text_form_has_every_family() {
        let (metrics, mut registry) = (Metrics::default(), Registry::default());
        metrics.register(&mut registry);
        let reply = Reply { octets: Vec::new(), rcode: Rcode::NxDomain, rr_type: Some(RrType::A) };
        metrics.replied(&reply, Transport::Udp, Duration::from_micros(3));
        metrics.programmed(ServiceClass::HeadlessWithSelector, Duration::from_millis(3));
        metrics.relisted();
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            "ordinal_dns_responses_total{type=\"A\",rcode=\"NXDOMAIN\",transport=\"udp\"} 1",
            "ordinal_dns_request_duration_seconds_count{transport=\"udp\"} 1",
            "ordinal_dns_programming_duration_seconds_count{service_kind=\"headless_with_selector\"} 1",
            "ordinal_dns_synced 1",
            "ordinal_dns_relists_total 1",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
