//! From a pod's Ready patch to the slice that shows it, ours and kube-controller-manager's, one after the other.
//!
//! `cargo bench --bench endpoints [-- --rounds 3 --changes 300 --services 1000 --rate 100 --seconds 20]`
//! With `KUBEBUILDER_ASSETS` the API server is the real one and kube-controller-manager takes turns with ours; else ours
//! alone works on the embedded one. Every controller runs in a process of its own without an election.
//!
//! One change at a time: the Ready condition of one pod after the other is patched. `ack` counts from the answer to the patch
//! to the watch event of the slice, `sent` from before the patch is sent. CPU is all time of the controller's process between the first
//! and the last change. At a rate: changes are sent at an even pace to different Services, `sent` as before.

#[path = "support/rivals.rs"]
mod rivals;
mod support;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::{Api, Client};
use rivals::{Controller, cluster, rivals};
use support::common;
use support::pods::{create_node, create_pods, create_services, set_ready};
use support::{argument, client_of, percentile};
use tokio::sync::mpsc;

/// When each endpoint was seen ready or not in a slice: `(pod, ready, when)`.
type Sightings = mpsc::UnboundedReceiver<(String, bool, Instant)>;

/// Watches all slices; tells of endpoints whose readiness changes.
async fn watch_slices(client: &Client) -> (Sightings, tokio::task::JoinHandle<()>) {
    let api: Api<EndpointSlice> = Api::default_namespaced(client.clone());
    let (sender, receiver) = mpsc::unbounded_channel();
    let list = api.list(&ListParams::default()).await.expect("listed");
    let mut version = list.metadata.resource_version.expect("a version");
    let mut known: HashMap<String, bool> = HashMap::new();
    for slice in list.items {
        known.extend(readiness(slice));
    }
    let task = tokio::spawn(async move {
        loop {
            let params = WatchParams::default().timeout(290);
            let mut events = api.watch(&params, &version).await.expect("watched").boxed();
            while let Ok(Some(event)) = events.try_next().await {
                let now = Instant::now();
                if let WatchEvent::Added(slice) | WatchEvent::Modified(slice) = event {
                    version = slice.metadata.resource_version.clone().expect("a version");
                    for (pod, ready) in readiness(slice) {
                        if known.insert(pod.clone(), ready) != Some(ready)
                            && sender.send((pod, ready, now)).is_err()
                        {
                            return;
                        }
                    }
                }
            }
        }
    });
    (receiver, task)
}

fn readiness(slice: EndpointSlice) -> impl Iterator<Item = (String, bool)> {
    slice.endpoints.unwrap_or_default().into_iter().filter_map(|it| {
        let ready = it.conditions.and_then(|it| it.ready).unwrap_or(true);
        Some((it.target_ref?.name?, ready))
    })
}

#[derive(Default)]
struct Measured {
    ack: Vec<f64>,
    sent: Vec<f64>,
    cpu: f64,
    changes: usize,
    rss: u64,
}

impl Measured {
    fn print(&mut self, what: &str, name: &str) {
        let (ack, sent) = (&mut self.ack, &mut self.sent);
        println!(
            "{what:34} {name:24} ack p50 {:6.2} p99 {:6.2} ms  sent p50 {:6.2} p99 {:6.2} ms  cpu {:6.2} ms/change  rss {:4} MiB",
            percentile(ack, 0.5),
            percentile(ack, 0.99),
            percentile(sent, 0.5),
            percentile(sent, 0.99),
            self.cpu * 1e3 / self.changes as f64,
            self.rss / 1024,
        );
    }
}

/// Waits until a slice shows the pod like this.
async fn seen(sightings: &mut Sightings, pod: &str, ready: bool) -> Instant {
    let wait = async {
        while let Some((name, now_ready, at)) = sightings.recv().await {
            if name == pod && now_ready == ready {
                return at;
            }
        }
        panic!("the watch ended")
    };
    tokio::time::timeout(Duration::from_secs(120), wait).await.expect("the slice shows the pod")
}

/// One change after the other, of pods of these Services in turn; every pod is ready before and after.
async fn one_at_a_time(
    client: &Client,
    controller: &Controller,
    pods: &[(String, usize)],
    changes: usize,
    measured: &mut Measured,
) {
    let api: Api<Pod> = Api::default_namespaced(client.clone());
    let (mut sightings, watch) = watch_slices(client).await;
    let mut before = common::cpu_seconds(controller.pid());
    for change in 0..changes + 10 {
        // The first ones warm up.
        if change == 10 {
            before = common::cpu_seconds(controller.pid());
        }
        let (service, number) = &pods[change / 2 % pods.len()];
        let ready = change % 2 == 1;
        let sent = Instant::now();
        set_ready(&api, service, *number, ready).await;
        let ack = Instant::now();
        let at = seen(&mut sightings, &format!("{service}-{number}"), ready).await;
        if change >= 10 {
            measured.ack.push(at.saturating_duration_since(ack).as_secs_f64() * 1e3);
            measured.sent.push((at - sent).as_secs_f64() * 1e3);
        }
    }
    watch.abort();
    measured.cpu += common::cpu_seconds(controller.pid()) - before;
    measured.changes += changes;
    measured.rss = measured.rss.max(common::resident_kib(controller.pid()));
}

/// Changes at an even pace, each of another Service.
async fn at_a_rate(
    client: &Client,
    controller: &Controller,
    pods: &[(String, usize)],
    rate: usize,
    seconds: usize,
    measured: &mut Measured,
) {
    let api: Api<Pod> = Api::default_namespaced(client.clone());
    let (mut sightings, watch) = watch_slices(client).await;
    let before = common::cpu_seconds(controller.pid());
    let mut ticks = tokio::time::interval(Duration::from_secs_f64(1.0 / rate as f64));
    let (sent_to, mut sent_from) = mpsc::unbounded_channel();
    let changes = rate * seconds / 2 * 2;
    let sender = async {
        for change in 0..changes {
            ticks.tick().await;
            // A pod is made unready in the first half, and ready again in the second.
            let half = changes / 2;
            let (service, number) = pods[change % half % pods.len()].clone();
            let (api, sent_to, ready) = (api.clone(), sent_to.clone(), change >= half);
            tokio::spawn(async move {
                let sent = Instant::now();
                set_ready(&api, &service, number, ready).await;
                sent_to.send((format!("{service}-{number}"), ready, sent, Instant::now())).expect("awaited");
            });
        }
    };
    let receiver = async {
        let (mut shown, mut asked) = (HashMap::new(), HashMap::new());
        while measured.sent.len() < changes {
            tokio::select! {
                Some((pod, ready, at)) = sightings.recv() => drop(shown.insert((pod, ready), at)),
                Some((pod, ready, sent, ack)) = sent_from.recv() => drop(asked.insert((pod, ready), (sent, ack))),
            }
            let done: Vec<_> = asked.keys().filter(|it| shown.contains_key(*it)).cloned().collect();
            for key in done {
                let ((sent, ack), at) = (asked[&key], shown[&key]);
                measured.ack.push(at.saturating_duration_since(ack).as_secs_f64() * 1e3);
                measured.sent.push((at - sent).as_secs_f64() * 1e3);
                asked.remove(&key);
                shown.remove(&key);
            }
        }
    };
    let both = async { tokio::join!(sender, receiver) };
    tokio::time::timeout(Duration::from_secs(300), both).await.expect("every change is shown");
    watch.abort();
    measured.cpu += common::cpu_seconds(controller.pid()) - before;
    measured.changes += changes;
    measured.rss = measured.rss.max(common::resident_kib(controller.pid()));
}

fn pods_of(service: &str, from: usize, count: usize) -> Vec<(String, usize)> {
    (from..from + count).map(|it| (service.to_owned(), it)).collect()
}

#[tokio::main]
async fn main() {
    let (rounds, changes) = (argument("--rounds", 3), argument("--changes", 300));
    let (services, rate, seconds) =
        (argument("--services", 1000), argument("--rate", 100), argument("--seconds", 20));
    let cluster = cluster::Cluster::start();
    let client = client_of(&cluster.kubeconfig()).await;
    create_node(&client).await;
    let (small, large) = (pods_of("small", 0, 10), pods_of("large", 10, 1000));
    let many: Vec<(String, usize)> = (0..services).map(|it| (format!("one-{it}"), 2000 + it)).collect();
    let mut names: Vec<String> = many.iter().map(|it| it.0.clone()).collect();
    names.extend(["small".to_owned(), "large".to_owned()]);
    create_services(&client, names).await;
    let all: Vec<_> = small.iter().chain(&large).chain(&many).cloned().collect();
    create_pods(&client, all.clone(), true).await;

    let controllers = rivals();
    let cases =
        ["Service of 10", "Service of 1,000", "one-pod Services, in turn", "one-pod Services, at a rate"];
    let mut results: HashMap<(usize, &str), Measured> = HashMap::new();
    for round in 0..rounds {
        for name in controllers {
            let controller =
                Controller::start(name, "endpointslice", "endpointslice-controller", &cluster.kubeconfig());
            complete(&client, all.len()).await;
            for (number, pods) in [&small, &large, &many].into_iter().enumerate() {
                // The pods of the large Service change one after the other, not all of the same slice.
                let step = (pods.len() / 100).max(1);
                let pods: Vec<_> = pods.iter().step_by(step).cloned().collect();
                let measured = results.entry((number, *name)).or_default();
                one_at_a_time(&client, &controller, &pods, changes, measured).await;
            }
            // Its receiver counts what it has of this round.
            let mut measured = Measured::default();
            at_a_rate(&client, &controller, &many, rate, seconds, &mut measured).await;
            let sum = results.entry((3, *name)).or_default();
            sum.ack.extend(measured.ack);
            sum.sent.extend(measured.sent);
            sum.cpu += measured.cpu;
            sum.changes += measured.changes;
            sum.rss = sum.rss.max(measured.rss);
        }
        eprintln!("round {} of {rounds}", round + 1);
    }
    println!(
        "{}",
        if cluster::real::assets().is_some() { "kube-apiserver and etcd" } else { "embedded API server" }
    );
    for (number, case) in cases.iter().enumerate() {
        for name in controllers {
            if let Some(measured) = results.get_mut(&(number, *name)) {
                measured.print(case, name);
            }
        }
    }
}

/// Waits until the slices have this many ready endpoints.
async fn complete(client: &Client, wanted: usize) {
    let api: Api<EndpointSlice> = Api::default_namespaced(client.clone());
    let deadline = Instant::now() + Duration::from_secs(300);
    loop {
        let list = api.list(&ListParams::default()).await.expect("listed");
        let ready = list.items.into_iter().flat_map(readiness).filter(|it| it.1).count();
        if ready == wanted {
            return;
        }
        assert!(Instant::now() < deadline, "{ready} of {wanted} endpoints");
        tokio::time::sleep(Duration::from_millis(200)).await; // allow-sleep: polls a condition, with a deadline
    }
}
