//! The simulated node: scheduler, kubelet and volume binder in one, for a cluster without machines.
//!
//! pods, claims, volumes ──watch──▶ [`schedule`], [`lifecycle`], [`volumes`] (pure) ──▶ binding, status, events
//!
//! An ordinary API client: it works the same against the embedded server and against a kube-apiserver.
//! Where a pod stands is read from the pod itself, so a restarted simulator goes on; only timers start anew.
//! A pod's annotations `sim.ordinal/…` change what happens to it, see [`pod::Knobs`].
//! **Invariants.** No two living pods share an address; a recreated pod gets a new one. Only pods bound to this node
//! are touched. A pod is removed by its uid, never by its name alone.

mod address;
mod binder;
pub mod config;
mod events;
mod kubelet;
mod lifecycle;
mod object;
pub mod pod;
mod recorder;
mod run;
mod schedule;
mod status;
mod volumes;

pub use config::NodeConfig;
pub use run::run;

/// Who the API server says wrote the node's fields.
const FIELD_MANAGER: &str = "node-simulator";

/// The index bucket of the pods that use a claim.
fn claim_bucket(claim: &crate::model::ObjectKey) -> String {
    claim.to_string()
}
