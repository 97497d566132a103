//! Starts the real binary on free loopback ports and talks to it with real clients.
#![allow(dead_code, reason = "every test file uses its own part of this")]

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long any single condition may take. Generous: machines are shared; a passing test never waits it out.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// A path below `tests/fixtures`.
pub fn fixture(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(path)
}

/// Runs `check` until it returns a value; panics with what it last said once the deadline passes.
pub fn wait_for<T>(what: &str, check: impl FnMut() -> Result<T, String>) -> T {
    wait_within(DEADLINE, what, check)
}

/// `wait_for` with a deadline of its own.
pub fn wait_within<T>(time: Duration, what: &str, mut check: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + time;
    loop {
        match check() {
            Ok(value) => return value,
            Err(last) => assert!(Instant::now() < deadline, "timed out waiting for {what}; last: {last}"),
        }
        pause();
    }
}

/// `wait_for` with a plain condition.
pub fn wait_until(what: &str, mut check: impl FnMut() -> bool) {
    wait_for(what, || if check() { Ok(()) } else { Err("not yet".to_owned()) });
}

#[allow(clippy::disallowed_methods, reason = "the one place that polls; every caller has a deadline")]
fn pause() {
    std::thread::sleep(Duration::from_millis(10)); // allow-sleep: polling step of wait_for
}

/// A running `ordinal up` or `ordinal run`; killed when dropped.
pub struct Ordinal {
    child: Child,
    /// The ready line's `key=value` pairs.
    pub ready: Vec<(String, String)>,
    /// Time from start to the ready line.
    pub took: Duration,
    directory: tempfile::TempDir,
    stderr: Arc<Mutex<String>>,
}

/// How long a pod has to be away, or still there, for `kubectl delete` before 1.34 to notice.
///
/// It reads the pod, lists it, and looks at that list again 100 ms later (the poll period of client-go's
/// `WaitForCacheSync`): a pod that is gone and back under its name within that time leaves it waiting for a deletion it
/// never sees, on any API server.
pub const KUBECTL_DELETE: &str = "500ms";

/// Every listener on a free loopback port.
pub const FREE_PORTS: [&str; 2] = ["--dns-listen=127.0.0.1:0", "--http-listen=127.0.0.1:0"];

impl Ordinal {
    /// `ordinal up` with short delays, every port free unless they say otherwise, and `args`.
    pub fn up(args: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let kubeconfig = directory.path().join("kubeconfig");
        let mut command = Self::command();
        command.arg("up");
        if !args.iter().any(|it| it.starts_with("--api-listen=")) {
            command.arg("--api-listen=127.0.0.1:0");
        }
        command.args(FREE_PORTS).arg(format!("--kubeconfig-out={}", kubeconfig.display())).args(args);
        Self::start(command, directory)
    }

    /// `ordinal up` whose pods start and become ready at once.
    ///
    /// They take a moment to stop, see [`KUBECTL_DELETE`].
    pub fn up_fast(args: &[&str]) -> Self {
        let stop_delay = format!("--stop-delay={KUBECTL_DELETE}");
        let mut all = vec!["--start-delay=0s", "--ready-delay=0s", &stop_delay];
        all.extend(args);
        Self::up(&all)
    }

    /// `ordinal run` against the API server of `kubeconfig`.
    pub fn run(kubeconfig: &Path, args: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut command = Self::command();
        command.arg("run").args(FREE_PORTS).arg(format!("--kubeconfig={}", kubeconfig.display())).args(args);
        Self::start(command, directory)
    }

    /// `ordinal run` with no argument but these.
    pub fn run_with(kubeconfig: &Path, args: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut command = Self::command();
        command.arg("run").arg(format!("--kubeconfig={}", kubeconfig.display())).args(args);
        Self::start(command, directory)
    }

    /// The binary, or that of `ORDINAL_TEST_BINARY`, with an environment that cannot change what is tested.
    pub fn command() -> Command {
        let binary = std::env::var_os("ORDINAL_TEST_BINARY");
        let mut command = Command::new(binary.unwrap_or_else(|| env!("CARGO_BIN_EXE_ordinal").into()));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("ORDINAL_") {
                command.env_remove(name);
            }
        }
        command.env_remove("KUBECONFIG");
        command
    }

    fn start(mut command: Command, directory: tempfile::TempDir) -> Self {
        let started = Instant::now();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let stderr = Arc::new(Mutex::new(String::new()));
        let mut pipe = child.stderr.take().expect("piped");
        let sink = Arc::clone(&stderr);
        std::thread::spawn(move || {
            let mut buffer = [0; 8192];
            while let Ok(length @ 1..) = pipe.read(&mut buffer) {
                sink.lock().expect("unpoisoned").push_str(&String::from_utf8_lossy(&buffer[..length]));
            }
        });
        let mut line = String::new();
        let stdout = child.stdout.take().expect("piped");
        BufReader::new(stdout).read_line(&mut line).expect("the ready line is text");
        let took = started.elapsed();
        let Some(pairs) = line.trim().strip_prefix("ready") else {
            let status = child.wait();
            panic!("no ready line but {line:?}; {status:?}; stderr:\n{}", stderr.lock().expect("unpoisoned"));
        };
        let ready = pairs
            .split_whitespace()
            .filter_map(|pair| pair.split_once('='))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        Self { child, ready, took, directory, stderr }
    }

    /// A value of the ready line.
    pub fn get(&self, key: &str) -> &str {
        self.ready
            .iter()
            .find(|(name, _)| name == key)
            .map_or_else(|| panic!("no {key} in {:?}", self.ready), |(_, value)| value)
    }

    /// Where its kubeconfig is.
    pub fn kubeconfig(&self) -> PathBuf {
        self.directory.path().join("kubeconfig")
    }

    /// Where its DNS server listens.
    pub fn dns(&self) -> SocketAddr {
        self.get("dns").parse().expect("an address")
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything it wrote on stderr so far.
    pub fn stderr(&self) -> String {
        self.stderr.lock().expect("unpoisoned").clone()
    }

    /// Sends SIGTERM and returns the exit code.
    pub fn terminate(mut self) -> Option<i32> {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").arg(&pid).status().expect("kill runs").success());
        wait_for("the process to end", || match self.child.try_wait().expect("our child") {
            Some(status) => Ok(status.code()),
            None => Err(self.stderr()),
        })
    }

    /// Ends it without warning, like a crash.
    pub fn kill(&mut self) {
        self.child.kill().expect("our child");
        self.child.wait().expect("our child");
    }

    /// `kubectl` of this API server.
    pub fn kubectl(&self, binary: &Path) -> Kubectl {
        Kubectl::new(binary, &self.kubeconfig())
    }

    /// One HTTP GET of its health and metrics port: status and body.
    pub fn http_get(&self, path: &str) -> (u16, String) {
        use std::io::Write as _;
        let mut stream = std::net::TcpStream::connect(self.get("http")).expect("it listens");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").expect("sent");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("an answer");
        let status = text.split_whitespace().nth(1).and_then(|it| it.parse().ok()).expect("a status line");
        (status, text.split_once("\r\n\r\n").map_or(String::new(), |(_, body)| body.to_owned()))
    }

    /// `dig +short NAME TYPE`: the sorted rdata lines.
    pub fn dig_short(&self, name: &str, qtype: &str) -> Vec<String> {
        let mut lines: Vec<_> = self.dig(&["+short", name, qtype]).lines().map(str::to_owned).collect();
        lines.sort();
        lines
    }

    /// The status of a name, such as `NXDOMAIN`.
    pub fn dig_status(&self, name: &str, qtype: &str) -> String {
        let output = self.dig(&[name, qtype]);
        output
            .split_once("status: ")
            .and_then(|(_, rest)| rest.split_once(','))
            .map_or_else(|| panic!("no status in {output}"), |(status, _)| status.to_owned())
    }

    /// `dig` against its DNS server.
    pub fn dig(&self, args: &[&str]) -> String {
        let server = self.dns();
        let output = Command::new("dig")
            .arg(format!("@{}", server.ip()))
            .args(["-p", &server.port().to_string(), "+tries=1", "+time=5"])
            .args(args)
            .output()
            .expect("dig runs");
        String::from_utf8(output.stdout).expect("dig prints text")
    }
}

impl Drop for Ordinal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- stderr of ordinal ---\n{}", self.stderr());
        }
    }
}

/// One kubectl binary and one cluster. Caches go to a folder of its own, so runs do not see each other's discovery.
pub struct Kubectl {
    binary: PathBuf,
    kubeconfig: PathBuf,
    cache: tempfile::TempDir,
}

impl Kubectl {
    /// A kubectl for the cluster of `kubeconfig`.
    pub fn new(binary: &Path, kubeconfig: &Path) -> Self {
        let cache = tempfile::tempdir().expect("a temporary directory");
        Self { binary: binary.to_owned(), kubeconfig: kubeconfig.to_owned(), cache }
    }

    /// The command line, split at spaces like the documents print them, without the word `kubectl`.
    pub fn command(&self, line: &str) -> Command {
        self.command_args(&line.split_whitespace().collect::<Vec<_>>())
    }

    /// The same with arguments that hold spaces.
    pub fn command_args(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.env("KUBECONFIG", &self.kubeconfig).env("HOME", self.cache.path()).args(args);
        command
    }

    /// Runs it and returns stdout; panics with everything it said when it fails.
    pub fn ok(&self, line: &str) -> String {
        succeed(line, &finish(self.command(line)))
    }

    /// [`Kubectl::ok`] with arguments that hold spaces.
    pub fn ok_args(&self, args: &[&str]) -> String {
        succeed(&args.join(" "), &finish(self.command_args(args)))
    }

    /// Runs it, expects failure, and returns stderr.
    pub fn fails(&self, line: &str) -> String {
        let output = finish(self.command(line));
        assert!(!output.status.success(), "kubectl {line} succeeded");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    /// [`Kubectl::fails`] with arguments that hold spaces.
    pub fn fails_args(&self, args: &[&str]) -> String {
        let output = finish(self.command_args(args));
        assert!(!output.status.success(), "kubectl {args:?} succeeded");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    /// One object as JSON.
    pub fn json(&self, line: &str) -> Value {
        serde_json::from_str(&self.ok(&format!("{line} -o json"))).expect("kubectl prints JSON")
    }

    /// Starts a long-running command, such as `get pods -w`, whose stdout collects in the background.
    pub fn start(&self, line: &str) -> Following {
        let mut child =
            self.command(line).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("kubectl starts");
        let text = Arc::new(Mutex::new(String::new()));
        let (sink, pipe) = (Arc::clone(&text), child.stdout.take().expect("piped"));
        std::thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                let mut text = sink.lock().expect("unpoisoned");
                text.push_str(&line);
                text.push('\n');
            }
        });
        Following { child, text }
    }
}

/// A command that is still printing.
pub struct Following {
    child: Child,
    text: Arc<Mutex<String>>,
}

impl Following {
    /// What it printed so far.
    pub fn text(&self) -> String {
        self.text.lock().expect("unpoisoned").clone()
    }

    /// Waits until a line matches.
    pub fn wait_for_line(&self, what: &str, matches: impl Fn(&str) -> bool) {
        wait_for(what, || {
            let text = self.text();
            if text.lines().any(&matches) { Ok(()) } else { Err(text) }
        });
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a command to its end; one that outlives the deadline is killed and fails the test with what it printed.
pub fn finish(mut command: Command) -> Output {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let stdout = collect(child.stdout.take().expect("piped"));
    let stderr = collect(child.stderr.take().expect("piped"));
    let deadline = Instant::now() + DEADLINE;
    let status = loop {
        match child.try_wait().expect("our child") {
            Some(status) => break Some(status),
            None if Instant::now() > deadline => break None,
            None => pause(),
        }
    };
    let _ = child.kill();
    let [stdout, stderr] = [stdout, stderr].map(|it| it.join().expect("the reader does not panic"));
    let Some(status) = status else {
        let _ = child.wait();
        let said = [&stdout, &stderr].map(|it| String::from_utf8_lossy(it).into_owned()).concat();
        panic!("{command:?} did not end within {DEADLINE:?}; it said:\n{said}");
    };
    Output { status, stdout, stderr }
}

fn collect(mut pipe: impl std::io::Read + Send + 'static) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut all = Vec::new();
        let _ = pipe.read_to_end(&mut all);
        all
    })
}

fn succeed(line: &str, output: &Output) -> String {
    assert!(
        output.status.success(),
        "kubectl {line} failed:\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The kubectl binaries to test with: the colon-separated `ORDINAL_TEST_KUBECTL`, else the one on PATH.
///
/// Empty, after one line that says so, when there is none; with `ORDINAL_TEST_REQUIRE_TOOLS` set that is a failure.
pub fn kubectls() -> Vec<PathBuf> {
    let found: Vec<PathBuf> = match std::env::var_os("ORDINAL_TEST_KUBECTL") {
        Some(list) => std::env::split_paths(&list).collect(),
        None => on_path("kubectl").into_iter().collect(),
    };
    if found.is_empty() {
        skipped("kubectl");
    }
    found
}

/// Whether `dig` and `nslookup` are there; says so in one line when not.
pub fn has_dig() -> bool {
    let found = on_path("dig").is_some() && on_path("nslookup").is_some();
    if !found {
        skipped("dig and nslookup (Debian package bind9-dnsutils)");
    }
    found
}

fn skipped(tool: &str) {
    assert!(
        std::env::var_os("ORDINAL_TEST_REQUIRE_TOOLS").is_none(),
        "{tool} is needed and not on PATH, and ORDINAL_TEST_REQUIRE_TOOLS is set"
    );
    println!("SKIPPED: {tool} is not on PATH");
}

fn on_path(name: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?).map(|it| it.join(name)).find(|it| it.is_file())
}

/// The rows of a kubectl table without its header, split into columns at runs of two or more spaces.
pub fn rows(table: &str) -> Vec<Vec<String>> {
    table
        .lines()
        .skip(1)
        .map(|line| line.split("  ").map(str::trim).filter(|it| !it.is_empty()).map(str::to_owned).collect())
        .collect()
}

/// Asserts that `wanted` lines appear in `text` in this order, other lines between them allowed.
pub fn assert_in_order(text: &str, wanted: &[&str]) {
    let mut lines = text.lines();
    for want in wanted {
        assert!(lines.any(|line| line.contains(want)), "{want:?} missing or out of order in:\n{text}");
    }
}

/// Whether `name` has an address right now, asked over a connected UDP socket without EDNS.
pub fn resolves(socket: &std::net::UdpSocket, name: &str) -> bool {
    let mut query = vec![0x12, 0x34, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        query.push(u8::try_from(label.len()).expect("a label"));
        query.extend_from_slice(label.as_bytes());
    }
    query.extend_from_slice(&[0, 0, 1, 0, 1]);
    socket.send(&query).expect("sent");
    let mut reply = [0; 1500];
    let length = socket.recv(&mut reply).expect("an answer");
    let rcode = reply[3] & 0x0f;
    length > 12 && rcode == 0 && reply[7] > 0
}

/// Resident memory of a process in KiB (Linux).
pub fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|it| it.parse().ok()).unwrap_or(0)
}

/// User and system time a process has used, in seconds (Linux, 100 ticks a second).
pub fn cpu_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: u64 =
        after_name.split_whitespace().skip(11).take(2).filter_map(|it| it.parse::<u64>().ok()).sum();
    ticks as f64 / 100.0
}
