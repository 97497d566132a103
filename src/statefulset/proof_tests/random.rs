//! Random histories: one set, one to four faults, everything in any order; then the faults stop.
//!
//! A history is a list of small steps, so that a failing one is shrunk to the steps that matter. Its number is its
//! seed: `ORDINAL_SEED=17 cargo test random_histories` runs that one alone.

use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Value, json};

use super::cluster;
use super::controller::{Stream, View};
use super::gateway::{Answer, Fault, Moment, Site, Trap};
use super::world::{World, image, simulate, web};
use super::{Effort, effort};

/// Histories of an ordinary `cargo test`.
const SMALL: u64 = 60;
/// Histories of the whole proof.
const FULL: u64 = 10_000;

/// One step. Numbers pick among what there is at that moment.
#[derive(Debug, Clone)]
enum Op {
    Deliver(usize),
    Relist(usize),
    Turn,
    Node(usize),
    Collect,
    /// So many seconds pass.
    Wait(u64),
    Crash,
    Disturb(usize, usize),
    Scale(u32),
    Start(u32),
    Image(usize),
    Partition(u32),
    Delete(usize),
    Evict(usize),
    Unready(usize),
    Relabel(usize),
    Orphan(usize),
    RemoveClaim(usize),
    Annotate,
    /// Somebody overwrites the status.
    Meddle,
}

fn op() -> impl Strategy<Value = Op> {
    let any = 0..16_usize;
    prop_oneof![
        12 => any.clone().prop_map(Op::Deliver),
        1 => any.clone().prop_map(Op::Relist),
        14 => Just(Op::Turn),
        10 => any.clone().prop_map(Op::Node),
        3 => Just(Op::Collect),
        2 => (1..40_u64).prop_map(Op::Wait),
        1 => Just(Op::Crash),
        1 => (any.clone(), any.clone()).prop_map(|(a, b)| Op::Disturb(a, b)),
        2 => (0..5_u32).prop_map(Op::Scale),
        1 => (0..3_u32).prop_map(Op::Start),
        2 => (0..3_usize).prop_map(Op::Image),
        1 => (0..4_u32).prop_map(Op::Partition),
        1 => any.clone().prop_map(Op::Delete),
        1 => any.clone().prop_map(Op::Evict),
        1 => any.clone().prop_map(Op::Unready),
        1 => any.clone().prop_map(Op::Relabel),
        1 => any.clone().prop_map(Op::Orphan),
        1 => any.prop_map(Op::RemoveClaim),
        1 => Just(Op::Annotate),
        1 => Just(Op::Meddle),
    ]
}

fn spec() -> impl Strategy<Value = Value> {
    let strategy = prop_oneof![
        3 => (0..3_u32, 1..4_u32).prop_map(|(partition, most)| {
            json!({ "type": "RollingUpdate", "rollingUpdate": { "partition": partition, "maxUnavailable": most } })
        }),
        2 => Just(json!({ "type": "RollingUpdate" })),
        1 => Just(json!({ "type": "OnDelete" })),
    ];
    let policy = prop_oneof![Just("OrderedReady"), Just("Parallel")];
    let retain = || prop_oneof![Just("Retain"), Just("Delete")];
    let numbers = (prop_oneof![Just(0), Just(0), Just(5)], 0..3_u32, 0..4_u32, any::<bool>());
    (strategy, policy, retain(), retain(), numbers).prop_map(
        |(strategy, policy, scaled, deleted, (min_ready, history, replicas, claims))| {
            let mut spec = json!({
                "updateStrategy": strategy, "podManagementPolicy": policy, "minReadySeconds": min_ready,
                "revisionHistoryLimit": history,
                "persistentVolumeClaimRetentionPolicy": { "whenScaled": scaled, "whenDeleted": deleted },
            });
            if !claims {
                spec["volumeClaimTemplates"] = Value::Null;
            }
            web(replicas, spec)
        },
    )
}

fn traps() -> impl Strategy<Value = Vec<Trap>> {
    let moment = prop_oneof![Just(Moment::Before), Just(Moment::Committed), Just(Moment::Answered)];
    let fault = prop_oneof![
        1 => moment.prop_map(Fault::Crash),
        2 => prop::sample::select(Answer::ALL.to_vec()).prop_map(Fault::Answer),
    ];
    let trap = (prop::option::weighted(0.7, prop::sample::select(Site::ALL.to_vec())), 0..12_usize, fault);
    prop::collection::vec(trap.prop_map(|(site, after, fault)| Trap { site, after, fault }), 1..5)
}

fn pick(names: Vec<String>, number: usize) -> Option<String> {
    let count = names.len().max(1);
    names.into_iter().nth(number % count)
}

fn pods(world: &World) -> Vec<String> {
    let names = world.cluster.list(cluster::pods());
    names.iter().filter_map(|it| it["metadata"]["name"].as_str().map(ToOwned::to_owned)).collect()
}

async fn step(world: &mut World, op: &Op) {
    let stream = |it: &usize| Stream::ALL[it % Stream::ALL.len()];
    let spec = |it: Value| json!({ "spec": it });
    match op {
        Op::Deliver(it) => drop(world.controller.deliver(&world.cluster, stream(it))),
        Op::Relist(it) => world.controller.relist(&world.cluster, stream(it)),
        Op::Turn => {
            world.turn().await;
        }
        Op::Node(it) => {
            if let Some(name) = pick(world.cluster.movable(), *it) {
                let did = world.cluster.node(&name);
                world.log(format!("node: {name} {did}"));
            }
        }
        Op::Collect => drop(world.cluster.collect()),
        Op::Wait(seconds) => world.advance(Duration::from_secs(*seconds)).await,
        Op::Crash => world.restart(),
        Op::Disturb(a, b) => {
            let view = View::ALL[b % View::ALL.len()];
            world.log(format!("{:?} {view:?}", stream(a)));
            world.controller.disturb(stream(a), view);
            world.controller.round(&world.cluster, stream(a));
        }
        user => {
            world.log(format!("user: {user:?}"));
            let patch = match user {
                Op::Scale(it) => spec(json!({ "replicas": it })),
                Op::Start(it) => spec(json!({ "ordinals": { "start": it } })),
                Op::Image(it) => image(["one", "two", "three"][it % 3]),
                Op::Partition(it) => {
                    let strategy = json!({ "type": "RollingUpdate", "rollingUpdate": { "partition": it } });
                    spec(json!({ "updateStrategy": strategy }))
                }
                Op::Annotate => json!({ "metadata": { "annotations": { "note": "of a user" } } }),
                Op::Meddle => {
                    world.cluster.edit(cluster::sets(), "web", |it| {
                        it["status"]["readyReplicas"] = json!(0);
                        it["status"]["updatedReplicas"] = json!(0);
                    });
                    return;
                }
                Op::RemoveClaim(it) => {
                    let claims = world.cluster.list(cluster::claims());
                    let names = claims.iter().filter_map(|it| it["metadata"]["name"].as_str());
                    // Nothing protects claims here, so only those that no running pod uses.
                    let free = names.filter(|claim| {
                        world.cluster.get(cluster::pods(), claim.trim_start_matches("data-")).is_none()
                    });
                    if let Some(name) = pick(free.map(ToOwned::to_owned).collect(), *it) {
                        world.cluster.delete("persistentvolumeclaims", &name).await;
                    }
                    return;
                }
                Op::Delete(it) | Op::Evict(it) | Op::Unready(it) | Op::Relabel(it) | Op::Orphan(it) => {
                    let Some(name) = pick(pods(world), *it) else { return };
                    match user {
                        Op::Delete(_) => world.cluster.delete("pods", &name).await,
                        Op::Evict(_) => world.cluster.set_phase(&name, "Failed"),
                        Op::Unready(_) => world.cluster.set_ready(&name, false),
                        Op::Relabel(_) => {
                            let label = json!({ "metadata": { "labels": { "app": "other" } } });
                            world.cluster.patch("pods", &name, label).await;
                        }
                        _ => world.cluster.edit(cluster::pods(), &name, |it| {
                            it["metadata"]["ownerReferences"] = json!([]);
                        }),
                    }
                    return;
                }
                _ => return,
            };
            drop(world.cluster.patch_set(patch).await);
        }
    }
}

/// The faults stop, and people undo what only people can.
async fn recover(world: &mut World) -> Result<(), String> {
    world.log("the faults stop");
    world.record.lock().unwrap().traps.clear();
    world.controller.heal();
    for stream in Stream::ALL {
        world.controller.relist(&world.cluster, stream);
    }
    for _ in 0..8 {
        world.settle().await?;
        // A released pod keeps the name; two broken condemned pods block the scale-down, as upstream.
        let set = world.cluster.get(cluster::sets(), "web");
        let uid = set.map(|it| it["metadata"]["uid"].clone()).unwrap_or_default();
        let foreign = world.cluster.list(cluster::pods()).into_iter().filter(|it| {
            it["metadata"]["ownerReferences"][0]["uid"] != uid || it["status"]["phase"] == "Failed"
        });
        let names: Vec<_> =
            foreign.filter_map(|it| it["metadata"]["name"].as_str().map(ToOwned::to_owned)).collect();
        if names.is_empty() {
            break;
        }
        for name in names {
            world.log(format!("a person deletes {name}"));
            world.cluster.delete("pods", &name).await;
        }
    }
    world.reached().await
}

async fn history(set: &Value, ops: &[Op], traps: &[Trap]) -> Result<(World, usize), (String, String)> {
    let mut world = World::start(traps.to_vec());
    world.cluster.create_set(set.clone()).await;
    for op in ops {
        step(&mut world, op).await;
        let broken = world.record.lock().unwrap().broken.first().cloned();
        if let Some(why) = broken {
            return Err((why, world.story()));
        }
    }
    match recover(&mut world).await {
        Ok(()) => {
            let fired = world.record.lock().unwrap().fired.len();
            Ok((world, fired))
        }
        Err(why) => {
            let story = format!("{}\n{:#?}", world.story(), world.cluster.state());
            Err((why, story))
        }
    }
}

/// Runs one history; panics with the shrunk one if it fails. How many faults happened.
fn run(seed: u64) -> usize {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let config = Config { cases: 1, failure_persistence: None, max_shrink_iters: 3_000, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, rng);
    let strategy = (spec(), prop::collection::vec(op(), 20..120), traps());
    let fired = std::cell::Cell::new(0);
    let result = runner.run(&strategy, |(set, ops, traps)| {
        match simulate(async || history(&set, &ops, &traps).await) {
            Ok((_, count)) => {
                fired.set(count);
                Ok(())
            }
            Err((why, _)) => Err(TestCaseError::fail(why)),
        }
    });
    if let Err(proptest::test_runner::TestError::Fail(why, (set, ops, traps))) = result {
        let story = simulate(async || history(&set, &ops, &traps).await).err().map(|it| it.1);
        let spec = &set["spec"];
        panic!("seed {seed}: {why}\n{spec}\n{ops:?}\n{traps:?}\n{}", story.unwrap_or_default());
    }
    fired.get()
}

#[test]
fn random_histories_end_where_the_set_says() {
    let started = std::time::Instant::now();
    let number = |name: &str| std::env::var(name).ok().and_then(|it| it.parse::<u64>().ok());
    let first = number("ORDINAL_SEED").unwrap_or(0);
    let one = number("ORDINAL_SEED").map(|_| 1);
    let count =
        number("ORDINAL_HISTORIES").or(one).unwrap_or(if effort() == Effort::Full { FULL } else { SMALL });
    println!("random histories: seeds {first} to {}", first + count - 1);
    let workers = 2;
    let faults: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..workers)
            .map(|it| {
                let seeds = (first + it..first + count).step_by(workers as usize);
                scope.spawn(move || seeds.map(run).sum::<usize>())
            })
            .collect();
        threads.into_iter().map(|it| it.join().expect("every history ends well")).sum()
    });
    println!("random histories: {count}, {faults} faults, in {:?}", started.elapsed());
}
