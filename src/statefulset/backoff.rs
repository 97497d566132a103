//! Ordinals that can not be brought about are tried again later and later, each on its own.
//!
//! Parallel goes past an ordinal whose writes fail. Without a backoff of its own every event of a healthy pod would
//! try that ordinal again, and its failure would keep scaling down and updates from their turn.
//! Pure; time is an argument. Differs: upstream has no such thing, its Parallel ends at the first failure.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::model::{Ordinal, SetSpec};
use crate::model::ObjectKey;

/// First delay, doubled per failure.
const FIRST: Duration = Duration::from_millis(5);
/// Longest delay: what was in the way (quota, admission) goes without an event.
const LONGEST: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Copy)]
struct Failing {
    times: u32,
    until: Timestamp,
}

#[derive(Debug, Default)]
struct OfSet {
    uid: String,
    generation: i64,
    ordinals: BTreeMap<Ordinal, Failing>,
}

impl OfSet {
    fn is_of(&self, set: &SetSpec) -> bool {
        self.uid == set.uid && self.generation == set.generation
    }
}

/// The failing ordinals of all sets.
#[derive(Debug, Default)]
pub struct Backoffs {
    sets: HashMap<ObjectKey, OfSet>,
}

impl Backoffs {
    /// Notes that the writes of `ordinal` failed.
    pub fn failed(&mut self, set: &SetSpec, ordinal: Ordinal, now: Timestamp) {
        let known = self.sets.entry(set.key.clone()).or_default();
        if !known.is_of(set) {
            let ordinals = BTreeMap::new();
            *known = OfSet { uid: set.uid.clone(), generation: set.generation, ordinals };
        }
        let failing = known.ordinals.entry(ordinal).or_insert(Failing { times: 0, until: now });
        let delay = FIRST.saturating_mul(1 << failing.times.min(20)).min(LONGEST);
        let delay = SignedDuration::try_from(delay).unwrap_or(SignedDuration::MAX);
        *failing = Failing { times: failing.times + 1, until: now.checked_add(delay).unwrap_or(now) };
    }

    /// Notes that the writes of `ordinal` succeeded.
    pub fn succeeded(&mut self, set: &SetSpec, ordinal: Ordinal) {
        if let Some(known) = self.sets.get_mut(&set.key) {
            known.ordinals.remove(&ordinal);
            if known.ordinals.is_empty() {
                self.sets.remove(&set.key);
            }
        }
    }

    /// The ordinals of `set` to leave alone at `now`, each until when. A changed spec or another set of this name
    /// forgets them all: it may well be the remedy.
    pub fn of(&mut self, set: &SetSpec, now: Timestamp) -> BTreeMap<Ordinal, Timestamp> {
        let Some(known) = self.sets.get(&set.key) else { return BTreeMap::new() };
        if !known.is_of(set) {
            self.sets.remove(&set.key);
            return BTreeMap::new();
        }
        let left = known.ordinals.iter().filter(|(_, it)| it.until > now);
        left.map(|(ordinal, it)| (*ordinal, it.until)).collect()
    }

    /// Drops what is known of a set that is gone.
    pub fn forget(&mut self, set: &ObjectKey) {
        self.sets.remove(set);
    }
}

#[cfg(test)]
mod tests {
    use super::super::notation::{NOW, set};
    use super::*;

    #[test]
    fn an_ordinal_waits_longer_with_each_failure_until_it_succeeds_or_the_spec_changes() {
        let (mut set, mut backoffs) = (set("3xA parallel"), Backoffs::default());
        let wait = |backoffs: &mut Backoffs, set: &SetSpec| {
            backoffs.of(set, NOW).get(&Ordinal(1)).map(|it| it.duration_since(NOW).as_millis())
        };
        for want in [5, 10, 20] {
            backoffs.failed(&set, Ordinal(1), NOW);
            assert_eq!(wait(&mut backoffs, &set), Some(want));
        }
        assert_eq!(backoffs.of(&set, NOW).len(), 1, "the others do not wait");
        assert!(backoffs.of(&set, NOW + SignedDuration::from_millis(20)).is_empty(), "it is due");
        for _ in 0..30 {
            backoffs.failed(&set, Ordinal(1), NOW);
        }
        assert_eq!(wait(&mut backoffs, &set), Some(60_000));
        backoffs.succeeded(&set, Ordinal(1));
        backoffs.failed(&set, Ordinal(1), NOW);
        assert_eq!(wait(&mut backoffs, &set), Some(5), "success forgets");
        set.generation += 1;
        assert_eq!(wait(&mut backoffs, &set), None, "a changed spec is tried at once");
    }
}
