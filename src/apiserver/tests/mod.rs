//! The whole server through an unmodified `kube::Client`, in process.

mod crud;
mod deletion;
mod protocol;
mod socket;
mod watching;

use crate::apiserver::{ApiServer, Options};
use http::{Method, Request};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{Api, PostParams};
use kube::{Client, Error};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A server whose loops end with the test.
struct Fixture {
    server: ApiServer,
    client: Client,
    stop: CancellationToken,
    loops: JoinHandle<()>,
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.stop.cancel();
        self.loops.abort();
    }
}

fn options() -> Options {
    let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    Options { clock: Arc::new(move || now), ..Options::default() }
}

fn start(options: Options) -> Fixture {
    let server = ApiServer::new(options);
    let stop = CancellationToken::new();
    let loops = tokio::spawn(server.clone().run(stop.clone()));
    let client = Client::new(server.router(), "default");
    Fixture { server, client, stop, loops }
}

impl Fixture {
    fn config_maps(&self) -> Api<ConfigMap> {
        Api::namespaced(self.client.clone(), "default")
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), "default")
    }

    async fn create<K>(&self, object: Value) -> K
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>
            + serde::de::DeserializeOwned
            + serde::Serialize
            + Clone
            + std::fmt::Debug,
        K::DynamicType: Default,
    {
        let object: K = serde_json::from_value(object).unwrap();
        let namespace = object.meta().namespace.clone().unwrap_or_else(|| "default".to_owned());
        let api: Api<K> = Api::namespaced(self.client.clone(), &namespace);
        api.create(&PostParams::default(), &object).await.unwrap()
    }

    /// Sends a raw request; code, headers as text, body.
    async fn raw(
        &self,
        method: Method,
        uri: &str,
        headers: &[(&str, &str)],
        body: impl Into<Vec<u8>>,
    ) -> (u16, Vec<(String, String)>, Value) {
        use tower::ServiceExt;
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(axum::body::Body::from(body.into())).unwrap();
        let response = self.server.router().oneshot(request).await.unwrap();
        let code = response.status().as_u16();
        let headers = response
            .headers()
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
            .collect();
        let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (code, headers, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }
}

fn config_map(name: &str, value: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"key": value}})
}

fn pod(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"containers": [{"name": "c", "image": "i:1"}]}})
}

/// The Status of a failed call.
fn status_of<T: std::fmt::Debug>(result: Result<T, Error>) -> (u16, String) {
    match result.unwrap_err() {
        Error::Api(status) => (status.code, status.reason.clone()),
        other => panic!("not an API error: {other:?}"),
    }
}

/// Lets the loops run until `condition` holds; they need no time, only turns.
async fn eventually<F, Fut>(what: &str, condition: F)
where
    F: Fn() -> Fut,
    Fut: Future<Output = bool>,
{
    for _ in 0..10_000 {
        if condition().await {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("never happened: {what}");
}
