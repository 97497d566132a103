//! Who leads: the decision of one candidate.
//!
//! ([`Record`] of the Lease, time) ──[`Election::look`]──▶ [`Step`]
//!
//! Pure. A candidate never compares the clock of another machine with its own: a lease has run out when its record has
//! not changed for its duration, measured from when this candidate first saw it.
//! Source: client-go `tools/leaderelection/leaderelection.go`.

use std::time::Duration;

use jiff::Timestamp;

/// The times of an election.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// How long a lease is valid that nobody renews; whole seconds, at least 1.
    pub lease_duration: Duration,
    /// How long a leader that cannot renew goes on writing; less than the lease.
    pub renew_deadline: Duration,
    /// Time between two tries to acquire or renew.
    pub retry_period: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        let [lease_duration, renew_deadline, retry_period] = [15, 10, 2].map(Duration::from_secs);
        Self { lease_duration, renew_deadline, retry_period }
    }
}

impl Timing {
    /// Checks what client-go checks. An error is the key under `leaderElection` and the reason.
    ///
    /// # Errors
    /// A lease of less than a second or with a fraction of one, a deadline that is not shorter than the lease, or a retry
    /// period that does not fit the deadline.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        let lease = self.lease_duration;
        if lease.is_zero() || lease.subsec_nanos() > 0 || lease.as_secs() > i32::MAX as u64 {
            return Err(("leaseDuration", format!("{lease:?} must be whole seconds, at least 1s")));
        }
        if self.renew_deadline >= lease {
            let reason = format!("{:?} must be shorter than leaseDuration, {lease:?}", self.renew_deadline);
            return Err(("renewDeadline", reason));
        }
        if self.retry_period.is_zero() || self.retry_period.mul_f64(1.0 + JITTER) >= self.renew_deadline {
            let reason = format!(
                "{:?} must be more than 0 and, stretched by {JITTER} of itself, shorter than renewDeadline, {:?}",
                self.retry_period, self.renew_deadline
            );
            return Err(("retryPeriod", reason));
        }
        Ok(())
    }

    /// How long a candidate waits for its next try. `random`: 0 to 1; candidates must not try in step.
    pub fn wait(&self, random: f64) -> Duration {
        self.retry_period.mul_f64(1.0 + JITTER * random)
    }
}

/// The largest part of the retry period that is added to it.
const JITTER: f64 = 1.2;

/// What the spec of a Lease says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Record {
    /// Who leads; empty when released.
    pub holder: String,
    /// How long, from its last renewal.
    pub duration: Duration,
    /// When the holder began to lead.
    pub acquired: Option<Timestamp>,
    /// When it renewed last.
    pub renewed: Option<Timestamp>,
    /// How often the holder changed.
    pub transitions: i32,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Write this record, in place of the one looked at; who succeeds leads.
    Write(Record),
    /// Another one leads.
    Stand,
}

/// One candidate.
#[derive(Debug)]
pub struct Election {
    identity: String,
    lease: Duration,
    /// The record seen last and when it was first seen, as time since any fixed moment.
    seen: Option<(Record, Duration)>,
}

impl Election {
    /// `identity`: unlike that of every other candidate.
    pub fn new(identity: String, lease: Duration) -> Self {
        Self { identity, lease, seen: None }
    }

    /// Decides with the record as it stands now; `None`: there is no Lease. `now`: time since any fixed moment. `time`:
    /// what the record will say.
    pub fn look(&mut self, found: Option<&Record>, now: Duration, time: Timestamp) -> Step {
        let mut next = Record {
            holder: self.identity.clone(),
            duration: self.lease,
            acquired: Some(time),
            renewed: Some(time),
            transitions: 0,
        };
        let Some(found) = found else { return Step::Write(next) };
        let since = match &self.seen {
            Some((record, since)) if record == found => *since,
            _ => {
                self.seen = Some((found.clone(), now));
                now
            }
        };
        if found.holder == self.identity {
            next.acquired = found.acquired;
            next.transitions = found.transitions;
            return Step::Write(next);
        }
        if !found.holder.is_empty() && now < since + found.duration {
            return Step::Stand;
        }
        next.transitions = found.transitions.saturating_add(1);
        Step::Write(next)
    }

    /// The record that gives the lease away: the next candidate need not wait.
    pub fn released(&self, last: &Record, time: Timestamp) -> Record {
        Record {
            holder: String::new(),
            duration: Duration::from_secs(1),
            acquired: Some(time),
            renewed: Some(time),
            transitions: last.transitions,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    fn at(count: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + count).expect("in range")
    }

    fn held(holder: &str, renewed: i64, transitions: i32) -> Record {
        Record {
            holder: holder.to_owned(),
            duration: seconds(15),
            acquired: Some(at(0)),
            renewed: Some(at(renewed)),
            transitions,
        }
    }

    fn candidate() -> Election {
        Election::new("b".to_owned(), seconds(15))
    }

    #[test]
    fn a_lease_that_nobody_made_is_taken() {
        let want = Record { acquired: Some(at(5)), ..held("b", 5, 0) };
        assert_eq!(candidate().look(None, seconds(5), at(5)), Step::Write(want));
    }

    #[test]
    fn a_released_lease_is_taken_at_once() {
        let released = Election::new("a".to_owned(), seconds(15)).released(&held("a", 9, 3), at(9));
        let want = Record { acquired: Some(at(10)), ..held("b", 10, 4) };
        assert_eq!(candidate().look(Some(&released), seconds(0), at(10)), Step::Write(want));
    }

    #[test]
    fn a_lease_is_taken_when_it_has_not_changed_for_its_duration() {
        let mut candidate = candidate();
        // The other clock is years behind; only changes count.
        let old = held("a", -100_000_000, 0);
        assert_eq!(candidate.look(Some(&old), seconds(100), at(0)), Step::Stand);
        assert_eq!(candidate.look(Some(&old), seconds(114), at(14)), Step::Stand);
        let renewed = held("a", 10, 0);
        assert_eq!(candidate.look(Some(&renewed), seconds(115), at(15)), Step::Stand, "it was renewed");
        assert_eq!(candidate.look(Some(&renewed), seconds(129), at(29)), Step::Stand);
        let Step::Write(taken) = candidate.look(Some(&renewed), seconds(130), at(30)) else {
            panic!("the lease has run out")
        };
        assert_eq!((taken.holder.as_str(), taken.transitions), ("b", 1));
    }

    #[test]
    fn the_holder_renews_and_keeps_when_it_began() {
        let mut candidate = candidate();
        let own = held("b", 2, 7);
        let want = Record { renewed: Some(at(4)), ..own.clone() };
        assert_eq!(candidate.look(Some(&own), seconds(4), at(4)), Step::Write(want));
    }

    #[test]
    fn times_that_cannot_work_are_refused_by_name() {
        let timing = |lease: u64, renew: u64, retry: u64| Timing {
            lease_duration: seconds(lease),
            renew_deadline: seconds(renew),
            retry_period: seconds(retry),
        };
        let key = |it: Timing| it.check().map_err(|(key, _)| key);
        assert_eq!(key(Timing::default()), Ok(()));
        for (timing, wrong) in [
            (timing(0, 10, 2), "leaseDuration"),
            (Timing { lease_duration: Duration::from_millis(1500), ..timing(0, 1, 1) }, "leaseDuration"),
            (timing(10, 10, 2), "renewDeadline"),
            (timing(15, 10, 5), "retryPeriod"),
            (timing(15, 10, 0), "retryPeriod"),
        ] {
            assert_eq!(key(timing), Err(wrong), "{timing:?}");
        }
    }

    #[test]
    fn candidates_do_not_try_in_step() {
        let timing = Timing::default();
        assert_eq!([timing.wait(0.0), timing.wait(1.0)], [seconds(2), Duration::from_millis(4400)]);
    }
}
