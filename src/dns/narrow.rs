//! API objects into the inputs of DNS: drops every field no answer depends on.
//!
//! k8s-openapi object ──▶ [`service()`], [`slice()`], [`namespace()`], [`pod()`], [`set()`] ──▶ `dns::model`
//!
//! Pure. `None` means that the object has no meaning for DNS: the caller treats it as deleted.

use std::net::IpAddr;

use k8s_openapi::api::apps::v1 as apps;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1 as discovery;

use super::model::{
    Endpoint, Pod, Port, Protocol, Readiness, SeenAt, Selector, Service, ServiceKind, Set, Slice,
};
use crate::model::ObjectKey;

/// Label that ties a slice to its Service.
pub const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";
/// Annotation with the time of the pod or service change that a slice reflects.
pub const TRIGGER_TIME_ANNOTATION: &str = "endpoints.kubernetes.io/last-change-trigger-time";

/// The name of a Namespace.
pub fn namespace(object: &core::Namespace) -> Option<String> {
    object.metadata.name.clone()
}

/// A Service with a name and a spec.
pub fn service(object: &core::Service) -> Option<Service> {
    let key = ObjectKey::new(object.metadata.namespace.clone()?, object.metadata.name.clone()?);
    let spec = object.spec.as_ref()?;
    let kind = if spec.type_.as_deref() == Some("ExternalName") {
        ServiceKind::ExternalName(spec.external_name.clone().unwrap_or_default())
    } else if spec.cluster_ip.as_deref() == Some("None") {
        ServiceKind::Headless
    } else {
        let all = spec.cluster_ips.as_deref().unwrap_or_default();
        // Servers before 1.20 and hand-written test objects know the single field only.
        let listed = if all.is_empty() { spec.cluster_ip.as_slice() } else { all };
        ServiceKind::ClusterIp(listed.iter().filter_map(|it| it.parse().ok()).collect())
    };
    let ports = spec.ports.iter().flatten();
    let ports =
        ports.filter_map(|it| port(it.name.as_deref(), it.protocol.as_deref(), Some(it.port))).collect();
    let selected = spec.selector.as_ref().is_some_and(|it| !it.is_empty());
    let selector = if selected { Selector::Present } else { Selector::Absent };
    Some(Service { key, kind, ports, selector, seen: SeenAt::default() })
}

/// A slice of addresses that names its Service. FQDN slices have no defined meaning (kubernetes/kubernetes#114210).
pub fn slice(object: &discovery::EndpointSlice) -> Option<Slice> {
    let key = ObjectKey::new(object.metadata.namespace.clone()?, object.metadata.name.clone()?);
    let service =
        object.metadata.labels.as_ref()?.get(SERVICE_NAME_LABEL).filter(|it| !it.is_empty())?.clone();
    let wants_ipv4 = match object.address_type.as_str() {
        "IPv4" => true,
        "IPv6" => false,
        _ => return None,
    };
    let annotations = object.metadata.annotations.as_ref();
    let trigger_time =
        annotations.and_then(|it| it.get(TRIGGER_TIME_ANNOTATION)).and_then(|it| it.parse().ok());
    let ports = object.ports.iter().flatten();
    let ports = ports.filter_map(|it| port(it.name.as_deref(), it.protocol.as_deref(), it.port)).collect();
    let endpoints = object.endpoints.iter().flatten().map(|it| endpoint(it, wants_ipv4)).collect();
    Some(Slice { key, service, endpoints, ports, trigger_time, seen: SeenAt::default() })
}

/// A Pod with addresses that is not over: its phase is none of Succeeded, Failed and Unknown. A terminating pod has its
/// addresses until it is deleted.
pub fn pod(object: &core::Pod) -> Option<Pod> {
    let key = ObjectKey::new(object.metadata.namespace.clone()?, object.metadata.name.clone()?);
    let status = object.status.as_ref()?;
    if matches!(status.phase.as_deref(), Some("Succeeded" | "Failed" | "Unknown")) {
        return None;
    }
    let all = status.pod_ips.iter().flatten().map(|it| it.ip.as_str());
    let mut addresses: Vec<IpAddr> =
        all.chain(status.pod_ip.as_deref()).filter_map(|it| it.parse().ok()).collect();
    addresses.sort_unstable();
    addresses.dedup();
    (!addresses.is_empty()).then(|| Pod { key, addresses: addresses.into() })
}

/// A StatefulSet with a governing service that is not being deleted.
pub fn set(object: &apps::StatefulSet) -> Option<Set> {
    let meta = &object.metadata;
    let key = ObjectKey::new(meta.namespace.clone()?, meta.name.clone()?);
    let spec = Some(&object.spec).filter(|_| meta.deletion_timestamp.is_none())?;
    let service = spec.service_name.clone().filter(|it| !it.is_empty())?;
    let start = spec.ordinals.as_ref().and_then(|it| it.start).unwrap_or(0);
    let start = u32::try_from(start).ok()?;
    let replicas = u32::try_from(spec.replicas.unwrap_or(1)).ok()?;
    Some(Set { key, service, start, replicas })
}

fn endpoint(object: &discovery::Endpoint, wants_ipv4: bool) -> Endpoint {
    let addresses = object.addresses.iter().filter_map(|it| it.parse::<IpAddr>().ok());
    let conditions = object.conditions.as_ref();
    let ready = conditions.and_then(|it| it.ready).unwrap_or(true);
    let target = object.target_ref.as_ref().filter(|it| it.kind.as_deref() == Some("Pod"));
    Endpoint {
        addresses: addresses.filter(|it| it.is_ipv4() == wants_ipv4).collect(),
        readiness: if ready { Readiness::Ready } else { Readiness::NotReady },
        serving: conditions.and_then(|it| it.serving),
        terminating: conditions.and_then(|it| it.terminating),
        hostname: object.hostname.as_deref().filter(|it| !it.is_empty()).map(Box::from),
        pod: target.and_then(|it| it.name.as_deref()).map(Box::from),
    }
}

/// `None` for a port without a usable number or with a protocol that DNS cannot name.
fn port(name: Option<&str>, protocol: Option<&str>, number: Option<i32>) -> Option<Port> {
    let number = u16::try_from(number?).ok().filter(|it| *it != 0)?;
    let protocol = match protocol.unwrap_or("TCP") {
        "TCP" => Protocol::Tcp,
        "UDP" => Protocol::Udp,
        "SCTP" => Protocol::Sctp,
        _ => return None,
    };
    Some(Port { number, protocol, name: name.unwrap_or_default().to_ascii_lowercase().into() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

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
        let got = slice(&serde_json::from_value(object.clone()).unwrap()).unwrap();
        assert_eq!(got.service, "web");
        assert_eq!(got.trigger_time, Some("2026-11-21T10:00:00Z".parse().unwrap()));
        assert_eq!(got.endpoints[0].readiness, Readiness::Ready, "an absent condition means ready");
        assert_eq!(got.endpoints[0].pod.as_deref(), Some("web-0"));
        assert_eq!(got.endpoints[1].readiness, Readiness::NotReady, "serving alone changes nothing");
        assert_eq!(got.endpoints[1].addresses, ["10.0.0.2".parse::<std::net::IpAddr>().unwrap()]);
        assert_eq!(got.endpoints[1].pod, None);
        let ports: Vec<_> = got.ports.iter().map(|it| (&*it.name, it.protocol, it.number)).collect();
        assert_eq!(ports, [("http", Protocol::Tcp, 80), ("", Protocol::Udp, 53)]);

        for (change, why) in [
            (json!({"addressType": "FQDN"}), "names are not addresses"),
            (json!({"metadata": {"namespace": "prod", "name": "web-1"}}), "no service label"),
        ] {
            let mut object = object.clone();
            object.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            assert_eq!(slice(&serde_json::from_value(object).unwrap()), None, "{why}");
        }
    }

    #[test]
    fn pods() {
        let object = |status: serde_json::Value| {
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
            let got = pod(&serde_json::from_value(object(status)).unwrap());
            let got =
                got.map(|it| it.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "));
            assert_eq!(got.as_deref(), want, "{why}");
        }
    }

    #[test]
    fn sets() {
        let range = |spec: serde_json::Value| {
            let object = json!({"metadata": {"namespace": "prod", "name": "db"}, "spec": spec});
            set(&serde_json::from_value(object).unwrap()).map(|it| (it.service, it.start, it.replicas))
        };
        #[rustfmt::skip]
        let cases = [
            (json!({"serviceName": "db"}), Some(("db".to_owned(), 0, 1))),
            (json!({"serviceName": "db", "replicas": 0, "ordinals": {"start": 5}}), Some(("db".to_owned(), 5, 0))),
            (json!({"serviceName": "", "replicas": 3}), None),
            (json!({"replicas": 3}), None),
        ];
        for (mut spec, want) in cases {
            spec["selector"] = json!({});
            spec["template"] = json!({});
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
            assert_eq!(service(&serde_json::from_value(object).unwrap()).unwrap().kind, want);
        }
    }
}
