//! Shell: one Service, its Endpoints object written.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Endpoints;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, PostParams, Preconditions};
use kube::{Api, Client};
use tokio::time::Instant;

use super::desired::{OVER_CAPACITY, TRUNCATED, fits, is_ours, labels, subsets};
use crate::endpointslice::Cleanup;
use crate::endpointslice::events::{About, Recorder, Severity};
use crate::endpointslice::memory::Memories;
use crate::endpointslice::model::{PodView, ServiceView, TRIGGER_TIME};
use crate::endpointslice::reconcile::{SharedIndex, lock};
use crate::endpointslice::trigger::Tracker;
use crate::endpointslice::write::namespace_terminates;
use crate::k8s::kept::Kept;
use crate::k8s::watch::{Store, parse_version};
use crate::model::ObjectKey;
use crate::runtime::barrier::{self, View};
use crate::runtime::error::chain;
use crate::runtime::{Barrier, Next, Reconcile};

/// Pause before a Service is looked at anew because a write met a newer state than our caches show.
const STALE_RETRY: Duration = Duration::from_millis(5);

/// After a write the Service is left alone for so many times as long as the write took ...
const REST: u32 = 4;
/// ... and no longer than this. A change rewrites all addresses: a large Service that changes all the time would keep a CPU, and
/// the API server, busy for an API that is deprecated.
const LONGEST_REST: Duration = Duration::from_secs(1);

/// A write that failed. The Service is tried again, for ever.
#[derive(Debug, thiserror::Error)]
#[error("API server did not take the {what} of endpoints {endpoints}")]
pub struct WriteError {
    what: &'static str,
    endpoints: ObjectKey,
    #[source]
    source: Box<kube::Error>,
}

/// Everything a reconcile may touch.
pub struct LegacyController {
    client: Client,
    index: SharedIndex,
    endpoints: Store<Kept<Endpoints>>,
    cleanup: Cleanup,
    barrier: Barrier,
    view: Arc<dyn View>,
    events: Recorder,
    memory: Memories<Memory>,
}

/// What is remembered of a Service.
#[derive(Default)]
struct Memory {
    tracker: Tracker,
    /// Nothing is written before.
    rests_until: Option<Instant>,
}

impl LegacyController {
    /// A controller over these caches.
    pub fn new(
        client: Client,
        index: SharedIndex,
        endpoints: Store<Kept<Endpoints>>,
        cleanup: Cleanup,
        events: Recorder,
    ) -> Self {
        let view = Arc::new(endpoints.clone());
        let (barrier, memory) = Default::default();
        Self { client, index, endpoints, cleanup, barrier, view, events, memory }
    }

    fn api(&self, key: &ObjectKey) -> Api<Endpoints> {
        Api::namespaced(self.client.clone(), &key.namespace)
    }

    /// The Service is gone, or not managed any more.
    async fn leave(&self, key: &ObjectKey, exists: bool) -> Result<Next, WriteError> {
        self.memory.forget(key);
        self.barrier.forget(key);
        let Some(kept) = self.endpoints.get(key).filter(|it| is_ours(&it.object)) else {
            return Ok(Next::Event);
        };
        // Upstream leaves the objects of Services that lose their selector (#91072).
        if exists && self.cleanup == Cleanup::Keep {
            return Ok(Next::Event);
        }
        let preconditions = Preconditions { uid: kept.object.metadata.uid.clone(), resource_version: None };
        let params = DeleteParams::default().preconditions(preconditions);
        match self.api(key).delete(&key.name, &params).await {
            Ok(_) => Ok(Next::Event),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(Next::Event),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(Next::After(STALE_RETRY)),
            Err(source) => {
                Err(WriteError { what: "deletion", endpoints: key.clone(), source: Box::new(source) })
            }
        }
    }

    fn trigger(&self, service: &ServiceView, pods: &[Arc<PodView>]) -> Option<Timestamp> {
        let times = pods.iter().map(|it| (it.key.name.as_str().into(), it.ready_since)).collect();
        self.memory.with(&service.key, |it| it.tracker.observe(service, times))
    }

    fn published(&self, key: &ObjectKey) {
        self.memory.with(key, |it| it.tracker.written());
    }
}

/// The object to send: what there is of it stays but for what is ours.
fn object(
    service: &ServiceView,
    old: Option<&Endpoints>,
    wanted: Vec<k8s_openapi::api::core::v1::EndpointSubset>,
    cut: bool,
    trigger: Option<Timestamp>,
) -> Endpoints {
    let mut metadata = match old {
        Some(old) => old.metadata.clone(),
        None => ObjectMeta {
            name: Some(service.key.name.clone()),
            namespace: Some(service.key.namespace.clone()),
            ..ObjectMeta::default()
        },
    };
    let mut annotations = metadata.annotations.take().unwrap_or_default();
    annotations.remove(TRIGGER_TIME);
    annotations.remove(OVER_CAPACITY);
    annotations.extend(trigger.map(|at| (TRIGGER_TIME.to_owned(), at.to_string())));
    annotations.extend(cut.then(|| (OVER_CAPACITY.to_owned(), TRUNCATED.to_owned())));
    metadata.annotations = Some(annotations).filter(|it| !it.is_empty());
    metadata.labels = Some(labels(service));
    Endpoints { metadata, subsets: Some(wanted).filter(|it| !it.is_empty()) }
}

impl Reconcile for LegacyController {
    type Error = WriteError;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, WriteError> {
        if self.barrier.waits_for(key).is_some() {
            return Ok(Next::OwnWrites);
        }
        let (exists, managed) = {
            let index = lock(&self.index);
            let managed = index.managed(key).map(|it| (Arc::clone(it), index.members(key)));
            (index.exists(key), managed)
        };
        let Some((service, pods)) = managed else { return self.leave(key, exists).await };
        let began = Instant::now();
        if let Some(until) = self.memory.with(key, |it| it.rests_until).filter(|it| *it > began) {
            return Ok(Next::After(until - began));
        }
        let old = self.endpoints.get(key);
        let old = old.as_ref().map(|it| &*it.object);
        let (wanted, cut) = subsets(&service, &pods);
        let trigger = self.trigger(&service, &pods);
        let wanted_labels = labels(&service);
        if old.is_some_and(|it| fits(it, &wanted, &wanted_labels, cut)) {
            self.published(key);
            return Ok(Next::Event);
        }
        if old.is_none() && service.terminating {
            return Ok(Next::Event);
        }
        let object = object(&service, old, wanted, cut, trigger);
        let params = PostParams::default();
        let (what, reason, answer) = match old {
            None => ("creation", "FailedToCreateEndpoint", self.api(key).create(&params, &object).await),
            Some(_) => {
                ("update", "FailedToUpdateEndpoint", self.api(key).replace(&key.name, &params, &object).await)
            }
        };
        match answer {
            Ok(written) => {
                let resource_version = parse_version(written.metadata.resource_version.as_deref());
                let stored = barrier::Write::Stored { object: key.clone(), resource_version };
                self.barrier.record(key, Arc::clone(&self.view), stored);
                self.published(key);
                let rest = began.elapsed().saturating_mul(REST).min(LONGEST_REST);
                self.memory.with(key, |it| it.rests_until = Some(Instant::now() + rest));
                Ok(if self.barrier.waits_for(key).is_some() { Next::OwnWrites } else { Next::Event })
            }
            Err(kube::Error::Api(status)) if namespace_terminates(&status) => Ok(Next::Event),
            // The watch shows what is there now.
            Err(kube::Error::Api(status)) if status.code == 409 || (status.code == 404 && old.is_some()) => {
                Ok(Next::After(STALE_RETRY))
            }
            Err(source) => {
                let about = About {
                    kind: "Endpoints",
                    key: key.clone(),
                    uid: object.metadata.uid.clone().unwrap_or_default(),
                };
                let verb = if old.is_some() { "update endpoint" } else { "create endpoint for service" };
                let text = format!("Failed to {verb} {key}: {}", chain(&source));
                self.events.record(about, Severity::Warning, reason, text);
                Err(WriteError { what, endpoints: key.clone(), source: Box::new(source) })
            }
        }
    }
}
