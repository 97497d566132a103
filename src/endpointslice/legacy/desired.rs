//! The Endpoints object a Service should have.
//!
//! Pure. Source: kubernetes `pkg/controller/endpoint/endpoints_controller.go`.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{EndpointAddress, EndpointPort, EndpointSubset, Endpoints, ObjectReference};

use crate::endpointslice::desired::{ports, usable};
use crate::endpointslice::model::{Family, HEADLESS, PodView, ServiceView};
use crate::endpointslice::subsets::canonical;

/// Label of the objects of this controller (KEP-4974).
pub const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
/// Its value, upstream's on purpose.
pub const CONTROLLER: &str = "endpoint-controller";
/// Annotation of an object that does not hold all addresses.
pub const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
/// Its value.
pub const TRUNCATED: &str = "truncated";
/// Most addresses of an object, ready and not ready.
pub const CAPACITY: usize = 1000;

/// Whether an object carries the label of this controller.
pub fn is_ours(endpoints: &Endpoints) -> bool {
    endpoints.metadata.labels.as_ref().and_then(|it| it.get(MANAGED_BY)).is_some_and(|it| it == CONTROLLER)
}

/// Labels of the object of a Service.
pub fn labels(service: &ServiceView) -> BTreeMap<String, String> {
    let mut labels = service.labels.clone();
    labels.remove(HEADLESS);
    if service.headless {
        labels.insert(HEADLESS.to_owned(), String::new());
    }
    labels.insert(MANAGED_BY.to_owned(), CONTROLLER.to_owned());
    labels
}

/// The subsets, in canonical form, cut to the capacity; and whether anything was cut.
pub fn subsets(service: &ServiceView, pods: &[Arc<PodView>]) -> (Vec<EndpointSubset>, bool) {
    let Some(family) = service.families.first() else { return (Vec::new(), false) };
    let pairs = pods.iter().flat_map(|pod| of_pod(service, pod, *family)).collect::<Vec<_>>();
    let mut subsets = canonical(&pairs);
    let cut = truncate(&mut subsets);
    (subsets, cut)
}

/// One subset for each port of the Service that the pod has.
fn of_pod(service: &ServiceView, pod: &PodView, family: Family) -> Vec<EndpointSubset> {
    if pod.terminal || (pod.terminating && !service.publish_not_ready) {
        return Vec::new();
    }
    let Some(ip) = usable(pod, family).next() else { return Vec::new() };
    let named = !pod.hostname.is_empty() && *pod.subdomain == *service.key.name;
    let address = EndpointAddress {
        ip: ip.to_string(),
        hostname: named.then(|| pod.hostname.clone()),
        node_name: Some(pod.node_name.to_string()).filter(|it| !it.is_empty()),
        target_ref: Some(ObjectReference {
            kind: Some("Pod".to_owned()),
            namespace: Some(pod.key.namespace.clone()),
            name: Some(pod.key.name.clone()),
            uid: Some(pod.uid.clone()),
            ..ObjectReference::default()
        }),
    };
    let subset = |port: Option<EndpointPort>| {
        let addresses = Some(vec![address.clone()]);
        let ready = service.publish_not_ready || pod.ready;
        EndpointSubset {
            addresses: addresses.clone().filter(|_| ready),
            not_ready_addresses: addresses.filter(|_| !ready),
            ports: port.map(|it| vec![it]),
        }
    };
    if service.ports.is_empty() {
        return if service.headless { vec![subset(None)] } else { Vec::new() };
    }
    let ports = ports(service, pod).into_iter().map(|it| EndpointPort {
        name: Some(it.name).filter(|it| !it.is_empty()),
        port: it.port,
        protocol: Some(it.protocol),
        app_protocol: it.app_protocol,
    });
    ports.map(|it| subset(Some(it))).collect()
}

/// Cuts to the capacity, ready addresses first, each subset in proportion, rounded up; the last one gets what is left.
fn truncate(subsets: &mut [EndpointSubset]) -> bool {
    let count = |list: &Option<Vec<EndpointAddress>>| list.as_ref().map_or(0, Vec::len);
    let ready: usize = subsets.iter().map(|it| count(&it.addresses)).sum();
    let not_ready: usize = subsets.iter().map(|it| count(&it.not_ready_addresses)).sum();
    if ready + not_ready <= CAPACITY {
        return false;
    }
    let cut_ready = ready > CAPACITY;
    let (room, total) = if cut_ready { (CAPACITY, ready) } else { (CAPACITY - ready, not_ready) };
    let mut left = room;
    for subset in subsets {
        let list = if cut_ready { &mut subset.addresses } else { &mut subset.not_ready_addresses };
        let share = (count(list) * room).div_ceil(total).min(left);
        if let Some(addresses) = list {
            addresses.truncate(share);
            left -= addresses.len();
        }
        if list.as_ref().is_some_and(Vec::is_empty) {
            *list = None;
        }
        if cut_ready {
            subset.not_ready_addresses = None;
        }
    }
    true
}

/// Whether the object holds what it should and nothing has to be written.
pub fn fits(
    endpoints: &Endpoints,
    wanted: &[EndpointSubset],
    labels: &BTreeMap<String, String>,
    cut: bool,
) -> bool {
    let annotation = endpoints.metadata.annotations.as_ref().and_then(|it| it.get(OVER_CAPACITY));
    canonical(endpoints.subsets.as_deref().unwrap_or_default()) == canonical(wanted)
        && endpoints.metadata.labels.as_ref() == Some(labels)
        && annotation.map(String::as_str) == cut.then_some(TRUNCATED)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::endpointslice::narrow::from_json;
    use crate::endpointslice::subsets::tests::show;

    fn service(spec: Value) -> ServiceView {
        let mut full = json!({"selector": {"app": "web"}, "clusterIP": "None", "ipFamilies": ["IPv4"],
            "ports": [{"name": "web", "port": 80, "targetPort": "http"}]});
        full.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        let meta = json!({"name": "nginx", "namespace": "demo", "uid": "s", "labels": {"team": "a"}});
        from_json(json!({"metadata": meta, "spec": full})).unwrap().unwrap()
    }

    /// `2 ready deleted failed noport`.
    fn pod(text: &str) -> Arc<PodView> {
        let has = |word: &str| text.split(' ').any(|it| it == word);
        let number: usize = text.split(' ').next().unwrap().parse().unwrap();
        let ports = if has("noport") { json!([]) } else { json!([{"name": "http", "containerPort": 8080}]) };
        let mut meta =
            json!({"name": format!("web-{number}"), "namespace": "demo", "uid": number.to_string()});
        if has("deleted") {
            meta["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        let ips = json!([{"ip": format!("10.0.{}.{}", number / 250, number % 250)}, {"ip": "fd00::1"}]);
        let ready = if has("ready") { "True" } else { "False" };
        let pod: PodView = from_json(json!({
            "metadata": meta,
            "spec": {"nodeName": "n", "hostname": format!("web-{number}"), "subdomain": "nginx", "containers": [{"ports": ports}]},
            "status": {"phase": if has("failed") { "Failed" } else { "Running" }, "podIPs": ips,
                "conditions": [{"type": "Ready", "status": ready}]},
        }))
        .unwrap()
        .unwrap();
        Arc::new(pod)
    }

    #[test]
    fn what_kubectl_get_endpoints_shows() {
        let publish = json!({"publishNotReadyAddresses": true});
        let portless = json!({"ports": []});
        let with_ip = json!({"ports": [], "clusterIP": "10.96.0.9"});
        #[rustfmt::skip]
        let cases = [
            ("ready and not ready",                        json!({}),        vec!["1 ready", "2"],          "1,2!:8080"),
            ("published before ready",                     publish.clone(),  vec!["1 ready", "2"],          "1,2:8080"),
            ("a terminating pod leaves at once",           json!({}),        vec!["1 ready deleted"],       ""),
            ("unless unready ones are published",          publish,          vec!["1 deleted"],             "1:8080"),
            ("a terminal pod never",                       json!({}),        vec!["1 ready failed"],        ""),
            ("a pod without the port is absent",           json!({}),        vec!["1 ready noport"],        ""),
            ("headless without ports: addresses alone",    portless,         vec!["1 ready", "2"],          "1,2!:"),
            ("with an address and no ports: nothing",      with_ip,          vec!["1 ready"],               ""),
        ];
        for (why, spec, pods, want) in cases {
            let pods: Vec<_> = pods.into_iter().map(pod).collect();
            assert_eq!(show(&subsets(&service(spec), &pods).0), want, "{why}");
        }
        let v6 = subsets(&service(json!({"ipFamilies": ["IPv6", "IPv4"]})), &[pod("1 ready")]).0;
        assert_eq!(v6[0].addresses.as_ref().unwrap()[0].ip, "fd00::1", "the primary family");
        assert_eq!(v6[0].addresses.as_ref().unwrap()[0].hostname.as_deref(), Some("web-1"));
    }

    #[test]
    fn a_thousand_addresses_and_no_more() {
        let pods = |ready: usize, not_ready: usize| -> Vec<_> {
            (0..ready + not_ready)
                .map(|it| pod(&format!("{it} {}", if it < ready { "ready" } else { "" })))
                .collect()
        };
        let counts = |pods: &[Arc<PodView>]| {
            let (subsets, cut) = subsets(&service(json!({})), pods);
            let count = |list: &Option<Vec<EndpointAddress>>| list.as_ref().map_or(0, Vec::len);
            (count(&subsets[0].addresses), count(&subsets[0].not_ready_addresses), cut)
        };
        assert_eq!(counts(&pods(900, 100)), (900, 100, false));
        assert_eq!(counts(&pods(900, 200)), (900, 100, true));
        assert_eq!(counts(&pods(1100, 5)), (1000, 0, true));
    }

    #[test]
    fn what_needs_no_write() {
        let service = service(json!({}));
        let (wanted, cut) = subsets(&service, &[pod("1 ready")]);
        let mut stored = Endpoints { subsets: Some(wanted.clone()), ..Endpoints::default() };
        stored.metadata.labels = Some(labels(&service));
        let target = &mut stored.subsets.as_mut().unwrap()[0].addresses.as_mut().unwrap()[0].target_ref;
        target.as_mut().unwrap().resource_version = Some("7".to_owned());
        assert!(fits(&stored, &wanted, &labels(&service), cut), "the version of the target says nothing");
        stored.metadata.annotations = Some([(OVER_CAPACITY.to_owned(), TRUNCATED.to_owned())].into());
        assert!(!fits(&stored, &wanted, &labels(&service), cut), "not truncated any more");
        stored.metadata.annotations = None;
        stored.metadata.labels.as_mut().unwrap().remove(HEADLESS);
        assert!(!fits(&stored, &wanted, &labels(&service), cut), "the headless label");
    }
}
