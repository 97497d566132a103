//! The objects of one kind, as far as one watch has told.
//!
//! [`Event`] ──[`Known::apply`]──▶ [`Changed`] ──▶ `dns::cache`
//!
//! A list replaces what was known when it ends, never before. Its objects are compared as they arrive and only those that
//! differ are kept, so a list of what is known already needs no memory. A comparison with a second list, besides the
//! watch, works alike: what the watch has touched since that list began is up to date and is left alone, any other
//! difference was lost by the watch and is repaired.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::model::ObjectKey;

/// A watch event of narrowed objects.
#[derive(Debug)]
pub enum Event<T> {
    /// A full list begins; what is known stays until it ends.
    ListStart,
    /// An object of that list.
    Listed(T),
    /// The list is complete.
    ListEnd,
    /// An object was added or changed.
    Applied(T),
    /// An object is gone, or no longer means anything to DNS.
    Removed(ObjectKey),
    /// An object of the list of a comparison, see [`Known::compare_start`].
    Compared(T),
}

/// What the cache holds of one kind.
pub trait Object: PartialEq {
    /// Namespace and name.
    fn key(&self) -> ObjectKey;
}

/// One object that is not what it was.
#[derive(Debug)]
pub struct Changed<T> {
    /// `None` for a new object.
    pub old: Option<Arc<T>>,
    /// `None` for an object that is gone.
    pub new: Option<Arc<T>>,
}

/// See the module.
pub struct Known<T> {
    /// By `<namespace>/<name>`: one allocation a key.
    objects: HashMap<Box<str>, Held<T>>,
    listed_once: bool,
    /// Objects of the list under way that differ from what is known.
    listing: Vec<Arc<T>>,
    list_round: u16,
    comparing: Option<Comparing<T>>,
    compare_round: u16,
}

struct Held<T> {
    value: Arc<T>,
    /// Last list that had it.
    list_round: u16,
    /// Last comparison that it passed, or during which the watch told of it.
    compare_round: u16,
}

struct Comparing<T> {
    differing: Vec<Arc<T>>,
    removed: HashSet<Box<str>>,
}

impl<T> Default for Known<T> {
    fn default() -> Self {
        Self {
            objects: HashMap::new(),
            listed_once: false,
            listing: Vec::new(),
            list_round: 0,
            comparing: None,
            compare_round: 0,
        }
    }
}

fn text(key: &ObjectKey) -> Box<str> {
    key.to_string().into()
}

impl<T: Object> Known<T> {
    /// Whether a list has ended.
    pub fn is_listed(&self) -> bool {
        self.listed_once
    }

    /// Number of objects.
    pub fn count(&self) -> usize {
        self.objects.len()
    }

    /// The object of that key.
    pub fn get(&self, key: &ObjectKey) -> Option<&Arc<T>> {
        self.objects.get(&*text(key)).map(|it| &it.value)
    }

    /// Every object, in no order.
    pub fn values(&self) -> impl Iterator<Item = &Arc<T>> {
        self.objects.values().map(|it| &it.value)
    }

    /// Takes one event in and returns what it changed.
    pub fn apply(&mut self, event: Event<T>) -> Vec<Changed<T>> {
        match event {
            Event::ListStart => {
                self.list_round = self.list_round.wrapping_add(1);
                self.listing.clear();
                Vec::new()
            }
            Event::Listed(value) => {
                match self.objects.get_mut(&*text(&value.key())) {
                    Some(held) if *held.value == value => held.list_round = self.list_round,
                    _ => self.listing.push(Arc::new(value)),
                }
                Vec::new()
            }
            Event::ListEnd => {
                self.listed_once = true;
                // The list shows what a comparison under way looks for.
                self.comparing = None;
                let listed = std::mem::take(&mut self.listing);
                self.objects.reserve(if self.objects.is_empty() { listed.len() } else { 0 });
                let mut changes: Vec<_> = listed.into_iter().map(|it| self.put(it)).collect();
                let round = self.list_round;
                let gone = self.objects.extract_if(|_, held| held.list_round != round);
                changes.extend(gone.map(|(_, held)| Changed { old: Some(held.value), new: None }));
                changes
            }
            Event::Applied(value) => match self.objects.get_mut(&*text(&value.key())) {
                Some(held) if *held.value == value => {
                    held.compare_round = self.compare_round;
                    Vec::new()
                }
                _ => vec![self.put(Arc::new(value))],
            },
            Event::Removed(key) => {
                let key = text(&key);
                let old = self.objects.remove(&key);
                if let Some(comparing) = &mut self.comparing {
                    comparing.removed.insert(key);
                }
                old.into_iter().map(|held| Changed { old: Some(held.value), new: None }).collect()
            }
            Event::Compared(value) => {
                let Some(comparing) = &mut self.comparing else { return Vec::new() };
                match self.objects.get_mut(&*text(&value.key())) {
                    Some(held) if *held.value == value => held.compare_round = self.compare_round,
                    _ => comparing.differing.push(Arc::new(value)),
                }
                Vec::new()
            }
        }
    }

    fn put(&mut self, value: Arc<T>) -> Changed<T> {
        let held = Held {
            value: Arc::clone(&value),
            list_round: self.list_round,
            compare_round: self.compare_round,
        };
        let old = self.objects.insert(text(&value.key()), held).map(|it| it.value);
        Changed { old, new: Some(value) }
    }

    /// A second list begins, besides the watch: its objects come as [`Event::Compared`].
    pub fn compare_start(&mut self) {
        self.compare_round = self.compare_round.wrapping_add(1);
        self.comparing = Some(Comparing { differing: Vec::new(), removed: HashSet::new() });
    }

    /// How many differences are left after the second list that the watch has not explained yet.
    pub fn unexplained(&self) -> usize {
        let Some(comparing) = &self.comparing else { return 0 };
        let differing = comparing.differing.iter().filter(|it| self.is_unexplained(comparing, it));
        let mut keys: HashSet<Box<str>> = differing.map(|it| text(&it.key())).collect();
        let unlisted = self.objects.iter().filter(|(_, held)| held.compare_round != self.compare_round);
        keys.extend(unlisted.map(|(key, _)| key.clone()));
        keys.len()
    }

    /// Whether the watch has told nothing of the object since the comparison began.
    fn is_unexplained(&self, comparing: &Comparing<T>, value: &T) -> bool {
        let key = text(&value.key());
        match self.objects.get(&key) {
            Some(held) => held.compare_round != self.compare_round,
            None => !comparing.removed.contains(&key),
        }
    }

    /// Ends the comparison: takes over what the watch has not explained and returns it.
    pub fn compare_end(&mut self) -> Vec<Changed<T>> {
        let Some(mut comparing) = self.comparing.take() else { return Vec::new() };
        let differing = std::mem::take(&mut comparing.differing);
        let lost: Vec<_> = differing.into_iter().filter(|it| self.is_unexplained(&comparing, it)).collect();
        let mut changes: Vec<_> = lost.into_iter().map(|it| self.put(it)).collect();
        let round = self.compare_round;
        let gone = self.objects.extract_if(|_, held| held.compare_round != round);
        changes.extend(gone.map(|(_, held)| Changed { old: Some(held.value), new: None }));
        changes
    }

    /// Forgets the comparison: its list did not come to an end.
    pub fn compare_cancel(&mut self) {
        self.comparing = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Name and content.
    #[derive(Debug, PartialEq)]
    struct Thing(&'static str, u32);

    impl Object for Thing {
        fn key(&self) -> ObjectKey {
            ObjectKey::new("ns", self.0)
        }
    }

    /// `a1` is object `a` with content 1.
    fn thing(text: &'static str) -> Thing {
        Thing(&text[..1], text[1..].parse().unwrap())
    }

    /// `a1→a2 b1→- -→c1`, sorted.
    fn show(changes: Vec<Changed<Thing>>) -> String {
        let side =
            |it: Option<Arc<Thing>>| it.map_or_else(|| "-".to_owned(), |it| format!("{}{}", it.0, it.1));
        let mut all: Vec<_> =
            changes.into_iter().map(|it| format!("{}→{}", side(it.old), side(it.new))).collect();
        all.sort();
        all.join(" ")
    }

    fn list(known: &mut Known<Thing>, things: &[&'static str]) -> String {
        known.apply(Event::ListStart);
        for it in things {
            assert_eq!(show(known.apply(Event::Listed(thing(it)))), "");
        }
        show(known.apply(Event::ListEnd))
    }

    #[test]
    fn a_list_reports_differences_when_it_ends() {
        let mut known = Known::default();
        assert!(!known.is_listed());
        assert_eq!(list(&mut known, &["a1", "b1"]), "-→a1 -→b1");
        assert_eq!(list(&mut known, &["b1", "a1"]), "");
        assert_eq!(list(&mut known, &["a2", "c1"]), "-→c1 a1→a2 b1→-");
        assert_eq!(show(known.apply(Event::Applied(thing("c1")))), "", "equal content is no change");
        assert_eq!(show(known.apply(Event::Applied(thing("c2")))), "c1→c2");
        assert_eq!(show(known.apply(Event::Removed(ObjectKey::new("ns", "c")))), "c2→-");
        assert_eq!(show(known.apply(Event::Removed(ObjectKey::new("ns", "c")))), "");
    }

    #[test]
    fn a_list_that_breaks_off_counts_for_nothing() {
        let mut known = Known::default();
        list(&mut known, &["a1", "b1"]);
        known.apply(Event::ListStart);
        known.apply(Event::Listed(thing("a2")));
        assert_eq!(list(&mut known, &["a1", "b1"]), "");
    }

    #[test]
    fn a_comparison_repairs_what_the_watch_did_not_tell() {
        let mut known = Known::default();
        list(&mut known, &["a1", "b1", "c1", "d1", "e1"]);
        known.compare_start();
        for it in ["a1", "b2", "d2", "f1", "g1"] {
            known.apply(Event::Compared(thing(it)));
        }
        assert_eq!(known.unexplained(), 6, "b and d differ, c and e are gone, f and g are new");
        // The watch catches up with d and e, and knows that g was deleted after the list.
        known.apply(Event::Applied(thing("d3")));
        known.apply(Event::Removed(ObjectKey::new("ns", "e")));
        known.apply(Event::Removed(ObjectKey::new("ns", "g")));
        known.apply(Event::Applied(thing("h1")));
        assert_eq!(known.unexplained(), 3);
        assert_eq!(show(known.compare_end()), "-→f1 b1→b2 c1→-");
        assert_eq!(show(known.compare_end()), "", "only once");
        known.compare_start();
        for it in ["a1", "b2", "d3", "f1", "h1"] {
            known.apply(Event::Compared(thing(it)));
        }
        assert_eq!((known.unexplained(), known.count()), (0, 5));
        assert_eq!(show(known.compare_end()), "");
    }

    #[test]
    fn a_relist_during_a_comparison_ends_it() {
        let mut known = Known::default();
        list(&mut known, &["a1"]);
        known.compare_start();
        known.apply(Event::Compared(thing("a2")));
        assert_eq!(list(&mut known, &["a3"]), "a1→a3");
        assert_eq!(show(known.compare_end()), "");
    }
}
