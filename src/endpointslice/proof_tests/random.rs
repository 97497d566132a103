//! Random histories: users, nodes, faults, cut watches and changes of leaders.

use std::time::Duration;

use serde_json::{Value, json};

use super::judge::{all_is_right, never_a_gap};
use super::world::{NAMESPACE, World, random_faults};
use super::{Random, histories};

const APPS: [&str; 2] = ["web", "db"];

fn spec(app: &str) -> Value {
    json!({"selector": {"app": app}, "clusterIP": "None", "ports": [{"name": "http", "port": 80, "targetPort": "http"}]})
}

fn some_pod(world: &World, random: &mut Random) -> Option<String> {
    let pods = world.list("pods");
    (!pods.is_empty()).then(|| random.pick(&pods)["metadata"]["name"].as_str().unwrap().to_owned())
}

/// One step of somebody. Returns what it was.
async fn step(world: &mut World, random: &mut Random, serial: &mut usize, tamper: bool) -> String {
    let app = *random.pick(&APPS);
    let choice = random.below(if tamper { 26 } else { 22 });
    match choice {
        0..=5 => {
            *serial += 1;
            let node = *random.pick(&["n1", "n2", "n1", "n2", "ghost"]);
            world.put_pod(*serial, app, node, !random.one_in(3));
        }
        6..=8 => {
            let Some(pod) = some_pod(world, random) else { return "nothing".into() };
            world.set_ready(&pod, random.one_in(2));
        }
        9..=10 => {
            let Some(pod) = some_pod(world, random) else { return "nothing".into() };
            world.remove("pods", NAMESPACE, &pod);
        }
        11 => {
            let Some(pod) = some_pod(world, random) else { return "nothing".into() };
            world.edit("pods", NAMESPACE, &pod, |it| {
                it["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
            });
        }
        12 => {
            let Some(pod) = some_pod(world, random) else { return "nothing".into() };
            world.edit("pods", NAMESPACE, &pod, |it| it["metadata"]["labels"]["app"] = json!(app));
        }
        13 => {
            let Some(pod) = some_pod(world, random) else { return "nothing".into() };
            world.edit("pods", NAMESPACE, &pod, |it| it["status"]["phase"] = json!("Failed"));
        }
        14 => {
            let Some(pod) = some_pod(world, random) else { return "nothing".into() };
            *serial += 1;
            let ip = super::world::address(*serial);
            world.edit("pods", NAMESPACE, &pod, |it| it["status"]["podIPs"] = json!([{ "ip": ip }]));
        }
        15 => {
            let Some(pod) = some_pod(world, random) else { return "nothing".into() };
            let port = *random.pick(&[8080, 8081]);
            world.edit("pods", NAMESPACE, &pod, |it| {
                it["spec"]["containers"][0]["ports"][0]["containerPort"] = json!(port);
            });
        }
        16 => {
            let target = random.pick(&[json!("http"), json!(80), json!(81)]).clone();
            let ports = json!([{"name": "http", "port": 80, "protocol": "TCP", "targetPort": target}]);
            world.edit("services", NAMESPACE, app, |it| it["spec"]["ports"] = ports);
        }
        17 => {
            let publish = random.one_in(2);
            world.edit("services", NAMESPACE, app, |it| {
                it["spec"]["publishNotReadyAddresses"] = json!(publish);
            });
        }
        18 => {
            let value = random.below(3);
            world.edit("services", NAMESPACE, app, |it| {
                it["metadata"]["labels"] = json!({"v": value.to_string()});
            });
        }
        19 => {
            let value = random.pick(&[json!(null), json!("PreferSameZone"), json!("PreferSameNode")]).clone();
            world.edit("services", NAMESPACE, app, |it| it["spec"]["trafficDistribution"] = value);
        }
        20 => match random.below(4) {
            0 | 1 => world.put_node("n2", if random.one_in(2) { "b" } else { "c" }),
            2 => world.put_node("ghost", "a"),
            _ => world.remove("nodes", "", "ghost"),
        },
        21 => {
            if world.list("services").iter().any(|it| it["metadata"]["name"] == app) && random.one_in(2) {
                world.remove("services", NAMESPACE, app);
                // The garbage collector takes the slices.
                for slice in world.list("endpointslices") {
                    if slice["metadata"]["ownerReferences"][0]["name"] == app && random.one_in(2) {
                        world.remove(
                            "endpointslices",
                            NAMESPACE,
                            slice["metadata"]["name"].as_str().unwrap(),
                        );
                    }
                }
            } else if !world.list("services").iter().any(|it| it["metadata"]["name"] == app) {
                world.create_service(app, spec(app)).await;
            }
        }
        _ => {
            let slices = world.list("endpointslices");
            if slices.is_empty() {
                return "nothing".into();
            }
            let name = random.pick(&slices)["metadata"]["name"].as_str().unwrap().to_owned();
            match random.below(4) {
                0 => world.remove("endpointslices", NAMESPACE, &name),
                1 => drop(world.edit("endpointslices", NAMESPACE, &name, |it| it["endpoints"] = json!([]))),
                2 => drop(world.edit("endpointslices", NAMESPACE, &name, |it| {
                    it["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"] = json!("me");
                })),
                _ => drop(world.edit("endpointslices", NAMESPACE, &name, |it| {
                    it["metadata"]["annotations"] = json!({"mine": "1"});
                })),
            }
        }
    }
    format!("{choice} {app}")
}

/// One history; `faults`: one write in so many fails. Returns moments looked at, writes and faults.
pub async fn history(seed: u64, steps: usize, faults: Option<usize>, tamper: bool) -> (usize, usize, usize) {
    let mut random = Random::new(seed);
    let max = 1 + random.below(6);
    let mut world = World::start(max).await;
    for app in APPS {
        world.create_service(app, spec(app)).await;
    }
    world.control().await;
    let (mut serial, mut log) = (0, Vec::new());
    for _ in 0..steps {
        if let Some(rarity) = faults {
            if random.one_in(4) {
                let more = random_faults(&mut random, 6, rarity);
                world.gate.lock().unwrap().faults.extend(more);
            }
            match random.below(60) {
                0 => world.cut_watches(),
                1 => {
                    world.kill().await;
                    world.control().await;
                }
                _ => {}
            }
        }
        log.push(step(&mut world, &mut random, &mut serial, tamper).await);
        if random.one_in(2) {
            let pause = *random.pick(&[1, 2, 5, 20, 700]);
            world.settle(Duration::from_millis(pause)).await;
        }
    }
    world.gate.lock().unwrap().faults.clear();
    world.settle(Duration::from_secs(120)).await;
    // Slices of a Service that is gone are the garbage collector's; those of one that came back are ours.
    let why = format!("seed {seed}, maximum {max}, steps {}", log.join(", "));
    all_is_right(&world, tamper, &why);
    let looked = never_a_gap(&world, tamper);
    let (writes, fired, at_once) = {
        let gate = world.gate.lock().unwrap();
        (gate.writes.len(), gate.fired.len(), gate.most_at_once)
    };
    assert!(at_once <= 1, "{why}: two writes of one slice were under way");
    world.writes();
    world.settle(Duration::from_secs(600)).await;
    assert_eq!(world.writes(), [""; 0], "{why}: at rest nothing is written");
    world.stop().await;
    world.control().await;
    world.settle(Duration::from_secs(60)).await;
    assert_eq!(world.writes(), [""; 0], "{why}: a new leader finds nothing to write");
    world.stop().await;
    (looked, writes, fired)
}

fn run(sample: u64, steps: usize, faults: Option<usize>, tamper: bool) {
    let (mut looked, mut writes, mut fired, mut count) = (0, 0, 0, 0);
    for seed in histories(sample) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            runtime.unwrap().block_on(history(seed, steps, faults, tamper))
        }));
        let Ok(result) = result else { panic!("the history of ORDINAL_SEED={seed} is wrong, see above") };
        looked += result.0;
        writes += result.1;
        fired += result.2;
        count += 1;
    }
    println!("{count} histories, {looked} states of slices, {writes} writes, {fired} faults");
}

#[test]
fn random_histories() {
    run(25, 80, None, false);
}

#[test]
fn random_histories_with_faults() {
    run(25, 80, Some(3), false);
}

#[test]
fn random_histories_with_foreign_hands_on_slices() {
    run(15, 60, Some(5), true);
}
