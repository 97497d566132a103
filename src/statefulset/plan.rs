//! Observed into a plan: which writes, in which order, and what it waits for.
//!
//! [`Observed`] ──▶ [`plan`] ──[`Plan`]──▶ `reconcile`, which applies it
//!
//! Pure and total. A plan holds every write of one sync in the order of its phases; a later phase is applied only
//! if the ones before it succeeded, except [`Phase::History`], which always is. Replicas come before condemned
//! pods, and both before an update, so scaling up precedes scaling down precedes rolling.
//!
//! Sources: kubernetes `pkg/controller/statefulset/stateful_set_control.go` (1.37); KEP-961, KEP-1847, KEP-3335.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::growth::{self, SmallClaims};
use super::model::{
    ClaimTemplate, ClaimView, Ordinal, Owner, PodManagement, PodView, RevisionView, SetSpec, SetStatus,
    UpdateStrategy,
};
use super::revision::{self, Change, NewRevision, Release};
use super::{scale, status, update};
use crate::model::quantity::Quantity;

/// What the cache shows of one set.
#[derive(Debug, Default)]
pub struct Observed {
    /// Pods the set owns, terminating ones included, in any order.
    pub pods: Vec<Arc<PodView>>,
    /// Ordinals in range whose pod name is taken by a pod that is not ours.
    pub taken: BTreeSet<Ordinal>,
    /// Claims of ordinals in range and of pods, by name.
    pub claims: HashMap<String, Arc<ClaimView>>,
    /// Revisions owned by the set or, if they match its selector, by nobody.
    pub revisions: Vec<Arc<RevisionView>>,
    /// Ordinals of a Parallel set whose last writes failed, each with when to try again.
    pub backing_off: BTreeMap<Ordinal, Timestamp>,
    /// Whether volumes of a storage class can grow, by name, for the classes that [`super::growth::classes`] names.
    /// One that can not be read is missing.
    pub expandable: BTreeMap<String, bool>,
    /// How many revision names collided so far: the stored count, raised when a plan met a collision.
    pub collision_count: i32,
}

/// A stage of a plan; stages are applied in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Create or raise a revision.
    Revisions,
    /// Create, replace and repair the pods in range.
    Replicas,
    /// Say who owns the claims of condemned pods.
    CondemnedClaims,
    /// Delete condemned pods.
    Condemned,
    /// Delete outdated pods.
    Update,
    /// Trim the history; applied even if an earlier phase failed.
    History,
}

/// Why a pod is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// It failed or ended, and is to be replaced.
    Ended,
    /// Its ordinal is out of range.
    Condemned,
    /// It is outdated and available; the budget allows it.
    Outdated,
    /// It is outdated and not available.
    OutdatedUnavailable,
}

impl Reason {
    /// Whether the pod's status is the reason, so that the delete must not meet a newer one (INV-3).
    pub fn depends_on_status(self) -> bool {
        matches!(self, Self::Ended | Self::OutdatedUnavailable)
    }
}

/// One API write. Deletes and changes carry what was observed, for their preconditions.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Make an older revision the newest.
    RaiseRevision {
        /// The older one.
        revision: Arc<RevisionView>,
        /// Its new number.
        number: i64,
    },
    /// Record a template.
    CreateRevision(Box<NewRevision>),
    /// Trim the history.
    DeleteRevision(Arc<RevisionView>),
    /// Create the claim of one template.
    CreateClaim {
        /// Whose claim.
        ordinal: Ordinal,
        /// Index of the template.
        template: usize,
        /// Its owner references.
        owners: Vec<Owner>,
    },
    /// Replace the owner references of a claim.
    OwnClaim {
        /// The claim.
        claim: Arc<ClaimView>,
        /// All its owner references from now on.
        owners: Vec<Owner>,
    },
    /// Request more storage for a claim.
    GrowClaim {
        /// Whose claim.
        ordinal: Ordinal,
        /// The claim.
        claim: Arc<ClaimView>,
        /// What it requests from now on.
        size: Quantity,
    },
    /// Create a pod.
    CreatePod {
        /// Which one.
        ordinal: Ordinal,
        /// What from.
        release: Arc<Release>,
    },
    /// Write the identity labels of a pod.
    RepairPod(Arc<PodView>),
    /// Delete a pod.
    DeletePod {
        /// The pod.
        pod: Arc<PodView>,
        /// Why; decides the preconditions.
        reason: Reason,
    },
}

/// Writes that belong together, in order: the claims of a pod before the pod.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// When.
    pub phase: Phase,
    /// Whose; `None` for writes that are no pod's.
    pub ordinal: Option<Ordinal>,
    /// The writes.
    pub actions: Vec<Action>,
}

/// Something a plan can not go on without.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wait {
    /// Whose turn it is.
    pub ordinal: Ordinal,
    /// What is missing.
    pub cause: Cause,
}

/// What a plan waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// The pod is terminating.
    Terminating,
    /// The pod is not ready.
    NotReady,
    /// The pod is ready, but not for long enough.
    NotAvailable,
    /// A claim of this name is terminating.
    ClaimTerminating(String),
    /// A claim of this name belongs to an earlier pod and is about to be collected.
    ClaimStale(String),
    /// A pod that is not ours has the name.
    NameTaken,
    /// The revision's name is too long for a label, so no pod can be created.
    NameTooLong,
    /// As many pods as may be are unavailable.
    Budget,
    /// Its last writes failed; they are tried again later.
    BackingOff,
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ordinal = self.ordinal;
        match &self.cause {
            Cause::Terminating => write!(f, "pod {ordinal} is terminating"),
            Cause::NotReady => write!(f, "pod {ordinal} is not ready"),
            Cause::NotAvailable => write!(f, "pod {ordinal} is not available yet"),
            Cause::ClaimTerminating(name) => write!(f, "claim {name} is being deleted"),
            Cause::ClaimStale(name) => write!(f, "claim {name} still belongs to an earlier pod"),
            Cause::NameTaken => write!(f, "the name of pod {ordinal} is taken by a pod of somebody else"),
            Cause::NameTooLong => f.write_str("the revision name is longer than a label value may be"),
            Cause::Budget => write!(f, "pod {ordinal} is outdated, but too many pods are unavailable"),
            Cause::BackingOff => write!(f, "the last writes for pod {ordinal} failed"),
        }
    }
}

/// A warning to publish as an event on the set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// `reason`.
    pub reason: &'static str,
    /// `message`.
    pub message: String,
}

/// What one sync does.
#[derive(Debug)]
pub struct Plan {
    /// The writes, ascending by phase.
    pub steps: Vec<Step>,
    /// What keeps the plan from going further.
    pub waits: Vec<Wait>,
    /// What people should know.
    pub warnings: Vec<Warning>,
    /// When to look again although no event will come.
    pub requeue_after: Option<Duration>,
    /// The status as observed.
    pub status: SetStatus,
}

/// Whether a phase lets the next one begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    Continue,
    Stop,
}

/// What the phases share while a plan is made.
pub(super) struct Draft<'a> {
    pub set: &'a SetSpec,
    pub observed: &'a Observed,
    pub now: Timestamp,
    pub current: Arc<Release>,
    pub update: Arc<Release>,
    /// Pods in range, ascending.
    pub replicas: Vec<&'a Arc<PodView>>,
    /// Pods out of range, descending.
    pub condemned: Vec<&'a Arc<PodView>>,
    pub steps: Vec<Step>,
    pub waits: Vec<Wait>,
    pub warnings: Vec<Warning>,
    /// When something will be due that no event tells.
    pub look_again: Vec<Timestamp>,
    /// Claims that stay smaller than asked for.
    pub small: SmallClaims,
    /// Room for a name, so that looking up a claim allocates nothing.
    pub name: String,
}

impl<'a> Draft<'a> {
    pub fn ordered(&self) -> bool {
        self.set.management == PodManagement::OrderedReady
    }

    /// Terminating, or not available.
    pub fn unavailable(&self, pod: &PodView) -> bool {
        pod.deleting || !pod.available(self.set.min_ready_seconds, self.now)
    }

    /// The claim of one template for `ordinal`, if it exists.
    pub fn claim(&mut self, template: &ClaimTemplate, ordinal: Ordinal) -> Option<&'a Arc<ClaimView>> {
        self.name.clear();
        self.set.write_claim_name(template, ordinal, &mut self.name);
        self.observed.claims.get(self.name.as_str())
    }

    pub fn push(&mut self, phase: Phase, ordinal: Option<Ordinal>, actions: Vec<Action>) {
        if !actions.is_empty() {
            self.steps.push(Step { phase, ordinal, actions });
        }
    }

    pub fn wait(&mut self, ordinal: Ordinal, cause: Cause) {
        self.waits.push(Wait { ordinal, cause });
    }

    pub fn warn(&mut self, reason: &'static str, message: String) {
        self.warnings.push(Warning { reason, message });
    }
}

/// Decides the next writes for one set. Same arguments, same plan.
///
/// `now` decides `minReadySeconds`, the age of pods and what is tried again. A plan without steps and waits means the goal is reached.
pub fn plan(set: &SetSpec, observed: &Observed, now: Timestamp) -> Plan {
    let selection = revision::select(set, &observed.revisions, observed.collision_count);
    let mut replicas = Vec::with_capacity(observed.pods.len());
    let mut condemned = Vec::new();
    for pod in &observed.pods {
        match pod.ordinal {
            Some(ordinal) if set.in_range(ordinal) => replicas.push(pod),
            Some(_) => condemned.push(pod),
            None => {}
        }
    }
    replicas.sort_unstable_by_key(|it| it.ordinal);
    condemned.sort_unstable_by_key(|it| std::cmp::Reverse(it.ordinal));

    let mut status = status::compute(
        set,
        replicas.iter().chain(&condemned).map(|it| &***it),
        &selection.current.name,
        &selection.update.name,
        observed.collision_count,
        now,
    );
    if set.deleting {
        if !matches!(selection.change, Change::None) {
            // Nothing records the template, and nothing will: keep what was said last.
            status.current_revision.clone_from(&set.status.current_revision);
            status.update_revision.clone_from(&set.status.update_revision);
        }
        return Plan {
            steps: Vec::new(),
            waits: Vec::new(),
            warnings: Vec::new(),
            requeue_after: None,
            status,
        };
    }

    let mut draft = Draft {
        set,
        observed,
        now,
        current: selection.current,
        update: selection.update,
        replicas,
        condemned,
        steps: Vec::new(),
        waits: Vec::new(),
        warnings: set.extras.refused.clone(),
        look_again: Vec::new(),
        small: SmallClaims::new(),
        name: String::new(),
    };
    revisions(&mut draft, selection.change);
    pods(&mut draft);
    growth::tell(&mut draft);
    history(&mut draft);
    let requeue_after = requeue(&draft);
    let Draft { steps, waits, warnings, .. } = draft;
    Plan { steps, waits, warnings, requeue_after, status }
}

fn revisions(draft: &mut Draft, change: Change) {
    let action = match change {
        Change::None => return,
        Change::Raise { revision, number } => Action::RaiseRevision { revision, number },
        Change::Create(new) => Action::CreateRevision(new),
    };
    draft.push(Phase::Revisions, None, vec![action]);
}

fn pods(draft: &mut Draft) {
    if draft.set.strategy == UpdateStrategy::Recreate && update::recreate(draft) == Flow::Stop {
        return;
    }
    if scale::replicas(draft) == Flow::Stop || scale::condemned(draft) == Flow::Stop {
        return;
    }
    update::rolling(draft);
}

/// Trims what is neither current, update nor named by a pod.
fn history(draft: &mut Draft) {
    // Most sets are within the limit even if no pod names a revision; then there is no need to ask the pods.
    let in_use = [draft.current.name.as_str(), draft.update.name.as_str()];
    let within = |it: &str| in_use.contains(&it);
    if revision::beyond_history(draft.set.history_limit, &draft.observed.revisions, within).is_empty() {
        return;
    }
    let names = draft.observed.pods.iter().map(|it| it.revision());
    let live: HashSet<&str> =
        names.chain([draft.current.name.as_str(), draft.update.name.as_str()]).collect();
    let owned = |it: &&Arc<RevisionView>| it.owner.is_some();
    let beyond =
        revision::beyond_history(draft.set.history_limit, &draft.observed.revisions, |it| live.contains(it));
    let actions = beyond.into_iter().filter(owned).map(|it| Action::DeleteRevision(Arc::clone(it))).collect();
    draft.push(Phase::History, None, actions);
}

/// How long until a ready pod becomes available, a failing ordinal is tried again, or a pod that holds things up is old
/// enough to go, whichever is first.
fn requeue(draft: &Draft) -> Option<Duration> {
    let seconds = draft.set.min_ready_seconds;
    let pods = draft.replicas.iter().chain(&draft.condemned).filter(|_| seconds > 0);
    let available = pods.filter_map(|it| it.available_at(seconds));
    let others = draft.observed.backing_off.values().chain(&draft.look_again).copied();
    let due = available.chain(others);
    let next = due.filter(|it| *it > draft.now).min()?;
    Some(next.duration_since(draft.now).unsigned_abs())
}
