//! What a user, an API server and its audit log see of the controller: every write in order, every event, every status.
//!
//! A [`World`] is the embedded API server, the reconciler over caches that are refreshed between syncs, and a kubelet
//! that does what the test says. Time stands still unless a test moves it.
//! Writes read `create pod web-0`, `delete pod web-2`, `create claim data-web-0`, `own claim data-web-0 [Pod]`,
//! `create revision 1`, `raise revision to 3`, `delete revision 1`, `adopt pod web-0`, `release pod web-0`,
//! `label pod web-0`, `status`.

mod adoption;
mod claims;
mod extras;
mod faults;
mod management;
mod revisions;
mod updates;

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet, StatefulSetStatus};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::model::{ClaimView, PodView, RevisionView};
use super::narrow_set;
use super::reconcile::{Reconciler, Stores};
use crate::apiserver::{ApiServer, Options};
use crate::k8s::events::{Backlog, channel};
use crate::k8s::lean::LeanPod;
use crate::k8s::write::WriteApi;
use crate::model::ObjectKey;
use crate::runtime::{Next, Reconcile as _};

thread_local! {
    static CLOCK: Cell<i64> = const { Cell::new(1_000_000_000) };
}

fn now() -> Timestamp {
    Timestamp::from_second(CLOCK.get()).unwrap()
}

/// Moves the time of this test.
fn pass(seconds: i64) {
    CLOCK.set(CLOCK.get() + seconds);
}

/// An answer given instead of the API server's.
struct Fault {
    line: &'static str,
    status: u16,
    reason: &'static str,
    message: &'static str,
    left: u32,
}

#[derive(Default)]
struct Recorded {
    lines: Vec<String>,
    faults: Vec<Fault>,
    revisions: HashMap<String, i64>,
}

impl Recorded {
    fn line(&mut self, method: &Method, path: &str, body: &Value) -> String {
        let mut words = path.trim_start_matches('/').split('/').skip_while(|it| *it != "namespaces").skip(2);
        let kind = match words.next().unwrap_or_default() {
            "pods" => "pod",
            "persistentvolumeclaims" => "claim",
            "controllerrevisions" => "revision",
            "statefulsets" => "set",
            "" => path.rsplit('/').nth(1).unwrap_or_default(),
            other => other,
        };
        let named = body.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
        let name = words.next().unwrap_or(named).to_owned();
        let number = body["revision"].as_i64();
        if let (Method::POST, "revision", Some(number)) = (method.clone(), kind, number) {
            self.revisions.insert(name.clone(), number);
        }
        let shown = match self.revisions.get(&name) {
            Some(number) if kind == "revision" => number.to_string(),
            _ => name,
        };
        let owners = body.pointer("/metadata/ownerReferences").and_then(Value::as_array);
        match (method.as_str(), kind, owners) {
            ("PATCH", "set", _) if words.next() == Some("status") => "status".to_owned(),
            ("PATCH", "revision", None) => format!("raise revision to {}", number.unwrap()),
            ("PATCH", _, Some(it)) if it[0]["$patch"] == "delete" => format!("release {kind} {shown}"),
            ("PATCH", _, Some(_)) => format!("adopt {kind} {shown}"),
            ("PATCH", "pod", None) => format!("label pod {shown}"),
            ("PATCH", "claim", None) => {
                let size = body.pointer("/spec/resources/requests/storage").and_then(Value::as_str);
                format!("grow claim {shown} to {}", size.unwrap())
            }
            ("PUT", "claim", owners) => {
                let kinds: Vec<_> =
                    owners.into_iter().flatten().filter_map(|it| it["kind"].as_str()).collect();
                format!("own claim {shown} [{}]", kinds.join(" "))
            }
            ("POST", ..) => format!("create {kind} {shown}"),
            ("DELETE", ..) => format!("delete {kind} {shown}"),
            ("GET", ..) => format!("get {kind} {shown}"),
            other => panic!("unexpected write: {other:?} {path}"),
        }
    }

    fn fault(&mut self, line: &str) -> Option<Value> {
        let fault = self.faults.iter_mut().find(|it| it.left > 0 && line.starts_with(it.line))?;
        fault.left -= 1;
        Some(json!({
            "apiVersion": "v1", "kind": "Status", "status": "Failure", "code": fault.status,
            "reason": fault.reason, "message": fault.message,
        }))
    }
}

struct World {
    client: Client,
    stores: Stores,
    reconciler: Reconciler,
    backlog: Backlog,
    recorded: Arc<Mutex<Recorded>>,
}

fn key() -> ObjectKey {
    ObjectKey::new("default", "web")
}

/// A set named `web` that the words of `with` are merged into.
fn web(replicas: u32, with: Value) -> Value {
    let mut set = json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": { "name": "web", "namespace": "default" },
        "spec": {
            "replicas": replicas, "serviceName": "web", "selector": { "matchLabels": { "app": "web" } },
            "template": {
                "metadata": { "labels": { "app": "web" } },
                "spec": { "containers": [{ "name": "c", "image": "one" }] },
            },
        },
    });
    json_patch::merge(&mut set, &with);
    set
}

fn parallel() -> Value {
    json!({ "spec": { "podManagementPolicy": "Parallel" } })
}

/// One claim template named `data`, and a retention policy.
fn with_claims(when_deleted: &str, when_scaled: &str) -> Value {
    json!({ "spec": {
        "volumeClaimTemplates": [{
            "metadata": { "name": "data" },
            "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } } },
        }],
        "persistentVolumeClaimRetentionPolicy": { "whenDeleted": when_deleted, "whenScaled": when_scaled },
    } })
}

fn image(name: &str) -> Value {
    json!({ "spec": { "template": { "spec": { "containers": [{ "name": "c", "image": name }] } } } })
}

impl World {
    fn new() -> Self {
        let clock = Arc::new(now);
        let router = ApiServer::new(Options { clock, ..Options::default() }).router();
        let recorded: Arc<Mutex<Recorded>> = Arc::default();
        let (to_record, behind) = (Arc::clone(&recorded), router.clone());
        let watched = tower::service_fn(move |request: Request<kube::client::Body>| {
            let (recorded, router) = (Arc::clone(&to_record), behind.clone());
            async move {
                let (parts, body) = request.into_parts();
                let bytes = body.collect().await.unwrap().to_bytes();
                let body = serde_json::from_slice(&bytes).unwrap_or_default();
                let fault = {
                    let mut recorded = recorded.lock().unwrap();
                    let line = recorded.line(&parts.method, parts.uri.path(), &body);
                    let fault = recorded.fault(&line);
                    recorded.lines.push(if fault.is_some() { format!("{line} !") } else { line });
                    fault
                };
                if let Some(status) = fault {
                    let code = u16::try_from(status["code"].as_u64().unwrap()).unwrap();
                    let response = Response::builder().status(StatusCode::from_u16(code).unwrap());
                    return Ok(response.body(axum::body::Body::from(status.to_string())).unwrap());
                }
                router.oneshot(Request::from_parts(parts, axum::body::Body::from(bytes))).await
            }
        });
        let stores = Stores::default();
        let (recorder, backlog) = channel();
        let api = WriteApi::new(Client::new(watched, "default"), super::USER_AGENT);
        let reconciler = Reconciler::new(stores.clone(), api, recorder, now);
        Self { client: Client::new(router, "default"), stores, reconciler, backlog, recorded }
    }

    /// A world with the set in it.
    async fn with(set: Value) -> Self {
        let world = Self::new();
        world.create(set).await;
        world
    }

    fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), "default")
    }

    fn pods(&self) -> Api<Pod> {
        self.api()
    }

    async fn create(&self, set: Value) {
        let set: StatefulSet = serde_json::from_value(set).unwrap();
        self.api().create(&PostParams::default(), &set).await.unwrap();
    }

    async fn edit(&self, patch: Value) {
        let sets: Api<StatefulSet> = self.api();
        sets.patch("web", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }

    async fn status(&self) -> StatefulSetStatus {
        self.api::<StatefulSet>().get("web").await.unwrap().status.unwrap_or_default()
    }

    /// `replicas/ready/available/current/updated`, as kubectl would add them up.
    async fn counters(&self) -> String {
        let it = self.status().await;
        let shown = |it: Option<i32>| it.unwrap_or(0);
        format!(
            "{}/{}/{}/{}/{}",
            it.replicas,
            shown(it.ready_replicas),
            shown(it.available_replicas),
            shown(it.current_replicas),
            shown(it.updated_replicas)
        )
    }

    /// `name=image` of every pod that is not terminating.
    async fn images(&self) -> String {
        let pods = self.pods().list(&ListParams::default()).await.unwrap();
        let image = |it: &Pod| it.spec.as_ref().unwrap().containers[0].image.clone().unwrap();
        let pods = pods.iter().filter(|it| it.metadata.deletion_timestamp.is_none());
        pods.map(|it| format!("{}={}", it.name_any(), image(it))).collect::<Vec<_>>().join(" ")
    }

    async fn set_phase(&self, pod: &str, phase: &str, ready: bool) {
        let ready = if ready { "True" } else { "False" };
        let condition = json!({ "type": "Ready", "status": ready, "lastTransitionTime": now().to_string() });
        let status = json!({ "status": { "phase": phase, "conditions": [condition] } });
        self.pods().patch_status(pod, &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
    }

    async fn ready(&self, pod: &str) {
        self.set_phase(pod, "Running", true).await;
    }

    /// A person, or an eviction, deletes a pod; the node still has it to stop.
    async fn delete(&self, pod: &str) {
        // Only a pod on a node is deleted gracefully.
        self.bind(pod).await;
        self.pods().delete(pod, &DeleteParams::default()).await.unwrap();
    }

    async fn bind(&self, pod: &str) {
        let it = self.pods().get(pod).await.unwrap();
        if it.spec.unwrap().node_name.is_some() {
            return;
        }
        let uri = format!("/api/v1/namespaces/default/pods/{pod}/binding");
        let body = json!({
            "apiVersion": "v1", "kind": "Binding", "metadata": { "name": pod },
            "target": { "apiVersion": "v1", "kind": "Node", "name": "node" },
        });
        let request = Request::post(uri).header("content-type", "application/json");
        let request = request.body(body.to_string().into_bytes()).unwrap();
        self.client.request::<Value>(request).await.unwrap();
    }

    /// The node has stopped a pod.
    async fn gone(&self, pod: &str) {
        self.pods().delete(pod, &DeleteParams::default().grace_period(0)).await.unwrap();
    }

    fn fail(&self, line: &'static str, status: u16, reason: &'static str, message: &'static str, times: u32) {
        let fault = Fault { line, status, reason, message, left: times };
        self.recorded.lock().unwrap().faults.push(fault);
    }

    /// Lets the caches catch up.
    async fn refresh(&self) {
        self.refresh_but("").await;
    }

    /// Lets the caches catch up, but for one kind.
    async fn refresh_but(&self, behind: &str) {
        async fn all<K>(api: Api<K>) -> Vec<K>
        where
            K: Clone + std::fmt::Debug + serde::de::DeserializeOwned,
        {
            api.list(&ListParams::default()).await.unwrap().items
        }
        let resource = kube::api::ApiResource::erase::<StatefulSet>(&());
        if behind != "sets" {
            let sets = all(Api::<DynamicObject>::all_with(self.client.clone(), &resource)).await;
            self.stores.sets.begin_list();
            self.stores.sets.replace(sets.into_iter().filter_map(narrow_set).collect());
        }
        if behind != "pods" {
            let pods = all(Api::<LeanPod>::all(self.client.clone())).await;
            self.stores.pods.begin_list();
            self.stores.pods.replace(pods.into_iter().filter_map(PodView::narrow).collect());
        }
        if behind != "claims" {
            let claims = all(Api::<PersistentVolumeClaim>::all(self.client.clone())).await;
            self.stores.claims.begin_list();
            self.stores.claims.replace(claims.into_iter().filter_map(ClaimView::narrow).collect());
        }
        if behind != "revisions" {
            let revisions = all(Api::<ControllerRevision>::all(self.client.clone())).await;
            self.stores.revisions.begin_list();
            self.stores.revisions.replace(revisions.into_iter().filter_map(RevisionView::narrow).collect());
        }
    }

    /// One reconcile on what the caches hold now: what it asks for and every request it made, in order.
    async fn reconcile(&self) -> (Result<Next, String>, Vec<String>) {
        let next = self.reconciler.reconcile(&key()).await.map_err(|it| it.to_string());
        (next, std::mem::take(&mut self.recorded.lock().unwrap().lines))
    }

    /// One reconcile on up-to-date caches: its writes.
    async fn sync(&self) -> Vec<String> {
        self.refresh().await;
        let (_, mut lines) = self.reconcile().await;
        lines.retain(|it| !it.starts_with("get "));
        lines
    }

    /// Syncs until nothing is left to do, while every pod starts and stops at once. All writes but those of status.
    async fn settle(&self) -> Vec<String> {
        let mut all = Vec::new();
        for _ in 0..1_000 {
            let lines = self.sync().await;
            let moved = self.play_kubelet().await;
            if lines.is_empty() && !moved {
                all.retain(|it| it != "status");
                return all;
            }
            all.extend(lines);
        }
        panic!("never at rest: {all:?}");
    }

    async fn play_kubelet(&self) -> bool {
        let mut moved = false;
        for pod in self.pods().list(&ListParams::default()).await.unwrap() {
            let name = pod.name_any();
            let phase = pod.status.and_then(|it| it.phase).unwrap_or_default();
            if pod.metadata.deletion_timestamp.is_some() {
                self.gone(&name).await;
            } else if phase == "Pending" {
                self.bind(&name).await;
                self.ready(&name).await;
            } else {
                continue;
            }
            moved = true;
        }
        moved
    }

    /// Events since the last call: type, reason and message.
    fn events(&mut self) -> Vec<String> {
        self.backlog.drain()
    }
}
