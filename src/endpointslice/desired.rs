//! Which endpoints a Service should have: pods and nodes into records, per family and port set.
//!
//! Pure. Sources: kubernetes `staging/src/k8s.io/endpointslice/utils.go` (`podToEndpoint`), `reconciler.go`; KEP-1672.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::hints;
use super::model::{
    CONTROLLER, Conditions, Endpoint, Family, HEADLESS, MANAGED_BY, NodeView, PodView, Port, PortSet,
    SERVICE_NAME, ServiceView, Target, TargetPort,
};

/// The endpoints of one family, by port set. Groups have at least one endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Desired {
    /// Address family.
    pub family: Family,
    /// Endpoints in the order of the pods.
    pub groups: BTreeMap<PortSet, Vec<Arc<Endpoint>>>,
}

/// One [`Desired`] per family of the Service, in its order.
///
/// `pods`: those the selector matches, in any fixed order. `node`: the node of a name, `None` if there is none; a pod
/// on an unknown node is left out unless the Service publishes addresses that are not ready.
pub fn desired(
    service: &ServiceView,
    pods: &[Arc<PodView>],
    node: impl Fn(&str) -> Option<Arc<NodeView>>,
) -> Vec<Desired> {
    let mut families: Vec<_> =
        service.families.iter().map(|it| Desired { family: *it, groups: BTreeMap::new() }).collect();
    for pod in pods {
        let node = Some(&*pod.node_name).filter(|it| !it.is_empty()).and_then(&node);
        let Some((ports, endpoints)) = of_pod(service, pod, node.as_deref()) else { continue };
        for (family, endpoint) in endpoints {
            let Some(desired) = families.iter_mut().find(|it| it.family == family) else { continue };
            match desired.groups.get_mut(&ports) {
                Some(group) => group.push(Arc::new(endpoint)),
                None => drop(desired.groups.insert(ports.clone(), vec![Arc::new(endpoint)])),
            }
        }
    }
    families
}

/// What one pod the selector matches contributes: its ports, and an endpoint for each family of the Service in which it
/// has an address. `None`: nothing. `node`: the pod's node if it is known.
pub fn of_pod(
    service: &ServiceView,
    pod: &PodView,
    node: Option<&NodeView>,
) -> Option<(PortSet, Vec<(Family, Endpoint)>)> {
    if pod.terminal || pod.ips.is_empty() || (node.is_none() && !service.publish_not_ready) {
        return None;
    }
    let endpoints: Vec<_> = service
        .families
        .iter()
        .filter_map(|family| {
            let addresses = addresses(pod, *family);
            (!addresses.is_empty()).then(|| (*family, endpoint(service, pod, node, addresses)))
        })
        .collect();
    (!endpoints.is_empty()).then(|| (ports(service, pod), endpoints))
}

/// The labels of every slice of the Service: an exact mirror, with the reserved keys set by us.
pub fn labels(service: &ServiceView) -> BTreeMap<String, String> {
    let mut labels = service.labels.clone();
    labels.remove(HEADLESS);
    labels.insert(SERVICE_NAME.to_owned(), service.key.name.clone());
    labels.insert(MANAGED_BY.to_owned(), CONTROLLER.to_owned());
    if service.headless {
        labels.insert(HEADLESS.to_owned(), String::new());
    }
    labels
}

/// The ports of the Service as this pod has them; a named one that it does not have is left out.
pub fn ports(service: &ServiceView, pod: &PodView) -> PortSet {
    let mut ports: PortSet = service
        .ports
        .iter()
        .filter_map(|it| {
            let port = match &it.target {
                TargetPort::Number(number) => *number,
                TargetPort::Name(name) => {
                    pod.ports.iter().find(|port| port.name == *name && port.protocol == it.protocol)?.port
                }
            };
            Some(Port {
                name: it.name.clone(),
                protocol: it.protocol.clone(),
                port,
                app_protocol: it.app_protocol.clone(),
            })
        })
        .collect();
    ports.sort();
    ports.dedup();
    ports
}

fn endpoint(
    service: &ServiceView,
    pod: &PodView,
    node: Option<&NodeView>,
    addresses: Vec<String>,
) -> Endpoint {
    let named = !pod.hostname.is_empty()
        && *pod.subdomain == *service.key.name
        && pod.key.namespace == service.key.namespace;
    let ready = service.publish_not_ready || (pod.ready && !pod.terminating);
    let node_name = Some(pod.node_name.to_string()).filter(|it| !it.is_empty());
    let zone = node.and_then(|it| it.zone.clone());
    Endpoint {
        addresses,
        conditions: Conditions {
            ready: Some(ready),
            serving: Some(pod.ready),
            terminating: Some(pod.terminating),
        },
        hostname: named.then(|| pod.hostname.clone()),
        target: Some(Target {
            namespace: pod.key.namespace.clone(),
            name: pod.key.name.clone(),
            uid: pod.uid.clone(),
        }),
        hints: hints::own(service.topology, ready, zone.as_deref(), node_name.as_deref()),
        node_name,
        zone,
        foreign: false,
    }
}

/// The pod's addresses of a family, sorted, without those the API server refuses: one such address would block the
/// whole slice (kubernetes `ValidateNonSpecialIP`).
fn addresses(pod: &PodView, family: Family) -> Vec<String> {
    let mut addresses: Vec<_> = usable(pod, family).map(|it| it.to_string()).collect();
    addresses.sort();
    addresses.dedup();
    addresses
}

/// The pod's addresses of a family that the API server takes for endpoints, in their order.
pub fn usable(pod: &PodView, family: Family) -> impl Iterator<Item = IpAddr> {
    pod.ips.iter().copied().filter(move |it| Family::of(*it) == family && !special(*it))
}

fn special(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(it) => {
            it.is_unspecified() || it.is_loopback() || it.is_link_local() || it.octets()[..3] == [224, 0, 0]
        }
        IpAddr::V6(it) => {
            let link_local_multicast = it.segments()[0] & 0xff0f == 0xff02;
            it.is_unspecified() || it.is_loopback() || it.is_unicast_link_local() || link_local_multicast
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::endpointslice::narrow::from_json;

    fn service(spec: Value) -> ServiceView {
        let mut full = json!({"selector": {"app": "web"}, "clusterIP": "None", "ipFamilies": ["IPv4"],
            "ports": [{"name": "web", "port": 80, "targetPort": "http"}]});
        full.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        let meta =
            json!({"name": "nginx", "namespace": "demo", "uid": "s", "labels": {"team": "a", HEADLESS: "x"}});
        from_json(json!({"metadata": meta, "spec": full})).unwrap().unwrap()
    }

    /// `text`: words out of `ready`, `deleted`, `failed`, `nonode`, `lost`, `other`, `noport`, `dual`, `loopback`, `noip`.
    fn pod(text: &str) -> Arc<PodView> {
        let has = |word: &str| text.split(' ').any(|it| it == word);
        let mut ips = vec![json!({"ip": if has("loopback") { "127.0.0.1" } else { "10.0.0.1" }})];
        if has("dual") {
            ips.push(json!({"ip": "fd00:0::1"}));
        }
        if has("noip") {
            ips.clear();
        }
        let node = if has("nonode") {
            ""
        } else if has("lost") {
            "gone"
        } else {
            "sim-0"
        };
        let ports = if has("noport") { json!([]) } else { json!([{"name": "http", "containerPort": 8080}]) };
        let mut meta = json!({"name": "web-0", "namespace": "demo", "uid": "p"});
        if has("deleted") {
            meta["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        let pod: PodView = from_json(json!({
            "metadata": meta,
            "spec": {"nodeName": node, "hostname": "web-0", "subdomain": if has("other") { "x" } else { "nginx" },
                "containers": [{"name": "c", "ports": ports}]},
            "status": {"phase": if has("failed") { "Failed" } else { "Running" }, "podIPs": ips,
                "conditions": [{"type": "Ready", "status": if has("ready") { "True" } else { "False" }}]},
        }))
        .unwrap()
        .unwrap();
        Arc::new(pod)
    }

    fn show(service: &ServiceView, pods: &str) -> String {
        let node = |name: &str| {
            (name == "sim-0").then(|| {
                Arc::new(NodeView {
                    name: name.into(),
                    zone: Some("a".into()),
                    ready: true,
                    milli_cpu: 1000,
                    control_plane: false,
                })
            })
        };
        let groups = desired(service, &[pod(pods)], node).into_iter().flat_map(|it| it.groups);
        let show = |(ports, endpoints): (PortSet, Vec<Arc<Endpoint>>)| {
            let endpoint = &endpoints[0];
            let flag = |on: Option<bool>, name: char| if on == Some(true) { name } else { '-' };
            let ports: Vec<_> = ports.iter().map(|it| it.port.to_string()).collect();
            format!(
                "{} {}{}{} {} {} :{}",
                endpoint.addresses.join("+"),
                flag(endpoint.conditions.ready, 'r'),
                flag(endpoint.conditions.serving, 's'),
                flag(endpoint.conditions.terminating, 't'),
                endpoint.hostname.as_deref().unwrap_or("-"),
                endpoint.zone.as_deref().unwrap_or("-"),
                ports.join(",")
            )
        };
        groups.map(show).collect::<Vec<_>>().join(" | ")
    }

    #[test]
    fn records() {
        let publish = json!({"publishNotReadyAddresses": true});
        let dual = json!({"ipFamilies": ["IPv6", "IPv4"]});
        let number = json!({"ports": [{"port": 80, "targetPort": 9090}]});
        #[rustfmt::skip]
        let cases = [
            ("a ready pod",                             json!({}),        "ready",          "10.0.0.1 rs- web-0 a :8080"),
            ("not ready",                               json!({}),        "",               "10.0.0.1 --- web-0 a :8080"),
            ("terminating and still serving",           json!({}),        "ready deleted",  "10.0.0.1 -st web-0 a :8080"),
            ("published before it is ready",            publish.clone(),  "",               "10.0.0.1 r-- web-0 a :8080"),
            ("published while it terminates",           publish.clone(),  "deleted",        "10.0.0.1 r-t web-0 a :8080"),
            ("a terminal pod never",                    publish.clone(),  "failed",         ""),
            ("no address, no endpoint",                 publish.clone(),  "noip",           ""),
            ("the node must exist",                     json!({}),        "ready lost",     ""),
            ("the node must be named",                  json!({}),        "ready nonode",   ""),
            ("unless unready addresses are published",  publish,          "ready lost",     "10.0.0.1 rs- web-0 - :8080"),
            ("a hostname needs our subdomain",          json!({}),        "ready other",    "10.0.0.1 rs- - a :8080"),
            ("an unresolvable port is left out",        json!({}),        "ready noport",   "10.0.0.1 rs- web-0 a :"),
            ("a port number needs no declaration",      number,           "ready noport",   "10.0.0.1 rs- web-0 a :9090"),
            ("one record per family",                   dual.clone(),     "ready dual",     "fd00::1 rs- web-0 a :8080 | 10.0.0.1 rs- web-0 a :8080"),
            ("a family without address is absent",      dual,             "ready",          "10.0.0.1 rs- web-0 a :8080"),
            ("an address the API refuses is left out",  json!({}),        "ready loopback", ""),
        ];
        for (why, spec, pods, want) in cases {
            assert_eq!(show(&service(spec), pods), want, "{why}");
        }
    }

    #[test]
    fn labels_mirror_the_service_except_the_reserved_ones() {
        let text = |it: &ServiceView| {
            labels(it).iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(" ")
        };
        let common = format!("{MANAGED_BY}={CONTROLLER} {SERVICE_NAME}=nginx");
        assert_eq!(text(&service(json!({}))), format!("{common} {HEADLESS}= team=a"));
        assert_eq!(text(&service(json!({"clusterIP": "10.96.0.9"}))), format!("{common} team=a"));
    }

    #[test]
    fn families_of_an_old_server() {
        let families = |ip: &str| service(json!({"ipFamilies": [], "clusterIP": ip})).families;
        assert_eq!(families("None"), [Family::V4, Family::V6]);
        assert_eq!(families("fd00::1"), [Family::V6]);
        assert!(!service(json!({"type": "ExternalName"})).managed());
        assert!(!service(json!({"selector": {}})).managed());
    }
}
