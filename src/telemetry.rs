//! Logs on stderr, metrics and health over HTTP.
//!
//! Paths: `/livez` and CoreDNS's `/health` (the process runs), `/readyz` and `/ready` (everything is synced),
//! `/metrics` (OpenMetrics text), and the routes that parts of the process add. Collecting numbers is each part's own business; here they are only rendered.

mod itself;

use std::io::{self, IsTerminal as _};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::IntoResponse;
use axum::routing::get;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use crate::config::{LogConfig, LogFormat};
use crate::http_server::{self, Visitor};
use crate::runtime::Readiness;

pub use self::itself::register;

/// The level of the logs, which may change while the process runs.
pub struct Logs(Box<dyn Fn(EnvFilter) + Send>);

impl Logs {
    /// From now on this level, or filter.
    pub fn set_level(&self, level: &str) {
        (self.0)(filter(level));
    }
}

/// Sends logs to stderr as the configuration says, and counts panics. Call once.
pub fn init_logs(config: &LogConfig) -> Logs {
    let builder = tracing_subscriber::fmt().with_env_filter(filter(&config.level)).with_writer(io::stderr);
    let logs: Box<dyn Fn(EnvFilter) + Send> = match config.format {
        LogFormat::Text => {
            let builder = builder.with_ansi(io::stderr().is_terminal()).with_target(false);
            let builder = builder.with_filter_reloading();
            let handle = builder.reload_handle();
            builder.init();
            Box::new(move |filter| {
                // It fails only without a subscriber.
                let _ = handle.reload(filter);
            })
        }
        LogFormat::Json => {
            let builder = builder.json().flatten_event(true).with_filter_reloading();
            let handle = builder.reload_handle();
            builder.init();
            Box::new(move |filter| {
                // It fails only without a subscriber.
                let _ = handle.reload(filter);
            })
        }
    };
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        itself::panicked();
        print(info);
    }));
    Logs(logs)
}

fn filter(level: &str) -> EnvFilter {
    // The client logs each failed request once more than our own line about it, and without its cause.
    let level = match level {
        "info" | "warn" | "error" => format!("{level},kube_client=off"),
        filter => filter.to_owned(),
    };
    EnvFilter::try_new(level).unwrap_or_else(|_| EnvFilter::new("info"))
}

/// The part of a registry whose series start with `ordinal_`; what stands beside it has the names of upstream's controllers.
pub fn ours(root: &mut Registry) -> &mut Registry {
    root.sub_registry_with_prefix("ordinal")
}

#[derive(Clone)]
struct Http {
    registry: Arc<Mutex<Registry>>,
    readiness: Readiness,
}

/// Connections at once, unless the process may have too few descriptors for them. Beyond it silent ones leave, so that
/// probes are answered whoever else is connected.
const CONNECTIONS: usize = 256;

/// Serves health, metrics and `more` routes, the paths of which must not be these, until `shutdown`.
pub async fn serve(
    listener: TcpListener,
    registry: Registry,
    readiness: Readiness,
    more: Router,
    shutdown: CancellationToken,
) {
    let state = Http { registry: Arc::new(Mutex::new(registry)), readiness };
    let router = Router::new()
        .route("/livez", get(|| async { "ok" }))
        .route("/health", get(|| async { "OK" }))
        .route("/readyz", get(readyz))
        .route("/ready", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(state)
        .merge(more);
    // Whoever has sent a request is known: nothing is secret here.
    let router = router.layer(axum::middleware::from_fn(async |request: Request, next: Next| {
        if let Some(visitor) = request.extensions().get::<Arc<Visitor>>() {
            visitor.recognise();
        }
        next.run(request).await
    }));
    http_server::serve(listener, None, router, CONNECTIONS, shutdown).await;
}

async fn readyz(State(http): State<Http>) -> (StatusCode, String) {
    let missing = http.readiness.missing();
    if missing.is_empty() {
        (StatusCode::OK, "ok".to_owned())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {}", missing.join(", ")))
    }
}

async fn metrics(State(http): State<Http>) -> impl IntoResponse {
    let mut text = String::new();
    let encoded = {
        let registry = http.registry.lock().expect("no code panics while it holds the registry");
        prometheus_client::encoding::text::encode(&mut text, &registry)
    };
    match encoded {
        Ok(()) => (
            StatusCode::OK,
            [(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")],
            text,
        ),
        Err(error) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            [(header::CONTENT_TYPE, "text/plain; charset=utf-8")],
            format!("cannot render the metrics: {error}"),
        ),
    }
}
