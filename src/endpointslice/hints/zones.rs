//! Topology mode `Auto`: every zone gets endpoints in proportion to its CPUs.
//!
//! Source: kubernetes `staging/src/k8s.io/endpointslice/topologycache`. Upstream walks through maps in random order; here ties
//! go to the zone whose name comes first, so that the same cluster gets the same hints.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::ZoneShares;
use crate::endpointslice::model::{Endpoint, Hints};

/// How much more than its share an endpoint may have to bear.
const OVERLOAD: f64 = 0.2;

/// Why a family of a Service has no hints; the text of the event, without the address type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disabled(pub String);

struct Allocation {
    minimum: usize,
    maximum: usize,
    desired: f64,
}

/// Gives each ready endpoint of `written` its hint. `kept`: slices that are not written; the result names the positions of
/// those that have to be, with which `share_out` is then to be called again.
///
/// # Errors
/// No hints can be given; those there are have to go.
pub fn share_out(
    shares: &ZoneShares,
    written: &mut [&mut Arc<Endpoint>],
    kept: &[&[Arc<Endpoint>]],
) -> Result<Vec<usize>, Disabled> {
    let ready = |it: &[Arc<Endpoint>]| it.iter().filter(|it| it.is_ready()).count();
    let total =
        written.iter().filter(|it| it.is_ready()).count() + kept.iter().map(|it| ready(it)).sum::<usize>();
    let allocations = allocations(shares, total)?;
    let mut allocated: BTreeMap<String, usize> = BTreeMap::new();
    let mut stale = Vec::new();
    for (at, endpoints) in kept.iter().enumerate() {
        match sound_hints(endpoints, &allocated, &allocations) {
            Some(zones) => {
                for (zone, count) in zones {
                    *allocated.entry(zone).or_default() += count;
                }
            }
            None => stale.push(at),
        }
    }
    if !stale.is_empty() {
        return Ok(stale);
    }
    for endpoint in written.iter_mut() {
        let endpoint = Arc::make_mut(endpoint);
        endpoint.hints = None;
        if !endpoint.is_ready() {
            continue;
        }
        let Some(zone) = endpoint.zone.clone() else {
            return Err(Disabled("One or more endpoints do not have a zone specified".to_owned()));
        };
        *allocated.entry(zone.clone()).or_default() += 1;
        endpoint.hints = Some(Box::new(Hints { zones: vec![zone], nodes: Vec::new() }));
    }
    let (mut giving, mut receiving) = moves(&allocations, &allocated);
    for endpoint in written.iter_mut().filter(|it| it.is_ready()) {
        let Some(left) = endpoint.zone.as_ref().and_then(|it| giving.get_mut(it)).filter(|it| **it > 0)
        else {
            continue;
        };
        let Some((zone, wanted)) = receiving.iter_mut().find(|it| *it.1 > 0) else { break };
        let hints = Hints { zones: vec![zone.clone()], nodes: Vec::new() };
        Arc::make_mut(endpoint).hints = Some(Box::new(hints));
        *left -= 1;
        *wanted -= 1;
    }
    Ok(Vec::new())
}

fn allocations(shares: &ZoneShares, total: usize) -> Result<BTreeMap<String, Allocation>, Disabled> {
    let disabled = |text: &str| Err(Disabled(format!("{text} ({total} endpoints, {} zones)", shares.len())));
    if shares.is_empty() {
        let text =
            "Insufficient Node information: allocatable CPU or zone not specified on one or more nodes";
        return Err(Disabled(text.to_owned()));
    }
    if shares.len() > total {
        return disabled("Insufficient number of endpoints");
    }
    let mut allocations = BTreeMap::new();
    let mut minima = 0;
    for (zone, share) in shares.iter() {
        let desired = share * total as f64;
        let minimum = (desired / (1.0 + OVERLOAD)).ceil() as usize;
        minima += minimum;
        let allocation = Allocation { minimum, maximum: 0, desired: desired.max(minimum as f64) };
        allocations.insert(zone.to_owned(), allocation);
    }
    if minima > total {
        return disabled(
            "Unable to allocate minimum required endpoints to each zone without exceeding overload threshold",
        );
    }
    for allocation in allocations.values_mut() {
        allocation.maximum = allocation.minimum + total - minima;
    }
    Ok(allocations)
}

/// The hints of a slice by zone; `None` if one is missing, is for a zone without allocation, or exceeds a maximum.
fn sound_hints(
    endpoints: &[Arc<Endpoint>],
    allocated: &BTreeMap<String, usize>,
    allocations: &BTreeMap<String, Allocation>,
) -> Option<BTreeMap<String, usize>> {
    let mut zones: BTreeMap<String, usize> = BTreeMap::new();
    for endpoint in endpoints.iter().filter(|it| it.is_ready()) {
        let hints = endpoint.hints.as_ref().filter(|it| !it.zones.is_empty())?;
        for zone in &hints.zones {
            *zones.entry(zone.clone()).or_default() += 1;
        }
    }
    let fits = |(zone, count): (&String, &usize)| {
        let before = allocated.get(zone).copied().unwrap_or(0);
        allocations.get(zone).is_some_and(|it| count + before <= it.maximum)
    };
    zones.iter().all(fits).then_some(zones)
}

/// How many endpoints each zone gives to others, and how many each receives.
fn moves(
    allocations: &BTreeMap<String, Allocation>,
    allocated: &BTreeMap<String, usize>,
) -> (BTreeMap<String, usize>, BTreeMap<String, usize>) {
    let (mut surplus, mut deficit) = (BTreeMap::new(), BTreeMap::new());
    for (zone, allocation) in allocations {
        let balance = allocated.get(zone).copied().unwrap_or(0) as f64 - allocation.desired;
        if balance > 0.0 {
            surplus.insert(zone.clone(), balance);
        } else if balance < 0.0 {
            deficit.insert(zone.clone(), -balance);
        }
    }
    let most = |zones: &BTreeMap<String, f64>| {
        zones.iter().fold(None, |best: Option<(String, f64)>, (zone, amount)| match best {
            Some(best) if best.1 >= *amount => Some(best),
            _ => Some((zone.clone(), *amount)),
        })
    };
    let (mut giving, mut receiving) = (BTreeMap::new(), BTreeMap::new());
    while let (Some((from, give)), Some((to, take))) = (most(&surplus), most(&deficit)) {
        if (give < 1.0 && take < 1.0) || give < 0.5 || take < 0.5 {
            break;
        }
        *giving.entry(from.clone()).or_insert(0) += 1;
        *receiving.entry(to.clone()).or_insert(0) += 1;
        surplus.insert(from, give - 1.0);
        deficit.insert(to, take - 1.0);
    }
    (giving, receiving)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpointslice::model::{Conditions, NodeView};

    fn node(zone: &str, milli_cpu: i64) -> NodeView {
        NodeView {
            name: String::new(),
            zone: Some(zone.to_owned()).filter(|it| !it.is_empty()),
            ready: true,
            milli_cpu,
            control_plane: false,
        }
    }

    fn shares(nodes: &[(&str, i64)]) -> ZoneShares {
        let nodes: Vec<_> = nodes.iter().map(|(zone, cpu)| node(zone, *cpu)).collect();
        ZoneShares::of(nodes.iter())
    }

    /// One letter for each endpoint, its zone; lower case: not ready; `-`: without zone.
    fn endpoints(zones: &str) -> Vec<Arc<Endpoint>> {
        zones
            .chars()
            .map(|zone| {
                Arc::new(Endpoint {
                    addresses: Vec::new(),
                    conditions: Conditions {
                        ready: Some(!zone.is_lowercase()),
                        serving: None,
                        terminating: None,
                    },
                    hostname: None,
                    target: None,
                    node_name: None,
                    zone: Some(zone.to_uppercase().to_string()).filter(|it| it != "-"),
                    hints: None,
                    foreign: false,
                })
            })
            .collect()
    }

    fn show(shares: &ZoneShares, zones: &str) -> String {
        let mut endpoints = endpoints(zones);
        let mut written: Vec<_> = endpoints.iter_mut().collect();
        match share_out(shares, &mut written, &[]) {
            Ok(_) => endpoints
                .iter()
                .map(|it| it.hints.as_ref().map_or("-".to_owned(), |it| it.zones.join("+")))
                .collect(),
            Err(Disabled(why)) => why,
        }
    }

    #[test]
    fn endpoints_are_shared_out_by_cpus() {
        let even = shares(&[("A", 4000), ("B", 4000), ("C", 4000)]);
        #[rustfmt::skip]
        let cases = [
            ("each keeps its zone",                   "ABC",       "ABC"),
            ("a surplus goes where there is too little", "AAAABC",  "BCAABC"),
            ("not ready: no hint",                    "ABCa",      "ABC-"),
            ("fewer endpoints than zones",            "AB",        "Insufficient number of endpoints (2 endpoints, 3 zones)"),
            ("four over three zones cannot be fair",  "AABC",      "Unable to allocate minimum required endpoints to each zone without exceeding overload threshold (4 endpoints, 3 zones)"),
            ("an endpoint without zone",              "ABC-BC",    "One or more endpoints do not have a zone specified"),
        ];
        for (why, zones, want) in cases {
            assert_eq!(show(&even, zones), want, "{why}: {zones}");
        }
        assert_eq!(
            show(&shares(&[("A", 4000)]), "AA").split(':').next(),
            Some("Insufficient Node information")
        );
        assert!(shares(&[("A", 1), ("B", 1), ("", 1)]).is_empty(), "a node without zone");
        assert!(shares(&[("A", 1), ("B", 0)]).is_empty(), "a node without CPUs");
        assert_eq!(show(&shares(&[("A", 3000), ("B", 1000)]), "AABB"), "AAAB", "three to one");
    }

    #[test]
    fn slices_that_are_not_written_keep_sound_hints() {
        let even = shares(&[("A", 1), ("B", 1)]);
        let mut kept = endpoints("AB");
        let mut written = endpoints("AB");
        let mut slots: Vec<_> = written.iter_mut().collect();
        assert_eq!(share_out(&even, &mut slots, &[&kept]), Ok(vec![0]), "without hints it has to be written");
        for endpoint in &mut kept {
            let zones = endpoint.zone.iter().cloned().collect();
            Arc::make_mut(endpoint).hints = Some(Box::new(Hints { zones, nodes: Vec::new() }));
        }
        assert_eq!(share_out(&even, &mut slots, &[&kept]), Ok(Vec::new()));
        Arc::make_mut(&mut kept[0]).hints =
            Some(Box::new(Hints { zones: vec!["Z".to_owned()], nodes: Vec::new() }));
        assert_eq!(share_out(&even, &mut slots, &[&kept]), Ok(vec![0]), "a zone that is gone");
    }
}
