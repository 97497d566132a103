//! `ordinal run` against another process's API server, over HTTP: the controllers' and DNS's job from outside,
//! and what is left of it when they are killed at any moment.

#[path = "common/cluster.rs"]
mod cluster;
mod common;

use std::collections::BTreeMap;

use cluster::Cluster;
use common::{Kubectl, Ordinal, fixture, has_dig, kubectls, wait_for, wait_until};
use serde_json::Value;

/// The controllers, which take over at once from those killed before.
const ALONE: [&str; 3] =
    ["--components=statefulset,endpointslice", "--leader-elect=false", "--log-level=warn"];

#[test]
fn the_components_do_their_job_from_outside() {
    if !has_dig() {
        return;
    }
    let Some(binary) = kubectls().pop() else { return };
    let api = Cluster::start();
    if let Cluster::Embedded(up) = &api {
        assert!(!up.ready.iter().any(|(key, _)| key == "dns"), "no DNS, no dns= key: {:?}", up.ready);
    }
    let kubectl = api.kubectl(&binary);
    kubectl.ok("create ns demo");
    kubectl.ok(&format!("create -f {}", fixture("walkthrough").display()));
    assert_eq!(kubectl.ok("get pods -n demo").trim(), "", "nobody controls the set yet");

    let run = Ordinal::run(&api.kubeconfig(), &["--components", "*"]);
    for ordinal in 0..2 {
        let name = format!("web-demo-{ordinal}.nginx-demo.demo.svc.cluster.local");
        wait_until("the name", || run.dig_short(&name, "A").len() == 1);
    }
    assert_eq!(run.terminate(), Some(0), "SIGTERM drains");

    let dns_only = Ordinal::run(&api.kubeconfig(), &["--lameduck=0s"]);
    assert_eq!(
        dns_only.dig_short("web-demo-0.nginx-demo.demo.svc.cluster.local", "A").len(),
        1,
        "by default `run` runs DNS, which is synced when it says ready"
    );
    kubectl.ok("scale sts web-demo -n demo --replicas=3");
    assert_eq!(kubectl.ok("get pods -n demo -o name").lines().count(), 2, "and no controller");
}

/// Every pod ever seen, by name, with the uids that were alive at the same time.
#[derive(Default)]
struct Census {
    alive: BTreeMap<String, String>,
    twice: Vec<String>,
}

impl Census {
    /// Reads what `kubectl get pods -w --output-watch-events -o json`-like lines tell.
    fn note(&mut self, kind: &str, pod: &Value) {
        let text =
            |pointer: &str| pod.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (name, uid) = (text("/metadata/name"), text("/metadata/uid"));
        if kind == "DELETED" {
            self.alive.remove(&name);
        } else if let Some(known) = self.alive.insert(name.clone(), uid.clone())
            && known != uid
        {
            self.twice.push(format!("{name}: {known} and {uid}"));
        }
    }
}

#[test]
fn controllers_killed_at_any_moment_lose_nothing_and_double_nothing() {
    let Some(binary) = kubectls().pop() else { return };
    let rounds: u64 = std::env::var("ORDINAL_TEST_KILLS").ok().and_then(|it| it.parse().ok()).unwrap_or(6);
    let api = Cluster::start();
    let kubectl = api.kubectl(&binary);
    kubectl.ok(&format!("create -f {}", fixture("storage").display()));
    let watch = kubectl.start("get pods -w --output-watch-events -o json");
    let mut random = 0x9e37_79b9_7f4a_7c15_u64 ^ u64::from(std::process::id());
    println!("seed {random:#x}, {rounds} rounds");
    let mut claims = BTreeMap::new();
    for round in 0..rounds {
        // Alternately a scale-up from 1 to 5 and a rolling update of 5.
        let goal = if round % 2 == 0 { scale_up(&kubectl, &api) } else { update(&kubectl, round) };
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let after = std::time::Duration::from_millis(10 + (random >> 33) % 400);
        let mut controllers = Ordinal::run(&api.kubeconfig(), &ALONE);
        let until = std::time::Instant::now() + after;
        wait_until("the moment of the crash", || std::time::Instant::now() >= until);
        controllers.kill();
        let _again = Ordinal::run(&api.kubeconfig(), &ALONE);
        reach(&kubectl, &goal, round);
        let now = claim_uids(&kubectl);
        for (name, uid) in &claims {
            assert_eq!(now.get(name), Some(uid), "round {round}: claim {name} was lost or replaced");
        }
        claims = now;
    }
    let census = census(&watch.text());
    assert_eq!(census.twice, Vec::<String>::new(), "two pods of one ordinal at the same time");
    assert_eq!(census.alive.len(), 5);
}

struct Goal {
    replicas: usize,
    image: String,
}

fn scale_up(kubectl: &Kubectl, api: &Cluster) -> Goal {
    kubectl.ok("scale sts web --replicas=1");
    // Scaled down by a controller that nobody disturbs.
    let _calm = Ordinal::run(&api.kubeconfig(), &ALONE);
    let image = kubectl.ok("get sts web -o jsonpath={.spec.template.spec.containers[0].image}");
    reach(kubectl, &Goal { replicas: 1, image: image.clone() }, 0);
    kubectl.ok("scale sts web --replicas=5");
    Goal { replicas: 5, image }
}

fn update(kubectl: &Kubectl, round: u64) -> Goal {
    let image = format!("nginx:1.{}", 100 + round);
    kubectl.ok(&format!("set image sts/web nginx={image}"));
    Goal { replicas: 5, image }
}

fn reach(kubectl: &Kubectl, goal: &Goal, round: u64) {
    wait_for(&format!("round {round}: {} pods of {}", goal.replicas, goal.image), || {
        let pods = kubectl.json("get pods -l app=nginx");
        let items = pods["items"].as_array().cloned().unwrap_or_default();
        let good = items
            .iter()
            .filter(|pod| {
                pod.pointer("/spec/containers/0/image").and_then(Value::as_str) == Some(&goal.image)
                    && pod.pointer("/metadata/deletionTimestamp").is_none()
                    && pod["status"]["conditions"]
                        .as_array()
                        .is_some_and(|it| it.iter().any(|c| c["type"] == "Ready" && c["status"] == "True"))
            })
            .count();
        let status = kubectl.json("get sts web")["status"].clone();
        let wanted = goal.replicas as u64;
        let done = items.len() == goal.replicas
            && good == goal.replicas
            && status["readyReplicas"] == wanted
            && status["updatedReplicas"] == wanted
            && status["replicas"] == wanted
            && status["currentRevision"] == status["updateRevision"];
        if done { Ok(()) } else { Err(format!("{} pods, {good} good, status {status}", items.len())) }
    });
}

fn claim_uids(kubectl: &Kubectl) -> BTreeMap<String, String> {
    kubectl.json("get pvc")["items"]
        .as_array()
        .cloned()
        .unwrap_or_default()
        .iter()
        .map(|it| {
            let text = |key: &str| it["metadata"][key].as_str().unwrap_or_default().to_owned();
            (text("name"), text("uid"))
        })
        .collect()
}

/// The watch prints a stream of JSON documents, one per event.
fn census(text: &str) -> Census {
    let mut census = Census::default();
    for event in serde_json::Deserializer::from_str(text).into_iter::<Value>().map_while(Result::ok) {
        census.note(event["type"].as_str().unwrap_or_default(), &event["object"]);
    }
    census
}
