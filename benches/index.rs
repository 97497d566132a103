//! What the index of the DNS server costs: updates, lookups, start and memory, against their targets.
//!
//! `cargo bench --bench index` prints one table. Data come from a fixed seed: headless services of 10 pods in 20
//! namespaces, two named ports each, addresses in no order. Times are CPU time of the measuring thread, the median of
//! 7 rounds, so that other work on the machine counts little. Memory is the difference between child processes of this
//! program. Instructions per lookup come from `valgrind --tool=callgrind` if it is installed: more lookups minus fewer.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::time::TimeValLike;
use nix::time::{ClockId, clock_gettime};
use ordinal::dns::DnsConfig;
use ordinal::dns::config::{EndpointNames, Zones};
use ordinal::dns::index::{Change, Index};
use ordinal::dns::lookup::{Outcome, RrType, lookup};
use ordinal::dns::model::{
    Endpoint, Port, Protocol, Readiness, SeenAt, Selector, Service, ServiceKind, Slice,
};
use ordinal::dns::name::{Label, OwnerName, service_key};
use ordinal::dns::records::{EmptyServices, RecordRules, ServiceEntry, service_entry};
use ordinal::model::ObjectKey;

const ROUNDS: usize = 7;
const PODS: usize = 10;
const RULES: RecordRules =
    RecordRules { endpoint_names: EndpointNames::Hostname, empty_services: EmptyServices::Published };

fn main() {
    let args: Vec<String> = std::env::args().collect();
    if let Some(at) = args.iter().position(|it| it == "--child") {
        return child(&args[at + 1..]);
    }
    println!("{:66} {:>9} {:>9} {:>9}", "", "must", "stretch", "measured");
    let print = |what: &str, must: &str, stretch: &str, measured: String| {
        println!("{what:66} {must:>9} {stretch:>9} {measured:>9}");
    };
    let us = |nanos: f64| format!("{:.2} us", nanos / 1e3);
    print("P8  rebuild and publish 10 endpoints, 10k services loaded", "5 us", "2.5 us", us(update(PODS)));
    print("P9  the same for 1,000 endpoints", "150 us", "80 us", us(update(1000)));
    print("    the same for 10,000 endpoints", "", "", us(update(10_000)));
    print("P10 slow-down of lookups by 2,000 updates/s", "20 %", "10 %", format!("{:.1} %", slow_down()));
    print("P11 build the index of 100k endpoints", "100 ms", "50 ms", format!("{:.1} ms", build() / 1e6));
    let (small, large) = sizes();
    print("    lookup of a pod A in services of 10 pods", "", "", format!("{small:.0} ns"));
    print(
        "P14 pod A in a service of 10,000 pods / of 10 pods",
        "1.2",
        "1.1",
        format!("{:.2}", large / small),
    );
    for (kind, must) in [("pod", "350"), ("service", ""), ("srv", ""), ("missing", "")] {
        let measured = instructions(kind).map_or_else(|| "no tool".to_string(), |it| format!("{it:.0}"));
        print(&format!("    instructions of view and lookup, {kind}, 1,000 services"), must, "", measured);
    }
    let bytes = (resident(10_000) - resident(1)) as f64 * 1024.0 / (9_999 * PODS) as f64;
    print("    index bytes per endpoint, 100k endpoints", "", "101 B", format!("{bytes:.0} B"));
}

/// CPU time of one change in nanoseconds, with 10,000 services loaded: inputs to published entry. Every other change
/// moves an endpoint to a new address or back, the others make one not ready or ready.
fn update(pods: usize) -> f64 {
    let index = loaded(10_000, PODS);
    let count = 20_000 / pods.max(PODS);
    let services: Vec<usize> = if pods == PODS {
        (0..count).map(|it| it * 4 % 10_000).collect()
    } else {
        vec![20_000; count.max(8)]
    };
    for number in &services {
        index.update(vec![change(&service(*number), &slice(*number, pods))], 1);
    }
    let mut inputs: Vec<(Service, Slice)> = Vec::new();
    for (step, number) in services.iter().enumerate() {
        let mut slice = slice(*number, pods);
        let endpoint = &mut slice.endpoints[step * 7919 % pods];
        if step % 2 == 0 {
            endpoint.addresses = vec![address(1_000_000 + step)].into();
        } else {
            endpoint.readiness = Readiness::NotReady;
        }
        inputs.push((service(*number), slice));
    }
    median((0..ROUNDS).map(|round| {
        let back: Vec<(Service, Slice)> =
            services.iter().map(|it| (service(*it), slice(*it, pods))).collect();
        let began = cpu_time();
        for (service, slice) in &inputs {
            index.update(vec![change(service, slice)], 2 + round as u32);
        }
        let took = cpu_time() - began;
        for (service, slice) in &back {
            index.update(vec![change(service, slice)], 2 + round as u32);
        }
        took as f64 / inputs.len() as f64
    }))
}

/// By how many percent CPU time per lookup grows while 2,000 services a second change. Rounds with and without changes
/// alternate.
fn slow_down() -> f64 {
    let index = Arc::new(loaded(10_000, PODS));
    let zones = zones();
    let names = pod_names(10_000, PODS, 20_000);
    median((0..ROUNDS).map(|_| {
        let idle = lookups_for(&index, &zones, &names, Duration::from_millis(400));
        let stop = Arc::new(AtomicBool::new(false));
        let writer = std::thread::spawn({
            let (index, stop) = (index.clone(), stop.clone());
            move || updates(&index, &stop)
        });
        let busy = lookups_for(&index, &zones, &names, Duration::from_millis(400));
        stop.store(true, Ordering::Relaxed);
        let done = writer.join().expect("the writer ends");
        assert!(done > 500, "only {done} changes in 0.4 s");
        (busy / idle - 1.0) * 100.0
    }))
}

/// Changes 2,000 services a second until `stop`; returns how many.
#[allow(clippy::disallowed_methods, reason = "the bench paces its changes")]
fn updates(index: &Index, stop: &AtomicBool) -> usize {
    let began = Instant::now();
    let mut done = 0;
    while !stop.load(Ordering::Relaxed) {
        let number = done * 4799 % 10_000;
        let mut slice = slice(number, PODS);
        slice.endpoints[done % PODS].addresses = vec![address(1_000_000 + done)].into();
        index.update(vec![change(&service(number), &slice)], 3);
        done += 1;
        let due = Duration::from_micros(500 * done as u64);
        std::thread::sleep(due.saturating_sub(began.elapsed())); // allow-sleep: paces the load
    }
    done
}

/// CPU time of building an index of 10,000 services from their inputs, in nanoseconds.
fn build() -> f64 {
    let inputs: Vec<(Service, Slice)> = (0..10_000).map(|it| (service(it), slice(it, PODS))).collect();
    median((0..ROUNDS).map(|_| {
        let index = Index::new(0);
        let began = cpu_time();
        index.reset(namespaces(), inputs.iter().map(|(service, slice)| entry(service, slice)), 1);
        let took = cpu_time() - began;
        assert_eq!(index.sizes(), (10_000, 10_000 * PODS));
        took as f64
    }))
}

/// CPU time per lookup of 10,000 pod names: of 1,000 services, and of one.
fn sizes() -> (f64, f64) {
    let zones = zones();
    let small = (loaded(1_000, PODS), pod_names(1_000, PODS, 10_000));
    let large = (loaded(1, 10_000), pod_names(1, 10_000, 10_000));
    let time = |(index, names): &(Index, Vec<OwnerName>)| {
        lookups_for(index, &zones, names, Duration::from_millis(200))
    };
    let (mut of_small, mut of_large) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        of_small.push(time(&small));
        of_large.push(time(&large));
    }
    (median(of_small.into_iter()), median(of_large.into_iter()))
}

/// CPU time per lookup in nanoseconds, over at least `span`.
fn lookups_for(index: &Index, zones: &Zones, names: &[OwnerName], span: Duration) -> f64 {
    let (started, began) = (Instant::now(), cpu_time());
    let mut count = 0;
    while started.elapsed() < span {
        for name in names {
            ask(index, zones, name, RrType::A);
        }
        count += names.len();
    }
    (cpu_time() - began) as f64 / count as f64
}

fn ask(index: &Index, zones: &Zones, name: &OwnerName, rr_type: RrType) {
    let view = index.view();
    let answer = lookup(&view, zones, black_box(name.as_name()), rr_type);
    assert!(!matches!(black_box(&answer).outcome, Outcome::NotOurZone | Outcome::NotSynced));
}

/// Instructions per lookup, `None` without valgrind.
fn instructions(kind: &str) -> Option<f64> {
    let total = |count: usize| -> Option<f64> {
        let this = std::env::current_exe().expect("this program has a path");
        let mut command = Command::new("valgrind");
        command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(this);
        let output = command.args(["--child", "ask", kind, &count.to_string()]).output().ok()?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        text.lines().find_map(|it| it.split_once("Collected :"))?.1.trim().parse().ok()
    };
    Some((total(11_000)? - total(1_000)?) / 10_000.0)
}

/// Resident memory in KiB of a process that holds `services`.
fn resident(services: usize) -> i64 {
    let this = std::env::current_exe().expect("this program has a path");
    let output = Command::new(this).args(["--child", "hold", &services.to_string()]).output();
    let output = output.expect("a child process");
    String::from_utf8_lossy(&output.stdout).trim().parse().expect("a number of KiB")
}

fn child(args: &[String]) {
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["hold", services] => {
            let index = loaded(services.parse().expect("a number"), PODS);
            println!("{}", resident_kib());
            black_box(index);
        }
        ["ask", kind, count] => {
            let (index, zones) = (loaded(1_000, PODS), zones());
            let (names, rr_type) = match kind {
                "pod" => (pod_names(1_000, PODS, 1_000), RrType::A),
                "service" => (names(1_000, |it| format!("{}.", owner(it))), RrType::A),
                "srv" => (names(1_000, |it| format!("_http._tcp.{}.", owner(it))), RrType::SRV),
                "missing" => (names(1_000, |it| format!("db-99.{}.", owner(it))), RrType::A),
                other => panic!("no kind {other}"),
            };
            for at in 0..count.parse().expect("a number") {
                ask(&index, &zones, &names[at % names.len()], rr_type);
            }
        }
        ["change", pods, count] => {
            let (pods, count): (usize, usize) =
                (pods.parse().expect("a number"), count.parse().expect("a number"));
            let index = loaded(1_000, PODS);
            let (service, mut slice) = (service(20_000), slice(20_000, pods));
            for step in 0..count {
                slice.endpoints[step * 7919 % pods].addresses[0] = address(1_000_000 + step);
                index.update(vec![change(&service, &slice)], 2);
            }
        }
        ref other => panic!("no child {other:?}"),
    }
}

fn loaded(services: usize, pods: usize) -> Index {
    let index = Index::new(0);
    let entries = (0..services).map(|it| entry(&service(it), &slice(it, pods)));
    index.reset(namespaces(), entries, 1);
    index
}

fn entry(service: &Service, slice: &Slice) -> ServiceEntry {
    service_entry(service, &[slice], RULES).expect("a service with a name")
}

fn change(service: &Service, slice: &Slice) -> Change {
    let key = service_key(&service.key.name, &service.key.namespace).expect("a name");
    Change { key: key.into(), entry: service_entry(service, &[slice], RULES) }
}

fn namespaces() -> impl Iterator<Item = Label> {
    (0..20).map(|it| format!("team-{it}").parse().expect("a label"))
}

fn object_key(number: usize) -> ObjectKey {
    ObjectKey::new(format!("team-{}", number % 20), format!("store-{number}"))
}

/// The name of a service.
fn owner(number: usize) -> String {
    format!("store-{number}.team-{}.svc.cluster.local", number % 20)
}

fn service(number: usize) -> Service {
    let ports = ports();
    Service {
        key: object_key(number),
        kind: ServiceKind::Headless,
        ports,
        selector: Selector::Present,
        seen: SeenAt::default(),
    }
}

fn slice(number: usize, pods: usize) -> Slice {
    let key = object_key(number);
    let endpoints = (0..pods).map(|pod| Endpoint {
        serving: None,
        terminating: None,
        addresses: vec![address(number * pods + pod)].into(),
        readiness: Readiness::Ready,
        hostname: Some(format!("db-{pod}").into()),
        pod: Some(format!("db-{pod}").into()),
    });
    Slice {
        left_out: Box::default(),
        seen: SeenAt::default(),
        key: ObjectKey::new(key.namespace, format!("{}-x1", key.name)),
        service: key.name,
        endpoints: endpoints.collect(),
        ports: ports(),
        trigger_time: None,
        topology_zones: Box::default(),
    }
}

fn ports() -> Vec<Port> {
    [("client", 5432), ("peer", 7000)]
        .map(|(name, number)| Port { number, protocol: Protocol::Tcp, name: name.into() })
        .into()
}

/// Distinct for numbers below 2^24, and in no order.
fn address(number: usize) -> IpAddr {
    Ipv4Addr::from(0x0a00_0000 | (number.wrapping_mul(0x9e_3779 | 1) & 0xff_ffff) as u32).into()
}

/// `count` names of pods drawn at random with a fixed seed.
fn pod_names(services: usize, pods: usize, count: usize) -> Vec<OwnerName> {
    let mut state = 0x5eed_u64;
    let mut draw = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    names(count, |_| format!("db-{}.{}", draw(pods), owner(draw(services))))
}

fn names(count: usize, mut text: impl FnMut(usize) -> String) -> Vec<OwnerName> {
    (0..count).map(|it| text(it).parse().expect("a name")).collect()
}

fn zones() -> Zones {
    DnsConfig::default().check(&[Ipv4Addr::LOCALHOST.into()]).expect("the default is valid")
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Nanoseconds this thread has been on a CPU. The numbers in /proc only move with the kernel's ticks.
fn cpu_time() -> u64 {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("every Linux has this clock");
    u64::try_from(time.num_nanoseconds()).expect("time goes on")
}

fn resident_kib() -> i64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line");
    line.split_whitespace().next().and_then(|it| it.parse().ok()).expect("a number of KiB")
}
