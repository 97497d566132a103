//! Why there is no record, in words.
//!
//! The first missing label is found by asking `dns::lookup` for every name from the apex down; the rest of the cache is
//! then searched for the condition that keeps the name out.

use std::fmt::Write as _;
use std::net::IpAddr;

use super::sources::{endpoints, names, ready_endpoints};
use super::{Facts, MAX_MENTIONED, MAX_SEARCHED, service_of, text, type_text};
use crate::dns::address_name::{ReverseName, pod_address, reverse_name};
use crate::dns::config::{EndpointNames, PodMode, PtrMode, Zone, ZoneKind};
use crate::dns::lookup::{MAX_CHAIN, Outcome, RrType, lookup};
use crate::dns::model::{Endpoint, Protocol, Readiness, Service, ServiceKind, Slice};
use crate::dns::name::{NameRef, OwnerName, labels, service_key};
use crate::dns::records::{Published, ServiceEntry};
use crate::dns::skipped::Problem;
use crate::model::ObjectKey;

/// The types a name of ours can own.
const OWNED: [RrType; 8] =
    [RrType::A, RrType::AAAA, RrType::CNAME, RrType::NS, RrType::PTR, RrType::SOA, RrType::SRV, RrType::TXT];

/// The first label from the right at which no name exists.
pub(super) fn first_missing(facts: &Facts<'_>, zone: &Zone, name: NameRef<'_>) -> Option<String> {
    let mut starts = vec![0];
    for label in labels(name.relative_to(zone.apex())?) {
        starts.push(starts[starts.len() - 1] + 1 + label.len());
    }
    // The last start is the apex, which exists.
    starts.pop();
    let missing = |start: &&usize| {
        let Ok(suffix) = OwnerName::read(&name.wire()[**start..]) else { return false };
        let answer = lookup(facts.view, facts.zones, suffix.as_name(), RrType::SOA);
        answer.aliases.is_empty() && matches!(answer.outcome, Outcome::NxDomain(..))
    };
    starts.iter().rev().find(missing).and_then(|start| labels(&name.wire()[*start..]).next().map(text))
}

/// Why a name of `zone` does not exist.
pub(super) fn missing(facts: &Facts<'_>, zone: &Zone, name: NameRef<'_>) -> Vec<String> {
    match zone.kind {
        ZoneKind::Forward => match name.relative_to(zone.apex()) {
            Some(left) => forward(facts, zone, left),
            None => Vec::new(),
        },
        ZoneKind::Reverse => reverse(facts, zone, name),
    }
}

/// Who is asked about names that are not ours; `None` if there is nobody.
pub(super) fn others(facts: &Facts<'_>) -> Option<&'static str> {
    match (facts.zones.forwarding.hosts, facts.zones.forwarding.recursion) {
        (false, false) => None,
        (true, false) => Some("the hosts files are"),
        (false, true) => Some("the upstream servers are"),
        (true, true) => Some("the hosts files, then the upstream servers are"),
    }
}

/// What a Service that has records may have more of: endpoints that are not ready, parts of slices that cannot be used.
pub(super) fn incomplete(facts: &Facts<'_>, service: &ObjectKey) -> Vec<String> {
    let waiting = endpoints(facts, service, Readiness::NotReady).map(|(slice, it)| not_ready(slice, it));
    enumerate(waiting).into_iter().chain(left_out(facts, service)).collect()
}

/// Parts of slices that cannot be used.
fn left_out(facts: &Facts<'_>, service: &ObjectKey) -> Vec<String> {
    let slices = facts.cache.slices(service);
    let problems = slices.into_iter().flat_map(|slice| slice.left_out.iter().map(move |it| (slice, it)));
    let sentence = |(slice, problem): (&Slice, &Problem)| {
        format!("left out of slice {}: {}: {}", slice.key.name, problem.detail, problem.reason.words())
    };
    problems.take(MAX_MENTIONED).map(sentence).collect()
}

/// `left`: the labels left of the apex.
fn forward(facts: &Facts<'_>, zone: &Zone, left: &[u8]) -> Vec<String> {
    let parts: Vec<&[u8]> = labels(left).collect();
    let apex = zone.apex();
    match parts[..] {
        [.., b"dns-version"] => vec![format!("nothing lies below dns-version.{apex}")],
        [.., b"dns"] => vec![format!("ns.dns.{apex} is the only name below dns.{apex}")],
        [.., namespace, b"svc" | b"pod"] if !facts.view.has_namespace(namespace) => {
            let pods_disabled = parts.last() == Some(&&b"pod"[..]) && facts.zones.pods == PodMode::Disabled;
            if pods_disabled {
                return vec![pods_are_disabled()];
            }
            let mut reasons = vec![no_namespace(facts, namespace)];
            if let [.., service, _, b"svc"] = parts[..] {
                reasons.extend(swapped(facts, service, namespace));
            }
            reasons
        }
        [.., b"pod"] => vec![pod(facts, &parts)],
        [ref below @ .., service, namespace, b"svc"] => {
            let key = ObjectKey::new(text(namespace), text(service));
            match facts.cache.service(&key) {
                Some(found) => {
                    let mut reasons = below_service(facts, found, below);
                    reasons.extend(left_out(facts, &key));
                    reasons
                }
                None => no_service(facts, zone, &key, below),
            }
        }
        [.., other] => {
            let mut reason = format!(
                "below {apex} there are only svc, pod, dns and dns-version, and {} is none of them",
                text(other)
            );
            if let [.., service, namespace] = parts[..]
                && facts.view.has_namespace(namespace)
                && facts.cache.service(&ObjectKey::new(text(namespace), text(service))).is_some()
            {
                let (service, namespace) = (text(service), text(namespace));
                let _ =
                    write!(reason, "; names of Service {service} end in {service}.{namespace}.svc.{apex}");
            }
            vec![reason]
        }
        [] => Vec::new(),
    }
}

fn no_namespace(facts: &Facts<'_>, namespace: &[u8]) -> String {
    let namespace = text(namespace);
    let option = if !facts.config.namespaces.is_empty() {
        "namespaces"
    } else if facts.config.namespace_selector.is_some() {
        "namespace-selector"
    } else {
        return format!("namespace {namespace} does not exist{}", wildcard(&namespace));
    };
    format!("namespace {namespace} does not exist or is not exposed (option {option})")
}

fn wildcard(label: &str) -> &'static str {
    if matches!(label, "*" | "any") { "; there are no wildcards, this is an ordinary label" } else { "" }
}

fn pods_are_disabled() -> String {
    "pod records are disabled (option pods)".into()
}

fn pod(facts: &Facts<'_>, parts: &[&[u8]]) -> String {
    let [.., address, namespace, _] = parts else { return pods_are_disabled() };
    let (label, namespace) = (text(address), text(namespace));
    match (facts.zones.pods, pod_address(address)) {
        (PodMode::Disabled, _) => pods_are_disabled(),
        (_, None) => format!(
            "{label} is no address; a pod record is named by the address with - for . or :, such as 10-1-2-3"
        ),
        _ if parts.len() > 3 => format!("nothing lies below the pod record {label}.{namespace}.pod"),
        (_, Some(address)) => format!(
            "no running pod of namespace {namespace} has the address {address} (option pods: verified)"
        ),
    }
}

fn no_service(facts: &Facts<'_>, zone: &Zone, key: &ObjectKey, below: &[&[u8]]) -> Vec<String> {
    let ObjectKey { namespace, name } = key;
    let mut reason = format!("service {name} does not exist in namespace {namespace}{}", wildcard(name));
    if facts.config.selector.is_some() {
        reason.push_str(", or its labels do not match (option selector)");
    }
    let mut reasons = vec![reason];
    let orphans = facts.cache.slices(key).into_iter().map(|it| it.key.name.as_str());
    if let Some(slices) = enumerate(orphans) {
        reasons.push(format!("EndpointSlice {slices} names this Service, but slices alone have no records"));
    }
    reasons.extend(swapped(facts, name.as_bytes(), namespace.as_bytes()));
    if let [label] = below {
        reasons.extend(expected(facts, key, label));
    }
    if below.is_empty() {
        let mode = facts.config.endpoint_names;
        let called = |endpoint: &Endpoint| {
            endpoint.addresses.iter().any(|it| names(endpoint, *it, mode).have(name.as_bytes()))
        };
        let found = searched(facts).filter(|(slice, it)| slice.key.namespace == *namespace && called(it));
        if let Some(service) = found.map(|(slice, _)| &slice.service).min() {
            let apex = zone.apex();
            reasons.push(format!(
                "{name} is an endpoint of Service {service}: its names end in {service}.{namespace}.svc.{apex}"
            ));
        }
    }
    reasons
}

/// Says that a StatefulSet will bring a pod of this name.
fn expected(facts: &Facts<'_>, service: &ObjectKey, label: &[u8]) -> Option<String> {
    let key = service_key(&service.name, &service.namespace)?;
    let expected = facts.config.pending_from_statefulsets && facts.view.expects(&key, label);
    expected.then(|| format!("a StatefulSet will bring {} (option pending-from-statefulsets)", text(label)))
}

/// The endpoints of all services, as far as they are searched.
fn searched<'a>(facts: &Facts<'a>) -> impl Iterator<Item = (&'a Slice, &'a Endpoint)> {
    let slices = facts.cache.all_slices().take(MAX_SEARCHED);
    slices.flat_map(|slice| slice.endpoints.iter().map(move |it| (slice, it))).take(MAX_SEARCHED)
}

/// Whether somebody wrote the namespace before the service.
fn swapped(facts: &Facts<'_>, service: &[u8], namespace: &[u8]) -> Option<String> {
    let (name, within) = (text(namespace), text(service));
    let exists =
        facts.view.has_namespace(service) && facts.cache.service(&ObjectKey::new(&within, &name)).is_some();
    exists.then(|| {
        format!("there is a Service {name} in namespace {within}: the service stands before the namespace")
    })
}

/// `below`: the labels left of a Service that exists.
fn below_service(facts: &Facts<'_>, service: &Service, below: &[&[u8]]) -> Vec<String> {
    let ObjectKey { namespace, name } = &service.key;
    let exists = format!("service {name} exists in namespace {namespace} but");
    let entry = service_key(name, namespace);
    let entry = entry.as_deref().and_then(|it| facts.view.service(it));
    let Some(entry) = entry else { return vec![format!("{exists} {}", unpublished(facts, service))] };
    match (&service.kind, below) {
        (_, [.., b"_zone"]) => vec![zonal(facts, service, &exists)],
        (ServiceKind::ExternalName(_), _) => {
            vec![format!("{exists} is of type ExternalName, and nothing lies below such a name")]
        }
        (ServiceKind::Headless, []) => {
            vec![format!("{exists} is headless and {}", no_endpoints(facts, service))]
        }
        (_, [label]) => below_one(facts, service, entry, label),
        (_, [port, protocol]) => vec![below_two(facts, service, entry, port, protocol)],
        (_, [.., endpoint]) if entry.endpoint(endpoint).is_some() => {
            vec![format!("nothing lies below the endpoint name {}", text(endpoint))]
        }
        _ => vec![format!("{exists} at most two labels can stand left of it: _<port>._<protocol>")],
    }
}

/// Why there is no zonal name.
fn zonal(facts: &Facts<'_>, service: &Service, exists: &str) -> String {
    let empty = ready_endpoints(facts, &service.key).next().is_none();
    match service.kind {
        _ if !facts.config.zonal => "zonal names are switched off (option zonal)".into(),
        ServiceKind::Headless if empty => format!("{exists} {}", no_endpoints(facts, service)),
        ServiceKind::Headless => {
            "zonal names are <topology zone>.pin._zone or <topology zone>.prefer._zone".into()
        }
        _ => format!("{exists} is not headless, and zonal names are those of headless Services"),
    }
}

/// Why a Service has no records at all.
fn unpublished(facts: &Facts<'_>, service: &Service) -> String {
    match &service.kind {
        ServiceKind::ExternalName(target) if target.trim_end_matches('.').parse::<IpAddr>().is_ok() => {
            format!("its externalName {target:?} is an address, which no CNAME record can hold")
        }
        ServiceKind::ExternalName(target) => format!("its externalName {target:?} is no domain name"),
        ServiceKind::ClusterIp(_) if facts.config.hide_empty_services => {
            format!("{} and is hidden (option hide-empty-services)", no_endpoints(facts, service))
        }
        _ => "its name is no single label".into(),
    }
}

/// Says that no endpoint is ready, and what is known instead.
fn no_endpoints(facts: &Facts<'_>, service: &Service) -> String {
    let mut reason = "has no ready endpoint".to_owned();
    let waiting = endpoints(facts, &service.key, Readiness::NotReady).map(|(slice, it)| not_ready(slice, it));
    if !facts.config.endpoints {
        reason.push_str(": EndpointSlices are not watched (option endpoints)");
    } else if let Some(waiting) = enumerate(waiting) {
        let _ = write!(reason, ": {waiting}");
    } else if !facts.cache.slices(&service.key).is_empty() {
        reason.push_str(": its EndpointSlices are empty");
    } else {
        reason.push_str(": it has no EndpointSlice");
        if facts.config.selector.is_some() {
            reason.push_str(" with matching labels (option selector)");
        }
    }
    reason
}

/// One label left of a service: an endpoint name, or the protocol of ports.
fn below_one(facts: &Facts<'_>, service: &Service, entry: &ServiceEntry, label: &[u8]) -> Vec<String> {
    let ObjectKey { namespace, name } = &service.key;
    let shown = text(label);
    let of_service = format!("service {name} in namespace {namespace}");
    if label.first() == Some(&b'_') {
        let reason = match Protocol::from_label(label) {
            Some(_) => format!("{of_service} has no named port with protocol {}", &shown[1..]),
            None => format!("port labels come in pairs, such as {shown}._tcp"),
        };
        return vec![format!("{reason}{}", ports(entry))];
    }
    let mode = facts.config.endpoint_names;
    let is_called = |it: &Endpoint| {
        let unnamed = it.addresses.is_empty();
        it.addresses.iter().any(|address| names(it, *address, mode).have(label))
            || unnamed && it.hostname.as_deref().is_some_and(|it| it.as_bytes() == label)
    };
    let waiting = endpoints(facts, &service.key, Readiness::NotReady).filter(|(_, it)| is_called(it));
    if let Some(waiting) = enumerate(waiting.map(|(slice, it)| not_ready(slice, it))) {
        return vec![waiting];
    }
    let mut reasons = Vec::new();
    reasons.push(format!("no endpoint of {of_service} is called {shown}{}", wildcard(&shown)));
    reasons.extend(expected(facts, &service.key, label));
    let said = reasons.len();
    let asked = pod_address(label);
    for (slice, endpoint) in ready_endpoints(facts, &service.key) {
        let by_pod = endpoint.pod.as_deref().is_some_and(|it| it.as_bytes() == label);
        let by_address = endpoint.addresses.iter().find(|it| Some(**it) == asked);
        let Some(address) =
            by_address.or(endpoint.addresses.first()).filter(|_| by_pod || by_address.is_some())
        else {
            continue;
        };
        let primary = names(endpoint, *address, mode).primary;
        let who = if by_pod { format!("pod {shown}") } else { format!("address {address}") };
        let mut reason = format!("the endpoint of {who} (slice {}) is called {primary}", slice.key.name);
        if by_pod && mode == EndpointNames::Hostname {
            reason.push_str("; pod names are published with option endpoint-names: pod-name or both");
        }
        reasons.push(reason);
        if reasons.len() - said == MAX_MENTIONED {
            break;
        }
    }
    if reasons.len() > said {
        return reasons;
    }
    if entry.named_ports().any(|it| *it.name == *label) {
        reasons.push(format!("for the port ask for _{shown}._<protocol>"));
    }
    if entry.has_endpoints() {
        let all = entry.endpoints().map(|it| text(it.label()));
        reasons.extend(enumerate(all).map(|it| format!("ready endpoints: {it}")));
    } else {
        reasons.push(format!("it {}", no_endpoints(facts, service)));
    }
    reasons
}

/// Two labels left of a service: a port and its protocol.
fn below_two(
    facts: &Facts<'_>,
    service: &Service,
    entry: &ServiceEntry,
    port: &[u8],
    protocol: &[u8],
) -> String {
    let ObjectKey { namespace, name } = &service.key;
    let of_service = format!("service {name} in namespace {namespace}");
    let (shown_port, shown_protocol) = (text(port), text(protocol));
    if entry.endpoint(protocol).is_some() {
        return format!("nothing lies below the endpoint name {shown_protocol}");
    }
    let bare = |label: &[u8]| text(label.strip_prefix(b"_").unwrap_or(label));
    let known = |label: &[u8]| Protocol::from_label(format!("_{}", bare(label)).as_bytes());
    let Some(found) = known(protocol) else {
        let swapped = known(port).is_some();
        return if swapped {
            format!("the port stands before the protocol: _{}._{}", bare(protocol), bare(port))
        } else {
            format!(
                "{shown_port}.{shown_protocol} is no _<port>._<protocol> with protocol tcp, udp or sctp, and endpoint names are one label"
            )
        };
    };
    if port.first() != Some(&b'_') || protocol.first() != Some(&b'_') {
        return format!("port and protocol need underscores: _{}._{}", bare(port), bare(protocol));
    }
    let (wanted, protocol_name) = (bare(port), bare(protocol));
    if entry.named_ports().any(|it| *it.name == *wanted.as_bytes()) {
        return format!(
            "{of_service} has a port called {wanted} but not with protocol {protocol_name}{}",
            ports(entry)
        );
    }
    let in_slice = facts
        .cache
        .slices(&service.key)
        .into_iter()
        .find(|it| it.ports.iter().any(|it| it.protocol == found && *it.name == *wanted));
    if let (Published::Headless, Some(slice)) = (entry.published(), in_slice) {
        return format!(
            "{of_service} has a port called {wanted} (slice {}), but {}",
            slice.key.name,
            no_endpoints(facts, service).replace("has no", "it has no")
        );
    }
    if let Ok(number) = wanted.parse::<u16>()
        && let Some(named) = entry.named_ports().find(|it| it.number == number)
    {
        return format!("ports are asked for by name: port {number} is called {}", text(named.name));
    }
    format!("{of_service} has no port called {wanted}{}", ports(entry))
}

/// The named ports, for the end of a sentence.
fn ports(entry: &ServiceEntry) -> String {
    let mut all: Vec<_> = entry.named_ports().map(|it| (text(it.name), it.protocol, it.number)).collect();
    all.sort_unstable();
    all.dedup();
    let all = all.into_iter().map(|(name, protocol, number)| {
        let protocol = match protocol {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        };
        format!("_{name}._{protocol} ({number})")
    });
    enumerate(all).map_or_else(|| "; it has no named ports".into(), |it| format!("; it has {it}"))
}

/// `web-0 is not ready (slice web-1, pod web-0, ready=false, serving=true, terminating=true)`
fn not_ready(slice: &Slice, endpoint: &Endpoint) -> String {
    let name = endpoint.hostname.as_deref().or(endpoint.pod.as_deref()).unwrap_or("an endpoint without name");
    let mut sentence = format!("{name} is not ready (slice {}", slice.key.name);
    if let Some(pod) = &endpoint.pod {
        let _ = write!(sentence, ", pod {pod}");
    }
    sentence.push_str(", ready=false");
    for (condition, value) in [("serving", endpoint.serving), ("terminating", endpoint.terminating)] {
        if let Some(value) = value {
            let _ = write!(sentence, ", {condition}={value}");
        }
    }
    sentence.push(')');
    sentence
}

/// `a, b and 3 more`; `None` for nothing.
fn enumerate(all: impl Iterator<Item = impl AsRef<str>>) -> Option<String> {
    let mut sentence = String::new();
    let mut count = 0;
    for item in all {
        if count < MAX_MENTIONED {
            sentence.push_str(if count > 0 { ", " } else { "" });
            sentence.push_str(item.as_ref());
        }
        count += 1;
    }
    if count > MAX_MENTIONED {
        let _ = write!(sentence, " and {} more", count - MAX_MENTIONED);
    }
    (count > 0).then_some(sentence)
}

fn reverse(facts: &Facts<'_>, zone: &Zone, name: NameRef<'_>) -> Vec<String> {
    let address = match reverse_name(name) {
        Some(ReverseName::Address(address)) => address,
        Some(ReverseName::Block(first, last)) => {
            return vec![format!("no address from {first} to {last} has a PTR record")];
        }
        None => {
            let apex = zone.apex();
            return vec![format!(
                "{name} is no address: names in {apex} are four decimal labels of in-addr.arpa or 32 hexadecimal digits of ip6.arpa"
            )];
        }
    };
    let mut reasons =
        vec![format!("{address} is neither a clusterIP nor the address of a ready endpoint of any service")];
    if facts.zones.ptr == PtrMode::HostnameOnly
        && let Some(entry) = facts.view.services_with(address).first()
    {
        let service = labels(entry.key()).map(text).collect::<Vec<_>>().join(".");
        return vec![format!(
            "the endpoint of {service} with {address} has no hostname (option ptr: hostname-only)"
        )];
    }
    let with_address = searched(facts).filter(|(slice, it)| {
        it.addresses.contains(&address) && facts.view.has_namespace(slice.key.namespace.as_bytes())
    });
    let described = with_address.map(|(slice, endpoint)| {
        let ObjectKey { namespace, .. } = &slice.key;
        if endpoint.readiness == Readiness::NotReady {
            format!("{} of service {} in namespace {namespace}", not_ready(slice, endpoint), slice.service)
        } else {
            format!(
                "slice {} in namespace {namespace} has it, but there is no Service {}",
                slice.key.name, slice.service
            )
        }
    });
    reasons.extend(enumerate(described));
    reasons
}

/// Why a name that exists has no record of this type.
pub(super) fn no_data(facts: &Facts<'_>, name: NameRef<'_>, rr_type: RrType) -> String {
    let owns =
        |it: &RrType| matches!(lookup(facts.view, facts.zones, name, *it).outcome, Outcome::Records(_));
    let owned: Vec<String> = OWNED.into_iter().filter(owns).map(type_text).collect();
    if !owned.is_empty() {
        return format!(
            "the name exists but has no {} record; it has {}",
            type_text(rr_type),
            owned.join(", ")
        );
    }
    let within = facts.zones.longest_match(name);
    let parts: Vec<&[u8]> = within.iter().flat_map(|(_, left)| labels(left)).collect();
    if let [topology_zone @ .., b"pin", b"_zone", service, namespace, b"svc"] = &parts[..]
        && !topology_zone.is_empty()
    {
        let topology_zone = topology_zone.iter().map(|it| text(it)).collect::<Vec<_>>().join(".");
        let (service, namespace) = (text(service), text(namespace));
        return format!(
            "no ready endpoint of service {service} in namespace {namespace} is in topology zone {topology_zone}; prefer in \
             place of pin answers with all of them"
        );
    }
    let service =
        within.filter(|(_, left)| labels(left).count() == 3).and_then(|(zone, left)| service_of(zone, left));
    if let Some(service) = service.and_then(|it| facts.cache.service(&it))
        && let ServiceKind::ClusterIp(_) = service.kind
    {
        return format!(
            "service {} in namespace {} has no clusterIP",
            service.key.name, service.key.namespace
        );
    }
    "the name exists only because names below it can exist (empty non-terminal); it has no records of any type".into()
}

/// Why a chain of CNAME records is all of the answer.
pub(super) fn alias_only(
    facts: &Facts<'_>,
    name: NameRef<'_>,
    aliases: &[NameRef<'_>],
    rr_type: RrType,
) -> Option<String> {
    let (last, before) = aliases.split_last()?;
    if *last == name || before.contains(last) {
        return Some("the CNAME records form a loop".into());
    }
    if rr_type == RrType::CNAME {
        return None;
    }
    if facts.zones.longest_match(*last).is_some() {
        return Some(format!("CNAME records are followed for {MAX_CHAIN} links"));
    }
    Some(match others(facts) {
        None => {
            format!("{last} is outside of the served zones and there is no upstream: the resolver follows it")
        }
        Some(others) => format!("{last} is outside of the served zones: {others} asked for its records"),
    })
}

/// Why a name is refused or forwarded.
pub(super) fn not_our_zone(facts: &Facts<'_>, name: NameRef<'_>) -> String {
    let zones = facts.config.zones.join(", ");
    let then = match others(facts) {
        None => "and there is no upstream, so it is refused".to_owned(),
        Some(others) => format!("so {others} asked"),
    };
    format!("{name} is outside of the served zones ({zones}) {then}")
}
