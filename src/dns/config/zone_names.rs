//! Entries of the configuration that name zones: names, or CIDR blocks of reverse zones.
//!
//! text ──[`zone_names`]──▶ names ──[`zones`]──▶ [`Zone`]s
//!
//! Sources: RFC 1035 §3.5, RFC 3596 §2.5.

use ipnet::IpNet;

use super::{ConfigError, Zone, ZoneKind, fail};
use crate::dns::address_name::{IN_ADDR_ARPA, IP6_ARPA, reverse_name};
use crate::dns::name::{OwnerName, labels};

/// The zones that an entry stands for: its name, or the reverse zones of a CIDR block.
///
/// # Errors
/// What is wrong with it.
pub fn zone_names(text: &str) -> Result<Vec<OwnerName>, String> {
    let names = match text.parse::<IpNet>() {
        Ok(block) if block.prefix_len() == 0 => {
            return Err(format!("{text:?} covers everything; write in-addr.arpa or ip6.arpa"));
        }
        Ok(block) if block.addr() != block.network() => {
            return Err(format!("{text:?} has bits set behind its prefix; write {}", block.trunc()));
        }
        Ok(block) => reverse_zones(block),
        Err(_) if text.contains('/') => return Err(format!("{text:?} is no CIDR block")),
        Err(_) => vec![text.to_owned()],
    };
    let parse = |name: &String| name.parse().map_err(|error| format!("{text:?} is no zone: {error}"));
    names.iter().map(parse).collect()
}

/// Turns `zones` into zones: names, or CIDR blocks that are split at the octet or nibble boundary below them.
pub fn zones(texts: &[String]) -> Result<Vec<Zone>, ConfigError> {
    let mut served: Vec<Zone> = Vec::with_capacity(texts.len());
    for (at, text) in texts.iter().enumerate() {
        let key = || format!("zones[{at}]");
        let names = match zone_names(text) {
            Ok(names) => names,
            Err(reason) => return fail(key(), reason),
        };
        for apex in names {
            if apex.as_name().label_count() == 0 {
                return fail(key(), "the root zone cannot be served");
            }
            if served.iter().any(|it| it.apex == apex) {
                return fail(key(), format!("{apex} is listed twice"));
            }
            let reverse = [IN_ADDR_ARPA, IP6_ARPA].iter().any(|it| {
                let top = OwnerName::read(it).expect("a constant name is well-formed");
                apex.as_name().relative_to(top.as_name()).is_some()
            });
            if reverse && reverse_name(apex.as_name()).is_none() {
                return fail(key(), format!("{apex} is under the reverse tree but is no address prefix"));
            }
            let kind = if reverse { ZoneKind::Reverse } else { ZoneKind::Forward };
            served.push(Zone { apex, kind, place: served.len() });
        }
    }
    for inner in &served {
        for outer in served.iter().filter(|it| it.kind == ZoneKind::Forward) {
            let below = inner.apex().relative_to(outer.apex()).and_then(|it| labels(it).last());
            if matches!(below, Some(b"svc" | b"pod" | b"dns" | b"dns-version")) {
                let (inner, outer) = (inner.apex(), outer.apex());
                return fail("zones", format!("{inner} would hide names of {outer}; remove one of them"));
            }
        }
    }
    Ok(served)
}

/// The zones that cover a block and nothing else: one, or as many as there are up to the next octet (IPv4) or nibble
/// (IPv6).
fn reverse_zones(block: IpNet) -> Vec<String> {
    match block {
        IpNet::V4(block) => {
            let octets = usize::from(block.prefix_len().div_ceil(8));
            let subnets = block.subnets(octets as u8 * 8).into_iter().flatten();
            let name = |it: ipnet::Ipv4Net| {
                let octets =
                    it.network().octets()[..octets].iter().rev().map(u8::to_string).collect::<Vec<_>>();
                format!("{}.in-addr.arpa", octets.join("."))
            };
            subnets.map(name).collect()
        }
        IpNet::V6(block) => {
            let nibbles = usize::from(block.prefix_len().div_ceil(4));
            let subnets = block.subnets(nibbles as u8 * 4).into_iter().flatten();
            let name = |it: ipnet::Ipv6Net| {
                let digits = format!("{:032x}", it.network().to_bits());
                let digits: Vec<_> = digits[..nibbles].chars().rev().map(String::from).collect();
                format!("{}.ip6.arpa", digits.join("."))
            };
            subnets.map(name).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_split_at_octets_and_nibbles() {
        for (block, first, last, count) in [
            ("10.0.0.0/8", "10.in-addr.arpa", "10.in-addr.arpa", 1),
            ("10.96.0.0/12", "96.10.in-addr.arpa", "111.10.in-addr.arpa", 16),
            ("192.0.2.53/32", "53.2.0.192.in-addr.arpa", "53.2.0.192.in-addr.arpa", 1),
            ("fd00::/8", "d.f.ip6.arpa", "d.f.ip6.arpa", 1),
            ("2001:db8::/30", "8.b.d.0.1.0.0.2.ip6.arpa", "b.b.d.0.1.0.0.2.ip6.arpa", 4),
        ] {
            let zones = reverse_zones(block.parse().unwrap());
            assert_eq!((zones[0].as_str(), zones[count - 1].as_str(), zones.len()), (first, last, count));
        }
    }
}
