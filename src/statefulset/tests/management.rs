//! Creation, scaling, failed pods and condemned pods under both kinds of management: sections by what kubectl shows.

use super::*;

#[tokio::test]
async fn a_new_set_records_its_template_then_brings_up_one_pod_after_the_other() {
    let mut world = World::with(web(3, json!({}))).await;
    assert_eq!(world.sync().await, ["create revision 1", "create pod web-0", "status"]);
    assert_eq!(world.counters().await, "0/0/0/0/0", "a pod made by this very sync is not counted");
    assert_eq!(world.sync().await, ["status"]);
    assert_eq!(world.counters().await, "1/0/0/1/1");
    assert_eq!(world.sync().await, [""; 0], "it waits for web-0");
    world.ready("web-0").await;
    assert_eq!(world.sync().await, ["create pod web-1", "status"]);
    assert_eq!(world.settle().await, ["create pod web-2"]);
    assert_eq!(world.counters().await, "3/3/3/3/3");
    assert_eq!(
        world.events(),
        [0, 1, 2]
            .map(|it| format!("Normal SuccessfulCreate create Pod web-{it} in StatefulSet web successful"))
    );
}

#[tokio::test]
async fn a_pod_carries_identity_labels_and_owner() {
    let world = World::with(web(1, json!({ "spec": { "ordinals": { "start": 5 } } }))).await;
    world.sync().await;
    let pod = world.pods().get("web-5").await.unwrap();
    let revision = world.status().await.update_revision.unwrap();
    let labels = pod.labels();
    assert_eq!(labels["statefulset.kubernetes.io/pod-name"], "web-5");
    assert_eq!(labels["apps.kubernetes.io/pod-index"], "5");
    assert_eq!(labels["controller-revision-hash"], revision);
    assert_eq!(pod.metadata.generate_name.as_deref(), Some("web-"));
    let owner = &pod.owner_references()[0];
    assert_eq!((owner.controller, owner.block_owner_deletion), (Some(true), Some(true)));
    let spec = pod.spec.unwrap();
    assert_eq!((spec.hostname.as_deref(), spec.subdomain.as_deref()), (Some("web-5"), Some("web")));
}

#[tokio::test]
async fn parallel_brings_up_all_pods_in_one_sync() {
    let world = World::with(web(4, parallel())).await;
    let pods = ["create pod web-0", "create pod web-1", "create pod web-2", "create pod web-3"];
    assert_eq!(world.sync().await, [&["create revision 1"][..], &pods, &["status"]].concat());
}

#[tokio::test]
async fn scaling_down_takes_the_highest_pod_and_waits_until_it_is_gone() {
    let mut world = World::with(web(3, json!({}))).await;
    world.settle().await;
    world.events();
    world.edit(json!({ "spec": { "replicas": 1 } })).await;
    assert_eq!(world.sync().await, ["delete pod web-2", "status"]);
    assert_eq!(world.events(), ["Normal SuccessfulDelete delete Pod web-2 in StatefulSet web successful"]);
    assert_eq!(world.sync().await, ["status"]);
    assert_eq!(world.counters().await, "3/3/3/2/2", "a terminating pod still exists and is ready");
    assert_eq!(world.sync().await, [""; 0]);
    world.gone("web-2").await;
    assert_eq!(world.sync().await, ["delete pod web-1", "status"]);
    assert_eq!(world.settle().await, [""; 0]);
    assert_eq!(world.counters().await, "1/1/1/1/1");
}

#[tokio::test]
async fn parallel_scales_down_in_one_sync() {
    let world = World::with(web(4, parallel())).await;
    world.settle().await;
    world.edit(json!({ "spec": { "replicas": 1 } })).await;
    assert_eq!(world.sync().await, ["delete pod web-3", "delete pod web-2", "delete pod web-1", "status"]);
}

#[tokio::test]
async fn an_unhealthy_pod_that_stays_holds_up_scaling_down() {
    let world = World::with(web(3, json!({}))).await;
    world.settle().await;
    world.set_phase("web-0", "Running", false).await;
    world.edit(json!({ "spec": { "replicas": 1 } })).await;
    assert_eq!(world.sync().await, ["status"]);
    world.ready("web-0").await;
    assert_eq!(world.sync().await, ["delete pod web-2", "status"]);
}

#[tokio::test]
async fn of_two_broken_condemned_pods_neither_goes_until_the_lower_one_recovers() {
    let world = World::with(web(3, json!({}))).await;
    world.settle().await;
    world.set_phase("web-1", "Running", false).await;
    world.set_phase("web-2", "Running", false).await;
    world.edit(json!({ "spec": { "replicas": 1 } })).await;
    assert_eq!(world.sync().await, ["status"]);
    world.ready("web-1").await;
    assert_eq!(world.sync().await, ["delete pod web-2", "status"], "one broken pod may go");
}

#[tokio::test]
async fn failed_and_succeeded_pods_are_replaced_in_a_later_sync() {
    let mut world = World::with(web(2, json!({}))).await;
    world.settle().await;
    for phase in ["Failed", "Succeeded"] {
        world.events();
        world.set_phase("web-0", phase, false).await;
        assert_eq!(world.sync().await, ["delete pod web-0", "status"], "{phase}");
        assert_eq!(world.counters().await, "2/1/1/2/2", "a {phase} pod still counts as a replica");
        assert_eq!(
            world.events(),
            ["Normal SuccessfulDelete delete Pod web-0 in StatefulSet web successful"]
        );
        assert_eq!(world.sync().await, ["create pod web-0", "status"]);
        world.settle().await;
    }
}

#[tokio::test]
async fn min_ready_seconds_delays_the_next_pod_and_asks_for_a_look_at_the_exact_moment() {
    let world = World::with(web(2, json!({ "spec": { "minReadySeconds": 10 } }))).await;
    world.sync().await;
    world.ready("web-0").await;
    assert_eq!(world.sync().await, ["status"]);
    assert_eq!(world.counters().await, "1/1/0/1/1");
    pass(4);
    world.refresh().await;
    let (next, lines) = world.reconcile().await;
    assert_eq!((next, lines.len()), (Ok(Next::After(std::time::Duration::from_secs(6))), 0));
    pass(6);
    assert_eq!(world.sync().await, ["create pod web-1", "status"]);
    assert_eq!(world.counters().await, "1/1/1/1/1");
}

#[tokio::test]
async fn moving_the_start_ordinal_up_creates_the_new_top_before_removing_the_low_end() {
    let world = World::with(web(2, json!({}))).await;
    world.settle().await;
    world.edit(json!({ "spec": { "ordinals": { "start": 2 } } })).await;
    assert_eq!(
        world.settle().await,
        ["create pod web-2", "create pod web-3", "delete pod web-1", "delete pod web-0"]
    );
}

#[tokio::test]
async fn a_set_being_deleted_writes_its_status_and_nothing_else() {
    let world = World::with(web(3, with_claims("Delete", "Delete"))).await;
    world.settle().await;
    let foreground = DeleteParams {
        propagation_policy: Some(kube::api::PropagationPolicy::Foreground),
        ..Default::default()
    };
    world.api::<StatefulSet>().delete("web", &foreground).await.unwrap();
    world.delete("web-2").await;
    world.gone("web-2").await;
    world.set_phase("web-1", "Failed", false).await;
    assert_eq!(world.sync().await, ["status"]);
    assert_eq!(world.counters().await, "2/1/1/2/2");
    assert_eq!(world.sync().await, [""; 0]);
}

#[tokio::test]
async fn a_lost_identity_label_is_written_again() {
    let mut world = World::with(web(1, json!({}))).await;
    world.settle().await;
    world.events();
    let label = json!({ "metadata": { "labels": { "statefulset.kubernetes.io/pod-name": null } } });
    world.pods().patch("web-0", &PatchParams::default(), &Patch::Merge(label)).await.unwrap();
    assert_eq!(world.sync().await, ["label pod web-0"]);
    assert_eq!(world.events(), ["Normal SuccessfulUpdate update Pod web-0 in StatefulSet web successful"]);
    assert_eq!(
        world.pods().get("web-0").await.unwrap().labels()["statefulset.kubernetes.io/pod-name"],
        "web-0"
    );
    assert_eq!(world.sync().await, [""; 0]);
}

#[tokio::test]
async fn a_name_too_long_for_a_label_is_told_and_does_not_loop() {
    let mut world = World::new();
    let name = "x".repeat(60);
    let mut set = web(1, json!({}));
    set["metadata"]["name"] = json!(name);
    world.create(set).await;
    world.refresh().await;
    let key = ObjectKey::new("default", name.as_str());
    world.reconciler.reconcile(&key).await.unwrap();
    let lines = std::mem::take(&mut world.recorded.lock().unwrap().lines);
    assert_eq!(lines, ["create revision 1", "status"]);
    let events = world.events();
    assert!(
        events[0].starts_with("Warning FailedCreate create Pod ") && events[0].contains("63"),
        "{events:?}"
    );
}

#[tokio::test]
async fn conditions_of_others_survive_our_status() {
    let world = World::with(web(1, json!({}))).await;
    let condition = json!([{ "type": "Theirs", "status": "True" }]);
    let patch = json!({ "status": { "replicas": 0, "conditions": condition } });
    let sets: Api<StatefulSet> = world.api();
    sets.patch_status("web", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    world.settle().await;
    let conditions = world.status().await.conditions.unwrap();
    assert!(conditions.iter().any(|it| it.type_.as_deref() == Some("Theirs")), "{conditions:?}");
}

#[tokio::test]
async fn a_parallel_set_scales_up_and_down_while_none_of_its_pods_is_healthy() {
    let world = World::with(web(2, parallel())).await;
    world.sync().await;
    for pod in ["web-0", "web-1"] {
        world.bind(pod).await;
        world.set_phase(pod, "Running", false).await;
    }
    world.edit(json!({ "spec": { "replicas": 4 } })).await;
    assert_eq!(world.sync().await, ["create pod web-2", "create pod web-3", "status"]);
    world.edit(json!({ "spec": { "replicas": 0 } })).await;
    let deletes = ["delete pod web-3", "delete pod web-2", "delete pod web-1", "delete pod web-0"];
    assert_eq!(world.sync().await, [&deletes[..], &["status"]].concat());
}

#[tokio::test]
async fn a_pod_held_by_a_finalizer_keeps_its_ordinal_until_it_is_let_go() {
    for with in [json!({}), parallel()] {
        let world = World::with(web(2, with)).await;
        world.settle().await;
        let held = json!({ "metadata": { "finalizers": ["test/held"] } });
        world.pods().patch("web-0", &PatchParams::default(), &Patch::Merge(held)).await.unwrap();
        world.set_phase("web-0", "Failed", false).await;
        assert_eq!(world.sync().await, ["delete pod web-0", "status"]);
        assert_eq!(world.sync().await, ["status"]);
        assert_eq!(world.counters().await, "2/1/1/1/1", "a terminating pod is at no revision");
        assert_eq!(world.sync().await, [""; 0], "the finalizer is not ours to remove");
        let free = json!({ "metadata": { "finalizers": null } });
        world.pods().patch("web-0", &PatchParams::default(), &Patch::Merge(free)).await.unwrap();
        assert_eq!(world.sync().await, ["create pod web-0", "status"]);
    }
}

#[tokio::test]
async fn raising_min_ready_seconds_takes_availability_back() {
    let world = World::with(web(2, json!({}))).await;
    world.settle().await;
    pass(10);
    world.edit(json!({ "spec": { "minReadySeconds": 3600 } })).await;
    assert_eq!(world.sync().await, ["status"]);
    assert_eq!(world.counters().await, "2/2/0/2/2");
    world.edit(json!({ "spec": { "minReadySeconds": 5 } })).await;
    world.sync().await;
    assert_eq!(world.counters().await, "2/2/2/2/2");
}
