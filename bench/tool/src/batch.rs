//! Datagrams in batches: `recvmmsg` and `sendmmsg` with buffers that are allocated once.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::UdpSocket;
use std::os::fd::AsRawFd as _;

use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, sendmmsg};

/// Datagrams in one system call.
pub const BATCH: usize = 32;
/// Octets of a datagram that are kept.
pub const SLOT: usize = 4096;

/// Receive buffers of one thread.
pub struct Receiver {
    buffer: Box<[u8]>,
    headers: MultiHeaders<SockaddrIn>,
    received: [(usize, Option<SockaddrIn>); BATCH],
    count: usize,
}

impl Receiver {
    /// Empty buffers.
    pub fn new() -> Self {
        Self {
            buffer: vec![0; BATCH * SLOT].into(),
            headers: MultiHeaders::preallocate(BATCH, None),
            received: [(0, None); BATCH],
            count: 0,
        }
    }

    /// Receives what is there, at most one batch. `MSG_WAITFORONE` waits for the first datagram, `MSG_DONTWAIT` does not.
    ///
    /// # Errors
    /// `WouldBlock` when nothing is there.
    pub fn receive(&mut self, socket: &UdpSocket, flags: MsgFlags) -> io::Result<usize> {
        self.count = 0;
        let mut chunks = self.buffer.chunks_exact_mut(SLOT);
        let mut slices: [[IoSliceMut<'_>; 1]; BATCH] =
            std::array::from_fn(|_| [IoSliceMut::new(chunks.next().expect("one buffer for each header"))]);
        let results = recvmmsg(socket.as_raw_fd(), &mut self.headers, slices.iter_mut(), flags, None)?;
        for (slot, message) in self.received.iter_mut().zip(results) {
            *slot = (message.bytes, message.address);
            self.count += 1;
        }
        Ok(self.count)
    }

    /// The datagrams of the last call and who sent them, writable.
    pub fn datagrams(&mut self) -> impl Iterator<Item = (&mut [u8], Option<SockaddrIn>)> {
        let chunks = self.buffer.chunks_exact_mut(SLOT);
        chunks.zip(&self.received[..self.count]).map(|(chunk, (len, from))| (&mut chunk[..*len], *from))
    }
}

/// Send headers of one thread.
pub struct Sender(MultiHeaders<SockaddrIn>);

impl Sender {
    /// Empty headers.
    pub fn new() -> Self {
        Self(MultiHeaders::preallocate(BATCH, None))
    }

    /// Sends at most one batch; `to` may hold nobody when the socket is connected. Returns how many were taken.
    ///
    /// # Errors
    /// About the first datagram.
    pub fn send(
        &mut self,
        socket: &UdpSocket,
        packets: &[&[u8]],
        to: &[Option<SockaddrIn>],
    ) -> io::Result<usize> {
        let slices: [[IoSlice<'_>; 1]; BATCH] =
            std::array::from_fn(|at| [IoSlice::new(packets.get(at).copied().unwrap_or_default())]);
        let to = &to[..packets.len()];
        let results = sendmmsg(socket.as_raw_fd(), &mut self.0, slices.iter(), to, [], MsgFlags::empty())?;
        Ok(results.count())
    }
}
