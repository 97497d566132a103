//! Pod templates brought to one form, to tell whether two mean the same.
//!
//! A template recorded by another release may lack a default that the API server fills in today, or carry a
//! `null` that it no longer writes. Neither is a reason to restart pods. The form is for comparison only and is
//! never written.
//!
//! Sources: kubernetes `pkg/apis/core/v1/defaults.go` as it applies to templates (1.37); k/k#134773.

use serde_json::{Map, Value, json};

/// `template` with API defaults filled in and nulls dropped.
pub fn template(template: &Value) -> Value {
    let mut it = template.clone();
    drop_nulls(&mut it);
    if let Some(metadata) = it.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("creationTimestamp");
    }
    if let Some(spec) = it.get_mut("spec").and_then(Value::as_object_mut) {
        pod_spec(spec);
    }
    it
}

fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, it| !it.is_null());
            fields.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

type Fields = Map<String, Value>;

fn default(fields: &mut Fields, key: &str, value: Value) {
    fields.entry(key).or_insert(value);
}

fn object<'f>(fields: &'f mut Fields, key: &str) -> Option<&'f mut Fields> {
    fields.get_mut(key)?.as_object_mut()
}

fn objects<'f>(fields: &'f mut Fields, key: &str) -> impl Iterator<Item = &'f mut Fields> {
    fields.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut)
}

fn pod_spec(spec: &mut Fields) {
    default(spec, "restartPolicy", json!("Always"));
    default(spec, "dnsPolicy", json!("ClusterFirst"));
    default(spec, "schedulerName", json!("default-scheduler"));
    default(spec, "terminationGracePeriodSeconds", json!(30));
    default(spec, "securityContext", json!({}));
    // `serviceAccount` is the old name of `serviceAccountName`; the server keeps both equal.
    match (spec.get("serviceAccountName").cloned(), spec.get("serviceAccount").cloned()) {
        (Some(it), None) => drop(spec.insert("serviceAccount".to_owned(), it)),
        (None, Some(it)) => drop(spec.insert("serviceAccountName".to_owned(), it)),
        _ => {}
    }
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        objects(spec, list).for_each(container);
    }
    objects(spec, "volumes").for_each(volume);
    for it in objects(spec, "topologySpreadConstraints") {
        if it.get("nodeAffinityPolicy").is_some_and(|it| it == "Honor") {
            it.remove("nodeAffinityPolicy");
        }
        if it.get("nodeTaintsPolicy").is_some_and(|it| it == "Ignore") {
            it.remove("nodeTaintsPolicy");
        }
    }
}

fn container(it: &mut Fields) {
    default(it, "terminationMessagePath", json!("/dev/termination-log"));
    default(it, "terminationMessagePolicy", json!("File"));
    default(it, "resources", json!({}));
    let image = it.get("image").and_then(Value::as_str).unwrap_or_default();
    // Without a tag the tag is `latest`; a digest pins the image.
    let last = image.rsplit('/').next().unwrap_or_default();
    let latest = !image.contains('@') && last.split_once(':').is_none_or(|(_, tag)| tag == "latest");
    default(it, "imagePullPolicy", json!(if latest { "Always" } else { "IfNotPresent" }));
    objects(it, "ports").for_each(|port| default(port, "protocol", json!("TCP")));
    for env in objects(it, "env") {
        if let Some(field) = object(env, "valueFrom").and_then(|it| object(it, "fieldRef")) {
            default(field, "apiVersion", json!("v1"));
        }
        if env.get("value").is_some_and(|it| it == "") {
            env.remove("value");
        }
    }
    for key in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(it) = object(it, key) {
            default(it, "timeoutSeconds", json!(1));
            default(it, "periodSeconds", json!(10));
            default(it, "successThreshold", json!(1));
            default(it, "failureThreshold", json!(3));
            handler(it);
        }
    }
    if let Some(it) = object(it, "lifecycle") {
        for key in ["postStart", "preStop"] {
            if let Some(it) = object(it, key) {
                handler(it);
            }
        }
    }
}

fn handler(it: &mut Fields) {
    if let Some(get) = object(it, "httpGet") {
        default(get, "path", json!("/"));
        default(get, "scheme", json!("HTTP"));
    }
    if let Some(grpc) = object(it, "grpc") {
        default(grpc, "service", json!(""));
    }
}

fn volume(it: &mut Fields) {
    if it.len() == 1 {
        default(it, "emptyDir", json!({}));
    }
    for key in ["secret", "configMap", "downwardAPI", "projected"] {
        let Some(source) = object(it, key) else { continue };
        default(source, "defaultMode", json!(420));
        objects(source, "items").for_each(field_ref);
        for source in objects(source, "sources") {
            if let Some(it) = object(source, "serviceAccountToken") {
                default(it, "expirationSeconds", json!(3600));
            }
            if let Some(it) = object(source, "downwardAPI") {
                objects(it, "items").for_each(field_ref);
            }
        }
    }
    if let Some(it) = object(it, "hostPath") {
        default(it, "type", json!(""));
    }
    if let Some(it) = object(it, "iscsi") {
        default(it, "iscsiInterface", json!("default"));
    }
    if let Some(it) = object(it, "rbd") {
        default(it, "pool", json!("rbd"));
        default(it, "user", json!("admin"));
        default(it, "keyring", json!("/etc/ceph/keyring"));
    }
    if let Some(claim) = object(it, "ephemeral").and_then(|it| object(it, "volumeClaimTemplate")) {
        if let Some(spec) = object(claim, "spec") {
            default(spec, "volumeMode", json!("Filesystem"));
        }
        if let Some(metadata) = object(claim, "metadata") {
            metadata.remove("creationTimestamp");
        }
    }
}

fn field_ref(it: &mut Fields) {
    if let Some(field) = object(it, "fieldRef") {
        default(field, "apiVersion", json!("v1"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_meaning() {
        let same = |a: Value, b: Value| template(&a) == template(&b);
        let pod = |spec: Value| json!({ "metadata": { "labels": { "a": "b" } }, "spec": spec });
        let plain = pod(json!({ "containers": [{ "name": "c", "image": "i:1" }] }));
        let mut with_null = plain.clone();
        with_null["metadata"]["creationTimestamp"] = Value::Null;
        assert!(same(plain.clone(), with_null), "1.33 wrote a null");
        let cases = [
            (json!({"name": "c", "image": "i:1", "imagePullPolicy": "IfNotPresent"}), true),
            (json!({"name": "c", "image": "i:1", "imagePullPolicy": "Always"}), false),
            (json!({"name": "c", "image": "i:1", "resources": {}, "terminationMessagePolicy": "File"}), true),
            (json!({"name": "c", "image": "i:2"}), false),
        ];
        for (container, want) in cases {
            let other = pod(json!({ "containers": [container], "restartPolicy": "Always" }));
            assert_eq!(same(plain.clone(), other.clone()), want, "{other}");
        }
    }
}
