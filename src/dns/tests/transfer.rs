//! Zone transfer: who gets what, and that it is what queries say.

use std::collections::BTreeSet;
use std::net::IpAddr;

use hickory_proto::op::{Edns, OpCode};
use hickory_proto::rr::rdata::SOA;

use super::*;
use crate::dns::freshness::Freshness;
use crate::dns::respond::Rcode;
use crate::dns::transfer::{MAX_TRANSFERS, Slots, transfer};

const OPEN: &str = "{transfer: {to: [192.0.2.0/24, 2001:db8::1]}, endpointNames: both}";
const FRIEND: &str = "192.0.2.7";

const OBJECTS: &str = "
    ns prod empty alpha
    svc prod/web headless http:80
    slice prod/web http:8080 peer:9000/udp : 10.0.0.1=web-0@pod-a 10.0.0.2=web-1 10.0.0.3=web-2!
    slice prod/web http:8081 : fd00::1=web-0
    svc prod/api 10.96.0.10,fd00::10 http:80 :81
    slice prod/api http:8080 : 10.0.1.1
    svc alpha/zeta 10.96.0.11
    svc prod/pending headless http:80
    slice prod/pending http:80 : 10.0.2.1=pod-0!
    svc prod/out -> www.example.com
    svc prod/alias -> web.prod.svc.cluster.local
    svc gone/web 10.96.0.66 http:80
";

/// All records of a transfer, after the rules that hold for the messages of any.
pub fn records(fixture: &Fixture, question: &str) -> Vec<Record> {
    let messages = ask(fixture, FRIEND, &query(question)).expect("answered as a transfer");
    for (at, message) in messages.iter().enumerate() {
        assert_eq!(message.metadata.response_code, ResponseCode::NoError);
        assert!(message.metadata.authoritative && !message.metadata.truncation);
        assert_eq!(message.queries.len(), usize::from(at == 0), "the question is in the first message");
        assert!(!message.answers.is_empty() && message.authorities.is_empty(), "{message}");
    }
    messages.into_iter().flat_map(|it| it.answers).collect()
}

fn ask(fixture: &Fixture, client: &str, request: &Message) -> Option<Vec<Message>> {
    let packet = request.to_vec().unwrap();
    let client: IpAddr = client.parse().unwrap();
    let transfer = transfer(&packet, client, &fixture.index, &fixture.zones, &Slots::default())?;
    Some(transfer.messages.map(|it| Message::from_vec(&it).unwrap()).collect())
}

fn ixfr(serial: u32) -> Message {
    let mut request = query("cluster.local. TYPE251");
    let root = Name::root();
    let soa = SOA::new(root.clone(), root, serial, 0, 0, 0, 0);
    let owner = Name::from_ascii("CLUSTER.local.").unwrap();
    request.authorities.push(Record::from_rdata(owner, 0, RData::SOA(soa)));
    request
}

/// `-` for what is answered like any query, else the code of one message, or how many records there are.
fn outcome(fixture: &Fixture, client: &str, request: &Message) -> String {
    let Some(messages) = ask(fixture, client, request) else { return "-".to_string() };
    let reply = &messages[0];
    match reply.metadata.response_code {
        ResponseCode::NoError => messages.iter().map(|it| it.answers.len()).sum::<usize>().to_string(),
        other => {
            assert_eq!((messages.len(), reply.answers.len()), (1, 0));
            assert!(!reply.metadata.authoritative);
            assert_eq!(reply.queries, request.queries);
            other.to_string()
        }
    }
}

#[test]
fn section_11_who_gets_a_transfer() {
    let fixture = Fixture::new(OPEN, "ns prod");
    let closed = Fixture::new("{}", "ns prod");
    let unsynced = Fixture::unsynced(OPEN);
    let not_auth = ResponseCode::NotAuth.to_string();
    let serv_fail = ResponseCode::ServFail.to_string();
    let form_err = ResponseCode::FormErr.to_string();
    for (what, fixture, client, question, want) in [
        // SOA, NS, dns-version, two addresses of the name server, SOA.
        ("a friend", &fixture, FRIEND, "cluster.local. AXFR", "6"),
        ("a friend on an IPv6 socket", &fixture, "::ffff:192.0.2.7", "cluster.local. AXFR", "6"),
        ("a friend over IPv6", &fixture, "2001:db8::1", "CLUSTER.Local. AXFR", "6"),
        ("a reverse zone", &fixture, FRIEND, "in-addr.arpa. AXFR", "5"),
        ("a stranger", &fixture, "198.51.100.1", "cluster.local. AXFR", "-"),
        ("nobody is named", &closed, FRIEND, "cluster.local. AXFR", "-"),
        ("a name in the zone", &fixture, FRIEND, "prod.svc.cluster.local. AXFR", &not_auth),
        ("a missing name", &fixture, FRIEND, "missing.cluster.local. AXFR", &not_auth),
        ("a block of a reverse zone", &fixture, FRIEND, "10.in-addr.arpa. AXFR", &not_auth),
        ("a stranger below the apex", &fixture, "198.51.100.1", "prod.svc.cluster.local. AXFR", "-"),
        ("a foreign zone", &fixture, FRIEND, "example.com. AXFR", "-"),
        ("not synced", &unsynced, FRIEND, "cluster.local. AXFR", &serv_fail),
        ("not synced, a stranger", &unsynced, "198.51.100.1", "cluster.local. AXFR", "-"),
        ("not synced, below the apex", &unsynced, FRIEND, "x.cluster.local. AXFR", &not_auth),
        ("IXFR without a serial", &fixture, FRIEND, "cluster.local. TYPE251", &form_err),
        ("another type", &fixture, FRIEND, "cluster.local. SOA", "-"),
    ] {
        assert_eq!(outcome(fixture, client, &query(question)), want, "{what}");
    }
    // Data that are too old for answers are too old for a transfer; the reason is that of answers.
    let stale = Fixture::new(OPEN, "ns prod");
    stale.index.set_freshness(Freshness::TooStale);
    for (fixture, code) in [(&unsynced, 14), (&stale, 3)] {
        let mut request = query("cluster.local. AXFR");
        assert_eq!(outcome(fixture, FRIEND, &request), serv_fail);
        request.edns = Some(Edns::new());
        let packet = request.to_vec().unwrap();
        let begun =
            transfer(&packet, FRIEND.parse().unwrap(), &fixture.index, &fixture.zones, &Slots::default())
                .unwrap();
        let octets: Vec<u8> = begun.messages.flatten().collect();
        assert!(octets.ends_with(&[0, 6, 0, 15, 0, 2, 0, code]), "{octets:x?}");
    }
    // What is not answered as a transfer is refused as a query.
    fixture.expect(&[("cluster.local. AXFR", "REFUSED"), ("cluster.local. TYPE251", "REFUSED")]);
    let mut odd = query("cluster.local. AXFR");
    odd.queries[0].set_query_class(DNSClass::CH);
    assert_eq!(outcome(&fixture, FRIEND, &odd), "-");
    odd = query("cluster.local. AXFR");
    odd.metadata.op_code = OpCode::Notify;
    assert_eq!(outcome(&fixture, FRIEND, &odd), "-");
}

#[test]
fn section_11_ixfr_serials() {
    let fixture = Fixture::new(OPEN, "ns prod");
    for (what, serial, want) in [
        ("ours", NOW, "1"),
        ("ahead of ours", NOW + 5, "1"),
        ("behind ours", NOW - 1, "6"),
        ("behind across the wrap", NOW.wrapping_sub(0x7fff_ffff), "6"),
        ("ahead across the wrap", NOW.wrapping_add(0x7fff_ffff), "1"),
        ("neither", NOW.wrapping_add(0x8000_0000), "6"),
    ] {
        assert_eq!(outcome(&fixture, FRIEND, &ixfr(serial)), want, "{what}");
    }
    let reply = &ask(&fixture, FRIEND, &ixfr(NOW)).unwrap()[0];
    assert_eq!(print(reply), "SOA ns.dns.Z hostmaster.Z 1700000000 7200 1800 86400 5");
}

#[test]
fn section_11_edns_is_answered_in_the_first_message() {
    let fixture = Fixture::new(OPEN, OBJECTS);
    let mut request = query("cluster.local. AXFR");
    assert!(ask(&fixture, FRIEND, &request).unwrap()[0].edns.is_none());
    request.edns = Some(Edns::new());
    request.metadata.recursion_desired = true;
    request.metadata.id = 0x1234;
    let replies = ask(&fixture, FRIEND, &request).unwrap();
    assert_eq!(replies[0].edns.as_ref().unwrap().max_payload(), 1232);
    assert_eq!(replies[0].metadata.id, 0x1234);
    assert!(replies[0].metadata.recursion_desired);
}

/// Owner (relative to `cluster.local.`), TTL if it is not 5, type and rdata, one a line.
fn lines(records: &[Record]) -> Vec<String> {
    let mut message = Message::query();
    message.answers = records.to_vec();
    records.iter().map(|it| record(it, &message)).collect()
}

#[test]
fn section_11_content_of_a_forward_zone() {
    let fixture = Fixture::new(OPEN, OBJECTS);
    let soa = "Z SOA ns.dns.Z hostmaster.Z 1700000000 7200 1800 86400 5";
    let want = [
        soa,
        "Z NS ns.dns.Z",
        "dns-version.Z 28800 TXT 1.1.0",
        "ns.dns.Z A 192.0.2.53",
        "ns.dns.Z AAAA 2001:db8::53",
        "zeta.alpha.svc.Z A 10.96.0.11",
        "alias.prod.svc.Z CNAME web.prod.svc.Z",
        "api.prod.svc.Z A 10.96.0.10",
        "api.prod.svc.Z AAAA fd00::10",
        "api.prod.svc.Z SRV 0 25 80 api.prod.svc.Z",
        "api.prod.svc.Z SRV 0 25 81 api.prod.svc.Z",
        "_http._tcp.api.prod.svc.Z SRV 0 50 80 api.prod.svc.Z",
        "10-0-1-1.api.prod.svc.Z A 10.0.1.1",
        "10-0-1-1.api.prod.svc.Z SRV 0 100 8080 10-0-1-1.api.prod.svc.Z",
        "out.prod.svc.Z CNAME www.example.com.",
        "web.prod.svc.Z A 10.0.0.1",
        "web.prod.svc.Z A 10.0.0.2",
        "web.prod.svc.Z AAAA fd00::1",
        "web.prod.svc.Z SRV 0 12 8080 web-0.web.prod.svc.Z",
        "web.prod.svc.Z SRV 0 12 8081 web-0.web.prod.svc.Z",
        "web.prod.svc.Z SRV 0 12 9000 web-0.web.prod.svc.Z",
        "web.prod.svc.Z SRV 0 12 8080 web-1.web.prod.svc.Z",
        "web.prod.svc.Z SRV 0 12 9000 web-1.web.prod.svc.Z",
        "_http._tcp.web.prod.svc.Z SRV 0 20 8080 web-0.web.prod.svc.Z",
        "_http._tcp.web.prod.svc.Z SRV 0 20 8081 web-0.web.prod.svc.Z",
        "_http._tcp.web.prod.svc.Z SRV 0 20 8080 web-1.web.prod.svc.Z",
        "_peer._udp.web.prod.svc.Z SRV 0 33 9000 web-0.web.prod.svc.Z",
        "_peer._udp.web.prod.svc.Z SRV 0 33 9000 web-1.web.prod.svc.Z",
        "web-0.web.prod.svc.Z A 10.0.0.1",
        "web-0.web.prod.svc.Z AAAA fd00::1",
        "web-0.web.prod.svc.Z SRV 0 16 8080 web-0.web.prod.svc.Z",
        "web-0.web.prod.svc.Z SRV 0 16 8081 web-0.web.prod.svc.Z",
        "web-0.web.prod.svc.Z SRV 0 16 9000 web-0.web.prod.svc.Z",
        "web-1.web.prod.svc.Z A 10.0.0.2",
        "web-1.web.prod.svc.Z SRV 0 50 8080 web-1.web.prod.svc.Z",
        "web-1.web.prod.svc.Z SRV 0 50 9000 web-1.web.prod.svc.Z",
        "pod-a.web.prod.svc.Z A 10.0.0.1",
        "pod-a.web.prod.svc.Z SRV 0 50 8080 pod-a.web.prod.svc.Z",
        "pod-a.web.prod.svc.Z SRV 0 50 9000 pod-a.web.prod.svc.Z",
        soa,
    ];
    assert_eq!(lines(&records(&fixture, "cluster.local. AXFR")), want);
}

#[test]
fn section_11_content_of_reverse_zones() {
    let config =
        "{zones: [cluster.local, in-addr.arpa, 0.10.in-addr.arpa, ip6.arpa], transfer: {to: [192.0.2.7]}}";
    let fixture = Fixture::new(config, OBJECTS);
    let soa = |zone: &str| format!("{zone} SOA ns.dns.{zone} hostmaster.{zone} 1700000000 7200 1800 86400 5");
    let nibbles = ".0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa.";
    for (zone, want) in [
        (
            // Addresses of the narrower zone are not here.
            "in-addr.arpa.",
            vec![
                "10.0.96.10.in-addr.arpa. PTR api.prod.svc.Z",
                "11.0.96.10.in-addr.arpa. PTR zeta.alpha.svc.Z",
            ],
        ),
        (
            "0.10.in-addr.arpa.",
            vec![
                "1.0.0.10.in-addr.arpa. PTR web-0.web.prod.svc.Z",
                "2.0.0.10.in-addr.arpa. PTR web-1.web.prod.svc.Z",
                "1.1.0.10.in-addr.arpa. PTR 10-0-1-1.api.prod.svc.Z",
            ],
        ),
        (
            "ip6.arpa.",
            vec![
                &*format!("1.0{nibbles} PTR web-0.web.prod.svc.Z"),
                &*format!("0.1{nibbles} PTR api.prod.svc.Z"),
            ],
        ),
    ] {
        let soa = soa(zone);
        let glue = [
            format!("{zone} NS ns.dns.{zone}"),
            format!("ns.dns.{zone} A 192.0.2.53"),
            format!("ns.dns.{zone} AAAA 2001:db8::53"),
        ];
        let want: Vec<&str> = std::iter::once(&*soa)
            .chain(glue.iter().map(|it| &**it))
            .chain(want.iter().copied())
            .chain([&*soa])
            .collect();
        assert_eq!(lines(&records(&fixture, &format!("{zone} AXFR"))), want, "{zone}");
    }
}

#[test]
fn section_11_pod_names_are_left_out_and_every_record_is_there_once() {
    let config = "{pods: insecure, transfer: {to: [192.0.2.7]}}";
    let fixture = Fixture::new(config, OBJECTS);
    let all = lines(&records(&fixture, "cluster.local. AXFR"));
    assert!(all.iter().all(|it| !it.contains(".pod.Z")), "{all:?}");
    let distinct: BTreeSet<&String> = all[1..].iter().collect();
    assert_eq!(distinct.len(), all.len() - 1, "only the SOA is there twice");
}

#[test]
fn section_11_zonal_names_with_endpoints_are_there() {
    let objects = "
        ns prod
        svc prod/web headless http:80
        slice prod/web http:80 : 10.0.0.1=a%x.y 10.0.0.2=b%z 10.0.0.3=c%gone!
    ";
    for (config, want) in [
        ("transfer: {to: [192.0.2.7]}", vec![]),
        (
            "{zonal: true, transfer: {to: [192.0.2.7]}}",
            vec![
                "x.y.pin._zone.web.prod.svc.Z A 10.0.0.1",
                "x.y.pin._zone.web.prod.svc.Z SRV 0 100 80 a.web.prod.svc.Z",
                "x.y.prefer._zone.web.prod.svc.Z A 10.0.0.1",
                "x.y.prefer._zone.web.prod.svc.Z SRV 0 100 80 a.web.prod.svc.Z",
                "z.pin._zone.web.prod.svc.Z A 10.0.0.2",
                "z.pin._zone.web.prod.svc.Z SRV 0 100 80 b.web.prod.svc.Z",
                "z.prefer._zone.web.prod.svc.Z A 10.0.0.2",
                "z.prefer._zone.web.prod.svc.Z SRV 0 100 80 b.web.prod.svc.Z",
            ],
        ),
    ] {
        let all = lines(&records(&Fixture::new(config, objects), "cluster.local. AXFR"));
        let mut zonal: Vec<&str> = all.iter().map(|it| &**it).filter(|it| it.contains("_zone")).collect();
        zonal.sort_unstable();
        assert_eq!(zonal, want, "{config}");
    }
}

#[test]
fn section_11_large_zones_come_in_many_messages() {
    let pods = (0..3000).map(|it| format!("10.1.{}.{}=web-{it}", it / 250, it % 250)).collect::<Vec<_>>();
    let objects =
        format!("ns prod\nsvc prod/web headless http:80\nslice prod/web http:80 : {}", pods.join(" "));
    let fixture = Fixture::new(OPEN, &objects);
    let packet = query("cluster.local. AXFR").to_vec().unwrap();
    let begun = transfer(&packet, FRIEND.parse().unwrap(), &fixture.index, &fixture.zones, &Slots::default())
        .unwrap();
    let sizes: Vec<usize> = begun.messages.map(|it| it.len()).collect();
    let (last, full) = sizes.split_last().unwrap();
    assert!(full.iter().all(|it| (16_000..=16_384).contains(it)), "{full:?}");
    assert!(full.len() > 20 && *last <= 16_384, "{sizes:?}");
    let all = records(&fixture, "cluster.local. AXFR");
    let count = |rr_type| all.iter().filter(|it| it.record_type() == rr_type).count();
    // The service's, those of the port name and of each pod; a target is written in full.
    assert_eq!(count(RecordType::SRV), 9000);
    assert_eq!(count(RecordType::A), 1 + 6000);
    assert_eq!(count(RecordType::SOA), 2);
}

#[test]
fn section_11_a_transfer_is_made_from_one_moment() {
    let mut fixture = Fixture::new(OPEN, OBJECTS);
    let packet = query("cluster.local. AXFR").to_vec().unwrap();
    let before = lines(&records(&fixture, "cluster.local. AXFR"));
    let begun = transfer(&packet, FRIEND.parse().unwrap(), &fixture.index, &fixture.zones, &Slots::default())
        .unwrap();
    fixture
        .feed(inputs("ns prod\nsvc prod/new headless http:80\nslice prod/new http:80 : 10.9.9.9=a"), NOW + 9);
    let during: Vec<Record> = begun.messages.flat_map(|it| Message::from_vec(&it).unwrap().answers).collect();
    assert_eq!(lines(&during), before);
    let after = lines(&records(&fixture, "cluster.local. AXFR"));
    assert!(after[0].contains("1700000009") && after.iter().any(|it| it.starts_with("a.new.prod.svc.Z A")));
}

#[test]
fn as_many_zones_as_may_be_are_on_their_way_at_once() {
    let fixture = Fixture::new(OPEN, OBJECTS);
    let slots = Slots::default();
    let ask = |request: &Message| {
        let (packet, client) = (request.to_vec().unwrap(), FRIEND.parse().unwrap());
        transfer(&packet, client, &fixture.index, &fixture.zones, &slots).unwrap()
    };
    let mut axfr = query("cluster.local. TYPE252");
    axfr.edns = Some(Edns::new());
    let mut under_way: Vec<_> = (0..MAX_TRANSFERS).map(|_| ask(&axfr)).collect();
    let one_more = ask(&axfr).messages.map(|it| Message::from_vec(&it).unwrap()).collect::<Vec<_>>();
    let [reply] = &one_more[..] else { panic!("{one_more:?}") };
    assert_eq!((reply.metadata.response_code, reply.answers.len()), (ResponseCode::ServFail, 0));
    let options = reply.edns.as_ref().unwrap().options().as_ref().to_vec();
    assert!(!options.is_empty(), "the reason");
    assert_eq!(ask(&ixfr(fixture.index.view().serial())).rcode, Rcode::NoError, "one SOA takes no slot");
    under_way[3].messages.by_ref().for_each(drop);
    assert_eq!(ask(&axfr).rcode, Rcode::NoError, "one has come to its end");
    under_way.pop();
    assert_eq!(ask(&axfr).rcode, Rcode::NoError, "one was given up");
}
