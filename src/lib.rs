//! DNS and stable identity for Kubernetes headless services.

pub mod apiserver;
pub mod dns;
pub mod endpointslice;
pub mod k8s;
pub mod model;
pub mod node;
pub mod runtime;
pub mod statefulset;
