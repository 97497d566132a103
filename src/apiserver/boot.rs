//! The objects every cluster has before anybody asks.

use crate::apiserver::create;
use crate::apiserver::request::{Commit, Target};
use crate::apiserver::resources::{self, Resource};
use crate::apiserver::server::ApiServer;
use serde_json::{Value, json};

/// Namespaces that exist from the start.
pub const NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];

/// Creates what is missing of the boot objects.
pub fn populate(server: &ApiServer) {
    for namespace in NAMESPACES {
        ensure(server, "v1", "Namespace", "", json!({"metadata": {"name": namespace}}));
        ensure(server, "v1", "ServiceAccount", namespace, json!({"metadata": {"name": "default"}}));
    }
    let address = server.store().write().allocations.first().to_string();
    ensure(
        server,
        "v1",
        "Service",
        "default",
        json!({
            "metadata": {
                "name": "kubernetes",
                "labels": {"component": "apiserver", "provider": "kubernetes"},
            },
            "spec": {
                "type": "ClusterIP",
                "clusterIP": address,
                "clusterIPs": [address],
                "ports": [{"name": "https", "protocol": "TCP", "port": 443, "targetPort": 6443}],
            },
        }),
    );
    ensure(
        server,
        "storage.k8s.io/v1",
        "StorageClass",
        "",
        json!({
            "metadata": {
                "name": "standard",
                "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
            },
            "provisioner": "ordinal.dev/simulated",
            "reclaimPolicy": "Delete",
            "volumeBindingMode": "Immediate",
            "allowVolumeExpansion": true,
        }),
    );
}

/// Creates an object of the server's own; one that exists is left as it is.
pub fn ensure(server: &ApiServer, api_version: &str, kind: &str, namespace: &str, mut object: Value) {
    let resource: &'static Resource =
        resources::find_kind(api_version, kind).expect("boot objects are of served kinds");
    object["apiVersion"] = api_version.into();
    object["kind"] = kind.into();
    let target = Target { resource, namespace: namespace.to_owned(), name: None, subresource: String::new() };
    let mut writer = server.store().write();
    match create::insert(server, &mut writer, &target, object, Commit::Keep, None) {
        Ok(_) => {}
        Err(status) if status.reason == "AlreadyExists" => {}
        Err(status) => {
            tracing::warn!(object.kind = kind, error = status.message, "boot object not created");
        }
    }
}
