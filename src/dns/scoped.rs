//! One kind that is watched namespace by namespace, told as if it were one watch.
//!
//! a watch of each namespace ──[`Merge::take`]──▶ [`Event`]s of the whole kind ──▶ `dns::cache`
//!
//! The first lists are told as one list once the last of them has ended, so that nothing is published in part. A later list
//! of one namespace is told as what it says of that namespace, all at once. Synchronous and without a clock.

use std::collections::{BTreeMap, BTreeSet};

use super::known::{Event, Object};
use crate::model::ObjectKey;

/// See the module.
pub struct Merge<T> {
    parts: Vec<Part<T>>,
    /// Whether the first lists of all parts have ended.
    whole: bool,
}

struct Part<T> {
    /// The list under way.
    listing: Vec<T>,
    /// Everything, until the whole is told.
    early: Option<BTreeMap<ObjectKey, T>>,
    /// What has been told since.
    told: BTreeSet<ObjectKey>,
}

impl<T: Object> Merge<T> {
    /// Of so many watches.
    pub fn new(parts: usize) -> Self {
        let part = || Part { listing: Vec::new(), early: None, told: BTreeSet::new() };
        Self { parts: (0..parts).map(|_| part()).collect(), whole: false }
    }

    /// Takes an event of one watch and returns what it means for the whole: events that belong together.
    pub fn take(&mut self, part: usize, event: Event<T>) -> Vec<Event<T>> {
        let whole = self.whole;
        let this = &mut self.parts[part];
        match event {
            Event::ListStart => {
                this.listing.clear();
                Vec::new()
            }
            Event::Listed(value) => {
                this.listing.push(value);
                Vec::new()
            }
            Event::ListEnd if whole => {
                let listed = std::mem::take(&mut this.listing);
                let keys: BTreeSet<_> = listed.iter().map(Object::key).collect();
                let gone: Vec<_> = this.told.difference(&keys).cloned().map(Event::Removed).collect();
                this.told = keys;
                // Gained before lost: an endpoint that moved from one object to another is never missing.
                listed.into_iter().map(Event::Applied).chain(gone).collect()
            }
            Event::ListEnd => {
                let listed = std::mem::take(&mut this.listing);
                this.early = Some(listed.into_iter().map(|it| (it.key(), it)).collect());
                self.tell_whole()
            }
            Event::Applied(value) if whole => {
                this.told.insert(value.key());
                vec![Event::Applied(value)]
            }
            Event::Applied(value) => {
                if let Some(early) = &mut this.early {
                    early.insert(value.key(), value);
                }
                Vec::new()
            }
            Event::Removed(key) if whole => {
                this.told.remove(&key);
                vec![Event::Removed(key)]
            }
            Event::Removed(key) => {
                if let Some(early) = &mut this.early {
                    early.remove(&key);
                }
                Vec::new()
            }
            Event::Compared(value) => vec![Event::Compared(value)],
        }
    }

    fn tell_whole(&mut self) -> Vec<Event<T>> {
        if self.parts.iter().any(|it| it.early.is_none()) {
            return Vec::new();
        }
        self.whole = true;
        let mut all = vec![Event::ListStart];
        for part in &mut self.parts {
            let early = part.early.take().unwrap_or_default();
            part.told = early.keys().cloned().collect();
            all.extend(early.into_values().map(Event::Listed));
        }
        all.push(Event::ListEnd);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Clone, PartialEq)]
    struct Thing(String, u32);

    impl Object for Thing {
        fn key(&self) -> ObjectKey {
            let (namespace, name) = self.0.split_once('/').expect("a key");
            ObjectKey::new(namespace, name)
        }
    }

    /// `[` and `]` begin and end a list, `a/x=1` in it lists, `+a/x=1` applies, `-a/x` removes.
    fn event(text: &str) -> Event<Thing> {
        let thing = |text: &str| {
            let (key, value) = text.split_once('=').expect("a thing");
            Thing(key.to_owned(), value.parse().expect("a number"))
        };
        match text.split_at(1) {
            ("[", _) => Event::ListStart,
            ("]", _) => Event::ListEnd,
            ("+", it) => Event::Applied(thing(it)),
            ("-", it) => Event::Removed(Thing(it.to_owned(), 0).key()),
            _ => Event::Listed(thing(text)),
        }
    }

    fn shown(event: &Event<Thing>) -> String {
        match event {
            Event::ListStart => "[".to_owned(),
            Event::ListEnd => "]".to_owned(),
            Event::Listed(it) => format!("{}={}", it.0, it.1),
            Event::Applied(it) => format!("+{}={}", it.0, it.1),
            Event::Removed(it) => format!("-{it}"),
            Event::Compared(_) => "?".to_owned(),
        }
    }

    #[test]
    fn parts_become_a_whole() {
        let mut merge = Merge::new(2);
        #[rustfmt::skip]
        let steps = [
            (0, "[", ""), (0, "a/x=1", ""), (0, "a/y=1", ""), (0, "]", ""),
            (0, "+a/z=1", ""), (0, "-a/y", ""), (0, "+a/x=2", ""),
            (1, "[", ""), (1, "b/x=1", ""), (1, "[", ""), (1, "b/y=1", ""),
            (1, "]", "[ a/x=2 a/z=1 b/y=1 ]"),
            (0, "+a/w=1", "+a/w=1"), (1, "-b/y", "-b/y"), (1, "+b/v=1", "+b/v=1"),
            (0, "[", ""), (0, "a/w=1", ""), (0, "a/n=1", ""),
            (1, "+b/v=2", "+b/v=2"),
            (0, "]", "+a/w=1 +a/n=1 -a/x -a/z"),
            (1, "[", ""), (1, "]", "-b/v"),
        ];
        for (at, (part, text, want)) in steps.into_iter().enumerate() {
            let got: Vec<_> = merge.take(part, event(text)).iter().map(shown).collect();
            assert_eq!(got.join(" "), want, "step {at}: {part} {text}");
        }
    }

    #[test]
    fn a_namespace_without_objects_counts_as_listed() {
        let mut merge = Merge::new(2);
        assert!(merge.take(0, event("[")).is_empty());
        assert!(merge.take(0, event("]")).is_empty());
        assert!(merge.take(1, event("[")).is_empty());
        assert_eq!(merge.take(1, event("]")).len(), 2, "an empty list of the whole");
    }
}
