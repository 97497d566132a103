//! What a user sees of mirrored Endpoints.

use serde_json::{Value, json};

use super::*;
use crate::endpointslice::subsets::tests::parse;

fn endpoints(subsets: &str) -> Endpoints {
    Endpoints {
        subsets: Some(parse(subsets)),
        ..serde_json::from_value(
            json!({"metadata": {"name": "db", "namespace": "demo", "uid": "e", "labels": {"team": "a"}}}),
        )
        .unwrap()
    }
}

/// `name=members:ports`, a `!` after members that are not ready.
fn show(slice: &EndpointSlice) -> String {
    let member = |it: &Endpoint| {
        let ready = it.conditions.as_ref().and_then(|it| it.ready) == Some(true);
        format!("{}{}", it.addresses[0].rsplit(['.', ':']).next().unwrap(), if ready { "" } else { "!" })
    };
    let members: Vec<_> = slice.endpoints.iter().flatten().map(member).collect();
    let ports: Vec<_> =
        slice.ports.iter().flatten().filter_map(|it| it.port).map(|it| it.to_string()).collect();
    format!("{}:{}", members.join(","), ports.join(","))
}

fn writes(plan: &Plan) -> String {
    let write = |it: &Write| match it {
        Write::Create(slice) => format!("+{}", show(slice)),
        Write::Update(slice) => format!("{}={}", slice.metadata.name.as_deref().unwrap(), show(slice)),
        Write::Delete(slice) => format!("-{}", slice.metadata.name.as_deref().unwrap()),
    };
    plan.writes.iter().map(write).collect::<Vec<_>>().join(" ")
}

/// Slices as this controller would have written them for other subsets, named a, b, ….
fn written(subsets: &str) -> Vec<Arc<EndpointSlice>> {
    let plan = plan(&endpoints(subsets), &[], 1000);
    let named = plan.writes.into_iter().zip('a'..).map(|(write, name)| {
        let Write::Create(mut slice) = write else { panic!("only creates") };
        slice.metadata.name = Some(name.to_string());
        Arc::new(slice)
    });
    named.collect()
}

#[test]
fn what_becomes_of_a_change() {
    #[rustfmt::skip]
    let cases = [
        ("new Endpoints",                               "",            "1,2!:80",      "+1,2!:80"),
        ("nothing changed: nothing written",            "1,2!:80",     "1,2!:80",      ""),
        ("only order changed",                          "2,1:80,81",   "1,2:81,80",    ""),
        ("an address comes and one goes, in place",     "1,2:80",      "2,3:80",       "a=2,3:80"),
        ("not ready any more",                          "1:80",        "1!:80",        "a=1!:80"),
        ("a port changes, the name stays",              "1,2:80",      "1,2:81",       "a=1,2:81"),
        ("one address, two subsets: one slice",         "",            "1:80 1:81",    "+1:80,81"),
        ("other addresses: two slices",                 "",            "1:80 2:81",    "+1:80 +2:81"),
        ("one subset goes",                             "1:80 2:81",   "1:80",         "-b"),
        ("empty: no slice and no placeholder",          "1:80",        "",             "-a"),
        ("an address changes subsets: in before out",   "1,2:80 3:81", "1:80 2,3:81",  "b=2,3:81 a=1:80"),
    ];
    for (why, before, after, want) in cases {
        let plan = plan(&endpoints(after), &written(before), 1000);
        assert_eq!(writes(&plan), want, "{why}: {before} to {after}");
    }
}

#[test]
fn duplicates_go_and_foreign_edits_are_reverted() {
    let mut slices = written("1:80");
    let mut second = (*slices[0]).clone();
    second.metadata.name = Some("b".to_owned());
    slices.push(Arc::new(second));
    assert_eq!(writes(&plan(&endpoints("1:80"), &slices, 1000)), "-b");
    let edit = |change: fn(&mut EndpointSlice)| {
        let mut slice = (*written("1:80")[0]).clone();
        change(&mut slice);
        writes(&plan(&endpoints("1:80"), &[Arc::new(slice)], 1000))
    };
    assert_eq!(edit(|_| ()), "");
    assert_eq!(edit(|it| drop(it.metadata.labels.as_mut().unwrap().remove("team"))), "a=1:80");
    assert_eq!(
        edit(|it| it.metadata.annotations = Some([("x".into(), "y".into())].into())),
        "a=1:80",
        "exactly"
    );
    assert_eq!(edit(|it| it.metadata.finalizers = Some(vec!["x/y".into()])), "");
    assert_eq!(
        edit(|it| it.metadata.deletion_timestamp =
            Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(jiff::Timestamp::UNIX_EPOCH))),
        "+1:80"
    );
}

#[test]
fn the_object() {
    let mut source = endpoints("1:80");
    source.metadata.annotations = Some(
        [(TRIGGER_TIME, "t"), (LAST_APPLIED, "{}"), ("mine", "1")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
    );
    let address = &mut source.subsets.as_mut().unwrap()[0].addresses.as_mut().unwrap()[0];
    address.hostname = Some("db-0".to_owned());
    address.node_name = Some("n".to_owned());
    address.ip = "fd00:0::1".to_owned();
    let plan = plan(&source, &[], 1000);
    let Write::Create(slice) = &plan.writes[0] else { panic!("{plan:?}") };
    let want = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"namespace": "demo", "annotations": {"mine": "1"},
            "labels": {"team": "a", "kubernetes.io/service-name": "db", "endpointslice.kubernetes.io/managed-by": CONTROLLER},
            "ownerReferences": [{"apiVersion": "v1", "kind": "Endpoints", "name": "db", "uid": "e", "controller": true, "blockOwnerDeletion": true}]},
        "addressType": "IPv6", "ports": [{"name": "p80", "port": 80, "protocol": "TCP"}],
        "endpoints": [{"addresses": ["fd00::1"], "conditions": {"ready": true}, "hostname": "db-0", "nodeName": "n"}],
    });
    assert_eq!(serde_json::to_value(slice).unwrap(), want);
}

#[test]
fn limits_and_addresses_that_are_none() {
    let mut source = endpoints("1,2,3!,4!:80");
    source.subsets.as_mut().unwrap()[0].addresses.as_mut().unwrap()[0].ip = "db.example".to_owned();
    let plan = plan(&source, &[], 2);
    assert_eq!(writes(&plan), "+2,3!:80", "ready ones first");
    assert_eq!((plan.invalid, plan.skipped), (1, 2));
}

#[test]
fn what_is_mirrored() {
    let with = |meta: Value| mirrorable(&serde_json::from_value(json!({"metadata": meta})).unwrap());
    assert!(with(json!({"name": "db"})));
    assert!(!with(json!({"labels": {SKIP_MIRROR: "true"}})));
    assert!(with(json!({"labels": {SKIP_MIRROR: "True"}})), "only the exact value counts");
    assert!(!with(json!({"annotations": {LEADER: "{}"}})));
}
