//! Whether a node takes a pod, and why not.
//!
//! Messages follow kube-scheduler's, `0/1 nodes are available: …`.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Node, Pod, Taint, Toleration};

/// What a claim of a pod looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClaimState {
    /// No such claim.
    Missing,
    /// Being deleted.
    Terminating,
    /// Not bound to a volume.
    Unbound,
    /// Bound.
    Bound,
}

/// Whether a node was found for the pod.
pub fn is_bound(pod: &Pod) -> bool {
    pod.spec.as_ref().and_then(|it| it.node_name.as_deref()).is_some_and(|it| !it.is_empty())
}

/// Names of the claims a pod mounts, in the order of its volumes.
pub fn claim_names(pod: &Pod) -> impl Iterator<Item = &str> {
    let volumes = pod.spec.iter().filter_map(|it| it.volumes.as_ref()).flatten();
    volumes.filter_map(|it| it.persistent_volume_claim.as_ref()).map(|it| it.claim_name.as_str())
}

/// Whether `pod` may run on `node`, which has `free` pod slots. `Err` says why not.
pub fn fits(node: &Node, free: usize, pod: &Pod, claim: impl Fn(&str) -> ClaimState) -> Result<(), String> {
    for name in claim_names(pod) {
        match claim(name) {
            ClaimState::Missing => return none(&format!("persistentvolumeclaim {name:?} not found")),
            ClaimState::Terminating => {
                return none(&format!("persistentvolumeclaim {name:?} is being deleted"));
            }
            ClaimState::Unbound => return none("pod has unbound immediate PersistentVolumeClaims"),
            ClaimState::Bound => {}
        }
    }
    let spec = node.spec.as_ref();
    if spec.is_some_and(|it| it.unschedulable == Some(true)) {
        return none("1 node(s) were unschedulable");
    }
    let labels = node.metadata.labels.clone().unwrap_or_default();
    let selector = pod.spec.as_ref().and_then(|it| it.node_selector.as_ref());
    if selector.is_some_and(|it| !is_subset(it, &labels)) {
        return none("1 node(s) didn't match Pod's node affinity/selector");
    }
    let tolerations = pod.spec.as_ref().and_then(|it| it.tolerations.as_deref()).unwrap_or_default();
    let taints = spec.and_then(|it| it.taints.as_deref()).unwrap_or_default();
    let repelled = |taint: &&Taint| {
        taint.effect != "PreferNoSchedule" && !tolerations.iter().any(|it| tolerates(it, taint))
    };
    if let Some(taint) = taints.iter().find(repelled) {
        let value = taint.value.as_deref().unwrap_or_default();
        return none(&format!("1 node(s) had untolerated taint {{{}: {value}}}", taint.key));
    }
    if free == 0 {
        return none("1 Too many pods");
    }
    Ok(())
}

fn none(why: &str) -> Result<(), String> {
    Err(format!("0/1 nodes are available: {why}."))
}

fn is_subset(selector: &BTreeMap<String, String>, labels: &BTreeMap<String, String>) -> bool {
    selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}

fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let key = toleration.key.as_deref().unwrap_or_default();
    let exists = toleration.operator.as_deref() == Some("Exists");
    let effect = toleration.effect.as_deref().unwrap_or_default();
    (effect.is_empty() || effect == taint.effect)
        && (key == taint.key || (key.is_empty() && exists))
        && (exists
            || toleration.value.as_deref().unwrap_or_default() == taint.value.as_deref().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn a_pod_fits_or_the_reason_is_given() {
        let plain = json!({"metadata": {"labels": {"zone": "a"}}});
        let cordoned = json!({"spec": {"unschedulable": true}});
        let tainted = json!({"spec": {"taints": [{"key": "k", "value": "v", "effect": "NoSchedule"}]}});
        let claims =
            |name: &str| json!({"volumes": [{"name": "d", "persistentVolumeClaim": {"claimName": name}}]});
        let cases: [(&str, &Value, Value, Result<(), &str>); 9] = [
            ("plain", &plain, json!({}), Ok(())),
            ("cordoned", &cordoned, json!({}), Err("1 node(s) were unschedulable")),
            ("selector", &plain, json!({"nodeSelector": {"zone": "a"}}), Ok(())),
            (
                "other zone",
                &plain,
                json!({"nodeSelector": {"zone": "b"}}),
                Err("1 node(s) didn't match Pod's node affinity/selector"),
            ),
            ("taint", &tainted, json!({}), Err("1 node(s) had untolerated taint {k: v}")),
            ("tolerated", &tainted, json!({"tolerations": [{"operator": "Exists"}]}), Ok(())),
            ("claim", &plain, claims("bound"), Ok(())),
            ("going", &plain, claims("going"), Err("persistentvolumeclaim \"going\" is being deleted")),
            ("no claim", &plain, claims("x"), Err("persistentvolumeclaim \"x\" not found")),
        ];
        for (name, node, mut spec, want) in cases {
            spec["containers"] = json!([]);
            let node: Node = serde_json::from_value(node.clone()).expect("a node");
            let pod: Pod = serde_json::from_value(json!({"spec": spec})).expect("a pod");
            let state = |it: &str| match it {
                "bound" => ClaimState::Bound,
                "going" => ClaimState::Terminating,
                _ => ClaimState::Missing,
            };
            let want = want.map_err(|it| format!("0/1 nodes are available: {it}."));
            assert_eq!(fits(&node, 1, &pod, state), want, "{name}");
        }
    }
}
