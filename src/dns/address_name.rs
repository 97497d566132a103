//! Addresses as names: owners of the reverse zones, labels of pods and endpoints.
//!
//! Sources: RFC 1035 §3.5, RFC 3596 §2.5; Kubernetes DNS specification 1.1.0 (`<address>.<namespace>.pod.<zone>`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::name::{NameRef, Starts, labels};

/// The addresses that a name of a reverse zone covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReverseName {
    /// A full address: four octets or 32 nibbles.
    Address(IpAddr),
    /// Fewer labels: every address from the first to the last, both included.
    Block(IpAddr, IpAddr),
}

/// Wire form of `in-addr.arpa.`
pub const IN_ADDR_ARPA: &[u8] = b"\x07in-addr\x04arpa\0";
/// Wire form of `ip6.arpa.`
pub const IP6_ARPA: &[u8] = b"\x03ip6\x04arpa\0";

/// The addresses of a name under `in-addr.arpa` or `ip6.arpa`; `None` when a label is no octet or nibble, when there are
/// too many of them, or when the name is in neither tree.
///
/// IPv4 labels are decimal without leading zeros, 0 to 255; IPv6 labels are one hexadecimal digit.
pub fn reverse_name(name: NameRef<'_>) -> Option<ReverseName> {
    if let Some(left) = name.relative_to(NameRef::new(IN_ADDR_ARPA, &const { Starts::of(IN_ADDR_ARPA) })) {
        let mut octets = [0u8; 4];
        let count = labels(left).count();
        for (position, label) in labels(left).enumerate() {
            // The leftmost label is the least significant octet.
            *octets.get_mut(count - 1 - position)? = decimal_octet(label)?;
        }
        let first = u32::from_be_bytes(octets);
        let host_bits = 32 - 8 * count as u32;
        let last = first | 1u32.checked_shl(host_bits).map_or(u32::MAX, |it| it - 1);
        return Some(reverse(first == last, Ipv4Addr::from(first).into(), Ipv4Addr::from(last).into()));
    }
    let left = name.relative_to(NameRef::new(IP6_ARPA, &const { Starts::of(IP6_ARPA) }))?;
    let count = labels(left).count();
    if count > 32 {
        return None;
    }
    let mut first = 0u128;
    for (position, label) in labels(left).enumerate() {
        let [digit] = label else { return None };
        let nibble = u128::from(char::from(*digit).to_digit(16)?);
        first |= nibble << (4 * (32 - count + position));
    }
    let last = first | 1u128.checked_shl(128 - 4 * count as u32).map_or(u128::MAX, |it| it - 1);
    Some(reverse(count == 32, Ipv6Addr::from(first).into(), Ipv6Addr::from(last).into()))
}

fn reverse(full: bool, first: IpAddr, last: IpAddr) -> ReverseName {
    if full { ReverseName::Address(first) } else { ReverseName::Block(first, last) }
}

fn decimal_octet(label: &[u8]) -> Option<u8> {
    let plain =
        !label.is_empty() && label.iter().all(u8::is_ascii_digit) && (label.len() == 1 || label[0] != b'0');
    std::str::from_utf8(label).ok().filter(|_| plain)?.parse().ok()
}

/// The address in a label of `<address>.<namespace>.pod.<zone>`: exactly three `-` and no `--` mean an IPv4 dotted quad,
/// otherwise every `-` stands for `:` of an IPv6 address.
pub fn pod_address(label: &[u8]) -> Option<IpAddr> {
    if !label.iter().all(|it| it.is_ascii_hexdigit() || *it == b'-') {
        return None;
    }
    let text = std::str::from_utf8(label).ok()?;
    if text.matches('-').count() == 3 && !text.contains("--") {
        return text.replace('-', ".").parse::<Ipv4Addr>().ok().map(IpAddr::V4);
    }
    text.replace('-', ":").parse::<Ipv6Addr>().ok().map(IpAddr::V6)
}

/// The endpoint name of an address: canonical text with `.` or `:` replaced by `-`; a final `-` gets a `0` behind it.
pub fn dashed_address(address: IpAddr) -> String {
    let mut text = address.to_string().replace(['.', ':'], "-");
    if text.ends_with('-') {
        text.push('0');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::name::{Label, OwnerName};
    use proptest::prelude::*;

    #[test]
    fn reverse_names() {
        let cases = [
            ("4.3.2.10.in-addr.arpa", "10.2.3.4"),
            ("3.2.10.in-addr.arpa", "10.2.3.0-10.2.3.255"),
            ("in-addr.arpa", "0.0.0.0-255.255.255.255"),
            ("04.3.2.10.in-addr.arpa", "-"),
            ("256.3.2.10.in-addr.arpa", "-"),
            ("1.4.3.2.10.in-addr.arpa", "-"),
            ("web.prod.svc.in-addr.arpa", "-"),
            ("7.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.D.f.ip6.arpa", "fd00::7"),
            ("d.f.ip6.arpa", "fd00::-fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
            ("x.7.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa", "-"),
            ("1.7.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa", "-"),
            ("00.f.ip6.arpa", "-"),
            ("cluster.local", "-"),
        ];
        for (owner, want) in cases {
            let got = match reverse_name(owner.parse::<OwnerName>().unwrap().as_name()) {
                None => "-".to_string(),
                Some(ReverseName::Address(address)) => address.to_string(),
                Some(ReverseName::Block(first, last)) => format!("{first}-{last}"),
            };
            assert_eq!(got, want, "{owner}");
        }
    }

    #[test]
    fn address_labels() {
        let cases = [
            ("10-1-2-3", Some("10.1.2.3")),
            ("10-1-2-03", None),
            ("10-1-2-256", None),
            ("1--2-3", Some("1::2:3")),
            ("fd00-0-0-0-0-0-0-7", Some("fd00::7")),
            ("fd00--7", Some("fd00::7")),
            ("10.1.2.3", None),
            ("web", None),
            ("", None),
        ];
        for (label, want) in cases {
            assert_eq!(pod_address(label.as_bytes()), want.map(|it| it.parse().unwrap()), "{label}");
        }
        let dashed =
            [("10.1.2.3", "10-1-2-3"), ("fd00::7", "fd00--7"), ("2001:db8:5:1::", "2001-db8-5-1--0")];
        for (address, want) in dashed {
            assert_eq!(dashed_address(address.parse().unwrap()), want);
        }
    }

    proptest! {
        #[test]
        fn reading_never_panics(octets in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(name) = OwnerName::read(&octets) {
                let _ = reverse_name(name.as_name());
            }
        }

        #[test]
        fn every_address_has_one_reverse_name(bits in any::<u128>(), short in any::<u32>()) {
            let six = Ipv6Addr::from(bits);
            let text: String = format!("{bits:032x}").chars().rev().flat_map(|it| [it, '.']).collect();
            let owner: OwnerName = format!("{text}ip6.arpa.").parse().unwrap();
            prop_assert_eq!(reverse_name(owner.as_name()), Some(ReverseName::Address(six.into())));
            let four = Ipv4Addr::from(short);
            let [a, b, c, d] = four.octets();
            let owner: OwnerName = format!("{d}.{c}.{b}.{a}.in-addr.arpa").parse().unwrap();
            prop_assert_eq!(reverse_name(owner.as_name()), Some(ReverseName::Address(four.into())));
        }

        #[test]
        fn dashed_names_parse_back(bits in any::<u128>(), short in any::<u32>()) {
            for address in [IpAddr::V6(bits.into()), IpAddr::V4(short.into())] {
                let label = dashed_address(address);
                prop_assert!(label.parse::<Label>().is_ok());
                // An IPv4-mapped address prints a dotted quad, which has no colon spelling.
                if !label.starts_with("--ffff-") {
                    prop_assert_eq!(pod_address(label.as_bytes()), Some(address));
                }
            }
        }
    }
}
