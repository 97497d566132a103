//! Names and addresses from files in the format of `/etc/hosts`.
//!
//! text ──[`Table::add`]──▶ [`Table`] ──[`Table::find`]──▶ `dns::forward`
//!
//! Pure; `files` reads. A line is an address and the names it has, which the address points back to. Several lines may name one name or one address. `#` begins a comment. What cannot be used is left out and
//! reported with its line. A name exists for every type as soon as it has an address (NODATA), as with CoreDNS.
//! Sources: hosts(5), CoreDNS plugin *hosts*.

mod files;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub use self::files::{Hosts, HostsError};
use super::address_name::{ReverseName, reverse_name};
use super::lookup::RrType;
use super::name::{BoxedName, NameRef, OwnerName};

/// What the files say.
#[derive(Debug, Default)]
pub struct Table {
    /// By name in wire form.
    names: HashMap<Box<[u8]>, Addresses, foldhash::fast::RandomState>,
    /// Names of each address in the order of the files.
    addresses: HashMap<IpAddr, Vec<BoxedName>, foldhash::fast::RandomState>,
}

#[derive(Debug, Default)]
struct Addresses {
    v4: Vec<Ipv4Addr>,
    v6: Vec<Ipv6Addr>,
}

/// The RRset of one name and type.
#[derive(Debug)]
pub enum Entry<'a> {
    /// IPv4 addresses.
    A(&'a [Ipv4Addr]),
    /// IPv6 addresses.
    Aaaa(&'a [Ipv6Addr]),
    /// The names of an address in the order of the files: resolver libraries take the first.
    Ptr(&'a [BoxedName]),
    /// The answer to ANY (RFC 8482 §4.2).
    Hinfo,
    /// The name exists, the type does not.
    NoData,
}

/// A line, or a name on it, that is left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadLine {
    /// From 1.
    pub line: usize,
    /// What is wrong.
    pub reason: String,
}

impl Table {
    /// Adds the lines of one file. Returns what cannot be used.
    pub fn add(&mut self, text: &str) -> Vec<BadLine> {
        let mut bad = Vec::new();
        for (at, line) in text.lines().enumerate() {
            let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
            let Some(address) = words.next() else { continue };
            let mut report = |reason| bad.push(BadLine { line: at + 1, reason });
            // A zone of a link-local address, `fe80::1%lo0`, means nothing to others.
            let Ok(ip) = address.split('%').next().unwrap_or_default().parse::<IpAddr>() else {
                report(format!("{address:?} is no address"));
                continue;
            };
            let mut names = 0;
            for word in words {
                names += 1;
                match word.parse::<OwnerName>() {
                    Ok(name) if name.as_name().label_count() > 0 => self.insert(ip.to_canonical(), &name),
                    Ok(_) => report("the root cannot have an address".to_owned()),
                    Err(error) => report(format!("{word:?} is no name: {error}")),
                }
            }
            if names == 0 {
                report(format!("{address} has no name"));
            }
        }
        bad
    }

    fn insert(&mut self, address: IpAddr, name: &OwnerName) {
        let known = self.names.entry(name.as_name().wire().into()).or_default();
        match address {
            IpAddr::V4(it) if !known.v4.contains(&it) => known.v4.push(it),
            IpAddr::V6(it) if !known.v6.contains(&it) => known.v6.push(it),
            _ => return,
        }
        self.addresses.entry(address).or_default().push(BoxedName::from(name));
    }

    /// What the files say about a name; `None`: nothing.
    pub fn find(&self, name: NameRef<'_>, rr_type: RrType) -> Option<Entry<'_>> {
        if let Some(addresses) = self.names.get(name.wire()) {
            return Some(match rr_type {
                RrType::A if !addresses.v4.is_empty() => Entry::A(&addresses.v4),
                RrType::AAAA if !addresses.v6.is_empty() => Entry::Aaaa(&addresses.v6),
                RrType::ANY => Entry::Hinfo,
                _ => Entry::NoData,
            });
        }
        let Some(ReverseName::Address(address)) = reverse_name(name) else { return None };
        let names = self.addresses.get(&address)?;
        Some(match rr_type {
            RrType::PTR => Entry::Ptr(names),
            RrType::ANY => Entry::Hinfo,
            _ => Entry::NoData,
        })
    }

    /// Names with an address.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether the files name nothing.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn print(entry: Option<Entry<'_>>) -> String {
        match entry {
            None => "-".to_owned(),
            Some(Entry::A(all)) => all.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
            Some(Entry::Aaaa(all)) => all.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
            Some(Entry::Ptr(all)) => all.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
            Some(Entry::Hinfo) => "HINFO".to_owned(),
            Some(Entry::NoData) => "NODATA".to_owned(),
        }
    }

    #[test]
    fn names_and_addresses() {
        let mut table = Table::default();
        let text = "
            # the printers
            192.0.2.1   Printer.example. printer   # upstairs
            192.0.2.2\tprinter.example
            2001:db8::1 printer.example
            192.0.2.1   second.example printer
            ::ffff:192.0.2.9 mapped.example
            fe80::1%lo0 local.example
        ";
        assert_eq!(table.add(text), []);
        assert_eq!(table.add("192.0.2.3 printer.example\r\n"), []);
        for (question, want) in [
            ("printer.example A", "192.0.2.1 192.0.2.2 192.0.2.3"),
            ("printer.example AAAA", "2001:db8::1"),
            ("printer.example MX", "NODATA"),
            ("printer.example ANY", "HINFO"),
            ("printer A", "192.0.2.1"),
            ("printer AAAA", "NODATA"),
            ("example A", "-"),
            ("a.printer.example A", "-"),
            ("mapped.example A", "192.0.2.9"),
            ("mapped.example AAAA", "NODATA"),
            ("local.example AAAA", "fe80::1"),
            ("1.2.0.192.in-addr.arpa PTR", "printer.example. printer. second.example."),
            ("3.2.0.192.in-addr.arpa PTR", "printer.example."),
            ("1.2.0.192.in-addr.arpa A", "NODATA"),
            ("4.2.0.192.in-addr.arpa PTR", "-"),
            ("2.0.192.in-addr.arpa PTR", "-"),
            (
                "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa PTR",
                "printer.example.",
            ),
        ] {
            let (name, rr_type) = question.split_once(' ').unwrap();
            let name: OwnerName = name.parse().unwrap();
            let rr_type: hickory_proto::rr::RecordType = rr_type.parse().unwrap();
            let found = table.find(name.as_name(), RrType(rr_type.into()));
            assert_eq!(print(found), want, "{question}");
        }
        assert_eq!(table.len(), 5);
    }

    #[test]
    fn bad_lines_are_reported_and_left_out() {
        let mut table = Table::default();
        let text = "192.0.2.256 a.example\n192.0.2.1\nb.example 192.0.2.1\n\n192.0.2.2 good.example c..d .\n";
        let bad: Vec<_> =
            table.add(text).into_iter().map(|it| format!("{}: {}", it.line, it.reason)).collect();
        assert_eq!(
            bad,
            [
                "1: \"192.0.2.256\" is no address",
                "2: 192.0.2.1 has no name",
                "3: \"b.example\" is no address",
                "5: \"c..d\" is no name: name has an empty label",
                "5: the root cannot have an address",
            ]
        );
        assert_eq!(table.len(), 1);
    }
}
