//! What the controller would write if it started now: for taking over from kube-controller-manager.
//!
//! (sets, pods, claims, revisions) ──observe, claim, plan──▶ [`Survey`], nothing is written
//!
//! A plan is one sync, so of a rollout under way only the next step is told. The conditions that ordinal adds to a
//! status are no change: they touch no pod, and nobody else's conditions.
//! Source: kubernetes `pkg/controller/statefulset`; k/k#134773 for revisions of 1.33 and earlier.

use std::fmt;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::api::{ApiResource, DynamicObject, ListParams};
use kube::{Api, Client};
use serde::de::DeserializeOwned;

use super::claim;
use super::model::{ClaimView, PodView, RevisionView, SetSpec, SetStatus};
use super::plan::{Action, Plan, Reason, plan};
use super::reconcile::{Reconciler, Stores};
use crate::k8s::events;
use crate::k8s::lean::LeanPod;
use crate::k8s::write::WriteApi;
use crate::model::ObjectKey;

/// Objects per page of a list.
const PAGE: u32 = 500;

/// One thing that would change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent {
    /// Kind, namespace and name of the object.
    pub object: String,
    /// What would be done to it.
    pub change: String,
}

impl fmt::Display for Intent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.object, self.change)
    }
}

/// What a look at a cluster found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// StatefulSets looked at.
    pub sets: usize,
    /// What would change, set by set, in the order of the writes.
    pub intents: Vec<Intent>,
    /// What sets wait for, and sets that can not be worked on.
    pub notes: Vec<String>,
}

/// Looks at all StatefulSets of a cluster or of one namespace.
///
/// # Errors
/// A list that failed: permission, or no cluster.
pub async fn survey(client: Client, namespace: Option<&str>, now: fn() -> Timestamp) -> kube::Result<Survey> {
    let mut survey = Survey::default();
    let stores = Stores::default();
    let resource = ApiResource::erase::<StatefulSet>(&());
    let sets: Api<DynamicObject> = match namespace {
        Some(it) => Api::namespaced_with(client.clone(), it, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    let mut narrowed = Vec::new();
    for object in list(&sets).await? {
        let raw = serde_json::to_value(&object).map_err(kube::Error::SerdeError)?;
        match SetSpec::narrow(&raw) {
            Ok(set) => narrowed.push(set),
            Err(error) => {
                let key = ObjectKey::new(
                    object.metadata.namespace.unwrap_or_default(),
                    object.metadata.name.unwrap_or_default(),
                );
                survey.notes.push(format!("StatefulSet {key} can not be worked on: {error}"));
            }
        }
    }
    let mut keys: Vec<_> = narrowed.iter().map(|it| it.key.clone()).collect();
    keys.sort_unstable();
    stores.sets.replace(narrowed);
    stores.pods.replace(views::<LeanPod, _>(&client, namespace, PodView::narrow).await?);
    stores.claims.replace(views::<PersistentVolumeClaim, _>(&client, namespace, ClaimView::narrow).await?);
    stores.revisions.replace(views::<ControllerRevision, _>(&client, namespace, RevisionView::narrow).await?);

    let (recorder, _) = events::channel();
    let reconciler = Reconciler::new(stores.clone(), WriteApi::new(client, super::USER_AGENT), recorder, now);
    for key in keys {
        let Some(set) = stores.sets.get(&key) else { continue };
        survey.sets += 1;
        look(&reconciler, &set, now(), &mut survey);
    }
    Ok(survey)
}

async fn views<K, T>(
    client: &Client,
    namespace: Option<&str>,
    narrow: impl Fn(K) -> Option<T>,
) -> kube::Result<Vec<T>>
where
    K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
        + Clone
        + DeserializeOwned
        + fmt::Debug,
{
    let api = match namespace {
        Some(it) => Api::namespaced(client.clone(), it),
        None => Api::all(client.clone()),
    };
    Ok(list(&api).await?.into_iter().filter_map(narrow).collect())
}

async fn list<K: Clone + DeserializeOwned + fmt::Debug>(api: &Api<K>) -> kube::Result<Vec<K>> {
    let (mut objects, mut params) = (Vec::new(), ListParams::default().limit(PAGE));
    loop {
        let page = api.list(&params).await?;
        objects.extend(page.items);
        match page.metadata.continue_.filter(|it| !it.is_empty()) {
            Some(token) => params.continue_token = Some(token),
            None => return Ok(objects),
        }
    }
}

fn look(reconciler: &Reconciler, set: &SetSpec, now: Timestamp, survey: &mut Survey) {
    let revisions = reconciler.revisions(set);
    let claimed = claim::claim(set, reconciler.candidates(set));
    let mut tell = |object: String, change: String| survey.intents.push(Intent { object, change });
    for revision in revisions.iter().filter(|it| it.owner.is_none()) {
        tell(format!("ControllerRevision {}", revision.key), "adopt".into());
    }
    for pod in &claimed.release {
        tell(format!("Pod {}", pod.key), "release: labels or name no longer match".into());
    }
    for pod in &claimed.adopt {
        tell(format!("Pod {}", pod.key), "adopt".into());
    }
    // As it would be once they are adopted.
    let kept = claimed.kept.into_iter().chain(claimed.adopt).collect();
    let observed = reconciler.observe(set, kept, revisions, now);
    let plan = plan(set, &observed, now);
    for action in plan.steps.iter().flat_map(|it| &it.actions) {
        let (object, change) = intent(set, action);
        tell(object, change);
    }
    if let Some(change) = status(&set.status, &plan) {
        tell(format!("StatefulSet {}", set.key), change);
    }
    for wait in &plan.waits {
        survey.notes.push(format!("StatefulSet {} waits: {wait}", set.key));
    }
}

fn intent(set: &SetSpec, action: &Action) -> (String, String) {
    let own = |kind: &str, name: &str| format!("{kind} {}/{name}", set.key.namespace);
    match action {
        Action::RaiseRevision { revision: it, number } => (
            format!("ControllerRevision {}", it.key),
            format!("raise from {} to {number}: the template went back to it", it.number),
        ),
        Action::CreateRevision(it) => (
            own("ControllerRevision", &it.name),
            format!("create as number {}: no other records the template", it.number),
        ),
        Action::DeleteRevision(it) => {
            (format!("ControllerRevision {}", it.key), "delete: beyond revisionHistoryLimit".into())
        }
        Action::CreateClaim { ordinal, template, .. } => {
            let name = set.claim_name(&set.claim_templates[*template], *ordinal);
            (own("PersistentVolumeClaim", &name), "create".into())
        }
        Action::OwnClaim { claim, owners } => {
            let owners: Vec<_> = owners.iter().map(|it| format!("{} {}", it.kind, it.name)).collect();
            let owners = if owners.is_empty() { "nobody".to_owned() } else { owners.join(", ") };
            (format!("PersistentVolumeClaim {}", claim.key), format!("give to {owners}"))
        }
        Action::GrowClaim { claim, size, .. } => {
            (format!("PersistentVolumeClaim {}", claim.key), format!("grow to {size}"))
        }
        Action::CreatePod { ordinal, release } => {
            (own("Pod", &set.pod_name(*ordinal)), format!("create at revision {}", release.name))
        }
        Action::RepairPod(it) => (format!("Pod {}", it.key), "write the labels of its identity".into()),
        Action::DeletePod { pod, reason } => {
            let why = match reason {
                Reason::Ended => "it failed or ended",
                Reason::Condemned => "its ordinal is out of range",
                Reason::Outdated | Reason::OutdatedUnavailable => "its revision is outdated",
            };
            (format!("Pod {}", pod.key), format!("delete: {why}"))
        }
    }
}

fn status(old: &SetStatus, plan: &Plan) -> Option<String> {
    let new = &plan.status;
    let number = |name: &str, old: u32, new: u32| (old != new).then(|| format!("{name} {old} to {new}"));
    let text = |name: &str, old: &str, new: &str| (old != new).then(|| format!("{name} {old:?} to {new:?}"));
    let changes: Vec<_> = [
        (old.observed_generation != new.observed_generation).then(|| {
            format!("observedGeneration {} to {}", old.observed_generation, new.observed_generation)
        }),
        number("replicas", old.replicas, new.replicas),
        number("readyReplicas", old.ready_replicas, new.ready_replicas),
        number("availableReplicas", old.available_replicas, new.available_replicas),
        number("currentReplicas", old.current_replicas, new.current_replicas),
        number("updatedReplicas", old.updated_replicas, new.updated_replicas),
        text("currentRevision", &old.current_revision, &new.current_revision),
        text("updateRevision", &old.update_revision, &new.update_revision),
    ]
    .into_iter()
    .flatten()
    .collect();
    (!changes.is_empty()).then(|| format!("status {}", changes.join(", ")))
}
