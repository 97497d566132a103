//! `ordinal run`: the chosen components against a cluster.

use anyhow::Context as _;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config as ClientConfig};
use tracing::warn;

use crate::components::{Addresses, Process};
use crate::config::{ClusterConfig, Component, Config, Mode};
use crate::k8s::proxy;
use crate::reload::Reload;

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// An address in use, or a cluster that cannot be configured.
pub async fn run(config: Config, reload: Reload) -> anyhow::Result<()> {
    let process = Process::bind(&config, Mode::Run)?;
    let components = config.components(Mode::Run)?;
    if components.len() > 1 && components.contains(&Component::Dns) {
        warn!(
            "one process reads packets from the network and holds the credentials of controllers: for trying things out"
        );
    }
    let client = client(&config.cluster).await?;
    let running = process.start(&client);
    let line = ready_line(&running.addresses, &[]);
    running.announce_and_serve(move || println!("{line}"), reload).await
}

/// A client for the cluster that the configuration or the environment names.
///
/// # Errors
/// No cluster is named, or its kubeconfig cannot be used.
pub async fn client(cluster: &ClusterConfig) -> anyhow::Result<Client> {
    let (mut config, kubeconfig) = access(cluster).await?;
    if let Some(kubeconfig) = &kubeconfig {
        let named = proxy::of_kubeconfig(kubeconfig, cluster.context.as_deref());
        let environment = proxy::Environment::read(|name| std::env::var(name).ok());
        config.proxy_url = proxy::choose(&config.cluster_url, named, &environment)
            .context("the proxy of the kubeconfig, or of HTTPS_PROXY, is no URL")?;
    }
    Client::try_from(config).context("cannot build a client for the cluster")
}

/// How to reach the cluster, and the kubeconfig that says so; inside a cluster there is none.
async fn access(cluster: &ClusterConfig) -> anyhow::Result<(ClientConfig, Option<Kubeconfig>)> {
    let (read, problem) = match &cluster.kubeconfig {
        Some(path) => (Kubeconfig::read_from(path), format!("cannot use the kubeconfig {}", path.display())),
        None if cluster.context.is_some() => {
            (Kubeconfig::read(), "cannot use the default kubeconfig".to_owned())
        }
        None => {
            let config = ClientConfig::infer()
                .await
                .context("no cluster: give --kubeconfig, set KUBECONFIG, or run inside a cluster")?;
            return Ok((config, Kubeconfig::read().ok()));
        }
    };
    let kubeconfig = read.with_context(|| problem.clone())?;
    let options = KubeConfigOptions { context: cluster.context.clone(), ..KubeConfigOptions::default() };
    let config = ClientConfig::from_custom_kubeconfig(kubeconfig.clone(), &options).await.context(problem)?;
    Ok((config, Some(kubeconfig)))
}

/// The one line on stdout: `ready dns=… http=…` and what else applies.
pub fn ready_line(addresses: &Addresses, more: &[(&str, String)]) -> String {
    let mut words = vec!["ready".to_owned()];
    if !addresses.dns.is_empty() {
        let dns: Vec<_> = addresses.dns.iter().map(ToString::to_string).collect();
        words.push(format!("dns={}", dns.join(",")));
    }
    words.extend(addresses.http.map(|it| format!("http={it}")));
    words.extend(more.iter().map(|(key, value)| format!("{key}={value}")));
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_do_not_apply_are_absent() {
        let address = |text: &str| text.parse().expect("an address");
        let all = Addresses {
            dns: vec![address("127.0.0.1:1053"), address("[::1]:1053")],
            http: Some(address("127.0.0.1:9153")),
        };
        assert_eq!(
            ready_line(&all, &[("api", "http://127.0.0.1:7443".to_owned())]),
            "ready dns=127.0.0.1:1053,[::1]:1053 http=127.0.0.1:9153 api=http://127.0.0.1:7443"
        );
        assert_eq!(ready_line(&Addresses::default(), &[]), "ready");
    }
}
