//! Namespace termination.
use crate::apiserver::server::ApiServer;
use tokio_util::sync::CancellationToken;

/// Empties terminating namespaces until `shutdown`.
pub async fn run(_server: &ApiServer, shutdown: &CancellationToken) {
    shutdown.cancelled().await;
}
