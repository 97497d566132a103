//! Watches, as kube-rs sees them.

use super::*;
use futures::{StreamExt, TryStreamExt};
use kube::ResourceExt;
use kube::api::{DeleteParams, Patch, PatchParams, WatchEvent, WatchParams};
use kube::runtime::watcher::{self, Event};
use std::pin::pin;

async fn next_lines(fixture: &Fixture, uri: &str, count: usize) -> Vec<Value> {
    use tower::ServiceExt;
    let request = Request::builder().uri(uri).body(axum::body::Body::empty()).unwrap();
    let response = fixture.server.router().oneshot(request).await.unwrap();
    assert_eq!(response.status(), 200);
    let mut chunks = response.into_body().into_data_stream();
    let mut text = Vec::new();
    while text.split(|it: &u8| *it == b'\n').count() <= count {
        match chunks.next().await {
            Some(chunk) => text.extend_from_slice(&chunk.unwrap()),
            None => break,
        }
    }
    let text = String::from_utf8(text).unwrap();
    text.lines().map(|it| serde_json::from_str(it).unwrap()).collect()
}

#[tokio::test]
async fn changes_arrive_in_order() {
    let fixture = start(options());
    let api = fixture.config_maps();
    let first: ConfigMap = fixture.create(config_map("a", "1")).await;
    let version = first.resource_version().unwrap();
    let mut events = pin!(api.watch(&WatchParams::default(), &version).await.unwrap());
    let _: ConfigMap = fixture.create(config_map("b", "1")).await;
    api.patch("b", &PatchParams::default(), &Patch::Merge(json!({"data": {"key": "2"}}))).await.unwrap();
    api.delete("b", &DeleteParams::default()).await.unwrap();
    let mut seen = Vec::new();
    while seen.len() < 3 {
        seen.push(match events.try_next().await.unwrap().unwrap() {
            WatchEvent::Added(it) => format!("added {}", it.name_any()),
            WatchEvent::Modified(it) => format!("modified {}", it.name_any()),
            WatchEvent::Deleted(it) => format!("deleted {}", it.name_any()),
            other => format!("{other:?}"),
        });
    }
    assert_eq!(seen, ["added b", "modified b", "deleted b"]);
}

#[tokio::test]
async fn selectors_turn_changes_into_arrivals_and_departures() {
    let fixture = start(options());
    let _: Pod = fixture.create(pod("a")).await;
    let pods = fixture.pods();
    let uri = "/api/v1/namespaces/default/pods?watch=true&labelSelector=app%3Da&timeoutSeconds=30";
    let label = |value: &str| Patch::Merge(json!({"metadata": {"labels": {"app": value}}}));
    let lines = tokio::join!(next_lines(&fixture, uri, 3), async {
        tokio::task::yield_now().await;
        pods.patch("a", &PatchParams::default(), &label("b")).await.unwrap();
        pods.patch("a", &PatchParams::default(), &label("c")).await.unwrap();
        pods.patch("a", &PatchParams::default(), &label("a")).await.unwrap();
    })
    .0;
    let seen: Vec<(&str, &str)> = lines
        .iter()
        .map(|it| (it["type"].as_str().unwrap(), it["object"]["metadata"]["labels"]["app"].as_str().unwrap()))
        .collect();
    assert_eq!(seen, [("ADDED", "a"), ("DELETED", "a"), ("ADDED", "a")]);
}

#[tokio::test]
async fn streaming_lists_end_with_a_bookmark() {
    let fixture = start(options());
    let _: ConfigMap = fixture.create(config_map("a", "1")).await;
    let api = fixture.config_maps();
    let mut events = pin!(watcher::watcher(api, watcher::Config::default().streaming_lists()));
    let mut seen = Vec::new();
    while seen.len() < 3 {
        seen.push(match events.try_next().await.unwrap().unwrap() {
            Event::Init => "init".to_owned(),
            Event::InitApply(it) => format!("init {}", it.name_any()),
            Event::InitDone => "done".to_owned(),
            other => format!("{other:?}"),
        });
    }
    assert_eq!(seen, ["init", "init a", "done"]);
    let _: ConfigMap = fixture.create(config_map("b", "1")).await;
    assert!(matches!(events.try_next().await.unwrap().unwrap(), Event::Apply(it) if it.name_any() == "b"));
}

#[tokio::test]
async fn an_expired_watch_is_a_stream_with_one_error() {
    let fixture = start(options());
    let _: ConfigMap = fixture.create(config_map("a", "1")).await;
    let resource = crate::apiserver::resources::find("", "v1", "configmaps").unwrap();
    fixture.server.store().truncate(resource);
    let uri = "/api/v1/namespaces/default/configmaps?watch=true&resourceVersion=1";
    let lines = next_lines(&fixture, uri, 9).await;
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0]["type"], "ERROR");
    assert_eq!(
        (&lines[0]["object"]["code"], &lines[0]["object"]["reason"]),
        (&json!(410), &json!("Expired"))
    );
}

#[tokio::test]
async fn a_watcher_that_fell_behind_lists_again() {
    let fixture = start(Options { ring_events: 4, ..options() });
    let api = fixture.config_maps();
    let _: ConfigMap = fixture.create(config_map("a", "0")).await;
    let mut events = pin!(watcher::watcher(api.clone(), watcher::Config::default().any_semantic()));
    while !matches!(events.try_next().await.unwrap().unwrap(), Event::InitDone) {}
    for turn in 1..20 {
        let patch = Patch::Merge(json!({"data": {"key": turn.to_string()}}));
        api.patch("a", &PatchParams::default(), &patch).await.unwrap();
    }
    let mut last = String::new();
    while last != "19" {
        if let Some(Ok(Event::InitApply(it) | Event::Apply(it))) = events.next().await {
            last = it.data.unwrap()["key"].clone();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn bookmarks_and_the_end() {
    let fixture = start(options());
    let uri = "/api/v1/configmaps?watch=true&allowWatchBookmarks=true&timeoutSeconds=150&resourceVersion=1";
    let lines = next_lines(&fixture, uri, 9).await;
    let types: Vec<&str> = lines.iter().map(|it| it["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["BOOKMARK", "BOOKMARK", "BOOKMARK"], "each minute, and before the timeout");
    let version = fixture.server.store().version().to_string();
    assert_eq!(lines[2]["object"]["metadata"]["resourceVersion"], version.as_str());
    assert_eq!(lines[2]["object"]["kind"], "ConfigMap");
}

#[tokio::test]
async fn table_watches_define_columns_once() {
    use tower::ServiceExt;
    let fixture = start(options());
    let _: ConfigMap = fixture.create(config_map("a", "1")).await;
    let _: ConfigMap = fixture.create(config_map("b", "1")).await;
    let request = Request::builder()
        .uri("/api/v1/namespaces/default/configmaps?watch=true&timeoutSeconds=1")
        .header("accept", "application/json;as=Table;v=v1;g=meta.k8s.io,application/json")
        .body(axum::body::Body::empty())
        .unwrap();
    let response = fixture.server.router().oneshot(request).await.unwrap();
    let chunk = response.into_body().into_data_stream().next().await.unwrap().unwrap();
    let lines: Vec<Value> =
        std::str::from_utf8(&chunk).unwrap().lines().map(|it| serde_json::from_str(it).unwrap()).collect();
    assert_eq!(lines.len(), 2);
    assert!(lines[0]["object"]["columnDefinitions"].as_array().is_some_and(|it| !it.is_empty()));
    assert!(lines[1]["object"]["columnDefinitions"].is_null());
    assert_eq!(lines[1]["object"]["rows"][0]["object"]["metadata"]["name"], "b");
}

#[tokio::test]
async fn many_watchers_see_every_event() {
    let fixture = start(options());
    let mut watchers = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let api = fixture.config_maps();
        watchers.spawn(async move {
            let mut events = pin!(watcher::watcher(api, watcher::Config::default()));
            let mut names = std::collections::BTreeSet::new();
            while names.len() < 500 {
                if let Some(Ok(Event::InitApply(it) | Event::Apply(it))) = events.next().await {
                    names.insert(it.name_any());
                }
            }
        });
    }
    for index in 0..500 {
        let _: ConfigMap = fixture.create(config_map(&format!("m{index}"), "1")).await;
    }
    while let Some(done) = watchers.join_next().await {
        done.unwrap();
    }
}
