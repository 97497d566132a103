use super::*;
use crate::apiserver::resources::find_kind;

const NOW: &str = "2026-01-01T00:00:00Z";

fn by(manager: &str) -> ApplyOptions<'_> {
    ApplyOptions { manager, force: false, subresource: "", now: NOW }
}

fn sts(spec: &Value) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "web", "namespace": "demo"}, "spec": spec})
}

/// Applies each (manager, spec) in turn; gives the last spec or the error's message.
fn run(steps: &[(&str, Value)]) -> Result<Value, String> {
    let resource = find_kind("apps/v1", "StatefulSet").unwrap();
    let mut live: Option<Value> = None;
    for (manager, spec) in steps {
        let options = ApplyOptions { force: manager.ends_with('!'), ..by(manager.trim_end_matches('!')) };
        match apply(resource, live.as_ref(), &sts(spec), &options) {
            Ok(applied) => live = Some(applied),
            Err(
                ApplyError::Conflict { message, .. }
                | ApplyError::BadRequest(message)
                | ApplyError::Typed(message),
            ) => {
                return Err(message);
            }
        }
    }
    Ok(live.unwrap()["spec"].clone())
}

/// Why, the applies in order as (manager, spec), and the resulting spec or the message.
type Case = (&'static str, Vec<(&'static str, Value)>, Result<Value, &'static str>);

#[test]
fn sequences() {
    let env = |names: &[&str]| {
        let env: Vec<Value> = names.iter().map(|it| json!({"name": it, "value": "1"})).collect();
        json!({"template": {"spec": {"containers": [{"name": "a", "env": env}]}}})
    };
    #[rustfmt::skip]
    let cases: &[Case] = &[
        ("creates", vec![("a", json!({"replicas": 3}))], Ok(json!({"replicas": 3}))),
        ("changes its own", vec![("a", json!({"replicas": 3})), ("a", json!({"replicas": 4}))], Ok(json!({"replicas": 4}))),
        ("removes what it omits", vec![("a", json!({"replicas": 3, "minReadySeconds": 5})), ("a", json!({"replicas": 3}))], Ok(json!({"replicas": 3}))),
        ("shares equal values", vec![("a", json!({"replicas": 3})), ("b", json!({"replicas": 3})), ("a", json!({"minReadySeconds": 1}))],
            Ok(json!({"replicas": 3, "minReadySeconds": 1}))),
        ("conflicts", vec![("a", json!({"replicas": 3})), ("b", json!({"replicas": 4}))],
            Err(r#"Apply failed with 1 conflict: conflict with "a": .spec.replicas"#)),
        ("lists conflicts", vec![("a", json!({"replicas": 3, "minReadySeconds": 1})), ("b", json!({"replicas": 4, "minReadySeconds": 2}))],
            Err("Apply failed with 2 conflicts: conflicts with \"a\":\n- .spec.minReadySeconds\n- .spec.replicas")),
        ("force takes over", vec![("a", json!({"replicas": 3})), ("b!", json!({"replicas": 4})), ("a", json!({"minReadySeconds": 1}))],
            Ok(json!({"replicas": 4, "minReadySeconds": 1}))),
        ("list items belong to their managers", vec![("a", env(&["X"])), ("b", env(&["Y"])), ("a", env(&[]))], Ok(env(&["Y"]))),
        ("omitted items go", vec![("a", env(&["X", "Y"])), ("a", env(&["Y"]))], Ok(env(&["Y"]))),
        ("the last item takes its list along", vec![("a", env(&["X"])), ("a", json!({"template": {"spec": {"containers": [{"name": "a"}]}}}))],
            Ok(json!({"template": {"spec": {"containers": [{"name": "a"}]}}}))),
        ("a selector is one leaf", vec![("a", json!({"selector": {"matchLabels": {"x": "1", "y": "2"}}})), ("a", json!({"selector": {"matchLabels": {"x": "1"}}}))],
            Ok(json!({"selector": {"matchLabels": {"x": "1"}}}))),
        ("equal quantities are no conflict", vec![
            ("a", json!({"template": {"spec": {"containers": [{"name": "a", "resources": {"limits": {"memory": "1Gi"}}}]}}})),
            ("b", json!({"template": {"spec": {"containers": [{"name": "a", "resources": {"limits": {"memory": "1024Mi"}}}]}}}))],
            Ok(json!({"template": {"spec": {"containers": [{"name": "a", "resources": {"limits": {"memory": "1Gi"}}}]}}}))),
        ("unknown fields", vec![("a", json!({"foo": 1}))],
            Err("failed to create typed patch object (demo/web; apps/v1, Kind=StatefulSet): .spec.foo: field not declared in schema")),
    ];
    for (why, steps, want) in cases {
        assert_eq!(run(steps), want.clone().map_err(str::to_owned), "{why}");
    }
}

#[test]
fn entries_name_the_applier() {
    let resource = find_kind("apps/v1", "StatefulSet").unwrap();
    let first = apply(resource, None, &sts(&json!({"replicas": 3})), &by("kubectl")).unwrap();
    let want = json!([{"manager": "kubectl", "operation": "Apply", "apiVersion": "apps/v1", "time": NOW,
        "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {"f:replicas": {}}}}]);
    assert_eq!(first["metadata"]["managedFields"], want);
    let later = ApplyOptions { now: "2026-01-02T00:00:00Z", ..by("kubectl") };
    assert_eq!(apply(resource, Some(&first), &sts(&json!({"replicas": 3})), &later).unwrap(), first);
}

#[test]
fn ordinary_writers_conflict_where_recorded() {
    let resource = find_kind("apps/v1", "StatefulSet").unwrap();
    let mut live = sts(&json!({"replicas": 3}));
    live["metadata"]["managedFields"] = json!([{"manager": "kubectl-edit", "operation": "Update", "apiVersion": "apps/v1",
        "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {"f:replicas": {}}}}]);
    let error = apply(resource, Some(&live), &sts(&json!({"replicas": 4})), &by("kubectl")).unwrap_err();
    let title = r#"conflict with "kubectl-edit" using apps/v1"#;
    let want = ApplyError::Conflict {
        message: format!("Apply failed with 1 conflict: {title}: .spec.replicas"),
        causes: vec![(title.to_owned(), ".spec.replicas".to_owned())],
    };
    assert_eq!(error, want);
}

#[test]
fn managed_fields_are_not_applied() {
    let resource = find_kind("v1", "ConfigMap").unwrap();
    let config = json!({"metadata": {"name": "a", "managedFields": []}});
    let error = apply(resource, None, &config, &by("a")).unwrap_err();
    assert_eq!(error, ApplyError::BadRequest("metadata.managedFields must be nil".into()));
}

#[test]
fn the_status_is_applied_on_its_own() {
    let resource = find_kind("apps/v1", "StatefulSet").unwrap();
    let live = sts(&json!({"replicas": 3}));
    let mut config = sts(&json!({"replicas": 9}));
    config["status"] = json!({"replicas": 2});
    let options = ApplyOptions { subresource: "status", ..by("c") };
    let applied = apply(resource, Some(&live), &config, &options).unwrap();
    assert_eq!((&applied["spec"]["replicas"], &applied["status"]["replicas"]), (&json!(3), &json!(2)));
    let applied = apply(resource, Some(&live), &config, &by("c")).unwrap();
    assert_eq!((&applied["spec"]["replicas"], &applied["status"]), (&json!(9), &Value::Null));
}
