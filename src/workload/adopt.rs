//! Takes what nobody owns and lets go of what does not match any more.
//!
//! Before the first adoption the owner is read past the cache: one that is gone, replaced or going takes nothing, or the
//! garbage collector and the controller would undo each other's work. Every write names the UID of the object it means.
//! Source: kubernetes `pkg/controller/controller_ref_manager.go`.

use serde_json::json;
use tracing::info;

use super::apply::{ApplyError, Ledger, Who};
use super::claim::Claimed;
use super::model::reference;
use crate::k8s::watch::Cached;
use crate::k8s::write::{Kind, Patch, WriteApi, WriteError};
use crate::model::ObjectKey;

/// Releases and adopts objects of `kind`. One that can not be written holds up no other.
///
/// # Errors
/// The first failure.
pub async fn apply<T: Cached>(
    api: &WriteApi,
    ledger: &Ledger,
    who: &Who<'_>,
    kind: Kind,
    claimed: &Claimed<T>,
) -> Result<(), ApplyError> {
    let mut result = Ok(());
    for it in &claimed.release {
        result = result.and(release(api, ledger, who, kind, &it.key(), it.uid()).await);
    }
    if claimed.adopt.is_empty() {
        return result;
    }
    match who.still_stays(api).await {
        Ok(()) => {
            for it in &claimed.adopt {
                result = result.and(take(api, ledger, who, kind, &it.key(), it.uid()).await);
            }
            result
        }
        refused => result.and(refused),
    }
}

async fn release(
    api: &WriteApi,
    ledger: &Ledger,
    who: &Who<'_>,
    kind: Kind,
    object: &ObjectKey,
    uid: &str,
) -> Result<(), ApplyError> {
    let patch = json!({ "metadata": {
        "uid": uid, "ownerReferences": [{ "$patch": "delete", "uid": who.uid }],
    } });
    match api.patch(kind, object, Patch::Strategic, &patch).await {
        Ok(written) => {
            ledger.stored(who.key, kind, object, &written);
            info!(object.name = %object.name, kind = kind.word, "released");
            Ok(())
        }
        // Gone, replaced, or not writable any more: it is none of ours either way.
        Err(WriteError::NotFound { .. } | WriteError::Stale { .. } | WriteError::Rejected { .. }) => Ok(()),
        Err(error) => {
            ledger.note(who.key, kind, object, Some(uid), &error);
            Err(error.into())
        }
    }
}

async fn take(
    api: &WriteApi,
    ledger: &Ledger,
    who: &Who<'_>,
    kind: Kind,
    object: &ObjectKey,
    uid: &str,
) -> Result<(), ApplyError> {
    let owner = reference(who.kind, &who.key.name, who.uid);
    let patch = json!({ "metadata": { "uid": uid, "ownerReferences": [owner] } });
    match api.patch(kind, object, Patch::Strategic, &patch).await {
        Ok(written) => {
            ledger.stored(who.key, kind, object, &written);
            info!(object.name = %object.name, kind = kind.word, "adopted");
            Ok(())
        }
        Err(WriteError::NotFound { .. }) => Ok(()),
        Err(error) => {
            ledger.note(who.key, kind, object, Some(uid), &error);
            Err(error.into())
        }
    }
}
