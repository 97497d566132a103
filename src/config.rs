//! File, environment and flags into one typed [`Config`].
//!
//! Flags win over the environment, that over the file, that over the defaults. Unknown keys are errors.
//! Pure but for [`load`], which reads the file.

mod components;
mod flags;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use crate::dns::{self, DnsConfig};
use crate::endpointslice::config::EndpointsConfig;
use crate::k8s::limit::Limit;
use crate::leader::election::Timing;
use crate::workload;
use crate::workload::hash::Release;

use self::components::parse_components;

pub use self::components::{Component, Mode};
pub use self::flags::{for_run, for_up, overlay_common};

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
    /// Address of the embedded API server; loopback only unless `tls`. Port 0 takes a free port.
    pub listen: SocketAddr,
    /// HTTPS and a bearer token instead of plain HTTP under a secret path.
    pub tls: bool,
    /// Further DNS names and addresses of the certificate, besides those of loopback and of `listen`.
    pub tls_san: Vec<String>,
    /// Where the kubeconfig is written, mode 0600; removed on exit unless there is a data directory.
    pub kubeconfig_out: PathBuf,
    /// Where `up` keeps the objects beyond its end. Left out: in memory.
    pub data_dir: Option<PathBuf>,
    /// Whether Services and simulated pods of `up` may have an IPv6 address besides IPv4.
    pub dual_stack: bool,
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

impl ApiConfig {
    /// Names that can stand in a certificate.
    fn check_names(&self) -> Result<(), ConfigError> {
        let invalid = |reason| Err(ConfigError::Invalid { key: "api.tlsSan".to_owned(), reason });
        if !self.tls && !self.tls_san.is_empty() {
            return invalid("has no meaning without api.tls".to_owned());
        }
        let is_label = |label: &str| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'-')
        };
        let is_name = |it: &str| it.len() <= 253 && it.split('.').all(is_label);
        match self.tls_san.iter().find(|it| it.parse::<IpAddr>().is_err() && !is_name(it)) {
            Some(name) => invalid(format!("{name:?} is neither a DNS name nor an address")),
            None => Ok(()),
        }
    }
}

impl Default for ApiConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 7443)),
            tls: false,
            tls_san: Vec::new(),
            kubeconfig_out: PathBuf::from("ordinal.kubeconfig"),
            data_dir: None,
            dual_stack: false,
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
        if !self.api.listen.ip().is_loopback() && !self.api.tls {
            return Err(ConfigError::Invalid {
                key: "api.listen".to_owned(),
                reason: format!(
                    "{} is not a loopback address; the embedded API server listens on others than 127.0.0.1 and [::1] \
                     with --tls only",
                    self.api.listen
                ),
            });
        }
        self.api.check_names()?;
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
    fn tls_opens_other_addresses() {
        let check = |text: &str| parse(text).expect("parses").validate().map_err(|it| it.to_string());
        #[rustfmt::skip]
        let cases = [
            ("api: {listen: '0.0.0.0:7443'}",                                   "api.listen: 0.0.0.0:7443 is not a loopback address"),
            ("api: {listen: '0.0.0.0:7443', tls: true}",                        ""),
            ("api: {listen: '[fd00::1]:0', tls: true, tlsSan: [a-1.b, '::2', 10.0.0.1]}", ""),
            ("api: {tlsSan: [a]}",                                              "api.tlsSan: has no meaning"),
            ("api: {tls: true, tlsSan: ['https://a']}",                         "api.tlsSan: \"https://a\" is neither"),
            ("api: {tls: true, tlsSan: ['']}",                                  "api.tlsSan: \"\" is neither"),
            ("api: {tls: true, tlsSan: ['a..b']}",                              "api.tlsSan: \"a..b\" is neither"),
        ];
        for (text, want) in cases {
            match check(text) {
                Ok(()) => assert_eq!(want, "", "{text}"),
                Err(error) => assert!(!want.is_empty() && error.starts_with(want), "{text}: {error}"),
            }
        }
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
