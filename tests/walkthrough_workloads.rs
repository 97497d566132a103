//! The user's walk through Deployments, ReplicaSets and ReplicationControllers: every command of the documents about them,
//! as printed, with the real binary and every kubectl version.

mod common;

use std::process::Command;

use common::{
    DEADLINE, Kubectl, Ordinal, assert_in_order, fixture, kubectls, resolves, rows, wait_for, wait_until,
};

/// Runs a prepared command and returns stdout; panics with everything it said when it fails.
fn out(mut command: Command) -> String {
    let output = command.output().expect("it starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// NAME, and the columns that do not change with the time.
fn columns(kubectl: &Kubectl, line: &str, count: usize) -> Vec<Vec<String>> {
    rows(&kubectl.ok(line)).into_iter().map(|row| row.into_iter().take(count).collect()).collect()
}

fn ready_pods(kubectl: &Kubectl, selector: &str) -> Vec<String> {
    let all = rows(&kubectl.ok(&format!("get pod -l {selector}")));
    all.into_iter().filter(|row| row[1] == "1/1" && row[2] == "Running").map(|row| row[0].clone()).collect()
}

fn wait_available(kubectl: &Kubectl, deployment: &str, replicas: u32) {
    wait_for("the deployment to be available", || {
        let all = kubectl.ok(&format!("get deployment {deployment}"));
        let [ready, count] = [format!("{replicas}/{replicas}"), replicas.to_string()];
        let want = [deployment, &ready, &count, &count];
        if rows(&all).iter().any(|row| row[..4] == want) { Ok(()) } else { Err(all) }
    });
}

/// Document 004: names of Kubernetes 1.18, the roll from one version to the next.
#[test]
fn a_deployment_rolls_from_one_version_to_the_next() {
    let directory = tempfile::tempdir().expect("a directory");
    let config = directory.path().join("ordinal.yaml");
    std::fs::write(&config, "workloads:\n  templateHashRelease: \"1.18\"\n").expect("written");
    for binary in kubectls() {
        let ordinal = Ordinal::up(&[
            "--config",
            &config.display().to_string(),
            "--start-delay=300ms",
            "--ready-delay=0s",
            "--stop-delay=300ms",
        ]);
        let kubectl = ordinal.kubectl(&binary);
        let (v1, v2) = ("nginx-deployment-demo-5d65f98bd9", "nginx-deployment-demo-7594578db7");
        kubectl.ok("create ns demo");
        let demo = fixture("workloads/deploy-demo.yaml");
        assert_eq!(
            kubectl.ok(&format!("create -f {}", demo.display())),
            "deployment.apps/nginx-deployment-demo created\n"
        );
        wait_for("the set of the document", || {
            let text = kubectl.ok("get rs -n demo");
            let row: Vec<_> = rows(&text).into_iter().flatten().take(4).collect();
            if row == [v1, "3", "3", "3"] { Ok(()) } else { Err(text) }
        });
        let text = kubectl.ok("get rs -n demo");
        assert!(
            text.starts_with("NAME                               DESIRED   CURRENT   READY   AGE\n"),
            "{text}"
        );
        let before = columns(&kubectl, "get pod -n demo -l app=nginx,version=v1", 4);
        assert_eq!(before.len(), 3);
        for row in &before {
            assert!(row[0].starts_with(&format!("{v1}-")) && row[0].len() == v1.len() + 6, "{row:?}");
            assert_eq!(row[1..], ["1/1", "Running", "0"]);
        }

        let watched = kubectl.start("get pod -n demo -l app=nginx -w");
        watched.wait_for_line("the list", |line| line.contains(v1));
        let v2_file = fixture("workloads/deploy-demo-v2.yaml");
        assert_eq!(
            kubectl.ok(&format!("apply -f {}", v2_file.display())),
            "deployment.apps/nginx-deployment-demo configured\n"
        );
        wait_for("the end of the roll", || {
            let got = columns(&kubectl, "get rs -n demo", 4);
            let want = [[v1, "0", "0", "0"], [v2, "3", "3", "3"]];
            if got == want { Ok(()) } else { Err(format!("{got:?}")) }
        });
        wait_for("the end of the old pods", || {
            let output =
                kubectl.command("get pod -n demo -l app=nginx,version=v1").output().expect("it runs");
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            if text == "No resources found in demo namespace.\n" { Ok(()) } else { Err(text) }
        });
        assert_eq!(columns(&kubectl, "get pod -n demo -l app=nginx,version=v2", 4).len(), 3);
        // One new pod per step, and never fewer than three ready: the first old pod goes when a new one runs.
        let text = watched.text();
        let running =
            text.find(&format!("{v2}-")).and_then(|at| text[at..].find("Running").map(|it| at + it));
        let terminating = text.find("Terminating");
        assert!(running < terminating, "{text}");

        let events = kubectl.ok("get event -n demo");
        for (set, from, to) in
            [(v1, 0, 3), (v2, 0, 1), (v1, 3, 2), (v2, 1, 2), (v1, 2, 1), (v2, 2, 3), (v1, 1, 0)]
        {
            let direction = if to > from { "up" } else { "down" };
            let message = format!("Scaled {direction} replica set {set} from {from} to {to}");
            assert!(events.contains(&message), "{message}: {events}");
        }
        assert!(events.contains(&format!("replicaset/{v1}")) && events.contains("Created pod: "), "{events}");

        // The same by hand, back to the first version.
        let mut edit = kubectl.command("edit deploy nginx-deployment-demo -n demo");
        edit.env("KUBE_EDITOR", "sed -i -e s/version:.v2/version:\\ v1/ -e s/nginx:1.19.2/nginx:1.14.2/");
        assert_eq!(out(edit), "deployment.apps/nginx-deployment-demo edited\n");
        wait_for("the way back", || {
            let got = columns(&kubectl, "get rs -n demo", 4);
            let want = [[v1, "3", "3", "3"], [v2, "0", "0", "0"]];
            if got == want { Ok(()) } else { Err(format!("{got:?}")) }
        });
    }
}

/// Document 002: create, get, set image, status, history, undo, scale, pause, resume, restart, delete.
#[test]
fn the_rollout_commands_do_what_they_say() {
    for binary in kubectls() {
        let ordinal = Ordinal::up(&["--start-delay=100ms", "--ready-delay=0s", "--stop-delay=100ms"]);
        let kubectl = ordinal.kubectl(&binary);
        let file = fixture("workloads/my-app-deployment.yaml");
        assert_eq!(
            kubectl.ok(&format!("apply -f {}", file.display())),
            "deployment.apps/my-app-deployment created\n"
        );
        wait_available(&kubectl, "my-app-deployment", 3);
        let text = kubectl.ok("get deployments");
        assert!(text.starts_with("NAME                READY   UP-TO-DATE   AVAILABLE   AGE\n"), "{text}");
        for pod in ready_pods(&kubectl, "app=my-app") {
            assert!(pod.starts_with("my-app-deployment-5f8bbc7f4b-"), "{pod}");
        }

        assert_eq!(
            kubectl.ok("set image deployment/my-app-deployment my-app-container=nginx:1.18"),
            "deployment.apps/my-app-deployment image updated\n"
        );
        let status = kubectl.ok("rollout status deployment/my-app-deployment");
        assert!(status.ends_with("deployment \"my-app-deployment\" successfully rolled out\n"), "{status}");
        for line in status.lines().filter(|it| it.starts_with("Waiting")) {
            let waits = [
                "out of 3 new replicas",
                "old replicas are pending",
                "updated replicas are available",
                "to be observed",
            ];
            assert!(waits.iter().any(|it| line.contains(it)), "{line}");
        }
        assert_eq!(
            kubectl.ok("rollout history deployment/my-app-deployment"),
            "deployment.apps/my-app-deployment \nREVISION  CHANGE-CAUSE\n1         <none>\n2         <none>\n\n"
        );
        let second = kubectl.ok("rollout history deployment/my-app-deployment --revision=2");
        assert_in_order(
            &second,
            &["with revision #2", "Pod Template:", "app=my-app", "pod-template-hash=", "nginx:1.18"],
        );

        assert_eq!(
            kubectl.ok("scale deployment my-app-deployment --replicas=5"),
            "deployment.apps/my-app-deployment scaled\n"
        );
        wait_available(&kubectl, "my-app-deployment", 5);
        let refused = kubectl.fails("scale deployment my-app-deployment --current-replicas=2 --replicas=3");
        assert!(refused.contains("Expected replicas to be 2, was 5"), "{refused}");

        assert_eq!(
            kubectl.ok("rollout undo deployment my-app-deployment"),
            "deployment.apps/my-app-deployment rolled back\n"
        );
        kubectl.ok("rollout status deployment/my-app-deployment");
        assert_eq!(
            kubectl.ok("rollout history deployment/my-app-deployment"),
            "deployment.apps/my-app-deployment \nREVISION  CHANGE-CAUSE\n2         <none>\n3         <none>\n\n"
        );
        assert_eq!(
            kubectl.json("get deployment my-app-deployment")["spec"]["template"]["spec"]["containers"][0]["image"],
            "nginx:1.17"
        );
        let unknown = kubectl.fails("rollout undo deployment my-app-deployment --to-revision=9");
        assert!(unknown.contains("unable to find specified revision 9 in history"), "{unknown}");
        let same = kubectl.ok("rollout undo deployment my-app-deployment --to-revision=3");
        assert!(same.contains("skipped rollback (current template already matches revision 3)"), "{same}");
        assert_eq!(
            kubectl.ok("rollout undo deployment my-app-deployment --to-revision=2"),
            "deployment.apps/my-app-deployment rolled back\n"
        );
        kubectl.ok("rollout status deployment/my-app-deployment");

        assert_eq!(
            kubectl.ok("rollout restart deployment my-app-deployment"),
            "deployment.apps/my-app-deployment restarted\n"
        );
        kubectl.ok("rollout status deployment/my-app-deployment");
        assert_eq!(rows(&kubectl.ok("get rs")).len(), 3, "two versions, one of them restarted");
        let described = kubectl.ok("describe deploy my-app-deployment");
        for want in [
            "5 desired | 5 updated | 5 total | 5 available | 0 unavailable",
            "NewReplicaSetAvailable",
            "MinimumReplicasAvailable",
            "(5/5 replicas created)",
            "ScalingReplicaSet",
        ] {
            assert!(described.contains(want), "{want}: {described}");
        }
        kubectl.ok("rollout pause deployment my-app-deployment");
        let paused = kubectl.fails("rollout undo deployment my-app-deployment");
        assert!(paused.contains("you cannot rollback a paused deployment"), "{paused}");
        kubectl.ok("rollout resume deployment my-app-deployment");
        let deleted = kubectl.ok("delete deployment my-app-deployment");
        assert!(deleted.starts_with("deployment.apps \"my-app-deployment\" deleted"), "{deleted}");
        wait_until("everything under it to go", || {
            rows(&kubectl.ok("get rs")).is_empty() && rows(&kubectl.ok("get pod")).is_empty()
        });
    }
}

/// Document 002, section 7.
#[test]
fn a_paused_rollout_waits_until_it_is_resumed() {
    for binary in kubectls() {
        let ordinal = Ordinal::up(&["--start-delay=50ms", "--ready-delay=0s", "--stop-delay=50ms"]);
        let kubectl = ordinal.kubectl(&binary);
        assert_eq!(
            kubectl.ok("create deployment nginx --image=nginx:1.17"),
            "deployment.apps/nginx created\n"
        );
        wait_available(&kubectl, "nginx", 1);
        assert_eq!(kubectl.ok("rollout pause deployment/nginx"), "deployment.apps/nginx paused\n");
        let again = kubectl.fails("rollout pause deployment/nginx");
        assert!(again.contains("deployments.apps \"nginx\" is already paused"), "{again}");
        assert_eq!(
            kubectl.ok("set image deployment/nginx nginx=nginx:1.18"),
            "deployment.apps/nginx image updated\n"
        );
        wait_until("the pause to be noted", || {
            let it = kubectl.json("get deployment nginx");
            let paused = it["status"]["conditions"]
                .as_array()
                .into_iter()
                .flatten()
                .any(|it| it["reason"] == "DeploymentPaused");
            paused && it["status"]["observedGeneration"] == it["metadata"]["generation"]
        });
        let sets = columns(&kubectl, "get rs", 4);
        assert_eq!(sets, [["nginx-cfd458d8f", "1", "1", "1"]], "nothing rolls");
        let restart = kubectl.fails("rollout restart deployment/nginx");
        assert!(restart.contains("can't restart paused deployment"), "{restart}");
        assert_eq!(kubectl.ok("scale deployment nginx --replicas=2"), "deployment.apps/nginx scaled\n");
        wait_until("sizes follow while paused", || {
            columns(&kubectl, "get rs", 4) == [["nginx-cfd458d8f", "2", "2", "2"]]
        });
        assert_eq!(kubectl.ok("rollout resume deployment/nginx"), "deployment.apps/nginx resumed\n");
        let again = kubectl.fails("rollout resume deployment/nginx");
        assert!(again.contains("deployments.apps \"nginx\" is not paused"), "{again}");
        kubectl.ok("rollout status deployment/nginx");
        assert_eq!(
            columns(&kubectl, "get rs", 4),
            [["nginx-57b6db8b8b", "2", "2", "2"], ["nginx-cfd458d8f", "0", "0", "0"]]
        );
    }
}

/// Documents 002 and 004: sets without a Deployment.
#[test]
fn sets_keep_their_number_of_pods() {
    for binary in kubectls() {
        let ordinal = Ordinal::up(&["--start-delay=50ms", "--ready-delay=0s", "--stop-delay=500ms"]);
        let kubectl = ordinal.kubectl(&binary);
        for (file, created, kind, selector) in [
            ("nginx-rc.yaml", "replicationcontroller/nginx-rc", "rc", "app=nginx"),
            ("nginx-replicaset.yaml", "replicaset.apps/nginx-replicaset", "rs", "app=nginx-rs"),
        ] {
            let file = fixture("workloads").join(file);
            assert_eq!(kubectl.ok(&format!("apply -f {}", file.display())), format!("{created} created\n"));
            let name = created.rsplit('/').next().unwrap_or_default();
            wait_until("three pods", || {
                columns(&kubectl, &format!("get {kind}"), 4) == [[name, "3", "3", "3"]]
            });
            let text = kubectl.ok(&format!("get {kind}"));
            let header: Vec<_> = text.lines().next().unwrap_or_default().split_whitespace().collect();
            assert_eq!(header, ["NAME", "DESIRED", "CURRENT", "READY", "AGE"]);
            // A pod that is deleted is replaced; one that matches is adopted, and is one too many.
            let pods = ready_pods(&kubectl, selector);
            kubectl.ok(&format!("delete pod {}", pods[0]));
            wait_until("the deleted pod to be replaced", || {
                let now = ready_pods(&kubectl, selector);
                now.len() == 3 && !now.contains(&pods[0])
            });
            kubectl.ok(&format!("run extra-{kind} --image=nginx --labels={selector}"));
            wait_until("the extra pod to go", || {
                let now = ready_pods(&kubectl, selector);
                now.len() == 3 && !now.contains(&format!("extra-{kind}"))
            });
            // A pod whose label is taken away is let go, and replaced.
            let pods = ready_pods(&kubectl, selector);
            let key = selector.split('=').next().unwrap_or_default();
            kubectl.ok(&format!("label pod {} {key}=debug --overwrite", pods[0]));
            wait_until("the released pod to be replaced", || ready_pods(&kubectl, selector).len() == 3);
            let released = kubectl.json(&format!("get pod {}", pods[0]));
            assert!(released["metadata"]["ownerReferences"].is_null(), "{released}");
            kubectl.ok(&format!("delete pod {}", pods[0]));
            let scaled = kubectl.ok(&format!("scale {kind} {name} --replicas=1"));
            assert!(scaled.contains(" scaled") || scaled.contains('/'), "{scaled}");
            wait_until("one pod", || columns(&kubectl, &format!("get {kind}"), 4) == [[name, "1", "1", "1"]]);
            let described = kubectl.ok(&format!("describe {kind} {name}"));
            assert_in_order(&described, &["SuccessfulCreate", "Created pod: "]);
            assert!(described.contains("SuccessfulDelete"), "{described}");
            kubectl.ok(&format!("delete {kind} {name}"));
            wait_until("its pods to go", || rows(&kubectl.ok(&format!("get pod -l {selector}"))).is_empty());
        }
    }
}

/// Recreate: no new pod before the last old one is gone.
#[test]
fn recreate_never_mixes_versions() {
    for binary in kubectls() {
        let ordinal = Ordinal::up(&["--start-delay=50ms", "--ready-delay=0s", "--stop-delay=300ms"]);
        let kubectl = ordinal.kubectl(&binary);
        let manifest =
            std::fs::read_to_string(fixture("workloads/strategy-recreate.yaml")).expect("the fixture");
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("recreate.yaml");
        let whole =
            manifest.replace("  strategy:", "  selector:\n    matchLabels:\n      app: my-app\n  strategy:");
        std::fs::write(&file, whole).expect("written");
        kubectl.ok(&format!("apply -f {}", file.display()));
        wait_available(&kubectl, "my-app", 4);
        kubectl.ok("set image deployment/my-app my-app-container=nginx:1.19");
        let deadline = std::time::Instant::now() + DEADLINE;
        loop {
            let pods = kubectl.json("get pod -l app=my-app");
            let images: std::collections::BTreeSet<_> = pods["items"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|it| it["spec"]["containers"][0]["image"].as_str())
                .collect();
            assert!(images.len() <= 1, "both versions at once: {images:?}");
            let done = images.contains("nginx:1.19") && ready_pods(&kubectl, "app=my-app").len() == 4;
            if done {
                break;
            }
            assert!(std::time::Instant::now() < deadline, "{images:?}");
        }
        kubectl.ok("rollout status deployment/my-app");
    }
}

/// Pods of a Deployment behind a headless Service answer under their dashed names, behind a ClusterIP Service under the
/// name of the Service. A rolling update takes away no name whose pod is there.
#[test]
fn names_follow_a_rolling_update_without_a_wrong_negative_answer() {
    let ordinal = Ordinal::up(&["--start-delay=50ms", "--ready-delay=50ms", "--stop-delay=200ms"]);
    let Some(binary) = kubectls().into_iter().next_back() else { return };
    let kubectl = ordinal.kubectl(&binary);
    kubectl.ok("create deployment web --image=nginx:1.17 --replicas=8");
    wait_available(&kubectl, "web", 8);
    kubectl.ok("expose deployment web --port=80 --name=web");
    kubectl.ok("expose deployment web --port=80 --name=headless --cluster-ip=None");
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.connect(ordinal.dns()).expect("connected");
    socket.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    let services = ["web.default.svc.cluster.local", "headless.default.svc.cluster.local"];
    for name in services {
        wait_until(name, || resolves(&socket, name));
    }
    let pods = |kubectl: &Kubectl| -> Vec<(String, bool)> {
        let list = kubectl.json("get pod -l app=web");
        let items = list["items"].as_array().cloned().unwrap_or_default();
        let ready = |it: &serde_json::Value| {
            let conditions = it["status"]["conditions"].as_array().cloned().unwrap_or_default();
            it["metadata"]["deletionTimestamp"].is_null()
                && conditions.iter().any(|it| it["type"] == "Ready" && it["status"] == "True")
        };
        items
            .iter()
            .filter_map(|it| Some((it["status"]["podIP"].as_str()?.replace('.', "-"), ready(it))))
            .collect()
    };
    let full = |dashed: &str| format!("{dashed}.headless.default.svc.cluster.local");
    let before = pods(&kubectl);
    for (dashed, _) in &before {
        wait_until(dashed, || resolves(&socket, &full(dashed)));
    }
    let mut known: std::collections::BTreeSet<String> = before.into_iter().map(|it| it.0).collect();
    let mut asked = 0;
    for image in ["nginx:1.18", "nginx:1.19"] {
        kubectl.ok(&format!("set image deployment/web nginx={image}"));
        let mut status = kubectl.command("rollout status deployment/web").spawn().expect("kubectl starts");
        loop {
            for _ in 0..200 {
                for name in services {
                    assert!(resolves(&socket, name), "{name} had no address during the update");
                    asked += 1;
                }
            }
            for (dashed, ready) in pods(&kubectl) {
                if ready && resolves(&socket, &full(&dashed)) {
                    known.insert(dashed);
                }
            }
            let lost: Vec<_> = known.iter().filter(|it| !resolves(&socket, &full(it))).cloned().collect();
            asked += known.len();
            // What does not answer any more has to be on its way out.
            let now = pods(&kubectl);
            for it in lost {
                assert!(!now.contains(&(it.clone(), true)), "{it} is ready and has no name");
                known.remove(&it);
            }
            if let Some(status) = status.try_wait().expect("our child") {
                assert!(status.success());
                break;
            }
        }
    }
    wait_until("the names of all new pods", || {
        let now = pods(&kubectl);
        now.len() == 8 && now.iter().all(|(dashed, _)| resolves(&socket, &full(dashed)))
    });
    println!("{asked} questions during two updates, no wrong negative answer");
}

/// An autoscaler settles where its pods share the load at the goal, and says why it can not when nothing is requested.
#[test]
fn an_autoscaler_follows_the_load() {
    let directory = tempfile::tempdir().expect("a directory");
    let config = directory.path().join("ordinal.yaml");
    let quick =
        "workloads:\n  metricsResolution: 1s\n  autoscalerPeriod: 1s\n  autoscalerDownscaleWindow: 2s\n";
    std::fs::write(&config, quick).expect("written");
    for binary in kubectls() {
        let ordinal = Ordinal::up_fast(&["--config", &config.display().to_string()]);
        let kubectl = ordinal.kubectl(&binary);
        kubectl.ok("create deployment busy --image=nginx:1.17");
        let requests = r#"{"spec":{"template":{"spec":{"containers":[{"name":"nginx","resources":{"requests":{"cpu":"200m","memory":"64Mi"}}}]}}}}"#;
        kubectl.ok_args(&["patch", "deployment", "busy", "-p", requests]);
        kubectl.ok("annotate deployment busy sim.ordinal/load=1200m");
        let scaled = kubectl.ok("autoscale deployment busy --cpu-percent=50 --min=2 --max=20");
        assert!(scaled.contains("horizontalpodautoscaler.autoscaling/busy autoscaled"), "{scaled}");
        wait_for("twelve pods that use half of what they request", || {
            let text = kubectl.ok("get hpa busy");
            let row = rows(&text).into_iter().next().unwrap_or_default();
            let done = row.get(1).is_some_and(|it| it == "Deployment/busy")
                && row.get(2).is_some_and(|it| it.ends_with("50%/50%"))
                && row.get(5).is_some_and(|it| it == "12");
            if done { Ok(()) } else { Err(text) }
        });
        let described = kubectl.ok("describe hpa busy");
        for want in ["SuccessfulRescale", "cpu resource utilization (percentage of request) above target"] {
            assert!(described.contains(want), "{want}: {described}");
        }
        let top = kubectl.ok("top pod");
        let header: Vec<_> = top.lines().next().unwrap_or_default().split_whitespace().collect();
        assert_eq!(header, ["NAME", "CPU(cores)", "MEMORY(bytes)"]);
        assert!(top.lines().skip(1).all(|it| it.split_whitespace().nth(1) == Some("100m")), "{top}");
        assert!(kubectl.ok("top node").contains("sim-0"));
        kubectl.ok("annotate deployment busy sim.ordinal/load=300m --overwrite");
        wait_until("the way down", || {
            rows(&kubectl.ok("get hpa busy"))[0].get(5).is_some_and(|it| it == "3")
        });

        kubectl.ok("create deployment nginx --image=nginx:1.17");
        kubectl.ok("autoscale deployment nginx --cpu-percent=50 --min=1 --max=10");
        wait_for("the reason why it does nothing", || {
            let text = kubectl.ok("describe hpa nginx");
            let want = "missing request for cpu in container nginx of Pod nginx-";
            if text.contains(want) && text.contains("FailedGetResourceMetric") { Ok(()) } else { Err(text) }
        });
        assert!(rows(&kubectl.ok("get hpa nginx"))[0][2].ends_with("<unknown>/50%"));
        kubectl.ok("delete deployment nginx");
        wait_until("the missing target", || {
            kubectl.ok("describe hpa nginx").contains("deployments.apps \"nginx\" not found")
        });
    }
}

/// A budget counts the pods of its workload; with nothing to spare it forbids an eviction.
#[test]
fn a_budget_says_what_may_be_evicted() {
    for binary in kubectls() {
        let ordinal = Ordinal::up_fast(&[]);
        let kubectl = ordinal.kubectl(&binary);
        kubectl.ok("create deployment web --image=nginx:1.17 --replicas=3");
        // kubectl before 1.21 knows no `create pdb` of policy/v1.
        let directory = tempfile::tempdir().expect("a directory");
        let apply = |limit: &str| {
            let file = directory.path().join("pdb.yaml");
            let head = "apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata:\n  name: web\n";
            let spec = format!("spec:\n  {limit}\n  selector:\n    matchLabels:\n      app: web\n");
            std::fs::write(&file, format!("{head}{spec}")).expect("written");
            kubectl.ok(&format!("apply -f {}", file.display()));
        };
        apply("maxUnavailable: 1");
        wait_for("one disruption to be allowed", || {
            let it = kubectl.json("get pdb web");
            let status = &it["status"];
            let counts = ["expectedPods", "desiredHealthy", "currentHealthy", "disruptionsAllowed"]
                .map(|key| status[key].as_i64());
            if counts == [Some(3), Some(2), Some(3), Some(1)] { Ok(()) } else { Err(status.to_string()) }
        });
        let text = kubectl.ok("get pdb");
        assert!(
            text.starts_with("NAME   MIN AVAILABLE   MAX UNAVAILABLE   ALLOWED DISRUPTIONS   AGE\n"),
            "{text}"
        );
        kubectl.ok("delete pdb web");
        apply("minAvailable: 3");
        wait_until("no disruption to be allowed", || {
            let status = kubectl.json("get pdb web")["status"].clone();
            status["currentHealthy"] == 3 && status["disruptionsAllowed"] == 0
        });
        let conditions = kubectl.json("get pdb web")["status"]["conditions"].clone();
        assert_eq!(conditions[0]["reason"], "InsufficientPods", "{conditions}");
    }
}
