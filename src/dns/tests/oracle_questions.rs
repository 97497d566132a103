//! Questions about a world: a fixture, and the oracle that knows what it should say.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::sample::{Index as Pick, select};
use proptest::test_runner::{Config, TestError, TestRunner};

use super::oracle::{Key, Oracle, Said};
use super::*;
use crate::dns::lookup::MAX_CHAIN;

/// Why a reply may differ from what the oracle says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Accepted {
    /// ANY is answered with one HINFO record instead of every RRset (RFC 8482 §4.2). The rcode is the same.
    Any,
    /// Pod names are no part of a transfer: there is one for every address.
    Pods,
}

const WORDS: [&str; 30] = [
    "x",
    "web",
    "api",
    "db",
    "a",
    "svc",
    "pod",
    "dns",
    "ns",
    "_tcp",
    "_udp",
    "_sctp",
    "tcp",
    "_http",
    "http",
    "_dns",
    "web-0",
    "web-1",
    "web-2",
    "pod-1",
    "prod",
    "dev",
    "gone",
    "10-0-0-1",
    "10-0-0-2",
    "*",
    "10",
    "0",
    "in-addr",
    "dns-version",
];
const TYPES: [RecordType; 17] = [
    RecordType::A,
    RecordType::A,
    RecordType::AAAA,
    RecordType::AAAA,
    RecordType::SRV,
    RecordType::SRV,
    RecordType::PTR,
    RecordType::PTR,
    RecordType::CNAME,
    RecordType::TXT,
    RecordType::NS,
    RecordType::SOA,
    RecordType::MX,
    RecordType::HTTPS,
    RecordType::DS,
    RecordType::ANY,
    RecordType::Unknown(65280),
];
const ADDRESSES: [&str; 5] = ["10-0-0-1", "fd00--1", "10-0-0-256", "1--2-3", "web"];

/// How a question comes from a name of the zones.
#[derive(Debug, Clone)]
struct Question {
    start: Start,
    changes: Vec<Change>,
    rr_type: RecordType,
    /// Bit by bit, which letters are upper case.
    case: u64,
}

#[derive(Debug, Clone)]
enum Start {
    /// An owner of a record.
    Owner(Pick),
    /// So many labels of the vocabulary below an apex.
    Words(Vec<&'static str>, Pick),
    /// An address below a namespace, as pod names are made.
    Pod(&'static str, &'static str, Pick),
}

#[derive(Debug, Clone)]
enum Change {
    DropFirst,
    DropAt(Pick),
    Add(&'static str),
    Replace(Pick, &'static str),
    SwapAt(Pick),
    /// Not a letter, a dot within a label, a NUL, an octet above ASCII.
    Octet(Pick, u8),
}

fn question() -> impl Strategy<Value = Question> {
    let word = || select(&WORDS[..]);
    let start = prop_oneof![
        12 => any::<Pick>().prop_map(Start::Owner),
        3 => (proptest::collection::vec(word(), 0..6), any::<Pick>())
            .prop_map(|(words, at)| Start::Words(words, at)),
        1 => (select(&ADDRESSES[..]), select(&["prod", "dev", "gone"][..]), any::<Pick>())
            .prop_map(|(address, namespace, at)| Start::Pod(address, namespace, at)),
    ];
    let change = prop_oneof![
        4 => Just(Change::DropFirst),
        1 => any::<Pick>().prop_map(Change::DropAt),
        2 => word().prop_map(Change::Add),
        3 => (any::<Pick>(), word()).prop_map(|(at, it)| Change::Replace(at, it)),
        1 => any::<Pick>().prop_map(Change::SwapAt),
        1 => (any::<Pick>(), select(&b".\0\xe5\xc4@["[..])).prop_map(|(at, it)| Change::Octet(at, it)),
    ];
    let changes = prop_oneof![3 => Just(Vec::new()), 3 => proptest::collection::vec(change, 1..3)];
    let case = prop_oneof![3 => Just(0), 1 => any::<u64>()];
    (start, changes, select(&TYPES[..]), case).prop_map(|(start, changes, rr_type, case)| Question {
        start,
        changes,
        rr_type,
        case,
    })
}

impl Question {
    fn name(&self, owners: &[Name], apexes: &[Name]) -> Name {
        let own = |name: &Name| name.iter().map(<[u8]>::to_vec).collect::<Vec<_>>();
        let mut labels = match &self.start {
            Start::Owner(at) => own(at.get(owners)),
            Start::Words(words, apex) => {
                let words = words.iter().map(|it| it.as_bytes().to_vec());
                words.chain(own(apex.get(apexes))).collect()
            }
            Start::Pod(address, namespace, apex) => {
                let left = [address, namespace, "pod"].map(|it| it.as_bytes().to_vec());
                left.into_iter().chain(own(apex.get(apexes))).collect()
            }
        };
        for change in &self.changes {
            let count = labels.len();
            match change {
                Change::Add(word) => labels.insert(0, word.as_bytes().to_vec()),
                _ if count == 0 => {}
                Change::DropFirst => drop(labels.remove(0)),
                Change::DropAt(at) => drop(labels.remove(at.index(count))),
                Change::Replace(at, word) => labels[at.index(count)] = word.as_bytes().to_vec(),
                Change::SwapAt(at) => labels.swap(at.index(count), 0),
                Change::Octet(at, octet) => {
                    labels[at.index(count)].pop();
                    labels[at.index(count)].push(*octet);
                }
            }
        }
        for (at, octet) in labels.iter_mut().flatten().enumerate() {
            if self.case >> (at % 64) & 1 == 1 {
                octet.make_ascii_uppercase();
            }
        }
        // A name that a change has made too long gives way to the apex.
        Name::from_labels(labels.iter().map(|it| &it[..])).unwrap_or_else(|_| apexes[0].clone())
    }
}

/// A server and what it should say.
pub struct World {
    pub fixture: Fixture,
    pub oracle: Oracle,
    /// Where questions start from.
    pub owners: Vec<Name>,
    pub apexes: Vec<Name>,
    /// Where pod names lie.
    pub pods: Vec<Key>,
}

impl World {
    /// The reply of the server, and what it says; it is well-formed.
    fn reply(&self, question: &Query) -> Said {
        let mut request = Message::query();
        request.add_query(question.clone());
        let reply = self.fixture.send(&request);
        assert_eq!(reply.queries, request.queries);
        assert!(reply.authorities.len() <= 1 && !reply.metadata.truncation, "{reply}");
        Said::of(&reply)
    }

    /// Compares one question; the difference it is allowed to make.
    fn check(&self, question: &Question, seen: &mut Seen) -> Result<(), String> {
        let name = question.name(&self.owners, &self.apexes);
        let key = Key::of(&name);
        let query = Query::query(name, question.rr_type);
        let want = self.oracle.ask(&key, question.rr_type, MAX_CHAIN);
        let got = self.reply(&query);
        *seen.kinds.entry(got.kind()).or_default() += 1;
        if got == want {
            return Ok(());
        }
        let mut accept = |kind| {
            *seen.accepted.entry(kind).or_default() += 1;
            Ok(())
        };
        if self.pods.iter().any(|it| key.is_below(it)) {
            return accept(Accepted::Pods);
        }
        let difference = format!("{query}\n  got {got:?}\n want {want:?}");
        if question.rr_type == RecordType::ANY && want.rcode == ResponseCode::NoError {
            let hinfo = format!("{} 5 hinfo", query.name).to_ascii_lowercase();
            let want = Said { soa: None, answers: BTreeSet::from([hinfo]), ..want };
            let answers = got.answers.iter().map(|it| without_rdata(it)).collect();
            if (Said { answers, ..got }) == want {
                return accept(Accepted::Any);
            }
        }
        Err(difference)
    }
}

/// Owner, TTL (as 5) and type of a record's text.
fn without_rdata(text: &str) -> String {
    let words: Vec<&str> = text.split(' ').collect();
    format!("{} 5 {}", words[0], words[2])
}

/// How often what was seen.
#[derive(Debug, Default)]
pub struct Seen {
    /// By what the reply is.
    pub kinds: BTreeMap<&'static str, u32>,
    pub accepted: BTreeMap<Accepted, u32>,
}

impl Seen {
    pub fn questions(&self) -> u32 {
        self.kinds.values().sum()
    }
}

/// Asks `questions` random questions about each of `worlds` random worlds; panics with `describe` of the smallest world
/// that gives a wrong answer.
pub fn compare<T: std::fmt::Debug>(
    worlds: u32,
    questions: usize,
    inputs: impl Strategy<Value = T>,
    describe: impl Fn(&T) -> String,
    build: impl Fn(&T) -> World,
) -> Seen {
    let config = Config { max_shrink_iters: 2000, failure_persistence: None, ..Config::with_cases(worlds) };
    let seen = RefCell::new(Seen::default());
    let inputs = (inputs, proptest::collection::vec(question(), questions));
    let outcome = TestRunner::new(config).run(&inputs, |(input, questions)| {
        let world = build(&input);
        let mut seen = seen.borrow_mut();
        questions
            .iter()
            .try_for_each(|question| world.check(question, &mut seen))
            .map_err(TestCaseError::fail)
    });
    match outcome {
        Ok(()) => seen.into_inner(),
        Err(TestError::Fail(reason, (input, _))) => panic!("{reason}\n{}", describe(&input)),
        Err(error) => panic!("{error}"),
    }
}
