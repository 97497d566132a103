//! What the user's documents about workloads print without changing anything: `explain`, dry runs, help. Word for word,
//! with every kubectl version for which the document's text can be right.

mod common;

use std::path::Path;

use common::{Kubectl, Ordinal, fixture, kubectls, wait_for};

/// The minor version of a client.
fn minor(kubectl: &Kubectl) -> u32 {
    let version = kubectl.json("version --client");
    // Distributions write `32+`.
    let minor = version["clientVersion"]["minor"].as_str().map(|it| it.trim_end_matches('+'));
    minor.and_then(|it| it.parse().ok()).expect("a minor version")
}

/// Lines without what documents lose: blank lines, and how wide a gap is.
fn lines(text: &str) -> Vec<String> {
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    text.lines().map(words).filter(|it| !it.is_empty()).collect()
}

fn printed(name: &str) -> String {
    std::fs::read_to_string(fixture("workloads/printed").join(name)).expect("the fixture")
}

/// Clients from 1.27 on explain from the OpenAPI v3 document, as the user's did.
#[test]
fn fields_are_explained_as_printed() {
    for binary in kubectls() {
        let ordinal = Ordinal::up_fast(&[]);
        let kubectl = ordinal.kubectl(&binary);
        if minor(&kubectl) < 27 {
            println!("SKIPPED: {} prints explanations in another form", binary.display());
            continue;
        }
        for (field, file) in [
            ("deployment.spec.strategy", "explain-strategy.txt"),
            ("deployment.spec.strategy.rollingUpdate", "explain-rolling-update.txt"),
        ] {
            assert_eq!(lines(&kubectl.ok(&format!("explain {field}"))), lines(&printed(file)), "{field}");
        }
        // Every field that the documents' manifests of workloads name.
        for (field, kind) in [
            ("rc.spec.selector", "map[string]string"),
            ("rs.spec.selector", "LabelSelector"),
            ("rs.spec.selector.matchExpressions", "[]LabelSelectorRequirement"),
            ("deployment.spec.template", "PodTemplateSpec"),
            ("deployment.spec.template.spec.containers.image", "string"),
            ("deployment.spec.revisionHistoryLimit", "integer"),
            ("sts.spec.serviceName", "string"),
            ("sts.spec.updateStrategy.rollingUpdate.partition", "integer"),
            ("sts.spec.volumeClaimTemplates", "[]PersistentVolumeClaim"),
            ("svc.spec.clusterIP", "string"),
            ("hpa.spec.scaleTargetRef", "CrossVersionObjectReference"),
            ("hpa.spec.metrics", "[]MetricSpec"),
            ("cm.data", "map[string]string"),
            ("secret.stringData", "map[string]string"),
        ] {
            let said = kubectl.ok(&format!("explain {field}"));
            let name = field.rsplit('.').next().unwrap_or_default();
            assert!(
                lines(&said).iter().any(|it| it.starts_with(&format!("FIELD: {name} <{kind}>"))),
                "{said}"
            );
        }
    }
}

/// `--dry-run=client` is the document's YAML and the line `strategy: {}`, which every client prints; from 1.34 on they leave
/// out empty times. `--dry-run=server` is what the server would store, and stores nothing.
#[test]
fn dry_runs_print_the_manifest() {
    for binary in kubectls() {
        let ordinal = Ordinal::up_fast(&[]);
        let kubectl = ordinal.kubectl(&binary);
        let no_times = minor(&kubectl) >= 34;
        let client = kubectl.ok("create deployment nginx --image=nginx --dry-run=client -o yaml");
        let document =
            std::fs::read_to_string(fixture("documents/dry-run-deployment.yaml")).expect("the fixture");
        let want: Vec<_> =
            document.lines().filter(|it| !(no_times && it.contains("creationTimestamp: null"))).collect();
        let got: Vec<_> = client.lines().filter(|it| *it != "  strategy: {}").collect();
        assert_eq!(got, want, "{}", binary.display());

        let server = kubectl.ok("create deployment nginx --image=nginx --dry-run=server -o yaml");
        for line in [
            "    type: RollingUpdate",
            "      maxSurge: 25%",
            "  progressDeadlineSeconds: 600",
            "  revisionHistoryLimit: 10",
            "      terminationGracePeriodSeconds: 30",
        ] {
            assert!(server.lines().any(|it| it == line), "{line:?} missing in {server}");
        }
        assert_eq!(
            kubectl.ok("create deployment nginx --image=nginx --dry-run=server"),
            "deployment.apps/nginx created (server dry run)\n"
        );
        assert!(kubectl.fails("get deployment nginx").contains("\"nginx\" not found"));

        // What was saved to a file is a manifest.
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("nginx-deployment.yaml");
        std::fs::write(&file, &client).expect("written");
        assert_eq!(kubectl.ok(&format!("apply -f {}", file.display())), "deployment.apps/nginx created\n");
        wait_for("its pod", || {
            let text = kubectl.ok("get deployment nginx");
            if text.contains("1/1") { Ok(()) } else { Err(text) }
        });
        let service = kubectl.ok("expose deployment nginx --port=80 --dry-run=client -o yaml");
        for line in ["kind: Service", "  - port: 80", "    targetPort: 80", "    app: nginx"] {
            assert!(service.lines().any(|it| it == line), "{line:?} missing in {service}");
        }
        let config =
            kubectl.ok("create configmap my-config --from-literal=key1=value1 --dry-run=client -o yaml");
        let config: Vec<_> = config.lines().filter(|it| !it.contains("creationTimestamp")).collect();
        let want = [
            "apiVersion: v1",
            "data:",
            "  key1: value1",
            "kind: ConfigMap",
            "metadata:",
            "  name: my-config",
        ];
        assert_eq!(config, want);
        assert!(kubectl.fails("get configmap my-config").contains("not found"));
    }
}

/// Help does not depend on the server; that these subcommands exist in every client is what the documents rely on.
#[test]
fn help_names_what_the_documents_use() {
    for binary in kubectls() {
        let kubectl = Kubectl::new(&binary, Path::new("/nonexistent"));
        for (line, wants) in [
            ("rollout -h", &["history", "pause", "restart", "resume", "status", "undo"][..]),
            ("scale -h", &["--current-replicas", "--replicas", "--resource-version", "--timeout"]),
            ("rollout undo -h", &["--to-revision", "--dry-run"]),
            ("create secret -h", &["docker-registry", "generic", "tls"]),
        ] {
            let said = kubectl.ok(line);
            for want in wants {
                assert!(said.contains(want), "{line}: {want} missing in {said}");
            }
        }
    }
}
