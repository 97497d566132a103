//! Address to service, in address order: the data of the reverse zones.
//!
//! A sorted sequence cut into shared chunks, so that a copy shares every chunk it does not touch and a range (the names
//! below an empty non-terminal) is one search. Immutable once published; `dns::index` says what it promises.

use std::net::IpAddr;
use std::sync::Arc;

/// Longest chunk. A change copies one chunk and the list of chunks.
const MAX_CHUNK: usize = 256;

/// A service that may have `address`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hint {
    /// A clusterIP or the address of a ready endpoint.
    pub address: IpAddr,
    /// Service key.
    pub service: Arc<[u8]>,
}

/// All hints, sorted by address and service.
#[derive(Debug, Clone, Default)]
pub struct Reverse {
    /// None is empty; each is sorted and lies wholly before the next.
    chunks: Vec<Arc<Vec<Hint>>>,
}

impl Reverse {
    /// Builds from hints in any order.
    pub fn from_hints(mut hints: Vec<Hint>) -> Self {
        hints.sort_unstable();
        hints.dedup();
        // Half full, so that the first changes do not split every chunk.
        Self { chunks: hints.chunks(MAX_CHUNK / 2).map(|it| Arc::new(it.to_vec())).collect() }
    }

    /// Adds a hint; one that is there already stays.
    pub fn insert(&mut self, hint: Hint) {
        if self.chunks.is_empty() {
            self.chunks.push(Arc::default());
        }
        let at = self.chunk_of(&hint).min(self.chunks.len() - 1);
        let chunk = Arc::make_mut(&mut self.chunks[at]);
        if let Err(place) = chunk.binary_search(&hint) {
            chunk.insert(place, hint);
        }
        if chunk.len() > MAX_CHUNK {
            let tail = chunk.split_off(MAX_CHUNK / 2);
            self.chunks.insert(at + 1, Arc::new(tail));
        }
    }

    /// Removes a hint; one that is not there is no error.
    pub fn remove(&mut self, hint: &Hint) {
        let at = self.chunk_of(hint);
        let Some(place) = self.chunks.get(at).and_then(|it| it.binary_search(hint).ok()) else { return };
        let chunk = Arc::make_mut(&mut self.chunks[at]);
        chunk.remove(place);
        if chunk.is_empty() {
            self.chunks.remove(at);
        }
    }

    /// Hints of addresses from `first` to `last`, both included, in order.
    pub fn range(&self, first: IpAddr, last: IpAddr) -> impl Iterator<Item = &Hint> {
        let from = self.chunks.partition_point(|it| it.last().is_none_or(|it| it.address < first));
        let hints = self.chunks[from..].iter().enumerate().flat_map(move |(at, chunk)| {
            let skip = if at == 0 { chunk.partition_point(|it| it.address < first) } else { 0 };
            chunk[skip..].iter()
        });
        hints.take_while(move |it| it.address <= last)
    }

    /// The chunk whose range the hint falls into; past the end when it is greater than all.
    fn chunk_of(&self, hint: &Hint) -> usize {
        self.chunks.partition_point(|it| it.last().is_none_or(|it| it < hint))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;
    use std::net::Ipv4Addr;

    fn hint(number: u32) -> Hint {
        Hint { address: Ipv4Addr::from(number / 2).into(), service: [(number % 2) as u8].into() }
    }

    fn address(number: u32) -> IpAddr {
        Ipv4Addr::from(number).into()
    }

    proptest! {
        #[test]
        fn behaves_like_a_sorted_set(
            start in proptest::collection::vec(0u32..3000, 0..1500),
            edits in proptest::collection::vec((any::<bool>(), 0u32..3000), 0..900),
            (low, high) in (0u32..1600, 0u32..1600),
        ) {
            let mut want: BTreeSet<Hint> = start.iter().map(|it| hint(*it)).collect();
            let mut got = Reverse::from_hints(start.iter().map(|it| hint(*it)).collect());
            let before = got.clone();
            let old: Vec<Hint> = want.iter().cloned().collect();
            for (add, number) in edits {
                if add {
                    want.insert(hint(number));
                    got.insert(hint(number));
                } else {
                    want.remove(&hint(number));
                    got.remove(&hint(number));
                }
            }
            let all = |it: &Reverse| it.range(address(0), address(u32::MAX)).cloned().collect::<Vec<_>>();
            prop_assert_eq!(all(&got), want.iter().cloned().collect::<Vec<_>>());
            prop_assert_eq!(all(&before), old, "a copy keeps what it had");
            let part: Vec<_> = got.range(address(low), address(high)).cloned().collect();
            let within = |it: &&Hint| it.address >= address(low) && it.address <= address(high);
            prop_assert_eq!(part, want.iter().filter(within).cloned().collect::<Vec<_>>());
        }
    }
}
