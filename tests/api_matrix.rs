//! Every verb of kubectl, from 1.20 to 1.37, against one `ordinal up` per version: what a verb prints and what it leaves behind.
//!
//! `ORDINAL_TEST_KUBECTL` lists the binaries; docs/API.md says which versions this was run with.

mod common;

use std::path::Path;

use common::{Kubectl, Ordinal, finish, fixture, kubectls, wait_for};

/// One command line, what it has to print (on stdout or stderr), and the first version that knows it.
type Line = (&'static str, &'static [&'static str], u32);

/// What a line that must fail starts with.
const FAILS: char = '!';

/// In this order: a line may use what an earlier one made. `SET` and `CONFIG` are manifests.
#[rustfmt::skip]
const LINES: &[Line] = &[
    // Making things, with the generators whose bodies are protobuf from 1.32 on.
    ("create namespace demo", &["namespace/demo created"], 0),
    ("create configmap c --from-literal=a=b", &["configmap/c created"], 0),
    ("create secret generic s --from-literal=a=b", &["secret/s created"], 0),
    ("create serviceaccount robot", &["serviceaccount/robot created"], 0),
    ("create deployment d --image=nginx:1 --replicas=2 --port=80", &["deployment.apps/d created"], 0),
    ("create service clusterip cip --tcp=80:8080", &["service/cip created"], 0),
    ("create service nodeport np --tcp=80", &["service/np created"], 0),
    ("create service externalname en --external-name=example.com", &["service/en created"], 0),
    ("create job once --image=busybox -- true", &["job.batch/once created"], 0),
    ("create cronjob often --image=busybox --schedule=@hourly -- true", &["cronjob.batch/often created"], 21),
    ("create role reader --verb=get --resource=pods", &["role.rbac.authorization.k8s.io/reader created"], 0),
    ("create rolebinding reader --role=reader --serviceaccount=default:robot", &["rolebinding.rbac.authorization.k8s.io/reader created"], 0),
    ("create clusterrole reader --verb=get --resource=nodes", &["clusterrole.rbac.authorization.k8s.io/reader created"], 0),
    ("create clusterrolebinding reader --clusterrole=reader --user=me", &["clusterrolebinding.rbac.authorization.k8s.io/reader created"], 0),
    ("create ingress web --rule=example.com/=cip:80", &["ingress.networking.k8s.io/web created"], 20),
    ("create token robot", &["-"], 24),
    ("create poddisruptionbudget budget --selector=app=d --min-available=1", &["poddisruptionbudget.policy/budget created"], 27),
    ("create deployment x --image=i --dry-run=client -o yaml", &["kind: Deployment"], 0),
    ("create deployment x --image=i --dry-run=server -o yaml", &["uid:", "kind: Deployment"], 0),
    ("run p --image=nginx --port=80 --labels=app=p", &["pod/p created"], 0),
    ("expose pod p --name=exposed --port=80", &["service/exposed exposed"], 0),
    ("expose deployment d --port=80 --type=NodePort", &["service/d exposed"], 0),
    ("create -f CONFIG", &["configmap/settings created"], 0),
    ("!create -f CONFIG", &["configmaps \"settings\" already exists"], 0),
    ("apply -f SET", &["service/nginx created", "statefulset.apps/web created"], 0),
    ("apply -f SET", &["service/nginx unchanged", "statefulset.apps/web unchanged"], 0),
    ("diff -f SET", &[], 0),
    ("apply --dry-run=server -f SET", &["(server dry run)"], 0),
    ("apply view-last-applied sts/web", &["kind: StatefulSet"], 0),
    ("apply set-last-applied -f SET", &["configured"], 0),
    // Waiting and reading.
    ("rollout status sts/web --timeout=60s", &["roll out complete"], 0),
    ("rollout status deploy/d --timeout=60s", &["deployment \"d\" successfully rolled out"], 0),
    ("wait --for=condition=Ready pod/web-0 --timeout=60s", &["pod/web-0 condition met"], 0),
    ("wait --for=jsonpath={.status.phase}=Running pod/p --timeout=60s", &["pod/p condition met"], 23),
    ("get pods", &["NAME", "READY", "STATUS", "RESTARTS", "AGE", "web-0", "1/1", "Running"], 0),
    ("get pods -o wide", &["IP", "NODE", "NOMINATED NODE", "READINESS GATES", "sim-0"], 0),
    ("get sts web", &["NAME", "READY", "AGE", "1/1"], 0),
    ("get sts -o wide", &["CONTAINERS", "IMAGES"], 0),
    ("get deploy", &["UP-TO-DATE", "AVAILABLE", "2/2"], 0),
    ("get deploy -o wide", &["CONTAINERS", "IMAGES", "SELECTOR", "app=d"], 0),
    ("get rs", &["DESIRED", "CURRENT", "READY"], 0),
    ("get svc -o wide", &["CLUSTER-IP", "EXTERNAL-IP", "PORT(S)", "SELECTOR", "example.com"], 0),
    ("get endpointslices", &["ADDRESSTYPE", "PORTS", "ENDPOINTS"], 0),
    ("get ns", &["NAME", "STATUS", "AGE", "Active"], 0),
    ("get nodes -o wide", &["INTERNAL-IP", "OS-IMAGE", "KERNEL-VERSION", "CONTAINER-RUNTIME"], 0),
    ("get cm,secret,sa", &["configmap/c", "secret/s", "serviceaccount/robot"], 0),
    ("get jobs,cronjobs", &["job.batch/once"], 0),
    ("get roles,rolebindings", &["role.rbac.authorization.k8s.io/reader"], 0),
    ("get sc", &["standard (default)", "PROVISIONER"], 0),
    ("get all", &["pod/web-0", "service/nginx", "deployment.apps/d", "statefulset.apps/web"], 0),
    ("get all -A", &["NAMESPACE"], 0),
    ("get pods -l app=p --show-labels", &["app=p"], 0),
    ("get pods -L app", &["APP"], 0),
    ("get pods --field-selector=status.phase=Running,metadata.name=p -o name", &["pod/p"], 0),
    ("get pods --sort-by=.metadata.name -o name", &["pod/p"], 0),
    ("get pods --chunk-size=1 -o name", &["pod/p", "pod/web-0"], 0),
    ("get pod p -o yaml", &["kind: Pod", "phase: Running"], 0),
    ("get pods -o json", &["\"kind\": \"List\""], 0),
    ("get pod p -o jsonpath={.spec.containers[0].image}", &["nginx"], 0),
    ("get pods -o custom-columns=N:.metadata.name,I:.spec.containers[0].image", &["N", "I", "nginx"], 0),
    ("get pod p -o go-template={{.metadata.name}}", &["p"], 0),
    ("get pod p -o yaml --show-managed-fields", &["manager: kubectl-run"], 21),
    // Older ones leave out the path of the server's URL.
    ("get --raw /healthz", &["ok"], 37),
    ("!get pod nope", &["pods \"nope\" not found"], 0),
    ("!get widgets", &["the server doesn't have a resource type \"widgets\""], 0),
    ("describe pod web-0", &["Controlled By:", "StatefulSet/web", "Events:"], 0),
    ("describe sts web", &["Replicas:", "1 desired | 1 total"], 0),
    ("describe deploy d", &["StrategyType:", "RollingUpdate", "NewReplicaSet:"], 0),
    ("describe svc nginx", &["Selector:", "Endpoints:"], 0),
    ("describe node sim-0", &["Capacity:", "Non-terminated Pods:"], 0),
    ("describe ns demo", &["Status:", "Active"], 0),
    ("describe cm c", &["Data", "a:"], 0),
    ("describe job once", &["Name:", "once"], 0),
    ("describe role reader", &["pods", "[get]"], 0),
    ("get events", &["LAST SEEN", "REASON", "OBJECT"], 0),
    ("events --for sts/web", &["SuccessfulCreate"], 27),
    ("top nodes", &["CPU"], 0),
    ("top pods", &["MEMORY"], 0),
    ("explain sts.spec.replicas", &["replicas", "integer"], 0),
    ("explain pods.spec.containers.env.valueFrom", &["configMapKeyRef", "secretKeyRef"], 0),
    ("explain deployment --recursive", &["maxSurge"], 0),
    ("explain jobs.spec.template.spec.volumes.persistentVolumeClaim", &["claimName"], 0),
    ("api-resources", &["statefulsets", "StatefulSet", "sts"], 0),
    ("api-resources --api-group=apps -o name", &["deployments.apps"], 0),
    ("api-versions", &["apps/v1", "v1"], 0),
    ("cluster-info", &["running at"], 0),
    ("version", &["v1.37"], 0),
    ("auth can-i create pods", &["yes"], 0),
    ("auth whoami", &["ATTRIBUTE"], 28),
    // Changing.
    ("label cm c x=y", &["configmap/c labeled"], 0),
    ("!label cm c x=z", &["overwrite"], 0),
    ("label cm c x-", &["configmap/c"], 0),
    ("annotate cm c note=hello", &["configmap/c annotated"], 0),
    ("patch cm c -p {\"data\":{\"a\":\"black\"}}", &["configmap/c patched"], 0),
    ("patch cm c --type=merge -p {\"data\":{\"e\":\"f\"}}", &["configmap/c patched"], 0),
    ("patch cm c --type=json -p [{\"op\":\"remove\",\"path\":\"/data/e\"}]", &["configmap/c patched"], 0),
    ("patch sts web --subresource=status --type=merge -p {\"status\":{\"collisionCount\":1}}", &["statefulset.apps/web patched"], 24),
    ("replace -f CONFIG", &["configmap/settings replaced"], 0),
    ("replace --force -f CONFIG", &["configmap/settings replaced"], 0),
    ("edit cm c", &["configmap/c edited"], 0),
    ("set image deploy/d nginx=nginx:2", &["deployment.apps/d image updated"], 0),
    ("set env deploy/d A=1", &["deployment.apps/d env updated"], 0),
    ("set env deploy/d A-", &["deployment.apps/d env updated"], 0),
    ("set resources deploy/d --requests=cpu=100m", &["deployment.apps/d resource requirements updated"], 0),
    ("set serviceaccount deploy/d robot", &["deployment.apps/d serviceaccount updated"], 0),
    ("set selector svc/exposed app=q", &["service/exposed selector updated"], 0),
    ("set subject rolebinding/reader --user=you", &["rolebinding.rbac.authorization.k8s.io/reader subjects updated"], 0),
    ("scale sts web --replicas=2", &["statefulset.apps/web scaled"], 0),
    ("scale deploy d --replicas=3 --current-replicas=2", &["deployment.apps/d scaled"], 0),
    ("!scale deploy d --replicas=3 --current-replicas=2", &["Expected replicas to be 2, was 3"], 0),
    ("autoscale deploy d --max=5 --cpu-percent=80", &["horizontalpodautoscaler.autoscaling/d autoscaled"], 0),
    ("get hpa", &["REFERENCE", "Deployment/d"], 0),
    ("describe hpa d", &["Deployment/d"], 0),
    ("rollout history deploy/d", &["REVISION", "CHANGE-CAUSE"], 0),
    ("rollout undo deploy/d", &["deployment.apps/d rolled back"], 0),
    ("rollout pause deploy/d", &["deployment.apps/d paused"], 0),
    ("rollout resume deploy/d", &["deployment.apps/d resumed"], 0),
    ("rollout restart sts/web", &["statefulset.apps/web restarted"], 0),
    ("rollout status sts/web --timeout=60s", &["roll out complete"], 0),
    ("rollout history sts/web", &["REVISION", "2"], 0),
    ("rollout undo sts/web --to-revision=1", &["statefulset.apps/web rolled back"], 0),
    ("rollout status sts/web --timeout=60s", &["roll out complete"], 0),
    ("apply --server-side -f CONFIG --force-conflicts", &["configmap/settings serverside-applied"], 0),
    ("!apply --server-side --field-manager=other -f CHANGED", &["conflict", ".data.colour"], 0),
    ("apply --server-side --field-manager=other --force-conflicts -f CHANGED", &["serverside-applied"], 0),
    ("!apply -f BROKEN", &["unknown field"], 0),
    ("apply --prune -l prune=me -f PRUNED", &["configmap/pruned created"], 27),
    // Nodes.
    ("cordon sim-0", &["node/sim-0 cordoned"], 0),
    ("uncordon sim-0", &["node/sim-0 uncordoned"], 0),
    ("taint nodes sim-0 k=v:NoSchedule", &["node/sim-0 tainted"], 0),
    ("taint nodes sim-0 k-", &["node/sim-0 untainted"], 0),
    ("delete pdb budget", &["\"budget\" deleted"], 27),
    ("drain sim-0 --ignore-daemonsets --force --timeout=60s", &["node/sim-0"], 0),
    ("uncordon sim-0", &["node/sim-0 uncordoned"], 0),
    // What no simulated pod can do.
    ("!logs web-0", &["not supported by this server"], 0),
    ("!exec web-0 -- true", &["supported"], 0),
    // Deleting.
    ("delete cm c", &["configmap \"c\" deleted"], 0),
    ("!delete cm c", &["configmaps \"c\" not found"], 0),
    ("delete cm c --ignore-not-found", &[], 0),
    ("delete secret -l nobody=here", &["No resources found"], 0),
    ("delete pod web-0 --now", &["pod \"web-0\" deleted"], 0),
    ("delete deploy d --cascade=foreground --timeout=60s", &["deployment.apps \"d\" deleted"], 20),
    ("delete job once --cascade=orphan", &["job.batch \"once\" deleted"], 20),
    ("delete -f SET --timeout=60s", &["statefulset.apps \"web\" deleted"], 0),
    ("wait --for=delete pod/web-0 --timeout=60s", &[], 27),
    ("delete ns demo --timeout=60s", &["namespace \"demo\" deleted"], 0),
];

const CHANGED: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: settings\ndata:\n  colour: red\n";
const BROKEN: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: settings\ndota:\n  colour: red\n";
const PRUNED: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: pruned\n  labels:\n    prune: me\n";

/// The minor version of a kubectl.
fn minor(kubectl: &Kubectl) -> u32 {
    let text = kubectl.ok("version --client -o json");
    let version: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let minor = version["clientVersion"]["minor"].as_str().expect("a minor version");
    minor.trim_end_matches('+').parse().expect("a number")
}

/// Runs all lines with one kubectl; (lines run, what went wrong).
fn run(binary: &Path) -> (u32, usize, Vec<String>) {
    let ordinal = Ordinal::up_fast(&[]);
    let kubectl = ordinal.kubectl(binary);
    let (minor, mut count, mut wrong) = (minor(&kubectl), 0, Vec::new());
    let folder = tempfile::tempdir().expect("a temporary directory");
    let written = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        path.display().to_string()
    };
    let files = [
        ("SET", fixture("verbs/set.yaml").display().to_string()),
        ("CONFIG", fixture("verbs/config.yaml").display().to_string()),
        ("CHANGED", written("changed.yaml", CHANGED)),
        ("BROKEN", written("broken.yaml", BROKEN)),
        ("PRUNED", written("pruned.yaml", PRUNED)),
    ];
    for (line, wants, since) in LINES {
        if minor < *since {
            continue;
        }
        count += 1;
        let fails = line.starts_with(FAILS);
        let args: Vec<String> = line
            .trim_start_matches(FAILS)
            .split(' ')
            .map(|word| {
                files.iter().find(|it| it.0 == word).map_or_else(|| word.to_owned(), |it| it.1.clone())
            })
            .collect();
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let mut command = kubectl.command_args(&args);
        command.env("KUBE_EDITOR", "sed -i s/black/white/");
        let mut output = finish(command);
        // The first samples come a while after the pods.
        if line.starts_with("top ") {
            output = wait_for("metrics", || {
                let output = finish(kubectl.command_args(&args));
                if output.status.success() { Ok(output) } else { Err(format!("{output:?}")) }
            });
        }
        let said =
            [output.stdout, output.stderr].map(|it| String::from_utf8_lossy(&it).into_owned()).concat();
        // 1.27 leaves out the end of the word.
        let said = if minor == 27 { said.replace("/c annotate\n", "/c annotated\n") } else { said };
        let missing: Vec<_> = wants.iter().filter(|it| **it != "-" && !said.contains(**it)).collect();
        if output.status.success() == fails || !missing.is_empty() {
            wrong.push(format!("1.{minor}: kubectl {line}: missing {missing:?} in:\n{said}"));
        }
    }
    (minor, count, wrong)
}

#[test]
fn every_verb_of_every_version() {
    let mut all = Vec::new();
    for binary in kubectls() {
        let (minor, count, wrong) = run(&binary);
        println!("kubectl 1.{minor}: {count} lines, {} wrong", wrong.len());
        all.extend(wrong);
    }
    assert!(all.is_empty(), "{} lines:\n{}", all.len(), all.join("\n"));
}
