//! Cluster addresses and node ports of Services.
//!
//! The ledger follows commits (see `store`), so it never leaks and is rebuilt by replaying what is stored.
//! Source: kubernetes `pkg/registry/core/service/storage/alloc.go`.

use crate::apiserver::resources::Resource;
use crate::apiserver::validate::FieldError;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};

/// Node ports handed out, upstream's default range.
const NODE_PORTS: std::ops::RangeInclusive<u16> = 30_000..=32_767;

/// Addresses and ports in use, each with the number of claims on it.
#[derive(Debug)]
pub struct Allocations {
    cidr: ipnet::Ipv4Net,
    addresses: HashMap<Ipv4Addr, usize>,
    node_ports: HashMap<u16, usize>,
}

impl Default for Allocations {
    fn default() -> Self {
        Self::new(ipnet::Ipv4Net::new(Ipv4Addr::new(10, 96, 0, 0), 16).expect("16 is a prefix length"))
    }
}

/// Whether allocations of a request are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Claim,
    Release,
}

impl Allocations {
    /// Nothing allocated from `cidr`.
    pub fn new(cidr: ipnet::Ipv4Net) -> Self {
        Self { cidr, addresses: HashMap::new(), node_ports: HashMap::new() }
    }

    /// The first usable address: that of default/kubernetes.
    pub fn first(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.cidr.network()).saturating_add(1))
    }

    /// Whether objects of this kind occupy addresses or ports.
    pub fn concern(resource: &Resource) -> bool {
        resource.group.is_empty() && resource.plural == "services"
    }

    /// Records that `new` took the place of `old`.
    pub fn replace(&mut self, resource: &Resource, old: Option<&Value>, new: Option<&Value>) {
        if !Self::concern(resource) {
            return;
        }
        for (object, step) in [(new, Step::Claim), (old, Step::Release)] {
            let Some(object) = object else { continue };
            for address in addresses(object) {
                count(&mut self.addresses, address, step);
            }
            for port in node_ports(object) {
                count(&mut self.node_ports, port, step);
            }
        }
    }

    /// Gives `service` the addresses and ports its type calls for and it does not name itself. `held` is
    /// what it occupies already (its stored state), which it may keep. `random` picks where to look first.
    ///
    /// Nothing is recorded here: the commit of the service does that.
    pub fn assign(&self, service: &mut Value, held: Option<&Value>, random: u64) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let kind = service["spec"]["type"].as_str().unwrap_or("ClusterIP").to_owned();
        if kind == "ExternalName" {
            return errors;
        }
        self.assign_address(service, held, random, &mut errors);
        self.assign_ports(service, held, &kind, random, &mut errors);
        errors
    }

    fn assign_address(
        &self,
        service: &mut Value,
        held: Option<&Value>,
        random: u64,
        errors: &mut Vec<FieldError>,
    ) {
        let spec = &mut service["spec"];
        let mut wanted = spec["clusterIP"].as_str().unwrap_or_default().to_owned();
        if wanted.is_empty() {
            spec["clusterIPs"][0].as_str().unwrap_or_default().clone_into(&mut wanted);
        }
        if wanted.is_empty() {
            match self.free_address(random) {
                Some(address) => wanted = address.to_string(),
                None => {
                    let detail = "failed to allocate IP: range is full";
                    errors.push(FieldError::invalid("spec.clusterIPs", json!([]), detail));
                    return;
                }
            }
        } else if let Ok(IpAddr::V4(address)) = wanted.parse() {
            let holds = held.is_some_and(|it| addresses(it).contains(&address));
            let problem = if holds {
                None
            } else if !self.usable(address) {
                Some(format!(
                    "failed to allocate IP {address}: the provided IP ({address}) is not in the valid range. \
                     The range of valid IPs is {}",
                    self.cidr
                ))
            } else if self.addresses.contains_key(&address) {
                Some(format!("failed to allocate IP {address}: provided IP is already allocated"))
            } else {
                None
            };
            if let Some(detail) = problem {
                errors.push(FieldError::invalid("spec.clusterIPs", json!([wanted]), detail));
            }
        }
        if spec["clusterIPs"].as_array().is_none_or(Vec::is_empty) {
            spec["clusterIPs"] = json!([wanted]);
        }
        spec["clusterIP"] = wanted.into();
    }

    fn assign_ports(
        &self,
        service: &mut Value,
        held: Option<&Value>,
        kind: &str,
        random: u64,
        errors: &mut Vec<FieldError>,
    ) {
        let allocate = kind == "NodePort"
            || kind == "LoadBalancer" && service["spec"]["allocateLoadBalancerNodePorts"] != json!(false);
        let held: Vec<u16> = held.map(node_ports).unwrap_or_default();
        let mut taken: Vec<u16> = node_ports(service);
        let Some(ports) = service["spec"]["ports"].as_array_mut() else { return };
        for (index, port) in ports.iter_mut().enumerate() {
            let wanted = port["nodePort"].as_u64().unwrap_or(0);
            if wanted == 0 {
                if let Some(map) = port.as_object_mut() {
                    map.remove("nodePort");
                }
                if !allocate {
                    continue;
                }
                let span = u64::from(NODE_PORTS.end() - NODE_PORTS.start()) + 1;
                let free = (0..span)
                    .map(|step| {
                        NODE_PORTS.start() + u16::try_from((random.wrapping_add(step)) % span).unwrap_or(0)
                    })
                    .find(|it| !self.node_ports.contains_key(it) && !taken.contains(it));
                match free {
                    Some(free) => {
                        taken.push(free);
                        port["nodePort"] = free.into();
                    }
                    None => errors.push(FieldError::invalid(
                        format!("spec.ports[{index}].nodePort"),
                        0,
                        "failed to allocate a nodePort: range is full",
                    )),
                }
                continue;
            }
            let field = format!("spec.ports[{index}].nodePort");
            match u16::try_from(wanted) {
                Ok(wanted) if held.contains(&wanted) => {}
                Ok(wanted) if !NODE_PORTS.contains(&wanted) => errors.push(FieldError::invalid(
                    field,
                    wanted,
                    "provided port is not in the valid range. The range of valid ports is 30000-32767",
                )),
                Ok(wanted) if self.node_ports.contains_key(&wanted) => {
                    errors.push(FieldError::invalid(field, wanted, "provided port is already allocated"));
                }
                Ok(_) => {}
                Err(_) => errors.push(FieldError::invalid(
                    field,
                    wanted,
                    "provided port is not in the valid range. The range of valid ports is 30000-32767",
                )),
            }
        }
    }

    fn usable(&self, address: Ipv4Addr) -> bool {
        self.cidr.contains(&address) && address != self.cidr.network() && address != self.cidr.broadcast()
    }

    fn free_address(&self, random: u64) -> Option<Ipv4Addr> {
        let size = 1u64 << (32 - self.cidr.prefix_len());
        let network = u64::from(u32::from(self.cidr.network()));
        (0..size)
            .map(|step| network + random.wrapping_add(step) % size)
            .filter_map(|it| u32::try_from(it).ok())
            .map(Ipv4Addr::from)
            .find(|it| self.usable(*it) && *it != self.first() && !self.addresses.contains_key(it))
    }
}

fn count<K: std::hash::Hash + Eq>(claims: &mut HashMap<K, usize>, key: K, step: Step) {
    match step {
        Step::Claim => *claims.entry(key).or_default() += 1,
        Step::Release => {
            if let Some(count) = claims.get_mut(&key) {
                *count -= 1;
                if *count == 0 {
                    claims.remove(&key);
                }
            }
        }
    }
}

/// IPv4 cluster addresses a service occupies.
fn addresses(service: &Value) -> Vec<Ipv4Addr> {
    if service["spec"]["type"] == "ExternalName" {
        return Vec::new();
    }
    let listed = service["spec"]["clusterIPs"].as_array().into_iter().flatten();
    let mut all: Vec<Ipv4Addr> =
        listed.chain([&service["spec"]["clusterIP"]]).filter_map(|it| it.as_str()?.parse().ok()).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// Node ports a service occupies; one port may serve two protocols.
fn node_ports(service: &Value) -> Vec<u16> {
    let ports = service["spec"]["ports"].as_array().into_iter().flatten();
    let mut all: Vec<u16> =
        ports.filter_map(|it| u16::try_from(it["nodePort"].as_u64()?).ok()).filter(|it| *it != 0).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// Fills what an update leaves out from the stored service: addresses, ports and families once given.
pub fn carry_over(old: &Value, new: &mut Value) {
    let (from, to) = (
        old["spec"]["type"].as_str().unwrap_or("ClusterIP").to_owned(),
        new["spec"]["type"].as_str().unwrap_or("ClusterIP").to_owned(),
    );
    if !new["spec"].is_object() {
        return;
    }
    if from == "ExternalName" || to == "ExternalName" {
        if to == "ExternalName" && from != "ExternalName" {
            // The address is released; a client that sends it back unchanged does not mean to keep it.
            for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"]
            {
                if new["spec"].get(field) == old["spec"].get(field)
                    && let Some(spec) = new["spec"].as_object_mut()
                {
                    spec.remove(field);
                }
            }
        }
        return;
    }
    let untouched = new["spec"].get("clusterIP").is_none() && new["spec"].get("clusterIPs").is_none();
    for field in ["ipFamilies", "ipFamilyPolicy", "healthCheckNodePort"] {
        if new["spec"].get(field).is_none()
            && let Some(value) = old["spec"].get(field)
        {
            new["spec"][field] = value.clone();
        }
    }
    if untouched {
        for field in ["clusterIP", "clusterIPs"] {
            if let Some(value) = old["spec"].get(field) {
                new["spec"][field] = value.clone();
            }
        }
    } else if new["spec"].get("clusterIPs").is_none()
        || new["spec"]["clusterIPs"] == old["spec"]["clusterIPs"]
            && new["spec"].get("clusterIP").is_some_and(|it| *it != old["spec"]["clusterIP"])
    {
        // Clients that know only clusterIP: unchanged means the list is unchanged too.
        if new["spec"]["clusterIP"] == old["spec"]["clusterIP"] {
            new["spec"]["clusterIPs"] = old["spec"]["clusterIPs"].clone();
        } else {
            new["spec"]["clusterIPs"] = match new["spec"]["clusterIP"].as_str() {
                Some(address) if !address.is_empty() => json!([address]),
                _ => json!([]),
            };
        }
    }
    if !matches!(to.as_str(), "NodePort" | "LoadBalancer") {
        // Ports a former NodePort service held are given back unless the client sets them explicitly anew.
        let held = node_ports(old);
        for port in new["spec"]["ports"].as_array_mut().into_iter().flatten() {
            let same =
                port["nodePort"].as_u64().is_some_and(|it| held.iter().any(|held| u64::from(*held) == it));
            if same && let Some(map) = port.as_object_mut() {
                map.remove("nodePort");
            }
        }
        return;
    }
    let old_ports = old["spec"]["ports"].as_array().cloned().unwrap_or_default();
    for port in new["spec"]["ports"].as_array_mut().into_iter().flatten() {
        if port["nodePort"].as_u64().unwrap_or(0) != 0 {
            continue;
        }
        let protocol = port["protocol"].as_str().unwrap_or("TCP");
        let same = old_ports
            .iter()
            .find(|it| it["port"] == port["port"] && it["protocol"].as_str().unwrap_or("TCP") == protocol);
        if let Some(number) = same.and_then(|it| it.get("nodePort")) {
            port["nodePort"] = number.clone();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apiserver::resources;

    fn small() -> Allocations {
        Allocations::new("10.0.0.0/29".parse().unwrap())
    }

    fn claim(allocations: &mut Allocations, service: &Value) {
        let services = resources::find("", "v1", "services").unwrap();
        allocations.replace(services, None, Some(service));
    }

    #[test]
    fn addresses_are_unique_and_skip_the_reserved_ones() {
        let mut allocations = small();
        for expected in ["10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"] {
            let mut service = json!({"spec": {"type": "ClusterIP"}});
            assert!(allocations.assign(&mut service, None, 0).is_empty());
            assert_eq!(service["spec"]["clusterIP"], expected);
            assert_eq!(service["spec"]["clusterIPs"], json!([expected]));
            claim(&mut allocations, &service);
        }
        let errors = allocations.assign(&mut json!({"spec": {}}), None, 0);
        assert_eq!(errors.len(), 1, "the range is full");
    }

    #[test]
    fn explicit_addresses() {
        let mut allocations = small();
        claim(&mut allocations, &json!({"spec": {"clusterIP": "10.0.0.3"}}));
        let check = |address: &str, held: Option<&Value>| {
            let mut service = json!({"spec": {"clusterIP": address}});
            allocations.assign(&mut service, held, 0).first().map(ToString::to_string)
        };
        assert_eq!(check("10.0.0.1", None), None);
        assert_eq!(check("None", None), None);
        assert_eq!(
            check("10.0.0.3", None).unwrap(),
            r#"spec.clusterIPs: Invalid value: ["10.0.0.3"]: failed to allocate IP 10.0.0.3: provided IP is already allocated"#
        );
        assert_eq!(check("10.0.0.3", Some(&json!({"spec": {"clusterIP": "10.0.0.3"}}))), None);
        assert!(check("10.1.0.3", None).unwrap().contains("is not in the valid range"));
    }

    #[test]
    fn node_ports_are_kept_by_port_and_protocol() {
        let old = json!({"spec": {"type": "NodePort", "clusterIP": "10.0.0.3", "clusterIPs": ["10.0.0.3"],
            "ports": [{"port": 80, "protocol": "TCP", "nodePort": 30001}]}});
        let mut new = json!({"spec": {"type": "NodePort", "ports": [{"port": 80}, {"port": 81}]}});
        carry_over(&old, &mut new);
        let mut allocations = small();
        claim(&mut allocations, &old);
        assert!(allocations.assign(&mut new, Some(&old), 1).is_empty());
        assert_eq!(
            new["spec"]["ports"],
            json!([{"port": 80, "nodePort": 30001}, {"port": 81, "nodePort": 30002}])
        );
        assert_eq!(new["spec"]["clusterIP"], "10.0.0.3");
    }
}
