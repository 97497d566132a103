//! What it costs to answer a write only when it is on disk: creates in process, in memory and with a data directory.
//!
//! `cargo bench --bench data_dir` prints a row for each number of clients. The folder is in the one for temporary files
//! (`TMPDIR`): its disk decides.

use std::path::Path;
use std::time::{Duration, Instant};

use axum::body::Body;
use http::Request;
use ordinal::apiserver::journal::folder::Folder;
use ordinal::apiserver::{ApiServer, Options};
use serde_json::json;
use tower::ServiceExt as _;

/// Creates per client.
const ROUNDS: usize = 2_000;
const CLIENTS: [usize; 3] = [1, 16, 128];

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    println!("{:>8} {:>12} {:>10} {:>10} {:>10}", "clients", "where", "creates/s", "p50 us", "p99 us");
    for clients in CLIENTS {
        let directory = tempfile::tempdir().expect("a directory");
        row(clients, "memory", &runtime.block_on(measure(ApiServer::new(Options::default()), clients)));
        row(clients, "data dir", &runtime.block_on(measure(open(directory.path()), clients)));
    }
    println!("\n{:>8} {:>12} {:>10}", "objects", "file", "open ms");
    for objects in [1_000, 10_000] {
        let directory = tempfile::tempdir().expect("a directory");
        runtime.block_on(measure_some(open(directory.path()), 128, objects));
        let size = std::fs::metadata(directory.path().join("ordinal.redb")).expect("there").len() / 1024;
        let began = Instant::now();
        drop(open(directory.path()));
        println!("{objects:>8} {size:>8} KiB {:>10.1}", began.elapsed().as_secs_f64() * 1e3);
    }
}

fn open(path: &Path) -> ApiServer {
    ApiServer::open(Options::default(), Folder::open(path, "/bench").expect("a new folder"))
}

/// The time of each create, and of all.
struct Measured {
    took: Vec<Duration>,
    all: Duration,
}

async fn measure(server: ApiServer, clients: usize) -> Measured {
    measure_some(server, clients, ROUNDS * clients.min(16)).await
}

async fn measure_some(server: ApiServer, clients: usize, creates: usize) -> Measured {
    let began = Instant::now();
    let tasks = (0..clients).map(|client| {
        let router = server.router();
        tokio::spawn(async move {
            let mut took = Vec::new();
            for turn in 0..creates / clients {
                let body = json!({
                    "metadata": { "name": format!("map-{client}-{turn}") }, "data": { "key": "x".repeat(1_000) },
                });
                let request = Request::post("/api/v1/namespaces/default/configmaps")
                    .header("content-type", "application/json")
                    .body(Body::from(body.to_string()))
                    .expect("a request");
                let began = Instant::now();
                let response = router.clone().oneshot(request).await.expect("an answer");
                assert_eq!(response.status(), 201);
                took.push(began.elapsed());
            }
            took
        })
    });
    let took = futures::future::join_all(tasks.collect::<Vec<_>>()).await;
    let took = took.into_iter().flat_map(|it| it.expect("no client panics")).collect();
    Measured { took, all: began.elapsed() }
}

fn row(clients: usize, place: &str, measured: &Measured) {
    let mut sorted = measured.took.clone();
    sorted.sort_unstable();
    let at = |share: f64| sorted[(sorted.len() as f64 * share) as usize].as_secs_f64() * 1e6;
    let rate = sorted.len() as f64 / measured.all.as_secs_f64();
    println!("{clients:>8} {place:>12} {rate:>10.0} {:>10.0} {:>10.0}", at(0.5), at(0.99));
}
