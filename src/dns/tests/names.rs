//! Names and existence: sections 3, 4, 6, 8, 9 and 12 of the behaviour.

use hickory_proto::op::ResponseCode;

use super::*;

const OBJECTS: &str = "
    ns prod empty svc
    svc prod/web headless web:80
    slice prod/web web:8080 peer:9000/udp : 10.0.0.1=web-0 10.0.0.2=web-1 10.0.0.3=web-2!
    slice prod/web web:8080 : fd00::1=web-0
    svc prod/api 10.96.0.10 http:80 :81
    slice prod/api http:8080 : 10.0.1.1 10.0.1.2=named
    svc prod/dual 10.96.0.20,fd00::20 http:80
    svc prod/starting headless web:80
    slice prod/starting web:8080 : 10.0.2.1=pod-0!
    svc prod/bare headless web:80
    svc svc/pod headless a:1
    slice svc/pod a:1 : 10.0.3.1=svc
    svc gone/web 10.96.0.66 http:80
    svc prod/ext -> www.example.com.
    svc prod/lit -> 192.0.2.1
    svc prod/lit6 -> 2001:db8::1
    svc prod/toweb -> web.prod.svc.cluster.local
    svc prod/twice -> toweb.prod.svc.cluster.local
    svc prod/nowhere -> missing.prod.svc.cluster.local
    svc prod/self -> self.prod.svc.cluster.local
    svc prod/left -> right.prod.svc.cluster.local
    svc prod/right -> LEFT.prod.svc.cluster.local
";

#[test]
fn section_3_names_of_the_zone() {
    Fixture::new("{}", OBJECTS).expect(&[
        ("dns-version TXT", "28800 TXT 1.1.0"),
        ("dns-version A", "NODATA"),
        ("dns TXT", "NODATA"),
        ("x.dns A", "NXDOMAIN"),
        ("ns.dns A", "A 192.0.2.53"),
        ("ns.dns AAAA", "AAAA 2001:db8::53"),
        ("ns.dns MX", "NODATA"),
        ("x.ns.dns A", "NXDOMAIN"),
        ("svc A", "NODATA"),
        ("pod TXT", "NODATA"),
        ("prod.svc A", "NODATA"),
        ("empty.svc A", "NODATA"),
        ("gone.svc A", "NXDOMAIN"),
        ("web.gone.svc A", "NXDOMAIN"),
        ("prod.pod A", "NXDOMAIN"),
        ("api.prod.svc A", "A 10.96.0.10"),
        ("web-0.web.prod.svc A", "A 10.0.0.1"),
        ("10-0-1-1.api.prod.svc A", "A 10.0.1.1"),
        ("named.api.prod.svc A", "A 10.0.1.2"),
        ("10-0-1-2.api.prod.svc A", "NXDOMAIN"),
        ("010-0-1-1.api.prod.svc A", "NXDOMAIN"),
        ("_tcp.web.prod.svc SRV", "NODATA"),
        ("_udp.web.prod.svc SRV", "NODATA"),
        ("_sctp.web.prod.svc SRV", "NXDOMAIN"),
        ("_web._tcp.web.prod.svc A", "NODATA"),
        ("web.tcp.web.prod.svc SRV", "NXDOMAIN"),
        ("_web.tcp.web.prod.svc SRV", "NXDOMAIN"),
        ("_tcp._web.web.prod.svc SRV", "NXDOMAIN"),
        ("_web.web.prod.svc SRV", "NXDOMAIN"),
        ("_80._tcp.web.prod.svc SRV", "NXDOMAIN"),
        ("_web._tcp.web-0.web.prod.svc SRV", "NXDOMAIN"),
        ("a.b.web.prod.svc A", "NXDOMAIN"),
        ("a.b.c.web.prod.svc A", "NXDOMAIN"),
        ("a.b.c.d.e.f.web.prod.svc A", "NXDOMAIN"),
        ("*.prod.svc A", "NXDOMAIN"),
        ("any.prod.svc A", "NXDOMAIN"),
        ("web.prod A", "NXDOMAIN"),
        ("www.example.com.prod.svc A", "NXDOMAIN"),
        ("pod.svc.svc A", "A 10.0.3.1"),
        ("svc.pod.svc.svc A", "A 10.0.3.1"),
        ("dns.prod.svc A", "NXDOMAIN"),
    ]);
}

#[test]
fn section_1_zones_and_case() {
    let fixture = Fixture::new("{}", OBJECTS);
    fixture.expect(&[
        ("x.mycluster.local. A", "REFUSED"),
        ("local. SOA", "REFUSED"),
        (". NS", "REFUSED"),
        ("www.example.com. A", "REFUSED"),
        ("WEB-0.wEb.Prod.SVC.Cluster.LOCAL. A", "A 10.0.0.1"),
        ("CLUSTER.local. DS", "NODATA"),
    ]);
    let reply = fixture.ask("WEB-0.wEb.Prod.SVC.Cluster.LOCAL. A");
    assert!(reply.answers[0].name.eq_case(&Name::from_ascii("WEB-0.wEb.Prod.SVC.Cluster.LOCAL.").unwrap()));
    // One label that contains dots, or an octet that only looks like a folded letter.
    for labels in
        [&[&b"web.prod"[..]][..], &[b"web\0", b"prod"], &[b"w\xe5b", b"prod"], &[b"WE\xc2", b"prod"]]
    {
        let rest: [&[u8]; 3] = [b"svc", b"cluster", b"local"];
        let mut message = query("x A");
        message.queries[0].name = Name::from_labels(labels.iter().copied().chain(rest)).unwrap();
        message.queries[0].name.set_fqdn(true);
        assert_eq!(print(&fixture.send(&message)), "NXDOMAIN", "{labels:?}");
    }
}

#[test]
fn section_4_existence_does_not_depend_on_the_type() {
    let fixture = Fixture::new("{}", OBJECTS);
    for rr_type in ["AAAA", "TXT", "MX", "NS", "CNAME", "PTR", "SOA", "HTTPS", "CAA", "TYPE65280", "DS"] {
        for (name, want) in [
            ("api.prod.svc", "NODATA"),
            ("web-1.web.prod.svc", "NODATA"),
            ("_web._tcp.web.prod.svc", "NODATA"),
            ("_tcp.web.prod.svc", "NODATA"),
            ("prod.svc", "NODATA"),
            ("dns", "NODATA"),
            ("web-2.web.prod.svc", "NXDOMAIN/1"),
            ("missing.prod.svc", "NXDOMAIN"),
        ] {
            fixture.expect(&[(&format!("{name} {rr_type}"), want)]);
        }
    }
    fixture.expect(&[
        ("web.prod.svc A", "A 10.0.0.1 A 10.0.0.2"),
        ("web.prod.svc AAAA", "AAAA fd00::1"),
        ("dual.prod.svc AAAA", "AAAA fd00::20"),
        ("starting.prod.svc A", "NXDOMAIN/1"),
        ("pod-0.starting.prod.svc A", "NXDOMAIN/1"),
        ("pod-1.starting.prod.svc A", "NXDOMAIN"),
        ("_web._tcp.starting.prod.svc SRV", "NXDOMAIN"),
        ("bare.prod.svc A", "NXDOMAIN/1"),
        ("web.prod.svc ANY", "HINFO \"RFC8482\""),
        ("prod.svc ANY", "HINFO \"RFC8482\""),
        ("missing.prod.svc ANY", "NXDOMAIN"),
    ]);
}

#[test]
fn section_2_endpoints_of_several_slices() {
    let objects = "
        ns prod
        svc prod/web headless
        slice prod/web : 10.0.0.1=a 10.0.0.2=b 10.0.0.9@pod.with.dots 10.0.0.8@plain
        slice prod/web : 10.0.0.1=a 10.0.0.3=b 10.0.0.2=c
        slice prod/web : 10.0.0.4=10-0-0-9
        slice prod/other : 10.0.0.5=a
    ";
    let fixture = Fixture::new("{}", objects);
    fixture.expect(&[
        ("a.web.prod.svc A", "A 10.0.0.1"),
        ("b.web.prod.svc A", "A 10.0.0.2 A 10.0.0.3"),
        ("10-0-0-9.web.prod.svc A", "A 10.0.0.4 A 10.0.0.9"),
        ("web.prod.svc A", "A 10.0.0.1 A 10.0.0.2 A 10.0.0.3 A 10.0.0.4 A 10.0.0.8 A 10.0.0.9"),
        ("web.prod.svc SRV", "NODATA"),
        ("other.prod.svc A", "NXDOMAIN"),
        ("plain.web.prod.svc A", "NXDOMAIN"),
    ]);
    Fixture::new("endpointNames: pod-name", objects).expect(&[
        ("plain.web.prod.svc A", "A 10.0.0.8"),
        ("10-0-0-8.web.prod.svc A", "NXDOMAIN"),
        ("10-0-0-9.web.prod.svc A", "A 10.0.0.4 A 10.0.0.9"),
        ("8.0.0.10.in-addr.arpa. PTR", "PTR plain.web.prod.svc.Z"),
    ]);
    Fixture::new("endpointNames: both", objects).expect(&[
        ("plain.web.prod.svc A", "A 10.0.0.8"),
        ("10-0-0-8.web.prod.svc A", "A 10.0.0.8"),
        ("8.0.0.10.in-addr.arpa. PTR", "PTR 10-0-0-8.web.prod.svc.Z"),
        ("web.prod.svc A", "A 10.0.0.1 A 10.0.0.2 A 10.0.0.3 A 10.0.0.4 A 10.0.0.8 A 10.0.0.9"),
    ]);
}

#[test]
fn section_6_external_names() {
    let fixture = Fixture::new("{}", OBJECTS);
    for rr_type in ["A", "AAAA", "CNAME", "TXT", "SRV", "MX", "HTTPS"] {
        fixture.expect(&[(&format!("ext.prod.svc {rr_type}"), "CNAME www.example.com.")]);
    }
    fixture.expect(&[
        ("ext.prod.svc ANY", "HINFO \"RFC8482\""),
        ("lit.prod.svc A", "NXDOMAIN"),
        ("lit6.prod.svc AAAA", "NXDOMAIN"),
        ("x.ext.prod.svc A", "NXDOMAIN"),
        ("_http._tcp.ext.prod.svc SRV", "NXDOMAIN"),
        ("toweb.prod.svc A", "CNAME web.prod.svc.Z web.prod.svc.Z A 10.0.0.1 web.prod.svc.Z A 10.0.0.2"),
        ("toweb.prod.svc CNAME", "CNAME web.prod.svc.Z"),
        ("toweb.prod.svc TXT", "CNAME web.prod.svc.Z NODATA"),
        (
            "twice.prod.svc AAAA",
            "CNAME toweb.prod.svc.Z toweb.prod.svc.Z CNAME web.prod.svc.Z web.prod.svc.Z AAAA fd00::1",
        ),
        ("nowhere.prod.svc A", "CNAME missing.prod.svc.Z NXDOMAIN"),
        ("self.prod.svc A", "CNAME self.prod.svc.Z"),
        ("left.prod.svc A", "CNAME right.prod.svc.Z right.prod.svc.Z CNAME left.prod.svc.Z"),
    ]);
    let links = (0..12).map(|it| format!("svc prod/l{it} -> l{}.prod.svc.cluster.local", it + 1));
    let chain = links.collect::<Vec<_>>().join("\n");
    let fixture = Fixture::new("{}", &format!("ns prod\n{chain}"));
    let ends = |question| {
        let reply = fixture.ask(question);
        (reply.answers.len(), reply.metadata.response_code, reply.authorities.len())
    };
    assert_eq!(ends("l1.prod.svc A"), (10, ResponseCode::NoError, 0), "the eleventh link is not looked for");
    assert_eq!(ends("l2.prod.svc A"), (10, ResponseCode::NXDomain, 1), "ten links are followed to their end");
}

#[test]
fn section_8_pod_records() {
    Fixture::new("pods: insecure", OBJECTS).expect(&[
        ("prod.pod A", "NODATA"),
        ("gone.pod A", "NXDOMAIN"),
        ("10-1-2-3.prod.pod A", "A 10.1.2.3"),
        ("10-1-2-3.prod.pod AAAA", "NODATA"),
        ("1--2-3.prod.pod AAAA", "AAAA 1::2:3"),
        ("10-1-2-3.gone.pod A", "NXDOMAIN"),
        ("10-1-2-03.prod.pod A", "NXDOMAIN"),
        ("web.prod.pod A", "NXDOMAIN"),
        ("x.10-1-2-3.prod.pod A", "NXDOMAIN"),
    ]);
    Fixture::new("{}", OBJECTS).expect(&[("10-1-2-3.prod.pod A", "NXDOMAIN"), ("pod A", "NODATA")]);
}

#[test]
fn section_9_apex() {
    let fixture = Fixture::new("{}", OBJECTS);
    let glue = "ns.dns.Z A 192.0.2.53 ns.dns.Z AAAA 2001:db8::53";
    fixture.expect(&[
        ("cluster.local. SOA", "SOA ns.dns.Z hostmaster.Z 1700000000 7200 1800 86400 5"),
        ("cluster.local. NS", &format!("NS ns.dns.Z + {glue}")),
        ("CLUSTER.LOCAL. NS", &format!("NS ns.dns.Z + {glue}")),
        ("cluster.local. A", "NODATA"),
        ("cluster.local. TXT", "NODATA"),
        (
            "in-addr.arpa. SOA",
            "SOA ns.dns.in-addr.arpa. hostmaster.in-addr.arpa. 1700000000 7200 1800 86400 5",
        ),
        ("ns.dns.in-addr.arpa. A", "A 192.0.2.53"),
        ("dns.in-addr.arpa. A", "NODATA"),
        ("svc.in-addr.arpa. A", "NXDOMAIN"),
    ]);
    Fixture::new("ttl: 600", OBJECTS).expect(&[
        ("cluster.local. SOA", "300 SOA ns.dns.Z hostmaster.Z 1700000000 7200 1800 86400 5"),
        ("api.prod.svc A", "600 A 10.96.0.10"),
    ]);
    // The server behind a service is named after it, and ns.dns stays.
    let with =
        |service: &str| format!("ns sys\nsvc sys/dns {service}\nslice sys/dns d:53/udp : 192.0.2.53=pod-0");
    Fixture::new("{}", &with("10.96.0.53 d:53/udp")).expect(&[
        ("cluster.local. NS", "NS dns.sys.svc.Z + dns.sys.svc.Z A 10.96.0.53"),
        ("ns.dns A", "A 192.0.2.53"),
    ]);
    Fixture::new("{}", &with("headless"))
        .expect(&[("cluster.local. NS", "NS pod-0.dns.sys.svc.Z + pod-0.dns.sys.svc.Z A 192.0.2.53")]);
}

#[test]
fn section_12_before_the_first_sync() {
    let mut fixture = Fixture::unsynced("{}");
    let static_names = [
        ("dns-version TXT", "28800 TXT 1.1.0"),
        ("svc A", "NODATA"),
        ("pod A", "NODATA"),
        ("dns A", "NODATA"),
        ("ns.dns A", "A 192.0.2.53"),
        ("cluster.local. SOA", "SOA ns.dns.Z hostmaster.Z 1700000000 7200 1800 86400 5"),
        ("www.example.com. A", "REFUSED"),
    ];
    fixture.expect(&static_names);
    let waiting = [
        ("web.prod.svc A", "SERVFAIL"),
        ("prod.svc A", "SERVFAIL"),
        ("nonsense A", "SERVFAIL"),
        ("1.0.0.10.in-addr.arpa. PTR", "SERVFAIL"),
        ("10.in-addr.arpa. PTR", "SERVFAIL"),
    ];
    fixture.expect(&waiting);
    // Two of three lists change nothing.
    let mut all = inputs(OBJECTS);
    let last = all.pop().unwrap();
    fixture.feed(all, NOW);
    fixture.expect(&waiting);
    fixture.feed(vec![last], NOW);
    fixture.expect(&[("web.prod.svc A", "A 10.0.0.1 A 10.0.0.2")]);
    fixture.expect(&static_names);
}

#[test]
fn section_14_options() {
    Fixture::new("namespaces: [svc]", OBJECTS).expect(&[
        ("pod.svc.svc A", "A 10.0.3.1"),
        ("prod.svc A", "NXDOMAIN"),
        ("web.prod.svc A", "NXDOMAIN"),
        ("1.0.0.10.in-addr.arpa. PTR", "NXDOMAIN"),
    ]);
    Fixture::new("hideEmptyServices: true", OBJECTS).expect(&[
        ("api.prod.svc A", "A 10.96.0.10"),
        ("dual.prod.svc A", "NXDOMAIN"),
        ("20.0.96.10.in-addr.arpa. PTR", "NXDOMAIN"),
    ]);
    let objects: String =
        OBJECTS.lines().filter(|it| !it.trim().starts_with("slice")).collect::<Vec<_>>().join("\n");
    let mut fixture = Fixture::unsynced("endpoints: false");
    let all = inputs(&objects).into_iter().filter(|it| !matches!(it, Input::Slice(_)));
    fixture.feed(all.collect(), NOW);
    fixture.expect(&[("api.prod.svc A", "A 10.96.0.10"), ("web.prod.svc A", "NXDOMAIN/1")]);
    Fixture::new("{negativeTtl: 30, pendingTtl: 2}", OBJECTS)
        .expect(&[("missing.prod.svc A", "NXDOMAIN/30"), ("web-2.web.prod.svc A", "NXDOMAIN/2")]);
}
