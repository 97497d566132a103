//! API objects into the inputs of DNS: drops every field no answer depends on, and says what it cannot use.
//!
//! `dns::objects` (raw fields) ──▶ [`service()`], [`slice()`], [`namespace()`], [`pod()`], [`set()`] ──▶ [`Narrowed`]
//!
//! Pure. Without a value the object has no meaning for DNS: the caller treats it as deleted.

use std::net::IpAddr;
use std::sync::Arc;

use super::model::{
    Endpoint, Pod, Port, Protocol, Readiness, SeenAt, Selector, Service, ServiceKind, Set, Slice,
};
use super::name::{Label, OwnerName};
use super::objects::{Meta, RawEndpoint, RawNamespace, RawPod, RawPort, RawService, RawSet, RawSlice};
use super::skipped::{Problem, Reason};

/// Label that ties a slice to its Service.
pub const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";

/// Parts left out of one slice that are remembered.
const MAX_LEFT_OUT: usize = 4;

/// What an object means to DNS.
#[derive(Debug, Clone)]
pub struct Narrowed<T> {
    /// `None`: nothing.
    pub value: Option<T>,
    /// The parts that were left out although somebody may count on them.
    pub problems: Vec<Problem>,
}

impl<T> Narrowed<T> {
    fn nothing() -> Self {
        Self { value: None, problems: Vec::new() }
    }
}

impl<T> From<Option<T>> for Narrowed<T> {
    fn from(value: Option<T>) -> Self {
        Self { value, problems: Vec::new() }
    }
}

/// The name of a Namespace.
pub fn namespace(meta: &Meta<'_>, _: &RawNamespace<'_>) -> Narrowed<String> {
    meta.name.as_deref().map(str::to_owned).into()
}

/// A Service with a name and a spec.
pub fn service(meta: &Meta<'_>, object: &RawService<'_>) -> Narrowed<Service> {
    let (Some(key), Some(spec)) = (meta.key(), &object.spec) else { return Narrowed::nothing() };
    let mut problems = Vec::new();
    check_label(&key.name, "name", &mut problems);
    let kind = if spec.kind.as_deref() == Some("ExternalName") {
        let target = spec.external_name.as_deref().unwrap_or_default();
        check_target(target, &mut problems);
        ServiceKind::ExternalName(target.to_owned())
    } else if spec.cluster_ip.as_deref() == Some("None") {
        ServiceKind::Headless
    } else {
        let all = spec.cluster_ips.as_deref().unwrap_or_default();
        // Servers before 1.20 and hand-written test objects know the single field only.
        let listed = if all.is_empty() { spec.cluster_ip.as_slice() } else { all };
        let listed = listed.iter().filter(|it| !it.is_empty());
        ServiceKind::ClusterIp(listed.filter_map(|it| address(it, None, &mut problems)).collect())
    };
    let ports = ports(spec.ports.as_deref(), &mut problems);
    let selector = if spec.selector.is_some_and(|it| it.0) { Selector::Present } else { Selector::Absent };
    let service = Service { key, kind, ports, selector, seen: SeenAt::default() };
    Narrowed { value: Some(service), problems }
}

/// A slice that names its Service. FQDN slices have no defined meaning (kubernetes/kubernetes#114210): they are known, so
/// that explanations can tell of them, but have no endpoints.
pub fn slice(meta: &Meta<'_>, object: &RawSlice<'_>) -> Narrowed<Slice> {
    let Some(key) = meta.key() else { return Narrowed::nothing() };
    let mut problems = Vec::new();
    let service = meta.labels.as_ref().and_then(|it| it.service_name.as_deref()).filter(|it| !it.is_empty());
    let family = match object.address_type.as_deref() {
        Some("IPv4") => Some(Family::V4),
        Some("IPv6") => Some(Family::V6),
        other => {
            problems.push(Problem::new(Reason::FqdnSlice, other.unwrap_or("no addressType")));
            None
        }
    };
    let Some(service) = service else {
        problems.push(Problem::new(Reason::NoServiceLabel, SERVICE_NAME_LABEL));
        return Narrowed { value: None, problems };
    };
    let annotations = meta.annotations.as_ref();
    let trigger_time = annotations.and_then(|it| it.trigger_time.as_deref()).and_then(|it| it.parse().ok());
    let (endpoints, ports) = match family {
        Some(family) => {
            let ports = ports(object.ports.as_deref(), &mut problems);
            // Of known length, so that no room is left over: these stay for as long as the slice does.
            let endpoints = object.endpoints.as_deref().unwrap_or_default().iter();
            (endpoints.map(|it| endpoint(it, family, &mut problems)).collect(), ports)
        }
        None => Default::default(),
    };
    let service = service.to_owned();
    let left_out = problems.iter().take(MAX_LEFT_OUT).cloned().collect();
    let topology_zones = family.map(|_| topology_zones(object)).unwrap_or_default();
    let seen = SeenAt::default();
    let slice = Slice { key, service, endpoints, ports, trigger_time, topology_zones, left_out, seen };
    Narrowed { value: Some(slice), problems }
}

/// The topology zone of each endpoint, equal ones shared; nothing when no endpoint has one.
fn topology_zones(object: &RawSlice<'_>) -> Box<[Option<Arc<str>>]> {
    let mut known: Vec<Arc<str>> = Vec::new();
    let mut share = |zone: &str| {
        known.iter().find(|it| ***it == *zone).cloned().unwrap_or_else(|| {
            known.push(zone.into());
            known[known.len() - 1].clone()
        })
    };
    let endpoints = || object.endpoints.iter().flatten();
    if endpoints().all(|it| it.zone.is_none()) {
        return Box::default();
    }
    endpoints().map(|it| it.zone.as_deref().filter(|it| !it.is_empty()).map(&mut share)).collect()
}

/// A Pod with addresses that is not over: its phase is none of Succeeded, Failed and Unknown. A terminating pod has its
/// addresses until it is deleted.
pub fn pod(meta: &Meta<'_>, object: &RawPod<'_>) -> Narrowed<Pod> {
    let (Some(key), Some(status)) = (meta.key(), &object.status) else { return Narrowed::nothing() };
    if matches!(status.phase.as_deref(), Some("Succeeded" | "Failed" | "Unknown")) {
        return Narrowed::nothing();
    }
    let mut problems = Vec::new();
    let all = status.pod_ips.iter().flatten().filter_map(|it| it.ip.as_deref());
    let all = all.chain(status.pod_ip.as_deref()).filter(|it| !it.is_empty());
    let mut addresses: Vec<IpAddr> = all.filter_map(|it| address(it, None, &mut problems)).collect();
    addresses.sort_unstable();
    addresses.dedup();
    let value = (!addresses.is_empty()).then(|| Pod { key, addresses: addresses.into() });
    Narrowed { value, problems }
}

/// A StatefulSet with a governing service that is not being deleted.
pub fn set(meta: &Meta<'_>, object: &RawSet<'_>) -> Narrowed<Set> {
    let read = || {
        let spec = object.spec.as_ref().filter(|_| meta.deletion_timestamp.is_none())?;
        let service = spec.service_name.as_deref().filter(|it| !it.is_empty())?.to_owned();
        let start = u32::try_from(spec.ordinals.as_ref().and_then(|it| it.start).unwrap_or(0)).ok()?;
        let replicas = u32::try_from(spec.replicas.unwrap_or(1)).ok()?;
        Some(Set { key: meta.key()?, service, start, replicas })
    };
    read().into()
}

/// The addresses a slice may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    V4,
    V6,
}

fn endpoint(object: &RawEndpoint<'_>, family: Family, problems: &mut Vec<Problem>) -> Endpoint {
    let addresses = object.addresses.iter().flatten();
    let conditions = object.conditions.unwrap_or_default();
    let target = object.target_ref.as_ref().filter(|it| it.kind.as_deref() == Some("Pod"));
    let hostname = object.hostname.as_deref().filter(|it| !it.is_empty());
    if let Some(hostname) = hostname {
        check_label(hostname, "hostname", problems);
    }
    let hostname_text: Option<Arc<str>> = hostname.map(Arc::from);
    let pod = target.and_then(|it| it.name.as_deref());
    Endpoint {
        addresses: addresses.filter_map(|it| address(it, Some(family), problems)).collect(),
        readiness: if conditions.ready.unwrap_or(true) { Readiness::Ready } else { Readiness::NotReady },
        serving: conditions.serving,
        terminating: conditions.terminating,
        pod: if pod == hostname { hostname_text.clone() } else { pod.map(Arc::from) },
        hostname: hostname_text,
    }
}

/// `None` for text that is no address, or none of the family.
fn address(text: &str, family: Option<Family>, problems: &mut Vec<Problem>) -> Option<IpAddr> {
    let parsed = text.parse::<IpAddr>().ok();
    let fits = |it: &IpAddr| family.is_none_or(|family| it.is_ipv4() == (family == Family::V4));
    let found = parsed.filter(fits);
    if found.is_none() {
        problems.push(Problem::new(Reason::BadAddress, text));
    }
    found
}

fn ports(objects: Option<&[RawPort<'_>]>, problems: &mut Vec<Problem>) -> Vec<Port> {
    let mut ports: Vec<Port> =
        objects.unwrap_or_default().iter().filter_map(|it| port(it, problems)).collect();
    ports.shrink_to_fit();
    ports
}

/// `None` for a port without a usable number or with a protocol that DNS cannot name.
fn port(object: &RawPort<'_>, problems: &mut Vec<Problem>) -> Option<Port> {
    let name = object.name.as_deref().unwrap_or_default();
    let Some(number) = object.port.and_then(|it| u16::try_from(it).ok()).filter(|it| *it != 0) else {
        problems.push(Problem::new(Reason::PortWithoutNumber, name));
        return None;
    };
    let protocol = match object.protocol.as_deref().unwrap_or("TCP") {
        "TCP" => Protocol::Tcp,
        "UDP" => Protocol::Udp,
        "SCTP" => Protocol::Sctp,
        other => {
            problems.push(Problem::new(Reason::UnknownProtocol, other));
            return None;
        }
    };
    Some(Port { number, protocol, name: name.to_ascii_lowercase().into() })
}

fn check_label(text: &str, what: &str, problems: &mut Vec<Problem>) {
    // Nearly every name is plain, and then nothing is allocated.
    let plain = |it: u8| it.is_ascii_alphanumeric() || it == b'-';
    let fine = matches!(text.len(), 1..=63) && text.bytes().all(plain);
    if !fine && let Err(error) = text.parse::<Label>() {
        problems.push(Problem::new(Reason::NotALabel, &format!("{what} {text:?}: {error}")));
    }
}

fn check_target(text: &str, problems: &mut Vec<Problem>) {
    let bare = text.strip_suffix('.').unwrap_or(text);
    if bare.parse::<IpAddr>().is_ok() {
        problems.push(Problem::new(Reason::ExternalAddress, text));
    } else if bare.is_empty() || bare.parse::<OwnerName>().is_err() {
        problems.push(Problem::new(Reason::ExternalNoName, text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::objects::Kind;
    use crate::k8s::watched::Watched;
    use serde_json::{Value, json};

    fn narrowed<T: Kind>(object: &Value) -> Narrowed<T> {
        // Through text, as from the network.
        serde_json::from_str::<Watched<T>>(&object.to_string()).unwrap().view
    }

    fn value<T: Kind>(object: &Value) -> Option<T> {
        narrowed(object).value
    }

    const TRIGGER_TIME_ANNOTATION: &str = "endpoints.kubernetes.io/last-change-trigger-time";

    #[test]
    fn slices() {
        let object = json!({
            "metadata": {"namespace": "prod", "name": "web-1", "labels": {SERVICE_NAME_LABEL: "web"},
                "annotations": {TRIGGER_TIME_ANNOTATION: "2026-11-21T10:00:00Z"}},
            "addressType": "IPv4",
            "endpoints": [
                {"addresses": ["10.0.0.1"], "hostname": "web-0", "targetRef": {"kind": "Pod", "name": "web-0"}},
                {"addresses": ["10.0.0.2", "fd00::2", "bad"], "conditions": {"ready": false, "serving": true},
                    "targetRef": {"kind": "Node", "name": "n1"}},
            ],
            "ports": [{"name": "HTTP", "port": 80, "protocol": "TCP"}, {"name": "any"}, {"port": 53, "protocol": "UDP"}],
        });
        let got = value::<Slice>(&object).unwrap();
        assert_eq!(got.service, "web");
        assert_eq!(got.trigger_time, Some("2026-11-21T10:00:00Z".parse().unwrap()));
        assert_eq!(got.endpoints[0].readiness, Readiness::Ready, "an absent condition means ready");
        assert_eq!(got.endpoints[0].pod.as_deref(), Some("web-0"));
        assert_eq!(got.endpoints[1].readiness, Readiness::NotReady, "serving alone changes nothing");
        assert_eq!(*got.endpoints[1].addresses, ["10.0.0.2".parse::<IpAddr>().unwrap()]);
        assert_eq!(got.endpoints[1].pod, None);
        let ports: Vec<_> = got.ports.iter().map(|it| (&*it.name, it.protocol, it.number)).collect();
        assert_eq!(ports, [("http", Protocol::Tcp, 80), ("", Protocol::Udp, 53)]);

        let changed = |key: &str, to: Value| {
            let mut object = object.clone();
            object[key] = to;
            value::<Slice>(&object)
        };
        assert_eq!(
            changed("metadata", json!({"namespace": "prod", "name": "web-1"})),
            None,
            "no service label"
        );
        let names = changed("addressType", json!("FQDN")).unwrap();
        assert!(names.endpoints.is_empty() && names.ports.is_empty(), "names are not addresses: {names:?}");
    }

    #[test]
    fn pods() {
        let object = |status: Value| {
            json!({"metadata": {"namespace": "prod", "name": "p", "deletionTimestamp": "2026-11-21T10:00:00Z"},
                "status": status})
        };
        let ips = json!([{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]);
        #[rustfmt::skip]
        let cases = [
            (json!({"podIP": "10.0.0.1", "podIPs": ips, "phase": "Running"}), Some("10.0.0.1 fd00::1"), "every family, once"),
            (json!({"podIP": "10.0.0.1", "phase": "Pending"}), Some("10.0.0.1"), "the single field alone"),
            (json!({"podIPs": ips, "phase": "Succeeded"}), None, "over"),
            (json!({"podIPs": ips, "phase": "Failed"}), None, "over"),
            (json!({"podIPs": ips, "phase": "Unknown"}), None, "nobody knows"),
            (json!({"podIPs": [{"ip": "x"}], "phase": "Running"}), None, "no address"),
            (json!({}), None, "no address yet"),
        ];
        for (status, want, why) in cases {
            let got = value::<Pod>(&object(status));
            let got =
                got.map(|it| it.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "));
            assert_eq!(got.as_deref(), want, "{why}");
        }
    }

    #[test]
    fn sets() {
        let range = |spec: Value| {
            let object = json!({"metadata": {"namespace": "prod", "name": "db"}, "spec": spec});
            value::<Set>(&object).map(|it| (it.service, it.start, it.replicas))
        };
        #[rustfmt::skip]
        let cases = [
            (json!({"serviceName": "db"}), Some(("db".to_owned(), 0, 1))),
            (json!({"serviceName": "db", "replicas": 0, "ordinals": {"start": 5}}), Some(("db".to_owned(), 5, 0))),
            (json!({"serviceName": "", "replicas": 3}), None),
            (json!({"replicas": 3}), None),
        ];
        for (spec, want) in cases {
            assert_eq!(range(spec), want);
        }
    }

    #[test]
    fn services() {
        #[rustfmt::skip]
        let cases = [
            (json!({"clusterIP": "None", "clusterIPs": ["None"]}), ServiceKind::Headless),
            (json!({"clusterIP": "10.0.0.1"}), ServiceKind::ClusterIp(vec!["10.0.0.1".parse().unwrap()])),
            (json!({"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1", "fd00::1"], "type": "LoadBalancer"}),
                ServiceKind::ClusterIp(vec!["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()])),
            (json!({"clusterIP": ""}), ServiceKind::ClusterIp(vec![])),
            (json!({"type": "ExternalName", "externalName": "a.example."}),
                ServiceKind::ExternalName("a.example.".into())),
        ];
        for (spec, want) in cases {
            let object = json!({"metadata": {"namespace": "prod", "name": "web"}, "spec": spec});
            assert_eq!(value::<Service>(&object).unwrap().kind, want);
        }
    }

    #[test]
    fn what_is_left_out_has_a_reason() {
        let slice = |fields: Value| {
            let mut object = json!({"metadata": {"namespace": "prod", "name": "s", "labels": {SERVICE_NAME_LABEL: "web"}},
                "addressType": "IPv4"});
            object.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
            narrowed::<Slice>(&object).problems
        };
        let service = |spec: Value| {
            let object = json!({"metadata": {"namespace": "prod", "name": "web"}, "spec": spec});
            narrowed::<Service>(&object).problems
        };
        let external = |name: &str| service(json!({"type": "ExternalName", "externalName": name}));
        let endpoint = |it: Value| slice(json!({"endpoints": [it]}));
        #[rustfmt::skip]
        let cases = [
            (endpoint(json!({"addresses": ["10.0.0.1"], "hostname": "a"})), ""),
            (slice(json!({"addressType": "FQDN"})), "fqdn_slice: FQDN"),
            (slice(json!({"metadata": {"namespace": "prod", "name": "s"}})), "no_service_label: kubernetes.io/service-name"),
            (endpoint(json!({"addresses": ["x", "fd00::1", "10.0.0.1"]})), "bad_address: x; bad_address: fd00::1"),
            (endpoint(json!({"addresses": ["10.0.0.1"], "hostname": "a.b"})),
                "not_a_label: hostname \"a.b\": name has a character other than letters, digits, '-' and '_'"),
            (slice(json!({"ports": [{"name": "any"}, {"port": 80}]})), "port_without_number: any"),
            (slice(json!({"ports": [{"port": 70000}, {"port": 1, "protocol": "DCCP"}]})),
                "port_without_number: ; unknown_protocol: DCCP"),
            (external("www.example.com."), ""),
            (external("10.0.0.1"), "external_address: 10.0.0.1"),
            (external("a..b"), "external_no_name: a..b"),
            (service(json!({"clusterIP": ""})), ""),
            (service(json!({"clusterIP": "10.0.0.x"})), "bad_address: 10.0.0.x"),
        ];
        for (problems, want) in cases {
            let got: Vec<String> =
                problems.iter().map(|it| format!("{}: {}", it.reason.label(), it.detail)).collect();
            assert_eq!(got.join("; "), want);
        }
    }
}
