//! Which slices mirror an Endpoints object.
//!
//! Pure. One slice per (family, port set) of the canonical subsets, whatever its size; the name of a slice stays where there is
//! one to keep. Creates come first and deletions last, so that an address that moves is never absent.
//! Source: kubernetes `pkg/controller/endpointslicemirroring/reconciler.go`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{EndpointAddress, Endpoints};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use crate::endpointslice::model::{Family, MANAGED_BY, SERVICE_NAME, TRIGGER_TIME};
use crate::endpointslice::subsets::canonical;

/// Value of the managed-by label of mirrored slices, upstream's on purpose.
pub const CONTROLLER: &str = "endpointslicemirroring-controller.k8s.io";
/// Label that keeps Endpoints from being mirrored.
pub const SKIP_MIRROR: &str = "endpointslice.kubernetes.io/skip-mirror";
/// Annotation of Endpoints that are a lock, not endpoints.
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// One API write. The slice carries everything but what the API server sets.
#[derive(Debug, Clone, PartialEq)]
pub enum Write {
    /// A new slice, without a name.
    Create(EndpointSlice),
    /// The slice of that name gets this content.
    Update(EndpointSlice),
    /// The slice is removed.
    Delete(Arc<EndpointSlice>),
}

/// The writes for one Endpoints object and what they amount to.
#[derive(Debug, Default)]
pub struct Plan {
    /// In the order to make them.
    pub writes: Vec<Write>,
    /// Addresses that are no IP addresses.
    pub invalid: usize,
    /// Addresses left out, those included.
    pub skipped: usize,
    /// Endpoints that enter, change and leave.
    pub totals: [usize; 3],
    /// Endpoints and slices there should be.
    pub desired: (usize, usize),
}

/// Whether the object itself allows to be mirrored.
pub fn mirrorable(endpoints: &Endpoints) -> bool {
    let has =
        |map: &Option<BTreeMap<String, String>>, key: &str| map.as_ref().and_then(|it| it.get(key)).cloned();
    let meta = &endpoints.metadata;
    has(&meta.labels, SKIP_MIRROR).as_deref() != Some("true") && has(&meta.annotations, LEADER).is_none()
}

type Key = (Family, Vec<PortKey>);
/// Name, number, protocol, application protocol.
type PortKey = (String, i32, String, Option<String>);

/// Plans the slices of `endpoints`. `existing`: the mirrored slices of that name. `max`: addresses of a subset.
pub fn plan(endpoints: &Endpoints, existing: &[Arc<EndpointSlice>], max: usize) -> Plan {
    let mut plan = Plan::default();
    let desired = desired(endpoints, max, &mut plan);
    plan.desired = (desired.values().map(Vec::len).sum(), desired.len());
    let mut by_key: BTreeMap<Option<Key>, Vec<Arc<EndpointSlice>>> = BTreeMap::new();
    for slice in existing.iter().filter(|it| it.metadata.deletion_timestamp.is_none()) {
        by_key.entry(key_of(slice)).or_default().push(Arc::clone(slice));
    }
    let (mut creates, mut updates, mut deletes) = (Vec::new(), Vec::new(), Vec::new());
    for (key, wanted) in desired {
        let mut slices = by_key.remove(&Some(key.clone())).unwrap_or_default().into_iter();
        let first = slices.next();
        deletes.extend(slices);
        let object = object(endpoints, &key, wanted);
        match first {
            Some(old) => {
                if !same(&old, &object, &mut plan.totals) {
                    updates.push((old, object));
                }
            }
            None => {
                plan.totals[0] += object.endpoints.as_ref().map_or(0, Vec::len);
                creates.push(object);
            }
        }
    }
    deletes.extend(by_key.into_values().flatten());
    plan.totals[2] += deletes.iter().map(|it| it.endpoints.as_ref().map_or(0, Vec::len)).sum::<usize>();
    // A slice that would be deleted takes the content of one that would be created: the one it shares most with.
    creates.retain(|new| {
        let candidates = deletes.iter().enumerate().filter(|(_, old)| old.address_type == new.address_type);
        let best = candidates.max_by_key(|(at, old)| {
            let members = addresses(old);
            (addresses(new).iter().filter(|it| members.contains(*it)).count(), std::cmp::Reverse(*at))
        });
        match best.map(|(at, _)| at) {
            Some(at) => {
                updates.push((deletes.remove(at), new.clone()));
                false
            }
            None => true,
        }
    });
    // The Endpoints on its way out gets no new slices.
    if endpoints.metadata.deletion_timestamp.is_some() {
        creates.clear();
    }
    let updates = in_order(updates);
    plan.writes = creates.into_iter().map(Write::Create).collect();
    plan.writes.extend(updates.into_iter().map(|(old, new)| Write::Update(onto(&old, new))));
    plan.writes.extend(deletes.into_iter().map(Write::Delete));
    plan
}

fn addresses(slice: &EndpointSlice) -> BTreeSet<&String> {
    slice.endpoints.iter().flatten().flat_map(|it| &it.addresses).collect()
}

/// Updates in an order in which an address that moves enters before it leaves. In a circle somebody has to begin.
fn in_order(updates: Vec<(Arc<EndpointSlice>, EndpointSlice)>) -> Vec<(Arc<EndpointSlice>, EndpointSlice)> {
    let mut waiting: VecDeque<_> = updates.into();
    let mut ordered = Vec::with_capacity(waiting.len());
    let mut tries = 0;
    while let Some((old, new)) = waiting.pop_front() {
        let kept = addresses(&new);
        let leaving: Vec<_> = addresses(&old).into_iter().filter(|it| !kept.contains(it)).collect();
        let same_family = |it: &&(Arc<EndpointSlice>, EndpointSlice)| it.1.address_type == new.address_type;
        let mut others = waiting.iter().filter(same_family);
        let blocked = others.any(|(before, after)| {
            let (before, after) = (addresses(before), addresses(after));
            leaving.iter().any(|it| after.contains(*it) && !before.contains(*it))
        });
        drop(kept);
        if blocked && tries < waiting.len() {
            tries += 1;
            waiting.push_back((old, new));
        } else {
            tries = 0;
            ordered.push((old, new));
        }
    }
    ordered
}

/// The new content on the object there is, whose finalizers of others stay.
fn onto(old: &EndpointSlice, mut new: EndpointSlice) -> EndpointSlice {
    new.metadata.name.clone_from(&old.metadata.name);
    new.metadata.uid.clone_from(&old.metadata.uid);
    new.metadata.resource_version.clone_from(&old.metadata.resource_version);
    new.metadata.finalizers.clone_from(&old.metadata.finalizers);
    new
}

fn key_of(slice: &EndpointSlice) -> Option<Key> {
    let family = Family::parse(&slice.address_type)?;
    let ports = slice.ports.iter().flatten().map(|it| {
        let protocol = it.protocol.clone().unwrap_or_else(|| "TCP".to_owned());
        (it.name.clone().unwrap_or_default(), it.port.unwrap_or_default(), protocol, it.app_protocol.clone())
    });
    let mut ports: Vec<PortKey> = ports.collect();
    ports.sort();
    Some((family, ports))
}

fn desired(endpoints: &Endpoints, max: usize, plan: &mut Plan) -> BTreeMap<Key, Vec<Endpoint>> {
    let mut desired: BTreeMap<Key, Vec<Endpoint>> = BTreeMap::new();
    for subset in canonical(endpoints.subsets.as_deref().unwrap_or_default()) {
        let ports = subset.ports.iter().flatten().map(|it| {
            let protocol = it.protocol.clone().unwrap_or_else(|| "TCP".to_owned());
            (it.name.clone().unwrap_or_default(), it.port, protocol, it.app_protocol.clone())
        });
        let mut ports: Vec<PortKey> = ports.collect();
        ports.sort();
        let ready = subset.addresses.iter().flatten().map(|it| (it, true));
        let not_ready = subset.not_ready_addresses.iter().flatten().map(|it| (it, false));
        let (mut added, mut total) = (0, 0);
        for (address, ready) in ready.chain(not_ready) {
            total += 1;
            if added >= max {
                continue;
            }
            match endpoint(address, ready) {
                Some((family, endpoint)) => {
                    added += 1;
                    desired.entry((family, ports.clone())).or_default().push(endpoint);
                }
                None => plan.invalid += 1,
            }
        }
        plan.skipped += total - added;
    }
    desired
}

fn endpoint(address: &EndpointAddress, ready: bool) -> Option<(Family, Endpoint)> {
    let ip: IpAddr = address.ip.parse().ok()?;
    let endpoint = Endpoint {
        addresses: vec![ip.to_string()],
        conditions: Some(EndpointConditions { ready: Some(ready), ..EndpointConditions::default() }),
        hostname: address.hostname.clone().filter(|it| !it.is_empty()),
        node_name: address.node_name.clone(),
        target_ref: address.target_ref.clone(),
        ..Endpoint::default()
    };
    Some((Family::of(ip), endpoint))
}

fn object(endpoints: &Endpoints, (family, ports): &Key, wanted: Vec<Endpoint>) -> EndpointSlice {
    let meta = &endpoints.metadata;
    let name = meta.name.clone().unwrap_or_default();
    let mut labels = meta.labels.clone().unwrap_or_default();
    labels.insert(SERVICE_NAME.to_owned(), name.clone());
    labels.insert(MANAGED_BY.to_owned(), CONTROLLER.to_owned());
    let mut annotations = meta.annotations.clone().unwrap_or_default();
    annotations.remove(TRIGGER_TIME);
    annotations.remove(LAST_APPLIED);
    let owner = OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Endpoints".to_owned(),
        name,
        uid: meta.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    };
    EndpointSlice {
        metadata: ObjectMeta {
            namespace: meta.namespace.clone(),
            labels: Some(labels),
            annotations: Some(annotations).filter(|it| !it.is_empty()),
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        address_type: family.as_str().to_owned(),
        ports: Some(
            ports
                .iter()
                .map(|(name, port, protocol, app_protocol)| EndpointPort {
                    name: Some(name.clone()),
                    port: Some(*port),
                    protocol: Some(protocol.clone()),
                    app_protocol: app_protocol.clone(),
                })
                .collect(),
        ),
        endpoints: Some(wanted),
    }
}

/// Whether nothing has to be written; counts what enters, changes and leaves.
fn same(old: &EndpointSlice, new: &EndpointSlice, totals: &mut [usize; 3]) -> bool {
    type Identity<'a> = (&'a [String], Option<&'a str>, Option<(Option<&'a str>, Option<&'a str>)>);
    fn identity(it: &Endpoint) -> Identity<'_> {
        let target = it.target_ref.as_ref().map(|it| (it.namespace.as_deref(), it.name.as_deref()));
        (&it.addresses, it.hostname.as_deref(), target)
    }
    let known: BTreeMap<_, _> = old.endpoints.iter().flatten().map(|it| (identity(it), it)).collect();
    let wanted: BTreeMap<_, _> = new.endpoints.iter().flatten().map(|it| (identity(it), it)).collect();
    let added = wanted.keys().filter(|it| !known.contains_key(*it)).count();
    let updated =
        wanted.iter().filter(|(key, it)| known.get(*key).is_some_and(|old| !alike(old, it))).count();
    let duplicates = old.endpoints.as_ref().map_or(0, Vec::len) - known.len();
    let removed = known.keys().filter(|it| !wanted.contains_key(*it)).count() + duplicates;
    totals[0] += added;
    totals[1] += updated;
    totals[2] += removed;
    let empty = BTreeMap::new();
    let annotations = |it: &EndpointSlice| it.metadata.annotations.clone().unwrap_or_default();
    let owned = old.metadata.owner_references.iter().flatten();
    let owner = new.metadata.owner_references.iter().flatten().next().map(|it| it.uid.clone());
    added + updated + removed == 0
        && old.metadata.labels.as_ref().unwrap_or(&empty) == new.metadata.labels.as_ref().unwrap_or(&empty)
        && annotations(old) == annotations(new)
        && owned.into_iter().any(|it| Some(&it.uid) == owner.as_ref())
}

/// Whether two endpoints of one identity are equal; the resourceVersion of the target says nothing.
fn alike(old: &Endpoint, new: &Endpoint) -> bool {
    let plain = |it: &Endpoint| {
        let mut it = it.clone();
        if let Some(target) = &mut it.target_ref {
            target.resource_version = None;
        }
        it
    };
    plain(old) == plain(new)
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
