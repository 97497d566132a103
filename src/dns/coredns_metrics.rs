//! The same numbers under the names of CoreDNS, so that dashboards and alerts made for it go on working.
//!
//! `dns::tally`, `dns::metrics` ──[`register`]──▶ `coredns_…` series
//!
//! Differs: `family` is always 1, durations are not told apart by zone (zone `.`), and there is neither
//! `coredns_dns_request_size_bytes` nor `coredns_dns_do_requests_total`: counting those would cost every query.
//! Source: CoreDNS 1.14 `plugin/metrics/vars/vars.go`, `plugin/kubernetes/object/metrics.go`.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use super::respond::Transport;
use super::scrape::{Answering, no_exemplar, transport_label};
use super::tally::{DURATIONS, SIZES};

/// See the module.
#[derive(Debug)]
struct CoreDns {
    answering: Arc<Answering>,
    /// `dns://:53` and the like.
    server: String,
}

#[derive(Debug, EncodeLabelSet)]
struct Requests {
    server: String,
    zone: String,
    view: &'static str,
    proto: &'static str,
    family: &'static str,
    r#type: &'static str,
}

#[derive(Debug, EncodeLabelSet)]
struct Responses {
    server: String,
    zone: String,
    view: &'static str,
    rcode: &'static str,
    plugin: &'static str,
}

#[derive(Debug, EncodeLabelSet)]
struct Durations {
    server: String,
    zone: &'static str,
    view: &'static str,
}

#[derive(Debug, EncodeLabelSet)]
struct Sizes {
    server: String,
    zone: &'static str,
    view: &'static str,
    proto: &'static str,
}

/// Publishes the numbers of `answering` under `coredns_dns_`, in the root of the registry.
pub(super) fn register(root: &mut Registry, answering: &Arc<Answering>, listen: SocketAddr) {
    let server = format!("dns://:{}", listen.port());
    root.sub_registry_with_prefix("coredns_dns")
        .register_collector(Box::new(CoreDns { answering: Arc::clone(answering), server }));
}

impl CoreDns {
    fn requests(&self, encoder: &mut DescriptorEncoder<'_>, zones: &[String]) -> fmt::Result {
        let mut totals = BTreeMap::new();
        for (transport, counts) in self.answering.lock().iter() {
            for (zone, r#type, _, count) in counts.responses() {
                *totals.entry((zone, transport_label(*transport), r#type)).or_insert(0) += count;
            }
        }
        let help = "Counter of DNS requests made per zone, protocol and family";
        let mut metric = encoder.encode_descriptor("requests", help, None, MetricType::Counter)?;
        for ((zone, proto, r#type), count) in totals {
            let zone = zone_label(zones, zone).to_owned();
            let labels = Requests { server: self.server.clone(), zone, view: "", proto, family: "1", r#type };
            metric.encode_family(&labels)?.encode_counter(&count, no_exemplar())?;
        }
        Ok(())
    }

    fn responses(&self, encoder: &mut DescriptorEncoder<'_>, zones: &[String]) -> fmt::Result {
        let mut totals = BTreeMap::new();
        for (_, counts) in self.answering.lock().iter() {
            for (zone, _, rcode, count) in counts.responses() {
                *totals.entry((zone, rcode)).or_insert(0) += count;
            }
        }
        let help = "Counter of response status codes";
        let mut metric = encoder.encode_descriptor("responses", help, None, MetricType::Counter)?;
        for ((zone, rcode), count) in totals {
            let plugin = if zone + 1 < zones.len() { "kubernetes" } else { "" };
            let zone = zone_label(zones, zone).to_owned();
            let labels = Responses { server: self.server.clone(), zone, view: "", rcode, plugin };
            metric.encode_family(&labels)?.encode_counter(&count, no_exemplar())?;
        }
        Ok(())
    }

    fn durations(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let (mut buckets, mut sum) = ([0; DURATIONS.len() + 1], 0);
        for (_, counts) in self.answering.lock().iter() {
            sum += counts.durations().merge(&mut buckets);
        }
        let bounds = DURATIONS.iter().map(|it| *it as f64 / 1e9).chain([f64::MAX]);
        let buckets: Vec<_> = bounds.zip(buckets).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        let help = "Histogram of the time each request took";
        let mut metric = encoder.encode_descriptor(
            "request_duration",
            help,
            Some(&Unit::Seconds),
            MetricType::Histogram,
        )?;
        let labels = Durations { server: self.server.clone(), zone: ".", view: "" };
        let mut family = metric.encode_family(&labels)?;
        family.encode_histogram::<NoLabelSet>(sum as f64 / 1e9, count, &buckets, None)
    }

    fn sizes(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Size of the returned response in bytes";
        let mut metric =
            encoder.encode_descriptor("response_size", help, Some(&Unit::Bytes), MetricType::Histogram)?;
        for transport in [Transport::Udp, Transport::Tcp] {
            let (mut buckets, mut sum) = ([0; SIZES.len() + 1], 0);
            for (_, counts) in self.answering.lock().iter().filter(|(it, _)| *it == transport) {
                sum += counts.sizes().merge(&mut buckets);
            }
            let bounds = SIZES.iter().map(|it| *it as f64).chain([f64::MAX]);
            let buckets: Vec<_> = bounds.zip(buckets).collect();
            let count = buckets.iter().map(|(_, count)| count).sum();
            let labels =
                Sizes { server: self.server.clone(), zone: ".", view: "", proto: transport_label(transport) };
            let mut family = metric.encode_family(&labels)?;
            family.encode_histogram::<NoLabelSet>(sum as f64, count, &buckets, None)?;
        }
        Ok(())
    }
}

/// CoreDNS calls everything outside of its zones `.`.
fn zone_label(zones: &[String], place: usize) -> &str {
    zones.get(place).filter(|_| place + 1 < zones.len()).map_or(".", String::as_str)
}

impl Collector for CoreDns {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let zones = self.answering.zones.get().map_or(&[][..], Vec::as_slice);
        self.requests(&mut encoder, zones)?;
        self.responses(&mut encoder, zones)?;
        self.durations(&mut encoder)?;
        self.sizes(&mut encoder)
    }
}
