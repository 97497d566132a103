//! The slices of one Service as the API server has them, as far as we know: watch events and the answers to our own writes.
//!
//! Pure. What we wrote counts at once; a watch event counts only if it is newer than what is known, so that an event that
//! trails a write of ours changes nothing. Kept with it: where each pod has its endpoints, and how full each slice is.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::endpointslice::model::{Endpoint, Family, PortSet, SliceView};
use crate::endpointslice::spacing::Pace;
use crate::k8s::watch::parse_version;

/// One slice.
#[derive(Debug)]
struct Slot {
    view: Arc<SliceView>,
    pace: Pace,
    /// Lists begun when we wrote it last: a list that began earlier says nothing about it.
    lists_begun: u64,
}

/// A write under way.
#[derive(Debug)]
struct Flight {
    kind: WriteKind,
    /// What the watch told of the slice meanwhile: most likely that very write.
    early: Option<SliceView>,
}

/// What a write under way does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteKind {
    /// Creates or updates.
    Store,
    /// Deletes.
    Delete,
}

/// Slices of equal ports by how full they are.
type Fill = BTreeSet<(usize, Arc<str>)>;

/// See the module.
#[derive(Debug, Default)]
pub struct SliceSet {
    slots: BTreeMap<Arc<str>, Box<Slot>>,
    /// Slices with an endpoint of the pod of this name; most pods have one for each family.
    placements: HashMap<Box<str>, Vec<Arc<str>>>,
    fill: BTreeMap<(Family, PortSet), Fill>,
    /// Slices that we removed, with their uids, until the watch has told so.
    buried: HashMap<Box<str>, String>,
    /// Slices with a write of ours under way.
    in_flight: HashMap<Box<str>, Flight>,
    /// Slices that a partial plan cannot deal with: without endpoints, or on their way out.
    odd: usize,
}

/// What a watch event was worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// Nothing: it was known.
    Known,
    /// Somebody else did something.
    Foreign,
}

impl SliceSet {
    /// Whether there is no slice.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty() && self.buried.is_empty()
    }

    /// Number of slices.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Every slice, ascending by name.
    pub fn list(&self) -> Vec<Arc<SliceView>> {
        self.slots.values().map(|it| Arc::clone(&it.view)).collect()
    }

    /// Names of all slices.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.slots.keys().map(|it| &**it)
    }

    /// The slice of that name.
    pub fn get(&self, name: &str) -> Option<&Arc<SliceView>> {
        self.slots.get(name).map(|it| &it.view)
    }

    /// How fast a slice is written.
    pub fn pace(&mut self, name: &str) -> Option<&mut Pace> {
        self.slots.get_mut(name).map(|it| &mut it.pace)
    }

    /// The pod changed, and with it its slices. One that is in no slice may enter any.
    pub fn changed(&mut self, pod: &str) {
        match self.placements.get(pod) {
            Some(slices) => {
                for name in slices {
                    if let Some(slot) = self.slots.get_mut(name) {
                        slot.pace.changed();
                    }
                }
            }
            None => self.slots.values_mut().for_each(|it| it.pace.changed()),
        }
    }

    /// Slices with an endpoint of this pod.
    pub fn of_pod(&self, pod: &str) -> &[Arc<str>] {
        self.placements.get(pod).map(Vec::as_slice).unwrap_or_default()
    }

    /// Whether any slice is beyond a partial plan.
    pub fn has_odd(&self) -> bool {
        self.odd > 0
    }

    /// Slices of a family.
    pub fn in_family(&self, family: Family) -> usize {
        self.slots.values().filter(|it| it.view.family == Some(family)).count()
    }

    /// The fullest slice of a group that has room for `more`; of equally full ones that whose name comes first.
    pub fn best_fit(
        &self,
        group: &(Family, PortSet),
        more: usize,
        max: usize,
        except: impl Fn(&str) -> bool,
    ) -> Option<Arc<SliceView>> {
        let fill = self.fill.get(group)?;
        let room = max.checked_sub(more)?;
        let mut best: Option<&(usize, Arc<str>)> = None;
        for candidate in fill.range(..(room + 1, Arc::from(""))).rev().filter(|it| !except(&it.1)) {
            if best.is_some_and(|it| it.0 != candidate.0) {
                break;
            }
            best = Some(candidate);
        }
        self.get(&best?.1).cloned()
    }

    /// Endpoints, slices, and slices there would be with perfect packing.
    pub fn tally(&self, max: usize) -> [i64; 3] {
        let groups = self.fill.values().map(|it| it.iter().map(|it| it.0).sum::<usize>());
        let (mut endpoints, mut perfect) = (0, 0);
        for total in groups {
            endpoints += total;
            perfect += total.div_ceil(max).max(1);
        }
        [endpoints as i64, self.len() as i64, perfect as i64]
    }

    /// Two slices to merge of a group that has twice as many as it needs, all of them quiet: the fullest with room for the
    /// emptiest, and that one.
    pub fn half_empty(
        &self,
        max: usize,
        quiet: impl Fn(&Pace) -> bool,
    ) -> Option<(Arc<SliceView>, Arc<SliceView>)> {
        self.fill.iter().find_map(|(group, slices)| {
            let total: usize = slices.iter().map(|it| it.0).sum();
            let (size, source) = slices.first()?;
            let is_quiet = |it: &(usize, Arc<str>)| self.slots.get(&it.1).is_some_and(|it| quiet(&it.pace));
            if slices.len() < 2 || slices.len() < 2 * total.div_ceil(max) || !slices.iter().all(is_quiet) {
                return None;
            }
            let target = self.best_fit(group, *size, max, |it| *it == **source)?;
            Some((target, Arc::clone(self.get(source)?)))
        })
    }

    /// A write of this slice leaves.
    pub fn begin(&mut self, name: &str, kind: WriteKind) {
        if let Some(pace) = self.pace(name) {
            pace.leaves();
        }
        self.in_flight.insert(name.into(), Flight { kind, early: None });
    }

    /// The write of this slice was answered, and [`SliceSet::wrote`] called if it was made.
    pub fn landed(&mut self, name: &str) -> News {
        match self.in_flight.remove(name).and_then(|it| it.early) {
            Some(early) => self.saw(early),
            None => News::Known,
        }
    }

    /// A watch event, or an object of a list.
    pub fn saw(&mut self, view: SliceView) -> News {
        if let Some(flight) = self.in_flight.get_mut(&*view.key.name) {
            flight.early = Some(view);
            return News::Known;
        }
        if self.buried.get(&*view.key.name).is_some_and(|uid| *uid == view.uid) {
            return News::Known;
        }
        let known = self.slots.get(&*view.key.name).map(|it| &it.view);
        if let Some(known) = known {
            let (before, now) = (known.resource_version(), view.resource_version());
            let trails = now != 0 && now <= before;
            if trails || (known.uid == view.uid && known.version == view.version) {
                return News::Known;
            }
        }
        self.put(Arc::new(view), None);
        News::Foreign
    }

    /// The answer to a write of ours. `lists_begun`: as counted then.
    pub fn wrote(&mut self, view: SliceView, lists_begun: u64) {
        let known = self.slots.get(&*view.key.name).map(|it| it.view.resource_version());
        let now = view.resource_version();
        // The watch may have been faster, and brought somebody else's change on top.
        if known.is_none_or(|it| now == 0 || now >= it) {
            self.put(Arc::new(view), Some(lists_begun));
        }
    }

    /// A slice of this uid that we deleted is gone.
    pub fn buried(&mut self, name: &str, uid: &str) {
        if self.slots.get(name).is_some_and(|it| it.view.uid == uid) {
            self.take(name);
            self.buried.insert(name.into(), uid.to_owned());
        }
    }

    /// A slice that the API server does not have.
    pub fn forget(&mut self, name: &str) {
        self.take(name);
    }

    /// The watch tells that a slice is gone, or ours no longer.
    pub fn saw_gone(&mut self, name: &str, version: u64) -> News {
        self.buried.remove(name);
        if let Some(flight) = self.in_flight.get_mut(name) {
            flight.early = None;
            if flight.kind == WriteKind::Delete {
                self.take(name);
                return News::Known;
            }
        }
        match self.slots.get(name) {
            Some(slot) if version == 0 || slot.view.resource_version() <= version => {
                self.take(name);
                News::Foreign
            }
            _ => News::Known,
        }
    }

    /// A list, begun as the one of this number, does not have the slice. `Foreign`: it is gone; `None`: it may have been
    /// written after the list was made, only the API server knows.
    pub fn missing_in_list(&mut self, name: &str, list: u64) -> Option<News> {
        match self.slots.get(name) {
            Some(slot) if slot.lists_begun >= list => None,
            Some(_) => {
                self.take(name);
                Some(News::Foreign)
            }
            None => Some(News::Known),
        }
    }

    /// A list is complete: what it did not name needs no grave any more.
    pub fn list_done(&mut self) {
        self.buried.clear();
    }

    fn put(&mut self, view: Arc<SliceView>, lists_begun: Option<u64>) {
        let name: Arc<str> = view.key.name.as_str().into();
        let old = self.take(&name);
        for pod in view.endpoints.iter().filter_map(|it| it.target.as_ref()) {
            let slices =
                self.placements.entry(pod.name.as_str().into()).or_insert_with(|| Vec::with_capacity(1));
            if slices.last() != Some(&name) {
                slices.push(Arc::clone(&name));
            }
        }
        if let Some(family) = view.family {
            let group = self.fill.entry((family, view.ports.clone())).or_default();
            group.insert((view.endpoints.len(), Arc::clone(&name)));
        }
        self.odd += usize::from(odd(&view));
        let (pace, before) = old.map(|it| (it.pace, it.lists_begun)).unwrap_or_default();
        let slot = Slot { view, pace, lists_begun: lists_begun.unwrap_or(before) };
        self.slots.insert(name, Box::new(slot));
    }

    fn take(&mut self, name: &str) -> Option<Box<Slot>> {
        let slot = self.slots.remove(name)?;
        for pod in slot.view.endpoints.iter().filter_map(|it| it.target.as_ref()) {
            if let Some(slices) = self.placements.get_mut(&*pod.name) {
                slices.retain(|it| **it != *name);
                if slices.is_empty() {
                    self.placements.remove(&*pod.name);
                }
            }
        }
        if let Some(family) = slot.view.family {
            let key = (family, slot.view.ports.clone());
            if let Some(group) = self.fill.get_mut(&key) {
                group.remove(&(slot.view.endpoints.len(), Arc::from(name)));
                if group.is_empty() {
                    self.fill.remove(&key);
                }
            }
        }
        self.odd -= usize::from(odd(&slot.view));
        Some(slot)
    }
}

/// Without endpoints, on its way out, of no family, or with an endpoint that belongs to no pod.
fn odd(view: &SliceView) -> bool {
    view.endpoints.is_empty()
        || view.terminating
        || view.family.is_none()
        || view.endpoints.iter().any(|it| it.target.is_none())
}

/// Whether an endpoint is that of the pod of this name; both are of one namespace.
pub fn is_of(endpoint: &Endpoint, pod: &str) -> bool {
    endpoint.target.as_ref().is_some_and(|it| it.name == pod)
}

/// The version of a deletion as the watch tells it.
pub fn version(text: Option<&str>) -> u64 {
    parse_version(text)
}
