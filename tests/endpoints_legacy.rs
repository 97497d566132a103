//! Endpoints as people of any kubectl see them in `ordinal up`: written for Services with selector, mirrored from hand-written
//! ones, gone with their Service. The real binary and kubectl.

mod common;

use common::{Ordinal, fixture, kubectls, wait_for, wait_until};

#[test]
fn endpoints_show_the_addresses_and_hand_written_ones_are_mirrored() {
    for binary in kubectls() {
        let ordinal = Ordinal::up_fast(&[]);
        let kubectl = ordinal.kubectl(&binary);
        kubectl.ok("create ns demo");
        kubectl.ok(&format!("create -f {}", fixture("walkthrough/nginx-svc.yaml").display()));
        kubectl.ok(&format!("create -f {}", fixture("walkthrough/web-sts.yaml").display()));
        wait_for("two addresses in the Endpoints", || {
            let endpoints = kubectl.json("get endpoints nginx-demo -n demo");
            let addresses = endpoints["subsets"][0]["addresses"].as_array().map_or(0, Vec::len);
            if addresses == 2 { Ok(()) } else { Err(format!("{endpoints:#}")) }
        });
        let described = kubectl.ok("describe svc nginx-demo -n demo");
        let line = described.lines().find(|it| it.starts_with("Endpoints:")).unwrap_or_default();
        assert_eq!(line.matches(":80").count(), 2, "{described}");

        kubectl.ok("create service clusterip outside --tcp=5432 -n demo");
        let patch = r#"[{"op":"remove","path":"/spec/selector"}]"#;
        kubectl.ok_args(&["patch", "service", "outside", "-n", "demo", "--type=json", "-p", patch]);
        kubectl.ok("delete endpoints outside -n demo --ignore-not-found");
        kubectl.ok("delete endpointslices -n demo -l kubernetes.io/service-name=outside");
        let manifest = "apiVersion: v1\nkind: Endpoints\nmetadata: {name: outside, namespace: demo}\nsubsets:\n- addresses: [{ip: 192.0.2.7}]\n  ports: [{port: 5432}]\n";
        let directory = tempfile::tempdir().expect("a temporary directory");
        let file = directory.path().join("endpoints.yaml");
        std::fs::write(&file, manifest).expect("written");
        kubectl.ok(&format!("apply -f {}", file.display()));
        let mirrored = wait_for("the mirrored slice", || {
            let list = kubectl.json("get endpointslices -n demo -l kubernetes.io/service-name=outside");
            let slice = list["items"][0].clone();
            if slice["endpoints"][0]["addresses"][0] == "192.0.2.7" {
                Ok(slice)
            } else {
                Err(format!("{list:#}"))
            }
        });
        assert_eq!(
            mirrored["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"],
            "endpointslicemirroring-controller.k8s.io"
        );
        assert!(mirrored["metadata"]["annotations"].is_null(), "{mirrored:#}");
        kubectl.ok("delete endpoints outside -n demo");
        wait_until("the mirrored slice to go", || {
            let list = kubectl.json("get endpointslices -n demo -l kubernetes.io/service-name=outside");
            list["items"].as_array().is_some_and(Vec::is_empty)
        });

        kubectl.ok("delete svc nginx-demo -n demo");
        wait_until("the Endpoints to go", || {
            let list = kubectl.json("get endpoints -n demo");
            list["items"].as_array().is_some_and(Vec::is_empty)
        });
    }
}
