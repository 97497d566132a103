//! Leader election of `ordinal run`: several processes, one of which writes.

#[path = "common/cluster.rs"]
mod cluster;
mod common;

use cluster::Cluster;
use common::{Kubectl, Ordinal, fixture, kubectls, wait_for, wait_until};

/// A candidate that notices within seconds when another one is gone.
const CANDIDATE: [&str; 4] = [
    "--components=statefulset",
    "--leader-elect-lease-duration=2s",
    "--leader-elect-renew-deadline=1500ms",
    "--leader-elect-retry-period=300ms",
];

fn holder(kubectl: &Kubectl) -> String {
    kubectl.ok("get lease ordinal-statefulset -n kube-system -o jsonpath={.spec.holderIdentity}")
}

fn leads(process: &Ordinal) -> bool {
    process.http_get("/metrics").1.contains("ordinal_leader{controller=\"statefulset\"} 1")
}

fn pods(kubectl: &Kubectl) -> usize {
    kubectl.ok("get pods -o name").lines().count()
}

#[test]
fn one_process_leads_and_another_takes_over_when_it_ends_or_dies() {
    let Some(binary) = kubectls().pop() else { return };
    let api = Cluster::start();
    let kubectl = api.kubectl(&binary);
    let first = Ordinal::run(&api.kubeconfig(), &CANDIDATE);
    assert!(leads(&first), "ready means that it works");
    // It says ready although another one leads: it could take over.
    let mut second = Ordinal::run(&api.kubeconfig(), &CANDIDATE);
    assert!(!leads(&second));
    let by_first = holder(&kubectl);

    kubectl.ok(&format!("create -f {}", fixture("storage").display()));
    wait_until("the pods of the set", || pods(&kubectl) == 3);

    assert_eq!(first.terminate(), Some(0));
    wait_until("the second one leads", || leads(&second));
    let by_second = holder(&kubectl);
    assert_ne!(by_first, by_second);
    kubectl.ok("scale sts web --replicas=4");
    wait_until("the pod that the second one made", || pods(&kubectl) == 4);

    let third = Ordinal::run(&api.kubeconfig(), &CANDIDATE);
    second.kill();
    kubectl.ok("scale sts web --replicas=5");
    wait_until("the pod that the third one made", || pods(&kubectl) == 5);
    assert!(leads(&third));
    let transitions =
        kubectl.ok("get lease ordinal-statefulset -n kube-system -o jsonpath={.spec.leaseTransitions}");
    assert_eq!(transitions, "2");
    assert_eq!(third.terminate(), Some(0));
    assert_eq!(holder(&kubectl), "", "given away");
}

#[test]
fn a_leader_that_loses_the_api_server_stops_and_says_so() {
    let mut api = Cluster::start();
    let process = Ordinal::run(&api.kubeconfig(), &CANDIDATE);
    assert!(leads(&process));
    api.kill();
    wait_for("it stands down", || match (leads(&process), process.stderr()) {
        (false, log) if log.contains("standing down") => Ok(()),
        (_, log) => Err(log),
    });
    assert_eq!(process.terminate(), Some(0), "and ends in peace without an API server");
}

#[test]
fn without_election_nothing_is_written_about_it() {
    let Some(binary) = kubectls().pop() else { return };
    let api = Cluster::start();
    let _run = Ordinal::run(&api.kubeconfig(), &["--components=statefulset", "--leader-elect=false"]);
    let leases = api.kubectl(&binary).ok("get leases -n kube-system -o name");
    assert!(!leases.contains("ordinal"), "{leases}");
}
