use super::*;
use crate::apiserver::resources::find_kind;

fn defaulted(mut object: Value) -> Value {
    let resource =
        find_kind(object["apiVersion"].as_str().unwrap(), object["kind"].as_str().unwrap()).unwrap();
    apply(resource, &mut object);
    let once = object.clone();
    apply(resource, &mut object);
    assert_eq!(once, object, "defaulting twice");
    object
}

/// The template whose upstream revision hash is known (kubernetes `TestCreateApplyRevision` fixture).
#[test]
fn the_template_of_a_plain_stateful_set() {
    let set = defaulted(json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "foo"},
        "spec": {"selector": {"matchLabels": {"app": "foo"}}, "template": {
            "metadata": {"creationTimestamp": null, "labels": {"app": "foo"}, "annotations": {"test": "value"}},
            "spec": {"containers": [{"name": "test", "image": "test", "resources": {}}]}}}}));
    assert_eq!(
        set["spec"]["template"],
        json!({"metadata": {"labels": {"app": "foo"}, "annotations": {"test": "value"}}, "spec": {
            "containers": [{"name": "test", "image": "test", "imagePullPolicy": "Always", "resources": {},
                "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"}],
            "dnsPolicy": "ClusterFirst", "restartPolicy": "Always", "schedulerName": "default-scheduler",
            "securityContext": {}, "terminationGracePeriodSeconds": 30}})
    );
    assert_eq!(set["spec"]["replicas"], 1);
    assert_eq!(set["spec"]["podManagementPolicy"], "OrderedReady");
    assert_eq!(
        set["spec"]["updateStrategy"],
        json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 0, "maxUnavailable": 1}})
    );
    assert_eq!(set["spec"]["revisionHistoryLimit"], 10);
    assert_eq!(
        set["spec"]["persistentVolumeClaimRetentionPolicy"],
        json!({"whenDeleted": "Retain", "whenScaled": "Retain"})
    );
    assert_eq!(set["status"], json!({"replicas": 0, "availableReplicas": 0}));
}

#[test]
fn stateful_set_strategies() {
    #[rustfmt::skip]
    let cases = [
        (json!(null), json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 0, "maxUnavailable": 1}})),
        (json!({}), json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 0, "maxUnavailable": 1}})),
        (json!({"type": "RollingUpdate"}), json!({"type": "RollingUpdate"})),
        (json!({"type": "OnDelete"}), json!({"type": "OnDelete"})),
        (json!({"rollingUpdate": {"partition": 2}}), json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 2, "maxUnavailable": 1}})),
    ];
    for (strategy, want) in cases {
        let set = defaulted(json!({"apiVersion": "apps/v1", "kind": "StatefulSet",
            "spec": {"updateStrategy": strategy}}));
        assert_eq!(set["spec"]["updateStrategy"], want, "{strategy}");
    }
}

#[test]
fn claim_templates_and_quantities() {
    let set = defaulted(json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "spec": {
        "template": {"spec": {"containers": [{"name": "a", "image": "mysql:8.0", "resources": {
            "requests": {"cpu": "500m"}, "limits": {"cpu": 1, "memory": "2048Mi"}}}]}},
        "volumeClaimTemplates": [{"metadata": {"name": "www"}, "spec": {"accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1024Mi"}}}}]}}));
    assert_eq!(
        set["spec"]["volumeClaimTemplates"][0],
        json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "www"},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}},
                "volumeMode": "Filesystem"}, "status": {"phase": "Pending"}})
    );
    let container = &set["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(
        container["resources"],
        json!({"requests": {"cpu": "500m"}, "limits": {"cpu": "1", "memory": "2Gi"}}),
        "a template keeps its requests"
    );
    assert_eq!(container["imagePullPolicy"], "IfNotPresent");
}

#[test]
fn pods() {
    let pod = defaulted(json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {
        "containers": [{"name": "a", "image": "nginx:1.21", "resources": {"limits": {"cpu": "1", "memory": "1Gi"}},
            "ports": [{"containerPort": 80}],
            "env": [{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
            "readinessProbe": {"httpGet": {"port": 80}},
            "livenessProbe": {"exec": {"command": ["true"]}, "periodSeconds": 2, "timeoutSeconds": 5}}],
        "volumes": [{"name": "e"}, {"name": "c", "configMap": {"name": "x"}}, {"name": "h", "hostPath": {"path": "/d"}}]}}));
    let container = &pod["spec"]["containers"][0];
    assert_eq!(container["resources"]["requests"], json!({"cpu": "1", "memory": "1Gi"}));
    assert_eq!(container["ports"], json!([{"containerPort": 80, "protocol": "TCP"}]));
    assert_eq!(container["env"][0]["valueFrom"]["fieldRef"]["apiVersion"], "v1");
    assert_eq!(
        container["readinessProbe"],
        json!({"httpGet": {"port": 80, "path": "/", "scheme": "HTTP"}, "timeoutSeconds": 1,
            "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3})
    );
    assert_eq!(container["livenessProbe"]["periodSeconds"], 2);
    assert_eq!(
        pod["spec"]["volumes"],
        json!([{"name": "e", "emptyDir": {}}, {"name": "c", "configMap": {"name": "x", "defaultMode": 420}},
            {"name": "h", "hostPath": {"path": "/d", "type": ""}}])
    );
    assert_eq!(pod["spec"]["serviceAccountName"], "default");
    assert_eq!(pod["spec"]["enableServiceLinks"], true);
    assert_eq!(pod["status"], json!({"phase": "Pending", "qosClass": "Guaranteed"}));
}

#[test]
fn pull_policies_by_image() {
    #[rustfmt::skip]
    let cases = [
        ("nginx", "Always"), ("nginx:latest", "Always"), ("nginx:1.21", "IfNotPresent"),
        ("host:5000/nginx", "Always"), ("host:5000/nginx:1", "IfNotPresent"), ("nginx@sha256:00", "IfNotPresent"),
    ];
    for (image, want) in cases {
        let pod = defaulted(json!({"apiVersion": "v1", "kind": "Pod",
            "spec": {"containers": [{"name": "a", "image": image}]}}));
        assert_eq!(pod["spec"]["containers"][0]["imagePullPolicy"], want, "{image}");
    }
}

#[test]
fn quality_of_service() {
    #[rustfmt::skip]
    let cases = [
        (json!([{}]), "BestEffort"),
        (json!([{"resources": {"requests": {"cpu": "1"}}}]), "Burstable"),
        (json!([{"resources": {"limits": {"cpu": "1", "memory": "1Gi"}}}]), "Guaranteed"),
        (json!([{"resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}}}]), "Burstable"),
        (json!([{"resources": {"limits": {"cpu": "1", "memory": "1Gi"}}}, {}]), "Burstable"),
    ];
    for (containers, want) in cases {
        assert_eq!(qos_class(&json!({"containers": containers})), want, "{containers}");
    }
}

#[test]
fn services() {
    #[rustfmt::skip]
    let cases = [
        ("headless with selector", json!({"clusterIP": "None", "selector": {"app": "nginx"}, "ports": [{"port": 80, "name": "web"}]}),
            json!({"clusterIP": "None", "internalTrafficPolicy": "Cluster", "ports": [{"name": "web", "port": 80, "protocol": "TCP", "targetPort": 80}],
                "selector": {"app": "nginx"}, "sessionAffinity": "None", "type": "ClusterIP"})),
        ("headless without selector", json!({"clusterIP": "None"}),
            json!({"clusterIP": "None", "internalTrafficPolicy": "Cluster", "sessionAffinity": "None", "type": "ClusterIP"})),
        ("external name", json!({"type": "ExternalName", "externalName": "a.b"}),
            json!({"type": "ExternalName", "externalName": "a.b", "sessionAffinity": "None"})),
        ("load balancer", json!({"type": "LoadBalancer", "selector": {"a": "b"}}),
            json!({"type": "LoadBalancer", "selector": {"a": "b"}, "sessionAffinity": "None", "internalTrafficPolicy": "Cluster",
                "externalTrafficPolicy": "Cluster", "allocateLoadBalancerNodePorts": true})),
        ("client affinity", json!({"sessionAffinity": "ClientIP"}),
            json!({"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 10800}},
                "type": "ClusterIP", "internalTrafficPolicy": "Cluster"})),
    ];
    for (why, spec, want) in cases {
        let service = defaulted(json!({"apiVersion": "v1", "kind": "Service", "spec": spec}));
        assert_eq!(service["spec"], want, "{why}");
        assert_eq!(service["status"], json!({"loadBalancer": {}}), "{why}");
    }
}

#[test]
fn other_kinds() {
    #[rustfmt::skip]
    let cases = [
        (json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "demo"}}),
            "/metadata/labels", json!({"kubernetes.io/metadata.name": "demo"})),
        (json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "demo"}}), "/spec/finalizers", json!(["kubernetes"])),
        (json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"deletionTimestamp": "x"}, "spec": {}}), "/spec", json!({})),
        (json!({"apiVersion": "v1", "kind": "Secret", "stringData": {"a": "b"}, "data": {"c": "ZA=="}}),
            "/data", json!({"a": "Yg==", "c": "ZA=="})),
        (json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim"}), "/status", json!({"phase": "Pending"})),
        (json!({"apiVersion": "v1", "kind": "PersistentVolume", "spec": {"capacity": {"storage": "1024Mi"}}}),
            "/spec", json!({"capacity": {"storage": "1Gi"}, "persistentVolumeReclaimPolicy": "Retain", "volumeMode": "Filesystem"})),
        (json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass"}), "/volumeBindingMode", json!("Immediate")),
        (json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "ports": [{"port": 80}]}),
            "/ports/0", json!({"name": "", "protocol": "TCP", "port": 80})),
        (json!({"apiVersion": "v1", "kind": "Endpoints", "subsets": [{"ports": [{"port": 80}]}]}),
            "/subsets/0/ports/0", json!({"protocol": "TCP", "port": 80})),
        (json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {}}), "/spec/strategy",
            json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}})),
        (json!({"apiVersion": "apps/v1", "kind": "ControllerRevision", "data": {"a": null}}), "/data", json!({"a": null})),
    ];
    for (object, path, want) in cases {
        let kind = object["kind"].clone();
        let object = defaulted(object);
        assert_eq!(object.pointer(path), Some(&want), "{kind} {path}");
    }
}

/// Defaulting comes before the check of types, so it has to leave odd ones alone.
#[test]
fn odd_types_survive() {
    use crate::apiserver::resources::RESOURCES;
    let odd = [
        json!("x"),
        json!(1),
        json!([]),
        json!([1]),
        json!([{}]),
        json!({}),
        json!({"name": 1}),
        json!(true),
    ];
    let paths = ["spec", "status", "metadata", "ports", "endpoints", "subsets", "data", "stringData"];
    let inner = [
        "template",
        "ports",
        "containers",
        "volumes",
        "updateStrategy",
        "strategy",
        "selector",
        "clusterIPs",
        "volumeClaimTemplates",
        "resources",
        "metrics",
        "sessionAffinityConfig",
        "persistentVolumeClaimRetentionPolicy",
    ];
    for resource in RESOURCES {
        for value in &odd {
            for path in paths {
                apply(resource, &mut json!({path: value}));
                for key in inner {
                    apply(resource, &mut json!({path: {key: value}}));
                    apply(resource, &mut json!({path: {"template": {"spec": {key: value}}}}));
                    apply(
                        resource,
                        &mut json!({path: {"template": {"spec": {"containers": [{key: value}, value]}}}}),
                    );
                }
            }
        }
        apply(resource, &mut json!("x"));
    }
}
