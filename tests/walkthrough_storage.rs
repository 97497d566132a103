//! The user's second walk-through: claims from `volumeClaimTemplates`, canaries by partition, `OnDelete`, and
//! `kubectl rollout`. Every kubectl version, the real binary.

#[path = "common/cluster.rs"]
mod cluster;
mod common;

use cluster::{Cluster, binaries};
use common::{Kubectl, fixture, rows, wait_for, wait_until};

const IMAGES: &str =
    "jsonpath={range .items[*]}{.metadata.name}{\"\\t\"}{.spec.containers[0].image}{\"\\n\"}{end}";

fn images(kubectl: &Kubectl) -> String {
    kubectl.ok_args(&["get", "pods", "-l", "app=nginx", "-o", IMAGES])
}

fn wait_images(kubectl: &Kubectl, want: &[&str]) {
    let lines: Vec<_> =
        want.iter().enumerate().map(|(number, image)| format!("web-{number}\t{image}\n")).collect();
    let want = lines.concat();
    wait_for("the images", || {
        let got = images(kubectl);
        let ready = kubectl.ok("get sts web -o jsonpath={.status.readyReplicas}");
        if got == want && ready == want.lines().count().to_string() {
            Ok(())
        } else {
            Err(format!("{got}ready {ready}"))
        }
    });
}

fn claims(kubectl: &Kubectl) -> Vec<(String, String, String)> {
    rows(&kubectl.ok("get pvc"))
        .into_iter()
        .map(|row| (row[0].clone(), row[1].clone(), row[2].clone()))
        .collect()
}

#[test]
fn claims_outlive_pods_and_rollouts_follow_the_strategy() {
    for binary in binaries() {
        let cluster = Cluster::whole();
        let kubectl = cluster.kubectl(&binary);
        kubectl.ok(&format!("apply -f {}", fixture("storage/headless-service.yaml").display()));
        kubectl.ok(&format!("apply -f {}", fixture("storage/web.yaml").display()));
        wait_images(&kubectl, &["nginx:1.21"; 3]);
        let first = storage(&kubectl);
        updates(&kubectl);
        assert_eq!(claims(&kubectl), first, "no rollout touches a claim");
    }
}

fn storage(kubectl: &Kubectl) -> Vec<(String, String, String)> {
    let first = claims(kubectl);
    let names: Vec<_> = first.iter().map(|it| (it.0.as_str(), it.1.as_str())).collect();
    assert_eq!(names, [("www-web-0", "Bound"), ("www-web-1", "Bound"), ("www-web-2", "Bound")]);

    kubectl.ok("delete pod web-1");
    wait_images(kubectl, &["nginx:1.21"; 3]);
    assert_eq!(claims(kubectl), first, "kept after pod deletion");

    kubectl.ok("scale sts web --replicas=1");
    wait_until("scale-down", || images(kubectl) == "web-0\tnginx:1.21\n");
    assert_eq!(claims(kubectl), first, "kept after scale-down");
    kubectl.ok("scale sts web --replicas=3");
    wait_images(kubectl, &["nginx:1.21"; 3]);
    assert_eq!(claims(kubectl), first, "found again on scale-up");
    let volume = kubectl.ok_args(&[
        "get",
        "pod",
        "web-2",
        "-o",
        "jsonpath={.spec.volumes[?(@.name==\"www\")].persistentVolumeClaim.claimName}",
    ]);
    assert_eq!(volume, "www-web-2");
    first
}

fn updates(kubectl: &Kubectl) {
    // As the document prints it: only ordinals >= partition change.
    let patched = kubectl.ok_args(&[
        "patch",
        "statefulset",
        "web",
        "-p",
        r#"{"spec":{"updateStrategy":{"type":"RollingUpdate","rollingUpdate":{"partition":2}}}}"#,
    ]);
    assert_eq!(patched.trim(), "statefulset.apps/web patched");
    set_image(kubectl, "nginx:1.22");
    wait_images(kubectl, &["nginx:1.21", "nginx:1.21", "nginx:1.22"]);
    let status = kubectl.ok("rollout status sts/web --timeout=60s");
    assert!(status.contains("partitioned roll out complete: 1 new pods have been updated..."), "{status}");

    kubectl.ok_args(&[
        "patch",
        "sts",
        "web",
        "-p",
        r#"{"spec":{"updateStrategy":{"rollingUpdate":{"partition":0}}}}"#,
    ]);
    wait_images(kubectl, &["nginx:1.22"; 3]);
    assert!(
        kubectl
            .ok("rollout status sts/web --timeout=60s")
            .contains("partitioned roll out complete: 3 new pods have been updated...")
    );

    let history = kubectl.ok("rollout history sts/web");
    let revisions: Vec<_> = history
        .lines()
        .filter(|it| it.starts_with(|c: char| c.is_ascii_digit()))
        .map(|it| it.split_whitespace().next().unwrap_or_default())
        .collect();
    assert_eq!(revisions, ["1", "2"], "{history}");
    assert!(kubectl.ok("rollout history sts/web --revision=1").contains("nginx:1.21"));

    assert!(kubectl.ok("rollout undo sts/web").contains("statefulset.apps/web rolled back"));
    wait_images(kubectl, &["nginx:1.21"; 3]);
    let names = kubectl.ok_args(&[
        "get",
        "controllerrevisions",
        "-l",
        "app=nginx",
        "-o",
        "jsonpath={.items[*].revision}",
    ]);
    let mut numbers: Vec<_> = names.split_whitespace().collect();
    numbers.sort_unstable();
    assert_eq!(numbers, ["2", "3"], "a rollback raises the number of the old revision and makes no new one");

    let uids = |kubectl: &Kubectl| {
        kubectl.ok_args(&["get", "pods", "-l", "app=nginx", "-o", "jsonpath={.items[*].metadata.uid}"])
    };
    let before = uids(kubectl);
    assert!(kubectl.ok("rollout restart sts/web").contains("statefulset.apps/web restarted"));
    kubectl.ok("rollout status sts/web --timeout=60s");
    wait_until("every pod to be another one", || {
        let after = uids(kubectl);
        after.split_whitespace().count() == 3 && after.split_whitespace().all(|uid| !before.contains(uid))
    });

    kubectl.ok_args(&[
        "patch",
        "sts",
        "web",
        "--type=json",
        "-p",
        r#"[{"op":"replace","path":"/spec/updateStrategy","value":{"type":"OnDelete"}}]"#,
    ]);
    set_image(kubectl, "nginx:1.23");
    wait_until("the new revision", || {
        let set = kubectl.json("get sts web");
        set["status"]["observedGeneration"] == set["metadata"]["generation"]
            && set["status"]["updateRevision"] != set["status"]["currentRevision"]
    });
    wait_images(kubectl, &["nginx:1.21"; 3]);
    kubectl.ok("delete pod web-1");
    wait_images(kubectl, &["nginx:1.21", "nginx:1.23", "nginx:1.21"]);
}

fn set_image(kubectl: &Kubectl, image: &str) {
    kubectl.ok_args(&[
        "patch",
        "statefulset",
        "web",
        "--type=json",
        "-p",
        &format!(
            r#"[{{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value":"{image}"}}]"#
        ),
    ]);
}
