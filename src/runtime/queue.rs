//! Keyed work queue: deduplication, delays and per-key backoff.
//!
//! [`Queue`] is pure, time is an argument. [`Workqueue`] is its shared, waiting shell.
//! A key is in at most one place: waiting for a moment, ready, or being worked on (then a new request runs it again).
//! Sources: client-go `util/workqueue`; backoff figures of kube-controller-manager's controllers.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::model::ObjectKey;

/// First retry delay of a failing key.
const BACKOFF_FIRST: Duration = Duration::from_millis(5);
/// Longest retry delay of a failing key (client-go `DefaultTypedControllerRateLimiter`).
const BACKOFF_LONGEST: Duration = Duration::from_secs(1000);
/// Failures of all keys together are retried this far apart (the same, 10 a second) ...
const RETRY_SPACING: Duration = Duration::from_millis(100);
/// ... once this many were retried at once.
const RETRY_BURST: u32 = 100;

/// The queue as a value.
#[derive(Debug, Default)]
pub struct Queue {
    ready: VecDeque<ObjectKey>,
    /// Each since when.
    is_ready: HashMap<ObjectKey, Instant>,
    /// Each since when.
    working: HashMap<ObjectKey, Instant>,
    again: HashSet<ObjectKey>,
    delayed: BTreeSet<(Instant, ObjectKey)>,
    delayed_until: HashMap<ObjectKey, Instant>,
    failures: HashMap<ObjectKey, u32>,
    /// When the bucket of retries is full again; `None` while it never was used.
    retries_full: Option<Instant>,
    /// Keys that wait for their own writes, each since when.
    waiting: HashMap<ObjectKey, Instant>,
    /// Longest retry delay of a failing key, if it is not the usual one.
    longest_backoff: Option<Duration>,
    adds: u64,
    retries: u64,
}

/// What metrics show of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Figures {
    /// Keys ready to be worked on.
    pub depth: usize,
    /// Keys that became ready so far.
    pub adds: u64,
    /// Failures so far.
    pub retries: u64,
    /// Sum over the keys worked on: for how long.
    pub unfinished: Duration,
    /// The longest of them.
    pub longest: Duration,
}

impl Queue {
    /// Asks for `key` to be worked on as soon as possible.
    pub fn add(&mut self, key: ObjectKey, now: Instant) {
        if self.working.contains_key(&key) {
            self.adds += u64::from(self.again.insert(key));
        } else if !self.is_ready.contains_key(&key) {
            self.adds += 1;
            self.push(key, now);
        }
    }

    fn push(&mut self, key: ObjectKey, now: Instant) {
        self.is_ready.insert(key.clone(), now);
        self.ready.push_back(key);
    }

    /// See [`Figures`].
    pub fn figures(&self, now: Instant) -> Figures {
        let times = || self.working.values().map(|it| now.saturating_duration_since(*it));
        Figures {
            depth: self.depth(),
            adds: self.adds,
            retries: self.retries,
            unfinished: times().sum(),
            longest: times().max().unwrap_or_default(),
        }
    }

    /// Asks for `key` to be worked on at `at`; of several such requests the earliest stands.
    pub fn add_at(&mut self, key: ObjectKey, at: Instant) {
        if let Some(known) = self.delayed_until.get(&key).copied() {
            if known <= at {
                return;
            }
            self.delayed.remove(&(known, key.clone()));
        }
        self.delayed_until.insert(key.clone(), at);
        self.delayed.insert((at, key));
    }

    /// The next key to work on, which counts as being worked on until [`Queue::done`], and how long it was ready.
    pub fn take(&mut self, now: Instant) -> Option<(ObjectKey, Duration)> {
        while let Some((at, _)) = self.delayed.first() {
            if *at > now {
                break;
            }
            let (_, key) = self.delayed.pop_first().expect("just seen");
            self.delayed_until.remove(&key);
            self.add(key, now);
        }
        let key = self.ready.pop_front()?;
        let since = self.is_ready.remove(&key).unwrap_or(now);
        self.working.insert(key.clone(), now);
        Some((key, now.saturating_duration_since(since)))
    }

    /// Ends the work on `key`; it is ready again at once if it was asked for meanwhile.
    pub fn done(&mut self, key: &ObjectKey, now: Instant) {
        self.working.remove(key);
        if self.again.remove(key) {
            self.push(key.clone(), now);
        }
    }

    /// The delay before the next try of a key that just failed: 5 ms, doubled per failure, at most 1000 s; longer if
    /// more than 100 keys failed lately, of which 10 a second get their turn.
    pub fn failed(&mut self, key: &ObjectKey, now: Instant) -> Duration {
        let failures = self.failures.entry(key.clone()).or_insert(0);
        let delay = BACKOFF_FIRST.saturating_mul(1 << (*failures).min(30));
        *failures += 1;
        self.retries += 1;
        let full = self.retries_full.map_or(now, |it| it.max(now)) + RETRY_SPACING;
        self.retries_full = Some(full);
        let turn = full.duration_since(now).saturating_sub(RETRY_SPACING * RETRY_BURST);
        delay.min(self.longest_backoff.unwrap_or(BACKOFF_LONGEST)).max(turn)
    }

    /// Notes that `key` waits for its own writes.
    pub fn waits(&mut self, key: &ObjectKey, now: Instant) {
        self.waiting.entry(key.clone()).or_insert(now);
    }

    /// How long `key` waited for its own writes, which it no longer does; `None` if it did not.
    pub fn waited(&mut self, key: &ObjectKey, now: Instant) -> Option<Duration> {
        self.waiting.remove(key).map(|since| now.duration_since(since))
    }

    /// Forgets the failures of `key`.
    pub fn succeeded(&mut self, key: &ObjectKey) {
        self.failures.remove(key);
    }

    /// When the earliest delayed key falls due.
    pub fn next_due(&self) -> Option<Instant> {
        self.delayed.first().map(|(at, _)| *at)
    }

    /// Keys ready to be worked on.
    pub fn depth(&self) -> usize {
        self.ready.len()
    }
}

/// A [`Queue`] shared by the watches that fill it and the workers that empty it.
#[derive(Clone, Default)]
pub struct Workqueue {
    queue: Arc<Mutex<Queue>>,
    changed: Arc<Notify>,
}

impl Workqueue {
    /// A queue whose failing keys are retried at least this often.
    pub fn with_longest_backoff(longest: Duration) -> Self {
        let queue = Self::default();
        queue.with(|it| it.longest_backoff = Some(longest));
        queue
    }

    /// See [`Queue::add`].
    pub fn add(&self, key: ObjectKey) {
        self.with(|it| it.add(key, Instant::now()));
        self.changed.notify_one();
    }

    /// Asks for `key` after `delay`.
    pub fn add_after(&self, key: ObjectKey, delay: Duration) {
        self.with(|it| it.add_at(key, Instant::now() + delay));
        self.changed.notify_one();
    }

    /// Waits for a key to work on; it comes with the time it was ready. Only one task may wait at a time.
    pub async fn take(&self) -> (ObjectKey, Duration) {
        loop {
            let (taken, due) = self.with(|it| (it.take(Instant::now()), it.next_due()));
            if let Some(key) = taken {
                return key;
            }
            match due {
                Some(due) => tokio::select! {
                    () = self.changed.notified() => {}
                    () = tokio::time::sleep_until(due) => {} // allow-sleep: due time of a delayed key
                },
                None => self.changed.notified().await,
            }
        }
    }

    /// Runs `f` on the queue itself.
    pub fn with<R>(&self, f: impl FnOnce(&mut Queue) -> R) -> R {
        f(&mut self.lock())
    }

    /// Wakes the waiting task after [`Workqueue::with`] added something.
    pub fn wake(&self) {
        self.changed.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().expect("no code panics while it holds the queue")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> ObjectKey {
        ObjectKey::new("ns", name)
    }

    #[test]
    fn a_key_asked_for_twice_is_worked_on_once() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.add(key("a"), now);
        queue.add(key("a"), now);
        assert_eq!(queue.take(now).map(|it| it.0), Some(key("a")));
        assert_eq!(queue.take(now), None);
    }

    #[test]
    fn a_key_asked_for_while_worked_on_runs_again_afterwards() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.add(key("a"), now);
        queue.take(now);
        queue.add(key("a"), now);
        assert_eq!(queue.take(now), None, "never twice at the same time");
        queue.done(&key("a"), now);
        assert_eq!(queue.take(now).map(|it| it.0), Some(key("a")));
    }

    #[test]
    fn the_figures_of_a_queue() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        let second = Duration::from_secs(1);
        queue.add(key("a"), now);
        queue.add(key("b"), now);
        queue.add(key("b"), now);
        assert_eq!(queue.take(now + second), Some((key("a"), second)));
        queue.take(now + 2 * second);
        queue.add(key("a"), now + 2 * second);
        queue.failed(&key("b"), now);
        let figures = Figures { depth: 0, adds: 3, retries: 1, unfinished: 3 * second, longest: 2 * second };
        assert_eq!(queue.figures(now + 3 * second), figures);
        queue.done(&key("a"), now + 3 * second);
        assert_eq!(queue.take(now + 5 * second), Some((key("a"), 2 * second)));
        assert_eq!(queue.figures(now + 5 * second).adds, 3, "it was asked for while it was worked on");
    }

    #[test]
    fn of_several_delays_the_earliest_stands() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        let second = Duration::from_secs(1);
        queue.add_at(key("a"), now + 3 * second);
        queue.add_at(key("a"), now + second);
        queue.add_at(key("a"), now + 2 * second);
        assert_eq!(queue.next_due(), Some(now + second));
        assert_eq!(queue.take(now), None);
        assert_eq!(queue.take(now + second).map(|it| it.0), Some(key("a")));
        queue.done(&key("a"), now);
        assert_eq!(queue.take(now + 9 * second), None);
    }

    #[test]
    fn backoff_doubles_is_bounded_and_is_forgotten_on_success() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        let delays: Vec<_> = (0..40).map(|_| queue.failed(&key("a"), now)).collect();
        assert_eq!(delays[..3], [5, 10, 20].map(Duration::from_millis));
        assert_eq!(delays[39], BACKOFF_LONGEST);
        queue.succeeded(&key("a"));
        assert_eq!(queue.failed(&key("a"), now), BACKOFF_FIRST);
    }

    #[test]
    fn many_failing_keys_take_turns() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        let mut failed = |number: u32, at| queue.failed(&key(&number.to_string()), at);
        for number in 0..100 {
            assert_eq!(failed(number, now), BACKOFF_FIRST, "{number}");
        }
        assert_eq!(failed(100, now), Duration::from_millis(100));
        assert_eq!(failed(109, now), Duration::from_millis(200));
        assert_eq!(failed(110, now + Duration::from_secs(60)), BACKOFF_FIRST, "later there is room again");
    }
}
