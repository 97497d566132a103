//! Pod names that a StatefulSet will bring: negative answers for them are kept for a short time only.
//!
//! `dns::cache` ──[`Ordinals`] by service──▶ [`Expected`] ──[`Expected::contains`]──▶ `dns::lookup`
//!
//! Says nothing about existence: a name in the range of a set that has no ready endpoint is still NXDOMAIN.

use std::sync::Arc;

use super::sharded::Sharded;

/// The pods of one StatefulSet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ordinals {
    /// Name of the set, in lower case.
    pub set: Box<str>,
    /// First ordinal.
    pub start: u32,
    /// Number of ordinals.
    pub replicas: u32,
}

impl Ordinals {
    /// Whether `label` is `<set>-<ordinal>` with an ordinal of the range, as the controller writes it.
    fn contains(&self, label: &[u8]) -> bool {
        let ordinal = label.strip_prefix(self.set.as_bytes()).and_then(|it| it.strip_prefix(b"-"));
        let Some(ordinal) = ordinal.and_then(number) else { return false };
        ordinal.checked_sub(self.start).is_some_and(|it| it < self.replicas)
    }
}

/// A decimal number without sign and leading zeros.
fn number(digits: &[u8]) -> Option<u32> {
    let canonical =
        digits.first().is_some_and(u8::is_ascii_digit) && (digits.len() == 1 || digits[0] != b'0');
    if canonical { std::str::from_utf8(digits).ok()?.parse().ok() } else { None }
}

/// A service, by its key (see [`super::name::service_key`]), and the sets it governs.
pub type Governed = (Box<[u8]>, Arc<[Ordinals]>);

/// The StatefulSets by their governing service.
#[derive(Default)]
pub struct Expected {
    sets: Sharded<Arc<[Ordinals]>>,
}

impl Expected {
    /// Whether `label` names a pod of a set that `service` governs.
    pub fn contains(&self, service: &[u8], label: &[u8]) -> bool {
        self.sets.get(service).is_some_and(|sets| sets.iter().any(|it| it.contains(label)))
    }

    /// Replaces the sets of each service.
    pub fn update(&self, changes: Vec<Governed>) {
        self.sets.update(changes, |_, sets| (!sets.is_empty()).then_some(sets));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinals() {
        let set = Ordinals { set: "db-1".into(), start: 3, replicas: 9 };
        #[rustfmt::skip]
        let cases = [
            ("db-1-3", true), ("db-1-11", true), ("db-1-2", false), ("db-1-12", false), ("db-1-03", false),
            ("db-1-+3", false), ("db-1-", false), ("db-1", false), ("db-1-3x", false), ("db-2-3", false),
            ("db-1-99999999999", false), ("3", false),
        ];
        for (label, want) in cases {
            assert_eq!(set.contains(label.as_bytes()), want, "{label}");
        }
        let none = Ordinals { replicas: 0, ..set.clone() };
        assert!(!none.contains(b"db-1-3"));
        let last = Ordinals { start: u32::MAX, ..set };
        assert!(last.contains(b"db-1-4294967295"));
    }
}
