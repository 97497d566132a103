//! Which slices to write so that they hold the desired endpoints, with as few writes as upstream.
//!
//! existing slices + [`Desired`] ──▶ plan ──▶ [`Write`]s, in the order to make them
//!
//! Pure. **Invariant.** Make before break: after every single write, each pod that had and should have an endpoint has
//! one. So members of a recycled slice stay in it, and where a pod moves, the slice it enters is written first.
//! Sources: kubernetes `staging/src/k8s.io/endpointslice/reconciler.go` (`reconcileByPortMapping`, `finalize`).
//! Differs: upstream fills recycled slices in random order, so that endpoints vanish in between.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

use super::desired::{Desired, labels};
use super::model::{Endpoint, Family, Identity, PortSet, ServiceView, SliceView};

/// What a slice should hold.
#[derive(Debug, Clone, PartialEq)]
pub struct Content {
    /// Address family.
    pub family: Family,
    /// Ports of every endpoint in it.
    pub ports: PortSet,
    /// Endpoints, at most the maximum.
    pub endpoints: Vec<Endpoint>,
}

/// One API write.
#[derive(Debug, Clone, PartialEq)]
pub enum Write {
    /// A new slice.
    Create(Content),
    /// The slice gets this content, the Service's labels and owner.
    Update(Arc<SliceView>, Content),
    /// The slice is removed.
    Delete(Arc<SliceView>),
}

/// Decides the writes for one Service: creates, then updates, then deletes. An empty plan means the goal is reached.
///
/// `existing`: our slices with the Service's name. `max`: endpoints per slice.
pub fn plan(
    service: &ServiceView,
    existing: &[Arc<SliceView>],
    desired: &[Desired],
    max: usize,
) -> Vec<Write> {
    let (mut creates, mut updates, mut deletes) = (Vec::new(), Vec::new(), Vec::new());
    let alive = existing.iter().filter(|it| !it.terminating);
    let (owned, strangers): (Vec<_>, Vec<_>) = alive.cloned().partition(|it| owned_by(it, service));
    let mut by_family: BTreeMap<Family, Vec<Arc<SliceView>>> = BTreeMap::new();
    for slice in owned {
        match slice.family.filter(|it| desired.iter().any(|wanted| wanted.family == *it)) {
            Some(family) => by_family.entry(family).or_default().push(slice),
            None => deletes.push(slice),
        }
    }
    deletes.extend(strangers);
    let labels = labels(service);
    let owners = [owner(service)];
    let fits = |it: &SliceView| it.labels == labels && it.owners == owners;
    for wanted in desired {
        let slices = by_family.remove(&wanted.family).unwrap_or_default();
        let mut writes = plan_family(wanted, slices, fits, max);
        creates.append(&mut writes.creates);
        updates.append(&mut writes.updates);
        deletes.append(&mut writes.deletes);
    }
    let mut updates = in_order(updates, &mut creates, &mut deletes);
    // A Service on its way out gets no new slices: they would race with garbage collection (#91287).
    if service.terminating {
        creates.clear();
    }
    let mut writes: Vec<_> = creates.into_iter().map(Write::Create).collect();
    writes.append(&mut updates);
    writes.extend(deletes.into_iter().map(Write::Delete));
    writes
}

/// The owner reference of the Service's slices.
pub fn owner(service: &ServiceView) -> OwnerReference {
    OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Service".to_owned(),
        name: service.key.name.clone(),
        uid: service.uid.clone(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

fn owned_by(slice: &SliceView, service: &ServiceView) -> bool {
    slice.owners.iter().any(|it| it.controller == Some(true) && it.kind == "Service" && it.uid == service.uid)
}

type Update = (Arc<SliceView>, Content);

#[derive(Default)]
struct Writes {
    creates: Vec<Content>,
    updates: Vec<Update>,
    deletes: Vec<Arc<SliceView>>,
}

/// Endpoints that need slices beyond those there are.
struct Fresh {
    ports: PortSet,
    endpoints: Vec<Endpoint>,
}

fn plan_family(
    wanted: &Desired,
    slices: Vec<Arc<SliceView>>,
    fits: impl Fn(&SliceView) -> bool,
    max: usize,
) -> Writes {
    let mut groups: BTreeMap<PortSet, Vec<Arc<SliceView>>> = BTreeMap::new();
    for slice in slices {
        groups.entry(slice.ports.clone()).or_default().push(slice);
    }
    let mut writes = Writes::default();
    let (mut fresh, mut remaining) = (Vec::new(), 0);
    for (ports, endpoints) in &wanted.groups {
        let slices = groups.remove(ports).unwrap_or_default();
        let content = |endpoints| Content { family: wanted.family, ports: ports.clone(), endpoints };
        let group = plan_group(endpoints, slices, &fits, max);
        remaining += group.unchanged;
        writes.updates.extend(group.updates.into_iter().map(|(slice, it)| (slice, content(it))));
        writes.deletes.extend(group.deletes);
        if !group.fresh.is_empty() {
            fresh.push(Fresh { ports: ports.clone(), endpoints: group.fresh });
        }
    }
    writes.deletes.extend(groups.into_values().flatten());
    if remaining == 0 && writes.updates.is_empty() && fresh.is_empty() {
        let placeholder = |it: &Arc<SliceView>| it.ports.is_empty() && it.endpoints.is_empty() && fits(it);
        match writes.deletes.iter().position(placeholder) {
            Some(index) => drop(writes.deletes.remove(index)),
            None => fresh.push(Fresh { ports: PortSet::new(), endpoints: Vec::new() }),
        }
    }
    for group in fresh {
        recycle(group, wanted.family, &mut writes, max);
    }
    writes
}

#[derive(Default)]
struct Group {
    unchanged: usize,
    updates: Vec<(Arc<SliceView>, Vec<Endpoint>)>,
    deletes: Vec<Arc<SliceView>>,
    fresh: Vec<Endpoint>,
}

/// Places the endpoints of one port set: what stays, stays where it is; what is new goes where a write happens anyway.
fn plan_group(
    wanted: &[Endpoint],
    slices: Vec<Arc<SliceView>>,
    fits: impl Fn(&SliceView) -> bool,
    max: usize,
) -> Group {
    let index: HashMap<Identity<'_>, usize> =
        wanted.iter().enumerate().map(|(at, it)| (it.identity(), at)).collect();
    let mut placed = vec![false; wanted.len()];
    let mut group = Group::default();
    let mut unchanged: Vec<Arc<SliceView>> = Vec::new();
    for slice in slices {
        let mut kept = Vec::with_capacity(slice.endpoints.len());
        let mut changed = false;
        for endpoint in &slice.endpoints {
            match index.get(&endpoint.identity()).filter(|at| !placed[**at]) {
                Some(at) => {
                    placed[*at] = true;
                    changed |= wanted[*at] != *endpoint;
                    kept.push(*at);
                }
                None => changed = true,
            }
        }
        if changed && kept.is_empty() {
            group.deletes.push(slice);
        } else if changed || !fits(&slice) {
            group.updates.push((slice, kept.into_iter().map(|at| wanted[at].clone()).collect()));
        } else {
            unchanged.push(slice);
        }
    }
    let mut new: Vec<_> =
        wanted.iter().zip(&placed).filter(|(_, placed)| !**placed).map(|(it, _)| it).collect();
    // Fullest first; the order of equally full ones is that of their names.
    group.updates.sort_by(|a, b| b.1.len().cmp(&a.1.len()).then_with(|| a.0.key.cmp(&b.0.key)));
    for (_, endpoints) in &mut group.updates {
        let room = max.saturating_sub(endpoints.len()).min(new.len());
        endpoints.extend(new.drain(..room).cloned());
    }
    let rest = new.len() % max;
    if rest > 0 {
        // The slice that ends up fullest takes all of the rest; it is never split over several unchanged slices.
        let best = unchanged
            .iter()
            .enumerate()
            .filter(|(_, it)| it.endpoints.len() + rest <= max)
            .max_by(|a, b| a.1.endpoints.len().cmp(&b.1.endpoints.len()).then_with(|| b.1.key.cmp(&a.1.key)))
            .map(|(at, _)| at);
        if let Some(at) = best {
            let slice = unchanged.remove(at);
            let taken = new.split_off(new.len() - rest);
            let endpoints = slice.endpoints.iter().cloned().chain(taken.into_iter().cloned()).collect();
            group.updates.push((slice, endpoints));
        }
    }
    group.unchanged = unchanged.len();
    group.fresh = new.into_iter().cloned().collect();
    group
}

/// Puts the endpoints of a group into slices that would be deleted, each with its own members first, and into new ones
/// when those do not suffice.
fn recycle(group: Fresh, family: Family, writes: &mut Writes, max: usize) {
    let mut count = group.endpoints.len().div_ceil(max).max(1);
    let content = |endpoints| Content { family, ports: group.ports.clone(), endpoints };
    let pods: HashMap<_, usize> =
        group.endpoints.iter().enumerate().map(|(at, it)| (pod_of(it), at)).collect();
    let mut endpoints: Vec<Option<Endpoint>> = group.endpoints.iter().cloned().map(Some).collect();
    // Most members first: they need not move.
    let overlap = |it: &SliceView| it.endpoints.iter().filter(|it| pods.contains_key(&pod_of(it))).count();
    let mut candidates: Vec<_> = writes.deletes.drain(..).map(|it| (overlap(&it), it)).collect();
    candidates.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.key.cmp(&b.1.key)));
    let recycled: Vec<_> = candidates.drain(..count.min(candidates.len())).map(|it| it.1).collect();
    writes.deletes.extend(candidates.into_iter().map(|it| it.1));
    count -= recycled.len();
    let mut filled: Vec<(Arc<SliceView>, Vec<Endpoint>)> = recycled
        .into_iter()
        .map(|slice| {
            let own = slice.endpoints.iter().filter_map(|it| endpoints[*pods.get(&pod_of(it))?].take());
            let own = own.take(max).collect();
            (slice, own)
        })
        .collect();
    let mut rest = endpoints.into_iter().flatten();
    for (_, members) in &mut filled {
        let room = max.saturating_sub(members.len());
        members.extend(rest.by_ref().take(room));
    }
    writes.updates.extend(filled.into_iter().map(|(slice, members)| (slice, content(members))));
    for _ in 0..count {
        writes.creates.push(content(rest.by_ref().take(max).collect()));
    }
}

/// The pod of an endpoint in one family: what must not vanish while it is desired.
fn pod_of(endpoint: &Endpoint) -> (Option<(&str, &str)>, &[String]) {
    let target = endpoint.target.as_ref().map(|it| (it.namespace.as_str(), it.name.as_str()));
    // Without a pod the address has to do.
    (target, if target.is_some() { &[] } else { &endpoint.addresses })
}

/// Orders updates so that a pod enters its new slice before it leaves the old one.
///
/// Where updates wait for each other in a circle, one of them is made in two steps: first with the leaving pods still
/// in, last without; or, if its ports change too, as a new slice and a deletion.
fn in_order(
    updates: Vec<Update>,
    creates: &mut Vec<Content>,
    deletes: &mut Vec<Arc<SliceView>>,
) -> Vec<Write> {
    let members = |list: &[Endpoint]| -> HashSet<_> { list.iter().map(owned_pod).collect() };
    let old: Vec<_> = updates.iter().map(|(slice, _)| members(&slice.endpoints)).collect();
    let new: Vec<_> = updates.iter().map(|(_, content)| members(&content.endpoints)).collect();
    // Only a pod that leaves an updated slice can be in danger, and only a pod that enters one can save it.
    let mut enters: HashMap<_, usize> = HashMap::new();
    for at in 0..updates.len() {
        let family = updates[at].1.family;
        for pod in new[at].difference(&old[at]) {
            enters.insert((family, pod.clone()), at);
        }
    }
    let mut needs: Vec<HashSet<usize>> = (0..updates.len())
        .map(|at| {
            let family = updates[at].1.family;
            let left = old[at].difference(&new[at]);
            left.filter_map(|pod| enters.get(&(family, pod.clone())).copied()).collect()
        })
        .collect();
    let mut writes = Vec::with_capacity(updates.len());
    let mut waiting: Vec<Option<Update>> = updates.into_iter().map(Some).collect();
    let (mut pending, mut provided) = (waiting.len(), HashSet::new());
    while pending > 0 {
        let free = (0..waiting.len()).find(|at| waiting[*at].is_some() && needs[*at].is_empty());
        let at =
            free.or_else(|| (0..waiting.len()).find(|at| waiting[*at].is_some() && !provided.contains(at)));
        // Every update is provided before the last need is met, so a circle always has one that is not.
        let Some(at) = at else { break };
        if free.is_none() {
            provided.insert(at);
            let (slice, content) = waiting[at].as_ref().expect("just found");
            if slice.ports == content.ports {
                let staying = slice.endpoints.iter().filter(|it| !new[at].contains(&owned_pod(it)));
                let endpoints = content.endpoints.iter().chain(staying).cloned().collect();
                writes.push(Write::Update(Arc::clone(slice), Content { endpoints, ..content.clone() }));
            } else {
                creates.push(content.clone());
                deletes.push(Arc::clone(slice));
                waiting[at] = None;
                pending -= 1;
            }
        } else if let Some((slice, content)) = waiting[at].take() {
            pending -= 1;
            writes.push(Write::Update(slice, content));
        }
        for need in &mut needs {
            need.remove(&at);
        }
    }
    writes
}

fn owned_pod(endpoint: &Endpoint) -> (Option<(String, String)>, Vec<String>) {
    let target = endpoint.target.as_ref().map(|it| (it.namespace.clone(), it.name.clone()));
    let addresses = if target.is_some() { Vec::new() } else { endpoint.addresses.clone() };
    (target, addresses)
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
