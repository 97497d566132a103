//! What the embedded API server costs in process: writes, reads, a list of 10,000 pods, one event to 100 watchers, memory.
//!
//! `cargo bench --bench apiserver` prints a table with the goals; times are medians, so that other work on the machine
//! counts little.

use std::time::{Duration, Instant};

use axum::body::Body;
use http::{Method, Request};
use http_body_util::BodyExt as _;
use ordinal::apiserver::{ApiServer, Options};
use serde_json::{Value, json};
use tower::ServiceExt as _;

const PODS: usize = 10_000;
const WATCHERS: usize = 100;
const ROUNDS: usize = 1_000;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(run());
}

async fn run() {
    let started = Instant::now();
    let server = ApiServer::new(Options::default());
    let start = started.elapsed();
    let router = server.router();
    println!("{:48} {:>10} {:>10}", "in process", "goal", "median");
    row("start", "150 ms", start);

    let mut times = Vec::new();
    for number in 0..ROUNDS {
        times.push(timed(&router, Method::POST, "pods", Some(pod("w", number))).await);
    }
    row("create a pod", "100 us", median(&mut times));
    for number in 0..ROUNDS {
        times.push(timed(&router, Method::GET, &format!("pods/w-{number}"), None).await);
    }
    row("get a pod", "", median(&mut times));
    for number in 0..ROUNDS {
        let patch = json!({"metadata": {"labels": {"round": number.to_string()}}});
        times.push(timed(&router, Method::PATCH, &format!("pods/w-{}", number % 10), Some(patch)).await);
    }
    row("patch a label", "", median(&mut times));

    let before = resident();
    let mut bytes = 0;
    for number in 0..PODS {
        send(&router, Method::POST, "pods", Some(pod("m", number))).await;
    }
    let after = resident();
    for _ in 0..5 {
        let started = Instant::now();
        bytes = send(&router, Method::GET, "pods", None).await.len();
        times.push(started.elapsed());
    }
    row(&format!("list of {} pods, {} MB", PODS + ROUNDS, bytes / 1_000_000), "150 ms", median(&mut times));
    let of_json = bytes / (PODS + ROUNDS);
    let stored = after.saturating_sub(before) / PODS;
    let factor = stored as f64 / of_json as f64;
    println!(
        "{:48} {:>10} {factor:>10.2}",
        format!("memory of a pod of {of_json} bytes, {stored} bytes: factor"),
        "2.5"
    );

    for round in 0..20 {
        times.push(fan_out(&router, round).await);
    }
    row(&format!("an event reaches {WATCHERS} watchers"), "5 ms", median(&mut times));
}

fn row(what: &str, goal: &str, time: Duration) {
    let micros = time.as_secs_f64() * 1e6;
    let shown = if micros < 1_000.0 { format!("{micros:.0} us") } else { format!("{:.1} ms", micros / 1e3) };
    println!("{what:48} {goal:>10} {shown:>10}");
}

fn median(times: &mut Vec<Duration>) -> Duration {
    times.sort_unstable();
    let median = times[times.len() / 2];
    times.clear();
    median
}

fn pod(prefix: &str, number: usize) -> Value {
    json!({"metadata": {"name": format!("{prefix}-{number}"), "labels": {"app": prefix}},
        "spec": {"containers": [{"name": "c", "image": "nginx:1.27", "ports": [{"containerPort": 80}],
            "env": [{"name": "A", "value": "1"}], "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}}}]}})
}

fn request(method: Method, path: &str, body: Option<Value>) -> Request<Body> {
    let content = if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
    let body = body.map_or_else(Body::empty, |it| Body::from(it.to_string()));
    let uri = format!("/api/v1/namespaces/default/{path}");
    let request = Request::builder().method(method).uri(uri).header("content-type", content);
    request.header("user-agent", "bench/1").body(body).expect("a request")
}

async fn send(router: &axum::Router, method: Method, path: &str, body: Option<Value>) -> bytes::Bytes {
    let response = router.clone().oneshot(request(method, path, body)).await.expect("infallible");
    assert!(response.status().is_success(), "{path}: {}", response.status());
    response.into_body().collect().await.expect("a body").to_bytes()
}

async fn timed(router: &axum::Router, method: Method, path: &str, body: Option<Value>) -> Duration {
    let request = request(method, path, body);
    let started = Instant::now();
    let response = router.clone().oneshot(request).await.expect("infallible");
    let body = response.into_body().collect().await.expect("a body");
    let took = started.elapsed();
    drop(body);
    took
}

/// From the start of a write until the last of the watchers has its event.
async fn fan_out(router: &axum::Router, round: usize) -> Duration {
    let (ready, mut are_ready) = tokio::sync::mpsc::channel(WATCHERS);
    let (done, mut are_done) = tokio::sync::mpsc::channel(WATCHERS);
    let name = format!("fan-{round}");
    for _ in 0..WATCHERS {
        let (router, ready, done) = (router.clone(), ready.clone(), done.clone());
        let path = format!(
            "configmaps?watch=true&resourceVersion=0&fieldSelector=metadata.name={name}&allowWatchBookmarks=false"
        );
        tokio::spawn(async move {
            let response = router.oneshot(request(Method::GET, &path, None)).await.expect("infallible");
            let mut body = response.into_body();
            ready.send(()).await.expect("the bench waits");
            while let Some(Ok(frame)) = body.frame().await {
                if frame.data_ref().is_some_and(|it| !it.is_empty()) {
                    break;
                }
            }
            done.send(Instant::now()).await.expect("the bench waits");
        });
    }
    for _ in 0..WATCHERS {
        are_ready.recv().await;
    }
    let started = Instant::now();
    send(router, Method::POST, "configmaps", Some(json!({"metadata": {"name": name}}))).await;
    let mut last = started;
    for _ in 0..WATCHERS {
        last = last.max(are_done.recv().await.expect("every watcher tells"));
    }
    last - started
}

/// Resident memory of this process, in bytes.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: usize = text.split(' ').nth(1).and_then(|it| it.parse().ok()).unwrap_or(0);
    pages * 4096
}
