//! What annotations add, and that nothing changes without them or with values that are not understood.

use super::*;

fn annotated(pairs: &[(&str, &str)]) -> Value {
    let annotations: Value =
        pairs.iter().map(|(name, it)| (format!("ordinal.dev/{name}"), json!(it))).collect();
    json!({ "metadata": { "annotations": annotations } })
}

fn both(mut a: Value, b: &Value) -> Value {
    json_patch::merge(&mut a, b);
    a
}

/// Five pods; a rollout of a broken image has stopped at web-4, and the template is good again.
async fn stuck(with: Value) -> World {
    let world = World::with(web(5, with)).await;
    world.settle().await;
    world.edit(image("broken")).await;
    world.sync().await;
    world.gone("web-4").await;
    world.sync().await;
    world.edit(image("two")).await;
    assert_eq!(world.sync().await, ["create revision 3", "status"]);
    assert_eq!(world.sync().await, [""; 0], "as Kubernetes: somebody must delete web-4");
    world
}

#[tokio::test]
async fn unstick_replaces_the_broken_pod_and_the_rollout_goes_on() {
    for with in [json!({}), json!({ "spec": { "updateStrategy": { "type": "RollingUpdate" } } })] {
        let world = stuck(with).await;
        world.edit(annotated(&[("unstick", "outdated")])).await;
        assert_eq!(world.sync().await, ["delete pod web-4"]);
        world.settle().await;
        assert_eq!(world.images().await, "web-0=two web-1=two web-2=two web-3=two web-4=two");
    }
}

#[tokio::test]
async fn unstick_leaves_updated_pods_and_those_below_the_partition() {
    let partition = json!({ "spec": { "updateStrategy": { "type": "RollingUpdate", "rollingUpdate": { "partition": 3 } } } });
    let world = World::with(web(5, both(partition, &annotated(&[("unstick", "outdated")])))).await;
    world.settle().await;
    world.edit(image("two")).await;
    world.settle().await;
    for pod in ["web-1", "web-4"] {
        world.set_phase(pod, "Running", false).await;
    }
    assert_eq!(world.sync().await, ["status"], "web-1 is below the partition");
    world.ready("web-1").await;
    assert_eq!(world.sync().await, ["status"], "web-4 is not outdated");
}

#[tokio::test]
async fn unstick_waits_for_the_age_asked_for() {
    let world = stuck(json!({})).await;
    world.edit(annotated(&[("unstick", "outdated"), ("unstick-after", "5m")])).await;
    world.refresh().await;
    let (next, lines) = world.reconcile().await;
    assert_eq!((next, lines.len()), (Ok(Next::After(std::time::Duration::from_secs(300))), 0));
    pass(300);
    assert_eq!(world.sync().await, ["delete pod web-4"]);
}

#[tokio::test]
async fn max_unavailable_is_read_from_the_annotation_where_the_field_is_absent() {
    let dropped = json!({ "spec": { "podManagementPolicy": "Parallel", "updateStrategy": { "type": "RollingUpdate" } } });
    let kept = json!({ "spec": { "podManagementPolicy": "Parallel", "updateStrategy": { "type": "RollingUpdate",
        "rollingUpdate": { "maxUnavailable": 1 } } } });
    for (spec, value, want) in
        [(&dropped, "2", 2), (&dropped, "50%", 3), (&kept, "2", 1), (&dropped, "none", 1), (&dropped, "0", 1)]
    {
        let world = World::with(web(6, both(spec.clone(), &annotated(&[("max-unavailable", value)])))).await;
        world.settle().await;
        world.edit(image("two")).await;
        let lines = world.sync().await;
        let deleted = lines.iter().filter(|it| it.starts_with("delete pod")).count();
        assert_eq!(deleted, want, "{value}: {lines:?}");
    }
}

#[tokio::test]
async fn reserved_ordinals_have_no_pod_and_do_not_count() {
    let world = World::with(web(3, annotated(&[("reserve-ordinals", "1,3-5")]))).await;
    assert_eq!(
        world.settle().await,
        ["create revision 1", "create pod web-0", "create pod web-2", "create pod web-6"]
    );
    assert_eq!(world.counters().await, "3/3/3/3/3");
    world.edit(annotated(&[("reserve-ordinals", "0-1")])).await;
    assert_eq!(
        world.settle().await,
        ["create pod web-3", "create pod web-4", "delete pod web-6", "delete pod web-0"],
        "what is missing comes before what is too much goes"
    );
    world.edit(json!({ "metadata": { "annotations": { "ordinal.dev/reserve-ordinals": null } } })).await;
    assert_eq!(
        world.settle().await,
        ["create pod web-0", "create pod web-1", "delete pod web-4", "delete pod web-3"],
        "without the annotation it is a plain set again"
    );
}

#[tokio::test]
async fn a_partition_counts_pods_not_ordinals() {
    let partition = json!({ "spec": { "updateStrategy": { "type": "RollingUpdate", "rollingUpdate": { "partition": 2 } } } });
    let world = World::with(web(3, both(partition, &annotated(&[("reserve-ordinals", "1,3-5")])))).await;
    world.settle().await;
    world.edit(image("two")).await;
    world.settle().await;
    assert_eq!(world.images().await, "web-0=one web-2=one web-6=two");
    for pod in ["web-2", "web-6"] {
        world.delete(pod).await;
    }
    world.settle().await;
    assert_eq!(world.images().await, "web-0=one web-2=one web-6=two");
}

#[tokio::test]
async fn a_management_policy_can_be_changed_and_changed_back() {
    let world = World::with(web(3, annotated(&[("pod-management-policy", "Parallel")]))).await;
    let pods = ["create pod web-0", "create pod web-1", "create pod web-2"];
    assert_eq!(world.sync().await, [&["create revision 1"][..], &pods, &["status"]].concat());
    world.settle().await;
    world.edit(json!({ "metadata": { "annotations": null }, "spec": { "replicas": 1 } })).await;
    assert_eq!(world.sync().await, ["delete pod web-2", "status"], "one by one");
}

#[tokio::test]
async fn values_that_are_not_understood_are_quoted_in_an_event_and_change_nothing() {
    let pairs = [
        ("unstick", "yes"),
        ("max-unavailable", "a few"),
        ("reserve-ordinals", "0..3"),
        ("pod-management-policy", "Burst"),
        ("claims", "{\"www\":{\"storage\":\"2Gi\"}}"),
        ("claim-update", "Now"),
    ];
    let mut world = World::with(web(2, annotated(&pairs))).await;
    assert_eq!(world.sync().await, ["create revision 1", "create pod web-0", "status"]);
    let events = world.events();
    for (name, value) in pairs {
        let quoted =
            format!("Warning InvalidAnnotation annotation ordinal.dev/{name}: {value:?} is not understood");
        assert!(events.iter().any(|it| it.starts_with(&quoted)), "{quoted}: {events:?}");
    }
}

impl World {
    async fn size(&self, claim: &str) -> String {
        let it = self.api::<PersistentVolumeClaim>().get(claim).await.unwrap();
        it.spec.unwrap().resources.unwrap().requests.unwrap()["storage"].0.clone()
    }

    /// Binds every claim, and says whether their class lets volumes grow.
    async fn bind_claims(&self, expandable: bool) {
        let claims: Api<PersistentVolumeClaim> = self.api();
        for it in claims.list(&ListParams::default()).await.unwrap() {
            let status = json!({ "status": { "phase": "Bound", "capacity": { "storage": "1Gi" } } });
            let patch = Patch::Merge(status);
            claims.patch_status(&it.name_any(), &PatchParams::default(), &patch).await.unwrap();
        }
        let class = json!({ "allowVolumeExpansion": expandable });
        let classes: Api<k8s_openapi::api::storage::v1::StorageClass> = Api::all(self.client.clone());
        classes.patch("standard", &PatchParams::default(), &Patch::Merge(class)).await.unwrap();
    }
}

const LARGER: (&str, &str) = ("claims", "{\"data\":{\"storage\":\"2Gi\"}}");

#[tokio::test]
async fn new_claims_have_the_size_of_the_annotation_and_old_ones_stay_by_default() {
    let world = World::with(web(1, with_claims("Retain", "Retain"))).await;
    world.settle().await;
    world.bind_claims(true).await;
    world.edit(both(annotated(&[LARGER]), &json!({ "spec": { "replicas": 2 } }))).await;
    assert_eq!(world.settle().await, ["create claim data-web-1", "create pod web-1"]);
    assert_eq!(
        (world.size("data-web-0").await, world.size("data-web-1").await),
        ("1Gi".into(), "2Gi".into())
    );
}

#[tokio::test]
async fn in_place_grows_the_claims_of_running_pods() {
    let mut world = World::with(web(2, with_claims("Retain", "Retain"))).await;
    world.settle().await;
    world.bind_claims(true).await;
    world.events();
    world.edit(annotated(&[LARGER, ("claim-update", "InPlace")])).await;
    assert_eq!(world.settle().await, ["grow claim data-web-0 to 2Gi", "grow claim data-web-1 to 2Gi"]);
    assert_eq!(
        world.events()[0],
        "Normal SuccessfulUpdate update Claim data-web-0 Pod web-0 in StatefulSet web success"
    );
    world.edit(json!({ "metadata": { "annotations": null } })).await;
    assert_eq!(world.settle().await, [""; 0], "a claim never shrinks");
}

#[tokio::test]
async fn on_pod_update_grows_a_claim_when_its_pod_is_replaced() {
    let world = World::with(web(2, with_claims("Retain", "Retain"))).await;
    world.settle().await;
    world.bind_claims(true).await;
    world.edit(annotated(&[LARGER, ("claim-update", "OnPodUpdate")])).await;
    assert_eq!(world.settle().await, [""; 0]);
    world.edit(image("two")).await;
    assert_eq!(
        world.settle().await,
        [
            "create revision 2",
            "delete pod web-1",
            "grow claim data-web-1 to 2Gi",
            "create pod web-1",
            "delete pod web-0",
            "grow claim data-web-0 to 2Gi",
            "create pod web-0"
        ]
    );
}

#[tokio::test]
async fn claims_that_can_not_grow_are_told_once_per_template_and_hold_up_nothing() {
    let mut world = World::with(web(3, with_claims("Retain", "Retain"))).await;
    world.settle().await;
    world.bind_claims(false).await;
    world.events();
    world.edit(annotated(&[LARGER, ("claim-update", "InPlace")])).await;
    assert_eq!(world.sync().await, [""; 0]);
    assert_eq!(
        world.events(),
        [
            "Warning ClaimNotGrown volume claim template data: 3 claims stay smaller than 2Gi: data-web-0: storage class standard does not allow volume expansion"
        ]
    );
    world.edit(image("two")).await;
    world.settle().await;
    assert_eq!(world.images().await, "web-0=two web-1=two web-2=two");
}

#[tokio::test]
async fn a_growth_the_api_server_refuses_is_told_and_holds_up_nothing() {
    let mut world = World::with(web(1, with_claims("Retain", "Retain"))).await;
    world.settle().await;
    world.bind_claims(true).await;
    world.events();
    world.edit(both(annotated(&[LARGER, ("claim-update", "InPlace")]), &image("two"))).await;
    world.fail("grow claim", 403, "Forbidden", "exceeded quota", 1);
    let lines = world.sync().await;
    assert_eq!(lines, ["create revision 2", "grow claim data-web-0 to 2Gi !", "delete pod web-0", "status"]);
    assert_eq!(
        world.events()[0],
        "Warning FailedUpdate update Claim data-web-0 for Pod web-0 in StatefulSet web failed error: exceeded quota"
    );
}
