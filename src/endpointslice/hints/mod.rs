//! Hints: where traffic to an endpoint should come from.
//!
//! Pure. `trafficDistribution` needs nothing but the endpoint itself ([`own`]); the annotation `Auto` shares endpoints out
//! between zones and looks at all of a family ([`share_out`]).
//! Sources: KEP-4444, KEP-3015, KEP-2433; kubernetes `staging/src/k8s.io/endpointslice/{trafficdist,topologycache}`.

mod shares;
mod zones;

pub use shares::ZoneShares;
pub use zones::{Disabled, share_out};

use super::model::{Endpoint, Hints, Topology};

/// The hints that `trafficDistribution` gives an endpoint; `None` for one that is not ready, or has no zone.
pub fn own(topology: Topology, ready: bool, zone: Option<&str>, node: Option<&str>) -> Option<Box<Hints>> {
    let with_node = match topology {
        Topology::SameZone => false,
        Topology::SameNode => true,
        Topology::Anywhere | Topology::Auto => return None,
    };
    if !ready {
        return None;
    }
    let zones: Vec<_> = zone.map(str::to_owned).into_iter().collect();
    let nodes: Vec<_> = node.filter(|_| with_node).map(str::to_owned).into_iter().collect();
    (!zones.is_empty() || !nodes.is_empty()).then(|| Box::new(Hints { zones, nodes }))
}

/// Whether the hints of a stored endpoint have to be written anew although nothing else of it changed.
///
/// Wrong hints of an endpoint that is not ready cost no write: nobody follows them. With `Auto`, [`share_out`] decides.
pub fn differ(topology: Topology, wanted: &Endpoint, stored: &Endpoint) -> bool {
    match topology {
        Topology::Anywhere => stored.hints.is_some(),
        Topology::Auto => false,
        Topology::SameZone | Topology::SameNode => {
            let empty = Hints::default();
            let of = |it: &Endpoint| it.hints.as_deref().unwrap_or(&empty).clone();
            stored.is_ready() && of(wanted) != of(stored)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_traffic_distribution_gives() {
        let show = |topology, ready, zone| {
            let hints = own(topology, ready, zone, Some("n1"));
            hints.map_or("-".to_owned(), |it| format!("{:?}{:?}", it.zones, it.nodes))
        };
        #[rustfmt::skip]
        let cases = [
            ("unset: nothing",                     Topology::Anywhere, true,  Some("a"), "-"),
            ("the zone of the endpoint",           Topology::SameZone, true,  Some("a"), r#"["a"][]"#),
            ("its zone and its node",              Topology::SameNode, true,  Some("a"), r#"["a"]["n1"]"#),
            ("a node without zone: the node",      Topology::SameNode, true,  None,      r#"[]["n1"]"#),
            ("without zone there is none to hint", Topology::SameZone, true,  None,      "-"),
            ("not ready: nothing",                 Topology::SameNode, false, Some("a"), "-"),
        ];
        for (why, topology, ready, zone, want) in cases {
            assert_eq!(show(topology, ready, zone), want, "{why}");
        }
    }
}
