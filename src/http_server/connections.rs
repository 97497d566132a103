//! Who is connected to the socket, how long they may be silent, and who leaves when there is no room.
//!
//! accepted ──[`Connections::enter`]──▶ [`Place`] ──[`Visitor::begin`] per request──▶ [`Visit`], until the answer is sent
//!
//! A stranger, who has not shown the secret yet, has [`STRANGER`] in all: for the TLS handshake, the preface of the protocol
//! and a whole request head. Who has shown it may keep a connection silent for [`IDLE`], and as long as an answer takes.
//! Beyond the limit on connections the longest silent one leaves, strangers first, so that any number of them cannot keep
//! the owner out; one with an open request never does.
//! Time is an argument: the time since any fixed moment.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Time a client has to show the secret.
pub const STRANGER: Duration = Duration::from_secs(10);
/// Silence of a connection that has shown it. That of kube-apiserver, and of Go's clients.
pub const IDLE: Duration = Duration::from_secs(90);

/// What becomes of a connection now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It stays; look again then.
    Stays(Duration),
    /// It was silent for too long.
    Leaves,
    /// It never showed the secret.
    Thrown,
}

/// One connection. Shared with its requests.
#[derive(Debug)]
pub struct Visitor {
    /// Milliseconds: when it came, or was last given an answer.
    since: AtomicU64,
    open: AtomicUsize,
    known: AtomicBool,
    close: CancellationToken,
}

impl Visitor {
    /// It has shown the secret.
    pub fn recognise(&self) {
        self.known.store(true, Ordering::Relaxed);
    }

    /// Cancelled when it has to make room.
    pub fn close(&self) -> &CancellationToken {
        &self.close
    }

    /// A request. `clock` reads the time when its answer is sent.
    pub fn begin<C: Fn() -> Duration>(self: &Arc<Self>, clock: C) -> Visit<C> {
        self.open.fetch_add(1, Ordering::Relaxed);
        Visit { visitor: Arc::clone(self), clock }
    }

    /// Whether it may stay.
    pub fn verdict(&self, now: Duration) -> Verdict {
        let since = Duration::from_millis(self.since.load(Ordering::Relaxed));
        if !self.known.load(Ordering::Relaxed) {
            let until = since + STRANGER;
            return if now < until { Verdict::Stays(until) } else { Verdict::Thrown };
        }
        let until = if self.is_busy() { now + IDLE } else { since + IDLE };
        if now < until { Verdict::Stays(until) } else { Verdict::Leaves }
    }

    fn is_busy(&self) -> bool {
        self.known.load(Ordering::Relaxed) && self.open.load(Ordering::Relaxed) > 0
    }
}

/// A request under way; it ends when this is dropped.
#[derive(Debug)]
pub struct Visit<C: Fn() -> Duration> {
    visitor: Arc<Visitor>,
    clock: C,
}

impl<C: Fn() -> Duration> Drop for Visit<C> {
    fn drop(&mut self) {
        // A refused request gives a stranger no time.
        if self.visitor.known.load(Ordering::Relaxed) {
            self.visitor.since.store(milliseconds((self.clock)()), Ordering::Relaxed);
        }
        self.visitor.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The open connections of one socket.
#[derive(Debug)]
pub struct Connections {
    most: usize,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    last: u64,
    open: BTreeMap<u64, Arc<Visitor>>,
}

/// A connection's place, free again when dropped.
#[derive(Debug)]
pub struct Place {
    connections: Arc<Connections>,
    number: u64,
    visitor: Arc<Visitor>,
}

impl Place {
    /// Who has it.
    pub fn visitor(&self) -> &Arc<Visitor> {
        &self.visitor
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.table().open.remove(&self.number);
    }
}

impl Connections {
    /// Room for `most`.
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, table: Mutex::default() })
    }

    /// A place for a new connection. `None` if every other one has an open request.
    pub fn enter(self: &Arc<Self>, now: Duration) -> Option<Place> {
        let mut table = self.table();
        if table.open.len() >= self.most && !table.make_room() {
            return None;
        }
        table.last += 1;
        let number = table.last;
        let visitor = Arc::new(Visitor {
            since: AtomicU64::new(milliseconds(now)),
            open: AtomicUsize::new(0),
            known: AtomicBool::new(false),
            close: CancellationToken::new(),
        });
        table.open.insert(number, Arc::clone(&visitor));
        drop(table);
        Some(Place { connections: Arc::clone(self), number, visitor })
    }

    /// Tells up to `count` silent connections to leave, where descriptors ran out before the limit.
    pub fn make_room(&self, count: usize) {
        let mut table = self.table();
        for _ in 0..count {
            if !table.make_room() {
                return;
            }
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // The table is consistent between any two statements that could panic.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// The longest silent connection leaves, strangers first. Whether there was one.
    fn make_room(&mut self) -> bool {
        // In the order they came, which is that of their silence; owners, who are few, stand before them.
        let stranger = self.open.iter().find(|(_, it)| !it.known.load(Ordering::Relaxed));
        let first = stranger.or_else(|| {
            let silent = self.open.iter().filter(|(_, it)| !it.is_busy());
            silent.min_by_key(|(number, it)| (it.since.load(Ordering::Relaxed), **number))
        });
        let Some(number) = first.map(|it| *it.0) else { return false };
        if let Some(visitor) = self.open.remove(&number) {
            visitor.close.cancel();
        }
        true
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn how_long_one_may_stay() {
        let connections = Connections::new(10);
        let place = connections.enter(at(5)).unwrap();
        let visitor = place.visitor();
        assert_eq!(visitor.verdict(at(6)), Verdict::Stays(at(15)));
        drop(visitor.begin(|| at(14)));
        assert_eq!(visitor.verdict(at(15)), Verdict::Thrown, "requests without the secret give no time");
        let visit = visitor.begin(|| at(2_000));
        assert_eq!(visitor.verdict(at(15)), Verdict::Thrown, "nor do slow ones");
        visitor.recognise();
        assert_eq!(visitor.verdict(at(1_000)), Verdict::Stays(at(1_090)), "a watch is not silence");
        drop(visit);
        assert_eq!(visitor.verdict(at(2_010)), Verdict::Stays(at(2_090)));
        assert_eq!(visitor.verdict(at(2_090)), Verdict::Leaves);
    }

    #[test]
    fn who_makes_room() {
        let connections = Connections::new(3);
        let [busy, owner, stranger] = [1, 2, 3].map(|it| connections.enter(at(it)).unwrap());
        let visit = busy.visitor().begin(|| at(50));
        busy.visitor().recognise();
        owner.visitor().recognise();
        let fourth = connections.enter(at(4)).unwrap();
        assert!(stranger.visitor().close().is_cancelled(), "a stranger before an older owner");
        drop(fourth);
        let fifth = connections.enter(at(5)).unwrap();
        fifth.visitor().recognise();
        assert!(!owner.visitor().close().is_cancelled(), "there was room");
        let sixth = connections.enter(at(6)).unwrap();
        assert!(owner.visitor().close().is_cancelled(), "the longest silent one");
        let visits = [&fifth, &sixth].map(|it| {
            it.visitor().recognise();
            it.visitor().begin(|| at(60))
        });
        assert!(connections.enter(at(7)).is_none(), "open requests are never cut");
        drop(visits);
        connections.make_room(10);
        assert!(fifth.visitor().close().is_cancelled() && sixth.visitor().close().is_cancelled());
        assert!(!busy.visitor().close().is_cancelled());
        drop(visit);
    }
}
