//! Pod addresses: unique while a pod lives, reused last.
//!
//! A recreated pod gets a new address, because an address that was given back waits behind every address that was
//! never used, and then behind those given back earlier. Pure: the shell holds the lock.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// Hosts of one network that are handed out at most; bounds the pool of an IPv6 network.
const MOST_HOSTS: u128 = 1 << 20;
/// First host given to a pod: 0 is the network, 1 the node.
const FIRST_HOST: u128 = 2;

/// The addresses of one network.
#[derive(Debug)]
struct Pool {
    network: IpNet,
    /// Hosts not handed out since start: `next..end`, less those in `used`.
    next: u128,
    end: u128,
    released: VecDeque<IpAddr>,
    used: HashSet<IpAddr>,
}

impl Pool {
    fn new(network: IpNet) -> Self {
        let bits = u32::from(network.max_prefix_len() - network.prefix_len());
        let hosts = if bits >= 20 { MOST_HOSTS } else { 1 << bits };
        // The last host of an IPv4 network is its broadcast address.
        Self { network, next: FIRST_HOST, end: hosts - 1, released: VecDeque::new(), used: HashSet::new() }
    }

    fn take(&mut self) -> Option<IpAddr> {
        while self.next < self.end {
            let address = host(self.network, self.next);
            self.next += 1;
            if self.used.insert(address) {
                return Some(address);
            }
        }
        let address = self.released.pop_front()?;
        self.used.insert(address);
        Some(address)
    }

    /// Marks an address that a pod already has. Hosts up to it are then reused last.
    fn claim(&mut self, address: IpAddr) -> bool {
        if !self.network.contains(&address) || !self.used.insert(address) {
            return false;
        }
        self.released.retain(|it| *it != address);
        let index = number(address) - number(self.network.network());
        while self.next <= index && self.next < self.end {
            let skipped = host(self.network, self.next);
            self.next += 1;
            if !self.used.contains(&skipped) {
                self.released.push_back(skipped);
            }
        }
        true
    }

    fn release(&mut self, address: IpAddr) {
        if self.used.remove(&address) {
            self.released.push_back(address);
        }
    }
}

/// Every address of one node, by the uid of the pod that holds it.
#[derive(Debug)]
pub struct Addresses {
    pools: Vec<Pool>,
    held: HashMap<String, Vec<IpAddr>>,
}

impl Addresses {
    /// Free pools over these networks.
    pub fn new(networks: &[IpNet]) -> Self {
        Self { pools: networks.iter().copied().map(Pool::new).collect(), held: HashMap::new() }
    }

    /// The pod's addresses, one per network in their order; `None` when a network has none left.
    /// Asking again for the same pod gives the same addresses.
    pub fn of(&mut self, uid: &str) -> Option<Vec<IpAddr>> {
        if let Some(held) = self.held.get(uid) {
            return Some(held.clone());
        }
        let mut taken = Vec::with_capacity(self.pools.len());
        for index in 0..self.pools.len() {
            if let Some(address) = self.pools[index].take() {
                taken.push(address);
            } else {
                for (pool, address) in self.pools.iter_mut().zip(&taken) {
                    pool.release(*address);
                }
                return None;
            }
        }
        self.held.insert(uid.to_owned(), taken.clone());
        Some(taken)
    }

    /// Remembers the addresses an observed pod has, unless they are known.
    pub fn claim(&mut self, uid: &str, addresses: &[IpAddr]) {
        if addresses.is_empty() || self.held.contains_key(uid) {
            return;
        }
        for address in addresses {
            self.pools.iter_mut().any(|it| it.claim(*address));
        }
        self.held.insert(uid.to_owned(), addresses.to_vec());
    }

    /// Takes back the addresses of a pod that is gone.
    pub fn release(&mut self, uid: &str) {
        for address in self.held.remove(uid).unwrap_or_default() {
            for pool in &mut self.pools {
                pool.release(address);
            }
        }
    }
}

/// The node's own address in a network: its first host.
pub fn node_address(network: IpNet) -> IpAddr {
    host(network, 1)
}

fn host(network: IpNet, index: u128) -> IpAddr {
    match network.network() {
        IpAddr::V4(base) => IpAddr::V4(Ipv4Addr::from(u32::from(base) + index as u32)),
        IpAddr::V6(base) => IpAddr::V6(Ipv6Addr::from(u128::from(base) + index)),
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(it) => u128::from(u32::from(it)),
        IpAddr::V6(it) => u128::from(it),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> Addresses {
        Addresses::new(&["10.244.0.0/29".parse().unwrap()])
    }

    fn take(addresses: &mut Addresses, uid: &str) -> String {
        addresses.of(uid).map_or("none".into(), |it| it[0].to_string())
    }

    #[test]
    fn an_address_is_unique_and_reused_last() {
        let mut it = small();
        assert_eq!(take(&mut it, "a"), "10.244.0.2");
        assert_eq!(take(&mut it, "a"), "10.244.0.2", "the same pod keeps its address");
        it.release("a");
        assert_eq!(take(&mut it, "b"), "10.244.0.3", "a recreated pod gets a new address");
        for (uid, want) in [("c", "4"), ("d", "5"), ("e", "6"), ("f", "2")] {
            assert_eq!(take(&mut it, uid), format!("10.244.0.{want}"));
        }
        assert_eq!(take(&mut it, "g"), "none", "broadcast, network and node are never given out");
        it.release("d");
        assert_eq!(take(&mut it, "g"), "10.244.0.5");
    }

    #[test]
    fn addresses_found_after_a_restart_are_not_given_out_again() {
        let mut it = small();
        it.claim("old", &["10.244.0.3".parse().unwrap()]);
        it.claim("foreign", &["192.0.2.1".parse().unwrap()]);
        assert_eq!(take(&mut it, "old"), "10.244.0.3");
        assert_eq!(take(&mut it, "new"), "10.244.0.4", "after the highest one seen");
    }

    #[test]
    fn a_pod_has_one_address_of_each_family_and_thousands_fit() {
        let mut it = Addresses::new(&["10.244.0.0/16".parse().unwrap(), "fd00:10:244::/64".parse().unwrap()]);
        let all: HashSet<_> = (0..5000).flat_map(|n| it.of(&n.to_string()).unwrap()).collect();
        assert_eq!(all.len(), 10_000);
        assert_eq!(it.of("0").unwrap()[1].to_string(), "fd00:10:244::2");
        assert_eq!(node_address("10.244.0.0/16".parse().unwrap()).to_string(), "10.244.0.1");
    }
}
