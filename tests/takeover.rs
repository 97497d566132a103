//! `ordinal takeover --dry-run` with the real binary: what would change, and the exit code.

#[path = "common/cluster.rs"]
mod cluster;
mod common;

use std::process::{Command, Output};

use cluster::Cluster;
use common::{Ordinal, fixture, kubectls, wait_until};

fn take_over(api: &Cluster, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ordinal"));
    command.arg("takeover").args(more).arg("--kubeconfig").arg(api.kubeconfig());
    command.output().expect("it runs")
}

#[test]
fn a_dry_run_tells_what_would_change_and_exits_1_if_anything_would() {
    let Some(binary) = kubectls().pop() else { return };
    let api = Cluster::start();
    let kubectl = api.kubectl(&binary);
    let empty = take_over(&api, &["--dry-run"]);
    assert_eq!(String::from_utf8_lossy(&empty.stdout), "StatefulSets looked at: 0; nothing would change\n");
    assert_eq!(empty.status.code(), Some(0));

    kubectl.ok("create ns demo");
    kubectl.ok(&format!("create -f {}", fixture("walkthrough").display()));
    let before = take_over(&api, &["--dry-run"]);
    let text = String::from_utf8_lossy(&before.stdout).into_owned();
    assert_eq!(before.status.code(), Some(1), "{text}");
    assert!(text.contains("Pod demo/web-demo-0: create at revision web-demo-"), "{text}");
    assert!(text.contains("ControllerRevision demo/web-demo-"), "{text}");
    assert_eq!(kubectl.ok("get pods -n demo -o name").trim(), "", "nothing was written");
    assert_eq!(take_over(&api, &["--dry-run", "-n", "default"]).status.code(), Some(0), "another namespace");

    let run = Ordinal::run(&api.kubeconfig(), &["--components", "statefulset"]);
    wait_until("the set", || {
        kubectl.ok("get sts web-demo -n demo -o jsonpath={.status.availableReplicas}") == "2"
    });
    assert_eq!(run.terminate(), Some(0));
    let after = take_over(&api, &["--dry-run"]);
    let text = String::from_utf8_lossy(&after.stdout).into_owned();
    assert_eq!(
        (after.status.code(), text.as_str()),
        (Some(0), "StatefulSets looked at: 1; nothing would change\n")
    );

    assert_eq!(take_over(&api, &[]).status.code(), Some(2), "only --dry-run exists");
}
