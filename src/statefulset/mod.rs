//! The StatefulSet controller.
//!
//! Store ──observe──▶ [`plan::Observed`] ──[`plan::plan`]──▶ [`plan::Plan`] ──apply──▶ API server
//!
//! Decisions are pure: [`claim`] (which pods are ours), [`revision`] (what a template is called), [`plan`] with
//! its phases `scale` and `update`, [`status`], [`desired`] (what a pod looks like), [`retention`] (who owns a
//! claim).
//!
//! Invariants: one pod per identity, never created while the name exists; every delete names the UID it means;
//! claims are never deleted; no key is planned on a view older than our own writes. `docs` call them INV-1 to
//! INV-11.
//! Sources: KEP-961, KEP-1847, KEP-3335; kubernetes `pkg/controller/statefulset` (1.37).

pub mod claim;
mod defaults;
pub mod desired;
pub mod model;
pub mod plan;
pub mod retention;
pub mod revision;
mod scale;
pub mod selector;
pub mod status;
mod update;

#[cfg(test)]
mod notation;
#[cfg(test)]
mod plan_tests;
