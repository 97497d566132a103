//! What a user sees, and how many writes it costs.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use super::judge::{all_is_right, never_a_gap};
use super::world::{NAMESPACE, World};
use crate::endpointslice::Cleanup;
use crate::endpointslice::config::Compaction;

const SECOND: Duration = Duration::from_secs(1);

fn headless(app: &str) -> Value {
    json!({"selector": {"app": app}, "clusterIP": "None", "ports": [{"name": "http", "port": 80, "targetPort": "http"}]})
}

async fn world_of(pods: usize, max: usize) -> World {
    let mut world = World::start(max).await;
    world.create_service("web", headless("web")).await;
    for number in 0..pods {
        world.put_pod(number, "web", if number % 2 == 0 { "n1" } else { "n2" }, true);
    }
    world.control().await;
    world.settle(SECOND).await;
    world.writes();
    world
}

/// Sizes of the slices in the order of their names' creation, largest first.
fn sizes(world: &World) -> Vec<usize> {
    let slices = world.list("endpointslices");
    let mut sizes: Vec<_> = slices.iter().map(|it| it["endpoints"].as_array().map_or(0, Vec::len)).collect();
    sizes.sort_by(|a, b| b.cmp(a));
    sizes
}

/// Writes since the last look, by method, such as `2 POST 1 PUT`.
fn counted(world: &World) -> String {
    let writes = world.writes();
    let count = |method: &str| writes.iter().filter(|it| it.starts_with(method)).count();
    let parts = ["POST", "PUT", "DELETE"].map(|it| (count(it), it));
    let parts: Vec<_> = parts.iter().filter(|it| it.0 > 0).map(|it| format!("{} {}", it.0, it.1)).collect();
    parts.join(" ")
}

#[tokio::test(start_paused = true)]
async fn slices_are_packed_as_by_kube_controller_manager() {
    let mut world = World::start(100).await;
    world.create_service("web", headless("web")).await;
    world.control().await;
    world.settle(SECOND).await;
    assert_eq!((counted(&world), sizes(&world)), ("1 POST".to_owned(), vec![0]), "a placeholder");
    for number in 0..250 {
        world.put_pod(number, "web", "n1", true);
    }
    world.settle(SECOND).await;
    assert_eq!(sizes(&world), [100, 100, 50]);
    world.writes();
    world.set_ready("web-7", false);
    world.settle(SECOND).await;
    assert_eq!(counted(&world), "1 PUT", "one pod, one slice");
    let before: Vec<_> =
        world.list("endpointslices").iter().map(|it| it["metadata"]["name"].clone()).collect();
    world
        .patch_service("web", json!({"spec": {"ports": [{"name": "http", "port": 80, "targetPort": 9}]}}))
        .await;
    world.settle(SECOND).await;
    assert_eq!(counted(&world), "3 PUT", "another port");
    let after: Vec<_> =
        world.list("endpointslices").iter().map(|it| it["metadata"]["name"].clone()).collect();
    assert_eq!(before, after, "names stay");
    for number in 0..250 {
        world.remove("pods", NAMESPACE, &format!("web-{number}"));
    }
    world.settle(2 * SECOND).await;
    assert_eq!(sizes(&world), [0], "the last endpoint leaves a placeholder");
    all_is_right(&world, false, "packing");
    never_a_gap(&world, false);
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_port_change_repacks_as_upstream_without_a_gap() {
    let mut world = world_of(62, 62).await;
    world.stop().await;
    world.max = 100;
    for number in 62..123 {
        world.put_pod(number, "web", "n1", true);
    }
    world.control().await;
    world.settle(SECOND).await;
    assert_eq!(sizes(&world), [62, 61], "the rest does not fit the slice of 62");
    world.writes();
    world
        .patch_service("web", json!({"spec": {"ports": [{"name": "http", "port": 80, "targetPort": 9}]}}))
        .await;
    world.settle(SECOND).await;
    assert_eq!((counted(&world), sizes(&world)), ("2 PUT".to_owned(), vec![100, 23]));
    never_a_gap(&world, false);
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_new_controller_writes_nothing_and_a_relist_neither() {
    let mut world = world_of(30, 10).await;
    world.control().await;
    world.settle(10 * SECOND).await;
    world.cut_watches();
    world.settle(60 * SECOND).await;
    assert_eq!(world.writes(), [""; 0]);
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_nobody_selects_or_whose_endpoint_is_the_same_costs_nothing() {
    let mut world = world_of(3, 10).await;
    world.put_pod(50, "other", "n1", true);
    world.edit("pods", NAMESPACE, "web-0", |it| it["metadata"]["annotations"] = json!({"x": "y"}));
    world.edit("services", NAMESPACE, "web", |it| it["metadata"]["annotations"] = json!({"x": "y"}));
    world.settle(10 * SECOND).await;
    assert_eq!(world.writes(), [""; 0]);
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_first_change_leaves_at_once_and_a_flapping_pod_costs_few_writes() {
    let mut world = world_of(10, 100).await;
    let began = tokio::time::Instant::now();
    world.set_ready("web-1", false);
    while world.gate.lock().unwrap().writes.is_empty() {
        world.settle(Duration::from_micros(100)).await;
    }
    assert!(began.elapsed() < Duration::from_millis(3), "{:?}", began.elapsed());
    world.settle(10 * SECOND).await;
    world.writes();
    for turn in 0..6000 {
        world.set_ready(&format!("web-{}", turn % 10), turn % 20 < 10);
        world.settle(Duration::from_millis(10)).await;
    }
    world.settle(SECOND).await;
    let writes = world.writes().len();
    assert!(writes <= 950, "300 and ten a second at most: {writes} writes for 6,000 changes in 60 s");
    all_is_right(&world, false, "flapping");
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_comes_late_brings_its_pods_at_once() {
    let mut world = world_of(0, 10).await;
    world.put_pod(0, "web", "late", true);
    world.settle(SECOND).await;
    assert_eq!(sizes(&world), [0], "its node is not known");
    world.put_node("late", "a");
    world.settle(SECOND).await;
    let slices = world.list("endpointslices");
    assert_eq!(slices[0]["endpoints"][0]["zone"], "a");
    world.put_node("late", "b");
    world.settle(SECOND).await;
    assert_eq!(world.list("endpointslices")[0]["endpoints"][0]["zone"], "b", "a zone that changes");
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn foreign_metadata_stays_when_a_service_scales_to_zero() {
    let mut world = world_of(2, 10).await;
    let name = world.list("endpointslices")[0]["metadata"]["name"].as_str().unwrap().to_owned();
    world.edit("endpointslices", NAMESPACE, &name, |it| {
        it["metadata"]["annotations"] = json!({"mine": "1"});
        it["metadata"]["finalizers"] = json!(["example.org/f"]);
    });
    for number in 0..2 {
        world.remove("pods", NAMESPACE, &format!("web-{number}"));
    }
    world.settle(SECOND).await;
    let slice = &world.list("endpointslices")[0];
    assert_eq!(slice["metadata"]["name"], name.as_str());
    assert_eq!(slice["metadata"]["annotations"]["mine"], "1");
    assert_eq!(slice["metadata"]["finalizers"], json!(["example.org/f"]));
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_service_that_stops_being_managed_keeps_its_slices_unless_told_otherwise() {
    for (cleanup, left) in [(Cleanup::Keep, 1), (Cleanup::Delete, 0)] {
        let mut world = World::start(10).await;
        world.cleanup = cleanup;
        world.create_service("web", headless("web")).await;
        world.put_pod(0, "web", "n1", true);
        world.control().await;
        world.settle(SECOND).await;
        world.edit("services", NAMESPACE, "web", |it| it["spec"]["selector"] = Value::Null);
        world.settle(SECOND).await;
        assert_eq!(world.list("endpointslices").len(), left, "{cleanup:?}");
        world.edit("services", NAMESPACE, "web", |it| it["spec"]["selector"] = json!({"app": "web"}));
        world.settle(SECOND).await;
        assert_eq!(sizes(&world), [1], "{cleanup:?}: managed again");
        world.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn slices_of_an_earlier_service_are_never_reused() {
    let mut world = world_of(2, 10).await;
    let old = world.list("endpointslices")[0]["metadata"]["name"].clone();
    world.remove("services", NAMESPACE, "web");
    world.create_service("web", headless("web")).await;
    world.settle(SECOND).await;
    let slices = world.list("endpointslices");
    assert_eq!(slices.len(), 1, "{slices:#?}");
    assert_ne!(slices[0]["metadata"]["name"], old);
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_the_api_server_refuses_does_not_block_the_others() {
    let mut world = world_of(2, 10).await;
    world.put_pod(2, "web", "n1", true);
    // A hostname that no API server would have let in, but this one did.
    world.edit("pods", NAMESPACE, "web-2", |it| it["spec"]["hostname"] = json!("not_a_label"));
    world.put_pod(3, "web", "n1", true);
    world.settle(5 * SECOND).await;
    let slices = world.list("endpointslices");
    let names: Vec<_> =
        slices[0]["endpoints"].as_array().unwrap().iter().map(|it| &it["targetRef"]["name"]).collect();
    assert_eq!(names.len(), 3, "{names:?}");
    assert!(!names.contains(&&json!("web-2")));
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_namespace_on_its_way_out_ends_it_silently() {
    let mut world = world_of(1, 10).await;
    world.call(Method::DELETE, &format!("/api/v1/namespaces/{NAMESPACE}"), Value::Null).await.unwrap();
    let name = world.list("endpointslices")[0]["metadata"]["name"].as_str().unwrap().to_owned();
    world.remove("endpointslices", NAMESPACE, &name);
    world.settle(60 * SECOND).await;
    let writes = world.writes();
    assert!(writes.len() <= 2, "{writes:?}");
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn half_empty_slices_are_merged_when_nothing_happens_and_only_then() {
    let mut world = world_of(40, 10).await;
    world.compaction = Compaction::Idle;
    world.control().await;
    for number in (0..40).filter(|it| it % 4 != 0) {
        world.remove("pods", NAMESPACE, &format!("web-{number}"));
    }
    world.settle(300 * SECOND).await;
    let before = sizes(&world);
    assert_eq!(before.iter().sum::<usize>(), 10);
    assert!(before.len() >= 2, "{before:?}");
    world.settle(600 * SECOND).await;
    assert!(sizes(&world).len() <= 2, "twice the slices needed at most: {before:?} to {:?}", sizes(&world));
    all_is_right(&world, false, "compaction");
    never_a_gap(&world, false);
    world.stop().await;
}
