//! The manifests of deploy/: an API server takes them, they fit together, and they keep the rules of restricted pods.

mod common;

use common::{Ordinal, kubectls};
use serde_json::Value;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy");
/// Folders that `kubectl apply -k` takes.
const FOLDERS: [&str; 4] = [
    "kustomize/dns",
    "kustomize/controllers",
    "kustomize/overlays/forward-target",
    "kustomize/overlays/cluster-dns",
];

/// What the kustomization of a folder makes.
fn objects(ordinal: &Ordinal, folder: &str) -> Vec<Value> {
    let kubectl = ordinal.kubectl(&kubectls().pop().expect("checked"));
    let text = kubectl.ok(&format!("kustomize {ROOT}/{folder}"));
    let list = kubectl.ok(&format!("apply -k {ROOT}/{folder} --dry-run=client -o json"));
    let list: Value = serde_json::from_str(&list).expect("kubectl prints JSON");
    let items = list["items"].as_array().cloned().expect("a list");
    assert_eq!(
        items.len(),
        text.matches("\nkind: ").count() + usize::from(text.starts_with("kind: ")),
        "{folder}"
    );
    items
}

fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|it| it["kind"] == kind).collect()
}

#[test]
fn an_api_server_takes_every_manifest_and_takes_it_again_without_a_change() {
    let Some(binary) = kubectls().pop() else { return };
    let ordinal = Ordinal::up_fast(&["--components=", "--simulate-node=false"]);
    let kubectl = ordinal.kubectl(&binary);
    for folder in FOLDERS {
        kubectl.ok(&format!("apply -k {ROOT}/{folder}"));
        let again = kubectl.ok(&format!("apply -k {ROOT}/{folder}"));
        // kubectl replaces the selector of a budget each time, whatever it is (its patch strategy is `replace`).
        let changed: Vec<_> = again.lines().filter(|it| !it.ends_with(" unchanged")).collect();
        assert!(changed.iter().all(|it| it.starts_with("poddisruptionbudget")), "{folder}: {changed:?}");
    }
    let address = kubectl.ok("get svc ordinal-dns -n ordinal -o jsonpath={.spec.clusterIP}");
    assert_eq!(address, "10.96.0.10", "the address of the cluster's DNS");
}

#[test]
fn pods_are_restricted_and_accounts_may_do_no_more_than_they_need() {
    if kubectls().is_empty() {
        return;
    }
    let ordinal = Ordinal::up_fast(&["--components=", "--simulate-node=false"]);
    for folder in FOLDERS {
        let objects = objects(&ordinal, folder);
        for deployment in of_kind(&objects, "Deployment") {
            let pod = &deployment["spec"]["template"]["spec"];
            assert_eq!(pod["securityContext"]["runAsNonRoot"], true, "{folder}");
            assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault", "{folder}");
            assert_eq!(pod["hostNetwork"], Value::Null, "{folder}");
            for container in pod["containers"].as_array().expect("containers") {
                let context = &container["securityContext"];
                assert_eq!(context["allowPrivilegeEscalation"], false, "{folder}");
                assert_eq!(context["readOnlyRootFilesystem"], true, "{folder}");
                assert_eq!(context["capabilities"]["drop"][0], "ALL", "{folder}");
                assert!(container["resources"]["limits"]["memory"].is_string(), "{folder}");
            }
            let account = &pod["serviceAccountName"];
            assert!(
                of_kind(&objects, "ServiceAccount").iter().any(|it| it["metadata"]["name"] == *account),
                "{folder}: no account {account}"
            );
        }
        let roles = [of_kind(&objects, "ClusterRole"), of_kind(&objects, "Role")].concat();
        for role in &roles {
            let name = role["metadata"]["name"].as_str().expect("a name");
            for rule in role["rules"].as_array().expect("rules") {
                let words = |key: &str| -> Vec<&str> {
                    rule[key]
                        .as_array()
                        .map_or(Vec::new(), |it| it.iter().filter_map(Value::as_str).collect())
                };
                assert!(!words("verbs").contains(&"*") && !words("resources").contains(&"*"), "{name}");
                assert!(!words("resources").contains(&"secrets"), "{name}: nobody reads secrets");
                if name == "ordinal-dns" {
                    assert!(words("verbs").iter().all(|it| ["list", "watch"].contains(it)), "DNS only reads");
                }
                let claims = words("resources").contains(&"persistentvolumeclaims");
                assert!(!(claims && words("verbs").contains(&"delete")), "{name}: claims are never deleted");
            }
        }
    }
}

#[test]
fn the_configurations_are_valid() {
    for file in [
        "kustomize/dns/ordinal.yaml",
        "kustomize/controllers/ordinal.yaml",
        "kustomize/overlays/cluster-dns/ordinal.yaml",
    ] {
        let output =
            Ordinal::command().args(["check-config", &format!("{ROOT}/{file}")]).output().expect("it runs");
        assert!(output.status.success(), "{file}: {}", String::from_utf8_lossy(&output.stderr));
    }
}
