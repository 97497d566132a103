//! The embedded API server over HTTP beside kube-apiserver and etcd: creates, reads, a long list, a watch with many readers.
//!
//! `cargo bench --bench apiserver_http [-- --rounds 3 --pods 10000]`
//! With `KUBEBUILDER_ASSETS` the two take turns; else the embedded one is alone. Each is in a process of its own and nobody
//! else works on its objects: no controllers, and pods that no scheduler takes. The client is the same for both: kube's,
//! with bodies made before the clock starts and answers that nobody decodes. It shares the two CPUs with the server, so
//! the CPU time of the server's processes is told beside the wall time. etcd does not wait for the disk
//! (`--unsafe-no-fsync`), as the embedded server does not without a data directory.

#[path = "../tests/common/cluster.rs"]
mod cluster;
mod support;

use std::collections::BTreeMap;
use std::time::Instant;

use cluster::real::{Real, Setup, assets};
use futures::{AsyncBufReadExt as _, StreamExt as _};
use http::Request;
use kube::Client;
use serde_json::json;
use support::common;
use support::common::{Ordinal, cpu_seconds, resident_kib};
use support::{argument, client_of, percentile};

const CLIENTS: usize = 16;
const WATCHERS: usize = 100;
const EVENTS: usize = 50;

/// A server in a process, or two, of its own.
enum Server {
    Embedded(Ordinal),
    Real(Box<Real>),
}

impl Server {
    fn start(name: &str) -> Self {
        if name == "ordinal" {
            return Self::Embedded(Ordinal::up_fast(&["--components=", "--simulate-node=false"]));
        }
        let mut real = Real::start(&assets().expect("asked for"), &Setup::default());
        real.end_rest();
        Self::Real(Box::new(real))
    }

    fn kubeconfig(&self) -> std::path::PathBuf {
        match self {
            Self::Embedded(it) => it.kubeconfig(),
            Self::Real(it) => it.kubeconfig(),
        }
    }

    fn pids(&self) -> Vec<u32> {
        match self {
            Self::Embedded(it) => vec![it.pid()],
            Self::Real(it) => it.pids(),
        }
    }

    fn cpu(&self) -> f64 {
        self.pids().into_iter().map(cpu_seconds).sum()
    }

    fn resident(&self) -> f64 {
        self.pids().into_iter().map(resident_kib).sum::<u64>() as f64 / 1024.0
    }
}

/// Rows of the table: what, and for each server what was measured in each round.
type Results = BTreeMap<(usize, &'static str), BTreeMap<&'static str, Vec<f64>>>;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let (rounds, pods) = (argument("--rounds", 3), argument("--pods", 10_000));
    let servers: &[&str] = if assets().is_some() { &["ordinal", "kube-apiserver"] } else { &["ordinal"] };
    let mut results = Results::new();
    for round in 0..rounds {
        for name in servers {
            let server = Server::start(name);
            runtime.block_on(measure(name, &server, pods, &mut results));
            eprintln!("round {}: {name} is done", round + 1);
        }
    }
    println!("{:44} {:>20} {:>20} {:>8}", "median of the rounds", "ordinal", "kube-apiserver", "ratio");
    for ((_, what), by_server) in &mut results {
        let mut median = |name| by_server.get_mut(name).map_or(f64::NAN, |it| percentile(it, 0.5));
        let (ours, theirs) = (median("ordinal"), median("kube-apiserver"));
        println!("{what:44} {ours:>20.2} {theirs:>20.2} {:>8.2}", ours / theirs);
    }
}

async fn measure(name: &'static str, server: &Server, pods: usize, results: &mut Results) {
    let client = client_of(&server.kubeconfig()).await;
    let mut row = 0;
    let mut tell = |what, value| {
        row += 1;
        results.entry((row, what)).or_default().entry(name).or_default().push(value);
    };
    let before = server.resident();

    let mut times = Vec::new();
    for number in 0..1_000 {
        times.push(timed(&client, "POST", "pods", pod("one", number)).await);
    }
    tell("create, one client: p50 ms", percentile(&mut times, 0.5));
    tell("create, one client: p99 ms", percentile(&mut times, 0.99));

    let bodies: Vec<String> = (0..pods).map(|it| pod("many", it)).collect();
    let shares: Vec<Vec<String>> = bodies.chunks(pods.div_ceil(CLIENTS)).map(<[_]>::to_vec).collect();
    let (cpu, started) = (server.cpu(), Instant::now());
    let tasks: Vec<_> = shares
        .into_iter()
        .map(|bodies| {
            let client = client.clone();
            tokio::spawn(async move {
                for body in bodies {
                    timed(&client, "POST", "pods", body).await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("every create succeeds");
    }
    tell("creates/s, 16 clients", pods as f64 / started.elapsed().as_secs_f64());
    tell("CPU us of the server, a create", (server.cpu() - cpu) / pods as f64 * 1e6);
    tell("memory a pod, KiB", (server.resident() - before) * 1024.0 / (pods + 1_000) as f64);

    for number in 0..1_000 {
        times.push(timed(&client, "GET", &format!("pods/one-{number}"), String::new()).await);
    }
    tell("get: p50 ms", percentile(&mut times, 0.5));
    times.clear();
    for number in 0..1_000 {
        let patch = json!({"metadata": {"labels": {"round": number.to_string()}}}).to_string();
        times.push(timed(&client, "PATCH", &format!("pods/one-{}", number % 10), patch).await);
    }
    tell("patch a label: p50 ms", percentile(&mut times, 0.5));
    times.clear();
    for _ in 0..5 {
        times.push(timed(&client, "GET", "pods", String::new()).await);
    }
    tell("list of all pods: p50 ms", percentile(&mut times, 0.5));
    let mut times = fan_out(&client).await;
    tell("an event reaches 100 watchers: p50 ms", percentile(&mut times, 0.5));
    tell("an event reaches 100 watchers: p99 ms", percentile(&mut times, 0.99));
}

fn pod(prefix: &str, number: usize) -> String {
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": format!("{prefix}-{number}"), "labels": {"app": prefix}},
        "spec": {"schedulerName": "nobody", "containers": [{"name": "c", "image": "nginx:1.27", "ports": [{"containerPort": 80}],
            "env": [{"name": "A", "value": "1"}], "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}}}]}})
    .to_string()
}

/// Milliseconds until the whole answer is there.
async fn timed(client: &Client, method: &str, path: &str, body: String) -> f64 {
    let content = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
    let request = Request::builder().method(method).uri(format!("/api/v1/namespaces/default/{path}"));
    let request = request.header("content-type", content).body(body.into_bytes()).expect("a request");
    let started = Instant::now();
    let text = client.request_text(request).await;
    let took = started.elapsed().as_secs_f64() * 1e3;
    text.unwrap_or_else(|error| panic!("{method} {path}: {error}"));
    took
}

/// Milliseconds from the start of each of some writes until the last of the watchers has read its event.
async fn fan_out(client: &Client) -> Vec<f64> {
    let made = timed(client, "POST", "configmaps", json!({"metadata": {"name": "fan"}}).to_string()).await;
    assert!(made > 0.0);
    let (seen, mut saw) = tokio::sync::mpsc::channel(WATCHERS);
    for _ in 0..WATCHERS {
        let uri = "/api/v1/namespaces/default/configmaps?watch=true&resourceVersion=0&fieldSelector=metadata.name=fan";
        let request = Request::builder().uri(uri).body(Vec::new()).expect("a request");
        let (client, seen) = (client.clone(), seen.clone());
        tokio::spawn(async move {
            let mut lines = client.request_stream(request).await.expect("a watch").lines();
            while let Some(Ok(line)) = lines.next().await {
                if seen.send((Instant::now(), line.len())).await.is_err() {
                    return;
                }
            }
        });
    }
    let mut times = Vec::new();
    for round in 0..=EVENTS {
        // The first event of each tells what is there.
        let started = Instant::now();
        if round > 0 {
            let patch = json!({"data": {"round": round.to_string()}}).to_string();
            timed(client, "PATCH", "configmaps/fan", patch).await;
        }
        let mut last = started;
        for _ in 0..WATCHERS {
            last = last.max(saw.recv().await.expect("every watcher tells").0);
        }
        if round > 0 {
            times.push((last - started).as_secs_f64() * 1e3);
        }
    }
    times
}
