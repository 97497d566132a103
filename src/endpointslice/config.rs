//! The `endpoints:` section of the configuration: the flags of kube-controller-manager's three loops, and ours. Pure.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Cleanup;

/// Largest value of the two limits on endpoints of a slice; the API server refuses more.
const MOST_ENDPOINTS: usize = 1000;
/// Most workers of a loop.
const MOST_WORKERS: usize = 50;

/// When half-empty slices are merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compaction {
    /// Never, as upstream.
    #[default]
    Off,
    /// When a Service has twice the slices it needs and has been quiet for ten minutes; one write a second at most.
    Idle,
}

/// The `endpointslices:` section. Every key is a flag of the same name.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct EndpointsConfig {
    /// Endpoints per slice, 1 to 1000.
    pub max_endpoints_per_slice: usize,
    /// Services whose slices are worked on at a time, 1 to 50.
    pub concurrent_service_endpoint_syncs: usize,
    /// Pause between a pod event and the slices; 0: none, and sustained change of a slice is spaced instead.
    #[serde(with = "crate::model::duration")]
    pub endpointslice_updates_batch_period: Duration,
    /// Endpoints objects mirrored at a time, 1 to 50.
    pub mirroring_concurrent_service_endpoint_syncs: usize,
    /// Addresses of a subset that are mirrored, 1 to 1000.
    pub mirroring_max_endpoints_per_subset: usize,
    /// Pause between a change of Endpoints and the mirrored slices.
    #[serde(with = "crate::model::duration")]
    pub mirroring_endpointslice_updates_batch_period: Duration,
    /// Services whose Endpoints are worked on at a time, 1 to 50.
    pub concurrent_endpoint_syncs: usize,
    /// Pause between a pod event and the Endpoints.
    #[serde(with = "crate::model::duration")]
    pub endpoint_updates_batch_period: Duration,
    /// Maintain Endpoints objects (deprecated since Kubernetes 1.33). Default: `true` for `up`, `false` for `run`.
    pub legacy_endpoints: Option<bool>,
    /// Mirror hand-written Endpoints into slices.
    pub mirror_endpoints: bool,
    /// Slices and labelled Endpoints of a Service that loses its selector or becomes an ExternalName: `keep` or `delete`.
    pub unmanaged_service_cleanup: Cleanup,
    /// Merge half-empty slices: `off` or `idle`.
    pub slice_compaction: Compaction,
}

impl Default for EndpointsConfig {
    fn default() -> Self {
        Self {
            max_endpoints_per_slice: 100,
            concurrent_service_endpoint_syncs: 5,
            endpointslice_updates_batch_period: Duration::ZERO,
            mirroring_concurrent_service_endpoint_syncs: 5,
            mirroring_max_endpoints_per_subset: 1000,
            mirroring_endpointslice_updates_batch_period: Duration::ZERO,
            concurrent_endpoint_syncs: 5,
            endpoint_updates_batch_period: Duration::ZERO,
            legacy_endpoints: None,
            mirror_endpoints: true,
            unmanaged_service_cleanup: Cleanup::Keep,
            slice_compaction: Compaction::Off,
        }
    }
}

impl EndpointsConfig {
    /// Checks the ranges.
    ///
    /// # Errors
    /// The key, and what is wrong with it.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        for (key, value, most) in [
            ("maxEndpointsPerSlice", self.max_endpoints_per_slice, MOST_ENDPOINTS),
            ("mirroringMaxEndpointsPerSubset", self.mirroring_max_endpoints_per_subset, MOST_ENDPOINTS),
            ("concurrentServiceEndpointSyncs", self.concurrent_service_endpoint_syncs, MOST_WORKERS),
            (
                "mirroringConcurrentServiceEndpointSyncs",
                self.mirroring_concurrent_service_endpoint_syncs,
                MOST_WORKERS,
            ),
            ("concurrentEndpointSyncs", self.concurrent_endpoint_syncs, MOST_WORKERS),
        ] {
            if !(1..=most).contains(&value) {
                return Err((key, format!("{value} is out of range; it may be 1 to {most}")));
            }
        }
        Ok(())
    }
}
