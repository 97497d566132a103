//! Why a name has the records it has, or none: `ordinal lookup --explain`.
//!
//! (`View`, `Zones`, `Cache`, name, type) ──[`explain()`]──▶ [`Explanation`] ──▶ `dns::explain::http` ──▶ JSON
//!
//! The answer itself comes from `dns::lookup`, so an explanation never disagrees with a reply; the cache only tells where
//! its records came from (`sources`) and what keeps a name out (`absence`). Pure: the time is an argument.
//! Nothing is told of namespaces that are not exposed: they read exactly like missing ones. Of endpoints that are not
//! ready the names, the slice and the conditions are told, but no address that was not asked for.
//! Bounds: [`MAX_RECORDS`], [`MAX_SOURCES`], [`MAX_MENTIONED`], and a limited search for addresses without PTR record.

mod absence;
pub mod http;
mod sources;

use std::fmt::Write as _;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::cache::Cache;
use super::config::{DnsConfig, PodMode, Zone, ZoneKind, Zones};
use super::freshness::Freshness;
use super::index::View;
use super::lookup::{Absence, Answer, Outcome, RrType, lookup};
use super::name::{NameRef, labels};
use crate::model::ObjectKey;

/// Most records that are listed; the others are counted.
pub const MAX_RECORDS: usize = 1000;
/// Most sources of one record that are listed; the others are counted.
pub const MAX_SOURCES: usize = 10;
/// Most endpoints or ports that one reason names.
pub const MAX_MENTIONED: usize = 10;
/// Most objects of other services that are searched for a name or address: about a millisecond.
const MAX_SEARCHED: usize = 100_000;

/// What one name and type are answered with, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// The name asked for, absolute, lower case.
    pub name: String,
    /// The type asked for, such as `A` or `TYPE65`.
    pub r#type: String,
    /// The zone the name lies in; `None` outside of the zones served.
    pub zone: Option<String>,
    /// `NOERROR`, `NXDOMAIN`, `SERVFAIL` or `REFUSED`; `None`: as the hosts files and upstream servers say.
    pub rcode: Option<String>,
    /// How long a resolver may keep the answer, in seconds; of a negative answer that of its SOA record.
    pub ttl: Option<u32>,
    /// The answer section: CNAME records in chain order, then the others in sorted order. At most [`MAX_RECORDS`].
    pub records: Vec<Record>,
    /// Records that are not listed.
    #[serde(default)]
    pub more_records: usize,
    /// Of a missing name: the first label from the right that does not exist.
    pub missing: Option<String>,
    /// Sentences, without final period: why there are no records, or what is remarkable about them.
    pub reasons: Vec<String>,
}

/// One record and where it came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// Owner name.
    pub owner: String,
    /// Type.
    pub r#type: String,
    /// In presentation format.
    pub data: String,
    /// The objects that the record was made of, at most [`MAX_SOURCES`]; empty for records of the server itself.
    pub sources: Vec<Source>,
    /// Sources that are not listed.
    #[serde(default)]
    pub more_sources: usize,
}

/// One endpoint of a slice, or a Service itself, that a record was made of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Source {
    /// Namespace and name of the Service; `None`: the record is made of a pod alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Name of the EndpointSlice; `None`: the record is made of the Service or pod alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slice: Option<String>,
    /// Name of the pod that the endpoint points to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// Hostname of the endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// Address of the endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// Condition `ready`; absent conditions count as ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready: Option<bool>,
    /// Condition `serving`, if the slice tells it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serving: Option<bool>,
    /// Condition `terminating`, if the slice tells it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub terminating: Option<bool>,
    /// Seconds since this server saw the slice, or else the Service, change; since its own start if it has not changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age_seconds: Option<u32>,
}

/// Everything an explanation is made from.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    /// What is answered from.
    pub view: &'a View,
    /// What the watches told, everything of it published.
    pub cache: &'a Cache,
    /// The options of answers.
    pub zones: &'a Zones,
    /// The options that decide what exists.
    pub config: &'a DnsConfig,
    /// Unix time in seconds.
    pub now: u32,
}

/// Explains the answer to one question. Total: every question has an explanation.
pub fn explain(facts: &Facts<'_>, name: NameRef<'_>, rr_type: RrType) -> Explanation {
    let mut explanation = Explanation {
        name: name.to_string(),
        r#type: type_text(rr_type),
        zone: facts.zones.longest_match(name).map(|(zone, _)| zone.apex().to_string()),
        rcode: Some("NOERROR".into()),
        ttl: None,
        records: Vec::new(),
        more_records: 0,
        missing: None,
        reasons: Vec::new(),
    };
    if matches!(rr_type, RrType::AXFR | RrType::IXFR) {
        explanation.rcode = Some("REFUSED".into());
        explanation.reasons.push(format!(
            "{} asks for a whole zone, not for records of a name; transfers are for the addresses of the option transfer.to",
            type_text(rr_type)
        ));
        return explanation;
    }
    let Answer { aliases, outcome, .. } = lookup(facts.view, facts.zones, name, rr_type);
    let mut last = name;
    for target in &aliases {
        explanation.records.push(sources::alias(facts, last, *target));
        last = *target;
    }
    let zone = facts.zones.longest_match(last);
    match outcome {
        Outcome::Records(records) => {
            explanation.ttl = Some(sources::ttl(facts.zones, &records));
            let links = explanation.records.len();
            let (listed, total) = sources::records(facts, last, &records, MAX_RECORDS - links);
            explanation.more_records = total - listed.len();
            explanation.records.extend(listed);
            if let Some((zone, left)) = zone {
                explanation.reasons.extend(remark(facts, zone, left, rr_type));
                // Of all endpoints of a service, or of all with one port.
                let whole = matches!(labels(left).count(), 3 | 5);
                let service = service_of(zone, left).filter(|_| whole);
                explanation
                    .reasons
                    .extend(service.map(|it| absence::incomplete(facts, &it)).into_iter().flatten());
            }
        }
        Outcome::AliasOnly => {
            explanation.ttl = Some(facts.zones.ttl);
            explanation.reasons.extend(absence::alias_only(facts, name, &aliases, rr_type));
            let outside = rr_type != RrType::CNAME && facts.zones.longest_match(last).is_none();
            if outside && absence::others(facts).is_some() {
                (explanation.rcode, explanation.ttl) = (None, None);
            }
        }
        Outcome::NoData(_) => {
            explanation.ttl = Some(facts.zones.negative_ttl);
            explanation.reasons.push(absence::no_data(facts, last, rr_type));
        }
        Outcome::NxDomain(zone, expected) => {
            explanation.rcode = Some("NXDOMAIN".into());
            explanation.ttl = Some(match expected {
                Absence::Unknown => facts.zones.negative_ttl,
                Absence::Pending => facts.zones.pending_ttl,
            });
            explanation.missing = absence::first_missing(facts, zone, last);
            explanation.reasons.extend(absence::missing(facts, zone, last));
            if let Some(others) = absence::others(facts)
                && facts.zones.forwarding.falls_through(last, expected)
            {
                (explanation.rcode, explanation.ttl) = (None, None);
                explanation.reasons.push(format!("so {others} asked (option fallthrough)"));
            }
        }
        Outcome::NotOurZone => {
            let refused = absence::others(facts).is_none();
            explanation.rcode = refused.then(|| "REFUSED".into());
            explanation.reasons.push(absence::not_our_zone(facts, last));
        }
        Outcome::NotSynced => {
            explanation.rcode = Some("SERVFAIL".into());
            explanation.reasons.push(not_synced(facts));
        }
    }
    if facts.view.freshness() == Freshness::Stale && explanation.zone.is_some() {
        explanation.reasons.push("a watch is lost, so this may be out of date (option stale-after)".into());
    }
    explanation
}

fn not_synced(facts: &Facts<'_>) -> String {
    if facts.view.freshness() == Freshness::TooStale {
        return "a watch is lost for too long (option max-stale)".into();
    }
    let kinds = facts.cache.waiting_for().collect::<Vec<_>>().join(", ");
    format!("not synced: the first full lists have not arrived ({kinds})")
}

/// What to know about records that exist.
fn remark(facts: &Facts<'_>, zone: &Zone, left: &[u8], rr_type: RrType) -> Option<String> {
    if rr_type == RrType::ANY {
        return Some("ANY is answered with one HINFO record (RFC 8482); ask for a type".into());
    }
    let pod = zone.kind == ZoneKind::Forward && labels(left).last() == Some(b"pod");
    (pod && facts.zones.pods == PodMode::Insecure)
        .then(|| "the address is that of the name: no pod is looked at (option pods: insecure)".into())
}

/// Mnemonic of a type, or `TYPE` and its number (RFC 3597 §5).
pub(super) fn type_text(rr_type: RrType) -> String {
    match hickory_proto::rr::RecordType::from(rr_type.0) {
        hickory_proto::rr::RecordType::Unknown(number) => format!("TYPE{number}"),
        known => known.to_string(),
    }
}

/// The Service that a forward name belongs to, whether or not it exists: the last two labels before `svc`.
fn service_of(zone: &Zone, left: &[u8]) -> Option<ObjectKey> {
    if zone.kind != ZoneKind::Forward {
        return None;
    }
    let parts: Vec<&[u8]> = labels(left).collect();
    let [.., service, namespace, b"svc"] = parts[..] else { return None };
    Some(ObjectKey::new(text(namespace), text(service)))
}

/// A label in presentation format, without the escapes of dots.
fn text(label: &[u8]) -> String {
    let mut text = String::with_capacity(label.len());
    for &octet in label {
        match octet {
            0x21..=0x7e => text.push(char::from(octet)),
            _ => drop(write!(text, "\\{octet:03}")),
        }
    }
    text
}
