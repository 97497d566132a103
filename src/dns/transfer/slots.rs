//! How many zones are on their way at once.
//!
//! [`Slots::take`] ──▶ [`Slot`], held by the messages of a transfer ──dropped──▶ free again
//!
//! A transfer keeps a whole state of the index alive for as long as its client takes to read it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Most transfers of whole zones at once, of all clients together.
pub const MAX_TRANSFERS: usize = 10;

/// The slots of one server.
#[derive(Debug, Clone, Default)]
pub struct Slots {
    taken: Arc<AtomicUsize>,
}

/// A transfer under way.
#[derive(Debug)]
pub struct Slot {
    taken: Arc<AtomicUsize>,
}

impl Slots {
    /// `None`: all are taken.
    pub fn take(&self) -> Option<Slot> {
        let more = |taken| (taken < MAX_TRANSFERS).then_some(taken + 1);
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(Slot { taken: self.taken.clone() })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.taken.fetch_sub(1, Ordering::Relaxed);
    }
}
