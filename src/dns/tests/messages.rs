//! Messages: sections 1 and 11 of the behaviour, octet by octet, and hostile packets.

use std::collections::{BTreeMap, BTreeSet};

use hickory_proto::op::{Edns, OpCode};
use proptest::prelude::*;

use super::*;
use crate::dns::freshness::Freshness;

type Edit = fn(&mut Vec<u8>);

fn fixture() -> Fixture {
    let endpoints: Vec<_> = (0..120).map(|it| format!("10.0.{it}.1=a-rather-long-name-{it:03}")).collect();
    let endpoints = endpoints.join(" ");
    Fixture::new(
        "{}",
        &format!(
            "ns prod
             svc prod/web headless http:80
             slice prod/web http:8080 : 10.0.0.1=web-0
             svc prod/ten headless http:80
             slice prod/ten http:8080 : {}
             svc prod/big headless http:80
             slice prod/big http:8080 : {endpoints}",
            (0..10).map(|it| format!("10.1.0.{it}=pod-{it}")).collect::<Vec<_>>().join(" "),
        ),
    )
}

fn udp(fixture: &Fixture, packet: &[u8]) -> Option<Vec<u8>> {
    fixture.answer(packet, Transport::Udp);
    composed(fixture, packet, Transport::Udp)
}

/// The reply of the codec that UDP uses.
fn composed(fixture: &Fixture, packet: &[u8], transport: Transport) -> Option<Vec<u8>> {
    let mut out = vec![0; 65_535];
    let view = fixture.index.view();
    let composed =
        Composer::new(7).respond(packet, transport, &view, &fixture.zones, &mut out, everybody).here()?;
    out.truncate(composed.len);
    Some(out)
}

fn decode(octets: &[u8]) -> Message {
    Message::from_vec(octets).unwrap()
}

fn with_edns(question: &str, payload: u16) -> Message {
    let mut message = query(question);
    let mut edns = Edns::new();
    edns.set_max_payload(payload);
    message.set_edns(edns);
    message
}

/// A query for `web.prod.svc.cluster.local A` that a test changes octets of.
fn plain() -> Vec<u8> {
    let mut message = query("web.prod.svc A");
    message.metadata.id = 0x1234;
    message.metadata.recursion_desired = true;
    message.to_vec().unwrap()
}

/// id, flags and counts of a reply as hexadecimal words.
fn header(octets: &[u8]) -> String {
    octets[..12].chunks(2).map(|it| format!("{:02x}{:02x}", it[0], it[1])).collect::<Vec<_>>().join(" ")
}

#[test]
fn section_1_order_of_processing() {
    let fixture = fixture();
    #[rustfmt::skip]
    let cases: [(&str, Edit, Option<&str>); 16] = [
        ("an answer: QR AA RD",           |_| (),                                Some("1234 8500 0001 0001 0000 0000")),
        ("CD is copied, AD is not",       |it| it[3] = 0x30,                     Some("1234 8510 0001 0001 0000 0000")),
        ("RD is copied when clear",       |it| it[2] = 0,                        Some("1234 8400 0001 0001 0000 0000")),
        ("shorter than a header",         |it| it.truncate(11),                  None),
        ("a response",                    |it| it[2] |= 0x80,                    None),
        ("a response that is garbage",    |it| { it[2] |= 0x80; it.truncate(14); }, None),
        ("STATUS",                        |it| it[2] = 0x11,                     Some("1234 9104 0000 0000 0000 0000")),
        ("NOTIFY",                        |it| it[2] = 0x24,                     Some("1234 a004 0000 0000 0000 0000")),
        ("opcode 15 before the question", |it| { it[2] = 0x78; it.truncate(12); }, Some("1234 f804 0000 0000 0000 0000")),
        ("no question",                   |it| { it[5] = 0; it.truncate(12); },  Some("1234 8101 0000 0000 0000 0000")),
        ("two questions",                 |it| it[5] = 2,                        Some("1234 8101 0000 0000 0000 0000")),
        ("a cut question",                |it| it.truncate(20),                  Some("1234 8101 0000 0000 0000 0000")),
        ("a compressed question",         |it| { it.truncate(12); it.extend([0xc0, 4, 0, 1, 0, 1]); },
                                                                                 Some("1234 8101 0000 0000 0000 0000")),
        ("a missing additional record",   |it| it[11] = 1,                       Some("1234 8101 0000 0000 0000 0000")),
        ("class CH",                      |it| *it.last_mut().unwrap() = 3,      Some("1234 8105 0001 0000 0000 0000")),
        ("class ANY",                     |it| *it.last_mut().unwrap() = 255,    Some("1234 8105 0001 0000 0000 0000")),
    ];
    for (why, edit, want) in cases {
        let mut packet = plain();
        edit(&mut packet);
        assert_eq!(udp(&fixture, &packet).map(|it| header(&it)).as_deref(), want, "{why}");
    }
    for (question, want) in [
        ("cluster.local. AXFR", "8005 0001 0000 0000 0000"),
        ("cluster.local. TYPE251", "8005 0001 0000 0000 0000"),
        ("example.com. A", "8005 0001 0000 0000 0000"),
        ("missing.prod.svc A", "8403 0001 0000 0001 0000"),
    ] {
        let mut message = query(question);
        message.metadata.recursion_desired = false;
        let got = header(&udp(&fixture, &message.to_vec().unwrap()).unwrap());
        assert_eq!(&got[5..], want, "{question}");
    }
}

#[test]
fn the_question_is_repeated_octet_for_octet() {
    let fixture = fixture();
    let mut packet = plain();
    packet[12..].make_ascii_uppercase();
    let reply = udp(&fixture, &packet).unwrap();
    assert_eq!(reply[12..packet.len()], packet[12..]);
    assert_eq!(reply[packet.len()..packet.len() + 2], [0xc0, 12], "the owner points at the question");
}

#[test]
fn section_11_edns() {
    let fixture = fixture();
    let reply = |message: &Message| decode(&udp(&fixture, &message.to_vec().unwrap()).unwrap());
    assert_eq!(reply(&query("web.prod.svc A")).edns, None, "no OPT unless asked");

    let mut message = with_edns("web.prod.svc A", 4096);
    let edns = message.edns.as_mut().unwrap();
    edns.set_dnssec_ok(true);
    let cookie = hickory_proto::rr::rdata::opt::EdnsOption::Unknown(10, vec![1, 2, 3, 4, 5, 6, 7, 8]);
    edns.options_mut().insert(cookie);
    let got = reply(&message).edns.unwrap();
    assert_eq!((got.max_payload(), got.flags().dnssec_ok, got.version()), (1232, true, 0));
    assert!(got.options().as_ref().is_empty(), "unknown options are not echoed");

    message.edns.as_mut().unwrap().set_version(1);
    let got = udp(&fixture, &message.to_vec().unwrap()).unwrap();
    assert_eq!(&header(&got)[5..], "8000 0001 0000 0000 0001", "the low bits of BADVERS are zero");
    let got = decode(&got);
    assert_eq!((got.edns.as_ref().unwrap().rcode_high(), got.edns.as_ref().unwrap().version()), (1, 0));

    // Two OPT records.
    let mut packet = with_edns("web.prod.svc A", 1232).to_vec().unwrap();
    packet.extend([0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]);
    packet[11] = 2;
    assert_eq!(udp(&fixture, &packet).unwrap()[3] & 0x0f, 1);
}

/// A resolver that sent client subnets of a family we do not know got FORMERR and gave up on the name.
#[test]
fn options_that_are_not_implemented_are_not_read() {
    let fixture = fixture();
    let edns = |options: &[u8]| {
        let mut packet = plain();
        packet[11] = 1;
        packet.extend([0, 0, 41, 4, 208, 0, 0, 0x80, 0, 0, options.len() as u8]);
        packet.extend(options);
        packet
    };
    let rcode = |packet: &[u8]| udp(&fixture, packet).unwrap()[3] & 0x0f;
    #[rustfmt::skip]
    let cases: [(&str, &[u8], u8); 8] = [
        ("client subnet of family 7",        &[0, 8, 0, 4, 0, 7, 32, 0], 0),
        ("client subnet cut short",          &[0, 8, 0, 1, 0],           0),
        ("a cookie of two octets",           &[0, 10, 0, 2, 1, 2],       0),
        ("two options",                      &[0, 3, 0, 0, 0, 10, 0, 0], 0),
        ("an unassigned option",             &[0xff, 1, 0, 1, 9],        0),
        ("an option longer than the record", &[0, 10, 0, 8, 1, 2],       1),
        ("half an option header",            &[0, 10, 0],                1),
        ("trailing octet",                   &[0, 3, 0, 0, 0],           1),
    ];
    for (why, options, want) in cases {
        assert_eq!(rcode(&edns(options)), want, "{why}");
    }
    // Only the additional section has OPT, at the root, once, and it is as long as it says.
    let mut in_answer = edns(&[]);
    (in_answer[7], in_answer[11]) = (1, 0);
    assert_eq!(rcode(&in_answer), 1);
    let mut named = plain();
    named[11] = 1;
    named.extend([1, b'x', 0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]);
    assert_eq!(rcode(&named), 1);
    let cut = edns(&[0, 10, 0, 2, 1, 2]);
    assert_eq!(rcode(&cut[..cut.len() - 1]), 1);
    // Other records in front of it do not hide it.
    let mut packet = plain();
    packet[11] = 2;
    packet.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 1, 9]);
    packet.extend([0, 0, 41, 4, 208, 0, 0, 0x80, 0, 0, 0]);
    assert!(decode(&udp(&fixture, &packet).unwrap()).edns.unwrap().flags().dnssec_ok);
}

#[test]
fn section_12_extended_error_before_sync() {
    let fixture = Fixture::unsynced("{}");
    let got = decode(&udp(&fixture, &with_edns("web.prod.svc A", 1232).to_vec().unwrap()).unwrap());
    assert_eq!(got.metadata.response_code, ResponseCode::ServFail);
    let options = got.edns.unwrap().options().as_ref().to_vec();
    let ede = hickory_proto::rr::rdata::opt::EdnsOption::Unknown(15, vec![0, 14]);
    assert_eq!(options.into_iter().map(|it| it.1).collect::<Vec<_>>(), [ede]);
    let got = decode(&udp(&fixture, &query("web.prod.svc A").to_vec().unwrap()).unwrap());
    assert_eq!((got.metadata.response_code, got.edns), (ResponseCode::ServFail, None));
}

#[test]
fn section_12_stale_answers_say_so() {
    let fixture = fixture();
    fixture.index.set_freshness(Freshness::Stale);
    let extended = |fixture: &Fixture, name: &str| {
        let reply = decode(&udp(fixture, &with_edns(name, 1232).to_vec().unwrap()).unwrap());
        let options = reply.edns.unwrap().options().as_ref().to_vec();
        (reply.metadata.response_code, options.into_iter().map(|it| it.1).next())
    };
    let error = |code| Some(hickory_proto::rr::rdata::opt::EdnsOption::Unknown(15, vec![0, code]));
    assert_eq!(extended(&fixture, "web.prod.svc A"), (ResponseCode::NoError, error(3)));
    assert_eq!(extended(&fixture, "missing.prod.svc A"), (ResponseCode::NXDomain, error(3)));
    assert_eq!(extended(&fixture, "example.com. A"), (ResponseCode::Refused, None));
    fixture.index.set_freshness(Freshness::TooStale);
    assert_eq!(extended(&fixture, "web.prod.svc A"), (ResponseCode::ServFail, error(14)));
    fixture.index.set_freshness(Freshness::Fresh);
    assert_eq!(extended(&fixture, "web.prod.svc A"), (ResponseCode::NoError, None));
}

#[test]
fn section_11_sizes() {
    let fixture = fixture();
    // (question, payload, most octets, TC, answers of how many; additional records present)
    #[rustfmt::skip]
    let cases = [
        ("ten.prod.svc A",              None,        512,  false, Some(10)),
        ("ten.prod.svc SRV",            None,        512,  true,  None),
        ("ten.prod.svc SRV",            Some(800),   800,  false, Some(10)),
        ("ten.prod.svc SRV",            Some(4096),  1232, false, Some(10)),
        ("big.prod.svc A",              None,        512,  true,  None),
        ("big.prod.svc A",              Some(100),   512,  true,  None),
        ("big.prod.svc A",              Some(65535), 1232, true,  None),
        ("big.prod.svc SRV",            Some(1232),  1232, true,  None),
    ];
    for (question, payload, most, truncated, answers) in cases {
        let message = payload.map_or_else(|| query(question), |it| with_edns(question, it));
        let octets = udp(&fixture, &message.to_vec().unwrap()).unwrap();
        let got = decode(&octets);
        assert!(octets.len() <= most, "{question} {payload:?}: {} octets", octets.len());
        assert_eq!(got.metadata.truncation, truncated, "{question} {payload:?}");
        assert_eq!(got.edns.is_some(), payload.is_some(), "{question} {payload:?}: OPT stays");
        if let Some(answers) = answers {
            assert_eq!(got.answers.len(), answers, "{question} {payload:?}");
        } else {
            assert!(!got.answers.is_empty() && got.additionals.is_empty(), "{question} {payload:?}");
        }
        let distinct: BTreeSet<String> = got.answers.iter().map(ToString::to_string).collect();
        assert_eq!(distinct.len(), got.answers.len(), "{question} {payload:?}: no record twice");
    }
    let whole = fixture.ask("big.prod.svc SRV");
    assert_eq!((whole.answers.len(), whole.additionals.len(), whole.metadata.truncation), (120, 120, false));
}

/// Names beyond 16 KiB cannot be pointed to.
#[test]
fn section_11_large_sets_arrive_whole_over_tcp() {
    let endpoints: Vec<_> =
        (0..300).map(|it| format!("10.0.{}.{}=a-rather-long-name-{it}", it / 200, it % 200)).collect();
    let objects = format!("ns prod\nsvc prod/big headless x:1\nslice prod/big x:1 : {}", endpoints.join(" "));
    let fixture = Fixture::new("{}", &objects);
    let packet = query("big.prod.svc SRV").to_vec().unwrap();
    let octets = composed(&fixture, &packet, Transport::Tcp).unwrap();
    assert!(octets.len() > 0x4000, "{} octets", octets.len());
    let reply = decode(&octets);
    assert_eq!((reply.answers.len(), reply.additionals.len(), reply.metadata.truncation), (300, 300, false));
    let targets: BTreeSet<_> = reply
        .answers
        .iter()
        .filter_map(|it| match &it.data {
            RData::SRV(srv) => Some(srv.target.clone()),
            _ => None,
        })
        .collect();
    assert!(reply.additionals.iter().all(|it| targets.contains(&it.name)));
    assert_eq!(fixture.ask("big.prod.svc SRV").additionals.len(), 300, "the other codec says the same");
}

#[test]
fn section_11_every_order_is_equally_likely() {
    let mut fixture =
        Fixture::new("{}", "ns p\nsvc p/s headless x:1\nslice p/s x:1 : 10.0.0.1=a 10.0.0.2=b 10.0.0.3=c");
    fixture.zones.shuffle = Shuffle::On;
    let view = fixture.index.view();
    for question in ["s.p.svc A", "s.p.svc SRV"] {
        let packet = query(question).to_vec().unwrap();
        let (mut seen, mut seen_composed) = (BTreeMap::<String, u32>::new(), BTreeMap::<String, u32>::new());
        let (mut composer, mut out) = (Composer::new(7), [0; 4096]);
        for seed in 0..6000 {
            let reply =
                respond(&packet, Transport::Udp, &view, &fixture.zones, seed, everybody).here().unwrap();
            *seen.entry(print(&decode(&reply.octets))).or_default() += 1;
            let reply = composer
                .respond(&packet, Transport::Udp, &view, &fixture.zones, &mut out, everybody)
                .here()
                .unwrap();
            *seen_composed.entry(print(&decode(&out[..reply.len]))).or_default() += 1;
        }
        for seen in [seen, seen_composed] {
            assert_eq!(seen.len(), 6, "{question}: {seen:?}");
            assert!(seen.values().all(|it| (850..1150).contains(it)), "{question}: {seen:?}");
        }
    }
}

/// Any packet: silence, or a reply with its id that decodes and is never to a response.
fn survives(fixture: &Fixture, packet: &[u8]) {
    for transport in [Transport::Udp, Transport::Tcp] {
        fixture.answer(packet, transport);
        let reply = respond(packet, transport, &fixture.index.view(), &fixture.zones, 1, everybody)
            .here()
            .map(|it| it.octets);
        let (Some(reply), Some(composed)) = (reply, composed(fixture, packet, transport)) else {
            assert!(packet.len() < 12 || packet[2] & 0x80 != 0, "only responses and stubs are dropped");
            continue;
        };
        assert!(packet[2] & 0x80 == 0, "a response was answered");
        for reply in [reply, composed] {
            assert_eq!(reply[..2], packet[..2]);
            assert!(transport == Transport::Tcp || reply.len() <= 1232);
            let message = decode(&reply);
            assert_eq!(message.metadata.op_code, OpCode::from_u8(packet[2] >> 3 & 15));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn random_octets(packet in proptest::collection::vec(any::<u8>(), 0..200)) {
        survives(&Fixture::unsynced("{}"), &packet);
    }

    #[test]
    fn random_question_octets(tail in proptest::collection::vec(any::<u8>(), 0..100), counts in any::<[u8; 8]>()) {
        let mut packet = vec![7, 7, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        if counts[0] < 64 {
            packet[4..12].copy_from_slice(&counts);
        }
        packet.extend(tail);
        survives(&Fixture::new("{}", "ns prod"), &packet);
    }

    #[test]
    fn mutated_queries(
        which in 0usize..6,
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in any::<prop::sample::Index>(),
        keep in any::<bool>(),
    ) {
        let questions = [
            "web.prod.svc A", "_http._tcp.ten.prod.svc SRV", "1.0.0.10.in-addr.arpa. PTR", "cluster.local. NS",
            "d.f.ip6.arpa. TXT", "10-1-2-3.prod.pod ANY",
        ];
        let mut packet = with_edns(questions[which], 1232).to_vec().unwrap();
        for (place, octet) in edits {
            let place = place.index(packet.len());
            packet[place] = octet;
        }
        if !keep {
            packet.truncate(cut.index(packet.len() + 1));
        }
        survives(&Fixture::new("pods: insecure", "ns prod\nsvc prod/ten headless\nslice prod/ten http:1 : 10.0.0.1=a"), &packet);
    }
}
