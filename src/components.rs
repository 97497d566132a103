//! Starts the components a process runs. `up` and `run` differ only in the client they pass.

use std::net::SocketAddr;

use anyhow::Context as _;
use axum::Router;
use kube::Client;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};
use uuid::Uuid;

use crate::config::{Component, Config, LeaderElection, Mode};
use crate::dns::explain::http::Explainer;
use crate::endpointslice::config::EndpointsConfig;
use crate::endpointslice::metrics::{MirrorMetrics, SliceMetrics};
use crate::endpointslice::{legacy, mirroring};
use crate::http_server;
use crate::k8s::limit::Limiter;
use crate::k8s::requests::RequestMetrics;
use crate::reload::Reload;
use crate::runtime::{ControllerMetrics, Readiness, ReadyHandle};
use crate::{dns, endpointslice, leader, statefulset, telemetry, workload};

/// Everything that listens or runs, until [`Running::announce_and_serve`].
pub struct Process {
    /// Tasks that end on `stop`.
    tasks: JoinSet<()>,
    /// Tasks that must outlive the others, such as the API server under the controllers.
    base: JoinSet<()>,
    stop: CancellationToken,
    stop_base: CancellationToken,
    readiness: Readiness,
    draining: ReadyHandle,
    registry: Registry,
    controllers: ControllerMetrics,
    endpoints: Endpoints,
    http: TcpListener,
    http_address: SocketAddr,
    dns: Option<Dns>,
    components: Vec<Component>,
    limiter: Limiter,
    requests: RequestMetrics,
    /// The controllers run only while they lead.
    leader: Option<leader::Options>,
    workloads: workload::Options,
}

/// What the endpoint controllers share.
#[derive(Default)]
struct Endpoints {
    config: EndpointsConfig,
    slices: SliceMetrics,
    mirrored: MirrorMetrics,
}

/// A bound DNS server and what its watch needs.
struct Dns {
    server: dns::Server,
    options: dns::DnsConfig,
    metrics: dns::Metrics,
}

/// Where a pod finds the name of its namespace.
const POD_NAMESPACE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

/// This process as a candidate.
fn candidate(election: &LeaderElection) -> leader::Options {
    let read = |path: &str| {
        let text = std::fs::read_to_string(path).ok()?;
        Some(text.trim().to_owned()).filter(|it| !it.is_empty())
    };
    let in_pod = || read(POD_NAMESPACE).unwrap_or_else(|| "kube-system".to_owned());
    let host = read("/proc/sys/kernel/hostname").unwrap_or_else(|| "ordinal".to_owned());
    leader::Options {
        namespace: election.namespace.clone().unwrap_or_else(in_pod),
        // Two processes of one host are two candidates.
        identity: format!("{host}_{}", Uuid::new_v4()),
        timing: election.timing(),
        random: || f64::from(Uuid::new_v4().as_bytes()[0]) / f64::from(u8::MAX),
    }
}

/// What the ready line tells.
#[derive(Debug, Clone, Default)]
pub struct Addresses {
    /// DNS, UDP and TCP.
    pub dns: Vec<SocketAddr>,
    /// Health and metrics.
    pub http: Option<SocketAddr>,
}

/// Explains a failed bind and what to do about it.
pub fn bind_context(flag: &str, address: impl std::fmt::Display) -> String {
    format!("cannot listen on {address}; free it or choose another with {flag} (port 0 takes a free one)")
}

impl Process {
    /// Binds every socket; nothing is served yet.
    ///
    /// # Errors
    /// The address that cannot be bound.
    pub fn bind(config: &Config, mode: Mode) -> anyhow::Result<Self> {
        let components = config.components(mode)?;
        let http_listen = config.http_listen(mode);
        let http =
            http_server::listen(http_listen).with_context(|| bind_context("--http-listen", http_listen))?;
        let mut registry = Registry::default();
        let controllers = ControllerMetrics::default();
        controllers.register(&mut registry);
        let requests = RequestMetrics::default();
        requests.register(telemetry::ours(&mut registry));
        telemetry::register(&mut registry, config.dns.coredns_metrics);
        let endpoints = Endpoints { config: config.endpointslices.clone(), ..Endpoints::default() };
        if components.contains(&Component::EndpointSlice) {
            endpoints.slices.register(&mut registry);
        }
        if components.contains(&Component::Mirroring) {
            endpoints.mirrored.register(&mut registry);
        }
        let dns = if components.contains(&Component::Dns) {
            let listen = config.dns_listen(mode);
            let shown = listen.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            let mut options = config.dns.clone();
            if mode == Mode::Up {
                // Nobody balances over one laptop: ending at once is what Ctrl-C means there.
                options.lameduck.get_or_insert(std::time::Duration::ZERO);
            }
            let metrics = dns::Metrics::default();
            metrics.register(telemetry::ours(&mut registry));
            let server = dns::Server::bind(&listen, &options, metrics.clone())
                .with_context(|| bind_context("--dns-listen", shown))?;
            if options.coredns_metrics
                && let Some(address) = server.local_addrs().first()
            {
                metrics.register_as_coredns(&mut registry, *address);
            }
            Some(Dns { server, options, metrics })
        } else {
            None
        };
        let readiness = Readiness::default();
        let draining = readiness.part("not shutting down");
        draining.set();
        Ok(Self {
            tasks: JoinSet::new(),
            base: JoinSet::new(),
            stop: CancellationToken::new(),
            stop_base: CancellationToken::new(),
            readiness,
            draining,
            registry,
            controllers,
            endpoints,
            http_address: http.local_addr().context("the HTTP listener has no address")?,
            http,
            dns,
            components,
            requests,
            limiter: Limiter::new(config.api.limit().filter(|_| mode == Mode::Run)),
            leader: (mode == Mode::Run && config.leader_election.enabled)
                .then(|| candidate(&config.leader_election)),
            workloads: config.workloads.options()?,
        })
    }

    /// Adds a task under the components: it ends after them.
    pub fn spawn_base<F>(&mut self, task: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.base.spawn(task(self.stop_base.clone()));
    }

    /// Adds a task beside the components that has to report readiness under `name`.
    pub fn spawn<F>(&mut self, name: &'static str, task: impl FnOnce(ReadyHandle, CancellationToken) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.tasks.spawn(task(self.readiness.part(name), self.stop.clone()));
    }

    /// Where usage of simulated pods comes from, if the `metrics` component runs.
    pub fn usage(&self) -> Option<workload::usage::Source> {
        let wanted = self.components.contains(&Component::Workload(workload::Controller::Metrics));
        let it = &self.workloads;
        let source = || workload::usage::Source::new(it.stores.clone(), it.metrics_resolution, it.world.now);
        wanted.then(source)
    }

    /// What controllers count into.
    pub fn controller_metrics(&self) -> ControllerMetrics {
        self.controllers.clone()
    }

    /// Starts a controller, or a candidate that runs it while it leads.
    fn spawn_controller<F>(
        &mut self,
        name: &'static str,
        client: &Client,
        controller: impl Fn(Client, ControllerMetrics, ReadyHandle, CancellationToken) -> F
        + Send
        + Sync
        + 'static,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let (client, metrics, limiter) = (client.clone(), self.controllers.clone(), self.limiter.clone());
        let Some(options) = self.leader.clone() else {
            let client = limiter.around(&client);
            return self.spawn(name, move |ready, stop| controller(client, metrics, ready, stop));
        };
        self.spawn(name, move |ready, stop| async move {
            // Neither the limit nor its queue may hold up a renewal, and the fence is the last thing a write passes.
            let run = |fenced: Client, end| {
                controller(limiter.around(&fenced), metrics.clone(), ready.clone(), end)
            };
            leader::lead(&client, name, options, metrics.clone(), ready.clone(), stop, run).await;
        });
    }

    /// Starts the chosen components on `client` and the HTTP endpoints.
    pub fn start(mut self, client: &Client) -> Running {
        let mut addresses = Addresses { http: Some(self.http_address), ..Addresses::default() };
        let client = &self.requests.around(client);
        let components = std::mem::take(&mut self.components);
        let mut routes = Router::new();
        self.start_workloads(client, &components);
        for component in &components {
            match component {
                Component::StatefulSet => {
                    self.spawn_controller(component.name(), client, |client, metrics, ready, stop| {
                        let options = statefulset::Options { metrics, ..statefulset::Options::default() };
                        statefulset::run(client, options, ready, stop)
                    });
                }
                Component::EndpointSlice => {
                    let config = self.endpoints.config.clone();
                    let slice_metrics = self.endpoints.slices.clone();
                    self.spawn_controller(component.name(), client, move |client, metrics, ready, stop| {
                        let options = endpointslice::Options {
                            max_endpoints_per_slice: config.max_endpoints_per_slice,
                            workers: config.concurrent_service_endpoint_syncs,
                            batch_period: config.endpointslice_updates_batch_period,
                            cleanup: config.unmanaged_service_cleanup,
                            compaction: config.slice_compaction,
                            metrics,
                            slice_metrics: slice_metrics.clone(),
                            ..endpointslice::Options::default()
                        };
                        endpointslice::run(client, options, ready, stop)
                    });
                }
                Component::Mirroring => {
                    let config = self.endpoints.config.clone();
                    let mirror_metrics = self.endpoints.mirrored.clone();
                    self.spawn_controller(component.name(), client, move |client, metrics, ready, stop| {
                        let options = mirroring::Options {
                            max_endpoints_per_subset: config.mirroring_max_endpoints_per_subset,
                            workers: config.mirroring_concurrent_service_endpoint_syncs,
                            batch_period: config.mirroring_endpointslice_updates_batch_period,
                            cleanup: config.unmanaged_service_cleanup,
                            metrics,
                            mirror_metrics: mirror_metrics.clone(),
                        };
                        mirroring::run(client, options, ready, stop)
                    });
                }
                Component::Endpoints => {
                    let config = self.endpoints.config.clone();
                    self.spawn_controller(component.name(), client, move |client, metrics, ready, stop| {
                        let options = legacy::Options {
                            workers: config.concurrent_endpoint_syncs,
                            batch_period: config.endpoint_updates_batch_period,
                            cleanup: config.unmanaged_service_cleanup,
                            metrics,
                        };
                        legacy::run(client, options, ready, stop)
                    });
                }
                // They share their caches: started above, together.
                Component::Workload(_) => {}
                Component::Dns => {
                    let client = self.limiter.around(client);
                    let Some(Dns { server, options, metrics }) = self.dns.take() else { continue };
                    addresses.dns = server.local_addrs();
                    let index = server.index();
                    let (inspect, inspections) = mpsc::channel(dns::watch::MAX_INSPECTIONS);
                    let explainer = Explainer::new(index.clone(), server.zones(), options.clone(), inspect);
                    routes = routes.merge(explainer.router());
                    self.spawn("dns", |ready, stop| {
                        dns::watch::run(client, index, options, metrics, inspections, ready, stop)
                    });
                    let stop = self.stop.clone();
                    self.tasks.spawn(async move {
                        if let Err(error) = server.serve(stop).await {
                            error!(%error, "the DNS server ended");
                        }
                    });
                }
            }
            info!(component = component.name(), "started");
        }
        let (registry, readiness, stop) =
            (std::mem::take(&mut self.registry), self.readiness.clone(), self.stop_base.clone());
        let http = self.http;
        self.base.spawn(async move {
            telemetry::serve(http, registry, readiness, routes, stop).await;
        });
        Running {
            tasks: self.tasks,
            base: self.base,
            stop: self.stop,
            stop_base: self.stop_base,
            readiness: self.readiness,
            draining: self.draining,
            addresses,
        }
    }
}

impl Process {
    fn start_workloads(&mut self, client: &Client, components: &[Component]) {
        let controllers: Vec<_> = components
            .iter()
            .filter_map(|it| if let Component::Workload(it) = it { Some(*it) } else { None })
            .collect();
        if controllers.is_empty() {
            return;
        }
        let workloads = self.workloads.clone();
        self.spawn_controller("workloads", client, move |client, metrics, ready, stop| {
            let options =
                workload::Options { controllers: controllers.clone(), metrics, ..workloads.clone() };
            workload::run(client, options, ready, stop)
        });
    }
}

/// A started [`Process`].
pub struct Running {
    tasks: JoinSet<()>,
    base: JoinSet<()>,
    stop: CancellationToken,
    stop_base: CancellationToken,
    readiness: Readiness,
    draining: ReadyHandle,
    /// Where it listens.
    pub addresses: Addresses,
}

impl Running {
    /// Resolves when every cache is synced.
    pub async fn ready(&self) {
        self.readiness.wait().await;
    }

    /// Calls `announce` once every cache is synced, and waits for SIGTERM or SIGINT, before that too. Until then `reload` is
    /// at work.
    ///
    /// Then it drains: not ready first, DNS answers for the lameduck time, writes under way finish, and last the API
    /// server and the HTTP endpoints end. A second signal ends at once.
    ///
    /// # Errors
    /// Signal handlers cannot be installed.
    pub async fn announce_and_serve(mut self, announce: impl FnOnce(), reload: Reload) -> anyhow::Result<()> {
        let mut terminate = signal(SignalKind::terminate()).context("cannot handle SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot handle SIGINT")?;
        let readiness = self.readiness.clone();
        tokio::select! {
            () = async { readiness.wait().await; announce(); std::future::pending().await } => {}
            () = reload.follow() => {}
            _ = terminate.recv() => info!(signal = "SIGTERM", "draining"),
            _ = interrupt.recv() => info!(signal = "SIGINT", "draining"),
        }
        self.draining.clear();
        self.stop.cancel();
        tokio::select! {
            () = async { while self.tasks.join_next().await.is_some() {} } => {}
            _ = terminate.recv() => info!("second signal, ending at once"),
            _ = interrupt.recv() => info!("second signal, ending at once"),
        }
        self.shutdown().await;
        Ok(())
    }

    /// Ends everything without draining.
    pub async fn shutdown(&mut self) {
        self.stop.cancel();
        self.stop_base.cancel();
        self.tasks.abort_all();
        // Open watches hold their connections; they get a moment to end with the server.
        let grace = std::time::Duration::from_millis(500);
        let _ = tokio::time::timeout(grace, async { while self.base.join_next().await.is_some() {} }).await;
        self.base.abort_all();
    }
}
