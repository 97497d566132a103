//! Responses of upstream servers, kept for their TTL.
//!
//! Bounded in octets by two generations: entries go into the young one; when that is full it becomes the old one, and the
//! former old one is dropped as a whole. An entry that is asked for while it is old moves back. So what is in use stays,
//! without any list to keep in order, and the bound holds whatever strangers ask for.
//! Pure: the time is an argument. Names of the served zones never get here with an answer of ours, only with what an
//! upstream server said about them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;

/// What an entry costs besides its key and its response.
const OVERHEAD: usize = 96;

/// Kept responses. `T` is the failure that a question without response is kept with.
#[derive(Debug)]
pub struct Cache<T> {
    young: Generation<T>,
    old: Generation<T>,
    /// Octets of one generation.
    limit: usize,
}

#[derive(Debug)]
struct Generation<T> {
    /// Randomly seeded: names in queries are chosen by strangers.
    entries: HashMap<Box<[u8]>, Entry<T>, RandomState>,
    octets: usize,
}

impl<T> Default for Generation<T> {
    fn default() -> Self {
        Self { entries: HashMap::default(), octets: 0 }
    }
}

/// A message, or why there is none.
pub type Outcome<T> = Result<Arc<[u8]>, T>;

#[derive(Debug, Clone)]
struct Entry<T> {
    outcome: Outcome<T>,
    stored: Instant,
    lifetime: Duration,
}

impl<T: Clone> Cache<T> {
    /// Room for `octets` in all.
    pub fn new(octets: usize) -> Self {
        Self { young: Generation::default(), old: Generation::default(), limit: octets / 2 }
    }

    /// What is kept for `key`, and how long it has been.
    pub fn get(&mut self, key: &[u8], now: Instant) -> Option<(Outcome<T>, Duration)> {
        if let Some(aged) = self.old.entries.remove_entry(key) {
            let (key, entry) = aged;
            self.old.octets -= entry.cost(&key);
            self.put(key, entry, now);
        }
        let entry = self.young.entries.get(key)?;
        let age = now.saturating_duration_since(entry.stored);
        (age < entry.lifetime).then(|| (entry.outcome.clone(), age))
    }

    /// Keeps a response, or the lack of one, for `lifetime`.
    pub fn insert(&mut self, key: Box<[u8]>, outcome: Outcome<T>, lifetime: Duration, now: Instant) {
        if let Some((key, entry)) = self.old.entries.remove_entry(&key) {
            self.old.octets -= entry.cost(&key);
        }
        self.put(key, Entry { outcome, stored: now, lifetime }, now);
    }

    fn put(&mut self, key: Box<[u8]>, entry: Entry<T>, now: Instant) {
        if now.saturating_duration_since(entry.stored) >= entry.lifetime {
            return;
        }
        let cost = entry.cost(&key);
        if self.young.octets + cost > self.limit {
            self.old = std::mem::take(&mut self.young);
        }
        let replaced = self.young.entries.insert(key.clone(), entry);
        self.young.octets += cost;
        self.young.octets -= replaced.map_or(0, |it| it.cost(&key));
    }

    /// Octets held.
    #[cfg(test)]
    fn octets(&self) -> usize {
        self.young.octets + self.old.octets
    }
}

impl<T> Entry<T> {
    fn cost(&self, key: &[u8]) -> usize {
        OVERHEAD + key.len() + self.outcome.as_ref().map_or(0, |it| it.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: usize) -> Box<[u8]> {
        number.to_be_bytes().into()
    }

    fn octets(len: usize) -> Arc<[u8]> {
        vec![0; len].into()
    }

    #[test]
    fn entries_end_with_their_lifetime() {
        let (mut cache, start) = (Cache::new(10_000), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        cache.insert(key(1), Ok(octets(5)), Duration::from_secs(10), start);
        cache.insert(key(2), Err(()), Duration::from_secs(1), start);
        assert_eq!(cache.get(&key(1), after(9)), Some((Ok(octets(5)), Duration::from_secs(9))));
        assert_eq!(cache.get(&key(2), start), Some((Err(()), Duration::ZERO)));
        assert_eq!(cache.get(&key(1), after(10)), None);
        assert_eq!(cache.get(&key(2), after(1)), None);
        assert_eq!(cache.get(&key(3), start), None);
        cache.insert(key(1), Ok(octets(6)), Duration::from_secs(10), after(10));
        assert_eq!(cache.get(&key(1), after(10)), Some((Ok(octets(6)), Duration::ZERO)));
    }

    #[test]
    fn the_bound_holds_and_what_is_in_use_stays() {
        let (mut cache, now) = (Cache::<()>::new(20_000), Instant::now());
        cache.insert(key(0), Ok(octets(100)), Duration::from_secs(10), now);
        for number in 1..10_000 {
            cache.insert(key(number), Ok(octets(number % 300)), Duration::from_secs(10), now);
            assert!(cache.octets() <= 20_000, "{} octets", cache.octets());
            assert!(cache.get(&key(0), now).is_some(), "lost at {number}");
        }
        assert!(cache.get(&key(1), now).is_none());
        let entries = cache.young.entries.iter().chain(&cache.old.entries);
        assert_eq!(entries.map(|(key, it)| it.cost(key)).sum::<usize>(), cache.octets());
    }

    #[test]
    fn a_replaced_entry_is_counted_once() {
        let (mut cache, now) = (Cache::<()>::new(20_000), Instant::now());
        for _ in 0..100 {
            cache.insert(key(1), Ok(octets(300)), Duration::from_secs(10), now);
        }
        assert_eq!(cache.octets(), OVERHEAD + 8 + 300);
    }
}
