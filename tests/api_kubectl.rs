//! Stock kubectl, old and new, against the embedded API server: the verbs a person uses, and what they print
//! when the input is wrong.

#[path = "common/cluster.rs"]
mod cluster;
mod common;

use cluster::{Cluster, binaries, real};
use common::{Kubectl, fixture, rows, wait_until};

fn each_kubectl(check: impl Fn(&Kubectl)) {
    for binary in binaries() {
        println!("kubectl: {}", binary.display());
        let cluster = Cluster::whole();
        check(&cluster.kubectl(&binary));
    }
}

#[test]
fn create_read_change_and_delete() {
    each_kubectl(|kubectl| {
        let file = fixture("verbs/config.yaml");
        let file = file.display();
        assert_eq!(kubectl.ok(&format!("create -f {file}")).trim(), "configmap/settings created");
        assert!(
            kubectl.fails(&format!("create -f {file}")).contains("configmaps \"settings\" already exists")
        );
        assert_eq!(rows(&kubectl.ok("get cm settings"))[0][..2], ["settings", "2"]);
        assert_eq!(kubectl.ok("get cm settings -o name").trim(), "configmap/settings");
        assert!(kubectl.ok("get cm settings -o yaml").contains("colour: blue"));

        assert_eq!(kubectl.ok("label cm settings tier=front").trim(), "configmap/settings labeled");
        assert_eq!(kubectl.ok("get cm -l tier=front,tier!=back -o name").trim(), "configmap/settings");
        assert_eq!(kubectl.ok("get cm -l tier=back -o name").trim(), "");
        assert_eq!(
            kubectl.ok("get cm --field-selector metadata.name=settings -o name").trim(),
            "configmap/settings"
        );
        assert!(kubectl.ok("get cm settings --show-labels").contains("tier=front"));
        assert_eq!(kubectl.ok("annotate cm settings owner=me").trim(), "configmap/settings annotated");
        assert_eq!(kubectl.ok("label cm settings tier-").lines().count(), 1);

        for (kind, patch, colour) in [
            ("merge", r#"{"data":{"colour":"red"}}"#, "red"),
            ("strategic", r#"{"data":{"colour":"green"}}"#, "green"),
            ("json", r#"[{"op":"replace","path":"/data/colour","value":"black"}]"#, "black"),
        ] {
            let printed = kubectl.ok_args(&["patch", "cm", "settings", "--type", kind, "-p", patch]);
            assert_eq!(printed.trim(), "configmap/settings patched", "{kind}");
            assert_eq!(kubectl.ok("get cm settings -o jsonpath={.data.colour}"), colour, "{kind}");
        }
        let same = kubectl.ok_args(&["patch", "cm", "settings", "-p", r#"{"data":{"colour":"black"}}"#]);
        assert_eq!(same.trim(), "configmap/settings patched (no change)");

        let mut edit = kubectl.command("edit cm settings");
        let edited = edit.env("KUBE_EDITOR", "sed -i s/black/white/").output().expect("kubectl runs");
        assert!(edited.status.success(), "{}", String::from_utf8_lossy(&edited.stderr));
        assert_eq!(kubectl.ok("get cm settings -o jsonpath={.data.colour}"), "white");

        assert_eq!(kubectl.ok(&format!("replace -f {file}")).trim(), "configmap/settings replaced");
        assert_eq!(kubectl.ok("get cm settings -o jsonpath={.data.colour}"), "blue");
        assert!(kubectl.ok("delete cm settings").contains("\"settings\" deleted"));
        assert!(kubectl.fails("get cm settings").contains("configmaps \"settings\" not found"));
    });
}

#[test]
fn apply_client_side_and_server_side() {
    each_kubectl(|kubectl| {
        let file = fixture("verbs/set.yaml");
        let apply = format!("apply -f {}", file.display());
        let created = kubectl.ok(&apply);
        assert_eq!(
            created.lines().collect::<Vec<_>>(),
            ["service/nginx created", "statefulset.apps/web created"]
        );
        let again = kubectl.ok(&apply);
        assert_eq!(
            again.lines().collect::<Vec<_>>(),
            ["service/nginx unchanged", "statefulset.apps/web unchanged"]
        );

        // A list item that leaves the manifest leaves the object, one that somebody else added stays.
        kubectl.ok_args(&[
            "patch", "sts", "web", "-p",
            r#"{"spec":{"template":{"spec":{"containers":[{"name":"nginx","env":[{"name":"C","value":"3"}]}]}}}}"#,
        ]);
        let text = std::fs::read_to_string(&file)
            .expect("readable")
            .replace("        - name: B\n          value: \"2\"\n", "");
        let directory = tempfile::tempdir().expect("a temporary directory");
        let changed = directory.path().join("set.yaml");
        std::fs::write(&changed, text).expect("written");
        assert!(
            kubectl
                .ok(&format!("apply -f {}", changed.display()))
                .contains("statefulset.apps/web configured")
        );
        let names = kubectl.ok("get sts web -o jsonpath={.spec.template.spec.containers[0].env[*].name}");
        let mut names: Vec<_> = names.split(' ').collect();
        names.sort_unstable();
        assert_eq!(names, ["A", "C"]);

        let config = fixture("verbs/config.yaml");
        let server_side = format!("apply --server-side -f {}", config.display());
        assert_eq!(kubectl.ok(&server_side).trim(), "configmap/settings serverside-applied");
        assert_eq!(kubectl.ok(&server_side).trim(), "configmap/settings serverside-applied");
        let smaller = directory.path().join("config.yaml");
        std::fs::write(
            &smaller,
            "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: settings\ndata:\n  colour: red\n",
        )
        .expect("written");
        let conflict =
            kubectl.fails(&format!("apply --server-side --field-manager=other -f {}", smaller.display()));
        assert!(
            conflict.contains("conflict with \"kubectl\"") && conflict.contains(".data.colour"),
            "{conflict}"
        );
        kubectl.ok(&format!("apply --server-side -f {}", smaller.display()));
        assert_eq!(kubectl.ok("get cm settings -o jsonpath={.data}"), r#"{"colour":"red"}"#);
        assert!(
            kubectl.ok(&format!("delete -f {}", file.display())).contains("statefulset.apps \"web\" deleted")
        );
        wait_until("the pods to be collected", || kubectl.ok("get pods -o name").is_empty());
    });
}

#[test]
fn describe_wait_and_get_all() {
    each_kubectl(|kubectl| {
        kubectl.ok(&format!("apply -f {}", fixture("verbs/set.yaml").display()));
        kubectl.ok("rollout status sts/web --timeout=60s");
        assert!(
            kubectl
                .ok("wait --for=condition=Ready pod/web-0 --timeout=60s")
                .contains("pod/web-0 condition met")
        );
        let all = kubectl.ok("get all");
        for name in ["pod/web-0", "service/nginx", "service/kubernetes", "statefulset.apps/web"] {
            assert!(all.contains(name), "{name} missing in {all}");
        }
        let set = kubectl.ok("describe sts web");
        for line in [
            "Replicas: 1 desired | 1 total",
            "Pods Status: 1 Running / 0 Waiting / 0 Succeeded / 0 Failed",
            "SuccessfulCreate",
        ] {
            assert!(squeezed(&set).contains(line), "{line:?} missing in {set}");
        }
        let pod = kubectl.ok("describe pod web-0");
        for line in
            ["Controlled By: StatefulSet/web", "Status: Running", "Scheduled", "Started container nginx"]
        {
            assert!(squeezed(&pod).contains(line), "{line:?} missing in {pod}");
        }
        assert!(kubectl.ok("describe svc nginx").contains("Selector:"));
        assert!(kubectl.ok("get endpointslices -o wide").contains("nginx-"));
        assert!(kubectl.ok("get nodes -o wide").contains("Ready"));
        assert!(kubectl.ok("describe node").contains("sim-0"));
        assert!(kubectl.ok("get pods -A -o wide --sort-by=.metadata.name").contains("web-0"));
        assert!(kubectl.ok("get ns").contains("kube-node-lease"));
        assert!(kubectl.ok("get sc").contains("standard (default)"));
        let version = if real::assets().is_some() { "Server Version: v1." } else { "v1.37" };
        assert!(squeezed(&kubectl.ok("version")).contains(version));
        assert!(kubectl.ok("api-resources").contains("statefulsets"));
        assert!(kubectl.ok("cluster-info").contains("running at"));
    });
}

/// Text with single spaces: kubectl versions align differently.
fn squeezed(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn namespaces_take_everything_along() {
    each_kubectl(|kubectl| {
        let file = fixture("walkthrough");
        kubectl.ok("create ns demo");
        kubectl.ok(&format!("create -f {}", file.display()));
        kubectl.ok("rollout status sts/web-demo -n demo --timeout=60s");
        assert!(kubectl.ok("delete ns demo --timeout=60s").contains("namespace \"demo\" deleted"));
        assert!(kubectl.fails("get ns demo").contains("namespaces \"demo\" not found"));
        assert_eq!(kubectl.ok("get pods,sts,svc,endpointslices -n demo -o name"), "");
        assert!(kubectl.fails("delete ns default").contains("this namespace may not be deleted"));
    });
}

#[test]
fn what_the_server_refuses_is_one_clear_line() {
    each_kubectl(|kubectl| {
        for (file, wants) in [
            (
                "invalid/negative-replicas.yaml",
                &[
                    "The StatefulSet \"web\" is invalid",
                    "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
                ][..],
            ),
            ("invalid/no-selector.yaml", &["spec.selector: Required value"]),
            (
                "invalid/wrong-type.yaml",
                &["StatefulSet in version \"v1\" cannot be handled as a StatefulSet"],
            ),
        ] {
            let path = fixture(file);
            let said = kubectl.fails(&format!("apply --validate=false -f {}", path.display()));
            for want in wants {
                assert!(said.contains(want), "{file}: {want:?} missing in {said}");
            }
        }
        kubectl.ok(&format!("apply -f {}", fixture("verbs/set.yaml").display()));
        let said = kubectl.fails_args(&["patch", "sts", "web", "-p", r#"{"spec":{"serviceName":"other"}}"#]);
        assert!(said.contains("updates to statefulset spec for fields other than 'replicas'"), "{said}");
        assert!(
            kubectl.fails("scale sts nope --replicas=2").contains("statefulsets.apps \"nope\" not found")
        );
        assert!(
            kubectl
                .fails("get pods --field-selector=spec.colour=red")
                .contains("field label not supported: spec.colour")
        );
        if real::assets().is_none() {
            assert!(kubectl.fails("logs web-0").contains("not supported by this server"));
        }
    });
}
