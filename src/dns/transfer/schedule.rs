//! When one secondary is told that zones have changed.
//!
//! (serial, time) ──[`Schedule::due`]──▶ [`Step`]s ──▶ `dns::transfer::notify`
//!
//! Pure. Time is what has passed since some fixed moment; it never runs backwards. A zone is announced at most once in
//! [`GAP`], and again at growing distances until the secondary answers or [`ATTEMPTS`] have been made (RFC 1996 §3.6).
//! A serial counts seconds, so a change is announced when its second is over: a secondary that came earlier could miss
//! what else happened in it. It waits for that no longer than [`SETTLE`], or steady change would never be announced.

use std::time::Duration;

use crate::dns::name::OwnerName;

/// Shortest time between two messages about one zone.
pub const GAP: Duration = Duration::from_secs(5);
/// Longest wait for the second of a serial to end.
pub const SETTLE: Duration = Duration::from_secs(1);
/// Messages about one serial before the secondary is given up until the next: after 0, 5, 15, 35 and 75 seconds.
pub const ATTEMPTS: u32 = 5;

/// What is to be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Announce the zone in a message with this id.
    Announce(OwnerName, u16),
    /// The secondary has answered none of the messages about this zone.
    GiveUp(OwnerName),
}

/// What one secondary has been told.
#[derive(Debug)]
pub struct Schedule {
    zones: Vec<Told>,
    /// Since when some zone has a serial that is not announced.
    behind: Option<Duration>,
}

#[derive(Debug)]
struct Told {
    zone: OwnerName,
    serial: Option<u32>,
    /// Id of the messages that wait for an answer.
    waiting: Option<u16>,
    attempts: u32,
    last: Duration,
}

impl Told {
    /// Earliest time of the next message about the same serial.
    fn again(&self) -> Duration {
        self.last + GAP * 2u32.pow(self.attempts - 1)
    }
}

impl Schedule {
    /// Nothing has been told yet.
    pub fn new(zones: impl IntoIterator<Item = OwnerName>) -> Self {
        let told = |zone| Told { zone, serial: None, waiting: None, attempts: 0, last: Duration::ZERO };
        Self { zones: zones.into_iter().map(told).collect(), behind: None }
    }

    /// What is to be done at `now`, when the serial is `serial` and the clock of serials stands at `clock`. `id` makes
    /// the ids of messages.
    pub fn due(&mut self, now: Duration, serial: u32, clock: u32, mut id: impl FnMut() -> u16) -> Vec<Step> {
        if self.zones.iter().all(|it| it.serial == Some(serial)) {
            self.behind = None;
        } else {
            self.behind.get_or_insert(now);
        }
        let settled = clock > serial || self.behind.is_some_and(|it| now >= it + SETTLE);
        let mut steps = Vec::new();
        for told in &mut self.zones {
            if told.serial != Some(serial) {
                if settled && (told.attempts == 0 || now >= told.last + GAP) {
                    let new = id();
                    (told.serial, told.waiting) = (Some(serial), Some(new));
                    (told.attempts, told.last) = (1, now);
                    steps.push(Step::Announce(told.zone, new));
                }
                continue;
            }
            let Some(same) = told.waiting.filter(|_| now >= told.again()) else { continue };
            if told.attempts < ATTEMPTS {
                told.attempts += 1;
                told.last = now;
                steps.push(Step::Announce(told.zone, same));
            } else {
                told.waiting = None;
                steps.push(Step::GiveUp(told.zone));
            }
        }
        steps
    }

    /// Takes note of a packet from the secondary. Any answer counts, whatever its response code: RFC 1996 §4.8 leaves
    /// nothing to do about a secondary that does not know what to do with the message.
    pub fn answered(&mut self, packet: &[u8]) {
        let Some(&[high, low, flags]) = packet.first_chunk() else { return };
        // QR and opcode NOTIFY.
        if flags & 0xf8 != 0xa0 {
            return;
        }
        let id = u16::from_be_bytes([high, low]);
        for told in self.zones.iter_mut().filter(|it| it.waiting == Some(id)) {
            told.waiting = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zones(count: usize) -> Schedule {
        Schedule::new(["a.", "b."][..count].iter().map(|it| it.parse().unwrap()))
    }

    /// Milliseconds at which something happens when asked every 100 ms, as `time:step`.
    fn run(schedule: &mut Schedule, millis: std::ops::Range<u64>, serial: impl Fn(u64) -> u32) -> String {
        let mut ids = (millis.start / 100) as u16..;
        let mut seen = Vec::new();
        for now in millis.step_by(100) {
            let steps = schedule
                .due(Duration::from_millis(now), serial(now), (now / 1000) as u32, || ids.next().unwrap());
            seen.extend(steps.into_iter().map(|it| match it {
                Step::Announce(zone, id) => format!("{now}:{zone}{id}"),
                Step::GiveUp(zone) => format!("{now}:{zone}!"),
            }));
        }
        seen.join(" ")
    }

    #[test]
    fn an_unanswered_secondary_is_told_again_and_then_given_up() {
        let got = run(&mut zones(1), 2000..300_000, |_| 1);
        assert_eq!(got, "2000:a.20 7000:a.20 17000:a.20 37000:a.20 77000:a.20 157000:a.!");
    }

    #[test]
    fn an_answer_ends_the_announcement() {
        let mut schedule = zones(2);
        assert_eq!(run(&mut schedule, 2000..4000, |_| 1), "2000:a.20 2000:b.21");
        schedule.answered(&[0, 20]);
        schedule.answered(&[0, 20, 0x20, 0]);
        schedule.answered(&[0, 20, 0x81, 0]);
        schedule.answered(&[0, 21, 0xa4, 5]);
        assert_eq!(run(&mut schedule, 4000..9000, |_| 1), "7000:a.20", "only b. has been answered");
        schedule.answered(&[0, 20, 0xa4, 0]);
        assert_eq!(run(&mut schedule, 9000..200_000, |_| 1), "");
        assert_eq!(run(&mut schedule, 200_000..201_000, |_| 100), "200000:a.2000 200000:b.2001");
    }

    #[test]
    fn a_change_is_announced_when_its_second_is_over() {
        assert_eq!(run(&mut zones(1), 1200..4000, |_| 1), "2000:a.12");
        // The clock of the change is ahead: waiting ends.
        assert_eq!(run(&mut zones(1), 1200..4000, |_| 9), "2200:a.12");
    }

    #[test]
    fn steady_change_is_announced_every_five_seconds() {
        let mut schedule = zones(1);
        let got = run(&mut schedule, 1200..14_000, |now| (now / 1000) as u32);
        assert_eq!(got, "2200:a.12 7200:a.13 12200:a.14");
    }
}
