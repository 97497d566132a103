//! What the EndpointSlice controller knows, arranged so that one event costs what it touches.
//!
//! watch events, answers to writes ──▶ [`Index`] ──▶ Services to look at; one Service ──▶ [`Planned`]
//!
//! Pure and synchronous: no I/O, no clock. A pod event finds its Services through their anchor labels and marks the pod in
//! them; the plan of a Service then looks at the marked pods and the slices that hold them, not at the rest. Whatever is
//! unusual (a new Service, another selector, a foreign hand on a slice, a failed write) marks the whole Service, and it is
//! planned from scratch. **Invariant.** In a Service that is not marked, the slices hold what a plan from scratch wants:
//! [`Index::audit`] recomputes and compares.

mod audit;
mod compaction;
mod intern;
pub mod partial;
mod pods;
mod service;
pub mod slices;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use self::intern::Interner;
use self::pods::{Members, PodId};
use self::service::{Dirty, ServiceState};
use self::slices::News;
use super::hints::ZoneShares;
use super::model::{Labels, NodeView, PodView, ServiceView, SliceView, Topology};
use crate::model::ObjectKey;

pub use self::service::{Planned, Quarantined, Tally};

/// A label pair of a namespace.
type Pair = Box<str>;

fn pair(namespace: &str, key: &str, value: &str) -> Pair {
    // None of the three can contain a space.
    format!("{namespace} {key} {value}").into()
}

/// See the module.
#[derive(Debug, Default)]
pub struct Index {
    /// Their keys are shared with the pods they select.
    services: HashMap<Arc<ObjectKey>, ServiceState>,
    /// Services by the pair of their selector that the fewest pods carried, and the fewest Services were filed under, when
    /// they were filed.
    anchors: HashMap<Pair, Vec<Arc<ObjectKey>>>,
    pods: Members,
    interner: Interner,
    nodes: HashMap<String, NodeRecord>,
    shares: ZoneShares,
    /// Services with topology mode `Auto`.
    auto: BTreeSet<ObjectKey>,
    /// What gauges show of Services of which nothing is known any more.
    gone: HashMap<ObjectKey, Tally>,
    /// The Service each slice names.
    holders: HashMap<ObjectKey, ObjectKey>,
    /// Lists of slices begun so far.
    lists_begun: u64,
}

#[derive(Debug, Default)]
struct NodeRecord {
    /// `None`: pods name it, but there is no such node.
    view: Option<Arc<NodeView>>,
    pods: BTreeSet<PodId>,
}

/// Whether a pod event leads to work; the label of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// No Service selects the pod.
    Ignored,
    /// Nothing a plan reads has changed.
    Unchanged,
    /// Services have to be looked at.
    Planned,
}

/// Services to look at.
pub type Wake = Vec<ObjectKey>;

fn keys(services: &[Arc<ObjectKey>]) -> Wake {
    services.iter().map(|it| (**it).clone()).collect()
}

impl Index {
    /// A Service as it is now.
    pub fn apply_service(&mut self, view: ServiceView) -> Wake {
        let key = view.key.clone();
        let state = self.services.entry(Arc::new(key.clone())).or_default();
        if state.view.as_deref() == Some(&view) {
            return Vec::new();
        }
        let view = Arc::new(view);
        let old = state.view.replace(Arc::clone(&view));
        if old.as_ref().is_some_and(|it| it.uid != view.uid) {
            state.restart();
        }
        state.dirty = Dirty::All;
        if old.as_ref().is_none_or(|it| it.selector != view.selector) {
            self.file(&view);
        }
        if view.topology == Topology::Auto {
            self.auto.insert(key.clone());
        } else {
            self.auto.remove(&key);
        }
        vec![key]
    }

    /// A Service is gone. Its slices go with it by garbage collection.
    pub fn remove_service(&mut self, key: &ObjectKey) -> Wake {
        self.unfile(key);
        self.auto.remove(key);
        let Some(state) = self.services.get_mut(key) else { return Vec::new() };
        state.view = None;
        state.restart();
        if state.slices.is_empty() {
            self.forget_service(key);
        }
        vec![key.clone()]
    }

    /// A complete list of Services.
    pub fn replace_services(&mut self, list: Vec<ServiceView>) -> Wake {
        let mut gone: BTreeSet<ObjectKey> =
            self.services.iter().filter(|it| it.1.view.is_some()).map(|it| (**it.0).clone()).collect();
        let mut wake = Vec::new();
        for view in list {
            gone.remove(&view.key);
            wake.extend(self.apply_service(view));
        }
        wake.extend(gone.iter().flat_map(|it| self.remove_service(it)));
        wake
    }

    /// Drops what is known of a Service, but for what gauges still show of it.
    fn forget_service(&mut self, key: &ObjectKey) {
        if let Some(state) = self.services.remove(key)
            && state.counted != Tally::default()
        {
            self.gone.insert(key.clone(), state.counted);
        }
    }

    /// Files a Service under its anchor and finds its members.
    fn file(&mut self, view: &ServiceView) {
        self.unfile(&view.key);
        let namespace = &view.key.namespace;
        let pairs = view.selector.iter().map(|(key, value)| pair(namespace, key, value));
        let filed = |it: &Pair| self.anchors.get(it).map_or(0, Vec::len);
        let anchor = pairs.min_by_key(|it| (self.pods.carriers(it), filed(it)));
        let members: Vec<PodId> = match &anchor {
            Some(anchor) => self.pods.matching(anchor, |labels| view.selects(labels)),
            None => Vec::new(),
        };
        let Some((shared, _)) = self.services.get_key_value(&view.key) else { return };
        let shared = Arc::clone(shared);
        for pod in &members {
            self.pods.join(*pod, &shared);
        }
        let Some(state) = self.services.get_mut(&view.key) else { return };
        state.members = members.into_iter().collect();
        if let Some(anchor) = anchor {
            self.anchors.entry(anchor.clone()).or_default().push(shared);
            state.anchor = Some(anchor);
        }
    }

    fn unfile(&mut self, key: &ObjectKey) {
        let Some(state) = self.services.get_mut(key) else { return };
        if let Some(anchor) = state.anchor.take()
            && let Some(filed) = self.anchors.get_mut(&anchor)
        {
            filed.retain(|it| **it != *key);
            if filed.is_empty() {
                self.anchors.remove(&anchor);
            }
        }
        for pod in std::mem::take(&mut state.members) {
            self.pods.leave(pod, key);
        }
    }

    /// The Services whose selector matches these labels, ascending.
    fn selecting(&self, namespace: &str, labels: &Labels) -> Vec<Arc<ObjectKey>> {
        let mut found = Vec::new();
        for (key, value) in labels.iter() {
            let Some(filed) = self.anchors.get(&pair(namespace, key, value)) else { continue };
            let matches = |it: &&Arc<ObjectKey>| {
                let state = self.services.get(*it).and_then(|it| it.view.as_ref());
                state.is_some_and(|it| it.selects(labels))
            };
            found.extend(filed.iter().filter(matches).cloned());
        }
        found.sort();
        found
    }

    /// A pod as it is now.
    pub fn apply_pod(&mut self, mut view: PodView) -> (Verdict, Wake) {
        let id = self.pods.id_of(&view.key);
        let old = id.and_then(|it| self.pods.view(it)).cloned();
        if let (Some(id), Some(old)) = (id, &old)
            && **old == view
        {
            self.pods.seen(id);
            return (Verdict::Unchanged, Vec::new());
        }
        self.interner.share(&mut view);
        let (key, view) = (view.key.clone(), Arc::new(view));
        let relabelled = old.as_ref().is_none_or(|it| it.labels != view.labels);
        let id = self.pods.put(id, &view);
        if let Some(old) = old.as_ref().filter(|it| it.node_name != view.node_name) {
            self.leave_node(&old.node_name, id);
        }
        if old.as_ref().is_none_or(|it| it.node_name != view.node_name) && !view.node_name.is_empty() {
            self.nodes.entry(view.node_name.to_string()).or_default().pods.insert(id);
        }
        let before = self.pods.services(id).to_vec();
        let mut wake = keys(&before);
        if relabelled {
            let now = self.selecting(&key.namespace, &view.labels);
            for service in before.iter().filter(|it| !now.contains(it)) {
                if let Some(state) = self.services.get_mut(&**service) {
                    state.members.remove(&id);
                }
            }
            for service in now.iter().filter(|it| !before.contains(it)) {
                if let Some(state) = self.services.get_mut(service) {
                    state.members.insert(id);
                }
                wake.push((**service).clone());
            }
            self.pods.set_services(id, now);
        }
        self.mark(&wake, &key.name);
        (if wake.is_empty() { Verdict::Ignored } else { Verdict::Planned }, wake)
    }

    /// A pod is gone.
    pub fn remove_pod(&mut self, key: &ObjectKey) -> (Verdict, Wake) {
        let Some(id) = self.pods.id_of(key) else { return (Verdict::Ignored, Vec::new()) };
        let wake = keys(self.pods.services(id));
        if let Some(node) = self.pods.view(id).map(|it| it.node_name.clone()) {
            self.leave_node(&node, id);
        }
        for service in &wake {
            if let Some(state) = self.services.get_mut(service) {
                state.members.remove(&id);
            }
        }
        self.pods.remove(id);
        self.mark(&wake, &key.name);
        (if wake.is_empty() { Verdict::Ignored } else { Verdict::Planned }, wake)
    }

    /// A list of pods begins.
    pub fn begin_pod_list(&mut self) {
        self.pods.begin_list();
    }

    /// Every pod of the list was applied: those that were not in it are gone.
    pub fn end_pod_list(&mut self) -> Wake {
        let mut wake = BTreeSet::new();
        for key in self.pods.not_listed() {
            wake.extend(self.remove_pod(&key).1);
        }
        wake.into_iter().collect()
    }

    fn leave_node(&mut self, node: &str, id: PodId) {
        if let Some(record) = self.nodes.get_mut(node) {
            record.pods.remove(&id);
            if record.pods.is_empty() && record.view.is_none() {
                self.nodes.remove(node);
            }
        }
    }

    /// Marks a pod in Services.
    fn mark(&mut self, services: &[ObjectKey], pod: &str) {
        for service in services {
            if let Some(state) = self.services.get_mut(service) {
                state.dirty.add(pod);
                state.slices.changed(pod);
            }
        }
    }

    /// A node as it is now: its pods may get, lose or change their zone.
    pub fn apply_node(&mut self, view: NodeView) -> Wake {
        let record = self.nodes.entry(view.name.clone()).or_default();
        let old = record.view.replace(Arc::new(view));
        let view = Arc::clone(record.view.as_ref().expect("just set"));
        let zone_changed = old.as_ref().is_none_or(|it| it.zone != view.zone);
        let weight = |it: &NodeView| (it.zone.clone(), it.ready, it.milli_cpu, it.control_plane);
        let mut wake = if zone_changed { self.touch_node(&view.name) } else { Vec::new() };
        if old.is_none_or(|it| weight(&it) != weight(&view)) {
            wake.extend(self.weigh_zones());
        }
        wake
    }

    /// A node is gone: its pods are no endpoints any more, unless unready addresses are published.
    pub fn remove_node(&mut self, name: &str) -> Wake {
        let Some(record) = self.nodes.get_mut(name) else { return Vec::new() };
        if record.view.take().is_none() {
            return Vec::new();
        }
        let mut wake = self.touch_node(name);
        if self.nodes.get(name).is_some_and(|it| it.pods.is_empty()) {
            self.nodes.remove(name);
        }
        wake.extend(self.weigh_zones());
        wake
    }

    /// A complete list of nodes.
    pub fn replace_nodes(&mut self, list: Vec<NodeView>) -> Wake {
        let mut gone: BTreeSet<String> =
            self.nodes.iter().filter(|it| it.1.view.is_some()).map(|it| it.0.clone()).collect();
        let mut wake = BTreeSet::new();
        for view in list {
            gone.remove(&view.name);
            wake.extend(self.apply_node(view));
        }
        wake.extend(gone.iter().flat_map(|it| self.remove_node(it)));
        wake.into_iter().collect()
    }

    fn touch_node(&mut self, name: &str) -> Wake {
        let Some(record) = self.nodes.get(name) else { return Vec::new() };
        let mut wake = BTreeSet::new();
        for id in record.pods.clone() {
            let Some(pod) = self.pods.view(id).map(|it| it.key.name.clone()) else { continue };
            let services = keys(self.pods.services(id));
            self.mark(&services, &pod);
            wake.extend(services);
        }
        wake.into_iter().collect()
    }

    /// Weighs the zones anew; Services that share endpoints out between them have to be looked at if that changes anything.
    fn weigh_zones(&mut self) -> Wake {
        let shares = ZoneShares::of(self.nodes.values().filter_map(|it| it.view.as_deref()));
        if shares == self.shares {
            return Vec::new();
        }
        self.shares = shares;
        for key in &self.auto {
            if let Some(state) = self.services.get_mut(key) {
                state.dirty = Dirty::All;
            }
        }
        self.auto.iter().cloned().collect()
    }

    /// The node a pod names, if it exists.
    fn node(&self, name: &str) -> Option<Arc<NodeView>> {
        self.nodes.get(name)?.view.clone()
    }

    /// A list of slices begins; what it will show includes every write made before now.
    pub fn begin_slice_list(&mut self) {
        self.lists_begun += 1;
    }

    /// A slice as a watch event tells it.
    pub fn apply_slice(&mut self, view: SliceView) -> Wake {
        let key = ObjectKey::new(view.key.namespace.clone(), view.service.clone());
        let mut wake = Vec::new();
        // A slice may be handed from one Service to another by its label.
        let holder = self.holders.insert(view.key.clone(), key.clone());
        if let Some(holder) = holder.filter(|it| *it != key)
            && let Some(state) = self.services.get_mut(&holder)
        {
            state.slices.forget(&view.key.name);
            state.dirty = Dirty::All;
            wake.push(holder);
        }
        let state = self.services.entry(Arc::new(key.clone())).or_default();
        if state.slices.saw(view) == News::Foreign {
            state.dirty = Dirty::All;
            wake.push(key);
        }
        wake
    }

    /// A slice is gone, or carries our label no longer; `version`: that of the event.
    pub fn remove_slice(&mut self, slice: &ObjectKey, version: u64) -> Wake {
        let Some(key) = self.holders.get(slice).cloned() else { return Vec::new() };
        let Some(state) = self.services.get_mut(&key) else { return Vec::new() };
        let news = state.slices.saw_gone(&slice.name, version);
        if state.slices.get(&slice.name).is_none() {
            self.holders.remove(slice);
        }
        if state.view.is_none() && state.slices.is_empty() {
            self.forget_service(&key);
            return Vec::new();
        }
        if news == News::Known {
            return Vec::new();
        }
        state.dirty = Dirty::All;
        vec![key]
    }

    /// A complete list of slices.
    pub fn replace_slices(&mut self, list: Vec<SliceView>) -> Wake {
        let mut known: BTreeSet<(ObjectKey, Box<str>)> = BTreeSet::new();
        for (key, state) in &self.services {
            known.extend(state.slices.names().map(|it| ((**key).clone(), it.into())));
        }
        let mut wake = BTreeSet::new();
        for view in list {
            let service = ObjectKey::new(view.key.namespace.clone(), view.service.clone());
            known.remove(&(service, view.key.name.as_str().into()));
            wake.extend(self.apply_slice(view));
        }
        for (key, name) in known {
            let Some(state) = self.services.get_mut(&key) else { continue };
            match state.slices.missing_in_list(&name, self.lists_begun) {
                Some(News::Known) => {}
                Some(News::Foreign) => {
                    state.dirty = Dirty::All;
                    wake.insert(key);
                }
                None => {
                    state.doubtful.insert(name);
                    wake.insert(key);
                }
            }
        }
        for state in self.services.values_mut() {
            state.slices.list_done();
        }
        wake.into_iter().collect()
    }
}
