//! What the index of the EndpointSlice controller costs: matching and planning of one event, start, memory.
//!
//! `cargo bench --bench endpoints_index [-- --services 10000 --pods 10]`: Services in one namespace with pods each. Every
//! Service selects by two labels, one of which all pods carry. Times are CPU time of the measuring thread. Writes are
//! taken as made.

mod support;

use std::collections::BTreeSet;
use std::hint::black_box;

use nix::sys::time::TimeValLike as _;
use nix::time::{ClockId, clock_gettime};
use ordinal::endpointslice::desired::labels;
use ordinal::endpointslice::index::{Index, Planned, Verdict};
use ordinal::endpointslice::model::{Labels, NodeView, PodView, ServiceView, SliceView};
use ordinal::endpointslice::narrow::from_json;
use ordinal::endpointslice::plan::{Content, Write, owner};
use ordinal::model::ObjectKey;
use serde_json::json;
use support::pods::{address, status};
use support::{argument, common, percentile};

const MAX: usize = 100;
const NODES: usize = 1000;

fn thread_time() -> f64 {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("Linux has it").num_nanoseconds() as f64
}

fn service(number: usize) -> ServiceView {
    let service = json!({
        "metadata": {"name": format!("web-{number}"), "namespace": "prod", "uid": format!("4d7f0f3e-0000-4000-8000-{number:012}"),
            "resourceVersion": "1"},
        "spec": {"clusterIP": "None", "ipFamilies": ["IPv4"], "selector": {"app": format!("web-{number}"), "part-of": "shop"},
            "ports": [{"name": "http", "port": 80, "targetPort": "http"}]},
    });
    from_json(service).expect("a Service").expect("means something")
}

/// `turn`: a number that makes the pod another one.
fn pod(service: usize, number: usize, turn: usize, ready: bool) -> PodView {
    let mut pod = json!({
        "metadata": {"name": format!("web-{service}-{number}"), "namespace": "prod", "uid": format!("7c1e9c52-{turn:04x}-4000-8000-{:012}", service * 100_000 + number),
            "resourceVersion": "1",
            "labels": {"app": format!("web-{service}"), "part-of": "shop", "controller-revision-hash": "web-7c9d8b5f6d"}},
        "spec": {"nodeName": format!("node-{}", number % NODES), "hostname": format!("web-{service}-{number}"), "subdomain": format!("web-{service}"),
            "containers": [{"name": "c", "image": "i", "ports": [{"name": "http", "containerPort": 8080}]}]},
    });
    pod["status"] = status(service * 10 + number, ready)["status"].clone();
    pod["status"]["podIPs"] = json!([{ "ip": address(service * 10 + number) }]);
    from_json(pod).expect("a Pod").expect("means something")
}

fn node(number: usize) -> NodeView {
    let zone = format!("zone-{}", number % 3);
    let node = json!({
        "metadata": {"name": format!("node-{number}"), "labels": {"topology.kubernetes.io/zone": zone}},
        "status": {"allocatable": {"cpu": "4"}, "conditions": [{"type": "Ready", "status": "True"}]},
    });
    from_json(node).expect("a Node").expect("means something")
}

/// The slice as the API server answers with.
fn stored(service: &ServiceView, content: Content, serial: usize) -> SliceView {
    SliceView {
        key: ObjectKey::new("prod", format!("{}-{serial:06x}", service.key.name)),
        uid: format!("90e0d1f2-0000-4000-8000-{serial:012}"),
        version: serial.to_string(),
        service: service.key.name.clone(),
        labels: labels(service).into_iter().collect(),
        annotations: Labels::default()
            .with("endpoints.kubernetes.io/last-change-trigger-time", "2026-01-01T00:00:00Z"),
        finalizers: Vec::new(),
        owners: vec![owner(service)],
        terminating: false,
        family: Some(content.family),
        ports: content.ports,
        endpoints: content.endpoints,
    }
}

/// Takes the writes of a plan as made, slices that are updated included; those that were created.
fn take(index: &mut Index, planned: Planned, serial: &mut usize) -> Vec<SliceView> {
    let (service, key) = (&planned.service, &planned.service.key);
    let mut made = Vec::new();
    for write in planned.plan.writes {
        *serial += 1;
        match write {
            Write::Create(content) => {
                let view = stored(service, content, *serial);
                made.push(view.clone());
                index.wrote(key, view);
            }
            Write::Update(slice, content) => {
                let view = stored(service, content, *serial);
                index.wrote(key, SliceView { key: slice.key.clone(), uid: slice.uid.clone(), ..view });
            }
            Write::Delete(slice) => index.buried(key, &slice),
        }
    }
    made
}

/// Plans a Service and takes its writes as made; how many there were.
fn settle(index: &mut Index, key: &ObjectKey, serial: &mut usize, made: &mut Vec<SliceView>) -> usize {
    let Some(planned) = index.plan(key, MAX) else { return 0 };
    let count = planned.plan.writes.len();
    made.extend(take(index, planned, serial));
    index.published(key);
    count
}

/// A list of pods; the Services to look at.
fn list(index: &mut Index, views: Vec<PodView>) -> BTreeSet<ObjectKey> {
    index.begin_pod_list();
    let mut wake = BTreeSet::new();
    for view in views {
        wake.extend(index.apply_pod(view).1);
    }
    wake.extend(index.end_pod_list());
    wake
}

fn main() {
    let (services, pods) = (argument("--services", 10_000), argument("--pods", 10));
    let resident = || common::resident_kib(std::process::id()) as f64 / 1024.0;
    let (mut index, mut serial) = (Index::default(), 0);
    index.replace_nodes((0..NODES).map(node).collect());
    let views = (0..services).map(service).collect();
    let before = thread_time();
    index.replace_services(views);
    let filled = thread_time() - before;
    let views: Vec<_> = (0..services * pods).map(|it| pod(it / pods, it % pods, 0, true)).collect();
    let empty = resident();
    let before = thread_time();
    let wake = list(&mut index, views);
    println!(
        "fill: {services} Services {:.0} ms, {} pods {:.0} ms",
        filled / 1e6,
        services * pods,
        (thread_time() - before) / 1e6
    );
    assert_eq!(wake.len(), services);
    let before = thread_time();
    let mut slices = Vec::new();
    let writes: usize = wake.iter().map(|it| settle(&mut index, it, &mut serial, &mut slices)).sum();
    println!(
        "first plan of all, taken as written: {:.0} ms, {writes} writes",
        (thread_time() - before) / 1e6
    );
    println!("resident: {:.0} MiB, {:.0} MiB before the pods were indexed", resident(), empty);

    // As after a restart: the same slices, known from the start.
    drop(index);
    let mut index = Index::default();
    index.replace_nodes((0..NODES).map(node).collect());
    index.replace_services((0..services).map(service).collect());
    list(&mut index, (0..services * pods).map(|it| pod(it / pods, it % pods, 0, true)).collect());
    index.replace_slices(slices);
    let before = thread_time();
    let writes: usize = wake.iter().map(|it| settle(&mut index, it, &mut serial, &mut Vec::new())).sum();
    println!("start-up plan of that state: {:.0} ms, {writes} writes", (thread_time() - before) / 1e6);
    assert_eq!(writes, 0, "what is right is left alone");

    for (what, kind) in
        [("a pod becomes unready", 0), ("a pod replaced by another", 1), ("a pod nobody selects", 2)]
    {
        let mut taken = Vec::new();
        for event in 0..20_000 {
            let (number, member) = (event * 7919 % services, event / services % pods);
            let mut view = pod(number, member, event + 1, kind != 0);
            if kind == 0 {
                view.uid = pod(number, member, 0, true).uid;
            }
            if kind == 2 {
                view = from_json(json!({"metadata": {"name": format!("x-{event}"), "namespace": "prod", "labels": {"part-of": "shop", "app": "x"}}}))
                    .expect("a Pod").expect("means something");
            }
            let before = thread_time();
            let (verdict, wake) = index.apply_pod(black_box(view));
            let plans: Vec<_> = wake.iter().filter_map(|it| index.plan(it, MAX)).collect();
            taken.push(thread_time() - before);
            assert_eq!(verdict == Verdict::Planned, kind != 2);
            for planned in plans {
                assert_eq!(planned.plan.writes.len(), 1);
                assert_eq!(take(&mut index, planned, &mut serial).len(), 0, "one slice changes");
            }
        }
        println!(
            "match and plan, {what}: p50 {:.1} us, p99 {:.1} us",
            percentile(&mut taken, 0.5) / 1e3,
            percentile(&mut taken, 0.99) / 1e3
        );
    }
}
