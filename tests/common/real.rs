//! A control plane of Kubernetes on loopback: etcd, kube-apiserver and kube-controller-manager as processes, with a node
//! that is simulated in a thread of this one.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use tokio_util::sync::CancellationToken;

use crate::common::{KUBECTL_DELETE, Kubectl, fixture, kubectls, wait_within};

/// Loops that every cluster has and that ordinal does not replace.
pub const LOOPS: &str = "garbage-collector-controller,namespace-controller";

/// Who controls workloads on a real cluster besides StatefulSets.
pub const WORKLOADS: &str =
    "deployment-controller,replicaset-controller,replicationcontroller-controller,disruption-controller";

/// What ordinal's controllers replace.
pub const OURS: &str = "statefulset-controller,endpointslice-controller";

/// How long a control plane may take to start on a busy machine.
const START: Duration = Duration::from_secs(180);

/// How a control plane is set up.
pub struct Setup<'a> {
    /// Loops of kube-controller-manager, comma-separated.
    pub loops: &'a str,
    /// How long simulated pods take to start.
    pub start_delay: Duration,
    /// Whether requests are written to the audit log.
    pub audit: bool,
}

impl Default for Setup<'_> {
    fn default() -> Self {
        Self { loops: LOOPS, start_delay: Duration::ZERO, audit: false }
    }
}

/// A running control plane; ended when dropped.
pub struct Real {
    // Dropped in this order.
    node: CancellationToken,
    manager: Option<Process>,
    server: Vec<Process>,
    arguments: Vec<(String, Vec<String>)>,
    assets: PathBuf,
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

/// [`assets`], after one line that says what is skipped without them.
pub fn assets_or_skip(what: &str) -> Option<PathBuf> {
    let found = assets();
    if found.is_none() {
        println!("SKIPPED: {what} needs KUBEBUILDER_ASSETS (tests/envtest/build)");
    }
    found
}

impl Real {
    /// Starts it and waits until it serves and the node is ready.
    pub fn start(assets: &Path, setup: &Setup<'_>) -> Self {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let path = |name: &str| folder.path().join(name).display().to_string();
        // Three at once, so that they differ.
        let sockets = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"));
        let [etcd, peer, api] = sockets.map(|it| it.local_addr().expect("bound").port());
        // Of an elliptic curve: the API server reads the private one as PKCS #8, the public one only on its own.
        let key = rcgen::KeyPair::generate().expect("a key");
        std::fs::write(path("accounts.key"), key.serialize_pem()).expect("written");
        std::fs::write(path("accounts.pub"), key.public_key_pem()).expect("written");
        std::fs::write(path("tokens.csv"), "test,test,test,system:masters\n").expect("written");
        let mut server = vec![
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
            // Owners that block deletion need `update` on their finalizers, as on many clusters.
            "--enable-admission-plugins=OwnerReferencesPermissionEnforcement".to_owned(),
            "--endpoint-reconciler-type=none".to_owned(),
        ];
        if setup.audit {
            std::fs::write(path("audit.yaml"), AUDIT).expect("written");
            server.push(format!("--audit-policy-file={}", path("audit.yaml")));
            server.push(format!("--audit-log-path={}", path("audit.log")));
        }
        let store = vec![
            format!("--data-dir={}", path("etcd")),
            format!("--listen-client-urls=http://127.0.0.1:{etcd}"),
            format!("--advertise-client-urls=http://127.0.0.1:{etcd}"),
            format!("--listen-peer-urls=http://127.0.0.1:{peer}"),
            "--unsafe-no-fsync".to_owned(),
        ];
        let arguments = vec![("etcd".to_owned(), store), ("kube-apiserver".to_owned(), server)];
        let authority = path("certificates/apiserver.crt");
        write_kubeconfig(
            &folder.path().join("kubeconfig"),
            &format!("https://127.0.0.1:{api}"),
            &authority,
            "test",
        );
        let mut real = Self {
            node: CancellationToken::new(),
            manager: None,
            server: Vec::new(),
            arguments,
            assets: assets.to_owned(),
            folder,
        };
        real.serve();
        real.control(setup.loops);
        let kubectl = real.kubectl();
        kubectl.ok(&format!("create -f {}", fixture("real").display()));
        kubectl.ok("wait --for=condition=Established --timeout=30s crd --all");
        real.node = simulate(&real.kubeconfig(), setup.start_delay);
        real
    }

    /// Starts etcd and the API server, with what they stored before, and waits until they serve.
    pub fn serve(&mut self) {
        self.server = self.arguments.iter().map(|(name, args)| self.process(name, args)).collect();
        let kubectl = self.kubectl();
        wait_within(START, "the real API server", || {
            let output = kubectl.command("get --raw /readyz").output().expect("kubectl runs");
            if output.status.success() { Ok(()) } else { Err(self.log("kube-apiserver.log")) }
        });
    }

    /// Runs these loops of kube-controller-manager instead of those before.
    pub fn control(&mut self, loops: &str) {
        self.manager = None;
        let args = [
            format!("--kubeconfig={}", self.kubeconfig().display()),
            format!("--controllers={loops}"),
            "--leader-elect=false".to_owned(),
            "--secure-port=0".to_owned(),
            // As many requests a second as ordinal may send.
            "--kube-api-qps=1000".to_owned(),
            "--kube-api-burst=1000".to_owned(),
        ];
        self.manager = Some(self.process("kube-controller-manager", &args));
    }

    /// Ends kube-controller-manager.
    pub fn end_control(&mut self) {
        self.manager = None;
    }

    /// Ends all but the API server and its store.
    pub fn end_rest(&mut self) {
        self.manager = None;
        self.node.cancel();
    }

    /// Of the store and the API server.
    pub fn pids(&self) -> Vec<u32> {
        self.server.iter().map(|it| it.0.id()).collect()
    }

    /// Ends the API server and its store without warning; the node goes on trying.
    pub fn kill(&mut self) {
        self.server.clear();
    }

    fn process(&self, name: &str, args: &[String]) -> Process {
        let log = std::fs::File::create(self.folder.path().join(format!("{name}.log"))).expect("a log");
        let child = Command::new(self.assets.join(name))
            .args(args)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", self.assets.join(name).display()));
        Process(child)
    }

    /// What a file of this cluster holds, such as `audit.log`.
    pub fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(name)).unwrap_or_default()
    }

    /// Of somebody who may do everything.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("kubeconfig")
    }

    /// `kubectl` of somebody who may do everything, the newest there is.
    pub fn kubectl(&self) -> Kubectl {
        Kubectl::new(&kubectls().pop().expect("kubectl is needed here"), &self.kubeconfig())
    }

    /// The kubeconfig of a service account.
    pub fn account(&self, namespace: &str, name: &str) -> PathBuf {
        let token = self.kubectl().ok(&format!("create token {name} -n {namespace}"));
        let text = std::fs::read_to_string(self.kubeconfig()).expect("written at the start");
        let path = self.folder.path().join(format!("kubeconfig-{namespace}-{name}"));
        std::fs::write(&path, text.replace("token: test", &format!("token: {}", token.trim())))
            .expect("written");
        path
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        self.node.cancel();
    }
}

/// Every request, without its content.
const AUDIT: &str =
    "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules: [{level: Metadata}]\n";

fn write_kubeconfig(path: &Path, server: &str, authority: &str, token: &str) {
    let text = format!(
        "apiVersion: v1
kind: Config
clusters: [{{name: test, cluster: {{server: '{server}', certificate-authority: '{authority}'}}}}]
users: [{{name: test, user: {{token: {token}}}}}]
contexts: [{{name: test, context: {{cluster: test, user: test}}}}]
current-context: test
"
    );
    std::fs::write(path, text).expect("written");
}

/// Plays the node in a thread of its own until cancelled; returns once it is ready.
fn simulate(kubeconfig: &Path, start_delay: Duration) -> CancellationToken {
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
                start_delay,
                ready_delay: Duration::ZERO,
                stop_delay: ordinal::model::duration::parse(KUBECTL_DELETE).expect("a duration"),
                ..ordinal::node::NodeConfig::default()
            };
            let metrics = ordinal::runtime::ControllerMetrics::default();
            ordinal::node::run(client, node, metrics, move || ready.send(()).expect("the test waits"), until)
                .await;
        });
    });
    is_ready.recv_timeout(START).expect("the node registers");
    stop
}
