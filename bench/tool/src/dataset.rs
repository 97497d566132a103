//! The test data as values: which services and pods exist, and which questions are asked about them.
//!
//! [`Shape`] ──▶ [`Service`]s ──▶ `zone` (RFC 1035 text), `api` (Kubernetes objects), [`queries`] (lines for dnsperf)
//!
//! Pure: the same shape and seed give the same data on every machine and in every version.

use std::net::Ipv4Addr;

use clap::Args;

/// The zone that everything is in.
pub const ZONE: &str = "cluster.local";
/// TTL of every record, positive and negative.
pub const TTL: u32 = 5;
/// The one named port of every service.
pub const PORT: (&str, u16) = ("http", 8080);
/// Services are spread over this many namespaces.
pub const NAMESPACES: usize = 20;

/// How much data.
#[derive(Debug, Clone, Copy, Args)]
pub struct Shape {
    /// Headless services.
    #[arg(long, default_value_t = 1000)]
    pub services: usize,
    /// Pods, spread evenly over the services.
    #[arg(long, default_value_t = 10_000)]
    pub endpoints: usize,
    /// Pods of one more service, called `wide`, in the first namespace; 0: no such service.
    #[arg(long, default_value_t = 0)]
    pub wide: usize,
}

/// A headless service and its pods, numbered from 0.
#[derive(Debug, Clone)]
pub struct Service {
    /// Its name, such as `web-42`.
    pub name: String,
    /// Its namespace, such as `team-2`.
    pub namespace: String,
    /// Addresses by pod number.
    pub addresses: Vec<Ipv4Addr>,
}

impl Service {
    /// The hostname of a pod, in the manner of a StatefulSet.
    pub fn pod(&self, number: usize) -> String {
        format!("{}-{number}", self.name)
    }

    /// The owner name of the service, without a final dot.
    pub fn owner(&self) -> String {
        format!("{}.{}.svc.{ZONE}", self.name, self.namespace)
    }
}

impl Shape {
    /// All services, `wide` last.
    pub fn services(self) -> Vec<Service> {
        let mut next_address = u32::from(Ipv4Addr::new(10, 0, 0, 1));
        let mut service = |name: String, namespace: usize, pods: usize| {
            let addresses = (next_address..).take(pods).map(Ipv4Addr::from).collect();
            next_address += pods as u32;
            Service { name, namespace: format!("team-{namespace}"), addresses }
        };
        let mut all: Vec<_> = (0..self.services)
            .map(|it| {
                let pods = self.endpoints / self.services + usize::from(it < self.endpoints % self.services);
                service(format!("web-{it}"), it % NAMESPACES, pods)
            })
            .collect();
        if self.wide > 0 {
            all.push(service("wide".to_owned(), 0, self.wide));
        }
        all
    }
}

/// Which names are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Mix {
    /// 60 % pod A, 20 % service A, 10 % SRV, 10 % names that do not exist.
    All,
    /// A of pods of the ordinary services.
    Pods,
    /// A of pods of the service `wide`.
    WidePods,
}

/// `count` questions, each `name type` as dnsperf reads them.
///
/// Half of the missing names are pods beyond the end of a service, half are services.
pub fn queries(services: &[Service], mix: Mix, count: usize, seed: u64) -> Vec<String> {
    let mut random = Random(seed);
    let (wide, ordinary): (Vec<_>, Vec<_>) = services.iter().partition(|it| it.name == "wide");
    let pool = if mix == Mix::WidePods { wide } else { ordinary };
    let mut query = || {
        let service = pool[random.below(pool.len())];
        let owner = service.owner();
        match if mix == Mix::All { random.below(100) } else { 0 } {
            0..60 => format!("{}.{owner} A", service.pod(random.below(service.addresses.len()))),
            60..80 => format!("{owner} A"),
            80..90 => format!("_{}._tcp.{owner} SRV", PORT.0),
            90..95 => format!("{}.{owner} A", service.pod(service.addresses.len() + random.below(1000))),
            _ => format!("missing-{}.{}.svc.{ZONE} A", random.below(100_000), service.namespace),
        }
    };
    (0..count).map(|_| query()).collect()
}

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ mixed >> 31) % bound as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_are_spread_evenly_and_addresses_are_unique() {
        let services = Shape { services: 9, endpoints: 100, wide: 3 }.services();
        let pods: Vec<_> = services.iter().map(|it| it.addresses.len()).collect();
        assert_eq!(pods, [12, 11, 11, 11, 11, 11, 11, 11, 11, 3]);
        let mut addresses: Vec<_> = services.iter().flat_map(|it| &it.addresses).collect();
        addresses.sort();
        addresses.dedup();
        assert_eq!(addresses.len(), 103);
    }

    #[test]
    fn the_mix_has_its_shares_and_repeats() {
        let services = Shape { services: 10, endpoints: 100, wide: 0 }.services();
        let lines = queries(&services, Mix::All, 20_000, 1);
        assert_eq!(lines, queries(&services, Mix::All, 20_000, 1));
        assert_ne!(lines, queries(&services, Mix::All, 20_000, 2));
        let share = |what: &dyn Fn(&str) -> bool| {
            lines.iter().filter(|it| what(it)).count() as f64 / lines.len() as f64 * 100.0
        };
        assert!((share(&|it| it.ends_with(" SRV")) - 10.0).abs() < 1.0);
        assert!((share(&|it| it.starts_with("missing-")) - 5.0).abs() < 1.0);
        assert!((share(&|it| it.matches('.').count() == 4 && it.starts_with("web-")) - 20.0).abs() < 1.5);
    }
}
