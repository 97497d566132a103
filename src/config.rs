//! File, environment and flags into one typed [`Config`].
//!
//! Flags win over the environment, that over the file, that over the defaults. Unknown keys are errors.
//! Pure but for [`load`], which reads the file.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use crate::cli::{CommonArgs, DnsArgs, EndpointArgs, RunArgs, ServeArgs, UpArgs};
use crate::dns::{self, DnsConfig};
use crate::endpointslice::config::EndpointsConfig;
use crate::k8s::limit::Limit;
use crate::leader::election::Timing;
use crate::workload;
use crate::workload::hash::Release;

/// Why a configuration cannot be used. The process exits with 2.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {file}")]
    Read {
        /// Its path.
        file: String,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not valid YAML, has an unknown key or a value of the wrong type.
    #[error("{file}: {message}")]
    Parse {
        /// Its path.
        file: String,
        /// Line, column, key and reason.
        message: String,
    },
    /// A value is out of range or contradicts another.
    #[error("{key}: {reason}")]
    Invalid {
        /// The configuration key, such as `dns.ttl`.
        key: String,
        /// What is wrong and what to do.
        reason: String,
    },
}

/// The whole configuration. Any key may be left out; an unknown key is an error that names it.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, Default)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Config {
    /// Components to run, as in kube-controller-manager: a comma-separated list of names, `*` for those that are on by
    /// default, `-name` to leave one out. `dns`, `statefulset`, `endpointslice` and `endpointslice-mirroring` are on by
    /// default; in `up`, where no cluster brings them, `endpoints`, `replicationcontroller`, `replicaset`, `deployment`,
    /// `autoscaler`, `disruption` and `metrics` too. Default: `*` for `up`, `dns` for `run`.
    pub components: Option<String>,
    /// UDP and TCP addresses of the DNS server. Default: `127.0.0.1:1053` for `up`, `[::]:1053` for `run`.
    pub dns_listen: Vec<SocketAddr>,
    /// Address of `/livez`, `/readyz` and `/metrics`. Default: `127.0.0.1:9153` for `up`, `[::]:9153` for `run`.
    pub http_listen: Option<SocketAddr>,
    /// What the DNS server answers.
    pub dns: DnsConfig,
    /// The endpoint controllers.
    pub endpointslices: EndpointsConfig,
    /// The embedded API server of `up`, and how fast `run` sends to the API server of the cluster.
    pub api: ApiConfig,
    /// The simulated node of `up`.
    pub node: NodeSection,
    /// The controllers of workloads besides StatefulSets.
    pub workloads: WorkloadsConfig,
    /// The cluster of `run`.
    pub cluster: ClusterConfig,
    /// Leader election of the controllers in `run`.
    pub leader_election: LeaderElection,
    /// Logs, on stderr.
    pub log: LogConfig,
}

/// The `api:` section.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct ApiConfig {
    /// Address of the embedded API server; loopback only. Port 0 takes a free port.
    pub listen: SocketAddr,
    /// Where the kubeconfig is written, mode 0600; removed on exit unless there is a data directory.
    pub kubeconfig_out: PathBuf,
    /// Where `up` keeps the objects beyond its end. Left out: in memory.
    pub data_dir: Option<PathBuf>,
    /// Requests a second that `run` sends to the API server at most, on average. Left out: no limit.
    pub qps: Option<u32>,
    /// Requests at once after a pause, with `qps`. Left out: as many as `qps`.
    pub burst: Option<u32>,
}

impl ApiConfig {
    /// The limit on requests, if there is one.
    pub fn limit(&self) -> Option<Limit> {
        self.qps.map(|qps| Limit { qps, burst: self.burst.unwrap_or(qps) })
    }
}

impl Default for ApiConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 7443)),
            kubeconfig_out: PathBuf::from("ordinal.kubeconfig"),
            data_dir: None,
            qps: None,
            burst: None,
        }
    }
}

/// The `node:` section: how long simulated pods take. Durations are written like `200ms`, `5s` or `1m30s`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct NodeSection {
    /// Whether `up` simulates a node.
    pub simulate: bool,
    /// From scheduled to running.
    #[serde(with = "crate::model::duration")]
    pub start_delay: Duration,
    /// From running to ready.
    #[serde(with = "crate::model::duration")]
    pub ready_delay: Duration,
    /// From deletion to gone.
    #[serde(with = "crate::model::duration")]
    pub stop_delay: Duration,
}

impl Default for NodeSection {
    fn default() -> Self {
        Self {
            simulate: true,
            start_delay: Duration::from_millis(200),
            ready_delay: Duration::from_millis(300),
            stop_delay: Duration::from_millis(200),
        }
    }
}

/// The `workloads:` section.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct WorkloadsConfig {
    /// The Kubernetes release, 1.16 to 1.37, whose pod-template-hash names ReplicaSets. Each release that adds a field to
    /// pods gives other names to the same templates; what a ReplicaSet is called has no other effect.
    pub template_hash_release: String,
    /// How often simulated pods are measured for `kubectl top` and autoscalers; a younger pod has no sample.
    #[serde(with = "crate::model::duration")]
    pub metrics_resolution: Duration,
    /// How often a HorizontalPodAutoscaler decides.
    #[serde(with = "crate::model::duration")]
    pub autoscaler_period: Duration,
    /// How long a higher proposal keeps a HorizontalPodAutoscaler from shrinking, unless its `behavior` says otherwise.
    #[serde(with = "crate::model::duration")]
    pub autoscaler_downscale_window: Duration,
}

impl WorkloadsConfig {
    fn release(&self) -> Result<Release, ConfigError> {
        self.template_hash_release.parse().map_err(|reason| ConfigError::Invalid {
            key: "workloads.templateHashRelease".to_owned(),
            reason,
        })
    }

    /// How the workload controllers run.
    ///
    /// # Errors
    /// A release that is not known.
    pub fn options(&self) -> Result<workload::Options, ConfigError> {
        let signed = |it: Duration| SignedDuration::try_from(it).unwrap_or(SignedDuration::MAX);
        Ok(workload::Options {
            release: self.release()?,
            metrics_resolution: signed(self.metrics_resolution),
            autoscaler: workload::autoscaler::Settings {
                period: signed(self.autoscaler_period),
                downscale_window: signed(self.autoscaler_downscale_window),
                ..workload::autoscaler::Settings::default()
            },
            ..workload::Options::default()
        })
    }
}

impl Default for WorkloadsConfig {
    fn default() -> Self {
        Self {
            template_hash_release: Release::LAST.to_string(),
            metrics_resolution: Duration::from_secs(15),
            autoscaler_period: Duration::from_secs(15),
            autoscaler_downscale_window: Duration::from_secs(300),
        }
    }
}

/// The `cluster:` section: which API server `run` talks to.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct ClusterConfig {
    /// kubeconfig file. Default: `KUBECONFIG`, `~/.kube/config` or the in-cluster account.
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig. Default: its current context.
    pub context: Option<String>,
}

/// The `leaderElection:` section.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct LeaderElection {
    /// Off: exactly one process may run the controllers.
    pub enabled: bool,
    /// Namespace of the Leases. Default: that of the pod, or `kube-system` outside of a cluster.
    pub namespace: Option<String>,
    /// How long a Lease is valid that nobody renews.
    #[serde(with = "crate::model::duration")]
    pub lease_duration: Duration,
    /// How long a leader that cannot renew goes on writing.
    #[serde(with = "crate::model::duration")]
    pub renew_deadline: Duration,
    /// Time between two tries to acquire or renew.
    #[serde(with = "crate::model::duration")]
    pub retry_period: Duration,
}

impl Default for LeaderElection {
    fn default() -> Self {
        let Timing { lease_duration, renew_deadline, retry_period } = Timing::default();
        Self { enabled: true, namespace: None, lease_duration, renew_deadline, retry_period }
    }
}

impl LeaderElection {
    /// Its times.
    pub fn timing(&self) -> Timing {
        let Self { lease_duration, renew_deadline, retry_period, .. } = *self;
        Timing { lease_duration, renew_deadline, retry_period }
    }
}

/// The `log:` section.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct LogConfig {
    /// `text` or `json`.
    pub format: LogFormat,
    /// A level, or a filter such as `ordinal::dns=trace,info`.
    pub level: String,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { format: LogFormat::Text, level: "info".to_owned() }
    }
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// The parts a process can run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Component {
    /// The DNS server.
    Dns,
    /// The StatefulSet controller.
    StatefulSet,
    /// The EndpointSlice controller.
    EndpointSlice,
    /// A controller that a cluster brings itself.
    Workload(workload::Controller),
    /// The controller that mirrors hand-written Endpoints into EndpointSlices.
    Mirroring,
    /// The controller of legacy Endpoints.
    Endpoints,
}

impl Component {
    /// Every component, in the order they start.
    pub const ALL: [Self; 11] = [
        Self::Workload(workload::Controller::ReplicationController),
        Self::Workload(workload::Controller::ReplicaSet),
        Self::Workload(workload::Controller::Deployment),
        Self::Workload(workload::Controller::Autoscaler),
        Self::Workload(workload::Controller::Disruption),
        Self::Workload(workload::Controller::Metrics),
        Self::StatefulSet,
        Self::EndpointSlice,
        Self::Mirroring,
        Self::Endpoints,
        Self::Dns,
    ];

    /// The name used by `--components`, metrics and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::StatefulSet => "statefulset",
            Self::EndpointSlice => "endpointslice",
            Self::Workload(it) => it.name(),
            Self::Mirroring => "endpointslice-mirroring",
            Self::Endpoints => "endpoints",
        }
    }

    /// Whether `*` means it. Two controllers of one kind must not run side by side, so what every cluster has runs there
    /// only when it is named.
    fn on_by_default(self, mode: Mode) -> bool {
        mode == Mode::Up || !matches!(self, Self::Workload(_) | Self::Endpoints)
    }
}

/// Which command the configuration is for; it decides the defaults of addresses and components.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// `ordinal up`.
    Up,
    /// `ordinal run`.
    Run,
}

impl Config {
    /// Where the DNS server listens.
    pub fn dns_listen(&self, mode: Mode) -> Vec<SocketAddr> {
        if self.dns_listen.is_empty() { vec![default_address(mode, 1053)] } else { self.dns_listen.clone() }
    }

    /// Where the HTTP endpoints listen.
    pub fn http_listen(&self, mode: Mode) -> SocketAddr {
        self.http_listen.unwrap_or_else(|| default_address(mode, 9153))
    }

    /// Which components run.
    ///
    /// # Errors
    /// A name that is no component.
    pub fn components(&self, mode: Mode) -> Result<Vec<Component>, ConfigError> {
        let list = self.components.as_deref().unwrap_or(match mode {
            Mode::Up => "*",
            Mode::Run => "dns",
        });
        let mut components = parse_components(list, mode)
            .map_err(|reason| ConfigError::Invalid { key: "components".to_owned(), reason })?;
        let left_out = || list.split(',').any(|it| it.trim() == "-endpoints");
        match self.endpointslices.legacy_endpoints {
            Some(false) => components.retain(|it| *it != Component::Endpoints),
            Some(true) if !components.contains(&Component::Endpoints) && !left_out() => {
                components.push(Component::Endpoints);
            }
            _ => {}
        }
        if !self.endpointslices.mirror_endpoints {
            components.retain(|it| *it != Component::Mirroring);
        }
        Ok(components)
    }

    /// Checks every value that its type does not check.
    ///
    /// # Errors
    /// The first invalid key, with the reason.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.components(Mode::Up)?;
        self.workloads.release()?;
        self.dns.check(&[]).map_err(dns_error)?;
        self.endpointslices
            .check()
            .map_err(|(key, reason)| ConfigError::Invalid { key: format!("endpointslices.{key}"), reason })?;
        self.check_loops(&self.dns_listen)?;
        if !self.api.listen.ip().is_loopback() {
            return Err(ConfigError::Invalid {
                key: "api.listen".to_owned(),
                reason: format!(
                    "{} is not a loopback address; the embedded API server has no authentication and listens on \
                     127.0.0.1 or [::1] only",
                    self.api.listen
                ),
            });
        }
        for (key, value) in [("api.qps", self.api.qps), ("api.burst", self.api.burst)] {
            if value == Some(0) {
                let reason = "0 would never send a request; leave it out for no limit".to_owned();
                return Err(ConfigError::Invalid { key: key.to_owned(), reason });
            }
        }
        self.leader_election
            .timing()
            .check()
            .map_err(|(key, reason)| ConfigError::Invalid { key: format!("leaderElection.{key}"), reason })?;
        if self.api.burst.is_some() && self.api.qps.is_none() {
            let reason = "has no meaning without api.qps".to_owned();
            return Err(ConfigError::Invalid { key: "api.burst".to_owned(), reason });
        }
        tracing_subscriber::EnvFilter::try_new(&self.log.level).map_err(|error| ConfigError::Invalid {
            key: "log.level".to_owned(),
            reason: format!("{:?} is neither a level nor a filter: {error}", self.log.level),
        })?;
        Ok(())
    }
}

impl Config {
    /// What depends on where the process runs: the default addresses, and files that have to be there.
    fn check_machine(&self, mode: Mode) -> Result<(), ConfigError> {
        self.check_loops(&self.dns_listen(mode))?;
        dns::hosts::Hosts::check(&self.dns.hosts).map_err(|error| dns_error(error.into()))
    }

    /// An upstream must not be the DNS server itself.
    fn check_loops(&self, listen: &[SocketAddr]) -> Result<(), ConfigError> {
        dns::forward::check_loops(&self.dns, listen, &[]).map_err(dns_error)
    }
}

fn dns_error(error: dns::config::ConfigError) -> ConfigError {
    ConfigError::Invalid { key: format!("dns.{}", error.key), reason: error.reason }
}

/// The loopback address for `up`, every address for `run`.
fn default_address(mode: Mode, port: u16) -> SocketAddr {
    match mode {
        Mode::Up => SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
        Mode::Run => SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)),
    }
}

/// `*`, names and `-names`, as in kube-controller-manager's `--controllers`; an empty list runs nothing.
fn parse_components(list: &str, mode: Mode) -> Result<Vec<Component>, String> {
    let mut wanted = Vec::new();
    let mut unwanted = Vec::new();
    for item in list.split(',').map(str::trim).filter(|it| !it.is_empty()) {
        if item == "*" {
            wanted.extend(Component::ALL.into_iter().filter(|it| it.on_by_default(mode)));
            continue;
        }
        let (name, into) = match item.strip_prefix('-') {
            Some(name) => (name, &mut unwanted),
            None => (item, &mut wanted),
        };
        match Component::ALL.into_iter().find(|it| it.name() == name) {
            Some(component) => into.push(component),
            None => {
                let known = Component::ALL.map(Component::name).join(", ");
                return Err(format!("{item:?} is not a component; known are {known}, `*` and `-name`"));
            }
        }
    }
    Ok(Component::ALL.into_iter().filter(|it| wanted.contains(it) && !unwanted.contains(it)).collect())
}

/// Reads and parses one file; no file gives the defaults. Validation is [`Config::validate`]'s.
///
/// # Errors
/// The file cannot be read or parsed.
pub fn load(file: Option<&Path>) -> Result<Config, ConfigError> {
    let Some(path) = file else { return Ok(Config::default()) };
    let name = path.display().to_string();
    let text =
        std::fs::read_to_string(path).map_err(|source| ConfigError::Read { file: name.clone(), source })?;
    parse(&text).map_err(|message| ConfigError::Parse { file: name, message })
}

/// Parses the text of a configuration file.
///
/// # Errors
/// One line: where and what.
pub fn parse(text: &str) -> Result<Config, String> {
    if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
        return Ok(Config::default());
    }
    serde_saphyr::from_str(text).map_err(|error| one_line(&error))
}

/// A YAML error on one line, with its place first.
pub fn one_line(error: &serde_saphyr::Error) -> String {
    let message = error.without_snippet().to_string();
    let message = message.split_whitespace().collect::<Vec<_>>().join(" ");
    match error.location() {
        Some(at) if !message.contains("line ") => {
            format!("line {}, column {}: {message}", at.line(), at.column())
        }
        _ => message,
    }
}

/// The configuration of `up`: file, then environment and flags over it.
///
/// # Errors
/// Unreadable, unparsable or invalid.
pub fn for_up(args: &UpArgs) -> Result<Config, ConfigError> {
    let mut config = load(args.common.config.as_deref())?;
    overlay_common(&mut config, &args.common)?;
    overlay_serve(&mut config, &args.serve)?;
    set(&mut config.api.listen, args.api_listen);
    set(&mut config.api.kubeconfig_out, args.kubeconfig_out.clone());
    overlay_optional(&mut config.api.data_dir, args.data_dir.clone());
    set(&mut config.node.simulate, args.simulate_node);
    set(&mut config.node.start_delay, args.start_delay);
    set(&mut config.node.ready_delay, args.ready_delay);
    set(&mut config.node.stop_delay, args.stop_delay);
    config.validate()?;
    config.check_machine(Mode::Up)?;
    Ok(config)
}

/// The configuration of `run`: file, then environment and flags over it.
///
/// # Errors
/// Unreadable, unparsable or invalid.
pub fn for_run(args: &RunArgs) -> Result<Config, ConfigError> {
    let mut config = load(args.common.config.as_deref())?;
    overlay_common(&mut config, &args.common)?;
    overlay_serve(&mut config, &args.serve)?;
    overlay_optional(&mut config.cluster.kubeconfig, args.kubeconfig.clone());
    overlay_optional(&mut config.cluster.context, args.context.clone());
    overlay_optional(&mut config.api.qps, args.api_qps);
    overlay_optional(&mut config.api.burst, args.api_burst);
    set(&mut config.leader_election.enabled, args.leader.leader_elect);
    overlay_optional(
        &mut config.leader_election.namespace,
        args.leader.leader_elect_resource_namespace.clone(),
    );
    set(&mut config.leader_election.lease_duration, args.leader.leader_elect_lease_duration);
    set(&mut config.leader_election.renew_deadline, args.leader.leader_elect_renew_deadline);
    set(&mut config.leader_election.retry_period, args.leader.leader_elect_retry_period);
    config.validate()?;
    config.check_machine(Mode::Run)?;
    Ok(config)
}

/// Lays the options every command has over `config`.
///
/// # Errors
/// A log format that is neither `text` nor `json`.
pub fn overlay_common(config: &mut Config, args: &CommonArgs) -> Result<(), ConfigError> {
    set(&mut config.log.level, args.log_level.clone());
    if let Some(format) = &args.log_format {
        config.log.format = keyword("log.format", format)?;
    }
    Ok(())
}

fn overlay_serve(config: &mut Config, args: &ServeArgs) -> Result<(), ConfigError> {
    overlay_list(&mut config.dns_listen, &args.dns_listen);
    overlay_optional(&mut config.http_listen, args.http_listen);
    overlay_optional(&mut config.components, args.components.clone());
    overlay_endpoints(&mut config.endpointslices, &args.endpoints)?;
    overlay_dns(&mut config.dns, &args.dns)
}

fn overlay_endpoints(config: &mut EndpointsConfig, args: &EndpointArgs) -> Result<(), ConfigError> {
    set(&mut config.max_endpoints_per_slice, args.max_endpoints_per_slice);
    set(&mut config.concurrent_service_endpoint_syncs, args.concurrent_service_endpoint_syncs);
    set(&mut config.endpointslice_updates_batch_period, args.endpointslice_updates_batch_period);
    set(
        &mut config.mirroring_concurrent_service_endpoint_syncs,
        args.mirroring_concurrent_service_endpoint_syncs,
    );
    set(&mut config.mirroring_max_endpoints_per_subset, args.mirroring_max_endpoints_per_subset);
    set(
        &mut config.mirroring_endpointslice_updates_batch_period,
        args.mirroring_endpointslice_updates_batch_period,
    );
    set(&mut config.concurrent_endpoint_syncs, args.concurrent_endpoint_syncs);
    set(&mut config.endpoint_updates_batch_period, args.endpoint_updates_batch_period);
    overlay_optional(&mut config.legacy_endpoints, args.legacy_endpoints);
    set(&mut config.mirror_endpoints, args.mirror_endpoints);
    if let Some(mode) = &args.unmanaged_service_cleanup {
        config.unmanaged_service_cleanup = keyword("endpointslices.unmanagedServiceCleanup", mode)?;
    }
    if let Some(mode) = &args.slice_compaction {
        config.slice_compaction = keyword("endpointslices.sliceCompaction", mode)?;
    }
    Ok(())
}

fn overlay_dns(dns: &mut DnsConfig, args: &DnsArgs) -> Result<(), ConfigError> {
    overlay_list(&mut dns.zones, &args.zones);
    overlay_list(&mut dns.namespaces, &args.namespaces);
    if let Some(mode) = &args.pods {
        dns.pods = keyword("dns.pods", mode)?;
    }
    if let Some(mode) = &args.endpoint_names {
        dns.endpoint_names = keyword("dns.endpointNames", mode)?;
    }
    if let Some(mode) = &args.ptr {
        dns.ptr = keyword("dns.ptr", mode)?;
    }
    set(&mut dns.namespaced_watches, args.namespaced_watches);
    set(&mut dns.coredns_metrics, args.coredns_metrics);
    set(&mut dns.hide_empty_services, args.hide_empty_services);
    set(&mut dns.endpoints, args.endpoints);
    set(&mut dns.ttl, args.ttl);
    overlay_optional(&mut dns.negative_ttl, args.negative_ttl);
    set(&mut dns.pending_ttl, args.pending_ttl);
    if let Some(mode) = &args.shuffle {
        dns.shuffle = keyword("dns.shuffle", mode)?;
    }
    overlay_list(&mut dns.name_server_addresses, &args.name_server_addresses);
    set(&mut dns.max_udp_payload, args.max_udp_payload);
    overlay_optional(&mut dns.lameduck, args.lameduck);
    overlay_optional(&mut dns.namespace_selector, args.namespace_selector.clone());
    overlay_optional(&mut dns.selector, args.selector.clone());
    set(&mut dns.pending_from_statefulsets, args.pending_from_statefulsets);
    set(&mut dns.zonal, args.zonal);
    overlay_list(&mut dns.upstream, &args.upstream);
    overlay_list(&mut dns.fallthrough, &args.fallthrough);
    overlay_list(&mut dns.hosts, &args.hosts);
    overlay_list(&mut dns.transfer.to, &args.transfer_to);
    set(&mut dns.transfer.notify, args.transfer_notify);
    set(&mut dns.sync.startup_timeout, args.startup_timeout);
    set(&mut dns.sync.stale_after, args.stale_after);
    overlay_optional(&mut dns.sync.max_stale, args.max_stale);
    set(&mut dns.sync.resync, args.resync);
    overlay_optional(&mut dns.udp_threads, args.udp_threads);
    set(&mut dns.tcp.idle_timeout, args.tcp_idle_timeout);
    set(&mut dns.tcp.read_timeout, args.tcp_read_timeout);
    overlay_optional(&mut dns.tcp.max_connections, args.tcp_max_connections);
    set(&mut dns.tcp.max_connections_per_address, args.tcp_max_connections_per_address);
    set(&mut dns.tcp.max_in_flight, args.tcp_max_in_flight);
    set(&mut dns.rate_limit.enabled, args.rate_limit);
    set(&mut dns.rate_limit.responses_per_second, args.rate_limit_responses_per_second);
    set(&mut dns.rate_limit.slip, args.rate_limit_slip);
    overlay_list(&mut dns.rate_limit.exempt, &args.rate_limit_exempt);
    set(&mut dns.cookies.enabled, args.cookies);
    overlay_optional(&mut dns.cookies.secret_file, args.cookie_secret_file.clone());
    Ok(())
}

fn set<T>(slot: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *slot = value;
    }
}

fn overlay_optional<T>(slot: &mut Option<T>, value: Option<T>) {
    if value.is_some() {
        *slot = value;
    }
}

fn overlay_list<T: Clone>(slot: &mut Vec<T>, values: &[T]) {
    if !values.is_empty() {
        *slot = values.to_vec();
    }
}

/// One of an enum's names, as a flag or variable gives it.
fn keyword<T: serde::de::DeserializeOwned>(key: &str, word: &str) -> Result<T, ConfigError> {
    serde_json::from_value(serde_json::Value::String(word.to_owned()))
        .map_err(|error| ConfigError::Invalid { key: key.to_owned(), reason: error.to_string() })
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

    #[test]
    fn the_documented_file_says_the_defaults() {
        let text = include_str!("../config/ordinal.yaml");
        assert_eq!(parse(text).expect("the shipped file is valid"), Config::default());
    }

    #[test]
    fn the_effective_configuration_reads_back() {
        let text = serde_saphyr::to_string(&Config::default()).expect("it is plain data");
        assert_eq!(parse(&text).expect("our own output"), Config::default());
    }

    #[test]
    fn components() {
        for (list, want) in [
            ("*", Ok("statefulset,endpointslice,endpointslice-mirroring,dns")),
            ("dns", Ok("dns")),
            ("*,-dns", Ok("statefulset,endpointslice,endpointslice-mirroring")),
            (
                "*,deployment,replicaset",
                Ok("replicaset,deployment,statefulset,endpointslice,endpointslice-mirroring,dns"),
            ),
            ("endpoints,dns", Ok("endpoints,dns")),
            (" dns , statefulset ", Ok("statefulset,dns")),
            ("", Ok("")),
            ("-dns", Ok("")),
            (
                "dsn",
                Err(
                    "\"dsn\" is not a component; known are replicationcontroller, replicaset, deployment, autoscaler, \
                     disruption, metrics, statefulset, endpointslice, endpointslice-mirroring, endpoints, dns, `*` and `-name`",
                ),
            ),
        ] {
            let names = |it: Vec<Component>| it.iter().map(|it| it.name()).collect::<Vec<_>>().join(",");
            let got = parse_components(list, Mode::Run).map(names);
            assert_eq!(got.as_deref().map_err(String::as_str), want, "{list:?}");
        }
        assert_eq!(
            parse_components("*", Mode::Up).map(|it| it.len()),
            Ok(Component::ALL.len()),
            "up has everything"
        );
    }

    #[test]
    fn legacy_endpoints_run_where_they_are_wanted() {
        #[rustfmt::skip]
        let cases = [
            (Mode::Up,  "{}",                                                        true),
            (Mode::Up,  "endpointslices: {legacyEndpoints: false}",                  false),
            (Mode::Up,  "components: '*,-endpoints'",                                false),
            (Mode::Run, "components: '*'",                                           false),
            (Mode::Run, "components: 'dns,endpoints'",                               true),
            (Mode::Run, "{components: '*', endpointslices: {legacyEndpoints: true}}", true),
            (Mode::Run, "endpointslices: {legacyEndpoints: true}",                   true),
        ];
        for (mode, text, want) in cases {
            let components = parse(text).expect("parses").components(mode).expect("valid");
            assert_eq!(components.contains(&Component::Endpoints), want, "{mode:?} {text}");
        }
        let without = parse("endpointslices: {mirrorEndpoints: false}").expect("parses").components(Mode::Up);
        assert!(!without.expect("valid").contains(&Component::Mirroring));
    }

    #[test]
    fn limits_of_the_endpoint_controllers() {
        let error =
            |text: &str| parse(text).expect("parses").validate().expect_err("out of range").to_string();
        assert_eq!(
            error("endpointslices: {maxEndpointsPerSlice: 1001}"),
            "endpointslices.maxEndpointsPerSlice: 1001 is out of range; it may be 1 to 1000"
        );
    }

    #[test]
    fn errors_name_the_key_and_the_place() {
        for (text, want) in [
            ("dns:\n  tll: 5\n", "tll"),
            ("dns:\n  ttl: many\n", "line 2"),
            ("node:\n  startDelay: 5 parsecs\n", "is not a duration"),
        ] {
            let error = parse(text).expect_err("invalid");
            assert!(error.contains(want) && !error.contains('\n'), "{text:?} gave {error:?}");
        }
        let mut config = Config::default();
        config.api.listen = SocketAddr::from(([0, 0, 0, 0], 7443));
        assert!(
            config.validate().expect_err("not loopback").to_string().starts_with("api.listen: 0.0.0.0:7443")
        );
    }

    #[test]
    fn the_limit_on_requests() {
        let check = |text: &str| {
            let config = parse(text).expect("parses");
            config.validate().map(|()| config.api.limit()).map_err(|it| it.to_string())
        };
        assert_eq!(check("{}"), Ok(None));
        assert_eq!(check("api: {qps: 50}"), Ok(Some(Limit { qps: 50, burst: 50 })));
        assert_eq!(check("api: {qps: 50, burst: 100}"), Ok(Some(Limit { qps: 50, burst: 100 })));
        for (text, want) in [
            ("api: {qps: 0}", "api.qps: 0 would never"),
            ("api: {qps: 1, burst: 0}", "api.burst: 0 would never"),
            ("api: {burst: 5}", "api.burst: has no meaning without api.qps"),
        ] {
            assert!(check(text).expect_err(text).starts_with(want), "{text}");
        }
    }

    #[test]
    fn flags_win_over_the_file() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let file = directory.path().join("ordinal.yaml");
        std::fs::write(&file, "dns:\n  ttl: 7\n  pendingTtl: 2\nnode:\n  stopDelay: 1s\n").expect("written");
        let file = file.to_str().expect("UTF-8");
        let cli = Cli::try_parse_from(["ordinal", "up", "--config", file, "--ttl", "9", "--start-delay=0"]);
        let Command::Up(args) = cli.expect("valid").command else { panic!("not up") };
        let config = for_up(&args).expect("valid");
        assert_eq!((config.dns.ttl, config.dns.pending_ttl), (9, 2));
        assert_eq!(config.node.start_delay, Duration::ZERO);
        assert_eq!(config.node.stop_delay, Duration::from_secs(1));
    }
}
