//! Whose pods are whose: sets deleted without their pods, relabelled pods, names that somebody else has, and namespaces
//! that go with everything in them. The real binary and kubectl.

#[path = "common/cluster.rs"]
mod cluster;
mod common;

use cluster::{Cluster, binaries};
use common::{Kubectl, fixture, wait_for, wait_until};

const SELECTED: &str = "get pod -n demo -l app=nginx -o jsonpath={.items[*].metadata.uid}";

fn wait_ready(kubectl: &Kubectl, count: usize) {
    let want = if count == 0 { String::new() } else { count.to_string() };
    wait_for("ready pods", || {
        let ready = kubectl.ok("get sts web-demo -n demo -o jsonpath={.status.readyReplicas}");
        if ready == want { Ok(()) } else { Err(ready) }
    });
}

fn controller(kubectl: &Kubectl, object: &str) -> String {
    kubectl.ok(&format!("get {object} -n demo -o jsonpath={{.metadata.ownerReferences[0].uid}}"))
}

fn set_up(cluster: &Cluster, kubectl: &Kubectl) -> String {
    kubectl.ok("create ns demo");
    kubectl.ok(&format!("create -f {}", fixture("walkthrough/nginx-svc.yaml").display()));
    let set = format!("create -f {}", fixture("walkthrough/web-sts.yaml").display());
    kubectl.ok(&set);
    wait_ready(kubectl, 2);
    assert!(!cluster.stderr().contains("WARN"), "{}", cluster.stderr());
    set
}

#[test]
fn a_new_set_takes_over_the_pods_of_an_old_one() {
    for binary in binaries().into_iter().take(1) {
        let cluster = Cluster::whole();
        let kubectl = cluster.kubectl(&binary);
        let create = set_up(&cluster, &kubectl);
        let pods = kubectl.ok(SELECTED);

        kubectl.ok("delete sts web-demo -n demo --cascade=orphan");
        wait_until("the set to go", || {
            kubectl.ok("get sts -n demo -o name").is_empty()
                && controller(&kubectl, "pod/web-demo-0").is_empty()
        });
        assert_eq!(kubectl.ok(SELECTED), pods, "pods stay");

        kubectl.ok(&create);
        wait_ready(&kubectl, 2);
        let uid = kubectl.ok("get sts web-demo -n demo -o jsonpath={.metadata.uid}");
        for pod in ["pod/web-demo-0", "pod/web-demo-1"] {
            wait_until("adoption", || controller(&kubectl, pod) == uid);
        }
        assert_eq!(kubectl.ok(SELECTED), pods, "nothing restarts");
        let revisions = kubectl.ok("get controllerrevisions -n demo -o name");
        assert_eq!(revisions.lines().count(), 1, "{revisions}");
        assert!(!cluster.stderr().contains("WARN"), "{}", cluster.stderr());
    }
}

#[test]
fn a_released_pod_keeps_its_name_until_somebody_deletes_it() {
    for binary in binaries().into_iter().take(1) {
        let cluster = Cluster::whole();
        let kubectl = cluster.kubectl(&binary);
        set_up(&cluster, &kubectl);
        let uid = || kubectl.ok("get pod web-demo-0 -n demo -o jsonpath={.metadata.uid}");
        let released = uid();
        kubectl.ok("label pod web-demo-0 -n demo app=other --overwrite");
        wait_until("release", || controller(&kubectl, "pod/web-demo-0").is_empty());
        wait_ready(&kubectl, 1);
        assert_eq!(uid(), released, "it runs on");
        kubectl.ok("delete pod web-demo-0 -n demo");
        wait_ready(&kubectl, 2);
        assert_ne!(uid(), released);

        // A pod that never was the set's own blocks the ordinal all the same.
        kubectl.ok("run web-demo-2 --image=busybox -n demo");
        kubectl.ok("scale sts web-demo -n demo --replicas=4");
        wait_until("the stranger to run", || {
            kubectl.ok("get pod web-demo-2 -n demo -o jsonpath={.status.phase}") == "Running"
        });
        assert!(controller(&kubectl, "pod/web-demo-2").is_empty());
        wait_ready(&kubectl, 2);
        kubectl.ok("delete pod web-demo-2 -n demo");
        wait_ready(&kubectl, 4);
    }
}

#[test]
fn a_namespace_goes_with_everything_in_it_and_without_complaints() {
    for binary in binaries().into_iter().take(1) {
        let cluster = Cluster::whole();
        let kubectl = cluster.kubectl(&binary);
        set_up(&cluster, &kubectl);
        kubectl.ok("annotate pod web-demo-0 -n demo sim.ordinal/stop-delay=300ms");
        kubectl.ok("delete ns demo");
        wait_until("the namespace to go", || !kubectl.ok("get ns -o name").contains("namespace/demo"));
        assert!(!cluster.stderr().contains("WARN"), "{}", cluster.stderr());
    }
}
