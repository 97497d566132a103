//! Deletion, garbage collection, namespaces.

use super::*;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, Preconditions, PropagationPolicy};

async fn bound_pod(fixture: &Fixture, name: &str) -> Pod {
    let _: Pod = fixture.create(pod(name)).await;
    let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name},
        "target": {"kind": "Node", "name": "sim-0"}});
    let uri = format!("/api/v1/namespaces/default/pods/{name}/binding");
    let (code, _, body) = fixture.raw(Method::POST, &uri, &[], binding.to_string()).await;
    assert_eq!(code, 201, "{body}");
    fixture.pods().get(name).await.unwrap()
}

#[tokio::test]
async fn pods_are_deleted_gracefully() {
    let fixture = start(options());
    let api = fixture.pods();
    let bound = bound_pod(&fixture, "a").await;
    assert_eq!(bound.spec.as_ref().unwrap().node_name.as_deref(), Some("sim-0"));
    let left = api.delete("a", &DeleteParams::default()).await.unwrap();
    let waiting = left.left().expect("the object is returned while it waits");
    assert_eq!(waiting.metadata.deletion_grace_period_seconds, Some(30));
    let at = serde_json::to_value(&waiting.metadata.deletion_timestamp).unwrap();
    assert_eq!(at, "2026-01-01T00:00:30Z");
    let wrong = DeleteParams {
        preconditions: Some(Preconditions { uid: Some("other".into()), resource_version: None }),
        ..DeleteParams::default().grace_period(0)
    };
    assert_eq!(status_of(api.delete("a", &wrong).await), (409, "Conflict".into()));
    let gone = api.delete("a", &DeleteParams::default().grace_period(0)).await.unwrap();
    assert!(gone.is_left(), "immediate removal of a pod answers with the pod");
    assert!(api.get_opt("a").await.unwrap().is_none());
    let _: Pod = fixture.create(pod("idle")).await;
    assert!(api.delete("idle", &DeleteParams::default()).await.unwrap().is_left());
    let _: ConfigMap = fixture.create(config_map("a", "1")).await;
    assert!(fixture.config_maps().delete("a", &DeleteParams::default()).await.unwrap().is_right());
}

#[tokio::test]
async fn finalizers_hold_an_object() {
    let fixture = start(options());
    let api = fixture.config_maps();
    let mut object = config_map("a", "1");
    object["metadata"]["finalizers"] = json!(["example.com/f"]);
    let _: ConfigMap = fixture.create(object).await;
    let waiting = api.delete("a", &DeleteParams::default()).await.unwrap().left().unwrap();
    assert!(waiting.metadata.deletion_timestamp.is_some());
    let added = json!({"metadata": {"finalizers": ["example.com/f", "example.com/g"]}});
    let refused = api.patch("a", &PatchParams::default(), &Patch::Merge(added)).await;
    assert_eq!(status_of(refused), (422, "Invalid".into()));
    let freed = json!({"metadata": {"finalizers": null}});
    api.patch("a", &PatchParams::default(), &Patch::Merge(freed)).await.unwrap();
    assert!(api.get_opt("a").await.unwrap().is_none());
}

async fn set_with_pod(fixture: &Fixture) -> StatefulSet {
    let set: StatefulSet = fixture
        .create(json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "web"}, "spec": {
            "selector": {"matchLabels": {"app": "x"}}, "serviceName": "x",
            "template": {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}}}}))
        .await;
    let mut owned = pod("web-0");
    owned["metadata"]["ownerReferences"] = json!([{"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "web",
        "uid": set.uid(), "controller": true, "blockOwnerDeletion": true}]);
    let _: Pod = fixture.create(owned).await;
    set
}

#[tokio::test]
async fn dependents_follow_their_owner() {
    for policy in [PropagationPolicy::Background, PropagationPolicy::Foreground, PropagationPolicy::Orphan] {
        let fixture = start(options());
        let sets: Api<StatefulSet> = Api::namespaced(fixture.client.clone(), "default");
        set_with_pod(&fixture).await;
        let orphan = matches!(policy, PropagationPolicy::Orphan);
        let params = DeleteParams { propagation_policy: Some(policy), ..DeleteParams::default() };
        sets.delete("web", &params).await.unwrap();
        eventually("the set is gone", async || sets.get_opt("web").await.unwrap().is_none()).await;
        let pods = fixture.pods();
        if orphan {
            let kept = pods.get("web-0").await.unwrap();
            assert!(kept.owner_references().is_empty());
        } else {
            eventually("the pod is gone", async || pods.get_opt("web-0").await.unwrap().is_none()).await;
        }
    }
}

#[tokio::test]
async fn namespaces_are_emptied() {
    let fixture = start(options());
    let namespaces: Api<Namespace> = Api::all(fixture.client.clone());
    let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": "demo"}})).unwrap();
    namespaces.create(&PostParams::default(), &namespace).await.unwrap();
    let accounts: Api<ServiceAccount> = Api::namespaced(fixture.client.clone(), "demo");
    eventually("the default account appears", async || accounts.get_opt("default").await.unwrap().is_some())
        .await;
    let mut object = config_map("a", "1");
    object["metadata"]["namespace"] = "demo".into();
    object["metadata"]["finalizers"] = json!(["example.com/f"]);
    let _: ConfigMap = fixture.create(object).await;
    let waiting = namespaces.delete("demo", &DeleteParams::default()).await.unwrap().left().unwrap();
    assert_eq!(waiting.status.unwrap().phase.as_deref(), Some("Terminating"));
    let maps: Api<ConfigMap> = Api::namespaced(fixture.client.clone(), "demo");
    let late: ConfigMap = serde_json::from_value(config_map("late", "1")).unwrap();
    assert_eq!(status_of(maps.create(&PostParams::default(), &late).await), (403, "Forbidden".into()));
    eventually("the content is deleted", async || {
        maps.get("a").await.unwrap().metadata.deletion_timestamp.is_some()
    })
    .await;
    maps.patch("a", &PatchParams::default(), &Patch::Merge(json!({"metadata": {"finalizers": null}})))
        .await
        .unwrap();
    eventually("the namespace is gone", async || namespaces.get_opt("demo").await.unwrap().is_none()).await;
    assert!(accounts.list(&ListParams::default()).await.unwrap().items.is_empty());
    let system = namespaces.delete("kube-system", &DeleteParams::default()).await;
    assert_eq!(status_of(system), (403, "Forbidden".into()));
}

#[tokio::test]
async fn collections_are_deleted_by_selector() {
    let fixture = start(options());
    let _: Pod = fixture.create(pod("a")).await;
    let _: Pod = fixture.create(pod("b")).await;
    let pods = fixture.pods();
    let deleted = pods
        .delete_collection(&DeleteParams::default(), &ListParams::default().labels("app=a"))
        .await
        .unwrap();
    assert_eq!(deleted.left().unwrap().items.len(), 1);
    assert_eq!(pods.list(&ListParams::default()).await.unwrap().items.len(), 1);
}

#[tokio::test]
async fn evictions_delete() {
    let fixture = start(options());
    bound_pod(&fixture, "a").await;
    let pods = fixture.pods();
    pods.evict("a", &Default::default()).await.unwrap();
    assert!(pods.get("a").await.unwrap().metadata.deletion_timestamp.is_some());
}
