//! The manifests of deploy/: an API server takes them, they fit together, and they keep the rules of restricted pods.

#[path = "common/cluster.rs"]
mod cluster;
mod common;

use std::path::PathBuf;
use std::process::Command;

use cluster::Cluster;
use common::{Kubectl, Ordinal, kubectls};
use serde_json::Value;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy");
/// Folders that `kubectl apply -k` takes.
const FOLDERS: [&str; 6] = [
    "kustomize/dns",
    "kustomize/controllers",
    "kustomize/overlays/forward-target",
    "kustomize/overlays/cluster-dns",
    "kustomize/overlays/all-in-one",
    "kustomize/sidecar",
];

/// Values that switch everything on that the API server without custom resources takes.
const CHART: [&str; 3] =
    ["controllers.enabled=true", "dns.autoscaling.enabled=true", "dns.config.pods=verified"];

/// What the kustomization of a folder makes.
fn objects(kubectl: &Kubectl, folder: &str) -> Vec<Value> {
    let text = kubectl.ok(&format!("kustomize {ROOT}/{folder}"));
    let list = kubectl.ok(&format!("apply -k {ROOT}/{folder} --dry-run=client -o json"));
    let list: Value = serde_json::from_str(&list).expect("kubectl prints JSON");
    let items = list["items"].as_array().cloned().expect("a list");
    let kinds = text.matches("\nkind: ").count() + usize::from(text.starts_with("kind: "));
    assert_eq!(items.len(), kinds, "{folder}");
    items
}

/// The objects of the chart, in a file that goes with the folder.
fn chart(values: &[&str]) -> Option<(PathBuf, tempfile::TempDir)> {
    let helm = std::env::var_os("ORDINAL_TEST_HELM").map_or_else(|| PathBuf::from("helm"), PathBuf::from);
    let mut command = Command::new(helm);
    // A version that the chart allows: without a cluster helm takes that of its libraries.
    command.args([
        "template",
        "o",
        &format!("{ROOT}/helm/ordinal"),
        "--kube-version=1.36.0",
        "-n",
        "ordinal",
    ]);
    for value in values {
        command.args(["--set", value]);
    }
    let Ok(output) = command.output() else {
        println!("SKIPPED: the chart needs helm on PATH, or ORDINAL_TEST_HELM");
        return None;
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let folder = tempfile::tempdir().expect("a temporary directory");
    let file = folder.path().join("chart.yaml");
    std::fs::write(&file, output.stdout).expect("written");
    Some((file, folder))
}

fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|it| it["kind"] == kind).collect()
}

/// Namespaces as strict as can be, so that the API server warns of pods that are not restricted.
fn namespaces(kubectl: &Kubectl, names: &[&str]) {
    for name in names {
        kubectl.ok(&format!("create ns {name}"));
        kubectl.ok(&format!("label ns {name} pod-security.kubernetes.io/warn=restricted"));
    }
}

fn apply(kubectl: &Kubectl, what: &str) {
    let output = kubectl.command(&format!("apply {what}")).output().expect("kubectl runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{what}: {said}");
    assert!(!said.contains("PodSecurity"), "{what}: {said}");
}

#[test]
fn an_api_server_takes_every_manifest_and_takes_it_again_without_a_change() {
    let Some(binary) = kubectls().pop() else { return };
    let cluster = Cluster::start();
    let kubectl = cluster.kubectl(&binary);
    namespaces(&kubectl, &["shop"]);
    for folder in FOLDERS {
        // One overlay does not follow another: the address of a Service cannot change.
        kubectl.ok("delete svc ordinal-dns -n ordinal --ignore-not-found");
        apply(&kubectl, &format!("-k {ROOT}/{folder}"));
        let again = kubectl.ok(&format!("apply -k {ROOT}/{folder}"));
        // kubectl replaces the selector of a budget each time, whatever it is (its patch strategy is `replace`). The claim
        // templates of a set are filled in by the server.
        let known = ["poddisruptionbudget", "statefulset"];
        let mut changed = again.lines().filter(|it| !it.ends_with(" unchanged"));
        assert!(changed.all(|it| known.iter().any(|known| it.starts_with(known))), "{folder}: {again}");
        if folder.ends_with("cluster-dns") {
            let address = kubectl.ok("get svc ordinal-dns -n ordinal -o jsonpath={.spec.clusterIP}");
            assert_eq!(address, "10.96.0.10", "the address of the cluster's DNS");
        }
    }
}

#[test]
fn an_api_server_takes_the_chart() {
    let Some(binary) = kubectls().pop() else { return };
    let Some((file, _folder)) = chart(&CHART) else { return };
    let cluster = Cluster::start();
    let kubectl = cluster.kubectl(&binary);
    namespaces(&kubectl, &["ordinal"]);
    apply(&kubectl, &format!("-f {} -n ordinal", file.display()));
    let config = |part: &str| {
        kubectl.ok(&format!("get cm o-ordinal-{part} -n ordinal -o jsonpath={{.data.ordinal\\.yaml}}"))
    };
    for part in ["dns", "controllers"] {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let file = folder.path().join("ordinal.yaml");
        std::fs::write(&file, config(part)).expect("written");
        check(&file.display().to_string());
    }
    // Less is possible: no roles, no accounts, no budget.
    let less = ["rbac.create=false", "serviceAccount.create=false", "dns.podDisruptionBudget.enabled=false"];
    let (file, _folder) = chart(&less).expect("helm is there");
    let text = std::fs::read_to_string(file).expect("written");
    let mut kinds: Vec<_> = text.lines().filter_map(|it| it.strip_prefix("kind: ")).collect();
    kinds.sort_unstable();
    assert_eq!(kinds, ["ConfigMap", "Deployment", "Service"]);
}

#[test]
fn pods_are_restricted_and_accounts_may_do_no_more_than_they_need() {
    let Some(binary) = kubectls().pop() else { return };
    let ordinal = Ordinal::up_fast(&["--components=", "--simulate-node=false"]);
    let kubectl = ordinal.kubectl(&binary);
    namespaces(&kubectl, &["shop"]);
    let mut sets: Vec<_> = FOLDERS.map(|it| (it.to_owned(), objects(&kubectl, it))).into();
    if let Some((file, _folder)) = chart(&CHART) {
        let list = kubectl.ok(&format!("apply -f {} --dry-run=client -o json", file.display()));
        let list: Value = serde_json::from_str(&list).expect("kubectl prints JSON");
        sets.push(("chart".to_owned(), list["items"].as_array().cloned().expect("a list")));
    }
    let roles = |objects: &[Value]| {
        let all = [of_kind(objects, "ClusterRole"), of_kind(objects, "Role")].concat();
        all.into_iter().cloned().collect::<Vec<_>>()
    };
    let rules = |set: &str, name: &str| {
        let (_, objects) = sets.iter().find(|it| it.0.ends_with(set))?;
        Some(roles(objects).into_iter().find(|it| it["metadata"]["name"] == name)?["rules"].clone())
    };
    for role in ["ordinal-statefulset", "ordinal-endpointslice", "ordinal-leader"] {
        let want = rules("kustomize/controllers", role).expect("the roles of the controllers");
        assert_eq!(rules("all-in-one", role), Some(want.clone()), "one process needs no more");
        assert!(rules("chart", &format!("o-{role}")).is_none_or(|it| it == want), "nor does the chart");
    }
    for (folder, objects) in &sets {
        for owner in [of_kind(objects, "Deployment"), of_kind(objects, "StatefulSet")].concat() {
            let pod = &owner["spec"]["template"]["spec"];
            assert_eq!(pod["securityContext"]["runAsNonRoot"], true, "{folder}");
            assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault", "{folder}");
            assert_eq!(pod["hostNetwork"], Value::Null, "{folder}");
            let containers = [&pod["containers"], &pod["initContainers"]];
            let ours = containers.into_iter().filter_map(Value::as_array).flatten();
            for container in
                ours.filter(|it| it["image"].as_str().is_some_and(|it| it.starts_with("ordinal")))
            {
                let context = &container["securityContext"];
                assert_eq!(context["allowPrivilegeEscalation"], false, "{folder}");
                assert_eq!(context["readOnlyRootFilesystem"], true, "{folder}");
                assert_eq!(context["capabilities"]["drop"][0], "ALL", "{folder}");
                assert!(container["resources"]["limits"]["memory"].is_string(), "{folder}");
            }
            let account = &pod["serviceAccountName"];
            let accounts = of_kind(objects, "ServiceAccount");
            assert!(accounts.iter().any(|it| it["metadata"]["name"] == *account), "{folder}: {account}");
        }
        for role in roles(objects) {
            let name = role["metadata"]["name"].as_str().expect("a name");
            for rule in role["rules"].as_array().expect("rules") {
                let words = |key: &str| -> Vec<&str> {
                    rule[key]
                        .as_array()
                        .map_or(Vec::new(), |it| it.iter().filter_map(Value::as_str).collect())
                };
                assert!(!words("verbs").contains(&"*") && !words("resources").contains(&"*"), "{name}");
                assert!(!words("resources").contains(&"secrets"), "{name}: nobody reads secrets");
                if name.ends_with("-dns") || name.ends_with("-sidecar") {
                    assert!(words("verbs").iter().all(|it| ["list", "watch"].contains(it)), "DNS only reads");
                }
            }
        }
    }
    let (_, sidecar) = sets.iter().find(|it| it.0.ends_with("sidecar")).expect("a folder");
    assert!(of_kind(sidecar, "ClusterRole").is_empty(), "a namespace is enough for a sidecar");
}

fn check(file: &str) {
    let output = Ordinal::command().args(["check-config", file]).output().expect("it runs");
    assert!(output.status.success(), "{file}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_configurations_are_valid() {
    for file in [
        "kustomize/dns/ordinal.yaml",
        "kustomize/controllers/ordinal.yaml",
        "kustomize/overlays/cluster-dns/ordinal.yaml",
        "kustomize/overlays/all-in-one/ordinal.yaml",
        "kustomize/sidecar/ordinal.yaml",
    ] {
        check(&format!("{ROOT}/{file}"));
    }
}
