//! Pods and revisions that change hands: adopted, released, left alone.

use super::*;

async fn orphan(world: &World) {
    world.api::<StatefulSet>().delete("web", &DeleteParams::orphan()).await.unwrap();
    // What the garbage collector does.
    let strip = json!({ "metadata": { "ownerReferences": null } });
    for it in world.pods().list(&ListParams::default()).await.unwrap() {
        world.pods().patch(&it.name_any(), &PatchParams::default(), &Patch::Merge(&strip)).await.unwrap();
    }
    let revisions: Api<ControllerRevision> = world.api();
    for it in revisions.list(&ListParams::default()).await.unwrap() {
        revisions.patch(&it.name_any(), &PatchParams::default(), &Patch::Merge(&strip)).await.unwrap();
    }
    let finalizers = json!({ "metadata": { "finalizers": null } });
    let _ = world.api::<StatefulSet>().patch("web", &PatchParams::default(), &Patch::Merge(finalizers)).await;
}

#[tokio::test]
async fn a_recreated_set_takes_over_revisions_then_pods_and_restarts_nothing() {
    let world = World::with(web(2, json!({}))).await;
    world.settle().await;
    let revision = world.status().await.update_revision;
    orphan(&world).await;
    world.create(web(2, json!({}))).await;
    world.refresh().await;
    let (_, lines) = world.reconcile().await;
    assert_eq!(
        lines,
        ["get set web", "adopt revision 1", "get set web", "adopt pod web-0", "adopt pod web-1"],
        "the set is read anew before each kind"
    );
    assert_eq!(world.settle().await, [""; 0]);
    assert_eq!(world.status().await.update_revision, revision);
    assert_eq!(world.counters().await, "2/2/2/2/2");
}

/// INV-4.
#[tokio::test]
async fn nothing_is_adopted_for_a_set_that_is_going_or_was_replaced() {
    let world = World::with(web(2, json!({}))).await;
    world.settle().await;
    orphan(&world).await;
    world.create(web(2, json!({}))).await;
    world.refresh().await;
    // The cache does not know yet.
    world.api::<StatefulSet>().delete("web", &DeleteParams::orphan()).await.unwrap();
    let (next, lines) = world.reconcile().await;
    assert_eq!((next, lines), (Ok(Next::Event), vec!["get set web".to_owned()]));
}

/// INV-1, INV-4.
#[tokio::test]
async fn a_relabelled_pod_is_released_and_keeps_its_name_until_somebody_deletes_it() {
    let mut world = World::with(web(2, json!({}))).await;
    world.settle().await;
    world.events();
    let label = json!({ "metadata": { "labels": { "app": "other" } } });
    world.pods().patch("web-0", &PatchParams::default(), &Patch::Merge(label)).await.unwrap();
    assert_eq!(world.sync().await, ["release pod web-0"]);
    assert!(world.pods().get("web-0").await.unwrap().owner_references().is_empty());
    assert_eq!(world.sync().await, ["status"], "no create is sent while the name is taken");
    assert_eq!(world.events(), [""; 0]);
    world.gone("web-0").await;
    assert_eq!(world.sync().await, ["create pod web-0"]);
}

#[tokio::test]
async fn a_pod_that_went_away_or_was_replaced_can_not_be_released_and_that_is_fine() {
    for (status, reason) in [(404, "NotFound"), (422, "Invalid"), (409, "Conflict")] {
        let world = World::with(web(1, json!({}))).await;
        world.settle().await;
        let label = json!({ "metadata": { "labels": { "app": "other" } } });
        world.pods().patch("web-0", &PatchParams::default(), &Patch::Merge(label)).await.unwrap();
        world.fail("release pod", status, reason, "no", 1);
        world.refresh().await;
        let (next, lines) = world.reconcile().await;
        assert!(next.is_ok(), "{reason}: {next:?}");
        assert_eq!(lines[0], "release pod web-0 !");
    }
}

/// INV-4.
#[tokio::test]
async fn pods_of_others_are_left_alone() {
    let world = World::with(web(1, json!({}))).await;
    world.settle().await;
    let foreign = |name: &str, labels: Value, owner: Value| {
        json!({
            "metadata": { "name": name, "labels": labels, "ownerReferences": owner },
            "spec": { "containers": [{ "name": "c", "image": "i" }] },
        })
    };
    let other = json!([{ "apiVersion": "apps/v1", "kind": "StatefulSet", "name": "web", "uid": "other", "controller": true }]);
    let mine = json!({ "app": "web" });
    for it in [
        foreign("web-1", mine.clone(), other),
        foreign("web-2", json!({ "app": "x" }), json!([])),
        foreign("web-03", mine.clone(), json!([])),
        foreign("web-x", mine.clone(), json!([])),
        foreign("other-4", mine, json!([])),
    ] {
        let pod = serde_json::from_value(it).unwrap();
        world.pods().create(&PostParams::default(), &pod).await.unwrap();
    }
    assert_eq!(world.sync().await, [""; 0]);
}

#[tokio::test]
async fn an_adopted_pod_out_of_range_is_condemned() {
    let world = World::with(web(1, json!({}))).await;
    world.settle().await;
    let stray = json!({
        "metadata": { "name": "web-7", "labels": { "app": "web" } },
        "spec": { "containers": [{ "name": "c", "image": "i" }] },
    });
    let stray = serde_json::from_value(stray).unwrap();
    world.pods().create(&PostParams::default(), &stray).await.unwrap();
    assert_eq!(world.sync().await, ["adopt pod web-7"]);
    assert_eq!(world.sync().await, ["delete pod web-7", "status"]);
}

#[tokio::test]
async fn one_pod_that_can_not_be_adopted_does_not_keep_the_others() {
    let world = World::with(web(2, json!({}))).await;
    world.settle().await;
    orphan(&world).await;
    world.create(web(2, json!({}))).await;
    world.sync().await;
    world.settle().await;
    let strip = json!({ "metadata": { "ownerReferences": null } });
    for name in ["web-0", "web-1"] {
        world.pods().patch(name, &PatchParams::default(), &Patch::Merge(&strip)).await.unwrap();
    }
    world.fail("adopt pod web-0", 500, "InternalError", "no", 1);
    assert_eq!(world.sync().await, ["adopt pod web-0 !", "adopt pod web-1"]);
    assert_eq!(world.sync().await, ["adopt pod web-0"]);
}
