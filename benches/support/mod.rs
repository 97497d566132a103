//! What the whole-system benches share.

use k8s_openapi::api::core::v1::Service;
use kube::api::PostParams;
use kube::{Api, Client};
use serde_json::json;

#[path = "../../tests/common/mod.rs"]
pub mod common;

use common::Ordinal;

/// The number after `name` on the command line.
pub fn argument(name: &str, default: usize) -> usize {
    let mut args = std::env::args();
    args.find(|it| it == name).and_then(|_| args.next()).and_then(|it| it.parse().ok()).unwrap_or(default)
}

/// A client of the server's loopback socket, through its kubeconfig.
pub async fn client(ordinal: &Ordinal) -> Client {
    let kubeconfig = kube::config::Kubeconfig::read_from(ordinal.kubeconfig()).expect("our kubeconfig");
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await.expect("usable");
    Client::try_from(config).expect("a client")
}

/// The headless Service `nginx` over `app=nginx` with the port `web`.
pub async fn create_headless_service(client: &Client) {
    let service: Service = serde_json::from_value(json!({
        "metadata": {"name": "nginx"},
        "spec": {"clusterIP": "None", "selector": {"app": "nginx"}, "ports": [{"name": "web", "port": 80}]},
    }))
    .expect("a service");
    Api::<Service>::default_namespaced(client.clone())
        .create(&PostParams::default(), &service)
        .await
        .expect("created");
}
