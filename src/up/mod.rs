//! `ordinal up`: everything on this machine.
//!
//! Embedded API server ──in process──▶ `kube::Client` ──▶ simulated node, controllers, DNS;
//! the same server on a socket for kubectl: on loopback, under a secret path that only the kubeconfig holds, or over TLS with a
//! token that only the kubeconfig holds.

pub mod apply;
pub mod kubeconfig;
pub mod manifest;
mod usage;

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use jiff::Timestamp;
use kube::Client;
use tokio::time::Instant;
use tracing::{error, warn};

use crate::apiserver::journal::folder::Folder;
use crate::apiserver::tls::Keys;
use crate::apiserver::{self, ApiServer, Door, Ranges};
use crate::components::{Process, Running, bind_context};
use crate::config::{Config, Mode};
use crate::reload::Reload;
use crate::run::ready_line;
use crate::{lookup, node};
use kubeconfig::{Access, Lifetime};
use manifest::Manifest;

/// What the demo applies.
const DEMO: &str = include_str!("../../deploy/demo/web.yaml");

/// The name it suggests to look up.
const DEMO_NAME: &str = "web-0.nginx.default.svc.cluster.local";

/// How long the ready line waits for that name.
const DEMO_DEADLINE: Duration = Duration::from_secs(5);

/// Runs until SIGTERM or SIGINT. `manifests` are applied before the ready line.
///
/// # Errors
/// An address in use, a kubeconfig that cannot be written, a data directory that cannot be used, or a manifest that is
/// refused.
pub async fn run(
    config: Config,
    mut manifests: Vec<Manifest>,
    demo: Demo,
    reload: Reload,
) -> anyhow::Result<()> {
    kubeconfig::check(&config.api.kubeconfig_out)?;
    let listen = config.api.listen;
    let listener =
        crate::http_server::listen(listen).with_context(|| bind_context("--api-listen", listen))?;
    let address = listener.local_addr().context("the API listener has no address")?;
    let mut process = Process::bind(&config, Mode::Up)?;

    let options = apiserver::Options {
        protect_storage: config.node.simulate,
        // Requests of kube clients without a name are those of our own components, too.
        own_managers: vec![String::new(), "ordinal".to_owned()],
        service_ranges: if config.api.dual_stack { Ranges::dual_stack() } else { Ranges::default() },
        ..apiserver::Options::default()
    };
    let now = Timestamp::now();
    let keys = config.api.tls.then(|| Keys::generate(now)).transpose()?;
    let (server, base_path, keys) = match &config.api.data_dir {
        None => (ApiServer::new(options), new_base_path(), keys),
        Some(path) => {
            let folder = Folder::open_for_tls(path, &new_base_path(), keys)?;
            let (base_path, keys) = (folder.base_path.clone(), folder.keys.clone());
            (ApiServer::open(options, folder), base_path, keys)
        }
    };
    let reached = reachable(address);
    let (url, access, door) = match keys {
        None => {
            let url = format!("http://{reached}");
            let access = Access { server: format!("{url}{base_path}"), tls: None };
            (url, access, Door::SecretPath(base_path))
        }
        Some(keys) => {
            let url = format!("https://{reached}");
            let acceptor = keys.acceptor(address.ip(), &config.api.tls_san, now)?;
            let access = Access { server: url.clone(), tls: Some((keys.authority, keys.token.clone())) };
            (url, access, Door::Tls { acceptor, token: keys.token })
        }
    };
    if let Some(source) = process.usage() {
        server.set_metrics(Arc::new(usage::Simulated(source)));
    }
    let client = Client::new(server.router(), "default");
    let lifetime = if config.api.data_dir.is_some() { Lifetime::Stays } else { Lifetime::Goes };
    let kubeconfig = kubeconfig::write(&config.api.kubeconfig_out, &access, lifetime)?;
    process.spawn_base({
        let server = server.clone();
        |stop| server.run(stop)
    });
    process.spawn_base(|stop| async move {
        if let Err(error) = server.serve(listener, door, stop).await {
            error!(%error, "the API server ended");
        }
    });
    if config.node.simulate {
        let options = node::NodeConfig {
            start_delay: config.node.start_delay,
            ready_delay: config.node.ready_delay,
            stop_delay: config.node.stop_delay,
            dual_stack: config.api.dual_stack,
            ..node::NodeConfig::default()
        };
        let (client, metrics) = (client.clone(), process.controller_metrics());
        process.spawn("node", |ready, stop| node::run(client, options, metrics, move || ready.set(), stop));
    }
    let mut running = process.start(&client);

    if demo == Demo::Apply {
        manifests.extend(manifest::parse("the built-in demo", DEMO).map_err(anyhow::Error::msg)?);
    }
    if let Err(refused) = apply::apply(&client, &manifests).await {
        running.shutdown().await;
        return Err(refused);
    }
    if demo == Demo::Apply
        && config.node.simulate
        && let Some(dns) = running.addresses.dns.first()
    {
        wait_for_demo(&running, *dns).await;
    }
    let shown = config.api.kubeconfig_out.display().to_string();
    let hint = (demo == Demo::Apply).then(|| what_to_try(&shown, &running));
    let line = ready_line(&running.addresses, &[("api", url), ("kubeconfig", shown)]);
    let ended = running
        .announce_and_serve(
            move || {
                println!("{line}");
                if let Some(hint) = hint {
                    eprintln!("{hint}");
                }
            },
            reload,
        )
        .await;
    drop(kubeconfig);
    ended
}

/// Where this machine reaches what listens at `address`.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() {
            Ipv4Addr::LOCALHOST.into()
        } else {
            Ipv6Addr::LOCALHOST.into()
        });
    }
    address
}

/// A secret that nobody can guess.
fn new_base_path() -> String {
    format!("/{}", uuid::Uuid::new_v4().simple())
}

/// Whether `--demo` was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Demo {
    /// Apply it and print what to try.
    Apply,
    /// Leave it.
    No,
}

/// Holds the ready line until the name it suggests has an answer.
async fn wait_for_demo(running: &Running, dns: SocketAddr) {
    running.ready().await;
    let deadline = Instant::now() + DEMO_DEADLINE;
    while !lookup::resolves(DEMO_NAME, dns).await {
        if Instant::now() > deadline {
            warn!(name = DEMO_NAME, "the demo's first pod is not in DNS yet");
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await; // allow-sleep: polls a condition, with a deadline
    }
}

/// Three commands that work when pasted.
fn what_to_try(kubeconfig: &str, running: &Running) -> String {
    let kubectl = format!("kubectl --kubeconfig {}", quote(kubeconfig));
    let dig = running.addresses.dns.first().map_or_else(String::new, |dns| {
        format!("  dig @{} -p {} {DEMO_NAME} +short\n", dns.ip(), dns.port())
    });
    format!(
        "\nTry in another terminal:\n  {kubectl} get pods -o wide\n{dig}  {kubectl} scale sts web --replicas=5\n"
    )
}

/// Quotes a word for a POSIX shell when it needs it.
fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_when_a_shell_would_split_them() {
        assert_eq!(quote("ordinal.kubeconfig"), "ordinal.kubeconfig");
        assert_eq!(quote("my file"), "'my file'");
        assert_eq!(quote("it's"), r"'it'\''s'");
    }

    #[test]
    fn every_address_is_reached_over_loopback() {
        for (address, want) in [
            ("0.0.0.0:1", "127.0.0.1:1"),
            ("[::]:2", "[::1]:2"),
            ("10.0.0.1:3", "10.0.0.1:3"),
            ("127.0.0.1:4", "127.0.0.1:4"),
        ] {
            assert_eq!(reachable(address.parse().expect("an address")).to_string(), want);
        }
    }

    #[test]
    fn the_demo_is_a_valid_manifest() {
        let kinds: Vec<_> = manifest::parse("demo", DEMO)
            .expect("valid")
            .into_iter()
            .map(|it| it.object["kind"].as_str().unwrap_or_default().to_owned())
            .collect();
        assert_eq!(kinds, ["Service", "StatefulSet"]);
    }
}
