//! `ordinal run` reaches a cluster the way its kubeconfig says: through a proxy, with a token that a plug-in prints.

mod common;

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use common::{Ordinal, resolves, wait_until};
use serde_json::{Value, json};

const NAME: &str = "kubernetes.default.svc.cluster.local";

/// A copy of its kubeconfig with a change.
fn changed(ordinal: &Ordinal, folder: &Path, change: impl Fn(&mut Value)) -> PathBuf {
    let text = std::fs::read_to_string(ordinal.kubeconfig()).expect("a kubeconfig");
    let mut config: Value = serde_saphyr::from_str(&text).expect("YAML");
    change(&mut config);
    let path = folder.join("changed");
    std::fs::write(&path, config.to_string()).expect("written");
    path
}

/// An HTTP proxy that knows CONNECT only, and notes where to.
struct Proxy {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let heads = Arc::<Mutex<Vec<String>>>::default();
        let noted = Arc::clone(&heads);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let noted = Arc::clone(&noted);
                std::thread::spawn(move || tunnel(client, &noted));
            }
        });
        Self { address, heads }
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().expect("unpoisoned").clone()
    }
}

/// One tunnel until either side ends.
fn tunnel(client: TcpStream, noted: &Mutex<Vec<String>>) -> Option<()> {
    let mut reader = BufReader::new(client);
    let mut head = String::new();
    while reader.read_line(&mut head).ok()? > 2 {}
    noted.lock().expect("unpoisoned").push(head.clone());
    let target = head.strip_prefix("CONNECT ")?.split(' ').next()?.to_owned();
    let server = TcpStream::connect(target).ok()?;
    let mut client = reader.get_ref().try_clone().ok()?;
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").ok()?;
    let mut to_server = server.try_clone().ok()?;
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut reader, &mut to_server);
        let _ = to_server.shutdown(std::net::Shutdown::Both);
    });
    let mut server = server;
    let _ = std::io::copy(&mut server, &mut client);
    let _ = client.shutdown(std::net::Shutdown::Both);
    Some(())
}

/// DNS answers from what this API server, asked in this way, has.
fn answers(kubeconfig: &Path) -> Ordinal {
    let run = Ordinal::run(kubeconfig, &["--lameduck=0s"]);
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    socket.connect(run.dns()).expect("an address");
    wait_until("the name", || resolves(&socket, NAME));
    run
}

#[test]
fn through_a_proxy() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    for arguments in [&["--components="][..], &["--components=", "--tls"]] {
        let (api, proxy) = (Ordinal::up(arguments), Proxy::start());
        let kubeconfig = changed(&api, folder.path(), |config| {
            config["clusters"][0]["cluster"]["proxy-url"] =
                format!("http://ann:s3cret@{}", proxy.address).into();
        });
        drop(answers(&kubeconfig));
        let heads = proxy.heads();
        assert!(!heads.is_empty(), "{arguments:?}: everything went past the proxy");
        let target = api.get("api").split("//").nth(1).expect("an address").split('/').next();
        let target = target.expect("an address");
        for head in heads {
            assert!(head.starts_with(&format!("CONNECT {target} HTTP/1.1\r\n")), "{head}");
            assert!(head.contains("asic YW5uOnMzY3JldA=="), "name and password of the URL: {head}");
        }
    }
}

/// As the tools of cloud providers do: the token is not in the kubeconfig but printed by a command, for as long as it says.
#[test]
fn with_a_token_of_an_exec_plugin() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let calls = folder.path().join("calls");
    let api = Ordinal::up(&["--components=", "--tls"]);
    let kubeconfig = changed(&api, folder.path(), |config| {
        let user = &mut config["users"][0]["user"];
        let credential = json!({"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential",
            "status": {"token": user["token"]}});
        let script = format!("echo called >>{}; echo \"$CREDENTIAL\"", calls.display());
        *user = json!({"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "sh", "args": ["-c", script],
            "env": [{"name": "CREDENTIAL", "value": credential.to_string()}], "interactiveMode": "Never"}});
    });
    drop(answers(&kubeconfig));
    assert!(std::fs::read_to_string(&calls).expect("it was called").starts_with("called"));
}

/// What is wrong is said with its name, before anything listens.
#[test]
fn what_cannot_be_used_is_named() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let api = Ordinal::up(&["--components="]);
    let kubeconfig = changed(&api, folder.path(), |config| {
        config["clusters"][0]["cluster"]["proxy-url"] = "ftp://127.0.0.1:1".into();
    });
    let output = Ordinal::command()
        .args(["run", "--dns-listen=127.0.0.1:0", "--http-listen=127.0.0.1:0"])
        .arg(format!("--kubeconfig={}", kubeconfig.display()))
        .output()
        .expect("it starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("ftp://127.0.0.1:1"), "{said}");
}
