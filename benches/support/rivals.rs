//! Our controllers and those of kube-controller-manager, each in a process of its own.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::common::Ordinal;

#[path = "../../tests/common/cluster.rs"]
pub mod cluster;

/// Who takes turns: kube-controller-manager only where its binary is at hand.
pub fn rivals() -> &'static [&'static str] {
    match cluster::real::assets() {
        Some(_) => &["ordinal", "kube-controller-manager"],
        None => &["ordinal"],
    }
}

/// A controller in a process of its own, without an election and without a limit on its requests; ended when dropped.
pub enum Controller {
    /// `ordinal run`.
    Ours(Ordinal),
    /// kube-controller-manager.
    Theirs(Child),
}

impl Controller {
    /// Starts that of one of the [`rivals`]: ours with these components, theirs with these loops.
    pub fn start(name: &str, components: &str, loops: &str, kubeconfig: &Path) -> Self {
        if name == "ordinal" {
            let components = format!("--components={components}");
            return Self::Ours(Ordinal::run(
                kubeconfig,
                &[&components, "--leader-elect=false", "--log-level=warn"],
            ));
        }
        let binary = cluster::real::assets().expect("asked for").join("kube-controller-manager");
        let child = Command::new(binary)
            .arg(format!("--kubeconfig={}", kubeconfig.display()))
            .arg(format!("--controllers={loops}"))
            .args(["--leader-elect=false", "--secure-port=0"])
            .args(["--kube-api-qps=10000", "--kube-api-burst=10000"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        Self::Theirs(child)
    }

    /// Of its process.
    pub fn pid(&self) -> u32 {
        match self {
            Self::Ours(it) => it.pid(),
            Self::Theirs(it) => it.id(),
        }
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        if let Self::Theirs(child) = self {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
