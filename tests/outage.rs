//! The outage drill: the API server and its store are killed while clients ask for names, and come back. No query fails, no
//! answer is wrong, nothing is deleted, and what changes afterwards is seen (PRM-4, PRM-5, LIV-4).
//!
//! Needs a real control plane, which keeps its objects. `ORDINAL_TEST_OUTAGE=10m` says how long it is away.

#[path = "common/cluster.rs"]
mod cluster;
mod common;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock, mpsc};
use std::time::{Duration, Instant};

use cluster::Cluster;
use cluster::real::assets_or_skip;
use common::{Kubectl, Ordinal, kubectls, wait_for, wait_until};

/// As long as resolvers wait, resolv.conf(5).
const PATIENCE: Duration = Duration::from_secs(5);
/// Sets of three pods.
const SETS: usize = 5;
/// Clients, and how often each of them asks.
const CLIENTS: usize = 4;
const PACE: Duration = Duration::from_millis(5);

/// What clients saw.
#[derive(Default)]
struct Seen {
    asked: AtomicU64,
    failed: AtomicU64,
    wrong: AtomicU64,
    slowest_micros: AtomicU64,
}

type Book = Arc<RwLock<BTreeMap<String, Ipv4Addr>>>;

fn objects() -> String {
    let set = |at: usize| {
        format!(
            "apiVersion: v1
kind: Service
metadata: {{name: db-{at}}}
spec: {{clusterIP: None, selector: {{set: db-{at}}}, ports: [{{port: 80}}]}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {{name: db-{at}}}
spec:
  serviceName: db-{at}
  replicas: 3
  selector: {{matchLabels: {{set: db-{at}}}}}
  template: {{metadata: {{labels: {{set: db-{at}}}}}, spec: {{containers: [{{name: c, image: i}}]}}}}
---
"
        )
    };
    (0..SETS).map(set).collect()
}

/// Every pod name and its address, as the slices have them.
fn book(kubectl: &Kubectl) -> BTreeMap<String, Ipv4Addr> {
    let slices = kubectl.json("get endpointslices");
    let mut all = BTreeMap::new();
    for slice in slices["items"].as_array().into_iter().flatten() {
        let service = slice["metadata"]["labels"]["kubernetes.io/service-name"].as_str().unwrap_or_default();
        for endpoint in slice["endpoints"].as_array().into_iter().flatten() {
            let (Some(host), Some(address)) =
                (endpoint["hostname"].as_str(), endpoint["addresses"][0].as_str())
            else {
                continue;
            };
            if endpoint["conditions"]["ready"] == true {
                let name = format!("{host}.{service}.default.svc.cluster.local");
                all.insert(name, address.parse().expect("an address"));
            }
        }
    }
    all
}

/// The one address of a name; `Err` when there is no answer in time, or another one than that.
fn ask(socket: &UdpSocket, id: u16, name: &str) -> Result<Ipv4Addr, String> {
    let mut query = [&id.to_be_bytes()[..], &[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]].concat();
    for label in name.split('.') {
        query.push(u8::try_from(label.len()).expect("a label"));
        query.extend_from_slice(label.as_bytes());
    }
    query.extend_from_slice(&[0, 0, 1, 0, 1]);
    socket.send(&query).map_err(|it| it.to_string())?;
    let mut reply = [0; 1500];
    let length = loop {
        let length = socket.recv(&mut reply).map_err(|it| it.to_string())?;
        // What came too late for its own question is passed over.
        if reply[..2] == id.to_be_bytes() {
            break length;
        }
    };
    let rcode = reply[3] & 0x0f;
    if rcode != 0 || reply[7] != 1 {
        return Err(format!("rcode {rcode}, {} records", reply[7]));
    }
    let data: [u8; 4] = reply[length - 4..length].try_into().expect("four octets");
    Ok(Ipv4Addr::from(data))
}

fn client(server: SocketAddr, book: &Book, seen: &Seen, stop: &mpsc::Receiver<()>) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.connect(server).expect("connected");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let mut at = usize::from(socket.local_addr().expect("bound").port());
    while stop.recv_timeout(PACE) == Err(mpsc::RecvTimeoutError::Timeout) {
        at = at.wrapping_add(1);
        let (name, want) = {
            let book = book.read().expect("unpoisoned");
            let (name, want) = book.iter().nth(at % book.len()).expect("names");
            (name.clone(), *want)
        };
        let began = Instant::now();
        let answer = ask(&socket, at as u16, &name);
        let micros = began.elapsed().as_micros() as u64;
        seen.slowest_micros.fetch_max(micros, Ordering::Relaxed);
        seen.asked.fetch_add(1, Ordering::Relaxed);
        match answer {
            Ok(address) if address == want => {}
            Ok(address) => {
                println!("{name}: {address}, not {want}");
                seen.wrong.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => {
                println!("{name}: {error}");
                seen.failed.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

fn metric(ordinal: &Ordinal, name: &str) -> f64 {
    let text = ordinal.http_get("/metrics").1;
    let line = text.lines().find(|it| it.starts_with(name) && it[name.len()..].starts_with([' ', '{']));
    line.and_then(|it| it.rsplit(' ').next()?.parse().ok()).unwrap_or(f64::NAN)
}

fn uids(kubectl: &Kubectl) -> String {
    kubectl.ok("get pods --sort-by=.metadata.name -o jsonpath={.items[*].metadata.uid}")
}

#[test]
fn an_outage_of_the_api_server_fails_no_query_and_leaves_no_wrong_answer() {
    if assets_or_skip("the outage drill").is_none() {
        return;
    }
    let Some(binary) = kubectls().pop() else { return };
    let length = std::env::var("ORDINAL_TEST_OUTAGE").unwrap_or_else(|_| "8s".to_owned());
    let length = ordinal::model::duration::parse(&length).expect("ORDINAL_TEST_OUTAGE is a duration");
    let mut cluster = Cluster::whole();
    let kubectl = cluster.kubectl(&binary);
    let folder = tempfile::tempdir().expect("a temporary directory");
    let file = folder.path().join("objects.yaml");
    std::fs::write(&file, objects()).expect("written");
    kubectl.ok(&format!("create -f {}", file.display()));
    wait_until("every pod", || book(&kubectl).len() == 3 * SETS);
    let names: Book = Arc::new(RwLock::new(book(&kubectl)));
    let server = cluster.dns().dns();
    let probe = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    probe.connect(server).expect("connected");
    probe.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let matches = |names: &Book| {
        let names = names.read().expect("unpoisoned");
        names.iter().all(|(name, want)| ask(&probe, 1, name).as_ref() == Ok(want))
    };
    wait_until("every name", || matches(&names));
    let before = uids(&kubectl);
    let relists = metric(cluster.dns(), "ordinal_dns_relists_total");

    let seen = Arc::new(Seen::default());
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (stop, stopped) = mpsc::channel();
            let (names, seen) = (Arc::clone(&names), Arc::clone(&seen));
            (stop, std::thread::spawn(move || client(server, &names, &seen, &stopped)))
        })
        .collect();
    cluster.kill();
    let began = Instant::now();
    println!("the API server is gone for {length:?}; {CLIENTS} clients ask {} names", 3 * SETS);
    let mut stalest: f64 = 0.0;
    let mut told = Instant::now();
    while began.elapsed() < length {
        let stale = metric(cluster.dns(), "ordinal_dns_watch_stale_seconds");
        stalest = stalest.max(stale);
        assert_eq!(cluster.dns().http_get("/readyz").0, 200, "ready throughout");
        if told.elapsed() > Duration::from_secs(60) {
            told = Instant::now();
            println!(
                "after {:>3} s: {} queries, {} failed, {} wrong; data {stale:.0} s old",
                began.elapsed().as_secs(),
                seen.asked.load(Ordering::Relaxed),
                seen.failed.load(Ordering::Relaxed),
                seen.wrong.load(Ordering::Relaxed),
            );
        }
        // The pace of the clients, not a promise about time.
        let (_never, wait) = mpsc::channel::<()>();
        let _ = wait.recv_timeout(Duration::from_millis(500).min(length));
    }
    assert!(stalest > 0.0, "the age of the data is a metric");

    let Cluster::Real { cluster: real, .. } = &mut cluster else { unreachable!("there are assets") };
    real.serve();
    let (back, away) = (Instant::now(), began.elapsed());
    wait_for("every watch to deliver", || {
        let stale = metric(cluster.dns(), "ordinal_dns_watch_stale_seconds");
        stalest = stalest.max(stale);
        if stale == 0.0 { Ok(()) } else { Err(format!("{stale} s old")) }
    });
    println!("the API server is back after {away:?}; every watch delivers {:?} later", back.elapsed());
    assert_eq!(uids(&kubectl), before, "no pod was deleted or made");
    assert_eq!(book(&kubectl), *names.read().expect("unpoisoned"), "no endpoint was lost");

    // What changes now is seen: the pods of one set are replaced. Its names are not asked for meanwhile.
    let all = names.read().expect("unpoisoned").clone();
    names.write().expect("unpoisoned").retain(|name, _| !name.contains(".db-0."));
    kubectl.ok("delete pods -l set=db-0");
    let changed = Instant::now();
    let fresh = wait_for("other addresses of that set", || {
        let fresh = book(&kubectl);
        let others = all.iter().filter(|(name, old)| fresh.get(*name).is_some_and(|it| it != *old)).count();
        if fresh.len() == all.len() && others == 3 { Ok(fresh) } else { Err(format!("{others} of 3")) }
    });
    *names.write().expect("unpoisoned") = fresh;
    wait_until("the names of that set", || matches(&names));
    println!("three pods were replaced and their names followed within {:?}", changed.elapsed());
    let goal = seen.asked.load(Ordering::Relaxed) + 1000;
    wait_until("more queries", || seen.asked.load(Ordering::Relaxed) >= goal);
    for (stop, client) in clients {
        drop(stop);
        client.join().expect("a client ends");
    }
    let [asked, failed, wrong, slowest] =
        [&seen.asked, &seen.failed, &seen.wrong, &seen.slowest_micros].map(|it| it.load(Ordering::Relaxed));
    let relists = metric(cluster.dns(), "ordinal_dns_relists_total") - relists;
    println!(
        "{asked} queries: {failed} failed, {wrong} wrong; slowest {slowest} µs; oldest data {stalest:.0} s; {relists} relists"
    );
    assert_eq!((failed, wrong), (0, 0), "of {asked}");
}
