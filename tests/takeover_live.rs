//! Sets and Services that kube-controller-manager made, taken over by ordinal on a live cluster and handed back: nothing is
//! deleted, no revision is added, no slice is written (PRM-3). Needs a real control plane.

#[path = "common/cluster.rs"]
mod cluster;
mod common;

use std::collections::BTreeMap;

use cluster::deployed;
use cluster::real::{LOOPS, OURS, Real, Setup, assets_or_skip};
use common::{Kubectl, wait_for};

/// What must stay as it is, to the resourceVersion.
const KINDS: &str = "pods,controllerrevisions,endpointslices,persistentvolumeclaims,services";

/// Kind, namespace and name to uid and resourceVersion.
fn picture(kubectl: &Kubectl) -> BTreeMap<String, String> {
    let list = kubectl.json(&format!("get {KINDS} -n fleet"));
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let items = list["items"].as_array().expect("a list").iter();
    items
        .map(|it| {
            let meta = &it["metadata"];
            (
                format!("{} {}", text(&it["kind"]), text(&meta["name"])),
                format!("{} {}", text(&meta["uid"]), text(&meta["resourceVersion"])),
            )
        })
        .collect()
}

/// A headless Service, a ClusterIP Service and a set of two of each shape that matters.
fn fleet(count: usize) -> String {
    let set = |at: usize| {
        let management = if at.is_multiple_of(2) { "OrderedReady" } else { "Parallel" };
        let strategy =
            ["{type: RollingUpdate}", "{type: OnDelete}", "{rollingUpdate: {partition: 1}}"][at % 3];
        let claims = if at.is_multiple_of(5) {
            "\n  volumeClaimTemplates:\n  - metadata: {name: data}\n    spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}"
        } else {
            ""
        };
        format!(
            "apiVersion: v1
kind: Service
metadata: {{name: set-{at}, namespace: fleet}}
spec: {{clusterIP: None, selector: {{set: set-{at}}}, ports: [{{name: http, port: 80}}]}}
---
apiVersion: v1
kind: Service
metadata: {{name: set-{at}-read, namespace: fleet, annotations: {{team: storage}}}}
spec: {{selector: {{set: set-{at}}}, ports: [{{port: 80, targetPort: http}}]}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {{name: set-{at}, namespace: fleet}}
spec:
  serviceName: set-{at}
  replicas: 2
  podManagementPolicy: {management}
  updateStrategy: {strategy}
  selector: {{matchLabels: {{set: set-{at}}}}}
  template:
    metadata: {{labels: {{set: set-{at}}}}}
    spec:
      containers: [{{name: c, image: nginx, ports: [{{name: http, containerPort: 80}}]}}]{claims}
---
"
        )
    };
    (0..count).map(set).collect()
}

/// The last set has a pod more: whoever made it has looked at every set that existed before, in the order of its queue.
fn grow(kubectl: &Kubectl, count: usize, replicas: usize) {
    kubectl.ok(&format!("scale sts set-{} -n fleet --replicas={replicas}", count - 1));
    settle(kubectl, count, replicas);
}

fn settle(kubectl: &Kubectl, count: usize, replicas_of_last: usize) {
    wait_for("every set and every slice", || {
        let sets = kubectl.json("get sts -n fleet");
        let ready = |it: &serde_json::Value| {
            it["status"]["availableReplicas"] == it["spec"]["replicas"]
                && it["status"]["observedGeneration"] == it["metadata"]["generation"]
        };
        let sets = sets["items"].as_array().cloned().unwrap_or_default();
        let slices = kubectl.json("get endpointslices -n fleet");
        let endpoints = |it: &serde_json::Value| {
            let all = it["endpoints"].as_array().cloned().unwrap_or_default();
            all.iter().filter(|it| it["conditions"]["ready"] == true).count()
        };
        let listed: usize = slices["items"].as_array().map_or(0, |it| it.iter().map(endpoints).sum());
        let want = 2 * (2 * (count - 1) + replicas_of_last);
        let ready = sets.iter().filter(|it| ready(it)).count();
        if ready == count && listed == want {
            Ok(())
        } else {
            Err(format!("{ready} sets of {count}, {listed} endpoints of {want}"))
        }
    });
}

/// What is there after `before` and is not part of the last set, which changed on purpose.
fn changes(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>, count: usize) -> Vec<String> {
    let last = format!(" set-{}-", count - 1);
    let keys = before.keys().chain(after.keys()).filter(|it| !format!("{it}-").contains(&last));
    let differing = keys.filter(|it| before.get(*it) != after.get(*it));
    let mut all: Vec<_> =
        differing.map(|it| format!("{it}: {:?} then {:?}", before.get(it), after.get(it))).collect();
    all.sort_unstable();
    all.dedup();
    all
}

#[test]
fn taking_over_and_handing_back_changes_nothing() {
    let Some(assets) = assets_or_skip("taking over a live cluster") else { return };
    let count: usize =
        std::env::var("ORDINAL_TEST_TAKEOVER").ok().and_then(|it| it.parse().ok()).unwrap_or(30);
    let theirs = format!("{LOOPS},{OURS}");
    let mut cluster = Real::start(&assets, &Setup { loops: &theirs, ..Setup::default() });
    let kubectl = cluster.kubectl();
    kubectl.ok("create ns fleet");
    let folder = tempfile::tempdir().expect("a temporary directory");
    let file = folder.path().join("fleet.yaml");
    std::fs::write(&file, fleet(count)).expect("written");
    kubectl.ok(&format!("create -f {}", file.display()));
    settle(&kubectl, count, 2);

    cluster.control(LOOPS);
    let before = picture(&kubectl);
    let sets = kubectl.json("get sts -n fleet");
    let ours = deployed(&cluster, &[]);
    grow(&kubectl, count, 3);
    assert_eq!(changes(&before, &picture(&kubectl), count), Vec::<String>::new(), "taken over");
    let status = |list: &serde_json::Value, at: usize| list["items"][at]["status"].clone();
    let after = kubectl.json("get sts -n fleet");
    let unequal: Vec<_> = (0..count)
        .filter(|at| sets["items"][*at]["metadata"]["name"] != format!("set-{}", count - 1).as_str())
        .filter(|at| status(&sets, *at) != status(&after, *at))
        .map(|at| format!("{} then {}", status(&sets, at), status(&after, at)))
        .collect();
    assert_eq!(unequal, Vec::<String>::new(), "nor is any status rewritten with other words");
    let warnings: String = ours.iter().map(common::Ordinal::stderr).collect();
    assert!(!warnings.contains("WARN") && !warnings.contains("ERROR"), "{warnings}");

    // A rollout by us, then back.
    kubectl.ok("set image sts/set-1 c=nginx:2 -n fleet");
    settle(&kubectl, count, 3);
    for process in ours {
        assert_eq!(process.terminate(), Some(0));
    }
    let before = picture(&kubectl);
    cluster.control(&theirs);
    grow(&kubectl, count, 4);
    assert_eq!(changes(&before, &picture(&kubectl), count), Vec::<String>::new(), "handed back");
    println!("{count} sets, {} Services, {} objects: taken over and handed back", 2 * count, before.len());
}
