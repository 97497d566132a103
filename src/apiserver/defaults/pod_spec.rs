//! Defaults of Pods and of the pod templates in workloads.

use super::{at, child, each, set, storage};
use crate::apiserver::quantity::{self, Quantity};
use serde_json::{Value, json};

const CONTAINER_LISTS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

/// A whole Pod: the spec, plus what upstream defaults for Pods but not for templates.
pub fn pod(object: &mut Value) {
    let spec = child(object, "spec");
    pod_spec(spec);
    set(spec, "enableServiceLinks", true);
    for list in ["initContainers", "containers"] {
        each(spec, list, requests_from_limits);
    }
    if spec["hostNetwork"] == true {
        for list in ["initContainers", "containers"] {
            each(spec, list, host_ports);
        }
    }
    // The ServiceAccount admission plugin does this, and only for Pods.
    set(spec, "serviceAccountName", "default");
    set(spec, "serviceAccount", "default");
    let qos = qos_class(spec);
    let status = child(object, "status");
    set(status, "phase", "Pending");
    set(status, "qosClass", qos);
}

/// A new Pod that waits at a gate says so. Source: `applySchedulingGatedCondition` of the Pod strategy.
pub fn gated(object: &mut Value) {
    if object["spec"]["schedulingGates"].as_array().is_none_or(Vec::is_empty) {
        return;
    }
    let since = object["metadata"]["creationTimestamp"].clone();
    let condition = json!({"type": "PodScheduled", "status": "False", "reason": "SchedulingGated",
        "message": "Scheduling is blocked due to non-empty scheduling gates", "lastTransitionTime": since});
    set(child(object, "status"), "conditions", json!([condition]));
}

/// A pod spec, in a Pod or a template. Source: `SetDefaults_PodSpec` and the generated walk.
pub fn pod_spec(spec: &mut Value) {
    for list in CONTAINER_LISTS {
        each(spec, list, container);
    }
    each(spec, "volumes", volume);
    set(spec, "restartPolicy", "Always");
    set(spec, "terminationGracePeriodSeconds", 30);
    set(spec, "dnsPolicy", "ClusterFirst");
    child(spec, "securityContext");
    set(spec, "schedulerName", "default-scheduler");
    // Both names of the account are always stored; the deprecated one follows.
    for (from, to) in [("serviceAccount", "serviceAccountName"), ("serviceAccountName", "serviceAccount")] {
        if let Some(account) = spec.get(from).filter(|it| it.as_str() != Some("")).cloned() {
            set(spec, to, account);
        }
    }
}

fn container(container: &mut Value) {
    let policy = pull_policy(container["image"].as_str().unwrap_or_default());
    set(container, "imagePullPolicy", policy);
    set(container, "terminationMessagePath", "/dev/termination-log");
    set(container, "terminationMessagePolicy", "File");
    child(container, "resources");
    each(container, "ports", |port| set(port, "protocol", "TCP"));
    each(container, "env", |env| {
        at(env, "valueFrom", |from| {
            field_or_resource(from);
            at(from, "fileKeyRef", |it| set(it, "optional", false));
        });
    });
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        at(container, name, probe);
    }
    at(container, "lifecycle", |lifecycle| {
        at(lifecycle, "postStart", http_get);
        at(lifecycle, "preStop", http_get);
    });
}

/// Always for `:latest` and for no tag at all; a digest pins the image as a tag does.
fn pull_policy(image: &str) -> &'static str {
    let (name, digest) = image.split_once('@').map_or((image, None), |(name, digest)| (name, Some(digest)));
    let last = name.rsplit('/').next().unwrap_or_default();
    match (last.split_once(':').map(|it| it.1), digest) {
        (Some("latest"), _) | (None, None) => "Always",
        _ => "IfNotPresent",
    }
}

fn probe(probe: &mut Value) {
    for (field, default) in
        [("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)]
    {
        // Zero means unset here: the Go fields are no pointers.
        if probe.get(field).is_none_or(|it| it.as_i64() == Some(0)) && probe.is_object() {
            probe[field] = default.into();
        }
    }
    http_get(probe);
    at(probe, "grpc", |grpc| {
        if grpc.is_object() && grpc.get("service").is_none() {
            grpc["service"] = "".into();
        }
    });
}

fn http_get(handler: &mut Value) {
    at(handler, "httpGet", |get| {
        set(get, "path", "/");
        set(get, "scheme", "HTTP");
    });
}

fn field_or_resource(source: &mut Value) {
    at(source, "fieldRef", |it| set(it, "apiVersion", "v1"));
    at(source, "resourceFieldRef", |it| set(it, "divisor", "0"));
}

/// Source: `SetDefaults_Volume` and the volume sources that have defaults.
fn volume(volume: &mut Value) {
    let Some(fields) = volume.as_object() else { return };
    if fields.keys().all(|it| it == "name") {
        volume["emptyDir"] = json!({});
    }
    for source in ["secret", "configMap", "downwardAPI", "projected"] {
        at(volume, source, |it| set(it, "defaultMode", 420));
    }
    at(volume, "downwardAPI", |it| each(it, "items", field_or_resource));
    at(volume, "projected", |projected| {
        each(projected, "sources", |source| {
            at(source, "downwardAPI", |it| each(it, "items", field_or_resource));
            at(source, "serviceAccountToken", |it| set(it, "expirationSeconds", 3600));
        });
    });
    at(volume, "hostPath", |it| set(it, "type", ""));
    at(volume, "iscsi", |it| set(it, "iscsiInterface", "default"));
    at(volume, "image", |it| {
        let policy = pull_policy(it["reference"].as_str().unwrap_or_default());
        set(it, "pullPolicy", policy);
    });
    at(volume, "ephemeral", |ephemeral| {
        at(ephemeral, "volumeClaimTemplate", |template| at(template, "spec", storage::claim_spec));
    });
}

fn requests_from_limits(container: &mut Value) {
    let limits = container["resources"]["limits"].as_object().cloned().unwrap_or_default();
    if limits.is_empty() {
        return;
    }
    let requests = child(child(container, "resources"), "requests");
    for (name, amount) in limits {
        set(requests, &name, amount);
    }
}

fn host_ports(container: &mut Value) {
    each(container, "ports", |port| {
        if let Some(number) = port.get("containerPort").cloned() {
            set(port, "hostPort", number);
        }
    });
}

/// Canonical quantities in a pod spec.
pub fn quantities(spec: &mut Value) {
    let resources = |resources: &mut Value| {
        at(resources, "limits", quantity::canonicalize_map);
        at(resources, "requests", quantity::canonicalize_map);
    };
    let divisor = |it: &mut Value| {
        at(it, "resourceFieldRef", |it| at(it, "divisor", quantity::canonicalize));
    };
    for list in CONTAINER_LISTS {
        each(spec, list, |container| {
            at(container, "resources", resources);
            each(container, "env", |env| at(env, "valueFrom", divisor));
        });
    }
    at(spec, "resources", resources);
    at(spec, "overhead", quantity::canonicalize_map);
    each(spec, "volumes", |volume| {
        at(volume, "emptyDir", |it| at(it, "sizeLimit", quantity::canonicalize));
        at(volume, "downwardAPI", |it| each(it, "items", divisor));
        at(volume, "ephemeral", |it| at(it, "volumeClaimTemplate", storage::claim_quantities));
    });
}

/// Guaranteed: every container limits cpu and memory and requests just that. `BestEffort`: nothing at all.
///
/// Source: `pkg/apis/core/helper/qos/qos.go`.
pub fn qos_class(spec: &Value) -> &'static str {
    let containers = || {
        ["initContainers", "containers"]
            .into_iter()
            .flat_map(|list| spec[list].as_array().into_iter().flatten())
    };
    let amount = |container: &Value, list: &str, name: &str| {
        Quantity::from_json(&container["resources"][list][name]).filter(|it| !it.is_zero())
    };
    let names = ["cpu", "memory"];
    let any = containers().any(|container| {
        names.iter().any(|name| {
            amount(container, "limits", name).is_some() || amount(container, "requests", name).is_some()
        })
    });
    let guaranteed = containers().all(|container| {
        names.iter().all(|name| {
            let limit = amount(container, "limits", name);
            let request = amount(container, "requests", name).or(limit);
            limit.is_some() && limit == request
        })
    });
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}
