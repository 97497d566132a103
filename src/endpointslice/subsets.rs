//! The subsets of an Endpoints object in their canonical form.
//!
//! Pure. Every (address, port) pair stands once; ports with the same addresses share a subset; not ready beats ready.
//! Source: kubernetes `pkg/api/v1/endpoints/util.go` (`RepackSubsets`). Upstream sorts by a hash of Go's memory layout; here
//! subsets are sorted by their addresses, and comparisons are made between canonical forms, so that order never matters.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{EndpointAddress, EndpointPort, EndpointSubset};

/// IP and uid of the target: two pods may share an address.
type AddressKey = (String, Option<String>);
/// Name, number, protocol and application protocol; `None` stands for the absence of ports.
type PortKey = Option<(String, i32, String, Option<String>)>;

/// The canonical form. References to targets lose their resourceVersion, which says nothing about the endpoint.
pub fn canonical(subsets: &[EndpointSubset]) -> Vec<EndpointSubset> {
    let mut addresses: BTreeMap<AddressKey, EndpointAddress> = BTreeMap::new();
    let mut by_port: BTreeMap<PortKey, BTreeMap<AddressKey, bool>> = BTreeMap::new();
    for subset in subsets {
        let named = subset.ports.iter().flatten().map(|it| {
            let protocol = it.protocol.clone().unwrap_or_else(|| "TCP".to_owned());
            Some((it.name.clone().unwrap_or_default(), it.port, protocol, it.app_protocol.clone()))
        });
        let mut ports: Vec<PortKey> = named.collect();
        if ports.is_empty() {
            ports.push(None);
        }
        for (list, ready) in [(&subset.addresses, true), (&subset.not_ready_addresses, false)] {
            for address in list.iter().flatten() {
                let uid = address.target_ref.as_ref().and_then(|it| it.uid.clone());
                let key = (address.ip.clone(), uid);
                addresses.entry(key.clone()).or_insert_with(|| without_version(address));
                for port in &ports {
                    let known = by_port.entry(port.clone()).or_default();
                    known.entry(key.clone()).and_modify(|it| *it &= ready).or_insert(ready);
                }
            }
        }
    }
    let mut by_addresses: BTreeMap<Vec<(AddressKey, bool)>, Vec<PortKey>> = BTreeMap::new();
    for (port, members) in by_port {
        by_addresses.entry(members.into_iter().collect()).or_default().push(port);
    }
    let subset = |(members, ports): (Vec<(AddressKey, bool)>, Vec<PortKey>)| {
        let of = |wanted: bool| -> Vec<EndpointAddress> {
            let members = members.iter().filter(|it| it.1 == wanted);
            members.filter_map(|it| addresses.get(&it.0).cloned()).collect()
        };
        let ports = ports.into_iter().flatten().map(|(name, port, protocol, app_protocol)| EndpointPort {
            name: Some(name).filter(|it| !it.is_empty()),
            port,
            protocol: Some(protocol),
            app_protocol,
        });
        let some = |list: Vec<EndpointAddress>| Some(list).filter(|it| !it.is_empty());
        EndpointSubset {
            addresses: some(of(true)),
            not_ready_addresses: some(of(false)),
            ports: Some(ports.collect::<Vec<_>>()).filter(|it| !it.is_empty()),
        }
    };
    by_addresses.into_iter().map(subset).collect()
}

fn without_version(address: &EndpointAddress) -> EndpointAddress {
    let mut address = address.clone();
    if let Some(target) = &mut address.target_ref {
        target.resource_version = None;
    }
    address
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn address(ip: &str) -> EndpointAddress {
        EndpointAddress { ip: ip.to_owned(), ..EndpointAddress::default() }
    }

    /// `"1,2!:80,81"`: addresses 10.0.0.1, ready, and 10.0.0.2, not ready, on ports 80 and 81.
    pub fn parse(text: &str) -> Vec<EndpointSubset> {
        let subset = |text: &str| {
            let (members, ports) = text.split_once(':').unwrap();
            let of = |ready: bool| {
                let members = members.split(',').filter(|it| !it.is_empty() && it.ends_with('!') != ready);
                members.map(|it| address(&format!("10.0.0.{}", it.trim_end_matches('!')))).collect()
            };
            let ports = ports.split(',').filter(|it| !it.is_empty()).map(|it| EndpointPort {
                name: Some(format!("p{it}")),
                port: it.parse().unwrap(),
                ..EndpointPort::default()
            });
            EndpointSubset {
                addresses: Some(of(true)),
                not_ready_addresses: Some(of(false)),
                ports: Some(ports.collect()),
            }
        };
        text.split_whitespace().map(subset).collect()
    }

    /// As [`parse`] reads it.
    pub fn show(subsets: &[EndpointSubset]) -> String {
        let subset = |it: &EndpointSubset| {
            let last = |it: &EndpointAddress| it.ip.rsplit('.').next().unwrap().to_owned();
            let ready = it.addresses.iter().flatten().map(last);
            let not_ready = it.not_ready_addresses.iter().flatten().map(|it| format!("{}!", last(it)));
            let members: Vec<_> = ready.chain(not_ready).collect();
            let ports: Vec<_> = it.ports.iter().flatten().map(|it| it.port.to_string()).collect();
            format!("{}:{}", members.join(","), ports.join(","))
        };
        subsets.iter().map(subset).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn one_form_for_equal_meanings() {
        #[rustfmt::skip]
        let cases = [
            ("as it is",                                    "1,2:80",        "1,2:80"),
            ("one address, two subsets: two ports",         "1:80 1:81",     "1:80,81"),
            ("other addresses: subsets of their own",       "1:80 2:81",     "1:80 2:81"),
            ("one port, two subsets: two addresses",        "2:80 1:80",     "1,2:80"),
            ("not ready beats ready",                       "1:80 1!:80",    "1!:80"),
            ("only on that port",                           "1:80,81 1!:81", "1:80 1!:81"),
            ("no ports are kept as such",                   "1,2!:",         "1,2!:"),
            ("no addresses, no subset",                     ":80",           ""),
        ];
        for (why, subsets, want) in cases {
            let mut got: Vec<_> = show(&canonical(&parse(subsets))).split(' ').map(str::to_owned).collect();
            got.sort();
            let mut want: Vec<_> = want.split(' ').map(str::to_owned).collect();
            want.sort();
            assert_eq!(got, want, "{why}: {subsets}");
            let once = canonical(&parse(subsets));
            assert_eq!(canonical(&once), once, "{why}: stable");
        }
    }
}
