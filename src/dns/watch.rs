//! Keeps the index in step with an API server.
//!
//! API server ──list + watch──▶ `dns::narrow` ──▶ `dns::cache` ──▶ `dns::index`
//!
//! Three watches: Namespaces, Services, and EndpointSlices that carry a service name; with `pods: verified` one of Pods and
//! with `pendingFromStatefulsets` one of StatefulSets. Objects are narrowed as they arrive, so no full object outlives its
//! event. All events that are waiting form one batch and become visible together.
//! The strategy is list then watch, in pages: `sendInitialEvents` is off by default on some of the API servers supported
//! (1.33), and kube falls back only for servers that reject it, not for those that ignore it.
//! Lost watches are resumed with backoff; the last state keeps being served.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{BoxStream, StreamExt, select_all};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::cache::{Cache, Event, Input, Kinds};
use super::config::DnsConfig;
use super::index::Index;
use super::metrics::Metrics;
use super::narrow;
use super::selection::Selection;
use crate::model::ObjectKey;

/// Most events that become visible together: bounds the memory of a batch, not its latency, because only events that have
/// already arrived are taken.
const MAX_BATCH: usize = 1024;

/// Pods that are over have no name: the server leaves them out, and tells of their end as a deletion.
const POD_FIELDS: &str = "status.phase!=Succeeded,status.phase!=Failed,status.phase!=Unknown";

/// Most questions about the cache that wait for their turn; the next asker is turned away.
pub const MAX_INSPECTIONS: usize = 8;

/// A look at the cache between two batches, by which everything it holds is published. Must be quick: events wait.
pub type Inspection = Box<dyn FnOnce(&Cache) + Send>;

type Inputs = BoxStream<'static, Result<Input, watcher::Error>>;

/// Feeds `index` until `shutdown`. Calls `synced` once, after the first full lists are published. `inspections` have their
/// turn when no event is waiting.
pub async fn run(
    client: Client,
    index: Arc<Index>,
    config: DnsConfig,
    metrics: Metrics,
    mut inspections: mpsc::Receiver<Inspection>,
    synced: impl FnOnce() + Send,
    shutdown: CancellationToken,
) {
    let selection = match Selection::of(&config) {
        Ok(selection) => selection,
        // The configuration was checked before anything started.
        Err(error) => {
            error!(%error, "cannot watch");
            return;
        }
    };
    let labels = |selector: &Option<String>| match selector {
        Some(selector) => watcher::Config::default().labels(selector),
        None => watcher::Config::default(),
    };
    let (namespaces, services) = (labels(&selection.namespaces), labels(&selection.services));
    let mut streams = vec![
        inputs(Api::<core::Namespace>::all(client.clone()), namespaces, Input::Namespace, narrow::namespace),
        inputs(Api::<core::Service>::all(client.clone()), services, Input::Service, narrow::service),
    ];
    let kinds = Kinds::of(&config);
    if kinds.slices {
        let slices = watcher::Config::default().labels(&selection.slices);
        streams.push(inputs(Api::<EndpointSlice>::all(client.clone()), slices, Input::Slice, narrow::slice));
    }
    if kinds.pods {
        let pods = watcher::Config::default().fields(POD_FIELDS);
        streams.push(inputs(Api::<core::Pod>::all(client.clone()), pods, Input::Pod, narrow::pod));
    }
    if kinds.sets {
        let all = watcher::Config::default();
        streams.push(inputs(Api::<StatefulSet>::all(client), all, Input::Set, narrow::set));
    }
    let mut batches = select_all(streams).ready_chunks(MAX_BATCH);
    let mut cache = Cache::new(&config);
    let mut synced = Some(synced);
    loop {
        let batch = tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            batch = batches.next() => match batch {
                Some(batch) => batch,
                None => return,
            },
            Some(inspect) = inspections.recv() => {
                inspect(&cache);
                continue;
            }
        };
        let now = Timestamp::now();
        let seconds = u32::try_from(now.as_second()).unwrap_or(0);
        cache.at(seconds);
        for input in batch {
            match input {
                Ok(input) => cache.apply(input),
                Err(error) => {
                    metrics.watch_failed();
                    warn!(error = &error as &dyn std::error::Error, "watch failed, will be resumed");
                }
            }
        }
        metrics.event_at(now.as_second());
        let published = cache.publish(&index, seconds);
        if published.whole {
            metrics.relisted();
            debug!(services = published.services, "published a full list");
        }
        if published.whole
            && let Some(synced) = synced.take()
        {
            info!(services = published.services, "synced");
            synced();
        }
        for (class, began) in published.triggers {
            let took = Timestamp::now().duration_since(began);
            metrics.programmed(class, Duration::try_from(took).unwrap_or(Duration::ZERO));
        }
    }
}

/// One watch as inputs of the cache. An object that means nothing to DNS counts as removed.
fn inputs<K, T>(
    api: Api<K>,
    config: watcher::Config,
    wrap: fn(Event<T>) -> Input,
    narrow: fn(&K) -> Option<T>,
) -> Inputs
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    T: Send + 'static,
{
    let events = watcher(api, config).default_backoff();
    let events = events.filter_map(move |event| {
        let event = event.map(|event| {
            let event = match event {
                watcher::Event::Init => Event::ListStart,
                watcher::Event::InitApply(object) => Event::Listed(narrow(&object)?),
                watcher::Event::InitDone => Event::ListEnd,
                watcher::Event::Apply(object) => match narrow(&object) {
                    Some(narrowed) => Event::Applied(narrowed),
                    None => Event::Removed(key(&object)),
                },
                watcher::Event::Delete(object) => Event::Removed(key(&object)),
            };
            Some(wrap(event))
        });
        std::future::ready(event.transpose())
    });
    events.boxed()
}

fn key<K: Resource>(object: &K) -> ObjectKey {
    let meta = object.meta();
    ObjectKey::new(meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
}
