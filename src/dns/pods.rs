//! Which addresses the pods of a namespace have: the names of pod mode `verified`.
//!
//! `dns::cache` ──[`Change`]──▶ [`PodAddresses`] ──[`PodAddresses::contains`]──▶ `dns::lookup`
//!
//! Addresses are compared as addresses, whatever their spelling in a query. Several pods of a namespace may share one (host
//! network), so each is counted and gone with the last of them.

use std::net::IpAddr;

use super::sharded::Sharded;

/// Longest key: family, address and label.
const MAX_KEY: usize = 1 + 16 + 63;

/// The addresses of the pods that count, by namespace.
#[derive(Default)]
pub struct PodAddresses {
    counts: Sharded<u32>,
}

/// A pod of `namespace` has gained or lost `address`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Label of the namespace, in lower case.
    pub namespace: Box<[u8]>,
    /// One of `status.podIPs`.
    pub address: IpAddr,
    /// What happened.
    pub kind: ChangeKind,
}

/// What happened to an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// A pod has it now.
    Gained,
    /// A pod that had it has it no more.
    Lost,
}

impl PodAddresses {
    /// Whether a pod of the namespace has the address. `namespace`: in lower case.
    pub fn contains(&self, namespace: &[u8], address: IpAddr) -> bool {
        let mut buffer = [0; MAX_KEY];
        key(namespace, address, &mut buffer).is_some_and(|key| self.counts.get(key).is_some())
    }

    /// Applies changes in their order.
    pub fn update(&self, changes: &[Change]) {
        let mut buffer = [0; MAX_KEY];
        let changes = changes
            .iter()
            .filter_map(|it| Some((key(&it.namespace, it.address, &mut buffer)?.into(), it.kind)));
        self.counts.update(changes.collect(), |count, kind| {
            let count = count.unwrap_or(0);
            let count = match kind {
                ChangeKind::Gained => count.saturating_add(1),
                ChangeKind::Lost => count.saturating_sub(1),
            };
            (count > 0).then_some(count)
        });
    }
}

/// Octets that are equal for equal pairs only; `None` for a namespace that is no label.
fn key<'b>(namespace: &[u8], address: IpAddr, buffer: &'b mut [u8; MAX_KEY]) -> Option<&'b [u8]> {
    let octets: &[u8] = match &address {
        IpAddr::V4(it) => &it.octets(),
        IpAddr::V6(it) => &it.octets(),
    };
    let end = 1 + octets.len();
    buffer[0] = octets.len() as u8;
    buffer[1..end].copy_from_slice(octets);
    let key = buffer.get_mut(..end + namespace.len())?;
    key[end..].copy_from_slice(namespace);
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(text: &str) -> Change {
        let (sign, rest) = text.split_at(1);
        let (namespace, address) = rest.split_once('/').unwrap();
        let kind = if sign == "+" { ChangeKind::Gained } else { ChangeKind::Lost };
        Change { namespace: namespace.as_bytes().into(), address: address.parse().unwrap(), kind }
    }

    #[test]
    fn an_address_stays_until_its_last_pod_is_gone() {
        let pods = PodAddresses::default();
        let has =
            |namespace: &str, address: &str| pods.contains(namespace.as_bytes(), address.parse().unwrap());
        pods.update(&["+a/10.0.0.1", "+a/10.0.0.1", "+b/fd00::1"].map(change));
        assert!(has("a", "10.0.0.1") && has("b", "fd00:0:0::1"));
        assert!(!has("b", "10.0.0.1") && !has("a", "fd00::1") && !has("a", "::ffff:10.0.0.1"));
        pods.update(&["-a/10.0.0.1"].map(change));
        assert!(has("a", "10.0.0.1"));
        pods.update(&["-a/10.0.0.1", "-b/fd00::1", "+b/fd00::1"].map(change));
        assert!(!has("a", "10.0.0.1") && has("b", "fd00::1"));
        assert!(!has(&"x".repeat(300), "10.0.0.1"));
    }
}
