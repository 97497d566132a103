//! Which pods belong to a set, and which sets to a Deployment: kept, adopted, released.
//!
//! An object is kept by owner UID and selector together, never by labels alone. Whoever adopts must first read the
//! owner uncached, and every write names the UID of the object it means.
//! Source: kubernetes `pkg/controller/controller_ref_manager.go`.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::model::{Owner, PodView, SetView};
use crate::model::selector::LabelSelector;

/// What is claimed.
pub trait Claimable {
    /// The controller reference.
    fn owner(&self) -> Option<&Owner>;
    /// `metadata.labels`.
    fn labels(&self) -> &BTreeMap<String, String>;
    /// Whether it may change hands.
    fn movable(&self) -> bool;
}

impl Claimable for PodView {
    fn owner(&self) -> Option<&Owner> {
        self.owner.as_ref()
    }
    fn labels(&self) -> &BTreeMap<String, String> {
        &self.labels
    }
    fn movable(&self) -> bool {
        self.active()
    }
}

impl Claimable for SetView {
    fn owner(&self) -> Option<&Owner> {
        self.owner.as_ref()
    }
    fn labels(&self) -> &BTreeMap<String, String> {
        &self.labels
    }
    fn movable(&self) -> bool {
        !self.deleting
    }
}

/// Who claims.
#[derive(Debug, Clone, Copy)]
pub struct Claimant<'a> {
    /// UID.
    pub uid: &'a str,
    /// What it selects.
    pub selector: &'a LabelSelector,
    /// It is being deleted.
    pub deleting: bool,
}

/// The candidates, sorted by what to do with them.
#[derive(Debug)]
pub struct Claimed<T> {
    /// Ours.
    pub kept: Vec<Arc<T>>,
    /// Nobody's, and they match: take them.
    pub adopt: Vec<Arc<T>>,
    /// Ours by owner reference, but the selector no longer matches: let go.
    pub release: Vec<Arc<T>>,
}

/// Decides about `candidates`: what the claimant's UID owns and what nobody owns; others are ignored.
pub fn claim<T: Claimable>(who: Claimant<'_>, candidates: impl IntoIterator<Item = Arc<T>>) -> Claimed<T> {
    let mut claimed = Claimed { kept: Vec::new(), adopt: Vec::new(), release: Vec::new() };
    for it in candidates {
        let matches = who.selector.selects(it.labels());
        match it.owner() {
            Some(owner) if owner.uid != who.uid => {}
            Some(_) if matches => claimed.kept.push(it),
            Some(_) if !who.deleting && it.movable() => claimed.release.push(it),
            None if matches && !who.deleting && it.movable() => claimed.adopt.push(it),
            Some(_) | None => {}
        }
    }
    claimed
}

#[cfg(test)]
mod tests {
    use super::super::notation::{pods, set};
    use super::*;

    #[test]
    fn claiming() {
        let set = set(3);
        let ours = &pods("a")[0];
        let edit = |change: &dyn Fn(&mut PodView)| {
            let mut it = PodView::clone(ours);
            change(&mut it);
            Arc::new(it)
        };
        let orphan = edit(&|it| it.owner = None);
        let foreign = edit(&|it| it.owner.as_mut().unwrap().uid = "other".into());
        let relabelled = edit(&|it| it.labels.clear());
        let leaving = edit(&|it| {
            it.owner = None;
            it.deleting = true;
        });
        let failed = edit(&|it| {
            it.owner = None;
            it.phase = super::super::model::Phase::Failed;
        });
        let stranger = edit(&|it| {
            it.owner = None;
            it.labels.clear();
        });
        let cases = [
            ("an owned pod is kept", false, ours, "keep"),
            ("also while the set goes", true, ours, "keep"),
            ("an orphan is adopted", false, &orphan, "adopt"),
            ("but never while the set goes", true, &orphan, ""),
            ("nor while the pod goes", false, &leaving, ""),
            ("nor one that failed", false, &failed, ""),
            ("nor one that is not selected", false, &stranger, ""),
            ("another's pod is ignored", false, &foreign, ""),
            ("a relabelled pod is released", false, &relabelled, "release"),
            ("but not while the set goes", true, &relabelled, ""),
        ];
        for (why, deleting, pod, want) in cases {
            let who = Claimant { uid: &set.uid, selector: &set.selector, deleting };
            let it = claim(who, [Arc::clone(pod)]);
            let got = match (it.kept.len(), it.adopt.len(), it.release.len()) {
                (1, 0, 0) => "keep",
                (0, 1, 0) => "adopt",
                (0, 0, 1) => "release",
                _ => "",
            };
            assert_eq!(got, want, "{why}");
        }
    }
}
