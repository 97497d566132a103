//! Everything around the controller: API server, nodes, garbage collector, users, and the one clock.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::body::Body;
use http::{Method, Request};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::time::Instant;
use tower::ServiceExt as _;

use crate::apiserver::gc::Collector;
use crate::apiserver::object::Key;
use crate::apiserver::resources::{self, Resource};
use crate::apiserver::store::Change;
use crate::apiserver::{ApiServer, Options};

thread_local! {
    static START: Cell<Option<Instant>> = const { Cell::new(None) };
    static SKEW: Cell<i64> = const { Cell::new(0) };
}

/// 2026-01-01T00:00:00Z.
const EPOCH: i64 = 1_767_225_600;

/// What the API server and the nodes take for the time. Moves with tokio's paused clock.
pub fn now() -> Timestamp {
    let start = START.get().expect("a cluster was started on this thread");
    let passed = SignedDuration::try_from(start.elapsed()).expect("simulations are short");
    Timestamp::from_second(EPOCH).expect("in range") + passed
}

/// What the controller takes for the time.
pub fn controller_now() -> Timestamp {
    now() + SignedDuration::from_secs(SKEW.get())
}

/// Moves the controller's clock away from everybody else's.
pub fn skew(seconds: i64) {
    SKEW.set(seconds);
}

pub fn pods() -> &'static Resource {
    resources::find("", "v1", "pods").expect("served")
}
pub fn claims() -> &'static Resource {
    resources::find("", "v1", "persistentvolumeclaims").expect("served")
}
pub fn sets() -> &'static Resource {
    resources::find("apps", "v1", "statefulsets").expect("served")
}
pub fn revisions() -> &'static Resource {
    resources::find("apps", "v1", "controllerrevisions").expect("served")
}

pub const NAMESPACE: &str = "default";

pub struct Cluster {
    pub server: ApiServer,
    pub router: axum::Router,
    collector: Collector,
    /// Pods that do not become ready until they are let go.
    pub held: BTreeSet<String>,
    /// Pods whose node is lost: nothing about them moves.
    pub lost: BTreeSet<String>,
}

impl Cluster {
    /// Call it in a runtime with a paused clock.
    pub fn start() -> Self {
        START.set(Some(Instant::now()));
        SKEW.set(0);
        let serial = AtomicU64::new(0);
        let uids = move || format!("uid-{:06}", serial.fetch_add(1, Ordering::Relaxed));
        let server =
            ApiServer::new(Options { clock: Arc::new(now), uids: Arc::new(uids), ..Options::default() });
        let router = server.router();
        let (held, lost) = Default::default();
        Self { server, router, collector: Collector::default(), held, lost }
    }

    /// One request of a user; the answer, or its status code.
    pub async fn call(&self, method: Method, path: &str, body: Value) -> Result<Value, u16> {
        let content =
            if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        let request = Request::builder().method(method).uri(path).header(http::header::CONTENT_TYPE, content);
        let request = request.body(body).expect("a request");
        let response = self.router.clone().oneshot(request).await.expect("infallible");
        let code = response.status().as_u16();
        let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.expect("in memory");
        if code < 300 { Ok(serde_json::from_slice(&bytes).expect("JSON")) } else { Err(code) }
    }

    pub async fn create_set(&self, set: Value) {
        let path = format!("/apis/apps/v1/namespaces/{NAMESPACE}/statefulsets");
        self.call(Method::POST, &path, set).await.expect("the set is valid");
    }

    pub async fn patch_set(&self, patch: Value) -> Result<Value, u16> {
        let path = format!("/apis/apps/v1/namespaces/{NAMESPACE}/statefulsets/web");
        self.call(Method::PATCH, &path, patch).await
    }

    pub async fn delete_set(&self, propagation: &str) {
        let path = format!("/apis/apps/v1/namespaces/{NAMESPACE}/statefulsets/web");
        let _ = self.call(Method::DELETE, &path, json!({ "propagationPolicy": propagation })).await;
    }

    pub async fn delete(&self, plural: &str, name: &str) {
        let path = format!("/api/v1/namespaces/{NAMESPACE}/{plural}/{name}");
        let _ = self.call(Method::DELETE, &path, Value::Null).await;
    }

    pub async fn patch(&self, plural: &str, name: &str, patch: Value) {
        let path = format!("/api/v1/namespaces/{NAMESPACE}/{plural}/{name}");
        let _ = self.call(Method::PATCH, &path, patch).await;
    }

    /// All objects of a kind, ascending by name.
    pub fn list(&self, resource: &Resource) -> Vec<Value> {
        let (_, objects) = self.server.store().list(resource, Some(NAMESPACE));
        objects.iter().map(|it| it.value.clone()).collect()
    }

    pub fn get(&self, resource: &Resource, name: &str) -> Option<Value> {
        Some(self.server.store().get(resource, &Key::new(NAMESPACE, name))?.value.clone())
    }

    /// Changes an object past the API, as nodes do with their pods here.
    pub fn edit(&self, resource: &Resource, name: &str, change: impl FnOnce(&mut Value)) {
        let mut writer = self.server.store().write();
        if let Some(old) = writer.get(resource, &Key::new(NAMESPACE, name)) {
            let mut value = old.value.clone();
            change(&mut value);
            writer.put(resource, value);
        }
    }

    /// Removes an object at once.
    pub fn remove(&self, resource: &Resource, name: &str) {
        let mut writer = self.server.store().write();
        if let Some(old) = writer.get(resource, &Key::new(NAMESPACE, name)) {
            writer.remove(resource, &old);
        }
    }

    pub fn collect(&mut self) -> usize {
        self.collector.turn(&self.server)
    }

    pub fn version(&self) -> u64 {
        self.server.store().version()
    }

    /// Pods that a node would move on, ascending.
    pub fn movable(&self) -> Vec<String> {
        let can_move = |pod: &Value| {
            let name = pod["metadata"]["name"].as_str().unwrap_or_default();
            let image = pod["spec"]["containers"][0]["image"].as_str().unwrap_or_default();
            if self.lost.contains(name) {
                return false;
            }
            if terminating(pod) {
                return true;
            }
            match pod["status"]["phase"].as_str() {
                Some("Running") => !ready(pod) && !self.held.contains(name) && !image.contains("broken"),
                Some("Failed" | "Succeeded") => false,
                _ => self.has_claims(pod),
            }
        };
        let pods = self.list(pods()).into_iter().filter(can_move);
        pods.map(|it| it["metadata"]["name"].as_str().unwrap_or_default().to_owned()).collect()
    }

    fn has_claims(&self, pod: &Value) -> bool {
        let volumes = pod["spec"]["volumes"].as_array().into_iter().flatten();
        let mut names = volumes.filter_map(|it| it["persistentVolumeClaim"]["claimName"].as_str());
        names.all(|it| self.get(claims(), it).is_some_and(|it| !terminating(&it)))
    }

    /// Moves one pod one step: running, ready, gone.
    pub fn node(&self, name: &str) -> &'static str {
        let Some(pod) = self.get(pods(), name) else { return "absent" };
        if terminating(&pod) {
            self.remove(pods(), name);
            return "gone";
        }
        if pod["status"]["phase"] == "Running" {
            self.set_ready(name, true);
            return "ready";
        }
        self.edit(pods(), name, |it| {
            it["spec"]["nodeName"] = json!("node");
            it["status"]["phase"] = json!("Running");
        });
        self.set_ready(name, false);
        "running"
    }

    pub fn set_ready(&self, name: &str, ready: bool) {
        let status = if ready { "True" } else { "False" };
        let at = now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        self.edit(pods(), name, |it| {
            it["status"]["conditions"] =
                json!([{ "type": "Ready", "status": status, "lastTransitionTime": at }]);
        });
    }

    pub fn set_phase(&self, name: &str, phase: &str) {
        self.edit(pods(), name, |it| {
            it["spec"]["nodeName"] = json!("node");
            it["status"]["phase"] = json!(phase);
            it["status"]["conditions"] = json!([]);
        });
    }

    /// What happened to every pod, claim and revision, one line an object: names, images and kinds of owners only.
    pub fn histories(&self) -> Vec<String> {
        let (events, _) = self.server.store().all_events_after(0).unwrap_or_default();
        let mut lines = std::collections::BTreeMap::<String, Vec<String>>::new();
        for (resource, event) in events {
            let kind = resource.kind;
            if !["Pod", "PersistentVolumeClaim", "ControllerRevision"].contains(&kind) {
                continue;
            }
            let (old, new) = (event.previous.as_deref().map(|it| &*it.value), &*event.object.value);
            let line = lines.entry(format!("{kind} {}", event.object.key.name)).or_default();
            match event.change {
                Change::Added => {
                    let image = new["spec"]["containers"][0]["image"].as_str().unwrap_or_default();
                    line.push(format!(
                        "create{}{image}{}",
                        if image.is_empty() { "" } else { " " },
                        owners(new)
                    ));
                }
                Change::Deleted if old.is_some_and(terminating) => line.push("gone".into()),
                Change::Deleted => line.push("removed".into()),
                Change::Modified => {
                    let Some(old) = old else { continue };
                    if !terminating(old) && terminating(new) {
                        line.push("delete".into());
                    }
                    if owners(old) != owners(new) {
                        line.push(format!("owners{}", owners(new)));
                    }
                    if old["revision"] != new["revision"] {
                        line.push("raise".into());
                    }
                }
            }
        }
        // A pod deleted before and after a node took it differ in nothing that matters.
        let plain = |it: String| it.replace("delete, gone", "removed");
        lines.into_iter().map(|(object, it)| plain(format!("{object}: {}", it.join(", ")))).collect()
    }

    /// What is there in the end: pods with image and owner, claims with owners, revisions, status.
    pub fn state(&self) -> Vec<String> {
        let name = |it: &Value| it["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let mut lines = Vec::new();
        for it in self.list(pods()) {
            let (image, phase) = (&it["spec"]["containers"][0]["image"], &it["status"]["phase"]);
            lines.push(format!("pod {} {image} {phase} ready={}{}", name(&it), ready(&it), owners(&it)));
        }
        lines.extend(self.list(claims()).iter().map(|it| format!("claim {}{}", name(it), owners(it))));
        let numbers = self.list(revisions()).into_iter();
        let mut numbers: Vec<_> = numbers
            .map(|it| (it["revision"].as_i64(), format!("revision {}{}", name(&it), owners(&it))))
            .collect();
        numbers.sort();
        lines.extend(numbers.into_iter().map(|it| it.1));
        for set in self.list(sets()) {
            let status = set["status"].as_object().cloned().unwrap_or_default();
            let counted = status
                .into_iter()
                .filter(|(key, _)| !["conditions", "observedGeneration"].contains(&key.as_str()));
            let current = set["status"]["observedGeneration"] == set["metadata"]["generation"];
            lines.push(format!("set {} observed={current} {:?}", name(&set), counted.collect::<Vec<_>>()));
        }
        lines
    }
}

pub fn terminating(object: &Value) -> bool {
    !object["metadata"]["deletionTimestamp"].is_null()
}

pub fn ready(pod: &Value) -> bool {
    let mut conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    conditions.any(|it| it["type"] == "Ready" && it["status"] == "True")
}

fn owners(object: &Value) -> String {
    let references = object["metadata"]["ownerReferences"].as_array().into_iter().flatten();
    let kinds: Vec<_> = references.filter_map(|it| it["kind"].as_str()).collect();
    if kinds.is_empty() { String::new() } else { format!(" of {}", kinds.join("+")) }
}
