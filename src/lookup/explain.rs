//! `ordinal lookup --explain`: asks a running server over HTTP why a name has the records it has, and prints it for people.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, bail};
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::dns::explain::http::{PATH, question};
use crate::dns::explain::{Explanation, Record, Source};

/// How long the server may take. It answers between two batches of events.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest body that is read: several times what the longest explanation takes.
const MAX_BODY: usize = 16 << 20;

/// Asks and prints; `Ok(false)` when there is no record.
///
/// # Errors
/// An invalid name or type, or a server that does not answer.
pub async fn run(name: &str, record_type: &str, http: SocketAddr) -> anyhow::Result<bool> {
    question(name, record_type).map_err(anyhow::Error::msg)?;
    let (status, body) = timeout(PATIENCE, get(name, record_type, http))
        .await
        .with_context(|| format!("no answer from http://{http} within {PATIENCE:?}"))??;
    if status == StatusCode::NOT_FOUND {
        bail!("http://{http} explains no names: it is no ordinal, or runs without the component dns");
    }
    if status != StatusCode::OK {
        let error: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
        bail!("http://{http} answered {status}: {}", error["error"].as_str().unwrap_or("no reason given"));
    }
    let explanation: Explanation = serde_json::from_slice(&body)
        .with_context(|| format!("http://{http} sent something other than an explanation"))?;
    print!("{}", text(&explanation));
    Ok(!explanation.records.is_empty() && explanation.rcode.is_none_or(|it| it == "NOERROR"))
}

async fn get(name: &str, record_type: &str, http: SocketAddr) -> anyhow::Result<(StatusCode, Vec<u8>)> {
    let unreachable = || {
        format!("cannot reach http://{http}; is `ordinal` running? --http names its --http-listen address")
    };
    let stream = TcpStream::connect(http).await.with_context(unreachable)?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.with_context(unreachable)?;
    let connection = tokio::spawn(connection);
    let query = form_urlencoded::Serializer::new(String::new())
        .append_pair("name", name)
        .append_pair("type", record_type)
        .finish();
    let request = Request::get(format!("{PATH}?{query}"))
        .header("host", http.to_string())
        .body(Body::empty())
        .context("the request cannot be written")?;
    let response = sender.send_request(request).await.with_context(unreachable)?;
    let status = response.status();
    let body = to_bytes(Body::new(response.into_body()), MAX_BODY)
        .await
        .with_context(|| format!("http://{http} sent no complete answer"))?;
    connection.abort();
    Ok((status, body.to_vec()))
}

/// The explanation for people: what the answer is, the records with their sources, the reasons.
fn text(explanation: &Explanation) -> String {
    let Explanation { name, r#type, rcode, ttl, records, more_records, missing, reasons, .. } = explanation;
    let total = records.len() + more_records;
    let mut text = match (rcode.as_deref(), total) {
        (Some("NOERROR"), 0) => format!("{name} {type}: no record (NODATA)"),
        (Some("NOERROR"), 1) => format!("{name} {type}: 1 record"),
        (Some("NOERROR"), _) => format!("{name} {type}: {total} records"),
        (Some("NXDOMAIN"), _) => format!("{name} {type}: does not exist (NXDOMAIN)"),
        (Some(other), _) => format!("{name} {type}: {other}"),
        (None, 0) => format!("{name} {type}: others are asked"),
        (None, _) => format!("{name} {type}: others are asked for the rest"),
    };
    if let Some(ttl) = ttl {
        let _ = write!(text, ", TTL {ttl}");
    }
    text.push('\n');
    for record in records {
        push_record(&mut text, record, name);
    }
    if *more_records > 0 {
        let _ = writeln!(text, "  and {more_records} more records");
    }
    if let Some(missing) = missing {
        let _ = writeln!(text, "  first label that does not exist: {missing}");
    }
    for reason in reasons {
        let _ = writeln!(text, "  {reason}");
    }
    text
}

fn push_record(text: &mut String, record: &Record, asked: &str) {
    let Record { owner, r#type, data, sources, more_sources } = record;
    let owner = if owner == asked { String::new() } else { format!("{owner} ") };
    let _ = writeln!(text, "  {owner}{type} {data}");
    for source in sources {
        let _ = writeln!(text, "      {}", source_text(source));
    }
    if *more_sources > 0 {
        let _ = writeln!(text, "      and {more_sources} more");
    }
}

/// `service prod/web, slice web-1, pod web-0, hostname web-0, address 10.0.0.1, ready, serving, changed 12s ago`
fn source_text(source: &Source) -> String {
    let Source { service, slice, pod, hostname, address, ready, serving, terminating, age_seconds } = source;
    let mut parts: Vec<String> = service.iter().map(|it| format!("service {it}")).collect();
    parts.extend(slice.as_ref().map(|it| format!("slice {it}")));
    parts.extend(pod.as_ref().map(|it| format!("pod {it}")));
    parts.extend(hostname.as_ref().map(|it| format!("hostname {it}")));
    parts.extend(address.as_ref().map(|it| format!("address {it}")));
    for (value, name) in [(ready, "ready"), (serving, "serving"), (terminating, "terminating")] {
        parts.extend(value.map(|it| if it { name.to_owned() } else { format!("not {name}") }));
    }
    parts.extend(age_seconds.map(|it| format!("changed {} ago", age(it))));
    parts.join(", ")
}

/// The two largest units, as kubectl prints ages.
fn age(seconds: u32) -> String {
    let units = [(86_400, "d"), (3600, "h"), (60, "m"), (1, "s")];
    let Some(first) = units.iter().position(|(size, _)| seconds >= *size) else { return "0s".into() };
    let (size, unit) = units[first];
    let mut text = format!("{}{unit}", seconds / size);
    if let Some((next, unit)) = units.get(first + 1) {
        let rest = seconds % size / next;
        if rest > 0 {
            let _ = write!(text, "{rest}{unit}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages() {
        for (seconds, want) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (61, "1m1s"),
            (7265, "2h1m"),
            (86_400, "1d"),
            (93_700, "1d2h"),
        ] {
            assert_eq!(age(seconds), want);
        }
    }

    #[test]
    fn an_explanation_reads_like_this() {
        let json = r#"{"name": "web.prod.svc.cluster.local.", "type": "A", "zone": "cluster.local.", "rcode": "NOERROR",
            "ttl": 5, "moreRecords": 2, "missing": null, "reasons": [], "records": [{
                "owner": "web.prod.svc.cluster.local.", "type": "A", "data": "10.0.0.1", "moreSources": 1,
                "sources": [{"service": "prod/web", "slice": "web-1", "pod": "web-0", "address": "10.0.0.1",
                    "ready": true, "terminating": false, "ageSeconds": 61}]}]}"#;
        let want = "web.prod.svc.cluster.local. A: 3 records, TTL 5\n  \
            A 10.0.0.1\n      \
            service prod/web, slice web-1, pod web-0, address 10.0.0.1, ready, not terminating, changed 1m1s ago\n      \
            and 1 more\n  \
            and 2 more records\n";
        assert_eq!(text(&serde_json::from_str(json).expect("an explanation")), want);
    }
}
