//! Applies the steps of a plan.
//!
//! Phases one after the other. Within a phase OrderedReady goes step by step and ends at the first error; Parallel
//! runs the steps of all ordinals in batches that grow from 1, and goes past a failing ordinal, so that one name
//! taken by somebody else does not hold up the set; the ordinal is left alone for a while (see `backoff`). After a
//! phase with an error only the history is trimmed.
//! Every write is recorded in the own-write barrier before anything else happens.
//! Source: kubernetes `pkg/controller/statefulset/stateful_set_control.go` (`slowStartBatch`).

use std::sync::Mutex;

use jiff::Timestamp;
use serde_json::{Value, json};
use tracing::{debug, info};

use super::backoff::Backoffs;
use super::conditions::Refused;
use super::desired;
use super::events::tell;
use super::model::{ClaimView, Ordinal, Owner, PodManagement, SetSpec};
use super::plan::{Action, Phase, Step};
use super::revision::{self, NewRevision, owner_json};
use crate::k8s::events::{Recorder, Severity};
use crate::k8s::kinds::{CLAIMS, PODS, REVISIONS};
use crate::k8s::own_writes::OwnWrites;
use crate::k8s::write::{Kind, Patch, WriteApi, WriteError, Written};
use crate::model::{ObjectKey, quantity::Quantity};

/// Most steps under way at once.
const BATCH_MAX: usize = 500;
/// Batches in a row without a success after which a phase gives up: quota or an API server in trouble.
const FAILED_BATCHES_MAX: u32 = 3;

/// Why applying ended early.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// Another revision has the name: plan again with a higher collision count.
    #[error("revision {0} exists with other data")]
    Collision(ObjectKey),
    /// The set is not what was observed any more, so nothing may be adopted for it.
    #[error("statefulset {0} is gone, replaced or being deleted: nothing is adopted")]
    NotAdopting(ObjectKey),
    /// A write failed.
    #[error(transparent)]
    Api(#[from] WriteError),
}

impl ApplyError {
    /// What the API server said about a write it refused for good.
    pub fn refused(&self) -> Option<Refused> {
        match self {
            Self::Api(error @ WriteError::Rejected { .. }) => {
                Some(Refused { message: format!("{error}: {}", error.text()) })
            }
            _ => None,
        }
    }

    /// Whether the set or its namespace is on its way out: no fault, and there is nothing to retry.
    pub fn is_farewell(&self) -> bool {
        matches!(self, Self::NotAdopting(_) | Self::Api(WriteError::NamespaceTerminating { .. }))
    }
}

/// What applying needs besides the plan.
pub struct Applier<'a> {
    /// Writes.
    pub api: &'a WriteApi,
    /// Remembers them.
    pub own: &'a OwnWrites,
    /// Tells people.
    pub events: &'a Recorder,
    /// The set.
    pub set: &'a SetSpec,
    /// Remembers the ordinals that failed.
    pub backoffs: &'a Mutex<Backoffs>,
    /// The time of this sync, for events.
    pub now: Timestamp,
}

impl Applier<'_> {
    /// Brings about the revisions that all later steps speak of.
    ///
    /// # Errors
    /// The first write that failed. Nothing may be done or said about such a revision then.
    pub async fn revisions(&self, steps: &[Step]) -> Result<(), ApplyError> {
        for step in steps.iter().take_while(|it| it.phase == Phase::Revisions) {
            self.step(step).await?;
        }
        Ok(())
    }

    /// Applies the steps between revisions and history, phase by phase.
    ///
    /// # Errors
    /// The first error of the first phase that had one.
    pub async fn steps(&self, steps: &[Step]) -> Result<(), ApplyError> {
        let from = steps.partition_point(|it| it.phase == Phase::Revisions);
        let to = steps.partition_point(|it| it.phase < Phase::History);
        for phase in steps[from..to].chunk_by(|a, b| a.phase == b.phase) {
            // Deletions of an update go from the top, one after the other, in either kind of management.
            let in_batches =
                self.set.management == PodManagement::Parallel && phase[0].phase != Phase::Update;
            if in_batches {
                self.in_batches(phase).await?;
            } else {
                for step in phase {
                    self.step(step).await?;
                }
            }
        }
        Ok(())
    }

    /// Trims the history.
    ///
    /// # Errors
    /// The first write that failed.
    pub async fn history(&self, steps: &[Step]) -> Result<(), ApplyError> {
        for step in steps.iter().filter(|it| it.phase == Phase::History) {
            self.step(step).await?;
        }
        Ok(())
    }

    async fn in_batches(&self, steps: &[Step]) -> Result<(), ApplyError> {
        let mut first_error = None;
        let (mut left, mut size, mut failed) = (steps, 1, 0);
        while !left.is_empty() {
            let (batch, rest) = left.split_at(size.min(left.len()));
            left = rest;
            let results = futures::future::join_all(batch.iter().map(|it| self.step(it))).await;
            self.remember(batch, &results);
            let succeeded = results.iter().any(Result::is_ok);
            let error = results.into_iter().find_map(Result::err);
            first_error = first_error.or(error);
            (size, failed) = if succeeded { ((size * 2).min(BATCH_MAX), 0) } else { (1, failed + 1) };
            if failed == FAILED_BATCHES_MAX {
                debug!(left = left.len(), "slow start gave up");
                break;
            }
        }
        first_error.map_or(Ok(()), Err)
    }

    /// Notes which ordinals failed, so that they do not hold up the others next time.
    fn remember(&self, steps: &[Step], results: &[Result<(), ApplyError>]) {
        let mut backoffs = self.backoffs.lock().expect("no code panics while it holds the backoffs");
        for (step, result) in steps.iter().zip(results).filter(|(it, _)| it.phase == Phase::Replicas) {
            let Some(ordinal) = step.ordinal else { continue };
            match result {
                Ok(()) => backoffs.succeeded(self.set, ordinal),
                Err(_) => backoffs.failed(self.set, ordinal, self.now),
            }
        }
    }

    /// A claim that can not be created keeps neither the other claims of the step nor their events from coming, but
    /// the pod waits for all of them.
    async fn step(&self, step: &Step) -> Result<(), ApplyError> {
        let mut failed = Vec::new();
        for action in &step.actions {
            match action {
                Action::CreateClaim { ordinal, template, owners } => {
                    let result = self.create_claim(*ordinal, *template, owners).await;
                    failed.extend(result.err());
                }
                Action::CreatePod { ordinal, .. } if !failed.is_empty() => {
                    self.tell_missing_claims(*ordinal, &failed);
                }
                _ if !failed.is_empty() => {}
                _ => self.action(action).await?,
            }
        }
        failed.into_iter().next().map_or(Ok(()), |it| Err(it.into()))
    }

    fn tell_missing_claims(&self, ordinal: Ordinal, failed: &[WriteError]) {
        if failed.iter().any(|it| matches!(it, WriteError::NamespaceTerminating { .. })) {
            return;
        }
        let name = |it: &WriteError| it.object().name.clone();
        let causes: Vec<_> =
            failed.iter().map(|it| format!("failed to create PVC {}: {}", name(it), it.text())).collect();
        let causes =
            if let [cause] = causes.as_slice() { cause.clone() } else { format!("[{}]", causes.join(", ")) };
        let (set, pod) = (&self.set.key.name, self.set.pod_name(ordinal));
        let message = format!("create Pod {pod} in StatefulSet {set} failed error: {causes}");
        self.tell(Severity::Warning, "FailedCreate", message);
    }

    async fn action(&self, action: &Action) -> Result<(), ApplyError> {
        match action {
            Action::RaiseRevision { revision: it, number } => {
                let patch = json!({
                    "metadata": { "uid": it.uid, "resourceVersion": it.resource_version }, "revision": number,
                });
                let written = self.api.patch(REVISIONS, &it.key, Patch::Merge, &patch).await?;
                self.stored(REVISIONS, &it.key, &written);
                Ok(())
            }
            Action::CreateRevision(new) => self.create_revision(new).await,
            Action::DeleteRevision(it) => {
                let result = self.api.delete(REVISIONS, &it.key, &it.uid, Some(&it.resource_version)).await;
                Ok(self.deleted(REVISIONS, &it.key, &it.uid, result)?)
            }
            Action::CreateClaim { ordinal, template, owners } => {
                Ok(self.create_claim(*ordinal, *template, owners).await?)
            }
            Action::OwnClaim { claim, owners } => self.own_claim(claim, owners).await,
            Action::GrowClaim { ordinal, claim, size } => Ok(self.grow_claim(*ordinal, claim, *size).await?),
            Action::CreatePod { ordinal, release } => {
                let key = self.pod_key(*ordinal);
                let body = desired::pod(self.set, *ordinal, release);
                let result = self.api.create(PODS, &key, &body).await;
                self.tell_pod("create", "SuccessfulCreate", "FailedCreate", &key.name, result.as_ref().err());
                self.stored(PODS, &key, &result?);
                info!(pod = %key.name, revision = %release.name, "pod created");
                Ok(())
            }
            Action::RepairPod(pod) => {
                let Some(ordinal) = pod.ordinal else { return Ok(()) };
                let patch = json!({ "metadata": {
                    "uid": pod.uid, "resourceVersion": pod.resource_version,
                    "labels": desired::identity_labels(self.set, ordinal),
                } });
                let result = self.api.patch(PODS, &pod.key, Patch::Merge, &patch).await;
                self.tell_pod(
                    "update",
                    "SuccessfulUpdate",
                    "FailedUpdate",
                    &pod.key.name,
                    result.as_ref().err(),
                );
                self.stored(PODS, &pod.key, &result?);
                Ok(())
            }
            Action::DeletePod { pod, reason } => {
                let version = reason.depends_on_status().then_some(pod.resource_version.as_str());
                let result = self.api.delete(PODS, &pod.key, &pod.uid, version).await;
                if !matches!(result, Err(WriteError::NotFound { .. })) {
                    let error = result.as_ref().err();
                    self.tell_pod("delete", "SuccessfulDelete", "FailedDelete", &pod.key.name, error);
                }
                self.deleted(PODS, &pod.key, &pod.uid, result)?;
                info!(pod = %pod.key.name, ?reason, "pod deleted");
                Ok(())
            }
        }
    }

    async fn create_revision(&self, new: &NewRevision) -> Result<(), ApplyError> {
        let key = ObjectKey::new(self.set.key.namespace.as_str(), new.name.as_str());
        match self.api.create(REVISIONS, &key, &new.object).await {
            Ok(written) => {
                self.stored(REVISIONS, &key, &written);
                info!(revision = %new.name, number = new.number, "revision created");
                Ok(())
            }
            Err(WriteError::AlreadyExists { .. }) => {
                let occupant = self.api.get(REVISIONS, &key).await?;
                let same = occupant.get("data").is_some_and(|it| revision::encode(it) == new.data);
                if !same {
                    return Err(ApplyError::Collision(key));
                }
                // Ours from before a crash, or of an earlier set of this name: the template is recorded.
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Creates a claim and tells about it; that its name is taken is told with the pod that waits for it.
    async fn create_claim(
        &self,
        ordinal: Ordinal,
        template: usize,
        owners: &[Owner],
    ) -> Result<(), WriteError> {
        let template = &self.set.claim_templates[template];
        let (set, pod) = (&self.set.key.name, self.set.pod_name(ordinal));
        let key = ObjectKey::new(self.set.key.namespace.as_str(), self.set.claim_name(template, ordinal));
        let claim = &key.name;
        let body = desired::claim(self.set, template, ordinal, owners);
        match self.api.create(CLAIMS, &key, &body).await {
            Ok(written) => {
                self.stored(CLAIMS, &key, &written);
                let message = format!("create Claim {claim} Pod {pod} in StatefulSet {set} success");
                self.tell(Severity::Normal, "SuccessfulCreate", message);
                Ok(())
            }
            Err(error) => {
                let quiet = matches!(
                    error,
                    WriteError::AlreadyExists { .. } | WriteError::NamespaceTerminating { .. }
                );
                if !quiet {
                    let text = error.text();
                    let message = format!(
                        "create Claim {claim} for Pod {pod} in StatefulSet {set} failed error: {text}"
                    );
                    self.tell(Severity::Warning, "FailedCreate", message);
                }
                Err(error)
            }
        }
    }

    /// Requests more storage. That an API server refuses it is told, and holds up nothing.
    async fn grow_claim(
        &self,
        ordinal: Ordinal,
        claim: &ClaimView,
        size: Quantity,
    ) -> Result<(), WriteError> {
        let patch = json!({
            "metadata": { "uid": claim.uid, "resourceVersion": claim.resource_version },
            "spec": { "resources": { "requests": { "storage": size.to_string() } } },
        });
        let (set, pod, name) = (&self.set.key.name, self.set.pod_name(ordinal), &claim.key.name);
        match self.api.patch(CLAIMS, &claim.key, Patch::Merge, &patch).await {
            Ok(written) => {
                self.stored(CLAIMS, &claim.key, &written);
                info!(claim = %name, %size, "claim grows");
                let message = format!("update Claim {name} Pod {pod} in StatefulSet {set} success");
                self.tell(Severity::Normal, "SuccessfulUpdate", message);
                Ok(())
            }
            // Its event will come.
            Err(WriteError::Stale { .. } | WriteError::NotFound { .. }) => Ok(()),
            Err(error) => {
                let text = error.text();
                let message =
                    format!("update Claim {name} for Pod {pod} in StatefulSet {set} failed error: {text}");
                self.tell(Severity::Standing, "FailedUpdate", message);
                if matches!(error, WriteError::Rejected { .. }) { Ok(()) } else { Err(error) }
            }
        }
    }

    /// The upstream role may update claims, not patch them, so the claim is read and replaced.
    async fn own_claim(&self, claim: &ClaimView, owners: &[Owner]) -> Result<(), ApplyError> {
        let stale = || WriteError::Stale {
            word: CLAIMS.word,
            object: claim.key.clone(),
            message: "its owners changed".to_owned(),
        };
        let mut fresh = match self.api.get(CLAIMS, &claim.key).await {
            Err(WriteError::NotFound { .. }) => return Ok(()),
            other => other?,
        };
        let same = fresh.pointer("/metadata/uid").and_then(Value::as_str) == Some(claim.uid.as_str());
        let empty = Vec::new();
        let references =
            fresh.pointer("/metadata/ownerReferences").and_then(Value::as_array).unwrap_or(&empty);
        let uids = references.iter().map(|it| it["uid"].as_str().unwrap_or_default());
        if !same || !uids.eq(claim.owners.iter().map(|it| it.uid.as_str())) {
            return Err(stale().into());
        }
        fresh["metadata"]["ownerReferences"] = owners.iter().map(owner_json).collect();
        let written = self.api.replace(CLAIMS, &claim.key, &fresh).await?;
        self.stored(CLAIMS, &claim.key, &written);
        Ok(())
    }

    /// Remembers a write until the cache shows it.
    pub fn stored(&self, kind: Kind, object: &ObjectKey, written: &Written) {
        self.own.stored(&self.set.key, kind, object, written);
    }

    /// Remembers a deletion until the cache shows the object terminating or gone.
    fn deleted(
        &self,
        kind: Kind,
        object: &ObjectKey,
        uid: &str,
        result: Result<Written, WriteError>,
    ) -> Result<(), WriteError> {
        self.own.deleted(&self.set.key, kind, object, uid, result)
    }

    fn pod_key(&self, ordinal: Ordinal) -> ObjectKey {
        ObjectKey::new(self.set.key.namespace.as_str(), self.set.pod_name(ordinal))
    }

    fn tell(&self, severity: Severity, reason: &'static str, message: String) {
        tell(self.events, self.set, severity, reason, message, self.now);
    }

    fn tell_pod(
        &self,
        verb: &str,
        done: &'static str,
        failed: &'static str,
        pod: &str,
        error: Option<&WriteError>,
    ) {
        let set = &self.set.key.name;
        match error {
            None => {
                self.tell(
                    Severity::Normal,
                    done,
                    format!("{verb} Pod {pod} in StatefulSet {set} successful"),
                );
            }
            // Our cache was behind, or everything goes; nobody needs to know.
            Some(
                WriteError::AlreadyExists { .. }
                | WriteError::Stale { .. }
                | WriteError::NamespaceTerminating { .. },
            ) => {}
            Some(error) => {
                let text = error.text();
                let message = format!("{verb} Pod {pod} in StatefulSet {set} failed error: {text}");
                self.tell(Severity::Warning, failed, message);
            }
        }
    }
}
