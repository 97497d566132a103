//! Which proxy leads to the API server, if any. Pure.
//!
//! As Go's clients do: that of the kubeconfig, whatever else is set; else that of the environment, unless the server is on
//! this machine or `NO_PROXY` names it. (kube 5.0 compares `NO_PROXY` with the proxy instead of the server.)
//! Sources: client-go `tools/clientcmd/client_config.go` (`proxy-url`), Go `golang.org/x/net/http/httpproxy`.

use std::net::IpAddr;

use http::Uri;
use http::uri::InvalidUri;
use hyper_util::client::proxy::matcher::Matcher;
use kube::config::Kubeconfig;

/// What the environment says.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// `HTTPS_PROXY` or `https_proxy`; empty for none.
    pub proxy: String,
    /// `NO_PROXY` or `no_proxy`.
    pub except: String,
}

impl Environment {
    /// Reads it with `variable`; the name in capitals wins.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Self {
        let either = |names: [&str; 2]| {
            names.iter().find_map(|it| variable(it).filter(|it| !it.is_empty())).unwrap_or_default()
        };
        Self { proxy: either(["HTTPS_PROXY", "https_proxy"]), except: either(["NO_PROXY", "no_proxy"]) }
    }
}

/// `proxy-url` of the cluster of this context, or of the current one.
pub fn of_kubeconfig<'a>(kubeconfig: &'a Kubeconfig, context: Option<&str>) -> Option<&'a str> {
    let name = context.or(kubeconfig.current_context.as_deref())?;
    let context = kubeconfig.contexts.iter().find(|it| it.name == name)?.context.as_ref()?;
    let cluster = kubeconfig.clusters.iter().find(|it| it.name == context.cluster)?.cluster.as_ref()?;
    cluster.proxy_url.as_deref().filter(|it| !it.is_empty())
}

/// The proxy for the API server at `server`.
///
/// # Errors
/// What was chosen is no URL.
pub fn choose(
    server: &Uri,
    kubeconfig: Option<&str>,
    environment: &Environment,
) -> Result<Option<Uri>, InvalidUri> {
    if let Some(proxy) = kubeconfig {
        return proxy.parse().map(Some);
    }
    if environment.proxy.is_empty() || is_here(server) {
        return Ok(None);
    }
    // Only the exceptions are asked about: any proxy will do.
    let matcher = Matcher::builder().all("http://proxy").no(environment.except.as_str()).build();
    if matcher.intercept(server).is_none() { Ok(None) } else { environment.proxy.parse().map(Some) }
}

fn is_here(server: &Uri) -> bool {
    let host = server.host().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse().is_ok_and(|it: IpAddr| it.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn who_is_reached_through_what() {
        #[rustfmt::skip]
        let cases = [
            // server, kubeconfig, HTTPS_PROXY, NO_PROXY, through
            ("https://10.0.0.1:6443",     None,               "",              "",                    None),
            ("https://10.0.0.1:6443",     None,               "http://p:3128", "",                    Some("http://p:3128/")),
            ("https://10.0.0.1:6443",     None,               "http://p:3128", "10.0.0.0/8",          None),
            ("https://10.0.0.1:6443",     None,               "http://p:3128", "10.0.0.1",            None),
            ("https://10.0.0.1:6443",     None,               "http://p:3128", "10.0.0.2, p",         Some("http://p:3128/")),
            ("https://api.example:6443",  None,               "http://p:3128", "localhost,.example,", None),
            ("https://api.example:6443",  None,               "http://p:3128", "example",             None),
            ("https://api.examples:6443", None,               "http://p:3128", "example",             Some("http://p:3128/")),
            ("https://api.example:6443",  None,               "http://p:3128", "*",                   None),
            ("https://127.0.0.1:7443",    None,               "http://p:3128", "",                    None),
            ("https://[::1]:7443",        None,               "http://p:3128", "",                    None),
            ("https://localhost:7443",    None,               "http://p:3128", "",                    None),
            ("https://127.0.0.1:7443",    Some("socks5://q"), "http://p:3128", "*",                   Some("socks5://q/")),
            ("https://10.0.0.1:6443",     None,               "http://u:w@p",  "",                    Some("http://u:w@p/")),
        ];
        for (server, kubeconfig, proxy, except, want) in cases {
            let environment = Environment { proxy: proxy.to_owned(), except: except.to_owned() };
            let got = choose(&server.parse().unwrap(), kubeconfig, &environment).unwrap();
            assert_eq!(got, want.map(|it| it.parse().unwrap()), "{server} {kubeconfig:?} {proxy} {except}");
        }
        let broken = Environment { proxy: "http://[".to_owned(), except: String::new() };
        assert!(choose(&"https://10.0.0.1".parse().unwrap(), None, &broken).is_err());
    }

    #[test]
    fn capitals_win_and_nothing_is_nothing() {
        let read = |pairs: &'static [(&str, &str)]| {
            Environment::read(|name| pairs.iter().find(|it| it.0 == name).map(|it| it.1.to_owned()))
        };
        assert_eq!(read(&[("https_proxy", "a"), ("HTTPS_PROXY", "b")]).proxy, "b");
        assert_eq!(read(&[("https_proxy", "a"), ("HTTPS_PROXY", "")]).proxy, "a");
        assert_eq!(read(&[("no_proxy", "a")]).except, "a");
        assert_eq!(read(&[]).proxy, "");
    }

    #[test]
    fn the_cluster_of_the_context() {
        let cluster = |name: &str, proxy: &str| json!({"name": name, "cluster": {"server": "https://a", "proxy-url": proxy}});
        let context =
            |name: &str, cluster: &str| json!({"name": name, "context": {"cluster": cluster, "user": "u"}});
        let config: Kubeconfig = serde_json::from_value(json!({"current-context": "two",
            "clusters": [cluster("a", "http://p"), cluster("b", "")],
            "contexts": [context("one", "a"), context("two", "b"), context("lost", "c")]}))
        .unwrap();
        assert_eq!(of_kubeconfig(&config, Some("one")), Some("http://p"));
        for other in [None, Some("two"), Some("lost"), Some("none")] {
            assert_eq!(of_kubeconfig(&config, other), None, "{other:?}");
        }
    }
}
