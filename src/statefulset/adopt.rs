//! Takes what nobody owns and lets go of what does not match any more.
//!
//! Revisions come before pods. Before the first adoption of either kind the set is read past the cache: a set that is
//! gone, replaced or going takes nothing, or the garbage collector and the controller would undo each other's work.
//! Every write names the UID of the object it means.
//! Source: kubernetes `pkg/controller/controller_ref_manager.go`, `pkg/controller/statefulset/stateful_set.go`.

use std::sync::Arc;

use serde_json::json;
use tracing::info;

use super::apply::{Applier, ApplyError};
use super::claim::Claimed;
use super::model::{PodView, RevisionView};
use super::revision::set_reference;
use crate::k8s::kinds::{PODS, REVISIONS, STATEFUL_SETS};
use crate::k8s::write::{Kind, Patch, WriteError};
use crate::model::ObjectKey;

impl Applier<'_> {
    /// Takes the revisions in `orphans`, all of them or none.
    ///
    /// # Errors
    /// The set may not adopt, or a write failed.
    pub async fn adopt_revisions(&self, orphans: &[&Arc<RevisionView>]) -> Result<(), ApplyError> {
        if !orphans.is_empty() {
            self.still_stays().await?;
        }
        for it in orphans {
            self.take(REVISIONS, &it.key, &it.uid).await?;
        }
        Ok(())
    }

    /// Releases and adopts pods. One that can not be written holds up no other.
    ///
    /// # Errors
    /// The first failure.
    pub async fn claim_pods(&self, claimed: &Claimed) -> Result<(), ApplyError> {
        let mut result = Ok(());
        for pod in &claimed.release {
            result = result.and(self.release(pod).await);
        }
        if claimed.adopt.is_empty() {
            return result;
        }
        match self.still_stays().await {
            Ok(()) => {
                for pod in &claimed.adopt {
                    result = result.and(self.take(PODS, &pod.key, &pod.uid).await);
                }
                result
            }
            refused => result.and(refused),
        }
    }

    /// Reads the set past the cache: only one that is still there and stays may adopt, or have its history recorded again.
    pub async fn still_stays(&self) -> Result<(), ApplyError> {
        if self.api.stays(STATEFUL_SETS, &self.set.key, &self.set.uid).await? {
            Ok(())
        } else {
            Err(ApplyError::NotAdopting(self.set.key.clone()))
        }
    }

    async fn release(&self, pod: &PodView) -> Result<(), ApplyError> {
        let patch = json!({ "metadata": {
            "uid": pod.uid, "ownerReferences": [{ "$patch": "delete", "uid": self.set.uid }],
        } });
        match self.api.patch(PODS, &pod.key, Patch::Strategic, &patch).await {
            Ok(written) => {
                self.stored(PODS, &pod.key, &written);
                info!(pod = %pod.key.name, "pod released");
                Ok(())
            }
            // Gone, replaced, or not writable any more: it is no pod of ours either way.
            Err(WriteError::NotFound { .. } | WriteError::Stale { .. } | WriteError::Rejected { .. }) => {
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn take(&self, kind: Kind, object: &ObjectKey, uid: &str) -> Result<(), ApplyError> {
        let patch = json!({ "metadata": { "uid": uid, "ownerReferences": [set_reference(self.set)] } });
        match self.api.patch(kind, object, Patch::Strategic, &patch).await {
            Ok(written) => {
                self.stored(kind, object, &written);
                info!(object.name = %object.name, ?kind, "adopted");
                Ok(())
            }
            Err(WriteError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
