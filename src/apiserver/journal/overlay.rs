//! A file that can be written to without changing it.
//!
//! Checking a database may mean to repair it, and a file that turns out to be damaged is to be left as it was found. So it
//! is checked through this: reads come from the file, writes stay in memory.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;

const PAGE: u64 = 4096;

/// The file and what was written over it.
#[derive(Debug)]
pub struct Overlay {
    file: File,
    file_length: u64,
    written: Mutex<Written>,
}

#[derive(Debug)]
struct Written {
    length: u64,
    /// Whole pages by number.
    pages: BTreeMap<u64, Vec<u8>>,
}

impl Overlay {
    /// Over `file`, which has to be readable only.
    ///
    /// # Errors
    /// The file has no length.
    pub fn new(file: File) -> io::Result<Self> {
        let file_length = file.metadata()?.len();
        let written = Mutex::new(Written { length: file_length, pages: BTreeMap::new() });
        Ok(Self { file, file_length, written })
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The page as it is in the file; zeros beyond its end.
    fn original(&self, page: u64) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; PAGE as usize];
        let start = page * PAGE;
        let there = self.file_length.saturating_sub(start).min(PAGE) as usize;
        self.file.read_exact_at(&mut bytes[..there], start)?;
        Ok(bytes)
    }
}

/// The pieces of `length` octets from `offset` on: page, start within it, length.
fn pieces(offset: u64, length: usize) -> impl Iterator<Item = (u64, usize, usize)> {
    let end = offset + length as u64;
    let mut at = offset;
    std::iter::from_fn(move || {
        let (page, start) = (at / PAGE, at % PAGE);
        let length = (PAGE - start).min(end.saturating_sub(at));
        at += length;
        (length > 0).then_some((page, start as usize, length as usize))
    })
}

impl StorageBackend for Overlay {
    fn len(&self) -> io::Result<u64> {
        Ok(self.written().length)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let written = self.written();
        if offset.saturating_add(out.len() as u64) > written.length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut rest = out;
        for (page, start, length) in pieces(offset, rest.len()) {
            let (piece, more) = rest.split_at_mut(length);
            rest = more;
            match written.pages.get(&page) {
                Some(it) => piece.copy_from_slice(&it[start..start + length]),
                None => piece.copy_from_slice(&self.original(page)?[start..start + length]),
            }
        }
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut written = self.written();
        if length < written.length {
            // What is cut off reads as zeros should the storage grow again.
            for page in length / PAGE..written.length.div_ceil(PAGE) {
                let mut bytes = match written.pages.remove(&page) {
                    Some(it) => it,
                    None => self.original(page)?,
                };
                let kept = length.saturating_sub(page * PAGE).min(PAGE) as usize;
                bytes[kept..].fill(0);
                written.pages.insert(page, bytes);
            }
        }
        written.length = length;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut written = self.written();
        let mut rest = data;
        for (page, start, length) in pieces(offset, data.len()) {
            let (piece, more) = rest.split_at(length);
            rest = more;
            let mut bytes = match written.pages.remove(&page) {
                Some(it) => it,
                None => self.original(page)?,
            };
            bytes[start..start + length].copy_from_slice(piece);
            written.pages.insert(page, bytes);
        }
        written.length = written.length.max(offset + data.len() as u64);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_what_was_written_and_the_file_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let original: Vec<u8> = (0..10_000_u32).map(|it| it as u8).collect();
        std::fs::write(&path, &original).unwrap();
        let overlay = Overlay::new(File::open(&path).unwrap()).unwrap();
        let mut model = original.clone();
        for (offset, length) in [(0, 1), (4090, 10), (4096, 4096), (9_000, 3_000), (12_000, 100)] {
            let data = vec![0xAB; length];
            overlay.write(offset as u64, &data).unwrap();
            model.resize(model.len().max(offset + length), 0);
            model[offset..offset + length].copy_from_slice(&data);
        }
        overlay.set_len(5_000).unwrap();
        overlay.set_len(11_000).unwrap();
        model.truncate(5_000);
        model.resize(11_000, 0);
        assert_eq!(overlay.len().unwrap(), 11_000);
        let mut read = vec![1; 11_000];
        overlay.read(0, &mut read).unwrap();
        assert!(read == model);
        assert!(overlay.read(10_999, &mut [0; 2]).is_err());
        drop(overlay);
        assert!(std::fs::read(&path).unwrap() == original);
    }
}
