//! The oracle itself is checked: zones and what authoritative servers say about them.
//!
//! The cases of tests/fixtures/oracle/zones.txt always run. Those of Ferret, a generator of test zones with the recorded
//! replies of BIND, NSD, Knot and PowerDNS (<https://github.com/dns-groot/FerretDataset>, MIT licence), run when
//! `ORDINAL_TEST_FERRET` names a file that tests/fixtures/ferret/convert.py has made of a copy of that data set.

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Name, RecordType};

use super::oracle::{FlatRecord, FlatZone, Key, Oracle, Said};

/// Longer than any chain of the cases.
const CHAIN: usize = 20;

/// A zone and the questions about it, in the order of the file.
struct Case {
    zone: FlatZone,
    questions: Vec<(String, Key, RecordType, Said)>,
}

fn key(text: &str) -> Key {
    Key::of(&Name::from_ascii(text).expect(text))
}

fn rr_type(text: &str) -> RecordType {
    let number = text.strip_prefix("TYPE").and_then(|it| it.parse().ok());
    number.map_or_else(|| text.parse().expect(text), RecordType::Unknown)
}

/// Parses the format that tests/fixtures/oracle/zones.txt describes.
fn cases(text: &str) -> Vec<Case> {
    let mut all: Vec<Case> = Vec::new();
    for line in text.lines().filter(|it| !it.is_empty() && !it.starts_with('#')) {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let ["zone", apex] = words[..] {
            let zone = FlatZone { apex: key(apex), records: Vec::new(), names: Vec::new() };
            all.push(Case { zone, questions: Vec::new() });
            continue;
        }
        let case = all.last_mut().expect("a zone comes first");
        match words[..] {
            ["ask", name, asked, rcode, ref soa @ ..] => {
                let rcode = match rcode {
                    "NOERROR" => ResponseCode::NoError,
                    "NXDOMAIN" => ResponseCode::NXDomain,
                    "REFUSED" => ResponseCode::Refused,
                    other => panic!("no response code of these cases: {other}"),
                };
                let soa = (soa == ["soa"]).then(|| case.zone.apex.clone());
                let said = Said { rcode, answers: Default::default(), soa };
                case.questions.push((format!("{name} {asked}"), key(name), rr_type(asked), said));
            }
            ["=", ref record @ ..] => {
                let (.., said) = case.questions.last_mut().expect("a question comes first");
                said.answers.insert(record.join(" ").to_ascii_lowercase());
            }
            [owner, _, kind, .., last] => case.zone.records.push(FlatRecord {
                owner: key(owner),
                rr_type: rr_type(kind),
                target: (kind == "CNAME").then(|| key(last)),
                text: words.join(" ").to_ascii_lowercase(),
            }),
            _ => panic!("neither zone, record, question nor answer: {line}"),
        }
    }
    all
}

/// Compares every question; how many there were.
fn check(text: &str) -> usize {
    let mut wrong = Vec::new();
    let mut count = 0;
    for Case { zone, questions } in cases(text) {
        let oracle = Oracle { zones: vec![zone] };
        for (what, name, rr_type, want) in questions {
            count += 1;
            let got = oracle.ask(&name, rr_type, CHAIN);
            if got != want {
                wrong.push(format!("{what}\n  got {got:?}\n want {want:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong.join("\n"));
    count
}

#[test]
fn tst_9_the_oracle_answers_as_the_rfcs_say() {
    assert_eq!(check(include_str!("../../../tests/fixtures/oracle/zones.txt")), 38);
}

#[test]
fn tst_9_the_oracle_answers_like_the_servers_that_ferret_recorded() {
    let Some(path) = std::env::var_os("ORDINAL_TEST_FERRET") else {
        println!("SKIPPED: ORDINAL_TEST_FERRET names no file (see tests/fixtures/ferret/convert.py)");
        return;
    };
    assert_eq!(check(&std::fs::read_to_string(path).unwrap()), 1741);
}
