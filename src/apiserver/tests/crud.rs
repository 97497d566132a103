//! Create, read, update, patch.

use super::*;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt;
use kube::api::{ListParams, Patch, PatchParams};

#[tokio::test]
async fn create_get_update() {
    let fixture = start(options());
    let api = fixture.config_maps();
    let created: ConfigMap = fixture.create(config_map("a", "1")).await;
    assert_eq!(created.namespace().as_deref(), Some("default"));
    assert!(created.uid().is_some());
    let created_at = serde_json::to_value(&created.metadata.creation_timestamp).unwrap();
    assert_eq!(created_at, "2026-01-01T00:00:00Z");
    let got = api.get("a").await.unwrap();
    assert_eq!(got, created);
    let again =
        api.create(&PostParams::default(), &serde_json::from_value(config_map("a", "2")).unwrap()).await;
    assert_eq!(status_of(again), (409, "AlreadyExists".into()));
    assert_eq!(status_of(api.get("b").await), (404, "NotFound".into()));

    let mut changed = got.clone();
    changed.data.as_mut().unwrap().insert("key".into(), "2".into());
    let updated = api.replace("a", &PostParams::default(), &changed).await.unwrap();
    assert_ne!(updated.resource_version(), got.resource_version());
    assert_eq!(updated.uid(), got.uid());
    let stale = api.replace("a", &PostParams::default(), &changed).await;
    assert_eq!(status_of(stale), (409, "Conflict".into()));
    changed.metadata.resource_version = None;
    changed.data.as_mut().unwrap().insert("key".into(), "3".into());
    api.replace("a", &PostParams::default(), &changed).await.unwrap();
}

#[tokio::test]
async fn a_write_that_changes_nothing_consumes_no_version() {
    let fixture = start(options());
    let api = fixture.config_maps();
    let created: ConfigMap = fixture.create(config_map("a", "1")).await;
    let before = fixture.server.store().version();
    let same = api.replace("a", &PostParams::default(), &created).await.unwrap();
    assert_eq!(same, created);
    let patch = json!({"data": {"key": "1"}});
    let same = api.patch("a", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    assert_eq!(same, created);
    assert_eq!(fixture.server.store().version(), before);
}

#[tokio::test]
async fn dry_run_stores_nothing() {
    let fixture = start(options());
    let api = fixture.config_maps();
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    let object: ConfigMap = serde_json::from_value(config_map("a", "1")).unwrap();
    let shown = api.create(&dry, &object).await.unwrap();
    assert!(shown.uid().is_some());
    assert_eq!(shown.resource_version(), None);
    assert!(api.get_opt("a").await.unwrap().is_none());
    let stored: ConfigMap = fixture.create(config_map("a", "1")).await;
    let patch = PatchParams { dry_run: true, ..PatchParams::default() };
    let shown = api.patch("a", &patch, &Patch::Merge(json!({"data": {"key": "2"}}))).await.unwrap();
    assert_eq!(shown.data.unwrap()["key"], "2");
    assert_eq!(shown.metadata.resource_version, stored.metadata.resource_version);
    assert_eq!(api.get("a").await.unwrap(), stored);
}

#[tokio::test]
async fn patches() {
    let fixture = start(options());
    let api = fixture.config_maps();
    let _: ConfigMap = fixture.create(config_map("a", "1")).await;
    let merged = json!({"metadata": {"labels": {"x": "y"}}, "data": {"key": null, "new": "2"}});
    let patched = api.patch("a", &PatchParams::default(), &Patch::Merge(merged)).await.unwrap();
    assert_eq!(patched.labels()["x"], "y");
    assert_eq!(serde_json::to_value(patched.data).unwrap(), json!({"new": "2"}));
    let operations = json!([
        {"op": "test", "path": "/metadata/finalizers", "value": null},
        {"op": "add", "path": "/metadata/finalizers", "value": ["example.com/f"]},
    ]);
    let patch = Patch::<()>::Json(serde_json::from_value(operations).unwrap());
    let patched = api.patch("a", &PatchParams::default(), &patch).await.unwrap();
    assert_eq!(patched.finalizers(), ["example.com/f"]);
    let failing = json!([{"op": "test", "path": "/data/new", "value": "other"}]);
    let patch = Patch::<()>::Json(serde_json::from_value(failing).unwrap());
    let failed = api.patch("a", &PatchParams::default(), &patch).await;
    assert_eq!(status_of(failed), (422, "Invalid".into()));
    let stale = json!({"metadata": {"resourceVersion": "1"}, "data": {"z": "1"}});
    let failed = api.patch("a", &PatchParams::default(), &Patch::Merge(stale)).await;
    assert_eq!(status_of(failed), (409, "Conflict".into()));
    let renamed =
        api.patch("a", &PatchParams::default(), &Patch::Merge(json!({"metadata": {"name": "b"}}))).await;
    assert_eq!(status_of(renamed), (400, "BadRequest".into()));
    let missing = api.patch("nope", &PatchParams::default(), &Patch::Merge(json!({}))).await;
    assert_eq!(status_of(missing), (404, "NotFound".into()));
}

#[tokio::test]
async fn server_side_apply_creates_and_changes() {
    let fixture = start(options());
    let api = fixture.config_maps();
    let params = PatchParams::apply("tester");
    let created = api.patch("a", &params, &Patch::Apply(config_map("a", "1"))).await.unwrap();
    assert_eq!(created.data.as_ref().unwrap()["key"], "1");
    let changed = api.patch("a", &params, &Patch::Apply(config_map("a", "2"))).await.unwrap();
    assert_eq!(changed.data.as_ref().unwrap()["key"], "2");
    assert_eq!(changed.uid(), created.uid());
    let other = api.patch("a", &PatchParams::apply("other"), &Patch::Apply(config_map("a", "3"))).await;
    assert_eq!(status_of(other), (409, "Conflict".into()));
    let forced =
        api.patch("a", &PatchParams::apply("other").force(), &Patch::Apply(config_map("a", "3"))).await;
    assert_eq!(forced.unwrap().data.unwrap()["key"], "3");
}

fn stateful_set(replicas: i32) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "web"}, "spec": {
        "replicas": replicas, "serviceName": "nginx", "selector": {"matchLabels": {"app": "x"}},
        "template": {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}}}})
}

#[tokio::test]
async fn status_scale_and_generation() {
    let fixture = start(options());
    let api: Api<StatefulSet> = Api::namespaced(fixture.client.clone(), "default");
    let created: StatefulSet = fixture.create(stateful_set(3)).await;
    assert_eq!(created.metadata.generation, Some(1));
    assert_eq!(created.spec.revision_history_limit, Some(10), "defaults are stored");
    let status = json!({"status": {"replicas": 3, "observedGeneration": 1}, "spec": {"replicas": 9}});
    let updated = api.patch_status("web", &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
    assert_eq!(updated.status.as_ref().unwrap().replicas, 3);
    assert_eq!(updated.spec.replicas, Some(3), "the status path leaves spec alone");
    assert_eq!(updated.metadata.generation, Some(1));
    let scale = api.get_scale("web").await.unwrap();
    assert_eq!(scale.status.unwrap().selector.as_deref(), Some("app=x"));
    let scaled = json!({"spec": {"replicas": 5}});
    let scale = api.patch_scale("web", &PatchParams::default(), &Patch::Merge(scaled)).await.unwrap();
    assert_eq!(scale.spec.unwrap().replicas, Some(5));
    let got = api.get("web").await.unwrap();
    assert_eq!((got.spec.replicas, got.metadata.generation), (Some(5), Some(2)));
    assert_eq!(got.status.unwrap().replicas, 3, "the main path leaves status alone");
    let invalid =
        api.patch("web", &PatchParams::default(), &Patch::Merge(json!({"spec": {"serviceName": "b"}}))).await;
    assert_eq!(status_of(invalid), (422, "Invalid".into()));
}

#[tokio::test]
async fn services_get_addresses() {
    let fixture = start(options());
    let api: Api<Service> = Api::namespaced(fixture.client.clone(), "default");
    let kubernetes = api.get("kubernetes").await.unwrap().spec.unwrap();
    assert_eq!(kubernetes.cluster_ip.as_deref(), Some("10.96.0.1"));
    let service = |name: &str, spec: Value| json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec});
    let ports = json!([{"port": 80}]);
    let created: Service = fixture
        .create(service("a", json!({"selector": {"app": "a"}, "type": "NodePort", "ports": ports})))
        .await;
    let spec = created.spec.clone().unwrap();
    assert!(spec.cluster_ip.as_ref().unwrap().starts_with("10.96."));
    assert_eq!(spec.cluster_ips.as_ref().unwrap()[0], *spec.cluster_ip.as_ref().unwrap());
    assert!((30_000..=32_767).contains(&spec.ports.as_ref().unwrap()[0].node_port.unwrap()));
    let headless: Service = fixture
        .create(service("h", json!({"clusterIP": "None", "selector": {"app": "a"}, "ports": ports})))
        .await;
    assert_eq!(headless.spec.unwrap().cluster_ip.as_deref(), Some("None"));
    // A manifest without addresses, put back, keeps what was allocated.
    let body: Service = serde_json::from_value(service(
        "a",
        json!({"selector": {"app": "b"}, "type": "NodePort", "ports": ports}),
    ))
    .unwrap();
    let kept = api.replace("a", &PostParams::default(), &body).await.unwrap().spec.unwrap();
    assert_eq!(kept.cluster_ip, spec.cluster_ip);
    assert_eq!(kept.ports.unwrap()[0].node_port, spec.ports.unwrap()[0].node_port);
    let taken: Service =
        serde_json::from_value(service("t", json!({"clusterIP": "10.96.0.1", "ports": ports}))).unwrap();
    assert_eq!(status_of(api.create(&PostParams::default(), &taken).await), (422, "Invalid".into()));
}

#[tokio::test]
async fn pages_show_one_snapshot() {
    let fixture = start(options());
    let api = fixture.config_maps();
    for index in 0..5 {
        let _: ConfigMap = fixture.create(config_map(&format!("m{index}"), "1")).await;
    }
    let first = api.list(&ListParams::default().limit(2)).await.unwrap();
    assert_eq!(first.metadata.remaining_item_count, Some(3));
    let token = first.metadata.continue_.clone().unwrap();
    api.delete("m2", &Default::default()).await.unwrap();
    let _: ConfigMap = fixture.create(config_map("m9", "1")).await;
    let rest = api.list(&ListParams::default().continue_token(&token)).await.unwrap();
    let names: Vec<String> = rest.items.iter().map(ResourceExt::name_any).collect();
    assert_eq!(names, ["m2", "m3", "m4"]);
    assert_eq!(rest.metadata.resource_version, first.metadata.resource_version);
    assert!(rest.metadata.continue_.is_none());
    let labelled = api.list(&ListParams::default().labels("app=none")).await.unwrap();
    assert!(labelled.items.is_empty());
    let named = api.list(&ListParams::default().fields("metadata.name=m3")).await.unwrap();
    assert_eq!(named.items.len(), 1);
    let unknown = api.list(&ListParams::default().fields("spec.nope=1")).await;
    assert_eq!(status_of(unknown), (400, "BadRequest".into()));
}
