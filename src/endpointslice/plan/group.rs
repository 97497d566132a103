//! One port set of one family: what stays, stays where it is; what is new goes where a write happens anyway.
//!
//! Pure. Source: kubernetes `staging/src/k8s.io/endpointslice/reconciler.go` (`reconcileByPortMapping`).

use std::collections::HashMap;
use std::sync::Arc;

use crate::endpointslice::model::{Endpoint, Identity, SliceView};

/// A slice that is written, with the endpoints it is to hold.
#[derive(Debug, Clone)]
pub struct Touched {
    /// The slice as it is.
    pub slice: Arc<SliceView>,
    /// At most the maximum.
    pub endpoints: Vec<Arc<Endpoint>>,
}

/// A slice that holds what it should.
#[derive(Debug)]
pub struct Kept {
    /// The slice.
    pub slice: Arc<SliceView>,
    /// Where its endpoints stand in the list of desired ones.
    pub at: Vec<usize>,
}

/// The slices of a group by what becomes of them.
#[derive(Debug, Default)]
pub struct Sorted {
    /// Nothing; ascending by name.
    pub unchanged: Vec<Kept>,
    /// They are written.
    pub touched: Vec<Touched>,
    /// They held endpoints and hold none that is desired.
    pub emptied: Vec<Arc<SliceView>>,
    /// Endpoints that no slice holds.
    pub new: Vec<Arc<Endpoint>>,
    /// How many endpoints left.
    pub removed: usize,
}

impl Sorted {
    /// Compares every slice of the group with the desired endpoints. `fits`: a slice has the right labels.
    pub fn of(
        wanted: &[Arc<Endpoint>],
        slices: Vec<Arc<SliceView>>,
        fits: impl Fn(&SliceView) -> bool,
    ) -> Self {
        let index: HashMap<Identity<'_>, usize> =
            wanted.iter().enumerate().map(|(at, it)| (it.identity(), at)).collect();
        let mut placed = vec![false; wanted.len()];
        let mut sorted = Self::default();
        for slice in slices {
            let mut kept = Vec::with_capacity(slice.endpoints.len());
            let mut changed = false;
            for endpoint in &slice.endpoints {
                match index.get(&endpoint.identity()).filter(|at| !placed[**at]) {
                    Some(at) => {
                        placed[*at] = true;
                        changed |= !wanted[*at].same_but_hints(endpoint);
                        kept.push(*at);
                    }
                    None => {
                        sorted.removed += 1;
                        changed = true;
                    }
                }
            }
            if changed && kept.is_empty() {
                sorted.emptied.push(slice);
            } else if changed || !fits(&slice) {
                let endpoints = kept.into_iter().map(|at| Arc::clone(&wanted[at])).collect();
                sorted.touched.push(Touched { slice, endpoints });
            } else {
                sorted.unchanged.push(Kept { slice, at: kept });
            }
        }
        let new = wanted.iter().zip(&placed).filter(|(_, placed)| !**placed);
        sorted.new = new.map(|(it, _)| Arc::clone(it)).collect();
        sorted
    }

    /// Puts the new endpoints into slices that are written anyway, fullest first, and the rest that makes no full slice into
    /// the unchanged slice that ends up fullest. Returns those that need slices of their own.
    pub fn place(&mut self, wanted: &[Arc<Endpoint>], max: usize) -> Vec<Arc<Endpoint>> {
        let (unchanged, mut filled) = (&mut self.unchanged, Vec::new());
        let rest = place(&mut self.touched, std::mem::take(&mut self.new), max, |rest| {
            let fitting =
                unchanged.iter().enumerate().filter(|(_, it)| it.slice.endpoints.len() + rest <= max);
            let best = fitting.max_by(|(_, a), (_, b)| {
                let by_name = || b.slice.key.cmp(&a.slice.key);
                a.slice.endpoints.len().cmp(&b.slice.endpoints.len()).then_with(by_name)
            });
            let at = best.map(|(at, _)| at)?;
            let kept = unchanged.remove(at);
            filled = kept.at;
            Some(kept.slice)
        });
        // The slice that takes the rest comes last. Its own endpoints get the hints they should have.
        if let Some(last) = self.touched.last_mut() {
            for (slot, at) in last.endpoints.iter_mut().zip(filled) {
                *slot = Arc::clone(&wanted[at]);
            }
        }
        rest
    }
}

/// See [`Sorted::place`]. `best_fit`: takes out the fullest unchanged slice that has room for so many more endpoints; of
/// equally full ones that whose name comes first.
pub fn place(
    touched: &mut Vec<Touched>,
    mut new: Vec<Arc<Endpoint>>,
    max: usize,
    best_fit: impl FnOnce(usize) -> Option<Arc<SliceView>>,
) -> Vec<Arc<Endpoint>> {
    if new.is_empty() {
        return new;
    }
    touched.sort_by(|a, b| {
        b.endpoints.len().cmp(&a.endpoints.len()).then_with(|| a.slice.key.cmp(&b.slice.key))
    });
    for slice in touched.iter_mut() {
        let room = max.saturating_sub(slice.endpoints.len()).min(new.len());
        slice.endpoints.extend(new.drain(..room));
    }
    let rest = new.len() % max;
    // The rest is never split over several unchanged slices.
    if rest > 0
        && let Some(slice) = best_fit(rest)
    {
        let taken = new.split_off(new.len() - rest);
        let endpoints = slice.endpoints.iter().cloned().chain(taken).collect();
        touched.push(Touched { slice, endpoints });
    }
    new
}
