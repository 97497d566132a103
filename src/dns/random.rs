//! The order of records in a reply: uniform, cheap, and not for secrets.
//!
//! SplitMix64 (Steele, Lea, Flood 2014), one state for each thread or reply; bounded numbers by multiplication (Lemire
//! 2019), unbiased, several of them from one draw (Brackett-Rozinsky, Lemire 2024).

/// How many orders so many items have.
const ORDERS: [u64; 17] = {
    let mut orders = [1; 17];
    let mut items = 1;
    while items < orders.len() {
        orders[items] = orders[items - 1] * items as u64;
        items += 1;
    }
    orders
};

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
    #[inline]
    pub fn permute(&mut self, len: usize, mut swap: impl FnMut(usize, usize)) {
        if let Some(orders) = ORDERS.get(len) {
            self.permute_few(len, *orders, swap);
        } else {
            for last in (1..len).rev() {
                swap(last, self.below(last as u32 + 1) as usize);
            }
        }
    }

    /// The same with one draw for all swaps: the whole part of each product chooses, its fraction goes on.
    #[inline]
    fn permute_few(&mut self, len: usize, orders: u64, mut swap: impl FnMut(usize, usize)) {
        loop {
            let mut rest = self.next();
            for last in (1..len).rev() {
                let wide = u128::from(rest) * (last as u128 + 1);
                swap(last, (wide >> 64) as usize);
                rest = wide as u64;
            }
            // As in `below`. To permute once more makes any order as likely as any other again.
            if rest >= orders || rest >= orders.wrapping_neg() % orders {
                return;
            }
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
    fn every_item_reaches_every_place_of_a_longer_list() {
        for len in [10usize, 16, 17, 30] {
            let mut random = Random::new(len as u64);
            let rounds = 400 * len;
            let mut counts = vec![vec![0u32; len]; len];
            for _ in 0..rounds {
                let mut items: Vec<usize> = (0..len).collect();
                random.shuffle(&mut items);
                for (place, item) in items.into_iter().enumerate() {
                    counts[item][place] += 1;
                }
            }
            // 400 expected; five standard deviations and more.
            assert!(counts.iter().flatten().all(|it| (290..=510).contains(it)), "{len}: {counts:?}");
        }
    }

    #[test]
    fn numbers_stay_below_their_bound() {
        let mut random = Random::new(1);
        for bound in [1, 2, 3, 1000, u32::MAX] {
            assert!((0..1000).all(|_| random.below(bound) < bound));
        }
    }
}
