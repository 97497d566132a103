//! A limit on how fast a process sends requests to the API server.
//!
//! Requests ──[`Limiter`]──▶ `kube::Client`
//!
//! A token bucket as in client-go: a request takes a token, or waits until its own has dripped in, in the order of
//! arrival. A watch is one request however long it runs.
//! Source: client-go `util/flowcontrol/throttle.go`.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::Request;
use kube::Client;
use kube::client::Body;
use tokio::time::Instant;

/// Requests a second on average, and at once after a pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// At least 1.
    pub qps: u32,
    /// At least 1.
    pub burst: u32,
}

/// The limit that some clients share. Clones are the same limit.
#[derive(Debug, Clone, Default)]
pub struct Limiter(Option<Arc<(Instant, Mutex<Bucket>)>>);

impl Limiter {
    /// `None`: no limit.
    pub fn new(limit: Option<Limit>) -> Self {
        Self(limit.map(|it| Arc::new((Instant::now(), Mutex::new(Bucket::new(it))))))
    }

    /// `client`, which sends no faster than all clients of this limit together may.
    pub fn around(&self, client: &Client) -> Client {
        let Some(shared) = &self.0 else { return client.clone() };
        let (shared, inner) = (shared.clone(), client.clone());
        let service = tower::service_fn(move |request: Request<Body>| {
            let (began, bucket) = &*shared;
            let wait = bucket.lock().unwrap_or_else(PoisonError::into_inner).take(began.elapsed());
            let inner = inner.clone();
            async move {
                if !wait.is_zero() {
                    tokio::time::sleep(wait).await; // allow-sleep: the limit of the configuration
                }
                inner.send(request).await
            }
        });
        Client::new(service, client.default_namespace())
    }
}

/// Times are those since its creation.
#[derive(Debug)]
struct Bucket {
    limit: Limit,
    /// Negative while requests wait.
    tokens: f64,
    filled: Duration,
}

impl Bucket {
    fn new(limit: Limit) -> Self {
        Self { limit, tokens: f64::from(limit.burst), filled: Duration::ZERO }
    }

    /// Takes a token and says how long to wait for it.
    fn take(&mut self, now: Duration) -> Duration {
        let dripped = now.saturating_sub(self.filled).as_secs_f64() * f64::from(self.limit.qps);
        self.filled = self.filled.max(now);
        self.tokens = (self.tokens + dripped).min(f64::from(self.limit.burst)) - 1.0;
        Duration::from_secs_f64((-self.tokens).max(0.0) / f64::from(self.limit.qps))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_goes_at_once_and_the_rest_in_turn() {
        let mut bucket = Bucket::new(Limit { qps: 10, burst: 3 });
        let mut waits = |now: u64, count: usize| -> Vec<u128> {
            (0..count).map(|_| bucket.take(Duration::from_millis(now)).as_millis()).collect()
        };
        assert_eq!(waits(0, 5), [0, 0, 0, 100, 200]);
        assert_eq!(waits(200, 2), [100, 200], "the queue goes on where it was");
        assert_eq!(waits(60_000, 4), [0, 0, 0, 100], "a pause fills the bucket, no more");
    }

    #[tokio::test(start_paused = true)]
    async fn requests_wait() {
        let service = tower::service_fn(|_: Request<Body>| async {
            Ok::<_, kube::Error>(http::Response::new(Body::empty()))
        });
        let limiter = Limiter::new(Some(Limit { qps: 2, burst: 1 }));
        let client = Client::new(service, "default");
        let (one, other) = (limiter.around(&client), limiter.around(&client));
        let began = Instant::now();
        for client in [&one, &other, &one] {
            client.send(Request::new(Body::empty())).await.expect("an empty response");
        }
        assert_eq!(began.elapsed().as_millis(), 1000);
    }
}
