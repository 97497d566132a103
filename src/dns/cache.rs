//! What the watches have told so far, and the changes it means for the index.
//!
//! `dns::watch` ──[`Input`]──▶ [`Cache::apply`] ··▶ [`Cache::publish`] ──▶ `dns::index`
//!
//! Synchronous and without a clock. Inputs only mark what they touch; one `publish` after a batch of events rebuilds each
//! touched service once, so that several slices of one batch become visible together. A list replaces what was known of
//! its kind when it ends, never before. Nothing is published until every kind has been listed once, and then everything as
//! one whole.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::config::{DnsConfig, PodMode};
use super::expected::Ordinals;
use super::index::{Change, Index};
pub use super::known::Event;
use super::known::{Changed, Known, Object};
use super::linger::Linger;
use super::model::{Pod, SeenAt, Selector, Service, ServiceKind, Set, Slice};
use super::name::{Label, service_key};
use super::objects::Kind;
use super::pods::{Change as PodChange, ChangeKind};
use super::records::{EmptyServices, RecordRules, ServiceEntry, service_entry};
use crate::model::ObjectKey;

/// One event of one watch.
#[derive(Debug)]
pub enum Input {
    /// Of the Namespaces; the value is the name, the key has an empty namespace.
    Namespace(Event<String>),
    /// Of the Services.
    Service(Event<Service>),
    /// Of the EndpointSlices.
    Slice(Event<Slice>),
    /// Of the Pods that are not over, in pod mode `verified`.
    Pod(Event<Pod>),
    /// Of the StatefulSets, with `pendingFromStatefulsets`.
    Set(Event<Set>),
}

/// What feeds the endpoints of a service: the label of the programming latency metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ServiceClass {
    /// Has clusterIPs.
    ClusterIp,
    /// Headless, endpoints chosen by a selector.
    HeadlessWithSelector,
    /// Headless, slices written by hand.
    HeadlessWithoutSelector,
}

/// What one publication did.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Published {
    /// Services whose records changed.
    pub services: usize,
    /// Whether a full list ended in this batch.
    pub whole: bool,
    /// When the changes behind the slices of this batch began, from their annotation.
    pub triggers: Vec<(ServiceClass, Timestamp)>,
}

/// Kinds that are watched, each with the name a person knows it by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kinds {
    /// EndpointSlices.
    pub slices: bool,
    /// Pods.
    pub pods: bool,
    /// StatefulSets.
    pub sets: bool,
}

impl Kinds {
    /// What `config` needs besides Namespaces and Services.
    pub fn of(config: &DnsConfig) -> Self {
        Self {
            slices: config.endpoints,
            pods: config.pods == PodMode::Verified,
            sets: config.pending_from_statefulsets,
        }
    }
}

/// Narrowed objects of every kind.
pub struct Cache {
    rules: RecordRules,
    /// Whether topology zones are kept.
    zonal: bool,
    kinds: Kinds,
    clock: Option<Duration>,
    linger: Linger,
    /// Empty: every namespace is exposed.
    exposed: BTreeSet<String>,
    namespaces: Known<String>,
    services: Known<Service>,
    slices: Known<Slice>,
    pods: Known<Pod>,
    sets: Known<Set>,
    slices_of: Grouped<Slice>,
    sets_of: Grouped<Set>,
    /// Number of slices by the service they name, of services that do not exist.
    orphans: HashMap<ObjectKey, usize>,
    published_once: bool,
    pending: Pending,
    /// Unix time of the events that are being applied.
    now: u32,
}

/// What [`Cache::publish`] has to look at.
#[derive(Default)]
struct Pending {
    services: BTreeSet<ObjectKey>,
    /// Services whose StatefulSets changed.
    governed: BTreeSet<ObjectKey>,
    namespaces: bool,
    pods: Vec<PodChange>,
    list_ended: bool,
    triggers: Vec<(ObjectKey, Timestamp)>,
}

/// Objects by the service they belong to, under `<namespace>/<name>`: one allocation a key.
struct Grouped<T>(HashMap<Box<str>, Vec<Arc<T>>>);

impl<T> Default for Grouped<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<T> Grouped<T> {
    fn get(&self, service: &ObjectKey) -> &[Arc<T>] {
        self.0.get(&*service.to_string()).map_or(&[], Vec::as_slice)
    }

    fn insert(&mut self, service: &ObjectKey, object: Arc<T>) {
        let members = self.0.entry(service.to_string().into()).or_default();
        // Most services have one slice, and room for four would outweigh it.
        members.reserve_exact(1);
        members.push(object);
    }

    fn remove(&mut self, service: &ObjectKey, object: &Arc<T>) {
        let service = service.to_string();
        let Some(members) = self.0.get_mut(&*service) else { return };
        members.retain(|it| !Arc::ptr_eq(it, object));
        if members.is_empty() {
            self.0.remove(&*service);
        }
    }

    /// Every service that has objects.
    fn services(&self) -> impl Iterator<Item = ObjectKey> {
        self.0
            .keys()
            .filter_map(|it| it.split_once('/'))
            .map(|(namespace, name)| ObjectKey::new(namespace, name))
    }
}

impl Object for String {
    fn key(&self) -> ObjectKey {
        ObjectKey::new("", self)
    }
}

impl Object for Service {
    fn key(&self) -> ObjectKey {
        self.key.clone()
    }
}

impl Object for Slice {
    fn key(&self) -> ObjectKey {
        self.key.clone()
    }
}

impl Object for Pod {
    fn key(&self) -> ObjectKey {
        self.key.clone()
    }
}

impl Object for Set {
    fn key(&self) -> ObjectKey {
        self.key.clone()
    }
}

impl Slice {
    fn service_key(&self) -> ObjectKey {
        ObjectKey::new(&self.key.namespace, &self.service)
    }
}

impl Set {
    fn service_key(&self) -> ObjectKey {
        ObjectKey::new(&self.key.namespace, &self.service)
    }

    fn ordinals(&self) -> Ordinals {
        let set = self.key.name.to_ascii_lowercase().into();
        Ordinals { set, start: self.start, replicas: self.replicas }
    }
}

impl Cache {
    /// An empty cache that waits for the first lists.
    pub fn new(config: &DnsConfig) -> Self {
        let hide = config.hide_empty_services && config.endpoints;
        let empty_services = if hide { EmptyServices::Hidden } else { EmptyServices::Published };
        Self {
            zonal: config.zonal,
            rules: RecordRules { endpoint_names: config.endpoint_names, empty_services },
            kinds: Kinds::of(config),
            clock: None,
            linger: Linger::default(),
            exposed: config.namespaces.iter().map(|it| it.to_ascii_lowercase()).collect(),
            namespaces: Known::default(),
            services: Known::default(),
            slices: Known::default(),
            pods: Known::default(),
            sets: Known::default(),
            slices_of: Grouped::default(),
            sets_of: Grouped::default(),
            orphans: HashMap::new(),
            published_once: false,
            pending: Pending::default(),
            now: 0,
        }
    }

    /// Says when the events that follow were seen: Unix time in seconds.
    pub fn at(&mut self, now: u32) {
        self.now = now;
    }

    /// Tells the time since any fixed moment, for what follows. From then on endpoints that leave a slice are kept for a
    /// moment, see `dns::linger`; without a clock they are gone at once.
    pub fn clock(&mut self, now: Duration) {
        self.clock = Some(now);
    }

    /// When [`Cache::publish`] has something to do although nothing was applied, on the clock.
    pub fn deadline(&self) -> Option<Duration> {
        self.linger.deadline()
    }

    /// Whether every kind has been listed once.
    pub fn is_synced(&self) -> bool {
        self.waiting_for().next().is_none()
    }

    /// The kinds, in plural, whose first list has not ended.
    pub fn waiting_for(&self) -> impl Iterator<Item = &'static str> {
        let kinds = [
            ("Namespaces", true, self.namespaces.is_listed()),
            ("Services", true, self.services.is_listed()),
            ("EndpointSlices", self.kinds.slices, self.slices.is_listed()),
            ("Pods", self.kinds.pods, self.pods.is_listed()),
            ("StatefulSets", self.kinds.sets, self.sets.is_listed()),
        ];
        kinds.into_iter().filter(|(_, watched, listed)| *watched && !listed).map(|(kind, _, _)| kind)
    }

    /// Takes one event in. Nothing is visible before [`Cache::publish`].
    pub fn apply(&mut self, input: Input) {
        match input {
            Input::Namespace(event) => {
                let Some(event) = self.exposed_only(event, |it| it) else { return };
                self.pending.list_ended |= matches!(event, Event::ListEnd);
                let changes = self.namespaces.apply(event);
                self.namespaces_changed(&changes);
            }
            Input::Service(event) => {
                let Some(mut event) = self.exposed_only(event, |it| &it.key.namespace) else { return };
                self.pending.list_ended |= matches!(event, Event::ListEnd);
                if let Some(service) = object(&mut event) {
                    service.seen = SeenAt(self.now);
                }
                let changes = self.services.apply(event);
                self.services_changed(changes);
            }
            Input::Slice(event) => {
                let Some(mut event) = self.exposed_only(event, |it| &it.key.namespace) else { return };
                self.pending.list_ended |= matches!(event, Event::ListEnd);
                if let Some(slice) = object(&mut event) {
                    slice.seen = SeenAt(self.now);
                    if !self.zonal {
                        slice.topology_zones = Box::default();
                    }
                }
                let live = matches!(event, Event::Applied(_));
                let changes = self.slices.apply(event);
                if live {
                    self.note_triggers(&changes);
                }
                self.slices_changed(changes);
            }
            Input::Pod(event) => {
                let Some(event) = self.exposed_only(event, |it| &it.key.namespace) else { return };
                self.pending.list_ended |= matches!(event, Event::ListEnd);
                let changes = self.pods.apply(event);
                self.pods_changed(&changes);
            }
            Input::Set(event) => {
                let Some(event) = self.exposed_only(event, |it| &it.key.namespace) else { return };
                self.pending.list_ended |= matches!(event, Event::ListEnd);
                let changes = self.sets.apply(event);
                self.sets_changed(changes);
            }
        }
    }

    /// `None` for an object of a namespace that is not exposed: it is not kept.
    fn exposed_only<T>(&self, event: Event<T>, namespace: impl Fn(&T) -> &String) -> Option<Event<T>> {
        let keep = match &event {
            Event::Listed(it) | Event::Applied(it) | Event::Compared(it) => {
                self.exposed.is_empty() || self.exposed.contains(namespace(it))
            }
            Event::ListStart | Event::ListEnd | Event::Removed(_) => true,
        };
        keep.then_some(event)
    }

    /// The Service as last told, also while it has no records.
    pub fn service(&self, key: &ObjectKey) -> Option<&Service> {
        self.services.get(key).map(|it| &**it)
    }

    /// The slices that carry the label of this service, by name, whether or not the Service exists, and what is kept of
    /// former ones.
    pub fn slices(&self, service: &ObjectKey) -> Vec<&Slice> {
        let slices = self.slices_of.get(service).iter().map(|it| &**it);
        let mut slices: Vec<&Slice> = slices.chain(self.linger.slices(service)).collect();
        slices.sort_unstable_by(|a, b| a.key.name.cmp(&b.key.name));
        slices
    }

    /// Every slice that is kept, in no order. For questions that no index answers.
    pub fn all_slices(&self) -> impl Iterator<Item = &Slice> {
        self.slices.values().map(|it| &**it)
    }

    /// Every Pod that is kept, in no order; none unless pod records are verified.
    pub fn pods(&self) -> impl Iterator<Item = &Pod> {
        self.pods.values().map(|it| &**it)
    }

    fn namespaces_changed(&mut self, changes: &[Changed<String>]) {
        self.pending.namespaces |= !changes.is_empty();
    }

    fn services_changed(&mut self, changes: Vec<Changed<Service>>) {
        for it in changes.into_iter().filter_map(|it| it.new.or(it.old)) {
            self.touch(it.key.clone());
        }
    }

    fn touch(&mut self, service: ObjectKey) {
        // The first publication takes everything.
        if self.published_once {
            self.pending.services.insert(service);
        }
    }

    fn slices_changed(&mut self, changes: Vec<Changed<Slice>>) {
        for Changed { old, new } in changes {
            if self.published_once
                && let Some(now) = self.clock
            {
                linger(&mut self.linger, old.as_deref(), new.as_deref(), now);
            }
            if let Some(old) = old {
                let service = old.service_key();
                self.slices_of.remove(&service, &old);
                self.touch(service);
            }
            if let Some(new) = new {
                let service = new.service_key();
                self.slices_of.insert(&service, new);
                self.touch(service);
            }
        }
    }

    fn note_triggers(&mut self, changes: &[Changed<Slice>]) {
        for Changed { old, new } in changes {
            let (old, Some(new)) = (old.as_ref().and_then(|it| it.trigger_time), new) else { continue };
            if let Some(trigger) = new.trigger_time.filter(|it| Some(*it) != old) {
                self.pending.triggers.push((new.service_key(), trigger));
            }
        }
    }

    fn pods_changed(&mut self, changes: &[Changed<Pod>]) {
        // Gained before lost: an address that stays is never missing.
        for (side, kind) in [(true, ChangeKind::Gained), (false, ChangeKind::Lost)] {
            for pod in changes.iter().filter_map(|it| if side { it.new.as_ref() } else { it.old.as_ref() }) {
                let Ok(label) = pod.key.namespace.parse::<Label>() else { continue };
                let namespace: Box<[u8]> = label.as_bytes().into();
                self.pending.pods.extend(pod.addresses.iter().map(|address| PodChange {
                    namespace: namespace.clone(),
                    address: *address,
                    kind,
                }));
            }
        }
    }

    fn sets_changed(&mut self, changes: Vec<Changed<Set>>) {
        for Changed { old, new } in changes {
            if let Some(old) = old {
                let service = old.service_key();
                self.sets_of.remove(&service, &old);
                self.pending.governed.insert(service);
            }
            if let Some(new) = new {
                let service = new.service_key();
                self.sets_of.insert(&service, new);
                self.pending.governed.insert(service);
            }
        }
    }

    /// Makes everything applied so far visible. `now`: Unix time in seconds.
    pub fn publish(&mut self, index: &Index, now: u32) -> Published {
        if !self.is_synced() {
            return Published::default();
        }
        let mut pending = std::mem::take(&mut self.pending);
        self.settle(&mut pending);
        index.update_pods(&pending.pods, now);
        let governed = pending.governed.iter().filter_map(|it| {
            let ordinals = self.sets_of.get(it).iter().map(|it| it.ordinals()).collect();
            Some((service_key(&it.name, &it.namespace)?.into(), ordinals))
        });
        index.update_expected(governed.collect(), now);
        let namespaces = || self.namespaces.values().filter_map(|it| it.parse::<Label>().ok());
        if !self.published_once {
            self.published_once = true;
            let entries = self.services.values().filter_map(|it| self.entry(it));
            index.reset(namespaces(), entries, now);
            let named: Vec<ObjectKey> = self.slices_of.services().collect();
            self.count_orphans(named);
            return Published { services: self.services.count(), whole: true, triggers: Vec::new() };
        }
        if pending.namespaces {
            index.set_namespaces(namespaces(), now);
        }
        let changes = pending.services.iter().filter_map(|it| {
            let key = service_key(&it.name, &it.namespace)?.into();
            Some(Change { key, entry: self.services.get(it).and_then(|it| self.entry(it)) })
        });
        let services = index.update(changes.collect(), now);
        self.count_orphans(pending.services);
        let triggers = pending.triggers.into_iter();
        let triggers = triggers.filter_map(|(key, at)| Some((class(self.services.get(&key)?)?, at)));
        Published { services, whole: pending.list_ended, triggers: triggers.collect() }
    }

    /// Number of slices whose Service does not exist.
    pub fn orphans(&self) -> usize {
        self.orphans.values().sum()
    }

    fn count_orphans(&mut self, services: impl IntoIterator<Item = ObjectKey>) {
        for service in services {
            let slices = self.slices_of.get(&service).len();
            if slices == 0 || self.services.get(&service).is_some() {
                self.orphans.remove(&service);
            } else {
                self.orphans.insert(service, slices);
            }
        }
    }

    /// A second list of every kind begins, besides the watches: its objects come as [`Event::Compared`].
    pub fn compare_start(&mut self) {
        self.namespaces.compare_start();
        self.services.compare_start();
        self.slices.compare_start();
        self.pods.compare_start();
        self.sets.compare_start();
    }

    /// How many objects differ from the second list although the watches have told nothing of them since it began.
    pub fn unexplained(&self) -> usize {
        self.namespaces.unexplained()
            + self.services.unexplained()
            + self.slices.unexplained()
            + self.pods.unexplained()
            + self.sets.unexplained()
    }

    /// Takes those over from the second list. Returns kind and key of each; [`Cache::publish`] makes them visible.
    pub fn compare_end(&mut self) -> Vec<(&'static str, ObjectKey)> {
        let mut repaired = Vec::new();
        let changes = self.namespaces.compare_end();
        note(&mut repaired, &changes);
        self.namespaces_changed(&changes);
        let changes = self.services.compare_end();
        note(&mut repaired, &changes);
        self.services_changed(changes);
        let changes = self.slices.compare_end();
        note(&mut repaired, &changes);
        self.slices_changed(changes);
        let changes = self.pods.compare_end();
        note(&mut repaired, &changes);
        self.pods_changed(&changes);
        let changes = self.sets.compare_end();
        note(&mut repaired, &changes);
        self.sets_changed(changes);
        repaired
    }

    /// Forgets the second list: it did not come to an end.
    pub fn compare_cancel(&mut self) {
        self.namespaces.compare_cancel();
        self.services.compare_cancel();
        self.slices.compare_cancel();
        self.pods.compare_cancel();
        self.sets.compare_cancel();
    }

    /// Decides which endpoints that left their slices keep their records.
    fn settle(&mut self, pending: &mut Pending) {
        let Some(now) = self.clock else { return };
        pending.services.extend(self.linger.due(now).cloned());
        for service in &pending.services {
            if self.services.get(service).is_some() {
                self.linger.settle(service, self.slices_of.get(service), now);
            } else {
                self.linger.forget(service);
            }
        }
    }

    fn entry(&self, service: &Service) -> Option<ServiceEntry> {
        let slices = self.slices_of.get(&service.key).iter().map(|it| &**it);
        let slices: Vec<&Slice> = slices.chain(self.linger.slices(&service.key)).collect();
        service_entry(service, &slices, self.rules)
    }
}

/// The object that the event tells of. One that is known already keeps its old value, and so the time it was seen.
fn object<T>(event: &mut Event<T>) -> Option<&mut T> {
    match event {
        Event::Listed(it) | Event::Applied(it) | Event::Compared(it) => Some(it),
        Event::ListStart | Event::ListEnd | Event::Removed(_) => None,
    }
}

/// Notes what leaves the service of a slice; one that changes its service leaves the old one.
fn linger(linger: &mut Linger, old: Option<&Slice>, new: Option<&Slice>, now: Duration) {
    let stays = old.zip(new).is_some_and(|(old, new)| old.service == new.service);
    if let Some(old) = old {
        linger.changed(&old.service_key(), Some(old), new.filter(|_| stays), now);
    }
    if let Some(new) = new.filter(|_| !stays) {
        linger.changed(&new.service_key(), None, Some(new), now);
    }
}

fn note<T: Object + Kind>(repaired: &mut Vec<(&'static str, ObjectKey)>, changes: &[Changed<T>]) {
    let changed = changes.iter().filter_map(|it| it.new.as_ref().or(it.old.as_ref()));
    repaired.extend(changed.map(|it| (T::KIND, it.key())));
}

fn class(service: &Service) -> Option<ServiceClass> {
    match (&service.kind, service.selector) {
        (ServiceKind::ClusterIp(_), _) => Some(ServiceClass::ClusterIp),
        (ServiceKind::Headless, Selector::Present) => Some(ServiceClass::HeadlessWithSelector),
        (ServiceKind::Headless, Selector::Absent) => Some(ServiceClass::HeadlessWithoutSelector),
        (ServiceKind::ExternalName(_), _) => None,
    }
}
