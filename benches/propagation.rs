//! From a pod's Ready patch to the changed DNS answer, over the real sockets of the real binary (PRM-1).
//!
//! `cargo bench --bench propagation [-- --changes 1000 --pods 10 --large 10000]` starts `ordinal up` without its simulated
//! node, makes a headless Service of `--pods` pods and one of `--large`, 0 for none, and flips the Ready condition of one
//! pod after the other, in the two by turns. A change counts from just before the patch is sent to the first answer that
//! shows it; the name is asked for without pause.
//! Prints p50, p99 and maximum in milliseconds for each, their ratio, and the resident memory of the server.

mod support;

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use support::common::{self, Ordinal};
use support::pods::{create_node, create_pods, create_services, set_ready};
use support::{argument, client, percentile};

/// A Service, the number of its first pod, and how many it has.
struct Group {
    service: &'static str,
    first: usize,
    pods: usize,
    /// Milliseconds of each change.
    taken: Vec<f64>,
}

#[tokio::main]
async fn main() {
    let changes = argument("--changes", 1000);
    let (pods, large) = (argument("--pods", 10), argument("--large", 10_000));
    let ordinal =
        Ordinal::up(&["--simulate-node=false", "--components=dns,endpointslice", "--log-level=warn"]);
    let client = client(&ordinal).await;
    let group = |service, first, pods| Group { service, first, pods, taken: Vec::with_capacity(changes) };
    let mut groups = vec![group("small", 0, pods)];
    groups.extend((large > 0).then(|| group("large", pods, large)));
    create_node(&client).await;
    create_services(&client, groups.iter().map(|it| it.service.to_owned()).collect()).await;
    let numbers = |it: &Group| (it.first..it.first + it.pods).map(|number| (it.service.to_owned(), number));
    create_pods(&client, groups.iter().flat_map(numbers).collect(), true).await;
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.connect(ordinal.dns()).expect("connected");
    socket.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
    for it in &groups {
        let last = it.first + it.pods - 1;
        let started = Instant::now();
        while !common::resolves(&socket, &name(it.service, last)) {
            assert!(started.elapsed() < Duration::from_secs(60), "{} is not complete", it.service);
        }
    }

    let api: Api<Pod> = Api::default_namespaced(client);
    for change in 0..changes {
        for group in &mut groups {
            let (service, number) = (group.service, group.first + change % group.pods);
            let ready = (change / group.pods) % 2 == 1;
            let started = Instant::now();
            let patched = tokio::spawn({
                let api = api.clone();
                async move { set_ready(&api, service, number, ready).await }
            });
            let socket = socket.try_clone().expect("cloned");
            let answered = tokio::task::spawn_blocking(move || {
                let name = name(service, number);
                while common::resolves(&socket, &name) != ready {
                    assert!(started.elapsed() < Duration::from_secs(10), "change {change} never showed");
                }
                started.elapsed()
            });
            group.taken.push(answered.await.expect("the prober ends").as_secs_f64() * 1e3);
            patched.await.expect("the patch is taken");
        }
    }
    let figures: Vec<[f64; 3]> =
        groups.iter_mut().map(|it| [0.5, 0.99, 1.0].map(|share| percentile(&mut it.taken, share))).collect();
    for (group, [p50, p99, max]) in groups.iter().zip(&figures) {
        println!(
            "propagation: {changes} changes, {} pods: p50 {p50:.2} ms, p99 {p99:.2} ms, max {max:.2} ms",
            group.pods
        );
    }
    if let [small, large] = &figures[..] {
        println!("ratio: p50 {:.2}, p99 {:.2}", large[0] / small[0], large[1] / small[1]);
    }
    println!("RSS {} KiB", common::resident_kib(ordinal.pid()));
}

fn name(service: &str, number: usize) -> String {
    format!("{service}-{number}.{service}.default.svc.cluster.local")
}
