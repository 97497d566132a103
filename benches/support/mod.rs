//! What the whole-system benches share.
#![allow(dead_code, reason = "every bench uses a part of it")]

use k8s_openapi::api::core::v1::Service;
use kube::api::PostParams;
use kube::{Api, Client};
use serde_json::json;

#[path = "../../tests/common/mod.rs"]
pub mod common;

pub mod pods;

use std::path::Path;

use common::Ordinal;

/// The number after `name` on the command line.
pub fn argument(name: &str, default: usize) -> usize {
    let mut args = std::env::args();
    args.find(|it| it == name).and_then(|_| args.next()).and_then(|it| it.parse().ok()).unwrap_or(default)
}

/// A client of the server's loopback socket, through its kubeconfig.
pub async fn client(ordinal: &Ordinal) -> Client {
    client_of(&ordinal.kubeconfig()).await
}

/// A client of the API server of a kubeconfig file.
pub async fn client_of(kubeconfig: &Path) -> Client {
    let kubeconfig = kube::config::Kubeconfig::read_from(kubeconfig).expect("a kubeconfig");
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

/// The value below which this share of the values is; they are sorted on the way.
pub fn percentile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let last = values.len().saturating_sub(1) as f64;
    values.get((last * share).round() as usize).copied().unwrap_or(f64::NAN)
}
