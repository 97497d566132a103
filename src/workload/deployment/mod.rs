//! Deployments: sets in, what to create, resize and delete and which status to publish out.
//!
//! [`Observed`] ──[`plan`]──▶ [`Plan`]. One plan is one step: it grows the current set or shrinks old ones, the next
//! one sees what became of that. Nothing here reads a clock or the API.
//!
//! Invariants: the sizes of all sets together never grow above replicas + surge; old sets are never shrunk below
//! replicas − unavailable available pods; Recreate never has new pods beside old ones; nothing is rolled while paused; the
//! revision of the current set is the highest.
//! Sources: kubernetes `pkg/controller/deployment` (`deployment_controller.go`, `sync.go`, `rolling.go`, `recreate.go`,
//! `rollback.go`), 1.36.

pub mod apply;
pub mod conditions;
pub mod model;
pub mod reconcile;
pub mod resize;
pub mod revision;
pub mod rollback;
pub mod rolling;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use self::conditions::Counted;
use self::model::{DeploymentStatus, DeploymentView, Strategy};
use super::hash::{self, Release};
use super::model::{SetStatus, SetView, reference};
use crate::k8s::kinds::{DEPLOYMENTS, REPLICA_SETS};

/// What a plan is made from.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// The claimed sets, in any order.
    pub sets: Vec<Arc<SetView>>,
    /// Pods of each set (by UID) that have not ended, terminating ones included. Only Recreate looks at it.
    pub unfinished: BTreeMap<String, u32>,
    /// Names of sets that were taken by others, so far.
    pub collision_count: Option<i32>,
    /// Whose layout names new sets.
    pub release: Release,
}

impl Default for Release {
    fn default() -> Self {
        Self::LAST
    }
}

/// A set to be created.
#[derive(Debug, Clone, PartialEq)]
pub struct NewSet {
    /// Its name.
    pub name: String,
    /// Its size.
    pub replicas: u32,
    /// The object.
    pub body: Value,
}

/// A set to be changed.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// The set as it was observed.
    pub set: Arc<SetView>,
    /// Its new size.
    pub replicas: u32,
    /// Annotations to write.
    pub annotations: BTreeMap<String, String>,
    /// `minReadySeconds` to write.
    pub min_ready_seconds: Option<i64>,
}

/// One write. They are applied in order; the first error ends them.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Create the current set.
    Create(NewSet),
    /// Resize or annotate a set.
    Change(Change),
    /// Delete a set that history has no room for.
    Delete(Arc<SetView>),
    /// Write the Deployment itself: a rollback.
    Rollback(rollback::Rollback),
}

/// What to do.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Writes, in order.
    pub actions: Vec<Action>,
    /// The status to publish.
    pub status: DeploymentStatus,
    /// The revision to publish on the Deployment, if it changes.
    pub revision: Option<i64>,
    /// When to look again without an event.
    pub wake_at: Option<Timestamp>,
}

/// A set while a plan is made.
#[derive(Debug)]
struct Sized {
    /// `None` for the one that is to be created.
    set: Option<Arc<SetView>>,
    name: String,
    /// The size so far.
    replicas: u32,
    annotations: BTreeMap<String, String>,
    min_ready_seconds: Option<i64>,
    status: SetStatus,
}

impl Sized {
    fn of(set: &Arc<SetView>) -> Self {
        Self {
            name: set.key.name.clone(),
            replicas: set.replicas,
            annotations: BTreeMap::new(),
            min_ready_seconds: None,
            status: set.status.clone(),
            set: Some(Arc::clone(set)),
        }
    }

    fn annotation(&self, key: &str) -> Option<&str> {
        let present = self.set.as_ref().and_then(|it| it.annotations.get(key));
        self.annotations.get(key).or(present).map(String::as_str)
    }

    fn change(&self) -> Option<Change> {
        let set = self.set.as_ref()?;
        let changed =
            self.replicas != set.replicas || !self.annotations.is_empty() || self.min_ready_seconds.is_some();
        changed.then(|| Change {
            set: Arc::clone(set),
            replicas: self.replicas,
            annotations: self.annotations.clone(),
            min_ready_seconds: self.min_ready_seconds,
        })
    }
}

/// A plan in the making.
struct Draft<'a> {
    deployment: &'a DeploymentView,
    observed: &'a Observed,
    now: Timestamp,
    /// The set of the current template.
    current: Option<Sized>,
    /// All others, oldest first.
    old: Vec<Sized>,
    conditions: Vec<super::model::Condition>,
    revision: Option<i64>,
    deletions: Vec<Arc<SetView>>,
}

/// Whether a current set is created if there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Missing {
    Create,
    Leave,
}

/// Decides about one Deployment. Same arguments, same plan.
pub fn plan(deployment: &DeploymentView, observed: &Observed, now: Timestamp) -> Plan {
    let mut draft = Draft::new(deployment, observed, now);
    if deployment.deleting {
        draft.number();
        return draft.finish(Judged::No);
    }
    conditions::pause(deployment, &mut draft.conditions, now);
    if deployment.paused {
        draft.number();
        draft.resize();
        draft.trim();
        return draft.finish(Judged::No);
    }
    if let Some(to) = deployment.annotations.get(revision::ROLLBACK_TO) {
        return rollback::plan(draft, to);
    }
    draft.number();
    if draft.is_scaling() {
        draft.resize();
        return draft.finish(Judged::No);
    }
    match deployment.strategy {
        Strategy::RollingUpdate { .. } => draft.roll(),
        Strategy::Recreate => draft.recreate(),
    }
    draft.finish(Judged::Yes)
}

/// Whether the progress of a rollout is part of the status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Judged {
    Yes,
    No,
}

impl<'a> Draft<'a> {
    fn new(deployment: &'a DeploymentView, observed: &'a Observed, now: Timestamp) -> Self {
        let mut sets: Vec<_> = observed.sets.iter().collect();
        sets.sort_by(|a, b| a.created.cmp(&b.created).then_with(|| a.key.name.cmp(&b.key.name)));
        let at = sets.iter().position(|it| hash::same(&it.template, &deployment.template));
        let current = at.map(|it| Sized::of(sets.remove(it)));
        Self {
            deployment,
            observed,
            now,
            current,
            old: sets.into_iter().map(Sized::of).collect(),
            conditions: deployment.status.conditions.clone(),
            revision: None,
            deletions: Vec::new(),
        }
    }

    fn wanted_revision(&self) -> i64 {
        revision::wanted(self.old.iter().filter_map(|it| it.set.as_deref()))
    }

    /// Brings revision and copied annotations of the current set up to date, if there is one.
    fn number(&mut self) {
        let wanted = self.wanted_revision();
        let Some(current) = &mut self.current else { return };
        let Some(set) = &current.set else { return };
        current.annotations.extend(revision::current(self.deployment, &set.annotations, wanted));
        if set.min_ready_seconds != self.deployment.min_ready_seconds {
            current.min_ready_seconds = Some(self.deployment.min_ready_seconds);
        }
        let number = current.annotation(revision::REVISION).and_then(|it| it.parse().ok());
        self.revision = number;
        let known = self.conditions.iter().any(|it| it.name == conditions::PROGRESSING);
        if self.deployment.progress_deadline.is_some() && !known {
            let message = format!("Found new replica set {:?}", current.name);
            let reason = "FoundNewReplicaSet";
            conditions::set(&mut self.conditions, conditions::PROGRESSING, "True", reason, message, self.now);
        }
    }

    /// Creates the current set if there is none.
    fn create(&mut self, missing: Missing) {
        if self.current.is_some() || missing == Missing::Leave {
            return;
        }
        let deployment = self.deployment;
        let hash = hash::hash(&deployment.template, self.observed.collision_count, self.observed.release);
        let room = 253 - 1 - hash.len();
        let stem = &deployment.key.name[..deployment.key.name.len().min(room)];
        let name = format!("{stem}-{hash}");
        let mut current = Sized {
            set: None,
            name: name.clone(),
            replicas: 0,
            annotations: BTreeMap::new(),
            min_ready_seconds: None,
            status: SetStatus::default(),
        };
        current.replicas = match deployment.strategy {
            Strategy::Recreate => deployment.replicas,
            Strategy::RollingUpdate { .. } => rolling::grown(deployment, 0, self.total()),
        };
        let wanted = self.wanted_revision();
        current.annotations = revision::current(deployment, &BTreeMap::new(), wanted);
        current.annotations.extend(revision::sizes(deployment).map(|(key, value)| (key.to_owned(), value)));
        self.revision = Some(wanted);
        if deployment.progress_deadline.is_some() {
            let message = format!("Created new replica set {name:?}");
            let reason = "NewReplicaSetCreated";
            conditions::set(&mut self.conditions, conditions::PROGRESSING, "True", reason, message, self.now);
        }
        self.current = Some(current);
    }

    /// The sets, current one first.
    fn all(&self) -> impl Iterator<Item = &Sized> {
        self.current.iter().chain(&self.old)
    }

    /// Pods that all sets ask for.
    fn total(&self) -> u32 {
        self.all().map(|it| it.replicas).sum()
    }

    /// Replaces all old pods at once.
    fn recreate(&mut self) {
        let shrinks = self.old.iter().any(|it| it.replicas > 0);
        if shrinks {
            let sizes = revision::sizes(self.deployment);
            self.old.iter_mut().filter(|it| it.replicas > 0).for_each(|it| resize::to(it, 0, &sizes));
            return;
        }
        let uids = self.old.iter().filter_map(|it| it.set.as_ref()).map(|it| &it.uid);
        let unfinished = uids.filter_map(|it| self.observed.unfinished.get(it)).any(|it| *it > 0);
        if unfinished || self.old.iter().any(|it| it.status.replicas > 0) {
            return;
        }
        self.create(Missing::Create);
        let sizes = revision::sizes(self.deployment);
        if let Some(current) = &mut self.current
            && current.replicas != self.deployment.replicas
        {
            resize::to(current, self.deployment.replicas, &sizes);
        }
        self.trim_if_complete();
    }

    fn trim_if_complete(&mut self) {
        if self.deployment.complete(&self.deployment.status) {
            self.trim();
        }
    }

    /// Deletes the oldest revisions that the history has no room for. One that still has pods stays, and still counts.
    fn trim(&mut self) {
        let Some(limit) = self.deployment.history_limit else { return };
        let mut sets: Vec<_> =
            self.old.iter().filter_map(|it| it.set.as_ref().map(|set| (it, set))).collect();
        sets.retain(|(_, set)| !set.deleting);
        let excess = sets.len().saturating_sub(limit as usize);
        sets.sort_by_key(|(_, set)| revision::revision_of(&set.annotations));
        let idle = |sized: &Sized, set: &SetView| {
            sized.replicas == 0
                && set.replicas == 0
                && set.status.replicas == 0
                && set.generation <= set.status.observed_generation
        };
        let gone = sets.into_iter().take(excess).filter(|(sized, set)| idle(sized, set));
        self.deletions = gone.map(|(_, set)| Arc::clone(set)).collect();
    }

    fn finish(mut self, judged: Judged) -> Plan {
        let mut actions = Vec::new();
        let mut created = None;
        if let Some(current) = &self.current {
            if current.set.is_none() {
                created = Some(new_set(self.deployment, current));
            }
            actions.extend(current.change().map(Action::Change));
        }
        actions.extend(created.map(Action::Create));
        actions.extend(self.old.iter().filter_map(Sized::change).map(Action::Change));
        actions.extend(std::mem::take(&mut self.deletions).into_iter().map(Action::Delete));

        let counted: Vec<_> = self
            .all()
            .map(|it| Counted {
                name: &it.name,
                // What was observed, as upstream: a size written now shows with the next look.
                replicas: it.set.as_ref().map_or(it.replicas, |set| set.replicas),
                status: &it.status,
                current: self.current.as_ref().is_some_and(|current| std::ptr::eq(current, it)),
            })
            .collect();
        let before = self.conditions.clone();
        let collisions = self.observed.collision_count;
        let mut status = conditions::count(self.deployment, &counted, before.clone(), collisions, self.now);
        if judged == Judged::Yes {
            conditions::judge(self.deployment, &before, &counted, &mut status, self.now);
        }
        let published = self.deployment.annotations.get(revision::REVISION).and_then(|it| it.parse().ok());
        Plan {
            actions,
            wake_at: conditions::look_again(self.deployment, &status),
            revision: self.revision.filter(|it| published != Some(*it)),
            status,
        }
    }
}

/// The object of a new set.
fn new_set(deployment: &DeploymentView, sized: &Sized) -> NewSet {
    let hash = sized.name.rsplit('-').next().unwrap_or_default();
    let mut template = Value::clone(&deployment.template);
    template["metadata"]["labels"][hash::LABEL] = json!(hash);
    let mut selector = deployment.raw_selector.clone();
    selector["matchLabels"][hash::LABEL] = json!(hash);
    let mut spec = json!({ "replicas": sized.replicas, "selector": selector, "template": template });
    if deployment.min_ready_seconds > 0 {
        spec["minReadySeconds"] = json!(deployment.min_ready_seconds);
    }
    let body = json!({
        "apiVersion": REPLICA_SETS.api_version, "kind": REPLICA_SETS.kind,
        "metadata": {
            "name": sized.name, "namespace": deployment.key.namespace,
            "labels": spec["template"]["metadata"]["labels"], "annotations": sized.annotations,
            "ownerReferences": [reference(DEPLOYMENTS, &deployment.key.name, &deployment.uid)],
        },
        "spec": spec,
    });
    NewSet { name: sized.name.clone(), replicas: sized.replicas, body }
}

/// The merge patch for `/status`, revision included. UID and resourceVersion are preconditions, zero counters are
/// absent.
pub fn status_patch(deployment: &DeploymentView, plan: &Plan) -> Option<Value> {
    let (stored, status) = (&deployment.status, &plan.status);
    if stored == status && plan.revision.is_none() {
        return None;
    }
    let or_absent = |it: u32| if it == 0 { Value::Null } else { json!(it) };
    let mut patch = json!({
        "apiVersion": DEPLOYMENTS.api_version, "kind": DEPLOYMENTS.kind,
        "metadata": {
            "name": deployment.key.name, "namespace": deployment.key.namespace, "uid": deployment.uid,
            "resourceVersion": deployment.resource_version,
        },
        "status": {
            "observedGeneration": status.observed_generation,
            "replicas": or_absent(status.replicas),
            "updatedReplicas": or_absent(status.updated),
            "readyReplicas": or_absent(status.ready),
            "availableReplicas": or_absent(status.available),
            "unavailableReplicas": or_absent(status.unavailable),
            "terminatingReplicas": status.terminating,
            "collisionCount": status.collision_count,
        },
    });
    if let Some(revision) = plan.revision {
        patch["metadata"]["annotations"] = json!({ revision::REVISION: revision.to_string() });
    }
    if status.conditions != stored.conditions {
        patch["status"]["conditions"] = json!(status.conditions);
    }
    Some(patch)
}
