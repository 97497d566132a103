//! The order of updates: a pod enters its new slice before it leaves the old one.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::{Content, PodOf, pod_of};
use crate::endpointslice::model::{Endpoint, Family, SliceView};

type Update = (Arc<SliceView>, Content);

/// Orders updates, and says whether any pod moves.
///
/// Where updates wait for each other in a circle, one of them is made in two steps: first with the leaving pods still
/// in, last without; or, if its ports change too or there is no room for both, as a new slice and a deletion.
pub fn in_order(
    updates: Vec<Update>,
    creates: &mut Vec<Content>,
    deletes: &mut Vec<Arc<SliceView>>,
    max: usize,
) -> (Vec<Update>, bool) {
    let mut needs = needs(&updates);
    if needs.iter().all(HashSet::is_empty) {
        return (updates, false);
    }
    let mut ordered = Vec::with_capacity(updates.len());
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
            let entered: HashSet<_> = content.endpoints.iter().map(|it| pod_of(it)).collect();
            let leaving: Vec<_> =
                slice.endpoints.iter().filter(|it| !entered.contains(&pod_of(it))).cloned().collect();
            if slice.ports == content.ports && content.endpoints.len() + leaving.len() <= max {
                let endpoints = content.endpoints.iter().cloned().chain(leaving).collect();
                ordered.push((Arc::clone(slice), Content { endpoints, ..content.clone() }));
            } else {
                creates.push(content.clone());
                deletes.push(Arc::clone(slice));
                waiting[at] = None;
                pending -= 1;
            }
        } else if let Some(update) = waiting[at].take() {
            pending -= 1;
            ordered.push(update);
        }
        for need in &mut needs {
            need.remove(&at);
        }
    }
    (ordered, true)
}

fn members(list: &[Arc<Endpoint>]) -> HashSet<PodOf<'_>> {
    list.iter().map(|it| pod_of(it)).collect()
}

/// For each update the updates that have to come first.
fn needs(updates: &[Update]) -> Vec<HashSet<usize>> {
    if updates.len() < 2 {
        return vec![HashSet::new(); updates.len()];
    }
    let old: Vec<_> = updates.iter().map(|(slice, _)| members(&slice.endpoints)).collect();
    let new: Vec<_> = updates.iter().map(|(_, content)| members(&content.endpoints)).collect();
    // Only a pod that leaves an updated slice can be in danger, and only a pod that enters one can save it.
    let mut enters: HashMap<(Family, _), usize> = HashMap::new();
    for (at, (_, content)) in updates.iter().enumerate() {
        for pod in new[at].difference(&old[at]) {
            enters.insert((content.family, pod), at);
        }
    }
    if enters.is_empty() {
        return vec![HashSet::new(); updates.len()];
    }
    let left = updates.iter().enumerate().map(|(at, (_, content))| {
        let left = old[at].difference(&new[at]);
        left.filter_map(|pod| enters.get(&(content.family, pod)).copied()).collect()
    });
    left.collect()
}
