//! The counts of all threads that answer, merged at every scrape.
//!
//! `dns::tally` ──[`Answering::encode`]──▶ metrics text
//!
//! Reading costs the threads nothing. The kernel's own count of datagrams that found no room is read from procfs.
//! Sources: OpenMetrics 1.0, proc_net_udp (Linux `net/ipv4/udp.c`, column `drops`).

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use super::respond::Transport;
use super::tally::{Counts, DURATIONS, Histogram, SIZES};

/// Everything that counts answers.
#[derive(Debug, Default)]
pub struct Answering {
    /// Names of the zones by place.
    pub zones: OnceLock<Vec<String>>,
    counts: Mutex<Vec<(Transport, Arc<Counts>)>>,
    /// Inodes of the UDP sockets.
    pub sockets: Mutex<BTreeSet<u64>>,
}

#[derive(Debug, EncodeLabelSet)]
struct ResponseLabels {
    zone: String,
    r#type: &'static str,
    rcode: &'static str,
    transport: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct TransportLabels {
    transport: &'static str,
}

/// Counters have none.
pub(super) fn no_exemplar<'a>()
-> Option<&'a prometheus_client::metrics::exemplar::Exemplar<TransportLabels, f64>> {
    None
}

impl Answering {
    /// The counts of every thread.
    pub fn lock(&self) -> MutexGuard<'_, Vec<(Transport, Arc<Counts>)>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn responses(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut metric = encoder.encode_descriptor(
            "responses",
            "Replies sent, by zone, type asked, response code and transport",
            None,
            MetricType::Counter,
        )?;
        let zones = self.zones.get().map_or(&[][..], Vec::as_slice);
        let mut totals = std::collections::BTreeMap::new();
        for (transport, counts) in self.lock().iter() {
            for (zone, r#type, rcode, count) in counts.responses() {
                *totals.entry((zone, r#type, rcode, transport_label(*transport))).or_insert(0) += count;
            }
        }
        for ((zone, r#type, rcode, transport), count) in totals {
            let zone = zones.get(zone).cloned().unwrap_or_default();
            let labels = ResponseLabels { zone, r#type, rcode, transport };
            metric.encode_family(&labels)?.encode_counter(&count, no_exemplar())?;
        }
        Ok(())
    }

    /// `scale`: how many units of the counts make one unit of the metric.
    fn histogram<const N: usize>(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        (name, help, unit): (&str, &str, Unit),
        bounds: &[u64],
        scale: f64,
        of: fn(&Counts) -> &Histogram<N>,
    ) -> fmt::Result {
        let mut metric = encoder.encode_descriptor(name, help, Some(&unit), MetricType::Histogram)?;
        for transport in [Transport::Udp, Transport::Tcp] {
            let (mut buckets, mut sum) = ([0; N], 0);
            for (_, counts) in self.lock().iter().filter(|(it, _)| *it == transport) {
                sum += of(counts).merge(&mut buckets);
            }
            let count = buckets.iter().sum();
            let bounds = bounds.iter().map(|it| *it as f64 / scale).chain([f64::MAX]);
            let buckets: Vec<_> = bounds.zip(buckets).collect();
            let labels = TransportLabels { transport: transport_label(transport) };
            metric.encode_family(&labels)?.encode_histogram::<TransportLabels>(
                sum as f64 / scale,
                count,
                &buckets,
                None,
            )?;
        }
        Ok(())
    }

    fn counter(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        name: &str,
        help: &str,
        of: impl Fn(&Counts) -> u64,
    ) -> fmt::Result {
        let total: u64 = self.lock().iter().map(|(_, it)| of(it)).sum();
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        metric.encode_counter(&total, no_exemplar())
    }
}

impl Collector for Answering {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.responses(&mut encoder)?;
        let duration =
            ("request_duration", "Time from a query received to its reply composed", Unit::Seconds);
        self.histogram(&mut encoder, duration, &DURATIONS, 1e9, Counts::durations)?;
        let size = ("response_size", "Size of replies", Unit::Bytes);
        self.histogram(&mut encoder, size, &SIZES, 1.0, Counts::sizes)?;
        self.counter(
            &mut encoder,
            "dropped",
            "Packets dropped: too short or themselves responses",
            Counts::dropped,
        )?;
        let sockets = self.sockets.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let lost: u64 = kernel_drops(&sockets);
        let mut metric = encoder.encode_descriptor(
            "udp_receive_drops",
            "Datagrams the kernel dropped because a receive buffer was full",
            None,
            MetricType::Counter,
        )?;
        metric.encode_counter(&lost, no_exemplar())
    }
}

pub(super) fn transport_label(transport: Transport) -> &'static str {
    match transport {
        Transport::Udp => "udp",
        Transport::Tcp => "tcp",
    }
}

/// The sum of the drop counters of these sockets; 0 where there is no procfs.
fn kernel_drops(inodes: &BTreeSet<u64>) -> u64 {
    let tables = ["/proc/net/udp", "/proc/net/udp6"];
    let tables = tables.iter().filter_map(|it| std::fs::read_to_string(it).ok());
    tables.map(|it| drops_in(&it, inodes)).sum()
}

/// Column 10 is the inode, the last one the drops.
fn drops_in(table: &str, inodes: &BTreeSet<u64>) -> u64 {
    let rows = table.lines().skip(1).filter_map(|line| {
        let mut columns = line.split_whitespace();
        let inode: u64 = columns.nth(9)?.parse().ok()?;
        inodes.contains(&inode).then_some(())?;
        columns.next_back()?.parse::<u64>().ok()
    });
    rows.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_are_those_of_our_sockets() {
        let table = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
  100: 0100007F:041D 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4711 2 0000000000000000 17
  101: 0100007F:041E 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4712 2 0000000000000000 5
";
        assert_eq!(drops_in(table, &BTreeSet::from([4711])), 17);
        assert_eq!(drops_in(table, &BTreeSet::from([4711, 4712, 9])), 22);
    }
}
