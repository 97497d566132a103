//! Rows of Services, Endpoints and EndpointSlices.

use super::{AGE, Column, NAME, SELECTOR, created, labels, list, name, or_none, text_or};
use jiff::Timestamp;
use serde_json::Value;

/// How many endpoints or ports a cell names before it counts the rest.
const SHOWN: usize = 3;

pub const SERVICE: &[Column] = &[
    NAME,
    Column::text("Type", "How the service is exposed."),
    Column::text("Cluster-IP", "Virtual address, None for headless services."),
    Column::text("External-IP", "Addresses outside the cluster."),
    Column::text("Port(s)", "Ports and node ports."),
    AGE,
    SELECTOR,
];
pub const ENDPOINTS: &[Column] =
    &[NAME, Column::text("Endpoints", "Addresses and ports that are ready."), AGE];
pub const ENDPOINT_SLICE: &[Column] = &[
    NAME,
    Column::text("AddressType", "IPv4, IPv6 or FQDN."),
    Column::text("Ports", "Ports of every endpoint."),
    Column::text("Endpoints", "Addresses of the endpoints."),
    AGE,
];

pub fn service(object: &Value, now: Timestamp) -> Vec<Value> {
    let spec = &object["spec"];
    vec![
        name(object),
        text_or(&spec["type"], ""),
        match list(&spec["clusterIPs"]).first() {
            Some(first) => text_or(first, "<none>"),
            None => text_or(&spec["clusterIP"], "<none>"),
        },
        external_ip(object).into(),
        ports(list(&spec["ports"])).into(),
        created(object, now),
        labels(&spec["selector"]).into(),
    ]
}

fn external_ip(object: &Value) -> String {
    let spec = &object["spec"];
    let texts = |value: &Value| -> Vec<String> {
        list(value).iter().filter_map(|it| it.as_str().map(str::to_owned)).collect()
    };
    let mut addresses = texts(&spec["externalIPs"]);
    match spec["type"].as_str().unwrap_or_default() {
        "ClusterIP" | "NodePort" => or_none(addresses.join(",")),
        "ExternalName" => spec["externalName"].as_str().unwrap_or_default().to_owned(),
        "LoadBalancer" => {
            let mut balanced: Vec<String> = list(&object["status"]["loadBalancer"]["ingress"])
                .iter()
                .filter_map(|it| it["ip"].as_str().or(it["hostname"].as_str()).map(str::to_owned))
                .collect();
            balanced.sort();
            balanced.append(&mut addresses);
            if balanced.is_empty() { "<pending>".to_owned() } else { balanced.join(",") }
        }
        _ => "<unknown>".to_owned(),
    }
}

fn ports(ports: &[Value]) -> String {
    let shown: Vec<String> = ports
        .iter()
        .map(|port| {
            let number = port["port"].as_i64().unwrap_or_default();
            let protocol = port["protocol"].as_str().unwrap_or("TCP");
            match port["nodePort"].as_i64().unwrap_or_default() {
                0 => format!("{number}/{protocol}"),
                node_port => format!("{number}:{node_port}/{protocol}"),
            }
        })
        .collect();
    or_none(shown.join(","))
}

fn first_few(all: &[String], absent: &str) -> String {
    if all.is_empty() {
        return absent.to_owned();
    }
    let shown = all[..all.len().min(SHOWN)].join(",");
    if all.len() > SHOWN { format!("{shown} + {} more...", all.len() - SHOWN) } else { shown }
}

pub fn endpoints(object: &Value, now: Timestamp) -> Vec<Value> {
    let mut all = Vec::new();
    for subset in list(&object["subsets"]) {
        let addresses = || list(&subset["addresses"]).iter().filter_map(|it| it["ip"].as_str());
        let ports = list(&subset["ports"]);
        if ports.is_empty() {
            all.extend(addresses().map(str::to_owned));
        }
        for port in ports {
            let port = port["port"].as_i64().unwrap_or_default();
            all.extend(
                addresses().map(|ip| {
                    if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
                }),
            );
        }
    }
    vec![name(object), first_few(&all, "<none>").into(), created(object, now)]
}

pub fn endpoint_slice(object: &Value, now: Timestamp) -> Vec<Value> {
    let ports: Vec<String> = list(&object["ports"])
        .iter()
        .map(|it| it["port"].as_i64().map_or_else(|| "*".to_owned(), |it| it.to_string()))
        .collect();
    let addresses: Vec<String> = list(&object["endpoints"])
        .iter()
        .flat_map(|it| list(&it["addresses"]))
        .filter_map(|it| it.as_str().map(str::to_owned))
        .collect();
    vec![
        name(object),
        text_or(&object["addressType"], ""),
        first_few(&ports, "<unset>").into(),
        first_few(&addresses, "<unset>").into(),
        created(object, now),
    ]
}
