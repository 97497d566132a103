//! Clients that mean harm, or behave as if (TST-14), against the real binary on loopback: what they do is bounded in count
//! and time, and the others are served all the while.

mod common;

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use common::{DEADLINE, Ordinal, resident_kib, wait_for, wait_until};
use hickory_proto::op::{Message, Query};
use hickory_proto::rr::{Name, RecordType};
use socket2::{Domain, Socket, Type};

/// A query for a name below `cluster.local.`.
fn query(name: &str, rr_type: RecordType, id: u16) -> Vec<u8> {
    let mut message = Message::query();
    message.metadata.id = id;
    let name = Name::from_ascii(name)
        .expect("a name")
        .append_domain(&Name::from_ascii("cluster.local.").expect("a name"));
    message.add_query(Query::query(name.expect("not too long"), rr_type));
    message.to_vec().expect("it fits")
}

fn soa(id: u16) -> Vec<u8> {
    query("", RecordType::SOA, id)
}

fn framed(message: &[u8]) -> Vec<u8> {
    [&u16::try_from(message.len()).expect("short").to_be_bytes(), message].concat()
}

/// A TCP connection from an address of this machine.
fn connect(server: SocketAddr, from: &str) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let from = SocketAddr::new(from.parse::<IpAddr>().expect("an address"), 0);
    socket.bind(&from.into()).expect("an address of this machine");
    socket.connect(&server.into()).expect("connected");
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    stream.set_write_timeout(Some(DEADLINE)).expect("a timeout");
    stream
}

fn receive(stream: &mut TcpStream) -> std::io::Result<Message> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut reply = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut reply)?;
    Ok(Message::from_vec(&reply).expect("a message"))
}

/// Asks over a connection that is open.
fn ask(stream: &mut TcpStream, message: &[u8]) -> std::io::Result<Message> {
    stream.write_all(&framed(message))?;
    receive(stream)
}

fn udp(server: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.connect(server).expect("connected");
    socket.set_read_timeout(Some(Duration::from_secs(1))).expect("a timeout");
    socket
}

/// Asks until a reply with this id comes; datagrams may be lost in a flood.
fn ask_udp(socket: &UdpSocket, id: u16) {
    wait_until("a reply over UDP", || {
        socket.send(&soa(id)).expect("sent");
        let mut reply = [0; 512];
        socket.recv(&mut reply).is_ok_and(|len| len > 12 && reply[..2] == id.to_be_bytes())
    });
}

/// The value of one series of `/metrics`.
fn metric(ordinal: &Ordinal, series: &str) -> u64 {
    let (_, text) = ordinal.http_get("/metrics");
    let line = text
        .lines()
        .find_map(|it| it.strip_prefix(series))
        .unwrap_or_else(|| panic!("no {series} in\n{text}"));
    line.trim().parse().expect("a number")
}

/// Two servers that answer each other's responses would never end.
#[test]
fn responses_get_no_reply() {
    let ordinal = Ordinal::up_fast(&["--components=dns"]);
    let socket = udp(ordinal.dns());
    let mut stream = connect(ordinal.dns(), "127.0.0.1");
    let mut response = soa(7);
    response[2] |= 0x80;
    for opcode in 0..16 {
        response[2] = 0x80 | opcode << 3;
        for low in [0x00, 0x85, 0xff] {
            response[3] = low;
            socket.send(&response).expect("sent");
            socket.send(&response[..12]).expect("sent");
            stream.write_all(&framed(&response)).expect("sent");
        }
    }
    socket.send(&soa(8)).expect("sent");
    let mut reply = [0; 512];
    let length = wait_for("a reply", || socket.recv(&mut reply).map_err(|it| it.to_string()));
    assert!(length > 12 && reply[..2] == [0, 8], "the first reply is to the query");
    assert_eq!(ask(&mut stream, &soa(9)).expect("a reply").metadata.id, 9);
}

#[test]
fn a_trickle_of_octets_is_cut_off() {
    let ordinal = Ordinal::up_fast(&["--components=dns", "--tcp-read-timeout=300ms"]);
    let mut slow = connect(ordinal.dns(), "127.0.0.1");
    // Reading is what paces the writes.
    slow.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout");
    let (message, began) = (framed(&soa(1)), Instant::now());
    let mut other = connect(ordinal.dns(), "127.0.0.1");
    let mut sent = 0;
    loop {
        assert!(sent < message.len(), "the whole message was taken in {:?}", began.elapsed());
        let written = slow.write_all(&message[sent..=sent]);
        sent += 1;
        let read = slow.read(&mut [0; 1]);
        let open = written.is_ok()
            && read.is_err_and(|it| matches!(it.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut));
        if !open {
            break;
        }
        assert_eq!(ask(&mut other, &soa(2)).expect("others are served").metadata.id, 2);
    }
    assert!(began.elapsed() >= Duration::from_millis(300), "it had its time");
    assert_eq!(metric(&ordinal, "ordinal_dns_tcp_limits_total{limit=\"read\"}"), 1);
}

#[test]
fn idle_connections_make_room_for_new_ones() {
    let limits = ["--components=dns", "--tcp-max-connections=100", "--tcp-max-connections-per-address=60"];
    let ordinal = Ordinal::up_fast(&limits);
    // More than the limits from either address; each one is served when it comes.
    let mut idle = Vec::new();
    for from in ["127.0.0.1", "127.0.0.2"] {
        for id in 0..150 {
            let mut stream = connect(ordinal.dns(), from);
            assert_eq!(ask(&mut stream, &soa(id)).expect("a new connection is served").metadata.id, id);
            idle.push(stream);
        }
    }
    wait_until("the others to be closed", || metric(&ordinal, "ordinal_dns_tcp_connections") <= 100);
    let address = metric(&ordinal, "ordinal_dns_tcp_limits_total{limit=\"address\"}");
    let all = metric(&ordinal, "ordinal_dns_tcp_limits_total{limit=\"connections\"}");
    assert_eq!(
        (address + all, metric(&ordinal, "ordinal_dns_tcp_limits_total{limit=\"refused\"}")),
        (200, 0)
    );
    assert!(address >= 2 * 90, "{address}");
    // The ones that came last are open, those that came first are not.
    let last = idle.last_mut().expect("there are some");
    assert_eq!(ask(last, &soa(1000)).expect("still open").metadata.id, 1000);
    assert!(ask(&mut idle[0], &soa(1001)).is_err());
}

#[test]
fn a_flood_of_garbage_leaves_others_served_and_memory_as_it_was() {
    let ordinal = Ordinal::up_fast(&["--components=dns"]);
    let mut stream = connect(ordinal.dns(), "127.0.0.1");
    ask(&mut stream, &soa(1)).expect("a reply");
    ask_udp(&udp(ordinal.dns()), 1);
    let before = resident_kib(ordinal.pid());
    let mut random = 42_u64;
    let mut next = move || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (random >> 33) as usize
    };
    for round in 0..20_u16 {
        // A client of its own in each round; nobody reads its replies.
        let flood = udp(ordinal.dns());
        for _ in 0..1000 {
            let mut packet = query("missing.prod.svc", RecordType::from(next() as u16), next() as u16);
            for _ in 0..next() % 4 {
                let at = next() % packet.len();
                packet[at] = next() as u8;
            }
            packet.truncate(1 + next() % packet.len());
            // What does not fit the queue of the server is lost, as it is meant to be.
            let _ = flood.send(&packet);
        }
        assert_eq!(ask(&mut stream, &soa(round)).expect("TCP is served").metadata.id, round);
        ask_udp(&udp(ordinal.dns()), round);
    }
    let after = resident_kib(ordinal.pid());
    assert!(after < before + 32 * 1024, "{before} KiB became {after} KiB");
}

/// A headless Service without selector and its slices: `count` endpoints.
fn huge(count: usize) -> String {
    let mut yaml = "apiVersion: v1
kind: Service
metadata: {name: huge, namespace: default}
spec: {clusterIP: None, ports: [{name: db, port: 5432}]}
"
    .to_owned();
    for (slice, first) in (0..count).step_by(1000).enumerate() {
        yaml.extend([format!(
            "---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: huge-{slice}, namespace: default, labels: {{kubernetes.io/service-name: huge}}}}
addressType: IPv4
ports: [{{name: db, port: 5432}}]
endpoints:
"
        )]);
        let endpoints = first..count.min(first + 1000);
        yaml.extend(
            endpoints.map(|at| {
                format!("- {{addresses: [10.77.{}.{}], hostname: huge-{at}}}\n", at / 250, at % 250)
            }),
        );
    }
    yaml
}

#[test]
fn a_huge_set_arrives_as_far_as_a_message_goes() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("huge.yaml");
    std::fs::write(&file, huge(2000)).expect("written");
    let ordinal = Ordinal::up_fast(&["--components=dns", "-f", file.to_str().expect("UTF-8")]);
    let mut stream = connect(ordinal.dns(), "127.0.0.1");
    let mut tcp = |name: &str, rr_type| ask(&mut stream, &query(name, rr_type, 5)).expect("a reply");
    wait_until("all addresses", || tcp("huge.default.svc", RecordType::A).answers.len() == 2000);
    assert!(!tcp("huge.default.svc", RecordType::A).metadata.truncation, "32,000 octets fit");
    // 2,000 SRV records do not fit 64 KiB: whole records, TC, no additional section.
    for name in ["huge.default.svc", "_db._tcp.huge.default.svc"] {
        let reply = tcp(name, RecordType::SRV);
        assert!(reply.metadata.truncation, "{name}");
        assert!((1000..2000).contains(&reply.answers.len()), "{name}: {} records", reply.answers.len());
        assert!(reply.additionals.is_empty(), "{name}");
        assert!(reply.answers.iter().all(|it| it.record_type() == RecordType::SRV), "{name}");
    }
    // Each of them has its own answer, whatever the size of the set.
    assert_eq!(tcp("huge-1999.huge.default.svc", RecordType::SRV).answers.len(), 1);
    let socket = udp(ordinal.dns());
    socket.send(&query("huge.default.svc", RecordType::A, 6)).expect("sent");
    let mut reply = [0; 4096];
    let length = wait_for("a reply", || socket.recv(&mut reply).map_err(|it| it.to_string()));
    let reply = Message::from_vec(&reply[..length]).expect("a message");
    assert!(length <= 512 && reply.metadata.truncation && !reply.answers.is_empty());
    // A client that asks for all of it and reads nothing is slowed down, not buffered for.
    let before = resident_kib(ordinal.pid());
    let mut greedy = connect(ordinal.dns(), "127.0.0.1");
    greedy.set_nonblocking(true).expect("a socket");
    let many = framed(&query("huge.default.svc", RecordType::SRV, 7)).repeat(1000);
    let sent = greedy.write(&many).unwrap_or(0);
    assert!(sent > 0);
    assert_eq!(tcp("", RecordType::SOA).answers.len(), 1);
    let after = resident_kib(ordinal.pid());
    assert!(after < before + 32 * 1024, "{before} KiB became {after} KiB");
}
