//! DNS over UDP: plain threads, each with a socket of its own, so that no two share anything but the data.
//!
//! socket ──datagrams──▶ [`Worker`] ──▶ `dns::responder` ──▶ replies ──▶ socket
//!
//! On Linux datagrams are received and sent in batches (`recvmmsg`, `sendmmsg`), and on a wildcard address each reply
//! leaves from the address that was asked: clients drop a reply from any other. Elsewhere the kernel chooses, one datagram
//! at a time.
//! Sources: RFC 2181 §4.1, RFC 3542 §6, ip(7), ipv6(7), udp(7), recvmmsg(2).

use std::io;
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use self::onward::Handover;
use super::responder::Responder;

pub mod onward;
#[cfg_attr(target_os = "linux", path = "linux.rs")]
#[cfg_attr(not(target_os = "linux"), path = "portable.rs")]
mod platform;

/// Octets of a datagram that are read. A longer one is cut, and so is unreadable: no query comes near.
const MAX_QUERY: usize = 4096;
/// Longest reply: the upper end of `maxUdpPayload`.
const MAX_REPLY: usize = 4096;

/// A thread that answers the datagrams of one socket.
pub struct Worker {
    thread: Option<JoinHandle<()>>,
    socket: UdpSocket,
    stopping: Arc<AtomicBool>,
}

impl Worker {
    /// Starts answering.
    ///
    /// # Errors
    /// The socket or the thread cannot be set up.
    pub fn start(socket: UdpSocket, responder: Arc<Responder>, handover: Handover) -> io::Result<Self> {
        let stopping = Arc::new(AtomicBool::new(false));
        let address = platform::prepare(&socket)?;
        let (stop, receiving) = (stopping.clone(), socket.try_clone()?);
        let thread = std::thread::Builder::new().name("dns-udp".to_owned()).spawn(move || {
            let mut receiver = platform::Receiver::new(Arc::new(receiving), address, handover);
            let mut responder = responder.worker();
            while !stop.load(Ordering::Relaxed) {
                receiver.answer_some(&mut responder);
            }
        })?;
        Ok(Self { thread: Some(thread), socket, stopping })
    }
}

impl Drop for Worker {
    /// Answers what has been received and ends.
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        platform::wake(&self.socket);
        // A worker that panicked has said so on stderr already.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
