//! The `dns:` section of the configuration and what it means once checked.
//!
//! file, flags ──serde──▶ [`DnsConfig`] ──[`DnsConfig::check`]──▶ [`Zones`] ──▶ `dns::lookup`, `dns::respond`
//!
//! Keys follow the CoreDNS `kubernetes` plugin where it has an option for the same thing.

mod sections;
mod zone_names;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::sections::{CookieConfig, RateLimitConfig, SyncConfig, TcpConfig, TransferConfig};
pub(super) use self::zone_names::zone_names;
use self::zone_names::zones;
use super::forward::Forwarding;
use super::lookup::Absence;
use super::name::{Left, NameRef, OwnerName};
use super::rate_limit::RateLimit;
use super::selection::Selection;
use super::transfer::access::Access;

/// Longest `ttl`, in seconds.
pub const MAX_TTL: u32 = 3600;
/// Upper end of the RR TTL of a SOA record that was asked for, in seconds.
const MAX_SOA_TTL: u32 = 300;

/// The `dns:` section. Any key may be left out; an unknown key is an error that names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
#[allow(clippy::struct_excessive_bools, reason = "each is a key of the file that a person switches")]
pub struct DnsConfig {
    /// Zones served. Names under `in-addr.arpa` and `ip6.arpa` are reverse zones, also written as CIDR blocks; PTR targets
    /// lie in the first other one.
    pub zones: Vec<String>,
    /// What `<address>.<namespace>.pod.<zone>` answers.
    pub pods: PodMode,
    /// Where the name of an endpoint comes from.
    pub endpoint_names: EndpointNames,
    /// Namespaces exposed; every other one is as if missing, PTR included. Empty: all.
    pub namespaces: Vec<String>,
    /// Watch each of `namespaces` by itself, and no Namespaces: a Role in each is enough. They count as existing.
    pub namespaced_watches: bool,
    /// Label selector of the namespaces exposed, such as `team=db,env!=dev`. Excludes `namespaces`.
    pub namespace_selector: Option<String>,
    /// Label selector of the Services and EndpointSlices that count; others are as if missing.
    pub selector: Option<String>,
    /// A ClusterIP service without a ready endpoint does not exist.
    pub hide_empty_services: bool,
    /// Watch EndpointSlices. Without them headless services and endpoint names do not exist.
    pub endpoints: bool,
    /// TTL of positive answers in seconds, 0 (do not cache) to 3600.
    pub ttl: u32,
    /// TTL of negative answers in seconds, 0 to 3600. Left out: the smaller of `ttl` and 5.
    pub negative_ttl: Option<u32>,
    /// TTL in seconds of the negative answer for a name that is known but not ready, such as a pod that is starting.
    pub pending_ttl: u32,
    /// Watch StatefulSets: a name inside the ordinal range of a set counts as pending before its pod exists.
    pub pending_from_statefulsets: bool,
    /// Zonal names of headless services: `<topology zone>.pin|prefer._zone.<service>.<namespace>.svc.<zone>`.
    pub zonal: bool,
    /// Largest UDP reply in octets to a client that sent EDNS, 512 to 4096; without EDNS it is 512 (RFC 6891 §6.2.5).
    pub max_udp_payload: u16,
    /// Order of A, AAAA and SRV records: uniformly random for each reply, or sorted.
    pub shuffle: Shuffle,
    /// How long queries are still answered after shutdown began, so that clients find out first. Left out: 5 s for
    /// `run`, nothing for `up`, where nobody balances over several servers.
    #[serde(with = "crate::model::duration::option")]
    pub lameduck: Option<Duration>,
    /// Which PTR records an address has when several endpoints carry it.
    pub ptr: PtrMode,
    /// Addresses published for the name server `ns.dns.<zone>`. Empty: those the server listens on.
    pub name_server_addresses: Vec<IpAddr>,
    /// Resolvers that names outside of the zones are forwarded to, the port 53 unless given. Empty: such names are
    /// refused.
    pub upstream: Vec<String>,
    /// Zones whose missing names are asked of `upstream` as well; `.` stands for every zone served.
    pub fallthrough: Vec<String>,
    /// Files in the format of `/etc/hosts`, read again when they change. They answer names outside of the zones, and
    /// before `upstream`.
    pub hosts: Vec<PathBuf>,
    /// Zone transfer.
    pub transfer: TransferConfig,
    /// Keeping the data in step with the API server.
    pub sync: SyncConfig,
    /// Threads that answer UDP. Left out: one for each CPU the process may use.
    pub udp_threads: Option<usize>,
    /// Limits on TCP connections.
    pub tcp: TcpConfig,
    /// Response rate limiting.
    pub rate_limit: RateLimitConfig,
    /// DNS cookies.
    pub cookies: CookieConfig,
    /// Emit metrics under the names of CoreDNS as well, for dashboards and alerts made for it.
    pub coredns_metrics: bool,
}

impl Default for DnsConfig {
    fn default() -> Self {
        Self {
            zones: ["cluster.local", "in-addr.arpa", "ip6.arpa"].map(String::from).to_vec(),
            pods: PodMode::Disabled,
            endpoint_names: EndpointNames::Hostname,
            namespaces: Vec::new(),
            namespaced_watches: false,
            hide_empty_services: false,
            endpoints: true,
            ttl: 5,
            negative_ttl: None,
            pending_ttl: 1,
            max_udp_payload: 1232,
            shuffle: Shuffle::On,
            lameduck: None,
            ptr: PtrMode::All,
            name_server_addresses: Vec::new(),
            namespace_selector: None,
            selector: None,
            pending_from_statefulsets: false,
            zonal: false,
            upstream: Vec::new(),
            fallthrough: Vec::new(),
            hosts: Vec::new(),
            transfer: TransferConfig::default(),
            sync: SyncConfig::default(),
            udp_threads: None,
            tcp: TcpConfig::default(),
            rate_limit: RateLimitConfig::default(),
            cookies: CookieConfig::default(),
            coredns_metrics: false,
        }
    }
}

/// What `<address>.<namespace>.pod.<zone>` answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PodMode {
    /// The names do not exist.
    Disabled,
    /// The address in the name, whether or not a pod has it. Anybody can mint such a name: do not issue wildcard
    /// certificates for it.
    Insecure,
    /// The address in the name if a running pod of the namespace has it. Watches Pods.
    Verified,
}

/// Where the name of an endpoint comes from, in this order; the dashed address is always the last resort.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EndpointNames {
    /// `hostname` of the endpoint.
    Hostname,
    /// `hostname`, else the pod name.
    PodName,
    /// `hostname`, and the pod name as an extra name.
    Both,
}

/// Order of A, AAAA and SRV records in replies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shuffle {
    /// Random, every order equally likely.
    On,
    /// Sorted.
    Off,
}

/// Which PTR records an address has when several endpoints carry it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PtrMode {
    /// One for each endpoint name.
    All,
    /// Dashed addresses only when no endpoint has a hostname.
    PreferHostname,
    /// Hostnames only.
    HostnameOnly,
}

/// A value of the section that cannot be used. The message names the key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("dns.{key}: {reason}")]
pub struct ConfigError {
    /// The key, camelCase, with an index where it is a list.
    pub key: String,
    /// What is wrong with the value.
    pub reason: String,
}

fn fail<T>(key: impl Into<String>, reason: impl Into<String>) -> Result<T, ConfigError> {
    Err(ConfigError { key: key.into(), reason: reason.into() })
}

impl DnsConfig {
    /// Checks every value and turns the section into the form that answers are made from.
    ///
    /// `listening`: the addresses served, used for the name server's own address records unless
    /// `nameServerAddresses` says otherwise.
    ///
    /// # Errors
    /// The first key whose value cannot be used; a person has to correct it.
    pub fn check(&self, listening: &[IpAddr]) -> Result<Zones, ConfigError> {
        let served = zones(&self.zones)?;
        let Some(primary) = served.iter().position(|it| it.kind == ZoneKind::Forward) else {
            return fail("zones", "at least one zone outside of in-addr.arpa and ip6.arpa is needed");
        };
        for (key, ttl) in [
            ("ttl", self.ttl),
            ("negativeTtl", self.negative_ttl.unwrap_or(0)),
            ("pendingTtl", self.pending_ttl),
        ] {
            if ttl > MAX_TTL {
                return fail(key, format!("{ttl} is above {MAX_TTL} seconds"));
            }
        }
        if !(512..=4096).contains(&self.max_udp_payload) {
            return fail(
                "maxUdpPayload",
                format!("{} is not within 512 and 4096 octets", self.max_udp_payload),
            );
        }
        for (at, namespace) in self.namespaces.iter().enumerate() {
            if let Err(error) = namespace.parse::<super::name::Label>() {
                return fail(format!("namespaces[{at}]"), format!("{namespace:?} is no namespace: {error}"));
            }
        }
        if self.namespaced_watches && self.namespaces.is_empty() {
            return fail("namespacedWatches", "needs the names of the namespaces, in namespaces");
        }
        Selection::of(self)?;
        self.tcp.check()?;
        let rate_limit = match RateLimit::new(&self.rate_limit) {
            Ok(rate_limit) => rate_limit,
            Err((key, reason)) => return fail(format!("rateLimit.{key}"), reason),
        };
        let transfer = Access::check(&self.transfer)?;
        let own = if self.name_server_addresses.is_empty() { listening } else { &self.name_server_addresses };
        let negative_ttl = self.negative_ttl.unwrap_or(self.ttl.min(5));
        let forwarding = Forwarding::check(self, &served)?;
        let mut longest_first: Vec<usize> = (0..served.len()).collect();
        longest_first.sort_by_key(|it| std::cmp::Reverse(served[*it].apex().wire().len()));
        Ok(Zones {
            served,
            longest_first,
            primary,
            pods: self.pods,
            zonal: self.zonal,
            pending_from_statefulsets: self.pending_from_statefulsets,
            ptr: self.ptr,
            shuffle: self.shuffle,
            max_udp_payload: self.max_udp_payload,
            own_v4: own
                .iter()
                .filter_map(|it| if let IpAddr::V4(it) = it { Some(*it) } else { None })
                .collect(),
            own_v6: own
                .iter()
                .filter_map(|it| if let IpAddr::V6(it) = it { Some(*it) } else { None })
                .collect(),
            ttl: self.ttl,
            soa_ttl: self.ttl.min(MAX_SOA_TTL),
            negative_ttl,
            pending_ttl: self.pending_ttl,
            rate_limit,
            transfer,
            forwarding,
        })
    }
}

/// The zones served and the fixed part of their answers. Immutable for the life of the process.
#[derive(Debug, Clone)]
pub struct Zones {
    served: Vec<Zone>,
    /// Places in `served`, the longest apex first.
    longest_first: Vec<usize>,
    primary: usize,
    /// What pod address names answer.
    pub pods: PodMode,
    /// Whether headless services have names for the endpoints of one topology zone.
    pub zonal: bool,
    /// Whether StatefulSets say which missing names are pending.
    pub pending_from_statefulsets: bool,
    /// Which PTR records a shared address has.
    pub ptr: PtrMode,
    /// Order of records in replies.
    pub shuffle: Shuffle,
    /// Cap of UDP replies in octets.
    pub max_udp_payload: u16,
    /// IPv4 addresses of this name server.
    pub own_v4: Vec<Ipv4Addr>,
    /// IPv6 addresses of this name server.
    pub own_v6: Vec<Ipv6Addr>,
    /// TTL of positive records, in seconds.
    pub ttl: u32,
    /// TTL of the SOA record in a positive answer, in seconds.
    pub soa_ttl: u32,
    /// SOA minimum and SOA TTL of negative answers, in seconds (RFC 2308 §5).
    pub negative_ttl: u32,
    /// SOA TTL of negative answers for names that are known but not ready, in seconds.
    pub pending_ttl: u32,
    /// Whether names outside of the zones are forwarded.
    /// Response rate limiting, when it is on.
    pub rate_limit: Option<RateLimit>,
    /// Who may transfer the zones, and who is notified.
    pub transfer: Access,
    /// Who else is asked.
    pub forwarding: Forwarding,
}

impl Zones {
    /// The zone with the longest apex that `name` is within, and the labels left of that apex.
    pub fn longest_match<'n>(&self, name: NameRef<'n>) -> Option<(&Zone, &'n [u8])> {
        self.split(name).map(|(zone, left)| (zone, left.wire))
    }

    /// The same with the labels told apart.
    #[inline(always)]
    pub fn split<'n>(&self, name: NameRef<'n>) -> Option<(&Zone, Left<'n>)> {
        for place in &self.longest_first {
            let zone = &self.served[*place];
            if let Some(left) = name.left_of(zone.apex()) {
                return Some((zone, left));
            }
        }
        None
    }

    /// The labels of metrics: the name of each zone in its place, and last one for everything outside of the zones.
    pub fn labels(&self) -> Vec<String> {
        self.served.iter().map(|it| it.apex().to_string()).chain(["other".to_owned()]).collect()
    }

    /// The label of a question's zone.
    pub fn label_of(&self, zone: Option<&Zone>) -> usize {
        zone.map_or(self.served.len(), |it| it.place)
    }

    /// The SOA TTL of the negative answer for a missing name, in seconds.
    pub fn absence_ttl(&self, absence: Absence) -> u32 {
        match absence {
            Absence::Unknown => self.negative_ttl,
            Absence::Pending => self.pending_ttl,
        }
    }

    /// Whether there is an upstream to ask (RA).
    pub fn recursion(&self) -> bool {
        self.forwarding.recursion
    }

    /// The name of every zone.
    pub fn apexes(&self) -> impl Iterator<Item = OwnerName> {
        self.served.iter().map(|it| it.apex)
    }

    /// The first forward zone: where PTR targets lie.
    pub fn primary(&self) -> &Zone {
        &self.served[self.primary]
    }
}

/// One zone served.
#[derive(Debug, Clone)]
pub struct Zone {
    apex: OwnerName,
    /// Names of services, or of addresses.
    pub kind: ZoneKind,
    /// Its label in [`Zones::labels`].
    pub place: usize,
}

impl Zone {
    /// The name of the zone.
    pub fn apex(&self) -> NameRef<'_> {
        self.apex.as_name()
    }
}

/// What the names of a zone stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ZoneKind {
    /// Services, endpoints and ports.
    Forward,
    /// Addresses.
    Reverse,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(yaml: &str) -> Result<Zones, String> {
        let config: DnsConfig = serde_saphyr::from_str(yaml).map_err(|it| it.to_string())?;
        config.check(&[]).map_err(|it| it.to_string())
    }

    #[test]
    fn an_empty_section_is_the_default_and_survives_printing() {
        let config: DnsConfig = serde_saphyr::from_str("{}").unwrap();
        assert_eq!(config, DnsConfig::default());
        let printed = serde_json::to_string(&config).unwrap();
        assert!(printed.contains(r#""lameduck":null"#), "{printed}");
        assert_eq!(serde_json::from_str::<DnsConfig>(&printed).unwrap(), config);
    }

    #[test]
    fn errors_name_the_key() {
        let cases = [
            ("zones: [a..b]", "dns.zones[0]: \"a..b\" is no zone: name has an empty label"),
            ("zones: [cluster.local, Cluster.Local.]", "dns.zones[1]: cluster.local. is listed twice"),
            (
                "zones: [cluster.local, svc.cluster.local]",
                "dns.zones: svc.cluster.local. would hide names of cluster.local.",
            ),
            (
                "zones: [a, 10.0.0.1/8]",
                "dns.zones[1]: \"10.0.0.1/8\" has bits set behind its prefix; write 10.0.0.0/8",
            ),
            ("zones: [a, 10.0.0.0/33]", "dns.zones[1]: \"10.0.0.0/33\" is no CIDR block"),
            ("zones: [a, '::/0']", "dns.zones[1]: \"::/0\" covers everything"),
            ("zones: [a, 10.in-addr.arpa, 10.0.0.0/8]", "dns.zones[2]: 10.in-addr.arpa. is listed twice"),
            ("zones: ['.']", "dns.zones[0]: the root zone cannot be served"),
            (
                "zones: [ip6.arpa]",
                "dns.zones: at least one zone outside of in-addr.arpa and ip6.arpa is needed",
            ),
            (
                "zones: [a, x.in-addr.arpa]",
                "dns.zones[1]: x.in-addr.arpa. is under the reverse tree but is no address prefix",
            ),
            ("ttl: 3601", "dns.ttl: 3601 is above 3600 seconds"),
            ("negativeTtl: 9999", "dns.negativeTtl: 9999 is above 3600 seconds"),
            ("maxUdpPayload: 100", "dns.maxUdpPayload: 100 is not within 512 and 4096 octets"),
            ("tcp: {idleTimeout: 0s}", "dns.tcp.idleTimeout: 0ns is not above 0 and at most 3600s"),
            ("tcp: {readTimeout: 2h}", "dns.tcp.readTimeout: 7200s is not above 0 and at most 3600s"),
            ("tcp: {maxConnections: 0}", "dns.tcp.maxConnections: 0 is below 1"),
            ("tcp: {maxConnectionsPerAddress: 0}", "dns.tcp.maxConnectionsPerAddress: 0 is below 1"),
            (
                "rateLimit: {responsesPerSecond: 0}",
                "dns.rateLimit.responsesPerSecond: 0 is not within 1 and 1000000",
            ),
            (
                "rateLimit: {exempt: [10.0.0.0/33]}",
                "dns.rateLimit.exempt[0]: \"10.0.0.0/33\" is no address or CIDR block",
            ),
            ("tcp: {maxInFlight: 0}", "dns.tcp.maxInFlight: 0 is below 1"),
            (
                "transfer: {to: [10.0.0.0/33]}",
                "dns.transfer.to[0]: \"10.0.0.0/33\" is no address, CIDR block or address with a port",
            ),
            (
                "transfer: {to: [127.0.0.1, localhost]}",
                "dns.transfer.to[1]: \"localhost\" is no address, CIDR block or address with a port",
            ),
            (
                "transfer: {to: [10.0.0.0/8], notify: true}",
                "dns.transfer.notify: no entry of transfer.to is a single address to notify",
            ),
            (
                "namespacedWatches: true",
                "dns.namespacedWatches: needs the names of the namespaces, in namespaces",
            ),
            (
                "namespaces: [a.b]",
                "dns.namespaces[0]: \"a.b\" is no namespace: name has a character other than",
            ),
        ];
        for (yaml, want) in cases {
            let got = check(yaml).expect_err(yaml);
            assert!(got.starts_with(want), "{yaml}: {got}");
        }
        for (yaml, key) in [("tll: 5", "tll"), ("pods: sure", "sure"), ("lameduck: soon", "soon")] {
            let got = check(yaml).expect_err(yaml);
            assert!(got.contains(key), "{yaml}: {got}");
        }
    }

    #[test]
    fn ttls() {
        let zones = check("ttl: 600").unwrap();
        assert_eq!((zones.ttl, zones.soa_ttl, zones.negative_ttl, zones.pending_ttl), (600, 300, 5, 1));
        assert_eq!(check("ttl: 0").unwrap().negative_ttl, 0);
        assert_eq!(check("{ttl: 30, negativeTtl: 2, shuffle: off}").unwrap().negative_ttl, 2);
    }

    #[test]
    fn longest_zone_wins() {
        let zones = check("zones: [local, cluster.local, 10.in-addr.arpa]").unwrap();
        let find = |name: &str| {
            let name: OwnerName = name.parse().unwrap();
            zones.longest_match(name.as_name()).map(|(zone, _)| zone.apex().to_string())
        };
        assert_eq!(find("web.cluster.local").unwrap(), "cluster.local.");
        assert_eq!(find("mycluster.local").unwrap(), "local.");
        assert_eq!(find("1.10.in-addr.arpa").unwrap(), "10.in-addr.arpa.");
        assert_eq!(find("1.11.in-addr.arpa"), None);
        assert_eq!(zones.primary().apex().to_string(), "local.");
    }
}
