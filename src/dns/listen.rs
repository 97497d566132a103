//! Binds the sockets: UDP and TCP on the same port of every listen address.
//!
//! addresses ──[`Listening::bind`]──▶ [`Listening`] ──▶ `dns::udp`, `dns::tcp`
//!
//! Each UDP thread has a socket of its own; the kernel spreads clients over them (`SO_REUSEPORT`). TCP has one listener,
//! without that option: it is what keeps a second process off the port.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};

use socket2::{Domain, Socket, Type};
use tracing::{debug, info};

/// Bursts that arrive while every thread is busy wait here; the kernel grants less without privileges.
const UDP_RECEIVE_BUFFER: usize = 4 << 20;
/// Attempts to find a port that is free for both UDP and TCP.
const PORT_ATTEMPTS: usize = 32;
/// Connections the kernel accepts ahead of us.
const TCP_BACKLOG: i32 = 1024;

/// The sockets of one address.
pub struct Listening {
    /// Where, with the real port.
    pub address: SocketAddr,
    /// One for each thread.
    pub udp: Vec<UdpSocket>,
    /// Non-blocking.
    pub tcp: TcpListener,
}

impl Listening {
    /// Binds every address. Port 0 takes a port that is free for both protocols.
    ///
    /// # Errors
    /// The address and protocol that cannot be bound.
    pub fn bind_all(listen: &[SocketAddr], udp_threads: usize) -> io::Result<Vec<Self>> {
        // Both families on one port: then the IPv6 wildcard must not take the IPv4 address as well.
        let both = |port: u16| listen.iter().any(|it| it.is_ipv4() && it.port() == port && port != 0);
        listen.iter().map(|it| Self::bind(*it, both(it.port()), udp_threads)).collect()
    }

    /// `only_v6`: leave the IPv4 side of an IPv6 wildcard to another socket.
    fn bind(wanted: SocketAddr, only_v6: bool, udp_threads: usize) -> io::Result<Self> {
        let name = |protocol: &str, error: io::Error| {
            io::Error::new(error.kind(), format!("cannot listen on {wanted} ({protocol}): {error}"))
        };
        for attempt in 1.. {
            let first = udp_socket(wanted, only_v6).map_err(|it| name("UDP", it))?;
            let address = first.local_addr()?;
            let tcp = match tcp_socket(address, only_v6) {
                Ok(tcp) => tcp,
                Err(error)
                    if wanted.port() == 0
                        && attempt < PORT_ATTEMPTS
                        && error.kind() == io::ErrorKind::AddrInUse =>
                {
                    continue;
                }
                Err(error) => return Err(name("TCP", error)),
            };
            let mut udp = vec![first];
            for _ in 1..udp_threads {
                udp.push(udp_socket(address, only_v6).map_err(|it| name("UDP", it))?);
            }
            return Ok(Self { address, udp, tcp });
        }
        unreachable!("the loop returns on its last attempt")
    }
}

fn udp_socket(address: SocketAddr, only_v6: bool) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(only_v6)?;
    }
    socket.set_reuse_port(true)?;
    match socket.set_recv_buffer_size(UDP_RECEIVE_BUFFER).and_then(|()| socket.recv_buffer_size()) {
        // The kernel reports twice what it grants to payload.
        Ok(granted) if granted < UDP_RECEIVE_BUFFER => {
            info!(
                octets = granted,
                wanted = UDP_RECEIVE_BUFFER,
                "the receive buffer is smaller (net.core.rmem_max)"
            );
        }
        Ok(_) => {}
        Err(error) => debug!(%error, "the receive buffer keeps its size"),
    }
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// What procfs calls a socket; `None` where there is no procfs.
pub fn inode(socket: &UdpSocket) -> Option<u64> {
    use std::os::fd::AsRawFd as _;
    use std::os::unix::fs::MetadataExt as _;
    let path = format!("/proc/self/fd/{}", socket.as_raw_fd());
    std::fs::metadata(path).ok().map(|it| it.ino())
}

fn tcp_socket(address: SocketAddr, only_v6: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(only_v6)?;
    }
    // A restart must not wait for connections of the last process to time out.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(TCP_BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Addresses for `ns.dns.<zone>`: the ones listened on, with a wildcard standing for the address that packets to other
/// networks leave from. Loopback counts only when there is nothing else: the name must stay resolvable.
pub fn published_addresses(listening: &[SocketAddr]) -> Vec<IpAddr> {
    let mut all: Vec<IpAddr> = Vec::new();
    for ip in listening.iter().map(SocketAddr::ip) {
        match ip {
            IpAddr::V4(it) if it.is_unspecified() => {
                all.extend(outgoing(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1))));
            }
            IpAddr::V6(it) if it.is_unspecified() => {
                all.extend(outgoing(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1))));
                all.extend(outgoing(IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1))));
            }
            other => all.push(other),
        }
    }
    all.sort_unstable();
    all.dedup();
    if all.iter().any(|it| !it.is_loopback()) {
        all.retain(|it| !it.is_loopback());
    }
    if all.is_empty() {
        all.push(Ipv4Addr::LOCALHOST.into());
    }
    all
}

/// The local address of packets to `remote`, a documentation address. Connecting a UDP socket sends nothing.
fn outgoing(remote: IpAddr) -> Option<IpAddr> {
    let any: IpAddr =
        if remote.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let probe = UdpSocket::bind((any, 0)).ok()?;
    probe.connect((remote, 53)).ok()?;
    Some(probe.local_addr().ok()?.ip()).filter(|it| !it.is_unspecified())
}
