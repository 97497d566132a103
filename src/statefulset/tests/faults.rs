//! Answers that are no success: what is still done, what is told, and what is tried again.

use super::*;

const QUOTA: &str = "pods \"web-1\" is forbidden: exceeded quota";

#[tokio::test]
async fn a_quota_is_told_in_the_words_of_the_api_server_and_the_status_is_written_all_the_same() {
    let mut world = World::with(web(2, json!({}))).await;
    world.fail("create pod web-0", 403, "Forbidden", "pods \"web-0\" is forbidden: exceeded quota", 1);
    assert_eq!(world.sync().await, ["create revision 1", "create pod web-0 !", "status"]);
    assert_eq!(
        world.events(),
        [
            "Warning FailedCreate create Pod web-0 in StatefulSet web failed error: pods \"web-0\" is forbidden: exceeded quota"
        ]
    );
    assert_eq!(world.sync().await, ["create pod web-0"]);
}

#[tokio::test]
async fn a_pod_name_taken_meanwhile_is_not_told() {
    let mut world = World::with(web(1, json!({}))).await;
    world.fail("create pod web-0", 409, "AlreadyExists", "pods \"web-0\" already exists", 1);
    world.refresh().await;
    let (next, lines) = world.reconcile().await;
    assert!(next.is_err(), "it is tried again");
    assert_eq!(lines, ["create revision 1", "create pod web-0 !", "status"]);
    assert_eq!(world.events(), [""; 0]);
}

#[tokio::test]
async fn parallel_goes_past_a_failing_ordinal_and_leaves_it_alone_for_a_while() {
    let world = World::with(web(4, parallel())).await;
    world.fail("create pod web-0", 403, "Forbidden", QUOTA, 2);
    world.refresh().await;
    let (next, lines) = world.reconcile().await;
    assert!(next.is_err());
    let all = ["create pod web-0 !", "create pod web-1", "create pod web-2", "create pod web-3"];
    assert_eq!(lines, [&["create revision 1"][..], &all, &["status"]].concat());
    for pod in ["web-1", "web-2", "web-3"] {
        world.ready(pod).await;
    }
    world.edit(json!({ "spec": { "replicas": 4 } })).await;
    world.refresh().await;
    let (next, lines) = world.reconcile().await;
    assert_eq!(lines, ["status"], "an event does not try it again before its time");
    assert_eq!(next, Ok(Next::After(std::time::Duration::from_millis(5))));
    pass(1);
    assert_eq!(world.sync().await, ["create pod web-0 !"]);
    pass(1);
    assert_eq!(world.sync().await, ["create pod web-0"]);
}

#[tokio::test]
async fn a_failing_ordinal_keeps_neither_scaling_down_nor_an_update_from_its_turn() {
    let world = World::with(web(3, parallel())).await;
    world.settle().await;
    world.delete("web-0").await;
    world.gone("web-0").await;
    let budget = json!({ "spec": { "replicas": 2, "updateStrategy": { "type": "RollingUpdate",
        "rollingUpdate": { "maxUnavailable": 2 } } } });
    world.edit(budget).await;
    world.edit(image("two")).await;
    world.fail("create pod web-0", 403, "Forbidden", QUOTA, 1);
    assert_eq!(world.sync().await, ["create revision 2", "create pod web-0 !", "status"]);
    assert_eq!(world.sync().await, ["delete pod web-2", "delete pod web-1"]);
}

#[tokio::test]
async fn slow_start_gives_up_when_nothing_succeeds() {
    let world = World::with(web(50, parallel())).await;
    world.fail("create pod", 403, "Forbidden", QUOTA, 1_000);
    let lines = world.sync().await;
    assert_eq!(lines.iter().filter(|it| it.starts_with("create pod")).count(), 3, "{lines:?}");
}

#[tokio::test]
async fn ordered_ready_ends_at_the_first_error() {
    let world = World::with(web(3, json!({}))).await;
    world.settle().await;
    for pod in ["web-0", "web-1"] {
        world.set_phase(pod, "Failed", false).await;
    }
    world.fail("delete pod web-0", 500, "InternalError", "no", 1);
    assert_eq!(world.sync().await, ["delete pod web-0 !", "status"]);
}

#[tokio::test]
async fn every_missing_claim_is_tried_and_the_pod_waits_for_all() {
    let template = |name: &str| {
        let mut it = with_claims("Retain", "Retain")["spec"]["volumeClaimTemplates"][0].clone();
        it["metadata"]["name"] = json!(name);
        it
    };
    let two = json!({ "spec": { "volumeClaimTemplates": [template("data"), template("logs")] } });
    let mut world = World::with(web(1, two)).await;
    world.fail("create claim data-web-0", 403, "Forbidden", "no quota", 1);
    let lines = world.sync().await;
    assert_eq!(
        lines,
        ["create revision 1", "create claim data-web-0 !", "create claim logs-web-0", "status"]
    );
    assert_eq!(
        world.events(),
        [
            "Warning FailedCreate create Claim data-web-0 for Pod web-0 in StatefulSet web failed error: no quota",
            "Normal SuccessfulCreate create Claim logs-web-0 Pod web-0 in StatefulSet web success",
            "Warning FailedCreate create Pod web-0 in StatefulSet web failed error: failed to create PVC data-web-0: no quota",
        ]
    );
    // A claim name that is taken meanwhile is told with the pod only.
    let message = "persistentvolumeclaims \"data-web-0\" already exists";
    world.fail("create claim data-web-0", 409, "AlreadyExists", message, 1);
    world.sync().await;
    assert_eq!(
        world.events(),
        [format!(
            "Warning FailedCreate create Pod web-0 in StatefulSet web failed error: failed to create PVC data-web-0: {message}"
        )]
    );
    assert_eq!(world.sync().await, ["create claim data-web-0", "create pod web-0"]);
}

#[tokio::test]
async fn a_revision_that_can_not_be_recorded_is_not_spoken_of() {
    let world = World::with(web(1, json!({}))).await;
    world.fail("create revision", 500, "InternalError", "no", 1);
    assert_eq!(world.sync().await, ["create revision 1 !"]);
    assert_eq!(world.status().await.update_revision, None);
    assert_eq!(world.sync().await, ["create revision 1", "create pod web-0", "status"]);
}

#[tokio::test]
async fn a_status_written_by_somebody_else_meanwhile_is_looked_at_again_without_complaint() {
    let world = World::with(web(1, json!({}))).await;
    world.fail("status", 409, "Conflict", "the object has been modified", 1);
    world.refresh().await;
    let (next, lines) = world.reconcile().await;
    assert!(matches!(next, Ok(Next::After(_))), "{next:?}");
    assert_eq!(lines, ["create revision 1", "create pod web-0", "status !"]);
    assert_eq!(world.sync().await, ["status"]);
}

/// INV-3.
#[tokio::test]
async fn a_failed_pod_that_recovered_meanwhile_is_not_deleted() {
    let mut world = World::with(web(1, json!({}))).await;
    world.settle().await;
    world.events();
    world.set_phase("web-0", "Failed", false).await;
    world.refresh().await;
    // The reason of the deletion is the pod's status, so it names the version of that status.
    world.ready("web-0").await;
    let (next, lines) = world.reconcile().await;
    assert!(next.is_err());
    assert_eq!(lines[0], "delete pod web-0");
    let pod = world.pods().get("web-0").await.unwrap();
    assert!(pod.metadata.deletion_timestamp.is_none());
    assert_eq!(world.events(), [""; 0]);
}

/// LIV-2.
#[tokio::test]
async fn a_sync_with_nothing_to_do_writes_nothing() {
    for set in [web(3, json!({})), web(3, parallel()), web(2, with_claims("Delete", "Delete"))] {
        let world = World::with(set).await;
        world.settle().await;
        for _ in 0..3 {
            world.refresh().await;
            let (next, lines) = world.reconcile().await;
            assert_eq!((next, lines), (Ok(Next::Event), Vec::new()), "not even reads");
        }
    }
}

/// DES-2.
#[tokio::test]
async fn no_plan_is_made_on_a_view_older_than_our_last_write() {
    let world = World::with(web(3, parallel())).await;
    world.refresh().await;
    let (_, lines) = world.reconcile().await;
    assert_eq!(lines.len(), 5);
    // The caches have not moved: the same plan would create every pod again.
    for _ in 0..3 {
        let (next, lines) = world.reconcile().await;
        assert_eq!((next, lines), (Ok(Next::OwnWrites), Vec::new()));
    }
    assert_eq!(world.sync().await, ["status"]);
}

/// DES-2.
#[tokio::test]
async fn a_write_of_any_kind_is_waited_for() {
    let set = web(1, with_claims("Delete", "Delete"));
    for kind in ["sets", "pods", "claims", "revisions"] {
        let world = World::with(set.clone()).await;
        world.sync().await;
        world.refresh_but(kind).await;
        let (next, lines) = world.reconcile().await;
        assert_eq!((next, lines), (Ok(Next::OwnWrites), Vec::new()), "the cache of {kind} is behind");
        world.settle().await;
    }
    // A deletion shows when the pod is terminating or gone, a changed owner when the claim has it.
    for kind in ["pods", "claims"] {
        let world = World::with(set.clone()).await;
        world.settle().await;
        world.edit(json!({ "spec": { "replicas": 0 } })).await;
        assert_eq!(world.sync().await[..2], ["own claim data-web-0 [Pod]", "delete pod web-0"]);
        world.refresh_but(kind).await;
        assert_eq!(
            world.reconcile().await,
            (Ok(Next::OwnWrites), Vec::new()),
            "the cache of {kind} is behind"
        );
    }
}

/// DES-2.
#[tokio::test]
async fn one_set_does_not_wait_for_the_writes_of_another() {
    let world = World::with(web(1, json!({}))).await;
    let mut other = web(1, json!({}));
    other["metadata"]["name"] = json!("other");
    other["spec"]["selector"]["matchLabels"]["app"] = json!("other");
    other["spec"]["template"]["metadata"]["labels"]["app"] = json!("other");
    world.create(other).await;
    world.refresh().await;
    world.reconcile().await.0.unwrap();
    world.reconciler.reconcile(&ObjectKey::new("default", "other")).await.unwrap();
    let lines = std::mem::take(&mut world.recorded.lock().unwrap().lines);
    assert_eq!(lines, ["create revision 1", "create pod other-0", "status"]);
}

#[tokio::test]
async fn a_set_whose_status_the_stock_controller_writes_after_us_is_left_alone_and_that_is_told() {
    let mut world = World::with(web(2, json!({}))).await;
    world.sync().await;
    world.refresh().await;
    world.events();
    let sets: Api<StatefulSet> = world.api();
    let mut raw = serde_json::to_value(sets.get("web").await.unwrap()).unwrap();
    let stamp = |manager: &str, at: Timestamp| json!({ "manager": manager, "subresource": "status", "time": at.to_string() });
    raw["metadata"]["managedFields"] =
        json!([stamp("ordinal", now()), stamp("kube-controller-manager", now())]);
    world.stores.sets.apply(super::super::model::SetSpec::narrow(&raw).unwrap());
    assert_eq!(world.reconcile().await.1, ["status"], "a take-over within a second is none of our business");
    world.refresh().await;
    pass(1);
    let mut raw = serde_json::to_value(sets.get("web").await.unwrap()).unwrap();
    raw["metadata"]["managedFields"] =
        json!([stamp("ordinal", now()), stamp("kube-controller-manager", now())]);
    raw["metadata"]["managedFields"][0]["time"] = json!("2001-01-01T00:00:00Z");
    world.stores.sets.apply(super::super::model::SetSpec::narrow(&raw).unwrap());
    world.ready("web-0").await;
    let (next, lines) = world.reconcile().await;
    assert_eq!((next, lines.len()), (Ok(Next::After(std::time::Duration::from_secs(300))), 0));
    assert!(
        world.events()[0]
            .starts_with("Warning ConflictingController kube-controller-manager wrote the status")
    );
}

#[tokio::test]
async fn writes_to_pods_that_fail_are_told_with_the_verb() {
    let mut world = World::with(web(2, json!({}))).await;
    world.settle().await;
    world.events();
    let label = json!({ "metadata": { "labels": { "statefulset.kubernetes.io/pod-name": null } } });
    world.pods().patch("web-0", &PatchParams::default(), &Patch::Merge(label)).await.unwrap();
    world.fail("label pod web-0", 403, "Forbidden", "not allowed", 1);
    world.sync().await;
    assert_eq!(
        world.events(),
        ["Warning FailedUpdate update Pod web-0 in StatefulSet web failed error: not allowed"]
    );
    world.sync().await;
    world.events();
    world.edit(json!({ "spec": { "replicas": 1 } })).await;
    world.fail("delete pod web-1", 500, "InternalError", "no etcd", 1);
    assert_eq!(world.sync().await, ["delete pod web-1 !", "status"]);
    assert_eq!(
        world.events(),
        ["Warning FailedDelete delete Pod web-1 in StatefulSet web failed error: no etcd"]
    );
}

#[tokio::test]
async fn an_update_ends_at_the_first_deletion_that_fails() {
    let strategy = json!({ "spec": { "podManagementPolicy": "Parallel", "updateStrategy": {
        "type": "RollingUpdate", "rollingUpdate": { "maxUnavailable": 3 } } } });
    let world = World::with(web(4, strategy)).await;
    world.settle().await;
    world.edit(image("two")).await;
    world.fail("delete pod web-2", 500, "InternalError", "no", 1);
    let lines = world.sync().await;
    assert_eq!(lines, ["create revision 2", "delete pod web-3", "delete pod web-2 !", "status"]);
}
