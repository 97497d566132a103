//! What the behaviour suite runs on: the embedded API server, or, when `KUBEBUILDER_ASSETS` names a folder with `etcd`,
//! `kube-apiserver` and `kube-controller-manager`, a real one.
//!
//! The real one has the loops a cluster always has (garbage collector, namespaces, and Deployments for a whole cluster), and
//! not those that ordinal replaces. There ordinal's controllers and its DNS are processes of their own, each with the
//! account and the roles of deploy/ and with no others.

#![allow(dead_code, reason = "every test file uses a part of it")]

pub mod real;

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::common::{KUBECTL_DELETE, Kubectl, Ordinal, kubectls};
use real::{Real, Setup, assets};

/// Whether a whole real cluster has kube-controller-manager's controllers instead of ours, to see that users could not
/// tell them apart: `ORDINAL_TEST_CONTROLLERS=kube-controller-manager`.
pub fn theirs() -> bool {
    std::env::var("ORDINAL_TEST_CONTROLLERS").is_ok_and(|it| it == "kube-controller-manager")
}

/// The manifests of deploy/.
pub const DEPLOY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/kustomize");

/// See the module.
pub enum Cluster {
    /// `ordinal up`.
    Embedded(Box<Ordinal>),
    /// Processes of Kubernetes, and ours beside them.
    Real {
        /// Ended before the cluster.
        ours: Vec<Ordinal>,
        /// Kubernetes.
        cluster: Box<Real>,
    },
}

/// The kubectl binaries to run a test with: all of them on the embedded API server, where a start is cheap, else one.
pub fn binaries() -> Vec<PathBuf> {
    let mut all = kubectls();
    if assets().is_some() && all.len() > 1 {
        // Neither the newest nor one too old for the server, if there is a choice.
        all = vec![all.swap_remove(all.len() / 2)];
    }
    all
}

impl Cluster {
    /// An API server with a node whose pods are as quick as they come, and no controllers of ours.
    pub fn start() -> Self {
        match assets() {
            None => Self::Embedded(Box::new(Ordinal::up_fast(&["--components=", "--simulate-node=true"]))),
            Some(assets) => {
                let cluster = Box::new(Real::start(&assets, &Setup::default()));
                Self::Real { ours: Vec::new(), cluster }
            }
        }
    }

    /// The same with our controllers and DNS.
    pub fn whole() -> Self {
        Self::whole_with(Duration::ZERO)
    }

    /// The same with pods that take so long to start.
    pub fn whole_with(start_delay: Duration) -> Self {
        let Some(assets) = assets() else {
            let (start, stop) = (format!("{start_delay:?}"), format!("--stop-delay={KUBECTL_DELETE}"));
            let args = [&format!("--start-delay={start}"), "--ready-delay=0s", &stop];
            return Self::Embedded(Box::new(Ordinal::up(&args)));
        };
        let mut loops = format!("{},{}", real::LOOPS, real::WORKLOADS);
        if theirs() {
            loops = format!("{loops},{}", real::OURS);
        }
        let setup = Setup { loops: &loops, start_delay, ..Setup::default() };
        let cluster = Box::new(Real::start(&assets, &setup));
        let ours = deployed(&cluster, &[]);
        Self::Real { ours, cluster }
    }

    /// The kubeconfig of somebody who may do everything.
    pub fn kubeconfig(&self) -> PathBuf {
        match self {
            Self::Embedded(it) => it.kubeconfig(),
            Self::Real { cluster, .. } => cluster.kubeconfig(),
        }
    }

    /// `kubectl` of this API server.
    pub fn kubectl(&self, binary: &Path) -> Kubectl {
        Kubectl::new(binary, &self.kubeconfig())
    }

    /// The process that answers DNS.
    pub fn dns(&self) -> &Ordinal {
        match self {
            Self::Embedded(it) => it,
            Self::Real { ours, .. } => ours.last().expect("the cluster is a whole one"),
        }
    }

    /// What our processes said.
    pub fn stderr(&self) -> String {
        match self {
            Self::Embedded(it) => it.stderr(),
            Self::Real { ours, .. } => ours.iter().map(Ordinal::stderr).collect(),
        }
    }

    /// Ends the API server without warning.
    pub fn kill(&mut self) {
        match self {
            Self::Embedded(it) => it.kill(),
            Self::Real { cluster, .. } => cluster.kill(),
        }
    }
}

/// Our processes as deploy/ runs them, each with its own account: first the controllers, unless [`theirs`] run, then DNS.
pub fn deployed(cluster: &Real, more: &[&str]) -> Vec<Ordinal> {
    let kubectl = cluster.kubectl();
    let folder = tempfile::tempdir().expect("a temporary directory");
    for part in ["controllers", "dns"] {
        let all = kubectl.ok(&format!("kustomize {DEPLOY}/{part}"));
        // Nobody is there to pull the image.
        let rest: Vec<_> = all.split("\n---\n").filter(|it| !it.contains("\nkind: Deployment\n")).collect();
        let file = folder.path().join("objects.yaml");
        std::fs::write(&file, rest.join("\n---\n")).expect("written");
        kubectl.ok(&format!("apply -f {}", file.display()));
    }
    let run = |part: &str, args: &[&str]| {
        let config = format!("--config={DEPLOY}/{part}/ordinal.yaml");
        let args =
            [&[&config, "--log-format=text", "--leader-elect-resource-namespace=ordinal"], args].concat();
        Ordinal::run(&cluster.account("ordinal", &format!("ordinal-{part}")), &args)
    };
    let mut all: Vec<_> = (!theirs()).then(|| run("controllers", more)).into_iter().collect();
    all.push(run("dns", &[]));
    all
}
