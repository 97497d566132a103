//! How fast one slice is written: a change at once if the slice is idle, changes that pile up in larger and larger steps.
//!
//! Whoever makes a change and waits for it before making the next must never be kept waiting; a storm must not become a write
//! each. At the pace of single writes the two look the same. They differ once a write is held: from the one there is still a
//! single change then, of the other there are many. So a slice that is written again and again is held once in a while.
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

/// So many changes in the time of one write are faster than writes: one alone may be the next of somebody who waited for the
/// last, and saw it before we had the answer.
const PILE: u32 = 2;

/// So many writes that had to leave one right after the other are made without spacing beyond that of their round trips.
const FREE: u32 = 8;

/// So many writes may follow each other closely until one is held, to see whether changes pile up ...
const CREDIT: u32 = 300;
/// ... each of them is forgotten in this time, and the one is held as long. Ten writes a second are nobody's burden.
const EARNED_IN: Duration = URGENT;

/// The pace of one slice.
#[derive(Debug, Default)]
pub struct Pace {
    last: Option<Instant>,
    spacing: Duration,
    /// How much of the credit is used, in time to earn it back.
    debt: Duration,
    /// Writes under pressure lately.
    run: u32,
    /// Changes since the last write left.
    changes: u32,
    /// The next write has to wait for the spacing.
    held: bool,
    /// Changes piled up while the write under way was held.
    pressed: bool,
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

    /// Something of the slice changed.
    pub fn changed(&mut self) {
        self.changes = self.changes.saturating_add(1);
    }

    /// The next write has to wait.
    pub fn hold(&mut self) {
        self.held = true;
    }

    /// A write leaves, with every change so far.
    pub fn leaves(&mut self) {
        self.pressed = std::mem::take(&mut self.held) && self.changes >= PILE;
        self.changes = 0;
    }

    /// A write that began at `began` was answered at `now`. The next one is spaced if changes piled up while this one was held or
    /// under way, and held if the credit is used up.
    pub fn wrote(&mut self, began: Instant, now: Instant) {
        self.debt = self.debt.saturating_sub(self.quiet_for(now)) + EARNED_IN;
        self.last = Some(now);
        if self.pressed || self.changes >= PILE {
            let least = now.duration_since(began).saturating_mul(2).min(LONGEST);
            self.run = self.run.saturating_add(1);
            let grown = if self.run <= FREE { least } else { self.spacing.saturating_mul(2) };
            self.spacing = grown.clamp(least, LONGEST);
        } else if self.debt > EARNED_IN * CREDIT {
            (self.run, self.spacing, self.debt) = (FREE, EARNED_IN, Duration::ZERO);
        } else {
            (self.run, self.spacing) = (self.run / 2, Duration::ZERO);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn the_first_changes_leave_at_once_and_changes_that_pile_up_in_growing_steps() {
        let start = Instant::now();
        let mut pace = Pace::default();
        assert_eq!(pace.wait(Urgency::Normal, start), Duration::ZERO, "the first");
        let (mut now, mut waits) = (start, Vec::new());
        for _ in 0..17 {
            let wait = pace.wait(Urgency::Normal, now);
            waits.push(wait.as_millis());
            now += wait;
            pace.leaves();
            pace.changed();
            pace.changed();
            pace.wrote(now, now + 2 * MS);
            now += 2 * MS;
        }
        assert_eq!(waits, [0, 4, 4, 4, 4, 4, 4, 4, 4, 8, 16, 32, 64, 128, 256, 500, 500]);
        assert_eq!(pace.wait(Urgency::Removal, now), URGENT, "a removal waits for less");
        now += Duration::from_secs(2);
        assert_eq!(pace.wait(Urgency::Normal, now), Duration::ZERO);
        pace.leaves();
        pace.wrote(now, now + 2 * MS);
        assert_eq!(pace.wait(Urgency::Normal, now + 2 * MS), Duration::ZERO, "nothing piled up meanwhile");
    }

    #[test]
    fn what_piles_up_while_a_write_is_held_counts_as_well() {
        let (start, mut pace) = (Instant::now(), Pace::default());
        let mut write = |now: Instant, meanwhile: u32| {
            pace.hold();
            pace.leaves();
            for _ in 0..meanwhile {
                pace.changed();
            }
            pace.wrote(now, now + 2 * MS);
            pace.wait(Urgency::Normal, now + 2 * MS)
        };
        let waits = [2, 1, 1].map(|changes| write(start, changes).as_millis());
        assert_eq!(
            waits,
            [4, 4, 0],
            "the two of the first are written by the second, the one of that by the third"
        );
    }

    #[test]
    fn who_waits_for_each_change_hardly_ever_waits_for_the_spacing() {
        let mut now = Instant::now();
        let mut pace = Pace::default();
        let mut held = 0;
        for _ in 0..3000 {
            let wait = pace.wait(Urgency::Normal, now);
            if !wait.is_zero() {
                assert_eq!(wait + MS, EARNED_IN, "once, and not longer");
                pace.hold();
                held += 1;
            }
            now += wait;
            pace.leaves();
            // The next comes before the answer: the watch was faster.
            pace.changed();
            pace.wrote(now, now + 2 * MS);
            now += 3 * MS;
        }
        assert!((1..=9).contains(&held), "{held} of 3,000");
    }

    #[test]
    fn a_storm_is_slowed_down_however_even() {
        for (urgency, most) in [(Urgency::Normal, 600), (Urgency::Removal, 1600)] {
            let start = Instant::now();
            let (mut now, mut writes) = (start, 0);
            let mut pace = Pace::default();
            while now < start + Duration::from_secs(120) {
                pace.changed();
                if pace.wait(urgency, now).is_zero() {
                    pace.leaves();
                    pace.wrote(now, now + MS);
                    writes += 1;
                } else {
                    pace.hold();
                }
                now += 10 * MS;
            }
            assert!((200..most).contains(&writes), "{writes} writes of 12,000 changes in two minutes");
        }
    }

    #[test]
    fn ten_changes_a_second_are_never_held() {
        let (mut now, mut pace) = (Instant::now(), Pace::default());
        for _ in 0..10_000 {
            assert_eq!(pace.wait(Urgency::Normal, now), Duration::ZERO);
            pace.changed();
            pace.leaves();
            pace.wrote(now, now + 2 * MS);
            now += EARNED_IN;
        }
    }
}
