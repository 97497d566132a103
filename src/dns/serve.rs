//! The sockets: UDP and TCP on the same port of every listen address.
//!
//! datagram or stream ──▶ `dns::respond` ──▶ datagram or stream
//!
//! Ports are bound at once; until the index is synced the replies say so. A reply is composed synchronously from the view
//! of that moment: no cache, no lock, nothing to wait for. On shutdown queries are answered for `lameduck` longer, then
//! requests that have already arrived on TCP connections are answered, then the sockets close.
//! hickory's own server is not used for the sockets; docs/ARCHITECTURE.md says why. It is the peer of `dns::tests::peer`.
//! Sources: RFC 7766 (TCP), RFC 1035 §4.2.

use std::hash::BuildHasher;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, trace, warn};

use super::config::{DnsConfig, Zones};
use super::datagram::Datagrams;
use super::index::Index;
use super::metrics::Metrics;
use super::respond::{Reply, Transport, respond};

/// How long a TCP connection may be silent, or a client may take to read a reply.
const TCP_IDLE: Duration = Duration::from_secs(10);
/// Open TCP connections. At this number new ones wait in the kernel's queue until one closes or idles out.
const MAX_TCP_CONNECTIONS: usize = 1024;
/// Octets read ahead on a connection: how much a client can pipeline before it has to read replies.
const TCP_READ_AHEAD: usize = 4096;
/// Bursts that arrive while every worker is busy wait here; the kernel grants less without privileges.
const UDP_RECEIVE_BUFFER: usize = 4 << 20;
/// How long queries are still answered after shutdown began, unless configured.
const LAMEDUCK: Duration = Duration::from_secs(5);
/// After lameduck: how long connections may take to send the replies they owe.
const TCP_DRAIN: Duration = Duration::from_secs(2);
/// Attempts to find a port that is free for both UDP and TCP.
const PORT_ATTEMPTS: usize = 32;

/// Bound sockets and what they answer from.
pub struct Server {
    sockets: Vec<Listening>,
    context: Arc<Context>,
    lameduck: Duration,
}

struct Listening {
    address: SocketAddr,
    udp: std::net::UdpSocket,
    tcp: std::net::TcpListener,
}

struct Context {
    index: Arc<Index>,
    zones: Zones,
    metrics: Metrics,
    /// Seeds differ between processes, so that replicas do not order records alike.
    seeds: foldhash::fast::RandomState,
    requests: AtomicU64,
}

impl Server {
    /// Binds UDP and TCP on every address. Port 0 takes a port that is free for both. Needs no async runtime.
    ///
    /// # Errors
    /// The address that could not be bound, or (`InvalidInput`) the key of `config` that cannot be used.
    pub fn bind(listen: &[SocketAddr], config: &DnsConfig, metrics: Metrics) -> io::Result<Self> {
        // Both families on one port: then the IPv6 wildcard must not take the IPv4 address as well.
        let both = |port: u16| listen.iter().any(|it| it.is_ipv4() && it.port() == port && port != 0);
        let sockets = listen.iter().map(|it| Listening::bind(*it, both(it.port())));
        let sockets: Vec<Listening> = sockets.collect::<io::Result<_>>()?;
        let zones = config
            .check(&published_addresses(&sockets))
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let index = Arc::new(Index::new(u32::try_from(Timestamp::now().as_second()).unwrap_or(0)));
        let (seeds, requests) = (foldhash::fast::RandomState::default(), AtomicU64::new(0));
        let context = Arc::new(Context { index, zones, metrics, seeds, requests });
        Ok(Self { sockets, context, lameduck: config.lameduck.unwrap_or(LAMEDUCK) })
    }

    /// The bound addresses, in the order of `listen`.
    pub fn local_addrs(&self) -> Vec<SocketAddr> {
        self.sockets.iter().map(|it| it.address).collect()
    }

    /// The data that is answered from; `dns::watch` fills it.
    pub fn index(&self) -> Arc<Index> {
        self.context.index.clone()
    }

    /// Answers until `shutdown`, then drains and returns.
    ///
    /// # Errors
    /// A socket that cannot be used any more.
    pub async fn serve(self, shutdown: CancellationToken) -> io::Result<()> {
        let stop = CancellationToken::new();
        let connections = Arc::new(Semaphore::new(MAX_TCP_CONNECTIONS));
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        let mut tasks = JoinSet::new();
        for Listening { address, udp, tcp } in self.sockets {
            let udp = Arc::new(Datagrams::new(udp)?);
            for _ in 0..workers {
                tasks.spawn(serve_udp(udp.clone(), self.context.clone(), stop.clone()));
            }
            let tcp = TcpListener::from_std(tcp)?;
            tasks.spawn(serve_tcp(tcp, self.context.clone(), connections.clone(), stop.clone()));
            info!(%address, "listening");
        }
        tokio::select! {
            () = shutdown.cancelled() => {}
            Some(ended) = tasks.join_next() => {
                ended.map_err(io::Error::other)?;
                return Err(io::Error::other("a DNS socket closed by itself"));
            }
        }
        debug!(lameduck = ?self.lameduck, "draining");
        tokio::time::sleep(self.lameduck).await; // allow-sleep: the lameduck time itself
        stop.cancel();
        while let Some(ended) = tasks.join_next().await {
            ended.map_err(io::Error::other)?;
        }
        Ok(())
    }
}

impl Listening {
    /// `only_v6`: leave the IPv4 side of an IPv6 wildcard to another socket.
    fn bind(wanted: SocketAddr, only_v6: bool) -> io::Result<Self> {
        let name = |protocol: &str, error: io::Error| {
            io::Error::new(error.kind(), format!("cannot listen on {wanted} ({protocol}): {error}"))
        };
        for attempt in 1.. {
            let udp = socket(wanted, Type::DGRAM, only_v6).map_err(|it| name("UDP", it))?;
            let udp: std::net::UdpSocket = udp.into();
            let address = udp.local_addr()?;
            match socket(address, Type::STREAM, only_v6) {
                Ok(tcp) => return Ok(Self { address, udp, tcp: tcp.into() }),
                Err(error)
                    if wanted.port() == 0
                        && attempt < PORT_ATTEMPTS
                        && error.kind() == io::ErrorKind::AddrInUse => {}
                Err(error) => return Err(name("TCP", error)),
            }
        }
        unreachable!("the loop returns on its last attempt")
    }
}

fn socket(address: SocketAddr, kind: Type, only_v6: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(only_v6)?;
    }
    if kind == Type::STREAM {
        // A restart must not wait for connections of the last process to time out.
        socket.set_reuse_address(true)?;
    } else if let Err(error) = socket.set_recv_buffer_size(UDP_RECEIVE_BUFFER) {
        debug!(%error, "the receive buffer keeps its size");
    }
    socket.bind(&address.into())?;
    if kind == Type::STREAM {
        socket.listen(1024)?;
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Addresses for `ns.dns.<zone>`: the ones listened on, with a wildcard standing for the address that packets to other
/// networks leave from. Loopback counts only when there is nothing else: the name must stay resolvable.
fn published_addresses(sockets: &[Listening]) -> Vec<IpAddr> {
    let mut all: Vec<IpAddr> = Vec::new();
    for ip in sockets.iter().map(|it| it.address.ip()) {
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
    let probe = std::net::UdpSocket::bind((any, 0)).ok()?;
    probe.connect((remote, 53)).ok()?;
    Some(probe.local_addr().ok()?.ip()).filter(|it| !it.is_unspecified())
}

impl Context {
    fn answer(&self, packet: &[u8], transport: Transport) -> Option<Reply> {
        let began = Instant::now();
        let seed = self.seeds.hash_one(self.requests.fetch_add(1, Ordering::Relaxed));
        let reply = respond(packet, transport, &self.index.view(), &self.zones, seed);
        match &reply {
            Some(reply) => {
                self.metrics.replied(reply, transport, began.elapsed());
                trace!(rr_type = ?reply.rr_type, rcode = ?reply.rcode, proto = ?transport, "answered");
            }
            None => self.metrics.dropped(),
        }
        reply
    }
}

async fn serve_udp(socket: Arc<Datagrams>, context: Arc<Context>, stop: CancellationToken) {
    // A datagram cannot be longer; a query that fills it is answered or refused like any other.
    let mut buffer = vec![0; usize::from(u16::MAX)];
    loop {
        let received = tokio::select! {
            received = socket.receive(&mut buffer) => received,
            () = stop.cancelled() => return,
        };
        let (len, asker) = match received {
            Ok(received) => received,
            // Errors of earlier sends surface here (ICMP unreachable); the socket itself stays usable.
            Err(error) => {
                debug!(%error, "receiving a datagram failed");
                tokio::task::yield_now().await;
                continue;
            }
        };
        // Nobody can have sent from port 0; a reply would fail.
        if asker.client.port() == 0 {
            continue;
        }
        if let Some(reply) = context.answer(&buffer[..len], Transport::Udp)
            && let Err(error) = socket.send(&reply.octets, asker).await
        {
            debug!(client = %asker.client, %error, "sending a datagram failed");
        }
    }
}

async fn serve_tcp(
    listener: TcpListener,
    context: Arc<Context>,
    permits: Arc<Semaphore>,
    stop: CancellationToken,
) {
    let mut connections = JoinSet::new();
    loop {
        let permit = tokio::select! {
            permit = permits.clone().acquire_owned() => permit.expect("the semaphore is never closed"),
            () = stop.cancelled() => break,
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        match accepted {
            Ok((stream, client)) => {
                let (context, stop) = (context.clone(), stop.clone());
                connections.spawn(async move {
                    if let Err(error) = serve_connection(stream, context, stop).await {
                        debug!(%client, %error, "connection ended early");
                    }
                    drop(permit);
                });
            }
            // Out of descriptors, most likely: give connections time to close.
            Err(error) => {
                warn!(%error, "accepting a connection failed");
                tokio::time::sleep(Duration::from_millis(50)).await; // allow-sleep: pause after a failed accept
            }
        }
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    let drained = timeout(TCP_DRAIN, async { while connections.join_next().await.is_some() {} }).await;
    if drained.is_err() {
        debug!("some connections did not take their replies in time");
    }
}

/// Answers the messages of one connection in order until the client closes it, idles, or `stop`.
async fn serve_connection(
    mut stream: TcpStream,
    context: Arc<Context>,
    stop: CancellationToken,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (read, mut write) = stream.split();
    let mut read = BufReader::with_capacity(TCP_READ_AHEAD, read);
    let mut packet = Vec::new();
    loop {
        // Requests that have arrived are answered before `stop` is looked at.
        let len = tokio::select! {
            biased;
            len = timeout(TCP_IDLE, read.read_u16()) => match len {
                Ok(Ok(len)) => len,
                Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                Ok(Err(error)) => return Err(error),
                Err(_) => return Ok(()),
            },
            () = stop.cancelled() => return Ok(()),
        };
        packet.resize(usize::from(len), 0);
        timeout(TCP_IDLE, read.read_exact(&mut packet)).await??;
        let Some(reply) = context.answer(&packet, Transport::Tcp) else { continue };
        let mut framed = Vec::with_capacity(reply.octets.len() + 2);
        framed.extend(u16::try_from(reply.octets.len()).map_err(io::Error::other)?.to_be_bytes());
        framed.extend(reply.octets);
        timeout(TCP_IDLE, write.write_all(&framed)).await??;
    }
}
