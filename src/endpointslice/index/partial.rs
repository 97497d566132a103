//! The plan of a Service of which only a few pods changed: it looks at their endpoints and at the slices that hold them.
//!
//! Pure. The rules are those of the plan from scratch, and the last steps are the same code. What it relies on: the slices of
//! the other pods are as they should be, and none is empty. Where that is not enough it gives up, and everything is planned.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::slices::{SliceSet, is_of};
use crate::endpointslice::hints;
use crate::endpointslice::model::{Endpoint, Family, PortSet, ServiceView, SliceView};
use crate::endpointslice::plan::group::{Touched, place};
use crate::endpointslice::plan::{Content, FamilyPlan, Plan, finish};

/// A pod that changed.
#[derive(Debug)]
pub struct Change {
    /// Its name.
    pub pod: Box<str>,
    /// Its ports and endpoints by family; `None`: it should have none.
    pub wanted: Option<(PortSet, Vec<(Family, Endpoint)>)>,
}

/// A slice that holds an endpoint of a changed pod.
struct Work {
    slice: Arc<SliceView>,
    endpoints: Vec<Arc<Endpoint>>,
    /// Something beyond hints differs.
    changed: bool,
    /// Hints differ.
    hinted: bool,
}

/// Plans the changes; `None`: it takes a plan from scratch.
pub fn plan(service: &ServiceView, slices: &SliceSet, changes: Vec<Change>, max: usize) -> Option<Plan> {
    let mut work: BTreeMap<Arc<str>, Work> = BTreeMap::new();
    let mut fresh: BTreeMap<(Family, PortSet), Vec<Arc<Endpoint>>> = BTreeMap::new();
    let mut plan = Plan::default();
    for Change { pod, wanted } in changes {
        let (ports, mut wanted) = wanted.unwrap_or_default();
        for name in slices.of_pod(&pod) {
            if !work.contains_key(name) {
                let slice = Arc::clone(slices.get(name)?);
                let endpoints = slice.endpoints.clone();
                work.insert(Arc::clone(name), Work { slice, endpoints, changed: false, hinted: false });
            }
            let work = work.get_mut(name)?;
            let family = work.slice.family?;
            let same_group = work.slice.ports == ports;
            let before = work.endpoints.len();
            let (mut changed, mut hinted) = (false, false);
            work.endpoints.retain_mut(|stored| {
                if !is_of(stored, &pod) {
                    return true;
                }
                let same = |it: &(Family, Endpoint)| it.0 == family && it.1.identity() == stored.identity();
                let Some(at) = wanted.iter().position(same).filter(|_| same_group) else { return false };
                let (_, wanted) = wanted.remove(at);
                changed |= !wanted.same_but_hints(stored);
                hinted |= hints::differ(service.topology, &wanted, stored);
                *stored = Arc::new(wanted);
                true
            });
            plan.removed += before - work.endpoints.len();
            work.changed |= changed || before != work.endpoints.len();
            work.hinted |= hinted;
        }
        for (family, endpoint) in wanted {
            plan.added += 1;
            fresh.entry((family, ports.clone())).or_default().push(Arc::new(endpoint));
        }
    }
    work.retain(|_, it| it.changed || it.hinted);
    let mut families = Vec::new();
    for family in &service.families {
        families.push(plan_family(*family, slices, &mut work, &mut fresh, max));
    }
    // A slice of a family the Service does not have: not for here.
    if !work.is_empty() || !fresh.is_empty() {
        return None;
    }
    finish(service, families, Vec::new(), |_| true, max, &mut plan);
    Some(plan)
}

fn plan_family(
    family: Family,
    slices: &SliceSet,
    work: &mut BTreeMap<Arc<str>, Work>,
    fresh: &mut BTreeMap<(Family, PortSet), Vec<Arc<Endpoint>>>,
    max: usize,
) -> FamilyPlan {
    let (mut touched, mut hinted, mut deletes) =
        (BTreeMap::<PortSet, Vec<Touched>>::new(), Vec::new(), Vec::new());
    let mut seen: Vec<Arc<str>> = Vec::new();
    let names: Vec<_> =
        work.iter().filter(|it| it.1.slice.family == Some(family)).map(|it| Arc::clone(it.0)).collect();
    for name in names {
        let Some(it) = work.remove(&name) else { continue };
        if !it.changed {
            hinted.push(it);
            continue;
        }
        seen.push(name);
        if it.endpoints.is_empty() {
            deletes.push(it.slice);
        } else {
            let group = touched.entry(it.slice.ports.clone()).or_default();
            group.push(Touched { slice: it.slice, endpoints: it.endpoints });
        }
    }
    let groups: Vec<PortSet> = fresh.keys().filter(|it| it.0 == family).map(|it| it.1.clone()).collect();
    let mut rest = Vec::new();
    for ports in groups {
        let key = (family, ports);
        let new = fresh.remove(&key).unwrap_or_default();
        let group = touched.entry(key.1.clone()).or_default();
        let left = place(group, new, max, |count| {
            slices.best_fit(&key, count, max, |it| seen.iter().any(|seen| **seen == *it))
        });
        if !left.is_empty() {
            rest.push((key.1, left));
        }
    }
    let mut updates = Vec::new();
    for (ports, group) in touched {
        for Touched { slice, mut endpoints } in group {
            // A slice whose hints alone differ may have been filled: its endpoints are those with the new hints.
            if let Some(at) = hinted.iter().position(|it| it.slice.key == slice.key) {
                let with_hints = hinted.remove(at).endpoints;
                endpoints.splice(..with_hints.len(), with_hints);
            }
            updates.push((slice, Content { family, ports: ports.clone(), endpoints }));
        }
    }
    for Work { slice, endpoints, .. } in hinted {
        let ports = slice.ports.clone();
        updates.push((slice, Content { family, ports, endpoints }));
    }
    let written = updates.len() + deletes.len();
    let unchanged = slices.in_family(family).saturating_sub(written);
    FamilyPlan { family, updates, deletes, fresh: rest, unchanged }
}
