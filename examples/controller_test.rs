//! Tests a small kube-rs controller against the embedded API server: in process, without a socket, in milliseconds.
//!
//!     cargo run --example controller_test
//!
//! The controller keeps a copy of every ConfigMap labelled `copy=yes` as a Secret of the same name. The test creates one
//! while the API server answers as badly as API servers do: a conflict, an answer that never arrives although the write
//! was committed, a watch that is cut and one that expires.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::runtime::controller::{Action, Controller};
use kube::runtime::utils::Backoff;
use kube::runtime::wait::await_condition;
use kube::runtime::watcher;
use kube::{Client, Resource, ResourceExt};
use ordinal::apiserver::faults::{Fault, Faults, Rule, Verb};
use ordinal::apiserver::{ApiServer, Options};
use serde_json::json;
use tokio_util::sync::CancellationToken;

/// The code under test.
mod copier {
    use super::{
        Action, Api, Arc, Backoff, Client, ConfigMap, Controller, Duration, Patch, PatchParams, Resource,
        ResourceExt, Secret, StreamExt, json, watcher,
    };

    /// Watches look again at once: a test need not spare a server that has trouble, as the default of 800 ms does.
    struct AtOnce;

    impl Iterator for AtOnce {
        type Item = Duration;

        fn next(&mut self) -> Option<Duration> {
            Some(Duration::from_millis(1))
        }
    }

    impl Backoff for AtOnce {
        fn reset(&mut self) {}
    }

    async fn reconcile(map: Arc<ConfigMap>, client: Arc<Client>) -> Result<Action, kube::Error> {
        let secrets: Api<Secret> = Api::default_namespaced((*client).clone());
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": map.name_any(), "ownerReferences": [map.controller_owner_ref(&())]},
            "stringData": map.data,
        });
        secrets.patch(&map.name_any(), &PatchParams::apply("copier").force(), &Patch::Apply(secret)).await?;
        Ok(Action::await_change())
    }

    pub async fn run(client: Client) {
        let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
        let secrets: Api<Secret> = Api::default_namespaced(client.clone());
        let labelled = watcher::Config::default().labels("copy=yes");
        let retry =
            |_: Arc<ConfigMap>, _: &kube::Error, _: Arc<Client>| Action::requeue(Duration::from_millis(1));
        Controller::new(maps, labelled)
            .owns(secrets, watcher::Config::default())
            .trigger_backoff(AtOnce)
            .run(reconcile, retry, Arc::new(client))
            .for_each(|_| std::future::ready(()))
            .await;
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let started = Instant::now();
    let (server, faults, stop) =
        (ApiServer::new(Options::default()), Faults::new(), CancellationToken::new());
    // Garbage collection and namespace deletion.
    let loops = tokio::spawn(server.clone().run(stop.clone()));
    // The controller meets the faults, the test does not.
    let controller = tokio::spawn(copier::run(faults.client(&server, "default")));
    let client = Client::new(server.router(), "default");
    let (maps, secrets): (Api<ConfigMap>, Api<Secret>) =
        (Api::default_namespaced(client.clone()), Api::default_namespaced(client));

    faults.add(Rule::new(Fault::conflict()).verb(Verb::Patch).resource("secrets"));
    faults.add(Rule::new(Fault::TimeoutCommitted).verb(Verb::Patch).resource("secrets"));
    let map =
        json!({"metadata": {"name": "settings", "labels": {"copy": "yes"}}, "data": {"colour": "blue"}});
    maps.create(&PostParams::default(), &serde_json::from_value(map)?).await?;
    let has = |colour: &'static str| {
        move |it: Option<&Secret>| {
            let data = it.and_then(|it| it.data.as_ref()).and_then(|it| it.get("colour"));
            data.is_some_and(|it| it.0 == colour.as_bytes())
        }
    };
    await_condition(secrets.clone(), "settings", has("blue")).await?;

    faults.expire(&server, "configmaps");
    let patch = json!({"data": {"colour": "red"}});
    maps.patch("settings", &PatchParams::default(), &Patch::Merge(patch)).await?;
    await_condition(secrets.clone(), "settings", has("red")).await?;

    maps.delete("settings", &Default::default()).await?;
    await_condition(secrets, "settings", |it: Option<&Secret>| it.is_none()).await?;

    for (request, fault) in faults.fired() {
        println!("{fault:?} hit {:?} of {}", request.verb, request.plural);
    }
    println!("created, changed and collected in {:?}", started.elapsed());
    stop.cancel();
    controller.abort();
    loops.await?;
    Ok(())
}
