//! The handle everything shares: store, clock, identifiers, limits.

use crate::apiserver::allocate::{Allocations, Ranges};
use crate::apiserver::guard::Guard;
use crate::apiserver::journal::folder::Folder;
use crate::apiserver::list::Snapshots;
use crate::apiserver::metrics::MetricsSource;
use crate::apiserver::request::Call;
use crate::apiserver::serve::{self, Door};
use crate::apiserver::ssa::updates::Writer;
use crate::apiserver::store::{NoJournal, RING_EVENTS, Store};
use crate::apiserver::{boot, gc, http, namespaces};
use jiff::Timestamp;
use std::fs::File;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// Watches open at once; beyond it a watch is answered 429. A kubectl keeps one, a controller a dozen.
const WATCHES: usize = 1_000;

/// Reads the time.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Makes the uid of an object, a different one each time.
pub type Uids = Arc<dyn Fn() -> String + Send + Sync>;

/// What can be chosen about a server.
pub struct Options {
    /// Ranges of cluster addresses; the first usable one is that of default/kubernetes.
    pub service_ranges: Ranges,
    /// Time of creation and deletion stamps.
    pub clock: Clock,
    /// Uids of objects.
    pub uids: Uids,
    /// Events kept per kind for watches.
    pub ring_events: usize,
    /// Whether new claims and volumes get the finalizers that protect them while in use. Whoever turns it on
    /// runs something that takes them away again, such as the simulated node.
    pub protect_storage: bool,
    /// Managers, or products of User-Agents, of the components that belong to this server: what they create and the
    /// statuses they write are not recorded in managedFields, which spares a third of the memory of every pod.
    pub own_managers: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            service_ranges: Ranges::default(),
            clock: Arc::new(Timestamp::now),
            uids: Arc::new(random_uid),
            ring_events: RING_EVENTS,
            protect_storage: false,
            own_managers: Vec::new(),
        }
    }
}

/// The embedded API server. A cheap handle: clones share one store.
#[derive(Clone)]
pub struct ApiServer {
    pub(crate) shared: Arc<Shared>,
}

/// What the clones of an [`ApiServer`] share.
pub(crate) struct Shared {
    pub(crate) store: Store,
    /// Keeps others from the data directory. Released after the store.
    _lock: Option<File>,
    pub(crate) watches: Arc<Semaphore>,
    pub(crate) snapshots: Mutex<Snapshots>,
    pub(crate) metrics: OnceLock<Arc<dyn MetricsSource>>,
    pub(crate) protect_storage: bool,
    own_managers: Vec<String>,
    clock: Clock,
    uids: Uids,
}

impl ApiServer {
    /// A server with the objects every cluster has: its namespaces, default/kubernetes, the storage class.
    pub fn new(options: Options) -> Self {
        let allocations = Allocations::new(options.service_ranges);
        let store = Store::new(allocations, Box::new(NoJournal), options.ring_events);
        Self::over(store, options, None)
    }

    /// A server over a data directory: it goes on from what is there. Every answer, and every event of a watch, waits until
    /// what it tells is durable.
    pub fn open(options: Options, folder: Folder) -> Self {
        let Folder { restored, journal, lock, base_path: _, keys: _ } = folder;
        let allocations = Allocations::new(options.service_ranges);
        let store = Store::restore(allocations, Box::new(journal), options.ring_events, restored);
        Self::over(store, options, Some(lock))
    }

    fn over(store: Store, options: Options, lock: Option<File>) -> Self {
        let server = Self {
            shared: Arc::new(Shared {
                store,
                _lock: lock,
                watches: Arc::new(Semaphore::new(WATCHES)),
                snapshots: Mutex::new(Snapshots::default()),
                metrics: OnceLock::new(),
                protect_storage: options.protect_storage,
                own_managers: options.own_managers,
                clock: options.clock,
                uids: options.uids,
            }),
        };
        boot::populate(&server);
        server
    }

    /// Garbage collection and namespace deletion, until `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) {
        tokio::join!(gc::run(&self, &shutdown), namespaces::run(&self, &shutdown));
    }

    /// Sets where metrics.k8s.io comes from; only the first source counts.
    pub fn set_metrics(&self, source: Arc<dyn MetricsSource>) {
        if self.shared.metrics.set(source).is_err() {
            tracing::debug!("a second source of metrics was ignored");
        }
    }

    /// The router for in-process clients: no secret, no host checks.
    pub fn router(&self) -> axum::Router {
        http::router(http::App { server: self.clone(), shutdown: CancellationToken::new(), guard: None })
    }

    /// The router for a loopback socket at `addr`: everything lies under the secret `base_path`, and requests
    /// that web pages could have caused are refused.
    pub fn loopback_router(&self, base_path: &str, addr: SocketAddr) -> axum::Router {
        let guard = Some(Arc::new(Guard::new(base_path, addr)));
        http::router(http::App { server: self.clone(), shutdown: CancellationToken::new(), guard })
    }

    /// Serves HTTP/1.1 and HTTP/2 until `shutdown`; open watches end then.
    ///
    /// # Errors
    /// `InvalidInput`: others than this machine can reach the listener, and there is no TLS.
    pub async fn serve(
        self,
        listener: tokio::net::TcpListener,
        door: Door,
        shutdown: CancellationToken,
    ) -> std::io::Result<()> {
        serve::serve(self, listener, door, shutdown).await
    }

    pub(crate) fn store(&self) -> &Store {
        &self.shared.store
    }

    /// Who sends this request, for managedFields.
    pub(crate) fn writer_of(&self, call: &Call) -> Writer {
        let is_own = self.shared.own_managers.contains(&call.manager);
        let manager = if call.manager.is_empty() { "unknown" } else { &call.manager };
        Writer { manager: manager.to_owned(), now: Some(self.now_text()), is_own }
    }

    pub(crate) fn now(&self) -> Timestamp {
        (self.shared.clock)()
    }

    /// A fresh object uid.
    pub(crate) fn new_uid(&self) -> String {
        (self.shared.uids)()
    }

    /// Now as `metadata` stamps it: UTC, whole seconds.
    pub(crate) fn now_text(&self) -> String {
        stamp(self.now())
    }
}

/// RFC 3339 in UTC with whole seconds.
pub(crate) fn stamp(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// A random uid.
pub(crate) fn random_uid() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// A random number.
pub(crate) fn random() -> u64 {
    uuid::Uuid::new_v4().as_u64_pair().1
}
