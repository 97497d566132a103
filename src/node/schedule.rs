//! Whether a pending pod may run on the node: the scheduler's filters that one node needs.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Node;

use super::pod::PodView;
use crate::k8s::watch::{Cached, parse_version};
use crate::model::ObjectKey;

/// A narrowed Node.
#[derive(Debug, Clone, Default)]
pub struct NodeView {
    /// Name; Nodes have no namespace.
    pub name: String,
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.resourceVersion`.
    pub resource_version: u64,
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// `spec.unschedulable`: the node is cordoned.
    pub unschedulable: bool,
}

impl NodeView {
    /// Keeps what scheduling reads.
    pub fn narrow(node: Node) -> Self {
        let meta = node.metadata;
        Self {
            name: meta.name.unwrap_or_default(),
            uid: meta.uid.unwrap_or_default(),
            resource_version: parse_version(meta.resource_version.as_deref()),
            labels: meta.labels.unwrap_or_default(),
            unschedulable: node.spec.unwrap_or_default().unschedulable == Some(true),
        }
    }
}

impl Cached for NodeView {
    fn key(&self) -> ObjectKey {
        ObjectKey::new("", self.name.clone())
    }
    fn uid(&self) -> &str {
        &self.uid
    }
    fn resource_version(&self) -> u64 {
        self.resource_version
    }
}

/// What is known about a claim that a pod names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClaimState {
    /// No such claim.
    Missing,
    /// Not bound yet.
    Unbound,
    /// Bound to a volume.
    Bound,
}

/// The scheduler's verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Bind it.
    Fits,
    /// Not ours to schedule (another scheduler, scheduling gates).
    Ignore,
    /// Something that usually follows within moments is missing: tell the user only if it lasts.
    Soon(String),
    /// It does not fit: the message for condition and event.
    No(String),
}

/// Judges one pod without node name. `claims`: the state of each claim in `pod.claims`, in order.
pub fn judge(pod: &PodView, node: Option<&NodeView>, claims: &[ClaimState]) -> Verdict {
    if pod.foreign_scheduler || pod.gated || pod.ended() || pod.terminating {
        return Verdict::Ignore;
    }
    let Some(node) = node else {
        return Verdict::Soon("no nodes available to schedule pods".to_owned());
    };
    if node.unschedulable {
        return Verdict::No("0/1 nodes are available: 1 node(s) were unschedulable.".to_owned());
    }
    if !pod.node_selector.iter().all(|(key, value)| node.labels.get(key) == Some(value)) {
        let why = "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.";
        return Verdict::No(why.to_owned());
    }
    for (name, state) in pod.claims.iter().zip(claims) {
        match state {
            ClaimState::Bound => {}
            ClaimState::Missing => {
                let why = format!("0/1 nodes are available: persistentvolumeclaim \"{name}\" not found.");
                return Verdict::Soon(why);
            }
            ClaimState::Unbound => {
                let why = "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims.";
                return Verdict::Soon(why.to_owned());
            }
        }
    }
    Verdict::Fits
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn verdicts() {
        use ClaimState::{Bound, Missing, Unbound};
        let claim =
            json!({"volumes": [{"name": "www", "persistentVolumeClaim": {"claimName": "www-web-0"}}]});
        let ssd = json!({"nodeSelector": {"disk": "ssd"}});
        #[rustfmt::skip]
        let cases: [(&str, Value, bool, &[ClaimState], &str); 8] = [
            ("a plain pod",          json!({}),                                false, &[],        "Fits"),
            ("a cordoned node",      json!({}),                                true,  &[],        "No"),
            ("a selector",           ssd,                                      false, &[],        "No"),
            ("another scheduler",    json!({"schedulerName": "mine"}),         false, &[],        "Ignore"),
            ("a scheduling gate",    json!({"schedulingGates": [{"name": "g"}]}), false, &[],     "Ignore"),
            ("a bound claim",        claim.clone(),                            false, &[Bound],   "Fits"),
            ("an unbound claim",     claim.clone(),                            false, &[Unbound], "Soon"),
            ("a missing claim",      claim,                                    false, &[Missing], "Soon"),
        ];
        for (why, mut spec, unschedulable, claims, want) in cases {
            spec["containers"] = json!([]);
            let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "a"}, "spec": spec})).unwrap();
            let node = NodeView { unschedulable, ..NodeView::default() };
            let verdict = format!("{:?}", judge(&PodView::narrow(pod), Some(&node), claims));
            assert!(verdict.starts_with(want), "{why}: {verdict}");
        }
    }
}
