//! `ordinal lookup`: one question to a DNS server, its answer in presentation format; with `--explain` why it is so.

pub mod explain;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, bail};
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, Record, RecordType};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::dns::explain::http::record_type as parse_type;

/// How long one try may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// Asks and prints; `Ok(false)` when the name or the type does not exist.
///
/// # Errors
/// An invalid name or type, or a server that does not answer or refuses.
pub async fn run(name: &str, record_type: &str, server: SocketAddr) -> anyhow::Result<bool> {
    let mut qname = Name::from_ascii(name).with_context(|| format!("{name:?} is not a domain name"))?;
    qname.set_fqdn(true);
    let qtype = parse_type(record_type).map_err(anyhow::Error::msg)?;
    let response = ask(&qname, qtype, server).await?;
    match response.metadata.response_code {
        ResponseCode::NoError | ResponseCode::NXDomain => {}
        code => bail!("{server} answered {code} for {qname} {qtype}"),
    }
    for record in &response.answers {
        println!("{}", line(record));
    }
    if response.metadata.response_code == ResponseCode::NXDomain {
        eprintln!("{qname} does not exist (NXDOMAIN)");
    } else if response.answers.is_empty() {
        eprintln!("{qname} exists but has no {qtype} record (NODATA)");
    }
    Ok(!response.answers.is_empty() && response.metadata.response_code == ResponseCode::NoError)
}

/// Whether `server` knows an address of `name` right now.
pub async fn resolves(name: &str, server: SocketAddr) -> bool {
    let Ok(qname) = Name::from_ascii(name) else { return false };
    ask(&qname, RecordType::A, server).await.is_ok_and(|it| !it.answers.is_empty())
}

fn line(record: &Record) -> String {
    format!(
        "{}\t{}\t{}\t{}\t{}",
        record.name,
        record.ttl,
        record.dns_class,
        record.record_type(),
        record.data
    )
}

/// Over UDP, and over TCP if the answer was cut.
async fn ask(qname: &Name, qtype: RecordType, server: SocketAddr) -> anyhow::Result<Message> {
    let mut query = Message::query();
    query.metadata.op_code = OpCode::Query;
    query.metadata.recursion_desired = true;
    let mut question = Query::query(qname.clone(), qtype);
    question.set_query_class(DNSClass::IN);
    query.add_query(question);
    let mut edns = Edns::new();
    edns.set_max_payload(1232);
    query.set_edns(edns);
    let bytes = query.to_vec().context("the query cannot be encoded")?;
    let response = timeout(PATIENCE, over_udp(&bytes, query.metadata.id, server))
        .await
        .with_context(|| format!("no answer from {server} within {PATIENCE:?}"))??;
    if !response.metadata.truncation {
        return Ok(response);
    }
    timeout(PATIENCE, over_tcp(&bytes, server))
        .await
        .with_context(|| format!("no answer from {server} over TCP within {PATIENCE:?}"))?
}

async fn over_udp(query: &[u8], id: u16, server: SocketAddr) -> anyhow::Result<Message> {
    let local: SocketAddr = if server.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
    let socket = UdpSocket::bind(local).await.context("cannot open a UDP socket")?;
    socket.connect(server).await.with_context(|| format!("cannot reach {server}"))?;
    socket.send(query).await.with_context(|| format!("cannot send to {server}"))?;
    let mut buffer = vec![0; 65_535];
    loop {
        let length = socket
            .recv(&mut buffer)
            .await
            .with_context(|| format!("nothing listens on {server}; is `ordinal up` running?"))?;
        // A datagram that is no answer to this question is somebody else's.
        if let Ok(message) = Message::from_vec(&buffer[..length])
            && message.metadata.id == id
            && message.metadata.message_type == MessageType::Response
        {
            return Ok(message);
        }
    }
}

async fn over_tcp(query: &[u8], server: SocketAddr) -> anyhow::Result<Message> {
    let mut stream =
        TcpStream::connect(server).await.with_context(|| format!("cannot connect to {server}"))?;
    let length = u16::try_from(query.len()).context("the query is too long")?;
    let mut framed = length.to_be_bytes().to_vec();
    framed.extend_from_slice(query);
    stream.write_all(&framed).await.with_context(|| format!("cannot send to {server}"))?;
    let length = stream.read_u16().await.with_context(|| format!("{server} closed the connection"))?;
    let mut buffer = vec![0; usize::from(length)];
    stream.read_exact(&mut buffer).await.with_context(|| format!("{server} closed the connection"))?;
    Message::from_vec(&buffer).with_context(|| format!("{server} sent an answer that cannot be decoded"))
}
