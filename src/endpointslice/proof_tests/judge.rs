//! Judges a history from the log of the API server.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use super::world::{NAMESPACE, World, resource};
use crate::apiserver::store::Change;
use crate::endpointslice::desired::{desired, of_pod};
use crate::endpointslice::model::{NodeView, PodView, ServiceView, SliceView};
use crate::endpointslice::narrow::from_json;

/// The cluster at some moment of its history.
#[derive(Default)]
struct Moment {
    services: BTreeMap<String, Arc<ServiceView>>,
    pods: BTreeMap<String, Arc<PodView>>,
    nodes: BTreeMap<String, Arc<NodeView>>,
    slices: BTreeMap<String, Arc<SliceView>>,
}

impl Moment {
    /// Pods that should be ready endpoints of a Service, with the address.
    fn wanted(&self, service: &ServiceView) -> BTreeSet<(String, String)> {
        let mut wanted = BTreeSet::new();
        if !service.managed() {
            return wanted;
        }
        for pod in self.pods.values().filter(|it| service.selects(&it.labels)) {
            let node = self.nodes.get(&*pod.node_name).map(|it| &**it);
            let endpoints = of_pod(service, pod, node).map(|it| it.1).unwrap_or_default();
            let ready = endpoints.into_iter().filter(|it| it.1.is_ready());
            wanted.extend(ready.map(|it| (pod.key.name.clone(), it.1.addresses[0].clone())));
        }
        wanted
    }

    /// Ready endpoints in the union of a Service's slices.
    fn published(&self, service: &str) -> BTreeSet<(String, String)> {
        let slices = self.slices.values().filter(|it| it.service == service);
        let ready = slices.flat_map(|it| &it.endpoints).filter(|it| it.is_ready());
        ready.filter_map(|it| Some((it.target.as_ref()?.name.clone(), it.addresses[0].clone()))).collect()
    }
}

/// INV-12: an endpoint that is published and should go on being published is in the union after every single change of a
/// slice. `tampered`: slices that users change or delete; what they take away is not held against the controller.
///
/// Returns how many moments were looked at.
pub fn never_a_gap(world: &World, tampered: bool) -> usize {
    let (events, _) = world.server.store().all_events_after(0).expect("the ring is large");
    let mut moment = Moment::default();
    // Published and wanted ever since, by Service.
    let mut standing: BTreeMap<String, BTreeSet<(String, String)>> = BTreeMap::new();
    let mut looked = 0;
    let foreign = world.gate.lock().unwrap().foreign_deletions.clone();
    for (kind, event) in events {
        let object = &event.object;
        let (name, gone) = (object.key.name.clone(), event.change == Change::Deleted);
        let value: &Value = &object.value;
        match kind.plural {
            "services" if object.key.namespace == NAMESPACE => {
                moment.services.remove(&name);
                if !gone {
                    let view: ServiceView = from_json(value.clone()).unwrap().unwrap();
                    moment.services.insert(name, Arc::new(view));
                }
            }
            "pods" => {
                moment.pods.remove(&name);
                if !gone {
                    let view: PodView = from_json(value.clone()).unwrap().unwrap();
                    moment.pods.insert(name, Arc::new(view));
                }
            }
            "nodes" => {
                moment.nodes.remove(&name);
                if !gone {
                    let view: NodeView = from_json(value.clone()).unwrap().unwrap();
                    moment.nodes.insert(name, Arc::new(view));
                }
            }
            "endpointslices" => {
                moment.slices.remove(&name);
                if !gone && let Some(view) = from_json::<SliceView>(value.clone()).unwrap() {
                    moment.slices.insert(name.clone(), Arc::new(view));
                }
                looked += 1;
            }
            _ => continue,
        }
        standing.retain(|it, _| moment.services.contains_key(it));
        for (service, view) in &moment.services {
            let (wanted, published) = (moment.wanted(view), moment.published(service));
            let standing = standing.entry(service.clone()).or_default();
            standing.retain(|it| wanted.contains(it));
            if !tampered && kind.plural == "endpointslices" && !foreign.contains(&event.version) {
                let missing: Vec<_> = standing.difference(&published).collect();
                assert!(
                    missing.is_empty(),
                    "version {}: {missing:?} of {service} vanished with {} {name}",
                    event.version,
                    object.key.name,
                    name = if gone { "deleted" } else { "written" },
                );
            }
            // What another hand took away is missing until it is written again.
            standing.retain(|it| published.contains(it));
            // Who was not wanted for a moment counts again when a slice is written that has it.
            if kind.plural == "endpointslices"
                && let Some(slice) = moment.slices.get(&object.key.name).filter(|it| it.service == *service)
            {
                let ready = slice.endpoints.iter().filter(|it| it.is_ready());
                let ready =
                    ready.filter_map(|it| Some((it.target.as_ref()?.name.clone(), it.addresses[0].clone())));
                standing.extend(ready.filter(|it| wanted.contains(it)));
            }
        }
    }
    looked
}

/// Every managed Service has exactly the endpoints it should have, no slice is too large, and none is left of another owner.
pub fn all_is_right(world: &World, tampered: bool, why: &str) {
    // The frame tries again after a panic, such as that of an audit that found something.
    assert_eq!(world.metrics.panics("endpointslice"), 0, "{why}: a reconcile panicked, see above");
    let of = |plural: &str| world.list(plural);
    let pods: Vec<Arc<PodView>> =
        of("pods").into_iter().map(|it| Arc::new(from_json(it).unwrap().unwrap())).collect();
    let (_, nodes) = world.server.store().list(resource("nodes"), None);
    let nodes: Vec<Arc<NodeView>> =
        nodes.iter().map(|it| Arc::new(from_json(it.value.clone()).unwrap().unwrap())).collect();
    let slices: Vec<SliceView> =
        of("endpointslices").into_iter().filter_map(|it| from_json(it).unwrap()).collect();
    for service in of("services") {
        let service: ServiceView = from_json(service).unwrap().unwrap();
        if !service.managed() {
            continue;
        }
        let mut members: Vec<_> = pods.iter().filter(|it| service.selects(&it.labels)).cloned().collect();
        members.sort_by(|a, b| a.key.cmp(&b.key));
        let node = |name: &str| nodes.iter().find(|it| it.name == name).cloned();
        for wanted in desired(&service, &members, node) {
            let ours: Vec<_> = slices
                .iter()
                .filter(|it| it.service == service.key.name && it.family == Some(wanted.family))
                .collect();
            assert!(!ours.is_empty(), "{why}: {} has a slice, a placeholder at least", service.key);
            let mut stored: Vec<String> = Vec::new();
            for slice in &ours {
                assert!(slice.endpoints.len() <= world.max, "{why}: {} is too large", slice.key);
                assert_eq!(slice.labels, crate::endpointslice::desired::labels(&service), "{why}");
                // As upstream: one that users emptied stays until somebody moves in.
                let may_be_empty = tampered || ours.len() == 1;
                assert!(may_be_empty || !slice.endpoints.is_empty(), "{why}: {} is empty", slice.key);
                stored.extend(slice.endpoints.iter().map(|it| format!("{:?} {it:?}", slice.ports)));
            }
            let mut expected: Vec<String> = Vec::new();
            for (ports, endpoints) in &wanted.groups {
                expected.extend(endpoints.iter().map(|it| format!("{ports:?} {it:?}")));
            }
            stored.sort();
            expected.sort();
            assert_eq!(stored, expected, "{why}: {}", service.key);
        }
    }
}
