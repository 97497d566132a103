//! What every process says about itself: its version, panics, and what the kernel counts.
//!
//! procfs ──[`register`]──▶ metrics text
//!
//! Sources: the `process_` series of Prometheus client libraries; proc_pid_stat(5).

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

/// Panics since the start. There should be none.
static PANICS: AtomicU64 = AtomicU64::new(0);

/// Counts a panic.
pub(super) fn panicked() {
    PANICS.fetch_add(1, Ordering::Relaxed);
}

/// Numbers about the process itself.
#[derive(Debug)]
struct Itself {
    /// Also under the names of CoreDNS.
    as_coredns: bool,
}

#[derive(Debug, EncodeLabelSet)]
struct Build {
    version: &'static str,
}

#[derive(Debug, EncodeLabelSet)]
struct CoreDnsBuild {
    version: &'static str,
    revision: &'static str,
    goversion: &'static str,
}

impl Collector for Itself {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let version = env!("CARGO_PKG_VERSION");
        let prefixes = if self.as_coredns { &["ordinal", "coredns"][..] } else { &["ordinal"] };
        for prefix in prefixes {
            let (name, help) = (format!("{prefix}_panics"), "Panics since the start; there should be none");
            let mut metric = encoder.encode_descriptor(&name, help, None, MetricType::Counter)?;
            metric.encode_counter::<NoLabelSet, _, u64>(&PANICS.load(Ordering::Relaxed), None)?;
            let (name, help) = (format!("{prefix}_build_info"), "1, with the version of this build");
            let mut metric = encoder.encode_descriptor(&name, help, None, MetricType::Gauge)?;
            if *prefix == "coredns" {
                let labels = CoreDnsBuild { version, revision: "", goversion: "" };
                metric.encode_family(&labels)?.encode_gauge(&1i64)?;
            } else {
                metric.encode_family(&Build { version })?.encode_gauge(&1i64)?;
            }
        }
        let read = |name: &str| std::fs::read_to_string(format!("/proc/{name}")).unwrap_or_default();
        let files = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
        let Some(usage) = Usage::parse(&read("self/stat"), &read("self/status"), &read("stat")) else {
            return Ok(());
        };
        let mut metric = encoder.encode_descriptor(
            "process_cpu_seconds",
            "User and system time the process has used",
            None,
            MetricType::Counter,
        )?;
        metric.encode_counter::<NoLabelSet, _, u64>(&usage.cpu_seconds, None)?;
        for (name, help, value) in [
            ("process_resident_memory_bytes", "Resident memory", usage.resident_bytes),
            ("process_start_time_seconds", "Unix time of the start", usage.started),
            ("process_open_fds", "Open file descriptors", files as f64),
        ] {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            metric.encode_gauge(&value)?;
        }
        Ok(())
    }
}

/// What the kernel knows about a process.
#[derive(Debug, PartialEq)]
struct Usage {
    cpu_seconds: f64,
    resident_bytes: f64,
    /// Unix time in seconds.
    started: f64,
}

/// The kernel tells user space 100 ticks a second, whatever it counts itself.
const TICKS: f64 = 100.0;

impl Usage {
    /// Of `/proc/self/stat`, `/proc/self/status` and `/proc/stat`; `None` where there is no procfs.
    fn parse(stat: &str, status: &str, machine: &str) -> Option<Self> {
        // The name of the program may hold anything.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks = |at: usize| fields.get(at)?.parse::<f64>().ok();
        let line = |text: &str, name: &str| -> Option<f64> {
            let line = text.lines().find_map(|it| it.strip_prefix(name))?;
            line.split_whitespace().next()?.parse().ok()
        };
        Some(Self {
            cpu_seconds: (ticks(11)? + ticks(12)?) / TICKS,
            resident_bytes: line(status, "VmRSS:")? * 1024.0,
            started: line(machine, "btime")? + ticks(19)? / TICKS,
        })
    }
}

/// Adds what every process says about itself to the root of a registry.
pub fn register(root: &mut Registry, as_coredns: bool) {
    root.register_collector(Box::new(Itself { as_coredns }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_is_read_from_procfs() {
        let stat = "77 (a) b) S 1 77 77 0 -1 4194304 1 2 3 4 150 50 0 0 20 0 4 0 1000 1 2 3";
        let status = "Name:\ta) b\nVmRSS:\t    2048 kB\n";
        let usage = Usage::parse(stat, status, "cpu 1 2\nbtime 1700000000\n");
        let want = Usage { cpu_seconds: 2.0, resident_bytes: 2_097_152.0, started: 1_700_000_010.0 };
        assert_eq!(usage, Some(want));
        assert_eq!(Usage::parse("", "", ""), None);
    }
}
