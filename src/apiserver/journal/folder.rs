//! A data directory: made, locked, checked and read.
//!
//! It holds one file, `ordinal.redb`. A folder that is not ours, is in use, or whose file is damaged or of another format,
//! is refused in one line and left as it was found: the file is first checked through an `Overlay`.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use redb::{Builder, Database, ReadableDatabase as _, ReadableTable as _};

use super::disk::{
    AUTHORITY, AUTHORITY_KEY, BASE_PATH, DiskJournal, FORMAT, META, OBJECTS, TOKEN, VERSION, fact,
};
use super::overlay::Overlay;
use crate::apiserver::object::{Key, Object};
use crate::apiserver::resources::{RESOURCES, Resource};
use crate::apiserver::store::Restored;
use crate::apiserver::tls::Keys;

/// Name of the database.
const FILE: &str = "ordinal.redb";
/// Name while it is made.
const UNFINISHED: &str = "ordinal.redb.new";
/// Format of the tables and of what is in them; a change that older builds would misread raises it.
const CURRENT_FORMAT: &str = "1";
/// The database is only written to: enough for the pages that every group touches.
const CACHE_BYTES: usize = 16 * 1024 * 1024;

/// Why a folder cannot be used. One line each.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// Somebody else's files.
    #[error(
        "{} is no data directory of ordinal: it holds other files and no {FILE}; name a new or empty one",
        .0.display()
    )]
    Foreign(PathBuf),
    /// Locked.
    #[error("the data directory {} is in use by another process", .0.display())]
    InUse(PathBuf),
    /// Cannot be trusted.
    #[error("{} is damaged, or no file of ordinal: {why}; it was left as it is", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Written by another release.
    #[error(
        "{} has format {found}, and this release reads format {CURRENT_FORMAT}; it was left as it is",
        path.display()
    )]
    Format {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: String,
    },
    /// The file system said no.
    #[error("the data directory {} cannot be used", path.display())]
    Io {
        /// The folder or file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// An open data directory.
pub struct Folder {
    /// What it held.
    pub restored: Restored,
    /// Where commits go from here on.
    pub journal: DiskJournal,
    /// The secret path under which the API was served first, and will be again.
    pub base_path: String,
    /// The certificates and the token with which it was served over TLS first, and will be again.
    pub keys: Option<Keys>,
    /// Locked while it exists.
    pub lock: File,
}

impl Folder {
    /// Opens the folder at `path`; one that does not exist or is empty becomes a new data directory with the secret
    /// `base_path`.
    ///
    /// # Errors
    /// Nothing was changed then, except that a folder may have been made.
    pub fn open(path: &Path, base_path: &str) -> Result<Self, FolderError> {
        Self::open_for_tls(path, base_path, None)
    }

    /// [`Folder::open`], and keeps `keys` unless the folder has some already.
    ///
    /// # Errors
    /// As there.
    pub fn open_for_tls(path: &Path, base_path: &str, keys: Option<Keys>) -> Result<Self, FolderError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| FolderError::Io { path, source }
        };
        // It holds Secrets.
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed(path))?;
        let lock = File::open(path).map_err(failed(path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(FolderError::InUse(path.to_owned())),
            Err(TryLockError::Error(error)) => return Err(failed(path)(error)),
        }
        let file = path.join(FILE);
        if !file.try_exists().map_err(failed(&file))? {
            let mut entries = fs::read_dir(path).map_err(failed(path))?;
            let foreign = entries.any(|it| it.map_or(true, |it| it.file_name() != UNFINISHED));
            if foreign {
                return Err(FolderError::Foreign(path.to_owned()));
            }
            create(path, &lock, base_path).map_err(|error| failed(&file)(io::Error::other(error)))?;
        }
        let (restored, base_path) = check(&file)?;
        let database = Builder::new()
            .set_cache_size(CACHE_BYTES)
            .open(&file)
            .map_err(|error| failed(&file)(io::Error::other(error)))?;
        let keys = keys
            .map(|it| keep(&database, it))
            .transpose()
            .map_err(|error| failed(&file)(io::Error::other(error)))?;
        let journal = DiskJournal::start(database, restored.version).map_err(failed(&file))?;
        Ok(Self { restored, journal, base_path, keys, lock })
    }
}

/// Makes the database under another name first: a process that is killed meanwhile leaves nothing that looks finished.
fn create(path: &Path, folder: &File, base_path: &str) -> Result<(), redb::Error> {
    let unfinished = path.join(UNFINISHED);
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&unfinished)?;
    let backend = redb::backends::FileBackend::new(file)?;
    let database = Builder::new().create_with_backend(backend)?;
    let transaction = database.begin_write()?;
    {
        let mut meta = transaction.open_table(META)?;
        for (name, value) in [(FORMAT, CURRENT_FORMAT), (VERSION, "0"), (BASE_PATH, base_path)] {
            meta.insert(name, value)?;
        }
        transaction.open_table(OBJECTS)?;
    }
    transaction.commit()?;
    drop(database);
    fs::rename(&unfinished, path.join(FILE))?;
    folder.sync_all()?;
    Ok(())
}

/// The keys the database has; else it is given `fresh`.
fn keep(database: &Database, fresh: Keys) -> Result<Keys, redb::Error> {
    let known = (fact(database, AUTHORITY)?, fact(database, AUTHORITY_KEY)?, fact(database, TOKEN)?);
    if let (Some(authority), Some(authority_key), Some(token)) = known {
        return Ok(Keys { authority, authority_key, token });
    }
    let transaction = database.begin_write()?;
    {
        let mut meta = transaction.open_table(META)?;
        meta.insert(AUTHORITY, fresh.authority.as_str())?;
        meta.insert(AUTHORITY_KEY, fresh.authority_key.as_str())?;
        meta.insert(TOKEN, fresh.token.as_str())?;
    }
    transaction.commit()?;
    Ok(fresh)
}

/// Checks the whole file and reads it, without a change: the objects and the secret path.
fn check(path: &Path) -> Result<(Restored, String), FolderError> {
    let damaged = |why: &dyn std::fmt::Display| FolderError::Damaged {
        path: path.to_owned(),
        why: why.to_string().replace('\n', " "),
    };
    let io = |source| FolderError::Io { path: path.to_owned(), source };
    let overlay = Overlay::new(File::open(path).map_err(io)?).map_err(io)?;
    if redb::StorageBackend::len(&overlay).map_err(io)? == 0 {
        return Err(damaged(&"it is empty"));
    }
    let database = Builder::new()
        .set_cache_size(CACHE_BYTES)
        .set_check_integrity_on_open(true)
        .create_with_backend(overlay)
        .map_err(|error| damaged(&error))?;
    let known = |name| -> Result<String, FolderError> {
        let found = fact(&database, name).map_err(|error| damaged(&error))?;
        found.ok_or_else(|| damaged(&format!("it does not say its {name}")))
    };
    let format = known(FORMAT)?;
    if format != CURRENT_FORMAT {
        return Err(FolderError::Format { path: path.to_owned(), found: format });
    }
    let version = known(VERSION)?.parse().map_err(|_| damaged(&"its version is no number"))?;
    let base_path = known(BASE_PATH)?;
    let objects = read(&database).map_err(|error| damaged(&error))?;
    let mut restored = Restored { version, objects: Vec::with_capacity(objects.len()) };
    for (key, value) in objects {
        let object = parse(&key, &value).ok_or_else(|| damaged(&format!("{key} is not known here")))?;
        restored.objects.push(object);
    }
    Ok((restored, base_path))
}

fn read(database: &Database) -> Result<Vec<(String, Vec<u8>)>, redb::Error> {
    let table = database.begin_read()?.open_table(OBJECTS)?;
    let mut rows = Vec::new();
    for row in table.iter()? {
        let (key, value) = row?;
        rows.push((key.value().to_owned(), value.value().to_owned()));
    }
    Ok(rows)
}

fn parse(key: &str, value: &[u8]) -> Option<(&'static Resource, Object)> {
    let mut parts = key.split('/');
    let (group, plural, namespace, name) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let stored = |it: &&Resource| it.store_as.is_none() && it.group == group && it.plural == plural;
    let resource = RESOURCES.iter().find(stored)?;
    let (version, body) = value.split_first_chunk()?;
    let body = Bytes::copy_from_slice(body);
    (body.first() == Some(&b'{')).then_some(())?;
    let key = Key::new(namespace, name);
    Some((resource, Object::stored(resource, u64::from_le_bytes(*version), key, body)))
}
