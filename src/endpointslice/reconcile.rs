//! Shell: one Service, its slices written.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::discovery::v1::{
    Endpoint as ApiEndpoint, EndpointConditions, EndpointPort, EndpointSlice,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, PostParams, Preconditions};
use kube::core::Status;
use kube::{Api, Client};
use tracing::debug;

use super::desired::{desired, labels};
use super::model::{Endpoint, NodeView, PodView, ServiceView, SliceView, TRIGGER_TIME};
use super::plan::{Content, Write, owner, plan};
use super::trigger::Tracker;
use super::{label_bucket, node_bucket, service_bucket};
use crate::k8s::watch::{Store, parse_version};
use crate::model::ObjectKey;
use crate::runtime::barrier::{self, View};
use crate::runtime::{Barrier, Next, Reconcile};

/// Characters of generated names (apimachinery `util/rand`): no vowels, so no words.
const NAME_ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
/// Length of the generated part of a name.
const NAME_SUFFIX: usize = 5;
/// Pause before a Service is planned anew because a write met a newer state than our caches show.
const STALE_RETRY: Duration = Duration::from_millis(5);

/// A slice write that failed. The Service is tried again.
#[derive(Debug, thiserror::Error)]
#[error("API server did not take the {what} of a slice of service {service}")]
pub struct WriteError {
    what: &'static str,
    service: ObjectKey,
    #[source]
    source: Box<kube::Error>,
}

/// The caches a Service's slices are computed from.
#[derive(Clone)]
pub struct Stores {
    /// Services, by the first pair of their selector.
    pub services: Store<ServiceView>,
    /// Pods, by their labels and their node.
    pub pods: Store<PodView>,
    /// Nodes.
    pub nodes: Store<NodeView>,
    /// Slices of this controller, by Service.
    pub slices: Store<SliceView>,
}

impl Default for Stores {
    fn default() -> Self {
        Self {
            services: Store::indexed_by(|it: &ServiceView| {
                let anchor = it.selector.iter().next();
                anchor.map(|(key, value)| label_bucket(&it.key.namespace, key, value)).into_iter().collect()
            }),
            pods: Store::indexed_by(|it: &PodView| {
                let labels = it.labels.iter().map(|(key, value)| label_bucket(&it.key.namespace, key, value));
                labels.chain([node_bucket(&it.node_name)]).collect()
            }),
            nodes: Store::default(),
            slices: Store::indexed_by(|it: &SliceView| {
                vec![service_bucket(&ObjectKey::new(it.key.namespace.clone(), it.service.clone()))]
            }),
        }
    }
}

/// Everything a Service's reconcile may touch.
pub struct SliceController {
    client: Client,
    stores: Stores,
    max: usize,
    barrier: Barrier,
    view: Arc<dyn View>,
    memory: Mutex<HashMap<ObjectKey, Memory>>,
}

/// What is remembered of a Service between reconciles.
#[derive(Default)]
struct Memory {
    tracker: Tracker,
    /// Names of creations whose outcome is unknown. They are used again first, so that no slice is made twice.
    unsure_names: Vec<String>,
}

/// How a write ended that did not fail.
enum Outcome {
    Done,
    /// The object is not what our caches show.
    Stale,
    /// The namespace is on its way out, nothing can be created.
    NamespaceTerminates,
}

impl SliceController {
    /// A controller over these caches; `max` endpoints per slice.
    pub fn new(client: Client, stores: Stores, max: usize) -> Self {
        let view = Arc::new(stores.slices.clone());
        Self { client, stores, max, barrier: Barrier::default(), view, memory: Mutex::default() }
    }

    fn with_memory<R>(&self, service: &ObjectKey, f: impl FnOnce(&mut Memory) -> R) -> R {
        let mut memory = self.memory.lock().expect("no code panics while it holds the map");
        f(memory.entry(service.clone()).or_default())
    }

    /// The pods the selector matches, by the pair that the fewest pods carry.
    fn pods(&self, service: &ServiceView) -> Vec<Arc<PodView>> {
        let namespace = &service.key.namespace;
        let lists = service
            .selector
            .iter()
            .map(|(key, value)| self.stores.pods.by_index(&label_bucket(namespace, key, value)));
        let mut pods = lists.min_by_key(Vec::len).unwrap_or_default();
        pods.retain(|it| service.selects(&it.labels));
        pods
    }

    async fn write(
        &self,
        service: &ServiceView,
        write: Write,
        trigger: Option<Timestamp>,
        versions: &mut HashMap<String, String>,
    ) -> Result<Outcome, WriteError> {
        let api: Api<EndpointSlice> = Api::namespaced(self.client.clone(), &service.key.namespace);
        let params = PostParams::default();
        let (what, outcome) = match write {
            Write::Create(content) => {
                let unsure = self.with_memory(&service.key, |it| it.unsure_names.pop());
                let retried = unsure.is_some();
                let name = unsure.unwrap_or_else(|| new_name(&service.key.name));
                let meta = ObjectMeta {
                    name: Some(name.clone()),
                    namespace: Some(service.key.namespace.clone()),
                    ..ObjectMeta::default()
                };
                let created = api.create(&params, &object(service, content, meta, trigger)).await;
                match &created {
                    Err(kube::Error::Api(status)) if namespace_terminates(status) => {
                        return Ok(Outcome::NamespaceTerminates);
                    }
                    Err(kube::Error::Api(status)) if retried && status.code == 409 => {
                        self.await_first_try(&api, service, name).await;
                    }
                    // A refusal is certain; a timeout, a broken connection or a server error is not.
                    Err(error) if !matches!(error, kube::Error::Api(status) if status.code < 500) => {
                        self.with_memory(&service.key, |it| it.unsure_names.push(name));
                    }
                    _ => {}
                }
                ("creation", created.map(Some))
            }
            Write::Update(old, content) => {
                let version = versions.get(&old.uid).unwrap_or(&old.version);
                let meta = ObjectMeta {
                    name: Some(old.key.name.clone()),
                    namespace: Some(old.key.namespace.clone()),
                    uid: Some(old.uid.clone()),
                    resource_version: Some(version.clone()),
                    annotations: Some(old.annotations.clone()),
                    finalizers: Some(old.finalizers.clone()).filter(|it| !it.is_empty()),
                    ..ObjectMeta::default()
                };
                let slice = object(service, content, meta, trigger);
                ("update", api.replace(&old.key.name, &params, &slice).await.map(Some))
            }
            Write::Delete(old) => {
                let preconditions = Preconditions { uid: Some(old.uid.clone()), resource_version: None };
                let params = DeleteParams::default().preconditions(preconditions);
                let deleted = api.delete(&old.key.name, &params).await.map(|_| None);
                if deleted.is_ok() && old.finalizers.is_empty() {
                    let gone = barrier::Write::Gone { object: old.key.clone(), uid: old.uid.clone() };
                    self.barrier.record(&service.key, Arc::clone(&self.view), gone);
                }
                ("deletion", deleted)
            }
        };
        match outcome {
            Ok(Some(written)) => {
                let version = written.metadata.resource_version.unwrap_or_default();
                let object =
                    ObjectKey::new(service.key.namespace.clone(), written.metadata.name.unwrap_or_default());
                let stored =
                    barrier::Write::Stored { object, resource_version: parse_version(Some(&version)) };
                versions.insert(written.metadata.uid.unwrap_or_default(), version);
                self.barrier.record(&service.key, Arc::clone(&self.view), stored);
                Ok(Outcome::Done)
            }
            Ok(None) => Ok(Outcome::Done),
            Err(kube::Error::Api(status)) if status.code == 404 && what == "deletion" => Ok(Outcome::Done),
            Err(kube::Error::Api(status))
                if status.code == 409 || (status.code == 404 && what == "update") =>
            {
                Ok(Outcome::Stale)
            }
            Err(source) => Err(WriteError { what, service: service.key.clone(), source: Box::new(source) }),
        }
    }

    /// A creation whose outcome was unknown did arrive: nothing is planned until our caches show it.
    async fn await_first_try(&self, api: &Api<EndpointSlice>, service: &ServiceView, name: String) {
        match api.get_opt(&name).await {
            Ok(Some(slice)) => {
                let resource_version = parse_version(slice.metadata.resource_version.as_deref());
                let object = ObjectKey::new(service.key.namespace.clone(), name);
                let stored = barrier::Write::Stored { object, resource_version };
                self.barrier.record(&service.key, Arc::clone(&self.view), stored);
            }
            Ok(None) => {}
            Err(_) => self.with_memory(&service.key, |it| it.unsure_names.push(name)),
        }
    }
}

impl Reconcile for SliceController {
    type Error = WriteError;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, WriteError> {
        // A Service that is gone takes its slices along by garbage collection; one that is no longer managed leaves
        // them (upstream, #91072).
        let Some(service) = self.stores.services.get(key).filter(|it| it.managed()) else {
            self.barrier.forget(key);
            self.memory.lock().expect("no code panics while it holds the map").remove(key);
            return Ok(Next::Event);
        };
        if self.barrier.waits_for(key).is_some() {
            return Ok(Next::OwnWrites);
        }
        let pods = self.pods(&service);
        let slices = self.stores.slices.by_index(&service_bucket(key));
        let node = |name: &str| self.stores.nodes.get(&ObjectKey::new("", name));
        let writes = plan(&service, &slices, &desired(&service, &pods, node), self.max);
        let trigger = self.with_memory(key, |it| {
            it.unsure_names.retain(|name| slices.iter().all(|slice| slice.key.name != *name));
            it.tracker.observe(&service, &pods)
        });
        debug!(pods = pods.len(), slices = slices.len(), writes = writes.len(), "planned");
        let mut versions = HashMap::new();
        for write in writes {
            match self.write(&service, write, trigger, &mut versions).await? {
                Outcome::Done => {}
                Outcome::Stale => return Ok(Next::After(STALE_RETRY)),
                Outcome::NamespaceTerminates => return Ok(Next::Event),
            }
        }
        self.with_memory(key, |it| it.tracker.written());
        Ok(if self.barrier.waits_for(key).is_some() { Next::OwnWrites } else { Next::Event })
    }
}

/// Whether a creation was refused because the namespace is on its way out.
fn namespace_terminates(status: &Status) -> bool {
    let causes = status.details.iter().flat_map(|it| &it.causes);
    status.code == 403 && causes.into_iter().any(|it| it.reason == "NamespaceTerminating")
}

fn object(
    service: &ServiceView,
    content: Content,
    mut meta: ObjectMeta,
    trigger: Option<Timestamp>,
) -> EndpointSlice {
    let mut annotations = meta.annotations.take().unwrap_or_default();
    match trigger {
        Some(at) => drop(annotations.insert(TRIGGER_TIME.to_owned(), at.to_string())),
        None => drop(annotations.remove(TRIGGER_TIME)),
    }
    meta.annotations = Some(annotations).filter(|it| !it.is_empty());
    meta.labels = Some(labels(service));
    meta.owner_references = Some(vec![owner(service)]);
    let ports = content.ports.into_iter().map(|it| EndpointPort {
        name: Some(it.name),
        protocol: Some(it.protocol),
        port: Some(it.port),
        app_protocol: it.app_protocol,
    });
    EndpointSlice {
        metadata: meta,
        address_type: content.family.as_str().to_owned(),
        ports: Some(ports.collect()),
        endpoints: Some(content.endpoints.into_iter().map(endpoint).collect()),
    }
}

fn endpoint(it: Endpoint) -> ApiEndpoint {
    ApiEndpoint {
        addresses: it.addresses,
        conditions: Some(EndpointConditions {
            ready: it.conditions.ready,
            serving: it.conditions.serving,
            terminating: it.conditions.terminating,
        }),
        hostname: it.hostname,
        node_name: it.node_name,
        zone: it.zone,
        target_ref: it.target.map(|it| ObjectReference {
            kind: Some("Pod".to_owned()),
            namespace: Some(it.namespace),
            name: Some(it.name),
            uid: Some(it.uid),
            ..ObjectReference::default()
        }),
        ..ApiEndpoint::default()
    }
}

/// `<service>-<5 random characters>`, chosen here so that a creation of unknown outcome can be tried again as itself.
fn new_name(service: &str) -> String {
    let random = uuid::Uuid::new_v4();
    let letters = random.as_bytes().iter().take(NAME_SUFFIX);
    let suffix: String =
        letters.map(|it| char::from(NAME_ALPHABET[usize::from(*it) % NAME_ALPHABET.len()])).collect();
    format!("{service}-{suffix}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::endpointslice::model::Family;

    #[test]
    fn a_written_slice_reads_back_as_planned_and_keeps_foreign_annotations() {
        let service = json!({"metadata": {"name": "web", "namespace": "demo", "uid": "s"},
            "spec": {"selector": {"app": "web"}, "clusterIP": "None", "ipFamilies": ["IPv4"]}});
        let service = ServiceView::narrow(serde_json::from_value(service).unwrap());
        let annotations = [("mine".to_owned(), "1".to_owned()), (TRIGGER_TIME.to_owned(), "old".to_owned())];
        let meta = ObjectMeta { annotations: Some(annotations.into()), ..ObjectMeta::default() };
        let content = Content { family: Family::V4, ports: Vec::new(), endpoints: Vec::new() };
        let written = object(&service, content, meta.clone(), None);
        let read = SliceView::narrow(written.clone()).unwrap();
        assert_eq!(plan(&service, &[Arc::new(read)], &desired(&service, &[], |_| None), 100), []);
        assert_eq!(written.metadata.annotations.unwrap().into_keys().collect::<Vec<_>>(), ["mine"]);
        let content = Content { family: Family::V4, ports: Vec::new(), endpoints: Vec::new() };
        let at = Timestamp::from_nanosecond(1_500_000_000).unwrap();
        let annotations = object(&service, content, meta, Some(at)).metadata.annotations.unwrap();
        assert_eq!(annotations[TRIGGER_TIME], "1970-01-01T00:00:01.5Z");
        assert_eq!(new_name("web").len(), 9);
    }
}

#[cfg(test)]
#[path = "reconcile_tests.rs"]
mod answered;
