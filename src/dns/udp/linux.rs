//! Batches with `recvmmsg` and `sendmmsg`.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Instant;

use nix::cmsg_space;
use nix::libc::{in_addr, in_pktinfo, in6_addr, in6_pktinfo};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders, RecvMsg, Shutdown, SockaddrIn, SockaddrIn6,
    SockaddrLike, SockaddrStorage, recvmmsg, sendmmsg, sendmsg, sendto, setsockopt, shutdown, sockopt,
};
use tracing::debug;

use super::onward::{self, Handover};
use super::{MAX_QUERY, MAX_REPLY};
use crate::dns::respond::Handled;
use crate::dns::responder::UdpResponder;

/// Datagrams received at once. More gain nothing (docs/PERFORMANCE.md).
const BATCH: usize = 32;
/// As long as fewer come, no more are asked for.
const SMALL_BATCH: usize = 8;

/// One socket with its buffers.
pub enum Receiver {
    V4(Box<Batches<SockaddrIn>>),
    V6(Box<Batches<SockaddrIn6>>),
}

/// A client's address as the kernel gives it.
pub trait Client: SockaddrLike + Copy {
    /// Where it waits for the reply.
    fn port(&self) -> u16;
    /// The whole of it.
    fn address(&self) -> SocketAddr;
}

impl Client for SockaddrIn {
    fn port(&self) -> u16 {
        Self::port(self)
    }

    fn address(&self) -> SocketAddr {
        SocketAddrV4::from(*self).into()
    }
}

impl Client for SockaddrIn6 {
    fn port(&self) -> u16 {
        Self::port(self)
    }

    fn address(&self) -> SocketAddr {
        SocketAddrV6::from(*self).into()
    }
}

pub struct Batches<S> {
    socket: Arc<UdpSocket>,
    handover: Handover,
    /// The socket is bound to a wildcard address: replies name their source.
    wildcard: bool,
    /// The last batch was not a small one.
    busy: bool,
    queries: Box<[u8]>,
    replies: Box<[u8]>,
    received: [Option<Datagram<S>>; BATCH],
    outgoing: [Outgoing<S>; BATCH],
    receive: MultiHeaders<S>,
    send: MultiHeaders<S>,
    /// As [`Batches::send`], with room for a source address.
    send_from: MultiHeaders<S>,
}

/// A received datagram.
#[derive(Clone, Copy)]
struct Datagram<S> {
    len: usize,
    client: S,
    asked: Option<IpAddr>,
}

/// A reply that waits in the buffer.
#[derive(Clone, Copy)]
struct Outgoing<S> {
    slot: usize,
    len: usize,
    to: Option<S>,
    from: Option<IpAddr>,
}

/// Has the kernel tell the destination of each datagram where there can be several. Returns the address bound.
///
/// # Errors
/// The kernel does not know the option.
pub fn prepare(socket: &UdpSocket) -> io::Result<IpAddr> {
    let address = socket.local_addr()?.ip();
    if address.is_unspecified() && address.is_ipv4() {
        setsockopt(socket, sockopt::Ipv4PacketInfo, &true)?;
    } else if address.is_unspecified() {
        // Covers IPv4 packets of a dual-stack socket as well, as mapped addresses.
        setsockopt(socket, sockopt::Ipv6RecvPacketInfo, &true)?;
    }
    Ok(address)
}

impl Receiver {
    /// For a socket that is prepared and bound to `address`. Made by the thread that uses it: the buffers of the system
    /// calls stay on one thread.
    pub fn new(socket: Arc<UdpSocket>, address: IpAddr, handover: Handover) -> Self {
        let wildcard = address.is_unspecified();
        match address {
            IpAddr::V4(_) => {
                Self::V4(Box::new(Batches::new(socket, handover, wildcard, cmsg_space!(in_pktinfo))))
            }
            IpAddr::V6(_) => {
                Self::V6(Box::new(Batches::new(socket, handover, wildcard, cmsg_space!(in6_pktinfo))))
            }
        }
    }

    /// Waits for datagrams and answers what has come, at most one batch.
    pub fn answer_some(&mut self, responder: &mut UdpResponder) {
        let outcome = match self {
            Self::V4(it) => it.answer_some(responder),
            Self::V6(it) => it.answer_some(responder),
        };
        // Errors of earlier sends surface here (ICMP unreachable); the socket itself stays usable.
        if let Err(error) = outcome {
            debug!(%error, "receiving datagrams failed");
        }
    }
}

/// Ends a wait for datagrams.
pub fn wake(socket: &UdpSocket) {
    // Says that the socket is not connected, and wakes its reader all the same.
    let _ = shutdown(socket.as_raw_fd(), Shutdown::Read);
}

impl<S: Client> Batches<S> {
    fn new(socket: Arc<UdpSocket>, handover: Handover, wildcard: bool, source: Vec<u8>) -> Self {
        Self {
            socket,
            handover,
            wildcard,
            busy: false,
            received: [None; BATCH],
            outgoing: [Outgoing { slot: 0, len: 0, to: None, from: None }; BATCH],
            queries: vec![0; BATCH * MAX_QUERY].into(),
            replies: vec![0; BATCH * MAX_REPLY].into(),
            receive: MultiHeaders::preallocate(BATCH, wildcard.then(|| source.clone())),
            send: MultiHeaders::preallocate(BATCH, None),
            send_from: MultiHeaders::preallocate(BATCH, Some(source)),
        }
    }

    fn answer_some(&mut self, responder: &mut UdpResponder) -> io::Result<()> {
        // Preparing a system call for more datagrams than come is wasted.
        let count = if self.busy { self.receive::<BATCH>()? } else { self.receive::<SMALL_BATCH>()? };
        self.busy = count >= SMALL_BATCH;
        let began = Instant::now();
        let view = responder.view();
        let mut waiting = 0;
        let mut replies = self.replies.chunks_exact_mut(MAX_REPLY);
        let mut reply = replies.next().expect("there is a buffer for every datagram");
        for (datagram, query) in self.received[..count].iter().zip(self.queries.chunks_exact(MAX_QUERY)) {
            // Nobody can have sent from port 0; a reply would fail.
            let Some(datagram) = datagram.as_ref().filter(|it| it.client.port() != 0) else { continue };
            let query = query.get(..datagram.len).unwrap_or(query);
            let len = match responder.answer(&view, query, || datagram.client.address().ip(), reply) {
                Handled::Silence => None,
                Handled::Here(len) => Some(len),
                Handled::Onward => {
                    let (client, asked) = (datagram.client.address(), datagram.asked);
                    let (packet, socket) = (query.to_vec(), self.socket.clone());
                    let taken = self.handover.offer(onward::Datagram { packet, client, asked, socket });
                    if taken { None } else { responder.decline(query, reply) }
                }
            };
            if let Some(len) = len {
                let (to, from) = (Some(datagram.client), datagram.asked);
                self.outgoing[waiting] = Outgoing { slot: waiting, len, to, from };
                waiting += 1;
                let Some(next) = replies.next() else { break };
                reply = next;
            }
        }
        drop(view);
        if waiting > 0 {
            // What each query waited for the others of its batch is part of its time.
            responder.took(began.elapsed(), waiting as u64);
        }
        let mut sent = 0;
        while sent < waiting {
            let from = self.outgoing[sent].from;
            let run = self.outgoing[sent..waiting].iter().take_while(|it| it.from == from).count();
            self.send(sent..sent + run);
            sent += run;
        }
        Ok(())
    }

    /// Blocks until at least one datagram is there. Returns how many came.
    fn receive<const N: usize>(&mut self) -> io::Result<usize> {
        let mut buffers = self.queries.chunks_exact_mut(MAX_QUERY);
        let mut slices: [[IoSliceMut<'_>; 1]; N] =
            std::array::from_fn(|_| [IoSliceMut::new(buffers.next().expect("one buffer for each header"))]);
        let fd = self.socket.as_raw_fd();
        let results = recvmmsg(fd, &mut self.receive, slices.iter_mut(), MsgFlags::MSG_WAITFORONE, None)?;
        let mut count = 0;
        for (slot, message) in self.received.iter_mut().zip(results) {
            let asked = if self.wildcard { destination(&message) } else { None };
            *slot = message.address.map(|client| Datagram { len: message.bytes, client, asked });
            count += 1;
        }
        Ok(count)
    }

    /// Sends replies that leave from one address. A reply that cannot be sent is the client's loss alone.
    fn send(&mut self, replies: std::ops::Range<usize>) {
        let mut rest = &self.outgoing[replies];
        while let Some(first) = rest.first() {
            let (socket, buffer) = (&*self.socket, &*self.replies);
            let sent = match first.from {
                None if rest.len() == 1 => send_one(socket, buffer, first),
                None => send_all(socket, &mut self.send, buffer, rest, &[]),
                Some(IpAddr::V4(from)) => {
                    let info = source_v4(from);
                    let source = [ControlMessage::Ipv4PacketInfo(&info)];
                    send_all(socket, &mut self.send_from, buffer, rest, &source)
                }
                Some(IpAddr::V6(from)) => {
                    let info = source_v6(from);
                    let source = [ControlMessage::Ipv6PacketInfo(&info)];
                    send_all(socket, &mut self.send_from, buffer, rest, &source)
                }
            };
            let done = match sent {
                Ok(sent) => sent,
                Err(error) => {
                    debug!(%error, "sending a datagram failed");
                    1
                }
            };
            rest = rest.get(done.max(1)..).unwrap_or_default();
        }
    }
}

/// Sends one reply, from the address that was asked where there can be several. Never waits: a reply that does not fit
/// the socket's buffer is lost, as it could be anywhere on its way.
///
/// # Errors
/// It cannot be sent.
pub fn send_from(
    socket: &UdpSocket,
    octets: &[u8],
    client: SocketAddr,
    asked: Option<IpAddr>,
) -> io::Result<()> {
    let (fd, octets, to) = (socket.as_raw_fd(), [IoSlice::new(octets)], SockaddrStorage::from(client));
    let send = |source: &[ControlMessage<'_>]| {
        sendmsg(fd, &octets, source, MsgFlags::MSG_DONTWAIT, Some(&to)).map(drop).map_err(io::Error::from)
    };
    match asked {
        None => send(&[]),
        Some(IpAddr::V4(from)) => send(&[ControlMessage::Ipv4PacketInfo(&source_v4(from))]),
        Some(IpAddr::V6(from)) => send(&[ControlMessage::Ipv6PacketInfo(&source_v6(from))]),
    }
}

/// Interface 0: only the address is fixed, the route stays the kernel's choice.
fn source_v4(from: Ipv4Addr) -> in_pktinfo {
    let (ipi_spec_dst, ipi_addr) =
        (in_addr { s_addr: u32::from_ne_bytes(from.octets()) }, in_addr { s_addr: 0 });
    in_pktinfo { ipi_ifindex: 0, ipi_spec_dst, ipi_addr }
}

/// Interface 0, see [`source_v4`].
fn source_v6(from: Ipv6Addr) -> in6_pktinfo {
    in6_pktinfo { ipi6_addr: in6_addr { s6_addr: from.octets() }, ipi6_ifindex: 0 }
}

/// One plain call: cheaper than a batch of one.
fn send_one<S: Client>(socket: &UdpSocket, buffer: &[u8], reply: &Outgoing<S>) -> io::Result<usize> {
    let octets = &buffer[reply.slot * MAX_REPLY..][..reply.len];
    if let Some(to) = &reply.to {
        sendto(socket.as_raw_fd(), octets, to, MsgFlags::empty())?;
    }
    Ok(1)
}

/// How many of `replies` the kernel took. An error is about the first one.
fn send_all<S: Client>(
    socket: &UdpSocket,
    headers: &mut MultiHeaders<S>,
    buffer: &[u8],
    replies: &[Outgoing<S>],
    source: &[ControlMessage<'_>],
) -> io::Result<usize> {
    if replies.len() <= SMALL_BATCH {
        send_batch::<S, SMALL_BATCH>(socket, headers, buffer, replies, source)
    } else {
        send_batch::<S, BATCH>(socket, headers, buffer, replies, source)
    }
}

fn send_batch<S: Client, const N: usize>(
    socket: &UdpSocket,
    headers: &mut MultiHeaders<S>,
    buffer: &[u8],
    replies: &[Outgoing<S>],
    source: &[ControlMessage<'_>],
) -> io::Result<usize> {
    let slices: [[IoSlice<'_>; 1]; N] = std::array::from_fn(|at| {
        let octets = replies.get(at).map_or(&[][..], |it| &buffer[it.slot * MAX_REPLY..][..it.len]);
        [IoSlice::new(octets)]
    });
    let to: [Option<S>; N] = std::array::from_fn(|at| replies.get(at).and_then(|it| it.to));
    let to = &to[..replies.len().min(N)];
    let results = sendmmsg(socket.as_raw_fd(), headers, slices.iter(), to, source, MsgFlags::empty())?;
    Ok(results.count())
}

/// The address of ours that a datagram was sent to.
fn destination<S>(message: &RecvMsg<'_, '_, S>) -> Option<IpAddr> {
    let asked = message.cmsgs().ok()?.find_map(|it| match it {
        ControlMessageOwned::Ipv4PacketInfo(it) => {
            Some(IpAddr::V4(Ipv4Addr::from(it.ipi_spec_dst.s_addr.to_ne_bytes())))
        }
        ControlMessageOwned::Ipv6PacketInfo(it) => Some(IpAddr::V6(Ipv6Addr::from(it.ipi6_addr.s6_addr))),
        _ => None,
    });
    // A group is no source address.
    asked.filter(|it| !it.is_multicast())
}
