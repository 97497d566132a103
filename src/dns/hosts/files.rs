//! The hosts files: read at start, and again when one changes.
//!
//! files ──[`Hosts::open`], [`Hosts::reload`]──▶ [`Table`], swapped whole
//!
//! A file that cannot be read is an error at start. Later it is a warning, and the last table stays: an editor or a mount
//! may be about to put a new file in its place.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::Table;
use crate::dns::config::ConfigError;

/// How often the files are looked at.
const POLL: Duration = Duration::from_secs(2);
/// Bad lines of one file that are reported one by one.
const MAX_REPORTED: usize = 20;

/// Why the files cannot be used. A person has to act.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {}", file.display())]
pub struct HostsError {
    /// Which one.
    file: PathBuf,
    source: io::Error,
}

impl From<HostsError> for ConfigError {
    fn from(error: HostsError) -> Self {
        Self { key: "hosts".to_owned(), reason: format!("{error}: {}", error.source) }
    }
}

/// The files and what they say now.
pub struct Hosts {
    files: Vec<PathBuf>,
    table: ArcSwap<Table>,
    /// Of each file as it was read last.
    stamps: Mutex<Vec<Stamp>>,
}

/// Tells two states of a file apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    modified: SystemTime,
    len: u64,
}

impl Stamp {
    fn of(file: &Path) -> io::Result<Self> {
        let meta = std::fs::metadata(file)?;
        Ok(Self { modified: meta.modified()?, len: meta.len() })
    }
}

impl Hosts {
    /// Reads the files.
    ///
    /// # Errors
    /// The first that cannot be read.
    pub fn open(files: &[PathBuf]) -> Result<Self, HostsError> {
        let (table, stamps) = read(files)?;
        info!(names = table.len(), "read the hosts files");
        Ok(Self { files: files.to_vec(), table: ArcSwap::from_pointee(table), stamps: Mutex::new(stamps) })
    }

    /// Whether every file can be read.
    ///
    /// # Errors
    /// The first that cannot.
    pub fn check(files: &[PathBuf]) -> Result<(), HostsError> {
        for file in files {
            std::fs::read(file).map_err(|source| HostsError { file: file.clone(), source })?;
        }
        Ok(())
    }

    /// What the files say.
    pub fn table(&self) -> Arc<Table> {
        self.table.load_full()
    }

    /// Reads the files again if one has changed since. Returns whether it did.
    ///
    /// # Errors
    /// One that cannot be read; the last table stays.
    pub fn reload(&self) -> Result<bool, HostsError> {
        let mut known = self.stamps.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changed = false;
        for (file, stamp) in self.files.iter().zip(known.iter()) {
            let now = Stamp::of(file).map_err(|source| HostsError { file: file.clone(), source })?;
            changed |= now != *stamp;
        }
        if changed {
            let (table, stamps) = read(&self.files)?;
            info!(names = table.len(), "read the hosts files again");
            self.table.store(Arc::new(table));
            *known = stamps;
        }
        Ok(changed)
    }

    /// Keeps the table in step with the files until `stop`.
    pub async fn follow(self: Arc<Self>, stop: CancellationToken) {
        let mut ticks = interval(POLL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last = None;
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = stop.cancelled() => return,
            }
            let hosts = self.clone();
            let outcome = tokio::task::spawn_blocking(move || hosts.reload()).await;
            let failure = match outcome {
                Ok(outcome) => outcome.err().map(|it| it.to_string()),
                Err(failure) => Some(failure.to_string()),
            };
            // Once for each kind of trouble, not at every look.
            if let Some(failure) = &failure
                && last.as_ref() != Some(failure)
            {
                error!(error = failure, "the hosts files cannot be read again, the last state stays");
            }
            last = failure;
        }
    }
}

fn read(files: &[PathBuf]) -> Result<(Table, Vec<Stamp>), HostsError> {
    let (mut table, mut stamps) = (Table::default(), Vec::with_capacity(files.len()));
    for file in files {
        // The stamp first: a change after it is seen at the next look.
        let octets = Stamp::of(file).and_then(|stamp| {
            stamps.push(stamp);
            std::fs::read(file)
        });
        let octets = octets.map_err(|source| HostsError { file: file.clone(), source })?;
        let bad = table.add(&String::from_utf8_lossy(&octets));
        for it in bad.iter().take(MAX_REPORTED) {
            warn!("{}:{}: {}, left out", file.display(), it.line, it.reason);
        }
        if bad.len() > MAX_REPORTED {
            warn!("{}: {} more lines are left out", file.display(), bad.len() - MAX_REPORTED);
        }
    }
    Ok((table, stamps))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::hosts::Entry;
    use crate::dns::lookup::RrType;
    use crate::dns::name::OwnerName;

    fn has(hosts: &Hosts, name: &str) -> bool {
        let name: OwnerName = name.parse().unwrap();
        matches!(hosts.table().find(name.as_name(), RrType::A), Some(Entry::A(_)))
    }

    #[test]
    fn a_changed_file_is_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let [one, two] = ["one", "two"].map(|it| directory.path().join(it));
        std::fs::write(&one, "192.0.2.1 a.example\n").unwrap();
        std::fs::write(&two, "192.0.2.2 b.example\n").unwrap();
        let hosts = Hosts::open(&[one.clone(), two.clone()]).unwrap();
        assert!(has(&hosts, "a.example") && has(&hosts, "b.example"));
        assert!(!hosts.reload().unwrap());

        std::fs::write(&two, "192.0.2.2 other.example\n").unwrap();
        assert!(hosts.reload().unwrap());
        assert!(has(&hosts, "a.example") && has(&hosts, "other.example") && !has(&hosts, "b.example"));

        // A file that is gone for a moment changes nothing, and is read when it is back.
        std::fs::remove_file(&one).unwrap();
        let error = hosts.reload().unwrap_err();
        assert!(error.to_string().contains("one"), "{error}");
        assert!(has(&hosts, "a.example"));
        std::fs::write(&one, "192.0.2.1 again.example\n").unwrap();
        assert!(hosts.reload().unwrap());
        assert!(has(&hosts, "again.example") && !has(&hosts, "a.example"));
    }

    #[test]
    fn a_file_that_is_missing_is_named() {
        let Err(error) = Hosts::open(&[PathBuf::from("/no/such/hosts")]) else { panic!("it is not there") };
        assert_eq!(error.to_string(), "cannot read /no/such/hosts");
    }
}
