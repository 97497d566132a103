//! `ordinal lookup --explain` against a running server: where records come from, and what keeps a name out.

mod common;

use std::process::{Command, Output};

use common::{Ordinal, fixture, wait_for};
use serde_json::Value;

struct Said {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

fn said(mut command: Command) -> Said {
    let Output { status, stdout, stderr } = command.output().expect("the binary starts");
    let text = |it| String::from_utf8(it).expect("text");
    Said { code: status.code(), stdout: text(stdout), stderr: text(stderr) }
}

/// `question`: a name, and a type if it is not A.
fn explain(http: &str, question: &str) -> Said {
    let mut command = Ordinal::command();
    command.args(["lookup", "--explain"]).args(question.split(' ')).env("ORDINAL_HTTP", http);
    said(command)
}

fn start() -> Ordinal {
    let objects = fixture("explain/prod.yaml");
    let ordinal = Ordinal::up_fast(&["--namespaces=prod", "-f", objects.to_str().expect("UTF-8")]);
    for name in ["db-1.db.prod.svc.cluster.local", "slow.prod.svc.cluster.local"] {
        wait_for("the pods to show", || {
            let Said { stdout, .. } = explain(ordinal.get("http"), name);
            if stdout.contains("pod slow-0") || stdout.contains("pod db-1") { Ok(()) } else { Err(stdout) }
        });
    }
    ordinal
}

#[test]
fn records_and_missing_names_are_explained() {
    let ordinal = start();
    let (_, body) = ordinal.http_get("/dns/explain?name=db-0.db.prod.svc.cluster.local");
    let body: Value = serde_json::from_str(&body).expect("JSON");
    let address = body["records"][0]["data"].as_str().expect("an address").to_owned();
    let reversed = address.rsplit('.').collect::<Vec<_>>().join(".");
    let pointer = format!("{reversed}.in-addr.arpa PTR");
    let from_db =
        format!("pod db-0, hostname db-0, address {address}, ready, serving, not terminating, changed ");
    #[rustfmt::skip]
    let cases: [(&str, i32, &[&str]); 19] = [
        ("db-0.db.prod.svc.cluster.local", 0, &["A: 1 record, TTL 5", &format!("A {address}"), "service prod/db, slice db-", &from_db]),
        ("DB.prod.svc.cluster.local.", 0, &["db.prod.svc.cluster.local. A: 2 records", &from_db, "pod db-1"]),
        ("_sql._tcp.db.prod.svc.cluster.local SRV", 0, &["SRV 0 50 5432 db-0.db.prod.svc.cluster.local.", &from_db]),
        ("api.prod.svc.cluster.local", 0, &["A 10.96.0.50", "service prod/api, changed "]),
        (&pointer, 0, &["PTR db-0.db.prod.svc.cluster.local.", &from_db, "service prod/api, slice api-"]),
        ("shop.prod.svc.cluster.local", 0, &["CNAME shop.example.com.", "outside of the served zones and there is no upstream"]),
        ("inner.prod.svc.cluster.local", 0, &["CNAME api.prod.svc.cluster.local.", "api.prod.svc.cluster.local. A 10.96.0.50"]),
        ("db-0.db.prod.svc.cluster.local AAAA", 1, &["no record (NODATA)", "no AAAA record; it has A, SRV"]),
        ("slow.prod.svc.cluster.local", 1, &["does not exist (NXDOMAIN), TTL 1", "first label that does not exist: slow",
            "service slow exists in namespace prod but is headless and has no ready endpoint: slow-0 is not ready (slice slow-",
            "pod slow-0, ready=false, serving=false, terminating=false)"]),
        ("db-7.db.prod.svc.cluster.local", 1, &["first label that does not exist: db-7", "no endpoint of service db in namespace prod \
            is called db-7", "ready endpoints: db-0, db-1"]),
        ("web.prod.svc.cluster.local", 1, &["service web does not exist in namespace prod"]),
        ("db.pord.svc.cluster.local", 1, &["namespace pord does not exist or is not exposed (option namespaces)"]),
        ("secret.hidden.svc.cluster.local", 1, &["namespace hidden does not exist or is not exposed (option namespaces)"]),
        ("66.0.96.10.in-addr.arpa PTR", 1, &["10.96.0.66 is neither a clusterIP nor the address of a ready endpoint"]),
        ("literal.prod.svc.cluster.local", 1, &["its externalName \"192.0.2.7\" is an address"]),
        ("orphan.prod.svc.cluster.local", 1, &["EndpointSlice orphan-1 names this Service, but slices alone have no records"]),
        ("_http._udp.api.prod.svc.cluster.local SRV", 1, &["a port called http but not with protocol udp; it has _http._tcp (80)"]),
        ("10-1-2-3.prod.pod.cluster.local", 1, &["pod records are disabled (option pods)"]),
        ("www.example.com", 1, &["A: REFUSED", "outside of the served zones (cluster.local, in-addr.arpa, ip6.arpa)"]),
    ];
    for (question, code, wants) in cases {
        let Said { code: got, stdout, stderr } = explain(ordinal.get("http"), question);
        for want in wants {
            assert!(stdout.contains(want), "{question}: {want:?} missing in:\n{stdout}{stderr}");
        }
        assert_eq!((got, stderr.as_str()), (Some(code), ""), "{question}:\n{stdout}");
        let told = stdout.contains("secret") && !question.starts_with("secret");
        assert!(!told, "{question} tells of a hidden namespace:\n{stdout}");
    }
}

#[test]
fn the_server_explains_as_json() {
    let ordinal = start();
    let get = |path: &str| {
        let (status, body) = ordinal.http_get(path);
        (
            status,
            serde_json::from_str::<Value>(&body).unwrap_or_else(|error| panic!("{path}: {error}: {body}")),
        )
    };
    let (status, body) = get("/dns/explain?name=db-0.db.prod.svc.cluster.local&type=a");
    assert_eq!(status, 200);
    for (pointer, want) in [
        ("/name", "db-0.db.prod.svc.cluster.local."),
        ("/type", "A"),
        ("/zone", "cluster.local."),
        ("/rcode", "NOERROR"),
        ("/records/0/type", "A"),
        ("/records/0/sources/0/service", "prod/db"),
        ("/records/0/sources/0/pod", "db-0"),
    ] {
        assert_eq!(body.pointer(pointer), Some(&want.into()), "{pointer} of {body}");
    }
    assert!(body["records"][0]["sources"][0]["ageSeconds"].is_u64(), "{body}");

    // A namespace that is not exposed and one that does not exist read alike.
    let [hidden, missing] = ["hidden", "absent"].map(|namespace| {
        let (_, body) = get(&format!("/dns/explain?name=secret.{namespace}.svc.cluster.local"));
        body.to_string().replace(namespace, "x")
    });
    assert_eq!(hidden, missing);

    for (path, want) in [
        ("/dns/explain", "there is no name to look up"),
        ("/dns/explain?name=a..b", "name has an empty label"),
        ("/dns/explain?name=web&type=FOO", "\"FOO\" is not a record type"),
    ] {
        let (status, body) = get(path);
        assert_eq!(status, 400, "{path}: {body}");
        assert!(body["error"].as_str().is_some_and(|it| it.contains(want)), "{path}: {body}");
    }
}

#[test]
fn bad_input_is_one_clear_line() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let free = nobody.local_addr().expect("bound").to_string();
    drop(nobody);
    for (question, want) in [
        ("a..b", "\"a..b\" is not a domain name: name has an empty label"),
        ("web.prod.svc.cluster.local FOO", "\"FOO\" is not a record type"),
        ("web.prod.svc.cluster.local", "cannot reach http://127.0.0.1:"),
    ] {
        let Said { code, stdout, stderr } = explain(&free, question);
        assert_eq!((code, stdout.as_str()), (Some(1), ""), "{question}: {stderr}");
        assert!(stderr.contains(want), "{question}: {stderr}");
        assert_eq!(stderr.trim().lines().count(), 1, "{question}: {stderr}");
    }
    let Said { code, stderr, .. } = explain("nowhere", "web");
    assert_eq!(code, Some(2), "{stderr}");

    // Without the component there is nobody to ask.
    let ordinal = Ordinal::up_fast(&["--components=-dns,*"]);
    let Said { code, stderr, .. } = explain(ordinal.get("http"), "web.prod.svc.cluster.local");
    assert_eq!(code, Some(1));
    assert!(stderr.contains("runs without the component dns"), "{stderr}");
}
