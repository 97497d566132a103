use super::*;
use crate::apiserver::{defaults, resources::find_kind};
use serde_json::json;

fn defaulted(object: &Value) -> (&'static Resource, Value) {
    let mut object = object.clone();
    let resource =
        find_kind(object["apiVersion"].as_str().unwrap(), object["kind"].as_str().unwrap()).unwrap();
    defaults::apply(resource, &mut object);
    (resource, object)
}

fn shown(errors: &[FieldError]) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
}

/// Applies a merge patch to a valid object, defaults, and returns what creation says.
fn created(base: &Value, patch: &Value) -> Vec<String> {
    let (resource, object) = defaulted(&crate::apiserver::patch::merge_patch(base, patch));
    assert_eq!(decode_check(resource, &object), Ok(()));
    shown(&create(resource, &object))
}

fn updated(base: &Value, patch: &Value) -> Vec<String> {
    let (resource, old) = defaulted(base);
    let (_, new) = defaulted(&crate::apiserver::patch::merge_patch(&old, patch));
    shown(&update(resource, &old, &new))
}

fn set() -> Value {
    json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "web", "namespace": "demo"}, "spec": {
        "serviceName": "nginx", "replicas": 3, "selector": {"matchLabels": {"app": "nginx"}}, "template": {
            "metadata": {"labels": {"app": "nginx"}}, "spec": {"containers": [{"name": "nginx", "image": "nginx:1.21",
                "ports": [{"containerPort": 80, "name": "web"}], "volumeMounts": [{"name": "www", "mountPath": "/html"}]}]}},
        "volumeClaimTemplates": [{"metadata": {"name": "www"}, "spec": {"accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}}}}]}})
}

fn service() -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "nginx"},
        "spec": {"clusterIP": "None", "clusterIPs": ["None"], "selector": {"app": "nginx"}, "ports": [{"port": 80, "name": "web"}]}})
}

fn pod() -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web-0"},
        "spec": {"containers": [{"name": "a", "image": "nginx:1"}]}})
}

fn slice() -> Value {
    json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {"name": "nginx-abc"},
        "addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"]}], "ports": [{"port": 80}]})
}

fn claim() -> Value {
    json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "www-web-0"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "2Gi"}}}})
}

fn bound_claim() -> Value {
    let mut claim = claim();
    claim["status"] = json!({"phase": "Bound", "capacity": {"storage": "2Gi"}});
    claim
}

fn revision() -> Value {
    json!({"apiVersion": "apps/v1", "kind": "ControllerRevision", "metadata": {"name": "web-1"},
        "data": {"spec": {}}, "revision": 1})
}

#[test]
fn on_create() {
    #[rustfmt::skip]
    let cases: &[(&str, Value, Value, &[&str])] = &[
        ("a plain set", set(), json!({}), &[]),
        ("negative replicas", set(), json!({"spec": {"replicas": -1}}), &["spec.replicas: Invalid value: -1: must be greater than or equal to 0"]),
        ("other labels", set(), json!({"spec": {"template": {"metadata": {"labels": {"app": "x"}}}}}),
            &[r#"spec.template.metadata.labels: Invalid value: {"app":"x"}: `selector` does not match template `labels`"#]),
        ("no selector", set(), json!({"spec": {"selector": null}}),
            &["spec.selector: Required value", r#"spec.template.metadata.labels: Invalid value: {"app":"nginx"}: `selector` does not match template `labels`"#]),
        ("empty selector", set(), json!({"spec": {"selector": {"matchLabels": null}}}), &["spec.selector: Invalid value: {}: empty selector is invalid for statefulset"]),
        ("restart policy", set(), json!({"spec": {"template": {"spec": {"restartPolicy": "Never"}}}}),
            &[r#"spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always""#]),
        ("deadline", set(), json!({"spec": {"template": {"spec": {"activeDeadlineSeconds": 5}}}}),
            &["spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in StatefulSet is not Supported"]),
        ("OnDelete with a block", set(), json!({"spec": {"updateStrategy": {"type": "OnDelete", "rollingUpdate": {}}}}),
            &["spec.updateStrategy.rollingUpdate: Invalid value: {}: only allowed for updateStrategy 'RollingUpdate'"]),
        ("negative partition", set(), json!({"spec": {"updateStrategy": {"rollingUpdate": {"partition": -1}}}}),
            &["spec.updateStrategy.rollingUpdate.partition: Invalid value: -1: must be greater than or equal to 0"]),
        ("policy", set(), json!({"spec": {"podManagementPolicy": "Random"}}),
            &[r#"spec.podManagementPolicy: Invalid value: "Random": must be 'OrderedReady' or 'Parallel'"#]),
        ("no containers", set(), json!({"spec": {"template": {"spec": {"containers": []}}}}), &["spec.template.spec.containers: Required value"]),
        ("a mount without volume", set(), json!({"spec": {"volumeClaimTemplates": null}}),
            &[r#"spec.template.spec.containers[0].volumeMounts[0].name: Not found: "www""#]),
        ("no name", set(), json!({"metadata": {"name": null}}), &["metadata.name: Required value: name or generateName is required"]),

        ("headless", service(), json!({}), &[]),
        ("no ports", service(), json!({"spec": {"ports": null, "clusterIP": null, "clusterIPs": null}}), &["spec.ports: Required value"]),
        ("headless without ports", service(), json!({"spec": {"ports": null}}), &[]),
        ("unnamed ports", service(), json!({"spec": {"ports": [{"port": 80}, {"port": 81, "name": "b"}]}}), &["spec.ports[0].name: Required value"]),
        ("equal port names", service(), json!({"spec": {"ports": [{"port": 80, "name": "b"}, {"port": 81, "name": "b"}]}}), &[r#"spec.ports[1].name: Duplicate value: "b""#]),
        ("port range", service(), json!({"spec": {"ports": [{"port": 70000}]}}), &[
            "spec.ports[0].port: Invalid value: 70000: must be between 1 and 65535, inclusive",
            "spec.ports[0].targetPort: Invalid value: 70000: must be between 1 and 65535, inclusive"]),
        ("type", service(), json!({"spec": {"type": "Foo"}}),
            &[r#"spec.type: Unsupported value: "Foo": supported values: "ClusterIP", "ExternalName", "LoadBalancer", "NodePort""#]),
        ("None for NodePort", service(), json!({"spec": {"type": "NodePort"}}), &[r#"spec.clusterIPs[0]: Invalid value: "None": may not be set to 'None' for NodePort services"#]),
        ("ExternalName without name", service(), json!({"spec": {"type": "ExternalName", "clusterIP": null, "clusterIPs": null}}), &["spec.externalName: Required value"]),

        ("a plain pod", pod(), json!({}), &[]),
        ("equal names", pod(), json!({"spec": {"containers": [{"name": "a", "image": "x"}, {"name": "a", "image": "x"}]}}), &[r#"spec.containers[1].name: Duplicate value: "a""#]),
        ("no image", pod(), json!({"spec": {"containers": [{"name": "a"}]}}), &["spec.containers[0].image: Required value"]),
        ("port range", pod(), json!({"spec": {"containers": [{"name": "a", "image": "x", "ports": [{"containerPort": 65536}]}]}}),
            &["spec.containers[0].ports[0].containerPort: Invalid value: 65536: must be between 1 and 65535, inclusive"]),
        ("requests above limits", pod(), json!({"spec": {"containers": [{"name": "a", "image": "x", "resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "2"}}}]}}),
            &[r#"spec.containers[0].resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1"#]),
        ("restart policy", pod(), json!({"spec": {"restartPolicy": "Maybe"}}),
            &[r#"spec.restartPolicy: Unsupported value: "Maybe": supported values: "Always", "OnFailure", "Never""#]),
        ("owner without uid", pod(), json!({"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "x"}]}}),
            &[r#"metadata.ownerReferences.uid: Invalid value: "": must not be empty"#]),

        ("a plain slice", slice(), json!({}), &[]),
        ("no type", slice(), json!({"addressType": null}), &["addressType: Required value"]),
        ("loopback", slice(), json!({"endpoints": [{"addresses": ["127.0.0.1"]}]}),
            &[r#"endpoints[0].addresses[0]: Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128)"#]),
        ("wrong family", slice(), json!({"endpoints": [{"addresses": ["fd00::1"]}]}), &[r#"endpoints[0].addresses[0]: Invalid value: "fd00::1": must be an IPv4 address"#]),
        ("no addresses", slice(), json!({"endpoints": [{"addresses": []}]}), &["endpoints[0].addresses: Required value: must contain at least 1 address"]),
        ("equal ports", slice(), json!({"ports": [{"port": 1}, {"port": 2}]}), &[r#"ports[1].name: Duplicate value: """#]),

        ("a plain claim", claim(), json!({}), &[]),
        ("no modes", claim(), json!({"spec": {"accessModes": null}}), &["spec.accessModes: Required value: at least 1 access mode is required"]),
        ("no size", claim(), json!({"spec": {"resources": null}}), &["spec.resources[storage]: Required value"]),
        ("a plain revision", revision(), json!({}), &[]),
        ("no data", revision(), json!({"data": null}), &["data: Required value: data is mandatory"]),
    ];
    for (why, base, patch, want) in cases {
        assert_eq!(created(base, patch), *want, "{why}: {patch}");
    }
}

#[test]
fn names_of_objects() {
    #[rustfmt::skip]
    let cases = [
        (set(), "Web", "a lowercase RFC 1123 label"), (set(), "a.b", "must not contain dots"),
        (service(), "0A", "a lowercase RFC 1123 label"), (pod(), "a_b", "a lowercase RFC 1123 subdomain"),
    ];
    for (base, name, want) in cases {
        let errors = created(&base, &json!({"metadata": {"name": name}}));
        let start = format!("metadata.name: Invalid value: {name:?}: {want}");
        assert!(errors.len() == 1 && errors[0].starts_with(&start), "{errors:?}");
    }
    assert_eq!(created(&pod(), &json!({"metadata": {"generateName": "web-"}})), [""; 0]);
}

#[test]
fn on_update() {
    let claim_update = "spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
    let sts_update = "spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden";
    #[rustfmt::skip]
    let cases: &[(&str, Value, Value, &[&str])] = &[
        ("scale", set(), json!({"spec": {"replicas": 5}}), &[]),
        ("partition", set(), json!({"spec": {"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}}}), &[]),
        ("service name", set(), json!({"spec": {"serviceName": "other"}}), &[sts_update]),
        ("claim templates", set(), json!({"spec": {"volumeClaimTemplates": [{"metadata": {"name": "www"}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "2Gi"}}}}]}}), &[sts_update]),
        ("revision number", revision(), json!({"revision": 2}), &[]),
        ("revision data", revision(), json!({"data": {"spec": {"x": 1}}}), &[r#"data: Invalid value: {"spec":{"x":1}}: field is immutable"#]),
        ("cluster IP", service(), json!({"spec": {"clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9"]}}), &[r#"spec.clusterIPs[0]: Invalid value: ["10.96.0.9"]: may not change once set"#]),
        ("image", pod(), json!({"spec": {"containers": [{"name": "a", "image": "nginx:1.22"}]}}), &[]),
        ("a toleration", pod(), json!({"spec": {"tolerations": [{"key": "a"}]}}), &[]),
        ("address type", slice(), json!({"addressType": "IPv6", "endpoints": []}), &[r#"addressType: Invalid value: "IPv6": field is immutable"#]),
        ("growth", bound_claim(), json!({"spec": {"resources": {"requests": {"storage": "3Gi"}}}}), &[]),
        ("growth before it is bound", claim(), json!({"spec": {"resources": {"requests": {"storage": "3Gi"}}}}), &[claim_update]),
        ("binding", claim(), json!({"spec": {"volumeName": "pvc-1"}}), &[]),
        ("shrink", bound_claim(), json!({"spec": {"resources": {"requests": {"storage": "1Gi"}}}}), &["spec.resources.requests.storage: Forbidden: field can not be less than status.capacity"]),
        ("access modes", claim(), json!({"spec": {"accessModes": ["ReadWriteMany"]}}), &[claim_update]),
        ("cluster IP alone", service(), json!({"spec": {"clusterIPs": ["10.96.0.9"]}}), &[r#"spec.clusterIPs: Invalid value: ["10.96.0.9"]: first value must match `clusterIP`"#]),
        ("a longer deadline", pod(), json!({"spec": {"activeDeadlineSeconds": -1}}), &["spec.activeDeadlineSeconds: Invalid value: -1: must be between 1 and 2147483647, inclusive", "spec.activeDeadlineSeconds: Invalid value: -1: must be between 0 and 2147483647, inclusive"]),
    ];
    for (why, base, patch, want) in cases {
        assert_eq!(updated(base, patch), *want, "{why}: {patch}");
    }
    let moved = updated(&pod(), &json!({"spec": {"hostname": "x"}}));
    assert!(
        moved[0].starts_with("spec: Forbidden: pod updates may not change fields other than"),
        "{moved:?}"
    );
}

#[test]
fn status_of_stateful_sets() {
    let resource = find_kind("apps/v1", "StatefulSet").unwrap();
    let with = |status: Value| json!({"metadata": {"name": "web"}, "status": status});
    #[rustfmt::skip]
    let cases: &[(Value, &[&str])] = &[
        (json!({"replicas": 3, "readyReplicas": 3, "availableReplicas": 3, "collisionCount": 1}), &[]),
        (json!({"replicas": 1, "readyReplicas": 2, "collisionCount": 1}), &["status.readyReplicas: Invalid value: 2: cannot be greater than status.replicas"]),
        (json!({"replicas": 1, "availableReplicas": 1, "collisionCount": 1}), &["status.availableReplicas: Invalid value: 1: cannot be greater than status.readyReplicas"]),
        (json!({"replicas": 0}), &["status.collisionCount: Invalid value: 0: cannot be decremented"]),
        (json!({"replicas": -1, "collisionCount": 1}), &["status.replicas: Invalid value: -1: must be greater than or equal to 0",
            "status.readyReplicas: Invalid value: 0: cannot be greater than status.replicas",
            "status.currentReplicas: Invalid value: 0: cannot be greater than status.replicas",
            "status.updatedReplicas: Invalid value: 0: cannot be greater than status.replicas",
            "status.availableReplicas: Invalid value: 0: cannot be greater than status.replicas"]),
    ];
    for (status, want) in cases {
        let errors = update_status(resource, &with(json!({"collisionCount": 1})), &with(status.clone()));
        assert_eq!(shown(&errors), *want, "{status}");
    }
}
