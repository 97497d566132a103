//! One Service: what has changed since it was planned, and its next plan.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;

use super::pods::PodId;
use super::slices::{News, SliceSet, WriteKind};
use super::{Index, Pair, partial};
use crate::endpointslice::desired::{desired, of_pod};
use crate::endpointslice::hints::Disabled;
use crate::endpointslice::model::{Family, PodView, ServiceView, SliceView, Topology};
use crate::endpointslice::plan::{Plan, Write, owned_by, plan};
use crate::endpointslice::spacing::Pace;
use crate::endpointslice::trigger::Tracker;
use crate::model::ObjectKey;

/// What has to be looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Dirty {
    /// Nothing.
    #[default]
    Clean,
    /// The pods of these names.
    Pods(BTreeSet<Box<str>>),
    /// Everything.
    All,
}

impl Dirty {
    /// Marks one pod.
    pub fn add(&mut self, pod: &str) {
        match self {
            Self::All => {}
            Self::Pods(pods) => drop(pods.insert(pod.into())),
            Self::Clean => *self = Self::Pods([Box::from(pod)].into()),
        }
    }

    /// Marks what `other` marks.
    pub fn merge(&mut self, other: Self) {
        match (&mut *self, other) {
            (Self::All, _) | (_, Self::Clean) => {}
            (Self::Pods(pods), Self::Pods(more)) => pods.extend(more),
            (_, other) => *self = other,
        }
    }
}

/// What is known of one Service.
#[derive(Debug, Default)]
pub struct ServiceState {
    /// `None`: there is no such Service, only slices that name it.
    pub view: Option<Arc<ServiceView>>,
    /// Where it is filed.
    pub anchor: Option<Pair>,
    /// The pods its selector matches.
    pub members: BTreeSet<PodId>,
    /// Our slices that name it.
    pub slices: SliceSet,
    /// What has to be looked at.
    pub dirty: Dirty,
    /// Slices of which only the API server knows whether they exist.
    pub doubtful: BTreeSet<Box<str>>,
    /// Names of creations whose outcome is unknown. They are used again first, so that no slice is made twice.
    pub unsure_names: Vec<String>,
    tracker: Tracker,
    /// What was counted of it last: see [`Tally`].
    pub(super) counted: Tally,
    /// Two half-empty slices to merge, once nothing else is to be written: the one that stays, and the other.
    pub(super) merge: Option<(Arc<SliceView>, Arc<SliceView>)>,
    /// Pods that the API server refuses as endpoints, with their addresses then.
    quarantine: BTreeMap<Box<str>, Box<[IpAddr]>>,
    zones: BTreeMap<Family, Result<(), Disabled>>,
}

impl ServiceState {
    /// The Service is another one of the same name, or gone.
    pub fn restart(&mut self) {
        self.dirty = Dirty::All;
        self.tracker = Tracker::default();
        self.quarantine.clear();
        self.zones.clear();
        self.unsure_names.clear();
    }
}

/// The next step of one Service.
#[derive(Debug)]
pub struct Planned {
    /// The Service as it was planned.
    pub service: Arc<ServiceView>,
    /// Its writes.
    pub plan: Plan,
    /// The trigger time to write.
    pub trigger: Option<Timestamp>,
    /// What was looked at; hand it back to [`Index::postpone`] for what is left undone.
    pub taken: Dirty,
    /// News about topology mode `Auto`, by family.
    pub zones: Vec<(Family, Result<(), Disabled>)>,
}

/// What gauges show of one Service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Endpoints, slices, and slices with perfect packing.
    pub numbers: [i64; 3],
    /// `spec.trafficDistribution` where it counts.
    pub distribution: String,
}

/// An endpoint that the API server refuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantined {
    /// Name of the pod.
    pub pod: String,
    /// Its addresses.
    pub addresses: Vec<String>,
}

/// Services of which something is remembered are kept while it is needed; everything here is about one of them.
impl Index {
    /// Slices to look up past the cache before the Service is planned.
    pub fn doubtful(&self, key: &ObjectKey) -> Vec<String> {
        self.services
            .get(key)
            .map(|it| it.doubtful.iter().map(ToString::to_string).collect())
            .unwrap_or_default()
    }

    /// What the API server said about a doubtful slice.
    pub fn looked_up(&mut self, key: &ObjectKey, name: &str, found: Option<SliceView>) {
        let lists_begun = self.lists_begun;
        let Some(state) = self.services.get_mut(key) else { return };
        state.doubtful.remove(name);
        state.dirty = Dirty::All;
        match found {
            Some(view) if view.service == key.name => state.slices.wrote(view, lists_begun),
            _ => state.slices.forget(name),
        }
    }

    /// What gauges showed of the Service before, and what they have to show now.
    pub fn count(&mut self, key: &ObjectKey, max: usize) -> (Tally, Tally) {
        let gone = self.gone.remove(key).unwrap_or_default();
        let Some(state) = self.services.get_mut(key) else { return (gone, Tally::default()) };
        let managed = state.view.as_ref().filter(|it| it.managed());
        let now = managed.map_or_else(Tally::default, |it| Tally {
            numbers: state.slices.tally(max),
            distribution: it.traffic_distribution.clone(),
        });
        let mut before = std::mem::replace(&mut state.counted, now.clone());
        if before == Tally::default() {
            before = gone;
        }
        (before, now)
    }

    /// The Service, if the controllers write slices for it.
    pub fn managed(&self, key: &ObjectKey) -> Option<&Arc<ServiceView>> {
        self.services.get(key)?.view.as_ref().filter(|it| it.managed())
    }

    /// Whether there is such a Service.
    pub fn exists(&self, key: &ObjectKey) -> bool {
        self.services.get(key).is_some_and(|it| it.view.is_some())
    }

    /// A pod as it is known.
    pub fn pod(&self, key: &ObjectKey) -> Option<&PodView> {
        self.pods.id_of(key).and_then(|it| self.pods.view(it)).map(|it| &**it)
    }

    /// The pods a Service selects, ascending by name.
    pub fn members(&self, key: &ObjectKey) -> Vec<Arc<PodView>> {
        let Some(state) = self.services.get(key) else { return Vec::new() };
        let mut pods: Vec<_> = state.members.iter().filter_map(|it| self.pods.view(*it)).cloned().collect();
        pods.sort_by(|a, b| a.key.cmp(&b.key));
        pods
    }

    /// Plans what is marked and unmarks it; `None`: the Service is not managed.
    pub fn plan(&mut self, key: &ObjectKey, max: usize) -> Option<Planned> {
        let service = Arc::clone(self.managed(key)?);
        let state = self.services.get_mut(key)?;
        let taken = std::mem::take(&mut state.dirty);
        let names: Option<Vec<Box<str>>> = match &taken {
            Dirty::Clean => Some(Vec::new()),
            Dirty::Pods(pods) => Some(pods.iter().cloned().collect()),
            Dirty::All => None,
        };
        let state = self.services.get(key)?;
        let partial = names.filter(|_| {
            service.topology != Topology::Auto && !service.terminating && !state.slices.has_odd()
        });
        let changes = partial.as_ref().map(|names| {
            let change = |name: &str| {
                let pod = self.member(state, &service.key.namespace, name);
                let wanted = pod.and_then(|pod| {
                    if state.refused(pod) {
                        return None;
                    }
                    let node = Some(&*pod.node_name).filter(|it| !it.is_empty());
                    of_pod(&service, pod, node.and_then(|it| self.node(it)).as_deref())
                });
                partial::Change { pod: name.into(), wanted }
            };
            names.iter().map(|it| change(it)).collect::<Vec<_>>()
        });
        let quick = changes.and_then(|it| partial::plan(&service, &state.slices, it, max));
        let (plan, times) = match quick {
            Some(plan) => {
                let names = partial.unwrap_or_default();
                let times: Vec<(Box<str>, Option<Timestamp>)> = names
                    .into_iter()
                    .map(|name| {
                        let pod = self.member(state, &service.key.namespace, &name);
                        let at = pod.and_then(|it| it.ready_since);
                        (name, at)
                    })
                    .collect();
                (plan, Some(times))
            }
            None => (self.plan_all(key, max)?, None),
        };
        let all: Option<Vec<_>> = times.is_none().then(|| {
            let members = state.members.iter().filter_map(|it| self.pods.view(*it));
            members.map(|it| (it.key.name.as_str().into(), it.ready_since)).collect()
        });
        let state = self.services.get_mut(key)?;
        let trigger = match (times, all) {
            (Some(times), _) => state.tracker.observe_some(&service, times),
            (None, all) => state.tracker.observe(&service, all.unwrap_or_default()),
        };
        let mut zones = Vec::new();
        for (family, outcome) in &plan.zones {
            let known = state.zones.insert(*family, outcome.clone());
            if known.as_ref() != Some(outcome) {
                zones.push((*family, outcome.clone()));
            }
        }
        if service.topology != Topology::Auto {
            // Hints were shared out before and are not any more.
            let ended = std::mem::take(&mut state.zones).into_iter().filter(|it| it.1.is_ok());
            let text = "Topology Aware Hints has been disabled".to_owned();
            zones.extend(ended.map(|(family, _)| (family, Err(Disabled(text.clone())))));
        }
        Some(Planned { service, plan, trigger, taken, zones })
    }

    /// The plan from scratch.
    pub(super) fn plan_all(&self, key: &ObjectKey, max: usize) -> Option<Plan> {
        let service = self.managed(key)?;
        let state = self.services.get(key)?;
        let members = state.members.iter().filter_map(|it| self.pods.view(*it));
        let mut pods: Vec<Arc<PodView>> = members.filter(|it| !state.refused(it)).cloned().collect();
        pods.sort_by(|a, b| a.key.cmp(&b.key));
        let desired = desired(service, &pods, |name| self.node(name));
        Some(plan(service, &state.slices.list(), &desired, max, &self.shares))
    }

    fn member(&self, state: &ServiceState, namespace: &str, name: &str) -> Option<&Arc<PodView>> {
        let id = self.pods.id_of(&ObjectKey::new(namespace, name))?;
        state.members.contains(&id).then(|| self.pods.view(id)).flatten()
    }

    /// The slices to delete of a Service that exists and is not managed (any more).
    pub fn unmanaged(&self, key: &ObjectKey) -> Option<(Arc<ServiceView>, Vec<Write>)> {
        let state = self.services.get(key)?;
        let service = state.view.as_ref().filter(|it| !it.managed())?;
        let ours = state.slices.list().into_iter().filter(|it| !it.terminating && owned_by(it, service));
        Some((Arc::clone(service), ours.map(Write::Delete).collect()))
    }

    /// The answer to a write.
    pub fn wrote(&mut self, key: &ObjectKey, view: SliceView) {
        let lists_begun = self.lists_begun;
        if let Some(state) = self.services.get_mut(key) {
            self.holders.insert(view.key.clone(), key.clone());
            state.slices.wrote(view, lists_begun);
        }
    }

    /// A write of this slice leaves.
    pub fn begin(&mut self, key: &ObjectKey, slice: &str, kind: WriteKind) {
        if let Some(state) = self.services.get_mut(key) {
            state.slices.begin(slice, kind);
        }
    }

    /// A write of this slice was answered and booked.
    pub fn landed(&mut self, key: &ObjectKey, slice: &str) -> News {
        self.services.get_mut(key).map_or(News::Known, |it| it.slices.landed(slice))
    }

    /// A slice as we know it.
    pub fn slice(&self, key: &ObjectKey, slice: &str) -> Option<Arc<SliceView>> {
        self.services.get(key)?.slices.get(slice).cloned()
    }

    /// There is no such slice.
    pub fn missing(&mut self, key: &ObjectKey, slice: &str) {
        if let Some(state) = self.services.get_mut(key) {
            state.slices.forget(slice);
            state.dirty = Dirty::All;
        }
    }

    /// A slice of this uid was deleted.
    pub fn buried(&mut self, key: &ObjectKey, slice: &SliceView) {
        if let Some(state) = self.services.get_mut(key) {
            state.slices.buried(&slice.key.name, &slice.uid);
        }
    }

    /// A write met something else than we knew: the slice has to be looked up.
    pub fn doubt(&mut self, key: &ObjectKey, slice: &str) {
        if let Some(state) = self.services.get_mut(key) {
            state.doubtful.insert(slice.into());
            state.dirty = Dirty::All;
        }
    }

    /// A write failed: everything has to be looked at again.
    pub fn failed(&mut self, key: &ObjectKey) {
        if let Some(state) = self.services.get_mut(key) {
            state.dirty = Dirty::All;
        }
    }

    /// Some writes of a plan wait: what it looked at has to be looked at again.
    pub fn postpone(&mut self, key: &ObjectKey, taken: Dirty) {
        if let Some(state) = self.services.get_mut(key) {
            state.dirty.merge(taken);
        }
    }

    /// Every write of a plan was made: the trigger time is published.
    pub fn published(&mut self, key: &ObjectKey) {
        if let Some(state) = self.services.get_mut(key) {
            state.tracker.written();
        }
    }

    /// The API server refuses these endpoints; they are left out until their pod has other addresses.
    pub fn quarantine(&mut self, key: &ObjectKey, pods: &[Quarantined]) {
        let Some(state) = self.services.get_mut(key) else { return };
        state.dirty = Dirty::All;
        for refused in pods {
            let id = self.pods.id_of(&ObjectKey::new(key.namespace.as_str(), refused.pod.as_str()));
            if let Some(pod) = id.and_then(|it| self.pods.view(it)) {
                state.quarantine.insert(refused.pod.as_str().into(), pod.ips.clone());
            }
        }
    }

    /// The pace of one slice.
    pub fn pace(&mut self, key: &ObjectKey, slice: &str) -> Option<&mut Pace> {
        self.services.get_mut(key)?.slices.pace(slice)
    }

    /// A name whose creation had an unknown outcome.
    pub fn take_unsure_name(&mut self, key: &ObjectKey) -> Option<String> {
        let state = self.services.get_mut(key)?;
        state.unsure_names.retain(|name| state.slices.get(name).is_none());
        state.unsure_names.pop()
    }

    /// Remembers a name whose creation had an unknown outcome.
    pub fn keep_unsure_name(&mut self, key: &ObjectKey, name: String) {
        if let Some(state) = self.services.get_mut(key) {
            state.unsure_names.push(name);
        }
    }
}

impl ServiceState {
    /// Whether the API server refused the pod as it is now.
    fn refused(&self, pod: &PodView) -> bool {
        self.quarantine.get(&*pod.key.name).is_some_and(|it| *it == pod.ips)
    }
}
