//! How far answers can be trusted while watches are lost.
//!
//! `dns::watch` (responses, errors) ──▶ [`WatchHealth`] ──▶ [`Freshness`] ──▶ `dns::index`, metrics
//!
//! A watch is lost from the first failed request until a response arrives again, bookmarks included, and its data are as
//! old as the last octet it delivered. Time is passed in.
//! Source: RFC 8914 §4.4 (Stale Answer) and §4.15 (Not Ready).

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::config::SyncConfig;

/// What a reply says about the age of its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Freshness {
    /// Every watch delivers.
    #[default]
    Fresh,
    /// A watch is lost for `staleAfter`: the last state is served and said to be stale.
    Stale,
    /// A watch is lost for `maxStale`: nothing can be said about names that depend on objects.
    TooStale,
}

impl Freshness {
    /// Of data that a lost watch has left without news for `stale`; zero while every watch delivers.
    pub fn of(stale: Duration, config: &SyncConfig) -> Self {
        if stale.is_zero() {
            Self::Fresh
        } else if config.max_stale.is_some_and(|max| stale >= max) {
            Self::TooStale
        } else if stale >= config.stale_after {
            Self::Stale
        } else {
            Self::Fresh
        }
    }
}

/// Whether one watch delivers. Times are milliseconds since the process began to watch.
#[derive(Debug, Default)]
pub struct WatchHealth {
    delivered: AtomicU64,
    lost: AtomicBool,
}

impl WatchHealth {
    /// Something has arrived.
    pub fn delivered(&self, now: Duration) {
        self.delivered.fetch_max(now.as_millis() as u64, Ordering::Relaxed);
        self.lost.store(false, Ordering::Relaxed);
    }

    /// A request failed.
    pub fn failed(&self) {
        self.lost.store(true, Ordering::Relaxed);
    }

    /// For how long nothing has arrived, zero unless the watch is lost.
    pub fn stale(&self, now: Duration) -> Duration {
        if !self.lost.load(Ordering::Relaxed) {
            return Duration::ZERO;
        }
        let delivered = Duration::from_millis(self.delivered.load(Ordering::Relaxed));
        now.saturating_sub(delivered).max(Duration::from_millis(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(it: u64) -> Duration {
        Duration::from_secs(it)
    }

    #[test]
    fn a_watch_is_as_stale_as_its_last_delivery_while_it_is_lost() {
        let watch = WatchHealth::default();
        assert_eq!(watch.stale(seconds(5)), Duration::ZERO, "not lost, only quiet");
        watch.delivered(seconds(6));
        watch.failed();
        assert_eq!(watch.stale(seconds(10)), seconds(4));
        watch.failed();
        assert_eq!(watch.stale(seconds(11)), seconds(5), "another failure is no news");
        watch.delivered(seconds(12));
        assert_eq!(watch.stale(seconds(20)), Duration::ZERO);
    }

    #[test]
    fn answers_grow_stale() {
        let config = |max: Option<u64>| SyncConfig { max_stale: max.map(seconds), ..SyncConfig::default() };
        #[rustfmt::skip]
        let cases = [
            (0, None, Freshness::Fresh), (59, None, Freshness::Fresh), (60, None, Freshness::Stale),
            (86_400, None, Freshness::Stale), (60, Some(300), Freshness::Stale), (300, Some(300), Freshness::TooStale),
            (30, Some(30), Freshness::TooStale), (0, Some(0), Freshness::Fresh),
        ];
        for (stale, max, want) in cases {
            assert_eq!(Freshness::of(seconds(stale), &config(max)), want, "{stale} {max:?}");
        }
    }
}
