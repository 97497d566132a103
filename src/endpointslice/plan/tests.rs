//! The worked cases of slice packing, and make-before-break.

use serde_json::json;

use std::collections::HashSet;

use super::*;
use crate::endpointslice::model::{Conditions, Labels, Port, Target};
use crate::endpointslice::narrow::from_json;
use crate::model::ObjectKey;

fn service() -> ServiceView {
    from_json(json!({
        "metadata": {"name": "web", "namespace": "demo", "uid": "s"},
        "spec": {"selector": {"app": "web"}, "clusterIP": "None", "ipFamilies": ["IPv4"]},
    }))
    .unwrap()
    .unwrap()
}

fn endpoint(number: usize) -> Endpoint {
    let name = format!("web-{number}");
    Endpoint {
        addresses: vec![format!("10.0.{}.{}", number / 250, number % 250)],
        conditions: Conditions { ready: Some(true), serving: Some(true), terminating: Some(false) },
        hostname: Some(name.clone()),
        target: Some(Target { namespace: "demo".into(), name, uid: "u".into() }),
        node_name: Some("sim-0".into()),
        zone: None,
        hints: None,
        foreign: false,
    }
}

fn port(number: i32) -> PortSet {
    if number == 0 {
        return PortSet::new();
    }
    vec![Port { name: "web".into(), protocol: "TCP".into(), port: number, app_protocol: None }]
}

/// Name, slices there are, desired pods by port, and the plan as [`show`] prints it.
type Case = (&'static str, Vec<Arc<SliceView>>, Vec<(i32, Vec<usize>)>, &'static str);

fn slice(name: &str, number: i32, members: impl IntoIterator<Item = usize>) -> Arc<SliceView> {
    let service = service();
    Arc::new(SliceView {
        key: ObjectKey::new("demo", name),
        uid: name.to_owned(),
        version: "1".into(),
        service: "web".into(),
        labels: labels(&service).into_iter().collect(),
        annotations: Labels::default(),
        finalizers: Vec::new(),
        owners: vec![owner(&service)],
        terminating: false,
        family: Some(Family::V4),
        ports: port(number),
        endpoints: members.into_iter().map(|it| Arc::new(endpoint(it))).collect(),
    })
}

/// Slices of these sizes, holding pods 0.. in turn, on port 80.
fn slices(sizes: &[usize]) -> Vec<Arc<SliceView>> {
    let mut next = 0;
    let mut slices = Vec::new();
    for (at, size) in sizes.iter().enumerate() {
        slices.push(slice(&format!("s{at}"), 80, next..next + size));
        next += size;
    }
    slices
}

fn wanted(groups: &[(i32, Vec<usize>)]) -> Vec<Desired> {
    let groups = groups.iter().filter(|it| !it.1.is_empty());
    let groups =
        groups.map(|(number, pods)| (port(*number), pods.iter().map(|it| Arc::new(endpoint(*it))).collect()));
    vec![Desired { family: Family::V4, groups: groups.collect() }]
}

/// `+n` create, `name=n` update, `-name` delete, with the number of endpoints.
fn show(writes: &[Write]) -> String {
    let text = |it: &Write| match it {
        Write::Create(content) => format!("+{}", content.endpoints.len()),
        Write::Update(slice, content) => format!("{}={}", slice.key.name, content.endpoints.len()),
        Write::Delete(slice) => format!("-{}", slice.key.name),
    };
    writes.iter().map(text).collect::<Vec<_>>().join(" ")
}

/// Applies the writes one by one and checks after each that no desired pod vanished; returns the slices at the end.
fn apply(existing: &[Arc<SliceView>], writes: &[Write], desired: &[Desired]) -> Vec<Arc<SliceView>> {
    let mut slices = existing.to_vec();
    let names = |slices: &[Arc<SliceView>]| -> HashSet<String> {
        let endpoints = slices.iter().flat_map(|it| it.endpoints.iter());
        endpoints.filter_map(|it| it.hostname.clone()).collect()
    };
    let before = names(existing);
    let desired = desired.iter().flat_map(|it| it.groups.values().flatten());
    let continuous: HashSet<_> =
        desired.filter_map(|it| it.hostname.clone()).filter(|it| before.contains(it)).collect();
    for (at, write) in writes.iter().enumerate() {
        let stored = |name: &str, content: &Content| {
            Arc::new(SliceView {
                ports: content.ports.clone(),
                endpoints: content.endpoints.clone(),
                ..(*slice(name, 0, [])).clone()
            })
        };
        match write {
            Write::Create(content) => slices.push(stored(&format!("new{at}"), content)),
            Write::Update(old, content) => {
                slices.retain(|it| it.key != old.key);
                slices.push(stored(&old.key.name, content));
            }
            Write::Delete(old) => slices.retain(|it| it.key != old.key),
        }
        let now = names(&slices);
        let missing: Vec<_> = continuous.difference(&now).collect();
        assert!(missing.is_empty(), "{missing:?} vanished after write {at} of {}", show(writes));
    }
    slices
}

/// The writes of a plan from scratch.
fn plan(service: &ServiceView, existing: &[Arc<SliceView>], desired: &[Desired], max: usize) -> Vec<Write> {
    super::plan(service, existing, desired, max, &ZoneShares::default()).writes
}

fn check(why: &str, existing: &[Arc<SliceView>], desired: &[Desired], max: usize) -> Vec<Write> {
    let writes = plan(&service(), existing, desired, max);
    let after = apply(existing, &writes, desired);
    assert_eq!(show(&plan(&service(), &after, desired, max)), "", "{why}: one plan reaches the goal");
    writes
}

#[test]
fn packing() {
    let up_to = |count: usize| (0..count).collect::<Vec<_>>();
    // 80 + 20 with one pod gone from each, and 15 new ones.
    let touched: Vec<_> = (1..80).chain(81..100).chain(100..115).collect();
    #[rustfmt::skip]
    let cases: Vec<Case> = vec![
        ("nothing there: a placeholder",           vec![],                    vec![],                   "+0"),
        ("a placeholder is kept",                  vec![slice("p", 0, [])],   vec![],                   ""),
        ("a second placeholder goes",              vec![slice("p", 0, []), slice("q", 0, [])], vec![],  "-q"),
        ("the placeholder becomes the first slice", vec![slice("p", 0, [])],  vec![(80, up_to(3))],     "p=3"),
        ("also without ports",                     vec![slice("p", 0, [])],   vec![(0, up_to(3))],      "p=3"),
        ("the last endpoint leaves a placeholder", slices(&[1]),              vec![],                   "s0=0"),
        ("250 new pods",                           vec![],                    vec![(80, up_to(250))],   "+100 +100 +50"),
        ("62 + 61, 250 pods: best fit",            slices(&[62, 61]),         vec![(80, up_to(250))],   "+100 s0=89"),
        ("74 + 74, 300 pods: none takes the rest", slices(&[74, 74]),         vec![(80, up_to(300))],   "+100 +52"),
        ("ten slices of 30 stay as they are",      slices(&[30; 10]),         vec![(80, up_to(300))],   ""),
        ("a new port repacks them in place",       slices(&[30; 10]),         vec![(81, up_to(300))],   "s0=100 s1=100 s2=100 -s3 -s4 -s5 -s6 -s7 -s8 -s9"),
        ("full slices and one with the rest",      slices(&[62, 61]),         vec![(81, up_to(123))],   "s0=100 s1=23"),
        ("new ones fill touched slices",           slices(&[80, 20]),         vec![(80, touched)],      "s0=94 s1=19"),
        ("an emptied slice goes",                  slices(&[2, 2]),           vec![(80, vec![0, 1])],   "-s1"),
        ("port sets have slices of their own",     slices(&[2]),              vec![(80, vec![0]), (81, vec![1])], "+1 s0=1"),
    ];
    for (why, existing, groups, want) in cases {
        let writes = check(why, &existing, &wanted(&groups), 100);
        assert_eq!(show(&writes), want, "{why}");
    }
}

#[test]
fn new_endpoints_go_first_into_the_fullest_touched_slice() {
    // Touched: 78 (pods 0 and 1 gone, 80) and 19; 22 fill the first, the rest the second.
    let pods: Vec<_> = (2..80).chain(81..100).chain(100..130).collect();
    assert_eq!(show(&check("", &slices(&[80, 20]), &wanted(&[(80, pods)]), 100)), "s0=100 s1=27");
}

#[test]
fn content_labels_and_owner_are_healed() {
    let change = |edit: fn(&mut SliceView)| {
        let mut changed = (*slice("a", 80, 0..2)).clone();
        edit(&mut changed);
        show(&plan(&service(), &[Arc::new(changed)], &wanted(&[(80, vec![0, 1])]), 100))
    };
    assert_eq!(change(|_| ()), "");
    assert_eq!(change(|it| it.labels = it.labels.with("foreign", "x")), "a=2");
    assert_eq!(change(|it| Arc::make_mut(&mut it.endpoints[0]).conditions.ready = Some(false)), "a=2");
    assert_eq!(change(|it| Arc::make_mut(&mut it.endpoints[0]).foreign = true), "a=2");
    assert_eq!(change(|it| it.endpoints.reverse()), "", "order carries no meaning");
    assert_eq!(change(|it| it.endpoints.push(Arc::new(endpoint(0)))), "a=2", "a duplicate goes");
    assert_eq!(change(|it| it.annotations = it.annotations.with("foreign", "x")), "");
    assert_eq!(change(|it| it.owners[0].uid = "other".into()), "+2 -a", "never reused from another owner");
    assert_eq!(change(|it| it.family = None), "+2 -a", "another address type");
    assert_eq!(change(|it| it.terminating = true), "+2", "a slice on its way out does not count");
}

#[test]
fn a_service_on_its_way_out_gets_no_new_slice() {
    let service = ServiceView { terminating: true, ..service() };
    assert_eq!(show(&plan(&service, &slices(&[2]), &wanted(&[(80, vec![0]), (81, vec![1])]), 100)), "s0=1");
}

#[test]
fn a_pod_that_changes_slices_never_vanishes() {
    let before = [slice("a", 80, [0, 1]), slice("b", 81, [2, 3])];
    // 1 and 3 swap their ports: each slice waits for the other.
    let writes = check("swap", &before, &wanted(&[(80, vec![0, 3]), (81, vec![2, 1])]), 100);
    assert_eq!(show(&writes), "a=3 b=2 a=2");
    check("whole slices swap", &before, &wanted(&[(80, vec![2, 3]), (81, vec![0, 1])]), 100);
    check("one moves", &before, &wanted(&[(80, vec![0]), (81, vec![1, 2, 3])]), 100);
    let full = [slice("a", 80, 0..3), slice("b", 81, 3..6)];
    let writes =
        check("full slices swap members", &full, &wanted(&[(80, vec![0, 1, 5]), (81, vec![3, 4, 2])]), 3);
    assert_eq!(show(&writes), "+3 b=3 -a", "never more than the maximum, not even for a moment");
    check("small slices", &slices(&[3, 3, 3, 3]), &wanted(&[(81, (0..12).collect())]), 5);
}

#[test]
fn slices_that_are_written_for_their_labels_take_the_new_ones() {
    let mut existing = slices(&[80, 20]);
    for slice in &mut existing {
        let labels = slice.labels.with("stray", "x");
        Arc::make_mut(slice).labels = labels;
    }
    assert_eq!(show(&check("", &existing, &wanted(&[(80, (0..115).collect())]), 100)), "s0=95 s1=20");
}

#[test]
fn hints_come_and_go_with_the_traffic_distribution() {
    let hinted = |zone: &str| {
        let mut slice = (*slice("a", 80, 0..2)).clone();
        for endpoint in &mut slice.endpoints {
            let endpoint = Arc::make_mut(endpoint);
            let hints =
                crate::endpointslice::model::Hints { zones: vec![zone.to_owned()], nodes: Vec::new() };
            (endpoint.zone, endpoint.hints) = (Some("z".into()), Some(Box::new(hints)));
        }
        Arc::new(slice)
    };
    let plan_with = |topology, stored: Arc<SliceView>, ready: bool| {
        let service = ServiceView { topology, ..service() };
        let mut desired = wanted(&[(80, vec![0, 1])]);
        for endpoint in desired[0].groups.values_mut().flatten() {
            let endpoint = Arc::make_mut(endpoint);
            endpoint.zone = Some("z".into());
            endpoint.conditions.ready = Some(ready);
            endpoint.hints = hints::own(topology, ready, Some("z"), Some("sim-0"));
        }
        let mut stored = (*stored).clone();
        for endpoint in &mut stored.endpoints {
            Arc::make_mut(endpoint).conditions.ready = Some(ready);
        }
        show(&plan(&service, &[Arc::new(stored)], &desired, 100))
    };
    assert_eq!(plan_with(Topology::SameZone, hinted("z"), true), "");
    assert_eq!(plan_with(Topology::SameZone, hinted("y"), true), "a=2", "a wrong hint");
    assert_eq!(
        plan_with(Topology::SameZone, hinted("y"), false),
        "",
        "on endpoints that are not ready it stays"
    );
    assert_eq!(plan_with(Topology::SameNode, hinted("z"), true), "a=2", "the node is missing");
    assert_eq!(plan_with(Topology::Anywhere, hinted("z"), true), "a=2", "no hints any more");
}

proptest::proptest! {
    /// Writes of one plan: a slice that changes costs one, and new endpoints beyond the room there one for each full slice.
    #[test]
    fn a_plan_costs_no_more_than_the_bound(
        sizes in proptest::collection::vec(1..6_usize, 0..8),
        gone in proptest::collection::vec(proptest::bool::weighted(0.2), 48),
        new in 0..20_usize,
        max in 5..8_usize,
    ) {
        let existing = slices(&sizes);
        let before: usize = sizes.iter().sum();
        let mut pods: Vec<usize> = (0..before).filter(|it| !gone[*it]).collect();
        pods.extend(before..before + new);
        let touched: Vec<_> = existing
            .iter()
            .filter(|it| it.endpoints.iter().any(|it| !pods.iter().any(|pod| endpoint(*pod).addresses == it.addresses)))
            .collect();
        let left = |slice: &SliceView| {
            let stays = |it: &&Arc<Endpoint>| pods.iter().any(|pod| endpoint(*pod).addresses == it.addresses);
            slice.endpoints.iter().filter(stays).count()
        };
        let room: usize = touched.iter().map(|it| left(it)).filter(|it| *it > 0).map(|it| max - it).sum();
        let writes = check("bound", &existing, &wanted(&[(80, pods)]), max);
        let bound = touched.len() + new.saturating_sub(room).div_ceil(max);
        proptest::prop_assert!(writes.len() <= bound.max(1), "{} of {bound}: {}", writes.len(), show(&writes));
        if touched.is_empty() && new == 0 && before > 0 {
            proptest::prop_assert_eq!(writes.len(), 0);
        }
    }

    #[test]
    fn any_state_reaches_the_goal_in_one_plan_without_a_gap(
        before in proptest::collection::vec((0..12_usize, 0..4_usize, 80..83_i32), 0..20),
        after in proptest::collection::vec((0..12_usize, 80..83_i32), 0..12),
        max in 1..5_usize,
    ) {
        let mut existing: BTreeMap<(usize, i32), Vec<usize>> = BTreeMap::new();
        for (pod, at, number) in before {
            let members = existing.entry((at, number)).or_default();
            if members.len() < max && !members.contains(&pod) {
                members.push(pod);
            }
        }
        let existing: Vec<_> = existing
            .into_iter()
            .map(|((at, number), pods)| slice(&format!("s{at}-{number}"), number, pods))
            .collect();
        let pods: BTreeMap<usize, i32> = after.into_iter().collect();
        let group = |number: i32| (number, pods.iter().filter(|it| *it.1 == number).map(|it| *it.0).collect());
        let desired = wanted(&[group(80), group(81), group(82)]);
        let writes = check("random", &existing, &desired, max);
        let transitional = writes.len();
        for write in &writes {
            if let Write::Create(content) | Write::Update(_, content) = write {
                proptest::prop_assert!(content.endpoints.len() <= max, "{} writes", transitional);
            }
        }
    }
}
