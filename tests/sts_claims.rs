//! Claims of stateful sets: protected while a pod uses them, made anew when lost, and collected as the retention policy
//! says. The real binary and kubectl.

#[path = "common/cluster.rs"]
mod cluster;
mod common;

use cluster::{Cluster, binaries};
use common::{Kubectl, wait_for, wait_until};

fn set(retention: &str) -> String {
    format!(
        r#"{{"apiVersion":"apps/v1","kind":"StatefulSet","metadata":{{"name":"db"}},"spec":{{
            "serviceName":"db","replicas":3,"selector":{{"matchLabels":{{"app":"db"}}}},
            "persistentVolumeClaimRetentionPolicy":{{"whenDeleted":"{retention}","whenScaled":"{retention}"}},
            "template":{{"metadata":{{"labels":{{"app":"db"}}}},"spec":{{"containers":[{{"name":"c","image":"i"}}]}}}},
            "volumeClaimTemplates":[{{"metadata":{{"name":"data"}},"spec":{{
                "accessModes":["ReadWriteOnce"],"resources":{{"requests":{{"storage":"1Gi"}}}}}}}}]}}}}"#
    )
}

fn create(kubectl: &Kubectl, retention: &str) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("set.json");
    std::fs::write(&file, set(retention)).expect("a file");
    kubectl.ok(&format!("create -f {}", file.display()));
    wait_ready(kubectl, "3");
}

fn wait_ready(kubectl: &Kubectl, count: &str) {
    wait_for("ready pods", || {
        let ready = kubectl.ok("get sts db -o jsonpath={.status.readyReplicas}");
        if ready == count { Ok(()) } else { Err(ready) }
    });
}

fn names(kubectl: &Kubectl, kind: &str) -> String {
    kubectl.ok(&format!("get {kind} -o jsonpath={{.items[*].metadata.name}}"))
}

#[test]
fn a_claim_outlasts_its_deletion_until_its_pod_is_gone() {
    for binary in binaries().into_iter().take(1) {
        let cluster = Cluster::whole();
        let kubectl = cluster.kubectl(&binary);
        create(&kubectl, "Retain");
        let uid = || kubectl.ok("get pvc data-db-1 -o jsonpath={.metadata.uid}");
        let before = uid();
        kubectl.ok("delete pvc data-db-1 --wait=false");
        let claim = kubectl.json("get pvc data-db-1");
        assert!(claim["metadata"]["deletionTimestamp"].is_string(), "{claim}");
        assert_eq!(claim["metadata"]["finalizers"][0], "kubernetes.io/pvc-protection");
        assert_eq!(kubectl.ok("get sts db -o jsonpath={.status.readyReplicas}"), "3", "the pod runs on");

        // The next pod waits for the old claim to go and gets a new one.
        kubectl.ok("delete pod db-1");
        wait_until("another claim", || {
            let claims = names(&kubectl, "pvc");
            claims == "data-db-0 data-db-1 data-db-2" && uid() != before
        });
        wait_ready(&kubectl, "3");
        wait_until("the old volume to go", || names(&kubectl, "pv").split(' ').count() == 3);
    }
}

#[test]
fn claims_go_with_their_pods_or_their_set_if_the_policy_says_so() {
    for binary in binaries().into_iter().take(1) {
        let cluster = Cluster::whole();
        let kubectl = cluster.kubectl(&binary);
        create(&kubectl, "Delete");
        kubectl.ok("scale sts db --replicas=1");
        wait_until("the claims of condemned pods to go", || names(&kubectl, "pvc") == "data-db-0");
        kubectl.ok("delete pod db-0");
        wait_ready(&kubectl, "1");
        assert_eq!(names(&kubectl, "pvc"), "data-db-0", "deleting a pod deletes no claim");
        kubectl.ok("delete sts db");
        wait_until("everything to go", || {
            names(&kubectl, "pvc").is_empty() && names(&kubectl, "pv").is_empty()
        });

        create(&kubectl, "Retain");
        kubectl.ok("delete sts db");
        wait_until("the pods to go", || names(&kubectl, "pod").is_empty());
        assert_eq!(names(&kubectl, "pvc"), "data-db-0 data-db-1 data-db-2");
    }
}

#[test]
fn claims_of_a_running_set_grow_when_an_annotation_asks_for_it() {
    if cluster::theirs() {
        println!("SKIPPED: Kubernetes has no such annotation");
        return;
    }
    for binary in binaries().into_iter().take(1) {
        let cluster = Cluster::whole();
        let kubectl = cluster.kubectl(&binary);
        create(&kubectl, "Retain");
        let pods = kubectl.ok("get pod -o jsonpath={.items[*].metadata.uid}");
        let capacities = || kubectl.ok("get pvc -o jsonpath={.items[*].status.capacity.storage}");
        assert_eq!(capacities(), "1Gi 1Gi 1Gi");
        kubectl.ok("annotate sts db ordinal.dev/claims={\"data\":{\"storage\":\"2Gi\"}} ordinal.dev/claim-update=InPlace");
        wait_until("larger claims", || capacities() == "2Gi 2Gi 2Gi");
        kubectl.ok("scale sts db --replicas=4");
        wait_ready(&kubectl, "4");
        wait_until("a new claim of that size", || capacities() == "2Gi 2Gi 2Gi 2Gi");
        let after = kubectl.ok("get pod -o jsonpath={.items[*].metadata.uid}");
        assert!(after.starts_with(&pods), "nothing restarts: {pods} {after}");

        kubectl.ok("annotate sts db --overwrite ordinal.dev/claims=3Gi");
        wait_until("an event that quotes the value", || {
            let events = kubectl.ok("get events -o jsonpath={.items[*].message}");
            events.contains("annotation ordinal.dev/claims: \"3Gi\" is not understood")
        });
        assert_eq!(capacities(), "2Gi 2Gi 2Gi 2Gi");
    }
}
