//! What must have happened before the process calls itself ready.

use std::sync::{Arc, Mutex};

use tokio::sync::watch;

/// A set of named conditions, all of which must hold. Clones share it.
#[derive(Clone, Default)]
pub struct Readiness {
    parts: Arc<Mutex<Vec<Part>>>,
    changed: Arc<watch::Sender<u64>>,
}

struct Part {
    name: &'static str,
    met: bool,
    /// What it waits for, empty when nobody has said so.
    detail: String,
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
        parts.push(Part { name, met: false, detail: String::new() });
        ReadyHandle { readiness: self.clone(), index: parts.len() - 1 }
    }

    /// The conditions that are not met, in the order they were added: name, and in brackets what it waits for.
    pub fn missing(&self) -> Vec<String> {
        let parts = self.parts.lock().expect("no code panics while it holds the list");
        let missing = parts.iter().filter(|it| !it.met);
        let text = missing.map(|it| match it.detail.as_str() {
            "" => it.name.to_owned(),
            detail => format!("{} ({detail})", it.name),
        });
        text.collect()
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

    /// Says what the condition waits for.
    pub fn describe(&self, detail: &str) {
        let mut parts = self.readiness.parts.lock().expect("no code panics while it holds the list");
        detail.clone_into(&mut parts[self.index].detail);
    }

    fn store(&self, met: bool) {
        self.readiness.parts.lock().expect("no code panics while it holds the list")[self.index].met = met;
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
        sts.describe("waiting for Pods");
        assert_eq!(readiness.missing(), ["statefulset (waiting for Pods)"]);
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
