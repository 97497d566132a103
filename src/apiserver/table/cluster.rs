//! Rows of Nodes, Namespaces and the small kinds of configuration.

use super::{AGE, Column, NAME, count, created, list, name, text_or};
use jiff::Timestamp;
use serde_json::Value;

pub const NODE: &[Column] = &[
    NAME,
    Column::text("Status", "Readiness of the node."),
    Column::text("Roles", "Roles of the node."),
    AGE,
    Column::text("Version", "Version of the kubelet."),
    Column::text("Internal-IP", "Address inside the cluster.").wide(),
    Column::text("External-IP", "Address outside the cluster.").wide(),
    Column::text("OS-Image", "Operating system.").wide(),
    Column::text("Kernel-Version", "Version of the kernel.").wide(),
    Column::text("Container-Runtime", "Container runtime and its version.").wide(),
];
pub const NAMESPACE: &[Column] =
    &[NAME, Column::text("Status", "Whether objects can be created in the namespace."), AGE];
pub const CONFIG_MAP: &[Column] = &[NAME, Column::number("Data", "Number of keys."), AGE];
pub const SECRET: &[Column] =
    &[NAME, Column::text("Type", "What the secret is for."), Column::number("Data", "Number of keys."), AGE];
pub const SERVICE_ACCOUNT: &[Column] = &[NAME, AGE];
pub const LEASE: &[Column] = &[NAME, Column::text("Holder", "Identity of the current holder."), AGE];

pub fn node(object: &Value, now: Timestamp) -> Vec<Value> {
    let status = &object["status"];
    let ready = list(&status["conditions"]).iter().find(|it| it["type"] == "Ready");
    let mut state =
        ready.map_or("Unknown", |it| if it["status"] == "True" { "Ready" } else { "NotReady" }).to_owned();
    if object["spec"]["unschedulable"] == true {
        state.push_str(",SchedulingDisabled");
    }
    let address = |kind: &str| {
        let found = list(&status["addresses"]).iter().find(|it| it["type"] == kind);
        text_or(found.map_or(&Value::Null, |it| &it["address"]), "<none>")
    };
    let info = |field: &str| text_or(&status["nodeInfo"][field], "<unknown>");
    let kernel = match (info("kernelVersion"), status["nodeInfo"]["architecture"].as_str()) {
        (Value::String(version), Some(machine)) if !machine.is_empty() => {
            format!("{version} ({machine})").into()
        }
        (version, _) => version,
    };
    vec![
        name(object),
        state.into(),
        roles(object).into(),
        created(object, now),
        text_or(&status["nodeInfo"]["kubeletVersion"], ""),
        address("InternalIP"),
        address("ExternalIP"),
        info("osImage"),
        kernel,
        info("containerRuntimeVersion"),
    ]
}

fn roles(object: &Value) -> String {
    let mut roles: Vec<&str> = object["metadata"]["labels"]
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| match key.as_str() {
            "kubernetes.io/role" => value.as_str(),
            key => key.strip_prefix("node-role.kubernetes.io/"),
        })
        .filter(|it| !it.is_empty())
        .collect();
    roles.sort_unstable();
    roles.dedup();
    super::or_none(roles.join(","))
}

pub fn namespace(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![name(object), text_or(&object["status"]["phase"], ""), created(object, now)]
}

pub fn config_map(object: &Value, now: Timestamp) -> Vec<Value> {
    let keys = count(&object["data"]) + count(&object["binaryData"]);
    vec![name(object), keys.into(), created(object, now)]
}

pub fn secret(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![name(object), text_or(&object["type"], ""), count(&object["data"]).into(), created(object, now)]
}

pub fn service_account(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![name(object), created(object, now)]
}

pub fn lease(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![name(object), text_or(&object["spec"]["holderIdentity"], ""), created(object, now)]
}
