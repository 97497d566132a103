//! Every write of a rollout meets every fault, and every view of the cluster breaks at every write: the controllers as they
//! run, the embedded API server behind a client that fails on purpose, the simulated node, and a clock that only moves when
//! nothing else does.
//!
//! After each write that gets through, the objects are judged: sets ask for no more than replicas + surge, no set has more
//! pods than it was ever allowed, and no deletion of ours leaves fewer available pods than the strategy promises. In the
//! end everything is as the Deployment says (LIV-1), and stays so without a write (LIV-2).
//! `cargo test` runs a sample, `ORDINAL_PROOF=full` every cell.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, Bytes};
use futures::StreamExt as _;
use http::{Method, Request, Response};
use http_body_util::BodyExt as _;
use kube::Client;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tower::{BoxError, ServiceExt as _};

use super::{Controller, Options, World};
use crate::apiserver::{self, ApiServer};
use crate::node;
use crate::runtime::{ControllerMetrics, Readiness};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// The process dies before the write is sent.
    CrashBefore,
    /// It dies when the write is committed, and never hears of it.
    CrashAfter,
    /// No answer, but the write is committed.
    TimeoutCommitted,
    /// No answer, and the write is lost.
    TimeoutLost,
    /// 409.
    Conflict,
    /// 500, and the write is lost.
    InternalError,
    /// 429.
    TooMany,
    /// 403.
    Forbidden,
}

const FAULTS: [Fault; 8] = [
    Fault::CrashBefore,
    Fault::CrashAfter,
    Fault::TimeoutCommitted,
    Fault::TimeoutLost,
    Fault::Conflict,
    Fault::InternalError,
    Fault::TooMany,
    Fault::Forbidden,
];

/// What happens to the watch of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum View {
    /// It shows nothing for a while, and nobody is told.
    Silent,
    /// It ends.
    Cut,
    /// It ends, and what came meanwhile is not kept: list again.
    Expired,
}

const VIEWS: [View; 3] = [View::Silent, View::Cut, View::Expired];
const STREAMS: [&str; 3] = ["pods", "replicasets", "deployments"];
/// Longer than every retry of the controllers that could make up for it in time.
const SILENCE: Duration = Duration::from_secs(20);

/// What goes wrong in one history, and at which write.
#[derive(Debug, Clone, Copy)]
enum Trap {
    Write(usize, Fault),
    Watch(usize, &'static str, View),
}

/// What is broken, and where the writes stand.
#[derive(Default)]
struct Record {
    writes: usize,
    trap: Option<Trap>,
    /// What every open watch is told when its time has come.
    watches: Option<(&'static str, View)>,
    broken: Vec<String>,
    log: Vec<String>,
}

#[derive(Clone)]
struct Gateway {
    server: ApiServer,
    record: Arc<Mutex<Record>>,
    crash: Arc<Notify>,
    /// Tells the watches.
    broken: Arc<Notify>,
}

impl Gateway {
    fn client(&self) -> Client {
        let gateway = self.clone();
        let service = tower::service_fn(move |request: Request<kube::client::Body>| {
            let gateway = gateway.clone();
            async move { gateway.answer(request).await }
        });
        Client::new(service, "default")
    }

    async fn send(&self, request: Request<Body>) -> Result<Response<Body>, BoxError> {
        Ok(self.server.router().oneshot(request).await?)
    }

    async fn answer(&self, request: Request<kube::client::Body>) -> Result<Response<Body>, BoxError> {
        let (parts, body) = request.into_parts();
        let bytes = body.collect().await?.to_bytes();
        let path = parts.uri.path().to_owned();
        let method = parts.method.clone();
        // Of a pod that is created: its set.
        let body: Value = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        let owner = body["metadata"]["ownerReferences"][0]["uid"].as_str().unwrap_or_default().to_owned();
        let request = Request::from_parts(parts, Body::from(bytes));
        if method == Method::GET {
            let watches = request.uri().query().is_some_and(|it| it.contains("watch=true"));
            let response = self.send(request).await?;
            return Ok(if watches { self.watched(&path, response) } else { response });
        }
        if path.contains("/events") {
            return self.send(request).await;
        }
        let fault = {
            let mut record = self.record.lock().unwrap();
            let index = record.writes;
            record.writes += 1;
            let fault = match record.trap {
                Some(Trap::Write(at, fault)) if at == index => Some(fault),
                Some(Trap::Watch(at, stream, view)) if at == index => {
                    record.watches = Some((stream, view));
                    record.log.push(format!("{view:?} {stream}"));
                    self.broken.notify_waiters();
                    None
                }
                _ => None,
            };
            record.log.push(format!(
                "{index} {method} {path} {}",
                fault.map_or_else(String::new, |it| format!("{it:?}"))
            ));
            fault
        };
        let die = async || -> Result<Response<Body>, BoxError> {
            self.crash.notify_one();
            std::future::pending().await
        };
        match fault {
            Some(Fault::CrashBefore) => die().await,
            Some(Fault::CrashAfter) => {
                self.send(request).await?;
                self.judge(&method, &path, &owner).await;
                die().await
            }
            Some(Fault::TimeoutLost) => Err("deadline has elapsed".into()),
            Some(Fault::TimeoutCommitted) => {
                self.send(request).await?;
                self.judge(&method, &path, &owner).await;
                Err("deadline has elapsed".into())
            }
            Some(Fault::Conflict) => refuse(409, "Conflict"),
            Some(Fault::InternalError) => refuse(500, "InternalError"),
            Some(Fault::TooMany) => refuse(429, "TooManyRequests"),
            Some(Fault::Forbidden) => refuse(403, "Forbidden"),
            None => {
                let response = self.send(request).await?;
                self.judge(&method, &path, &owner).await;
                Ok(response)
            }
        }
    }

    /// A watch that breaks when its time has come.
    fn watched(&self, path: &str, response: Response<Body>) -> Response<Body> {
        let Some(stream) = STREAMS.into_iter().find(|it| path.ends_with(&format!("/{it}"))) else {
            return response;
        };
        let (parts, body) = response.into_parts();
        let chunks = futures::stream::unfold(
            Some((self.clone(), Box::pin(body.into_data_stream()))),
            async move |state| {
                let (gateway, mut chunks) = state?;
                loop {
                    let news = Arc::clone(&gateway.broken);
                    let mut told = std::pin::pin!(news.notified());
                    told.as_mut().enable();
                    match gateway.broken_view(stream) {
                        Some(View::Silent) => tokio::time::sleep(SILENCE).await, // allow-sleep: the clock is paused
                        Some(View::Cut) => return None,
                        Some(View::Expired) => return Some((Ok(expired()), None)),
                        None => {}
                    }
                    tokio::select! {
                        chunk = chunks.next() => return Some((chunk?, Some((gateway, chunks)))),
                        () = told => {}
                    }
                }
            },
        );
        Response::from_parts(parts, Body::from_stream(chunks))
    }

    /// What the watch of `stream` is told now; once.
    fn broken_view(&self, stream: &str) -> Option<View> {
        self.record.lock().unwrap().watches.take_if(|it| it.0 == stream).map(|it| it.1)
    }

    async fn list(&self, path: &str) -> Vec<Value> {
        let request = Request::get(path).body(Body::empty()).expect("a request");
        let response = self.send(request).await.expect("an answer");
        let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.expect("a body");
        let list: Value = serde_json::from_slice(&bytes).expect("JSON");
        list["items"].as_array().cloned().unwrap_or_default()
    }

    /// Looks at everything after a write.
    async fn judge(&self, method: &Method, path: &str, owner: &str) {
        let deployments = self.list("/apis/apps/v1/namespaces/default/deployments").await;
        let Some(web) = deployments.first() else { return };
        let sets = self.list("/apis/apps/v1/namespaces/default/replicasets").await;
        let pods = self.list("/api/v1/namespaces/default/pods").await;
        let replicas = web["spec"]["replicas"].as_u64().unwrap_or(1);
        let asked: u64 = sets.iter().filter_map(|it| it["spec"]["replicas"].as_u64()).sum();
        let mut broken = Vec::new();
        let sized = path.contains("/replicasets") && !path.ends_with("/status");
        let scaled_down = sets.iter().any(|it| {
            let noted = it["metadata"]["annotations"]["deployment.kubernetes.io/desired-replicas"].as_str();
            it["spec"]["replicas"] != 0 && noted.is_some_and(|it| it.parse() != Ok(replicas))
        });
        if sized && asked > replicas + 1 && !scaled_down {
            broken.push(format!("the sets ask for {asked} pods, {replicas} + 1 are allowed"));
        }
        let active = |it: &&Value| it["metadata"]["deletionTimestamp"].is_null();
        for set in sets.iter().filter(|it| it["metadata"]["uid"] == owner) {
            let owned = |it: &&Value| it["metadata"]["ownerReferences"][0]["uid"] == set["metadata"]["uid"];
            let have = pods.iter().filter(active).filter(owned).count() as u64;
            let may = set["spec"]["replicas"].as_u64().unwrap_or(0);
            if *method == Method::POST && path.ends_with("/pods") && have > may {
                broken.push(format!("{} has {have} pods and may have {may}", set["metadata"]["name"]));
            }
        }
        let ready = pods.iter().filter(active).filter(|it| {
            let conditions = it["status"]["conditions"].as_array().into_iter().flatten();
            conditions.into_iter().any(|it| it["type"] == "Ready" && it["status"] == "True")
        });
        let ready = ready.count() as u64;
        if *method == Method::DELETE && path.contains("/pods/") && ready < replicas - 1 {
            broken.push(format!("{ready} pods are available, {replicas} - 1 are promised"));
        }
        self.record.lock().unwrap().broken.extend(broken);
    }
}

/// What a watch says whose version is too old.
fn expired() -> Bytes {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": "too old resource version", "reason": "Expired", "code": 410,
    });
    format!("{}\n", json!({ "type": "ERROR", "object": status })).into()
}

fn refuse(code: u16, reason: &str) -> Result<Response<Body>, BoxError> {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": "refused for the test", "reason": reason, "code": code,
    });
    let response = Response::builder().status(code).header("content-type", "application/json");
    Ok(response.body(Body::from(status.to_string()))?)
}

/// Runs in a runtime of its own, whose clock is paused.
fn simulate<T>(run: impl AsyncFnOnce() -> T) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_time().start_paused(true);
    runtime.build().expect("a runtime").block_on(run())
}

fn start(gateway: &Gateway) -> (JoinHandle<()>, CancellationToken) {
    static RANDOM: AtomicU64 = AtomicU64::new(1);
    let random = || RANDOM.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
    let options = Options {
        controllers: vec![Controller::ReplicaSet, Controller::Deployment],
        world: World { now: jiff::Timestamp::now, random },
        ..Options::default()
    };
    let stop = CancellationToken::new();
    let ready = Readiness::default().part("workloads");
    (tokio::spawn(super::run(gateway.client(), options, ready, stop.clone())), stop)
}

async fn request(gateway: &Gateway, method: Method, path: &str, body: &Value) {
    let content = if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
    let request = Request::builder().method(method).uri(path).header("content-type", content);
    let request = request.body(Body::from(body.to_string())).expect("a request");
    let response = gateway.send(request).await.expect("an answer");
    assert!(response.status().is_success(), "{path}: {}", response.status());
}

const WEB: &str = "/apis/apps/v1/namespaces/default/deployments/web";

/// One history with one fault. Returns how many writes there were.
fn history(trap: Option<Trap>) -> usize {
    simulate(async || {
        let server = ApiServer::new(apiserver::Options::default());
        let record = Arc::new(Mutex::new(Record { trap, ..Record::default() }));
        let gateway = Gateway {
            server: server.clone(),
            record: Arc::clone(&record),
            crash: Arc::default(),
            broken: Arc::default(),
        };
        let stop = CancellationToken::new();
        let base = tokio::spawn(server.clone().run(stop.clone()));
        let own = Client::new(server.router(), "default");
        let machine = tokio::spawn(node::run(
            own,
            node::NodeConfig::default(),
            ControllerMetrics::default(),
            || {},
            stop.clone(),
        ));
        let mut running = start(&gateway);
        let template = |image: &str| {
            json!({
                "metadata": { "labels": { "app": "web" } },
                "spec": { "containers": [{ "name": "c", "image": image }] },
            })
        };
        let strategy = json!({ "rollingUpdate": { "maxSurge": 1, "maxUnavailable": 1 } });
        let steps = [
            (
                Method::POST,
                json!({
                    "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "web", "namespace": "default" },
                    "spec": {
                        "replicas": 3, "selector": { "matchLabels": { "app": "web" } }, "template": template("one"),
                        "strategy": strategy, "revisionHistoryLimit": 0,
                    },
                }),
            ),
            (Method::PATCH, json!({ "spec": { "template": template("two") } })),
            (Method::PATCH, json!({ "spec": { "replicas": 1 } })),
        ];
        for (method, body) in steps {
            let path = if method == Method::POST { WEB.trim_end_matches("/web") } else { WEB };
            request(&gateway, method, path, &body).await;
            for round in 0.. {
                tokio::select! {
                    () = gateway.crash.notified() => {
                        running.0.abort();
                        running = start(&gateway);
                    }
                    () = tokio::time::sleep(Duration::from_millis(50)) => {} // allow-sleep: the clock is paused
                }
                let goal = goal(&gateway).await;
                {
                    let record = record.lock().unwrap();
                    assert!(
                        record.broken.is_empty(),
                        "{trap:?}: {:?}\n{}",
                        record.broken,
                        record.log.join("\n")
                    );
                    assert!(round < 4_000, "{trap:?}: {goal:?}\n{}", record.log.join("\n"));
                }
                if goal.is_ok() {
                    break;
                }
            }
        }
        // LIV-2: nothing is written at rest.
        tokio::time::sleep(Duration::from_secs(30)).await; // allow-sleep: the clock is paused
        let writes = record.lock().unwrap().writes;
        tokio::time::sleep(Duration::from_secs(600)).await; // allow-sleep: the clock is paused
        {
            let record = record.lock().unwrap();
            assert_eq!(record.writes, writes, "LIV-2 {trap:?}: {}", record.log.join("\n"));
            assert!(record.broken.is_empty(), "{trap:?}: {:?}", record.broken);
        }
        goal(&gateway).await.unwrap_or_else(|it| panic!("{trap:?}: {it}"));
        running.1.cancel();
        running.0.abort();
        stop.cancel();
        base.abort();
        machine.abort();
        writes
    })
}

/// LIV-1, from the objects alone.
async fn goal(gateway: &Gateway) -> Result<(), String> {
    let deployments = gateway.list("/apis/apps/v1/namespaces/default/deployments").await;
    let web = deployments.first().ok_or("no deployment")?;
    let (replicas, status) = (&web["spec"]["replicas"], &web["status"]);
    for key in ["replicas", "updatedReplicas", "readyReplicas", "availableReplicas"] {
        if status[key] != *replicas {
            return Err(format!("{key} is {}, not {replicas}", status[key]));
        }
    }
    if status["observedGeneration"] != web["metadata"]["generation"] {
        return Err("the generation was not observed".to_owned());
    }
    let pods = gateway.list("/api/v1/namespaces/default/pods").await;
    let image = &web["spec"]["template"]["spec"]["containers"][0]["image"];
    let outdated = pods.iter().any(|it| it["spec"]["containers"][0]["image"] != *image);
    if outdated || json!(pods.len()) != *replicas {
        return Err(format!("{} pods, outdated ones: {outdated}", pods.len()));
    }
    let sets = gateway.list("/apis/apps/v1/namespaces/default/replicasets").await;
    if sets.len() != 1 {
        return Err(format!("{} sets, the history has room for none", sets.len() - 1));
    }
    Ok(())
}

/// Runs every `step`th cell, or every one.
fn run_cells(step: usize, cells: impl Iterator<Item = Trap>) -> usize {
    let step = if std::env::var("ORDINAL_PROOF").as_deref() == Ok("full") { 1 } else { step };
    let cells = cells.step_by(step).map(|it| history(Some(it)));
    cells.count()
}

#[test]
fn every_write_meets_every_fault() {
    let writes = history(None);
    assert!(writes > 20, "{writes}");
    let all = (0..writes).flat_map(|at| FAULTS.map(|it| Trap::Write(at, it)));
    let cells = run_cells(23, all);
    println!("{writes} writes, {cells} cells");
}

/// Stale caches: from any write on, one kind is not seen any more for a while, or its watch breaks.
#[test]
fn every_view_breaks_at_every_write() {
    let writes = history(None);
    let at_every_write = |(stream, view)| (0..writes).map(move |at| Trap::Watch(at, stream, view));
    let all = STREAMS.into_iter().flat_map(|stream| VIEWS.map(|view| (stream, view)));
    let cells = run_cells(29, all.flat_map(at_every_write));
    println!("{writes} writes, {cells} cells");
}
