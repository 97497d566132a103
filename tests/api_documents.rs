//! The manifests of the users' documents, word for word: complete ones are accepted, fragments are refused the way
//! kube-apiserver refuses them, naming each missing field. Every kubectl version, the real binary.

#[path = "common/cluster.rs"]
mod cluster;
mod common;

use cluster::{Cluster, binaries, real};
use common::{Kubectl, fixture, rows, wait_for, wait_until};

/// Complete manifests, in an order in which they can be applied to one cluster.
const COMPLETE: &[&str] = &[
    "nginx-rc",
    "nginx-replicaset",
    "my-app-deployment",
    "dry-run-deployment",
    "my-app",
    "my-headless-service",
    "nginx-hpa",
    "nginx-service",
    "nginx-web",
    "storage-class",
    "headless-service",
    "web",
    "pv-and-pvc",
    "volume-snapshot",
    "restored-claim",
    "mysql",
    "postgres",
    "deploy-demo",
    "nginx-svc",
    "web-sts",
    "cm-demo",
    "cm-demo-pod",
    "secret-demo",
    "secret-demo-stringdata",
    "pod-secret",
];

fn path(name: &str) -> String {
    fixture(&format!("documents/{name}.yaml")).display().to_string()
}

#[test]
fn complete_manifests_are_accepted_word_for_word() {
    for binary in binaries() {
        let cluster = Cluster::whole();
        let kubectl = cluster.kubectl(&binary);
        kubectl.ok("create ns demo");
        for name in COMPLETE {
            let printed = kubectl.ok(&format!("apply -f {}", path(name)));
            assert!(!printed.to_lowercase().contains("warning"), "{name}: {printed}");
            let again = kubectl.ok(&format!("apply -f {}", path(name)));
            // Clients cannot tell that nothing changes by the nulls of a printed dry run, the defaults in the claim
            // templates of a set, and text that is stored as base64.
            let always = ["dry-run-deployment", "secret-demo-stringdata"];
            let odd = |line: &str| line.starts_with("statefulset.") || always.contains(name);
            assert!(again.lines().all(|it| it.ends_with(" unchanged") || odd(it)), "{name}: {again}");
        }
        // The replicated variant has the same names.
        kubectl.ok("delete sts,svc,cm,secret mysql mysql-config mysql-secret --ignore-not-found");
        kubectl.ok(&format!("apply -f {}", path("mysql-replicated")));
        storage(&kubectl);
    }
}

fn storage(kubectl: &Kubectl) {
    let phase = |claim: &str| kubectl.ok(&format!("get pvc {claim} -o jsonpath={{.status.phase}}"));
    wait_until("the claim to bind", || phase("pvc-1") == "Bound");
    assert_eq!(
        kubectl.ok("get pvc pvc-1 -o jsonpath={.spec.volumeName}"),
        "pv-1",
        "bound to the volume made by hand"
    );
    wait_for("the snapshot", || {
        let ready = kubectl.ok("get vs www-snapshot -o jsonpath={.status.readyToUse}");
        if ready == "true" { Ok(()) } else { Err(ready) }
    });
    wait_until("the restored claim to bind", || phase("www-restored") == "Bound");
    let snapshot = &rows(&kubectl.ok("get volumesnapshot www-snapshot"))[0];
    assert_eq!(snapshot[..4], ["www-snapshot", "true", "www-web-0", "1Gi"]);
    let row = &rows(&kubectl.ok("get pv pv-1"))[0];
    assert_eq!(row[..6], ["pv-1", "1Gi", "RWO", "Retain", "Bound", "default/pvc-1"]);
}

#[test]
fn fragments_are_refused_by_the_names_of_what_is_missing() {
    const NO_SELECTOR: &str = "spec.selector: Required value";
    const NO_MATCH: &str = "`selector` does not match template `labels`";
    const NO_CONTAINERS: &str = "spec.template.spec.containers: Required value";
    let cases: &[(&str, &[&str])] = &[
        (
            "fragment-rolling-update",
            &[
                "The Deployment \"my-app\" is invalid",
                NO_SELECTOR,
                "spec.template.metadata.labels: Invalid value: {\"app\":\"my-app\"}: `selector` does not match template `labels`",
            ],
        ),
        ("fragment-recreate", &["The Deployment \"my-app\" is invalid", NO_SELECTOR, NO_MATCH]),
        (
            "fragment-partition",
            &["The StatefulSet \"my-statefulset\" is invalid", NO_SELECTOR, NO_MATCH, NO_CONTAINERS],
        ),
        ("fragment-on-delete", &[NO_SELECTOR, NO_CONTAINERS]),
        ("fragment-canary", &["The StatefulSet \"my-canary-statefulset\" is invalid", NO_SELECTOR, NO_MATCH]),
        ("fragment-core-deployment", &["no matches for kind \"Deployment\" in version \"v1\""]),
    ];
    for binary in binaries() {
        let cluster = Cluster::whole();
        let kubectl = cluster.kubectl(&binary);
        for (name, wants) in cases {
            // Clients with a schema of their own would refuse some of these before they ask the server.
            let said = kubectl.fails(&format!("create --validate=false -f {}", path(name)));
            for want in *wants {
                assert!(said.contains(want), "{name}: {want:?} missing in {said}");
            }
        }
        let said = kubectl.fails(&format!("create --validate=false -f {}", path("fragment-no-metadata")));
        assert!(said.contains("name or generateName is required"), "{said}");

        // What is a fragment on its own changes an object that is there.
        kubectl.ok(&format!("apply -f {}", path("headless-service")));
        kubectl.ok(&format!("apply -f {}", path("web")));
        kubectl.ok("rollout status sts/web --timeout=60s");
        kubectl.ok_args(&[
            "patch",
            "sts",
            "web",
            "-p",
            r#"{"spec":{"updateStrategy":{"rollingUpdate":{"partition":2}}}}"#,
        ]);
        assert_eq!(kubectl.ok("get sts web -o jsonpath={.spec.updateStrategy.rollingUpdate.partition}"), "2");
    }
}

#[test]
fn manifests_come_out_of_dry_runs() {
    for binary in binaries() {
        let cluster = Cluster::whole();
        let kubectl = cluster.kubectl(&binary);
        let client = kubectl.ok("create deployment nginx --image=nginx --dry-run=client -o yaml");
        for line in ["kind: Deployment", "  replicas: 1", "      - image: nginx", "        resources: {}"] {
            assert!(client.lines().any(|it| it == line), "{line:?} missing in {client}");
        }
        let server = kubectl.json("create deployment nginx --image=nginx --dry-run=server");
        assert_eq!(server["spec"]["progressDeadlineSeconds"], 600, "the server fills in defaults");
        assert!(kubectl.fails("get deployment nginx").contains("not found"), "and keeps nothing");

        kubectl.ok("create deployment nginx --image=nginx");
        let service = kubectl.ok("expose deployment nginx --port=80 --dry-run=client -o yaml");
        assert!(service.contains("targetPort: 80") && service.contains("app: nginx"), "{service}");
        let config =
            kubectl.ok("create configmap my-config --from-literal=key1=value1 --dry-run=client -o yaml");
        assert!(config.contains("key1: value1"), "{config}");

        let secret = "create secret docker-registry regcred --docker-server=registry.example --docker-username=a --docker-password=b --docker-email=a@example.com";
        assert_eq!(kubectl.ok(secret).trim(), "secret/regcred created");
        assert_eq!(
            rows(&kubectl.ok("get secret regcred"))[0][..3],
            ["regcred", "kubernetes.io/dockerconfigjson", "1"]
        );
        assert!(
            kubectl
                .ok("autoscale deployment nginx --cpu-percent=50 --min=2 --max=10")
                .contains("horizontalpodautoscaler.autoscaling/nginx autoscaled")
        );
        assert_eq!(rows(&kubectl.ok("get hpa nginx"))[0][1], "Deployment/nginx");
        assert_eq!(
            kubectl.ok("get horizontalpodautoscalers.v1.autoscaling nginx -o jsonpath={.spec.targetCPUUtilizationPercentage}"),
            "50"
        );
        let metric = "get horizontalpodautoscalers.v2.autoscaling nginx -o jsonpath={.spec.metrics[0].resource.target.averageUtilization}";
        assert_eq!(kubectl.ok(metric), "50");
    }
}

/// As the document prints it.
#[test]
fn fields_are_explained() {
    for binary in binaries() {
        let cluster = Cluster::whole();
        let kubectl = cluster.kubectl(&binary);
        // Older clients read the v2 document, which has no schemas.
        if kubectl.ok("version --client -o json").contains("\"minor\": \"20\"") {
            continue;
        }
        let strategy = kubectl.ok("explain deployment.spec.strategy");
        for line in [
            "FIELD: strategy <DeploymentStrategy>",
            "    The deployment strategy to use to replace existing pods with new ones.",
            "    DeploymentStrategy describes how to replace existing pods with new ones.",
            "  rollingUpdate\t<RollingUpdateDeployment>",
            "  enum: Recreate, RollingUpdate",
            "    Possible enum values:",
            "     - `\"Recreate\"` Kill all existing pods before creating new ones.",
        ] {
            assert!(strategy.lines().any(|it| it == line), "{line:?} missing in {strategy}");
        }
        let rolling = kubectl.ok("explain deployment.spec.strategy.rollingUpdate");
        assert!(rolling.contains("  maxSurge\t<IntOrString>"), "{rolling}");
        for kind in
            ["pod", "sts", "svc", "pv", "pvc", "hpa", "job", "ingress", "volumesnapshot", "endpointslice"]
        {
            assert!(kubectl.ok(&format!("explain {kind} --recursive")).contains("metadata"), "{kind}");
        }
    }
}

#[test]
fn evictions_ask_the_budget() {
    for binary in binaries().into_iter().rev().take(1) {
        let cluster = Cluster::whole();
        let kubectl = cluster.kubectl(&binary);
        kubectl.ok(&format!("apply -f {}", path("headless-service")));
        kubectl.ok(&format!("apply -f {}", path("web")));
        kubectl.ok("rollout status sts/web --timeout=60s");
        kubectl.ok("create pdb web --selector=app=nginx --min-available=3");
        let said = kubectl.fails("drain sim-0 --ignore-daemonsets --timeout=1s");
        assert!(said.contains("violate the pod's disruption budget"), "{said}");
        assert_eq!(kubectl.ok("get pods -l app=nginx -o name").lines().count(), 3);
    }
}

#[test]
fn kinds_that_are_only_stored() {
    for binary in binaries() {
        let cluster = Cluster::whole();
        let kubectl = cluster.kubectl(&binary);
        let file = fixture("stored/all.yaml").display().to_string();
        let created = kubectl.ok(&format!("apply -f {file}"));
        assert_eq!(created.lines().filter(|it| it.ends_with(" created")).count(), 10, "{created}");
        let again = kubectl.ok(&format!("apply -f {file}"));
        // kubectl 1.20 does not know batch/v1 CronJob and merges it without keys.
        let changed = again.lines().filter(|it| !it.ends_with(" unchanged"));
        assert!(changed.clone().all(|it| it.starts_with("cronjob")), "{again}");
        let job = kubectl.json("get job report");
        assert_eq!(job["spec"]["backoffLimit"], 6);
        let uid = job["metadata"]["uid"].as_str().expect("a uid");
        let selector = &job["spec"]["selector"]["matchLabels"]["batch.kubernetes.io/controller-uid"];
        assert_eq!(selector, uid);
        assert_eq!(rows(&kubectl.ok("get cronjob nightly"))[0][1..4], ["0 3 * * *", "<none>", "False"]);
        assert_eq!(rows(&kubectl.ok("get ingress shop"))[0][..3], ["shop", "<none>", "shop.example"]);
        assert_eq!(rows(&kubectl.ok("get netpol closed"))[0][..2], ["closed", "app=db"]);
        assert_eq!(rows(&kubectl.ok("get rolebinding readers"))[0][..2], ["readers", "Role/reader"]);
        if real::assets().is_none() {
            assert!(kubectl.ok("get apiservice v1beta1.metrics.k8s.io").contains("True"));
        }
        assert!(kubectl.ok("get clusterrole,clusterrolebinding").contains("system:reader"));
        kubectl.ok(&format!("delete -f {file}"));
    }
}
