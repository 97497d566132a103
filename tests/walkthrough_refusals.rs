//! What goes wrong with workloads says so as a cluster does: the API server's 422, or the condition and event of the
//! controller, with upstream's reason and wording. Every kubectl version, the real binary.

mod common;

use std::path::Path;

use common::{Kubectl, Ordinal, kubectls, rows, wait_for, wait_until};
use serde_json::{Value, json};

/// Applies an object without asking the client's opinion.
fn applying(directory: &Path, object: &Value) -> String {
    let file = directory.join("object.json");
    std::fs::write(&file, object.to_string()).expect("written");
    format!("apply --validate=false -f {}", file.display())
}

fn workload(kind: &str, selector: &Value, spec: &Value) -> Value {
    let version = if kind == "ReplicationController" { "v1" } else { "apps/v1" };
    let mut object = json!({
        "apiVersion": version, "kind": kind, "metadata": { "name": "web", "namespace": "default" },
        "spec": {
            "replicas": 3, "selector": selector,
            "template": {
                "metadata": { "labels": { "app": "web" } },
                "spec": { "containers": [{ "name": "nginx", "image": "nginx:1.17" }] },
            },
        },
    });
    for (key, value) in spec.as_object().into_iter().flatten() {
        object["spec"][key] = value.clone();
    }
    object
}

fn autoscaler(target: &Value, min: u32, max: u32) -> Value {
    json!({
        "apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler",
        "metadata": { "name": "scaler", "namespace": "default" },
        "spec": {
            "scaleTargetRef": target, "minReplicas": min, "maxReplicas": max, "targetCPUUtilizationPercentage": 50,
        },
    })
}

#[test]
fn what_can_never_work_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let labels = json!({ "matchLabels": { "app": "web" } });
    let other = json!({ "matchLabels": { "app": "other" } });
    let strategy = |surge: &Value, unavailable: &Value| json!({ "strategy": { "rollingUpdate": { "maxSurge": surge, "maxUnavailable": unavailable } } });
    let mismatch = "spec.template.metadata.labels: Invalid value: {\"app\":\"web\"}: `selector` does not match template `labels`";
    let zero = "spec.strategy.rollingUpdate.maxUnavailable: Invalid value:";
    let zero_because = "may not be 0 when `maxSurge` is 0";
    let deployment = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "name": "web" });
    let cases: Vec<(Value, Vec<&str>)> = vec![
        (workload("Deployment", &other, &json!({})), vec!["The Deployment \"web\" is invalid: ", mismatch]),
        (workload("ReplicaSet", &other, &json!({})), vec!["The ReplicaSet \"web\" is invalid: ", mismatch]),
        (workload("StatefulSet", &other, &json!({})), vec!["The StatefulSet \"web\" is invalid: ", mismatch]),
        (
            workload("ReplicationController", &json!({ "app": "other" }), &json!({})),
            vec!["The ReplicationController \"web\" is invalid: ", mismatch],
        ),
        (workload("Deployment", &labels, &strategy(&json!("0%"), &json!("0%"))), vec![zero, zero_because]),
        (workload("Deployment", &labels, &strategy(&json!(0), &json!(0))), vec![zero, zero_because]),
        (workload("Deployment", &labels, &strategy(&json!(0), &json!("0%"))), vec![zero, zero_because]),
        (
            workload("Deployment", &labels, &strategy(&json!(1), &json!("101%"))),
            vec![
                "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: \"101%\": must not be greater than 100%",
            ],
        ),
        (
            autoscaler(&deployment, 5, 2),
            vec![
                "The HorizontalPodAutoscaler \"scaler\" is invalid: ",
                "spec.maxReplicas: Invalid value: 2: must be greater than or equal to `minReplicas`",
            ],
        ),
        (
            autoscaler(&deployment, 0, 2),
            vec!["spec.minReplicas: Invalid value: 0: must be greater than or equal to 1"],
        ),
        (
            autoscaler(&json!({ "kind": "Deployment" }), 1, 2),
            vec!["spec.scaleTargetRef.name: Required value"],
        ),
    ];
    for binary in kubectls() {
        let ordinal = Ordinal::up_fast(&[]);
        let kubectl = ordinal.kubectl(&binary);
        for (object, wants) in &cases {
            let said = kubectl.fails(&applying(directory.path(), object));
            for want in wants {
                assert!(said.contains(want), "{want:?} missing in {said}");
            }
        }
        // The command line is refused by the client, before a server sees it.
        kubectl.ok("create deployment web --image=nginx:1.17");
        let said = kubectl.fails("autoscale deployment web --cpu-percent=50 --min=5 --max=2");
        assert!(said.contains("--max=MAXPODS must be larger or equal to --min=MINPODS"), "{said}");
        let said = kubectl.fails("autoscale deployment nobody --cpu-percent=50 --min=1 --max=2");
        assert!(said.contains("deployments.apps \"nobody\" not found"), "{said}");
        assert!(rows(&kubectl.ok("get deployments")).len() == 1, "nothing else was stored");
    }
}

/// 0 and 10 % of three both mean no pod: one may be unavailable all the same, or nothing would ever roll.
#[test]
fn percentages_that_round_to_nothing_still_roll() {
    let directory = tempfile::tempdir().expect("a directory");
    for binary in kubectls() {
        let ordinal = Ordinal::up(&["--start-delay=50ms", "--ready-delay=0s", "--stop-delay=50ms"]);
        let kubectl = ordinal.kubectl(&binary);
        let labels = json!({ "matchLabels": { "app": "web" } });
        let strategy = json!({ "strategy": { "rollingUpdate": { "maxSurge": 0, "maxUnavailable": "10%" } } });
        kubectl.ok(&applying(directory.path(), &workload("Deployment", &labels, &strategy)));
        kubectl.ok("rollout status deployment/web");
        kubectl.ok("set image deployment/web nginx=nginx:1.18");
        kubectl.ok("rollout status deployment/web");
        let events = kubectl.ok("get event --field-selector involvedObject.name=web");
        let steps: Vec<_> =
            ["from 3 to 2", "from 0 to 1", "from 2 to 1", "from 1 to 2", "from 1 to 0", "from 2 to 3"]
                .into_iter()
                .filter(|it| !events.contains(it))
                .collect();
        assert!(steps.is_empty(), "{steps:?} missing in {events}");
        assert!(!events.contains("to 4"), "{events}");
    }
}

fn condition(kubectl: &Kubectl, kind: &str) -> (String, String, String) {
    let it = kubectl.json("get horizontalpodautoscalers.v2.autoscaling scaler");
    let all = it["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let found = all.into_iter().find(|it| it["type"] == kind).unwrap_or_default();
    let text = |key: &str| found[key].as_str().unwrap_or_default().to_owned();
    (text("status"), text("reason"), text("message"))
}

#[test]
fn an_autoscaler_says_what_keeps_it_from_scaling() {
    let directory = tempfile::tempdir().expect("a directory");
    let config = directory.path().join("ordinal.yaml");
    std::fs::write(&config, "workloads:\n  metricsResolution: 1s\n  autoscalerPeriod: 1s\n")
        .expect("written");
    for binary in kubectls() {
        let ordinal = Ordinal::up_fast(&["--config", &config.display().to_string()]);
        let kubectl = ordinal.kubectl(&binary);
        let cases = [
            (
                json!({ "apiVersion": "apps/v1", "kind": "Deployment", "name": "nobody" }),
                "AbleToScale",
                "FailedGetScale",
                "the HPA controller was unable to get the target's current scale: deployments.apps \"nobody\" not found",
            ),
            (
                json!({ "apiVersion": "apps/v1", "kind": "StatefulSet", "name": "nobody" }),
                "AbleToScale",
                "FailedGetScale",
                "the HPA controller was unable to get the target's current scale: statefulsets.apps \"nobody\" not found",
            ),
            (
                json!({ "apiVersion": "example.com/v1", "kind": "Database", "name": "nobody" }),
                "AbleToScale",
                "FailedGetScale",
                "the HPA controller was unable to get the target's current scale: no matches for kind \"Database\" in group \"example.com\"",
            ),
            (
                json!({ "apiVersion": "apps/v1", "kind": "Deployment", "name": "web" }),
                "ScalingActive",
                "FailedGetResourceMetric",
                "the HPA was unable to compute the replica count: failed to get cpu utilization: missing request for cpu in container nginx of Pod web-",
            ),
        ];
        kubectl.ok("create deployment web --image=nginx:1.17");
        for (target, kind, reason, message) in cases {
            kubectl.ok(&applying(directory.path(), &autoscaler(&target, 1, 3)));
            wait_for(reason, || {
                let got = condition(&kubectl, kind);
                let (status, why, said) = &got;
                if status == "False" && why == reason && said.starts_with(message) {
                    Ok(())
                } else {
                    Err(format!("{got:?}"))
                }
            });
            wait_for("the event", || {
                let events = kubectl.ok("get event --field-selector involvedObject.name=scaler");
                let text = message.rsplit_once("scale: ").map_or("missing request for cpu", |it| it.1);
                let found = events
                    .lines()
                    .any(|it| it.contains("Warning") && it.contains(reason) && it.contains(text));
                if found { Ok(()) } else { Err(events) }
            });
            kubectl.ok("delete hpa scaler");
        }
        assert_eq!(kubectl.json("get deployment web")["spec"]["replicas"], 1, "and nothing was scaled");
    }
}

/// A StatefulSet is a target like any other: its ordinals grow and shrink from the top.
#[test]
fn an_autoscaler_scales_a_stateful_set() {
    let directory = tempfile::tempdir().expect("a directory");
    let config = directory.path().join("ordinal.yaml");
    let quick =
        "workloads:\n  metricsResolution: 1s\n  autoscalerPeriod: 1s\n  autoscalerDownscaleWindow: 2s\n";
    std::fs::write(&config, quick).expect("written");
    for binary in kubectls() {
        let ordinal = Ordinal::up_fast(&["--config", &config.display().to_string()]);
        let kubectl = ordinal.kubectl(&binary);
        let labels = json!({ "matchLabels": { "app": "web" } });
        let mut set = workload("StatefulSet", &labels, &json!({ "replicas": 1, "serviceName": "web" }));
        set["metadata"]["annotations"] = json!({ "sim.ordinal/load": "500m" });
        set["spec"]["template"]["spec"]["containers"][0]["resources"] =
            json!({ "requests": { "cpu": "200m" } });
        kubectl.ok(&applying(directory.path(), &set));
        kubectl.ok("rollout status sts/web");
        let said = kubectl.ok("autoscale sts web --cpu-percent=50 --min=1 --max=10");
        assert!(said.contains("horizontalpodautoscaler.autoscaling/web autoscaled"), "{said}");
        let settled = |replicas: &str| {
            wait_for("the autoscaler to settle", || {
                let text = kubectl.ok("get hpa web");
                let row = rows(&text).into_iter().next().unwrap_or_default();
                let done = row.get(1).is_some_and(|it| it == "StatefulSet/web")
                    && row.get(2).is_some_and(|it| it.ends_with("50%/50%"))
                    && row.get(5).is_some_and(|it| it == replicas);
                if done { Ok(()) } else { Err(text) }
            });
        };
        settled("5");
        let pods = || -> Vec<String> {
            kubectl.ok("get pod -l app=web -o name").lines().map(str::to_owned).collect()
        };
        assert_eq!(pods(), (0..5).map(|it| format!("pod/web-{it}")).collect::<Vec<_>>());
        let described = kubectl.ok("describe hpa web");
        let want = "cpu resource utilization (percentage of request) above target";
        assert!(described.contains("SuccessfulRescale") && described.contains(want), "{described}");
        kubectl.ok("annotate sts web sim.ordinal/load=200m --overwrite");
        settled("2");
        wait_until("the highest ordinals to go", || pods() == ["pod/web-0", "pod/web-1"]);
    }
}
