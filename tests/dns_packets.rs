//! What comes out of the DNS socket for what goes in: garbage, odd headers, both transports.

#[path = "common/cluster.rs"]
mod cluster;
mod common;

use std::io::{Read as _, Write as _};
use std::net::{TcpStream, UdpSocket};
use std::time::Duration;

use cluster::{Cluster, binaries};
use common::{Ordinal, fixture, has_dig, wait_until};

fn header(id: u16, flags: u16, counts: [u16; 4]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in [id, flags, counts[0], counts[1], counts[2], counts[3]] {
        bytes.extend_from_slice(&word.to_be_bytes());
    }
    bytes
}

fn question(name: &str, qtype: u16, class: u16) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.split('.').filter(|it| !it.is_empty()) {
        bytes.push(u8::try_from(label.len()).expect("short"));
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.push(0);
    bytes.extend_from_slice(&qtype.to_be_bytes());
    bytes.extend_from_slice(&class.to_be_bytes());
    bytes
}

#[test]
fn odd_packets_get_the_answer_the_rfc_names_or_silence() {
    let ordinal = Ordinal::up_fast(&["-f", fixture("walkthrough").to_str().expect("UTF-8")]);
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.connect(ordinal.dns()).expect("connected");
    socket.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    let one = [1, 0, 0, 0];
    let apex = question("cluster.local", 6, 1);
    // (what, packet, rcode or None for silence)
    let cases: Vec<(&str, Vec<u8>, Option<u8>)> = vec![
        ("empty datagram", vec![], None),
        ("11 octets", header(1, 0, one)[..11].to_vec(), None),
        ("a response", [header(2, 0x8000, one), apex.clone()].concat(), None),
        ("a query for the apex", [header(3, 0, one), apex.clone()].concat(), Some(0)),
        ("no question", header(4, 0, [0, 0, 0, 0]), Some(1)),
        ("two questions", [header(5, 0, [2, 0, 0, 0]), apex.clone(), apex.clone()].concat(), Some(1)),
        ("a question that is missing", header(6, 0, one), Some(1)),
        ("a pointer to itself", [header(7, 0, one), vec![0xc0, 12, 0, 1, 0, 1]].concat(), Some(1)),
        ("opcode STATUS", [header(8, 0x1000, one), apex.clone()].concat(), Some(4)),
        ("opcode NOTIFY", [header(9, 0x2000, one), apex.clone()].concat(), Some(4)),
        ("opcode UPDATE", [header(10, 0x2800, one), apex.clone()].concat(), Some(4)),
        ("class CH", [header(11, 0, one), question("version.bind", 16, 3)].concat(), Some(5)),
        ("a foreign name", [header(12, 0, one), question("example.com", 1, 1)].concat(), Some(5)),
        ("the root", [header(13, 0, one), question("", 2, 1)].concat(), Some(5)),
        ("AXFR over UDP", [header(14, 0, one), question("cluster.local", 252, 1)].concat(), Some(5)),
        ("a missing name", [header(15, 0, one), question("x.cluster.local", 1, 1)].concat(), Some(3)),
    ];
    for (what, packet, want) in &cases {
        socket.send(packet).expect("sent");
        let Some(want) = want else { continue };
        let mut buffer = [0; 4096];
        let length = socket.recv(&mut buffer).unwrap_or_else(|error| panic!("{what}: {error}"));
        // In order, so a reply to one of the silent ones would be seen here as a wrong id.
        assert_eq!(buffer[..2], packet[..2], "{what}: id");
        assert!(length >= 12 && buffer[2] & 0x80 != 0, "{what}: a response");
        assert_eq!(buffer[3] & 0x0f, *want, "{what}: rcode");
    }

    // Random bytes: whatever comes back, the server lives and answers the next query.
    let mut random = 7_u64;
    for _ in 0..2000 {
        let bytes: Vec<u8> = (0..random % 80)
            .map(|_| {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (random >> 56) as u8
            })
            .collect();
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(3);
        socket.send(&bytes).expect("sent");
    }
    let last = [header(0xabcd, 0, one), apex].concat();
    wait_until("an answer after the garbage", || {
        socket.send(&last).expect("sent");
        let mut buffer = [0; 4096];
        socket.recv(&mut buffer).is_ok_and(|length| length > 12 && buffer[..2] == [0xab, 0xcd])
    });
}

#[test]
fn tcp_answers_several_queries_on_one_connection() {
    let ordinal = Ordinal::up_fast(&["-f", fixture("walkthrough").to_str().expect("UTF-8")]);
    let mut stream = TcpStream::connect(ordinal.dns()).expect("same port as UDP");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    let mut pipelined = Vec::new();
    for id in [1_u16, 2, 3] {
        let query = [header(id, 0, [1, 0, 0, 0]), question("cluster.local", 6, 1)].concat();
        pipelined.extend_from_slice(&u16::try_from(query.len()).expect("short").to_be_bytes());
        pipelined.extend_from_slice(&query);
    }
    stream.write_all(&pipelined).expect("sent");
    let mut ids = Vec::new();
    for _ in 0..3 {
        let mut length = [0; 2];
        stream.read_exact(&mut length).expect("a frame");
        let mut reply = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut reply).expect("a reply");
        ids.push(u16::from_be_bytes([reply[0], reply[1]]));
    }
    ids.sort_unstable();
    assert_eq!(ids, [1, 2, 3]);
}

#[test]
fn every_record_form_of_a_headless_service() {
    if !has_dig() {
        return;
    }
    let Some(binary) = binaries().pop() else { return };
    let cluster = Cluster::whole();
    let kubectl = cluster.kubectl(&binary);
    kubectl.ok("create ns demo");
    kubectl.ok(&format!("create -f {}", fixture("walkthrough").display()));
    let ordinal = cluster.dns();
    let service = "nginx-demo.demo.svc.cluster.local";
    wait_until("two addresses", || ordinal.dig_short(service, "A").len() == 2);
    for (name, qtype, status, answers) in [
        (service.to_owned(), "A", "NOERROR", 2),
        (service.to_owned(), "AAAA", "NOERROR", 0),
        (service.to_owned(), "SRV", "NOERROR", 2),
        (format!("_web._tcp.{service}"), "SRV", "NOERROR", 2),
        (format!("_web._tcp.{service}"), "A", "NOERROR", 0),
        (format!("_tcp.{service}"), "A", "NOERROR", 0),
        (format!("_http._tcp.{service}"), "SRV", "NXDOMAIN", 0),
        (format!("web-demo-0.{service}"), "A", "NOERROR", 1),
        (format!("WEB-demo-0.{service}"), "A", "NOERROR", 1),
        (format!("web-demo-7.{service}"), "A", "NXDOMAIN", 0),
        (format!("web-demo-7.{service}"), "TXT", "NXDOMAIN", 0),
        ("demo.svc.cluster.local".to_owned(), "A", "NOERROR", 0),
        ("svc.cluster.local".to_owned(), "A", "NOERROR", 0),
        ("nowhere.svc.cluster.local".to_owned(), "A", "NXDOMAIN", 0),
        ("cluster.local".to_owned(), "SOA", "NOERROR", 1),
        ("cluster.local".to_owned(), "NS", "NOERROR", 1),
        ("dns-version.cluster.local".to_owned(), "TXT", "NOERROR", 1),
        ("kubernetes.default.svc.cluster.local".to_owned(), "A", "NOERROR", 1),
        ("example.com".to_owned(), "A", "REFUSED", 0),
    ] {
        assert_eq!(ordinal.dig_status(&name, qtype), status, "{name} {qtype}");
        assert_eq!(ordinal.dig_short(&name, qtype).len(), answers, "{name} {qtype}");
    }
    assert_eq!(ordinal.dig_short("dns-version.cluster.local", "TXT"), ["\"1.1.0\""]);
    let negative = ordinal.dig(&[&format!("web-demo-7.{service}"), "A"]);
    assert!(negative.contains("SOA\tns.dns.cluster.local. hostmaster.cluster.local."), "{negative}");
    assert!(negative.contains("flags: qr aa"), "{negative}");
}
