//! One query to one server and its response, over UDP or TCP.
//!
//! Each query leaves from a port of its own, which the kernel chooses at random, and the socket is connected: packets from
//! other addresses never arrive, and a port that nobody listens on is an error at once instead of a timeout.
//! Sources: RFC 5452 §9, RFC 7766.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

use super::message::is_response_to;

/// Longest datagram that is read; more than is offered to the server.
const MAX_DATAGRAM: usize = 4096;

/// Waits for the response as long as the caller does.
///
/// # Errors
/// The network or the server's host refuses.
pub async fn over_udp(server: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let any: IpAddr =
        if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    socket.send(query).await?;
    let mut buffer = vec![0; MAX_DATAGRAM];
    loop {
        let len = socket.recv(&mut buffer).await?;
        if is_response_to(query, &buffer[..len]) {
            buffer.truncate(len);
            return Ok(buffer);
        }
    }
}

/// Over a connection that is made for this query.
///
/// # Errors
/// No connection, or it ends before the response; `InvalidData` when something else than the response came.
pub async fn over_tcp(server: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    stream.set_nodelay(true)?;
    let mut framed = Vec::with_capacity(query.len() + 2);
    framed.extend(u16::try_from(query.len()).map_err(io::Error::other)?.to_be_bytes());
    framed.extend_from_slice(query);
    stream.write_all(&framed).await?;
    let len = stream.read_u16().await?;
    let mut octets = vec![0; usize::from(len)];
    stream.read_exact(&mut octets).await?;
    if is_response_to(query, &octets) {
        Ok(octets)
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidData, "the message does not answer the query"))
    }
}
