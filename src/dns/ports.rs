//! The ports of a slice or Service, packed: most services have few, and most endpoints the same ones.
//!
//! `dns::records` ──builds──▶ [`PortList`] ──held by `dns::entry`──▶ read by `dns::lookup`

use super::model::{Port, Protocol};

/// Ports in one allocation, ascending by number, protocol and name, without repetition.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct PortList(Box<[u8]>);

/// One port of a [`PortList`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortRef<'a> {
    /// Port number, 1 to 65535.
    pub number: u16,
    /// Transport protocol.
    pub protocol: Protocol,
    /// Lower-case name; empty for an unnamed port.
    pub name: &'a [u8],
}

impl PortList {
    /// Ports in any order, repetitions allowed.
    pub fn new<'p>(ports: impl Iterator<Item = &'p Port>) -> Self {
        // A name of more than 62 octets fits no `_<name>` label, so nobody can ask for it.
        let name = |it: &'p Port| if it.name.len() < 63 { it.name.as_bytes() } else { &[] };
        let all = ports.map(|it| PortRef { number: it.number, protocol: it.protocol, name: name(it) });
        Self::from_refs(all.collect())
    }

    /// The ports of several lists.
    pub fn union<'p>(lists: impl Iterator<Item = &'p PortList>) -> Self {
        Self::from_refs(lists.flat_map(Self::iter).collect())
    }

    fn from_refs(mut all: Vec<PortRef<'_>>) -> Self {
        let order = |it: &PortRef<'_>| (it.number, it.protocol);
        all.sort_unstable_by(|a, b| order(a).cmp(&order(b)).then_with(|| a.name.cmp(b.name)));
        all.dedup();
        let mut octets = Vec::with_capacity(all.iter().map(|it| 4 + it.name.len()).sum());
        for port in all {
            octets.extend_from_slice(&port.number.to_be_bytes());
            octets.extend_from_slice(&[port.protocol as u8, port.name.len() as u8]);
            octets.extend_from_slice(port.name);
        }
        Self(octets.into())
    }

    /// The ports in their order.
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = PortRef<'_>> {
        let mut rest = &self.0[..];
        std::iter::from_fn(move || {
            let (&[high, low, protocol, len], tail) = rest.split_first_chunk()?;
            let (name, tail) = tail.split_at_checked(usize::from(len))?;
            rest = tail;
            let protocol = match protocol {
                it if it == Protocol::Tcp as u8 => Protocol::Tcp,
                it if it == Protocol::Udp as u8 => Protocol::Udp,
                _ => Protocol::Sctp,
            };
            Some(PortRef { number: u16::from_be_bytes([high, low]), protocol, name })
        })
    }
}

impl std::fmt::Debug for PortList {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
