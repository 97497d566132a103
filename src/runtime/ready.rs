//! What must have happened before the process calls itself ready.

use std::sync::{Arc, Mutex};

use tokio::sync::watch;

/// A set of named conditions, all of which must hold. Clones share it.
#[derive(Clone, Default)]
pub struct Readiness {
    parts: Arc<Mutex<Vec<(&'static str, bool)>>>,
    changed: Arc<watch::Sender<u64>>,
}

/// Marks one condition of a [`Readiness`] as met.
#[derive(Clone)]
pub struct ReadyHandle {
    readiness: Readiness,
    index: usize,
}

impl Readiness {
    /// Adds a condition, not met yet. Every part is added before the first wait.
    pub fn part(&self, name: &'static str) -> ReadyHandle {
        let mut parts = self.parts.lock().expect("no code panics while it holds the list");
        parts.push((name, false));
        ReadyHandle { readiness: self.clone(), index: parts.len() - 1 }
    }

    /// Names of the conditions that are not met, in the order they were added.
    pub fn missing(&self) -> Vec<&'static str> {
        let parts = self.parts.lock().expect("no code panics while it holds the list");
        parts.iter().filter(|(_, met)| !met).map(|(name, _)| *name).collect()
    }

    /// Resolves when every condition is met.
    pub async fn wait(&self) {
        let mut changed = self.changed.subscribe();
        while !self.missing().is_empty() {
            if changed.changed().await.is_err() {
                return;
            }
        }
    }
}

impl ReadyHandle {
    /// The condition holds from now on.
    pub fn set(&self) {
        self.store(true);
    }

    /// The condition does not hold any more (shutdown).
    pub fn clear(&self) {
        self.store(false);
    }

    fn store(&self, met: bool) {
        self.readiness.parts.lock().expect("no code panics while it holds the list")[self.index].1 = met;
        self.readiness.changed.send_modify(|it| *it += 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn ready_needs_every_part() {
        let readiness = Readiness::default();
        let (dns, sts) = (readiness.part("dns"), readiness.part("statefulset"));
        dns.set();
        assert_eq!(readiness.missing(), ["statefulset"]);
        let waiting = tokio::spawn({
            let readiness = readiness.clone();
            async move { readiness.wait().await }
        });
        sts.set();
        waiting.await.expect("the waiter ends");
        dns.clear();
        assert_eq!(readiness.missing(), ["dns"]);
    }
}
