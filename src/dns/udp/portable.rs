//! One datagram at a time, with what the standard library has.

use std::io;
use std::net::{IpAddr, UdpSocket};
use std::time::{Duration, Instant};

use tracing::debug;

use super::{MAX_QUERY, MAX_REPLY};
use crate::dns::responder::UdpResponder;

/// How often a waiting thread looks whether it should stop.
const PATIENCE: Duration = Duration::from_millis(200);

/// One socket with its buffer.
pub struct Receiver {
    socket: UdpSocket,
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
    pub fn new(socket: UdpSocket, _: IpAddr) -> Self {
        Self { socket, query: vec![0; MAX_QUERY].into(), reply: vec![0; MAX_REPLY].into() }
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
        let reply = responder.answer(&self.query[..len], &mut self.reply);
        responder.took(began.elapsed(), 1);
        if let Some(len) = reply
            && let Err(error) = self.socket.send_to(&self.reply[..len], client)
        {
            debug!(%client, %error, "sending a datagram failed");
        }
    }
}

/// The wait ends by itself.
pub fn wake(_: &UdpSocket) {}
