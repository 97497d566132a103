//! A socket that speaks HTTP: HTTP/1.1 and HTTP/2 connections, plain or within TLS, until shutdown.
//!
//! accept ─▶ [`Connections`] ─▶ TLS handshake ─▶ HTTP/1.1 or HTTP/2, by preface ─▶ requests ─▶ a router
//!
//! Limits of one connection are hyper's; how long it may be silent, and how many there may be, is `connections`'. Each
//! request carries its [`Visitor`] as an extension; the router says who is known.

pub mod connections;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use connections::{Connections, Place, Verdict};
use http::header::{CONNECTION, HeaderValue, TRANSFER_ENCODING};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

pub use connections::Visitor;

/// The part of all descriptors that connections may take; DNS over TCP takes half.
const SHARE: usize = 3;
/// Connections that leave when descriptors run out before the limit.
const LEAVING: usize = 64;
/// Connections that wait to be accepted: in a flood, those beyond it are told to try again a second later.
const BACKLOG: u32 = 4_096;
/// Octets of a request head, and of header fields in HTTP/2.
const HEAD_OCTETS: usize = 64 * 1024;
/// Requests at once on one HTTP/2 connection: Go's default, and kube-apiserver's of long.
const STREAMS: u32 = 250;
/// Streams that a client may open and reset before they are answered (CVE-2023-44487): beyond it the connection ends.
const RESETS: usize = 20;
/// Streams that the server resets for what a client does wrong, before the connection ends.
const OWN_RESETS: usize = 100;
/// Silence after which an HTTP/2 client has to answer a ping, and the time it has for that.
const PING: Duration = Duration::from_secs(30);
/// Silence after which the system probes whether a peer is still there.
const KEEP_ALIVE: Duration = Duration::from_secs(60);
/// Time a connection that has to leave has to close in good order.
const CLOSING: Duration = Duration::from_secs(1);
/// Time open requests have to finish after shutdown; watches end at once.
const DRAIN: Duration = Duration::from_secs(5);
/// Pause after a failed accept: out of file descriptors does not get better by asking at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A listener for [`serve`].
///
/// # Errors
/// Those of the system, such as an address in use.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // As std and tokio do: an address that was closed a moment ago is free.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves `router` on `listener` until `shutdown`; open requests get 5 s then. At most `limit` connections at once, fewer
/// where the process may have too few descriptors for them.
pub async fn serve(
    listener: TcpListener,
    acceptor: Option<TlsAcceptor>,
    router: Router,
    limit: usize,
    shutdown: CancellationToken,
) {
    let shared = Arc::new(Shared { router, acceptor, shutdown, start: Instant::now() });
    let most = limit.min(crate::descriptors::limit() / SHARE);
    let places = Connections::new(most);
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        tokio::select! {
            () = shared.shutdown.cancelled() => break,
            // Those that were told to leave still have their descriptors: not faster than they go.
            accepted = listener.accept(), if connections.len() < most + most / 2 => match accepted {
                Ok((stream, _)) => match places.enter(shared.start.elapsed()) {
                    Some(place) => {
                        connections.spawn(Arc::clone(&shared).connection(stream, place));
                    }
                    None => tracing::warn!("connection refused: every other one has an open request"),
                },
                Err(error) => {
                    tracing::warn!(%error, "connection not accepted");
                    places.make_room(LEAVING);
                    tokio::time::sleep(ACCEPT_PAUSE).await; // allow-sleep: pause after a failed accept
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
    drop(listener);
    let drained =
        tokio::time::timeout(DRAIN, async { while connections.join_next().await.is_some() {} }).await;
    if drained.is_err() {
        connections.shutdown().await;
    }
}

/// What all connections of a socket share.
struct Shared {
    router: Router,
    acceptor: Option<TlsAcceptor>,
    shutdown: CancellationToken,
    /// Times of `connections` count from here.
    start: Instant,
}

impl Shared {
    async fn connection(self: Arc<Self>, stream: TcpStream, place: Place) {
        // Watch events are small and must not wait for the next one.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY not set");
        }
        let probes = socket2::TcpKeepalive::new().with_time(KEEP_ALIVE);
        if let Err(error) = socket2::SockRef::from(&stream).set_tcp_keepalive(&probes) {
            tracing::debug!(%error, "keep-alive not set");
        }
        let Some(acceptor) = &self.acceptor else { return self.requests(stream, &place).await };
        let until = match place.visitor().verdict(self.start.elapsed()) {
            Verdict::Stays(until) => self.start + until,
            Verdict::Leaves | Verdict::Thrown => return,
        };
        tokio::select! {
            done = tokio::time::timeout_at(until, acceptor.accept(stream)) => match done {
                Ok(Ok(stream)) => self.requests(stream, &place).await,
                Ok(Err(error)) => tracing::debug!(%error, "TLS handshake failed"),
                Err(_) => tracing::debug!("TLS handshake not finished in time"),
            },
            () = place.visitor().close().cancelled() => {}
            () = self.shutdown.cancelled() => {}
        }
    }

    /// Serves the requests of one connection until it ends, has been silent for too long, or has to make room.
    async fn requests(&self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, place: &Place) {
        let visitor = place.visitor();
        let service = hyper::service::service_fn(|request: hyper::Request<Incoming>| {
            let start = self.start;
            let visit = visitor.begin(move || start.elapsed());
            // RFC 9112 §6.3: whoever also sent a Content-Length, which hyper has dropped, is to be sent away.
            let last = request.headers().contains_key(TRANSFER_ENCODING);
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(Arc::clone(visitor));
            let answer = self.router.clone().oneshot(request);
            async move {
                let mut response = answer.await?;
                if last {
                    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                Ok::<_, std::convert::Infallible>(response.map(|body| Answer { body, _visit: visit }))
            }
        });
        let builder = builder();
        let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
        let mut closing = false;
        let mut look = Instant::now();
        let result = loop {
            tokio::select! {
                result = connection.as_mut() => break result,
                () = visitor.close().cancelled() => {
                    tracing::debug!("connection closed to make room");
                    return;
                }
                () = self.shutdown.cancelled(), if !closing => {
                    connection.as_mut().graceful_shutdown();
                    closing = true;
                }
                () = tokio::time::sleep_until(look) => match visitor.verdict(self.start.elapsed()) { // allow-sleep: limits on silence
                    Verdict::Stays(until) => look = self.start + until,
                    Verdict::Leaves if !closing => {
                        connection.as_mut().graceful_shutdown();
                        closing = true;
                        look = Instant::now() + CLOSING;
                    }
                    Verdict::Leaves | Verdict::Thrown => {
                        tracing::debug!("connection closed after silence");
                        return;
                    }
                }
            }
        };
        if let Err(error) = result {
            tracing::debug!(error, "connection closed");
        }
    }
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    // Silence is measured from outside, for both protocols alike.
    builder.http1().timer(TokioTimer::new()).header_read_timeout(None).max_buf_size(HEAD_OCTETS);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING)
        .max_concurrent_streams(STREAMS)
        .max_pending_accept_reset_streams(RESETS)
        .max_local_error_reset_streams(OWN_RESETS)
        .max_header_list_size(u32::try_from(HEAD_OCTETS).expect("64 KiB"));
    builder
}

/// The body of an answer; the request is under way until it is sent.
struct Answer<V> {
    body: Body,
    _visit: V,
}

impl<V: Unpin> HttpBody for Answer<V> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
