//! What the user typed: clap types only, no I/O. `config` resolves what it means here.
//!
//! Every option is an `Option`: absent means the environment (`ORDINAL_…`, read by clap), then the file, then the default.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand};

/// DNS and stable identity for Kubernetes headless services.
#[derive(Debug, Parser)]
#[command(name = "ordinal", version, about, disable_help_subcommand = true, max_term_width = 110)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Everything on this machine: embedded API server, simulated node, controllers, DNS.
    Up(UpArgs),
    /// Against a cluster: in-cluster account, KUBECONFIG or --kubeconfig; components chosen by --components.
    Run(RunArgs),
    /// Ask a DNS server for one name and print its answer, or with --explain where it comes from.
    Lookup(LookupArgs),
    /// Print what would change if ordinal took over the StatefulSets of a cluster; exits 1 if anything would.
    Takeover(TakeoverArgs),
    /// Parse and validate a configuration file and print the effective configuration; opens no socket.
    CheckConfig(CheckConfigArgs),
}

/// Options of every long-running command.
#[derive(Debug, Clone, Default, Args)]
pub struct CommonArgs {
    /// Configuration file (YAML, camelCase keys; unknown keys are errors).
    #[arg(long, value_name = "FILE", env = "ORDINAL_CONFIG")]
    pub config: Option<PathBuf>,
    /// Log format on stderr: text or json.
    #[arg(long, value_name = "FORMAT", env = "ORDINAL_LOG_FORMAT")]
    pub log_format: Option<String>,
    /// Log level or filter, such as info, debug or ordinal::dns=trace.
    #[arg(long, value_name = "LEVEL", env = "ORDINAL_LOG_LEVEL")]
    pub log_level: Option<String>,
}

/// Options that `up` and `run` share.
#[derive(Debug, Clone, Default, Args)]
pub struct ServeArgs {
    /// UDP and TCP address of the DNS server; repeatable; port 0 takes a free port.
    #[arg(long, value_name = "ADDR:PORT", env = "ORDINAL_DNS_LISTEN", value_delimiter = ',')]
    pub dns_listen: Vec<SocketAddr>,
    /// Address of /livez, /readyz, /metrics, /health and /ready.
    #[arg(long, value_name = "ADDR:PORT", env = "ORDINAL_HTTP_LISTEN")]
    pub http_listen: Option<SocketAddr>,
    /// Components to run, comma separated: dns, statefulset, endpointslice, endpointslice-mirroring, endpoints; `*` for all,
    /// `-name` to leave one out.
    #[arg(long, value_name = "LIST", env = "ORDINAL_COMPONENTS", allow_hyphen_values = true)]
    pub components: Option<String>,
    /// Endpoint options.
    #[command(flatten)]
    pub endpoints: EndpointArgs,
    /// DNS options.
    #[command(flatten)]
    pub dns: DnsArgs,
}

/// Options of the endpoint controllers, named as in kube-controller-manager where it has them.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Endpoint options")]
pub struct EndpointArgs {
    /// Endpoints of an EndpointSlice, 1 to 1000.
    #[arg(long, value_name = "NUMBER", env = "ORDINAL_MAX_ENDPOINTS_PER_SLICE")]
    pub max_endpoints_per_slice: Option<usize>,
    /// Services whose EndpointSlices are worked on at a time.
    #[arg(long, value_name = "NUMBER", env = "ORDINAL_CONCURRENT_SERVICE_ENDPOINT_SYNCS")]
    pub concurrent_service_endpoint_syncs: Option<usize>,
    /// Pause between a pod event and its EndpointSlices.
    #[arg(long, value_name = "DURATION", env = "ORDINAL_ENDPOINTSLICE_UPDATES_BATCH_PERIOD", value_parser = crate::model::duration::parse)]
    pub endpointslice_updates_batch_period: Option<Duration>,
    /// Endpoints objects mirrored at a time.
    #[arg(long, value_name = "NUMBER", env = "ORDINAL_MIRRORING_CONCURRENT_SERVICE_ENDPOINT_SYNCS")]
    pub mirroring_concurrent_service_endpoint_syncs: Option<usize>,
    /// Addresses of a subset that are mirrored, 1 to 1000.
    #[arg(long, value_name = "NUMBER", env = "ORDINAL_MIRRORING_MAX_ENDPOINTS_PER_SUBSET")]
    pub mirroring_max_endpoints_per_subset: Option<usize>,
    /// Pause between a change of Endpoints and the mirrored EndpointSlices.
    #[arg(long, value_name = "DURATION", env = "ORDINAL_MIRRORING_ENDPOINTSLICE_UPDATES_BATCH_PERIOD", value_parser = crate::model::duration::parse)]
    pub mirroring_endpointslice_updates_batch_period: Option<Duration>,
    /// Services whose Endpoints are worked on at a time.
    #[arg(long, value_name = "NUMBER", env = "ORDINAL_CONCURRENT_ENDPOINT_SYNCS")]
    pub concurrent_endpoint_syncs: Option<usize>,
    /// Pause between a pod event and the Endpoints.
    #[arg(long, value_name = "DURATION", env = "ORDINAL_ENDPOINT_UPDATES_BATCH_PERIOD", value_parser = crate::model::duration::parse)]
    pub endpoint_updates_batch_period: Option<Duration>,
    /// Maintain Endpoints objects, deprecated since Kubernetes 1.33; on for up, off for run.
    #[arg(long, value_name = "BOOL", env = "ORDINAL_LEGACY_ENDPOINTS", action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub legacy_endpoints: Option<bool>,
    /// Mirror hand-written Endpoints into EndpointSlices.
    #[arg(long, value_name = "BOOL", env = "ORDINAL_MIRROR_ENDPOINTS", action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub mirror_endpoints: Option<bool>,
    /// Slices and labelled Endpoints of a Service that loses its selector or becomes an ExternalName: keep or delete.
    #[arg(long, value_name = "MODE", env = "ORDINAL_UNMANAGED_SERVICE_CLEANUP")]
    pub unmanaged_service_cleanup: Option<String>,
    /// Merge half-empty EndpointSlices: off or idle.
    #[arg(long, value_name = "MODE", env = "ORDINAL_SLICE_COMPACTION")]
    pub slice_compaction: Option<String>,
}

/// DNS options, named like their configuration keys under `dns:`.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "DNS options")]
pub struct DnsArgs {
    /// Zones served, forward and reverse.
    #[arg(long, value_name = "ZONES", env = "ORDINAL_ZONES", value_delimiter = ',')]
    pub zones: Vec<String>,
    /// Pod records: disabled, insecure or verified (watches Pods).
    #[arg(long, value_name = "MODE", env = "ORDINAL_PODS")]
    pub pods: Option<String>,
    /// Names of endpoints: hostname, pod-name or both.
    #[arg(long, value_name = "MODE", env = "ORDINAL_ENDPOINT_NAMES")]
    pub endpoint_names: Option<String>,
    /// Namespaces exposed; all if none is named.
    #[arg(long, value_name = "NAMES", env = "ORDINAL_NAMESPACES", value_delimiter = ',')]
    pub namespaces: Vec<String>,
    /// Watch each of --namespaces by itself, and no Namespaces: a Role in each is enough.
    #[arg(long, value_name = "BOOL", env = "ORDINAL_NAMESPACED_WATCHES", action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub namespaced_watches: Option<bool>,
    /// Label selector of the namespaces exposed; excludes --namespaces.
    #[arg(long, value_name = "SELECTOR", env = "ORDINAL_NAMESPACE_SELECTOR")]
    pub namespace_selector: Option<String>,
    /// Label selector of the Services and EndpointSlices that count.
    #[arg(long, value_name = "SELECTOR", env = "ORDINAL_SELECTOR")]
    pub selector: Option<String>,
    /// Treat a ClusterIP Service without ready endpoints as missing.
    #[arg(long, value_name = "BOOL", env = "ORDINAL_HIDE_EMPTY_SERVICES", action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub hide_empty_services: Option<bool>,
    /// Watch EndpointSlices; off: headless Services and endpoint names do not exist.
    #[arg(long, value_name = "BOOL", env = "ORDINAL_ENDPOINTS", action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub endpoints: Option<bool>,
    /// TTL of positive answers in seconds, 0 to 3600.
    #[arg(long, value_name = "SECONDS", env = "ORDINAL_TTL")]
    pub ttl: Option<u32>,
    /// TTL of negative answers in seconds.
    #[arg(long, value_name = "SECONDS", env = "ORDINAL_NEGATIVE_TTL")]
    pub negative_ttl: Option<u32>,
    /// TTL of negative answers for names that are known but not ready, in seconds.
    #[arg(long, value_name = "SECONDS", env = "ORDINAL_PENDING_TTL")]
    pub pending_ttl: Option<u32>,
    /// Watch StatefulSets: names inside a set's ordinal range are pending before their pods exist.
    #[arg(long, value_name = "BOOL", env = "ORDINAL_PENDING_FROM_STATEFULSETS", action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub pending_from_statefulsets: Option<bool>,
    /// Serve `<zone>.pin|prefer._zone.<service>…` names of headless Services.
    #[arg(long, value_name = "BOOL", env = "ORDINAL_ZONAL", action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub zonal: Option<bool>,
    /// Order of PTR records: all, prefer-hostname or hostname-only.
    #[arg(long, value_name = "MODE", env = "ORDINAL_PTR")]
    pub ptr: Option<String>,
    /// Order of address and SRV records: on (random) or off (sorted).
    #[arg(long, value_name = "MODE", env = "ORDINAL_SHUFFLE")]
    pub shuffle: Option<String>,
    /// Largest UDP answer to a client that sent EDNS, in bytes.
    #[arg(long, value_name = "BYTES", env = "ORDINAL_MAX_UDP_PAYLOAD")]
    pub max_udp_payload: Option<u16>,
    /// Addresses of the name server `ns.dns.<zone>`; those the server listens on if none is named.
    #[arg(long, value_name = "ADDRS", env = "ORDINAL_NAME_SERVER_ADDRESSES", value_delimiter = ',')]
    pub name_server_addresses: Vec<std::net::IpAddr>,
    /// How long to answer after SIGTERM, so that clients can move on.
    #[arg(long, value_name = "DURATION", env = "ORDINAL_LAMEDUCK", value_parser = crate::model::duration::parse)]
    pub lameduck: Option<Duration>,
    /// Resolvers for names outside of the zones; such names are refused if none is named.
    #[arg(long, value_name = "ADDRS", env = "ORDINAL_UPSTREAM", value_delimiter = ',')]
    pub upstream: Vec<String>,
    /// Zones whose missing names are asked of --upstream as well; `.` for every zone served.
    #[arg(long, value_name = "ZONES", env = "ORDINAL_FALLTHROUGH", value_delimiter = ',')]
    pub fallthrough: Vec<String>,
    /// Files in the format of /etc/hosts for names outside of the zones.
    #[arg(long, value_name = "FILES", env = "ORDINAL_HOSTS", value_delimiter = ',')]
    pub hosts: Vec<PathBuf>,
    /// Addresses and CIDR blocks that may transfer zones.
    #[arg(long, value_name = "ADDRS", env = "ORDINAL_TRANSFER_TO", value_delimiter = ',')]
    pub transfer_to: Vec<String>,
    /// Send NOTIFY to the single addresses of --transfer-to.
    #[arg(long, value_name = "BOOL", env = "ORDINAL_TRANSFER_NOTIFY", action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub transfer_notify: Option<bool>,
    /// How long readiness may wait for the first full lists before the log says so.
    #[arg(long, value_name = "DURATION", env = "ORDINAL_STARTUP_TIMEOUT", value_parser = crate::model::duration::parse)]
    pub startup_timeout: Option<Duration>,
    /// How long a watch may be lost before answers say that they are stale.
    #[arg(long, value_name = "DURATION", env = "ORDINAL_STALE_AFTER", value_parser = crate::model::duration::parse)]
    pub stale_after: Option<Duration>,
    /// How long a watch may be lost before answers are SERVFAIL; without it the last state is served.
    #[arg(long, value_name = "DURATION", env = "ORDINAL_MAX_STALE", value_parser = crate::model::duration::parse)]
    pub max_stale: Option<Duration>,
    /// How often the data is compared with a fresh list; 0: never.
    #[arg(long, value_name = "DURATION", env = "ORDINAL_RESYNC", value_parser = crate::model::duration::parse)]
    pub resync: Option<Duration>,
    /// Threads that answer UDP; one for each CPU if not given.
    #[arg(long, value_name = "NUMBER", env = "ORDINAL_UDP_THREADS")]
    pub udp_threads: Option<usize>,
    /// Longest silence of a TCP connection.
    #[arg(long, value_name = "DURATION", env = "ORDINAL_TCP_IDLE_TIMEOUT", value_parser = crate::model::duration::parse)]
    pub tcp_idle_timeout: Option<Duration>,
    /// Longest time one TCP message may take to arrive.
    #[arg(long, value_name = "DURATION", env = "ORDINAL_TCP_READ_TIMEOUT", value_parser = crate::model::duration::parse)]
    pub tcp_read_timeout: Option<Duration>,
    /// Open TCP connections; half of the descriptor limit if not given.
    #[arg(long, value_name = "NUMBER", env = "ORDINAL_TCP_MAX_CONNECTIONS")]
    pub tcp_max_connections: Option<usize>,
    /// Open TCP connections of one client address.
    #[arg(long, value_name = "NUMBER", env = "ORDINAL_TCP_MAX_CONNECTIONS_PER_ADDRESS")]
    pub tcp_max_connections_per_address: Option<usize>,
    /// Unanswered queries of one TCP connection.
    #[arg(long, value_name = "NUMBER", env = "ORDINAL_TCP_MAX_IN_FLIGHT")]
    pub tcp_max_in_flight: Option<usize>,
    /// Response rate limiting over UDP.
    #[arg(long, value_name = "BOOL", env = "ORDINAL_RATE_LIMIT", action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub rate_limit: Option<bool>,
    /// Answers in one second to one /24 or /64 with --rate-limit.
    #[arg(long, value_name = "NUMBER", env = "ORDINAL_RATE_LIMIT_RESPONSES_PER_SECOND")]
    pub rate_limit_responses_per_second: Option<u32>,
    /// Every so many limited answers one is sent truncated.
    #[arg(long, value_name = "NUMBER", env = "ORDINAL_RATE_LIMIT_SLIP")]
    pub rate_limit_slip: Option<u32>,
    /// Addresses and CIDR blocks that are not limited.
    #[arg(long, value_name = "ADDRS", env = "ORDINAL_RATE_LIMIT_EXEMPT", value_delimiter = ',')]
    pub rate_limit_exempt: Vec<String>,
    /// DNS cookies (RFC 7873).
    #[arg(long, value_name = "BOOL", env = "ORDINAL_COOKIES", action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub cookies: Option<bool>,
    /// File with the cookie secrets that replicas share.
    #[arg(long, value_name = "FILE", env = "ORDINAL_COOKIE_SECRET_FILE")]
    pub cookie_secret_file: Option<PathBuf>,
    /// Metrics under the names of CoreDNS as well.
    #[arg(long, value_name = "BOOL", env = "ORDINAL_COREDNS_METRICS", action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub coredns_metrics: Option<bool>,
}

/// `ordinal up`.
#[derive(Debug, Args)]
pub struct UpArgs {
    /// See [`CommonArgs`].
    #[command(flatten)]
    pub common: CommonArgs,
    /// Address of the embedded API server; loopback only unless --tls is given.
    #[arg(long, value_name = "ADDR:PORT", env = "ORDINAL_API_LISTEN")]
    pub api_listen: Option<SocketAddr>,
    /// Serve the API over TLS, with a bearer token in the kubeconfig.
    #[arg(long, value_name = "BOOL", env = "ORDINAL_TLS", action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub tls: Option<bool>,
    /// Further DNS names and addresses of the certificate with --tls.
    #[arg(long, value_name = "NAMES", env = "ORDINAL_TLS_SAN", value_delimiter = ',')]
    pub tls_san: Vec<String>,
    /// Where to write the kubeconfig; removed on exit unless there is a data directory.
    #[arg(long, value_name = "FILE", env = "ORDINAL_KUBECONFIG_OUT")]
    pub kubeconfig_out: Option<PathBuf>,
    /// Keep the objects in this folder across restarts; a new one is made.
    #[arg(long, value_name = "DIR", env = "ORDINAL_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
    /// Give Services and simulated pods IPv6 addresses as well: 10.96.0.0/16 and fd00:10:96::/112, 10.244.0.0/16 and fd00:10:244::/64.
    #[arg(long, value_name = "BOOL", env = "ORDINAL_DUAL_STACK", action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub dual_stack: Option<bool>,
    /// Manifests applied before the ready line: file, directory or `-`; repeatable.
    #[arg(short, long, value_name = "PATH")]
    pub filename: Vec<PathBuf>,
    /// Apply the built-in demo, a headless Service and a 3-replica StatefulSet, and print what to try.
    #[arg(long)]
    pub demo: bool,
    /// Run the simulated node; off: pods stay Pending until somebody else plays kubelet.
    #[arg(long, value_name = "BOOL", env = "ORDINAL_SIMULATE_NODE", action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub simulate_node: Option<bool>,
    /// Time a simulated pod takes from scheduled to running.
    #[arg(long, value_name = "DURATION", env = "ORDINAL_START_DELAY", value_parser = crate::model::duration::parse)]
    pub start_delay: Option<Duration>,
    /// Time a simulated pod takes from running to ready.
    #[arg(long, value_name = "DURATION", env = "ORDINAL_READY_DELAY", value_parser = crate::model::duration::parse)]
    pub ready_delay: Option<Duration>,
    /// Time a simulated pod takes to stop.
    #[arg(long, value_name = "DURATION", env = "ORDINAL_STOP_DELAY", value_parser = crate::model::duration::parse)]
    pub stop_delay: Option<Duration>,
    // Last: clap puts what follows a flattened heading below it.
    /// See [`ServeArgs`].
    #[command(flatten)]
    pub serve: ServeArgs,
}

/// `ordinal run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// See [`CommonArgs`].
    #[command(flatten)]
    pub common: CommonArgs,
    /// kubeconfig of the cluster; without it KUBECONFIG, ~/.kube/config or the in-cluster account.
    #[arg(long, value_name = "FILE", env = "ORDINAL_KUBECONFIG")]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig.
    #[arg(long, value_name = "NAME", env = "ORDINAL_CONTEXT")]
    pub context: Option<String>,
    /// Requests a second to the API server at most; no limit if not given.
    #[arg(long, value_name = "NUMBER", env = "ORDINAL_API_QPS")]
    pub api_qps: Option<u32>,
    /// Requests at once after a pause, with --api-qps; as many as that if not given.
    #[arg(long, value_name = "NUMBER", env = "ORDINAL_API_BURST")]
    pub api_burst: Option<u32>,
    /// Leader election of the controllers.
    #[command(flatten)]
    pub leader: LeaderArgs,
    /// See [`ServeArgs`].
    #[command(flatten)]
    pub serve: ServeArgs,
}

/// Leader election, named as in kube-controller-manager.
#[derive(Debug, Clone, Default, Args)]
pub struct LeaderArgs {
    /// Run a controller only while this process holds its Lease, so that several may run.
    #[arg(long, value_name = "BOOL", env = "ORDINAL_LEADER_ELECT", action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub leader_elect: Option<bool>,
    /// Namespace of the Leases; that of the pod, or kube-system outside of a cluster, if not given.
    #[arg(long, value_name = "NAME", env = "ORDINAL_LEADER_ELECT_RESOURCE_NAMESPACE")]
    pub leader_elect_resource_namespace: Option<String>,
    /// How long a Lease is valid that nobody renews.
    #[arg(long, value_name = "DURATION", env = "ORDINAL_LEADER_ELECT_LEASE_DURATION", value_parser = crate::model::duration::parse)]
    pub leader_elect_lease_duration: Option<Duration>,
    /// How long a leader that cannot renew goes on writing.
    #[arg(long, value_name = "DURATION", env = "ORDINAL_LEADER_ELECT_RENEW_DEADLINE", value_parser = crate::model::duration::parse)]
    pub leader_elect_renew_deadline: Option<Duration>,
    /// Time between two tries to acquire or renew.
    #[arg(long, value_name = "DURATION", env = "ORDINAL_LEADER_ELECT_RETRY_PERIOD", value_parser = crate::model::duration::parse)]
    pub leader_elect_retry_period: Option<Duration>,
}

/// `ordinal lookup`.
#[derive(Debug, Args)]
pub struct LookupArgs {
    /// Name to look up, taken as absolute.
    pub name: String,
    /// Record type, such as A, AAAA, SRV or PTR.
    #[arg(value_name = "TYPE", default_value = "A")]
    pub record_type: String,
    /// DNS server to ask.
    #[arg(long, value_name = "ADDR:PORT", env = "ORDINAL_SERVER", default_value = "127.0.0.1:1053")]
    pub server: SocketAddr,
    /// Print which Service, slice and pod each record came from, or why there is none. Asks a running ordinal at --http.
    #[arg(long)]
    pub explain: bool,
    /// Health and metrics address of the ordinal that explains, its --http-listen.
    #[arg(long, value_name = "ADDR:PORT", env = "ORDINAL_HTTP", default_value = "127.0.0.1:9153")]
    pub http: SocketAddr,
    /// See [`CommonArgs`].
    #[command(flatten)]
    pub common: CommonArgs,
}

/// `ordinal takeover`.
#[derive(Debug, Args)]
pub struct TakeoverArgs {
    /// Only look. Required: taking over is done by `ordinal run --components statefulset`.
    #[arg(long, required = true)]
    pub dry_run: bool,
    /// kubeconfig of the cluster; without it KUBECONFIG, ~/.kube/config or the in-cluster account.
    #[arg(long, value_name = "FILE", env = "ORDINAL_KUBECONFIG")]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig.
    #[arg(long, value_name = "NAME", env = "ORDINAL_CONTEXT")]
    pub context: Option<String>,
    /// Only this namespace; without it all.
    #[arg(short, long, value_name = "NAME")]
    pub namespace: Option<String>,
}

/// `ordinal check-config`.
#[derive(Debug, Args)]
pub struct CheckConfigArgs {
    /// The file; without it the one of --config, or the defaults alone.
    pub file: Option<PathBuf>,
    /// See [`CommonArgs`].
    #[command(flatten)]
    pub common: CommonArgs,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn booleans_take_a_value_or_none() {
        for (args, want) in [
            (&["ordinal", "up"][..], None),
            (&["ordinal", "up", "--simulate-node"], Some(true)),
            (&["ordinal", "up", "--simulate-node=false"], Some(false)),
        ] {
            let Command::Up(up) = Cli::try_parse_from(args).expect("valid").command else { panic!("not up") };
            assert_eq!(up.simulate_node, want, "{args:?}");
        }
    }
}
