//! Zone transfer by `dig`, from the real binary.

mod common;

use std::fmt::Write as _;
use std::path::PathBuf;

use common::{Ordinal, has_dig, wait_until};

/// A headless service and as many pods behind it, written by hand as one slice.
fn manifest(directory: &tempfile::TempDir, pods: u32) -> PathBuf {
    let mut text = String::from(
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: demo}\n---\n\
         apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: demo}\n\
         spec: {clusterIP: None, ports: [{name: http, port: 80}]}\n---\n\
         apiVersion: v1\nkind: Service\nmetadata: {name: away, namespace: demo}\n\
         spec: {type: ExternalName, externalName: www.example.com}\n---\n\
         apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\naddressType: IPv4\n\
         metadata: {name: web-1, namespace: demo, labels: {kubernetes.io/service-name: web}}\n\
         ports: [{name: http, port: 8080}]\nendpoints:\n",
    );
    for pod in 0..pods {
        let address = format!("10.9.{}.{}", pod / 200, pod % 200);
        writeln!(text, "- {{addresses: [{address}], hostname: web-{pod}, conditions: {{ready: true}}}}")
            .expect("a string grows");
    }
    let path = directory.path().join("objects.yaml");
    std::fs::write(&path, text).expect("written");
    path
}

/// The records of a transfer, without comments.
fn records(output: &str) -> Vec<Vec<&str>> {
    let lines = output.lines().filter(|it| !it.is_empty() && !it.starts_with(';'));
    lines.map(|it| it.split_whitespace().collect()).collect()
}

fn count(records: &[Vec<&str>], rr_type: &str) -> usize {
    records.iter().filter(|it| it[3] == rr_type).count()
}

#[test]
fn dig_transfers_the_zones_of_a_300_pod_service() {
    if !has_dig() {
        return;
    }
    let directory = tempfile::tempdir().expect("a temporary directory");
    let manifest = manifest(&directory, 300);
    let ordinal = Ordinal::up(&["-f", manifest.to_str().expect("UTF-8"), "--transfer-to=127.0.0.1"]);
    let service = "web.demo.svc.cluster.local";
    wait_until("every pod", || ordinal.dig_short(service, "A").len() == 300);

    let output = ordinal.dig(&["cluster.local", "axfr"]);
    assert!(output.contains(";; XFR size: "), "{output}");
    let all = records(&output);
    assert_eq!((all[0][3], all[all.len() - 1][3]), ("SOA", "SOA"));
    assert_eq!(all[0], all[all.len() - 1]);
    // The service's, those of the port name and of each pod; and two of `kubernetes` in `default`.
    assert_eq!(count(&all, "SRV"), 900 + 2);
    assert!(all.contains(&vec!["away.demo.svc.cluster.local.", "5", "IN", "CNAME", "www.example.com."]));
    assert!(all.contains(&vec!["dns-version.cluster.local.", "28800", "IN", "TXT", "\"1.1.0\""]));
    assert!(all.contains(&vec![&format!("web-299.{service}."), "5", "IN", "A", "10.9.1.99"]));
    // The last SOA comes once more; nothing else does.
    let mut distinct = all.clone();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), all.len() - 1);

    let output = ordinal.dig(&["in-addr.arpa", "axfr"]);
    let reverse = records(&output);
    assert_eq!(count(&reverse, "SOA"), 2);
    let pointer = vec!["99.1.9.10.in-addr.arpa.", "5", "IN", "PTR", "web-299.web.demo.svc.cluster.local."];
    assert!(reverse.contains(&pointer), "{output}");
    assert!(reverse.iter().all(|it| ["SOA", "NS", "A", "PTR"].contains(&it[3])), "{output}");

    let serial: u32 = all[0][6].parse().expect("a serial");
    let output = ordinal.dig(&["cluster.local", &format!("ixfr={serial}")]);
    assert_eq!(records(&output).len(), 1, "{output}");
    let output = ordinal.dig(&["cluster.local", &format!("ixfr={}", serial - 1)]);
    assert_eq!(records(&output), all);

    for (what, args, want) in [
        ("below the apex", vec!["demo.svc.cluster.local", "axfr"], "Transfer failed"),
        ("another zone", vec!["example.com", "axfr"], "Transfer failed"),
    ] {
        let output = ordinal.dig(&args);
        assert!(output.contains(want), "{what}: {output}");
    }
    // dig takes TCP for every transfer, so UDP is asked by hand: AXFR, and IXFR without the serial it does not come to.
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.connect(ordinal.dns()).expect("connected");
    socket.set_read_timeout(Some(common::DEADLINE)).expect("a timeout");
    for rr_type in [252, 251] {
        let question = [b"\x07cluster\x05local\0\0", &[rr_type, 0, 1][..]].concat();
        socket.send(&[&[1, rr_type, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0], &question[..]].concat()).expect("sent");
        let mut reply = [0; 512];
        let length = socket.recv(&mut reply).expect("an answer");
        let want = [&[1, rr_type, 0x80, 5, 0, 1, 0, 0, 0, 0, 0, 0], &question[..]].concat();
        assert_eq!(reply[..length], want, "type {rr_type} over UDP");
    }
    assert_eq!(ordinal.dig_short(service, "A").len(), 300, "and it still answers");
}

#[test]
fn strangers_get_no_transfer() {
    if !has_dig() {
        return;
    }
    for args in [&[][..], &["--transfer-to=192.0.2.0/24"]] {
        let ordinal = Ordinal::up(args);
        let output = ordinal.dig(&["cluster.local", "axfr"]);
        assert!(output.contains("Transfer failed"), "{args:?}: {output}");
        assert!(records(&output).is_empty(), "{args:?}: {output}");
    }
}

#[test]
fn secondaries_are_notified() {
    let secondary = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
    secondary.set_read_timeout(Some(common::DEADLINE)).expect("a timeout");
    let target = secondary.local_addr().expect("bound").to_string();
    let ordinal = Ordinal::up(&[
        "--transfer-notify",
        &format!("--transfer-to=192.0.2.0/24,{target}"),
        "--zones=a.test,b.test",
    ]);
    let mut zones = Vec::new();
    let mut packet = [0; 512];
    while zones.len() < 2 {
        let (length, server) = secondary.recv_from(&mut packet).expect("a message");
        assert_eq!(server.ip(), ordinal.dns().ip());
        // Opcode NOTIFY and AA; one question, one record.
        assert_eq!(packet[2..12], [0x24, 0, 0, 1, 0, 1, 0, 0, 0, 0]);
        let question = &packet[12..length.min(24)];
        let zone = String::from_utf8_lossy(&question[..8]).into_owned();
        assert_eq!(question[8..], [0, 6, 0, 1], "SOA of {zone:?}");
        zones.push(zone);
        packet[2] = 0xa4;
        secondary.send_to(&packet[..length], server).expect("answered");
    }
    zones.sort();
    assert_eq!(zones, ["\u{1}a\u{4}test\0", "\u{1}b\u{4}test\0"]);
}
