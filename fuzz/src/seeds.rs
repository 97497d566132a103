//! Where the fuzzer starts: queries in the form that our clients send, answers of our own encoder, the objects of the
//! cluster, the default configuration, and every input that ever made a target fail.

use std::path::Path;

use ordinal::dns::reply::everybody;
use ordinal::dns::respond::{Transport, respond};
use ordinal::dns::tcp::frames::append;

use crate::zone::{services, slices, zone};

/// Names that exist, or nearly.
const NAMES: [&str; 24] = [
    "cluster.local",
    "dns-version.cluster.local",
    "ns.dns.cluster.local",
    "svc.cluster.local",
    "prod.svc.cluster.local",
    "empty.svc.cluster.local",
    "web.prod.svc.cluster.local",
    "big.prod.svc.cluster.local",
    "api.prod.svc.cluster.local",
    "idle.prod.svc.cluster.local",
    "ext.prod.svc.cluster.local",
    "in.prod.svc.cluster.local",
    "gone.prod.svc.cluster.local",
    "a.prod.svc.cluster.local",
    "_http._tcp.big.prod.svc.cluster.local",
    "_dns._udp.web.prod.svc.cluster.local",
    "_tcp.web.prod.svc.cluster.local",
    "pod-0.web.prod.svc.cluster.local",
    "10-2-0-1.api.prod.svc.cluster.local",
    "10-9-8-7.prod.pod.cluster.local",
    "1.0.1.10.in-addr.arpa",
    "10.in-addr.arpa",
    "0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.0.0.0.0.0.d.f.ip6.arpa",
    "example.com",
];

/// Types asked for.
const TYPES: [u16; 14] = [1, 28, 33, 12, 6, 2, 5, 16, 255, 252, 251, 43, 65, 999];

/// Inputs that made a target fail once, with what was wrong.
const FAILURES: &[(&str, &[u8])] = &[
    // The codecs leave out different additional data at a limit: the check asked for the same.
    ("encode", &[2, 11, 2, 32]),
    // hickory-proto calls response code 16 BADSIG.
    ("edns", &[0xe1, 0xe1, 0xe1, 0xe1, 4, 4]),
];

/// A query and how it comes.
pub struct Query {
    pub packet: Vec<u8>,
    pub transport: Transport,
}

/// A query made from a few octets: transport, name, type, EDNS size, then labels to put in front of the name.
pub fn choose(data: &[u8]) -> Option<Query> {
    let ([transport, name, rr_type, size], labels) = data.split_first_chunk::<4>()?;
    let mut wire = Vec::new();
    for label in labels.split(|it| *it == b'.').filter(|it| (1..=63).contains(&it.len())) {
        wire.push(label.len() as u8);
        wire.extend_from_slice(label);
    }
    wire.extend(wire_name(NAMES[usize::from(*name) % NAMES.len()]));
    let mut packet = header(u8::from(*size > 0));
    packet.extend(wire);
    packet.extend(TYPES[usize::from(*rr_type) % TYPES.len()].to_be_bytes());
    packet.extend([0, 1]);
    if *size > 0 {
        packet.extend([0, 0, 41]);
        packet.extend((u16::from(*size) * 17).to_be_bytes());
        packet.extend([0, 0, 0, 0, 0, 0]);
    }
    Some(Query { packet, transport: if transport % 2 == 0 { Transport::Udp } else { Transport::Tcp } })
}

/// A query with an OPT record. `head`: payload size, extended rcode, version and flags.
pub fn with_opt(head: [u8; 6], options: &[u8]) -> Vec<u8> {
    let mut packet = header(1);
    packet.extend(wire_name("web.prod.svc.cluster.local"));
    packet.extend([0, 1, 0, 1, 0, 0, 41]);
    packet.extend(head);
    packet.extend((options.len() as u16).to_be_bytes());
    packet.extend(options);
    packet
}

fn header(additional: u8) -> Vec<u8> {
    vec![0x12, 0x34, 0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, additional]
}

fn wire_name(name: &str) -> Vec<u8> {
    let mut wire = Vec::new();
    for label in name.split('.') {
        wire.push(label.len() as u8);
        wire.extend_from_slice(label.as_bytes());
    }
    wire.push(0);
    wire
}

/// Every name with every type, over UDP without EDNS.
fn queries() -> impl Iterator<Item = Vec<u8>> {
    let chosen =
        (0..NAMES.len() as u8).flat_map(|name| (0..TYPES.len() as u8).map(move |it| [0, name, it, 0]));
    chosen.filter_map(|it| Some(choose(&it)?.packet))
}

fn of(target: &str) -> Vec<Vec<u8>> {
    let options: [&[u8]; 7] = [
        &[],
        &[0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8],
        &[0, 10, 0, 24, 1, 2, 3, 4, 5, 6, 7, 8, 1, 0, 0, 0, 9, 9, 9, 9, 1, 2, 3, 4, 5, 6, 7, 8],
        &[0, 3, 0, 0, 0, 12, 0, 4, 0, 0, 0, 0],
        &[0, 8, 0, 7, 0, 1, 24, 0, 192, 0, 2],
        &[0, 10, 0, 9, 1],
        &[0, 15, 0, 2, 0],
    ];
    let mut seeds: Vec<Vec<u8>> = match target {
        "message" | "handle" => {
            let answers = queries().filter_map(|it| {
                let reply =
                    respond(&it, Transport::Udp, &zone().index.view(), &zone().zones, 7, everybody).here()?;
                let mut octets = reply.octets;
                // As a query it gets past the first check.
                octets[2] &= 0x7f;
                Some(octets)
            });
            let opt = options.iter().map(|it| with_opt([4, 0xd0, 0, 0, 0x80, 0], it));
            queries().chain(answers.step_by(5)).chain(opt).collect()
        }
        "name" => {
            let text = NAMES.iter().map(|it| it.as_bytes().to_vec());
            let addresses = ["10.1.2.3", "fd00::7", "2001:db8:5:1::"].map(|it| it.as_bytes().to_vec());
            NAMES.iter().map(|it| wire_name(it)).chain(text).chain(addresses).collect()
        }
        "encode" => (0..NAMES.len() as u8)
            .flat_map(|name| (0..TYPES.len() as u8).map(move |it| vec![it, name, it, it * 19]))
            .collect(),
        "edns" => options.iter().map(|it| [&[4, 0xd0, 0, 0, 0x80, 0][..], *it].concat()).collect(),
        "tcp" => {
            let mut stream = vec![7];
            queries().step_by(40).for_each(|it| assert!(append(&mut stream, &it)));
            vec![stream, vec![1, 0, 0, 0, 0, 0, 1, 9], vec![0, 0xff, 0xff, 1]]
        }
        "config" => {
            let whole = include_str!("../../config/ordinal.yaml");
            // Sections alone are quicker to change than the whole.
            let sections = whole.split("\n\n").map(|it| it.as_bytes().to_vec());
            [whole.as_bytes().to_vec()].into_iter().chain(sections).collect()
        }
        "objects" => {
            let slices: String =
                slices().iter().map(ToString::to_string).filter(|it| it.len() < 4000).collect();
            services().iter().map(|it| format!("{it}{slices}").into_bytes()).collect()
        }
        other => panic!("no target {other}"),
    };
    seeds.extend(FAILURES.iter().filter(|(it, _)| *it == target).map(|(_, octets)| octets.to_vec()));
    seeds
}

/// Writes the seeds of a target to the corpus that the fuzzer is about to read: its first argument that is a directory.
pub fn write(target: &str) {
    let Some(corpus) = std::env::args().skip(1).find(|it| Path::new(it).is_dir()) else { return };
    for (at, seed) in of(target).iter().enumerate() {
        let file = Path::new(&corpus).join(format!("seed-{at:03}"));
        std::fs::write(&file, seed).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    }
}
