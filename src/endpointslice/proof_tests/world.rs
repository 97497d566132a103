//! API server, users and nodes, and the way from the controller to the API server.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use http::{Method, Request, Response};
use http_body_util::BodyExt as _;
use jiff::{SignedDuration, Timestamp};
use kube::Client;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tower::{BoxError, ServiceExt as _};

use super::Random;
use crate::apiserver::object::Key;
use crate::apiserver::resources::{self, Resource};
use crate::apiserver::{ApiServer, Options as ServerOptions};
use crate::endpointslice::config::Compaction;
use crate::endpointslice::{Cleanup, Options, run};
use crate::runtime::{ControllerMetrics, Readiness};

thread_local! {
    static START: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// 2026-01-01T00:00:00Z.
const EPOCH: i64 = 1_767_225_600;
pub const NAMESPACE: &str = "demo";

/// What everybody takes for the time. Moves with tokio's paused clock.
pub fn now() -> Timestamp {
    let start = START.get().expect("a world was started on this thread");
    Timestamp::from_second(EPOCH).unwrap() + SignedDuration::try_from(start.elapsed()).unwrap()
}

pub fn resource(plural: &str) -> &'static Resource {
    let group = if plural == "endpointslices" { "discovery.k8s.io" } else { "" };
    resources::find(group, "v1", plural).expect("served")
}

/// What the gateway does to writes of slices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    Conflict,
    NotFound,
    Invalid,
    TooManyRequests,
    InternalError,
    Unavailable,
    TimeoutCommitted,
    TimeoutLost,
    Truncated,
    Slow,
}

impl Fault {
    pub const ALL: [Self; 10] = [
        Self::Conflict,
        Self::NotFound,
        Self::Invalid,
        Self::TooManyRequests,
        Self::InternalError,
        Self::Unavailable,
        Self::TimeoutCommitted,
        Self::TimeoutLost,
        Self::Truncated,
        Self::Slow,
    ];
}

/// What the gateway has seen, and what it is to do.
#[derive(Default)]
pub struct Gate {
    /// Faults for the next writes of slices, in turn; `None` lets one pass.
    pub faults: Vec<Option<Fault>>,
    /// Faults that happened.
    pub fired: Vec<Fault>,
    /// Writes of slices, as `METHOD name`.
    pub writes: Vec<String>,
    /// Writes of one slice that were under way at a time, at most.
    pub most_at_once: usize,
    under_way: Vec<String>,
    /// Versions at which slices were deleted by others.
    pub foreign_deletions: Vec<u64>,
}

pub struct World {
    pub server: ApiServer,
    router: axum::Router,
    pub gate: Arc<Mutex<Gate>>,
    /// Cuts every watch when it changes.
    cut: watch::Sender<u64>,
    controller: Option<(CancellationToken, JoinHandle<()>)>,
    /// Of all its controllers.
    pub metrics: ControllerMetrics,
    pub max: usize,
    pub cleanup: Cleanup,
    pub compaction: Compaction,
}

impl World {
    /// Call it in a runtime with a paused clock. Two nodes in zones, and the namespace.
    pub async fn start(max: usize) -> Self {
        START.set(Some(Instant::now()));
        let serial = AtomicU64::new(0);
        let uids = move || format!("uid-{:06}", serial.fetch_add(1, Ordering::Relaxed));
        let options = ServerOptions {
            clock: Arc::new(now),
            uids: Arc::new(uids),
            ring_events: 1 << 20,
            ..ServerOptions::default()
        };
        let server = ApiServer::new(options);
        let router = server.router();
        let (gate, metrics, cleanup, compaction) = Default::default();
        let cut = watch::Sender::new(0);
        let world = Self { server, router, gate, cut, controller: None, metrics, max, cleanup, compaction };
        world
            .call(Method::POST, "/api/v1/namespaces", json!({"metadata": {"name": NAMESPACE}}))
            .await
            .unwrap();
        for (node, zone) in [("n1", "a"), ("n2", "b")] {
            world.put_node(node, zone);
        }
        world
    }

    /// Starts the controller; a second call replaces it, as after a change of leaders.
    pub async fn control(&mut self) {
        self.stop().await;
        // What a killed one has under way is its own.
        self.gate.lock().unwrap().under_way.clear();
        let (stop, readiness) = (CancellationToken::new(), Readiness::default());
        let options = Options {
            max_endpoints_per_slice: self.max,
            cleanup: self.cleanup,
            audit: true,
            compaction: self.compaction,
            metrics: self.metrics.clone(),
            ..Options::default()
        };
        let task = tokio::spawn(run(self.client(), options, readiness.part("endpointslice"), stop.clone()));
        self.controller = Some((stop, task));
        readiness.wait().await;
    }

    /// Ends the controller; writes under way finish.
    pub async fn stop(&mut self) {
        if let Some((stop, task)) = self.controller.take() {
            stop.cancel();
            task.await.expect("the controller does not panic");
        }
    }

    /// Kills the controller wherever it is.
    pub async fn kill(&mut self) {
        if let Some((stop, task)) = self.controller.take() {
            task.abort();
            let _ = task.await;
            stop.cancel();
        }
    }

    /// Ends every watch; they are resumed where they were, or list anew.
    pub fn cut_watches(&self) {
        self.cut.send_modify(|it| *it += 1);
    }

    /// Lets time pass until everything has happened.
    pub async fn settle(&self, time: Duration) {
        tokio::time::sleep(time).await; // allow-sleep: the clock is paused
    }

    /// One request of a user; the answer, or its status code.
    pub async fn call(&self, method: Method, path: &str, body: Value) -> Result<Value, u16> {
        let content =
            if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        let request = Request::builder().method(method).uri(path).header(http::header::CONTENT_TYPE, content);
        let response = self.router.clone().oneshot(request.body(body).unwrap()).await.expect("infallible");
        let code = response.status().as_u16();
        let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.expect("in memory");
        if code < 300 { Ok(serde_json::from_slice(&bytes).expect("JSON")) } else { Err(code) }
    }

    pub async fn create_service(&self, name: &str, spec: Value) {
        let path = format!("/api/v1/namespaces/{NAMESPACE}/services");
        let service = json!({"metadata": {"name": name}, "spec": spec});
        self.call(Method::POST, &path, service).await.expect("a valid Service");
    }

    pub async fn patch_service(&self, name: &str, patch: Value) {
        let path = format!("/api/v1/namespaces/{NAMESPACE}/services/{name}");
        self.call(Method::PATCH, &path, patch).await.expect("a valid patch");
    }

    /// Changes an object past the API, as nodes do with their pods here.
    pub fn edit(&self, plural: &str, namespace: &str, name: &str, change: impl FnOnce(&mut Value)) -> bool {
        let resource = resource(plural);
        let mut writer = self.server.store().write();
        let Some(old) = writer.get(resource, &Key::new(namespace, name)) else { return false };
        let mut value = old.value.clone();
        change(&mut value);
        if value != *old.value {
            writer.put(resource, value);
        }
        true
    }

    /// Removes an object at once.
    pub fn remove(&self, plural: &str, namespace: &str, name: &str) {
        let resource = resource(plural);
        let mut writer = self.server.store().write();
        if let Some(old) = writer.get(resource, &Key::new(namespace, name)) {
            writer.remove(resource, &old);
        }
    }

    pub fn put_node(&self, name: &str, zone: &str) {
        let node = json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": name, "uid": self.server.new_uid(), "labels": {"topology.kubernetes.io/zone": zone}},
            "status": {"allocatable": {"cpu": "4"}, "conditions": [{"type": "Ready", "status": "True"}]},
        });
        self.server.store().write().put(resource("nodes"), node);
    }

    /// A running pod, ready or not, with an address made of its number.
    pub fn put_pod(&self, number: usize, app: &str, node: &str, ready: bool) {
        let name = format!("{app}-{number}");
        let at = now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": NAMESPACE, "uid": self.server.new_uid(), "creationTimestamp": at,
                "labels": {"app": app}},
            "spec": {"nodeName": node, "hostname": name, "subdomain": app,
                "containers": [{"name": "c", "image": "i", "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}]}]},
            "status": {"phase": "Running", "podIPs": [{"ip": address(number)}], "podIP": address(number),
                "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }, "lastTransitionTime": at}]},
        });
        self.server.store().write().put(resource("pods"), pod);
    }

    pub fn set_ready(&self, pod: &str, ready: bool) {
        let at = now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        self.edit("pods", NAMESPACE, pod, |it| {
            it["status"]["conditions"] = json!([{ "type": "Ready",
                "status": if ready { "True" } else { "False" }, "lastTransitionTime": at }]);
        });
    }

    /// All objects of a kind in the namespace, ascending by name.
    pub fn list(&self, plural: &str) -> Vec<Value> {
        let (_, objects) = self.server.store().list(resource(plural), Some(NAMESPACE));
        objects.iter().map(|it| it.value.clone()).collect()
    }

    /// Writes of slices since the last call.
    pub fn writes(&self) -> Vec<String> {
        std::mem::take(&mut self.gate.lock().unwrap().writes)
    }

    fn client(&self) -> Client {
        let (server, gate, cut) = (self.server.clone(), Arc::clone(&self.gate), self.cut.clone());
        let service = tower::service_fn(move |request: Request<kube::client::Body>| {
            let (server, gate, cut) = (server.clone(), Arc::clone(&gate), cut.clone());
            async move { answer(server, gate, cut, request).await }
        });
        Client::new(service, "default")
    }
}

pub fn address(number: usize) -> String {
    format!("10.0.{}.{}", number / 250, number % 250 + 1)
}

/// Takes a write off the list of those under way, also when the controller is killed.
struct UnderWay(Arc<Mutex<Gate>>, String);

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut gate = self.0.lock().unwrap();
        if let Some(at) = gate.under_way.iter().position(|it| *it == self.1) {
            gate.under_way.remove(at);
        }
    }
}

async fn answer(
    server: ApiServer,
    gate: Arc<Mutex<Gate>>,
    cut: watch::Sender<u64>,
    request: Request<kube::client::Body>,
) -> Result<Response<Body>, BoxError> {
    let (parts, body) = request.into_parts();
    let bytes = body.collect().await?.to_bytes();
    let path = parts.uri.path().to_owned();
    let router = server.router();
    if parts.uri.query().is_some_and(|it| it.contains("watch=true")) {
        let mut cuts = cut.subscribe();
        let response = router.oneshot(Request::from_parts(parts, Body::from(bytes))).await?;
        let (parts, body) = response.into_parts();
        let frames = futures::StreamExt::take_until(body.into_data_stream(), async move {
            let _ = cuts.changed().await;
        });
        return Ok(Response::from_parts(parts, Body::from_stream(frames)));
    }
    let is_write = path.contains("/endpointslices") && parts.method != Method::GET;
    let mut under_way = None;
    let fault = if is_write {
        let name = path.rsplit('/').next().unwrap_or_default();
        let in_body = || -> Option<String> {
            let body: Value = serde_json::from_slice(&bytes).ok()?;
            Some(body["metadata"]["name"].as_str()?.to_owned())
        };
        let name = if parts.method == Method::POST { in_body().unwrap_or_default() } else { name.to_owned() };
        let mut gate_now = gate.lock().unwrap();
        gate_now.writes.push(format!("{} {name}", parts.method));
        gate_now.under_way.push(name.clone());
        let at_once = gate_now.under_way.iter().filter(|it| **it == name).count();
        gate_now.most_at_once = gate_now.most_at_once.max(at_once);
        under_way = Some(UnderWay(Arc::clone(&gate), name));
        let fault = if gate_now.faults.is_empty() { None } else { gate_now.faults.remove(0) };
        gate_now.fired.extend(fault);
        fault
    } else {
        None
    };
    let refuse = |code: u16, reason: &str| {
        let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": "refused for the test", "reason": reason, "code": code});
        let response = Response::builder().status(code).header("content-type", "application/json");
        Ok(response.body(Body::from(status.to_string()))?)
    };
    let is_post = parts.method == Method::POST;
    let send = || router.oneshot(Request::from_parts(parts, Body::from(bytes)));
    // A round trip takes a millisecond.
    tokio::time::sleep(Duration::from_micros(500)).await; // allow-sleep: the clock is paused
    let response = match fault {
        None => send().await?,
        Some(Fault::Conflict) => return refuse(409, "Conflict"),
        Some(Fault::NotFound) if !is_post => {
            // Somebody else deletes it first.
            let name = path.rsplit('/').next().unwrap_or_default();
            remove_slice(&server, &gate, name);
            send().await?
        }
        Some(Fault::NotFound) => return refuse(404, "NotFound"),
        Some(Fault::Invalid) => return refuse(422, "Invalid"),
        Some(Fault::TooManyRequests) => return refuse(429, "TooManyRequests"),
        Some(Fault::InternalError) => return refuse(500, "InternalError"),
        Some(Fault::Unavailable) => return refuse(503, "ServiceUnavailable"),
        Some(Fault::TimeoutLost) => return Err("deadline has elapsed".into()),
        Some(Fault::TimeoutCommitted) => {
            send().await?;
            return Err("deadline has elapsed".into());
        }
        Some(Fault::Truncated) => {
            let (mut parts, body) = send().await?.into_parts();
            let bytes = axum::body::to_bytes(body, usize::MAX).await?;
            parts.headers.remove(http::header::CONTENT_LENGTH);
            return Ok(Response::from_parts(parts, Body::from(bytes.slice(..bytes.len() / 2))));
        }
        Some(Fault::Slow) => {
            tokio::time::sleep(Duration::from_secs(30)).await; // allow-sleep: the clock is paused
            send().await?
        }
    };
    tokio::time::sleep(Duration::from_micros(500)).await; // allow-sleep: the clock is paused
    drop(under_way);
    Ok(response)
}

/// Somebody else deletes a slice.
fn remove_slice(server: &ApiServer, gate: &Mutex<Gate>, name: &str) {
    let mut writer = server.store().write();
    if let Some(old) = writer.get(resource("endpointslices"), &Key::new(NAMESPACE, name)) {
        writer.remove(resource("endpointslices"), &old);
        gate.lock().unwrap().foreign_deletions.push(server.store().version());
    }
}

/// Faults for the next writes: about one in `rarity`.
pub fn random_faults(random: &mut Random, count: usize, rarity: usize) -> Vec<Option<Fault>> {
    (0..count).map(|_| random.one_in(rarity).then(|| *random.pick(&Fault::ALL))).collect()
}
