//! Pod addresses: unique while a pod lives, reused last.
//!
//! Every address of the range is handed out once, in ascending order, before one that was given back is used again,
//! oldest first. A recreated pod therefore has a new address. Pure: the caller holds the lock.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::{Ipv4Addr, Ipv6Addr};

/// The pod network.
pub const POD_CIDR: &str = "10.244.0.0/16";

/// The pod network of the second family.
pub const POD_CIDR_V6: &str = "fd00:10:244::/64";

const NETWORK: u32 = u32::from_be_bytes([10, 244, 0, 0]);
/// Hosts of the network: without the network and the broadcast address.
const HOSTS: u32 = (1 << 16) - 2;

/// Which pod (by uid) has which address.
#[derive(Debug, Default)]
pub struct Addresses {
    by_pod: HashMap<String, Ipv4Addr>,
    used: HashSet<Ipv4Addr>,
    /// Host numbers `1..=highest` have been handed out at least once.
    highest: u32,
    released: VecDeque<Ipv4Addr>,
}

impl Addresses {
    /// The address of the pod `uid`, a new one if it has none. `None` when all are in use.
    pub fn assign(&mut self, uid: &str) -> Option<Ipv4Addr> {
        if let Some(known) = self.by_pod.get(uid) {
            return Some(*known);
        }
        let address = self.fresh().or_else(|| self.reused())?;
        self.used.insert(address);
        self.by_pod.insert(uid.to_owned(), address);
        Some(address)
    }

    /// Notes an address that an observed pod already has. Addresses below it count as handed out before.
    pub fn observe(&mut self, uid: &str, address: Ipv4Addr) {
        let host = u32::from(address).wrapping_sub(NETWORK);
        if !(1..=HOSTS).contains(&host) || self.by_pod.contains_key(uid) {
            return;
        }
        self.by_pod.insert(uid.to_owned(), address);
        self.used.insert(address);
        while self.highest < host {
            self.highest += 1;
            self.released.push_back(Ipv4Addr::from(NETWORK + self.highest));
        }
    }

    /// The pod `uid` is gone; its address waits behind all others.
    pub fn release(&mut self, uid: &str) {
        if let Some(address) = self.by_pod.remove(uid)
            && self.used.remove(&address)
        {
            self.released.push_back(address);
        }
    }

    fn fresh(&mut self) -> Option<Ipv4Addr> {
        if self.highest == HOSTS {
            return None;
        }
        self.highest += 1;
        Some(Ipv4Addr::from(NETWORK + self.highest))
    }

    fn reused(&mut self) -> Option<Ipv4Addr> {
        // Addresses skipped while reading back may have turned out to be in use.
        while let Some(address) = self.released.pop_front() {
            if !self.used.contains(&address) {
                return Some(address);
            }
        }
        None
    }
}

/// The IPv6 address of a pod on a dual-stack node: it has the host number of its IPv4 address.
pub fn second(first: Ipv4Addr) -> Ipv6Addr {
    let host = u32::from(first).wrapping_sub(NETWORK);
    let [.., high, low] = Ipv6Addr::from(u128::from(host)).segments();
    Ipv6Addr::new(0xfd00, 0x10, 0x244, 0, 0, 0, high, low)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_ascend_and_a_recreated_pod_gets_a_new_one() {
        let mut pool = Addresses::default();
        assert_eq!(pool.assign("a"), Some(Ipv4Addr::new(10, 244, 0, 1)));
        assert_eq!(pool.assign("a"), Some(Ipv4Addr::new(10, 244, 0, 1)));
        assert_eq!(pool.assign("b"), Some(Ipv4Addr::new(10, 244, 0, 2)));
        pool.release("a");
        assert_eq!(pool.assign("a2"), Some(Ipv4Addr::new(10, 244, 0, 3)));
        assert_eq!(second(Ipv4Addr::new(10, 244, 1, 2)).to_string(), "fd00:10:244::102");
    }

    #[test]
    fn addresses_in_use_are_read_back_and_never_given_twice() {
        let mut pool = Addresses::default();
        pool.observe("b", Ipv4Addr::new(10, 244, 0, 3));
        pool.observe("a", Ipv4Addr::new(10, 244, 0, 2));
        pool.observe("c", Ipv4Addr::new(192, 168, 0, 1));
        assert_eq!(pool.assign("d"), Some(Ipv4Addr::new(10, 244, 0, 4)));
        let mut seen: HashSet<_> = [2, 3, 4].map(|it| Ipv4Addr::new(10, 244, 0, it)).into();
        for index in 0..HOSTS - 3 {
            let address = pool.assign(&format!("p{index}")).expect("not all are in use");
            assert!(seen.insert(address), "{address} was given twice");
        }
        assert_eq!(pool.assign("one too many"), None);
        pool.release("b");
        assert_eq!(pool.assign("one too many"), Some(Ipv4Addr::new(10, 244, 0, 3)));
    }
}
