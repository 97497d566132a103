//! Defaults of the kinds that are only stored: batch, networking, rbac, apiregistration.
//!
//! Sources: kubernetes `pkg/apis/{batch,networking,rbac}/v1/defaults.go`; kube-aggregator.

use super::{at, child, each, pod_spec, set};
use serde_json::{Value, json};

/// Source: batch `SetDefaults_Job`.
pub fn job(object: &mut Value) {
    let spec = child(object, "spec");
    let template = child(spec, "template");
    child(template, "metadata");
    pod_spec::pod_spec(child(template, "spec"));
    if spec.get("completions").is_none() && spec.get("parallelism").is_none() {
        set(spec, "completions", 1);
    }
    let (per_index, policy) = (spec.get("backoffLimitPerIndex"), spec.get("podFailurePolicy"));
    let backoff = if per_index.is_some() { i32::MAX } else { 6 };
    let replacement = if policy.is_some() { "Failed" } else { "TerminatingOrFailed" };
    set(spec, "parallelism", 1);
    set(spec, "backoffLimit", backoff);
    set(spec, "completionMode", "NonIndexed");
    set(spec, "suspend", false);
    set(spec, "manualSelector", false);
    set(spec, "podReplacementPolicy", replacement);
    child(object, "status");
}

/// The selector of a Job, and the labels it asks for. Source: `generateSelector` of the Job strategy.
pub fn job_selector(object: &mut Value) {
    let (name, uid) = (object["metadata"]["name"].clone(), object["metadata"]["uid"].clone());
    let spec = child(object, "spec");
    if spec["manualSelector"] != true {
        let labels = child(child(child(spec, "template"), "metadata"), "labels");
        for (key, value) in [("controller-uid", &uid), ("job-name", &name)] {
            set(labels, key, value.clone());
            set(labels, &format!("batch.kubernetes.io/{key}"), value.clone());
        }
        // A selector of the user's own is refused later.
        set(child(child(spec, "selector"), "matchLabels"), "batch.kubernetes.io/controller-uid", uid);
    }
    let labels = spec["template"]["metadata"]["labels"].clone();
    if object["metadata"].get("labels").is_none() && labels.is_object() {
        object["metadata"]["labels"] = labels;
    }
}

/// Source: batch `SetDefaults_CronJob`.
pub fn cron_job(object: &mut Value) {
    let spec = child(object, "spec");
    set(spec, "concurrencyPolicy", "Allow");
    set(spec, "suspend", false);
    set(spec, "successfulJobsHistoryLimit", 3);
    set(spec, "failedJobsHistoryLimit", 1);
    let template = child(spec, "jobTemplate");
    child(template, "metadata");
    let job = child(template, "spec");
    // A template of Jobs is completed when it becomes one; only its pods are now.
    let pods = child(job, "template");
    child(pods, "metadata");
    pod_spec::pod_spec(child(pods, "spec"));
    child(object, "status");
}

/// Source: networking `SetDefaults_NetworkPolicy`.
pub fn network_policy(object: &mut Value) {
    let spec = child(object, "spec");
    for direction in ["ingress", "egress"] {
        each(spec, direction, |rule| each(rule, "ports", |port| set(port, "protocol", "TCP")));
    }
    let kinds = if spec["egress"].as_array().is_some_and(|it| !it.is_empty()) {
        json!(["Ingress", "Egress"])
    } else {
        json!(["Ingress"])
    };
    set(spec, "policyTypes", kinds);
    child(spec, "podSelector");
}

/// The load balancer of an Ingress is always written.
pub fn ingress(object: &mut Value) {
    child(child(object, "status"), "loadBalancer");
}

/// Source: networking `SetDefaults_IngressClass`.
pub fn ingress_class(object: &mut Value) {
    at(object, "spec", |spec| at(spec, "parameters", |it| set(it, "scope", "Cluster")));
}

/// Source: rbac `SetDefaults_RoleBinding`, `SetDefaults_Subject`.
pub fn binding(object: &mut Value) {
    const GROUP: &str = "rbac.authorization.k8s.io";
    set(child(object, "roleRef"), "apiGroup", GROUP);
    each(object, "subjects", |subject| {
        if matches!(subject["kind"].as_str(), Some("User" | "Group")) {
            set(subject, "apiGroup", GROUP);
        }
    });
}

/// The port of the service behind a group. Source: apiregistration `SetDefaults_ServiceReference`.
pub fn api_service(object: &mut Value) {
    at(object, "spec", |spec| at(spec, "service", |service| set(service, "port", 443)));
}

/// Nothing is aggregated here, so every service counts as available.
pub fn api_service_status(object: &mut Value) {
    let since = object["metadata"]["creationTimestamp"].clone();
    let condition = json!({"type": "Available", "status": "True", "reason": "Passed",
        "message": "all checks passed", "lastTransitionTime": since});
    set(child(object, "status"), "conditions", json!([condition]));
}
