//! The loopback socket: HTTP/1.1 and h2c connections until shutdown.

use crate::apiserver::guard::Guard;
use crate::apiserver::http::{App, router};
use crate::apiserver::server::ApiServer;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use std::io;
use std::pin::pin;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// Time a client has to send its request head.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// Time open requests have to finish after shutdown; watches end at once.
const DRAIN: Duration = Duration::from_secs(5);
/// Pause after a failed accept: out of file descriptors does not get better by asking at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves `listener` under the secret `base_path` until `shutdown`.
///
/// # Errors
/// `InvalidInput` for a listener that others than this machine can reach.
pub async fn serve(
    server: ApiServer,
    listener: TcpListener,
    base_path: &str,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let address = listener.local_addr()?;
    if !address.ip().is_loopback() {
        let message = format!("{address} is not a loopback address; the API server has no TLS to protect it");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    let guard = Guard::new(base_path, address);
    let app = App { server, shutdown: shutdown.clone(), guard: Some(std::sync::Arc::new(guard)) };
    let router = router(app);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, router.clone(), shutdown.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "connection not accepted");
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
    Ok(())
}

async fn connection(stream: TcpStream, router: axum::Router, shutdown: CancellationToken) {
    // Watch events are small and must not wait for the next one.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY not set");
    }
    // The first bytes tell the protocol, and only after them hyper's own timeout begins.
    let mut byte = [0];
    tokio::select! {
        first = tokio::time::timeout(HEADER_TIMEOUT, stream.peek(&mut byte)) => {
            if !matches!(first, Ok(Ok(1))) {
                return;
            }
        }
        () = shutdown.cancelled() => return,
    }
    let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
        router.clone().oneshot(request.map(axum::body::Body::new))
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    builder.http2().timer(TokioTimer::new());
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "connection closed");
    }
}
