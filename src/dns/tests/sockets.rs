//! Real sockets on loopback.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::dns::{Metrics, Server};

pub(super) struct Running {
    pub(super) address: SocketAddr,
    shutdown: CancellationToken,
    task: JoinHandle<std::io::Result<()>>,
}

pub(super) fn start(lameduck: &str) -> Running {
    start_on("127.0.0.1:0", lameduck)
}

fn start_on(listen: &str, lameduck: &str) -> Running {
    let config: DnsConfig = serde_saphyr::from_str(&format!("lameduck: {lameduck}")).unwrap();
    let server = Server::bind(&[listen.parse().unwrap()], &config, Metrics::default()).unwrap();
    let endpoints: Vec<_> = (0..200).map(|it| format!("10.0.0.{it}=pod-{it}")).collect();
    let endpoints = endpoints.join(" ");
    let mut cache = Cache::new(&config);
    let objects = format!("ns prod\nsvc prod/web headless http:80\nslice prod/web http:8080 : {endpoints}");
    for input in inputs(&objects) {
        cache.apply(input);
    }
    cache.publish(&server.index(), NOW);
    let (address, shutdown) = (server.local_addrs()[0], CancellationToken::new());
    let task = tokio::spawn(server.serve(shutdown.clone()));
    Running { address, shutdown, task }
}

async fn ask_udp(address: SocketAddr, question: &str) -> Message {
    ask_udp_from("127.0.0.1:0", address, question).await
}

async fn ask_udp_from(local: &str, address: SocketAddr, question: &str) -> Message {
    let socket = UdpSocket::bind(local).await.unwrap();
    socket.connect(address).await.unwrap();
    let message = query(question);
    socket.send(&message.to_vec().unwrap()).await.unwrap();
    let mut buffer = [0; 4096];
    let len = tokio::time::timeout(Duration::from_secs(5), socket.recv(&mut buffer)).await.unwrap().unwrap();
    let reply = Message::from_vec(&buffer[..len]).unwrap();
    assert_eq!(reply.metadata.id, message.metadata.id);
    reply
}

fn framed(question: &str, id: u16) -> Vec<u8> {
    let mut message = query(question);
    message.metadata.id = id;
    let octets = message.to_vec().unwrap();
    [&(octets.len() as u16).to_be_bytes()[..], &octets].concat()
}

async fn read_framed(stream: &mut TcpStream) -> Message {
    let len = stream.read_u16().await.unwrap();
    let mut octets = vec![0; usize::from(len)];
    stream.read_exact(&mut octets).await.unwrap();
    Message::from_vec(&octets).unwrap()
}

#[tokio::test]
async fn udp_and_tcp_answer_on_one_port() {
    let server = start("0s");
    assert_eq!(print(&ask_udp(server.address, "pod-7.web.prod.svc A").await), "A 10.0.0.7");
    assert!(ask_udp(server.address, "web.prod.svc SRV").await.metadata.truncation);

    let mut stream = TcpStream::connect(server.address).await.unwrap();
    // Pipelined, the first one cut in the middle of its length.
    let mut octets = framed("web.prod.svc SRV", 1);
    octets.extend(framed("pod-0.web.prod.svc A", 2));
    octets.extend(framed("nobody.prod.svc A", 3));
    stream.write_all(&octets[..1]).await.unwrap();
    stream.flush().await.unwrap();
    stream.write_all(&octets[1..]).await.unwrap();
    let whole = read_framed(&mut stream).await;
    assert_eq!((whole.metadata.id, whole.answers.len(), whole.additionals.len()), (1, 200, 200));
    assert!(!whole.metadata.truncation);
    assert_eq!(print(&read_framed(&mut stream).await), "A 10.0.0.0");
    let last = read_framed(&mut stream).await;
    assert_eq!((last.metadata.id, print(&last).as_str()), (3, "NXDOMAIN"));

    // A response is dropped; the connection goes on.
    let mut response = framed("pod-0.web.prod.svc A", 4);
    response[4] |= 0x80;
    response.extend(framed("pod-1.web.prod.svc A", 5));
    stream.write_all(&response).await.unwrap();
    assert_eq!(read_framed(&mut stream).await.metadata.id, 5);

    // A client that closes its half first still gets its reply.
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(&framed("pod-2.web.prod.svc A", 6)).await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(print(&read_framed(&mut stream).await), "A 10.0.0.2");
    server.stop().await;
}

/// The client is connected, so that its kernel drops replies from other addresses like resolvers do.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn replies_come_from_the_address_that_was_asked() {
    for (listen, asked) in [("0.0.0.0:0", "127.0.0.2"), ("[::]:0", "127.0.0.3"), ("[::]:0", "::1")] {
        if listen.starts_with('[') && std::net::UdpSocket::bind("[::1]:0").is_err() {
            eprintln!("no IPv6 here: {listen} not tested");
            continue;
        }
        let server = start_on(listen, "0s");
        let address = SocketAddr::new(asked.parse().unwrap(), server.address.port());
        let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let reply = ask_udp_from(any, address, "pod-7.web.prod.svc A").await;
        assert_eq!(print(&reply), "A 10.0.0.7", "{asked} on {listen}");
        server.stop().await;
    }
}

#[tokio::test]
async fn queries_are_answered_while_draining() {
    let server = start("300ms");
    let mut idle = TcpStream::connect(server.address).await.unwrap();
    idle.write_all(&framed("pod-1.web.prod.svc A", 1)).await.unwrap();
    read_framed(&mut idle).await;
    server.shutdown.cancel();
    assert_eq!(print(&ask_udp(server.address, "pod-1.web.prod.svc A").await), "A 10.0.0.1");
    let address = server.address;
    server.stop().await;
    assert_eq!(idle.read(&mut [0; 1]).await.unwrap_or(0), 0, "idle connections are closed");
    assert!(TcpStream::connect(address).await.is_err(), "the port is free again");
}

#[tokio::test]
async fn an_occupied_port_is_named() {
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let error = Server::bind(&[address], &DnsConfig::default(), Metrics::default()).err().unwrap();
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    assert!(error.to_string().starts_with(&format!("cannot listen on {address} (UDP): ")), "{error}");
    drop(taken);
    let taken = std::net::TcpListener::bind(address).unwrap();
    let error = Server::bind(&[address], &DnsConfig::default(), Metrics::default()).err().unwrap();
    assert!(error.to_string().starts_with(&format!("cannot listen on {address} (TCP): ")), "{error}");
    drop(taken);
    let config = DnsConfig { ttl: 9999, ..DnsConfig::default() };
    let error = Server::bind(&["127.0.0.1:0".parse().unwrap()], &config, Metrics::default()).err().unwrap();
    assert_eq!(error.to_string(), "dns.ttl: 9999 is above 3600 seconds");
}

impl Running {
    pub(super) async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap().unwrap();
    }
}
