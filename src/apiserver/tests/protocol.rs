//! Requests kube-rs does not make, but kubectl does.

use super::*;

/// (why, method, path, headers, body, expected code)
type Case<'a> = (&'a str, Method, String, &'a [(&'a str, &'a str)], &'a str, u16);

#[tokio::test]
async fn answers_by_request() {
    let fixture = start(options());
    let _: ConfigMap = fixture.create(config_map("a", "1")).await;
    let map = config_map("n", "1").to_string();
    let maps = "/api/v1/namespaces/default/configmaps";
    let merge: &[(&str, &str)] = &[("content-type", "application/merge-patch+json")];
    let protobuf: &[(&str, &str)] = &[("content-type", "application/vnd.kubernetes.protobuf")];
    let bad_accept: &[(&str, &str)] = &[("accept", "application/vnd.kubernetes.protobuf")];
    let deep = "[".repeat(200);
    #[rustfmt::skip]
    let cases: &[Case<'_>] = &[
        ("no Content-Type means JSON",      Method::POST,   maps.into(),                        &[],        &map, 201),
        ("not the protobuf it claims to be", Method::POST,  maps.into(),                        protobuf,   &map, 400),
        ("CBOR is refused",                 Method::POST,   maps.into(),                        &[("content-type", "application/cbor")], &map, 415),
        ("nesting is limited",              Method::POST,   maps.into(),                        &[],        &deep, 400),
        ("a body of another kind",          Method::POST,   maps.into(),                        &[],        r#"{"apiVersion":"v1","kind":"Secret","metadata":{"name":"x"}}"#, 400),
        ("another namespace in the body",   Method::POST,   maps.into(),                        &[],        r#"{"metadata":{"name":"x","namespace":"other"}}"#, 400),
        ("no name",                         Method::POST,   maps.into(),                        &[],        r#"{"metadata":{}}"#, 422),
        ("a namespace that does not exist", Method::POST,   "/api/v1/namespaces/nope/configmaps".into(), &[], &map, 404),
        ("an unknown kind",                 Method::GET,    "/api/v1/widgets".into(),           &[],        "", 404),
        ("an unknown group",                Method::GET,    "/apis/nope/v1".into(),             &[],        "", 404),
        ("a method that is not served",     Method::POST,   format!("{maps}/a"),                &[],        &map, 405),
        ("logs need a runtime",             Method::GET,    "/api/v1/namespaces/default/pods/p/log".into(), &[], "", 501),
        ("an Accept that cannot be served", Method::GET,    maps.into(),                        bad_accept, "", 406),
        ("a future version",                Method::GET,    format!("{maps}?resourceVersion=99999"), &[],   "", 504),
        ("apply needs a manager",           Method::PATCH,  format!("{maps}/a"),                &[("content-type", "application/apply-patch+yaml")], &map, 422),
        ("force is for apply",              Method::PATCH,  format!("{maps}/a?force=true"),     merge,      "{}", 422),
        ("an unknown patch type",           Method::PATCH,  format!("{maps}/a"),                &[("content-type", "application/json")], "{}", 415),
        ("a patch that is not JSON",        Method::PATCH,  format!("{maps}/a"),                merge,      "{", 400),
        ("leases need a version to change", Method::PUT,    "/apis/coordination.k8s.io/v1/namespaces/default/leases/l".into(), &[], r#"{"metadata":{"name":"l"}}"#, 201),
        ("…once they exist",                Method::PUT,    "/apis/coordination.k8s.io/v1/namespaces/default/leases/l".into(), &[], r#"{"metadata":{"name":"l"}}"#, 422),
        ("HEAD answers without a body",     Method::HEAD,   format!("{maps}/a"),                &[],        "", 200),
        ("health",                          Method::GET,    "/readyz".into(),                   &[],        "", 200),
        ("an access review",                Method::POST,   "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews".into(), &[], r#"{"spec":{}}"#, 201),
        ("both policies",                   Method::DELETE, format!("{maps}/a"),                &[],        r#"{"propagationPolicy":"Orphan","orphanDependents":true}"#, 422),
        ("a dry deletion",                  Method::DELETE, format!("{maps}/a"),                &[],        r#"{"dryRun":["All"]}"#, 200),
        ("a deletion",                      Method::DELETE, format!("{maps}/a"),                &[],        "", 200),
        ("a second deletion",               Method::DELETE, format!("{maps}/a"),                &[],        "", 404),
    ];
    for (why, method, uri, headers, body, want) in cases {
        let (code, _, answer) = fixture.raw(method.clone(), uri, headers, *body).await;
        assert_eq!(code, *want, "{why}: {method} {uri}: {answer}");
    }
    let large = vec![b' '; 4 * 1024 * 1024];
    assert_eq!(fixture.raw(Method::POST, maps, &[], large).await.0, 413);
}

#[tokio::test]
async fn lists_omit_types_and_name_their_version() {
    let fixture = start(options());
    let _: ConfigMap = fixture.create(config_map("a", "1")).await;
    let (_, _, list) =
        fixture.raw(Method::GET, "/api/v1/namespaces/default/configmaps?&limit=500", &[], "").await;
    assert_eq!((&list["kind"], &list["apiVersion"]), (&json!("ConfigMapList"), &json!("v1")));
    assert_eq!(list["metadata"]["resourceVersion"], fixture.server.store().version().to_string());
    assert!(list["items"][0].get("kind").is_none());
    let (_, _, empty) = fixture.raw(Method::GET, "/api/v1/pods", &[], "").await;
    assert_eq!(empty["items"], json!([]));
}

#[tokio::test]
async fn discovery_is_negotiated() {
    let fixture = start(options());
    let aggregated = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
    let (_, headers, body) = fixture.raw(Method::GET, "/apis", &[("accept", aggregated)], "").await;
    assert_eq!(body["kind"], "APIGroupDiscoveryList");
    let header = |name: &str| headers.iter().find(|(it, _)| it == name).map(|(_, value)| value.as_str());
    assert_eq!(
        header("content-type"),
        Some("application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList")
    );
    assert_eq!(header("vary"), Some("Accept"));
    let (_, _, body) = fixture.raw(Method::GET, "/apis", &[], "").await;
    assert_eq!(body["kind"], "APIGroupList");
    let (_, headers, _) = fixture.raw(Method::GET, "/openapi/v2", &[], "").await;
    let content_type = headers.iter().find(|(it, _)| it == "content-type").map(|(_, value)| value.as_str());
    assert_eq!(content_type, Some("application/com.github.proto-openapi.spec.v2.v1.0+protobuf"));
    let (_, _, index) = fixture.raw(Method::GET, "/openapi/v3", &[], "").await;
    let url = index["paths"]["apis/apps/v1"]["serverRelativeURL"].as_str().unwrap();
    let (code, headers, _) = fixture.raw(Method::GET, url, &[], "").await;
    assert_eq!(code, 200);
    assert!(headers.contains(&("cache-control".into(), "public, immutable".into())));
}

#[tokio::test]
async fn both_event_groups_share_one_store() {
    let fixture = start(options());
    let event = json!({"apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "e"},
        "eventTime": "2026-01-01T00:00:00.000000Z", "action": "Create", "type": "Normal", "reason": "Created",
        "reportingController": "ordinal", "reportingInstance": "me", "note": "made it",
        "regarding": {"kind": "Pod", "name": "p", "namespace": "default"}});
    let uri = "/apis/events.k8s.io/v1/namespaces/default/events";
    let (code, _, answer) = fixture.raw(Method::POST, uri, &[], event.to_string()).await;
    assert_eq!(code, 201, "{answer}");
    assert_eq!((&answer["note"], &answer["apiVersion"]), (&json!("made it"), &json!("events.k8s.io/v1")));
    let list = "/api/v1/namespaces/default/events?fieldSelector=involvedObject.name%3Dp";
    let (_, _, core) = fixture.raw(Method::GET, list, &[], "").await;
    assert_eq!(core["items"][0]["message"], "made it");
    assert_eq!(core["items"][0]["involvedObject"]["name"], "p");
    assert_eq!(core["items"][0]["reportingComponent"], "ordinal");
    let series = json!({"series": {"count": 2, "lastObservedTime": "2026-01-01T00:00:01.000000Z"}});
    let merge = [("content-type", "application/merge-patch+json")];
    let (code, _, answer) = fixture.raw(Method::PATCH, &format!("{uri}/e"), &merge, series.to_string()).await;
    assert_eq!((code, &answer["series"]["count"]), (200, &json!(2)), "{answer}");
}
