//! A limit on how fast a process sends requests to the API server.
//!
//! Requests ──[`Limiter`]──▶ `kube::Client`
//!
//! A token bucket as in client-go: a request takes a token, or waits until its own has dripped in. Those that carry [`Urgent`]
//! go before the others, and each kind goes in the order of arrival. A watch is one request however long it runs.
//! Source: client-go `util/flowcontrol/throttle.go`. Differs: there every request is alike, so that the removal of a dead
//! endpoint waits behind the additions of a rollout (#47731, #88967).

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::Request;
use kube::Client;
use kube::client::Body;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Extension of a request that goes before others.
#[derive(Debug, Clone, Copy)]
pub struct Urgent;

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
pub struct Limiter(Option<Arc<Shared>>);

#[derive(Debug)]
struct Shared {
    began: Instant,
    bucket: Mutex<Bucket>,
    /// Somebody gave up: the others move up.
    moved_up: Notify,
}

impl Limiter {
    /// `None`: no limit.
    pub fn new(limit: Option<Limit>) -> Self {
        Self(limit.map(|it| {
            let bucket = Mutex::new(Bucket::new(it));
            Arc::new(Shared { began: Instant::now(), bucket, moved_up: Notify::new() })
        }))
    }

    /// `client`, which sends no faster than all clients of this limit together may.
    pub fn around(&self, client: &Client) -> Client {
        let Some(shared) = &self.0 else { return client.clone() };
        let (shared, inner) = (shared.clone(), client.clone());
        let service = tower::service_fn(move |request: Request<Body>| {
            let urgent = request.extensions().get::<Urgent>().is_some();
            // It joins the queue when it is sent, not when it is first polled.
            let place = Place { shared: shared.clone(), ticket: shared.bucket().enter(urgent) };
            let inner = inner.clone();
            async move {
                place.wait().await;
                inner.send(request).await
            }
        });
        Client::new(service, client.default_namespace())
    }
}

impl Shared {
    fn bucket(&self) -> MutexGuard<'_, Bucket> {
        self.bucket.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in the queue; given up when dropped.
struct Place {
    shared: Arc<Shared>,
    ticket: Ticket,
}

impl Place {
    async fn wait(self) {
        loop {
            let moved_up = self.shared.moved_up.notified();
            let Err(wait) = self.shared.bucket().take(self.shared.began.elapsed(), self.ticket) else {
                return;
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {} // allow-sleep: the limit of the configuration
                () = moved_up => {}
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.shared.bucket().leave(self.ticket) {
            self.shared.moved_up.notify_waiters();
        }
    }
}

/// A number in one of the two queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ticket {
    urgent: bool,
    number: u64,
}

/// Times are those since its creation.
#[derive(Debug)]
struct Bucket {
    limit: Limit,
    tokens: f64,
    filled: Duration,
    next: u64,
    /// Numbers that wait, ascending.
    urgent: VecDeque<u64>,
    others: VecDeque<u64>,
}

impl Bucket {
    fn new(limit: Limit) -> Self {
        let (filled, urgent, others) = Default::default();
        Self { limit, tokens: f64::from(limit.burst), filled, next: 0, urgent, others }
    }

    fn queue(&mut self, urgent: bool) -> &mut VecDeque<u64> {
        if urgent { &mut self.urgent } else { &mut self.others }
    }

    fn enter(&mut self, urgent: bool) -> Ticket {
        let number = self.next;
        self.next += 1;
        self.queue(urgent).push_back(number);
        Ticket { urgent, number }
    }

    /// Takes a token if it is this ticket's turn and there is one, or says how long that takes if nobody comes before.
    fn take(&mut self, now: Duration, ticket: Ticket) -> Result<(), Duration> {
        let dripped = now.saturating_sub(self.filled).as_secs_f64() * f64::from(self.limit.qps);
        self.filled = self.filled.max(now);
        self.tokens = (self.tokens + dripped).min(f64::from(self.limit.burst));
        let Ok(at) = self.queue(ticket.urgent).binary_search(&ticket.number) else { return Ok(()) };
        let ahead = at + if ticket.urgent { 0 } else { self.urgent.len() };
        // Whoever is ahead may have tokens and not have come for them yet.
        let missing = (ahead + 1) as f64 - self.tokens;
        if missing < 1e-6 {
            self.tokens -= 1.0;
            self.queue(ticket.urgent).remove(at);
            return Ok(());
        }
        Err(Duration::from_secs_f64(missing / f64::from(self.limit.qps)))
    }

    /// Gives a place up; whether it was still taken.
    fn leave(&mut self, ticket: Ticket) -> bool {
        let queue = self.queue(ticket.urgent);
        queue.binary_search(&ticket.number).is_ok_and(|at| queue.remove(at).is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Milliseconds until each may go; 0: it went.
    fn waits(bucket: &mut Bucket, now: u64, tickets: &[Ticket]) -> Vec<u128> {
        let mut take = |it| bucket.take(Duration::from_millis(now), it).err().unwrap_or_default().as_millis();
        tickets.iter().map(|it| take(*it)).collect()
    }

    #[test]
    fn a_burst_goes_at_once_and_the_rest_in_turn() {
        let mut bucket = Bucket::new(Limit { qps: 10, burst: 3 });
        let mut tickets: Vec<_> = (0..5).map(|_| bucket.enter(false)).collect();
        assert_eq!(waits(&mut bucket, 0, &tickets), [0, 0, 0, 100, 200]);
        tickets.extend([bucket.enter(false), bucket.enter(false)]);
        assert_eq!(
            waits(&mut bucket, 200, &tickets[3..]),
            [0, 0, 100, 200],
            "the queue goes on where it was"
        );
        assert_eq!(waits(&mut bucket, 400, &tickets[5..]), [0, 0]);
        let late: Vec<_> = (0..4).map(|_| bucket.enter(false)).collect();
        assert_eq!(waits(&mut bucket, 60_000, &late), [0, 0, 0, 100], "a pause fills the bucket, no more");
    }

    #[test]
    fn what_is_urgent_goes_first_and_who_gives_up_makes_room() {
        let mut bucket = Bucket::new(Limit { qps: 10, burst: 1 });
        let [first, second, third] = [(); 3].map(|()| bucket.enter(false));
        assert_eq!(waits(&mut bucket, 0, &[first, second, third]), [0, 100, 200]);
        let urgent = bucket.enter(true);
        assert_eq!(waits(&mut bucket, 50, &[second, third, urgent]), [150, 250, 50]);
        assert!(bucket.leave(second) && !bucket.leave(second));
        assert_eq!(waits(&mut bucket, 100, &[third, urgent]), [100, 0]);
        assert_eq!(waits(&mut bucket, 200, &[third]), [0]);
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
        let send = async |client: &Client, urgent: bool| {
            let mut request = Request::new(Body::empty());
            if urgent {
                request.extensions_mut().insert(Urgent);
            }
            client.send(request).await.expect("an empty response");
            began.elapsed().as_millis()
        };
        assert_eq!(send(&one, false).await, 0);
        let sent = tokio::join!(send(&other, false), send(&other, false), send(&other, true));
        assert_eq!(sent, (1000, 1500, 500), "the limit is that of all clients");
    }
}
