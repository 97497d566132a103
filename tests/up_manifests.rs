//! `ordinal up`: the ready line, `-f DIR`, `--demo`, the kubeconfig, health, and a clean end.

mod common;

use std::os::unix::fs::PermissionsExt as _;

use common::{Ordinal, fixture, has_dig, kubectls, wait_for, wait_until};

#[test]
fn a_directory_of_manifests_is_applied_before_the_ready_line() {
    let Some(binary) = kubectls().pop() else { return };
    let directory = fixture("walkthrough");
    let ordinal = Ordinal::up_fast(&["-f", directory.to_str().expect("UTF-8")]);
    let kubectl = ordinal.kubectl(&binary);
    let names = kubectl.ok("get svc,sts -n demo -o name");
    assert_eq!(names.lines().collect::<Vec<_>>(), ["service/nginx-demo", "statefulset.apps/web-demo"]);
    assert_eq!(kubectl.ok("get sts web-demo -n demo -o jsonpath={.spec.replicas}"), "2");
}

#[test]
fn the_demo_answers_as_soon_as_the_ready_line_is_out() {
    if !has_dig() {
        return;
    }
    let ordinal = Ordinal::up(&["--demo"]);
    assert_eq!(ordinal.dig_short("web-0.nginx.default.svc.cluster.local", "A").len(), 1);
    let hint = ordinal.stderr();
    for command in ["get pods -o wide", "dig @127.0.0.1 -p", "scale sts web --replicas=5"] {
        assert!(hint.contains(command), "{command:?} missing in {hint}");
    }
    // Every command it suggests works when pasted into a shell.
    if kubectls().is_empty() {
        return;
    }
    let commands: Vec<_> = hint
        .lines()
        .filter_map(|line| line.strip_prefix("  "))
        .filter(|line| line.starts_with("kubectl ") || line.starts_with("dig "))
        .collect();
    assert_eq!(commands.len(), 3, "{hint}");
    for command in commands {
        let output = std::process::Command::new("sh").args(["-c", command]).output().expect("a shell");
        assert!(output.status.success() && !output.stdout.is_empty(), "{command}: {output:?}");
    }
    wait_until("the scaled name", || {
        ordinal.dig_short("web-4.nginx.default.svc.cluster.local", "A").len() == 1
    });
}

#[test]
fn it_reports_health_and_cleans_up_after_itself() {
    let ordinal = Ordinal::up_fast(&[]);
    let kubeconfig = ordinal.kubeconfig();
    let mode = std::fs::metadata(&kubeconfig).expect("written before the ready line").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    for path in ["/livez", "/readyz", "/health", "/ready"] {
        assert_eq!(ordinal.http_get(path).0, 200, "{path}");
    }
    for series in ["ordinal_workqueue_depth", "ordinal_reconciles_total", "ordinal_dns_synced"] {
        // The workers start right after their caches are synced.
        wait_for(series, || match ordinal.http_get("/metrics") {
            (200, metrics) if metrics.lines().any(|it| it.starts_with(series)) => Ok(()),
            (status, metrics) => Err(format!("{status} {metrics}")),
        });
    }
    let secret = std::fs::read_to_string(&kubeconfig).expect("readable");
    let api = ordinal.get("api").to_owned();
    assert!(secret.contains(&format!("server: {api}/")) && !api.trim_start_matches("http://").contains('/'));
    assert_eq!(ordinal.terminate(), Some(0));
    assert!(!kubeconfig.exists(), "the kubeconfig goes with the server");
}

#[test]
fn the_api_needs_the_secret_path_and_a_loopback_host() {
    use std::io::{Read as _, Write as _};
    let ordinal = Ordinal::up_fast(&["--components="]);
    let text = std::fs::read_to_string(ordinal.kubeconfig()).expect("readable");
    let url = text.lines().find_map(|line| line.trim().strip_prefix("server: ")).expect("a server");
    let (host, secret) = url.trim_start_matches("http://").split_once('/').expect("a base path");
    for (path, header, want) in [
        (format!("/{secret}/api/v1/namespaces"), String::new(), "200"),
        ("/api/v1/namespaces".to_owned(), String::new(), "401"),
        (format!("/{secret}x/api/v1/namespaces"), String::new(), "401"),
        (format!("/{secret}/api/v1/namespaces"), "Origin: http://evil.example\r\n".to_owned(), "403"),
        (format!("/{secret}/api/v1/namespaces"), "Sec-Fetch-Site: cross-site\r\n".to_owned(), "403"),
    ] {
        let mut stream = std::net::TcpStream::connect(host).expect("it listens");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\n{header}Connection: close\r\n\r\n")
            .expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        assert_eq!(answer.split_whitespace().nth(1), Some(want), "{path} {header}: {answer}");
    }
    let mut stream = std::net::TcpStream::connect(host).expect("it listens");
    write!(stream, "GET /{secret}/api HTTP/1.1\r\nHost: rebound.example\r\nConnection: close\r\n\r\n")
        .expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert_eq!(answer.split_whitespace().nth(1), Some("403"), "{answer}");
}
