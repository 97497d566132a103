//! Numbers about the DNS server.
//!
//! A struct of counters that serve and watch write to; [`Metrics::register`] publishes them. Label values are closed sets:
//! nothing a client sends becomes a label.

use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
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
    r#type: TypeLabel,
    rcode: RcodeLabel,
    transport: TransportLabel,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TransportLabels {
    transport: TransportLabel,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ServiceLabels {
    service_kind: ServiceLabel,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
enum TypeLabel {
    A,
    Aaaa,
    Srv,
    Ptr,
    Soa,
    Ns,
    Txt,
    Cname,
    Any,
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
enum RcodeLabel {
    Noerror,
    Formerr,
    Servfail,
    Nxdomain,
    Notimp,
    Refused,
    Badvers,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
enum TransportLabel {
    Udp,
    Tcp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(non_camel_case_types, reason = "label values of the metric that CoreDNS exports")]
enum ServiceLabel {
    cluster_ip,
    headless_with_selector,
    headless_without_selector,
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
        let transport = TransportLabel::from(transport);
        let (r#type, rcode) = (TypeLabel::from(reply.rr_type), RcodeLabel::from(reply.rcode));
        self.responses.get_or_create(&ResponseLabels { r#type, rcode, transport }).inc();
        self.request_duration.get_or_create(&TransportLabels { transport }).observe(took.as_secs_f64());
    }

    pub(super) fn dropped(&self) {
        self.dropped.inc();
    }

    pub(super) fn programmed(&self, class: ServiceClass, took: Duration) {
        let service_kind = match class {
            ServiceClass::ClusterIp => ServiceLabel::cluster_ip,
            ServiceClass::HeadlessWithSelector => ServiceLabel::headless_with_selector,
            ServiceClass::HeadlessWithoutSelector => ServiceLabel::headless_without_selector,
        };
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

impl From<Option<RrType>> for TypeLabel {
    fn from(rr_type: Option<RrType>) -> Self {
        match rr_type {
            Some(RrType::A) => Self::A,
            Some(RrType::AAAA) => Self::Aaaa,
            Some(RrType::SRV) => Self::Srv,
            Some(RrType::PTR) => Self::Ptr,
            Some(RrType::SOA) => Self::Soa,
            Some(RrType::NS) => Self::Ns,
            Some(RrType::TXT) => Self::Txt,
            Some(RrType::CNAME) => Self::Cname,
            Some(RrType::ANY) => Self::Any,
            _ => Self::Other,
        }
    }
}

impl From<Rcode> for RcodeLabel {
    fn from(rcode: Rcode) -> Self {
        match rcode {
            Rcode::NoError => Self::Noerror,
            Rcode::FormErr => Self::Formerr,
            Rcode::ServFail => Self::Servfail,
            Rcode::NxDomain => Self::Nxdomain,
            Rcode::NotImp => Self::Notimp,
            Rcode::Refused => Self::Refused,
            Rcode::BadVers => Self::Badvers,
        }
    }
}

impl From<Transport> for TransportLabel {
    fn from(transport: Transport) -> Self {
        match transport {
            Transport::Udp => Self::Udp,
            Transport::Tcp => Self::Tcp,
        }
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
            "ordinal_dns_responses_total{type=\"A\",rcode=\"Nxdomain\",transport=\"Udp\"} 1",
            "ordinal_dns_request_duration_seconds_count{transport=\"Udp\"} 1",
            "ordinal_dns_programming_duration_seconds_count{service_kind=\"headless_with_selector\"} 1",
            "ordinal_dns_synced 1",
            "ordinal_dns_relists_total 1",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
