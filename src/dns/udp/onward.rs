//! Datagrams whose answer has to come from elsewhere: handed from the threads to the async runtime, which replies later.
//!
//! thread ──[`Handover::offer`]──▶ bounded channel ──▶ [`serve`] ──`dns::forward`──▶ reply ──▶ socket of the thread
//!
//! A thread never waits: when the channel is full the client gets SERVFAIL at once.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::debug;

use super::platform;
use crate::dns::respond::Transport;
use crate::dns::responder::Responder;

/// Packets that wait to be taken on; about 1 MiB of them.
const WAITING: usize = 1024;
/// Packets that wait for others at once. Each costs some memory only: the sockets to upstream have a limit of their own.
const IN_FLIGHT: usize = 4096;
/// How long replies that are owed are waited for at the end.
const DRAIN: Duration = Duration::from_secs(2);

/// A datagram and the way back to its sender.
pub struct Datagram {
    /// The request.
    pub packet: Vec<u8>,
    /// Who asked.
    pub client: SocketAddr,
    /// The address of ours that was asked, on a wildcard socket: the source of the reply.
    pub asked: Option<IpAddr>,
    /// Where it came in.
    pub socket: Arc<UdpSocket>,
}

/// The threads' end.
#[derive(Clone)]
pub struct Handover(mpsc::Sender<Datagram>);

impl Handover {
    /// Both ends.
    pub fn new() -> (Self, mpsc::Receiver<Datagram>) {
        let (sender, receiver) = mpsc::channel(WAITING);
        (Self(sender), receiver)
    }

    /// Hands over without waiting. `false`: there is no room.
    pub fn offer(&self, datagram: Datagram) -> bool {
        self.0.try_send(datagram).is_ok()
    }
}

/// Completes and replies until every [`Handover`] is gone.
pub async fn serve(mut datagrams: mpsc::Receiver<Datagram>, responder: Arc<Responder>) {
    let permits = Arc::new(Semaphore::new(IN_FLIGHT));
    let mut tasks = JoinSet::new();
    loop {
        let permit = permits.clone().acquire_owned().await.expect("the semaphore is never closed");
        let Some(datagram) = datagrams.recv().await else { break };
        let responder = responder.clone();
        tasks.spawn(async move {
            if let Some(reply) =
                responder.complete(&datagram.packet, Transport::Udp, datagram.client.ip()).await
            {
                let Datagram { client, asked, socket, .. } = &datagram;
                if let Err(error) = platform::send_from(socket, &reply.octets, *client, *asked) {
                    debug!(%client, %error, "sending a datagram failed");
                }
            }
            drop(permit);
        });
        while tasks.try_join_next().is_some() {}
    }
    // What is not done by then ends with the set.
    let _ = timeout(DRAIN, async { while tasks.join_next().await.is_some() {} }).await;
}
