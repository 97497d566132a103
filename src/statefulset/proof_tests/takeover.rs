//! Taking over from kube-controller-manager, and giving back: nothing is deleted, no revision made.
//!
//! The fixtures are what releases 1.28 to 1.33 write (`creationTimestamp: null` in the recorded template, k/k#134773) and
//! what later ones do; the hashes in them are upstream's own. What a release leaves out is taken out of them here.

use kube::Client;
use serde_json::{Value, json};

use super::super::takeover::{Survey, survey};
use super::cluster::{self, NAMESPACE};
use super::world::{World, simulate};
use crate::apiserver::resources;

const WITH: &str = include_str!("../../../tests/fixtures/takeover/with-timestamp.yaml");
const WITHOUT: &str = include_str!("../../../tests/fixtures/takeover/without-timestamp.yaml");

/// A release, what its sets look like, and what is different about its objects.
type Release = (&'static str, &'static str, fn(&mut Value));

fn as_it_is(_: &mut Value) {}

/// API servers since 1.34 serve old sets without the timestamp, while their revisions keep it.
fn upgraded(object: &mut Value) {
    if object["kind"] == "StatefulSet" {
        object["spec"]["template"]["metadata"].as_object_mut().unwrap().remove("creationTimestamp");
    }
}

/// Pods made before the label was there.
fn without_index(object: &mut Value) {
    if object["kind"] == "Pod" {
        object["metadata"]["labels"].as_object_mut().unwrap().remove("apps.kubernetes.io/pod-index");
    }
}

/// Sets made before the field was there.
fn without_retention(object: &mut Value) {
    if object["kind"] == "StatefulSet" {
        object["spec"].as_object_mut().unwrap().remove("persistentVolumeClaimRetentionPolicy");
    }
    without_index(object);
}

fn with_max_unavailable(object: &mut Value) {
    if object["kind"] == "StatefulSet" {
        object["spec"]["updateStrategy"]["rollingUpdate"]["maxUnavailable"] = json!(1);
    }
}

const RELEASES: [Release; 13] = [
    ("1.28", WITH, without_retention),
    ("1.29", WITH, without_index),
    ("1.30", WITH, as_it_is),
    ("1.31", WITH, as_it_is),
    ("1.32", WITH, as_it_is),
    ("1.33", WITH, as_it_is),
    ("1.34", WITHOUT, as_it_is),
    ("1.35", WITHOUT, with_max_unavailable),
    ("1.36", WITHOUT, as_it_is),
    ("1.37", WITHOUT, with_max_unavailable),
    ("1.34, pods of 1.33", WITH, upgraded),
    ("1.37, pods of 1.28", WITH, |it| {
        upgraded(it);
        without_index(it);
    }),
    ("1.37, pods of 1.27", WITHOUT, without_retention),
];

fn world(objects: &str, change: fn(&mut Value)) -> World {
    let mut world = World::start(Vec::new());
    let list: Value = serde_saphyr::from_str(objects).unwrap();
    let mut writer = world.cluster.server.store().write();
    for object in list["items"].as_array().unwrap() {
        let mut object = object.clone();
        change(&mut object);
        let (version, kind) = (object["apiVersion"].as_str().unwrap(), object["kind"].as_str().unwrap());
        let resource = resources::find_kind(version, kind).unwrap();
        writer.put(resource, object.clone());
    }
    drop(writer);
    world.restart();
    world
}

async fn look(world: &World) -> Survey {
    let client = Client::new(world.cluster.router.clone(), NAMESPACE);
    survey(client, None, cluster::now).await.unwrap()
}

#[test]
fn sets_of_every_release_are_taken_over_without_a_write() {
    for (release, objects, change) in RELEASES {
        simulate(async || {
            let mut world = world(objects, change);
            let untouched = || -> Vec<_> {
                [cluster::pods(), cluster::claims(), cluster::revisions()]
                    .map(|it| world.cluster.list(it))
                    .concat()
            };
            let before = untouched();
            let found = look(&world).await;
            assert_eq!(found, Survey { sets: 1, ..Survey::default() }, "{release}: a dry run finds nothing");
            let version = world.cluster.version();
            assert_eq!(version, world.cluster.version(), "{release}: and writes nothing");

            world.settle().await.unwrap();
            let untouched = || -> Vec<_> {
                [cluster::pods(), cluster::claims(), cluster::revisions()]
                    .map(|it| world.cluster.list(it))
                    .concat()
            };
            assert_eq!(before, untouched(), "{release}");
            let writes = world.record.lock().unwrap().writes.clone();
            assert_eq!(writes, [], "{release}: nothing is written");
            assert_eq!(look(&world).await.intents, [], "{release}: and nothing afterwards");
        });
    }
}

#[test]
fn a_dry_run_names_every_object_that_would_change() {
    simulate(async || {
        let mut world = world(WITH, upgraded);
        world.cluster.remove(cluster::pods(), "web-1");
        world.cluster.edit(cluster::pods(), "web-0", |it| it["metadata"]["ownerReferences"] = json!([]));
        world.cluster.edit(cluster::sets(), "web", |it| {
            it["metadata"]["generation"] = json!(2);
            it["spec"]["template"]["spec"]["containers"][0]["image"] = json!("other");
        });
        let version = world.cluster.version();
        let found = look(&world).await;
        assert_eq!(version, world.cluster.version(), "nothing is written");
        let lines: Vec<_> = found.intents.iter().map(ToString::to_string).collect();
        let has = |it: &str| assert!(lines.iter().any(|line| line.starts_with(it)), "{it}: {lines:#?}");
        has("Pod default/web-0: adopt");
        has("ControllerRevision default/web-");
        has("Pod default/web-1: create at revision web-");
        has("StatefulSet default/web: status observedGeneration 1 to 2");
        assert_eq!(lines.len(), 4, "{lines:#?}");
        world.settle().await.unwrap();
    });
}
