//! Tables of (objects, query, reply) in a compact text, answered through the whole path from cache to octets.

mod anti_patterns;
mod compliance;
mod entries;
mod explain;
mod faults;
mod ferret;
mod grammar;
mod messages;
mod names;
mod oracle;
mod oracle_questions;
mod oracle_random;
mod peer;
mod pods;
mod reverse;
mod sockets;
mod srv;
mod transfer;
mod updates;
mod watch;
mod zonal;

use std::net::IpAddr;
use std::sync::Arc;

use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

use super::cache::{Cache, Event, Input};
use super::config::{DnsConfig, Shuffle, Zones};
use super::index::Index;
use super::model::{
    Endpoint, Pod, Port, Protocol, Readiness, SeenAt, Selector, Service, ServiceKind, Set, Slice,
};
use super::reply::everybody;
use super::respond::{Transport, respond};
use super::wire::Composer;
use crate::model::ObjectKey;

/// Unix time of every change that a test does not date itself.
const NOW: u32 = 1_700_000_000;

/// A zone that answers queries.
pub struct Fixture {
    pub cache: Cache,
    pub index: Index,
    pub zones: Zones,
    pub config: DnsConfig,
}

/// Parses objects, one a line:
///
/// ```text
/// ns prod
/// svc prod/web headless http:80 dns:53/udp
/// svc prod/api 10.96.0.10,fd00::a http:80
/// svc prod/ext -> www.example.com
/// slice prod/web http:8080 : 10.0.0.1=web-0 10.0.0.2=web-1! 10.0.0.3@some-pod
/// pod prod/web-0 10.0.0.1,fd00::1
/// set prod/web web 0+3
/// ```
///
/// A set is followed by its service and first ordinal + replicas. In a slice the addresses follow the colon; `=` gives the hostname, `@` the pod name, `%` the topology zone, a final `!` means not ready.
pub fn inputs(text: &str) -> Vec<Input> {
    let (mut namespaces, mut services, mut slices) = (Vec::new(), Vec::new(), Vec::new());
    let (mut pods, mut sets) = (Vec::new(), Vec::new());
    for (number, line) in text.lines().map(str::trim).enumerate().filter(|(_, it)| !it.is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["ns", ref names @ ..] => namespaces.extend(names.iter().map(ToString::to_string)),
            ["svc", key, "->", target] => {
                services.push(service(key, ServiceKind::ExternalName(target.to_string()), &[]));
            }
            ["svc", key, "headless", ref ports @ ..] => {
                services.push(service(key, ServiceKind::Headless, ports));
            }
            ["svc", key, addresses, ref ports @ ..] => {
                let addresses = addresses.split(',').map(|it| it.parse().expect(line)).collect();
                services.push(service(key, ServiceKind::ClusterIp(addresses), ports));
            }
            ["slice", key, ref rest @ ..] => slices.push(slice(key, number, rest)),
            ["pod", key, addresses] => pods.push(pod(key, addresses)),
            ["set", key, service, ordinals] => sets.push(set(key, service, ordinals)),
            _ => panic!("no object: {line}"),
        }
    }
    let mut all = Vec::new();
    list(&mut all, pods, Input::Pod);
    list(&mut all, sets, Input::Set);
    list(&mut all, namespaces, Input::Namespace);
    list(&mut all, services, Input::Service);
    list(&mut all, slices, Input::Slice);
    all
}

fn list<T>(all: &mut Vec<Input>, objects: Vec<T>, wrap: fn(Event<T>) -> Input) {
    all.push(wrap(Event::ListStart));
    all.extend(objects.into_iter().map(|it| wrap(Event::Listed(it))));
    all.push(wrap(Event::ListEnd));
}

pub fn key(text: &str) -> ObjectKey {
    let (namespace, name) = text.split_once('/').expect(text);
    ObjectKey::new(namespace, name)
}

fn pod(name: &str, addresses: &str) -> Pod {
    Pod { key: key(name), addresses: addresses.split(',').map(|it| it.parse().expect(addresses)).collect() }
}

fn set(name: &str, service: &str, ordinals: &str) -> Set {
    let (start, replicas) = ordinals.split_once('+').expect(ordinals);
    let [start, replicas] = [start, replicas].map(|it| it.parse().expect(ordinals));
    Set { key: key(name), service: service.to_owned(), start, replicas }
}

fn service(name: &str, kind: ServiceKind, ports: &[&str]) -> Service {
    let ports = ports.iter().map(|it| port(it)).collect();
    Service { key: key(name), kind, ports, selector: Selector::Present, seen: SeenAt::default() }
}

fn port(text: &str) -> Port {
    let (name, rest) = text.split_once(':').expect(text);
    let (number, protocol) = rest.split_once('/').unwrap_or((rest, "tcp"));
    let protocol = match protocol {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        "sctp" => Protocol::Sctp,
        other => panic!("no protocol: {other}"),
    };
    Port { number: number.parse().expect(text), protocol, name: name.into() }
}

/// `number` makes the name of the slice.
fn slice(service: &str, number: usize, words: &[&str]) -> Slice {
    let colon = words.iter().position(|it| *it == ":").expect("a slice has a colon before its addresses");
    let zone = |word: &str| word.split_once('%').map(|(_, zone)| zone.trim_end_matches('!').into());
    let zones: Vec<Option<Arc<str>>> = words[colon + 1..].iter().map(|it| zone(it)).collect();
    let endpoints = words[colon + 1..].iter().map(|word| {
        let (word, readiness) = match word.strip_suffix('!') {
            Some(word) => (word, Readiness::NotReady),
            None => (*word, Readiness::Ready),
        };
        let word = word.split_once('%').map_or(word, |(word, _)| word);
        let (word, pod) = word.split_once('@').map_or((word, None), |(word, pod)| (word, Some(pod.into())));
        let (address, hostname) =
            word.split_once('=').map_or((word, None), |(word, it)| (word, Some(it.into())));
        let addresses = vec![address.parse::<IpAddr>().expect(word)].into();
        Endpoint { addresses, readiness, serving: None, terminating: None, hostname, pod }
    });
    let owner = key(service);
    Slice {
        key: ObjectKey::new(&owner.namespace, format!("{}-{number}", owner.name)),
        service: owner.name,
        endpoints: endpoints.collect(),
        ports: words[..colon].iter().map(|it| port(it)).collect(),
        trigger_time: None,
        topology_zones: if zones.iter().any(Option::is_some) { zones.into() } else { Box::default() },
        left_out: Box::default(),
        seen: SeenAt::default(),
    }
}

impl Fixture {
    /// A synced zone with sorted answers; `config` is YAML.
    pub fn new(config: &str, objects: &str) -> Self {
        let mut fixture = Self::unsynced(config);
        fixture.feed(inputs(objects), NOW);
        fixture
    }

    /// A zone that nothing has been listed for.
    pub fn unsynced(config: &str) -> Self {
        let mut config: DnsConfig = serde_saphyr::from_str(config).unwrap();
        config.shuffle = Shuffle::Off;
        let zones = config.check(&["192.0.2.53".parse().unwrap(), "2001:db8::53".parse().unwrap()]).unwrap();
        Self { cache: Cache::new(&config), index: Index::new(NOW), zones, config }
    }

    pub fn feed(&mut self, inputs: Vec<Input>, now: u32) {
        self.cache.at(now);
        for input in inputs {
            self.cache.apply(input);
        }
        self.cache.publish(&self.index, now);
    }

    /// Asks over TCP, so that size plays no role.
    pub fn ask(&self, question: &str) -> Message {
        self.send(&query(question))
    }

    pub fn send(&self, message: &Message) -> Message {
        self.answer(&message.to_vec().unwrap(), Transport::Tcp).expect("queries are answered")
    }

    /// Answers a packet with both codecs, which must say the same.
    pub fn answer(&self, packet: &[u8], transport: Transport) -> Option<Message> {
        let view = self.index.view();
        let reply = respond(packet, transport, &view, &self.zones, 0, everybody).here();
        let mut out = vec![0xff; 65_535];
        let composed =
            Composer::new(0).respond(packet, transport, &view, &self.zones, &mut out, everybody).here();
        assert_eq!(
            reply.as_ref().map(|it| (it.rcode, it.rr_type)),
            composed.map(|it| (it.rcode, it.rr_type))
        );
        let reply = Message::from_vec(&reply?.octets).unwrap();
        let composed = Message::from_vec(&out[..composed?.len]).unwrap();
        // They compress names differently, so a limit cuts them in different places.
        if !reply.metadata.truncation && reply.additionals.len() == composed.additionals.len() {
            assert_eq!(reply, composed);
        }
        Some(reply)
    }

    /// Compares replies with what [`print`] makes of them.
    pub fn expect(&self, cases: &[(&str, &str)]) {
        for (question, want) in cases {
            assert_eq!(print(&self.ask(question)), *want, "{question}");
        }
    }
}

/// `name type`; a name without final dot is relative to `cluster.local.`; `TYPE123` is a type by number.
pub fn query(question: &str) -> Message {
    let (name, rr_type) = question.split_once(' ').expect(question);
    let name = if name.ends_with('.') { name.to_string() } else { format!("{name}.cluster.local.") };
    let rr_type = match rr_type.strip_prefix("TYPE") {
        Some(number) => RecordType::from(number.parse::<u16>().unwrap()),
        None => rr_type.parse().unwrap(),
    };
    let mut query = Query::query(Name::from_ascii(name).unwrap(), rr_type);
    query.set_query_class(DNSClass::IN);
    let mut message = Message::query();
    message.add_query(query);
    message
}

/// Rcode or records, then `+` and the additional records. `.Z` stands for `.cluster.local.`; negative answers end in
/// `/` and the TTL of their SOA when it is not 5; positive TTLs are shown when they are not 5.
pub fn print(reply: &Message) -> String {
    let rcode = match reply.metadata.response_code {
        ResponseCode::NoError if !reply.authorities.is_empty() => "NODATA",
        ResponseCode::NoError => "",
        ResponseCode::NXDomain => "NXDOMAIN",
        ResponseCode::ServFail => "SERVFAIL",
        ResponseCode::Refused => "REFUSED",
        other => panic!("unexpected {other}"),
    };
    let mut parts: Vec<String> = reply.answers.iter().map(|it| record(it, reply)).collect();
    if let Some(soa) = reply.authorities.first() {
        assert_eq!((reply.authorities.len(), soa.record_type()), (1, RecordType::SOA), "{reply}");
        parts.push(if soa.ttl == 5 { rcode.to_string() } else { format!("{rcode}/{}", soa.ttl) });
    } else if !rcode.is_empty() {
        parts.push(rcode.to_string());
    }
    if !reply.additionals.is_empty() {
        parts.push("+".to_string());
        parts.extend(reply.additionals.iter().map(|it| record(it, reply)));
    }
    parts.join(" ")
}

fn short(name: &Name) -> String {
    let text = name.to_string();
    match text.strip_suffix("cluster.local.") {
        Some("") => "Z".to_string(),
        Some(left) => format!("{left}Z"),
        None => text,
    }
}

/// The owner is shown unless it is the name asked for.
fn record(record: &Record, reply: &Message) -> String {
    let asked = reply.queries.first().is_some_and(|it| it.name.eq_case(&record.name));
    let owner = if asked { String::new() } else { format!("{} ", short(&record.name)) };
    let ttl = if record.ttl == 5 { String::new() } else { format!("{} ", record.ttl) };
    let rdata = match &record.data {
        RData::SRV(it) => format!("{} {} {} {}", it.priority, it.weight, it.port, short(&it.target)),
        RData::CNAME(it) => short(it),
        RData::PTR(it) => short(it),
        RData::NS(it) => short(it),
        RData::SOA(it) => {
            let [refresh, retry, expire] = [it.refresh, it.retry, it.expire];
            let (mname, rname) = (short(&it.mname), short(&it.rname));
            format!("{mname} {rname} {} {refresh} {retry} {expire} {}", it.serial, it.minimum)
        }
        RData::HINFO(it) => format!("{:?}", String::from_utf8_lossy(&it.cpu)),
        other => other.to_string(),
    };
    format!("{owner}{ttl}{} {rdata}", record.record_type())
}
