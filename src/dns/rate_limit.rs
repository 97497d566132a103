//! Response rate limiting: how many answers a network gets, so that forged queries cannot aim this server at somebody.
//!
//! client address, time ──[`RateLimiter::check`]──▶ [`Verdict`] ──▶ the UDP threads
//!
//! Each IPv4 /24 and each IPv6 /64 has a credit that fills up at the configured rate, up to one second's worth; an answer
//! costs one. Whoever has none gets silence, or every so often an empty answer with TC, with which a client that is not
//! forged comes back over TCP. TCP, valid cookies and exempt networks prove themselves otherwise: the caller does not ask
//! about the first two.
//!
//! Invariants: the memory is fixed. Where a network hashes to is not predictable from outside (keyed hash). A network
//! whose place is taken over starts with full credit; the place taken is always the one that was used longest ago, so a
//! flood cannot wash out the account of its own victim. No clock in here: time is an argument.
//! Sources: ISC-TN-2012-1, the response rate limiting of BIND, Knot and NSD.

use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use ipnet::IpNet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

use super::config::RateLimitConfig;

/// Locks: enough that threads rarely meet at one.
const SHARDS: usize = 64;
/// Sets of [`WAYS`] accounts in one shard.
const SETS: usize = 256;
/// Accounts a network may be found in.
const WAYS: usize = 4;
/// Highest rate, in answers per second.
const MAX_RATE: u32 = 1_000_000;
/// An answer in the unit of [`Account::credit`]: one account gains the rate in each millisecond.
const ANSWER: u32 = 1000;

/// What happens to an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is sent.
    Send,
    /// An answer with TC and empty sections is sent instead.
    Slip,
    /// Silence.
    Drop,
}

/// The `rateLimit:` section, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateLimit {
    rate: u32,
    slip: u32,
    exempt: Vec<IpNet>,
}

impl RateLimit {
    /// `None` when it is switched off. The values are checked in any case.
    ///
    /// # Errors
    /// The key below `rateLimit`, and what is wrong with its value.
    pub fn new(config: &RateLimitConfig) -> Result<Option<Self>, (String, String)> {
        let rate = config.responses_per_second;
        if !(1..=MAX_RATE).contains(&rate) {
            return Err(("responsesPerSecond".into(), format!("{rate} is not within 1 and {MAX_RATE}")));
        }
        let blocks = config.exempt.iter().enumerate().map(|(at, text)| {
            block(text)
                .ok_or_else(|| (format!("exempt[{at}]"), format!("{text:?} is no address or CIDR block")))
        });
        let exempt = blocks.collect::<Result<_, _>>()?;
        Ok(config.enabled.then_some(Self { rate, slip: config.slip, exempt }))
    }
}

/// An address or a block.
fn block(text: &str) -> Option<IpNet> {
    text.parse::<IpAddr>().map(IpNet::from).or_else(|_| text.parse()).ok()
}

/// Counters of one server. Clones share the numbers.
#[derive(Debug, Clone, Default)]
pub struct RateLimitMetrics {
    slipped: Counter,
    dropped: Counter,
}

impl RateLimitMetrics {
    /// Publishes the numbers as `rate_limit_…` below the prefix of `dns`.
    pub fn register(&self, dns: &mut Registry) {
        dns.register("rate_limit_slipped", "Answers replaced by an empty one with TC", self.slipped.clone());
        dns.register("rate_limit_dropped", "Answers withheld", self.dropped.clone());
    }
}

/// The accounts of all networks. Shared by threads.
pub struct RateLimiter {
    limit: RateLimit,
    hasher: foldhash::fast::RandomState,
    shards: Vec<Mutex<Box<[Account]>>>,
    metrics: RateLimitMetrics,
}

/// The account of one network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Account {
    network: Option<Network>,
    /// When the credit was counted: the low 32 bits of the milliseconds.
    at: u32,
    credit: u32,
    /// Answers withheld since the last one that was not.
    limited: u32,
}

/// The high octets of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Network {
    /// A /24.
    V4([u8; 3]),
    /// A /64.
    V6([u8; 8]),
}

impl Network {
    fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(it) => Self::V4(*it.octets().first_chunk().expect("an address has four octets")),
            IpAddr::V6(it) => Self::V6(*it.octets().first_chunk().expect("an address has 16 octets")),
        }
    }
}

impl RateLimiter {
    /// Everybody has full credit. `hasher`: randomly seeded.
    pub fn new(limit: RateLimit, hasher: foldhash::fast::RandomState, metrics: RateLimitMetrics) -> Self {
        let empty = Account { network: None, at: 0, credit: 0, limited: 0 };
        let shards = (0..SHARDS).map(|_| Mutex::new(vec![empty; SETS * WAYS].into())).collect();
        Self { limit, hasher, shards, metrics }
    }

    /// Decides about one answer to `client`, and counts it.
    ///
    /// `now`: milliseconds since any fixed moment; may lie a little before that of an earlier call.
    pub fn check(&self, client: IpAddr, now: u64) -> Verdict {
        let canonical = client.to_canonical();
        if self.limit.exempt.iter().any(|it| it.contains(&canonical)) {
            return Verdict::Send;
        }
        let network = Network::of(client);
        let hash = self.hasher.hash_one(network);
        let (shard, set) = (hash as usize % SHARDS, (hash >> 32) as usize % SETS);
        let mut accounts = self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner);
        let verdict = self.limit.charge(&mut accounts[set * WAYS..][..WAYS], network, now as u32);
        drop(accounts);
        match verdict {
            Verdict::Send => {}
            Verdict::Slip => drop(self.metrics.slipped.inc()),
            Verdict::Drop => drop(self.metrics.dropped.inc()),
        }
        verdict
    }
}

impl RateLimit {
    /// Takes an answer from the account of `network`, which is one of `set` or takes over the oldest there.
    fn charge(&self, set: &mut [Account], network: Network, now: u32) -> Verdict {
        let full = self.rate * ANSWER;
        let found = set.iter().position(|it| it.network == Some(network));
        let at = found.unwrap_or_else(|| {
            let age = |it: &Account| if it.network.is_some() { now.wrapping_sub(it.at) } else { u32::MAX };
            (0..set.len()).max_by_key(|at| age(&set[*at])).expect("a set is not empty")
        });
        let account = &mut set[at];
        if found.is_none() {
            *account = Account { network: Some(network), at: now, credit: full, limited: 0 };
        }
        // A moment before the last one, as another thread may have read it, is half the range away.
        let elapsed = now.wrapping_sub(account.at);
        if elapsed <= u32::MAX / 2 {
            account.at = now;
            account.credit = elapsed.saturating_mul(self.rate).saturating_add(account.credit).min(full);
        }
        if let Some(rest) = account.credit.checked_sub(ANSWER) {
            account.credit = rest;
            account.limited = 0;
            return Verdict::Send;
        }
        account.limited = account.limited.wrapping_add(1);
        if account.limited.checked_rem(self.slip) == Some(0) { Verdict::Slip } else { Verdict::Drop }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limiter(yaml: &str) -> RateLimiter {
        let config: RateLimitConfig = serde_saphyr::from_str(&format!("{{enabled: true, {yaml}}}")).unwrap();
        let limit = RateLimit::new(&config).unwrap().unwrap();
        RateLimiter::new(limit, foldhash::fast::RandomState::default(), RateLimitMetrics::default())
    }

    /// Asks so often at that moment: `S` is sent, `t` truncated, `.` dropped.
    fn ask(limiter: &RateLimiter, client: &str, now: u64, times: usize) -> String {
        let client = client.parse().unwrap();
        let letter = |_| match limiter.check(client, now) {
            Verdict::Send => 'S',
            Verdict::Slip => 't',
            Verdict::Drop => '.',
        };
        (0..times).map(letter).collect()
    }

    #[test]
    fn a_network_has_its_rate() {
        let limiter = limiter("responsesPerSecond: 4");
        #[rustfmt::skip]
        let cases = [
            ("a second's worth at once",            "192.0.2.1",          0,      8, "SSSS.t.t"),
            ("its neighbours share it",             "192.0.2.200",        0,      2, ".t"),
            ("however the address is written",      "::ffff:192.0.2.7",   0,      2, ".t"),
            ("the next network has its own",        "192.0.3.1",          0,      5, "SSSS."),
            ("a quarter of a second is one answer", "192.0.2.1",          250,    3, "S.t"),
            ("part of an answer is kept",           "192.0.2.1",          400,    1, "."),
            ("and adds up",                         "192.0.2.1",          500,    2, "S."),
            ("an earlier moment changes nothing",   "192.0.2.1",          490,    1, "t"),
            ("never more than a second's worth",    "192.0.2.1",          90_000, 5, "SSSS."),
            ("a /64",                               "2001:db8::1",        0,      5, "SSSS."),
            ("is one network",                      "2001:db8::f:0:0:1",  0,      1, "t"),
            ("the next one is not",                 "2001:db8:0:1::1",    0,      1, "S"),
        ];
        for (why, client, now, times, want) in cases {
            assert_eq!(ask(&limiter, client, now, times), want, "{why}");
        }
        let count = |letter| cases.map(|it| it.4.matches(letter).count() as u64).iter().sum::<u64>();
        assert_eq!((limiter.metrics.slipped.get(), limiter.metrics.dropped.get()), (count('t'), count('.')));
    }

    #[test]
    fn slip() {
        for (slip, want) in [(0, "S....."), (1, "Sttttt"), (3, "S..t..")] {
            let limiter = limiter(&format!("responsesPerSecond: 1, slip: {slip}"));
            assert_eq!(ask(&limiter, "192.0.2.1", 0, 6), want, "{slip}");
        }
    }

    #[test]
    fn exempt_networks_are_not_counted() {
        let limiter = limiter("responsesPerSecond: 1, exempt: [10.0.0.0/8, 192.0.2.1, '2001:db8::/32']");
        for client in ["10.1.2.3", "::ffff:10.1.2.3", "192.0.2.1", "2001:db8:7::1"] {
            assert_eq!(ask(&limiter, client, 0, 3), "SSS", "{client}");
        }
        assert_eq!(ask(&limiter, "192.0.2.2", 0, 3), "S.t");
    }

    #[test]
    fn a_flood_from_everywhere_keeps_the_account_of_its_victim() {
        let limiter = limiter("responsesPerSecond: 10, slip: 0");
        let mut sent = 0;
        // One answer in 100 goes to the victim, the others to as many networks as there are accounts, ten times over.
        for step in 0..10 * (SHARDS * SETS * WAYS) as u32 {
            let other = std::net::Ipv4Addr::from_bits(step << 8);
            limiter.check(other.into(), u64::from(step) / 1000);
            if step % 100 == 0 {
                sent += usize::from(ask(&limiter, "203.0.113.1", u64::from(step) / 1000, 1) == "S");
            }
        }
        assert!(sent <= 10 + 7, "{sent} in 0.66 s");
    }

    #[test]
    fn keys_are_checked() {
        let check = |yaml: &str| {
            let config: RateLimitConfig = serde_saphyr::from_str(yaml).unwrap();
            RateLimit::new(&config).map(|it| it.is_some())
        };
        assert_eq!(check("{}"), Ok(false));
        assert_eq!(check("{enabled: true}"), Ok(true));
        for (yaml, key) in [
            ("responsesPerSecond: 0", "responsesPerSecond"),
            ("responsesPerSecond: 2000000", "responsesPerSecond"),
            ("exempt: [10.0.0.0/8, 10.0.0.0/33]", "exempt[1]"),
            ("exempt: [localhost]", "exempt[0]"),
        ] {
            assert_eq!(check(yaml).unwrap_err().0, key, "{yaml}");
        }
    }
}
