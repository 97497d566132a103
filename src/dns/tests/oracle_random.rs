//! Random clusters: the records of our own zone transfer, loaded into the oracle, must say the same as the server.
//!
//! Clusters are drawn from small vocabularies, so that names collide: services called like the labels of the schema,
//! hostnames shared between endpoints or equal to dashed addresses, endpoints that have a clusterIP, chains of
//! ExternalNames into every kind of name. Questions are names of the zones, names made of the same vocabulary, and both
//! with a change or two. Each accepted difference is listed with its reason and must occur.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;

use proptest::prelude::*;
use proptest::sample::select;

use super::oracle::{FlatRecord, FlatZone, Key, Oracle, text};
use super::oracle_questions::{Accepted, World, compare};
use super::transfer::records;
use super::*;

const CLUSTERS: u32 = 400;
const QUESTIONS: usize = 250;

const NAMESPACES: [&str; 5] = ["prod", "dev", "svc", "pod", "dns"];
/// The last two belong to no namespace that exists.
const HOMES: [&str; 7] = ["prod", "prod", "dev", "svc", "pod", "gone", "ns"];
const SERVICES: [&str; 9] = ["web", "api", "db", "a", "svc", "pod", "dns", "_tcp", "10-0-0-1"];
const PORTS: [&str; 9] =
    ["http:80", "http:81", "http:80/udp", "dns:53/udp", "dns:53", ":90", ":80/sctp", "m:5/sctp", "web-0:7"];
const HOSTS: [&str; 9] =
    ["=web-0", "=web-0", "=web-1", "=a", "=10-0-0-1", "@pod-1", "=web-1@pod-1", "@a.b", ""];
const TARGETS: [&str; 16] = [
    "web.prod.svc.cluster.local",
    "api.prod.svc.cluster.local.",
    "A.prod.SVC.cluster.local",
    "a.prod.svc.cluster.local",
    "db.dev.svc.cluster.local",
    "web-0.web.prod.svc.cluster.local",
    "_http._tcp.web.prod.svc.cluster.local",
    "missing.prod.svc.cluster.local",
    "prod.svc.cluster.local",
    "dns-version.cluster.local",
    "cluster.local",
    "ns.dns.cluster.local",
    "1.0.0.10.in-addr.arpa",
    "www.example.com",
    "local",
    "192.0.2.1",
];
const CONFIGS: [&str; 6] = [
    "endpointNames: hostname",
    "endpointNames: pod-name, ptr: prefer-hostname",
    "endpointNames: both, ptr: hostname-only",
    "hideEmptyServices: true, ttl: 30",
    "namespaces: [prod, svc], nameServerAddresses: [10.0.0.1]",
    "pods: insecure, zones: [other.test, cluster.local, 0.10.in-addr.arpa, ip6.arpa]",
];

/// A line of [`inputs`] that makes a service, by its key.
fn service_line() -> impl Strategy<Value = (String, String)> {
    let ports = || proptest::collection::btree_set(select(&PORTS[..]), 0..4);
    let v4 = (1u8..5).prop_map(|it| format!("10.96.0.{it}"));
    let v6 = (1u8..5).prop_map(|it| format!("fd00:96::{it}"));
    let shared = (1u8..4).prop_map(|it| format!("10.0.0.{it}"));
    let dual = (1u8..5).prop_map(|it| format!("10.96.0.{it},fd00:96::{it}"));
    let cluster_ip = prop_oneof![v4, v6, shared, dual];
    let join = |kind: String, ports: BTreeSet<&str>| {
        format!("{kind} {}", ports.into_iter().collect::<Vec<_>>().join(" "))
    };
    let kind = prop_oneof![
        4 => ports().prop_map(move |it| join("headless".to_string(), it)),
        3 => (cluster_ip, ports()).prop_map(move |(kind, it)| join(kind, it)),
        3 => select(&TARGETS[..]).prop_map(|it| format!("-> {it}")),
    ];
    (select(&SERVICES[..]), select(&HOMES[..]), kind).prop_map(|(service, namespace, kind)| {
        let key = format!("{namespace}/{service}");
        (key.clone(), format!("svc {key} {kind}"))
    })
}

fn slice_line() -> impl Strategy<Value = String> {
    let v4 = (0u8..2, 1u8..5).prop_map(|(high, low)| format!("10.0.{high}.{low}"));
    let v6 = (1u16..5).prop_map(|it| Ipv6Addr::new(0xfd00, 0, 0, it, 0, 0, 0, 0).to_string());
    let ready = prop_oneof![4 => Just(""), 1 => Just("!")];
    let endpoint = |address: BoxedStrategy<String>| {
        let parts = (address, select(&HOSTS[..]), ready.clone());
        proptest::collection::vec(parts.prop_map(|(a, b, c)| format!("{a}{b}{c}")), 0..5)
    };
    let endpoints = prop_oneof![2 => endpoint(v4.boxed()), 1 => endpoint(v6.boxed())];
    let ports = proptest::collection::btree_set(select(&PORTS[..]), 0..4);
    (select(&SERVICES[..]), select(&HOMES[..]), ports, endpoints).prop_map(
        |(service, namespace, ports, endpoints)| {
            let ports: Vec<&str> = ports.into_iter().collect();
            format!("slice {namespace}/{service} {} : {}", ports.join(" "), endpoints.join(" "))
        },
    )
}

/// Objects in the text of [`inputs`].
fn cluster() -> impl Strategy<Value = String> {
    let namespaces = proptest::sample::subsequence(NAMESPACES.to_vec(), 1..=NAMESPACES.len());
    let services = proptest::collection::vec(service_line(), 0..14);
    let slices = proptest::collection::vec(slice_line(), 0..16);
    (namespaces, services, slices).prop_map(|(namespaces, services, slices)| {
        let services: BTreeMap<String, String> = services.into_iter().collect();
        let mut lines = vec![format!("ns {}", namespaces.join(" "))];
        lines.extend(services.into_values());
        lines.extend(slices);
        lines.join("\n")
    })
}

impl World {
    /// A synced server, and its own records.
    fn transferred(config: &str, objects: &str) -> Self {
        let fixture = Fixture::new(&format!("{{{config}, transfer: {{to: [192.0.2.7]}}}}"), objects);
        let apexes: Vec<Name> =
            fixture.zones.apexes().map(|it| Name::from_ascii(it.to_string()).unwrap()).collect();
        // The namespaces that exist and are exposed: those of the first line and of the option.
        let exposed = |it: &&str| !config.contains("namespaces") || ["prod", "svc"].contains(it);
        let line = objects.lines().next().expect("namespaces come first");
        let namespaces: Vec<&str> = line.split(' ').skip(1).filter(exposed).collect();
        let (mut zones, mut owners, mut pods) = (Vec::new(), Vec::new(), Vec::new());
        for apex in &apexes {
            let mut all = records(&fixture, &format!("{apex} AXFR"));
            let last = all.pop().expect("a transfer ends with the SOA");
            assert_eq!(last, all[0]);
            let distinct: BTreeSet<String> = all.iter().map(text).collect();
            assert_eq!(distinct.len(), all.len(), "every record is there once");
            owners.extend(all.iter().map(|it| it.name.clone()));
            // What exists by the schema whether or not anything lies below it; records cannot say so.
            let key = |left: &str| Key::of(&Name::from_ascii(format!("{left}.{apex}")).unwrap());
            let mut names = Vec::new();
            if !apex.to_string().ends_with(".arpa.") {
                names.extend([key("svc"), key("pod")]);
                names.extend(namespaces.iter().map(|it| key(&format!("{it}.svc"))));
                if config.contains("pods: insecure") {
                    pods.extend(namespaces.iter().map(|it| key(&format!("{it}.pod"))));
                    names.extend(pods.clone());
                }
            }
            zones.push(FlatZone {
                apex: Key::of(apex),
                records: all.iter().map(FlatRecord::of).collect(),
                names,
            });
        }
        Self { fixture, oracle: Oracle { zones }, owners, apexes, pods }
    }
}

#[test]
fn tst_9_random_clusters_answer_like_a_generic_server_with_the_transferred_records() {
    let clusters = (select(&CONFIGS[..]), cluster());
    let seen = compare(
        CLUSTERS,
        QUESTIONS,
        clusters,
        |(config, objects)| format!("{config}\n{objects}"),
        |(config, objects)| World::transferred(config, objects),
    );
    assert!(seen.questions() >= 100_000, "{seen:?}");
    for kind in [Accepted::Any, Accepted::Pods] {
        assert!(seen.accepted.contains_key(&kind), "{kind:?} makes no difference any more: {seen:?}");
    }
    for kind in ["answer", "NODATA", "NXDOMAIN", "REFUSED"] {
        assert!(seen.kinds[kind] >= 2000, "{kind} is rare: {seen:?}");
    }
}
