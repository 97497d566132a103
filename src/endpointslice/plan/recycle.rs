//! New slices in place of those that would be deleted: one write instead of two, and their names stay.
//!
//! Pure. Sizes are upstream's, full slices and one with the rest. Each recycled slice keeps its own members as far as its
//! size allows; pods move only towards slices that are written earlier, so that nobody vanishes.
//! Source: kubernetes `staging/src/k8s.io/endpointslice/reconciler.go` (`finalize`).

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::{Content, FamilyPlan, pod_of};
use crate::endpointslice::model::{Endpoint, PortSet, SliceView};

/// Turns the fresh endpoints of a family into updates of slices it would delete, and into `creates` when those do not suffice.
pub fn recycle(family: &mut FamilyPlan, creates: &mut Vec<Content>, max: usize) {
    for (ports, endpoints) in std::mem::take(&mut family.fresh) {
        group(family, creates, ports, endpoints, max);
    }
}

fn group(
    family: &mut FamilyPlan,
    creates: &mut Vec<Content>,
    ports: PortSet,
    endpoints: Vec<Arc<Endpoint>>,
    max: usize,
) {
    let count = endpoints.len().div_ceil(max).max(1);
    let content = |endpoints| Content { family: family.family, ports: ports.clone(), endpoints };
    let (recycled, own, others) = {
        let pods: HashMap<_, usize> = endpoints.iter().enumerate().map(|(at, it)| (pod_of(it), at)).collect();
        // Most members first: they need not move.
        let overlap =
            |it: &SliceView| it.endpoints.iter().filter(|it| pods.contains_key(&pod_of(it))).count();
        let mut candidates: Vec<_> = family.deletes.drain(..).map(|it| (overlap(&it), it)).collect();
        candidates.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.key.cmp(&b.1.key)));
        let recycled: Vec<Arc<SliceView>> =
            candidates.drain(..count.min(candidates.len())).map(|it| it.1).collect();
        family.deletes.extend(candidates.into_iter().map(|it| it.1));
        // Positions of each recycled slice's own members, and of all others.
        let mut free = vec![true; endpoints.len()];
        let own: Vec<VecDeque<usize>> = recycled
            .iter()
            .map(|slice| {
                let members = slice.endpoints.iter().filter_map(|it| pods.get(&pod_of(it)).copied());
                members.filter(|at| std::mem::take(&mut free[*at])).collect()
            })
            .collect();
        let others: VecDeque<usize> = (0..endpoints.len()).filter(|at| free[*at]).collect();
        (recycled, own, others)
    };
    let (placeholder, reused) = (endpoints.is_empty(), !recycled.is_empty());
    let mut endpoints: Vec<Option<Arc<Endpoint>>> = endpoints.into_iter().map(Some).collect();
    let (mut own, mut others, mut left) = (own, others, endpoints.len());
    for (at, slice) in recycled.into_iter().enumerate() {
        let size = left.min(max);
        left -= size;
        let mut members = Vec::with_capacity(size);
        while members.len() < size {
            let (head, tail) = own.split_at_mut(at + 1);
            let next = head[at]
                .pop_front()
                .or_else(|| others.pop_front())
                // The last slices give first: they are written last.
                .or_else(|| tail.iter_mut().rev().find_map(VecDeque::pop_back));
            let Some(next) = next else { break };
            members.extend(endpoints[next].take());
        }
        // What is beyond the size of this slice has to be found by somebody else.
        others.extend(own[at].drain(..));
        family.updates.push((slice, content(members)));
    }
    let rest: Vec<_> = others.into_iter().filter_map(|at| endpoints[at].take()).collect();
    creates.extend(rest.chunks(max).map(|it| content(it.to_vec())));
    if placeholder && !reused {
        creates.push(content(Vec::new()));
    }
}
