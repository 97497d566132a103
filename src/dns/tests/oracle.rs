//! A small generic name server of the tests: the algorithm of RFC 1034 §4.3.2 over a flat list of records.
//!
//! Knows nothing of Kubernetes and shares no code with the server. No delegation, DNAME or wildcard. It is checked by the
//! cases of `ferret`, and is the judge of `oracle_random`.

use std::collections::BTreeSet;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{Name, RData, Record, RecordType};

/// A name as its labels from the root down, each with its length in front, ASCII letters in lower case. What lies at or
/// below a name are the keys that start with it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key(Vec<u8>);

impl Key {
    pub fn of(name: &Name) -> Self {
        let labels: Vec<&[u8]> = name.iter().collect();
        let mut key = Vec::with_capacity(64);
        for label in labels.into_iter().rev() {
            key.push(label.len() as u8);
            key.extend(label.iter().map(u8::to_ascii_lowercase));
        }
        Self(key)
    }

    /// Below `other`, not at it.
    pub fn is_below(&self, other: &Self) -> bool {
        self != other && self.is_within(other)
    }

    pub fn is_within(&self, apex: &Self) -> bool {
        self.0.starts_with(&apex.0)
    }
}

/// One record. Its text is compared, nothing else of it is understood but the target of a CNAME.
#[derive(Debug, Clone)]
pub struct FlatRecord {
    pub owner: Key,
    pub rr_type: RecordType,
    /// Target, for a CNAME.
    pub target: Option<Key>,
    /// Owner, TTL, type and rdata.
    pub text: String,
}

impl FlatRecord {
    pub fn of(record: &Record) -> Self {
        let target = if let RData::CNAME(it) = &record.data { Some(Key::of(it)) } else { None };
        let (owner, rr_type) = (Key::of(&record.name), record.record_type());
        Self { owner, rr_type, target, text: text(record) }
    }
}

/// The form in which records are compared: owner, TTL, type and rdata in lower case.
pub fn text(record: &Record) -> String {
    format!("{} {} {} {}", record.name, record.ttl, record.record_type(), record.data).to_ascii_lowercase()
}

#[derive(Debug)]
pub struct FlatZone {
    pub apex: Key,
    pub records: Vec<FlatRecord>,
    /// Names that exist without owning a record or having one below them.
    pub names: Vec<Key>,
}

/// Zones, none below another.
#[derive(Debug)]
pub struct Oracle {
    pub zones: Vec<FlatZone>,
}

/// What is compared of a reply.
#[derive(Debug, PartialEq, Eq)]
pub struct Said {
    pub rcode: ResponseCode,
    /// Texts of the records in the answer section.
    pub answers: BTreeSet<String>,
    /// Owner of the SOA record in the authority section of a negative reply.
    pub soa: Option<Key>,
}

impl Said {
    /// A word for it.
    pub fn kind(&self) -> &'static str {
        match self.rcode {
            ResponseCode::NoError if self.soa.is_some() => "NODATA",
            ResponseCode::NoError => "answer",
            ResponseCode::NXDomain => "NXDOMAIN",
            ResponseCode::Refused => "REFUSED",
            other => panic!("unexpected {other}"),
        }
    }

    /// What a server said.
    pub fn of(reply: &Message) -> Self {
        Self {
            rcode: reply.metadata.response_code,
            answers: reply.answers.iter().map(text).collect(),
            soa: reply.authorities.first().map(|it| Key::of(&it.name)),
        }
    }
}

impl Oracle {
    /// `max_chain`: the most CNAME records that are followed.
    pub fn ask(&self, question: &Key, rr_type: RecordType, max_chain: usize) -> Said {
        let mut said = Said { rcode: ResponseCode::NoError, answers: BTreeSet::new(), soa: None };
        let mut name = question;
        loop {
            // Step 2: the zone that is the nearest ancestor of the name.
            let Some(zone) = self.zones.iter().find(|it| name.is_within(&it.apex)) else {
                if said.answers.is_empty() {
                    said.rcode = ResponseCode::Refused;
                }
                return said;
            };
            // Step 3: match down, label by label; a name exists if it or a name below it owns a record (RFC 8020).
            let owners = zone.records.iter().map(|it| &it.owner);
            if !owners.chain(&zone.names).any(|it| it.is_within(name)) {
                said.rcode = ResponseCode::NXDomain;
                said.soa = Some(zone.apex.clone());
                return said;
            }
            let own = || zone.records.iter().filter(|it| it.owner == *name);
            // Step 3a: a CNAME stands for every other type and for nothing that asks for itself.
            let alias = own().find(|it| it.rr_type == RecordType::CNAME);
            if let Some(alias) = alias.filter(|_| ![RecordType::CNAME, RecordType::ANY].contains(&rr_type)) {
                // The target of the last link is looked at, but no alias is found there.
                if said.answers.len() == max_chain || !said.answers.insert(alias.text.clone()) {
                    return said;
                }
                name = alias.target.as_ref().expect("a CNAME has a target");
                continue;
            }
            let found = own().filter(|it| it.rr_type == rr_type || rr_type == RecordType::ANY);
            let before = said.answers.len();
            said.answers.extend(found.map(|it| it.text.clone()));
            if said.answers.len() == before {
                said.soa = Some(zone.apex.clone());
            }
            return said;
        }
    }
}
