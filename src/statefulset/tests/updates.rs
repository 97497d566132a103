//! Rolling updates, partitions, `maxUnavailable`, OnDelete, rollback: what moves, in which order, and what never does.

use super::*;

#[tokio::test]
async fn an_update_goes_from_the_top_one_pod_at_a_time() {
    let world = World::with(web(3, json!({}))).await;
    world.settle().await;
    world.edit(image("two")).await;
    assert_eq!(world.sync().await, ["create revision 2", "delete pod web-2", "status"]);
    assert_eq!(world.counters().await, "3/3/3/3/0");
    world.sync().await;
    assert_eq!(world.counters().await, "3/3/3/2/0", "the terminating pod is at no revision any more");
    world.gone("web-2").await;
    assert_eq!(world.sync().await, ["create pod web-2", "status"]);
    assert_eq!(world.counters().await, "2/2/2/2/0");
    assert_eq!(world.sync().await, ["status"]);
    assert_eq!(world.counters().await, "3/2/2/2/1");
    assert_eq!(world.sync().await, [""; 0], "nothing goes before web-2 is back");
    let rest = world.settle().await;
    assert_eq!(rest, ["delete pod web-1", "create pod web-1", "delete pod web-0", "create pod web-0"]);
    assert_eq!(world.counters().await, "3/3/3/3/3");
    let status = world.status().await;
    assert_eq!(status.current_revision, status.update_revision, "the update is complete");
}

#[tokio::test]
async fn ordered_ready_with_max_unavailable_deletes_together_and_creates_in_order() {
    let strategy = json!({ "spec": { "updateStrategy": { "type": "RollingUpdate",
        "rollingUpdate": { "maxUnavailable": 2 } } } });
    let world = World::with(web(4, strategy)).await;
    world.settle().await;
    world.edit(image("two")).await;
    assert_eq!(
        world.settle().await,
        [
            "create revision 2",
            "delete pod web-3",
            "delete pod web-2",
            "create pod web-2",
            "create pod web-3",
            "delete pod web-1",
            "delete pod web-0",
            "create pod web-0",
            "create pod web-1"
        ]
    );
}

#[tokio::test]
async fn a_broken_image_stops_an_ordered_rollout_and_a_good_template_does_not_repair_it() {
    let world = World::with(web(3, json!({}))).await;
    world.settle().await;
    world.edit(image("broken")).await;
    world.sync().await;
    world.gone("web-2").await;
    world.sync().await;
    world.edit(image("one")).await;
    assert_eq!(world.sync().await, ["raise revision to 3", "status"]);
    assert_eq!(world.sync().await, [""; 0], "somebody must delete the broken pod");
    world.gone("web-2").await;
    assert_eq!(world.sync().await, ["create pod web-2", "status"]);
    world.settle().await;
    assert_eq!(world.images().await, "web-0=one web-1=one web-2=one");
}

/// INV-8.
#[tokio::test]
async fn parallel_replaces_broken_old_pods_whatever_the_budget() {
    let world = World::with(web(3, parallel())).await;
    world.sync().await;
    world.ready("web-2").await;
    world.edit(image("two")).await;
    let lines = world.sync().await;
    assert_eq!(lines, ["create revision 2", "delete pod web-1", "delete pod web-0", "status"]);
    let rest = world.settle().await;
    assert_eq!(rest, ["create pod web-0", "create pod web-1", "delete pod web-2", "create pod web-2"]);
}

#[tokio::test]
async fn a_broken_pod_below_the_partition_uses_up_the_budget_and_stays() {
    let strategy = json!({ "spec": { "podManagementPolicy": "Parallel", "updateStrategy": {
        "type": "RollingUpdate", "rollingUpdate": { "partition": 1 } } } });
    let world = World::with(web(3, strategy)).await;
    world.settle().await;
    world.set_phase("web-0", "Running", false).await;
    world.edit(image("two")).await;
    assert_eq!(world.sync().await, ["create revision 2", "status"]);
    world.ready("web-0").await;
    assert_eq!(
        world.settle().await,
        ["delete pod web-2", "create pod web-2", "delete pod web-1", "create pod web-1"]
    );
    assert_eq!(world.images().await, "web-0=one web-1=two web-2=two");
}

#[tokio::test]
async fn parallel_honours_a_percentage_rounded_down() {
    let strategy = json!({ "spec": { "podManagementPolicy": "Parallel", "updateStrategy": {
        "type": "RollingUpdate", "rollingUpdate": { "maxUnavailable": "50%" } } } });
    let world = World::with(web(5, strategy)).await;
    world.settle().await;
    world.edit(image("two")).await;
    let first = world.sync().await;
    assert_eq!(first, ["create revision 2", "delete pod web-4", "delete pod web-3", "status"]);
}

/// INV-7, INV-9.
#[tokio::test]
async fn a_canary_stays_a_canary() {
    let partition = |it: u32| json!({ "spec": { "updateStrategy": { "type": "RollingUpdate", "rollingUpdate": { "partition": it } } } });
    let world = World::with(web(3, partition(2))).await;
    world.settle().await;
    world.edit(image("two")).await;
    assert_eq!(world.settle().await, ["create revision 2", "delete pod web-2", "create pod web-2"]);
    assert_eq!(world.images().await, "web-0=one web-1=one web-2=two");
    let status = world.status().await;
    assert_ne!(status.current_revision, status.update_revision);

    world.delete("web-0").await;
    world.delete("web-2").await;
    world.settle().await;
    assert_eq!(world.images().await, "web-0=one web-1=one web-2=two", "each comes back at its own revision");

    world.edit(partition(3)).await;
    assert_eq!(world.settle().await, [""; 0], "raising the partition reverts nothing");
    world.delete("web-2").await;
    world.settle().await;
    assert_eq!(
        world.images().await,
        "web-0=one web-1=one web-2=one",
        "but a lost pod comes back at the old one"
    );

    world.edit(partition(0)).await;
    world.settle().await;
    assert_eq!(world.images().await, "web-0=two web-1=two web-2=two");
}

#[tokio::test]
async fn a_pod_deleted_before_its_turn_comes_back_updated() {
    let world = World::with(web(3, json!({}))).await;
    world.settle().await;
    world.edit(image("two")).await;
    world.sync().await;
    world.gone("web-2").await;
    world.delete("web-0").await;
    world.gone("web-0").await;
    assert_eq!(world.sync().await, ["create pod web-0", "status"]);
    assert_eq!(world.images().await, "web-0=two web-1=one");
}

#[tokio::test]
async fn without_a_rolling_update_block_a_low_pod_comes_back_at_the_old_revision() {
    let world =
        World::with(web(3, json!({ "spec": { "updateStrategy": { "type": "RollingUpdate" } } }))).await;
    world.settle().await;
    world.edit(image("two")).await;
    world.sync().await;
    world.gone("web-2").await;
    world.delete("web-0").await;
    world.gone("web-0").await;
    assert_eq!(world.sync().await, ["create pod web-0", "status"]);
    assert_eq!(world.images().await, "web-0=one web-1=one");
    world.settle().await;
    assert_eq!(world.images().await, "web-0=two web-1=two web-2=two");
}

#[tokio::test]
async fn on_delete_moves_a_pod_only_when_somebody_deletes_it_and_never_completes() {
    let world = World::with(web(2, json!({ "spec": { "updateStrategy": { "type": "OnDelete" } } }))).await;
    world.settle().await;
    world.edit(image("two")).await;
    assert_eq!(world.settle().await, ["create revision 2"]);
    for pod in ["web-0", "web-1"] {
        world.delete(pod).await;
        world.settle().await;
    }
    assert_eq!(world.images().await, "web-0=two web-1=two");
    let status = world.status().await;
    assert_ne!(status.current_revision, status.update_revision);
    assert_eq!(world.counters().await, "2/2/2/0/2");
}

#[tokio::test]
async fn scaling_precedes_updating() {
    let world = World::with(web(2, json!({}))).await;
    world.settle().await;
    let mut both = image("two");
    both["spec"]["replicas"] = json!(3);
    world.edit(both).await;
    assert_eq!(
        world.settle().await,
        [
            "create revision 2",
            "create pod web-2",
            "delete pod web-1",
            "create pod web-1",
            "delete pod web-0",
            "create pod web-0"
        ]
    );
}

#[tokio::test]
async fn new_pods_of_a_partitioned_set_are_made_on_their_side_of_the_partition() {
    let strategy = |it: u32| json!({ "spec": { "updateStrategy": { "type": "RollingUpdate", "rollingUpdate": { "partition": it } } } });
    let world = World::with(web(1, strategy(2))).await;
    world.settle().await;
    let mut both = image("two");
    both["spec"]["replicas"] = json!(4);
    world.edit(both).await;
    world.settle().await;
    assert_eq!(world.images().await, "web-0=one web-1=one web-2=two web-3=two");
}

#[tokio::test]
async fn a_partition_counts_from_the_start_ordinal() {
    let spec = json!({ "spec": { "ordinals": { "start": 10 }, "updateStrategy": {
        "type": "RollingUpdate", "rollingUpdate": { "partition": 1 } } } });
    let world = World::with(web(3, spec)).await;
    world.settle().await;
    world.edit(image("two")).await;
    world.settle().await;
    assert_eq!(world.images().await, "web-10=one web-11=two web-12=two");
}

#[tokio::test]
async fn a_template_changed_again_in_the_middle_of_a_rollout_is_taken_up_from_the_top() {
    let world = World::with(web(3, json!({}))).await;
    world.settle().await;
    world.edit(image("two")).await;
    world.sync().await;
    world.gone("web-2").await;
    world.sync().await;
    world.ready("web-2").await;
    world.edit(image("three")).await;
    assert_eq!(world.sync().await, ["create revision 3", "delete pod web-2", "status"]);
    world.settle().await;
    assert_eq!(world.images().await, "web-0=three web-1=three web-2=three");
    let status = world.status().await;
    assert_eq!(status.current_revision, status.update_revision);
}
