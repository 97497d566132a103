//! The roles of deploy/ are enough and no more than that: the audit log of a real API server, from a scenario that uses
//! everything the controllers do, is compared with what the roles grant (SEC-7).

#[path = "common/cluster.rs"]
mod cluster;
mod common;

use std::collections::{BTreeMap, BTreeSet};

use cluster::real::{LOOPS, Real, Setup, assets_or_skip};
use cluster::{DEPLOY, deployed};
use common::{Kubectl, Ordinal, fixture, wait_for, wait_until};
use serde_json::Value;

/// Granted, never seen in an audit log, and needed all the same.
#[rustfmt::skip]
const UNSEEN: [(&str, &str); 8] = [
    ("update statefulsets.apps/finalizers", "asked about by the admission of owner references that block deletion"),
    ("update pods/finalizers", "the same, for claims that a pod owns"),
    ("update services/finalizers", "the same, for slices"),
    ("delete persistentvolumeclaims", "asked about by that admission before a claim gets an owner"),
    ("create endpointslices.discovery.k8s.io/restricted", "asked about by the admission of OpenShift"),
    ("patch events", "a repeated event is counted up"),
    ("get controllerrevisions.apps", "when a new revision finds its name taken"),
    ("get endpointslices.discovery.k8s.io", "when nobody knows what became of a write"),
];

/// `verb resource.group/subresource` of every rule of the roles bound to an account.
fn granted(kubectl: &Kubectl, account: &str) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for (roles, bindings, scope) in
        [("clusterroles", "clusterrolebindings", ""), ("roles", "rolebindings", " -n ordinal")]
    {
        let bindings = kubectl.json(&format!("get {bindings}{scope}"));
        for binding in bindings["items"].as_array().expect("a list") {
            let ours = binding["subjects"]
                .as_array()
                .is_some_and(|it| it.iter().any(|it| it["name"] == account && it["namespace"] == "ordinal"));
            if !ours {
                continue;
            }
            let name = binding["roleRef"]["name"].as_str().expect("a name");
            let role = kubectl.json(&format!("get {roles} {name}{scope}"));
            for rule in role["rules"].as_array().expect("rules") {
                let words = |key: &str| rule[key].as_array().cloned().unwrap_or_default();
                for group in words("apiGroups") {
                    for resource in words("resources") {
                        for verb in words("verbs") {
                            let text = |it: &Value| it.as_str().expect("text").to_owned();
                            all.insert(action(&text(&verb), &text(&group), &text(&resource)));
                        }
                    }
                }
            }
        }
    }
    all
}

fn action(verb: &str, group: &str, resource: &str) -> String {
    let (resource, part) = resource.split_once('/').map_or((resource, ""), |(it, part)| (it, part));
    let dot = if group.is_empty() { "" } else { "." };
    let slash = if part.is_empty() { "" } else { "/" };
    format!("{verb} {resource}{dot}{group}{slash}{part}")
}

/// What an account did, and what it was refused.
fn used(audit: &str, account: &str) -> (BTreeSet<String>, Vec<String>) {
    let user = format!("system:serviceaccount:ordinal:{account}");
    let (mut all, mut refused) = (BTreeSet::new(), Vec::new());
    for event in serde_json::Deserializer::from_str(audit).into_iter::<Value>().map_while(Result::ok) {
        let what = &event["objectRef"];
        if event["user"]["username"] != user.as_str() || !what.is_object() {
            continue;
        }
        let text = |it: &Value| it.as_str().unwrap_or_default().to_owned();
        let resource = match text(&what["subresource"]) {
            part if part.is_empty() => text(&what["resource"]),
            part => format!("{}/{part}", text(&what["resource"])),
        };
        let did = action(&text(&event["verb"]), &text(&what["apiGroup"]), &resource);
        if event["responseStatus"]["code"] == 403 {
            refused.push(format!("{did}: {}", event["responseStatus"]));
        }
        all.insert(did);
    }
    (all, refused)
}

fn ready(kubectl: &Kubectl, set: &str, count: usize) {
    wait_for("ready pods", || {
        let set = kubectl.json(&format!("get sts {set} -n demo"));
        let status = &set["status"];
        let done = status["availableReplicas"].as_u64().unwrap_or(0) == count as u64
            && status["replicas"] == count
            && status["updatedReplicas"] == count
            && status["observedGeneration"] == set["metadata"]["generation"];
        if done { Ok(()) } else { Err(status.to_string()) }
    });
}

/// Pods that call different ports by one name.
const MIXED: &str = "
{apiVersion: v1, kind: Service, metadata: {name: mixed}, spec: {selector: {app: mixed}, ports: [{port: 80, targetPort: http}]}}
---
apiVersion: v1
kind: Pod
metadata: {name: mixed-80, labels: {app: mixed}}
spec: {containers: [{name: c, image: i, ports: [{name: http, containerPort: 80}]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: mixed-81, labels: {app: mixed}}
spec: {containers: [{name: c, image: i, ports: [{name: http, containerPort: 81}]}]}
";

fn scenario(kubectl: &Kubectl, dns: &Ordinal) {
    kubectl.ok("create ns demo");
    kubectl.ok(&format!("create -f {} -n demo", fixture("storage").display()));
    ready(kubectl, "web", 3);
    kubectl.ok("scale sts web --replicas=2 -n demo");
    ready(kubectl, "web", 2);
    kubectl.ok("set image sts/web nginx=nginx:2 -n demo");
    ready(kubectl, "web", 2);
    kubectl.ok("rollout undo sts/web -n demo");
    ready(kubectl, "web", 2);
    // Claims: owned by pods, by the set, and grown.
    let policy = |when: &str| format!(r#"{{"spec":{{"persistentVolumeClaimRetentionPolicy":{when}}}}}"#);
    for when in [
        r#"{"whenScaled":"Delete","whenDeleted":"Delete"}"#,
        r#"{"whenScaled":"Retain","whenDeleted":"Retain"}"#,
    ] {
        kubectl.ok_args(&["patch", "sts", "web", "-n", "demo", "-p", &policy(when)]);
        ready(kubectl, "web", 2);
    }
    kubectl.ok("annotate sts web -n demo ordinal.dev/claims={\"www\":{\"storage\":\"2Gi\"}} ordinal.dev/claim-update=InPlace");
    wait_until("larger claims", || {
        kubectl.ok("get pvc www-web-0 -n demo -o jsonpath={.spec.resources.requests.storage}") == "2Gi"
    });
    // Released, adopted, trimmed.
    kubectl.ok("label pod web-1 -n demo app=other --overwrite");
    wait_until("release", || {
        kubectl.ok("get pod web-1 -n demo -o jsonpath={.metadata.ownerReferences}").is_empty()
    });
    kubectl.ok("label pod web-1 -n demo app=nginx --overwrite");
    ready(kubectl, "web", 2);
    kubectl.ok_args(&["patch", "sts", "web", "-n", "demo", "-p", r#"{"spec":{"revisionHistoryLimit":0}}"#]);
    wait_until("the history to be trimmed", || {
        kubectl.ok("get controllerrevisions -n demo -o name").lines().count() == 1
    });
    kubectl.ok("delete sts web -n demo --cascade=orphan");
    wait_until("orphans", || {
        kubectl.ok("get pod web-0 -n demo -o jsonpath={.metadata.ownerReferences}").is_empty()
    });
    kubectl.ok(&format!("create -f {}/web.yaml -n demo", fixture("storage").display()));
    kubectl.ok("scale sts web --replicas=2 -n demo");
    ready(kubectl, "web", 2);
    wait_until("the name", || dns.dig_short("web-0.nginx.demo.svc.cluster.local", "A").len() == 1);
    // One slice for each number of a port, of which one goes with its pod.
    let folder = tempfile::tempdir().expect("a temporary directory");
    let file = folder.path().join("mixed.yaml");
    std::fs::write(&file, MIXED).expect("written");
    kubectl.ok(&format!("create -f {} -n demo", file.display()));
    let slices = || {
        let list = kubectl.json("get endpointslices -n demo -l kubernetes.io/service-name=mixed");
        let items = list["items"].as_array().cloned().unwrap_or_default();
        items.iter().filter(|it| it["endpoints"].as_array().is_some_and(|it| !it.is_empty())).count()
    };
    wait_until("a slice for each port", || slices() == 2);
    kubectl.ok("delete pod mixed-81 -n demo");
    wait_until("one slice less", || slices() == 1);
    kubectl.ok("delete svc mixed -n demo");
    // A slice that is edited, and slices that go with their Service.
    kubectl.ok("label endpointslices -n demo --all stray=label");
    wait_until("the label to go", || kubectl.ok("get endpointslices -n demo -l stray -o name").is_empty());
    kubectl.ok("delete svc nginx -n demo");
    wait_until("the slices to go", || kubectl.ok("get endpointslices -n demo -o name").is_empty());
}

#[test]
fn the_roles_grant_what_is_used_and_no_more() {
    let Some(assets) = assets_or_skip("comparing roles with an audit log") else { return };
    let cluster = Real::start(&assets, &Setup { loops: LOOPS, audit: true, ..Setup::default() });
    let kubectl = cluster.kubectl();
    let ours = deployed(&cluster, &[]);
    scenario(&kubectl, &ours[1]);
    for process in ours {
        assert_eq!(process.terminate(), Some(0));
    }
    let audit = cluster.log("audit.log");
    let reasons: BTreeMap<_, _> = UNSEEN.into_iter().collect();
    let mut superfluous = BTreeMap::new();
    for account in ["ordinal-controllers", "ordinal-dns"] {
        let granted = granted(&kubectl, account);
        let (used, refused) = used(&audit, account);
        println!("{account}: {used:#?}");
        assert_eq!(refused, Vec::<String>::new(), "{account}");
        assert!(!used.is_empty(), "{account} did something");
        let unused: Vec<_> =
            granted.iter().filter(|it| !used.contains(*it) && !reasons.contains_key(it.as_str())).collect();
        superfluous.insert(account, unused.into_iter().cloned().collect::<Vec<_>>());
    }
    assert!(superfluous.values().all(Vec::is_empty), "granted and never used ({DEPLOY}): {superfluous:#?}");
}
