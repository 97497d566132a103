//! The life of the DNS server: bind, answer, drain.
//!
//! Ports are bound at once; until the index is synced the replies say so. A reply is composed synchronously from the view
//! of that moment: no cache, no lock, nothing to wait for. UDP is answered by plain threads (`dns::udp`), TCP on the async
//! runtime (`dns::tcp`). On shutdown queries are answered for `lameduck` longer, then requests that have already arrived
//! on TCP connections are answered, then the sockets close.
//! hickory's own server is not used for the sockets; docs/ARCHITECTURE.md says why. It is the peer of `dns::tests::peer`.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use super::config::{ConfigError, DnsConfig, TcpConfig, Zones};
use super::cookie::Cookies;
use super::forward::{Forwarder, check_loops};
use super::index::Index;
use super::listen::{Listening, inode, published_addresses};
use super::metrics::Metrics;
use super::responder::Responder;
use super::transfer::notify;
use super::{tcp, udp};

/// How long queries are still answered after shutdown began, unless configured.
const LAMEDUCK: Duration = Duration::from_secs(5);

/// Bound sockets and what they answer from.
pub struct Server {
    sockets: Vec<Listening>,
    responder: Arc<Responder>,
    lameduck: Duration,
    tcp: TcpConfig,
}

impl Server {
    /// Binds UDP and TCP on every address. Port 0 takes a port that is free for both. Needs no async runtime.
    ///
    /// # Errors
    /// The address that could not be bound, or (`InvalidInput`) the key of `config` that cannot be used.
    pub fn bind(listen: &[SocketAddr], config: &DnsConfig, metrics: Metrics) -> io::Result<Self> {
        let threads =
            config.udp_threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
        let sockets = Listening::bind_all(listen, threads)?;
        let invalid = |error: ConfigError| io::Error::new(io::ErrorKind::InvalidInput, error);
        let addresses: Vec<SocketAddr> = sockets.iter().map(|it| it.address).collect();
        let zones = config.check(&published_addresses(&addresses)).map_err(invalid)?;
        metrics.watch_sockets(sockets.iter().flat_map(|it| &it.udp).filter_map(inode));
        let index = Arc::new(Index::new(u32::try_from(Timestamp::now().as_second()).unwrap_or(0)));
        check_loops(config, &addresses, &published_addresses(&addresses)).map_err(invalid)?;
        let forwarder = Forwarder::new(config, index.clone(), zones.clone(), metrics.forward.clone());
        let cookies = Cookies::new(&config.cookies)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let forwarder = forwarder.map_err(invalid)?;
        let responder = Arc::new(Responder::new(index, zones, metrics, cookies, forwarder));
        let lameduck = config.lameduck.unwrap_or(LAMEDUCK);
        Ok(Self { sockets, responder, lameduck, tcp: config.tcp.clone() })
    }

    /// The bound addresses, in the order of `listen`.
    pub fn local_addrs(&self) -> Vec<SocketAddr> {
        self.sockets.iter().map(|it| it.address).collect()
    }

    /// The data that is answered from; `dns::watch` fills it.
    pub fn index(&self) -> Arc<Index> {
        self.responder.index.clone()
    }

    /// The options that answers are made with.
    pub fn zones(&self) -> Zones {
        self.responder.zones.clone()
    }

    /// Answers until `shutdown`, then drains and returns.
    ///
    /// # Errors
    /// A socket that cannot be used any more.
    pub async fn serve(self, shutdown: CancellationToken) -> io::Result<()> {
        let stop = CancellationToken::new();
        let connections =
            tcp::Shared::new(self.responder.clone(), &self.tcp, self.responder.metrics.tcp.clone());
        let mut tasks = JoinSet::new();
        let mut threads = Vec::new();
        let (handover, datagrams) = udp::onward::Handover::new();
        tasks.spawn(udp::onward::serve(datagrams, self.responder.clone()));
        if let Some(hosts) = self.responder.hosts() {
            tasks.spawn(hosts.follow(stop.clone()));
        }
        for Listening { address, udp, tcp } in self.sockets {
            for socket in udp {
                threads.push(udp::Worker::start(socket, self.responder.clone(), handover.clone())?);
            }
            let tcp = TcpListener::from_std(tcp)?;
            tasks.spawn(connections.clone().serve(tcp, stop.clone()));
            info!(%address, "listening");
        }
        for target in &self.responder.zones.transfer.notify {
            tasks.spawn(notify::run(*target, self.responder.clone(), stop.clone()));
        }
        let (cookies, keeping) = (self.responder.clone(), stop.clone());
        tasks.spawn(async move {
            match cookies.admission.cookies() {
                Some(cookies) => cookies.keep(keeping).await,
                None => keeping.cancelled().await,
            }
        });
        drop(handover);
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
        drop(threads);
        while let Some(ended) = tasks.join_next().await {
            ended.map_err(io::Error::other)?;
        }
        Ok(())
    }
}
