//! A watch that is resumed for ever, soon after the API server is back and without everybody coming at once.
//!
//! `kube::runtime::watcher` ──[`resumed`]──▶ events, errors with pauses after them
//!
//! Pauses double from 0.8 s to 5 s, and each is lengthened by up to itself, at random. Differs from client-go, whose longest
//! pause is 30 s: what is watched here has answers waiting for it. A resourceVersion that the server no longer knows, as after
//! its restart, is no failure of the server: the list that follows does not wait, unless that happens again and again.
//! Source: client-go `tools/cache/reflector.go`.

use std::fmt::Debug;
use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, Error, Event, watcher};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tokio::time::Instant;
use tracing::debug;

/// First and longest pause, before it is lengthened.
const PAUSES: (Duration, Duration) = (Duration::from_millis(800), Duration::from_secs(5));

/// An expired version within this time after the last one counts as a failure.
const EXPIRY: Duration = Duration::from_secs(30);

/// Watches `api` for ever.
pub fn resumed<K>(
    api: Api<K>,
    config: watcher::Config,
) -> impl Stream<Item = watcher::Result<Event<K>>> + Send
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let kind = api.resource_url().to_owned();
    let mut expired: Option<Instant> = None;
    let events = watcher(api, config).filter(move |event| {
        let gone = matches!(event, Err(Error::WatchError(status)) if status.code == 410);
        let now = Instant::now();
        let first = gone && expired.is_none_or(|it| now.duration_since(it) > EXPIRY);
        if first {
            debug!(resource = %kind, "the server no longer knows what was seen last; listing again");
            expired = Some(now);
        }
        std::future::ready(!first)
    });
    events.backoff(Pauses::default())
}

/// See the module.
#[derive(Debug, Default)]
struct Pauses {
    last: Option<Duration>,
    random: RandomState,
    drawn: u64,
}

impl Iterator for Pauses {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let (first, longest) = PAUSES;
        let pause = self.last.map_or(first, |it| (it * 2).min(longest));
        self.last = Some(pause);
        self.drawn += 1;
        let share = (self.random.hash_one(self.drawn) % 1001) as f64 / 1000.0;
        Some(pause.mul_f64(1.0 + share))
    }
}

impl Backoff for Pauses {
    fn reset(&mut self) {
        self.last = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_begin_anew() {
        let mut pauses = Pauses::default();
        let mut within = |wants: &[u64]| {
            for want in wants {
                let got = pauses.next().expect("endless").as_millis() as u64;
                assert!((*want..=2 * want).contains(&got), "{got} for {want}");
            }
        };
        within(&[800, 1600, 3200, 5000, 5000]);
        pauses.reset();
        let got = pauses.next().expect("endless");
        assert!(got <= Duration::from_millis(1600), "{got:?}");
    }
}
