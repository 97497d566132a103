//! `ordinal up --tls`: HTTPS with a certificate and a token that only the kubeconfig holds. The real binary, stock clients.

mod common;

use std::io::{Error, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use common::{DEADLINE, Kubectl, Ordinal, kubectls, resolves, wait_for, wait_until};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ListParams, ObjectMeta, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// `host:port` of its API.
fn address(ordinal: &Ordinal) -> String {
    ordinal.get("api").strip_prefix("https://").expect("an https URL").to_owned()
}

/// Its kubeconfig as a value.
fn kubeconfig(path: &Path) -> Value {
    serde_saphyr::from_str(&std::fs::read_to_string(path).expect("a kubeconfig")).expect("YAML")
}

fn token(ordinal: &Ordinal) -> String {
    let config = kubeconfig(&ordinal.kubeconfig());
    config["users"][0]["user"]["token"].as_str().expect("a token").to_owned()
}

/// A copy of the kubeconfig with a change.
fn changed(ordinal: &Ordinal, folder: &Path, change: impl Fn(&mut Value)) -> PathBuf {
    let mut config = kubeconfig(&ordinal.kubeconfig());
    change(&mut config);
    let path = folder.join("changed");
    std::fs::write(&path, config.to_string()).expect("written");
    path
}

async fn client(path: &Path) -> kube::Client {
    let config = Kubeconfig::read_from(path).expect("a kubeconfig");
    let config = kube::Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await;
    kube::Client::try_from(config.expect("usable")).expect("a client")
}

#[test]
fn stock_kubectl_gets_applies_and_watches() {
    for binary in kubectls() {
        let ordinal = Ordinal::up(&["--tls"]);
        let kubectl = ordinal.kubectl(&binary);
        let folder = tempfile::tempdir().expect("a temporary directory");
        let manifest = folder.path().join("map.yaml");
        std::fs::write(&manifest, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {k: v}\n")
            .expect("written");
        let watch = kubectl.start("get configmaps --watch -o name");
        kubectl.ok(&format!("apply -f {}", manifest.display()));
        assert_eq!(kubectl.json("get configmap a")["data"]["k"], "v");
        assert!(kubectl.ok("get --raw /readyz").contains("ok"), "there is no secret path to leave out");
        watch.wait_for_line("the new map", |line| line == "configmap/a");
        kubectl.ok("delete configmap a");

        let wrong = changed(&ordinal, folder.path(), |it| {
            it["users"][0]["user"]["token"] = "0".repeat(64).into();
        });
        let refused = Kubectl::new(&binary, &wrong).fails("get configmaps");
        assert!(refused.contains("Unauthorized") || refused.contains("must be logged in"), "{refused}");
        let distrustful = changed(&ordinal, folder.path(), |it| {
            let cluster = it["clusters"][0]["cluster"].as_object_mut().expect("a cluster");
            cluster.remove("certificate-authority-data");
        });
        let refused = Kubectl::new(&binary, &distrustful).fails("get configmaps");
        assert!(refused.contains("certificate signed by unknown authority"), "{refused}");
        let by_name = changed(&ordinal, folder.path(), |it| {
            let url = it["clusters"][0]["cluster"]["server"].as_str().expect("a server").to_owned();
            it["clusters"][0]["cluster"]["server"] = url.replace("127.0.0.1", "localhost").into();
        });
        Kubectl::new(&binary, &by_name).ok("get configmaps");
    }
}

#[tokio::test]
async fn a_kube_client_uses_the_kubeconfig() {
    let ordinal = Ordinal::up(&["--tls"]);
    let maps: Api<ConfigMap> = Api::default_namespaced(client(&ordinal.kubeconfig()).await);
    let metadata = ObjectMeta { name: Some("a".to_owned()), ..ObjectMeta::default() };
    let map = ConfigMap { metadata, ..ConfigMap::default() };
    maps.create(&PostParams::default(), &map).await.expect("created");
    assert_eq!(maps.list(&ListParams::default()).await.expect("a list").items.len(), 1);

    let folder = tempfile::tempdir().expect("a temporary directory");
    let wrong = changed(&ordinal, folder.path(), |it| {
        it["users"][0]["user"] = serde_json::json!({});
    });
    let maps: Api<ConfigMap> = Api::default_namespaced(client(&wrong).await);
    match maps.list(&ListParams::default()).await {
        Err(kube::Error::Api(status)) => {
            assert_eq!((status.code, status.reason.as_str()), (401, "Unauthorized"));
        }
        other => panic!("{other:?}"),
    }
    let distrustful = changed(&ordinal, folder.path(), |it| {
        let cluster = it["clusters"][0]["cluster"].as_object_mut().expect("a cluster");
        cluster.remove("certificate-authority-data");
    });
    let maps: Api<ConfigMap> = Api::default_namespaced(client(&distrustful).await);
    let refused = maps.list(&ListParams::default()).await.expect_err("an unknown authority");
    assert!(!matches!(refused, kube::Error::Api(_)), "no request leaves: {refused:?}");
}

#[test]
fn ordinal_run_lists_and_watches_over_tls() {
    let Some(binary) = kubectls().pop() else { return };
    let up = Ordinal::up(&["--tls", "--components="]);
    let run = Ordinal::run(&up.kubeconfig(), &["--components=dns"]);
    let address =
        up.kubectl(&binary).ok("create service clusterip web --tcp=80 -o jsonpath={.spec.clusterIP}");
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
    socket.connect(run.dns()).expect("it listens");
    wait_until(&format!("a name for {address}"), || resolves(&socket, "web.default.svc.cluster.local"));
}

/// A TLS connection that trusts the kubeconfig, and the protocol that was agreed on.
async fn connect(
    ordinal: &Ordinal,
    offered: &[&str],
) -> Result<(TlsStream<TcpStream>, Option<String>), Error> {
    let config = kubeconfig(&ordinal.kubeconfig());
    let authority = config["clusters"][0]["cluster"]["certificate-authority-data"].as_str().expect("trust");
    let authority = STANDARD.decode(authority).expect("base64");
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(&authority).expect("PEM")).expect("a certificate");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = offered.iter().map(|it| it.as_bytes().to_vec()).collect();
    let stream = TcpStream::connect(address(ordinal)).await?;
    let name = ServerName::try_from("localhost").expect("a name");
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    let agreed = stream.get_ref().1.alpn_protocol().map(|it| String::from_utf8_lossy(it).into_owned());
    Ok((stream, agreed))
}

#[tokio::test]
async fn both_protocols_are_offered() {
    let ordinal = Ordinal::up(&["--tls"]);
    for (offered, agreed) in [
        (&["h2", "http/1.1"][..], Some("h2")),
        (&["http/1.1"], Some("http/1.1")),
        (&["http/1.1", "h2"], Some("h2")),
        (&[], None),
    ] {
        let got = connect(&ordinal, offered).await.expect("a connection").1;
        assert_eq!(got.as_deref(), agreed, "{offered:?}");
    }
    assert!(connect(&ordinal, &["spdy/3"]).await.is_err());
}

#[tokio::test]
async fn the_token_opens_and_pages_stay_out() {
    let ordinal = Ordinal::up(&["--tls"]);
    let bearer = format!("Authorization: Bearer {}\r\n", token(&ordinal));
    #[rustfmt::skip]
    let cases = [
        ("the owner",                    bearer.clone(),                                     "200"),
        ("nobody",                       String::new(),                                      "401"),
        ("a wrong token",                "Authorization: Bearer 0000\r\n".to_owned(),        "401"),
        ("a token and a bit",            bearer.replace("\r\n", "A\r\n"),                   "401"),
        ("a password",                   "Authorization: Basic YTpi\r\n".to_owned(),         "401"),
        ("a page with the token",        format!("{bearer}Origin: https://evil.example\r\n"), "403"),
        ("a fetch with the token",       format!("{bearer}Sec-Fetch-Site: cross-site\r\n"),  "403"),
    ];
    for (who, headers, want) in cases {
        let (mut stream, _) = connect(&ordinal, &["http/1.1"]).await.expect("a connection");
        let request = format!("GET /api HTTP/1.1\r\nHost: dev.example\r\nConnection: close\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer).await;
        assert_eq!(answer.split(' ').nth(1), Some(want), "{who}: {answer}");
        assert!(!answer.to_ascii_lowercase().contains("access-control-"), "{who}: {answer}");
        if want == "401" {
            assert!(answer.contains("\"reason\":\"Unauthorized\""), "{who}: {answer}");
        }
    }
}

/// Sends bytes as they are and returns everything that comes back.
fn exchange(address: &str, bytes: &[u8]) -> Vec<u8> {
    let mut stream = std::net::TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    answer
}

#[test]
fn plain_http_gets_nothing_useful() {
    let ordinal = Ordinal::up(&["--tls"]);
    let (address, token) = (address(&ordinal), token(&ordinal));
    assert!(token.len() >= 32, "128 bits at least: {token}");
    let request = format!(
        "GET /api/v1/pods HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
    );
    for bytes in [request.as_bytes(), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let answer = exchange(&address, bytes);
        assert!(answer.len() < 16, "an alert of TLS at most: {}", String::from_utf8_lossy(&answer));
    }
}

#[test]
fn a_restart_keeps_the_kubeconfig() {
    let Some(binary) = kubectls().pop() else { return };
    let folder = tempfile::tempdir().expect("a temporary directory");
    let data = format!("--data-dir={}", folder.path().join("data").display());
    // A folder that was served under a secret path before.
    let first = Ordinal::up(&[&data]);
    first.kubectl(&binary).ok("create configmap kept");
    assert!(std::fs::read_to_string(first.kubeconfig()).expect("text").contains("server: http://"));
    assert_eq!(first.terminate(), Some(0));

    let second = Ordinal::up(&[&data, "--tls"]);
    let address = address(&second);
    let copy = changed(&second, folder.path(), |_| {});
    Kubectl::new(&binary, &copy).ok("get configmap kept");
    assert_eq!(second.terminate(), Some(0));

    let third = Ordinal::up(&[&data, "--tls", &format!("--api-listen={address}")]);
    Kubectl::new(&binary, &copy).ok("get configmap kept");
    assert_eq!(kubeconfig(&third.kubeconfig()), kubeconfig(&copy), "nothing of it has changed");
    let other = Ordinal::up(&["--tls"]);
    assert_ne!(token(&other), token(&third), "every cluster has its own");
    for file in std::fs::read_dir(folder.path().join("data")).expect("our folder") {
        let mode = file.expect("readable").metadata().expect("readable").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "the keys are private");
    }
}

#[test]
fn other_addresses_are_served_too() {
    let Some(binary) = kubectls().pop() else { return };
    let ordinal = Ordinal::up(&["--tls", "--api-listen=0.0.0.0:0", "--tls-san=dev.example,192.0.2.1"]);
    assert!(address(&ordinal).starts_with("127.0.0.1:"), "{:?}", ordinal.ready);
    ordinal.kubectl(&binary).ok("get namespaces");
    let folder = tempfile::tempdir().expect("a temporary directory");
    for (name, good) in [("dev.example", true), ("192.0.2.1", true), ("::1", true), ("evil.example", false)] {
        let named = changed(&ordinal, folder.path(), |it| {
            it["clusters"][0]["cluster"]["tls-server-name"] = name.into();
        });
        let kubectl = Kubectl::new(&binary, &named);
        if good {
            kubectl.ok("get namespaces");
        } else {
            assert!(kubectl.fails("get namespaces").contains("certificate is valid for"), "{name}");
        }
    }
}

/// Connections that never finish a handshake: they are sent away, and keep nobody out until then.
#[test]
fn handshakes_have_a_deadline() {
    let Some(binary) = kubectls().pop() else { return };
    let ordinal = Ordinal::up(&["--tls"]);
    let address = address(&ordinal);
    // The beginning of a ClientHello: a record of 512 octets, of which only these come.
    let starts: [&[u8]; 3] = [b"", b"\x16", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"];
    let mut idle: Vec<std::net::TcpStream> = Vec::new();
    while idle.len() < 10_000 {
        let Ok(mut stream) = std::net::TcpStream::connect(&address) else { break };
        let _ = stream.write_all(starts[idle.len() % starts.len()]);
        idle.push(stream);
    }
    // Room for what this process opens next.
    idle.truncate(idle.len().saturating_sub(50));
    assert!(idle.len() >= 500, "{}", idle.len());
    let started = Instant::now();
    ordinal.kubectl(&binary).ok("get namespaces");
    println!("{} connections, kubectl after {:?}", idle.len(), started.elapsed());
    let started = Instant::now();
    let from = idle.len() - starts.len();
    for stream in &mut idle[from..] {
        stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
        let mut rest = Vec::new();
        let ended = stream.read_to_end(&mut rest);
        assert!(ended.is_ok() || ended.is_err_and(|it| it.kind() == std::io::ErrorKind::ConnectionReset));
    }
    assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
}

#[test]
fn the_token_is_not_logged() {
    let Some(binary) = kubectls().pop() else { return };
    let ordinal = Ordinal::up(&["--tls", "--log-level=trace"]);
    let kubectl = ordinal.kubectl(&binary);
    kubectl.ok("create secret generic s --from-literal=k=hunter22");
    kubectl.ok("get secret s -o yaml");
    let log = wait_for("the requests in the log", || {
        let log = ordinal.stderr();
        if log.contains("/api/v1/namespaces/default/secrets/s") { Ok(log) } else { Err(log) }
    });
    let token = token(&ordinal);
    for secret in [token.as_str(), "Bearer", "hunter22", "aHVudGVyMjI", "PRIVATE"] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
}
