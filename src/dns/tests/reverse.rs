//! Reverse zones: section 7 of the behaviour.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::dns::config::EndpointNames;
use crate::dns::records::{EmptyServices, EndpointRef, RecordRules, service_entry};

const OBJECTS: &str = "
    ns prod other
    svc prod/web headless http:80
    slice prod/web http:80 : 10.0.0.1=web-0 10.0.0.2 10.0.0.3=web-2! fd00::7=web-0
    svc prod/api 10.96.0.10,fd00::10 http:80
    slice prod/api http:80 : 10.0.0.1 10.0.0.9
    svc other/web headless
    slice other/web : 10.0.0.1=twin
    svc gone/web headless
    slice gone/web : 10.7.0.1=web-0
    svc prod/ext -> www.example.com
";

fn nibbles(address: &str) -> String {
    let bits = u128::from(address.parse::<std::net::Ipv6Addr>().unwrap());
    format!("{bits:032x}").chars().rev().flat_map(|it| [it, '.']).collect::<String>() + "ip6.arpa."
}

#[test]
fn pointers() {
    let fixture = Fixture::new("{}", OBJECTS);
    let all = "PTR twin.web.other.svc.Z PTR web-0.web.prod.svc.Z PTR 10-0-0-1.api.prod.svc.Z";
    fixture.expect(&[
        ("10.0.96.10.in-addr.arpa. PTR", "PTR api.prod.svc.Z"),
        ("1.0.0.10.in-addr.arpa. PTR", all),
        ("2.0.0.10.in-addr.arpa. PTR", "PTR 10-0-0-2.web.prod.svc.Z"),
        ("9.0.0.10.in-addr.arpa. PTR", "PTR 10-0-0-9.api.prod.svc.Z"),
        ("3.0.0.10.in-addr.arpa. PTR", "NXDOMAIN"),
        ("1.0.7.10.in-addr.arpa. PTR", "NXDOMAIN"),
        ("7.10.in-addr.arpa. PTR", "NXDOMAIN"),
        ("01.0.0.10.in-addr.arpa. PTR", "NXDOMAIN"),
        ("x.1.0.0.10.in-addr.arpa. PTR", "NXDOMAIN"),
        ("web.prod.svc.in-addr.arpa. A", "NXDOMAIN"),
        ("1.0.0.10.in-addr.arpa. A", "NODATA"),
        ("1.0.0.10.in-addr.arpa. TXT", "NODATA"),
        ("0.0.10.in-addr.arpa. PTR", "NODATA"),
        ("0.10.in-addr.arpa. NS", "NODATA"),
        ("10.in-addr.arpa. A", "NODATA"),
        ("11.in-addr.arpa. A", "NXDOMAIN"),
        (&format!("{} PTR", nibbles("fd00::7")), "PTR web-0.web.prod.svc.Z"),
        (&format!("{} PTR", nibbles("fd00::7").to_uppercase()), "PTR web-0.web.prod.svc.Z"),
        (&format!("{} PTR", nibbles("fd00::10")), "PTR api.prod.svc.Z"),
        (&format!("{} PTR", nibbles("fd00::8")), "NXDOMAIN"),
        (&format!("x.{} PTR", nibbles("fd00::7")), "NXDOMAIN"),
        ("0.0.d.f.ip6.arpa. PTR", "NODATA"),
        ("1.0.d.f.ip6.arpa. PTR", "NXDOMAIN"),
    ]);
}

#[test]
fn modes() {
    Fixture::new("ptr: prefer-hostname", OBJECTS).expect(&[
        ("1.0.0.10.in-addr.arpa. PTR", "PTR twin.web.other.svc.Z PTR web-0.web.prod.svc.Z"),
        ("9.0.0.10.in-addr.arpa. PTR", "PTR 10-0-0-9.api.prod.svc.Z"),
    ]);
    Fixture::new("ptr: hostname-only", OBJECTS).expect(&[
        ("1.0.0.10.in-addr.arpa. PTR", "PTR twin.web.other.svc.Z PTR web-0.web.prod.svc.Z"),
        ("9.0.0.10.in-addr.arpa. PTR", "NXDOMAIN"),
        ("10.0.96.10.in-addr.arpa. PTR", "PTR api.prod.svc.Z"),
    ]);
}

#[test]
fn narrow_zones() {
    let fixture = Fixture::new("zones: [cluster.local, 96.10.in-addr.arpa]", OBJECTS);
    fixture.expect(&[
        ("10.0.96.10.in-addr.arpa. PTR", "PTR api.prod.svc.Z"),
        ("96.10.in-addr.arpa. PTR", "NODATA"),
        ("1.0.0.10.in-addr.arpa. PTR", "REFUSED"),
        ("10.in-addr.arpa. PTR", "REFUSED"),
    ]);
    let one_address = format!("zones: [cluster.local, 10.0.0.1/32, 10.0.0.8/32, {}]", nibbles("fd00::7"));
    Fixture::new(&one_address, OBJECTS).expect(&[
        (
            "1.0.0.10.in-addr.arpa. PTR",
            "PTR twin.web.other.svc.Z PTR web-0.web.prod.svc.Z PTR 10-0-0-1.api.prod.svc.Z",
        ),
        ("1.0.0.10.in-addr.arpa. A", "NODATA"),
        ("8.0.0.10.in-addr.arpa. PTR", "NODATA"),
        ("2.0.0.10.in-addr.arpa. PTR", "REFUSED"),
        (&format!("{} PTR", nibbles("fd00::7")), "PTR web-0.web.prod.svc.Z"),
    ]);
}

proptest! {
    #[test]
    fn names_of_an_address_are_those_that_resolve_to_it(
        endpoints in proptest::collection::vec(
            (proptest::option::of(0u8..6), proptest::option::of(0u8..6), any::<bool>(), 0u8..12), 0..40),
        names in prop_oneof![
            Just(EndpointNames::Hostname), Just(EndpointNames::PodName), Just(EndpointNames::Both)],
    ) {
        let words = endpoints.iter().map(|(hostname, pod, is_v4, number)| {
            let address = if *is_v4 { format!("10.0.0.{number}") } else { format!("fd00::{number}") };
            let hostname = hostname.map(|it| format!("=n-{it}")).unwrap_or_default();
            // Pod names and hostnames overlap.
            address + &hostname + &pod.map(|it| format!("@n-{}", it + 3)).unwrap_or_default()
        });
        let line = format!("prod/web http:80 : {}", words.collect::<Vec<_>>().join(" "));
        let slice = slice("prod/web", 0, &line.split(' ').skip(1).filter(|it| !it.is_empty()).collect::<Vec<_>>());
        let rules = RecordRules { endpoint_names: names, empty_services: EmptyServices::Published };
        let entry = service_entry(&service("prod/web", ServiceKind::Headless, &[]), &[&slice], rules).unwrap();
        let addresses: BTreeSet<IpAddr> = slice.endpoints.iter().flat_map(|it| it.addresses.iter().copied()).collect();
        for address in addresses.iter().copied().chain(["10.0.0.99".parse().unwrap(), "fd00::99".parse().unwrap()]) {
            let has = |it: &EndpointRef<'_>| it.v4().iter().any(|it| address == *it) || it.v6().iter().any(|it| address == *it);
            let want: Vec<_> = entry.endpoints().filter(has).map(EndpointRef::label).collect();
            let got: Vec<_> = entry.endpoints_with(address).map(EndpointRef::label).collect();
            prop_assert_eq!(entry.has_address(address), addresses.contains(&address));
            prop_assert_eq!(got, want, "{}", address);
        }
    }
}
