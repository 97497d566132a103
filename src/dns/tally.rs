//! Counts of one thread that answers queries, merged when they are read.
//!
//! `dns::udp`, `dns::tcp` ──[`Tally`]──▶ [`Counts`] ──▶ `dns::metrics`
//!
//! Each writer has its own counts, so counting is an addition in memory nobody else writes. Labels are closed sets:
//! nothing a client sends becomes one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::lookup::RrType;
use super::reply::Rcode;

/// Record types with a label of their own; the last place is every other one.
pub const TYPES: [(&str, RrType); 12] = [
    ("A", RrType::A),
    ("AAAA", RrType::AAAA),
    ("SRV", RrType::SRV),
    ("PTR", RrType::PTR),
    ("SOA", RrType::SOA),
    ("NS", RrType::NS),
    ("TXT", RrType::TXT),
    ("CNAME", RrType::CNAME),
    ("ANY", RrType::ANY),
    ("AXFR", RrType::AXFR),
    ("IXFR", RrType::IXFR),
    ("HTTPS", RrType(65)),
];
/// Response codes.
pub const RCODES: [(&str, Rcode); 9] = [
    ("NOERROR", Rcode::NoError),
    ("FORMERR", Rcode::FormErr),
    ("SERVFAIL", Rcode::ServFail),
    ("NXDOMAIN", Rcode::NxDomain),
    ("NOTIMP", Rcode::NotImp),
    ("REFUSED", Rcode::Refused),
    ("NOTAUTH", Rcode::NotAuth),
    ("BADVERS", Rcode::BadVers),
    ("BADCOOKIE", Rcode::BadCookie),
];
/// Upper bounds of the duration histogram in nanoseconds: 1 µs to 262 ms by four.
pub const DURATIONS: [u64; 10] = {
    let mut bounds = [1_000; 10];
    let mut at = 1;
    while at < bounds.len() {
        bounds[at] = bounds[at - 1] * 4;
        at += 1;
    }
    bounds
};
/// Upper bounds of the size histogram in octets.
pub const SIZES: [u64; 8] = [64, 128, 256, 512, 1232, 4096, 16_384, 65_535];

const TYPE_PLACES: usize = TYPES.len() + 1;

/// What was answered.
#[derive(Debug, Clone, Copy)]
pub struct Answered {
    /// Place of the zone, see `Zones::labels`.
    pub zone: usize,
    /// The type asked for, if the question could be read.
    pub rr_type: Option<RrType>,
    /// Response code.
    pub rcode: Rcode,
    /// Octets of the reply.
    pub size: usize,
}

/// The counts of one writer.
#[derive(Debug)]
pub struct Counts {
    /// By zone, type and response code.
    responses: Box<[AtomicU64]>,
    durations: Histogram<{ DURATIONS.len() + 1 }>,
    sizes: Histogram<{ SIZES.len() + 1 }>,
    dropped: AtomicU64,
}

/// Counts by bucket, the last without bound, and the sum of what was observed.
#[derive(Debug)]
pub struct Histogram<const N: usize> {
    buckets: [AtomicU64; N],
    sum: AtomicU64,
}

impl<const N: usize> Histogram<N> {
    fn new() -> Self {
        Self { buckets: std::array::from_fn(|_| AtomicU64::new(0)), sum: AtomicU64::new(0) }
    }

    fn observe(&self, bounds: &[u64], value: u64, times: u64) {
        let at = bounds.partition_point(|it| *it < value);
        add(&self.buckets[at], times);
        add(&self.sum, value * times);
    }

    /// Adds the buckets and returns the sum.
    pub fn merge(&self, into: &mut [u64]) -> u64 {
        for (total, bucket) in into.iter_mut().zip(&self.buckets) {
            *total += bucket.load(Ordering::Relaxed);
        }
        self.sum.load(Ordering::Relaxed)
    }
}

/// Only the one [`Tally`] of these counts writes, so no addition is lost.
fn add(count: &AtomicU64, amount: u64) {
    count.store(count.load(Ordering::Relaxed) + amount, Ordering::Relaxed);
}

impl Counts {
    fn new(zones: usize) -> Self {
        let places = zones * TYPE_PLACES * RCODES.len();
        Self {
            responses: (0..places).map(|_| AtomicU64::new(0)).collect(),
            durations: Histogram::new(),
            sizes: Histogram::new(),
            dropped: AtomicU64::new(0),
        }
    }

    /// Responses with (place of the zone, type label, response code label); zeros left out.
    pub fn responses(&self) -> impl Iterator<Item = (usize, &'static str, &'static str, u64)> {
        self.responses.iter().enumerate().filter_map(|(place, count)| {
            let count = Some(count.load(Ordering::Relaxed)).filter(|it| *it > 0)?;
            let (rest, rcode) = (place / RCODES.len(), place % RCODES.len());
            let rr_type = TYPES.get(rest % TYPE_PLACES).map_or("other", |(label, _)| label);
            Some((rest / TYPE_PLACES, rr_type, RCODES[rcode].0, count))
        })
    }

    /// Nanoseconds from a query received to its reply composed.
    pub fn durations(&self) -> &Histogram<{ DURATIONS.len() + 1 }> {
        &self.durations
    }

    /// Octets of replies.
    pub fn sizes(&self) -> &Histogram<{ SIZES.len() + 1 }> {
        &self.sizes
    }

    /// Packets that got no reply because they were none.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// The one writer of some [`Counts`].
#[derive(Debug)]
pub struct Tally(Arc<Counts>);

impl Tally {
    /// New counts for `zones` zone labels, and their writer.
    pub fn new(zones: usize) -> (Self, Arc<Counts>) {
        let counts = Arc::new(Counts::new(zones));
        (Self(counts.clone()), counts)
    }

    /// Counts a reply.
    #[inline(always)]
    pub fn answered(&mut self, what: &Answered) {
        let Counts { responses, sizes, .. } = &*self.0;
        let place =
            (what.zone * TYPE_PLACES + type_place(what.rr_type)) * RCODES.len() + rcode_place(what.rcode);
        if let Some(count) = responses.get(place) {
            add(count, 1);
        }
        // From below: most replies are small.
        let size = what.size as u64;
        let at = SIZES.iter().position(|it| size <= *it).unwrap_or(SIZES.len());
        add(&sizes.buckets[at], 1);
        add(&sizes.sum, size);
    }

    /// Counts the time of queries that were answered together.
    pub fn took(&mut self, time: Duration, queries: u64) {
        self.0.durations.observe(&DURATIONS, u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), queries);
    }

    /// Counts a packet that gets no reply.
    pub fn dropped(&mut self) {
        add(&self.0.dropped, 1);
    }
}

#[inline]
fn type_place(rr_type: Option<RrType>) -> usize {
    rr_type.and_then(|it| PLACES.get(usize::from(it.0))).map_or(TYPES.len(), |it| usize::from(*it))
}

/// The place in [`TYPES`] of each type number below its length.
static PLACES: [u8; 256] = {
    let mut places = [TYPES.len() as u8; 256];
    let mut at = 0;
    while at < TYPES.len() {
        places[TYPES[at].1.0 as usize] = at as u8;
        at += 1;
    }
    places
};

#[inline]
fn rcode_place(rcode: Rcode) -> usize {
    RCODE_PLACES[rcode as usize].into()
}

/// The place in [`RCODES`] of each response code.
const RCODE_PLACES: [u8; 24] = {
    let mut places = [0; 24];
    let mut at = 0;
    while at < RCODES.len() {
        places[RCODES[at].1 as usize] = at as u8;
        at += 1;
    }
    places
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_comes_back_under_its_labels() {
        for (place, (_, rr_type)) in TYPES.iter().enumerate() {
            assert_eq!(type_place(Some(*rr_type)), place);
        }
        for (place, (_, rcode)) in RCODES.iter().enumerate() {
            assert_eq!(rcode_place(*rcode), place);
        }
        let (mut tally, counts) = Tally::new(2);
        let answered = |zone, rr_type, rcode| Answered { zone, rr_type, rcode, size: 100 };
        tally.answered(&answered(0, Some(RrType::A), Rcode::NoError));
        tally.answered(&answered(1, Some(RrType(99)), Rcode::NxDomain));
        tally.answered(&answered(1, None, Rcode::FormErr));
        tally.answered(&answered(1, None, Rcode::FormErr));
        let all: Vec<_> = counts.responses().collect();
        assert_eq!(all, [(0, "A", "NOERROR", 1), (1, "other", "FORMERR", 2), (1, "other", "NXDOMAIN", 1)]);
        let mut sizes = [0; SIZES.len() + 1];
        assert_eq!(counts.sizes().merge(&mut sizes), 400);
        assert_eq!(sizes[1], 4, "65 to 128 octets");
        tally.took(Duration::from_micros(3), 32);
        let mut durations = [0; DURATIONS.len() + 1];
        assert_eq!(counts.durations().merge(&mut durations), 96_000);
        assert_eq!(durations[1], 32, "above 1 µs, up to 4 µs");
    }
}
