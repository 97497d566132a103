//! What the node caches: typed objects, and the index that links pods and claims.

use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::StorageClass;

use super::schedule::{claim_names, is_bound};
use crate::k8s::kept::Kept;
use crate::k8s::watch::Cached as _;
use crate::model::snapshots::{VolumeSnapshot, VolumeSnapshotClass, VolumeSnapshotContent};

/// Bucket of the pods that have no node.
pub const UNSCHEDULED: &str = "unscheduled";

/// A cached pod.
pub type KnownPod = Kept<Pod>;
/// A cached claim.
pub type KnownClaim = Kept<PersistentVolumeClaim>;
/// A cached volume.
pub type KnownVolume = Kept<PersistentVolume>;
/// A cached snapshot.
pub type KnownSnapshot = Kept<VolumeSnapshot>;
/// A cached snapshot class.
pub type KnownSnapshotClass = Kept<VolumeSnapshotClass>;
/// A cached snapshot content.
pub type KnownContent = Kept<VolumeSnapshotContent>;
/// A cached storage class.
pub type KnownClass = Kept<StorageClass>;
/// The cached node.
pub type KnownNode = Kept<Node>;

/// Bucket of the pods that mount a claim.
pub fn claim_bucket(namespace: &str, claim: &str) -> String {
    format!("claim/{namespace}/{claim}")
}

/// Buckets of a pod: [`UNSCHEDULED`], and one per claim it mounts.
pub fn pod_buckets(pod: &KnownPod) -> Vec<String> {
    let unscheduled = !is_bound(&pod.object);
    let mut buckets: Vec<String> =
        claim_names(&pod.object).map(|it| claim_bucket(&pod.key().namespace, it)).collect();
    buckets.extend(unscheduled.then(|| UNSCHEDULED.to_owned()));
    buckets
}
