//! Endpoint names of a service with their addresses, packed.
//!
//! `dns::records` ──[`Names::new`]──▶ [`Names`] ──held by `dns::entry`──▶ [`EndpointRef`] ──▶ `dns::lookup`
//!
//! Names are sorted by label and their addresses follow in the same order, so that the usual name of one address needs
//! nothing beyond its label and the address: what differs between names (ports, origin, several addresses) is stored only
//! if it differs.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::ports::PortList;

/// Up to so many addresses are searched one by one; more have an order by address.
const MAX_SCAN: usize = 32;

/// The distinct addresses of names that share some, sorted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Distinct {
    pub v4: Box<[Ipv4Addr]>,
    pub v6: Box<[Ipv6Addr]>,
}

/// Where a name came from, the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Origin {
    /// `hostname` of an endpoint.
    #[default]
    Hostname,
    /// The name of the target pod.
    Pod,
    /// The dashed address.
    Address,
}

/// One published endpoint name of a service.
#[derive(Debug, Clone, Copy)]
pub struct EndpointRef<'a> {
    port_lists: &'a [PortList],
    names: &'a Names,
    at: usize,
}

/// Consecutive endpoint names of a service.
#[derive(Debug, Clone, Copy)]
pub struct Endpoints<'a> {
    port_lists: &'a [PortList],
    names: &'a Names,
    first: usize,
    len: usize,
}

impl<'a> Endpoints<'a> {
    /// All of `names`. `port_lists`: those of their service.
    #[inline]
    pub(super) fn all(names: &'a Names, port_lists: &'a [PortList]) -> Self {
        Self { port_lists, names, first: 0, len: names.len() }
    }

    /// How many there are.
    #[inline]
    pub fn len(self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.len == 0
    }

    /// One of them. `at` is below [`Endpoints::len`].
    #[inline]
    pub fn at(self, at: usize) -> EndpointRef<'a> {
        EndpointRef { port_lists: self.port_lists, names: self.names, at: self.first + at }
    }

    /// What all of them have, if they have the same ports and the same number of addresses, one of a family at most.
    #[inline]
    pub fn in_common(self) -> Option<Common<'a>> {
        let PerName::Same(ports) = &self.names.ports else { return None };
        let (v4, v6) = (self.names.v4.one_each()?, self.names.v6.one_each()?);
        let own = self.first..self.first + self.len;
        let common = Common {
            ports: self.port_lists.get(usize::from(*ports))?,
            v4: if v4.is_empty() { &[] } else { v4.get(own.clone())? },
            v6: if v6.is_empty() { &[] } else { v6.get(own)? },
        };
        (!common.v4.is_empty() || !common.v6.is_empty()).then_some(common)
    }
}

/// Endpoint names that differ in nothing but their label and addresses.
#[derive(Debug, Clone, Copy)]
pub struct Common<'a> {
    /// The ports of each.
    pub ports: &'a PortList,
    /// The IPv4 address of each; none if they have none.
    pub v4: &'a [Ipv4Addr],
    /// The same for IPv6.
    pub v6: &'a [Ipv6Addr],
}

impl<'a> EndpointRef<'a> {
    /// This name alone.
    #[inline]
    pub fn alone(self) -> Endpoints<'a> {
        Endpoints { port_lists: self.port_lists, names: self.names, first: self.at, len: 1 }
    }

    /// The label, without its length octet.
    #[inline]
    pub fn label(self) -> &'a [u8] {
        self.names.label(self.at)
    }

    /// IPv4 addresses, sorted.
    #[inline]
    pub fn v4(self) -> &'a [Ipv4Addr] {
        self.names.v4.of(self.at)
    }

    /// IPv6 addresses, sorted.
    #[inline]
    pub fn v6(self) -> &'a [Ipv6Addr] {
        self.names.v6.of(self.at)
    }

    /// How many addresses the name has.
    pub fn address_count(self) -> usize {
        self.v4().len() + self.v6().len()
    }

    /// Ports of every slice that the name is ready in.
    #[inline]
    pub fn ports(self) -> &'a PortList {
        &self.port_lists[usize::from(self.names.ports.of(self.at))]
    }

    /// Where the name came from.
    pub fn origin(self) -> Origin {
        self.names.origins.of(self.at)
    }
}

/// A set of endpoint names with their addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Names {
    /// How many octets all labels begin with.
    shared: u8,
    /// Of each label, the octets behind the shared ones as a number (see [`rank`]): labels such as `db-17` differ there
    /// and nowhere else. Ascending.
    ranks: Box<[u32]>,
    /// The labels, ascending, without anything between them.
    text: Box<[u8]>,
    /// Where each label ends in `text`.
    ends: Ends,
    v4: Addresses<Ipv4Addr>,
    v6: Addresses<Ipv6Addr>,
    ports: PerName<u16>,
    origins: PerName<Origin>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Ends {
    Short(Box<[u16]>),
    Long(Box<[u32]>),
}

/// One name on its way into [`Names`].
pub(super) struct NewName<'a> {
    pub label: &'a [u8],
    /// Where its addresses start.
    pub v4: usize,
    pub v6: usize,
    pub ports: u16,
    pub origin: Origin,
}

impl Default for Names {
    fn default() -> Self {
        Self::new(&[], Vec::new(), Vec::new())
    }
}

impl Names {
    /// `all`: ascending by label. The addresses of a name end where those of the next one start; they ascend.
    pub fn new(all: &[NewName<'_>], v4: Vec<Ipv4Addr>, v6: Vec<Ipv6Addr>) -> Self {
        let shared = match all {
            [first, .., last] => common_prefix(first.label, last.label),
            _ => 0,
        };
        let mut text = Vec::with_capacity(all.iter().map(|it| it.label.len()).sum());
        let mut ends: Vec<u32> = Vec::with_capacity(all.len());
        for name in all {
            text.extend_from_slice(name.label);
            ends.push(text.len() as u32);
        }
        let ends = if u16::try_from(text.len()).is_ok() {
            Ends::Short(ends.into_iter().map(|it| it as u16).collect())
        } else {
            Ends::Long(ends.into())
        };
        Self {
            shared: shared as u8,
            ranks: all.iter().map(|it| rank(&it.label[shared..])).collect(),
            text: text.into(),
            ends,
            v4: Addresses::new(v4, all.iter().map(|it| it.v4)),
            v6: Addresses::new(v6, all.iter().map(|it| it.v6)),
            ports: PerName::new(all.iter().map(|it| it.ports)),
            origins: PerName::new(all.iter().map(|it| it.origin)),
        }
    }

    #[inline]
    pub fn len(&self) -> usize {
        self.ranks.len()
    }

    /// The IPv4 addresses, in the order of the names.
    #[inline]
    pub fn v4(&self) -> &[Ipv4Addr] {
        &self.v4.list
    }

    /// The IPv6 addresses, in the order of the names.
    #[inline]
    pub fn v6(&self) -> &[Ipv6Addr] {
        &self.v6.list
    }

    /// The places of the names that have an address, ascending.
    pub fn with_address(&self, address: IpAddr) -> impl Iterator<Item = usize> {
        let (v4, v6) = match address {
            IpAddr::V4(it) => (Some(self.v4.names_with(it)), None),
            IpAddr::V6(it) => (None, Some(self.v6.names_with(it))),
        };
        v4.into_iter().flatten().chain(v6.into_iter().flatten())
    }

    #[inline(always)]
    fn label(&self, at: usize) -> &[u8] {
        // Before the first one lies nothing.
        let before = at.wrapping_sub(1);
        let (start, end) = match &self.ends {
            Ends::Short(ends) => (ends.get(before).map_or(0, |it| usize::from(*it)), usize::from(ends[at])),
            Ends::Long(ends) => (ends.get(before).map_or(0, |it| *it as usize), ends[at] as usize),
        };
        &self.text[start..end]
    }

    /// The place of a label. One comparison of text, as a rule, at the end of a search by rank.
    #[inline(always)]
    pub fn find(&self, label: &[u8]) -> Option<usize> {
        let wanted = rank(label.get(usize::from(self.shared)..)?);
        let (mut at, mut size) = (0, self.ranks.len());
        while size > 1 {
            let half = size / 2;
            // A branch would be mispredicted half of the time.
            at = std::hint::select_unpredictable(self.ranks[at + half] <= wanted, at + half, at);
            size -= half;
        }
        if *self.ranks.get(at)? != wanted {
            return None;
        }
        if self.label(at) == label {
            return Some(at);
        }
        self.find_among_equals(at, label)
    }

    /// Searches the labels up to `last` that have the same rank as this one.
    #[cold]
    fn find_among_equals(&self, last: usize, label: &[u8]) -> Option<usize> {
        let mut low = self.ranks.partition_point(|it| *it < self.ranks[last]);
        let mut high = last;
        while low < high {
            let middle = low.midpoint(high);
            match self.label(middle).cmp(label) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return Some(middle),
            }
        }
        None
    }
}

pub(super) fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// The first four octets as a number that compares like them; missing ones are zero.
#[inline(always)]
pub(super) fn rank(octets: &[u8]) -> u32 {
    match *octets {
        [] => 0,
        [a] => u32::from_be_bytes([a, 0, 0, 0]),
        [a, b] => u32::from_be_bytes([a, b, 0, 0]),
        [a, b, c] => u32::from_be_bytes([a, b, c, 0]),
        [a, b, c, d, ..] => u32::from_be_bytes([a, b, c, d]),
    }
}

/// A value per name, stored once if all names have the same one.
#[derive(Debug, Clone, PartialEq, Eq)]
enum PerName<T> {
    Same(T),
    Each(Box<[T]>),
}

impl<T: Copy + PartialEq + Default> PerName<T> {
    fn new(values: impl Iterator<Item = T> + Clone) -> Self {
        let first = values.clone().next().unwrap_or_default();
        if values.clone().all(|it| it == first) { Self::Same(first) } else { Self::Each(values.collect()) }
    }
}

impl<T: Copy> PerName<T> {
    #[inline]
    fn of(&self, at: usize) -> T {
        match self {
            Self::Same(value) => *value,
            Self::Each(values) => values[at],
        }
    }
}

/// The addresses of one family, in the order of the names.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Addresses<T> {
    list: Box<[T]>,
    index: Option<Box<AddressIndex>>,
}

/// What a list of addresses needs beyond itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct AddressIndex {
    /// Where the addresses of each name start, and where the last ones end. Empty: every name has one.
    starts: Box<[u32]>,
    /// Positions in the list by (address, position). Empty: it is short, or ascending itself.
    order: Box<[u32]>,
}

/// An address that lists of its kind can be sorted by.
trait Address: Copy + Ord {
    /// The positions in `list`, by (address, position).
    fn order(list: &[Self]) -> Vec<u32>;
}

impl Address for Ipv4Addr {
    fn order(list: &[Self]) -> Vec<u32> {
        // Sorts numbers: several times faster than pairs.
        let mut order: Vec<u64> =
            list.iter().zip(0u64..).map(|(it, at)| u64::from(it.to_bits()) << 32 | at).collect();
        order.sort_unstable();
        order.into_iter().map(|it| it as u32).collect()
    }
}

impl Address for Ipv6Addr {
    fn order(list: &[Self]) -> Vec<u32> {
        let mut order: Vec<(Self, u32)> = list.iter().copied().zip(0..).collect();
        order.sort_unstable();
        order.into_iter().map(|(_, at)| at).collect()
    }
}

impl<T: Address> Addresses<T> {
    fn new(list: Vec<T>, starts: impl ExactSizeIterator<Item = usize> + Clone) -> Self {
        let mut index = AddressIndex::default();
        let one_each =
            list.len() == starts.len() && starts.clone().enumerate().all(|(at, start)| at == start);
        if !one_each && !list.is_empty() {
            index.starts = starts.chain([list.len()]).map(|it| it as u32).collect();
        }
        if list.len() > MAX_SCAN && !list.is_sorted() {
            index.order = T::order(&list).into();
        }
        let needed = index != AddressIndex::default();
        Self { list: list.into(), index: needed.then(|| Box::new(index)) }
    }

    /// The addresses of one name.
    #[inline(always)]
    fn of(&self, at: usize) -> &[T] {
        match self.index.as_deref() {
            Some(AddressIndex { starts, .. }) if !starts.is_empty() => {
                &self.list[starts[at] as usize..starts[at + 1] as usize]
            }
            _ if self.list.is_empty() => &[],
            _ => std::slice::from_ref(&self.list[at]),
        }
    }

    /// All of them, if each name has one, or none.
    #[inline]
    fn one_each(&self) -> Option<&[T]> {
        let regular = self.index.as_deref().is_none_or(|it| it.starts.is_empty());
        if regular { Some(&self.list) } else { None }
    }

    fn order(&self) -> &[u32] {
        self.index.as_deref().map_or(&[], |it| &it.order)
    }

    /// The names that have `wanted`, ascending.
    fn names_with(&self, wanted: T) -> impl Iterator<Item = usize> {
        let order = self.order();
        let position = move |rank: usize| order.get(rank).map_or(rank, |it| *it as usize);
        let ranks = if self.list.len() <= MAX_SCAN {
            0..self.list.len()
        } else {
            let (mut from, mut to) = (0, self.list.len());
            while from < to {
                let middle = from.midpoint(to);
                if self.list[position(middle)] < wanted { from = middle + 1 } else { to = middle }
            }
            from..self.list.len()
        };
        let scans = self.list.len() <= MAX_SCAN;
        let hits = ranks.map(position).take_while(move |at| scans || self.list[*at] == wanted);
        hits.filter(move |at| self.list[*at] == wanted).map(|at| self.name_of(at))
    }

    /// The name that the address at `position` belongs to.
    fn name_of(&self, position: usize) -> usize {
        match self.index.as_deref() {
            // The last one that starts here or before is not empty.
            Some(AddressIndex { starts, .. }) if !starts.is_empty() => {
                starts.partition_point(|it| *it as usize <= position) - 1
            }
            _ => position,
        }
    }

    /// Whether an address is there twice.
    fn repeats(&self) -> bool {
        let order = self.order();
        if !order.is_empty() {
            return order.windows(2).any(|it| self.list[it[0] as usize] == self.list[it[1] as usize]);
        }
        if self.list.len() > MAX_SCAN {
            return self.list.windows(2).any(|it| it[0] == it[1]);
        }
        self.list.iter().enumerate().any(|(at, it)| self.list[..at].contains(it))
    }

    fn distinct(&self) -> Box<[T]> {
        let mut all = self.list.to_vec();
        all.sort_unstable();
        all.dedup();
        all.into()
    }
}

impl Names {
    /// The distinct addresses, sorted, if any is there twice.
    pub fn distinct(&self) -> Option<Distinct> {
        let repeats = self.v4.repeats() || self.v6.repeats();
        repeats.then(|| Distinct { v4: self.v4.distinct(), v6: self.v6.distinct() })
    }
}
