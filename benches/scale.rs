//! One Parallel StatefulSet of many pods: from `kubectl scale` to every pod Ready and every name resolving.
//!
//! `cargo bench --bench scale [-- --replicas 1000]` starts `ordinal up` with zero pod delays, times the ready line,
//! scales a Parallel set from 0 and waits until the set reports every replica ready and every pod's own name has an answer.
//! Prints the times, the resident memory and the CPU time of the server.

mod support;

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::StatefulSet;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;
use support::common::{self, Ordinal, wait_until};
use support::{argument, client, create_headless_service};

#[tokio::main]
async fn main() {
    let replicas = argument("--replicas", 1000);
    let ordinal = Ordinal::up_fast(&["--log-level=warn", "--max-udp-payload=1232"]);
    let idle = common::resident_kib(ordinal.pid());
    let client = client(&ordinal).await;
    create_headless_service(&client).await;
    let set: StatefulSet = serde_json::from_value(json!({
        "metadata": {"name": "web"},
        "spec": {
            "serviceName": "nginx", "replicas": 0, "podManagementPolicy": "Parallel",
            "selector": {"matchLabels": {"app": "nginx"}},
            "template": {
                "metadata": {"labels": {"app": "nginx"}},
                "spec": {"containers": [{"name": "nginx", "image": "nginx"}]},
            },
        },
    }))
    .expect("a set");
    let api: Api<StatefulSet> = Api::default_namespaced(client);
    api.create(&PostParams::default(), &set).await.expect("created");

    let started = Instant::now();
    let scale = Patch::Merge(json!({"spec": {"replicas": replicas}}));
    api.patch("web", &PatchParams::default(), &scale).await.expect("scaled");
    loop {
        let status = api.get("web").await.expect("there").status.unwrap_or_default();
        if status.ready_replicas == i32::try_from(replicas).ok() {
            break;
        }
        assert!(started.elapsed() < Duration::from_secs(300), "stuck at {status:?}");
        tokio::time::sleep(Duration::from_millis(20)).await; // allow-sleep: polls a condition, with a deadline
    }
    let all_ready = started.elapsed();
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.connect(ordinal.dns()).expect("connected");
    socket.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
    for number in 0..replicas {
        wait_until("the name", || {
            common::resolves(&socket, &format!("web-{number}.nginx.default.svc.cluster.local"))
        });
    }
    println!(
        "scale: ready line after {:.0} ms; {replicas} pods Ready after {:.2} s, all resolving after {:.2} s; CPU {:.2} s; \
         RSS {} KiB (idle {idle} KiB)",
        ordinal.took.as_secs_f64() * 1e3,
        all_ready.as_secs_f64(),
        started.elapsed().as_secs_f64(),
        common::cpu_seconds(ordinal.pid()),
        common::resident_kib(ordinal.pid()),
    );
}
