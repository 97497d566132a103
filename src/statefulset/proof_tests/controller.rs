//! One controller process: the real reconciler and queue, with caches that show what they are told to show.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::Instant;

use super::super::model::{ClaimView, PodView, RevisionView, SetSpec};
use super::super::reconcile::{Reconciler, Stores};
use super::super::{USER_AGENT, index};
use super::cluster::{self, Cluster, NAMESPACE};
use super::gateway::{Gateway, SharedRecord};
use super::rules::{Judge, Shown};
use crate::apiserver::resources::Resource;
use crate::apiserver::store::Change as Stored;
use crate::k8s::events;
use crate::k8s::watch::{Cached, Change, Store};
use crate::k8s::write::WriteApi;
use crate::model::ObjectKey;
use crate::runtime::controller::finish;
use crate::runtime::{Next, Reconcile as _, Workqueue};

/// One of the controller's watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    Sets,
    Pods,
    Claims,
    Revisions,
}

impl Stream {
    pub const ALL: [Self; 4] = [Self::Sets, Self::Pods, Self::Claims, Self::Revisions];

    fn resource(self) -> &'static Resource {
        match self {
            Self::Sets => cluster::sets(),
            Self::Pods => cluster::pods(),
            Self::Claims => cluster::claims(),
            Self::Revisions => cluster::revisions(),
        }
    }
}

/// What is odd about a stream (FLT-3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// Events come some rounds late.
    Delayed,
    /// Only the last event of each object comes.
    Coalesced,
    /// Every event comes twice.
    Duplicated,
    /// 410: a list instead of the events.
    Expired,
    /// The connection is cut, and resumed where it was.
    Cut,
    /// Nothing comes for two minutes; then a list.
    Silent,
    /// The new connection leads to a server that is behind, and comes up to date with it.
    Behind,
    /// Only bookmarks come for a while.
    Bookmarks,
    /// The continue token of a list expires: it begins anew.
    ContinueExpired,
    /// The pages of a list come one by one while the objects change.
    PartialList,
    /// The controller's clock is 30 seconds off.
    Skewed(i64),
}

impl View {
    pub const ALL: [Self; 12] = [
        Self::Delayed,
        Self::Coalesced,
        Self::Duplicated,
        Self::Expired,
        Self::Cut,
        Self::Silent,
        Self::Behind,
        Self::Bookmarks,
        Self::ContinueExpired,
        Self::PartialList,
        Self::Skewed(30),
        Self::Skewed(-30),
    ];
}

/// Rounds for which a slow stream says nothing.
const SLOW: u32 = 12;

#[derive(Default)]
struct Oddity {
    view: Option<View>,
    rounds: u32,
    until: Option<Instant>,
    /// A list under way: its version and objects.
    list: Option<(u64, Vec<Value>)>,
    /// It concerned at least one event.
    met: bool,
}

/// How a turn ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Turn {
    /// No key was due.
    Idle,
    Worked,
    /// The controller died.
    Crashed,
}

pub struct Controller {
    pub stores: Stores,
    queue: Workqueue,
    reconciler: Reconciler,
    pub gateway: Arc<Gateway>,
    shown: Shown,
    odd: [Oddity; 4],
}

impl Controller {
    /// A process that starts now: everything is listed first.
    pub fn start(name: &'static str, cluster: &Cluster, record: &SharedRecord) -> Self {
        let stores = Stores::default();
        let shown: Shown = Arc::new(Mutex::new(BTreeMap::new()));
        let judge = Judge::new(stores.clone(), Arc::clone(&shown), cluster.server.clone());
        let gateway = Gateway::new(name, cluster.router.clone(), Arc::clone(record), judge);
        let api = WriteApi::new(gateway.client(), USER_AGENT);
        let (recorder, _) = events::channel();
        let reconciler = Reconciler::new(stores.clone(), api, recorder, cluster::controller_now);
        let mut it =
            Self { stores, queue: Workqueue::default(), reconciler, gateway, shown, odd: Default::default() };
        for stream in Stream::ALL {
            it.relist(cluster, stream);
        }
        it
    }

    /// Makes a stream odd from now on.
    pub fn disturb(&mut self, stream: Stream, view: View) {
        let odd = &mut self.odd[stream as usize];
        *odd = Oddity { view: Some(view), list: odd.list.take(), ..Oddity::default() };
        if let View::Skewed(seconds) = view {
            cluster::skew(seconds);
        }
    }

    /// All streams work again; a list under way is dropped.
    pub fn heal(&mut self) {
        self.odd = Default::default();
        cluster::skew(0);
    }

    /// Whether the oddity of a stream concerned anything.
    pub fn was_met(&self, stream: Stream) -> bool {
        self.odd[stream as usize].met
    }

    /// Lists a kind and swaps the list in.
    pub fn relist(&mut self, cluster: &Cluster, stream: Stream) {
        let list = self.begin_list(cluster, stream);
        self.swap_in(stream, list);
    }

    fn begin_list(&mut self, cluster: &Cluster, stream: Stream) -> (u64, Vec<Value>) {
        match stream {
            Stream::Sets => self.stores.sets.begin_list(),
            Stream::Pods => self.stores.pods.begin_list(),
            Stream::Claims => self.stores.claims.begin_list(),
            Stream::Revisions => self.stores.revisions.begin_list(),
        }
        let (version, objects) = cluster.server.store().list(stream.resource(), Some(NAMESPACE));
        (version, objects.iter().map(|it| it.value.clone()).collect())
    }

    fn swap_in(&mut self, stream: Stream, (version, objects): (u64, Vec<Value>)) {
        let keys: Vec<ObjectKey> = match stream {
            Stream::Sets => {
                let changes = self.stores.sets.replace(objects.iter().filter_map(narrow_set).collect());
                changes.iter().filter_map(of_set).collect()
            }
            Stream::Pods => {
                let changes = self.stores.pods.replace(narrowed(objects, PodView::narrow));
                changes.iter().flat_map(|it| index::of_pod(it, &self.stores.sets)).collect()
            }
            Stream::Claims => {
                let changes = self.stores.claims.replace(narrowed(objects, ClaimView::narrow));
                changes.iter().flat_map(|it| index::of_claim(it, &self.stores.sets)).collect()
            }
            Stream::Revisions => {
                let changes = self.stores.revisions.replace(narrowed(objects, RevisionView::narrow));
                changes.iter().flat_map(index::of_revision).collect()
            }
        };
        for key in keys {
            self.queue.add(key);
        }
        self.shown.lock().unwrap().insert(stream.resource().plural, version);
    }

    /// How many events of a stream have not come yet.
    pub fn lag(&self, cluster: &Cluster, stream: Stream) -> usize {
        let from = self.shown.lock().unwrap().get(stream.resource().plural).copied().unwrap_or(0);
        cluster.server.store().events_after(stream.resource(), from, usize::MAX).map_or(1, |it| it.0.len())
    }

    /// Delivers one event of a stream; false if there is none.
    pub fn deliver(&mut self, cluster: &Cluster, stream: Stream) -> bool {
        let resource = stream.resource();
        let from = self.shown.lock().unwrap().get(resource.plural).copied().unwrap_or(0);
        let Ok((events, _)) = cluster.server.store().events_after(resource, from, 1) else {
            self.relist(cluster, stream);
            return true;
        };
        let Some(event) = events.first() else { return false };
        let value = event.object.value.clone();
        self.show(stream, value, event.change == Stored::Deleted, event.version);
        true
    }

    fn show(&mut self, stream: Stream, value: Value, deleted: bool, version: u64) {
        let keys = match stream {
            Stream::Sets => {
                let narrowed = narrow_set(&value);
                shown(&self.stores.sets, &value, narrowed, deleted, version, |it| {
                    of_set(&it).into_iter().collect()
                })
            }
            Stream::Pods => {
                let it = narrow(&value, PodView::narrow);
                shown(&self.stores.pods, &value, it, deleted, version, |it| {
                    index::of_pod(&it, &self.stores.sets)
                })
            }
            Stream::Claims => {
                let it = narrow(&value, ClaimView::narrow);
                let of = |it| index::of_claim(&it, &self.stores.sets);
                shown(&self.stores.claims, &value, it, deleted, version, of)
            }
            Stream::Revisions => {
                let it = narrow(&value, RevisionView::narrow);
                let of = |it| index::of_revision(&it);
                shown(&self.stores.revisions, &value, it, deleted, version, of)
            }
        };
        for key in keys {
            self.queue.add(key);
        }
        self.shown.lock().unwrap().insert(stream.resource().plural, version);
    }

    /// One round of a stream: all events there are, or what its oddity makes of them. Whether anything came.
    pub fn round(&mut self, cluster: &Cluster, stream: Stream) -> bool {
        let pending = self.lag(cluster, stream);
        let odd = &mut self.odd[stream as usize];
        let Some(view) = odd.view else { return self.all(cluster, stream) };
        if pending == 0 && odd.list.is_none() {
            return false;
        }
        odd.met = true;
        odd.rounds += 1;
        let slow = odd.rounds <= SLOW;
        let rounds = odd.rounds;
        match view {
            View::Delayed | View::Cut | View::Bookmarks | View::Behind if slow => false,
            // One at a time, so that the view is old again and again.
            View::Delayed => {
                self.odd[stream as usize].rounds = SLOW / 2;
                self.deliver(cluster, stream)
            }
            View::Coalesced if !rounds.is_multiple_of(6) => false,
            View::Coalesced => self.last_of_each(cluster, stream),
            View::Duplicated => {
                let from = self.shown.lock().unwrap().get(stream.resource().plural).copied().unwrap_or(0);
                let (events, _) =
                    cluster.server.store().events_after(stream.resource(), from, 1).unwrap_or_default();
                for event in events {
                    for _ in 0..2 {
                        let value = event.object.value.clone();
                        self.show(stream, value, event.change == Stored::Deleted, event.version);
                    }
                }
                true
            }
            View::Expired => {
                self.relist(cluster, stream);
                true
            }
            View::Silent => {
                let until = *odd.until.get_or_insert_with(|| Instant::now() + Duration::from_secs(120));
                if Instant::now() < until {
                    return false;
                }
                self.odd[stream as usize].until = None;
                self.relist(cluster, stream);
                true
            }
            View::Behind => {
                self.odd[stream as usize].rounds = 0;
                self.relist(cluster, stream);
                true
            }
            View::ContinueExpired => {
                drop(self.begin_list(cluster, stream));
                if rounds.is_multiple_of(3) {
                    self.relist(cluster, stream);
                }
                rounds.is_multiple_of(3)
            }
            View::PartialList => match self.odd[stream as usize].list.take() {
                Some(list) if rounds.is_multiple_of(6) => {
                    self.swap_in(stream, list);
                    true
                }
                Some(list) => {
                    self.odd[stream as usize].list = Some(list);
                    false
                }
                None => {
                    let list = self.begin_list(cluster, stream);
                    self.odd[stream as usize].list = Some(list);
                    false
                }
            },
            View::Cut | View::Bookmarks | View::Skewed(_) => {
                self.odd[stream as usize].rounds = 0;
                self.all(cluster, stream)
            }
        }
    }

    fn all(&mut self, cluster: &Cluster, stream: Stream) -> bool {
        let mut came = false;
        while self.deliver(cluster, stream) {
            came = true;
        }
        came
    }

    fn last_of_each(&mut self, cluster: &Cluster, stream: Stream) -> bool {
        let from = self.shown.lock().unwrap().get(stream.resource().plural).copied().unwrap_or(0);
        let events = cluster.server.store().events_after(stream.resource(), from, usize::MAX);
        let Ok((events, _)) = events else { return self.all(cluster, stream) };
        for (at, event) in events.iter().enumerate() {
            let again = events[at + 1..].iter().any(|it| it.object.key == event.object.key);
            if !again {
                self.show(stream, event.object.value.clone(), event.change == Stored::Deleted, event.version);
            }
        }
        !events.is_empty()
    }

    /// Works on one key that is due.
    pub async fn turn(&mut self) -> Turn {
        let Some((key, _)) = self.queue.with(|it| it.take(Instant::now())) else { return Turn::Idle };
        self.gateway.judge.lock().unwrap().begin();
        let result = tokio::select! {
            biased;
            () = self.gateway.crash.notified() => return Turn::Crashed,
            result = self.reconciler.reconcile(&key) => result,
        };
        if self.gateway.doomed() {
            return Turn::Crashed;
        }
        if let Err(error) = &result {
            let line = format!("  ! {}", crate::runtime::error::chain(error));
            self.gateway.record.lock().unwrap().log.push(line);
        }
        if result.as_ref().is_ok_and(|it| *it == Next::OwnWrites) {
            self.gateway.record.lock().unwrap().log.push("  waits for own writes".into());
        }
        finish(&self.queue, &key, Ok(result));
        Turn::Worked
    }

    /// When the next key falls due; `None` if none will without an event.
    pub fn due(&self) -> Option<Instant> {
        self.queue.with(|it| if it.depth() > 0 { Some(Instant::now()) } else { it.next_due() })
    }

    /// Asks for every set, as a resync would.
    pub fn resync(&self) {
        self.stores.sets.list().iter().for_each(|it| self.queue.add(it.key.clone()));
    }
}

fn narrow<K: DeserializeOwned, T>(value: &Value, narrow: impl Fn(K) -> Option<T>) -> Option<T> {
    narrow(serde_json::from_value(value.clone()).expect("the API server stores valid objects"))
}

fn narrowed<K: DeserializeOwned, T>(values: Vec<Value>, by: impl Fn(K) -> Option<T>) -> Vec<T> {
    values.iter().filter_map(|it| narrow(it, &by)).collect()
}

fn narrow_set(value: &Value) -> Option<SetSpec> {
    SetSpec::narrow(value).ok()
}

fn of_set(change: &Change<SetSpec>) -> Option<ObjectKey> {
    change.new.as_ref().or(change.old.as_ref()).map(|it| it.key.clone())
}

/// What `k8s::watch::reflect` does with one event.
fn shown<T: Cached>(
    store: &Store<T>,
    value: &Value,
    narrowed: Option<T>,
    deleted: bool,
    version: u64,
    of: impl Fn(Change<T>) -> Vec<ObjectKey>,
) -> Vec<ObjectKey> {
    let name = value["metadata"]["name"].as_str().unwrap_or_default();
    let change = match narrowed.filter(|_| !deleted) {
        Some(it) => Some(store.apply(it)),
        None => store.delete(&ObjectKey::new(NAMESPACE, name), version),
    };
    change.map(of).unwrap_or_default()
}
