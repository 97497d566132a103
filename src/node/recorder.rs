//! Writes events one after the other, apart from everything else.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::events::{Happening, object};

/// Events that may wait to be written. A thousand pods make some four thousand at once; beyond the bound the newest
/// are dropped, as a cluster's event rate limits do.
const WAITING_EVENTS: usize = 16_384;

/// A handle that takes events without waiting.
#[derive(Clone)]
pub struct Recorder(mpsc::Sender<(Timestamp, Happening)>);

/// The waiting events of a [`Recorder`].
pub type Waiting = mpsc::Receiver<(Timestamp, Happening)>;

impl Recorder {
    /// A recorder and the queue that [`write`] empties.
    pub fn new() -> (Self, Waiting) {
        let (sender, receiver) = mpsc::channel(WAITING_EVENTS);
        (Self(sender), receiver)
    }

    /// Queues an event that happened now.
    pub fn record(&self, happening: Happening) {
        if self.0.try_send((Timestamp::now(), happening)).is_err() {
            debug!("event dropped: the queue is full");
        }
    }
}

/// Writes queued events in their order until `shutdown`. An event that is refused is dropped.
pub async fn write(client: Client, node: String, mut waiting: Waiting, shutdown: CancellationToken) {
    let mut serial = 0;
    loop {
        let next = tokio::select! {
            () = shutdown.cancelled() => return,
            next = waiting.recv() => next,
        };
        let Some((at, happening)) = next else { return };
        serial += 1;
        let event = object(happening, &node, at, serial);
        let namespace = event.metadata.namespace.clone().unwrap_or_default();
        let api: Api<Event> = Api::namespaced(client.clone(), &namespace);
        if let Err(error) = api.create(&PostParams::default(), &event).await {
            debug!(%error, "event not written");
        }
    }
}
