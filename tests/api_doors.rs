//! Each door into the API server that somebody else on the machine, or a web page, could try.

mod common;
#[path = "common/frames.rs"]
mod frames;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use common::{Ordinal, kubectls, resident_kib, wait_for};

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
    assert_eq!(whole(&large).0, 413);
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
        "/api/v1/namespaces/default/configmaps/%252e%252e%252fx",
        "/api/v1/namespaces/default/configmaps/..%c0%af..%c0%afx",
        "/api/v1/namespaces/default/configmaps/..%5c..%5cx",
        "/api/v1/namespaces/default%2fconfigmaps%2f..%2f..%2f/x",
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

/// Connections that say next to nothing, as many as the limit of this process allows, up to ten thousand.
#[test]
fn idle_connections_do_not_keep_others_out() {
    let ordinal = Ordinal::up(&[]);
    let (address, secret) = door(&ordinal);
    let _idle = idle(&address, 10_000);
    let started = Instant::now();
    let ask = format!("GET {secret}/readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close");
    assert_eq!(send(&address, &ask, b"").0, 200, "at the first try");
    println!("answered after {:?}", started.elapsed());
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

/// So many connections that say next to nothing, or as many as this process may have.
fn idle(address: &str, most: usize) -> Vec<TcpStream> {
    let starts: [&[u8]; 4] =
        [b"", b"G", b"PRI * HTTP/2.0\r\n", b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: "];
    let mut idle: Vec<TcpStream> = Vec::new();
    while idle.len() < most {
        let Ok(mut stream) = TcpStream::connect(address) else { break };
        let _ = stream.write_all(starts[idle.len() % starts.len()]);
        idle.push(stream);
    }
    // Room for the connection of the question.
    idle.truncate(idle.len().saturating_sub(50));
    println!("{} idle connections", idle.len());
    assert!(idle.len() >= 500);
    idle
}

/// Probes and scrapes are answered whoever else is connected, and no connection stays for nothing.
#[test]
fn the_door_of_health_and_metrics_has_limits_too() {
    let ordinal = Ordinal::up(&[]);
    let address = ordinal.get("http").to_owned();
    let mut scraper = TcpStream::connect(&address).expect("it listens");
    let ask = format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\n");
    scraper.write_all(format!("{ask}\r\n").as_bytes()).expect("sent");
    scraper.peek(&mut [0]).expect("the answer begins");
    let mut idle = idle(&address, 2_000);
    let probe = format!("GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close");
    let started = Instant::now();
    assert_eq!(send(&address, &probe, b"").0, 200, "at the first try");
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    for (number, stream) in idle.iter_mut().enumerate() {
        until_closed(stream);
        if number == 0 {
            println!("the first is closed after {:?}", started.elapsed());
        }
    }
    // Strangers left, not the one that had asked.
    scraper.write_all(format!("{ask}Connection: close\r\n\r\n").as_bytes()).expect("it is open");
    let answers = String::from_utf8(until_closed(&mut scraper)).expect("text");
    assert_eq!(answers.matches("HTTP/1.1 200").count(), 2, "{answers}");
}

/// Reads to the end, which has to come within the deadline, and returns what came before it.
fn until_closed(stream: &mut TcpStream) -> Vec<u8> {
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
    let mut bytes = Vec::new();
    if let Err(error) = stream.read_to_end(&mut bytes) {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "it stays open");
    }
    bytes
}

#[test]
fn whoever_does_not_ask_is_sent_away() {
    let ordinal = Ordinal::up(&[]);
    let (address, secret) = door(&ordinal);
    let start = |bytes: &[u8]| {
        let mut stream = TcpStream::connect(&address).expect("it listens");
        stream.write_all(bytes).expect("sent");
        stream
    };
    let refused = format!("GET / HTTP/1.1\r\nHost: {address}\r\n\r\n");
    let frames = [frames::PREFACE, &frames::settings()].concat();
    let started = Instant::now();
    let mut all = [
        ("nothing", start(b"")),
        ("one octet", start(b"P")),
        ("another octet", start(b"G")),
        ("half of a preface", start(&frames::PREFACE[..20])),
        ("a preface and no request", start(&frames)),
        ("a slow header", start(format!("GET {secret}/ HTTP/1.1\r\nHost: {address}\r\nX: ").as_bytes())),
        ("a request without the secret", start(refused.as_bytes())),
    ];
    let mut owner = start(format!("GET {secret}/readyz HTTP/1.1\r\nHost: {address}\r\n\r\n").as_bytes());
    for (who, stream) in &mut all {
        let answer = until_closed(stream);
        println!("{who}: closed after {:?}, {} octets", started.elapsed(), answer.len());
    }
    assert!(started.elapsed() > Duration::from_secs(5), "an honest client has time");
    // Who has shown the secret may be silent for longer.
    owner
        .write_all(
            format!("GET {secret}/readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")
                .as_bytes(),
        )
        .expect("it is open");
    let answers = String::from_utf8(until_closed(&mut owner)).expect("text");
    assert_eq!(answers.matches("HTTP/1.1 200").count(), 2, "{answers}");
}

#[test]
fn a_body_too_large_is_told_so() {
    let ordinal = Ordinal::up(&[]);
    let (address, secret) = door(&ordinal);
    let head = |rest: &str| {
        format!("POST {secret}{MAPS} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{rest}")
    };
    let megabytes = |count: usize| vec![b'x'; count << 20];
    for count in [4, 20] {
        let (status, answer) =
            send(&address, &head(&format!("Content-Length: {}", count << 20)), &megabytes(count));
        assert_eq!(status, 413, "{count} MiB: {answer}");
        assert!(answer.contains("limit is 3145728"), "{answer}");
        let chunk =
            [format!("{:x}\r\n", count << 20).into_bytes(), megabytes(count), b"\r\n0\r\n\r\n".to_vec()]
                .concat();
        assert_eq!(
            send(&address, &head("Transfer-Encoding: chunked"), &chunk).0,
            413,
            "{count} MiB in chunks"
        );
    }
    // Without the secret nothing is read.
    let stranger = format!("POST {MAPS} HTTP/1.1\r\nHost: {address}\r\nContent-Length: {}", 4 << 20);
    let (status, _) = send(&address, &stranger, b"");
    assert_eq!(status, 401);
    for binary in kubectls() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let file = folder.path().join("large");
        std::fs::write(&file, megabytes(4)).expect("written");
        let refused =
            ordinal.kubectl(&binary).fails(&format!("create configmap large --from-file={}", file.display()));
        assert!(refused.contains("limit is 3145728"), "{refused}");
    }
}

#[test]
fn deep_and_growing_documents_are_refused() {
    let ordinal = Ordinal::up(&[]);
    let (address, secret) = door(&ordinal);
    let ask = |method: &str, path: &str, content: &str, body: &str| {
        let head = format!(
            "{method} {secret}{path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: {content}\r\nContent-Length: {}\r\nConnection: close",
            body.len()
        );
        send(&address, &head, body.as_bytes())
    };
    assert_eq!(ask("POST", MAPS, "application/json", r#"{"metadata":{"name":"a"}}"#).0, 201);
    let one = format!("{MAPS}/a");
    let applied = format!("{one}?fieldManager=x");
    let yaml = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n";
    for depth in [130, 5_000, 100_000] {
        let lists = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let json = format!(r#"{{"metadata":{{"name":"a"}},"x":{lists}}}"#);
        let patch = format!(r#"[{{"op":"add","path":"/x","value":{lists}}}]"#);
        let nested: Vec<_> = (0..depth.min(1_000)).map(|it| format!("{}x:\n", " ".repeat(it))).collect();
        let nested = nested.concat();
        let cases = [
            ("POST", MAPS, "application/json", json.clone()),
            ("POST", MAPS, "application/yaml", format!("{yaml}x: {lists}\n")),
            ("POST", MAPS, "application/yaml", format!("{yaml}{nested}")),
            ("PUT", &one, "application/json", json.clone()),
            ("PATCH", &one, "application/merge-patch+json", json.clone()),
            ("PATCH", &one, "application/strategic-merge-patch+json", json.clone()),
            ("PATCH", &one, "application/json-patch+json", patch),
            ("PATCH", &applied, "application/apply-patch+yaml", format!("{yaml}x: {lists}\n")),
            ("DELETE", &one, "application/json", json),
        ];
        for (method, path, content, body) in cases {
            let (status, answer) = ask(method, path, content, &body);
            assert_eq!(status, 400, "{depth} deep: {method} {content}: {}", &answer[..answer.len().min(500)]);
        }
    }
    // A billion laughs, and a reference to itself.
    let mut bomb = format!("{yaml}a: &a [x, x, x, x, x, x, x, x, x, x]\n");
    for (last, next) in "abcdefghij".chars().zip("bcdefghijk".chars()) {
        bomb = format!("{bomb}{next}: &{next} [{}]\n", vec![format!("*{last}"); 10].join(", "));
    }
    let before = resident_kib(ordinal.pid());
    let started = Instant::now();
    for text in [bomb.as_str(), &format!("{yaml}a: &a [*a]\n")] {
        for (method, path, content) in
            [("POST", MAPS, "application/yaml"), ("PATCH", &applied, "application/apply-patch+yaml")]
        {
            let (status, answer) = ask(method, path, content, text);
            assert_eq!(status, 400, "{method}: {}", &answer[..answer.len().min(500)]);
        }
    }
    let grown = resident_kib(ordinal.pid()).saturating_sub(before);
    println!("bombs took {:?} and {grown} KiB", started.elapsed());
    assert!(started.elapsed() < Duration::from_secs(10) && grown < 200 * 1024, "{grown} KiB");
    for name in ["labelSelector", "fieldSelector"] {
        let long = format!("/api/v1/pods?{name}={}", "a".repeat(10_001));
        let (status, answer) = ask("GET", &long, "", "");
        assert_eq!(status, 400, "{answer}");
        assert!(answer.contains("longer than 10000"), "{answer}");
    }
    let (status, _) =
        ask("GET", &format!("/api/v1/pods?labelSelector={}", vec!["a"; 5_000].join(",")), "", "");
    assert_eq!(status, 200, "long and lawful");
    assert_eq!(ask("GET", &one, "", "").0, 200, "it is still there");
}

/// What a proxy could take for two requests, or the server for another one.
#[test]
fn requests_cannot_be_smuggled() {
    let ordinal = Ordinal::up(&[]);
    let (address, secret) = door(&ordinal);
    let hidden_body = r#"{"metadata":{"name":"hidden"}}"#;
    let hidden = format!(
        "POST {secret}{MAPS} HTTP/1.1\r\nHost: {address}\r\nContent-Length: {}\r\n\r\n{hidden_body}",
        hidden_body.len()
    );
    let raw = |text: String| {
        let mut stream = TcpStream::connect(&address).expect("it listens");
        let _ = stream.write_all(text.as_bytes());
        let answer = String::from_utf8_lossy(&until_closed(&mut stream)).into_owned();
        (answer.matches("HTTP/1.1 ").count(), answer.split(' ').nth(1).unwrap_or_default().to_owned())
    };
    let get = format!("GET {secret}/readyz HTTP/1.1\r\nHost: {address}\r\n");
    let length = hidden.len() + 5;
    #[rustfmt::skip]
    let cases = [
        ("both lengths: chunks count, and the connection ends", format!("{get}Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}"), &["200"][..]),
        ("the same in the other order",  format!("{get}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n{hidden}"), &["200"]),
        ("two lengths",                  format!("{get}Content-Length: 0\r\nContent-Length: {length}\r\n\r\n{hidden}"),  &["400"]),
        ("an odd length",                format!("{get}Content-Length: +5\r\n\r\n{hidden}"),                             &["400"]),
        ("an odd coding",                format!("{get}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n{hidden}"),           &["400"]),
        ("chunked is not the last one",  format!("{get}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n{hidden}"),  &["400"]),
        ("chunked in HTTP/1.0",          format!("{get}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}").replacen("HTTP/1.1", "HTTP/1.0", 1), &["400"]),
        ("a space before the colon",     format!("{get}Content-Length : {length}\r\n\r\n{hidden}"),                      &["400"]),
        ("a folded line",                format!("{get}X: a\r\n b\r\n\r\n{hidden}"),                                     &["400"]),
        ("two hosts",                    format!("{get}Host: evil.example\r\nConnection: close\r\n\r\n"),               &["400"]),
    ];
    for (what, text, want) in cases {
        let (answers, status) = raw(text);
        assert!(answers == 1 && want.contains(&status.as_str()), "{what}: {answers} answers, {status}");
    }
    let maps = format!("GET {secret}{MAPS}/hidden HTTP/1.1\r\nHost: {address}\r\nConnection: close");
    assert_eq!(send(&address, &maps, b"").0, 404, "nothing was smuggled in");
}

#[test]
fn answers_are_for_programs_only() {
    let ordinal = Ordinal::up(&[]);
    let (address, secret) = door(&ordinal);
    for path in
        ["/", &format!("{secret}/api"), &format!("{secret}/api/v1/pods"), &format!("{secret}/no/such")]
    {
        let head = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        let mut stream = TcpStream::connect(&address).expect("it listens");
        stream.write_all(head.as_bytes()).expect("sent");
        let answer = String::from_utf8_lossy(&until_closed(&mut stream)).to_ascii_lowercase();
        let head = answer.split("\r\n\r\n").next().expect("a head");
        assert!(head.contains("x-content-type-options: nosniff"), "{path}: {head}");
        assert!(!head.contains("access-control-") && !head.contains("text/html"), "{path}: {head}");
    }
}

#[test]
fn logs_hold_no_secret() {
    let ordinal = Ordinal::up(&["--log-level=trace"]);
    let (address, secret) = door(&ordinal);
    let body = r#"{"metadata":{"name":"quiet"},"stringData":{"k":"hunter22"}}"#;
    let post = |path: &str| {
        format!(
            "POST {path}/api/v1/namespaces/default/secrets HTTP/1.1\r\nHost: {address}\r\nContent-Length: {}\r\nConnection: close",
            body.len()
        )
    };
    assert_eq!(send(&address, &post(&secret), body.as_bytes()).0, 201);
    // Nearly right is not to be read by others either.
    let typed = format!("{}0", &secret[..secret.len() - 1]);
    assert!(matches!(send(&address, &post(&typed), body.as_bytes()).0, 401 | 201));
    assert_eq!(send(&address, &post(&format!("{secret}x")), body.as_bytes()).0, 401);
    assert_eq!(send(&address, &format!("GET {secret}{MAPS} HTTP/1.1\r\nHost: a"), b"").0, 403);
    let mut peer = frames::Peer::connect(&address);
    let get = frames::get(&address, &format!("{secret}/api/v1/pods"));
    assert!(peer.send(&frames::frame(frames::HEADERS, frames::END_HEADERS | frames::END_STREAM, 1, &get)));
    assert!(peer.receive_until(|it| it.kind == frames::HEADERS).is_some());
    let log = wait_for("the requests in the log", || {
        let log = ordinal.stderr();
        let told = ["request refused", "status=201", "path=\"/api/v1/pods\" status=200"]
            .iter()
            .all(|it| log.contains(it));
        if told { Ok(log) } else { Err(log) }
    });
    let line = log.lines().find(|it| it.contains("status=201")).expect("it is there");
    for part in ["method=POST", "path=\"/api/v1/namespaces/default/secrets\"", "duration="] {
        assert!(line.contains(part), "{part} missing in {line}");
    }
    let secret = secret.trim_start_matches('/');
    for word in [&secret[..secret.len() - 1], "hunter22", "aHVudGVyMjI"] {
        assert!(!log.contains(word), "{word} is in the log");
    }
}

#[test]
fn http2_floods_end_the_connection_that_sends_them() {
    use frames::{CONTINUATION, END_HEADERS, END_STREAM, GOAWAY, HEADERS, Peer, RST_STREAM, frame};
    let ordinal = Ordinal::up(&[]);
    let (address, secret) = door(&ordinal);
    let before = resident_kib(ordinal.pid());
    let list = frames::get(&address, &format!("{secret}/api/v1/pods"));

    // Rapid reset (CVE-2023-44487): streams that are opened and given up before they are answered.
    let mut peer = Peer::connect(&address);
    let mut sent = 0_u32;
    for batch in 0..1_000_u32 {
        let streams = (batch * 100..(batch + 1) * 100).map(|it| it * 2 + 1);
        let bytes: Vec<u8> = streams
            .flat_map(|it| {
                let open = frame(HEADERS, END_HEADERS | END_STREAM, it, &list);
                [open, frame(RST_STREAM, 0, it, &8_u32.to_be_bytes())].concat()
            })
            .collect();
        if !peer.send(&bytes) {
            break;
        }
        sent += 100;
    }
    println!("{sent} streams until the connection ended");
    assert!(sent < 100_000, "rapid resets are taken for ever");

    // A head that never ends (CVE-2024-27316), with octets and without.
    let mut filler = Vec::new();
    frames::field(&mut filler, "x", &"y".repeat(16_000));
    for payload in [&filler[..], b""] {
        let mut peer = Peer::connect(&address);
        let started = Instant::now();
        assert!(peer.send(&frame(HEADERS, END_STREAM, 1, &list)));
        let more = frame(CONTINUATION, 0, 1, payload).repeat(10);
        let sent = (0..1_000).take_while(|_| peer.send(&more)).count();
        // What was sent may lie in buffers; the end has to come long before that of strangers.
        assert_eq!(peer.receive_until(|it| it.kind == HEADERS), None, "the connection ends");
        println!("{sent}0 continuations of {} octets, ended after {:?}", payload.len(), started.elapsed());
        assert!(started.elapsed() < Duration::from_secs(8), "a head without end is taken for ever");
    }

    // A head larger than announced.
    let mut peer = Peer::connect(&address);
    assert!(peer.send(&frame(HEADERS, END_STREAM, 1, &list)));
    for last in [false, false, false, false, false, true] {
        peer.send(&frame(CONTINUATION, if last { END_HEADERS } else { 0 }, 1, &filler));
    }
    let answer =
        peer.receive_until(|it| [HEADERS, RST_STREAM, GOAWAY].contains(&it.kind)).expect("an answer");
    assert!(answer.kind != HEADERS || frames::status(&answer) == 431, "{answer:?}");

    // More streams than announced: the rest is refused, the connection goes on.
    let mut peer = Peer::connect(&address);
    let watch = frames::get(&address, &format!("{secret}/api/v1/pods?watch=true&resourceVersion=0"));
    let opened: Vec<u8> =
        (0..300).flat_map(|it| frame(HEADERS, END_HEADERS | END_STREAM, it * 2 + 1, &watch)).collect();
    assert!(peer.send(&opened));
    let refused = peer.receive_until(|it| it.kind == RST_STREAM || it.kind == GOAWAY).expect("a refusal");
    assert_eq!(refused.kind, RST_STREAM, "{refused:?}");
    assert_eq!(refused.payload, 7_u32.to_be_bytes(), "REFUSED_STREAM: the client may try again");
    assert_eq!(refused.stream, 250 * 2 + 1);

    let grown = resident_kib(ordinal.pid()).saturating_sub(before);
    println!("{grown} KiB more than before");
    assert!(grown < 200 * 1024, "{grown} KiB");
    let ask = format!("GET {secret}/readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close");
    assert_eq!(send(&address, &ask, b"").0, 200, "it still answers");
}

/// A thousand watches, on a handful of connections.
#[test]
fn watches_have_a_limit() {
    use frames::{END_HEADERS, END_STREAM, HEADERS, Peer, frame};
    let ordinal = Ordinal::up(&["--components=dns", "--simulate-node=false"]);
    let (address, secret) = door(&ordinal);
    // Those of the process itself count, too: its DNS server has some.
    let watch = frames::get(&address, &format!("{secret}/api/v1/configmaps?watch=true"));
    let open = |peer: &mut Peer, number: u32| {
        let stream = number * 2 + 1;
        assert!(peer.send(&frame(HEADERS, END_HEADERS | END_STREAM, stream, &watch)), "it is open");
        let answer = peer.receive_until(|it| it.kind == HEADERS && it.stream == stream).expect("an answer");
        frames::status(&answer)
    };
    let mut peers: Vec<Peer> = (0..5).map(|_| Peer::connect(&address)).collect();
    let mut opened = 0;
    let refused = 'all: {
        for peer in &mut peers {
            for number in 0..240 {
                match open(peer, number) {
                    200 => opened += 1,
                    other => break 'all other,
                }
            }
        }
        0
    };
    println!("{opened} watches");
    assert_eq!(refused, 429);
    assert!((980..=1_000).contains(&opened), "{opened}");
    let ask = |path: &str| {
        send(&address, &format!("GET {secret}{path} HTTP/1.1\r\nHost: {address}\r\nConnection: close"), b"")
    };
    let (status, answer) = ask("/api/v1/pods?watch=true");
    assert_eq!(status, 429);
    for part in ["\"reason\":\"TooManyRequests\"", "too many watches", "\"retryAfterSeconds\":1"] {
        assert!(answer.contains(part), "{part} missing in {answer}");
    }
    assert_eq!(ask("/api/v1/pods").0, 200, "lists go on");
    drop(peers.remove(0));
    let mut another = Peer::connect(&address);
    let mut number = 0;
    wait_for("room for another watch", || {
        number += 1;
        match open(&mut another, number) {
            200 => Ok(()),
            other => Err(other.to_string()),
        }
    });
}
