//! Commits in a database on disk, by groups.
//!
//! ```text
//! Writer::commit ──append, in order──▶ pending ──a thread of its own: all there is, one transaction──▶ redb, synced
//!                                                                                   │
//! a response waits for all that was appended before it ◀──[`Unsettled`]── durable up to
//! ```
//!
//! While one group is synced the next one gathers, so a hundred writes at once cost about as many syncs as two after each
//! other. Of several versions of an object in one group only the last is written.
//! Invariant: what is durable is always a prefix of the sequence of commits.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use bytes::Bytes;
use redb::{Database, ReadableDatabase as _, TableDefinition};
use tokio::sync::watch;
use tracing::error;

use crate::apiserver::object::Key;
use crate::apiserver::resources::Resource;
use crate::apiserver::store::{Change, Commit, Journal};

/// `group/plural/namespace/name` → the version, 8 octets, and the JSON of the object.
pub const OBJECTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("objects");
/// Facts about the whole: see the names of its keys.
pub const META: TableDefinition<'_, &str, &str> = TableDefinition::new("meta");
/// Key in [`META`]: format of everything else.
pub const FORMAT: &str = "format";
/// Key in [`META`]: version of the latest commit.
pub const VERSION: &str = "version";
/// Key in [`META`]: the secret path of the API.
pub const BASE_PATH: &str = "base-path";

/// Key in [`META`]: certificate of the authority of the TLS mode.
pub const AUTHORITY: &str = "tls-authority";
/// Key in [`META`]: its private key.
pub const AUTHORITY_KEY: &str = "tls-authority-key";
/// Key in [`META`]: the bearer token of the TLS mode.
pub const TOKEN: &str = "tls-token";

/// The key of an object in [`OBJECTS`].
pub fn row_key(resource: &Resource, key: &Key) -> String {
    format!("{}/{}/{}/{}", resource.group, resource.plural, key.namespace, key.name)
}

/// How far commits are durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Durable {
    /// Every commit up to this version.
    UpTo(u64),
    /// The disk refused one; no later one will be.
    Failed,
}

#[derive(Debug, Default)]
struct Pending {
    /// The last state of each object: `None` for one that is gone.
    rows: BTreeMap<String, Option<(u64, Bytes)>>,
    /// Version of the latest commit.
    version: u64,
    closed: bool,
}

#[derive(Debug, Default)]
struct Queue {
    pending: Mutex<Pending>,
    filled: Condvar,
}

impl Queue {
    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Commits that are not durable yet.
pub struct Unsettled {
    version: u64,
    durable: watch::Receiver<Durable>,
}

/// The disk does not take what has to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskFailed;

impl Unsettled {
    /// Waits until they are.
    ///
    /// # Errors
    /// They never will be.
    pub async fn settled(mut self) -> Result<(), DiskFailed> {
        let wanted = self.version;
        let done = |it: &Durable| matches!(it, Durable::UpTo(version) if *version >= wanted);
        let seen = self.durable.wait_for(|it| done(it) || *it == Durable::Failed).await;
        match seen {
            Ok(it) if done(&it) => Ok(()),
            Ok(_) | Err(_) => Err(DiskFailed),
        }
    }
}

/// The journal of a database. What was appended is written out before its end.
pub struct DiskJournal {
    queue: Arc<Queue>,
    durable: watch::Receiver<Durable>,
    thread: Option<JoinHandle<()>>,
}

impl DiskJournal {
    /// Takes over `database`, which holds every commit up to `version`.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn start(database: Database, version: u64) -> std::io::Result<Self> {
        let queue = Arc::new(Queue::default());
        queue.pending().version = version;
        let (sender, durable) = watch::channel(Durable::UpTo(version));
        let thread = std::thread::Builder::new().name("data-dir".to_owned()).spawn({
            let queue = Arc::clone(&queue);
            move || work(&database, &queue, &sender)
        })?;
        Ok(Self { queue, durable, thread: Some(thread) })
    }
}

impl Journal for DiskJournal {
    fn append(&self, batch: &[Commit<'_>]) {
        let mut pending = self.queue.pending();
        for it in batch {
            let row = (it.event.change != Change::Deleted)
                .then(|| (it.event.version, it.event.object.body.clone()));
            pending.rows.insert(row_key(it.resource, it.key), row);
            pending.version = it.event.version;
        }
        drop(pending);
        self.queue.filled.notify_one();
    }

    fn unsettled(&self) -> Option<Unsettled> {
        let version = self.queue.pending().version;
        let settled = *self.durable.borrow() == Durable::UpTo(version);
        (!settled).then(|| Unsettled { version, durable: self.durable.clone() })
    }
}

impl Drop for DiskJournal {
    fn drop(&mut self) {
        self.queue.pending().closed = true;
        self.queue.filled.notify_one();
        if let Some(thread) = self.thread.take() {
            // It said on its own what went wrong.
            let _ = thread.join();
        }
    }
}

/// Writes group after group until the queue is closed and empty, or the disk fails.
fn work(database: &Database, queue: &Queue, durable: &watch::Sender<Durable>) {
    loop {
        let mut pending = queue.pending();
        while pending.rows.is_empty() && !pending.closed {
            pending = queue.filled.wait(pending).unwrap_or_else(PoisonError::into_inner);
        }
        if pending.rows.is_empty() {
            return;
        }
        let (rows, version) = (std::mem::take(&mut pending.rows), pending.version);
        drop(pending);
        match write(database, &rows, version) {
            Ok(()) => drop(durable.send_replace(Durable::UpTo(version))),
            Err(error) => {
                error!(%error, "the data directory can not be written; requests are refused from here on");
                durable.send_replace(Durable::Failed);
                return;
            }
        }
    }
}

fn write(
    database: &Database,
    rows: &BTreeMap<String, Option<(u64, Bytes)>>,
    version: u64,
) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    {
        let mut objects = transaction.open_table(OBJECTS)?;
        let mut value = Vec::new();
        for (key, row) in rows {
            match row {
                None => drop(objects.remove(key.as_str())?),
                Some((version, body)) => {
                    value.clear();
                    value.extend_from_slice(&version.to_le_bytes());
                    value.extend_from_slice(body);
                    objects.insert(key.as_str(), value.as_slice())?;
                }
            }
        }
        transaction.open_table(META)?.insert(VERSION, version.to_string().as_str())?;
    }
    transaction.commit()?;
    Ok(())
}

/// A fact of [`META`].
///
/// # Errors
/// The table cannot be read.
pub fn fact(database: &Database, name: &str) -> Result<Option<String>, redb::Error> {
    let table = database.begin_read()?.open_table(META)?;
    Ok(redb::ReadableTable::get(&table, name)?.map(|it| it.value().to_owned()))
}
