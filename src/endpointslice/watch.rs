//! Keeps the index in step with an API server.
//!
//! API server ──list + watch──▶ `narrow` ──▶ [`Event`]s ──▶ index ──Services──▶ queue
//!
//! A list is handed over object by object, so that it is never in memory beside the index. Errors are retried for ever
//! with backoff (`k8s::resume`); the last state stays meanwhile.

use std::pin::pin;

use futures::StreamExt as _;
use kube::runtime::watcher;
use kube::{Api, Client, Resource as _};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::k8s::resume::resumed;
use crate::k8s::watch::parse_version;
use crate::k8s::watched::{Kind, Watched};
use crate::model::ObjectKey;
use crate::runtime::error::chain;

/// What a watch tells.
#[derive(Debug)]
pub enum Event<T> {
    /// A list begins; it shows every write made before now.
    Begin,
    /// One object of the list.
    Listed(T),
    /// The list is complete.
    Done,
    /// An object as it is now.
    Apply(T),
    /// An object is gone, or means nothing here any more.
    Gone {
        /// Which one.
        object: ObjectKey,
        /// resourceVersion of the event, 0 if it has none.
        version: u64,
    },
}

/// Tells `on_event` of every object of a kind until `shutdown`.
pub async fn feed<T: Kind<View = Option<T>>>(
    client: Client,
    config: watcher::Config,
    mut on_event: impl FnMut(Event<T>) + Send,
    shutdown: CancellationToken,
) {
    let api: Api<Watched<T>> = Api::all(client);
    let mut events = pin!(resumed(api, config));
    let mut listed = 0;
    loop {
        let event = tokio::select! {
            () = shutdown.cancelled() => return,
            event = events.next() => event,
        };
        match event {
            None => return,
            Some(Err(error)) => {
                warn!(resource = T::PLURAL, error = %chain(&error), "watch failed, retrying");
            }
            Some(Ok(watcher::Event::Init)) => {
                listed = 0;
                on_event(Event::Begin);
            }
            Some(Ok(watcher::Event::InitApply(object))) => {
                if let Some(view) = object.view {
                    listed += 1;
                    on_event(Event::Listed(view));
                }
            }
            Some(Ok(watcher::Event::InitDone)) => {
                debug!(resource = T::PLURAL, objects = listed, "synced");
                on_event(Event::Done);
            }
            Some(Ok(watcher::Event::Apply(Watched { view: Some(view), .. }))) => on_event(Event::Apply(view)),
            Some(Ok(watcher::Event::Apply(object) | watcher::Event::Delete(object))) => {
                let meta = object.meta();
                let part = |it: &Option<String>| it.clone().unwrap_or_default();
                let version = parse_version(meta.resource_version.as_deref());
                on_event(Event::Gone {
                    object: ObjectKey::new(part(&meta.namespace), part(&meta.name)),
                    version,
                });
            }
        }
    }
}
