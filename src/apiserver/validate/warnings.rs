//! What an object says that is allowed and probably not meant; kubectl prints it.
//!
//! Pure: the defaulted object in, texts out, in upstream's order and words.
//! Sources: kubernetes `pkg/api/pod/warnings.go`, `pkg/api/service/warnings.go`, the registries' `WarningsOnCreate` and
//! `WarningsOnUpdate`.

use super::{list, text};
use crate::apiserver::resources::Resource;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;

/// Labels of nodes that have another name now.
const OLD_NODE_LABELS: &[(&str, &str)] = &[
    ("beta.kubernetes.io/arch", "kubernetes.io/arch"),
    ("beta.kubernetes.io/os", "kubernetes.io/os"),
    ("failure-domain.beta.kubernetes.io/region", "topology.kubernetes.io/region"),
    ("failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone"),
    ("beta.kubernetes.io/instance-type", "node.kubernetes.io/instance-type"),
];

/// What is odd about `object`; `old` is what it was before an update. A template that did not change is not looked at.
pub fn warnings(resource: &Resource, old: Option<&Value>, object: &Value) -> Vec<String> {
    let spec = &object["spec"];
    let mut told = Vec::new();
    let is_new = old.is_none_or(|it| it["spec"] != object["spec"]);
    match (resource.group, resource.kind) {
        ("", "Pod") if old.is_none() => {
            name(object, "the Pod's hostname", &mut told);
            pod(spec, "spec", &mut told);
        }
        ("networking.k8s.io", "Ingress") if old.is_none() => {
            let old_way = "kubernetes.io/ingress.class";
            if object["metadata"]["annotations"].get(old_way).is_some() {
                told.push(format!(
                    "annotation {old_way:?} is deprecated, please use 'spec.ingressClassName' instead"
                ));
            }
        }
        ("", "ServiceAccount") if old.is_none() => {
            let old_way = "kubernetes.io/enforce-mountable-secrets";
            if object["metadata"]["annotations"].get(old_way).is_some() {
                let what = "prefer separate namespaces to isolate access to mounted secrets";
                told.push(format!("metadata.annotations[{old_way}]: deprecated in v1.32+; {what}"));
            }
        }
        ("", "ReplicationController") | ("apps", _) | ("batch", "Job") if is_new => {
            if resource.kind == "Job" && old.is_none() {
                name(object, "Pod names and hostnames", &mut told);
            }
            pod(&spec["template"]["spec"], "spec.template.spec", &mut told);
            if resource.kind == "StatefulSet"
                && spec["revisionHistoryLimit"].as_i64().is_some_and(|it| it < 0)
            {
                let what = "a negative value retains all historical revisions; a value >= 0 is recommended";
                told.push(format!("spec.revisionHistoryLimit: {what}"));
            }
        }
        ("batch", "CronJob") if is_new => {
            let path = "spec.jobTemplate.spec.template.spec";
            pod(&spec["jobTemplate"]["spec"]["template"]["spec"], path, &mut told);
        }
        ("", "PersistentVolumeClaim") if is_new => fractions(&spec["resources"], "spec.resources", &mut told),
        ("", "Service") => told = service(spec),
        ("", "Secret") => told = secret(object),
        ("discovery.k8s.io", "EndpointSlice") if object["addressType"] == "FQDN" => {
            told.push("spec.addressType: FQDN endpoints are deprecated".to_owned());
        }
        _ => {}
    }
    told
}

fn name(object: &Value, used: &str, told: &mut Vec<String>) {
    if object["metadata"]["name"].as_str().is_some_and(|it| it.contains('.')) {
        let what = format!("this is used in {used}, which can result in surprising behavior");
        told.push(format!("metadata.name: {what}; a DNS label is recommended: [must not contain dots]"));
    }
}

fn pod(spec: &Value, path: &str, told: &mut Vec<String>) {
    for (old, new) in OLD_NODE_LABELS {
        if spec["nodeSelector"].get(old).is_some() {
            told.push(format!("{path}.nodeSelector[{old}]: deprecated since v1.14; use {new:?} instead"));
        }
    }
    for (index, one) in list(&spec["topologySpreadConstraints"]).iter().enumerate() {
        if one["labelSelector"].is_null() {
            let place = format!("{path}.topologySpreadConstraints[{index}].labelSelector");
            told.push(format!("{place}: a null labelSelector results in matching no pod"));
        }
    }
    let aliases = list(&spec["hostAliases"]);
    for (index, one) in aliases.iter().enumerate() {
        if aliases[..index].iter().any(|it| it["ip"] == one["ip"]) {
            told.push(format!("{path}.hostAliases[{index}].ip: duplicate ip {}", one["ip"]));
        }
    }
    for (index, one) in list(&spec["imagePullSecrets"]).iter().enumerate() {
        if text(&one["name"]).is_empty() {
            told.push(format!("{path}.imagePullSecrets[{index}].name: invalid empty name \"\""));
        }
    }
    for field in ["initContainers", "containers"] {
        for (index, one) in list(&spec[field]).iter().enumerate() {
            container(one, &format!("{path}.{field}[{index}]"), told);
        }
    }
}

fn container(container: &Value, path: &str, told: &mut Vec<String>) {
    fractions(&container["resources"], &format!("{path}.resources"), told);
    let variables = list(&container["env"]);
    for (index, one) in variables.iter().enumerate() {
        if variables[..index].iter().any(|it| it["name"] == one["name"]) {
            let what = format!("hides previous definition of {}", one["name"]);
            told.push(format!("{path}.env[{index}]: {what}, which may be dropped when using apply"));
        }
    }
    let ports = list(&container["ports"]);
    for (index, one) in ports.iter().enumerate() {
        let same = |it: &Value| {
            ["containerPort", "protocol", "hostPort", "hostIP"].iter().all(|field| it[*field] == one[*field])
        };
        if let Some(first) = ports[..index].iter().position(same) {
            told.push(format!("{path}.ports[{index}]: duplicate port definition with {path}.ports[{first}]"));
        }
    }
}

/// Bytes come whole.
fn fractions(resources: &Value, path: &str, told: &mut Vec<String>) {
    for part in ["limits", "requests"] {
        for name in ["ephemeral-storage", "memory", "storage"] {
            let amount = resources[part][name].as_str().unwrap_or_default();
            if amount.ends_with('m') {
                let place = format!("{path}.{part}[{name}]");
                told.push(format!(
                    "{place}: fractional byte value {amount:?} is invalid, must be an integer"
                ));
            }
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apiserver::resources::find_kind;
    use serde_json::json;

    #[test]
    fn templates_are_looked_at_when_they_change() {
        let deployment = find_kind("apps/v1", "Deployment").unwrap();
        let object = json!({"spec": {"template": {"spec": {"containers": [{"name": "c",
            "env": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]}]}}}});
        let want = [
            "spec.template.spec.containers[0].env[1]: hides previous definition of \"A\", which may be dropped when using apply",
        ];
        assert_eq!(warnings(deployment, None, &object), want);
        assert_eq!(warnings(deployment, Some(&json!({"spec": {}})), &object), want);
        assert_eq!(warnings(deployment, Some(&object), &object), [""; 0]);
    }
}
