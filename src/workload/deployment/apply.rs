//! Applies the actions of a plan, in order; the first error ends them.
//!
//! Sources: kubernetes `pkg/controller/deployment/sync.go` (`getNewReplicaSet`, `scaleReplicaSet`), `rollback.go`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};
use tracing::info;

use super::model::DeploymentView;
use super::rollback::Rollback;
use super::{Action, Change, NewSet, revision};
use crate::k8s::events::{Recorder, Severity};
use crate::k8s::kinds::{DEPLOYMENTS, REPLICA_SETS};
use crate::k8s::write::{Patch, WriteApi, WriteError};
use crate::model::ObjectKey;
use crate::workload::apply::{ApplyError, Ledger, Who, is_controlled_by};
use crate::workload::hash;
use crate::workload::model::SetView;

/// Why an action failed.
#[derive(Debug)]
pub enum Failed {
    /// Another set has the name: plan again with a higher collision count.
    Collision(ObjectKey),
    /// The set of this name could not be created.
    Create(String, ApplyError),
    /// An object changed after it was observed. Its event names the key again.
    Stale,
    /// Anything else.
    Other(ApplyError),
}

impl From<WriteError> for Failed {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Stale { .. } => Self::Stale,
            error => Self::Other(error.into()),
        }
    }
}

/// What applying needs besides the plan.
pub struct Applier<'a> {
    /// Writes.
    pub api: &'a WriteApi,
    /// Remembers them.
    pub ledger: &'a Ledger,
    /// Tells people.
    pub events: &'a Recorder,
    /// The Deployment.
    pub deployment: &'a DeploymentView,
    /// The same, as writes and events mean it.
    pub who: &'a Who<'a>,
    /// The time of this sync, for events.
    pub now: Timestamp,
}

impl Applier<'_> {
    /// Applies one action.
    ///
    /// # Errors
    /// What to do next.
    pub async fn apply(&self, action: &Action) -> Result<(), Failed> {
        match action {
            Action::Create(new) => self.create(new).await,
            Action::Change(change) => self.change(change).await,
            Action::Delete(set) => self.delete(set).await,
            Action::Rollback(rollback) => self.roll_back(rollback).await,
        }
    }

    fn tell(&self, severity: Severity, reason: &'static str, message: String) {
        self.who.tell(self.events, severity, reason, message, self.now);
    }

    fn tell_scaled(&self, set: &str, from: u32, to: u32) {
        let direction = if to > from { "up" } else { "down" };
        if to != from {
            let message = format!("Scaled {direction} replica set {set} from {from} to {to}");
            self.tell(Severity::Normal, "ScalingReplicaSet", message);
        }
    }

    async fn create(&self, new: &NewSet) -> Result<(), Failed> {
        let object = ObjectKey::new(self.deployment.key.namespace.as_str(), new.name.as_str());
        match self.api.create(REPLICA_SETS, &object, &new.body).await {
            Ok(written) => {
                self.ledger.stored(self.who.key, REPLICA_SETS, &object, &written);
                info!(replicaset = %new.name, "replica set created");
                self.tell_scaled(&new.name, 0, new.replicas);
                Ok(())
            }
            Err(WriteError::AlreadyExists { .. }) => {
                let found = self
                    .api
                    .get(REPLICA_SETS, &object)
                    .await
                    .map_err(|it| Failed::Create(new.name.clone(), it.into()))?;
                let ours = is_controlled_by(&found, &self.deployment.uid);
                if !ours || !hash::same(&found["spec"]["template"], &self.deployment.template) {
                    return Err(Failed::Collision(object));
                }
                // Ours from before a crash: the cache will show it.
                let written = serde_json::from_value(found).unwrap_or_default();
                self.ledger.stored(self.who.key, REPLICA_SETS, &object, &written);
                Ok(())
            }
            Err(error) => {
                self.ledger.note(self.who.key, REPLICA_SETS, &object, None, &error);
                Err(Failed::Create(new.name.clone(), error.into()))
            }
        }
    }

    async fn change(&self, change: &Change) -> Result<(), Failed> {
        let set = &change.set;
        let mut patch = json!({ "metadata": { "uid": set.uid, "resourceVersion": set.resource_version } });
        if !change.annotations.is_empty() {
            patch["metadata"]["annotations"] = json!(change.annotations);
        }
        if change.replicas != set.replicas {
            patch["spec"]["replicas"] = json!(change.replicas);
        }
        if let Some(seconds) = change.min_ready_seconds {
            patch["spec"]["minReadySeconds"] = json!(seconds);
        }
        match self.api.patch(REPLICA_SETS, &set.key, Patch::Merge, &patch).await {
            Ok(written) => {
                self.ledger.stored(self.who.key, REPLICA_SETS, &set.key, &written);
                self.tell_scaled(&set.key.name, set.replicas, change.replicas);
                Ok(())
            }
            Err(WriteError::NotFound { .. }) => Err(Failed::Stale),
            Err(error) => {
                self.ledger.note(self.who.key, REPLICA_SETS, &set.key, Some(&set.uid), &error);
                Err(error.into())
            }
        }
    }

    async fn delete(&self, set: &SetView) -> Result<(), Failed> {
        let result = self.api.delete(REPLICA_SETS, &set.key, &set.uid, Some(&set.resource_version)).await;
        if matches!(result, Err(WriteError::Stale { .. })) {
            return Err(Failed::Stale);
        }
        self.ledger.deleted(self.who.key, REPLICA_SETS, &set.key, &set.uid, result)?;
        info!(replicaset = %set.key.name, "replica set deleted: the history has no room for it");
        Ok(())
    }

    /// A JSON patch: a template is replaced, not merged.
    async fn roll_back(&self, rollback: &Rollback) -> Result<(), Failed> {
        let it = self.deployment;
        let own = it.annotations.iter().filter(|(key, _)| *key != revision::ROLLBACK_TO);
        let mut patch = vec![
            json!({ "op": "test", "path": "/metadata/uid", "value": it.uid }),
            json!({ "op": "test", "path": "/metadata/resourceVersion", "value": it.resource_version }),
        ];
        let annotations: BTreeMap<&String, &String> = match &rollback.to {
            None => own.collect(),
            Some((template, annotations)) => {
                let mut template = Value::clone(template);
                if let Some(labels) = template.pointer_mut("/metadata/labels").and_then(Value::as_object_mut)
                {
                    labels.remove(hash::LABEL);
                }
                patch.push(json!({ "op": "replace", "path": "/spec/template", "value": template }));
                let kept = own.filter(|(key, _)| revision::is_own(key));
                kept.chain(annotations.iter().filter(|(key, _)| !revision::is_own(key))).collect()
            }
        };
        patch.push(json!({ "op": "add", "path": "/metadata/annotations", "value": annotations }));
        match self.api.patch(DEPLOYMENTS, &it.key, Patch::Json, &Value::Array(patch)).await {
            Ok(written) => {
                self.ledger.stored(self.who.key, DEPLOYMENTS, &it.key, &written);
                let (severity, reason, message) = rollback.event.clone();
                self.tell(severity, reason, message);
                Ok(())
            }
            Err(error) => {
                self.ledger.note(self.who.key, DEPLOYMENTS, &it.key, Some(&it.uid), &error);
                Err(error.into())
            }
        }
    }
}
