//! What is odd about an object that is right all the same: kubectl prints these after the answer.
//!
//! Sources: the `WarningsOnCreate` and `WarningsOnUpdate` of the strategies; `pkg/api/pod/warnings.go`,
//! `pkg/api/service/warnings.go`.

use super::{list, text};
use crate::apiserver::resources::Resource;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;

/// Sentences about `object` as it is stored.
pub fn warnings(resource: &Resource, object: &Value) -> Vec<String> {
    match (resource.group, resource.kind) {
        ("", "Pod") => pod_spec(&object["spec"], "spec"),
        ("apps", "StatefulSet") => {
            let mut all = template(object);
            if object["spec"]["revisionHistoryLimit"].as_i64().is_some_and(|it| it < 0) {
                all.push("spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended".to_owned());
            }
            all
        }
        ("apps", "Deployment" | "ReplicaSet" | "DaemonSet")
        | ("", "ReplicationController")
        | ("batch", "Job") => template(object),
        ("", "Service") => service(&object["spec"]),
        ("", "Secret") => secret(object),
        ("discovery.k8s.io", "EndpointSlice") if object["addressType"] == "FQDN" => {
            vec!["spec.addressType: FQDN endpoints are deprecated".to_owned()]
        }
        _ => Vec::new(),
    }
}

fn template(object: &Value) -> Vec<String> {
    pod_spec(&object["spec"]["template"]["spec"], "spec.template.spec")
}

fn pod_spec(spec: &Value, path: &str) -> Vec<String> {
    let secrets = list(&spec["imagePullSecrets"]).iter().enumerate();
    let nameless = secrets.filter(|it| text(&it.1["name"]).is_empty());
    nameless.map(|it| format!("{path}.imagePullSecrets[{}].name: invalid empty name \"\"", it.0)).collect()
}

fn service(spec: &Value) -> Vec<String> {
    let mut all = Vec::new();
    if !list(&spec["externalIPs"]).is_empty() {
        all.push(
            "spec.externalIPs is deprecated and may no longer be implemented in some clusters".to_owned(),
        );
    }
    if spec["trafficDistribution"] == "PreferClose" {
        let text = "spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\"";
        all.push(text.to_owned());
    }
    all
}

/// Certificates are not read; text that is none is told.
fn secret(object: &Value) -> Vec<String> {
    let certificate = &object["data"]["tls.crt"];
    if object["type"] != "kubernetes.io/tls" || certificate.is_null() {
        return Vec::new();
    }
    let bytes = STANDARD.decode(text(certificate)).unwrap_or_default();
    if String::from_utf8_lossy(&bytes).contains("-----BEGIN ") {
        return Vec::new();
    }
    vec!["tls: failed to find any PEM data in certificate input".to_owned()]
}
