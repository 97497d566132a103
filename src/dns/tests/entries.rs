//! How a service is stored: every name and address is found, whatever the labels have in common.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::dns::config::EndpointNames;
use crate::dns::records::{EmptyServices, EndpointRef, RecordRules, service_entry};

/// Labels that share beginnings of any length, and dashed addresses of one network.
fn label() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ab]{1,2}",
        "db-[0-9]{1,3}",
        "a-long-name-[01]{4,9}",
        "A[01]{0,6}",
        "10-0-[0-9]{1,3}-[0-9]{1,3}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn names_and_addresses_are_found(
        // More than are searched one by one, and addresses that names share.
        endpoints in proptest::collection::vec((label(), 0..200u16, any::<bool>()), 0..150),
        others in proptest::collection::vec(label(), 20),
    ) {
        let address = |number: u16, is_v4: bool| -> IpAddr {
            if is_v4 { format!("10.1.0.{number}") } else { format!("fd00::{number}") }.parse().unwrap()
        };
        let mut want: BTreeMap<String, BTreeSet<IpAddr>> = BTreeMap::new();
        let mut words = vec!["http:80".to_owned(), ":".to_owned()];
        for (hostname, number, is_v4) in &endpoints {
            let address = address(*number, *is_v4);
            want.entry(hostname.to_ascii_lowercase()).or_default().insert(address);
            words.push(format!("{address}={hostname}"));
        }
        let slice = slice("prod/web", 0, &words.iter().map(String::as_str).collect::<Vec<_>>());
        let rules = RecordRules {
            endpoint_names: EndpointNames::Hostname,
            empty_services: EmptyServices::Published,
        };
        let entry = service_entry(&service("prod/web", ServiceKind::Headless, &[]), &[&slice], rules).unwrap();

        let labels: Vec<_> = entry.endpoints().map(EndpointRef::label).collect();
        prop_assert_eq!(labels, want.keys().map(String::as_bytes).collect::<Vec<_>>());
        for (label, addresses) in &want {
            let found = entry.endpoint(label.as_bytes()).unwrap();
            let v4 = found.v4().iter().copied().map(IpAddr::from);
            let found: Vec<IpAddr> = v4.chain(found.v6().iter().copied().map(IpAddr::from)).collect();
            prop_assert_eq!(&found, &addresses.iter().copied().collect::<Vec<_>>(), "{}", label);
        }
        for other in others.iter().map(|it| it.to_ascii_lowercase()).chain([String::new(), "a\0".to_owned()]) {
            prop_assert_eq!(entry.endpoint(other.as_bytes()).is_some(), want.contains_key(&other), "{}", other);
        }
        for number in 0..200 {
            let address = address(number, number % 3 > 0);
            let with = want.iter().filter(|(_, addresses)| addresses.contains(&address));
            let found: Vec<_> = entry.endpoints_with(address).map(EndpointRef::label).collect();
            prop_assert_eq!(entry.has_address(address), !found.is_empty());
            prop_assert_eq!(found, with.map(|(label, _)| label.as_bytes()).collect::<Vec<_>>(), "{}", address);
        }
        let distinct: BTreeSet<IpAddr> = want.into_values().flatten().collect();
        prop_assert_eq!(entry.endpoint_v4().len() + entry.endpoint_v6().len(), distinct.len());
    }
}
