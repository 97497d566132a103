//! A client that stops writing when the lease may be lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{Method, Request};
use kube::Client;
use kube::client::Body;
use tokio::time::Instant;

/// Until when writes may go out. Clones share it.
#[derive(Debug, Clone)]
pub struct Fence {
    origin: Instant,
    /// Nanoseconds since `origin`.
    until: Arc<AtomicU64>,
}

/// A write was not sent, because another process may lead by now.
#[derive(Debug, thiserror::Error)]
#[error("not sent: this process cannot be sure to lead any more")]
pub struct NotLeading;

impl Fence {
    /// Shut.
    pub fn shut_at_first() -> Self {
        Self { origin: Instant::now(), until: Arc::default() }
    }

    /// Open until then.
    pub fn open_until(&self, until: Instant) {
        let nanos = until.saturating_duration_since(self.origin).as_nanos();
        self.until.store(u64::try_from(nanos).unwrap_or(u64::MAX), Ordering::SeqCst);
    }

    /// Shut from now on.
    pub fn shut(&self) {
        self.until.store(0, Ordering::SeqCst);
    }

    /// When it shuts.
    pub fn until(&self) -> Instant {
        self.origin + Duration::from_nanos(self.until.load(Ordering::SeqCst))
    }

    fn is_open(&self) -> bool {
        Instant::now() < self.until()
    }

    /// `client`, whose writes end with the fence; reads and watches pass at any time.
    pub fn around(&self, client: &Client) -> Client {
        let (fence, inner) = (self.clone(), client.clone());
        let service = tower::service_fn(move |request: Request<Body>| {
            let passes = request.method() == Method::GET || fence.is_open();
            let inner = inner.clone();
            async move {
                if !passes {
                    return Err(kube::Error::Service(Box::new(NotLeading)));
                }
                inner.send(request).await
            }
        });
        Client::new(service, client.default_namespace())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn writes_end_with_the_fence_and_reads_do_not() {
        let service = tower::service_fn(|_: Request<Body>| async {
            Ok::<_, kube::Error>(http::Response::new(Body::empty()))
        });
        let fence = Fence::shut_at_first();
        let client = fence.around(&Client::new(service, "default"));
        let passes = async |method: Method| {
            let request = Request::builder().method(method).body(Body::empty()).expect("a request");
            client.send(request).await.is_ok()
        };
        assert!(!passes(Method::POST).await, "shut at first");
        fence.open_until(Instant::now() + Duration::from_secs(10));
        assert!(passes(Method::POST).await);
        tokio::time::advance(Duration::from_secs(10)).await;
        for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            assert!(!passes(method).await);
        }
        assert!(passes(Method::GET).await);
    }
}
