//! The EndpointSlice controller as it runs, against the embedded API server behind a gateway that fails on purpose, in one
//! thread on a clock that stands still. Every history is judged from the log of the API server: what was ever in the union of
//! the slices (INV-12), what is there in the end, and what was written.
//!
//! The controller audits itself after every sync: its incremental plan against one from scratch.

mod faults;
mod judge;
mod random;
mod scenarios;
mod world;

/// A small generator (xorshift*): the same seed gives the same history.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// 0 to `below` - 1.
    pub fn below(&mut self, below: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % below
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    pub fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }
}

/// Histories of a family with `ORDINAL_PROOF=full`.
const ALL: u64 = 1000;

/// How many histories a family has: `ORDINAL_HISTORIES`, all, or a sample.
pub fn histories(sample: u64) -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|it| it.parse::<u64>().ok());
    match (number("ORDINAL_SEED"), number("ORDINAL_HISTORIES")) {
        (Some(seed), _) => seed..seed + 1,
        (None, Some(count)) => 0..count,
        (None, None) if std::env::var("ORDINAL_PROOF").as_deref() == Ok("full") => 0..ALL,
        (None, None) => 0..sample,
    }
}
