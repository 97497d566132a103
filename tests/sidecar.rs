//! The sidecar of deploy/: the names of one namespace from watches of that namespace alone, everything else from the
//! cluster's DNS. On a real API server its account has the Role of deploy/ and nothing more.

#[path = "common/cluster.rs"]
mod cluster;
mod common;

use cluster::{Cluster, DEPLOY};
use common::{FREE_PORTS, Ordinal, has_dig, kubectls, wait_for, wait_until};

/// A Service in each of two namespaces.
const OBJECTS: &str = "
apiVersion: v1
kind: Service
metadata: {name: db, namespace: shop}
spec: {clusterIP: None, ports: [{name: sql, port: 5432}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: db-1, namespace: shop, labels: {kubernetes.io/service-name: db}}
addressType: IPv4
ports: [{name: sql, port: 5432}]
endpoints: [{addresses: [10.0.0.1], hostname: db-0, conditions: {ready: true}}]
---
apiVersion: v1
kind: Service
metadata: {name: mail, namespace: other}
spec: {clusterIP: 10.96.44.4, ports: [{port: 25}]}
";

#[test]
fn a_namespace_is_enough() {
    if !has_dig() {
        return;
    }
    let Some(binary) = kubectls().pop() else { return };
    let cluster = Cluster::start();
    let kubectl = cluster.kubectl(&binary);
    kubectl.ok("create ns shop");
    kubectl.ok("create ns other");
    let folder = tempfile::tempdir().expect("a temporary directory");
    let file = folder.path().join("objects.yaml");
    std::fs::write(&file, OBJECTS).expect("written");
    kubectl.ok(&format!("apply -f {}", file.display()));
    let account = match &cluster {
        Cluster::Embedded(_) => cluster.kubeconfig(),
        Cluster::Real { cluster, .. } => {
            kubectl.ok(&format!("apply -f {DEPLOY}/sidecar/role.yaml -n shop"));
            cluster.account("shop", "web")
        }
    };
    let whole = Ordinal::run(&cluster.kubeconfig(), &[]);
    let upstream = format!("--upstream={}", whole.dns());
    let config = format!("--config={DEPLOY}/sidecar/ordinal.yaml");
    let args = [&[&*config, "--log-format=text", &upstream][..], &FREE_PORTS].concat();
    let sidecar = Ordinal::run_with(&account, &args);

    let db = "db-0.db.shop.svc.cluster.local";
    assert_eq!(sidecar.dig_short(db, "A"), ["10.0.0.1"]);
    assert_eq!(
        sidecar.dig_short("_sql._tcp.db.shop.svc.cluster.local", "SRV"),
        [format!("0 100 5432 {db}.")]
    );
    assert!(sidecar.dig(&[db]).contains("flags: qr aa"), "its own answer");
    // Another namespace, an address, and a name outside of every zone: as the cluster's DNS says.
    assert_eq!(sidecar.dig_short("mail.other.svc.cluster.local", "A"), ["10.96.44.4"]);
    assert_eq!(sidecar.dig_short("4.44.96.10.in-addr.arpa", "PTR"), ["mail.other.svc.cluster.local."]);
    assert_eq!(sidecar.dig_status("nowhere.other.svc.cluster.local", "A"), "NXDOMAIN");

    let patch = r#"[{"op":"replace","path":"/endpoints/0/addresses","value":["10.0.0.2"]}]"#;
    kubectl.ok_args(&["patch", "endpointslice", "db-1", "-n", "shop", "--type=json", "-p", patch]);
    wait_until("the new address", || sidecar.dig_short(db, "A") == ["10.0.0.2"]);
    wait_for("a log without complaints", || {
        let log = sidecar.stderr();
        if log.contains("WARN") || log.contains("forbidden") { Err(log) } else { Ok(()) }
    });
}
