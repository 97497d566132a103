//! From a pod's Ready patch to the changed DNS answer, over the real sockets of the real binary.
//!
//! `cargo bench --bench propagation [-- --changes 1000 --pods 10]` starts `ordinal up` without its simulated node, makes a
//! headless Service with `--pods` pods, and flips the Ready condition of one pod after the other. A change counts from
//! just before the patch is sent to the first answer that shows it; the name is asked for without pause.
//! Prints p50, p99 and maximum in milliseconds, and the resident memory of the server.

mod support;

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;
use support::common::{self, Ordinal};
use support::{argument, client, create_headless_service};

#[tokio::main]
async fn main() {
    let (changes, pods) = (argument("--changes", 1000), argument("--pods", 10));
    let ordinal = Ordinal::up(&["--simulate-node=false", "--log-level=warn"]);
    let client = client(&ordinal).await;
    setup(&client, pods).await;
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.connect(ordinal.dns()).expect("connected");
    socket.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");

    let api: Api<Pod> = Api::default_namespaced(client);
    let mut taken: Vec<f64> = Vec::with_capacity(changes);
    let mut ready = vec![false; pods];
    for change in 0..changes {
        let ordinal_number = change % pods;
        let now_ready = !ready[ordinal_number];
        ready[ordinal_number] = now_ready;
        let patch = status(ordinal_number, now_ready);
        let started = Instant::now();
        let patched = tokio::spawn({
            let api = api.clone();
            async move {
                api.patch_status(
                    &format!("web-{ordinal_number}"),
                    &PatchParams::default(),
                    &Patch::Merge(patch),
                )
                .await
            }
        });
        let socket = socket.try_clone().expect("cloned");
        let answered = tokio::task::spawn_blocking(move || {
            let name = format!("web-{ordinal_number}.nginx.default.svc.cluster.local");
            while common::resolves(&socket, &name) != now_ready {
                assert!(started.elapsed() < Duration::from_secs(10), "change {change} never showed");
            }
            started.elapsed()
        });
        taken.push(answered.await.expect("the prober ends").as_secs_f64() * 1e3);
        patched.await.expect("the patch ends").expect("the patch is taken");
    }
    taken.sort_by(f64::total_cmp);
    let at = |share: f64| taken[((taken.len() - 1) as f64 * share).round() as usize];
    println!(
        "propagation: {changes} changes, {pods} pods: p50 {:.2} ms, p99 {:.2} ms, max {:.2} ms; RSS {} KiB",
        at(0.5),
        at(0.99),
        at(1.0),
        common::resident_kib(ordinal.pid()),
    );
}

async fn setup(client: &kube::Client, pods: usize) {
    let node: Node = serde_json::from_value(json!({"metadata": {"name": "bench"}})).expect("a node");
    Api::<Node>::all(client.clone()).create(&PostParams::default(), &node).await.expect("created");
    create_headless_service(client).await;
    let api: Api<Pod> = Api::default_namespaced(client.clone());
    for ordinal in 0..pods {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": format!("web-{ordinal}"), "labels": {"app": "nginx"}},
            "spec": {
                "nodeName": "bench", "hostname": format!("web-{ordinal}"), "subdomain": "nginx",
                "containers": [{"name": "nginx", "image": "nginx"}],
            },
        }))
        .expect("a pod");
        api.create(&PostParams::default(), &pod).await.expect("created");
        api.patch_status(
            &format!("web-{ordinal}"),
            &PatchParams::default(),
            &Patch::Merge(status(ordinal, false)),
        )
        .await
        .expect("patched");
    }
}

fn status(ordinal: usize, ready: bool) -> serde_json::Value {
    let ip = format!("10.{}.{}.{}", 10 + ordinal / 62_500, (ordinal / 250) % 250, ordinal % 250 + 1);
    json!({"status": {
        "phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}],
        "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}],
    }})
}
