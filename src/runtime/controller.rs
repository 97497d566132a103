//! Workers that take keys from a queue and reconcile them.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{Instrument as _, debug, error, info_span, warn};

use super::metrics::{ControllerLabel, ControllerMetrics, ReconcileLabels};
use super::queue::Workqueue;
use crate::model::ObjectKey;

/// What a reconcile asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Nothing until a watch event names the key again.
    Event,
    /// Another look after this long, even without an event.
    After(Duration),
    /// Our own writes are not visible yet: the event that shows them names the key again.
    /// A slow second look guards against an event that never comes.
    OwnWrites,
}

/// How long a key waits for its own writes before it looks again without an event.
const OWN_WRITES_RECHECK: Duration = Duration::from_secs(5);

/// One controller: everything it may touch is in `self`.
pub trait Reconcile: Send + Sync + 'static {
    /// Why a reconcile failed. The key is retried with backoff.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Brings the object of `key` one step closer to what it should be.
    fn reconcile(&self, key: &ObjectKey) -> impl Future<Output = Result<Next, Self::Error>> + Send;
}

/// Works on `queue` with up to `workers` keys at a time until `shutdown`; then lets those under way finish.
pub async fn work<R: Reconcile>(
    controller: &'static str,
    reconciler: Arc<R>,
    queue: Workqueue,
    workers: usize,
    metrics: ControllerMetrics,
    shutdown: CancellationToken,
) {
    let label = ControllerLabel { controller };
    let depth = metrics.depth.get_or_create(&label).clone();
    drop(metrics.own_write_wait.get_or_create(&label));
    // Every series exists from the start, at zero: a rate over a series that appears misses its first step.
    for result in ["success", "error", "panic", "waiting"] {
        drop(metrics.reconciles.get_or_create(&ReconcileLabels { controller, result }));
    }
    let times = metrics.queues.watch(controller, &queue);
    let mut tasks: JoinSet<()> = JoinSet::new();
    loop {
        while tasks.len() >= workers {
            tasks.join_next().await;
        }
        let (key, queued) = tokio::select! {
            () = shutdown.cancelled() => break,
            Some(_) = tasks.join_next(), if !tasks.is_empty() => continue,
            taken = queue.take() => taken,
        };
        times.queued.observe(queued.as_secs_f64());
        depth.set(queue.with(|it| it.depth()) as i64);
        let (reconciler, queue, metrics, label) =
            (Arc::clone(&reconciler), queue.clone(), metrics.clone(), label.clone());
        let worked = times.worked.clone();
        let span = info_span!("reconcile", controller, object.r#ref = %key);
        tasks.spawn(
            async move {
                // The inner task turns a panic into a value, so that one bad object cannot stop the others.
                let started = Instant::now();
                let work_key = key.clone();
                let work =
                    tokio::spawn(async move { reconciler.reconcile(&work_key).await }.in_current_span());
                // It ends with this task: a controller that is dropped leaves nothing behind that writes.
                let outcome = AbortOnDropHandle::new(work).await;
                let took = started.elapsed().as_secs_f64();
                metrics.duration.get_or_create(&label).observe(took);
                worked.observe(took);
                let now = Instant::now();
                if matches!(outcome, Ok(Ok(Next::OwnWrites))) {
                    queue.with(|it| it.waits(&key, now));
                } else if let Some(waited) = queue.with(|it| it.waited(&key, now)) {
                    metrics.own_write_wait.get_or_create(&label).observe(waited.as_secs_f64());
                }
                let result = finish(&queue, &key, outcome);
                metrics.reconciles.get_or_create(&ReconcileLabels { controller, result }).inc();
            }
            .instrument(span),
        );
    }
    while tasks.join_next().await.is_some() {}
}

/// Books the outcome of one reconcile and returns its metric label.
pub(crate) fn finish<E: std::error::Error>(
    queue: &Workqueue,
    key: &ObjectKey,
    outcome: Result<Result<Next, E>, tokio::task::JoinError>,
) -> &'static str {
    let (result, failed, after) = match outcome {
        Ok(Ok(Next::Event)) => ("success", false, None),
        Ok(Ok(Next::After(delay))) => ("success", false, Some(delay)),
        Ok(Ok(Next::OwnWrites)) => ("waiting", false, Some(OWN_WRITES_RECHECK)),
        Ok(Err(error)) => {
            warn!(error = %super::error::chain(&error), "reconcile failed, retrying");
            ("error", true, None)
        }
        Err(panic) => {
            error!(error = %panic, "reconcile panicked, retrying");
            ("panic", true, None)
        }
    };
    queue.with(|it| {
        let after = if failed { Some(it.failed(key, Instant::now())) } else { after };
        if !failed && result != "waiting" {
            it.succeeded(key);
        }
        if let Some(delay) = after {
            it.add_at(key.clone(), Instant::now() + delay);
        }
        it.done(key, Instant::now());
    });
    queue.wake();
    debug!(result, "reconciled");
    result
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("not yet")]
    struct NotYet;

    struct Flaky {
        tries: Mutex<u32>,
        done: CancellationToken,
    }

    impl Reconcile for Flaky {
        type Error = NotYet;

        async fn reconcile(&self, _: &ObjectKey) -> Result<Next, NotYet> {
            let tries = {
                let mut tries = self.tries.lock().expect("unpoisoned");
                *tries += 1;
                *tries
            };
            match tries {
                1 => Err(NotYet),
                2 => panic!("a bug in one reconcile"),
                3 => Ok(Next::After(Duration::from_secs(60))),
                _ => {
                    self.done.cancel();
                    Ok(Next::Event)
                }
            }
        }
    }

    /// Waits for its own writes twice, each shown by an event a second later, then is done.
    struct Behind {
        looks: Mutex<u32>,
        queue: Workqueue,
        done: CancellationToken,
    }

    impl Reconcile for Behind {
        type Error = NotYet;

        async fn reconcile(&self, key: &ObjectKey) -> Result<Next, NotYet> {
            let mut looks = self.looks.lock().expect("unpoisoned");
            *looks += 1;
            if *looks < 3 {
                self.queue.add_after(key.clone(), Duration::from_secs(1));
                return Ok(Next::OwnWrites);
            }
            self.done.cancel();
            Ok(Next::Event)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_event_that_shows_our_writes_ends_the_wait_for_them() {
        let done = CancellationToken::new();
        let (queue, metrics) = (Workqueue::default(), ControllerMetrics::default());
        let reconciler = Arc::new(Behind { looks: Mutex::new(0), queue: queue.clone(), done: done.clone() });
        queue.add(ObjectKey::new("ns", "a"));
        let started = Instant::now();
        work("test", reconciler, queue, 1, metrics.clone(), done).await;
        assert_eq!(started.elapsed(), Duration::from_secs(2), "long before the second look");
        let mut text = String::new();
        let mut registry = prometheus_client::registry::Registry::default();
        metrics.register(&mut registry);
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("it is text");
        for line in [
            "own_write_wait_seconds_sum{controller=\"test\"} 2.0",
            "own_write_wait_seconds_count{controller=\"test\"} 1",
            "reconciles_total{controller=\"test\",result=\"waiting\"} 2",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn errors_and_panics_are_retried_and_requeues_are_honoured() {
        let done = CancellationToken::new();
        let reconciler = Arc::new(Flaky { tries: Mutex::new(0), done: done.clone() });
        let queue = Workqueue::default();
        queue.add(ObjectKey::new("ns", "a"));
        let started = Instant::now();
        work("test", Arc::clone(&reconciler), queue, 2, ControllerMetrics::default(), done).await;
        assert_eq!(*reconciler.tries.lock().expect("unpoisoned"), 4);
        assert!(started.elapsed() >= Duration::from_secs(60));
    }
}
