use super::*;
use crate::apiserver::resources::{RESOURCES, find_kind};
use serde_json::json;

fn now() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

/// Cells joined by ` | `.
fn row(api_version: &str, kind: &str, mut object: Value) -> String {
    let resource = find_kind(api_version, kind).unwrap();
    object["kind"] = kind.into();
    let cells = cells(resource, &object, now());
    assert_eq!(cells.len(), columns(resource).len(), "{kind}");
    let texts: Vec<String> =
        cells.iter().map(|it| it.as_str().map_or_else(|| it.to_string(), str::to_owned)).collect();
    texts.join(" | ")
}

#[test]
fn ages() {
    let (minute, hour, day) = (60, 3600, 86_400);
    #[rustfmt::skip]
    let cases = [
        (-2, "<invalid>"), (-1, "0s"), (0, "0s"), (119, "119s"), (2 * minute, "2m"), (2 * minute + 5, "2m5s"),
        (10 * minute - 1, "9m59s"), (10 * minute + 5, "10m"), (3 * hour - 1, "179m"), (3 * hour, "3h"),
        (3 * hour + 17 * minute, "3h17m"), (8 * hour + minute, "8h"), (48 * hour - 1, "47h"), (2 * day, "2d"),
        (2 * day + 5 * hour, "2d5h"), (8 * day + hour, "8d"), (729 * day, "729d"), (730 * day, "2y"),
        (731 * day, "2y1d"), (8 * 365 * day, "8y"), (9 * 365 * day + day, "9y"),
    ];
    for (seconds, want) in cases {
        let since = now() - jiff::SignedDuration::from_secs(seconds);
        assert_eq!(age(Some(since), now()), want, "{seconds}");
    }
    assert_eq!(age(None, now()), "<unknown>");
}

#[test]
fn every_kind_prints_something_for_an_empty_object() {
    for resource in RESOURCES {
        assert_eq!(cells(resource, &json!({}), now()).len(), columns(resource).len(), "{}", resource.kind);
    }
}

#[test]
fn pods() {
    let waiting = |reason: &str| json!({"state": {"waiting": {"reason": reason}}});
    let running = json!({"ready": true, "restartCount": 0, "state": {"running": {}}});
    let two = json!([{"name": "a"}, {"name": "b"}]);
    #[rustfmt::skip]
    let cases = [
        ("new", json!({}), json!({"phase": "Pending"}), "0/1 | Pending | 0"),
        ("starting", json!({}), json!({"phase": "Pending", "containerStatuses": [waiting("ContainerCreating")]}), "0/1 | ContainerCreating | 0"),
        ("running", json!({}), json!({"phase": "Running", "containerStatuses": [running]}), "1/1 | Running | 0"),
        ("not ready", json!({}), json!({"phase": "Running", "containerStatuses": [{"ready": false, "state": {"running": {}}}]}), "0/1 | Running | 0"),
        ("crash loop", json!({}), json!({"phase": "Running", "containerStatuses": [{"restartCount": 3, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
            "lastState": {"terminated": {"finishedAt": "2025-12-31T23:59:30Z"}}}]}), "0/1 | CrashLoopBackOff | 3 (30s ago)"),
        ("restarts without a time", json!({}), json!({"phase": "Running", "containerStatuses": [{"restartCount": 2, "ready": true, "state": {"running": {}}}]}), "1/1 | Running | 2"),
        ("exit code", json!({}), json!({"phase": "Failed", "containerStatuses": [{"state": {"terminated": {"exitCode": 3}}}]}), "0/1 | ExitCode:3 | 0"),
        ("signal", json!({}), json!({"phase": "Failed", "containerStatuses": [{"state": {"terminated": {"exitCode": 137, "signal": 9}}}]}), "0/1 | Signal:9 | 0"),
        ("completed", json!({}), json!({"phase": "Succeeded", "containerStatuses": [{"state": {"terminated": {"reason": "Completed", "exitCode": 0}}}]}), "0/1 | Completed | 0"),
        ("one of two completed", json!({"containers": two}), json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "False"}],
            "containerStatuses": [{"state": {"terminated": {"reason": "Completed"}}}, running]}), "1/2 | NotReady | 0"),
        ("evicted", json!({}), json!({"phase": "Failed", "reason": "Evicted"}), "0/1 | Evicted | 0"),
        ("gated", json!({}), json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}]}), "0/1 | SchedulingGated | 0"),
        ("first init container", json!({"initContainers": two}), json!({"phase": "Pending", "initContainerStatuses": [{"state": {"running": {}}}],
            "containerStatuses": [waiting("PodInitializing")]}), "0/1 | Init:0/2 | 0"),
        ("second init container", json!({"initContainers": two}), json!({"phase": "Pending", "initContainerStatuses": [
            {"state": {"terminated": {"exitCode": 0}}}, waiting("PodInitializing")]}), "0/1 | Init:1/2 | 0"),
        ("failing init container", json!({"initContainers": two}), json!({"phase": "Pending", "initContainerStatuses": [
            {"restartCount": 1, "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]}), "0/1 | Init:CrashLoopBackOff | 1"),
        ("init container error", json!({"initContainers": two}), json!({"phase": "Pending", "initContainerStatuses": [
            {"state": {"terminated": {"exitCode": 1, "reason": "Error"}}}]}), "0/1 | Init:Error | 0"),
        ("initialized", json!({"initContainers": [{"name": "i"}]}), json!({"phase": "Pending", "initContainerStatuses": [{"state": {"terminated": {"exitCode": 0}}}],
            "containerStatuses": [waiting("PodInitializing")]}), "0/1 | PodInitializing | 0"),
        ("sidecar counts", json!({"initContainers": [{"name": "s", "restartPolicy": "Always"}]}), json!({"phase": "Running",
            "initContainerStatuses": [{"name": "s", "started": true, "ready": true, "state": {"running": {}}}], "containerStatuses": [running]}), "2/2 | Running | 0"),
    ];
    for (why, mut spec, status, want) in cases {
        if spec.get("containers").is_none() {
            spec["containers"] = json!([{"name": "a"}]);
        }
        let pod = json!({"metadata": {"name": "p", "creationTimestamp": "2025-12-31T23:59:00Z"}, "spec": spec, "status": status});
        let want = format!("p | {want} | 60s | <none> | <none> | <none> | <none>");
        assert_eq!(row("v1", "Pod", pod.clone()), want, "{why}");
        let mut deleting = pod;
        deleting["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        let finished = ["Succeeded", "Failed"].iter().any(|it| deleting["status"]["phase"] == *it);
        assert_eq!(row("v1", "Pod", deleting).contains("| Terminating |"), !finished, "{why}, deleted");
    }
}

#[test]
fn finished_pods_are_marked() {
    let pods = find_kind("v1", "Pod").unwrap();
    let of = |phase: &str| conditions(pods, &json!({"status": {"phase": phase}}));
    assert_eq!(of("Succeeded").unwrap()[0]["type"], "Completed");
    assert_eq!(of("Running"), None);
}

#[test]
fn rows() {
    let template = json!({"spec": {"containers": [{"name": "nginx", "image": "nginx:1.21"}, {"name": "b", "image": "c"}]}});
    let selector = json!({"matchLabels": {"app": "nginx"}});
    #[rustfmt::skip]
    let cases = [
        ("v1", "Pod", json!({"metadata": {"name": "web-0"}, "spec": {"nodeName": "n", "containers": [{}], "readinessGates": [{"conditionType": "x"}]},
            "status": {"podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}], "phase": "Running", "conditions": [{"type": "x", "status": "True"}]}}),
            "web-0 | 0/1 | Running | 0 | <unknown> | 10.0.0.1 | n | <none> | 1/1"),
        ("v1", "Service", json!({"metadata": {"name": "nginx-demo"}, "spec": {"type": "ClusterIP", "clusterIP": "None", "clusterIPs": ["None"], "ports": [{"port": 80, "protocol": "TCP"}], "selector": {"app": "nginx"}}}),
            "nginx-demo | ClusterIP | None | <none> | 80/TCP | <unknown> | app=nginx"),
        ("v1", "Service", json!({"metadata": {"name": "lb"}, "spec": {"type": "LoadBalancer", "clusterIP": "10.96.0.5", "ports": [{"port": 80, "nodePort": 30080, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}]}}),
            "lb | LoadBalancer | 10.96.0.5 | <pending> | 80:30080/TCP,53/UDP | <unknown> | <none>"),
        ("v1", "Service", json!({"metadata": {"name": "x"}, "spec": {"type": "ExternalName", "externalName": "db.example.com"}}),
            "x | ExternalName | <none> | db.example.com | <none> | <unknown> | <none>"),
        ("v1", "Endpoints", json!({"metadata": {"name": "e"}, "subsets": [{"addresses": [{"ip": "10.0.0.1"}, {"ip": "10.0.0.2"}], "ports": [{"port": 80}, {"port": 81}]}]}),
            "e | 10.0.0.1:80,10.0.0.2:80,10.0.0.1:81 + 1 more... | <unknown>"),
        ("v1", "Endpoints", json!({"metadata": {"name": "e"}}), "e | <none> | <unknown>"),
        ("discovery.k8s.io/v1", "EndpointSlice", json!({"metadata": {"name": "s"}, "addressType": "IPv4", "ports": [{"port": 80}, {}], "endpoints": [{"addresses": ["10.0.0.1"]}]}),
            "s | IPv4 | 80,* | 10.0.0.1 | <unknown>"),
        ("discovery.k8s.io/v1", "EndpointSlice", json!({"metadata": {"name": "s"}, "addressType": "IPv4"}), "s | IPv4 | <unset> | <unset> | <unknown>"),
        ("apps/v1", "StatefulSet", json!({"metadata": {"name": "web"}, "spec": {"replicas": 3, "template": template}, "status": {"readyReplicas": 2}}),
            "web | 2/3 | <unknown> | nginx,b | nginx:1.21,c"),
        ("apps/v1", "Deployment", json!({"metadata": {"name": "d"}, "spec": {"replicas": 3, "template": template, "selector": selector}, "status": {"readyReplicas": 1, "updatedReplicas": 2}}),
            "d | 1/3 | 2 | 0 | <unknown> | nginx,b | nginx:1.21,c | app=nginx"),
        ("apps/v1", "ReplicaSet", json!({"metadata": {"name": "r"}, "spec": {"replicas": 3, "template": template, "selector": selector}, "status": {"replicas": 2}}),
            "r | 3 | 2 | 0 | <unknown> | nginx,b | nginx:1.21,c | app=nginx"),
        ("v1", "ReplicationController", json!({"metadata": {"name": "r"}, "spec": {"replicas": 1, "template": template, "selector": {"a": "b"}}}),
            "r | 1 | 0 | 0 | <unknown> | nginx,b | nginx:1.21,c | a=b"),
        ("apps/v1", "ControllerRevision", json!({"metadata": {"name": "web-1", "ownerReferences": [{"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "web", "controller": true}]}, "revision": 4}),
            "web-1 | statefulset.apps/web | 4 | <unknown>"),
        ("v1", "Node", json!({"metadata": {"name": "n", "labels": {"node-role.kubernetes.io/worker": ""}}, "spec": {"unschedulable": true}, "status": {"conditions": [{"type": "Ready", "status": "True"}],
            "addresses": [{"type": "InternalIP", "address": "10.1.0.1"}], "nodeInfo": {"kubeletVersion": "v1.37.0"}}}),
            "n | Ready,SchedulingDisabled | worker | <unknown> | v1.37.0 | 10.1.0.1 | <none> | <unknown> | <unknown> | <unknown>"),
        ("v1", "Namespace", json!({"metadata": {"name": "demo"}, "status": {"phase": "Active"}}), "demo | Active | <unknown>"),
        ("v1", "ConfigMap", json!({"metadata": {"name": "c"}, "data": {"a": "", "b": ""}}), "c | 2 | <unknown>"),
        ("v1", "Secret", json!({"metadata": {"name": "regcred"}, "type": "kubernetes.io/dockerconfigjson", "data": {"a": ""}}), "regcred | kubernetes.io/dockerconfigjson | 1 | <unknown>"),
        ("v1", "PersistentVolumeClaim", json!({"metadata": {"name": "www-web-0"}, "spec": {"volumeName": "pvc-1", "storageClassName": "fast", "volumeMode": "Filesystem"},
            "status": {"phase": "Bound", "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteMany", "ReadWriteOnce"]}}),
            "www-web-0 | Bound | pvc-1 | 1Gi | RWO,RWX | fast | <unset> | <unknown> | Filesystem"),
        ("v1", "PersistentVolumeClaim", json!({"metadata": {"name": "w"}, "status": {"phase": "Pending"}}), "w | Pending |  |  |  |  | <unset> | <unknown> | <unset>"),
        ("v1", "PersistentVolume", json!({"metadata": {"name": "pv-1"}, "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "persistentVolumeReclaimPolicy": "Retain",
            "claimRef": {"namespace": "demo", "name": "c"}, "storageClassName": "standard"}, "status": {"phase": "Bound"}}),
            "pv-1 | 1Gi | RWO | Retain | Bound | demo/c | standard | <unset> |  | <unknown> | <unset>"),
        ("storage.k8s.io/v1", "StorageClass", json!({"metadata": {"name": "standard", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}}, "provisioner": "p", "reclaimPolicy": "Delete", "volumeBindingMode": "Immediate"}),
            "standard (default) | p | Delete | Immediate | false | <unknown>"),
        ("v1", "Event", json!({"metadata": {"name": "e.1"}, "type": "Normal", "reason": "Scheduled", "message": "assigned\n", "lastTimestamp": "2025-12-31T23:40:00Z", "firstTimestamp": "2025-12-31T23:00:00Z",
            "involvedObject": {"kind": "Pod", "name": "web-0"}, "source": {"component": "kubelet", "host": "n"}, "count": 3}),
            "20m | Normal | Scheduled | pod/web-0 |  | kubelet, n | assigned | 60m | 3 | e.1"),
        ("v1", "Event", json!({"metadata": {"name": "e.2"}, "eventTime": "2025-12-31T23:59:50.000000Z", "reportingComponent": "x", "involvedObject": {"kind": "Pod", "name": "p"}}),
            "10s |  |  | pod/p |  | x |  | 10s | 1 | e.2"),
        ("coordination.k8s.io/v1", "Lease", json!({"metadata": {"name": "l"}, "spec": {"holderIdentity": "h"}}), "l | h | <unknown>"),
        ("policy/v1", "PodDisruptionBudget", json!({"metadata": {"name": "p"}, "spec": {"minAvailable": "50%"}, "status": {"disruptionsAllowed": 1}}), "p | 50% | N/A | 1 | <unknown>"),
        ("autoscaling/v2", "HorizontalPodAutoscaler", json!({"metadata": {"name": "h"}, "spec": {"scaleTargetRef": {"kind": "StatefulSet", "name": "web"}, "minReplicas": 1, "maxReplicas": 5,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}]}}),
            "h | StatefulSet/web | cpu: <unknown>/50% | 1 | 5 | 0 | <unknown>"),
    ];
    for (version, kind, object, want) in cases {
        assert_eq!(row(version, kind, object), want, "{kind}");
    }
}
