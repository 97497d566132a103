use super::*;
use crate::apiserver::resources::find_kind;
use serde_json::json;

#[test]
fn strategic() {
    let pod = json!({"containers": [{"name": "a", "image": "1", "env": [{"name": "X", "value": "1"}]}, {"name": "b", "image": "1"}]});
    #[rustfmt::skip]
    let cases = [
        ("a container merges by name", pod.clone(), json!({"containers": [{"name": "a", "image": "2"}]}),
            json!({"containers": [{"name": "a", "image": "2", "env": [{"name": "X", "value": "1"}]}, {"name": "b", "image": "1"}]})),
        ("an item is deleted", pod.clone(), json!({"containers": [{"name": "a", "$patch": "delete"}]}),
            json!({"containers": [{"name": "b", "image": "1"}]})),
        ("a list is replaced", pod.clone(), json!({"containers": [{"$patch": "replace"}, {"name": "c"}]}),
            json!({"containers": [{"name": "c"}]})),
        ("order is set", pod.clone(), json!({"$setElementOrder/containers": [{"name": "c"}, {"name": "a"}], "containers": [{"name": "c"}]}),
            json!({"containers": [{"name": "c"}, {"name": "a", "image": "1", "env": [{"name": "X", "value": "1"}]}, {"name": "b", "image": "1"}]})),
        ("null deletes", json!({"nodeName": "n", "hostname": "h"}), json!({"hostname": null}), json!({"nodeName": "n"})),
        ("a nested env merges", pod, json!({"containers": [{"name": "a", "env": [{"name": "Y", "value": "2"}, {"name": "X", "$patch": "delete"}]}]}),
            json!({"containers": [{"name": "a", "image": "1", "env": [{"name": "Y", "value": "2"}]}, {"name": "b", "image": "1"}]})),
        ("a plain list is replaced", json!({"tolerations": [{"key": "a"}]}), json!({"tolerations": [{"key": "b"}]}), json!({"tolerations": [{"key": "b"}]})),
        ("retainKeys drops the other source", json!({"volumes": [{"name": "v", "emptyDir": {}}]}),
            json!({"volumes": [{"name": "v", "hostPath": {"path": "/"}, "$retainKeys": ["name", "hostPath"]}]}),
            json!({"volumes": [{"name": "v", "hostPath": {"path": "/"}}]})),
        ("a map is replaced", json!({"securityContext": {"runAsUser": 1}}), json!({"securityContext": {"$patch": "replace", "fsGroup": 2}}),
            json!({"securityContext": {"fsGroup": 2}})),
        ("a map is emptied", json!({"securityContext": {"runAsUser": 1}}), json!({"securityContext": {"$patch": "delete"}}), json!({"securityContext": {}})),
        ("a new map loses its directives", json!({}), json!({"containers": [{"name": "a", "env": [{"name": "X", "$patch": "delete"}]}]}),
            json!({"containers": [{"name": "a", "env": []}]})),
    ];
    let resource = find_kind("v1", "Pod").unwrap();
    for (why, live, patch, want) in cases {
        let got = strategic_merge_patch(resource, &json!({"spec": live}), &json!({"spec": patch}));
        assert_eq!(got.unwrap(), json!({"spec": want}), "{why}");
    }
}

#[test]
fn finalizers_merge_as_a_set() {
    let resource = find_kind("v1", "ConfigMap").unwrap();
    let live = json!({"metadata": {"finalizers": ["a", "b"]}});
    let patch = json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"], "finalizers": ["c"],
        "$setElementOrder/finalizers": ["c", "b"]}});
    let got = strategic_merge_patch(resource, &live, &patch).unwrap();
    assert_eq!(got, json!({"metadata": {"finalizers": ["c", "b"]}}));
}

#[test]
fn a_rollback_replaces_the_template() {
    let resource = find_kind("apps/v1", "StatefulSet").unwrap();
    let live = json!({"spec": {"replicas": 3, "template": {"metadata": {"labels": {"a": "b"}, "annotations": {"x": "y"}},
        "spec": {"containers": [{"name": "a", "image": "2"}, {"name": "extra"}]}}}});
    let patch = json!({"spec": {"template": {"$patch": "replace", "metadata": {"labels": {"a": "b"}},
        "spec": {"containers": [{"name": "a", "image": "1"}]}}}});
    let got = strategic_merge_patch(resource, &live, &patch).unwrap();
    assert_eq!(
        got,
        json!({"spec": {"replicas": 3, "template": {"metadata": {"labels": {"a": "b"}},
            "spec": {"containers": [{"name": "a", "image": "1"}]}}}})
    );
}

#[test]
fn strategic_errors() {
    let resource = find_kind("v1", "Pod").unwrap();
    #[rustfmt::skip]
    let cases = [
        (json!({"spec": {"containers": [{"image": "x"}]}}),
            PatchError::Untyped("map: map[image:x] does not contain declared merge key: name".into())),
        (json!({"$patch": "explode"}), PatchError::Untyped("unknown patch type: explode in map: map[$patch:explode]".into())),
        (json!({"spec": {"$setElementOrder/containers": "x"}}),
            PatchError::Untyped("expected a []interface {}, but received a string".into())),
        (json!([]), PatchError::BadRequest("strategic merge patch: expected an object".into())),
    ];
    for (patch, want) in cases {
        assert_eq!(strategic_merge_patch(resource, &json!({"spec": {}}), &patch), Err(want), "{patch}");
    }
}

#[test]
fn json_patches() {
    let live = json!({"metadata": {"name": "a"}, "spec": {"containers": [{"image": "1"}]}});
    #[rustfmt::skip]
    let cases = [
        (r#"[{"op":"replace","path":"/spec/containers/0/image","value":"2"}]"#, Ok(json!({"metadata": {"name": "a"}, "spec": {"containers": [{"image": "2"}]}}))),
        (r#"[{"op":"test","path":"/metadata/finalizers","value":null},{"op":"add","path":"/metadata/finalizers","value":["f"]}]"#,
            Ok(json!({"metadata": {"name": "a", "finalizers": ["f"]}, "spec": {"containers": [{"image": "1"}]}}))),
        (r#"[{"op":"test","path":"/metadata/name","value":"b"}]"#, Err(PatchError::Invalid(JSON_PATCH_FAILED.into()))),
        (r#"[{"op":"add","path":"/status/x","value":1}]"#, Err(PatchError::Invalid(JSON_PATCH_FAILED.into()))),
    ];
    for (patch, want) in cases {
        assert_eq!(json_patch(&live, patch.as_bytes()), want, "{patch}");
    }
    assert!(matches!(json_patch(&live, b"{}"), Err(PatchError::BadRequest(_))));
    let many =
        format!("[{}]", vec![r#"{"op":"test","path":"/metadata/name","value":"a"}"#; 10_001].join(","));
    assert!(matches!(json_patch(&live, many.as_bytes()), Err(PatchError::BadRequest(_))));
}

#[test]
fn merge_patches() {
    let live = json!({"a": {"b": 1, "c": 2}});
    assert_eq!(
        merge_patch(&live, &json!({"a": {"b": null}, "d": {"e": null}})),
        json!({"a": {"c": 2}, "d": {}})
    );
}
