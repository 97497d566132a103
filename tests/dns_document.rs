//! Repeats the commands of docs/DNS.md and compares what they print with what the document says.
//!
//! Only `ordinal`, `dig` and the alias `dns` in blocks marked `console` are run; `ordinal up` starts a new server on free ports.
//! What differs from run to run (ids, serials, ages, order of records) is left out of the comparison.
//! `ORDINAL_UPDATE_DOCS=1 cargo test --test dns_document` writes the output of this run into the document.

mod common;

use std::fmt::Write as _;
use std::process::Command;

use common::{Ordinal, finish, has_dig, wait_until};

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/DNS.md");

/// What the alias of the document stands for.
const ALIAS: &str = "dig @127.0.0.1 -p 1053 +noall +answer +authority +additional";

#[test]
fn the_document_prints_what_it_says() {
    if !has_dig() {
        return;
    }
    let document = std::fs::read_to_string(DOCUMENT).expect("the document");
    let repeated = repeat(&document);
    if std::env::var_os("ORDINAL_UPDATE_DOCS").is_some() {
        std::fs::write(DOCUMENT, repeated).expect("written");
        return;
    }
    let (said, got) = (blocks(&document), blocks(&repeated));
    assert_eq!(said.len(), got.len());
    for ((command, said), (_, got)) in said.iter().zip(&got) {
        assert_eq!(comparable(said), comparable(got), "$ {command}\nprints now:\n{}", got.join("\n"));
    }
}

/// The document with the output of every command as it is now.
fn repeat(document: &str) -> String {
    let mut server: Option<Ordinal> = None;
    let mut repeated = String::new();
    let (mut in_console, mut keep) = (false, true);
    for line in document.lines() {
        let fence = line.starts_with("```");
        if fence {
            (in_console, keep) = (line == "```console", true);
        }
        let Some(command) = line.strip_prefix("$ ").filter(|_| in_console) else {
            if keep || fence {
                repeated.push_str(line);
                repeated.push('\n');
            }
            continue;
        };
        repeated.push_str(line);
        repeated.push('\n');
        let output = run(&mut server, command);
        keep = output.is_none();
        repeated.push_str(&output.unwrap_or_default());
    }
    repeated
}

/// Commands and the lines they print.
fn blocks(document: &str) -> Vec<(String, Vec<String>)> {
    let mut found: Vec<(String, Vec<String>)> = Vec::new();
    let mut in_console = false;
    for line in document.lines() {
        if line.starts_with("```") {
            in_console = line == "```console";
        } else if let Some(command) = line.strip_prefix("$ ").filter(|_| in_console) {
            found.push((command.to_owned(), Vec::new()));
        } else if in_console && let Some((_, lines)) = found.last_mut() {
            lines.push(line.to_owned());
        }
    }
    found
}

/// `None` for a command that is not repeated.
fn run(server: &mut Option<Ordinal>, command: &str) -> Option<String> {
    let words: Vec<&str> = command.split_whitespace().collect();
    match words[..] {
        ["ordinal", "up", ref args @ ..] => {
            *server = None;
            let started = Ordinal::up_fast(args);
            wait_until("the last pod to show", || {
                !started.dig(&["+short", "db-2.db.prod.svc.cluster.local"]).is_empty()
            });
            *server = Some(started);
            Some(String::new())
        }
        ["ordinal", ref args @ ..] => {
            let server = server.as_ref().expect("a server was started");
            let mut command = Ordinal::command();
            command
                .args(args)
                .env("ORDINAL_HTTP", server.get("http"))
                .env("ORDINAL_SERVER", server.get("dns"));
            Some(output(command, server))
        }
        ["dns", ref args @ ..] => Some(dig(server.as_ref(), ALIAS, args)),
        ["dig", ref args @ ..] => Some(dig(server.as_ref(), "dig", args)),
        _ => None,
    }
}

fn dig(server: Option<&Ordinal>, alias: &str, args: &[&str]) -> String {
    let server = server.expect("a server was started");
    let port = server.dns().port().to_string();
    let words = alias.split(' ').chain(args.iter().copied()).skip(1);
    let mut command = Command::new("dig");
    command.args(words.map(|it| if it == "1053" { port.as_str() } else { it }));
    output(command, server)
}

/// What it prints, with the ports of the document.
fn output(command: Command, server: &Ordinal) -> String {
    let output = finish(command);
    let text = String::from_utf8([output.stdout, output.stderr].concat()).expect("text");
    let port = server.dns().port().to_string();
    let mut lines = String::new();
    // dig warns about every name below `local`, which has another meaning on a LAN.
    for line in text.lines().filter(|it| {
        !it.starts_with(";; WARNING: .local is") && !it.starts_with(";; You are currently testing")
    }) {
        writeln!(lines, "{}", line.replace(&port, "1053").trim_end()).expect("strings take everything");
    }
    lines
}

/// The lines in sorted order, without what differs from run to run.
fn comparable(lines: &[String]) -> Vec<String> {
    let mut all: Vec<String> = lines.iter().map(|it| stable(it)).filter(|it| !it.is_empty()).collect();
    all.sort();
    all
}

fn stable(line: &str) -> String {
    let unstable =
        [";; Query time", ";; WHEN", ";; XFR size", "; <<>> DiG", ";; global options", "; (1 server"];
    if unstable.iter().any(|it| line.starts_with(it)) {
        return String::new();
    }
    let mut words: Vec<&str> = line.split_whitespace().collect();
    for at in 0..words.len() {
        let before = at.checked_sub(1).map_or("", |it| words[it]);
        let serial = at >= 6 && words[at - 3] == "SOA";
        if serial
            || matches!(before, "id:" | "changed")
            || (before == "slice" && words[at].starts_with("db-"))
        {
            words[at] = "…";
        }
    }
    words.join(" ")
}
