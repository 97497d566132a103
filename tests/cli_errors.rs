//! Every bad input: one clear line, the right exit code, nothing lost.

mod common;

use std::process::Output;

use common::{FREE_PORTS, Ordinal, fixture};

struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

fn end(args: &[&str]) -> Ended {
    let Output { status, stdout, stderr } =
        Ordinal::command().args(args).output().expect("the binary starts");
    Ended {
        code: status.code(),
        stdout: String::from_utf8(stdout).expect("text"),
        stderr: String::from_utf8(stderr).expect("text"),
    }
}

/// `up` with free ports in a directory of its own, so that only `args` can be at fault.
fn up(args: &[&str]) -> Ended {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let out = format!("--kubeconfig-out={}", directory.path().join("k").display());
    let mut all = vec!["up", "--log-level=error"];
    for flag in [&out, "--api-listen=127.0.0.1:0", FREE_PORTS[0], FREE_PORTS[1]] {
        let name = flag.split('=').next().unwrap_or_default();
        if !args.iter().any(|it| it.starts_with(name)) {
            all.push(flag);
        }
    }
    all.extend(args);
    let ended = end(&all);
    let left: Vec<_> = std::fs::read_dir(directory.path()).expect("our directory").collect();
    assert!(left.is_empty(), "files stay behind: {left:?}");
    ended
}

#[test]
fn a_bad_command_line_or_configuration_exits_with_2() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("bad.yaml");
    std::fs::write(&file, "dns:\n  tll: 5\n").expect("written");
    let file = file.to_str().expect("UTF-8");
    for (args, want) in [
        (&["up", "--ttl", "4000"][..], "dns.ttl"),
        (&["up", "--components", "dsn"], "\"dsn\" is not a component"),
        (&["up", "--start-delay", "soon"], "is not a duration"),
        (&["up", "--api-listen", "0.0.0.0:7443"], "api.listen: 0.0.0.0:7443 is not a loopback address"),
        (&["up", "--api-listen", "192.0.2.1:7443", "--tls=false"], "with --tls only"),
        (&["up", "--tls-san", "dev.example"], "api.tlsSan: has no meaning without api.tls"),
        (&["up", "--pods", "sometimes"], "dns.pods"),
        (&["up", "--config", file], "tll"),
        (&["up", "--config", "/no/such/file"], "/no/such/file"),
        (&["check-config", file], "tll"),
        (&["up", "--no-such-flag"], "--no-such-flag"),
        (&["serve"], "serve"),
    ] {
        let ended = end(args);
        assert_eq!(ended.code, Some(2), "{args:?}: {}", ended.stderr);
        assert!(ended.stderr.contains(want), "{args:?}: {}", ended.stderr);
        assert_eq!(ended.stdout, "", "{args:?}");
    }
}

#[test]
fn check_config_prints_what_is_in_effect() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/config/ordinal.yaml");
    let (with_file, without) = (end(&["check-config", file]), end(&["check-config"]));
    assert_eq!((with_file.code, with_file.stderr.as_str()), (Some(0), ""));
    assert!(with_file.stdout.contains("startDelay: 200ms"), "{}", with_file.stdout);
    assert_eq!(with_file.stdout, without.stdout, "the shipped file says the defaults");
}

#[test]
fn a_manifest_that_is_refused_names_file_document_field_and_reason() {
    for (file, wants) in [
        ("invalid/not-yaml.yaml", &["not-yaml.yaml, document 2 (line 6)", "line "][..]),
        ("invalid/no-kind.yaml", &["no-kind.yaml, document 1 (line 1): kind: Required value"]),
        (
            "invalid/unknown-kind.yaml",
            &["unknown-kind.yaml, document 1", "no kind \"StatefulSets\" in version \"apps/v1\""],
        ),
        (
            "invalid/negative-replicas.yaml",
            &[
                "negative-replicas.yaml, document 2",
                "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
            ],
        ),
        ("invalid/wrong-type.yaml", &["wrong-type.yaml, document 1", "replicas"]),
        ("invalid/no-selector.yaml", &["no-selector.yaml, document 1", "spec.selector: Required value"]),
        ("no/such/file.yaml", &["no/such/file.yaml"]),
    ] {
        let path = fixture(file);
        let ended = up(&["-f", path.to_str().expect("UTF-8")]);
        assert_eq!(ended.code, Some(1), "{file}: {}", ended.stderr);
        assert_eq!(ended.stdout, "", "{file}: no ready line");
        for want in wants {
            assert!(ended.stderr.contains(want), "{file}: {want:?} missing in: {}", ended.stderr);
        }
        assert_eq!(ended.stderr.trim().lines().count(), 1, "{file}: one line: {}", ended.stderr);
    }
}

#[test]
fn an_address_in_use_is_one_line_and_exit_1() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("bound").to_string();
    for flag in ["--api-listen", "--http-listen", "--dns-listen"] {
        let ended = up(&[&format!("{flag}={address}")]);
        assert_eq!(ended.code, Some(1), "{flag}: {}", ended.stderr);
        for want in [address.as_str(), flag, "in use"] {
            assert!(ended.stderr.contains(want), "{flag}: {want:?} missing in: {}", ended.stderr);
        }
        assert_eq!(ended.stderr.trim().lines().count(), 1, "{flag}: {}", ended.stderr);
    }
}

#[test]
fn a_kubeconfig_that_cannot_be_written_or_is_not_ours_stops_the_start() {
    let ended = up(&["--kubeconfig-out=/no/such/directory/k"]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("cannot write the kubeconfig /no/such/directory/k"), "{}", ended.stderr);
    assert_eq!(ended.stderr.trim().lines().count(), 1, "{}", ended.stderr);

    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("config");
    std::fs::write(&path, "apiVersion: v1\nkind: Config\n").expect("written");
    let ended = up(&[&format!("--kubeconfig-out={}", path.display())]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("was not written by `ordinal up`"), "{}", ended.stderr);
    let text = std::fs::read_to_string(&path).expect("still there");
    assert_eq!(text, "apiVersion: v1\nkind: Config\n", "somebody else's file is untouched");
}

#[test]
fn run_without_a_cluster_says_what_to_give() {
    let ended = end(&["run", "--kubeconfig=/no/such/kubeconfig", FREE_PORTS[0], FREE_PORTS[1]]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("cannot use the kubeconfig /no/such/kubeconfig"), "{}", ended.stderr);
}
