//! Names of others: what comes back from a scripted upstream server, and what happens when nothing does.

mod common;

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::{Ordinal, fixture, has_dig, wait_until};
use hickory_proto::op::{Edns, Message, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, CNAME, NULL, PTR, SOA, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};

/// How a query reached the upstream server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Over {
    Udp,
    Tcp,
}

type Script = dyn Fn(&Message, Over, usize) -> Option<Message> + Send + Sync;

/// An upstream server on loopback that answers by a script, UDP and TCP on one port.
struct Upstream {
    address: SocketAddr,
    /// How often each (name, type) was asked.
    asked: Arc<Mutex<HashMap<String, usize>>>,
}

impl Upstream {
    /// `script`: from the query, how it came, and how often it has been asked before; `None` is silence.
    fn start(script: impl Fn(&Message, Over, usize) -> Option<Message> + Send + Sync + 'static) -> Self {
        let script: Arc<Script> = Arc::new(script);
        let (udp, tcp) = bind_both();
        let address = udp.local_addr().expect("bound");
        let asked: Arc<Mutex<HashMap<String, usize>>> = Arc::default();
        let count = |asked: &Mutex<HashMap<String, usize>>, query: &Message| {
            let mut asked = asked.lock().expect("unpoisoned");
            let times = asked.entry(key(&query.queries[0])).or_default();
            *times += 1;
            *times - 1
        };
        let (play, log) = (Arc::clone(&script), Arc::clone(&asked));
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok((len, client)) = udp.recv_from(&mut buffer) {
                let query = Message::from_vec(&buffer[..len]).expect("ordinal sends messages");
                let before = count(&log, &query);
                if let Some(response) = play(&query, Over::Udp, before) {
                    udp.send_to(&response.to_vec().expect("encodes"), client).expect("sent");
                }
            }
        });
        let log = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in tcp.incoming() {
                let mut stream = stream.expect("accepted");
                let query = Message::from_vec(&read_framed(&mut stream)).expect("ordinal sends messages");
                let before = count(&log, &query);
                if let Some(response) = script(&query, Over::Tcp, before) {
                    write_framed(&mut stream, &response.to_vec().expect("encodes"));
                }
            }
        });
        Self { address, asked }
    }

    fn times_asked(&self, question: &str) -> usize {
        self.asked.lock().expect("unpoisoned").get(question).copied().unwrap_or_default()
    }
}

/// A UDP and a TCP socket on one free port.
fn bind_both() -> (UdpSocket, TcpListener) {
    (0..100)
        .find_map(|_| {
            let udp = UdpSocket::bind("127.0.0.1:0").expect("a socket");
            let tcp = TcpListener::bind(udp.local_addr().expect("bound")).ok()?;
            Some((udp, tcp))
        })
        .expect("a port that is free for both")
}

fn key(query: &Query) -> String {
    format!("{} {}", query.name(), query.query_type())
}

fn read_framed(stream: &mut TcpStream) -> Vec<u8> {
    let mut len = [0; 2];
    stream.read_exact(&mut len).expect("a length");
    let mut octets = vec![0; usize::from(u16::from_be_bytes(len))];
    stream.read_exact(&mut octets).expect("a message");
    octets
}

fn write_framed(stream: &mut TcpStream, octets: &[u8]) {
    let len = u16::try_from(octets.len()).expect("short");
    stream.write_all(&[&len.to_be_bytes()[..], octets].concat()).expect("sent");
}

fn name(text: &str) -> Name {
    Name::from_ascii(text).expect(text)
}

fn record(owner: &str, ttl: u32, data: RData) -> Record {
    Record::from_rdata(name(owner), ttl, data)
}

fn address(owner: &str, last: u8) -> Record {
    record(owner, 60, RData::A(A::new(192, 0, 2, last)))
}

fn alias(owner: &str, target: &str) -> Record {
    record(owner, 60, RData::CNAME(CNAME(name(target))))
}

fn soa() -> Record {
    let soa = SOA::new(name("ns.example."), name("hostmaster.example."), 1, 2, 3, 4, 60);
    record("example.", 60, RData::SOA(soa))
}

/// The zone `example.` and a few names that behave badly.
fn example(query: &Message, over: Over, before: usize) -> Option<Message> {
    let question = query.queries[0].clone();
    let mut reply = query.clone().into_response();
    reply.edns = None;
    reply.metadata.authoritative = true;
    reply.metadata.recursion_available = true;
    reply.metadata.authentic_data = true;
    match (question.name().to_ascii().to_lowercase().as_str(), question.query_type()) {
        ("www.example.", RecordType::A) => reply.answers.push(address("www.example.", 1)),
        ("chain.example.", RecordType::A) => {
            reply.answers.extend([alias("chain.example.", "www.example."), address("www.example.", 1)]);
        }
        ("dangling.example.", _) => {
            reply.metadata.response_code = ResponseCode::NXDomain;
            reply.answers.push(alias("dangling.example.", "missing.example."));
            reply.authorities.push(soa());
        }
        ("www.example." | "chain.example.", _) => reply.authorities.push(soa()),
        ("strange.example.", RecordType::Unknown(65_400)) => {
            let data = RData::Unknown { code: RecordType::Unknown(65_400), rdata: NULL::with(vec![1, 2, 3]) };
            reply.answers.push(record("strange.example.", 60, data));
        }
        ("broken.example.", _) => {
            reply.metadata.response_code = ResponseCode::ServFail;
            let mut edns = Edns::new();
            edns.options_mut().insert(hickory_proto::rr::rdata::opt::EdnsOption::Unknown(15, vec![0, 6]));
            reply.edns = Some(edns);
        }
        ("refused.example.", _) => reply.metadata.response_code = ResponseCode::Refused,
        ("old.example.", _) if query.edns.is_some() => {
            reply.metadata.response_code = ResponseCode::FormErr;
        }
        ("old.example.", _) => reply.answers.push(address("old.example.", 7)),
        ("big.example.", _) if over == Over::Udp => {
            reply.metadata.truncation = true;
            reply.answers.push(address("big.example.", 1));
        }
        ("big.example.", _) => reply.answers.extend((0..100).map(|it| address("big.example.", it))),
        ("second-try.example.", _) if before == 0 => return None,
        ("second-try.example.", _) => reply.answers.push(address("second-try.example.", 2)),
        ("silent.example.", _) => return None,
        ("5.113.0.203.in-addr.arpa.", RecordType::PTR) => {
            let data = RData::PTR(PTR(name("elsewhere.example.")));
            reply.answers.push(record("5.113.0.203.in-addr.arpa.", 60, data));
        }
        ("nobody.prod.svc.cluster.local.", RecordType::TXT) => {
            let data = RData::TXT(TXT::new(vec!["from upstream".to_owned()]));
            reply.answers.push(record("nobody.prod.svc.cluster.local.", 60, data));
        }
        _ => {
            reply.metadata.response_code = ResponseCode::NXDomain;
            reply.authorities.push(soa());
        }
    }
    Some(reply)
}

/// `ordinal up` with the services of the fixture and `args`.
fn start(args: &[&str]) -> Ordinal {
    let services = fixture("upstream");
    let mut all = vec!["-f", services.to_str().expect("UTF-8")];
    all.extend(args);
    Ordinal::up_fast(&all)
}

fn with_upstream(upstream: &Upstream, args: &[&str]) -> Ordinal {
    let address = upstream.address.to_string();
    let mut all = vec!["--upstream", &address];
    all.extend(args);
    start(&all)
}

/// A query as octets that a test can change.
fn query(question: &str) -> Message {
    let (owner, rr_type) = question.split_once(' ').expect(question);
    let rr_type = match rr_type.strip_prefix("TYPE") {
        Some(number) => RecordType::Unknown(number.parse().expect(question)),
        None => rr_type.parse().expect(question),
    };
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(name(owner), rr_type));
    message
}

fn ask(ordinal: &Ordinal, message: &Message) -> Message {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.connect(ordinal.dns()).expect("connected");
    socket.set_read_timeout(Some(common::DEADLINE)).expect("a timeout");
    socket.send(&message.to_vec().expect("encodes")).expect("sent");
    let mut buffer = [0; 4096];
    let len = socket.recv(&mut buffer).expect("a reply");
    let reply = Message::from_vec(&buffer[..len]).expect("a message");
    assert_eq!(reply.metadata.id, message.metadata.id);
    assert_eq!(reply.queries, message.queries);
    reply
}

fn ask_tcp(ordinal: &Ordinal, message: &Message) -> Message {
    let mut stream = TcpStream::connect(ordinal.dns()).expect("connected");
    stream.set_read_timeout(Some(common::DEADLINE)).expect("a timeout");
    write_framed(&mut stream, &message.to_vec().expect("encodes"));
    Message::from_vec(&read_framed(&mut stream)).expect("a message")
}

/// With EDNS, so that extended errors come back.
fn with_edns(mut message: Message) -> Message {
    message.set_edns(Edns::new());
    message
}

fn extended_error(message: &Message) -> Option<u16> {
    use hickory_proto::rr::rdata::opt::{EdnsCode, EdnsOption};
    match message.edns.as_ref()?.option(EdnsCode::Unknown(15))? {
        EdnsOption::Unknown(_, data) => Some(u16::from_be_bytes([data[0], data[1]])),
        _ => None,
    }
}

fn type_text(record: &Record) -> String {
    match record.record_type() {
        RecordType::Unknown(number) => format!("TYPE{number}"),
        known => known.to_string(),
    }
}

/// Response code, flags, and what each section holds, in one line.
fn print(message: &Message) -> String {
    let meta = &message.metadata;
    let mut head = vec![format!("{:?}", meta.response_code).to_uppercase()];
    for (flag, set) in [
        ("aa", meta.authoritative),
        ("tc", meta.truncation),
        ("ra", meta.recursion_available),
        ("ad", meta.authentic_data),
    ] {
        head.extend(set.then(|| flag.to_owned()));
    }
    let list = |records: &[Record]| {
        records.iter().map(|it| format!("{} {}", it.name, type_text(it))).collect::<Vec<_>>().join(", ")
    };
    let (answers, authority) = (list(&message.answers), list(&message.authorities));
    let colon = if answers.is_empty() { "" } else { ": " };
    let bar = if authority.is_empty() { "" } else { " | " };
    format!("{}{colon}{answers}{bar}{authority}", head.join(" "))
}

#[test]
fn what_the_upstream_says_is_passed_on() {
    let upstream = Upstream::start(example);
    let ordinal = with_upstream(&upstream, &[]);
    for (why, question, want) in [
        ("an answer", "www.example. A", "NOERROR ra: www.example. A"),
        ("the spelling of the question", "WWW.eXample. A", "NOERROR ra: WWW.eXample. A"),
        ("an alias", "chain.example. A", "NOERROR ra: chain.example. CNAME, www.example. A"),
        ("no such type", "www.example. AAAA", "NOERROR ra | example. SOA"),
        ("no such name", "missing.example. A", "NXDOMAIN ra | example. SOA"),
        ("an alias of nothing", "dangling.example. A", "NXDOMAIN ra: dangling.example. CNAME | example. SOA"),
        ("SERVFAIL", "broken.example. A", "SERVFAIL ra"),
        ("REFUSED", "refused.example. A", "REFUSED ra"),
        ("an unknown type", "strange.example. TYPE65400", "NOERROR ra: strange.example. TYPE65400"),
        ("a server without EDNS", "old.example. A", "NOERROR ra: old.example. A"),
        ("a datagram that is lost", "second-try.example. A", "NOERROR ra: second-try.example. A"),
        ("a name of ours", "web.prod.svc.cluster.local. A", "NOERROR aa ra: web.prod.svc.cluster.local. A"),
        ("a missing name of ours", "nobody.prod.svc.cluster.local. A", "NXDOMAIN aa ra | cluster.local. SOA"),
    ] {
        let message = query(question);
        assert_eq!(print(&ask(&ordinal, &message)), want, "{why}");
        assert_eq!(print(&ask_tcp(&ordinal, &message)), want, "{why}, over TCP");
    }
    assert_eq!(upstream.times_asked("nobody.prod.svc.cluster.local. A"), 0);
    let broken = ask(&ordinal, &with_edns(query("broken.example. MX")));
    assert_eq!(extended_error(&broken), Some(6), "the extended error of the upstream server");
    let (_, metrics) = ordinal.http_get("/metrics");
    for want in [
        "ordinal_dns_forward_responses_total{rcode=\"NXDOMAIN\"} 2",
        "ordinal_dns_forward_responses_total{rcode=\"REFUSED\"} ",
        "ordinal_dns_forward_cache_hits_total ",
        "ordinal_dns_forward_duration_seconds_count ",
    ] {
        assert!(metrics.lines().any(|it| it.starts_with(want)), "{want} is not in\n{metrics}");
    }
}

#[test]
fn a_refused_packet_says_that_recursion_is_available() {
    let upstream = Upstream::start(example);
    let ordinal = with_upstream(&upstream, &[]);
    let mut chaos = query("version.bind. TXT");
    chaos.queries[0].set_query_class(hickory_proto::rr::DNSClass::CH);
    assert_eq!(print(&ask(&ordinal, &chaos)), "REFUSED ra");
    let transfer = query("example. AXFR");
    assert_eq!(print(&ask(&ordinal, &transfer)), "REFUSED ra");

    let alone = start(&[]);
    assert_eq!(print(&ask(&alone, &query("www.example. A"))), "REFUSED");
    assert_eq!(print(&ask(&alone, &query(". NS"))), "REFUSED");
}

#[test]
fn responses_are_kept_for_their_ttl() {
    let upstream = Upstream::start(example);
    let ordinal = with_upstream(&upstream, &[]);
    for question in ["www.example. A", "missing.example. A", "www.example. TXT"] {
        for _ in 0..3 {
            ask(&ordinal, &query(question));
            ask_tcp(&ordinal, &query(question));
        }
        assert_eq!(upstream.times_asked(question), 1, "{question}");
    }
    let ttl = ask(&ordinal, &query("www.example. A")).answers[0].ttl;
    assert!((1..=60).contains(&ttl), "{ttl}");

    // DO and CD reach the upstream server and are kept apart.
    let mut validating = with_edns(query("www.example. A"));
    validating.edns.as_mut().expect("set").set_dnssec_ok(true);
    validating.metadata.checking_disabled = true;
    let reply = ask(&ordinal, &validating);
    assert!(reply.metadata.checking_disabled && reply.edns.expect("EDNS").flags().dnssec_ok);
    assert_eq!(upstream.times_asked("www.example. A"), 2);
}

#[test]
fn a_query_without_rd_is_passed_on_without_it() {
    let upstream = Upstream::start(|query, over, before| {
        let mut reply = example(query, over, before)?;
        if !query.metadata.recursion_desired {
            reply = query.clone().into_response();
            reply.metadata.response_code = ResponseCode::Refused;
        }
        Some(reply)
    });
    let ordinal = with_upstream(&upstream, &[]);
    let mut question = query("www.example. A");
    question.metadata.recursion_desired = false;
    assert_eq!(print(&ask(&ordinal, &question)), "REFUSED ra");
    // What was said without recursion is not kept for those who ask for it.
    assert_eq!(print(&ask(&ordinal, &query("www.example. A"))), "NOERROR ra: www.example. A");
    // What is known is answered to everybody.
    assert_eq!(print(&ask(&ordinal, &question)), "NOERROR ra: www.example. A");
}

#[test]
fn an_external_name_is_followed_to_the_upstream() {
    let upstream = Upstream::start(example);
    let (ordinal, alone) = (with_upstream(&upstream, &[]), start(&[]));
    let alias = |service: &str| format!("{service}.prod.svc.cluster.local. CNAME");
    let (www, gone, broken, big) = (alias("www"), alias("gone"), alias("broken"), alias("big"));
    for (why, question, want) in [
        ("its answer", "www A", format!("NOERROR aa ra: {www}, www.example. A")),
        ("no such type there", "www MX", format!("NOERROR aa ra: {www} | example. SOA")),
        ("the alias itself", "www CNAME", format!("NOERROR aa ra: {www}")),
        ("a name that is missing there", "gone A", format!("NXDOMAIN aa ra: {gone} | example. SOA")),
        ("SERVFAIL there", "broken A", format!("SERVFAIL aa ra: {broken}")),
        ("truncated there", "big A", format!("NOERROR aa tc ra: {big}, big.example. A")),
    ] {
        let (service, rr_type) = question.split_once(' ').expect(question);
        let question = query(&format!("{service}.prod.svc.cluster.local. {rr_type}"));
        assert_eq!(print(&ask(&ordinal, &question)), want, "{why}");
        let only = print(&ask(&alone, &question));
        assert_eq!(only, format!("NOERROR aa: {}", alias(service)), "{why}, without upstream");
    }
    assert_eq!(ask_tcp(&ordinal, &query("big.prod.svc.cluster.local. A")).answers.len(), 101);
    // Whether the client wants recursion or not: half an answer is of no use.
    let mut question = query("www.prod.svc.cluster.local. A");
    question.metadata.recursion_desired = false;
    assert_eq!(ask(&ordinal, &question).answers.len(), 2);
    if has_dig() {
        assert_eq!(ordinal.dig_short("WWW.prod.svc.cluster.local", "A"), ["192.0.2.1", "www.example."]);
    }
}

#[test]
fn missing_names_of_some_zones_are_asked_of_the_upstream() {
    let upstream = Upstream::start(example);
    let ordinal = with_upstream(&upstream, &["--fallthrough", "in-addr.arpa,prod.svc.cluster.local"]);
    for (why, question, want) in [
        (
            "an address of others",
            "5.113.0.203.in-addr.arpa. PTR",
            "NOERROR ra: 5.113.0.203.in-addr.arpa. PTR",
        ),
        ("an address of ours", "10.0.96.10.in-addr.arpa. PTR", "NOERROR aa ra: 10.0.96.10.in-addr.arpa. PTR"),
        ("an address nobody has", "6.113.0.203.in-addr.arpa. PTR", "NXDOMAIN ra | example. SOA"),
        (
            "a name below a zone",
            "nobody.prod.svc.cluster.local. TXT",
            "NOERROR ra: nobody.prod.svc.cluster.local. TXT",
        ),
        ("another name", "nobody.dev.svc.cluster.local. TXT", "NXDOMAIN aa ra | cluster.local. SOA"),
        ("a name of ours", "web.prod.svc.cluster.local. TXT", "NOERROR aa ra | cluster.local. SOA"),
    ] {
        assert_eq!(print(&ask(&ordinal, &query(question))), want, "{why}");
        assert_eq!(print(&ask_tcp(&ordinal, &query(question))), want, "{why}, over TCP");
    }
    if has_dig() {
        let elsewhere = ordinal.dig(&["+short", "-x", "203.0.113.5"]);
        assert_eq!(elsewhere.trim(), "elsewhere.example.");
    }
}

#[test]
fn hosts_files_come_before_the_upstream() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("hosts");
    std::fs::write(
        &file,
        "192.0.2.80 Printer.example www.example   # two names\n\
         192.0.2.81 printer.example\n\
         2001:db8::80 printer.example\n\
         192.0.2.300 typo.example\n",
    )
    .expect("written");
    let path = file.to_str().expect("UTF-8");
    let upstream = Upstream::start(example);
    let ordinal = with_upstream(&upstream, &["--hosts", path, "--fallthrough", "in-addr.arpa", "--ttl", "7"]);
    let printer = "printer.example. A";
    for (why, question, want) in [
        ("every address", printer, format!("NOERROR aa ra: {printer}, {printer}")),
        ("the other family", "printer.example. AAAA", "NOERROR aa ra: printer.example. AAAA".to_owned()),
        ("no such type", "printer.example. MX", "NOERROR aa ra".to_owned()),
        ("no such family", "www.example. AAAA", "NOERROR aa ra".to_owned()),
        (
            "the name of an address",
            "80.2.0.192.in-addr.arpa. PTR",
            "NOERROR aa ra: 80.2.0.192.in-addr.arpa. PTR, 80.2.0.192.in-addr.arpa. PTR".to_owned(),
        ),
        (
            "the target of an ExternalName",
            "www.prod.svc.cluster.local. A",
            "NOERROR aa ra: www.prod.svc.cluster.local. CNAME, www.example. A".to_owned(),
        ),
        ("everything else", "missing.example. A", "NXDOMAIN ra | example. SOA".to_owned()),
    ] {
        let question = query(question);
        assert_eq!(print(&ask(&ordinal, &question)), want, "{why}");
        assert_eq!(print(&ask_tcp(&ordinal, &question)), want, "{why}, over TCP");
    }
    assert_eq!(upstream.times_asked("www.example. A"), 0);
    assert_eq!(ask(&ordinal, &query(printer)).answers[0].ttl, 7);
    let warning = format!("{path}:4: \"192.0.2.300\" is no address, left out");
    wait_until("the warning about line 4", || ordinal.stderr().contains(&warning));

    std::fs::write(&file, "192.0.2.90 scanner.example\n").expect("written");
    wait_until("the change to be seen", || {
        ask(&ordinal, &query("scanner.example. A")).answers.len() == 1
            && ask(&ordinal, &query(printer)).answers.is_empty()
    });
    if has_dig() {
        assert_eq!(ordinal.dig_short("scanner.example", "A"), ["192.0.2.90"]);
    }
}

#[test]
fn hosts_files_alone() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("hosts");
    std::fs::write(&file, "192.0.2.80 printer.example\n").expect("written");
    let ordinal = start(&["--hosts", file.to_str().expect("UTF-8"), "--fallthrough", "."]);
    for (question, want) in [
        ("printer.example. A", "NOERROR aa: printer.example. A"),
        ("www.example. A", "REFUSED"),
        ("80.2.0.192.in-addr.arpa. PTR", "NOERROR aa: 80.2.0.192.in-addr.arpa. PTR"),
        ("81.2.0.192.in-addr.arpa. PTR", "NXDOMAIN aa | in-addr.arpa. SOA"),
    ] {
        assert_eq!(print(&ask(&ordinal, &query(question))), want, "{question}");
    }

    let output = Ordinal::command().args(["up", "--hosts", "/no/such/hosts"]).output().expect("it starts");
    let stderr = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("dns.hosts: cannot read /no/such/hosts"), "{stderr}");
}

#[test]
fn a_truncated_response_stays_truncated_over_udp_and_is_whole_over_tcp() {
    let upstream = Upstream::start(example);
    let ordinal = with_upstream(&upstream, &[]);
    let question = query("big.example. A");
    let short = ask(&ordinal, &question);
    assert_eq!(print(&short), "NOERROR tc ra: big.example. A");
    assert_eq!(ask_tcp(&ordinal, &question).answers.len(), 100);
    // Now it is known in full, and cut to what each client takes.
    let cut = ask(&ordinal, &question);
    assert!(cut.metadata.truncation && cut.answers.len() > 20, "{}", print(&cut));
    assert_eq!(upstream.times_asked("big.example. A"), 3);
    if has_dig() {
        assert_eq!(ordinal.dig_short("big.example", "A").len(), 100);
    }
}

#[test]
fn nobody_answers() {
    let silent = Upstream::start(|_, _, _| None);
    let ordinal = with_upstream(&silent, &[]);
    let began = Instant::now();
    let reply = ask(&ordinal, &with_edns(query("www.example. A")));
    assert_eq!((print(&reply).as_str(), extended_error(&reply)), ("SERVFAIL ra", Some(22)));
    assert!(began.elapsed() >= Duration::from_secs(3), "gave up after {:?}", began.elapsed());
    // In the meantime everything of ours is answered.
    assert_eq!(ask(&ordinal, &query("web.prod.svc.cluster.local. A")).answers.len(), 1);
    assert!(silent.times_asked("www.example. A") >= 2, "it is asked again");
}

#[test]
fn a_dead_server_is_passed_over() {
    // A port that was free a moment ago: nobody listens there.
    let (udp, tcp) = bind_both();
    let dead = udp.local_addr().expect("bound").to_string();
    drop((udp, tcp));
    let alone = start(&["--upstream", &dead]);
    let reply = ask(&alone, &with_edns(query("www.example. A")));
    assert_eq!((print(&reply).as_str(), extended_error(&reply)), ("SERVFAIL ra", Some(23)));

    let (silent, alive) = (Upstream::start(|_, _, _| None), Upstream::start(example));
    let list = [dead, silent.address.to_string(), alive.address.to_string()].join(",");
    let ordinal = start(&["--upstream", &list]);
    assert_eq!(print(&ask(&ordinal, &query("www.example. A"))), "NOERROR ra: www.example. A");
    // The one that answered is asked first from now on.
    assert_eq!(print(&ask(&ordinal, &query("missing.example. A"))), "NXDOMAIN ra | example. SOA");
    assert_eq!(silent.times_asked("missing.example. A"), 0);
}

#[test]
fn another_server_may_know_what_one_refuses() {
    let broken = Upstream::start(|query, _, _| {
        let mut reply = query.clone().into_response();
        reply.metadata.response_code = ResponseCode::ServFail;
        Some(reply)
    });
    let whole = Upstream::start(example);
    let list = [broken.address.to_string(), whole.address.to_string()].join(",");
    let ordinal = start(&["--upstream", &list]);
    assert_eq!(print(&ask(&ordinal, &query("www.example. A"))), "NOERROR ra: www.example. A");
    assert_eq!(broken.times_asked("www.example. A"), 1);
    assert_eq!(print(&ask(&ordinal, &query("broken.example. A"))), "SERVFAIL ra");
}

#[test]
fn more_questions_than_fit_fail_and_hurt_nobody() {
    let silent = Upstream::start(|_, _, _| None);
    let ordinal = with_upstream(&silent, &[]);
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.connect(ordinal.dns()).expect("connected");
    socket.set_read_timeout(Some(common::DEADLINE)).expect("a timeout");
    let count = 600;
    let reading = socket.try_clone().expect("another handle");
    let replies = std::thread::spawn(move || {
        let mut buffer = [0; 512];
        (0..count)
            .map(|_| {
                reading.recv(&mut buffer).map(|len| Message::from_vec(&buffer[..len]).expect("a message"))
            })
            .collect::<Result<Vec<_>, _>>()
    });
    for number in 0..count {
        let question = query(&format!("host-{number}.example. A"));
        socket.send(&question.to_vec().expect("encodes")).expect("sent");
    }
    assert_eq!(ask(&ordinal, &query("web.prod.svc.cluster.local. A")).answers.len(), 1);
    let replies = replies.join().expect("the reader does not panic").expect("every question is answered");
    assert!(replies.iter().all(|it| print(it) == "SERVFAIL ra"));
    let (_, metrics) = ordinal.http_get("/metrics");
    for reason in ["busy", "timeout"] {
        let line = format!("ordinal_dns_forward_failures_total{{reason=\"{reason}\"}}");
        assert!(metrics.contains(&line), "{line} is not in\n{metrics}");
    }
}

/// A forwarder whose upstream is the server under test. `hide`: sends a query of its own instead of the one it got.
fn circle(hide: bool) -> (SocketAddr, Arc<Mutex<Option<SocketAddr>>>) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let address = socket.local_addr().expect("bound");
    let back: Arc<Mutex<Option<SocketAddr>>> = Arc::default();
    let target = Arc::clone(&back);
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        let mut clients: HashMap<u16, SocketAddr> = HashMap::new();
        while let Ok((len, sender)) = socket.recv_from(&mut buffer) {
            let Some(ordinal) = *target.lock().expect("unpoisoned") else { continue };
            let mut message = Message::from_vec(&buffer[..len]).expect("a message");
            if sender == ordinal {
                let client = clients[&message.metadata.id];
                socket.send_to(&message.to_vec().expect("encodes"), client).expect("sent");
                continue;
            }
            clients.insert(message.metadata.id, sender);
            if hide {
                message.edns = None;
            }
            socket.send_to(&message.to_vec().expect("encodes"), ordinal).expect("sent");
        }
    });
    (address, back)
}

#[test]
fn a_loop_of_servers_ends() {
    for hide in [false, true] {
        let (address, back) = circle(hide);
        let ordinal = start(&["--upstream", &address.to_string()]);
        *back.lock().expect("unpoisoned") = Some(ordinal.dns());
        let reply = ask(&ordinal, &with_edns(query("www.example. A")));
        assert_eq!(print(&reply), "SERVFAIL ra", "hide: {hide}");
        if hide {
            assert_eq!(extended_error(&reply), Some(22));
        } else {
            wait_until("the log to say so", || ordinal.stderr().contains("a query of ours came back"));
            let (_, metrics) = ordinal.http_get("/metrics");
            assert!(metrics.contains("ordinal_dns_forward_loops_total 1"), "{metrics}");
        }
    }
}

#[test]
fn an_upstream_that_is_the_server_itself_is_refused_at_start() {
    for args in [
        &["up", "--upstream", "127.0.0.1:1053"][..],
        &["up", "--dns-listen", "127.0.0.1:9953", "--upstream", "127.0.0.1:9953"],
        &["run", "--upstream", "[::1]:1053"],
    ] {
        let output = Ordinal::command().args(args).output().expect("the binary starts");
        let stderr = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(2), "{args:?}: {stderr}");
        assert!(stderr.contains("dns.upstream[0]") && stderr.contains("this server itself"), "{stderr}");
    }
}
