//! The order of records in a reply: uniform, cheap, and not for secrets.
//!
//! SplitMix64 (Steele, Lea, Flood 2014), one state for each thread or reply; bounded numbers by multiplication (Lemire
//! 2019), unbiased.

/// A generator; equal seeds give equal sequences.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// A sequence of its own for each seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// A number below `bound`, each equally likely. `bound` is not 0.
    pub fn below(&mut self, bound: u32) -> u32 {
        loop {
            let wide = u64::from((self.next() >> 32) as u32) * u64::from(bound);
            let low = wide as u32;
            // The part of the range that does not divide evenly is redrawn; most draws are clear of it.
            if low >= bound || low >= bound.wrapping_neg() % bound {
                return (wide >> 32) as u32;
            }
        }
    }

    /// Fisher-Yates: every order equally likely.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        self.permute(items.len(), |a, b| items.swap(a, b));
    }

    /// Fisher-Yates over anything that can swap two places.
    pub fn permute(&mut self, len: usize, mut swap: impl FnMut(usize, usize)) {
        for last in (1..len).rev() {
            swap(last, self.below(last as u32 + 1) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_order_is_equally_likely() {
        let mut random = Random::new(7);
        let mut counts = std::collections::BTreeMap::new();
        for _ in 0..24_000 {
            let mut items = [0u8, 1, 2, 3];
            random.shuffle(&mut items);
            *counts.entry(items).or_insert(0u32) += 1;
        }
        assert_eq!(counts.len(), 24);
        // 1000 expected; five standard deviations.
        assert!(counts.values().all(|it| (845..=1155).contains(it)), "{counts:?}");
    }

    #[test]
    fn numbers_stay_below_their_bound() {
        let mut random = Random::new(1);
        for bound in [1, 2, 3, 1000, u32::MAX] {
            assert!((0..1000).all(|_| random.below(bound) < bound));
        }
    }
}
