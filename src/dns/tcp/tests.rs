//! Connections on loopback, answered by a service that the test drives. Its queries are text: `now …` is answered at once,
//! `later …` when the test says so, `huge` with 60,000 octets, anything else with silence.

use std::sync::Mutex;

use futures::StreamExt as _;
use futures::channel::mpsc::{UnboundedSender, unbounded};
use prometheus_client::registry::Registry;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::*;

/// How long any condition may take.
const DEADLINE: Duration = Duration::from_secs(30);

/// Replies under way, by their query.
type Waiting = Arc<Mutex<Vec<(String, UnboundedSender<Vec<u8>>)>>>;

#[derive(Clone, Default)]
struct Scripted {
    waiting: Waiting,
}

impl Service for Scripted {
    fn answer(&self, message: &[u8], _client: SocketAddr) -> Response {
        let text = String::from_utf8(message.to_vec()).unwrap();
        if text.starts_with("now") {
            Response::Now(message.to_vec())
        } else if text.starts_with("later") {
            let (sender, receiver) = unbounded();
            self.waiting.lock().unwrap().push((text, sender));
            Response::Later(receiver.boxed())
        } else if text == "huge" {
            Response::Now(vec![b'x'; 60_000])
        } else {
            Response::None
        }
    }
}

struct Running {
    address: SocketAddr,
    waiting: Waiting,
    metrics: TcpMetrics,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// `config` is YAML.
async fn start(config: &str) -> Running {
    let (service, metrics, stop) = (Scripted::default(), TcpMetrics::default(), CancellationToken::new());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config: TcpConfig = serde_saphyr::from_str(config).unwrap();
    let shared = Shared::new(service.clone(), &config, metrics.clone());
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(shared.serve(listener, stop.clone()));
    Running { address, waiting: service.waiting, metrics, stop, task }
}

impl Running {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Waits until so many replies are under way.
    async fn wait_for_waiting(&self, count: usize) {
        wait_until(|| self.waiting.lock().unwrap().len() == count).await;
    }

    async fn wait_for_hit(&self, limit: Limit) {
        wait_until(|| self.metrics.hits(limit) > 0).await;
    }

    /// Sends one message of a reply under way.
    fn send(&self, query: &str, message: &str) {
        let waiting = self.waiting.lock().unwrap();
        let (_, sender) = waiting.iter().find(|(it, _)| it == query).unwrap();
        sender.unbounded_send(message.as_bytes().to_vec()).unwrap();
    }

    /// Ends a reply under way.
    fn end(&self, query: &str) {
        self.waiting.lock().unwrap().retain(|(it, _)| it != query);
    }

    async fn stop(self) {
        self.stop.cancel();
        timeout(DEADLINE, self.task).await.unwrap().unwrap();
        assert_eq!(self.metrics.open.get(), 0);
    }
}

async fn wait_until(condition: impl Fn() -> bool) {
    let poll = async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    };
    timeout(DEADLINE, poll).await.unwrap();
}

fn framed(messages: &[&str]) -> Vec<u8> {
    let mut all = Vec::new();
    for message in messages {
        assert!(frames::append(&mut all, message.as_bytes()));
    }
    all
}

async fn say(stream: &mut TcpStream, messages: &[&str]) {
    stream.write_all(&framed(messages)).await.unwrap();
}

async fn hear(stream: &mut TcpStream) -> String {
    let reply = async {
        let len = stream.read_u16().await.unwrap();
        let mut octets = vec![0; usize::from(len)];
        stream.read_exact(&mut octets).await.unwrap();
        String::from_utf8(octets).unwrap()
    };
    timeout(DEADLINE, reply).await.unwrap()
}

/// The server has closed the connection, and everything it sent was read before.
async fn closed(stream: &mut TcpStream) {
    let read = timeout(DEADLINE, stream.read(&mut [0; 1])).await.unwrap();
    assert_eq!(read.unwrap_or(0), 0);
}

#[tokio::test]
async fn slow_replies_hold_up_nobody() {
    let server = start("{}").await;
    let mut stream = server.connect().await;
    say(&mut stream, &["later a", "now 1", "silence", "later b", "now 2"]).await;
    assert_eq!(hear(&mut stream).await, "now 1");
    assert_eq!(hear(&mut stream).await, "now 2");
    server.send("later b", "b1");
    assert_eq!(hear(&mut stream).await, "b1");
    server.send("later a", "a1");
    assert_eq!(hear(&mut stream).await, "a1");
    server.send("later b", "b2");
    server.end("later b");
    assert_eq!(hear(&mut stream).await, "b2");
    server.end("later a");
    say(&mut stream, &["now 3"]).await;
    assert_eq!(hear(&mut stream).await, "now 3");
    server.stop().await;
}

#[tokio::test]
async fn queries_in_flight_are_bounded() {
    let server = start("{maxInFlight: 2, idleTimeout: 100ms, readTimeout: 100ms}").await;
    let mut stream = server.connect().await;
    say(&mut stream, &["later a", "later b", "later c", "now 1"]).await;
    server.wait_for_hit(Limit::InFlight).await;
    server.wait_for_waiting(2).await;
    // Longer than both timeouts: whoever is owed replies is neither idle nor slow.
    let nothing = timeout(Duration::from_millis(300), stream.read(&mut [0; 1])).await;
    assert!(nothing.is_err(), "still open, and nothing of c or 1");
    for (query, under_way) in [("later b", 2), ("later a", 1)] {
        server.send(query, query);
        server.end(query);
        assert_eq!(hear(&mut stream).await, query);
        server.wait_for_waiting(under_way).await;
    }
    assert_eq!(hear(&mut stream).await, "now 1");
    server.end("later c");
    closed(&mut stream).await;
    assert_eq!(server.metrics.hits(Limit::Idle), 1);
    server.stop().await;
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let server = start("{idleTimeout: 100ms}").await;
    let mut stream = server.connect().await;
    say(&mut stream, &["now 1"]).await;
    assert_eq!(hear(&mut stream).await, "now 1");
    closed(&mut stream).await;
    assert_eq!(server.metrics.hits(Limit::Idle), 1);
    server.stop().await;
}

#[tokio::test]
async fn a_message_has_to_arrive_in_time_however_often_octets_come() {
    let server = start("{readTimeout: 100ms}").await;
    let mut stream = server.connect().await;
    // The second message never ends; the first one is answered.
    say(&mut stream, &["now 1"]).await;
    stream.write_all(&[0xff, 0xff]).await.unwrap();
    assert_eq!(hear(&mut stream).await, "now 1");
    let trickle = async {
        let mut pace = tokio::time::interval(Duration::from_millis(10));
        while stream.write_all(b"x").await.is_ok() {
            pace.tick().await;
        }
    };
    timeout(DEADLINE, trickle).await.unwrap();
    assert_eq!(server.metrics.hits(Limit::Read), 1);
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_takes_no_replies_is_cut_off() {
    let server = start("{idleTimeout: 100ms}").await;
    let mut stream = server.connect().await;
    let queries = framed(&["huge"; 100]);
    // Far more replies than the kernel buffers; soon no query is read either.
    let flood = async { while stream.write_all(&queries).await.is_ok() {} };
    timeout(DEADLINE, flood).await.unwrap();
    assert_eq!(server.metrics.hits(Limit::Write), 1);
    server.stop().await;
}

#[tokio::test]
async fn new_connections_take_the_place_of_idle_ones() {
    let server = start("{maxConnections: 2}").await;
    let (mut first, mut second) = (server.connect().await, server.connect().await);
    say(&mut first, &["later a"]).await;
    server.wait_for_waiting(1).await;
    say(&mut second, &["now 1"]).await;
    assert_eq!(hear(&mut second).await, "now 1");
    let mut third = server.connect().await;
    say(&mut third, &["later b"]).await;
    closed(&mut second).await;
    server.wait_for_waiting(2).await;
    // Both are owed replies: no room.
    let mut fourth = server.connect().await;
    closed(&mut fourth).await;
    assert_eq!((server.metrics.hits(Limit::Connections), server.metrics.hits(Limit::Refused)), (1, 1));
    for (query, stream) in [("later a", &mut first), ("later b", &mut third)] {
        server.send(query, query);
        assert_eq!(hear(stream).await, query);
    }
    server.waiting.lock().unwrap().clear();
    server.stop().await;
}

#[tokio::test]
async fn replies_that_are_owed_are_sent_before_the_end() {
    let server = start("{}").await;
    let mut stream = server.connect().await;
    say(&mut stream, &["later a"]).await;
    server.wait_for_waiting(1).await;
    server.stop.cancel();
    wait_until(|| std::net::TcpStream::connect(server.address).is_err()).await;
    server.send("later a", "a1");
    assert_eq!(hear(&mut stream).await, "a1");
    server.end("later a");
    closed(&mut stream).await;
    // A client that closes its half first gets its replies as well.
    let server = start("{}").await;
    let mut stream = server.connect().await;
    say(&mut stream, &["later a", "now 1"]).await;
    stream.shutdown().await.unwrap();
    assert_eq!(hear(&mut stream).await, "now 1");
    server.wait_for_waiting(1).await;
    server.send("later a", "a1");
    server.end("later a");
    assert_eq!(hear(&mut stream).await, "a1");
    closed(&mut stream).await;
    server.stop().await;
}

#[tokio::test]
async fn metrics_name_every_limit() {
    let server = start("{}").await;
    let mut stream = server.connect().await;
    say(&mut stream, &["now 1"]).await;
    hear(&mut stream).await;
    let mut registry = Registry::default();
    server.metrics.register(&mut registry);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    for line in
        ["tcp_connections 1", "tcp_connections_accepted_total 1", "tcp_limits_total{limit=\"in_flight\"} 0"]
    {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    server.stop().await;
}
