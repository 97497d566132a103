//! What the watches have told so far, and the changes it means for the index.
//!
//! `dns::watch` ──[`Input`]──▶ [`Cache::apply`] ··▶ [`Cache::publish`] ──▶ `dns::index`
//!
//! Synchronous and without a clock. Inputs only mark what they touch; one `publish` after a batch of events rebuilds each
//! touched service once, so that several slices of one batch become visible together. A list replaces what was known of
//! its kind when it ends, never before, and is published as one whole. Nothing is published until every kind has been
//! listed once.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;

use super::config::DnsConfig;
use super::index::{Change, Index};
use super::model::{Selector, Service, ServiceKind, Slice};
use super::name::{Label, service_key};
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
}

/// A watch event of narrowed objects.
#[derive(Debug)]
pub enum Event<T> {
    /// A full list begins; what is known stays until it ends.
    ListStart,
    /// An object of that list.
    Listed(T),
    /// The list is complete.
    ListEnd,
    /// An object was added or changed.
    Applied(T),
    /// An object is gone, or no longer means anything to DNS.
    Removed(ObjectKey),
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
    /// Whether everything was replaced after a list.
    pub whole: bool,
    /// When the changes behind the slices of this batch began, from their annotation.
    pub triggers: Vec<(ServiceClass, Timestamp)>,
}

/// Narrowed objects of the three kinds.
pub struct Cache {
    rules: RecordRules,
    /// Empty: every namespace is exposed.
    exposed: BTreeSet<String>,
    namespaces: BTreeSet<String>,
    services: HashMap<ObjectKey, Service>,
    /// By service, then by name of the slice.
    slices: HashMap<ObjectKey, BTreeMap<String, Slice>>,
    /// Service name of every slice.
    slice_service: HashMap<ObjectKey, String>,
    listing_namespaces: Listing<String>,
    listing_services: Listing<Service>,
    listing_slices: Listing<Slice>,
    dirty: BTreeSet<ObjectKey>,
    dirty_namespaces: bool,
    dirty_whole: bool,
    triggers: Vec<(ObjectKey, Timestamp)>,
}

/// How far the lists of one kind are.
enum Listing<T> {
    /// No list has ended yet.
    Never(Vec<T>),
    /// At least one has ended; `Some` while another one runs.
    Done(Option<Vec<T>>),
}

impl<T> Listing<T> {
    fn start(&mut self) {
        match self {
            Self::Never(buffer) => buffer.clear(),
            Self::Done(buffer) => *buffer = Some(Vec::new()),
        }
    }

    fn push(&mut self, object: T) {
        match self {
            Self::Never(buffer) => buffer.push(object),
            Self::Done(buffer) => buffer.get_or_insert_default().push(object),
        }
    }

    fn end(&mut self) -> Vec<T> {
        match std::mem::replace(self, Self::Done(None)) {
            Self::Never(buffer) => buffer,
            Self::Done(buffer) => buffer.unwrap_or_default(),
        }
    }

    fn is_done(&self) -> bool {
        matches!(self, Self::Done(_))
    }
}

impl Cache {
    /// An empty cache that waits for the first lists.
    pub fn new(config: &DnsConfig) -> Self {
        let hide = config.hide_empty_services && config.endpoints;
        let empty_services = if hide { EmptyServices::Hidden } else { EmptyServices::Published };
        let listing_slices = if config.endpoints { Listing::Never(Vec::new()) } else { Listing::Done(None) };
        Self {
            rules: RecordRules { endpoint_names: config.endpoint_names, empty_services },
            exposed: config.namespaces.iter().map(|it| it.to_ascii_lowercase()).collect(),
            namespaces: BTreeSet::new(),
            services: HashMap::new(),
            slices: HashMap::new(),
            slice_service: HashMap::new(),
            listing_namespaces: Listing::Never(Vec::new()),
            listing_services: Listing::Never(Vec::new()),
            listing_slices,
            dirty: BTreeSet::new(),
            dirty_namespaces: false,
            dirty_whole: false,
            triggers: Vec::new(),
        }
    }

    /// Whether every kind has been listed once.
    pub fn is_synced(&self) -> bool {
        self.listing_namespaces.is_done() && self.listing_services.is_done() && self.listing_slices.is_done()
    }

    /// Takes one event in. Nothing is visible before [`Cache::publish`].
    pub fn apply(&mut self, input: Input) {
        match input {
            Input::Namespace(event) => self.apply_namespace(event),
            Input::Service(event) => self.apply_service(event),
            Input::Slice(event) => self.apply_slice(event),
        }
    }

    fn exposes(&self, namespace: &str) -> bool {
        self.exposed.is_empty() || self.exposed.contains(namespace)
    }

    fn apply_namespace(&mut self, event: Event<String>) {
        match event {
            Event::ListStart => self.listing_namespaces.start(),
            Event::Listed(name) => self.listing_namespaces.push(name),
            Event::ListEnd => {
                let listed = self.listing_namespaces.end();
                self.namespaces = listed.into_iter().filter(|it| self.exposes(it)).collect();
                self.dirty_whole = true;
            }
            Event::Applied(name) if self.exposes(&name) => {
                self.dirty_namespaces |= self.namespaces.insert(name);
            }
            Event::Applied(_) => {}
            Event::Removed(key) => self.dirty_namespaces |= self.namespaces.remove(&key.name),
        }
    }

    fn apply_service(&mut self, event: Event<Service>) {
        match event {
            Event::ListStart => self.listing_services.start(),
            Event::Listed(service) => self.listing_services.push(service),
            Event::ListEnd => {
                let listed =
                    self.listing_services.end().into_iter().filter(|it| self.exposes(&it.key.namespace));
                self.services = listed.map(|it| (it.key.clone(), it)).collect();
                self.dirty_whole = true;
            }
            Event::Applied(service) if self.exposes(&service.key.namespace) => {
                self.dirty.insert(service.key.clone());
                self.services.insert(service.key.clone(), service);
            }
            Event::Applied(_) => {}
            Event::Removed(key) => {
                self.services.remove(&key);
                self.dirty.insert(key);
            }
        }
    }

    fn apply_slice(&mut self, event: Event<Slice>) {
        match event {
            Event::ListStart => self.listing_slices.start(),
            Event::Listed(slice) => self.listing_slices.push(slice),
            Event::ListEnd => {
                let listed = self.listing_slices.end();
                self.slices.clear();
                self.slice_service.clear();
                for slice in listed {
                    self.insert_slice(slice);
                }
                self.dirty_whole = true;
            }
            Event::Applied(slice) => {
                let (service, trigger) =
                    (ObjectKey::new(&slice.key.namespace, &slice.service), slice.trigger_time);
                let moved = self.slice_service.get(&slice.key).is_some_and(|it| *it != slice.service);
                if moved {
                    self.remove_slice(&slice.key.clone());
                }
                let old_trigger = self.insert_slice(slice).and_then(|it| it.trigger_time);
                if let Some(trigger) = trigger.filter(|it| Some(*it) != old_trigger) {
                    self.triggers.push((service.clone(), trigger));
                }
                self.dirty.insert(service);
            }
            Event::Removed(key) => self.remove_slice(&key),
        }
    }

    /// Returns what the slice replaces. Slices of namespaces that are not exposed are not kept.
    fn insert_slice(&mut self, slice: Slice) -> Option<Slice> {
        if !self.exposes(&slice.key.namespace) {
            return None;
        }
        self.slice_service.insert(slice.key.clone(), slice.service.clone());
        let service = ObjectKey::new(&slice.key.namespace, &slice.service);
        self.slices.entry(service).or_default().insert(slice.key.name.clone(), slice)
    }

    fn remove_slice(&mut self, key: &ObjectKey) {
        let Some(service) = self.slice_service.remove(key) else { return };
        let service = ObjectKey::new(&key.namespace, service);
        if let Some(slices) = self.slices.get_mut(&service) {
            slices.remove(&key.name);
            if slices.is_empty() {
                self.slices.remove(&service);
            }
        }
        self.dirty.insert(service);
    }

    /// Makes everything applied so far visible. `now`: Unix time in seconds.
    pub fn publish(&mut self, index: &Index, now: u32) -> Published {
        if !self.is_synced() {
            return Published::default();
        }
        let dirty = std::mem::take(&mut self.dirty);
        let triggers = std::mem::take(&mut self.triggers);
        let namespaces = self.namespaces.iter().filter_map(|it| it.parse::<Label>().ok());
        if std::mem::take(&mut self.dirty_whole) {
            self.dirty_namespaces = false;
            let entries = self.services.values().filter_map(|it| self.entry(it));
            index.reset(namespaces, entries, now);
            return Published { services: self.services.len(), whole: true, triggers: Vec::new() };
        }
        if std::mem::take(&mut self.dirty_namespaces) {
            index.set_namespaces(namespaces, now);
        }
        let changes = dirty.iter().filter_map(|it| {
            let key = service_key(&it.name, &it.namespace)?.into();
            Some(Change { key, entry: self.services.get(it).and_then(|it| self.entry(it)) })
        });
        let services = index.update(changes.collect(), now);
        let classes =
            triggers.into_iter().filter_map(|(key, at)| Some((class(self.services.get(&key)?)?, at)));
        Published { services, whole: false, triggers: classes.collect() }
    }

    fn entry(&self, service: &Service) -> Option<ServiceEntry> {
        let slices: Vec<&Slice> =
            self.slices.get(&service.key).into_iter().flat_map(BTreeMap::values).collect();
        service_entry(service, &slices, self.rules)
    }
}

fn class(service: &Service) -> Option<ServiceClass> {
    match (&service.kind, service.selector) {
        (ServiceKind::ClusterIp(_), _) => Some(ServiceClass::ClusterIp),
        (ServiceKind::Headless, Selector::Present) => Some(ServiceClass::HeadlessWithSelector),
        (ServiceKind::Headless, Selector::Absent) => Some(ServiceClass::HeadlessWithoutSelector),
        (ServiceKind::ExternalName(_), _) => None,
    }
}
