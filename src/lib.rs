//! DNS and stable identity for Kubernetes headless services.
//!
//! A guided tour. Two flows share one rule: decisions are pure functions, everything that waits is a thin shell.
//!
//! ```text
//!             API server (a cluster's, or ordinal::apiserver)
//!                   │ list + watch                              ▲ create, patch, delete
//!                   ▼                                           │
//!  watch ─▶ narrow ─▶ cache ──changed keys──┬─▶ dns::index      │
//!                                           │        ▼          │
//!                                           │   lookup ─▶ reply │
//!                                           └─▶ workqueue ─▶ observe ─▶ plan (pure) ─▶ apply
//! ```
//!
//! Read in this order: [`model`], the caches of [`k8s`], the frame of [`runtime`], then either flow:
//! [`dns`] answers, [`statefulset`] and [`endpointslice`] write. [`apiserver`], [`node`] and [`workload`] (Deployments
//! and what is under them) replace a cluster in `ordinal up`; nothing else imports the first two. [`cli`] is what the user typed, [`config`] what it means,
//! [`components`], [`up`] and [`run`] put the parts together.

pub mod apiserver;
pub mod cli;
pub mod components;
pub mod config;
pub mod descriptors;
pub mod dns;
pub mod endpointslice;
pub mod http_server;
pub mod k8s;
pub mod leader;
pub mod lookup;
pub mod model;
pub mod node;
pub mod reload;
pub mod run;
pub mod runtime;
pub mod statefulset;
pub mod takeover;
pub mod telemetry;
pub mod up;
pub mod workload;
