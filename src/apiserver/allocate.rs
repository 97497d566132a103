//! Cluster addresses and node ports of Services.
//!
//! The ledger follows commits (see `store`), so it never leaks and is rebuilt by replaying what is stored.
//! Source: kubernetes `pkg/registry/core/service/storage/alloc.go`.

use crate::apiserver::families::{self, Family};
use crate::apiserver::resources::Resource;
use crate::apiserver::validate::FieldError;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Node ports handed out, upstream's default range.
const NODE_PORTS: std::ops::RangeInclusive<u16> = 30_000..=32_767;
/// Addresses of a range that are looked at: 2 to the power of it.
const MOST_BITS: u8 = 20;

/// Addresses and ports in use, each with the number of claims on it.
#[derive(Debug)]
pub struct Allocations {
    ranges: Ranges,
    addresses: HashMap<IpAddr, usize>,
    node_ports: HashMap<u16, usize>,
}

/// Where cluster addresses come from.
#[derive(Debug, Clone, Copy)]
pub struct Ranges {
    /// The default family.
    pub v4: Ipv4Net,
    /// With it the server is dual-stack.
    pub v6: Option<Ipv6Net>,
}

impl Default for Ranges {
    /// 10.96.0.0/16.
    fn default() -> Self {
        Self { v4: Ipv4Net::new(Ipv4Addr::new(10, 96, 0, 0), 16).expect("16 is a prefix length"), v6: None }
    }
}

impl Ranges {
    /// 10.96.0.0/16 and fd00:10:96::/112.
    pub fn dual_stack() -> Self {
        let v6 = Ipv6Net::new(Ipv6Addr::new(0xfd00, 0x10, 0x96, 0, 0, 0, 0, 0), 112);
        Self { v6: Some(v6.expect("112 is a prefix length")), ..Self::default() }
    }

    fn families(&self) -> &'static [Family] {
        if self.v6.is_some() { &[Family::V4, Family::V6] } else { &[Family::V4] }
    }

    fn of(&self, family: Family) -> Option<IpNet> {
        match family {
            Family::V4 => Some(self.v4.into()),
            Family::V6 => self.v6.map(IpNet::from),
        }
    }
}

/// Whether allocations of a request are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Claim,
    Release,
}

impl Allocations {
    /// Nothing allocated from `ranges`.
    pub fn new(ranges: Ranges) -> Self {
        Self { ranges, addresses: HashMap::new(), node_ports: HashMap::new() }
    }

    /// The first usable address: that of default/kubernetes.
    pub fn first(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.ranges.v4.network()).saturating_add(1))
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
            for port in node_ports(object).into_iter().chain(health_check_port(object)) {
                count(&mut self.node_ports, port, step);
            }
        }
    }

    /// Gives `service` the families, addresses and ports its type calls for and it does not name itself. `held` is
    /// what it occupies already (its stored state), which it may keep. `random` picks where to look first.
    ///
    /// Nothing is recorded here: the commit of the service does that.
    pub fn assign(&self, service: &mut Value, held: Option<&Value>, random: u64) -> Vec<FieldError> {
        if !families::has_address(service) {
            return Vec::new();
        }
        let mut errors = families::settle(self.ranges.families(), held, service);
        if errors.is_empty() {
            errors = self.assign_addresses(service, held, random);
        }
        if errors.is_empty() {
            let kind = service["spec"]["type"].as_str().unwrap_or("ClusterIP").to_owned();
            self.assign_ports(service, held, &kind, random, &mut errors);
            self.assign_health_check(service, held, random, &mut errors);
        }
        errors
    }

    fn assign_addresses(&self, service: &mut Value, held: Option<&Value>, random: u64) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let mut listed = families::addresses(service);
        let held = held.filter(|it| families::has_address(it));
        let is_headless = |it: &[String]| it.first().is_some_and(|it| it == "None");
        if is_headless(&listed) || held.is_some_and(|it| is_headless(&families::addresses(it))) {
            return errors;
        }
        // Of an update only a second address can be new; what else it changes is refused by validation.
        let known = held.map_or(0, |it| families::families(it).len());
        if held.is_some_and(|it| families::stays(Some(it), service)) {
            return errors;
        }
        for (index, family) in families::families(service).into_iter().enumerate().skip(known) {
            let wanted = listed.get(index).cloned().unwrap_or_default();
            let found = match wanted.parse() {
                Ok(address) => self.take(family, address).map(|()| address),
                Err(_) => self.free_address(family, random).ok_or_else(|| "range is full".to_owned()),
            };
            match found {
                Ok(address) if index < listed.len() => listed[index] = address.to_string(),
                Ok(address) => listed.push(address.to_string()),
                Err(why) => {
                    let which = if wanted.is_empty() { String::new() } else { format!(" {wanted}") };
                    let detail = format!("failed to allocate IP{which}: {why}");
                    errors.push(FieldError::invalid(
                        "spec.clusterIPs",
                        json!(families::addresses(service)),
                        detail,
                    ));
                    return errors;
                }
            }
        }
        if let (Some(first), Some(spec)) = (listed.first().cloned(), service["spec"].as_object_mut()) {
            spec.insert("clusterIP".to_owned(), first.into());
            spec.insert("clusterIPs".to_owned(), json!(listed));
        }
        errors
    }

    /// Whether a named address can be had; why not.
    fn take(&self, family: Family, address: IpAddr) -> Result<(), String> {
        let Some(range) = self.ranges.of(family) else {
            return Err(format!("{} is not configured on this cluster", family.name()));
        };
        if !usable(range, address) {
            return Err(format!(
                "the provided IP ({address}) is not in the valid range. The range of valid IPs is {range}"
            ));
        }
        if self.addresses.contains_key(&address) {
            return Err("provided IP is already allocated".to_owned());
        }
        Ok(())
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
        let mut asked = HashSet::new();
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
                match self.free_port(random, &taken) {
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
            // One number may serve two protocols, but none twice.
            if !asked.insert((wanted, port["protocol"].as_str().unwrap_or("TCP").to_owned())) {
                errors.push(FieldError::invalid(field, wanted, "provided port is already allocated"));
                continue;
            }
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

    fn free_port(&self, random: u64, taken: &[u16]) -> Option<u16> {
        let span = u64::from(NODE_PORTS.end() - NODE_PORTS.start()) + 1;
        (0..span)
            .map(|step| NODE_PORTS.start() + u16::try_from(random.wrapping_add(step) % span).unwrap_or(0))
            .find(|it| !self.node_ports.contains_key(it) && !taken.contains(it))
    }

    /// The port where nodes tell a balancer whether they have endpoints.
    fn assign_health_check(
        &self,
        service: &mut Value,
        held: Option<&Value>,
        random: u64,
        errors: &mut Vec<FieldError>,
    ) {
        if !has_health_check(service) {
            return;
        }
        let field = "spec.healthCheckNodePort";
        let wanted = service["spec"]["healthCheckNodePort"].as_u64().unwrap_or(0);
        if wanted == 0 {
            match self.free_port(random, &node_ports(service)) {
                Some(free) => service["spec"]["healthCheckNodePort"] = free.into(),
                None => errors.push(FieldError::invalid(field, 0, "range is full")),
            }
            return;
        }
        let port = u16::try_from(wanted).unwrap_or(0);
        if self.node_ports.contains_key(&port) && held.and_then(health_check_port) != Some(port) {
            errors.push(FieldError::invalid(field, wanted, "provided port is already allocated"));
        }
    }

    fn free_address(&self, family: Family, random: u64) -> Option<IpAddr> {
        let range = self.ranges.of(family)?;
        let bits = range.max_prefix_len() - range.prefix_len();
        // As many as anybody may need, also of a range of IPv6.
        let size = 1u64 << bits.min(MOST_BITS);
        let is_free = |it: &IpAddr| {
            usable(range, *it) && *it != IpAddr::V4(self.first()) && !self.addresses.contains_key(it)
        };
        (0..size).map(|step| nth(range, random.wrapping_add(step) % size)).find(is_free)
    }
}

/// The address so many above the network's own.
fn nth(range: IpNet, number: u64) -> IpAddr {
    match range {
        IpNet::V4(it) => {
            let number = u32::try_from(number).unwrap_or(u32::MAX);
            Ipv4Addr::from(u32::from(it.network()).saturating_add(number)).into()
        }
        IpNet::V6(it) => Ipv6Addr::from(u128::from(it.network()).saturating_add(number.into())).into(),
    }
}

/// Neither the network itself nor its broadcast address.
fn usable(range: IpNet, address: IpAddr) -> bool {
    range.contains(&address) && address != range.network() && address != range.broadcast()
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

/// Cluster addresses a service occupies.
fn addresses(service: &Value) -> Vec<IpAddr> {
    if !families::has_address(service) {
        return Vec::new();
    }
    let mut all: Vec<IpAddr> = families::addresses(service).iter().filter_map(|it| it.parse().ok()).collect();
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

/// The port for health checks that a service occupies.
fn health_check_port(service: &Value) -> Option<u16> {
    service["spec"]["healthCheckNodePort"]
        .as_u64()
        .and_then(|it| u16::try_from(it).ok())
        .filter(|it| *it != 0)
}

/// Whether its type has node ports.
fn has_node_ports(service: &Value) -> bool {
    matches!(service["spec"]["type"].as_str(), Some("NodePort" | "LoadBalancer"))
}

/// Whether a balancer asks it for its health on a port of its own.
fn has_health_check(service: &Value) -> bool {
    service["spec"]["type"] == "LoadBalancer" && service["spec"]["externalTrafficPolicy"] == "Local"
}

/// Fills what an update leaves out from the stored service: addresses and ports once given.
///
/// Source: `patchAllocatedValues`. Ports are told by their names; one that moved to another name is not given twice.
pub fn carry_over(old: &Value, new: &mut Value) {
    if !new["spec"].is_object() {
        return;
    }
    families::normalize(Some(old), new);
    if has_node_ports(old) && has_node_ports(new) {
        let used = node_ports(new);
        let old_ports = old["spec"]["ports"].as_array().cloned().unwrap_or_default();
        for port in new["spec"]["ports"].as_array_mut().into_iter().flatten() {
            if port["nodePort"].as_u64().unwrap_or(0) != 0 {
                continue;
            }
            let name = port["name"].as_str().unwrap_or_default();
            let same = old_ports.iter().rev().find(|it| it["name"].as_str().unwrap_or_default() == name);
            let number = same.and_then(|it| it["nodePort"].as_u64()).and_then(|it| u16::try_from(it).ok());
            if let Some(number) = number.filter(|it| !used.contains(it)) {
                port["nodePort"] = number.into();
            }
        }
    }
    let number = |it: &Value| it["spec"]["healthCheckNodePort"].as_u64().unwrap_or(0);
    if has_health_check(old) && has_health_check(new) && number(new) == 0 && number(old) != 0 {
        new["spec"]["healthCheckNodePort"] = number(old).into();
    }
}

/// Takes away what the new type has no use for, if the client has not changed it.
///
/// Source: `dropTypeDependentFields`.
pub fn drop_leftovers(old: &Value, new: &mut Value) {
    let same = |new: &Value, field: &str| new["spec"].get(field) == old["spec"].get(field);
    let mut gone = Vec::new();
    if families::has_address(old) && !families::has_address(new) {
        if same(new, "clusterIPs") {
            gone.extend(["clusterIP", "clusterIPs"]);
        }
        gone.extend(["ipFamilies", "ipFamilyPolicy"].into_iter().filter(|it| same(new, it)));
    }
    if has_health_check(old) && !has_health_check(new) && same(new, "healthCheckNodePort") {
        gone.push("healthCheckNodePort");
    }
    if old["spec"]["type"] == "LoadBalancer" && new["spec"]["type"] != "LoadBalancer" {
        let fields = ["allocateLoadBalancerNodePorts", "loadBalancerClass"];
        gone.extend(fields.into_iter().filter(|it| same(new, it)));
    }
    let is_reachable = |it: &Value| {
        let has_addresses = it["spec"]["externalIPs"].as_array().is_some_and(|it| !it.is_empty());
        has_node_ports(it) || it["spec"]["type"] == "ClusterIP" && has_addresses
    };
    if is_reachable(old) && !is_reachable(new) && same(new, "externalTrafficPolicy") {
        gone.push("externalTrafficPolicy");
    }
    if has_node_ports(old) && !has_node_ports(new) && node_ports(old) == node_ports(new) {
        for port in new["spec"]["ports"].as_array_mut().into_iter().flatten() {
            if let Some(port) = port.as_object_mut() {
                port.remove("nodePort");
            }
        }
    }
    if let Some(spec) = new["spec"].as_object_mut() {
        spec.retain(|name, _| !gone.contains(&name.as_str()));
    }
    if new["spec"]["type"] != "LoadBalancer"
        && let Some(status) = new["status"].as_object_mut()
    {
        status.insert("loadBalancer".to_owned(), json!({}));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apiserver::resources;

    fn small() -> Allocations {
        Allocations::new(Ranges { v4: "10.0.0.0/29".parse().unwrap(), v6: None })
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
        let held =
            json!({"spec": {"clusterIP": "10.0.0.3", "clusterIPs": ["10.0.0.3"], "ipFamilies": ["IPv4"]}});
        claim(&mut allocations, &held);
        let check = |address: &str, held: Option<&Value>| {
            let mut service = json!({"spec": {"clusterIP": address}});
            families::normalize(None, &mut service);
            allocations.assign(&mut service, held, 0).first().map(ToString::to_string)
        };
        assert_eq!(check("10.0.0.1", None), None);
        assert_eq!(check("None", None), None);
        assert_eq!(
            check("10.0.0.3", None).unwrap(),
            r#"spec.clusterIPs: Invalid value: ["10.0.0.3"]: failed to allocate IP 10.0.0.3: provided IP is already allocated"#
        );
        assert_eq!(check("10.0.0.3", Some(&held)), None);
        assert!(check("10.1.0.3", None).unwrap().contains("is not in the valid range"));
    }

    #[test]
    fn health_checks_have_a_port_of_their_own() {
        let mut allocations = small();
        let balancer = |port: u16| {
            json!({"spec": {"type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": port,
                "ports": [{"port": 80, "nodePort": 30000}]}})
        };
        let mut service = balancer(0);
        assert!(allocations.assign(&mut service, None, 0).is_empty());
        assert_eq!(service["spec"]["healthCheckNodePort"], 30_001);
        claim(&mut allocations, &service);
        let mut other = balancer(30_001);
        other["spec"]["ports"][0]["nodePort"] = 30_002.into();
        let errors = allocations.assign(&mut other.clone(), None, 0);
        assert_eq!(
            errors[0].to_string(),
            "spec.healthCheckNodePort: Invalid value: 30001: provided port is already allocated"
        );
        assert!(allocations.assign(&mut service.clone(), Some(&service), 0).is_empty(), "it keeps its own");
    }

    #[test]
    fn two_families() {
        let ranges =
            Ranges { v4: "10.0.0.0/29".parse().unwrap(), v6: Some("fd00:10:96::/112".parse().unwrap()) };
        let mut allocations = Allocations::new(ranges);
        let mut old = json!({"spec": {"type": "ClusterIP", "ipFamilyPolicy": "SingleStack"}});
        assert!(allocations.assign(&mut old, None, 0).is_empty());
        assert_eq!(old["spec"]["clusterIPs"], json!(["10.0.0.2"]));
        claim(&mut allocations, &old);
        let mut new = old.clone();
        new["spec"]["ipFamilyPolicy"] = "PreferDualStack".into();
        assert!(allocations.assign(&mut new, Some(&old), 0).is_empty());
        assert_eq!(new["spec"]["clusterIPs"], json!(["10.0.0.2", "fd00:10:96::1"]));
        let services = resources::find("", "v1", "services").unwrap();
        allocations.replace(services, Some(&old), Some(&new));
        let mut back = new.clone();
        back["spec"]["ipFamilyPolicy"] = "SingleStack".into();
        assert!(allocations.assign(&mut back, Some(&new), 0).is_empty());
        assert_eq!(back["spec"]["clusterIPs"], json!(["10.0.0.2"]));
        allocations.replace(services, Some(&new), Some(&back));
        let mut six = json!({"spec": {"ipFamilies": ["IPv6"]}});
        assert!(allocations.assign(&mut six, None, 0).is_empty());
        assert_eq!(six["spec"]["clusterIP"], "fd00:10:96::1", "it was given back");
    }

    #[test]
    fn node_ports_are_kept_by_name() {
        let old = json!({"spec": {"type": "NodePort", "clusterIP": "10.0.0.3", "clusterIPs": ["10.0.0.3"],
            "ipFamilies": ["IPv4"], "ports": [{"name": "a", "port": 80, "protocol": "TCP", "nodePort": 30001}]}});
        let mut new = json!({"spec": {"type": "NodePort", "ports": [{"name": "a", "port": 80}, {"name": "b", "port": 81}]}});
        carry_over(&old, &mut new);
        let mut allocations = small();
        claim(&mut allocations, &old);
        assert!(allocations.assign(&mut new, Some(&old), 1).is_empty());
        assert_eq!(
            new["spec"]["ports"],
            json!([{"name": "a", "port": 80, "nodePort": 30001}, {"name": "b", "port": 81, "nodePort": 30002}])
        );
        assert_eq!(new["spec"]["clusterIP"], "10.0.0.3");
    }
}
