//! Address to service, in address order: the data of the reverse zones.
//!
//! A hint is an address and the hash of a service key: 8 octets for IPv4, 20 for IPv6. The hash leads to the service in
//! `dns::services`, whose entry has the last word. Cheap to copy and to change, see `dns::tree`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::ControlFlow;

use super::services::KeyHash;
use super::tree::Tree;

/// All hints, by family, sorted by address and hash.
#[derive(Debug, Clone, Default)]
pub struct Reverse {
    v4: Tree<(Ipv4Addr, KeyHash)>,
    v6: Tree<(Ipv6Addr, KeyHash)>,
}

impl Reverse {
    /// Builds from hints in any order.
    pub fn from_hints(v4: Vec<(Ipv4Addr, KeyHash)>, v6: Vec<(Ipv6Addr, KeyHash)>) -> Self {
        Self { v4: Tree::from_values(v4), v6: Tree::from_values(v6) }
    }

    /// Notes that a service with this hash has the address.
    pub fn insert(&mut self, address: IpAddr, hash: KeyHash) {
        match address {
            IpAddr::V4(it) => self.v4.insert((it, hash)),
            IpAddr::V6(it) => self.v6.insert((it, hash)),
        }
    }

    /// Notes that no service with this hash has the address.
    pub fn remove(&mut self, address: IpAddr, hash: KeyHash) {
        match address {
            IpAddr::V4(it) => self.v4.remove((it, hash)),
            IpAddr::V6(it) => self.v6.remove((it, hash)),
        }
    }

    /// Calls `visit` with the hints from `first` to `last`, two addresses of one family, both included and in order,
    /// until it breaks.
    pub fn range<B>(
        &self,
        first: IpAddr,
        last: IpAddr,
        mut visit: impl FnMut(IpAddr, KeyHash) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        match (first, last) {
            (IpAddr::V4(first), IpAddr::V4(last)) => {
                let mut visit = |(address, hash): (Ipv4Addr, _)| visit(address.into(), hash);
                self.v4.range((first, KeyHash::MIN), (last, KeyHash::MAX), &mut visit)
            }
            (IpAddr::V6(first), IpAddr::V6(last)) => {
                let mut visit = |(address, hash): (Ipv6Addr, _)| visit(address.into(), hash);
                self.v6.range((first, KeyHash::MIN), (last, KeyHash::MAX), &mut visit)
            }
            _ => ControlFlow::Continue(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_keep_to_their_family() {
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let mut reverse = Reverse::default();
        for (text, hash) in [("10.0.0.2", 7), ("10.0.0.1", u32::MAX), ("10.0.0.1", 0), ("fd00::1", 3)] {
            reverse.insert(address(text), hash);
        }
        reverse.remove(address("10.0.0.2"), 8);
        let within = |first: &str, last: &str| {
            let mut found = Vec::new();
            let _ = reverse.range(address(first), address(last), |address, hash| {
                found.push(format!("{address} {hash}"));
                ControlFlow::<()>::Continue(())
            });
            found
        };
        assert_eq!(within("10.0.0.1", "10.0.0.1"), ["10.0.0.1 0", "10.0.0.1 4294967295"]);
        assert_eq!(within("0.0.0.0", "255.255.255.255").len(), 3);
        assert_eq!(within("::", "ffff::"), ["fd00::1 3"]);
        assert_eq!(within("10.0.0.1", "fd00::1"), [""; 0]);
    }
}
