//! The work queues under the names and labels of client-go, so that dashboards of controllers work.
//!
//! queues of the controllers that run ──each scrape──▶ `workqueue_*{name}`
//!
//! `name` is what kube-controller-manager calls the queue of that controller. Counters begin anew when a controller does.
//! Source: kubernetes `staging/src/k8s.io/component-base/metrics/prometheus/workqueue`.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use tokio::time::Instant;

use super::queue::Workqueue;

/// The name of a queue.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct QueueLabel {
    name: &'static str,
}

/// kube-controller-manager's name of the queue of a controller.
fn queue_name(controller: &'static str) -> &'static str {
    match controller {
        "endpointslice" => "endpoint_slice",
        "endpointslice-mirroring" => "endpoint_slice_mirroring",
        "endpoints" => "endpoint",
        "replicationcontroller" => "replicationmanager",
        other => other,
    }
}

/// `workqueue_*`. Clones share the series.
#[derive(Clone)]
pub struct QueueMetrics {
    queued: Family<QueueLabel, Histogram>,
    worked: Family<QueueLabel, Histogram>,
    queues: Arc<Mutex<BTreeMap<&'static str, Workqueue>>>,
}

impl Default for QueueMetrics {
    fn default() -> Self {
        let times = || Histogram::new(exponential_buckets(1e-8, 10.0, 12));
        Self {
            queued: Family::new_with_constructor(times),
            worked: Family::new_with_constructor(times),
            queues: Arc::default(),
        }
    }
}

/// The histograms of one queue.
pub struct QueueTimes {
    /// Seconds a key waited, ready to be worked on.
    pub queued: Histogram,
    /// Seconds one reconcile took.
    pub worked: Histogram,
}

impl QueueMetrics {
    fn queues(&self) -> MutexGuard<'_, BTreeMap<&'static str, Workqueue>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows the queue of a controller in place of the one it had before.
    pub fn watch(&self, controller: &'static str, queue: &Workqueue) -> QueueTimes {
        let name = queue_name(controller);
        self.queues().insert(name, queue.clone());
        let label = QueueLabel { name };
        QueueTimes {
            queued: self.queued.get_or_create(&label).clone(),
            worked: self.worked.get_or_create(&label).clone(),
        }
    }

    /// Adds the series to a registry without a prefix.
    pub fn register(&self, root: &mut Registry) {
        let registry = root.sub_registry_with_prefix("workqueue");
        registry.register(
            "queue_duration_seconds",
            "How long a key stays in the queue before it is worked on",
            self.queued.clone(),
        );
        registry.register("work_duration_seconds", "How long working on a key takes", self.worked.clone());
        registry.register_collector(Box::new(self.clone()));
    }
}

impl fmt::Debug for QueueMetrics {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("QueueMetrics").finish_non_exhaustive()
    }
}

type Gauges = Family<QueueLabel, Gauge<f64, AtomicU64>>;

impl Collector for QueueMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let now = Instant::now();
        let (depth, adds, retries): (Family<_, Gauge>, Family<_, Counter>, Family<_, Counter>) =
            Default::default();
        let (unfinished, longest): (Gauges, Gauges) = Default::default();
        for (name, queue) in self.queues().iter() {
            let label = QueueLabel { name };
            let figures = queue.with(|it| it.figures(now));
            depth.get_or_create(&label).set(figures.depth as i64);
            adds.get_or_create(&label).inc_by(figures.adds);
            retries.get_or_create(&label).inc_by(figures.retries);
            unfinished.get_or_create(&label).set(figures.unfinished.as_secs_f64());
            longest.get_or_create(&label).set(figures.longest.as_secs_f64());
        }
        show(&mut encoder, "depth", "Keys waiting to be worked on", &depth)?;
        show(&mut encoder, "adds", "Keys added", &adds)?;
        show(&mut encoder, "retries", "Keys to be tried again", &retries)?;
        show(
            &mut encoder,
            "unfinished_work_seconds",
            "Sum over the keys worked on: for how long",
            &unfinished,
        )?;
        show(&mut encoder, "longest_running_processor_seconds", "The longest of them", &longest)
    }
}

fn show<M: EncodeMetric>(
    encoder: &mut DescriptorEncoder,
    name: &str,
    help: &str,
    metric: &M,
) -> Result<(), fmt::Error> {
    metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
}
