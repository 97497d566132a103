//! The simulated node: scheduler, kubelet and volume binder in one, an ordinary client of any Kubernetes API server.
//!
//! pods, claims, volumes ──watch──▶ `run` ──▶ `lifecycle::next`, `volumes::plan` (pure) ──▶ binding, /status, DELETE
//!
//! It runs no containers. A pod goes Pending, ContainerCreating, Running, Ready and, once deleted, Terminating, each
//! after a delay that a flag or an annotation sets. All delays are tokio time, so tests can pause the clock.
//! Reading order: `config`, `lifecycle`, `status`, `schedule`, `address`, `volumes`, `provision`, `events`, `machine`,
//! then the shells `pods`, `claims`, `snapshots` and `run`.
//! Sources: kubelet `pkg/kubelet/kubelet_pods.go`, `pkg/kubelet/status/generate.go`; kwok's stages.

pub mod address;
pub mod claims;
pub mod config;
pub mod events;
pub mod knobs;
pub mod lifecycle;
pub mod machine;
pub mod objects;
pub mod order;
pub mod pods;
pub mod provision;
pub mod run;
pub mod schedule;
pub mod snapshots;
pub mod status;
pub mod volumes;

pub use config::NodeConfig;
pub use run::run;

#[cfg(test)]
mod tests;
