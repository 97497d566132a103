//! The EndpointSlice controller in a large cluster: first slices, start, memory.
//!
//! `cargo bench --bench endpoints_scale [-- --services 10000 --pods 10]` fills an embedded API server in a process of its own
//! with headless Services of so many ready pods each, then runs `ordinal run --components=endpointslice` against it: once with
//! no slice there, and once more with all of them, which must write nothing.

mod support;

use std::time::{Duration, Instant};

use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::ListParams;
use kube::{Api, Client};
use support::common::{self, Ordinal};
use support::pods::{create_node, create_pods, create_services};
use support::{argument, client};

/// The value of a series without labels, or with exactly these.
fn metric(ordinal: &Ordinal, series: &str) -> f64 {
    let (_, text) = ordinal.http_get("/metrics");
    let line = text.lines().find_map(|it| it.strip_prefix(series)?.strip_prefix(' '));
    line.and_then(|it| it.parse().ok()).unwrap_or(0.0)
}

fn writes(ordinal: &Ordinal) -> f64 {
    let of = |operation: &str| {
        metric(ordinal, &format!("endpoint_slice_controller_changes{{operation=\"{operation}\"}}"))
    };
    of("create") + of("update") + of("delete")
}

async fn endpoints(client: &Client) -> usize {
    let api: Api<EndpointSlice> = Api::default_namespaced(client.clone());
    let list = api.list(&ListParams::default()).await.expect("listed");
    list.items.iter().map(|it| it.endpoints.as_ref().map_or(0, Vec::len)).sum()
}

#[tokio::main]
async fn main() {
    let (services, pods) = (argument("--services", 10_000), argument("--pods", 10));
    let server = Ordinal::up(&["--components=", "--simulate-node=false", "--log-level=warn"]);
    let client = client(&server).await;
    create_node(&client).await;
    let began = Instant::now();
    create_services(&client, (0..services).map(|it| format!("web-{it}")).collect()).await;
    let all = (0..services * pods).map(|it| (format!("web-{}", it / pods), it)).collect();
    create_pods(&client, all, true).await;
    println!(
        "data: {services} Services, {} pods in {:.0} s; API server {} MiB",
        services * pods,
        began.elapsed().as_secs_f64(),
        common::resident_kib(server.pid()) / 1024
    );
    for what in ["no slice there", "every slice there"] {
        let began = Instant::now();
        let args = ["--components=endpointslice", "--leader-elect=false", "--log-level=warn"];
        let ordinal = Ordinal::run(&server.kubeconfig(), &args);
        let synced = began.elapsed();
        // Every Service was looked at, and nothing more is written.
        let success = "endpoint_slice_controller_syncs{result=\"success\"}";
        let deadline = Instant::now() + Duration::from_secs(300);
        while metric(&ordinal, success) < services as f64 {
            assert!(Instant::now() < deadline, "{} Services", metric(&ordinal, success));
            tokio::time::sleep(Duration::from_millis(20)).await; // allow-sleep: polls a condition, with a deadline
        }
        println!(
            "{what}: caches filled after {:.2} s, all planned and written {:.2} s later, {} writes, {} MiB, {:.1} s CPU",
            synced.as_secs_f64(),
            began.elapsed().as_secs_f64() - synced.as_secs_f64(),
            writes(&ordinal),
            common::resident_kib(ordinal.pid()) / 1024,
            common::cpu_seconds(ordinal.pid()),
        );
        assert_eq!(endpoints(&client).await, services * pods);
    }
}
