//! A headless Service of many pods of which some are replaced every second: no gap in its slices, no wrong negative answer.
//!
//! `cargo bench --bench endpoints_churn [-- --pods 10000 --churn 100 --seconds 600]` starts `ordinal up` with DNS and the
//! EndpointSlice controller and replaces `--churn` pods a second: marked for deletion, gone, created with another address,
//! ready. Meanwhile names of pods that are left alone are asked for. The watches of pods and slices are judged at the end, in
//! the order of their resource versions: a pod that is ready all the time and in a slice stays in some slice.
//! Exits with 1 if anything was wrong.

mod support;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::{Api, Client};
use support::common::{self, Ordinal};
use support::pods::{create_node, create_pods, create_services, pod, status};
use support::{argument, client, percentile};

const SERVICE: &str = "web";
/// How long a name may still be cached or on its way.
const SETTLED: Duration = Duration::from_secs(2);

/// What a watch told.
enum Seen {
    /// The pod is, or is not, ready.
    Pod(String, bool),
    /// The pods that a slice has as ready endpoints; none: it is gone.
    Slice(String, Vec<String>),
}

/// By resource version.
type Log = Arc<Mutex<BTreeMap<u64, Seen>>>;

fn version(text: Option<&String>) -> u64 {
    text.and_then(|it| it.parse().ok()).expect("a resource version")
}

fn of_pod(pod: &Pod, gone: bool) -> Seen {
    let conditions = pod.status.as_ref().and_then(|it| it.conditions.as_ref());
    let ready = conditions.is_some_and(|it| it.iter().any(|it| it.type_ == "Ready" && it.status == "True"));
    let ready = ready && !gone && pod.metadata.deletion_timestamp.is_none();
    Seen::Pod(pod.metadata.name.clone().expect("a name"), ready)
}

fn of_slice(slice: &EndpointSlice, gone: bool) -> Seen {
    let endpoints = slice.endpoints.iter().flatten().filter(|_| !gone);
    let ready = endpoints.filter(|it| it.conditions.as_ref().and_then(|it| it.ready).unwrap_or(true));
    let pods = ready.filter_map(|it| it.target_ref.as_ref()?.name.clone()).collect();
    Seen::Slice(slice.metadata.name.clone().expect("a name"), pods)
}

/// Records everything of a kind until aborted.
async fn record<K>(client: Client, log: Log, what: fn(&K, bool) -> Seen)
where
    K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned
        + Send
        + 'static,
{
    let api: Api<K> = Api::default_namespaced(client);
    let list = api.list(&ListParams::default()).await.expect("listed");
    let mut from = list.metadata.resource_version.clone().expect("a version");
    for object in list.items {
        let at = version(object.meta().resource_version.as_ref());
        log.lock().expect("unpoisoned").insert(at, what(&object, false));
    }
    loop {
        let mut events =
            api.watch(&WatchParams::default().timeout(290), &from).await.expect("watched").boxed();
        while let Ok(Some(event)) = events.try_next().await {
            let (object, gone) = match event {
                WatchEvent::Added(it) | WatchEvent::Modified(it) => (it, false),
                WatchEvent::Deleted(it) => (it, true),
                WatchEvent::Bookmark(it) => {
                    from = it.metadata.resource_version;
                    continue;
                }
                WatchEvent::Error(error) => panic!("the history is gone: {error}"),
            };
            from = object.meta().resource_version.clone().expect("a version");
            log.lock().expect("unpoisoned").insert(version(Some(&from)), what(&object, gone));
        }
    }
}

/// Goes through a history: slice states looked at, writes of slices, pod changes, and what was wrong.
fn judge(log: &BTreeMap<u64, Seen>, started: u64) -> (usize, usize, usize, Vec<String>) {
    let (mut looked, mut writes, mut changes, mut wrong) = (0, 0, 0, Vec::new());
    let mut ready: BTreeSet<&str> = BTreeSet::new();
    let mut slices: HashMap<&str, &[String]> = HashMap::new();
    // In how many slices a pod is, and the pods that were in one and ready ever since.
    let (mut times, mut standing): (HashMap<&str, usize>, BTreeSet<&str>) = Default::default();
    for (at, seen) in log {
        match seen {
            Seen::Pod(name, is_ready) => {
                changes += usize::from(*at > started);
                if *is_ready {
                    ready.insert(name);
                } else {
                    ready.remove(name.as_str());
                    standing.remove(name.as_str());
                }
            }
            Seen::Slice(name, pods) => {
                looked += 1;
                writes += usize::from(*at > started);
                for pod in pods {
                    *times.entry(pod).or_default() += 1;
                }
                let old = slices.insert(name, pods).unwrap_or_default();
                for pod in old {
                    *times.get_mut(pod.as_str()).expect("counted") -= 1;
                }
                for pod in old.iter().filter(|it| times[it.as_str()] == 0) {
                    if standing.remove(pod.as_str()) {
                        wrong.push(format!("version {at}: {pod} vanished with a write of {name}"));
                    }
                }
                standing.extend(pods.iter().map(String::as_str).filter(|it| ready.contains(it)));
            }
        }
    }
    let published: BTreeSet<&str> = times.iter().filter(|it| *it.1 > 0).map(|it| *it.0).collect();
    if published != ready {
        wrong.push(format!("at the end {} pods are ready and {} published", ready.len(), published.len()));
    }
    (looked, writes, changes, wrong)
}

/// Since when each pod is left alone.
type Quiet = Arc<Mutex<Vec<Option<Instant>>>>;

/// Replaces one pod. Its address changes with every turn.
async fn replace(api: &Api<Pod>, quiet: &Quiet, number: usize, count: usize, turn: usize) {
    let name = format!("{SERVICE}-{number}");
    api.delete(&name, &DeleteParams::default()).await.expect("marked");
    api.delete(&name, &DeleteParams::default().grace_period(0)).await.expect("gone");
    api.create(&PostParams::default(), &pod(SERVICE, number)).await.expect("created");
    let patch = Patch::Merge(status(count * (1 + turn % 50) + number, true));
    api.patch_status(&name, &PatchParams::default(), &patch).await.expect("patched");
    quiet.lock().expect("unpoisoned")[number] = Some(Instant::now());
}

/// Asks for pods that are left alone: questions and wrong answers.
#[allow(clippy::disallowed_methods, reason = "it asks at a steady pace")]
fn ask(server: std::net::SocketAddr, quiet: &Quiet, end: &AtomicBool) -> (usize, Vec<String>) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.connect(server).expect("connected");
    socket.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
    let (mut asked, mut wrong, mut number) = (0, Vec::new(), 0);
    while !end.load(Ordering::Relaxed) {
        let since = {
            let quiet = quiet.lock().expect("unpoisoned");
            number = (number + 7919) % quiet.len();
            quiet[number].filter(|it| it.elapsed() > SETTLED)
        };
        let Some(since) = since else { continue };
        let name = format!("{SERVICE}-{number}.{SERVICE}.default.svc.cluster.local");
        let found = common::resolves(&socket, &name);
        // Only if it was left alone all the while.
        if !found && quiet.lock().expect("unpoisoned")[number] == Some(since) {
            wrong.push(format!("{name} has no answer, ready for {:.1} s", since.elapsed().as_secs_f64()));
        }
        asked += 1;
        std::thread::sleep(Duration::from_millis(1)); // allow-sleep: 1,000 questions a second
    }
    (asked, wrong)
}

#[tokio::main]
async fn main() {
    let (pods, churn, seconds) =
        (argument("--pods", 10_000), argument("--churn", 100), argument("--seconds", 600));
    let ordinal =
        Ordinal::up(&["--simulate-node=false", "--components=dns,endpointslice", "--log-level=warn"]);
    let client = client(&ordinal).await;
    create_node(&client).await;
    create_services(&client, vec![SERVICE.to_owned()]).await;
    create_pods(&client, (0..pods).map(|it| (SERVICE.to_owned(), it)).collect(), true).await;
    common::wait_until("the last pod", || {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        socket.connect(ordinal.dns()).expect("connected");
        socket.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
        common::resolves(&socket, &format!("{SERVICE}-{}.{SERVICE}.default.svc.cluster.local", pods - 1))
    });
    let log = Log::default();
    let recorders = [
        tokio::spawn(record::<Pod>(client.clone(), Arc::clone(&log), of_pod)),
        tokio::spawn(record::<EndpointSlice>(client.clone(), Arc::clone(&log), of_slice)),
    ];
    let slices = Api::<EndpointSlice>::default_namespaced(client.clone())
        .list(&ListParams::default())
        .await
        .expect("listed");
    let (started, count) = (version(slices.metadata.resource_version.as_ref()), slices.items.len());

    let quiet: Quiet = Arc::new(Mutex::new(vec![Some(Instant::now()); pods]));
    let end = Arc::new(AtomicBool::new(false));
    let asking = std::thread::spawn({
        let (quiet, end, server) = (Arc::clone(&quiet), Arc::clone(&end), ordinal.dns());
        move || ask(server, &quiet, &end)
    });
    let cpu = common::cpu_seconds(ordinal.pid());
    let api: Api<Pod> = Api::default_namespaced(client.clone());
    let mut ticks = tokio::time::interval(Duration::from_secs_f64(1.0 / churn as f64));
    let (under_way, mut late) = (Arc::new(AtomicUsize::new(0)), Vec::new());
    let begin = Instant::now();
    for turn in 0..churn * seconds {
        let due = ticks.tick().await;
        late.push(due.elapsed().as_secs_f64() * 1e3);
        // Numbers in no order; one that is still on its way is passed over.
        let number = turn * 7919 % pods;
        if quiet.lock().expect("unpoisoned")[number].take().is_none() {
            continue;
        }
        let (api, quiet, under_way) = (api.clone(), Arc::clone(&quiet), Arc::clone(&under_way));
        under_way.fetch_add(1, Ordering::Relaxed);
        tokio::spawn(async move {
            replace(&api, &quiet, number, pods, turn / pods + 1).await;
            under_way.fetch_sub(1, Ordering::Relaxed);
        });
    }
    let took = begin.elapsed();
    common::wait_until("the last replacement", || under_way.load(Ordering::Relaxed) == 0);
    tokio::time::sleep(SETTLED * 2).await; // allow-sleep: the last writes and their events
    let cpu = common::cpu_seconds(ordinal.pid()) - cpu;
    end.store(true, Ordering::Relaxed);
    let (asked, wrong_answers) = asking.join().expect("it ends");
    for recorder in &recorders {
        recorder.abort();
    }
    let log = log.lock().expect("unpoisoned");
    let (looked, writes, changes, gaps) = judge(&log, started);
    println!(
        "churn: {pods} pods, {:.0} s, {} replaced ({:.0}/s; p99 {:.0} ms late), {changes} pod changes; CPU {:.0} %, RSS {} MiB",
        took.as_secs_f64(),
        churn * seconds,
        (churn * seconds) as f64 / took.as_secs_f64(),
        percentile(&mut late, 0.99),
        cpu / took.as_secs_f64() * 100.0,
        common::resident_kib(ordinal.pid()) / 1024,
    );
    // A slice is written at most every 100 ms for what is taken away, however much changes.
    let bound = changes.min((count as f64 * (1.0 + took.as_secs_f64() * 10.0)) as usize);
    println!(
        "slices: {count}, {writes} writes (bound {bound}), {looked} states looked at, {} gaps",
        gaps.len()
    );
    println!("DNS: {asked} questions for pods left alone, {} wrong negatives", wrong_answers.len());
    for text in gaps.iter().chain(&wrong_answers).take(20) {
        println!("WRONG: {text}");
    }
    if !gaps.is_empty() || !wrong_answers.is_empty() || writes > bound {
        std::process::exit(1);
    }
}
