//! Each door into the API server that somebody else on the machine, or a web page, could try.

mod common;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use common::{Ordinal, wait_for};

/// Address and secret path of its API.
fn door(ordinal: &Ordinal) -> (String, String) {
    let text = std::fs::read_to_string(ordinal.kubeconfig()).expect("a kubeconfig");
    let url = text.split_once("http://").expect("a server").1;
    let url = url.split(['"', '\'', '\n', ' ', ',', '}']).next().expect("a server");
    let (address, path) = url.split_once('/').expect("a secret path");
    (address.to_owned(), format!("/{path}"))
}

/// Sends bytes and returns status and body of the answer.
fn send(address: &str, head: &str, body: &[u8]) -> (u16, String) {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
    stream.write_all(format!("{head}\r\n\r\n").as_bytes()).expect("sent");
    // A server that refuses a body may close before it has all of it.
    let _ = stream.write_all(body);
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let status = text.split_whitespace().nth(1).and_then(|it| it.parse().ok()).unwrap_or(0);
    (status, text.split_once("\r\n\r\n").map_or(String::new(), |it| it.1.to_owned()))
}

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[test]
fn web_pages_and_foreign_names_are_refused() {
    let ordinal = Ordinal::up(&[]);
    let (address, secret) = door(&ordinal);
    assert!(secret.len() >= 33, "a secret of 128 bits: {secret}");
    let port = address.rsplit_once(':').expect("a port").1;
    let body = r#"{"metadata":{"name":"evil"}}"#;
    let head = |path: &str, host: &str, extra: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {}\r\nConnection: close{extra}",
            body.len()
        )
    };
    let inside = format!("{secret}{MAPS}");
    let plain = "\r\nContent-Type: text/plain";
    #[rustfmt::skip]
    let cases = [
        ("without the secret",        head(MAPS, &address, ""),                                               401),
        ("with a wrong secret",       head(&format!("/{}{MAPS}", "0".repeat(32)), &address, ""),              401),
        ("through dots",              head(&format!("/x/..{secret}{MAPS}"), &address, ""),                    401),
        ("a page's POST",             head(&inside, &address, "\r\nOrigin: http://evil.example"),             403),
        ("a page without an origin",  head(&inside, &address, "\r\nOrigin: null"),                            403),
        ("a fetch of another site",   head(&inside, &address, "\r\nSec-Fetch-Site: cross-site"),              403),
        ("a fetch of the same host",  head(&inside, &address, "\r\nSec-Fetch-Site: same-site"),               403),
        ("a rebound name",            head(&inside, &format!("evil.example:{port}"), ""),                     403),
        ("a name that looks like us", head(&inside, &format!("localhost.evil.example:{port}"), ""),           403),
        ("another port",              head(&inside, "127.0.0.1:1", ""),                                       403),
        ("no host",                   format!("POST {inside} HTTP/1.0\r\nContent-Length: {}", body.len()),    403),
        ("a form",                    head(&inside, &address, plain),                                         415),
        ("the owner",                 head(&inside, &address, ""),                                            201),
    ];
    for (who, head, want) in cases {
        let (status, answer) = send(&address, &head, body.as_bytes());
        assert_eq!(status, want, "{who}: {answer}");
        assert!(!answer.contains(secret.trim_start_matches('/')), "{who} learns the secret: {answer}");
    }
    let preflight = format!(
        "OPTIONS {inside} HTTP/1.1\r\nHost: {address}\r\nOrigin: http://evil.example\r\nConnection: close"
    );
    let (status, _) = send(&address, &preflight, b"");
    assert_eq!(status, 403, "no page is allowed to ask");
}

#[test]
fn large_and_deep_bodies_are_refused() {
    let ordinal = Ordinal::up(&[]);
    let (address, secret) = door(&ordinal);
    let post = |length: &str| {
        format!(
            "POST {secret}{MAPS} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nConnection: close\r\n{length}"
        )
    };
    let whole =
        |body: &str| send(&address, &post(&format!("Content-Length: {}", body.len())), body.as_bytes());
    let large = format!(r#"{{"metadata":{{"name":"a"}},"data":{{"k":"{}"}}}}"#, "x".repeat(4 << 20));
    let (status, answer) = whole(&large);
    assert!(status == 413 || status == 0, "{status}: {answer}");
    let chunk = format!("400000\r\n{}\r\n0\r\n\r\n", "x".repeat(0x40_0000));
    let (status, _) = send(&address, &post("Transfer-Encoding: chunked"), chunk.as_bytes());
    assert!(status == 413 || status == 0, "in chunks: {status}");
    for depth in [5_000, 200_000] {
        let body = format!(r#"{{"metadata":{{"name":"a"}},"x":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
        assert_eq!(whole(&body).0, 400, "{depth} deep");
        let body = format!(
            r#"{{"metadata":{{"name":"a"}},"x":{}1{}}}"#,
            r#"{"a":"#.repeat(depth),
            "}".repeat(depth)
        );
        assert_eq!(whole(&body).0, 400, "{depth} deep");
    }
    let selector = format!(
        "GET {secret}/api/v1/pods?labelSelector={} HTTP/1.1\r\nHost: {address}\r\nConnection: close",
        "a,".repeat(20_000)
    );
    assert!(matches!(send(&address, &selector, b"").0, 400 | 414 | 431), "a long selector");
    assert_eq!(whole(r#"{"metadata":{"name":"a"}}"#).0, 201, "it still answers");
}

#[test]
fn names_cannot_leave_their_place() {
    let ordinal = Ordinal::up(&[]);
    let (address, secret) = door(&ordinal);
    let get = |path: &str| {
        send(&address, &format!("GET {secret}{path} HTTP/1.1\r\nHost: {address}\r\nConnection: close"), b"")
    };
    for path in [
        "/api/v1/namespaces/default/configmaps/..%2f..%2fsecrets",
        "/api/v1/namespaces/default/configmaps/%2e%2e/x/y",
        "/api/v1/namespaces/..%2fkube-system/configmaps/x",
        "/api/v1/namespaces/default/configmaps/a%00b",
        "/openapi/v3/../../etc/passwd",
        "/openapi/v3/apis/..%2f..%2fetc/v1",
        "//etc/passwd",
    ] {
        let (status, answer) = get(path);
        assert!(matches!(status, 400 | 404), "{path}: {status} {answer}");
        assert!(!answer.contains("root:"), "{path}");
    }
    for name in ["../x", "a/b", "%2e%2e", "a\\u0000b", "A", ""] {
        let body = format!(r#"{{"metadata":{{"name":"{name}"}}}}"#);
        let head = format!(
            "POST {secret}{MAPS} HTTP/1.1\r\nHost: {address}\r\nContent-Length: {}\r\nConnection: close",
            body.len()
        );
        assert_eq!(send(&address, &head, body.as_bytes()).0, 422, "{name}");
    }
}

/// Connections that say nothing, as many as the limit of this process allows, up to ten thousand.
#[test]
fn idle_connections_do_not_keep_others_out() {
    let ordinal = Ordinal::up(&[]);
    let (address, secret) = door(&ordinal);
    let mut idle = Vec::new();
    while idle.len() < 10_000 {
        match TcpStream::connect(&address) {
            Ok(stream) => idle.push(stream),
            Err(_) => break,
        }
    }
    // Room for the connection of the question.
    idle.truncate(idle.len().saturating_sub(50));
    println!("{} idle connections", idle.len());
    assert!(idle.len() >= 500);
    let started = Instant::now();
    let ask = format!("GET {secret}/readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close");
    wait_for("an answer among idle connections", || match send(&address, &ask, b"") {
        (200, _) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    println!("answered after {:?}", started.elapsed());
    // Whoever says nothing is sent away.
    let first = &mut idle[0];
    first.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
    let mut bytes = Vec::new();
    let ended = first.read_to_end(&mut bytes);
    assert!(ended.is_ok() || ended.is_err_and(|it| it.kind() == std::io::ErrorKind::ConnectionReset));
}
