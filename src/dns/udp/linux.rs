//! Batches with `recvmmsg` and `sendmmsg`.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::ops::Range;
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
    queries: Box<[[u8; MAX_QUERY]]>,
    outgoing: Outgoing<S>,
    receive: MultiHeaders<S>,
    send: MultiHeaders<S>,
    /// As [`Batches::send`], with room for a source address.
    send_from: MultiHeaders<S>,
}

/// Replies that wait to be sent, each in a place of its own.
struct Outgoing<S> {
    octets: Box<[[u8; MAX_REPLY]]>,
    lengths: [usize; BATCH],
    /// Never `None` up to the number of replies.
    to: [Option<S>; BATCH],
    /// The address each leaves from, on a wildcard socket.
    from: [Option<IpAddr>; BATCH],
}

impl<S> Outgoing<S> {
    fn octets(&self, at: usize) -> &[u8] {
        &self.octets[at][..self.lengths[at]]
    }
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
            queries: vec![[0; MAX_QUERY]; BATCH].into(),
            outgoing: Outgoing {
                octets: vec![[0; MAX_REPLY]; BATCH].into(),
                lengths: [0; BATCH],
                to: [None; BATCH],
                from: [None; BATCH],
            },
            receive: MultiHeaders::preallocate(BATCH, wildcard.then(|| source.clone())),
            send: MultiHeaders::preallocate(BATCH, None),
            send_from: MultiHeaders::preallocate(BATCH, Some(source)),
        }
    }

    fn answer_some(&mut self, responder: &mut UdpResponder) -> io::Result<()> {
        // Preparing a system call for more datagrams than come is wasted.
        let waiting = match (self.busy, self.wildcard) {
            (true, false) => self.answer_batch::<BATCH, false>(responder)?,
            (false, false) => self.answer_batch::<SMALL_BATCH, false>(responder)?,
            (true, true) => self.answer_batch::<BATCH, true>(responder)?,
            (false, true) => self.answer_batch::<SMALL_BATCH, true>(responder)?,
        };
        if self.wildcard {
            let mut sent = 0;
            while sent < waiting {
                let from = self.outgoing.from[sent];
                let run = self.outgoing.from[sent..waiting].iter().take_while(|it| **it == from).count();
                self.send(sent..sent + run);
                sent += run;
            }
        } else {
            self.send(0..waiting);
        }
        Ok(())
    }

    /// `N`: how many datagrams are taken at most. `WILDCARD`: the socket is bound to a wildcard address.
    ///
    /// Blocks until at least one datagram is there and composes the replies to those that came. Returns how many replies
    /// there are.
    fn answer_batch<const N: usize, const WILDCARD: bool>(
        &mut self,
        responder: &mut UdpResponder,
    ) -> io::Result<usize> {
        let Self { socket, handover, busy, queries, outgoing, receive, .. } = self;
        let mut buffers = queries.iter_mut();
        let mut slices: [[IoSliceMut<'_>; 1]; N] =
            std::array::from_fn(|_| [IoSliceMut::new(buffers.next().expect("one buffer for each header"))]);
        let results =
            recvmmsg(socket.as_raw_fd(), receive, slices.iter_mut(), MsgFlags::MSG_WAITFORONE, None)?;
        let began = Instant::now();
        let view = responder.view();
        let (mut received, mut waiting) = (0, 0);
        let mut replies = outgoing.octets.iter_mut();
        let mut reply = replies.next().expect("there is a buffer for every datagram");
        for message in results {
            received += 1;
            // Nobody can have sent from port 0; a reply would fail.
            let Some(client) = message.address.filter(|it| it.port() != 0) else { continue };
            let asked = if WILDCARD { destination(&message) } else { None };
            let query = message.iovs().next().unwrap_or_default();
            let len = match responder.answer(&view, query, &|| client.address().ip(), reply) {
                Handled::Silence => continue,
                Handled::Here(len) => len,
                Handled::Onward => {
                    let (packet, client) = (query.to_vec(), client.address());
                    let datagram = onward::Datagram { packet, client, asked, socket: socket.clone() };
                    if handover.offer(datagram) {
                        continue;
                    }
                    let Some(len) = responder.decline(query, reply) else { continue };
                    len
                }
            };
            outgoing.lengths[waiting] = len;
            outgoing.to[waiting] = Some(client);
            if WILDCARD {
                outgoing.from[waiting] = asked;
            }
            waiting += 1;
            let Some(next) = replies.next() else { break };
            reply = next;
        }
        drop(view);
        *busy = received >= SMALL_BATCH;
        if waiting > 0 {
            // What each query waited for the others of its batch is part of its time.
            responder.took(began.elapsed(), waiting as u64);
        }
        Ok(waiting)
    }

    /// Sends replies that leave from one address. A reply that cannot be sent is the client's loss alone.
    fn send(&mut self, mut replies: Range<usize>) {
        let Self { socket, outgoing, send, send_from, .. } = self;
        while !replies.is_empty() {
            let sent = match outgoing.from[replies.start] {
                None if replies.len() == 1 => send_one(socket, outgoing, replies.start),
                None => send_all(socket, send, outgoing, replies.clone(), &[]),
                Some(IpAddr::V4(from)) => {
                    let info = source_v4(from);
                    let source = [ControlMessage::Ipv4PacketInfo(&info)];
                    send_all(socket, send_from, outgoing, replies.clone(), &source)
                }
                Some(IpAddr::V6(from)) => {
                    let info = source_v6(from);
                    let source = [ControlMessage::Ipv6PacketInfo(&info)];
                    send_all(socket, send_from, outgoing, replies.clone(), &source)
                }
            };
            replies.start += match sent {
                Ok(sent) => sent.max(1),
                Err(error) => {
                    debug!(%error, "sending a datagram failed");
                    1
                }
            };
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
fn send_one<S: Client>(socket: &UdpSocket, outgoing: &Outgoing<S>, at: usize) -> io::Result<usize> {
    if let Some(to) = &outgoing.to[at] {
        sendto(socket.as_raw_fd(), outgoing.octets(at), to, MsgFlags::empty())?;
    }
    Ok(1)
}

/// How many of `replies` the kernel took. An error is about the first one.
fn send_all<S: Client>(
    socket: &UdpSocket,
    headers: &mut MultiHeaders<S>,
    outgoing: &Outgoing<S>,
    replies: Range<usize>,
    source: &[ControlMessage<'_>],
) -> io::Result<usize> {
    if replies.len() <= SMALL_BATCH {
        send_batch::<S, SMALL_BATCH>(socket, headers, outgoing, replies, source)
    } else {
        send_batch::<S, BATCH>(socket, headers, outgoing, replies, source)
    }
}

fn send_batch<S: Client, const N: usize>(
    socket: &UdpSocket,
    headers: &mut MultiHeaders<S>,
    outgoing: &Outgoing<S>,
    replies: Range<usize>,
    source: &[ControlMessage<'_>],
) -> io::Result<usize> {
    let mut places = replies.clone();
    let slices: [[IoSlice<'_>; 1]; N] =
        std::array::from_fn(|_| [IoSlice::new(places.next().map_or(&[], |at| outgoing.octets(at)))]);
    let to = &outgoing.to[replies];
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
