//! The scenarios of Kubernetes' end-to-end suite, each also with a crash at every write.
//!
//! Left out are the four that install a database and look into it; they test the database. In their place stand two
//! with `maxUnavailable`. After every step everything comes to rest and is compared with what the suite expects.
//! Source: kubernetes `test/e2e/apps/statefulset.go`.

use serde_json::{Value, json};

use super::acts::{Act, act, identities, shown};
use super::gateway::{Fault, Moment, Site, Trap};
use super::world::{World, image, simulate, web};
use super::{Effort, effort};

/// What is done, and what is there afterwards (see [`shown`]).
type Step = (Act, &'static str);

fn spec(it: Value) -> Act {
    Act::Patch(json!({ "spec": it }))
}

fn partition(it: u32) -> Value {
    json!({ "updateStrategy": { "type": "RollingUpdate", "rollingUpdate": { "partition": it } } })
}

fn most(it: u32) -> Value {
    json!({ "updateStrategy": { "type": "RollingUpdate", "rollingUpdate": { "maxUnavailable": it } } })
}

fn retain(deleted: &str, scaled: &str) -> Value {
    json!({ "persistentVolumeClaimRetentionPolicy": { "whenDeleted": deleted, "whenScaled": scaled } })
}

fn start(it: Value) -> Value {
    json!({ "ordinals": it })
}

fn plain(replicas: u32, extra: Value) -> Act {
    let mut extra = extra;
    extra["volumeClaimTemplates"] = Value::Null;
    Act::Create(web(replicas, extra))
}

fn claimed(replicas: u32, extra: Value) -> Act {
    Act::Create(web(replicas, extra))
}

fn parallel() -> Value {
    json!({ "podManagementPolicy": "Parallel" })
}

#[rustfmt::skip]
fn scenarios() -> Vec<(&'static str, Vec<Step>)> {
    let none = json!({});
    vec![
        ("should provide basic identity", vec![
            (claimed(3, none.clone()), "0one 1one 2one | 0 1 2 | 3/3/3/3/3"),
            (Act::Scale(0), " | 0 1 2 | 0/0/0/0/0"),
            (Act::Scale(3), "0one 1one 2one | 0 1 2 | 3/3/3/3/3"),
        ]),
        ("should adopt matching orphans and release non-matching pods", vec![
            (claimed(1, none.clone()), "0one | 0 | 1/1/1/1/1"),
            (Act::Disown("web-0"), "0one | 0 | 1/1/1/1/1"),
            (Act::Relabel("web-0", "other"), "0one~ | 0 | 0/0/0/0/0"),
            (Act::Relabel("web-0", "web"), "0one | 0 | 1/1/1/1/1"),
        ]),
        ("should not deadlock when a pod's predecessor fails", vec![
            (Act::Sicken("web-0"), " | "),
            (Act::Sicken("web-1"), " | "),
            (claimed(2, none.clone()), "0one! | 0 | 1/0/0/1/1"),
            (Act::Cure("web-0"), "0one 1one! | 0 1 | 2/1/1/2/2"),
            (Act::DeletePod("web-0"), "0one 1one! | 0 1 | 2/1/1/2/2"),
            (Act::Cure("web-1"), "0one 1one | 0 1 | 2/2/2/2/2"),
        ]),
        ("should perform rolling updates and roll backs of template modifications with PVCs", vec![
            (claimed(3, none.clone()), "0one 1one 2one | 0 1 2 | 3/3/3/3/3"),
            (Act::Patch(image("two")), "0two 1two 2two | 0 1 2 | 3/3/3/3/3"),
            (Act::Patch(image("one")), "0one 1one 2one | 0 1 2 | 3/3/3/3/3"),
        ]),
        ("should perform rolling updates and roll backs of template modifications", vec![
            (plain(3, none.clone()), "0one 1one 2one |  | 3/3/3/3/3"),
            (Act::Patch(image("two")), "0two 1two 2two |  | 3/3/3/3/3"),
            (Act::Patch(image("one")), "0one 1one 2one |  | 3/3/3/3/3"),
        ]),
        ("should perform canary updates and phased rolling updates of template modifications", vec![
            (plain(3, partition(3)), "0one 1one 2one |  | 3/3/3/3/3"),
            (Act::Patch(image("two")), "0one 1one 2one |  | 3/3/3/3/0"),
            (spec(partition(2)), "0one 1one 2two |  | 3/3/3/2/1"),
            (Act::DeletePod("web-2"), "0one 1one 2two |  | 3/3/3/2/1"),
            (Act::DeletePod("web-0"), "0one 1one 2two |  | 3/3/3/2/1"),
            (spec(partition(1)), "0one 1two 2two |  | 3/3/3/1/2"),
            (spec(partition(0)), "0two 1two 2two |  | 3/3/3/3/3"),
        ]),
        ("partition 1 and pod 0 deleted, without a failing container", vec![
            (plain(3, partition(1)), "0one 1one 2one |  | 3/3/3/3/3"),
            (Act::Patch(image("two")), "0one 1two 2two |  | 3/3/3/1/2"),
            (Act::DeletePod("web-0"), "0one 1two 2two |  | 3/3/3/1/2"),
        ]),
        ("partition 1 and pod 0 deleted, with a failing container", vec![
            (plain(3, partition(1)), "0one 1one 2one |  | 3/3/3/3/3"),
            (Act::Patch(image("broken")), "0one 1one 2broken! |  | 3/2/2/2/1"),
            (Act::DeletePod("web-0"), "0one 1one 2broken! |  | 3/2/2/2/1"),
            (Act::Patch(image("two")), "0one 1one 2broken! |  | 3/2/2/2/0"),
            (Act::DeletePod("web-2"), "0one 1two 2two |  | 3/3/3/1/2"),
        ]),
        ("should implement legacy replacement when the update strategy is OnDelete", vec![
            (plain(3, json!({ "updateStrategy": { "type": "OnDelete" } })), "0one 1one 2one |  | 3/3/3/3/3"),
            (Act::DeletePod("web-1"), "0one 1one 2one |  | 3/3/3/3/3"),
            (Act::Patch(image("two")), "0one 1one 2one |  | 3/3/3/3/0"),
            (Act::DeletePod("web-1"), "0one 1two 2one |  | 3/3/3/2/1"),
        ]),
        ("Scaling should happen in predictable order and halt if any stateful pod is unhealthy", vec![
            (plain(1, none.clone()), "0one |  | 1/1/1/1/1"),
            (Act::Sicken("web-0"), "0one! |  | 1/0/0/1/1"),
            (Act::Scale(3), "0one! |  | 1/0/0/1/1"),
            (Act::Cure("web-0"), "0one 1one 2one |  | 3/3/3/3/3"),
            (Act::Sicken("web-0"), "0one! 1one 2one |  | 3/2/2/3/3"),
            (Act::Scale(1), "0one! 1one 2one |  | 3/2/2/3/3"),
            (Act::Cure("web-0"), "0one |  | 1/1/1/1/1"),
            (Act::Scale(0), " |  | 0/0/0/0/0"),
        ]),
        ("Burst scaling should run to completion even with unhealthy pods", vec![
            (plain(1, parallel()), "0one |  | 1/1/1/1/1"),
            (Act::Sicken("web-0"), "0one! |  | 1/0/0/1/1"),
            (Act::Sicken("web-2"), "0one! |  | 1/0/0/1/1"),
            (Act::Scale(3), "0one! 1one 2one! |  | 3/1/1/3/3"),
            (Act::Scale(0), " |  | 0/0/0/0/0"),
        ]),
        ("Should recreate evicted statefulset", vec![
            (plain(1, none.clone()), "0one |  | 1/1/1/1/1"),
            (Act::Fail("web-0"), "0one |  | 1/1/1/1/1"),
        ]),
        ("should have a working scale subresource", vec![
            (plain(1, none.clone()), "0one |  | 1/1/1/1/1"),
            (Act::Scale(2), "0one 1one |  | 2/2/2/2/2"),
        ]),
        ("should list, patch and delete a collection of StatefulSets", vec![
            (plain(1, none.clone()), "0one |  | 1/1/1/1/1"),
            (Act::Patch(json!({ "metadata": { "labels": { "test": "patched" } }, "spec": { "replicas": 2,
                "template": { "spec": { "containers": [{ "name": "c", "image": "two" }] } } } })),
                "0two 1two |  | 2/2/2/2/2"),
            (Act::DeleteSet, " | "),
        ]),
        ("should validate Statefulset Status endpoints", vec![
            (plain(1, none.clone()), "0one |  | 1/1/1/1/1"),
            (Act::PatchStatus(json!({ "conditions": [{ "type": "StatusPatched", "status": "True" }] })),
                "0one |  | 1/1/1/1/1"),
            (Act::Scale(2), "0one 1one |  | 2/2/2/2/2"),
        ]),
        ("MinReadySeconds should be honored when enabled", vec![
            (plain(2, json!({ "minReadySeconds": 30 })), "0one 1one |  | 2/2/2/2/2"),
        ]),
        ("AvailableReplicas should get updated accordingly when MinReadySeconds is enabled", vec![
            (plain(2, json!({ "minReadySeconds": 30 })), "0one 1one |  | 2/2/2/2/2"),
            (spec(json!({ "minReadySeconds": 36_000 })), "0one 1one |  | 2/2/0/2/2"),
            (spec(json!({ "minReadySeconds": 0 })), "0one 1one |  | 2/2/2/2/2"),
        ]),
        ("should delete PVCs with a WhenDeleted policy", vec![
            (claimed(3, retain("Delete", "Retain")), "0one 1one 2one | 0 1 2 | 3/3/3/3/3"),
            (Act::DeleteSet, " | "),
        ]),
        ("should delete PVCs with a OnScaledown policy", vec![
            (claimed(3, retain("Retain", "Delete")), "0one 1one 2one | 0 1 2 | 3/3/3/3/3"),
            (Act::Scale(0), " |  | 0/0/0/0/0"),
        ]),
        ("should delete PVCs after adopting pod (WhenDeleted)", vec![
            (claimed(3, retain("Delete", "Retain")), "0one 1one 2one | 0 1 2 | 3/3/3/3/3"),
            (Act::Disown("web-0"), "0one 1one 2one | 0 1 2 | 3/3/3/3/3"),
            (Act::DeleteSet, " | "),
        ]),
        ("should delete PVCs after adopting pod (WhenScaled)", vec![
            (claimed(3, retain("Retain", "Delete")), "0one 1one 2one | 0 1 2 | 3/3/3/3/3"),
            (Act::Disown("web-2"), "0one 1one 2one | 0 1 2 | 3/3/3/3/3"),
            (Act::Scale(1), "0one | 0 | 1/1/1/1/1"),
        ]),
        ("should not delete PVC with OnScaledown policy if another controller owns the PVC", vec![
            (claimed(3, retain("Retain", "Delete")), "0one 1one 2one | 0 1 2 | 3/3/3/3/3"),
            (Act::TakeClaim("data-web-2"), "0one 1one 2one | 0 1 2 | 3/3/3/3/3"),
            (Act::Scale(1), "0one | 0 2 | 1/1/1/1/1"),
        ]),
        ("should not delete PVCs when there is another controller", vec![
            (claimed(2, retain("Delete", "Retain")), "0one 1one | 0 1 | 2/2/2/2/2"),
            (Act::TakeClaim("data-web-1"), "0one 1one | 0 1 | 2/2/2/2/2"),
            (Act::DeleteSet, " | 1"),
        ]),
        ("Setting .start.ordinal", vec![
            (plain(2, none.clone()), "0one 1one |  | 2/2/2/2/2"),
            (spec(start(json!({ "start": 2 }))), "2one 3one |  | 2/2/2/2/2"),
        ]),
        ("Increasing .start.ordinal", vec![
            (plain(2, start(json!({ "start": 2 }))), "2one 3one |  | 2/2/2/2/2"),
            (spec(start(json!({ "start": 4 }))), "4one 5one |  | 2/2/2/2/2"),
        ]),
        ("Decreasing .start.ordinal", vec![
            (plain(2, start(json!({ "start": 3 }))), "3one 4one |  | 2/2/2/2/2"),
            (spec(start(json!({ "start": 2 }))), "2one 3one |  | 2/2/2/2/2"),
        ]),
        ("Removing .start.ordinal", vec![
            (plain(2, start(json!({ "start": 3 }))), "3one 4one |  | 2/2/2/2/2"),
            (spec(start(Value::Null)), "0one 1one |  | 2/2/2/2/2"),
        ]),
        ("PVC should be recreated when pod is pending due to missing PVC", vec![
            (Act::Block("web-0"), " | "),
            (claimed(1, retain("Delete", "Delete")), "0one! | 0 | 1/0/0/1/1"),
            (Act::RemoveClaim("data-web-0"), "0one! | 0 | 1/0/0/1/1"),
            (Act::Unblock("web-0"), "0one | 0 | 1/1/1/1/1"),
        ]),
        ("PVC should be recreated when pod is pending due to missing PVC, Retain", vec![
            (Act::Block("web-0"), " | "),
            (claimed(1, none.clone()), "0one! | 0 | 1/0/0/1/1"),
            (Act::RemoveClaim("data-web-0"), "0one! | 0 | 1/0/0/1/1"),
            (Act::Unblock("web-0"), "0one | 0 | 1/1/1/1/1"),
        ]),
        ("rolling update with maxUnavailable, OrderedReady", vec![
            (plain(4, most(2)), "0one 1one 2one 3one |  | 4/4/4/4/4"),
            (Act::Patch(image("two")), "0two 1two 2two 3two |  | 4/4/4/4/4"),
        ]),
        ("rolling update with maxUnavailable, Parallel, out of a broken template", vec![
            (plain(4, { let mut it = most(2); it["podManagementPolicy"] = json!("Parallel"); it }),
                "0one 1one 2one 3one |  | 4/4/4/4/4"),
            (Act::Patch(image("broken")), "0one 1one 2broken! 3broken! |  | 4/2/2/2/2"),
            (Act::Patch(image("two")), "0two 1two 2two 3two |  | 4/4/4/4/4"),
        ]),
    ]
}

/// Histories of the objects and the writes of a run.
async fn play(name: &str, steps: &[Step], trap: Option<Trap>) -> (Vec<String>, Vec<Site>) {
    let text = format!("{trap:?}");
    let mut world = World::start(trap.into_iter().collect());
    for (done, want) in steps {
        act(&mut world, done).await;
        let result = world.settle().await.and_then(|()| identities(&world));
        let got = shown(&world);
        if result.is_err() || got != *want {
            let story = world.story();
            panic!("{name} with {text}: after {done:?}\n  want {want}\n  got  {got}\n  {result:?}\n{story}");
        }
    }
    let writes = world.record.lock().unwrap().writes.clone();
    (world.cluster.histories(), writes)
}

#[test]
fn the_end_to_end_scenarios_of_kubernetes_pass_with_a_crash_at_any_write() {
    let started = std::time::Instant::now();
    let scenarios = scenarios();
    let step = if effort() == Effort::Full { 1 } else { 13 };
    let workers = 2;
    let runs: usize = std::thread::scope(|scope| {
        let work = |worker: usize| {
            let scenarios = &scenarios;
            move || {
                let mut runs = 0;
                for (number, (name, steps)) in scenarios.iter().enumerate().skip(worker).step_by(workers) {
                    let (plain, writes) = simulate(async || play(name, steps, None).await);
                    for at in (number % step..writes.len()).step_by(step) {
                        let moments = [Moment::Before, Moment::Committed, Moment::Answered];
                        let chosen =
                            &moments[if effort() == Effort::Full { 0..3 } else { at % 3..at % 3 + 1 }];
                        for moment in chosen {
                            let trap = Trap { site: None, after: at, fault: Fault::Crash(*moment) };
                            let (histories, _) = simulate(async || play(name, steps, Some(trap)).await);
                            assert_eq!(histories, plain, "{name}: {moment:?} write {at}, {:?}", writes[at]);
                            runs += 1;
                        }
                    }
                }
                runs
            }
        };
        let threads: Vec<_> = (0..workers).map(|it| scope.spawn(work(it))).collect();
        threads.into_iter().map(|it| it.join().expect("no scenario fails")).sum()
    });
    println!(
        "end to end: {} scenarios, {runs} runs with a crash, in {:?}",
        scenarios.len(),
        started.elapsed()
    );
}
