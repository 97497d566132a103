//! The frame all controllers share: keyed queue, workers, own-write barrier, readiness.
//!
//! `k8s::watch` ──Change──▶ [`queue::Workqueue`] ──key──▶ [`controller::work`] ──▶ observe, plan, apply
//!
//! One key is never worked on twice at the same time; a change that arrives meanwhile runs it again.

pub mod barrier;
pub mod controller;
pub mod error;
pub mod metrics;
pub mod queue;
mod queue_metrics;
pub mod ready;

pub use barrier::Barrier;
pub use controller::{Next, Reconcile, work};
pub use metrics::ControllerMetrics;
pub use queue::Workqueue;
pub use ready::{Readiness, ReadyHandle};
