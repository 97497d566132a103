//! What protects the socket of the API server.

use crate::apiserver::guard::Guard;
use crate::apiserver::http::{App, router};
use crate::apiserver::server::ApiServer;
use crate::http_server;
use std::io;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// Connections at once, unless the process may have too few descriptors for them. Each watch of a client with HTTP/1.1
/// takes one.
const CONNECTIONS: usize = 2_048;

/// What protects a socket.
pub enum Door {
    /// Plain HTTP under a secret base path; on loopback only.
    SecretPath(String),
    /// TLS and a bearer token; any address.
    Tls {
        /// Shows the certificate.
        acceptor: TlsAcceptor,
        /// What clients have to show.
        token: String,
    },
}

/// Serves `listener` behind `door` until `shutdown`.
///
/// # Errors
/// `InvalidInput` for a listener that others than this machine can reach, without TLS.
pub async fn serve(
    server: ApiServer,
    listener: TcpListener,
    door: Door,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let address = listener.local_addr()?;
    let (guard, acceptor) = match door {
        Door::Tls { acceptor, token } => (Guard::with_token(&token), Some(acceptor)),
        Door::SecretPath(path) if address.ip().is_loopback() => (Guard::new(&path, address), None),
        Door::SecretPath(_) => {
            let message =
                format!("{address} is not a loopback address; without TLS nothing would protect it");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
    };
    let app = App { server, shutdown: shutdown.clone(), guard: Some(Arc::new(guard)) };
    http_server::serve(listener, acceptor, router(app), CONNECTIONS, shutdown).await;
    Ok(())
}
