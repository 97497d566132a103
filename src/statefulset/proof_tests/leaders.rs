//! Two leaders: one acts on a view that trails by up to three events while the other has taken over.
//!
//! Every order of so many moves is tried: the old leader acts, its view advances by one event, the new leader acts on
//! a fresh view, a node acts. Then the old one is gone and the new one finishes. Nothing but the controllers harms
//! pods here, so beside the rules for each request the budget must hold for what really is there.

use serde_json::json;

use super::acts::{Act, act};
use super::cluster::{self, ready, terminating};
use super::controller::{Controller, Stream};
use super::world::{World, goal, image, simulate, web};
use super::{Effort, effort};

/// How far the old leader's view may trail.
const STALE: usize = 3;

#[derive(Debug, Clone, Copy)]
enum Move {
    Old,
    OldSees,
    New,
    Node,
}

const MOVES: [Move; 4] = [Move::Old, Move::OldSees, Move::New, Move::Node];

/// What the set is, what is done to it, and how many of its pods may be unavailable meanwhile.
fn situations() -> Vec<(&'static str, Vec<Act>, usize)> {
    let set = |extra| Act::Create(web(3, extra));
    let spec = |it| Act::Patch(json!({ "spec": it }));
    let parallel = json!({
        "podManagementPolicy": "Parallel",
        "updateStrategy": { "type": "RollingUpdate", "rollingUpdate": { "maxUnavailable": 2 } },
    });
    let delete = json!({ "persistentVolumeClaimRetentionPolicy": { "whenScaled": "Delete" } });
    vec![
        ("create", vec![set(json!({}))], 3),
        ("rolling update", vec![set(json!({})), Act::Patch(image("two"))], 1),
        ("rolling update of two at a time", vec![set(parallel), Act::Patch(image("two"))], 2),
        ("scale down", vec![set(delete), spec(json!({ "replicas": 1 }))], 0),
        ("a failed pod", vec![set(json!({})), Act::Fail("web-1")], 1),
        ("back and forth", vec![set(json!({})), Act::Patch(image("two")), Act::Patch(image("one"))], 1),
    ]
}

fn unavailable(world: &World) -> usize {
    let Some(set) = world.cluster.get(cluster::sets(), "web") else { return 0 };
    let replicas = set["spec"]["replicas"].as_u64().unwrap_or(0);
    let fine = |ordinal: &u64| {
        let pod = world.cluster.get(cluster::pods(), &format!("web-{ordinal}"));
        pod.is_some_and(|it| !terminating(&it) && ready(&it))
    };
    (0..replicas).filter(|it| !fine(it)).count()
}

fn see_one(old: &mut Controller, world: &World) -> bool {
    let next = Stream::ALL.into_iter().filter(|it| old.lag(&world.cluster, *it) > 0);
    // The stream with most to say goes first.
    next.max_by_key(|it| old.lag(&world.cluster, *it)).is_some_and(|it| old.deliver(&world.cluster, it))
}

async fn play(name: &str, acts: &[Act], most: usize, word: &[Move]) -> u64 {
    let mut world = World::start(Vec::new());
    let (last, first) = acts.split_last().expect("something is done");
    for it in first {
        act(&mut world, it).await;
        world.settle().await.unwrap();
    }
    let mut old = Controller::start("old", &world.cluster, &world.record);
    act(&mut world, last).await;
    let mut states = 0;
    for it in word {
        match it {
            Move::Old => {
                old.turn().await;
            }
            Move::OldSees => drop(see_one(&mut old, &world)),
            Move::New => {
                for stream in Stream::ALL {
                    world.controller.round(&world.cluster, stream);
                }
                world.turn().await;
            }
            Move::Node => {
                if let Some(name) = world.cluster.movable().first() {
                    world.cluster.node(name);
                }
            }
        }
        while Stream::ALL.iter().map(|it| old.lag(&world.cluster, *it)).sum::<usize>() > STALE {
            see_one(&mut old, &world);
        }
        states += 1;
        let broken = world.record.lock().unwrap().broken.first().cloned();
        let down = unavailable(&world);
        let story = || format!("{name}, {word:?}\n{}", world.story());
        assert!(broken.is_none(), "{}\n{}", broken.unwrap_or_default(), story());
        assert!(down <= most, "INV-8: {down} of {most} are not available\n{}", story());
    }
    drop(old);
    let result = world.settle().await.and_then(|()| goal(&world.cluster));
    let more: Vec<_> = world.cluster.histories().into_iter().filter(|it| wasteful(it)).collect();
    let story = || format!("{name}, {word:?}\n{}", world.story());
    assert!(result.is_ok(), "{result:?}\n{}", story());
    assert!(more.is_empty(), "more than one restart for one reason: {more:?}\n{}", story());
    states
}

/// A pod that went through the same image twice in a row: only a failed one may.
fn wasteful(history: &str) -> bool {
    let made: Vec<_> = history
        .split(", ")
        .filter_map(|it| it.rsplit("create ").next().filter(|_| it.contains("create ")))
        .collect();
    let limit = if history.starts_with("Pod web-1") { 2 } else { 1 };
    made.windows(2).filter(|it| it[0] == it[1]).count() >= limit
}

#[test]
fn two_leaders_do_no_more_harm_than_one() {
    let started = std::time::Instant::now();
    let situations = situations();
    let (length, stride) = if effort() == Effort::Full { (5, 1) } else { (5, 83) };
    let words = MOVES.len().pow(length);
    let jobs: Vec<_> = (0..situations.len() * words).step_by(stride).collect();
    let workers = 2;
    let states: u64 = std::thread::scope(|scope| {
        let work = |worker: usize| {
            let (jobs, situations) = (&jobs, &situations);
            move || {
                let mut states = 0;
                for number in jobs.iter().skip(worker).step_by(workers) {
                    let (name, acts, most) = &situations[number / words];
                    let letter = |at: u32| MOVES[number % words / MOVES.len().pow(at) % MOVES.len()];
                    let word: Vec<_> = (0..length).map(letter).collect();
                    states += simulate(async || play(name, acts, *most, &word).await);
                }
                states
            }
        };
        let threads: Vec<_> = (0..workers).map(|it| scope.spawn(work(it))).collect();
        threads.into_iter().map(|it| it.join().expect("no order of moves does harm")).sum()
    });
    println!(
        "two leaders: {} orders of {length} moves, {states} states, in {:?}",
        jobs.len(),
        started.elapsed()
    );
}
