//! The same zone in an independent server: hickory-server answers from plain records, ordinal from objects.
//!
//! Every name is asked for every type over the wire of each, and rcode, answer records with their TTLs, and the presence
//! of an SOA in the authority section are compared. Each accepted difference is listed with its reason, and must be one.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::rr::LowerName;
use hickory_server::store::in_memory::InMemoryZoneHandler;
use hickory_server::zone_handler::{AxfrPolicy, Catalog, ZoneType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

const OBJECTS: &str = "
    ns prod empty
    svc prod/web headless http:80
    slice prod/web http:8080 : 10.0.0.1=web-0 10.0.0.2=web-1 10.0.0.3=web-2 10.0.0.4=web-3!
    slice prod/web http:8080 : fd00::1=web-0 fd00::2=web-1 fd00::3=web-2
    svc prod/api 10.96.0.10,fd00::10 http:80
    slice prod/api http:8080 : 10.0.1.1
    svc prod/narrow 10.96.0.11 dns:53/udp dns-tcp:53
    svc prod/pending headless http:80
    slice prod/pending http:80 : 10.0.2.1=pod-0!
    svc prod/out -> www.example.com
    svc prod/alias -> web.prod.svc.cluster.local
    svc prod/twice -> alias.prod.svc.cluster.local
    svc prod/dangling -> gone.prod.svc.cluster.local
    svc prod/loop -> loop.prod.svc.cluster.local
";

/// Owner relative to the zone, type, rdata with absolute names; written from the DNS specification, not from our code.
const RECORDS: &str = "
    @ SOA ns.dns.cluster.local. hostmaster.cluster.local. 1700000000 7200 1800 86400 5
    @ NS ns.dns.cluster.local.
    ns.dns A 192.0.2.53
    ns.dns AAAA 2001:db8::53
    dns-version TXT 1.1.0
    web.prod.svc A 10.0.0.1
    web.prod.svc A 10.0.0.2
    web.prod.svc A 10.0.0.3
    web.prod.svc AAAA fd00::1
    web.prod.svc AAAA fd00::2
    web.prod.svc AAAA fd00::3
    web.prod.svc SRV 0 16 8080 web-0.web.prod.svc.cluster.local.
    web.prod.svc SRV 0 16 8080 web-1.web.prod.svc.cluster.local.
    web.prod.svc SRV 0 16 8080 web-2.web.prod.svc.cluster.local.
    _http._tcp.web.prod.svc SRV 0 16 8080 web-0.web.prod.svc.cluster.local.
    _http._tcp.web.prod.svc SRV 0 16 8080 web-1.web.prod.svc.cluster.local.
    _http._tcp.web.prod.svc SRV 0 16 8080 web-2.web.prod.svc.cluster.local.
    web-0.web.prod.svc A 10.0.0.1
    web-0.web.prod.svc AAAA fd00::1
    web-0.web.prod.svc SRV 0 50 8080 web-0.web.prod.svc.cluster.local.
    web-1.web.prod.svc A 10.0.0.2
    web-1.web.prod.svc AAAA fd00::2
    web-1.web.prod.svc SRV 0 50 8080 web-1.web.prod.svc.cluster.local.
    web-2.web.prod.svc A 10.0.0.3
    web-2.web.prod.svc AAAA fd00::3
    web-2.web.prod.svc SRV 0 50 8080 web-2.web.prod.svc.cluster.local.
    api.prod.svc A 10.96.0.10
    api.prod.svc AAAA fd00::10
    api.prod.svc SRV 0 50 80 api.prod.svc.cluster.local.
    _http._tcp.api.prod.svc SRV 0 50 80 api.prod.svc.cluster.local.
    10-0-1-1.api.prod.svc A 10.0.1.1
    10-0-1-1.api.prod.svc SRV 0 100 8080 10-0-1-1.api.prod.svc.cluster.local.
    narrow.prod.svc A 10.96.0.11
    narrow.prod.svc SRV 0 50 53 narrow.prod.svc.cluster.local.
    _dns._udp.narrow.prod.svc SRV 0 100 53 narrow.prod.svc.cluster.local.
    _dns-tcp._tcp.narrow.prod.svc SRV 0 100 53 narrow.prod.svc.cluster.local.
    out.prod.svc CNAME www.example.com.
    alias.prod.svc CNAME web.prod.svc.cluster.local.
    twice.prod.svc CNAME alias.prod.svc.cluster.local.
    dangling.prod.svc CNAME gone.prod.svc.cluster.local.
    loop.prod.svc CNAME loop.prod.svc.cluster.local.
";

/// Names beyond the owners of records: empty non-terminals, absent names, not-ready ones, another zone.
const MORE_NAMES: &str = "
    svc prod.svc dns _tcp.web.prod.svc _udp.narrow.prod.svc pod empty.svc
    x gone.prod.svc web.gone.svc web-3.web.prod.svc web-9.web.prod.svc pending.prod.svc pod-0.pending.prod.svc
    _udp.web.prod.svc _http._udp.web.prod.svc _http._tcp.web-0.web.prod.svc x.web-0.web.prod.svc 10-0-0-1.web.prod.svc
    x.out.prod.svc x.ns.dns x.dns-version WEB.prod.SVC *.prod.svc web.prod www.example.com.prod.svc
    www.example.com. mycluster.local.
";

const TYPES: [&str; 13] =
    ["A", "AAAA", "SRV", "TXT", "CNAME", "PTR", "NS", "SOA", "MX", "HTTPS", "CAA", "DS", "TYPE65280"];

/// Names and types (`*`: any) whose replies differ, and why that is right.
const ACCEPTED: &[(&str, &str, &str)] = &[
    ("empty.svc pod", "*", "exist by the schema without anything below; a set of records cannot say so"),
    (
        "alias.prod.svc twice.prod.svc",
        "TXT PTR NS SOA MX HTTPS CAA DS TYPE65280",
        "the peer leaves out the SOA of a NODATA behind CNAMEs (RFC 2308 §2.2)",
    ),
    (
        "dangling.prod.svc",
        "A AAAA SRV TXT PTR NS SOA MX HTTPS CAA DS TYPE65280",
        "the peer says NOERROR; the rcode is that of the last name of the chain (RFC 6604 §3)",
    ),
];

/// What is compared of a reply.
fn essence(reply: &Message) -> (ResponseCode, BTreeSet<String>, bool) {
    let answers = reply.answers.iter().map(|it| it.to_string().to_ascii_lowercase()).collect();
    let soa = reply.authorities.iter().any(|it| it.record_type() == RecordType::SOA);
    (reply.metadata.response_code, answers, soa)
}

fn handler() -> InMemoryZoneHandler {
    let apex = Name::from_ascii("cluster.local.").unwrap();
    let mut zone = InMemoryZoneHandler::empty(apex.clone(), ZoneType::Primary, AxfrPolicy::Deny);
    for line in RECORDS.lines().map(str::trim).filter(|it| !it.is_empty()) {
        let [owner, rr_type, rdata] = line.splitn(3, ' ').collect::<Vec<_>>().try_into().expect(line);
        let owner = if owner == "@" {
            apex.clone()
        } else {
            Name::from_ascii(format!("{owner}.cluster.local.")).unwrap()
        };
        let ttl = if rr_type == "TXT" { 28_800 } else { 5 };
        let rdata = RData::try_from_str(rr_type.parse().unwrap(), rdata).expect(line);
        assert!(zone.upsert_mut(Record::from_rdata(owner, ttl, rdata), NOW), "{line}");
    }
    zone
}

async fn ask(peer: &mut TcpStream, message: &Message) -> Message {
    let octets = message.to_vec().unwrap();
    let framed = [&(octets.len() as u16).to_be_bytes()[..], &octets].concat();
    peer.write_all(&framed).await.unwrap();
    let mut reply = vec![0; usize::from(peer.read_u16().await.unwrap())];
    peer.read_exact(&mut reply).await.unwrap();
    Message::from_vec(&reply).unwrap()
}

#[tokio::test]
async fn an_independent_server_with_the_same_records_answers_alike() {
    let mut catalog = Catalog::new();
    catalog.upsert(LowerName::new(&Name::from_ascii("cluster.local.").unwrap()), vec![Arc::new(handler())]);
    let mut server = hickory_server::Server::new(catalog);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    server.register_listener(listener, Duration::from_secs(10), 64);
    let mut peer = TcpStream::connect(address).await.unwrap();
    let fixture = Fixture::new("{}", OBJECTS);

    let owners = RECORDS.lines().filter_map(|it| it.split_whitespace().next());
    let owners = owners.map(|it| if it == "@" { "cluster.local." } else { it });
    let names: BTreeSet<&str> = owners.chain(MORE_NAMES.split_whitespace()).collect();
    let mut wrong = Vec::new();
    let mut used = BTreeSet::new();
    for name in names {
        for rr_type in TYPES {
            let question = query(&format!("{name} {rr_type}"));
            let (ours, theirs) =
                (essence(&fixture.send(&question)), essence(&ask(&mut peer, &question).await));
            if ours == theirs {
                continue;
            }
            let matches =
                |pattern: &str, word: &str| pattern == "*" || pattern.split(' ').any(|it| it == word);
            match ACCEPTED.iter().position(|it| matches(it.0, name) && matches(it.1, rr_type)) {
                Some(at) => drop(used.insert(at)),
                None => wrong.push(format!("{name} {rr_type}\n  ours   {ours:?}\n  theirs {theirs:?}")),
            }
        }
    }
    assert!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong.join("\n"));
    let idle: Vec<_> = (0..ACCEPTED.len()).filter(|it| !used.contains(it)).map(|it| ACCEPTED[it]).collect();
    assert!(idle.is_empty(), "listed but no difference any more: {idle:?}");
}
