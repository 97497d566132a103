//! An API server with a node that simulates pods and with no controllers of ours: the embedded one, or, when
//! `KUBEBUILDER_ASSETS` names a folder with `etcd`, `kube-apiserver` and `kube-controller-manager`, a real one.
//!
//! The real one has the loops a cluster always has (garbage collector, namespaces), and not those that ordinal replaces.

#![allow(dead_code, reason = "every test file uses a part of it")]

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use tokio_util::sync::CancellationToken;

use crate::common::{KUBECTL_DELETE, Kubectl, Ordinal, kubectls, wait_for};

/// See the module.
pub enum Cluster {
    /// `ordinal up` without components.
    Embedded(Box<Ordinal>),
    /// Processes of Kubernetes, and the node in a thread of this one.
    Real(Box<Real>),
}

/// A control plane of Kubernetes on loopback.
pub struct Real {
    // Dropped in this order.
    node: CancellationToken,
    processes: Vec<Process>,
    folder: tempfile::TempDir,
}

/// Ended when dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Where the binaries of Kubernetes are, if the suite is to run on them.
pub fn assets() -> Option<PathBuf> {
    std::env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from).filter(|it| !it.as_os_str().is_empty())
}

impl Cluster {
    /// Whichever the environment asks for, with pods as quick as they come.
    pub fn start() -> Self {
        match assets() {
            None => Self::Embedded(Box::new(Ordinal::up_fast(&["--components=", "--simulate-node=true"]))),
            Some(assets) => Self::Real(Box::new(Real::start(&assets))),
        }
    }

    /// Its kubeconfig file.
    pub fn kubeconfig(&self) -> PathBuf {
        match self {
            Self::Embedded(it) => it.kubeconfig(),
            Self::Real(it) => it.folder.path().join("kubeconfig"),
        }
    }

    /// `kubectl` of this API server.
    pub fn kubectl(&self, binary: &Path) -> Kubectl {
        Kubectl::new(binary, &self.kubeconfig())
    }

    /// Ends the API server without warning.
    pub fn kill(&mut self) {
        match self {
            Self::Embedded(it) => it.kill(),
            Self::Real(it) => {
                it.node.cancel();
                it.processes.clear();
            }
        }
    }
}

impl Real {
    fn start(assets: &Path) -> Self {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let path = |name: &str| folder.path().join(name).display().to_string();
        // Three at once, so that they differ.
        let sockets = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"));
        let [etcd, peer, api] = sockets.map(|it| it.local_addr().expect("bound").port());
        let mut processes = Vec::new();
        let mut start = |name: &str, args: &[String]| {
            let log = std::fs::File::create(folder.path().join(format!("{name}.log"))).expect("a log");
            let child = Command::new(assets.join(name))
                .args(args)
                .stdin(Stdio::null())
                .stdout(log.try_clone().expect("a log"))
                .stderr(log)
                .spawn()
                .unwrap_or_else(|error| panic!("{}: {error}", assets.join(name).display()));
            processes.push(Process(child));
        };

        start(
            "etcd",
            &[
                format!("--data-dir={}", path("etcd")),
                format!("--listen-client-urls=http://127.0.0.1:{etcd}"),
                format!("--advertise-client-urls=http://127.0.0.1:{etcd}"),
                format!("--listen-peer-urls=http://127.0.0.1:{peer}"),
                "--unsafe-no-fsync".to_owned(),
            ],
        );
        // Of an elliptic curve: the API server reads the private one as PKCS #8, the public one only on its own.
        let key = rcgen::KeyPair::generate().expect("a key");
        std::fs::write(path("accounts.key"), key.serialize_pem()).expect("written");
        std::fs::write(path("accounts.pub"), key.public_key_pem()).expect("written");
        std::fs::write(path("tokens.csv"), "test,test,test,system:masters\n").expect("written");
        start(
            "kube-apiserver",
            &[
                format!("--etcd-servers=http://127.0.0.1:{etcd}"),
                "--bind-address=127.0.0.1".to_owned(),
                format!("--secure-port={api}"),
                format!("--cert-dir={}", path("certificates")),
                format!("--token-auth-file={}", path("tokens.csv")),
                "--authorization-mode=RBAC".to_owned(),
                "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
                format!("--service-account-key-file={}", path("accounts.pub")),
                format!("--service-account-signing-key-file={}", path("accounts.key")),
                "--service-cluster-ip-range=10.96.0.0/16".to_owned(),
                // The loops that make accounts and remove the taint of a new node do not run here.
                "--disable-admission-plugins=ServiceAccount,TaintNodesByCondition".to_owned(),
                "--endpoint-reconciler-type=none".to_owned(),
            ],
        );
        let kubeconfig = folder.path().join("kubeconfig");
        write_kubeconfig(
            &kubeconfig,
            &format!("https://127.0.0.1:{api}"),
            &path("certificates/apiserver.crt"),
        );
        let kubectl = Kubectl::new(&kubectls().pop().expect("kubectl is needed here"), &kubeconfig);
        wait_for("the real API server", || {
            let output = kubectl.command("get --raw /readyz").output().expect("kubectl runs");
            let log =
                || std::fs::read_to_string(folder.path().join("kube-apiserver.log")).unwrap_or_default();
            if output.status.success() { Ok(()) } else { Err(log()) }
        });
        start(
            "kube-controller-manager",
            &[
                format!("--kubeconfig={}", kubeconfig.display()),
                "--controllers=garbage-collector-controller,namespace-controller".to_owned(),
                "--leader-elect=false".to_owned(),
                "--secure-port=0".to_owned(),
            ],
        );
        kubectl.ok(&format!("create -f {}", crate::common::fixture("real").display()));
        kubectl.ok("wait --for=condition=Established --timeout=30s crd --all");
        let node = simulate(&kubeconfig);
        Self { node, processes, folder }
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        self.node.cancel();
    }
}

fn write_kubeconfig(path: &Path, server: &str, authority: &str) {
    let text = format!(
        "apiVersion: v1
kind: Config
clusters: [{{name: test, cluster: {{server: '{server}', certificate-authority: '{authority}'}}}}]
users: [{{name: test, user: {{token: test}}}}]
contexts: [{{name: test, context: {{cluster: test, user: test}}}}]
current-context: test
"
    );
    std::fs::write(path, text).expect("written");
}

/// Plays the node in a thread of its own until cancelled; returns once it is ready.
fn simulate(kubeconfig: &Path) -> CancellationToken {
    let (stop, path) = (CancellationToken::new(), kubeconfig.to_owned());
    let (ready, is_ready) = std::sync::mpsc::channel();
    let until = stop.clone();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let file = Kubeconfig::read_from(&path).expect("a kubeconfig");
            let config = kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await;
            let client = kube::Client::try_from(config.expect("a kubeconfig")).expect("a client");
            let node = ordinal::node::NodeConfig {
                start_delay: Duration::ZERO,
                ready_delay: Duration::ZERO,
                stop_delay: ordinal::model::duration::parse(KUBECTL_DELETE).expect("a duration"),
                ..ordinal::node::NodeConfig::default()
            };
            let metrics = ordinal::runtime::ControllerMetrics::default();
            ordinal::node::run(client, node, metrics, move || ready.send(()).expect("the test waits"), until)
                .await;
        });
    });
    is_ready.recv_timeout(Duration::from_secs(60)).expect("the node registers");
    stop
}
