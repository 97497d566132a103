//! DNS over TCP: pipelined queries on long-lived connections (RFC 7766).
//!
//! listener ──▶ connection ──message──▶ `dns::responder` ──▶ message ──▶ connection
//!
//! Messages of one connection are answered in order. On shutdown, requests that have already arrived are answered, then
//! the connection closes. Every limit has a metric.
//! Sources: RFC 1035 §4.2.2, RFC 7766.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::responder::Responder;

/// How long a TCP connection may be silent, or a client may take to read a reply.
const TCP_IDLE: Duration = Duration::from_secs(10);
/// Octets read ahead on a connection: how much a client can pipeline before it has to read replies.
const TCP_READ_AHEAD: usize = 4096;
/// After lameduck: how long connections may take to send the replies they owe.
const TCP_DRAIN: Duration = Duration::from_secs(2);

/// Answers the connections of one listener until `stop`, then drains.
pub async fn serve(
    listener: TcpListener,
    responder: Arc<Responder>,
    permits: Arc<Semaphore>,
    stop: CancellationToken,
) {
    let mut connections = JoinSet::new();
    loop {
        let permit = tokio::select! {
            permit = permits.clone().acquire_owned() => permit.expect("the semaphore is never closed"),
            () = stop.cancelled() => break,
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        match accepted {
            Ok((stream, client)) => {
                let (responder, stop) = (responder.clone(), stop.clone());
                connections.spawn(async move {
                    if let Err(error) = serve_connection(stream, responder, stop).await {
                        debug!(%client, %error, "connection ended early");
                    }
                    drop(permit);
                });
            }
            // Out of descriptors, most likely: give connections time to close.
            Err(error) => {
                warn!(%error, "accepting a connection failed");
                tokio::time::sleep(Duration::from_millis(50)).await; // allow-sleep: pause after a failed accept
            }
        }
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    let drained = timeout(TCP_DRAIN, async { while connections.join_next().await.is_some() {} }).await;
    if drained.is_err() {
        debug!("some connections did not take their replies in time");
    }
}

/// Answers the messages of one connection in order until the client closes it, idles, or `stop`.
async fn serve_connection(
    mut stream: TcpStream,
    responder: Arc<Responder>,
    stop: CancellationToken,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (read, mut write) = stream.split();
    let mut read = BufReader::with_capacity(TCP_READ_AHEAD, read);
    let mut packet = Vec::new();
    loop {
        // Requests that have arrived are answered before `stop` is looked at.
        let len = tokio::select! {
            biased;
            len = timeout(TCP_IDLE, read.read_u16()) => match len {
                Ok(Ok(len)) => len,
                Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                Ok(Err(error)) => return Err(error),
                Err(_) => return Ok(()),
            },
            () = stop.cancelled() => return Ok(()),
        };
        packet.resize(usize::from(len), 0);
        timeout(TCP_IDLE, read.read_exact(&mut packet)).await??;
        let Some(reply) = responder.answer(&packet) else { continue };
        let mut framed = Vec::with_capacity(reply.octets.len() + 2);
        framed.extend(u16::try_from(reply.octets.len()).map_err(io::Error::other)?.to_be_bytes());
        framed.extend(reply.octets);
        timeout(TCP_IDLE, write.write_all(&framed)).await??;
    }
}
