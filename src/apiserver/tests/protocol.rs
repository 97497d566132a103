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

/// What no client of ours sends: each answer is a Status (or a success upstream gives too), and none hangs.
#[tokio::test]
async fn absurd_requests() {
    let fixture = start(options());
    let _: ConfigMap = fixture.create(config_map("a", "1")).await;
    let maps = "/api/v1/namespaces/default/configmaps";
    let manager = format!("{maps}?fieldManager={}", "x".repeat(129));
    let label = format!(r#"{{"metadata":{{"name":"n","labels":{{"a":"{}"}}}}}}"#, "x".repeat(64));
    let ahead = format!("{maps}?continue=eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6OTk5OTksInN0YXJ0IjoiYS9iIn0");
    let under = |suffix: &str| format!("{maps}{suffix}");
    #[rustfmt::skip]
    let cases: &[(Method, String, &str, u16)] = &[
        (Method::GET,    under("?limit=-1"),                                   "", 200),
        (Method::GET,    under("?limit=x"),                                    "", 400),
        (Method::GET,    under("?timeoutSeconds=x"),                           "", 400),
        (Method::GET,    under("?watch=1&timeoutSeconds=x"),                   "", 400),
        (Method::GET,    under("?watch=1&timeoutSeconds=-1"),                  "", 200),
        (Method::GET,    under("?watch=1&limit=x"),                            "", 400),
        (Method::GET,    under("?watch=1&resourceVersion=abc"),                "", 400),
        (Method::GET,    under("?watch=perhaps&timeoutSeconds=x"),             "", 400),
        (Method::GET,    under("?resourceVersion=abc"),                        "", 400),
        (Method::GET,    under("?resourceVersion=99999999999999999999999"),    "", 400),
        (Method::GET,    under("?continue=%25%25"),                            "", 400),
        (Method::GET,    ahead,                                                "", 400),
        (Method::GET,    under("?labelSelector=((&"),                          "", 400),
        (Method::GET,    under("?labelSelector=%00"),                          "", 400),
        (Method::GET,    under("?fieldSelector=foo%3Dbar"),                    "", 400),
        (Method::GET,    under("/a%2Fb"),                                      "", 404),
        (Method::GET,    under("/%2e%2e"),                                     "", 400),
        (Method::GET,    under("/%ff%00"),                                     "", 404),
        (Method::GET,    under("/x%zz"),                                       "", 404),
        (Method::HEAD,   under("/nope"),                                       "", 404),
        (Method::HEAD,   under("?watch=1"),                                    "", 200),
        (Method::POST,   maps.into(),                                          "", 400),
        (Method::POST,   maps.into(),                                          "null", 422),
        (Method::POST,   maps.into(),                                          "[]", 400),
        (Method::POST,   maps.into(),                                          r#"{"metadata":[]}"#, 400),
        (Method::POST,   maps.into(),                                          r#"{"metadata":{"name":5}}"#, 400),
        (Method::POST,   maps.into(),                                          r#"{"apiVersion":1,"metadata":{"name":"n"}}"#, 400),
        (Method::POST,   maps.into(),                                          r#"{"kind":{},"metadata":{"name":"n"}}"#, 400),
        (Method::POST,   maps.into(),                                          r#"{"metadata":{"name":"a/b"}}"#, 422),
        (Method::POST,   maps.into(),                                          r#"{"metadata":{"name":"n","labels":[]}}"#, 400),
        (Method::POST,   maps.into(),                                          &label, 422),
        (Method::POST,   manager,                                              r#"{"metadata":{"name":"n"}}"#, 422),
        (Method::POST,   under("?dryRun=Some"),                                r#"{"metadata":{"name":"n"}}"#, 422),
        (Method::POST,   "/version".into(),                                    "", 405),
        (Method::DELETE, "/apis".into(),                                       "", 405),
        (Method::POST,   "/nope".into(),                                       "", 404),
        (Method::PUT,    maps.into(),                                          "{}", 405),
        (Method::OPTIONS, maps.into(),                                         "", 405),
        (Method::DELETE, under("/a"),                                          "{", 400),
        (Method::DELETE, under("/a"),                                          "[]", 400),
        (Method::DELETE, under("/a"),                                          r#"{"gracePeriodSeconds":"x"}"#, 400),
        (Method::DELETE, under("/a?gracePeriodSeconds=x"),                     "", 400),
        (Method::DELETE, under("/a?propagationPolicy=Zap"),                    "", 422),
    ];
    for (method, uri, body, want) in cases {
        let head = *method == Method::HEAD;
        let (code, headers, answer) = fixture.raw(method.clone(), uri, &[], *body).await;
        assert_eq!(code, *want, "{method} {uri} {body}: {answer}");
        if code >= 400 && !head {
            let told = (&answer["kind"], &answer["status"], &answer["code"]);
            assert_eq!(told, (&json!("Status"), &json!("Failure"), &json!(code)), "{method} {uri}: {answer}");
        }
        if head && code >= 400 {
            assert!(headers.iter().any(|(name, value)| name == "content-length" && value != "0"), "{uri}");
        }
    }
    let merge = "application/merge-patch+json";
    let strategic = "application/strategic-merge-patch+json";
    let json_patch = "application/json-patch+json";
    let apply = "application/apply-patch+yaml";
    #[rustfmt::skip]
    let patches: &[(&str, &str, u16)] = &[
        (json_patch, "{}", 400),
        (json_patch, r#"[{"op":"zap"}]"#, 422),
        (json_patch, r#"[{"op":"remove","path":"/metadata"}]"#, 400),
        (json_patch, r#"[{"op":"replace","path":"","value":5}]"#, 422),
        (json_patch, r#"[{"op":"replace","path":"/metadata","value":5}]"#, 422),
        (merge,      "", 400),
        (merge,      "[]", 400),
        (merge,      r#"{"metadata":null}"#, 400),
        (merge,      r#"{"metadata":"x"}"#, 422),
        (merge,      r#"{"data":{"a":5}}"#, 422),
        (strategic,  "5", 400),
        (strategic,  r#"{"metadata":{"labels":{"$patch":"zap"}}}"#, 500),
        (apply,      "", 400),
        (apply,      "{", 400),
        (apply,      r#"{"metadata":"x"}"#, 400),
    ];
    for (patch_type, body, want) in patches {
        let uri = under("/a?fieldManager=m");
        let (code, _, answer) =
            fixture.raw(Method::PATCH, &uri, &[("content-type", *patch_type)], *body).await;
        assert_eq!((code, &answer["kind"]), (*want, &json!("Status")), "{patch_type} {body}: {answer}");
    }
    let deep = format!(
        r#"{{"metadata":{{"name":"d"}},"revision":1,"data":{}{}}}"#,
        "[".repeat(110),
        "]".repeat(110)
    );
    let revisions = "/apis/apps/v1/namespaces/default/controllerrevisions";
    assert_eq!(fixture.raw(Method::POST, revisions, &[], deep).await.0, 400, "others could not read it");
}

#[tokio::test]
async fn unknown_fields_are_told() {
    let fixture = start(options());
    let maps = "/api/v1/namespaces/default/configmaps";
    let body = |name: &str| format!(r#"{{"metadata":{{"name":"{name}","nome":1}},"dota":{{}}}}"#);
    #[rustfmt::skip]
    let cases = [
        ("a", "",                            201, 2),
        ("b", "?fieldValidation=Warn",       201, 2),
        ("c", "?fieldValidation=Ignore",     201, 0),
        ("d", "?fieldValidation=Strict",     400, 0),
        ("e", "?fieldValidation=Perhaps",    422, 0),
    ];
    for (name, query, want, warnings) in cases {
        let (code, headers, answer) =
            fixture.raw(Method::POST, &format!("{maps}{query}"), &[], body(name)).await;
        assert_eq!(code, want, "{query}: {answer}");
        let told: Vec<_> = headers.iter().filter(|(name, _)| name == "warning").map(|it| &it.1).collect();
        assert_eq!(told.len(), warnings, "{query}: {told:?}");
        if warnings > 0 {
            assert_eq!(told[1], r#"299 - "unknown field \"dota\"""#, "in the order of the body");
        }
    }
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
