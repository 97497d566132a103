//! Endpoints and `EndpointSlices`. Source: `ValidateEndpoints`, `ValidateEndpointSlice`.

use super::{FieldError, invalid_each, list, names, one_of, text};
use serde_json::Value;
use std::collections::BTreeSet;
use std::net::IpAddr;

const MAX_ENDPOINTS: usize = 1000;
const MAX_ADDRESSES: usize = 100;
const MAX_PORTS: usize = 100;

/// Ranges no endpoint may be in, in upstream's words.
pub fn special(ip: IpAddr) -> Option<&'static str> {
    let (link_local, local_multicast) = match ip {
        IpAddr::V4(ip) => (ip.is_link_local(), ip.octets()[..3] == [224, 0, 0]),
        IpAddr::V6(ip) => (ip.segments()[0] & 0xffc0 == 0xfe80, ip.segments()[0] == 0xff02),
    };
    if ip.is_unspecified() {
        Some(if ip.is_ipv4() { "may not be unspecified (0.0.0.0)" } else { "may not be unspecified (::)" })
    } else if ip.is_loopback() {
        Some("may not be in the loopback range (127.0.0.0/8, ::1/128)")
    } else if link_local {
        Some("may not be in the link-local range (169.254.0.0/16, fe80::/10)")
    } else if local_multicast {
        Some("may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)")
    } else {
        None
    }
}

pub fn slice(object: &Value, errors: &mut Vec<FieldError>) {
    let kind = text(&object["addressType"]);
    one_of(&object["addressType"], "addressType", &["FQDN", "IPv4", "IPv6"], errors);
    let ports = list(&object["ports"]);
    if ports.len() > MAX_PORTS {
        errors.push(FieldError::too_many("ports", ports.len(), MAX_PORTS));
        return;
    }
    let mut seen = BTreeSet::new();
    for (index, port) in ports.iter().enumerate() {
        let field = format!("ports[{index}]");
        let name = text(&port["name"]);
        if !name.is_empty() {
            invalid_each(&format!("{field}.name"), name, names::dns_label(name), errors);
        }
        if !seen.insert(name) {
            errors.push(FieldError::duplicate(format!("{field}.name"), name));
        }
        one_of(&port["protocol"], &format!("{field}.protocol"), &["SCTP", "TCP", "UDP"], errors);
        let protocol = text(&port["appProtocol"]);
        if !protocol.is_empty() {
            let field = format!("{field}.appProtocol");
            invalid_each(&field, protocol, names::qualified_name(protocol), errors);
        }
    }
    let endpoints = list(&object["endpoints"]);
    if endpoints.len() > MAX_ENDPOINTS {
        errors.push(FieldError::too_many("endpoints", endpoints.len(), MAX_ENDPOINTS));
        return;
    }
    for (index, endpoint) in endpoints.iter().enumerate() {
        let field = format!("endpoints[{index}]");
        let addresses = list(&endpoint["addresses"]);
        if addresses.is_empty() {
            errors
                .push(FieldError::required(format!("{field}.addresses"), "must contain at least 1 address"));
        } else if addresses.len() > MAX_ADDRESSES {
            errors.push(FieldError::too_many(format!("{field}.addresses"), addresses.len(), MAX_ADDRESSES));
        }
        for (inner, address) in addresses.iter().enumerate() {
            slice_address(text(address), kind, &format!("{field}.addresses"), inner, errors);
        }
        let hostname = text(&endpoint["hostname"]);
        if !endpoint["hostname"].is_null() {
            invalid_each(&format!("{field}.hostname"), hostname, names::dns_label(hostname), errors);
        }
        node_name(endpoint, &field, errors);
        let mut zones = BTreeSet::new();
        for (inner, hint) in list(&endpoint["hints"]["forZones"]).iter().enumerate() {
            let field = format!("{field}.hints.forZones[{inner}].name");
            match text(&hint["name"]) {
                zone if !zones.insert(zone) => errors.push(FieldError::duplicate(field, zone)),
                zone => invalid_each(&field, zone, names::label_value(zone), errors),
            }
        }
    }
}

fn node_name(endpoint: &Value, field: &str, errors: &mut Vec<FieldError>) {
    let node = text(&endpoint["nodeName"]);
    if !node.is_empty() {
        invalid_each(&format!("{field}.nodeName"), node, names::dns_subdomain(node), errors);
    }
}

/// What is wrong with the type of an address is said of the list, what is wrong with its value of the address.
fn slice_address(address: &str, kind: &str, list: &str, inner: usize, errors: &mut Vec<FieldError>) {
    let field = &format!("{list}[{inner}]");
    match (kind, address.parse::<IpAddr>()) {
        ("FQDN", _) => {
            let name = address.strip_suffix('.').unwrap_or(address);
            invalid_each(field, address, names::dns_subdomain(name), errors);
        }
        ("IPv4", Ok(ip @ IpAddr::V4(_))) | ("IPv6", Ok(ip @ IpAddr::V6(_))) => {
            errors.extend(special(ip).map(|it| FieldError::invalid(field, address, it)));
        }
        ("IPv4" | "IPv6", Err(_)) => errors.push(FieldError::invalid(field, address, super::NO_ADDRESS)),
        ("IPv4", _) => errors.push(FieldError::invalid(field, address, "must be an IPv4 address")),
        ("IPv6", _) => errors.push(FieldError::invalid(list, address, "must be an IPv6 address")),
        _ => {}
    }
}

fn port_number_and_protocol(port: &Value, field: &str, errors: &mut Vec<FieldError>) {
    if let Some(number) = port["port"].as_i64()
        && !(1..=65_535).contains(&number)
    {
        errors.push(FieldError::invalid(format!("{field}.port"), number, names::PORT_RANGE));
    }
    one_of(&port["protocol"], &format!("{field}.protocol"), &["SCTP", "TCP", "UDP"], errors);
}

pub fn endpoints(object: &Value, errors: &mut Vec<FieldError>) {
    for (index, subset) in list(&object["subsets"]).iter().enumerate() {
        let field = format!("subsets[{index}]");
        if list(&subset["addresses"]).is_empty() && list(&subset["notReadyAddresses"]).is_empty() {
            errors.push(FieldError::required(
                field.as_str(),
                "must specify `addresses` or `notReadyAddresses`",
            ));
        }
        for kind in ["addresses", "notReadyAddresses"] {
            for (inner, address) in list(&subset[kind]).iter().enumerate() {
                let field = format!("{field}.{kind}[{inner}]");
                let ip = text(&address["ip"]);
                match ip.parse::<IpAddr>() {
                    Ok(parsed) => errors
                        .extend(special(parsed).map(|it| FieldError::invalid(format!("{field}.ip"), ip, it))),
                    Err(_) => {
                        // Told once by each of upstream's two parsers.
                        for detail in [super::NO_ADDRESS, "must be a valid IP address"] {
                            errors.push(FieldError::invalid(format!("{field}.ip"), ip, detail));
                        }
                    }
                }
                let hostname = text(&address["hostname"]);
                if !hostname.is_empty() {
                    invalid_each(&format!("{field}.hostname"), hostname, names::dns_label(hostname), errors);
                }
                node_name(address, &field, errors);
            }
        }
        let ports = list(&subset["ports"]);
        for (inner, port) in ports.iter().enumerate() {
            let field = format!("{field}.ports[{inner}]");
            match text(&port["name"]) {
                "" if ports.len() > 1 => errors.push(FieldError::required(format!("{field}.name"), "")),
                "" => {}
                name => invalid_each(&format!("{field}.name"), name, names::dns_label(name), errors),
            }
            port_number_and_protocol(port, &field, errors);
        }
    }
}
