//! `ordinal up --dual-stack`: Services and pods of both IP families, from the API to the answers.

mod common;

use common::{Ordinal, kubectls, wait_for, wait_until};

const MANIFEST: &str = "
apiVersion: v1
kind: Service
metadata: {name: nginx}
spec: {clusterIP: None, ipFamilyPolicy: PreferDualStack, selector: {app: nginx}, ports: [{port: 80, name: web}]}
---
apiVersion: v1
kind: Service
metadata: {name: api}
spec: {ipFamilyPolicy: RequireDualStack, ipFamilies: [IPv6, IPv4], selector: {app: nginx}, ports: [{port: 80}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: web}
spec:
  serviceName: nginx
  replicas: 2
  selector: {matchLabels: {app: nginx}}
  template:
    metadata: {labels: {app: nginx}}
    spec: {containers: [{name: nginx, image: 'nginx:1.27'}]}
";

#[test]
fn names_have_addresses_of_both_families() {
    let folder = tempfile::tempdir().expect("a folder");
    let manifest = folder.path().join("web.yaml");
    std::fs::write(&manifest, MANIFEST).expect("written");
    for binary in kubectls() {
        let ordinal = Ordinal::up_fast(&["--dual-stack"]);
        let kubectl = ordinal.kubectl(&binary);
        kubectl.ok(&format!("apply -f {}", manifest.display()));
        kubectl.ok("rollout status sts/web --timeout=60s");
        let of_pod = kubectl.ok("get pod web-0 -o jsonpath={.status.podIPs[*].ip}");
        let (v4, v6) = of_pod.split_once(' ').expect("two addresses");
        assert!(v4.starts_with("10.244.") && v6.starts_with("fd00:10:244::"), "{of_pod}");
        let name = "web-0.nginx.default.svc.cluster.local";
        wait_until("the names", || ordinal.dig_short(name, "AAAA") == [v6]);
        assert_eq!(ordinal.dig_short(name, "A"), [v4]);
        let types =
            "get endpointslices -l kubernetes.io/service-name=nginx -o jsonpath={.items[*].addressType}";
        let types = kubectl.ok(types);
        let mut types: Vec<_> = types.split(' ').collect();
        types.sort_unstable();
        assert_eq!(types, ["IPv4", "IPv6"]);

        let of_service = kubectl.ok("get svc api -o jsonpath={.spec.clusterIPs[*]}");
        let (first, second) = of_service.split_once(' ').expect("two addresses");
        assert!(first.starts_with("fd00:10:96::") && second.starts_with("10.96."), "{of_service}");
        let api = "api.default.svc.cluster.local";
        wait_until("its names", || ordinal.dig_short(api, "AAAA") == [first]);
        assert_eq!(ordinal.dig_short(api, "A"), [second]);

        kubectl.ok_args(&["patch", "svc", "api", "-p", r#"{"spec": {"ipFamilyPolicy": "SingleStack"}}"#]);
        assert_eq!(kubectl.ok("get svc api -o jsonpath={.spec.clusterIPs[*]}"), first);
        wait_for("the second address to go", || match ordinal.dig_short(api, "A").as_slice() {
            [] => Ok(()),
            still => Err(format!("{still:?}")),
        });
        let refused =
            kubectl.fails_args(&["patch", "svc", "api", "-p", r#"{"spec": {"ipFamilies": ["IPv4"]}}"#]);
        assert!(refused.contains("expected an IPv4 value as indicated by `ipFamilies[0]`"), "{refused}");
    }
}
