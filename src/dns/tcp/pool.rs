//! How many connections are open, and which one makes room for the next.
//!
//! accepted ──[`Pool::admit`]──▶ [`Place`], held by the connection ──dropped──▶ room again
//!
//! At a limit the connection that has been idle longest is told to close, among those of the same address where that limit
//! is met; a client finds out and connects again (RFC 7766 §6.2.3). One that is owed a reply is never told; when no other
//! is found the new one is refused. The order of idleness is kept lazily: a connection that was busy since it was put in
//! the queue goes to its end when it comes up, so a query costs a connection one atomic store.
//! Time is an argument: milliseconds since any fixed moment.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use super::metrics::Limit;

/// Connections looked at to find an idle one. Each was busy since it was last looked at, so there are rarely many.
const LOOKS: usize = 64;
/// [`Entry::idle_since`] of a connection that is owed a reply.
const BUSY: u64 = u64::MAX;

/// The open connections of one server.
#[derive(Debug)]
pub struct Pool {
    most: usize,
    most_per_address: usize,
    table: Mutex<Table>,
}

/// Position in the queue: when the connection was put there, and how many were before it.
type Position = (u64, u64);

#[derive(Debug, Default)]
struct Table {
    last: u64,
    queue: BTreeMap<Position, Arc<Entry>>,
    /// The same positions by address.
    addresses: HashMap<IpAddr, BTreeSet<Position>, foldhash::fast::RandomState>,
}

#[derive(Debug)]
struct Entry {
    address: IpAddr,
    /// Its key in the queue; used under the lock only.
    position: [AtomicU64; 2],
    idle_since: AtomicU64,
    close: CancellationToken,
}

/// A connection's place in the pool, free again when dropped.
#[derive(Debug)]
pub struct Place {
    pool: Arc<Pool>,
    entry: Arc<Entry>,
}

impl Pool {
    /// Room for `most` connections, `most_per_address` of one address.
    pub fn new(most: usize, most_per_address: usize) -> Arc<Self> {
        Arc::new(Self { most, most_per_address, table: Mutex::default() })
    }

    /// A place for a connection from `address`, and the limit that another one was closed for.
    ///
    /// # Errors
    /// No place and no idle connection: close the new one.
    pub fn admit(self: &Arc<Self>, address: IpAddr, now: u64) -> Result<(Place, Option<Limit>), Limit> {
        let address = address.to_canonical();
        let mut table = self.table();
        let mut met = None;
        if table.addresses.get(&address).is_some_and(|it| it.len() >= self.most_per_address) {
            table.close_idle(Some(address), now).ok_or(Limit::Refused)?;
            met = Some(Limit::Address);
        }
        if table.queue.len() >= self.most {
            table.close_idle(None, now).ok_or(Limit::Refused)?;
            met = Some(Limit::Connections);
        }
        let entry = Arc::new(Entry {
            address,
            position: Default::default(),
            idle_since: AtomicU64::new(now),
            close: CancellationToken::new(),
        });
        table.insert(entry.clone(), now);
        drop(table);
        Ok((Place { pool: self.clone(), entry }, met))
    }

    /// Tells the longest idle connection to close, where descriptors ran out before the limit. Whether there was one.
    pub fn make_room(&self, now: u64) -> bool {
        self.table().close_idle(None, now).is_some()
    }

    /// How many connections are open, those told to close left out.
    #[cfg(test)]
    pub fn open(&self) -> usize {
        self.table().queue.len()
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // The table is consistent between any two statements that could panic.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn insert(&mut self, entry: Arc<Entry>, at: u64) {
        self.last += 1;
        let position = (at, self.last);
        entry.position[0].store(position.0, Ordering::Relaxed);
        entry.position[1].store(position.1, Ordering::Relaxed);
        self.addresses.entry(entry.address).or_default().insert(position);
        self.queue.insert(position, entry);
    }

    /// `None` if it is not there any more.
    fn remove(&mut self, position: Position) -> Option<Arc<Entry>> {
        let entry = self.queue.remove(&position)?;
        if let Some(positions) = self.addresses.get_mut(&entry.address) {
            positions.remove(&position);
            if positions.is_empty() {
                self.addresses.remove(&entry.address);
            }
        }
        Some(entry)
    }

    /// Takes the longest idle connection out and tells it to close.
    fn close_idle(&mut self, address: Option<IpAddr>, now: u64) -> Option<()> {
        for _ in 0..LOOKS {
            let first = match address {
                Some(address) => *self.addresses.get(&address)?.first()?,
                None => *self.queue.first_key_value()?.0,
            };
            let entry = self.remove(first)?;
            let idle_since = entry.idle_since.load(Ordering::Relaxed);
            if idle_since <= first.0 {
                entry.close.cancel();
                return Some(());
            }
            // A busy one counts as idle from now on, to be looked at again after the others.
            self.insert(entry, idle_since.min(now.max(first.0)));
        }
        None
    }
}

impl Entry {
    fn position(&self) -> Position {
        let [at, number] = &self.position;
        (at.load(Ordering::Relaxed), number.load(Ordering::Relaxed))
    }
}

impl Place {
    /// The connection waits for its client since `now`.
    pub fn idle(&self, now: u64) {
        self.entry.idle_since.store(now, Ordering::Relaxed);
    }

    /// The connection owes a reply.
    pub fn busy(&self) {
        self.entry.idle_since.store(BUSY, Ordering::Relaxed);
    }

    /// Resolves when the connection has to make room.
    pub fn closing(&self) -> impl Future<Output = ()> + '_ {
        self.entry.close.cancelled()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut table = self.pool.table();
        table.remove(self.entry.position());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "192.0.2.1";
    const B: &str = "192.0.2.2";

    fn admit(pool: &Arc<Pool>, address: &str, now: u64) -> Result<(Place, Option<Limit>), Limit> {
        pool.admit(address.parse().unwrap(), now)
    }

    fn closing(place: &Place) -> bool {
        place.entry.close.is_cancelled()
    }

    #[test]
    fn the_longest_idle_connection_makes_room() {
        let pool = Pool::new(3, 3);
        let [a, b, c] = [1, 2, 3].map(|now| admit(&pool, A, now).unwrap().0);
        a.idle(10);
        let (_d, met) = admit(&pool, B, 11).unwrap();
        assert_eq!(met, Some(Limit::Connections));
        assert_eq!([&a, &b, &c].map(closing), [false, true, false], "a was used after b");
        assert_eq!(pool.open(), 3);
        drop(b);
        assert_eq!(pool.open(), 3, "its place was given away before");
        drop(c);
        assert_eq!(pool.open(), 2);
        assert!(admit(&pool, B, 12).unwrap().1.is_none());
    }

    #[test]
    fn an_address_makes_room_for_itself() {
        let pool = Pool::new(10, 2);
        let other = admit(&pool, B, 0).unwrap().0;
        let first = admit(&pool, A, 1).unwrap().0;
        let second = admit(&pool, "::ffff:192.0.2.1", 2).unwrap().0;
        let (_third, met) = admit(&pool, A, 3).unwrap();
        assert_eq!(met, Some(Limit::Address));
        assert_eq!([&other, &first, &second].map(closing), [false, true, false]);
    }

    #[test]
    fn one_that_is_owed_a_reply_stays() {
        let pool = Pool::new(2, 2);
        // All within one millisecond.
        let [a, b] = [0; 2].map(|now| admit(&pool, A, now).unwrap().0);
        a.busy();
        b.busy();
        assert_eq!(admit(&pool, A, 0).unwrap_err(), Limit::Refused);
        assert!(!pool.make_room(0));
        b.idle(0);
        assert_eq!(admit(&pool, A, 0).unwrap().1, Some(Limit::Address));
        assert_eq!([&a, &b].map(closing), [false, true]);
    }

    #[test]
    fn nothing_is_kept_of_closed_connections() {
        let pool = Pool::new(100, 100);
        for now in 0..1000 {
            drop(admit(&pool, A, now).unwrap());
        }
        let table = pool.table();
        assert!(table.queue.is_empty() && table.addresses.is_empty());
    }
}
