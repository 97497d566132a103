//! Claims: created, missed, kept, owned as the retention policy says, never deleted.

use super::*;

impl World {
    fn claims(&self) -> Api<PersistentVolumeClaim> {
        self.api()
    }

    /// Kinds of the owners of a claim.
    async fn owners(&self, claim: &str) -> Vec<String> {
        let it = self.claims().get(claim).await.unwrap();
        it.owner_references().iter().map(|it| it.kind.clone()).collect()
    }
}

#[tokio::test]
async fn claims_come_before_the_pod_and_are_told() {
    let mut world = World::with(web(1, with_claims("Retain", "Retain"))).await;
    assert_eq!(
        world.sync().await,
        ["create revision 1", "create claim data-web-0", "create pod web-0", "status"]
    );
    assert_eq!(
        world.events(),
        [
            "Normal SuccessfulCreate create Claim data-web-0 Pod web-0 in StatefulSet web success",
            "Normal SuccessfulCreate create Pod web-0 in StatefulSet web successful"
        ]
    );
    let claim = world.claims().get("data-web-0").await.unwrap();
    assert_eq!(claim.labels()["app"], "web");
}

/// INV-5.
#[tokio::test]
async fn retention_owners_are_those_of_the_table() {
    // whenDeleted, whenScaled, owner while in range, owner when condemned.
    let cases = [
        ("Retain", "Retain", "", ""),
        ("Delete", "Retain", "StatefulSet", "StatefulSet"),
        ("Retain", "Delete", "", "Pod"),
        ("Delete", "Delete", "StatefulSet", "Pod"),
    ];
    for (deleted, scaled, in_range, condemned) in cases {
        let world = World::with(web(2, with_claims(deleted, scaled))).await;
        world.settle().await;
        assert_eq!(world.owners("data-web-1").await.join(" "), in_range, "{deleted}/{scaled} in range");
        world.edit(json!({ "spec": { "replicas": 1 } })).await;
        world.sync().await;
        assert_eq!(world.owners("data-web-1").await.join(" "), condemned, "{deleted}/{scaled} condemned");
        assert_eq!(world.owners("data-web-0").await.join(" "), in_range);
    }
}

#[tokio::test]
async fn all_claims_of_condemned_pods_are_marked_before_any_pod_goes() {
    let world = World::with(web(3, with_claims("Retain", "Delete"))).await;
    world.settle().await;
    world.edit(json!({ "spec": { "replicas": 1 } })).await;
    assert_eq!(
        world.sync().await,
        ["own claim data-web-2 [Pod]", "own claim data-web-1 [Pod]", "delete pod web-2", "status"]
    );
}

#[tokio::test]
async fn a_changed_policy_reaches_existing_claims_without_touching_pods() {
    let world = World::with(web(2, with_claims("Retain", "Retain"))).await;
    world.settle().await;
    let policy = json!({ "whenDeleted": "Delete", "whenScaled": "Retain" });
    world.edit(json!({ "spec": { "persistentVolumeClaimRetentionPolicy": policy } })).await;
    assert_eq!(
        world.settle().await,
        ["own claim data-web-0 [StatefulSet]", "own claim data-web-1 [StatefulSet]"]
    );
    let policy = json!({ "whenDeleted": "Retain", "whenScaled": "Retain" });
    world.edit(json!({ "spec": { "persistentVolumeClaimRetentionPolicy": policy } })).await;
    assert_eq!(world.settle().await, ["own claim data-web-0 []", "own claim data-web-1 []"]);
}

/// INV-5.
#[tokio::test]
async fn a_claim_with_another_controller_is_left_to_it_and_told() {
    let mut world = World::with(web(1, with_claims("Retain", "Retain"))).await;
    world.settle().await;
    world.events();
    let owner =
        json!([{ "apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "u", "controller": true }]);
    let patch = Patch::Merge(json!({ "metadata": { "ownerReferences": owner } }));
    world.claims().patch("data-web-0", &PatchParams::default(), &patch).await.unwrap();
    assert_eq!(world.sync().await, [""; 0], "nobody minds as long as claims are retained");
    assert_eq!(world.events(), [""; 0]);
    let policy = json!({ "whenDeleted": "Delete", "whenScaled": "Delete" });
    world.edit(json!({ "spec": { "persistentVolumeClaimRetentionPolicy": policy } })).await;
    assert_eq!(world.sync().await, ["status"]);
    let events = world.events();
    assert!(
        events[0]
            .starts_with("Warning ConflictingController PersistentVolumeClaim data-web-0 has a conflicting"),
        "{events:?}"
    );
}

#[tokio::test]
async fn a_terminating_claim_keeps_its_pod_from_coming() {
    let mut world = World::with(web(1, with_claims("Retain", "Retain"))).await;
    world.settle().await;
    world.delete("web-0").await;
    world.gone("web-0").await;
    let held = json!({ "metadata": { "finalizers": ["test/held"] } });
    world.claims().patch("data-web-0", &PatchParams::default(), &Patch::Merge(held)).await.unwrap();
    world.claims().delete("data-web-0", &DeleteParams::default()).await.unwrap();
    world.events();
    assert_eq!(world.sync().await, ["status"]);
    assert_eq!(
        world.events(),
        [
            "Warning FailedCreate create Pod web-0 in StatefulSet web failed error: pvc data-web-0 is being deleted"
        ]
    );
    let free = json!({ "metadata": { "finalizers": null } });
    world.claims().patch("data-web-0", &PatchParams::default(), &Patch::Merge(free)).await.unwrap();
    assert_eq!(world.sync().await, ["create claim data-web-0", "create pod web-0"]);
}

#[tokio::test]
async fn a_lost_claim_comes_back_for_a_pending_pod_and_not_for_a_running_one() {
    let world = World::with(web(1, with_claims("Retain", "Retain"))).await;
    world.sync().await;
    let lose = async || {
        let free = json!({ "metadata": { "finalizers": null } });
        let _ = world.claims().delete("data-web-0", &DeleteParams::default()).await;
        let _ = world.claims().patch("data-web-0", &PatchParams::default(), &Patch::Merge(free)).await;
    };
    lose().await;
    assert_eq!(world.sync().await, ["create claim data-web-0", "status"]);
    world.settle().await;
    lose().await;
    assert_eq!(world.sync().await, [""; 0]);
}

#[tokio::test]
async fn a_claim_of_an_earlier_pod_keeps_the_next_one_from_coming() {
    let world = World::with(web(2, with_claims("Retain", "Delete"))).await;
    world.settle().await;
    world.edit(json!({ "spec": { "replicas": 1 } })).await;
    world.settle().await;
    world.edit(json!({ "spec": { "replicas": 2 } })).await;
    assert_eq!(world.sync().await, ["status"], "the collector has not come yet");
    let free = json!({ "metadata": { "finalizers": null } });
    let _ = world.claims().delete("data-web-1", &DeleteParams::default()).await;
    let _ = world.claims().patch("data-web-1", &PatchParams::default(), &Patch::Merge(free)).await;
    assert_eq!(world.sync().await, ["create claim data-web-1", "create pod web-1"]);
}

#[tokio::test]
async fn claims_outlive_pods_and_sets_and_are_used_again() {
    let world = World::with(web(2, with_claims("Retain", "Retain"))).await;
    world.settle().await;
    let uid = world.claims().get("data-web-1").await.unwrap().uid();
    world.edit(json!({ "spec": { "replicas": 0 } })).await;
    assert_eq!(world.settle().await, ["delete pod web-1", "delete pod web-0"]);
    world.edit(json!({ "spec": { "replicas": 2 } })).await;
    assert_eq!(world.settle().await, ["create pod web-0", "create pod web-1"]);
    assert_eq!(world.claims().get("data-web-1").await.unwrap().uid(), uid);
}

#[tokio::test]
async fn a_set_recreated_with_another_claim_template_replaces_its_pods_like_outdated_ones() {
    let mut world = World::with(web(2, json!({}))).await;
    world.settle().await;
    world.events();
    // Deleted with its pods orphaned, and created again with storage; the collector has been.
    let uid = world.api::<StatefulSet>().get("web").await.unwrap().uid().unwrap();
    world.api::<StatefulSet>().delete("web", &DeleteParams::orphan()).await.unwrap();
    let free = json!({ "metadata": { "finalizers": null } });
    let _ = world.api::<StatefulSet>().patch("web", &PatchParams::default(), &Patch::Merge(free)).await;
    let strip = json!({ "metadata": { "ownerReferences": [{ "$patch": "delete", "uid": uid }] } });
    for name in ["web-0", "web-1"] {
        world.pods().patch(name, &PatchParams::default(), &Patch::Strategic(&strip)).await.unwrap();
    }
    let revisions: Api<ControllerRevision> = world.api();
    for it in revisions.list(&ListParams::default()).await.unwrap() {
        revisions.patch(&it.name_any(), &PatchParams::default(), &Patch::Strategic(&strip)).await.unwrap();
    }
    world.create(web(2, with_claims("Retain", "Retain"))).await;
    world.sync().await;
    assert_eq!(world.sync().await, ["delete pod web-1", "status"]);
    let events = world.events();
    let told = |pod: &str| {
        let start = format!("Warning FailedUpdate update Pod {pod} in StatefulSet web failed error: ");
        events.iter().any(|it| it.starts_with(&start))
    };
    assert!(told("web-0") && told("web-1"), "{events:?}");
    assert_eq!(
        world.settle().await,
        [
            "create claim data-web-1",
            "create pod web-1",
            "delete pod web-0",
            "create claim data-web-0",
            "create pod web-0"
        ]
    );
}

#[tokio::test]
async fn claims_of_adopted_pods_follow_the_policy_of_the_new_set() {
    let world = World::with(web(1, with_claims("Retain", "Retain"))).await;
    world.settle().await;
    let uid = world.api::<StatefulSet>().get("web").await.unwrap().uid().unwrap();
    world.api::<StatefulSet>().delete("web", &DeleteParams::orphan()).await.unwrap();
    let free = json!({ "metadata": { "finalizers": null } });
    let _ = world.api::<StatefulSet>().patch("web", &PatchParams::default(), &Patch::Merge(free)).await;
    let strip = json!({ "metadata": { "ownerReferences": [{ "$patch": "delete", "uid": uid }] } });
    world.pods().patch("web-0", &PatchParams::default(), &Patch::Strategic(&strip)).await.unwrap();
    let revisions: Api<ControllerRevision> = world.api();
    for it in revisions.list(&ListParams::default()).await.unwrap() {
        revisions.patch(&it.name_any(), &PatchParams::default(), &Patch::Strategic(&strip)).await.unwrap();
    }
    world.create(web(1, with_claims("Delete", "Retain"))).await;
    world.sync().await;
    assert_eq!(world.settle().await, ["own claim data-web-0 [StatefulSet]"]);
}
