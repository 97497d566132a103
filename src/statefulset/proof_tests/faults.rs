//! Single faults: every write site with every crash and every answer, every stream with every view.

use serde_json::{Value, json};

use super::acts::{Act, act};
use super::cluster;
use super::controller::{Stream, View};
use super::gateway::{Answer, Fault, Moment, Site, Trap};
use super::world::{World, image, simulate, web};
use super::{Effort, effort};

/// One cell in so many is tried in the small run.
const SAMPLE: usize = 5;

/// The twelve scenarios.
pub fn scenarios() -> Vec<(&'static str, Vec<Act>)> {
    let spec = |it: Value| Act::Patch(json!({ "spec": it }));
    let rolling = |it: Value| json!({ "updateStrategy": { "type": "RollingUpdate", "rollingUpdate": it } });
    let delete = json!({ "persistentVolumeClaimRetentionPolicy": { "whenScaled": "Delete", "whenDeleted": "Delete" } });
    vec![
        ("create", vec![Act::Create(web(3, json!({})))]),
        ("scale up", vec![Act::Create(web(1, json!({}))), spec(json!({ "replicas": 3 }))]),
        ("scale down", vec![Act::Create(web(3, json!({}))), spec(json!({ "replicas": 1 }))]),
        (
            "burst",
            vec![
                Act::Create(web(4, json!({ "podManagementPolicy": "Parallel" }))),
                spec(json!({ "replicas": 1 })),
            ],
        ),
        (
            "rolling update",
            vec![
                Act::Create(web(3, json!({ "revisionHistoryLimit": 0 }))),
                Act::Patch(image("two")),
                Act::Patch(image("three")),
            ],
        ),
        (
            "rollback",
            vec![Act::Create(web(2, json!({}))), Act::Patch(image("two")), Act::Patch(image("one"))],
        ),
        (
            "canary",
            vec![
                Act::Create(web(3, rolling(json!({ "partition": 2 })))),
                Act::Patch(image("two")),
                Act::DeletePod("web-0"),
                spec(rolling(json!({ "partition": 0 }))),
            ],
        ),
        (
            "OnDelete",
            vec![
                Act::Create(web(2, json!({ "updateStrategy": { "type": "OnDelete" } }))),
                Act::Patch(image("two")),
                Act::DeletePod("web-0"),
                Act::DeletePod("web-1"),
            ],
        ),
        ("eviction", vec![Act::Create(web(3, json!({}))), Act::Fail("web-1"), Act::DeletePod("web-0")]),
        (
            "adopt and release",
            vec![
                Act::Create(web(2, json!({}))),
                Act::Orphan,
                Act::Create(web(2, json!({}))),
                Act::Relabel("web-1", "other"),
                Act::DeletePod("web-1"),
            ],
        ),
        (
            "claim retention",
            vec![
                Act::Create(web(3, delete.clone())),
                spec(json!({ "replicas": 1 })),
                spec(json!({ "replicas": 2 })),
                spec(json!({ "persistentVolumeClaimRetentionPolicy": { "whenDeleted": "Retain" } })),
                Act::DeleteSet,
            ],
        ),
        (
            "start ordinal",
            vec![
                Act::Create(web(2, json!({ "podManagementPolicy": "OrderedReady" }))),
                spec(json!({ "ordinals": { "start": 2 } })),
            ],
        ),
    ]
}

/// Something that goes wrong once.
#[derive(Debug, Clone)]
enum Cell {
    Write(Site, Fault),
    View(Stream, View),
}

/// How a run ended.
struct Run {
    histories: Vec<String>,
    state: Vec<String>,
    writes: Vec<Site>,
    fired: bool,
}

async fn play(acts: &[Act], cell: Option<&Cell>, after: usize) -> Run {
    let trap = |site, fault| Trap { site: Some(site), after, fault };
    let traps = match cell {
        Some(Cell::Write(site, fault)) => vec![trap(*site, *fault)],
        _ => Vec::new(),
    };
    let mut world = World::start(traps);
    let (mut met, mut story) = (false, Ok(()));
    for it in acts {
        if let Some(Cell::View(stream, view)) = cell {
            world.controller.disturb(*stream, *view);
        }
        act(&mut world, it).await;
        story = world.settle().await;
        if let Some(Cell::View(stream, _)) = cell {
            met |= world.controller.was_met(*stream);
        }
        if story.is_err() {
            break;
        }
    }
    world.controller.heal();
    if story.is_ok() {
        story = world.reached().await;
    }
    if let Err(why) = story {
        panic!("{why}\n  with {cell:?} after {after}:\n{}\n{:#?}", world.story(), world.cluster.state());
    }
    let record = world.record.lock().unwrap();
    Run {
        histories: world.cluster.histories(),
        state: world.cluster.state(),
        writes: record.writes.clone(),
        fired: met || !record.fired.is_empty(),
    }
}

fn cells() -> Vec<Cell> {
    let moments = [Moment::Before, Moment::Committed, Moment::Answered].map(Fault::Crash);
    let faults: Vec<_> = moments.into_iter().chain(Answer::ALL.map(Fault::Answer)).collect();
    let writes = Site::ALL.iter().flat_map(|site| faults.iter().map(|it| Cell::Write(*site, *it)));
    let views = Stream::ALL.iter().flat_map(|stream| View::ALL.map(|it| Cell::View(*stream, it)));
    writes.chain(views).collect()
}

/// Each cell in every scenario where it can happen; in the small run every fourth cell in one of them.
#[test]
fn every_single_fault_leaves_the_same_objects_and_histories() {
    let started = std::time::Instant::now();
    let scenarios = scenarios();
    let plain: Vec<Run> =
        scenarios.iter().map(|(_, acts)| simulate(async || play(acts, None, 0).await)).collect();
    let cells = cells();
    let mut jobs = Vec::new();
    for (number, cell) in cells.iter().enumerate() {
        let possible = |it: &&usize| match cell {
            Cell::Write(site, _) => plain[**it].writes.contains(site),
            Cell::View(..) => true,
        };
        let possible: Vec<usize> =
            (0..scenarios.len()).collect::<Vec<_>>().iter().filter(possible).copied().collect();
        assert!(!possible.is_empty(), "no scenario meets {cell:?}");
        if effort() == Effort::Full {
            jobs.extend(possible.iter().map(|it| (number, *it)));
        } else if number % SAMPLE == 0 {
            jobs.push((number, possible[number % possible.len()]));
        }
    }
    let workers = 2;
    let (runs, fired) = std::thread::scope(|scope| {
        let work = |worker: usize| {
            let (jobs, cells, scenarios, plain) = (&jobs, &cells, &scenarios, &plain);
            move || {
                let (mut runs, mut fired) = (0, std::collections::BTreeSet::new());
                for (cell, scenario) in jobs.iter().skip(worker).step_by(workers) {
                    let (name, acts) = &scenarios[*scenario];
                    let run = simulate(async || play(acts, Some(&cells[*cell]), 0).await);
                    let plain = &plain[*scenario];
                    assert_eq!(run.state, plain.state, "{name} with {:?}", cells[*cell]);
                    if comparable(&cells[*cell], acts) {
                        assert_eq!(run.histories, plain.histories, "{name} with {:?}", cells[*cell]);
                    }
                    runs += 1;
                    if run.fired {
                        fired.insert(*cell);
                    }
                }
                (runs, fired)
            }
        };
        let threads: Vec<_> = (0..workers).map(|it| scope.spawn(work(it))).collect();
        let mut all = (0, std::collections::BTreeSet::new());
        for thread in threads {
            let (runs, fired) = thread.join().expect("no run fails");
            all.0 += runs;
            all.1.extend(fired);
        }
        all
    });
    let tried: std::collections::BTreeSet<_> = jobs.iter().map(|it| it.0).collect();
    let silent: Vec<_> =
        tried.iter().copied().filter(|it| !fired.contains(it)).map(|it| &cells[it]).collect();
    assert!(silent.is_empty(), "these never happened: {silent:?}");
    println!(
        "faults: {} of {} cells, all fired, {runs} runs in {:?}",
        tried.len(),
        cells.len(),
        started.elapsed()
    );
}

/// Where a person removes an object meanwhile, its history is another one. Nor does a controller that has not heard
/// of the end of its set know that its revision went with it: as upstream it records the template again, and the
/// garbage collector removes that, too.
fn comparable(cell: &Cell, acts: &[Act]) -> bool {
    match cell {
        Cell::Write(_, Fault::Answer(Answer::NotFound)) => false,
        Cell::View(Stream::Sets, _) => !acts.iter().any(|it| matches!(it, Act::DeleteSet)),
        _ => true,
    }
}

#[test]
fn the_same_faults_give_the_same_history_byte_for_byte() {
    let run = || {
        simulate(async || {
            let trap = |after, fault| Trap { site: None, after, fault };
            let traps = vec![
                trap(3, Fault::Crash(Moment::Committed)),
                trap(5, Fault::Answer(Answer::TimeoutCommitted)),
                trap(9, Fault::Answer(Answer::Slow)),
            ];
            let mut world = World::start(traps);
            for it in &scenarios()[4].1 {
                act(&mut world, it).await;
                world.settle().await.unwrap();
            }
            let objects = [cluster::pods(), cluster::claims(), cluster::revisions(), cluster::sets()];
            let objects = objects.map(|it| serde_json::to_string(&world.cluster.list(it)).unwrap());
            (world.story(), objects)
        })
    };
    assert_eq!(run(), run());
}
