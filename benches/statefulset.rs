//! What one plan of the StatefulSet controller costs, against its target, and that one pod's event costs the same
//! whatever else the namespace holds.
//!
//! `cargo bench --bench statefulset` prints two tables: the fastest of 200 rounds, so that other work on the machine
//! counts little. The sets of the first have 1,000 pods; `claims` gives every pod one.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use ordinal::k8s::events::channel;
use ordinal::k8s::write::WriteApi;
use ordinal::model::ObjectKey;
use ordinal::runtime::{Next, Reconcile as _};
use ordinal::statefulset::index::of_pod;
use ordinal::statefulset::model::{ClaimView, PodView, RevisionView, SetSpec};
use ordinal::statefulset::plan::{Observed, plan};
use ordinal::statefulset::reconcile::{Reconciler, Stores};
use serde_json::{Value, json};

const PODS: u32 = 1_000;
const ROUNDS: usize = 200;
const TARGET_US: f64 = 200.0;

fn main() {
    println!("{:60} {:>9} {:>9} {:>8}", "one plan for 1,000 pods", "at most", "measured", "writes");
    let claims = json!({ "volumeClaimTemplates": [{ "metadata": { "name": "data" }, "spec": {} }] });
    let parallel = json!({ "podManagementPolicy": "Parallel" });
    let rows = [
        ("OrderedReady, at rest", json!({}), PODS, "one"),
        ("Parallel, at rest", parallel.clone(), PODS, "one"),
        ("OrderedReady with claims, at rest", claims.clone(), PODS, "one"),
        ("Parallel with claims, at rest", merged(&claims, &parallel), PODS, "one"),
        ("Parallel, the first of a rolling update, 10 %", merged(&parallel, &ten_percent()), PODS, "two"),
        ("Parallel, no pod yet", parallel, 0, "one"),
    ];
    for (what, spec, pods, image) in rows {
        let (set, observed) = case(&spec, pods, image);
        let writes = plan(&set, &observed, now()).steps.iter().map(|it| it.actions.len()).sum::<usize>();
        let micros = fastest(|| drop(black_box(plan(black_box(&set), black_box(&observed), now()))));
        println!("{what:60} {TARGET_US:>6.0} us {micros:>6.0} us {writes:>8}");
    }
    println!("\n{:60} {:>9} {:>9}", "an event of one pod of a 10-pod set at rest", "at most", "measured");
    let alone = event(0);
    println!("{:60} {:>9} {alone:>6.1} us", "nothing else in the namespace", "");
    let among = event(100_000);
    println!("{:60} {:>6.1} us {among:>6.1} us", "among 100,000 other pods", alone * 1.5);
}

/// Time of an event of one pod of a 10-pod set at rest, in microseconds: cache, keys, observe and plan.
fn event(others: u32) -> f64 {
    let (mut set, observed) = case(&json!({ "replicas": 10 }), 10, "one");
    set.status = plan(&set, &observed, now()).status;
    let stores = Stores::default();
    stores.sets.apply(set);
    observed.revisions.iter().for_each(|it| drop(stores.revisions.apply((**it).clone())));
    observed.pods.iter().for_each(|it| drop(stores.pods.apply((**it).clone())));
    for number in 0..others {
        let mut other = (*observed.pods[0]).clone();
        let owner = other.owner.as_mut().expect("a pod of a set");
        (owner.name, owner.uid) = (format!("other-{}", number / 10), format!("u-{}", number / 10));
        other.key.name = format!("other-{}-{}", number / 10, number % 10);
        stores.pods.apply(other);
    }
    let nobody = tower::service_fn(|_: http::Request<kube::client::Body>| async {
        unreachable!("a set at rest asks and writes nothing");
        #[allow(unreachable_code, reason = "gives the type of the answer")]
        Ok::<_, std::convert::Infallible>(http::Response::new(kube::client::Body::empty()))
    });
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let _guard = runtime.enter();
    let api = WriteApi::new(kube::Client::new(nobody, "default"), "ordinal");
    let (recorder, _backlog) = channel();
    let reconciler = Reconciler::new(stores.clone(), api, recorder, now);
    let pod = (*observed.pods[7]).clone();
    fastest(|| {
        let change = stores.pods.apply(pod.clone());
        for key in of_pod(&change, &stores.sets) {
            let next = runtime.block_on(reconciler.reconcile(&key)).expect("nothing fails");
            assert_eq!(next, Next::Event);
        }
    })
}

fn ten_percent() -> Value {
    json!({ "updateStrategy": { "type": "RollingUpdate", "rollingUpdate": { "maxUnavailable": "10%" } } })
}

fn merged(a: &Value, b: &Value) -> Value {
    let mut it = a.clone();
    json_patch::merge(&mut it, b);
    it
}

fn now() -> Timestamp {
    Timestamp::from_second(1_000_000_000).expect("in range")
}

/// Fastest of the rounds, in microseconds.
fn fastest(mut work: impl FnMut()) -> f64 {
    let round = |_| {
        let start = Instant::now();
        work();
        start.elapsed().as_secs_f64() * 1e6
    };
    (0..ROUNDS).map(round).fold(f64::INFINITY, f64::min)
}

fn template(image: &str) -> Value {
    json!({
        "metadata": { "labels": { "app": "web" } },
        "spec": { "containers": [{ "name": "c", "image": image }] },
    })
}

/// A set whose template has `image`, and `pods` ready pods made from image `one`.
fn case(spec: &Value, pods: u32, image: &str) -> (SetSpec, Observed) {
    let set = |image: &str, current: &str| {
        let mut raw = json!({
            "metadata": { "name": "web", "namespace": "default", "uid": "u", "generation": 1, "resourceVersion": "1" },
            "spec": {
                "replicas": PODS, "serviceName": "web", "selector": { "matchLabels": { "app": "web" } },
                "template": template(image),
            },
            "status": { "currentRevision": current },
        });
        json_patch::merge(&mut raw["spec"], spec);
        SetSpec::narrow(&raw).expect("a set")
    };
    let revision = "web-7b6c9599d5";
    let owner = json!([{ "apiVersion": "apps/v1", "kind": "StatefulSet", "name": "web", "uid": "u", "controller": true }]);
    let mut data = json!({ "spec": { "template": template("one") } });
    data["spec"]["template"]["$patch"] = json!("replace");
    let recorded = serde_json::from_value(json!({
        "metadata": {
            "name": revision, "namespace": "default", "uid": "r", "labels": { "app": "web" }, "ownerReferences": owner,
        },
        "revision": 1, "data": data,
    }));
    let recorded = RevisionView::narrow(recorded.expect("a revision")).expect("it has a name");
    let pod = |ordinal: u32| {
        let name = format!("web-{ordinal}");
        let raw = json!({
            "metadata": {
                "name": name, "namespace": "default", "uid": name, "resourceVersion": "1", "ownerReferences": owner,
                "labels": {
                    "app": "web", "apps.kubernetes.io/pod-index": ordinal.to_string(),
                    "controller-revision-hash": revision, "statefulset.kubernetes.io/pod-name": name,
                },
            },
            "spec": {
                "containers": [],
                "volumes": [{ "name": "data", "persistentVolumeClaim": { "claimName": format!("data-{name}") } }],
            },
            "status": {
                "phase": "Running",
                "conditions": [{ "type": "Ready", "status": "True", "lastTransitionTime": "2001-01-01T00:00:00Z" }],
            },
        });
        Arc::new(PodView::narrow(serde_json::from_value(raw).expect("a pod")).expect("it has a name"))
    };
    let claim = |ordinal: u32| {
        let name = format!("data-web-{ordinal}");
        let raw = json!({ "metadata": { "name": name, "namespace": "default", "uid": name, "resourceVersion": "1" } });
        let it = ClaimView::narrow(serde_json::from_value(raw).expect("a claim")).expect("it has a name");
        (name, Arc::new(it))
    };
    let observed = Observed {
        pods: (0..pods).map(pod).collect(),
        taken: BTreeSet::new(),
        claims: (0..pods).map(claim).collect::<HashMap<_, _>>(),
        revisions: vec![Arc::new(recorded)],
        backing_off: BTreeMap::new(),
        expandable: BTreeMap::new(),
        collision_count: 0,
    };
    assert_eq!(observed.pods.first().map_or(&key(0), |it| &it.key), &key(0));
    (set(image, revision), observed)
}

fn key(ordinal: u32) -> ObjectKey {
    ObjectKey::new("default", format!("web-{ordinal}"))
}
