//! A real CoreDNS in front of two instances, with the Corefile of deploy/: names, SRV, PTR, truncation, negative TTLs, health
//! checks, and instances that are restarted while queries are on their way.
//!
//! The binary is `ORDINAL_TEST_COREDNS`, or `coredns` in `KUBEBUILDER_ASSETS`; without either the tests are skipped.

mod common;

use std::fmt::Write as _;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use common::{Ordinal, has_dig, resolves, wait_for, wait_until};

const COREFILE: &str = include_str!("../deploy/coredns/Corefile");
const SERVICE: &str = "web.shop.svc.cluster.local";

fn coredns() -> Option<PathBuf> {
    let named = std::env::var_os("ORDINAL_TEST_COREDNS").map(PathBuf::from);
    let asset = || Some(PathBuf::from(std::env::var_os("KUBEBUILDER_ASSETS")?).join("coredns"));
    let found = named.or_else(asset).filter(|it| it.is_file());
    if found.is_none() {
        println!(
            "SKIPPED: CoreDNS needs ORDINAL_TEST_COREDNS or KUBEBUILDER_ASSETS (tests/envtest/build coredns)"
        );
    }
    found
}

/// So many addresses on which nothing listens, over UDP and TCP.
fn free(count: usize) -> Vec<SocketAddr> {
    let bound: Vec<_> = std::iter::repeat_with(|| TcpListener::bind("127.0.0.1:0").expect("a free port"))
        .filter(|it| UdpSocket::bind(it.local_addr().expect("bound")).is_ok())
        .take(count)
        .collect();
    bound.iter().map(|it| it.local_addr().expect("bound")).collect()
}

/// CoreDNS; killed when dropped.
struct CoreDns {
    child: Child,
    address: SocketAddr,
    metrics: SocketAddr,
    folder: tempfile::TempDir,
}

impl Drop for CoreDns {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl CoreDns {
    /// With the Corefile as it is but for addresses.
    fn start(binary: &Path, upstreams: &[SocketAddr]) -> Self {
        let addresses = free(5);
        let [address, metrics, health, ready, nowhere] = addresses[..] else { unreachable!("five") };
        let upstreams: Vec<_> = upstreams.iter().map(ToString::to_string).collect();
        let mut corefile = COREFILE.to_owned();
        for (from, to) in [
            (":53", format!(":{}", address.port())),
            ("    errors\n", "    errors\n    bind 127.0.0.1\n".to_owned()),
            ("prometheus :9153", format!("prometheus {metrics}")),
            ("forward . 10.96.0.53", format!("forward . {}", upstreams.join(" "))),
            ("health {", format!("health {health} {{")),
            ("    ready\n", format!("    ready {ready}\n")),
            ("/etc/resolv.conf", nowhere.to_string()),
        ] {
            assert!(corefile.contains(from), "{from} is not in the Corefile any more");
            corefile = corefile.replace(from, &to);
        }
        let folder = tempfile::tempdir().expect("a temporary directory");
        let file = folder.path().join("Corefile");
        std::fs::write(&file, corefile).expect("written");
        let log = std::fs::File::create(folder.path().join("log")).expect("a log");
        let child = Command::new(binary)
            .arg("-conf")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn()
            .expect("CoreDNS starts");
        let this = Self { child, address, metrics, folder };
        wait_for("CoreDNS", || {
            let status = this.dig(&["cluster.local", "SOA"]);
            let log = || std::fs::read_to_string(this.folder.path().join("log")).unwrap_or_default();
            if status.contains("status: NOERROR") { Ok(()) } else { Err(log()) }
        });
        this
    }

    fn dig(&self, args: &[&str]) -> String {
        let port = self.address.port().to_string();
        let output =
            Command::new("dig").args(["@127.0.0.1", "-p", &port, "+tries=1", "+time=5"]).args(args).output();
        String::from_utf8(output.expect("dig runs").stdout).expect("dig prints text")
    }

    /// The sum of the series whose line begins so.
    fn metric(&self, begins: &str) -> f64 {
        use std::io::{Read as _, Write as _};
        let mut stream = std::net::TcpStream::connect(self.metrics).expect("it listens");
        write!(stream, "GET /metrics HTTP/1.0\r\n\r\n").expect("sent");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("an answer");
        let values = text.lines().filter(|it| it.starts_with(begins));
        values.filter_map(|it| it.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }
}

/// A headless Service whose endpoints are written by hand: `web-0` to `web-<count - 1>`, and `web-late`, which is not ready.
fn objects(count: usize) -> String {
    let mut text = String::from(
        "apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {clusterIP: None, ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: front, namespace: shop}
spec: {clusterIP: 10.96.7.7, ports: [{name: http, port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints:
- {addresses: [10.0.9.9], hostname: web-late, conditions: {ready: false}}
",
    );
    for at in 0..count {
        let address = format!("10.0.{}.{}", at / 200, at % 200 + 1);
        writeln!(text, "- {{addresses: [{address}], hostname: web-{at}, conditions: {{ready: true}}}}")
            .expect("a string");
    }
    text
}

/// An API server with these objects, and nothing else.
fn cluster(count: usize) -> (Ordinal, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let file = folder.path().join("objects.yaml");
    std::fs::write(&file, objects(count)).expect("written");
    let up =
        Ordinal::up_fast(&["--components=", "--simulate-node=false", "-f", file.to_str().expect("UTF-8")]);
    (up, folder)
}

fn instance(cluster: &Ordinal, address: SocketAddr) -> Ordinal {
    let (dns, http) = (format!("--dns-listen={address}"), "--http-listen=127.0.0.1:0");
    Ordinal::run_with(&cluster.kubeconfig(), &[&dns, http, "--lameduck=300ms"])
}

/// The records of a section of what `dig` printed, sorted, without TTL.
fn records(text: &str) -> Vec<String> {
    let mut all: Vec<String> = text
        .lines()
        .filter(|it| !it.starts_with(';') && !it.is_empty())
        .map(|it| {
            it.split_whitespace()
                .enumerate()
                .filter(|(at, _)| *at != 1)
                .map(|(_, it)| it)
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect();
    all.sort_unstable();
    all
}

#[test]
fn answers_come_through_as_they_are() {
    let Some(binary) = coredns() else { return };
    if !has_dig() {
        return;
    }
    let (cluster, _folder) = cluster(120);
    let direct = instance(&cluster, free(1)[0]);
    let front = CoreDns::start(&binary, &[direct.dns()]);
    for question in [
        &["web-0.web.shop.svc.cluster.local", "A"][..],
        &["front.shop.svc.cluster.local", "A"],
        &["_http._tcp.front.shop.svc.cluster.local", "SRV"],
        &["_http._tcp.web.shop.svc.cluster.local", "SRV", "+tcp"],
        &["WEB-7.web.shop.svc.cluster.local", "A"],
        &["-x", "10.0.0.1"],
        &["-x", "10.96.7.7"],
        &["web.shop.svc.cluster.local", "AAAA"],
        &["nowhere.shop.svc.cluster.local", "A"],
        &["cluster.local", "SOA"],
        &["dns-version.cluster.local", "TXT"],
    ] {
        let [through, straight] = [front.dig(question), direct.dig(question)];
        let status = |text: &str| {
            text.split_once("status: ").map(|(_, it)| it.split(',').next().unwrap_or_default().to_owned())
        };
        assert_eq!(status(&through), status(&straight), "{question:?}\n{through}");
        assert_eq!(records(&through), records(&straight), "{question:?}\n{through}");
    }
    // 120 addresses do not fit a datagram: TC, and everything over TCP.
    let cut = front.dig(&[SERVICE, "A", "+ignore", "+notcp", "+bufsize=512"]);
    assert!(cut.contains("flags: qr aa tc"), "{cut}");
    assert_eq!(records(&front.dig(&[SERVICE, "A", "+bufsize=512", "+noadditional"])).len(), 120);

    // The TTLs of negative answers arrive as they left: 5 s, and 1 s for a pod that is on its way.
    for (name, ttl) in [("nowhere", "5"), ("web-late", "1")] {
        let answer = front.dig(&[&format!("{name}.{SERVICE}"), "A"]);
        let soa = answer.lines().find(|it| it.contains("\tSOA\t")).unwrap_or_default();
        assert!(answer.contains("status: NXDOMAIN"), "{answer}");
        assert_eq!(soa.split_whitespace().nth(1), Some(ttl), "{answer}");
    }
    // Nobody keeps them: what becomes ready is there with the next question, whoever asked before.
    let kubectl = common::kubectls();
    if let Some(kubectl) = kubectl.last() {
        let patch = r#"[{"op":"replace","path":"/endpoints/0/conditions/ready","value":true}]"#;
        cluster.kubectl(kubectl).ok_args(&[
            "patch",
            "endpointslice",
            "web-1",
            "-n",
            "shop",
            "--type=json",
            "-p",
            patch,
        ]);
        wait_until("the late pod, straight", || {
            direct.dig_status(&format!("web-late.{SERVICE}"), "A") == "NOERROR"
        });
        let answer = front.dig(&["+short", &format!("web-late.{SERVICE}"), "A"]);
        assert_eq!(answer.trim(), "10.0.9.9", "CoreDNS has kept nothing");
    }
    assert!(front.metric("coredns_forward_healthcheck_broken_total") == 0.0);
    assert!(front.metric("coredns_proxy_healthcheck_failures_total") == 0.0);
}

#[test]
fn instances_are_restarted_without_a_failed_query() {
    let Some(binary) = coredns() else { return };
    if !has_dig() {
        return;
    }
    let (cluster, _folder) = cluster(3);
    let addresses = free(2);
    let mut instances: Vec<_> = addresses.iter().map(|it| Some(instance(&cluster, *it))).collect();
    let front = CoreDns::start(&binary, &addresses);
    let (stop, asked, failed) =
        (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let clients: Vec<_> = (0..2)
        .map(|at| {
            let (stop, asked, failed) = (Arc::clone(&stop), Arc::clone(&asked), Arc::clone(&failed));
            let address = front.address;
            std::thread::spawn(move || {
                let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
                socket.connect(address).expect("connected");
                socket.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
                let name = format!("web-{at}.{SERVICE}");
                while !stop.load(Ordering::Relaxed) {
                    asked.fetch_add(1, Ordering::Relaxed);
                    if !resolves(&socket, &name) {
                        failed.fetch_add(1, Ordering::Relaxed);
                    }
                }
            })
        })
        .collect();
    let more = |count: u64| {
        let goal = asked.load(Ordering::Relaxed) + count;
        wait_until("more queries", || asked.load(Ordering::Relaxed) >= goal);
    };
    more(200);
    for round in 0..4 {
        let at = round % 2;
        let old = instances[at].take().expect("it runs");
        if round < 2 {
            assert_eq!(old.terminate(), Some(0), "as a rolling update ends it");
        } else {
            let mut old = old;
            old.kill();
        }
        more(300);
        let new = instance(&cluster, addresses[at]);
        let answered = || {
            let text = new.http_get("/metrics").1;
            let lines = text
                .lines()
                .filter(|it| it.starts_with("ordinal_dns_responses_total") && it.contains("cluster.local"));
            lines.filter_map(|it| it.rsplit(' ').next()?.parse::<u64>().ok()).sum::<u64>()
        };
        // The health check, `. NS`, finds it again.
        wait_until("queries at the new instance", || answered() > 20);
        instances[at] = Some(new);
    }
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.join().expect("every query has an answer");
    }
    let asked = asked.load(Ordering::Relaxed);
    println!("{asked} queries over 4 restarts, {} failed", failed.load(Ordering::Relaxed));
    assert_eq!(failed.load(Ordering::Relaxed), 0, "of {asked}");
    assert!(front.metric("coredns_proxy_healthcheck_failures_total") >= 1.0, "the outages were seen");
}
