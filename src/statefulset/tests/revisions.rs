//! Revisions as `kubectl rollout history` and `undo` see them: when one is recorded, reused, raised, trimmed.

use super::*;

impl World {
    async fn history(&self) -> Vec<ControllerRevision> {
        let mut all = self.api::<ControllerRevision>().list(&ListParams::default()).await.unwrap().items;
        all.sort_by_key(|it| it.revision);
        all
    }

    async fn numbers(&self) -> Vec<i64> {
        self.history().await.iter().map(|it| it.revision.unwrap()).collect()
    }
}

#[tokio::test]
async fn a_revision_records_the_template_the_annotations_and_its_hash() {
    let annotated = json!({ "metadata": { "annotations": { "kubernetes.io/change-cause": "first" } } });
    let world = World::with(web(0, annotated)).await;
    world.sync().await;
    let history = world.history().await;
    let it = &history[0];
    let hash = &it.labels()["controller.kubernetes.io/hash"];
    assert_eq!(it.name_any(), format!("web-{hash}"));
    assert_eq!(it.labels()["app"], "web");
    assert_eq!(it.annotations()["kubernetes.io/change-cause"], "first");
    assert_eq!(it.owner_references()[0].controller, Some(true));
    assert_eq!(it.data.0["spec"]["template"]["$patch"], "replace");
    assert_eq!(it.data.0["spec"].as_object().unwrap().len(), 1, "nothing but the template is recorded");
    let status = world.status().await;
    assert_eq!(status.current_revision, status.update_revision, "a new set starts with both equal");
    assert_eq!(status.collision_count, Some(0));
    world.edit(json!({ "metadata": { "annotations": { "kubernetes.io/change-cause": "second" } } })).await;
    assert_eq!(world.sync().await, [""; 0], "annotations are copied at creation only");
}

/// INV-10.
#[tokio::test]
async fn only_a_changed_template_makes_a_revision() {
    let world = World::with(web(1, json!({}))).await;
    world.settle().await;
    let strategy = json!({ "type": "OnDelete", "rollingUpdate": null });
    world.edit(json!({ "spec": { "updateStrategy": strategy, "replicas": 2 } })).await;
    world.settle().await;
    assert_eq!(world.numbers().await, [1]);
}

#[tokio::test]
async fn a_rollback_raises_the_number_and_reuses_the_name() {
    let world = World::with(web(1, json!({}))).await;
    world.settle().await;
    let first = world.status().await.update_revision;
    world.edit(image("two")).await;
    world.settle().await;
    world.edit(image("one")).await;
    assert_eq!(world.settle().await, ["raise revision to 3", "delete pod web-0", "create pod web-0"]);
    assert_eq!(world.status().await.update_revision, first);
    assert_eq!(world.numbers().await, [2, 3]);
}

/// INV-10.
#[tokio::test]
async fn history_is_trimmed_after_the_status_and_live_revisions_stay() {
    let world = World::with(web(1, json!({ "spec": { "revisionHistoryLimit": 1 } }))).await;
    world.settle().await;
    for image_name in ["two", "three"] {
        world.edit(image(image_name)).await;
        world.settle().await;
    }
    assert_eq!(world.numbers().await, [2, 3]);
    world.edit(image("four")).await;
    assert_eq!(
        world.sync().await,
        ["create revision 4", "delete pod web-0", "status"],
        "two is within the limit"
    );
    world.gone("web-0").await;
    world.sync().await;
    world.ready("web-0").await;
    assert_eq!(world.sync().await, ["status"], "the old current revision was live when the sync began");
    assert_eq!(world.sync().await, ["delete revision 2"]);
    assert_eq!(world.numbers().await, [3, 4]);
}

#[tokio::test]
async fn a_negative_limit_keeps_all() {
    let world = World::with(web(0, json!({ "spec": { "revisionHistoryLimit": -1 } }))).await;
    for name in ["one", "two", "three", "four"] {
        world.edit(image(name)).await;
        world.settle().await;
    }
    assert_eq!(world.numbers().await, [1, 2, 3, 4]);
}

#[tokio::test]
async fn a_taken_revision_name_leads_to_another_name_with_the_first_hash_as_its_label() {
    let world = World::with(web(0, json!({}))).await;
    world.sync().await;
    let first = world.history().await.remove(0);
    let revisions: Api<ControllerRevision> = world.api();
    revisions.delete(&first.name_any(), &DeleteParams::default()).await.unwrap();
    let occupant = json!({ "metadata": { "name": first.name_any() }, "revision": 1, "data": { "x": 1 } });
    revisions.create(&PostParams::default(), &serde_json::from_value(occupant).unwrap()).await.unwrap();
    world.edit(json!({ "spec": { "replicas": 1 } })).await;
    let lines = world.sync().await;
    assert_eq!(lines, ["create revision 1", "create revision 1", "create pod web-0", "status"]);
    let second = world.history().await.into_iter().find(|it| it.name_any() != first.name_any()).unwrap();
    assert_eq!(
        second.labels()["controller.kubernetes.io/hash"],
        first.labels()["controller.kubernetes.io/hash"]
    );
    let status = world.status().await;
    assert_eq!((status.collision_count, status.update_revision), (Some(1), Some(second.name_any())));
    world.settle().await;
    assert_eq!(world.numbers().await, [1, 1]);
}

#[tokio::test]
async fn a_revision_of_a_1_33_controller_is_reused_without_a_write() {
    let world = World::with(web(0, json!({}))).await;
    world.settle().await;
    let it = world.history().await.remove(0);
    let mut data = it.data.0.clone();
    data["spec"]["template"]["metadata"]["creationTimestamp"] = Value::Null;
    let old = json!({
        "metadata": { "name": "web-old", "labels": it.labels(), "ownerReferences": it.owner_references() },
        "revision": 1, "data": data,
    });
    let revisions: Api<ControllerRevision> = world.api();
    revisions.delete(&it.name_any(), &DeleteParams::default()).await.unwrap();
    revisions.create(&PostParams::default(), &serde_json::from_value(old).unwrap()).await.unwrap();
    let status =
        json!({ "status": { "replicas": 0, "currentRevision": "web-old", "updateRevision": "web-old" } });
    let sets: Api<StatefulSet> = world.api();
    sets.patch_status("web", &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
    assert_eq!(world.sync().await, [""; 0]);
    world.edit(json!({ "spec": { "replicas": 1 } })).await;
    assert_eq!(world.settle().await, ["create pod web-0"]);
    assert_eq!(world.pods().get("web-0").await.unwrap().labels()["controller-revision-hash"], "web-old");
}
