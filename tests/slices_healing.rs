//! EndpointSlices that people delete, edit or relabel come back as they should be, and go with their Service. The real
//! binary and kubectl.

#[path = "common/cluster.rs"]
mod cluster;
mod common;

use cluster::{Cluster, binaries};
use common::{Kubectl, fixture, wait_for, wait_until};
use serde_json::Value;

const SLICES: &str = "get endpointslices -n demo -l kubernetes.io/service-name=nginx-demo";
const OURS: &str = "endpointslice-controller.k8s.io";

fn slices(kubectl: &Kubectl) -> Vec<Value> {
    let list = kubectl.json(SLICES);
    list["items"].as_array().expect("a list").clone()
}

fn managed_by(slice: &Value) -> &str {
    slice["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"].as_str().unwrap_or_default()
}

/// Waits for one slice of ours with two endpoints that carry their names, and returns its name.
fn settled(kubectl: &Kubectl) -> String {
    wait_for("one whole slice", || {
        let all = slices(kubectl);
        let ours: Vec<_> = all.iter().filter(|it| managed_by(it) == OURS).collect();
        let hostnames = |it: &Value| {
            let endpoints = it["endpoints"].as_array().cloned().unwrap_or_default();
            let mut names: Vec<_> =
                endpoints.iter().map(|it| it["hostname"].as_str().unwrap_or_default().to_owned()).collect();
            names.sort_unstable();
            names
        };
        match ours[..] {
            [slice]
                if hostnames(slice) == ["web-demo-0", "web-demo-1"]
                    && slice["metadata"]["labels"]["stray"].is_null() =>
            {
                Ok(slice["metadata"]["name"].as_str().unwrap_or_default().to_owned())
            }
            _ => Err(format!("{all:#?}")),
        }
    })
}

#[test]
fn slices_heal_and_go_with_their_service() {
    for binary in binaries().into_iter().take(1) {
        let cluster = Cluster::whole();
        let kubectl = cluster.kubectl(&binary);
        kubectl.ok("create ns demo");
        kubectl.ok(&format!("create -f {}", fixture("walkthrough/nginx-svc.yaml").display()));
        kubectl.ok(&format!("create -f {}", fixture("walkthrough/web-sts.yaml").display()));
        let first = settled(&kubectl);

        kubectl.ok(&format!("delete endpointslice {first} -n demo"));
        let second = settled(&kubectl);
        assert_ne!(first, second, "deleted: made anew");

        let remove = r#"[{"op":"remove","path":"/endpoints/0"}]"#;
        kubectl.ok_args(&["patch", "endpointslice", &second, "-n", "demo", "--type=json", "-p", remove]);
        assert_eq!(settled(&kubectl), second, "edited: put right");
        kubectl.ok(&format!("label endpointslice {second} -n demo stray=label"));
        assert_eq!(settled(&kubectl), second, "labelled: put right");

        kubectl.ok(&format!(
            "label endpointslice {second} -n demo endpointslice.kubernetes.io/managed-by=me --overwrite"
        ));
        assert_ne!(settled(&kubectl), second, "taken over by somebody else: replaced");
        let theirs = slices(&kubectl);
        assert!(theirs.iter().any(|it| managed_by(it) == "me"), "and left to them: {theirs:#?}");

        kubectl.ok("delete svc nginx-demo -n demo");
        wait_until("the slices to go", || slices(&kubectl).is_empty());
    }
}
