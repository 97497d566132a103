//! Which questions leave the process, decided from the local answer.
//!
//! (`Answer`, `Request`, `Zones`) ──[`onward`]──▶ [`Onward`] ──▶ `dns::forward`
//!
//! Pure and cheap: every codec asks right after `lookup`, and without `upstream` and `hosts` the answer is always no.

use std::net::{IpAddr, SocketAddr};

use crate::dns::config::{ConfigError, DnsConfig, Zone, Zones, zone_names};
use crate::dns::lookup::{Absence, Answer, Outcome, RrType};
use crate::dns::name::{NameRef, OwnerName};
use crate::dns::request::Request;

/// Port of an upstream server unless given.
const DNS_PORT: u16 = 53;

/// Who else may be asked, and about what. Part of [`Zones`].
#[derive(Debug, Clone, Default)]
pub struct Forwarding {
    /// There is an upstream: RA is set on every reply.
    pub recursion: bool,
    /// There are hosts files.
    pub hosts: bool,
    /// Zones, or parts of them, whose missing names are asked of others.
    fallthrough: Vec<OwnerName>,
}

/// What has to be asked of hosts files and upstream servers, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Onward<'a> {
    /// The name of the question: it lies under no zone served.
    Foreign(NameRef<'a>),
    /// The target of the last alias: it lies under no zone served. The aliases are part of the answer.
    Chase(NameRef<'a>),
    /// A name of ours that does not exist: the name of the question or the target of its last alias.
    Fallthrough(NameRef<'a>),
}

impl<'a> Onward<'a> {
    /// The name to ask.
    pub fn name(self) -> NameRef<'a> {
        match self {
            Self::Foreign(name) | Self::Chase(name) | Self::Fallthrough(name) => name,
        }
    }
}

/// Whether others have to be asked before `request` can be answered. Refused types and classes never get here.
#[inline(always)]
pub fn onward<'a>(answer: &Answer<'a>, request: &'a Request<'_>, zones: &Zones) -> Option<Onward<'a>> {
    let others = zones.forwarding.recursion || zones.forwarding.hosts;
    if others { asked_of_others(answer, request, zones) } else { None }
}

fn asked_of_others<'a>(answer: &Answer<'a>, request: &'a Request<'_>, zones: &Zones) -> Option<Onward<'a>> {
    match &answer.outcome {
        Outcome::NotOurZone => Some(Onward::Foreign(request.name)),
        // A chain also ends because its aliases were asked for; one that is a loop or too long ends in a zone of ours.
        Outcome::AliasOnly if request.rr_type != RrType::CNAME => {
            let target = answer.aliases.last().copied()?;
            zones.longest_match(target).is_none().then_some(Onward::Chase(target))
        }
        Outcome::NxDomain(_, absence) => {
            let name = answer.aliases.last().copied().unwrap_or(request.name);
            zones.forwarding.falls_through(name, *absence).then_some(Onward::Fallthrough(name))
        }
        _ => None,
    }
}

fn invalid<T>(key: impl Into<String>, reason: impl Into<String>) -> Result<T, ConfigError> {
    Err(ConfigError { key: key.into(), reason: reason.into() })
}

impl Forwarding {
    /// Whether others are asked about a name of ours that does not exist.
    pub fn falls_through(&self, name: NameRef<'_>, absence: Absence) -> bool {
        let within = |it: &OwnerName| name.relative_to(it.as_name()).is_some();
        // What is pending is known here: others would deny it for longer than it takes to become ready.
        absence == Absence::Unknown && self.fallthrough.iter().any(within)
    }

    /// Checks the keys `upstream`, `fallthrough` and `hosts`.
    ///
    /// # Errors
    /// The first key whose value cannot be used.
    pub fn check(config: &DnsConfig, served: &[Zone]) -> Result<Self, ConfigError> {
        let (recursion, hosts) = (!servers(config)?.is_empty(), !config.hosts.is_empty());
        let mut fallthrough = Vec::new();
        for (at, text) in config.fallthrough.iter().enumerate() {
            let key = || format!("fallthrough[{at}]");
            if !recursion && !hosts {
                return invalid(key(), "missing names have nobody to be asked of: set upstream or hosts");
            }
            let names = match zone_names(text) {
                Ok(names) => names,
                Err(reason) => return invalid(key(), reason),
            };
            for name in names {
                let within = |it: &Zone| name.as_name().relative_to(it.apex()).is_some();
                if name.as_name().label_count() > 0 && !served.iter().any(within) {
                    return invalid(key(), format!("{name} is no zone served, nor within one"));
                }
                // Only names of ours are asked about, so the root stands for every zone served.
                fallthrough.push(name);
            }
        }
        Ok(Self { recursion, hosts, fallthrough })
    }
}

/// The addresses of `upstream`.
///
/// # Errors
/// An entry that is no address a query can be sent to, or is listed twice.
pub fn servers(config: &DnsConfig) -> Result<Vec<SocketAddr>, ConfigError> {
    let mut servers = Vec::with_capacity(config.upstream.len());
    for (at, text) in config.upstream.iter().enumerate() {
        let key = || format!("upstream[{at}]");
        let Some(server) = address(text.trim()) else {
            return invalid(
                key(),
                format!("{text:?} is neither an address nor ADDR:PORT; names are not resolved"),
            );
        };
        if server.port() == 0 || server.ip().is_unspecified() || server.ip().is_multicast() {
            return invalid(key(), format!("no query can be sent to {server}"));
        }
        if servers.contains(&server) {
            return invalid(key(), format!("{server} is listed twice"));
        }
        servers.push(server);
    }
    Ok(servers)
}

/// `10.0.0.10`, `10.0.0.10:5353`, `fd00::a`, `[fd00::a]` or `[fd00::a]:5353`.
fn address(text: &str) -> Option<SocketAddr> {
    let bare = text.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
    let ip = match bare {
        Some(text) => text.parse().ok().map(IpAddr::V6),
        None => text.parse().ok(),
    };
    ip.map(|it| SocketAddr::new(it, DNS_PORT)).or_else(|| text.parse().ok())
}

/// Refuses an upstream that is this server itself, as far as addresses tell.
///
/// `listening`: the sockets; `own`: further addresses of this machine that a wildcard socket is known to serve.
///
/// # Errors
/// The entry of `upstream`.
pub fn check_loops(config: &DnsConfig, listening: &[SocketAddr], own: &[IpAddr]) -> Result<(), ConfigError> {
    for (at, server) in servers(config)?.into_iter().enumerate() {
        let ip = server.ip().to_canonical();
        let same = |it: &&SocketAddr| {
            let served = if it.ip().is_unspecified() {
                ip.is_loopback() || own.contains(&ip)
            } else {
                it.ip().to_canonical() == ip
            };
            it.port() != 0 && it.port() == server.port() && served
        };
        if let Some(listen) = listening.iter().find(same) {
            return invalid(
                format!("upstream[{at}]"),
                format!(
                    "{server} is this server itself, which listens on {listen}: queries would go in circles"
                ),
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use hickory_proto::rr::RecordType;

    use super::*;
    use crate::dns::lookup::lookup;
    use crate::dns::request::{Received, receive};
    use crate::dns::tests::Fixture;

    /// What `question` asks of others, with this configuration.
    fn asked(objects: &str, yaml: &str, question: &str) -> String {
        let fixture = Fixture::new(yaml, objects);
        let (name, rr_type) = question.split_once(' ').unwrap();
        let mut packet = vec![0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        packet.extend_from_slice(name.parse::<OwnerName>().unwrap().as_name().wire());
        let rr_type: RecordType = rr_type.parse().unwrap();
        packet.extend([u16::from(rr_type), 1].map(u16::to_be_bytes).concat());
        let mut name = OwnerName::ROOT;
        let Received::Query(request) = receive(&packet, &mut name) else { panic!("{question} is a query") };
        let view = fixture.index.view();
        let answer = lookup(&view, &fixture.zones, request.name, request.rr_type);
        match onward(&answer, &request, &fixture.zones) {
            None => "-".to_owned(),
            Some(Onward::Foreign(name)) => format!("foreign {name}"),
            Some(Onward::Chase(name)) => format!("chase {name}"),
            Some(Onward::Fallthrough(name)) => format!("fallthrough {name}"),
        }
    }

    const OBJECTS: &str = "
        ns prod
        svc prod/web 10.96.0.10 http:80
        svc prod/ext -> www.example.com
        svc prod/inner -> ext.prod.svc.cluster.local
        svc prod/here -> web.prod.svc.cluster.local
        svc prod/gone -> nobody.prod.svc.cluster.local
        svc prod/slow headless http:80
        slice prod/slow http:80 : 10.0.0.1=slow-0!
        svc prod/loop -> loop.prod.svc.cluster.local
    ";

    #[test]
    fn what_leaves_the_process() {
        let upstream = "upstream: [10.0.0.10]";
        let addresses = "{upstream: [10.0.0.10], fallthrough: [in-addr.arpa]}";
        let all = "{upstream: [10.0.0.10], fallthrough: ['.']}";
        let part = "{upstream: [10.0.0.10], fallthrough: [dev.svc.cluster.local]}";
        let hosts = "{hosts: [/etc/hosts], fallthrough: [in-addr.arpa]}";
        for (why, yaml, question, want) in [
            ("a name of others", upstream, "www.example.com A", "foreign www.example.com."),
            ("the root", upstream, ". NS", "foreign ."),
            ("matching is by label", upstream, "mycluster.local A", "foreign mycluster.local."),
            ("nobody to ask", "{}", "www.example.com A", "-"),
            ("a name of ours", upstream, "web.prod.svc.cluster.local A", "-"),
            ("a missing name of ours", upstream, "nobody.prod.svc.cluster.local A", "-"),
            ("a missing address", upstream, "9.113.0.203.in-addr.arpa PTR", "-"),
            ("an alias of others", upstream, "ext.prod.svc.cluster.local A", "chase www.example.com."),
            ("any type of it", upstream, "ext.prod.svc.cluster.local MX", "chase www.example.com."),
            ("the alias itself", upstream, "ext.prod.svc.cluster.local CNAME", "-"),
            ("ANY is answered here", upstream, "ext.prod.svc.cluster.local ANY", "-"),
            ("nobody to ask about it", "{}", "ext.prod.svc.cluster.local A", "-"),
            ("two aliases", upstream, "inner.prod.svc.cluster.local A", "chase www.example.com."),
            ("an alias of ours", upstream, "here.prod.svc.cluster.local A", "-"),
            ("an alias of a missing name of ours", upstream, "gone.prod.svc.cluster.local A", "-"),
            (
                "a missing address, to be asked of others",
                addresses,
                "9.113.0.203.in-addr.arpa PTR",
                "fallthrough 9.113.0.203.in-addr.arpa.",
            ),
            (
                "of hosts files alone",
                hosts,
                "9.113.0.203.in-addr.arpa PTR",
                "fallthrough 9.113.0.203.in-addr.arpa.",
            ),
            ("names of others, of hosts files", hosts, "www.example.com A", "foreign www.example.com."),
            ("an address that is ours", addresses, "10.0.96.10.in-addr.arpa PTR", "-"),
            ("the other type of it", addresses, "10.0.96.10.in-addr.arpa A", "-"),
            ("the zone itself", addresses, "in-addr.arpa TXT", "-"),
            ("another zone", addresses, "nobody.prod.svc.cluster.local A", "-"),
            (
                "every zone",
                all,
                "nobody.prod.svc.cluster.local A",
                "fallthrough nobody.prod.svc.cluster.local.",
            ),
            (
                "an alias of a missing name of ours, then",
                all,
                "gone.prod.svc.cluster.local A",
                "fallthrough nobody.prod.svc.cluster.local.",
            ),
            ("what is about to be ready", all, "slow.prod.svc.cluster.local A", "-"),
            (
                "a block of addresses",
                "{upstream: [10.0.0.10], fallthrough: [203.0.113.0/24]}",
                "9.113.0.203.in-addr.arpa PTR",
                "fallthrough 9.113.0.203.in-addr.arpa.",
            ),
            (
                "not the next one",
                "{upstream: [10.0.0.10], fallthrough: [203.0.113.0/24]}",
                "9.114.0.203.in-addr.arpa PTR",
                "-",
            ),
            ("part of a zone", part, "web.dev.svc.cluster.local A", "fallthrough web.dev.svc.cluster.local."),
            ("the other part", part, "nobody.prod.svc.cluster.local A", "-"),
            ("NODATA stays", all, "web.prod.svc.cluster.local MX", "-"),
            ("an alias of itself", upstream, "loop.prod.svc.cluster.local A", "-"),
        ] {
            assert_eq!(asked(OBJECTS, yaml, question), want, "{why}: {question} with {yaml}");
        }
    }

    fn config(yaml: &str) -> DnsConfig {
        serde_saphyr::from_str(yaml).unwrap()
    }

    #[test]
    fn upstream_addresses() {
        let all = "upstream: [10.0.0.10, '10.0.0.10:5353', 'fd00::a', '[fd00::b]', '[fd00::a]:5353']";
        let got: Vec<_> = servers(&config(all)).unwrap().iter().map(ToString::to_string).collect();
        let want = ["10.0.0.10:53", "10.0.0.10:5353", "[fd00::a]:53", "[fd00::b]:53", "[fd00::a]:5353"];
        assert_eq!(got, want);
        for (yaml, want) in [
            (
                "upstream: [dns.example]",
                "dns.upstream[0]: \"dns.example\" is neither an address nor ADDR:PORT; names are not resolved",
            ),
            ("upstream: ['10.0.0.1:0']", "dns.upstream[0]: no query can be sent to 10.0.0.1:0"),
            ("upstream: [10.0.0.1, 0.0.0.0]", "dns.upstream[1]: no query can be sent to 0.0.0.0:53"),
            ("upstream: [224.0.0.1]", "dns.upstream[0]: no query can be sent to 224.0.0.1:53"),
            (
                "fallthrough: [in-addr.arpa]",
                "dns.fallthrough[0]: missing names have nobody to be asked of: set upstream or hosts",
            ),
            (
                "{upstream: [10.0.0.1], fallthrough: [in-addr.arpa, example.com]}",
                "dns.fallthrough[1]: example.com. is no zone served, nor within one",
            ),
            (
                "{hosts: [/etc/hosts], fallthrough: [local]}",
                "dns.fallthrough[0]: local. is no zone served, nor within one",
            ),
            (
                "{hosts: [/etc/hosts], fallthrough: [a..b]}",
                "dns.fallthrough[0]: \"a..b\" is no zone: name has an empty label",
            ),
            ("upstream: [10.0.0.1, '10.0.0.1:53']", "dns.upstream[1]: 10.0.0.1:53 is listed twice"),
        ] {
            assert_eq!(config(yaml).check(&[]).unwrap_err().to_string(), want, "{yaml}");
        }
    }

    #[test]
    fn an_upstream_that_is_the_server_itself_is_refused() {
        let listening = |all: &[&str]| all.iter().map(|it| it.parse().unwrap()).collect::<Vec<SocketAddr>>();
        let own = ["192.0.2.7".parse().unwrap()];
        for (upstream, listen, itself) in [
            ("127.0.0.1:1053", &["127.0.0.1:1053"][..], true),
            ("127.0.0.1:1053", &["127.0.0.1:53"], false),
            ("127.0.0.1:1053", &["127.0.0.2:1053", "127.0.0.1:1053"], true),
            ("127.0.0.53", &["127.0.0.1:53"], false),
            ("127.0.0.1:1053", &["[::]:1053"], true),
            ("'[::1]:1053'", &["[::]:1053"], true),
            ("192.0.2.7:1053", &["0.0.0.0:1053"], true),
            ("192.0.2.8:1053", &["0.0.0.0:1053"], false),
            ("127.0.0.1:1053", &["127.0.0.1:0"], false),
        ] {
            let config = config(&format!("upstream: [{upstream}]"));
            let got = check_loops(&config, &listening(listen), &own);
            assert_eq!(got.is_err(), itself, "{upstream} and {listen:?}");
            if let Err(error) = got {
                assert_eq!(error.key, "upstream[0]");
            }
        }
    }
}
