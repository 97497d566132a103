//! The narrowed objects a plan is made from.
//!
//! API objects are reduced to these views at the cache's door; whatever is absent here can not influence a
//! plan. The pod template and the claim templates stay raw JSON, because revisions record them byte for byte
//! (see [`super::revision`]) and typed structs would drop fields this build does not know.
//!
//! Sources: apps/v1 `StatefulSetSpec`; kubernetes `pkg/controller/statefulset/stateful_set_utils.go`.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use serde_json::Value;

use super::extras::Extras;
use super::revision;
use super::rival::StatusWriters;
use super::selector::Selector;
pub use super::view::{ClaimView, Owner, Phase, PodView, RevisionView};
use crate::model::{ObjectKey, quantity::Quantity};

/// Label that carries the pod's own name.
pub const LABEL_POD_NAME: &str = "statefulset.kubernetes.io/pod-name";
/// Label that carries the pod's ordinal.
pub const LABEL_POD_INDEX: &str = "apps.kubernetes.io/pod-index";
/// Label that carries the name of the ControllerRevision a pod was made from.
pub const LABEL_REVISION: &str = "controller-revision-hash";
/// Label on a ControllerRevision that carries its hash.
pub const LABEL_HASH: &str = "controller.kubernetes.io/hash";
/// Kind of the objects this controller reconciles.
pub const KIND: &str = "StatefulSet";
/// API version of the objects this controller reconciles.
pub const API_VERSION: &str = "apps/v1";

/// The number that makes a pod of a set one of a kind: `<set>-<ordinal>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ordinal(pub u32);

impl fmt::Display for Ordinal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Splits a pod name into the set's name and the ordinal.
///
/// Greedy, as upstream's `^(.*)-([0-9]+)$`: `web-1-0` belongs to `web-1`. The ordinal is `None` when the digits
/// do not fit an int32. `None` altogether when the name has no such shape.
///
/// Differs: digits must be canonical. Upstream takes `web-01` for a member and then fails forever to rename it.
pub fn parse_pod_name(name: &str) -> Option<(&str, Option<Ordinal>)> {
    let (parent, digits) = name.rsplit_once('-')?;
    let canonical = digits == "0" || !digits.starts_with('0');
    if parent.is_empty() || digits.is_empty() || !canonical || !digits.bytes().all(|it| it.is_ascii_digit()) {
        return None;
    }
    let ordinal = digits.parse::<i32>().ok().and_then(|it| u32::try_from(it).ok()).map(Ordinal);
    Some((parent, ordinal))
}

/// `spec.podManagementPolicy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PodManagement {
    /// One pod at a time, ascending, each waiting for the one before it to be available.
    OrderedReady,
    /// All pods at once.
    Parallel,
}

/// `spec.updateStrategy`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpdateStrategy {
    /// Pods move to a new revision only when somebody deletes them.
    OnDelete,
    /// All outdated pods go at once, then creation starts again (KEP-3541, alpha).
    Recreate,
    /// Pods are replaced from the highest ordinal down. `None`: the `rollingUpdate` block is absent, which is
    /// not the same as a block at its defaults (see `scale`).
    RollingUpdate(Option<RollingUpdate>),
}

/// `spec.updateStrategy.rollingUpdate`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RollingUpdate {
    /// Pods below this index, counted from the start ordinal, stay at the current revision.
    pub partition: u32,
    /// How many pods may be unavailable; `None` means 1.
    pub max_unavailable: Option<MaxUnavailable>,
}

/// `spec.updateStrategy.rollingUpdate.maxUnavailable`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MaxUnavailable {
    /// A number of pods.
    Count(u32),
    /// A percentage of `spec.replicas`.
    Percent(u32),
}

impl MaxUnavailable {
    /// The number of pods, never below 1; a percentage is rounded down.
    pub fn of(self, replicas: u32) -> u32 {
        let count = match self {
            Self::Count(count) => u64::from(count),
            Self::Percent(percent) => u64::from(replicas) * u64::from(percent) / 100,
        };
        u32::try_from(count.max(1)).unwrap_or(u32::MAX)
    }
}

/// What happens to a claim when its pod or set goes away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retain {
    /// The claim stays.
    Retain,
    /// The claim goes, by garbage collection.
    Delete,
}

/// `spec.persistentVolumeClaimRetentionPolicy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// When the set is deleted.
    pub when_deleted: Retain,
    /// When the ordinal is scaled away.
    pub when_scaled: Retain,
}

/// One of `spec.volumeClaimTemplates`.
#[derive(Debug, Clone, PartialEq)]
pub struct ClaimTemplate {
    /// Name of the template, which is also the name of the pod's volume.
    pub name: String,
    /// The template as the API server returned it.
    pub raw: Value,
}

impl ClaimTemplate {
    /// `spec.resources.requests.storage`.
    pub fn storage(&self) -> Option<Quantity> {
        Quantity::from_json(self.raw.pointer("/spec/resources/requests/storage")?)
    }
}

/// `status` of a set, as stored or as to be published.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SetStatus {
    /// Generation of the set this status was computed from.
    pub observed_generation: i64,
    /// Pods that exist, terminating and failed ones included.
    pub replicas: u32,
    /// Ready pods.
    pub ready_replicas: u32,
    /// Pods ready for at least `minReadySeconds`.
    pub available_replicas: u32,
    /// Pods of the current revision that are not terminating.
    pub current_replicas: u32,
    /// Pods of the update revision that are not terminating.
    pub updated_replicas: u32,
    /// Name of the current revision; empty when none was ever stored.
    pub current_revision: String,
    /// Name of the update revision; empty when none was ever stored.
    pub update_revision: String,
    /// How often a revision name collided; `None` when never stored.
    pub collision_count: Option<i32>,
    /// All conditions, those of others included.
    pub conditions: Vec<Value>,
}

/// Everything of a StatefulSet that a plan depends on.
#[derive(Debug, Clone, PartialEq)]
pub struct SetSpec {
    /// Namespace and name.
    pub key: ObjectKey,
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.resourceVersion`.
    pub resource_version: String,
    /// `metadata.generation`.
    pub generation: i64,
    /// `metadata.deletionTimestamp` is set.
    pub deleting: bool,
    /// `metadata.annotations`; copied to new revisions, where kubectl looks for the change cause.
    pub annotations: BTreeMap<String, String>,
    /// `spec.replicas`.
    pub replicas: u32,
    /// `spec.ordinals.start`.
    pub start: u32,
    /// `spec.podManagementPolicy`, or what an annotation puts in its place.
    pub management: PodManagement,
    /// `spec.updateStrategy`.
    pub strategy: UpdateStrategy,
    /// `spec.minReadySeconds`.
    pub min_ready_seconds: i64,
    /// `spec.revisionHistoryLimit`; negative keeps all.
    pub history_limit: i64,
    /// `spec.selector`.
    pub selector: Selector,
    /// `spec.serviceName`.
    pub service_name: String,
    /// `spec.persistentVolumeClaimRetentionPolicy`.
    pub retention: Retention,
    /// `spec.volumeClaimTemplates`, in order.
    pub claim_templates: Vec<ClaimTemplate>,
    /// `spec.template`, raw.
    pub template: Value,
    /// What a revision of `template` records; computed once per version of the set.
    pub revision_data: String,
    /// The stored status.
    pub status: SetStatus,
    /// What the annotations ask for beyond Kubernetes.
    pub extras: Extras,
    /// Who wrote the stored status.
    pub status_writers: StatusWriters,
}

/// Why a stored StatefulSet can not be worked on. Nothing helps but a change of the object.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SpecError {
    /// A field every stored set has is missing or of the wrong type.
    #[error("field {0} is missing or has the wrong type")]
    Field(&'static str),
    /// The selector has an operator or shape that is not known.
    #[error("selector can not be parsed: {0}")]
    Selector(String),
}

impl SetSpec {
    /// Narrows a StatefulSet given as the JSON the API server returned.
    ///
    /// Absent optional fields get the defaults of apps/v1, because the controller must survive whatever is
    /// stored.
    ///
    /// # Errors
    /// The object lacks identity, a template or a usable selector; log it and wait for a change.
    pub fn narrow(raw: &Value) -> Result<Self, SpecError> {
        let text = |at: &str| raw.pointer(at).and_then(Value::as_str).map(str::to_owned);
        let int = |at: &str| raw.pointer(at).and_then(Value::as_i64);
        let count = |at: &str| int(at).map(|it| u32::try_from(it.clamp(0, i64::from(i32::MAX))).unwrap_or(0));
        let template = raw
            .pointer("/spec/template")
            .filter(|it| it.is_object())
            .ok_or(SpecError::Field("spec.template"))?;
        let selector = raw.pointer("/spec/selector").ok_or(SpecError::Field("spec.selector"))?;
        let retain = |at: &str| match raw.pointer(at).and_then(Value::as_str) {
            Some("Delete") => Retain::Delete,
            _ => Retain::Retain,
        };
        let claim_templates = raw.pointer("/spec/volumeClaimTemplates").and_then(Value::as_array);
        let claim_templates: Vec<_> = claim_templates
            .into_iter()
            .flatten()
            .filter_map(|it| {
                let name = it.pointer("/metadata/name")?.as_str()?.to_owned();
                Some(ClaimTemplate { name, raw: it.clone() })
            })
            .collect();
        let annotations = string_map(raw.pointer("/metadata/annotations"));
        let extras = Extras::parse(&annotations, &claim_templates);
        let management = match raw.pointer("/spec/podManagementPolicy").and_then(Value::as_str) {
            Some("Parallel") => PodManagement::Parallel,
            _ => PodManagement::OrderedReady,
        };
        Ok(Self {
            key: ObjectKey::new(
                text("/metadata/namespace").ok_or(SpecError::Field("metadata.namespace"))?,
                text("/metadata/name").ok_or(SpecError::Field("metadata.name"))?,
            ),
            uid: text("/metadata/uid").ok_or(SpecError::Field("metadata.uid"))?,
            resource_version: text("/metadata/resourceVersion").unwrap_or_default(),
            generation: int("/metadata/generation").unwrap_or_default(),
            deleting: raw.pointer("/metadata/deletionTimestamp").is_some_and(|it| !it.is_null()),
            annotations,
            replicas: count("/spec/replicas").unwrap_or(1),
            start: count("/spec/ordinals/start").unwrap_or(0),
            management: extras.management.unwrap_or(management),
            strategy: narrow_strategy(raw.pointer("/spec/updateStrategy")),
            min_ready_seconds: int("/spec/minReadySeconds").unwrap_or(0).max(0),
            history_limit: int("/spec/revisionHistoryLimit").unwrap_or(10),
            selector: Selector::parse(selector).map_err(SpecError::Selector)?,
            service_name: text("/spec/serviceName").unwrap_or_default(),
            retention: Retention {
                when_deleted: retain("/spec/persistentVolumeClaimRetentionPolicy/whenDeleted"),
                when_scaled: retain("/spec/persistentVolumeClaimRetentionPolicy/whenScaled"),
            },
            claim_templates,
            revision_data: revision::encode_data(template),
            template: template.clone(),
            status: SetStatus {
                observed_generation: int("/status/observedGeneration").unwrap_or(0),
                replicas: count("/status/replicas").unwrap_or(0),
                ready_replicas: count("/status/readyReplicas").unwrap_or(0),
                available_replicas: count("/status/availableReplicas").unwrap_or(0),
                current_replicas: count("/status/currentReplicas").unwrap_or(0),
                updated_replicas: count("/status/updatedReplicas").unwrap_or(0),
                current_revision: text("/status/currentRevision").unwrap_or_default(),
                update_revision: text("/status/updateRevision").unwrap_or_default(),
                collision_count: int("/status/collisionCount").and_then(|it| i32::try_from(it).ok()),
                conditions: raw
                    .pointer("/status/conditions")
                    .and_then(Value::as_array)
                    .cloned()
                    .unwrap_or_default(),
            },
            extras,
            status_writers: StatusWriters::narrow(raw.pointer("/metadata/managedFields")),
        })
    }

    /// First ordinal beyond the range.
    pub fn end(&self) -> u32 {
        match self.replicas.checked_sub(1) {
            Some(others) => self.extras.reserved.nth(self.start, others).saturating_add(1),
            None => self.start,
        }
    }

    /// The ordinals that should have a pod, ascending: `[start, start + replicas)`, further if some are reserved.
    pub fn ordinals(&self) -> impl Iterator<Item = Ordinal> {
        self.extras.reserved.ordinals(self.start, self.replicas).map(Ordinal)
    }

    /// Whether `ordinal` should have a pod.
    pub fn in_range(&self, ordinal: Ordinal) -> bool {
        (self.start..self.end()).contains(&ordinal.0) && !self.extras.reserved.contains(ordinal.0)
    }

    /// The ordinal that has `count` pods of the set below it. Reserved ordinals have none.
    pub fn ordinal_after(&self, count: u32) -> u32 {
        self.extras.reserved.nth(self.start, count)
    }

    /// Name of the pod with this ordinal.
    pub fn pod_name(&self, ordinal: Ordinal) -> String {
        format!("{}-{ordinal}", self.key.name)
    }

    /// Name of the claim of `template` for this ordinal. Volume zone spreading parses this shape.
    pub fn claim_name(&self, template: &ClaimTemplate, ordinal: Ordinal) -> String {
        let mut name = String::new();
        self.write_claim_name(template, ordinal, &mut name);
        name
    }

    /// Appends that name to `out`.
    pub fn write_claim_name(&self, template: &ClaimTemplate, ordinal: Ordinal, out: &mut String) {
        out.extend([template.name.as_str(), "-", self.key.name.as_str(), "-"]);
        let _ = write!(out, "{ordinal}");
    }

    /// Number of pods that may be unavailable during an update, at least 1.
    pub fn max_unavailable(&self) -> u32 {
        let in_spec = match &self.strategy {
            UpdateStrategy::RollingUpdate(block) => block.as_ref().and_then(|it| it.max_unavailable),
            UpdateStrategy::OnDelete | UpdateStrategy::Recreate => return 1,
        };
        in_spec.or(self.extras.max_unavailable).map_or(1, |it| it.of(self.replicas))
    }

    /// Lowest ordinal that an update may touch. The partition counts pods.
    pub fn first_updatable(&self) -> u32 {
        match &self.strategy {
            UpdateStrategy::RollingUpdate(Some(it)) => self.ordinal_after(it.partition),
            _ => self.start,
        }
    }
}

fn narrow_strategy(raw: Option<&Value>) -> UpdateStrategy {
    let kind = raw.and_then(|it| it.get("type")).and_then(Value::as_str);
    match kind {
        Some("OnDelete") => return UpdateStrategy::OnDelete,
        Some("Recreate") => return UpdateStrategy::Recreate,
        _ => {}
    }
    let Some(block) = raw.and_then(|it| it.get("rollingUpdate")).filter(|it| it.is_object()) else {
        return UpdateStrategy::RollingUpdate(None);
    };
    let partition = block.get("partition").and_then(Value::as_i64).unwrap_or(0);
    let max_unavailable = match block.get("maxUnavailable") {
        Some(Value::Number(it)) => {
            it.as_i64().map(|it| MaxUnavailable::Count(u32::try_from(it.max(0)).unwrap_or(u32::MAX)))
        }
        Some(Value::String(it)) => {
            it.strip_suffix('%').and_then(|it| it.parse().ok()).map(MaxUnavailable::Percent)
        }
        _ => None,
    };
    UpdateStrategy::RollingUpdate(Some(RollingUpdate {
        partition: u32::try_from(partition.clamp(0, i64::from(i32::MAX))).unwrap_or(0),
        max_unavailable,
    }))
}

fn string_map(raw: Option<&Value>) -> BTreeMap<String, String> {
    let entries = raw.and_then(Value::as_object).into_iter().flatten();
    entries.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pod_names() {
        let cases = [
            ("web-0", Some(("web", Some(Ordinal(0))))),
            ("web-1-0", Some(("web-1", Some(Ordinal(0))))),
            ("web-2147483647", Some(("web", Some(Ordinal(2_147_483_647))))),
            ("web-2147483648", Some(("web", None))),
            ("web-01", None),
            ("web-", None),
            ("web", None),
            ("-1", None),
            ("web-1a", None),
        ];
        for (name, want) in cases {
            assert_eq!(parse_pod_name(name), want, "{name}");
        }
    }

    #[test]
    fn max_unavailable_rounds_down_but_not_to_nothing() {
        let cases = [
            (MaxUnavailable::Count(3), 10, 3),
            (MaxUnavailable::Count(0), 10, 1),
            (MaxUnavailable::Percent(25), 10, 2),
            (MaxUnavailable::Percent(5), 10, 1),
            (MaxUnavailable::Percent(100), 4, 4),
        ];
        for (it, replicas, want) in cases {
            assert_eq!(it.of(replicas), want, "{it:?} of {replicas}");
        }
    }
}
