//! The grammar of names: every record form of the Kubernetes DNS specification 1.1.0, for random labels and addresses.
//!
//! Each world is one namespace with a ClusterIP, a headless and an ExternalName service. [`Cluster::specified`] writes
//! down the records that the specification gives them, section by section, without looking at the code; the oracle
//! answers from those. Questions are their owners, the empty names between their labels, and near misses, in any case.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;
use proptest::sample::select;

use super::oracle::{FlatRecord, FlatZone, Key, Oracle};
use super::oracle_questions::{World, compare};
use super::*;

const WORLDS: u32 = 1000;
const QUESTIONS: usize = 100;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    V4,
    V6,
    Dual,
}

impl Family {
    /// The addresses of one endpoint or service in this family.
    fn addresses(self, v4: Ipv4Addr, v6: Ipv6Addr) -> Vec<IpAddr> {
        match self {
            Self::V4 => vec![v4.into()],
            Self::V6 => vec![v6.into()],
            Self::Dual => vec![v4.into(), v6.into()],
        }
    }
}

/// Ports by name: number and protocol.
type Ports = BTreeMap<String, (u16, &'static str)>;

#[derive(Debug)]
struct Endpoint {
    hostname: Option<String>,
    addresses: Vec<IpAddr>,
    ready: bool,
}

#[derive(Debug)]
struct Cluster {
    zone: String,
    namespace: String,
    /// Names of the ClusterIP, the headless and the ExternalName service.
    names: [String; 3],
    service_addresses: Vec<IpAddr>,
    ports: Ports,
    headless_ports: Ports,
    endpoints: Vec<Endpoint>,
    external_name: String,
}

/// RFC 1123 labels of 1 to 63 octets, most of them short.
fn label() -> impl Strategy<Value = String> {
    let ends = || select(&b"abcdefghijklmnopqrstuvwxyz0123456789"[..]);
    let middle = prop_oneof![6 => 0usize..9, 1 => 9usize..62]
        .prop_flat_map(|len| vec(select(&b"abcxyz019---"[..]), len..=len));
    prop_oneof![
        1 => ends().prop_map(|it| char::from(it).to_string()),
        8 => (ends(), middle, ends()).prop_map(|(first, middle, last)| {
            let octets = [&[first], &middle[..], &[last]].concat();
            String::from_utf8(octets).expect("ASCII")
        }),
    ]
}

fn ports() -> impl Strategy<Value = Ports> {
    let name = (select(&b"abcxyz"[..]), vec(select(&b"ab01"[..]), 0..12))
        .prop_map(|(first, rest)| String::from_utf8([&[first], &rest[..]].concat()).expect("ASCII"));
    // Numbers are distinct: SRV records that differ in nothing collapse.
    btree_map(1u16..=u16::MAX, (name, select(&["tcp", "udp", "sctp"][..])), 0..4).prop_map(|by_number| {
        by_number.into_iter().map(|(number, (name, protocol))| (name, (number, protocol))).collect()
    })
}

fn cluster() -> impl Strategy<Value = Cluster> {
    let zone = prop_oneof![
        Just("cluster.local".to_string()),
        label(),
        "[a-z]{1,9}\\.[a-z]{1,9}\\.[a-z]{1,9}",
        Just("svc.svc".to_string()),
    ];
    let family = || select(&[Family::V4, Family::V6, Family::Dual][..]);
    // Any address but those that are written with dots within colons.
    let v6 = any::<u128>().prop_map(|it| Ipv6Addr::from(it | 0x2000 << 112));
    let sparse = (1u16..9, 0u16..3, select(&[0u16, 1, 0xab][..]))
        .prop_map(|(a, b, c)| Ipv6Addr::new(0xfd00, a, 0, 0, b, 0, 0, c));
    let addresses =
        (btree_set(any::<u32>().prop_map(Ipv4Addr::from), 9), btree_set(prop_oneof![v6, sparse], 9));
    let hostnames = btree_set(label(), 8);
    let endpoint = (family(), any::<bool>(), prop_oneof![4 => Just(true), 1 => Just(false)]);
    let services = (btree_set(label(), 3), label(), label(), family());
    (zone, services, addresses, hostnames, vec(endpoint, 0..8), ports(), ports()).prop_map(
        |(
            zone,
            (names, namespace, target, family),
            (v4, v6),
            hostnames,
            endpoints,
            ports,
            headless_ports,
        )| {
            let (v4, v6) = (v4.into_iter().collect::<Vec<_>>(), v6.into_iter().collect::<Vec<_>>());
            let names: Vec<String> = names.into_iter().collect();
            let each = endpoints.into_iter().zip(hostnames).enumerate();
            Cluster {
                zone,
                namespace,
                names: names.try_into().expect("three distinct names"),
                service_addresses: family.addresses(v4[8], v6[8]),
                ports,
                headless_ports,
                endpoints: each
                    .map(|(at, ((family, named, ready), hostname))| Endpoint {
                        hostname: named.then_some(hostname),
                        addresses: family.addresses(v4[at], v6[at]),
                        ready,
                    })
                    .collect(),
                external_name: format!("{target}.example."),
            }
        },
    )
}

/// The name that an endpoint without hostname goes by: its address with dashes, as CoreDNS and kube-dns write it.
fn dashed(address: &IpAddr) -> String {
    let text = address.to_string().replace(['.', ':'], "-");
    if text.ends_with('-') { text + "0" } else { text }
}

impl Cluster {
    /// In the text of [`inputs`].
    fn objects(&self) -> String {
        let list = |ports: &Ports| {
            let words = ports.iter().map(|(name, (number, protocol))| format!("{name}:{number}/{protocol}"));
            words.collect::<Vec<_>>().join(" ")
        };
        let Self { namespace, names: [cluster_ip, headless, external], .. } = self;
        let ips: Vec<String> = self.service_addresses.iter().map(ToString::to_string).collect();
        let mut lines = vec![
            format!("ns {namespace}"),
            format!("svc {namespace}/{cluster_ip} {} {}", ips.join(","), list(&self.ports)),
            format!("svc {namespace}/{headless} headless"),
            format!("svc {namespace}/{external} -> {}", self.external_name),
        ];
        for v4 in [true, false] {
            let mut words = vec![format!("slice {namespace}/{headless} {} :", list(&self.headless_ports))];
            for Endpoint { hostname, addresses, ready } in &self.endpoints {
                let hostname = hostname.as_ref().map(|it| format!("={it}")).unwrap_or_default();
                let mark = if *ready { "" } else { "!" };
                let own = addresses.iter().filter(|it| it.is_ipv4() == v4);
                words.extend(own.map(|it| format!("{it}{hostname}{mark}")));
            }
            lines.push(words.join(" "));
        }
        lines.join("\n")
    }

    /// The records of the specification: owner, type and rdata, all names absolute.
    fn specified(&self) -> Vec<(String, &'static str, String)> {
        let mut all = Vec::new();
        let mut add =
            |owner: &str, rr_type: &'static str, rdata: String| all.push((owner.to_string(), rr_type, rdata));
        let Self { zone, namespace, names, .. } = self;
        let [cluster_ip, headless, external] =
            [0, 1, 2].map(|at| format!("{}.{namespace}.svc.{zone}.", names[at]));
        let address_type = |it: &IpAddr| if it.is_ipv4() { "A" } else { "AAAA" };

        // 2.2: the version of the schema.
        add(&format!("dns-version.{zone}."), "TXT", "1.1.0".to_string());

        // 2.3: a service with a clusterIP.
        for address in &self.service_addresses {
            add(&cluster_ip, address_type(address), address.to_string());
            add(&reverse(address), "PTR", cluster_ip.clone());
        }
        let weight = |pairs: usize| (100 / pairs.max(1)).max(1);
        let families = self.service_addresses.len();
        for (name, (number, protocol)) in &self.ports {
            let owner = format!("_{name}._{protocol}.{cluster_ip}");
            add(&owner, "SRV", format!("0 {} {number} {cluster_ip}", weight(families)));
            let bare = weight(families * self.ports.len());
            add(&cluster_ip, "SRV", format!("0 {bare} {number} {cluster_ip}"));
        }

        // 2.4: a headless service. Names of endpoints that are ready, with their addresses.
        let mut named: BTreeMap<String, BTreeSet<IpAddr>> = BTreeMap::new();
        for endpoint in self.endpoints.iter().filter(|it| it.ready) {
            for address in &endpoint.addresses {
                let label = endpoint.hostname.clone().unwrap_or_else(|| dashed(address));
                named.entry(format!("{label}.{headless}")).or_default().insert(*address);
            }
        }
        let total: usize = named.values().map(BTreeSet::len).sum();
        let ports = self.headless_ports.len();
        for (owner, addresses) in &named {
            for address in addresses {
                add(&headless, address_type(address), address.to_string());
                add(owner, address_type(address), address.to_string());
                add(&reverse(address), "PTR", owner.clone());
            }
            for (name, (number, protocol)) in &self.headless_ports {
                let port = format!("_{name}._{protocol}.{headless}");
                add(&port, "SRV", format!("0 {} {number} {owner}", weight(total)));
                add(&headless, "SRV", format!("0 {} {number} {owner}", weight(total * ports)));
                add(owner, "SRV", format!("0 {} {number} {owner}", weight(addresses.len() * ports)));
            }
        }

        // 2.5: an ExternalName service.
        add(&external, "CNAME", self.external_name.clone());
        all
    }

    fn world(&self) -> World {
        let Self { zone, namespace, .. } = self;
        let config = format!("{{zones: [{zone}, in-addr.arpa, ip6.arpa]}}");
        let fixture = Fixture::new(&config, &self.objects());
        let apexes = [&**zone, "in-addr.arpa", "ip6.arpa"].map(|it| format!("{it}."));
        let mut specified = self.specified();
        for apex in &apexes {
            let soa = format!("ns.dns.{apex} hostmaster.{apex} {NOW} 7200 1800 86400 5");
            specified.push((apex.clone(), "SOA", soa));
            specified.push((apex.clone(), "NS", format!("ns.dns.{apex}")));
            specified.push((format!("ns.dns.{apex}"), "A", "192.0.2.53".to_string()));
            specified.push((format!("ns.dns.{apex}"), "AAAA", "2001:db8::53".to_string()));
        }
        let name = |text: &str| Name::from_ascii(text).expect(text);
        let exist =
            ["svc", "pod", &format!("{namespace}.svc")].map(|it| Key::of(&name(&format!("{it}.{zone}."))));
        let mut zones: Vec<FlatZone> = Vec::new();
        for apex in &apexes {
            let names = if zones.is_empty() { exist.to_vec() } else { Vec::new() };
            zones.push(FlatZone { apex: Key::of(&name(apex)), records: Vec::new(), names });
        }
        let mut owners = Vec::new();
        for (owner, rr_type, rdata) in specified {
            let rdata = RData::try_from_str(rr_type.parse().unwrap(), &rdata).expect(&rdata);
            let ttl = if rr_type == "TXT" { 28_800 } else { 5 };
            let record = FlatRecord::of(&Record::from_rdata(name(&owner), ttl, rdata));
            let zone = zones.iter_mut().find(|it| record.owner.is_within(&it.apex)).expect("a zone of ours");
            zone.records.push(record);
            owners.push(name(&owner));
        }
        let apexes = apexes.iter().map(|it| name(it)).collect();
        World { fixture, oracle: Oracle { zones }, owners, apexes, pods: Vec::new() }
    }
}

/// The owner of the PTR records of an address (2.3.3, 2.4.4).
fn reverse(address: &IpAddr) -> String {
    match address {
        IpAddr::V4(it) => {
            let [a, b, c, d] = it.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa.")
        }
        IpAddr::V6(it) => {
            let digits = format!("{:032x}", u128::from(*it));
            let digits: Vec<String> = digits.chars().rev().map(String::from).collect();
            digits.join(".") + ".ip6.arpa."
        }
    }
}

#[test]
fn tst_8_every_record_form_of_the_specification() {
    let seen =
        compare(WORLDS, QUESTIONS, cluster(), |it| format!("{}\n{}", it.zone, it.objects()), Cluster::world);
    assert!(seen.questions() >= 100_000, "{seen:?}");
    for kind in ["answer", "NODATA", "NXDOMAIN", "REFUSED"] {
        assert!(seen.kinds[kind] >= 2000, "{kind} is rare: {seen:?}");
    }
}

#[test]
fn tst_8_an_empty_label_ends_the_name() {
    let fixture =
        Fixture::new("{}", "ns prod\nsvc prod/web headless web:80\nslice prod/web web:80 : 10.0.0.1=web-0");
    let whole = query("_web._tcp.web.prod.svc SRV").to_vec().unwrap();
    let mut at = 12;
    while whole[at] != 0 {
        // What follows the empty label is read as type and class, and no such class is served.
        let packet = [&whole[..at], &[0], &whole[at..]].concat();
        let reply = fixture.answer(&packet, Transport::Tcp).expect("queries are answered");
        let rcode = reply.metadata.response_code;
        assert!(matches!(rcode, ResponseCode::FormErr | ResponseCode::Refused), "{at}: {reply}");
        assert!(reply.answers.is_empty() && reply.authorities.is_empty(), "{at}: {reply}");
        at += 1 + usize::from(whole[at]);
    }
    for text in ["web..svc.cluster.local.", ".web.svc.cluster.local.", "..", "a.."] {
        assert!(text.parse::<crate::dns::name::OwnerName>().is_err(), "{text}");
    }
}
