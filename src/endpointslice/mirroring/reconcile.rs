//! Shell: one Endpoints object, its mirrored slices written.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Endpoints;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{DeleteParams, PostParams, Preconditions};
use kube::{Api, Client};
use tokio::time::Instant;

use super::Options;
use super::plan::{Plan, Write, mirrorable, plan};
use crate::endpointslice::Cleanup;
use crate::endpointslice::events::{About, Recorder, Severity};
use crate::endpointslice::legacy::desired::is_ours;
use crate::endpointslice::memory::Memories;
use crate::endpointslice::metrics::{MirrorMetrics, Operation};
use crate::endpointslice::model::{SERVICE_NAME, ServiceView};
use crate::endpointslice::object::slice_name;
use crate::endpointslice::write::namespace_terminates;
use crate::k8s::kept::Kept;
use crate::k8s::watch::{Cached as _, Store, parse_version};
use crate::k8s::watched::Watched;
use crate::model::ObjectKey;
use crate::runtime::barrier::{self, View};
use crate::runtime::{Barrier, Next, Reconcile};

/// Pause before an object is looked at anew because a write met a newer state than our caches show.
const STALE_RETRY: Duration = Duration::from_millis(5);

/// A slice write that failed. The object is tried again, for ever.
#[derive(Debug, thiserror::Error)]
#[error("API server did not take the {what} of a slice that mirrors endpoints {endpoints}")]
pub struct WriteError {
    what: &'static str,
    endpoints: ObjectKey,
    #[source]
    source: Box<kube::Error>,
}

/// The caches.
#[derive(Clone)]
pub struct Stores {
    /// Every Endpoints object.
    pub endpoints: Store<Kept<Endpoints>>,
    /// Every Service.
    pub services: Store<Kept<Watched<ServiceView>>>,
    /// Mirrored slices, by the Service they name.
    pub slices: Store<Kept<EndpointSlice>>,
}

impl Default for Stores {
    fn default() -> Self {
        Self {
            endpoints: Store::default(),
            services: Store::default(),
            slices: Store::indexed_by(|it: &Kept<EndpointSlice>| {
                service(it).map(|it| it.to_string()).into_iter().collect()
            }),
        }
    }
}

/// The Service that the label of a slice names.
pub fn service(slice: &Kept<EndpointSlice>) -> Option<ObjectKey> {
    let name = slice.object.metadata.labels.as_ref()?.get(SERVICE_NAME)?;
    Some(ObjectKey::new(slice.key().namespace, name.clone()))
}

/// Whether the Service, of any type, has a selector.
pub fn has_selector(service: &Watched<ServiceView>) -> bool {
    service.view.as_ref().is_some_and(|it| it.has_selector)
}

/// Everything a reconcile may touch.
pub struct MirrorController {
    client: Client,
    stores: Stores,
    max: usize,
    cleanup: Cleanup,
    barrier: Barrier,
    view: Arc<dyn View>,
    metrics: MirrorMetrics,
    events: Recorder,
    /// Names of creations whose outcome is unknown; endpoints and slices there should be.
    memory: Memories<Memory>,
}

#[derive(Default)]
struct Memory {
    unsure_names: Vec<String>,
    desired: (usize, usize),
    slices: usize,
}

/// How a write ended that did not fail.
enum Outcome {
    Done,
    Stale,
    NamespaceTerminates,
}

impl MirrorController {
    /// A controller over these caches.
    pub fn new(client: Client, stores: Stores, options: &Options, events: Recorder) -> Self {
        Self {
            client,
            view: Arc::new(stores.slices.clone()),
            stores,
            max: options.max_endpoints_per_subset,
            cleanup: options.cleanup,
            barrier: Barrier::default(),
            metrics: options.mirror_metrics.clone(),
            events,
            memory: Memories::default(),
        }
    }

    /// The object to mirror; `None`: nothing may be mirrored under this name.
    fn source(&self, key: &ObjectKey) -> Option<Arc<Endpoints>> {
        let endpoints = self.stores.endpoints.get(key)?.object.clone();
        let service = self.stores.services.get(key)?;
        // What the legacy controller left behind is nobody's wish (D-1 of the documentation).
        let left_over = self.cleanup == Cleanup::Delete && is_ours(&endpoints);
        (mirrorable(&endpoints) && !has_selector(&service.object) && !left_over).then_some(endpoints)
    }

    async fn write(&self, key: &ObjectKey, write: Write) -> Result<Outcome, WriteError> {
        let api: Api<EndpointSlice> = Api::namespaced(self.client.clone(), &key.namespace);
        let params = PostParams::default();
        let (what, answer) = match write {
            Write::Create(mut slice) => {
                let unsure = self.memory.with(key, |it| it.unsure_names.pop());
                let name = unsure.unwrap_or_else(|| slice_name(&key.name, uuid::Uuid::new_v4().as_bytes()));
                slice.metadata.name = Some(name.clone());
                let answer = api.create(&params, &slice).await;
                match &answer {
                    Err(kube::Error::Api(status)) if namespace_terminates(status) => {
                        return Ok(Outcome::NamespaceTerminates);
                    }
                    Err(error) if !matches!(error, kube::Error::Api(status) if status.code < 500) => {
                        self.memory.with(key, |it| it.unsure_names.push(name));
                    }
                    _ => {}
                }
                ("create", answer.map(Some))
            }
            Write::Update(slice) => {
                let name = slice.metadata.name.clone().unwrap_or_default();
                ("update", api.replace(&name, &params, &slice).await.map(Some))
            }
            Write::Delete(slice) => {
                let name = slice.metadata.name.clone().unwrap_or_default();
                let uid = slice.metadata.uid.clone();
                let preconditions = Preconditions { uid: uid.clone(), resource_version: None };
                let params = DeleteParams::default().preconditions(preconditions);
                let answer = api.delete(&name, &params).await.map(|_| None);
                if answer.is_ok() && slice.metadata.finalizers.as_ref().is_none_or(Vec::is_empty) {
                    let object = ObjectKey::new(key.namespace.clone(), name);
                    let gone = barrier::Write::Gone { object, uid: uid.unwrap_or_default() };
                    self.barrier.record(key, Arc::clone(&self.view), gone);
                }
                ("delete", answer)
            }
        };
        match answer {
            Ok(written) => {
                if let Some(written) = written {
                    let resource_version = parse_version(written.metadata.resource_version.as_deref());
                    let name = written.metadata.name.unwrap_or_default();
                    let object = ObjectKey::new(key.namespace.clone(), name);
                    let stored = barrier::Write::Stored { object, resource_version };
                    self.barrier.record(key, Arc::clone(&self.view), stored);
                }
                self.metrics.changes.get_or_create(&Operation { operation: what }).inc();
                Ok(Outcome::Done)
            }
            Err(kube::Error::Api(status)) if status.code == 404 && what == "delete" => Ok(Outcome::Done),
            Err(kube::Error::Api(status)) if status.code == 409 || status.code == 404 => Ok(Outcome::Stale),
            Err(source) => Err(WriteError { what, endpoints: key.clone(), source: Box::new(source) }),
        }
    }

    fn tell(&self, endpoints: &Endpoints, key: &ObjectKey, plan: &Plan) {
        let about = || About {
            kind: "Endpoints",
            key: key.clone(),
            uid: endpoints.metadata.uid.clone().unwrap_or_default(),
        };
        if plan.invalid > 0 {
            let text =
                format!("Skipped {} invalid IP addresses when mirroring to EndpointSlices", plan.invalid);
            self.events.record(about(), Severity::Warning, "InvalidIPAddress", text);
        }
        if plan.skipped > plan.invalid {
            let text = format!(
                "A max of {} addresses can be mirrored to EndpointSlices per Endpoints subset. {} addresses were skipped",
                self.max, plan.skipped
            );
            self.events.record(about(), Severity::Warning, "TooManyAddressesToMirror", text);
        }
    }

    /// Books what there is and should be of one object.
    fn count(&self, key: &ObjectKey, desired: (usize, usize), slices: usize) {
        self.memory.with(key, |it| {
            let step = |now: usize, before: usize| now as i64 - before as i64;
            self.metrics.desired.inc_by(step(desired.0, it.desired.0));
            self.metrics.desired_slices.inc_by(step(desired.1, it.desired.1));
            self.metrics.slices.inc_by(step(slices, it.slices));
            (it.desired, it.slices) = (desired, slices);
        });
    }
}

impl Reconcile for MirrorController {
    type Error = WriteError;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, WriteError> {
        if self.barrier.waits_for(key).is_some() {
            return Ok(Next::OwnWrites);
        }
        let began = Instant::now();
        let kept = self.stores.slices.by_index(&key.to_string());
        let slices: Vec<_> = kept.iter().map(|it| Arc::clone(&it.object)).collect();
        let writes = match self.source(key) {
            Some(endpoints) => {
                let plan = plan(&endpoints, &slices, self.max);
                self.metrics.added.observe(plan.totals[0] as f64);
                self.metrics.updated.observe(plan.totals[1] as f64);
                self.metrics.removed.observe(plan.totals[2] as f64);
                self.metrics.skipped.observe(plan.skipped as f64);
                self.count(key, plan.desired, slices.len());
                if !plan.writes.is_empty() || slices.is_empty() {
                    self.tell(&endpoints, key, &plan);
                }
                plan.writes
            }
            None => {
                self.count(key, (0, 0), 0);
                let alive = slices.into_iter().filter(|it| it.metadata.deletion_timestamp.is_none());
                alive.map(Write::Delete).collect()
            }
        };
        self.memory.with(key, |it| {
            let known = |name: &String| kept.iter().any(|it| it.object.metadata.name.as_ref() == Some(name));
            it.unsure_names.retain(|name| !known(name));
        });
        for write in writes {
            match self.write(key, write).await? {
                Outcome::Done => {}
                Outcome::Stale => return Ok(Next::After(STALE_RETRY)),
                Outcome::NamespaceTerminates => return Ok(Next::Event),
            }
        }
        self.metrics.duration.observe(began.elapsed().as_secs_f64());
        if self.barrier.waits_for(key).is_some() {
            return Ok(Next::OwnWrites);
        }
        if self.stores.endpoints.get(key).is_none() && kept.is_empty() {
            self.memory.forget(key);
        }
        Ok(Next::Event)
    }
}
