//! Which slices to write so that they hold the desired endpoints, with as few writes as upstream.
//!
//! existing slices + [`Desired`] ──▶ group: what stays, what is filled ──▶ recycle ──▶ order ──▶ [`Plan`], its [`Write`]s in turn
//!
//! Pure. **Invariant.** Make before break: after every single write, each pod that had and should have an endpoint has
//! one. So members of a recycled slice stay in it, and where a pod moves, the slice it enters is written first.
//! [`plan`] looks at everything; [`partial`](super::index::partial) looks only at what changed and ends in the same [`finish`].
//! Sources: kubernetes `staging/src/k8s.io/endpointslice/reconciler.go` (`reconcileByPortMapping`, `finalize`).
//! Differs: upstream fills recycled slices in random order, so that endpoints vanish in between.

pub mod group;
mod order;
mod recycle;

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

use self::group::{Sorted, Touched};
use super::desired::{Desired, labels};
use super::hints::{self, Disabled, ZoneShares};
use super::model::{Endpoint, Family, PortSet, ServiceView, SliceView, Topology};

/// What a slice should hold.
#[derive(Debug, Clone, PartialEq)]
pub struct Content {
    /// Address family.
    pub family: Family,
    /// Ports of every endpoint in it.
    pub ports: PortSet,
    /// Endpoints, at most the maximum.
    pub endpoints: Vec<Arc<Endpoint>>,
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

/// The writes of one Service and what they amount to.
#[derive(Debug, Default, PartialEq)]
pub struct Plan {
    /// Creates, then updates, then deletes. Empty: the goal is reached.
    pub writes: Vec<Write>,
    /// A pod changes slices: the writes have to be made one after the other. Otherwise those of one kind may overtake each
    /// other.
    pub moves: bool,
    /// Endpoints that enter slices.
    pub added: usize,
    /// Endpoints that leave slices.
    pub removed: usize,
    /// What topology mode `Auto` came to, by family.
    pub zones: Vec<(Family, Result<(), Disabled>)>,
}

/// Decides the writes for one Service from scratch.
///
/// `existing`: our slices with the Service's name. `max`: endpoints per slice. `shares`: for topology mode `Auto`.
pub fn plan(
    service: &ServiceView,
    existing: &[Arc<SliceView>],
    desired: &[Desired],
    max: usize,
    shares: &ZoneShares,
) -> Plan {
    let mut deletes = Vec::new();
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
    let fits = |it: &SliceView| it.labels == labels;
    let mut plan = Plan::default();
    let families = desired.iter().map(|wanted| {
        let slices = by_family.remove(&wanted.family).unwrap_or_default();
        sort_family(service, wanted, slices, fits, max, shares, &mut plan)
    });
    let families: Vec<_> = families.collect();
    finish(service, families, deletes, fits, max, &mut plan);
    plan
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

/// Whether the slice belongs to this very Service, not to an earlier one of the same name (#94730).
pub fn owned_by(slice: &SliceView, service: &ServiceView) -> bool {
    slice.owners.iter().any(|it| it.api_version == "v1" && it.kind == "Service" && it.uid == service.uid)
}

/// One family of a Service, on the way to its writes.
#[derive(Debug)]
pub struct FamilyPlan {
    /// Address family.
    pub family: Family,
    /// Slices that get another content.
    pub updates: Vec<(Arc<SliceView>, Content)>,
    /// Slices that hold nothing desired any more.
    pub deletes: Vec<Arc<SliceView>>,
    /// Endpoints that need slices beyond those there are, by port set.
    pub fresh: Vec<(PortSet, Vec<Arc<Endpoint>>)>,
    /// Slices that stay as they are.
    pub unchanged: usize,
}

fn sort_family(
    service: &ServiceView,
    wanted: &Desired,
    slices: Vec<Arc<SliceView>>,
    fits: impl Fn(&SliceView) -> bool,
    max: usize,
    shares: &ZoneShares,
    plan: &mut Plan,
) -> FamilyPlan {
    let mut groups: BTreeMap<PortSet, Vec<Arc<SliceView>>> = BTreeMap::new();
    for slice in slices {
        groups.entry(slice.ports.clone()).or_default().push(slice);
    }
    let (mut updates, mut deletes, mut fresh, mut unchanged) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (ports, endpoints) in &wanted.groups {
        let slices = groups.remove(ports).unwrap_or_default();
        let content = |endpoints| Content { family: wanted.family, ports: ports.clone(), endpoints };
        let mut group = Sorted::of(endpoints, slices, &fits);
        (plan.added, plan.removed) = (plan.added + group.new.len(), plan.removed + group.removed);
        let rest = group.place(endpoints, max);
        for kept in group.unchanged {
            let stale = |(at, stored): (&usize, &Arc<Endpoint>)| {
                hints::differ(service.topology, &endpoints[*at], stored)
            };
            if kept.at.iter().zip(&kept.slice.endpoints).any(stale) {
                let endpoints = kept.at.iter().map(|at| endpoints[*at].clone()).collect();
                updates.push((kept.slice, content(endpoints)));
            } else {
                unchanged.push(kept.slice);
            }
        }
        updates.extend(
            group.touched.into_iter().map(|Touched { slice, endpoints }| (slice, content(endpoints))),
        );
        deletes.extend(group.emptied);
        if !rest.is_empty() {
            fresh.push((ports.clone(), rest));
        }
    }
    plan.removed += groups.values().flatten().map(|it| it.endpoints.len()).sum::<usize>();
    deletes.extend(groups.into_values().flatten());
    if service.topology == Topology::Auto {
        let outcome = zone_hints(shares, &mut updates, &mut fresh, &mut unchanged);
        plan.zones.push((wanted.family, outcome));
    }
    FamilyPlan { family: wanted.family, updates, deletes, fresh, unchanged: unchanged.len() }
}

/// Topology mode `Auto` for one family: may move unchanged slices to the updates.
fn zone_hints(
    shares: &ZoneShares,
    updates: &mut Vec<(Arc<SliceView>, Content)>,
    fresh: &mut [(PortSet, Vec<Arc<Endpoint>>)],
    unchanged: &mut Vec<Arc<SliceView>>,
) -> Result<(), Disabled> {
    let rewrite = |slice: Arc<SliceView>, updates: &mut Vec<(Arc<SliceView>, Content)>| {
        let family = slice.family.expect("only slices of a family are planned");
        let content = Content { family, ports: slice.ports.clone(), endpoints: slice.endpoints.clone() };
        updates.push((slice, content));
    };
    loop {
        let outcome = {
            let kept: Vec<_> = unchanged.iter().map(|it| it.endpoints.as_slice()).collect();
            let fresh = fresh.iter_mut().flat_map(|it| it.1.iter_mut());
            let mut written: Vec<_> =
                updates.iter_mut().flat_map(|it| it.1.endpoints.iter_mut()).chain(fresh).collect();
            hints::share_out(shares, &mut written, &kept)
        };
        match outcome {
            Ok(stale) if stale.is_empty() => return Ok(()),
            Ok(stale) => {
                for at in stale.into_iter().rev() {
                    rewrite(unchanged.remove(at), updates);
                }
            }
            Err(disabled) => {
                let hinted = |it: &Arc<SliceView>| it.endpoints.iter().any(|it| it.hints.is_some());
                let (stale, clean) = unchanged.drain(..).partition(hinted);
                *unchanged = clean;
                let stale: Vec<Arc<SliceView>> = stale;
                for slice in stale {
                    rewrite(slice, updates);
                }
                let fresh = fresh.iter_mut().flat_map(|it| it.1.iter_mut());
                updates
                    .iter_mut()
                    .flat_map(|it| it.1.endpoints.iter_mut())
                    .chain(fresh)
                    .filter(|it| it.hints.is_some())
                    .for_each(|it| Arc::make_mut(it).hints = None);
                return Err(disabled);
            }
        }
    }
}

/// The end of every plan: placeholders, recycling, and the order of the writes.
///
/// `deletes`: slices of other owners or families, which are never reused.
pub fn finish(
    service: &ServiceView,
    families: Vec<FamilyPlan>,
    deletes: Vec<Arc<SliceView>>,
    fits: impl Fn(&SliceView) -> bool,
    max: usize,
    plan: &mut Plan,
) {
    let (mut creates, mut updates, mut deletes) = (Vec::new(), Vec::new(), deletes);
    for mut family in families {
        if family.unchanged == 0 && family.updates.is_empty() && family.fresh.is_empty() {
            let placeholder =
                |it: &Arc<SliceView>| it.ports.is_empty() && it.endpoints.is_empty() && fits(it);
            match family.deletes.iter().position(placeholder) {
                Some(at) => drop(family.deletes.remove(at)),
                None => family.fresh.push((PortSet::new(), Vec::new())),
            }
        }
        recycle::recycle(&mut family, &mut creates, max);
        updates.append(&mut family.updates);
        deletes.append(&mut family.deletes);
    }
    let (updates, moves) = order::in_order(updates, &mut creates, &mut deletes, max);
    // A Service on its way out gets no new slices: they would race with garbage collection (#91287).
    if service.terminating {
        creates.clear();
    }
    plan.moves = moves;
    plan.writes = creates.into_iter().map(Write::Create).collect();
    plan.writes.extend(updates.into_iter().map(|(slice, content)| Write::Update(slice, content)));
    plan.writes.extend(deletes.into_iter().map(Write::Delete));
}

/// The pod of an endpoint in one family: what must not vanish while it is desired. Without a pod the address has to do.
type PodOf<'a> = (Option<(&'a str, &'a str)>, &'a [String]);

fn pod_of(endpoint: &Endpoint) -> PodOf<'_> {
    let target = endpoint.target.as_ref().map(|it| (it.namespace.as_str(), it.name.as_str()));
    (target, if target.is_some() { &[] } else { &endpoint.addresses })
}

#[cfg(test)]
mod tests;
