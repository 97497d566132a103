//! `ordinal up --data-dir`: objects, addresses and names survive a stop and a kill at any moment; a folder that cannot be
//! used is refused and left as it is. The real binary.
//!
//! `cargo test` kills it a few times, `ORDINAL_PROOF=full` a hundred times; `ORDINAL_SEED` repeats the moments.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::{DEADLINE, FREE_PORTS, Ordinal, resolves, wait_for, wait_until};
use serde_json::{Value, json};

/// The API of a running `up`, as its kubeconfig names it.
#[derive(Clone)]
struct Api {
    address: String,
    base: String,
}

const SETS: &str = "/apis/apps/v1/namespaces/default/statefulsets";
const PODS: &str = "/api/v1/namespaces/default/pods";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const SERVICES: &str = "/api/v1/namespaces/default/services";

impl Api {
    fn of(ordinal: &Ordinal) -> Self {
        let kubeconfig = std::fs::read_to_string(ordinal.kubeconfig()).expect("it is there");
        let server = kubeconfig.lines().find_map(|it| it.trim().strip_prefix("server: http://"));
        let (address, base) = server.and_then(|it| it.split_once('/')).expect("an URL with a path");
        Self { address: address.to_owned(), base: format!("/{base}") }
    }

    /// `None` when no whole answer came.
    fn call(&self, method: &str, path: &str, body: &Value) -> Option<(u16, Value)> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let content = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        let mut stream = TcpStream::connect(&self.address).ok()?;
        stream.set_read_timeout(Some(DEADLINE)).ok()?;
        write!(
            stream,
            "{method} {}{path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Type: {content}\r\nContent-Length: {}\r\n\r\n{body}",
            self.base,
            self.address,
            body.len(),
        )
        .ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        let code = text.split_whitespace().nth(1)?.parse().ok()?;
        let (_, body) = text.split_once("\r\n\r\n")?;
        // Cut off in the middle: not JSON.
        Some((code, serde_json::from_str(body).ok()?))
    }

    fn ok(&self, method: &str, path: &str, body: &Value) -> Value {
        let (code, answer) = self.call(method, path, body).expect("an answer");
        assert!((200..300).contains(&code), "{method} {path}: {answer}");
        answer
    }

    fn items(&self, path: &str) -> Vec<Value> {
        self.ok("GET", path, &Value::Null)["items"].as_array().cloned().unwrap_or_default()
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn service() -> Value {
    json!({
        "metadata": { "name": "web" },
        "spec": { "clusterIP": "None", "selector": { "app": "web" }, "ports": [{ "port": 80 }] },
    })
}

fn set(replicas: u64) -> Value {
    json!({
        "metadata": { "name": "web" },
        "spec": {
            "serviceName": "web", "replicas": replicas, "selector": { "matchLabels": { "app": "web" } },
            "template": {
                "metadata": { "labels": { "app": "web" } },
                "spec": { "containers": [{ "name": "c", "image": "v0" }] },
            },
            "volumeClaimTemplates": [{
                "metadata": { "name": "data" },
                "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } } },
            }],
        },
    })
}

fn up(data: &Path) -> Ordinal {
    let data = format!("--data-dir={}", data.display());
    Ordinal::up(&[&data, "--start-delay=10ms", "--ready-delay=10ms", "--stop-delay=10ms"])
}

/// UID → name and address of the pods that have one.
fn addresses(pods: &[Value]) -> BTreeMap<String, (String, String)> {
    let with_address = pods.iter().filter(|it| it["status"]["podIP"].is_string());
    with_address
        .map(|it| {
            let meta = &it["metadata"];
            (text(&meta["uid"]), (text(&meta["name"]), text(&it["status"]["podIP"])))
        })
        .collect()
}

fn wait_settled(api: &Api, replicas: u64, image: &str) -> Vec<Value> {
    wait_for("the set to reach its goal", || {
        let set = api.ok("GET", &format!("{SETS}/web"), &Value::Null);
        let status = &set["status"];
        let counts = ["replicas", "readyReplicas", "currentReplicas", "updatedReplicas"];
        let pods = api.items(PODS);
        let done = counts.iter().all(|it| status[*it] == replicas)
            && status["currentRevision"] == status["updateRevision"]
            && status["observedGeneration"] == set["metadata"]["generation"]
            && pods.len() as u64 == replicas
            && pods.iter().all(|it| it["spec"]["containers"][0]["image"] == image);
        if done { Ok(pods) } else { Err(format!("{status}; {} pods", pods.len())) }
    })
}

fn assert_names(ordinal: &Ordinal, replicas: u64) {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.connect(ordinal.dns()).expect("connected");
    socket.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    for pod in 0..replicas {
        let name = format!("web-{pod}.web.default.svc.cluster.local");
        wait_until(&name, || resolves(&socket, &name));
    }
}

/// The values that a ConfigMap may have.
#[derive(Debug, Default)]
struct Map {
    /// What was written, and answered.
    confirmed: Option<String>,
    /// What was asked for since then without an answer.
    asked: Vec<String>,
}

/// What was said to be done by the process that is killed.
#[derive(Default)]
struct Told {
    /// ConfigMaps by name.
    maps: BTreeMap<String, Map>,
    /// The latest version seen anywhere.
    version: u64,
    /// UID → name and address of each pod in the latest list.
    pods: BTreeMap<String, (String, String)>,
}

impl Told {
    fn note_version(&mut self, version: &Value) {
        self.version = self.version.max(text(version).parse().unwrap_or(0));
    }

    /// Writes and reads as fast as it can until `stop`, or until nobody answers.
    fn keep_busy(&mut self, api: &Api, turn: u32, stop: &AtomicBool) {
        for step in 0_u32.. {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            let (name, value) = (format!("map-{}", step % 7), format!("{turn}-{step}"));
            let known = self.maps.contains_key(&name);
            let body = json!({ "metadata": { "name": name }, "data": { "value": value } });
            let map = self.maps.entry(name.clone()).or_default();
            map.asked.push(value.clone());
            let answer = if known {
                api.call("PATCH", &format!("{MAPS}/{name}"), &body)
            } else {
                api.call("POST", MAPS, &body)
            };
            let Some((code, answer)) = answer else { return };
            match code {
                200 | 201 => {
                    *map = Map { confirmed: Some(value), asked: Vec::new() };
                    self.note_version(&answer["metadata"]["resourceVersion"]);
                }
                // Asked for in an earlier life, and lost on the way: it is created the next time.
                404 if map.confirmed.is_none() => drop(self.maps.remove(&name)),
                _ => panic!("{name}: {map:?}: {answer}"),
            }
            let Some((200, list)) = api.call("GET", PODS, &Value::Null) else { return };
            self.note_version(&list["metadata"]["resourceVersion"]);
            self.pods = addresses(list["items"].as_array().map_or(&[][..], Vec::as_slice));
        }
    }

    /// Compares with what the next process says. Nothing may have been told that is not so any more.
    fn check(&self, api: &Api) {
        let list = api.ok("GET", MAPS, &Value::Null);
        let version: u64 = text(&list["metadata"]["resourceVersion"]).parse().expect("a version");
        assert!(version >= self.version, "version {version}, and {} was told", self.version);
        let maps = list["items"].as_array().expect("items");
        for (name, map) in &self.maps {
            let found = maps.iter().find(|it| it["metadata"]["name"] == *name);
            let found = found.map(|it| text(&it["data"]["value"]));
            let possible = match &found {
                Some(value) => map.confirmed.iter().chain(&map.asked).any(|it| it == value),
                None => map.confirmed.is_none(),
            };
            assert!(possible, "{name} is {found:?}, and was {map:?}");
        }
        let pods = api.items(PODS);
        let now = addresses(&pods);
        for (uid, (name, address)) in &self.pods {
            if let Some((_, found)) = now.get(uid) {
                assert_eq!(found, address, "the address of {name}");
            }
        }
        let names: BTreeSet<_> = pods.iter().map(|it| text(&it["metadata"]["name"])).collect();
        assert_eq!(names.len(), pods.len(), "an ordinal twice: {names:?}");
        let used: BTreeSet<_> = now.values().map(|it| &it.1).collect();
        assert_eq!(used.len(), now.len(), "an address twice: {now:?}");
    }
}

fn random(seed: &mut u64) -> u64 {
    // xorshift64*
    *seed ^= *seed >> 12;
    *seed ^= *seed << 25;
    *seed ^= *seed >> 27;
    seed.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32
}

#[test]
fn nothing_is_lost_when_it_is_killed_at_any_moment() {
    let full = std::env::var("ORDINAL_PROOF").as_deref() == Ok("full");
    let kills: u32 = if full { 100 } else { 6 };
    let seed = std::env::var("ORDINAL_SEED").ok().and_then(|it| it.parse().ok());
    let mut seed: u64 = seed.unwrap_or_else(|| u64::from(std::process::id())).max(1);
    println!("ORDINAL_SEED={seed}");
    let directory = tempfile::tempdir().expect("a directory");
    let data = directory.path().join("data");
    let mut told = Told::default();
    let (mut replicas, mut image) = (3, "v0".to_owned());
    for kill in 0..kills {
        let mut ordinal = up(&data);
        let api = Api::of(&ordinal);
        if kill == 0 {
            api.ok("POST", SERVICES, &service());
            api.ok("POST", SETS, &set(replicas));
        }
        told.check(&api);
        // First it grows, then it rolls, each time it is killed in the middle of it.
        if kill < kills / 2 {
            replicas += 1;
        } else {
            image = format!("v{kill}");
        }
        let goal = json!({ "spec": {
            "replicas": replicas, "template": { "spec": { "containers": [{ "name": "c", "image": image }] } },
        } });
        api.ok("PATCH", &format!("{SETS}/web"), &goal);
        let stop = AtomicBool::new(false);
        let moment = Instant::now() + Duration::from_millis(random(&mut seed) % 400);
        std::thread::scope(|scope| {
            scope.spawn(|| told.keep_busy(&api, kill, &stop));
            wait_until("the moment", || Instant::now() >= moment);
            ordinal.kill();
            stop.store(true, Ordering::Relaxed);
        });
    }
    let ordinal = up(&data);
    let api = Api::of(&ordinal);
    told.check(&api);
    let pods = wait_settled(&api, replicas, &image);
    let names: BTreeSet<_> = pods.iter().map(|it| text(&it["metadata"]["name"])).collect();
    assert_eq!(names, (0..replicas).map(|it| format!("web-{it}")).collect());
    assert_names(&ordinal, replicas);
    println!("{kills} kills, version {}, {replicas} pods, {image}", told.version);
}

#[test]
fn a_stop_keeps_objects_addresses_and_names() {
    let directory = tempfile::tempdir().expect("a directory");
    let data = directory.path().join("data");
    let ordinal = up(&data);
    let api = Api::of(&ordinal);
    api.ok("POST", SERVICES, &service());
    let mut with_address = service();
    with_address["metadata"]["name"] = json!("front");
    with_address["spec"].as_object_mut().expect("a spec").remove("clusterIP");
    let front = api.ok("POST", SERVICES, &with_address);
    api.ok("POST", SETS, &set(3));
    let before = addresses(&wait_settled(&api, 3, "v0"));
    assert_names(&ordinal, 3);
    assert_eq!(ordinal.terminate(), Some(0));

    let ordinal = up(&data);
    let again = Api::of(&ordinal);
    assert_eq!(again.base, api.base, "the secret path stays, and so kubeconfigs go on working");
    // At once: nothing has to be made again.
    assert_eq!(addresses(&again.items(PODS)), before);
    let now = again.ok("GET", &format!("{SERVICES}/front"), &Value::Null);
    assert_eq!(now["spec"]["clusterIP"], front["spec"]["clusterIP"]);
    assert_names(&ordinal, 3);
    let pods = wait_settled(&again, 3, "v0");
    assert_eq!(addresses(&pods), before);
    let restarts =
        pods.iter().flat_map(|it| it["status"]["containerStatuses"].as_array().into_iter().flatten());
    assert!(restarts.into_iter().all(|it| it["restartCount"] == 0), "a pod does not notice");
    // A claim that was bound is bound.
    let claims = again.items("/api/v1/namespaces/default/persistentvolumeclaims");
    assert!(claims.len() == 3 && claims.iter().all(|it| it["status"]["phase"] == "Bound"));
}

/// What it says when it does not start: one line, and exit code 1.
fn fails(data: &Path) -> String {
    let directory = tempfile::tempdir().expect("a directory");
    let mut command: Command = Ordinal::command();
    command
        .args(["up", "--log-level=error", "--api-listen=127.0.0.1:0"])
        .args(FREE_PORTS)
        .arg(format!("--kubeconfig-out={}", directory.path().join("k").display()))
        .arg(format!("--data-dir={}", data.display()));
    let output = common::finish(command);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert_eq!((said.lines().count(), output.stdout.len()), (1, 0), "{said}");
    said
}

/// The same, and the folder is left as it was.
fn refused(data: &Path) -> String {
    let content = || -> Vec<(std::ffi::OsString, Vec<u8>)> {
        let entries = std::fs::read_dir(data).expect("readable").map(|it| it.expect("readable"));
        let mut all: Vec<_> =
            entries.map(|it| (it.file_name(), std::fs::read(it.path()).expect("readable"))).collect();
        all.sort();
        all
    };
    let before = content();
    let said = fails(data);
    assert!(content() == before, "the folder was changed");
    said
}

#[test]
fn a_folder_that_cannot_be_used_is_left_alone() {
    let directory = tempfile::tempdir().expect("a directory");
    let foreign = directory.path().join("foreign");
    std::fs::create_dir(&foreign).expect("made");
    std::fs::write(foreign.join("notes.txt"), "mine").expect("written");
    assert!(refused(&foreign).contains("is no data directory of ordinal"));

    let data = directory.path().join("data");
    let mut ordinal = up(&data);
    // Its owner goes on writing.
    let said = fails(&data);
    assert!(said.contains("is in use by another process"), "{said}");
    ordinal.kill();
    let file = data.join("ordinal.redb");
    let mut bytes = std::fs::read(&file).expect("readable");
    bytes[..512].fill(7);
    std::fs::write(&file, bytes).expect("written");
    let said = refused(&data);
    assert!(said.contains("ordinal.redb is damaged, or no file of ordinal"), "{said}");
}
