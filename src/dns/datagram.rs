//! A UDP socket whose replies leave from the address that was asked.
//!
//! `dns::serve` ◀──(octets, [`Asker`])── [`Datagrams`] ◀──(reply, [`Asker`])── `dns::serve`
//!
//! On a wildcard address the kernel chooses the source of a reply by its route, and clients drop a reply from an address
//! that they did not ask. There each datagram is received with its destination and the reply is sent from it; a socket
//! bound to one address needs none of this. Linux only: elsewhere the kernel chooses.
//! Sources: RFC 2181 §4.1, RFC 3542 §6, ip(7), ipv6(7).

use std::io;
use std::net::{IpAddr, SocketAddr};

use tokio::net::UdpSocket;

/// Who sent a datagram, and to which of our addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asker {
    /// The sender.
    pub client: SocketAddr,
    /// The address asked; `None`: the one the socket is bound to.
    asked: Option<IpAddr>,
}

/// A bound socket.
pub struct Datagrams {
    socket: UdpSocket,
    reply_from: ReplyFrom,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ReplyFrom {
    /// The only address there is.
    Bound,
    /// The destination of the query.
    #[cfg(target_os = "linux")]
    Asked,
}

impl Datagrams {
    /// Takes over a non-blocking socket.
    ///
    /// # Errors
    /// The kernel does not tell destinations of datagrams, or no runtime runs.
    pub fn new(socket: std::net::UdpSocket) -> io::Result<Self> {
        #[cfg(target_os = "linux")]
        let reply_from = if socket.local_addr()?.ip().is_unspecified() {
            linux::tell_destinations(&socket)?;
            ReplyFrom::Asked
        } else {
            ReplyFrom::Bound
        };
        #[cfg(not(target_os = "linux"))]
        let reply_from = ReplyFrom::Bound;
        Ok(Self { socket: UdpSocket::from_std(socket)?, reply_from })
    }

    /// The next datagram and its length.
    ///
    /// # Errors
    /// Also errors of earlier sends; the socket stays usable.
    pub async fn receive(&self, buffer: &mut [u8]) -> io::Result<(usize, Asker)> {
        match self.reply_from {
            ReplyFrom::Bound => {
                let (len, client) = self.socket.recv_from(buffer).await?;
                Ok((len, Asker { client, asked: None }))
            }
            #[cfg(target_os = "linux")]
            ReplyFrom::Asked => linux::receive(&self.socket, buffer).await,
        }
    }

    /// Answers a datagram.
    ///
    /// # Errors
    /// The reply could not be sent; the socket stays usable.
    pub async fn send(&self, reply: &[u8], to: Asker) -> io::Result<()> {
        match to.asked {
            #[cfg(target_os = "linux")]
            Some(asked) => linux::send(&self.socket, reply, to.client, asked).await,
            _ => self.socket.send_to(reply, to.client).await.map(drop),
        }
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::io::{self, IoSlice, IoSliceMut};
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
    use std::os::fd::AsRawFd;

    use nix::cmsg_space;
    use nix::libc::{in_addr, in_pktinfo, in6_addr, in6_pktinfo};
    use nix::sys::socket::{
        ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg, setsockopt, sockopt,
    };
    use tokio::io::Interest;
    use tokio::net::UdpSocket;

    use super::Asker;

    pub fn tell_destinations(socket: &std::net::UdpSocket) -> io::Result<()> {
        if socket.local_addr()?.is_ipv4() {
            Ok(setsockopt(socket, sockopt::Ipv4PacketInfo, &true)?)
        } else {
            // Covers IPv4 packets of a dual-stack socket as well, as mapped addresses.
            Ok(setsockopt(socket, sockopt::Ipv6RecvPacketInfo, &true)?)
        }
    }

    pub async fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<(usize, Asker)> {
        let read = || {
            let mut control = cmsg_space!(in6_pktinfo);
            let mut parts = [IoSliceMut::new(buffer)];
            let received = recvmsg::<SockaddrStorage>(
                socket.as_raw_fd(),
                &mut parts,
                Some(&mut control),
                MsgFlags::empty(),
            )?;
            let client = received.address.as_ref().and_then(sender);
            let client = client.ok_or_else(|| io::Error::other("a datagram without sender"))?;
            let asked = received.cmsgs()?.find_map(|it| match it {
                ControlMessageOwned::Ipv4PacketInfo(it) => {
                    Some(IpAddr::V4(Ipv4Addr::from(it.ipi_spec_dst.s_addr.to_ne_bytes())))
                }
                ControlMessageOwned::Ipv6PacketInfo(it) => {
                    Some(IpAddr::V6(Ipv6Addr::from(it.ipi6_addr.s6_addr)))
                }
                _ => None,
            });
            // A group is no source address.
            let asked = asked.filter(|it| !it.is_multicast());
            Ok((received.bytes, Asker { client, asked }))
        };
        socket.async_io(Interest::READABLE, read).await
    }

    pub async fn send(socket: &UdpSocket, reply: &[u8], client: SocketAddr, from: IpAddr) -> io::Result<()> {
        let (fd, parts, client) = (socket.as_raw_fd(), [IoSlice::new(reply)], SockaddrStorage::from(client));
        // Interface 0: only the address is fixed, the route stays the kernel's choice.
        let write = || {
            let sent = match from {
                IpAddr::V4(from) => {
                    let from = in_addr { s_addr: u32::from_ne_bytes(from.octets()) };
                    let info =
                        in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: from, ipi_addr: in_addr { s_addr: 0 } };
                    let control = [ControlMessage::Ipv4PacketInfo(&info)];
                    sendmsg(fd, &parts, &control, MsgFlags::empty(), Some(&client))
                }
                IpAddr::V6(from) => {
                    let ipi6_addr = in6_addr { s6_addr: from.octets() };
                    let info = in6_pktinfo { ipi6_addr, ipi6_ifindex: 0 };
                    let control = [ControlMessage::Ipv6PacketInfo(&info)];
                    sendmsg(fd, &parts, &control, MsgFlags::empty(), Some(&client))
                }
            };
            Ok(sent.map(drop)?)
        };
        socket.async_io(Interest::WRITABLE, write).await
    }

    fn sender(address: &SockaddrStorage) -> Option<SocketAddr> {
        let v4 = address.as_sockaddr_in().map(|it| SocketAddr::V4((*it).into()));
        v4.or_else(|| address.as_sockaddr_in6().map(|it| SocketAddr::V6((*it).into())))
    }
}
