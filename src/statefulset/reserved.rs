//! Ordinals a set leaves out: `1,3-5`.

use std::ops::RangeInclusive;

/// Most ordinals that may be left out, so that the highest one stays far below the limit of an int32.
const MOST: u32 = 1_000_000;

/// Ordinals to leave out; ranges ascend and do not touch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reserved(Vec<RangeInclusive<u32>>);

impl Reserved {
    /// Reads a list of ordinals and ranges.
    ///
    /// # Errors
    /// What is wrong, in words for an event.
    pub fn parse(text: &str) -> Result<Self, String> {
        let ordinal = |it: &str| {
            let it = it.trim();
            let digits = it.bytes().all(|it| it.is_ascii_digit());
            let number = it.parse::<u32>().ok().filter(|it| digits && *it <= i32::MAX.unsigned_abs());
            number.ok_or_else(|| "write it like 1,3-5".to_owned())
        };
        let range = |it: &str| match it.split_once('-') {
            Some((first, last)) => Ok(ordinal(first)?..=ordinal(last)?),
            None => ordinal(it).map(|it| it..=it),
        };
        let mut ranges = text.split(',').map(range).collect::<Result<Vec<_>, String>>()?;
        if let Some(it) = ranges.iter().find(|it| it.is_empty()) {
            return Err(format!("{}-{} goes backwards", it.start(), it.end()));
        }
        ranges.sort_unstable_by_key(|it| *it.start());
        let mut merged: Vec<RangeInclusive<u32>> = Vec::new();
        for it in ranges {
            match merged.last_mut() {
                Some(last) if *it.start() <= last.end().saturating_add(1) => {
                    *last = *last.start()..=*last.end().max(it.end());
                }
                _ => merged.push(it),
            }
        }
        let count: u64 = merged.iter().map(|it| u64::from(it.end() - it.start()) + 1).sum();
        if count > u64::from(MOST) {
            return Err(format!("at most {MOST} ordinals can be reserved"));
        }
        Ok(Self(merged))
    }

    /// Whether `ordinal` is left out.
    pub fn contains(&self, ordinal: u32) -> bool {
        self.0.iter().any(|it| it.contains(&ordinal))
    }

    /// The ordinal from `start` on that has `count` others below it, of those not left out.
    pub fn nth(&self, start: u32, count: u32) -> u32 {
        let mut at = start.saturating_add(count);
        for it in &self.0 {
            if *it.end() < start {
                continue;
            }
            let first = (*it.start()).max(start);
            if first > at {
                break;
            }
            at = at.saturating_add(it.end() - first + 1);
        }
        at
    }

    /// The lowest `count` ordinals from `start` on that are not left out, ascending.
    pub fn ordinals(&self, start: u32, count: u32) -> impl Iterator<Item = u32> {
        let free = (start..=u32::MAX).filter(|it| !self.contains(*it));
        free.take(usize::try_from(count).unwrap_or(usize::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists() {
        let cases: [(&str, &[u32]); 6] = [
            ("1,3-5", &[0, 2, 6, 7]),
            ("3-5, 1", &[0, 2, 6, 7]),
            ("0", &[1, 2, 3, 4]),
            ("0-1,1-2,3", &[4, 5, 6, 7]),
            ("9", &[0, 1, 2, 3]),
            ("2-2", &[0, 1, 3, 4]),
        ];
        for (text, want) in cases {
            let it = Reserved::parse(text).unwrap();
            assert_eq!(it.ordinals(0, 4).collect::<Vec<_>>(), want, "{text}");
            for (count, want) in (0..).zip(want) {
                assert_eq!(it.nth(0, count), *want, "{text}: {count}");
            }
        }
        let it = Reserved::parse("1,3-5").unwrap();
        assert_eq!(it.ordinals(4, 2).collect::<Vec<_>>(), [6, 7]);
        assert_eq!((it.nth(4, 0), it.nth(2, 1), it.nth(6, 3)), (6, 6, 9));
        for text in ["", ",", "1,", "a", "-1", "1-", "5-3", "1-2-3", "4294967296", "0-2147483647", "+1"] {
            assert!(Reserved::parse(text).is_err(), "{text:?}");
        }
    }
}
