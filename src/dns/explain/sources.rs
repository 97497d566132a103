//! Records in presentation format, each with the Services and endpoints it was made of.
//!
//! The endpoints of a service are walked once for all of its records.

use std::collections::HashMap;
use std::net::IpAddr;

use super::{Facts, MAX_SEARCHED, MAX_SOURCES, Record, Source, service_of, text};
use crate::dns::address_name::{ReverseName, dashed_address, reverse_name};
use crate::dns::config::{EndpointNames, Zones};
use crate::dns::lookup::{Records, Target};
use crate::dns::model::{Endpoint, Readiness, Service, ServiceKind, Slice};
use crate::dns::name::{Label, NameRef, OwnerName, labels};
use crate::model::ObjectKey;

/// TTL of a positive answer.
pub(super) fn ttl(zones: &Zones, records: &Records<'_>) -> u32 {
    match records {
        Records::Soa(_) => zones.soa_ttl,
        Records::SchemaVersion => 28_800,
        _ => zones.ttl,
    }
}

/// The CNAME record from `owner` to `target`.
pub(super) fn alias(facts: &Facts<'_>, owner: NameRef<'_>, target: NameRef<'_>) -> Record {
    let key = facts.zones.longest_match(owner).and_then(|(zone, left)| service_of(zone, left));
    let service = key.and_then(|it| facts.cache.service(&it));
    let sources = service.map(|it| of_service(facts, it)).into_iter().collect();
    Record { sources, ..record(owner, "CNAME", target) }
}

/// At most `limit` records in sorted order, and how many there are.
pub(super) fn records(
    facts: &Facts<'_>,
    owner: NameRef<'_>,
    records: &Records<'_>,
    limit: usize,
) -> (Vec<Record>, usize) {
    match records {
        Records::A(all) => addresses(facts, owner, "A", all.as_slice(), limit),
        Records::Aaaa(all) => addresses(facts, owner, "AAAA", all.as_slice(), limit),
        Records::Srv(set) => {
            let weight = set.weight();
            let all = set.targets().flat_map(|target| {
                let name = target_name(target.target);
                target.port_numbers().map(move |port| {
                    let made_of = MadeOf::Target { target: target.target, port: Some(port) };
                    (record(owner, "SRV", format!("0 {weight} {port} {name}")), made_of)
                })
            });
            let (listed, total) = cut(all, limit);
            (with_sources(facts, listed), total)
        }
        Records::Ptr(targets) => {
            let address = match reverse_name(owner) {
                Some(ReverseName::Address(address)) => Some(address),
                _ => None,
            };
            let all = targets.iter().map(|target| {
                let made_of = MadeOf::Pointer { target: *target, address };
                (record(owner, "PTR", target_name(*target)), made_of)
            });
            let (listed, total) = cut(all, limit);
            (with_sources(facts, listed), total)
        }
        Records::Ns(servers) => {
            let all = servers.iter().map(|server| match server.target {
                Some(target) => {
                    (record(owner, "NS", target_name(target)), MadeOf::Target { target, port: None })
                }
                None => (record(owner, "NS", format!("ns.dns.{}", server.zone.apex())), MadeOf::Server),
            });
            let (listed, total) = cut(all, limit);
            (with_sources(facts, listed), total)
        }
        Records::Soa(zone) => {
            let (apex, zones, serial) = (zone.apex(), facts.zones, facts.view.serial());
            let minimum = zones.negative_ttl;
            let data = format!("ns.dns.{apex} hostmaster.{apex} {serial} 7200 1800 86400 {minimum}");
            (vec![record(owner, "SOA", data)], 1)
        }
        Records::SchemaVersion => (vec![record(owner, "TXT", "\"1.1.0\"")], 1),
        Records::Hinfo => (vec![record(owner, "HINFO", "\"RFC8482\" \"\"")], 1),
    }
}

fn record(owner: NameRef<'_>, r#type: &str, data: impl ToString) -> Record {
    let (owner, r#type, data) = (owner.to_string(), r#type.to_owned(), data.to_string());
    Record { owner, r#type, data, sources: Vec::new(), more_sources: 0 }
}

fn target_name(target: Target<'_>) -> String {
    OwnerName::read(&target.to_wire()).map_or_else(|it| format!("({it})"), |it| it.to_string())
}

fn cut<T>(all: impl Iterator<Item = T>, limit: usize) -> (Vec<T>, usize) {
    let mut listed = Vec::new();
    let mut total = 0;
    for item in all {
        if total < limit {
            listed.push(item);
        }
        total += 1;
    }
    (listed, total)
}

/// Which endpoints a record is made of.
enum MadeOf<'a> {
    /// None: it is the server's own.
    Server,
    /// Those with this address, of the Service that the owner name belongs to; only those called `name` if there is one.
    Address { address: IpAddr, name: Option<&'a [u8]> },
    /// Those of an SRV target, in slices with this port.
    Target { target: Target<'a>, port: Option<u16> },
    /// Those of a PTR target with this address.
    Pointer { target: Target<'a>, address: Option<IpAddr> },
}

fn addresses<T: Copy + Ord + Into<IpAddr>>(
    facts: &Facts<'_>,
    owner: NameRef<'_>,
    r#type: &str,
    all: &[T],
    limit: usize,
) -> (Vec<Record>, usize) {
    let mut sorted = all.to_vec();
    sorted.sort_unstable();
    sorted.truncate(limit);
    let within = facts.zones.longest_match(owner);
    let key = within.and_then(|(zone, left)| service_of(zone, left));
    let Some((key, (_, left))) = key.zip(within) else {
        let within = facts.zones.longest_match(owner).map(|(_, left)| labels(left).collect::<Vec<_>>());
        let listed = sorted.into_iter().map(|it| {
            let mut record = record(owner, r#type, it.into());
            if let Some([_, namespace, b"pod"]) = within.as_deref() {
                add_pods(facts, &mut record, &text(namespace), it.into());
            }
            record
        });
        return (listed.collect(), all.len());
    };
    // `<endpoint>.<service>.<ns>.svc`; longer names stand for several endpoints.
    let name = if labels(left).count() == 4 { labels(left).next() } else { None };
    let listed = sorted.into_iter().map(|it| {
        let address = it.into();
        (record(owner, r#type, address), key.clone(), MadeOf::Address { address, name })
    });
    (attribute(facts, listed.collect()), all.len())
}

/// The pods of a verified pod record.
fn add_pods(facts: &Facts<'_>, record: &mut Record, namespace: &str, address: IpAddr) {
    let pods = facts.cache.pods().take(MAX_SEARCHED);
    for pod in pods.filter(|it| it.key.namespace == namespace && it.addresses.contains(&address)) {
        add(record, Source { pod: Some(pod.key.name.clone()), address: Some(address), ..Source::default() });
    }
}

fn with_sources(facts: &Facts<'_>, records: Vec<(Record, MadeOf<'_>)>) -> Vec<Record> {
    let keyed = records.into_iter().map(|(record, made_of)| {
        let key = match &made_of {
            MadeOf::Target { target, .. } | MadeOf::Pointer { target, .. } => service_of_key(target.service),
            MadeOf::Address { .. } | MadeOf::Server => ObjectKey::new("", ""),
        };
        (record, key, made_of)
    });
    attribute(facts, keyed.collect())
}

/// Adds the sources. Records of one service stand next to each other, so each service is walked once.
fn attribute(facts: &Facts<'_>, mut records: Vec<(Record, ObjectKey, MadeOf<'_>)>) -> Vec<Record> {
    for group in records.chunk_by_mut(|a, b| a.1 == b.1) {
        let key = group[0].1.clone();
        let Some(service) = facts.cache.service(&key) else { continue };
        // What a record is looked up by: its address, or the label of its target.
        let mut by_address: HashMap<IpAddr, usize> = HashMap::new();
        let mut by_label: HashMap<Vec<u8>, Vec<usize>> = HashMap::new();
        for (at, (record, _, made_of)) in group.iter_mut().enumerate() {
            match made_of {
                MadeOf::Server => {}
                MadeOf::Address { name: None, .. } if matches!(service.kind, ServiceKind::ClusterIp(_)) => {
                    record.sources.push(of_service(facts, service));
                }
                MadeOf::Address { address, .. } => drop(by_address.insert(*address, at)),
                MadeOf::Target { target, .. } | MadeOf::Pointer { target, .. } => match target.endpoint {
                    Some(label) => by_label.entry(label.to_vec()).or_default().push(at),
                    None => record.sources.push(of_service(facts, service)),
                },
            }
        }
        if by_address.is_empty() && by_label.is_empty() {
            continue;
        }
        for (slice, endpoint) in ready_endpoints(facts, &key) {
            for &address in &endpoint.addresses {
                let names = names(endpoint, address, facts.config.endpoint_names);
                if let Some(&at) = by_address.get(&address) {
                    let wanted = match &group[at].2 {
                        MadeOf::Address { name: Some(name), .. } => names.have(name),
                        _ => true,
                    };
                    if wanted {
                        add(&mut group[at].0, of_endpoint(facts, slice, endpoint, address));
                    }
                }
                let labels = [Some(&names.primary), names.extra.as_ref()].into_iter().flatten();
                for &at in labels.filter_map(|it| by_label.get(it.as_bytes())).flatten() {
                    let wanted = match &group[at].2 {
                        MadeOf::Target { port: Some(number), .. } => {
                            slice.ports.iter().any(|it| it.number == *number)
                        }
                        MadeOf::Pointer { address: Some(wanted), .. } => *wanted == address,
                        _ => true,
                    };
                    if wanted {
                        add(&mut group[at].0, of_endpoint(facts, slice, endpoint, address));
                    }
                }
            }
        }
    }
    records.into_iter().map(|(record, _, _)| record).collect()
}

fn add(record: &mut Record, source: Source) {
    if record.sources.len() < MAX_SOURCES {
        record.sources.push(source);
    } else {
        record.more_sources += 1;
    }
}

/// The endpoints of a service that have records, by slice.
pub(super) fn ready_endpoints<'a>(
    facts: &Facts<'a>,
    service: &ObjectKey,
) -> impl Iterator<Item = (&'a Slice, &'a Endpoint)> {
    endpoints(facts, service, Readiness::Ready)
}

/// The endpoints of a service that are, or are not, ready.
pub(super) fn endpoints<'a>(
    facts: &Facts<'a>,
    service: &ObjectKey,
    readiness: Readiness,
) -> impl Iterator<Item = (&'a Slice, &'a Endpoint)> {
    let all = facts
        .cache
        .slices(service)
        .into_iter()
        .flat_map(|slice| slice.endpoints.iter().map(move |it| (slice, it)));
    all.filter(move |(_, endpoint)| endpoint.readiness == readiness)
}

/// What an endpoint with one of its addresses is called.
pub(super) struct EndpointNaming {
    /// The name that SRV and PTR records use.
    pub(super) primary: String,
    /// A name that only resolves.
    pub(super) extra: Option<String>,
}

impl EndpointNaming {
    pub(super) fn have(&self, label: &[u8]) -> bool {
        self.primary.as_bytes() == label || self.extra.as_ref().is_some_and(|it| it.as_bytes() == label)
    }
}

/// The naming rule of `dns::records`, for one endpoint.
pub(super) fn names(endpoint: &Endpoint, address: IpAddr, mode: EndpointNames) -> EndpointNaming {
    let valid = |it: &Option<std::sync::Arc<str>>| {
        it.as_deref().filter(|it| it.parse::<Label>().is_ok()).map(str::to_ascii_lowercase)
    };
    let hostname = valid(&endpoint.hostname);
    let pod = if mode == EndpointNames::Hostname { None } else { valid(&endpoint.pod) };
    match (hostname, pod, mode) {
        (Some(primary), extra, EndpointNames::Both) => EndpointNaming { primary, extra },
        (Some(primary), _, _) | (None, Some(primary), EndpointNames::PodName) => {
            EndpointNaming { primary, extra: None }
        }
        (None, extra, _) => EndpointNaming { primary: dashed_address(address), extra },
    }
}

fn of_service(facts: &Facts<'_>, service: &Service) -> Source {
    let age_seconds = age(facts, service.seen.0);
    Source { service: Some(service.key.to_string()), age_seconds, ..Source::default() }
}

fn of_endpoint(facts: &Facts<'_>, slice: &Slice, endpoint: &Endpoint, address: IpAddr) -> Source {
    Source {
        service: Some(ObjectKey::new(&slice.key.namespace, &slice.service).to_string()),
        slice: Some(slice.key.name.clone()),
        pod: endpoint.pod.as_deref().map(str::to_owned),
        hostname: endpoint.hostname.as_deref().map(str::to_owned),
        address: Some(address),
        ready: Some(endpoint.readiness == Readiness::Ready),
        serving: endpoint.serving,
        terminating: endpoint.terminating,
        age_seconds: age(facts, slice.seen.0),
    }
}

fn age(facts: &Facts<'_>, seen: u32) -> Option<u32> {
    (seen != 0).then(|| facts.now.saturating_sub(seen))
}

/// The Service of an index key, `<service>.<namespace>`.
fn service_of_key(key: &[u8]) -> ObjectKey {
    let mut parts = labels(key).map(text);
    let service = parts.next().unwrap_or_default();
    ObjectKey::new(parts.next().unwrap_or_default(), service)
}
