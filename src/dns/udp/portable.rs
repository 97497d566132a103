//! One datagram at a time, with what the standard library has.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::debug;

use super::onward::{Datagram, Handover};
use super::{MAX_QUERY, MAX_REPLY};
use crate::dns::respond::Handled;
use crate::dns::responder::UdpResponder;

/// How often a waiting thread looks whether it should stop.
const PATIENCE: Duration = Duration::from_millis(200);

/// One socket with its buffer.
pub struct Receiver {
    socket: Arc<UdpSocket>,
    handover: Handover,
    query: Box<[u8]>,
    reply: Box<[u8]>,
}

/// Makes a wait end from time to time. Returns the address bound.
///
/// # Errors
/// The socket takes no timeout.
pub fn prepare(socket: &UdpSocket) -> io::Result<IpAddr> {
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket.local_addr()?.ip())
}

impl Receiver {
    /// For a prepared socket.
    pub fn new(socket: Arc<UdpSocket>, _: IpAddr, handover: Handover) -> Self {
        Self { socket, handover, query: vec![0; MAX_QUERY].into(), reply: vec![0; MAX_REPLY].into() }
    }

    /// Waits for a datagram for a while and answers it.
    pub fn answer_some(&mut self, responder: &mut UdpResponder) {
        let (len, client) = match self.socket.recv_from(&mut self.query) {
            Ok(received) => received,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                return;
            }
            Err(error) => return debug!(%error, "receiving a datagram failed"),
        };
        if client.port() == 0 {
            return;
        }
        let began = Instant::now();
        let packet = &self.query[..len];
        let reply = match responder.answer(&responder.view(), packet, &|| client.ip(), &mut self.reply) {
            Handled::Silence => None,
            Handled::Here(len) => Some(len),
            Handled::Onward => {
                let (packet, socket) = (packet.to_vec(), self.socket.clone());
                let taken = self.handover.offer(Datagram { packet, client, asked: None, socket });
                if taken { None } else { responder.decline(&self.query[..len], &mut self.reply) }
            }
        };
        responder.took(began.elapsed(), 1);
        if let Some(len) = reply
            && let Err(error) = self.socket.send_to(&self.reply[..len], client)
        {
            debug!(%client, %error, "sending a datagram failed");
        }
    }
}

/// Sends one reply. The kernel chooses the source address.
///
/// # Errors
/// It cannot be sent.
pub fn send_from(socket: &UdpSocket, octets: &[u8], client: SocketAddr, _: Option<IpAddr>) -> io::Result<()> {
    socket.send_to(octets, client).map(drop)
}

/// The wait ends by itself.
pub fn wake(_: &UdpSocket) {}
