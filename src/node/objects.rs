//! What the node caches: typed objects without `managedFields`, and the index that links pods and claims.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::Resource;

use super::schedule::{claim_names, is_bound};
use crate::k8s::watch::{Cached, parse_version};
use crate::model::ObjectKey;
use crate::model::snapshots::{VolumeSnapshot, VolumeSnapshotClass, VolumeSnapshotContent};

/// Bucket of the pods that have no node.
pub const UNSCHEDULED: &str = "unscheduled";

/// A cached object of kind `K`.
#[derive(Debug)]
pub struct Known<K> {
    key: ObjectKey,
    uid: String,
    version: u64,
    /// The object.
    pub object: Arc<K>,
}

impl<K: Resource> Known<K> {
    /// The object without what the node never reads.
    pub fn narrow(mut object: K) -> Self {
        let meta = object.meta_mut();
        meta.managed_fields = None;
        Self {
            key: ObjectKey::new(
                meta.namespace.clone().unwrap_or_default(),
                meta.name.clone().unwrap_or_default(),
            ),
            uid: meta.uid.clone().unwrap_or_default(),
            version: parse_version(meta.resource_version.as_deref()),
            object: Arc::new(object),
        }
    }
}

impl<K: Send + Sync + 'static> Cached for Known<K> {
    fn key(&self) -> ObjectKey {
        self.key.clone()
    }
    fn uid(&self) -> &str {
        &self.uid
    }
    fn resource_version(&self) -> u64 {
        self.version
    }
}

/// A cached pod.
pub type KnownPod = Known<Pod>;
/// A cached claim.
pub type KnownClaim = Known<PersistentVolumeClaim>;
/// A cached volume.
pub type KnownVolume = Known<PersistentVolume>;
/// A cached snapshot.
pub type KnownSnapshot = Known<VolumeSnapshot>;
/// A cached snapshot class.
pub type KnownSnapshotClass = Known<VolumeSnapshotClass>;
/// A cached snapshot content.
pub type KnownContent = Known<VolumeSnapshotContent>;
/// A cached storage class.
pub type KnownClass = Known<StorageClass>;
/// The cached node.
pub type KnownNode = Known<Node>;

/// Bucket of the pods that mount a claim.
pub fn claim_bucket(namespace: &str, claim: &str) -> String {
    format!("claim/{namespace}/{claim}")
}

/// Buckets of a pod: [`UNSCHEDULED`], and one per claim it mounts.
pub fn pod_buckets(pod: &KnownPod) -> Vec<String> {
    let unscheduled = !is_bound(&pod.object);
    let mut buckets: Vec<String> =
        claim_names(&pod.object).map(|it| claim_bucket(&pod.key.namespace, it)).collect();
    buckets.extend(unscheduled.then(|| UNSCHEDULED.to_owned()));
    buckets
}
