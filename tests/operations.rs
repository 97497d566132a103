//! docs/OPERATIONS.md and deploy/monitoring say what the program does: every flag, every metric, and every name and label in
//! the expressions of alerts and dashboard.

#[path = "common/cluster.rs"]
mod cluster;
mod common;

use std::collections::{BTreeMap, BTreeSet};

use clap::CommandFactory as _;
use cluster::Cluster;
use common::{Ordinal, fixture, has_dig, kubectls, wait_for, wait_until};
use serde_json::Value;

const DOCUMENT: &str = include_str!("../docs/OPERATIONS.md");
const DNS_DOCUMENT: &str = include_str!("../docs/DNS.md");
const ALERTS: &str = include_str!("../deploy/monitoring/alerts.yaml");
const DASHBOARD: &str = include_str!("../deploy/monitoring/dashboard.json");

/// Names of metrics that a process only has once something rare has happened.
const RARE: [&str; 2] = ["ordinal_dns_skipped_objects", "ordinal_dns_forward_responses_total"];

/// What stands in backticks in the first column of the tables below a heading.
fn first_column(document: &str, heading: &str) -> BTreeSet<String> {
    let (_, rest) = document.split_once(&format!("\n{heading}\n")).expect("the heading is there");
    let section = rest.split("\n## ").next().unwrap_or_default();
    let rows = section.lines().filter(|it| it.starts_with("| `"));
    let cells = rows.filter_map(|it| it.split('|').nth(1));
    cells.flat_map(|it| it.split('`').skip(1).step_by(2)).map(str::to_owned).collect()
}

#[test]
fn every_flag_is_in_the_documents() {
    let mut documented = first_column(DOCUMENT, "## Flags");
    documented.extend(first_column(DNS_DOCUMENT, "## Options"));
    let command = ordinal::cli::Cli::command();
    let mut known = BTreeSet::new();
    for name in ["up", "run"] {
        let command = command.find_subcommand(name).expect("it exists");
        known.extend(command.get_arguments().filter_map(|it| it.get_long()).map(|it| format!("--{it}")));
    }
    known.remove("--help");
    let missing: Vec<_> = known.difference(&documented).collect();
    let unknown: Vec<_> = documented.difference(&known).collect();
    assert!(missing.is_empty() && unknown.is_empty(), "not documented: {missing:?}; no flags: {unknown:?}");
}

#[test]
fn every_key_of_the_table_of_flags_is_in_the_configuration() {
    let text = serde_json::to_value(ordinal::config::Config::default()).expect("plain data");
    for row in DOCUMENT.lines().filter(|it| it.starts_with("| `--")) {
        let keys = row.split('|').nth(2).unwrap_or_default();
        for key in keys.split('`').skip(1).step_by(2) {
            let pointer = format!("/{}", key.replace('.', "/"));
            assert!(text.pointer(&pointer).is_some(), "{key}: {row}");
        }
    }
}

/// Every metric with its labels, of a process that has done a bit of everything.
fn metrics() -> Option<BTreeMap<String, BTreeSet<String>>> {
    let binary = kubectls().pop()?;
    if !has_dig() {
        return None;
    }
    let cluster = Cluster::start();
    let kubectl = cluster.kubectl(&binary);
    let all = "--components=*,endpoints,deployment,replicaset";
    let run = Ordinal::run(&cluster.kubeconfig(), &[all, "--coredns-metrics", "--upstream=127.0.0.1:1"]);
    kubectl.ok("create ns demo");
    kubectl.ok(&format!("create -f {}", fixture("walkthrough").display()));
    wait_until("the name", || run.dig_short("web-demo-0.nginx-demo.demo.svc.cluster.local", "A").len() == 1);
    run.dig(&["+tcp", "+time=1", "example.com", "A"]);
    let text = wait_for("metrics of everything", || {
        let text = run.http_get("/metrics").1;
        let want = [
            "ordinal_dns_forward_failures_total{",
            "ordinal_own_write_wait_seconds_bucket{",
            "service_kind=",
        ];
        if want.iter().all(|it| text.contains(it)) { Ok(text) } else { Err(text) }
    });
    let mut all: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in text.lines().filter(|it| !it.starts_with('#')) {
        let (name, rest) = line.split_at(line.find(['{', ' ']).expect("a sample"));
        let labels = all.entry(name.to_owned()).or_default();
        let inside = rest.strip_prefix('{').and_then(|it| it.rsplit_once('}')).map_or("", |it| it.0);
        labels.extend(label_names(inside));
    }
    Some(all)
}

/// The names in `a="x",b=~"y"`.
fn label_names(text: &str) -> Vec<String> {
    let outside = text.split('"').step_by(2).collect::<Vec<_>>().join("");
    let names = outside.split(',').map(|it| it.trim().trim_end_matches(['=', '~', '!']).to_owned());
    names.filter(|it| !it.is_empty()).collect()
}

/// `name_bucket` and the like without what a histogram adds.
fn family(sample: &str) -> &str {
    ["_bucket", "_sum", "_count"].iter().find_map(|it| sample.strip_suffix(it)).unwrap_or(sample)
}

/// The metrics of an expression with the labels asked of them, and the labels that results are grouped by.
fn selectors(expression: &str) -> (Vec<(String, Vec<String>)>, Vec<String>) {
    let (mut found, mut grouped) = (Vec::new(), Vec::new());
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut rest = expression;
    while let Some(at) = rest.find(|c: char| c.is_ascii_alphabetic()) {
        rest = &rest[at..];
        let end = rest.find(|c| !word(c)).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        rest = after;
        if name == "by" {
            let (inside, after) = rest.trim_start().trim_start_matches('(').split_once(')').expect("a list");
            grouped.extend(inside.split(',').map(|it| it.trim().to_owned()));
            rest = after;
        } else if name.contains('_') && !name.ends_with("_over_time") && name != "histogram_quantile" {
            let labels = rest.strip_prefix('{').and_then(|it| it.split_once('}'));
            if let Some((_, after)) = labels {
                rest = after;
            }
            found.push((name.to_owned(), labels.map_or(Vec::new(), |it| label_names(it.0))));
        } else if let Some(after) = rest.strip_prefix('[') {
            rest = after.split_once(']').map_or("", |it| it.1);
        }
        if let Some(after) = rest.strip_prefix('[') {
            rest = after.split_once(']').map_or("", |it| it.1);
        }
    }
    (found, grouped)
}

#[test]
fn expressions_are_taken_apart() {
    let (found, grouped) = selectors(
        "histogram_quantile(0.99, sum by (a, le) (rate(x_bucket{b=~\"c|d\"}[5m]))) > 1 and min_over_time(y_z[15m]) > 2",
    );
    let found: Vec<_> = found.iter().map(|it| format!("{} {:?}", it.0, it.1)).collect();
    assert_eq!(found, ["x_bucket [\"b\"]", "y_z []"]);
    assert_eq!(grouped, ["a", "le"]);
}

#[test]
fn the_document_the_alerts_and_the_dashboard_name_what_is_there() {
    let Some(metrics) = metrics() else { return };
    let families: BTreeSet<String> = metrics.keys().map(|it| family(it).to_owned()).collect();
    let documented = first_column(DOCUMENT, "## Metrics");
    let covered = |name: &str| {
        documented.contains(name)
            || documented.iter().any(|it| it.strip_suffix('*').is_some_and(|it| name.starts_with(it)))
    };
    let missing: Vec<_> = families.iter().filter(|it| !covered(it)).collect();
    let unknown: Vec<_> = documented
        .iter()
        .filter(|it| !it.ends_with('*') && !families.contains(*it) && !RARE.contains(&it.as_str()))
        .collect();
    assert!(missing.is_empty() && unknown.is_empty(), "not documented: {missing:?}; no metrics: {unknown:?}");

    let alerts: Value = serde_saphyr::from_str(ALERTS).expect("YAML");
    let dashboard: Value = serde_json::from_str(DASHBOARD).expect("JSON");
    let mut expressions = Vec::new();
    for rule in alerts["groups"]
        .as_array()
        .expect("groups")
        .iter()
        .flat_map(|it| it["rules"].as_array().expect("rules"))
    {
        let name = rule["alert"].as_str().expect("a name");
        assert!(DOCUMENT.contains(name), "what to do about {name} is not documented");
        expressions.push((name.to_owned(), rule["expr"].as_str().expect("an expression").to_owned()));
    }
    for panel in dashboard["panels"].as_array().expect("panels") {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let title = panel["title"].as_str().expect("a title");
            expressions.push((title.to_owned(), target["expr"].as_str().expect("an expression").to_owned()));
        }
    }
    assert!(expressions.len() > 40, "alerts and panels were found");
    // What Prometheus adds to every sample.
    let added = ["instance", "job"];
    for (title, expression) in expressions {
        let (found, grouped) = selectors(&expression);
        assert!(!found.is_empty(), "{title}: {expression}");
        let mut labels = BTreeSet::new();
        for (name, asked) in found {
            let Some(known) = metrics.get(&name) else { panic!("{title}: there is no {name}") };
            for label in asked.iter().filter(|it| !added.contains(&it.as_str())) {
                assert!(known.contains(label), "{title}: {name} has no label {label}");
            }
            labels.extend(known.clone());
        }
        for label in grouped.iter().filter(|it| !added.contains(&it.as_str())) {
            assert!(labels.contains(label), "{title}: nothing has the label {label}");
        }
    }
}

#[test]
fn the_configuration_is_read_again() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let file = folder.path().join("ordinal.yaml");
    let write = |text: &str| std::fs::write(&file, text).expect("written");
    write("log: {level: info, format: json}\ndns: {ttl: 5}\n");
    let ordinal = Ordinal::up_fast(&["--components=dns", &format!("--config={}", file.display())]);
    let pid = ordinal.pid().to_string();
    let hang_up = || {
        let status = std::process::Command::new("kill").args(["-HUP", &pid]).status().expect("kill runs");
        assert!(status.success());
    };
    let says = |what: &str| {
        wait_for(what, || {
            let log = ordinal.stderr();
            if log.contains(what) { Ok(()) } else { Err(log) }
        });
    };
    write("log: {level: debug, format: json}\ndns: {ttl: 7}\n");
    hang_up();
    says("\"applied\":\"log.level\"");
    says("\"keys\":\"dns.ttl\"");
    write("dns: {tttl: 7}\n");
    hang_up();
    says("the configuration is left as it was");
    for line in ordinal.stderr().lines() {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        assert!(line["message"].is_string() && line["level"].is_string(), "{line}");
    }
    assert_eq!(ordinal.terminate(), Some(0));
}
