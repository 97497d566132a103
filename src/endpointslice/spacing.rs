//! How fast one slice is written: the first change at once, sustained change in larger and larger steps.
//!
//! Pure, time is an argument. A write that takes something away (not ready any more, terminating, gone) does not wait for
//! the spacing, up to ten times a second: sending traffic to a dead pod is worse than learning late of a new one.

use std::time::Duration;

pub use tokio::time::Instant;

/// Longest pause between two writes of a slice that changes all the time (`max-coalesce`).
pub const LONGEST: Duration = Duration::from_millis(500);
/// Writes that take something away are at least this far apart.
const URGENT: Duration = Duration::from_millis(100);

/// What a write does to the readers of a slice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Urgency {
    /// It only adds or changes details.
    Normal,
    /// Something must not be used any more.
    Removal,
}

/// So many writes follow each other without spacing beyond that of their round trips.
const FREE: u32 = 8;
/// Writes closer together than this belong to one run of changes.
const RUN: Duration = Duration::from_millis(250);

/// The pace of one slice.
#[derive(Debug, Default)]
pub struct Pace {
    last: Option<Instant>,
    spacing: Duration,
    /// Writes of the present run.
    run: u32,
}

impl Pace {
    /// How long the next write has to wait; zero: it may leave now.
    pub fn wait(&self, urgency: Urgency, now: Instant) -> Duration {
        let Some(last) = self.last else { return Duration::ZERO };
        let spacing = match urgency {
            Urgency::Normal => self.spacing,
            Urgency::Removal => self.spacing.min(URGENT),
        };
        (last + spacing).saturating_duration_since(now)
    }

    /// How long ago the slice was written; for ever if it never was.
    pub fn quiet_for(&self, now: Instant) -> Duration {
        self.last.map_or(Duration::MAX, |last| now.saturating_duration_since(last))
    }

    /// The last write says nothing about how often the slice changes.
    pub fn forget(&mut self) {
        *self = Self::default();
    }

    /// A write that began at `began` was answered at `now`.
    pub fn wrote(&mut self, began: Instant, now: Instant) {
        let least = now.duration_since(began).saturating_mul(2).min(LONGEST);
        let window = RUN.max(self.spacing.saturating_mul(2));
        let goes_on = self.last.is_some_and(|last| began.saturating_duration_since(last) < window);
        self.run = if goes_on { self.run.saturating_add(1) } else { 0 };
        let grown = if self.run < FREE { least } else { self.spacing.saturating_mul(2) };
        self.spacing = grown.clamp(least, LONGEST);
        self.last = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn the_first_changes_leave_at_once_and_sustained_change_in_growing_steps() {
        let start = Instant::now();
        let mut pace = Pace::default();
        assert_eq!(pace.wait(Urgency::Normal, start), Duration::ZERO, "the first");
        pace.wrote(start, start + 2 * MS);
        let (mut now, mut waits) = (start + 2 * MS, Vec::new());
        for _ in 0..17 {
            let wait = pace.wait(Urgency::Normal, now);
            waits.push(wait.as_millis());
            now += wait;
            pace.wrote(now, now + 2 * MS);
            now += 2 * MS;
        }
        assert_eq!(waits, [4, 4, 4, 4, 4, 4, 4, 4, 8, 16, 32, 64, 128, 256, 500, 500, 500]);
        assert_eq!(pace.wait(Urgency::Removal, now), URGENT, "a removal waits for less");
        now += Duration::from_secs(2);
        assert_eq!(pace.wait(Urgency::Normal, now), Duration::ZERO);
        pace.wrote(now, now + 2 * MS);
        assert_eq!(pace.wait(Urgency::Normal, now + 2 * MS), 4 * MS, "after a pause it starts anew");
    }
}
