//! Spec, ordinal and revision into the pod and the claims that should exist.
//!
//! Everything is written at creation; of a pod that exists only the identity labels can be repaired.
//! Sources: kubernetes `pkg/controller/statefulset/stateful_set_utils.go` (`newVersionedStatefulSetPod`,
//! `updateIdentity`, `updateStorage`, `getPersistentVolumeClaims`); KEP-3335, KEP-4017.

use serde_json::{Map, Value, json};

use super::model::{
    ClaimTemplate, LABEL_POD_INDEX, LABEL_POD_NAME, LABEL_REVISION, Ordinal, Owner, PodView, SetSpec,
};
use super::revision::{Release, owner_json, set_reference};

/// The pod of `ordinal` at a revision, ready to be posted.
pub fn pod(set: &SetSpec, ordinal: Ordinal, release: &Release) -> Value {
    let name = set.pod_name(ordinal);
    let mut metadata = json!({
        "name": name,
        "generateName": format!("{}-", set.key.name),
        "namespace": set.key.namespace,
        "ownerReferences": [set_reference(set)],
    });
    let template = &release.template;
    for key in ["annotations", "finalizers"] {
        if let Some(it) = template.pointer(&format!("/metadata/{key}")) {
            metadata[key] = it.clone();
        }
    }
    let mut labels = object(template.pointer("/metadata/labels"));
    labels.insert(LABEL_POD_NAME.to_owned(), json!(name));
    labels.insert(LABEL_POD_INDEX.to_owned(), json!(ordinal.to_string()));
    labels.insert(LABEL_REVISION.to_owned(), json!(release.name));
    metadata["labels"] = Value::Object(labels);

    let mut spec = object(template.get("spec"));
    spec.insert("hostname".to_owned(), json!(name));
    // The set alone says it: a subdomain of the template would name a Service the pod does not belong to.
    spec.remove("subdomain");
    if !set.service_name.is_empty() {
        spec.insert("subdomain".to_owned(), json!(set.service_name));
    }
    let own = set.claim_templates.iter().map(|it| {
        json!({ "name": it.name, "persistentVolumeClaim": { "claimName": set.claim_name(it, ordinal) } })
    });
    let replaced = |volume: &&Value| set.claim_templates.iter().any(|it| volume["name"] == it.name.as_str());
    let others = spec.get("volumes").and_then(Value::as_array).into_iter().flatten();
    let volumes: Vec<Value> = own.chain(others.filter(|it| !replaced(it)).cloned()).collect();
    if !volumes.is_empty() {
        spec.insert("volumes".to_owned(), Value::Array(volumes));
    }
    json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec })
}

/// The claim of one template for `ordinal`, owned by `owners`.
pub fn claim(set: &SetSpec, template: &ClaimTemplate, ordinal: Ordinal, owners: &[Owner]) -> Value {
    let mut metadata = object(template.raw.get("metadata"));
    metadata.retain(|key, _| matches!(key.as_str(), "labels" | "annotations" | "finalizers"));
    metadata.insert("name".to_owned(), json!(set.claim_name(template, ordinal)));
    metadata.insert("namespace".to_owned(), json!(set.key.namespace));
    // Expressions contribute nothing: they do not say which value to set.
    let mut labels = object(metadata.get("labels"));
    labels.extend(set.selector.labels.iter().map(|(key, value)| (key.clone(), json!(value))));
    metadata.insert("labels".to_owned(), Value::Object(labels));
    if !owners.is_empty() {
        metadata.insert("ownerReferences".to_owned(), owners.iter().map(owner_json).collect());
    }
    let mut spec = template.raw.get("spec").cloned().unwrap_or_else(|| json!({}));
    if let Some(size) = set.extras.claims.get(&template.name) {
        spec["resources"]["requests"]["storage"] = json!(size.to_string());
    }
    json!({ "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec })
}

/// Whether the label that names the pod says its name.
pub fn identity_matches(pod: &PodView) -> bool {
    pod.labels.get(LABEL_POD_NAME).is_some_and(|it| *it == pod.key.name)
}

/// The labels a repair writes.
pub fn identity_labels(set: &SetSpec, ordinal: Ordinal) -> Value {
    json!({ LABEL_POD_NAME: set.pod_name(ordinal), LABEL_POD_INDEX: ordinal.to_string() })
}

/// The first claim template whose claim the pod does not mount under the template's name; `None` if it mounts all.
pub fn missing_volume<'s>(set: &'s SetSpec, pod: &PodView) -> Option<&'s str> {
    let ordinal = pod.ordinal?;
    let mounts = |template: &ClaimTemplate| {
        let claim = pod.claims.iter().find(|(volume, _)| *volume == template.name);
        claim.is_some_and(|(_, claim)| {
            // `<template>-<set>-<ordinal>`, compared in place: this runs for every pod on every plan.
            let rest = claim.strip_prefix(template.name.as_str()).and_then(|it| it.strip_prefix('-'));
            let rest = rest.and_then(|it| it.strip_prefix(set.key.name.as_str()));
            rest.and_then(|it| it.strip_prefix('-')).is_some_and(|it| it.parse() == Ok(ordinal.0))
        })
    };
    set.claim_templates.iter().find(|it| !mounts(it)).map(|it| it.name.as_str())
}

fn object(value: Option<&Value>) -> Map<String, Value> {
    value.and_then(Value::as_object).cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::notation::set_from;
    use super::*;

    fn web() -> SetSpec {
        set_from(json!({
            "apiVersion": "apps/v1", "kind": "StatefulSet",
            "metadata": { "name": "web", "namespace": "demo", "uid": "u1", "generation": 1 },
            "spec": {
                "serviceName": "nginx", "selector": { "matchLabels": { "app": "web" } },
                "template": {
                    "metadata": { "creationTimestamp": null, "labels": { "app": "web" }, "finalizers": ["a/b"] },
                    "spec": {
                        "containers": [{ "name": "c", "image": "i" }],
                        "volumes": [{ "name": "www", "emptyDir": {} }, { "name": "tmp", "emptyDir": {} }],
                    },
                },
                "volumeClaimTemplates": [{
                    "metadata": { "name": "www", "creationTimestamp": null, "labels": { "app": "x", "tier": "y" } },
                    "spec": { "accessModes": ["ReadWriteOnce"] }, "status": { "phase": "Pending" },
                }],
            },
        }))
    }

    #[test]
    fn a_pod_has_its_identity_and_storage() {
        let set = web();
        let release = Release { name: "web-abc".into(), template: set.template.clone() };
        assert_eq!(
            pod(&set, Ordinal(2), &release),
            json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {
                    "name": "web-2", "generateName": "web-", "namespace": "demo", "finalizers": ["a/b"],
                    "labels": {
                        "app": "web", "statefulset.kubernetes.io/pod-name": "web-2",
                        "apps.kubernetes.io/pod-index": "2", "controller-revision-hash": "web-abc",
                    },
                    "ownerReferences": [{
                        "apiVersion": "apps/v1", "kind": "StatefulSet", "name": "web", "uid": "u1",
                        "controller": true, "blockOwnerDeletion": true,
                    }],
                },
                "spec": {
                    "containers": [{ "name": "c", "image": "i" }], "hostname": "web-2", "subdomain": "nginx",
                    "volumes": [
                        { "name": "www", "persistentVolumeClaim": { "claimName": "www-web-2" } },
                        { "name": "tmp", "emptyDir": {} },
                    ],
                },
            })
        );
    }

    #[test]
    fn a_claim_has_the_labels_of_template_and_selector() {
        let set = web();
        assert_eq!(
            claim(&set, &set.claim_templates[0], Ordinal(2), &[]),
            json!({
                "apiVersion": "v1", "kind": "PersistentVolumeClaim",
                "metadata": { "name": "www-web-2", "namespace": "demo", "labels": { "app": "web", "tier": "y" } },
                "spec": { "accessModes": ["ReadWriteOnce"] },
            })
        );
    }
}
